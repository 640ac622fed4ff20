"""What a long command tells of itself: in a log file lines, on a terminal one line written over."""

import io
import sys

import pytest

from xbar.workloads import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_each_new_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps() as step:
        for text in ("one", "one", "two", "one"):
            step(text)
    said = capsys.readouterr().err
    assert "\r" not in said
    assert [line.split("s  ")[1] for line in said.splitlines()] == ["one", "two", "one"]


def test_lines_of_many_steps_are_apart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.steps(apart=10.0) as step:
        for second in range(31):
            now = 100.0 + second
            step(f"epoch {second}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["    0.0 s  epoch 0", "   10.0 s  epoch 10", "   20.0 s  epoch 20", "   30.0 s  epoch 30"]


def test_a_terminal_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.steps() as step:
        step("one")
        step("two")
    assert sys.stderr.getvalue().count("\n") == 1  # type: ignore[attr-defined]
    assert sys.stderr.getvalue().split("\r")[-1].startswith("two")  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_is_said_where_nothing_is_to_be_shown(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    with progress.steps(shown=False) as step:
        step("one")
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]

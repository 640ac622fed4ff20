"""`xbar compare` as users meet it: what it prints, what it leaves, its exit codes."""

import json
from pathlib import Path

import pytest

from xbar.workloads.cli import main


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two compressions, the second with half the area and a tenth of a percent more weights, and results of another kind."""
    monkeypatch.chdir(tmp_path)
    for name, file, value in (
        ("old", "compression.json", {"title": "N", "left": {"area": 0.5}, "weights": 1000}),
        ("new", "compression.json", {"title": "N", "left": {"area": 0.25}, "weights": 1001}),
        ("nearly", "compression.json", {"title": "N", "left": {"area": 0.5}, "weights": 1001}),
        ("other", "fairea.json", {}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(value))
    return tmp_path


def test_the_table_alone_leaves_no_file(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folders.rglob("*"))
    assert main(["compare", "old", "new"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("left.area"))
    assert row.split() == ["left.area", "0.5", "0.25", "0.5000"]
    assert "What was asked is the same." in printed
    assert sorted(folders.rglob("*")) == before


def test_equal_results_are_told_plainly(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "old", "old", "--fail"]) == 0
    assert "Nothing changed: the results are the same, and so is what was asked." in capsys.readouterr().out


def test_exit_code_1_is_of_changes_beyond_the_tolerance_where_asked(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "old", "new", "--fail"]) == 1
    assert main(["compare", "old", "nearly", "--fail"]) == 1
    assert main(["compare", "old", "nearly", "--fail", "--tolerance", "0.01"]) == 0
    assert "Nothing changed (within 0.01 of each value)" in capsys.readouterr().out


def test_pages_and_tables_with_out(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "old", "new", "--out", "found"]) == 0
    names = {path.name for path in (folders / "found").iterdir()}
    assert {"comparison.pdf", "comparison.html", "comparison.png", "comparison.json", "metrics.csv", "summary.txt", "record.json"} <= names
    assert (folders / "found" / "summary.txt").read_text("utf-8") in capsys.readouterr().out
    assert json.loads((folders / "found" / "comparison.json").read_text("utf-8"))["metrics"]["left.area"]["ratio"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["old", "other"], "different kinds cannot be compared: old is of xbar compress; other is of xbar run fairea"),
        (["old", "missing"], "missing: no run.json"),
        (["old", "new", "--out", "old"], "old holds the results of xbar compress; give another folder"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_message(
    arguments: list[str], said: str, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folders.rglob("*"))
    assert main(["compare", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("xbar: error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(folders.rglob("*")) == before


def test_a_comparison_is_not_written_over(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "comparison.json").write_text("{}")
    assert main(["run", "digits", "--out", str(folders)]) == 1
    assert "holds the results of xbar compare" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-1", "much", "nan", "inf"])
def test_a_tolerance_that_is_none(text: str, folders: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "old", "new", f"--tolerance={text}"])
    assert stopped.value.code == 2

"""The sweep engine: spaces, identity, resuming, failing points, executors, kills."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.workloads.study.sweep import (
    JOURNAL,
    MOST_POINTS,
    RESULTS,
    SUMMARY,
    InProcess,
    Span,
    SweepError,
    cluster,
    grid,
    latin_hypercube,
    local,
    point_key,
    random,
    sweep,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes find no module of the tests

ROOT = Path(__file__).parents[2]


class ScienceError(ValueError):
    """An error whose class is not the project's."""


def polynomial(point: dict[str, float]) -> dict[str, object]:
    """Bits that a rounding would show, from a generator of the point's own."""
    noise = np.random.default_rng(int(point["seed"])).normal()
    return {"value": math.sin(point["x"]) * 1e-9 + noise, "count": int(point["x"] * 10), "large": point["x"] > 0.5}


def fragile(point: dict[str, int]) -> dict[str, object]:
    if point["x"] == 2:
        raise SweepError("x = 2: is not allowed")
    if point["x"] == 3:
        raise ScienceError("strange")
    if point["x"] == 4:
        return {"x": 1}
    if point["x"] == 5:
        return {"list": [1]}  # type: ignore[dict-item]
    if point["x"] == 6:
        sys.exit("leaving")
    return {"y": np.float32(0.5) * point["x"], "nothing": None}


def deadly(point: dict[str, int]) -> dict[str, object]:
    if point["x"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": point["x"] ** 2}


def slow(point: dict[str, int], pause: float = 0.04) -> dict[str, object]:
    time.sleep(pause)
    return {"y": point["x"] ** 2 / 7}


def numbered(count: int) -> list[dict[str, float]]:
    return [{"x": place / 7, "seed": place} for place in range(count)]


def without_time(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path / RESULTS).drop(columns="wall_s")


# ---- spaces


def test_a_grid_is_every_combination() -> None:
    axes = {"a.b": [1, 2, 3], "c": ["x", "y"], "d": Span(0.0, 1.0, steps=3), "e": Span(4, 6, whole=True)}
    expected = itertools.product([1, 2, 3], ["x", "y"], [0.0, 0.5, 1.0], [4, 5, 6])
    assert grid(axes) == [dict(zip(axes, values, strict=True)) for values in expected]


def test_steps_on_a_logarithmic_scale_have_equal_ratios() -> None:
    values = [point["a"] for point in grid({"a": Span(1e-3, 10.0, log=True, steps=5)})]
    assert values == pytest.approx([1e-3, 1e-2, 1e-1, 1.0, 10.0], rel=1e-12)
    assert [point["a"] for point in grid({"a": Span(1, 1000, True, True, 4)})] == [1, 10, 100, 1000]


@pytest.mark.parametrize("samples", [1, 7, 40])
def test_a_latin_hypercube_has_one_sample_in_each_part_of_every_axis(samples: int) -> None:
    axes = {"a": Span(-2.0, 3.0), "b": Span(1e-6, 1e-2, log=True), "c": Span(0, samples - 1 or 1, whole=True)}
    points = latin_hypercube(axes, samples, seed=3)
    a = [math.floor((point["a"] + 2) / 5 * samples) for point in points]
    b = [math.floor(math.log(point["b"] / 1e-6) / math.log(1e4) * samples) for point in points]
    assert sorted(a) == sorted(b) == list(range(samples))
    if samples > 1:  # as many whole numbers as samples: each once
        assert sorted(point["c"] for point in points) == list(range(samples))
    assert points == latin_hypercube(axes, samples, seed=3) != latin_hypercube(axes, samples, seed=4)


def test_random_points_cover_values_alike() -> None:
    points = random({"a": ["x", "y", "z"], "b": Span(1, 4, whole=True), "c": Span(1.0, 100.0, log=True)}, 3000, seed=0)
    for name, values in {"a": "xyz", "b": (1, 2, 3, 4)}.items():
        for value in values:  # a binomial share: 4 standard deviations
            share, each = sum(point[name] == value for point in points) / 3000, 1 / len(values)
            assert abs(share - each) < 4 * math.sqrt(each * (1 - each) / 3000)
    assert abs(np.mean([math.log10(point["c"]) for point in points]) - 1.0) < 4 * (2 / math.sqrt(12)) / math.sqrt(3000)


@given(low=st.integers(-100, 100), width=st.integers(1, 50), share=st.floats(0, 1))
def test_values_stay_in_their_span(low: int, width: int, share: float) -> None:
    whole = Span(low, low + width, whole=True).at(share)
    assert isinstance(whole, int)
    assert low <= whole <= low + width
    assert low / 7 <= Span(low / 7, low / 7 + width).at(share) <= low / 7 + width
    positive = abs(low) + 1
    assert positive <= Span(positive, positive + width, log=True).at(share) <= positive + width


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Span(2, 1), "low = 2: must be below high = 1"),
        (lambda: Span(0, 1, log=True), "low = 0: must be above 0 on a logarithmic scale"),
        (lambda: Span(math.nan, 1), "low = nan: must be finite"),
        (lambda: Span(-1.7e308, 1.7e308), "too far from low"),
        (lambda: Span(0, 10**400), r"high = 1000.*: must be within ±2\^53"),
        (lambda: Span(0.5, 2, whole=True), r"low = 0.5: must be a whole number"),
        (lambda: Span(0, 1, steps=1), "steps = 1: must be a whole number from 2"),
        (lambda: Span("a", 1), "low = 'a': must be a number"),  # type: ignore[arg-type]
        (lambda: grid({"a": Span(0.0, 1.0)}), r"a.steps = \(missing\)"),
        (lambda: grid({"a": Span(0, 10**9, whole=True)}), "a.high = 1000000000: more than"),
        (lambda: grid({}), r"axes = \(none\)"),
        (lambda: grid({"a": []}), r"a = \[\]: must be a list of one value or more"),
        (lambda: grid({name: list(range(10)) for name in "abcdefg"}), f"axes = 10000000 points: must be 1 to {MOST_POINTS}"),
        (lambda: random({"a": [1]}, 0, 0), "samples = 0 points"),
        (lambda: random({"a": [1]}, 2.5, 0), "samples = 2.5: must be a whole number"),  # type: ignore[arg-type]
        (lambda: latin_hypercube({"a": [1]}, 3, -1), "seed = -1: must be a whole number from 0"),
    ],
)
def test_a_space_that_cannot_be_is_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        make()


# ---- identity


def test_a_point_is_known_by_every_value_the_function_and_what_it_names() -> None:
    keys = [
        point_key(point, run, depends)
        for point, run, depends in [
            ({"a": 1, "b": "x"}, slow, ""), ({"a": 1.0, "b": "x"}, slow, ""), ({"a": True, "b": "x"}, slow, ""),
            ({"a": 1, "b": "y"}, slow, ""), ({"a": 1}, slow, ""), ({"c": 1, "b": "x"}, slow, ""),
            ({"a": 1, "b": "x"}, polynomial, ""), ({"a": 1, "b": "x"}, slow, "file"),
            ({"a": 1, "b": "x"}, partial(slow, pause=1.0), ""), ({"a": 0.1 + 0.2}, slow, ""), ({"a": 0.3}, slow, ""),
        ]
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert point_key({"b": "x", "a": 1}, slow) == keys[0]  # order is not content
    assert point_key({"b": "x", "a": np.int64(1)}, slow) == keys[0]


def test_other_code_makes_other_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def points_run() -> int:
        result = sweep(numbered(4), polynomial, tmp_path, InProcess())
        return result.points - result.reused

    assert [points_run(), points_run()] == [4, 0]
    monkeypatch.setattr("xbar.workloads.study.identity.code_version", lambda: "another")
    assert [points_run(), points_run()] == [4, 0]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([{"a": math.nan}], "a = nan: must be a text, a finite number"), ([{"a": [1]}], r"a = \[1\]"),
        ([{"key": 1}], "name 'key' of a point"), ([], "points = 0 points"), ([3], "point = 3: must be a dict"),
    ],
)  # fmt: skip
def test_points_that_cannot_be_are_named(points: list[dict[str, float]], said: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(points, polynomial, tmp_path / "out", InProcess())
    assert not (tmp_path / "out").exists()


# ---- rows


def test_rows_are_what_the_function_returns_in_the_order_of_the_points(tmp_path: Path) -> None:
    points = numbered(25)
    result = sweep(points[::-1], polynomial, tmp_path, InProcess(), about={"title": "backwards"})
    frame = result.frame()
    assert list(frame.columns) == ["point", "x", "seed", "value", "count", "large", "wall_s", "error", "key"]
    for place, point in enumerate(points[::-1]):
        row, expected = frame.iloc[place], {**point, **polynomial(point)}
        assert row["point"] == place
        assert all(row[name] == value for name, value in expected.items())  # bit for bit
    assert [str(frame[name].dtype) for name in ("x", "count", "large")] == ["float64", "int64", "bool"]
    assert frame["error"].isna().all()
    assert (frame["wall_s"] > 0).all()
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert summary["title"] == "backwards"
    assert summary["varied"] == ["x", "seed"]


def test_a_point_that_fails_is_a_row_with_its_error(tmp_path: Path) -> None:
    result = sweep([{"x": x} for x in range(1, 8)], fragile, tmp_path, InProcess())
    frame = result.frame()
    assert result.failed == 5
    assert frame["error"].tolist()[1:6] == [
        "x = 2: is not allowed",
        "ScienceError: strange",
        "run returned 'x', which is a column of the point",
        "run returned 'list' = [1]: must be a name with a text, a number, true, false or None",
        "SystemExit: leaving",
    ]
    assert frame["y"].tolist()[::6] == [0.5, 3.5]
    assert sweep([{"x": x} for x in range(1, 8)], fragile, tmp_path, InProcess()).reused == 7
    assert sweep([{"x": x} for x in range(1, 8)], fragile, tmp_path, InProcess(), retry_failed=True).reused == 2


def test_equal_points_are_computed_once_and_columns_take_any_mixture(tmp_path: Path) -> None:
    points = [{"a": 1}, {"a": "x"}, {"a": 1}, {"b": 2**60}, {"b": 0.5}, {"a": True}]
    calls: list[object] = []
    frame = sweep(points, lambda point: calls.append(point) or {"n": len(calls)}, tmp_path, InProcess()).frame()  # type: ignore[func-returns-value]
    assert frame["n"].tolist() == [1, 2, 1, 3, 4, 5]
    assert frame["a"].tolist()[:3] == ["1", "x", "1"]
    assert frame["b"].tolist()[3:5] == [2.0**60, 0.5]


# ---- a folder that has results


def test_a_sweep_grows_but_what_it_had_is_not_lost(tmp_path: Path) -> None:
    sweep(numbered(4), polynomial, tmp_path, InProcess())
    result = sweep(numbered(6)[::-1], polynomial, tmp_path, InProcess())  # more, in another order
    assert (result.points, result.reused) == (6, 4)
    before = (tmp_path / RESULTS).read_bytes()
    for fewer in (numbered(5), [*numbered(6)[1:], {"x": 9.0, "seed": 9}]):
        with pytest.raises(SweepError, match=r"holds the results of another sweep: 1 of its 6 points are not among these \d"):
            sweep(fewer, polynomial, tmp_path, InProcess())
    with pytest.raises(SweepError, match=r"holds the results of the function .*\.polynomial, not of .*\.slow"):
        sweep(numbered(6), slow, tmp_path, InProcess())
    assert (tmp_path / RESULTS).read_bytes() == before
    (tmp_path / RESULTS).unlink()  # as the message says
    assert sweep(numbered(5), polynomial, tmp_path, InProcess()).reused == 5


def test_results_that_are_not_a_sweeps_are_not_replaced(tmp_path: Path) -> None:
    for content in (b"", b"PAR1 and more", b"\0" * 100):
        (tmp_path / RESULTS).write_bytes(content)
        with pytest.raises(SweepError, match="cannot be read as the results of a sweep"):
            sweep(numbered(2), polynomial, tmp_path, InProcess())
        assert (tmp_path / RESULTS).read_bytes() == content
    pd.DataFrame({"mine": [1]}).to_parquet(tmp_path / RESULTS)
    with pytest.raises(SweepError, match="cannot be read as the results of a sweep"):
        sweep(numbered(2), polynomial, tmp_path, InProcess())


def test_lines_of_progress_come_a_twentieth_or_half_a_minute_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clock = [0.0]
    monkeypatch.setattr("xbar.workloads.study.sweep.time.monotonic", lambda: clock[0])

    def at_once(point: dict[str, float]) -> dict[str, object]:
        clock[0] += 0.001 if point["seed"] < 200 else 20.0 if point["seed"] < 210 else 0.0
        return {}

    sweep(numbered(400), at_once, tmp_path, InProcess(), progress=True)
    said = capsys.readouterr().err.splitlines()
    at = [int(line.split()[1]) for line in said]
    assert at == [0, *range(20, 201, 20), 202, 204, 206, 208, 210, *range(230, 400, 20), 400]
    assert said[10] == "sweep: 200 of 400 points, 0 s, about 0 s left"
    assert said[15] == f"sweep: 210 of 400 points, 200 s, about {200.2 / 210 * 190:.0f} s left"


# ---- executors


@pytest.mark.parametrize("make", [lambda: ThreadPoolExecutor(3), lambda: local(2)], ids=["threads", "processes"])
def test_every_executor_gives_the_same_bits(make: Callable[[], Executor], tmp_path: Path) -> None:
    expected = sweep(numbered(30), polynomial, tmp_path / "serial", InProcess()).frame()
    with make() as executor:
        sweep(numbered(30), polynomial, tmp_path / "other", executor, window=5)
    pd.testing.assert_frame_equal(without_time(tmp_path / "other"), expected.drop(columns="wall_s"), check_exact=True)


def test_no_more_points_are_given_out_than_the_window(tmp_path: Path) -> None:
    seen, lock = [0, 0], threading.Lock()

    class Counting(ThreadPoolExecutor):
        def submit(self, *task):  # type: ignore[no-untyped-def, override]
            with lock:
                seen[0] += 1
                seen[1] = max(seen)
            future = super().submit(*task)
            future.add_done_callback(lambda _: seen.__setitem__(0, seen[0] - 1))
            return future

    with Counting(2) as executor:
        sweep(numbered(50), polynomial, tmp_path, executor, window=3)
    assert 1 <= seen[1] <= 4  # the callback that counts down comes after the one that tells of the result


def test_a_point_that_kills_its_worker_is_found_and_the_others_go_on(tmp_path: Path) -> None:
    frame = sweep([{"x": x} for x in range(10)], deadly, tmp_path, workers=2).frame()
    assert frame["error"].notna().tolist() == [x == 5 for x in range(10)]
    assert "the worker process died" in frame["error"][5]
    assert frame["y"].drop(5).tolist() == [x**2 for x in range(10) if x != 5]


def test_what_cannot_go_on_is_named(tmp_path: Path) -> None:
    with local(1) as broken, pytest.raises(SweepError, match="the executor broke"):
        sweep([{"x": 5}], deadly, tmp_path / "a", broken)
    lock = threading.Lock()
    with pytest.raises(SweepError, match="cannot be sent to a worker"):
        sweep([{"x": 5}], lambda point: {"y": lock.locked()}, tmp_path / "b")
    for options in ({"workers": 0}, {"threads": 0}, {"window": 0}):
        with pytest.raises(SweepError, match="must be a whole number of at least 1"):
            sweep([{"x": 5}], slow, tmp_path / "c", **options)  # type: ignore[arg-type]
    with pytest.raises(SweepError, match="no dask scheduler answers there"), cluster("tcp://127.0.0.1:1", timeout=0.2):
        pass
    for address in ("", "host", "tcp://host", "http://host:1"):
        with pytest.raises(SweepError, match=f"scheduler = '{address}': must be an address"), cluster(address):
            pass


def keeping(point: dict[str, int]) -> dict[str, object]:
    """The process, which keeps 320 MB of the second point for the points to come, as long ones keep networks and data."""
    if point["x"] == 1:
        math.kept = np.ones(40_000_000)  # type: ignore[attr-defined] # of a module, which outlives the point
        time.sleep(1.1)
    return {"process": os.getpid()}


def test_a_worker_that_keeps_much_for_later_points_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("psutil", reason="without psutil nothing looks at a worker's memory")
    found = sweep(grid({"x": [0, 1, 2, 3]}), keeping, tmp_path, workers=1).frame()
    assert found["process"].nunique() == 1, found


def test_a_worker_of_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(["mine", "theirs", "mine"])
    monkeypatch.setattr("xbar.workloads.study.identity.code_version", lambda: next(versions))
    with pytest.raises(SweepError, match="a worker has other code"):
        sweep([{"x": 1}], slow, tmp_path, InProcess())


# ---- interrupted


def test_ctrl_c_leaves_what_was_done_and_the_sweep_goes_on(tmp_path: Path) -> None:
    calls: list[float] = []

    def interrupted(point: dict[str, float]) -> dict[str, object]:
        if len(calls) == 7:
            calls.append(math.nan)
            raise KeyboardInterrupt
        calls.append(point["x"])
        return polynomial(point)

    with pytest.raises(KeyboardInterrupt):
        sweep(numbered(20), interrupted, tmp_path, InProcess())
    assert not (tmp_path / RESULTS).exists()
    result = sweep(numbered(20), interrupted, tmp_path, InProcess())
    assert result.reused == 7
    assert len(calls) == 21
    assert result.frame()["value"].tolist() == [polynomial(point)["value"] for point in numbered(20)]


def test_a_torn_line_is_forgotten_at_every_byte(tmp_path: Path) -> None:
    sweep(numbered(3), polynomial, tmp_path, InProcess())
    whole, expected = (tmp_path / JOURNAL).read_bytes(), without_time(tmp_path)
    begins = whole.rindex(b"\n", 0, -1) + 1
    for end in (*range(begins, len(whole), 9), len(whole) - 1, 3, 1, 0):
        (tmp_path / JOURNAL).write_bytes(whole[:end])
        assert sweep(numbered(3), polynomial, tmp_path, InProcess()).reused == (2 if end >= begins else 0)
        pd.testing.assert_frame_equal(without_time(tmp_path), expected, check_exact=True)
        assert len((tmp_path / JOURNAL).read_bytes().splitlines()) == 4


@settings(max_examples=60, deadline=None)
@given(content=st.one_of(st.binary(max_size=80), st.builds(
    lambda lines: b'{"format": "xbar sweep journal 1"}\n' + b"\n".join(lines) + b"\n",
    st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([
        b"{}", b"[]", b"1", b'{"key": 1}', b'{"key": "a", "found": {}, "error": null, "wall_s": 1.0}',
        b'{"key": "a", "found": 3, "error": null, "wall_s": 1}', b'{"key": "a", "found": {}, "error": null, "wall_s": "x"}',
        b"[" * 100_000,
    ])), max_size=3),
)))  # fmt: skip
def test_any_journal_is_read_or_refused_by_name(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("journal")
    (folder / JOURNAL).write_bytes(content)
    try:
        sweep([{"x": 0.5, "seed": 1}], polynomial, folder, InProcess())
        return
    except SweepError as caught:
        said = str(caught)
    assert f"{folder / JOURNAL}, line" in said
    assert (folder / JOURNAL).read_bytes() == content  # nothing of somebody else's file is lost


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    def second(point: dict[str, float]) -> dict[str, object]:
        with pytest.raises(SweepError, match="another sweep is at work there"):
            sweep(numbered(2), polynomial, tmp_path, InProcess())
        return {}

    assert sweep([{"x": 1}], second, tmp_path, InProcess()).frame()["error"].isna().all()


def test_ctrl_c_ends_a_sweep_on_processes_soon(tmp_path: Path) -> None:
    """As from a terminal, where the signal reaches the workers too; what was given out does not hold it up."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while process.poll() is None and lines(tmp_path) <= 10:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == -signal.SIGINT
    assert said.strip().endswith("KeyboardInterrupt")
    assert "InvalidStateError" not in said
    assert 11 <= lines(tmp_path) < 61
    assert (tmp_path / JOURNAL).read_bytes().endswith(b"\n")


CHILD = """
import sys, time
from xbar.workloads.study.sweep import sweep

def slow(point):
    time.sleep(0.04)
    return {"y": point["x"] ** 2 / 7}

sweep([{"x": x} for x in range(60)], slow, sys.argv[1], workers=2)
"""  # its workers import little, so they begin soon


def child(out: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", CHILD, str(out)], cwd=ROOT)


def lines(out: Path) -> int:
    return (out / JOURNAL).read_bytes().count(b"\n") if (out / JOURNAL).is_file() else 0


def test_killed_twice_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """SIGKILL of the sweep alone: its workers end by themselves."""
    out = tmp_path / "killed"
    for rows in (12, 30):
        process = child(out)
        while process.poll() is None and lines(out) <= rows:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (out / RESULTS).exists()
    assert 30 <= lines(out) - 1 < 60
    assert child(out).wait() == 0
    entries = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()[1:]]
    assert len(entries) == len({entry["key"] for entry in entries}) == 60  # no point ran twice to its end
    sweep([{"x": x} for x in range(60)], partial(slow, pause=0.0), tmp_path / "whole", InProcess())
    found, expected = (without_time(folder).drop(columns="key") for folder in (out, tmp_path / "whole"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)

"""Many points through one function, on processes here or on a cluster, kept as they finish: an interrupted sweep goes on.

A point is a dict of dotted names and values (texts, numbers, switches). It is known by a hash of all its values, of what
they name (`depends`), of the function and of the code, so a point that is done is not run again, and one of other code is.
Each finished point is a line of `journal.jsonl` in the sweep's folder; killed at any moment, a sweep loses what was being
computed. A point that fails is a row with its error. At the end `results.parquet` has one row a point, in their order. A
sweep may grow: the same folder takes more points, but not fewer or others, whose results would be lost.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from xbar.workloads.study.identity import (
    Point,
    Run,
    SweepError,
    Value,
    code_version,
    function_name,
    plain_point,
    point_key,
)
from xbar.workloads.study.journal import Journal
from xbar.workloads.study.kept_points import JOURNAL, KeptPoints
from xbar.workloads.study.result_table import RESULTS, SUMMARY, write_results, write_summary
from xbar.workloads.study.spaces import MOST_POINTS, Axis, Span, check_count, grid, latin_hypercube, random
from xbar.workloads.study.workers import InProcess, check_counts, cluster, local

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "JOURNAL", "MOST_POINTS", "RESULTS", "SUMMARY", "Axis", "InProcess", "Point", "Run", "Span", "SweepError", "SweepResult", "Value",
    "cluster", "code_version", "grid", "latin_hypercube", "local", "point_key", "random", "sweep",
]  # fmt: skip

SECONDS_A_LINE, LINES_OF_ALL = 30.0, 20  # of progress where no terminal shows it: after so long, or so large a part


@dataclass(frozen=True, repr=False)
class SweepResult:
    """What a sweep left in `out`: rows in `path`; of `points`, `reused` were known before, `failed` have an error."""

    path: Path
    points: int
    reused: int
    failed: int

    def __repr__(self) -> str:
        points = f"{self.points:,} point{'' if self.points == 1 else 's'}"
        return f"Sweep of {points}, {self.reused:,} of them known before, {self.failed:,} failed\n  {self.path}"

    def _repr_html_(self) -> str:
        """The sweep's best points and its front, where its folder is whole; else what is printed."""
        from html import escape

        from xbar.reports.results import ResultsError
        from xbar.reports.sweep_sheet import SweepSheet

        told = f"<p>{escape(repr(self))}</p>"
        try:
            return told + SweepSheet.load(self.path.parent)._repr_html_()
        except ResultsError:
            return told

    def frame(self) -> "pd.DataFrame":
        """One row a point: `point` (its place), its own columns, what `run` returned, wall_s, error (missing: none), key."""
        import pandas as pd

        return pd.read_parquet(self.path)


def sweep(
    points: Iterable[Point], run: Run, out: str | Path, executor: Executor | None = None, *, workers: int | None = None,
    threads: int = 1, window: int | None = None, depends: Callable[[Point], str] | None = None,
    retry_failed: bool = False, progress: bool = False, about: Mapping[str, Any] | None = None,
) -> SweepResult:  # fmt: skip
    """Compute `run(point)` for every point and leave `results.parquet` in `out`; what is kept there is not run again.

    run: importable or picklable; returns names and values (texts, numbers, switches, None). executor: anything with the
    interface of concurrent.futures.Executor (`InProcess`, `cluster`); None for `workers` processes here. threads: of torch
    in a worker. window: points given out at most at a time. depends: what else a point's result depends on, as a text
    (contents of files that it names). retry_failed: run again what failed before. progress: show it, with the time that is
    left. about: what else `sweep.json` is to say. The results are the same bits whatever the executor, workers and window,
    where `run` itself is deterministic; equal points are computed once.

    Where `out` has results already, these points must contain all of theirs, for the same function: a sweep grows, and what it
    had is never lost. Raises SweepError where they do not, for points that cannot be, for a folder whose journal is not one or is
    in use, for workers of other code, and where the executor given breaks; the journal is complete then, as it is after KeyboardInterrupt.
    """
    check_counts(workers=workers, threads=threads, window=window)
    folder = Path(out)
    plain = [plain_point(point) for point in points]
    check_count("points", len(plain))
    with KeptPoints(folder, run, executor, workers=workers, threads=threads, window=window, depends=depends) as kept:
        keys = kept.keys(plain)
        _check_grown(folder, plain, run, kept.journal)
        known = kept.known(keys, retry_failed)
        with shown_progress(len(known), len(set(keys)), progress) as bar:
            kept.compute(plain, keys, bar, retry_failed)
        failed = sum(key in kept.journal.failed for key in keys)
        write_results(folder, plain, keys, kept.journal)
        write_summary(folder, plain, failed, kept.code, {**(about or {}), "function": function_name(run)})
    return SweepResult(folder / RESULTS, len(plain), sum(key in known for key in keys), failed)


def _check_grown(folder: Path, points: list[dict[str, Value]], run: Run, journal: Journal) -> None:
    """Raise SweepError where the folder's results are of points that are not among these, or of another function."""
    path = folder / RESULTS
    if not path.exists():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    choice = f"give another folder, or remove {RESULTS} there to replace it"
    try:
        before = set(pq.read_table(path, columns=["key"])["key"].to_pylist())
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise SweepError(f"{path}: cannot be read as the results of a sweep ({error}); {choice}") from None
    function = _kept_function(folder)
    if function is not None and function != function_name(run):
        raise SweepError(f"{folder}: holds the results of the function {function}, not of {function_name(run)}; {choice}")
    mine = {json.dumps(point, sort_keys=True) for point in points}
    known = [journal.entry(key).get("point") for key in before if key in journal.begins]
    lost = sum(json.dumps(point, sort_keys=True) not in mine for point in known)
    if lost:
        raise SweepError(f"{folder}: holds the results of another sweep: {lost} of its {len(before)} points are not among these "
                         f"{len(points)}; {choice} (what is computed stays in {JOURNAL})")  # fmt: skip


def _kept_function(folder: Path) -> str | None:
    """The name of the function whose results are in the folder, where it is told."""
    try:
        found = json.loads((folder / SUMMARY).read_text("utf-8"))["function"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(found)


@contextlib.contextmanager
def shown_progress(done: int, total: int, shown: bool, what: str = "sweep") -> Iterator[Any]:
    """What is told of a sweep on its way: a bar on a terminal, else a line now and then."""
    if shown and not sys.stderr.isatty():
        yield _Lines(done, total, what)
        return
    with tqdm(total=total, initial=done, unit="point", disable=not shown, file=sys.stderr) as bar:
        yield bar


class _Lines:
    """Progress in plain lines: one after each twentieth of the points, or after 30 s, and one at the end."""

    def __init__(self, done: int, total: int, what: str):
        self.known, self.done, self.total, self.failed, self.what = done, done, total, 0, what
        self.began = self.said_at = time.monotonic()
        self.said = done
        print(f"{what}: {done} of {total} points known before", file=sys.stderr, flush=True)

    def set_postfix(self, failed: int, refresh: bool = False) -> None:
        """How many failed so far."""
        self.failed = failed

    def update(self) -> None:
        """One more point is done."""
        self.done += 1
        now = time.monotonic()
        if (self.done - self.said) * LINES_OF_ALL < self.total and now - self.said_at < SECONDS_A_LINE and self.done < self.total:
            return
        took = now - self.began
        left = took / (self.done - self.known) * (self.total - self.done)
        failed = f", {self.failed} failed" if self.failed else ""
        told = f"{self.what}: {self.done} of {self.total} points{failed}, {took:.0f} s, about {left:.0f} s left"
        print(told, file=sys.stderr, flush=True)
        self.said, self.said_at = self.done, now

"""Points of one function that are kept in a folder: computed where they are not there yet, whatever asks for them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any

from xbar.workloads.study import identity
from xbar.workloads.study.identity import Point, Run, Value, function_version, key_of
from xbar.workloads.study.journal import Journal
from xbar.workloads.study.workers import Distribution, Pool, check_counts

JOURNAL = "journal.jsonl"
Plain = dict[str, Value]


class KeptPoints:
    """The journal of a folder and who computes for it, while it is open (a `with` statement); one sweep or search at a time has it.

    run, executor, workers, threads, window, depends: as `xbar.workloads.study.sweep.sweep` has them. Raises SweepError for counts below 1,
    for a folder whose journal is not one or is in use, and for a function that cannot be sent to workers.
    """

    def __init__(
        self, folder: Path, run: Run, executor: Executor | None = None, *, workers: int | None = None, threads: int = 1,
        window: int | None = None, depends: Callable[[Point], str] | None = None,
    ):  # fmt: skip
        check_counts(workers=workers, threads=threads, window=window)
        self.run, self.depends, self.threads = run, depends, threads
        self.code = identity.code_version() + function_version(run)
        self.journal = Journal(folder / JOURNAL)
        try:
            self._pool = Pool(executor, run, workers, threads)
        except BaseException:
            self.journal.close()
            raise
        self._window = window or self._pool.window

    def __enter__(self) -> "KeptPoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._pool.close()
        finally:
            self.journal.close()

    def keys(self, points: Iterable[Plain]) -> list[str]:
        """What these points are known by."""
        return [key_of(point, self.code, self.depends(point) if self.depends else "") for point in points]

    def known(self, keys: Collection[str], retry_failed: bool = False) -> set[str]:
        """Those that need no computing; with `retry_failed` not those that failed."""
        return {key for key in keys if key in self.journal.begins and not (retry_failed and key in self.journal.failed)}

    def compute(self, points: Sequence[Plain], keys: Sequence[str], bar: Any, retry_failed: bool = False) -> None:
        """Compute and keep what is not known of these points, of these keys, each once; `bar` is told of each that ends. Raises as
        `xbar.workloads.study.sweep.sweep`; what ended before is kept."""
        known = self.known(keys, retry_failed)
        todo = {key: point for key, point in zip(keys, points, strict=True) if key not in known}
        Distribution(self._pool, self.run, self.threads, self.journal, self._window, bar).all(todo)

    def found(self, key: str) -> Mapping[str, Any]:
        """The line of the journal of a known point: `found`, what the function returned, `error` and `wall_s`."""
        return self.journal.entry(key)

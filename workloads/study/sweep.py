"""Many points through one function, on processes here or on a cluster, kept as they finish: an interrupted sweep goes on.

A point is a dict of dotted names and values (texts, numbers, switches). It is known by a hash of all its values, of what
they name (`depends`), of the function and of the code, so a point that is done is not run again, and one of other code is.
Each finished point is a line of `journal.jsonl` in the sweep's folder; killed at any moment, a sweep loses what was being
computed. A point that fails is a row with its error. At the end `results.parquet` has one row a point, in their order. A
sweep may grow: the same folder takes more points, but not fewer or others, whose results would be lost.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import math
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

import cloudpickle
import joblib
import numpy as np
from filelock import FileLock, Timeout
from joblib.externals.loky.process_executor import ProcessPoolExecutor
from tqdm import tqdm

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Value = str | int | float | bool | None
Point = Mapping[str, Value]
Run = Callable[[dict[str, Value]], Mapping[str, Value]]

PACKAGES = ("xbar.hw", "xbar.models", "xbar.compression", "xbar.workloads")  # what the results of points rest on
JOURNAL, RESULTS, SUMMARY = "journal.jsonl", "results.parquet", "sweep.json"
HEADER = b'{"format": "xbar sweep journal 1"}\n'
MOST_POINTS = 1_000_000
MOST_WHOLE = 2**53  # beyond, not every whole number is a float
IN_FLIGHT = 4  # points given to each worker ahead, so that it need not wait
ATTEMPTS = 2  # of a point alone in a worker that dies
IDLE_SECONDS = 300  # after which a worker without work ends
BATCH_ROWS = 5000  # of the results file, in memory at once
SECONDS_A_LINE, LINES_OF_ALL = 30.0, 20  # of progress where no terminal shows it: after so long, or so large a part
OWN_COLUMNS = ("point", "wall_s", "error", "key")


class SweepError(ValueError):
    """A sweep cannot be made, or cannot go on; the message names field, value and what is allowed."""


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


# ---- spaces


@dataclass(frozen=True)
class Span:
    """Values from low to high, both included; `log`: equal ratios equally likely; `whole`: whole numbers only.

    steps: how many of them a grid takes; None for each whole number. Raises SweepError.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            allowed = (int,) if self.whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, allowed):
                raise SweepError(f"{name} = {value!r}: must be a {'whole ' if self.whole else ''}number")
            if isinstance(value, int) and abs(value) > MOST_WHOLE:
                raise SweepError(f"{name} = {value}: must be within ±2^53")
            if not math.isfinite(value):
                raise SweepError(f"{name} = {value}: must be finite")
        if not self.low < self.high:
            raise SweepError(f"low = {self.low}: must be below high = {self.high}")
        if not math.isfinite(self.high - self.low):
            raise SweepError(f"high = {self.high}: too far from low = {self.low}")
        if self.log and self.low <= 0:
            raise SweepError(f"low = {self.low}: must be above 0 on a logarithmic scale")
        if self.steps is not None and (
            isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 2 <= self.steps <= MOST_POINTS
        ):
            raise SweepError(f"steps = {self.steps!r}: must be a whole number from 2 to {MOST_POINTS}")

    def at(self, share: float) -> Value:
        """The value below which a share from 0 to 1 of the span lies."""
        low, high = float(self.low), float(self.high) + (1 if self.whole else 0)  # whole numbers: floors of low to high + 1
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return int(min(max(math.floor(value), self.low), self.high)) if self.whole else min(max(value, low), high)

    def values(self) -> list[Value]:
        """What a grid takes of it; raises SweepError where nothing says how many."""
        if self.steps is None:
            if not self.whole:
                raise SweepError("steps = (missing): a grid over numbers that are not whole needs it, or a list of values")
            if self.high - self.low >= MOST_POINTS:
                raise SweepError(f"high = {self.high}: more than {MOST_POINTS} values from low = {self.low}; give steps")
            return list(range(int(self.low), int(self.high) + 1))
        spaced = np.geomspace if self.log else np.linspace
        found = spaced(float(self.low), float(self.high), self.steps)
        return list(dict.fromkeys(int(x) for x in np.rint(found))) if self.whole else [float(x) for x in found]


Axis = Span | Sequence[Value]


def grid(axes: Mapping[str, Axis]) -> list[dict[str, Value]]:
    """Every combination of the axes' values, the last axis fastest. Raises SweepError."""
    values = [_named(name, axis.values) if isinstance(axis, Span) else list(axis) for name, axis in _checked(axes).items()]
    _check_count("axes", math.prod(len(each) for each in values))
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*values)]


def random(axes: Mapping[str, Axis], samples: int, seed: int) -> list[dict[str, Value]]:
    """`samples` points, each axis drawn uniformly (of a list, each value alike often). Raises SweepError."""
    _check_drawn(samples, seed)
    return _placed(_checked(axes), np.random.default_rng(seed).random((samples, len(axes))))


def latin_hypercube(axes: Mapping[str, Axis], samples: int, seed: int) -> list[dict[str, Value]]:
    """`samples` points, one in each of as many equal parts of every axis (scipy.stats.qmc). Raises SweepError."""
    from scipy.stats import qmc

    _check_drawn(samples, seed)
    return _placed(_checked(axes), qmc.LatinHypercube(len(axes), rng=np.random.default_rng(seed)).random(samples))


def _placed(axes: Mapping[str, Axis], shares: np.ndarray) -> list[dict[str, Value]]:
    """Points of shares (samples, axes) in [0, 1)."""
    return [
        {
            name: axis.at(share) if isinstance(axis, Span) else axis[min(int(share * len(axis)), len(axis) - 1)]
            for (name, axis), share in zip(axes.items(), row, strict=True)
        }
        for row in shares.tolist()
    ]


def _checked(axes: Mapping[str, Axis]) -> Mapping[str, Axis]:
    if not axes:
        raise SweepError("axes = (none): at least one is needed")
    for name, axis in axes.items():
        if not isinstance(axis, Span) and (isinstance(axis, str) or not isinstance(axis, Sequence) or not axis):
            raise SweepError(f"{name} = {axis!r}: must be a list of one value or more")
    return axes


def _check_drawn(samples: int, seed: int) -> None:
    if isinstance(samples, bool) or not isinstance(samples, int):
        raise SweepError(f"samples = {samples!r}: must be a whole number")
    _check_count("samples", samples)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_WHOLE:
        raise SweepError(f"seed = {seed!r}: must be a whole number from 0 on")


def _check_count(what: str, count: int) -> None:
    if not 1 <= count <= MOST_POINTS:
        raise SweepError(f"{what} = {count} points: must be 1 to {MOST_POINTS}")


def _named(name: str, make: Callable[[], list[Value]]) -> list[Value]:
    try:
        return make()
    except SweepError as error:
        raise SweepError(f"{name}.{error}") from None


# ---- what a point is known by


@cache
def code_version() -> str:
    """The project's code and data files that points rest on, with torch and numpy, as one hash."""
    hashed = hashlib.sha256(f"torch {version('torch')} numpy {version('numpy')}".encode())
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = [path for path in Path(folder).rglob("*") if path.suffix in (".py", ".toml", ".csv", ".pt")]
            for path in sorted(files):
                hashed.update(f"{package}/{path.relative_to(folder).as_posix()} ".encode() + path.read_bytes())
    return hashed.hexdigest()


def _function_version(run: Run) -> str:
    """The function of a sweep: its name, and its file where that is not one of the project's."""
    inner = getattr(run, "func", run)  # of functools.partial
    bound = f"{getattr(run, 'args', ())!r} {getattr(run, 'keywords', {})!r}" if inner is not run else ""
    module = getattr(inner, "__module__", "")
    file = getattr(sys.modules.get(module), "__file__", None)
    outside = file is not None and module.split(".")[0] != "xbar"
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file is not None and outside else ""
    return f"{_function_name(run)} {bound} {source}"


def _function_name(run: Run) -> str:
    inner = getattr(run, "func", run)
    module, name = getattr(inner, "__module__", ""), getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{module}.{name}" if module != "__main__" else str(name)


def point_key(point: Point, run: Run, depends: str = "") -> str:
    """The hash that a point is known by (32 hexadecimal digits). Raises SweepError for values that a point cannot have."""
    return _key(_plain(point), code_version() + _function_version(run), depends)


def _key(point: dict[str, Value], code: str, depends: str) -> str:
    described = json.dumps([point, depends], sort_keys=True, allow_nan=False)
    return hashlib.sha256(f"{code} {described}".encode()).hexdigest()[:32]


def _plain(point: Point) -> dict[str, Value]:
    """The point with numpy's numbers as Python's. Raises SweepError."""
    if not isinstance(point, Mapping):
        raise SweepError(f"point = {point!r}: must be a dict of names and values")
    found: dict[str, Value] = {}
    for name, value in point.items():
        if not isinstance(name, str) or name in OWN_COLUMNS:
            raise SweepError(f"name {name!r} of a point: must be a text, other than {', '.join(OWN_COLUMNS)}")
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, str | int | float | bool | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise SweepError(f"{name} = {value!r}: must be a text, a finite number, true or false")
        found[name] = value
    return found


# ---- what a worker does


@dataclass(frozen=True)
class _Outcome:
    """One point computed: what `run` returned, wall time [s], the error's text, the code of who computed."""

    found: dict[str, Value]
    wall: float
    error: str | None
    code: str


def _compute(run: Run, point: dict[str, Value], threads: int) -> _Outcome:
    began = time.perf_counter()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    try:
        found, error = _returned(run(dict(point)), point), None
    except (Exception, SystemExit) as caught:
        found, error = {}, _text(caught)
    return _Outcome(found, time.perf_counter() - began, error, code_version())


def _returned(found: Mapping[str, Value], point: Point) -> dict[str, Value]:
    if not isinstance(found, Mapping):
        raise SweepError(f"run returned {type(found).__name__}: must be a dict of names and values")
    plain: dict[str, Value] = {}
    for name, value in found.items():
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(name, str) or not isinstance(value, str | int | float | bool | None):
            raise SweepError(f"run returned {name!r} = {value!r}: must be a name with a text, a number, true, false or None")
        if name in point or name in OWN_COLUMNS:
            raise SweepError(f"run returned {name!r}, which is a column of the point")
        plain[name] = value
    return plain


def _text(error: BaseException) -> str:
    """The message of an error of the project's own, which names what is wrong; of others also the type."""
    own = type(error).__module__.split(".")[0] == "xbar"
    return str(error) if own else f"{type(error).__name__}: {error}"


def _begin_worker(parent: int) -> None:
    """In a local worker: leave Ctrl-C to the sweep, and end when the sweep is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, left behind by a process that is killed

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ---- executors


class InProcess(Executor):
    """Computes each point at once in this process: for tests, and to look at errors with a debugger."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def local(workers: int | None = None, threads: int = 1) -> Executor:
    """Processes on this computer, by default one a core, of `threads` threads each. Raises SweepError."""
    _check_counts(workers=workers, threads=threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return ProcessPoolExecutor(
        workers or joblib.cpu_count(), timeout=IDLE_SECONDS, initializer=_begin_worker, initargs=(os.getpid(),),
        env={**dict.fromkeys(names, str(threads)), "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")},
    )  # fmt: skip


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise SweepError(f"{name} = {value!r}: must be a whole number of at least 1")


@contextlib.contextmanager
def cluster(address: str, timeout: float = 30.0) -> Iterator[Executor]:
    """The workers of a dask.distributed scheduler, as tcp://host:8786; points of a worker that dies run elsewhere.

    Workers need the same version of this project, and their own data files. timeout [s]: to reach the scheduler. Raises
    SweepError where dask.distributed is not installed, and where no scheduler answers.
    """
    if not re.fullmatch(r"(tcp|tls|ws|wss|ucx)://\S+:\d+", address):
        raise SweepError(f"scheduler = {address!r}: must be an address, as in tcp://host:8786")
    try:
        from distributed import Client
    except ImportError:
        raise SweepError("scheduler: needs dask.distributed; install it with: pip install 'xbar[cluster]'") from None
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise SweepError(f"scheduler = {address}: no dask scheduler answers there: {error}") from None
    logger = logging.getLogger("distributed.client")  # of a scheduler that is gone it tells in tracebacks, the sweep in a line
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with client:
            yield client.get_executor(pure=False)
    finally:
        logger.setLevel(before)


# ---- the journal


class _Journal:
    """Finished points, one line of JSON each, and where in the file each begins; one sweep at a time has it."""

    def __init__(self, path: Path):
        self.path = path
        self.begins: dict[str, int] = {}
        self.failed: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise SweepError(f"{path.parent}: another sweep is at work there") from None
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            self._file: BinaryIO = undo.enter_context(path.open("a+b"))
            self._read()
            undo.pop_all()

    def _read(self) -> None:
        """Find what is kept; a last line that was cut short is removed."""
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file):
            try:
                if number == 0 and not HEADER.startswith(line):
                    raise ValueError(f"its first line is not {HEADER.decode().strip()}")
                if not line.endswith(b"\n"):
                    break
                if number:
                    self._enter(json.loads(line), end)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise SweepError(f"{self.path}, line {number + 1}: not a sweep's journal ({error}); remove it to begin anew") from None
            end += len(line)
        self._file.truncate(end)
        if not end:
            self._append(HEADER)

    def _enter(self, entry: dict[str, Any], begins: int) -> None:
        key, found, error = entry["key"], entry["found"], entry["error"]
        entry["wall_s"] + 0.0
        if not isinstance(key, str) or not isinstance(error, str | None) or not isinstance(found, dict):
            raise TypeError("key and error must be texts, found a dict")
        if not all(isinstance(value, str | int | float | bool | None) for value in found.values()):
            raise TypeError("found must hold texts and numbers")
        self.begins[key] = begins
        (self.failed.discard if error is None else self.failed.add)(key)

    def _append(self, line: bytes) -> int:
        begins = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        self._file.flush()
        return begins

    def write(self, key: str, point: Point, outcome: _Outcome) -> None:
        """Keep a finished point: it is in the file when this returns."""
        entry = {"key": key, "wall_s": outcome.wall, "error": outcome.error, "found": outcome.found, "point": point}
        self._enter(entry, self._append(json.dumps(entry).encode() + b"\n"))

    def entry(self, key: str) -> dict[str, Any]:
        """What is kept of a finished point."""
        self._file.seek(self.begins[key])
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def close(self) -> None:
        """Let another sweep have it."""
        self._file.close()
        self._lock.release()


# ---- the sweep


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
    _check_counts(workers=workers, threads=threads, window=window)
    folder = Path(out)
    plain = [_plain(point) for point in points]
    _check_count("points", len(plain))
    code = code_version() + _function_version(run)
    keys = [_key(point, code, depends(point) if depends else "") for point in plain]
    journal = _Journal(folder / JOURNAL)
    try:
        _check_grown(folder, plain, run, journal)
        known = {key for key in keys if key in journal.begins and not (retry_failed and key in journal.failed)}
        todo = {key: point for key, point in zip(keys, plain, strict=True) if key not in known}
        pool = _Pool(executor, run, workers, threads)
        try:
            with _progress(len(known), len(known) + len(todo), progress) as bar:
                _Sweep(pool, run, threads, journal, window or pool.window, bar).all(todo)
        finally:
            pool.close()
        failed = sum(key in journal.failed for key in keys)
        _write_results(folder, plain, keys, journal)
        _write_summary(folder, plain, failed, code, {**(about or {}), "function": _function_name(run)})
    finally:
        journal.close()
    return SweepResult(folder / RESULTS, len(plain), sum(key in known for key in keys), failed)


def _check_grown(folder: Path, points: list[dict[str, Value]], run: Run, journal: _Journal) -> None:
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
    if function is not None and function != _function_name(run):
        raise SweepError(f"{folder}: holds the results of the function {function}, not of {_function_name(run)}; {choice}")
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
def _progress(done: int, total: int, shown: bool) -> Iterator[Any]:
    """What is told of a sweep on its way: a bar on a terminal, else a line now and then."""
    if shown and not sys.stderr.isatty():
        yield _Lines(done, total)
        return
    with tqdm(total=total, initial=done, unit="point", disable=not shown, file=sys.stderr) as bar:
        yield bar


class _Lines:
    """Progress in plain lines: one after each twentieth of the points, or after 30 s, and one at the end."""

    def __init__(self, done: int, total: int):
        self.known, self.done, self.total, self.failed = done, done, total, 0
        self.began = self.said_at = time.monotonic()
        self.said = done
        print(f"sweep: {done} of {total} points known before", file=sys.stderr, flush=True)

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
        print(f"sweep: {self.done} of {self.total} points{failed}, {took:.0f} s, about {left:.0f} s left", file=sys.stderr, flush=True)
        self.said, self.said_at = self.done, now


class _Pool:
    """The executor of a sweep; processes of our own are begun when first needed, and again when one of them died."""

    def __init__(self, given: Executor | None, run: Run, workers: int | None, threads: int):
        self.given, self.workers, self.threads = given, workers or joblib.cpu_count(), threads
        self._own: Executor | None = None
        if given is None:
            try:
                cloudpickle.dumps(run)
            except Exception as error:
                raise SweepError(f"run = {run!r}: cannot be sent to a worker ({type(error).__name__}: {error})") from None

    @property
    def window(self) -> int:
        """Points to give out at a time."""
        return IN_FLIGHT * (self.workers if self.given is None else max(8, joblib.cpu_count()))

    def submit(self, *task: Any) -> Future[_Outcome]:
        """The outcome to be of a point; BrokenExecutor where workers are gone."""
        if self.given is None and self._own is None:
            self._own = local(self.workers, self.threads)
        chosen = self.given or self._own
        assert chosen is not None
        return chosen.submit(_compute, *task)

    def renew(self, error: BaseException) -> None:
        """Begin anew after workers died; SweepError where they are not ours."""
        if self.given is not None:
            raise SweepError(f"the executor broke ({type(error).__name__}: {error}); sweep again into the same folder to go on")
        self.close()

    def cancel(self, futures: Iterable[Future[_Outcome]]) -> None:
        """Take back what was given out; our own processes are ended instead, which a cancelled future would hold up."""
        for future in futures if self.given is not None else ():
            future.cancel()

    def close(self) -> None:
        """End our own processes, with what they are computing."""
        if self._own is not None:
            self._own.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
            self._own = None


@dataclass
class _Sweep:
    """Gives points out, at most `window` at a time, and writes down what comes back."""

    pool: _Pool
    run: Run
    threads: int
    journal: _Journal
    window: int
    bar: Any
    given: dict[Future[_Outcome], tuple[str, dict[str, Value]]] = field(default_factory=dict)
    suspects: deque[tuple[str, dict[str, Value]]] = field(default_factory=deque)  # one of them killed a worker
    deaths: dict[str, int] = field(default_factory=dict)  # of workers with that point alone
    done: SimpleQueue[Future[_Outcome]] = field(default_factory=SimpleQueue)
    failed: int = 0

    @property
    def _most(self) -> int:
        """Points to give out at a time now: a suspect is alone."""
        return 1 if self.suspects or any(key in self.deaths for key, _ in self.given.values()) else self.window

    def all(self, todo: Mapping[str, dict[str, Value]]) -> None:
        """Compute and keep every point."""
        waiting = iter(todo.items())
        left = len(todo)
        try:
            while left or self.given or self.suspects:
                while (left or self.suspects) and len(self.given) < self._most and self.done.empty():
                    if self.suspects:
                        self._give(self.suspects.popleft())
                    else:
                        left -= 1
                        self._give(next(waiting))
                if self.given or not self.done.empty():
                    self._take(self.done.get())
        except BaseException:
            self.pool.cancel(self.given)
            raise

    def _give(self, item: tuple[str, dict[str, Value]]) -> None:
        try:
            future = self.pool.submit(self.run, item[1], self.threads)
        except BrokenExecutor as error:
            self._broken(error, [item])
            return
        self.given[future] = item
        future.add_done_callback(self.done.put)

    def _take(self, future: Future[_Outcome]) -> None:
        item = self.given.pop(future, None)
        if item is None:  # of workers that are gone
            return
        if future.cancelled():
            raise SweepError("the executor gave points up (was it closed?); sweep again into the same folder to go on")
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._broken(error, [item])
        elif error is not None:
            self._keep(item, _Outcome({}, 0.0, _text(error), code_version()))
        else:
            self._keep(item, future.result())

    def _broken(self, error: BaseException, lost: list[tuple[str, dict[str, Value]]]) -> None:
        """Workers died: what was given out is tried again, one point at a time, to find which of them does it."""
        for future, item in self.given.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._keep(item, future.result())
            else:
                lost.append(item)
        self.given.clear()
        self.pool.renew(error)
        for item in lost:
            self.deaths[item[0]] = self.deaths.get(item[0], 0) + (len(lost) == 1)
            if self.deaths[item[0]] >= ATTEMPTS:
                died = "the worker process died while it computed this point (killed, or out of memory)"
                self._keep(item, _Outcome({}, 0.0, died, code_version()))
            else:
                self.suspects.append(item)

    def _keep(self, item: tuple[str, dict[str, Value]], outcome: _Outcome) -> None:
        if outcome.code != code_version():
            raise SweepError("a worker has other code of this project than the sweep; install the same version on both, or "
                             "sweep again if files have changed meanwhile")  # fmt: skip
        self.journal.write(*item, outcome)
        self.failed += outcome.error is not None
        if self.failed:
            self.bar.set_postfix(failed=self.failed, refresh=False)
        self.bar.update()


# ---- what is left


def _row(place: int, point: dict[str, Value], key: str, journal: _Journal) -> dict[str, Value]:
    entry = journal.entry(key)
    return {"point": place, **point, **entry["found"], "wall_s": float(entry["wall_s"]), "error": entry["error"], "key": key}


def _write_results(folder: Path, points: list[dict[str, Value]], keys: list[str], journal: _Journal) -> None:
    """All rows as Parquet, under a temporary name first; what told of the results before goes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from xbar.reports.results import forget

    kinds: dict[str, set[type]] = {}
    for point, key in zip(points, keys, strict=True):
        for name, value in {**point, **journal.entry(key)["found"]}.items():
            seen = kinds.setdefault(name, set())
            if value is not None:
                seen.add(float if isinstance(value, int) and abs(value) > MOST_WHOLE else type(value))
    own: dict[str, set[type]] = {"point": {int}, **kinds, "wall_s": {float}, "error": {str}, "key": {str}}
    schema = pa.schema([(name, _arrow(pa, seen)) for name, seen in own.items()])
    temporary = folder / f"{RESULTS}.part"
    with pq.ParquetWriter(temporary, schema) as writer:
        for start in range(0, len(points), BATCH_ROWS):
            part = range(start, min(start + BATCH_ROWS, len(points)))
            rows = [_row(place, points[place], keys[place], journal) for place in part]
            columns = [_column(pa, schema.field(name).type, [row.get(name) for row in rows]) for name in own]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    forget(folder)
    os.replace(temporary, folder / RESULTS)


def _arrow(pa: Any, kinds: set[type]) -> "pa.DataType":
    """The narrowest type that holds a column: numbers together are floats, other mixtures texts."""
    if kinds <= {bool} and kinds:
        return pa.bool_()
    if kinds <= {int} and kinds:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()


def _column(pa: Any, kind: "pa.DataType", values: list[Value]) -> "pa.Array":
    if kind == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], kind)
    if kind == pa.string():
        texts = [value if isinstance(value, str | None) else json.dumps(value) for value in values]
        return pa.array([None if text is None else text.encode("utf-8", "replace").decode() for text in texts], kind)
    return pa.array(values, kind)


def _write_summary(folder: Path, points: list[dict[str, Value]], failed: int, code: str, about: Mapping[str, Any]) -> None:
    """What was swept: the columns that vary, what all points share, versions."""
    from xbar.reports.results import save_checksums, write_text  # not above: workers would load pandas for it

    names = list(dict.fromkeys(name for point in points for name in point))
    values = {name: list(itertools.islice(dict.fromkeys(json.dumps(point.get(name)) for point in points), 2)) for name in names}
    summary = {
        "points": len(points), "failed": failed, "varied": [name for name in names if len(values[name]) > 1],
        "fixed": {name: points[0][name] for name in names if len(values[name]) == 1},
        "code": hashlib.sha256(code.encode()).hexdigest()[:32],
        "versions": {name: version(name) for name in ("xbar", "torch", "numpy")},
    }  # fmt: skip
    write_text(folder / SUMMARY, json.dumps({**about, **summary}, indent=2, allow_nan=False) + "\n")
    save_checksums(folder, (SUMMARY, RESULTS))

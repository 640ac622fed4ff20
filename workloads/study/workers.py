"""Where points are computed: in this process, on processes here, or on a cluster; a point that kills its worker is found."""

import contextlib
import logging
import math
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import cloudpickle
import joblib
import numpy as np
from joblib.externals.loky import process_executor
from tqdm import tqdm

from xbar.workloads.study import identity
from xbar.workloads.study.identity import OWN_COLUMNS, Point, Run, SweepError, Value
from xbar.workloads.study.journal import Journal, Outcome

IN_FLIGHT = 4  # points given to each worker ahead, so that it need not wait
ATTEMPTS = 2  # of a point alone in a worker that dies
IDLE_SECONDS = 300  # after which a worker without work ends


def _compute(run: Run, point: dict[str, Value], threads: int) -> Outcome:
    began = time.perf_counter()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    try:
        found, error = _returned(run(dict(point)), point), None
    except (Exception, SystemExit) as caught:
        found, error = {}, _text(caught)
    return Outcome(found, time.perf_counter() - began, error, identity.code_version())


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
    assert hasattr(process_executor, "_MAX_MEMORY_LEAK_SIZE"), "joblib's loky has another name for it"
    process_executor._MAX_MEMORY_LEAK_SIZE = math.inf  # what a worker keeps for the next points, loky takes for a leak, and ends it
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
    check_counts(workers=workers, threads=threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return process_executor.ProcessPoolExecutor(
        workers or joblib.cpu_count(), timeout=IDLE_SECONDS, initializer=_begin_worker, initargs=(os.getpid(),),
        env={**dict.fromkeys(names, str(threads)), "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")},
    )  # fmt: skip


def check_counts(**counts: int | None) -> None:
    """Raise SweepError for one that is given and is no whole number of at least 1."""
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


# ---- many points


class Pool:
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

    def submit(self, *task: Any) -> Future[Outcome]:
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

    def cancel(self, futures: Iterable[Future[Outcome]]) -> None:
        """Take back what was given out; our own processes are ended instead, which a cancelled future would hold up."""
        for future in futures if self.given is not None else ():
            future.cancel()

    def close(self) -> None:
        """End our own processes, with what they are computing."""
        if self._own is not None:
            self._own.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
            self._own = None


@dataclass
class Distribution:
    """Gives points out, at most `window` at a time, and writes down what comes back."""

    pool: Pool
    run: Run
    threads: int
    journal: Journal
    window: int
    bar: Any
    given: dict[Future[Outcome], tuple[str, dict[str, Value]]] = field(default_factory=dict)
    suspects: deque[tuple[str, dict[str, Value]]] = field(default_factory=deque)  # one of them killed a worker
    deaths: dict[str, int] = field(default_factory=dict)  # of workers with that point alone
    done: SimpleQueue[Future[Outcome]] = field(default_factory=SimpleQueue)
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

    def _take(self, future: Future[Outcome]) -> None:
        item = self.given.pop(future, None)
        if item is None:  # of workers that are gone
            return
        if future.cancelled():
            raise SweepError("the executor gave points up (was it closed?); sweep again into the same folder to go on")
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._broken(error, [item])
        elif error is not None:
            self._keep(item, Outcome({}, 0.0, _text(error), identity.code_version()))
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
                self._keep(item, Outcome({}, 0.0, died, identity.code_version()))
            else:
                self.suspects.append(item)

    def _keep(self, item: tuple[str, dict[str, Value]], outcome: Outcome) -> None:
        if outcome.code != identity.code_version():
            raise SweepError("a worker has other code of this project than the sweep; install the same version on both, or "
                             "sweep again if files have changed meanwhile")  # fmt: skip
        self.journal.write(*item, outcome)
        self.failed += outcome.error is not None
        if self.failed:
            self.bar.set_postfix(failed=self.failed, refresh=False)
        self.bar.update()

"""A sweep on a real dask scheduler and two worker processes on the loopback interface, one of them killed midway."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from xbar.workloads.study.sweep import JOURNAL, RESULTS, InProcess, cluster, sweep

pytest.importorskip("distributed", reason="dask.distributed is the extra `cluster`")

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "dask.__main__"]
POINTS = [{"x": x / 7, "place": x} for x in range(60)]
SECONDS = 60.0


def computed_by(point: dict[str, float]) -> dict[str, object]:
    """A point of a few hundredths of a second; the process that computed it is told in a file, not in the row."""
    folder = os.environ.get("XBAR_TEST_FOLDER")
    if folder:
        (Path(folder) / f"{point['place']}-{os.getpid()}").touch()
    time.sleep(0.05)
    total = 0.0
    for k in range(1, 200):
        total += point["x"] ** (1 / k) / k
    return {"total": total}


def _started(stack: ExitStack, log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A dask process, ended with the test."""
    with log.open("wb") as written:
        process = subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=written, stderr=written, env={
            **os.environ, "XBAR_TEST_FOLDER": str(log.parent / "computed"), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
        })  # fmt: skip

    def end() -> None:
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def _wait_for(what: str, log: Path, holds: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"no {what} within {SECONDS:.0f} s: {log.read_text('utf-8', 'replace')[-2000:]}"
        time.sleep(0.05)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of a scheduler, and its two workers, without nannies that would start them again."""
    (tmp_path / "computed").mkdir()
    file = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        common = ["--scheduler-file", str(file), "--no-dashboard"]
        log = tmp_path / "scheduler.log"
        _started(stack, log, "scheduler", "--host", "127.0.0.1", "--port", "0", *common)
        _wait_for("scheduler", log, lambda: file.is_file() and file.stat().st_size)
        address = pd.read_json(file, typ="series")["address"]
        local_folder = ["--local-directory", str(tmp_path / "dask")]
        workers = [
            _started(stack, tmp_path / f"worker{n}.log", "worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
                     "--host", "127.0.0.1", *local_folder)
            for n in range(2)
        ]  # fmt: skip
        yield address, workers


def test_a_killed_workers_points_run_elsewhere_with_the_same_bits(
    scheduler: tuple[str, list["subprocess.Popen[bytes]"]], tmp_path: Path
) -> None:
    from distributed import Client

    address, workers = scheduler
    out, computed = tmp_path / "cluster", tmp_path / "computed"
    with Client(address, set_as_default=False, timeout=SECONDS) as client:
        client.wait_for_workers(2, timeout=SECONDS)

    done = threading.Event()
    killed: list[int] = []

    def kill_midway() -> None:
        while not done.wait(0.01):
            if (out / JOURNAL).is_file() and (out / JOURNAL).read_bytes().count(b"\n") > 15:
                workers[0].send_signal(signal.SIGKILL)
                killed.append(workers[0].wait())
                return

    killer = threading.Thread(target=kill_midway)
    with cluster(address) as executor:
        killer.start()
        try:
            result = sweep(POINTS, computed_by, out, executor)
        finally:
            done.set()
            killer.join()

    assert killed == [-signal.SIGKILL]
    assert (result.points, result.failed) == (60, 0)
    by_process: dict[str, set[str]] = {}
    for path in computed.iterdir():
        place, process = path.name.split("-")
        by_process.setdefault(process, set()).add(place)
    dead, alive = (by_process[str(worker.pid)] for worker in workers)
    assert len(dead) >= 2
    assert len(alive) > 30
    assert dead | alive == {str(point["place"]) for point in POINTS}

    sweep(POINTS, computed_by, tmp_path / "serial", InProcess())
    found, expected = (pd.read_parquet(folder / RESULTS).drop(columns="wall_s") for folder in (out, tmp_path / "serial"))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)

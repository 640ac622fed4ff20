"""What the sweep engine costs besides the points' own work: milliseconds a point that does nothing, by executor.

python benchmarks/sweep.py [POINTS]            # default 2000; a point may cost 5 ms, and the exit code says whether it does
python benchmarks/sweep.py --digits [POINTS]   # the digits workload, default 1000: killed with -9 twice and resumed,
                                               # then uninterrupted, and both compared row by row
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xbar.workloads.study.sweep import JOURNAL, RESULTS, InProcess, local, sweep

ALLOWED_MS = 5.0
POINTS, DIGITS = 2000, 1000
CHILD = "import sys; from xbar.workloads.cli import main; sys.exit(main(sys.argv[1:]))"
FILE = """
[fixed]
workload.name = "digits"
chip.name = "edge"

[space]
kind = "latin_hypercube"
samples = {points}
seed = 1

[axes]
device.programming_sigma = {{ low = 0.5, high = 20.0, scale = "log" }}
device.stuck_off_rate = {{ low = 0.0, high = 0.02 }}
component.adc.bits = {{ low = 5, high = 10 }}
inputs.bits = {{ low = 4, high = 8 }}
study.seed = {{ low = 0, high = 99 }}
"""


def nothing(point: dict[str, object]) -> dict[str, object]:
    return {"value": point["place"], "square": float(point["place"]) ** 2}  # type: ignore[arg-type]


def overhead(count: int) -> float:
    """Print ms a point of each executor and return the largest, workers started before."""
    points = [{"place": place, "name": "a point that does nothing", "value.of": place / 7} for place in range(count)]
    worst = 0.0
    with local(2) as processes, ThreadPoolExecutor(2) as threads:
        for name, executor in {"in process": InProcess(), "2 threads": threads, "2 processes": processes}.items():
            with tempfile.TemporaryDirectory() as folder:
                sweep(points[:50], nothing, Path(folder) / "warm", executor)
                began = time.perf_counter()
                sweep(points, nothing, Path(folder) / "out", executor)
                each = (time.perf_counter() - began) / count * 1e3
                began = time.perf_counter()
                sweep(points, nothing, Path(folder) / "out", executor)
                again = (time.perf_counter() - began) / count * 1e3
            worst = max(worst, each)
            print(f"{name:12s} {count} points: {each:6.3f} ms a point; {again:6.3f} where all are known")
    return worst


def digits(count: int) -> bool:
    """Kill a sweep of the digits workload twice, resume it, and compare it with an uninterrupted one; print times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "digits.toml").write_text(FILE.format(points=count), "utf-8")
        began = time.perf_counter()
        for share in (1 / 3, 2 / 3):
            _killed(folder, round(count * share))
        _command(folder, "killed").wait()
        print(f"killed twice and resumed: {time.perf_counter() - began:.0f} s for {count} points")
        began = time.perf_counter()
        _command(folder, "whole").wait()
        seconds = time.perf_counter() - began
        print(f"uninterrupted: {seconds:.0f} s, {seconds / count * 1e3:.0f} ms a point")
        import pandas as pd

        tables = [pd.read_parquet(folder / each / RESULTS).drop(columns="wall_s") for each in ("killed", "whole")]
        same = len(tables[0]) == count and tables[0].equals(tables[1])
        print(f"equal row by row: {same}; rows with an error: {tables[0]['error'].notna().sum()}")
        return same


def _command(folder: Path, out: str) -> "subprocess.Popen[bytes]":
    arguments = ["sweep", str(folder / "digits.toml"), "--out", str(folder / out), "--workers", "2"]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments])


def _killed(folder: Path, rows: int) -> None:
    """Kill the sweep as soon as that many points are in its journal."""
    process = _command(folder, "killed")
    journal = folder / "killed" / JOURNAL
    while process.poll() is None and (not journal.is_file() or journal.read_bytes().count(b"\n") <= rows):
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().splitlines()
    print(f"killed after {len(kept) - 1} points, the last of them {json.loads(kept[-2])['key']}", flush=True)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each != "--digits"]
    if "--digits" in sys.argv:
        sys.exit(not digits(*(numbers or [DIGITS])))
    slowest = overhead(*(numbers or [POINTS]))
    print(f"slowest {slowest:.2f} ms of {ALLOWED_MS:.0f} allowed")
    sys.exit(slowest > ALLOWED_MS)

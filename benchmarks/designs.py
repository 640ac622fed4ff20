"""How long a thousand chip designs take when only costs are asked: area, energy, latency of the digits network, four requests each.

python benchmarks/designs.py [POINTS]     # default 1000 on two worker processes; the exit code says whether it took under two minutes
"""

import sys
import tempfile
import time
from pathlib import Path

from xbar.workloads.study.sweep import RESULTS

POINTS, ALLOWED_SECONDS = 1000, 120.0
FILE = """
[fixed]
workload.name = "digits"
chip.name = "generic"
study.images = 0
study.requests = 4

[space]
kind = "latin_hypercube"
samples = {points}
seed = 1

[axes]
technology.node = {{ low = 14.0, high = 65.0 }}
structure.wordlines = {{ low = 64, high = 512 }}
structure.bitlines = {{ low = 64, high = 512 }}
component.adc.bits = {{ low = 4, high = 8 }}
component.adc.columns = {{ low = 4, high = 64 }}
component.adc.rate = {{ low = 0.1, high = 0.4, scale = "log" }}
timing.bus_width = {{ low = 64, high = 512 }}
"""


def main(points: int) -> int:
    """Sweep, and tell how long it took; 1 where it was too long."""
    from xbar.workloads.cli import main as xbar

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "designs.toml"
        file.write_text(FILE.format(points=points), "utf-8")
        began = time.perf_counter()
        code = xbar(["sweep", str(file), "--out", str(Path(folder) / "out"), "--workers", "2"])
        taken = time.perf_counter() - began
        assert code == 0, f"the sweep ended with {code}"
        assert (Path(folder) / "out" / RESULTS).is_file()
    allowed = ALLOWED_SECONDS * points / POINTS
    print(f"{points} designs in {taken:.0f} s, {taken / points * 1e3:.0f} ms each; allowed {allowed:.0f} s")
    return int(taken > allowed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else POINTS))

"""Runs the benchmarks and compares the ratios that they print with those in `ratios.json`; the exit code says whether one fell behind.

python benchmarks/ratios.py             # every benchmark that prints ratios, and what became of them
python benchmarks/ratios.py --accept    # write the ratios of this run to ratios.json
python benchmarks/ratios.py events      # one of them

A ratio is a multiple of something bare that was measured in the same run (a product of matrices, a loop that only waits), so that it says
the same on a slow and a fast machine; the lower the better. On a machine with other work even ratios swing by tens of percent.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
FILE = HERE / "ratios.json"
BENCHMARKS = ("functional_product", "memory", "events", "wires")
WORSE = 1.2  # times what is accepted: told


def told(benchmark: str, ratios: Mapping[str, float]) -> None:
    """Print a benchmark's ratios as one line of JSON."""
    print(json.dumps({"benchmark": benchmark, "ratios": {name: float(f"{ratio:.4g}") for name, ratio in ratios.items()}}))


def measured(benchmark: str) -> dict[str, float]:
    """The ratios of a benchmark, run in a process of its own; what else it prints goes through."""
    run = subprocess.run([sys.executable, HERE / f"{benchmark}.py"], stdout=subprocess.PIPE, text=True, check=True)
    *lines, last = run.stdout.splitlines()
    print("\n".join(lines), flush=True)
    found = json.loads(last)
    return {str(name): float(ratio) for name, ratio in found["ratios"].items()}


def compared(found: Mapping[str, float], accepted: Mapping[str, float]) -> list[str]:
    """Which ratios are more than 20 % above the accepted ones, or are not there any more, one line each."""
    lines = [
        f"{name}: {found[name]:.3g}, accepted {ratio:.3g}, {found[name] / ratio - 1:+.0%}"
        for name, ratio in accepted.items()
        if name in found and found[name] > WORSE * ratio
    ]
    return lines + [f"{name}: not measured, accepted {ratio:.3g}" for name, ratio in accepted.items() if name not in found]


def main(arguments: list[str]) -> int:
    """Run what is asked for; 1 where a ratio is worse."""
    chosen = [each for each in arguments if not each.startswith("--")] or list(BENCHMARKS)
    accepted = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    worse: list[str] = []
    for benchmark in chosen:
        found = measured(benchmark)
        worse += [f"{benchmark}, {line}" for line in compared(found, accepted.get(benchmark, {}))]
        if "--accept" in arguments:
            accepted[benchmark] = found
    if "--accept" in arguments:
        new = FILE.with_suffix(".new")
        new.write_text(json.dumps(accepted, indent=1) + "\n", "utf-8")
        new.replace(FILE)
        return 0
    print("\n".join(["worse by more than 20 %:", *worse] if worse else ["no ratio is worse by more than 20 %"]))
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

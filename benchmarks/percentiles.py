"""How often the stated 95 % interval of a percentile of latency holds the exact one, of the M/D/1 queue: by load, of 50 seeds.

    python benchmarks/percentiles.py [--seeds 50] [--out percentiles.csv]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from xbar.hw.events.steady import Queue, poisson_wait, steady_quantiles

SERVICE = 10**9  # fs; any does
LOADS, SHARES = (0.5, 0.8, 0.9), (0.95, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    queue, rows = Queue(np.array([SERVICE]), float(SERVICE)), []
    for load in LOADS:
        exact = [(1 + poisson_wait(load, share)) * queue.service for share in SHARES]
        found = [steady_quantiles(queue, load, SHARES, seed) for seed in range(options.seeds)]
        for number, share in enumerate(SHARES):
            mine = [each[number] for each in found]
            rows.append({
                "load": load, "share": share, "exact_services": exact[number] / queue.service,
                "mean_services": np.mean([each.value for each in mine]) / queue.service, "seeds": len(mine),
                "held": np.mean([each.low <= exact[number] <= each.high for each in mine]),
                "half_width": np.mean([(each.high - each.low) / 2 / each.value for each in mine]),
                "valid": np.mean([each.valid for each in mine]), "requests": np.mean([each.requests for each in mine]),
            })  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.4g}".format))
    if options.out is not None:
        table.to_csv(options.out, index=False, float_format="%.6g")
    raise SystemExit(0 if (table["held"] >= 0.9).all() else 1)


if __name__ == "__main__":
    main()

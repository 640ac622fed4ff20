"""How much of the true front's hypervolume a search finds in a part of the evaluations, over seeds, samplers and shares of neighbours.

    python results/search/front.py judge    # costs.csv: every point of enumerated.toml by its costs, minutes
    python results/search/front.py          # found.csv: seeds 0 to 19 of each way to ask, half an hour; pymoo's too where it is installed

Objectives are normalised to the true front's own range, from the best to the worst value on it; the volume is measured from 1.1 of that.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd

from xbar.workloads.study.identity import SweepError
from xbar.workloads.study.points import read_sweep, sweep_chips
from xbar.workloads.study.search import Asked, search
from xbar.workloads.study.sweep import InProcess

HERE = Path(__file__).parent
COLUMNS = ("energy_J", "latency_s", "area_m2")
AXES = {
    "structure.tiles": [1, 2, 3, 4, 6, 8], "structure.wordlines": [32, 64, 128], "structure.bitlines": [64, 128, 256],
    "component.adc.columns": [64, 128, 256, 512], "component.adc.rate": [0.32, 0.64, 1.28], "mapping.copies": ["balance", "one"],
    "inputs.bits": [4, 8],
}  # fmt: skip
SHARES = (0.025, 0.1)  # of the space that is looked at
SETS = (("energy_J", "latency_s"), ("energy_J", "area_m2"), ("latency_s", "area_m2"), COLUMNS)
WAYS = [("tpe", 0.5), ("tpe", 0.0), ("nsga2", 0.5), ("nsga2", 0.0), ("random", 0.5), ("random", 0.0), ("random", 1.0)]


def judged() -> None:
    """Judge every point of the grid, and keep what it costs in their order; a point that fails has no values."""
    with tempfile.TemporaryDirectory() as folder:
        frame = sweep_chips(read_sweep(HERE / "enumerated.toml").points, folder, progress=True).frame()
    with (HERE / "costs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for values in frame[list(COLUMNS)].itertuples(index=False):
            rows.writerow("" if pd.isna(value) else f"{value:.6g}" for value in values)


@cache
def table() -> dict[tuple[object, ...], tuple[float, ...] | None]:
    """Costs by design, in the order of AXES; None where the network does not fit."""
    frame = pd.read_csv(HERE / "costs.csv")
    designs = [tuple(point[name] for name in AXES) for point in read_sweep(HERE / "enumerated.toml").points]
    rows = [None if np.isnan(row).any() else tuple(map(float, row)) for row in frame.to_numpy()]
    return dict(zip(designs, rows, strict=True))


def costs_of(point: dict[str, object]) -> dict[str, float]:
    """What a point costs, of the table; raises SweepError where it failed."""
    found = table()[tuple(point[name] for name in AXES)]
    if found is None:
        raise SweepError("does not fit")
    return dict(zip(COLUMNS, found, strict=True))


class Volume:
    """The hypervolume of designs as a share of the true front's, of some of COLUMNS."""

    def __init__(self, columns: Sequence[str]):
        self.columns = columns
        self._places = [COLUMNS.index(name) for name in columns]
        rows = np.array([row for row in table().values() if row is not None])[:, self._places]
        front = rows[moocore.is_nondominated(rows)]
        self.points, self.low, self.high = len(front), front.min(0), front.max(0)
        self.whole = self._of(front)

    def _of(self, rows: np.ndarray) -> float:
        return float(moocore.hypervolume((rows - self.low) / (self.high - self.low), ref=np.full(len(self.columns), 1.1)))

    def share(self, rows: np.ndarray) -> float:
        """Of the true front's, what these rows (designs, COLUMNS) reach."""
        return self._of(np.asarray(rows)[:, self._places]) / self.whole if len(rows) else 0.0


def found_by_search(volume: Volume, share: float, seed: int, **options: Any) -> float:
    """The share of the volume that one search finds, over that share of the space; options: of `Asked`."""
    asked = Asked(AXES, dict.fromkeys(volume.columns, "low"), designs=int(share * len(table())) // 12 * 12, seed=seed, **options)
    with tempfile.TemporaryDirectory() as folder:
        frame = search(asked, costs_of, folder, InProcess()).frame()
    return volume.share(frame.loc[frame["error"].isna(), list(COLUMNS)].to_numpy())


def found_by_pymoo(volume: Volume, share: float, seed: int) -> float:
    """The share that pymoo's NSGA-II finds with a population of 24, places on axes as whole numbers."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    values, seen = [list(axis) for axis in AXES.values()], {}
    places = [COLUMNS.index(name) for name in volume.columns]

    class Costs(ElementwiseProblem):
        def __init__(self) -> None:
            super().__init__(n_var=len(values), n_obj=len(places), xl=0, xu=[len(axis) - 1 for axis in values], vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, object], *_: object, **__: object) -> None:
            design = tuple(axis[int(place)] for axis, place in zip(values, x, strict=True))
            found = seen[design] = table()[design]
            out["F"] = [1.0] * len(places) if found is None else [found[place] for place in places]

    algorithm = NSGA2(24, sampling=IntegerRandomSampling(), crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
                      mutation=PM(eta=3, vtype=float, repair=RoundingRepair()), eliminate_duplicates=True)  # fmt: skip
    minimize(Costs(), algorithm, ("n_eval", int(share * len(table()))), seed=seed)
    return volume.share(np.array([row for row in seen.values() if row is not None]))


def measured(seeds: int, ways: Sequence[tuple[str, float]], shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """The median and the worst share of the volume of each way to ask, by what is looked for and how much is looked at."""
    rows = []
    for columns in SETS:
        volume = Volume(columns)
        print(f"{', '.join(columns)}: the true front has {volume.points} of {len(table())} points", flush=True)
        for share in shares:
            for sampler, neighbours in ways:
                began = time.process_time()
                found = [found_by_search(volume, share, seed, sampler=sampler, neighbours=neighbours) for seed in range(seeds)]
                rows.append(_row(columns, share, f"optuna {sampler}", neighbours, found, began))
            try:
                began = time.process_time()
                rows.append(_row(columns, share, "pymoo nsga2", 0.0, [found_by_pymoo(volume, share, seed) for seed in range(seeds)], began))
            except ImportError:
                print("pymoo is not installed")
    return pd.DataFrame(rows)


def _row(columns: Sequence[str], share: float, way: str, neighbours: float, found: list[float], began: float) -> dict[str, object]:
    row = {"objectives": " ".join(columns), "looked_at": share, "way": way, "neighbours": neighbours, "median": float(np.median(found)),
           "worst": min(found), "reach_95": sum(each >= 0.95 for each in found), "seeds": len(found),
           "processor_s": (time.process_time() - began) / len(found)}  # fmt: skip
    print(" ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()), flush=True)
    return row


if __name__ == "__main__":
    if sys.argv[1:] == ["judge"]:
        judged()
    else:
        measured(20, WAYS).to_csv(HERE / "found.csv", index=False, float_format="%.4f")

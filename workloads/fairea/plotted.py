"""The authors' plotted figures beside ours: FairEA as it is measured rightly, and as their released code measures it.

Improvement in assortativity is 1 - |r| after / |r| of the filled positions, fitness a share of its range, both as the paper has
them. The released code never writes the class of a candidate that a round's matching places, and takes the positions for a class
of their own when it measures r; that lowers |r| by itself, as fewer ties are within a class. With no class written at all |r| is
the same whatever the matching: so are the weighted Hungarian's plotted points, in all four settings.

    python -P -m xbar.workloads.fairea.plotted path/to/instances.json.gz --out results/fairea
"""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from xbar.workloads.fairea.baselines import weighted_hungarian
from xbar.workloads.fairea.compare import CELL, problem_of, read_instances, write_table
from xbar.workloads.fairea.metrics import (
    assortativity,
    assortativity_as_released,
    coefficient_of_matching,
    fitness_range,
)
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Matching, Problem
from xbar.workloads.fairea.published import fairea, fairea_as_released

# Read off the authors' vector plots DS/plots/2CC(H)(s_p).pdf (repository SaraJalali/FairEmployeeAssignment, commit f92c5df): percent of
# improvement and of fitness for 10, 20 and 30 % open, by pool (1: as many candidates as positions) and fitness function. The plots
# have no legend; FairEA's colour follows from the plotting code, weighted Hungarian's from the order of methods.
PLOTTED = {
    "FairEA": {(1, 1): ((30, 88), (50, 95), (57, 98)), (1, 2): ((32, 92), (50, 99), (57, 96)),
               (2, 1): ((30, 97), (50, 100), (65, 99)), (2, 2): ((30, 90), (47, 98), (62, 97))},
    "weighted Hungarian": {(1, 1): ((30, 84), (50, 92), (62, 80)), (1, 2): ((30, 96), (50, 87), (62, 80)),
                           (2, 1): ((30, 89), (50, 84), (62, 91)), (2, 2): ((30, 93), (50, 91), (62, 85))},
}  # fmt: skip
PLOTTED_NETWORK, SHARES = "CC(H)", ("0.1", "0.2", "0.3")


def measured(problem: Problem, *, as_released: bool) -> tuple[float, float]:
    """|r| and fitness of FairEA: by its matching, or with as_released as the released code runs and measures it."""
    if not as_released:
        match = fairea(problem)
        return abs(coefficient_of_matching(match)), match.fitness
    match, written = fairea_as_released(problem)
    return abs(assortativity_as_released(problem, written)), match.fitness


METHODS: dict[str, Callable[[Problem], tuple[float, float]]] = {
    "FairEA": lambda problem: measured(problem, as_released=False),
    "FairEA, as released": lambda problem: measured(problem, as_released=True),
    "weighted Hungarian": lambda problem: _of(weighted_hungarian(problem)),
    "weighted Hungarian, nothing written": lambda problem: _unwritten(weighted_hungarian(problem)),
}


def _unwritten(match: Matching) -> tuple[float, float]:
    """|r| with no class of an open position written at all, which is the same for every matching."""
    return abs(assortativity_as_released(match.problem, np.full(len(match.chosen), UNFILLED))), match.fitness


def _of(match: Matching) -> tuple[float, float]:
    return abs(coefficient_of_matching(match)), match.fitness


def rows_of(networks: Mapping[str, nx.Graph], instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a method: |r| of the filled positions and after, fitness as a share of its range."""
    problem = problem_of(networks, instance)
    low, high = fitness_range(problem)
    before = abs(assortativity(problem.graph, problem.classes))
    cell = {name: instance[name] for name in CELL}
    found = []
    for name, method in METHODS.items():
        after, fitness = method(problem)
        found.append(cell | {"method": name, "before": before, "after": after,
                             "fitness": (fitness - low) / (high - low) if high > low else 1.0})  # fmt: skip
    return found


def table(path: str | Path) -> pd.DataFrame:
    """By network, share, pool, fitness function and method: samples, mean improvement [%] with its standard error over samples,
    mean fitness [% of its range] with its own, and what the paper's plot shows, empty where none is known. Raises `FaireaError`."""
    networks, instances = read_instances(path)
    rows = pd.DataFrame([row for instance in instances for row in rows_of(networks, instance)])
    lines = []
    for key, cell in rows.groupby([*CELL, "method"], sort=False):
        *setting, method = key
        ratio = cell["after"].mean() / cell["before"].mean()
        spread = (cell["after"] - ratio * cell["before"]).std() / cell["before"].mean()
        plotted = _plotted(method, *setting)
        lines.append({
            **dict(zip(CELL, setting, strict=True)), "method": method, "samples": len(cell),
            "improvement_percent": 100 * (1 - ratio), "improvement_error": 100 * spread / math.sqrt(len(cell)),
            "fitness_percent": 100 * cell["fitness"].mean(), "fitness_error": 100 * cell["fitness"].std() / math.sqrt(len(cell)),
            "plotted_improvement": plotted[0], "plotted_fitness": plotted[1],
        })  # fmt: skip
    return pd.DataFrame(lines)


def _plotted(method: str, network: str, share: str, pool: int, kind: int) -> tuple[float, float]:
    known = PLOTTED.get(method.partition(",")[0], {}).get((pool, kind))
    if network != PLOTTED_NETWORK or known is None or str(share) not in SHARES:
        return math.nan, math.nan
    return known[SHARES.index(str(share))]


def distance(found: pd.DataFrame, method: str) -> float:
    """Mean over the plotted settings of |improvement here - plotted| in percentage points."""
    part = found[(found["method"] == method) & found["plotted_improvement"].notna()]
    return float(np.abs(part["improvement_percent"] - part["plotted_improvement"]).mean())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -P -m xbar.workloads.fairea.plotted", description=__doc__.split("\n\n")[0])
    parser.add_argument("instances", help="the authors' instances (instances.json.gz)")
    parser.add_argument("--out", required=True, type=Path, help="folder for plotted.csv")
    chosen = parser.parse_args()
    try:
        found = table(chosen.instances)
    except FaireaError as error:
        raise SystemExit(str(error)) from error
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_table(found, chosen.out / "plotted.csv")
    print(found[found["plotted_improvement"].notna()].to_string(index=False, float_format="%.1f"))
    for name in METHODS:
        print(f"{name}: {distance(found, name):.1f} points of improvement from the plotted ones on the mean")


if __name__ == "__main__":
    main()

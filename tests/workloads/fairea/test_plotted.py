"""The authors' plotted figures: what their measure makes of unwritten classes."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.workloads.fairea.problems import small_problem
from xbar.workloads.fairea.compare import read_instances
from xbar.workloads.fairea.metrics import assortativity, assortativity_as_released
from xbar.workloads.fairea.plotted import METHODS, PLOTTED_NETWORK, distance, measured, rows_of
from xbar.workloads.fairea.problem import UNFILLED
from xbar.workloads.fairea.published import fairea, fairea_as_released


def test_written_classes_alone_are_seen_and_the_matching_is_the_same() -> None:
    problem = small_problem(2, 2, positions=5, candidates=6, density=0.9)
    match, written = fairea_as_released(problem, "g0")
    assert match.chosen == fairea(problem, released_defects=True, counted_as="g0").chosen
    assert {*written.tolist()} <= {UNFILLED, 0, 1}
    assert assortativity_as_released(problem, match.labels) == pytest.approx(assortativity(problem.graph, match.classes))
    third = {u: "nobody" for u in problem.open_positions} | problem.classes
    assert assortativity_as_released(problem, np.full(5, UNFILLED)) == pytest.approx(assortativity(problem.graph, third))


def test_as_released_is_nearer_to_what_was_plotted(shared_data: Path) -> None:
    path = shared_data / "fairea_instances" / "instances.json.gz"
    if not path.is_file():
        pytest.skip(f"no instances of the authors at {path}")
    networks, instances = read_instances(path)
    some = [each for each in instances if each["network"] == PLOTTED_NETWORK and each["share"] == "0.1" and each["sample"] < 8]
    rows = pd.DataFrame([row for each in some[::2] for row in rows_of(networks, each)])
    mean = 100 * (1 - rows.groupby("method")["after"].mean() / rows.groupby("method")["before"].mean())
    assert set(mean.index) == set(METHODS)
    assert mean["FairEA"] < mean["FairEA, as released"] < 30 + 5  # plotted: 30 to 32
    problem = small_problem(0)
    assert measured(problem, as_released=False)[1] == fairea(problem).fitness


def test_distance_is_over_plotted_settings_alone() -> None:
    found = pd.DataFrame({"method": "a", "improvement_percent": [10.0, 20.0, 0.0], "plotted_improvement": [12.0, 14.0, math.nan]})
    assert distance(found, "a") == pytest.approx(4.0)

"""The fittest matching within limits, against all matchings of small problems; what cannot be kept is proved so."""

from itertools import product

import numpy as np
import pytest

from tests.workloads.fairea.problems import small_problem
from xbar.workloads.fairea.limits import Limits, fittest_within, within_by_exchange
from xbar.workloads.fairea.problem import FaireaError, Ints, Problem
from xbar.workloads.fairea.tally import Layout, Measures, Tally

SETS = [("distance",), ("selection",), ("isolated",), ("degree",), ("core",), ("community",), ("distance", "selection"),
        ("selection", "isolated", "degree"), ("selection", "isolated", "community"),
        ("distance", "selection", "isolated", "degree", "core", "community")]  # fmt: skip
COLUMN = {"distance": 0, "selection": 1, "isolated": 2, "degree": 3, "core": 4, "community": 5}
EACH = 20  # instances of each set: 200 in all


def everything(problem: Problem) -> tuple[Ints, np.ndarray, np.ndarray]:
    """All matchings that fill every position: (N, m) candidates, (N,) fitness, (N, 6) measures of each."""
    m, t = problem.weights.shape
    grid = np.indices((t,) * m).reshape(m, -1).T
    ordered = np.sort(grid, axis=1)
    grid = grid[(np.diff(ordered, axis=1) > 0).all(1)]
    fitness = problem.weights[np.arange(m), grid].sum(1)
    grid, fitness = grid[~np.isnan(fitness)], fitness[~np.isnan(fitness)]
    layout = Layout.of(problem)
    labels, pattern = np.unique(layout.labels(grid), axis=0, return_inverse=True)
    found = np.array([Tally(layout, each).measures for each in labels]).reshape(-1, 6)
    return grid, fitness, found[pattern.reshape(-1)]


def problem_of(seed: int) -> Problem:
    return small_problem(seed, 2 + seed % 2, positions=3 + seed % 2, candidates=5, density=0.9)


@pytest.mark.parametrize("names", SETS, ids="-".join)
def test_the_programme_is_as_good_as_trying_everything(names: tuple[str, ...]) -> None:
    infeasible = 0
    for seed in range(EACH):
        problem = problem_of(seed)
        _, fitness, measures = everything(problem)
        if not len(fitness):
            continue
        rng = np.random.default_rng([seed, len(names)])
        given = {}
        for name in names:  # about the middle of what is reachable, between two values
            values = measures[:, COLUMN[name]]
            low, high = np.nanquantile(values, [0.1, 0.9]) if np.isfinite(values).any() else (0, 0)
            looser = 1e-4 if name in ("distance", "isolated") else -1e-4  # off the values themselves, by more than solvers' slack
            given[name] = float(np.clip(rng.uniform(low, high) + looser, 0, None if name == "isolated" else 1))
        limits = Limits(**given)
        kept = np.array([limits.excess(Measures(*each)) == 0 for each in measures])
        found = fittest_within(problem, limits)
        assert found.exact
        assert "exchange" not in found.how
        if not kept.any():
            infeasible += 1
            assert found.matching is None
            assert found.bound == -np.inf
            continue
        assert found.matching is not None
        assert found.matching.fitness == pytest.approx(fitness[kept].max(), abs=1e-7)
        assert found.bound == pytest.approx(found.matching.fitness)
    assert infeasible < EACH


def test_exchange_keeps_limits_and_its_bound_holds() -> None:
    kept = 0
    for seed in range(12):
        problem = problem_of(seed)
        limits = Limits(selection=0.5, distance=0.3)
        exact, found = fittest_within(problem, limits), within_by_exchange(problem, limits)
        if found.matching is not None:
            assert exact.matching is not None
            kept += 1
            assert found.matching.fitness <= exact.matching.fitness + 1e-9 <= found.bound + 2e-9
            assert found.gap >= 0
    assert kept > 4


def test_four_fifths_is_proved_out_of_reach() -> None:
    """Three positions and five candidates: rates are of thirds and halves, or all of one group qualify nowhere."""
    problem = small_problem(0, 2, positions=3, candidates=5, density=0.95)
    weights = problem.weights.copy()
    weights[:, [who == "g0" for who in problem.candidates.values()]] = np.nan
    if np.isnan(weights).all(1).any():
        pytest.fail("the instance is of no use")
    alone = fittest_within(problem.with_fitness(weights), Limits(selection=0.8))
    assert (alone.matching, alone.how, alone.exact) == (None, "HiGHS: infeasible", True)


def test_positions_that_stay_open_go_to_exchange_where_r_is_limited() -> None:
    problem = small_problem(3, 2, positions=5, candidates=3)
    assert "exchange" in fittest_within(problem, Limits(distance=0.9)).how
    assert fittest_within(problem, Limits(selection=0.1)).how.startswith("HiGHS")


@pytest.mark.parametrize(("name", "value"), [*product([name for name in COLUMN if name != "isolated"], (-0.1, 1.5)), ("isolated", -1)])
def test_limits_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(FaireaError, match=name):
        Limits(**{name: value})

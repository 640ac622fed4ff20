"""Sparse problems against the same in tables."""

import networkx as nx
import numpy as np
import pytest

from xbar.workloads.fairea import baselines, large
from xbar.workloads.fairea.limits import Limits, fittest_within
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Problem
from xbar.workloads.fairea.tally import Layout


def both(seed: int, m: int = 8, t: int = 12, density: float = 0.4) -> tuple[large.LargeProblem, Problem]:
    """One problem, sparse and in tables."""
    rng = np.random.default_rng(seed)
    graph = nx.gnp_random_graph(40, 0.15, seed=seed)
    held, group = rng.integers(2, size=40), rng.integers(2, size=t)
    opened = rng.permutation(40)[:m]
    weights = np.where(rng.random((m, t)) < density, np.round(rng.random((m, t)), 2), np.nan)
    pairs = np.nonzero(~np.isnan(weights))
    sparse = large.LargeProblem.of(graph, held, opened, group, (*pairs, weights[pairs]))
    classes = {u: int(held[u]) for u in range(40) if u not in set(opened.tolist())}
    return sparse, Problem(graph, classes, opened.tolist(), dict(enumerate(group.tolist())), weights)


@pytest.mark.parametrize("seed", range(12))
def test_sparse_assignments_are_those_of_tables(seed: int) -> None:
    sparse, problem = both(seed, t=6 + seed, density=0.15 + 0.05 * seed)
    for mine, theirs in ((large.maximum_fitness, baselines.maximum_fitness), (large.weighted_hungarian, None)):
        chosen = mine(sparse)
        taken = chosen[chosen != UNFILLED]
        assert len(set(taken.tolist())) == len(taken)
        if theirs is not None:
            match = theirs(problem)
            assert sparse.total(chosen) == pytest.approx(match.fitness)
        assert (chosen == UNFILLED).sum() == len(baselines.maximum_fitness(problem).unfilled)
    reference = Layout.of(problem)
    assert sparse.layout.neighbours == reference.neighbours
    np.testing.assert_array_equal(sparse.layout.core, reference.core)


def test_limits_are_kept_and_the_bound_holds() -> None:
    kept = 0
    for seed in range(8):
        sparse, _ = both(seed, m=8, t=20, density=0.6)
        found = large.fittest_within(sparse, Limits(selection=0.6, distance=0.25), steps=20_000)
        if found.chosen is not None:
            kept += 1
            measures = sparse.measures(found.chosen)
            assert measures.selection_ratio >= 0.6 - 1e-9
            assert measures.distance <= 0.25 + 1e-9
            assert found.fitness <= found.bound + 1e-9
    assert kept >= 4


def test_a_price_keeps_four_fifths_near_its_bound() -> None:
    sparse, problem = both(3, m=20, t=40, density=0.5)
    worse = large.LargeProblem(sparse.layout, sparse.position, sparse.candidate,
                               sparse.fitness - 0.3 * sparse.layout.group[sparse.candidate])  # fmt: skip
    best = large.maximum_fitness(worse)
    assert worse.measures(best).selection_ratio < 0.8
    found, bound = large.priced(worse, 0.8, best)
    assert worse.measures(found).selection_ratio >= 0.8 - 1e-9
    weights = problem.weights - 0.3 * np.array(list(problem.candidates.values()))
    exact = fittest_within(problem.with_fitness(weights), Limits(selection=0.8))
    assert worse.total(found) <= exact.bound + 1e-6 <= bound + 2e-6
    more = large.fittest_within(worse, Limits(selection=0.8), steps=20_000)  # exchange goes on from there
    assert worse.total(found) <= more.fitness <= exact.bound + 1e-6
    assert more.bound == bound


def test_wrong_pairs_are_named() -> None:
    sparse, _ = both(0)
    for change, told in ((("position", 99), "position"), (("fitness", np.inf), "fitness")):
        values = {name: getattr(sparse, name).copy() for name in ("position", "candidate", "fitness")}
        values[change[0]][0] = change[1]
        with pytest.raises(FaireaError, match=told):
            large.LargeProblem(sparse.layout, **values)
    with pytest.raises(FaireaError, match="twice"):
        large.LargeProblem(sparse.layout, *(np.repeat(each, 2) for each in (sparse.position, sparse.candidate, sparse.fitness)))

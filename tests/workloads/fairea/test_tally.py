"""Measures kept up to date are those of `metrics`, whatever way they were come to."""

from collections import Counter

import numpy as np
import pytest

from tests.workloads.fairea.problems import networkx_distance, small_problem
from xbar.workloads.fairea import metrics
from xbar.workloads.fairea.assignment import assign
from xbar.workloads.fairea.problem import UNFILLED, Matching
from xbar.workloads.fairea.tally import Layout, Tally


@pytest.mark.parametrize("seed", range(12))
def test_measures_are_those_of_the_filled_network(seed: int) -> None:
    problem = small_problem(seed, 2 + seed % 2, density=0.9)
    rng, layout = np.random.default_rng(seed), Layout.of(problem)
    tally = Tally(layout)
    for _ in range(4):  # from matching to matching, each position emptied between or not
        match = Matching(problem, tuple(assign(rng.random(problem.weights.shape), problem.compact.qualified)))
        for i, label in enumerate(layout.labels(np.array(match.chosen))):
            tally.set(i, UNFILLED) if rng.random() < 0.5 else None
            tally.set(i, int(label))
        found, graph, classes = tally.measures, problem.graph, match.classes
        np.testing.assert_allclose(found.distance, networkx_distance(match), atol=1e-12)
        assert found.selection_ratio == pytest.approx(metrics.selection_ratio(match))
        assert found.isolated == metrics.isolated_members(graph, classes)
        assert found.degree_ratio == pytest.approx(metrics.degree_ratio(graph, classes))
        if not match.unfilled:  # core numbers and communities are those with every position filled
            assert found.core_ratio == pytest.approx(metrics.core_ratio(graph, classes))
            assert found.community_share == pytest.approx(metrics.community_minority_share(graph, classes))
        assert sum(tally.hired) == len(match.pairs)
        assert tally.members == [Counter(classes.values())[name] for name in problem.compact.groups]

"""Programmes that are too much: stopped by a count, the same on a busy machine; by the clock only with a warning."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import LinearConstraint

from tests.workloads.fairea.problems import small_problem
from xbar.workloads.fairea import programme
from xbar.workloads.fairea.harmless import choose
from xbar.workloads.fairea.limits import Limits, fittest_within
from xbar.workloads.fairea.programme import TIME_LIMIT, StoppedByClockWarning, solved


def knapsack(seconds: float = 1000.0):
    """30 things under 10 bounds: a search of many nodes."""
    draw = np.random.default_rng(1)
    weights = draw.integers(1, 50, (10, 30)).astype(float)
    bound = LinearConstraint(sparse.csr_array(weights), -np.inf, weights.sum(1) / 2)
    return solved(-draw.integers(1, 50, 30).astype(float), np.ones(30), np.ones(30), [bound], 0.0, seconds)


def test_a_search_ends_by_its_count_in_the_same_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programme, "WORK", 300.0)  # one node of 300 entries
    one, again = knapsack(), knapsack()
    assert one.status not in (0, TIME_LIMIT)
    assert one.mip_node_count <= 1
    assert np.array_equal(one.x, again.x)
    assert one.mip_dual_bound <= one.fun


def test_the_clock_is_told_where_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, asked = small_problem(0, 2, positions=5, candidates=8), Limits(selection=0.5)
    sooner = fittest_within(problem, asked)
    with pytest.warns(StoppedByClockWarning, match=r"variables was stopped by the clock, after 0 s"):
        stopped = fittest_within(problem, asked, seconds=0.0)
    assert (sooner.by_clock, stopped.by_clock, stopped.exact) == (False, True, False)
    with pytest.warns(StoppedByClockWarning):
        assert choose(problem, asked, [], seconds=0.0).by_clock
    assert not choose(problem, asked, []).by_clock

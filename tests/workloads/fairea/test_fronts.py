"""The exact front against all matchings, the search's neighbours against solved assignments, the search against both."""

import networkx as nx
import numpy as np
import pytest

from tests.workloads.fairea.problems import all_maximum_matchings, networkx_distance, small_problem
from xbar.workloads.fairea.assignment import allowed_by_labels, assign
from xbar.workloads.fairea.compare import random_gap
from xbar.workloads.fairea.exact import exact_front
from xbar.workloads.fairea.exchange import Neighbourhood
from xbar.workloads.fairea.front import Front, covers, dominates, hypervolume, non_dominated
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.metrics import MixingMatrix, coefficient
from xbar.workloads.fairea.networks import make_problem, open_at_random, scale_free
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Matching, Problem, UndefinedAssortativityError


def brute_force(problem: Problem) -> tuple[list[tuple[float, float]], float, float]:
    """Front points, least fitness and largest |r| over every maximum matching."""
    values = [(match.fitness, networkx_distance(match)) for match in all_maximum_matchings(problem)]
    values = [(round(f, 9), round(r, 11)) for f, r in values]
    defined = {value for value in values if not np.isnan(value[1])}
    front = sorted(v for v in defined if not any(o != v and o[0] >= v[0] and o[1] <= v[1] for o in defined))
    return front, min(f for f, _ in values), max(r for _, r in defined)


CASES = [
    *[(seed, 2, 4, 5, 0.7) for seed in range(8)],
    *[(seed, 3, 4, 5, 0.8) for seed in range(8)],
    *[(seed, 3, 5, 3, 0.7) for seed in range(6)],  # more positions than candidates
    *[(seed, 2, 5, 5, 0.3) for seed in range(6)],  # positions without any candidate
]


@pytest.mark.parametrize("case", CASES)
def test_the_exact_front_is_that_of_all_matchings(case) -> None:
    problem = small_problem(*case)
    expected, least_fitness, largest = brute_force(problem)
    front = exact_front(problem)
    np.testing.assert_allclose(front.points[::-1], expected, atol=1e-9)
    assert (front.least_fitness, front.largest_distance) == pytest.approx((least_fitness, largest), abs=1e-9)
    for match, (_, distance) in zip(front.matchings, front.points, strict=True):
        assert networkx_distance(match) == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_search_finds_the_front_of_tiny_problems(case) -> None:
    problem = small_problem(*case)
    expected, _, _ = brute_force(problem)
    found = improved_front(problem).points
    assert all(covers(found, *point) for point in expected)
    assert len(found) == len(expected)


@pytest.mark.parametrize("case", [(seed, 2 + seed % 3, 6, 4 + seed % 5, 0.7) for seed in range(24)])
def test_every_neighbour_has_the_fitness_and_r_of_its_own_assignment(case) -> None:
    problem = small_problem(*case)
    c, rng = problem.compact, np.random.default_rng(case[0])
    labels = c.labels(assign(rng.random(c.score.shape), c.qualified))
    chosen = assign(c.score, allowed_by_labels(labels, c.group, c.qualified))
    moves = Neighbourhood(c)(chosen)
    seen = set()
    for n in range(len(moves.score)):
        pattern = moves.apply(labels, n)
        solved = assign(c.score, allowed_by_labels(pattern, c.group, c.qualified))
        np.testing.assert_array_equal(c.labels(solved), pattern)
        assert moves.score[n] == c.total(solved)
        matrix = MixingMatrix(c, pattern).matrix
        np.testing.assert_allclose(moves.r[n], coefficient(np.trace(matrix), matrix.sum(1)), atol=1e-12)
        seen.add(pattern.tobytes())
    for pattern in _one_or_two_changes(labels, len(c.groups)):
        solved = assign(c.score, allowed_by_labels(pattern, c.group, c.qualified))
        if (c.labels(solved) == pattern).all():
            assert pattern.tobytes() in seen


def _one_or_two_changes(labels, classes):
    for i in range(len(labels)):
        for group in range(classes):
            if labels[i] not in (UNFILLED, group):
                yield np.where(np.arange(len(labels)) == i, group, labels)
        for k in range(i):
            if labels[i] != labels[k]:
                pattern = labels.copy()
                pattern[[i, k]] = pattern[[k, i]]
                yield pattern


def test_the_search_misses_less_than_a_percent_of_random_fronts() -> None:
    gaps = [random_gap(seed, work=0.05)["gap"] for seed in range(25)]
    assert np.mean(gaps) < 0.01
    assert max(gaps) < 0.05


def test_no_search_misses_some() -> None:
    assert max(random_gap(seed, work=0.0)["gap"] for seed in range(25)) > 0.05  # the measure can tell


def test_seed_and_work_alone_decide_the_front() -> None:
    problem = small_problem(5, 3, 9, 12)
    first, again = (improved_front(problem, work=0.02, seed=3) for _ in range(2))
    assert [match.chosen for match in first.matchings] == [match.chosen for match in again.matchings]
    assert first.work == again.work >= 0.02
    assert improved_front(problem, work=10.0, seconds=0.0).work < 0.1


def test_a_large_front_is_thinned_and_keeps_its_ends() -> None:
    problem = small_problem(11, 3, 10, 20, 1.0)
    whole, thinned = improved_front(problem), improved_front(problem, most_points=3)
    assert len(whole.matchings) > 3 == len(thinned.matchings)
    np.testing.assert_allclose(thinned.points[[0, -1]], whole.points[[0, -1]])


def test_enumeration_may_take_over() -> None:
    problem = small_problem(2)
    front = improved_front(problem, enumerate_up_to=4)
    np.testing.assert_array_equal(front.points, exact_front(problem).points)


@pytest.mark.parametrize("seed", range(4))
def test_relabelling_changes_nothing(seed) -> None:
    problem = small_problem(seed, 3, 5, 6)
    rng = np.random.default_rng(seed)
    nodes = list(problem.graph)
    new = dict(zip(nodes, [f"n{i}" for i in rng.permutation(len(nodes))], strict=True))
    rename = {"g0": "z", "g1": "y", "g2": "x"}
    opened = [problem.open_positions[i] for i in rng.permutation(5)]
    people = [list(problem.candidates)[j] for j in rng.permutation(6)]
    rows, columns = [problem.position_index[u] for u in opened], [problem.candidate_index[c] for c in people]
    other = Problem(
        nx.relabel_nodes(problem.graph, new), {new[u]: rename[g] for u, g in problem.classes.items()},
        [new[u] for u in opened], {c.upper(): rename[problem.candidates[c]] for c in people},
        problem.weights[np.ix_(rows, columns)],
    )  # fmt: skip
    np.testing.assert_allclose(exact_front(other).points, exact_front(problem).points, atol=1e-12)
    np.testing.assert_allclose(improved_front(other).points, improved_front(problem).points, atol=1e-12)


def test_points_that_nothing_dominates() -> None:
    fitness, distance = np.array([3.0, 2.0, 2.0, 1.0, 4.0, 3.0]), np.array([0.3, 0.1, 0.2, 0.1, np.nan, 0.3])
    assert non_dominated(fitness, distance).tolist() == [0, 1]


def test_hypervolume_by_hand() -> None:
    points = np.array([[3.0, 0.5], [1.0, 0.1], [2.0, 0.3], [0.5, 0.4]])
    # up to |r| 1: 1 x 0.9 + 1 x 0.7 + 1 x 0.5; the last point is dominated
    assert hypervolume(points, (0.0, 1.0)) == pytest.approx(2.1)
    assert hypervolume(points, (2.0, 1.0)) == pytest.approx(0.5)
    assert hypervolume(points, (5.0, 1.0)) == 0.0


def test_dominating_and_covering() -> None:
    points = np.array([[3.0, 0.5], [1.0, 0.1]])
    assert dominates(points, 3.0, 0.5).tolist() == [False, False]
    assert dominates(points, 2.5, 0.5).tolist() == [True, False]
    assert covers(points, 3.0, 0.5)
    assert not covers(points, 2.0, 0.2)


def test_a_front_of_one_point_is_found_or_not() -> None:
    problem = next(p for p in map(small_problem, range(50)) if len(exact_front(p).matchings) == 1)
    front = exact_front(problem)
    assert front.gap(front.points) == 0.0
    assert front.gap(front.points - [0.1, 0.0]) == 1.0


def test_one_class_everywhere_is_a_named_error() -> None:
    problem = Problem(nx.complete_graph(4), {2: "a", 3: "a"}, [0, 1], {"x": "a", "y": "a"}, np.ones((2, 2)))
    for search in (exact_front, improved_front):
        with pytest.raises(UndefinedAssortativityError):
            search(problem)


def test_a_class_that_only_a_candidate_brings_is_found() -> None:
    # everyone is an a; r is defined only if b is hired, though a is the fitter
    problem = Problem(nx.complete_graph(4), {2: "a", 3: "a"}, [0, 1], {"x": "a", "y": "a", "z": "b"}, np.array([[1.0, 1, 0.1]] * 2))
    expected, _, _ = brute_force(problem)
    for search in (exact_front, improved_front):
        np.testing.assert_allclose(sorted(search(problem).points.tolist()), expected)


def test_limits_are_named() -> None:
    problem = small_problem(0)
    with pytest.raises(FaireaError, match="class patterns = "):
        exact_front(problem, most_patterns=2)
    big = Problem(nx.path_graph(30), {29: "a"}, list(range(29)), {"x": "a"}, np.ones((29, 1)))
    with pytest.raises(FaireaError, match="open_positions = 29: at most"):
        exact_front(big)
    for wrong in ({"work": -1.0}, {"seconds": float("nan")}, {"most_points": 1}, {"enumerate_up_to": 40}):
        with pytest.raises(FaireaError, match=next(iter(wrong))):
            improved_front(problem, **wrong)


def test_a_front_as_a_table() -> None:
    problem = small_problem(1)
    front = exact_front(problem)
    frame = front.frame()
    assert list(frame.columns) == ["fitness", "abs_assortativity", "matching"]
    assert frame["fitness"].is_monotonic_decreasing
    assert isinstance(front.matchings[int(frame["matching"].iloc[0])], Matching)
    assert isinstance(front, Front)


def test_without_candidates_the_front_is_the_network_as_it_is() -> None:
    graph = nx.path_graph(6)
    problem = Problem(graph, {2: "a", 3: "a", 4: "b", 5: "b"}, [0, 1], {}, {})
    for search in (exact_front, improved_front):  # the path a-a-b-b has r = 1/3
        np.testing.assert_allclose(search(problem).points, [[0.0, 1 / 3]])


def test_more_work_gains_little_on_a_larger_problem() -> None:
    graph = scale_free(600, 0.3, 0.4, seed=1)
    problem = make_problem(graph, "class", open_at_random(graph, 0.06, seed=1), pool=4, seed=1)
    little, usual, much = (improved_front(problem, work=work).points for work in (0.01, 0.3, 1.0))
    reference = little[:, 0].min() - 1, little[:, 1].max() * 1.02
    areas = [hypervolume(points, reference) for points in (little, usual, much)]
    assert areas[0] <= areas[1] <= areas[2] <= 1.002 * areas[1]

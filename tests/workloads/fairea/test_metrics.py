"""Measures against graphs worked out by hand, and against networkx."""

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.fairea.problems import all_maximum_matchings, small_problem
from xbar.workloads.fairea import metrics
from xbar.workloads.fairea.metrics import MixingMatrix
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Matching, UndefinedAssortativityError

# a-a-b-b in a path: ends aa 2, ab 1, ba 1, bb 2 of 6: trace 4/6, sum a_i² = 1/2, r = (2/3 - 1/2) / (1/2) = 1/3
PATH, PATH_CLASSES = nx.path_graph(4), {0: "a", 1: "a", 2: "b", 3: "b"}


def test_assortativity_of_a_path_by_hand() -> None:
    assert metrics.assortativity(PATH, PATH_CLASSES) == pytest.approx(1 / 3, abs=1e-15)
    np.testing.assert_array_equal(metrics.mixing_matrix(PATH, PATH_CLASSES), [[2, 1], [1, 2]])


def test_a_self_loop_counts_once() -> None:
    graph = nx.Graph([*PATH.edges(), (0, 0)])  # ends aa 3, ab 1, ba 1, bb 2 of 7
    assert metrics.assortativity(graph, PATH_CLASSES) == pytest.approx((5 * 7 - 25) / (49 - 25), abs=1e-15)
    nx.set_node_attributes(graph, PATH_CLASSES, "class")
    assert metrics.assortativity(graph, PATH_CLASSES) == pytest.approx(
        nx.attribute_assortativity_coefficient(graph, "class"), abs=1e-14
    )


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_assortativity_is_that_of_networkx(seed, classes) -> None:
    graph = nx.gnp_random_graph(30, 0.2, seed=seed)
    graph.add_edges_from([(3, 3), (4, 4)])
    groups = {u: int(c) for u, c in enumerate(np.random.default_rng(seed).integers(classes, size=30))}
    nx.set_node_attributes(graph, groups, "class")
    expected = nx.attribute_assortativity_coefficient(graph, "class")
    assert metrics.assortativity(graph, groups) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("graph_and_classes", [(PATH, dict.fromkeys(range(4), "a")), (nx.empty_graph(4), PATH_CLASSES)])
def test_an_undefined_coefficient_is_a_named_error(graph_and_classes) -> None:
    with pytest.raises(UndefinedAssortativityError, match="assortativity = "):
        metrics.assortativity(*graph_and_classes)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=30))
def test_incremental_mixing_is_recomputed_mixing(seed, classes, steps) -> None:
    problem = small_problem(seed, classes)
    compact, k = problem.compact, len(problem.compact.groups)
    mixing = MixingMatrix(compact)
    before = [(mixing.matrix.copy(), mixing.labels.copy())]
    for position, label in steps:
        mixing.set(position, min(label, k - 1))
        before.append((mixing.matrix.copy(), mixing.labels.copy()))
        _same_as_recomputed(problem, mixing)
    for matrix, labels in reversed(before[:-1]):
        mixing.undo()
        np.testing.assert_array_equal(mixing.matrix, matrix)
        np.testing.assert_array_equal(mixing.labels, labels)
    _same_as_recomputed(problem, mixing)


def _same_as_recomputed(problem, mixing) -> None:
    hired = {i: problem.compact.groups[label] for i, label in enumerate(mixing.labels) if label != UNFILLED}
    classes = {**problem.classes, **hired}
    present = [c for c, name in enumerate(problem.compact.groups) if name in classes.values()]
    np.testing.assert_array_equal(mixing.matrix[np.ix_(present, present)], metrics.mixing_matrix(problem.graph, classes))
    graph = nx.Graph(problem.graph.subgraph(classes))
    nx.set_node_attributes(graph, classes, "class")
    touched = {classes[u] for edge in graph.edges() for u in edge}
    if len(touched) < 2:
        with pytest.raises(UndefinedAssortativityError):
            _ = mixing.r
    else:
        assert mixing.r == pytest.approx(nx.attribute_assortativity_coefficient(graph, "class"), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_r_after_one_change_is_r_of_the_changed_network(seed) -> None:
    problem = small_problem(seed, classes=3)
    k = len(problem.compact.groups)
    mixing = MixingMatrix(problem.compact, np.array([0, UNFILLED, 1, k - 1]))
    after = mixing.r_after()
    for position in range(4):
        for label in range(k):
            mixing.set(position, label)
            assert after[position, label] == pytest.approx(mixing.r, abs=1e-12)
            mixing.undo()


# two triangles a-a-b and b-b-b joined by an edge b-b, and an a at the end of an arm
HAND = nx.Graph([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5), (5, 6)])
HAND_CLASSES = {0: "a", 1: "a", 2: "b", 3: "b", 4: "b", 5: "b", 6: "a"}


def test_further_measures_by_hand() -> None:
    assert metrics.cross_group_share(HAND, HAND_CLASSES) == 3 / 8  # 0-2, 1-2, 5-6
    assert metrics.minority(HAND_CLASSES) == "a"
    assert metrics.isolated_share(HAND, HAND_CLASSES) == 1 / 3  # only 6 has no a beside it
    assert metrics.group_shares(HAND_CLASSES) == {"a": 3 / 7, "b": 4 / 7}
    # mean degree of a (2 + 2 + 1) / 3, of b (3 + 3 + 2 + 3) / 4; core number 2 but 1 for position 6
    assert metrics.degree_ratio(HAND, HAND_CLASSES) == pytest.approx((5 / 3) / (11 / 4))
    assert metrics.core_ratio(HAND, HAND_CLASSES) == pytest.approx((5 / 3) / 2)
    # communities {0, 1, 2} with one b of three and {3, 4, 5, 6} with one a of four, whatever the seed
    assert metrics.community_minority_share(HAND, HAND_CLASSES) == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_unfilled_positions_and_self_loops_are_left_out() -> None:
    graph = nx.Graph([*HAND.edges(), (6, 6), (6, 7), (7, 0)])  # nobody holds 7
    for measure in (metrics.cross_group_share, metrics.isolated_share, metrics.degree_ratio, metrics.core_ratio):
        assert measure(graph, HAND_CLASSES) == measure(HAND, HAND_CLASSES)


def test_measures_name_a_missing_class() -> None:
    with pytest.raises(FaireaError, match=r"classes\[6\] = None"):
        metrics.cross_group_share(HAND, {**HAND_CLASSES, 6: None})


def test_improvement_as_scored_and_absolute() -> None:
    gain = metrics.Improvement(before=-0.4, after=0.1)
    assert gain.absolute == pytest.approx(0.3)
    assert gain.relative == pytest.approx(0.75)
    assert math.isnan(metrics.Improvement(before=0.0, after=0.1).relative)


@pytest.mark.parametrize("seed", range(4))
def test_fitness_is_normalised_over_all_maximum_matchings(seed) -> None:
    problem = small_problem(seed)
    everything = all_maximum_matchings(problem)
    low, high = min(match.fitness for match in everything), max(match.fitness for match in everything)
    assert metrics.fitness_range(problem) == pytest.approx((low, high))
    values = [metrics.normalised_fitness(match) for match in everything]
    assert (min(values), max(values)) == pytest.approx((0.0, 1.0))


def test_all_measures_at_once() -> None:
    problem = small_problem(3)
    match = all_maximum_matchings(problem)[0]
    found = metrics.evaluate(match)
    assert found["improvement_absolute"] == pytest.approx(abs(found["assortativity_before"]) - abs(found["assortativity"]))
    assert found["assortativity"] == pytest.approx(
        nx.attribute_assortativity_coefficient(match.network(), "class"), abs=1e-12
    )
    assert found["unfilled"] == len(Matching(problem, match.chosen).unfilled)

"""Problems are checked where they are made, and matchings are one-to-one."""

import pickle

import networkx as nx
import numpy as np
import pytest

from xbar.workloads.fairea.baselines import maximum_fitness
from xbar.workloads.fairea.problem import FaireaError, Matching, Problem

PATH = nx.path_graph(4)
CLASSES = {2: "a", 3: "b"}
PEOPLE = {"x": "a", "y": "b"}
FITNESS = {(0, "x"): 0.5, (1, "y"): 1.0, (0, "y"): 0.25}


def problem(**changes: object) -> Problem:
    given = {
        "graph": PATH, "classes": CLASSES, "open_positions": [0, 1], "candidates": PEOPLE, "fitness": FITNESS, **changes
    }  # fmt: skip
    return Problem(**given)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"fitness": {(0, "x"): float("nan")}}, r"fitness\[\(0, 'x'\)\]", "nan"),
        ({"fitness": {(0, "x"): float("inf")}}, r"fitness\[\(0, 'x'\)\]", "inf"),
        ({"fitness": np.array([[np.inf, 1], [1, 1]])}, r"fitness\[\(0, 'x'\)\]", "inf"),
        ({"fitness": np.ones((2, 3))}, "fitness", r"\(2, 3\)"),
        ({"fitness": {(0, "z"): 1.0}}, "fitness", "'z'"),
        ({"fitness": {(3, "x"): 1.0}}, "fitness", "3"),
        ({"open_positions": [0, 9]}, "open_positions", "9"),
        ({"open_positions": [0, 0]}, "open_positions", "0"),
        ({"open_positions": []}, "open_positions", r"\(\)"),
        ({"classes": {2: "a"}}, r"classes\[3\]", "None"),
        ({"classes": {2: "a", 3: float("nan")}}, r"classes\[3\]", "nan"),
        ({"classes": {**CLASSES, 7: "a"}}, "classes", "7"),
        ({"candidates": {"x": "a", "y": None}}, r"candidates\['y'\]", "None"),
        ({"candidates": {"x": "a", "y": "c"}, "allowed_classes": ["a", "b"]}, r"candidates\['y'\]", "'c'"),
        ({"classes": {2: "a", 3: "c"}, "allowed_classes": ["a", "b"]}, r"classes\[3\]", "'c'"),
        ({"graph": nx.DiGraph(PATH)}, "graph", "'DiGraph'"),
        ({"graph": nx.MultiGraph(PATH)}, "graph", "'MultiGraph'"),
    ],
)
def test_wrong_input_is_named(changes, field, value) -> None:
    with pytest.raises(FaireaError, match=f"^{field} = {value}: "):
        problem(**changes)


def test_attributes_are_read_from_nodes_and_candidates_and_a_missing_one_is_named() -> None:
    graph = nx.Graph(PATH)
    nx.set_node_attributes(graph, {2: {"club": "a", "sex": "f"}, 3: {"club": "b", "sex": "m"}})
    people = {"x": {"club": "a", "sex": "m"}, "y": {"club": "b", "sex": "f"}}
    by_sex = Problem.from_attributes(graph, "sex", [0, 1], people, FITNESS)
    assert by_sex.classes == {2: "f", 3: "m"}
    assert by_sex.candidates == {"x": "m", "y": "f"}
    with pytest.raises(FaireaError, match="attribute 'sex' is missing"):
        Problem.from_attributes(graph, "sex", [0, 1], {"x": {"club": "a"}, "y": {"sex": "f"}}, FITNESS)


def test_an_array_with_gaps_is_the_same_as_pairs() -> None:
    np.testing.assert_array_equal(problem().weights, problem(fitness=np.array([[0.5, 0.25], [np.nan, 1.0]])).weights)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ({0: "x", 1: "x"}, "does not qualify"),
        ({0: "y", 1: "y"}, "must not be given twice"),
        ({2: "x"}, "must be an open position"),
        ({0: "z"}, "must be a candidate"),
    ],
)
def test_invalid_matchings_are_refused(pairs, reason) -> None:
    with pytest.raises(FaireaError, match=reason):
        Matching.from_pairs(problem(), pairs)


def test_a_matching_says_who_is_where_and_what_stays_open() -> None:
    match = Matching.from_pairs(problem(), {1: "y"})
    assert match.pairs == {1: "y"}
    assert match.unfilled == (0,)
    assert match.fitness == 1.0
    assert match.classes == {1: "b", 2: "a", 3: "b"}
    assert set(match.network().edges()) == {(1, 2), (2, 3)}


def test_fitness_of_any_size_and_sign_is_compared_exactly() -> None:
    graph = nx.path_graph(4)
    for scale in (1e-30, 1.0, -1.0, 1e12):
        weights = scale * np.array([[0.3, 0.1], [0.2, 0.1]])
        best = maximum_fitness(Problem(graph, CLASSES, [0, 1], PEOPLE, weights))
        crossed = weights[0, 1] + weights[1, 0] > weights[0, 0] + weights[1, 1]
        assert best.pairs == ({0: "y", 1: "x"} if crossed else {0: "x", 1: "y"})


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(FaireaError("share", 2.0, "must be below 1")))
    assert (str(error), error.field, error.value) == ("share = 2.0: must be below 1", "share", 2.0)

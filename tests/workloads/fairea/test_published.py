"""FairEA as published step by step, and its baselines."""

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from tests.workloads.fairea.problems import all_maximum_matchings, small_problem
from xbar.workloads.fairea.baselines import (
    maximum_fitness,
    minimum_fitness,
    optimisation,
    random_matching,
    weighted_hungarian,
)
from xbar.workloads.fairea.metrics import MixingMatrix
from xbar.workloads.fairea.problem import FaireaError, Problem
from xbar.workloads.fairea.published import fairea, front_ranks, local_minority, visible_neighbours

METHODS = {
    "published": fairea,
    "global diversity": lambda problem: fairea(problem, diversity="global"),
    "isolation": lambda problem: fairea(problem, isolation=0.2),
    "weighted Hungarian": weighted_hungarian,
    "optimisation": optimisation,
    "random": lambda problem: random_matching(problem, 0),
    "chain": lambda problem: random_matching(problem, 0, steps=200),
    "maximum": maximum_fitness,
    "minimum": minimum_fitness,
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "case", [(0, 2, 5, 6, 0.6), (1, 3, 6, 4, 0.6), (2, 3, 5, 5, 0.25), (3, 4, 4, 12, 1.0), (4, 2, 5, 5, 0.4)]
)
def test_every_method_fills_what_can_be_filled(name, case) -> None:
    problem = small_problem(*case)
    pairs = nx.Graph([(("p", i), ("c", j)) for i, j in np.argwhere(problem.compact.qualified)])
    most = len(nx.bipartite.maximum_matching(pairs, [u for u in pairs if u[0] == "p"])) // 2 if len(pairs) else 0
    match = METHODS[name](problem)  # being a Matching, one-to-one and qualified
    assert len(match.pairs) == most
    assert METHODS[name](problem).chosen == match.chosen


def test_nobody_to_choose_from_leaves_everything_open() -> None:
    empty = Problem(nx.path_graph(4), {2: "a", 3: "b"}, [0, 1], {}, {})
    for method in METHODS.values():
        assert method(empty).unfilled == (0, 1)


@pytest.mark.parametrize("seed", range(6))
def test_maximum_and_minimum_fitness_are_the_extremes_of_all(seed) -> None:
    problem = small_problem(seed)
    values = [match.fitness for match in all_maximum_matchings(problem)]
    assert maximum_fitness(problem).fitness == pytest.approx(max(values))
    assert minimum_fitness(problem).fitness == pytest.approx(min(values))


def star(classes: dict[int, str], candidates: dict[str, str], fitness: dict[tuple[int, str], float]) -> Problem:
    """One open position, 0, in the middle of others."""
    return Problem(nx.star_graph(len(classes)), classes, [0], candidates, fitness)


def test_the_local_minority_is_preferred_among_equally_fit() -> None:
    around = {1: "a", 2: "a", 3: "b"}
    people = {"x": "a", "y": "b", "z": "a"}
    even = {(0, "x"): 0.5, (0, "y"): 0.5, (0, "z"): 0.4}
    assert fairea(star(around, people, even)).pairs == {0: "y"}
    # the weighted Hungarian pays 1 for the minority: 1.6 beats 0.5 + 1, 1.4 does not
    assert weighted_hungarian(star(around, people, {**even, (0, "x"): 1.6})).pairs == {0: "x"}
    assert weighted_hungarian(star(around, people, {**even, (0, "x"): 1.4})).pairs == {0: "y"}


def test_rarest_class_of_several_and_ties() -> None:
    beside = np.array([[3, 1, 2], [1, 1, 2], [2, 2, 2], [0, 0, 0], [0, 4, 1]])
    expected = [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert local_minority(beside).astype(int).tolist() == expected


def test_fronts_are_peeled_one_by_one() -> None:
    first, second = np.array([1.0, 0.0, 1.0, 0.0, 0.0]), np.array([0.5, 0.9, 0.2, 0.5, 0.1])
    assert front_ranks(first, second).tolist() == [1, 1, 2, 2, 3]


def test_forced_pairs_come_first_and_decide_what_others_see() -> None:
    # 0 can only get x, of class a; then 1 sees one a and prefers y of class b, though z is as fit
    graph = nx.Graph([(0, 1), (2, 3)])
    fitness = {(0, "x"): 0.1, (1, "x"): 1.0, (1, "y"): 0.5, (1, "z"): 0.5}
    problem = Problem(graph, {2: "a", 3: "b"}, [0, 1], {"x": "a", "y": "b", "z": "a"}, fitness)
    assert fairea(problem).pairs == {0: "x", 1: "y"}
    # where the empty position counted as b at the outset, 1 would still see the x that was written
    assert fairea(problem, released_defects=True, counted_as="b").pairs == {0: "x", 1: "y"}


def test_unfilled_neighbours_and_self_loops_count_as_a_class_only_with_the_released_defects() -> None:
    # 0 and 1 are beside each other, each beside one a: b is the minority; an open neighbour taken for b makes a tie
    graph = nx.Graph([(0, 1), (0, 2), (1, 3), (4, 5)])
    held = {2: "a", 3: "a", 4: "b", 5: "b"}
    people = {"x": "a", "y": "b", "u": "a", "v": "b"}
    fitness = {(0, "x"): 1.0, (0, "y"): 0.9, (1, "u"): 1.0, (1, "v"): 0.9}
    problem = Problem(graph, held, [0, 1], people, fitness)
    assert visible_neighbours(MixingMatrix(problem.compact)).tolist() == [[1, 0], [1, 0]]
    assert visible_neighbours(MixingMatrix(problem.compact), 1).tolist() == [[1, 1], [1, 1]]
    assert weighted_hungarian(problem).pairs == {0: "y", 1: "v"}
    assert weighted_hungarian(problem, released_defects=True, counted_as="b").pairs == {0: "x", 1: "u"}
    looped = Problem(nx.Graph([*graph.edges(), (0, 0)]), held, [0, 1], people, fitness)
    assert visible_neighbours(MixingMatrix(looped.compact)).tolist() == [[1, 0], [1, 0]]
    assert visible_neighbours(MixingMatrix(looped.compact), 1).tolist() == [[1, 2], [1, 1]]
    with pytest.raises(FaireaError, match="counted_as = 'female'"):
        fairea(problem, released_defects=True)


def test_matched_classes_are_shown_before_the_matching_is_extended() -> None:
    # 0, 1 and 2 are beside each other and see one a each; x and y alone are of class b, and both can take 0 or 1.
    # Round 1 matches two positions with b in the first front; 2, left over, then sees b in the majority.
    graph = nx.Graph([(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (4, 5)])
    people = {"x": "b", "y": "b", "p": "a", "q": "b"}
    fitness = {(0, "x"): 1.0, (1, "y"): 1.0, (0, "y"): 1.0, (1, "x"): 1.0, (2, "p"): 0.5, (2, "q"): 0.5}
    problem = Problem(graph, {3: "a", 4: "b", 5: "a"}, [0, 1, 2], people, fitness)
    assert set(fairea(problem).pairs) == {0, 1, 2}
    assert fairea(problem).pairs[2] == "p"
    assert fairea(problem, released_defects=True, counted_as="a").pairs[2] == "q"


def test_isolation_threshold_brings_a_class_into_each_community() -> None:
    # two cliques of a, joined by one edge; one open position in each; b is less fit everywhere
    graph = nx.barbell_graph(6, 0)
    opened = [0, 11]
    people = {"x": "a", "y": "a", "u": "b", "v": "b"}
    fitness = {(i, c): (1.0 if g == "a" else 0.1) for i in opened for c, g in people.items()}
    held = {u: "a" for u in graph if u not in opened} | {4: "b", 7: "b"}
    problem = Problem(graph, held, opened, people, fitness)
    assert set(fairea(problem, isolation=2).pairs.values()) == {"u", "v"}  # each clique had one b and now has two
    alone = Problem(graph, {u: "a" for u in graph if u not in opened}, opened, people, fitness)
    assert set(fairea(alone, isolation=0.1).pairs.values()) == {"u", "v"}  # ceil(0.1 x 6) = 1 in each


@pytest.mark.parametrize("wrong", [{"diversity": "both"}, {"isolation": 1.5}, {"isolation": 0}])
def test_wrong_options_are_named(wrong) -> None:
    with pytest.raises(FaireaError, match=f"^{next(iter(wrong))} = "):
        fairea(small_problem(0), **wrong)


@pytest.mark.parametrize("seed", range(3))
def test_optimisation_without_its_diversity_terms_is_maximum_fitness(seed) -> None:
    problem = small_problem(seed)
    assert optimisation(problem, diversity_weight=0.0).fitness == pytest.approx(maximum_fitness(problem).fitness)


@pytest.mark.parametrize("seed", range(3))
def test_optimisation_finds_the_best_of_all_matchings(seed) -> None:
    problem = small_problem(seed)
    everything = all_maximum_matchings(problem)
    found = optimisation(problem, diversity_weight=2.0)
    assert _objective(found, everything) == pytest.approx(max(_objective(m, everything) for m in everything), abs=1e-3)


def _objective(match, everything) -> float:
    """The programme's objective by its definition."""
    problem = match.problem
    people = [*problem.classes.values(), *problem.candidates.values()]
    groups = sorted(set(people))
    deviation = degrees = 0.0
    for u in problem.graph:
        if not any(v in problem.position_index for v in problem.graph[u] if v != u):
            continue
        around = [match.classes[v] for v in problem.graph[u] if v != u and v in match.classes]
        deviation += sum(abs(around.count(g) - people.count(g) / len(people) * len(around)) for g in groups)
        degrees += problem.graph.degree(u)
    values = [m.fitness for m in everything]
    return match.fitness / (max(values) - min(values)) - 2.0 * deviation / degrees


@pytest.mark.parametrize("steps", [None, 1000])
@pytest.mark.parametrize("case", [(3, 2, 3, 4, 0.8), (2, 2, 4, 3, 0.8)])
def test_random_matchings_are_uniform(steps, case) -> None:
    problem = small_problem(*case)
    everything = [match.chosen for match in all_maximum_matchings(problem)]
    assert len(everything) > 3
    rng = np.random.default_rng(0)
    draws = [random_matching(problem, rng, steps).chosen for _ in range(60 * len(everything) if steps is None else 600)]
    counts = [draws.count(chosen) for chosen in everything]
    assert sum(counts) == len(draws)
    assert stats.chisquare(counts).pvalue > 1e-3

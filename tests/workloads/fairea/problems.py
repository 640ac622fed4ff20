"""Small problems and brute force that several tests use."""

from itertools import permutations

import networkx as nx
import numpy as np

from xbar.workloads.fairea.problem import UNFILLED, Matching, Problem


def small_problem(seed: int, classes: int = 2, positions: int = 4, candidates: int = 5, density: float = 0.7) -> Problem:
    """Twelve positions of a random network, the first ones open; fitness in tenths with gaps; some self-loops."""
    rng = np.random.default_rng(seed)
    graph = nx.gnp_random_graph(12, 0.45, seed=seed)
    if seed % 2:
        graph.add_edges_from([(0, 0), (9, 9)])
    weights = np.round(rng.random((positions, candidates)), 1)
    weights[rng.random(weights.shape) > density] = np.nan
    held = {u: f"g{c}" for u, c in enumerate(rng.integers(classes, size=12)) if u >= positions}
    people = {f"c{j}": f"g{c}" for j, c in enumerate(rng.integers(classes, size=candidates))}
    return Problem(graph, held, list(range(positions)), people, weights)


def all_maximum_matchings(problem: Problem) -> list[Matching]:
    """Every matching that fills as many positions as can be filled, by trying all."""
    m, t = problem.weights.shape
    found, most = {}, 0
    for order in permutations([*range(t), *[UNFILLED] * m], m):
        if any(j != UNFILLED and np.isnan(problem.weights[i, j]) for i, j in enumerate(order)):
            continue
        found[order] = sum(j != UNFILLED for j in order)
        most = max(most, found[order])
    return [Matching(problem, order) for order, filled in found.items() if filled == most]


def networkx_distance(matching: Matching) -> float:
    """|r| of the filled network by networkx; NaN where undefined."""
    graph = matching.network()
    classes = set(nx.get_node_attributes(graph, "class").values())
    touched = {graph.nodes[u]["class"] for edge in graph.edges() for u in edge}
    if len(classes) < 2 or len(touched) < 2:
        return float("nan")
    return abs(nx.attribute_assortativity_coefficient(graph, "class"))

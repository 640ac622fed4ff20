"""Measures of a matching: fitness, and how mixed the network is that it leaves.

Assortativity: M. E. J. Newman, "Mixing patterns in networks", Phys. Rev. E 67, 026126 (2003), eq. 2, of the matrix of
edge ends by class, as `networkx.attribute_assortativity_coefficient` has it. Scores as reported for FairEA: improvement
in assortativity is (|r_filled| - |r|) / |r_filled|, in fitness (f - f_min) / (f_max - f_min).
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
import pandas as pd

from xbar.workloads.fairea.assignment import assign
from xbar.workloads.fairea.problem import (
    UNFILLED,
    Compact,
    FaireaError,
    Floats,
    Ints,
    Matching,
    Problem,
    UndefinedAssortativityError,
    communities,
    is_missing,
    sorted_classes,
)


def coefficient(trace: npt.ArrayLike, ends: npt.NDArray) -> Floats:
    """Newman's r from edge ends within classes, (...), and edge ends of each class, (..., K); NaN where undefined.

    In integers up to the last division: r = (T trace - sum ends²) / (T² - sum ends²), T = sum ends.
    """
    trace, ends = np.asarray(trace, np.float64), np.asarray(ends, np.float64)
    total, square = ends.sum(-1), (ends * ends).sum(-1)
    below = total * total - square
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, (total * trace - square) / below, np.nan)


class MixingMatrix:
    """Edge ends by class of the filled network, kept up to date while open positions change their label.

    `matrix` (K, K) counts the ends of every edge, a self-loop once. `set` costs O(K + open neighbours).
    """

    def __init__(self, compact: Compact, labels: Ints | None = None):
        """Starts from `labels` (m,), all unfilled if not given."""
        m = len(compact.beside)
        self.compact = compact
        self.matrix = compact.mixing.copy()
        self.beside = compact.beside.copy()  # (m, K) neighbours by class, open positions included once filled
        self.labels = np.full(m, UNFILLED, np.int64)
        self._neighbours = [np.flatnonzero(row) for row in compact.adjacent]
        self._undo: list[tuple[int, int]] = []
        for i, label in enumerate(labels if labels is not None else ()):
            self.set(i, int(label))
        self._undo.clear()

    def set(self, position: int, label: int) -> None:
        """Give `position` another label, `UNFILLED` to empty it."""
        old = int(self.labels[position])
        self._undo.append((position, old))
        self._put(position, old, -1)
        self._put(position, label, 1)
        self.labels[position] = label

    def undo(self) -> None:
        """Take back the latest `set` that has not been taken back."""
        position, label = self._undo.pop()
        self.set(position, label)
        self._undo.pop()

    def _put(self, position: int, label: int, sign: int) -> None:
        if label == UNFILLED:
            return
        around = self.beside[position]
        self.matrix[label] += sign * around
        self.matrix[:, label] += sign * around
        self.matrix[label, label] += sign * self.compact.loop[position]
        self.beside[self._neighbours[position], label] += sign

    @property
    def r(self) -> float:
        """Newman's coefficient; raises `UndefinedAssortativityError`."""
        return _defined(float(coefficient(np.trace(self.matrix), self.matrix.sum(1))), self.matrix)

    def r_after(self) -> Floats:
        """(m, K) coefficient if one position had another class, all else kept; NaN where undefined."""
        trace, ends = self.after_one()
        return coefficient(trace, ends)

    def after_one(self) -> tuple[Ints, Ints]:
        """Ends within classes (m, K) and ends by class (m, K, K) if one position had another class.

        Emptying is not among them; an unfilled position is counted as it would be once filled.
        """
        m, k = self.beside.shape
        filled = self.labels != UNFILLED
        degree = self.beside.sum(1) + self.compact.loop  # (m,)
        # without the position: its own row's ends and its neighbours' ends at it are gone
        own = np.zeros((m, k), np.int64)
        own[filled, self.labels[filled]] = degree[filled]
        ends = self.matrix.sum(1)[None] - own - np.where(filled[:, None], self.beside, 0)  # (m, K)
        held = np.where(filled, 2 * self.beside[np.arange(m), np.where(filled, self.labels, 0)] + self.compact.loop, 0)
        trace = (np.trace(self.matrix) - held)[:, None] + 2 * self.beside + self.compact.loop[:, None]  # (m, K)
        ends = np.repeat((ends + self.beside)[:, None, :], k, axis=1)  # (m, K, K)
        ends[:, np.arange(k), np.arange(k)] += degree[:, None]
        return trace, ends


def _defined(r: float, matrix: Ints) -> float:
    if math.isnan(r):
        raise UndefinedAssortativityError(
            "assortativity", matrix.tolist(), "needs an edge between filled positions and two classes at edges' ends"
        )
    return r


def assortativity(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Newman's r of the positions in `classes`; raises `UndefinedAssortativityError` for one class or no edge."""
    return _defined(float(_coefficient_of(graph, classes)), mixing_matrix(graph, classes))


def _coefficient_of(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> Floats:
    matrix = mixing_matrix(graph, classes)
    return coefficient(np.trace(matrix), matrix.sum(1))


def mixing_matrix(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> Ints:
    """(K, K) edge ends between the positions in `classes`, in the order of `sorted_classes`; a self-loop counts once."""
    number = {name: c for c, name in enumerate(_checked(graph, classes))}
    matrix = np.zeros((len(number), len(number)), np.int64)
    for u, v in graph.edges():
        if u in classes and v in classes:
            a, b = number[classes[u]], number[classes[v]]
            matrix[a, b] += 1
            if u != v:
                matrix[b, a] += 1
    return matrix


def _checked(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> tuple[Hashable, ...]:
    for position, group in classes.items():
        if position not in graph:
            raise FaireaError("classes", position, "must be a node of the graph")
        if is_missing(group):
            raise FaireaError(f"classes[{position!r}]", group, "a filled position needs a class")
    return sorted_classes(classes.values())


def coefficient_of_matching(matching: Matching) -> float:
    """Newman's r of the network that a matching leaves; NaN where undefined."""
    return float(_coefficient_of(matching.problem.graph, matching.classes))


def assortativity_as_released(problem: Problem, written: Ints) -> float:
    """Newman's r as the released code measures it: open positions whose class is not written (m,), UNFILLED, are one class more.

    NaN where undefined.
    """
    groups = problem.compact.groups
    shown = {u: ("unwritten",) if label == UNFILLED else groups[label] for u, label in zip(problem.open_positions, written, strict=True)}
    return float(_coefficient_of(problem.graph, {**problem.classes, **shown}))


def fitness_range(problem: Problem) -> tuple[float, float]:
    """Smallest and largest sum of fitness over matchings that fill as many positions as can be filled."""
    c = problem.compact
    low, high = (Matching(problem, tuple(assign(sign * c.score, c.qualified))).fitness for sign in (-1, 1))
    return low, high


def normalised_fitness(matching: Matching) -> float:
    """(f - f_min) / (f_max - f_min); 1 where all matchings are equal."""
    low, high = fitness_range(matching.problem)
    return (matching.fitness - low) / (high - low) if high > low else 1.0


@dataclass(frozen=True)
class Improvement:
    """How much nearer 0 the assortativity came, against the network of filled positions alone."""

    before: float  # r of the filled positions
    after: float  # r with the matching

    @property
    def absolute(self) -> float:
        """|before| - |after|."""
        return abs(self.before) - abs(self.after)

    @property
    def relative(self) -> float:
        """The same over |before|, as the paper scores it; huge where |before| is near 0, NaN at 0."""
        return self.absolute / abs(self.before) if self.before else math.nan


def improvement(matching: Matching) -> Improvement:
    """Against the filled positions alone; raises `UndefinedAssortativityError`."""
    graph = matching.problem.graph
    return Improvement(assortativity(graph, matching.problem.classes), assortativity(graph, matching.classes))


def cross_group_share(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Share of edges between filled positions that join two classes, self-loops aside; NaN without edges."""
    _checked(graph, classes)
    ends = [(classes[u], classes[v]) for u, v in graph.edges() if u != v and u in classes and v in classes]
    return sum(a != b for a, b in ends) / len(ends) if ends else math.nan


def group_shares(classes: Mapping[Hashable, Hashable]) -> dict[Hashable, float]:
    """Share of filled positions that each class holds."""
    counts = Counter(classes.values())
    return {group: counts[group] / len(classes) for group in sorted_classes(classes.values())}


def minority(classes: Mapping[Hashable, Hashable]) -> Hashable:
    """The smallest class; the first in `sorted_classes` of those equally small."""
    counts = Counter(classes.values())
    return min(sorted_classes(classes.values()), key=lambda group: counts[group])


def isolated_share(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Share of the smallest class's members without a neighbour of their class (a self-loop is none)."""
    _checked(graph, classes)
    group = minority(classes)
    members = [u for u in classes if classes[u] == group]
    alone = sum(all(v == u or classes.get(v, _NOBODY) != group for v in graph[u]) for u in members)
    return alone / len(members)


def isolated_members(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> int:
    """How many members, of any class, have no neighbour of their class (a self-loop is none)."""
    _checked(graph, classes)
    return sum(all(v == u or classes.get(v, _NOBODY) != group for v in graph[u]) for u, group in classes.items())


def selection_ratio(matching: Matching) -> float:
    """Smallest over largest share of a class's candidates who are chosen; 1 if nobody is, or all are of one class."""
    groups, chosen = matching.problem.candidates, Counter(matching.problem.candidates[who] for who in matching.pairs.values())
    rates = [chosen[group] / count for group, count in Counter(groups.values()).items()]
    return min(rates) / max(rates) if rates and max(rates) > 0 else 1.0


_NOBODY = object()  # unlike any class


def community_minority_share(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Mean over Louvain communities of the share of the class with the fewest members there (0 if absent).

    Communities of the filled positions' network; every class of `classes` counts in every community.
    """
    groups = _checked(graph, classes)
    shares = []
    for community in communities(graph, classes):
        counts = Counter(classes[u] for u in community)
        shares.append(min(counts[group] for group in groups) / len(community))
    return float(np.mean(shares))


def group_ratio(values: Mapping[Hashable, float], classes: Mapping[Hashable, Hashable]) -> float:
    """Smallest over largest mean of `values` by class: 1 is equal, 0 worst; 1 if all are 0."""
    means = pd.Series(dict(values), dtype=float).groupby(pd.Series(dict(classes)), sort=False).mean()
    return float(means.min() / means.max()) if means.max() > 0 else 1.0


def degree_ratio(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Smallest over largest mean degree by class, among filled positions, self-loops aside."""
    _checked(graph, classes)
    return group_ratio({u: sum(v != u and v in classes for v in graph[u]) for u in classes}, classes)


def core_ratio(graph: nx.Graph, classes: Mapping[Hashable, Hashable]) -> float:
    """Smallest over largest mean core number by class, among filled positions, self-loops aside."""
    _checked(graph, classes)
    filled = nx.Graph(graph.subgraph(classes))
    filled.remove_edges_from(list(nx.selfloop_edges(filled)))
    return group_ratio(nx.core_number(filled), classes)


def evaluate(matching: Matching) -> dict[str, float]:
    """Every measure of this module by name, of one matching. r is NaN where undefined."""
    graph, classes = matching.problem.graph, matching.classes
    gain = Improvement(*(float(_coefficient_of(graph, each)) for each in (matching.problem.classes, classes)))
    return {
        "fitness": matching.fitness,
        "fitness_normalised": normalised_fitness(matching),
        "unfilled": len(matching.unfilled),
        "assortativity_before": gain.before,
        "assortativity": gain.after,
        "improvement_absolute": gain.absolute,
        "improvement_relative": gain.relative,
        "cross_group_share": cross_group_share(graph, classes),
        "isolated_share": isolated_share(graph, classes),
        "isolated_members": isolated_members(graph, classes),
        "selection_ratio": selection_ratio(matching),
        "community_minority_share": community_minority_share(graph, classes),
        "degree_ratio": degree_ratio(graph, classes),
        "core_ratio": core_ratio(graph, classes),
        "minority_share": min(group_shares(classes).values()),
    }

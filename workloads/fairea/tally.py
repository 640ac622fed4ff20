"""All measures of a class pattern, kept up to date while open positions change their class: what searches and reasons need.

A measure besides fitness depends on classes alone. Each is as `metrics` defines it:

distance            |r|, Newman's assortativity
selection_ratio     smallest over largest share of a class's candidates who are chosen
isolated            members, of any class, without a neighbour of their class
degree_ratio        smallest over largest mean degree of a class
core_ratio          smallest over largest mean core number of a class, core numbers being those with every open position filled
community_share     share of the class with the fewest members in a community, mean over the communities that the network has with
                    every open position filled; NaN where a layout has none
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx
import numpy as np

from xbar.workloads.fairea.metrics import coefficient
from xbar.workloads.fairea.problem import UNFILLED, Ints, Problem, sorted_classes


class Measures(NamedTuple):
    """Of a class pattern; distance is NaN where r is undefined."""

    distance: float
    selection_ratio: float
    isolated: float
    degree_ratio: float
    core_ratio: float
    community_share: float


HIGHER_IS_BETTER = Measures(False, True, False, True, True, True)


@dataclass(frozen=True, eq=False)
class Layout:
    """A problem's network in integers, sparse: n positions, m of them open, t candidates, K classes in the order of
    `sorted_classes`."""

    neighbours: tuple[tuple[int, ...], ...]  # of each position, itself aside
    loop: Ints  # (n,) 1 where a position has a self-loop
    held: Ints  # (n,) class, UNFILLED where open
    open: Ints  # (m,) numbers of open positions
    group: Ints  # (t,) class of each candidate
    core: Ints  # (n,) core number, every open position filled
    classes: int
    community: Ints | None = None  # (n,) number of its community, every open position filled

    @classmethod
    def of(cls, problem: Problem) -> "Layout":
        graph = problem.graph
        number = {u: n for n, u in enumerate(graph)}
        groups = {name: c for c, name in enumerate(sorted_classes([*problem.classes.values(), *problem.candidates.values()]))}
        plain = nx.Graph(graph.edges())
        plain.add_nodes_from(graph)
        plain.remove_edges_from(list(nx.selfloop_edges(plain)))
        held = np.array([groups[problem.classes[u]] if u in problem.classes else UNFILLED for u in graph], np.int64)
        return cls(
            tuple(tuple(number[v] for v in graph[u] if v != u) for u in graph),
            np.array([graph.has_edge(u, u) for u in graph], np.int64), held,
            np.array([number[u] for u in problem.open_positions], np.int64),
            np.array([groups[name] for name in problem.candidates.values()], np.int64),
            np.array([found[u] for found in [nx.core_number(plain)] for u in graph], np.int64), len(groups), problem.communities,
        )  # fmt: skip

    def labels(self, chosen: Ints) -> Ints:
        """(m,) classes of the candidates `chosen` (m,)."""
        if not len(self.group):
            return np.full(len(chosen), UNFILLED, np.int64)
        return np.where(chosen == UNFILLED, UNFILLED, self.group[chosen])


class Tally:
    """Measures of a pattern; `set` costs O(neighbours)."""

    def __init__(self, layout: Layout, labels: Ints | None = None):
        """Starts from `labels` (m,) of the open positions, all unfilled if not given."""
        self.layout = layout
        k = layout.classes
        self.label: list[int] = [UNFILLED] * len(layout.neighbours)
        self.beside = [[0] * k for _ in layout.neighbours]  # (n, K) filled neighbours by class
        self.trace = 0
        self.ends, self.members, self.hired, self.alone, self.degree, self.core = ([0] * k for _ in range(6))
        self.pool = np.bincount(layout.group, minlength=k).tolist()
        self.community: list[int] = [] if layout.community is None else layout.community.tolist()
        self.crowd = [[0] * k for _ in range(max(self.community, default=-1) + 1)]  # members of each community by class
        self.rarest = [0.0] * len(self.crowd)  # share of its rarest class
        self._opened = [False] * len(layout.neighbours)
        for u in np.flatnonzero(layout.held != UNFILLED).tolist():
            self._put(u, int(layout.held[u]))
        for u in layout.open.tolist():
            self._opened[u] = True
        for i, label in enumerate(labels if labels is not None else ()):
            self.set(i, int(label))

    def set(self, position: int, label: int) -> None:
        """Give the open position of that number another class, `UNFILLED` to empty it."""
        u = int(self.layout.open[position])
        if self.label[u] != label:
            if self.label[u] != UNFILLED:
                self._take(u)
            if label != UNFILLED:
                self._put(u, label)

    def _put(self, u: int, label: int) -> None:
        beside, loop = self.beside[u], int(self.layout.loop[u])
        self.label[u] = label
        for v in self.layout.neighbours[u]:
            other = self.label[v]
            if other != UNFILLED:
                self.degree[other] += 1
                self.ends[other] += 1
                if other == label and self.beside[v][label] == 0:
                    self.alone[label] -= 1
            self.beside[v][label] += 1
        degree = sum(beside)
        self.degree[label] += degree
        self.ends[label] += degree + loop
        self.trace += 2 * beside[label] + loop
        self.members[label] += 1
        self.core[label] += int(self.layout.core[u])
        self.alone[label] += beside[label] == 0
        self.hired[label] += self._opened[u]
        self._count(u, label, 1)

    def _take(self, u: int) -> None:
        label, beside, loop = self.label[u], self.beside[u], int(self.layout.loop[u])
        self.label[u] = UNFILLED
        for v in self.layout.neighbours[u]:
            self.beside[v][label] -= 1
            other = self.label[v]
            if other != UNFILLED:
                self.degree[other] -= 1
                self.ends[other] -= 1
                if other == label and self.beside[v][label] == 0:
                    self.alone[label] += 1
        degree = sum(beside)
        self.degree[label] -= degree
        self.ends[label] -= degree + loop
        self.trace -= 2 * beside[label] + loop
        self.members[label] -= 1
        self.core[label] -= int(self.layout.core[u])
        self.alone[label] -= beside[label] == 0
        self.hired[label] -= self._opened[u]
        self._count(u, label, -1)

    def _count(self, u: int, label: int, change: int) -> None:
        """Members of u's community, already counted among all."""
        if not self.crowd:
            return
        at = self.community[u]
        self.crowd[at][label] += change
        new = self.members[label] == max(change, 0)  # the first of its class comes, or the last goes: it counts everywhere, or nowhere
        for each in range(len(self.crowd)) if new else [at]:
            crowd = self.crowd[each]
            size = sum(crowd)
            self.rarest[each] = min(count for count, all_ in zip(crowd, self.members, strict=True) if all_) / size if size else 0.0

    def _community_share(self) -> float:
        peopled = sum(any(crowd) for crowd in self.crowd)
        return math.fsum(self.rarest) / peopled if peopled else math.nan

    @property
    def measures(self) -> Measures:
        """Of the pattern as it is."""
        distance = abs(float(coefficient(self.trace, np.array(self.ends))))
        rates = [hired / pool for hired, pool in zip(self.hired, self.pool, strict=True) if pool]
        degree, core = ([value / count for value, count in zip(values, self.members, strict=True) if count]
                        for values in (self.degree, self.core))  # fmt: skip
        return Measures(distance, _ratio(rates), float(sum(self.alone)), _ratio(degree), _ratio(core), self._community_share())


def _ratio(values: list[float]) -> float:
    """Smallest over largest; 1 where all are 0."""
    return min(values) / max(values) if values and max(values) > 0 else 1.0

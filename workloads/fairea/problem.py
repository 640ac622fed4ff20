"""Candidates, open positions of an organisation's network, and matchings between them.

A position is a node of an undirected graph without parallel edges; it is filled by a person of some class (one
categorical attribute of interest: gender, region, ...; any number of classes) or open. A candidate has a class and a
fitness for each position that they qualify for. Jalali, Kenthapadi and Soundarajan, "On Measuring the Diversity of
Organizational Networks", CompleNet 2021, arXiv 2105.06929.

Where candidates do not suffice, or nobody qualifies for a position, a maximum matching leaves positions unfilled.
Unfilled positions have no class and are left out of every measure, like vacancies that nobody holds. Self-loops
count once in the mixing matrix, as in networkx.
"""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

UNFILLED = -1
RESOLUTION = 10**9  # fitness is compared in this many steps of the power of ten above its largest magnitude

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class FaireaError(ValueError):
    """What came from outside is not an assignment problem; names the field, its value, and what is allowed."""

    def __init__(self, field_name: str, value: object, allowed: str):
        self.field, self.value, self.allowed = field_name, value, allowed
        super().__init__(f"{field_name} = {value!r}: {allowed}")

    def __reduce__(self) -> tuple[type, tuple[str, object, str]]:
        """Lets worker processes hand the error on."""
        return type(self), (self.field, self.value, self.allowed)


class UndefinedAssortativityError(FaireaError):
    """Newman's coefficient divides by zero: no edge between filled positions, or one class at every edge's end."""


def is_missing(value: object) -> bool:
    """Whether an attribute's value stands for none at all (None, NaN, empty text)."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True, eq=False)
class Problem:
    """Open positions of a network, and who may fill them. Checked when made; nothing is copied back into `graph`.

    `classes`: class of the person in each filled position (those of open positions are ignored). `candidates`: class
    of each. `fitness`: {(position, candidate): value}, an absent pair being infeasible, or an array of (open
    positions, candidates) in their given orders with NaN for infeasible. `allowed_classes`: if given, no other class
    may occur. Raises `FaireaError`.
    """

    graph: nx.Graph
    classes: Mapping[Any, Hashable]
    open_positions: Sequence[Hashable]
    candidates: Mapping[Any, Hashable]
    fitness: Mapping[tuple[Any, Any], float] | npt.NDArray[Any]
    allowed_classes: Sequence[Hashable] | None = None
    weights: Floats = field(init=False, repr=False)  # (open positions, candidates), NaN where infeasible

    def __post_init__(self) -> None:
        graph = self.graph
        if graph.is_directed() or graph.is_multigraph():
            raise FaireaError("graph", type(graph).__name__, "an undirected graph without parallel edges is needed")
        object.__setattr__(self, "open_positions", tuple(self.open_positions))
        object.__setattr__(self, "candidates", dict(self.candidates))
        if not self.open_positions:
            raise FaireaError("open_positions", (), "at least one open position is needed")
        _no_duplicates("open_positions", self.open_positions)
        for position in self.open_positions:
            if position not in graph:
                raise FaireaError("open_positions", position, "must be a node of the graph")
        is_open = set(self.open_positions)
        filled = {}
        for position in graph:
            if position in is_open:
                continue
            if position not in self.classes or is_missing(self.classes[position]):
                raise FaireaError(f"classes[{position!r}]", self.classes.get(position), "a filled position needs a class")
            filled[position] = self.classes[position]
        for position in self.classes:
            if position not in graph:
                raise FaireaError("classes", position, "must be a node of the graph")
        object.__setattr__(self, "classes", filled)
        for candidate, group in self.candidates.items():
            if is_missing(group):
                raise FaireaError(f"candidates[{candidate!r}]", group, "a candidate needs a class")
        if self.allowed_classes is not None:
            _no_duplicates("allowed_classes", self.allowed_classes)
            known = set(self.allowed_classes)
            for name, groups in (("classes", filled), ("candidates", self.candidates)):
                for who, group in groups.items():
                    if group not in known:
                        raise FaireaError(f"{name}[{who!r}]", group, f"must be one of {list(self.allowed_classes)!r}")
        object.__setattr__(self, "weights", self._weights())

    def _weights(self) -> Floats:
        shape = len(self.open_positions), len(self.candidates)
        if not isinstance(self.fitness, Mapping):
            given = np.array(self.fitness, dtype=np.float64)
            if given.shape != shape:
                raise FaireaError("fitness", given.shape, f"an array must be (open positions, candidates) = {shape}")
            if np.isinf(given).any():
                i, j = np.argwhere(np.isinf(given))[0]
                pair = self.open_positions[i], list(self.candidates)[j]
                raise FaireaError(f"fitness[{pair!r}]", float(given[i, j]), "must be finite, or NaN where infeasible")
            return given
        weights = np.full(shape, np.nan)
        for (position, candidate), value in self.fitness.items():
            if position not in self.position_index:
                raise FaireaError("fitness", position, "the first of a pair must be an open position")
            if candidate not in self.candidate_index:
                raise FaireaError("fitness", candidate, "the second of a pair must be a candidate")
            if not math.isfinite(value):
                raise FaireaError(f"fitness[{(position, candidate)!r}]", value, "must be finite; leave out what is infeasible")
            weights[self.position_index[position], self.candidate_index[candidate]] = value
        return weights

    @classmethod
    def from_attributes(
        cls, graph: nx.Graph, attribute: str, open_positions: Sequence[Hashable],
        candidates: Mapping[Hashable, Mapping[str, Hashable]], fitness: Mapping | npt.NDArray,
    ) -> "Problem":  # fmt: skip
        """The problem where `attribute` of nodes and candidates, who may have several, is the one of interest."""
        for candidate, attributes in candidates.items():
            if attribute not in attributes:
                raise FaireaError(f"candidates[{candidate!r}]", dict(attributes), f"attribute {attribute!r} is missing")
        groups = {candidate: attributes[attribute] for candidate, attributes in candidates.items()}
        return cls(graph, nx.get_node_attributes(graph, attribute), open_positions, groups, fitness)

    def with_fitness(self, fitness: Mapping[tuple[Hashable, Hashable], float] | npt.NDArray[Any]) -> "Problem":
        """The same positions and candidates with other fitness."""
        return Problem(self.graph, self.classes, self.open_positions, self.candidates, fitness, self.allowed_classes)

    @cached_property
    def position_index(self) -> dict[Hashable, int]:
        return {position: i for i, position in enumerate(self.open_positions)}

    @cached_property
    def candidate_index(self) -> dict[Hashable, int]:
        return {candidate: j for j, candidate in enumerate(self.candidates)}

    @cached_property
    def compact(self) -> "Compact":
        """The problem in integers."""
        return Compact.of(self)

    @cached_property
    def communities(self) -> Ints:
        """(n,) number of each position's community, every open position filled."""
        number = {u: k for k, members in enumerate(communities(self.graph, set(self.graph))) for u in members}
        return np.array([number[u] for u in self.graph], np.int64)


def communities(graph: nx.Graph, filled: Collection[Hashable], seed: int = 0) -> list[set[Hashable]]:
    """Communities of the filled positions' network, by the method of Louvain (V. D. Blondel et al., J. Stat. Mech. P10008 (2008))."""
    shown = nx.Graph()
    shown.add_nodes_from(u for u in graph if u in filled)
    shown.add_edges_from(edge for edge in graph.edges(data=True) if edge[0] in filled and edge[1] in filled)
    return list(nx.community.louvain_communities(shown, seed=seed))


def _no_duplicates(name: str, values: Iterable[Hashable]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise FaireaError(name, value, "must not be given twice")
        seen.add(value)


def sorted_classes(groups: Iterable[Hashable]) -> tuple[Hashable, ...]:
    """Distinct classes in a stated order: by type, then by what they print as."""
    return tuple(sorted(set(groups), key=lambda group: (type(group).__name__, str(group))))


@dataclass(frozen=True, eq=False)
class Compact:
    """A problem in integers: m open positions, t candidates, K classes, in fixed orders.

    A label is a class 0..K-1 or `UNFILLED`. Scores are fitness as integer-valued floats, so that sums of up to 2**53
    are exact and equal fitness compares equal.
    """

    groups: tuple[Hashable, ...]  # K class names
    score: Floats  # (m, t) integer-valued; 0 where infeasible
    qualified: Bools  # (m, t)
    group: Ints  # (t,) class of each candidate
    beside: Ints  # (m, K) filled neighbours of each class
    adjacent: Bools  # (m, m) edges between open positions, without self-loops
    loop: Ints  # (m,) 1 where a position has a self-loop
    mixing: Ints  # (K, K) ends of edges between filled positions, by class; a self-loop counts once

    @classmethod
    def of(cls, problem: Problem) -> "Compact":
        groups = sorted_classes([*problem.classes.values(), *problem.candidates.values()])
        number = {name: c for c, name in enumerate(groups)}
        index, m, k = problem.position_index, len(problem.open_positions), len(groups)
        beside, adjacent = np.zeros((m, k), np.int64), np.zeros((m, m), np.bool_)
        loop, mixing = np.zeros(m, np.int64), np.zeros((k, k), np.int64)
        label = {position: number[name] for position, name in problem.classes.items()}
        for u, v in problem.graph.edges():
            i, j = index.get(u), index.get(v)
            if u == v:
                if i is None:
                    mixing[label[u], label[u]] += 1
                else:
                    loop[i] = 1
            elif i is None and j is None:
                mixing[label[u], label[v]] += 1
                mixing[label[v], label[u]] += 1
            elif i is None:
                beside[j, label[u]] += 1
            elif j is None:
                beside[i, label[v]] += 1
            else:
                adjacent[i, j] = adjacent[j, i] = True
        qualified = ~np.isnan(problem.weights)
        largest = np.abs(problem.weights[qualified]).max(initial=0.0)
        unit = 10.0 ** math.ceil(math.log10(largest)) / RESOLUTION if largest > 0 else 1.0
        score = np.rint(np.where(qualified, problem.weights, 0.0) / unit)
        group = np.array([number[name] for name in problem.candidates.values()], np.int64)
        return cls(groups, score, qualified, group, beside, adjacent, loop, mixing)

    def labels(self, chosen: Ints) -> Ints:
        """(m,) labels of the candidates `chosen` (m,), `UNFILLED` kept."""
        if not len(self.group):
            return np.full(len(chosen), UNFILLED, np.int64)
        return np.where(chosen == UNFILLED, UNFILLED, self.group[chosen])

    def total(self, chosen: Ints) -> float:
        """Sum of scores."""
        filled = np.flatnonzero(chosen != UNFILLED)
        return float(self.score[filled, chosen[filled]].sum())


@dataclass(frozen=True, eq=False)
class Matching:
    """Who gets which open position of `problem`: `chosen` holds a candidate's number or `UNFILLED` per position.

    Raises `FaireaError` for a candidate used twice or not qualified.
    """

    problem: Problem
    chosen: tuple[int, ...]

    def __post_init__(self) -> None:
        m, t = self.problem.weights.shape
        object.__setattr__(self, "chosen", tuple(int(j) for j in self.chosen))
        if len(self.chosen) != m:
            raise FaireaError("chosen", len(self.chosen), f"one entry for each of {m} open positions is needed")
        used = [j for j in self.chosen if j != UNFILLED]
        for i, j in enumerate(self.chosen):
            if j != UNFILLED and not 0 <= j < t:
                raise FaireaError(f"chosen[{i}]", j, f"must be {UNFILLED} or a candidate's number, 0 to {t - 1}")
            if j != UNFILLED and math.isnan(self.problem.weights[i, j]):
                pair = self.problem.open_positions[i], list(self.problem.candidates)[j]
                raise FaireaError("matching", pair, "the candidate does not qualify for the position")
        _no_duplicates("matching", used)

    @classmethod
    def from_pairs(cls, problem: Problem, pairs: Mapping[Hashable, Hashable]) -> "Matching":
        """From {position: candidate}; positions that are absent stay unfilled."""
        chosen = [UNFILLED] * len(problem.open_positions)
        for position, candidate in pairs.items():
            if position not in problem.position_index:
                raise FaireaError("matching", position, "must be an open position")
            if candidate not in problem.candidate_index:
                raise FaireaError("matching", candidate, "must be a candidate")
            chosen[problem.position_index[position]] = problem.candidate_index[candidate]
        return cls(problem, tuple(chosen))

    @cached_property
    def pairs(self) -> dict[Hashable, Hashable]:
        """{position: candidate} of the filled ones."""
        names = list(self.problem.candidates)
        both = zip(self.problem.open_positions, self.chosen, strict=True)
        return {position: names[j] for position, j in both if j != UNFILLED}

    @property
    def unfilled(self) -> tuple[Hashable, ...]:
        """Open positions that nobody gets."""
        return tuple(position for position in self.problem.open_positions if position not in self.pairs)

    @property
    def fitness(self) -> float:
        """Sum of fitness over the pairs."""
        return math.fsum(self.problem.weights[i, j] for i, j in enumerate(self.chosen) if j != UNFILLED)

    @cached_property
    def classes(self) -> dict[Hashable, Hashable]:
        """Class of every position that is filled after the assignment."""
        hired = {position: self.problem.candidates[candidate] for position, candidate in self.pairs.items()}
        return {**self.problem.classes, **hired}

    @cached_property
    def labels(self) -> Ints:
        """(m,) class numbers of `Problem.compact`, or `UNFILLED`."""
        return self.problem.compact.labels(np.array(self.chosen, np.int64))

    def network(self) -> nx.Graph:
        """The network of filled positions, without the unfilled; node attribute `class`."""
        graph = nx.Graph(self.problem.graph.subgraph(self.classes))
        nx.set_node_attributes(graph, self.classes, "class")
        return graph

"""Assignment problems of which no (positions, candidates) table is made: 10,000 open positions of 100,000, 20,000 candidates.

Feasible pairs are lists. The largest fitness comes from scipy's sparse solver (`min_weight_full_bipartite_matching`: R. Jonker and
A. Volgenant, Computing 38, 325 (1987), for sparse matrices), the weighted Hungarian likewise; the fittest within limits by
a price on classes and exchange, with a bound. FairEA as published and the front of fitness and |r| keep tables and are not
among them.
"""

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from xbar.workloads.fairea.limits import SLACK, Exchange, Limits
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Floats, Ints
from xbar.workloads.fairea.published import local_minority
from xbar.workloads.fairea.tally import Layout, Measures, Tally


@dataclass(frozen=True, eq=False)
class LargeProblem:
    """A network's layout with its feasible pairs: position (p,), candidate (p,) and fitness (p,) of each. Raises `FaireaError`."""

    layout: Layout
    position: Ints
    candidate: Ints
    fitness: Floats

    def __post_init__(self) -> None:
        m, t = len(self.layout.open), len(self.layout.group)
        if not len(self.position) == len(self.candidate) == len(self.fitness):
            raise FaireaError("pairs", (len(self.position), len(self.candidate), len(self.fitness)), "as many of each are needed")
        for name, values, size in (("position", self.position, m), ("candidate", self.candidate, t)):
            if len(values) and not (values.min() >= 0 and values.max() < size):
                raise FaireaError(name, (int(values.min()), int(values.max())), f"must be numbers from 0 to {size - 1}")
        if not np.isfinite(self.fitness).all():
            raise FaireaError("fitness", float(self.fitness[~np.isfinite(self.fitness)][0]), "must be finite")
        if len(np.unique(self.position.astype(np.int64) * t + self.candidate)) < len(self.position):
            raise FaireaError("pairs", len(self.position), "no pair may be given twice")

    @classmethod
    def of(
        cls, graph: nx.Graph, held: Ints, open_positions: Ints, group: Ints, pairs: tuple[Ints, Ints, Floats],
        community: Ints | None = None,
    ) -> "LargeProblem":  # fmt: skip
        """From a graph of nodes 0 to n - 1, the class of each (n,), numbers of the open ones (m,), classes of candidates (t,), and
        positions (numbers from 0 to m - 1), candidates and fitness of the feasible pairs; community (n,): which each is of."""
        plain = nx.Graph(graph.edges())
        plain.add_nodes_from(graph)
        plain.remove_edges_from(list(nx.selfloop_edges(plain)))
        shown, cores, n = held.copy(), nx.core_number(plain), len(graph)
        shown[open_positions] = UNFILLED
        layout = Layout(
            tuple(tuple(v for v in graph[u] if v != u) for u in range(n)), np.array([graph.has_edge(u, u) for u in range(n)], np.int64),
            shown, open_positions, group, np.array([cores[u] for u in range(n)], np.int64), int(max(held.max(), group.max())) + 1,
            community,
        )  # fmt: skip
        return cls(layout, *pairs)

    @cached_property
    def able(self) -> list[dict[int, float]]:
        """Fitness of each position's candidates by number."""
        found: list[dict[int, float]] = [{} for _ in self.layout.open]
        for i, j, value in zip(self.position.tolist(), self.candidate.tolist(), self.fitness.tolist(), strict=True):
            found[i][j] = value
        return found

    def total(self, chosen: Ints) -> float:
        """Sum of fitness of a matching (m,)."""
        return sum(self.able[i][int(j)] for i, j in enumerate(chosen) if j != UNFILLED)

    def measures(self, chosen: Ints) -> Measures:
        """Of a matching (m,)."""
        return Tally(self.layout, self.layout.labels(chosen)).measures


def assign_sparse(worth: Floats, problem: LargeProblem) -> Ints:
    """(m,) candidates: as many positions as can be filled, and of these the largest sum of `worth` (p,) of the pairs."""
    m, t = len(problem.layout.open), len(problem.layout.group)
    span = float(np.ptp(worth)) if len(worth) else 0.0
    cost = (worth.max(initial=0.0) - worth) + 1.0  # above 0: a stored 0 is no pair
    nobody = (span + 2.0) * (m + 1)  # dearer than any change of the others
    rows = np.concatenate([problem.position, np.arange(m)])
    columns = np.concatenate([problem.candidate, t + np.arange(m)])
    table = sparse.csr_array((np.concatenate([cost, np.full(m, nobody)]), (rows, columns)), (m, t + m))
    found_rows, found = min_weight_full_bipartite_matching(table)
    chosen = np.full(m, UNFILLED, np.int64)
    chosen[found_rows] = found
    return np.where(chosen < t, chosen, UNFILLED)


def maximum_fitness(problem: LargeProblem) -> Ints:
    """(m,) candidates of the largest sum of fitness."""
    return assign_sparse(problem.fitness, problem)


def weighted_hungarian(problem: LargeProblem) -> Ints:
    """(m,) candidates of the largest sum of fitness, plus 1 for those of the class in the minority among filled neighbours."""
    tally = Tally(problem.layout)
    rare = local_minority(np.array([tally.beside[u] for u in problem.layout.open.tolist()], np.int64))
    return assign_sparse(problem.fitness + rare[problem.position, problem.layout.group[problem.candidate]], problem)


@dataclass(frozen=True, eq=False)
class LargeWithin:
    """chosen (m,), None where exchange found nothing within the limits; fitness, and what no matching can have more of."""

    chosen: npt.NDArray[np.int64] | None
    fitness: float
    bound: float


PRICES = 12  # assignments that the price of a selection limit takes


def priced(problem: LargeProblem, floor: float, chosen: Ints) -> tuple[Ints, float]:
    """A matching of two classes whose selection rates are `floor` apart at most, and what none such can have more fitness than.

    Each candidate is worth a price more, or less, by class; the price is found by halving. For any price the largest sum less what
    the price is of is a bound (Lagrange). From `chosen`, the largest fitness; where that keeps the floor, or classes are not two, it
    comes back with its own fitness. The matching may miss the floor where nothing tried kept it.
    """
    group, most = problem.layout.group, problem.total(chosen)
    pool = np.bincount(group)
    hired = np.bincount(group[chosen[chosen != UNFILLED]], minlength=len(pool))
    known = np.flatnonzero(pool)
    if len(known) != 2:
        return chosen, most
    low, high = sorted(known, key=lambda c: hired[c] / pool[c])
    unit = np.zeros(len(pool))
    unit[low], unit[high] = 1.0 / pool[low], -floor / pool[high]  # what a candidate adds to rate of low - floor x rate of high

    def room(found: Ints) -> float:
        return float(unit[group[found[found != UNFILLED]]].sum())

    if room(chosen) >= -SLACK:
        return chosen, most
    best, bound = chosen, most
    below, above = 0.0, 2.0 * float(np.ptp(problem.fitness)) / float(np.ptp(unit)) + 1e-12
    for _ in range(PRICES):
        price = (below + above) / 2 if best is not chosen else above
        found = assign_sparse(problem.fitness + price * unit[group[problem.candidate]], problem)
        left = room(found)
        bound = min(bound, problem.total(found) + price * left)
        if left >= -SLACK:
            best, above = found, price
        elif best is chosen:
            above *= 2
        else:
            below = price
    return best, bound


def fittest_within(problem: LargeProblem, limits: Limits, steps: int = 1_000_000, seed: int = 0) -> LargeWithin:
    """By exchange, as in `limits.within_by_exchange`, from the largest fitness, or with a limit on selection rates from `priced`. Raises
    `FaireaError` for a limit on communities where the problem was made without."""
    if limits.community is not None and problem.layout.community is None:
        raise FaireaError("community", limits.community, "no limit can be kept without `communities` of the problem")
    chosen = maximum_fitness(problem)
    most = problem.total(chosen)
    if limits.selection is not None:
        chosen, most = priced(problem, limits.selection, chosen)
    search = Exchange(problem.able, problem.layout, limits, [problem.layout.group], chosen)
    search.run(steps, np.random.default_rng(seed))
    if search.excess > 0:
        return LargeWithin(None, float("nan"), most)
    return LargeWithin(search.chosen, problem.total(search.chosen), most)

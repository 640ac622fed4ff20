"""The exact front of fitness and |assortativity|, by enumerating which class goes to which open position.

r depends on the classes alone. Once they are fixed, candidates of one class compete with nobody else, so the best
fitness is a sum over classes of the best assignment of that class's candidates to its set of positions. Those best
assignments of all 2**m sets come from one recursion over the candidates, f(S) = max(f(S), max_i f(S - i) + w_i), and
all class patterns are then summed at once. Only maximum matchings count: those that fill as many positions as can be.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xbar.workloads.fairea.assignment import allowed_by_labels, assign
from xbar.workloads.fairea.front import Front, hypervolume, non_dominated, rounded
from xbar.workloads.fairea.metrics import coefficient
from xbar.workloads.fairea.problem import (
    UNFILLED,
    Compact,
    FaireaError,
    Floats,
    Ints,
    Matching,
    Problem,
    UndefinedAssortativityError,
)

MOST_POSITIONS = 24  # the recursion holds 2**m sums for each class
MOST_PATTERNS = 2**24


@dataclass(frozen=True, eq=False)
class ExactFront(Front):
    """The front that no matching can be better than, and the extent of all maximum matchings around it."""

    patterns: int = 0  # class patterns that a maximum matching can have
    least_fitness: float = 0.0
    largest_distance: float = 0.0  # largest |r|

    @property
    def reference(self) -> tuple[float, float]:
        """Least fitness and largest |r| of the instance, moved out by 10 % of their ranges over all maximum matchings.

        The other end of each range lies on the front.
        """
        points = self.points
        most, nearest = points[:, 0].max(), points[:, 1].min()
        return (
            self.least_fitness - 0.1 * (most - self.least_fitness),
            self.largest_distance + 0.1 * (self.largest_distance - nearest),
        )

    def gap(self, points: Floats) -> float:
        """Share of this front's hypervolume that `points` (n, 2) miss; of a single point, 0 if found and 1 if not.

        Hypervolume down to `reference`, after Zitzler and Thiele, IEEE Trans. Evol. Comp. 3, 257 (1999).
        """
        mine = self.points
        if len(mine) == 1:
            found = (points[:, 0] >= mine[0, 0] - 1e-9) & (points[:, 1] <= mine[0, 1] + 1e-9)
            return 0.0 if found.any() else 1.0
        whole = hypervolume(mine, self.reference)
        return max(0.0, 1.0 - hypervolume(points, self.reference) / whole)


def exact_front(problem: Problem, most_patterns: int = MOST_PATTERNS) -> ExactFront:
    """The exact front over all maximum matchings.

    Raises `FaireaError` for more than `MOST_POSITIONS` open positions or more than `most_patterns` class patterns, and
    `UndefinedAssortativityError` where no maximum matching has a defined r.
    """
    c, m = problem.compact, len(problem.open_positions)
    if m > MOST_POSITIONS:
        raise FaireaError("open_positions", m, f"at most {MOST_POSITIONS} can be enumerated")
    filled = int((assign(np.zeros_like(c.score), c.qualified) != UNFILLED).sum())
    best = [_best_of_sets(c, group) for group in range(len(c.groups))]
    sets, trace, ends = _patterns(c, best, m - filled, most_patterns)
    fitness = np.zeros(sets.shape[1])
    for f, chosen in zip(best, sets, strict=True):
        fitness += f[chosen]
    distance = rounded(coefficient(trace, ends.T))
    if not np.isfinite(distance).any():
        raise UndefinedAssortativityError("assortativity", None, "no maximum matching leaves a network with a defined r")
    found = []
    for at in non_dominated(fitness, distance):
        labels = np.full(m, UNFILLED, np.int64)
        for group, chosen in enumerate(sets[:, at]):
            labels[(int(chosen) >> np.arange(m)) & 1 == 1] = group
        found.append(Matching(problem, tuple(assign(c.score, allowed_by_labels(labels, c.group, c.qualified)))))
    worst = Matching(problem, tuple(assign(-c.score, c.qualified)))
    return ExactFront(problem, tuple(found), 0.0, sets.shape[1], worst.fitness, float(np.nanmax(distance)))


def _best_of_sets(c: Compact, group: int) -> Floats:
    """(2**m,) largest score of giving every position of a set a candidate of `group`; -inf where impossible."""
    m = len(c.score)
    best = np.full(2**m, -np.inf)
    best[0] = 0.0
    for j in np.flatnonzero(c.group == group):
        before = best.copy()
        for i in np.flatnonzero(c.qualified[:, j]):
            without, target = before.reshape(-1, 2, 2**i)[:, 0], best.reshape(-1, 2, 2**i)[:, 1]
            np.maximum(target, without + c.score[i, j], out=target)
    return best


def _patterns(c: Compact, best: list[Floats], unfilled: int, most: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """All class patterns of maximum matchings: sets of positions (K, P) as bits, ends within (P,) and by class (K, P).

    Grown position by position; a start that no candidates can fill, or with too many unfilled, is dropped at once.
    """
    m, k = c.beside.shape
    sets = np.zeros((k, 1), np.uint32)
    trace = np.full(1, np.trace(c.mixing), np.int32)
    ends = c.mixing.sum(1).astype(np.int32)[:, None]
    empty = np.zeros(1, np.int32)
    for i in range(m):
        before = np.uint32(sum(1 << int(j) for j in np.flatnonzero(c.adjacent[i, :i])))
        around = [c.beside[i, d] + np.bitwise_count(sets[d] & before).astype(np.int32) for d in range(k)]  # (P,) each
        degree = sum(around) + c.loop[i]
        grown = []
        for label in range(k):
            with_i = sets[label] | np.uint32(1 << i)
            kept = np.flatnonzero(best[label][with_i] > -np.inf)
            next_sets, next_ends = sets[:, kept], ends[:, kept]
            next_sets[label] = with_i[kept]
            for d in range(k):
                next_ends[d] += around[d][kept].astype(np.int32)
            next_ends[label] += degree[kept].astype(np.int32)
            next_trace = trace[kept] + (2 * around[label][kept] + c.loop[i]).astype(np.int32)
            grown.append((next_sets, next_trace, next_ends, empty[kept]))
        kept = np.flatnonzero(empty < unfilled)
        grown.append((sets[:, kept], trace[kept], ends[:, kept], empty[kept] + 1))
        sets, trace, ends, empty = (np.concatenate(parts, axis=-1) for parts in zip(*grown, strict=True))
        if sets.shape[1] > most:
            raise FaireaError("class patterns", sets.shape[1], f"at most {most} can be enumerated")
    full = np.flatnonzero(empty == unfilled)
    return sets[:, full], trace[full], ends[:, full]


def labels_key(labels: Ints) -> bytes:
    """A class pattern as a dictionary key."""
    return labels.astype(np.int8).tobytes()

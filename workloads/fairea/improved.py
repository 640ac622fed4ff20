"""The whole front of fitness and |assortativity|, by search: what FairEA gives one point of.

The search goes over class patterns, not over matchings: r depends on the pattern alone, and a pattern's best assignment
is exact. From FairEA's matching, the weighted Hungarian, the largest fitness, a few random ones, and the optima of
fitness minus a price on r's change (linear around a pattern, for a sweep of prices), it takes pattern after pattern,
looks at all of its neighbours at once (`exchange`) and keeps those that nothing found so far dominates. What the front
holds goes first, the widest gap before others; then what misses it by least, which leads out of local optima.
(Pareto local search: L. Paquete, M. Chiarandini, T. Stützle, Lect. Notes Econ. Math. Syst. 535, 177 (2004).)
"""

import heapq
import time
from collections.abc import Iterable

import numpy as np

from xbar.workloads.fairea.assignment import assign
from xbar.workloads.fairea.baselines import weighted_hungarian
from xbar.workloads.fairea.exact import MOST_POSITIONS, exact_front
from xbar.workloads.fairea.exchange import Moves, Neighbourhood
from xbar.workloads.fairea.front import Front, non_dominated, rounded
from xbar.workloads.fairea.metrics import MixingMatrix, coefficient
from xbar.workloads.fairea.problem import (
    UNFILLED,
    FaireaError,
    Floats,
    Ints,
    Matching,
    Problem,
    UndefinedAssortativityError,
)
from xbar.workloads.fairea.published import fairea

RANDOM_STARTS = 4
NEAR_MISSES = 24  # neighbours off the front that each pattern puts on the list of what to try later


def improved_front(
    problem: Problem, *, work: float | None = None, seconds: float | None = None, seed: int = 0,
    most_points: int = 256, enumerate_up_to: int = 0,
) -> Front:  # fmt: skip
    """Maximum matchings that no other found dominates.

    `work`: nominal seconds, counted in operations and not by the clock, so that the same `seed` gives the same front on
    any machine; 0.2 (1 + (m / 50)²) of them for m open positions if None. `seconds`: stop by the clock as well; then the
    result depends on the machine. `most_points`: a larger front is thinned to the points that bound the most area.
    `enumerate_up_to`: with at most this many open positions, return the exact front instead (up to about 18 that is
    faster than any search). Raises `FaireaError`, `UndefinedAssortativityError` where no pattern met has a defined r.
    """
    m = len(problem.open_positions)
    if not 0 <= enumerate_up_to <= MOST_POSITIONS:
        raise FaireaError("enumerate_up_to", enumerate_up_to, f"must be from 0 to {MOST_POSITIONS}")
    if most_points < 2:
        raise FaireaError("most_points", most_points, "must be at least 2")
    for name, value in (("work", work), ("seconds", seconds)):
        if value is not None and not value >= 0:
            raise FaireaError(name, value, "must be at least 0")
    if m <= enumerate_up_to:
        return exact_front(problem)
    search = _Search(problem, seed)
    search.start()
    search.run(0.2 * (1 + (m / 50) ** 2) if work is None else work, seconds)
    return search.front(most_points)


class _Archive:
    """Patterns that none of the others dominates, by falling score and falling |r|."""

    def __init__(self) -> None:
        self.score, self.distance = np.empty(0), np.empty(0)
        self.patterns: list[bytes] = []

    def beaten(self, score: Floats, distance: Floats) -> tuple[Floats, Floats]:
        """(n,) least |r| held at no less score, and largest score held at no more |r|; inf and -inf where there is none."""
        above = np.searchsorted(-self.score, -score, side="right")  # how many have at least this score
        nearest = np.concatenate([[np.inf], self.distance])[above]
        below = np.searchsorted(-self.distance, -distance, side="left")  # how many have a larger |r|
        best = np.concatenate([self.score, [-np.inf]])[below]
        return nearest, best

    def add(self, score: Floats, distance: Floats, patterns: list[bytes]) -> None:
        """Merge."""
        score, distance = np.concatenate([self.score, score]), np.concatenate([self.distance, distance])
        kept = non_dominated(score, distance)
        both = self.patterns + patterns
        self.score, self.distance, self.patterns = score[kept], distance[kept], [both[i] for i in kept]

    def room(self) -> Floats:
        """(n,) area between each point's two neighbours on the front, in units of the front's extent; inf at its ends."""
        room = np.full(len(self.score), np.inf)
        extent = max(self.score[0] - self.score[-1], 1.0) * max(self.distance[0] - self.distance[-1], 1e-12)
        room[1:-1] = (self.score[:-2] - self.score[2:]) * (self.distance[:-2] - self.distance[2:]) / extent
        return room


class _Search:
    def __init__(self, problem: Problem, seed: int):
        self.problem, self.compact = problem, problem.compact
        self.neighbourhood = Neighbourhood(self.compact)
        self.archive, self.explored = _Archive(), set[bytes]()
        self.later: list[tuple[float, int, bytes]] = []  # heap of near misses
        self.listed = set[bytes]()
        self.rng = np.random.default_rng(seed)
        self.spent = 0.0
        c = self.compact
        self.best = assign(c.score, c.qualified)
        self.most = c.total(self.best)
        self.range = max(self.most - c.total(assign(-c.score, c.qualified)), 1.0)

    def start(self) -> None:
        """Put the first matchings in the archive."""
        c = self.compact
        starts = [np.array(match.chosen) for match in (fairea(self.problem), weighted_hungarian(self.problem))]
        starts += [self.best, *(assign(self.rng.random(c.score.shape), c.qualified) for _ in range(RANDOM_STARTS))]
        for chosen in [*starts, *self._priced()]:
            self._offer(chosen)
        if not len(self.archive.score):
            self._until_defined()

    def _offer(self, chosen: Ints) -> None:
        labels = self.compact.labels(chosen)
        matrix = MixingMatrix(self.compact, labels).matrix
        distance = rounded(coefficient(np.trace(matrix), matrix.sum(1)))
        solved = self._assign(labels)
        self.archive.add(np.array([self.compact.total(solved)]), distance.reshape(1), [_packed(labels)])

    def _assign(self, labels: Ints) -> Ints:
        """The best assignment of a pattern, class by class."""
        c = self.compact
        chosen = np.full(len(labels), UNFILLED, np.int64)
        for label in range(len(c.groups)):
            rows, columns = np.flatnonzero(labels == label), np.flatnonzero(c.group == label)
            if len(rows):
                part = np.ix_(rows, columns)
                chosen[rows] = columns[assign(c.score[part], c.qualified[part])]
        return chosen

    def _priced(self) -> Iterable[Ints]:
        """Optima of score minus price times r's change with each position's class, for a sweep of prices."""
        c = self.compact
        count = 12 + len(c.score) // 10
        network = MixingMatrix(c, c.labels(self.best))
        r = float(coefficient(np.trace(network.matrix), network.matrix.sum(1)))
        if np.isnan(r):
            return
        side = 1.0 if r >= 0 else -1.0
        for price in np.geomspace(0.03, 30.0, count):
            change = np.nan_to_num(network.r_after() - r)  # (m, K)
            spread = np.ptp(change, axis=1).sum()
            if spread == 0:
                return
            priced = c.score - price * side * (self.range / spread) * change[:, c.group]
            chosen = assign(priced, c.qualified)
            self.spent += 1e-4 + 2.5e-8 * c.score.size
            yield chosen
            for position, label in enumerate(c.labels(chosen)):
                if network.labels[position] != label:
                    network.set(position, int(label))
            r = float(coefficient(np.trace(network.matrix), network.matrix.sum(1)))
            if np.isnan(r) or r * side < 0:
                return

    def _until_defined(self) -> None:
        """No start has a defined r (one class everywhere): look among the neighbours of the best."""
        for _ in range(len(self.best)):
            moves = self.neighbourhood(self.best)
            if np.isfinite(moves.r).any():
                self._learn(self.compact.labels(self.best), moves)
                return
            if not len(moves.score):
                break
            self.best = self._assign(moves.apply(self.compact.labels(self.best), int(moves.score.argmax())))
        raise UndefinedAssortativityError("assortativity", None, "no maximum matching met leaves a network with a defined r")

    def run(self, work: float, seconds: float | None) -> None:
        """Explore pattern after pattern."""
        deadline = None if seconds is None else time.monotonic() + seconds
        m, t = self.compact.score.shape
        price = 3e-4 + 2e-5 * m + 1e-8 * m * t + 1e-9 * m**3
        while self.spent < work and (deadline is None or time.monotonic() < deadline):
            pattern = self._next()
            if pattern is None:
                return
            self.explored.add(pattern)
            labels = np.frombuffer(pattern, np.int16).astype(np.int64)
            self._learn(labels, self.neighbourhood(self._assign(labels)))
            self.spent += price

    def _next(self) -> bytes | None:
        fresh = [i for i, pattern in enumerate(self.archive.patterns) if pattern not in self.explored]
        if fresh:
            return self.archive.patterns[fresh[int(self.archive.room()[fresh].argmax())]]
        while self.later:
            _, _, pattern = heapq.heappop(self.later)
            if pattern not in self.explored:
                return pattern
        return None

    def _learn(self, labels: Ints, moves: Moves) -> None:
        """Take neighbours into the archive, and the nearest misses onto the list."""
        distance = rounded(moves.r)
        nearest, best = self.archive.beaten(moves.score, distance)
        new = np.flatnonzero(distance < nearest)
        if len(new):
            new = new[non_dominated(moves.score[new], distance[new])]
            found = [_packed(moves.apply(labels, int(i))) for i in new]
            self.archive.add(moves.score[new], distance[new], found)
        extent = max(float(self.archive.distance[0]), 1e-12) if len(self.archive.score) else 1.0
        miss = np.minimum((best - moves.score) / self.range, (distance - nearest) / extent)
        old = np.flatnonzero(distance >= nearest)
        for i in old[np.argsort(miss[old], kind="stable")][:NEAR_MISSES]:
            pattern = _packed(moves.apply(labels, int(i)))
            if pattern not in self.listed and pattern not in self.explored:
                self.listed.add(pattern)
                heapq.heappush(self.later, (float(miss[i]), len(self.listed), pattern))

    def front(self, most_points: int) -> Front:
        """The archive as matchings."""
        archive = self.archive
        keep = np.argsort(-archive.room(), kind="stable")[:most_points]
        found = [self._assign(np.frombuffer(archive.patterns[i], np.int16).astype(np.int64)) for i in np.sort(keep)]
        return Front(self.problem, tuple(Matching(self.problem, tuple(chosen)) for chosen in found), self.spent)


def _packed(labels: Ints) -> bytes:
    return labels.astype(np.int16).tobytes()

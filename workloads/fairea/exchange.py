"""What the best fitness becomes when positions change class: all single and double changes of a pattern at once.

A pattern is a label (class or unfilled) per open position. Given the best assignment for a pattern, let an arc lead
from position k to position n of the same class: k takes n's candidate. A position that enters the class starts a path
of such arcs, the one that leaves ends it, and a node for free candidates may stand at either end or between; the best
path's length is the exact change of the class's best fitness (symmetric difference of two optimal assignments). All
pairs of ends come from Floyd and Warshall's recursion, so that no assignment is solved for any neighbour.
"""

from dataclasses import dataclass

import numpy as np

from xbar.workloads.fairea.metrics import coefficient
from xbar.workloads.fairea.problem import UNFILLED, Compact, Floats, Ints


def exchange_gains(score: Floats, group: Ints, chosen: Ints, labels: Ints, label: int) -> tuple[Ints, Floats]:
    """Change of class `label`'s best score when one position enters it and another leaves.

    `score` (m, t) with -inf where infeasible, `chosen` (m,) the best assignment for the pattern `labels`. Returns the
    n positions of the class, and (m + 1, n + 1) gains: row i enters (row m: nobody), column k leaves (column n: nobody);
    -inf where impossible, and meaningless in rows of positions that are in the class already.
    """
    m = len(score)
    members = np.flatnonzero(labels == label)
    n, held = len(members), chosen[members]
    open_to = group == label
    open_to[held] = False
    reach = np.full((m + 1, n + 1), -np.inf)  # position i takes the candidate of member k, or a free one (column n)
    reach[:m, :n] = score[:, held]
    if open_to.any():
        reach[:m, n] = score[:, open_to].max(1)
    reach[m, n] = 0.0  # nobody enters: a path may begin where a candidate becomes free
    own = np.append(score[members, held], 0.0)  # (n + 1,)
    path = np.concatenate([reach[members], np.zeros((1, n + 1))]) - own[:, None]  # (n + 1, n + 1) arcs
    np.fill_diagonal(path, 0.0)
    for k in range(n + 1):
        np.maximum(path, path[:, k, None] + path[None, k], out=path)
    gains = np.full((m + 1, n + 1), -np.inf)
    for k in range(n + 1):
        np.maximum(gains, reach[:, k, None] + path[None, k], out=gains)
    return members, gains - own


@dataclass(frozen=True, eq=False)
class Moves:
    """Neighbours of a pattern: `first` gets `first_label`, then `second` (or nobody, -1) gets `second_label`; (n,) each."""

    first: Ints
    first_label: Ints
    second: Ints
    second_label: Ints
    score: Floats  # best score of the new pattern
    r: Floats  # Newman's coefficient, NaN where undefined

    def apply(self, labels: Ints, at: int) -> Ints:
        """The new pattern."""
        labels = labels.copy()
        labels[self.first[at]] = self.first_label[at]
        if self.second[at] >= 0:
            labels[self.second[at]] = self.second_label[at]
        return labels


class Neighbourhood:
    """All patterns that differ from a given one by one class, an exchange, or a chain over three labels."""

    def __init__(self, compact: Compact):
        self.compact = compact
        self.score = np.where(compact.qualified, compact.score, -np.inf)

    def __call__(self, chosen: Ints) -> Moves:
        """Feasible neighbours of the pattern of `chosen` (m,), which is the best assignment for it."""
        c, labels = self.compact, self.compact.labels(chosen)
        m, k = c.beside.shape
        none = np.zeros(0, np.int64)
        total, parts = c.total(chosen), [(none, none, none, none, np.zeros(0), np.zeros(0))]
        gains, place = {}, np.full(m, -1, np.int64)
        for label in range(k):
            members, gains[label] = exchange_gains(self.score, c.group, chosen, labels, label)
            place[members] = np.arange(len(members))  # column of a position in its class's gains
        effect = _Effect(c, labels)
        of = {label: np.flatnonzero(labels == label) for label in range(UNFILLED, k)}
        for a in range(k):
            for b in range(k):
                if a != b:
                    leave = gains[a][m, place[of[a]]]
                    parts.append(self._single(effect, of[a], a, b, total + leave + gains[b][of[a], -1]))
        # i leaves a for b, where k makes room by leaving b for c; c is a for an exchange
        for a in range(UNFILLED, k):
            for b in range(UNFILLED, k):
                for last in range(UNFILLED, k):
                    if a == b or b == last or not len(of[a]) or not len(of[b]) or (a == last and a > b):
                        continue
                    if (a == UNFILLED) != (last == UNFILLED):
                        continue  # would change how many are filled
                    gain = _enter(gains, b, of[a], place[of[b]])
                    if a == last:
                        gain = gain + _enter(gains, a, of[b], place[of[a]]).T
                    else:
                        gain = gain + gains[a][m, place[of[a]]][:, None] + gains[last][of[b], -1][None]
                    parts.append(self._double(effect, of[a], of[b], a, b, last, total + gain))
        return Moves(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @staticmethod
    def _single(effect: "_Effect", rows: Ints, a: int, b: int, score: Floats) -> tuple:
        kept = np.flatnonzero(np.isfinite(score))
        rows = rows[kept]
        trace, ends = effect.one(rows, a, b)
        nobody = np.full(len(rows), -1)
        return rows, np.full(len(rows), b), nobody, nobody, score[kept], coefficient(*effect.plus(trace, ends))

    @staticmethod
    def _double(effect: "_Effect", rows: Ints, others: Ints, a: int, b: int, last: int, score: Floats) -> tuple:
        at, to = np.nonzero(np.isfinite(score))
        first, second = rows[at], others[to]
        trace, ends = effect.two(rows, others, at, to, a, b, last)
        return (
            first, np.full(len(first), b), second, np.full(len(first), last),
            score[at, to], coefficient(*effect.plus(trace, ends)),
        )  # fmt: skip


def _enter(gains: dict[int, Floats], label: int, entering: Ints, leaving: Ints) -> Floats:
    """(entering, leaving) change of a class's best score; 0 for the unfilled, which earn nothing."""
    if label == UNFILLED:
        return np.zeros((len(entering), len(leaving)))
    return gains[label][np.ix_(entering, leaving)]


class _Effect:
    """Changes of the mixing matrix's ends within (scalar) and by class (K) when positions change their label."""

    def __init__(self, c: Compact, labels: Ints):
        k = c.beside.shape[1]
        held = (labels[:, None] == np.arange(k)).astype(np.int64)
        self.beside = c.beside + c.adjacent @ held  # (m, K) neighbours by class, open ones included once filled
        self.loop, self.adjacent, self.k = c.loop, c.adjacent, k
        own = np.einsum("mk,ml->kl", held, c.beside)
        inside = held.T @ (c.adjacent @ held) + np.diag(held.T @ c.loop)
        matrix = c.mixing + own + own.T + inside
        self.trace, self.ends = int(np.trace(matrix)), matrix.sum(1)

    def plus(self, trace: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """The matrix's figures after the changes."""
        return self.trace + trace, self.ends + ends

    def _of(self, rows: Ints, label: int) -> tuple[Ints, Ints]:
        """What positions contribute with a label."""
        if label == UNFILLED:
            return np.zeros(len(rows), np.int64), np.zeros((len(rows), self.k), np.int64)
        ends = self.beside[rows].copy()
        ends[:, label] += ends.sum(1) + self.loop[rows]
        return 2 * self.beside[rows, label] + self.loop[rows], ends

    def one(self, rows: Ints, a: int, b: int) -> tuple[Ints, Ints]:
        """From label a to b: (n,) and (n, K)."""
        (t0, e0), (t1, e1) = self._of(rows, a), self._of(rows, b)
        return t1 - t0, e1 - e0

    def _edge(self, a: int, b: int) -> tuple[int, Ints]:
        """What one edge between labels contributes."""
        ends = np.zeros(self.k, np.int64)
        if UNFILLED in (a, b):
            return 0, ends
        ends[a] += 1
        ends[b] += 1
        return 2 * (a == b), ends

    def two(self, rows: Ints, others: Ints, at: Ints, to: Ints, a: int, b: int, last: int) -> tuple[Ints, Ints]:
        """rows[at] from a to b and others[to] from b to `last`: (n,) and (n, K)."""
        (t0, e0), (t1, e1) = self.one(rows, a, b), self.one(others, b, last)
        # an edge between the two was changed twice from (a, b), once to (b, b), once to (a, last); it is (b, last)
        signs = ((b, last, 1), (b, b, -1), (a, last, -1), (a, b, 1))
        trace = sum(sign * self._edge(x, y)[0] for x, y, sign in signs)
        ends = sum(sign * self._edge(x, y)[1] for x, y, sign in signs)
        near = self.adjacent[rows[at], others[to]]
        return t0[at] + t1[to] + near * trace, e0[at] + e1[to] + near[:, None] * ends

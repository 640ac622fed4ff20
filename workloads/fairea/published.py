"""FairEA as published: the matching that trades fitness against local diversity, and re-weighs while it grows.

Jalali, Kenthapadi and Soundarajan, CompleNet 2021 (arXiv 2105.06929), in the variant that the authors' released code runs:

1. A position with one qualified candidate left gets that candidate; one with none is dropped; repeat.
2. Each feasible pair has two objectives: diversity (1 if the candidate's class is the minority among the position's
   neighbours) and quality (fitness over the largest, in tenths).
3. Non-dominated sorting gives fronts 1..R of pairs; a pair in front r weighs R - r + 1.
4. In round i, a maximum-weight matching of the pairs in fronts 1..i.
5. Positions that these fronts touch and the matching leaves out are matched along augmenting paths in all fronts,
   by the Hungarian method's labels; after each path the network shows the new classes, and 2 and 3 are done again.
6. Until every position that can be filled is.

Two classes or more: a class is the minority where it is the rarest among the neighbours and another is less rare. The
network shows the classes of exactly the pairs that are matched at the time; a new round starts from what the round
before it left. In the released code, classes matched in step 4 are not shown, those once shown in step 5 stay, unfilled
neighbours count as one of the two classes, and a self-loop as a neighbour; here this is so with `released_defects` alone.
Ties between equal matchings and equal paths are broken in another order than there.
"""

import math
from collections.abc import Hashable
from typing import Literal

import networkx as nx
import numpy as np

from xbar.workloads.fairea.assignment import assign, assign_freely
from xbar.workloads.fairea.metrics import MixingMatrix
from xbar.workloads.fairea.problem import UNFILLED, Bools, Compact, FaireaError, Floats, Ints, Matching, Problem

Diversity = Literal["local", "global"]


def fairea(
    problem: Problem, *, diversity: Diversity = "local", isolation: float | None = None,
    released_defects: bool = False, counted_as: Hashable = "female", seed: int = 0,
) -> Matching:  # fmt: skip
    """The matching that FairEA finds; it fills as many positions as can be filled.

    `diversity`: "local" as above, or "global", where a pair's diversity is the number of neighbours of another class
    (of the own class while assortativity is negative) over the largest, in tenths. `isolation`: every class is first
    brought to this many members of each Louvain community with open positions, a whole number from 1 up or a share
    below 1, where candidates allow. `released_defects`: as the released code does, for two classes; unfilled
    neighbours are `counted_as` one of them. `seed`: of the communities. Raises `FaireaError`.
    """
    if diversity not in ("local", "global"):
        raise FaireaError("diversity", diversity, "must be 'local' or 'global'")
    if isolation is not None and not (0 < isolation < 1 or (isolation >= 1 and isolation == int(isolation))):
        raise FaireaError("isolation", isolation, "must be a share between 0 and 1 or a whole number of members")
    state = _State(problem.compact, diversity, _defect_class(problem, counted_as) if released_defects else None)
    state.fill_forced()
    if isolation is not None:
        _support_groups(problem, state, isolation, seed)
    state.fill_by_fronts()
    return Matching(problem, tuple(state.chosen))


def fairea_as_released(problem: Problem, counted_as: Hashable = "female") -> tuple[Matching, Ints]:
    """The matching with the released defects, and the classes (m,) that the released code has written into its network by then.

    It never writes those of step 4, which stay UNFILLED here; its evaluation takes them for a class of their own (see
    `metrics.assortativity_as_released`).
    """
    state = _State(problem.compact, "local", _defect_class(problem, counted_as))
    state.fill_forced()
    state.fill_by_fronts()
    return Matching(problem, tuple(state.chosen)), state.written


def _defect_class(problem: Problem, counted_as: Hashable) -> int:
    groups = problem.compact.groups
    if len(groups) != 2 or counted_as not in groups:
        raise FaireaError("counted_as", counted_as, f"released defects need two classes and one of them; got {groups!r}")
    return groups.index(counted_as)


def local_minority(beside: Ints) -> Bools:
    """(m, K) whether a class is rarest among the (m, K) neighbours while another is less rare."""
    least, most = beside.min(1, keepdims=True), beside.max(1, keepdims=True)
    return (beside == least) & (least < most)


def visible_neighbours(network: MixingMatrix, unfilled_as: int | None = None) -> Ints:
    """(m, K) neighbours by class; with `unfilled_as`, unfilled ones and self-loops too, as the released code counts."""
    beside = network.beside.copy()
    if unfilled_as is not None:
        c, labels = network.compact, network.labels
        seen = np.where(labels == UNFILLED, unfilled_as, labels)
        beside[:, unfilled_as] += (c.adjacent & (labels == UNFILLED)[None, :]).sum(1)
        beside[np.arange(len(seen)), seen] += c.loop
    return beside


class _State:
    """What is matched so far, and the network that shows it."""

    def __init__(self, compact: Compact, diversity: Diversity, unfilled_as: int | None):
        self.compact, self.diversity, self.unfilled_as = compact, diversity, unfilled_as
        self.network = MixingMatrix(compact)
        m, t = compact.score.shape
        self.chosen = np.full(m, UNFILLED, np.int64)
        self.waiting = np.ones(m, np.bool_)  # positions neither filled for good nor dropped
        self.free = np.ones(t, np.bool_)  # candidates not placed for good
        self.written = self.network.labels  # (m,) what the network shows before the last matching is placed

    def place(self, position: int, candidate: int) -> None:
        """For good."""
        self.chosen[position] = candidate
        self.waiting[position], self.free[candidate] = False, False
        self.network.set(position, int(self.compact.group[candidate]))

    def fill_forced(self) -> None:
        """Step 1."""
        usable = self.compact.qualified & self.free
        choices = usable.sum(1)
        while True:
            few = np.flatnonzero(self.waiting & (choices <= 1))
            if not len(few):
                return
            position = int(few[0])
            if choices[position] == 0:
                self.waiting[position] = False
                continue
            candidate = int(np.flatnonzero(usable[position])[0])
            self.place(position, candidate)
            choices -= usable[:, candidate]
            usable[:, candidate] = False

    def fill_by_fronts(self) -> None:
        """Steps 2 to 6."""
        positions, candidates = np.flatnonzero(self.waiting), np.flatnonzero(self.free)
        if not len(positions) or not len(candidates):
            return
        pairs = _Pairs(self, positions, candidates)
        can_be_filled = int((assign(np.zeros(pairs.usable.shape), pairs.usable) != UNFILLED).sum())
        for fronts in range(1, pairs.usable.size + 2):
            weight = pairs.weights()
            most = weight.max()
            kept = pairs.usable & (weight > most - fronts)
            matched = assign_freely(np.where(kept, weight, 0.0), kept)
            if self.unfilled_as is None:
                pairs.show(matched)
            matched = pairs.extend(matched, kept.any(1))
            if (matched != UNFILLED).sum() == can_be_filled:
                break
        self.written = self.network.labels.copy()
        for row in np.flatnonzero(matched != UNFILLED):
            self.place(int(positions[row]), int(candidates[matched[row]]))


class _Pairs:
    """Feasible pairs of the positions (n) and candidates (s) left after step 1, weighed by the network as it is."""

    def __init__(self, state: _State, positions: Ints, candidates: Ints):
        self.state, self.positions = state, positions
        c = state.compact
        self.group = c.group[candidates]
        self.usable = c.qualified[np.ix_(positions, candidates)]
        score = c.score[np.ix_(positions, candidates)]
        largest = score[self.usable].max(initial=0.0)
        self.quality = np.round(score / largest, 1) if largest > 0 else score
        self.tenths, self.level = np.unique(self.quality, return_inverse=True)
        self.level = self.level.reshape(score.shape)

    def diversity(self) -> Floats:
        """(n, K) diversity of giving a position a candidate of a class."""
        network = self.state.network
        beside = visible_neighbours(network, self.state.unfilled_as)[self.positions]
        if self.state.diversity == "local":
            return local_minority(beside).astype(np.float64)
        matrix = network.matrix
        total = matrix.sum()
        assortative = np.trace(matrix) * total >= (matrix.sum(1) ** 2).sum()  # the sign of Newman's r
        seen = beside.sum(1, keepdims=True) - beside if assortative else beside
        has = np.stack([(self.usable & (self.group == g)).any(1) for g in range(beside.shape[1])], axis=1)
        largest = seen[has].max(initial=0)
        return np.round(seen / largest, 1) if largest else seen.astype(np.float64)

    def weights(self) -> Floats:
        """(n, s) R - r + 1 of pairs in front r of R; 0 where infeasible."""
        diversity = self.diversity()
        degrees, degree = np.unique(diversity, return_inverse=True)
        degree = degree.reshape(diversity.shape)[:, self.group]  # (n, s)
        code = degree * len(self.tenths) + self.level
        present = np.zeros(len(degrees) * len(self.tenths), np.bool_)
        present[code[self.usable]] = True
        points = np.flatnonzero(present)
        rank = front_ranks(degrees[points // len(self.tenths)], self.tenths[points % len(self.tenths)])
        weight = np.zeros(len(present))
        weight[points] = rank.max() - rank + 1
        return np.where(self.usable, weight[code], 0.0)

    def show(self, matched: Ints) -> None:
        """Let the network have exactly the classes of `matched` (n,) at these positions."""
        for row, candidate in enumerate(matched):
            label = UNFILLED if candidate == UNFILLED else int(self.group[candidate])
            self._write(row, label)

    def _write(self, row: int, label: int) -> None:
        position = int(self.positions[row])
        if self.state.network.labels[position] != label:
            self.state.network.set(position, label)

    def extend(self, matched: Ints, wanted: Bools) -> Ints:
        """Step 5: `matched` (n,) with every `wanted` position filled that an augmenting path reaches."""
        holder = np.full(len(self.group), UNFILLED, np.int64)
        rows = np.flatnonzero(matched != UNFILLED)
        holder[matched[rows]] = rows
        weight = None
        for row in np.flatnonzero(wanted & (matched == UNFILLED)):
            weight = self.weights() if weight is None else weight
            path = self._augmenting_path(int(row), matched, holder, weight)
            for position, candidate in path:
                matched[position], holder[candidate] = candidate, position
                self._write(position, int(self.group[candidate]))
            if path:
                weight = None
        return matched

    def _augmenting_path(self, root: int, matched: Ints, holder: Ints, weight: Floats) -> list[tuple[int, int]]:
        """Pairs to be made, from `root` to a free candidate, or none; Hungarian method, depth first.

        A matched position's label begins at its pair's weight, another's at its largest; a pair is admissible once the
        label has fallen to its weight. All labels in the tree fall together, so `fallen` is one number.
        """
        tree, reached_by = [root], {}
        slack = [np.where(self.usable[root], weight[root].max() - weight[root], np.inf)]
        outside = np.ones(len(self.group), np.bool_)  # candidates not in the tree
        fallen = 0.0
        while True:
            table = np.where(outside, np.array(slack), np.inf)  # (tree, s)
            least = table.min(1)
            if not np.isfinite(least.min()):
                return []
            fallen = max(fallen, float(least.min()))
            step = int(np.flatnonzero(least <= fallen)[-1])  # the position that came last
            candidate = int(np.flatnonzero(table[step] <= fallen)[0])
            outside[candidate] = False
            reached_by[candidate] = tree[step]
            if holder[candidate] == UNFILLED:
                return _path_to(candidate, root, reached_by, matched)
            row = int(holder[candidate])
            tree.append(row)
            label = weight[row, matched[row]] + fallen
            slack.append(np.where(self.usable[row], label - weight[row], np.inf))


def _path_to(candidate: int, root: int, reached_by: dict[int, int], matched: Ints) -> list[tuple[int, int]]:
    path = []
    while True:
        row = reached_by[candidate]
        path.append((row, candidate))
        if row == root:
            return path
        candidate = int(matched[row])


def front_ranks(first: Floats, second: Floats) -> Ints:
    """(n,) number, from 1, of the non-dominated front of each distinct point, both objectives maximised.

    K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol. Comp. 6, 182 (2002).
    """
    over = (first[:, None] >= first) & (second[:, None] >= second)  # over[a, b]: a dominates b
    np.fill_diagonal(over, False)
    rank, left, front = np.zeros(len(first), np.int64), np.ones(len(first), np.bool_), 0
    while left.any():
        front += 1
        best = left & ~(over & left[:, None]).any(0)
        rank[best] = front
        left &= ~best
    return rank


def _support_groups(problem: Problem, state: _State, threshold: float, seed: int) -> None:
    """The isolation variant: bring every class to the threshold in every community that has open positions.

    Of a maximum-weight matching of the class's candidates to the community's open positions the best pairs are taken,
    highest fitness first; after each, step 1 is done again.
    """
    c, index = state.compact, problem.position_index
    communities = nx.community.louvain_communities(problem.graph, seed=seed)
    order = {position: n for n, position in enumerate(problem.graph)}
    for community in sorted(communities, key=lambda members: min(order[u] for u in members)):
        inside = np.zeros(len(state.chosen), np.bool_)
        inside[[index[u] for u in community if u in index]] = True
        needed = int(threshold) if threshold >= 1 else math.ceil(threshold * len(community))
        for group, name in enumerate(c.groups):
            present = sum(problem.classes.get(u) == name for u in community if u not in index)
            eligible = c.qualified & (inside & state.waiting)[:, None] & (state.free & (c.group == group))[None, :]
            matched = assign_freely(np.where(eligible, c.score, 0.0), eligible)
            rows = np.flatnonzero(matched != UNFILLED)
            for row in rows[np.argsort(-c.score[rows, matched[rows]], kind="stable")]:
                if present + int((state.network.labels[inside] == group).sum()) >= needed:
                    break
                if state.waiting[row] and state.free[matched[row]]:
                    state.place(int(row), int(matched[row]))
                    state.fill_forced()

"""The largest fitness within limits on every measure: exact by a mixed-integer programme where it is small, by exchange elsewhere.

Every measure but fitness depends on who is of which class in which position. With y_ic = 1 where position i gets somebody of class c:

selection rates     n_c = sum_i y_ic of t_c candidates: n_a / t_a >= floor n_b / t_b for all classes a, b with candidates
members alone       a_u >= 1 - sum of y_ic over open neighbours i, of a member u of class c without a filled neighbour of it; the
                    same of whoever gets an open position; sum a <= limit
assortativity       e_c, ends of edges at class c, is linear in y where every position gets filled; the trace is, with s_c <= y_ic,
                    s_c <= y_jc for edges between two open positions; e_c² is exact through one binary variable for each value
                    that e_c can have; |T trace - sum e²| <= limit (T² - sum e²), T = sum e, is then linear
communities         of a community of fixed size its rarest class's share is m <= (members + sum of y_ic over its open positions) / size
                    for every class c; sum of m >= limit times the number of communities; a class that is nowhere does not bind
mean ties, cores    the sum over a class is linear, how many it has is one of few numbers, with a binary variable for each; a mean
                    is bound to sum / number where that number is the one

What a limit makes impossible is proved so: HiGHS (Q. Huangfu and J. A. J. Hall, Math. Prog. Comp. 10, 119 (2018)) finds the programme
infeasible. Where the work that a programme may take (`programme`) is done before, its dual bound is what nothing can be better than.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import LinearConstraint

from xbar.workloads.fairea.assignment import assign
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Floats, Ints, Matching, Problem
from xbar.workloads.fairea.programme import SECONDS, TIME_LIMIT, solved
from xbar.workloads.fairea.tally import Layout, Measures, Tally

SLACK = 1e-9  # by which a measure may pass its limit through rounding
MOST_VARIABLES = 30_000  # of a programme that is tried


@dataclass(frozen=True)
class Limits:
    """What a matching must keep; None is no limit.

    distance: |r| at most; selection: smallest over largest selection rate at least; isolated: members without a neighbour of their
    class at most; degree, core: smallest over largest mean degree, or core number, of a class at least; community: mean share of the
    rarest class in a community at least. Raises `FaireaError`.
    """

    distance: float | None = None
    selection: float | None = None
    isolated: float | None = None
    degree: float | None = None
    core: float | None = None
    community: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            most = np.inf if each.name == "isolated" else 1
            if value is not None and not 0 <= value <= most:
                raise FaireaError(each.name, value, f"must be from 0 to {most:g}")

    def excess(self, found: Measures) -> float:
        """By how much measures pass the limits, each in units of its own range or of one member; 0 where all are kept; infinite where
        |r|, or the share in communities, is limited and undefined."""
        passed = 0.0
        if self.distance is not None:
            passed += np.inf if np.isnan(found.distance) else max(0.0, found.distance - self.distance - SLACK)
        if self.community is not None and np.isnan(found.community_share):
            passed += np.inf
        if self.isolated is not None:
            passed += max(0.0, found.isolated - self.isolated - SLACK)
        for limit, value in ((self.selection, found.selection_ratio), (self.degree, found.degree_ratio), (self.core, found.core_ratio),
                             (self.community, found.community_share)):  # fmt: skip
            if limit is not None:
                passed += max(0.0, limit - value - SLACK)
        return passed

    def without(self, name: str) -> "Limits":
        """The others."""
        return replace(self, **{name: None})

    @property
    def given(self) -> dict[str, float]:
        """Those that are."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, eq=False)
class Within:
    """What was found. matching: None where there is none; bound: no matching within the limits has more fitness, -inf where there is
    none at all, which is then proved; exact: whether the matching is proved best, or their absence proved; how: by what; by_clock: whether
    the clock stopped the programme, so that another run may find another matching."""

    matching: Matching | None
    bound: float
    exact: bool
    how: str
    by_clock: bool = False

    @property
    def gap(self) -> float:
        """Fitness by which the matching can miss the best, at most; NaN without one."""
        return float("nan") if self.matching is None else max(0.0, self.bound - self.matching.fitness)


class _Programme:
    """Variables and constraints, grown piece by piece; the first variables are the feasible pairs."""

    def __init__(self, problem: Problem, layout: Layout):
        c = problem.compact
        self.problem, self.layout, self.k = problem, layout, layout.classes
        self.rows, self.columns = np.nonzero(c.qualified)
        self.pairs = len(self.rows)
        self.m, self.t = c.score.shape
        self.filled = int((assign(np.zeros_like(c.score), c.qualified) != UNFILLED).sum())
        self.cost: list[float] = [-float(problem.weights[i, j]) for i, j in zip(self.rows, self.columns, strict=True)]
        self.integral = [1] * self.pairs
        self.top = [1.0] * self.pairs
        self.entries: tuple[list[int], list[int], list[float]] = [], [], []  # row, column, value
        self.low: list[float] = []
        self.high: list[float] = []
        self.at: dict[tuple[int, int], list[int]] = {}  # (position, class): its pairs
        for pair, (i, j) in enumerate(zip(self.rows.tolist(), self.columns.tolist(), strict=True)):
            self.at.setdefault((i, int(layout.group[j])), []).append(pair)
        self._assignment()

    def variables(self, count: int, integral: bool = False, top: float = 1.0) -> list[int]:
        """Numbers of new ones, from 0 up to `top`."""
        first = len(self.cost)
        self.cost += [0.0] * count
        self.integral += [int(integral)] * count
        self.top += [top] * count
        return list(range(first, first + count))

    def require(self, terms: Sequence[tuple[int, float]], low: float, high: float = np.inf) -> None:
        """low <= sum of factor times variable <= high."""
        row = len(self.low)
        for column, value in terms:
            self.entries[0].append(row)
            self.entries[1].append(column)
            self.entries[2].append(value)
        self.low.append(low)
        self.high.append(high)

    def y(self, i: int, c: int, factor: float = 1.0) -> list[tuple[int, float]]:
        """factor times whether position i gets somebody of class c."""
        return [(pair, factor) for pair in self.at.get((i, c), ())]

    def _assignment(self) -> None:
        for line, count in ((self.rows, self.m), (self.columns, self.t)):
            of: list[list[int]] = [[] for _ in range(count)]
            for pair, place in enumerate(line.tolist()):
                of[place].append(pair)
            for each in of:
                if each:
                    self.require([(pair, 1.0) for pair in each], 1.0 if self.filled == self.m and line is self.rows else 0.0, 1.0)
        self.require([(pair, 1.0) for pair in range(self.pairs)], self.filled, self.filled)

    @cached_property
    def opened(self) -> dict[int, int]:
        """Number among open positions of each node that is open."""
        return {int(u): i for i, u in enumerate(self.layout.open)}

    def selection(self, floor: float, group: Ints) -> None:
        """The smallest selection rate at least `floor` times the largest, of candidates in groups `group` (t,)."""
        sizes = np.bincount(group).tolist()
        rates: list[list[tuple[int, float]]] = [[] for _ in sizes]
        for pair, j in enumerate(self.columns.tolist()):
            rates[group[j]].append((pair, 1.0 / sizes[group[j]]))
        known = [c for c, size in enumerate(sizes) if size]
        for a in known:
            for b in known:
                if a != b:
                    self.require([*rates[a], *((pair, -floor * factor) for pair, factor in rates[b])], -SLACK)

    def isolated(self, most: float) -> None:
        """At most so many members without a neighbour of their class."""
        layout, alone = self.layout, list[tuple[int, float]]()
        always = 0
        for u, around in enumerate(layout.neighbours):
            for c in range(self.k) if u in self.opened else [int(layout.held[u])]:
                if any(layout.held[v] == c for v in around):
                    continue
                company = [term for v in around if v in self.opened for term in self.y(self.opened[v], c)]
                mine = self.y(self.opened[u], c, -1.0) if u in self.opened else []
                if u in self.opened and not mine:
                    continue
                if u not in self.opened and not company:
                    always += 1
                    continue
                (each,) = self.variables(1)
                self.require([(each, 1.0), *company, *mine], 0.0 if u in self.opened else 1.0)
                alone.append((each, 1.0))
        self.require(alone, -np.inf, most - always + SLACK)

    def distance(self, most: float) -> None:
        """|r| at most so much, and defined. Every position must get filled."""
        layout, k = self.layout, self.k
        trace, trace_terms = 0, list[tuple[int, float]]()
        ends, ends_terms = [0] * k, [list[tuple[int, float]]() for _ in range(k)]
        for u, around in enumerate(layout.neighbours):
            loop, held = int(layout.loop[u]), int(layout.held[u])
            if u not in self.opened:
                ends[held] += len(around) + loop
                trace += loop + sum(layout.held[v] == held for v in around)
                continue
            i = self.opened[u]
            for c in range(k):
                ends_terms[c] += self.y(i, c, float(len(around) + loop))
                same = 2 * sum(layout.held[v] == c for v in around) + loop
                trace_terms += self.y(i, c, float(same)) if same else []
            for v in around:
                if v in self.opened and v > u:
                    trace_terms += [(each, 2.0) for each in self._together(i, self.opened[v])]
        total = sum(ends) + sum(len(layout.neighbours[u]) + int(layout.loop[u]) for u in self.opened)
        square = [self._square(known, terms) for known, terms in zip(ends, ends_terms, strict=True)]
        if total == 0:
            self.require([], 1.0)  # no edge: never defined
            return
        scale = 1.0 / total  # of r (T² - sum e²) = T trace - sum e²
        s = [(column, value * scale) for terms in square for column, value in terms]
        r = trace_terms
        for side in (1.0, -1.0):
            terms = [(column, side * value) for column, value in r] + [(column, (most - side) * value) for column, value in s]
            self.require(terms, -np.inf, most * total - side * trace)
        self.require(s, -np.inf, total - 0.5 * scale)

    def _together(self, i: int, j: int) -> list[int]:
        """A variable a class: whether both positions get it."""
        found = []
        for c in range(self.k):
            if (i, c) in self.at and (j, c) in self.at:
                (each,) = self.variables(1)
                for place in (i, j):
                    self.require([(each, 1.0), *self.y(place, c, -1.0)], -np.inf, 0.0)
                self.require([(each, 1.0), *self.y(i, c, -1.0), *self.y(j, c, -1.0)], -1.0)
                found.append(each)
        return found

    def _square(self, known: int, terms: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """The square of known + terms, as terms: a binary variable for each value that it can have."""
        values = sorted(self._values(known, terms))
        which = self.variables(len(values), integral=True)
        self.require([(each, 1.0) for each in which], 1.0, 1.0)
        self.require([*((each, float(value)) for each, value in zip(which, values, strict=True)),
                      *((column, -factor) for column, factor in terms)], known, known)  # fmt: skip
        return [(each, float(value) ** 2) for each, value in zip(which, values, strict=True)]

    def _values(self, known: int, terms: Sequence[tuple[int, float]]) -> set[int]:
        """What a sum over positions, each of which adds its factor or nothing, can be."""
        weight = {int(self.rows[column]): int(factor) for column, factor in terms}
        found = {known}
        for each in weight.values():
            found |= {value + each for value in found}
        return found

    def means(self, floor: float, weight: Ints) -> None:
        """The smallest mean of `weight` (n,) of a class at least `floor` times the largest. Every position must get filled."""
        layout, largest = self.layout, float(weight.max())
        held = layout.held != UNFILLED
        base = np.bincount(layout.held[held], weights=weight[held], minlength=self.k)
        members = np.bincount(layout.held[held], minlength=self.k)
        mean, nobody = self.variables(self.k, top=largest), list[list[tuple[int, float]]]()
        for c in range(self.k):
            mine = [pair for i in range(self.m) for pair, _ in self.y(i, c)]
            most = min(self.m, int((layout.group == c).sum()))
            count = self.variables(most + 1, integral=True)
            self.require([(each, 1.0) for each in count], 1.0, 1.0)
            self.require([*((each, float(n)) for n, each in enumerate(count)), *((pair, -1.0) for pair in mine)], 0.0, 0.0)
            nobody.append([(count[0], largest)] if members[c] == 0 else [])
            for n, each in enumerate(count):
                size = members[c] + n
                if size:
                    total = [(pair, -float(weight[layout.open[self.rows[pair]]]) / size) for pair in mine]
                    off = (base[c] + most * largest) / size + largest  # no less than the two can be apart
                    self.require([(mean[c], 1.0), *total, (each, -off)], base[c] / size - off)
                    self.require([(mean[c], 1.0), *total, (each, off)], -np.inf, base[c] / size + off)
        for a in range(self.k):
            for b in range(self.k):
                if a != b:
                    free = [*nobody[a], *nobody[b]]  # a class of nobody has no mean
                    self.require([(mean[a], 1.0), (mean[b], -floor), *free], -SLACK)

    def communities(self, floor: float) -> None:
        """The mean share of the rarest class in a community at least `floor`. Every position must get filled."""
        layout = self.layout
        assert layout.community is not None
        nobody = []
        for c in range(self.k):
            mine = [pair for i in range(self.m) for pair, _ in self.y(i, c)]
            if (layout.held == c).any():
                nobody.append([])
                continue
            (each,) = self.variables(1, integral=True)
            for pair in mine:
                self.require([(each, 1.0), (pair, 1.0)], -np.inf, 1.0)
            nobody.append([(each, -1.0)])
        least = self.variables(int(layout.community.max()) + 1)
        for number, each in enumerate(least):
            inside = np.flatnonzero(layout.community == number)
            opened = [self.opened[u] for u in inside.tolist() if u in self.opened]
            for c in range(self.k):
                mine = [(pair, -1.0 / len(inside)) for i in opened for pair, _ in self.y(i, c)]
                self.require([(each, 1.0), *mine, *nobody[c]], -np.inf, float((layout.held[inside] == c).sum()) / len(inside))
        self.require([(each, 1.0) for each in least], (floor - SLACK) * len(least))

    def solve(self, seconds: float) -> Any:
        """What `programme.solved` gives."""
        row, column, value = self.entries
        shape = (len(self.low), len(self.cost))
        constraint = LinearConstraint(sparse.csr_array((value, (row, column)), shape), np.array(self.low), np.array(self.high))
        return solved(np.array(self.cost), np.array(self.integral), np.array(self.top), [constraint], 1e-9, seconds)

    def chosen(self, x: Floats) -> Ints:
        """(m,) candidates of a solution."""
        found = np.full(self.m, UNFILLED, np.int64)
        taken = np.flatnonzero(x[: self.pairs] > 0.5)
        found[self.rows[taken]] = self.columns[taken]
        return found


def fittest_within(
    problem: Problem, limits: Limits, groupings: Sequence[Ints] = (), seconds: float = SECONDS, seed: int = 0
) -> Within:
    """The matching of largest fitness that keeps the limits, among those that fill as many positions as can be.

    groupings: groups (t,) of candidates that the selection limit is of, each apart; the classes if none. The programme is solved
    where it is small, as far as its work goes (`programme`), or with a warning the clock's `seconds`; else, and where positions
    stay open that others might have in place of them while |r|, ties or cores are limited, matchings are exchanged (see
    `within_by_exchange`), and the bound is the largest fitness of all.
    """
    layout = Layout.of(problem)
    floors = list(groupings) or [layout.group]
    programme = _programme(problem, layout, limits, floors)
    if programme is not None:
        given = programme.solve(seconds)
        by_clock = given.status == TIME_LIMIT
        if given.status == 2:
            return Within(None, -np.inf, True, "HiGHS: infeasible")
        bound = -float(given.mip_dual_bound) if given.mip_dual_bound is not None else np.inf
        if given.x is not None:
            match = Matching(problem, tuple(programme.chosen(given.x)))
            if limits.excess(_measures(layout, match, floors)) == 0:
                exact = given.status == 0
                return Within(match, match.fitness if exact else bound, exact, "HiGHS", by_clock)
        found = within_by_exchange(problem, limits, floors, seed=seed)
        return Within(found.matching, min(bound, found.bound), False, "exchange, bounded by HiGHS", by_clock)
    return within_by_exchange(problem, limits, floors, seed=seed)


def _programme(problem: Problem, layout: Layout, limits: Limits, floors: Sequence[Ints]) -> _Programme | None:
    """None where it would be too large, or is not linear."""
    if int(problem.compact.qualified.sum()) > MOST_VARIABLES:
        return None
    found = _Programme(problem, layout)
    whole = found.filled == found.m
    if not whole and any(each is not None for each in (limits.distance, limits.degree, limits.core, limits.community)):
        return None
    if limits.selection is not None:
        for group in floors:
            found.selection(limits.selection, group)
    if limits.isolated is not None:
        found.isolated(limits.isolated)
    if limits.degree is not None:
        found.means(limits.degree, np.array([len(around) for around in layout.neighbours], np.int64))
    if limits.core is not None:
        found.means(limits.core, layout.core)
    if limits.community is not None:
        found.communities(limits.community)
    if limits.distance is not None:
        found.distance(limits.distance)
    return found if len(found.cost) <= MOST_VARIABLES else None


def _measures(layout: Layout, match: Matching, floors: Sequence[Ints]) -> Measures:
    """Of a matching; the selection ratio is the smallest over the groupings."""
    chosen = np.array(match.chosen, np.int64)
    return Tally(layout, layout.labels(chosen)).measures._replace(selection_ratio=min(selection(chosen, group) for group in floors))


def selection(chosen: Ints, group: Ints) -> float:
    """Smallest over largest selection rate of groups (t,)."""
    pool = np.bincount(group)
    rates = np.bincount(group[chosen[chosen != UNFILLED]], minlength=len(pool))[pool > 0] / pool[pool > 0]
    return float(rates.min() / rates.max()) if len(rates) and rates.max() > 0 else 1.0


# ---- larger problems


def within_by_exchange(
    problem: Problem, limits: Limits, floors: Sequence[Ints] = (), steps: int = 200_000, seed: int = 0
) -> Within:
    """A matching within the limits by exchange: from the largest fitness, one position after another takes a free candidate or
    exchanges with another, wherever that passes the limits by less, or by no more at more fitness, until nothing does or `steps`
    were tried. Nothing says that it is the best, or that there is none where none is found; the bound is the largest fitness."""
    layout = Layout.of(problem)
    groups = list(floors) or [layout.group]
    c, rng = problem.compact, np.random.default_rng(seed)
    chosen = assign(c.score, c.qualified)
    most = Matching(problem, tuple(chosen)).fitness
    able = [{int(j): float(row[j]) for j in np.flatnonzero(~np.isnan(row))} for row in problem.weights]
    search = Exchange(able, layout, limits, groups, chosen)
    search.run(steps, rng)
    match = Matching(problem, tuple(search.chosen)) if search.excess == 0 else None
    return Within(match, most, match is not None and match.fitness >= most - SLACK, "exchange")


class Exchange:
    """A matching that is made better move by move: `chosen` (m,), and by how much it passes the limits, `excess`.

    able: fitness of each position's qualified candidates by number.
    """

    def __init__(self, able: Sequence[Mapping[int, float]], layout: Layout, limits: Limits, floors: Sequence[Ints], chosen: Ints):
        self.able, self.layout, self.limits, self.floors = able, layout, limits, floors
        self.chosen = chosen.copy()
        self.tally = Tally(layout, layout.labels(chosen))
        self.holder = {int(j): i for i, j in enumerate(chosen) if j != UNFILLED}
        self.own_floor = len(floors) == 1 and floors[0] is layout.group
        self.excess = self._excess()

    def _excess(self) -> float:
        found = self.tally.measures
        if not self.own_floor and self.limits.selection is not None:
            found = found._replace(selection_ratio=min(selection(self.chosen, group) for group in self.floors))
        return self.limits.excess(found)

    def run(self, steps: int, rng: np.random.Generator) -> None:
        """Until a whole round over all positions changes nothing."""
        while True:
            changed = False
            for i in rng.permutation(len(self.chosen)).tolist():
                if self.chosen[i] == UNFILLED:
                    continue
                for j in self.able[i]:
                    steps -= 1
                    if steps < 0:
                        return
                    changed |= self._try(i, j)
            if not changed:
                return

    def _try(self, i: int, j: int) -> bool:
        """Give position i candidate j, and its own to whoever held j; kept where better."""
        old = int(self.chosen[i])
        other = self.holder.get(j)
        if j == old or (other is not None and old not in self.able[other]):
            return False
        gain = self.able[i][j] - self.able[i][old]
        gain += 0.0 if other is None else self.able[other][old] - self.able[other][j]
        if self.excess == 0 and gain <= SLACK:
            return False
        self._put(i, j, other, old)
        excess = self._excess()
        if excess < self.excess - SLACK or (excess <= self.excess and gain > SLACK):
            self.excess = excess
            return True
        self._put(i, old, other, j)
        return False

    def _put(self, i: int, j: int, other: int | None, old: int) -> None:
        group = self.layout.group
        self.chosen[i] = j
        self.holder[j] = i
        if other is None:
            self.holder.pop(old, None)
        else:
            self.chosen[other] = old
            self.holder[old] = other
            self.tally.set(other, int(group[old]))
        self.tally.set(i, int(group[j]))

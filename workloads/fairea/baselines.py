"""What FairEA is compared with: random, weighted Hungarian, optimisation, largest and smallest fitness.

All fill as many positions as can be filled.
"""

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import LinearConstraint

from xbar.workloads.fairea.assignment import assign, assign_freely
from xbar.workloads.fairea.problem import RESOLUTION, UNFILLED, Compact, FaireaError, Floats, Matching, Problem
from xbar.workloads.fairea.programme import SECONDS, solved
from xbar.workloads.fairea.published import _defect_class, _State, local_minority, visible_neighbours

MOST_COUNTED = 2**21  # entries of the table that counts matchings, above which a chain draws
MOST_STEPS = 2_000_000  # of that chain between looks, unless asked for more


def maximum_fitness(problem: Problem) -> Matching:
    """The largest sum of fitness."""
    c = problem.compact
    return Matching(problem, tuple(assign(c.score, c.qualified)))


def minimum_fitness(problem: Problem) -> Matching:
    """The smallest sum of fitness."""
    c = problem.compact
    return Matching(problem, tuple(assign(-c.score, c.qualified)))


def weighted_hungarian(problem: Problem, *, released_defects: bool = False, counted_as: Hashable = "female") -> Matching:
    """Largest sum of fitness plus 1 for each candidate of the class in the local minority, weighed once.

    After FairEA's step 1; 1 is in the unit of the fitness. Defects as in `fairea`, among them that positions may stay
    unfilled where that does not lower the sum.
    """
    c = problem.compact
    state = _State(c, "local", _defect_class(problem, counted_as) if released_defects else None)
    state.fill_forced()
    rare = local_minority(visible_neighbours(state.network, state.unfilled_as))  # (m, K)
    largest = np.abs(problem.weights[c.qualified]).max(initial=0.0)
    one = RESOLUTION / 10.0 ** math.ceil(math.log10(largest)) if largest > 0 else 1.0
    score = c.score + np.rint(one) * rare[:, c.group]
    allowed = c.qualified & state.waiting[:, None] & state.free[None, :]
    found = (assign_freely if released_defects else assign)(np.where(allowed, score, 0.0), allowed)
    return Matching(problem, tuple(np.where(state.chosen != UNFILLED, state.chosen, found)))


def optimisation(problem: Problem, *, diversity_weight: float = 1.0, seconds: float = SECONDS) -> Matching:
    """The 0/1 programme: largest sum of fitness less a price on neighbourhoods that mirror nobody.

    maximise  sum_ij w_ij x_ij / W  -  diversity_weight / D  sum_uc e_uc
    with      e_uc >= | n_uc(x) - p_c n_u(x) |
    over all positions u with an open neighbour and classes c: n_uc of the filled neighbours are of class c, n_u in
    all, and p_c is the share of c among filled positions and candidates together. W is the range of the sum of
    fitness, D the sum of the degrees of these u. Each position and candidate once at most, as many as
    can be filled. HiGHS to a relative gap of 1e-4, as far as its work goes (`programme`), or with a warning the clock's `seconds`, which it
    may overrun; raises `FaireaError` if nothing was found by then. 500 positions and 2,500 feasible pairs take a second, 500 and a
    million find nothing in 20 s.
    """
    if not math.isfinite(diversity_weight) or diversity_weight < 0:
        raise FaireaError("diversity_weight", diversity_weight, "must be finite and at least 0")
    c = problem.compact
    best = assign(c.score, c.qualified)
    filled = int((best != UNFILLED).sum())
    if not filled:
        return Matching(problem, tuple(best))
    rows, columns = np.nonzero(c.qualified)
    pairs, (m, t), k = len(rows), c.score.shape, len(c.groups)
    mirror, fixed, degrees = _neighbourhoods(problem)
    sizes = pairs, m * k, len(fixed)  # variables: pairs x_ij, classes y_ic of positions, deviations e_uc
    worth = c.score[rows, columns] / max(c.total(best) - c.total(assign(-c.score, c.qualified)), 1.0)
    at = np.arange(pairs)
    each_position = sparse.csr_array((np.ones(pairs), (rows, at)), (m, pairs))
    each_candidate = sparse.csr_array((np.ones(pairs), (columns, at)), (t, pairs))
    each_class = sparse.csr_array((np.ones(pairs), (rows * k + c.group[columns], at)), (m * k, pairs))
    one = sparse.eye_array(len(fixed))

    def over(*blocks: Any) -> Any:
        """A matrix over all variables; None is zeros."""
        height = next(block.shape[0] for block in blocks if block is not None)
        filled_in = [sparse.csr_array((height, n)) if block is None else block for block, n in zip(blocks, sizes, strict=True)]
        return sparse.hstack(filled_in).tocsr()

    found = solved(
        np.concatenate([-worth, np.zeros(m * k), np.full(len(fixed), diversity_weight / max(degrees, 1))]),
        np.repeat([1, 0, 0], sizes), np.repeat([1.0, 1.0, np.inf], sizes),
        [
            LinearConstraint(over(each_position, None, None), 0, 1),
            LinearConstraint(over(each_candidate, None, None), 0, 1),
            LinearConstraint(over(sparse.csr_array(np.ones((1, pairs))), None, None), filled, filled),
            LinearConstraint(over(each_class, -sparse.eye_array(m * k), None), 0, 0),
            LinearConstraint(over(None, -mirror, one), fixed, np.inf),
            LinearConstraint(over(None, mirror, one), -fixed, np.inf),
        ],
        1e-4, seconds,
    )  # fmt: skip
    if found.x is None:
        raise FaireaError("seconds", seconds, f"the solver found no matching: {found.message}")
    chosen = np.full(m, UNFILLED, np.int64)
    taken = np.flatnonzero(found.x[:pairs] > 0.5)
    chosen[rows[taken]] = columns[taken]
    return Matching(problem, tuple(chosen))


def _neighbourhoods(problem: Problem) -> tuple[Any, Floats, int]:
    """n_uc - p_c n_u as (matrix @ y + fixed) of the classes y_ic of open positions, u-major; and the sum of degrees."""
    c, graph, index = problem.compact, problem.graph, problem.position_index
    k, number = len(c.groups), {name: g for g, name in enumerate(c.groups)}
    groups = [*problem.classes.values(), *problem.candidates.values()]
    share = np.bincount([number[name] for name in groups], minlength=k) / len(groups)
    around: dict[Hashable, list[int]] = {}  # position: its open neighbours
    for position, i in index.items():
        for u in graph[position]:
            if u != position:
                around.setdefault(u, []).append(i)
    block = np.eye(k) - share[:, None]  # n_uc of one neighbour of each class, less what is expected of it
    rows, columns, fixed = [], [], np.zeros((len(around), k))
    for n, (u, open_neighbours) in enumerate(around.items()):
        for v in graph[u]:
            if v != u and v not in index:
                fixed[n] += block[:, number[problem.classes[v]]]
        rows += [n] * len(open_neighbours)
        columns += open_neighbours
    beside = sparse.csr_array((np.ones(len(rows)), (rows, columns)), (len(around), len(index)))
    return sparse.kron(beside, block).tocsr(), fixed.ravel(), sum(graph.degree(u) for u in around)


def random_matching(problem: Problem, seed: int | np.random.Generator, steps: int | None = None) -> Matching:
    """A uniform draw from all maximum matchings: exact where they can be counted, by a Markov chain elsewhere.

    Counting takes a table of 2**m sets for each candidate (permanents, by a recursion over candidates); up to
    `MOST_COUNTED` entries it is made and the draw is exactly uniform. Otherwise, or if `steps` is given, the chain of
    Jerrum and Sinclair (SIAM J. Comput. 18, 1149 (1989)) on matchings with n pairs, as many as possible, or n - 1: of
    a full one, a pair is given up with odds 1 in n², so that it is full a fair share of the time. It is looked at every
    `steps` (20 m times the feasible pairs, at most `MOST_STEPS`, if None), and the first full matching seen is the
    draw: uniform in the limit of many steps; how near after `steps` is not bounded here.
    """
    if steps is not None and steps < 1:
        raise FaireaError("steps", steps, "must be at least 1")
    rng = np.random.default_rng(seed)
    c = problem.compact
    m, t = c.score.shape
    if steps is None and m < 22 and 2**m * (t + 1) <= MOST_COUNTED:
        return Matching(problem, tuple(_counted_draw(c, rng)))
    return Matching(problem, tuple(_chain_draw(c, rng, steps)))


def count_matchings(compact: Compact) -> npt.NDArray[np.float64]:
    """(t + 1, 2**m) ways for the first j candidates to fill exactly a set of positions; exact up to 2**53."""
    m, t = compact.score.shape
    ways = np.zeros((t + 1, 2**m))
    ways[0, 0] = 1.0
    for j in range(t):
        ways[j + 1] = ways[j]
        for i in np.flatnonzero(compact.qualified[:, j]):
            ways[j + 1].reshape(-1, 2, 2**i)[:, 1] += ways[j].reshape(-1, 2, 2**i)[:, 0]
    return ways


def _counted_draw(c: Compact, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    m, t = c.score.shape
    ways = count_matchings(c)
    size = np.bitwise_count(np.arange(2**m))
    full = np.flatnonzero((ways[t] > 0) & (size == size[ways[t] > 0].max()))
    left = int(rng.choice(full, p=ways[t, full] / ways[t, full].sum()))
    chosen = np.full(m, UNFILLED, np.int64)
    for j in range(t - 1, -1, -1):  # what the last candidate does, then the one before
        options = [UNFILLED] + [int(i) for i in np.flatnonzero(c.qualified[:, j]) if left >> int(i) & 1]
        counts = np.array([ways[j, left if i == UNFILLED else left ^ (1 << i)] for i in options])
        i = options[int(rng.choice(len(options), p=counts / counts.sum()))]
        if i != UNFILLED:
            chosen[i] = j
            left ^= 1 << i
    return chosen


def _chain_draw(c: Compact, rng: np.random.Generator, steps: int | None) -> npt.NDArray[np.int64]:
    chosen = assign(np.zeros_like(c.score), c.qualified)
    most = size = int((chosen != UNFILLED).sum())
    if not size:
        return chosen
    rows, columns = (found.tolist() for found in np.nonzero(c.qualified))
    holder = np.full(c.score.shape[1], UNFILLED, np.int64)
    holder[chosen[chosen != UNFILLED]] = np.flatnonzero(chosen != UNFILLED)
    block = min(20 * len(chosen) * len(rows), MOST_STEPS) if steps is None else steps
    while True:
        pairs, odds = rng.integers(len(rows), size=block), rng.random(block) * most * most
        for pair, odd in zip(pairs.tolist(), odds.tolist(), strict=True):
            i, j = rows[pair], columns[pair]
            held, holds = chosen[i], holder[j]
            if held == j:
                if size == most and odd < 1:
                    chosen[i] = holder[j] = UNFILLED
                    size -= 1
            elif held == UNFILLED and holds == UNFILLED:
                if size < most:
                    chosen[i], holder[j] = j, i
                    size += 1
            elif held == UNFILLED:  # the pair takes the candidate from elsewhere
                chosen[holds] = UNFILLED
                chosen[i], holder[j] = j, i
            elif holds == UNFILLED:
                holder[held] = UNFILLED
                chosen[i], holder[j] = j, i
        if size == most:
            return chosen

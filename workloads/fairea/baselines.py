"""What FairEA is compared with: random, weighted Hungarian, optimisation, largest and smallest fitness.

All fill as many positions as can be filled.
"""

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from workloads.fairea.assignment import assign, assign_freely
from workloads.fairea.problem import RESOLUTION, UNFILLED, Compact, FaireaError, Floats, Matching, Problem
from workloads.fairea.published import _defect_class, _State, local_minority, visible_neighbours

MOST_COUNTED = 2**21  # entries of the table that counts matchings, above which a chain draws


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


def optimisation(problem: Problem, *, diversity_weight: float = 1.0, seconds: float = 30.0) -> Matching:
    """The 0/1 programme: largest sum of fitness less a price on neighbourhoods that mirror nobody.

    maximise  sum_ij w_ij x_ij / W  -  diversity_weight / D  sum_uc e_uc
    with      e_uc >= | n_uc(x) - p_c n_u(x) |
    over all positions u with an open neighbour and classes c: n_uc of the filled neighbours are of class c, n_u in
    all, and p_c is the share of c among filled positions and candidates together. W is the largest sum of fitness
    (over its range, if smaller), D the sum of the degrees. Each position and candidate once at most, as many as
    can be filled. HiGHS to a relative gap of 1e-4 or `seconds`; raises `FaireaError` if nothing was found by then.
    """
    if not math.isfinite(diversity_weight) or diversity_weight < 0:
        raise FaireaError("diversity_weight", diversity_weight, "must be finite and at least 0")
    c = problem.compact
    best = assign(c.score, c.qualified)
    filled = int((best != UNFILLED).sum())
    if not filled:
        return Matching(problem, tuple(best))
    rows, columns = np.nonzero(c.qualified)
    pairs, (m, t) = len(rows), c.score.shape
    terms, degree, fixed, size = _neighbourhoods(problem, rows, columns)
    deviations = size * len(c.groups)
    worth = c.score[rows, columns] / max(c.total(best) - c.total(assign(-c.score, c.qualified)), 1.0)
    price = np.concatenate([-worth, np.full(deviations, diversity_weight / max(degree, 1))])
    once = sparse.vstack([
        sparse.csr_array((np.ones(pairs), (rows, np.arange(pairs))), (m, pairs)),
        sparse.csr_array((np.ones(pairs), (columns, np.arange(pairs))), (t, pairs)),
    ])  # fmt: skip
    one = sparse.eye_array(deviations)
    constraints = [
        LinearConstraint(sparse.hstack([once, sparse.csr_array((m + t, deviations))]).tocsr(), 0, 1),
        LinearConstraint(np.concatenate([np.ones(pairs), np.zeros(deviations)])[None], filled, filled),
    ]
    if deviations:
        constraints.append(LinearConstraint(sparse.hstack([-terms, one]).tocsr(), fixed, np.inf))
        constraints.append(LinearConstraint(sparse.hstack([terms, one]).tocsr(), -fixed, np.inf))
    solved = milp(
        price, integrality=np.concatenate([np.ones(pairs), np.zeros(deviations)]),
        bounds=Bounds(0, np.concatenate([np.ones(pairs), np.full(deviations, np.inf)])),
        constraints=constraints, options={"time_limit": seconds, "mip_rel_gap": 1e-4},
    )  # fmt: skip
    if solved.x is None:
        raise FaireaError("seconds", seconds, f"the solver found no matching: {solved.message}")
    chosen = np.full(m, UNFILLED, np.int64)
    taken = np.flatnonzero(solved.x[:pairs] > 0.5)
    chosen[rows[taken]] = columns[taken]
    return Matching(problem, tuple(chosen))


def _neighbourhoods(problem: Problem, rows: npt.NDArray, columns: npt.NDArray) -> tuple[Any, int, Floats, int]:
    """n_uc(x) - p_c n_u(x) as (terms @ x + fixed), rows u-major; also the sum of degrees and the number of u."""
    c, graph, index = problem.compact, problem.graph, problem.position_index
    k, number = len(c.groups), {name: g for g, name in enumerate(c.groups)}
    groups = [*problem.classes.values(), *problem.candidates.values()]
    share = np.array([groups.count(name) for name in c.groups]) / len(groups)
    around = {}  # position: numbers of its open neighbours
    for position, i in index.items():
        for u in graph[position]:
            if u != position:
                around.setdefault(u, []).append(i)
    data, at, pair, fixed = [], [], [], []
    for n, (u, open_neighbours) in enumerate(around.items()):
        filled = np.zeros(k)
        for v in graph[u]:
            if v != u and v not in index:
                filled[number[problem.classes[v]]] += 1
        fixed.append(filled - share * filled.sum())
        for p in np.flatnonzero(np.isin(rows, open_neighbours)):
            for g in range(k):
                data.append(float(c.group[columns[p]] == g) - share[g])
                at.append(n * k + g)
                pair.append(p)
    terms = sparse.csr_array((data, (at, pair)), (len(around) * k, len(rows)))
    return terms, sum(graph.degree(u) for u in around), np.concatenate(fixed) if fixed else np.zeros(0), len(around)


def random_matching(problem: Problem, seed: int | np.random.Generator, steps: int | None = None) -> Matching:
    """A uniform draw from all maximum matchings: exact where they can be counted, by a Markov chain elsewhere.

    Counting takes a table of 2**m sets for each candidate (permanents by the recursion of Ryser's kind, over
    candidates); up to `MOST_COUNTED` entries it is made and the draw is exactly uniform. Otherwise, or if `steps` is
    given, the chain of Jerrum and Sinclair (SIAM J. Comput. 18, 1149 (1989)) on matchings with as many pairs as
    possible or one fewer runs for `steps` (20 m times the feasible pairs if None) and then until it is at a maximum
    matching: symmetric and connected, hence uniform in the limit; how near after `steps` is not bounded here.
    """
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
    rows, columns = np.nonzero(c.qualified)
    if not size:
        return chosen
    holder = np.full(c.score.shape[1], UNFILLED, np.int64)
    holder[chosen[chosen != UNFILLED]] = np.flatnonzero(chosen != UNFILLED)
    least = 20 * len(chosen) * len(rows) if steps is None else steps
    done = 0
    while done < least or size < most:
        for pair in rng.integers(len(rows), size=4096).tolist():
            i, j = rows[pair], columns[pair]
            held, holds = chosen[i], holder[j]
            if held == j:
                if size == most:
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
            done += 1
            if done >= least and size == most:
                break
    return chosen

"""Maximum-weight matchings of positions and candidates, by scipy's `linear_sum_assignment`."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from xbar.workloads.fairea.problem import UNFILLED, Bools, Floats, Ints


def assign(score: Floats, allowed: Bools) -> Ints:
    """(m,) candidate of each position: as many `allowed` pairs as possible, and of these the largest sum of `score`.

    Exact for integer-valued scores below about 2**52 / m². (m, t) arrays.
    """
    return _solve(np.where(allowed, score + _bonus(score), 0.0), allowed)


def assign_freely(score: Floats, allowed: Bools) -> Ints:
    """(m,) candidate of each position: the largest sum of `score`, leaving positions unfilled where that is more."""
    return _solve(np.where(allowed, np.maximum(score, 0.0), 0.0), allowed & (score > 0))


def _bonus(score: Floats) -> float:
    """More than all pairs of a matching can differ by: one pair more always pays."""
    if not score.size:
        return 1.0
    return 2.0 * (min(score.shape) + 1) * (float(np.abs(score).max()) + 1.0)


def _solve(gain: Floats, usable: Bools) -> Ints:
    chosen = np.full(len(gain), UNFILLED, np.int64)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    kept = usable[rows, columns]
    chosen[rows[kept]] = columns[kept]
    return chosen


def allowed_by_labels(labels: Ints, group: Ints, qualified: Bools) -> Bools:
    """(m, t) qualified pairs whose candidate has the class that the position's label asks for."""
    return qualified & (labels[:, None] == group[None, :])

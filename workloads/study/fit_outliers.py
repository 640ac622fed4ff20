"""Cells that lie far outside of what others of their target do: stuck at an end of the range, or astray.

The scale of each target is 1.4826 times the median distance from its median (that of a normal distribution is its sigma), smoothed over
targets; a cell counts as outside where it lies further than `limit` scales off, both in conductance and in its logarithm: a log-normal
spread is skewed in the one, a normal one near 0 S in the other.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # whose statistics load where they are asked for: they take a second
from scipy import optimize

from xbar.workloads.study.fit_choice import share
from xbar.workloads.study.fit_writes import Writes, grouped

MAD = 1.4826  # of a normal distribution: sigma over the median distance from the median
CLEAR = 2  # cells at an end of the range, from which on a rate is given
NEAR = 4.0  # scales from an end of the range within which a cell outside is at that end
CELLS_OF_A_SCALE = 25
RESOLUTION = 1e-3  # of the largest target: no scale is below, where over half of the cells read the same


@dataclass(frozen=True)
class Rate:
    """Cells found at one end of the range, of those cells where they would be seen, with the 95 % interval of their share."""

    count: int
    seen: int
    share: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether there are enough for a rate."""
        return self.count >= CLEAR


@dataclass(frozen=True, eq=False)
class Outliers:
    """`outside`: rows that are left out of the spread, all rows of a cell together. strays: cells of them that are at neither end."""

    outside: np.ndarray
    off: Rate
    on: Rate
    strays: int
    limit: float
    off_level: float  # mean conductance of those at the lower end [S]; nan without
    on_level: float


def find_outliers(data: Writes, g_min: float) -> Outliers:
    """Stuck and stray cells among writes."""
    y, target = data.conductance, data.target
    limit = max(5.0, 1.2 * float(scipy.stats.norm.isf(0.005 / len(y))))  # a hundredth of a false one among normal errors; scales err too
    step = _step(y) / 2  # a cell that lies one step of the instrument off is not outside
    plain = _Scaled(data, y - target, np.full(len(y), RESOLUTION * data.g_max + step))
    logs = (y > 0) & (target > 0)
    ratio = np.log(np.where(logs, y, 1.0) / np.where(logs, target, 1.0))
    relative = _Scaled(data, np.where(logs, ratio, -np.inf), RESOLUTION + step / np.maximum(target, 1e-9 * data.g_max))

    def stands_out(value: np.ndarray) -> np.ndarray:
        """Whether a cell that holds `value` [S] would be outside."""
        positive = (value > 0) & (target > 0)
        log = np.where(positive, np.log(np.where(positive, value, 1.0) / np.where(target > 0, target, 1.0)), np.inf)
        return (plain.off(value - target) > limit) & ((relative.off(log) > limit) | ~positive)

    far = stands_out(y)
    ends = {}
    for name, end, beyond in (("off", g_min, y <= g_min), ("on", data.g_max, y >= data.g_max)):
        here = NEAR * plain.scale[np.argmin(np.abs(target - end))]
        side = y < target if name == "off" else y > target
        at = far & side & (beyond | (np.abs(y - end) <= here))
        stuck = np.unique(data.cell[at])
        seen = len(np.unique(data.cell[stands_out(np.full_like(y, end))]))
        ends[name] = stuck, Rate(len(stuck), max(seen, len(stuck)), *share(len(stuck), max(seen, len(stuck)))), y[at]
    stuck = np.r_[ends["off"][0], ends["on"][0]]
    strays = np.setdiff1d(np.unique(data.cell[far]), stuck)
    outside = np.isin(data.cell, np.r_[stuck, strays])
    levels = [float(np.mean(ends[name][2])) if len(ends[name][2]) else np.nan for name in ("off", "on")]
    return Outliers(outside, ends["off"][1], ends["on"][1], len(strays), limit, *levels)


def _step(values: np.ndarray) -> float:
    """The smallest distance between values, to a millionth of the largest [S]: of coarse instruments their step."""
    different = np.unique(np.round(values / values.max(), 6))
    return float(np.diff(different).min() * values.max()) if len(different) > 1 else 0.0


class _Scaled:
    """Middle and scale of errors at each row's target."""

    def __init__(self, data: Writes, error: np.ndarray, floor: np.ndarray):
        groups = grouped(data, CELLS_OF_A_SCALE)
        x = np.array([data.x[rows].mean() for rows in groups])
        middle = np.array([np.median(error[rows]) for rows in groups])
        with np.errstate(invalid="ignore"):
            scale = np.array([MAD * np.median(np.abs(error[rows] - m)) for rows, m in zip(groups, middle, strict=True)])
        for place, rows in enumerate(groups):  # where draws below 0 S were held there, half of the distribution tells
            above = rows[(data.conductance[rows] > 0) & (error[rows] >= 0)]
            if len(above) >= len(rows) / 4 and (data.conductance[rows] <= 0).any():
                middle[place], scale[place] = 0.0, MAD * np.median(error[above])
        known = np.isfinite(middle) & np.isfinite(scale)
        middle, scale = np.where(known, middle, 0.0), np.where(known, scale, 1e300)
        smooth = _smooth(x[known], scale[known], x) if known.sum() > 3 else scale
        scale = np.maximum(np.maximum(smooth, scale), [floor[rows].mean() for rows in groups])
        self.middle, self.scale = np.empty(len(error)), np.empty(len(error))
        for rows, m, s in zip(groups, middle, scale, strict=True):
            self.middle[rows], self.scale[rows] = m, s

    def off(self, error: np.ndarray) -> np.ndarray:
        """How many scales from the middle."""
        return np.abs(error - self.middle) / self.scale


def _smooth(x: np.ndarray, scale: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A parabola through scales, robust against single ones, at other places."""
    unit = max(float(np.median(scale)), 1e-300)
    powers = np.vander(x, 3)
    found = optimize.least_squares(lambda p: powers @ p - scale / unit, [0.0, 0.0, 1.0], loss="soft_l1", f_scale=0.3)
    return np.vander(at, 3) @ found.x * unit

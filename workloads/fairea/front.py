"""Sets of matchings none of which is dominated: more fitness, less |assortativity|."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from xbar.workloads.fairea.metrics import MixingMatrix
from xbar.workloads.fairea.problem import Bools, Floats, Ints, Matching, Problem

DIGITS = 12  # |r| is a ratio of integers; equal ones may differ in the last bits


@dataclass(frozen=True, eq=False)
class Front:
    """Matchings none of which dominates another, by falling fitness; at most one for each pair of values."""

    problem: Problem
    matchings: tuple[Matching, ...]
    work: float = 0.0  # nominal seconds that the search spent, a count and not a clock

    @cached_property
    def points(self) -> Floats:
        """(n, 2) fitness and |r|."""
        values = [(match.fitness, abs(MixingMatrix(self.problem.compact, match.labels).r)) for match in self.matchings]
        return np.array(values).reshape(-1, 2)

    def frame(self) -> pd.DataFrame:
        """`fitness`, `abs_assortativity`, and the matching's number in `matchings`."""
        points = self.points
        return pd.DataFrame({"fitness": points[:, 0], "abs_assortativity": points[:, 1], "matching": range(len(points))})


def rounded(r: Floats) -> Floats:
    """|r|, so that equal ones compare equal."""
    return np.abs(np.asarray(r, np.float64)).round(DIGITS)


def non_dominated(fitness: Floats, distance: Floats) -> Ints:
    """Indices of points that no other dominates (fitness up, distance down), by falling fitness; the first of equals.

    A NaN distance is no point.
    """
    order = np.lexsort((np.arange(len(fitness)), distance, -fitness))
    order = order[~np.isnan(distance[order])]
    if not len(order):
        return order
    least = np.minimum.accumulate(distance[order])
    keep = np.ones(len(order), np.bool_)
    keep[1:] = distance[order][1:] < least[:-1]
    return order[keep]


def hypervolume(points: Floats, reference: tuple[float, float]) -> float:
    """Area that `points` (n, 2) of (fitness, |r|) dominate, down to a fitness and up to a |r|."""
    inside = points[(points[:, 0] > reference[0]) & (points[:, 1] < reference[1])]
    inside = inside[non_dominated(inside[:, 0], inside[:, 1])]  # falling fitness, falling |r|
    height = np.diff(inside[::-1, 0], prepend=reference[0])  # from the largest |r| inwards
    return float((height * (reference[1] - inside[::-1, 1])).sum())


def dominates(points: Floats, fitness: float, distance: float, tolerance: float = 1e-9) -> Bools:
    """(n,) which of `points` (n, 2) are at least as good as (fitness, |r|) in both and better in one."""
    as_good = (points[:, 0] >= fitness - tolerance) & (points[:, 1] <= distance + tolerance)
    return as_good & ((points[:, 0] > fitness + tolerance) | (points[:, 1] < distance - tolerance))


def covers(points: Floats, fitness: float, distance: float, tolerance: float = 1e-9) -> bool:
    """Whether one of `points` (n, 2) is at least as good as (fitness, |r|) in both."""
    return bool(((points[:, 0] >= fitness - tolerance) & (points[:, 1] <= distance + tolerance)).any())

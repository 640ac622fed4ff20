"""The matching that answers: the fittest within limits, asked for or such that nothing is made worse; and what each limit costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xbar.workloads.fairea.exact import ExactFront
from xbar.workloads.fairea.front import Front
from xbar.workloads.fairea.limits import Limits, Within, fittest_within
from xbar.workloads.fairea.metrics import community_minority_share, core_ratio
from xbar.workloads.fairea.problem import Ints, Matching, Problem
from xbar.workloads.fairea.programme import SECONDS
from xbar.workloads.fairea.tally import HIGHER_IS_BETTER, Layout, Measures, Tally

FOUR_FIFTHS = 0.8  # ratio of selection rates below which United States practice sees adverse impact (29 CFR 1607.4 D)
# By how much a measure may be worse than what it is compared with, before a report says so.
TOLD = {"distance": 0.005, "isolated": 0.5, "degree": 0.02, "core": 0.02, "community": 0.01}
DROPPED_FIRST = ("core", "degree", "community", "isolated", "distance", "selection")  # of limits that nothing keeps together
MEASURED = {"distance": "distance", "isolated": "isolated", "degree": "degree_ratio", "core": "core_ratio", "community": "community_share"}

Step = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Chosen:
    """limits: asked for, or None's harm; kept: those of them that are; dropped: names of the others, with how it is known that they
    cannot be kept besides the kept ones; found: the matching; by_clock: whether the clock stopped a programme on the way, so that
    another run may choose otherwise."""

    limits: Limits
    kept: Limits
    dropped: tuple[tuple[str, str], ...]
    found: Within
    by_clock: bool = False


def harmless_limits(problem: Problem, others: Sequence[Matching], draws: Sequence[Matching]) -> Limits:
    """Limits within which a report finds nothing worse than in the filled positions alone, in any of the matchings `others`, and in
    the mean of random ones; and selection rates of four fifths. Where a class is new, or is of nobody, it sets no limit."""
    layout = Layout.of(problem)
    before = Tally(layout).measures
    if problem.classes:  # whose core numbers and communities are those without the open positions
        graph, classes = problem.graph, problem.classes
        before = before._replace(core_ratio=core_ratio(graph, classes), community_share=community_minority_share(graph, classes))
    known = [before, *(_of(layout, match) for match in others)]
    if draws:
        known.append(Measures(*np.mean([_of(layout, match) for match in draws], axis=0)))
    table = np.array(known)
    found: dict[str, float | None] = {"selection": FOUR_FIFTHS}
    for name, column in MEASURED.items():
        higher, room = getattr(HIGHER_IS_BETTER, column), 0.99 * TOLD[name]
        value = _best(table[:, Measures._fields.index(column)], 1 if higher else -1)
        if value is not None:
            limit = max(0.0, value - room) if higher else value + room
            found[name] = limit if name == "isolated" else min(1.0, limit)
    return Limits(**found)


def _best(values: np.ndarray, sign: int) -> float | None:
    values = values[~np.isnan(values)]
    return float(sign * (sign * values).max()) if len(values) else None


def _of(layout: Layout, match: Matching) -> Measures:
    return Tally(layout, layout.labels(np.array(match.chosen, np.int64))).measures


def choose(problem: Problem, limits: Limits, groupings: Sequence[Ints], seed: int = 0, seconds: float = SECONDS) -> Chosen:
    """The fittest within the limits; where none is found, within those left when one after another is dropped."""
    kept, dropped = limits, list[tuple[str, str]]()
    found = fittest_within(problem, kept, groupings, seconds, seed)
    by_clock = found.by_clock
    for name in DROPPED_FIRST:
        if found.matching is not None:
            break
        if getattr(kept, name) is not None:
            dropped.append((name, "proved" if found.exact else "none found"))
            kept = kept.without(name)
            found = fittest_within(problem, kept, groupings, seconds, seed)
            by_clock |= found.by_clock
    for name, _ in list(dropped[:-1]):  # the last one dropped may have been the only one in the way
        again = Limits(**kept.given | {name: limits.given[name]})
        retried = fittest_within(problem, again, groupings, seconds, seed)
        by_clock |= retried.by_clock
        if retried.matching is not None:
            kept, found = again, retried
            dropped = [each for each in dropped if each[0] != name]
    return Chosen(limits, kept, tuple(dropped), found, by_clock)


def curve(
    problem: Problem, groupings: Sequence[Ints], best: Matching, front: Front, points: int = 6, seed: int = 0,
    seconds: float = SECONDS, step: Step = lambda _: None,
) -> pd.DataFrame:  # fmt: skip
    """What each measure costs in fitness, the others free: measure (distance, selection, isolated), limit, fitness, bound, exact, by_clock
    (as of `Within`).

    From what the matching `best` of largest fitness has to as far as can be reached: |r| as far as `front` of fitness and |r| goes,
    which tells the fitness itself where it is exact; selection rates up to 1; one member alone fewer until none keeps it. fitness is
    NaN where nothing keeps the limit: proved where exact.
    """
    layout = Layout.of(problem)
    at = _of(layout, best)
    grids = {
        "distance": np.unique(np.linspace(at.distance, front.points[:, 1].min(), points))[::-1],
        "selection": np.array(sorted({0.0, 0.2, 0.4, 0.6, FOUR_FIFTHS, 0.9, 1.0})),
        "isolated": np.arange(at.isolated, max(-1.0, at.isolated - points), -1.0),
    }
    rows = []
    for name, grid in grids.items():
        for limit in grid[~np.isnan(grid)].tolist():
            step(f"what fairness costs: {name} {limit:.3g}")
            room = 1e-7 if name == "distance" else 0.0  # a limit that is some matching's own value
            if name == "distance" and isinstance(front, ExactFront):
                fitness = bound = float(front.points[front.points[:, 1] <= limit + room, 0].max())
                exact, by_clock = True, False
            else:
                found = fittest_within(problem, Limits(**{name: limit + room}), groupings, seconds, seed)
                fitness = float("nan") if found.matching is None else found.matching.fitness
                bound, exact, by_clock = found.bound, found.exact, found.by_clock
            rows.append({"measure": name, "limit": limit, "fitness": fitness, "bound": bound, "exact": exact, "by_clock": by_clock})
            if np.isnan(fitness):
                break
    return pd.DataFrame(rows)

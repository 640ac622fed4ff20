"""Bars of what a row each costs of the score, with whiskers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results

MOST_VALUES = 24  # rows with a number beside each bar
LEAST_SPAN = 2.0  # points of accuracy that an axis of losses shows at least


def least_span(results: Results) -> float:
    """What an axis of losses shows at least: some points, or as large a share of another metric."""
    shown = ShownMetric.of(results.meta)
    return LEAST_SPAN if shown.is_share else LEAST_SPAN / 100 * abs(results.meta["score"]["float"])


def bars_of_rows(axes: Axes, values: np.ndarray, colours: Sequence[str] | str, least: float = 0.0) -> None:
    """Horizontal bars downwards, one a row; the axis spans at least `least`."""
    axes.barh(np.arange(len(values)), np.nan_to_num(values, posinf=0.0, neginf=0.0), color=colours, height=0.62)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks([])
    finite = values[np.isfinite(values)]
    high, low = max(least, float(finite.max(initial=0.0))), float(finite.min(initial=0.0))
    axes.set_xlim(1.08 * low, (1.22 if len(values) <= MOST_VALUES else 1.05) * max(high, 1e-12))


def make_room(axes: Axes, values: np.ndarray, half: np.ndarray, least: float, margin: float = 1.05) -> None:
    """Widen an axis of losses for whiskers, of few instances not to their ends."""
    most = 1.5 * max(least, float(np.abs(values).max()))
    reach = np.minimum(np.nan_to_num(half), most)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 1.05 * float((values - reach).min())), max(high, margin * float((values + reach).max())))

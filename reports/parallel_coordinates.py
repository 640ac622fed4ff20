"""The page of all axes and metrics of a sweep at once: parallel coordinates."""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from xbar.reports.bins import bins_of
from xbar.reports.pareto import front_of
from xbar.reports.shading import SHADES, colour_bar, norm_of
from xbar.reports.style import INK, PAPER, SOFT, page, plot, write
from xbar.reports.sweep_columns import (
    MOST_LINES,
    ending,
    evenly,
    is_log,
    is_number,
    name_of,
    scale_for,
    short_names,
    shown,
    told_count,
)
from xbar.reports.sweep_pages import sides_of
from xbar.reports.sweep_sheet import SweepSheet, View

MOST_PARALLEL = 11  # columns in parallel
MISSING = -0.12  # where lines of points without a number run, below a scale from 0 to 1


@dataclass(frozen=True)
class ParallelColumns:
    """What stands side by side: axes and metrics, the metric that colours lines, how many axes have no room."""

    axes: list[str]
    metrics: list[str]
    colour_by: str
    left_out: int


def parallel_columns(sheet: SweepSheet, view: View) -> ParallelColumns:
    """Which columns of a sweep that has metrics are shown in parallel."""
    colour_by = next((name for name in (*view.pareto, *view.tornado) if name in sheet.metrics), sheet.metrics[0])
    usual = list(dict.fromkeys(name for name in (*view.pareto, *filter(sheet.varies, sheet.metrics)) if name in sheet.metrics and
                               (name in view.pareto or name in sheet.first)))  # fmt: skip
    metrics = (usual or [colour_by])[:5]
    kept = sheet.axes[: MOST_PARALLEL - len(metrics)]
    return ParallelColumns(kept, metrics, colour_by, len(sheet.axes) - len(kept))


def parallel(sheet: SweepSheet, view: View) -> Figure:
    """Axes and usual metrics side by side, a line a point, coloured by the first metric; the front on top."""
    layout = parallel_columns(sheet, view)
    colour_by, columns, more = layout.colour_by, [*layout.axes, *layout.metrics], layout.left_out
    rows = sheet.done.dropna(subset=[colour_by])
    drawn = evenly(rows, MOST_LINES)
    told = f"{len(drawn):,} of " if len(drawn) < len(rows) else ""
    told += f"{told_count(len(rows), 'point', 'points')}, a line each, coloured by {name_of(colour_by)}"
    told += f"  ·  {told_count(more, 'axis is', 'axes are')} not shown" if more else ""
    figure = page("All axes and metrics at once", told)
    scale = scale_for(colour_by, rows[colour_by], sheet.unit_of(colour_by))
    norm = norm_of(rows[colour_by].astype(float) * scale.factor)
    best = front_of(sheet, rows, view)
    axes = plot(figure, (0.085, 0.17, 0.76, 0.65), "Settings and what came of them", "none")
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=11, color=INK, fontweight="bold", pad=19)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    heights, ticks = zip(*(heights_of(rows[name]) for name in columns), strict=True)
    paths = pd.DataFrame(np.column_stack(heights), index=rows.index)
    across = np.arange(len(columns))

    def lines(index: pd.Index) -> list[np.ndarray]:
        return [np.column_stack([across, path]) for path in paths.loc[index].to_numpy()]

    few = len(drawn) < 100
    order = drawn[colour_by].sort_values().index
    axes.add_collection(LineCollection(lines(order), colors=SHADES(norm(drawn.loc[order, colour_by].to_numpy(float) * scale.factor)),
                        linewidths=1.1 if few else 0.6, alpha=0.9 if few else 0.45, rasterized=len(drawn) > 2000, zorder=2))  # fmt: skip
    on = evenly(rows[best], 200)
    axes.add_collection(LineCollection(lines(on.index), colors=PAPER, linewidths=3.0, zorder=3))
    axes.add_collection(LineCollection(lines(on.index), colors=INK, linewidths=1.4, zorder=4))
    names = short_names(sheet.axes)
    has_missing = False
    for place, (name, marks) in enumerate(zip(columns, ticks, strict=True)):
        axes.axvline(place, color=SOFT, linewidth=1.0, zorder=5)
        texts = told_apart([value for _, value in marks], sheet.unit_of(name) if name in sheet.metrics else "")
        for (height, _), text in zip(marks, texts, strict=True):
            write(axes, place + 0.03, height, ending(text, 14), size=7.5, vertical="center", transform=axes.transData, zorder=6,
                  bbox={"facecolor": PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.6})  # fmt: skip
        if is_number(rows[name]) and rows[name].isna().any():
            has_missing = True
            write(axes, place + 0.03, MISSING, "missing", size=7.5, vertical="center", colour=SOFT, transform=axes.transData, zorder=6)
        below = {"transform": axes.get_xaxis_transform()}
        label = ending(names.get(name, name_of(name)), 40).replace("_", "_ ").replace(".", ". ")
        label = textwrap.fill(label, 13, break_long_words=False).replace("_ ", "_").replace(". ", ".")
        write(axes, place, -0.02, label, size=8, weight="bold", align="center", vertical="top", **below)
        if name in sheet.metrics and name in view.better:
            write(axes, place, 1.01, f"better {view.better[name]}", size=7.5, colour=SOFT, align="center", **below)
    axes.set_xlim(-0.15, len(columns) - 1 + 0.55)
    axes.set_ylim(-0.16 if has_missing else -0.04, 1.03)
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    colour_bar(figure, (0.89, 0.17, 0.016, 0.65), norm, scale.label)
    handles = [Line2D([], [], color=INK, lw=1.6, label=f"Pareto front of {sides_of(view)}")] if view.pareto else []
    if handles:
        figure.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right", bbox_to_anchor=(0.95, 0.91))
    note = "Each scale runs from the lowest to the highest value, by ratio where values are spread so; texts stand as they came."
    write(figure, 0.05, 0.06, f"{note} Points that failed are not drawn.", size=8, colour=SOFT)
    return figure


def told_apart(values: list[Any], unit: str) -> list[str]:
    """Values in words, with as many digits as tell them apart."""
    for digits in (3, 4, 5, 6):
        texts = [shown(value, unit, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def heights_of(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, Any]]]:
    """Where each value stands between 0 and 1 (`MISSING`: it has none), and marks (height, value)."""
    if not is_number(values):
        bins = bins_of(values)
        most = max(1, len(bins.names) - 1)
        single = len(bins.names) == 1
        return (np.full(len(values), 0.5) if single else bins.places / most), [
            (0.5 if single else place / most, name) for place, name in enumerate(bins.names)
        ]
    numbers = values.to_numpy(float, na_value=np.nan)
    known = np.unique(numbers[~np.isnan(numbers)])
    if not len(known):
        return np.full(len(values), MISSING), []
    if len(known) == 1:
        return np.where(np.isnan(numbers), MISSING, 0.5), [(0.5, known[0])]
    log = is_log(numbers)
    low, high = known[0], known[-1]

    def height(value: np.ndarray) -> np.ndarray:
        return np.log(value / low) / np.log(high / low) if log else (value - low) / (high - low)

    evenly = np.linspace(0, 1, 5)
    marks = known if len(known) <= 6 else low * (high / low) ** evenly if log else low + evenly * (high - low)
    found = height(np.where(np.isnan(numbers), low, numbers))
    return np.where(np.isnan(numbers), MISSING, found), [(float(height(mark)), mark) for mark in marks]

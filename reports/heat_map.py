"""The page of a metric over two axes of a sweep: a heat map."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from xbar.reports.bins import bins_of
from xbar.reports.shading import SHADES, colour_bar, norm_of
from xbar.reports.style import INK, PAGE, PAPER, SOFT, cut, page, plot, significant, write
from xbar.reports.sweep_columns import (
    ending,
    name_of,
    scale_for,
    short_names,
    told_count,
)
from xbar.reports.sweep_sheet import SweepSheet


def heat_table(sheet: SweepSheet, across: str, up: str, metric: str) -> pd.DataFrame:
    """Mean of the metric over the points of every cell of two axes: both axes' values or bins in words, points, mean, lowest,
    highest; a row for every cell, also where no point is."""
    part = sheet.done[sheet.done[metric].notna()]
    x, y = bins_of(sheet.frame[across]), bins_of(sheet.frame[up])
    cells = pd.DataFrame({"x": x.places[part.index], "y": y.places[part.index], "value": part[metric].to_numpy(float)})
    found = cells[(cells["x"] >= 0) & (cells["y"] >= 0)].groupby(["y", "x"])["value"].agg(["size", "mean", "min", "max"])
    whole = found.reindex(pd.MultiIndex.from_product([range(len(y.names)), range(len(x.names))], names=["y", "x"]))
    names = {across: [x.names[k] for k in whole.index.get_level_values("x")], up: [y.names[k] for k in whole.index.get_level_values("y")]}
    return pd.DataFrame({
        **names, "points": whole["size"].fillna(0).astype(int).to_numpy(), "mean": whole["mean"].to_numpy(),
        "lowest": whole["min"].to_numpy(), "highest": whole["max"].to_numpy(),
    })  # fmt: skip


def heat_map(sheet: SweepSheet, across: str, up: str, metric: str) -> Figure:
    """Mean of a metric over two axes; how many points each cell has; cells without points hatched."""
    table = heat_table(sheet, across, up, metric)
    x, y = bins_of(sheet.frame[across]), bins_of(sheet.frame[up])
    shape = len(y.names), len(x.names)
    means, counts = table["mean"].to_numpy().reshape(shape), table["points"].to_numpy().reshape(shape)
    filled = counts > 0
    each = f"{counts[filled].min():,} to {counts.max():,}" if filled.any() and counts[filled].min() < counts.max() else ""
    each = f"{each} points" if each else told_count(int(counts.max()), "point", "points")
    others = [name for name in sheet.axes if name not in (across, up)]
    told = f"Mean over {each} a cell" + (f", {told_count(len(others), 'other axis', 'other axes')} as sampled" if others else "")
    figure = page(f"{name_of(metric)[:1].upper()}{name_of(metric)[1:]} over two axes", told
                  + (f"  ·  {(~filled).sum():,} of {filled.size} cells have no point" if not filled.all() else ""))  # fmt: skip
    short = short_names(sheet.axes)
    title = f"{cut(name_of(metric), 24)} by {ending(short[across], 24)} and {ending(short[up], 24)}"
    scale = replace(scale_for(metric, table["mean"], sheet.unit_of(metric)), log=False)
    values = pd.Series(means[filled] * scale.factor)
    axes = plot(figure, (0.17, 0.17, 0.63, 0.66), title, "none")
    norm = norm_of(values) if len(values) else Normalize(0, 1)
    empty = {"facecolor": PAPER, "hatch": "////", "edgecolor": "#cbd2d9"}
    axes.add_patch(Rectangle((0, 0), shape[1], shape[0], linewidth=0, zorder=0, **empty))
    cells = np.ma.masked_array(means * scale.factor, ~filled)
    axes.pcolormesh(np.arange(shape[1] + 1), np.arange(shape[0] + 1), cells, cmap=SHADES, norm=norm, edgecolors=PAPER, linewidth=1.2)
    room = min(0.63 * PAGE[0] / shape[1], 0.66 * PAGE[1] / shape[0] * 1.6)  # width of a cell, or as its height allows [inch]
    varied_counts = len(set(counts[filled].tolist())) > 1
    for row, column in zip(*np.nonzero(filled), strict=True):
        value = means[row, column] * scale.factor
        style = {"color": _ink_on(SHADES(float(norm(value)))), "ha": "center", "va": "center", "textcoords": "offset points"}
        middle = (column + 0.5, row + 0.5)
        counted = room > 0.6 and varied_counts
        if room > 0.45:
            axes.annotate(significant(float(value)), middle, (0, 4 if counted else 0), fontsize=8.5 if room > 0.7 else 7, **style)
        if counted:
            axes.annotate(f"n = {counts[row, column]:,}", middle, (0, -7), fontsize=6.5, **style)
    for bins, axis, most in ((x, axes.xaxis, 16), (y, axes.yaxis, 18)):
        labels = bins.bounds or [ending(name, most) for name in bins.names]
        axis.set_ticks(np.arange(len(labels)) + (0.0 if bins.bounds else 0.5), labels, fontsize=8.5)
    crowded = max(len(label.get_text()) for label in axes.get_xticklabels()) * shape[1] > 120
    axes.tick_params(axis="x", labelrotation=20 if crowded else 0)
    axes.set_xlim(0, shape[1])
    axes.set_ylim(0, shape[0])
    axes.set_xlabel(ending(across, 60) + (", binned" if x.bounds else ""), fontsize=8.5)
    axes.set_ylabel(ending(up, 60) + (", binned" if y.bounds else ""), fontsize=8.5)
    if len(values):
        colour_bar(figure, (0.84, 0.17, 0.016, 0.66), norm, scale.label)
    if not filled.all():
        axes.legend(handles=[Patch(label="no point", **empty)], frameon=False, fontsize=8.5,
                    labelcolor=INK, loc="lower right", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    note = "The mean is over the points in a cell: where the other axes differ between cells, that shows too. Values: heat.csv."
    write(figure, 0.05, 0.06, f"Settings are in the chip file's own units. {note}", size=8, colour=SOFT)
    return figure


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    """Dark or light type, whichever is told apart better (relative luminance as in WCAG 2: dark from 0.22 on)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return INK if float(np.dot(linear, (0.2126, 0.7152, 0.0722))) > 0.22 else PAPER

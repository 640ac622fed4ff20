"""The page of energy and area, by component and layer, with bands."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from xbar.reports.labels import shortened, size_of_labels
from xbar.reports.results import Results
from xbar.reports.run_words import STATIC, banded, batch_of
from xbar.reports.style import (
    ACCENT,
    GROUPS,
    INK,
    NAMES,
    PAPER,
    SOFT,
    group_of,
    human,
    look,
    page,
    percent,
    plot,
    scale_of,
    span,
    write,
)

LINKS = ["link"]  # components off the chip
MOST_BARS = 14


def energy_and_area(results: Results) -> Figure:
    """Energy and area by component, energy by layer, and totals, with their bands where the results have some."""
    requests = max(1, int(results.meta["summary"]["requests"]))
    with_bands = not results.bands.empty
    told = f"{batch_of(requests)}; leakage is shown apart, off-chip links only by layer, in grey"
    figure = page("Energy and area", f"{results.heading}  ·  {told}")
    energy_bars(plot(figure, (0.15, 0.535, 0.32, 0.325), "Dynamic energy per request on chip, by component", "x"), results)
    _area_bars(plot(figure, (0.63, 0.535, 0.32, 0.325), "Area, by component", "x"), results)
    axes = plot(figure, (0.07, 0.15, 0.41 if with_bands else 0.69, 0.27), "Dynamic energy per request, by layer")
    _layer_bars(axes, results.energy, requests, banded(results, "layer", ENERGY))
    side = 0.497 if with_bands else 0.785
    drawn = results.energy.drop(index=STATIC).sum()
    used = {group_of(str(name)) for name in drawn[drawn > 0].index}
    handles = [Patch(**look(name), label=name) for name in GROUPS if name in used]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(side, 0.435), frameon=False, fontsize=8.5, labelcolor=INK
    )
    _split(
        figure.add_axes((side, 0.15, 0.165, 0.018)),
        results.components[["dynamic_energy_J", "static_energy_J"]] / requests,
    )
    if with_bands:
        _totals(plot(figure, (0.765, 0.255, 0.185, 0.165), "Totals", "x"), results)
        write(figure, 0.692, 0.190, "\n".join(textwrap.wrap(WHAT_BANDS_ARE, 59)), size=7, colour=SOFT, vertical="top")
    return figure


ENERGY = "dynamic_energy_per_request_J"
WHAT_BANDS_ARE = (
    "Whiskers and thin lines: all energies, powers and areas that the chip file states are at their low ends together, or all "
    "at their high ends. Thick lines (in brackets): these constants independent of each other, the root of the sum of squares. "
    "Ends are as the file states them, else by kind; see the constants' pages. Times are taken as stated. A band tells how "
    "sure the constants are. It is no confidence interval, and covers neither what the model leaves out nor its conventions."
)
TOTALS = (("energy,\non chip", "on_chip_energy_per_request_J", "J"), ("peak load,\nlinks too", "table_power_W", "W"),
          ("area", "area_m2", "m²"), ("efficiency,\non chip", "on_chip_operations_per_J", "OPS/W"))  # fmt: skip


def _totals(axes: Axes, results: Results) -> None:
    """Outer and inner band of each total over its value, and in words."""
    most = 1.0
    for row, (_, quantity, unit) in enumerate(TOTALS):
        total = banded(results, "total", quantity).loc["total"]
        words = span(total["low"], total["high"], unit, (total["inner_low"], total["inner_high"]))
        write(axes, 0.01, row - 0.33, words, size=7, transform=axes.get_yaxis_transform())
        if not total["value"] > 0:
            continue
        low, high, inner_low, inner_high = total[["low", "high", "inner_low", "inner_high"]] / total["value"]
        axes.plot([low, high], [row, row], color=INK, linewidth=1, marker="|", markersize=6)
        axes.plot([inner_low, inner_high], [row, row], color=ACCENT, linewidth=5, solid_capstyle="butt", alpha=0.75)
        axes.plot([1], [row], color=PAPER, marker="o", markersize=4.5, markeredgecolor=INK)
        most = max(most, high if np.isfinite(high) else 1.0)
    axes.set_yticks(range(len(TOTALS)), [name for name, _, _ in TOTALS])
    axes.tick_params(axis="y", labelsize=7.5, length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_ylim(len(TOTALS) - 0.6, -0.85)
    axes.set_xlim(0, 1.08 * most)
    axes.set_xlabel("times the value", fontsize=8)


def _whiskers(axes: Axes, place: np.ndarray, ends: pd.DataFrame, factor: float, across: bool) -> None:
    """Low to high of bars at these places; `across` where bars lie."""
    value, low, high = (ends[column].to_numpy() * factor for column in ("value", "low", "high"))
    error = np.stack([np.maximum(value - low, 0), np.maximum(high - value, 0)])
    where = {"x": value, "y": place, "xerr": error} if across else {"x": place, "y": value, "yerr": error}
    drawn = axes.errorbar(**where, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.2, capthick=0.9)
    for part in (*drawn.lines[1], *drawn.lines[2]):  # seen on dark bars too
        part.set_path_effects([withStroke(linewidth=2.4, foreground=PAPER)])


def _split(axes: Axes, per_request: pd.DataFrame) -> None:
    """One bar of what is drawn on chip, dynamic and leakage; the links' energy in words."""
    on_chip = per_request.drop(index=LINKS, errors="ignore")
    dynamic, static = on_chip["dynamic_energy_J"].sum(), on_chip["static_energy_J"].sum()
    links = float(per_request.to_numpy().sum()) - dynamic - static
    axes.barh([0, 0], [dynamic, static], left=[0, dynamic], height=1, color=[ACCENT, SOFT])
    axes.set_xlim(0, max(dynamic + static, 1e-30))
    axes.set_ylim(-0.5, 0.5)
    axes.axis("off")
    write(axes, 0, 1.5, f"on chip {human(dynamic + static, 'J')}", size=8, weight="bold")
    for y, name, value, colour in ((-1.3, "dynamic", dynamic, ACCENT), (-2.5, "leakage", static, SOFT)):
        write(axes, 0, y, f"{name} {human(value, 'J')}", size=8, weight="bold", colour=colour)
    write(axes, 0, -3.7, f"off-chip links, not in the bar: {human(links, 'J')}", size=8, colour=SOFT)


def energy_bars(axes: Axes, results: Results, most: int = MOST_BARS, small: bool = False) -> None:
    """Bars of dynamic energy per request on chip by component; `small` without bands, in smaller type."""
    requests = max(1, int(results.meta["summary"]["requests"]))
    ends = pd.DataFrame() if small else banded(results, "component", ENERGY)
    on_chip = results.components["dynamic_energy_J"].drop(LINKS, errors="ignore")
    _bars(axes, on_chip / requests, ends, "J", most, 7.5 if small else 8.5)


def _area_bars(axes: Axes, results: Results) -> None:
    _bars(axes, results.components["area_m2"], banded(results, "component", "area_m2"), "m²", MOST_BARS, 8.5)


def _bars(axes: Axes, values: pd.Series, ends: pd.DataFrame, unit: str, most: int, size: float) -> None:
    """Horizontal bars, largest on top, value and share beside each, with whiskers where there are `ends` by name; the
    smallest joined as one."""
    values = values[values > 0].sort_values(ascending=False)
    table = pd.DataFrame({"value": values, **{end: values if ends.empty else ends.reindex(values.index)[end] for end in ("low", "high")}})
    if len(values) > most:
        rest = table.iloc[most - 1 :].sum().rename(f"{len(values) - most + 1} others")
        table = pd.concat([table.iloc[: most - 1], rest.to_frame().T])
    shown = table["value"]
    factor, prefix = (1e6, "m") if unit == "m²" else scale_of(float(values.max()) if len(values) else 0.0)
    bars = axes.barh([NAMES.get(str(name), str(name)) for name in shown.index], shown * factor, height=0.72)
    for bar, name in zip(bars, shown.index, strict=True):
        bar.set(**look(group_of(str(name))))
    axes.invert_yaxis()
    if not ends.empty:
        _whiskers(axes, np.arange(len(table)), table, factor, across=True)
    total, reach = float(values.sum()), table[["value", "high"]].max(axis=1)
    for row, value in enumerate(shown):
        text = f"{human(value, unit)}  {percent(value / total)}"
        axes.annotate(
            text,
            (reach.iloc[row] * factor, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=INK,
        )
    axes.set_xlim(0, max(float(reach.max()) * factor, 1e-30) * 1.55)
    axes.set_xlabel(f"mm{'²'}" if unit == "m²" else f"{prefix}{unit}", fontsize=8.5)
    axes.tick_params(axis="y", labelsize=size, length=0, labelcolor=INK)


def _layer_bars(axes: Axes, energy: pd.DataFrame, requests: int, ends: pd.DataFrame) -> None:
    """Stacked bars of each layer's energy by group of components, with whiskers where there are `ends` by layer."""
    rows = energy.drop(index=STATIC) / requests
    rows = rows[rows.sum(axis=1) > 0]
    factor, prefix = scale_of(float(rows.sum(axis=1).max()) if len(rows) else 0.0)
    bottom = np.zeros(len(rows))
    for group, (_, members) in GROUPS.items():
        height = rows[[name for name in members if name in rows]].sum(axis=1).to_numpy() * factor
        axes.bar(np.arange(len(rows)), height, bottom=bottom, width=0.7, **look(group))
        bottom += height
    top = float(bottom.max(initial=0.0))
    if not ends.empty:
        mine = ends.set_axis(ends.index.astype(str)).reindex(rows.index.astype(str)).dropna()
        _whiskers(axes, np.flatnonzero(rows.index.astype(str).isin(mine.index)), mine, factor, across=False)
        top = max(top, float(mine["high"].max()) * factor) if len(mine) else top
    names = list(shortened(map(str, rows.index)).values())
    crowded = len(rows) > 8 or sum(map(len, names)) > 48
    axes.set_xticks(
        np.arange(len(rows)), names,
        rotation=40 if crowded else 0, ha="right" if crowded else "center", fontsize=size_of_labels(axes, len(rows), 8, across=True),
    )  # fmt: skip
    axes.set_ylabel(f"{prefix}J", fontsize=8.5)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, max(top, 1e-30) * 1.1)

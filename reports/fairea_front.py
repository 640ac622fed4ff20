"""Fitness against assortativity of all methods, with the fronts."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from xbar.reports.fairea_sheet import HOLDERS, FaireaSheet
from xbar.reports.fairea_words import method_row, methods_text, share_of_range, wrap
from xbar.reports.style import ACCENT, GREEN, INK, PAPER, SECOND, SOFT, WARNING, page, plot, write

METHODS = {  # marker and colour on the front
    "actual holders": ("*", INK),
    "FairEA": ("D", SECOND),
    "FairEA, isolation 2": ("d", SECOND),
    "FairEA, neighbours of other classes": ("P", SECOND),
    "improved": ("o", ACCENT),
    "fittest within limits": ("X", INK),
    "weighted Hungarian": ("s", GREEN),
    "0/1 programme": ("^", "#7a5195"),
    "largest fitness": (">", WARNING),
    "smallest fitness": ("<", WARNING),
}


def front(sheet: FaireaSheet) -> Figure:
    """Fitness against |r|, of all methods, with the fronts."""
    m = sheet.meta
    figure = page("Fitness and diversity", "right and down is better: more fitness, classes more mixed")
    share = share_of_range(sheet)
    parts = {name: part.assign(fitness=share(part["fitness"])) for name, part in sheet.points.groupby("front")}
    rows = {name: method_row(sheet, name) for name in METHODS if name in set(sheet.methods["method"])}
    spots = {name: (float(share(row["fitness"])), float(row["abs_assortativity"])) for name, row in rows.items()}
    fronts = pd.concat([parts[name] for name in ("improved", "exact") if name in parts])
    at_front = list(zip(fronts["fitness"], fronts["abs_assortativity"], strict=True))
    draws = list(zip(parts["random"]["fitness"], parts["random"]["abs_assortativity"], strict=True))
    left = min(x for x, _ in at_front)
    near = at_front + [spot for spot in spots.values() if spot[0] > left - 0.15]
    for box, title, shown in (((0.07, 0.36, 0.31, 0.48), "All methods", at_front + draws + list(spots.values())),
                              ((0.45, 0.36, 0.31, 0.48), "Near the front", near)):  # fmt: skip
        axes = plot(figure, box, title, "both")
        axes.plot(parts["random"]["fitness"], parts["random"]["abs_assortativity"], ".", color=SOFT, alpha=0.6, label="random matchings")
        if "exact" in parts:
            _staircase(axes, parts["exact"], INK, "--", "exact front", 1.0)
        _staircase(axes, parts["improved"], ACCENT, "-", "improved front", 2.2)
        for name, (marker, colour) in METHODS.items():
            if name in spots and name != "improved":
                size = 15 if marker == "*" else 8
                axes.plot(*spots[name], marker, color=colour, markersize=size, markeredgecolor=PAPER, markeredgewidth=0.8,
                          linestyle="none", label=name, zorder=5)  # fmt: skip
        _window(axes, shown)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0, symbol="\u00a0%"))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("fitness, share of its range over matchings", fontsize=9)
        if title == "All methods":
            axes.set_ylabel("|assortativity|")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.02))
    write(figure, 0.05, 0.27, wrap(methods_text(sheet), 160), size=9.5, vertical="top")
    why = "" if m["exact"] else "The exact front was not enumerated: too many open positions or class patterns. "
    note = (
        f"{why}Optimality gap: the share of the exact front's hypervolume that is missed, down to the smallest "
        "fitness and up to the largest |r|, moved out by 10 % of their ranges."
    )
    if HOLDERS in spots:
        note += " The actual assignment's classes are the network's own; its fitness is of generated features."
    write(figure, 0.05, 0.10, wrap(note, 180), size=8, colour=SOFT, vertical="top")
    return figure


def _window(axes: Axes, shown: list[tuple[float, float]]) -> None:
    """Limits that hold these points with room around them."""
    for at, limit in enumerate((axes.set_xlim, axes.set_ylim)):
        values = [spot[at] for spot in shown if not np.isnan(spot[at])]
        low, high = min(values), max(values)
        room = max(0.07 * (high - low), 0.004)
        limit(low - room, high + room)


def _staircase(axes: Axes, part: pd.DataFrame, colour: str, style: str, label: str, width: float) -> None:
    part = part.sort_values("fitness")
    axes.step(part["fitness"], part["abs_assortativity"], style, where="pre", color=colour, linewidth=width, zorder=2)
    marker, filled = ("o", colour) if style == "-" else ("o", PAPER)
    axes.plot(
        part["fitness"],
        part["abs_assortativity"],
        marker,
        color=colour,
        markerfacecolor=filled,
        markersize=4 if style == "-" else 7,
        linestyle=style,
        linewidth=0,
        label=label,
        zorder=4 if style == "-" else 3,
    )

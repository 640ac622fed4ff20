"""The network of fair assignment before and after, drawn."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import method_row, subtitle
from xbar.reports.style import ACCENT, GREEN, GREY, INK, PAPER, SECOND, SOFT, WARNING, cut, page, plot

CLASSES = (
    (ACCENT, "o"),
    (SECOND, "s"),
    (GREEN, "^"),
    ("#7a5195", "D"),
    (WARNING, "v"),
    ("#6ab7d6", "P"),
    ("#f0c987", "X"),
    (GREY, "h"),
)


def _looks(sheet: FaireaSheet) -> dict[str, tuple[str, str]]:
    """Colour and marker of each class, the largest first; beyond eight they share the last."""
    names = list(sheet.meta["classes"])
    return {name: CLASSES[min(n, len(CLASSES) - 1)] for n, name in enumerate(names)}


def network(sheet: FaireaSheet) -> Figure:
    """The network before, after FairEA, and after the method that answers."""
    m = sheet.meta
    figure = page("The network before and after", subtitle(sheet))
    mixed = "" if m["r_filled"] is None else f", r = {m['r_filled']:+.3f} of the filled"
    panels = [("before", f"Before{mixed}")]
    for column, method in {"fairea": "FairEA", "improved": m["answer"]}.items():
        panels.append((column, f"{method[0].upper()}{method[1:]}, r = {method_row(sheet, method)['assortativity']:+.3f}"))
    for number, (column, title) in enumerate(panels):
        _draw_network(plot(figure, (0.05 + 0.305 * number, 0.13, 0.29, 0.70), title, "none"), sheet, column)
    looks = _looks(sheet)
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=8,
            label=f"{cut(name, 24)} ({m['classes'][name]})",
        )
        for name, (colour, marker) in looks.items()
    ]
    handles.append(
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            markerfacecolor=PAPER,
            markeredgecolor=INK,
            markeredgewidth=1.8,
            markersize=8,
            label=f"open ({m['open']}), outlined once filled",
        )
    )
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.055),
        ncols=min(5, len(handles)),
        fontsize=9,
        frameon=False,
    )
    return figure


def _draw_network(axes: Axes, sheet: FaireaSheet, column: str) -> None:
    nodes, at = sheet.nodes, sheet.nodes[["x", "y"]].to_numpy()
    size = float(np.clip(3500 / len(nodes), 5, 120))
    larger, outline = max(1.4 * size, 40.0), 1.8 if size > 40 else 1.2
    ends = sheet.edges[["source", "target"]].to_numpy()
    many = len(ends) > 1500
    width, shade = (0.3, 0.15) if many else (0.7, 0.45)
    axes.add_collection(
        LineCollection(list(at[ends]), colors=SOFT, linewidths=width, alpha=shade, rasterized=many, zorder=1)
    )
    for name, (colour, marker) in _looks(sheet).items():
        holds = nodes[column] == name
        filled, hired = (at[(holds & mine).to_numpy()].T for mine in (~nodes["open"], nodes["open"]))
        axes.scatter(
            *filled, s=size, c=colour, marker=marker, zorder=2, edgecolors=PAPER, linewidths=0.0 if many else 0.5
        )
        axes.scatter(*hired, s=larger, c=colour, marker=marker, zorder=3, edgecolors=INK, linewidths=outline)
    empty = (nodes[column] == "").to_numpy()
    axes.scatter(*at[empty].T, s=larger, c=PAPER, marker="o", edgecolors=INK, linewidths=outline, zorder=3)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.05)

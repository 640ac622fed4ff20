"""The page of yield: the share of good chips against programming error, stuck cells and wire resistance."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.metric import ShownMetric
from xbar.reports.programming_error import amount_axis
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, SOFT, page, percent, plot, write

PARAMETERS = {
    "programming": "Against programming error", "stuck": "Against stuck cells", "wires": "Against wire resistance",
}  # fmt: skip


def yields(results: Results) -> Figure:
    """Share of good chips against programming error, stuck cells and wire resistance, pictures over tables."""
    table = results.yields
    threshold, margin = float(table["threshold"].iloc[0]), results.meta["study"]["yield_margin"]
    shown = ShownMetric.of(results.meta)
    within = f"{shown.number(margin)} points" if shown.is_share else percent(margin)
    figure = page(
        "Yield", f"{results.heading}  ·  a chip is good at {shown.text(threshold, 2)} or better: within {within} "
        f"of the same chip with ideal cells and wires",
    )  # fmt: skip
    drawn = [name for name in PARAMETERS if name in set(table["parameter"])]
    for number, parameter in enumerate(drawn):
        mine = table[table["parameter"] == parameter]
        left = 0.075 + 0.915 / len(drawn) * number
        axes = plot(figure, (left, 0.50, 0.915 / len(drawn) - 0.05, 0.335), PARAMETERS[parameter])
        place = np.arange(len(mine))
        share, low, high = (100 * mine[name].to_numpy() for name in ("share", "low", "high"))
        axes.fill_between(place, low, high, color=ACCENT, alpha=0.15, linewidth=0)
        axes.errorbar(place, share, yerr=[share - low, high - share], fmt="none", ecolor=ACCENT, elinewidth=1, capsize=3)
        axes.plot(place, share, color=ACCENT, marker="o", markersize=5, linewidth=1.6)
        labels = [_amount(results, parameter, value) for value in mine["value"]]
        axes.set_xticks(place, labels)
        axes.set_xlim(-0.35, len(mine) - 0.65)
        axes.set_ylim(0, 103)
        axes.set_xlabel(_axis(results, parameter), fontsize=8.5)
        if not number:
            axes.set_ylabel("good chips, %", fontsize=9)
        _yield_table(figure, left - 0.02, labels, mine, shown)
    cells = table.loc[table["parameter"] == "wires", "cells"]
    note = (
        "Bands: 95 % confidence for the share of good chips (Wilson); there is none where nothing in a chip is drawn and all of its "
        "instances are the same. All else is as the chip describes it; stuck cells are half at the largest and half at the smallest "
        "conductance; wire resistance is of each segment of word and bit lines."
    )  # fmt: skip
    note += f" Cells while wires vary: {cells.iloc[0]}." if len(cells) else ""
    write(figure, 0.05, 0.115, "\n".join(textwrap.wrap(note, 165)), size=8.5, colour=SOFT, vertical="top")
    return figure


def _yield_table(figure: Figure, left: float, labels: list[str], rows: pd.DataFrame, shown: ShownMetric) -> None:
    columns = ((0.045, "value"), (0.095, "good"), (0.150, "share"), (0.215, "95 % band"), (0.272, "mean"))
    y = 0.405
    for x, name in columns:
        write(figure, left + x, y, name, size=8, weight="bold", colour=SOFT, align="right")
    figure.add_artist(Line2D([left, left + 0.275], [y - 0.010] * 2, color=SOFT, linewidth=1))
    for label, (_, row) in zip(labels, rows.iterrows(), strict=True):
        y -= 0.027
        cells = (
            label, _counted(row), percent(row["share"], 0),
            "–" if row["alike"] else f"{100 * row['low']:.0f} to {100 * row['high']:.0f}\u00a0%", shown.text(row["mean"]),
        )  # fmt: skip
        for (x, _), cell in zip(columns, cells, strict=True):
            write(figure, left + x, y, cell, size=8, align="right")


def _counted(row: pd.Series) -> str:
    if row["alike"]:
        return "all" if row["above"] else "none"
    return f"{int(row['above'])} of {int(row['instances'])}"


def _amount(results: Results, parameter: str, value: float) -> str:
    scaled = parameter == "wires" or (parameter == "programming" and results.meta["chip"]["programming_scaled"])
    return f"{value:g}" if scaled else f"{100 * value:g}\u00a0%"


def _axis(results: Results, parameter: str) -> str:
    if parameter == "programming":
        return amount_axis(results.meta["chip"])
    return "share of stuck cells" if parameter == "stuck" else "ohm a segment"

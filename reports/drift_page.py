"""The page of drift: the score over time after programming, under each correction."""

import textwrap
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, INK, SOFT, WARNING, cut, page, plot, write
from xbar.reports.times import time_text

Style = Literal["solid", "dashed"]
CORRECTIONS: dict[str, tuple[str, Style, str]] = {
    "none": (WARNING, "solid", "as it drifts"),
    "compensated": (ACCENT, "solid", "compensated: one factor a layer from a reference read"),
    "recalibrated": ("#d9a21b", "dashed", "compensated, and ADC ranges set anew"),
}  # fmt: skip


def drift(results: Results) -> Figure:
    """The score over time after programming, under each correction, picture over table."""
    table, a, shown = results.drift, results.meta["score"], ShownMetric.of(results.meta)
    figure = page(f"{shown.title} after programming", f"{results.heading}  ·  {a['samples']:,} test {a['of']}")
    axes = plot(figure, (0.08, 0.43, 0.87, 0.41), f"{shown.title} over time")
    axes.axhline(shown.factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    times = np.sort(table["time_s"].unique())
    columns = [0.36 + 0.59 * (number + 1) / len(times) for number in range(len(times))]
    y = 0.315
    for x, time in zip(columns, times, strict=True):
        write(figure, x, y, cut(time_text(time), 12), size=8.5, weight="bold", colour=SOFT, align="right")
    figure.add_artist(Line2D([0.05, 0.95], [y - 0.010] * 2, color=SOFT, linewidth=1))
    handles = []
    seen = [shown.factor * a["float"]]
    for name, (colour, style, label) in CORRECTIONS.items():
        mine = table[table["correction"] == name]
        if mine.empty:
            continue
        grouped = shown.factor * mine.groupby("time_s")["score"].agg(["min", "mean", "max"])
        axes.fill_between(grouped.index, grouped["min"], grouped["max"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(grouped.index, grouped["mean"], color=colour, linestyle=style, marker="o", markersize=4.5, linewidth=1.7)
        handles.append(Line2D([], [], color=colour, linestyle=style, marker="o", markersize=4.5, label=label))
        seen += [float(grouped["min"].min()), float(grouped["max"].max())]
        y -= 0.034
        write(figure, 0.05, y, label, size=8.5)
        for x, time in zip(columns, times, strict=True):
            write(figure, x, y, shown.text(grouped.loc[time, "mean"] / shown.factor), size=8.5, align="right")
    handles.append(Line2D([], [], color=SOFT, linestyle=(0, (5, 3)), label=f"float {shown.text(a['float'])}"))
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(times, [cut(time_text(time), 12) for time in times])
    axes.set_xlim(times[0] * 0.8, times[-1] * 1.25)
    axes.set_ylim(*((max(0.0, min(seen) - 5), 101.5) if shown.is_share else shown.limits(seen)))
    axes.set_xlabel("time after programming", fontsize=9)
    axes.set_ylabel(shown.axis, fontsize=9)
    axes.legend(handles=handles, loc="lower left", fontsize=8.5, framealpha=0.9, edgecolor="none", labelcolor=INK)
    kinds = set(table["correction"])
    instances = int(table["instance"].max()) + 1
    note = (
        f"Mean of {instances} chip instance{'s' if instances > 1 else ''}; bands from the smallest to the largest. Each time is read "
        "from cells programmed anew, time 0 right after programming. Compensation multiplies each layer's results by the "
        "ratio of a reference read just after programming to the same read now, drift's mean then, not its spread. "
    )  # fmt: skip
    note += (
        "Setting ADC ranges anew gives the smaller currents the whole of the ADC's codes again."
        if "recalibrated" in kinds
        else "ADC ranges of this chip are not calibrated, so none are set anew."
    )
    write(figure, 0.05, 0.145, "\n".join(textwrap.wrap(note, 165)), size=8.5, colour=SOFT, vertical="top")
    return figure

"""Pages of what costs accuracy, of yield, of drift and of the layers: one function a page, from Results to a figure."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from xbar.reports.labels import shortened
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, FAINT, INK, SECOND, SOFT, WARNING, cut, page, percent, plot, significant, write

GIVEN = {"chip": (ACCENT, "the chip's own"), "assumed": (SECOND, "assumed: the chip is ideal here")}
Style = Literal["solid", "dashed"]
CORRECTIONS: dict[str, tuple[str, Style, str]] = {
    "none": (WARNING, "solid", "as it drifts"),
    "compensated": (ACCENT, "solid", "compensated: one factor a layer from a reference read"),
    "recalibrated": ("#d9a21b", "dashed", "compensated, and ADC ranges set anew"),
}  # fmt: skip
PARAMETERS = {
    "programming": "Against programming error", "stuck": "Against stuck cells", "wires": "Against wire resistance",
}  # fmt: skip
TIMES = (
    (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "day"), (365.25 * 7200.0, "month"), (365.25 * 86400.0, "year"),
)  # fmt: skip
MOST_VALUES = 24  # rows with a number beside each bar
LEAST_SPAN = 2.0  # points of accuracy that an axis of losses shows at least


def least_span(results: Results) -> float:
    """What an axis of losses shows at least: some points, or as large a share of another metric."""
    shown = ShownMetric.of(results.meta)
    return LEAST_SPAN if shown.is_share else LEAST_SPAN / 100 * abs(results.meta["score"]["float"])


def heading(results: Results) -> str:
    """Network and chip."""
    return f"{results.meta['workload']['title']} on {results.meta['chip']['title']}"


def _bars_of_rows(axes: Axes, values: np.ndarray, colours: Sequence[str] | str, least: float = 0.0) -> None:
    """Horizontal bars downwards, one a row; the axis spans at least `least`."""
    axes.barh(np.arange(len(values)), np.nan_to_num(values, posinf=0.0, neginf=0.0), color=colours, height=0.62)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks([])
    finite = values[np.isfinite(values)]
    high, low = max(least, float(finite.max(initial=0.0))), float(finite.min(initial=0.0))
    axes.set_xlim(1.08 * low, (1.22 if len(values) <= MOST_VALUES else 1.05) * max(high, 1e-12))


def _make_room(axes: Axes, values: np.ndarray, half: np.ndarray, least: float, margin: float = 1.05) -> None:
    """Widen an axis of losses for whiskers, of few instances not to their ends."""
    most = 1.5 * max(least, float(np.abs(values).max()))
    reach = np.minimum(np.nan_to_num(half), most)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 1.05 * float((values - reach).min())), max(high, margin * float((values + reach).max())))


def _names(axes: Axes, names: Sequence[str]) -> None:
    """Names of rows as tick labels, in type that fits."""
    box, height = axes.get_position(), float(axes.get_figure().get_size_inches()[1])  # type: ignore[union-attr]
    size = min(8.5, 72 * 0.8 * box.height * height / max(1, len(names)))
    short = shortened(names)
    axes.set_yticks(range(len(names)), [short[name] for name in names], fontsize=size)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


# ---- one non-ideality at a time


def sensitivity(results: Results) -> Figure:
    """What each non-ideality alone and all together cost of the score."""
    table, a, shown = results.sensitivity, results.meta["score"], ShownMetric.of(results.meta)
    judged = f"{a['samples']:,} test {a['of']}, {shown.word} in float on them {shown.text(a['float'], 2)}"
    figure = page(f"What costs {shown.word}", f"{heading(results)}  ·  {judged}")
    height = min(0.62, 0.042 * len(table))
    axes = plot(figure, (0.40, 0.815 - height, 0.32, height), f"Loss of {shown.word}, each alone", "x")
    loss = shown.factor * table["loss"].to_numpy(dtype=float)
    least = least_span(results)
    colours = [GIVEN.get(str(given), (SOFT, ""))[0] for given in table["given"]]
    _bars_of_rows(axes, loss, colours, least)
    half = shown.factor * (table["high"] - table["low"]).to_numpy(dtype=float) / 2
    known = np.isfinite(half) & (half > 0)
    axes.errorbar(loss[known], np.flatnonzero(known), xerr=half[known], fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    _make_room(axes, loss, half, least)
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_xlabel(f"{shown.step}; whiskers: 95 % band of the mean over chip instances", fontsize=8.5)
    across = axes.get_yaxis_transform()
    columns = (
        ("", -1.09, "left"), ("value", -0.60, "left"), ("chips", 1.16, "right"), (shown.word if shown.is_share else "score", 1.40, "right"),
        (f"loss, {shown.step_short}", 1.71, "right"),
    )  # fmt: skip
    for name, x, align in columns[1:]:
        write(axes, x, -0.95, name, size=8.5, weight="bold", colour=SOFT, align=align, transform=across)
    for row, (_, effect) in enumerate(table.iterrows()):
        ideal = effect["given"] == "ideal"
        colour = SOFT if ideal else INK
        spread = f" ± {shown.number(half[row] / shown.factor)}" if np.isfinite(half[row]) else ""
        cells = (
            str(effect["effect"]), str(effect["value"]), f"{int(effect['instances'])}", shown.text(effect["score"], 2),
            "ideal here" if ideal else f"{shown.number(effect['loss'])}{spread}",
        )  # fmt: skip
        for (_, x, align), text in zip(columns, cells, strict=True):
            weight = "bold" if x < -1 and effect["against"] == "float" else "normal"
            write(axes, x, row, text, 8.5, weight, colour, align, "center", transform=across)
        if row and table["against"].iloc[row] != table["against"].iloc[row - 1]:
            axes.plot([-1.09, 1.71], [row - 0.5] * 2, color=FAINT, linewidth=1, transform=across, clip_on=False)
    handles = [Patch(color=colour, label=label) for name, (colour, label) in GIVEN.items() if name in set(table["given"])]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.72, 1.065), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK
    )
    digital = table.loc[table["against"] == "digital", "reference"]
    against = f" ({shown.text(float(digital.iloc[0]), 2)})" if len(digital) else ""
    note = (
        "Rows in bold count against the network in float. All others count against the same chip with every analog part "
        f"ideal{against}, weights and inputs in its levels: cells without error, noise or drift, ideal wires and drivers, "
        "ADCs that neither round nor clip; one part at a time is then as described. Losses alone need not add up to the loss "
        "together, not least because an ADC that rounds to whole levels rounds small errors away. "
        "Values marked as assumed are not in the chip file; they are taken to show what the chip would lose to them."
    )
    write(figure, 0.05, 0.125, "\n".join(textwrap.wrap(note, 165)), size=8.5, colour=SOFT, vertical="top")
    return figure


def costliest(results: Results) -> str:
    """What of the chip's own costs most by itself, as a sentence; nothing where nothing costs half a point."""
    shown = ShownMetric.of(results.meta)
    if results.sensitivity.empty:
        return ""
    alone = results.sensitivity[results.sensitivity["given"] == "chip"]
    alone = alone[~alone["effect"].str.startswith(("all", "weights and inputs"))].sort_values("loss")
    if alone.empty or not shown.matters(alone["loss"].iloc[-1], results.meta["score"]["float"]):
        return ""
    worst = alone.iloc[-1]
    return f" By itself, {worst['effect']} costs most: {shown.difference(worst['loss'])}."


# ---- layers


def layers(results: Results) -> Figure:
    """Layer by layer: what its cells cost alone, how exact its outputs are, what saturates and what is clipped."""
    cost, quality, shown = results.layer_sensitivity, results.layer_quality, ShownMetric.of(results.meta)
    span = least_span(results)
    figure = page("Layer by layer", heading(results))
    names = [str(name) for name in (quality if len(quality) else cost)["layer"]]
    panels: list[tuple[str, str, np.ndarray, str, float, str]] = []
    if len(cost):
        loss = shown.factor * cost["loss"].to_numpy(dtype=float)
        panels.append(("Errors in this layer only", f"loss, {shown.step}", loss, SECOND, span, "{:.2f}" if shown.is_share else "{:.2g}"))
    if len(quality):
        panels += [
            ("Signal to noise of output", "dB", quality["snr_dB"].to_numpy(dtype=float), ACCENT, 10.0, "{:.1f}"),
            ("Saturated conversions", "%", 100 * quality["saturated_share"].to_numpy(dtype=float), WARNING, 0.1, "{:.3g}"),
            ("Inputs beyond their range", "%", 100 * quality["clipped_input_share"].to_numpy(dtype=float), WARNING, 0.1, "{:.3g}"),
        ]  # fmt: skip
    height = min(0.63, 0.14 * len(names) + 0.05)
    width = 0.18 if len(panels) > 3 else 0.24
    for number, (title, unit, values, colour, least, form) in enumerate(panels):
        axes = plot(figure, (0.135 + number * (width + 0.027), 0.835 - height, width, height), title, "x")
        _bars_of_rows(axes, values, colour, least)
        axes.set_xlabel(unit, fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.title.set_fontsize(10)
        if not number:
            _names(axes, names)
        if len(cost) and not number:
            half = shown.factor * (cost["high"] - cost["low"]).to_numpy(dtype=float) / 2
            known = np.isfinite(half) & (half > 0)
            axes.errorbar(values[known], np.flatnonzero(known), xerr=half[known], fmt="none", ecolor=INK, elinewidth=0.9)
            _make_room(axes, values, half, span, 1.3)
            axes.axvline(0, color=SOFT, linewidth=1)
        if len(names) <= MOST_VALUES:
            ends = np.nan_to_num(values, posinf=0.0, neginf=0.0)
            if len(cost) and not number:
                ends = np.minimum(np.maximum(ends, 0) + np.nan_to_num(half), 0.8 * axes.get_xlim()[1])
            for row, value in enumerate(values):
                axes.annotate(
                    _figure_of(value, form), (max(0.0, ends[row]), row), xytext=(3, 0), textcoords="offset points", va="center",
                    fontsize=7.5, color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                )  # fmt: skip
    parts = []
    if len(cost):
        parts.append(
            f"Errors in one layer only: its cells as in this study ({cost['cells'].iloc[0]}), the cells of all other layers ideal, against "
            f"all ideal ({shown.text(float(cost['reference'].iloc[0]), 2)}); mean of {int(cost['instances'].max())} chip instances, "
            "whiskers are its 95 % band."
        )
    if len(quality):
        study = results.meta["study"]
        parts.append(
            "Signal to noise: power of the exact product of the integers that reach a layer over the power of what the chip's "
            "product differs from it by, so errors made in earlier layers do not count. Saturated conversions lie beyond the ADC's "
            "codes; inputs beyond the range seen in calibration are clipped. Where a layer saturates, its range is too small; where "
            "nothing does and the signal is poor, the ADC's step is too coarse or the cells are too noisy. Of "
            f"{study['quality_samples']} {results.meta['score']['of']} on up to {study['quality_instances']} chips."
        )
    write(figure, 0.05, 0.13, "\n".join(textwrap.wrap(" ".join(parts), 172)), size=8, colour=SOFT, vertical="top")
    return figure


def _figure_of(value: float, form: str) -> str:
    """The number beside a bar."""
    if math.isinf(value):
        return "exact" if value > 0 else "no signal"
    return "< 0.001" if 0 < value < 0.001 else form.format(value).replace("-", "\u2212")


# ---- yield


def yields(results: Results) -> Figure:
    """Share of good chips against programming error, stuck cells and wire resistance, pictures over tables."""
    table = results.yields
    threshold, margin = float(table["threshold"].iloc[0]), results.meta["study"]["yield_margin"]
    shown = ShownMetric.of(results.meta)
    within = f"{shown.number(margin)} points" if shown.is_share else percent(margin)
    figure = page(
        "Yield", f"{heading(results)}  ·  a chip is good at {shown.text(threshold, 2)} or better: within {within} "
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


def amount_axis(chip: dict[str, Any]) -> str:
    """What the amount of programming error is, for an axis."""
    return "times the device's own write error" if chip["programming_scaled"] else "programming sigma"


# ---- drift


def drift(results: Results) -> Figure:
    """The score over time after programming, under each correction, picture over table."""
    table, a, shown = results.drift, results.meta["score"], ShownMetric.of(results.meta)
    figure = page(f"{shown.title} after programming", f"{heading(results)}  ·  {a['samples']:,} test {a['of']}")
    axes = plot(figure, (0.08, 0.43, 0.87, 0.41), f"{shown.title} over time")
    axes.axhline(shown.factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    times = np.sort(table["time_s"].unique())
    columns = [0.36 + 0.59 * (number + 1) / len(times) for number in range(len(times))]
    y = 0.315
    for x, time in zip(columns, times, strict=True):
        write(figure, x, y, _time(time), size=8.5, weight="bold", colour=SOFT, align="right")
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
    axes.set_xticks(times, [_time(time) for time in times])
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


def _time(seconds: float) -> str:
    """A time in the largest unit of which it holds one or more."""
    size, unit = next(((size, unit) for size, unit in reversed(TIMES) if seconds >= size * (1 - 1e-9)), TIMES[0])
    count = significant(seconds / size)
    count = count.rstrip("0").rstrip(".") if "." in count else count
    plural = "s" if unit in ("day", "month", "year") and count != "1" else ""
    return cut(f"{count} {unit}{plural}", 12)

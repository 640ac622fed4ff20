"""Pages of time: what each layer does when, and power over time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xbar.reports.labels import shortened, size_of_labels
from xbar.reports.results import Results
from xbar.reports.run_words import batch_of, busiest_of, leaked, pace_of
from xbar.reports.style import (
    ACCENT,
    INK,
    NAMES,
    PAGE,
    SECOND,
    SOFT,
    STAGES,
    WARNING,
    fitted,
    human,
    page,
    plot,
    scale_of,
    write,
)


def timeline(results: Results) -> Figure:
    """Stages of every layer, use of the ADCs, and power, over the first requests."""
    runs = results.timeline
    first = int(results.meta["study"]["timeline_requests"])
    end = float(runs["end_s"].max())
    requests = len(results.requests)
    until = f"the first {first} of {requests} requests are" if requests > 1 else "the request is"
    figure = page("Timeline", f"{results.heading}  ·  until {until} answered")
    factor, prefix = scale_of(end)
    window = 1.003 * end * factor  # room for what ends last
    begun = runs["start_s"].groupby(runs["layer"].astype(str)).min().sort_values(kind="stable").index
    order = sorted(begun, key=lambda name: (name == "(output)") - (name == "(input)"))
    axes = plot(figure, (0.13, 0.40, 0.82, 0.455), "What each layer does", "x")
    _lanes(axes, runs, order, factor, window)
    axes.set_xlim(0, window)
    axes.set_xticklabels([])
    handles = [Patch(color=colour, label=stage) for stage, colour in STAGES.items() if stage != "write" or _writes(runs)]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1.005),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
    )
    use = plot(figure, (0.13, 0.245, 0.82, 0.10), "ADCs at work, of those in use by the network")
    used = results.adc_use["time_s"] <= end
    share = results.adc_use["share"] / float(results.meta["adc_share_in_use"])
    use.fill_between(results.adc_use["time_s"][used] * factor, 100 * share[used], color=ACCENT, alpha=0.75, linewidth=0)
    use.set_xlim(0, window)
    use.set_ylim(0, min(100.0, max(1.0, 130 * float(share[used].max()))))
    use.set_ylabel("%", fontsize=8.5)
    use.set_xticklabels([])
    leakage = results.meta["summary"]["leakage_power_W"]
    axes = plot(figure, (0.13, 0.085, 0.82, 0.10), "Dynamic power, on chip")
    shown = results.power[results.power["time_s"] <= end]
    power_axes(axes, shown.assign(on_chip_power_W=(shown["on_chip_power_W"] - leakage).clip(lower=0)), None, factor)
    axes.set_xlim(0, window)
    axes.set_xlabel(f"time, {prefix}s", fontsize=8.5)
    return figure


MOST_SPACED = 8  # copies of a layer that are drawn apart
# Least width of a stage as a share of the window: at its true width a short one would vanish.
LEAST_WIDTH = {"compute": 0.0, "load": 0.001, "drain": 0.001, "transfer": 0.0025, "write": 0.001}


def _writes(runs: pd.DataFrame) -> bool:
    """Whether cells were written meanwhile."""
    return bool((runs["stage"] == "write").any())


def _lanes(axes: Axes, runs: pd.DataFrame, layers: list[str], factor: float, window: float) -> None:
    """One lane a layer, its copies one above the other; loads in the upper, drains in the lower third of a copy."""
    span = {"compute": (0.0, 0.92), "transfer": (0.1, 0.8), "load": (0.0, 0.31), "drain": (0.61, 0.92), "write": (0.0, 0.92)}
    for lane, layer in enumerate(layers):
        mine = runs[runs["layer"] == layer]
        copies = int(mine["copy"].max()) + 1
        full = 0.84 / 0.92 if copies > MOST_SPACED else 0.84  # many copies touch: gaps would be finer than pixels
        for stage, (first, last) in span.items():
            part = mine[mine["stage"] == stage]
            top = lane - 0.42 + 0.84 * part["copy"].to_numpy() / copies
            low, high = top + full * first / copies, top + full * last / copies
            start, end = part["start_s"].to_numpy() * factor, part["end_s"].to_numpy() * factor
            end = np.maximum(end, start + LEAST_WIDTH[stage] * window)
            corners = np.stack([np.stack(c, 1) for c in ((start, low), (end, low), (end, high), (start, high))], 1)
            boxes = PolyCollection(
                list(corners),
                facecolors=STAGES[stage],
                edgecolors="none" if stage != "compute" else "white" if copies <= MOST_SPACED else STAGES[stage],
                linewidths=0.3,
                rasterized=True,
                snap=False,
            )
            axes.add_collection(boxes)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    short = shortened(layers)
    names = [
        name if name.startswith("(") else f"{short[name]}  x{int(runs.loc[runs['layer'] == name, 'copy'].max()) + 1}"
        for name in layers
    ]
    axes.set_yticks(range(len(layers)), names, fontsize=size_of_labels(axes, len(layers), 8.5 if len(layers) <= 12 else 6.5))
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def power_over_time(results: Results) -> Figure:
    """Power of the whole simulation on chip, with its average, its peak and the leakage below it; links in words."""
    s = results.meta["summary"]
    steady = results.meta.get("steady")
    if steady:
        of = f"{steady['results']} result{'s' if steady['results'] > 1 else ''} in the middle of a {batch_of(int(s['requests']))}"
        figure = page("Power over time", f"{results.heading}  ·  on chip, off-chip links apart; {of}, and the whole batch")
        steady_axes(plot(figure, (0.08, 0.545, 0.87, 0.295), "Power at steady state, from result to result"), results)
        _smooth(plot(figure, (0.08, 0.315, 0.87, 0.120), "The whole batch, each point the mean over the time between two results"), results)
    else:
        told = f"{batch_of(int(s['requests']))}, too few for a steady state; mean of {len(results.power)} spans of time"
        figure = page("Power over time", f"{results.heading}  ·  {told}")
        power_axes(plot(figure, (0.08, 0.36, 0.87, 0.48), "Power on chip, off-chip links apart"), results.power, s, labelled=True)
    rate, of_rate = pace_of(results)
    rows = [
        ("Peak of the whole batch", human(s["on_chip_peak_power_W"], "W")), ("Average", human(s["on_chip_power_W"], "W")),
        ("Leakage, always drawn", leaked(s["leakage_power_W"], "W")),
        ("Off-chip links", human(s["average_power_W"] - s["on_chip_power_W"], "W")),
        ("Peak load by the tables, links too", human(results.meta["chip"]["peak_power_W"], "W")),
        ("Energy of the batch, links too", human(s["energy_J"], "J")), ("Time of the batch", human(s["span_s"], "s")),
        (f"Requests per second, {of_rate}", human(rate, "")),
    ]  # fmt: skip
    for index, (label, value) in enumerate(rows):
        x, y = 0.08 + 0.225 * (index % 4), 0.20 - 0.075 * (index // 4)
        write(figure, x, y + 0.03, label, size=9, colour=SOFT)
        write(figure, x, y, value, size=14, weight="bold")
    busiest = "; ".join(f"{what}: {told}" for what, told in busiest_of(results))
    for y, text, size in ((0.075, f"{busiest[:1].upper()}{busiest[1:]}", 9.0), (0.052, _not_leaking(results), 8.0)):
        (line,), size = fitted(text, 0.87 * PAGE[0], size, 6)
        write(figure, 0.08, y, line, size=size, colour=SOFT)
    return figure


def _not_leaking(results: Results) -> str:
    """Which parts' leakage is not in the leakage, or nothing."""
    table = results.components
    names = [NAMES[str(name)] for name in table.index[(table["static_energy_J"] == 0) & (table["units"] > 0)] if str(name) != "write"]
    return f"Leakage not modelled, and not in it: {', '.join(names)}" if names else ""


def steady_axes(axes: Axes, results: Results, small: bool = False) -> None:
    """Power on chip over a few results, with its mean and its peak at any instant there, and the leakage below."""
    table, steady = results.steady_power, results.meta["steady"]
    leakage = results.meta["summary"]["leakage_power_W"]
    (factor, prefix), (watt, unit) = scale_of(steady["length_s"]), scale_of(steady["peak_W"])
    time, level = table["time_s"].to_numpy() * factor, table["on_chip_power_W"].to_numpy() * watt
    axes.fill_between(time, leakage * watt, color=SOFT, alpha=0.25, linewidth=0, step="mid")
    axes.fill_between(time, leakage * watt, level, color=ACCENT, alpha=0.30, linewidth=0, step="mid")
    axes.plot(time, level, color=ACCENT, linewidth=0.7 if small else 0.9, drawstyle="steps-mid")
    top = "peak" if small else "peak in this interval"
    lines = [("mean", steady["mean_W"], SECOND), (top, steady["peak_W"], WARNING), ("leakage", leakage, SOFT)]
    drawn = [(name, value, colour) for name, value, colour in lines if value > 0]
    for _, value, colour in drawn:
        axes.axhline(value * watt, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.set_xlim(0, steady["length_s"] * factor)
    axes.set_ylim(0, steady["peak_W"] * watt * (1.5 if small else 1.1))
    axes.set_xlabel(f"time, {prefix}s", fontsize=8.5)
    axes.set_ylabel(f"{unit}W", fontsize=8.5)
    handles = [Line2D([], [], color=c, linestyle=(0, (5, 3)), label=f"{name} {human(v, 'W')}") for name, v, c in drawn]
    where = {"loc": "upper right"} if small else {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(handles)}
    axes.legend(handles=handles, frameon=small, framealpha=0.9, edgecolor="none", fontsize=7 if small else 8.5, labelcolor=INK, **where)


def _smooth(axes: Axes, results: Results) -> None:
    """Power on chip over the whole batch, the mean over one period between results around each point."""
    power, steady = results.power, results.meta["steady"]
    (factor, prefix), (watt, unit) = scale_of(float(power["time_s"].max())), scale_of(steady["mean_W"])
    spans = max(1, round(steady["length_s"] / steady["results"] / (float(power["time_s"].iloc[-1]) / (len(power) - 0.5))))
    level = power["on_chip_power_W"].rolling(spans, center=True, min_periods=1).mean() * watt
    axes.plot(power["time_s"] * factor, level, color=ACCENT, linewidth=1.2)
    axes.axvspan(steady["begins_s"] * factor, (steady["begins_s"] + steady["length_s"]) * factor, color=SECOND, alpha=0.25, linewidth=0)
    axes.set_xlim(0, float(power["time_s"].iloc[-1]) * factor * 1.001)
    axes.set_ylim(0, float(level.max()) * 1.15)
    axes.set_xlabel(f"time, {prefix}s; shaded: the interval above", fontsize=8.5)
    axes.set_ylabel(f"{unit}W", fontsize=8.5)


def power_axes(
    axes: Axes, power: pd.DataFrame, headline: dict[str, float] | None, factor: float = 0.0, labelled: bool = False
) -> None:
    """Power on chip against time; with `headline` its average and the leakage, and named where `labelled`."""
    prefix = ""
    if not factor:
        factor, prefix = scale_of(float(power["time_s"].max()))
        axes.set_xlabel(f"time, {prefix}s", fontsize=8.5)
    watt, unit = scale_of(float(power["on_chip_power_W"].max()))
    time, level = power["time_s"].to_numpy() * factor, power["on_chip_power_W"].to_numpy() * watt
    floor = headline["leakage_power_W"] * watt if headline else 0.0
    axes.fill_between(time, floor, color=SOFT, alpha=0.25, linewidth=0)
    axes.fill_between(time, floor, level, color=ACCENT, alpha=0.30, linewidth=0)
    axes.plot(time, level, color=ACCENT, linewidth=1.1)
    axes.set_ylabel(f"{unit}W", fontsize=8.5)
    axes.set_ylim(0, level.max() * (1.15 if labelled or headline is None else 1.4))  # room for a legend inside
    if len(time):
        axes.set_xlim(0, time[-1] * 1.001)
    if headline is None:
        return
    lines = [("average", headline["on_chip_power_W"], SECOND), ("leakage", headline["leakage_power_W"], SOFT)]
    if labelled:
        lines.append(("peak at any instant", headline["on_chip_peak_power_W"], WARNING))
        axes.set_ylim(0, max(level.max(), headline["on_chip_peak_power_W"] * watt) * 1.15)
    drawn = [(name, value, colour) for name, value, colour in lines if value > 0]
    for _, value, colour in drawn:
        axes.axhline(value * watt, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
    handles = [Line2D([], [], color=c, linestyle=(0, (5, 3)), label=f"{name} {human(v, 'W')}") for name, v, c in drawn]
    axes.legend(
        handles=handles, loc="lower right" if labelled else "upper right", bbox_to_anchor=(1.0, 1.0) if labelled else None,
        ncols=len(handles) if labelled else 1,
        frameon=not labelled, framealpha=0.9, edgecolor="none", fontsize=8.5 if labelled else 7, labelcolor=INK,
    )  # fmt: skip

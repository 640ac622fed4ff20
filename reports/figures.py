"""The pages of a report: one function a page, from Results to a matplotlib figure."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.patheffects import withStroke

from xbar.reports.baseline import summary_line
from xbar.reports.converters import adc_curves
from xbar.reports.efficiency import density, row_of, tera
from xbar.reports.labels import shortened
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.studies import amount_axis, costliest
from xbar.reports.style import (
    ACCENT,
    FAINT,
    GROUPS,
    INK,
    NAMES,
    PAGE,
    PAPER,
    ROW_HEIGHT,
    SECOND,
    SOFT,
    STAGES,
    WARNING,
    Column,
    draw_table,
    fitted,
    group_of,
    human,
    look,
    page,
    percent,
    plot,
    scale_of,
    significant,
    span,
    write,
)  # fmt: skip

matplotlib.use("Agg")  # files only, no window
STATIC = "(static)"
LINKS = ["link"]  # components off the chip
PERCENT = "\u00a0%"
MOST_BARS = 14


def _heading(results: Results) -> str:
    meta = results.meta
    return f"{meta['workload']['title']} on {meta['chip']['title']}"


def _subtitle(results: Results) -> str:
    chip, workload = results.meta["chip"], results.meta["workload"]
    parts = [
        f"{workload['data']}: {workload['weights']:,} weights, {human(workload['operations'], 'OP')} per request{_elsewhere(results)}",
        f"{chip['weight_bits']}-bit weights in {chip['cell_bits']}-bit cells ({chip['scheme']})",
        f"{chip['input_bits']}-bit inputs", f"{chip['adc_bits']}-bit ADC",
    ]  # fmt: skip
    return "  ·  ".join(parts)


OPERATIONS = {"crossbar": "on crossbars", "digital": "in digital units", "host": "on the host"}  # where they are done


def _shares(results: Results) -> dict[str, float]:
    """Shares of all multiply-accumulates by where they are done, in words; empty where there are none."""
    found = {words: results.meta["summary"].get(f"{where}_operations_share") for where, words in OPERATIONS.items()}
    return {words: share for words, share in found.items() if share is not None}


def _elsewhere(results: Results) -> str:
    """What of a request's multiply-accumulates is not on crossbars, or nothing."""
    shares = _shares(results)
    if shares.get(OPERATIONS["crossbar"], 1.0) == 1.0:
        return ""
    return " " + ", ".join(f"{words} ({percent(share)})" if words == OPERATIONS["crossbar"] else f"{percent(share)} {words}"
                           for words, share in shares.items() if share)  # fmt: skip


def _stated(row: pd.Series) -> str:
    """A number of the chip file as it was written."""
    return f"{row['key']} = {float(row['value']):g}{'' if str(row['unit']) == '1' else ' ' + str(row['unit'])}"


def _changed(results: Results) -> str:
    """What the run changed in the chip file, or nothing."""
    rows = results.provenance[results.provenance["kind"] == "override"]
    return "changed: " + ", ".join(_stated(row) for _, row in rows.iterrows()) if len(rows) else ""


def _batch(requests: int) -> str:
    return f"batch of {requests} requests" if requests > 1 else "one request"


# ---- first page


def summary(results: Results) -> Figure:
    """Headline numbers, and the three pictures that explain them in small."""
    figure = page(_heading(results), _subtitle(results))
    (changed,), size = fitted(_changed(results), 0.90 * PAGE[0], 10, 7)
    write(figure, 0.05, 0.890, changed, size=size, colour=SECOND)
    write(figure, 0.05, 0.848, "\n".join(textwrap.wrap(verdict(results), 130)), size=11.5, vertical="center")
    for index, (label, value, detail) in enumerate(headlines(results)):
        column, row = index % 4, index // 4
        _tile(figure, 0.05 + 0.2275 * column, 0.645 - 0.165 * row, label, value, detail)
    _energy_bars(
        plot(figure, (0.165, 0.115, 0.19, 0.27), "Dynamic energy, on chip", "x"), results, most=6, small=True
    )
    _accuracy_band(plot(figure, (0.44, 0.115, 0.21, 0.27), _against(results)), results, small=True)
    box = (0.735, 0.115, 0.215, 0.27)
    if results.meta.get("steady"):
        _steady(plot(figure, box, "Steady power, on chip"), results, small=True)
    else:
        _power(plot(figure, box, "Power over time, on chip"), results.power, results.meta["summary"])
    return figure


def verdict(results: Results) -> str:
    """What the run found, in one or two sentences."""
    a, s, shown = results.meta["score"], results.meta["summary"], ShownMetric.of(results.meta)
    single = results.meta["single_request"]
    change = shown.change(a["float"], a["chip"])
    leaked = s["leakage_energy_per_request_J"] / s["on_chip_energy_per_request_J"]
    drawn = f", {percent(leaked)} of it leakage" if leaked >= 0.005 else ""
    links = s["link_energy_per_request_J"]
    drawn += f", and {human(links, 'J')} in its off-chip links" if links else ""
    several = s["requests"] > 1
    alone, batch = (" alone", f"in a {_batch(int(s['requests']))} ") if several else ("", "")
    return (
        f"On this chip{_ideal(results.meta['chip'])} the network {change} "
        f"({shown.text(a['float'])} in float, {shown.text(a['chip'])} on chip{_of_instances(a, shown)}, "
        f"{a['samples']:,} test {a['of']}), answers{alone} in {human(single['latency_s'], 's')}, and {batch}"
        f"costs {human(s['on_chip_energy_per_request_J'], 'J')} per request on chip{drawn}.{_per_token(results)}{costliest(results)}"
    )


def _per_token(results: Results) -> str:
    """What a token takes, in a sentence, where requests are windows of tokens."""
    return f" A token: {token_text(results).partition(';')[0]}." if results.meta["workload"].get("tokens") else ""


def _ideal(chip: Mapping[str, Any]) -> str:
    """What of the chip has no error, as its file has it."""
    parts = [what for what, is_so in (("cells", chip.get("ideal_cells")), ("wires", chip["wires"] is None)) if is_so]
    return f", whose {' and '.join(parts)} are ideal as its file has them," if "cells" in parts else ""


def _against(results: Results) -> str:
    """The heading of the score's small picture; long names of metrics stand on its axis."""
    shown = ShownMetric.of(results.meta)
    return f"{shown.title} against variation" if shown.is_share and len(shown.title) < 12 else "Against variation"


def _of_instances(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """Of how many chips a score is the mean, with its interval and the worst of them; that chips are alike where they are."""
    if a["instances"] == 1:
        return ", all chips alike" if a.get("alike") else ", one chip"
    return f" as mean of {a['instances']} chips, 95{PERCENT} interval {_ends(a, shown)}, {shown.text(a['chip_worst'])} the worst"


def _ends(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """The interval of the mean."""
    return f"{shown.text(a['chip_low']).rpartition(chr(160))[0]} to {shown.text(a['chip_high'])}"  # the unit once


def judged(a: Mapping[str, Any], shown: ShownMetric) -> str:
    """Which chips a score is of, in a few words."""
    if a["instances"] == 1:
        return f"{'chips are alike' if a.get('alike') else 'one chip'}, {a['samples']:,} {a['of']}"
    return f"mean of {a['instances']} chips, 95{PERCENT} interval {_ends(a, shown)}, worst {shown.text(a['chip_worst'])}"


def headlines(results: Results) -> list[tuple[str, str, str]]:
    """(label, value, detail) of the eight headline numbers."""
    m = results.meta
    a, s, single, chip, shown = m["score"], m["summary"], m["single_request"], m["chip"], ShownMetric.of(m)
    rate = s["steady_throughput_per_s"] or s["throughput_per_s"]
    efficiency, with_links = s["on_chip_operations_per_J"], human(s["operations_per_J"], "OPS/W")
    requests, used, crossbars = int(s["requests"]), int(s["crossbars_used"]), int(s["crossbars"])
    cells = f"of {crossbars:,}, {percent(used / crossbars)}; {percent(s['cells_of_used_crossbars_share'])} of their cells"
    several = requests > 1
    slowest = f"99th percentile of {requests}: {human(s['latency_p99_s'], 's')}" if several else "from input to result"
    timed = "between results" if s["steady_throughput_per_s"] else "first to last"
    timed = f"batch of {requests}, {timed}" if several else "one after another"
    table_power = f"at peak load {human(chip['peak_power_W'], 'W')}"
    energy, links = human(s["on_chip_energy_per_request_J"], "J"), human(s["link_energy_per_request_J"], "J")
    leakage = f"leakage {leaked(s['leakage_energy_per_request_J'], 'J')}"
    all_power = human(s["average_power_W"], "W")
    return [
        (f"{shown.title} on chip", shown.text(a["chip"]), f"float {shown.text(a['float'])}, {judged(a, shown)}"),
        ("Latency, one request", human(single["latency_s"], "s"), slowest),
        ("Requests per second", human(rate, ""), timed),
        ("Energy per request, on chip", energy, f"{_span_or(results, 'on_chip_energy_per_request_J', 'J', leakage)}; links {links}"),
        ("Average power, on chip", human(s["on_chip_power_W"], "W"), f"with links {all_power}, at most {human(s['peak_power_W'], 'W')}"),
        ("Chip area", human(s["area_m2"], "m²"), ", ".join(filter(None, [_span_or(results, "area_m2", "m²"), table_power]))),
        ("Crossbars in use", f"{used:,}", cells),
        ("Efficiency, on chip", human(efficiency, "OPS/W"), f"with links {with_links}{_peak(results)}"),
    ]  # fmt: skip


def _peak(results: Results) -> str:
    """Efficiency with every crossbar full and density of the run, without the off-chip links; nothing of earlier results."""
    if results.efficiency.empty:
        return ""
    steady, peak = (row_of(results, of) for of in ("steady", "peak"))
    return f", peak {human(peak['operations_per_J'], 'OPS/W')}; {density(steady['operations_per_s_m2'])}"


def leaked(value: float, unit: str) -> str:
    """A leakage; of parts whose leakage no law tells and no file states, that."""
    return human(value, unit) if value > 0 else "not modelled"


def _span_or(results: Results, quantity: str, unit: str, otherwise: str = "") -> str:
    """The outer band of a total in words, where the results have bands."""
    if results.bands.empty:
        return otherwise
    total = _banded(results, "total", quantity).loc["total"]
    return span(total["low"], total["high"], unit)


def _banded(results: Results, of: str, quantity: str) -> pd.DataFrame:
    """Bands of a quantity: value, low, high (outer), inner_low, inner_high by name; empty where there are none."""
    bands = results.bands
    return bands if bands.empty else bands[(bands["of"] == of) & (bands["quantity"] == quantity)].set_index("name")


def _tile(figure: Figure, x: float, y: float, label: str, value: str, detail: str) -> None:
    """One headline number in a box."""
    box = FancyBboxPatch(
        (x, y), 0.2125, 0.135, boxstyle="round,pad=0,rounding_size=0.008", transform=figure.transFigure,
        facecolor="#f5f7fa", edgecolor=FAINT, linewidth=1, mutation_aspect=1.4,
    )  # fmt: skip
    figure.add_artist(box)
    write(figure, x + 0.013, y + 0.102, label, size=9, colour=SOFT)
    lines, size = fitted(detail, 0.1925 * PAGE[0], 8, 7, lines=3)
    write(figure, x + 0.013, y + (0.046, 0.053, 0.065)[len(lines) - 1], value, size=19, weight="bold", colour=ACCENT)
    for line, text in enumerate(lines):
        write(figure, x + 0.013, y + (0.018, 0.026, 0.0430)[len(lines) - 1] - 0.0155 * line, text, size=size, colour=SOFT)


# ---- energy and area


def energy_and_area(results: Results) -> Figure:
    """Energy and area by component, energy by layer, and totals, with their bands where the results have some."""
    requests = max(1, int(results.meta["summary"]["requests"]))
    with_bands = not results.bands.empty
    told = f"{_batch(requests)}; leakage is shown apart, off-chip links only by layer, in grey"
    figure = page("Energy and area", f"{_heading(results)}  ·  {told}")
    _energy_bars(plot(figure, (0.15, 0.535, 0.32, 0.325), "Dynamic energy per request on chip, by component", "x"), results)
    _area_bars(plot(figure, (0.63, 0.535, 0.32, 0.325), "Area, by component", "x"), results)
    axes = plot(figure, (0.07, 0.15, 0.41 if with_bands else 0.69, 0.27), "Dynamic energy per request, by layer")
    _layer_bars(axes, results.energy, requests, _banded(results, "layer", ENERGY))
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
        total = _banded(results, "total", quantity).loc["total"]
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


def _energy_bars(axes: Axes, results: Results, most: int = MOST_BARS, small: bool = False) -> None:
    requests = max(1, int(results.meta["summary"]["requests"]))
    ends = pd.DataFrame() if small else _banded(results, "component", ENERGY)
    on_chip = results.components["dynamic_energy_J"].drop(LINKS, errors="ignore")
    _bars(axes, on_chip / requests, ends, "J", most, 7.5 if small else 8.5)


def _area_bars(axes: Axes, results: Results) -> None:
    _bars(axes, results.components["area_m2"], _banded(results, "component", "area_m2"), "m²", MOST_BARS, 8.5)


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
    crowded = len(rows) > 8
    axes.set_xticks(
        np.arange(len(rows)), list(shortened(map(str, rows.index)).values()),
        rotation=40 if crowded else 0, ha="right" if crowded else "center", fontsize=_fitting(axes, len(rows), 8, across=True),
    )  # fmt: skip
    axes.set_ylabel(f"{prefix}J", fontsize=8.5)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, max(top, 1e-30) * 1.1)


def _fitting(axes: Axes, labels: int, most: float, across: bool = False) -> float:
    """Size of type [pt] at which that many tick labels stand clear of each other; `across` for slanted ones."""
    box, (width, height) = axes.get_position(), axes.get_figure().get_size_inches()  # type: ignore[union-attr]
    room = 0.55 * box.width * width if across else 0.8 * box.height * height
    return min(most, 72 * room / max(1, labels))


# ---- time


def timeline(results: Results) -> Figure:
    """Stages of every layer, use of the ADCs, and power, over the first requests."""
    runs = results.timeline
    first = int(results.meta["study"]["timeline_requests"])
    end = float(runs["end_s"].max())
    requests = len(results.requests)
    until = f"the first {first} of {requests} requests are" if requests > 1 else "the request is"
    figure = page("Timeline", f"{_heading(results)}  ·  until {until} answered")
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
    _power(axes, shown.assign(on_chip_power_W=(shown["on_chip_power_W"] - leakage).clip(lower=0)), None, factor)
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
    axes.set_yticks(range(len(layers)), names, fontsize=_fitting(axes, len(layers), 8.5 if len(layers) <= 12 else 6.5))
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def power_over_time(results: Results) -> Figure:
    """Power of the whole simulation on chip, with its average, its peak and the leakage below it; links in words."""
    s = results.meta["summary"]
    steady = results.meta.get("steady")
    if steady:
        of = f"{steady['results']} result{'s' if steady['results'] > 1 else ''} in the middle of a {_batch(int(s['requests']))}"
        figure = page("Power over time", f"{_heading(results)}  ·  on chip, off-chip links apart; {of}, and the whole batch")
        _steady(plot(figure, (0.08, 0.545, 0.87, 0.295), "Power at steady state, from result to result"), results)
        _smooth(plot(figure, (0.08, 0.315, 0.87, 0.120), "The whole batch, each point the mean over the time between two results"), results)
    else:
        told = f"{_batch(int(s['requests']))}, too few for a steady state; mean of {len(results.power)} spans of time"
        figure = page("Power over time", f"{_heading(results)}  ·  {told}")
        _power(plot(figure, (0.08, 0.36, 0.87, 0.48), "Power on chip, off-chip links apart"), results.power, s, labelled=True)
    rows = [
        ("Peak, at any instant", human(s["on_chip_peak_power_W"], "W")), ("Average", human(s["on_chip_power_W"], "W")),
        ("Leakage, always drawn", leaked(s["leakage_power_W"], "W")),
        ("Off-chip links", human(s["average_power_W"] - s["on_chip_power_W"], "W")),
        ("Peak load by the tables, links too", human(results.meta["chip"]["peak_power_W"], "W")),
        ("Energy of the batch, links too", human(s["energy_J"], "J")), ("Time of the batch", human(s["span_s"], "s")),
        ("Requests per second", human(s["steady_throughput_per_s"] or s["throughput_per_s"], "")),
    ]  # fmt: skip
    for index, (label, value) in enumerate(rows):
        x, y = 0.08 + 0.225 * (index % 4), 0.20 - 0.075 * (index // 4)
        write(figure, x, y + 0.03, label, size=9, colour=SOFT)
        write(figure, x, y, value, size=14, weight="bold")
    busiest = "; ".join(f"{what}: {told}" for what, told in _busiest(results))
    for y, text, size in ((0.075, f"{busiest[:1].upper()}{busiest[1:]}", 9.0), (0.052, _not_leaking(results), 8.0)):
        (line,), size = fitted(text, 0.87 * PAGE[0], size, 6)
        write(figure, 0.08, y, line, size=size, colour=SOFT)
    return figure


def _not_leaking(results: Results) -> str:
    """Which parts' leakage is not in the leakage, or nothing."""
    table = results.components
    names = [NAMES[str(name)] for name in table.index[(table["static_energy_J"] == 0) & (table["units"] > 0)] if str(name) != "write"]
    return f"Leakage not modelled, and not in it: {', '.join(names)}" if names else ""


def _steady(axes: Axes, results: Results, small: bool = False) -> None:
    """Power on chip over a few results, with its mean and its peak at any instant there, and the leakage below."""
    table, steady = results.steady_power, results.meta["steady"]
    leakage = results.meta["summary"]["leakage_power_W"]
    (factor, prefix), (watt, unit) = scale_of(steady["length_s"]), scale_of(steady["peak_W"])
    time, level = table["time_s"].to_numpy() * factor, table["on_chip_power_W"].to_numpy() * watt
    axes.fill_between(time, leakage * watt, color=SOFT, alpha=0.25, linewidth=0, step="mid")
    axes.fill_between(time, leakage * watt, level, color=ACCENT, alpha=0.30, linewidth=0, step="mid")
    axes.plot(time, level, color=ACCENT, linewidth=0.7 if small else 0.9, drawstyle="steps-mid")
    top = "peak" if small else "peak at any instant"
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


def _busiest(results: Results) -> list[tuple[str, str]]:
    """What of unit and mesh link is busy for the largest share of the time, and for which; empty where results do not tell."""
    busiest, s = results.meta.get("busiest", {}), results.meta["summary"]
    return [(f"busiest {what}", f"{busiest[name]}, {percent(s[f'busiest_{name}_share'])} of the time")
            for name, what in (("unit", "unit"), ("link", "mesh link")) if busiest.get(name)]  # fmt: skip


def _power(
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


# ---- accuracy


def accuracy(results: Results) -> Figure:
    """The score against programming variation, with a band over chip instances, and against ADC bits."""
    a, chip, study, shown = results.meta["score"], results.meta["chip"], results.meta["study"], ShownMetric.of(results.meta)
    judged = f"{a['samples']:,} of {a['test_samples']:,} test {a['of']}; {shown.word} in float on all"
    figure = page(f"{shown.title} on the chip", f"{_heading(results)}  ·  {judged}: {shown.text(a['float_all'], 2)}")
    axes = plot(figure, (0.08, 0.355, 0.52, 0.485), "Against programming variation")
    _accuracy_band(axes, results)
    right = plot(figure, (0.69, 0.355, 0.26, 0.485), "Against ADC resolution")
    bits = results.adc_bits
    right.axhline(shown.factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    curves = adc_curves(right, bits, shown.factor)
    right.axvline(chip["adc_bits"], color=SECOND, linewidth=1.2)
    right.set_xticks(sorted({int(b) for b in bits["bits"]}))
    right.set_xlabel("ADC bits", fontsize=9)
    right.set_ylabel(shown.axis, fontsize=9)
    right.set_ylim(*shown.limits(shown.factor * np.array([a["float"], *bits["score"]])))
    right.legend(
        handles=[
            *curves,
            Line2D([], [], color=SECOND, label=f"this chip: {chip['adc_bits']} bits"),
            Line2D([], [], color=SOFT, linestyle=(0, (5, 3)), label=f"float {shown.text(a['float'])}"),
        ],
        loc="upper left", bbox_to_anchor=(-0.02, -0.125), fontsize=8.5, frameon=False, labelcolor=INK,
    )  # fmt: skip
    models = {
        "independent": "sigma is a share of the conductance range, the same for every level",
        "proportional": "sigma is a share of the programmed conductance", "lognormal": "sigma of the logarithm of the conductance",
        "polynomial": "sigma is a polynomial of the conductance, here scaled as a whole",
        "table": "sigma by conductance from a table, here scaled as a whole",
    }  # fmt: skip
    own = "is 1 on this axis" if chip["programming_scaled"] else f"sigma is {100 * chip['programming_own']:.3g}\u00a0%"
    note = (
        f"Programming error: {models[chip['programming_model']]}; this chip's own {own}, with {chip['read_noise'] or 'no read noise'}. "
        f"Up to {study['instances']} chip instances per point are programmed once, each with its own seed, and judged on the "
        f"same {a['of']}, in the right panel up to {study['adc_instances']}; where nothing is drawn it is one. "
        f"ADC range: {chip['adc_range']}. In the right panel the cells are as the chip describes them; the width of a code is made for "
        "the bits, or kept as it is on this chip, so that codes end earlier. As described, "
        f"{percent(a['truncated_share'], 2)} of cells were cut at 0 S, {percent(a['stuck_share'], 2)} are stuck, "
        f"{percent(a['clipped_input_share'], 2)} of layer inputs lay beyond their calibrated range, and at most "
        f"{percent(a['largest_saturated_share'], 2)} of a layer's conversions saturated in calibration."
    )
    note += "".join(f" Left out: {text}." for text in study.get("left_out", ()))
    write(figure, 0.08, 0.145, "\n".join(textwrap.wrap(note, 150)), size=9, colour=SOFT, vertical="top")
    return figure


def _accuracy_band(axes: Axes, results: Results, small: bool = False) -> None:
    """Mean, quartiles and range of the score over chip instances against sigma."""
    a, chip, shown = results.meta["score"], results.meta["chip"], ShownMetric.of(results.meta)
    own, unit = chip["programming_own"], 1 if chip["programming_scaled"] else 100
    points = results.variation
    by_sigma = points.groupby("sigma")["score"]
    sigma = unit * by_sigma.min().index.to_numpy()
    factor = shown.factor
    low, high = factor * by_sigma.min().to_numpy(), factor * by_sigma.max().to_numpy()
    first, third = factor * by_sigma.quantile(0.25).to_numpy(), factor * by_sigma.quantile(0.75).to_numpy()
    axes.axhline(factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.fill_between(sigma, low, high, color=ACCENT, alpha=0.15, linewidth=0)
    axes.fill_between(sigma, first, third, color=ACCENT, alpha=0.25, linewidth=0)
    axes.plot(
        sigma,
        factor * by_sigma.mean().to_numpy(),
        color=ACCENT,
        linewidth=1.8,
        marker="o",
        markersize=3.5 if small else 5,
    )
    if not small:
        axes.scatter(
            unit * points["sigma"], factor * points["score"], s=9, color=INK, alpha=0.35, linewidths=0, zorder=3
        )
    if own > 0:
        axes.axvline(unit * own, color=SECOND, linewidth=1.2)
    axes.set_ylim(*shown.limits(factor * np.array([a["float"], *points["score"]])))
    scaled = "times the device's error" if small else amount_axis(chip)
    axes.set_xlabel(scaled if chip["programming_scaled"] else "sigma, %", fontsize=9)
    axes.set_ylabel(shown.axis, fontsize=9)
    if small:
        return
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=ACCENT, marker="o", markersize=5, label="mean of chip instances"),
        Patch(color=ACCENT, alpha=0.4, linewidth=0, label="middle half"),
        Patch(color=ACCENT, alpha=0.15, linewidth=0, label="smallest to largest"),
        Line2D([], [], color=INK, alpha=0.5, marker="o", markersize=3, linestyle="none", label="one chip instance"),
        Line2D([], [], color=SOFT, linestyle=(0, (5, 3)), label=f"float {shown.text(a['float'])}"),
    ]
    if own > 0:
        handles.append(Line2D([], [], color=SECOND, label=f"this chip: {unit * own:.3g}{'' if chip['programming_scaled'] else PERCENT}"))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.01, -0.125), ncols=2, fontsize=8.5, frameon=False, labelcolor=INK
    )


# ---- tables

LAYER_COLUMNS: tuple[Column, ...] = (
    ("layer", 0.050, "left"), ("matrix", 0.265, "right"), ("groups", 0.325, "right"), ("vectors", 0.395, "right"),
    ("copies", 0.450, "right"), ("crossbars", 0.525, "right"), ("cells in use", 0.605, "right"), ("core area", 0.685, "right"),
    ("energy", 0.760, "right"), ("share", 0.820, "right"), ("time/vector", 0.895, "right"), ("use", 0.950, "right"),
)  # fmt: skip
COMPONENT_COLUMNS: tuple[Column, ...] = (
    ("component", 0.050, "left"), ("action", 0.190, "left"), ("units", 0.390, "right"), ("actions", 0.480, "right"),
    ("per action", 0.565, "right"), ("energy", 0.645, "right"), ("share", 0.710, "right"), ("static power", 0.800, "right"),
    ("area", 0.905, "right"), ("use", 0.950, "right"),
)  # fmt: skip
TOP, BOTTOM = 0.845, 0.07
ROWS_PER_PAGE = int((TOP - BOTTOM) / ROW_HEIGHT)


def tables(results: Results) -> list[Figure]:
    """One row a layer and one row a component; on one page where both fit."""
    subtitle = f"{_heading(results)}  ·  energies are dynamic, per request; use is busy time over the time of the batch"
    layers, components = _layer_rows(results), _component_rows(results)
    together = (len(layers) + len(components) + 4) * ROW_HEIGHT < TOP - BOTTOM
    figures = []
    for first in range(0, len(layers), ROWS_PER_PAGE):
        figure = page("Layers and components" if together else "Layers", subtitle)
        end = draw_table(figure, TOP, LAYER_COLUMNS, layers[first : first + ROWS_PER_PAGE])
        figures.append(figure)
    if not together:
        figure, end = page("Components", subtitle), TOP + 2 * ROW_HEIGHT
        figures.append(figure)
    draw_table(figure, end - 2 * ROW_HEIGHT, COMPONENT_COLUMNS, components)
    return figures


def _layer_rows(results: Results) -> list[list[str]]:
    requests = max(1, int(results.meta["summary"]["requests"]))
    total = float(results.energy.drop(index=STATIC).to_numpy().sum()) / requests
    rows, short = [], shortened(map(str, results.layers.index), 24)
    for name, row in results.layers.iterrows():
        energy = row["energy_J"] / requests
        rows.append([
            short[str(name)], f"{int(row['outputs'] / row['groups'])} x {int(row['inputs'])}", f"{int(row['groups'])}",
            f"{int(row['vectors']):,}", f"{int(row['copies'])}", f"{int(row['crossbars']):,}", percent(row["cells_share"]),
            human(row["core_area_m2"], "m²"),
            human(energy, "J"), percent(energy / total), human(row["vector_time_s"], "s"), percent(row["utilisation"]),
        ])  # fmt: skip
    edge = total - float(results.layers["energy_J"].sum()) / requests
    rows.append(["input and output", "", "", "", "", "", "", "", human(edge, "J"), percent(edge / total), "", ""])
    return rows


def _static(results: Results, component: str, power: float) -> str:
    """Static power of a component, "not modelled" where neither its law nor the chip's file tells any."""
    stated = f"component.{component}.static_power" in set(results.provenance["key"])
    return human(power, "W") if power > 0 or stated or component == "write" else leaked(power, "W")


def _component_rows(results: Results) -> list[list[str]]:
    requests, span = max(1, int(results.meta["summary"]["requests"])), results.meta["summary"]["span_s"]
    table = results.components
    total = float(table["dynamic_energy_J"].sum())
    return [
        [
            NAMES[str(name)], str(row["action"]), f"{row['units']:,.0f}", human(row["actions"] / requests, ""),
            human(row["dynamic_energy_J"] / row["actions"] if row["actions"] else 0.0, "J"),
            human(row["dynamic_energy_J"] / requests, "J"), percent(row["dynamic_energy_J"] / total),
            _static(results, str(name), row["static_energy_J"] / span), human(row["area_m2"], "m²"), percent(row["utilisation"]),
        ]
        for name, row in table.iterrows()
    ]  # fmt: skip


LINES_PER_PAGE = 48


def assumptions(results: Results) -> list[Figure]:
    """How it was modelled, what was changed and assumed; as many pages as it takes."""
    lines = list(_assumption_lines(results))
    pages = [lines[i : i + LINES_PER_PAGE] for i in range(0, len(lines), LINES_PER_PAGE)]
    figures = []
    for number, part in enumerate(pages, 1):
        of = f"  ·  {number} of {len(pages)}" if len(pages) > 1 else ""
        figure = page("Method and assumptions", f"{_heading(results)}{of}")
        for row, (indent, text, bold) in enumerate(part):
            y = 0.865 - row * 0.0172
            write(
                figure,
                0.05 + indent,
                y,
                text,
                size=8,
                weight="bold" if bold else "normal",
                colour=INK if bold or not indent else SOFT,
            )
        figures.append(figure)
    return figures


def _assumption_lines(results: Results) -> Iterator[tuple[float, str, bool]]:
    """(indent, text, bold) of each line."""
    chip, p, b = results.meta["chip"], results.provenance, results.meta["buffers"]
    yield 0.0, "How it was modelled", True
    for note in (
        f"Array reads are charged by {chip['array_read_energy']}.",
        "Every other component is charged per action, by the law of what it is made of at the chip's node and voltage; where the file "
        "states its power, energy or area at some configuration, the law only carries that figure to the configuration here.",
        "Energy on chip is all of it but that of the off-chip links, which is told apart; leakage is in it.",
        _analog_note(chip),
        "Every part bounds the time of its stage by its rate. Tiles' buffer ports with their buses, their output stages, every link of the "
        "mesh and the off-chip links serve one at a time.",
        f"A full buffer stalls who writes to it; the fullest tile held {_kilobytes(b['fullest_bits'])} of its {_kilobytes(b['size_bits'])}"
        f"{', MORE THAN IT HAS' if b['fullest_bits'] > b['size_bits'] else ''}. A layer begins a sample when its readers have "
        "loaded the sample before the last.",
        "Results travel over the mesh in packets of whole flits, along the row of routers first, one to every tile that holds rows for "
        "them; partial sums are as wide as weight and input together.",
        "Samples are loaded over the links before a network starts on them; per-sample digital work is spread evenly over a "
        "layer's vectors.",
    ):  # fmt: skip
        yield from _wrapped(note)
    kinds = p["kind"].value_counts()
    counted = ", ".join(f"{int(kinds[kind])} {kind}" for kind in kinds.index)
    for kind, heading in (
        ("override", "Changed for this run"),
        ("assumed", f"Assumed (of {len(p)} numbers: {counted})"),
    ):
        chosen = p[p["kind"] == kind]
        if len(chosen):
            yield 0.0, "", False
            yield 0.0, heading, True
        for _, row in chosen.iterrows():
            why = row["why"] if isinstance(row["why"], str) and row["why"] else "given on the command line"
            yield from _wrapped(f"{_stated(row)}: {why}")


def _analog_note(chip: dict[str, Any]) -> str:
    """How wires and cells were taken, from what the chip file says of them."""
    wires = (
        f"Wires have {chip['wires'][0]:g} and {chip['wires'][1]:g} ohm a segment of word and bit lines, solved exactly"
        if chip["wires"]
        else "Wires are ideal in this chip's file"
    )
    time = "cells drift, and are judged right after programming unless a page says later" if chip["drifts"] else "cells do not drift in it"
    law = "" if chip["iv"] == "linear" else f"; their current follows a {chip['iv']} law of voltage"
    return f"{wires}; {time}{law}. Studies of what a chip would lose may assume more; they say so."


def _kilobytes(bits: float) -> str:
    return f"{significant(bits / 8192)}\u00a0KB"


def _wrapped(text: str) -> Iterator[tuple[float, str, bool]]:
    for index, line in enumerate(textwrap.wrap(text, 168)):
        yield (0.012 if index == 0 else 0.024), line, False


def _judged_lines(results: Results) -> Iterator[tuple[str, str]]:
    """The score in float, on a chip without analog errors and as described; of a language model what a token takes."""
    m, a, shown = results.meta, results.meta["score"], ShownMetric.of(results.meta)
    parts = f"float {shown.text(a['float'], 2)}, analog parts ideal {shown.text(a['ideal'], 2)}, as described {shown.text(a['chip'], 2)}"
    yield shown.title, parts
    if m["workload"].get("tokens"):
        yield "A token", token_text(results)


def token_text(results: Results) -> str:
    """Energy and time of a token, where requests are windows of tokens."""
    m, count = results.meta, int(results.meta["workload"]["tokens"])
    s = m["summary"]
    rate = s["steady_throughput_per_s"] or s["throughput_per_s"]
    energy = human(s["on_chip_energy_per_request_J"] / count, "J")
    return (
        f"{energy} on chip, {human(1 / (rate * count), 's')} at steady throughput; a request is a window of {count} tokens, computed "
        f"together in {human(m['single_request']['latency_s'], 's')}"
    )


LABEL = 28  # characters of a label in plain text


def _efficiency_lines(results: Results) -> Iterator[str]:
    """Efficiency and density of run, peak and the chip's table, without the off-chip links and with them, and what an operation is."""
    if results.efficiency.empty:
        return
    for of, words in (("steady", "At steady throughput"), ("peak", "With every crossbar full"), ("table", "By the chip's table")):
        own, all_of_it = (row_of(results, of, links) for links in (False, True))
        yield (f"{words:<{LABEL}} {tera(own['operations_per_J'])} TOPS/W, {tera(own['operations_per_s_m2'] * 1e-6)} TOPS/mm²; with links "
               f"{tera(all_of_it['operations_per_J'])} TOPS/W, {tera(all_of_it['operations_per_s_m2'] * 1e-6)} TOPS/mm²")  # fmt: skip
    chip = results.meta["chip"]
    yield f"{'':<{LABEL}} a multiply-accumulate is 2 operations, of {chip['weight_bits']}-bit weights and {chip['input_bits']}-bit inputs"


def summary_text(results: Results) -> str:
    """The headline numbers as aligned plain text."""
    lines = [_heading(results), _subtitle(results), *filter(None, [_changed(results)]), ""]
    lines += [f"{label:<{LABEL}} {value:>12}   {detail}" for label, value, detail in headlines(results)]
    operations = ", ".join(f"{percent(share)} {words}" for words, share in _shares(results).items())
    lines += [f"{'Multiply-accumulates':<{LABEL}} {operations}"] if operations else []
    lines += _efficiency_lines(results)
    lines += [f"{label:<{LABEL}} {told}" for label, told in _judged_lines(results)]
    lines += [f"{what[0].upper()}{what[1:]:<{LABEL - 1}} {told}" for what, told in _busiest(results)]
    lines += [f"{'Against digital':<{LABEL}} {line}" for line in filter(None, [summary_line(results)])]
    lines += [f"{'Left out':<{LABEL}} {text}" for text in results.meta["study"].get("left_out", ())]
    return "\n".join(lines) + "\n"

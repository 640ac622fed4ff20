"""The page "Against digital": the same network on the chip, on published digital accelerators, and on this computer."""

import math
import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.style import (
    ACCENT,
    FAINT,
    INK,
    PAPER,
    SECOND,
    SOFT,
    Column,
    cut,
    draw_table,
    human,
    page,
    percent,
    plot,
    significant,
    write,
)

MARKERS = {"chip": ("o", ACCENT), "digital": ("s", SECOND), "computer": ("^", SOFT)}
ON_CHIP = "without DRAM and links"
PANELS = (
    ("latency_s", "Latency, one request", "s", "shorter is better"),
    ("throughput_per_s", "Requests per second, in a batch", "/s", "more is better"),
    ("energy_per_request_J", "Energy per request, in a batch", "J", f"less is better  ·  {ON_CHIP}"),
    ("area_m2", "Area", "m²", "less is better"),
    ("operations_per_J", "Efficiency, in a batch", "OPS/W", f"more is better  ·  {ON_CHIP}"),
    ("score", "", "", ""),  # the metric of the data
)  # fmt: skip
COLUMNS: tuple[Column, ...] = (
    ("", 0.050, "left"), ("technology", 0.180, "left"), ("weights", 0.260, "left"), ("inputs", 0.315, "left"),
    ("weights come from", 0.370, "left"), ("power on chip", 0.630, "right"), ("idle", 0.700, "right"),
    ("peak", 0.780, "right"), ("used", 0.835, "right"), ("energy, one alone", 0.950, "right"),
)  # fmt: skip
COMPUTER = "this computer"


def baselines(results: Results) -> Figure:
    """Time, energy, area, efficiency and accuracy beside each other, and what of that compares."""
    rows = _rows(results)
    many = f"of all, batches of {int(results.baselines['batch'].max())} requests, one after the other"
    figure = page("Against digital", f"{results.heading}  ·  {many}")
    for index, (column, title, unit, better) in enumerate(PANELS):
        across, down = index % 3, index // 3
        box = (0.145 + 0.285 * across, 0.710 - 0.230 * down, 0.235, 0.140)
        shown = ShownMetric.of(results.meta)
        _panel(plot(figure, box, title or shown.title, "x"), rows, column, unit, better or shown.better_words, across == 0, shown)
    end = draw_table(figure, 0.398, COLUMNS, [_cells(row) for _, row in rows.iterrows()], 0.024)
    text = [line for part in _notes(results, rows) for line in textwrap.wrap(part, 188)]
    write(figure, 0.05, end - 0.022, "\n".join(text), size=7.3, colour=SOFT, vertical="top")
    return figure


def summary_line(results: Results) -> str:
    """The chip against each accelerator in energy and time, in one line; nothing where there are none."""
    if results.baselines.empty:
        return ""
    own = results.baselines.iloc[0]
    parts = [
        f"{row['title']} ({_node(row)}) takes {_times(row['energy_per_request_J'] / own['energy_per_request_J'])} the energy on chip "
        f"and {_times(row['latency_s'] / own['latency_s'])} the latency"
        for _, row in results.baselines.iloc[1:].iterrows()
    ]
    return "; ".join(parts)


def _rows(results: Results) -> pd.DataFrame:
    """The table's rows, and this computer's where it was measured."""
    rows = results.baselines
    if not results.measured:
        return rows
    m = results.measured
    computer = {
        "title": COMPUTER, "kind": "computer", "description": m["processor"], "weights_from": "DRAM and caches",
        "latency_s": m["latency_s"], "throughput_per_s": m["throughput_per_s"], "score": results.meta["score"]["float"],
        "batch": m["batch"],
    }  # fmt: skip
    return pd.concat([rows, pd.DataFrame([computer])], ignore_index=True)


def _panel(axes: Axes, rows: pd.DataFrame, column: str, unit: str, better: str, named: bool, shown: ShownMetric) -> None:
    """One quantity: a marker a row and its value beside it, on a logarithmic axis but for the score."""
    linear = column == "score"
    values = [float(value) * (shown.factor if linear else 1e6 if unit == "m²" else 1) for value in rows[column]]
    known = [value for value in values if math.isfinite(value) and (linear or value > 0)]
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if linear:
        axes.set_xlim(*((0, 105) if shown.is_share else shown.limits([*known, 0.0])))
    else:
        axes.set_xscale("log")
        low, high = (min(known), max(known)) if known else (1.0, 1.0)
        room = 0.12 * max(1.0, math.log10(high / low))
        axes.set_xlim(low / 10**room, high * 10**room)
        axes.xaxis.set_major_locator(LogLocator(numticks=3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, unit)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", colors=FAINT)
    left, right = axes.get_xlim()
    place = (lambda x: (x - left) / (right - left)) if linear else (lambda x: math.log(x / left) / math.log(right / left))
    for row, (kind, value, kept) in enumerate(zip(rows["kind"], values, rows[column], strict=True)):
        if value not in known:
            write(axes, 0.02, row, "not stated" if kind == "digital" else "not measured", 8, colour=SOFT, vertical="center",
                  transform=axes.get_yaxis_transform())  # fmt: skip
            continue
        marker, colour = MARKERS[kind]
        axes.plot([left, value], [row, row], color=FAINT, linewidth=1.5, zorder=1)
        axes.plot([value], [row], marker=marker, color=colour, markersize=7, zorder=2)
        beyond = place(value) > 0.6
        text = shown.text(float(kept)) if linear else human(float(kept), unit if unit != "/s" else "")
        axes.annotate(
            text, (value, row), xytext=(-9 if beyond else 9, 0), textcoords="offset points", va="center",
            ha="right" if beyond else "left", fontsize=8.5, color=INK, fontweight="bold" if kind == "chip" else "normal",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [cut(str(title), 16) for title in rows["title"]] if named else [""] * len(rows), fontsize=9)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(f"{shown.axis}  ·  {better}" if linear else better, fontsize=8)


def _tick(value: float, unit: str) -> str:
    """A power of ten on an axis: areas are in mm² there."""
    return f"{value:g}\u00a0mm²" if unit == "m²" else human(value, "" if unit == "/s" else unit, 1)


def _cells(row: pd.Series) -> list[str]:
    """A row of the table."""
    bits = [f"{int(row[name])} bit" if pd.notna(row.get(name)) else "float32" for name in ("weight_bits", "input_bits")]
    idle = row["idle_power_W"]
    power = [human(row["busy_power_W"], "W"), "not modelled" if idle == 0 else human(idle, "W")]
    peak, used = human(row["peak_operations_per_s"], "OPS"), "–" if pd.isna(row["utilisation"]) else percent(row["utilisation"], 2)
    return [cut(str(row["title"]), 18), _node(row), *bits, str(row["weights_from"]), *power, peak, used, human(row["energy_alone_J"], "J")]


def _node(row: pd.Series) -> str:
    """The technology node."""
    return f"{row['node_m'] * 1e9:.3g}\u00a0nm" if pd.notna(row["node_m"]) else "not stated"


def _links(results: Results) -> str:
    return human(results.baselines.iloc[0].get("link_energy_per_request_J"), "J")


def _times(ratio: float) -> str:
    """A ratio for people: 0.16 times, 3.4 times, 140 times."""
    return f"{significant(ratio, 2)} times"


def _notes(results: Results, rows: pd.DataFrame) -> list[str]:
    """What the page rests on, and what of it compares."""
    m: dict[str, Any] = results.measured
    notes = [
        "Batches are of the same size for all, however many requests the run simulates. The chip's are told from its steady state: the "
        "requests per second between results of a short batch, and a request's dynamic energy with the leakage meanwhile. "
        "Nothing is scaled between technology nodes, and the accelerators are the published ones, whole: a chip of the same node or size "
        "built today would differ. Areas are whole, whatever the network uses: sums of components, Eyeriss' core, TPU's die at most. "
        "Energies and powers are on chip: published powers of the accelerators are of their dies, without DRAM and host, so the chip's "
        f"are without its off-chip links, which take {_links(results)} a request more. The chip holds its weights in cells, written "
        "before; the accelerators fetch them for every batch from DRAM.",
        "The accelerators are estimated from published constants, layer by layer: the longer of computing and fetching weights, at busy "
        "power. That is faster than what was published of them, by 7 to 18 % for TPU v1 where memory or computing bounds it, 2.4 times "
        "for Eyeriss on VGG-16 (it is fitted to AlexNet), so the page is in their favour. In a batch every request waits for all of it.",
        f"{ShownMetric.of(results.meta).title} with integers is computed exactly, products and sums, by the functional model of a chip "
        "whose cells, wires and ADCs are ideal, on the same samples; weights and inputs are symmetric, one range a layer. The chip's is "
        "the mean of its instances.",
    ]  # fmt: skip
    if m:
        threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''}"
        notes.append(
            f"This computer, measured and different at every run: {m['processor']}, {threads}, torch {m['torch']}, {m['numbers']}; "
            f"medians of {m['repeats_alone']} runs of one input and {m['repeats_batch']} of {m['batch']}; of one, quartiles "
            f"{human(m['latency_first_quartile_s'], 's')} to {human(m['latency_third_quartile_s'], 's')}. "
            "Its int8 is left out: torch deprecates it. Its energy was not measured."
        )  # fmt: skip
    cited = "; ".join(f"{row['title']}: {str(row['source']).split(' Read: ')[0]}" for _, row in rows[rows["kind"] == "digital"].iterrows())
    return [*notes, f"{cited}. How each was read, and what is assumed: baselines.csv."]

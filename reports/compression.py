"""The report of a compression: its first page, what is meant by its numbers, and all pages in order."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbar.reports.compression_layers import layer_pages
from xbar.reports.compression_methods import methods, reached
from xbar.reports.compression_sheet import (
    NAMES,
    CompressionSheet,
    bits_told,
    chips_note,
    damage_told,
    footprint_rows,
    or_dash,
    samples_of,
    saved,
    summary_text,
    verdict,
)
from xbar.reports.compression_training import training
from xbar.reports.metric import ShownMetric
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import write_text
from xbar.reports.style import FILLS, INK, ROW_HEIGHT, SOFT, Column, draw_table, human, page, percent, plot, write


def draw_compression(sheet: CompressionSheet, directory: Path) -> list[Path]:
    """Write compression.pdf, a PNG a page and summary.txt; the paths. The same sheet gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    named = {"compression": summary(sheet)}
    tables, end = layer_pages(sheet)
    shared = end - DEFINED_BELOW - _definitions_height(sheet, **SMALL) > 0.05
    if shared:
        _write_definitions(tables[-1], sheet, end - DEFINED_BELOW, **SMALL)
    named |= {f"compression_layers_{i}": figure for i, figure in enumerate(tables, 1)}
    named["compression_training"] = training(sheet)
    if len(reached(sheet.frontier)):
        named["compression_methods"] = methods(sheet)
    if not shared:
        named["compression_definitions"] = definitions(sheet)
    m = sheet.meta
    footer = f"xbar {m['version']}  ·  workload {m['workload']}  ·  chip {m['chip']}  ·  seed {m['plan']['seed']}"
    title = f"{m['title']} compressed for {m['chip_title']}"
    document = Document(
        title, verdict(sheet), named, footer, tables=sheet.tables, record=Record.load(directory),
    )  # fmt: skip
    paths = save_document(document, directory / "compression.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


def summary(sheet: CompressionSheet) -> Figure:
    """Verdict, before and after, and what each step did to the score."""
    m, shown = sheet.meta, ShownMetric.of(sheet.meta)
    asked = ", ".join(f"{name} to {percent(share)}" for name, share in m["target"].items())
    figure = page(
        f"{m['title']} compressed", f"{m['chip_title']}  ·  asked for: {asked}  ·  {m['rate']:g} inferences per second"
    )
    write(figure, 0.05, 0.862, "\n".join(textwrap.wrap(verdict(sheet), 130)), size=11, vertical="center")
    columns: tuple[Column, ...] = (
        ("", 0.05, "left"),
        ("before", 0.44, "right"),
        ("pruned alone", 0.61, "right"),
        ("fewer bits alone", 0.78, "right"),
        ("both", 0.95, "right"),
    )
    footprints = [[label, *cells] for label, cells in footprint_rows(sheet)]
    row = min(ROW_HEIGHT, 0.412 / (len(footprints) + len(sheet.stages)))
    end = draw_table(figure, 0.805, columns, footprints, row)
    columns = (
        (f"{shown.word} after", 0.05, "left"),
        ("float", 0.34, "right"),
        ("ideal chip", 0.44, "right"),
        ("varied chips, mean", 0.58, "right"),
        ("worst", 0.66, "right"),
        ("weights", 0.74, "right"),
        ("bits", 0.79, "right"),
        ("arrays", 0.85, "right"),
        ("energy", 0.95, "right"),
    )
    rows = [
        [
            NAMES[str(stage)],
            shown.text(row["float"], 2),
            or_dash(row["ideal"], shown),
            f"{shown.text(row['varied_mean'], 2)} ± {shown.number(row['varied_std'])}" if pd.notna(row["varied_mean"]) else "–",
            or_dash(row["varied_least" if shown.better == "high" else "varied_most"], shown),
            f"{int(row['weights']):,}",
            str(int(row["bits"])),
            f"{int(row['arrays']):,}",
            human(row["energy_J"], "J"),
        ]
        for stage, row in sheet.stages.iterrows()
    ]
    end = draw_table(figure, end - 0.045, columns, rows, row)
    _ablation(plot(figure, (0.07, 0.105, 0.40, 0.165), f"{shown.title} by step", "y"), sheet.stages, shown)
    _shares(plot(figure, (0.60, 0.105, 0.235, 0.165), "Left of the uncompressed network's, %", "x"), sheet)
    write(figure, 0.05, end - 0.016, "\n".join(textwrap.wrap(chips_note(sheet), 190)), size=7.5, colour=SOFT, vertical="top")
    return figure


def _ablation(axes: Axes, stages: pd.DataFrame, shown: ShownMetric) -> None:
    factor = shown.factor
    places = range(len(stages))
    kinds = (("float", "float"), ("ideal", "ideal chip"), ("varied_mean", "varied chips"))
    for offset, (column, label), fill in zip((-0.24, 0, 0.24), kinds, FILLS, strict=True):
        axes.bar([p + offset for p in places], factor * stages[column], width=0.22, label=label, **fill)
    varied = factor * stages["varied_mean"]
    errors = [varied - factor * stages["varied_least"], factor * stages["varied_most"] - varied]
    errors = [each.clip(lower=0.0) for each in errors]  # the mean of equal numbers may be off by its last bit
    axes.errorbar([p + 0.24 for p in places], varied, yerr=errors, fmt="none", ecolor=INK, elinewidth=0.8, capsize=2)
    drawn = factor * stages[["float", "ideal", "varied_least", "varied_most"]]
    low, high = float(drawn.min().min()), 100.0 if shown.is_share else 1.05 * float(drawn.max().max())
    axes.set_ylim(max(0.0, low - 0.15 * (high - low) - 0.002 * high), high)
    axes.set_xticks(
        list(places),
        [textwrap.fill(NAMES[str(s)], 13) for s in stages.index],
        fontsize=5.8,
    )
    axes.set_ylabel(shown.axis, fontsize=8.5)
    axes.legend(frameon=False, fontsize=7.5, ncols=3, loc="lower right", bbox_to_anchor=(1.04, 0.98))


WAYS = {"pruned": "pruned alone", "fewer_bits": "fewer bits alone", "after": "both"}
SHARED = {"area": "area_m2", "power": "power_W", "weights": "weights", "arrays": "arrays", "latency": "latency_s"}


def _shares(axes: Axes, sheet: CompressionSheet) -> None:
    """Bars of what is left, three a quantity, and their values beside them in columns of their own: bars are too close for that."""
    places = range(len(SHARED))
    most = 100.0
    for number, ((to, label), fill) in enumerate(zip(WAYS.items(), FILLS, strict=True)):
        left = [100 * (1 - saved(sheet, name, to)) for name in SHARED.values()]
        most = max(most, *left)
        axes.barh([place + 0.24 * (number - 1) for place in places], left, height=0.22, label=label, **fill)
        across = 1.20 + 0.15 * number
        write(axes, across, len(SHARED) - 0.08, ("pruned", "bits", "both")[number], size=7, colour=SOFT, align="right", vertical="center",
              transform=axes.get_yaxis_transform())  # fmt: skip
        for place, value in zip(places, left, strict=True):
            write(axes, across, place, f"{value:.1f}", size=7.5, align="right", vertical="center", transform=axes.get_yaxis_transform())
    axes.set_yticks(list(places), list(SHARED), fontsize=8.5)
    axes.set_ylim(len(SHARED) - 0.5, -0.5)
    axes.set_xlim(0, most)
    axes.legend(frameon=False, fontsize=7.5, ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.14))


def definitions(sheet: CompressionSheet) -> Figure:
    """What the numbers mean and how they were made."""
    figure = page("What is meant", f"{sheet.meta['title']} on {sheet.meta['chip_title']}")
    _write_definitions(figure, sheet, 0.85)
    return figure


DEFINED_BELOW = 0.05  # under a table
SMALL: dict[str, Any] = {"width": 172, "size": 7.8, "line": 0.0192, "gap": 0.007}  # how definitions are written there


def _definitions_height(sheet: CompressionSheet, width: int = 135, size: float = 9.5, line: float = 0.027, gap: float = 0.016) -> float:
    """How much of the page the definitions take."""
    return sum(line * len(textwrap.wrap(text, width)) + gap for text in _definition_lines(sheet))


def _write_definitions(
    figure: Figure, sheet: CompressionSheet, y: float, width: int = 135, size: float = 9.5, line: float = 0.027, gap: float = 0.016
) -> None:
    """The definitions from y of the page down, `line` and `gap` shares of its height."""
    for text in _definition_lines(sheet):
        wrapped = textwrap.wrap(text, width)
        write(figure, 0.05, y, "\n".join(wrapped), size=size, vertical="top", linespacing=1.4 if size > 9 else 1.25)
        y -= line * len(wrapped) + gap


def _definition_lines(sheet: CompressionSheet) -> Iterator[str]:
    m, plan = sheet.meta, sheet.meta["plan"]
    yield "Area: arrays in use, times an array and its share of what serves it in its core and tile; off-chip links apart."
    yield (
        f"Power: energy of an inference times {m['rate']:g} inferences per second, before and after alike. Energy: what "
        "components spend per action, links apart, and of static power the share of the arrays in use over the time between "
        "inferences. Power of hardware in use, as publications count it: arrays in use, times an array and its share of what serves it "
        "at the peak load of the chip before; it follows the arrays alone. Latency: of one inference alone, one copy of each layer."
    )
    yield (
        f"The chip is the same throughout: arrays of {m['array'][0]} x {m['array'][1]}, cells of {m['cell_bits']} bits. Before it has "
        f"{bits_told(m)}, after {bits_told(m, 'after')}: fewer bits of a weight take fewer cells, of an input fewer steps. \"Pruned "
        'alone" is the final network at the bits of before, "fewer bits alone" the uncompressed network at those after.'
    )
    yield (
        "Compression: weights of all layers with a matrix, biases not counted, over those that are left: outputs times inputs of each. "
        "Rows and columns of zeros take no bitlines or wordlines, they are packed away when the network is mapped; single zeros, such as "
        "weights rounded to the level 0, fill cells and count."
    )
    by_cost = plan.get("allocation") != "uniform"
    held = "how much to purify is chosen on" if plan.get("purify", True) else "validation scores are of"  # older results chose it always
    yield (
        f"Samples: {held} {m['validation_images']:,} training {samples_of(m)} that training here holds out; the network that came in may "
        "have been trained on them, which makes it look better there than it is. "
        f"{'Ratios are chosen on those to train on. ' if by_cost else ''}Test samples only judge."
    )
    if by_cost:
        bits = " or bits" if "auto" in (plan.get("bits"), plan.get("input_bits")) else ""
        yield (
            f"Ratios: in about {plan['rounds']} rounds, each time the filters or inputs{bits} that spare most of the targets' cost for "
            f"their damage ({damage_told(m)}); then a short retraining, on which the next round measures "
            f"({m['search_images']:,} training {samples_of(m)}). Cost is the simulated chip's, fitted to 48 sizes of each layer, and set "
            "right by the whole network's after each round. What is kept are the numbers."
        )
    else:
        yield "Ratios: the same share of filters in every layer but those that give the outputs, the largest share that meets the targets."
    pulled = {"admm": "ADMM", "gradual": "gradual magnitude"}.get(plan.get("method", "admm"))
    chosen = "filters and inputs of least magnitude go at once"
    if pulled:
        chosen = f"{pulled} to filters {plan['filters']}, to inputs {plan['inputs']}"
    levels = f"; ADMM to levels {plan['levels']}" if plan.get("method", "admm") == "admm" else ""
    yield (
        f"Training, in epochs: {chosen}, retraining {plan['pruned']}; "
        f"after purification {plan['purified']}{levels}, on levels {plan['quantised']}; with mismatch "
        f"{plan['final']}, and as long without as its control."
    )
    yield (
        "Mismatch retraining: programming errors of every cell are drawn anew in every forward pass, gradients go straight "
        "through. The final network is the one with it."
    )
    yield chips_note(sheet)
    yield f"Compressing took {m['seconds']:.0f} s in this call."

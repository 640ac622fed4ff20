"""What compressing a network for a chip brought: tables, one JSON file, and pages drawn from them."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbar.reports.metric import ShownMetric
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import load_sheet, save_sheet, write_text
from xbar.reports.style import (
    ACCENT,
    FILLS,
    INK,
    ROW_HEIGHT,
    SECOND,
    SOFT,
    WARNING,
    Column,
    cut,
    draw_table,
    human,
    page,
    percent,
    plot,
    write,
)

FILE = "compression.json"
TABLES = {"stages": "stage", "layers": "layer", "steps": None, "frontier": None, "admm": None}
MAY_BE_EMPTY = ("steps", "frontier", "admm")
NAMES = {
    "uncompressed": "uncompressed",
    "longer": "uncompressed, trained on as long",
    "pruned": "pruning only",
    "purified": "+ purification",
    "quantised": "+ device levels",
    "control": "trained on, without mismatch",
    "final": "+ mismatch retraining",
}
METHODS = {"cost-aware-magnitude": ("D", INK, "-"), "cost-aware": ("o", ACCENT, "-"), "uniform": ("s", SECOND, "--"),
           "magnitude": ("^", WARNING, ":")}  # fmt: skip
METHOD_NAMES = {
    "cost-aware-magnitude": "one-shot magnitude, ratios by cost on the chip",
    "cost-aware": "ADMM, ratios by cost on the chip",
    "uniform": "ADMM, uniform ratios",
    "magnitude": "one-shot magnitude, uniform ratios",
}
LAYERS_PER_PAGE = 24
MOST_POINTS = 12  # of methods and budgets in the table under their picture


@dataclass(frozen=True)
class CompressionSheet:
    """One compression. meta, stages, layers, steps, frontier, admm: as in `xbar.workloads.study.compress.CompressionResult`; meta also has
    the network's name and title."""

    meta: dict[str, Any]
    stages: pd.DataFrame
    layers: pd.DataFrame
    steps: pd.DataFrame
    frontier: pd.DataFrame
    admm: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write each table as CSV and compression.json last."""
        indexed = [name for name, index in TABLES.items() if index is not None]
        save_sheet(directory, FILE, self.meta, {name: getattr(self, name) for name in TABLES}, indexed)

    @classmethod
    def load(cls, directory: Path) -> "CompressionSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""

        def read(path: Path, name: str) -> pd.DataFrame:
            table, index = pd.read_csv(path, dtype={"layer": str}), TABLES[name]
            return table if index is None else table.set_index(index)

        meta, tables = load_sheet(directory, FILE, "compression", {name: name in MAY_BE_EMPTY for name in TABLES}, read)
        return cls(meta, **tables)


def draw_compression(sheet: CompressionSheet, directory: Path) -> list[Path]:
    """Write compression.pdf, a PNG a page and summary.txt; the paths. The same sheet gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    named = {"compression": summary(sheet)}
    tables, end = _layer_pages(sheet)
    shared = end - DEFINED_BELOW - _definitions_height(sheet, **SMALL) > 0.05
    if shared:
        _write_definitions(tables[-1], sheet, end - DEFINED_BELOW, **SMALL)
    named |= {f"compression_layers_{i}": figure for i, figure in enumerate(tables, 1)}
    if len(_reached(sheet)):
        named["compression_methods"] = methods(sheet)
    if not shared:
        named["compression_definitions"] = definitions(sheet)
    m = sheet.meta
    footer = f"xbar {m['version']}  ·  workload {m['workload']}  ·  chip {m['chip']}  ·  seed {m['plan']['seed']}"
    title = f"{m['title']} compressed for {m['chip_title']}"
    document = Document(
        title, verdict(sheet), named, footer, tables={name: getattr(sheet, name) for name in TABLES}, record=Record.load(directory),
    )  # fmt: skip
    paths = save_document(document, directory / "compression.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


# ---- in words


def lost(sheet: CompressionSheet) -> float:
    """What of the score is lost in float, in the metric's unit, on all test samples: against the uncompressed network trained on as
    long, where that was done, else as it came in."""
    return ShownMetric.of(sheet.meta).lost(_score_before(sheet.meta), float(sheet.meta["float_after"]))


def _score_before(meta: Mapping[str, Any]) -> float:
    longer = meta.get("float_longer")
    return float(meta["float_before"] if longer is None else longer)


def ahead(frontier: pd.DataFrame, column: str, other: str, ours: str = "cost-aware") -> pd.DataFrame:
    """What `ours` takes at the accuracy of each point of the method `other`: accuracy, other, ours (both of `column`, J or m²)
    and share, ours over other. Ours is interpolated between its points that no other of it beats, log cost over accuracy;
    accuracies that these do not span are left out."""
    reached = frontier[frontier["reached"] > 0]
    mine = reached[reached["method"] == ours].sort_values([column, "float"], ascending=[True, False])
    best = mine[mine["float"] > mine["float"].cummax().shift(fill_value=-1.0)]
    theirs = reached[reached["method"] == other].sort_values(column)
    if best.empty:
        return pd.DataFrame(columns=["accuracy", "other", "ours", "share"])
    spanned = theirs[theirs["float"].between(best["float"].min(), best["float"].max())]
    found = np.exp(np.interp(spanned["float"], best["float"], np.log(best[column])))
    return pd.DataFrame({"accuracy": spanned["float"].to_numpy(), "other": spanned[column].to_numpy(), "ours": found,
                         "share": found / spanned[column].to_numpy()})  # fmt: skip


def ahead_text(frontier: pd.DataFrame) -> str:
    """By how much one-shot magnitude at ratios by cost (in older results ADMM) is ahead of the others at equal accuracy, in words."""
    parts = []
    ours = "cost-aware-magnitude" if "cost-aware-magnitude" in set(frontier["method"]) else "cost-aware"
    for other in (name for name in METHODS if name != ours and name in set(frontier["method"])):
        said = []
        for column, what in (("energy_J", "energy"), ("area_m2", "area")):
            found = ahead(frontier, column, other, ours)
            if len(found):
                shares = ", ".join(f"{percent(row['share'], 0)} at {percent(row['accuracy'], 2)}" for _, row in found.iterrows())
                said.append(f"{what} {shares}")
        parts.append(f"Of {METHOD_NAMES[other]}: " + ("; ".join(said) if said else "no accuracy in common"))
    return f"What {METHOD_NAMES[ours]}, takes of the others' cost at equal accuracy (interpolated). " + ". ".join(parts) + "."


def saved(sheet: CompressionSheet, what: str, to: str = "after") -> float:
    """Share of area_m2, power_W, energy_J, latency_s or weights that is gone in `to`: "pruned", "fewer_bits" or "after"."""
    if what == "weights":
        return 0.0 if to == "fewer_bits" else 1 - float(sheet.meta["weights_after"]) / float(sheet.meta["weights_before"])
    footprints = sheet.meta["footprints"]
    return 1 - float(footprints[to][what]) / float(footprints["before"][what])


def verdict(sheet: CompressionSheet) -> str:
    """What came of it, in two sentences."""
    m, gone, shown = sheet.meta, lost(sheet), ShownMetric.of(sheet.meta)
    nothing = abs(gone) < (5e-5 if shown.is_share else 5e-5 * abs(_score_before(m)))
    change = f"no {shown.word} lost" if nothing else f"{shown.difference(abs(gone), 2)} {'lost' if gone > 0 else 'gained'}"
    return (
        f"{m['compression']:.1f} times fewer weights, {_less(saved(sheet, 'power_W'))} power and "
        f"{_less(saved(sheet, 'area_m2'))} area at {change} ({shown.text(_score_before(m), 2)} to {shown.text(m['float_after'], 2)} "
        f"on {m['test_images']:,} test {_samples(m)}{_longer(m)}). Pruning alone, at the {_bits(m)} of before: "
        f"{_less(saved(sheet, 'power_W', 'pruned'))} power, {_less(saved(sheet, 'area_m2', 'pruned'))} area.{_missed(m)}"
    )


def _less(share: float) -> str:
    return f"{percent(abs(share))} {'more' if share < 0 else 'less'}"


def given_back_text(meta: Mapping[str, Any]) -> str:
    """What of each target the choice of ratios uses after what still fits was given back, and why no more, in words; nothing for older
    results."""
    told = []
    for name, each in meta.get("given_back", {}).items():
        why = f", {each['why']}" if each["why"] else ""
        cut, left, allowed = (percent(each[column], 2) for column in ("cut", "left", "allowed"))
        told.append(f"{name} {left} of {allowed} allowed (by rounds alone {cut}{why})")
    return f"Used by the ratios before training: {'; '.join(told)}." if told else ""


def tries_text(meta: Mapping[str, Any]) -> str:
    """What loss of accuracy was allowed and what each try did, in words; nothing where none was asked for."""
    asked = meta.get("accuracy_target")
    if asked is None:
        return ""
    shown, told = ShownMetric.of(meta), []
    for each in asked["tries"]:
        lost = "out of reach" if each["why"] else (
            f"{shown.difference(each['lost_validation'], 2)} lost on validation, {shown.difference(each['lost_test'], 2)} on test"
        )  # fmt: skip
        told.append(f"targets x {each['factor']:.3g}: {lost}{', held' if each['held'] else ''}")
    most = f"{asked['points']:g} {'points' if shown.is_share else '% of the value'}"
    return f"Allowed: {most} lost on validation {_samples(meta)}{'' if asked['held'] else ', which no try held'}. {'; '.join(told)}."


def _missed(meta: Mapping[str, Any]) -> str:
    """Targets that the final network does not meet, in words."""
    missed = [f"{name} {percent(meta['left'][name], 2)} of {percent(share, 2)}" for name, share in meta["target"].items()
              if meta["left"][name] > share]  # fmt: skip
    return f" Not met: {', '.join(missed)}." if missed else ""


def _bits(meta: Mapping[str, Any], when: str = "before") -> str:
    """Widths of weights and inputs, in words."""
    return f"{meta[f'bits_{when}']}-bit weights and {meta[f'input_bits_{when}']}-bit inputs"


def _samples(meta: Mapping[str, Any]) -> str:
    """What samples are called."""
    return str(meta.get("samples", "images"))


def _longer(meta: Mapping[str, Any]) -> str:
    """What the accuracy before is, where the uncompressed network was trained on to compare with."""
    if meta.get("float_longer") is None:
        return ""
    return (
        f"; before: uncompressed, trained on for as many epochs, {meta['epochs']}; as it came in it reaches "
        f"{ShownMetric.of(meta).text(meta['float_before'], 2)}"
    )


def summary_text(sheet: CompressionSheet) -> str:
    """The headline numbers as plain text."""
    m, shown = sheet.meta, ShownMetric.of(sheet.meta)
    lines = [f"{m['title']} compressed for {m['chip_title']}", "", *textwrap.wrap(verdict(sheet), 110), ""]
    head = ("", "before", "pruned", "fewer bits", "both")
    lines.append(f"{head[0]:22}" + "".join(f"{text:>16}" for text in head[1:]))
    for label, cells in _footprint_rows(sheet):
        lines.append(f"{label:22}" + "".join(f"{cell.replace(chr(160), ' '):>16}" for cell in cells))
    lines += ["", f"{'stage':32}{'float':>10}{'ideal chip':>12}{'varied chips':>14}{'weights':>13}{'arrays':>8}"]
    for stage, row in sheet.stages.iterrows():
        lines.append(
            f"{NAMES[str(stage)]:32}{_or_dash(row['float'], shown):>10}{_or_dash(row['ideal'], shown):>12}"
            f"{_or_dash(row['varied_mean'], shown):>14}"
            f"{int(row['weights']):13,}{int(row['arrays']):8}"
        )
    lines += ["", *textwrap.wrap(_chips_note(sheet), 110), *textwrap.wrap(given_back_text(m), 110), *textwrap.wrap(tries_text(m), 110)]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def _or_dash(score: float, shown: ShownMetric) -> str:
    """A score for people; a dash for networks that were judged in float only."""
    return shown.text(score, 2) if pd.notna(score) else "–"


def _chips_note(sheet: CompressionSheet) -> str:
    m = sheet.meta
    whose = "the chip's own" if m["sigma_is_own"] else "assumed for varied chips"
    return (
        f"Float: all {m['test_images']:,} test {_samples(m)}. On chips: {m['chip_images']:,} of them, whose float score may differ; "
        f"varied: mean of {m['instances']} chips with a programming error of {_sigma(m)} ({m['programming_model']}, {whose})."
        + (" Dash: too large for it, judged in float only." if sheet.stages["ideal"].isna().any() else "")
    )


def _sigma(meta: Mapping[str, Any]) -> str:
    return (
        percent(meta["sigma"])
        if meta["programming_model"] not in ("polynomial", "table")
        else f"{meta['sigma']:g} times the law"
    )


def _footprint_rows(sheet: CompressionSheet) -> Iterator[tuple[str, list[str]]]:
    taken = [sheet.meta["footprints"][name] for name in ("before", "pruned", "fewer_bits", "after")]
    m = sheet.meta
    yield "bits of a weight", [str(m["bits_before"]), str(m["bits_before"]), str(m["bits_after"]), str(m["bits_after"])]
    inputs = str(m["input_bits_before"]), str(m["input_bits_after"])
    yield "bits of an input", [inputs[0], inputs[0], inputs[1], inputs[1]]
    before, after = f"{m['weights_before']:,}", f"{m['weights_after']:,}"
    yield "weights, those in cells", [before, after, before, after]
    yield "arrays in use", [f"{int(each['arrays']):,}" for each in taken]
    for label, name, unit in (
        ("area", "area_m2", "m²"),
        ("power", "power_W", "W"),
        ("power of hardware in use", "peak_power_W", "W"),
        ("energy per inference", "energy_J", "J"),
        ("latency", "latency_s", "s"),
    ):
        yield label, [human(each[name], unit) for each in taken]
    for label, name in (("area saved", "area_m2"), ("power saved", "power_W"), ("hardware's power saved", "peak_power_W"),
                        ("weights saved", "weights")):  # fmt: skip
        yield label, ["–", *(percent(saved(sheet, name, to), 2) for to in ("pruned", "fewer_bits", "after"))]


# ---- pages


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
    footprints = [[label, *cells] for label, cells in _footprint_rows(sheet)]
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
            _or_dash(row["ideal"], shown),
            f"{shown.text(row['varied_mean'], 2)} ± {shown.number(row['varied_std'])}" if pd.notna(row["varied_mean"]) else "–",
            _or_dash(row["varied_least" if shown.better == "high" else "varied_most"], shown),
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
    write(figure, 0.05, end - 0.016, "\n".join(textwrap.wrap(_chips_note(sheet), 190)), size=7.5, colour=SOFT, vertical="top")
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


def layer_tables(sheet: CompressionSheet) -> list[Figure]:
    """One row a layer, before and after, and how the ratios were chosen, where that has room."""
    return _layer_pages(sheet)[0]


def _layer_pages(sheet: CompressionSheet) -> tuple[list[Figure], float]:
    """The pages of layers, and where the last one's tables end."""
    columns: tuple[Column, ...] = (
        ("layer", 0.05, "left"),
        ("rows kept", 0.265, "right"),
        ("columns kept", 0.385, "right"),
        ("weights", 0.525, "right"),
        ("bits", 0.595, "right"),
        ("arrays", 0.685, "right"),
        ("pruned only", 0.765, "right"),
        ("energy", 0.95, "right"),
    )
    rows = [
        [
            cut(str(name), 24),
            f"{int(r['outputs_after'])} of {int(r['outputs_before'])}",
            f"{int(r['inputs_after'])} of {int(r['inputs_before'])}",
            f"{int(r['weights_before']):,} → {int(r['weights_after']):,}",
            f"{int(r['bits_before'])} → {int(r['bits_after'])}",
            f"{int(r['arrays_before'])} → {int(r['arrays_after'])}",
            f"{int(r['arrays_pruned'])}",
            f"{human(r['energy_before_J'], 'J')} → {human(r['energy_after_J'], 'J')}",
        ]
        for name, r in sheet.layers.iterrows()
    ]
    totals = sheet.layers.sum()
    rows.append(
        [
            "all",
            "",
            "",
            f"{int(totals['weights_before']):,} → {int(totals['weights_after']):,}",
            "",
            f"{int(totals['arrays_before'])} → {int(totals['arrays_after'])}",
            f"{int(totals['arrays_pruned'])}",
            f"{human(totals['energy_before_J'], 'J')} → {human(totals['energy_after_J'], 'J')}",
        ]
    )
    subtitle = (
        "rows: outputs; columns: inputs; pruned only: arrays at the bits before; energy: dynamic, of an inference; "
        "damage: the loss's change, squared"
    )
    figures = []
    for first in range(0, len(rows), LAYERS_PER_PAGE):
        figure = page("Layers before and after", subtitle)
        end = draw_table(figure, 0.845, columns, rows[first : first + LAYERS_PER_PAGE])
        figures.append(figure)
    steps = sheet.steps
    room = int((end - 0.16) / ROW_HEIGHT)
    if len(steps) and room > 3:
        targets = [name for name in ("area", "power", "weights") if name in steps]
        columns = (
            ("how the ratios were chosen: round", 0.05, "left"),
            ("layer", 0.31, "left"),
            ("filters", 0.47, "right"),
            ("inputs", 0.55, "right"),
            ("damage", 0.67, "right"),
            *((f"{t} left", 0.77 + 0.09 * i, "right") for i, t in enumerate(targets)),
        )
        cells = [
            [
                str(int(r["round"])) if r.get("step", "cut") in ("cut", "bits") else str(r["step"]),
                cut(str(r["layer"]), 18),
                *(("", "") if r.get("step") == "bits" else (str(int(r["filters"])), str(int(r["inputs"])))),
                f"{r['damage']:.1e}",
                *(percent(r[t]) for t in targets),
            ]
            for _, r in steps.iterrows()
        ]
        if len(cells) > room:
            half = room // 2
            left_out = f"{len(cells) - room + 1} rows more in steps.csv"
            cells = [*cells[:half], ["…", left_out, *[""] * (len(columns) - 2)], *cells[len(cells) - room + half + 1 :]]
        end = draw_table(figures[-1], end - 0.07, columns, cells)
    if used := given_back_text(sheet.meta):
        used = f"{used} Damage below 0: what came back is estimated to gain so much. {tries_text(sheet.meta)}"
        used = "\n".join(textwrap.wrap(used, 190))
        write(figures[-1], 0.05, end - 0.016, used, size=7.5, colour=SOFT, vertical="top")
        end -= 0.016 * (used.count("\n") + 1)
    return figures, end


def _reached(sheet: CompressionSheet) -> pd.DataFrame:
    frontier = sheet.frontier
    return frontier[frontier["reached"] > 0] if len(frontier) else frontier


def methods(sheet: CompressionSheet) -> Figure:
    """Accuracy against energy and area of the ways to choose what goes, trained alike."""
    found, m = _reached(sheet), sheet.meta
    admm, retraining = m["plan"]["frontier"]
    figure = page(
        "Which way to choose what goes",
        f"each point: {admm + retraining} epochs on {m['frontier_images']:,} training {_samples(m)}, "
        f"footprint at {_bits(m, 'after')}; not the full training of the first page",
    )
    first = m["footprints"]["before"]
    for index, (column, unit, factor, label) in enumerate(
        (("energy_J", "J", 1e6, "energy per inference, µJ"), ("area_m2", "m²", 1e6, "area, mm²"))
    ):
        axes = plot(
            figure,
            (0.08 + 0.47 * index, 0.42, 0.38, 0.37),
            f"Against {'energy' if unit == 'J' else 'area'}",
            "both",
        )
        for method, rows in found.groupby("method", sort=False):
            marker, colour, line = METHODS[str(method)]
            rows = rows.sort_values(column)
            axes.plot(
                rows[column] * factor,
                ShownMetric.of(m).factor * rows["float"],
                marker=marker,
                color=colour,
                linestyle=line,
                label=METHOD_NAMES[str(method)],
                markersize=6,
            )
        before = ShownMetric.of(m).factor * _score_before(m)
        axes.axhline(before, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.text(
            1.0,
            before,
            f"uncompressed, at {human(first[column], unit)}",
            transform=axes.get_yaxis_transform(),
            fontsize=7.5,
            color=SOFT,
            ha="right",
            va="bottom",
        )
        axes.set_xlabel(label, fontsize=8.5)
        axes.set_ylabel(f"{ShownMetric.of(m).axis} in float, all test {_samples(m)}", fontsize=8.5)
        axes.set_xlim(left=0)
        if not index:
            axes.legend(
                frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 1.29), labelcolor=INK, ncols=2
            )
    columns: tuple[Column, ...] = (
        ("targets times", 0.05, "left"),
        ("method", 0.16, "left"),
        (ShownMetric.of(m).word, 0.50, "right"),
        ("weights", 0.60, "right"),
        ("arrays", 0.68, "right"),
        ("energy", 0.81, "right"),
        ("area", 0.95, "right"),
    )
    rows_ = [
        [
            f"{r['budget']:g}",
            METHOD_NAMES[str(r["method"])],
            *(
                [
                    ShownMetric.of(m).text(r["float"], 2),
                    f"{int(r['weights']):,}",
                    str(int(r["arrays"])),
                    human(r["energy_J"], "J"),
                    human(r["area_m2"], "m²"),
                ]
                if r["reached"]
                else ["out of reach", "", "", "", ""]
            ),
        ]
        for _, r in sheet.frontier.iterrows()
    ]
    if len(rows_) > MOST_POINTS:
        rows_ = [*rows_[: MOST_POINTS - 1], ["…", f"{len(rows_) - MOST_POINTS + 1} rows more in frontier.csv", *[""] * 5]]
    end = draw_table(figure, 0.352, columns, rows_, row=0.0165)
    write(figure, 0.05, end - 0.022, "\n".join(textwrap.wrap(ahead_text(sheet.frontier), 175)), size=8, vertical="top")
    return figure


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
        f"{_bits(m)}, after {_bits(m, 'after')}: fewer bits of a weight take fewer cells, of an input fewer steps. \"Pruned "
        'alone" is the final network at the bits of before, "fewer bits alone" the uncompressed network at those after.'
    )
    yield (
        "Compression: weights of all layers with a matrix, biases not counted, over those that are left: outputs times inputs of each. "
        "Rows and columns of zeros take no bitlines or wordlines, they are packed away when the network is mapped; single zeros, such as "
        "weights rounded to the level 0, fill cells and count."
    )
    yield (
        f"Samples: how much to purify is chosen on {m['validation_images']:,} training {_samples(m)} that training here holds out; the "
        "network that came in may have been trained on them, which makes it look better there than it is. Ratios are chosen on "
        "those to train on. Test samples only judge."
    )
    yield (
        f"Ratios: in about {plan['rounds']} rounds, each time the filters or inputs that spare most of the targets' cost for what "
        "the loss does without them (squared, to first order); then a short retraining, on which the next round measures "
        f"({m['search_images']:,} training {_samples(m)}). Cost is the simulated chip's, fitted to 48 sizes of each layer, and set right "
        "by the whole network's after each round. What is kept are the numbers."
    )
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
    yield _chips_note(sheet)
    yield f"Compressing took {m['seconds']:.0f} s in this call."

"""What compressing a network for a chip left, tables and one JSON file; and what came of it in words."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from xbar.reports.metric import ShownMetric
from xbar.reports.results import load_sheet, save_sheet
from xbar.reports.style import human, percent

FILE = "compression.json"
INDEX = {"stages": "stage", "layers": "layer"}  # of tables that are always there; the others may be empty
NAMES = {
    "uncompressed": "uncompressed",
    "longer": "uncompressed, trained on as long",
    "pruned": "pruning only",
    "purified": "+ purification",
    "quantised": "+ device levels",
    "control": "trained on, without mismatch",
    "final": "+ mismatch retraining",
}


@dataclass(frozen=True)
class CompressionSheet:
    """One compression. meta: settings and headline numbers, with the network's name and title.

    stages: one row a stage (accuracy in float, on ideal and varied chips, weights, footprint); layers: one row a layer,
    before and after; steps: of the allocation; sensitivity: what the loss does without a share of each layer's filters or inputs, those of
    least worth, with the others solved again, before anything is cut (layer, side, share, damage); frontier: one row a method and budget;
    admm: residuals by stage, epoch and layer (`xbar.compression.admm.Admm.history`).
    """

    meta: dict[str, Any]
    stages: pd.DataFrame
    layers: pd.DataFrame
    steps: pd.DataFrame
    sensitivity: pd.DataFrame
    frontier: pd.DataFrame
    admm: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        return {name: getattr(self, name) for name in TABLES}

    def save(self, directory: Path) -> None:
        """Write each table as CSV and compression.json last."""
        save_sheet(directory, FILE, self.meta, self.tables, INDEX)

    @staticmethod
    def load(directory: Path) -> "CompressionSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""

        def read(path: Path, name: str) -> pd.DataFrame:
            table = pd.read_csv(path, dtype={"layer": str})
            return table.set_index(INDEX[name]) if name in INDEX else table

        meta, tables = load_sheet(directory, FILE, "compression", {name: name not in INDEX for name in TABLES}, read)
        return CompressionSheet(meta, **tables)


TABLES = tuple(each.name for each in fields(CompressionSheet) if each.name != "meta")


# ---- in words


def lost(sheet: CompressionSheet) -> float:
    """What of the score is lost in float, in the metric's unit, on all test samples: against the uncompressed network, the better of as it
    came in and trained on as long, where that was done."""
    return ShownMetric.of(sheet.meta).lost(score_before(sheet.meta), float(sheet.meta["float_after"]))


def score_before(meta: Mapping[str, Any]) -> float:
    """Of the uncompressed network: the better of as it came in and trained on, where that was done."""
    longer, first = meta.get("float_longer"), float(meta["float_before"])
    if longer is None:
        return first
    return max(first, float(longer)) if ShownMetric.of(meta).better == "high" else min(first, float(longer))


def saved(sheet: CompressionSheet, what: str, to: str = "after") -> float:
    """Share of area_m2, power_W, energy_J, latency_s or weights that is gone in `to`: "pruned", "fewer_bits" or "after"."""
    if what == "weights":
        return 0.0 if to == "fewer_bits" else 1 - float(sheet.meta["weights_after"]) / float(sheet.meta["weights_before"])
    footprints = sheet.meta["footprints"]
    return 1 - float(footprints[to][what]) / float(footprints["before"][what])


def damage_told(meta: dict[str, Any]) -> str:
    """What the damage of going without something is, in words."""
    return str(meta.get("damage", "the loss's change, squared, to first order"))


def verdict(sheet: CompressionSheet) -> str:
    """What came of it, in two sentences."""
    m, gone, shown = sheet.meta, lost(sheet), ShownMetric.of(sheet.meta)
    nothing = abs(gone) < (5e-5 if shown.is_share else 5e-5 * abs(score_before(m)))
    change = f"no {shown.word} lost" if nothing else f"{shown.difference(abs(gone), 2)} {'lost' if gone > 0 else 'gained'}"
    return (
        f"{m['compression']:.1f} times fewer weights, {_less(saved(sheet, 'power_W'))} power and "
        f"{_less(saved(sheet, 'area_m2'))} area at {change} ({shown.text(score_before(m), 2)} to {shown.text(m['float_after'], 2)} "
        f"on {m['test_images']:,} test {samples_of(m)}{_longer(m)}). Pruning alone, at the {bits_told(m)} of before: "
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
    return f"Allowed: {most} lost on validation {samples_of(meta)}{'' if asked['held'] else ', which no try held'}. {'; '.join(told)}."


def _missed(meta: Mapping[str, Any]) -> str:
    """Targets that the final network does not meet, in words."""
    missed = [f"{name} {percent(meta['left'][name], 2)} of {percent(share, 2)}" for name, share in meta["target"].items()
              if meta["left"][name] > share]  # fmt: skip
    return f" Not met: {', '.join(missed)}." if missed else ""


def bits_told(meta: Mapping[str, Any], when: str = "before") -> str:
    """Widths of weights and inputs, in words."""
    return f"{meta[f'bits_{when}']}-bit weights and {meta[f'input_bits_{when}']}-bit inputs"


def samples_of(meta: Mapping[str, Any]) -> str:
    """What samples are called."""
    return str(meta.get("samples", "images"))


def _longer(meta: Mapping[str, Any]) -> str:
    """What the accuracy before is, where the uncompressed network was trained on to compare with."""
    if meta.get("float_longer") is None:
        return ""
    shown, epochs = ShownMetric.of(meta), meta.get("longer_epochs") or meta["epochs"]
    told = "as many epochs" if meta["plan"].get("longer_by", "epochs") == "epochs" else "as many minutes of the processor"
    if meta.get("accuracy_target", {}).get("longer_as") is not None:
        told += f" as the try at {meta['accuracy_target']['longer_as']:.3g} times the targets took"
    return (
        f"; before: uncompressed, the better of {shown.text(meta['float_before'], 2)} as it came in and "
        f"{shown.text(meta['float_longer'], 2)} trained on for {told}, {epochs} epochs"
    )


def summary_text(sheet: CompressionSheet) -> str:
    """The headline numbers as plain text."""
    m, shown = sheet.meta, ShownMetric.of(sheet.meta)
    lines = [f"{m['title']} compressed for {m['chip_title']}", "", *textwrap.wrap(verdict(sheet), 110), ""]
    head = ("", "before", "pruned", "fewer bits", "both")
    lines.append(f"{head[0]:22}" + "".join(f"{text:>16}" for text in head[1:]))
    for label, cells in footprint_rows(sheet):
        lines.append(f"{label:22}" + "".join(f"{cell.replace(chr(160), ' '):>16}" for cell in cells))
    lines += ["", f"{'stage':32}{'float':>10}{'ideal chip':>12}{'varied chips':>14}{'weights':>13}{'arrays':>8}"]
    for stage, row in sheet.stages.iterrows():
        lines.append(
            f"{NAMES[str(stage)]:32}{or_dash(row['float'], shown):>10}{or_dash(row['ideal'], shown):>12}"
            f"{or_dash(row['varied_mean'], shown):>14}"
            f"{int(row['weights']):13,}{int(row['arrays']):8}"
        )
    lines += ["", *textwrap.wrap(chips_note(sheet), 110), *textwrap.wrap(given_back_text(m), 110), *textwrap.wrap(tries_text(m), 110)]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def or_dash(score: float, shown: ShownMetric) -> str:
    """A score for people; a dash for networks that were judged in float only."""
    return shown.text(score, 2) if pd.notna(score) else "–"


def chips_note(sheet: CompressionSheet) -> str:
    m = sheet.meta
    whose = "the chip's own" if m["sigma_is_own"] else "assumed for varied chips"
    return (
        f"Float: all {m['test_images']:,} test {samples_of(m)}. On chips: {m['chip_images']:,} of them, whose float score may differ; "
        f"varied: mean of {m['instances']} chips with a programming error of {_sigma(m)} ({m['programming_model']}, {whose})."
        + (" Dash: too large for it, judged in float only." if sheet.stages["ideal"].isna().any() else "")
    )


def _sigma(meta: Mapping[str, Any]) -> str:
    return (
        percent(meta["sigma"])
        if meta["programming_model"] not in ("polynomial", "table")
        else f"{meta['sigma']:g} times the law"
    )


def footprint_rows(sheet: CompressionSheet) -> Iterator[tuple[str, list[str]]]:
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

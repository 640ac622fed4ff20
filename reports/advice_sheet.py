"""What `xbar advise` left: tables, JSON; in words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xbar.reports.metric import ShownMetric
from xbar.reports.results import load_sheet, save_sheet
from xbar.reports.style import NAMES, human, percent

FILE = "advice.json"
TABLES = {"advice": False, "bottlenecks": False, "latency": False, "periods": False, "shares": False}  # whether each may miss
UNITS = {"energy": "J", "latency": "s", "throughput": "/s", "area": "m²"}
PLURALS = NAMES | {
    "adc": "ADCs", "dac": "DACs", "sample_hold": "sample-and-holds", "shift_add": "shift-and-add units", "activation": "activation units",
    "pool": "pooling units",
}  # fmt: skip
SINGULAR = ("leakage", "mesh")  # of the parts that have names
TITLES = {"energy": "Energy on chip", "latency": "Latency", "throughput": "Throughput", "area": "Area on chip"}


@dataclass(frozen=True)
class AdviceSheet:
    """meta: what was advised on, and its values by objective (SI). changes: one row a change, kind "single" or "pair": change, keys (as
    --set takes them), and by objective simulated value, _estimated, _change and _estimated_change (value over the present one, less 1),
    _agrees (within the band that is stated), _helps, _rank, _reason; score, score_change with score_low and score_high (95 %),
    costs_score (beyond that band, or more than `lost` on the mean), helps_score; error: why it cannot be; note: warnings. bottlenecks: what
    binds, and what comes next; latency: the critical path of a request by layer, part and component; periods: what bounds the
    throughput; shares: of energy and area."""

    meta: dict[str, Any]
    changes: pd.DataFrame
    bottlenecks: pd.DataFrame
    latency: pd.DataFrame
    periods: pd.DataFrame
    shares: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write advice.json, advice.csv and a CSV of every other table."""
        tables = {"advice": self.changes, **{name: getattr(self, name) for name in TABLES if name != "advice"}}
        save_sheet(directory, FILE, self.meta, tables)

    @classmethod
    def load(cls, directory: Path) -> "AdviceSheet":
        """Read them back; raises ResultsError."""

        def read(path: Path, _: str) -> pd.DataFrame:
            texts = ("change", "keys", "error", "note", "layer", *(f"{name}_reason" for name in UNITS))
            return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=True).fillna(dict.fromkeys(texts, ""))

        meta, tables = load_sheet(directory, FILE, "advice", TABLES, read)
        return cls(meta, tables["advice"], *(tables[name] for name in TABLES if name != "advice"))

    def best(self, objective: str, kind: str = "single", most: int = 5) -> pd.DataFrame:
        """The changes that help an objective, the best first."""
        found = self.changes[(self.changes["kind"] == kind) & _true(self.changes[f"{objective}_helps"])]
        return found.sort_values(f"{objective}_rank", kind="stable").head(most)

    def best_scores(self, most: int = 5) -> pd.DataFrame:
        """Single changes that help the score beyond its interval, the best first; none where it was not judged."""
        found = self.changes[(self.changes["kind"] == "single") & _true(self.changes["helps_score"])]
        return found.sort_values("score_change", ascending=self.metric.better != "high", kind="stable").head(most)

    @property
    def disagreeing(self) -> list[tuple[str, str]]:
        """Changes whose estimate is beyond its band of what was simulated, with the objective."""
        done = self.changes[self.changes["error"] == ""]
        return [(str(row["change"]), name) for name in UNITS for _, row in done[~_true(done[f"{name}_agrees"])].iterrows()]

    @property
    def metric(self) -> ShownMetric:
        """What the network is judged by."""
        return ShownMetric.of(self.meta)


def _true(column: pd.Series) -> pd.Series:
    return column.astype(str) == "True"


def changed(share: float) -> str:
    """A change in percent of what there is, with its sign."""
    return "" if share is None or math.isnan(share) else f"{100 * share:+.1f}\u00a0%".replace("-", "\u2212")


def score_text(sheet: AdviceSheet, row: "pd.Series[Any]") -> str:
    """What a change does to the score, with its interval; that it does nothing, or was not judged."""
    if not _true(pd.Series([row["scores"]])).iloc[0]:
        return "unchanged"
    if sheet.meta["score"] is None:
        return "not judged"
    shown, value, low, high = sheet.metric, *(float(row[name]) for name in ("score_change", "score_low", "score_high"))
    told = [f"{shown.factor * each:+.1f}" if shown.is_share else f"{each:+.2g}" for each in (value, low, high)]
    if math.isnan(low):
        return f"{told[0]} {shown.step_short}".replace("-", "\u2212")
    return f"{told[0]} ({told[1]} to {told[2]}) {shown.step_short}".replace("-", "\u2212")


def part_name(name: str) -> str:
    """A component or part as pages call it."""
    return PLURALS.get(name, name)


def takes(name: str) -> str:
    """A component or part with its verb."""
    return f"{part_name(name)} {'takes' if name in SINGULAR else 'take'}"


def binding(sheet: AdviceSheet) -> Iterator[tuple[str, str]]:
    """By objective, what binds and what would next, in a sentence."""
    for _, row in sheet.bottlenecks.iterrows():
        of, binds, then = str(row["of"]), str(row["binds"]), str(row["next"])
        first, second = percent(float(row["share"]), 0), percent(float(row["next_share"]), 0)
        if of == "throughput":
            yield of, _periods(sheet)
        elif of == "latency":
            yield of, f"{takes(binds)} {first}{_waited(sheet, binds)}, set by {part_name(str(row['by']))}; next {then} with {second}"
        else:
            yield of, f"{takes(binds)} {first}; next {part_name(then)} with {second}"


def _periods(sheet: AdviceSheet) -> str:
    held = [(str(row["kind"]), human(float(row["period_s"]), "s")) for _, row in sheet.periods.head(2).iterrows()]
    comes = human(1 / float(sheet.meta["values"]["throughput"]), "s")
    told = f"{held[0][0]} are held {held[0][1]} a request, and results come every {comes}"
    return f"{told}; were they free, {held[1][0]} would bind with {held[1][1]}" if len(held) > 1 else told


def _waited(sheet: AdviceSheet, part: str) -> str:
    mine = sheet.latency[sheet.latency["part"] == part]
    total, waited = float(mine["time_s"].sum()), float((mine["time_s"] * mine["waiting_share"]).sum())
    return f" ({percent(waited / total, 0)} of that while a vector waits for its turn)" if total and waited / total > 0.005 else ""


def band_text(sheet: AdviceSheet, objective: str) -> str:
    """In what band estimates are to agree."""
    band = float(sheet.meta["bands"][objective])
    return f"estimates within {percent(band, 0)} of what is simulated, or marked ≠" if band > 1e-6 else "by the laws of the components"


def verdict(sheet: AdviceSheet) -> str:
    """The best change of each objective, in a sentence."""
    parts = []
    for name in UNITS:
        best = sheet.best(name, most=1)
        if len(best):
            row = best.iloc[0]
            parts.append(f"{TITLES[name].lower()} {changed(float(row[f'{name}_change']))} by {row['change']}")
    return ("What gives most: " + "; ".join(parts) + ".") if parts else "No single change that was tried helps."


def score_line(sheet: AdviceSheet) -> str:
    """The score as it is, and what helps it beyond its interval, in a sentence; empty where it was not judged."""
    if sheet.meta["score"] is None:
        return ""
    best = sheet.best_scores(3)
    told = "; ".join(f"{row['change']} {score_text(sheet, row)}" for _, row in best.iterrows())
    return f"{sheet.metric.text(float(sheet.meta['score']), 1)}; {told or 'no change that was tried helps it beyond its 95 % interval'}"


def headlines(sheet: AdviceSheet) -> list[tuple[str, str, str]]:
    """Label, value and what binds, by objective."""
    bound = dict(binding(sheet))
    return [(TITLES[name], human(float(sheet.meta["values"][name]), UNITS[name]), bound.get(name, "")) for name in UNITS]


def summary_text(sheet: AdviceSheet) -> str:
    """All of it as plain text: what binds, and by objective the best changes and pairs, estimated and simulated."""
    lines = [f"What to change: {sheet.meta['title']}", "", verdict(sheet), "", "What binds:"]
    lines += [f"  {TITLES[name] + ':':16}{human(float(sheet.meta['values'][name]), UNITS[name])}; {told}" for name, told in binding(sheet)]
    for name, title in TITLES.items():
        lines += ["", f"{title} ({band_text(sheet, name)}):"]
        found = pd.concat([sheet.best(name), sheet.best(name, "pair", 2)])
        for _, row in found.iterrows():
            flag = " " if str(row[f"{name}_agrees"]) == "True" else "≠"
            lines.append(
                f"  {row['change']:<58} estimated {changed(float(row[f'{name}_estimated_change'])):>9}, simulated "
                f"{changed(float(row[f'{name}_change'])):>9} {flag} {sheet.metric.word} {score_text(sheet, row)}"
            )
            if row["kind"] == "single":
                lines.append(f"      {row[f'{name}_reason']}")
        if not len(found):
            lines.append("  nothing that was tried helps")
    if line := score_line(sheet):
        lines += ["", f"{sheet.metric.title}, on {sheet.meta['images']} samples and {sheet.meta['instances']} chip instances:", f"  {line}"]
    refused = sheet.changes[sheet.changes["error"] != ""]
    if len(refused):
        lines += ["", "Cannot be:"] + [f"  {row['change']}: {row['error']}" for _, row in refused.iterrows()]
    lines += ["", "Not tried:"] + [f"  {name}: {why}" for name, why in sheet.meta["not_tried"].items()]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"

"""The recommender on a chip: tables, one JSON file, and pages drawn from them."""

import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbar.reports.pages import Document, save_document
from xbar.reports.recommender_load import capacity_text, energy_text, load
from xbar.reports.record import Record
from xbar.reports.results import ResultsError, load_sheet, save_sheet, write_text
from xbar.reports.style import (
    ACCENT,
    FILLS,
    INK,
    SECOND,
    SOFT,
    WARNING,
    Column,
    draw_table,
    human,
    page,
    paragraph,
    percent,
    plot,
    sections,
    significant,
    write,
)

FILE = "recommender.json"
NAMES = {
    "meta": "meta embeddings",
    "unadapted": "meta network, not adapted",
    "popularity": "popularity",
    "global": "no personalisation",
    "residual": "wide and deep, one number",
    "wide_deep": "wide and deep, IDs",
    "mf": "matrix factorisation",
    "din": "attention over history (DIN)",
    "melu": "MAML, deciding layers (MeLU)",
    "metaemb": "MetaEmb's learned start",
    "mwuf": "MWUF's scaling and shift",
}
JOINT = "Bands of leads hold for all methods together, with 95 % in each metric and group; bands of a method are its own alone."
MAY_MISS = ("by_date", "staleness", "refreshes", "intervals", "during")  # tables that may be empty
OTHER_METRICS = {"gauc": "GAUC", "ndcg": "NDCG@10", "recall": "recall@10", "log_loss": "log loss", "calibration": "calibr."}
KINDS = {"all meta embeddings": ("o", ACCENT), "one member's": ("s", "#2f9e77"), "the global block": ("^", SECOND)}


@dataclass(frozen=True)
class RecommenderSheet:
    """One run. meta: settings and headline numbers. quality, by_date: `xbar.workloads.recommender.quality.table` with users_are;
    supports, staleness: how support and its age matter; on_chips: AUC a chip instance; mappings, refreshes, intervals, during, load:
    as `xbar.workloads.recommender.on_chip` makes them."""

    meta: dict[str, Any]
    quality: pd.DataFrame
    by_date: pd.DataFrame
    supports: pd.DataFrame
    staleness: pd.DataFrame
    on_chips: pd.DataFrame
    mappings: pd.DataFrame
    refreshes: pd.DataFrame
    intervals: pd.DataFrame
    during: pd.DataFrame
    load: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write each table as CSV and recommender.json last."""
        save_sheet(directory, FILE, self.meta, {name: getattr(self, name) for name in _tables()})

    @classmethod
    def load_from(cls, directory: Path) -> "RecommenderSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""
        meta, tables = load_sheet(directory, FILE, "run of the recommender", {name: name in MAY_MISS for name in _tables()})
        if "headline_share" not in meta:
            raise ResultsError(f"{directory / FILE}: of an earlier version, whose load has no intervals; run it anew to draw it")
        if "joint_low" not in tables["quality"]:
            raise ResultsError(f"{directory / FILE}: of an earlier version, whose leads have no joint bands; run it anew to draw it")
        return cls(meta, **tables)


def _tables() -> list[str]:
    return [field.name for field in fields(RecommenderSheet) if field.name != "meta"]


def draw_recommender(sheet: RecommenderSheet, directory: Path) -> list[Path]:
    """Write report.pdf, a PNG a page and summary.txt; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {"report": summary(sheet), "report_members": members(sheet), "report_chip": chip(sheet)}
    if len(sheet.refreshes) and len(sheet.intervals):
        drawn["report_refresh"] = refreshes(sheet)
    drawn |= {"report_load": load(sheet), "report_method": method(sheet)}
    footer = f"xbar {sheet.meta['version']}  ·  recommender  ·  {sheet.meta['data']}  ·  chip {sheet.meta['chip']}"
    document = Document(
        _title(sheet), verdict(sheet), drawn, footer, tables={name: getattr(sheet, name) for name in _tables()},
        record=Record.load(directory),
    )  # fmt: skip
    paths = save_document(document, directory / "report.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


def _title(sheet: RecommenderSheet) -> str:
    return f"{sheet.meta['title']} on {sheet.meta['chip_title']}"


# ---- in words


def row_of(table: pd.DataFrame, method_name: str, metric: str = "auc", users: str = "all") -> pd.Series:
    """That row of a table of quality."""
    chosen = table[(table["method"] == method_name) & (table["metric"] == metric) & (table["users_are"] == users)]
    return chosen.iloc[0]


def verdict(sheet: RecommenderSheet) -> str:
    """What came of it, in a few sentences."""
    m = sheet.meta
    mine = row_of(sheet.quality, "meta")
    said = []
    for other in ("mf", "wide_deep", "global"):
        if other in m["methods"]:
            row = row_of(sheet.quality, other)
            holds = "ahead of" if row["joint_low"] > 0 else "behind" if row["joint_high"] < 0 else "not told apart from"
            said.append(f"{holds} {NAMES[other]} by {_lead(row)}")
    chips = sheet.on_chips.groupby(["network", "chip"])["auc"].mean()
    lost = chips["as trained", "float"] - chips["retrained with noise", "varied"]
    made = "Synthetic interactions. " if m["synthetic"] else ""
    return (
        f"{made}Meta embeddings rank test interactions with an AUC of {mine['mean']:.4f}, {'; '.join(said)}. On {m['bits']}-bit "
        f"crossbars with {percent(m['sigma'], 0)} programming error, retrained with noise, {chips['retrained with noise', 'varied']:.4f}: "
        f"{abs(lost):.4f} {'below' if lost >= 0 else 'above'} float (without retraining {chips['as trained', 'varied']:.4f}). "
        f"{energy_text(sheet)}"
    )


def summary_text(sheet: RecommenderSheet) -> str:
    """The headline numbers as plain text."""
    m = sheet.meta
    lines = [_title(sheet), "", *textwrap.wrap(verdict(sheet), 110), "", _data_text(sheet), ""]
    shown = {metric: label for metric, label in OTHER_METRICS.items() if metric in set(sheet.quality["metric"])}
    heads = "".join(f"{label:>11}" for label in shown.values())
    lines.append(f"{'method':30}{'AUC':>9}{'95 % band':>20}{heads}{'meta leads in AUC by':>30}{'in GAUC by':>30}")
    for name in m["methods"]:
        row = row_of(sheet.quality, name)
        others = "".join(f"{row_of(sheet.quality, name, metric)['mean']:11.4f}" for metric in shown)
        leads = ["", ""] if name == "meta" else [_lead(row_of(sheet.quality, name, metric)) for metric in ("auc", "gauc")]
        band = f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"{NAMES[name]:30}{row['mean']:9.4f}{band:>20}{others}{leads[0]:>30}{leads[1]:>30}".rstrip())
    lines += ["", *textwrap.wrap(JOINT, 110), "", *textwrap.wrap(_serving_text(sheet), 110), *textwrap.wrap(_compression_text(sheet), 110)]
    return "\n".join(lines).replace("\u00a0", " ") + "\n"


def _data_text(sheet: RecommenderSheet) -> str:
    m = sheet.meta
    return (
        f"{m['data']}: {m['interactions']:,} interactions of {m['users']:,} members with {m['items']:,} items, {percent(m['liked_share'])} "
        f"liked; each member's last {percent(m['shares'][2], 0)} are for test."
    )


def _serving_text(sheet: RecommenderSheet) -> str:
    m, s = sheet.meta, sheet.meta["serving"]
    return (
        f"The offline job adapts {s['members']:,} members in {s['seconds']:.1f} s, {s['members_per_second']:,.0f} a second in one process; "
        f"at that pace {m['many_members']:,.0f} members, which were not tried, take {m['hours_of_many_members']:,.0f} hours of it, over n "
        f"processes 1/n of that. "
        f"Stored are {m['embedding']} numbers a member, {m['embedding'] * s['members']:,} in all; the meta block of each member "
        f"would be {m['meta_weights']:,}, the whole network {m['all_weights']:,} a member, "
        f"{m['all_weights'] / m['embedding']:,.0f} times as much. {capacity_text(sheet)}"
    )


def _compression_text(sheet: RecommenderSheet) -> str:
    c = sheet.meta["compression"]
    if c is None:
        return "The global block was not compressed."
    before, after = c["footprints"]["before"], c["footprints"]["after"]
    return (
        f"The global block compressed: {c['compression']:.1f} times fewer weights, power "
        f"{percent(after['power_W'] / before['power_W'])} and area "
        f"{percent(after['area_m2'] / before['area_m2'])} of before (of {int(before['arrays'])} arrays {int(after['arrays'])} are left; "
        f"{c['bits']}-bit weights and {c['input_bits']}-bit inputs after); AUC {c['auc_before']:.4f} before, {c['auc_after']:.4f} after, "
        f"{c['auc_varied_mean']:.4f} on varied chips."
    )


# ---- pages


def summary(sheet: RecommenderSheet) -> Figure:
    """Verdict and table of quality."""
    figure = page("Meta-embedding recommender", f"{sheet.meta['chip_title']}  ·  {_data_text(sheet)}"[:-1])
    lines = textwrap.wrap(verdict(sheet), 122)
    write(figure, 0.05, 0.885, "\n".join(lines), size=11, vertical="top")
    columns: tuple[Column, ...] = (
        ("method, all test users", 0.05, "left"), ("AUC", 0.27, "right"), ("95 % band", 0.40, "right"), ("GAUC", 0.465, "right"),
        ("NDCG@10", 0.545, "right"), ("meta leads: AUC", 0.745, "right"), ("GAUC", 0.95, "right"),
    )  # fmt: skip
    rows = []
    for name in sheet.meta["methods"]:
        row = row_of(sheet.quality, name)
        leads = (
            ["–"] * 2 if name == "meta" else [_lead(row_of(sheet.quality, name, metric)) for metric in ("auc", "gauc")]
        )
        rows.append([
            NAMES[name], f"{row['mean']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}",
            f"{row_of(sheet.quality, name, 'gauc')['mean']:.4f}",
            f"{row_of(sheet.quality, name, 'ndcg')['mean']:.4f}", *leads,
        ])  # fmt: skip
    end = draw_table(figure, 0.846 - 0.0228 * len(lines), columns, rows)
    seeds = sheet.meta["study"]["seeds"]
    note = (
        f"Mean of {seeds} seed{'s' if seeds > 1 else ''} of training; bands: bootstrap over users and seeds, leads paired by both. {JOINT} "
        f"{sheet.meta['one_class_users']} users have test interactions of one class only and no AUC of their own; they "
        f"count in the AUC of all."
    )
    paragraph(figure, end - 0.025, note)
    axes = plot(figure, (0.215, 0.10, 0.315, end - 0.225), "Lead of meta embeddings in AUC", "x")
    _leads(axes, sheet)
    text = "\n\n".join("\n".join(textwrap.wrap(t, 62)) for t in (_serving_text(sheet), _compression_text(sheet)))
    write(figure, 0.58, end - 0.08, text, size=9, vertical="top")
    return figure


def _lead(row: pd.Series) -> str:
    """A lead with its joint band."""
    return f"{row['lead']:+.4f} ({row['joint_low']:+.4f} to {row['joint_high']:+.4f})"


def _leads(axes: Axes, sheet: RecommenderSheet) -> None:
    others = [name for name in sheet.meta["methods"] if name != "meta"]
    groups = [each for each in ("all", "warm", "cold") if each in set(sheet.quality["users_are"])]
    markers = {"all": "o", "warm": "s", "cold": "^"}
    for place, name in enumerate(reversed(others)):
        for offset, users in zip((0.2, 0.0, -0.2), groups, strict=False):
            row = row_of(sheet.quality, name, users=users)
            colour = {"all": ACCENT, "warm": SECOND, "cold": "#2f9e77"}[users]
            errors = [[row["lead"] - row["joint_low"]], [row["joint_high"] - row["lead"]]]
            label = f"{users} ({int(row['users'])} users)" if place == 0 else None
            axes.errorbar(
                row["lead"],
                place + offset,
                xerr=errors,
                fmt=markers[users],
                color=colour,
                markersize=5,
                capsize=2,
                label=label,
            )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(others)), [f"over {NAMES[name]}" for name in reversed(others)], fontsize=8)
    axes.set_ylim(-0.5, len(others) - 0.4)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def members(sheet: RecommenderSheet) -> Figure:
    """Cold and warm users, the size of the support set, its age, the split by date."""
    m = sheet.meta
    figure = page(
        "Who gains, and how long an embedding lasts",
        f"cold: at most {m['cold']} interactions before the test ones ({m['cold_users']} members)",
    )
    axes = plot(figure, (0.07, 0.62, 0.38, 0.23), "AUC by interactions adapted to")
    places = np.arange(len(sheet.supports))
    axes.plot(places, sheet.supports["auc"], "o-", color=ACCENT, label="all pairs (AUC)")
    axes.plot(places, sheet.supports["gauc"], "s--", color=SECOND, label="within a member (GAUC)")
    axes.set_xticks(places, [str(int(size)) for size in sheet.supports["support"]])
    axes.set_xlabel("latest interactions that an embedding rests on, at most")
    axes.legend(fontsize=8, frameon=False)
    axes = plot(figure, (0.56, 0.62, 0.39, 0.23), "What a stale embedding costs")
    _stale(axes, sheet)
    columns: tuple[Column, ...] = (
        ("users", 0.05, "left"), ("method", 0.235, "left"), ("users", 0.42, "right"), ("AUC", 0.50, "right"), ("GAUC", 0.58, "right"),
        ("NDCG@10", 0.67, "right"), ("meta leads in AUC", 0.95, "right"),
    )  # fmt: skip
    rows = []
    for title, found in (("", sheet.quality[sheet.quality["users_are"] != "all"]), ("by date: ", sheet.by_date)):
        shown = [name for name in ("meta", "mf", "wide_deep", "global") if len(found) and name in set(found["method"])]
        for users in found["users_are"].unique() if len(found) else ():
            for name in shown:
                row = row_of(found, name, users=users)
                values = [f"{row_of(found, name, metric, users)['mean']:.4f}" for metric in ("auc", "gauc", "ndcg")]
                rows.append(
                    [
                        title + users if name == "meta" else "",
                        NAMES[name],
                        f"{int(row['users']):,}",
                        *values,
                        "–" if name == "meta" else _lead(row),
                    ]
                )
    draw_table(figure, 0.53, columns, rows, min(0.0235, 0.45 / (len(rows) + 1)))
    return figure


def _stale(axes: Axes, sheet: RecommenderSheet) -> None:
    """AUC lost against the age of embeddings: in hours on synthetic data, else in interactions missed."""
    if sheet.staleness.empty:
        write(axes, 0.5, 0.5, "histories are too short to tell", size=8.5, colour=SOFT, align="center")
        return
    kind = "hours" if (sheet.staleness["kind"] == "hours").any() else "interactions"
    part = sheet.staleness[sheet.staleness["kind"] == kind]
    places = np.arange(len(part))
    if len(part):
        axes.fill_between(places, part["loss_low"], part["loss_high"], color=ACCENT, alpha=0.2, linewidth=0)
        axes.plot(places, part["auc"] - part["auc"].iloc[0], "o-", color=ACCENT, markersize=5)
    axes.set_xticks(places, [f"{v:g}" for v in part["missed"]])
    drift = sheet.meta["drift_hours"]
    axes.set_xlabel(
        f"hours old (tastes drift to 1/e in {drift:g} h)"
        if kind == "hours"
        else "a member's latest interactions missed"
    )
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylabel("AUC lost")


def chip(sheet: RecommenderSheet) -> Figure:
    """AUC on chips; embeddings in buffers and on crossbars; compression."""
    m = sheet.meta
    figure = page(
        "On the chip",
        f"{m['chip_title']}  ·  {m['bits']}-bit weights, {m['input_bits']}-bit inputs, programming error {percent(m['sigma'], 0)}",
    )
    axes = plot(figure, (0.07, 0.53, 0.38, 0.32), "AUC of chips")
    order = [
        (network, which)
        for network in ("as trained", "retrained with noise")
        for which in ("float", "ideal", "varied", "tables too")
    ]
    for place, (network, which) in enumerate(order):
        each = sheet.on_chips[(sheet.on_chips["network"] == network) & (sheet.on_chips["chip"] == which)]["auc"]
        axes.plot(
            [place] * len(each), each, "o", color=ACCENT if network == "as trained" else SECOND, alpha=0.5, markersize=5
        )
        axes.plot([place - 0.25, place + 0.25], [each.mean()] * 2, color=INK, linewidth=1.5)
    axes.set_xticks(range(len(order)), [f"{which}" for _, which in order])
    axes.set_xlabel("as trained (left), retrained with noise (right); a dot a chip, line: mean")
    axes.set_ylabel("AUC of test interactions")
    low = sheet.on_chips["auc"].max() - 0.005
    axes.axhline(float(sheet.on_chips["auc"].iloc[0]) - 0.005, color=WARNING, linewidth=1, linestyle=":")
    write(axes, 0.02, 0.04, "dotted: 0.005 below float", size=7.5, colour=WARNING)
    axes.set_ylim(min(low - 0.002, sheet.on_chips["auc"].min() - 0.001), sheet.on_chips["auc"].max() + 0.001)
    axes = plot(figure, (0.56, 0.53, 0.39, 0.32), f"Energy of a request of {m['study']['candidates']} candidates", "x")
    count = m["study"]["candidates"]
    for place, (_, row) in enumerate(sheet.mappings.iloc[::-1].iterrows()):
        begin = 0.0
        parts = (("global block", row["block_J"] * count), ("item look-ups", row["item_lookup_J"] * count),
                 ("member look-up", row["member_lookup_J"]))  # fmt: skip
        for (label, value), fill in zip(parts, FILLS, strict=True):
            axes.barh(place, value * 1e9, left=begin * 1e9, height=0.5, label=label if place == 0 else None, **fill)
            begin += value
    axes.set_yticks(range(len(sheet.mappings)), list(sheet.mappings["mapping"].iloc[::-1]))
    axes.set_ylim(-0.6, len(sheet.mappings) + 0.1)
    axes.set_xlabel("nJ, static power and links apart")
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=3)
    columns: tuple[Column, ...] = (
        ("embeddings in", 0.05, "left"), ("arrays", 0.22, "right"), ("area", 0.34, "right"), ("member look-up", 0.48, "right"),
        ("item look-up", 0.60, "right"), ("block, one candidate", 0.75, "right"), ("one candidate alone", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [str(row["mapping"]), f"{int(row['arrays'])}", human(row["area_m2"], "m²"), human(row["member_lookup_J"], "J"),
         human(row["item_lookup_J"], "J"),
         human(row["block_J"], "J"), human(row["latency_s"], "s")]
        for _, row in sheet.mappings.iterrows()
    ]  # fmt: skip
    end = draw_table(figure, 0.425, columns, rows)
    note = "In buffers embeddings come in as values, read in the block's energy. On crossbars a look-up drives one wordline."
    write(figure, 0.05, end - 0.02, note, size=8, colour=SOFT, vertical="top")
    _compression_table(figure, sheet, end - 0.075)
    return figure


def _compression_table(figure: Figure, sheet: RecommenderSheet, top: float) -> None:
    c = sheet.meta["compression"]
    write(figure, 0.05, top, "\n".join(textwrap.wrap(_compression_text(sheet), 160)), size=9, vertical="top")
    if c is None:
        return
    columns: tuple[Column, ...] = (("global block", 0.05, "left"), ("before", 0.40, "right"), ("pruned alone", 0.58, "right"),
                                   ("fewer bits alone", 0.77, "right"), ("both", 0.95, "right"))  # fmt: skip
    taken = [c["footprints"][name] for name in ("before", "pruned", "fewer_bits", "after")]
    rows = [["arrays", *(f"{int(each['arrays'])}" for each in taken)]]
    for label, name, unit in (
        ("area", "area_m2", "m²"),
        ("energy per candidate", "energy_J", "J"),
        ("latency of one", "latency_s", "s"),
    ):
        rows.append([label, *(human(each[name], unit) for each in taken)])
    draw_table(figure, top - 0.065, columns, rows, 0.0235)


def refreshes(sheet: RecommenderSheet) -> Figure:
    """What writing embeddings costs, by refresh interval."""
    m = sheet.meta
    figure = page(
        "Refreshing embeddings on crossbars", f"{significant(m['pulses'], 2)} pulses a cell and rewrite; {_writes(m)}"
    )
    boxes = ((0.07, 0.56, 0.25, 0.28), (0.395, 0.56, 0.25, 0.28), (0.72, 0.56, 0.24, 0.28))
    for box, column, title, label in zip(
        boxes, ("energy_per_day_J", "years", "blocked_share"),
        ("Energy of writing", "Until cells wear out", "Time that writing blocks"), ("joule a day", "years", "share of time"), strict=True,
    ):  # fmt: skip
        axes = plot(figure, box, title, "both")
        for what, (marker, colour) in KINDS.items():
            part = sheet.intervals[sheet.intervals["what"] == what]
            if column == "years" and what != "all meta embeddings":
                continue  # the same of every cell that is rewritten at that interval
            axes.loglog(part["hours"], part[column], marker + "-", color=colour, label=what, markersize=5)
        axes.set_xlabel("refresh interval, hours")
        axes.set_ylabel(label)
        if column == "energy_per_day_J":
            axes.legend(fontsize=7.5, frameon=False)
        if column == "years":
            axes.axhline(10, color=WARNING, linewidth=1, linestyle=":")
            axes.text(part["hours"].iloc[-1], 10, "10 years", color=WARNING, fontsize=8, ha="right", va="bottom")
    columns: tuple[Column, ...] = (
        ("written", 0.05, "left"), ("cells", 0.33, "right"), ("pulses", 0.47, "right"), ("energy", 0.60, "right"), ("time", 0.73, "right"),
        ("readers wait at most", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [str(row["what"]), f"{int(row['cells']):,}", f"{row['pulses']:,.0f}", human(row["energy_J"], "J"), human(row["time_s"], "s"),
         human(row["blocked_s"], "s")]
        for _, row in sheet.refreshes.iterrows()
    ]  # fmt: skip
    end = draw_table(figure, 0.44, columns, rows)
    axes = plot(figure, (0.07, 0.10, 0.28, end - 0.20), "One candidate's latency meanwhile", "both")
    parts = sheet.during.groupby("when") if len(sheet.during) else ()
    if not parts:
        write(axes, 0.5, 0.5, "not kept with these results", size=8, colour=SOFT, align="center")
    for (when, part), colour, style in zip(parts, (SECOND, ACCENT), ("-", "--"), strict=False):
        latency = np.sort(part["latency_s"].to_numpy()) * 1e6
        axes.step(
            latency,
            np.arange(1, len(latency) + 1) / len(latency),
            where="post",
            color=colour,
            linestyle=style,
            label=str(when),
        )
    axes.set_xscale("log")
    axes.set_xlabel("microseconds")
    axes.set_ylabel("share of requests below")
    if parts:
        axes.legend(fontsize=7.5, frameon=False, loc="lower right")
    _stale(plot(figure, (0.43, 0.10, 0.24, end - 0.20), "What not refreshing costs"), sheet)
    text = (
        "Crossbars are written in parallel, cell after cell in each wordline; a look-up waits while the crossbars of its own row tile are "
        "written: a whole refresh blocks the table for its whole length, one member's only its part. The latencies are "
        "of single candidates "
        "that come while all embeddings are written, half of them before it is done. Lifetimes count pulses against a stated endurance; "
        "a refresh rewrites every cell of what is written."
    )
    write(figure, 0.71, end - 0.08, "\n".join(textwrap.wrap(text, 42)), size=8.5, vertical="top")
    return figure


def _writes(meta: dict[str, Any]) -> str:
    w = meta["writes"]
    return (
        f"{human(w['write_energy']['value'], 'J')} and {human(w['write_time']['value'], 's')} a pulse, endurance "
        f"{w['endurance']['value']:,.0f} pulses{'' if all(each['own'] for each in w.values()) else ' (in part assumed, last page)'}"
    )


def method(sheet: RecommenderSheet) -> Figure:
    """How it was done, what is assumed, where numbers come from."""
    m, r = sheet.meta, sheet.meta["recipe"]
    figure = page("Method, assumptions, sources", "what the numbers rest on")
    seconds = ", ".join(
        f"{NAMES[name]} {value:.0f} s"
        for name, value in m["training_seconds"].items()
        if value > 0 and name not in ("unadapted", "residual", "fine_tuned")
    )
    moved = {"embedding": "meta embedding", "meta": "meta block's weights", "globals": "global block's weights"}.get(r["adapt"], r["adapt"])
    steps = f"{r['steps']} {'Newton' if r.get('newton') else 'gradient'} step{'' if r['steps'] == 1 else 's'}"
    texts = {
        "Model": "After LiMAML (Wang et al., KDD 2024, arXiv 2403.00803), of which the outline is known to us, not the "
        "paper's sizes, rates or tables: a meta "
        "block over member features, id and history, adapted to each member, whose output, one vector a member, is stored; a "
        "global block over that vector, the item's, item features and the time of day and week"
        + (", with the product of the two vectors" if r.get("product") else "") + ". All sizes here are our own.",
        "Learning": f"MAML: {steps} on the {moved} from the last {r['support']} interactions before each stretch of {r['query']}, "
        f"second order, inner rates and priors learned; outer loop AdamW, {r['epochs']} epochs. "
        + (f"Each method is {r['networks']} such networks, trained apart, whose mean score counts; those of meta embeddings lie side by "
           "side as one network. " if r.get("networks", 1) > 1 else "")
        + f"Labels: {'how high a rating is, where there are ratings' if r.get('graded') else 'liked or not'}. "
        "All methods learn from all interactions before the test ones, by recipes chosen on validation interactions of MovieLens-100K "
        f"(results/recommender/search.py). Training of one seed, one thread: {seconds}.",
        "Data": f"{_data_text(sheet)} Ties in time are in the order of the file. " + (f"Left out: {m['dropped']}. " if m["dropped"] else "")
        + ("Synthetic: members like an item with probability logistic(taste . item + quality), tastes partly told by features, drifting."
           if m["synthetic"] else ""),
        "Chip": f"The chip with at most {m['bits']} bits of weights and {m['input_bits']} of inputs and "
        f"{percent(m['sigma'], 0)} programming error. Retraining: through the "
        "chip's functional model, fresh cells at every forward, stored embeddings left as they are. Load and refreshes "
        "are events of the simulation.",
        "Writing": "; "
        "".join(f"{name.replace('_', ' ')} {_value(each)}: {'of the chip file' if each['own'] else each['why']}"
            for name, each in m["writes"].items())
        + f"; {significant(m['pulses'], 2)} pulses a cell: assumed, write-verify of a few levels. All scale results in "
        f"proportion; --set device.write_energy=... "
        "and so on replace them.",
        "Load": "A placed network serves in order, each request by the same steps: a max-plus linear system, whose answer to a batch is "
        "simulated as events and carried on to many requests (hw/events/steady.py). Replicas are whole chips behind a dispatcher, "
        "which sends each request to one at random or to the one with the fewest that are not done.",
    }  # fmt: skip
    sections(figure, texts)
    return figure


def _value(each: dict[str, Any]) -> str:
    value = each["value"]
    unit, _, per = each["unit"].partition(" ")
    return f"{value:,.0f} {each['unit']}" if unit == "pulses" else f"{human(value, unit)} {per}".replace("\u00a0", " ")

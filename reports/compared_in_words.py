"""A comparison of two results folders in words and lines of text, and written to a folder."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xbar.reports.compare import (
    COMPONENT_VALUES,
    FILE,
    KINDS,
    LAYER_VALUES,
    LINKS,
    MISSING,
    RUN_FILE,
    STATIC,
    TABLES,
    Comparison,
)
from xbar.reports.differences import TOLERANCE, is_changed
from xbar.reports.results import save_sheet
from xbar.reports.style import NAMES, cut, human, percent, significant
from xbar.reports.sweep_sheet import FILE as SWEEP_FILE


def verdict(comparison: Comparison) -> str:
    """What changed, in a few sentences."""
    c = comparison
    asked = f"what was asked differs in {_counted(len(c.asked), 'setting or constant', 'settings and constants')}"
    if not c.changed:
        within = f" (within {c.tolerance:.3g} of each value)" if c.tolerance > TOLERANCE else ""
        end = "and so is what was asked" if c.asked.empty else f"though {asked}"
        return f"Nothing changed{within}: the results are the same, {end}."
    told = {RUN_FILE: _run_verdict, SWEEP_FILE: _sweep_verdict}.get(c.kind, _leaves_verdict)(c)
    return f"{told} {asked[0].upper()}{asked[1:]}." if len(c.asked) else f"{told} What was asked is the same."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _run_verdict(c: Comparison) -> str:
    parts = []
    for name, subject, table in (("on_chip_energy_per_request_J", "energy per request on chip", energy_steps),
                                 ("link_energy_per_request_J", "energy of the off-chip links", None), ("area_m2", "area", area_steps),
                                 ("latency_s", "latency of one request", None), ("throughput_per_s", "throughput", None)):  # fmt: skip
        if name not in c.metrics.index or not c.metrics.loc[name, "changed"]:
            continue
        row = c.metrics.loc[name]
        steps = table(c) if table else pd.Series(dtype=np.float64)
        share = steps.iloc[0] / steps.sum() if len(steps) and abs(steps.sum()) > TOLERANCE * steps.abs().sum() else math.nan
        most = f"; {percent(share, 0)} of the change is {steps.index[0]}" if share > 0 else ""
        parts.append(f"{subject} {value_of(row, 'old')} → {value_of(row, 'new')} (× {ratio_text(row, c.tolerance)}{most})")
    text = "; ".join(parts) or f"{_counted(c.changed_values, 'value', 'values')} changed, energy, area, latency and throughput did not"
    return f"{text[0].upper()}{text[1:]}. {c.score['text']}"


def _sweep_verdict(c: Comparison) -> str:
    m = c.matched
    alone = [f"{m[name]:,} {text}" for name, text in (
        ("only_old", "only in the old sweep"), ("only_new", "only in the new one"), ("fails_old", "failed only in the old one"),
        ("fails_new", "fail only in the new one"),
    ) if m[name]]  # fmt: skip
    counts = f"{_counted(m['joined'], 'point is', 'points are')} in both and computed in both" + (f", {', '.join(alone)}" if alone else "")
    changed = c.metrics[c.metrics["changed"]]
    if changed.empty:
        return f"{counts}; of those in both no metric changed."
    row = changed.iloc[0]
    return (f"{counts}. Of {_counted(len(c.metrics), 'metric', 'metrics')} {len(changed):,} changed; {row['label']} at "
            f"{_counted(int(row['changed_points']), 'point', 'points')}, ratio {times(row['ratio'])} at the median, "
            f"{times(row['smallest'])} to {times(row['largest'])}.")  # fmt: skip


def _leaves_verdict(c: Comparison) -> str:
    both = c.metrics["ratio"].notna() | (c.metrics["old"].notna() & c.metrics["new"].notna())
    return (f"Of {_counted(int(both.sum()), 'number', 'numbers')} in both {int((c.metrics['changed'] & both).sum()):,} changed; "
            f"{_counted(int((~both).sum()), 'is', 'are')} only in one.")  # fmt: skip


def energy_steps(comparison: Comparison) -> pd.Series:
    """What each component adds to the change of energy per request on chip [J], static energy apart; largest first. They sum
    to the whole change."""
    return _energy_steps(on_chip(comparison))


def link_steps(comparison: Comparison) -> pd.Series:
    """The same of the off-chip links."""
    return _energy_steps(comparison.components[comparison.components.index.isin(LINKS)])


def on_chip(comparison: Comparison) -> pd.DataFrame:
    """Rows of the components but the off-chip links."""
    return comparison.components[~comparison.components.index.isin(LINKS)]


def _energy_steps(table: pd.DataFrame) -> pd.Series:
    static = table["static_energy_J_change"]
    dynamic = table["energy_J_change"] - static
    steps = pd.concat([dynamic.rename(name_of), static.rename(lambda name: name_of(name) + STATIC)])
    return _largest_first(steps, table["energy_J_old"].sum() + table["energy_J_new"].sum())


def area_steps(comparison: Comparison) -> pd.Series:
    """What each component adds to the change of area [m²], largest first."""
    table = comparison.components
    return _largest_first(table["area_m2_change"].rename(name_of), table["area_m2_old"].sum() + table["area_m2_new"].sum())


def _largest_first(steps: pd.Series, scale: float) -> pd.Series:
    """Steps that are more than a rounding of the whole."""
    return steps[steps.abs() > 1e-12 * scale].sort_values(key=np.abs, ascending=False, kind="stable")


def name_of(component: object) -> str:
    return NAMES.get(str(component), str(component))


PREFIXED = ("J", "W", "s", "/s", "m²", "OPS", "OPS/W", "B", "Hz")  # units that SI prefixes go with


def value_of(row: pd.Series, side: str) -> str:
    return shown(row[side], row["unit"])


def shown(value: float, unit: str) -> str:
    """A value with its unit; counts in full."""
    if math.isnan(value):
        return MISSING
    if unit == "%":
        return percent(value, 2)
    if unit == "m²" and 0 < abs(value) < 1e-8:  # human tells areas in mm² only
        return f"{value * 1e12:,.1f}\u00a0µm²"
    if unit and unit not in PREFIXED:  # of a metric: no milli-units, no millibits
        return f"{value:.4g}\u00a0{unit}"
    if unit:
        return human(value, unit, 4) if value >= 0 else f"-{human(-value, unit, 4)}"
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def ratio_text(row: pd.Series, tolerance: float) -> str:
    """New over old, or that they are the same, or that one is missing."""
    if pd.isna(row["old"]) or pd.isna(row["new"]):
        return MISSING
    changed = is_changed(pd.Series([row["old"]]), pd.Series([row["new"]]), tolerance).iloc[0]
    return times(row["ratio"]) if changed else "same"


def times(ratio: float) -> str:
    if pd.isna(ratio):
        return MISSING
    if math.isinf(ratio):
        return "∞" if ratio > 0 else "-∞"
    if abs(ratio - 1) < 5e-5:
        return "1" if ratio == 1 else "≈ 1"
    if ratio and not 1e-4 <= abs(ratio) < 1e6:
        return f"{ratio:.2e}"
    return significant(ratio, 3 if abs(ratio) < 0.1 else 5 if abs(ratio - 1) < 0.01 else 4)


def note(comparison: Comparison, name: str) -> str:
    """Whether a headline number became better or worse, a score within noise or not."""
    row = comparison.metrics.loc[name]
    if pd.isna(row["old"]) or pd.isna(row["new"]):
        return f"only in {'new' if pd.isna(row['old']) else 'old'}"
    if row.get("measured"):
        return "computer's time"
    if not row["changed"]:
        return ""
    if name == "score_chip":
        found = {"within": "within noise", "open": "may be noise"}.get(comparison.score["verdict"])
        if found:
            return found
        return "better" if (comparison.score["difference"] > 0) == (row["better"] == "high") else "worse"  # of the means, as the verdict
    if not row["better"]:
        return ""
    return "better" if (row["new"] > row["old"]) == (row["better"] == "high") else "worse"


def headlines(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Label, ratio, and old and new of the numbers that count most."""
    c = comparison
    usual = ("score_chip", "latency_s", "throughput_per_s", "on_chip_energy_per_request_J", "on_chip_power_W", "area_m2",
             "crossbars_used", "on_chip_operations_per_J")  # fmt: skip
    if c.kind == RUN_FILE:
        names = [name for name in usual if name in c.metrics.index]
    else:
        names = list((c.metrics if c.kind == SWEEP_FILE else by_change(c.metrics)).index[:8])
    rows = [(c.metrics.loc[name], name) for name in names]
    return [(str(row["label"]).strip(), _ratio_of_row(c, row), f"{value_of(row, 'old')} → {value_of(row, 'new')}") for row, _ in rows]


def _ratio_of_row(comparison: Comparison, row: pd.Series) -> str:
    return times(row["ratio"]) if comparison.kind == SWEEP_FILE else ratio_text(row, comparison.tolerance)


def by_change(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows that changed, those whose ratio is furthest from 1 first; what only one has last."""
    rows = metrics[metrics["changed"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(rows["ratio"].where(rows["ratio"] > 0, 0.0)))
    return rows.assign(far=far.where(rows["ratio"].notna(), -1.0)).sort_values("far", ascending=False, kind="stable").drop(columns="far")


MOST_LINES = 20  # of a part of the plain text; the tables have all


def summary_text(comparison: Comparison) -> str:
    """What changed as aligned plain text."""
    c = comparison
    lines = [f"old: {c.names[0]}: {c.titles[0]}", f"new: {c.names[1]}: {c.titles[1]}", "", *textwrap.wrap(verdict(c), 110)]
    if len(c.asked):
        rows = [[f"{row['what']}: {row['key']}", cut(row["old"], 36), cut(row["new"], 36),
                 "" if row["unit"] == "1" else row["unit"], row["kind"]] for _, row in c.asked.iterrows()]  # fmt: skip
        lines += ["", *_aligned(["asked", "old", "new", "unit", "kind"], rows, "<<<<<")]
    if c.kind == SWEEP_FILE:
        rows = [[row["label"], f"{row['points']:,}", f"{row['changed_points']:,}", value_of(row, "old"), value_of(row, "new"),
                 *(times(row[name]) for name in ("ratio", "smallest", "largest"))] for _, row in c.metrics.iterrows()]  # fmt: skip
        head = ["metric", "points", "changed", "old, median", "new, median", "ratio, median", "smallest", "largest"]
        return "\n".join([*lines, "", *_aligned(head, rows, "<>>>>>>>")]) + "\n"
    listed = c.metrics if c.kind == RUN_FILE else by_change(c.metrics)
    rows = [[row["label"], value_of(row, "old"), value_of(row, "new"), ratio_text(row, c.tolerance), note(c, str(name))]
            for name, row in listed.iterrows()]  # fmt: skip
    if rows:
        lines += ["", *_aligned(["", "old", "new", "ratio", ""], rows, "<>>><")]
    if c.kind == RUN_FILE and c.changed:
        for title, table, columns in (("component", c.components, COMPONENT_VALUES), ("layer", c.layers, LAYER_VALUES)):
            parts = {"component": ("energy_J", "area_m2", "busy_s"), "layer": ("energy_J", "busy_s", "crossbars")}[title]
            head = [title, *(text for name in parts for text in (f"{VALUE_NAMES[name]} old", "new", "ratio"))]
            rows = [[name_of(name), *cells_of(row, parts, columns, c.tolerance)] for name, row in table.iterrows()]
            lines += ["", *_aligned(head, rows, "<" + ">" * (len(head) - 1))]
    return "\n".join(lines) + "\n"


VALUE_NAMES = {"energy_J": "energy", "static_energy_J": "static", "area_m2": "area", "busy_s": "busy", "vector_time_s": "time/vector",
               "crossbars": "crossbars"}  # fmt: skip


def cells_of(row: pd.Series, columns: Sequence[str], units: Mapping[str, str], tolerance: float) -> list[str]:
    """Old, new and ratio of each column."""
    cells = []
    for column in columns:
        pair = row[[f"{column}_old", f"{column}_new", f"{column}_ratio"]].set_axis(["old", "new", "ratio"])
        cells += [shown(pair["old"], units[column]), shown(pair["new"], units[column]), ratio_text(pair, tolerance)]
    return cells


def _aligned(head: list[str], rows: list[list[str]], sides: str) -> list[str]:
    """Lines of a table in plain text, at most MOST_LINES rows of it."""
    kept = rows if len(rows) <= MOST_LINES else rows[: MOST_LINES - 1]
    widths = [max(len(row[place]) for row in [head, *kept]) for place in range(len(head))]
    padded = [[f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in [head, *kept]]
    lines = ["  ".join(row).rstrip() for row in padded]
    return lines if len(kept) == len(rows) else [*lines, f"… and {len(rows) - len(kept):,} more"]


def share_text(share: float) -> str:
    return MISSING if pd.isna(share) else percent(share + 0.0 if abs(share) >= 5e-4 else 0.0)


# ---- to a folder


def save_comparison(comparison: Comparison, directory: Path) -> None:
    """Write each table as CSV and comparison.json last; ratios that are infinite are null there."""
    c = comparison
    metrics = {
        name: {side: _json(row[side]) for side in ("old", "new", "ratio")} | {"unit": row["unit"], "changed": bool(row["changed"])}
        for name, row in c.metrics.iterrows()
    }
    meta = {
        "version": version("xbar"), "kind": KINDS[c.kind], "old": {"folder": c.names[0], "title": c.titles[0]},
        "new": {"folder": c.names[1], "title": c.titles[1]}, "tolerance": c.tolerance, "changed": c.changed, "verdict": verdict(c),
        "asked": c.asked.to_dict("records"), "metrics": metrics, "score": {name: _json(value) for name, value in c.score.items()},
        "matched": c.matched,
    }  # fmt: skip
    if len(c.components):
        meta["steps"] = {
            name: steps(c).to_dict() for name, steps in (("energy_J", energy_steps), ("link_energy_J", link_steps), ("area_m2", area_steps))
        }  # fmt: skip
    save_sheet(directory, FILE, meta, {name: getattr(c, name) for name in TABLES}, [name for name, indexed in TABLES.items() if indexed])


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

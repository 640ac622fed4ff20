"""The page of a search: how it came to what it chose, and what the chosen design was shown to hold."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xbar.reports.style import ACCENT, ROW_HEIGHT, SECOND, SOFT, Column, cut, draw_table, page, paragraph, plot, write
from xbar.reports.sweep_columns import ending, listed, name_of, scale_for, short_names, shown, told_count
from xbar.reports.sweep_sheet import SweepSheet

MOST_PLOTS, MOST_SETTINGS = 3, 12
JUDGED = ("study.images", "study.instances")  # of a level


def verdict_of_search(sheet: SweepSheet) -> str:
    """What the search chose, in a sentence or two."""
    found = sheet.meta["search"]
    space = "" if found["space"] is None else f" of {found['space']:,.0f}"
    unbeaten = told_count(int(sheet.frame["unbeaten"].sum()), "holds and is", "hold and are")
    told = f"{len(sheet.frame):,}{space} designs looked at; {unbeaten} beaten by none of them beyond bands. "
    if found["chosen"] is None:
        tried = len(found["confirmations"])
        why = f"of {told_count(tried, 'candidate', 'candidates')} none was shown to hold" if tried else "none holds the constraints"
        return f"{told}No design is chosen: {why}."
    side = "lowest" if found["objectives"][found["choose"]] == "low" else "highest"
    of = f"the {side} {name_of(found['choose'])}"
    value = shown(sheet.frame.loc[sheet.frame["point"] == found["chosen"], found["choose"]].iloc[0], sheet.unit_of(found["choose"]))
    how = f"with {of}" if found["confirmation"] is None else f"candidate {len(found['confirmations'])}, {name_of(found['choose'])}"
    return f"{told}Design {found['chosen']} is chosen, {how} {value}."


def search_page(sheet: SweepSheet) -> Figure:
    """The best of each objective so far, over designs; levels, constraints, confirmations; the chosen design's settings."""
    found = sheet.meta["search"]
    figure = page("The search", verdict_of_search(sheet))
    _history(figure, sheet, found)
    end = _levels(figure, 0.535, found)
    end = _requirements(figure, end - 0.045, sheet, found)
    if found["confirmations"]:
        end = _confirmations(figure, end - 0.045, sheet, found)
    lines = []
    if found["chosen"] is not None:
        row = sheet.frame[sheet.frame["point"] == found["chosen"]].iloc[0]
        names = short_names(sheet.axes)
        settings = [f"{names[axis]} {shown(row[axis])}" for axis in sheet.axes]
        more = f", and {len(settings) - MOST_SETTINGS} more in results.parquet" if len(settings) > MOST_SETTINGS else ""
        lines.append(f"Design {found['chosen']}: {', '.join(settings[:MOST_SETTINGS])}{more}.")
    lines.append("What was not looked at may be better: a search finds a part of the front. A design beats another, holds or breaks a "
                 f"constraint only beyond bands of {100 * found['confidence']:.4g} %, one-sided, over chips and samples.")  # fmt: skip
    paragraph(figure, min(end - 0.035, 0.13), "\n".join(lines))
    return figure


def _history(figure: Figure, sheet: SweepSheet, found: Mapping[str, Any]) -> None:
    history = pd.DataFrame(found["history"])
    names = list(found["objectives"])[:MOST_PLOTS]
    wide = 0.90 / len(names)
    for place, name in enumerate(names):
        values = pd.to_numeric(history[name])
        scale = scale_for(name, values.dropna(), sheet.unit_of(name))
        axes = plot(figure, (0.085 + wide * place, 0.63, wide - 0.085, 0.205), f"Best {cut(name_of(name), 24)} so far", "both")
        axes.plot(history["designs"], values * scale.factor, drawstyle="steps-post", color=ACCENT, lw=1.6, marker="o", ms=3.5)
        scale.apply(axes, "y")
        axes.set_ylabel("")
        chosen = sheet.frame.loc[sheet.frame["point"] == found["chosen"], name] if found["chosen"] is not None else []
        if len(chosen) and np.isfinite(float(chosen.iloc[0])):
            axes.axhline(float(chosen.iloc[0]) * scale.factor, color=SECOND, lw=1.2, ls="--")
            end = history["designs"].iloc[-1], float(chosen.iloc[0]) * scale.factor
            axes.annotate("chosen", end, ha="right", va="bottom", fontsize=8, color=SECOND)
        axes.set_title(f"{axes.get_title(loc='left')}, {scale.label.rpartition(', ')[2]}" if ", " in scale.label else
                       axes.get_title(loc="left"), loc="left", fontsize=10, fontweight="bold")  # fmt: skip
        axes.set_xlabel("designs looked at", fontsize=8.5)


def _judging(level: Mapping[str, Any]) -> str:
    images, instances = (level.get(name) for name in JUDGED)
    if images:
        return f"{told_count(instances, 'chip', 'chips')}, {told_count(images, 'sample', 'samples')}"
    return "costs alone" if images == 0 or not level else ", ".join(f"{name} {value}" for name, value in level.items())


def _levels(figure: Figure, top: float, found: Mapping[str, Any]) -> float:
    columns: tuple[Column, ...] = (("judged by", 0.05, "left"), ("designs", 0.42, "right"))
    rows = [[_judging(each["told"]), f"{each['judged']:,}"] for each in found["levels"]]
    return draw_table(figure, top, columns, rows)


def _requirements(figure: Figure, top: float, sheet: SweepSheet, found: Mapping[str, Any]) -> float:
    objectives = listed([f"{name_of(name)} {side}" for name, side in found["objectives"].items()])
    write(figure, 0.05, top, f"Objectives: {objectives}", size=9, weight="bold", colour=SOFT)
    if not found["requirements"]:
        return top
    holds = sheet.frame["holds"]
    rows = [[each["text"]] for each in found["requirements"]]
    end = draw_table(figure, top - 0.04, (("constraint", 0.05, "left"),), rows)
    told = f"{int((holds == True).sum()):,} designs hold all by their own values, {int((holds == False).sum()):,} do not, "  # noqa: E712 - may be missing
    write(figure, 0.45, top - 0.04, f"{told}{int(holds.isna().sum()):,} were not judged so far", size=9, colour=SOFT)
    return end


def _confirmations(figure: Figure, top: float, sheet: SweepSheet, found: Mapping[str, Any]) -> float:
    rows = pd.DataFrame(found["confirmations"])
    names = [each["column"] for each in found["requirements"] if f"{each['column']}_lost" in rows or f"{each['column']}_error" in rows]
    columns: list[Column] = [("candidate, judged once more", 0.05, "left"), ("holds", 0.30, "left")]
    for place, name in enumerate(names[:2]):
        columns += [(ending(name, 20), 0.45 + 0.28 * place, "right"), ("lost to float", 0.60 + 0.28 * place, "right")]
    cells = []
    for _, row in rows.iterrows():
        failed = isinstance(row.get("error"), str)
        cell = [f"design {row['point']}", "yes" if row["holds"] else "failed" if failed else "not shown"]
        for name in names[:2]:
            unit = sheet.unit_of(name)
            cell += [_with_error(row, name, unit), _with_error(row, f"{name}_lost", unit)]
        cells.append(cell)
    end = draw_table(figure, top, tuple(columns), cells, ROW_HEIGHT)
    told = f"On {_judging(found['confirmation']['told'])} that the search did not see; {found['confirmation']['most']} candidates at most, "
    told += "each with as much more confidence. ±: standard error over chips and samples."
    errors = [f"design {row['point']} failed: {row['error']}" for row in found["confirmations"] if row.get("error")]
    for place, text in enumerate([told, *(textwrap.shorten(error, 170, placeholder=" …") for error in errors)]):
        write(figure, 0.05, end - 0.027 - 0.016 * place, text, size=8, colour=SOFT)
    return end - 0.027 - 0.016 * len(errors)


def _with_error(row: pd.Series, name: str, unit: str) -> str:
    if name not in row or pd.isna(row[name]):
        return "–"
    error = row.get(f"{name}_error")
    return shown(row[name], unit) + (f" ± {shown(error, unit)}" if error is not None and not pd.isna(error) else "")

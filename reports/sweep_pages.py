"""The first pages of a sweep, and the same in words: what was swept, the best points, the Pareto front."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.pareto import front_of, front_table
from xbar.reports.search_page import verdict_of_search
from xbar.reports.shading import SHADES, colour_bar, norm_of
from xbar.reports.style import (
    ACCENT,
    GREY,
    INK,
    PAGE,
    PAPER,
    ROW_HEIGHT,
    SOFT,
    Column,
    cut,
    draw_table,
    page,
    plot,
    width_of,
    write,
)
from xbar.reports.sweep_columns import (
    MOST_DRAWN,
    ending,
    evenly,
    is_log,
    is_number,
    listed,
    name_of,
    scale_for,
    short_names,
    shown,
    texts_of,
    told_count,
)
from xbar.reports.sweep_sheet import SweepSheet, View

ROWS_OF_FRONT = 11  # under its picture


def verdict(sheet: SweepSheet, view: View) -> str:
    """What came of the sweep, in a sentence or two."""
    if "search" in sheet.meta:
        return verdict_of_search(sheet)
    count, failed = len(sheet.frame), sheet.failed
    told = f"{told_count(count, 'point', 'points')} over {told_count(len(sheet.axes), 'axis', 'axes')}"
    if failed == count:
        return f"{told}: all failed."
    told += f", {failed:,} failed." if failed else "."
    if view.pareto:
        on = int(front_of(sheet, sheet.done, view).sum())
        told += f" {on:,} {'is' if on == 1 else 'are'} on the Pareto front of {sides_of(view)}."
    return told


def sides_of(view: View) -> str:
    """The columns of the front with their better sides."""
    return listed([f"{name_of(name)} ({view.better[name]})" for name in view.pareto])


def best_points(sheet: SweepSheet, view: View) -> list[tuple[str, str, pd.Series, int]]:
    """The best point of each usual metric that varies: column, its better side, the row, how many others are as good."""
    metrics = [name for name in (*sheet.first, *view.better) if name in sheet.metrics]
    names = dict.fromkeys([*view.pareto, *metrics])
    found = []
    for name in names:
        values = sheet.able[name].dropna()
        if name not in view.better or values.nunique() < 2 or (name not in sheet.first and name not in view.pareto and len(found) >= 3):
            continue
        best = values.min() if view.better[name] == "low" else values.max()
        rows = sheet.able[sheet.able[name] == best]
        found.append((name, view.better[name], rows.iloc[0], len(rows) - 1))
    return found[:6]


def headlines(sheet: SweepSheet, view: View) -> list[tuple[str, str, str]]:
    """The best of each usual metric: label, value, and where."""
    names = short_names(sheet.axes)
    return [
        (f"{'Highest' if side == 'high' else 'Lowest'} {name_of(name)}", shown(row[name], sheet.unit_of(name)),
         ", ".join(f"{names[axis]} {shown(row[axis])}" for axis in sheet.axes[:4]))
        for name, side, row, _ in best_points(sheet, view)
    ]  # fmt: skip


def errors_of(sheet: SweepSheet, most: int = 3) -> list[str]:
    """The most frequent errors, each with how often it came."""
    counts = sheet.frame["error"].dropna().value_counts()
    lines = [f"{count} x  {text}" for text, count in counts.iloc[:most].items()]
    return lines + [f"and {len(counts) - most} other errors; results.parquet has them"] * (len(counts) > most)


def _values_of(values: pd.Series) -> str:
    """Values of an axis in words."""
    if is_number(values):
        known = np.sort(values.dropna().unique())
        if len(known) > 8:
            how = ", spread by ratio" if is_log(known.astype(float)) else ""
            return f"{shown(known[0])} to {shown(known[-1])}{how}"
        texts = [shown(value) for value in known] + ["none"] * bool(values.isna().any())
    else:
        texts = list(dict.fromkeys(texts_of(values)))
    return ", ".join(texts)


def _metric_rows(sheet: SweepSheet, view: View) -> list[list[str]]:
    """Metric, better side, lowest, median, highest, points; metrics that do not vary last."""
    names = sorted(sheet.metrics, key=lambda name: not sheet.varies(name))
    rows = []
    for name in names:
        values = sheet.done[name].dropna()
        span = (shown(value, sheet.unit_of(name)) for value in (values.min(), float(values.median()), values.max()))
        rows.append([ending(name, 34), view.better.get(name, "–"), *span, f"{len(values):,}"])
    return rows


def overview(sheet: SweepSheet, view: View) -> Figure:
    """What was swept, ranges of the metrics, the best points, and what failed."""
    figure = page(sheet.title, verdict(sheet, view))
    figure.set_label(cut(sheet.title, 40))  # as the contents have it
    swept = [sheet.frame[name] for name in sheet.axes]
    axes = [[ending(str(c.name), 34), cut(_values_of(c), 92), f"{c.nunique(dropna=False):,}"] for c in swept]
    metrics = _metric_rows(sheet, view)
    best = best_points(sheet, view)
    errors = [line for text in errors_of(sheet) for line in textwrap.wrap(cut(text, 290), 150)]
    axes = _capped(axes, 8, "axes")
    metrics = _capped(metrics, 16 - len(axes) - (len(errors) > 2), "metrics")
    shared = textwrap.wrap("Shared by all points: " + ", ".join(f"{k} {shown(v)}" for k, v in sheet.meta["fixed"].items()), 172)
    shared = shared[:3] if sheet.meta["fixed"] else []
    lines = len(axes) + len(metrics) + len(best)
    row = min(ROW_HEIGHT, (0.69 - 0.017 * (len(errors) + len(shared))) / (lines + 5))
    end = 0.865
    if axes:
        end = draw_table(figure, end, (("axis", 0.05, "left"), ("values", 0.30, "left"), ("different", 0.95, "right")), axes, row)
        end -= 1.9 * row
    if metrics:
        columns: tuple[Column, ...] = (
            ("metric", 0.05, "left"), ("better", 0.30, "left"), ("lowest", 0.52, "right"), ("median", 0.66, "right"),
            ("highest", 0.80, "right"), ("points", 0.95, "right"),
        )  # fmt: skip
        end = draw_table(figure, end, columns, metrics, row) - 1.9 * row
    if best:
        rows = pd.DataFrame([
            {"best": f"{'highest' if side == 'high' else 'lowest'} {name_of(name)}" + (f" (and {others:,} more)" if others else ""),
             "point": str(found["point"]), **{name_of(n): shown(found[n], sheet.unit_of(n)) for n, *_ in best[:4]},
             **{short: shown(found[axis]) for axis, short in short_names(sheet.axes).items()}}
            for name, side, found, others in best
        ])  # fmt: skip
        end = _fitted_table(figure, end, rows, row) - 1.5 * row
    if errors:
        heading = f"{told_count(sheet.failed, 'point', 'points')} failed; the most frequent error first"
        write(figure, 0.05, end, heading, size=9, weight="bold", colour=SOFT, vertical="top")
        write(figure, 0.05, end - 0.022, "\n".join(errors), size=8, vertical="top", linespacing=1.4)
        end -= 0.022 + 0.0178 * len(errors) + 0.012
    if sheet.metrics and not view.pareto:
        write(figure, 0.05, end, "No Pareto front: fewer than two metrics vary that are known to be better low or high (--better says so).",
              size=8, colour=SOFT, vertical="top")  # fmt: skip
        end -= 0.025
    write(figure, 0.05, end, "\n".join(shared), size=8, colour=SOFT, vertical="top", linespacing=1.4)
    return figure


def _capped(rows: list[list[str]], most: int, what: str) -> list[list[str]]:
    """The first rows, and how many more there are."""
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], [f"{len(rows) - most + 1} more {what} in results.parquet", *[""] * (len(rows[0]) - 1)]]


def _fitted_table(figure: Figure, top: float, table: pd.DataFrame, row: float) -> float:
    """A table of texts as wide as its texts; columns that have no room are left out, and it says so. Where its last row ends."""
    gap, x, columns, used = 0.016, 0.05, [], []
    table = table.map(lambda text: ending(text, 34))
    widths = {
        name: max([width_of(ending(str(name), 24), 9, "bold"), *(width_of(text, 8.5) for text in table[name])]) / PAGE[0] for name in table
    }
    crowded = sum(widths.values()) + gap * (len(widths) - 1) > 0.9
    for place, name in enumerate(table):
        if x + widths[name] > 0.95 - (0.07 if crowded else 0.0):
            write(figure, 0.95, top, f"+{len(table.columns) - place} more", size=9, colour=SOFT, align="right")
            break
        numbers = place > 0 and not any(text[:1].isalpha() for text in table[name])
        columns.append((ending(str(name), 24), x + widths[name] if numbers else x, "right" if numbers else "left"))
        used.append(name)
        x += widths[name] + gap
    return draw_table(figure, top, tuple(columns), table[used].to_numpy().tolist(), row)


def pareto(sheet: SweepSheet, view: View) -> Figure:
    """Every point by two columns, a third as colour, the front marked; the front's points in a table."""
    sides = {name: view.better[name] for name in view.pareto}
    y, x, *third = view.pareto
    whole = sheet.done.dropna(subset=list(view.pareto))
    on = front_of(sheet, whole, view)
    table = front_table(sheet, view)
    tied = int(table.duplicated(list(view.pareto), keep=False).sum())
    left_out = len(sheet.done) - len(whole)
    told = f"Better: {cut(', '.join(f'{name_of(name)} {side}' for name, side in sides.items()), 60)}  ·  "
    able = whole.index.isin(sheet.able.index)
    of = told_count(int(able.sum()), "point", "points") + (" that hold the constraints" if "search" in sheet.meta else "")
    told += f"{len(table):,} of {of}, beaten by none"
    told += f"  ·  {tied:,} as good as another" if tied else ""
    told += f"  ·  {left_out:,} without a value" if left_out else ""
    figure = page(f"Pareto front: {listed([name_of(name) for name in view.pareto])}", told)
    rows = min(len(table), ROWS_OF_FRONT)
    bottom = 0.215 + 0.0235 * rows
    axes = plot(figure, (0.085, bottom, 0.72 if third else 0.865, 0.84 - bottom), f"{name_of(y)} against {name_of(x)}", "both")
    across, up = scale_for(x, whole[x], sheet.unit_of(x)), scale_for(y, whole[y], sheet.unit_of(y))
    drawn, best = evenly(whole[~on], MOST_DRAWN), whole[on].sort_values([x, y])
    drawn, unable = drawn[drawn.index.isin(sheet.able.index)], drawn[~drawn.index.isin(sheet.able.index)]
    axes.scatter(unable[x] * across.factor, unable[y] * up.factor, s=18, marker="x", color=GREY, linewidths=0.9, zorder=1.5)
    if third:
        depth = scale_for(third[0], whole[third[0]], sheet.unit_of(third[0]))
        colour = norm_of(whole[third[0]].astype(float) * depth.factor)
        for rows_, marker, size, edge in ((drawn, "o", 16, "none"), (best, "D", 46, INK)):
            axes.scatter(rows_[x] * across.factor, rows_[y] * up.factor, c=rows_[third[0]] * depth.factor, cmap=SHADES, norm=colour,
                         marker=marker, s=size, edgecolors=edge, linewidths=1.1, rasterized=len(rows_) > 2000, zorder=3)  # fmt: skip
        colour_bar(figure, (0.83, bottom, 0.016, 0.84 - bottom), colour, depth.label)
    else:
        axes.scatter(drawn[x] * across.factor, drawn[y] * up.factor, s=14, color=GREY, alpha=0.8 if len(drawn) < 300 else 0.5,
                     edgecolors="none", rasterized=len(drawn) > 2000, zorder=2)  # fmt: skip
        steps = "steps-post" if sides[x] == "low" else "steps-pre"
        axes.plot(best[x] * across.factor, best[y] * up.factor, drawstyle=steps, color=ACCENT, lw=1.5, marker="D", ms=6, mec=INK, mew=0.8,
                  zorder=4)  # fmt: skip
    across.apply(axes, "x")
    up.apply(axes, "y")
    handles = [Line2D([], [], ls="none" if third else "-", marker="D", color=PAPER if third else ACCENT, mec=INK, label="front")]
    if len(drawn):
        others = "other points" + (", in part" if len(drawn) + len(unable) < (~on).sum() else "")
        handles.insert(0, Line2D([], [], ls="none", marker="o", color=GREY, label=others))
    if len(unable):
        handles.insert(0, Line2D([], [], ls="none", marker="x", color=GREY, label="do not hold, or not judged so far"))
    axes.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    names = short_names(sheet.axes)
    texts = _texts(sheet, table).rename(columns=lambda name: names.get(name, name_of(name)))
    more = len(texts) - ROWS_OF_FRONT
    kept = evenly(texts, ROWS_OF_FRONT)
    end = _fitted_table(figure, bottom - 0.085, kept, 0.0235)
    note = f"{len(kept)} of the front's {len(texts):,} points, evenly along it; all stand in front.csv. " if more > 0 else ""
    note += "A point is beaten where another is at least as good in all these columns and better in one. "
    write(figure, 0.05, end - 0.022, f"{note}Settings are in the chip file's own units.", size=8, colour=SOFT, vertical="top")
    return figure


def _texts(sheet: SweepSheet, table: pd.DataFrame) -> pd.DataFrame:
    """A table of some columns for people: metrics with their units, settings as they are written."""
    units = {name: sheet.unit_of(name) if name in sheet.metrics else "" for name in table}
    return pd.DataFrame({name: [shown(value, units[name]) for value in table[name]] for name in table})


def summary_text(sheet: SweepSheet, view: View) -> str:
    """What was swept, ranges, the best points and the front, as plain text."""
    lines = [sheet.title, "", *textwrap.wrap(verdict(sheet, view), 110), ""]
    width = max([len(name) for name in (*sheet.axes, *sheet.metrics)], default=10) + 2
    lines += [f"{name:{width}}{cut(_values_of(sheet.frame[name]), 90)}" for name in sheet.axes]
    if sheet.metrics:
        lines += ["", f"{'metric':{width}}{'better':8}{'lowest':>14}{'median':>14}{'highest':>14}{'points':>9}"]
        rows = _metric_rows(sheet, view)
        lines += [f"{n:{width}}{b:8}{low:>14}{mid:>14}{high:>14}{c:>9}" for n, b, low, mid, high, c in rows if sheet.varies(n)]
        same = [f"{name} {value}" for name, _, value, *_ in rows if not sheet.varies(name)]
        lines += textwrap.wrap(f"the same of all: {', '.join(same)}", 110) if same else []
    front = front_table(sheet, view)
    if len(front):
        texts = _texts(sheet, front)
        kept = evenly(texts, 20)
        lines += ["", f"Pareto front of {sides_of(view)}: {len(front):,} points" 
                  + (f", {len(kept)} of them here" if len(kept) < len(front) else "")]  # fmt: skip
        lines += kept.to_string(index=False).splitlines()
    if sheet.failed:
        heading = f"{told_count(sheet.failed, 'point', 'points')} failed; the most frequent error first:"
        lines += ["", heading, *(cut(text, 300) for text in errors_of(sheet))]
    return "\n".join(line.rstrip() for line in lines).replace("\u00a0", " ") + "\n"

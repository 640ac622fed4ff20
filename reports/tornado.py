"""Pages of main effects: bars around the mean of a metric, and the numbers."""

import textwrap
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xbar.reports.style import ACCENT, GREY, INK, SECOND, SOFT, Column, cut, draw_table, page, plot, write
from xbar.reports.sweep_columns import ending, is_number, listed, name_of, scale_for, short_names, shown
from xbar.reports.sweep_effects import FEW_VALUES
from xbar.reports.sweep_sheet import SweepSheet
from xbar.reports.tied_axes import WITH, leader

MOST_AXES = 12  # bars on a page
FEW_AXES = 5  # up to which two metrics share one


def tornado_pages(sheet: SweepSheet, effects: Mapping[str, pd.DataFrame]) -> list[Figure]:
    """The main effects on each metric, a page each, or two where both are of few axes."""
    figures, waiting = [], list(effects.items())
    while waiting:
        together = waiting[: 2 if all(len(table) <= FEW_AXES for _, table in waiting[:2]) else 1]
        waiting = waiting[len(together) :]
        figures.append(tornado_page(sheet, *together[0]) if len(together) == 1 else _two_tornados(sheet, dict(together)))
    return figures


def tornado_page(sheet: SweepSheet, metric: str, effects: pd.DataFrame) -> Figure:
    """The main effect of each axis on a metric: bars around the mean, and the numbers."""
    values, unit = sheet.done[metric].dropna().astype(float), sheet.unit_of(metric)
    figure = page(f"What each axis does to {name_of(metric)}", f"Main effects over {len(values):,} points, "
                  f"mean {shown(values.mean(), unit)}, from {shown(values.min(), unit)} to {shown(values.max(), unit)}")  # fmt: skip
    part = effects.head(MOST_AXES)
    if part.empty:
        write(figure, 0.05, 0.85, "No axis has two groups of points with this metric.", size=10)
        return figure
    row = min(0.0235, 0.34 / len(part))
    height = min(0.84 - (0.265 + row * len(part)), 0.05 + 0.085 * len(part))
    _tornado(figure, (0.25, 0.84 - height, 0.68, height), "Mean of the metric at either end of an axis", sheet, metric, part)
    end = _tornado_table(figure, 0.84 - height - 0.09, sheet.unit_of(metric), part, row)
    more = f" {len(effects) - len(part)} axes more in tornado.csv." if len(effects) > len(part) else ""
    _tornado_words(figure, end - 0.02, more + _joined(part))
    return figure


def _two_tornados(sheet: SweepSheet, effects: Mapping[str, pd.DataFrame]) -> Figure:
    """The same of two metrics of few axes: bars side by side, the numbers below."""
    names = listed([name_of(metric) for metric in effects])
    figure = page(f"What each axis does to {names}", f"Main effects over the {len(sheet.done):,} points that did not fail")
    figure.set_label(cut(f"What each axis does to {names}", 40))  # as the contents have it
    most = max(1, *map(len, effects.values()))
    height = min(0.10 + 0.055 * most, 0.30)
    for (metric, part), left in zip(effects.items(), (0.15, 0.64), strict=True):
        if len(part):
            _tornado(figure, (left, 0.84 - height, 0.31, height), f"Mean {name_of(metric)} at either end", sheet, metric, part)
    end = 0.84 - height - 0.045
    for metric, part in effects.items():
        values = sheet.done[metric].dropna().astype(float)
        mean, low, high = (shown(value, sheet.unit_of(metric)) for value in (values.mean(), values.min(), values.max()))
        write(figure, 0.05, end - 0.04, f"{name_of(metric)}: mean {mean}, from {low} to {high}", size=9.5, weight="bold")
        end = _tornado_table(figure, end - 0.075, sheet.unit_of(metric), part, 0.0235)
        end = end - 0.012
    _tornado_words(figure, end - 0.012, _joined(*effects.values()))
    return figure


def _joined(*effects: pd.DataFrame) -> str:
    """Axes that stand as one, in a sentence."""
    names = dict.fromkeys(str(name) for part in effects for name in part.index if WITH in str(name))
    return f" Axes that always move together in the points stand as one: {'; '.join(names)}." if names else ""


def _tornado(
    figure: Figure, box: tuple[float, float, float, float], title: str, sheet: SweepSheet, metric: str, part: pd.DataFrame
) -> None:
    """Bars of the main effects on a metric, and the legend of the page."""
    values = sheet.done[metric].dropna().astype(float)
    scale = replace(scale_for(metric, values, sheet.unit_of(metric)), log=False)
    axes = plot(figure, box, title, "x")
    places = np.arange(len(part))
    low, high, error = ((part[name] * scale.factor).to_numpy(float) for name in ("mean_low", "mean_high", "standard_error"))
    texts = [not is_number(sheet.frame[leader(str(axis), sheet.axes)]) for axis in part.index]
    for place, a, b, e, is_text in zip(places, low, high, error, texts, strict=True):
        colour, hatch = (GREY, "") if is_text else (ACCENT, "") if b >= a else ("#f0c987", "////")
        edge = SECOND if hatch else colour
        axes.barh(place, b - a, left=a, height=0.56, color=colour, hatch=hatch, edgecolor=edge, linewidth=0.8, zorder=2)
        axes.errorbar(b, place, xerr=0.0 if np.isnan(e) else e, fmt="o", ms=4, color=INK, elinewidth=1.0, capsize=2.5, zorder=3)
    mean = float(values.mean()) * scale.factor
    axes.axvline(mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    reach = np.nan_to_num(error)
    left, right = min(mean, low.min(), (high - reach).min()), max(mean, low.max(), (high + reach).max())
    span = (right - left) or abs(mean) * 0.1 or 1.0
    wide = box[2] > 0.5
    room = 0.2 if wide else 0.35
    axes.set_xlim(left - room * span, right + room * span)
    for place, a, b, e, (low_name, high_name) in zip(places, low, high, reach, part[["low", "high"]].to_numpy(), strict=True):
        sign = 1 if b >= a else -1
        for text, at, side in ((low_name, sign * min(sign * a, sign * b - e), -sign), (high_name, b + sign * e, sign)):
            axes.annotate(ending(str(text), 20 if wide else 12), (at, place), xytext=(6 * side, 0), textcoords="offset points", va="center",
                          fontsize=7.5, color=INK, ha="left" if side > 0 else "right")  # fmt: skip
    names = dict(zip(sheet.axes, sheet.axes, strict=True)) if wide else short_names(sheet.axes)
    told = [WITH.join(names[each] for each in str(name).split(WITH)) for name in part.index]
    axes.set_yticks(places, [ending(name, 30 if wide else 16) for name in told], fontsize=8.5, color=INK)
    axes.set_ylim(len(part) - 0.4, -0.6)
    scale.apply(axes, "x")
    if sheet.unit_of(metric) == "%":  # a whisker may reach where no share can be
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100 and left - room * span <= tick <= right + room * span])
    handles = [Patch(facecolor=ACCENT, label="rises along the axis"),
               Patch(facecolor="#f0c987", edgecolor=SECOND, hatch="////", label="falls along the axis"),
               Patch(facecolor=GREY, label="lowest to highest of texts"),
               Line2D([], [], color=INK, marker="o", ms=4, label="± standard error of the effect, at the high end"),
               Line2D([], [], color=INK, lw=0.9, ls=(0, (4, 2)), label="mean of all points")]  # fmt: skip
    if figure.legends:
        return
    figure.legend(handles=handles, frameon=False, fontsize=8, ncols=5, columnspacing=1.4, labelcolor=INK, loc="upper right",
                  bbox_to_anchor=(0.957, 0.91))  # fmt: skip


def _tornado_table(figure: Figure, top: float, unit: str, part: pd.DataFrame, row: float) -> float:
    """The numbers of the effects on a metric of that unit; where its last row ends."""
    columns: tuple[Column, ...] = (
        ("axis", 0.05, "left"), ("low end", 0.28, "left"), ("high end", 0.41, "left"), ("points at each", 0.58, "right"),
        ("mean, low end", 0.68, "right"), ("mean, high end", 0.79, "right"), ("effect", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [ending(str(axis), 32), ending(str(r["low"]), 17), ending(str(r["high"]), 17),
         f"{int(r['points_low']):,}, {int(r['points_high']):,}",
         shown(r["mean_low"], unit), shown(r["mean_high"], unit), _effect(unit, r["effect"], r["standard_error"])]
        for axis, r in part.iterrows()
    ]  # fmt: skip
    return draw_table(figure, top, columns, rows, row)


def _tornado_words(figure: Figure, top: float, more: str) -> None:
    """What an effect is."""
    note = (
        "Effect: mean of the metric over the points at the high end of an axis less that over those at its low end, the other axes as "
        f"they were sampled. Ends: the least and the greatest value of an axis with at most {FEW_VALUES} values; the thirds of the points "
        "with the least and the greatest of one with more; of texts, the one with the lowest and the one with the highest mean, so that "
        "the effect looks larger than it is where they hardly differ. Standard error: sqrt(s1²/n1 + s2²/n2), s² the variance within an "
        "end, which the other axes make too: in a full grid, where they are the same at both ends, it is overstated. What turns between "
        "the ends does not show here."
    )
    write(figure, 0.05, top, "\n".join(textwrap.wrap(note + more, 172)), size=8, colour=SOFT, vertical="top", linespacing=1.35)


def _effect(unit: str, effect: float, error: float) -> str:
    """An effect with its standard error; of shares in points."""
    if unit == "%":
        return f"{100 * effect:+.2f}" + (f" ± {100 * error:.2f}" if not np.isnan(error) else "") + " points"
    sign = "+" if effect > 0 else ""
    return f"{sign}{shown(effect, unit, 3)}" + (f" ± {shown(error, unit, 2)}" if not np.isnan(error) else "")

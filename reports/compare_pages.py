"""The pages of a comparison of two results folders: `xbar.reports.compare` drawn."""

import math
import textwrap
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, NullLocator

from xbar.reports.compare import (
    COMPONENT_VALUES,
    KINDS,
    LAYER_VALUES,
    RUN_FILE,
    STATIC,
    SWEEP_FILE,
    TABLES,
    Comparison,
    plain,
)
from xbar.reports.compared_in_words import (
    area_steps,
    by_change,
    cells_of,
    energy_steps,
    headlines,
    name_of,
    note,
    on_chip,
    ratio_text,
    share_text,
    shown,
    summary_text,
    times,
    value_of,
    verdict,
)
from xbar.reports.differences import TOLERANCE, side_by_side
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import write_text
from xbar.reports.style import (
    ACCENT,
    FAINT,
    GREY,
    GROUPS,
    HATCHES,
    INK,
    ROW_HEIGHT,
    SECOND,
    SOFT,
    Column,
    cut,
    draw_table,
    page,
    percent,
    plot,
    scale_of,
    sections,
    write,
)

OLD, NEW = GREY, ACCENT  # light and dark: told apart in grey too
TOP, BOTTOM = 0.845, 0.075
ROWS_PER_PAGE = int((TOP - BOTTOM) / ROW_HEIGHT) - 1
ASKED_COLUMNS: tuple[Column, ...] = (
    ("what", 0.050, "left"), ("key", 0.115, "left"), ("old", 0.360, "left"), ("new", 0.560, "left"), ("unit", 0.765, "left"),
    ("kind", 0.830, "left"),
)  # fmt: skip
METRIC_COLUMNS: tuple[Column, ...] = (
    ("", 0.050, "left"), ("old", 0.415, "right"), ("new", 0.505, "right"), ("ratio", 0.575, "right"), ("", 0.585, "left"),
)
SWEEP_COLUMNS: tuple[Column, ...] = (
    ("metric", 0.050, "left"), ("points", 0.275, "right"), ("changed", 0.335, "right"), ("old, median", 0.420, "right"),
    ("new, median", 0.505, "right"), ("ratio", 0.565, "right"), ("smallest", 0.630, "right"), ("largest", 0.695, "right"),
)  # fmt: skip
COMPONENT_COLUMNS: tuple[Column, ...] = (
    ("component", 0.050, "left"), ("energy old", 0.220, "right"), ("new", 0.285, "right"), ("ratio", 0.340, "right"),
    ("share", 0.390, "right"), ("static old", 0.460, "right"), ("new", 0.520, "right"), ("area old", 0.605, "right"),
    ("new", 0.685, "right"), ("ratio", 0.740, "right"), ("share", 0.790, "right"), ("busy old", 0.850, "right"),
    ("new", 0.905, "right"), ("ratio", 0.950, "right"),
)  # fmt: skip
LAYER_COLUMNS: tuple[Column, ...] = (
    ("layer", 0.050, "left"), ("energy old", 0.270, "right"), ("new", 0.335, "right"), ("ratio", 0.390, "right"),
    ("share", 0.440, "right"), ("busy old", 0.515, "right"), ("new", 0.580, "right"), ("ratio", 0.635, "right"),
    ("time/vector old", 0.730, "right"), ("new", 0.795, "right"), ("crossbars old", 0.885, "right"), ("new", 0.950, "right"),
)  # fmt: skip
POINT_COLUMNS: tuple[Column, ...] = (
    ("point", 0.050, "left"), ("metric", 0.560, "left"), ("old", 0.790, "right"), ("new", 0.880, "right"), ("ratio", 0.950, "right"),
)
MOST_METRICS = 24  # on the first page
MOST_STEPS = 14
LEFT, RIGHT = (0.155, 0.37, 0.33, 0.475), (0.635, 0.37, 0.315, 0.475)  # of two panels
MOST_LAYERS = 24
LEAST_ROWS = 8  # that bars of few are as thick as of
WORST = 3  # points of each metric
TICKS = (
    (0.9, 0.95, 1, 1.05, 1.1), (0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3), (0.5, 0.7, 1, 1.4, 2), (0.2, 0.5, 1, 2, 5), (0.1, 0.3, 1, 3, 10),
    (0.01, 0.1, 1, 10, 100),
)  # fmt: skip


def draw_comparison(comparison: Comparison, directory: Path) -> list[Path]:
    """Write comparison.pdf, comparison.html, a PNG a page and summary.txt; the paths. The same comparison gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    footer = f"xbar {version('xbar')}  ·  comparison of two results of {KINDS[comparison.kind]}"
    tables = {name: getattr(comparison, name) for name in TABLES}
    document = Document(
        _title(comparison), verdict(comparison), pages(comparison), footer, headlines(comparison), tables, Record.load(directory)
    )
    paths = save_document(document, directory / "comparison.pdf")
    write_text(directory / "summary.txt", summary_text(comparison))
    return [*paths, directory / "summary.txt"]


def _title(comparison: Comparison) -> str:
    old, new = comparison.titles
    return f"{cut(old, 56)}: what changed" if old == new else f"{cut(old, 40)} against {cut(new, 40)}"


def pages(comparison: Comparison) -> dict[str, Figure]:
    """Every page by name."""
    c = comparison
    first, end = (sweep_overview(c), 0.0) if c.kind == SWEEP_FILE else _overview(c)
    shown, tables, room = {"comparison": first}, dict[str, Figure](), [(first, end)]
    if c.kind == RUN_FILE:
        if c.changed:
            tables["waterfall"] = waterfalls(c)
            if on_chip(c)[["static_energy_J_old", "static_energy_J_new"]].sum().sum() > 0:
                tables["static"] = energy_parts(c)
            tables["by_layer"] = by_layer(c)
        numbered = [("components", "Components in numbers", COMPONENT_COLUMNS, _component_rows(c)),
                    ("layers", "Layers in numbers", LAYER_COLUMNS, _layer_rows(c))]  # fmt: skip
    elif c.kind == SWEEP_FILE:
        numbered = [("points", f"The {WORST} points of each metric that changed most", POINT_COLUMNS, _worst_points(c))]
    else:
        rows = [_metric_cells(c, name, 56) for name in by_change(c.metrics).index]
        numbered = [("numbers", "Numbers that changed", METRIC_COLUMNS, rows)] if len(rows) > MOST_METRICS else []
    for name, title, columns, rows in numbered:
        drawn, end = _numbered(name, title, c, columns, rows)
        room += [(figure, end) for figure in [*drawn.values()][-1:]]
        tables |= drawn
    asked = _asked_rows(c)
    least = 0.13 + ROW_HEIGHT * (len(asked) + 1)
    figure, end = room[0] if room[0][1] > least else max(room, key=lambda each: each[1])
    if asked and end > least:
        draw_table(figure, end - 0.05, (("asked", *ASKED_COLUMNS[0][1:]), *ASKED_COLUMNS[1:]), asked)
    else:
        shown |= _numbered("asked", "What was asked", c, ASKED_COLUMNS, asked)[0]
    return {**shown, **tables, "definitions": definitions(c)}


def _subtitle(comparison: Comparison) -> str:
    """Both sides in a line, of long names their ends."""
    sides = []
    for side, name, title in zip(("old", "new"), comparison.names, comparison.titles, strict=True):
        sides.append(f"{side}: {cut(title, 34)} ({name if len(name) <= 26 else f'…{name[-25:]}'})")
    return "  ·  ".join(sides)


def _numbered(
    name: str, title: str, comparison: Comparison, columns: tuple[Column, ...], rows: list[list[str]]
) -> tuple[dict[str, Figure], float]:  # fmt: skip
    """A table on as many pages as it takes, and where it ends on the last."""
    found, end = {}, 0.0
    for number, first in enumerate(range(0, len(rows), ROWS_PER_PAGE), 1):
        figure = page(title, _subtitle(comparison))
        end = draw_table(figure, TOP, columns, rows[first : first + ROWS_PER_PAGE])
        found[f"{name}_{number}"] = figure
    return found, end


def _metric_cells(comparison: Comparison, name: object, most: int = 44) -> list[str]:
    row = comparison.metrics.loc[name]
    label = str(row["label"]).replace("  ", "\u00a0\u00a0\u00a0")
    label = label if len(label) <= most else f"…{label[-most + 1 :]}"
    return [label, value_of(row, "old"), value_of(row, "new"), ratio_text(row, comparison.tolerance), note(comparison, str(name))]


def _asked_rows(comparison: Comparison) -> list[list[str]]:
    """Settings and constants that differ."""
    return [[row["what"], cut(row["key"], 42), cut(row["old"], 34), cut(row["new"], 34), cut(row["unit"].removeprefix("1"), 11),
             row["kind"]] for _, row in comparison.asked.iterrows()]  # fmt: skip


def overview(comparison: Comparison) -> Figure:
    """Verdict and headline numbers, each with its ratio as a bar; of other results than runs those that changed most."""
    return _overview(comparison)[0]


def _overview(comparison: Comparison) -> tuple[Figure, float]:
    """The overview, and where its table ends."""
    c = comparison
    figure = page("What changed", _subtitle(c))
    lines = textwrap.wrap(verdict(c), 135)
    write(figure, 0.05, 0.880, "\n".join(lines), size=10.5, vertical="top")
    top = 0.855 - 0.0225 * len(lines)
    names = list(c.metrics.index if c.kind == RUN_FILE else by_change(c.metrics).index)[:MOST_METRICS]
    if not names:
        return figure, top
    end = draw_table(figure, top, METRIC_COLUMNS, [_metric_cells(c, name) for name in names])
    axes, limit = _ratio_axes(figure, (0.71, 0.24), top, len(names), c.metrics.loc[names, "ratio"])
    for place, (_, row) in enumerate(c.metrics.loc[names].iterrows()):
        if pd.notna(row["ratio"]):
            _ratio_bar(axes, _row_at(top, place), row["ratio"] if row["changed"] else 1.0, limit)
    if c.kind != RUN_FILE and c.metrics["changed"].sum() > len(names):
        told = f"The {len(names)} that changed most of {c.metrics['changed'].sum():,}; all follow."
        write(figure, 0.05, 0.06, told, size=8.5, colour=SOFT)
    return figure, end - 0.03  # the scale of the ratios


def _row_at(top: float, place: int) -> float:
    """Middle of a row of `draw_table`, in heights of the page."""
    return top - 0.005 - ROW_HEIGHT * (place + 1) + 0.22 * ROW_HEIGHT


def _ratio_axes(figure: Figure, span: tuple[float, float], top: float, rows: int, ratios: pd.Series) -> tuple[Axes, float]:
    """Axes beside the rows of a table, ratios across on a logarithmic scale about 1; and the largest ratio that fits."""
    bottom = _row_at(top, rows - 1) - 0.5 * ROW_HEIGHT
    axes = figure.add_axes((span[0], bottom, span[1], top - 0.010 - bottom))
    known = ratios[(ratios > 0) & np.isfinite(ratios)]
    far = float(np.abs(np.log10(known)).max()) if len(known) else 0.0
    limit = 10 ** min(max(1.08 * far, math.log10(1.1)), 9.0)
    axes.set_xscale("log")
    axes.set_xlim(1 / limit, limit)
    axes.set_ylim(bottom, top - 0.010)
    inside = [[tick for tick in ticks if 1 / limit <= tick <= limit] for ticks in TICKS]
    ticks = next((each for each in inside if len(each) >= 3 and max(each) ** 2 > limit), None)
    power = max(1, math.ceil(math.log10(limit) / 2.5))
    axes.set_xticks(ticks or [10.0**k for k in range(-9, 10) if k % power == 0 and 1 / limit <= 10.0**k <= limit])
    axes.set_xticklabels([f"{tick:g}" for tick in axes.get_xticks()])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelsize=8, length=3)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(1, color=INK, linewidth=1)
    write(figure, span[0] + span[1] / 2, top, "new over old", size=9, weight="bold", colour=SOFT, align="center")
    return axes, limit


def _ratio_bar(axes: Axes, y: float, ratio: float, limit: float) -> None:
    """A bar from 1 to a ratio; beyond the scale an arrow."""
    height = 0.5 * ROW_HEIGHT
    if ratio == 1:
        axes.plot([1], [y], marker="o", markersize=3.5, color=INK, linestyle="none")
        return
    end = min(max(ratio, 1 / limit), limit)
    more = ratio > 1
    colour = SECOND if more else ACCENT
    axes.barh(y, end - 1, left=1, height=height, color=colour, hatch="////" if more else None, edgecolor="white", linewidth=0)
    if end != ratio:
        axes.plot([end], [y], marker=">" if more else "<", markersize=7, color=colour, clip_on=False)


# ---- where the difference comes from


def waterfalls(comparison: Comparison) -> Figure:
    """From the old total to the new, component by component: energy per request and area; and the shares of both."""
    c = comparison
    figure = page("Where the difference comes from", _subtitle(c))
    groups: set[str] = set()
    for box, title, steps, column, unit in (
        (LEFT, "Energy per request on chip, static apart", energy_steps(c), "energy_J", "J"),
        (RIGHT, "Area of the chip", area_steps(c), "area_m2", "m²"),
    ):
        table = on_chip(c) if unit == "J" else c.components
        sides = [table[f"{column}_{side}"].fillna(0.0) for side in ("old", "new")]
        _waterfall(plot(figure, box, title, "x"), steps, [float(each.sum()) for each in sides], unit)
        axes = figure.add_axes((box[0], 0.185, box[2], 0.085))
        groups |= _shares(axes, sides)
        name = "Shares of the energy on chip, static included" if unit == "J" else "Shares of the area"
        axes.set_title(name, loc="left", fontsize=9.5, color=INK, fontweight="bold", pad=5)
    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0, label=name)
               for name, (colour, hatch) in _looks().items() if name in groups]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.145), ncols=5, frameon=False, fontsize=8.5, labelcolor=INK)
    links = c.metrics.loc["link_energy_per_request_J"]
    if links["changed"]:
        told = f"Energy of the off-chip links, not in the picture: {value_of(links, 'old')} → {value_of(links, 'new')} per request"
        write(figure, 0.05, 0.055, told, size=8.5, colour=SOFT)
    return figure


def energy_parts(comparison: Comparison) -> Figure:
    """The same of dynamic and of static energy, each by itself: the larger does not hide the other."""
    c = comparison
    figure = page("Dynamic and static energy on chip", _subtitle(c))
    steps = energy_steps(c)
    still = steps.index.str.endswith(STATIC)
    static = [float(on_chip(c)[f"static_energy_J_{side}"].sum()) for side in ("old", "new")]
    whole = [float(on_chip(c)[f"energy_J_{side}"].sum()) for side in ("old", "new")]
    for (left, _, width, _), title, mine, totals in (
        (LEFT, "Dynamic energy per request", steps[~still], [a - b for a, b in zip(whole, static, strict=True)]),
        (RIGHT, "Static energy per request", steps[still].rename(lambda name: name.removesuffix(STATIC)), static),
    ):
        _waterfall(plot(figure, (left, 0.13, width, 0.70), title, "x"), mine, totals, "J")
    return figure


def _looks() -> dict[str, tuple[str, str | None]]:
    """Colour and hatch of each group of components."""
    return {name: (colour, HATCHES.get(name)) for name, (colour, _) in GROUPS.items()} | {"other": (FAINT, None)}


def _group_of(component: object) -> str:
    return next((name for name, (_, members) in GROUPS.items() if component in members), "other")


def _shares(axes: Axes, values: list[pd.Series]) -> set[str]:
    """Two bars, old over new, each the whole, by groups of components; the groups that they have."""
    shown = set()
    for y, each in zip((1, 0), values, strict=True):
        left, total = 0.0, float(each.sum()) or 1.0
        by_group = each.groupby([_group_of(name) for name in each.index]).sum() / total
        for name, (colour, hatch) in _looks().items():
            share = float(by_group.get(name, 0.0))
            if share > 0:
                axes.barh(y, 100 * share, left=left, height=0.78, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
                left += 100 * share
                shown.add(name)
    axes.set_xlim(0, 100)
    axes.set_yticks([1, 0], ["old", "new"])
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100\u00a0%"])
    axes.tick_params(axis="x", colors=SOFT, labelsize=8, length=3)
    axes.tick_params(axis="y", labelsize=8.5, length=0, labelcolor=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    return shown


def _waterfall(axes: Axes, steps: pd.Series, totals: list[float], unit: str) -> None:
    """Old total, what each step adds or takes, new total; the smallest steps joined. Where the steps are small beside the
    totals the axis is cut, and says so."""
    rest = steps.iloc[MOST_STEPS - 1 :] if len(steps) > MOST_STEPS else steps.iloc[:0]
    drawn = steps.iloc[: len(steps) - len(rest)]
    if len(rest):
        drawn = pd.concat([drawn, pd.Series({f"{len(rest)} others": float(rest.sum())})])
    levels = np.concatenate([[totals[0]], totals[0] + np.cumsum(drawn.to_numpy(np.float64))])
    factor, prefix = (1e6, "m") if unit == "m²" else scale_of(max(float(levels.max()), totals[1]))
    reached = np.array([*levels, totals[1]]) * factor
    low, high = float(reached.min()), float(reached.max())
    moved = high - low
    from_zero = moved > 0.15 * high or not len(drawn)
    start = 0.0 if from_zero else max(0.0, low - 0.25 * moved)
    rows = ["old", *drawn.index, "new"]
    for place, total in ((0, totals[0]), (len(rows) - 1, totals[1])):
        axes.barh(place, total * factor - start, left=start, height=0.66, color=OLD if place == 0 else NEW)
        _beside(axes, total * factor, place, shown(total, unit), bold=True)
    whole = totals[1] - totals[0]
    shares = len(drawn) and abs(whole) > TOLERANCE * drawn.abs().sum()
    for place, (step, before, after) in enumerate(zip(drawn, levels[:-1], levels[1:], strict=True), 1):
        left, right = sorted((before * factor, after * factor))
        axes.barh(place, right - left, left=left, height=0.66, color=SECOND if step > 0 else "white", hatch="////" if step > 0 else None,
                  edgecolor="white" if step > 0 else ACCENT, linewidth=0 if step > 0 else 1.3)  # fmt: skip
        sign = "+" if step > 0 else ""
        share = f"  {percent(step / whole)}" if shares else ""
        _beside(axes, right, place, f"{sign}{shown(step, unit)}{share}")
    if not len(drawn):
        write(axes, 0.5, 0.4, "no component changed", size=9, colour=SOFT, align="center")
    ends = [totals[0], *levels[1:]]
    for place, level in enumerate(ends):
        axes.plot([level * factor] * 2, [place, place + 1], color=SOFT, linewidth=0.7, zorder=0.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(max(len(rows), LEAST_ROWS) - 0.4, -0.6)
    axes.tick_params(axis="y", labelsize=min(8.5, 72 * 0.8 * 3.9 / len(rows)), length=0, labelcolor=INK)
    axes.set_xlim(start, start + max(high - start, 1e-30) * 1.5)
    axes.xaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    axes.xaxis.get_major_locator().set_params(nbins=5)  # type: ignore[attr-defined]
    label = "mm²" if unit == "m²" else f"{prefix}{unit}"
    axes.set_xlabel(label if from_zero else f"{label}   (the axis does not begin at 0)", fontsize=8.5)


def _beside(axes: Axes, x: float, y: float, text: str, bold: bool = False) -> None:
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK,
                  fontweight="bold" if bold else "normal")  # fmt: skip


def by_layer(comparison: Comparison) -> Figure:
    """Energy, time and crossbars of each layer, old above new; of many layers those whose energy changed most."""
    c = comparison
    table = c.layers[~c.layers.index.isin(["(static)"])]
    cut_down = len(table) > MOST_LAYERS
    if cut_down:
        kept = table["energy_J_change"].abs().nlargest(MOST_LAYERS).index
        table = table[table.index.isin(kept)]
    figure = page("Layer by layer", _subtitle(c))
    panels = (
        ((0.15, 0.13, 0.245, 0.70), "Dynamic energy per request", "energy_J", "J"),
        ((0.445, 0.13, 0.225, 0.70), "A copy's busy time per request", "busy_s", "s"),
        ((0.72, 0.13, 0.225, 0.70), "Crossbars", "crossbars", ""),
    )
    for number, (box, title, column, unit) in enumerate(panels):
        axes = plot(figure, box, title, "x")
        pair = table[[f"{column}_old", f"{column}_new"]]
        most = float(np.nan_to_num(pair.to_numpy()).max(initial=0.0))
        factor, prefix = scale_of(most) if unit else (1.0, "")
        for offset, side, colour in ((-0.2, "old", OLD), (0.2, "new", NEW)):
            values = pair[f"{column}_{side}"]
            axes.barh(np.arange(len(table)) + offset, values.fillna(0.0) * factor, height=0.36, color=colour, label=side)
            for place, value in enumerate(values):
                if pd.isna(value) and not (column != "energy_J" and str(table.index[place]).startswith("(")):
                    axes.annotate(f"not in {side}", (0, place + offset), xytext=(3, 0), textcoords="offset points", va="center",
                                  fontsize=min(7.5, 72 * 0.4 * 5.7 / len(table)), color=SOFT)  # fmt: skip
        axes.set_ylim(max(len(table), LEAST_ROWS) - 0.4, -0.6)
        names = [name if len(name) <= 16 else f"…{name[-15:]}" for name in map(str, table.index)]
        axes.set_yticks(range(len(table)), names if number == 0 else [""] * len(table))
        axes.tick_params(axis="y", labelsize=min(8.5, 72 * 0.8 * 5.7 / max(1, len(table))), length=0, labelcolor=INK)
        axes.set_xlim(0, max(most * factor, 1e-30) * 1.08)
        axes.xaxis.get_major_locator().set_params(nbins=5, integer=not unit)  # type: ignore[attr-defined]
        axes.set_xlabel(f"{prefix}{unit}" if unit else "in all copies", fontsize=8.5)
    figure.axes[0].legend(loc="lower left", bbox_to_anchor=(-0.45, 1.005), ncols=1, frameon=False, fontsize=8.5, labelcolor=INK)
    if cut_down:
        told = f"{MOST_LAYERS} of {len(c.layers):,} rows, those whose energy changed most; all are in the tables."
        write(figure, 0.05, 0.06, told, size=8.5, colour=SOFT)
    return figure


def _component_rows(comparison: Comparison) -> list[list[str]]:
    c, rows = comparison, []
    for name, row in c.components.iterrows():
        energy, area, busy = (cells_of(row, [column], COMPONENT_VALUES, c.tolerance) for column in ("energy_J", "area_m2", "busy_s"))
        static = cells_of(row, ["static_energy_J"], COMPONENT_VALUES, c.tolerance)[:2]
        rows.append([name_of(name), *energy, share_text(row["energy_J_share"]), *static, *area, share_text(row["area_m2_share"]), *busy])
    totals = c.components.sum()
    cells = []
    for column in ("energy_J", "static_energy_J", "area_m2"):
        old, new = totals[f"{column}_old"], totals[f"{column}_new"]
        pair = side_by_side({"": old}, {"": new}).iloc[0]
        told = [shown(old, COMPONENT_VALUES[column]), shown(new, COMPONENT_VALUES[column])]
        more = [ratio_text(pair, c.tolerance), share_text(totals[f"{column}_share"] or math.nan)]
        cells += told if column == "static_energy_J" else told + more
    return [*rows, ["all", *cells, "", "", ""]]


def _layer_rows(comparison: Comparison) -> list[list[str]]:
    c, rows = comparison, []
    for name, row in c.layers.iterrows():
        energy, busy = (cells_of(row, [column], LAYER_VALUES, c.tolerance) for column in ("energy_J", "busy_s"))
        others = [cell for column in ("vector_time_s", "crossbars") for cell in cells_of(row, [column], LAYER_VALUES, c.tolerance)[:2]]
        label = str(name) if len(str(name)) <= 22 else f"…{str(name)[-21:]}"
        rows.append([label, *energy, share_text(row["energy_J_share"]), *busy, *others])
    return rows


# ---- sweeps


def sweep_overview(comparison: Comparison) -> Figure:
    """Each metric over the points that are in both sweeps: median, smallest and largest ratio, and every point's."""
    c = comparison
    figure = page("What changed", _subtitle(c))
    lines = textwrap.wrap(verdict(c), 135)
    write(figure, 0.05, 0.880, "\n".join(lines), size=10.5, vertical="top")
    top = 0.855 - 0.0225 * len(lines)
    shown = pd.concat([c.metrics[c.metrics["changed"]], c.metrics[~c.metrics["changed"]]]).head(ROWS_PER_PAGE - len(lines) - 1)
    if shown.empty:
        return figure
    draw_table(figure, top, SWEEP_COLUMNS, [
        [cut(str(row["label"]), 30), f"{row['points']:,}", f"{row['changed_points']:,}", value_of(row, "old"), value_of(row, "new"),
         *(times(row[name]) for name in ("ratio", "smallest", "largest"))] for _, row in shown.iterrows()
    ])  # fmt: skip
    ratios = c.points["ratio"].astype(np.float64)
    axes, limit = _ratio_axes(figure, (0.72, 0.23), top, len(shown), ratios[c.points["metric"].isin(shown.index)])
    for place, name in enumerate(shown.index):
        y = _row_at(top, place)
        known = ratios[c.points["metric"] == name].dropna().clip(1 / limit, limit)
        if len(known):
            axes.plot([known.min(), known.max()], [y, y], color=SOFT, linewidth=1)
            axes.plot(known, [y] * len(known), marker="|", markersize=7, color=ACCENT, linestyle="none", alpha=0.6)
            axes.plot([known.median()], [y], marker="D", markersize=4.5, color=INK, linestyle="none")
    write(figure, 0.05, 0.06, "Lines: a point each; diamond: the median; ratios beyond the scale are drawn at its end."
          + (f" {len(shown)} of {len(c.metrics)} metrics; all are in the tables." if len(shown) < len(c.metrics) else ""),
          size=8.5, colour=SOFT)  # fmt: skip
    return figure


def _worst_points(comparison: Comparison) -> list[list[str]]:
    """Of each metric the points whose ratio is furthest from 1."""
    c = comparison
    settings = list(c.points.columns[: list(c.points.columns).index("metric")])
    rows = []
    worst = by_change(c.points).groupby("metric", sort=False).head(WORST)
    order = worst["metric"].map({name: place for place, name in enumerate(c.metrics.index)})
    for _, row in worst.loc[order.sort_values(kind="stable").index].iterrows():
        unit = comparison.metrics.loc[row["metric"], "unit"]
        point = ", ".join(f"{name.rpartition('.')[2]} {plain(row[name])}" for name in settings)
        rows.append([cut(point, 80), cut(row["metric"], 32), shown(row["old"], unit), shown(row["new"], unit), times(row["ratio"])])
    return rows


# ---- how it was done


def definitions(comparison: Comparison) -> Figure:
    """What the numbers of the comparison mean."""
    c = comparison
    figure = page("How it was compared", _subtitle(c))
    texts = {
        "Ratio": "New over old; “same” where they differ by at most "
        f"{c.tolerance:.3g} of the old value; ∞ where only the old value is 0; a dash where only one of the two has it, which counts as "
        "a change.",
    }  # fmt: skip
    if c.kind == RUN_FILE:
        texts |= {
            "Asked": "Version, workload, study, texts of the chip (scheme, ranges, models) and every constant of the chip's file, as it "
            "is written there, with its unit and kind. What was asked does not count as a change of the results.",
            "Energy": "Per request: of the whole batch over its requests, static power over that time included. On chip is all but that of "
            "the off-chip links, which is told apart: what is on their other side is not modelled. In the pictures dynamic "
            "and static energy of a component are steps of their own; steps add up to the difference of the totals. A component that only "
            "one has gives or takes all of it.",
            "Share": "Of the whole change; shares add up to 100 %, and one that works against it is negative. A dash where changes "
            "cancel to nothing.",
            "Busy": "Components: actions over rate, summed over units, per request. Layers: time that one copy computes, per request. "
            "Time per vector: mean time of a vector in a copy.",
            "Noise": "Accuracy is the mean of chip instances. Whether it changed by more than chance is judged on means: paired by seed "
            "where both runs judged instances of the same seeds on the same samples (Student's t of the differences, 95 %), else by "
            "Welch's t. Where no instance differs from another, by an exact sign test of paired samples (McNemar 1947): their difference "
            "needs at least as many samples that only one has right, and at most all errors of both; where these disagree, it is "
            "left open.",
        }  # fmt: skip
    elif c.kind == SWEEP_FILE:
        texts |= {
            "Points": "Joined where every setting that varies in either sweep has the same value; of points that are there twice the "
            "first. Ratios are of points that both sweeps computed; points that only one has, or that fail only in one, count as a change.",
            "Asked": "Versions, and settings that all points of a sweep share.",
        }
    else:
        texts |= {
            "Numbers": f"Every number of {c.kind}, by its place in it; plans and settings, and all texts, are what was asked. Times "
            "that the computer took are shown and never count as a change.",
        }
    sections(figure, texts, 128)
    return figure

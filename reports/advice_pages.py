"""The pages of `xbar advise`: what to change, why, and what binds."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xbar.reports.advice_sheet import (
    TITLES,
    UNITS,
    AdviceSheet,
    band_text,
    binding,
    changed,
    headlines,
    part_name,
    score_line,
    score_text,
    summary_text,
    verdict,
)
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import write_text
from xbar.reports.style import (
    ACCENT,
    FAINT,
    FILLS,
    GREY,
    GROUPS,
    INK,
    SECOND,
    SOFT,
    fitted,
    group_of,
    human,
    look,
    page,
    paragraph,
    percent,
    plot,
    write,
)

BEST, BEST_PAIRS = 5, 2  # of each objective
MOST_BARS = 8
NAMES_WIDE = 1.28  # of names beside bars [inch]
INCH = 11.69  # of the page's width
BOXES = {"energy": (0.05, 0.47), "latency": (0.535, 0.47), "throughput": (0.05, 0.115), "area": (0.535, 0.115)}
# Where columns of the table of reasons begin; numbers end there.
COLUMNS = (("change", 0.05), ("estimated", 0.365), ("simulated", 0.430), ("score", 0.447), ("why", 0.575))
ROW = 0.0205
PARTS = {"array reads": SECOND, "conversions": ACCENT, "buffers and buses": "#2f9e77", "digital units": "#b23a48", "mesh": "#9bcf8c",
         "off-chip links": GREY}  # fmt: skip


def draw_advice(sheet: AdviceSheet, directory: Path) -> list[Path]:
    """Write advice.pdf, advice.html, a PNG a page and summary.txt; the paths. The same sheet gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    footer = f"xbar {version('xbar')}  ·  workload {sheet.meta['workload']}  ·  chip {sheet.meta['chip']}  ·  seed {sheet.meta['seed']}"
    pages = {"what_to_change": what_to_change(sheet), "why": why(sheet), "what_binds": what_binds(sheet)}
    tables = {"advice": sheet.changes, "bottlenecks": sheet.bottlenecks, "latency": sheet.latency, "periods": sheet.periods,
              "shares": sheet.shares}  # fmt: skip
    document = Document(
        f"What to change: {sheet.meta['title']}", verdict(sheet), pages, footer, headlines(sheet), tables, Record.load(directory)
    )
    paths = save_document(document, directory / "advice.pdf")
    write_text(directory / "summary.txt", summary_text(sheet))
    return [*paths, directory / "summary.txt"]


def what_to_change(sheet: AdviceSheet) -> Figure:
    """What binds, and by objective the best changes: estimated and simulated."""
    figure = page("What to change", sheet.meta["title"])
    bound = dict(binding(sheet))
    for place, name in enumerate(TITLES):
        y = 0.878 - 0.022 * place
        write(figure, 0.05, y, TITLES[name], size=9, weight="bold")
        write(figure, 0.235, y, human(float(sheet.meta["values"][name]), UNITS[name]), size=9, align="right")
        (line,), size = fitted(bound.get(name, ""), 0.70 * INCH, 8.5, 6.5)
        write(figure, 0.25, y, line, size=size, colour=SOFT)
    if told := score_line(sheet):
        y = 0.878 - 0.022 * len(TITLES)
        write(figure, 0.05, y, sheet.metric.title, size=9, weight="bold")
        (line,), size = fitted(told, 0.80 * INCH, 8.5, 6.5)
        write(figure, 0.15, y, line, size=size, colour=SOFT)
    for name, (left, bottom) in BOXES.items():
        _bars(figure, (left, bottom, 0.415, 0.255), sheet, name)
    figure.legend(
        handles=[Patch(**FILLS[1], label="estimated from the ledger"), Patch(**FILLS[0], label="simulated")],
        loc="upper right", bbox_to_anchor=(0.955, 0.965), ncols=2, frameon=False, fontsize=8.5, labelcolor=SOFT,
    )  # fmt: skip
    told = (
        "Change in percent of what there is; bars to the right are better. ≠: the estimate is not within its band of what is simulated. "
        f"{_score_told(sheet)} Arrays, tiles and cells are as the change's name says, and what is written beside them follows."
    )
    paragraph(figure, 0.070, told, size=7, wide=0.885)
    return figure


def _score_told(sheet: AdviceSheet) -> str:
    shown, meta = sheet.metric, sheet.meta
    if meta["score"] is None:
        return f"{shown.title} was not judged (costs alone): changes of bits, cells and arrays may cost some."
    return (f"{shown.title}: paired on the same {meta['images']} test samples and {meta['instances']} chip instances; what costs more "
            f"than its 95 % interval, or than {percent(meta['lost'], 0)} on the mean, is no help.")  # fmt: skip


def _bars(figure: Figure, box: tuple[float, float, float, float], sheet: AdviceSheet, name: str) -> None:
    """The best changes of an objective, and its best pairs below a line, each estimated and simulated."""
    left, bottom, width, height = box
    singles, pairs = sheet.best(name, most=BEST), sheet.best(name, "pair", BEST_PAIRS)
    rows = pd.concat([singles, pairs])
    write(figure, left, bottom + height + 0.028, TITLES[name], size=11, weight="bold")
    write(figure, left + width, bottom + height + 0.028, band_text(sheet, name), size=7.5, colour=SOFT, align="right")
    if not len(rows):
        write(figure, left, bottom + height - 0.02, "Nothing that was tried helps.", size=9, colour=SOFT)
        return
    share = 0.52 * width  # of the labels
    axes = plot(figure, (left + share, bottom, 0.32 * width, height), "", "x")
    sign = 1.0 if name == "throughput" else -1.0
    judged, estimated = (sign * 100 * rows[f"{name}{end}"].to_numpy(float) for end in ("_change", "_estimated_change"))
    at = np.arange(len(rows)) + 0.35 * (rows["kind"] == "pair").to_numpy()
    axes.barh(at - 0.19, estimated, height=0.36, **FILLS[1])
    axes.barh(at + 0.19, judged, height=0.36, **FILLS[0])
    axes.set_ylim(BEST + BEST_PAIRS + 0.35 - 0.4, -0.6)
    axes.set_yticks([])
    axes.axvline(0, color=SOFT, linewidth=1)
    low, high = min(0.0, float(estimated.min())), max(float(judged.max()), float(estimated.max()))
    axes.set_xlim(1.05 * low, 1.05 * high)
    axes.set_xlabel("% more" if name == "throughput" else "% less", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=7.5)
    axes.locator_params(axis="x", nbins=4)
    for place, (_, row) in zip(at.tolist(), rows.iterrows(), strict=True):
        y = bottom + height * (1 - (place + 0.6) / (BEST + BEST_PAIRS + 0.55))
        lines, size = fitted(str(row["change"]), (share - 0.012) * INCH, 8, 6, lines=2)
        for k, line in enumerate(lines):
            offset = 0.0065 if len(lines) > 1 else -0.0005
            write(figure, left, y + offset - 0.0135 * k, line, size=size, vertical="center")
        flag = "" if str(row[f"{name}_agrees"]) == "True" else " ≠"
        value = changed(float(row[f"{name}_change"])) + flag
        weight = "bold" if row["kind"] == "single" else "normal"
        write(figure, left + width, y, value, size=8, align="right", vertical="center", weight=weight)
    if len(pairs) and len(singles):
        y = bottom + height * (1 - (len(singles) + 0.275) / (BEST + BEST_PAIRS + 0.55))
        figure.add_artist(Line2D([left, left + width], [y, y], color=FAINT, linewidth=0.8))


def why(sheet: AdviceSheet) -> Figure:
    """Of each objective the best changes and pairs with their reasons; what cannot be, and what was not tried."""
    subtitle = f"{sheet.meta['title']}: estimated from the ledger, simulated, and what it does to {sheet.metric.word}"
    figure = page("Why, in a sentence each", subtitle)
    labels = {"score": sheet.metric.word}
    y = 0.876
    for label, x in COLUMNS:
        numbers = label in ("estimated", "simulated")
        write(figure, x, y, labels.get(label, label), size=8.5, weight="bold", colour=SOFT, align="right" if numbers else "left")
    figure.add_artist(Line2D([0.05, 0.95], [y - 0.008] * 2, color=SOFT, linewidth=1))
    y -= 0.008
    for name, title in TITLES.items():
        rows = pd.concat([sheet.best(name, most=BEST - 1), sheet.best(name, "pair", 1)])
        y -= ROW
        write(figure, 0.05, y, title if len(rows) else f"{title}: nothing that was tried helps", size=8.5, weight="bold")
        for _, row in rows.iterrows():
            y = _reason_row(figure, y, sheet, name, row)
        y -= 0.006
    refused = sheet.changes[(sheet.changes["error"] != "") & (sheet.changes["kind"] == "single")]
    ends = [f"Cannot be: {'; '.join(refused['change'])} (advice.csv has the reasons)."] if len(refused) else []
    ends.append("Not tried: " + "; ".join(f"{what} ({why})" for what, why in sheet.meta["not_tried"].items()) + ".")
    apart = list(dict.fromkeys(f"{change} ({name})" for change, name in sheet.disagreeing))
    if apart:
        ends.append(f"Estimate and simulation do not agree for {len(apart)}: {'; '.join(apart[:6])}{' …' if len(apart) > 6 else ''}. There "
                    "another path or another wait decides than does now; the simulated number is the one to go by.")  # fmt: skip
    paragraph(figure, max(0.15, y - 0.03), "\n".join(ends), size=7.5, wide=0.885)
    return figure


def _reason_row(figure: Figure, y: float, sheet: AdviceSheet, name: str, row: "pd.Series[float]") -> float:
    """One change with its numbers and reason, below `y`; where it ends."""
    reason = str(row[f"{name}_reason"])
    lines, size = fitted(reason, (0.95 - COLUMNS[-1][1]) * INCH, 7.5, 6.5, lines=2)
    names, small = fitted(str(row["change"]), 0.25 * INCH, 8, 6.5, lines=2)
    y -= ROW
    flag = "" if str(row[f"{name}_agrees"]) == "True" else " ≠"
    for k, line in enumerate(names):
        write(figure, COLUMNS[0][1] + 0.008, y - 0.0145 * k, line, size=small)
    write(figure, COLUMNS[1][1], y, changed(float(row[f"{name}_estimated_change"])), size=8, align="right")
    write(figure, COLUMNS[2][1], y, changed(float(row[f"{name}_change"])) + flag, size=8, align="right")
    score, score_size = fitted(score_text(sheet, row), 0.14 * INCH, 7.5, 6)
    write(figure, COLUMNS[3][1], y, score[0], size=score_size, colour=SOFT)
    for k, line in enumerate(lines):
        write(figure, COLUMNS[4][1], y - 0.0145 * k, line, size=size, colour=SOFT)
    return y - 0.0145 * (max(len(lines), len(names)) - 1)


def what_binds(sheet: AdviceSheet) -> Figure:
    """The critical path of a request, what bounds the throughput, and shares of energy and area."""
    figure = page("What binds, and what would next", f"{sheet.meta['title']}: one request alone, and a batch of {sheet.meta['requests']}")
    _path(figure, sheet)
    held = sheet.periods.head(MOST_BARS)
    _side_bars(
        figure, (0.67, 0.475, 0.24, 0.30), "Throughput: held by a request", [str(kind) for kind in held["kind"]],
        held["period_s"].to_numpy(float), [human(float(value), "s") for value in held["period_s"]], ACCENT,
    )  # fmt: skip
    for of, left in (("energy", 0.165), ("area", 0.67)):
        mine = sheet.shares[sheet.shares["of"] == of]
        total = float(mine["value"].sum())
        part = mine.head(MOST_BARS)
        _side_bars(
            figure, (left, 0.125, 0.24, 0.25), f"{TITLES[of]}: {human(total, UNITS[of])}", [part_name(str(name)) for name in part["part"]],
            part["value"].to_numpy(float), [percent(float(value) / total) for value in part["value"]],
            [str(look(group_of(str(name)))["facecolor"]) if group_of(str(name)) in GROUPS else GREY for name in part["part"]],
        )  # fmt: skip
    told = (
        "Latency: from the request's result back, cause after cause; shares sum to it exactly. Hatched: the unit was at work for a vector "
        "before, for which the path waited. Throughput: how long a request holds the unit of each kind that it holds longest; the longest "
        "is the shortest period, the next would be if the first were free. Energy and area without off-chip links; leakage is of the "
        "whole chip over the time that a request of the batch takes."
    )
    paragraph(figure, 0.088, told, size=7, wide=0.885)
    return figure


def _path(figure: Figure, sheet: AdviceSheet) -> None:
    """The critical path by layer, stacked by part: worked and waited."""
    table, total = sheet.latency, float(sheet.latency["time_s"].sum())
    by_layer = table.groupby("layer", sort=False)["time_s"].sum().sort_values(ascending=False, kind="stable")
    layers = list(by_layer.index[:MOST_BARS])
    axes = plot(figure, (0.165, 0.475, 0.24, 0.30), f"Latency: {human(total, 's')}", "x")
    left, scale = np.zeros(len(layers)), 100 / total if total else 0.0
    for part, colour in PARTS.items():
        mine = table[table["part"] == part].assign(waited=lambda t: t["time_s"] * t["waiting_share"])
        sums = mine.groupby("layer")[["time_s", "waited"]].sum().reindex(layers, fill_value=0.0)
        for values, hatch in ((sums["time_s"] - sums["waited"], None), (sums["waited"], "////")):
            widths = scale * values.to_numpy(float)
            axes.barh(np.arange(len(layers)), widths, left=left, height=0.62, facecolor=colour, edgecolor="white", linewidth=0, hatch=hatch)
            left = left + widths
    _named_rows(axes, layers)
    axes.set_ylim(max(len(layers), 3) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * float(left.max()))
    axes.set_xlabel("% of the latency", fontsize=8)
    for row, layer in enumerate(layers):
        axes.annotate(percent(float(by_layer[layer]) / total), (left[row], row), xytext=(3, 0), textcoords="offset points", va="center",
                      fontsize=7.5, color=INK)  # fmt: skip
    shares = table.groupby("part")["time_s"].sum() / total
    for place, (part, colour) in enumerate((part, colour) for part, colour in PARTS.items() if part in shares):
        y = 0.852 - 0.018 * (place // 2)
        x = 0.05 + 0.20 * (place % 2)
        figure.add_artist(Line2D([x, x + 0.012], [y + 0.004] * 2, color=colour, linewidth=6, solid_capstyle="butt"))
        write(figure, x + 0.018, y, f"{part} {percent(float(shares[part]))}", size=8, colour=SOFT)


def _named_rows(axes: Axes, names: list[str]) -> None:
    """Names beside rows of bars, each in two lines at most, in smaller type where they are long."""
    found = [fitted(name, NAMES_WIDE, 8, 5, lines=2) for name in names]
    axes.set_yticks(np.arange(len(names)), ["\n".join(lines) for lines, _ in found])
    for label, (_, size) in zip(axes.get_yticklabels(), found, strict=True):
        label.set_fontsize(size)
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _side_bars(
    figure: Figure, box: tuple[float, float, float, float], title: str, names: list[str], values: np.ndarray, told: list[str],
    colours: str | list[str],
) -> Axes:  # fmt: skip
    """Bars to the right with names on their left and numbers on their right."""
    axes = plot(figure, box, title, "none")
    axes.barh(np.arange(len(names)), values, height=0.62, color=colours)
    _named_rows(axes, names)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * float(values.max(initial=1e-30)))
    for row, text in enumerate(told):
        axes.annotate(text, (values[row], row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5, color=INK)
    return axes

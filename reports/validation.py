"""The pages of `xbar validate`: the model against measured chips, every point by number and name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import load_sheet, save_sheet, write_text
from xbar.reports.style import (
    ACCENT,
    FAINT,
    INK,
    PAPER,
    SECOND,
    SOFT,
    cut,
    draw_table,
    page,
    plain_decimals,
    plot,
    significant,
    write,
)

FILE = "validation.json"
GROUPS = {"energy": "Energy", "throughput": "Throughput", "area": "Area"}
# Of a group: what its axes show, factor from SI.
SCALES = {"energy": ("fJ an operation", 1e15), "throughput": ("TOPS", 1e-12), "area": ("mm²", 1e6)}
FEW = 12  # points of a group, up to which it shares a page
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
OFFSETS = [  # of a label from its marker [points], near ones first
    (radius * math.cos(angle), radius * math.sin(angle))
    for radius in (11.0, 17.0, 24.0, 32.0, 42.0)
    for angle in np.arange(16) * math.pi / 8
]
ROWS, SUMMARY_ROWS = 30, 22  # of a page
BAR = 0.8  # share of the points that bands are meant to hold


@dataclass(frozen=True)
class ValidationSheet:
    """What `xbar.workloads.study.validate` found: its table of points, with their numbers, and its summary."""

    meta: dict[str, Any]
    points: pd.DataFrame
    summary: pd.DataFrame

    def save(self, directory: Path) -> None:
        """Write validation.json, points.csv and summary.csv."""
        save_sheet(directory, FILE, self.meta, {"points": self.points, "summary": self.summary})

    @classmethod
    def load(cls, directory: Path) -> "ValidationSheet":
        """Read them back; raises ResultsError."""
        meta, tables = load_sheet(directory, FILE, "validation", {"points": False, "summary": False})
        return cls(meta, tables["points"], tables["summary"])

    @property
    def chips(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(self.points["chip"]))

    def group(self, name: str, cells: str) -> pd.DataFrame:
        """The points of a group, of chips of such cells."""
        return self.points[(self.points["group"] == name) & (self.points["cells"] == cells)]


def sheet_of(points: pd.DataFrame, summary: pd.DataFrame) -> ValidationSheet:
    """The sheet of a table and its summary; points are numbered from 1."""
    numbered = points.reset_index(drop=True)
    numbered.index += 1
    return ValidationSheet({"kind": "validation", "points": len(points)}, numbered.rename_axis("number").reset_index(), summary)


# ---- as text


def _share(value: float, digits: int = 1) -> str:
    shown = f"{100 * value:+.{digits}f}"
    return "" if math.isnan(value) else f"{shown.lstrip('+-') if not float(shown) else shown} %"


def _outside(row: Any) -> str:
    if row.group == "throughput":
        return ""
    return "outside" if str(row.outside) == "True" else "in band"


def cells(row: Any) -> list[str]:
    """A point in words, under HEADINGS."""
    band = "" if row.group == "throughput" else f"{significant(row.low)} to {significant(row.high)}"
    name = _share(row.by_laws_error) + ("*" if row.anchored in (True, "True") else "")
    return [
        str(row.number), row.chip, row.point, row.quantity, f"{significant(row.measured, 4)} {row.unit}", significant(row.by_laws, 4),
        name, band, _outside(row), significant(row.calibrated, 4), _share(row.calibrated_error), _share(row.left_out_error),
        row.standing, row.kind,
    ]  # fmt: skip


HEADINGS = ("no.", "chip", "point", "quantity", "measured", "by laws", "error", "band of laws", "", "calibrated", "error", "left out", "is",
            "kind")  # fmt: skip
SUMMARY = ("group", "chip", "points", "fitted", "by laws", "ratio", "in bands", "no law on", "calibrated", "ratio", "left out")


def _summary_cells(row: Any) -> list[str]:
    built = row.silicon in (True, "True")

    def share(value: float) -> str:
        return "" if math.isnan(value) else f"{100 * value:.1f} %"

    return [
        row.group, row.chip + (", one vote each" if row.chip.startswith("all ") else "" if built else " (paper design)"),
        str(row.points), str(int(row.parameters)), share(row.by_laws_mean_error), f"{row.by_laws_ratio:.2f}", share(row.inside),
        share(row.inside_unanchored), share(row.calibrated_mean_error), f"{row.calibrated_ratio:.2f}", share(row.left_out_mean_error),
    ]  # fmt: skip


def held(sheet: ValidationSheet) -> list[str]:
    """How many points of chips that were built lie within the bands, a sentence for each kind of cells: of all that stand for
    themselves, and of those on which neither constants nor bands of laws rest; none where there are none."""
    points = sheet.points
    banded = points[(points["group"] != "throughput") & (points["kind"] != "paper design") & (points["standing"] != "of others")]
    told = []
    for cells, mine in banded.groupby("cells", sort=False):
        inside, free = mine["outside"].astype(str) != "True", mine["anchored"].astype(str) != "True"
        alone = f"{_of(inside[free])} of those on which no law rests" if free.any() else "laws rest on every one"
        told.append(f"Bands of the laws hold {_of(inside)} of {cells}, {alone}; {100 * BAR:.0f} % was the aim.")
    return told


def _of(inside: "pd.Series[bool]") -> str:
    return f"{int(inside.sum())} of {len(inside)} points ({100 * inside.mean():.0f} %)"


def verdict(sheet: ValidationSheet) -> str:
    """In a sentence or two."""
    told: dict[str, list[str]] = {}
    for row in sheet.summary.itertuples():
        if str(row.chip).startswith("all ") and row.group != "throughput":
            error = f"{row.group} {100 * row.by_laws_mean_error:.0f} % by laws alone and {100 * row.calibrated_mean_error:.1f} % calibrated"
            told.setdefault(str(row.chip).removeprefix("all "), []).append(error)
    means = [f"Mean error of chips of {cells}, one vote each: {'; '.join(errors)}." for cells, errors in told.items()]
    return " ".join([*means, *held(sheet)])


def summary_text(sheet: ValidationSheet) -> str:
    """The table of points and the summary, as lines of text."""
    lines = _aligned([list(HEADINGS), *(cells(row) for row in sheet.points.itertuples())])
    lines += ["", *_aligned([list(SUMMARY), *(_summary_cells(row) for row in sheet.summary.itertuples())]), "", *NOTES, "", verdict(sheet)]
    return "\n".join(lines) + "\n"


NOTES = (
    "by laws: the preset without any figure stated of the chip; * constants or the band of a law rest on this point.",
    "calibrated: the preset as it is; left out: the point's error when the fit is made without it, where the others determine it.",
    "of others: arithmetic on other points of the chip; fitted on by nothing, in no mean, summed up apart as totals.",
    "fitted: figures of the chip that the points were fitted with; no law on: in bands, of points on which no law rests.",
    "ratio: geometric mean of model over measured, of energy an operation for energies. Times have no band. Paper designs are in no mean.",
)  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# ---- pages


def draw_validation(sheet: ValidationSheet, directory: Path) -> list[Path]:
    """Write validation.pdf, validation.html and a PNG a page into `directory`, and summary.txt; the paths."""
    pages = scatter_pages(sheet) | _ratio_pages(sheet)
    pages |= _summary_pages(sheet)
    write_text(directory / "summary.txt", summary_text(sheet))
    headlines = [
        (
            f"{GROUPS[row.group]}, {row.chip.removeprefix('all ')}, by laws", f"{100 * row.by_laws_mean_error:.0f} %",
            f"calibrated {100 * row.calibrated_mean_error:.1f} %",
        )
        for row in sheet.summary.itertuples() if row.chip.startswith("all ") and row.group != "throughput"
    ]  # fmt: skip
    document = Document(
        "Checked against silicon", verdict(sheet), pages, f"xbar {version('xbar')}  ·  validate", headlines,
        {"points": sheet.points, "summary": sheet.summary}, Record.load(directory) if (directory / "record.json").is_file() else None,
    )  # fmt: skip
    return save_document(document, directory / "validation.pdf")


def _marker(sheet: ValidationSheet, chip: str) -> str:
    return MARKERS[sheet.chips.index(chip) % len(MARKERS)]


def scatter_pages(sheet: ValidationSheet) -> dict[str, Figure]:
    """Model over measured, by names of pages: a group of points each, two where both are few."""
    found = {}
    for cells in dict.fromkeys(sheet.points["cells"]):
        groups = [group for group in GROUPS if len(sheet.group(group, cells))]
        few = [group for group in groups if len(sheet.group(group, cells)) <= FEW]
        pairs = [few[first : first + 2] for first in range(0, len(few), 2)]
        for together in [*([group] for group in groups if group not in few), *pairs]:
            found["_".join(("validation", *together, cells)).lower()] = _scatter_page(sheet, together, cells)
    return found


def _scatter_page(sheet: ValidationSheet, groups: Sequence[str], cells: str) -> Figure:
    """Model over measured of one group, the names of its numbers beside it, or of two, the names below."""
    every = [sheet.group(group, cells) for group in groups]
    points, chips = sum(map(len, every)), len({chip for mine in every for chip in mine["chip"]})
    titles = [GROUPS[group] for group in groups]
    title = " and ".join([titles[0], *(each.lower() for each in titles[1:])])
    figure = page(f"{title} of chips of {cells}", f"model against measured  ·  {points} published points of {chips} chips")
    if len(groups) == 1:
        _scatter(figure, (0.07, 0.13, 0.50, 0.72), sheet, groups[0], every[0])
        _key(figure, sheet, every[0], 0.607, 0.872, 0.80)
    else:
        for left, group, mine in zip((0.07, 0.56), groups, every, strict=True):
            _scatter(figure, (left, 0.47, 0.39, 0.385), sheet, group, mine)
            _key(figure, sheet, mine, left - 0.013, 0.41, 0.325)
    handles = [
        Line2D([], [], color=SECOND, marker="o", markerfacecolor=PAPER, linewidth=0.9, label="by laws, with its band"),
        Line2D([], [], color=ACCENT, marker="o", linewidth=0, markersize=4.5, label="calibrated"),
        Line2D([], [], color=INK, linewidth=1, label="equal"),
        Line2D([], [], color=SOFT, linewidth=0.7, linestyle=(0, (4, 3)), label="x 2, / 2"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.06, 0.042), ncols=4, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def _scatter(figure: Figure, box: tuple[float, float, float, float], sheet: ValidationSheet, group: str, mine: pd.DataFrame) -> None:
    """Model over measured of a group of points, each with its number."""
    unit, factor = SCALES[group]
    axes = plot(figure, box, f"{GROUPS[group]}, {unit}", "both")
    columns = {name: mine[f"common_{name}"].to_numpy(float) * factor for name in ("measured", "by_laws", "low", "high", "calibrated")}
    axes.set_xscale("log")
    axes.set_yscale("log")
    x = columns["measured"]
    shown = np.concatenate([x, columns["by_laws"], columns["calibrated"]])
    low, high = shown.min() / 1.6, shown.max() * 1.6
    axes.set_xlim(x.min() / 1.6, x.max() * 1.6)
    axes.set_ylim(low, high)
    line = np.array([min(low, x.min() / 2), max(high, x.max() * 2)])
    axes.plot(line, line, color=INK, linewidth=1.0, zorder=1)
    for times in (0.5, 2.0):
        axes.plot(line, times * line, color=SOFT, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    for place, chip in enumerate(mine["chip"]):
        shape, at = _marker(sheet, chip), x[place]
        if group != "throughput":
            ends = sorted((columns["low"][place], columns["high"][place]))
            axes.plot([at, at], np.clip(ends, low, high), color=SECOND, linewidth=0.9, alpha=0.45, zorder=2)
        axes.plot(at, columns["by_laws"][place], shape, color=SECOND, markerfacecolor=PAPER, markersize=6, zorder=3)
        axes.plot(at, columns["calibrated"][place], shape, color=ACCENT, markersize=4.5, zorder=4)
    _label(axes, x, columns["by_laws"], np.concatenate([columns["by_laws"], columns["calibrated"]]), mine["number"].tolist())
    for axis in (axes.xaxis, axes.yaxis):
        plain_decimals(axis, (1.0,))
    axes.set_xlabel("measured", fontsize=8.5)
    axes.set_ylabel("model", fontsize=8.5)


def _key(figure: Figure, sheet: ValidationSheet, mine: pd.DataFrame, left: float, top: float, height: float) -> None:
    """Names of the numbers, with the measured values, by chip, from `left` and `top` of the page down, at most `height` high."""
    lines = len(mine) + 1.4 * mine["chip"].nunique()
    step = min(0.0245, height / lines)
    right, size = left + 0.343, min(1.0, step / 0.0165)  # smaller type where lines are close
    y, before = top, ""
    for row in mine.itertuples():
        if row.chip != before:
            before = str(row.chip)
            y -= 0.4 * step
            figure.add_artist(Line2D([left], [y + 0.22 * step], color=INK, marker=_marker(sheet, before), markersize=5, linewidth=0))
            write(figure, left + 0.011, y, before, size=8.5 * size, weight="bold")
            y -= step
        write(figure, left + 0.015, y, str(row.number), size=7.8 * size, align="right", colour=SOFT)
        write(figure, left + 0.023, y, cut(f"{row.point}: {row.quantity}", 42), size=7.8 * size)
        write(figure, right, y, f"{significant(row.measured, 4)} {row.unit}", size=7.8 * size, align="right")
        y -= step


def _label(axes: Axes, x: np.ndarray, y: np.ndarray, markers: np.ndarray, numbers: Sequence[int]) -> None:
    """Each number beside its marker, with a line to it, where it covers neither a marker nor another number."""
    figure = axes.get_figure()
    assert figure is not None
    box, size = axes.get_position(), figure.get_size_inches() * 72  # type: ignore[union-attr]
    low, high = np.log([axes.get_xlim(), axes.get_ylim()]).T
    span = np.array([box.width * size[0], box.height * size[1]])

    def place(points: np.ndarray) -> np.ndarray:
        return (np.log(points) - low) / (high - low) * span

    taken = list(place(np.column_stack([np.tile(x, 2), markers])))
    half = np.array([5.5, 4.5])
    names: list[np.ndarray] = []
    for at, number in zip(place(np.column_stack([x, y])), numbers, strict=True):
        def crowded(offset: tuple[float, float], at: np.ndarray = at) -> float:
            spot = at + offset
            near = sum(bool((np.abs(spot - other) < 2 * half).all()) for other in names)
            on = sum(bool((np.abs(spot - other) < half + 3.5).all()) for other in taken)
            out = bool((spot < half).any() or (spot > span - half).any())
            return 10 * near + 4 * on + 20 * out

        offset = min(OFFSETS, key=crowded)
        names.append(at + offset)
        axes.annotate(
            str(number), xy=tuple(at / span), xycoords="axes fraction", xytext=offset, textcoords="offset points", fontsize=7, color=INK,
            ha="center", va="center", arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.5, "shrinkA": 4, "shrinkB": 5}, zorder=5,
        )  # fmt: skip


def _ratio_pages(sheet: ValidationSheet) -> dict[str, Figure]:
    """Model over measured of each point on a line of its own, as many pages as it takes."""
    found, count = {}, math.ceil(len(sheet.points) / ROWS)
    size = math.ceil(len(sheet.points) / count)
    for number in range(count):
        part = sheet.points.iloc[number * size : (number + 1) * size]
        figure = page("Every point: model over measured", f"points {part['number'].iloc[0]} to {part['number'].iloc[-1]}  ·  1 is equal")
        _ratios(figure, part)
        found[f"validation_points_{number + 1}"] = figure
    return found


def _ratios(figure: Figure, part: pd.DataFrame) -> None:
    axes = plot(figure, (0.36, 0.10, 0.345, 0.755), "", "x")
    places = np.arange(len(part))
    for place, row in zip(places, part.itertuples(), strict=True):
        if row.group != "throughput":
            axes.plot([row.low / row.measured, row.high / row.measured], [place] * 2, color=SECOND, linewidth=3.5, alpha=0.3,
                      solid_capstyle="butt", zorder=1)  # fmt: skip
        axes.plot(row.by_laws / row.measured, place, "o", color=SECOND, markerfacecolor=PAPER, markersize=6, zorder=3)
        axes.plot(row.calibrated / row.measured, place, "D", color=ACCENT, markersize=4, zorder=4)
    axes.axvline(1, color=INK, linewidth=1, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(0.005, 20)
    axes.set_xticks([0.01, 0.1, 0.5, 1, 2, 10], ["0.01", "0.1", "0.5", "1", "2", "10"])
    axes.minorticks_off()
    axes.set_ylim(len(part) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xlabel("model over measured", fontsize=8.5)
    top, height = 0.855, 0.755 / len(part)
    for x, text, align in (
        (0.05, "point", "left"), (0.345, "measured", "right"), (0.775, "by laws", "right"), (0.835, "calibrated", "right"),
        (0.89, "left out", "right"), (0.90, "is", "left"),
    ):  # fmt: skip
        write(figure, x, 0.868, text, size=8, weight="bold", colour=SOFT, align=align)
    for place, row in enumerate(part.itertuples()):
        y = top - (place + 0.62) * height
        write(figure, 0.05, y, f"{row.number}  {cut(f'{row.chip}, {row.point}: {row.quantity}', 47)}", size=7.6)
        write(figure, 0.345, y, f"{significant(row.measured, 4)} {row.unit}", size=7.6, align="right")
        *_, error = cells(row)[:7]
        write(figure, 0.775, y, error + ("  out" if _outside(row) == "outside" else ""), size=7.6, align="right")
        write(figure, 0.835, y, _share(row.calibrated_error), size=7.6, align="right")
        write(figure, 0.89, y, _share(row.left_out_error), size=7.6, align="right")
        write(figure, 0.90, y, str(row.standing), size=7.6)
    handles = [
        Line2D([], [], color=SECOND, marker="o", markerfacecolor=PAPER, linewidth=3.5, alpha=0.6, label="by laws, with its band"),
        Line2D([], [], color=ACCENT, marker="D", markersize=4, linewidth=0, label="calibrated"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.05, 0.045), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    said = "* constants or the band of a law rest on this point; out: outside of its band"
    write(figure, 0.95, 0.055, said, size=8, colour=SOFT, align="right")


def _summary_pages(sheet: ValidationSheet) -> dict[str, Figure]:
    """The summary, so many rows a page that they can be read, and below the last what its columns are."""
    rows = [_summary_cells(row) for row in sheet.summary.itertuples()]
    count = math.ceil(len(rows) / SUMMARY_ROWS)
    size = math.ceil(len(rows) / max(1, count))
    places = (0.05, 0.17, 0.40, 0.46, 0.535, 0.595, 0.67, 0.745, 0.835, 0.89, 0.95)
    columns = tuple((name, x, "left" if x < 0.3 else "right") for name, x in zip(SUMMARY, places, strict=True))
    found = {}
    for number in range(count):
        figure = page("Summary by chip", "mean of absolute errors and geometric mean of model over measured, each chip one vote")
        end = draw_table(figure, 0.86, columns, rows[number * size : (number + 1) * size], 0.0265)
        for place, line in enumerate((*NOTES, *held(sheet)) if number == count - 1 else ()):
            write(figure, 0.05, end - 0.045 - 0.0225 * place, line, size=8.2, colour=SOFT)
        figure.add_artist(Line2D([0.05, 0.95], [end - 0.018] * 2, color=FAINT, linewidth=1))
        found["validation_summary" if count == 1 else f"validation_summary_{number + 1}"] = figure
    return found

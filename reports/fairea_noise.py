"""Who is passed over on chips: one opening, many openings, many pools."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import GROUPS, chip_text, noise_row, pools_text, wider_row, wider_text, wrap
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, WARNING, page, percent, plot, write

SOURCES = {
    "chip": "chip",
    "own variance": "random errors,\nown variance",
    "one variance": "random errors,\none variance",
}


GAPS = {"shift_gap": "displacement [ranks]", "lost_gap": "ranks lost", "dropped_gap": "share dropped"}


def interval(axes: Axes, x: float, row: pd.Series, colour: str, marker: str, label: str | None = None) -> None:
    errors = [[max(0.0, row["mean"] - row["low"])], [max(0.0, row["high"] - row["mean"])]]
    errors = [[0.0 if np.isnan(e[0]) else e[0]] for e in errors]
    axes.errorbar(x, row["mean"], yerr=errors, fmt=marker, color=colour, markersize=5.5, capsize=2.5, label=label)


def noise(sheet: FaireaSheet) -> Figure:
    """Who is passed over on the chip as judged: this opening, many openings, many pools."""
    m = sheet.meta
    figure = page(
        "Who is passed over", f"{chip_text(sheet)}; {m['study']['instances']} chips, 95 % intervals over chips"
    )
    boxes = ((0.065, 0.585, 0.245, 0.26), (0.385, 0.585, 0.245, 0.26), (0.705, 0.585, 0.245, 0.26))
    told = (
        ("shift", "Rank displacement", "mean |change of rank|"),
        ("lost", "Ranks lost", "mean change of rank, up: worse"),
        ("dropped", "Chosen in float, then dropped", "share of a group's choices"),
    )
    for box, (what, title, label) in zip(boxes, told, strict=True):
        axes = plot(figure, box, title)
        for x, source in enumerate(SOURCES):
            for group, (colour, marker) in GROUPS.items():
                row = noise_row(sheet, f"{what}_{group}", source)
                interval(
                    axes, x + (-0.1 if group == "minority" else 0.1), row, colour, marker, group if x == 0 else None
                )
        axes.set_xticks(range(len(SOURCES)), list(SOURCES.values()))
        axes.set_xlim(-0.5, len(SOURCES) - 0.5)
        axes.set_ylabel(label, fontsize=9)
        if what == "lost":
            axes.axhline(0, color=INK, linewidth=0.8)
        else:
            axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # so that a marker at 0 is seen whole
        if what == "dropped":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0, symbol="\u00a0%"))
        legend_above(axes, 2)
    if not sheet.openings.empty:
        wide = 0.565 if sheet.pools.empty else 0.245
        _openings(plot(figure, (0.065, 0.17, wide, 0.26), "Gap over many openings, FairEA"), sheet)
    if not sheet.pools.empty:
        _pools(plot(figure, (0.385, 0.17, 0.245, 0.26), "Gap by the minority's share"), sheet)
    text = f"{wider_text(sheet)}\n\n{pools_text(sheet)}"
    write(figure, 0.68, 0.455, "\n\n".join(wrap(part, 50) for part in text.split("\n\n")), size=8.5, vertical="top")
    note = (
        "Random errors: independent for every pair and chip, Gaussian, with the variance that each score has over "
        "chips, or one for all scores. Ranks are within a position among those who qualify. Lower row: chips, "
        "candidates and positions all drawn anew."
    )
    write(figure, 0.05, 0.085, wrap(note, 180), size=8, colour=SOFT, vertical="top")
    return figure


def legend_above(axes: Axes, columns: int, size: float = 8, room: float = 0.2) -> None:
    """A legend in room of its own at the top of the axes."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + room * (high - low))
    axes.legend(
        fontsize=size,
        frameon=False,
        loc="upper left",
        ncols=columns,
        columnspacing=1.0,
        handletextpad=0.3,
        borderaxespad=0.1,
    )


def _openings(axes: Axes, sheet: FaireaSheet) -> None:
    for x, name in enumerate(GAPS):
        for offset, (source, label, colour, marker) in zip(
            (-0.2, 0.0, 0.2),
            (
                ("chip", "chip", ACCENT, "o"),
                ("one variance", "random errors", SOFT, "s"),
                ("chip less one variance", "difference", WARNING, "D"),
            ),
            strict=True,
        ):
            interval(axes, x + offset, wider_row(sheet, name, source), colour, marker, label if x == 0 else None)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(GAPS)), ["displace-\nment", "ranks\nlost", "share\ndropped"])
    axes.set_xlim(-0.5, len(GAPS) - 0.5)
    axes.set_ylabel("minority less majority", fontsize=9)
    legend_above(axes, 3, 7.5)


def _pools(axes: Axes, sheet: FaireaSheet) -> None:
    shares = sorted(sheet.pools["share"].unique())
    looks = {
        ("shift_gap", "chip"): ("displacement, chip", ACCENT, "o"),
        ("shift_gap", "one variance"): ("displacement, random", SOFT, "s"),
        ("lost_gap", "chip"): ("ranks lost, chip", SECOND, "^"),
        ("lost_gap", "one variance"): ("ranks lost, random", "#c7b299", "v"),
    }
    for place, ((measure, source), (label, colour, marker)) in enumerate(looks.items()):
        for x, share in enumerate(shares):
            table = sheet.pools[
                (sheet.pools["share"] == share)
                & (sheet.pools["measure"] == measure)
                & (sheet.pools["source"] == source)
            ]
            interval(axes, x + 0.16 * (place - 1.5), table.iloc[0], colour, marker, label if x == 0 else None)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(shares)), [percent(share, 0) for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.set_xlabel("minority's share of candidates and training pairs", fontsize=9)
    axes.set_ylabel("minority less majority, ranks", fontsize=9)
    legend_above(axes, 2, 7.2, 0.35)

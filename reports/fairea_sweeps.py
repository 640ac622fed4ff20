"""What chips do to the assignment against write error, ADC bits and drift."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from xbar.reports.fairea_sheet import FaireaSheet
from xbar.reports.fairea_words import GROUPS, chip_text
from xbar.reports.style import GREEN, INK, PAPER, SOFT, WARNING, page, percent, plot, significant

SERIES = (("sigma", "write error"), ("adc", "ADC bits"), ("drift", "time after programming"))


def sweeps(sheet: FaireaSheet) -> Figure:
    """Positions changed, displacement by group and selection rates against write error, ADC bits and drift."""
    figure = page("Against write error, ADC bits and drift", f"{chip_text(sheet)}; FairEA; 95 % intervals over chips")
    for column, (series, label) in enumerate(SERIES):
        left = 0.07 + 0.315 * column
        axes = [
            plot(figure, (left, bottom, 0.255, 0.195), title)
            for bottom, title in (
                (0.66, "Positions with another candidate"),
                (0.388, "Rank displacement"),
                (0.116, "Ratio of selection rates"),
            )
        ]
        part = sheet.noise[sheet.noise["series"] == series]
        values = sorted(part["value"].unique())
        axes[2].set_xlabel(
            label + (" (cells: pcm)" if series == "drift" and not sheet.meta["judged"]["drift_is_own"] else "")
        )
        kinds = (
            (("drift", "-", ""), ("drift, compensated", "--", ", compensated"))
            if series == "drift"
            else ((series, "-", ""),)
        )
        for name, style, suffix in kinds:
            _line(axes[0], sheet, name, values, "changed", "chip", INK, "o" + style, "chip" + suffix)
            if not suffix:
                _line(axes[0], sheet, name, values, "changed", "own variance", SOFT, "s:", "random errors")
            for group, (colour, marker) in GROUPS.items():
                _line(axes[1], sheet, name, values, f"shift_{group}", "chip", colour, marker + style, group + suffix)
            _line(axes[2], sheet, name, values, "selection_ratio", "chip", INK, "o" + style, "FairEA" + suffix)
            if not suffix:
                _line(
                    axes[2],
                    sheet,
                    name,
                    values,
                    "selection_ratio",
                    "chip",
                    GREEN,
                    "^:",
                    "largest fitness",
                    "largest fitness",
                )
        axes[2].axhline(sheet.meta["four_fifths"], color=WARNING, linewidth=1, linestyle=":")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, 0, symbol="\u00a0%"))
        for each in axes:
            low, high = each.get_ylim()
            each.set_ylim(0, high + 0.40 * (high - min(low, 0)))
            each.set_xticks(range(len(values)), [_value(series, value) for value in values])
            each.set_xlim(-0.35, len(values) - 0.65)
            each.legend(fontsize=6.8, frameon=False, loc="upper left", ncols=2, columnspacing=1.0, handlelength=3.6)
        axes[0].set_yticks([tick for tick in axes[0].get_yticks() if 0 <= tick <= 1])  # above are legend and ends of intervals
        axes[1].set_ylabel("mean |change of rank|" if column == 0 else "")
        axes[0].set_ylabel("share of open positions" if column == 0 else "")
        axes[2].set_ylabel("minority / majority" if column == 0 else "")
    return figure


def _value(series: str, value: float) -> str:
    if series == "sigma":
        return percent(value, 0)
    if series == "adc":
        return f"{value:.0f}"
    for unit, seconds in (("year", 31557600.0), ("month", 2629800.0), ("day", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 0.999 * seconds:
            count = round(value / seconds)
            return f"{count} {unit}{'s' if count > 1 and unit not in ('h', 'min') else ''}"
    return f"{significant(value, 2).rstrip('0').rstrip('.')} s"


def _line(
    axes: Axes,
    sheet: FaireaSheet,
    series: str,
    values: Sequence[float],
    measure: str,
    source: str,
    colour: str,
    form: str,
    label: str,
    assigner: str = "FairEA",
) -> None:
    table = sheet.noise
    part = table[
        (table["series"] == series)
        & (table["measure"] == measure)
        & (table["source"] == source)
        & (table["assigner"] == assigner)
    ]
    part = part.dropna(subset=["mean"]).sort_values("value")
    x = np.array([values.index(value) for value in part["value"]])
    errors = np.nan_to_num(np.array([part["mean"] - part["low"], part["high"] - part["mean"]])).clip(min=0)
    face = PAPER if "--" in form else colour  # dashes and hollow marks: what is compensated
    axes.errorbar(
        x, part["mean"], yerr=errors, fmt=form, color=colour, markersize=4.5, capsize=2, linewidth=1.3, label=label, markerfacecolor=face
    )

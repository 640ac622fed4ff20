"""One page a chip: what its DACs and ADCs do to a signal, and what a conversion costs by resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xbar.reports.devices import save_page
from xbar.reports.style import ACCENT, FAINT, INK, SECOND, SOFT, human, page, plot, scale_of, write

COLOURS = {
    "survey": INK, "sar": ACCENT, "flash": SECOND, "ramp": "#2f9e77", "integrating": "#7a5195", "sense_amplifier": "#b0592b",
}  # fmt: skip
LINES = {"survey": "-", "sar": "-", "flash": "--", "ramp": "-.", "integrating": ":", "sense_amplifier": (0, (1, 1))}
MANY_CODES = 64  # more cannot be told apart
NAMES = {
    "survey": "survey of converters", "sar": "SAR", "flash": "flash", "ramp": "ramp", "integrating": "integrating",
    "sense_amplifier": "sense amplifiers",
}  # fmt: skip


@dataclass(frozen=True)
class ConverterSheet:
    """What a page shows of a chip's converters.

    dac: code, voltage_steps, deviation_steps; adc: unit, current_steps, code of a ramp, for each drawn unit; cost:
    architecture, bits, energy_J, area_m2 of one unit by laws; own: energy_J, area_m2 and rate_per_s of the chip's own, as stated
    or by its law.
    """

    name: str
    title: str
    facts: str
    dac: pd.DataFrame
    adc: pd.DataFrame
    cost: pd.DataFrame
    bits: int
    architecture: str
    own: dict[str, float]


def converter_page(sheet: ConverterSheet) -> Figure:
    """The page of one chip's converters."""
    figure = page(sheet.title, sheet.facts)
    _dac(plot(figure, (0.07, 0.56, 0.25, 0.27), "DAC: voltage by code"), sheet.dac)
    _adc(plot(figure, (0.40, 0.56, 0.25, 0.27), "ADC: code by current"), sheet.adc)
    _error(plot(figure, (0.73, 0.56, 0.22, 0.27), "ADC: code less current"), sheet.adc)
    for place, (column, unit, name) in enumerate((("energy_J", "J", "Energy of a conversion"), ("area_m2", "m²", "Area of an ADC"))):
        axes = plot(figure, (0.07 + 0.395 * place, 0.15, 0.32, 0.27), f"{name}, by bits")
        _cost(axes, sheet, column, unit)
    figure.legend(*axes.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(0.80, 0.43), frameon=False, fontsize=8.5,
                  labelcolor=INK)  # fmt: skip
    rate = human(sheet.own["rate_per_s"], "S/s")
    note = (
        f"Cost: by the law of each structure that reaches {rate} at the chip's node; the chip names {NAMES[sheet.architecture]}.\nWhat its "
        "file states of power and area holds for every law at the bits where it is stated."
    )
    write(figure, 0.05, 0.085, note, size=8, colour=SOFT, vertical="top")
    write(figure, 0.05, 0.025, f"xbar  ·  chip {sheet.name}", size=8, colour=SOFT)
    return figure


def _dac(axes: Axes, dac: pd.DataFrame) -> None:
    few = len(dac) <= 32
    axes.plot(dac["code"], dac["code"], color=FAINT, linewidth=3)
    axes.plot(dac["code"], dac["voltage_steps"], color=ACCENT, marker="o" if few else "", markersize=4, linewidth=1.2)
    axes.set_xlabel("code", fontsize=8.5)
    axes.set_ylabel("voltage, steps", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    worst = float(dac["deviation_steps"].abs().max())
    axes.text(0.04, 0.94, f"largest deviation {worst:.3g} steps", transform=axes.transAxes, fontsize=8, color=INK, va="top")


def _adc(axes: Axes, adc: pd.DataFrame) -> None:
    for _, unit in adc.groupby("unit"):
        axes.plot(unit["current_steps"], unit["code"], color=ACCENT, linewidth=1.1, alpha=0.8)
    axes.set_xlabel("current, steps", fontsize=8.5)
    axes.set_ylabel("code", fontsize=8.5)
    span = adc["current_steps"]
    axes.set_xlim(span.min(), span.max())


def _error(axes: Axes, adc: pd.DataFrame) -> None:
    """Code less current, within the codes; of many codes the middle ones, or where units err their mean over a code."""
    low, high = adc["code"].min(), adc["code"].max()
    many, errs = high - low > MANY_CODES, adc["unit"].nunique() > 1
    if many and not errs:
        low, high = (low + high) / 2 - 8, (low + high) / 2 + 8
    inside = adc[(adc["current_steps"] >= low) & (adc["current_steps"] <= high)]
    largest = 0.0
    for _, unit in inside.groupby("unit"):
        deviation = unit["code"] - unit["current_steps"]
        if many and errs:
            per_code = max(1, round(len(unit) / (high - low)))
            deviation = deviation.rolling(4 * per_code, center=True).mean()
        axes.plot(unit["current_steps"], deviation, color=ACCENT, linewidth=0.9, alpha=0.8)
        largest = max(largest, float(deviation.abs().max()))
    axes.axhspan(-0.5, 0.5, color=FAINT, zorder=0)
    axes.set_xlabel("current, steps", fontsize=8.5)
    axes.set_ylabel("steps, mean over a code" if many and errs else "steps", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylim(-1.3 * max(largest, 0.6), 1.3 * max(largest, 0.6))
    axes.set_xlim(low, high)


def _cost(axes: Axes, sheet: ConverterSheet, column: str, unit: str) -> None:
    factor, prefix = (1e12, "µ") if unit == "m²" else scale_of(float(sheet.cost[column].median()))
    for architecture, rows in sheet.cost.groupby("architecture", sort=False):
        name = str(architecture)
        axes.plot(rows["bits"], rows[column] * factor, color=COLOURS[name], linestyle=LINES[name], label=NAMES[name], linewidth=1.6)
    axes.plot([sheet.bits], [sheet.own[column] * factor], color=COLOURS[sheet.architecture], marker="o", markersize=6, linewidth=0)
    axes.axvline(sheet.bits, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_yscale("log")
    axes.set_xlabel("bits", fontsize=8.5)
    axes.set_ylabel(f"{prefix}{unit}", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_converters(sheets: Sequence[ConverterSheet], directory: Path) -> list[Path]:
    """Write NAME-converters.png and .pdf of every chip into `directory`; the paths."""
    return [
        path
        for sheet in sheets
        for path in save_page(converter_page(sheet), sheet.title, directory, f"{sheet.name}-converters")
    ]

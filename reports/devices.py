"""One page a cell technology: what its writes give, how far they spread, how they drift, how reads scatter."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from xbar.reports.pages import save_pdf, save_png
from xbar.reports.style import ACCENT, FAINT, INK, PAGE, SECOND, SOFT, fitted, page, plot, significant, write
from xbar.reports.times import TIMES

MOST_LEVELS = 16  # distributions drawn on a page
FINE = 0.02  # of the range: where the spread is less, distributions are drawn around their targets


@dataclass(frozen=True)
class DeviceSheet:
    """What a page shows of a device; conductances in siemens, times in seconds after programming."""

    name: str
    title: str
    description: str
    facts: str  # one line under the heading
    levels: int
    written: pd.DataFrame  # target_S, conductance_S: samples just after programming
    law: pd.DataFrame  # target_S, sigma_S of the write model
    table: pd.DataFrame  # target_S, sigma_S of a table's points, may be empty
    drift: pd.DataFrame  # target_S, time_s, mean_S, sigma_S without read noise
    noise: pd.DataFrame  # time_s, conductance_S, sigma_S of one read, may be empty
    drifts: bool
    sources: tuple[str, ...]  # one line each: citation and how it was read


def device_page(sheet: DeviceSheet) -> Figure:
    """The page of one device."""
    figure = page(sheet.title, sheet.description)
    (facts,), size = fitted(sheet.facts, 0.90 * PAGE[0], 10, 7)
    write(figure, 0.05, 0.885, facts, size=size, colour=SECOND)
    shown = "Conductance after a write less its target" if _is_fine(sheet) else "Conductance after a write"
    _distributions(plot(figure, (0.07, 0.545, 0.40, 0.275), f"{shown}, by level"), sheet)
    _spread(plot(figure, (0.585, 0.545, 0.365, 0.275), "Spread of a write, against its target"), sheet)
    _drift(plot(figure, (0.07, 0.195, 0.40, 0.255), "Conductance over time, mean and spread of cells"), sheet)
    _noise(plot(figure, (0.585, 0.195, 0.365, 0.255), "Read noise, against conductance"), sheet)
    lines = [line for source in sheet.sources for line in textwrap.wrap(source, 175)]
    write(figure, 0.05, 0.118, "\n".join(lines[:5]), size=7.5, colour=SOFT, vertical="top", linespacing=1.5)
    write(figure, 0.05, 0.025, f"xbar  ·  device {sheet.name}", size=8, colour=SOFT)
    return figure


def draw_devices(sheets: Sequence[DeviceSheet], directory: Path) -> list[Path]:
    """Write NAME.png and NAME.pdf of every device into `directory`; the paths. The same sheets give the same bytes."""
    return [path for sheet in sheets for path in save_page(device_page(sheet), sheet.title, directory, sheet.name)]


def save_page(figure: Figure, title: str, directory: Path, name: str) -> list[Path]:
    """Write a page as NAME.png and NAME.pdf; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    return [save_png(figure, directory / f"{name}.png"), save_pdf([figure], directory / f"{name}.pdf", title)]


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    """Colours from the lowest conductance to the highest."""
    return [colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, count)]


def _is_fine(sheet: DeviceSheet) -> bool:
    """True where distributions would be lines on the scale of the whole range."""
    width = float(sheet.law["target_S"].max() - sheet.law["target_S"].min())
    return bool(0 < sheet.law["sigma_S"].max() < FINE * width)


def _distributions(axes: Axes, sheet: DeviceSheet) -> None:
    """A violin a level, all of one width, its target as a line across."""
    targets = np.sort(sheet.written["target_S"].unique()) * 1e6
    samples = [group["conductance_S"].to_numpy() * 1e6 for _, group in sheet.written.groupby("target_S")]
    if _is_fine(sheet):
        samples = [values - target for values, target in zip(samples, targets, strict=True)]
        targets = np.zeros_like(targets)
    places = np.rint(np.linspace(0, sheet.levels - 1, len(targets)))
    width = 0.8 * (sheet.levels - 1) / max(1, len(targets) - 1)
    drawn = [place for place, values in enumerate(samples) if np.ptp(values) > 0]
    if drawn:
        parts = axes.violinplot([samples[k] for k in drawn], places[drawn], widths=width, showextrema=False, points=200)
        for body in parts["bodies"]:  # type: ignore[attr-defined]
            body.set(facecolor=ACCENT, edgecolor=ACCENT, alpha=0.45, linewidth=0.6)
    ends = [[(place - width / 2, y), (place + width / 2, y)] for place, y in zip(places, targets, strict=True)]
    axes.add_collection(LineCollection(ends, colors=SECOND, linewidths=1.0))
    low, high = min(0.0, *(values.min() for values in samples)), max(values.max() for values in samples)
    above = 0.25 if _is_fine(sheet) else 0.06  # room for the legend where violins fill the plot
    axes.set_xlim(-0.8 * width, sheet.levels - 1 + 0.8 * width)
    axes.set_ylim(1.06 * low, max(high + above * (high - low), 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("level", fontsize=8.5)
    axes.set_ylabel("µS", fontsize=8.5)
    handles = [Patch(color=ACCENT, alpha=0.45, label="cells"), Line2D([], [], color=SECOND, label="target")]
    axes.legend(
        handles=handles, loc="upper right" if _is_fine(sheet) else "lower right", ncols=2, frameon=False, fontsize=8.5,
        labelcolor=INK,
    )  # fmt: skip


def _spread(axes: Axes, sheet: DeviceSheet) -> None:
    """The law as a line, the samples' spread as dots, a table's points as squares."""
    if len(sheet.table):
        axes.plot(
            sheet.table["target_S"] * 1e6, sheet.table["sigma_S"] * 1e6, "s", mfc="none", mec=INK, ms=5.5, label="table"
        )
    axes.plot(sheet.law["target_S"] * 1e6, sheet.law["sigma_S"] * 1e6, color=ACCENT, lw=1.8, label="model")
    groups = sheet.written.groupby("target_S")["conductance_S"]
    label = f"sampled, {len(sheet.written) // len(groups):,} cells a level"
    axes.plot(groups.std().index * 1e6, groups.std() * 1e6, "o", color=SECOND, ms=3.2, label=label)
    if groups.std().iloc[0] < 0.9 * sheet.law["sigma_S"].iloc[0]:
        text = "below the model near 0 S: draws below 0 S become 0 S"
        write(axes, 0.985, 0.04, text, size=8, colour=SOFT, align="right")
    largest = max(float(sheet.law["sigma_S"].max()), float(groups.std().max())) * 1e6
    axes.set_ylim(0, 1.3 * largest if largest > 0 else 1.0)
    axes.set_xlabel("target, µS", fontsize=8.5)
    axes.set_ylabel("standard deviation, µS", fontsize=8.5)
    axes.legend(loc="upper right", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)


def _drift(axes: Axes, sheet: DeviceSheet) -> None:
    """Mean of some targets over time, one standard deviation to either side as a band."""
    targets = np.sort(sheet.drift["target_S"].unique())
    for target, colour in zip(targets, _shades(len(targets)), strict=True):
        mine = sheet.drift[sheet.drift["target_S"] == target]
        mean, sigma = mine["mean_S"] * 1e6, mine["sigma_S"] * 1e6
        axes.fill_between(mine["time_s"], (mean - sigma).clip(lower=0), mean + sigma, color=colour, alpha=0.18, lw=0)
        axes.plot(mine["time_s"], mean, color=colour, lw=1.6)
        text = f"{significant(target * 1e6)} µS" if target else "0 µS"
        axes.annotate(
            text, (1, float(mean.iloc[-1])), xycoords=("axes fraction", "data"), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=8, color=colour,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(list(TIMES.values()), list(TIMES))
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlim(1, TIMES["10 years"])
    axes.set_ylim(0, None)
    axes.set_ylabel("µS", fontsize=8.5)
    axes.set_xlabel(f"time after programming{'' if sheet.drifts else ' (no drift in this file)'}", fontsize=8.5)


def _noise(axes: Axes, sheet: DeviceSheet) -> None:
    """One line a time, or one line where time does not matter."""
    times = np.sort(sheet.noise["time_s"].unique())
    names = {seconds: name for name, seconds in TIMES.items()}
    colours = _shades(len(times)) if len(times) > 1 else [ACCENT] * len(times)
    for time, colour in zip(times, colours, strict=True):
        mine = sheet.noise[sheet.noise["time_s"] == time]
        label = f"{names[time]} after programming" if len(times) > 1 else "at any time"
        axes.plot(mine["conductance_S"] * 1e6, mine["sigma_S"] * 1e6, color=colour, lw=1.8, label=label)
    if len(times):
        axes.set_ylim(0, 1.45 * float(sheet.noise["sigma_S"].max()) * 1e6)
        axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    else:
        write(axes, 0.5, 0.5, "no read noise in this file", size=10, colour=SOFT, align="center")
        axes.set(xticks=[], yticks=[])
        axes.set_facecolor(FAINT)
    axes.set_xlabel("conductance, µS", fontsize=8.5)
    axes.set_ylabel("standard deviation, µS", fontsize=8.5)

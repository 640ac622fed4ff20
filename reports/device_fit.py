"""One page of a device file that was fitted to measured cells: data against every model, and what held-out cells say."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xbar.reports import pages
from xbar.reports.style import ACCENT, FAINT, INK, PAPER, SECOND, SOFT, cut, page, plot, scale_of, write
from xbar.reports.times import TIMES

# Told apart in grey by their dashes; the chosen model is drawn thick and whole.
DASHES: tuple[object, ...] = (
    (0, (1, 1.2)),
    (0, (4, 2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (2.5, 1)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 3)),
)
SMALL = 8.0
FAR = 3.0  # nats behind the best, beyond which how far is not drawn
TICKS = {"1 ms": 1e-3, **TIMES}


@dataclass(frozen=True, eq=False)
class FitSheet:
    """What the page shows; conductances in siemens, times in seconds after the write.

    points: target_S, sigma_S, sigma_error_S, offset_S, offset_error_S of the data; laws: target_S and the spread of every model by
    name; band: target_S, low_S, high_S of the chosen one; bias: target_S, offset_S, error_S; models: behind, behind_error by name, nan
    where one cannot be; z: held-out errors over the chosen model's spread. noise: mean_S, sigma_S, reads, odd of each cell, and noise_laws:
    conductance_S, proportional, independent; drift: cell, time_s, held, odd, and drift_law: time_s, low, mean, high; None: not measured.
    """

    name: str
    title: str
    subtitle: str
    chosen: str
    titles: Mapping[str, str]
    points: pd.DataFrame
    laws: pd.DataFrame
    band: pd.DataFrame
    bias: pd.DataFrame
    models: pd.DataFrame
    judges: int  # cells held out
    z: np.ndarray
    noise: pd.DataFrame | None
    noise_laws: pd.DataFrame
    noise_chosen: str
    drift: pd.DataFrame | None
    drift_law: pd.DataFrame
    drift_t0: float  # [s]
    notes: tuple[str, ...]
    read_noise_known: bool

    @property
    def unit(self) -> tuple[float, str]:
        """Factor and name of the unit in which conductances are drawn."""
        factor, prefix = scale_of(float(self.laws["target_S"].max()))
        return factor, f"{prefix}S"


def fit_page(sheet: FitSheet) -> Figure:
    """The page."""
    figure = page(sheet.title, sheet.subtitle)
    _spread(plot(figure, (0.085, 0.60, 0.25, 0.25), "Spread of a write, by target"), sheet)
    _judged(plot(figure, (0.487, 0.60, 0.163, 0.25), "Held out: nats behind the best", "x"), sheet)
    _normal(plot(figure, (0.735, 0.60, 0.215, 0.25), "Held-out errors, in order"), sheet)
    _bias(plot(figure, (0.085, 0.265, 0.25, 0.23), "Mean of writes less target"), sheet)
    _noise(plot(figure, (0.415, 0.265, 0.235, 0.23), "Read noise, cell by cell"), sheet)
    _drift(plot(figure, (0.735, 0.265, 0.215, 0.23), "Drift: G over G at time 0"), sheet)
    lines = [line for note in sheet.notes for line in textwrap.wrap(note, 205)]
    most = 9
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(lines[most - 1], 170) + f" … all in {sheet.name}.txt"]
    write(figure, 0.05, 0.195, "\n".join(lines), size=7, colour=INK, vertical="top", linespacing=1.45)
    write(figure, 0.05, 0.02, f"xbar  ·  fitted device {sheet.name}", size=SMALL, colour=SOFT)
    return figure


def draw_fit(sheet: FitSheet, directory: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.pdf into `directory`; the paths. The same sheet gives the same bytes."""
    figure = fit_page(sheet)
    return [pages.save_png(figure, directory / f"{name}.png"), pages.save_pdf([figure], directory / f"{name}.pdf", sheet.title)]


def _label(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across, fontsize=8.5)
    axes.set_ylabel(up, fontsize=8.5)


def _spread(axes: Axes, sheet: FitSheet) -> None:
    """Data with error bars, all models, the chosen one with the band of its 95 % interval."""
    factor, unit = sheet.unit
    x, points = sheet.laws["target_S"] * factor, sheet.points
    axes.fill_between(x, sheet.band["low_S"] * factor, sheet.band["high_S"] * factor, color=ACCENT, alpha=0.18, lw=0)
    names = [name for name in sheet.titles if name in sheet.laws]
    for name, dashes in zip(sheet.titles, DASHES, strict=True):
        if name in names and name != sheet.chosen:
            axes.plot(x, sheet.laws[name] * factor, color=SOFT, lw=0.9, ls=dashes, label=sheet.titles[name])  # type: ignore[arg-type]
    axes.plot(x, sheet.laws[sheet.chosen] * factor, color=ACCENT, lw=2.2, label=f"{sheet.titles[sheet.chosen]} (chosen)")
    axes.errorbar(
        points["target_S"] * factor,
        points["sigma_S"] * factor,
        1.96 * points["sigma_error_S"] * factor,
        fmt="o",
        ms=3.2,
        color=INK,
        ecolor=INK,
        elinewidth=0.8,
        label="data, 95 %",
    )
    top = float(max((points["sigma_S"] + 1.96 * points["sigma_error_S"]).max(), sheet.band["high_S"].max())) * factor
    axes.set_ylim(0, 1.75 * min(top, 2.5 * float(points["sigma_S"].max()) * factor) or 1.0)
    noise = "read noise taken away" if sheet.read_noise_known else "with the noise of a read in it"
    _label(axes, f"target, {unit}", f"standard deviation, {unit}\n({noise})")
    axes.legend(
        loc="upper left",
        ncols=2,
        facecolor=PAPER,
        edgecolor=PAPER,
        framealpha=0.9,
        fontsize=6.5,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.0,
        labelspacing=0.3,
        borderaxespad=0.1,
    )


def _judged(axes: Axes, sheet: FitSheet) -> None:
    """How far each model lies behind the best one, with one standard error."""
    shown = sheet.models[sheet.models["why"] == ""].sort_values("behind", ascending=False)
    cannot = sheet.models[sheet.models["why"] != ""]
    names = [*cannot.index, *shown.index]
    reach = float((shown["behind"] + shown["behind_error"]).max()) or 1.0
    edge = min(reach, FAR)
    for place, name in enumerate(names):
        colour, look = (ACCENT, "D") if name == sheet.chosen else (INK, "o")
        if name not in shown.index:
            write(
                axes, 0.98, (place + 0.5) / len(names), "cannot be of these data", size=6.5, colour=SOFT, align="right", vertical="center"
            )
        elif shown.loc[name, "behind"] > edge:
            axes.plot(-edge, place, "<", color=colour, ms=5)
            write(axes, 0.10, (place + 0.5) / len(names), "further", size=6.5, colour=SOFT, vertical="center")
        else:
            behind, error = shown.loc[name, ["behind", "behind_error"]]
            axes.errorbar(-behind, place, xerr=error, fmt=look, ms=6 if look == "D" else 4, color=colour, elinewidth=1.0, capsize=2.5)
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.set_ylim(-0.5, len(names) - 0.5)
    axes.set_yticks(range(len(names)), [sheet.titles[name] for name in names], fontsize=7.5)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set(color=ACCENT if name == sheet.chosen else INK, fontweight="bold" if name == sheet.chosen else "normal")
    if edge > 0.2:  # far ones would press the near ones together
        axes.set_xscale("symlog", linthresh=0.01, linscale=0.7)
        ticks = [tick for tick in (-1.0, -0.1, -0.01, 0.0) if -tick <= edge]
        axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axes.minorticks_off()
    axes.set_xlim(-1.15 * edge, 0.02 if edge > 0.2 else 0.15 * edge)
    axes.set_xlabel(f"nats a cell, {sheet.judges:,} cells, ± 1 standard error", fontsize=7.5)


def _normal(axes: Axes, sheet: FitSheet) -> None:
    """Quantiles of held-out errors over the model's spread against those of a normal distribution, with its 95 % band."""
    z, count = np.sort(sheet.z), len(sheet.z)
    order = np.arange(1, count + 1)
    expected = scipy.stats.norm.ppf((order - 0.5) / count)
    low, high = (scipy.stats.norm.ppf(scipy.stats.beta.ppf(q, order, count + 1 - order)) for q in (0.025, 0.975))
    axes.fill_between(expected, low, high, color=ACCENT, alpha=0.2, lw=0, label="95 % of normal ones")
    axes.plot(expected, expected, color=SOFT, lw=0.9)
    axes.plot(expected, z, ".", color=INK, ms=3.0, label=f"{count:,} held-out writes")
    reach = 1.1 * max(float(np.abs(expected).max()), float(np.abs(z).max()))
    axes.set(xlim=(-1.12 * float(expected.max()), 1.12 * float(expected.max())), ylim=(-reach, 1.25 * reach))
    _label(axes, "normal quantile", "error over the model's spread")
    axes.legend(loc="upper left", frameon=False, fontsize=7, labelcolor=INK)


def _bias(axes: Axes, sheet: FitSheet) -> None:
    factor, unit = sheet.unit
    x, mean, error = (sheet.bias[name] * factor for name in ("target_S", "offset_S", "error_S"))
    axes.axhline(0, color=SECOND, lw=1.4, ls=(0, (4, 2)), label="as the device file aims")
    axes.fill_between(x, mean - 1.96 * error, mean + 1.96 * error, color=ACCENT, alpha=0.18, lw=0)
    axes.plot(x, mean, color=ACCENT, lw=1.8, label="fitted")
    axes.errorbar(
        sheet.points["target_S"] * factor,
        sheet.points["offset_S"] * factor,
        1.96 * sheet.points["offset_error_S"] * factor,
        fmt="o",
        ms=3.2,
        color=INK,
        elinewidth=0.8,
        label="data, 95 %",
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.22 * (high - low))
    _label(axes, f"target, {unit}", unit)
    axes.legend(loc="upper left", ncols=3, frameon=False, fontsize=7, labelcolor=INK, columnspacing=0.8, handlelength=1.6)


def _none(axes: Axes, text: str) -> None:
    write(axes, 0.5, 0.5, text, size=9, colour=SOFT, align="center", vertical="center")
    axes.set(xticks=[], yticks=[])
    axes.set_facecolor(FAINT)


def _noise(axes: Axes, sheet: FitSheet) -> None:
    """Spread of each cell's reads against their mean, and both models."""
    if sheet.noise is None:
        _none(axes, "no repeated reads were given:\nread noise is unknown")
        return
    factor, unit = sheet.unit
    small, name = scale_of(float(sheet.noise["sigma_S"].max()))
    cells = sheet.noise[~sheet.noise["odd"]]
    error = 1.96 * cells["sigma_S"] / np.sqrt(2 * (cells["reads"] - 1))
    axes.errorbar(
        cells["mean_S"] * factor, cells["sigma_S"] * small, error * small, fmt="o", ms=3.0, color=INK, elinewidth=0.6, label="cells, 95 %"
    )
    odd, top = sheet.noise[sheet.noise["odd"]], float((cells["sigma_S"] + error).max()) * small if len(cells) else 0.0
    if len(odd):
        high = odd["sigma_S"] * small
        above = min(float(high.max()), 2.0 * top) if top else float(high.max())
        axes.plot(
            odd["mean_S"] * factor,
            high.clip(upper=above),
            "x",
            color=SECOND,
            ms=6,
            label="far more than others" + " (cut)" * bool(high.max() > above),
        )
        top = max(top, above)
    for law in ("proportional", "independent"):
        chosen = law == sheet.noise_chosen
        look = {"color": ACCENT, "lw": 2.2} if chosen else {"color": SOFT, "lw": 1.1, "ls": (0, (4, 2))}
        axes.plot(
            sheet.noise_laws["conductance_S"] * factor, sheet.noise_laws[law] * small, label=f"{law}{' (chosen)' if chosen else ''}", **look
        )
    axes.set_ylim(0, 1.4 * top)
    axes.set_xlim(0, None)
    _label(axes, f"mean conductance, {unit}", f"standard deviation of reads, {name}S")
    axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=7, labelcolor=INK, columnspacing=1.0)


def _drift(axes: Axes, sheet: FitSheet) -> None:
    """Cells over the logarithm of time + t0, the law, and where 95 % of cells lie by it."""
    if sheet.drift is None:
        _none(axes, "no drift was measured:\nit is unknown")
        return
    t0 = sheet.drift_t0
    for place, (_, mine) in enumerate(sheet.drift.groupby("cell", sort=True)):
        odd = bool(mine["odd"].iloc[0])
        axes.plot(
            mine["time_s"] + t0,
            mine["held"],
            "-" if not odd else "--",
            color=SECOND if odd else INK,
            lw=0.5,
            alpha=0.9 if odd else 0.4,
            marker=".",
            ms=2.5,
            label="cells" if place == 0 else None,
        )
    law = sheet.drift_law
    axes.fill_between(law["time_s"] + t0, law["low"], law["high"], color=ACCENT, alpha=0.22, lw=0, label="law, 95 % of cells")
    axes.plot(law["time_s"] + t0, law["mean"], color=ACCENT, lw=2.2, label="law, mean")
    axes.set_xscale("log")
    axes.minorticks_off()
    low, high = axes.get_xlim()
    ticks = [(t, name) for name, t in TICKS.items() if low <= t <= high]
    axes.set_xticks([t for t, _ in ticks], [name for _, name in ticks], fontsize=7.5)
    axes.set_xlim(low, high)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.18 * (top - bottom))
    axes.set_xlabel("time after the write + t0", fontsize=8.5)
    axes.legend(loc="upper right", ncols=3, frameon=False, fontsize=7, labelcolor=INK, columnspacing=0.8, handlelength=1.4)

"""A device file from measured cells: all fits together; `fit_file.save_fit` writes it.

    fit = fit_device(read_measurements(["writes.csv", "reads.csv", "drift.csv"]))
    save_fit(fit, Path("mine.toml"))

Models are chosen by a third of the cells that were held out (`fit_choice`); what goes into the file is then fitted to all of them. The same
files and seed give the same bytes.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second

from xbar.reports.device_fit import FitSheet
from xbar.workloads.study.fit_choice import HELD_OUT, Choice, Estimate
from xbar.workloads.study.fit_outliers import Outliers, find_outliers
from xbar.workloads.study.fit_reads import DriftFit, ReadFit, fit_drift, fit_reads
from xbar.workloads.study.fit_writes import (
    TITLES,
    WriteFit,
    Writes,
    choose_writes,
    fit_writes,
    grouped,
    table_points,
    with_read_error,
)
from xbar.workloads.study.measurements import FEWEST_WRITTEN, MeasurementError, Measurements

LEVELS = 16  # where nothing tells
EVEN = 1e-3  # of their mean: how far steps between targets may differ and count as equal
SAME, FEWEST_APART = 1e-6, 0.05  # of g_max: alike; share of writes that must differ from their targets
CURVES = 60  # drifting cells drawn


@dataclass(frozen=True)
class Judgement:
    """Standardised errors of held-out writes: those of a true model are normal with spread 1."""

    z: np.ndarray
    spread: Estimate
    beyond: float  # share beyond 1.96, of a normal distribution 5 %
    chance: float  # of the Kolmogorov-Smirnov distance to the normal distribution, or a larger one, if that is the truth
    aimed: Estimate  # log-likelihood of a held-out write lost by aiming at the target, as the device file does [nats]


@dataclass(frozen=True, eq=False)
class DeviceFit:
    """All that was found. `writes` is the model of the file, from all cells that are not outside; `trained` every model from two thirds."""

    measured: Measurements
    name: str
    title: str
    seed: int
    levels: int
    levels_why: str  # empty where they were given
    read_voltage: float | None  # [V], given
    g_min: float  # [S]
    g_max: float  # [S]
    data: Writes  # all rows
    outliers: Outliers
    choice: Choice
    trained: dict[str, WriteFit]
    writes: WriteFit
    judgement: Judgement
    rewritten: float  # writes of a cell, on the mean
    reads: ReadFit | None
    drift: DriftFit | None

    @property
    def kept(self) -> Writes:
        """Writes of the cells that are not outside."""
        return self.data.rows(~self.outliers.outside)


def fit_device(
    measured: Measurements,
    name: str = "mine",
    title: str | None = None,
    levels: int | None = None,
    read_voltage: float | None = None,
    reference_time: float | None = None,
    seed: int = 0,
) -> DeviceFit:
    """Fit all that the measurements tell. levels, read_voltage [V], reference_time [s]: known from elsewhere. Raises MeasurementError."""
    frame = measured.writes.frame
    target = frame["target_S"].to_numpy()
    g_min, g_max = float(target.min()), float(target.max())
    data = Writes(frame["cell"].to_numpy(), target, frame["conductance_S"].to_numpy(), np.zeros(len(frame)), g_max)
    outliers = find_outliers(data, g_min)
    kept = data.rows(~outliers.outside)
    _check_kept(measured, kept, outliers)
    reads = None if measured.reads is None else fit_reads(measured.reads.frame, g_max - g_min, seed)
    if reads is not None:
        data = replace(data, read_variance=reads.variance(_about(kept, data), g_max - g_min))
        kept = data.rows(~outliers.outside)
    choice, trained, judging = choose_writes(kept, g_min, seed)
    points = np.unique(np.r_[kept.x.min(), table_points(kept)[1:-1], kept.x.max()])
    points[0], points[-1] = g_min / g_max, 1.0  # a table reaches from end to end
    writes = fit_writes(choice.name, kept, g_min, points)
    if reads is not None:
        writes = with_read_error(writes, kept, reads.sigma.error / reads.sigma.value)
    drift = None if measured.drift is None else fit_drift(measured.drift.frame, g_max, seed, reference_time)
    known, why = (levels, "") if levels is not None else _levels(target)
    return DeviceFit(
        measured,
        name,
        title or f"Cells measured in {measured.writes.name}",
        seed,
        known,
        why,
        read_voltage,
        g_min,
        g_max,
        data,
        outliers,
        choice,
        trained,
        writes,
        _judge(trained[choice.name], judging),
        len(frame) / measured.writes.cells,
        reads,
        drift,
    )


def _check_kept(measured: Measurements, kept: Writes, outliers: Outliers) -> None:
    """Raise MeasurementError where too little is left to fit."""
    cells, targets = len(np.unique(kept.cell)), len(np.unique(kept.target))
    if cells < FEWEST_WRITTEN or targets < 2:
        outside = measured.writes.cells - cells
        raise MeasurementError(
            f"{measured.writes.path}: cells = {cells} at {targets} targets, after {outside} that lie more than "
            f"{outliers.limit:.1f} spreads away from others of their target: must be {FEWEST_WRITTEN} or more "
            "at two or more targets"
        )
    if np.mean(np.abs(kept.conductance - kept.target) > SAME * kept.g_max) < FEWEST_APART:
        raise MeasurementError(
            f"{measured.writes.path}: conductance_S = target_S in over {100 * (1 - FEWEST_APART):.0f} % of the rows that are left: "
            "finer digits are needed to see any spread"
        )


def _about(kept: Writes, data: Writes) -> np.ndarray:
    """What a write to each row's target comes to on the mean [S], by a parabola of the target."""
    degree = min(2, len(np.unique(kept.target)) - 1)
    bias = np.linalg.lstsq(np.vander(kept.x, degree + 1), kept.conductance - kept.target, rcond=None)[0]
    return np.maximum(data.target + np.vander(data.x, degree + 1) @ bias, 0.0)


def _levels(target: np.ndarray) -> tuple[int, str]:
    """Levels and the reason for them, where they were not given."""
    targets = np.unique(target)
    steps, count = np.diff(targets), len(targets)
    if count >= LEVELS and count & (count - 1) == 0 and np.ptp(steps) <= EVEN * steps.mean():
        return count, f"as many as were aimed at, {count} equally spaced targets; the data do not tell how many are wanted: --levels"
    return (
        LEVELS,
        f"{LEVELS.bit_length() - 1} bits a cell, as the presets have it; the data do not tell ({count:,} targets were aimed at): --levels",
    )


def _judge(fit: WriteFit, judging: Writes) -> Judgement:
    """Errors of the third that was held out. The fit errs too, from twice as many cells: variances are 1.5 times as large."""
    z = fit.standardised(judging)
    spread = float(np.sqrt(np.mean(z**2)))
    error = float(np.std(z**2, ddof=1) / (2 * spread * np.sqrt(len(z))))
    lost = fit.log_likelihood(judging) - fit.log_likelihood(judging, aimed=True)
    aimed = Estimate(float(lost.mean()), float(lost.std(ddof=1) / np.sqrt(len(lost))), len(lost) - 1)
    with_fit = np.sqrt(1 + 1 / (HELD_OUT - 1))
    chance = float(scipy.stats.kstwobign.sf(np.sqrt(len(z)) / with_fit * scipy.stats.kstest(z, "norm").statistic))
    return Judgement(z, Estimate(spread, error * with_fit, len(z) - 1), float(np.mean(np.abs(z) > 1.96)), chance, aimed)


# ---- for the page


def points_of(fit: DeviceFit) -> pd.DataFrame:
    """By target, neighbouring ones together where they have few cells: spread of writes, the read noise taken away, and bias."""
    kept, rows = fit.kept, []
    for group in grouped(kept, max(12, len(kept.x) // 32)):
        mine = kept.rows(group)
        off = mine.conductance - mine.target
        n, mean = len(off), off.mean()
        square = ((off - mean) ** 2).sum() / (n - 1)
        of_square = np.sqrt(max(((off - mean) ** 4).mean() - square**2, 2 * square**2 / n) / n)
        sigma = np.sqrt(max(square - mine.read_variance.mean(), 0.0))
        error = of_square / (2 * max(sigma, np.sqrt(of_square) / 2, 1e-30))
        rows.append((mine.target.mean(), n, sigma, error, mean, np.sqrt(square / n)))
    return pd.DataFrame(rows, columns=["target_S", "cells", "sigma_S", "sigma_error_S", "offset_S", "offset_error_S"])


def fit_sheet(fit: DeviceFit, notes: tuple[str, ...], facts: str) -> FitSheet:
    """What the page shows."""
    fine = np.linspace(fit.g_min, fit.g_max, 201)
    sigma, error = fit.writes.sigma(fine), fit.writes.sigma_error(fine)
    laws = pd.DataFrame({"target_S": fine, **{name: each.sigma(fine) for name, each in fit.trained.items()}})
    laws[fit.choice.name] = sigma
    offset, offset_error = fit.writes.offset(fine)
    bias = pd.DataFrame({"target_S": fine, "offset_S": offset, "error_S": offset_error})
    band = pd.DataFrame({"target_S": fine, "low_S": (sigma - 1.96 * error).clip(min=0), "high_S": sigma + 1.96 * error})
    noise, noise_laws, drift, drift_law = None, pd.DataFrame(), None, pd.DataFrame()
    if fit.reads is not None:
        noise, mean = fit.reads.cells, np.linspace(0, fit.reads.cells["mean_S"].max() * 1.03, 51)
        noise_laws = pd.DataFrame(
            {
                "conductance_S": mean,
                "proportional": fit.reads.both["proportional"] * mean,
                "independent": fit.reads.both["independent"] * (fit.g_max - fit.g_min),
            }
        )
    if fit.drift is not None and fit.measured.drift is not None:
        drift, drift_law = _drift_curves(fit.drift, fit.measured.drift.frame)
    return FitSheet(
        name=fit.name,
        title=fit.title,
        subtitle=facts,
        chosen=fit.choice.name,
        titles=TITLES,
        points=points_of(fit),
        laws=laws,
        band=band,
        bias=bias,
        models=fit.choice.table,
        judges=fit.choice.cells,
        z=fit.judgement.z,
        noise=noise,
        noise_laws=noise_laws,
        noise_chosen=fit.reads.name if fit.reads else "",
        drift=drift,
        drift_law=drift_law,
        drift_t0=fit.drift.t0 if fit.drift else 1.0,
        notes=notes,
        read_noise_known=fit.reads is not None,
    )


def _drift_curves(fit: DriftFit, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conductance over that at time 0, of up to CURVES cells, and mean and spread of the law over time, of a cell in the middle."""
    start = fit.cells.set_index("cell")["start_S"]
    names = list(start.index[:: max(1, -(-len(start) // CURVES))])
    drawn = frame[frame["cell"].isin(names)]
    drawn = drawn.assign(held=drawn["conductance_S"] / drawn["cell"].map(start), odd=drawn["cell"].map(fit.cells.set_index("cell")["odd"]))
    time = np.r_[0.0, np.geomspace(fit.t0 / 10, max(fit.times[1], fit.t0), 101)]
    elapsed = np.log1p(time / fit.t0)
    centre = fit.exponent.value + (fit.slope.value * float(fit.cells["log_g"].median()) if fit.slope_used else 0.0)
    ends = [np.exp(-(centre + k * fit.spread.value) * elapsed) for k in (-1.96, 0.0, 1.96)]
    return drawn, pd.DataFrame({"time_s": time, "high": ends[0], "mean": ends[1], "low": ends[2]})

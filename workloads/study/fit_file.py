"""The files of fitted cells: the device file with its table, the summary, the judgement, the page; all or none are written."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xbar.hw.chip.files import load_device_file
from xbar.hw.errors import ConfigurationError
from xbar.reports.device_fit import draw_fit
from xbar.reports.style import span
from xbar.workloads.study.fit_choice import Estimate
from xbar.workloads.study.fit_device import DeviceFit, fit_sheet
from xbar.workloads.study.fit_reads import DriftFit
from xbar.workloads.study.fit_text import (
    facts,
    interval,
    notes,
    plus_minus,
    rate_text,
    siemens,
    summary,
    time_text,
    unknown,
    why_no_drift,
    wrapped,
)
from xbar.workloads.study.measurements import MeasurementError, Measurements

# ---- the device file

MOST_BAND = 0.2  # of the range: further off, a band of its ends would not be one


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quantity(value: float, unit: str, kind: str, why: str = "", low: float | None = None, high: float | None = None) -> str:
    ends = "" if low is None or high is None else f"low = {low:.6g}, high = {high:.6g}, "
    source = "" if kind == "assumed" else ', source = "bench"'
    return f'{{ value = {value:.6g}, {ends}unit = "{unit}", kind = "{kind}"{source}{why and f", why = {_quoted(why)}"} }}'


def _fitted(found: Estimate, unit: str, why: str, factor: float, name: str, least: float = -math.inf) -> str:
    return _quantity(
        found.value * factor,
        name,
        "fitted",
        f"± {plus_minus(found, unit).partition(' ± ')[2]} standard error, 95 %: {interval(found, unit, least)}; {why}",
    )


def toml_text(fit: DeviceFit) -> str:
    """The device file."""
    lines = ["# Written by xbar fit-device from measured cells; every number says how it was found. What the data do not tell:"]
    lines += [f"# {'-' if k == 0 else ' '} {line.strip()}" for text in unknown(fit) for k, line in enumerate(wrapped(text))]
    files = ", ".join(each.name for each in fit.measured.files)
    digests = ", ".join(f"{each.name} {each.digest[:16]}" for each in fit.measured.files)
    lines += [
        f"name = {_quoted(fit.name)}",
        f"title = {_quoted(fit.title)}",
        f"description = {_quoted(f'Fitted to {files}: {facts(fit)}')}",
        "",
        "[source.bench]",
        f"cite = {_quoted(f'Measurements in {files}')}",
        f"read = {_quoted(f'fitted by xbar fit-device, seed {fit.seed}; SHA-256 begins: {digests}')}",
        "",
        "[device]",
    ]
    why = fit.levels_why
    lines.append(f"levels = {_quantity(fit.levels, '1', 'assumed', why) if why else fit.levels}{'' if why else ' # as given: --levels'}")
    lines += [*_range(fit), *_writing(fit), *_stuck(fit)]
    if fit.drift is not None:
        lines += _drift(fit, fit.drift)
    if fit.reads is not None:
        cells = f"{len(fit.reads.cells)} cells read again and again"
        lines += [f'read_noise_model = "{fit.reads.name}"', f"read_noise_sigma = {_fitted(fit.reads.sigma, '%', cells, 100, '%', 0)}"]
    if fit.read_voltage is not None:
        lines.append(f"read_voltage = {_quoted(f'{fit.read_voltage:g} V')} # as given: --read-voltage")
    return "\n".join([*lines, ""])


def _range(fit: DeviceFit) -> Iterable[str]:
    """g_min and g_max; their bands reach to where writes to them come to lie on the mean."""
    factor, unit = siemens(fit.g_max)
    offsets, errors = fit.writes.offset(np.array([fit.g_min, fit.g_max]))
    for name, end, value, offset, error in zip(
        ("g_min", "g_max"), ("smallest", "largest"), (fit.g_min, fit.g_max), offsets, errors, strict=True
    ):
        low, high = min(0.0, offset - 1.96 * error) + value, max(0.0, offset + 1.96 * error) + value
        if max(value - low, high - value) > MOST_BAND * (fit.g_max - fit.g_min):
            why = f"the {end} target; no low and high, since what was written there lies far off, or is hardly known: see the bias"
            yield f"{name} = {_quantity(value * factor, unit, 'measured', why)}"
            continue
        why = f"the {end} target; low and high: with the mean of what was written there"
        yield f"{name} = {_quantity(value * factor, unit, 'measured', why, max(low, 0.0) * factor, high * factor)}"


def _writing(fit: DeviceFit) -> Iterable[str]:
    factor, unit = siemens(fit.g_max)
    model, cells = fit.writes.name.partition(" ")[0], f"{fit.writes.cells:,} cells"
    yield f'programming_model = "{model}"'
    if model == "table":
        yield f"programming_table = {_quoted(f'{fit.name}.csv')} # beside this file, with standard errors"
        return
    for name, found in fit.writes.parameters().items():
        if model == "polynomial":
            yield f"{name} = {_fitted(found, 'S', f'{cells}; errors of the coefficients go together', factor, unit)}"
        else:
            yield f"{name} = {_fitted(found, '%', cells, 100, '%', 0)}"


def _stuck(fit: DeviceFit) -> Iterable[str]:
    for name, rate in (("stuck_off_rate", fit.outliers.off), ("stuck_on_rate", fit.outliers.on)):
        if rate.clear:
            yield f"{name} = {_quantity(100 * rate.share, '%', 'fitted', f'{rate_text(rate)}, of those whose target lies far enough away')}"


def _drift(fit: DeviceFit, drift: DriftFit) -> Iterable[str]:
    if why_no_drift(drift):
        return
    cells = f"{len(drift.cells)} cells, {time_text(drift.times[0])} to {time_text(drift.times[1])}"
    if drift.t0_kind == "fitted":
        why = f"of the straightest lines, 95 %: {span(*drift.t0_interval, 's')}; {cells}"
        yield f"reference_time = {_quantity(drift.t0, 's', 'fitted', why)}"
    elif drift.t0_kind == "given":
        yield f"reference_time = {_quoted(f'{drift.t0:g} s')} # as given: --reference-time"
    else:
        yield f"reference_time = {_quantity(drift.t0, 's', 'assumed', 'the data do not tell it; give --reference-time')}"
    at = ", at g_max" if drift.slope_used else ""
    yield f"drift_exponent = {_fitted(drift.exponent, '1', f'{cells}{at}', 1, '1')}"
    if drift.slope_used:
        yield f"drift_exponent_slope = {_fitted(drift.slope, '1', 'with ln(target / g_max)', 1, '1')}"
        for name, value in (("low", drift.low), ("high", drift.high)):
            yield f"drift_exponent_{name} = {_quantity(value, '1', 'fitted', 'of the law over the cells measured')}"
    yield f"drift_exponent_sigma = {_fitted(drift.spread, '1', f'{cells}, over cells; errors of reading taken away', 1, '1', 0)}"


def table_text(fit: DeviceFit) -> str:
    """The CSV file of a table of spreads."""
    factor, unit = siemens(fit.g_max)
    points = list(fit.writes.parameters().values())
    lines = [
        f"# Spread of writes against target, fitted by xbar fit-device to {fit.measured.writes.name}; linear between points.",
        "# standard errors: "
        + ", ".join(
            f"{x * fit.g_max * factor:.4g} {unit}: {each.error * factor:.2g} {unit}"
            for x, each in zip(fit.writes.points, points, strict=True)
        ),
        "conductance_S,sigma_S",
    ]
    lines += [f"{x * fit.g_max:.9g},{each.value:.6g}" for x, each in zip(fit.writes.points, points, strict=True)]
    return "\n".join([*lines, ""])


# ---- files


def files_of(toml: Path, table: bool) -> list[Path]:
    """What is written for a device file of that name, itself last; table: with the CSV file of its spread."""
    stem = toml.with_suffix("")
    names = [f"{stem.name}.csv"] * table + [
        f"{stem.name}_models.csv",
        f"{stem.name}.txt",
        f"{stem.name}.png",
        f"{stem.name}.pdf",
        toml.name,
    ]
    return [toml.with_name(name) for name in names]


def check_out(toml: Path, measured: Measurements, replacing: bool, table: bool = False) -> None:
    """Raise MeasurementError where the files cannot or must not be written."""
    if toml.suffix != ".toml":
        raise MeasurementError(f"--out = {toml}: must be a file whose name ends in .toml")
    given = {each.path.resolve() for each in measured.files}
    for path in files_of(toml, table):
        if path.resolve() in given:
            raise MeasurementError(f"--out = {toml}: would write {path} over the measurements; give another name")
        if path.is_dir():
            raise MeasurementError(f"--out = {toml}: {path} is a folder")
        if path.exists() and not replacing:
            raise MeasurementError(f"--out = {toml}: {path} is there; --replace writes over it")


def save_fit(fit: DeviceFit, toml: Path, replacing: bool = False) -> list[Path]:
    """Write the device file and what goes with it; their paths, the device file first. All is made in a folder beside, and the device file
    is loaded there, before anything is renamed into its place. Raises MeasurementError, ConfigurationError, OSError."""
    table = fit.writes.name == "table"
    check_out(toml, fit.measured, replacing, table)
    toml.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{toml.stem}-", dir=toml.parent))
    try:
        (making / toml.name).write_text(toml_text(fit), "utf-8")
        (making / f"{toml.stem}.txt").write_text(summary(fit), "utf-8")
        fit.choice.table.to_csv(making / f"{toml.stem}_models.csv", float_format="%.6g")
        if table:
            (making / f"{toml.stem}.csv").write_text(table_text(fit), "utf-8")
        try:
            load_device_file(making / toml.name)
        except ConfigurationError as error:  # under its own name: a number that the model does not take
            raise ConfigurationError(str(toml), error.problems) from None
        draw_fit(fit_sheet(fit, notes(fit), facts(fit)), making, toml.stem)
        paths = files_of(toml, table)
        for path in paths:
            os.replace(making / path.name, path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return [paths[-1], *paths[:-1]]

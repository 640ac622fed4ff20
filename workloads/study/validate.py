"""Chips that were built and measured, against what the model says of them.

Every row of `silicon.csv` is a published number of a chip, with the settings at which it was measured. The chip's preset is set so, one
matrix fills all its arrays (or as many wordlines as the row says), a batch of vectors goes through its placement, events and costs,
and what the figure includes is added up: operations per second between the first result and the last, energy and area of the
components that the row counts. Two columns:

- by laws: the preset without any figure stated of the chip (`Chip.by_laws`): laws with their global constants. Some of these
  constants rest on a point of the table themselves; such rows are marked, and are no test of the law.
- calibrated: the preset as it is. A component whose energy is of kind "fitted" was fitted on the given points of its chip.
  Beside it the error of each given point when it is left out: the same least squares over the others (`left_out.py`).

Points that are arithmetic on others of their chip (totals of parts) are no part of a fit and in no mean; they are summed up apart.
Bands are the outer ones of `xbar.hw.bands`: all constants at their low, or high, ends. Time has no band. A point on which a law's
constants or its band rest is anchored: that it lies in the band says little.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from xbar.hw import Arrivals, Chip, Network, load_chip, place, simulate, trace
from xbar.hw.bands import ledger_at
from xbar.hw.chip.components import COMPONENTS
from xbar.hw.errors import ConfigurationError
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.workloads.study.left_out import Row, energy_row, left_out, time_row

VECTORS = 12  # of a batch; the pace is that between the first result and the last
UNITS = {"TOPS": 1e12, "TOPS/W": 1e12, "TOPS/mm²": 1e18, "fJ/op": 1e-15, "pJ": 1e-12, "mW": 1e-3, "W": 1.0, "mm²": 1e-6}
GROUPS = {
    "throughput": "throughput", "peak throughput": "throughput", "efficiency": "energy", "energy part": "energy", "power": "energy",
    "power part": "energy", "peak power": "energy", "energy per vector": "energy", "energy per conversion": "energy",
    "area": "area", "core area": "area", "chip area": "area", "density": "area",
}  # fmt: skip
CELLS = ("memristors", "SRAM")  # by whether they compute in charge
PAPER = "paper design"  # kind of a point of a chip that was never built: in no mean
KEPT = "kept"  # role of a point that no fit has seen; the others are given
COLUMNS = ("chip", "point", "settings", "rows", "quantity", "counted", "measured", "unit", "operations", "kind", "role", "anchored", "note")
DERIVED = "derived_from"  # a column that may be left out
TOTALS = " totals"  # after the group of points that are arithmetic on others, in a summary


@dataclass(frozen=True)
class Point:
    """One published number: `measured` in `unit`, of `counted` components (all where there are none), at `settings` of the preset and with
    `rows` inputs in use (None: all that wordlines hold). kind: silicon, digitised (off a figure), second-hand, post-layout, or a paper
    design; role: given to fit on, or kept from it. anchored: constants or bands of laws rest on it.
    derived_from: the points of its chip and group that it is arithmetic on. operations: that the figure counts a
    multiply-accumulate as, 2 unless it is of narrower operands."""

    chip: str
    name: str
    settings: Mapping[str, str]
    rows: int | None
    quantity: str
    counted: tuple[str, ...]
    measured: float
    unit: str
    operations: float
    kind: str
    role: str
    anchored: bool
    derived_from: tuple[str, ...]
    note: str


def points(file: Path | None = None) -> list[Point]:
    """The rows of `silicon.csv`, or of another file of its form; raises ConfigurationError naming file, row, and what is allowed."""
    label = "silicon.csv" if file is None else str(file)
    text = ((resources.files("xbar.workloads.study") / label) if file is None else file).read_text("utf-8")
    try:
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ConfigurationError(label, [("file", label, f"is not CSV: {error}")]) from None
    missing = [(column, "(missing)", "required column") for column in COLUMNS if column not in table]
    if missing:
        raise ConfigurationError(label, missing)
    found, problems = [], []
    for number, row in enumerate(table.to_dict("records"), 2):
        try:
            found.append(_point({str(key): str(value) for key, value in row.items()}))
        except _Unreadable as problem:
            problems.append((f"line {number}.{problem.column}", row[problem.column], problem.allowed))
    for _, mine in _by_chip(found):
        problems += [
            (DERIVED, "; ".join(point.derived_from), f"{point.chip}, {point.name}: names no {len(point.derived_from)} points of its group")
            for point in mine if len(_sources(mine, point)) != len(point.derived_from)
        ]  # fmt: skip
    if problems:
        raise ConfigurationError(label, problems)
    return found


class _Unreadable(Exception):
    """A cell that cannot be, and what can."""

    def __init__(self, column: str, allowed: str):
        self.column, self.allowed = column, allowed
        super().__init__(allowed)


def _point(row: Mapping[str, str]) -> Point:
    for column, allowed in (("quantity", GROUPS), ("unit", UNITS), ("role", ("given", KEPT)), ("anchored", ("yes", "no"))):
        if row[column] not in allowed:
            raise _Unreadable(column, f"must be one of {', '.join(allowed)}")
    settings = [each.partition("=") for each in row["settings"].split()]
    if not all(key and value for key, _, value in settings):
        raise _Unreadable("settings", "must be KEY=VALUE with spaces between, as --set takes them")
    numbers = {}
    for column in ("measured", "operations"):
        try:
            numbers[column] = float(row[column])
        except ValueError:
            numbers[column] = 0.0
        if not 0 < numbers[column] < float("inf"):
            raise _Unreadable(column, "must be a number above 0")
    if row["rows"] and not (row["rows"].isdecimal() and int(row["rows"])):
        raise _Unreadable("rows", "must be a whole number of at least 1, or nothing")
    unknown = set(row["counted"].split()) - set(COMPONENTS)
    if unknown:
        raise _Unreadable("counted", f"no component {', '.join(sorted(unknown))}; there are {', '.join(COMPONENTS)}")
    return Point(
        row["chip"], row["point"], {key: value for key, _, value in settings}, int(row["rows"]) if row["rows"] else None,
        row["quantity"], tuple(row["counted"].split()), numbers["measured"], row["unit"], numbers["operations"], row["kind"], row["role"],
        row["anchored"] == "yes", tuple(each.strip() for each in row.get(DERIVED, "").split(";") if each.strip()), row["note"],
    )  # fmt: skip


# ---- what the model says


@cache
def _network(inputs: int, outputs: int) -> Network:
    """One matrix."""
    return trace(nn.Linear(inputs, outputs, bias=False).eval(), torch.zeros(1, inputs))


def filled(chip: Chip, rows: int | None) -> Network:
    """The matrix that fills all arrays of the chip; of `rows` inputs where not all wordlines are in use."""
    geometry = chip.geometry(10**6, 1)
    return _network(rows or chip.array_design.inputs_per_crossbar, geometry.outputs_per_crossbar * chip.crossbars // geometry.planes)


@dataclass(frozen=True)
class Run:
    """A chip at work on the matrix that fills it; ledgers: as it is, at its low and its high ends."""

    chip: Chip
    ledgers: tuple[Ledger, Ledger, Ledger]

    @property
    def pace(self) -> float:
        """Vectors per second."""
        return self.ledgers[0].steady_throughput

    def operations(self, each: float) -> float:
        """Operations per vector, so many a multiply-accumulate."""
        return float(self.ledgers[0].placement.network.chip_operations) * each / 2

    @property
    def conversions(self) -> float:
        """Conversions per vector."""
        ledger = self.ledgers[0]
        return float(ledger.actions["adc"].sum()) / ledger.requests

    def energy(self, counted: Sequence[str], end: int = 0) -> dict[str, float]:
        """Energy of a vector by component [J], with what it leaks in the time of one."""
        ledger = self.ledgers[end]
        moving = ledger.energy.drop(STATIC).sum() / ledger.requests
        chip = ledger.chip
        return {
            name: float(moving[name]) + cost.static_power * chip.instances(name) / self.pace
            for name, cost in chip.costs.items()
            if not counted or name in counted
        }


def run(chip: Chip, rows: int | None) -> Run:
    """`VECTORS` vectors in a row through the chip, without off-chip links."""
    ledger = simulate(place(filled(chip, rows), chip, replication=None), Arrivals.batch(VECTORS), off_chip_io=False)
    return Run(chip, (ledger, ledger_at(ledger, "low"), ledger_at(ledger, "high")))


def predicted(point: Point, found: Run) -> tuple[float, float, float]:
    """What the model says of a point, and the low and high ends of its band [SI]; equal where there is none."""
    chips = [ledger.chip for ledger in found.ledgers]
    operations = found.operations(point.operations)
    if GROUPS[point.quantity] == "throughput":
        pace = found.chip.peak_operations_per_second if point.quantity.startswith("peak") else operations * found.pace
        return pace, pace, pace
    if GROUPS[point.quantity] == "area":
        cores = chips[0].cores if point.quantity == "core area" else 1
        value, low, high = (
            float(sum(area for name, area in chip.table()["area_m2"].items() if not point.counted or name in point.counted)) / cores
            for chip in chips
        )
        if point.quantity == "density":
            return tuple(operations * found.pace / each for each in (value, high, low))  # type: ignore[return-value]
        return value, low, high
    if point.quantity == "peak power":
        return chips[0].peak_power, chips[1].peak_power, chips[2].peak_power
    value, low, high = (sum(found.energy(point.counted, end).values()) for end in range(3))
    if point.quantity == "efficiency":
        return operations / value, operations / high, operations / low
    factor = _vectors(point, found)
    return value / factor, low / factor, high / factor


def _vectors(point: Point, found: Run) -> float:
    """What the energy of a vector is divided by for the quantity of a point: operations, conversions, 1, or the time of a vector."""
    return {
        "energy part": found.operations(point.operations), "energy per conversion": found.conversions, "energy per vector": 1.0,
    }.get(point.quantity, 1 / found.pace)  # fmt: skip


# ---- what a fit sees of it


def rows_of(chosen: Sequence[Point], runs: Sequence[Run]) -> list[Row | None]:
    """The points of a chip as rows of a fit; None of areas, of paces that the preset states, and of points that no fit may see."""
    return [_row(chosen, place, found) for place, found in enumerate(runs)]


def _row(chosen: Sequence[Point], place: int, found: Run) -> Row | None:
    point, chip = chosen[place], found.chip
    group, sources = GROUPS[point.quantity], _sources(chosen, point)
    if point.role == KEPT or group == "area" or point.quantity.startswith("peak") or (group == "throughput" and not paced_by_law(chip)):
        return None
    needed = _needed(found, point)
    return time_row(chip, 1 / found.pace, needed, sources) if group == "throughput" else (
        energy_row(chip, found.energy(point.counted), needed, sources)
    )  # fmt: skip


def _sources(chosen: Sequence[Point], point: Point) -> tuple[int, ...]:
    """Places of the points that a point is arithmetic on: of its group, and not derived themselves."""
    return tuple(
        place for place, other in enumerate(chosen)
        if other.name in point.derived_from and not other.derived_from and GROUPS[other.quantity] == GROUPS[point.quantity]
    )  # fmt: skip


def paced_by_law(chip: Chip) -> bool:
    """Whether the pace follows from a law: a preset states the clocks of other chips."""
    return chip.component.adc.rate is None


def _needed(found: Run, point: Point) -> float:
    """The time or energy per vector [s, J] that a measured number stands for."""
    measured = point.measured * UNITS[point.unit]
    if point.quantity in ("throughput", "efficiency"):
        return found.operations(point.operations) / measured
    return measured * _vectors(point, found)


# ---- the table


def table(chosen: Sequence[Point] | None = None) -> pd.DataFrame:
    """One row a point, in its own unit: chip, point, quantity, group, unit, kind, role, anchored, measured; by_laws, by_laws_error, its
    band low, high, and whether the measured value is outside (None: of a time, which has none); calibrated, calibrated_error, standing,
    left_out_error; derived_from; parameters, what of it was fitted or stated of its own; common_ of the five values: operations/s, J an
    operation, m². Errors are shares of the measured value."""
    rows = []
    for name, mine in _by_chip(points() if chosen is None else chosen):
        cached: dict[tuple[object, ...], tuple[Run, Run]] = {}
        runs = []
        for point in mine:
            key = (tuple(point.settings.items()), point.rows)
            if key not in cached:
                chip = load_chip(name, point.settings)
                cached[key] = run(chip.by_laws, point.rows), run(chip, point.rows)
            runs.append(cached[key])
        rows_seen = rows_of(mine, [own for _, own in runs])
        without = left_out(rows_seen)
        for index, (point, (laws, own)) in enumerate(zip(mine, runs, strict=True)):
            factor = 1 / UNITS[point.unit]
            value, low, high = (each * factor for each in predicted(point, laws))
            cells = CELLS[own.chip.component.crossbar.in_charge]
            mended, common, seen = predicted(point, own)[0] * factor, _common(point, laws), rows_seen[index]
            alone = 1 / without[index] if point.quantity in ("efficiency", "throughput") else without[index]
            rows.append({
                "chip": name, "cells": cells, "point": point.name, "quantity": point.quantity, "group": GROUPS[point.quantity],
                "unit": point.unit,
                "kind": point.kind, "role": point.role, "anchored": point.anchored, "measured": point.measured,
                "by_laws": value, "by_laws_error": value / point.measured - 1, "low": low, "high": high,
                "outside": None if low == high else not low <= point.measured <= high,
                "calibrated": mended, "calibrated_error": mended / point.measured - 1,
                "standing": standing(point, own.chip), "left_out_error": alone - 1,
                "derived_from": "; ".join(point.derived_from), "parameters": "; ".join(sorted(_stated_areas(point, own) if seen is None
                                                                                        else seen.moved)),
                "note": point.note,
                **{f"common_{of}": common(each) for of, each in (
                    ("measured", point.measured), ("by_laws", value), ("low", low), ("high", high), ("calibrated", mended))},
            })  # fmt: skip
    return pd.DataFrame(rows)


def standing(point: Point, chip: Chip) -> str:
    """What the calibrated column is of a point: "stated" by the preset (the pace of its clocks, a paper's own table), "fitted" on it,
    "of others" that were, whose sum or share it is, or "predicted"."""
    group, follows = GROUPS[point.quantity], chip.timing.array_read_voltage not in (None, chip.technology.supply)
    if point.kind == PAPER or (group == "throughput" and not (point.anchored or paced_by_law(chip) or follows)):
        return "stated"
    if point.role == KEPT:
        return "predicted"
    if point.derived_from:
        return "of others"
    leaf = "area" if group == "area" else "energy"
    moved = any(f"component.{name}.{leaf}" in chip.provenance for name in point.counted or chip.component.names)
    return "fitted" if moved or point.anchored else "predicted"


def _common(point: Point, found: Run) -> Callable[[float], float]:
    """From a point's unit to that of its group: operations per second, joule an operation, m²."""
    factor, operations = UNITS[point.unit], found.operations(2)  # of multiply-accumulates, whatever the figure counts
    if point.quantity == "efficiency":
        return lambda value: found.operations(point.operations) / (value * factor) / operations
    if point.quantity == "density":
        return lambda value: found.operations(point.operations) * found.pace / (value * factor)
    if point.quantity == "throughput":
        return lambda value: value * factor * 2 / point.operations
    if point.quantity in ("peak throughput", "energy part") or GROUPS[point.quantity] == "area":
        return lambda value: value * factor
    divided = found.chip.peak_operations_per_second if point.quantity == "peak power" else operations / _vectors(point, found)
    return lambda value: value * factor / divided


def _stated_areas(point: Point, found: Run) -> set[str]:
    """The components of an area that the preset states, where it is of a chip that was built and no fit has seen it."""
    if GROUPS[point.quantity] != "area" or point.kind == PAPER or point.role == KEPT:
        return set()
    provenance = found.chip.provenance
    return {f"{name} area" for name in point.counted or found.chip.component.names if f"component.{name}.area" in provenance}


def _by_chip(chosen: Sequence[Point]) -> Iterator[tuple[str, list[Point]]]:
    for name in dict.fromkeys(point.chip for point in chosen):
        yield name, [point for point in chosen if point.chip == name]


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """One row a chip and group (energy, throughput, area), and one for all chips of memristors and all of SRAM, each with one vote.

    points, without those that are arithmetic on others, which have groups of their own after the others (TOTALS) and no votes;
    parameters that were fitted on them or stated of the chip; of either column mean_error (of absolute values) and ratio
    (geometric mean of model over measured, of energies of energy an operation); mean of left_out; inside, the share of the points
    within the bands, and inside_unanchored, of those on which no law rests. Paper designs are told and in no mean.
    """
    rows: list[dict[str, Any]] = []
    apart = found["derived_from"].astype(bool)
    for group in ("throughput", "energy", "area"):
        mine = found[(found["group"] == group) & ~apart]
        rows += _by_chips(mine, group)
        rows += [row for cells in CELLS if (row := _voted(mine[mine["cells"] == cells], group, cells))]
    for group in ("throughput", "energy", "area"):
        rows += _by_chips(found[(found["group"] == group) & apart], group + TOTALS)
    return pd.DataFrame(rows)


def _by_chips(mine: pd.DataFrame, group: str) -> list[dict[str, Any]]:
    return [
        {"chip": chip, "group": group, "silicon": bool((part["kind"] != PAPER).all())} | _figures(part)
        for chip, part in mine.groupby("chip", sort=False)
    ]


def _voted(mine: pd.DataFrame, group: str, cells: str) -> dict[str, Any] | None:
    """The row of all chips of such cells that were built, each with one vote; None where there are none."""
    built = mine[mine["kind"] != PAPER]
    votes = pd.DataFrame([_figures(part) for _, part in built.groupby("chip", sort=False)])
    if votes.empty:
        return None
    logs = {name: float(np.exp(np.log(votes[name]).mean())) for name in ("by_laws_ratio", "calibrated_ratio")}
    means = {name: float(votes[name].mean()) for name in ("by_laws_mean_error", "calibrated_mean_error", "left_out_mean_error")}
    counts = {"points": len(built), "parameters": int(votes["parameters"].sum())}
    return {"chip": f"all {cells}", "group": group, "silicon": True, **counts, **logs, **means, **_inside(built)}


def _inside(part: pd.DataFrame) -> dict[str, float]:
    """Share of the points that have a band and lie in it, of all and of those on which no law rests; nan where there are none."""
    banded = part[part["outside"].notna()]
    free = banded[~banded["anchored"].astype(bool)]
    shares = (float((~each["outside"].astype(bool)).mean()) if len(each) else float("nan") for each in (banded, free))
    return dict(zip(("inside", "inside_unanchored"), shares, strict=True))


def _figures(part: pd.DataFrame) -> dict[str, Any]:
    return {
        "points": len(part),
        "parameters": len({name for names in part["parameters"] for name in names.split("; ") if name}),
        **{f"{column}_mean_error": float(part[f"{column}_error"].abs().mean()) for column in ("by_laws", "calibrated")},
        **{
            f"{column}_ratio": float(np.exp(np.log(part[f"common_{column}"] / part["common_measured"]).mean()))
            for column in ("by_laws", "calibrated")
        },
        "left_out_mean_error": float(part["left_out_error"].abs().mean()),
        **_inside(part),
    }

"""Measured chips of SRAM against their presets: `sram_points.csv`, and what trace, place and simulate say of the same."""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from xbar.hw import Arrivals, Chip, Network, load_chip, place, simulate, trace
from xbar.hw.events.ledger import STATIC

FILE = Path(__file__).with_name("sram_points.csv")
CHIPS = ("jia2020", "sinangil2021", "wang2022")
FIGURES = ("power", "energy", "area", "static_power", "stated_at")


class Point(NamedTuple):
    """One measured figure, and with which overrides and components it is compared."""

    chip: str
    overrides: Mapping[str, str]
    quantity: str
    measured: float
    kind: str
    components: tuple[str, ...]
    operations_per_mac: float
    note: str


@cache
def points() -> tuple[Point, ...]:
    """All points of the file."""
    return tuple(
        Point(
            row["chip"], dict(each.split("=") for each in row["overrides"].split()), row["quantity"], float(row["measured"]),
            row["kind"], tuple(row["components"].split(";")), float(row["operations_per_mac"] or "nan"), row["note"],
        )
        for row in csv.DictReader(FILE.read_text("utf-8").splitlines())
    )  # fmt: skip


def laws_only(chip: Chip) -> Chip:
    """The chip without the figures that its file states: by laws and their global constants alone."""
    stated = [name for name, each in chip.component.items() if each.stated_at is not None and name != "link"]
    return chip.with_changes(component={name: dict.fromkeys(FIGURES) for name in stated}) if stated else chip


@cache
def filling(inputs: int, outputs: int, vectors: int) -> Network:
    """A linear layer that reads so many vectors a sample."""
    torch.manual_seed(0)
    return trace(nn.Linear(inputs, outputs), torch.rand(2, vectors, inputs))


def measured_on(chip: Chip, point: Point) -> float:
    """What the model says of the point, in its unit: of a matrix that fills the array, one vector, and at the rate of many."""
    geometry, mm2 = chip.geometry(10**6, 1), 1e6
    inputs, outputs = geometry.inputs_per_crossbar, geometry.outputs_per_crossbar
    ledger = simulate(place(filling(inputs, outputs, 1), chip, replication=None), Arrivals.batch(1))
    actions = ledger.energy.drop(index=STATIC).sum()
    area = sum(chip.costs[name].area for name in point.components if name in chip.costs) * mm2
    energy = sum(float(actions[name]) for name in point.components if name in chip.costs)
    macs = inputs * outputs
    tops = chip.peak_operations_per_second / 2 * point.operations_per_mac * 1e-12
    conversions = outputs * geometry.conversions_per_output * chip.input_slices * chip.array_design.partial_reads(chip.structure.wordlines)
    return {
        "TOPS": lambda: tops,
        "TOPS/W": lambda: macs * point.operations_per_mac / energy * 1e-12,
        "TOPS/mm²": lambda: tops / area,
        "energy_per_mvm": lambda: energy * 1e12,
        "energy_per_conversion": lambda: energy / conversions * 1e12,
        "area": lambda: area,
    }[point.quantity]()


@cache
def chip_of(name: str, overrides: tuple[tuple[str, str], ...], by_law: bool) -> Chip:
    """The preset with overrides, calibrated or by laws alone."""
    chip = load_chip(name, dict(overrides))
    return laws_only(chip) if by_law else chip


def ratio(point: Point, by_law: bool) -> float:
    """Model over measured."""
    return measured_on(chip_of(point.chip, tuple(sorted(point.overrides.items())), by_law), point) / point.measured


def of(*quantities: str) -> list[Point]:
    """The points of these quantities."""
    return [point for point in points() if point.quantity in quantities]


ENERGY, AREA, RATE = ("TOPS/W", "energy_per_mvm", "energy_per_conversion"), ("area", "TOPS/mm²"), ("TOPS",)


def errors(chosen: list[Point], by_law: bool) -> tuple[float, float, float]:
    """Mean and largest absolute error, and geometric mean of model over measured."""
    ratios = np.array([ratio(point, by_law) for point in chosen])
    return float(np.abs(ratios - 1).mean()), float(np.abs(ratios - 1).max()), float(np.exp(np.log(ratios).mean()))

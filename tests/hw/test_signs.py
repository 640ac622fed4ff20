"""hw/chip/signs.csv: which way area, power, energy and latency go where a number of a chip file is raised.

Every number of every preset is raised by random factors of fixed seeds, and from values below it to what it is, as far as the chip
allows, and what follows is compared.
"""

import csv
import random
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import (
    Arrivals,
    CapacityError,
    Chip,
    ConfigurationError,
    MappingError,
    Network,
    load_chip,
    place,
    preset_names,
    simulate,
    trace,
)
from xbar.hw.chip.checked import leaves, validate

QUANTITIES = ("area", "full_power", "leakage", "energy", "latency")
SIGNS = ("+", "-", "0", "?")
ROUNDING = 1e-9
DRAWS = 2  # raises of each number
SRAM_CHIPS = ("jia2020", "sinangil2021", "wang2022")
BUILT = ("neurram", "yao2024", "li2025", "hermes-core")
LOWERED = 1  # values below it from which each number is raised to what it is
DRAWN = {False: range(DRAWS + LOWERED), True: (0, DRAWS)}  # of chips that were built, which state much alike, one of each
SLOW = {"wordline": 3e3, "bitline": 4e3, "driver": 5e3, "sense": 4e3, "access": 50.0}  # [ohm] lines that settle after array_read


class Row(NamedTuple):
    """Keys of a chip file that a pattern names, and which way each of QUANTITIES goes where one is raised."""

    key: str
    signs: Mapping[str, str]
    why: str


@cache
def rows() -> tuple[Row, ...]:
    text = (resources.files("xbar.hw.chip") / "signs.csv").read_text("utf-8")
    return tuple(Row(each["key"], {name: each[name] for name in QUANTITIES}, each["why"]) for each in csv.DictReader(text.splitlines()))


def row_of(key: str) -> Row | None:
    """The first row that names a key."""
    return next((row for row in rows() if fnmatchcase(key, row.key)), None)


@cache
def network() -> Network:
    """A convolution, a pool and two linear layers, the second on two arrays of most chips."""
    model = seeded(
        None, nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 200), nn.ReLU(), nn.Linear(200, 10)
    )
    return trace(model, torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)))


def found(chip: Chip) -> dict[str, float]:
    """Area [m²], full power [W], leakage [W], what the actions of one request take [J], its latency [s]."""
    ledger = simulate(place(network(), chip, replication=None), Arrivals.batch(1))
    return {
        "area": chip.area, "full_power": chip.full_power, "leakage": chip.static_power,
        "energy": ledger.total_energy - ledger.static_energy, "latency": float(ledger.latency[0]),
    }  # fmt: skip


@cache
def chips() -> dict[str, Chip]:
    """Every preset, and some with numbers that no preset states: wires, voltages, bits of a cell, rates of units."""
    every = {name: load_chip(name) for name in preset_names()}
    for name in SRAM_CHIPS:  # of one array, too few for the network
        every[name] = load_chip(name).with_changes(structure={"tiles": 64})
        every[f"{name} by laws"] = every[name].by_laws
    generic, isaac = every["generic"], every["isaac"]
    built = {name: load_chip(name).with_changes(structure={"tiles": 8}) for name in BUILT}
    units = {name: {"rate": 9e8} for name in ("shift_add", "activation", "accumulator", "pool", "multiplier", "product")}
    return every | built | {
        "generic with wires": generic.with_changes(wires=SLOW, weights={"cell_bits": 1}),
        "generic with rates": generic.with_changes(technology={"voltage": 0.8}, component=units),
        "generic by rows": generic.with_changes(component={"crossbar": {"rows_at_once": 16}}),
        "isaac with voltages": isaac.with_changes(technology={"voltage": 0.9}, stated_at={"voltage": 0.9}),
    }


def numbers(chip: Chip) -> list[str]:
    """Dotted keys of the numbers that a chip states."""
    return [key for key, unit in leaves(Chip).items() if unit is not None and chip.number(key) is not None]


def higher(value: float, rng: random.Random) -> Iterator[float]:
    """What a number may be raised to, from far to near."""
    factor = 1.05 * 3 ** rng.random()
    if value == 0:
        yield from (0.3 * factor, 1e-9 * factor, 1e-13 * factor)
    for power in (1.0, 0.5, 0.2, 0.05):
        raised = value * factor**power
        yield max(value + 1, round(raised)) if isinstance(value, int) else raised
    if isinstance(value, int):
        yield from (2 * value, value + 1)
    elif value < 1:
        yield (value + 1) / 2


def lower(value: float, rng: random.Random) -> Iterator[float]:
    """What a number may be lowered to, from far to near."""
    factor = 1.05 * 2 ** rng.random()
    for power in (1.0, 0.5, 0.2, 0.05):
        lowered = value / factor**power
        yield min(value - 1, round(lowered)) if isinstance(value, int) else lowered
    if isinstance(value, int):
        yield from (value // 2, value - 1)


def changed(chip: Chip, key: str, values: Iterable[float]) -> tuple[float, dict[str, float]] | None:
    """The first of other values of a number that the chip allows, and what follows from it; None where it allows none."""
    for to in values:
        data = chip.model_dump()
        *parents, leaf = key.split(".")
        section: Any = data
        for parent in parents:
            section = section[parent]
        section[leaf] = to
        try:
            return to, found(validate(Chip, data, key, {}))
        except (CapacityError, ConfigurationError, MappingError):
            continue
    return None


def moved(before: float, after: float) -> str:
    change = after - before
    return "0" if abs(change) <= ROUNDING * abs(before) else "+" if change > 0 else "-"


@pytest.mark.parametrize("name", sorted(chips()))
def test_every_number_moves_what_it_is_said_to_move(name: str) -> None:
    chip, wrong, rng = chips()[name], [], random.Random(name)
    before = found(chip)
    for key in numbers(chip):
        row = row_of(key)
        assert row is not None, f"{key}: no row of signs.csv names it"
        value = chip.number(key)
        assert value is not None
        for draw in DRAWN[name in BUILT]:
            up = draw < DRAWS
            other = changed(chip, key, (higher if up else lower)(value, rng))
            if other is None:
                continue
            (less, below), (more, above) = sorted((other, (value, before)), key=lambda each: each[0])
            for quantity, sign in row.signs.items():
                if sign != "?" and moved(below[quantity], above[quantity]) not in ("0", sign):
                    wrong.append(
                        f"{key} ({row.key}) {less:g} -> {more:g}: {quantity} is said {sign}, "
                        f"{below[quantity]:.9g} -> {above[quantity]:.9g}"
                    )
    assert not wrong, "\n".join(wrong)


def test_every_number_of_a_chip_file_has_a_row() -> None:
    assert not [key for key, unit in leaves(Chip).items() if unit is not None and row_of(key) is None]


def test_rows_are_complete() -> None:
    keys = [key for key, unit in leaves(Chip).items() if unit is not None]
    for row in rows():
        assert set(row.signs.values()) <= set(SIGNS), row.key
        assert any(row_of(key) == row for key in keys), f"{row.key}: names no number that a row before it does not"
        if "?" in row.signs.values() or set(row.signs.values()) == {"0"}:
            assert row.why, f"{row.key}: why?"

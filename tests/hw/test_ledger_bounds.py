"""What no simulation may tell: units busier than there is time, bands that miss their value, power that is no number."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.hw.networks import presets_of_networks, seeded
from xbar.hw import (
    Arrivals,
    Chip,
    ConfigurationError,
    ParameterError,
    Placement,
    load_chip,
    place,
    simulate,
    trace,
)
from xbar.hw.bands import chip_bands


def placed(chip: Chip, copies: Any = None) -> Placement:
    model = seeded(None, nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(),
                   nn.Linear(48, 5))  # fmt: skip
    return place(trace(model, torch.rand(1, 1, 8, 8)), chip, copies)


@pytest.mark.parametrize("preset", presets_of_networks())
def test_no_layer_is_busier_than_the_simulation_is_long(preset: str) -> None:
    """One vector is converted while the next is read: twenty requests in a row, whose times must not be added up."""
    ledger = simulate(placed(load_chip(preset)), Arrivals.batch(20), off_chip_io=False)
    layers, units = ledger.layers(), ledger.units()
    assert (layers["busy_s"] <= ledger.span).all()
    assert (layers["busy_s"] < layers["vectors"] * 20 * layers["vector_time_s"]).any()
    for name in layers.index:
        assert units.loc[f"arrays of {name}, copy 0", "busy_s"] <= layers.loc[name, "busy_s"] * (1 + 1e-12)


@pytest.mark.parametrize("preset", presets_of_networks())
def test_a_band_has_its_value_inside(preset: str) -> None:
    changes: list[dict[str, Any]] = [
        {}, *({"component": {"adc": {"bits": bits}}} for bits in range(2, 8)), {"component": {"crossbar": {"law": "crosspoint"}}},
    ]  # fmt: skip
    generator, seen = random.Random(0), 0
    for _ in range(8):
        wires = {"wordlines": generator.choice((64, 128, 256)), "bitlines": generator.choice((64, 128, 256))}
        changes.append({"structure": wires, "technology": {"node": generator.choice((22e-9, 32e-9, 45e-9))}})
    for change in changes:
        try:
            table = chip_bands(load_chip(preset).with_changes(**change))
        except ConfigurationError:  # outside of what the preset's laws cover
            continue
        seen += 1
        within = (table["low"] <= table["value"] * (1 + 1e-9)) & (table["value"] <= table["high"] * (1 + 1e-9))
        assert within.all(), f"{change}: {table[~within]}"
    assert seen > len(changes) / 3


def test_links_without_end_take_a_femtosecond() -> None:
    chip = load_chip("generic").with_changes(component={"link": {"units": 3_000_000}})
    ledger = simulate(placed(chip), Arrivals.batch(2))
    assert np.isfinite(ledger.peak_power)
    assert ledger.integral_of_power() == pytest.approx(ledger.total_energy)


def test_dynamic_energy_of_a_long_idle_time() -> None:
    """Nine thousand seconds of leakage beside a nanojoule."""
    busy, idle = (simulate(placed(load_chip("isaac")), Arrivals.batch(1), horizon=horizon) for horizon in (0.0, 9000.0))
    key = "dynamic_energy_per_request_J"
    assert idle.summary()[key] == pytest.approx(busy.summary()[key], rel=1e-12)
    assert idle.components()["dynamic_energy_J"].to_numpy() == pytest.approx(busy.components()["dynamic_energy_J"].to_numpy())


def test_nothing_is_per_request_without_requests() -> None:
    summary = simulate(placed(load_chip("generic")), Arrivals.batch(0), horizon=1e-3).summary()
    assert all(np.isnan(value) for name, value in summary.items() if name.endswith("per_request_J"))


@pytest.mark.parametrize(("energy", "said"), [({"0": -1.0}, "0 or more"), ({"0": "1"}, "0 or more"), ({"zz": 1.0}, "no layers zz")])
def test_read_energies_that_are_none(energy: dict[str, Any], said: str) -> None:
    placement = placed(load_chip("generic"))
    given = dict.fromkeys(placement.copies, 1.0) | ({next(iter(placement.copies)): energy["0"]} if "0" in energy else energy)
    with pytest.raises(ParameterError, match=said):
        simulate(placement, Arrivals.batch(1), read_energy=given)


@pytest.mark.parametrize("wrong", ["foo", 3])
def test_copies_of_a_wrong_kind(wrong: Any) -> None:
    with pytest.raises(ParameterError, match="replication must be"):
        placed(load_chip("generic"), wrong)


@pytest.mark.parametrize("count", [2.5, float("nan"), True])
def test_requests_are_whole(count: Any) -> None:
    with pytest.raises(ParameterError, match="requests must be a whole number"):
        Arrivals.batch(count)

"""Settings of single layers: set for every layer they are the chip's own, in what is computed and in what it costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.hw.networks import residual, small_convolutional
from xbar.hw import Arrivals, Chip, ConfigurationError, convert, load_chip, place, simulate, trace
from xbar.hw.analog import analog_layers, read_energies
from xbar.hw.chip.layers import LAYER_KEYS, layer_key
from xbar.hw.errors import UnknownLayerError
from xbar.workloads.study.points import check_value, read_sweep
from xbar.workloads.study.sweep import SweepError

EDGE = load_chip("edge").with_changes(component={"adc": {"law": "sar"}})
ISAAC = load_chip("isaac")
CHANGES = {
    "ADC bits": {"component": {"adc": {"bits": 5}}},
    "ADC range": {"component": {"adc": {"range": "full_scale"}}},
    "weight bits": {"weights": {"bits": 3}},
    "cell bits": {"weights": {"cell_bits": 2}},
    "input bits": {"inputs": {"bits": 5}},
    "all": {"component": {"adc": {"bits": 6}}, "weights": {"bits": 4, "cell_bits": 1}, "inputs": {"bits": 3}},
}


def both(chip: Chip, network, change: dict) -> tuple:  # type: ignore[no-untyped-def, type-arg]
    """(outputs, ledger) of the chip changed as a whole, and of the chip with that change for each layer."""
    model, example = network()
    traced = trace(model, example)
    found = []
    for other in (chip.with_changes(**change), chip.with_changes(layer={layer.name: change for layer in traced.layers})):
        with torch.no_grad():
            outputs = convert(model, other, example, seed=3)(example)
        found.append((outputs, simulate(place(traced, other), Arrivals.batch(3), off_chip_io=True)))
    return tuple(found)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("network", [small_convolutional, residual])
@pytest.mark.parametrize("chip", [EDGE, ISAAC])
def test_every_layer_set_is_the_chip_set(chip: Chip, network, change: str) -> None:  # type: ignore[no-untyped-def]
    (whole, ledger), (by_layer, layered) = both(chip, network, CHANGES[change])
    assert torch.equal(whole, by_layer)
    assert ledger.actions.equals(layered.actions)
    assert np.array_equal(ledger.finish_fs, layered.finish_fs)
    assert np.allclose(ledger.energy.to_numpy(), layered.energy.to_numpy(), rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 8), st.integers(2, 5), st.sampled_from([1, 2, 4]), st.integers(1, 8),
    st.sampled_from(["level", "level_fixed", "full_scale", "calibrated", "ideal"]),
)  # fmt: skip
def test_of_any_settings(adc: int, weights: int, cell: int, inputs: int, adc_range: str) -> None:
    change = {
        "component": {"adc": {"bits": adc, "range": adc_range}}, "weights": {"bits": weights, "cell_bits": cell},
        "inputs": {"bits": inputs},
    }  # fmt: skip
    (whole, ledger), (by_layer, layered) = both(EDGE, small_convolutional, change)
    assert torch.equal(whole, by_layer)
    assert np.array_equal(ledger.finish_fs, layered.finish_fs)
    assert np.allclose(ledger.energy.to_numpy(), layered.energy.to_numpy(), rtol=1e-12)


def test_one_layer_alone() -> None:
    """Its converters, its conversions and its cells are those of a chip with the setting; all else is as it is."""
    model, example = small_convolutional()
    traced = trace(model, example)
    first, *others = [layer.name for layer in traced.layers]
    change = {"component": {"adc": {"bits": 5}}, "weights": {"cell_bits": 2}}
    chip = EDGE.with_changes(layer={first: change})
    whole = EDGE.with_changes(**change)
    assert chip.for_layer(others[0]) is chip
    assert chip.for_layer(first) is chip.for_layer(first)
    assert chip.for_layer(first).model_dump() == whole.model_dump()
    layers = analog_layers(convert(model, chip, example, seed=0))
    assert layers[first].matrix.channel.design == whole.array_design
    assert all(layers[name].matrix.channel.design == EDGE.array_design for name in others)
    energies = {}
    for name, each in (("mixed", chip), ("plain", EDGE), ("whole", whole)):
        placement = place(traced, each, replication=None)
        energies[name] = simulate(placement, Arrivals.batch(2)).energy
        assert placement.geometry(first).cell_bits == (4 if name == "plain" else 2)
    for component in ("adc", "dac"):
        assert energies["mixed"].loc[first, component] == pytest.approx(energies["whole"].loc[first, component])
        for name in others:
            assert energies["mixed"].loc[name, component] == pytest.approx(energies["plain"].loc[name, component])
    assert energies["mixed"].loc[first, "adc"] != energies["plain"].loc[first, "adc"]
    assert all(chip.costs_for(first)[name] == cost for name, cost in EDGE.costs.items() if name != "adc"), "the chip's, as it is built"


def test_a_layer_cannot_ask_for_more_than_the_chip_has() -> None:
    inputs, converters = {"inputs": {"bits": 9}}, {"component": {"adc": {"bits": 9}}}
    for change, said in ((inputs, "registers and digital units are made for"), (converters, "ADCs have")):
        with pytest.raises(ConfigurationError, match=said):
            EDGE.with_changes(layer={"conv1": change})


def test_fewer_bits_than_a_law_knows_cost_its_fewest() -> None:
    """An 8-bit converter of the survey used at 3 bits is no sense amplifier."""
    survey = load_chip("edge")
    three, four = (survey.with_changes(layer={"conv1": {"component": {"adc": {"bits": bits}}}}) for bits in (3, 4))
    assert three.costs_for("conv1")["adc"] == four.costs_for("conv1")["adc"]
    assert three.costs_for("conv1")["bus"] == three.costs["bus"] == survey.costs["bus"]


@pytest.mark.parametrize("preset", ["generic", "edge", "hermes-core", "neurram"])
def test_a_layer_of_fewer_bits_than_a_law_knows_is_simulated(preset: str) -> None:
    """It takes the time of one with the chip's own bits where converters do not integrate, and the units of that chip."""
    model, example = nn.Sequential(nn.Linear(40, 20, bias=False)), torch.rand(4, 40)
    own = load_chip(preset)
    least = 2 if own.signed_current(False) else 1
    chip = own.with_changes(layer={"0": {"component": {"adc": {"bits": least}}}})
    traced = trace(model, example)
    assert chip.for_layer("0").costs is chip.costs
    found, plain = (simulate(place(traced, each, replication=None), Arrivals.batch(2)) for each in (chip, own))
    assert set(read_energies(convert(model, chip, example, seed=0))) == {"0"}
    others = [name for name in own.costs if name not in ("adc", "gate_driver")]
    if not own.component.adc.integrates:
        assert found.latency.tolist() == plain.latency.tolist()
        assert found.energy[others].equals(plain.energy[others])
    expected = found.actions.loc["0", "adc"] * chip.costs_for("0")["adc"].energy_per_action
    assert found.energy.loc["0", "adc"] == pytest.approx(expected)


def test_layers_that_are_not_there_are_refused_by_name() -> None:
    model, example = small_convolutional()
    chip = EDGE.with_changes(layer={"conv9": {"weights": {"bits": 4}}})
    traced = trace(model, example)
    for refused in (lambda: place(traced, chip), lambda: convert(model, chip, example, seed=0)):
        with pytest.raises(UnknownLayerError, match=f"'conv9'.*its layers: {', '.join(layer.name for layer in traced.layers)}"):
            refused()


def test_overrides_and_files(tmp_path: Path) -> None:
    chip = load_chip("isaac", {'layer."a.b".component.adc.bits': "6", "layer.c.weights.cell_bits": "1"})
    assert chip.for_layer("a.b").component.adc.bits == 6
    assert chip.for_layer("c").cell_bits == 1
    assert chip.provenance["layer.a.b.component.adc.bits"].kind == "override"
    (tmp_path / "mine.toml").write_text(
        'extends = "isaac"\nname = "mine"\ntitle = "Mine"\ndescription = "One layer of fewer bits"\n'
        '[layer."conv1"]\nweights.bits = { value = 8, unit = "1", kind = "assumed", why = "enough" }\n'
        'component.adc.range = "full_scale"\n',
        "utf-8",
    )
    mine = load_chip(tmp_path / "mine.toml")
    assert (mine.for_layer("conv1").weights.bits, mine.for_layer("conv1").component.adc.range) == (8, "full_scale")
    assert mine.for_layer("conv2") is mine
    assert mine.with_changes(weights={"bits": 12}).for_layer("conv1").weights.bits == 8
    assert mine.with_changes(layer={}).layer == {}


def test_what_a_layer_cannot_have_is_refused() -> None:
    for key, value, said in (
        ("layer.x.component.adc.bits", "9", "is more than the chip's ADCs have, 8"),
        ("layer.x.device.levels", "4", "unknown key"),
        ("layer.x.weights.cell_bits", "5", "more than the device has levels for"),
        ("layer.x.component.adc.bits", "many", "must be a number"),
        ("layer.x.component.adc.range", "wide", "must be 'level'"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            load_chip("isaac", {key: value})


def test_names_of_keys() -> None:
    for key in LAYER_KEYS:
        for name in ("conv1", "features.0", "a b"):
            assert layer_key(f'layer."{name}".{key}') == layer_key(f"layer.{name}.{key}") == (name, key)
    assert layer_key("component.adc.bits") is layer_key("layer.x.device.levels") is layer_key("layer..weights.bits") is None


def test_axes_of_sweeps(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        '[fixed]\nchip.name = "edge"\n[axes]\nlayer."features.0".component.adc.bits = [5, 6]\nlayer.fc.weights.bits = [3, 4]\n', "utf-8"
    )
    points = read_sweep(tmp_path / "sweep.toml").points
    assert [(p['layer."features.0".component.adc.bits'], p['layer."fc".weights.bits']) for p in points] == [(5, 3), (5, 4), (6, 3), (6, 4)]
    with pytest.raises(SweepError, match="must be a"):
        check_value('layer."fc".weights.bits', "many")
    with pytest.raises(SweepError, match="unknown name"):
        check_value('layer."fc".device.levels', 4)

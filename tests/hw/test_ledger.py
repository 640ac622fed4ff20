"""Energy three ways; the same counts in the functional model, the events and the area."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.hw.networks import (
    histories,
    presets_of_networks,
    recommender,
    residual,
    seeded,
    sequence,
    small_convolutional,
    unusual_paths,
)
from xbar.hw import Arrivals, Chip, convert, load_chip, place, simulate, trace
from xbar.hw.analog import analog_layers, read_energies
from xbar.hw.array.counts import ActionCounts, bitlines_per_slice, conversions_per_slice, drives_per_slice
from xbar.hw.cost.laws import LAWS
from xbar.hw.errors import ParameterError
from xbar.hw.events.ledger import INPUT, OUTPUT, STATIC, Ledger
from xbar.hw.events.runs import Profile


def run(chip: Chip, network=small_convolutional, requests: int = 3, **options) -> Ledger:  # type: ignore[no-untyped-def]
    model, example = network()
    return simulate(place(trace(model, example), chip), Arrivals.batch(requests), **options)


@pytest.mark.parametrize("preset", presets_of_networks())
@pytest.mark.parametrize("network", [small_convolutional, residual, unusual_paths, sequence, recommender, histories])
@pytest.mark.parametrize("physical_reads", [False, True])
def test_energy_by_component_by_layer_and_over_time_is_one(preset: str, network, physical_reads: bool) -> None:  # type: ignore[no-untyped-def]
    chip = load_chip(preset)
    model, example = network()
    energies = None
    if physical_reads:
        readable = chip if chip.device.read_voltage else chip.with_changes(device={"read_voltage": 0.2})
        energies = read_energies(convert(model, readable, example, seed=0))
    arrivals = Arrivals.poisson(1e5, 6, seed=1)
    ledger = simulate(place(trace(model, example), chip), arrivals, read_energy=energies, horizon=1e-4)
    by_component = ledger.components()["energy_J"].sum()
    by_layer = ledger.layers()["energy_J"].sum() + ledger.energy.loc[[INPUT, OUTPUT, STATIC]].to_numpy().sum()
    assert by_component == pytest.approx(ledger.total_energy, rel=1e-12)
    assert by_layer == pytest.approx(ledger.total_energy, rel=1e-12)
    assert ledger.integral_of_power() == pytest.approx(ledger.total_energy, rel=1e-9)
    binned = ledger.power_over_time(37)["power_W"].mean() * ledger.span
    assert binned == pytest.approx(ledger.total_energy, rel=1e-9)
    assert (ledger.power[1] >= chip.static_power - 1e-9).all()
    assert ledger.peak_power >= ledger.average_power
    parts = ledger.components()
    assert (parts["dynamic_energy_J"] + parts["static_energy_J"]).to_numpy() == pytest.approx(
        parts["energy_J"].to_numpy()
    )


@pytest.mark.parametrize("preset", presets_of_networks())
@pytest.mark.parametrize("network", [small_convolutional, residual, unusual_paths, sequence, recommender, histories])
def test_functional_model_events_and_geometry_count_the_same(preset: str, network) -> None:  # type: ignore[no-untyped-def]
    """Drives and conversions counted from the tensors of one sample == those of one simulated request;
    cells programmed == cells of the geometry; all within what the chip's area holds. A look-up reads the crossbars of
    one row tile in one slice."""
    chip = load_chip(preset)
    model, example = network()
    placement = place(trace(model, example), chip)
    actions = simulate(placement, Arrivals.batch(1)).actions
    converted = convert(model, chip, example, seed=0)
    layers = analog_layers(converted)
    for layer in layers.values():
        layer.matrix.counts = ActionCounts()
    converted(*(x[:1] for x in (example if isinstance(example, tuple) else (example,))))
    cells = 0
    for name, layer in layers.items():
        counts, geometry = layer.matrix.counts, placement.geometry(name)
        assert counts.vectors == placement.network.layer(name).vectors
        assert counts.drives == actions.loc[name, "dac"]
        assert counts.conversions == actions.loc[name, "adc"]
        slices = chip.input_slices * chip.passes(layer.matrix.signed_input) * counts.vectors
        if placement.network.layer(name).lookup:
            slices = Fraction(counts.vectors, geometry.row_tiles)
            assert actions.loc[name, "dac"] == drives_per_slice(geometry) * counts.vectors / geometry.inputs
            assert actions.loc[name, "adc"] == conversions_per_slice(geometry) * slices
        assert actions.loc[name, "crossbar"] == geometry.crossbars * slices
        assert actions.loc[name, "sample_hold"] == bitlines_per_slice(geometry) * slices
        used = geometry.planes * geometry.row_tiles * geometry.column_tiles * geometry.groups
        assert used == sum(1 for _ in placement.crossbars_of(placement.copies[name][0]))
        programmed = layer.matrix.mapped.crossbar_levels()
        assert programmed.numel() == geometry.crossbars * chip.structure.wordlines * chip.structure.bitlines
        held = sum(x.rows * x.bitlines for x in placement.crossbars_of(placement.copies[name][0]))
        assert held == geometry.cells
        cells += held * len(placement.copies[name])
    table = chip.table()
    assert cells <= table.loc["crossbar", "count"] * chip.structure.wordlines * chip.structure.bitlines
    assert placement.crossbars_used <= table.loc["crossbar", "count"] == chip.crossbars
    assert table.loc["dac", "count"] == chip.crossbars * chip.structure.wordlines


def test_a_layers_energy_by_hand(isaac: Chip) -> None:
    """One 100 x 10 product on ISAAC: 16 slices, 80 columns of 100 cells, one array, ten results; joules from Table I,
    of which the buffer's law takes leakage apart."""
    model = seeded(None, nn.Linear(100, 10))
    ledger = simulate(place(trace(model, torch.rand(2, 100)), isaac), Arrivals.batch(1), off_chip_io=False)
    row = ledger.energy.loc["0"]
    assert row["adc"] == pytest.approx(16 * 80 * 16e-3 / (8 * 1.28e9))
    assert row["dac"] == pytest.approx(16 * 100 * 4e-3 / (1024 * 1e7))
    idle = 2 * isaac.device.g_min / (isaac.device.g_min + isaac.device.g_max)  # a bitline without weights, of one with
    assert row["crossbar"] == pytest.approx(16 * 2.4e-3 / 8 * 100e-9 * 100 / 128 * (80 + 48 * idle) / 128)
    leaks = LAWS["edram"](capacity=64 * 8192, width=256, banks=4, node=32e-9).leakage
    assert row["buffer"] == pytest.approx((100 + 10) * 16 * (20.7e-3 - leaks) / 138.24e9)
    assert row["router"] == 0
    static = ledger.energy.loc[STATIC]
    assert static["link"] == pytest.approx(10.4 * ledger.span)
    assert static["buffer"] == pytest.approx(168 * leaks * ledger.span)
    assert static.sum() == pytest.approx(isaac.static_power * ledger.span)


def test_reads_cost_what_the_cells_conduct(edge: Chip) -> None:
    """All weights at +w_max, all inputs at full scale: V² g_max t in every cell of one polarity, 8 slices."""
    model = nn.Sequential(nn.Linear(50, 6, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(0.7)
    (energy,) = read_energies(convert(model, edge, torch.ones(3, 50), seed=0)).values()
    device = edge.device
    assert device.read_voltage == pytest.approx(0.2)
    assert energy == pytest.approx(8 * 50 * 6 * 0.2**2 * (25e-6 + 0) * 100e-9, rel=1e-6)


def test_more_requests_cost_proportionally_more_dynamic_energy(isaac: Chip) -> None:
    one, five = run(isaac, requests=1), run(isaac, requests=5)
    assert five.total_energy - five.static_energy == pytest.approx(5 * (one.total_energy - one.static_energy))
    assert np.array_equal(five.actions, 5 * one.actions)


def test_utilisation_is_a_share(edge: Chip) -> None:
    ledger = run(edge, requests=20)
    for table in (ledger.components(), ledger.layers()):
        assert table["utilisation"].between(0, 1).all()
    use = ledger.use_over_time("adc", 50)
    assert use["share"].between(0, 1).all()
    assert use["share"].mean() == pytest.approx(ledger.components().loc["adc", "utilisation"])
    assert ledger.components()["area_m2"].sum() == pytest.approx(edge.area)


def test_no_means_over_no_time() -> None:
    """Of a span of 0 s they were no numbers, without a word."""
    for span, bins in ((0, 5), (10, 0)):
        with pytest.raises(ParameterError, match="means over time need some time"):
            Ledger._binned(SimpleNamespace(span_fs=span), Profile(np.array([0, 10]), np.array([1.0])), bins)  # type: ignore[arg-type]

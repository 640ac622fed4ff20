"""Chips whose converters integrate, whose gate lines have drivers of their own, whose inputs are pulses' widths, or whose cells draw from a
supply: time, energy and counts by hand."""

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import Arrivals, Chip, ConfigurationError, Network, ParameterError, load_chip, place, simulate, trace
from xbar.hw.analog import convert, read_energies
from xbar.hw.cost.laws import LAWS
from xbar.hw.cost.logic import CLOCKED, register

STEP, PHASE = 0.3057e-6, 0.2578e-6  # [s] NeuRRAM's neuron


@pytest.fixture(scope="module")
def neurram() -> Chip:
    """As its energies were published: all 128 inputs of a core in use."""
    published = {"device.g_min": "1", "device.g_max": "4", "weights.segment": "128", "weights.bias_rows": "0"}
    return load_chip("neurram", {**published, "component.adc.bits": "7", "inputs.bits": "5"})


def one_matrix() -> Network:
    """What fills a core."""
    return trace(nn.Linear(128, 256, bias=False), torch.zeros(1, 128))


def vector_time(chip: Chip, vectors: int = 6) -> float:
    """Time from one vector's end to the next one's [s] of a matrix of one core."""
    ledger = simulate(place(one_matrix(), chip, None), Arrivals.batch(vectors), off_chip_io=False)
    return 1 / ledger.steady_throughput


@pytest.mark.parametrize(
    ("bits", "inputs", "pulses", "decisions", "phases"),
    [(3, 2, 1, 3, 1), (5, 3, 3, 5, 1), (7, 5, 6, 12, 2), (8, 6, 10, 13, 2), (9, 7, 14, 14, 2)],
)  # fmt: skip
def test_pulses_and_decisions_come_one_after_the_other(
    neurram: Chip, bits: int, inputs: int, pulses: int, decisions: int, phases: int
) -> None:
    chip = neurram.with_changes(inputs={"bits": inputs}, component={"adc": {"bits": bits}})
    expected = STEP * (pulses + decisions) + PHASE * phases
    assert vector_time(chip) == pytest.approx(expected, rel=1e-6)
    assert chip.peak_operations_per_second == pytest.approx(48 * 2 * 128 * 256 / expected, rel=1e-6)


def test_a_rate_may_be_slower_and_not_faster(neurram: Chip) -> None:
    slow = neurram.with_changes(component={"adc": {"rate": 1e5}})
    assert vector_time(slow) == pytest.approx(2 / 1e5, rel=1e-6)
    with pytest.raises(ConfigurationError, match=r"component\.adc = law integrating: .*rate = 1 M/s"):
        _ = neurram.with_changes(component={"adc": {"rate": 1e6}}).costs
    with pytest.raises(ConfigurationError, match=r"rate is missing: the law sar is made for one"):
        neurram.with_changes(component={"adc": {"law": "sar"}})


def test_a_layer_of_fewer_bits_takes_what_it_takes_on_a_chip_of_those(neurram: Chip) -> None:
    """3 magnitude bits in one phase of 7 pulses, beside the chip's two of 3: pace, and energy of conversions and of gate lines."""
    network = trace(nn.Sequential(nn.Linear(128, 256, bias=False)), torch.zeros(1, 128))
    fewer = {"inputs": {"bits": 4}, "component": {"adc": {"bits": 6}}}
    alone = neurram.with_changes(**fewer)
    as_layer = neurram.with_changes(layer={"0": fewer})
    one, other = (simulate(place(network, chip, None), Arrivals.batch(6), off_chip_io=False) for chip in (alone, as_layer))
    assert 1 / one.steady_throughput == pytest.approx(STEP * (7 + 6) + PHASE, rel=1e-6)
    assert other.steady_throughput == pytest.approx(one.steady_throughput, rel=1e-9)
    for part in ("adc", "gate_driver", "crossbar", "dac"):
        assert other.energy[part].sum() == pytest.approx(one.energy[part].sum(), rel=1e-9), part
    crossbar = simulate(place(network, as_layer, None), Arrivals.batch(6), off_chip_io=False, resolution="crossbar")
    assert crossbar.latency.tolist() == other.latency.tolist()


@pytest.mark.parametrize("bits", [4, 6])
def test_crossbar_by_crossbar_is_as_in_lock_step(neurram: Chip, bits: int) -> None:
    """Also where phases are of unlike length, and cores have several crossbars."""
    chip = neurram.with_changes(structure={"crossbars_per_core": 2}, inputs={"bits": bits})
    model = seeded(None, nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 300), nn.ReLU(), nn.Linear(300, 10))
    placed = place(trace(model, torch.rand(2, 1, 4, 4)), chip, None)
    one, other = (simulate(placed, Arrivals.batch(3), resolution=each) for each in ("group", "crossbar"))
    assert one.latency.tolist() == other.latency.tolist()
    assert one.energy.to_numpy() == pytest.approx(other.energy.to_numpy(), rel=1e-12)
    assert (one.components()["utilisation"] <= 1 + 1e-9).all()


def test_gate_lines_are_switched_once_a_bit(neurram: Chip) -> None:
    """128 inputs on 256 wordlines, 4 bits: 1024 drives of input lines, and as many of gates, which drivers of inputs then leave out."""
    ledger = simulate(place(one_matrix(), neurram, None), Arrivals.batch(1), off_chip_io=False)
    actions = ledger.components()["actions"]
    assert actions["dac"] == actions["gate_driver"] == 1024
    assert (actions["crossbar"], actions["adc"]) == (6, 512)
    alone = neurram.by_laws
    both = alone.with_changes(component={"gate_driver": None})
    assert "gate_driver" not in both.costs
    assert both.costs["dac"].energy_per_action > alone.costs["dac"].energy_per_action


def test_what_a_layer_draws_from_a_supply_is_charge_times_supply() -> None:
    """Cells of one conductance, driven by codes of one width: V_fed V G t (code / largest), by the law and cell by cell."""
    exact = {"structure": {"wordlines": 32, "bitlines": 64}, "device": {"programming_sigma": 0, "read_noise_sigma": 0}}
    core = load_chip("hermes-core").by_laws.with_changes(**exact, inputs={"activity": 1.0})
    cost, expected = core.costs["crossbar"], 32 * 64 * 0.8 * 0.2 * 25e-6 * 130e-9
    assert cost.energy_per_action == pytest.approx(expected)
    half = core.with_changes(inputs={"activity": 0.5}).costs["crossbar"]
    assert half.energy_per_action == pytest.approx(expected / 2)  # pulses half as wide on the mean
    plain = core.with_changes(component={"crossbar": {"fed_at": None}}).costs["crossbar"]
    assert plain.energy_per_action == pytest.approx(expected / 4)  # from the read voltage of 0.2 V in place of 0.8
    model = nn.Sequential(nn.Linear(32, 32, bias=False))
    nn.init.constant_(model[0].weight, 1.0)
    images = torch.full((4, 32), 1.0)
    energy = read_energies(convert(model, core, images, seed=0))
    on_pairs = 32 * 32 * 0.8 * 0.2 * 50e-6 * 130e-9  # the positive cell of each pair at 50 µS, the other at 0
    assert energy["0"] == pytest.approx(on_pairs, rel=1e-6)
    images[1:] = 0.5  # three of four vectors at half of the largest code
    halves = read_energies(convert(model, core, images, seed=0))
    assert halves["0"] == pytest.approx(on_pairs * (1 + 3 * 0.5) / 4, rel=0.01)
    with pytest.raises(ParameterError, match="needs ideal wires"):
        read_energies(convert(model, core.with_changes(wires={"bitline": 1.0}), images, seed=0))


def test_a_pulse_s_driver_counts_its_clocks() -> None:
    known = {"bitlines": 512, "node": 14e-9, "voltage": 0.8, "read_voltage": 0.2, "rate": 1 / 130e-9, "on_resistance": 2e4}
    costs = [LAWS["pulse_width"](bits=bits, **known) for bits in (6, 7)]
    one, flip_flop = LAWS["driver"](bits=1, **known), register(bits=1, rate=1.0, node=14e-9, voltage=0.8).energy
    for bits, cost in zip((6, 7), costs, strict=True):
        a_clock = bits * CLOCKED + (2 - 2 ** (1 - bits)) * (1 - CLOCKED) / 0.25  # every flip-flop clocked, two toggling
        assert cost.energy - one.energy == pytest.approx(2**bits * a_clock * flip_flop)

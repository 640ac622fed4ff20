"""Buffers: a value counted by hand, the line buffer of a convolution, and that flow control bounds them."""

import pytest
import torch
from torch import nn

from tests.hw.networks import residual, seeded, small_convolutional
from xbar.hw import Arrivals, Chip, place, simulate, trace
from xbar.hw.events.buffers import buffer_demand


def test_a_vector_waits_for_its_reader(isaac: Chip) -> None:
    """16 values of 16 bits between two layers; the sample of 8 values is read before they exist."""
    model = seeded(None, nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    ledger = simulate(place(trace(model, torch.rand(1, 8)), isaac), Arrivals.batch(1))
    demand = buffer_demand(ledger)
    assert demand.loc[0, "peak_bits"] == 16 * 16
    assert demand.loc[0, "share"] == pytest.approx(16 * 16 / (64 * 1024 * 8))
    assert (demand.loc[1:, "peak_bits"] == 0).all()


def test_indices_wait_for_their_look_ups(isaac: Chip) -> None:
    """Four indices of 10 bits come together and are read one after another; one of 700 rows x 70 on one tile."""
    network = trace(seeded(None, nn.Embedding(700, 70)), torch.zeros(1, 4, dtype=torch.long))
    demand = buffer_demand(simulate(place(network, isaac, None), Arrivals.batch(1)))
    assert demand.loc[0, "peak_bits"] == pytest.approx(4 * 10)
    assert (demand.loc[1:, "peak_bits"] == 0).all()
    apart = Arrivals.trace([0.0, 1e-3, 2e-3])
    single = place(trace(seeded(None, nn.Embedding(700, 70)), torch.zeros(1, dtype=torch.long)), isaac, None)
    assert buffer_demand(simulate(single, apart, lookups={"0": [650, 300, 0]})).loc[0, "peak_bits"] == pytest.approx(10)


@pytest.mark.parametrize(("channels", "width", "kernel"), [(4, 12, 3), (3, 15, 5)])
def test_a_convolution_needs_its_line_buffer(isaac: Chip, channels: int, width: int, kernel: int) -> None:
    """ISAAC (ISCA 2016), section on buffers: (N_x (K_y - 1) + K_x) N_if values; the pipeline adds the few
    positions that are made while a window is being loaded."""
    model = seeded(None, nn.Conv2d(1, channels, 1), nn.ReLU(), nn.Conv2d(channels, 2, kernel))
    placement = place(trace(model, torch.rand(1, 1, width, width)), isaac, {"0": 1, "2": 1})
    ledger = simulate(placement, Arrivals.batch(1), off_chip_io=False)
    positions = buffer_demand(ledger)["peak_bits"].max() / (16 * channels)
    line_buffer = width * (kernel - 1) + kernel
    print(f"{positions:.0f} positions, line buffer {line_buffer}")
    assert line_buffer <= positions <= line_buffer + 4


@pytest.mark.parametrize("network", [small_convolutional, residual])
def test_flow_control_bounds_buffers_under_any_load(edge: Chip, network) -> None:  # type: ignore[no-untyped-def]
    """However many samples come at once and however uneven the layers are, no reader holds more than two."""
    model, example = network()
    placement = place(trace(model, example), edge, None)
    held_by_all = sum(flow.values for flow in placement.network.flows) * edge.inputs.bits
    peaks = [buffer_demand(simulate(placement, Arrivals.batch(requests)))["peak_bits"].sum() for requests in (1, 8, 40)]
    assert peaks[0] <= peaks[1] <= peaks[2] * (1 + 1e-9)
    assert peaks[2] == pytest.approx(peaks[1], rel=0.05)
    assert peaks[2] <= 3 * held_by_all


def test_flow_control_does_not_slow_a_balanced_pipeline(isaac: Chip) -> None:
    """The rate stays that of the slowest layer: 64 vectors of 1.6 us on one copy."""
    model, example = small_convolutional()
    ledger = simulate(place(trace(model, example), isaac, None), Arrivals.batch(20))
    assert 1 / ledger.steady_throughput == pytest.approx(64 * 1.6e-6, rel=1e-3)

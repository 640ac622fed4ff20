"""The cost of programming against counts by hand."""

import math

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded, small_convolutional
from xbar.hw import Arrivals, Chip, ParameterError, convert, place, simulate, trace
from xbar.hw.analog import write_pulses
from xbar.hw.chip.placement import Placement
from xbar.hw.events.updates import programming_cost


@pytest.fixture
def placement(edge: Chip) -> Placement:
    """200 inputs, 70 outputs in differential pairs on 128 x 128: 2 x 2 crossbars, the fullest 128 x 128."""
    chip = edge.with_changes(device={"write_energy": 2e-12, "write_time": 100e-9, "endurance": 1e6})
    model = seeded(None, nn.Linear(200, 70), nn.ReLU(), nn.Linear(70, 10))
    return place(trace(model, torch.rand(2, 200)), chip, {"0": 2})


def test_counts_by_hand(placement: Placement) -> None:
    """Two copies of 200 x 140 cells, one of 70 x 20; one cell after another in a crossbar, crossbars in parallel."""
    cost = programming_cost(placement, {"0": 1.5, "2": 3.0})
    assert cost.loc["0"].tolist() == pytest.approx([56_000, 84_000, 168e-9, 128 * 128 * 1.5 * 100e-9, 1.5e-6])
    assert cost.loc["2"].tolist() == pytest.approx([1400, 4200, 8.4e-9, 1400 * 3 * 100e-9, 3e-6])
    together = programming_cost(placement, cells_at_once=128)
    assert together["time_s"].tolist() == pytest.approx([128 * 100e-9, 70 * 100e-9])


def test_cells_are_those_of_the_geometry(edge: Chip) -> None:
    """Also with groups of crossbars, copies and reference columns."""
    chip = edge.with_changes(
        device={"write_energy": 1e-12, "write_time": 1e-9}, weights={"scheme": "offset", "subtraction": "digital"}
    )
    placement = place(trace(*small_convolutional()), chip)
    cost = programming_cost(placement)
    for layer, copies in placement.copies.items():
        assert cost.loc[layer, "cells"] == placement.geometry(layer).cells * len(copies)
    assert all(math.isnan(share) for share in cost["endurance_share"])


def test_what_is_missing_or_wrong_is_named(placement: Placement, edge: Chip) -> None:
    bare = place(placement.network, edge)
    with pytest.raises(ParameterError, match=r"device\.write_energy is needed"):
        programming_cost(bare)
    timeless = place(placement.network, edge.with_changes(device={"write_energy": 1e-12}))
    with pytest.raises(ParameterError, match=r"device\.write_time is needed"):
        programming_cost(timeless)
    with pytest.raises(ParameterError, match="has no layer '2'; it has: 0"):
        programming_cost(placement, {"0": 1.0})
    with pytest.raises(ParameterError, match="pulses_per_cell of 0 must be at least 0"):
        programming_cost(placement, math.nan)
    with pytest.raises(ParameterError, match="cells_at_once"):
        programming_cost(placement, 1.0, 0)


def test_write_verify_reaches_the_ledger(edge: Chip) -> None:
    """The pulses that the cells took are the pulses that the ledger charges; closed form of their mean: a cell is
    accepted with p = erf(tolerance / (sigma sqrt 2)), at most n pulses take (1 - (1 - p)^n) / p on the mean."""
    sigma, tolerance, most = 0.04, 0.03, 5
    chip = edge.with_changes(device={
        "g_min": 5e-6, "programming_sigma": sigma, "write_verify_tolerance": tolerance, "write_verify_most": most,
        "write_energy": 2e-12, "write_time": 100e-9, "read_noise_sigma": 0.0,
    })  # fmt: skip
    model, x = seeded(None, nn.Linear(256, 128)), torch.rand(4, 256)
    pulses = write_pulses(convert(model, chip, x, seed=0))
    accepted = math.erf(tolerance / (sigma * 2**0.5))
    expected = (1 - (1 - accepted) ** most) / accepted
    assert pulses["0"] == pytest.approx(expected, rel=5 * 1.0 / (256 * 256) ** 0.5)  # 65,536 cells, spread under 1
    cost = simulate(place(trace(model, x), chip), Arrivals.batch(1)).programming(pulses)
    assert cost.loc["0", "energy_J"] == pytest.approx(256 * 256 * pulses["0"] * 2e-12)
    assert cost.loc["0", "time_s"] == pytest.approx(128 * 128 * pulses["0"] * 100e-9)

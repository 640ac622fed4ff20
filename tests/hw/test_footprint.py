"""What a network takes of a chip, against the component table by hand."""

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import Chip, ParameterError, trace
from xbar.hw.footprint import array_area, footprint


def test_isaacs_arrays_share_its_tiles(isaac: Chip) -> None:
    """ISAAC (ISCA 2016), Table I as rows: a tile of 0.372 mm² has 12 x 8 arrays, links apart."""
    tile = isaac.tile_totals()[1]
    assert array_area(isaac) == pytest.approx(tile / 96)
    assert array_area(isaac) * 168 * 96 == pytest.approx(62.5e-6, rel=0.01)  # the published chip without links


def test_by_hand(edge: Chip) -> None:
    """A Linear of 200 x 70 takes 2 x 2 arrays; twice the rate is twice the power; energy leaves links out."""
    model, x = seeded(None, nn.Linear(200, 70)), torch.rand(2, 200)
    network = trace(model, x)
    found = footprint(network, edge, 1000.0)
    assert found.arrays == 4
    assert found.area == pytest.approx(4 * array_area(edge))
    assert footprint(network, edge, 2000.0).power == pytest.approx(2 * found.power)
    conversions = 8 * 2 * 70  # slices, row tiles, outputs
    assert found.energy > conversions * 1.54e-12
    assert found.energy < 3 * conversions * 1.54e-12, "most of it is conversions; a link's 51 pJ a bit is not in it"
    assert found.layers["energy_J"].sum() <= found.energy


def test_static_power_is_shared_by_arrays_in_use(isaac: Chip) -> None:
    chip = isaac.with_changes(component={"buffer": {"static_power": 16.128e-3 * 96 / 168 / 96}})
    network = trace(seeded(None, nn.Linear(128, 16)), torch.rand(2, 128))
    idle = footprint(network, isaac, 1e3)
    found = footprint(network, chip, 1e3)
    per_array = chip.component.buffer.static_power * 168 / chip.crossbars
    assert found.power - idle.power == pytest.approx(per_array * found.arrays, rel=1e-6)


def test_rate(edge: Chip) -> None:
    network = trace(seeded(None, nn.Linear(8, 2)), torch.rand(2, 8))
    with pytest.raises(ParameterError, match="rate must be above 0"):
        footprint(network, edge, 0.0)

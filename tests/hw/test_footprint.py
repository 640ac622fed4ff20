"""What a network takes of a chip, against the component table by hand."""

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import Chip, ParameterError, place, trace
from xbar.hw.footprint import array_area, array_power, footprint


def test_isaacs_arrays_share_its_tiles(isaac: Chip) -> None:
    """ISAAC (ISCA 2016), Table I as rows: a tile of 0.372 mm² has 12 x 8 arrays, links apart."""
    tile = isaac.tile_totals()[1]
    assert array_area(isaac) == pytest.approx(tile / 96)
    assert array_area(isaac) * 168 * 96 == pytest.approx(62.5e-6, rel=0.01)  # the published chip without links


def test_the_power_of_isaacs_hardware_in_use(isaac: Chip) -> None:
    """ISAAC (ISCA 2016), Table I: the chip's 65.8 W less 10.4 W of links, over 168 x 96 arrays."""
    assert array_power(isaac) * 168 * 96 == pytest.approx(65.8 - 10.4, rel=0.01)


def test_by_hand(edge: Chip) -> None:
    """A Linear of 200 x 70 takes 2 x 2 arrays; twice the rate is twice the power but for leakage; energy leaves links out."""
    model, x = seeded(None, nn.Linear(200, 70)), torch.rand(2, 200)
    network = trace(model, x)
    found = footprint(network, edge, 1000.0)
    assert found.arrays == 4
    assert found.area == pytest.approx(4 * array_area(edge))
    idle = edge.static_power * 4 / edge.crossbars  # the link's is 0
    assert idle > 0
    assert footprint(network, edge, 2000.0).power - idle == pytest.approx(2 * (found.power - idle))
    conversions = 8 * 2 * 70 * edge.costs["adc"].energy_per_action  # slices, row tiles, outputs
    whole = edge.structure.wordlines * edge.structure.bitlines
    placement = place(network, edge, None)
    cells = sum(crossbar.rows * crossbar.bitlines for crossbar in placement.crossbars_of(placement.copies["0"][0]))
    assert cells < 4 * whole
    reads = 8 * cells / whole * edge.costs["crossbar"].energy_per_action
    dynamic = found.layers["energy_J"].sum()
    assert dynamic > conversions + reads
    spent = (found.power - idle) / 1000
    assert dynamic <= spent < 2 * (conversions + reads), "most of it is reads and conversions; a link's 51 pJ a bit is not in it"


def test_static_power_is_shared_by_arrays_in_use(isaac: Chip) -> None:
    """A buffer that leaks 16.128 mW / 168 more than its law says: 1 µW an array, whatever else it draws."""
    more = 16.128e-3 / 168
    leaks = isaac.costs["buffer"].static_power
    buffer = {"power": 20.7e-3 - leaks, "static_power": leaks + more}
    chip = isaac.with_changes(component={"buffer": buffer})
    network = trace(seeded(None, nn.Linear(128, 16)), torch.rand(2, 128))
    idle = footprint(network, isaac, 1e3)
    found = footprint(network, chip, 1e3)
    assert found.arrays == 1
    assert found.power - idle.power == pytest.approx(16.128e-3 / chip.crossbars, rel=1e-6)
    on_chip = 2 * idle.power - footprint(network, isaac, 2e3).power  # what no rate adds to
    assert on_chip == pytest.approx((isaac.static_power - 10.4) / isaac.crossbars, rel=1e-6)


def test_rate(edge: Chip) -> None:
    network = trace(seeded(None, nn.Linear(8, 2)), torch.rand(2, 8))
    with pytest.raises(ParameterError, match="rate must be above 0"):
        footprint(network, edge, 0.0)

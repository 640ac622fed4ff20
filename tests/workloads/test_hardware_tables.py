"""What a run asks of the chip's parts: tables against hand counts, the ledger and each other."""

from dataclasses import replace
from functools import cache
from math import ceil

import numpy as np
import pytest
import torch
from torch import nn

from xbar.hw import load_chip, place, simulate, trace
from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import Ledger
from xbar.models import DigitsCNN
from xbar.workloads.study import hardware_tables
from xbar.workloads.study.hardware_tables import NETWORK
from xbar.workloads.training import initialise

CHIPS = ("isaac", "edge", "generic")
REQUESTS = 24


@cache
def simulated(chip: str, requests: int = REQUESTS) -> Ledger:
    model = initialise(DigitsCNN, 0).eval()
    return simulate(place(trace(model, torch.rand(2, 1, 8, 8)), load_chip(chip)), Arrivals.batch(requests))


@pytest.fixture(params=CHIPS)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    return simulated(str(request.param))


def test_cells_of_a_layer_by_hand() -> None:
    """300 x 20 of 16 bits in ISAAC's 2-bit cells, 8 a weight, with the offset counted digitally: 3 x 2 crossbars of 128 x 128."""
    chip = load_chip("isaac")
    placement = place(trace(nn.Sequential(nn.Linear(300, 20, bias=False)), torch.rand(2, 300)), chip, None)
    table = hardware_tables.mapping(placement)
    columns = [8 * 16, 8 * 4]
    assert table["rows"].tolist() == [128, 128, 44] * 2
    assert table["columns"].tolist() == [columns[0]] * 3 + [columns[1]] * 3
    found = hardware_tables.cells_in_use(placement)
    assert found["cells_used"] == table["cells"].sum() == 300 * sum(columns)
    assert found["cells"] == 16128 * 128 * 128
    assert found["cells_of_used_crossbars_share"] == pytest.approx(300 * sum(columns) / (6 * 128 * 128))


def test_cells_of_groups_that_share_a_crossbar_and_of_layers_that_do() -> None:
    """32 channels of 3 x 3 on ISAAC, 14, 14 and 4 a crossbar; 32 inputs of 2 outputs lie in the 16 columns beside the first."""
    model = nn.Sequential(nn.Conv2d(32, 32, 3, groups=32, bias=False), nn.Flatten(), nn.Linear(32, 2, bias=False))
    placement = place(trace(model, torch.rand(2, 32, 3, 3)), load_chip("isaac"), None, "crossbars")
    table, found = hardware_tables.mapping(placement), hardware_tables.cells_in_use(placement)
    assert table["groups"].tolist() == [14, 14, 4, 1]
    assert table["cells"].tolist() == [14 * 72, 14 * 72, 4 * 72, 32 * 16]
    assert table["slot"].tolist() == [0, 1, 2, 0]
    assert table["first_column"].tolist() == [0, 0, 0, 112]
    assert found["cells_of_used_crossbars_share"] == pytest.approx((32 * 72 + 32 * 16) / (3 * 128**2))
    assert (found["crossbars_for_weights"], found["cores_shared"]) == (1, 1)


def test_every_crossbar_in_use_has_its_cells(ledger: Ledger) -> None:
    placement = ledger.placement
    table, layers = hardware_tables.mapping(placement), hardware_tables.with_cells(ledger.layers(), placement)
    structure = ledger.chip.structure
    assert len(table) == placement.crossbars_used
    assert not table.duplicated(["core", "slot"]).any()
    assert (table["tile"] == table["core"] // structure.cores_per_tile).all()
    assert ((table["rows"] <= structure.wordlines) & (table["columns"] <= structure.bitlines)).all()
    assert table.groupby("layer")["cells"].sum().to_dict() == layers["cells"].to_dict()
    assert table["cells"].sum() == hardware_tables.cells_in_use(placement)["cells_used"]
    assert ((layers["cells_share"] > 0) & (layers["cells_share"] <= 1)).all()


def test_bytes_of_the_roofline_are_those_of_the_ledger(ledger: Ledger) -> None:
    table = hardware_tables.roofline(ledger).set_index("layer")
    actions = ledger.actions
    for column, component in (("buffer_bytes", "buffer"), ("mesh_bytes", "router"), ("link_bytes", "link")):
        assert table.loc[NETWORK, column] * 8 * REQUESTS == pytest.approx(actions[component].sum())
        assert table.loc["conv1", column] * 8 * REQUESTS == pytest.approx(actions.loc["conv1", component])
    dynamic = ledger.energy.drop(index="(static)")["buffer"].sum()
    each = ledger.chip.costs["buffer"].energy_per_action
    assert table.loc[NETWORK, "buffer_bytes"] * 8 * REQUESTS * each == pytest.approx(dynamic)  # the counts that energy is charged for


def test_bounds_of_the_roofline(ledger: Ledger) -> None:
    """The network cannot be faster than its busiest unit, and a layer, alone on its parts, no slower than the network."""
    table = hardware_tables.roofline(ledger).set_index("layer")
    busiest = max(ledger.units()["busy_s"].max(), ledger.links()["busy_s"].max())
    assert table.loc[NETWORK, "bound_per_s"] == pytest.approx(ledger.placement.network.chip_operations * REQUESTS / busiest)
    rates = table["bound_per_s"] / table["operations"]
    assert (rates >= rates[NETWORK] * (1 - 1e-9)).all()
    assert table["attained_per_s"].to_numpy() == pytest.approx(table["operations"].to_numpy() * ledger.steady_throughput)
    roofs = hardware_tables.roofs(ledger).set_index("roof")
    assert table.loc[NETWORK, "bound_per_s"] < roofs.loc["crossbars", "used_per_s"] < roofs.loc["crossbars", "chip_per_s"]
    assert table.loc["conv1", "operations"] == 2 * 8 * 9 * 64


def test_array_bound_by_hand() -> None:
    """A layer of one vector on one copy of ISAAC: 16 slices of 100 ns."""
    model = nn.Sequential(nn.Linear(64, 10, bias=False))
    found = simulate(place(trace(model, torch.rand(2, 64)), load_chip("isaac"), None), Arrivals.batch(4))
    row = hardware_tables.roofline(found).set_index("layer").loc["0"]
    assert row["bound_per_s"] == pytest.approx(2 * 64 * 10 / 1.6e-6)
    assert row["bound_by"] == "arrays"


def test_efficiency_of_run_and_peak(ledger: Ledger) -> None:
    table = hardware_tables.efficiency(ledger).set_index(["of", "links"])
    chip, summary = ledger.chip, ledger.summary()
    assert table.loc[("batch", False), "operations_per_J"] == pytest.approx(summary["on_chip_operations_per_J"])
    assert table.loc[("batch", True), "operations_per_J"] == pytest.approx(summary["operations_per_J"])
    assert table.loc[("table", True), "operations_per_J"] == pytest.approx(chip.peak_operations_per_second / chip.peak_power)
    links = chip.table().loc[list(CHIP_COMPONENTS)]
    peak = chip.peak_operations_per_second
    assert table.loc[("table", False), "operations_per_J"] == pytest.approx(peak / (chip.peak_power - links["power_W"].sum()))
    assert table.loc[("table", True), "operations_per_s_m2"] == pytest.approx(peak / chip.area)
    assert table.loc[("table", False), "area_m2"] == pytest.approx(chip.area - links["area_m2"].sum())
    steady = ledger.placement.network.chip_operations * ledger.steady_throughput
    assert table.loc[("steady", False), "operations_per_s"] == pytest.approx(steady)
    # energy of a request at that pace: what every request takes, and what leaks between two results
    dynamic = ledger.on_chip_energy - ledger.leakage_energy
    energy = dynamic / REQUESTS + chip.leakage / ledger.steady_throughput
    assert table.loc[("steady", False), "operations_per_J"] == pytest.approx(ledger.placement.network.chip_operations / energy)


def test_isaac_s_table_is_the_published_one() -> None:
    table = hardware_tables.efficiency(simulated("isaac")).set_index(["of", "links"])
    assert table.loc[("table", True), "operations_per_J"] == pytest.approx(627.5e9, rel=1e-3)
    assert table.loc[("table", True), "operations_per_s_m2"] == pytest.approx(478.95e9 * 1e6, rel=0.01)


@pytest.mark.parametrize("taken", [1.0, 0.01])
def test_no_network_is_above_the_peak_of_its_own_reads(ledger: Ledger, taken: float) -> None:
    """Cells and inputs of a network may take far less than what the chip's table has of any: its peak is that of its own reads then."""
    runs = np.bincount(ledger.activity, minlength=len(ledger.activities))
    vectors = {layer.name: 0 for layer in ledger.placement.network.layers}
    for activity, count in zip(ledger.activities, runs.tolist(), strict=True):
        vectors[activity.layer] = vectors.get(activity.layer, 0) + count * ("crossbar" in activity.actions)
    reads = {name: taken * float(ledger.energy.loc[name, "crossbar"]) / vectors[name] for name in ledger.placement.copies}
    found = replace(ledger, read_energy=reads)
    table, chip = hardware_tables.efficiency(found).set_index(["of", "links"])["operations_per_J"], ledger.chip
    for links in (False, True):
        assert table["batch", links] < table["peak", links]
        assert table["steady", links] < table["peak", links]
    # by hand: the table without its reads and what acts at will, with this network's reads and leakage of all
    parts, done = chip.table().drop(index=list(CHIP_COMPONENTS)), ledger.placement.network.operations * REQUESTS
    full = {name: c.energy_per_action * c.load / c.shared_by * chip.parents(name) for name, c in chip.costs.items()}
    power = parts["power_W"].sum() - sum(full.get(name, 0.0) for name in ("crossbar", "product", "multiplier"))
    of_network = found.energy.drop(index="(static)").sum()[[name for name in ("crossbar", "product", "multiplier") if name in full]].sum()
    power += chip.peak_operations_per_second * of_network / done
    assert table["peak", False] == pytest.approx(chip.peak_operations_per_second / power)


def test_product_units_hold_the_peak_up_where_they_cannot_keep_up() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            return y @ y.transpose(1, 2) @ y

    chip = load_chip("edge")
    found = simulate(place(trace(Attention().eval(), torch.rand(2, 64, 16)), chip), Arrivals.batch(4))
    network, table = found.placement.network, hardware_tables.efficiency(found).set_index(["of", "links"])
    assert network.digital_operations > 4 * network.operations
    unit = chip.costs["product"]
    most = 2 * unit.units * unit.unit_rate * chip.parents("product")
    assert table.loc[("peak", False), "operations_per_s"] == pytest.approx(most * network.chip_operations / network.digital_operations)
    assert table.loc[("steady", False), "operations_per_J"] < table.loc[("peak", False), "operations_per_J"]
    link = chip.costs["link"]  # many inputs, few operations: links are the slower ones
    bits = found.actions["link"].sum() / found.requests
    fastest = min(most / network.digital_operations, link.units * link.unit_rate / bits) * network.chip_operations
    assert table.loc[("peak", True), "operations_per_s"] == pytest.approx(fastest)


def test_shares_of_operations_add_up_to_all(ledger: Ledger) -> None:
    shares = [value for name, value in ledger.summary().items() if name.endswith("_operations_share")]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1)


def test_tiles_are_as_busy_as_their_units(ledger: Ledger) -> None:
    table, units = hardware_tables.tile_use(ledger).set_index("tile"), ledger.units()["utilisation"]
    used = set(hardware_tables.mapping(ledger.placement)["tile"])
    assert set(table.index) == used
    for tile in used:
        assert table.loc[tile, "buffer_port_share"] == units.get(f"buffer port of tile {tile}", 0.0)
    assert table["arrays_share"].max() == units[units.index.str.startswith("arrays")].max()
    assert ((table["crossbars_share"] <= table["arrays_share"] + 1e-12) & (table["busiest"] <= 1)).all()
    busy = sum(
        units[f"arrays of {copy.layer}, copy {copy.index}"] * copy.crossbars
        for copies in ledger.placement.copies.values() for copy in copies
    )  # fmt: skip
    per_tile = ledger.chip.crossbars / ledger.chip.structure.tiles
    assert table["crossbars_share"].sum() * per_tile == pytest.approx(busy)


def test_links_between_routers_are_those_of_the_ledger(ledger: Ledger) -> None:
    table, links = hardware_tables.mesh_use(ledger), ledger.links()
    between = links[links.index.str.startswith("router ")]
    assert sorted(f"router {row.source} to {row.target}" for row in table.itertuples()) == sorted(between.index)
    assert table["bits"].sum() == between["bits"].sum()
    assert table["utilisation"].max() == pytest.approx(between["utilisation"].max())
    apart = np.hypot(table["source_x_m"] - table["target_x_m"], table["source_y_m"] - table["target_y_m"])
    block = ledger.chip.floorplan.block
    assert ((apart < max(block) * 1.01) & (apart > min(block) * 0.99)).all()


def test_power_of_a_steady_interval_is_its_energy(ledger: Ledger) -> None:
    """Mean power over whole periods is the energy of as many requests; the curve integrates to the same."""
    found, curve = hardware_tables.steady_state(ledger), hardware_tables.steady_power(ledger)
    assert found is not None
    finish = np.sort(ledger.requests_table()["finish_s"].to_numpy())
    first = int(np.argmin(np.abs(finish - found["begins_s"])))
    assert finish[first + found["results"]] - finish[first] == pytest.approx(found["length_s"])
    assert curve["on_chip_power_W"].mean() == pytest.approx(found["mean_W"])
    assert found["mean_W"] <= found["peak_W"] <= ledger.summary()["on_chip_peak_power_W"] * (1 + 1e-12)
    assert ledger.chip.leakage < found["mean_W"]
    at = found["results"] / found["length_s"]
    assert found["mean_W"] == pytest.approx(hardware_tables.steady_energy(ledger, links=False, at=at) * at, rel=0.1)


@pytest.mark.parametrize("requests", [1, 3])
def test_few_requests_have_no_steady_interval(requests: int) -> None:
    few = simulated("edge", requests)
    assert hardware_tables.steady_state(few) is None
    assert hardware_tables.steady_power(few).empty
    assert ceil(hardware_tables.rate(few)) >= 1
    assert np.isfinite(hardware_tables.efficiency(few).select_dtypes("number").to_numpy()).all()

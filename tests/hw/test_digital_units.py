"""The digital units of a tile: what layers ask of them, what they take, and chips that lack them; the host's part."""

from math import sqrt

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.hw.hand_built import flow, layer, network, recurrent, wide
from xbar.hw import Arrivals, Chip, MissingComponentError, ParameterError, load_chip, place, simulate, trace
from xbar.hw.cost.laws import LAWS
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.network import Network

PICOSECOND = 1e-12
# The law's units of isaac-vector: 16 bits on the tile clock of 1.2 GHz, 32 nm.
MULTIPLIER = LAWS["multiplier"](bits=16, second_bits=16, rate=1.2e9, node=32e-9)
PRODUCT = LAWS["product"](bits=16, rate=1.2e9, node=32e-9)


@pytest.fixture(scope="module")
def vector() -> Chip:
    return load_chip("isaac-vector")


def single(digital: dict[str, float], vectors: int = 1, **fields: float) -> Network:
    """One layer of 100 inputs and 10 outputs with digital work behind it."""
    return network(
        [layer("a", 10, 100, vectors, digital=digital)],
        [flow("", "a", 100 * vectors, np.zeros(vectors, int))], 100 * vectors, 10 * vectors, **fields,
    )  # fmt: skip


class TestUnits:
    @pytest.mark.parametrize(
        ("digital", "drain"),
        [
            ({}, 10 / 1.2e9),  # ten sums of the one array
            ({"accumulator": 30}, 40 / 1.2e9),
            ({"activation": 60}, 60 / (2 * 1.2e9)),
            ({"pool": 70}, 70 / 1.2e9),
            ({"multiplier": 50}, 50 / 1.2e9),
            ({"product": 6400}, 100 / 1.2e9),  # 64 units
            ({"product": 6400, "multiplier": 101, "activation": 20}, 101 / 1.2e9),  # side by side: the longest
        ],
    )
    def test_a_vector_holds_the_output_stage_for_its_slowest_unit(self, vector: Chip, digital: dict[str, float], drain: float) -> None:
        ledger = simulate(place(single(digital), wide(vector, buffer_width=4096, bus_width=4096)), Arrivals.batch(1), off_chip_io=False)
        mine = ledger.timeline[ledger.timeline["stage"] == "drain"].iloc[0]
        assert mine["end_s"] - mine["start_s"] == pytest.approx(drain, abs=PICOSECOND)

    def test_actions_and_joules_by_hand(self, vector: Chip) -> None:
        """Half of each unit's work a vector; operands: one an addition and multiplication, 2 / 8 a multiply-accumulate."""
        digital = {"accumulator": 30, "multiplier": 50, "product": 640, "activation": 20}
        placement = place(single(digital, vectors=2), vector, None)
        ledger = simulate(placement, Arrivals.batch(3), off_chip_io=False)
        plain = simulate(place(single({}, vectors=2), vector, None), Arrivals.batch(3), off_chip_io=False)
        more = ledger.actions.loc["a"] - plain.actions.loc["a"]
        assert {name: count for name, count in more.items() if count} == pytest.approx({
            "accumulator": 90, "tile_register": 90, "multiplier": 150, "product": 1920, "activation": 60,
            "buffer": 3 * 16 * (30 + 50 + 640 * 2 / sqrt(64)), "bus": 3 * 16 * (30 + 50 + 640 * 2 / sqrt(64)),
        })  # fmt: skip
        assert ledger.energy.loc["a", "product"] == pytest.approx(1920 * PRODUCT.energy)
        assert ledger.energy.loc["a", "multiplier"] == pytest.approx(150 * MULTIPLIER.energy)
        (copy,) = placement.copies["a"]
        assert VectorOperations(placement, off_chip_io=False).of(copy).drain["product"] == 320

    def test_two_layers_of_a_tile_take_turns(self, vector: Chip) -> None:
        """Products of 10 µs a vector: the tile's one output stage serves the copies, of one layer and of two, in turn."""
        none, chip = np.zeros(3, int), wide(vector, buffer_width=4096, bus_width=4096)
        products = {"product": 3 * 64 * 12000.0}
        layers = [layer("a", 10, 100, 3, digital=products), layer("b", 10, 100, 3, digital=products)]
        flows = [flow("", name, 300, none) for name in "ab"]
        built = network(layers, flows, 300, 60)
        for copies in ({"a": 1, "b": 1}, {"a": 3, "b": 2}):
            one, other = (
                simulate(place(built, chip, copies), Arrivals.batch(2), off_chip_io=False, resolution=resolution)  # type: ignore[arg-type]
                for resolution in ("group", "crossbar")
            )
            drains = one.timeline[one.timeline["stage"] == "drain"].sort_values("start_s")
            assert len(drains) == 12
            assert (drains["start_s"].to_numpy()[1:] >= drains["end_s"].to_numpy()[:-1] - PICOSECOND).all()
            assert one.finish_fs.tolist() == other.finish_fs.tolist()
            assert one.components().loc["product", "utilisation"] <= 1 / 168

    def test_one_layer_waits_for_its_own_drains(self, vector: Chip) -> None:
        """Three vectors of 1.66 µs each, with products of 10 µs each behind them on one copy."""
        built = single({"product": 3 * 64 * 12000.0}, vectors=3)
        chip = wide(vector, buffer_width=4096, bus_width=4096)
        ledger = simulate(place(built, chip, None), Arrivals.batch(1), off_chip_io=False)
        first = 1 / 1.2e9 + 16 * 100e-9 + 80 / 1.28e9
        assert ledger.latency[0] == pytest.approx(first + 3 * 10e-6, abs=10 * PICOSECOND)

    def test_what_they_are_is_in_the_chip(self, vector: Chip, isaac: Chip) -> None:
        assert "multiplier" not in isaac.component.names
        assert isaac.component.multiplier is isaac.component.product is None
        assert "product" not in isaac.table().index
        table = vector.table()
        assert table.loc["product", "action"] == "multiply-accumulates"
        assert (table.loc["product", "per"], table.loc["product", "count"]) == ("tile", 64 * 168)
        of = ["area_m2", "power_W"]
        longer = vector.table().loc["bus", of] - isaac.table().loc["bus", of]  # a bus passes what the tile has more
        assert longer["area_m2"] > 0
        added = 168 * (MULTIPLIER.area + 64 * PRODUCT.area)
        assert vector.area - isaac.area == pytest.approx(added + longer["area_m2"])
        moving = 0.96e9 * MULTIPLIER.energy + 64 * 1.2e9 * PRODUCT.energy  # each result multiplied; products as fast as they go
        drawn = 168 * (moving + MULTIPLIER.leakage + 64 * PRODUCT.leakage)
        assert vector.peak_power - isaac.peak_power == pytest.approx(drawn + longer["power_W"])


class TestMissing:
    def test_named_by_layer_component_and_remedy(self, isaac: Chip) -> None:
        with pytest.raises(MissingComponentError) as caught:
            place(single({"product": 640, "multiplier": 50, "activation": 5}), isaac)
        assert caught.value.missing == [("a", "product", "640 multiply-accumulates"), ("a", "multiplier", "50 multiplications")]
        for said in (
            "chip isaac has no product and no multiplier", "layer a needs product for 640 multiply-accumulates a sample",
            "Add [component.product] and [component.multiplier] with units", "isaac-vector",
        ):  # fmt: skip
            assert said in str(caught.value)
        place(single({"product": 0}), isaac)  # nothing to do

    def test_what_is_added_serves(self, isaac: Chip) -> None:
        at = {"units": 4, "bits": 16, "rate": 1e9}
        stated = {"units": 4, "rate": 1e9, "energy": 1e-12, "area": 1e-9, "stated_at": at}
        for unit, joule in ((stated, 1e-12), ({"units": 4}, PRODUCT.energy)):
            chip = isaac.with_changes(component={"product": unit})
            ledger = simulate(place(single({"product": 400}), chip), Arrivals.batch(1))
            assert ledger.energy.loc["a", "product"] == pytest.approx(400 * joule)

    @pytest.mark.parametrize(
        ("digital", "said"),
        [
            ({"adder": 3}, "layer a: digital work of 'adder': must be of activation, pool, accumulator, multiplier, product"),
            ({"pool": -1}, "digital work of pool must be 0 or more actions, got -1"),
            ({"pool": float("nan")}, "got nan"),
        ],
    )
    def test_no_such_work(self, digital: dict[str, float], said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            single(digital)


class TestHost:
    def test_its_values_cross_the_links(self, isaac: Chip) -> None:
        """100 values come, 30 go to the host and 40 come from it, 10 leave, 16 bits each over 4 x 51.2 Gbit/s; what the host alone reads
        or makes stays there. What comes is written into buffers, what leaves is read from them: against the layers without a host
        between them, whose 30 travel on the chip, and each without the other."""
        first, middle, last = nn.Linear(100, 30), nn.Linear(30, 40), nn.Linear(40, 10)
        x, chip = torch.rand(2, 100), wide(isaac)

        def crossed(model: nn.Module, host: list[str], given: torch.Tensor = x) -> list[pd.Series]:
            ledger = simulate(place(trace(model, given, host=host), chip), Arrivals.batch(2))
            return [ledger.actions.loc[transfer, ["link", "buffer", "bus"]] for transfer in ("(input)", "(output)")]

        between = crossed(nn.Sequential(first, middle, last), ["1"])
        alone = [crossed(nn.Sequential(first), []), crossed(nn.Sequential(last), [], torch.rand(2, 40))]
        for found, count, parts in zip(between, (100 + 40, 30 + 10), zip(*alone, strict=True), strict=True):
            assert found.tolist() == [2 * 16 * count] * 3
            assert found.equals(parts[0] + parts[1])
        own = [each.tolist() for each in alone[1]]
        before = crossed(nn.Sequential(middle, last), ["0"], torch.rand(2, 30))
        behind = crossed(nn.Sequential(last, nn.Linear(10, 7)), ["1"], torch.rand(2, 40))
        assert [each.tolist() for each in before] == [each.tolist() for each in behind] == own

    def test_shares_of_operations(self, vector: Chip) -> None:
        """1000 weights once: 2000 operations on crossbars, 640 in the product unit, 1360 on the host."""
        built = single({"product": 320}, host_operations=1360.0)
        assert (built.operations, built.digital_operations, built.chip_operations) == (2000, 640, 2640)
        ledger = simulate(place(built, vector), Arrivals.batch(2))
        summary = ledger.summary()
        shares = [summary[f"{where}_operations_share"] for where in ("crossbar", "digital", "host")]
        assert shares == pytest.approx([0.5, 0.16, 0.34])
        assert summary["operations_per_J"] == pytest.approx(2 * 2640 / ledger.total_energy)

    def test_all_on_crossbars(self, isaac: Chip) -> None:
        summary = simulate(place(recurrent(3), isaac), Arrivals.batch(1)).summary()
        assert [summary[f"{where}_operations_share"] for where in ("crossbar", "digital", "host")] == [1, 0, 0]

    @pytest.mark.parametrize("fields", [{"host_operations": -1.0}, {"host_operations": float("inf")}])
    def test_wrong(self, fields: dict[str, float]) -> None:
        with pytest.raises(ParameterError, match="host_operations must be 0 or more"):
            single({}, **fields)

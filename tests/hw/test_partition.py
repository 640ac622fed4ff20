"""Where networks are cut for several chips: against all ways to cut them; what does not fit is told; layers in pieces."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from tests.hw.hand_built import flow, layer, looped, network, with_rates
from xbar.hw import Arrivals, CapacityError, Chip, Network, ParameterError, place, simulate, simulate_chips, trace
from xbar.hw.chip.chips import place_chips
from xbar.hw.chip.cycle import adc_of
from xbar.hw.chip.partition import Stages, partition
from xbar.hw.chip.placement import Sharing, layer_geometry, vector_time
from xbar.hw.errors import UnknownLayerError
from xbar.hw.events.simulator import drawn_rows, lookups_on
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.part import crossing, cuts, part, parts
from xbar.hw.graph.split import Pieces, pieces_of, split


@pytest.fixture(scope="module")
def small(edge: Chip) -> Chip:
    """One tile, four cores of four crossbars."""
    return edge.with_changes(structure={"tiles": 1})


def chain_with_skips(seed: int, layers: int = 7) -> Network:
    """Layers in a row that also read, or add, what layers before the last one made; of one to three crossbars each."""
    generator = np.random.default_rng(seed)
    made, flows, built = [int(each) for each in generator.integers(8, 120, layers)], [], []
    for number in range(layers):
        before = [number - 1, *(k for k in range(number - 1) if generator.random() < 0.3)]
        vectors = int(generator.integers(1, 9))
        counts = {k: np.full(vectors, built[k].vectors) for k in before if k >= 0}
        built.append(layer(f"l{number}", made[number], int(generator.integers(20, 300)), vectors,
                           {f"l{k}": each for k, each in counts.items()}))  # fmt: skip
        for turn, k in enumerate(before):
            values = made[k] * built[k].vectors if k >= 0 else 50 * vectors
            after = np.full(vectors, built[k].vectors if k >= 0 else 0)
            flows.append(flow(f"l{k}" if k >= 0 else "", f"l{number}", values, after, addend=turn > 0 and generator.random() < 0.5))
    results = made[-1] * built[-1].vectors
    return network(built, flows, 50 * built[0].vectors, results, outputs={f"l{layers - 1}": results})


def ways(whole: Network, chips: int, chip: Chip, sharing: Sharing = "as_needed") -> list[tuple[int, ...]]:
    """All cuts into that many parts that each can be placed."""
    names, found = [each.name for each in whole.layers], []
    for at in combinations(cuts(whole), chips - 1):
        try:
            for first, last in pairwise([0, *at, len(names)]):
                place(part(whole, names[first:last]), chip, None, sharing)
        except CapacityError:
            continue
        found.append(at)
    return found


def traffic(whole: Network, at: Sequence[int]) -> float:
    """Values a sample that parts send each other."""
    names = [each.name for each in whole.layers]
    return sum(crossing(whole, names[first:last]) for first, last in pairwise([0, *at, len(names)]))


def stage(whole: Network, chip: Chip, first: int, last: int) -> float:
    """How long a part holds its busiest converter for a sample [fs], as `place` puts it, or its links."""
    names = [each.name for each in whole.layers]
    alone = part(whole, names[first:last])
    placed = place(alone, chip)
    per_core = chip.structure.crossbars_per_core
    converters: dict[tuple[int, int], float] = defaultdict(float)
    for each in alone.layers:
        crossbars = layer_geometry(chip, each).crossbars
        taken = crossbars if placed.sharing == "cores" else -(-crossbars // per_core) * per_core
        block = placed.deals[each.name].longest * vector_time(chip, each, taken)
        for copy in placed.copies[each.name]:
            for converter in {(x.core, adc_of(chip, x)) for x in placed.crossbars_of(copy)}:
                converters[converter] += block
    bits = (alone.input_values + alone.output_values) * chip.inputs.bits
    return max(*converters.values(), bits / (chip.costs["link"].units * chip.costs["link"].unit_rate) * 1e15)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_cuts_are_better(small: Chip, seed: int) -> None:
    whole = chain_with_skips(seed)
    stages, count = Stages(whole, small), len(whole.layers)
    fewest = next(n for n in range(1, count + 1) if ways(whole, n, small))
    found = partition(stages)
    assert len(found) == fewest - 1
    assert tuple(found) in ways(whole, fewest, small)
    assert traffic(whole, found) == pytest.approx(min(traffic(whole, at) for at in ways(whole, fewest, small)))
    chips = min(count, fewest + 1)
    times = {
        at: max(stage(whole, small, first, last) for first, last in pairwise([0, *at, count])) for at in ways(whole, chips, small)
    }
    shortest = min(times.values())
    least = min(traffic(whole, at) for at, time in times.items() if time <= shortest + 1)
    found = partition(stages, chips)
    assert times[tuple(found)] <= shortest + 1
    assert traffic(whole, found) == pytest.approx(least)


def test_sent_values_are_those_that_cross(small: Chip) -> None:
    for whole in (chain_with_skips(seed) for seed in range(10)):
        stages, names = Stages(whole, small), [each.name for each in whole.layers]
        for first, last in combinations([0, *cuts(whole), len(names)], 2):
            assert stages.sent(first, last) == crossing(whole, names[first:last])


class TestSharedCrossbars:
    def test_what_lies_on_one_takes_one_chip(self, edge: Chip) -> None:
        """Four matrices of 4 x 4 on one crossbar, or on four: of two crossbars a chip, on one chip or two."""
        once, chip = np.arange(1, 3), edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 2})
        layers = [layer(f"l{k}", 4, 4, 2, {f"l{k - 1}": once} if k else {}) for k in range(4)]
        flows = [flow(f"l{k - 1}" if k else "", f"l{k}", 8, once * bool(k)) for k in range(4)]
        whole = network(layers, flows, 8, 8)
        found = {sharing: place_chips(whole, chip, None, None, sharing) for sharing in get_args(Sharing)}
        assert {sharing: len(each.chips) for sharing, each in found.items()} == {"none": 4, "cores": 2, "crossbars": 1, "as_needed": 2}
        assert found["crossbars"].crossbars_used == 1
        copied = place_chips(whole, chip, None, {"l1": 5}, "crossbars")  # which would be cut into pieces on crossbars of their own
        assert (copied.pieces, len(copied.chips), copied.crossbars_used) == ({}, 1, 1)

    @pytest.mark.parametrize("seed", [3, 6])
    def test_no_fewer_chips_do(self, edge: Chip, seed: int) -> None:
        whole, chip = chain_with_skips(seed, 5), edge.with_changes(structure={"tiles": 1, "cores_per_tile": 2, "crossbars_per_core": 3})
        fewest = next(n for n in range(1, 6) if ways(whole, n, chip, "crossbars"))
        found = partition(Stages(whole, chip, None, "crossbars"))
        assert len(found) + 1 == fewest < len(partition(Stages(whole, chip, None, "cores"))) + 1
        assert traffic(whole, found) == min(traffic(whole, at) for at in ways(whole, fewest, chip, "crossbars"))


def test_links_take_what_is_as_wide_as_layers_have_it(edge: Chip) -> None:
    """A layer of 4 bits behind one of 8, over links so slow that they are all: 100 values in, 800 across, 400 out. By hand, and as the
    parts' own transfers hold the links."""
    once = np.arange(1, 9)
    layers = [layer("a", 100, 100, 8), layer("b", 50, 100, 8, {"a": once}, {"activation": 1e6})]
    whole = network(layers, [flow("", "a", 100, 0 * once), flow("a", "b", 800, once)], 100, 400)
    chip = with_rates(edge.with_changes(layer={"b": {"inputs": {"bits": 4}}}), link=1e6, activation=1e15)
    stages = Stages(whole, chip, None)
    by_hand = [100 * 8 + 800 * 8, 800 * 4 + 400 * 4]
    assert [stages.time(first, first + 1) for first in (0, 1)] == [bits * 10**9 for bits in by_hand]
    for bits, each in zip(by_hand, parts(whole, [1]), strict=True):
        changed = chip if each.layers[0].name == "b" else chip.with_changes(layer={})
        placed = place(each, changed, None)
        assert placed.bits_in + placed.bits_out == bits
        operations = VectorOperations(placed, True)
        assert [operations.image_in(0).actions["link"], operations.result_out(0).actions["link"]] == [placed.bits_in, placed.bits_out]


def test_a_layer_alone_on_a_tile_has_all_of_its_units(edge: Chip) -> None:
    """1,000 values through the activation unit of a tile, 1.2 a nanosecond, of a layer of one crossbar; 16 find room on a tile."""
    alone = layer("a", 20, 20, 1, digital={"activation": 1000.0})
    assert [vector_time(edge, alone, 1, copies) for copies in (1, 3, 40, None)] == pytest.approx(
        [833333333, 3 * 833333333, 16 * 833333333, 16 * 833333333], rel=1e-8)  # fmt: skip
    built = network([alone], [flow("", "a", 20, np.zeros(1, int))], 20, 20)
    assert Stages(built, edge, None).time(0, 1) == 833333333
    assert Stages(built, edge, {"a": 1}, "cores").time(0, 1) == 833333333


def test_what_cannot_be_is_told(small: Chip) -> None:
    whole = chain_with_skips(0, 5)
    with pytest.raises(CapacityError, match="1 chips edge are too few: the network needs 2") as told:
        place_chips(whole, small, 1, sharing="none")
    assert (told.value.needed, told.value.available, told.value.missing) == (32, 16, 16)
    with pytest.raises(ParameterError, match="the network can be cut into 5 parts at most, got 6 chips"):
        place_chips(whole, small, 6)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ParameterError, match="chips must be a whole number of at least 1"):
            place_chips(whole, small, wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no layer 'nowhere'"):
        place_chips(whole, small, replication={"nowhere": 2})
    with pytest.raises(UnknownLayerError, match="nowhere"):
        place_chips(whole, small.with_changes(layer={"nowhere": {"weights": {"bits": 4}}}))
    in_turn = looped(3, hidden=300)  # two layers that wait for each other, of 15 and 9 crossbars
    with pytest.raises(CapacityError, match="layers first, second, which cannot be on several chips, take") as told:
        place_chips(in_turn, small)
    assert told.value.available == 16 < told.value.needed


def test_copies_and_settings_go_with_their_layers(small: Chip) -> None:
    whole = chain_with_skips(1, 5)
    set_up = small.with_changes(layer={"l1": {"inputs": {"bits": 4}}})
    placed = place_chips(whole, set_up, 3, {"l1": 2})
    assert {name: len(each) for one in placed.chips for name, each in one.copies.items()} == {"l0": 1, "l1": 2, "l2": 1, "l3": 1, "l4": 1}
    assert [[*one.chip.layer] for one in placed.chips] == [["l1"] if "l1" in one.copies else [] for one in placed.chips]
    assert [layer.name for one in placed.chips for layer in one.network.layers] == [each.name for each in whole.layers]
    assert placed.area == 3 * small.area


class TestPieces:
    @staticmethod
    def wide() -> Network:
        """A layer of 10 vectors of 700 outputs between two small ones, which adds what the first one made."""
        once = np.arange(1, 11)
        large = layer("b", 700, 60, 10, {"a": once}, {"activation": 7000.0})
        layers = [layer("a", 60, 60, 10), large, layer("c", 5, 700, 10, {"b": once})]
        flows = [flow("", "a", 600, 0 * once), flow("a", "b", 600, once), flow("a", "b", 7000, once, True), flow("b", "c", 7000, once)]
        return network(layers, flows, 600, 50)

    def test_nothing_is_lost_or_made(self) -> None:
        whole = self.wide()
        cut = split(whole, {"b": Pieces(3)})
        assert [(each.name, each.outputs) for each in cut.layers] == [("a", 60), ("b[0]", 234), ("b[1]", 233), ("b[2]", 233), ("c", 5)]
        assert cut.operations == whole.operations
        assert sum(each.digital.get("activation", 0.0) for each in cut.layers) == pytest.approx(7000)
        read = [each.values for each in cut.flows if each.source == "a" and not each.addend]
        added = [each.values for each in cut.flows if each.source == "a" and each.addend]
        assert read == [600, 600, 600]
        assert (sum(added), added[0]) == (pytest.approx(7000), pytest.approx(7000 * 234 / 700))
        assert sum(each.values for each in cut.flows if each.target == "c") == pytest.approx(7000)
        assert set(cut.layers[-1].needs) == {"b[0]", "b[1]", "b[2]"}
        assert cut.consumers["a"] == ("b[0]", "b[1]", "b[2]")
        assert dict(split(whole, {"c": Pieces(5)}).outputs) == {f"c[{k}]": 10.0 for k in range(5)}

    def test_a_layer_that_is_larger_than_a_chip_lies_on_several(self, edge: Chip) -> None:
        """b takes 11 crossbars and the chip has 8: two pieces of 350 outputs, 6 crossbars each."""
        chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 2}, layer={"b": {"inputs": {"bits": 4}}})
        placed = place_chips(self.wide(), chip, replication={"b": 1})
        assert placed.pieces == {"b": ["b[0]", "b[1]"]}
        assert [[*each.copies] for each in placed.chips] == [["a", "b[0]"], ["b[1]"], ["c"]]
        assert [[*each.chip.layer] for each in placed.chips] == [["b[0]"], ["b[1]"], []]
        assert placed.by_piece({"a": 1.0, "b": 7.0}) == {"a": 1.0, "b[0]": 3.5, "b[1]": 3.5}
        assert "b in 2" in repr(placed)

    def test_sums_over_part_of_the_inputs_go_on_to_the_next_piece(self) -> None:
        """b in two halves of its outputs, each in three parts of its 60 inputs: 20 values of each vector, and 350 sums to the next part."""
        whole = self.wide()
        cut = split(whole, {"b": Pieces(2, 3, sum_width=1.5)})
        of_b = [each for each in cut.layers if each.name.startswith("b")]
        assert [each.name for each in of_b] == [f"b[{k}, {part}]" for k in range(2) for part in range(3)]
        assert {(each.outputs, each.inputs) for each in of_b} == {(350, 20)}
        assert cut.operations == whole.operations
        assert [each.digital for each in of_b[:3]] == [{}, {"accumulator": 3500}, {"activation": 3500, "accumulator": 3500}]
        assert [[*each.needs] for each in of_b[:3]] == [["a"], ["a", "b[0, 0]"], ["a", "b[0, 1]"]]
        read = {each.target: each.values for each in cut.flows if each.source == "a" and not each.addend}
        assert read == dict.fromkeys((each.name for each in of_b), 200)
        added = {(each.source, each.target): each.values for each in cut.flows if each.addend}
        assert added == {
            ("a", "b[0, 2]"): 3500, ("a", "b[1, 2]"): 3500,
            **{(f"b[{k}, {part}]", f"b[{k}, {part + 1}]"): 350 * 10 * 1.5 for k in range(2) for part in range(2)},
        }  # fmt: skip
        assert {each.source for each in cut.flows if each.target == "c"} == {*cut.layers[-1].needs} == {"b[0, 2]", "b[1, 2]"}
        last = split(whole, {"c": Pieces(1, 7)})
        assert dict(last.outputs) == {"c[0, 6]": 50.0}

    def test_of_a_convolution_whole_channels_are_cut(self) -> None:
        layer_3x3 = trace(nn.Sequential(nn.Conv2d(5, 4, 3)), torch.rand(1, 5, 6, 6)).layers[0]
        assert [each.inputs for each in pieces_of(layer_3x3, Pieces(1, 2))] == [27, 18]

    def test_a_layer_of_which_an_output_is_larger_than_a_chip_lies_on_several(self, edge: Chip) -> None:
        """1,500 inputs take 12 crossbars an output, and the chip has 8: two parts of the inputs, each by all 60 outputs at once."""
        chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 2})
        once = np.array([1])
        layers = [layer("a", 1500, 60, 1), layer("b", 60, 1500, 1, {"a": once}), layer("c", 5, 60, 1, {"b": once})]
        flows = [flow("", "a", 60, 0 * once), flow("a", "b", 1500, once), flow("b", "c", 60, once)]
        whole = network(layers, flows, 60, 5)
        placed = place_chips(whole, chip)
        assert placed.pieces["b"] == ["b[0, 0]", "b[0, 1]"]
        wide = next(each for each in placed.network.flows if each.addend)
        assert wide.values * chip.inputs.bits == 60 * (chip.inputs.bits + chip.weights.bits)
        found, alone = simulate_chips(placed, Arrivals.batch(2)), simulate(place(whole, edge), Arrivals.batch(2))
        assert sum(each.actions["adc"].sum() for each in found.chips) == alone.actions["adc"].sum()

    def test_a_table_that_is_larger_than_a_chip_lies_on_several_and_is_asked_once(self, edge: Chip) -> None:
        """1,000 rows of 200 values take 8 by several crossbars: pieces hold a share of every row, and read the same one."""
        model = nn.Sequential(nn.Embedding(1000, 200), nn.Flatten(), nn.Linear(600, 10)).eval()
        whole = trace(model, torch.randint(1000, (2, 3)))
        once = place(whole, edge, None)
        chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 10, "crossbars_per_core": 2})
        placed = place_chips(whole, chip, replication=None)
        table = placed.pieces["0"]
        assert len(table) == 2
        assert {placed.network.layer(name).inputs for name in table} == {1000}
        assert sum(placed.network.layer(name).outputs for name in table) == 200
        rows = [5, 400, 999, 7, 130, 700]
        alone = simulate(once, Arrivals.batch(2), lookups={"0": rows})
        found = simulate_chips(placed, Arrivals.batch(2), lookups={"0": rows})
        assert sum(each.actions["adc"].sum() for each in found.chips) == alone.actions["adc"].sum()
        assert float(placed.received_bits[placed.chip_of[table[1]]]) == 0
        for number in {placed.chip_of[name] for name in table}:
            assert placed.chips[number].network.index_bits == (10, 10, 10)
        drawn = lookups_on(placed, 2, {})
        assert drawn[table[0]] == drawn[table[1]] == drawn_rows("0", 1000, 6).tolist()
        with pytest.raises(ParameterError, match="must be 6 whole numbers"):
            simulate_chips(placed, Arrivals.batch(2), lookups={"0": rows[:3]})
        with pytest.raises(ParameterError, match="has 1 inputs a position, and cannot be 2 pieces"):
            split(whole, {"0": Pieces(1, 2)})

    def test_what_has_no_pieces_is_refused(self) -> None:
        whole = self.wide()
        for name, count, told in (("d", 2, "no layer 'd'"), ("c", 6, "has 5 outputs, and cannot be 6 pieces"), ("c", 0, "0 pieces")):
            with pytest.raises(ParameterError, match=told):
                split(whole, {name: Pieces(count)})
        cell = layer("cell", 10, 20, 4, {"cell": np.arange(4)})
        steps = network([cell], [flow("", "cell", 40, np.zeros(4, int)), flow("cell", "cell", 40, np.arange(4))], 40, 10)
        with pytest.raises(ParameterError, match="reads itself"):
            split(steps, {"cell": Pieces(2)})

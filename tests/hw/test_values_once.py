"""A value travels to a tile once and lies there once, whichever layers read it there; buffers hand on inputs, not wordlines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from simpy import Environment
from torch import nn

from tests.hw.hand_built import flow, layer, network, priced_as_it_was, with_rates
from tests.hw.networks import seeded
from xbar.hw import Arrivals, Chip, Network, place, simulate, trace
from xbar.hw.chip.cycle import port_time
from xbar.hw.chip.placement import vector_time
from xbar.hw.events.buffers import buffer_demand
from xbar.hw.events.credits import Credits
from xbar.hw.events.mapping_bound import stage_times
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.made import Made

NOW, ONE = np.zeros(1, int), np.ones(1, int)


def heads(*names: str) -> Network:
    """A layer of 32 results, each read by all of these."""
    layers = [layer("s", 32, 8, 1), *(layer(name, 4, 32, 1, {"s": ONE}) for name in names)]
    return network(layers, [flow("", "s", 8, NOW), *(flow("s", name, 32, ONE) for name in names)], 8, 4 * len(names))


def two_cores_a_tile(chip: Chip, tiles: int = 3, multicast: bool = True) -> Chip:
    return chip.with_changes(structure={"tiles": tiles, "cores_per_tile": 2}, timing={"multicast": multicast})


def placed(network_: Network, chip: Chip) -> VectorOperations:
    return VectorOperations(place(network_, chip, None, "none"), off_chip_io=True)


def sent(operations: VectorOperations, name: str = "s"):  # type: ignore[no-untyped-def]
    (copy,), source = operations.placement.copies[name], operations.network.layer(name)
    return operations.sending(source, operations.of(copy).made, operations.destinations.copies_of(name, 0)[0])


class TestOnTheWay:
    @pytest.mark.parametrize(("multicast", "packets"), [(True, [16]), (False, [16, 16])])
    def test_results_that_four_heads_read(self, isaac: Chip, multicast: bool, packets: list[int]) -> None:
        """32 results of 16 bits from tile 0, where one head reads them, to two on tile 1 and one on tile 2: 512 bits, 16 flits, a tile."""
        operations = placed(heads("q", "k", "v", "w"), two_cores_a_tile(isaac, multicast=multicast))
        shipment, actions, arriving = sent(operations)
        assert arriving == {0: 512, 1: 512, 2: 512}
        assert [step.flits for step in shipment.steps if operations.mesh.injects(step.link)] == packets
        assert (actions["buffer"], actions["bus"], actions["router"]) == (3 * 512, 3 * 512, 2 * 512)
        written = {name: operations.written_bits(operations.placement.copies[name][0]) for name in "qkvw"}
        assert written == {"q": {0: 512}, "k": {1: 256}, "v": {1: 256}, "w": {2: 512}}, "the port writes once, each reader its part"

    def test_the_network_s_input_that_three_layers_read(self, edge: Chip) -> None:
        """32 values of 8 bits, over the links, the router and into the buffer of the tile where all three layers lie."""

        class Three(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c = (nn.Linear(32, 4) for _ in range(3))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.a(x) + self.b(x) + self.c(x)

        traced = trace(seeded(None, Three()), torch.rand(1, 32))
        actions = VectorOperations(place(traced, edge, None, "cores"), True).image_in(0).actions
        assert actions == {"link": 256, "buffer": 256, "bus": 256, "router": 256}
        ledger = simulate(place(traced, edge, None, "cores"), Arrivals.batch(1))
        assert ledger.actions.loc["(input)", "buffer"] == 256

    def test_as_wide_as_the_widest_that_reads_it_there(self, edge: Chip) -> None:
        """8 and 3 bits on tile 0, where the values are made, 5 and 3 on tile 1, 4 on tile 2; flits of 8 bits."""
        widths = {"q": 8, "k": 5, "v": 3, "w": 4}
        chip = two_cores_a_tile(edge).with_changes(layer={name: {"inputs": {"bits": bits}} for name, bits in widths.items()})
        chip = priced_as_it_was(chip, timing={"flit_width": 8})
        operations = placed(heads(*widths), chip)
        shipment, _, arriving = sent(operations)
        assert arriving == {0: 32 * 8, 1: 32 * 5, 2: 32 * 4}
        assert {operations.mesh.names[step.link]: step.flits for step in shipment.steps if step.link < 6} == {
            "into the mesh, tile 0": 4 * 5, "out of the mesh, tile 1": 4 * 5, "out of the mesh, tile 2": 4 * 4,
        }  # fmt: skip

    def test_of_a_matrix_cut_in_two_each_tile_gets_its_rows(self, isaac: Chip) -> None:
        """200 inputs on crossbars of 128 wordlines, three crossbars a tile: both halves of `a` and the first of `b`, then its second."""
        both = [layer(name, 16, 200, 1) for name in "ab"]
        flows = [replace(flow("", name, 200, NOW), made=Made.run(1, 200)) for name in "ab"]
        chip = priced_as_it_was(isaac, structure={"tiles": 2, "cores_per_tile": 3, "crossbars_per_core": 1})
        operations = placed(network(both, flows, 200, 32), chip)
        assert operations.destinations.taken("", 0) == {0: {(0, 1): 128 * 16, (0,): 72 * 16}, 1: {(1,): 72 * 16}}
        assert operations.image_in(0).actions["buffer"] == (200 + 72) * 16

    def test_what_one_of_two_reads_part_of(self, isaac: Chip) -> None:
        """`a` reads 32 results, `b` the last 8 of them: once 24 that `a` alone reads, once 8."""
        built = heads("a", "b")
        parts = [each if each.target != "b" else replace(each, values=8, made=Made.run(24, 8)) for each in built.flows]
        layers = tuple(replace(each, inputs=8) if each.name == "b" else each for each in built.layers)
        operations = placed(replace(built, layers=layers, flows=tuple(parts)), two_cores_a_tile(isaac).with_changes(
            structure={"cores_per_tile": 3}
        ))  # fmt: skip
        assert operations.destinations.taken("s", 0) == {0: {(0,): 24 * 16, (0, 1): 8 * 16}}
        assert sent(operations)[2] == {0: 32 * 16}

    def test_other_values_of_a_source_do_not_share(self, isaac: Chip) -> None:
        """Two chunks of 16 of the 32 results are as many values as all."""
        built = heads("a", "b")
        first = {"a": 0, "b": 16}
        chunks = [replace(each, values=16, made=Made.run(first[each.target], 16)) if each.source else each for each in built.flows]
        layers = tuple(replace(each, inputs=16) if each.name in "ab" else each for each in built.layers)
        operations = placed(replace(built, layers=layers, flows=tuple(chunks)), two_cores_a_tile(isaac))
        assert sent(operations)[2] == {0: 16 * 16, 1: 16 * 16}


class Residual(nn.Module):
    """A result that a matrix reads and that is added to what this makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inside, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        return self.last(x + self.inside(x))


class TestInBuffers:
    def test_a_branch_and_the_sum_behind_it_keep_one_value(self, isaac: Chip) -> None:
        """16 values of 16 bits lie there from when they are made until the sum is, which then has as many."""
        placement = place(trace(seeded(None, Residual()), torch.rand(1, 8)), isaac)
        operations = VectorOperations(placement, True)
        assert operations.destinations.taken("0.first", 0) == {0: {(0, 1): 256}}
        demand = buffer_demand(simulate(placement, Arrivals.batch(1)))
        assert demand.loc[0, "peak_bits"] == 256

    @staticmethod
    def credits(built: Network, chip: Chip) -> Credits:
        chip = priced_as_it_was(two_cores_a_tile(chip), structure={"cores_per_tile": 3}, timing={"buffer_size": 2500})
        credits = Credits(Environment(), placed(built, chip), samples_held=2)
        assert credits.watched == {0}
        credits.take(0, 0, credits.bits_of(0, ["s"]))
        credits.env.run()  # type: ignore[attr-defined]
        return credits

    @pytest.mark.parametrize("order", ["ab", "ba"])
    def test_room_is_given_back_by_the_last_reader(self, isaac: Chip, order: str) -> None:
        """Three vectors of 32 values of 16 bits, which two layers on a tile read one by one."""
        count = np.arange(1, 4)
        layers = [layer("s", 32, 1, 3), *(layer(name, 4, 32, 3, {"s": count}) for name in "ab")]
        built = network(layers, [flow("", "s", 3, 0 * count), *(flow("s", name, 96, count) for name in "ab")], 3, 24)
        credits, (first, second) = self.credits(built, isaac), order
        levels = [credits.level[0]]
        for name, vector in ((first, 0), (first, 1), (second, 0), (second, 1), (second, 2), (first, 2)):
            credits.loaded(name, 0, vector)
            levels.append(credits.level[0])
        assert levels == [1536, 1536, 1536, 1024, 512, 512, 0]
        assert not credits.pending

    def test_positions_that_one_reader_leaves_out(self, isaac: Chip) -> None:
        """`a` reads four positions, `b` the first and the third of them: the second and the fourth are free when `a` has them."""
        count = np.arange(1, 5)
        b = replace(layer("b", 4, 32, 2, {"s": np.array([1, 3])}), reads=np.array([[0], [2]]), positions=4)
        layers = [layer("s", 32, 1, 4), layer("a", 4, 32, 4, {"s": count}), b]
        built = network(layers, [flow("", "s", 4, 0 * count), *(flow("s", name, 128, count) for name in "ab")], 4, 24)
        credits = self.credits(built, isaac)
        levels = [credits.level[0]]
        for name, vector in (("a", 0), ("a", 1), ("a", 2), ("b", 0), ("a", 3), ("b", 1)):
            credits.loaded(name, 0, vector)
            levels.append(credits.level[0])
        assert levels == [2048, 2048, 1536, 1536, 1024, 512, 0]

    def test_a_picture_that_is_also_read_as_one_vector(self, isaac: Chip) -> None:
        """`a` reads four positions, `b` all of their values at once: nothing is free before `b` has read them, then all that `a` has."""
        count = np.arange(1, 5)
        layers = [layer("s", 32, 1, 4), layer("a", 4, 32, 4, {"s": count}), layer("b", 4, 128, 1, {"s": np.array([4])})]
        flows = [flow("", "s", 4, 0 * count), flow("s", "a", 128, count), flow("s", "b", 128, np.array([4]))]
        credits = self.credits(network(layers, flows, 4, 20), isaac)
        levels = []
        for name, vector in (("a", 0), ("a", 1), ("b", 0), ("a", 2), ("a", 3)):
            credits.loaded(name, 0, vector)
            levels.append(credits.level[0])
        assert levels == [2048, 2048, 1024, 512, 0]

    @pytest.mark.parametrize("copies", [1, 3])
    def test_both_resolutions_where_buffers_are_tight(self, edge: Chip, copies: int) -> None:
        """All room is given back, and lock-step is crossbar by crossbar."""
        count = np.arange(1, 13)
        layers = [layer("s", 32, 4, 12), *(layer(name, 4, 32, 12, {"s": count}) for name in "ab"), layer("c", 32, 32, 12, {"a": count})]
        flows = [
            flow("", "s", 48, 0 * count), *(flow("s", name, 384, count) for name in "ab"), replace(flow("a", "c", 384, count), values=48),
            flow("s", "c", 384, count, addend=True),
        ]  # fmt: skip
        chip = priced_as_it_was(edge, timing={"buffer_size": 3600})
        placement = place(network(layers, flows, 48, 48 + 384), chip, dict.fromkeys("abc", copies))
        runs = [simulate(placement, Arrivals.batch(6), resolution=each) for each in ("group", "crossbar")]  # type: ignore[arg-type]
        assert Credits(Environment(), VectorOperations(placement, True), 2).watched
        assert runs[0].finish_fs.tolist() == runs[1].finish_fs.tolist()
        assert runs[0].total_energy == pytest.approx(runs[1].total_energy)


@pytest.mark.parametrize("weights", [{}, {"subtraction": "shared_bitline"}, {"bias_rows": 4}], ids=str)
def test_buffers_hand_on_inputs_not_wordlines(edge: Chip, weights: dict[str, object]) -> None:
    """64 inputs of 8 bits, whichever wordlines each drives, and none of the rows that are always driven."""
    chip = with_rates(edge.with_changes(weights=weights), buffer=1e8)
    placement = place(trace(seeded(None, nn.Linear(64, 8)), torch.rand(1, 64)), chip, None)
    operations, (copy,) = VectorOperations(placement, True), placement.copies["0"]
    (one,) = placement.network.layers
    assert operations.core_bits(copy) == operations.written_bits(copy) == {0: 512}
    assert operations.of(copy).load["buffer"] == operations.image_in(0).actions["buffer"] == 512
    for sharing in ("none", "cores", "crossbars"):
        times = stage_times(chip, one, sharing)  # type: ignore[arg-type]
        assert (times.loaded, times.arrivals) == (512, 1)
    assert vector_time(chip, one, copies=1) == port_time(chip, 512) == 512e-8 * 1e15

def test_indices_that_no_flow_brings_are_written_all_the_same(isaac: Chip) -> None:
    """Of a table whose rows follow from the shape of the input, as kinds of tokens do where all are of one."""

    class Kinds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.kinds = nn.Embedding(20, 8), nn.Embedding(2, 8)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.words(tokens) + self.kinds(torch.zeros(tokens.shape, dtype=torch.long))

    operations = placed(trace(seeded(Kinds).eval(), torch.tensor([[3, 1, 2, 5]])), isaac)
    written = {name: operations.written_bits(copies[0]) for name, copies in operations.placement.copies.items()}
    assert [list(each.values()) for each in written.values()] == [[5], [1]]
    assert simulate(operations.placement, Arrivals.batch(1)).latency[0] > 0

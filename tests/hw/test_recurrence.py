"""Matrices that wait for their own results: times and energies by hand, no deadlock, copies that can help."""

from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hw.hand_built import flow, layer, looped, network, recurrent, wide
from xbar.hw import Arrivals, Chip, ParameterError, TraceError, load_chip, place, simulate
from xbar.hw.chip.recurrence import most_at_once, own_needs, steps
from xbar.hw.digital import load_accelerator, products_of
from xbar.hw.events.buffers import buffer_demand
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.footprint import footprint
from xbar.hw.graph.made import Made
from xbar.hw.graph.network import Network

PICOSECOND = 1e-12
NETWORKS = {"one layer": recurrent(6), "two in a loop": looped(5)}


def stages(ledger: Ledger, name: str) -> list[tuple[float, float]]:
    """(begin of load, end of drain) of a layer's vectors in order [s]."""
    mine = ledger.timeline[ledger.timeline["layer"] == name]
    begin, end = (mine.loc[mine["stage"] == stage, column] for stage, column in (("load", "start_s"), ("drain", "end_s")))
    return list(zip(sorted(begin), sorted(end), strict=True))


class TestByHand:
    def test_steps_of_one_layer_are_strictly_one_after_another(self, isaac: Chip) -> None:
        """30 inputs, 10 outputs: 160 bits of state written and 480 read over 256 bits a clock, 16 reads of 100 ns and the
        last 80 conversions, ten additions."""
        ledger = simulate(place(recurrent(7), wide(isaac)), Arrivals.batch(1), off_chip_io=False)
        load = (ceil(10 * 16 / 256) + ceil(30 * 16 / 256)) / 1.2e9
        compute = 16 * 100e-9 + 80 / 1.28e9
        drain = 10 / 1.2e9
        assert ledger.latency[0] == pytest.approx(7 * (load + compute + drain), abs=PICOSECOND)
        times = stages(ledger, "cell")
        assert all(begin == pytest.approx(end, abs=1e-18) for (_, end), (begin, _) in pairwise(times))

    def test_steps_through_two_layers(self, isaac: Chip) -> None:
        """Each of 5 steps is first, then second, both on tile 0; the third layer reads the last step."""
        ledger = simulate(place(looped(5), wide(isaac), None), Arrivals.batch(1), off_chip_io=False)
        clock = 1 / 1.2e9
        first = (ceil(12 * 16 / 256) + ceil(24 * 16 / 256)) * clock + 16 * 100e-9 + 96 / 1.28e9 + 12 / 1.2e9
        second = (ceil(12 * 16 / 256) + ceil(12 * 16 / 256)) * clock + 16 * 100e-9 + 96 / 1.28e9 + 12 / 1.2e9
        out = (ceil(12 * 16 / 256) + ceil(12 * 16 / 256)) * clock + 16 * 100e-9 + 24 / 1.28e9 + 3 / 1.2e9
        assert ledger.latency[0] == pytest.approx(5 * (first + second) + out, abs=2 * PICOSECOND)

    @pytest.mark.parametrize("preset", ["isaac-vector", "edge"])
    def test_actions_and_energy_are_steps_times_a_vector_s(self, preset: str) -> None:
        chip = load_chip(preset)
        placement = place(recurrent(9, digital={"activation": 90, "multiplier": 270, "accumulator": 90}), chip)
        ledger = simulate(placement, Arrivals.batch(2))
        (copy,) = placement.copies["cell"]
        operations = VectorOperations(placement, off_chip_io=True)
        vector, cell = operations.of(copy), placement.network.layer("cell")
        _, sent, _ = operations.sending(cell, vector.made, operations.destinations.copies_of("cell", 0)[0])
        expected = dict.fromkeys(chip.component.names, 0.0)
        for actions in (vector.load, vector.compute, vector.drain, sent):
            for name, count in actions.items():
                expected[name] += 2 * 9 * count
        assert ledger.actions.loc["cell"].to_dict() == pytest.approx(expected)
        assert expected["multiplier"] == 2 * 270
        (crossbar,) = placement.crossbars_of(copy)
        lines, device = chip.structure.bitlines, chip.device
        idle = device.g_min / ((device.g_min + device.g_max) / 2)  # a bitline without weights, of one with
        filled = crossbar.rows * (crossbar.bitlines + idle * (lines - crossbar.bitlines)) / (chip.structure.wordlines * lines)
        joule = sum(
            count * chip.costs[name].energy_per_action * (filled if name == "crossbar" else 1) for name, count in expected.items()
        )
        assert ledger.energy.loc["cell"].sum() == pytest.approx(joule)
        assert len(stages(ledger, "cell")) == 2 * 9

    def test_a_state_waits_for_its_next_step(self, isaac: Chip) -> None:
        """Ten values of 16 bits from their drain to the next load, and the inputs of all steps from their arrival."""
        placement = place(recurrent(4), isaac)
        inside = buffer_demand(simulate(placement, Arrivals.batch(1), off_chip_io=False))["peak_bits"]
        assert inside.tolist() == [10 * 16, *[0] * 167]
        arriving = buffer_demand(simulate(placement, Arrivals.batch(1)))["peak_bits"]
        assert arriving[0] == pytest.approx(4 * 20 * 16)

    def test_the_footprint_is_that_of_the_events(self, edge: Chip) -> None:
        found = footprint(recurrent(6), edge, 1000.0)
        alone = simulate(place(recurrent(6), edge, None), Arrivals.batch(1))
        assert found.latency == alone.latency[0]
        assert found.arrays == 1
        assert found.layers.loc["cell", "energy_J"] == pytest.approx(alone.energy.loc["cell"].sum())


class TestPipelines:
    @pytest.mark.parametrize("preset", ["isaac", "edge"])
    @pytest.mark.parametrize("copies", [1, 2, 3, 8])
    @pytest.mark.parametrize("held", [1, 2])
    @pytest.mark.parametrize("name", NETWORKS)
    def test_many_requests_are_served_alike_at_both_resolutions(self, preset: str, copies: int, held: int, name: str) -> None:
        """No deadlock, no vector before what it waits for, and lock-step is crossbar by crossbar."""
        chip = load_chip(preset).with_changes(structure={"tiles": 8})
        built = NETWORKS[name]
        placement = place(built, chip, {one.name: copies for one in built.layers})
        one, other = (
            simulate(placement, Arrivals.poisson(2e5, 7, seed=1), samples_held=held, resolution=resolution)  # type: ignore[arg-type]
            for resolution in ("group", "crossbar")
        )
        assert one.finish_fs.tolist() == other.finish_fs.tolist()
        assert one.energy.equals(other.energy)
        alone = simulate(placement, Arrivals.batch(1)).latency[0]
        assert (one.latency >= alone - PICOSECOND).all()
        counts = one.timeline.groupby(["layer", "stage"], observed=True).size()
        assert all(counts[layer.name, "compute"] == 7 * layer.vectors for layer in built.layers)

    def test_two_requests_share_a_loop(self, isaac: Chip) -> None:
        """On one copy the second begins when the arrays are free: its first load is done by then, and the first request's last
        80 conversions and its drain go on meanwhile."""
        chip = wide(isaac)
        alone = simulate(place(recurrent(6), chip), Arrivals.batch(1), off_chip_io=False).latency[0]
        both = simulate(place(recurrent(6), chip, None), Arrivals.batch(2), off_chip_io=False)
        hidden = 3 / 1.2e9 + 80 / 1.28e9 + 10 / 1.2e9
        assert both.latency == pytest.approx([alone, 2 * alone - hidden], abs=10 * PICOSECOND)

    def test_vectors_that_no_result_rests_on_are_done_too(self, isaac: Chip) -> None:
        """`out` reads the first step; the request is done before the steps after it, which go on."""
        before = np.arange(8)
        layers = [layer("cell", 10, 30, 8, {"cell": before}), layer("out", 3, 10, 1, {"cell": np.array([1])})]
        flows = [
            flow("", "cell", 160, 0 * before), flow("cell", "cell", 80, before), flow("cell", "out", 10, np.array([1])),
        ]  # fmt: skip
        ledger = simulate(place(network(layers, flows, 160, 3), isaac, None), Arrivals.batch(3))
        assert (ledger.timeline[ledger.timeline["stage"] == "compute"]["layer"] == "cell").sum() == 3 * 8
        assert ledger.latency[0] < ledger.timeline["end_s"].max() - 5 * 1.6e-6

    def test_a_branch_may_run_ahead_of_the_one_that_it_is_added_to(self, isaac: Chip) -> None:
        """`quick` takes samples from the buffers as they are, 50 times faster than `slow`."""
        layers = [layer("slow", 4, 8, 50), layer("quick", 4, 8, 1, digital={"accumulator": 4})]
        none = np.zeros(1, np.int64)
        flows = [
            flow("", "slow", 400, np.zeros(50, np.int64)), flow("", "quick", 8, none),
            flow("slow", "quick", 4, np.array([50]), addend=True),
        ]  # fmt: skip
        ledger = simulate(place(network(layers, flows, 408, 4), isaac, None), Arrivals.batch(6), off_chip_io=False)
        assert ledger.latency[-1] > 6 * 50 * 1.6e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_flows_that_join_the_same_layers_are_their_sum(isaac: Chip, name: str) -> None:
    """Each flow as the first quarter of its values and the other three: same times, traffic and buffers."""
    built = NETWORKS[name]
    parts = tuple(
        replace(each, values=each.values * share, made=Made.run(begin * each.values, share * each.values) if each.source else None)
        for each in built.flows for begin, share in ((0.0, 0.25), (0.25, 0.75))
    )  # fmt: skip
    one, other = (
        simulate(place(each, isaac, None), Arrivals.batch(3)) for each in (built, replace(built, flows=parts))
    )
    assert one.finish_fs.tolist() == other.finish_fs.tolist()
    assert one.actions.to_numpy() == pytest.approx(other.actions.to_numpy())
    assert buffer_demand(one).to_numpy() == pytest.approx(buffer_demand(other).to_numpy())


class TestCopies:
    def test_balance_gives_no_copies_that_cannot_help(self, isaac: Chip) -> None:
        assert {name: len(copies) for name, copies in place(recurrent(6), isaac).copies.items()} == {"cell": 1}
        assert {name: len(copies) for name, copies in place(looped(5), isaac).copies.items()} == {
            "first": 1, "second": 1, "out": 1,
        }  # fmt: skip

    def test_as_many_as_are_ready_at_once(self, isaac: Chip) -> None:
        """Four sequences of five steps beside each other, step by step: four vectors are ready at once."""
        needs = np.repeat(4 * np.arange(5), 4)
        cell = layer("cell", 10, 10, 20, {"cell": needs})
        built = network([cell], [flow("", "cell", 200, 0 * needs), flow("cell", "cell", 200, needs)], 200, 10)
        assert len(place(built, isaac).copies["cell"]) == 4
        assert steps(needs) == 5
        spans = [
            simulate(place(built, isaac, {"cell": copies}), Arrivals.batch(1), off_chip_io=False).span for copies in (1, 4, 8)
        ]
        assert spans[1] < spans[0] / 3
        assert spans[2] == pytest.approx(spans[1], rel=0.01)

    @given(own=st.lists(st.integers(0, 30), min_size=1, max_size=30).map(lambda x: [min(n, v) for v, n in enumerate(x)]))
    def test_counted_out(self, own: list[int]) -> None:
        """Against every n, and the longest path of a graph."""
        counts = np.array(own)
        ready = [sum(n >= need for need in own[n:]) for n in range(len(own))]
        assert most_at_once(counts) == max(ready)
        depth: list[int] = []
        for need in own:
            depth.append(1 + max(depth[:need], default=0))
        assert steps(counts) == max(depth)


class TestOwnNeeds:
    def test_through_other_layers(self) -> None:
        found = own_needs(looped(5))
        assert {name: counts.tolist() for name, counts in found.items()} == {
            "first": [0, 1, 2, 3, 4], "second": [0, 1, 2, 3, 4],
        }  # fmt: skip
        assert own_needs(recurrent(3))["cell"].tolist() == [0, 1, 2]

    def test_a_layer_that_waits_for_none_of_its_own_is_not_there(self) -> None:
        three = layer("b", 2, 2, 3, {"a": np.array([1, 2, 3])})
        built = network([layer("a", 2, 2, 3), three], [flow("", "a", 6, np.zeros(3, int)), flow("a", "b", 6, np.arange(1, 4))], 6, 6)
        assert own_needs(built) == {}

    @pytest.mark.parametrize(
        ("needs", "said"),
        [
            ({"second": np.array([0, 2, 2, 3, 4])}, r"first: vector 1 waits for the first 2 .* \(through second\)"),
            ({"third": np.zeros(5, int)}, "first waits for 'third', and there is no such layer: first, second, out"),
            ({"second": np.zeros(4, int)}, r"one count for each of 5 vectors, got \(4,\)"),
            ({"second": np.array([0, 1, 2, 3, 6])}, "waits for 0 to 6 vectors of second, which has 5"),
        ],
    )
    def test_what_cannot_be(self, isaac: Chip, needs: dict[str, np.ndarray], said: str) -> None:
        built = looped(5)
        first, *others = built.layers
        wrong = replace(built, layers=(replace(first, needs=needs), *others))
        with pytest.raises(TraceError, match=said):
            place(wrong, isaac)

    def test_a_layer_that_waits_for_itself(self, isaac: Chip) -> None:
        cell = layer("cell", 2, 2, 3, {"cell": np.array([0, 2, 2])})
        with pytest.raises(TraceError, match=r"cell: vector 1 waits for the first 2 vectors of its own layer, and so for itself"):
            place(network([cell], [flow("cell", "cell", 6, np.arange(3))], 6, 2), isaac)


def test_every_layer_has_its_inputs_from_somewhere() -> None:
    built = looped(3)
    to_second = tuple(each for each in built.flows if each.target == "second")
    with pytest.raises(ParameterError, match="flows: none brings inputs to first, out"):
        replace(built, flows=to_second)


class TestOutputs:
    def test_results_leave_from_where_they_are_made(self, isaac: Chip) -> None:
        """Half of the outputs are of `a`, which `b` reads too: both wait in buffers, and the links take all of them once."""
        def of(outputs: dict[str, float]) -> Network:
            layers = [layer("a", 6, 8, 1), layer("b", 6, 6, 1, {"a": np.ones(1, int)})]
            flows = [flow("", "a", 8, np.zeros(1, int)), flow("a", "b", 6, np.ones(1, int))]
            return network(layers, flows, 8, 12, outputs=outputs)

        whole, halves = (
            simulate(place(of(outputs), isaac), Arrivals.batch(1)).actions for outputs in ({"b": 12.0}, {"a": 6.0, "b": 6.0})
        )
        assert halves["link"].to_dict() == whole["link"].to_dict()
        assert halves.loc["a", "buffer"] - whole.loc["a", "buffer"] == 6 * 16
        assert whole.loc["b", "buffer"] - halves.loc["b", "buffer"] == 6 * 16
        assert place(of({}), isaac).network.outputs == {"b": 12}

    def test_a_layer_that_only_itself_reads_sends_its_results_out(self, isaac: Chip) -> None:
        built = recurrent(4)
        assert built.last_layers == ("cell",)
        assert built.outputs == {"cell": 10}
        ledger = simulate(place(built, isaac), Arrivals.batch(1))
        assert ledger.actions.loc["(output)", "link"] == 10 * 16

    def test_a_loop_must_say_where_its_results_are_made(self) -> None:
        built = looped(3)
        first, second, _ = built.layers
        flows = [each for each in built.flows if each.target != "out"]
        with pytest.raises(ParameterError, match="every layer is read by another, so outputs must say"):
            network([first, second], flows, 36, 12)
        loop = network([first, second], flows, 36, 12, outputs={"second": 12.0})
        assert simulate(place(loop, load_chip("isaac")), Arrivals.batch(2)).latency[1] > 0
        with pytest.raises(ParameterError, match=r"outputs: 'third' with 12\.0 values; must be 0 or more of a layer: first, second"):
            network([first, second], flows, 36, 12, outputs={"third": 12.0})
        with pytest.raises(ParameterError, match="outputs: 13 values, more than the 12 of the network"):
            network([first, second], flows, 36, 12, outputs={"second": 12.0, "first": 1.0})


def test_accelerators_take_a_recurrent_layer_step_by_step() -> None:
    """600 x 600 in nine tiles of TPU v1: fetched in every step; 200 x 200 in one tile stay."""
    tpu = load_accelerator("tpu1")
    (large,) = products_of(recurrent(5, width=300, hidden=300))
    assert (large.steps, large.vectors, large.outputs, large.inputs) == (5, 5, 300, 600)
    alone, apart = replace(large, steps=1), replace(large, vectors=1, steps=1)
    compute, fetch = tpu.layer_times(large, 1)
    assert (compute, fetch) == pytest.approx([5 * each for each in tpu.layer_times(apart, 1)])
    assert fetch == pytest.approx(5 * tpu.layer_times(alone, 1)[1])
    (small,) = products_of(recurrent(5, width=100, hidden=100))
    assert tpu.layer_times(small, 1)[1] == tpu.layer_times(replace(small, steps=1), 1)[1]
    eyeriss = load_accelerator("eyeriss")
    assert eyeriss.layer_times(large, 1) == pytest.approx((eyeriss.layer_times(alone, 1)[0], 5 * eyeriss.layer_times(alone, 1)[1]))

"""Where layers lie: every crossbar once, copies that balance, and by how much a chip is too small."""

from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.hw.networks import residual, seeded, small_convolutional
from xbar.hw import Arrivals, CapacityError, Chip, ParameterError, load_chip, place, simulate, trace
from xbar.hw.chip.copies import Deal, copies_reached
from xbar.hw.chip.placement import order, vector_time
from xbar.hw.events.vector_operation import VectorOperations


def test_every_crossbar_holds_one_block(edge: Chip) -> None:
    model, example = residual()
    placement = place(trace(model, example), edge)
    seen = set()
    for copies in placement.copies.values():
        for copy in copies:
            crossbars = placement.crossbars_of(copy)
            assert len(crossbars) == copy.crossbars == placement.geometry(copy.layer).crossbars
            for x in crossbars:
                assert (x.core, x.slot) not in seen
                seen.add((x.core, x.slot))
                assert 0 <= x.core < edge.cores
                assert 0 <= x.slot < edge.structure.crossbars_per_core
                assert x.tile == x.core // edge.structure.cores_per_tile
    assert len(seen) == placement.crossbars_used


def test_balance_gives_copies_to_the_bottleneck(isaac: Chip) -> None:
    """Three layers of 1024, 256 and 1 vectors of one core each: no layer can be helped further."""
    model = seeded(
        None,
        nn.Conv2d(1, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(1024, 3),
    )
    chip = isaac.with_changes(structure={"tiles": 2})
    placement = place(trace(model, torch.rand(1, 1, 32, 32)), chip)
    copies = {name: len(group) for name, group in placement.copies.items()}
    assert copies["4"] == 1
    assert placement.cores_used == 24
    slowest = max(1024 / copies["0"], 256 / copies["2"], 1)
    assert all(max(1024 / a, 256 / (22 - 1 - a), 1) >= slowest for a in range(1, 21))


def test_never_more_copies_than_vectors(isaac: Chip) -> None:
    model, example = small_convolutional()
    placement = place(trace(model, example), isaac)
    assert {name: len(group) for name, group in placement.copies.items()} == {"0": 64, "3": 16, "7": 1}


def test_asked_copies(isaac: Chip) -> None:
    model, example = small_convolutional()
    network = trace(model, example)
    assert [len(c) for c in place(network, isaac, {"3": 5}).copies.values()] == [1, 5, 1]
    assert [len(c) for c in place(network, isaac, None).copies.values()] == [1, 1, 1]
    with pytest.raises(ParameterError, match="no layer 'x'; layers: 0, 3, 7"):
        place(network, isaac, {"x": 2})
    with pytest.raises(ParameterError, match="at least 1, got 0"):
        place(network, isaac, {"3": 0})


def test_a_chip_too_small_says_by_how_many_crossbars(edge: Chip) -> None:
    """1000 x 1000 on 128 x 64-output blocks: 8 x 16 = 128 crossbars fit; a 65th output column tile does not."""
    fits = seeded(None, nn.Linear(1000, 1000))
    assert place(trace(fits, torch.rand(1, 1000)), edge).crossbars_used == 128
    too_large = seeded(None, nn.Linear(1000, 1100), nn.ReLU(), nn.Linear(1100, 10))
    with pytest.raises(CapacityError, match="too small by 28 crossbars") as caught:
        place(trace(too_large, torch.rand(1, 1000)), edge)
    needed = 8 * 18 + 12  # 9 row tiles of the second layer take 3 whole cores of 4
    assert (caught.value.needed, caught.value.available, caught.value.missing) == (needed, 128, needed - 128)
    two_copies = trace(seeded(None, nn.Linear(1000, 600)), torch.rand(1, 1000))
    with pytest.raises(CapacityError, match="too small by 32 crossbars"):
        place(two_copies, edge, {"0": 2})


def test_copies_come_in_strips(edge: Chip) -> None:
    """By hand: of strips the copies whose middle lies in them, layer after layer; every crossbar once, in that order."""
    assert order({"a": 4, "b": 1, "c": 2}, 1) == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("c", 0), ("c", 1)]
    assert order({"a": 4, "b": 1, "c": 2}, 2) == [("a", 0), ("a", 1), ("c", 0), ("a", 2), ("a", 3), ("b", 0), ("c", 1)]
    network = trace(*residual())
    asked = {layer.name: 2 for layer in network.layers}
    for sharing in ("none", "cores"):
        apart, side = (place(network, edge, asked, sharing, strips) for strips in (1, 2))  # type: ignore[arg-type]
        copies = sorted((copy for group in side.copies.values() for copy in group), key=lambda copy: copy.rank)
        assert [(copy.layer, copy.index) for copy in copies] == order(asked, 2)
        assert [copy.slots[0] for copy in copies] == sorted({slot for copy in copies for slot in copy.slots[:1]})
        assert side.crossbars_used == apart.crossbars_used == sum(copy.crossbars for copy in copies)


def test_strips_that_cannot_be_are_refused(edge: Chip) -> None:
    network = trace(*residual())
    for strips in (0, 1.5, True):
        with pytest.raises(ParameterError, match="strips must be a whole number of at least 1"):
            place(network, edge, strips=strips)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="strips = 2: with sharing = crossbars copies lie wherever there is room"):
        place(network, edge.with_changes(wires={"topology": "ideal"}) if not edge.wires.ideal else edge, None, "crossbars", 2)


class TestDeals:
    @given(st.integers(1, 90), st.integers(1, 12), st.integers(1, 14), st.booleans())
    def test_every_vector_once_in_equal_blocks(self, copies: int, height: int, width: int, in_turn: bool) -> None:
        vectors = height * width
        deal = Deal(vectors, copies, height, in_turn)
        samples = deal.phases if deal.phases < 40 else 40
        turns = [turn for copy in range(copies) for turn in deal.turns(copy, samples)]
        assert sorted(turns) == [(sample, vector) for sample in range(samples) for vector in range(vectors)]
        for sample in range(samples):
            counts = np.bincount(deal.copy_of(sample), minlength=copies)
            assert counts.max() - counts.min() <= 1
        assert sum(deal.share(copy) for copy in range(copies)) == pytest.approx(vectors)
        more = deal.next_that_helps()
        if more > copies:
            assert Deal(vectors, more).longest < deal.longest <= Deal(vectors, more - 1).longest

    def test_stripes_by_hand(self) -> None:
        """Four copies of a 3 x 8 picture: two columns each; six copies of 4 x 3: every other row of a column."""
        assert Deal(24, 4, 3).copy_of(0).reshape(3, 8).tolist() == 3 * [[0, 0, 1, 1, 2, 2, 3, 3]]
        assert Deal(12, 6, 4).copy_of(0).reshape(4, 3).tolist() == 2 * [[0, 2, 4], [1, 3, 5]]
        assert Deal(6, 3, 6, in_turn=True).copy_of(0).tolist() == [0, 1, 2, 0, 1, 2]
        assert Deal(1, 3).copy_of(5).tolist() == [2]

    def test_a_stripe_reads_its_columns_and_their_neighbours(self, isaac: Chip) -> None:
        """16 x 16 picture, 3 x 3 kernel, one column a copy: a value goes to 3 copies at most, in turn it would go to 9."""
        network = trace(seeded(None, nn.Conv2d(1, 4, 3, padding=1)), torch.rand(1, 1, 16, 16))
        (convolution,) = network.layers
        for in_turn, most in ((False, 3), (True, 9)):
            reached = copies_reached(convolution, Deal(256, 13 if in_turn else 16, 16, in_turn).copy_of(0))
            assert max(len(copies) for copies in reached) == most


def test_balance_knows_shared_converters(edge: Chip) -> None:
    """Two layers of alike many vectors and slices: the one whose 4 crossbars share an ADC takes 4 times as long, and gets more copies."""
    chip = edge.with_changes(component={"adc": {"rate": 0.3e9}})
    model = seeded(None, nn.Conv2d(1, 12, 1), nn.ReLU(), nn.Conv2d(12, 64, 1), nn.ReLU(), nn.Conv2d(64, 150, 1))
    network = trace(model, torch.rand(1, 1, 8, 8))
    few, middle, many = (vector_time(chip, layer) for layer in network.layers)
    assert few < middle < many
    copies = [len(found) for found in place(network, chip).copies.values()]
    assert copies[0] < copies[1] < copies[2]
    took = [ceil(64 / count) * time for count, time in zip(copies, (few, middle, many), strict=True)]
    ledger = simulate(place(network, chip), Arrivals.batch(30), off_chip_io=False)
    assert 1 / ledger.steady_throughput == pytest.approx(max(took) * 1e-15, rel=0.03)


@pytest.mark.parametrize("inputs", [128, 300])
def test_balance_knows_a_layers_own_bits(inputs: int) -> None:
    """Narrow buffers bound a vector by the bits of its inputs, on the layer's own chip as on one where all layers are alike."""
    narrow = {"timing.buffer_width": "16", "timing.bus_width": "16"}
    network = trace(seeded(None, nn.Linear(inputs, 32)), torch.zeros(1, inputs))
    (layer,) = network.layers
    own, alike, wide = (
        vector_time(load_chip("generic", narrow | changes), layer)
        for changes in ({f'layer."{layer.name}".inputs.bits': "2"}, {"inputs.bits": "2"}, {})
    )
    assert own == alike < wide


@pytest.mark.parametrize("scheme", ["differential", "separate"])
def test_balance_counts_a_pairs_results_once(scheme: str) -> None:
    """Two row tiles' results are summed by one slow unit; of pairs on two crossbars only the first has conversions."""
    chip = load_chip("generic").with_changes(
        structure={"cores_per_tile": 1}, weights={"scheme": scheme}, component={"accumulator": {"units": 1, "rate": 1e7}}
    )
    network = trace(seeded(None, nn.Linear(200, 8)), torch.zeros(1, 200))
    placement = place(network, chip, None)
    (copy,) = placement.copies[network.layers[0].name]
    (hold,) = VectorOperations(placement, False).of(copy).output_ports.values()
    assert vector_time(chip, network.layers[0]) == hold >= 16 * 10**8

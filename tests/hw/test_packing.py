"""Crossbars that layers share: blocks lie apart, no packing goes below the bound, and reads take turns."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.hw.networks import recommender, residual, seeded, small_convolutional
from xbar.hw import Arrivals, CapacityError, Chip, ParameterError, Update, place, simulate, trace
from xbar.hw.chip.packing import Block, Spot, least, pack, used
from xbar.hw.events.vector_operation import VectorOperations

HIGH, WIDE = 12, 10


def lie_apart(blocks: list[Block], spots: list[Spot], high: int, wide: int) -> None:
    """Every block within its crossbar, no cell twice, no two blocks of one owner on a crossbar."""
    cells: dict[int, np.ndarray] = defaultdict(lambda: np.zeros((high, wide), int))
    owners: dict[int, list[int]] = defaultdict(list)
    for block, spot in zip(blocks, spots, strict=True):
        assert 0 <= spot.row <= high - block.rows
        assert 0 <= spot.column <= wide - block.columns
        cells[spot.crossbar][spot.row : spot.row + block.rows, spot.column : spot.column + block.columns] += 1
        owners[spot.crossbar].append(block.owner)
    assert all(each.max() == 1 for each in cells.values())
    assert all(len(set(each)) == len(each) for each in owners.values())


blocks_drawn = st.lists(st.builds(Block, st.integers(0, 3), st.integers(1, HIGH), st.integers(1, WIDE)), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(blocks_drawn)
def test_blocks_lie_apart_and_no_packing_is_below_the_bound(blocks: list[Block]) -> None:
    spots = pack(blocks, HIGH, WIDE)
    lie_apart(blocks, spots, HIGH, WIDE)
    assert least(blocks, HIGH, WIDE) <= used(spots) <= len(blocks)


def fits_one(blocks: tuple[Block, ...], high: int, wide: int) -> bool:
    """Whether blocks of different owners fit one crossbar, by all places."""
    if len({block.owner for block in blocks}) < len(blocks) or sum(b.rows * b.columns for b in blocks) > high * wide:
        return False
    places = [itertools.product(range(high - b.rows + 1), range(wide - b.columns + 1)) for b in blocks]
    for found in itertools.product(*places):
        cells = np.zeros((high, wide), int)
        for block, (row, column) in zip(blocks, found, strict=True):
            cells[row : row + block.rows, column : column + block.columns] += 1
        if cells.max() == 1:
            return True
    return False


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Block, st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5))
def test_the_bound_is_below_the_best_of_all_packings(blocks: list[Block]) -> None:
    """All ways to put five blocks on crossbars of 3 x 3."""

    def fewest(left: tuple[Block, ...]) -> int:
        if not left:
            return 0
        first, rest = left[0], left[1:]
        best = len(left)
        for count in range(len(rest) + 1):
            for chosen in itertools.combinations(range(len(rest)), count):
                if fits_one((first, *(rest[k] for k in chosen)), 3, 3):
                    best = min(best, 1 + fewest(tuple(each for k, each in enumerate(rest) if k not in chosen)))
        return best

    assert least(blocks, 3, 3) <= fewest(tuple(blocks)) <= used(pack(blocks, 3, 3))


def test_bounds_by_hand() -> None:
    """Cells; owners; large ones with room beside them that nothing fits, and the cells of what has to lie elsewhere."""
    assert least([Block(k, 5, 5) for k in range(4)], 10, 10) == 1 == used(pack([Block(k, 5, 5) for k in range(4)], 10, 10))
    assert least([Block(0, 1, 1)] * 7, 10, 10) == 7 == used(pack([Block(0, 1, 1)] * 7, 10, 10))
    large, small = [Block(k, 8, 8) for k in range(3)], [Block(k, 3, 3) for k in range(3, 14)]
    assert least([*large, *small], 10, 10) == 3 + 1
    assert used(pack([*large, *small], 10, 10)) == 3 + 2  # nine of them on a crossbar
    assert least([*large, *[Block(3, 3, 3)] * 5], 10, 10) == 3 + 5


def shared(chip: Chip, network: object = small_convolutional, copies: object = None):  # type: ignore[no-untyped-def]
    return place(trace(*network()), chip, copies, "crossbars")  # type: ignore[operator,arg-type]


@pytest.mark.parametrize("network", [small_convolutional, residual, recommender])
@pytest.mark.parametrize("scheme", [{}, {"scheme": "separate", "subtraction": "analog"}])
def test_layers_lie_on_fewer_crossbars(edge: Chip, network, scheme: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    """No cell twice, pairs on crossbars of one core at the same place; fewer crossbars than without, no fewer than the bound."""
    chip = edge.with_changes(weights=scheme) if scheme else edge
    traced = trace(*network())
    placement, alone = place(traced, chip, None, "crossbars"), place(traced, chip, None, "cores")
    cells: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros((128, 128), int))
    for copies in placement.copies.values():
        for copy in copies:
            crossbars = placement.crossbars_of(copy)
            assert len({(x.core, x.slot) for x in crossbars}) == len(crossbars) == placement.geometry(copy.layer).crossbars
            for x in crossbars:
                block = cells[x.core, x.slot][x.first_row : x.first_row + x.rows, x.first_bitline : x.first_bitline + x.bitlines]
                assert block.shape == (x.rows, x.bitlines)
                block += 1
            if scheme:
                for plus, minus in zip(crossbars[::2], crossbars[1::2], strict=True):
                    assert (plus.core, plus.slot + 1, plus.first_row, plus.first_bitline) == (
                        minus.core, minus.slot, minus.first_row, minus.first_bitline)  # fmt: skip
    assert all(each.max() == 1 for each in cells.values())
    assert len(cells) == placement.crossbars_used < alone.crossbars_used
    assert placement.crossbars_for_weights <= placement.crossbars_at_least <= placement.crossbars_used
    held = sum(each.sum() for each in cells.values())
    assert placement.cells_share(*placement.copies) == pytest.approx(held / (len(cells) * 128**2))
    assert f"at least {placement.crossbars_at_least} for blocks" in repr(placement)


def test_cells_beside_a_block_draw_current(edge: Chip) -> None:
    """Two layers of 20 inputs: what of the second lies on wordlines of the first takes part in its reads, by hand."""
    network = trace(seeded(None, nn.Linear(20, 10, bias=False), nn.Linear(10, 12, bias=False)), torch.rand(1, 20))
    placement = place(network, edge, None, "crossbars")
    one, other = (placement.crossbars_of(copies[0])[0] for copies in placement.copies.values())
    assert (one.core, one.slot) == (other.core, other.slot)
    operations = VectorOperations(placement, True)
    alone = VectorOperations(place(network, edge, None, "cores"), True)
    for name, x, beside in (("0", one, other), ("1", other, one)):
        rows = max(0, min(x.first_row + x.rows, beside.first_row + beside.rows) - max(x.first_row, beside.first_row))
        assert x.beside == rows * beside.bitlines
        (copy,) = placement.copies[name]
        more = operations.of(copy).shares["crossbar"] - alone.of(alone.placement.copies[name][0]).shares["crossbar"]
        passes = 2 if network.layer(name).signed_input else 1  # a wordline is driven in one of them
        assert more == pytest.approx(rows * beside.bitlines / 128**2 / passes, rel=1e-12)  # g_min is 0
    assert one.beside + other.beside > 0


@pytest.mark.parametrize("network", [small_convolutional, residual, recommender])
def test_reads_of_a_shared_crossbar_take_turns(isaac: Chip, network) -> None:  # type: ignore[no-untyped-def]
    """Computing of copies that share a crossbar never overlaps, in lock-step as crossbar by crossbar, to the femtosecond."""
    placement = shared(isaac, network, {name: 2 for name in ("0", "3") if network is small_convolutional})
    one, other = (simulate(placement, Arrivals.batch(3), resolution=resolution) for resolution in ("group", "crossbar"))
    assert np.array_equal(one.finish_fs, other.finish_fs)
    assert one.total_energy == pytest.approx(other.total_energy, rel=1e-12)
    timeline = one.timeline[one.timeline["stage"] == "compute"]
    copies = [copy for each in placement.copies.values() for copy in each]
    pairs = [(a, b) for a, b in itertools.combinations(copies, 2) if {*a.slots} & {*b.slots}]
    assert pairs
    for a, b in pairs:
        if any(placement.network.layer(copy.layer).lookup for copy in (a, b)):
            continue  # which row tiles a look-up reads, the timeline does not tell
        both = timeline[[(row.layer, row.copy) in {(a.layer, a.index), (b.layer, b.index)} for row in timeline.itertuples()]]
        of_b = [(row.layer, row.copy) == (b.layer, b.index) for row in both.itertuples()]
        order = both.assign(of_b=of_b).sort_values("start_s")
        changes = order["of_b"].to_numpy()[1:] != order["of_b"].to_numpy()[:-1]
        assert (order["start_s"].to_numpy()[1:] >= order["end_s"].to_numpy()[:-1] - 1e-18)[changes].all()
    assert (one.units()["utilisation"] <= 1).all()
    assert any(name.startswith("shared ADC") for name in one.units().index)


def test_what_cannot_be_shared_is_refused(edge: Chip) -> None:
    with pytest.raises(ParameterError, match="needs ideal wires"):
        shared(edge.with_changes(wires={"wordline": 1.0}))
    writes = edge.with_changes(device={"write_energy": 1e-12, "write_time": 1e-7})
    with pytest.raises(ParameterError, match="writing crossbars that layers share is not modelled"):
        simulate(shared(writes), Arrivals.batch(1), updates=[Update("0", 0.0)])
    tiny = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1})
    wide = trace(seeded(None, nn.Linear(100, 200)), torch.rand(1, 100))
    with pytest.raises(CapacityError, match=r"too small by 3 crossbars: the network needs 4 \(where layers share crossbars\)"):
        place(wide, tiny, sharing="crossbars")
    assert shared(tiny.with_changes(structure={"crossbars_per_core": 2}), copies=None).crossbars_used == 1

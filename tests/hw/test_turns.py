"""Networks larger than the chip, in turns: by hand, against closed forms, and against every other way to cut them."""

from dataclasses import replace
from math import ceil, inf, isnan

import numpy as np
import pytest
import torch
from torch import nn

from tests.hw.hand_built import flow, layer, network
from tests.hw.networks import seeded, small_convolutional
from xbar.hw import Arrivals, Chip, Network, ParameterError, place, simulate, trace
from xbar.hw.chip.chips import place_chips
from xbar.hw.cost.dram import dram
from xbar.hw.events.ledger import WRITE
from xbar.hw.events.turns import Memory, schedule, serve_in_turns
from xbar.hw.events.updates import SECONDS_PER_YEAR, programming_cost

PULSE = {"write_energy": 2e-12, "write_time": 100e-9, "endurance": 1e6}
LINK = 6.4e9  # bit/s of edge's one link


def of(chip: Chip, crossbars: int) -> Chip:
    """The chip with that many crossbars, in one core."""
    return chip.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": crossbars}, device=PULSE)


@pytest.fixture(scope="module")
def convolutional() -> Network:
    return trace(*small_convolutional())


def test_a_network_that_fits_stays_on_the_chip(edge: Chip, convolutional: Network) -> None:
    chip = of(edge, 16)
    found = serve_in_turns(place_chips(convolutional, chip), 3)
    alone = simulate(place(convolutional, chip), Arrivals.batch(3))
    (ledger,) = found.ledgers
    assert ledger.span_fs == alone.span_fs
    assert ledger.energy.equals(alone.energy)
    assert found.energy == pytest.approx(alone.energy_per_request, rel=1e-12)
    assert (found.write_time, found.write_energy, found.memory_energy, found.years_to_wear_out) == (0.0, 0.0, 0.0, inf)


def test_what_is_kept_is_as_wide_as_what_leaves(edge: Chip, convolutional: Network) -> None:
    """By the bits of the layers that make it, where these have bits of their own."""
    chip = of(edge, 1).with_changes(layer={"0": {"inputs": {"bits": 4}}, "3": {"inputs": {"bits": 6}}})
    found = serve_in_turns(place_chips(convolutional, chip), 2)
    assert found.kept_bits == (4 * 8 * 16, 6 * 16 * 4, 0.0)
    assert [float(each.actions.loc["(output)", "link"]) / 2 for each in found.ledgers[:2]] == list(found.kept_bits[:2])


def test_three_layers_on_one_crossbar_by_hand(edge: Chip, convolutional: Network) -> None:
    turns = place_chips(convolutional, of(edge, 1))
    assert [list(each.copies) for each in turns.chips] == [["0"], ["3"], ["7"]]
    found = serve_in_turns(turns, 4, pulses_per_cell=5.0, cells_at_once=2)
    # weights of 5 bits over a link of 6.4 Gbit/s after 100 ns; a pair of cells a weight, along the bitline, two bitlines at a time
    for weights, rows, columns, ledger in zip((72, 1152, 640), (9, 72, 64), (8, 16, 10), found.ledgers, strict=True):
        stream = 100e-9 + weights * 5 / LINK
        until = stream + 2 * rows * ceil(columns / 2) * 5 * 100e-9
        assert ledger.updates_table()["end_s"].to_list() == pytest.approx([until], rel=1e-9)
        assert ledger.energy[WRITE].sum() == pytest.approx(2 * rows * columns * 5 * 2e-12)
        assert ledger.finish_fs.min() * 1e-15 > until
    assert found.weight_bits == pytest.approx((360, 5760, 3200))
    assert found.kept_bits == (8 * 8 * 16, 8 * 16 * 4, 0.0)  # what two poolings leave of 8 x 64 and 16 x 16
    bits = sum(found.weight_bits)
    carried = 2 * 4 * (128 + 64) * 8  # written and read, of four requests, 8 bits a value
    assert found.memory_energy == pytest.approx((bits + carried) * dram(kind="HBM2").energy / 4)
    # links: an image of 64 values in, 10 scores out, what is carried, weights; at the link's energy a bit, and none when it sleeps
    assert found.link_energy == pytest.approx((bits / 4 + 64 * 8 + 2 * (128 + 64) * 8 + 10 * 8) * 50.78125e-12)
    assert found.period == sum(each.span for each in found.ledgers)
    assert found.years_to_wear_out == pytest.approx(1e6 / (3 * 5) * found.period / SECONDS_PER_YEAR)
    cells = 2 * (9 * 8 + 72 * 16 + 64 * 10)
    assert found.years_levelled == pytest.approx(1e6 / (cells * 5 / (128 * 128)) * found.period / SECONDS_PER_YEAR)


def test_writes_take_what_programming_takes(edge: Chip, convolutional: Network) -> None:
    turns = place_chips(convolutional, of(edge, 2), replication=None)
    for placement, ledger in zip(turns.chips, serve_in_turns(turns, 1, pulses_per_cell=3.0).ledgers, strict=True):
        closed, written = programming_cost(placement, 3.0), ledger.updates_table().set_index("layer")
        assert written["energy_J"].to_dict() == pytest.approx(closed["energy_J"].to_dict())
        assert (written["end_s"] - written["start_s"]).to_dict() == pytest.approx(closed["time_s"].to_dict(), rel=1e-6)
        assert written["start_s"].to_dict() == pytest.approx(written["begins_s"].to_dict(), abs=1e-15)


def test_a_larger_batch_shares_writes_and_keeps_more(edge: Chip, convolutional: Network) -> None:
    table = schedule(place_chips(convolutional, of(edge, 1)), [1, 4, 16])
    for name in ("energy_J", "write_J", "memory_J"):
        assert table[name].is_monotonic_decreasing
    for name in ("latency_s", "throughput", "period_s", "kept_bits", "years_to_wear_out"):
        assert table[name].is_monotonic_increasing
    assert (table["write_J"] * table.index).to_list() == pytest.approx([table["write_J"].iloc[0]] * 3)


def test_a_layer_larger_than_the_chip_comes_in_pieces(edge: Chip) -> None:
    whole = trace(seeded(None, nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)), torch.rand(2, 300))
    chip = of(edge, 4)
    turns = place_chips(whole, chip)
    assert [list(each.copies) for each in turns.chips] == [["0[0]"], ["0[1]", "2"]]
    found = serve_in_turns(turns, 2)
    assert found.kept_bits == (50 * 8 + 300 * 8.0, 0.0)  # results of the first piece, and the input, which the second reads too
    moved = sum(found.weight_bits) / 2 + 2 * (50 + 300) * 8  # of one request: weights read, values written and read
    assert found.memory_energy == pytest.approx(moved * dram(kind="HBM2").energy)
    alone = simulate(place(whole, edge), Arrivals.batch(2)).actions
    parts = [each.actions for each in found.ledgers]
    assert sum(each["adc"].sum() for each in parts) == alone["adc"].sum()
    assert sum(each["activation"].sum() for each in parts) == pytest.approx(alone["activation"].sum())


def test_results_of_an_early_turn_leave_and_biases_on_crossbars_come_with_the_weights(edge: Chip) -> None:
    """Of 40 values that `a` makes, of 8 bits, 30 go on and 40 leave for outside; `b` reads 25 of the input's own. A number of 5 bits for
    each of 20 outputs of `a`, which has a bias."""
    once = np.arange(1, 3)
    layers = [replace(layer("a", 20, 20, 2), bias=True), layer("b", 20, 50, 2, {"a": once})]
    flows = [flow("", "a", 40, 0 * once), flow("a", "b", 30, once), flow("", "b", 25, 0 * once)]
    whole = network(layers, flows, 65, 80, outputs={"a": 40.0, "b": 40.0})
    found = {}
    for rows in (0, 2):
        turns = place_chips(whole, of(edge, 1).with_changes(weights={"bias_rows": rows}))
        assert [list(each.copies) for each in turns.chips] == [["a"], ["b"]]
        found[rows] = serve_in_turns(turns, 4)
    assert [each.weight_bits for each in found.values()] == [(400 * 5, 1000 * 5), (420 * 5, 1000 * 5)]
    kept = (30 + 25) * 8
    assert (found[0].kept_bits, found[0].written_bits) == ((kept, 0), (kept, 0))
    assert found[0].memory_energy == pytest.approx((1400 * 5 / 4 + 2 * kept) * dram(kind="HBM2").energy)
    assert found[0].ledgers[0].actions.loc["(output)", "link"] == 4 * (30 + 40) * 8


def test_what_cannot_be_done_in_turns_is_refused(edge: Chip, convolutional: Network) -> None:
    turns = place_chips(convolutional, of(edge, 1))
    with pytest.raises(ParameterError, match="a batch must be a whole number of 1 request or more, got 0"):
        serve_in_turns(turns, 0)
    with pytest.raises(ParameterError, match=r"bandwidth must be that of the chip's links, 6.4e\+09 bit/s, or more, got 1e\+09"):
        serve_in_turns(turns, 1, memory=Memory(bandwidth=1e9))
    with pytest.raises(ParameterError, match="DDR9"):
        Memory("DDR9")
    silent = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1})
    with pytest.raises(ParameterError, match=r"device\.write_energy is needed"):
        serve_in_turns(place_chips(convolutional, silent), 1)


def test_lifetime_is_unknown_without_endurance(edge: Chip, convolutional: Network) -> None:
    chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1}, device=PULSE | {"endurance": None})
    found = serve_in_turns(place_chips(convolutional, chip), 1)
    assert isnan(found.years_to_wear_out)
    assert "in 3 turns on Edge" in repr(found)
    assert "after unknown" in repr(found)
    assert "until_written_s" in found._repr_html_()

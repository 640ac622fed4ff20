"""Networks larger than the chip, in turns: by hand, against closed forms, and against every other way to cut them."""

from itertools import chain, combinations, pairwise
from math import ceil, inf, isnan

import numpy as np
import pytest
import torch
from torch import nn

from tests.hw.hand_built import layer, network
from tests.hw.networks import residual, seeded, small_convolutional
from xbar.hw import Arrivals, CapacityError, Chip, Network, ParameterError, place, simulate, trace
from xbar.hw.chip.turns import crossbars_of, fit_layers, take_turns
from xbar.hw.cost.dram import dram
from xbar.hw.events.ledger import WRITE
from xbar.hw.events.turns import Memory, schedule, serve_in_turns
from xbar.hw.events.updates import SECONDS_PER_YEAR, programming_cost
from xbar.hw.graph.network import Flow
from xbar.hw.graph.part import crossing, cuts, part, split

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
    found = serve_in_turns(take_turns(convolutional, chip), 3)
    alone = simulate(place(convolutional, chip), Arrivals.batch(3))
    (ledger,) = found.ledgers
    assert ledger.span_fs == alone.span_fs
    assert ledger.energy.equals(alone.energy)
    assert found.energy == pytest.approx(alone.energy_per_request, rel=1e-12)
    assert (found.write_time, found.write_energy, found.memory_energy, found.years_to_wear_out) == (0.0, 0.0, 0.0, inf)


def test_three_layers_on_one_crossbar_by_hand(edge: Chip, convolutional: Network) -> None:
    turns = take_turns(convolutional, of(edge, 1))
    assert [list(each.copies) for each in turns.placements] == [["0"], ["3"], ["7"]]
    assert turns.kept == (8 * 16, 16 * 4, 0.0)  # what two poolings leave of 8 x 64 and 16 x 16
    found = serve_in_turns(turns, 4, pulses_per_cell=5.0, cells_at_once=2)
    # weights of 5 bits over a link of 6.4 Gbit/s after 100 ns; a pair of cells a weight, along the bitline, two bitlines at a time
    for weights, rows, columns, ledger in zip((72, 1152, 640), (9, 72, 64), (8, 16, 10), found.ledgers, strict=True):
        stream = 100e-9 + weights * 5 / LINK
        until = stream + 2 * rows * ceil(columns / 2) * 5 * 100e-9
        assert ledger.updates_table()["end_s"].to_list() == pytest.approx([until], rel=1e-9)
        assert ledger.energy[WRITE].sum() == pytest.approx(2 * rows * columns * 5 * 2e-12)
        assert ledger.finish_fs.min() * 1e-15 > until
    assert found.weight_bits == pytest.approx((360, 5760, 3200))
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
    turns = take_turns(convolutional, of(edge, 2), None)
    for placement, ledger in zip(turns.placements, serve_in_turns(turns, 1, pulses_per_cell=3.0).ledgers, strict=True):
        closed, written = programming_cost(placement, 3.0), ledger.updates_table().set_index("layer")
        assert written["energy_J"].to_dict() == pytest.approx(closed["energy_J"].to_dict())
        assert (written["end_s"] - written["start_s"]).to_dict() == pytest.approx(closed["time_s"].to_dict(), rel=1e-6)
        assert written["start_s"].to_dict() == pytest.approx(written["begins_s"].to_dict(), abs=1e-15)


def test_a_larger_batch_shares_writes_and_keeps_more(edge: Chip, convolutional: Network) -> None:
    table = schedule(take_turns(convolutional, of(edge, 1)), [1, 4, 16])
    for name in ("energy_J", "write_J", "memory_J"):
        assert table[name].is_monotonic_decreasing
    for name in ("latency_s", "throughput", "period_s", "kept_bits", "years_to_wear_out"):
        assert table[name].is_monotonic_increasing
    assert (table["write_J"] * table.index).to_list() == pytest.approx([table["write_J"].iloc[0]] * 3)


@pytest.mark.parametrize("crossbars", [1, 2, 3])
def test_turns_are_the_fewest_that_carry_least(edge: Chip, crossbars: int) -> None:
    whole, chip = trace(*residual()), of(edge, crossbars)
    names = [each.name for each in whole.layers]
    sizes = [crossbars_of(chip, each) for each in whole.layers]

    def worth(at: tuple[int, ...]) -> tuple[int, float]:
        ends = [0, *at, len(names)]
        if any(sum(sizes[a:b]) > crossbars for a, b in pairwise(ends)):
            return (99, inf)
        return len(at) + 1, sum(crossing(whole, set(names[:end])) for end in at)

    every = chain.from_iterable(combinations(cuts(whole), count) for count in range(len(names)))
    found = take_turns(whole, chip)
    at = tuple(np.cumsum([len(each.copies) for each in found.placements])[:-1].tolist())
    assert worth(at) == min(map(worth, every))
    assert found.kept[:-1] == tuple(crossing(whole, set(names[:end])) for end in at)


def test_a_layer_larger_than_the_chip_comes_in_pieces(edge: Chip) -> None:
    whole = trace(seeded(None, nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)), torch.rand(2, 300))
    chip = of(edge, 4)
    assert crossbars_of(chip, whole.layers[0]) == 6
    turns = take_turns(whole, chip)
    assert [list(each.copies) for each in turns.placements] == [["0[0:50]"], ["0[50:100]", "2"]]
    assert turns.kept == (50.0, 0.0)
    found = serve_in_turns(turns, 2)
    alone = simulate(place(whole, edge), Arrivals.batch(2)).actions
    parts = [each.actions for each in found.ledgers]
    assert sum(each["adc"].sum() for each in parts) == alone["adc"].sum()
    assert sum(each["activation"].sum() for each in parts) == pytest.approx(alone["activation"].sum())


def test_split_layers_do_what_the_whole_does() -> None:
    whole = trace(*small_convolutional())
    assert split(whole, "3", [16]).layer("3[0:16]").outputs == 16
    found = split(whole, "3", [5, 11])
    assert [each.name for each in found.layers] == ["0", "3[0:5]", "3[5:16]", "7"]
    assert found.operations == whole.operations
    assert found.digital_operations == whole.digital_operations
    assert {each.target for each in found.flows if each.source == "0"} == {"3[0:5]", "3[5:16]"}
    into = {each.source: each.values for each in found.flows if each.target == "7"}
    assert into == pytest.approx({"3[0:5]": 20.0, "3[5:16]": 44.0})
    assert set(found.layer("7").needs) == {"3[0:5]", "3[5:16]"}
    assert found.consumers["0"] == ("3[0:5]", "3[5:16]")
    assert part(found, ["0", "3[0:5]"]).output_values == 20 + 128
    last = split(whole, "7", [4, 6])
    assert dict(last.outputs) == pytest.approx({"7[0:4]": 4.0, "7[4:10]": 6.0})
    with pytest.raises(ParameterError, match=r"split of 3: pieces must make up its 16 outputs, got \[5, 5\]"):
        split(whole, "3", [5, 5])
    with pytest.raises(ParameterError, match="no layer '9'"):
        split(whole, "9", [1])


def test_groups_are_split_with_the_inputs_that_they_read() -> None:
    model = seeded(None, nn.Conv2d(1, 8, 1), nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Conv2d(16, 2, 1))
    whole = trace(model, torch.rand(2, 1, 4, 4))
    found = split(whole, "1", [2, 6])
    assert [found.layer(name).groups for name in ("1[0:2]", "1[2:8]")] == [2, 6]
    assert found.operations == whole.operations
    assert {each.target: each.values for each in found.flows if each.source == "0"} == pytest.approx({"1[0:2]": 32.0, "1[2:8]": 96.0})
    assert {each.source: each.values for each in found.flows if each.target == "2"} == pytest.approx({"1[0:2]": 64.0, "1[2:8]": 192.0})


def test_what_cannot_be_done_in_turns_is_refused(edge: Chip, convolutional: Network) -> None:
    long = trace(seeded(None, nn.Linear(300, 4)), torch.rand(2, 300))
    with pytest.raises(CapacityError, match="too small by 2 crossbars for one of the outputs of 0, which needs 3; the chip has 1"):
        take_turns(long, of(edge, 1))
    once = np.arange(1, 5)
    mutual = [layer("a", 4, 4, 4, {"b": once - 1}), layer("b", 4, 4, 4, {"a": once})]
    flows = [Flow(source, target, 16.0, False, np.zeros(4, np.int64)) for source, target in (("", "a"), ("a", "b"), ("b", "a"))]
    with pytest.raises(CapacityError, match=r"layers that wait for each other and must be on it together: .* need \d+, the chip has 1"):
        take_turns(network(mutual, flows, 16, 16, outputs={"b": 16.0}), of(edge, 1))
    turns = take_turns(convolutional, of(edge, 1))
    with pytest.raises(ParameterError, match="a batch must be 1 request or more, got 0"):
        serve_in_turns(turns, 0)
    with pytest.raises(ParameterError, match=r"bandwidth must be that of the chip's links, 6.4e\+09 bit/s, or more, got 1e\+09"):
        serve_in_turns(turns, 1, memory=Memory(bandwidth=1e9))
    with pytest.raises(ParameterError, match="DDR9"):
        Memory("DDR9")
    silent = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1})
    with pytest.raises(ParameterError, match=r"device\.write_energy is needed"):
        serve_in_turns(take_turns(convolutional, silent), 1)
    with pytest.raises(ParameterError, match=r"settings of single layers \(0\): not modelled in turns"):
        take_turns(convolutional, edge.with_changes(layer={"0": {"inputs": {"bits": 4}}}))


def test_lifetime_is_unknown_without_endurance(edge: Chip, convolutional: Network) -> None:
    chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 1, "crossbars_per_core": 1}, device=PULSE | {"endurance": None})
    found = serve_in_turns(take_turns(convolutional, chip), 1)
    assert isnan(found.years_to_wear_out)
    assert "in 3 turns on Edge" in repr(found)
    assert "unknown years" in repr(found)
    assert "until_written_s" in found._repr_html_()
    assert fit_layers(convolutional, chip) is convolutional

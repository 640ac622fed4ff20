"""Arrays that are read a part of their wordlines at a time: what they compute, when, and what that takes."""

import pytest
import torch

from tests.hw.networks import histories, residual, seeded, small_convolutional
from xbar.hw import Arrivals, Chip, ConfigurationError, convert, load_chip, place, simulate, trace
from xbar.hw.analog.operate import analog_layers
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.ready import vectors_at_once


def wide():  # type: ignore[no-untyped-def]
    """A linear layer on two row tiles, the second not full."""
    return seeded(None, torch.nn.Linear(200, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3)), torch.rand(
        3, 200, generator=torch.Generator().manual_seed(1)
    )


def by(rows: int, preset: str = "generic", **changes: object) -> Chip:
    return load_chip(preset).with_changes(component={"crossbar": {"rows_at_once": rows}}, **changes)


@pytest.mark.parametrize("preset", ["generic", "edge"])
def test_sums_are_those_of_arrays_of_so_many_wordlines(preset: str) -> None:
    model, example = wide()
    parts = convert(model, by(32, preset), example, seed=0)(example)
    small = convert(model, load_chip(preset).with_changes(structure={"wordlines": 32}), example, seed=0)(example)
    whole = convert(model, load_chip(preset), example, seed=0)(example)
    if preset == "generic":  # its cells are exact; those of edge draw other errors where arrays are cut otherwise
        assert torch.equal(parts, small)
    assert not torch.equal(parts, whole)


@pytest.mark.parametrize("network", [wide, small_convolutional, residual, histories])
@pytest.mark.parametrize("preset", ["generic", "edge", "isaac"])
def test_the_model_and_the_events_count_the_same(preset: str, network) -> None:  # type: ignore[no-untyped-def]
    model, example = network()
    chip = by(16, preset)
    actions = simulate(place(trace(model, example), chip), Arrivals.batch(1)).actions
    converted = convert(model, chip, example, seed=0)
    for layer in analog_layers(converted).values():
        layer.matrix.counts = ActionCounts()
    converted(example[:1])
    for name, layer in analog_layers(converted).items():
        assert (layer.matrix.counts.drives, layer.matrix.counts.conversions) == (actions.loc[name, "dac"], actions.loc[name, "adc"])


def test_times_and_energy_are_those_of_crossbars_on_their_own() -> None:
    model, example = wide()
    placement = place(trace(model, example), by(32))
    group, single = (simulate(placement, Arrivals.batch(3), resolution=each) for each in ("group", "crossbar"))
    assert (group.finish_fs == single.finish_fs).all()
    assert group.total_energy == pytest.approx(single.total_energy)


def test_a_slice_takes_so_many_reads_and_conversions_at_the_same_energy_of_cells() -> None:
    model, example = wide()
    found = {}
    for rows in (128, 32):
        chip = by(rows)
        ledger = simulate(place(trace(model, example), chip, replication=None), Arrivals.batch(1))
        found[rows] = ledger.actions.sum(), ledger.energy.sum()
        assert chip.slice_time == pytest.approx(128 / rows * 10e-9)
        assert chip.costs["adc"].load == pytest.approx(load_chip("generic").costs["adc"].load)
    (whole, whole_energy), (parts, parts_energy) = found[128], found[32]
    reads = 4 + 3  # of the two row tiles, of 128 and 72 wordlines
    assert parts["adc"] / whole["adc"] == pytest.approx((reads * 12 + 3) / (2 * 12 + 3))
    assert parts["dac"] == whole["dac"]
    assert parts_energy["crossbar"] == pytest.approx(whole_energy["crossbar"])
    assert by(32).costs["crossbar"].energy_per_action == pytest.approx(by(128).costs["crossbar"].energy_per_action / 4)
    assert parts_energy["adc"] > 2 * whole_energy["adc"]


def test_all_rows_at_once_is_as_without() -> None:
    model, example = small_convolutional()
    ledgers = [simulate(place(trace(model, example), chip), Arrivals.batch(2)) for chip in (by(128), load_chip("generic"))]
    assert ledgers[0].total_energy == ledgers[1].total_energy
    assert (ledgers[0].finish_fs == ledgers[1].finish_fs).all()


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (48, {}, "must divide structure.wordlines = 128"), (256, {}, "must divide structure.wordlines = 128"),
        (1, {"weights": {"subtraction": "shared_bitline"}}, "be a multiple of 2, the wordlines of an input"),
        (32, {"wires": {"bitline": 1.0}}, "needs ideal wires"),
    ],
)  # fmt: skip
def test_refused(rows: int, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        by(rows, **changes)


@pytest.mark.parametrize(("inputs", "rows", "parts"), [(128, 128, 1), (128, 16, 8), (1000, 16, 8), (20, 16, 2), (128, 32, 4)])
def test_fewer_vectors_share_slow_read_noise(inputs: int, rows: int, parts: int) -> None:
    """8 slices of 10 ns a vector for every part of its crossbars: a draw of 10 us lasts for 125 vectors over the parts."""
    chip = by(rows, device={"read_noise_sigma": 0.1, "read_correlation_time": 10e-6}).with_changes(component={"adc": {"bits": 10}})
    matrix = CrossbarMatrix(torch.ones(1, 32, inputs), chip, False)
    shared = vectors_at_once(matrix.channel, matrix.device)
    assert shared == pytest.approx(125 / parts, abs=0.51)
    matrix.program((0,))
    products = matrix(torch.full((1, 2 * shared, inputs), 85))[0]
    assert (products[:shared] == products[0]).all()
    assert (products[shared:] == products[shared]).all()
    assert (products[shared] != products[0]).any()

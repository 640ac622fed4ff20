"""Layers that share cores: where they lie, who has a converter when, and that nothing changes where nothing is shared."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.hw.networks import recommender, residual, seeded, small_convolutional
from xbar.hw import Arrivals, CapacityError, Chip, Network, ParameterError, Update, place, simulate, trace
from xbar.hw.bands import ledger_bands
from xbar.hw.chip.cycle import read_cycle
from xbar.hw.chip.placement import Placement, Sharing
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.events.waiting import Clock, SharedUnits
from xbar.workloads.offered import SHARING


class Fork(nn.Module):
    """Two linear layers that read the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(100, 10), nn.Linear(100, 20)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 30) of (batch, 100)."""
        return torch.cat([self.a(x), self.b(x)], dim=1)


def fork() -> Network:
    return trace(seeded(Fork), torch.rand(2, 100))


def slots(placement: Placement) -> list[int]:
    return [slot for copies in placement.copies.values() for copy in copies for slot in copy.slots]


def computing(placement: Placement, **options: object) -> pd.DataFrame:
    timeline = simulate(placement, Arrivals.batch(2), **options).timeline  # type: ignore[arg-type]
    return timeline[timeline["stage"] == "compute"].sort_values("start_s", ignore_index=True)


def test_copies_lie_on_consecutive_crossbars(edge: Chip) -> None:
    """Four crossbars a core; layers of 1, 1, 18 and 9 crossbars take 8 cores in place of 10."""
    model = seeded(None, nn.Linear(100, 64), nn.Linear(64, 64), nn.Linear(64, 1100), nn.Linear(1100, 10))
    network = trace(model, torch.rand(1, 100))
    shared, whole = place(network, edge, None, "cores"), place(network, edge, None)
    assert (shared.sharing, whole.sharing) == ("cores", "none")
    assert slots(shared) == list(range(1 + 1 + 18 + 9))
    assert [copy.first_core for copies in whole.copies.values() for copy in copies] == [0, 1, 2, 7]
    assert (shared.cores_used, shared.cores_shared, shared.crossbars_used) == (8, 1, 29)
    assert (whole.cores_used, whole.cores_shared, whole.crossbars_used) == (10, 0, 29)
    assert shared.core_shares("2") == {0: 0.5, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}
    assert "8 of 32, 1 of them shared" in repr(shared)
    seen = {(x.core, x.slot) for copies in shared.copies.values() for copy in copies for x in shared.crossbars_of(copy)}
    assert len(seen) == 29
    area = simulate(shared, Arrivals.batch(1)).layers()["core_area_m2"].sum()
    assert area == pytest.approx(simulate(whole, Arrivals.batch(1)).layers()["core_area_m2"].sum() * 8 / 10)


def test_cores_are_shared_only_where_needed(edge: Chip) -> None:
    """Nine layers of a crossbar each fit on eight cores of four if they share them; 33 do not."""
    small = edge.with_changes(structure={"tiles": 2})
    few, many, more = (trace(seeded(None, *[nn.Linear(8, 8) for _ in range(n)]), torch.rand(1, 8)) for n in (8, 9, 33))
    assert place(few, small).sharing == "none"
    assert place(many, small).sharing == "cores"
    assert place(few, small, {"0": 2}).sharing == "cores"
    assert place(few, small, sharing="cores").sharing == "cores"
    with pytest.raises(CapacityError, match=r"too small by 4 crossbars: the network needs 36 \(in whole cores of 4; 9 where layers share"):
        place(many, small, sharing="none")
    with pytest.raises(CapacityError, match=r"too small by 1 crossbars: the network needs 33 \(where layers share cores"):
        place(more, small, sharing="cores")
    with pytest.raises(CapacityError, match=r"too small by 100 crossbars: the network needs 132 \(in whole cores of 4; 33 where"):
        place(more, small)
    with pytest.raises(ParameterError, match="sharing must be as_needed, none, cores, crossbars, got 'all'"):
        place(few, small, sharing="all")  # type: ignore[arg-type]


def test_a_shared_converter_serves_one_vector_at_a_time(edge: Chip) -> None:
    """Both layers have what they need at the same time, on one core with one ADC: the second computes when the first is done."""
    network = fork()
    apart, shared = (computing(place(network, edge, None, sharing)) for sharing in ("none", "cores"))
    assert (apart["start_s"][:2].max() < apart["end_s"][:2].min()).all()
    assert shared["start_s"][1] == shared["end_s"][0]
    assert (shared["start_s"].to_numpy()[1:] >= shared["end_s"].to_numpy()[:-1]).all()
    assert sorted(shared["end_s"] - shared["start_s"]) == pytest.approx(sorted(apart["end_s"] - apart["start_s"]), rel=1e-12)
    ledger = simulate(place(network, edge, None, "cores"), Arrivals.batch(2))
    taken = ledger.units().loc["shared ADC 0 of core 0"]
    assert taken["busy_s"] == pytest.approx(float((shared["end_s"] - shared["start_s"]).sum()), rel=1e-12)
    assert taken["utilisation"] <= 1


@pytest.mark.parametrize("network", [small_convolutional, residual, recommender])
def test_lock_step_is_crossbar_by_crossbar(edge: Chip, network) -> None:  # type: ignore[no-untyped-def]
    """To the femtosecond, with copies that share converters with their own layer and with others."""
    traced = trace(*network())
    placement = place(traced, edge, dict.fromkeys([layer.name for layer in traced.layers if layer.vectors > 1], 2), "cores")
    assert placement.cores_shared
    assert any(VectorOperations(placement, True).units_of(copy) for copies in placement.copies.values() for copy in copies)
    one, other = (simulate(placement, Arrivals.batch(3), resolution=resolution) for resolution in ("group", "crossbar"))
    assert np.array_equal(one.finish_fs, other.finish_fs)
    assert one.total_energy == pytest.approx(other.total_energy, rel=1e-12)
    assert one.unit_busy_fs == pytest.approx(other.unit_busy_fs)
    assert (one.units()["utilisation"] <= 1).all()


def test_where_nothing_is_shared_nothing_changes(edge: Chip, isaac: Chip) -> None:
    """Layers that fill their cores, and a chip with one crossbar a core: the same ledger."""
    full = trace(seeded(None, nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 256)), torch.rand(2, 512))
    single = isaac.with_changes(structure={"crossbars_per_core": 1})
    for network, chip in ((full, edge), (trace(*small_convolutional()), single)):
        one, other = (simulate(place(network, chip, None, sharing), Arrivals.batch(2)) for sharing in ("none", "cores"))
        assert not other.placement.cores_shared
        assert np.array_equal(one.finish_fs, other.finish_fs)
        assert one.timeline.equals(other.timeline)
        assert one.energy.equals(other.energy)
        assert one.unit_busy_fs == other.unit_busy_fs
        assert ledger_bands(one).equals(ledger_bands(other))


def test_crossbars_with_converters_of_their_own_wait_for_nobody(isaac: Chip) -> None:
    """ISAAC's arrays have an ADC each: no unit is shared, what is read and converted is the same, on fewer tiles."""
    network = trace(*small_convolutional())
    one, other = (simulate(place(network, isaac, {"0": 3}, sharing), Arrivals.batch(2)) for sharing in ("none", "cores"))
    assert (one.placement.cores_used, other.placement.cores_used) == (5, 1)
    operations = VectorOperations(other.placement, True)
    assert not any(operations.units_of(copy) for copies in other.placement.copies.values() for copy in copies)
    for component in ("dac", "adc", "crossbar", "sample_hold", "input_register"):
        assert one.actions[component].equals(other.actions[component])


def test_an_input_register_gives_each_copy_of_its_core_a_part(isaac: Chip, edge: Chip) -> None:
    """Rows of crossbars that may be read meanwhile count as those of one's own; on edge, whose core has one ADC, none are."""
    network = fork()
    beside = []
    for chip in (isaac, edge):
        operations = VectorOperations(place(network, chip, None, "cores"), True)
        beside.append([operations._beside(copy) for (copy,) in operations.placement.copies.values()])
    assert beside == [[{0: 200}, {0: 100}], [{0: 0}, {0: 0}]]  # of two crossbars of b
    (copy,), register = operations.placement.copies["a"], edge.costs["input_register"]
    many = read_cycle(edge, network.layer("a"), operations.crossbars[copy.rank], {0: 10**7})
    streamed = (10**7 + 100) * edge.component.dac.bits / (register.units * register.unit_rate)
    assert many.read == pytest.approx(1e15 * streamed, abs=1)


def test_more_copies_fit_where_cores_are_shared(isaac: Chip) -> None:
    network = trace(seeded(None, nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), torch.rand(1, 1, 40, 40))
    small = isaac.with_changes(structure={"tiles": 1})
    whole, shared = (place(network, small, sharing=sharing) for sharing in ("none", "cores"))
    assert sum(map(len, whole.copies.values())) <= 12 < sum(map(len, shared.copies.values())) <= 96


def test_updates_and_shared_converters(edge: Chip) -> None:
    """A layer is written while its vectors wait for the converter: both resolutions agree."""
    chip = edge.with_changes(device={"write_energy": 1e-12, "write_time": 1e-7})
    placement = place(fork(), chip, None, "cores")
    updates = [Update("a", 1e-6, pulses_per_cell=2.0), Update("b", 3e-6)]
    ledgers = [simulate(placement, Arrivals.batch(4), updates=updates, resolution=resolution) for resolution in ("group", "crossbar")]
    assert np.array_equal(*(each.finish_fs for each in ledgers))
    assert ledgers[0].total_energy == pytest.approx(ledgers[1].total_energy, rel=1e-12)


def test_units_are_had_all_at_once_and_in_turn() -> None:
    """One who needs two passes nobody who waits for one of them, and is not passed; of one instant by rank."""
    env, had = Clock(), []
    turns = SharedUnits(env)

    def user(name: str, rank: int, asks: int, units: str, holds: int):  # type: ignore[no-untyped-def]
        yield env.timeout(asks)
        yield turns.take(rank, frozenset(units))
        had.append((name, env.now))
        yield env.timeout(holds)
        turns.give(frozenset(units))

    users = ("later", 5, 0, "a", 10), ("first", 1, 0, "a", 10), ("both", 0, 1, "ab", 4), ("b alone", 0, 2, "b", 7), ("c", 0, 3, "c", 1)
    for each in users:
        env.process(user(*each))
    env.run()
    assert had == [("first", 0), ("c", 3), ("later", 10), ("both", 20), ("b alone", 24)]


def test_a_run_may_ask_for_what_layers_share() -> None:
    assert get_args(Sharing) == SHARING

"""The compiled event loop gives the very ledger of the SimPy simulation, which is the reference: whole numbers equal, energies to 1e-12.

`tests/golden` compares them on all presets and networks."""

from functools import cache

import numpy as np
import pytest
import torch
from simpy import Environment
from torch import nn

from tests.hw.hand_built import priced_as_it_was
from tests.hw.networks import recommender, seeded, small_convolutional
from tests.hw.test_buffers import NETWORKS_IN_LOOPS, TIGHT, tight, tightly_placed
from tests.hw.test_repetition import PLACED as REPEATING
from tests.hw.test_repetition import same
from xbar.hw import Arrivals, BufferCapacityError, Chip, Update, load_chip, place, simulate, trace
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events import fast
from xbar.hw.events.credits import Credits
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.vector_operation import VectorOperations

WRITTEN = load_chip("edge", {"device.write_energy": "10e-12", "device.write_time": "1e-7"})
PLACED = dict(REPEATING)
PLACED["tables"] = lambda: place(trace(*recommender()), WRITTEN, {"user": 2, "hidden": 2})


@cache
def placed(name: str) -> Placement:
    return PLACED[name]()


def both(placement: Placement, arrivals: Arrivals, **options: object) -> tuple[Ledger, Ledger]:
    """The ledger of the loop, and that of SimPy for every request."""
    found = simulate(placement, arrivals, engine="compiled", **options)  # type: ignore[arg-type]
    assert found.engine == fast.COMPILED
    return found, simulate(placement, arrivals, engine="simpy", every_request=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PLACED)
def test_any_load(name: str) -> None:
    placement = placed(name)
    capacity = simulate(placement, Arrivals.batch(12), engine="simpy").steady_throughput
    small = placement.network.operations < 20_000
    for number, arrivals in enumerate((
        Arrivals.batch(37 if small else 30), Arrivals.at_rate(0.6 * capacity, 30), Arrivals.at_rate(1.3 * capacity, 30),
        Arrivals.poisson(0.9 * capacity, 30, seed=number_of(name)), Arrivals.trace([0.0] * 5 + [1.5 / capacity] * 6 + [9 / capacity]),
    )):  # fmt: skip
        found, every = both(placement, arrivals, off_chip_io=(number + number_of(name)) % 2 == 0, samples_held=1 + number % 3)
        same(found, every)


def number_of(name: str) -> int:
    return list(PLACED).index(name)


def test_requests_that_repeat_each_other_are_left_out_as_by_simpy() -> None:
    for name in ("sum and concatenation", "copies that do not divide", "copies in turn over samples", "layers in turn", "slow links",
                 "shared converters"):  # fmt: skip
        loads = Arrivals.batch(300), Arrivals.at_rate(0.5 * simulate(placed(name), Arrivals.batch(12)).steady_throughput, 300)
        for off_chip_io in (True, False):
            for arrivals in loads:
                found, known = (simulate(placed(name), arrivals, off_chip_io=off_chip_io, engine=e) for e in ("compiled", "simpy"))
                assert found.runs.repeats is not None
                assert known.runs.repeats is not None
                assert (found.finish_fs.tolist(), found.events, found.span_fs) == (known.finish_fs.tolist(), known.events, known.span_fs)
                assert found.unit_busy_fs == known.unit_busy_fs
                assert found.links().equals(known.links())
                assert found.runs.counts(len(found.activities)).tolist() == known.runs.counts(len(known.activities)).tolist()
                assert found.total_energy == pytest.approx(known.total_energy, rel=1e-12)
    assert simulate(placed("never again"), Arrivals.batch(80), engine="compiled").runs.repeats is None


def test_updates_and_look_ups() -> None:
    """Tables written while they are read, at once and later, and rows that all lie in one tile."""
    placement = placed("tables")
    alone = float(simulate(placement, Arrivals.batch(1)).latency[0])
    updates = [
        Update("user", 0.0, rows=range(40)), Update("item", 3 * alone, rows=[0, 139]), Update("hidden", 8 * alone, pulses_per_cell=2.5),
        Update("user", 3 * alone), Update("user", 40 * alone),
    ]  # fmt: skip
    for arrivals in (Arrivals.batch(20), Arrivals.poisson(1 / alone, 25, seed=3)):
        rows = {"user": np.random.default_rng(2).integers(0, 300, len(arrivals.times)), "item": [7] * len(arrivals.times)}
        for lookups in ({}, rows):
            found, every = both(placement, arrivals, updates=updates, lookups=lookups, horizon=60 * alone)
            same(found, every)
            for table in ("updates_table", "wear", "layers", "components"):
                assert getattr(found, table)().equals(getattr(every, table)())


class TestFullBuffers:
    @pytest.mark.parametrize("case", [*TIGHT, *map(tight, range(10))], ids=str)
    def test_tight_ones(self, case: tuple) -> None:  # type: ignore[type-arg]
        """Sums, concatenations and values that several layers read, on several tiles, in batches and at any time."""
        *chip, held = case
        placement = tightly_placed(*chip)
        assert case is TIGHT[0] or Credits(Environment(), VectorOperations(placement, True), held).watched
        alone = simulate(placement, Arrivals.batch(1)).finish_fs[0] * 1e-15
        loads = Arrivals.batch(12), Arrivals.poisson(3 / alone, 20, seed=held), Arrivals.at_rate(2 / alone, 15)
        for number, arrivals in enumerate(loads):
            same(*both(placement, arrivals, off_chip_io=number != 1, samples_held=held))

    @pytest.mark.parametrize("name", NETWORKS_IN_LOOPS)
    def test_loops(self, isaac: Chip, name: str) -> None:
        for size in (3000, 2500):
            placement = place(NETWORKS_IN_LOOPS[name], priced_as_it_was(isaac, timing={"buffer_size": size}), None)
            same(*both(placement, Arrivals.batch(9)))

    def test_what_locks_up_or_never_fits_is_told_as_by_simpy(self, isaac: Chip, edge: Chip) -> None:
        rows = seeded(None, nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 5)), torch.rand(1, 1, 15, 15)
        for chip, (model, example), size in ((isaac, rows, 4680), (edge, small_convolutional(), 500)):
            placement = place(trace(model, example), priced_as_it_was(chip, timing={"buffer_size": size}), None)
            told = []
            for engine in ("compiled", "simpy"):
                with pytest.raises(BufferCapacityError) as caught:
                    simulate(placement, Arrivals.batch(4), engine=engine)  # type: ignore[arg-type]
                told.append((str(caught.value), caught.value.tile, caught.value.needed))
            assert told[0] == told[1]

    def test_pools_that_run_out_begin_anew_larger(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fast, "POOL", 4)
        monkeypatch.setattr(fast, "JOURNAL_ROWS", 16)
        placement = tightly_placed(*TIGHT[1][:-1])
        same(*both(placement, Arrivals.poisson(1e6, 60, seed=0)))


def test_pools_that_run_out_begin_anew_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "POOL", 4)
    monkeypatch.setattr(fast, "JOURNAL_ROWS", 16)
    same(*both(placed("copies that do not divide"), Arrivals.poisson(1e6, 200, seed=0), off_chip_io=False))


def test_who_serves_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = placed("rows")
    assert simulate(placement, Arrivals.batch(3)).engine == "SimPy"
    monkeypatch.setattr(fast, "LEAST", 0)
    monkeypatch.setattr("xbar.hw.events.simulator.LEAST", 0)
    assert simulate(placement, Arrivals.batch(3)).engine == fast.COMPILED
    ledger = simulate(placement, Arrivals.batch(3), resolution="crossbar")
    assert ledger.engine == "SimPy: single crossbars are simulated by SimPy alone"
    assert "by SimPy: single crossbars" in repr(ledger)
    with pytest.raises(ParameterError, match="engine='compiled': single crossbars"):
        simulate(placement, Arrivals.batch(3), resolution="crossbar", engine="compiled")
    monkeypatch.setattr(fast, "MOST", 0)
    with pytest.raises(ParameterError, match="engine='compiled': room in buffers of 2 tiles takes another table"):
        simulate(REPEATING["full buffers"](), Arrivals.batch(3), engine="compiled")
    monkeypatch.undo()
    monkeypatch.setattr(fast, "MOST_GIVEN", 20)
    with pytest.raises(ParameterError, match=r"engine='compiled': what vectors give back of room in buffers takes .* rows, more than 20"):
        simulate(REPEATING["full buffers"](), Arrivals.batch(3), engine="compiled")
    with pytest.raises(ParameterError, match="must be 'auto'"):
        simulate(placement, Arrivals.batch(3), engine="fast")  # type: ignore[arg-type]

"""Requests that repeat each other: simulated until they do, with the ledger of the simulation of every one of them."""

import inspect
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests.hw.hand_built import looped, priced_as_it_was, recurrent, with_rates
from tests.hw.networks import recommender, residual, sequence, small_convolutional, unusual_paths
from xbar.hw import Arrivals, Update, load_chip, place, simulate, trace
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.buffers import buffer_demand
from xbar.hw.events.copies import CopyProcess
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.repetition import LOOKED_AT, is_told
from xbar.hw.events.runs import Profile, Repeats, Runs
from xbar.hw.events.simulator import Simulation, _Transfers
from xbar.hw.events.state import CONSTANT, NUMBERS, RANKS, SAMPLES, TIMES, UNUSED, Snapshot
from xbar.hw.events.waiting import Progress

EDGE, ISAAC = load_chip("edge"), load_chip("isaac")
PLACED: dict[str, Callable[[], Placement]] = {
    "sum and concatenation": lambda: place(trace(*residual()), EDGE),
    "one layer twice": lambda: place(trace(*unusual_paths()), EDGE),
    "rows": lambda: place(trace(*sequence()), ISAAC),
    "copies that do not divide": lambda: place(trace(*small_convolutional()), EDGE, {"0": 3, "3": 5, "7": 3}),
    "copies in turn over samples": lambda: place(trace(*sequence()), EDGE, {"first": 6, "second": 2}),
    "a layer that reads itself": lambda: place(recurrent(4), EDGE, {"cell": 3}),
    "layers in turn": lambda: place(looped(3), EDGE),
    "slow links": lambda: place(trace(*small_convolutional()), with_rates(EDGE, link=EDGE.costs["link"].unit_rate / 40)),
    "shared converters": lambda: place(trace(*residual()), EDGE, sharing="cores"),
    "full buffers": lambda: place(trace(*small_convolutional()), priced_as_it_was(EDGE, timing={"buffer_size": 1200})),
    "never again": lambda: place(trace(*unusual_paths()), ISAAC),
}


@cache
def placed(name: str) -> Placement:
    return PLACED[name]()


def both(name: str, arrivals: Arrivals, **options: object) -> tuple[Ledger, Ledger]:
    """The ledger as it comes, and that of every request."""
    return simulate(placed(name), arrivals, **options), simulate(placed(name), arrivals, every_request=True, **options)  # type: ignore[arg-type]


def same(found: Ledger, every: Ledger) -> None:
    """All that is whole numbers is the same, and energies but for the rounding of their sums."""
    assert every.runs.repeats is None
    assert found.finish_fs.tolist() == every.finish_fs.tolist()
    assert (found.span_fs, found.events, found.unit_busy_fs) == (every.span_fs, every.events, every.unit_busy_fs)
    assert found.activities == every.activities
    assert found.actions.equals(every.actions)
    pd.testing.assert_frame_equal(found.energy, every.energy, rtol=1e-12, atol=0)
    pd.testing.assert_frame_equal(found.links(), every.links())
    for runs in ("activity", "start_fs", "end_fs"):
        assert np.array_equal(getattr(found, runs), getattr(every, runs))
    (edges, power), (whole_edges, whole_power) = found.power, every.power
    assert np.array_equal(edges, whole_edges)
    np.testing.assert_allclose(power, whole_power, rtol=1e-9)
    assert found.integral_of_power() == pytest.approx(every.total_energy, rel=1e-12)


@pytest.mark.parametrize("name", PLACED)
def test_the_ledger_is_that_of_every_request(name: str) -> None:
    small = placed(name).network.operations < 20_000
    loads = [(1, True), (2, True), (3, True), (10, True), (37, False), (64, True)]
    for requests, off_chip_io in loads if small else loads[3:5]:
        found, every = both(name, Arrivals.batch(requests), off_chip_io=off_chip_io)
        same(found, every)
        assert requests < 37 or (found.runs.repeats is not None) == (name != "never again"), "within 64 requests, or never"


@pytest.mark.parametrize("name", ["copies that do not divide", "slow links", "layers in turn"])
def test_evenly_spaced_requests_below_and_above_what_can_be_served(name: str) -> None:
    capacity = simulate(placed(name), Arrivals.batch(64)).steady_throughput
    repeated = {}
    for number, share in enumerate((0.3, 0.999, 1.0, 1.02, 1.5)):
        found, every = both(name, Arrivals.at_rate(share * capacity, 37), off_chip_io=number % 2 == 0)
        same(found, every)
        repeated[share] = found.runs.repeats is not None
    assert repeated[0.3]
    assert repeated[1.5]


def test_what_is_derived_is_the_same() -> None:
    """Tables, profiles in spans, how full buffers get: from what repeats itself as from every run."""
    for name in ("copies that do not divide", "slow links"):
        found, every = both(name, Arrivals.batch(60), horizon=1e-3)
        assert found.runs.repeats is not None
        assert len(found.runs.activity) < len(every.runs.activity) / 1.5
        assert found.runs.count == len(every.activity)
        for table in ("layers", "components", "units", "requests_table"):
            pd.testing.assert_frame_equal(getattr(found, table)(), getattr(every, table)(), rtol=1e-12, atol=0)
        pd.testing.assert_frame_equal(found.power_over_time(371), every.power_over_time(371), rtol=1e-9)
        pd.testing.assert_frame_equal(found.use_over_time("adc", 13), every.use_over_time("adc", 13), rtol=1e-9, atol=1e-12)
        assert found.summary() == pytest.approx(every.summary(), rel=1e-12)
        assert buffer_demand(found).to_numpy() == pytest.approx(buffer_demand(every).to_numpy(), rel=1e-12)
        for request in (0, 4, 30, 59):
            until, timeline = every.finish_fs[request] * 1e-15, every.timeline
            early = timeline[timeline["start_s"] < until].reset_index(drop=True)
            pd.testing.assert_frame_equal(found.timeline_until(until), early)


def test_only_what_is_sure_to_repeat_itself_is_left_out() -> None:
    network, edge = trace(*sequence()), placed("one layer twice").chip
    simple = place(network, edge)
    drawn = simulate(simple, Arrivals.poisson(1e5, 40, seed=1))
    uneven = simulate(simple, Arrivals.trace([0.0] * 20 + [1e-5] * 20))
    tables = simulate(place(trace(*recommender()), edge), Arrivals.batch(20))
    crossbars = simulate(simple, Arrivals.batch(20), resolution="crossbar")
    assert all(ledger.runs.repeats is None for ledger in (drawn, uneven, tables, crossbars))
    assert simulate(simple, Arrivals.batch(20)).runs.repeats is not None


def test_updates_are_written_before_anything_is_left_out() -> None:
    """Cells written first and requests after that, as in turns; in between and for long; and when all requests are done."""
    costs = {"device.write_energy": "10e-12", "device.write_time": "1e-7"}
    placement = place(trace(*sequence()), load_chip("edge", costs))
    first, second = (layer.name for layer in placement.network.layers)
    alone = simulate(placement, Arrivals.batch(40))
    every_one = float(alone.finish_fs[-1]) * 1e-15
    for arrivals, updates, repeated in (
        (Arrivals.trace([2e-6] * 40), [Update(first, 1e-6), Update(second, 2e-6, pulses_per_cell=0.5)], True),
        (Arrivals.batch(40), [Update(second, every_one / 8, rows=[0, 1])], True),
        (Arrivals.batch(40), [Update(first, 0.0), Update(first, 2 * every_one)], False),
    ):
        found, every = (simulate(placement, arrivals, updates=updates, every_request=each) for each in (False, True))
        same(found, every)
        assert (found.runs.repeats is not None) == repeated
        for table in ("updates_table", "wear", "layers", "components"):
            pd.testing.assert_frame_equal(getattr(found, table)(), getattr(every, table)(), rtol=1e-12, atol=0)


def test_progress_is_told_of_every_request() -> None:
    told: list[int] = []
    ledger = simulate(placed("rows"), Arrivals.batch(50), progress=told.append)
    assert ledger.runs.repeats is not None
    assert told == [1] * 50


def test_times_beyond_the_clock_are_refused_where_they_are_not_simulated() -> None:
    placement = place(recurrent(16), EDGE.with_changes(timing={"array_read": 1.0}))
    assert simulate(placement, Arrivals.batch(20)).runs.repeats is not None
    for every_request in (True, False):
        with pytest.raises(ParameterError, match="beyond the 9223 s"):
            simulate(placement, Arrivals.batch(100), every_request=every_request)


def snapshot(name: str, requests: int, after: int) -> tuple[Simulation, Callable[[], bytes]]:
    """A simulation in which so many requests are done, and what tells its state."""
    simulation = Simulation(placed(name), Arrivals.batch(requests), True, False, 2, (), {})
    processes = simulation.start()
    simulation.run(processes[after - 1])
    simulation.env.finish_instant()
    return simulation, lambda: Snapshot(simulation, processes, after, requests, requests).state()


def test_everything_that_is_looked_at_again_is_in_the_state() -> None:
    """What is changed by hand makes another state, what is put back the same one."""
    simulation, state = snapshot("full buffers", 20, 3)
    known = state()
    assert state() == known
    copy = next(copy for copy in simulation.copies if copy.arrays_free > simulation.env._now)
    link = next(link for link, free in enumerate(simulation.links.free) if free <= simulation.env._now)
    (layer, _), vectors = next(iter(simulation._progress.items()))

    def other(change: Callable[[int], None], back: Callable[[], None]) -> None:
        change(1)
        assert state() != known
        back()
        assert state() == known

    def setter(of: object, name: str) -> tuple[Callable[[int], None], Callable[[], None]]:
        was = getattr(of, name)
        return lambda more: setattr(of, name, was + more), lambda: setattr(of, name, was)

    other(*setter(copy, "arrays_free"))
    other(*setter(copy, "converters_free"))
    other(*setter(vectors, "complete"))
    other(*setter(simulation._loaded[layer], "complete"))
    other(*setter(simulation.credits, "oldest"))
    free = simulation.links.free[link]
    ahead = simulation.env._now + 5
    other(lambda _: simulation.links.free.__setitem__(link, ahead), lambda: simulation.links.free.__setitem__(link, free))
    tile = min(simulation.credits.level)
    level = simulation.credits.level[tile]
    other(lambda _: simulation.credits.level.update({tile: level + 1}), lambda: simulation.credits.level.update({tile: level}))
    late = simulation.env.timeout(7)
    assert state() != known, "one more event that is due"
    simulation.env._queue.remove(next(each for each in simulation.env._queue if each[3] is late))
    simulation.env._queue.sort()
    assert state() == known
    late.callbacks.append(lambda event: None)  # of nobody that is known
    simulation.env._queue.append((simulation.env._now + 7, 1, 10**9, late))
    simulation.env._queue.sort()
    assert state() != state(), "what is not known equals nothing"


LOCALS = {  # of what may stand still in the middle: names that `state` tells by what they hold, or does not look at
    "self", "simulation", "layer", "credits", "journal", "kinds", "ports", "served", "oldest", "ready", "name", "computed", "result",
    "sending", "written", "loaded", "source", "links", "shipment", "transfer", "reads",
}  # fmt: skip


def test_every_local_of_a_process_is_known() -> None:
    """By its name. Who names one anew says here, or in `hw.events.state`, what it holds: a time or a sample that stands as a plain number
    is compared wrongly, and one under a name of CONSTANT or UNUSED is not looked at."""
    known = {"TIMES": TIMES, "SAMPLES": SAMPLES, "RANKS": RANKS, "NUMBERS": NUMBERS, "CONSTANT": CONSTANT, "UNUSED": UNUSED}
    found: dict[str, set[str]] = {}
    for owner in (CopyProcess, Simulation, _Transfers, Progress):
        for name, function in vars(owner).items():
            if inspect.isgeneratorfunction(function) and name != "samples":  # which no process waits in
                code = function.__code__
                found[f"{owner.__name__}.{name}"] = {*code.co_varnames, *code.co_cellvars}
    every = set().union(*found.values())
    assert every - LOCALS == set().union(*known.values())
    assert not LOCALS & set().union(*known.values())
    hidden = {name: sorted(locals_ & (CONSTANT | UNUSED)) for name, locals_ in found.items() if locals_ & (CONSTANT | UNUSED)}
    assert hidden == {
        "CopyProcess.process": ["copies", "loads", "mine"], "CopyProcess._wait_for_inputs": ["counts"],
        "CopyProcess._finish": ["copies", "mine"], "Progress.until": ["count"],
    }  # fmt: skip


def test_a_whole_number_of_no_known_name_equals_nothing() -> None:
    simulation = Simulation(placed("layers in turn"), Arrivals.batch(3), True, False, 2, (), {})
    snapshot = Snapshot(simulation, [], 0, 0, 0)
    for name, told in (("kind", [7]), ("sample", [7]), ("start", [7]), ("renamed", ["unknown"])):
        snapshot.told.clear()
        snapshot._local(name, 7)
        assert snapshot.told[:1] == told


def test_what_a_state_does_not_tell_is_simulated_request_by_request() -> None:
    def is_told_of(name: str, per_crossbar: bool = False, updates: tuple[Update, ...] = ()) -> bool:
        return is_told(Simulation(placed(name), Arrivals.batch(3), True, per_crossbar, 2, updates, {}))

    assert is_told_of("layers in turn")
    assert not is_told_of("layers in turn", per_crossbar=True)
    assert is_told_of("layers in turn", updates=(Update("first", 0.0, None, 1.0, 1),))
    table = place(trace(*recommender()), EDGE)
    assert not is_told(Simulation(table, Arrivals.batch(3), True, False, 2, (), {}))


def test_a_slow_drift_is_no_cycle() -> None:
    """On this chip a layer runs ahead by 6 fs more every two requests while results come evenly: nothing may be left out."""
    ledger = simulate(placed("never again"), Arrivals.batch(80))
    gaps = np.diff(ledger.finish_fs)[2:-5]
    assert (gaps[2:] == gaps[:-2]).all()
    assert len(gaps) > LOOKED_AT
    assert ledger.runs.repeats is None


def test_runs_and_profiles_are_those_of_all_rows() -> None:
    """Runs up to three periods long, drawn."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        begins, shift, more = 1000, int(random.integers(20, 90)), int(random.integers(1, 9))
        limits = 300, begins + 1, begins + shift + 1, 1500
        end = np.concatenate([np.sort(random.integers(low, high, 12)) for low, high in pairwise(limits)])
        start = end - random.integers(1, 3 * shift, len(end))
        activity = random.integers(0, 4, len(end))
        runs = Runs(activity, start, end, Repeats(12, 24, begins, shift, more, 0))
        whole = runs.all
        assert len(whole.activity) == runs.count == 36 + 12 * more
        assert runs.counts(4).tolist() == whole.counts(4).tolist()
        for some in (runs, runs.of([1, 2])):
            every = some.all
            assert (some.busy, some.union()) == (every.busy, every.union())
            assert (some.first_start, some.last_end) == (every.first_start, every.last_end)
        for time in random.integers(0, 3000, 5):
            early = whole.start < time
            assert runs.until(int(time)).end.tolist() == whole.end[early].tolist()
        span, amounts = int(whole.end.max()) + 10, random.random(4)
        profile, every_edge = (Profile.of(each, amounts, span, 1.0) for each in (runs, whole))
        edges, level = profile.all
        assert edges.tolist() == every_edge.edges.tolist()
        near = 1e-12 * every_edge.peak  # sums of thousands of steps up and down
        assert level == pytest.approx(every_edge.level, abs=near)
        assert profile.peak == pytest.approx(every_edge.peak)
        assert profile.integral == pytest.approx(every_edge.integral)
        cuts = np.linspace(0, span, 50)
        assert profile.until(cuts) == pytest.approx(every_edge.until(cuts))
        begin, end_of = np.sort(random.integers(0, span, 2)).tolist()
        edges, level = profile.part(begin, end_of)
        inside = (edges[1:] > begin) & (edges[:-1] < end_of)
        known = (every_edge.edges[1:] > begin) & (every_edge.edges[:-1] < end_of)
        assert edges[:-1][inside].tolist() == every_edge.edges[:-1][known].tolist()
        assert level[inside] == pytest.approx(every_edge.level[known], abs=near)

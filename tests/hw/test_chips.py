"""Several chips in one simulation: as one where one suffices, crossings by hand, back-pressure without deadlock, replicas."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.hw.hand_built import flow, layer, network, priced_as_it_was, recurrent, with_rates
from tests.hw.test_partition import chain_with_skips
from xbar.hw import Arrivals, BufferCapacityError, Chip, Ledger, Network, ParameterError, place, simulate
from xbar.hw.chip.chips import ChipsPlacement, place_chips
from xbar.hw.events import chips as events_of_chips
from xbar.hw.events.chips import ChipLinks, simulate_chips
from xbar.hw.events.chips_ledger import ChipsLedger
from xbar.hw.events.ledger import STATIC
from xbar.hw.events.simulator import Simulation
from xbar.hw.events.waiting import Clock, SharedUnits
from xbar.hw.graph.part import parts


def chain(*vectors: int, width: int = 100, tables: bool = False) -> Network:
    """Layers in a row of 100 outputs a vector; of a layer of fewer vectors each waits for as many more of the layer before."""
    layers, flows = [], []
    for number, count in enumerate(vectors):
        before = vectors[number - 1] if number else 0
        after = np.arange(1, count + 1) * before // count
        layers.append(layer(f"l{number}", 100, width, count, {f"l{number - 1}": after} if number else {}))
        flows.append(flow(f"l{number - 1}" if number else "", f"l{number}", width * max(before, count), after))
    return network(layers, flows, width * vectors[0], 100 * vectors[-1])


def branches() -> Network:
    """`b` and `c` read `a`, `d` reads both, and `e` reads `b`, `c` and `d`: chips send to several, and several to one."""
    once = np.arange(1, 5)
    reads = {"a": "", "b": "a", "c": "a", "d": "bc", "e": "bcd"}
    layers = [layer(name, 40, 40 * max(1, len(of)), 4, {each: once for each in of}) for name, of in reads.items()]
    flows = [flow(source, name, 160, once * bool(source)) for name, of in reads.items() for source in of or [""]]
    return network(layers, flows, 160, 160)


def same(one: Ledger, other: Ledger) -> None:
    """To the femtosecond and the joule."""
    for name in ("activity", "start_fs", "end_fs", "arrival_fs", "finish_fs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert one.span_fs == other.span_fs
    assert one.energy.equals(other.energy)
    assert one.links().equals(other.links())
    assert one.units().equals(other.units())


@pytest.fixture(scope="module")
def two(edge: Chip) -> ChipsPlacement:
    """A quick layer and a slow one, on a chip each."""
    return place_chips(chain(8, 4), edge, 2, replication=None)


class TestOneChip:
    @pytest.mark.parametrize("whole", [chain(8, 4, 4), recurrent(5), chain_with_skips(3), branches()])
    @pytest.mark.parametrize("chips", [None, 1])
    def test_is_as_simulated_alone(self, edge: Chip, whole: Network, chips: int | None) -> None:
        placed = place_chips(whole, edge, chips)
        assert len(placed.chips) == 1
        for arrivals in (Arrivals.batch(7), Arrivals.poisson(2e5, 7, seed=1)):
            alone, found = simulate(place(whole, edge), arrivals), simulate_chips(placed, arrivals)
            same(alone, found.chips[0])
            np.testing.assert_array_equal(found.finish_fs, alone.finish_fs)
            told = alone.summary()
            assert {name: value for name, value in found.summary().items() if name in told} == pytest.approx(
                {name: told[name] for name in found.summary() if name in told}, nan_ok=True
            )
            pd.testing.assert_frame_equal(found.energy, alone.energy)

    def test_links_held_as_several_hold_them_are_as_one_holds_its_own(self, edge: Chip) -> None:
        placed, arrivals, clock = place(chain(8, 4, 4), edge), Arrivals.poisson(2e5, 9, seed=2), Clock(initial_time=0)
        held = Simulation(placed, arrivals, True, False, 2, (), {}, clock, ChipLinks(clock, SharedUnits(clock), 9))
        for finished in held.start():
            held.run(finished)
        clock.run()
        same(simulate(placed, arrivals), held.ledger(held.close(0.0), None))


class TestCrossing:
    def test_bits_energy_and_time_by_hand(self, edge: Chip, two: ChipsPlacement) -> None:
        """800 values of 8 bits over 6.4 Gbit/s: 1 us, while which both links are held; 50.78 pJ a bit at both ends."""
        assert [[*each.copies] for each in two.chips] == [["l0"], ["l1"]]
        assert two.sent_bits == (6400, 0)
        assert two.received_bits == (0, 6400)
        assert two.between().to_dict("records") == [{"source": 0, "target": 1, "values": 800}]
        found = simulate_chips(two, Arrivals.batch(1))
        alone = [simulate(place(each, edge, None), Arrivals.batch(1)) for each in parts(chain(8, 4), [1])]
        crossed = 10**9
        assert found.finish_fs[0] == sum(each.finish_fs[0] for each in alone) - crossed
        sent, received = (
            each.timeline[(each.timeline["layer"] == name) & (each.timeline["stage"] == "transfer")]
            for each, name in zip(found.chips, ("(output)", "(input)"), strict=True)
        )
        assert sent["start_s"].item() == received["start_s"].item() == pytest.approx(found.chips[0].latency[0] - 1e-6)
        assert sent["end_s"].item() == received["end_s"].item()
        assert found.crossing_bits == 6400
        assert found.crossing_energy == pytest.approx(2 * 6400 * 50.78125e-12)
        edges = 8 * (800 + 400) * 50.78125e-12  # from and to the outside
        assert found.link_energy == pytest.approx(found.crossing_energy + edges)
        assert found.dynamic_energy == pytest.approx(sum(each.total_energy - each.static_energy for each in alone))
        assert found.static_energy == pytest.approx(2 * edge.static_power * found.span)
        assert found.total_energy == pytest.approx(found.energy.to_numpy().sum())
        assert found.area == 2 * edge.area
        by_crossbar = simulate_chips(two, Arrivals.batch(2), resolution="crossbar")
        assert by_crossbar.finish_fs.tolist() == simulate_chips(two, Arrivals.batch(2)).finish_fs.tolist()

    def test_what_crosses_and_what_leaves_are_as_wide_as_their_layers_have_them(self, edge: Chip) -> None:
        """Of one chip, 10.5 values of 4 bits go to another, and 10.5 of 8 bits outside: 42 and 84 bits, which the links carry. The other
        chip reads the 10.5 with 8 bits each."""
        once = np.arange(1, 3)
        layers = [layer("a", 10, 20, 2), layer("b", 10, 20, 2, {"a": once}), layer("c", 10, 20, 2, {"a": once})]
        flows = [flow("", "a", 40, 0 * once), flow("a", "b", 10.5, once), flow("a", "c", 10.5, once)]
        whole = network(layers, flows, 40, 31, outputs={"b": 10.5, "c": 20.5})
        narrow = edge.with_changes(layer={"a": {"inputs": {"bits": 4}}})
        placed = ChipsPlacement(whole, tuple(
            place(each, chip, None) for each, chip in zip(parts(whole, [2]), (narrow, edge), strict=True)))  # fmt: skip
        assert (placed.sent_bits, placed.received_bits) == ((42.0, 0.0), (0.0, 84.0))
        assert [each.bits_out for each in placed.chips] == [42 + 84, 21 * 8]  # 20.5 and half a value, of whole ones
        found = simulate_chips(placed, Arrivals.batch(3))
        assert [each.actions.loc["(output)", "link"] for each in found.chips] == [3 * 126, 3 * 168]
        assert found.crossing_energy == pytest.approx(3 * (42 + 84) * 50.78125e-12)

    def test_links_are_busy_as_long_as_bits_take_and_nothing_is_kept(self, edge: Chip, monkeypatch: pytest.MonkeyPatch) -> None:
        """Links a thousand times as fast as the mesh that brings what they carry: held until the last value is there."""
        every: list[ChipLinks] = []

        class Noted(ChipLinks):
            def __init__(self, *given: Any):
                super().__init__(*given)
                every.append(self)

        monkeypatch.setattr(events_of_chips, "ChipLinks", Noted)
        placed = place_chips(branches(), with_rates(edge, link=1000 * edge.costs["link"].unit_rate), 5, replication=None)
        found = simulate_chips(placed, Arrivals.batch(5))
        assert [len(each) for links in every for each in (links._offered, links._room, links._begun, links._asked)] == [0] * 20
        for ledger, on in zip(found.chips, placed.chips, strict=True):
            carried = 5 * (on.bits_in + on.bits_out)
            busy = ledger.units().loc["off-chip links", "busy_s"]
            assert busy == pytest.approx(carried / (1000 * edge.costs["link"].unit_rate), rel=1e-6)
        held = found.chips[0].timeline.query("layer == '(output)'")
        assert (held["end_s"] - held["start_s"]).sum() > 2 * found.chips[0].units().loc["off-chip links", "busy_s"]

    @pytest.mark.parametrize("vectors", [(8, 4), (4, 8), (8, 8)])
    def test_a_long_batch_is_as_fast_as_the_slower_chip(self, edge: Chip, vectors: tuple[int, ...]) -> None:
        whole = chain(*vectors)
        found = simulate_chips(place_chips(whole, edge, 2, replication=None), Arrivals.batch(30))
        alone = [simulate(place(each, edge, None), Arrivals.batch(30)) for each in parts(whole, [1])]
        slower = max(float(np.diff(each.finish_fs[10:]).mean()) for each in alone)
        assert np.diff(found.finish_fs[10:]).mean() == pytest.approx(slower, rel=1e-3)

    def test_a_slow_chip_holds_the_one_before_back(self, edge: Chip) -> None:
        """A layer that others read elsewhere begins a sample when the last but one has crossed; and what crosses waits for room."""
        found = simulate_chips(place_chips(chain(1, 40), edge, 2, replication=None), Arrivals.batch(8))
        quick, slow = (each.timeline for each in found.chips)
        begun = quick[quick["stage"] == "load"]["start_s"].to_numpy()
        crossed = quick[quick["layer"] == "(output)"]["end_s"].to_numpy()
        loaded = slow[slow["stage"] == "load"]["end_s"].to_numpy()[39::40]
        assert (begun[2:] >= crossed[:-2]).all()
        begins = slow[slow["layer"] == "(input)"]["start_s"].to_numpy()
        assert (begins[2:] >= loaded[:-2]).all()
        assert crossed[-1] > loaded[-3]

    def test_what_several_send_comes_with_the_last(self, edge: Chip) -> None:
        placed = place_chips(branches(), edge, 5, replication=None)
        assert placed.senders == ((), (0,), (0,), (1, 2), (1, 2, 3))
        assert placed.sent_bits == (1280, 1280, 1280, 1280, 0)
        assert placed.received_bits == (0, 1280, 1280, 2560, 3840)
        found = simulate_chips(placed, Arrivals.batch(5))
        times = [each.timeline[each.timeline["stage"] == "transfer"] for each in found.chips]
        sent, received = (
            [each[each["layer"] == name].reset_index(drop=True) for each in times] for name in ("(output)", "(input)")
        )
        for number, senders in enumerate(placed.senders):
            if senders:
                starts = np.max([sent[each]["start_s"] for each in senders], axis=0)
                np.testing.assert_array_equal(received[number]["start_s"], starts)
                assert all((received[number]["end_s"] >= sent[each]["end_s"]).all() for each in senders)

    @pytest.mark.parametrize("seed", range(4))
    def test_nothing_locks_up(self, edge: Chip, seed: int) -> None:
        """However small buffers are for which the parts fit alone, one sample held, and values that several chips send or read."""
        for whole in (chain_with_skips(seed, 5), branches()):
            for chips in (2, 3, 5):
                on = place_chips(whole, edge, chips, replication=None).chips
                size = 8 * max(sum(each.values for each in one.network.flows) for one in on)
                placed = place_chips(whole, priced_as_it_was(edge, timing={"buffer_size": int(size)}), chips, replication=None)
                for held in (1, 2):
                    found = simulate_chips(placed, Arrivals.batch(6), samples_held=held)
                    assert (found.finish_fs > 0).all()
                    assert (np.diff(found.finish_fs) > 0).all()
                    assert found.crossing_bits == 6 * sum(placed.sent_bits)

    def test_a_buffer_that_is_too_small_is_named_with_its_chip(self, edge: Chip) -> None:
        placed = place_chips(chain(8, 4), priced_as_it_was(edge, timing={"buffer_size": 6000}), 2, replication=None)
        with pytest.raises(BufferCapacityError, match="the buffer of tile 0 of chip 0 is too small") as told:
            simulate_chips(placed, Arrivals.batch(1))
        assert (told.value.chip, told.value.available) == (0, 6000)

    def test_no_link_does_two_things_at_once(self, edge: Chip) -> None:
        found = simulate_chips(place_chips(branches(), edge, 3, replication=None), Arrivals.batch(9))
        for ledger in found.chips:
            moved = ledger.timeline[ledger.timeline["stage"] == "transfer"].sort_values("start_s")
            assert (moved["start_s"].to_numpy()[1:] >= moved["end_s"].to_numpy()[:-1] - 1e-18).all()
            assert 0 < ledger.units().loc["off-chip links", "utilisation"] <= 1


class TestReplicas:
    @pytest.mark.parametrize("dispatch", ["round_robin", "random", "least_loaded"])
    def test_each_is_as_alone_on_its_requests(self, edge: Chip, dispatch: str) -> None:
        placed, arrivals = place(chain(8, 4), edge, None), Arrivals.at_rate(4e5, 9)
        found = simulate_chips(placed, arrivals, replicas=2, dispatch=dispatch, seed=1)  # type: ignore[arg-type]
        assert set(found.replica) == {0, 1}
        assert dispatch != "round_robin" or found.replica.tolist() == [0, 1] * 4 + [0]
        for number, ledger in enumerate(found.chips):
            mine = found.replica == number
            alone = simulate(placed, Arrivals.trace([time for time, here in zip(arrivals.times, mine, strict=True) if here]))
            for name in ("activity", "start_fs", "end_fs", "arrival_fs", "finish_fs"):
                np.testing.assert_array_equal(getattr(alone, name), getattr(ledger, name), name)
            np.testing.assert_array_equal(found.finish_fs[mine], alone.finish_fs)
            assert alone.energy.drop(STATIC).equals(ledger.energy.drop(STATIC))
        assert found.static_energy == pytest.approx(2 * edge.static_power * found.span)
        assert (found.area, found.replicas, found.requests) == (2 * edge.area, 2, 9)

    def test_rows_of_tables_go_with_their_requests(self, edge: Chip) -> None:
        """A table of ten row tiles; replicas that look up what their own requests ask for do what they do alone."""
        table = layer("table", 10, 1200, 1)
        table = type(table)(**{**table.__dict__, "lookup": True})
        whole = network([table], [flow("", "table", 1, np.zeros(1, int))], 1, 10, index_bits=(11,))
        rows = np.random.default_rng(3).integers(1200, size=8)
        placed, arrivals = place(whole, edge, None), Arrivals.at_rate(1e7, 8)
        found = simulate_chips(placed, arrivals, replicas=2, lookups={"table": rows})
        for k, ledger in enumerate(found.chips):
            alone = simulate(placed, Arrivals.trace(arrivals.times[k::2]), lookups={"table": rows[k::2]})
            np.testing.assert_array_equal(alone.activity, ledger.activity)
            np.testing.assert_array_equal(alone.finish_fs, ledger.finish_fs)

    def test_least_loaded_waits_no_longer_than_random(self, edge: Chip) -> None:
        placed = place(chain(8, 4), edge, None)
        alone = np.diff(simulate(placed, Arrivals.batch(10)).finish_fs)[-1] * 1e-15
        stream = Arrivals.poisson(3 * 0.8 / alone, 150, seed=4)

        def mean(dispatch: str, seed: int = 0) -> float:
            return float(simulate_chips(placed, stream, replicas=3, dispatch=dispatch, seed=seed).latency.mean())  # type: ignore[arg-type]

        assert mean("least_loaded") <= min(mean("random", seed) for seed in range(3))

    def test_same_seed_same_bits(self, edge: Chip, two: ChipsPlacement) -> None:
        stream = Arrivals.poisson(1e6, 20, seed=5)
        one, again, other = (
            simulate_chips(two, stream, replicas=2, dispatch="random", seed=seed, horizon=1e-3) for seed in (7, 7, 8)
        )
        np.testing.assert_array_equal(one.replica, again.replica)
        np.testing.assert_array_equal(one.finish_fs, again.finish_fs)
        assert one.total_energy == again.total_energy
        assert (one.replica != other.replica).any()
        assert one.span == 1e-3
        assert len(one.chips) == 4
        assert one.crossing_bits == 20 * 6400
        assert [each.requests for each in one.chips] == [n for k in (0, 1) for n in [int((one.replica == k).sum())] * 2]

    def test_a_replica_without_requests_only_leaks(self, edge: Chip) -> None:
        found = simulate_chips(place(chain(8, 4), edge, None), Arrivals.at_rate(1e3, 3), replicas=2, dispatch="least_loaded")
        assert found.replica.tolist() == [0, 0, 0]
        assert found.chips[1].total_energy == pytest.approx(edge.static_power * found.span)
        assert np.isnan(found.table().loc[1, "latency_mean_s"])

    def test_what_cannot_be_is_told(self, two: ChipsPlacement) -> None:
        for options, told in (
            ({"replicas": 0}, "replicas must be a whole number"), ({"dispatch": "best"}, "dispatch must be round_robin, random"),
            ({"samples_held": 0}, "samples_held"), ({"read_energy": {"l0": 1.0}}, "for layers l1"),
            ({"lookups": {"l0": [1]}}, "no look-up"),
        ):  # fmt: skip
            with pytest.raises(ParameterError, match=told):
                simulate_chips(two, Arrivals.batch(1), **options)  # type: ignore[arg-type]


def test_read_energies_of_whole_layers_serve_their_pieces(edge: Chip) -> None:
    once = np.arange(1, 3)
    layers = [layer("a", 60, 60, 2), layer("b", 700, 60, 2, {"a": once})]
    whole = network(layers, [flow("", "a", 120, 0 * once), flow("a", "b", 120, once)], 120, 1400)
    chip = edge.with_changes(structure={"tiles": 1, "cores_per_tile": 2})
    placed = place_chips(whole, chip)
    assert placed.pieces == {"b": ["b[0]", "b[1]"]}
    found = simulate_chips(placed, Arrivals.batch(3), read_energy={"a": 1e-9, "b": 4e-9})
    assert found.energy["crossbar"].sum() == pytest.approx(3 * 2 * 5e-9)


def test_what_it_shows(two: ChipsPlacement) -> None:
    found = simulate_chips(two, Arrivals.batch(3), replicas=2)
    assert repr(found).startswith("Ledger of 3 requests on 4 chips, 2 replicas of 2, Edge")
    assert "between chips 6.4 kbit a request" in repr(found)
    for text in (found._repr_html_(), two._repr_html_()):
        assert text.count("<tr>") >= 5
        assert "unknown" not in text
    assert repr(two).startswith("Placement of 2 layers on 2 chips, Edge")
    assert found.table()["sent_bits"].tolist() == [12800, 0, 6400, 0]
    assert list(found.requests_table().columns) == ["arrival_s", "finish_s", "latency_s", "replica"]
    none: ChipsLedger = simulate_chips(two, Arrivals.batch(0), horizon=1e-6)
    assert "unknown" in repr(none)
    assert none.requests == 0

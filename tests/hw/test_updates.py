"""Writing during operation: who waits for whom, against times by hand, queueing theory, and crossbar by crossbar."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.hw.hand_built import wide
from tests.hw.networks import (
    histories,
    presets_of_networks,
    recommender,
    residual,
    seeded,
    sequence,
    small_convolutional,
)
from xbar.hw import Arrivals, Chip, ParameterError, Update, load_chip, place, simulate, trace
from xbar.hw.chip.placement import Placement
from xbar.hw.events.ledger import INPUT, OUTPUT, STATIC, Ledger
from xbar.hw.events.updates import programming_cost, years_to_wear_out

FEMTOSECOND = 1e-15
PULSE = {"write_energy": 2e-12, "write_time": 1e-9, "endurance": 1e6}


@pytest.fixture
def writable(edge: Chip) -> Chip:
    return wide(edge.with_changes(device=PULSE))


def linear(chip: Chip, inputs: int = 100, outputs: int = 10, **options: Any) -> Placement:
    return place(trace(seeded(None, nn.Linear(inputs, outputs)), torch.rand(2, inputs)), chip, **options)


class Table(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width)

    def forward(self, rows: Tensor) -> Tensor:
        return self.table(rows)


def table(chip: Chip, rows: int = 300, width: int = 10, look_ups: int = 1, **options: Any) -> Placement:
    return place(trace(Table(rows, width), torch.zeros(2, look_ups, dtype=torch.long)), chip, **options)


def run(placement: Placement, times: Sequence[float], updates: Sequence[Update], **options: Any) -> Ledger:
    return simulate(placement, Arrivals.trace(times), off_chip_io=False, updates=updates, **options)


def runs(ledger: Ledger, stage: str) -> np.ndarray:
    """(start, end) of the runs of a stage [s], in order of their ends."""
    timeline = ledger.timeline
    return timeline.loc[timeline["stage"] == stage, ["start_s", "end_s"]].to_numpy()


BOTH = pytest.mark.parametrize("resolution", ["group", "crossbar"])


@BOTH
class TestWhoWaits:
    """A Linear of 100 x 10 in pairs: one crossbar of 100 x 20 cells, 2 us at 1 ns a pulse, 8 slices of 100 ns reads."""

    WRITE, READ = 100 * 20 * 1e-9, 8 * 100e-9

    def test_a_request_during_a_write_waits_for_what_is_left_of_it(self, writable: Chip, resolution: str) -> None:
        """Inputs load meanwhile; then the vector computes and drains as ever."""
        placement = linear(writable)
        load = math.ceil(100 * 8 / 128) / 1.2e9
        (alone,) = run(placement, [0.0], [], resolution=resolution).latency
        (latency,) = run(placement, [1.5e-6], [Update("0", 1e-6)], resolution=resolution).latency
        remaining = 1e-6 + self.WRITE - 1.5e-6
        assert latency == pytest.approx(remaining + alone - load, abs=FEMTOSECOND)

    def test_a_vector_that_has_begun_is_read_to_its_end(self, writable: Chip, resolution: str) -> None:
        """The write begins at its last latch; its conversions and what follows go on."""
        placement = linear(writable)
        load = math.ceil(100 * 8 / 128) / 1.2e9
        ledger = run(placement, [0.0], [Update("0", 0.5e-6)], resolution=resolution)
        assert runs(ledger, "write").tolist() == [pytest.approx([load + self.READ, load + self.READ + self.WRITE], abs=1e-15)]
        assert ledger.latency == pytest.approx(run(placement, [0.0], []).latency, abs=0)

    def test_an_update_goes_before_a_vector_that_waits(self, writable: Chip, resolution: str) -> None:
        """Of two requests at once the second is loaded when the update comes; it computes when that is written."""
        ledger = run(linear(writable), [0.0, 0.0], [Update("0", 0.5e-6)], resolution=resolution)
        ((_, written),) = runs(ledger, "write")
        assert runs(ledger, "compute")[1, 0] == pytest.approx(written, abs=FEMTOSECOND)

    def test_at_one_instant_the_update_is_first(self, writable: Chip, resolution: str) -> None:
        """It begins when the vector's load ends, to the femtosecond."""
        placement = linear(writable)
        ready = runs(run(placement, [0.0], []), "load")[0, 1]
        ledger = run(placement, [0.0], [Update("0", ready)], resolution=resolution)
        assert runs(ledger, "compute")[0, 0] == pytest.approx(ready + self.WRITE, abs=FEMTOSECOND)

    def test_updates_of_one_crossbar_follow_each_other(self, writable: Chip, resolution: str) -> None:
        updates = [Update("0", 1e-6, [3]), Update("0", 1e-6, [5, 7]), Update("0", 1.01e-6, [3])]
        ledger = run(linear(writable), [1.005e-6], updates, resolution=resolution)
        expected = [[1.0e-6, 1.02e-6], [1.02e-6, 1.06e-6], [1.06e-6, 1.08e-6]]
        assert runs(ledger, "write") == pytest.approx(np.array(expected), abs=FEMTOSECOND)
        assert runs(ledger, "compute")[0, 0] == pytest.approx(1.08e-6, abs=FEMTOSECOND)

    def test_crossbars_are_written_in_parallel_and_a_vector_needs_all(self, writable: Chip, resolution: str) -> None:
        """300 x 70: three row tiles, of 64 and 6 outputs. Rows of the second and third are written at once."""
        placement = linear(writable, 300, 70)
        updates = [Update("0", 1e-6, [128, 129]), Update("0", 1e-6, range(256, 300))]
        ledger = run(placement, [1e-6], updates, resolution=resolution)
        widths = {2 * 64: 1e-9 * 2 * 64, 2 * 6: 1e-9 * 2 * 6}
        expected = sorted([1e-6, 1e-6 + lines * line] for lines in (2, 44) for line in widths.values())
        assert sorted(runs(ledger, "write").tolist()) == [pytest.approx(span, abs=FEMTOSECOND) for span in expected]
        assert runs(ledger, "compute")[0, 0] == pytest.approx(1e-6 + 44 * 128e-9, abs=FEMTOSECOND)

    def test_a_look_up_of_other_crossbars_goes_on(self, writable: Chip, resolution: str) -> None:
        """300 rows on three row tiles; rows of the second are written."""
        placement, update = table(writable), Update("table", 1e-6, range(130, 180))
        (alone,) = run(placement, [0.0], []).latency
        waits = {}
        for row in (0, 127, 128, 255, 256, 299):
            (latency,) = run(placement, [1e-6], [update], resolution=resolution, lookups={"table": [row]}).latency
            waits[row] = latency - alone
        load = 1 / 1.2e9  # the index of 9 bits through the buffer's port, meanwhile
        assert [waits[row] for row in (0, 127, 256, 299)] == [pytest.approx(0, abs=FEMTOSECOND)] * 4
        assert [waits[row] for row in (128, 255)] == [pytest.approx(50 * 20e-9 - load, abs=FEMTOSECOND)] * 2

    def test_a_write_waits_only_for_look_ups_of_its_own_crossbars(self, writable: Chip, resolution: str) -> None:
        """A look-up of row 0 is being read: a write of row 1 waits for its latch, one of row 200 does not."""
        placement = table(writable)
        load, begins = 1 / 1.2e9, 50e-9
        updates = [Update("table", begins, [1]), Update("table", begins, [200])]
        ledger = run(placement, [0.0], updates, resolution=resolution, lookups={"table": [0]})
        assert runs(ledger, "write")[:, 0] == pytest.approx([begins, load + 100e-9], abs=FEMTOSECOND)

    def test_a_waiting_look_up_holds_up_those_behind_it(self, writable: Chip, resolution: str) -> None:
        """One input register: row 0 comes after row 200, which is being written."""
        placement, update = table(writable), Update("table", 0.0, [200])
        ledger = run(placement, [0.0, 0.0], [update], resolution=resolution, lookups={"table": [200, 0]})
        assert runs(ledger, "compute")[:, 0] == pytest.approx([20e-9, 20e-9 + 100e-9], abs=FEMTOSECOND)

    def test_other_layers_go_on(self, writable: Chip, resolution: str) -> None:
        model = seeded(None, nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 4))
        placement = place(trace(model, torch.rand(2, 50)), writable)
        plain, updated = (run(placement, [0.0], u, resolution=resolution) for u in ([], [Update("2", 1e-9, None, 10.0)]))
        first = [ledger.timeline[ledger.timeline["layer"] == "0"] for ledger in (plain, updated)]
        assert first[0].to_numpy().tolist() == first[1].to_numpy().tolist()
        assert updated.latency[0] == pytest.approx(runs(updated, "write")[0, 1] + (plain.latency[0] - runs(plain, "compute")[1, 0]))


class TestCosts:
    def test_by_hand(self, writable: Chip) -> None:
        """Three of 300 rows, two copies: rows 0 and 1 on one crossbar, 299 on another, 70 outputs on two column tiles."""
        placement = linear(writable, 300, 70, replication={"0": 2})
        ledger = run(placement, [], [Update("0", 1e-6, [0, 1, 299], 2.5, 10), Update("0", 1e-3, [1])])
        first, second = (ledger.updates_table().loc[k] for k in (0, 1))
        assert first["cells"] == 2 * 3 * 140
        assert first["pulses"] == 2 * 3 * 140 * 2.5
        assert first["energy_J"] == pytest.approx(2 * 3 * 140 * 2.5 * 2e-12, rel=1e-15)
        assert first["blocked_s"] == pytest.approx(2 * math.ceil(128 / 10) * 2.5e-9, abs=FEMTOSECOND)
        assert first["endurance_share"] == pytest.approx(2.5e-6)
        assert (first["layer"], first["begins_s"], first["start_s"]) == ("0", 1e-6, pytest.approx(1e-6))
        assert second["blocked_s"] == pytest.approx(128e-9, abs=FEMTOSECOND)
        wear = ledger.wear().loc["0"]
        assert wear["cells"] == first["cells"]
        assert wear["pulses"] == first["pulses"] + 2 * 140
        assert wear["energy_J"] == pytest.approx(first["energy_J"] + second["energy_J"])
        assert wear["blocked_s"] == pytest.approx(first["blocked_s"] + second["blocked_s"])
        assert (wear["most_pulses"], wear["endurance_share"]) == (3.5, pytest.approx(3.5e-6))
        assert ledger.energy.loc["0"].drop("write").eq(0).all()
        assert ledger.components().loc["write", ["actions", "energy_J", "area_m2"]].tolist() == pytest.approx(
            [wear["pulses"], wear["energy_J"], 0.0]
        )
        busy = 2 * sum((2 if tile == 0 else 1) * turns * 2.5e-9 for tile in (0, 1) for turns in (13, 2)) + 2 * (128 + 12) * 1e-9
        assert ledger.components().loc["write", "busy_s"] == pytest.approx(busy)

    @pytest.mark.parametrize("scheme", ["differential", "offset", "separate"])
    def test_a_whole_layer_costs_what_programming_it_does(self, writable: Chip, scheme: str) -> None:
        chip = writable.with_changes(weights={"scheme": scheme, "subtraction": "digital"})
        placement = linear(chip, 200, 70, replication={"0": 2})
        update = run(placement, [], [Update("0", 0.0, None, 1.25, 7)]).updates_table().loc[0]
        programmed = programming_cost(placement, 1.25, 7).loc["0"]
        for name, known in {"cells": "cells", "pulses": "pulses", "energy_J": "energy_J", "blocked_s": "time_s"}.items():
            assert update[name] == pytest.approx(programmed[known])

    def test_rows_that_carry_a_bias_wear_as_others(self, writable: Chip) -> None:
        """64 inputs and 2 rows of the bias, of 10 outputs in pairs of cells; the second bias row once more, then all."""
        chip = writable.with_changes(weights={"bias_rows": 2})
        placement = place(trace(seeded(None, nn.Linear(64, 10)), torch.rand(2, 64)), chip, None)
        assert placement.geometry("0").rows_of(0) == 66
        ledger = run(placement, [], [Update("0", 0.0, [65], 3.0)])
        assert ledger.wear().loc["0", ["cells", "most_pulses"]].tolist() == [20, 3.0]
        ledger = run(placement, [], [Update("0", 0.0, [65], 3.0), Update("0", 1e-3)])
        assert ledger.updates_table()["cells"].tolist() == [20, 66 * 20]
        assert ledger.wear().loc["0", ["cells", "most_pulses"]].tolist() == [66 * 20, 4.0]

    def test_pairs_on_one_bitline_take_two_wordlines(self, writable: Chip) -> None:
        placement = linear(writable.with_changes(weights={"subtraction": "shared_bitline"}))
        ledger = run(placement, [], [Update("0", 0.0, [4, 5, 6])])
        assert ledger.updates_table().loc[0, ["cells", "blocked_s"]].tolist() == pytest.approx([3 * 2 * 10, 3 * 2 * 10 * 1e-9])

    @pytest.mark.parametrize("preset", presets_of_networks())
    @pytest.mark.parametrize("network", [small_convolutional, recommender, histories])
    def test_energy_by_component_by_layer_and_over_time_is_one(self, preset: str, network) -> None:  # type: ignore[no-untyped-def]
        chip = load_chip(preset).with_changes(device=PULSE)
        network_ = trace(*network())
        updates = [Update(layer.name, 2e-6 * k, [0, layer.inputs - 1], 1.5) for k, layer in enumerate(network_.layers)]
        ledger = simulate(place(network_, chip), Arrivals.poisson(1e5, 6, seed=1), updates=updates, horizon=1e-4)
        written = 2e-12 * sum(1.5 * update["cells"] for _, update in ledger.updates_table().iterrows())
        assert ledger.energy["write"].sum() == pytest.approx(written, rel=1e-12)
        assert ledger.components()["energy_J"].sum() == pytest.approx(ledger.total_energy, rel=1e-12)
        by_layer = ledger.layers()["energy_J"].sum() + ledger.energy.loc[[INPUT, OUTPUT, STATIC]].to_numpy().sum()
        assert by_layer == pytest.approx(ledger.total_energy, rel=1e-12)
        assert ledger.integral_of_power() == pytest.approx(ledger.total_energy, rel=1e-9)
        assert ledger.power_over_time(37)["power_W"].mean() * ledger.span == pytest.approx(ledger.total_energy, rel=1e-9)

    def test_a_write_draws_its_power_while_it_lasts(self, writable: Chip) -> None:
        """One cell after another: energy of a pulse over its time; two crossbars of unlike height end one after the other."""
        ledger = run(linear(writable, 150, 10), [], [Update("0", 1e-6)])
        per_crossbar = 2e-12 / 1e-9
        edges, power = ledger.power
        static = writable.static_power
        assert (edges * FEMTOSECOND).tolist() == pytest.approx([0, 1e-6, 1e-6 + 22 * 20e-9, 1e-6 + 128 * 20e-9])
        assert (power - static).tolist() == pytest.approx([0, 2 * per_crossbar, per_crossbar])

    def test_without_updates_nothing_is_said_of_them(self, writable: Chip) -> None:
        ledger = run(linear(writable), [0.0], [])
        assert "write" not in [*ledger.energy.columns, *ledger.actions.columns, *ledger.components().index]
        assert len(ledger.updates_table()) == len(ledger.wear()) == 0


class TestLockStep:
    """Grouped and per-crossbar simulation give the same times and the same joules with updates, exactly."""

    @pytest.mark.parametrize("preset", ["isaac", "edge"])
    @pytest.mark.parametrize("network", [small_convolutional, residual, sequence, recommender, histories])
    def test_networks(self, preset: str, network, request: pytest.FixtureRequest) -> None:  # type: ignore[no-untyped-def]
        chip: Chip = request.getfixturevalue(preset).with_changes(structure={"tiles": 8}, device=PULSE)
        self.check(place(trace(*network()), chip, None), seed=3)

    @pytest.mark.parametrize("adcs", [1, 2, 4, 8])
    def test_tables_and_layers_of_many_cores_with_uneven_columns(self, edge: Chip, adcs: int) -> None:
        """Tables over several tiles, copies that take vectors in turn, shared and doubled ADCs."""
        chip = edge.with_changes(component={"adc": {"columns": 512 // adcs}}, device=PULSE, structure={"tiles": 16})
        self.check(place(trace(*histories()), chip, {"table": 2, "each": 3}), seed=adcs)
        model = seeded(None, nn.Linear(300, 75), nn.ReLU(), nn.Linear(75, 70))
        self.check(place(trace(model, torch.rand(2, 300)), chip, {"0": 2}), seed=adcs)

    @staticmethod
    def check(placement: Placement, seed: int) -> None:
        random, arrivals = np.random.default_rng(seed), Arrivals.poisson(3e5, 6, seed=seed)
        updates = []
        for layer in placement.network.layers:
            for begins in random.uniform(arrivals.times[0], arrivals.times[-1] + 2e-6, 15):
                rows = random.permutation(layer.inputs)[: random.integers(1, min(layer.inputs, 9) + 1)].tolist()
                updates.append(Update(layer.name, begins, rows, float(random.choice([0.7, 1.0, 2.1])), int(random.choice([1, 16]))))
        one, other = (
            simulate(placement, arrivals, resolution=resolution, updates=updates)  # type: ignore[arg-type]
            for resolution in ("group", "crossbar")
        )

        def listed(ledger: Ledger) -> list[tuple[object, ...]]:
            kinds = [ledger.activities[k] for k in ledger.activity]
            spans = zip(kinds, ledger.start_fs, ledger.end_fs, strict=True)
            return sorted((k.layer, k.stage, k.copy, k.update or 0, int(start), int(end)) for k, start, end in spans)

        assert listed(one) == listed(other)
        assert one.finish_fs.tolist() == other.finish_fs.tolist()
        assert one.actions.equals(other.actions)
        assert one.energy.equals(other.energy)
        assert one.updates_table().equals(other.updates_table())
        plain = simulate(placement, arrivals)
        assert one.latency.sum() > plain.latency.sum(), "updates that nobody waits for test nothing"
        assert other.events > one.events


@pytest.mark.parametrize(("requests_load", "writes_load"), [(0.5, 0.2), (0.3, 0.5)])
def test_poisson_load_with_updates_waits_as_priority_queueing(writable: Chip, requests_load: float, writes_load: float) -> None:
    """Two Poisson streams at one server, updates first without breaking off a vector: A. Cobham, Operations Research 2(1),
    1954, for fixed service times S and B: mean wait of requests (l_u B² + l_r S²) / 2 / ((1 - rho_u) (1 - rho_u - rho_r)),
    of updates (l_u B² + l_r S²) / 2 / (1 - rho_u); within 3 standard errors of independent runs."""
    placement = linear(writable)
    busy = float(np.diff(run(placement, [0.0] * 20, []).finish_fs)[-1]) * FEMTOSECOND
    (alone,) = run(placement, [0.0], []).latency
    write = 100 * 20 * 1e-9
    rate_r, rate_u = requests_load / busy, writes_load / write
    waits: list[tuple[float, float]] = []
    for seed in range(10):
        requests = Arrivals.poisson(rate_r, 2500, seed=seed)
        writes = Arrivals.poisson(rate_u, max(1, round(requests.times[-1] * rate_u)), seed=1000 + seed)
        ledger = run(placement, requests.times, [Update("0", time) for time in writes.times])
        table = ledger.updates_table()
        waits.append(((ledger.latency - alone)[300:-100].mean(), (table["start_s"] - table["begins_s"])[50:].mean()))
    residual_work = (rate_u * write**2 + rate_r * busy**2) / 2
    expected = np.array([residual_work / ((1 - writes_load) * (1 - writes_load - requests_load)), residual_work / (1 - writes_load)])
    mean, error = np.mean(waits, axis=0), np.std(waits, axis=0, ddof=1) / len(waits) ** 0.5
    print(f"waits {mean} s, Cobham {expected} s, standard errors {error} s")
    assert (error < 0.15 * expected).all()
    assert (abs(mean - expected) < 3 * error).all()


def test_every_copy_is_written_when_its_own_crossbars_are_free(writable: Chip) -> None:
    """Two copies take two requests in turn, 0.2 us apart; the update of both waits for each one's latch."""
    placement = linear(writable, replication={"0": 2})
    ledger = run(placement, [0.0, 0.2e-6], [Update("0", 0.4e-6, [0])])
    load = math.ceil(100 * 8 / 128) / 1.2e9
    assert runs(ledger, "write")[:, 0] == pytest.approx([load + 0.8e-6, load + 1.0e-6], abs=FEMTOSECOND)
    assert ledger.updates_table().loc[0, "blocked_s"] == pytest.approx(20e-9)


class TestWearOut:
    def test_closed_form(self, writable: Chip) -> None:
        """A million pulses, two a refresh, every four hours: 500,000 refreshes."""
        years = years_to_wear_out(writable.device, 4 * 3600.0, 2.0)
        assert years == pytest.approx(500_000 * 4 / 24 / 365.25, rel=1e-12)

    def test_what_is_missing_or_wrong_is_named(self, writable: Chip, edge: Chip) -> None:
        with pytest.raises(ParameterError, match=r"device\.endurance is needed"):
            years_to_wear_out(edge.device, 1.0)
        with pytest.raises(ParameterError, match="refresh_interval must be above 0"):
            years_to_wear_out(writable.device, 0.0)
        with pytest.raises(ParameterError, match="pulses_per_cell must be above 0"):
            years_to_wear_out(writable.device, 1.0, math.nan)


class TestErrors:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"begins": -1.0}, "begins must be 0 s or more and finite, got -1.0"),
            ({"begins": math.nan}, "begins must be"),
            ({"pulses_per_cell": 0.0}, "pulses_per_cell must be above 0 and finite, got 0.0"),
            ({"cells_at_once": 0}, "cells_at_once must be a whole number of at least 1, got 0"),
            ({"rows": []}, "rows must be one or more"),
            ({"rows": [1, 1]}, "each once"),
            ({"rows": [-1]}, "from 0 on"),
            ({"rows": [0.5]}, "rows must be whole numbers"),
        ],
    )
    def test_of_an_update(self, wrong: dict[str, Any], said: str) -> None:
        with pytest.raises(ParameterError, match=said):
            Update(**({"layer": "0", "begins": 0.0} | wrong))

    def test_what_the_chip_or_the_network_lacks(self, writable: Chip, edge: Chip) -> None:
        placement = linear(writable)
        with pytest.raises(ParameterError, match="update: no layer 'x'; layers: 0"):
            run(placement, [], [Update("x", 0.0)])
        with pytest.raises(ParameterError, match="rows must be from 0 to 99, the layer's inputs, got 100"):
            run(placement, [], [Update("0", 0.0, [100])])
        with pytest.raises(ParameterError, match=r"device\.write_energy is needed"):
            run(linear(edge), [], [Update("0", 0.0)])
        timeless = edge.with_changes(device={"write_energy": 1e-12})
        with pytest.raises(ParameterError, match=r"device\.write_time is needed"):
            run(linear(timeless), [], [Update("0", 0.0)])
        with pytest.raises(ParameterError, match="less than the clock's femtosecond"):
            run(placement, [], [Update("0", 0.0, [0], 1e-9)])

    def test_of_lookups(self, writable: Chip) -> None:
        placement = table(writable, look_ups=2)
        for lookups, said in (
            ({"x": [0]}, "no look-up layer 'x'; there are: table"),
            ({"table": [0]}, "must be 2 whole numbers, got 1 of int64"),
            ({"table": [0.0, 1.0]}, "must be 2 whole numbers, got 2 of float64"),
            ({"table": [0, 300]}, "from 0 to 299, got 0 to 300"),
        ):
            with pytest.raises(ParameterError, match=said):
                run(placement, [0.0], [], lookups=lookups)

"""Time: closed forms, queueing theory, lock-step against crossbar by crossbar, full load, idleness."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.hw.hand_built import wide, with_rates
from tests.hw.networks import histories, recommender, residual, seeded, sequence, small_convolutional, unusual_paths
from xbar.hw import Arrivals, Chip, ParameterError, place, simulate, trace
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.vector_operation import VectorOperations

PICOSECOND = 1e-12


def single_server(chip: Chip, off_chip_io: bool = False, **arrivals: object) -> Ledger:
    model = seeded(None, nn.Linear(100, 10))
    placement = place(trace(model, torch.rand(2, 100)), chip)
    stream = Arrivals.poisson(**arrivals) if arrivals else Arrivals.batch(50)  # type: ignore[arg-type]
    return simulate(placement, stream, off_chip_io=off_chip_io)


class TestClosedForms:
    def test_one_vector_on_isaac_by_hand(self, isaac: Chip) -> None:
        """One 100 x 10 layer: 10 x 8 = 80 columns on one ADC at 1.28 GS/s, 16 slices of 100 ns reads."""
        (latency,) = simulate(
            place(trace(seeded(None, nn.Linear(100, 10)), torch.rand(2, 100)), wide(isaac)),
            Arrivals.batch(1),
            off_chip_io=False,
        ).latency
        load = np.ceil(100 * 16 / 256) / 1.2e9  # bits over the 256-bit buffer port
        compute = 16 * 100e-9 + 80 / 1.28e9  # every read hides the conversions of the one before
        drain = 10 / 1.2e9  # ten additions into the output register
        assert latency == pytest.approx(load + compute + drain, abs=PICOSECOND)

    def test_an_adc_that_is_shared_sets_the_pace(self, edge: Chip) -> None:
        """400 inputs x 64 outputs: 4 crossbars of 64 pairs on the core's one ADC, 256 conversions in 200 ns."""
        (latency,) = simulate(
            place(trace(seeded(None, nn.Linear(400, 64)), torch.rand(2, 400)), wide(edge)),
            Arrivals.batch(1),
            off_chip_io=False,
        ).latency
        load = np.ceil(400 * 8 / 128) / 1.2e9
        compute = 100e-9 + 8 * 256 / 1.28e9
        drain = 4 * 64 / 1.2e9
        assert latency == pytest.approx(load + compute + drain, abs=PICOSECOND)

    def test_linear_pipeline(self, isaac: Chip) -> None:
        """Chain of 5 layers: latency is the sum of the stages; rate is one per slice loop of 1.6 us."""
        depth, requests = 5, 40
        model = seeded(None, *[nn.Linear(16, 16) for _ in range(depth)])
        placement = place(trace(model, torch.rand(2, 16)), wide(isaac))
        ledger = simulate(placement, Arrivals.batch(requests), off_chip_io=False)
        first_load = np.ceil(16 * 16 / 256) / 1.2e9
        later_load = 2 * first_load  # results of the layer before are written through the same port
        signed = 16 * 100e-9 + 128 / 1.28e9
        drain = 16 / 1.2e9
        sent = 0.0  # all five layers lie on one tile
        expected = first_load + (depth - 1) * later_load + depth * (signed + drain) + sent
        assert ledger.latency[0] == pytest.approx(expected, abs=10 * PICOSECOND)
        gaps = np.diff(ledger.finish_fs)
        assert (gaps == 16 * 100 * 10**6).all()

    def test_every_part_of_a_stage_bounds_it(self, isaac: Chip) -> None:
        """One 100 x 10 layer, each part slowed down in turn until it alone sets the time of its stage."""

        def latency(name: str = "", rate: float = 0.0) -> float:
            slow = with_rates(wide(isaac), **({name: rate} if name else {}))
            network = trace(seeded(None, nn.Linear(100, 10)), torch.rand(2, 100))
            return float(simulate(place(network, slow), Arrivals.batch(1), off_chip_io=False).latency[0])

        load, read, convert, drain = 7 / 1.2e9, 100e-9, 80 / 1.28e9, 10 / 1.2e9
        assert latency() == pytest.approx(load + 16 * read + convert + drain, abs=PICOSECOND)
        for name in ("buffer", "bus"):
            assert latency(name, 1e9) == pytest.approx(1600e-9 + 16 * read + convert + 160e-9, abs=PICOSECOND)
        reads = 100 / 0.5e9  # the register streams 100 bits a slice; it is filled as fast as the bus brings them
        assert latency("input_register", 0.5e9) == pytest.approx(load + 16 * reads + convert + drain, abs=PICOSECOND)
        for name in ("dac", "crossbar", "sample_hold"):
            assert latency(name, 1e6) == pytest.approx(load + 16e-6 + convert + drain, abs=PICOSECOND)
        for name, units in (("shift_add", 4), ("output_register", 1)):  # 1/8 of them behind each of 8 ADCs
            slow = 80 / (1e9 * units / 8)
            assert latency(name, 1e9) == pytest.approx(load + read + 16 * slow + drain, abs=PICOSECOND)
        for name in ("accumulator", "tile_register"):
            assert latency(name, 1e8) == pytest.approx(load + 16 * read + convert + 10 / 1e8, abs=PICOSECOND)

    def test_latency_does_not_depend_on_requests_behind(self, isaac: Chip) -> None:
        model, example = small_convolutional()
        placement = place(trace(model, example), isaac)
        alone = simulate(placement, Arrivals.batch(1)).latency[0]
        slow_stream = simulate(placement, Arrivals.at_rate(1 / (2 * alone), 5)).latency
        assert slow_stream == pytest.approx(alone, abs=PICOSECOND)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_poisson_load_on_one_server_waits_as_m_d_1(isaac: Chip, rho: float) -> None:
    """Mean wait rho S / (2 (1 - rho)) (Pollaczek-Khinchine) within 3 standard errors of independent runs."""
    service = float(np.diff(single_server(isaac).finish_fs)[0]) * 1e-15
    alone = single_server(isaac, per_second=1.0, requests=1, seed=0).latency[0]
    requests, warm_up = 3000, 500
    means = []
    for seed in range(16):
        latency = single_server(isaac, per_second=rho / service, requests=requests, seed=seed).latency
        means.append((latency - alone)[warm_up:].mean())
    expected = rho * service / (2 * (1 - rho))
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    print(f"rho {rho}: wait {np.mean(means):.4e} s, M/D/1 {expected:.4e} s, standard error {error:.1e} s")
    assert error < 0.15 * expected
    assert abs(np.mean(means) - expected) < 3 * error


class TestLockStep:
    """Grouped and per-crossbar simulation give the same times and the same joules, exactly."""

    @staticmethod
    def same(one: Ledger, other: Ledger) -> None:
        def runs(ledger: Ledger) -> list[tuple[str, str, int, int, int]]:
            kinds = ledger.activities
            listed = zip(ledger.activity, ledger.start_fs, ledger.end_fs, strict=True)
            return sorted(
                (kinds[k].layer, kinds[k].stage, kinds[k].copy, int(start), int(end)) for k, start, end in listed
            )

        assert runs(one) == runs(other)
        assert one.finish_fs.tolist() == other.finish_fs.tolist()
        assert one.actions.equals(other.actions)
        pd.testing.assert_frame_equal(one.energy, other.energy, rtol=1e-12)  # sums of the same in another order
        assert other.events > one.events

    @pytest.mark.parametrize("preset", ["isaac", "edge"])
    @pytest.mark.parametrize("network", [small_convolutional, residual, unusual_paths, sequence, recommender, histories])
    def test_networks(self, preset: str, network, request: pytest.FixtureRequest) -> None:  # type: ignore[no-untyped-def]
        chip: Chip = request.getfixturevalue(preset).with_changes(structure={"tiles": 4})
        model, example = network()
        placement = place(trace(model, example), chip)
        one, other = (
            simulate(placement, Arrivals.poisson(3e5, 4, seed=3), resolution=resolution)  # type: ignore[arg-type]
            for resolution in ("group", "crossbar")
        )
        self.same(one, other)

    @pytest.mark.parametrize("adcs", [1, 2, 4, 8])
    def test_tables_over_several_tiles(self, edge: Chip, adcs: int) -> None:
        """Row tiles whose crossbars share ADCs in different ways, copies that take look-ups in turn, uneven columns."""
        chip = edge.with_changes(component={"adc": {"columns": 512 // adcs}}, structure={"tiles": 16})
        placement = place(trace(*histories()), chip, {"table": 3, "each": 2})
        one, other = (
            simulate(placement, Arrivals.poisson(1e6, 12, seed=adcs), resolution=resolution)  # type: ignore[arg-type]
            for resolution in ("group", "crossbar")
        )
        self.same(one, other)

    @pytest.mark.parametrize("adcs", [1, 2, 4, 8])
    def test_layers_of_many_cores_with_uneven_columns(self, edge: Chip, adcs: int) -> None:
        """Row tiles, a last column tile of few columns, shared and doubled ADCs, two layers on one tile."""
        chip = edge.with_changes(component={"adc": {"columns": 512 // adcs}})
        model = seeded(None, nn.Linear(300, 75), nn.ReLU(), nn.Linear(75, 70), nn.ReLU(), nn.Linear(70, 3))
        placement = place(trace(model, torch.rand(2, 300)), chip, {"0": 2, "2": 3})
        one, other = (
            simulate(placement, Arrivals.batch(7), resolution=resolution)  # type: ignore[arg-type]
            for resolution in ("group", "crossbar")
        )
        self.same(one, other)


@pytest.fixture(scope="module")
def full_load(isaac: Chip) -> Ledger:
    """Every array of ISAAC busy in every cycle: 96 blocks of 128 x 16 weights a tile, ReLU behind."""
    blocks = isaac.structure.cores_per_tile * isaac.structure.crossbars_per_core  # one tile's worth
    model = seeded(None, nn.Conv2d(blocks * 128, blocks * 16, 1, groups=blocks), nn.ReLU())
    example = torch.rand(1, blocks * 128, isaac.structure.tiles, 4)
    placement = place(trace(model, example), isaac, {"0": isaac.structure.tiles})
    assert placement.crossbars_used == isaac.crossbars
    return simulate(placement, Arrivals.batch(25), off_chip_io=False)


class TestFullLoad:
    """What the component table promises, from the simulator at full load."""

    def test_operations_per_second(self, full_load: Ledger, isaac: Chip) -> None:
        implied = 168 * 12 * 8 * 128 * 128 / 8 * 2 / (16 * 100e-9)
        print(f"{full_load.summary()['operations_per_s'] / 1e12:.2f} TOPS of {implied / 1e12:.2f}")
        assert isaac.peak_operations_per_second == pytest.approx(implied)
        assert full_load.summary()["operations_per_s"] == pytest.approx(implied, rel=0.05)

    def test_operations_per_watt(self, full_load: Ledger, isaac: Chip) -> None:
        """Above the table's sum by what this load leaves idle: routers and pooling, about 3 % of the power."""
        implied = 41.28768e12 / 65.80808
        print(f"{full_load.summary()['operations_per_J'] / 1e9:.1f} GOPS/W of {implied / 1e9:.1f}")
        assert full_load.summary()["operations_per_J"] == pytest.approx(implied, rel=0.05)

    def test_converters_are_busy(self, full_load: Ledger) -> None:
        assert (full_load.components().loc[["adc", "dac", "crossbar"], "utilisation"] > 0.95).all()


class TestArrivals:
    def test_idle_chip_draws_static_power_and_no_more(self, isaac: Chip) -> None:
        model, example = small_convolutional()
        ledger = simulate(place(trace(model, example), isaac), Arrivals.batch(0), horizon=1e-3)
        assert ledger.span == pytest.approx(1e-3)
        assert ledger.total_energy == pytest.approx(isaac.static_power * 1e-3, rel=1e-12)
        assert ledger.peak_power == pytest.approx(isaac.static_power, rel=1e-12)
        assert ledger.link_energy == pytest.approx(10.4 * 1e-3, rel=1e-12)
        assert ledger.on_chip_energy == pytest.approx(isaac.leakage * 1e-3, rel=1e-12)
        assert ledger.leakage_energy == pytest.approx(isaac.leakage * 1e-3, rel=1e-12)
        assert isaac.provenance["component.link.static_power"].kind == "assumed"

    def test_same_seed_same_bits(self, isaac: Chip) -> None:
        model, example = residual()
        placement = place(trace(model, example), isaac)
        one, other = (simulate(placement, Arrivals.poisson(1e6, 20, seed=5)) for _ in range(2))
        assert (one.start_fs == other.start_fs).all()
        pd.testing.assert_frame_equal(one.energy, other.energy, rtol=1e-12)  # sums of the same in another order

    def test_trace_is_served_at_its_times(self, isaac: Chip) -> None:
        model, example = small_convolutional()
        times = (0.0, 1e-3, 1e-3, 2e-3)
        ledger = simulate(place(trace(model, example), isaac), Arrivals.trace(times))
        assert ledger.requests_table()["arrival_s"].tolist() == pytest.approx(times)
        assert (ledger.latency > 0).all()

    @pytest.mark.parametrize("times", [[1.0, 0.5], [-1.0], [float("nan")], [float("inf")], [[0.0]]])
    def test_wrong_times(self, times: list[float]) -> None:
        with pytest.raises(ParameterError, match="arrival times"):
            Arrivals.trace(times)

    @pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
    def test_wrong_rate(self, rate: float) -> None:
        with pytest.raises(ParameterError, match="arrival rate"):
            Arrivals.poisson(rate, 3, seed=0)

    def test_wrong_read_energy(self, isaac: Chip) -> None:
        model, example = small_convolutional()
        placement = place(trace(model, example), isaac)
        with pytest.raises(ParameterError, match="layers 7"):
            simulate(placement, Arrivals.batch(1), read_energy={"0": 1.0, "3": 1.0})


def test_a_layer_waits_for_its_receptive_field(isaac: Chip) -> None:
    """No vector of the second convolution loads before the pixels that its window covers were written."""
    model = seeded(None, nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    placement = place(trace(model, torch.rand(1, 1, 9, 9)), isaac, {"0": 1, "2": 1})
    ledger = simulate(placement, Arrivals.batch(1), off_chip_io=False)
    timeline = ledger.timeline
    written = timeline[(timeline["layer"] == "0") & (timeline["stage"] == "drain")]["end_s"].to_numpy()
    loaded = timeline[(timeline["layer"] == "2") & (timeline["stage"] == "load")]["start_s"].to_numpy()
    for vector in range(81):
        row, column = min(vector // 9 + 1, 8), min(vector % 9 + 1, 8)
        assert loaded[vector] >= written[row * 9 + column] - PICOSECOND


def test_times_beyond_the_clock_are_refused(isaac: Chip) -> None:
    """64 bits of femtoseconds end at 9,223 s: for arrivals, and for what is done after them."""
    with pytest.raises(ParameterError, match=r"comes to 1e\+04 s, beyond the 9223 s"):
        Arrivals.trace([1e4])
    placement = place(trace(seeded(None, nn.Linear(8, 4)), torch.rand(2, 8)), isaac.with_changes(timing={"array_read": 1.0}))
    assert simulate(placement, Arrivals.trace([9000.0])).latency[0] > 16
    with pytest.raises(ParameterError, match="beyond the 9223 s"):
        simulate(placement, Arrivals.trace([9220.0]))


def test_shared_tile_port_serves_one_at_a_time(edge: Chip) -> None:
    """Loads of layers that share a tile's port never overlap."""
    model = seeded(None, nn.Linear(300, 75), nn.ReLU(), nn.Linear(75, 70), nn.ReLU(), nn.Linear(70, 3))
    placement = place(trace(model, torch.rand(2, 300)), edge)
    operations = VectorOperations(placement, off_chip_io=True)
    tiles = [set(operations.of(copies[0]).load_ports) for copies in placement.copies.values()]
    assert tiles[1] & tiles[2], "the test needs two layers on one tile"
    timeline = simulate(placement, Arrivals.batch(30)).timeline
    loads = timeline[(timeline["stage"] == "load") & timeline["layer"].isin(["2", "4"])].sort_values("start_s")
    assert (loads["start_s"].to_numpy()[1:] >= loads["end_s"].to_numpy()[:-1] - PICOSECOND).all()

"""Buffers: a value counted by hand, the line buffer of a convolution, and that flow control bounds them."""

from math import ceil

import numpy as np
import pytest
import torch
from simpy import Environment
from torch import nn

from tests.hw.hand_built import looped, priced_as_it_was, recurrent
from tests.hw.networks import residual, seeded, small_convolutional
from xbar.hw import Arrivals, Chip, load_chip, place, simulate, trace
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import BufferCapacityError
from xbar.hw.events.buffers import buffer_demand
from xbar.hw.events.credits import Credits
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.simulator import Simulation
from xbar.hw.events.vector_operation import VectorOperations


class Joined(nn.Module):
    """Convolutions with a sum over two of them, for buffers that hold rows of several values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.inside, self.behind = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.halved, self.last = nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.Linear(16 * 25, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = (x + self.behind(self.inside(x).relu())).relu()
        return self.last(self.halved(x).relu().flatten(1))


# tiles, cores of a tile, crossbars of a core, buffer [KB], scheme, flit width [bit], samples held: loads beside results of
# the same copy in one instant (no buffer can run full), requests for room of several copies in one instant
TIGHT = [(27, 3, 2, 1.0, "separate", 64, 1), (8, 3, 6, 0.75, "separate", 16, 3)]


def tight(seed: int) -> tuple[int, int, int, float, str, int, int]:
    draw = np.random.default_rng(seed)
    tiles, cores, crossbars = (int(draw.integers(low, high)) for low, high in ((8, 30), (1, 4), (1, 5)))
    size, scheme, flit = (draw.choice(names) for names in ([0.5, 0.75, 1.0], ["differential", "separate"], [16, 64]))
    return tiles, cores, 2 * crossbars, float(size), str(scheme), int(flit), int(draw.integers(1, 4))


NETWORKS_IN_LOOPS = {"one layer": recurrent(6), "two in a loop": looped(5)}


def test_a_vector_waits_for_its_reader(isaac: Chip) -> None:
    """16 values of 16 bits between two layers; the sample of 8 values is read before they exist."""
    model = seeded(None, nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    ledger = simulate(place(trace(model, torch.rand(1, 8)), isaac), Arrivals.batch(1))
    demand = buffer_demand(ledger)
    assert demand.loc[0, "peak_bits"] == 16 * 16
    assert demand.loc[0, "share"] == pytest.approx(16 * 16 / (64 * 1024 * 8))
    assert (demand.loc[1:, "peak_bits"] == 0).all()


def test_indices_wait_for_their_look_ups(isaac: Chip) -> None:
    """Four indices of 10 bits come together and are read one after another; one of 700 rows x 70 on one tile."""
    network = trace(seeded(None, nn.Embedding(700, 70)), torch.zeros(1, 4, dtype=torch.long))
    demand = buffer_demand(simulate(place(network, isaac, None), Arrivals.batch(1)))
    assert demand.loc[0, "peak_bits"] == pytest.approx(4 * 10)
    assert (demand.loc[1:, "peak_bits"] == 0).all()
    apart = Arrivals.trace([0.0, 1e-3, 2e-3])
    single = place(trace(seeded(None, nn.Embedding(700, 70)), torch.zeros(1, dtype=torch.long)), isaac, None)
    assert buffer_demand(simulate(single, apart, lookups={"0": [650, 300, 0]})).loc[0, "peak_bits"] == pytest.approx(10)


@pytest.mark.parametrize(("channels", "width", "kernel"), [(4, 12, 3), (3, 15, 5)])
def test_a_convolution_needs_its_line_buffer(isaac: Chip, channels: int, width: int, kernel: int) -> None:
    """ISAAC (ISCA 2016), section on buffers: (N_x (K_y - 1) + K_x) N_if values; the pipeline adds the few
    positions that are made while a window is being loaded."""
    model = seeded(None, nn.Conv2d(1, channels, 1), nn.ReLU(), nn.Conv2d(channels, 2, kernel))
    placement = place(trace(model, torch.rand(1, 1, width, width)), isaac, {"0": 1, "2": 1})
    ledger = simulate(placement, Arrivals.batch(1), off_chip_io=False)
    positions = buffer_demand(ledger)["peak_bits"].max() / (16 * channels)
    line_buffer = width * (kernel - 1) + kernel
    print(f"{positions:.0f} positions, line buffer {line_buffer}")
    assert line_buffer <= positions <= line_buffer + 4


@pytest.mark.parametrize("network", [small_convolutional, residual])
def test_flow_control_bounds_buffers_under_any_load(edge: Chip, network) -> None:  # type: ignore[no-untyped-def]
    """However many samples come at once and however uneven the layers are, no reader holds more than two."""
    model, example = network()
    placement = place(trace(model, example), edge, None)
    held_by_all = sum(flow.values for flow in placement.network.flows) * edge.inputs.bits
    peaks = [buffer_demand(simulate(placement, Arrivals.batch(requests)))["peak_bits"].sum() for requests in (1, 8, 40)]
    assert peaks[0] <= peaks[1] <= peaks[2] * (1 + 1e-9)
    assert peaks[2] == pytest.approx(peaks[1], rel=0.05)
    assert peaks[2] <= 3 * held_by_all


def test_flow_control_does_not_slow_a_balanced_pipeline(isaac: Chip) -> None:
    """The rate stays that of the slowest layer: 64 vectors of 1.6 us on one copy."""
    model, example = small_convolutional()
    ledger = simulate(place(trace(model, example), isaac, None), Arrivals.batch(20))
    assert 1 / ledger.steady_throughput == pytest.approx(64 * 1.6e-6, rel=1e-3)


def tightly_placed(tiles: int, cores: int, crossbars: int, size: float, scheme: str, flit: int) -> Placement:
    """Branches that are joined, on tiles with buffers of so many times 8,192 bits."""
    chip = load_chip("generic").with_changes(
        structure={"tiles": tiles, "cores_per_tile": cores, "crossbars_per_core": crossbars}, weights={"scheme": scheme},
        timing={"buffer_size": round(size * 8192), "flit_width": flit},
    )  # fmt: skip
    return place(trace(seeded(None, Joined()), torch.zeros(1, 3, 10, 10)), chip, "balance")


class TestFiniteBuffers:
    @staticmethod
    def run(chip: Chip, built, size: int, **options) -> tuple[Ledger, Credits]:  # type: ignore[no-untyped-def]
        """A simulation with buffers of that many bits, and the room that it kept."""
        model, example = built() if callable(built) else built
        placement = place(trace(model, example), priced_as_it_was(chip, timing={"buffer_size": size}), options.pop("copies", None))
        simulation = Simulation(placement, Arrivals.batch(options.pop("requests", 6)), True, False, 2, (), {})
        for finished in simulation.start():
            simulation.run(finished)
        return simulate(placement, Arrivals.batch(6), **options), simulation.credits

    @pytest.mark.parametrize("network", [small_convolutional, residual])
    @pytest.mark.parametrize("copies", [None, "balance"])
    def test_no_buffer_holds_more_than_it_has(self, edge: Chip, network, copies) -> None:  # type: ignore[no-untyped-def]
        """Down to what one sample takes, under which nothing is promised; smaller buffers never serve sooner."""
        _, free = self.run(edge, network, 10**9, copies=copies)
        assert not free.watched
        taken = [free.destinations.taken(source, 0) for source in free.sources]
        one = max(sum(sum(held.get(tile, {}).values()) for held in taken) for tile in range(8))
        before = 0.0
        for factor in (1.9, 1.4, 1.0):
            ledger, credits = self.run(edge, network, ceil(factor * one), copies=copies)
            assert credits.watched
            assert all(0 < peak <= credits.size + 1e-2 for peak in credits.peak.values())
            assert all(abs(level) < 1e-2 for level in credits.level.values()), "all room is given back"
            assert ledger.throughput <= before or not before or ledger.throughput == pytest.approx(before, rel=0.02)
            before = ledger.throughput

    def test_a_full_buffer_stops_the_layer_before(self, isaac: Chip) -> None:
        """A quick layer before a slow one, and room for one sample and three vectors' results: at every time what was sent and
        not loaded yet is within the buffer, and the quick layer waits for the slow one."""
        model = seeded(None, nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 64, 1))
        slow = isaac.with_changes(component={"adc": {"rate": 1e7}})
        size = 40 * 16 + 3 * 8 * 16
        ledger, credits = self.run(slow, (model, torch.rand(1, 1, 1, 40)), size)
        timeline = ledger.timeline
        changes = []
        for layer, stage, bits in (("(input)", "transfer", 40 * 16), ("0", "load", -16), ("0", "drain", 8 * 16), ("2", "load", -8 * 16)):
            ends = timeline.loc[(timeline["layer"] == layer) & (timeline["stage"] == stage), "end_s"]
            changes += [(end, bits) for end in ends]
        held = np.cumsum([bits for _, bits in sorted(changes)])
        assert size - 8 * 16 <= held.max() <= size
        assert credits.peak[0] <= size
        computes = timeline[timeline["stage"] == "compute"].groupby("layer", observed=True)["end_s"].max()
        assert computes["0"] > 0.8 * computes["2"]

    def test_a_sample_that_never_fits(self, edge: Chip) -> None:
        with pytest.raises(BufferCapacityError, match=r"tile 0 .* 512 bits at once, and timing.buffer_size is 500 bits") as caught:
            self.run(edge, small_convolutional, 500)
        assert (caught.value.tile, caught.value.needed, caught.value.available) == (0, 512, 500)

    def test_rows_that_wait_for_each_other(self, isaac: Chip) -> None:
        """A kernel of 5 x 5 needs four rows and five positions at once, and the buffer has three rows: told, not hung."""
        model = seeded(None, nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 5))
        picture = 15 * 15 * 16
        size = picture + 3 * 15 * 4 * 16 - picture // 2
        with pytest.raises(BufferCapacityError, match="with 18,000 bits, a whole sample's on the tile that gets most, none wait") as caught:
            self.run(isaac, (model, torch.rand(1, 1, 15, 15)), size)
        assert caught.value.enough == picture + 15 * 15 * 4 * 16
        assert caught.value.needed < caught.value.enough  # what was lacking then would not have done for long

    @pytest.mark.parametrize("name", ["small", "residual", *NETWORKS_IN_LOOPS])
    def test_with_what_is_told_to_be_enough_no_row_locks_up(self, isaac: Chip, name: str) -> None:
        made = {"small": small_convolutional, "residual": residual}
        built = trace(*made[name]()) if name in made else NETWORKS_IN_LOOPS[name]
        with pytest.raises(BufferCapacityError) as caught:
            simulate(place(built, priced_as_it_was(isaac, timing={"buffer_size": 100}), None), Arrivals.batch(2))
        enough = ceil(caught.value.enough)
        assert enough > 100
        placement = place(built, priced_as_it_was(isaac, timing={"buffer_size": enough}), None)
        for arrivals in (Arrivals.batch(60), Arrivals.poisson(1e7, 60, seed=1)):
            assert simulate(placement, arrivals, engine="compiled").requests == 60

    @pytest.mark.parametrize("name", NETWORKS_IN_LOOPS)
    def test_loops_never_lock_up(self, isaac: Chip, name: str) -> None:
        built = NETWORKS_IN_LOOPS[name]
        for size in (3000, 2500):
            chip = priced_as_it_was(isaac, timing={"buffer_size": size})
            runs = [
                simulate(place(built, chip, None), Arrivals.batch(9), resolution=resolution).finish_fs.tolist()  # type: ignore[arg-type]
                for resolution in ("group", "crossbar")
            ]
            assert runs[0] == runs[1]

    @pytest.mark.parametrize("case", [*TIGHT, *map(tight, range(10))], ids=str)
    def test_crossbar_by_crossbar_is_the_same_where_buffers_are_tight(self, case) -> None:  # type: ignore[no-untyped-def]
        *chip, held = case
        placement = tightly_placed(*chip)
        assert case is TIGHT[0] or Credits(Environment(), VectorOperations(placement, True), held).watched
        group, single = (simulate(placement, Arrivals.batch(4), samples_held=held, resolution=each) for each in ("group", "crossbar"))
        assert group.finish_fs.tolist() == single.finish_fs.tolist()
        assert group.total_energy == pytest.approx(single.total_energy)

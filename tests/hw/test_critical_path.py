"""What a latency is made of, and what bounds the period: against times by hand, and chips of which it is known what binds."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from tests.hw.networks import histories, residual, seeded, small_convolutional, unusual_paths
from xbar.hw import Arrivals, ParameterError, Placement, load_chip, place, simulate, trace
from xbar.hw.events.bounds import count, held_in, periods
from xbar.hw.events.critical_path import PARTS, critical_path

NETWORKS = (small_convolutional, residual, unusual_paths, histories)


def placed(preset: str, build: Any, copies: Any = "balance", sharing: Any = "as_needed", **changes: Any) -> Placement:
    model, example = build()
    return place(trace(model, example), load_chip(preset).with_changes(**changes), copies, sharing)


def one_layer() -> tuple[nn.Module, torch.Tensor]:
    return seeded(None, nn.Linear(16, 10)), torch.rand(2, 16)


def two_layers() -> tuple[nn.Module, torch.Tensor]:
    """A convolution of 16 vectors, and a linear layer."""
    return seeded(None, nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)), torch.rand(2, 1, 6, 6)


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("preset", ["edge", "isaac"])
def test_spans_sum_to_the_latency_of_any_request(preset: str, build: Any) -> None:
    placement = placed(preset, build)
    for arrivals, request in (
        (Arrivals.batch(1), 0), (Arrivals.batch(4), 3), (Arrivals.poisson(3e5, 4, seed=1), 2),
    ):  # fmt: skip
        path, ledger = critical_path(placement, arrivals, request), simulate(placement, arrivals)
        assert (path.arrival_fs, path.finish_fs) == (ledger.arrival_fs[request], ledger.finish_fs[request])
        assert path.spans[0].begin == path.arrival_fs
        assert path.spans[-1].end == path.finish_fs
        assert all(one.end == other.begin for one, other in pairwise(path.spans))
        for table in (path.table(), path.parts()):
            assert table["time_fs"].sum() == path.latency_fs
            assert table["share"].sum() == pytest.approx(1, abs=1e-12)
        assert path.parts().index.is_unique


def test_one_vector_by_hand() -> None:
    """16 inputs of 8 bits over 0.8 GB/s, one router, two words of 128 bits at 1.2 GHz, eight reads of 100 ns, ten conversions at 1.28 GS/s,
    ten sums, and back."""
    path = critical_path(placed("edge", one_layer, None))
    tick = 1e6 / 1.2  # [fs]
    by_hand = [
        ("link", 20_000_000), ("mesh", tick), ("load", 2 * tick), ("read", 100_000_000), ("read", 700_000_000), ("conversion", 7_812_500),
        ("digital", 10 * tick), ("results read", tick), ("mesh", tick), ("link", 12_500_000),
    ]  # fmt: skip
    assert [span.kind for span in path.spans] == [kind for kind, _ in by_hand]
    assert [span.length for span in path.spans] == pytest.approx([time for _, time in by_hand], abs=2)
    assert not any(span.waiting for span in path.spans)
    assert {span.component for span in path.spans if span.kind == "digital"} == {"accumulator"}


SLOW_ADC = {"component": {"adc": {"rate": 0.064e9}}}  # 32 columns take 500 ns, a read 100 ns
BOUND: dict[str, tuple[dict[str, Any], str, str]] = {
    "conversions": (SLOW_ADC, "adc", "ADCs of 0"),
    "array reads": ({"timing": {"array_read": 2e-6}}, "crossbar", "arrays of 0"),
    "off-chip links": ({"component": {"link": {"rate": 1e6}}}, "link", "off-chip links"),
    "buffers and buses": ({"timing": {"bus_width": 1, "tile_clock": 5e7}}, "bus", "buffer ports"),
    "digital units": ({"component": {"activation": {"rate": 1e6}}}, "activation", "digital units"),
}


@pytest.mark.parametrize("part", BOUND)
def test_what_binds_is_named(part: str) -> None:
    """Latency and period of chips one part of which is far slower than all others."""
    changes, component, kind = BOUND[part]
    placement = placed("edge", two_layers, None, **changes)
    parts = critical_path(placement).parts()
    assert (parts.index[0], parts["component"].iloc[0]) == (part, component)
    assert parts["share"].iloc[0] > 0.8
    found = periods(count(placement).held)
    assert found.index[0] == kind
    assert found["period_s"].iloc[0] > 2 * found["period_s"].iloc[2]
    steady = 1 / simulate(placement, Arrivals.batch(100)).steady_throughput
    assert found["period_s"].iloc[0] == pytest.approx(steady, rel=0.05)


def test_vectors_that_queue_for_arrays_wait() -> None:
    """Sixteen vectors of a copy, each of eight slices of 500 ns: all slices but those of the last are waited for."""
    path = critical_path(placed("edge", two_layers, None, **SLOW_ADC))
    mine = [span for span in path.spans if span.layer == "0" and span.of_slices]
    assert [span.length for span in mine] == [7 * 500_000_000] * 16
    assert sum(span.waiting for span in mine) == 15
    assert {span.kind for span in mine} == {"conversion"}


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize(("preset", "sharing"), [("edge", "as_needed"), ("isaac", "as_needed"), ("edge", "cores")])
def test_counts_are_those_of_the_simulation(preset: str, sharing: str, build: Any) -> None:
    """Actions and holds by unit, of deals that repeat after up to four samples; look-ups of tables are drawn, and so left out."""
    placement = placed(preset, build, sharing=sharing)
    ledger, counts = simulate(placement, Arrivals.batch(24)), count(placement)
    held = {unit: time for unit, time in held_in(ledger).items() if not unit.startswith("shared")}
    drawn = any(layer.lookup for layer in placement.network.layers)
    if not drawn:
        assert {unit: time for unit, time in counts.held.items() if time and not unit.startswith("shared")} == pytest.approx(held, rel=1e-9)
    for layer, actions in counts.actions.items():
        assert actions == pytest.approx({name: ledger.actions.loc[layer, name] / 24 for name in actions}, rel=1e-9)
    for layer, charged in counts.charged.items():
        assert charged["crossbar"] <= counts.actions[layer]["crossbar"] * (1 + 1e-9)
        costs = placement.chip.costs_for(layer)
        energies = {name: count * costs[name].energy_per_action for name, count in charged.items()}
        assert energies == pytest.approx({name: ledger.energy.loc[layer, name] / 24 for name in charged}, rel=1e-2 if drawn else 1e-9)


def test_a_request_that_is_not_there_is_refused() -> None:
    with pytest.raises(ParameterError, match="request must be from 0 to 0, got 1"):
        critical_path(placed("edge", one_layer), request=1)


def test_every_kind_of_work_has_a_part() -> None:
    kinds = {span.kind for build in NETWORKS for span in critical_path(placed("isaac", build)).spans}
    assert kinds <= set(PARTS)

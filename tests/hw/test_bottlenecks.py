"""What binds a run and what would next: shares that sum to the whole, and the bound that follows."""

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.hw.events.bottlenecks import Bottlenecks, area_parts, bottlenecks, energy_parts
from xbar.hw.events.bounds import count, periods
from xbar.hw.events.critical_path import critical_path


@pytest.fixture(scope="module")
def found() -> tuple[Bottlenecks, object]:
    model = seeded(None, nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    placement = place(trace(model, torch.rand(2, 1, 6, 6)), load_chip("edge"), None)
    ledger = simulate(placement, Arrivals.batch(40))
    return bottlenecks(ledger, critical_path(placement), count(placement).held), ledger


def test_shares_sum_to_the_whole(found: tuple[Bottlenecks, object]) -> None:
    bound, ledger = found
    assert energy_parts(ledger).sum() == pytest.approx(ledger.on_chip_energy / 40, rel=1e-12)  # type: ignore[arg-type, attr-defined]
    chip = ledger.chip  # type: ignore[attr-defined]
    assert area_parts(chip).sum() == pytest.approx(chip.area - chip.table().loc["link", "area_m2"], rel=1e-12)
    assert bound.latency["share"].sum() == pytest.approx(1, abs=1e-12)
    assert bound.energy.is_monotonic_decreasing
    assert bound.area.is_monotonic_decreasing


def test_one_row_a_quantity_with_what_comes_next(found: tuple[Bottlenecks, object]) -> None:
    bound, _ = found
    table = bound.table()
    assert list(table.index) == ["latency", "throughput", "energy", "area"]
    assert (table["share"] >= table["next_share"]).all()
    assert table.loc["throughput", "binds"] == "arrays of 0"  # sixteen vectors of 800 ns
    assert bound.throughput.loc["arrays of 0", "period_s"] == pytest.approx(16 * 800e-9)
    assert table.loc["throughput", "share"] == pytest.approx(1, abs=0.01)
    assert table.loc["throughput", "next"] == bound.throughput.index[1]


def test_where_nothing_comes_next_there_is_none() -> None:
    only = periods({"arrays of a, copy 0": 5.0, "arrays of a, copy 1": 6.0})["unit"]
    assert only.to_dict() == {"arrays of a": "arrays of a, copy 1"}

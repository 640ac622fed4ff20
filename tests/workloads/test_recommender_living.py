"""A chip over months: cells against closed forms, requests that wait against events, a short life against what it must come to."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xbar.hw import Arrivals, Device, Update, load_chip, place, simulate, trace
from xbar.hw.errors import ParameterError
from xbar.hw.events.steady import Queue
from xbar.hw.events.updates import years_to_wear_out
from xbar.reports.living import LivingSheet, draw_living
from xbar.workloads.recommender.interactions import DAY, HOUR
from xbar.workloads.recommender.living import (
    Cells,
    Life,
    Policy,
    Serving,
    World,
    best,
    devices,
    live,
    stalled,
    told,
    weighted_quantile,
)

EXACT = Device(levels=16, g_min=1e-6, g_max=40e-6, write_energy=1e-12, write_time=1e-7, endurance=1e5)
DRIFTS = Device(levels=16, g_min=0.0, g_max=25e-6, reference_time=20.0, drift_exponent=0.05, write_energy=1e-12, write_time=1e-7)
SHORT = Life(days=40, window_days=10, teachers=12, members=6, interactions=24)


def rows(count: int) -> torch.Tensor:
    return torch.arange(count)


def values(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---- cells


def test_exact_cells_hold_numbers_to_their_bits_for_ever() -> None:
    cells, wanted = Cells(5, 7, EXACT, 9, 1.0, 0), values(5, 7)
    assert cells.write(rows(5), wanted, 0.0) == 1.0
    assert cells.read(1e9) == pytest.approx((wanted * 255).round() / 255, abs=1e-5)
    assert cells.cells == 7 * 2 * 2  # a pair of cells for each of two digits of 4 bits
    cells.write(rows(1), torch.full((1, 7), 3.0), 5.0)
    assert cells.read(5.0)[0] == pytest.approx(torch.ones(7), abs=1e-5)  # what is beyond the range is clipped


def test_drift_of_one_number_is_the_law_and_what_is_known_of_it_is_made_up_for() -> None:
    """One member, one exponent for all cells: reading makes up for all of it. Another mean at g_max leaves the difference."""
    one = Cells(1, 1, DRIFTS, 9, 1.0, 0)
    one.write(rows(1), torch.ones(1, 1), 100.0)
    assert one.read(100.0 + 30 * DAY).item() == pytest.approx(1.0, abs=1e-5)
    assert one.expected_drift(100.0 + 30 * DAY).item() == pytest.approx(0.0, abs=1e-6)
    sloped = DRIFTS.model_copy(update={"drift_exponent_slope": -0.01, "drift_exponent_low": 0.05, "drift_exponent_high": 0.2})
    half = Cells(1, 1, sloped, 5, 1.0, 0)  # one digit of 4 bits
    half.write(rows(1), torch.full((1, 1), 5 / 15), 100.0)
    lost = ((30 * DAY + 20) / 20) ** -(-0.01 * math.log(5 / 15))
    assert half.read(100.0 + 30 * DAY).item() == pytest.approx(5 / 15 * lost, rel=1e-4)
    assert half.expected_drift(100.0 + 30 * DAY).item() == pytest.approx(5 / 15 * (1 - lost), rel=1e-4)
    assert half.errors(100.0 + 30 * DAY).item() == pytest.approx(5 / 15 * (1 - lost), rel=1e-3)


def test_what_the_law_expects_is_what_many_cells_do() -> None:
    spread = DRIFTS.model_copy(update={"drift_exponent": 0.1, "drift_exponent_sigma": 0.02})
    cells = Cells(1, 20_000, spread, 5, 1.0, 0)  # one digit of 4 bits; exponents far from 0, where |N| is N
    cells.write(rows(1), values(1, 20_000), 0.0)
    assert cells.errors(100 * DAY).item() == pytest.approx(cells.expected_drift(100 * DAY).item(), rel=0.03)


def test_tighter_writes_take_more_pulses_and_leave_less_error() -> None:
    pulses, errors = [], []
    for tolerance in (0.2, 0.05, 0.02):
        noisy = Device.model_validate(EXACT.model_dump() | {"g_min": 20e-6, "programming_model": "independent", "programming_sigma": 0.05,
                                      "write_verify_tolerance": tolerance, "write_verify_most": 100})  # fmt: skip
        cells = Cells(40, 20, noisy, 9, 1.0, 0)
        pulses.append(cells.write(rows(40), values(40, 20), 0.0))
        errors.append(cells.errors(0.0).square().mean().sqrt().item())
    # a draw is taken where |N(0, 0.05)| <= tolerance, so that pulses are 1 over the chance of that; far from 0 S, where none is cut off
    chances = [math.erf(tolerance / 0.05 / math.sqrt(2)) for tolerance in (0.2, 0.05, 0.02)]
    assert pulses == pytest.approx([1 / chance for chance in chances], rel=0.05)
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]


def test_cells_are_stuck_from_their_endurance_on() -> None:
    cells, wanted = Cells(2, 3, EXACT.model_copy(update={"endurance": 3.0}), 9, 1.0, 0), values(2, 3)
    for _ in range(3):
        cells.write(rows(1), wanted[:1], 0.0)
    assert not cells.stuck.any()
    cells.write(rows(1), wanted[:1], 0.0)
    assert (cells.stuck[0] != 0).all()
    assert not cells.stuck[1].any()
    before = cells.read(0.0)[0]
    cells.write(rows(1), -wanted[:1], 0.0)
    assert torch.equal(cells.read(0.0)[0], before)  # whatever is written


# ---- requests that wait


def test_requests_during_an_outage_wait_until_its_end_in_order() -> None:
    """M/D/1 with an outage long against the rest: request k of those that came meanwhile is done k services after it."""
    queue = Queue(np.array([10**9]), 1e9)
    latencies, span = stalled(queue, 0.5, 1e-3, 1)
    assert span == pytest.approx(2e-3 + 400e-6)
    assert len(latencies) == pytest.approx(span * 0.5e6, abs=2)
    assert latencies[0] == pytest.approx(1e-3, rel=0.02)
    assert np.diff(latencies[:200]).mean() == pytest.approx(-1e-6, rel=0.3)  # a service later, two after the one before
    assert latencies[-50:].mean() < 5e-6
    assert stalled(queue, 0.5, 0.0)[0].max() < 50e-6


def test_waiting_for_a_write_is_that_of_the_events() -> None:
    """A table that is written anew from the beginning, on the simulator and by the recursion: within a service and the look-up."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(16, 8), nn.Linear(8, 4)

        def forward(self, index: torch.Tensor) -> torch.Tensor:
            return self.out(self.table(index))

    chip = load_chip("isaac", {"device.write_energy": "1pJ", "device.write_time": "50ns"})
    placement = place(trace(Table().eval(), torch.arange(4)), chip, {"table": 1, "out": 1})
    update = Update("table", 0.0, None, 1.0)
    outage = float(simulate(placement, Arrivals.batch(0), updates=[update]).updates_table()["end_s"].iloc[0])
    queue = Queue.of(placement)
    arrivals = Arrivals.poisson(0.5 / queue.service, 60, 3)
    events = simulate(placement, arrivals, updates=[update], lookups={"table": [k % 16 for k in range(60)]}).latency
    times = arrivals.femtoseconds
    waited = (queue.finish(np.maximum(times, round(outage * 1e15))) - times) * 1e-15
    assert outage > 5 * queue.service
    assert np.abs(events - waited).max() < queue.service + queue.alone
    assert events[0] > outage / 2


def test_samples_weigh_what_they_stand_for() -> None:
    few, many = np.full(10, 5.0), np.full(1000, 1.0)
    assert weighted_quantile([(few, 0.02), (many, 0.98)], 0.99) == 5.0
    assert weighted_quantile([(few, 0.005), (many, 0.995)], 0.99) == 1.0


# ---- lives


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(SHORT)


@pytest.fixture(scope="module")
def serving(world: World) -> Serving:
    return Serving.of(world, load_chip("isaac-vector"))


def test_without_drift_and_error_cells_serve_what_buffers_do(world: World, serving: Serving) -> None:
    weekly = Policy("weekly", 7 * 24, "changed")
    in_cells, in_buffers = (live(world, weekly, device, serving) for device in (EXACT, None))
    assert in_cells["auc"].tolist() == pytest.approx(in_buffers["auc"].tolist(), abs=0.003)  # rounding of 1e-6 may turn a pair
    assert (in_cells["error"] < 1e-5).all()
    assert in_cells["rows_written"].tolist() == in_buffers["rows_written"].tolist()
    assert in_buffers["refresh_J"].sum() < in_cells["refresh_J"].sum()
    assert in_buffers["p99_writing_s"].isna().all()
    assert in_cells["interactions"].sum() == len(world.rows(0, SHORT.days * DAY))


def test_pulses_energy_and_years_of_a_fixed_refresh_are_counted_by_hand(world: World, serving: Serving) -> None:
    found = live(world, Policy("all, daily", 24, "all"), EXACT, serving)
    refreshes = SHORT.days - 1
    assert found["pulses"].iloc[-1] == refreshes
    assert found["rows_written"].sum() == SHORT.members * SHORT.days
    size, cells_a_number = world.learner.recipe.size, 4
    block = sum(value.numel() for value in world.learner.model.globals.parameters() if value.dim() == 2)
    each = SHORT.a_chip * size * cells_a_number + block * cells_a_number
    assert found["refresh_J"].sum() == pytest.approx(refreshes * each * 1e-12)
    of_life = told(found, EXACT, SHORT)
    assert of_life["years"] == pytest.approx(years_to_wear_out(EXACT, DAY) * SHORT.days / refreshes)
    assert found["p99_writing_s"].min() > found["p99_s"].max() > serving.queue.alone
    never = live(world, Policy("never", 24, "never"), EXACT, serving)
    assert (told(never, EXACT, SHORT)["years"], never["refresh_J"].sum(), never["rows_written"].sum()) == (math.inf, 0, SHORT.members)


def test_rows_are_written_when_their_drift_has_come_to_the_threshold(world: World, serving: Serving) -> None:
    """By its law alone, at the first check after it has; without new interactions, of which the world's last days have few."""
    sloped = DRIFTS.model_copy(update={"drift_exponent_slope": -0.02, "drift_exponent_low": 0.05, "drift_exponent_high": 0.2})
    table = Cells(1, 16, sloped, 9, 1.0, 0)
    table.write(rows(1), values(1, 16), 0.0)
    ages = np.arange(1, 200) * DAY
    drifts = np.array([table.expected_drift(age).item() for age in ages])
    assert (np.diff(drifts) > 0).all()
    seldom, often = (live(world, Policy("d", 24, "drift", threshold), sloped, serving)["rows_written"].sum() for threshold in (1.0, 0.005))
    changed = live(world, Policy("c", 24, "changed"), sloped, serving)["rows_written"].sum()
    assert seldom == changed < often


def test_worn_cells_cost_accuracy_of_what_they_hold(world: World, serving: Serving) -> None:
    weak = EXACT.model_copy(update={"endurance": 15.0})
    found = live(replace(world), Policy("all, daily", 24, "all"), weak, serving)
    assert found["stuck"].iloc[0] < found["stuck"].iloc[-1]
    assert found["stuck"].iloc[-1] > 0.9
    assert found["error"].iloc[-1] > 0.3


def test_the_best_policy_is_the_cheapest_of_the_good_that_last(tmp_path: Path, world: World) -> None:
    lives = pd.DataFrame(
        [("pcm", "a", 0.700, 9.0, 1e3, 5.0), ("pcm", "b", 0.699, 3.0, 1e3, 5.0), ("pcm", "c", 0.690, 1.0, 1e3, 5.0),
         ("pcm", "d", 0.71, 1.0, 2.0, 5.0),
         ("hfox", "a", 0.7, 2.0, 1.0, 5.0)], columns=["place", "policy", "auc", "refresh_J", "years", "pulses_a_year"],
    )  # fmt: skip
    assert best(lives) == {"pcm": "b", "hfox": "a"}
    assert list(devices(SHORT)) == ["buffers", "hfox", "pcm"]
    with pytest.raises(ParameterError, match="policy x: hours and threshold must be above 0"):
        Policy("x", 0.0, "all")
    assert world.ends(10 * HOUR).shape == (SHORT.members,)


def test_a_life_is_kept_and_drawn(world: World, serving: Serving, tmp_path: Path, undrawn: None) -> None:
    policies = (Policy("never", 168, "never"), Policy("changed", 168, "changed"))
    lives, windows = [], []
    for place_, device in devices(SHORT).items():
        for policy in policies:
            found = live(world, policy, device, serving)
            windows.append(found.assign(place=place_, policy=policy.name))
            lives.append({"place": place_, "policy": policy.name, **told(found, device, SHORT)})
    table = pd.DataFrame(lives)
    meta = {"version": "0", "life": {"days": 40, "a_chip": 100, "members": 6, "load": 0.5}, "chip": "isaac", "chip_title": "ISAAC",
            "best": best(table), "interactions": 9, "most_lost": 0.002, "least_years": 10.0}  # fmt: skip
    sheet = LivingSheet(meta, table, pd.concat(windows, ignore_index=True))
    sheet.save(tmp_path)
    loaded = LivingSheet.load_from(tmp_path)
    pd.testing.assert_frame_equal(loaded.lives, sheet.lives, check_dtype=False, rtol=1e-9)
    draw_living(loaded, tmp_path)
    said = (tmp_path / "summary.txt").read_text("utf-8")
    assert "on PCM: " in said
    assert f"{table['auc'].iloc[0]:.4f}" in said

"""The recommender's chip under load, and how many members it holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.hw.errors import CapacityError, ParameterError
from xbar.hw.events.steady import Queue, poisson_wait
from xbar.models.limaml import GlobalBlock, LookupScorer
from xbar.reports.recommender import RecommenderSheet
from xbar.reports.results import ResultsError
from xbar.workloads.recommender.load import chips_for, energy_of, members_a_chip, serving_placement, under_load

SIGNED = torch.linspace(-1, 1, 80).reshape(4, 20)  # inputs of a global block, of both signs


def test_signed_inputs_are_charged_as_such() -> None:
    edge = load_chip("edge")  # reads them in two passes
    signed, positive = (
        Queue.of(serving_placement(GlobalBlock(20, (16, 8)), edge, 2, shown), off_chip_io=False).service for shown in (SIGNED, SIGNED.abs())
    )
    assert signed == pytest.approx(2 * positive, rel=1e-6)


def test_a_filled_chip_carries_more_than_one_copy() -> None:
    block, edge = GlobalBlock(20, (16, 8)), load_chip("edge")
    one, filled = (serving_placement(block, edge, 6, SIGNED, copies) for copies in (1, None))
    copies = [len(each) for each in filled.copies.values()]
    faster = Queue.of(one, off_chip_io=False).service / Queue.of(filled, off_chip_io=False).service
    assert 1 < min(copies) <= faster * 1.01
    assert faster <= max(copies) * 1.01
    with pytest.raises(ParameterError, match="candidates must be 1 or more"):
        serving_placement(block, edge, 0, SIGNED)


def test_load_is_told_with_intervals_replicas_and_all_of_the_energy() -> None:
    placement = serving_placement(GlobalBlock(20, (16, 8)), load_chip("edge"), 3, SIGNED)
    found = under_load({"one": placement}, (0.2, 0.8), 40)
    queue = Queue.of(placement)
    assert set(zip(found["replicas"], found["dispatch"], strict=True)) == {
        (1, "round_robin"), *((n, dispatch) for n in (2, 4) for dispatch in ("random", "least_loaded"))}  # fmt: skip
    rows = found.set_index(["replicas", "dispatch", "share"])
    one, busy = rows.loc[(1, "round_robin", 0.2)], rows.loc[(1, "round_robin", 0.8)]
    for row in (one, busy):
        exact = queue.alone + queue.service * poisson_wait(row["rate"] * queue.service, 0.99)
        assert row["p99_low_s"] < row["p99_s"] < row["p99_high_s"]
        assert row["p99_low_s"] - row["off_s"] < exact < row["p99_high_s"] + row["off_s"]
        assert row["power_W"] == pytest.approx(row["rate"] * row["energy_per_request_J"])
        assert row["energy_per_request_J"] == pytest.approx(row["dynamic_J"] + row["leakage_J"] + row["links_J"])
    assert one["leakage_J"] == pytest.approx(4 * busy["leakage_J"])  # of the same power, over a rate four times as high
    assert one["dynamic_J"] == pytest.approx(busy["dynamic_J"])
    two = rows.loc[(2, "least_loaded", 0.8)]
    assert two["rate"] == pytest.approx(2 * busy["rate"])
    assert two["p99_s"] < busy["p99_s"]
    with pytest.raises(ParameterError, match="requests must be 10 or more"):
        under_load({"one": placement}, requests=5)


def test_energy_of_a_request_is_that_of_the_ledger_at_its_own_rate() -> None:
    placement = serving_placement(GlobalBlock(20, (16, 8)), load_chip("edge"), 2, SIGNED)
    ledger = simulate(placement, Arrivals.batch(5))
    assert energy_of(ledger, ledger.requests / ledger.span)["energy_per_request_J"] == pytest.approx(ledger.energy_per_request)


def test_a_chip_holds_as_many_members_as_can_be_placed() -> None:
    block, items = GlobalBlock(20, (16, 8)).eval(), torch.zeros(30, 4)
    chip = load_chip("edge", {"structure.tiles": "2"})
    held = members_a_chip(block, items, 6, chip, SIGNED)

    def fits(members: int) -> bool:
        scorer = LookupScorer(block, torch.zeros(members, 6), items).eval()
        index = torch.arange(4)
        try:
            place(trace(scorer, (index % 2, index % 30, SIGNED[:, 10:])), chip, None, sharing="cores")
        except CapacityError:
            return False
        return True

    assert fits(held["crossbars"])
    assert not fits(held["crossbars"] + 1)
    bits = chip.timing.buffer_size * 2
    assert held["buffers"] * 6 * chip.inputs.bits <= bits - 120 * chip.inputs.bits < (held["buffers"] + 1) * 6 * chip.inputs.bits
    assert chips_for(10 * held["buffers"] + 1, held["buffers"]) == 11
    none = members_a_chip(GlobalBlock(20, (16, 8)).eval(), torch.zeros(10**6, 4), 6, chip, SIGNED)
    assert none == {"crossbars": 0, "buffers": 0}
    with pytest.raises(CapacityError, match="holds no member"):
        chips_for(5, 0)
    assert np.isfinite(list(held.values())).all()


def test_results_of_an_earlier_version_are_told(tmp_path: Path) -> None:
    for table in ("quality", "supports", "on_chips", "mappings", "load"):
        (tmp_path / f"{table}.csv").write_text("a\n1\n")
    (tmp_path / "recommender.json").write_text("{}")
    with pytest.raises(ResultsError, match="of an earlier version"):
        RecommenderSheet.load_from(tmp_path)

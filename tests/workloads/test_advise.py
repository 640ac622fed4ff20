"""Advice on chips of which it is known what binds them: named, estimated, simulated, and both agree."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reports.drawing import check_texts
from xbar.hw import CapacityError
from xbar.reports.advice_pages import what_binds, what_to_change, why
from xbar.reports.advice_sheet import AdviceSheet, binding, summary_text, verdict
from xbar.reports.results import ResultsError
from xbar.workloads.cli import main
from xbar.workloads.study import advise as advising
from xbar.workloads.study import points
from xbar.workloads.study.advise import LEAST, advise, case_of
from xbar.workloads.study.changes import NOT_TRIED, Change, single_changes
from xbar.workloads.study.estimate import BANDS, OBJECTIVES, Footing
from xbar.workloads.study.paired import Judged, difference
from xbar.workloads.study.sweep import SweepError
from xbar.workloads.task import ACCURACY

EDGE = {"workload.name": "digits", "chip.name": "edge"}
# What of the chip is made slow, and then: the part of the latency and the kind of unit that bind, and the change that is right.
BOUND: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "demo": ({"chip.name": "isaac"}, "array reads", "arrays of conv1", "inputs of 8 bits"),
    "adc": ({"component.adc.rate": "0.064 GS/s"}, "conversions", "ADCs of conv2", "ADCs twice as fast"),
    "links": ({"component.link.rate": "0.008 GB/s"}, "off-chip links", "off-chip links", "twice as many off-chip links"),
    "bus": ({"timing.bus_width": "1 bit", "timing.tile_clock": "0.1 GHz"}, "buffers and buses", "buffer ports", "buses twice as wide"),
    "digital": ({"component.activation.rate": "4e6 1/s"}, "digital units", "digital units", "twice as many activation units"),
}  # fmt: skip
OF_ALL = ("ADCs twice as fast", "twice as many off-chip links", "buses twice as wide", "twice as many activation units",
          "ADCs of 7 bits", "tile buffers half as large")  # fmt: skip


@pytest.fixture(scope="module", params=list(BOUND))
def bound(request: pytest.FixtureRequest) -> tuple[str, AdviceSheet]:
    """Advice on each, of a few changes among which is the right one."""
    settings, *_, right = BOUND[request.param]
    point = {**EDGE, **settings}
    tried = [change for change in single_changes(points_placed(point)) if change.name in {*OF_ALL, right}]
    return request.param, advise(point, images=0, requests=20, changes=tried, pairs=1 if request.param == "adc" else 0)


def points_placed(point: dict[str, Any]) -> Any:
    from xbar.hw import place

    _, chip, network = points.looked_into(point)
    return place(network, chip)


def test_what_binds_is_named_and_changed(bound: tuple[str, AdviceSheet]) -> None:
    name, sheet = bound
    _, part, kind, right = BOUND[name]
    found = sheet.bottlenecks.set_index("of")
    assert found.loc["latency", "binds"] == part
    assert found.loc["throughput", "binds"] == kind
    for objective in ("latency", "throughput"):
        best = sheet.best(objective, most=1).iloc[0]
        assert best["change"] == right, objective
        assert best[f"{objective}_helps"]


def test_estimates_agree_with_the_simulation_in_their_bands(bound: tuple[str, AdviceSheet]) -> None:
    _, sheet = bound
    assert sheet.disagreeing == []
    done = sheet.changes[sheet.changes["error"] == ""]
    assert len(done) >= 6
    for name in OBJECTIVES:
        off = np.abs(done[f"{name}_estimated"] / done[name] - 1)
        assert (off <= BANDS[name] * (1 + 1e-9)).all(), done.loc[off.idxmax(), "change"]


def test_every_change_has_its_reason(bound: tuple[str, AdviceSheet]) -> None:
    name, sheet = bound
    right = sheet.changes[sheet.changes["change"] == BOUND[name][3]].iloc[0]
    assert right["latency_reason"].startswith(BOUND[name][1])
    assert right["throughput_reason"].startswith(BOUND[name][2])
    assert dict(binding(sheet)).keys() == set(OBJECTIVES)
    assert BOUND[name][3] in verdict(sheet)
    assert all(what in summary_text(sheet) for what in NOT_TRIED)


def test_pages_have_no_texts_over_each_other(bound: tuple[str, AdviceSheet]) -> None:
    check_texts([what_to_change(bound[1]), why(bound[1]), what_binds(bound[1])])


def test_a_sheet_comes_back_as_it_was_saved(bound: tuple[str, AdviceSheet], tmp_path: Path) -> None:
    sheet = bound[1]
    sheet.save(tmp_path)
    again = AdviceSheet.load(tmp_path)
    assert summary_text(again) == summary_text(sheet)
    assert again.meta == json.loads(json.dumps(sheet.meta))


def test_half_the_time_of_a_conversion_by_hand() -> None:
    """ADCs at 64 MS/s that become twice as fast: conversions of conv2 bind now, array reads of conv1 then."""
    point = EDGE | {"component.adc.rate": "0.064 GS/s"}
    footing = Footing.of(points_placed(point), 20)
    found = footing.estimate(points_placed(EDGE | {"component.adc.rate": "0.128 GS/s"}))
    held, arrays = footing.counts.held, "arrays of conv1, copy 0"
    slowest = max(time for unit, time in held.items() if unit.startswith("busiest ADC"))
    bound = max(slowest / 2, held[arrays])
    assert found.values["throughput"] / footing.values["throughput"] == pytest.approx(slowest / bound, rel=1e-6)


def test_energy_goes_with_the_share_and_the_law_of_what_changes() -> None:
    """A bit less: every component's energy by its law, from the ledger's; leakage by the idle chip's power, as time stays."""
    placement, other = (points_placed(EDGE | more) for more in ({}, {"component.adc.bits": 7}))
    footing = Footing.of(placement, 20)
    shares = footing.bottlenecks.energy
    expected = shares["leakage"] * other.chip.leakage / placement.chip.leakage
    for name in shares.drop("leakage").index:
        expected += shares[name] * other.chip.costs[name].energy_per_action / placement.chip.costs[name].energy_per_action
    assert footing.estimate(other).values["energy"] == pytest.approx(expected, rel=1e-6)
    assert footing.estimate(placement).values == pytest.approx(footing.values, rel=1e-9)


def test_a_change_that_costs_accuracy_beyond_its_interval_is_no_help() -> None:
    changes = [Change("ADCs of 2 bits", {"component.adc.bits": 2}, True), Change("ADCs of 9 bits", {"component.adc.bits": 9}, True)]
    sheet = advise(EDGE, images=60, instances=2, requests=4, changes=changes)
    bad, good = (sheet.changes.iloc[k] for k in (0, 1))
    assert bad["energy_change"] < -LEAST
    assert bad["score_high"] < 0
    assert (bad["costs_score"], bad["energy_helps"]) == (True, False)
    assert good["score_low"] <= 0 <= good["score_high"]
    assert not good["costs_score"]


def test_differences_are_of_pairs() -> None:
    """Instances that differ by much, all better by one sample of ten each: an interval of samples alone. By hand: t of 9 degrees at
    97.5 % is 2.262, the spread of one 1 and nine 0 is sqrt(0.1), over sqrt(10)."""
    old = np.zeros((3, 10))
    old[1:, :5] = 1
    new = old.copy()
    new[:, 9] = 1
    found = difference(Judged(ACCURACY, old), Judged(ACCURACY, new))
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.mean == pytest.approx(2.2622 * math.sqrt(0.1) / math.sqrt(10), rel=1e-4)
    alone = difference(Judged(ACCURACY, old[:1]), Judged(ACCURACY, new[:1, :]))
    assert (alone.mean, alone.low) == (pytest.approx(0.1), pytest.approx(found.low))


def test_what_cannot_be_stands_in_its_row() -> None:
    changes = [
        Change("one core", {"structure.tiles": 1, "structure.cores_per_tile": 1, "structure.crossbars_per_core": 1}),
        Change("no bus", {"timing.bus_width": "0 bit"}), Change("as it is", {}),
    ]  # fmt: skip
    sheet = advise(EDGE, images=0, requests=4, changes=changes)
    assert "too small" in sheet.changes.loc[0, "error"]
    assert "timing.bus_width" in sheet.changes.loc[1, "error"]
    same = sheet.changes.iloc[2]
    assert [same[f"{name}_change"] for name in OBJECTIVES] == pytest.approx([0.0] * 4, abs=1e-12)
    assert not any(same[f"{name}_helps"] for name in OBJECTIVES)
    with pytest.raises(CapacityError):
        advise(EDGE | {"structure.tiles": 1, "structure.cores_per_tile": 1, "structure.crossbars_per_core": 1}, images=0)


@pytest.mark.usefixtures("undrawn")
def test_the_command_advises_on_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    quick = ["--study", "quick", "--instances", "1", "--images", "5", "--requests", "4"]
    assert main(["run", "digits", "--chip", "edge", "--set", "component.adc.bits=7", "--sharing", "none", "--out", str(run), *quick]) == 0
    case = case_of(run)
    assert case.point["component.adc.bits"] == 7
    assert (case.mapping, case.requests, case.instances) == ({"mapping.sharing": "none"}, 4, 1)
    tried = [Change("ADCs of 6 bits", {"component.adc.bits": 6}, True), Change("half the tiles", {"structure.tiles": 4})]
    monkeypatch.setattr(advising, "single_changes", lambda *given: tried)
    capsys.readouterr()
    assert main(["advise", str(run), "--costs"]) == 0
    assert "What to change: Digits CNN on Edge" in capsys.readouterr().out
    left = {path.name for path in (run / "advice").iterdir()}
    assert {"advice.csv", "advice.json", "advice.pdf", "advice.html", "what_to_change.png", "record.json", "summary.txt"} <= left
    sheet = AdviceSheet.load(run / "advice")
    assert list(sheet.changes["kind"]) == ["single", "single", "pair"]
    assert sheet.meta["values"]["latency"] == pytest.approx(json.loads((run / "run.json").read_text())["single_request"]["latency_s"])
    assert main(["report", str(run / "advice")]) == 0
    assert main(["advise", str(run), "--costs"]) == 1
    assert "--replace writes over them" in capsys.readouterr().err
    told = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(told | {"settings": told["settings"] | {"host": ["fc"]}}))
    with pytest.raises(ResultsError, match="--host"):
        case_of(run)


def test_a_point_may_say_how_layers_are_placed() -> None:
    sheet = advise(EDGE | {"mapping.copies": "one"}, images=0, requests=4, changes=[])
    assert sheet.meta["mapping"] == {"mapping.copies": "one"}
    assert "mapping.copies" not in sheet.meta["point"]
    assert sheet.periods["period_s"].iloc[0] == pytest.approx(64 * 800e-9)  # all vectors of conv1 on one copy
    assert verdict(sheet) == "No single change that was tried helps."
    check_texts([what_to_change(sheet)])
    with pytest.raises(SweepError, match="one rule"):
        advise(EDGE | {'layer."fc".mapping.copies': 2}, images=0)

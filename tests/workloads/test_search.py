"""The search: proposals, requirements, levels, what is chosen, resuming, the TOML file, and what it finds of known fronts."""

import importlib.util
import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from xbar.reports.sweep_sheet import SweepSheet
from xbar.workloads.cli import main
from xbar.workloads.study.identity import SweepError
from xbar.workloads.study.journal import HEADER
from xbar.workloads.study.mean_errors import half_band, mean_error
from xbar.workloads.study.proposals import Proposals, Worth, size_of
from xbar.workloads.study.requirements import images_needed, read_requirements
from xbar.workloads.study.search import Asked, Confirmation, search
from xbar.workloads.study.search_file import read_search
from xbar.workloads.study.spaces import Span
from xbar.workloads.study.sweep import JOURNAL, RESULTS, SUMMARY, InProcess, sweep

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes find no module of the tests

ROOT = Path(__file__).parents[2]
AXES = {"x": [0, 1, 2, 3, 4, 5, 6, 7], "y": [0, 1, 2, 3, 4, 5, 6, 7], "z": ["a", "b"]}
TWO = {"cost": "low", "gain": "high"}


def script(name: str) -> ModuleType:
    """A script of results/search as a module."""
    spec = importlib.util.spec_from_file_location(f"search_{name}", ROOT / "results" / "search" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def costs(point: dict[str, Any]) -> dict[str, Any]:
    if point["x"] == 7 and point["y"] == 7:
        raise SweepError("x = 7: does not fit")
    return {"cost": point["x"] + point["y"] + (point["z"] == "b"), "gain": point["x"] * (8 - point["y"])}


def found(asked: Asked, out: Path, run: Callable[[dict[str, Any]], dict[str, Any]] = costs) -> pd.DataFrame:
    return search(asked, run, out, InProcess()).frame()


# ---- proposals


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_no_design_is_asked_for_twice_until_there_are_none(sampler: str) -> None:
    axes = {"a": [1, 2, 3], "b": ["x", "y"], "c": Span(0, 3, whole=True)}
    proposals = Proposals(axes, 2, 0, sampler=sampler)
    seen: list[tuple[Any, ...]] = []
    while designs := proposals.ask(7):
        for design in designs:
            seen.append(tuple(design.values()))
            failed = design["a"] == 2 and design["b"] == "y"
            proposals.tell(design, Worth(None) if failed else Worth((float(design["a"]), -float(design["c"])), (design["c"] - 2,)))
    assert size_of(axes) == len(seen) == len(set(seen)) == 24


def test_proposals_of_numbers_stay_in_their_spans_and_follow_from_the_seed() -> None:
    axes = {"a": Span(0.1, 10.0, log=True), "b": Span(1, 10**6, log=True, whole=True)}

    def asked(seed: int) -> list[dict[str, Any]]:
        proposals, seen = Proposals(axes, 1, seed), []
        for _ in range(4):
            for design in proposals.ask(8):
                proposals.tell(design, Worth((abs(math.log(design["a"])) + abs(math.log(design["b"]) - 5),)))
                seen.append(design)
        return seen

    one = asked(3)
    assert one == asked(3) != asked(4)
    assert all(0.1 <= each["a"] <= 10 and isinstance(each["b"], int) and 1 <= each["b"] <= 10**6 for each in one)


# ---- errors of means, and requirements


def test_the_bound_of_a_loss_holds_as_often_as_it_says() -> None:
    """Chips that differ, images that some chips get wrong: one-sided 95 % bounds of what is lost, 3 or 8 chips on 60 images."""
    rng = np.random.default_rng(0)
    for chips in (3, 8):
        held = 0
        for _ in range(400):
            of_float = rng.random(60) < 0.95
            wrong = rng.beta(0.4, 6.0, 60)[None] * rng.uniform(0.2, 1.8, chips)[:, None]  # share lost: 0.4 / 6.4 on the mean
            values = of_float & (rng.random((chips, 60)) > wrong)
            lost = of_float[None].astype(float) - values
            error = mean_error(lost, (-1.0, 1.0))
            held += lost.mean() + half_band(error.error, error.freedom, 0.95) >= 0.95 * 0.4 / 6.4
        assert held >= 0.93 * 400  # 95 %, less two standard errors of 400 draws


def test_no_mistake_in_a_few_images_is_not_no_error() -> None:
    none_lost = mean_error(np.zeros((4, 40)), (-1.0, 1.0))
    assert none_lost.error == pytest.approx(math.sqrt(2 / 41 / 42))
    assert mean_error(np.zeros((1, 40))).error == math.inf  # one chip does not tell how chips vary
    assert mean_error(np.zeros((1, 40)), chips_vary=False).error == 0.0
    needed = images_needed(0.005, 0.99, 10)
    shown = [half_band(*vars(mean_error(np.zeros((10, n)), (-1.0, 1.0))).values(), 0.99) <= 0.005 for n in (needed - 1, needed)]
    assert shown == [False, True]
    assert 600 < needed < 700  # 2.33 * sqrt(2) / n


def test_requirements_are_read_as_people_say_them() -> None:
    area, accuracy, rate = read_requirements({
        "area_m2": {"at_most": "5 mm2"}, "accuracy": {"at_least": "float - 0.5 points", "confidence": "99 %"},
        "throughput_per_s": {"at_least": "20 kHz"}, "fits": "one chip",
    })  # fmt: skip
    assert (area.limit, accuracy.limit, rate.limit) == (5e-6, 0.005, 2e4)
    assert accuracy.of_float
    assert accuracy.confidence == pytest.approx(0.99)
    assert area.holds({"area_m2": 5e-6})
    assert not area.holds({"area_m2": 5.001e-6})
    row = {"accuracy_lost": 0.001, "accuracy_lost_error": 0.001, "accuracy_lost_freedom": 1e6}
    assert accuracy.holds(row)  # 0.001 + 2.33 * 0.001
    assert not accuracy.holds({**row, "accuracy_lost_error": 0.002})
    assert accuracy.possible({**row, "accuracy_lost": 0.007})
    assert not accuracy.possible({**row, "accuracy_lost": 0.008})
    assert not accuracy.holds({})  # not judged yet
    assert accuracy.possible({})
    assert not rate.possible({"throughput_per_s": None})  # judged, and without a value


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"area_m2": 5}, r"constraints.area_m2 = 5: must be { at_least"),
        ({"area_m2": {"at_most": "5 nm"}}, r"constraints.area_m2.at_most = '5 nm': must be a number, or a text of number and unit \(m²"),
        ({"area_m2": {"at_most": 1, "at_least": 0}}, "constraints.area_m2 = .*: must be { at_least"),
        ({"area_m2": {"at_most": 1, "sure": 0}}, "constraints.area_m2.sure = 0: unknown key"),
        ({"accuracy": {"at_least": "float + 1 points"}}, r"must be \"float - ...\", which may be worse than float"),
        ({"accuracy": {"at_least": "float - x"}}, r"must be \"float - 0.5 points\" of a share"),
        ({"accuracy": {"at_least": 0.9, "confidence": "120 %"}}, "constraints.accuracy.confidence = '120 %': must be a share from 0.5"),
        ({"area_m2": {"at_most": 10**400}}, "constraints.area_m2.at_most = 1000.*: must be a number"),
        ({"area_m2": {"at_most": "float + 8 points"}}, "area_m2 has no value of the float network's; only metrics have"),
        ({"fits": "two chips"}, 'constraints.fits = \'two chips\': must be "one chip"'),
    ],
)
def test_a_requirement_that_cannot_be_is_named(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        read_requirements(raw)


# ---- what is found


@pytest.mark.parametrize("columns", [("energy_J", "area_m2"), ("energy_J", "latency_s", "area_m2")], ids=["two", "three"])
def test_a_tenth_of_the_evaluations_finds_nearly_all_of_the_fronts_volume(columns: tuple[str, ...]) -> None:
    """Of 2,592 chips, judged by their costs; results/search/found.csv has 20 seeds of every sampler."""
    front = script("front")
    volume = front.Volume(columns)
    assert volume.share(np.array([row for row in front.table().values() if row is not None])) == pytest.approx(1.0)
    assert np.median([front.found_by_search(volume, 0.1, seed) for seed in range(3)]) >= 0.95


def test_what_is_chosen_holds_on_chips_and_images_that_nobody_saw() -> None:
    """48 designs of the digits network on 24 real instances each (results/search/noisy.py), of which most lose too much."""
    noisy = script("noisy")
    repeats = noisy.repeats(20)
    assert (repeats["lost"] <= noisy.POINTS_LOST).sum() >= 17


def test_costs_come_first_and_only_what_may_matter_is_judged_on_chips(tmp_path: Path) -> None:
    """A level whose estimate is exact: what is beaten by a design that holds, and what breaks a limit on costs, has no accuracy."""
    calls: list[tuple[Any, ...]] = []

    def run(point: dict[str, Any]) -> dict[str, Any]:
        calls.append((point["x"], point["y"], point["z"], point["chips"]))
        row = costs(point)
        lost = {"accuracy": 0.9, "accuracy_lost": 0.01 * point["y"], "accuracy_lost_error": 1e-6, "accuracy_lost_freedom": 1e6}
        return row if not point["chips"] else {**row, **lost}

    required = read_requirements({"accuracy": {"at_least": "float - 2.5 points"}, "gain": {"at_least": 8}})
    asked = Asked(AXES, {"cost": "low"}, required, levels=[{"chips": 0}, {"chips": 1}], confirmation=Confirmation({"chips": 2}, 2),
                  designs=120, batch=12)  # fmt: skip
    result = search(asked, run, tmp_path, InProcess())
    frame = result.frame()
    assert len(frame) == 120
    assert frame.loc[frame["level"] == 1, "gain"].min() >= 8
    judged = [call for call in calls if call[3] == 1]
    assert len(judged) < 40  # of 128: costs tell of most that a design that holds beats them
    design = result.design()
    assert design is not None
    assert (design["x"], design["y"], design["z"]) == (1, 0, "a")  # the least cost with a gain of 8
    assert frame["holds"].isin([True]).sum() == len(frame[(frame["level"] == 1) & (frame["y"] <= 2)])
    assert calls[-1] == (1, 0, "a", 2)
    assert [each["holds"] for each in result.confirmations] == [True]


def test_none_is_chosen_where_none_is_confirmed(tmp_path: Path) -> None:
    """The best of noisy estimates: on what the search saw all designs look as if they held, in truth none does."""

    def run(point: dict[str, Any]) -> dict[str, Any]:
        lost = 0.0 if point["chips"] == 1 else 0.1
        return {**costs(point), "accuracy_lost": lost, "accuracy_lost_error": 0.001, "accuracy_lost_freedom": 50.0}

    required = read_requirements({"accuracy": {"at_least": "float - 2 points"}})
    asked = Asked(AXES, {"cost": "low"}, required, levels=[{"chips": 1}], confirmation=Confirmation({"chips": 2}, 3), designs=24, batch=12)
    result = search(asked, run, tmp_path, InProcess())
    assert result.chosen is None
    assert [each["holds"] for each in result.confirmations] == [False] * 3
    sheet = SweepSheet.load(tmp_path)
    from xbar.reports.search_page import verdict_of_search

    assert "No design is chosen: of 3 candidates none was shown to hold." in verdict_of_search(sheet)


def test_a_search_grows_and_is_not_taken_for_another(tmp_path: Path) -> None:
    first = found(Asked(AXES, TWO, designs=24), tmp_path)
    again = search(Asked(AXES, TWO, designs=48), costs, tmp_path, InProcess())
    assert again.reused == 24
    names = [name for name in first if name not in ("wall_s", "unbeaten")]
    pd.testing.assert_frame_equal(again.frame().head(24)[names], first[names])
    for other, said in (
        (Asked(AXES, TWO, designs=24), "over 48 designs, of which 24 are a part"),
        (Asked(AXES, TWO, designs=48, seed=1), "of another search"),
        (Asked({**AXES, "x": [0, 1]}, TWO, designs=24), "of another search"),
    ):  # fmt: skip
        with pytest.raises(SweepError, match=said):
            found(other, tmp_path)
    with pytest.raises(SweepError, match="holds the results of another sweep"):
        sweep([{"x": 0, "y": 0, "z": "a"}], costs, tmp_path, InProcess())
    sweep([{"x": 0, "y": 0, "z": "a"}], costs, tmp_path / "swept", InProcess())
    with pytest.raises(SweepError, match="not of a search"):
        found(Asked(AXES, TWO, designs=24), tmp_path / "swept")


def test_a_small_space_is_looked_at_whole(tmp_path: Path) -> None:
    frame = found(Asked({"x": [0, 7], "y": [0, 7], "z": ["a"]}, TWO, designs=24), tmp_path)
    assert len(frame) == 4
    assert frame["error"].notna().sum() == 1
    assert frame.loc[frame["error"].notna(), "holds"].tolist() == [False]
    assert json.loads((tmp_path / SUMMARY).read_text())["search"]["space"] == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objectives": {}}, "objectives = {}: must be one column or more"), ({"objectives": {"cost": "min"}}, "each low or high"),
        ({"choose": "gain", "objectives": {"cost": "low"}}, "choose = 'gain': must be one of the objectives cost"),
        ({"designs": 20}, "designs = 20: must be a multiple of batch = 12"), ({"sampler": "best"}, "sampler = 'best': must be one of tpe"),
        ({"axes": {}}, r"axes = \(none\)"), ({"choose": ["cost"], "objectives": {"cost": "low"}}, r"choose = \['cost'\]: must be one of"),
        ({"axes": {"x": Span(0.0, 3.0)}, "first": [{"x": 50.0}]}, r"first\[0\].x = 50.0: must be a number from 0.0 to 3.0"),
        ({"axes": {"x": Span(0, 3, whole=True)}, "first": [{"x": 1.0}]}, r"first\[0\].x = 1.0: must be a whole number from 0 to 3"),
        ({"objectives": {"costs": "low"}}, "costs: no such column among what points are judged by; did you mean cost"),
        ({"objectives": {"price": "low"}}, "price: no such column among what points are judged by: cost"),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_named(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=said):
        found(Asked(**({"axes": AXES, "objectives": TWO, "designs": 12} | options)), tmp_path)


# ---- resuming, and who computes

CHILD = """
import sys, time
from xbar.workloads.study.requirements import read_requirements
from xbar.workloads.study.search import Asked, Confirmation, search

def slow(point):
    time.sleep(0.03)
    x, y = point["x"], point["y"]
    lost = 0.001 * ((x * 7 + y * 3) % 11)
    judged = {"accuracy_lost": lost, "accuracy_lost_error": 0.002 / (1 + point["chips"]), "accuracy_lost_freedom": 20.0}
    return {"cost": (x - 3.1) ** 2 / 7 + y, "area": abs(x - y) / 3, **(judged if point["chips"] else {})}

asked = Asked({"x": list(range(12)), "y": list(range(12))}, {"cost": "low", "area": "low"},
              read_requirements({"accuracy": {"at_least": "float - 0.6 points"}}), levels=[{"chips": 0}, {"chips": 2}, {"chips": 8}],
              confirmation=Confirmation({"chips": 20}, 3), designs=48, batch=12, seed=5)
print(search(asked, slow, sys.argv[1], workers=int(sys.argv[2])).chosen)
"""


def child(out: Path, workers: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, str(out), str(workers)], cwd=ROOT, stdout=subprocess.PIPE)


def lines(out: Path) -> int:
    return (out / JOURNAL).read_bytes().count(b"\n") if (out / JOURNAL).is_file() else 0


def test_killed_twice_and_resumed_by_others_gives_the_same_table(tmp_path: Path) -> None:
    """SIGKILL with two workers, twice; then one worker ends it: the rows, bit for bit, and the choice of two that were left alone."""
    out = tmp_path / "killed"
    for rows in (15, 40):
        process = child(out, 2)
        while process.poll() is None and lines(out) <= rows:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / RESULTS).exists()
    kept = lines(out)
    processes = child(out, 1), child(tmp_path / "whole", 2)
    chosen = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert chosen[0] == chosen[1]
    assert lines(out) == lines(tmp_path / "whole") > kept > 40  # nothing was judged twice
    assert (out / JOURNAL).read_bytes().startswith(HEADER)
    one, other = (pd.read_parquet(folder / RESULTS).drop(columns="wall_s") for folder in (out, tmp_path / "whole"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    told = [json.loads((folder / SUMMARY).read_text())["search"] for folder in (out, tmp_path / "whole")]
    assert told[0] == told[1]


def test_a_candidate_that_cannot_be_judged_once_more_is_noted_and_the_next_is_tried(tmp_path: Path) -> None:
    failed: list[Any] = []

    def run(point: dict[str, Any]) -> dict[str, Any]:
        if point["chips"] == 2 and failed in ([], [point["x"], point["y"], point["z"]]):
            failed[:] = [point["x"], point["y"], point["z"]]
            raise ValueError("does not converge")
        return {**costs(point), "accuracy_lost": 0.0, "accuracy_lost_error": 0.001, "accuracy_lost_freedom": 50.0}

    required = read_requirements({"accuracy": {"at_least": "float - 2 points"}})
    asked = Asked(AXES, {"cost": "low"}, required, levels=[{"chips": 1}], confirmation=Confirmation({"chips": 2}, 3), designs=24, batch=12)
    result = search(asked, run, tmp_path, InProcess())
    first, second = result.confirmations
    assert (first["holds"], second["holds"]) == (False, True)
    assert "does not converge" in first["error"]
    assert result.chosen == second["point"]
    sheet = SweepSheet.load(tmp_path)
    from xbar.reports.search_page import search_page, verdict_of_search

    assert f"Design {result.chosen} is chosen, candidate 2" in verdict_of_search(sheet)
    assert any("does not converge" in text.get_text() for text in search_page(sheet).texts)
    assert search(asked, run, tmp_path, InProcess()).confirmations == result.confirmations


# ---- the file

SEARCH = """
title = "Small"
[search]
designs = 6
batch = 6
[objectives]
energy_J = "min"
[constraints]
accuracy = { at_least = "float - 60 points" }
fits = "one chip"
[[levels]]
instances = 2
images = 8
[confirm]
instances = 2
images = 12
most = 2
[fixed]
chip.name = "edge"
component.adc.law = "sar"
study.requests = 2
[axes]
structure.tiles = [2, 8]
component.adc.bits = [6, 8]
[axes.layer."c*"]
weights.bits = [4, 5]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "search.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_name_of_layers_stands_for_each_of_them(tmp_path: Path) -> None:
    asked = read_search(written(tmp_path, SEARCH)).asked
    assert [*asked.axes][2:] == ['layer."conv1".weights.bits', 'layer."conv2".weights.bits']
    assert asked.levels[0] == {"study.images": 0, "study.reads": "cells"}
    assert asked.confirmation is not None
    assert asked.confirmation.level["study.first_image"] == 8
    assert asked.confirmation.level["study.first_instance"] == 2


def test_a_design_to_begin_with_may_say_all_layers_at_once_and_one_after_them(tmp_path: Path) -> None:
    text = SEARCH + """
[[begin]]
structure.tiles = 2
component.adc.bits = 8
layer."*".weights.bits = 5
layer."conv2".weights.bits = 4
"""
    asked = read_search(written(tmp_path, text)).asked
    bits = {'layer."conv1".weights.bits': 5, 'layer."conv2".weights.bits': 4}
    assert asked.first == [{"structure.tiles": 2, "component.adc.bits": 8, **bits}]
    with pytest.raises(SweepError, match=r'begin\[0\].layer."d\*".weights.bits = 5: no axis'):
        read_search(written(tmp_path, text.replace('layer."*"', 'layer."d*"')))


def test_the_example_can_be_read_and_holds_what_it_says() -> None:
    asked = read_search(ROOT / "examples/search.toml").asked
    assert asked.objectives == {"energy_J": "low", "area_m2": "low"}
    assert asked.chosen_by == "energy_J"
    assert size_of(asked.axes) == 4 * 4 * 5 * 2 * 3**3 * 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('energy_J = "min"', 'energy_J = "low"', 'objectives.energy_J = \'low\': must be "min" or "max"'),
        ("[objectives]\nenergy_J = \"min\"", "", r"objectives = \(none\)"),
        ("images = 12", "images = 4", "confirm.images = 4: on fewer than 5 a design that loses nothing cannot be shown"),
        ("instances = 2\nimages = 8", "instances = 1\nimages = 8", r"levels\[0\].instances = 1: must be a whole number from 2"),
        ("[confirm]\ninstances = 2\nimages = 12\nmost = 2", "", r"confirm = \(missing\): where designs are judged on chips"),
        ("[[levels]]\ninstances = 2\nimages = 8", "", r"confirm = \(given\): is of no use without"),
        ("study.requests = 2", "study.images = 2", r"study.images: is not for \[fixed\] or \[axes\] of a search"),
        ('layer."c*"', 'layer."d*"', r'layer."d\*".weights.bits: stands for no layer; there are conv1, conv2, fc'),
        ("structure.tiles", "structure.tile", "structure.tile = .*: unknown name; did you mean structure.tiles"),
        ("batch = 6", "batch = 4", "search.designs = 6: must be a multiple of batch = 4"),
        ("batch = 6", "step = 4", "search.step = 4: unknown key"),
        ('title = "Small"', 'title = "Small"\n[[begin]]\nstructure.tiles = 3', r"begin\[0\].structure.tiles = 3: must be one of 2, 8"),
        ("float - 60 points", "float - 0 points", "confirm.images = 12: on 1048576 or fewer a design"),
        ("designs = 6", "designs = 6\nseed = 4294967296", "search.seed = 4294967296: must be a whole number from 0 to 4294967295"),
        ('energy_J = "min"', 'energy_J = ["min"]', r"objectives.energy_J = \['min'\]: must be"),
        ("[[levels]]\ninstances = 2\nimages = 8\n[confirm]\ninstances = 2\nimages = 12\nmost = 2", "",
         r"constraints.accuracy: needs \[\[levels\]\]"),
        ("weights.bits = [4, 5]", 'weights.bits = [4, 5]\n[axes.layer."*2"]\nweights.bits = [3]',
         r'layer."\*2".weights.bits: stands for layer conv2, as layer."c\*".weights.bits does'),
    ],
)
def test_a_file_that_cannot_be_is_told_by_key_value_and_what_is_allowed(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in SEARCH
    path = written(tmp_path, SEARCH.replace(old, new, 1))
    with pytest.raises(SweepError, match=said) as caught:
        read_search(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.usefixtures("no_workers", "sketched")
def test_the_command_leaves_designs_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("XBAR_DATA", raising=False)
    out = tmp_path / "out"
    assert main(["search", str(written(tmp_path, SEARCH)), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert re.search(r"6 designs, \d+ points judged, 0 of them known before, 0 with an error", said.out)
    assert "search: 6 of 6 points" in said.err
    assert "6 of 16 designs looked at" in (out / "summary.txt").read_text()
    sheet = SweepSheet.load(out)
    assert sheet.axes == ["structure.tiles", "component.adc.bits", 'layer."conv1".weights.bits', 'layer."conv2".weights.bits']
    told = sheet.meta["search"]
    row = sheet.frame.iloc[told["chosen"]]
    (confirmed,) = [each for each in told["confirmations"] if each["holds"]]
    assert confirmed["energy_J"] == row["energy_J"]  # costs are the same at all levels
    assert confirmed["images"] == 12
    assert {path.name for path in out.iterdir()} >= {"search.png", "sweep.png", "report.html", "front.csv", "record.json"} - {"front.csv"}
    assert main(["search", str(written(tmp_path, SEARCH)), "--out", str(out)]) == 0
    assert re.search(r"(\d+) points judged, \1 of them known before", capsys.readouterr().out)

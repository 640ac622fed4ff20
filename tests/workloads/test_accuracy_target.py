"""The strongest compression at an accuracy."""

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from xbar.hw import Chip
from xbar.reports.compression_sheet import tries_text, verdict
from xbar.workloads.cli import main
from xbar.workloads.data import Dataset
from xbar.workloads.study import accuracy_target
from xbar.workloads.study.accuracy_target import AccuracyTarget, NotHeldWarning, compress_to, factors_next
from xbar.workloads.study.allocation import AllocationError
from xbar.workloads.study.compress import CompressionResult, Work, compress
from xbar.workloads.study.plan import PLANS, TRAININGS, Plan, quick
from xbar.workloads.training import TrainingError, initialise, read_state, score
from xbar.workloads.workload import load_workload


def looked_for(holds_from: float, tries: int, mildest: float = 10.0) -> list[float]:
    held: dict[float, bool] = {}
    while len(held) < tries and (factor := factors_next(held, mildest)) is not None:
        held[factor] = factor >= holds_from
    return list(held)


def test_factors_are_doubled_or_halved_until_one_holds_and_one_does_not() -> None:
    assert looked_for(3.0, 5) == pytest.approx([1, 2, 4, 8**0.5, (4 * 8**0.5) ** 0.5])
    assert looked_for(0.3, 4) == pytest.approx([1, 0.5, 0.25, 0.125**0.5])
    assert looked_for(20.0, 9, 10.0) == pytest.approx([1, 2, 4, 8, 10])
    closer = [min(f for f in looked_for(0.3, tries) if f >= 0.3) for tries in range(1, 9)]
    assert closer == sorted(closer, reverse=True)
    assert closer[-1] < 0.31


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Plan]]:
    """Compressions that lose 0.01 / share of area on validation and twice that on test, none below a share of 0.02; calls, as made."""
    calls: list[tuple[float, Plan]] = []

    def found(model: nn.Module, data: Dataset, chip: Chip, target: Mapping[str, float], _: Path, plan: Plan, *__: Any) -> CompressionResult:
        calls.append((target["area"], plan))
        if target["area"] < 0.02:
            raise AllocationError("the targets are out of reach")
        lost = 0.001 / target["area"]
        stages = pd.DataFrame({"validation": [0.9, 0.95, 0.95 - lost], "float": [0.9, 0.94, 0.94 - 2 * lost]},
                              index=["uncompressed", "longer", "final"])  # fmt: skip
        return CompressionResult({"metric": {}}, *[stages] * 6, model=model, chip=chip)

    monkeypatch.setattr(accuracy_target, "compress", found)
    return calls


DATA = Dataset("drawn", torch.rand(4, 1), torch.tensor([0, 1, 0, 1]), torch.rand(2, 1), torch.tensor([0, 1]))


def test_the_strongest_try_that_holds_stands(judged: list[tuple[float, Plan]], isaac: Chip, tmp_path: Path) -> None:
    """At most 1 point, against the network trained on: from a share of 0.1 on."""
    plan = Plan(longer=True)
    found = compress_to(AccuracyTarget(1.0, 5), nn.Linear(1, 2), DATA, isaac, {"area": 0.04, "power": 0.5}, tmp_path, plan)
    facts = found.meta["accuracy_target"]
    assert [each["factor"] for each in facts["tries"]] == pytest.approx([1, 2, 4, 8**0.5, 32**0.25])
    assert [each["held"] for each in facts["tries"]] == [False, False, True, True, False]
    assert facts["factor"] == pytest.approx(8**0.5)
    assert facts["tries"][2]["target"] == {"area": 0.16, "power": 1.0}
    assert facts["tries"][3]["lost_validation"] == pytest.approx(0.001 / (0.04 * 8**0.5))
    assert facts["tries"][3]["lost_test"] == pytest.approx(0.002 / (0.04 * 8**0.5))
    assert judged[-1] == (pytest.approx(0.04 * 8**0.5), plan)
    assert [each.longer for _, each in judged[:-1]] == [True, False, False, False, False]
    assert not any(each.budgets for _, each in judged[:-1])
    meta = {"accuracy_target": facts, "metric": DATA.metric.told()}
    told = "Allowed: 1 points lost on validation images. targets x 1: 2.50 points lost on validation, 5.00 points on test; "
    assert tries_text(meta).startswith(told)


@pytest.mark.parametrize(("by", "epoch_seconds", "epochs"), [("epochs", 0.0, 1), ("minutes", 1e9, 1), ("minutes", 0.0, 3)])
def test_the_uncompressed_network_is_trained_on_once(
    by: str, epoch_seconds: float, epochs: int, isaac: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "_epoch_seconds", lambda work: epoch_seconds or sum(work.processor_s.values()) / 3)
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    data = Dataset("drawn", x[:40], torch.arange(40) % 4, x[40:], torch.arange(20) % 4)
    net = initialise(lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), 0)
    plan = Plan(rounds=1, batch=20, validation=10, instances=1, images=5, budgets=(), most_on_chips=0, updates=1, longer=True,
                longer_by=by, **dict.fromkeys(TRAININGS, 0) | {"final": 1})  # type: ignore[arg-type]
    told: list[str] = []
    found = compress_to(AccuracyTarget(100, 2), net, data, isaac, {"weights": 0.8}, tmp_path, plan, told.append)
    assert found.meta["accuracy_target"]["factor"] == 0.5  # the second try
    assert len([line for line in told if line.startswith("longer: epoch")]) == epochs
    assert found.meta["longer_epochs"] == epochs
    assert found.stages.loc["longer", "float"] == found.meta["float_longer"]
    facts, told = found.meta["accuracy_target"], verdict(replace(found, meta=found.meta | {"title": "A network"}))
    assert facts.get("longer_as") == (1.0 if by == "minutes" else None)  # the first try's minutes, not the second's
    assert ("minutes of the processor as the try at 1 times the targets took" in told) == (by == "minutes")


def test_what_was_judged_of_the_network_trained_on_is_of_as_many_epochs(
    isaac: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Work, "_epoch_seconds", lambda work: 1e-9 + sum(work.processor_s.values()) / 40)
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    data = Dataset("drawn", x[:40], (4 * x[:40, 0]).long(), x[40:], (4 * x[40:, 0]).long())
    net = initialise(lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), 0)
    plan = Plan(rounds=1, batch=20, validation=10, instances=1, images=5, budgets=(), most_on_chips=0, updates=1, longer=True,
                learning_rate=0.05, **dict.fromkeys(TRAININGS, 0) | {"final": 1})  # type: ignore[arg-type]
    first = compress(net, data, isaac, {"weights": 0.8}, tmp_path, plan)
    (tmp_path / "checkpoints" / "longer.pt").unlink()  # asked for anew, by minutes
    again = compress(net, data, isaac, {"weights": 0.8}, tmp_path, replace(plan, longer_by="minutes"))
    assert first.meta["longer_epochs"] == 1
    assert again.meta["longer_epochs"] > 20
    trained = copy.deepcopy(net)
    trained.load_state_dict(read_state(tmp_path / "checkpoints" / "longer.pt")["model"])
    assert again.meta["float_longer"] == score(trained.eval(), data.test_inputs, data.test_targets) > first.meta["float_longer"]


def test_where_none_holds_the_mildest_is_told(judged: list[tuple[float, Plan]], isaac: Chip, tmp_path: Path) -> None:
    with pytest.warns(NotHeldWarning, match=r"the mildest, targets times 2, lost 1.15 points too much"):
        found = compress_to(AccuracyTarget(0.1, 2), nn.Linear(1, 2), DATA, isaac, {"area": 0.04}, tmp_path, Plan(longer=True))
    assert not found.meta["accuracy_target"]["held"]
    with pytest.raises(AllocationError, match="every try is out of reach"):
        compress_to(AccuracyTarget(0.1, 1), nn.Linear(1, 2), DATA, isaac, {"area": 0.01}, tmp_path, Plan())


def test_tries_are_kept_and_go_on(isaac: Chip, tmp_path: Path) -> None:
    digits = load_workload("digits")
    once = dict.fromkeys(("filters", "inputs", "pruned", "purified", "levels", "quantised", "final", "instances"), 1)
    plan = replace(quick(PLANS["digits"]), rounds=2, search_images=500, images=20, budgets=(), **once)  # type: ignore[arg-type]
    runs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotHeldWarning)
        for _ in range(2):
            runs.append(compress_to(AccuracyTarget(3, 1), digits.model, digits.data, isaac, {"weights": 0.5}, tmp_path, plan))
    facts = runs[0].meta["accuracy_target"]
    assert facts == runs[1].meta["accuracy_target"]
    assert len(list((tmp_path / "checkpoints").glob("try-*"))) == 1
    assert runs[0].meta["left"]["weights"] <= min(1.0, 0.5 * facts["factor"])
    pd.testing.assert_frame_equal(runs[0].stages, runs[1].stages)


def test_what_an_accuracy_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (((-1.0, 4), "from 0 to 100, got -1"), ((1.0, 0), "tries must be 1 or more")):
        with pytest.raises(TrainingError, match=said):
            AccuracyTarget(*arguments)
    command = ["compress", "digits", "--target", "area=0.5", "--out", str(tmp_path / "out")]
    assert main([*command, "--tries", "3"]) == 1
    assert "--tries is of --most-lost" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--most-lost", "much"])
    assert "'much' is not a number of points" in capsys.readouterr().err

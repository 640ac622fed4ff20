"""Predicted and true values of a regression, against the network's own outputs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from xbar.hw import load_chip
from xbar.workloads.data import Dataset
from xbar.workloads.study import predictions
from xbar.workloads.study.effects import analog_ideal
from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.task import CLASSIFICATION, REGRESSION
from xbar.workloads.workload import Workload

SAMPLES, OUTPUTS = 40, 3


@pytest.fixture(scope="module")
def case() -> tuple[Workload, OnChip, OnChip]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, OUTPUTS)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(OUTPUTS, 6, generator=generator))
    inputs, targets = torch.randn(SAMPLES, 6, generator=generator), torch.randn(SAMPLES, OUTPUTS, generator=generator)
    chip = load_chip("edge", {"device.programming_sigma": "20"})
    data = Dataset("values", inputs, targets, inputs, targets, REGRESSION, samples="rows")
    return Workload("values", "Values", model, data, 0.0), OnChip(model, chip, inputs), OnChip(model, analog_ideal(chip), inputs)


def alone(on_chip: OnChip, seed: int, inputs: Tensor) -> Tensor:
    """What one instance gives for these samples."""
    on_chip.prepare([seed], Condition())
    with torch.no_grad():
        return on_chip.model(inputs)  # type: ignore[no-any-return]


def test_values_beyond_one_batch_are_those_of_their_samples(case: tuple[Workload, OnChip, OnChip], monkeypatch: pytest.MonkeyPatch) -> None:
    workload, on_chip, _ = case
    inputs = workload.data.test_inputs
    whole = {seed: alone(on_chip, seed, inputs) for seed in (0, 1)}
    monkeypatch.setattr(on_chip, "batch", 7)
    for seed, found in on_chip.gathered([0, 1], inputs, Condition()).items():
        assert torch.allclose(found, whole[seed], rtol=1e-6, atol=1e-7)


def test_every_value_is_the_network_s_own(case: tuple[Workload, OnChip, OnChip], monkeypatch: pytest.MonkeyPatch) -> None:
    workload, on_chip, ideal = case
    inputs, targets = workload.data.test_inputs, workload.data.test_targets
    monkeypatch.setattr(predictions, "VALUES", 30)  # of 120: 10 samples
    table = predictions.prediction_table(on_chip, lambda: ideal, workload, range(5), inputs, targets)["predictions"]
    assert table.groupby("of", sort=False)["instance"].nunique().to_dict() == {"float": 1, "ideal": 1, "chip": 3}
    assert set(table["sample"]) == set(range(10))
    expected = {
        "float": workload.model(inputs[:10])[None],
        "ideal": torch.stack([alone(ideal, 0, inputs[:10])]),
        "chip": torch.stack([alone(on_chip, seed, inputs[:10]) for seed in (0, 1, 2)]),
    }
    for of, found in expected.items():
        mine = table[table["of"] == of].sort_values(["instance", "sample", "output"])
        assert mine["predicted"].to_numpy() == pytest.approx(found.detach().double().flatten().numpy())
        assert mine["true"].to_numpy() == pytest.approx(targets[:10].double().flatten().repeat(len(found)).numpy())


def test_other_tasks_have_no_predictions(case: tuple[Workload, OnChip, OnChip]) -> None:
    workload, on_chip, ideal = case
    inputs = workload.data.test_inputs
    labels = torch.zeros(SAMPLES, dtype=torch.int64)
    classes = replace(workload, data=Dataset("classes", inputs, labels, inputs, labels, CLASSIFICATION))
    assert predictions.prediction_table(on_chip, lambda: ideal, classes, [0], inputs, labels) == {}

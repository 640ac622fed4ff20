"""Confusion and accuracy by class, against counting by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from xbar.hw import load_chip
from xbar.workloads.data import Dataset
from xbar.workloads.study.classes import class_tables
from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.task import REGRESSION
from xbar.workloads.workload import Workload

CLASSES, IMAGES = 4, 60


@pytest.fixture(scope="module")
def case() -> tuple[Workload, OnChip, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, CLASSES))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(CLASSES, 6, generator=generator))
        model[0].bias.zero_()
    images = torch.randn(IMAGES, 6, generator=generator)
    labels = torch.randint(0, CLASSES - 1, (IMAGES,), generator=generator)  # the last class has no image
    chip = load_chip("edge", {"device.programming_sigma": "20"})
    data = Dataset("lines", images, labels, images, labels, samples="samples")
    return Workload("lines", "Lines", model.eval(), data, 0.0), OnChip(model, chip, images), images, labels


def test_counts_by_hand(case: tuple[Workload, OnChip, torch.Tensor, torch.Tensor]) -> None:
    workload, on_chip, images, labels = case
    tables = class_tables(on_chip, workload, range(5), images, labels)
    confusion, classes = tables["confusion"], tables["class_accuracy"].set_index("label")
    predicted = {"float": workload.model(images).argmax(1)[None],
                 "chip": torch.cat([each.argmax(2) for *_, each in on_chip.outputs([0, 1, 2], images, Condition())])}  # fmt: skip
    for of, found in predicted.items():
        mine = confusion[confusion["of"] == of].set_index(["label", "predicted"])["count"]
        assert mine.sum() == pytest.approx(IMAGES)
        for label in range(CLASSES):
            for other in range(CLASSES):
                by_hand = ((labels == label) & (found == other)).double().sum(1).mean()
                assert mine.get((label, other), 0.0) == pytest.approx(float(by_hand))
    assert list(classes.index) == [0, 1, 2]
    assert classes["images"].tolist() == torch.bincount(labels).tolist()
    right = torch.stack([(predicted["chip"][:, labels == label] == label).double().mean(1) for label in range(3)])
    assert classes["chip"].tolist() == pytest.approx(right.mean(1).tolist())
    assert classes["chip_smallest"].tolist() == pytest.approx(right.min(1).values.tolist())
    assert set(classes["instances"]) == {3}


def test_other_tasks_have_no_tables(case: tuple[Workload, OnChip, torch.Tensor, torch.Tensor]) -> None:
    workload, on_chip, images, _ = case
    values = Dataset("values", images, images, images, images, REGRESSION)
    assert class_tables(on_chip, replace(workload, data=values), [0], images, images) == {}

"""Confusion and accuracy by class, against counting by hand."""

import pandas as pd
import pytest
import torch
from torch import nn

from xbar.hw import ParameterError, load_chip
from xbar.workloads.study.classes import class_tables
from xbar.workloads.study.evaluate import OnChip

CLASSES, IMAGES = 4, 60


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, OnChip, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, CLASSES))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(CLASSES, 6, generator=generator))
        model[0].bias.zero_()
    images = torch.randn(IMAGES, 6, generator=generator)
    labels = torch.randint(0, CLASSES - 1, (IMAGES,), generator=generator)  # the last class has no image
    chip = load_chip("edge", {"device.programming_sigma": "20"})
    return model.eval(), OnChip(model, chip, images), images, labels


def test_predictions_are_those_that_accuracies_count(case: tuple[nn.Module, OnChip, torch.Tensor, torch.Tensor]) -> None:
    _, on_chip, images, labels = case
    found = on_chip.predictions([0, 1, 2], images)
    assert found.shape == (3, IMAGES)
    accuracies: dict[int, float] = {}
    for part in on_chip.accuracies([0, 1, 2], images, labels):
        accuracies |= part
    assert (found == labels).double().mean(1).tolist() == pytest.approx(list(accuracies.values()))
    assert not torch.equal(found[0], found[1])
    with pytest.raises(ParameterError, match="an instance and an image"):
        on_chip.predictions([], images)


def test_counts_by_hand(case: tuple[nn.Module, OnChip, torch.Tensor, torch.Tensor]) -> None:
    model, on_chip, images, labels = case
    tables = class_tables(on_chip, model, range(5), images, labels)
    confusion, classes = tables["confusion"], tables["class_accuracy"].set_index("label")
    predicted = {"float": model(images).argmax(1)[None], "chip": on_chip.predictions([0, 1, 2], images)}
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


def test_outputs_that_are_no_scores_of_classes_have_no_tables(case: tuple[nn.Module, OnChip, torch.Tensor, torch.Tensor]) -> None:
    _, on_chip, images, labels = case
    found: dict[str, pd.DataFrame] = class_tables(on_chip, lambda x: x.sum(1), [0], images, labels)  # type: ignore[arg-type]
    assert found == {}

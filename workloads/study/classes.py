"""Which classes a classifier takes for which, in float and on chip instances: confusion, and accuracy by class."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.task import CLASSIFICATION
from xbar.workloads.workload import Workload

INSTANCES, SAMPLES = 3, 1000  # judged for this at most: it bounds the time


def class_tables(on_chip: OnChip, workload: Workload, seeds: Sequence[int], inputs: Tensor, labels: Tensor) -> dict[str, pd.DataFrame]:
    """The tables "confusion" and "class_accuracy" of chip instances as described, of the first of them and of the samples; empty where
    the task is not a classification.

    confusion: of ("float" or "chip"), label, predicted, count (samples; of chips the mean over instances), rows that are not 0.
    class_accuracy: label, images, float, chip (mean over instances), chip_smallest, chip_largest [shares of 1], instances; classes
    that have samples.
    """
    if workload.data.task.name != CLASSIFICATION.name:
        return {}
    inputs, labels = inputs[:SAMPLES], labels[:SAMPLES]
    with torch.no_grad():
        scores = [workload.model(part) for part in inputs.split(on_chip.batch)]
    wide, of_float = scores[0].shape[1], torch.cat([each.argmax(1) for each in scores])
    chosen = list(seeds)[: INSTANCES if on_chip.varies() else 1]
    predicted: dict[int, list[Tensor]] = {seed: [] for seed in chosen}
    for part, _, outputs in on_chip.outputs(chosen, inputs, Condition()):
        for seed, each in zip(part, outputs, strict=True):
            predicted[seed].append(each.argmax(1))
    found = torch.stack([torch.cat(each) for each in predicted.values()])
    counts = {"float": _counts(of_float[None], labels, wide), "chip": _counts(found, labels, wide)}
    rows = [
        {"of": of, "label": label, "predicted": predicted, "count": float(count[label, predicted])}
        for of, count in ((of, each.double().mean(0)) for of, each in counts.items())
        for label, predicted in count.nonzero().tolist()
    ]
    total = torch.bincount(labels, minlength=wide)
    right = {of: each.diagonal(dim1=1, dim2=2).double() / total for of, each in counts.items()}  # (instances, classes)
    classes = [
        {
            "label": label, "images": int(total[label]), "float": float(right["float"][0, label]),
            "chip": float(right["chip"][:, label].mean()), "chip_smallest": float(right["chip"][:, label].min()),
            "chip_largest": float(right["chip"][:, label].max()), "instances": len(chosen),
        }
        for label in total.nonzero().flatten().tolist()
    ]  # fmt: skip
    return {"confusion": pd.DataFrame(rows), "class_accuracy": pd.DataFrame(classes)}


def _counts(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Samples by label and predicted class, int64 (instances, classes, classes)."""
    flat = torch.stack([torch.bincount(labels * classes + each, minlength=classes**2) for each in predicted])
    return flat.view(len(predicted), classes, classes)

"""What a network that is asked for values gives beside the true ones: in float, on an ideal chip, and on chip instances as described."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.task import REGRESSION
from xbar.workloads.workload import Workload

INSTANCES, VALUES = 3, 2000  # chip instances, and values of each, that are kept at most: it bounds table and page


def prediction_table(
    on_chip: OnChip, ideal: Callable[[], OnChip], workload: Workload, seeds: Sequence[int], inputs: Tensor, targets: Tensor
) -> dict[str, pd.DataFrame]:
    """The table "predictions", a row a value: of ("float"; "ideal", the chip with all analog parts ideal; "chip", as described), instance,
    sample and output (numbers), true and predicted [the target's units]; empty where the task is no regression.

    Of the samples and their outputs, counted through, the first that make `VALUES` values are taken.
    """
    if workload.data.task.name != REGRESSION.name:
        return {}
    flat = targets.reshape(len(targets), -1)
    outputs = min(flat.shape[1], VALUES)
    samples = min(len(flat), VALUES // outputs)
    inputs, true = inputs[:samples], flat[:samples, :outputs].double()
    with torch.no_grad():
        found = {"float": torch.cat([workload.model(part) for part in inputs.split(on_chip.batch)])[None]}
    for of, model, chosen in (("ideal", ideal(), list(seeds)[:1]), ("chip", on_chip, list(seeds)[: INSTANCES if on_chip.varies() else 1])):
        found[of] = torch.stack(list(model.gathered(chosen, inputs, Condition()).values()))
    numbers = np.indices((samples, outputs)).reshape(2, -1)
    rows = [
        pd.DataFrame({
            "of": of, "instance": instance, "sample": numbers[0], "output": numbers[1], "true": true.flatten().numpy(),
            "predicted": each.reshape(samples, -1)[:, :outputs].double().flatten().numpy(),
        })
        for of, instances in found.items() for instance, each in enumerate(instances)
    ]  # fmt: skip
    return {"predictions": pd.concat(rows, ignore_index=True)}

"""Whether what a search chooses holds its constraint on chips and images that nobody saw, over 20 repeats; with and without a confirmation.

    python results/search/noisy.py judge    # digits.npz: which image each of 24 chips of 48 designs gets right, some minutes
    python results/search/noisy.py          # chosen.csv: 20 repeats of a search over these designs

Each repeat draws its own order of chips and images. The search sees the first of both, the confirmation those after, and what is chosen is
held against the last 12 chips and the last 120 images. Beside it what the best estimate would choose, without a band or a confirmation.
"""

import sys
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from xbar.hw.chip.files import load_chip
from xbar.workloads.study.evaluate import OnChip
from xbar.workloads.study.points import error_columns, judge
from xbar.workloads.study.requirements import Requirement
from xbar.workloads.study.search import Asked, Confirmation, search
from xbar.workloads.study.spaces import grid
from xbar.workloads.study.sweep import InProcess
from xbar.workloads.task import ACCURACY
from xbar.workloads.training import tally_of
from xbar.workloads.workload import load_workload

HERE = Path(__file__).parent
AXES = {"component.adc.bits": [4, 5, 6, 8], "inputs.bits": [3, 4, 6, 8], "device.programming_sigma": [2.0, 6.0, 12.0]}
CHIPS, IMAGES = 24, 360
LEVELS = [{"images": 0}, {"images": 40, "instances": 2}, {"images": 100, "instances": 4}]
CONFIRMED = {"images": 140, "instances": 8, "first_image": 100, "first_instance": 4}
TRUE = {"images": 120, "instances": 12, "first_image": 240, "first_instance": 12}
POINTS_LOST = 0.05


def judged() -> None:
    """Which images each chip gets right, as bits, and what each design takes of energy."""
    workload, right, energies = load_workload("digits"), [], []
    inputs, targets = workload.data.test_inputs, workload.data.test_targets
    for design in grid(AXES):
        fixed = {"chip.name": "edge", "component.adc.law": "sar", **design}
        chip = load_chip("edge", {name: str(value) for name, value in fixed.items() if name != "chip.name"})
        tallies = OnChip(workload.model, chip, workload.calibration_inputs).tallies(range(CHIPS), inputs, targets)
        values = [tally.values() for part in tallies for tally in part.values()]
        right.append(torch.stack([each for each in values if each is not None]).numpy().astype(bool))
        energies.append(judge({**fixed, "study.images": 0, "study.reads": "cells"})["energy_J"])
    of_float = tally_of(workload.model, inputs, targets, ACCURACY).values()
    assert of_float is not None
    np.savez_compressed(HERE / "digits.npz", right=np.packbits(np.array(right), axis=-1), of_float=of_float.numpy().astype(bool),
                        energies=np.array(energies))  # fmt: skip


@cache
def kept() -> dict[str, np.ndarray]:
    """What digits.npz holds: right (designs, chips, images as bits), of_float (images), energies (designs)."""
    with np.load(HERE / "digits.npz") as file:
        return dict(file)


@cache
def table() -> dict[tuple[object, ...], tuple[np.ndarray, float]]:
    """By design: right (chips, images), and energy [J]."""
    right = np.unpackbits(kept()["right"], axis=-1)[..., :IMAGES].astype(float)
    return {tuple(design.values()): found for design, found in zip(grid(AXES), zip(right, kept()["energies"], strict=True), strict=True)}


def worth(point: dict[str, Any], repeat: int) -> dict[str, Any]:
    """What a point is worth on its part of the chips and images, in the order of the repeat."""
    right, energy = table()[tuple(point[name] for name in AXES)]
    if not point["images"]:
        return {"energy_J": energy}
    rng = np.random.default_rng(repeat)
    chips, images = rng.permutation(CHIPS), rng.permutation(IMAGES)
    mine = [order[first : first + count] for order, first, count in (
        (chips, point.get("first_instance", 0), point["instances"]), (images, point.get("first_image", 0), point["images"]),
    )]  # fmt: skip
    of_float = kept()["of_float"].astype(float)[mine[1]][None]
    values = right[np.ix_(*mine)]
    return {"energy_J": energy, "accuracy": float(values.mean()), **error_columns(ACCURACY, values, of_float, True)}


def repeated(repeat: int, folder: str) -> dict[str, Any]:
    """One search: what it chose, and what that, and the best estimate's choice, lose in truth."""
    required = Requirement("accuracy", "high", POINTS_LOST, of_float=True)
    asked = Asked(AXES, {"energy_J": "low"}, [required], levels=LEVELS, confirmation=Confirmation(CONFIRMED, 3), designs=36, batch=12,
                  seed=repeat)  # fmt: skip
    found = search(asked, partial(worth, repeat=repeat), folder, InProcess())
    frame = found.frame()
    able = frame[(frame["accuracy_lost"] <= POINTS_LOST) & (frame["level"] == 2)]
    naive = able.loc[able["energy_J"].idxmin()]
    row: dict[str, Any] = {"repeat": repeat, "chosen": found.chosen, "confirmed_after": len(found.confirmations)}
    for name, design in (("lost", found.design()), ("lost_of_best_estimate", naive)):
        row[name] = None if design is None else worth({**design[list(AXES)], **TRUE}, repeat)["accuracy_lost"]
    row["energy_J"] = None if found.chosen is None else found.design()["energy_J"]
    return row | {"energy_of_best_estimate_J": naive["energy_J"]}


def repeats(count: int) -> pd.DataFrame:
    """Repeats, a row each."""
    rows = []
    for repeat in range(count):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(repeated(repeat, folder))
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["judge"]:
        judged()
    else:
        found = repeats(20)
        found.to_csv(HERE / "chosen.csv", index=False, float_format="%.5g")
        print(f"{int((found['lost'] <= POINTS_LOST).sum())} of {len(found)} choices hold; of best estimates "
              f"{int((found['lost_of_best_estimate'] <= POINTS_LOST).sum())}")  # fmt: skip

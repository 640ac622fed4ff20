#!/usr/bin/env python3
"""Which way of pruning is best at equal structure and equal training: ADMM, gradual magnitude, one-shot magnitude, least squares.

    python -P results/compression/methods.py digits
    python -P results/compression/methods.py digits-levels
    python -P results/compression/methods.py digits-whole
    python -P results/compression/methods.py resnet20 --data DIR
    python -P results/compression/methods.py resnet20-longer --seeds 1 --data DIR

Every method leaves the same number of filters and inputs in every layer and trains for as many epochs on the same images, then is
judged by validation images and, at the end, by test images. Rows go to methods.csv beside this file, one a run; runs that are
there are not done again, so that an interrupt costs one. --table prints the table of results/README.md.

What is kept: of the filters that feed one layer alone (in a residual network the first of each block) a share, then of each layer's
inputs that are left a share. One-shot cuts both at once and trains the small network, its weights as they were or solved by least
squares; the others take their time for filters, shrink, take their time for inputs, and retrain; epochs that ADMM, having
converged, leaves retrain as well. ADMM's settings were chosen on validation images of the digits, with seeds from 100 on; those of
ResNet-20 are the same. digits-levels: weights on few levels, the nearest ones or ADMM's, and learned steps. digits-whole: all of
`xbar compress`, at equal cost.
"""

import argparse
import csv
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import nn

from xbar.compression import (
    Admm,
    Balanced,
    Filter,
    Gradual,
    Levels,
    OneShot,
    Rho,
    attach,
    bake,
    baked,
    folded,
    hold_levels,
    hold_zeros,
)
from xbar.compression.admm import FarFromSetsWarning
from xbar.compression.gemm import matrix_layers
from xbar.compression.paths import Paths
from xbar.hw import load_chip
from xbar.workloads.data import Dataset, cache_directory, first_samples
from xbar.workloads.offered import ALLOCATIONS, COMPRESSION_METHODS
from xbar.workloads.study.allocation import SOLVED_ON, Keep, input_sets, prune_and_solve, smaller
from xbar.workloads.study.compress import compress
from xbar.workloads.study.costs import weights_of
from xbar.workloads.study.plan import PLANS, split
from xbar.workloads.training import Recipe, read_state, save_state, score, train_network
from xbar.workloads.workload import Workload, load_workload

FILE = Path(__file__).with_name("methods.csv")
COLUMNS = ["workload", "budget", "method", "seed", "weights", "validation", "test", "apart", "epochs", "cpu_minutes"]


@dataclass(frozen=True)
class Setting:
    """images: to train on; budgets: shares of filters and of inputs kept, by name, or bits of a weight; split: epochs for filters,
    inputs, retraining; recipe: of one epoch; updates: an epoch."""

    images: int
    validation: int
    budgets: dict[str, tuple[float, float]]
    split: tuple[int, int, int]
    recipe: Recipe
    updates: int
    warm: int = 0  # epochs of training before, the same for all, on
    warm_images: int = 0
    once: tuple[str, ...] = ()  # methods of one seed only
    judged: int = 10_000  # test images, at most


RESNET = Setting(
    2000, 1000, {"half": (0.75, 0.75), "third": (0.5, 0.6)}, (2, 1, 3),
    Recipe(1, 100, 1e-3, 0.05, shift=4, flip=True, bfloat16=True), 10, warm=4, warm_images=4000, once=("ADMM as before",), judged=3000,
)  # fmt: skip
SETTINGS = {
    "digits": Setting(
        1137, 300, {"half": (0.5, 0.5), "third": (0.375, 0.4)}, (30, 20, 50), Recipe(1, 64, 1e-2), 6,
    ),
    "digits-levels": Setting(1137, 300, {"3 bits": (3.0, 0.0), "2 bits": (2.0, 0.0)}, (0, 0, 30), Recipe(1, 64, 1e-2), 6),
    "digits-whole": Setting(1137, 300, {"a quarter": (0.25, 0.0)}, (0, 0, 0), Recipe(1, 64, 1e-2), 6),
    "resnet20": RESNET,
    "resnet20-longer": replace(RESNET, budgets={"third": (0.5, 0.6)}, split=(6, 4, 8), once=("ADMM as before",)),
}  # fmt: skip
RHO, SHARE = 0.3, 0.3  # at the start; of the learning rate, while ADMM or gradual pruning runs


class Run:
    """One network cut down by one method."""

    def __init__(self, setting: Setting, parts: Dataset, seed: int):
        self.setting, self.parts, self.seed, self.apart, self.ran = setting, parts, seed, 0.0, 0

    def train(self, model: nn.Module, epochs: int, regulariser: object = None, updates: int = 1, **changes: object) -> None:
        """So many epochs, or fewer where ADMM has converged; `ran` counts them."""
        recipe = replace(self.setting.recipe, epochs=epochs, **changes)  # type: ignore[arg-type]

        def count(epoch: int, loss: float) -> None:
            self.ran += 1

        train_network(model, self.parts, recipe, self.seed, regulariser=regulariser, updates=updates, after=count)  # type: ignore[arg-type]

    def one_shot(self, model: nn.Module, sets: dict, epochs: int) -> None:
        """All at once, no training: it is left to the end."""
        OneShot(model, sets)

    def gradual(self, model: nn.Module, sets: dict, epochs: int) -> None:
        """Zhu and Gupta."""
        updates = self.setting.updates
        pruned = Gradual(model, sets, epochs * updates)
        self.train(model, epochs, pruned, updates, schedule="constant", learning_rate=SHARE * self.setting.recipe.learning_rate)
        pruned.project_()

    def admm(self, model: nn.Module, sets: dict, epochs: int) -> None:
        """Residual-driven rho, proximal steps apart from the optimiser's, constant rate."""
        updates = self.setting.updates
        admm = Admm(model, sets, Balanced(RHO, epochs * updates), decoupled=True)
        self._pulled(model, admm, epochs, updates, schedule="constant", learning_rate=SHARE * self.setting.recipe.learning_rate)

    def admm_before(self, model: nn.Module, sets: dict, epochs: int) -> None:
        """An update an epoch, rho times three at each, a rate that falls to 0: as `xbar compress` had it until November 2026."""
        self._pulled(model, Admm(model, sets, Rho(3e-3, factor=3.0, last=0.3)), epochs, 1)

    def _pulled(self, model: nn.Module, admm: Admm, epochs: int, updates: int, **changes: object) -> None:
        self.train(model, epochs, admm, updates, **changes)
        self.apart = max(self.apart, *admm.apart().values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FarFromSetsWarning)
            masks = admm.project_()
        attach(model, masks)


METHODS: dict[str, Callable[[Run, nn.Module, dict, int], None]] = {
    "one-shot magnitude": Run.one_shot, "gradual magnitude": Run.gradual, "ADMM": Run.admm, "ADMM as before": Run.admm_before,
}  # fmt: skip
SOLVED = "one-shot, least squares"  # both cuts at once, what is left solved on the images that are trained on


def structure(model: nn.Module, example: torch.Tensor, shares: tuple[float, float]) -> dict[str, Keep]:
    """What each layer keeps: filters of layers that feed one layer alone; inputs of those left."""
    layers, paths = matrix_layers(model), Paths(model, example)
    everything = {name: torch.ones(len(layer.weight), dtype=torch.bool) for name, layer in layers.items()}
    whole = paths.reached(everything)
    fed = {}
    for name in layers:
        left = {other: mask.clone() for other, mask in everything.items()}
        left[name][0] = False
        fed[name] = [other for other, reached in paths.reached(left).items() if not torch.equal(reached, whole[other])]
    keep, present = {}, {name: layer.weight[0].numel() for name, layer in layers.items()}
    for name, layer in layers.items():
        filters = len(layer.weight)
        if len(fed[name]) == 1:
            kept = max(2, round(shares[0] * filters))
            present[fed[name][0]] = present[fed[name][0]] * kept // filters
            filters = kept
        keep[name] = Keep(filters)
    return {name: Keep(each.filters, max(2, round(shares[1] * present[name]))) for name, each in keep.items()}


def cut(run: Run, method: str, model: nn.Module, example: torch.Tensor, allocation: dict[str, Keep]) -> tuple[nn.Module, int]:
    """The network cut down and retrained, and the epochs that it has had."""
    first, second, _ = run.setting.split
    if method == SOLVED:
        small = smaller(prune_and_solve(baked(model), allocation, first_samples(run.parts, SOLVED_ON), run.seed), example)
    else:
        how = METHODS[method]
        network = baked(model)
        layers = matrix_layers(network)
        how(run, network, {name: [Filter(k=keep.filters)] for name, keep in allocation.items() if keep.filters < len(layers[name].weight)},
            first)  # fmt: skip
        small = smaller(bake(network), example)
        how(run, small, input_sets(small, allocation), second)
    held = hold_zeros(bake(small))
    run.train(held, sum(run.setting.split) - run.ran)
    return bake(held).eval(), run.ran


def on_levels(run: Run, method: str, model: nn.Module, example: torch.Tensor, bits: int) -> tuple[nn.Module, int]:
    """The network on levels of that many bits, retrained on them; ADMM takes the first third of the epochs."""
    setting, levels, epochs = run.setting, Levels(bits, full_scale=True), sum(run.setting.split)
    network = hold_zeros(folded(model, example))
    rate = SHARE * setting.recipe.learning_rate
    if method == "ADMM":
        first = epochs // 3
        admm = Admm(network, {name: [levels] for name in matrix_layers(network)}, Balanced(RHO, first * setting.updates), decoupled=True)
        run.train(network, first, admm, setting.updates, schedule="constant", learning_rate=rate)
        run.apart = max(admm.apart().values())
        admm.project_()
    held = hold_zeros(network)
    hold_levels(held, levels, learned=method == "learned steps")
    run.train(held, epochs - run.ran, learning_rate=rate)
    return bake(held).eval(), run.ran


LEVEL_METHODS = ("nearest levels", "ADMM", "learned steps")
WHOLE_METHODS = {f"{allocation} ratios, {told}": (allocation, method) for allocation in ALLOCATIONS
                 for method, told in COMPRESSION_METHODS.items()}  # fmt: skip


def whole_way(parts: Dataset, method: str, model: nn.Module, share: float, seed: int) -> tuple[nn.Module, int, float]:
    """The network after all of `xbar compress` to a share of its weights on ISAAC, judged in float; its epochs, and how far it was from
    its sets at a projection. Equal cost here, not equal structure: ratios differ."""
    allocation, how = WHOLE_METHODS[method]
    plan = replace(PLANS["digits"], seed=seed, allocation=allocation, method=how, budgets=(), most_on_chips=0)
    with TemporaryDirectory() as folder:
        found = compress(model, parts, load_chip("isaac"), {"weights": share}, Path(folder), plan)
    return found.model, found.meta["epochs"], max(found.meta["from_sets_at_projection"].values(), default=0.0)


def begun(workload: Workload, setting: Setting, parts: Dataset, model: nn.Module) -> nn.Module:
    """The network that all begin with: as it came in, trained on for a while where data are others than its own were."""
    if not setting.warm:
        return model
    path = cache_directory() / "methods" / f"{workload.name}-{setting.warm}-{setting.warm_images}.pt"
    if path.is_file():
        model.load_state_dict(read_state(path))
        return model.eval()
    train_network(model, parts, replace(setting.recipe, epochs=setting.warm), 0, path.with_suffix(".checkpoint"), progress=True)
    save_state(model.state_dict(), path)
    return model.eval()


def done() -> pd.DataFrame:
    """The runs there are."""
    return pd.read_csv(FILE) if FILE.is_file() else pd.DataFrame(columns=COLUMNS)


def keep_row(row: dict[str, object]) -> None:
    """One more run; the file is the old one or the new one, never half of one."""
    part = FILE.with_suffix(".part")
    rows = [*done().to_dict("records"), row]
    with part.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    os.replace(part, FILE)


def table() -> str:
    """Mean and spread of test accuracy by method."""
    found = done()
    order = {name: {each: place for place, each in enumerate(values)} for name, values in (
        ("workload", SETTINGS), ("budget", ["half", "third", "3 bits", "2 bits", "a quarter"]),
        ("method", [SOLVED, *METHODS, *LEVEL_METHODS, *WHOLE_METHODS]))}  # fmt: skip
    found = found.sort_values([*order, "seed"], key=lambda column: column.map(order[column.name]) if column.name in order else column)
    lines = ["| network, kept | weights | method | test accuracy | apart at projection | processor minutes |", "|---|---|---|---|---|---|"]
    for (workload, budget, method), runs in found.groupby(["workload", "budget", "method"], sort=False):
        spread = f" ± {100 * runs['test'].std():.2f}" if len(runs) > 1 else ""
        apart = f"{100 * runs['apart'].max():.0f} %" if "ADMM" in str(method) else "-"
        reached = f"{100 * runs['test'].mean():.2f}{spread} % ({len(runs)})"
        taken = f"{runs['cpu_minutes'].mean():.2f}"
        lines.append(f"| {workload}, {budget} | {runs['weights'].mean():,.0f} | {method} | {reached} | {apart} | {taken} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="?", choices=SETTINGS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    given = parser.parse_args()
    if given.table or not given.workload:
        print(table())
        return
    torch.set_num_threads(1)
    setting = SETTINGS[given.workload]
    workload = load_workload(given.workload.partition("-")[0], data_directory=given.data)
    whole = split(workload.data, setting.validation, 0)
    parts = first_samples(whole, setting.images)
    example = workload.calibration_inputs[:2]
    model = begun(workload, setting, first_samples(whole, setting.warm_images or setting.images), workload.model)
    tested = workload.data.test_inputs[: setting.judged], workload.data.test_targets[: setting.judged]
    print(f"{given.workload}: {score(model, *tested):.2%} before", flush=True)
    for seed in range(given.seeds):
        for budget, shares in setting.budgets.items():
            kind = given.workload.partition("-")[2]
            methods = {"levels": LEVEL_METHODS, "whole": tuple(WHOLE_METHODS)}.get(kind, (SOLVED, *METHODS))
            allocation = structure(model, example, shares) if SOLVED in methods else {}
            for method in methods:
                there = done()
                if seed and method in setting.once:
                    continue
                if ((there["workload"] == given.workload) & (there["budget"] == budget) & (there["method"] == method)
                        & (there["seed"] == seed)).any():  # fmt: skip
                    continue
                began, run = time.process_time(), Run(setting, parts, seed)
                if kind == "whole":
                    small, epochs, run.apart = whole_way(workload.data, method, model, shares[0], seed)
                elif kind == "levels":
                    small, epochs = on_levels(run, method, model, example, int(shares[0]))
                else:
                    small, epochs = cut(run, method, model, example, allocation)
                spent = (time.process_time() - began) / 60
                row = {
                    "workload": given.workload, "budget": budget, "method": method, "seed": seed, "weights": weights_of(small),
                    "validation": score(small, parts.test_inputs, parts.test_targets),
                    "test": score(small, *tested),
                    "apart": round(run.apart, 4), "epochs": epochs, "cpu_minutes": round(spent, 3),
                }  # fmt: skip
                keep_row(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()

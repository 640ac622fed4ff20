"""How hard a compression tries: epochs of each training, how filters and inputs are chosen, what is judged, and the images to choose
by."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from xbar.hw.errors import did_you_mean
from xbar.workloads.data import Dataset
from xbar.workloads.offered import (
    ALLOCATIONS,
    AUTO,
    COMPRESSION_METHOD,
    COMPRESSION_METHODS,
    COMPUTES,
    NETWORKS,
    RATE,
    TRAINING_OPTIONS,
)
from xbar.workloads.training import Recipe, TrainingError, TrainingOptions

LONGER_BY = ("epochs", "minutes")
PULL_SHARE = 0.3  # of the learning rate, constant, while ADMM or gradual pruning runs


@dataclass(frozen=True)
class Plan(TrainingOptions):
    """How hard to try: epochs of each training (0: none), and what is judged. Raises TrainingError for values out of range.

    rounds, search_images: of the search for what each layer keeps. updates: of ADMM in an epoch. longer: whether the
    uncompressed network is trained on, to compare with, longer_by: for as many "epochs" as the compressed one takes, or for as many
    "minutes" of the processor as cutting and training that one took (its control apart). bits: of a weight after,
    None for BEST_BITS or the chip's own, where fewer; input_bits: of an input after, None for the chip's own; of both AUTO for what the
    search chooses, from there down. sigma:
    programming error of varied chips [1], None for the device's own or ASSUMED_SIGMA. rate: inferences per second of all power
    figures [1/s]. purify: whether groups of little norm go as well, although the targets are met without; most_lost: validation accuracy
    that this may cost before retraining, of other metrics a share of the value before [1]. most_on_chips: networks of
    more weights are judged in float only, for what their cells take of memory. budgets: multiples of the targets that the
    picture of methods is drawn at, none for no picture. frontier: epochs of ADMM and of retraining for each of its points, on
    frontier_images, with each of frontier_seeds seeds. train_images: that are trained on, 0 for all.

    method, allocation: of COMPRESSION_METHODS and ALLOCATIONS in workloads/offered.py; rho: of ADMM at the start, which its residuals
    then change. learned: of the stages on levels, whether the steps of weights and inputs are learned (LSQ), input ranges of the chip
    with them. Options of training go to all stages but for `small`, of stages before levels, and `average`, not of those that pull. The
    teacher is the network as it came in, for the stages of `TRAININGS`; the search, `longer` and the picture of methods have none.
    compute: where networks are trained and chips compute, "cpu", "cuda", or AUTO for CUDA where there is one; the search stays on the CPU.
    Refused where they would change nothing: rho where method is not admm, temperature and views without distil.
    """

    rounds: int = 6
    search_images: int = 10000
    filters: int = 4
    inputs: int = 3
    pruned: int = 12
    purified: int = 12
    levels: int = 3
    quantised: int = 5
    final: int = 10
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    updates: int = 8
    longer: bool = False
    longer_by: str = "epochs"
    bits: int | str | None = None
    input_bits: int | str | None = None
    sigma: float | None = None
    rate: float = RATE
    validation: int = 5000
    purify: bool = False
    most_lost: float = 0.0004
    instances: int = 10
    images: int = 1000
    most_on_chips: int = 5_000_000
    budgets: tuple[float, ...] = (2.0, 1.0, 0.7)
    frontier: tuple[int, int] = (1, 3)
    frontier_images: int = 15000
    frontier_seeds: int = 1
    seed: int = 0
    train_images: int = 0
    method: str = COMPRESSION_METHOD
    allocation: str = "cost-aware"
    rho: float = 0.1
    learned: bool = False
    compute: str = AUTO

    def __post_init__(self) -> None:
        for name, known in (("method", COMPRESSION_METHODS), ("allocation", ALLOCATIONS), ("longer_by", LONGER_BY)):
            value = getattr(self, name)
            _check(name, value in known, f"{value}{did_you_mean(value, known)}", f"of {', '.join(known)}")
        _check("train_images", self.train_images >= 0, self.train_images, "0 (all) or more")
        for name in ("rounds", "search_images", "batch", "updates", "validation", "instances", "images", "frontier_images",
                     "frontier_seeds"):  # fmt: skip
            _check(name, getattr(self, name) >= 1, getattr(self, name), "1 or more")
        for name in ("filters", "inputs", "pruned", "purified", "levels", "quantised", "final", "seed"):
            _check(name, getattr(self, name) >= 0, getattr(self, name), "0 or more")
        for name in ("learning_rate", "rate", "rho"):
            _check(name, 0 < getattr(self, name) < float("inf"), getattr(self, name), "above 0 and finite")
        _check("compute", self.compute in (*COMPUTES, AUTO), self.compute, f"one of {', '.join(COMPUTES)}, or {AUTO}")
        for name in ("bits", "input_bits"):
            value = getattr(self, name)
            _check(name, value is None or value == AUTO or (not isinstance(value, str) and value >= 1), value, f"1 or more, or {AUTO}")
            _check(name, value != AUTO or self.allocation == "cost-aware", value, "a number with allocation uniform, which has no rounds")
        for name, of, acts in (("rho", "method admm", self.method == "admm"), ("temperature", "distil", self.distil),
                               ("views", "distil", self.distil)):  # fmt: skip
            value = getattr(self, name)
            _check(name, bool(acts) or value == getattr(Plan, name), value, f"left out without {of}, of which it is a part")
        _check("sigma", self.sigma is None or 0 <= self.sigma < float("inf"), self.sigma, "0 or more and finite")
        _check("most_lost", 0 <= self.most_lost <= 1, self.most_lost, "from 0 to 1")
        _check("budgets", all(budget > 0 for budget in self.budgets), self.budgets, "above 0 each")
        _check("frontier", 1 <= self.frontier[0] <= self.frontier[1], self.frontier, "1 or more of ADMM, at least as many of retraining")
        self.recipe(1, small=True, taught=True)  # refuses options of training that are out of range

    def recipe(self, epochs: int, share: float = 1.0, pulled: bool = False, small: bool = False, taught: bool = False) -> Recipe:
        """A training of that many epochs at a share of the learning rate; `pulled` at a constant one, as ADMM needs it."""
        options: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(TrainingOptions)}
        for name, acts in (("small", small), ("average", not pulled), ("distil", taught)):
            options |= {} if acts else {name: 0}
        schedule = "constant" if pulled else "one-cycle"
        return Recipe(epochs, self.batch, self.learning_rate * share, self.weight_decay, schedule=schedule, **options)

    @property
    def epochs(self) -> int:
        """Of all training after the choice of what to keep."""
        return self.filters + self.inputs + self.pruned + self.purified + self.levels + self.quantised + self.final


def _check(name: str, holds: bool, value: object, allowed: str) -> None:
    if not holds:
        raise TrainingError(f"plan.{name} must be {allowed}, got {value}")


_COLOUR: dict[str, Any] = {"weight_decay": 0.05, "shift": 4, "flip": True, "bfloat16": True}
_TRAINING = {  # digits: ADMM, which validation images have 2.6 points ahead of least squares there (results/README.md)
    "digits": Plan(6, 1437, 30, 20, 60, 20, 10, 20, 40, 64, 1e-2, validation=300, frontier=(10, 30), frontier_seeds=3, method="admm"),
    **dict.fromkeys(("lenet5", "lenet5-caffe"), Plan(pruned=14, purified=2, final=6, shift=1, most_lost=0.0, longer=True)),
    "resnet20": Plan(
        filters=2, inputs=1, pruned=6, purified=3, levels=1, quantised=2, final=3, learning_rate=1e-3, most_lost=0.002, updates=20,
        budgets=(1.5, 1.0, 0.7), frontier=(2, 5), frontier_images=15000, longer=True, **_COLOUR,
    ),
    **dict.fromkeys(("vgg16", "resnet18"), Plan(
        search_images=6000, filters=2, inputs=1, pruned=37, purified=0, levels=1, quantised=13, final=4, learning_rate=2e-3,
        updates=40, products=True, most_lost=0.001, budgets=(), longer=True, longer_by="minutes", learned=True, smoothing=0.1, cutout=8,
        small=24, average=0.998, distil=0.5, views=8, **_COLOUR,
    )),
}  # fmt: skip
PLANS = {
    name: replace(_TRAINING.get(name, Plan()), images=network.compressed_images, instances=network.compressed_instances)
    for name, network in NETWORKS.items()
}


TRAININGS = ("filters", "inputs", "pruned", "purified", "levels", "quantised", "final")


def with_training(plan: Plan, options: Sequence[tuple[str, str]]) -> Plan:
    """The plan with options of training, names and values as a command line has them. Raises TrainingError."""
    given: dict[str, Any] = {}
    for name, text in options:
        if name not in TRAINING_OPTIONS:
            raise TrainingError(f"training has no {name!r}; known: {', '.join(TRAINING_OPTIONS)}{did_you_mean(name, TRAINING_OPTIONS)}")
        if isinstance(getattr(plan, name), bool):
            if text not in ("true", "false"):
                raise TrainingError(f"training {name} must be true or false, got {text}")
            given[name] = text == "true"
            continue
        kind = type(getattr(plan, name))
        try:
            given[name] = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise TrainingError(f"training {name} must be {what}, got {text}") from None
    return replace(plan, **given)


def with_epochs(plan: Plan, epochs: int) -> Plan:
    """The plan with so many epochs in all after the choice of what to keep, each training with its share of them."""
    total = plan.epochs
    if not total:
        raise TrainingError("plan has no training whose epochs could be changed")
    shares = {name: getattr(plan, name) * epochs / total for name in TRAININGS}
    whole = {name: int(share) for name, share in shares.items()}
    left = sorted(shares, key=lambda name: whole[name] - shares[name])[: epochs - sum(whole.values())]
    return replace(plan, **{name: whole[name] + (name in left) for name in TRAININGS})  # type: ignore[arg-type]


def fitted(plan: Plan, data: Dataset) -> Plan:
    """The plan; where it would hold out more than half of the training samples, with a fifth of them."""
    count = len(data.train_targets)
    return plan if plan.validation <= count // 2 else replace(plan, validation=max(1, count // 5))


QUICK_EPOCHS = 2  # of a baseline that is trained here, at most
QUICK_SAMPLES = 10_000  # to train on, at most
QUICK_TOKENS = 50_000  # of text to train on, at most: every token of a sample is a target, and costs as much as a small image


def quick(plan: Plan, tokens: int | None = None) -> Plan:
    """The plan with no more than a few epochs of everything, and few samples, to try it out. tokens: of a sample of text
    (`Dataset.tokens`), of which as many fewer samples are taken, and methods set beside each other at the targets alone."""
    most = {"rounds": 3, "filters": 4, "inputs": 2, "pruned": 8, "purified": 3, "levels": 2, "quantised": 3, "final": 4,
            "search_images": 2000, "frontier_images": 5000}  # fmt: skip
    fewer = {name: min(getattr(plan, name), count) for name, count in most.items()}
    samples = QUICK_SAMPLES if tokens is None else max(1, QUICK_TOKENS // tokens)
    budgets = plan.budgets if tokens is None or not plan.budgets else (1.0,)
    images = min(plan.train_images or samples, samples)
    return replace(plan, **fewer, frontier=(1, 2), frontier_seeds=1, longer=False, train_images=images,
                   budgets=budgets)  # type: ignore[arg-type]  # fmt: skip


def split(data: Dataset, validation: int, seed: int) -> Dataset:
    """The training samples in two: to train on, and, as test images, to choose by; the test images are not in it.

    Of data that hold samples out of all training (`Dataset.held_out`) the last `validation` ones, by index, whatever the seed, and
    none of those held out is trained on; of others so many drawn by the seed.
    """
    count = len(data.train_targets)
    if not 0 < validation < count - data.held_out:
        raise TrainingError(f"validation images must be 1 to {count - data.held_out - 1}, got {validation}")
    if data.held_out:
        held, rest = torch.arange(count - validation, count), torch.arange(count - max(validation, data.held_out))
    else:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        held, rest = order[:validation], order[validation:]
    return replace(
        data, name=f"{data.name}, {validation} of training held out", train_inputs=data.train_inputs[rest],
        train_targets=data.train_targets[rest], test_inputs=data.train_inputs[held], test_targets=data.train_targets[held],
        held_out=0,
    )  # fmt: skip


def split_told(data: Dataset, validation: int) -> str:
    """Which samples validation is, and whether the network as it came in may have learnt them."""
    if validation <= data.held_out:
        return (f"the last {validation:,} of {len(data.train_targets):,} training {data.samples} by index: no network trained here, the "
                "uncompressed one included, learnt them; weights from elsewhere may have")  # fmt: skip
    if data.held_out:
        return (f"the last {validation:,} of {len(data.train_targets):,} training {data.samples} by index: no network trained here, the "
                f"uncompressed one included, learnt the last {data.held_out:,}; the network as it came in may have learnt the other "
                f"{validation - data.held_out:,}, and weights from elsewhere all")  # fmt: skip
    return (f"{validation:,} of {len(data.train_targets):,} training {data.samples}, drawn by the seed and held out from here on; the "
            "network as it came in may have learnt them")  # fmt: skip

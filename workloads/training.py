"""Training a network for its task, resumable to the same bits, and judging it in float."""

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xbar.hw.checks import together
from xbar.workloads.augment import augmented, draw, resized
from xbar.workloads.data import Dataset
from xbar.workloads.progress import steps
from xbar.workloads.small_images import SmallImages
from xbar.workloads.task import ACCURACY, CLASSIFICATION, Metric, Tally, TaskError
from xbar.workloads.teacher import Teacher, distillation


class TrainingError(ValueError):
    """A setting is not allowed, or a checkpoint belongs to another training."""


SCHEDULES = ("one-cycle", "constant")
_LATER = ("smoothing", "cutout", "small", "small_share", "average", "distil", "temperature", "views", "schedule", "products")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What any training here may do beside following its loss; by default nothing.

    shift, flip: random shifts of images of up to so many pixels, every other image mirrored. bfloat16: layers computed in bfloat16,
    weights and their steps kept in float32. smoothing: share of each label spread over all classes. cutout: side of a square set to 0 in
    each image [pixels]. small: the first epochs see images of so many pixels, where the network takes them. average: of an
    exponential average of the weights (and of batch norm's statistics), what is kept of it at each step; the average is what
    training ends in. distil: share of the loss that a teacher's scores have, at `temperature`, their mean over `views` of each
    image (`xbar.workloads.teacher`). products: convolutions of few positions as one matrix product (`xbar.workloads.small_images`).
    """

    shift: int = 0
    flip: bool = False
    bfloat16: bool = False
    smoothing: float = 0.0
    cutout: int = 0
    small: int = 0
    average: float = 0.0
    distil: float = 0.0
    temperature: float = 4.0
    views: int = 4
    products: bool = False


@dataclass(frozen=True, repr=False)
class Recipe(TrainingOptions):
    """How to train: AdamW under a one-cycle rate, or a `constant` one, with `TrainingOptions`. small_share: of the epochs that see
    `small` images. What stays at its default leaves training, and files kept from before, as they were. Raises TrainingError."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    small_share: float = field(default=0.5, kw_only=True)
    schedule: str = field(default="one-cycle", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate", "temperature", "views"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"recipe.{name} must be above 0 and finite, got {getattr(self, name)}")
        if self.shift < 0 or not 0 <= self.weight_decay < math.inf:
            raise TrainingError(f"recipe.shift and weight_decay must be 0 or more and finite, got {self.shift}, {self.weight_decay}")
        for name in ("cutout", "small"):
            if getattr(self, name) < 0:
                raise TrainingError(f"recipe.{name}, pixels, must be 0 (not done) or more, got {getattr(self, name)}")
        for name in ("smoothing", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise TrainingError(f"recipe.{name} must be 0 (not done) or more and below 1, got {getattr(self, name)}")
        for name in ("small_share", "distil"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"recipe.{name}, a share, must be from 0 to 1, got {getattr(self, name)}")
        if self.schedule not in SCHEDULES:
            raise TrainingError(f"recipe.schedule must be of {', '.join(SCHEDULES)}, got {self.schedule}")

    def settings(self) -> dict[str, Any]:
        """What a training depends on: all options but later ones at their defaults, in an order that stays."""
        usual = {each.name: each.default for each in fields(self)}
        first = ("epochs", "batch", "learning_rate", "weight_decay", "shift", "flip", "bfloat16")
        return {name: getattr(self, name) for name in (*first, *_LATER) if name in first or getattr(self, name) != usual[name]}

    def __repr__(self) -> str:
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self.settings().items())})"


def score(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, metric: Metric = ACCURACY, batch: int = 500) -> float:
    """The metric of a model's outputs for these samples; raises TrainingError where counts do not fit, TaskError where outputs do not."""
    return tally_of(model, inputs, targets, metric, batch).value()


def tally_of(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, metric: Metric = ACCURACY, batch: int = 500) -> Tally:
    """What `score` takes the metric of; raises as it does."""
    if not len(targets) or len(inputs) != len(targets):
        raise TrainingError(f"{metric.name} needs one target a sample and one sample or more, got {len(inputs)} samples "
                            f"and {len(targets)} targets")  # fmt: skip
    if batch < 1:
        raise TrainingError(f"batch must be 1 or more, got {batch}")
    tally: Tally | None = None
    with torch.no_grad():
        for x, y in zip(inputs.split(batch), targets.split(batch), strict=True):
            outputs = checked_output(model(x))
            tally = tally or tally_for(metric, outputs[:1], targets)
            tally.add(outputs, y)
    assert tally is not None
    return tally


def tally_for(metric: Metric, output: Tensor, targets: Tensor) -> Tally:
    """What counts a metric batch by batch, for these targets in all; output: of one sample (1, ...). Warns and raises as
    `Metric.check_memory`."""
    by_sample = metric.is_by_sample(output, targets)
    if not by_sample:
        metric.check_memory(output, len(targets))
    return Tally(metric, by_sample)


def checked_output(found: Any) -> Tensor:
    """What a network gave, where it is one tensor; raises TaskError for anything else."""
    if not isinstance(found, Tensor):
        raise TaskError(f"the network gives {type(found).__name__}, not one tensor: wrap it in a module that returns what is judged")
    return found


def initialise(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A new model whose initial weights depend on the seed alone; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class Regulariser(Protocol):
    """What pulls weights besides the loss, as `xbar.compression.admm.Admm` does: a term of the loss, moved now and then."""

    def penalty(self) -> Tensor: ...

    def update(self, epoch: int | None = None) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Pulling(Protocol):
    """A regulariser that moves weights itself, after each step of the optimiser."""

    def pull(self) -> None: ...


def train_network(
    model: nn.Module, data: Dataset, recipe: Recipe, seed: int, checkpoint: Path | None = None, progress: bool = False,
    regulariser: Regulariser | None = None, updates: int = 1, after: Callable[[int, float], None] = lambda epoch, loss: None,
    teacher: nn.Module | None = None,
) -> None:  # fmt: skip
    """Train `model` in place, on the device it is on, by the loss of the data's task; test samples are not looked at.
    after(epoch, mean loss) is told. teacher: a trained network for the same inputs and outputs, where `recipe.distil` has a share.
    The regulariser is moved `updates` times an epoch; training ends before its last epoch where the regulariser says that it is
    `done`.

    With `checkpoint`, progress is kept after each epoch and a later call with the same settings goes on from there
    to the same bits; TrainingError naming what differs if it belongs to others. The caller removes the file; a teacher's scores
    stay beside it, for the next training on the same images.
    """
    check_recipe(model, data, recipe, teacher)
    taught = None
    if teacher is not None:
        taught = Teacher(teacher, data.train_inputs, recipe.views, recipe.shift, recipe.flip, recipe.cutout, recipe.bfloat16,
                         None if checkpoint is None else checkpoint.parent)  # fmt: skip
    identity = {
        **{f"recipe.{name}": value for name, value in recipe.settings().items()},
        "seed": seed, "data": data.digest, "initial weights": state_digest(model),
        **({} if regulariser is None else {"updates an epoch": updates}), **({} if taught is None else {"teacher's mean": taught.digest}),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches = -(-len(data.train_targets) // recipe.batch)
    if not 1 <= updates <= batches:
        raise TrainingError(f"updates an epoch must be 1 to the {batches} batches that it has, got {updates}")
    schedule: torch.optim.lr_scheduler.LRScheduler
    if recipe.schedule == "constant":
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    else:
        steps = recipe.epochs * batches
        rising = 0.4 if steps == 5 else 0.2  # OneCycleLR divides by the share x steps - 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps, pct_start=rising)
    kept: dict[str, Resumed] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    average = None
    if recipe.average:
        average = kept["average"] = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    if regulariser is not None:
        kept["regulariser"] = regulariser

    def one(epoch: int) -> float | None:
        if getattr(regulariser, "done", False):
            return None
        torch.manual_seed((1_000_003 * seed + epoch) % 2**63)  # of dropout, which draws from torch's own generator
        return _epoch(model, data, recipe, generator, optimiser, schedule, regulariser, updates, epoch, average, taught)

    if recipe.bfloat16:  # the layout that such convolutions are fastest in
        model.to(memory_format=torch.channels_last)
    run_epochs(one, recipe.epochs, kept, generator, identity, checkpoint, progress, after, "loss {:.4f}")
    if average is not None:
        _take(model, average.module)
    if recipe.bfloat16:  # as they are from a file
        model.to(memory_format=torch.contiguous_format)


class Resumed(Protocol):
    """A part of a training that goes on from its state."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def run_epochs(
    one: Callable[[int], float | None], epochs: int, kept: Mapping[str, Resumed], generator: torch.Generator, identity: dict[str, Any],
    checkpoint: Path | None, progress: bool, after: Callable[[int, float], None], told: str,
) -> None:  # fmt: skip
    """Epoch after epoch by `one`, which takes its number and gives its loss, None to end before it, from where a checkpoint of this
    identity ended; `kept`, of which "model" is the network, and the generator are kept after each. told: how a loss is said. torch's own
    generator is as it was."""
    model, first = kept["model"], 0
    assert isinstance(model, nn.Module)
    if checkpoint is not None and checkpoint.is_file():
        state = read_checkpoint(checkpoint, identity)
        first = state["epoch"] + 1
        for name, part in kept.items():
            part.load_state_dict(state[name])
        generator.set_state(state["generator"])
    model.train()
    began = time.monotonic()
    with steps("training", progress, apart=10.0) as step, torch.random.fork_rng(devices=[]):
        for epoch in range(first, epochs):
            loss = one(epoch)
            if loss is None:
                break
            left = (time.monotonic() - began) / (epoch + 1 - first) * (epochs - epoch - 1)
            step(f"training: epoch {epoch + 1} of {epochs} done, {told.format(loss)}, about {left:.0f} s left")
            if checkpoint is not None:
                states = {name: part.state_dict() for name, part in kept.items()}
                save_state({"identity": identity, "epoch": epoch, "generator": generator.get_state()} | states, checkpoint)
            after(epoch, loss)
    model.eval()


def check_recipe(model: nn.Module, data: Dataset, recipe: Recipe, teacher: nn.Module | None) -> None:
    """Raise TrainingError for what of a recipe this network and these data cannot do; `train_network` does so before it begins."""
    shape, task = tuple(data.train_inputs.shape), data.task.name
    if len(shape) != 4 and (recipe.shift or recipe.flip):
        raise TrainingError(f"recipe.shift and flip move images, (n, channels, height, width); {data.name} has inputs {shape}")
    if len(shape) != 4 and (recipe.cutout or recipe.small):
        raise TrainingError(f"recipe.cutout and small change images, (n, channels, height, width); {data.name} has inputs {shape}")
    if task != CLASSIFICATION.name and (recipe.smoothing or recipe.distil):
        raise TrainingError(f"recipe.smoothing and distil are of classes; {data.name} is for {task}")
    if bool(recipe.distil) != (teacher is not None):
        raise TrainingError(f"recipe.distil = {recipe.distil:g} {'needs' if recipe.distil else 'has no use for'} a teacher")
    if recipe.small:
        if shape[2] != shape[3] or recipe.small > shape[2]:
            raise TrainingError(f"recipe.small, {recipe.small} pixels, must be at most the images' own, square, which are {shape[2:]}")
        training = model.training
        try:
            with torch.no_grad(), SmallImages(recipe.products, pools=True):
                model.eval()(resized(data.train_inputs[:1], recipe.small).to(next(model.parameters()).device))
        except Exception as error:  # of any network
            raise TrainingError(f"recipe.small = {recipe.small}: the network does not take images of so many pixels: {error}") from None
        finally:
            model.train(training)


@torch.no_grad()
def _take(model: nn.Module, averaged: nn.Module) -> None:
    """Give `model` the averaged parameters and statistics; counters and masks are its own."""
    found = dict(averaged.named_parameters()) | dict(averaged.named_buffers())
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point():
            value.copy_(found[name])


def _epoch(
    model: nn.Module, data: Dataset, recipe: Recipe, generator: torch.Generator,
    optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
    regulariser: Regulariser | None, updates: int, epoch: int, average: AveragedModel | None, taught: Teacher | None,
) -> float:  # fmt: skip
    """One pass over the training samples in a random order; the mean loss."""
    total = 0.0
    device = next(model.parameters()).device
    order = torch.randperm(len(data.train_targets), generator=generator)
    batches = order.split(recipe.batch)
    moments = {round(len(batches) * (index + 1) / updates) for index in range(updates)}
    small = recipe.small if epoch < recipe.small_share * recipe.epochs else 0
    for index, chosen in enumerate(batches, 1):
        inputs = data.train_inputs[chosen]
        if inputs.dim() == 4:
            draws = draw(len(inputs), *inputs.shape[2:], recipe.shift, recipe.flip, recipe.cutout, generator)
            inputs = augmented(inputs, draws, recipe.shift, recipe.cutout)
            inputs = resized(inputs, small) if small else inputs
        inputs, targets = inputs.to(device), data.train_targets[chosen].to(device)
        inputs = inputs.contiguous(memory_format=torch.channels_last) if recipe.bfloat16 and inputs.dim() == 4 else inputs
        computing = SmallImages(recipe.products, bool(small)) if recipe.products or small else contextlib.nullcontext()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16), computing, together():
            scores = model(inputs)
        loss = _loss(scores.float(), targets, data, recipe)
        if taught is not None:
            known = taught.scores[chosen].to(device)
            loss = (1 - recipe.distil) * loss + recipe.distil * distillation(scores.float(), known, recipe.temperature)
        optimiser.zero_grad()
        (loss if regulariser is None else loss + regulariser.penalty()).backward()
        optimiser.step()
        schedule.step()
        if isinstance(regulariser, Pulling):
            regulariser.pull()
        if average is not None:
            average.update_parameters(model)
        if regulariser is not None and index in moments:
            regulariser.update(epoch)
        total += loss.item() * len(chosen)
    return total / len(order)


def _loss(scores: Tensor, targets: Tensor, data: Dataset, recipe: Recipe) -> Tensor:
    """Of the task; of smoothed labels where asked for."""
    if recipe.smoothing:
        return functional.cross_entropy(scores, targets, label_smoothing=recipe.smoothing)
    return data.task.loss(scores, targets)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state so that an interrupt leaves the old file or the new one, never half of one.

    Raises TrainingError where the file cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError where its writer fails
        raise TrainingError(f"{path}: cannot be written ({error}); trained weights are kept in XBAR_CACHE, "
                            "others in the folder of --out") from None


def read_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; raises TrainingError for anything else."""
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises IndexError, KeyError and others for bytes that are no state
        raise TrainingError(f"{path}: not a readable state ({error}); remove it to train anew") from None
    if not isinstance(state, dict):
        raise TrainingError(f"{path}: holds {type(state).__name__}, not a state; remove it to train anew")
    return state


def state_digest(model: nn.Module) -> str:
    """SHA-256 of a model's state: names, shapes and bits."""
    hashed = hashlib.sha256()
    for name, value in model.state_dict().items():
        hashed.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        hashed.update(value.cpu().numpy().tobytes())
    return hashed.hexdigest()


def read_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of a training of these settings; raises TrainingError naming what differs of another's."""
    state = read_state(path)
    found = state.get("identity")
    if not isinstance(found, dict):
        raise TrainingError(f"{path}: is no checkpoint of a training; remove it to train anew")
    absent = "not set"  # options at their defaults are not in an identity
    both = {name: (found.get(name, absent), identity.get(name, absent)) for name in (*identity, *found)}
    differences = [f"{name} is {there} there, {here} here" for name, (there, here) in both.items() if there != here]
    if differences:
        raise TrainingError(f"{path}: belongs to another training ({'; '.join(differences)}); remove it to train anew")
    return state

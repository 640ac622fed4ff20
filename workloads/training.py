"""Training a network for its task, resumable to the same bits, and judging it in float."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xbar.workloads.data import Dataset
from xbar.workloads.progress import steps
from xbar.workloads.task import ACCURACY, Metric, Tally, TaskError


class TrainingError(ValueError):
    """A setting is not allowed, or a checkpoint belongs to another training."""


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW under a one-cycle rate, random shifts of images of up to `shift` pixels, with `flip` every
    other image mirrored. bfloat16: layers computed in bfloat16, weights and their steps kept in float32."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.01
    shift: int = 0
    flip: bool = False
    bfloat16: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"recipe.{name} must be above 0, got {getattr(self, name)}")
        if self.shift < 0 or self.weight_decay < 0:
            raise TrainingError(
                f"recipe.shift and weight_decay must be 0 or more, got {self.shift}, {self.weight_decay}"
            )


def score(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, metric: Metric = ACCURACY, batch: int = 500) -> float:
    """The metric of a model's outputs for these samples; raises TrainingError where counts do not fit, TaskError where outputs do not."""
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
    return tally.value()


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


def train_network(
    model: nn.Module, data: Dataset, recipe: Recipe, seed: int, checkpoint: Path | None = None, progress: bool = False,
    regulariser: Regulariser | None = None, updates: int = 1, after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:  # fmt: skip
    """Train `model` in place, on the device it is on, by the loss of the data's task; test samples are not looked at.
    after(epoch, mean loss) is told.
    The regulariser is moved `updates` times an epoch.

    With `checkpoint`, progress is kept after each epoch and a later call with the same settings goes on from there
    to the same bits; TrainingError naming what differs if it belongs to others. The caller removes the file.
    """
    identity = {
        **{f"recipe.{name}": value for name, value in asdict(recipe).items()},
        "seed": seed, "data": data.digest, "initial weights": state_digest(model),
        **({} if regulariser is None else {"updates an epoch": updates}),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches = -(-len(data.train_targets) // recipe.batch)
    if data.train_inputs.dim() != 4 and (recipe.shift or recipe.flip):
        raise TrainingError(f"recipe.shift and flip move images, (n, channels, height, width); {data.name} has inputs "
                            f"{tuple(data.train_inputs.shape)}")  # fmt: skip
    if not 1 <= updates <= batches:
        raise TrainingError(f"updates an epoch must be 1 to the {batches} batches that it has, got {updates}")
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * batches, pct_start=0.2
    )
    kept: dict[str, Resumed] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    if regulariser is not None:
        kept["regulariser"] = regulariser

    def one(epoch: int) -> float:
        torch.manual_seed((1_000_003 * seed + epoch) % 2**63)  # of dropout, which draws from torch's own generator
        return _epoch(model, data, recipe, generator, optimiser, schedule, regulariser, updates, epoch)

    if recipe.bfloat16:  # the layout that such convolutions are fastest in
        model.to(memory_format=torch.channels_last)
    run_epochs(one, recipe.epochs, kept, generator, identity, checkpoint, progress, after, "loss {:.4f}")
    if recipe.bfloat16:  # as they are from a file
        model.to(memory_format=torch.contiguous_format)


class Resumed(Protocol):
    """A part of a training that goes on from its state."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def run_epochs(
    one: Callable[[int], float], epochs: int, kept: Mapping[str, Resumed], generator: torch.Generator, identity: dict[str, Any],
    checkpoint: Path | None, progress: bool, after: Callable[[int, float], None], told: str,
) -> None:  # fmt: skip
    """Epoch after epoch by `one`, which takes its number and gives its loss, from where a checkpoint of this identity ended; `kept`, of
    which "model" is the network, and the generator are kept after each. told: how a loss is said. torch's own generator is as it was."""
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
            left = (time.monotonic() - began) / (epoch + 1 - first) * (epochs - epoch - 1)
            step(f"training: epoch {epoch + 1} of {epochs} done, {told.format(loss)}, about {left:.0f} s left")
            if checkpoint is not None:
                states = {name: part.state_dict() for name, part in kept.items()}
                save_state({"identity": identity, "epoch": epoch, "generator": generator.get_state()} | states, checkpoint)
            after(epoch, loss)
    model.eval()


def _epoch(
    model: nn.Module, data: Dataset, recipe: Recipe, generator: torch.Generator,
    optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
    regulariser: Regulariser | None, updates: int, epoch: int,
) -> float:  # fmt: skip
    """One pass over the training samples in a random order; the mean loss."""
    total = 0.0
    device = next(model.parameters()).device
    order = torch.randperm(len(data.train_targets), generator=generator)
    batches = order.split(recipe.batch)
    moments = {round(len(batches) * (index + 1) / updates) for index in range(updates)}
    for index, chosen in enumerate(batches, 1):
        inputs = _shifted(data.train_inputs[chosen], recipe.shift, generator)
        inputs = _mirrored(inputs, generator) if recipe.flip else inputs
        inputs, targets = inputs.to(device), data.train_targets[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16):
            scores = model(inputs.contiguous(memory_format=torch.channels_last) if recipe.bfloat16 and inputs.dim() == 4 else inputs)
        loss = data.task.loss(scores.float(), targets)
        optimiser.zero_grad()
        (loss if regulariser is None else loss + regulariser.penalty()).backward()
        optimiser.step()
        schedule.step()
        if regulariser is not None and index in moments:
            regulariser.update(epoch)
        total += loss.item() * len(chosen)
    return total / len(order)


def _shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `most` pixels either way, zeros moving in."""
    if not most:
        return images
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (most,) * 4)
    down, right = torch.randint(0, 2 * most + 1, (2, len(images), 1, 1, 1), generator=generator)
    rows = (torch.arange(height).view(1, 1, -1, 1) + down).expand(-1, images.shape[1], -1, padded.shape[3])
    columns = (torch.arange(width).view(1, 1, 1, -1) + right).expand(-1, images.shape[1], height, -1)
    return padded.gather(2, rows).gather(3, columns)


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every other image, by chance, with left and right exchanged."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, images.flip(3), images)


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
    differences = [f"{name} is {found.get(name)} there, {here} here"
                   for name, here in identity.items() if found.get(name) != here]  # fmt: skip
    if differences:
        raise TrainingError(f"{path}: belongs to another training ({'; '.join(differences)}); remove it to train anew")
    return state

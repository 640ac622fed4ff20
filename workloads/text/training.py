"""Training a language model to foretell the next token, resumable to the same bits, and its bits per character."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xbar.workloads.text.data import TextData
from xbar.workloads.training import Resumed, TrainingError, run_epochs, state_digest


@dataclass(frozen=True)
class TextRecipe:
    """How to train: AdamW (betas 0.9 and 0.95) under a one-cycle rate that rises for a tenth of the time, cross entropy of the next
    token, the gradient's norm held at 1, `epochs` times `steps` batches of windows that begin anywhere in the text."""

    epochs: int
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"recipe.{name} must be above 0, got {getattr(self, name)}")
        if not self.weight_decay >= 0:
            raise TrainingError(f"recipe.weight_decay must be 0 or more, got {self.weight_decay}")


GPT_RECIPE = TextRecipe(epochs=25, steps=100, batch=16, learning_rate=2e-3)
"""Of `CharacterGPT` on Python's documentation: 5.1 million characters, each 14 times."""


def bits_per_character(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, batch: int = 32) -> float:
    """Mean negative log2 probability that `model` gives to the targets (n, length) after inputs (n, length).

    Windows begin anew: of the first token of a window nothing before it is known. Raises TrainingError where counts do not fit.
    """
    if not targets.numel() or inputs.shape != targets.shape:
        raise TrainingError(f"bits per character need a target for each input and one or more, got {tuple(inputs.shape)} "
                            f"and {tuple(targets.shape)}")  # fmt: skip
    if batch < 1:
        raise TrainingError(f"batch must be 1 or more, got {batch}")
    with torch.no_grad():
        total = sum(
            float(F.cross_entropy(model(x).flatten(0, 1).double(), y.flatten(), reduction="sum"))
            for x, y in zip(inputs.split(batch), targets.split(batch), strict=True)
        )
    return total / targets.numel() / math.log(2)


def train_language_model(
    model: nn.Module, data: TextData, recipe: TextRecipe, seed: int, checkpoint: Path | None = None, progress: bool = False,
    after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:  # fmt: skip
    """Train `model` in place, on the device it is on; validation and test parts are not looked at. after(epoch, mean loss in bits
    per character) is told.

    With `checkpoint`, progress is kept after each epoch and a later call with the same settings goes on from there
    to the same bits; TrainingError naming what differs if it belongs to others. The caller removes the file.
    """
    identity = {
        **{f"recipe.{name}": value for name, value in asdict(recipe).items()},
        "seed": seed, "data": data.digest, "initial weights": state_digest(model),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * recipe.steps, pct_start=0.1, cycle_momentum=False
    )
    kept: dict[str, Resumed] = {"model": model, "optimiser": optimiser, "schedule": schedule}

    def one(epoch: int) -> float:
        return _epoch(model, data, recipe, generator, optimiser, schedule)

    run_epochs(one, recipe.epochs, kept, generator, identity, checkpoint, progress, after, "{:.3f} bits per character")


def _epoch(
    model: nn.Module, data: TextData, recipe: TextRecipe, generator: torch.Generator,
    optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:  # fmt: skip
    """So many batches of windows drawn at random; their mean loss in bits per character."""
    device, total = next(model.parameters()).device, 0.0
    for _ in range(recipe.steps):
        begins = torch.randint(len(data.train) - data.length, (recipe.batch, 1), generator=generator)
        chosen = data.train[begins + torch.arange(data.length + 1)].to(device)  # (batch, length + 1)
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))  # of dropout; the caller's generator is kept apart
        loss = F.cross_entropy(model(chosen[:, :-1]).flatten(0, 1), chosen[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
    return total / recipe.steps / math.log(2)

"""What a network is asked for: how far its outputs are from what they should be, in training (a loss) and when judged (a metric)."""

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xbar.workloads.function_code import code_of_function, is_ours


class TaskError(ValueError):
    """A metric or targets that do not fit the outputs; the message names what was found and what is needed."""


Function = Callable[[Tensor, Tensor], Tensor | float]
LARGE_OUTPUTS = 2**30  # bytes of outputs kept for a metric, from where on it is told


class KeptOutputsWarning(UserWarning):
    """A metric that judges all samples at once needs the outputs of all of them in memory."""


@dataclass(frozen=True)
class Metric:
    """One number for the outputs of a network.

    name: of its columns in tables. unit: of the number, "" for a share of 1, which is shown in percent. function: of outputs
    (n, ...) and targets (n, ...), to one value a sample (n,), which rests on that sample alone and whose mean is taken, or to one
    number for all samples. code: what the function depends on, as a text, where it is not one of ours (`depends`). of_mean: what is made
    of the mean of values a sample, as a square root, where it is not the number itself.
    """

    name: str
    title: str
    unit: str
    better: Literal["high", "low"]
    function: Function
    code: str = ""
    of_mean: Callable[[float], float] | None = None

    @property
    def depends(self) -> str:
        """What the function depends on, as a text: `code`, or of a function that is not one of ours its own code
        (`code_of_function`); results kept under another text are not used."""
        if self.code or is_ours(self.function):
            return self.code
        return code_of_function((self.function, self.of_mean))

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The number for all samples; raises TaskError where the function gives none that is finite."""
        found = self.values(outputs, targets)
        value = float(found.double().mean())
        value = value if self.of_mean is None or not found.dim() else self.of_mean(value)
        if not math.isfinite(value):
            raise TaskError(f"metric {self.name}: is {value} for outputs {tuple(outputs.shape)}; it must be a finite number")
        return value

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the function gives: a value a sample (n,), or one number (); raises TaskError for anything else."""
        try:
            found = torch.as_tensor(self.function(outputs, targets))
        except Exception as error:  # of a user's function
            raise TaskError(f"metric {self.name}: cannot judge outputs {tuple(outputs.shape)} by targets {tuple(targets.shape)}: "
                            f"{error}") from None  # fmt: skip
        if found.dim() > 1 or (found.dim() == 1 and len(found) != len(targets)):
            raise TaskError(f"metric {self.name}: must give one number or one a sample, ({len(targets)},), got {tuple(found.shape)}")
        return found

    def is_by_sample(self, output: Tensor, targets: Tensor) -> bool:
        """True where the function gives a value a sample, as it is seen to do for two; output: of one sample (1, ...)."""
        try:
            return self.values(torch.cat([output, output]), torch.cat([targets[:1], targets[-1:]])).dim() == 1
        except TaskError:  # some need more samples than two
            return False

    def check_memory(self, output: Tensor, samples: int) -> None:
        """Of a metric that judges all samples at once: warn where the outputs of so many take more than LARGE_OUTPUTS, raise TaskError
        where they take more than this computer's memory. output: of one sample (1, ...)."""
        needed, there = 2 * samples * output.numel() * output.element_size(), _memory()  # kept, and put together
        told = (f"metric {self.name}: judges all samples at once, so that outputs of all {samples:,} are kept, {needed / 2**30:.1f} GiB "
                f"for each chip instance; a function that gives one number a sample is judged batch by batch, and fewer samples "
                "(--images) take less")  # fmt: skip
        if needed > there:
            raise TaskError(f"{told}; this computer has {there / 2**30:.1f} GiB")
        if needed > LARGE_OUTPUTS:
            warnings.warn(told, KeptOutputsWarning, stacklevel=3)

    def lost(self, reference: Any, value: Any) -> Any:
        """How much worse the value is than the reference, in the metric's unit; below 0 where it is better."""
        return reference - value if self.better == "high" else value - reference

    def worst(self, values: list[float]) -> float:
        """The worst of some values."""
        return min(values) if self.better == "high" else max(values)

    def best(self, values: list[float]) -> float:
        """The best of some values."""
        return max(values) if self.better == "high" else min(values)

    def told(self) -> dict[str, str]:
        """What a report needs to know of it."""
        return {"name": self.name, "title": self.title, "unit": self.unit, "better": self.better}


class Tally:
    """A metric of samples that come batch by batch. Values a sample are kept, whole outputs only of a metric that needs all at once."""

    def __init__(self, metric: Metric, by_sample: bool):
        self.metric, self.by_sample = metric, by_sample
        self._found: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """The next samples: outputs (n, ...) and targets (n, ...)."""
        self._found.append(self.metric.values(outputs, targets) if self.by_sample else outputs)
        self._targets.append(targets)

    def values(self) -> Tensor | None:
        """Values of all samples so far (n,), float64, whose mean the metric is; None of a metric that is none."""
        return torch.cat(self._found).double() if self.by_sample and self.metric.of_mean is None else None

    def value(self) -> float:
        """The number for all samples so far; raises TaskError where it is none that is finite."""
        found, targets = torch.cat(self._found), torch.cat(self._targets)
        return (replace(self.metric, function=lambda values, _: values) if self.by_sample else self.metric)(found, targets)


def _memory() -> float:
    """Bytes of this computer's memory; infinite where it cannot be told."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


@dataclass(frozen=True)
class Task:
    """What targets are, the loss of a training (outputs, targets) to a scalar, and the metric that judges."""

    name: str
    metric: Metric
    loss: Callable[[Tensor, Tensor], Tensor]


def _hits(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.dim() != 2 or targets.dim() != 1:
        raise ValueError("accuracy needs scores (n, classes) and classes (n,)")
    if outputs.shape[1] <= int(targets.max()):
        raise ValueError(f"{outputs.shape[1]} scores a sample, but classes up to {int(targets.max())}")
    return (outputs.argmax(1) == targets).double()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.numel() != targets.numel() or len(outputs) != len(targets):
        raise ValueError("outputs and targets must have as many values")
    return (outputs.reshape(len(targets), -1).double() - targets.reshape(len(targets), -1).double()).square().mean(1)


def _bits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over the places of each sample of -log2 of the probability of the right token."""
    if outputs.dim() != 3 or targets.shape != outputs.shape[:2]:
        raise ValueError("bits need scores (n, length, tokens) and tokens (n, length)")
    nats = nn.functional.cross_entropy(outputs.transpose(1, 2).double(), targets, reduction="none")
    return nats.mean(1) / math.log(2)


def _mean_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs.reshape(targets.shape), targets)


def _next(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


ACCURACY = Metric("accuracy", "Accuracy", "", "high", _hits)
ROOT_MEAN_SQUARE_ERROR = Metric("rms_error", "RMS error", "units", "low", _squared_error, of_mean=math.sqrt)  # those of the target
BITS_PER_TOKEN = Metric("bits_per_token", "Bits per token", "bit", "low", _bits)
BITS_PER_CHARACTER = Metric("bits_per_character", "Bits per character", "bit", "low", _bits)

METRICS = (ACCURACY, ROOT_MEAN_SQUARE_ERROR, BITS_PER_TOKEN, BITS_PER_CHARACTER)

CLASSIFICATION = Task("classification", ACCURACY, nn.functional.cross_entropy)
REGRESSION = Task("regression", ROOT_MEAN_SQUARE_ERROR, _mean_squared)
NEXT_TOKEN = Task("next-token", BITS_PER_TOKEN, _next)
TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION, NEXT_TOKEN)}  # workloads/offered.py has their names too

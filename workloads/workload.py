"""Model and data together, trained on first use and kept in the cache; untrained networks, for cost alone."""

import difflib
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from models import VGG16, DigitsCNN, LeNet5, ResNet20
from workloads.data import ImageData, cache_directory, load_digits, load_mnist
from workloads.training import (
    Recipe,
    TrainingError,
    accuracy,
    initialise,
    read_state,
    save_state,
    train_classifier,
)

CALIBRATION_IMAGES = 200
_T = TypeVar("_T")


@dataclass(frozen=True)
class Workload:
    """A trained model with its data. float_accuracy: on all test images, before anything is put on a chip."""

    name: str
    title: str
    model: nn.Module
    data: ImageData
    float_accuracy: float

    @property
    def calibration_images(self) -> Tensor:
        """Training images that set the ranges of a chip's converters."""
        return self.data.train_images[:CALIBRATION_IMAGES]


@dataclass(frozen=True)
class _Entry:
    title: str
    description: str
    build: Callable[[], nn.Module]
    recipe: Recipe


_ENTRIES = {
    "digits": _Entry(
        "Digits CNN", "small CNN on scikit-learn's 1,797 real handwritten digits; no download, trains in seconds",
        DigitsCNN, Recipe(epochs=120, batch=64, learning_rate=2e-2, weight_decay=0.3),
    ),
    "lenet5": _Entry(
        "LeNet-5", "LeNet-5 on MNIST (60,000 + 10,000 images); from --data DIR, XBAR_DATA or its official mirror",
        LeNet5, Recipe(epochs=8, batch=128, learning_rate=4e-3, shift=1),
    ),
}  # fmt: skip
WORKLOADS: dict[str, str] = {name: entry.description for name, entry in _ENTRIES.items()}

_SHAPES: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], float]] = {
    "digits": (DigitsCNN, (1, 8, 8), 0.0),
    "lenet5": (LeNet5, (1, 28, 28), 0.0),
    "resnet20": (ResNet20, (3, 32, 32), -0.5),
    "vgg16": (VGG16, (3, 32, 32), -0.5),
}  # input shape, and where its values begin: colour images are normalised around 0


def load_workload(name: str, seed: int = 0, data_directory: Path | None = None, progress: bool = False) -> Workload:
    """The workload of that name, its model trained with `seed`, or as trained and kept before.

    Raises ValueError for an unknown name, DataError where the data is not at hand.
    """
    entry = _known(name, _ENTRIES)
    data = load_digits() if name == "digits" else load_mnist(data_directory)
    model = _trained(name, entry, data, seed, progress)
    return Workload(name, entry.title, model, data, accuracy(model, data.test_images, data.test_labels))


def untrained(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network with initial weights and an example input of its shape (2, c, h, w), for time, energy and area."""
    build, shape, low = _known(name, _SHAPES)
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)) + low
    return initialise(build, seed).eval(), example


def _known(name: str, table: Mapping[str, _T]) -> _T:
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown workload {name!r}; known: {', '.join(table)}{hint}")
    return table[name]


def _trained(name: str, entry: _Entry, data: ImageData, seed: int, progress: bool) -> nn.Module:
    """The trained model from the cache, or trained now and put there."""
    identity = hashlib.sha256(f"{entry.recipe} {data.digest} {seed}".encode()).hexdigest()[:16]
    path = cache_directory() / "weights" / f"{name}-{identity}.pt"
    if path.is_file():
        kept = initialise(entry.build, seed).eval()
        try:
            kept.load_state_dict(read_state(path))
            return kept
        except (TrainingError, RuntimeError) as error:
            print(f"{error}; training again", file=sys.stderr)
    model = initialise(entry.build, seed)  # not `kept`, which a file of other weights may have changed in part
    checkpoint = path.with_suffix(".checkpoint")
    train_classifier(model, data, entry.recipe, seed, checkpoint, progress)
    save_state(model.state_dict(), path)
    checkpoint.unlink(missing_ok=True)
    return model

"""Accuracy of many instances of a chip, with what can be said of all of them from a few."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn

from xbar.hw.analog import analog_layers, compensate_drift, convert, program, recalibrate, set_time
from xbar.hw.cells.device import Device
from xbar.hw.chip.description import Chip
from xbar.hw.errors import ParameterError
from xbar.workloads.data import ImageData

CALIBRATION_IMAGES = 200
MEMORY = 2**30  # bytes that the instances and images at work at once may take, roughly
BATCH_IMAGES = 250
MOST_AT_ONCE = 10  # chip instances programmed together: more gain no speed, and results come later
CELL_BYTES = 80  # per cell of an instance: target and conductance in float64, what the product needs, temporaries
CROSSBAR_CELL_BYTES = 64  # per place of a crossbar while wires are solved
INPUT_BYTES, OUTPUT_BYTES = 24, 16  # per value that enters or leaves a layer: itself and its copies on the way

Correction = Literal["none", "compensated", "recalibrated"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Condition:
    """In what condition a chip's cells are judged.

    device: cells in place of the chip's own; layers: only these have its errors, the cells of all others are ideal;
    seconds: after programming; correction: "compensated" multiplies each layer's results by what a reference read
    says that drift took (`xbar.hw.analog.compensate_drift`), "recalibrated" also sets calibrated ADC ranges anew.
    """

    device: Device | None = None
    layers: tuple[str, ...] | None = None
    seconds: float = 0.0
    correction: Correction = "none"


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of chip instances: `table` has instance, seed, accuracy [1]; `images` judged each of them."""

    table: pd.DataFrame
    images: int

    @property
    def mean(self) -> float:
        """Mean accuracy over instances."""
        return float(self.table["accuracy"].mean())

    @property
    def median(self) -> float:
        """Median accuracy over instances."""
        return float(self.table["accuracy"].median())

    @property
    def band(self) -> tuple[float, float]:
        """95 % confidence band of the mean over instances; see `mean_band`."""
        return mean_band(self.table["accuracy"])

    @property
    def spread(self) -> tuple[float, float]:
        """5th and 95th percentile of instances, linear between them."""
        low, high = np.percentile(self.table["accuracy"], [5, 95])
        return float(low), float(high)

    def frame(self) -> pd.DataFrame:
        """One row: instances, images, mean, its band, median, 5th and 95th percentile, smallest and largest."""
        (low, high), (p5, p95) = self.band, self.spread
        accuracy = self.table["accuracy"]
        return pd.DataFrame([{
            "instances": len(accuracy), "images": self.images, "mean": self.mean, "mean_low": low, "mean_high": high,
            "median": self.median, "p5": p5, "p95": p95, "smallest": accuracy.min(), "largest": accuracy.max(),
        }])  # fmt: skip


def evaluate(
    model: nn.Module, chip: Chip, data: ImageData, instances: int = 50, *, images: int | None = None, seed: int = 0,
    condition: Condition | None = None, memory: int = MEMORY, batch: int = BATCH_IMAGES, progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Accuracy of `instances` instances of `chip`, seeds from `seed` on, on the first `images` test images (all).

    Ranges are calibrated on training images. memory [bytes] and batch [images] bound what is computed at once; neither
    they nor the number of threads change a result. progress(done, all) is told of instances. Instances of a chip
    in which nothing is drawn are all the same, and computed once. Raises ParameterError and what `hw` raises.
    """
    if instances < 1 or (images is not None and images < 1):
        raise ParameterError(f"evaluate needs at least one instance and one image, got {instances} and {images}")
    on_chip = OnChip(model, chip, data.train_images[:CALIBRATION_IMAGES], seed, memory, batch)
    shown, labels = data.test_images[:images], data.test_labels[:images]
    seeds = list(range(seed, seed + instances))
    condition = condition or Condition()
    drawn = seeds if on_chip.varies(condition) else seeds[:1]
    found: dict[int, float] = {}
    for part in on_chip.accuracies(drawn, shown, labels, condition):
        found |= part
        if progress is not None:
            progress(instances if len(found) == len(drawn) else len(found), instances)
    accuracy = [found.get(each, found[seed]) for each in seeds]
    table = pd.DataFrame({"instance": range(instances), "seed": seeds, "accuracy": accuracy})
    return Evaluation(table, len(labels))


class OnChip:
    """A model converted to a chip once, to be judged in many conditions."""

    def __init__(
        self, model: nn.Module, chip: Chip, calibration_images: Tensor, seed: int = 0, memory: int = MEMORY,
        batch: int = BATCH_IMAGES,
    ):  # fmt: skip
        """memory [bytes] and batch [images] bound what is computed at once. Raises ParameterError and what `hw` does."""
        if memory < 1 or batch < 1:
            raise ParameterError(f"memory and batch must be 1 or more, got {memory} and {batch}")
        self.chip, self.memory, self.batch = chip, memory, batch
        self.model = convert(model, chip, calibration_images, seed, pack=True)
        self.layers = analog_layers(self.model)
        self._image_bytes = self._measure(calibration_images[:1])

    def varies(self, condition: Condition | None = None) -> bool:
        """True where chip instances differ."""
        condition = condition or Condition()
        device = condition.device or self.chip.device
        return self.chip.differs(device, condition.layers != ())

    def accuracies(
        self, seeds: Sequence[int], images: Tensor, labels: Tensor, condition: Condition | None = None
    ) -> Iterator[dict[int, float]]:
        """Accuracy by seed, some instances at a time, as they are measured."""
        if not len(labels) or len(images) != len(labels):
            raise ParameterError(f"one label per image and one image or more are needed, got {len(images)}, {len(labels)}")
        condition = condition or Condition()
        at_once, batch = self._at_once(condition, len(labels))
        for start in range(0, len(seeds), at_once):
            part = list(seeds[start : start + at_once])
            yield dict(zip(part, self._judge(part, images, labels, condition, batch), strict=True))

    def predictions(self, seeds: Sequence[int], images: Tensor, condition: Condition | None = None) -> Tensor:
        """The class with the highest score, int64 (instances, images), of a classifier whose scores are (batch, classes).

        Raises ParameterError without instances or images, and for scores of another shape.
        """
        if not len(seeds) or not len(images):
            raise ParameterError(f"predictions need an instance and an image, got {len(seeds)} and {len(images)}")
        condition = condition or Condition()
        at_once, batch = self._at_once(condition, len(images))
        parts = [list(seeds[start : start + at_once]) for start in range(0, len(seeds), at_once)]
        return torch.cat([self._predict(part, images, condition, batch) for part in parts])

    def _predict(self, seeds: Sequence[int], images: Tensor, condition: Condition, batch: int) -> Tensor:
        ranges = {name: layer.matrix.full_scale.clone() for name, layer in self.layers.items()}
        try:
            self.prepare(seeds, condition)
            with torch.no_grad():
                scores = [self.model(x.repeat(len(seeds), *[1] * (x.dim() - 1))) for x in images.split(batch)]
        finally:
            for name, layer in self.layers.items():
                layer.matrix.full_scale = ranges[name]  # loaded when cells are next programmed
        if scores[0].dim() != 2:
            raise ParameterError(f"predictions need scores (batch, classes), got {tuple(scores[0].shape)}")
        return torch.cat([found.argmax(1).view(len(seeds), -1) for found in scores], 1)

    def prepare(self, seeds: Sequence[int], condition: Condition) -> None:
        """Programme these instances and bring them into the condition."""
        program(self.model, seeds, condition.device, layers=condition.layers)
        if condition.seconds:
            set_time(self.model, condition.seconds)
        if condition.correction != "none":
            compensate_drift(self.model)  # first: its reference read needs the range that the cells had then
        if condition.correction == "recalibrated":
            recalibrate(self.model)

    def _judge(
        self, seeds: Sequence[int], images: Tensor, labels: Tensor, condition: Condition, batch: int
    ) -> list[float]:
        ranges = {name: layer.matrix.full_scale.clone() for name, layer in self.layers.items()}
        try:
            self.prepare(seeds, condition)
            hits = torch.zeros(len(seeds), dtype=torch.int64)
            with torch.no_grad():
                for x, y in zip(images.split(batch), labels.split(batch), strict=True):
                    scores = self.model(x.repeat(len(seeds), *[1] * (x.dim() - 1)))
                    hits += (scores.argmax(1).view(len(seeds), -1) == y).sum(1)
        finally:
            for name, layer in self.layers.items():
                layer.matrix.full_scale = ranges[name]  # loaded when cells are next programmed
        return [int(count) / len(labels) for count in hits]

    def _at_once(self, condition: Condition, images: int) -> tuple[int, int]:
        """Chip instances, and images of each, that fit in the memory; ranges are set anew for one instance at a time."""
        places = 0 if self.chip.wires.ideal else CROSSBAR_CELL_BYTES
        s = self.chip.structure
        fixed = sum(
            CELL_BYTES * g.cells + places * g.crossbars * s.wordlines * s.bitlines
            for g in (layer.matrix.geometry for layer in self.layers.values())
        )
        room = max(1, self.memory - fixed)
        batch = max(1, min(self.batch, images, room // self._image_bytes))
        if condition.correction == "recalibrated":
            return 1, batch
        return min(MOST_AT_ONCE, max(1, self.memory // (fixed + batch * self._image_bytes))), batch

    def _measure(self, image: Tensor) -> int:
        """Bytes that one image takes in the layer where it takes most."""
        before = {name: layer.matrix.counts.vectors for name, layer in self.layers.items()}
        with torch.no_grad():
            self.model(image)
        return max(
            (layer.matrix.counts.vectors - before[name])
            * (INPUT_BYTES * layer.matrix.geometry.groups * layer.matrix.geometry.inputs
               + OUTPUT_BYTES * layer.matrix.geometry.groups * layer.matrix.geometry.outputs)
            for name, layer in self.layers.items()
        )  # fmt: skip


# ---- what a few say of all


def mean_band(values: Sequence[float] | pd.Series, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence band of the mean of independent `values`, Student's t; NaN for fewer than two. Raises ParameterError."""
    _check_confidence(confidence)
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(array) - 1)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def wilson_band(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence band of a share of which `hits` of `trials` were seen, Wilson's score interval. Raises ParameterError."""
    _check_confidence(confidence)
    if not 0 <= hits <= trials or trials < 1:
        raise ParameterError(f"hits must be 0 to trials, and trials 1 or more, got {hits} and {trials}")
    band = stats.binomtest(hits, trials).proportion_ci(confidence, method="wilson")
    return min(hits / trials, float(band.low)), max(hits / trials, float(band.high))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence must be between 0 and 1, got {confidence}")

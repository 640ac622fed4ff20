"""Scores of many instances of a chip, by the metric of the data, with what can be said of all of them from a few."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
import torch
from torch import Tensor, nn

from xbar.hw.analog import analog_layers, compensate_drift, convert, program, recalibrate, set_time
from xbar.hw.cells.device import Device
from xbar.hw.chip.description import Chip
from xbar.hw.display import Shown
from xbar.hw.errors import ParameterError
from xbar.workloads.compute import CPU, torch_device
from xbar.workloads.data import Dataset
from xbar.workloads.task import ACCURACY, Metric, Tally
from xbar.workloads.training import checked_output, tally_for

CALIBRATION_SAMPLES = 200
MEMORY = 2**30  # bytes that the instances and samples at work at once may take, roughly
BATCH_SAMPLES = 250
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


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """Scores of chip instances: `table` has instance, seed, score (in the metric's unit, accuracies as shares of 1); `samples`
    judged each of them."""

    table: pd.DataFrame
    samples: int
    metric: Metric = ACCURACY

    def _title(self) -> str:
        return f"Evaluation of {len(self.table)} chip instance{'' if len(self.table) == 1 else 's'} on {self.samples:,} samples"

    def _numbers(self) -> dict[str, str]:
        half, (p5, p95) = self.band[1] - self.mean, self.spread
        return {
            f"mean {self.metric.title.lower()}": self._said(self.mean) + ("" if np.isnan(half) else f" ± {self._said(half)} (95 % band)"),
            "worst": self._said(self.worst), "median": self._said(self.median),
            "5th to 95th percentile": f"{self._said(p5)} to {self._said(p95)}",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({"seed": self.table["seed"].astype(str), self.metric.name: self.table["score"].map(self._said)})

    def _said(self, value: float) -> str:
        return f"{value:.2%}" if not self.metric.unit else f"{value:.4g} {self.metric.unit}"

    @property
    def mean(self) -> float:
        """Mean score over instances."""
        return float(self.table["score"].mean())

    @property
    def median(self) -> float:
        """Median score over instances."""
        return float(self.table["score"].median())

    @property
    def worst(self) -> float:
        """Score of the worst instance."""
        return self.metric.worst(self.table["score"].tolist())

    @property
    def band(self) -> tuple[float, float]:
        """95 % confidence band of the mean over instances; see `mean_band`."""
        return mean_band(self.table["score"])

    @property
    def spread(self) -> tuple[float, float]:
        """5th and 95th percentile of instances, linear between them."""
        low, high = np.percentile(self.table["score"], [5, 95])
        return float(low), float(high)

    def frame(self) -> pd.DataFrame:
        """One row: instances, samples, mean, its band, median, 5th and 95th percentile, smallest and largest."""
        (low, high), (p5, p95) = self.band, self.spread
        score = self.table["score"]
        return pd.DataFrame([{
            "instances": len(score), "samples": self.samples, "mean": self.mean, "mean_low": low, "mean_high": high,
            "median": self.median, "p5": p5, "p95": p95, "smallest": score.min(), "largest": score.max(),
        }])  # fmt: skip


def evaluate(
    model: nn.Module, chip: Chip, data: Dataset, instances: int = 50, *, samples: int | None = None, seed: int = 0,
    condition: Condition | None = None, memory: int = MEMORY, batch: int = BATCH_SAMPLES, progress: Progress | None = None,
    compute: str = CPU, input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Evaluation:  # fmt: skip
    """Scores of `instances` instances of `chip`, seeds from `seed` on, by the data's metric on the first `samples` test samples (all).

    Ranges are calibrated on training samples, but for `input_ranges` (`Workload.input_ranges`). memory [bytes] and batch [samples] bound
    what is computed at once; neither they nor the number of threads change a result. compute: as of `OnChip`. progress(done, all) is
    told of instances. Instances of a chip
    in which nothing is drawn are all the same, and computed once. Raises ParameterError, TaskError and what `hw` raises.
    """
    if instances < 1 or (samples is not None and samples < 1):
        raise ParameterError(f"evaluate needs at least one instance and one sample, got {instances} and {samples}")
    calibration = data.train_inputs[:CALIBRATION_SAMPLES]
    on_chip = OnChip(model, chip, calibration, seed, memory, batch, compute=compute, input_ranges=input_ranges)
    inputs, targets = data.test_inputs[:samples], data.test_targets[:samples]
    seeds = list(range(seed, seed + instances))
    condition = condition or Condition()
    drawn = seeds if on_chip.varies(condition) else seeds[:1]
    found: dict[int, float] = {}
    for part in on_chip.scores(drawn, inputs, targets, condition, data.metric):
        found |= part
        if progress is not None:
            progress(instances if len(found) == len(drawn) else len(found), instances)
    scores = [found.get(each, found[seed]) for each in seeds]
    return Evaluation(pd.DataFrame({"instance": range(instances), "seed": seeds, "score": scores}), len(targets), data.metric)


class OnChip:
    """A model converted to a chip once, to be judged in many conditions."""

    def __init__(
        self, model: nn.Module, chip: Chip, calibration_inputs: Tensor, seed: int = 0, memory: int = MEMORY,
        batch: int = BATCH_SAMPLES, host: Sequence[str] = (), input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        compute: str = CPU,
    ):  # fmt: skip
        """host: modules that a host computes. input_ranges: of layers whose ranges are not to be calibrated, as `convert` has them.
        memory [bytes] and batch [samples] bound what is computed at once. compute: where (`xbar.workloads.compute.torch_device`), once
        converted; inputs and outputs are on the CPU all the same. Raises ParameterError and what `hw` does."""
        self.on = torch_device(compute)
        if memory < 1 or batch < 1:
            raise ParameterError(f"memory and batch must be 1 or more, got {memory} and {batch}")
        self.chip, self.memory, self.batch = chip, memory, batch
        self.model = convert(model, chip, calibration_inputs, seed, pack=True, host=host, input_ranges=input_ranges)
        self.layers = analog_layers(self.model)
        self._sample_bytes, self._output = self._measure(calibration_inputs[:1])
        if self.on.type != CPU:
            self.model.to(self.on)

    def varies(self, condition: Condition | None = None) -> bool:
        """True where chip instances differ."""
        condition = condition or Condition()
        device = condition.device or self.chip.device
        return self.chip.differs(device, condition.layers != ())

    def scores(
        self, seeds: Sequence[int], inputs: Tensor, targets: Tensor, condition: Condition | None = None, metric: Metric = ACCURACY
    ) -> Iterator[dict[int, float]]:
        """The metric by seed, some instances at a time, as they are measured."""
        for part in self.tallies(seeds, inputs, targets, condition, metric):
            yield {seed: tally.value() for seed, tally in part.items()}

    def tallies(
        self, seeds: Sequence[int], inputs: Tensor, targets: Tensor, condition: Condition | None = None, metric: Metric = ACCURACY
    ) -> Iterator[dict[int, Tally]]:
        """What the metric is taken of, by seed, some instances at a time, as they are measured."""
        if not len(targets) or len(inputs) != len(targets):
            raise ParameterError(f"one target a sample and one sample or more are needed, got {len(inputs)}, {len(targets)}")
        by_sample = tally_for(metric, self._output, targets).by_sample
        tallies: dict[int, Tally] = {}
        with contextlib.closing(self.outputs(seeds, inputs, condition or Condition(), kept=not by_sample)) as found:
            for part, samples, outputs in found:
                for seed, each in zip(part, outputs, strict=True):
                    tallies.setdefault(seed, Tally(metric, by_sample)).add(each, targets[samples])
                if samples.stop >= len(inputs):
                    yield {seed: tallies.pop(seed) for seed in part}

    def outputs(
        self, seeds: Sequence[int], inputs: Tensor, condition: Condition, kept: bool = False
    ) -> Generator[tuple[list[int], slice, Tensor], None, None]:
        """Some instances and samples at a time: the instances' seeds, which samples they are, and what they give for them, (instances,
        samples, ...). kept: whether the caller keeps the outputs of all samples of these instances, which the memory must hold then."""
        at_once, batch = self._at_once(condition, len(inputs), kept)
        for start in range(0, len(seeds), at_once):
            part = list(seeds[start : start + at_once])
            for samples, outputs in self._computed(part, inputs, condition, batch):
                yield part, samples, outputs

    def gathered(self, seeds: Sequence[int], inputs: Tensor, condition: Condition) -> dict[int, Tensor]:
        """Of each instance, by seed, what it gives for all samples, (samples, ...)."""
        found: dict[int, list[Tensor]] = {seed: [] for seed in seeds}
        for part, _, outputs in self.outputs(seeds, inputs, condition, kept=True):
            for seed, each in zip(part, outputs, strict=True):
                found[seed].append(each)
        return {seed: torch.cat(each) for seed, each in found.items()}

    def computed(self, inputs: Tensor) -> Tensor:
        """What the present instances give for their inputs, one instance's after the other's; both on the CPU."""
        return checked_output(self.model(inputs.to(self.on))).cpu()

    def prepare(self, seeds: Sequence[int], condition: Condition) -> None:
        """Programme these instances and bring them into the condition."""
        program(self.model, seeds, condition.device, layers=condition.layers)
        if condition.seconds:
            set_time(self.model, condition.seconds)
        if condition.correction != "none":
            compensate_drift(self.model)  # first: its reference read needs the range that the cells had then
        if condition.correction == "recalibrated":
            recalibrate(self.model)

    def _computed(self, seeds: Sequence[int], inputs: Tensor, condition: Condition, batch: int) -> Iterator[tuple[slice, Tensor]]:
        ranges = {name: layer.matrix.full_scale.clone() for name, layer in self.layers.items()}
        try:
            self.prepare(seeds, condition)
            for start in range(0, len(inputs), batch):
                x = inputs[start : start + batch]
                with torch.no_grad():
                    outputs = self.computed(x.repeat(len(seeds), *[1] * (x.dim() - 1)))
                yield slice(start, start + len(x)), outputs.unflatten(0, (len(seeds), len(x)))
        finally:
            for name, layer in self.layers.items():
                layer.matrix.full_scale = ranges[name]  # loaded when cells are next programmed

    def _at_once(self, condition: Condition, samples: int, kept: bool) -> tuple[int, int]:
        """Chip instances, and samples of each, that fit in the memory; ranges are set anew for one instance at a time. kept: whether
        the outputs of all samples are to fit too."""
        places = 0 if self.chip.wires.ideal else CROSSBAR_CELL_BYTES
        s = self.chip.structure
        fixed = sum(
            CELL_BYTES * g.cells + places * g.crossbars * s.wordlines * s.bitlines
            for g in (layer.matrix.geometry for layer in self.layers.values())
        )
        fixed += samples * self._output.numel() * self._output.element_size() if kept else 0
        room = max(1, self.memory - fixed)
        batch = max(1, min(self.batch, samples, room // self._sample_bytes))
        if condition.correction == "recalibrated":
            return 1, batch
        return min(MOST_AT_ONCE, max(1, self.memory // (fixed + batch * self._sample_bytes))), batch

    def _measure(self, sample: Tensor) -> tuple[int, Tensor]:
        """Bytes that one sample takes in the layer where it takes most, and what the network gives for it."""
        before = {name: layer.matrix.counts.vectors for name, layer in self.layers.items()}
        with torch.no_grad():
            outputs = checked_output(self.model(sample))
        most = max(
            (layer.matrix.counts.vectors - before[name])
            * (INPUT_BYTES * layer.matrix.geometry.groups * layer.matrix.geometry.inputs
               + OUTPUT_BYTES * layer.matrix.geometry.groups * layer.matrix.geometry.outputs)
            for name, layer in self.layers.items()
        )  # fmt: skip
        return most + outputs.numel() * outputs.element_size(), outputs


# ---- what a few say of all


def mean_band(values: Sequence[float] | pd.Series, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence band of the mean of independent `values`, Student's t; NaN for fewer than two. Raises ParameterError."""
    _check_confidence(confidence)
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(array) - 1)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def wilson_band(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence band of a share of which `hits` of `trials` were seen, Wilson's score interval. Raises ParameterError."""
    _check_confidence(confidence)
    if not 0 <= hits <= trials or trials < 1:
        raise ParameterError(f"hits must be 0 to trials, and trials 1 or more, got {hits} and {trials}")
    band = scipy.stats.binomtest(hits, trials).proportion_ci(confidence, method="wilson")
    return min(hits / trials, float(band.low)), max(hits / trials, float(band.high))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence must be between 0 and 1, got {confidence}")

"""What a change costs in accuracy, paired: the same samples on the same chip instances, with how far the mean difference may be off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # whose statistics load where they are asked for: they take a second
import torch

from xbar.workloads.study import points
from xbar.workloads.study.evaluate import Condition
from xbar.workloads.study.sweep import Value
from xbar.workloads.task import ACCURACY, Metric

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """values: of each chip instance on each sample, 1 where it is right (instances, samples); of other metrics than accuracy each
    instance's score (instances, 1). One instance stands for all where they are the same."""

    metric: Metric
    values: np.ndarray

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Difference:
    """Mean of new less old, and its 95 % interval."""

    mean: float
    low: float
    high: float


def judged(point: Mapping[str, Value], images: int, instances: int, seed: int) -> Judged:
    """A point's network on so many instances of its chip, from that seed on, on so many test samples that the seed draws; raises as
    `points.judge` does."""
    on_chip, (workload, chip, _) = points.converted(point), points.looked_into(point)
    data, metric = workload.data, workload.data.metric
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(data.test_targets))[:images])
    inputs, targets, condition = data.test_inputs[chosen], data.test_targets[chosen], Condition(chip.device)
    seeds = range(seed, seed + instances) if on_chip.varies(condition) else [seed]
    if metric is ACCURACY and targets.dim() == 1:
        found = on_chip.gathered(seeds, inputs, condition)
        return Judged(metric, np.stack([(found[each].argmax(-1) == targets).double().numpy() for each in seeds]))
    scores = [value for part in on_chip.scores(seeds, inputs, targets, condition, metric) for value in part.values()]
    return Judged(metric, np.array(scores, float)[:, None])


def difference(old: Judged, new: Judged) -> Difference:
    """Mean difference of pairs, with an interval over chip instances and samples together: the t intervals of the instances' means and of
    the samples' means, added as independent, which leaves nothing out that both see. Of one instance (all are the same) samples alone
    count; of metrics that are no mean over samples instances alone. NaN ends where there is one of each."""
    pairs = new.values - old.values  # one instance that stands for all meets each
    halves = [_half(pairs.mean(axis)) for axis in (0, 1) if pairs.shape[1 - axis] > 1]
    mean, half = float(pairs.mean()), math.hypot(*halves) if halves else math.nan
    return Difference(mean, mean - half, mean + half)


def _half(values: np.ndarray) -> float:
    """Half of the t interval of a mean."""
    count = len(values)
    return float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)

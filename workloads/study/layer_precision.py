"""Bits a layer, of weights, cells, ADCs and inputs: what each bit saves on the chip against what it costs in the loss.

Of every layer each offered combination of bits is measured alone, all other layers as the chip has them: what it saves of power or area of
the network's footprint, and what it adds to the loss, on some training samples, on chip instances with the cells' errors or on an ideal
chip. What layers save adds up exactly, as each has its own arrays and actions (a test holds that); what they add to the loss is taken to
add up, as mixed precision by sensitivities does (Z. Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural
Networks, NeurIPS 2020; not opened). Which combination of all layers saves most at a given loss is then found exactly, layer by layer: of
combinations so far that save less and harm more than another none can be a part of the best.

As the sum is an estimate, what is taken is judged once more as a whole, on other samples. Where all layers have no more than MOST_JUDGED
combinations together, they are gone through, what saves most first, until one loses no more of the metric than is allowed: none that saves
more does. Where there are more, so are those that are best at some loss, by bisection.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from xbar.hw.cells.device import ideal_of
from xbar.hw.chip.description import Chip
from xbar.hw.errors import ConfigurationError, ParameterError
from xbar.hw.footprint import footprint
from xbar.hw.graph.trace import trace
from xbar.workloads.data import Dataset
from xbar.workloads.offered import RATE
from xbar.workloads.study.evaluate import CALIBRATION_SAMPLES, Condition, OnChip

KNOBS = ("weights.bits", "weights.cell_bits", "inputs.bits", "component.adc.bits")
COSTS = ("power", "area")
MOST_JUDGED = 128  # combinations of all layers that are gone through, at most
MOST_TOGETHER = 16  # combinations of a layer that are each measured; of more, each number of bits alone, and added up
SAMPLES = 500
Bits = Mapping[str, int]  # of a layer, by knob; what is left out is the chip's own


@dataclass(frozen=True)
class Choice:
    """Bits of one layer: what they save of the cost [W or m²] and add to the loss, all other layers as they are."""

    bits: Bits
    saved: float
    harm: float


@dataclass(frozen=True)
class Best:
    """A combination that no other beats in what it saves [W or m²] and adds to the loss, both as sums over layers; picks: place of each
    layer's choice."""

    saved: float
    harm: float
    picks: tuple[int, ...]


@dataclass(frozen=True)
class LayerPrecision:
    """What came of it. chip: with the bits of each layer; bits: of the layers that have fewer than the chip; cost, before: of the
    network's footprint, simulated [W or m²]; lost: of the metric against the chip as it was, judged as a whole; front: the combinations
    that are best at some loss (saved, harm, and lost where it was judged); table: of each layer and choice bits, saved, harm, taken."""

    chip: Chip
    bits: Mapping[str, Bits]
    cost: float
    before: float
    lost: float
    front: pd.DataFrame
    table: pd.DataFrame

    def settings(self) -> dict[str, int]:
        """The bits as points of sweeps and searches name them, and `--set` does."""
        return {f'layer."{layer}".{knob}': count for layer, bits in self.bits.items() for knob, count in bits.items()}


def find_precision(
    model: nn.Module, data: Dataset, chip: Chip, offered: Mapping[str, Sequence[int]], most_lost: float, *, cost: str = "power",
    rate: float = RATE, samples: int = SAMPLES, instances: int = 0, seed: int = 0, step: Callable[[str], None] = lambda _: None,
    input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> LayerPrecision:  # fmt: skip
    """The bits of each layer that save most of the cost where the network loses no more than `most_lost` of the metric against the chip as
    it is (accuracy: a share of 1).

    offered: numbers of bits by knob (`KNOBS`), of which each layer may take those below the chip's own. cost: power at `rate` inferences
    per second [1/s], or area. samples: of training, as many to measure the loss and others, as many, to judge by: none of the test
    samples is seen, and the network may have learnt them. instances: of the chip; 0 for one with ideal cells. input_ranges: of layers
    whose ranges are not to be calibrated, as `Workload.input_ranges` has them. Raises ParameterError and what `hw` raises.
    """
    _check(offered, most_lost, cost, samples, instances, len(data.train_targets))
    judge = _Judge(model, data, chip, samples, instances, seed, input_ranges)
    by_layer = choices(model, data, chip, offered, cost=cost, rate=rate, harm=judge.harm, step=step)
    front = best_combinations([list(each) for each in by_layer.values()])
    layers, own = list(by_layer), Best(0.0, 0.0, (0,) * len(by_layer))  # the chip as it is: not on a front where fewer bits do no harm
    line = front if front[0].picks == own.picks else [own, *front]

    def bits_of(best: Best) -> dict[str, Bits]:
        taken = {layer: by_layer[layer][pick].bits for layer, pick in zip(layers, best.picks, strict=True)}
        return {layer: bits for layer, bits in taken.items() if bits}

    def lost(best: Best) -> float:
        found = judge.lost(at_bits(chip, bits_of(best)))
        step(f"bits a layer: {best.saved:.3g} saved of {cost}, {found:.3g} of the metric lost")
        return found

    few = math.prod(map(len, by_layer.values())) <= MOST_JUDGED
    taken, judged = (_first if few else _bisected)(all_combinations([*by_layer.values()]) if few else line, lost, most_lost)
    chosen = at_bits(chip, bits_of(taken))
    rows = [{"layer": layer, **{knob: choice.bits.get(knob) for knob in offered}, "saved": choice.saved, "harm": choice.harm,
             "taken": place == pick} for (layer, each), pick in zip(by_layer.items(), taken.picks, strict=True)
            for place, choice in enumerate(each)]  # fmt: skip
    told = pd.DataFrame([{"saved": each.saved, "harm": each.harm, "lost": judged.get(each.picks)} for each in front])
    network = trace(model, data.train_inputs[:2], pack=True)
    before, after = (getattr(footprint(network, each, rate), cost) for each in (chip, chosen))
    return LayerPrecision(chosen, bits_of(taken), after, before, judged[taken.picks], told, pd.DataFrame(rows))


def at_bits(chip: Chip, bits: Mapping[str, Bits]) -> Chip:
    """The chip with these bits of layers, in place of those that its file sets for them."""
    tables: dict[str, Any] = {name: settings.changes() for name, settings in chip.layer.items()}
    for layer, knobs in bits.items():
        for knob, count in knobs.items():
            *parents, leaf = knob.split(".")
            where = tables.setdefault(layer, {})
            for parent in parents:
                where = where.setdefault(parent, {})
            where[leaf] = count
    return chip.with_changes(layer=tables) if bits else chip


def choices(
    model: nn.Module, data: Dataset, chip: Chip, offered: Mapping[str, Sequence[int]], *, cost: str, rate: float,
    harm: Callable[[Chip], float], step: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Choice]]:  # fmt: skip
    """The choices of each layer, the first of them the chip's own bits; those that the chip cannot have are left out. harm: what a chip
    adds to the loss. Raises what `hw` raises."""
    network = trace(model, data.train_inputs[:2], pack=True)
    before = getattr(footprint(network, chip, rate), cost)
    found = {}
    for number, layer in enumerate(network.layers, 1):
        step(f"bits a layer: {layer.name}, {number} of {len(network.layers)}")
        chips = _chips(chip, layer.name, offered)
        together = len(chips) <= MOST_TOGETHER
        harms = {_key(bits): harm(each) for bits, each in chips if bits and (together or len(bits) == 1)}
        found[layer.name] = [
            Choice(bits, before - getattr(footprint(network, each, rate), cost),
                   harms[_key(bits)] if _key(bits) in harms else sum(harms.get(((knob, count),), 0.0) for knob, count in bits.items()))
            for bits, each in chips
        ]  # fmt: skip
    return found


def _key(bits: Bits) -> tuple[tuple[str, int], ...]:
    return tuple(bits.items())


def _chips(chip: Chip, layer: str, offered: Mapping[str, Sequence[int]]) -> list[tuple[Bits, Chip]]:
    """The chip at every combination of a layer's bits that it can have, the chip's own first."""
    own = chip.for_layer(layer)
    now = {"weights.bits": own.weights.bits, "weights.cell_bits": own.cell_bits, "inputs.bits": own.inputs.bits,
           "component.adc.bits": own.component.adc.bits}  # fmt: skip
    sides = [[None, *sorted({count for count in counts if count < now[knob]}, reverse=True)] for knob, counts in offered.items()]
    found: list[tuple[Bits, Chip]] = []
    for chosen in itertools.product(*sides):
        bits = {knob: count for knob, count in zip(offered, chosen, strict=True) if count is not None}
        try:
            found.append((bits, at_bits(chip, {layer: bits} if bits else {})))
        except ConfigurationError:  # such as fewer than a phase has
            continue
    return found


def best_combinations(layers: Sequence[Sequence[Choice]]) -> list[Best]:
    """Every combination of one choice a layer that no other beats, in sums of what they save (more is better) and harm (less), by what
    they save; of combinations that are alike in both one."""
    front = [Best(0.0, 0.0, ())]
    for each in layers:
        saved = np.add.outer([best.saved for best in front], [choice.saved for choice in each]).ravel()
        harm = np.add.outer([best.harm for best in front], [choice.harm for choice in each]).ravel()
        order = np.lexsort((harm, -saved))  # most saved first, of these least harm
        least = np.minimum.accumulate(np.concatenate([[np.inf], harm[order][:-1]]))
        kept = order[harm[order] < least]
        front = [Best(float(saved[k]), float(harm[k]), (*front[k // len(each)].picks, int(k % len(each)))) for k in kept]
    return front[::-1]


def all_combinations(layers: Sequence[Sequence[Choice]]) -> list[Best]:
    """Every combination of one choice a layer, by what they save, of the same the most harmful first."""
    found = []
    for picks in itertools.product(*(range(len(each)) for each in layers)):
        taken = [each[pick] for each, pick in zip(layers, picks, strict=True)]
        found.append(Best(sum(choice.saved for choice in taken), sum(choice.harm for choice in taken), picks))
    return sorted(found, key=lambda best: (best.saved, -best.harm))


Judged = dict[tuple[int, ...], float]  # what is lost, by picks


def _first(combinations: Sequence[Best], lost: Callable[[Best], float], most_lost: float) -> tuple[Best, Judged]:
    """The combination that saves most of those that hold; the last, which is the chip as it is, is taken where none does."""
    judged: Judged = {}
    for best in reversed(combinations):
        judged[best.picks] = lost(best)
        if judged[best.picks] <= most_lost:
            return best, judged
    return combinations[0], judged


def _bisected(front: Sequence[Best], lost: Callable[[Best], float], most_lost: float) -> tuple[Best, Judged]:
    """The one that saves most, as if what is lost rose along the front; its first, which is the chip as it is, where no other holds."""
    judged: Judged = {}
    low, high = 0, len(front)
    while high - low > 1:
        middle = (low + high) // 2
        judged[front[middle].picks] = lost(front[middle])
        low, high = (middle, high) if judged[front[middle].picks] <= most_lost else (low, middle)
    if not low:
        judged[front[0].picks] = lost(front[0])
    return front[low], judged


class _Judge:
    """What chips lose: loss on some training samples, the metric on others, against the chip as it is."""

    def __init__(self, model: nn.Module, data: Dataset, chip: Chip, samples: int, instances: int, seed: int,
                 input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})):  # fmt: skip
        self.model, self.data, self.instances, self.ranges = model, data, instances, input_ranges
        self.seeds = range(seed, seed + max(1, instances))
        self.parts = [(data.train_inputs[part], data.train_targets[part]) for part in (slice(samples), slice(samples, 2 * samples))]
        self.loss = self._loss(chip)
        self.score = self._score(chip)

    def _on_chip(self, chip: Chip, inputs: Tensor) -> dict[int, Tensor]:
        on_chip = OnChip(self.model, chip, self.data.train_inputs[:CALIBRATION_SAMPLES], input_ranges=self.ranges)
        return on_chip.gathered(self.seeds, inputs, Condition(chip.device if self.instances else ideal_of(chip.device)))

    def _loss(self, chip: Chip) -> float:
        inputs, targets = self.parts[0]
        return float(np.mean([float(self.data.task.loss(outputs.float(), targets)) for outputs in self._on_chip(chip, inputs).values()]))

    def _score(self, chip: Chip) -> float:
        inputs, targets = self.parts[1]
        return float(np.mean([self.data.metric(outputs, targets) for outputs in self._on_chip(chip, inputs).values()]))

    def harm(self, chip: Chip) -> float:
        """What it adds to the loss."""
        return self._loss(chip) - self.loss

    def lost(self, chip: Chip) -> float:
        """What it loses of the metric, on other samples."""
        return float(self.data.metric.lost(self.score, self._score(chip)))


def _check(offered: Mapping[str, Sequence[int]], most_lost: float, cost: str, samples: int, instances: int, there: int) -> None:
    for knob, counts in offered.items():
        if knob not in KNOBS:
            raise ParameterError(f"offered: no bits {knob!r}; there are {', '.join(KNOBS)}")
        if not counts or not all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts):
            raise ParameterError(f"offered {knob} must be whole numbers of 1 or more, got {counts!r}")
    if not offered:
        raise ParameterError(f"offered: none; give bits of one or more of {', '.join(KNOBS)}")
    if cost not in COSTS:
        raise ParameterError(f"cost must be {' or '.join(COSTS)}, got {cost!r}")
    if not 0 <= most_lost < float("inf"):
        raise ParameterError(f"most lost must be 0 or more and finite, got {most_lost}")
    if instances < 0:
        raise ParameterError(f"instances must be 0 (ideal cells) or more, got {instances}")
    if not 1 <= samples <= there // 2:
        raise ParameterError(f"samples must be 1 to {there // 2}, half of the training samples, got {samples}")

"""Bits of weights and of inputs as a part of the search for what to keep: what fewer of them spare, and what the loss does at them.

A round may lower either width of the whole chip, beside its cuts, and takes what spares most for its damage. What is spared is
simulated: the footprint of the round's network on the chip at those bits, over that at the present ones. Damage is in the unit of cuts
(`xbar.workloads.study.allocation`), the mean over batches of the square of the change of the loss, here measured: weights on the
levels nearest to them, or inputs rounded to the chip's codes of the range that samples have, batch norm folded, without retraining.
Both widths at once are taken to do what each does alone.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xbar.compression.constraints import Levels
from xbar.compression.gemm import groups_of, matrix_layers
from xbar.compression.quantise import folded, learn_input_steps
from xbar.hw.chip.description import Chip
from xbar.hw.errors import ConfigurationError
from xbar.hw.footprint import footprint
from xbar.hw.graph.trace import trace
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.study.costs import Costs, costs_before

LASTING = 10.0  # on the digits at 15 % of power, three seeds: 97.8 % on ideal chips with it, 97.0 % with 1, of fixed bits 94.2 to 98.1 %
FEWEST_BITS = 2  # a level on each side of 0
SAMPLES = 2048  # of training, at most, that the loss is measured on
BATCH = 64
WEIGHTS, INPUTS = 0, 1
Bits = tuple[int, int]  # of a weight, of an input


def bits_of(chip: Chip) -> Bits:
    """Bits of a chip's weights and inputs."""
    return chip.weights.bits, chip.inputs.bits


def at_bits(chip: Chip, bits: Bits) -> Chip:
    """The chip with these."""
    return chip if bits == bits_of(chip) else chip.with_changes(weights={"bits": bits[WEIGHTS]}, inputs={"bits": bits[INPUTS]})


@dataclass
class Widths:
    """The widths that a search may choose: `weights` and `inputs` tell whether each is its to choose, from those of `costs.chip` down.

    costs: at the widths that the search begins with. lasting: how much more the damage of fewer bits of inputs counts than that of cuts
    and of weights' levels: these are trained against later, rounded inputs only where their steps are learned (1 then).
    """

    costs: Costs
    model: nn.Module
    weights: bool
    inputs: bool
    lasting: float = LASTING
    _known: dict[Bits, Costs] = field(default_factory=dict)

    def costs_at(self, bits: Bits) -> Costs:
        """Costs of the model on the chip at these bits, fitted when first asked for."""
        if bits == bits_of(self.costs.chip):
            return self.costs
        if bits not in self._known:
            self._known[bits] = Costs(self.model, at_bits(self.costs.chip, bits), self.costs.rate, self.costs.example)
        return self._known[bits]

    def below(self, bits: Bits) -> dict[Bits, Chip]:
        """The chip at fewer bits of the one or of the other, where it may have so many, most first."""
        found = {}
        for side, chosen in ((WEIGHTS, self.weights), (INPUTS, self.inputs)):
            for fewer in range(bits[side] - 1, FEWEST_BITS - 1, -1) if chosen else ():
                one = (fewer, bits[INPUTS]) if side == WEIGHTS else (bits[WEIGHTS], fewer)
                try:
                    found[one] = at_bits(self.costs.chip, one)
                except ConfigurationError:  # such as fewer than a phase has
                    break
        return found


class RoundWidths:
    """What fewer bits than `bits` cost and harm in one round's network."""

    def __init__(self, widths: Widths, model: nn.Module, bits: Bits, data: Dataset):
        costs, some, self.lasting, self.begun = widths.costs, first_samples(data, SAMPLES), widths.lasting, bits
        network = trace(model, costs.example, pack=True)

        def cost(chip: Chip) -> dict[str, float]:
            return costs_before(model, footprint(network, chip, costs.rate))

        chips = {bits: at_bits(costs.chip, bits)} | widths.below(bits)
        now = cost(chips[bits])
        self.cost: dict[Bits, dict[str, float]] = {}  # over that at `bits`
        for one, chip in chips.items():
            factor = {name: value / now[name] for name, value in cost(chip).items()}
            more = [self.cost[each] for each in self.cost if each[WEIGHTS] >= one[WEIGHTS] and each[INPUTS] >= one[INPUTS]]
            if factor not in more:  # else more bits cost the same
                self.cost[one] = factor
        self.losses: dict[Bits, Tensor] = {}
        if len(self.cost) > 1:
            plain = folded(model, costs.example)
            for one in self.cost:
                self.losses[one] = losses_at(plain, chips[one], some.train_inputs, some.train_targets, data.task.loss)

    def moves(self, bits: Bits) -> Iterator[tuple[Bits, dict[str, float], float]]:
        """Fewer bits of one side than `bits`: which, cost as a factor of that at `bits` by target, and damage."""
        for side in (WEIGHTS, INPUTS):
            here = self._alone(bits, side)
            for one in self.cost:
                if one[1 - side] == self.begun[1 - side] and one[side] < bits[side]:
                    factor = {name: value / self.cost[here][name] for name, value in self.cost[one].items()}
                    harm = float((self.losses[one] - self.losses[here]).square().mean()) * (self.lasting if side == INPUTS else 1.0)
                    yield ((one[side], bits[INPUTS]) if side == WEIGHTS else (bits[WEIGHTS], one[side])), factor, harm

    def _alone(self, bits: Bits, side: int) -> Bits:
        """The widths of the round's begin but for those of one side."""
        return (bits[WEIGHTS], self.begun[INPUTS]) if side == WEIGHTS else (self.begun[WEIGHTS], bits[INPUTS])


def losses_at(network: nn.Module, chip: Chip, images: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The loss of each batch, float64 (batches,), with weights on the chip's nearest levels and inputs on its codes. network: batch norm
    folded."""
    trial = copy.deepcopy(network).eval()
    levels = Levels.of(chip)
    with torch.no_grad():
        for layer in matrix_layers(trial).values():
            if layer.weight.any():
                layer.weight.copy_(levels.project(layer.weight, groups_of(layer)))
        device = next(trial.parameters()).device
        learn_input_steps(trial, chip, images[:BATCH].to(device))
        batches = zip(images.split(BATCH), labels.split(BATCH), strict=True)
        return torch.tensor([float(loss(trial(x.to(device)).float(), y.to(device))) for x, y in batches], dtype=torch.float64)

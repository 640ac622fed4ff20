"""How much of each layer to keep, chosen by what the chip charges for it.

An allocation says of each layer how many filters (bitlines) and how many inputs (wordlines) it keeps. Cost is what the chip charges
(`xbar.workloads.study.costs`), so that what frees no array, conversion or drive gains nothing; each round begins and ends with the
network itself simulated.
Damage is what the loss is estimated to rise by without filters or inputs, once those that are left have been solved for again
(`xbar.compression.damage`), so that of what is there several times all but one costs nothing. The search goes in rounds: the cuts that
spare most for their damage, until a round's share of
the way to the targets is gone; then a short retraining, on which the next round's damage is measured: layers make up for each
other's losses, which no measure of a layer alone sees. What is kept of it are the numbers; which filters and inputs is chosen anew.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xbar.compression.channels import Channels
from xbar.compression.constraints import Column, Filter
from xbar.compression.damage import worth as worth_of
from xbar.compression.gemm import MatrixLayer, groups_of, layer_of, matrix_layers, matrix_of, weight_of
from xbar.compression.joint import Joint, Stream, cut_all, streams, streams_of
from xbar.compression.least_squares import reconstruct
from xbar.compression.magnitude import one_shot
from xbar.compression.masks import attach, bake, hold_zeros
from xbar.compression.packing import packing
from xbar.compression.paths import Paths, silence
from xbar.compression.shrink import shrink
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.offered import TARGETS
from xbar.workloads.study.costs import Costs, Sizes
from xbar.workloads.study.precision import KNOWN, Bits, RoundWidths, Widths, bits_of
from xbar.workloads.training import Recipe, train_network

FEWEST = 2  # filters or inputs that a layer keeps at least, where it has as many
STEPS = (0.95, 0.75)  # of what a layer has, to its next smaller candidates; the third fills whole arrays
MEASURED_ON = 1024  # training samples that damage is measured on, at most
SOLVED_ON = 2000  # that least squares of a compression see


class AllocationError(ValueError):
    """A target is unknown, out of range or out of reach; the message names it."""


@dataclass(frozen=True)
class Keep:
    """What a layer keeps: filters, and inputs of those that are left once unused paths are gone (None: all)."""

    filters: int
    inputs: int | None = None


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


def joint_streams(model: nn.Module, example: Tensor) -> list[Stream]:
    """The streams whose units are more than a filter of one layer: of residual sums, attention heads, recurrent layers, groups."""
    return _joint(streams(model, example), matrix_layers(model))


def _joint(found: list[Stream], layers: Mapping[str, nn.Module]) -> list[Stream]:
    def alone(stream: Stream) -> bool:
        if len(stream.writers) != 1 or stream.writers[0] not in layers:
            return False
        rows = stream.rows(stream.writers[0])
        return len(rows) == stream.count and bool((rows >= 0).all())

    return [stream for stream in found if not alone(stream)]


def by_units(found: Iterable[Stream], layers: Iterable[str]) -> set[str]:
    """Layers that several filters of go together, such as an LSTM's gates or attention heads: one alone is no unit."""
    together = set()
    for name in layers:
        for stream in found:
            rows = stream.rows(name)
            if int((rows >= 0).sum()) > stream.count:
                together.add(name)
    return together


def key_of(stream: Stream) -> str:
    """A stream's name in an allocation, beside layers'."""
    return f"stream of {stream.name}"


def joint_sets(model: nn.Module, allocation: Allocation, example: Tensor) -> list[Joint]:
    """The joint sets that an allocation asks for, of streams of which not all is kept."""
    if not any(name.startswith("stream of ") for name in allocation):
        return []
    found = joint_streams(model, example)
    return [Joint(stream, k=allocation[key_of(stream)].filters) for stream in found
            if key_of(stream) in allocation and allocation[key_of(stream)].filters < stream.count]  # fmt: skip


def filter_sets(model: nn.Module, allocation: Allocation, joint: Sequence[Joint]) -> dict[str, list[Filter]]:
    """The sets of filters of layers that are to lose more than the joint sets take from them, by layer."""
    together = by_units([each.stream for each in joint], allocation)
    return {name: [Filter(k=allocation[name].filters)] for name, left in left_by_streams(model, joint).items()
            if name in allocation and name not in together and allocation[name].filters < left}  # fmt: skip


def left_by_streams(model: nn.Module, joint: Sequence[Joint]) -> dict[str, int]:
    """Filters that the joint sets leave, by layer."""
    found = {}
    for name, layer in matrix_layers(model).items():
        found[name] = layer.weight.shape[0]
        for each in joint:
            rows = each.stream.rows(name)
            found[name] -= int((rows >= 0).sum()) // each.stream.count * (each.stream.count - each.kept)
    return found


def prune_once(model: nn.Module, allocation: Allocation, example: Tensor) -> nn.Module:
    """A smaller copy of `model` cut down to the allocation by magnitude alone, without retraining; inputs that go stay as
    zeros. example: inputs (batch, ...)."""
    trial = copy.deepcopy(model)
    joint = joint_sets(trial, allocation, example)
    sets = filter_sets(trial, allocation, joint)
    cut_all(trial, joint)
    one_shot(trial, sets)
    small = smaller(trial, example)
    one_shot(small, input_sets(small, allocation))
    return bake(small).eval()


def prune_and_solve(
    model: nn.Module, allocation: Allocation, data: Dataset, seed: int = 0, step: Callable[[str], None] = lambda _: None
) -> nn.Module:
    """A copy of `model` of its size, cut down to the allocation: filters and units without which the loss is estimated to do best, and
    inputs, at once, what is left solved by least squares (`xbar.compression.least_squares`); `smaller` makes it small. data: training
    samples, all of which are looked at."""
    cut, samples = copy.deepcopy(model), data.train_inputs
    joint = joint_sets(cut, allocation, samples[:2])
    sets = filter_sets(cut, allocation, joint)
    step("least squares: what each filter is worth")
    paths = Paths(model, samples[:2])
    worth = worth_on(model, paths, data, seed)
    for each in joint:
        each.stream.cut(cut, _largest(worth_of_units(each.stream, paths, worth)[0], each.kept))
    masks = {}
    for name, (filters,) in sets.items():
        weight = layer_of(cut, name).weight
        there = (weight.detach().flatten(1) != 0).any(1).cpu()
        keep = _largest(torch.where(there, worth[name][0], -1.0), int(filters.k or 0))
        masks[name] = keep.view(-1, *[1] * (weight.dim() - 1)).expand(weight.shape).to(weight.device)
    attach(cut, masks)
    bake(cut)
    kept = {name: int(one.k or 0) for name, (one,) in input_sets(smaller(copy.deepcopy(cut), samples[:2]), allocation).items()}
    return reconstruct(model, cut, kept, samples, seed, step)


def _largest(values: Tensor, count: int) -> Tensor:
    """bool of values' shape: so many of the largest."""
    keep = torch.zeros(len(values), dtype=torch.bool)
    keep[values.argsort(descending=True, stable=True)[:count]] = True
    return keep


def worth_on(model: nn.Module, paths: Paths, data: Dataset, seed: int = 0, bfloat16: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
    """`xbar.compression.damage.worth` on training samples, MEASURED_ON of them at most."""
    samples, targets = data.train_inputs[:MEASURED_ON], data.train_targets[:MEASURED_ON]
    return worth_of(model, paths, samples, targets, data.task.loss, seed, bfloat16)


def worth_of_units(stream: Stream, paths: Paths, worth: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, int]:
    """What the loss does without each unit of a stream: what its channels are worth, added up, each of them once however many layers
    make it; what the inputs that read it are worth where no layer with a matrix makes it. And the most filters that a unit has in one
    layer."""
    classes = paths.channels.classes
    channels, given, most = torch.zeros(len(classes)), torch.zeros(stream.count + 1), 1
    for name, reader in paths.readers.items():
        filters, inputs = worth[name]
        rows, columns = (stream.labels[each] for each in (reader.outputs, reader.source))
        ours = rows >= 0
        np.maximum.at(channels.numpy(), classes[reader.outputs[ours]].numpy(), filters[ours].numpy())
        given.index_add_(0, columns.repeat(len(inputs) // len(columns)) % (stream.count + 1), inputs)
        most = max(most, int(ours.sum()) // stream.count)
    made = torch.zeros(stream.count + 1)
    there = channels.nonzero().flatten()
    made.index_add_(0, stream.labels[there] % (stream.count + 1), channels[there])
    return torch.where(made > 0, made, given)[: stream.count], most


def smaller(model: nn.Module, example: Tensor) -> nn.Module:
    """`model` without filters that hold no weight, and what only they fed; `model` is changed by `silence`."""
    silence(model, example)
    return shrink(model, example)


def input_sets(small: nn.Module, allocation: Allocation) -> dict[str, list[Column]]:
    """The sets of inputs that a network shrunk to its filters is to keep, by layer, where not all."""
    sets = {}
    for name, layer in matrix_layers(small).items():
        present = len(packing(layer.weight, groups_of(layer)).inputs)
        kept = allocation[name].inputs if name in allocation else None
        if kept is not None and 0 < kept < present:
            sets[name] = [Column(k=kept)]
    return sets


@dataclass
class Search:
    """What a search needs: the trained model, costs, and images to train on (those of `data` to test by are not looked at).

    targets: share of `before` that is to be left at most, by name (area, power, weights). rounds: of cuts and retraining by
    `refit`; images: of training, that each retraining takes. widths: bits that rounds may lower, None for none.
    """

    model: nn.Module
    costs: Costs
    targets: Mapping[str, float]
    before: Mapping[str, float]
    data: Dataset
    refit: Recipe
    rounds: int = 6
    images: int = 10000
    seed: int = 0
    step: Callable[[str], None] = lambda _: None
    widths: Widths | None = None

    def __post_init__(self) -> None:
        check_targets(self.targets)

    def shares(self, cost: Mapping[str, float]) -> dict[str, float]:
        """Cost as shares of before, by target."""
        return {name: cost[name] / self.before[name] for name in self.targets}

    def met(self, shares: Mapping[str, float]) -> bool:
        """Whether every target is met."""
        return all(shares[name] <= share for name, share in self.targets.items())

    def way(self, shares: Mapping[str, float]) -> float:
        """How far the targets are: log of the factor that each is to fall by still, summed."""
        return sum(math.log(max(shares[name], least) / least) for name, least in self.targets.items())


@dataclass(frozen=True)
class Chosen:
    """An allocation that meets the targets, and the last one on the way to it that did not (the same where nothing was cut).

    costs: at the bits that were chosen. steps: what each round cut: round, step (cut or bits), layer, filters and inputs left, damage,
    and the share of each target's cost left after the round. worth: what the loss does without each filter (or unit of a stream) and
    each input, by layer or stream, most first, of the uncompressed network; least: the same of the least that is kept, after the last
    round; network: as the last round left it, retrained. Empty, and None, where nothing was measured.
    """

    state: dict[str, Keep]
    earlier: dict[str, Keep]
    costs: Costs
    steps: pd.DataFrame
    worth: Mapping[str, tuple[Tensor, Tensor]]
    least: Mapping[str, tuple[float, float]]
    network: nn.Module | None = None


def cost_aware(search: Search) -> Chosen:
    """The allocation that meets the targets at least damage for what is spared. Raises AllocationError."""
    model, example = bake(hold_zeros(search.model)).eval(), search.costs.example
    joint = joint_streams(search.model, example)
    state = earlier = whole(search.model) | {key_of(stream): Keep(stream.count) for stream in joint}
    worth: dict[str, tuple[Tensor, Tensor]] = {}
    least: dict[str, tuple[float, float]] = {}
    parts = first_samples(search.data, search.images)
    shares = search.shares(search.costs.of(model))
    way, number, rows = search.way(shares), 0, []
    while not search.met(shares):
        number += 1
        if number > 3 * search.rounds:
            raise _out_of_reach(search, shares)
        search.step(f"allocation: round {number} of about {search.rounds}; left are {_told(shares)}")
        found = _Round(search, model, parts, shares)
        worth = worth or found.sorted_worth()
        found.cut(way * max(0, search.rounds - number) / search.rounds)
        least = found.least_worth()
        attach(model, found.masks())
        found.cut_streams()
        model = hold_zeros(smaller(bake(model).eval(), example))
        train_network(model, parts, search.refit, search.seed + number)
        bake(model).eval()
        search = found.search
        shares = search.shares(search.costs.of(model))
        rows += [{"round": number, **row, **shares} for row in found.rows()]
        earlier, state = state, _kept(model, joint, example)
    steps = pd.DataFrame(rows, columns=["round", "step", "layer", "filters", "inputs", "damage", *search.targets])
    return Chosen(state, earlier, search.costs, steps, worth, least, model if len(rows) else None)


def _kept(model: nn.Module, joint: Sequence[Stream], example: Tensor) -> dict[str, Keep]:
    """What a smaller network has of each layer, and of the uncompressed network's joint streams where not all."""
    state = {}
    for name, layer in matrix_layers(model).items():
        kept = packing(layer.weight, groups_of(layer))
        state[name] = Keep(len(kept.outputs) * groups_of(layer), len(kept.inputs))
    left = {stream.key: stream.count for stream in streams_of(Channels(model, example), least=1)} if joint else {}
    for stream in joint:
        if left.get(stream.key, stream.count) < stream.count:
            state[key_of(stream)] = Keep(left[stream.key])
    return state


def _told(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in shares.items())


def _out_of_reach(search: Search, shares: Mapping[str, float]) -> AllocationError:
    left = ", ".join(f"{name} {shares[name]:.5f} of {share:g}" for name, share in search.targets.items())
    bits = f" and by bits that leave {KNOWN:.0%} of what the network knows (fewer may be asked for as numbers)" if search.widths else ""
    return AllocationError(f"the targets are out of reach by removing filters and inputs{bits}; left are {left}")


Move = tuple[str, dict[str, Tensor], dict[str, Tensor], Tensor, float]  # layer or stream, filters, columns, gone, damage


class _Round:
    """The cuts of one round: what each layer of a network keeps, and what a further cut would do.

    filters (outputs,) and columns (inputs of a group,): bool by layer, what is kept; layers with groups, and tables, lose what streams
    do. gone: bool by label of the network's channels, what is cut from all layers at once; streams: that can be. shares: of the
    network as it comes in, by which the fitted costs are set right.
    """

    def __init__(self, search: Search, model: nn.Module, data: Dataset, shares: Mapping[str, float]):
        self.search, example = search, search.costs.example
        self.model = model
        self.layers = {name: layer for name, layer in matrix_layers(model).items() if _free(layer)}
        self.paths = Paths(model, example)
        self.streams = {stream.name: stream for stream in _joint(streams_of(self.paths.channels), matrix_layers(model))}
        self.fixed = self.paths.fixed() | by_units(self.streams.values(), self.layers)
        self.gone = torch.zeros(len(self.paths.stays), dtype=torch.bool)
        self.filters, self.columns = {}, {}
        for name, layer in self.layers.items():
            used = matrix_of(layer.weight.detach())[0] != 0
            self.filters[name], self.columns[name] = used.any(1).cpu(), used.any(0).cpu()
        self.worth = worth_on(model, self.paths, data, search.seed, search.refit.bfloat16)
        self.before = self.sizes(self.filters, self.columns, self.gone)
        self.harm = dict.fromkeys([*self.layers, *self.streams], 0.0)
        self._correct(shares, self.before)
        self.widths = RoundWidths(search.widths, model, bits_of(search.costs.chip), data) if search.widths else None
        self.fewer_bits: list[dict[str, object]] = []  # rows of what was chosen

    def _correct(self, shares: Mapping[str, float], sizes: Sizes) -> None:
        """Set the fitted costs of these sizes right."""
        fitted = self.search.shares(self.search.costs.of_sizes(sizes))
        self.correction = {name: shares[name] / fitted[name] for name in fitted}

    def cut(self, left: float) -> None:
        """Cut until no more than `left` of the way to the targets is left."""
        search = self.search  # targets; costs change with bits
        shares = self._shares(self.sizes(self.filters, self.columns, self.gone))
        while search.way(shares) > left:
            best: tuple[float, Move, dict[str, float]] | None = None
            for move in self._moves():
                sizes, harm = self.sizes(*move[1:4]), move[4]
                if any(min(size) < min(FEWEST, *self.before[layer]) for layer, size in sizes.items()):
                    continue
                after = self._shares(sizes)
                spared = search.way(shares) - search.way(after)
                if spared > 0 and (best is None or spared / harm > best[0]):
                    best = spared / harm, move, after
            fewer = self._best_width(shares)
            if fewer is not None and (best is None or fewer[0] > best[0]):
                _, bits, shares, harm = fewer
                self._take(bits, shares, harm)
            elif best is not None:
                _, (name, self.filters, self.columns, self.gone, harm), shares = best
                self.harm[name] += harm
            else:
                raise _out_of_reach(search, shares)

    def _best_width(self, shares: Mapping[str, float]) -> tuple[float, Bits, dict[str, float], float] | None:
        """Of fewer bits what spares most for its damage: by how much, the bits, shares then, and the damage."""
        if self.widths is None:
            return None
        found, least = None, self._least()
        for bits, factor, damage in self.widths.moves(bits_of(self.search.costs.chip)):
            after, harm = {name: share * factor[name] for name, share in shares.items()}, max(least, damage)
            spared = self.search.way(shares) - self.search.way(after)
            if spared > 0 and (found is None or spared / harm > found[0]):
                found = spared / harm, bits, after, harm
        return found

    def _take(self, bits: Bits, shares: dict[str, float], harm: float) -> None:
        """Go on at these bits, at which the round's network costs `shares`."""
        assert self.search.widths is not None
        before = bits_of(self.search.costs.chip)
        self.search = replace(self.search, costs=self.search.widths.costs_at(bits))
        self._correct(shares, self.sizes(self.filters, self.columns, self.gone))
        what = "weights" if bits[0] < before[0] else "inputs"
        self.fewer_bits.append({"step": "bits", "layer": f"{what}: {bits[what == 'inputs']} bits",
                                "filters": 0, "inputs": 0, "damage": harm})  # fmt: skip

    def _least(self) -> float:
        """What damage counts at least, so that none is nothing."""
        return max(1e-30, 1e-6 * float(sum(each.sum() for each, _ in self.worth.values())))

    def _shares(self, sizes: Sizes) -> dict[str, float]:
        fitted = self.search.shares(self.search.costs.of_sizes(sizes))
        return {name: share * self.correction[name] for name, share in fitted.items()}

    def _alive(
        self, filters: Mapping[str, Tensor], columns: Mapping[str, Tensor], gone: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:  # fmt: skip
        """Of those filters and columns what is read and what is fed; and which channels are, bool by label."""
        features = {name: columns[name].view(-1, layer.weight.shape[1]).any(0) for name, layer in self.layers.items()}
        read = self.paths.wanted(features, gone)
        left = {name: filters[name] & read[self.paths.readers[name].outputs] for name in self.layers}
        reached = self.paths.alive(left, gone)
        fed = {name: columns[name] & reached[self.paths.readers[name].source].repeat(_positions(layer))
               for name, layer in self.layers.items()}  # fmt: skip
        return left, fed, read & reached

    def sizes(self, filters: Mapping[str, Tensor], columns: Mapping[str, Tensor], gone: Tensor) -> Sizes:
        """Outputs and inputs of each layer, of a group, where those filters and columns stay, and what nothing reads or feeds
        goes."""
        left, fed, alive = self._alive(filters, columns, gone)
        found = {name: (int(left[name].sum()), int(fed[name].sum())) for name in self.layers}
        for name, (outputs, inputs) in self.search.costs.whole.items():
            if name not in found:
                found[name] = self._other(name, alive, outputs, inputs)
        return found

    def _other(self, name: str, alive: Tensor, outputs: int, inputs: int) -> tuple[int, int]:
        """Outputs and inputs of a layer whose filters are no candidates of their own: of a group, or a table."""
        reader = self.paths.readers.get(name)
        if reader is None:
            roles = self.paths.channels.roles.get(f"{name}.weight")
            return (int(alive[roles[0]].sum()) if roles else outputs), inputs
        made, given = (alive[each].view(reader.groups, -1) for each in (reader.outputs, reader.source))
        positions = inputs * reader.groups // len(reader.source) if not reader.transposed else 1
        taps = outputs * reader.groups // len(reader.outputs)
        return max(1, int(made.sum(1).max()) * taps), max(1, int(given.sum(1).max()) * max(1, positions))

    def sorted_worth(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What the loss does without each filter or unit, and each input, by layer or stream, most first."""
        found = {name: tuple(each.sort(descending=True).values for each in self.worth[name]) for name in self.layers}
        units = {key_of(each): (worth_of_units(each, self.paths, self.worth)[0].sort(descending=True).values, torch.empty(0))
                 for each in self.streams.values()}  # fmt: skip
        return found | units  # type: ignore[return-value]

    def least_worth(self) -> dict[str, tuple[float, float]]:
        """The least of these of what is kept: a filter's or unit's, and an input's."""
        left, fed, alive = self._alive(self.filters, self.columns, self.gone)
        found = {}
        for name in self.layers:
            (filters, columns), kept = self.worth[name], (left[name], fed[name])
            found[name] = float(filters[kept[0]].min()) if kept[0].any() else 0.0, float(columns[kept[1]].min()) if kept[1].any() else 0.0
        for stream in self.streams.values():
            units = worth_of_units(stream, self.paths, self.worth)[0][self._kept(stream, self.gone) & self._present(stream, alive)]
            found[key_of(stream)] = float(units.min()) if len(units) else 0.0, 0.0
        return found

    def _present(self, stream: Stream, alive: Tensor) -> Tensor:
        present = torch.zeros(stream.count, dtype=torch.bool)
        present[stream.labels[(stream.labels >= 0) & alive]] = True
        return present

    def cut_streams(self) -> None:
        """Set what streams lose to 0 in the model, wherever it is made, carried and read."""
        for stream in self.streams.values():
            keep = self._kept(stream, self.gone)
            if not bool(keep.all()):
                stream.cut(self.model, keep)

    def _kept(self, stream: Stream, gone: Tensor) -> Tensor:
        keep = torch.ones(stream.count, dtype=torch.bool)
        keep[stream.labels[gone & (stream.labels >= 0)]] = False
        return keep

    def masks(self) -> dict[str, Tensor]:
        """What stays, by layer, where not all of it does."""
        found = {}
        for name, layer in self.layers.items():
            matrix = (self.filters[name].unsqueeze(1) & self.columns[name]).unsqueeze(0)
            mask = weight_of(matrix, layer.weight.shape).to(layer.weight.device)
            if not bool((mask | (layer.weight == 0)).all()):
                found[name] = mask
        return found

    def rows(self) -> list[dict[str, object]]:
        """What was cut, a row a layer that lost anything."""
        after = self.sizes(self.filters, self.columns, self.gone)
        found: list[dict[str, object]] = [*self.fewer_bits]
        found += [
            {"step": "cut", "layer": name, "filters": after[name][0], "inputs": after[name][1], "damage": self.harm[name]}
            for name in self.layers if after[name] != self.before[name]
        ]  # fmt: skip
        for stream in self.streams.values():
            left = int(self._kept(stream, self.gone).sum())
            if left < stream.count:
                found.append({"step": "cut", "layer": key_of(stream), "filters": left, "inputs": 0, "damage": self.harm[stream.name]})
        return found

    def _moves(self) -> Iterable[Move]:
        """For each layer fewer filters, but of those that give the network's outputs, and fewer inputs; and fewer units of each stream."""
        chip = self.search.costs.chip
        least = self._least()
        left, fed, alive = self._alive(self.filters, self.columns, self.gone)
        yield from self._stream_moves(left, alive, least)
        for name in self.layers:
            g = chip.geometry(max(1, int(left[name].sum())), max(1, int(fed[name].sum())))
            for kind, present, value, whole_arrays in (
                ("filters", left[name], self.worth[name][0], g.outputs_per_crossbar),
                ("columns", fed[name], self.worth[name][1], g.inputs_per_crossbar),
            ):
                if kind == "filters" and name in self.fixed:
                    continue
                order = torch.where(present, value, torch.inf).argsort(stable=True)
                count = int(present.sum())
                for fewer in _fewer(count, whole_arrays):
                    gone = order[: count - fewer]
                    kept = present.clone()
                    kept[gone] = False
                    filters = self.filters | {name: kept} if kind == "filters" else self.filters
                    columns = self.columns | {name: kept} if kind == "columns" else self.columns
                    yield name, filters, columns, self.gone, max(least, float(value[gone].sum()))

    def _stream_moves(self, left: Mapping[str, Tensor], alive: Tensor, least: float) -> Iterable[Move]:
        chip = self.search.costs.chip
        for stream in self.streams.values():
            present = self._present(stream, alive)
            value, rows = worth_of_units(stream, self.paths, self.worth)
            order = torch.where(present, value, torch.inf).argsort(stable=True)
            count = int(present.sum())
            per_array = max(1, chip.geometry(max(1, count * rows), 1).outputs_per_crossbar // rows)
            for fewer in _fewer(count, per_array):
                units = order[: count - fewer]
                lost = torch.zeros(stream.count + 1, dtype=torch.bool)
                lost[units] = True
                gone = self.gone | lost[stream.labels]  # -1: the last, of none
                filters = {name: kept & ~gone[self.paths.readers[name].outputs] for name, kept in self.filters.items()}
                yield stream.name, filters, self.columns, gone, max(least, float(value[units].sum()))


def _positions(layer: MatrixLayer) -> int:
    """Kernel positions of a layer, 1 of a linear one."""
    return layer.weight[0, 0].numel()


def _free(layer: MatrixLayer) -> bool:
    """Whether a layer's filters and inputs may go: not those of a convolution with groups."""
    return groups_of(layer) == 1


def _fewer(count: int, per_array: int) -> set[int]:
    """The next smaller counts: by STEPS, and down to whole arrays."""
    by_step = {min(count - 1, math.floor(count * step)) for step in STEPS}
    arrays = (count - 1) // per_array * per_array
    return {fewer for fewer in (*by_step, arrays) if FEWEST <= fewer < count}


def uniform(search: Search) -> Chosen:
    """The same share of filters in every layer but those that give the outputs, the largest that meets the targets. Raises
    AllocationError."""
    everything = whole(search.model)
    fixed = Paths(search.model, search.costs.example).fixed()
    joint = joint_streams(search.model, search.costs.example)
    fixed |= {name for name in everything for stream in joint if len(stream.rows(name))}  # by their streams
    everything |= {key_of(stream): Keep(stream.count) for stream in joint}
    earlier = seen = everything
    share = 1.0
    while True:
        state = {
            name: keep if name in fixed else Keep(max(min(FEWEST, keep.filters), round(share * keep.filters)))
            for name, keep in everything.items()
        }
        if state != seen or share == 1.0:
            earlier, seen = seen, state
            cost = search.costs.of(prune_once(search.model, state, search.costs.example))
            if search.met(search.shares(cost)):
                return Chosen(state, earlier, search.costs, pd.DataFrame(), {}, {})
        if all(keep.filters <= FEWEST for name, keep in state.items() if name not in fixed):
            raise AllocationError("no uniform share of filters meets the targets")
        share *= 0.96

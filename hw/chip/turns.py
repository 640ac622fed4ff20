"""A network that is larger than the chip, in turns: which layers are on it together.

Each turn is a run of layers that fits the chip at once, one copy of each. A layer larger than the whole chip is cut into pieces of as
equally many outputs as can be, which read the same inputs, the fewest that fit. Of all ways to cut the network, those of the fewest
turns are taken, as each of them costs writing and time, and of those the one over whose cuts the fewest values are carried, by dynamic
programming: exact. What a chip then has free is spent on copies (`xbar.hw.chip.placement.place`).
"""

from dataclasses import dataclass, replace
from math import ceil, inf

import pandas as pd

from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement, Replication, layer_geometry, place
from xbar.hw.display import Shown, si
from xbar.hw.errors import CapacityError, ParameterError
from xbar.hw.graph.network import MatrixLayer, Network
from xbar.hw.graph.part import crossing, cuts, parts, split


@dataclass(frozen=True, repr=False)
class InTurns(Shown):
    """A network on a chip turn after turn. placements: of each turn, in order; kept: values of one sample that later turns still
    need after each."""

    placements: tuple[Placement, ...]
    kept: tuple[float, ...]

    @property
    def chip(self) -> Chip:
        """The chip."""
        return self.placements[0].chip

    def _title(self) -> str:
        turns = len(self.placements)
        return f"Network in {turns} turn{'' if turns == 1 else 's'} on {self.chip.title}"

    def _numbers(self) -> dict[str, str]:
        return {
            "crossbars": f"{sum(each.crossbars_used for each in self.placements):,} written, {self.chip.crossbars:,} there",
            "kept between turns": f"{si(max(self.kept))} values a sample at most",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame([
            {"layers": ", ".join(each.copies) if len(each.copies) < 4 else f"{next(iter(each.copies))} to {list(each.copies)[-1]}",
             "crossbars": f"{each.crossbars_used:,}", "values kept after": si(kept)}
            for each, kept in zip(self.placements, self.kept, strict=True)
        ]).rename_axis("turn")  # fmt: skip


def take_turns(network: Network, chip: Chip, replication: Replication = "balance") -> InTurns:
    """The network on the chip turn after turn; one turn where all of it fits at once.

    replication: as `xbar.hw.chip.placement.place` has it, of each turn. Raises CapacityError where one output of a layer, or layers that
    wait for each other and so must be on the chip together, need more than the whole chip; ParameterError for a chip with settings of
    single layers; and as `place`.
    """
    if chip.layer:
        raise ParameterError(f"chip {chip.name} has settings of single layers ({', '.join(chip.layer)}): not modelled in turns")
    fitting = fit_layers(network, chip)
    at = _cut(fitting, [crossbars_of(chip, layer) for layer in fitting.layers], chip)
    found = parts(fitting, at)
    names = [layer.name for layer in fitting.layers]
    kept = tuple(crossing(fitting, set(names[:end])) for end in [*at, len(names)])
    return InTurns(tuple(place(each, chip, replication) for each in found), kept)


def fit_layers(network: Network, chip: Chip) -> Network:
    """The network with layers that are larger than the chip in pieces that fit it. Raises CapacityError where none do."""
    for layer in network.layers:
        if crossbars_of(chip, layer) > chip.crossbars:
            most = _most_outputs(chip, layer)
            total = layer.groups if layer.groups > 1 else layer.outputs
            pieces = ceil(total / most)
            network = split(network, layer.name, [total * (i + 1) // pieces - total * i // pieces for i in range(pieces)])
    return network


def crossbars_of(chip: Chip, layer: MatrixLayer) -> int:
    """Crossbars of one copy of a layer."""
    return layer_geometry(chip, layer).crossbars


def _most_outputs(chip: Chip, layer: MatrixLayer) -> int:
    """Outputs of a layer (of a grouped one: groups) that fit the chip at once."""
    name = "groups" if layer.groups > 1 else "outputs"
    low, high = 0, getattr(layer, name)
    while high - low > 1:
        middle = (low + high) // 2
        fits = crossbars_of(chip, replace(layer, **{name: middle})) <= chip.crossbars
        low, high = (middle, high) if fits else (low, middle)
    if layer.lookup or not low:
        needed = crossbars_of(chip, layer if layer.lookup else replace(layer, **{name: 1}))  # type: ignore[arg-type]
        raise CapacityError(
            f"chip {chip.name} is too small by {needed - chip.crossbars} crossbars for "
            f"{'table' if layer.lookup else 'one of the outputs of'} {layer.name}, which needs {needed}; the chip has {chip.crossbars}, "
            "and sums over turns are not kept", needed, chip.crossbars,
        )  # fmt: skip
    return low


def _cut(network: Network, crossbars: list[int], chip: Chip) -> list[int]:
    """Where the network is cut for the fewest turns, and of those the fewest values carried."""
    names, ends = [layer.name for layer in network.layers], [*cuts(network), len(network.layers)]
    carried = {end: crossing(network, set(names[:end])) for end in ends}
    best: dict[int, tuple[int, float, int]] = {0: (0, 0.0, 0)}  # by end: turns, values carried, the cut before
    for place_, end in enumerate(ends):
        found = (inf, inf, 0)
        for begin in reversed([0, *ends[:place_]]):
            if sum(crossbars[begin:end]) > chip.crossbars:
                break
            if begin in best:
                turns, values, _ = best[begin]
                found = min(found, (turns + 1, values + carried[end], begin))
        if found[0] < inf:
            best[end] = found  # type: ignore[assignment]
    last = len(names)
    if last not in best:
        _refuse(network, crossbars, ends, chip)
    at = []
    while last := best[last][2]:
        at.append(last)
    return at[::-1]


def _refuse(network: Network, crossbars: list[int], ends: list[int], chip: Chip) -> None:
    """Raise CapacityError for layers that cannot be cut apart and are too large together."""
    begin = 0
    for end in ends:
        needed = sum(crossbars[begin:end])
        if needed > chip.crossbars:
            together = [layer.name for layer in network.layers[begin:end]]
            raise CapacityError(
                f"chip {chip.name} is too small by {needed - chip.crossbars} crossbars for layers that wait for each other and must be on "
                f"it together: {', '.join(together[:5])}{' and others' if len(together) > 5 else ''} need {needed}, the chip has "
                f"{chip.crossbars}", needed, chip.crossbars,
            )  # fmt: skip
        begin = end
    raise AssertionError("a cut was there")

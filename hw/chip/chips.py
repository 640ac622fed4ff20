"""A network on several chips of one kind, one part of neighbouring layers on each (`xbar.hw.chip.partition` tells where it is cut)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import pandas as pd

from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import check_layers
from xbar.hw.chip.partition import Stages, partition
from xbar.hw.chip.placement import Placement, Replication, Sharing, place
from xbar.hw.display import Shown, si
from xbar.hw.graph.network import Network
from xbar.hw.graph.part import crossing, parts


@dataclass(frozen=True, repr=False)
class ChipsPlacement(Shown):
    """A network on chips in a row: `chips` has the placement of each one's part, in the order of the network."""

    network: Network
    chips: tuple[Placement, ...]

    @classmethod
    def of(cls, placement: Placement) -> "ChipsPlacement":
        """A placement on one chip as what it is, several chips of which there is one."""
        return cls(placement.network, (placement,))

    def _title(self) -> str:
        count = len(self.chips)
        return f"Placement of {len(self.network.layers)} layers on {count} chip{'' if count == 1 else 's'}, {self.chips[0].chip.title}"

    def _numbers(self) -> dict[str, str]:
        used, there = self.crossbars_used, sum(each.chip.crossbars for each in self.chips)
        return {
            "crossbars": f"{used:,} of {there:,} ({used / there:.1%})", "area": si(self.area, "m²"),
            "between chips": f"{si(sum(self.sent_bits), 'bit')} a sample",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({
            f"chip {number}": {
                "layers": _ends([layer.name for layer in each.network.layers]),
                "copies": f"{sum(map(len, each.copies.values())):,}",
                "crossbars": f"{each.crossbars_used:,} of {each.chip.crossbars:,} ({each.crossbars_used / each.chip.crossbars:.1%})",
                "sends": f"{si(sent, 'bit')} a sample",
            }
            for number, (each, sent) in enumerate(zip(self.chips, self.sent_bits, strict=True))
        }).T  # fmt: skip

    @property
    def area(self) -> float:
        """Area of all chips [m²]."""
        return sum(each.chip.area for each in self.chips)

    @property
    def crossbars_used(self) -> int:
        """Crossbars of all chips that hold something."""
        return sum(each.crossbars_used for each in self.chips)

    @cached_property
    def chip_of(self) -> dict[str, int]:
        """The number of the chip that each layer is on."""
        return {layer.name: number for number, each in enumerate(self.chips) for layer in each.network.layers}

    @cached_property
    def senders(self) -> tuple[tuple[int, ...], ...]:
        """For each chip the numbers of those that send it something."""
        pairs = {(self.chip_of[flow.source], self.chip_of[flow.target]) for flow in self.network.flows if flow.source}
        return tuple(tuple(sorted(a for a, b in pairs if b == number != a)) for number in range(len(self.chips)))

    def read_elsewhere(self, chip: int) -> list[str]:
        """The layers of a chip that layers on other chips read."""
        flows = self.network.flows
        found = {x.source for x in flows if x.source and self.chip_of[x.source] == chip != self.chip_of[x.target]}
        return [layer.name for layer in self.chips[chip].network.layers if layer.name in found]

    @cached_property
    def sent_bits(self) -> tuple[float, ...]:
        """By chip: the bits a sample that it sends to other chips, each value once however many read it."""
        found = []
        for number, each in enumerate(self.chips):
            values = crossing(self.network, each.copies)
            found.append(ceil(values) * max((each.chip.for_layer(name).inputs.bits for name in self.read_elsewhere(number)), default=0))
        return tuple(map(float, found))

    @cached_property
    def received_bits(self) -> tuple[float, ...]:
        """By chip: the bits a sample that it receives from other chips; as wide as its own inputs."""
        found = []
        for each in self.chips:
            others = [name for name in self.chip_of if name not in each.copies]
            values = crossing(self.network, others, each.copies)
            widths = (each.chip.for_layer(flow.target).inputs.bits for flow in each.network.flows if not flow.source)
            found.append(ceil(values) * max(widths, default=0))
        return tuple(map(float, found))

    def between(self) -> pd.DataFrame:
        """One row a pair of chips of which one sends to the other: source, target, values a sample that this target reads of it (what
        several targets read is told of each, and sent once)."""
        rows = [
            {"source": a, "target": b, "values": crossing(self.network, self.chips[a].copies, self.chips[b].copies)}
            for b, senders in enumerate(self.senders) for a in senders
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["source", "target", "values"])


def _ends(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def place_chips(
    network: Network, chip: Chip, chips: int | None = None, replication: Replication = "balance", sharing: Sharing = "as_needed"
) -> ChipsPlacement:
    """Put `network` on as few chips as needed (None), or on so many, parts of neighbouring layers one a chip, each as `place` puts it:
    `replication` and `sharing` are as there, for every chip by itself.

    `xbar.hw.chip.partition` has the rule by which the network is cut. Raises CapacityError where layers do not fit a chip alone, or
    the network so few chips; ParameterError for more chips than the network has parts; and what `place` raises.
    """
    names = [layer.name for layer in network.layers]
    check_layers(chip.name, chip.layer, names)
    cut = partition(Stages(network, chip, replication, sharing), chips)
    placed = []
    for first, last, each in zip([0, *cut], [*cut, len(names)], parts(network, cut), strict=True):
        mine = names[first:last]
        copies = {n: c for n, c in replication.items() if n in mine} if not isinstance(replication, str | None) else replication
        placed.append(place(each, _with_settings_of(chip, mine), copies, sharing))
    return ChipsPlacement(network, tuple(placed))


def _with_settings_of(chip: Chip, layers: Sequence[str]) -> Chip:
    """The chip without settings of layers that it does not have."""
    settings = {name: each.changes() for name, each in chip.layer.items() if name in layers}
    return chip if len(settings) == len(chip.layer) else chip.with_changes(layer=settings)

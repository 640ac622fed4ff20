"""A network on several chips of one kind, one part of neighbouring layers on each (`xbar.hw.chip.partition` tells where it is cut)."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import ceil
from typing import Any

import pandas as pd

from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import check_layers
from xbar.hw.chip.partition import Stages, partition
from xbar.hw.chip.placement import Placement, Replication, Sharing, asked, layer_geometry, packed_crossbars, place
from xbar.hw.chip.recurrence import own_needs
from xbar.hw.chip.widths import made_bits, width_read
from xbar.hw.display import Shown, si
from xbar.hw.graph.made import Carried
from xbar.hw.graph.network import MatrixLayer, Network
from xbar.hw.graph.part import crossing, parts
from xbar.hw.graph.split import Pieces, channels, shares, split, splittable


@dataclass(frozen=True, repr=False)
class ChipsPlacement(Shown):
    """A network on chips in a row: `chips` has the placement of each one's part, in the order of the network. pieces: of layers that are
    larger than a chip, and so stand in `network` as several (`xbar.hw.graph.split`), their names."""

    network: Network
    chips: tuple[Placement, ...]
    pieces: Mapping[str, Sequence[str]] = field(default_factory=dict)

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
            **({"in pieces": ", ".join(f"{name} in {len(each)}" for name, each in self.pieces.items())} if self.pieces else {}),
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
        """By chip: the bits a sample that it sends to other chips, each value once however many read it, as wide as the layer that makes
        it has it (`xbar.hw.chip.widths`)."""
        return tuple(self._made_bits(number, set(self.chip_of) - set(each.copies)) for number, each in enumerate(self.chips))

    def sent_past(self, chip: int) -> float:
        """Bits a sample that the chips up to this one send to those behind it, each value once however many read it."""
        behind = [name for name, number in self.chip_of.items() if number > chip]
        return sum(self._made_bits(number, behind) for number in range(chip + 1))

    def _made_bits(self, chip: int, readers: Collection[str]) -> float:
        """Bits a sample that a chip's layers make and any of these layers read."""
        on = self.chips[chip].chip
        return float(sum(each.values * made_bits(on, each.source) for each in self._crossing(readers) if self.chip_of[each.source] == chip))

    def _crossing(self, readers: Collection[str]) -> Iterator[Carried]:
        """What layers make that any of these layers read."""
        return (each for each in self.network.carried if each.source and not each.readers.isdisjoint(readers))

    @cached_property
    def received_bits(self) -> tuple[float, ...]:
        """By chip: the bits a sample that it receives from other chips, each value as wide as the widest of its layers reads it."""
        return tuple(
            float(sum(
                each.values * width_read(on.chip, on.network, each)
                for each in self._crossing(on.copies) if each.source not in on.copies
            ))
            for on in self.chips
        )  # fmt: skip

    def input_bits_past(self, chip: int) -> float:
        """Bits a sample of the network's own input that chips behind this one read, each value once, as wide as the widest reads it; no
        more values than the input has."""
        behind = {name for each in self.chips[chip + 1 :] for name in each.copies}
        found: list[tuple[float, int]] = []
        for value in (each for each in self.network.carried if not each.source and not each.readers.isdisjoint(behind)):
            found.append((value.values, max(width_read(on.chip, on.network, value) for on in self.chips[chip + 1 :])))
        total = sum(values for values, _ in found)
        return sum(values * width for values, width in found) * min(1.0, self.network.input_values / total) if total else 0.0

    def by_piece(self, values: Mapping[str, float]) -> dict[str, float]:
        """Values of whole layers as those of the pieces that they stand as, in proportion to the weights."""
        found = dict(values)
        for name in (name for name in self.pieces if name in found):
            whole, weights = found.pop(name), {piece: self.network.layer(piece).weights for piece in self.pieces[name]}
            found |= {piece: whole * each / sum(weights.values()) for piece, each in weights.items()}
        return found

    def by_table_piece(self, rows: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
        """Rows looked up in whole tables as those of the pieces that these stand as: all are asked for the same."""
        return {piece: each for name, each in rows.items() for piece in self.pieces.get(name, [name])}

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

    `xbar.hw.chip.partition` has the rule by which the network is cut. A layer that is larger than a chip stands as several, as few as fit a
    chip each: side by side, or, where a single output is larger than a chip, also one behind the other, each of part of the inputs; the
    placement's `network` and `pieces` tell. What is added up then travels as wide as between tiles, bits of a weight and an input together.
    Raises CapacityError where layers that can be neither parted nor cut into pieces do not fit a chip, or the network so few chips;
    ParameterError for more chips than the network has parts; and what `place` raises.
    """
    check_layers(chip.name, chip.layer, [layer.name for layer in network.layers])
    copies = asked(network, None if isinstance(replication, str) else replication)
    cuts = _pieces(network, chip, copies, sharing)
    names = {name: each.names(name) for name, each in cuts.items()}
    if cuts:
        network = split(network, cuts)
        chip = _with_settings(chip, {each: s.changes() for name, s in chip.layer.items() for each in names.get(name, [name])})
        copies = {each: count for name, count in copies.items() for each in names.get(name, [name])}
    if not isinstance(replication, str | None):
        replication = copies
    cut = partition(Stages(network, chip, replication, sharing), chips)
    placed = []
    for each in parts(network, cut):
        mine = [layer.name for layer in each.layers]
        given = replication if isinstance(replication, str | None) else {name: copies[name] for name in mine}
        settings = {name: chip.layer[name].changes() for name in mine if name in chip.layer}
        placed.append(place(each, _with_settings(chip, settings), given, sharing))
    return ChipsPlacement(network, tuple(placed), names)


def _pieces(network: Network, chip: Chip, copies: Mapping[str, int], sharing: Sharing) -> dict[str, Pieces]:
    """Of layers that do not fit a chip, the fewest pieces that do."""
    per_core = chip.structure.crossbars_per_core if sharing == "none" else 1

    def fits(layer: MatrixLayer, inputs: int, outputs: int) -> bool:
        read = layer.inputs // channels(layer) * shares(channels(layer), inputs)[0]
        piece = replace(layer, outputs=shares(layer.outputs, outputs)[0], inputs=read)
        crossbars = layer_geometry(chip, piece).crossbars
        if sharing == "crossbars" and copies[layer.name] * crossbars > chip.crossbars:
            return packed_crossbars(chip, [piece], copies) <= chip.crossbars
        return copies[layer.name] * ceil(crossbars / per_core) * per_core <= chip.crossbars

    found, in_turn = {}, own_needs(network)
    for layer in network.layers:
        if layer.name in in_turn or not splittable(layer) or fits(layer, 1, 1):
            continue
        own = chip.for_layer(layer.name)
        sum_width = 1 + own.weights.bits / own.inputs.bits
        best: Pieces | None = None
        for inputs in range(1, channels(layer) + 1):
            if best is not None and (best.inputs == 1 or inputs >= best.count):
                break
            if fits(layer, inputs, layer.outputs):
                outputs = bisect_left(range(1, layer.outputs + 1), True, key=partial(fits, layer, inputs)) + 1
                if best is None or outputs * inputs < best.count:
                    best = Pieces(outputs, inputs, sum_width)
        if best is not None:
            found[layer.name] = best
    return found


def _with_settings(chip: Chip, settings: Mapping[str, Mapping[str, Any]]) -> Chip:
    """The chip with these settings of layers; itself where it has them."""
    return chip if {*settings} == {*chip.layer} else chip.with_changes(layer=settings)

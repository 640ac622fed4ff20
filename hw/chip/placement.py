"""Which crossbars hold which layer, and copies to balance the pipeline.

Copies are placed one after the other, in the order of the network, on the cores of the chip in order: neighbours in the network
are neighbours on the chip. With `strips`, strip by strip: copy i of n belongs to strip floor((i + 1/2) strips / n), and within a strip
copies come in the order of the network. Copies take a layer's picture side by side (`xbar.hw.chip.copies`), so what makes and what reads
one part of a picture then lies together, and many copies of one layer do not all send from the same few tiles. Within a copy, crossbars
run over groups, then column tiles, then row tiles, then planes, so that what is added up lies close together. What copies share
(`Sharing`):

- "none": nothing. A core belongs to one copy of one layer, so its converters are shared only within that copy;
- "cores": a copy begins on the crossbar after the last one of the copy before, and the core between them has crossbars of both, with
  what a core has one of. A converter to which crossbars of several copies are wired serves one vector at a time
  (`xbar.hw.events.simulator`); the input register gives every crossbar of its core a part of its time;
- "crossbars": crossbars too. Blocks of several copies that do not fill one lie beside each other on it
  (`xbar.hw.chip.packing`), on as few crossbars as were found; no two of one copy, whose crossbars are read at once. Such a crossbar is read
  for one copy after the other, as its converters serve; cells of others on the wordlines that a copy drives draw current meanwhile,
  which is in the energy of its reads where that is not taken from the copy's own cells. Needs ideal wires, over which columns of
  others carry nothing. Copies do not lie together;
- "as_needed", the default: nothing where that has room for the copies asked for (of "balance", one of each layer), else cores.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from math import ceil, inf
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from xbar.hw.array.diagonal import off_diagonal_cells, weight_cells
from xbar.hw.array.geometry import Geometry
from xbar.hw.chip.components import ACTIONS
from xbar.hw.chip.copies import Deal
from xbar.hw.chip.cycle import clock_ticks, port_time, read_cycle, units_time
from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import check_layers
from xbar.hw.chip.packing import Block, least, pack, used
from xbar.hw.chip.recurrence import most_at_once, own_needs
from xbar.hw.chip.widths import bits_in, bits_out, made_bits, read_bits
from xbar.hw.display import Shown
from xbar.hw.errors import CapacityError, MissingComponentError, ParameterError
from xbar.hw.graph.network import MatrixLayer, Network

Replication = Literal["balance"] | Mapping[str, int] | None
Sharing = Literal["as_needed", "none", "cores", "crossbars"]


@dataclass(frozen=True)
class LayerCopy:
    """One copy of a layer; rank is its order on the chip. slots: of each of its crossbars, the number of the chip's that it is, of
    which cores have `per_core` each. corners: the first wordline and bitline that its block has of each, where others lie beside it; None:
    0 of all."""

    layer: str
    index: int
    rank: int
    slots: Sequence[int]
    per_core: int
    corners: Sequence[tuple[int, int]] | None = None

    @property
    def crossbars(self) -> int:
        """Crossbars that it lies on."""
        return len(self.slots)

    @property
    def in_cores(self) -> Counter[int]:
        """Cores that it lies on, with its crossbars there."""
        return Counter(slot // self.per_core for slot in self.slots)

    @property
    def cores(self) -> int:
        """Cores that it lies on, alone or with others."""
        return len(self.in_cores)

    @property
    def first_core(self) -> int:
        """The first of its cores."""
        return min(self.slots) // self.per_core


class Crossbar(NamedTuple):
    """One crossbar of a layer copy: where it is, which part of the matrix it holds."""

    core: int  # of the chip
    tile: int  # of the chip
    slot: int  # within the core
    group: int
    row_tile: int
    column_tile: int
    rows: int  # wordlines driven
    bitlines: int  # sampled per slice
    conversions: int  # per slice; 0 where its bitlines are subtracted before the ADCs of the crossbar before it
    off_diagonal: int = 0  # of rows x bitlines, cells where wordlines of one group cross bitlines of another
    first_row: int = 0  # of the block, where it shares the crossbar
    first_bitline: int = 0
    beside: float = 0  # cells of other copies' blocks on the driven wordlines


Shared = Literal["none", "cores", "crossbars"]


@dataclass(frozen=True, repr=False)
class Placement(Shown):
    """A network on a chip: copies of its layers in order of placement. sharing: what copies share."""

    chip: Chip
    network: Network
    copies: dict[str, tuple[LayerCopy, ...]]
    sharing: Shared = "none"

    def geometry(self, layer: str) -> Geometry:
        """How the layer's matrix is cut."""
        return layer_geometry(self.chip, self.network.layer(layer))

    @cached_property
    def deals(self) -> dict[str, Deal]:
        """How each layer's vectors are dealt to its copies."""
        in_turn = own_needs(self.network)
        return {
            layer.name: Deal.of(layer, len(self.copies[layer.name]), layer.name in in_turn) for layer in self.network.layers
        }

    @property
    def cores_used(self) -> int:
        """Cores that hold something."""
        return len(self._in_cores)

    @cached_property
    def _in_cores(self) -> Counter[int]:
        """Cores that hold something, with the crossbars there that do."""
        found: Counter[int] = Counter()
        for copies in self.copies.values():
            for copy in copies:
                found.update(copy.in_cores)
        return found

    @property
    def cores_shared(self) -> int:
        """Cores on which crossbars of several copies lie."""
        found = Counter(core for copies in self.copies.values() for copy in copies for core in copy.in_cores)
        return sum(count > 1 for count in found.values())

    def core_shares(self, layer: str) -> dict[int, float]:
        """Of each core that copies of a layer lie on, the share of its crossbars in use that are theirs."""
        mine: Counter[int] = Counter()
        for copy in self.copies[layer]:
            mine.update(copy.in_cores)
        return {core: crossbars / self._in_cores[core] for core, crossbars in mine.items()}

    @cached_property
    def bits_in(self) -> float:
        """Bits per sample that come over the chip's links."""
        return bits_in(self.chip, self.network)

    @cached_property
    def bits_out(self) -> float:
        """Bits per sample that leave over them."""
        return bits_out(self.chip, self.network)

    @property
    def crossbars_used(self) -> int:
        """Crossbars that hold something."""
        return len({slot for copies in self.copies.values() for copy in copies for slot in copy.slots})

    @property
    def crossbars_for_weights(self) -> int:
        """Crossbars that would do if each had a weight or a reference in all of its cells."""
        cells = sum(weight_cells(self.geometry(layer)) * len(copies) for layer, copies in self.copies.items())
        return ceil(cells / (self.chip.structure.wordlines * self.chip.structure.bitlines))

    @cached_property
    def crossbars_at_least(self) -> int:
        """Crossbars below which no placement of the blocks goes into which matrices are cut."""
        structure = self.chip.structure
        planes = max(self.geometry(layer).planes for layer in self.copies)
        return planes * least(_blocks(self.chip, self.network.layers, self.copies), structure.wordlines, structure.bitlines)

    def _title(self) -> str:
        return f"Placement of {len(self.copies)} layer{'' if len(self.copies) == 1 else 's'} on {self.chip.title}"

    def _numbers(self) -> dict[str, str]:
        copies, chip = sum(map(len, self.copies.values())), self.chip
        shared = f", {self.cores_shared:,} of them shared" if self.cores_shared else ""
        return {
            "copies": f"{copies:,}", "cores": f"{self.cores_used:,} of {chip.cores:,}{shared}",
            "crossbars": f"{self.crossbars_used:,} of {chip.crossbars:,} ({self.crossbars_used / chip.crossbars:.1%})",
            "cells in use": f"{self.cells_share(*self.copies):.1%} of theirs",
            **self._fewest(),
        }  # fmt: skip

    def _fewest(self) -> dict[str, str]:
        """What crossbars that layers share are to be held against."""
        if self.sharing != "crossbars":
            return {}
        return {"at least": f"{self.crossbars_at_least:,} for blocks as they are cut, {self.crossbars_for_weights:,} for weights alone"}

    def cells_share(self, *layers: str) -> float:
        """Share of the cells of the crossbars that these layers lie on, alone or with others, that hold their weights or references."""
        slots = {slot for layer in layers for copy in self.copies[layer] for slot in copy.slots}
        cells = sum(weight_cells(self.geometry(layer)) * len(self.copies[layer]) for layer in layers)
        return cells / (len(slots) * self.chip.structure.wordlines * self.chip.structure.bitlines)

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({
            layer: {
                "copies": f"{len(copies):,}", "cores": f"{sum(copy.cores for copy in copies):,}",
                "crossbars": f"{sum(copy.crossbars for copy in copies):,}", "cells in use": f"{self.cells_share(layer):.1%}",
            }
            for layer, copies in self.copies.items()
        }).T  # fmt: skip

    def crossbars_of(self, copy: LayerCopy) -> list[Crossbar]:
        """Every crossbar of a layer copy in the order of its slots."""
        found = crossbars_at(self.chip, self.geometry(copy.layer), copy.slots, copy.corners)
        if copy.corners is None:
            return found
        return [
            x._replace(beside=float(sum(_overlap(x, other) * other.bitlines for rank, other in self._on[slot] if rank != copy.rank)))
            for slot, x in zip(copy.slots, found, strict=True)
        ]

    @cached_property
    def _on(self) -> dict[int, list[tuple[int, Crossbar]]]:
        """By number of the chip's crossbar: what lies on it, of which copy."""
        found: dict[int, list[tuple[int, Crossbar]]] = defaultdict(list)
        for copy in (copy for copies in self.copies.values() for copy in copies):
            for slot, x in zip(copy.slots, crossbars_at(self.chip, self.geometry(copy.layer), copy.slots, copy.corners), strict=True):
                found[slot].append((copy.rank, x))
        return found


def _overlap(one: Crossbar, other: Crossbar) -> int:
    """Wordlines that both lie on."""
    return max(0, min(one.first_row + one.rows, other.first_row + other.rows) - max(one.first_row, other.first_row))


def crossbars_at(
    chip: Chip, geometry: Geometry, slots: Sequence[int], corners: Sequence[tuple[int, int]] | None = None
) -> list[Crossbar]:
    """The crossbars of a matrix, in their order, on those of the chip with these numbers, from those corners on."""
    structure, found, numbers, at = chip.structure, [], iter(slots), iter(corners or repeat((0, 0)))
    per_core, per_tile, converted = structure.crossbars_per_core, structure.cores_per_tile, geometry.converted_planes
    for group in range(geometry.groups):
        rows = [geometry.rows_of(row_tile, group) for row_tile in range(geometry.row_tiles)]
        off_diagonal = off_diagonal_cells(geometry, group)
        for column_tile in range(geometry.column_tiles):
            bitlines, conversions = geometry.bitlines_of(column_tile, group), geometry.conversions_of(column_tile, group)
            for row_tile in range(geometry.row_tiles):
                for plane in range(geometry.planes):
                    core, slot = divmod(next(numbers), per_core)
                    found.append(Crossbar(
                        core, core // per_tile, slot, group, row_tile, column_tile, rows[row_tile], bitlines,
                        conversions if plane < converted else 0, off_diagonal, *next(at),
                    ))  # fmt: skip
    return found


def layer_geometry(chip: Chip, layer: MatrixLayer) -> Geometry:
    """How a traced layer's matrix is cut on the chip's crossbars."""
    return chip.for_layer(layer.name).geometry(layer.outputs, layer.inputs, layer.groups, layer.bias)


def slices_of(chip: Chip, layer: MatrixLayer) -> int:
    """Input slices that one vector of a layer drives, over all its passes; a look-up drives one."""
    own = chip.for_layer(layer.name)
    return 1 if layer.lookup else own.input_slices * own.passes(layer.signed_input)


def place(
    network: Network, chip: Chip, replication: Replication = "balance", sharing: Sharing = "as_needed", strips: int = 1
) -> Placement:
    """Put every layer of `network` on crossbars of `chip`.

    replication: "balance" spends free crossbars on copies of whichever layer takes longest per sample; None makes
    one copy each; a mapping gives the copies by layer name (1 where it is silent). sharing: what copies share, see above; that of the
    placement tells what became of "as_needed". With "crossbars", free are those that are left without sharing them. strips: in how many
    copies come, see above. Raises CapacityError by how many crossbars the chip is too small, MissingComponentError where layers need a
    digital unit that its tiles lack, ParameterError for a wrong mapping, strips below 1 or of copies that do not lie together, or wires
    that sharing does not cover, UnknownLayerError where the chip has settings for other layers, TraceError for layers that wait for each
    other without end.
    """
    check_layers(chip.name, chip.layer, [layer.name for layer in network.layers])
    _check_units(network, chip)
    if not isinstance(strips, int | np.integer) or isinstance(strips, bool) or strips < 1:
        raise ParameterError(f"strips must be a whole number of at least 1, got {strips!r}")
    own = own_needs(network)
    per_core = chip.structure.crossbars_per_core
    alone = {layer.name: layer_geometry(chip, layer).crossbars for layer in network.layers}
    whole = {name: ceil(crossbars / per_core) * per_core for name, crossbars in alone.items()}
    copies = dict.fromkeys(alone, 1) if replication == "balance" else asked(network, replication)
    shared = _shared(chip, sharing, whole, alone, copies)
    taken = whole if shared == "none" else alone
    if replication == "balance" and sum(taken.values()) <= chip.crossbars:
        copies = _balance(network, chip, taken, own)
    if shared == "crossbars":
        if strips > 1:
            raise ParameterError(f"strips = {strips}: with sharing = crossbars copies lie wherever there is room")
        return _packed(network, chip, copies)
    placed: dict[str, dict[int, LayerCopy]] = {name: {} for name in copies}
    next_slot = 0
    for rank, (name, index) in enumerate(order(copies, strips)):
        placed[name][index] = LayerCopy(name, index, rank, range(next_slot, next_slot + alone[name]), per_core)
        next_slot += taken[name]
    return Placement(chip, network, {name: tuple(found[k] for k in range(len(found))) for name, found in placed.items()}, shared)


def order(copies: Mapping[str, int], strips: int) -> list[tuple[str, int]]:
    """Layer and index of every copy in the order of placement: so many copies of each layer, in the order of the network, in so many
    strips."""
    every = [(name, index) for name, count in copies.items() for index in range(count)]
    return sorted(every, key=lambda copy: (2 * copy[1] + 1) * strips // (2 * copies[copy[0]]))


def _check_units(network: Network, chip: Chip) -> None:
    """Raise MissingComponentError unless the chip has every digital unit that a layer needs."""
    lacking = [
        (layer.name, unit, count)
        for layer in network.layers
        for unit, count in layer.digital.items()
        if count and unit not in chip.costs
    ]
    if lacking:
        raise MissingComponentError(chip.name, [(layer, unit, f"{count:g} {ACTIONS[unit]}") for layer, unit, count in lacking])


def _shared(
    chip: Chip, sharing: Sharing, whole: dict[str, int], alone: dict[str, int], copies: dict[str, int]
) -> Shared:
    """What so many copies share, that take these crossbars each in whole cores and without the rest of the last; raises CapacityError
    where the chip has too few."""
    if sharing not in get_args(Sharing):
        raise ParameterError(f"sharing must be {', '.join(get_args(Sharing))}, got {sharing!r}")
    in_whole, without = (sum(each[name] * copies[name] for name in copies) for each in (whole, alone))
    if sharing == "crossbars":
        if not chip.wires.ideal:
            raise ParameterError("sharing = crossbars needs ideal wires: what blocks on one crossbar take of each other is not modelled")
        return sharing
    if sharing == "as_needed":
        sharing = "cores" if without <= chip.crossbars < in_whole else "none"
    taken, needed = (whole, in_whole) if sharing == "none" else (alone, without)
    if needed <= chip.crossbars:
        return sharing
    largest = max(taken, key=lambda name: taken[name] * copies[name])
    fewer = f"; {without} where layers share cores" if without < in_whole else ""
    told = f"in whole cores of {chip.structure.crossbars_per_core}{fewer}" if sharing == "none" else "where layers share cores"
    raise CapacityError(
        f"chip {chip.name} is too small by {needed - chip.crossbars} crossbars: the network needs {needed} "
        f"({told}), the chip has {chip.crossbars}; the largest layer, {largest}, takes {taken[largest] * copies[largest]}",
        needed, chip.crossbars,
    )  # fmt: skip


def _blocks(chip: Chip, layers: Sequence[MatrixLayer], copies: Mapping[str, Sequence[LayerCopy]]) -> list[Block]:
    """What each copy holds on each of its crossbars, in their order; of those that hold a block together the first."""
    found = []
    for layer in layers:
        geometry = layer_geometry(chip, layer)
        each = crossbars_at(chip, geometry, range(geometry.crossbars))[:: geometry.planes]
        found += [Block(copy.rank, x.rows, x.bitlines) for copy in copies[layer.name] for x in each]
    return found


def _packed(network: Network, chip: Chip, copies: Mapping[str, int]) -> Placement:
    """So many copies on as few crossbars as were found, in the order in which the network first needs them; raises CapacityError."""
    structure, unplaced = chip.structure, _unplaced(chip, network.layers, copies)
    planes = layer_geometry(chip, network.layers[0]).planes
    spots = pack(_blocks(chip, network.layers, unplaced), structure.wordlines, structure.bitlines)
    number = {crossbar: k for k, crossbar in enumerate(dict.fromkeys(spot.crossbar for spot in spots))}
    needed = planes * len(number)
    if needed > chip.crossbars:
        raise CapacityError(
            f"chip {chip.name} is too small by {needed - chip.crossbars} crossbars: the network needs {needed} (where layers share "
            f"crossbars), the chip has {chip.crossbars}",
            needed, chip.crossbars,
        )  # fmt: skip
    found, placed = iter(spots), {}
    for layer in network.layers:
        blocks = layer_geometry(chip, layer).crossbars // planes
        group = []
        for copy in unplaced[layer.name]:
            mine = [next(found) for _ in range(blocks)]
            slots = tuple(number[spot.crossbar] * planes + plane for spot in mine for plane in range(planes))
            group.append(replace(copy, slots=slots, corners=tuple((spot.row, spot.column) for spot in mine for _ in range(planes))))
        placed[layer.name] = tuple(group)
    return Placement(chip, network, placed, "crossbars")


def _unplaced(chip: Chip, layers: Sequence[MatrixLayer], copies: Mapping[str, int]) -> dict[str, tuple[LayerCopy, ...]]:
    """So many copies of each layer, on no crossbars yet."""
    ranks, per_core = iter(range(sum(copies[layer.name] for layer in layers))), chip.structure.crossbars_per_core
    return {layer.name: tuple(LayerCopy(layer.name, k, next(ranks), (), per_core) for k in range(copies[layer.name])) for layer in layers}


def packed_crossbars(chip: Chip, layers: Sequence[MatrixLayer], copies: Mapping[str, int]) -> int:
    """Crossbars that so many copies of these layers take where they share them: as many as `place` finds with "crossbars", or more than
    the chip has where no packing takes as few."""
    structure, planes = chip.structure, layer_geometry(chip, layers[0]).planes
    blocks, size = _blocks(chip, layers, _unplaced(chip, layers, copies)), (structure.wordlines, structure.bitlines)
    bound = planes * least(blocks, *size)
    return bound if bound > chip.crossbars else planes * used(pack(blocks, *size))


def asked(network: Network, replication: Mapping[str, int] | None) -> dict[str, int]:
    """The copies of each layer that a mapping asks for, 1 where it is silent; raises ParameterError for a wrong one."""
    copies = {layer.name: 1 for layer in network.layers}
    if not isinstance(replication, Mapping | None):
        raise ParameterError(f'replication must be "balance", None or numbers of copies by layer, got {replication!r}')
    for name, count in (replication or {}).items():
        if name not in copies:
            raise ParameterError(f"replication: no layer {name!r}; layers: {', '.join(copies)}")
        if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < 1:
            raise ParameterError(f"replication of {name} must be a whole number of at least 1, got {count!r}")
        copies[name] = int(count)
    return copies


def _balance(network: Network, chip: Chip, taken: dict[str, int], own: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Copies, of which one takes so many crossbars, by the greedy rule of ISAAC (ISCA 2016, section on balanced pipelines): as long as
    crossbars are free, more copies for the layer that takes longest per sample, as many as make its largest block smaller; never more
    copies than vectors, nor, of a layer that waits for its own results, than can be ready at once."""
    free = chip.crossbars - sum(taken.values())
    cycles = [vector_time(chip, layer, taken[layer.name]) for layer in network.layers]
    limit = [most_at_once(own[x.name]) if x.name in own else x.vectors for x in network.layers]
    deals = [Deal(layer.vectors, 1) for layer in network.layers]
    while True:
        bottleneck = int(np.argmax([deal.longest * cycle for deal, cycle in zip(deals, cycles, strict=True)]))
        deal = deals[bottleneck]
        more = deal.next_that_helps() - deal.copies
        cost = more * taken[network.layers[bottleneck].name]
        if not more or cost > free or deal.copies + more > limit[bottleneck]:
            return {layer.name: deal.copies for layer, deal in zip(network.layers, deals, strict=True)}
        deals[bottleneck] = Deal(deal.vectors, deal.copies + more)
        free -= cost


def vector_time(chip: Chip, layer: MatrixLayer, taken: int | None = None, copies: int | None = None) -> int:
    """Time [fs] that one copy of the layer takes for a vector when it has all inputs, as estimated: the longest of its slice loop and of
    the stages that copies on one tile share, each for as many copies of the layer as find room there, of `taken` crossbars each (None:
    whole cores), or for `copies` where there are fewer (None: not known): reading inputs from the tile's buffer, its digital units, and
    sending the results once.

    What is not in it depends on where layers lie: arriving values, results that go to several tiles, what cores are shared with, and
    copies of other layers on the tile. Where fewer copies come to lie on a tile than find room, as when copies are yet to be balanced,
    stages other than the slice loop come out too long, up to as many times as copies find room.
    """
    own, geometry = chip.for_layer(layer.name), layer_geometry(chip, layer)
    crossbars = crossbars_at(chip, geometry, range(geometry.crossbars))
    if layer.lookup:  # one row tile works at a time
        crossbars = [x._replace(rows=geometry.wordlines_per_input) for x in crossbars if x.row_tile == 0]
    cycle = read_cycle(chip, layer, crossbars).busy
    per_core = chip.structure.crossbars_per_core
    taken = taken or ceil(geometry.crossbars / per_core) * per_core
    beside = max(1.0, min(chip.structure.cores_per_tile * per_core / taken, inf if copies is None else copies))
    inputs: dict[int, float] = defaultdict(float)  # by tile, each row tile once a core
    for (_, group, row_tile), tile in {(x.core, x.group, x.row_tile): x.tile for x in crossbars}.items():
        inputs[tile] += read_bits(chip, layer) * (1 if layer.lookup else geometry.values_of(row_tile, group))
    outputs: dict[int, float] = defaultdict(float)  # by tile
    for x in crossbars:
        outputs[x.tile] += geometry.outputs_of(x.column_tile, x.group) if x.conversions else 0
    home = {(x.group, x.column_tile): x for x in crossbars}  # the last of each block
    finished: dict[int, int] = defaultdict(int)
    for x in home.values():
        finished[x.tile] += geometry.outputs_of(x.column_tile, x.group)
    stages = [beside * port_time(chip, bits) for bits in inputs.values()]
    for tile, additions in outputs.items():
        share = finished[tile] / (layer.groups * layer.outputs) / layer.vectors
        work = {name: count * share for name, count in layer.digital.items()}
        work["accumulator"] = work["tile_register"] = work.get("accumulator", 0.0) + additions
        sent = clock_ticks(finished[tile] * made_bits(chip, layer.name), chip.timing.flit_width, chip.timing.tile_clock)
        stages += [beside * units_time(own, work), beside * sent]
    return round(max(cycle, *stages))

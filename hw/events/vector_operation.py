"""What one vector operation of a layer copy does: its actions by stage, and how long each stage holds what.

Everything here follows from the placement and is computed once; the simulation only adds when. Stages:

- load: every core of the copy reads its inputs from its tile's buffer over the tile's bus into its input register;
- compute: DAC drives, array reads, sample-and-hold, ADC conversions, shift-and-add, slice after slice (`xbar.hw.chip.cycle`);
- drain: partial sums of a block meet on the tile of the block's last crossbar, where the tile's digital units follow
  (activation, pooling, additions, multiplications, products of two activations: `MatrixLayer.digital`), side by side;
  results travel over the mesh (`xbar.hw.events.mesh`) to the tiles that read them and are written to their buffers.

Conventions (ours, where the sources are silent): a result travels once to every tile that holds rows for it in a copy that reads it,
whichever layers do (`xbar.hw.events.destinations`), in one packet a vector and tile, and lies in the tile's buffer once; partial sums are
as wide as weight and input together; the buffer port time of writing results is paid with the reader's load, in equal parts where several
layers read them there, of the network's results and of operands with the drain that makes or reads them; per-sample digital work is
spread evenly over the layer's vectors. Each addition and each element-wise multiplication reads one operand back from the buffer. The
product unit works on square blocks of results, as many as it has units, so that each operand read serves a row or column of them: 2 /
sqrt(units) operands a multiply-accumulate.

What the host computes is not on the chip: only its values cross the links, what it takes out with the sample's results, read from
the buffers where it is made, what it gives in with the sample, to the layers that read it; of the network's inputs and results
those that the host alone reads and makes do not.
Without off-chip transfers there are none of these either. How long the host takes is not modelled.

A look-up has the same stages, with the crossbars of its row tile alone: its index, of as many bits as tell the rows of
the table apart, goes to the tiles of the chip that hold the row tile, each core there reads it once, one input's wordlines
are driven in one slice, and there are no partial sums of other row tiles. What samples and results cost on the way to and
from a table (routers, links) is that of the mean row, as of rows looked up alike often.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import ceil, sqrt

import torch

from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.geometry import Geometry
from xbar.hw.array.mapping import map_integers
from xbar.hw.chip.cycle import (
    ReadCycle,
    adc_of,
    conversion_time,
    port_time,
    read_cycle,
    ticks,
    units_times,
)  # fmt: skip
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Crossbar, LayerCopy, Placement, slices_of
from xbar.hw.chip.widths import made_bits
from xbar.hw.events.destinations import Copies, Destinations, Parts, blocks
from xbar.hw.events.mesh import EDGE, Mesh, Shipment
from xbar.hw.graph.network import DIGITAL, MatrixLayer

Actions = dict[str, float]  # component -> actions
Unit = tuple[int, int]  # (core, ADC of it, or the first of several)


@dataclass(frozen=True)
class VectorOperation:
    """Actions of one vector by stage, and the times [fs] of each stage; ports are held per tile.

    load_ports: the buffer ports while inputs are read; partial_ports: output
    stages of tiles that add up partial sums and send them on, in `gather`; output_ports: those of tiles that finish
    results; buffer_ports: the buffer ports meanwhile. longest: of each tile's output stage, the unit that takes longest. made: the share
    of the vector's results that each tile finishes.
    drain: what sending results adds is apart (`VectorOperations.sending`). shares: of a component's action at the chip's average inputs,
    what one of this operation takes: of array reads `filled_share`, of drives what inputs tell (`Chip.shares_of_mean`).
    """

    load_ports: dict[int, int]
    cycle: ReadCycle
    shares: Mapping[str, float]
    partial_ports: dict[int, int]
    gather: Shipment
    output_ports: dict[int, int]
    buffer_ports: dict[int, int]
    longest: dict[int, str]
    made: dict[int, float]
    load: Actions
    compute: Actions
    drain: Actions

    def held(self, copy: str) -> dict[str, int]:
        """How long one vector holds each unit that bounds time [fs]; copy: as the copy's units are called, by layer and number."""
        cycle, found = self.cycle, defaultdict[str, int](int)
        found[f"arrays of {copy}"] = cycle.slices * cycle.read
        found[f"busiest ADC of {copy}"] = cycle.slices * cycle.conversion
        for holds, port in (
            (self.load_ports, "buffer port"), (self.buffer_ports, "buffer port"),
            (self.partial_ports, "output stage"), (self.output_ports, "output stage"),
        ):  # fmt: skip
            for tile, hold in holds.items():
                found[f"{port} of tile {tile}"] += hold
        return found


@dataclass(frozen=True)
class Transfer:
    """One sample in, or one result out, over the chip's links: hold of the links [fs], what travels on the mesh, and buffer
    ports held [fs] by tile."""

    hold: int
    shipment: Shipment
    buffer_ports: dict[int, int]
    actions: Actions


class VectorOperations:
    """The vector operation of every layer copy of a placement, and the transfers at its edges.

    Without `off_chip_io` samples lie in the buffers of the layers that read them, and results stay.
    """

    def __init__(self, placement: Placement, off_chip_io: bool):
        self.off_chip_io = off_chip_io
        self.placement, self.chip, self.network = placement, placement.chip, placement.network
        self.mesh = Mesh(self.chip)
        self.crossbars = {
            copy.rank: placement.crossbars_of(copy) for copies in placement.copies.values() for copy in copies
        }
        self._read: dict[int, dict[int, list[Crossbar]]] = {}  # of tables, by rank and row tile
        self.tiles = {rank: sorted({x.tile for x in crossbars}) for rank, crossbars in self.crossbars.items()}
        self.destinations = Destinations(placement, self.crossbars)

    def row_tiles(self, layer: MatrixLayer) -> range:
        """The row tiles whose vectors differ: all of a table, one for all of another layer."""
        return range(self.placement.geometry(layer.name).row_tiles if layer.lookup else 1)

    def read_by(self, copy: LayerCopy, row_tile: int = 0) -> list[Crossbar]:
        """The crossbars of the copy that one of its vectors reads: all, or of a look-up those of a row in `row_tile`, and
        then `rows` are the wordlines of one input."""
        if not self.network.layer(copy.layer).lookup:
            return self.crossbars[copy.rank]
        if copy.rank not in self._read:
            driven = self.placement.geometry(copy.layer).wordlines_per_input
            by_tile: dict[int, list[Crossbar]] = defaultdict(list)
            for crossbar in self.crossbars[copy.rank]:
                beside = crossbar.beside * driven / crossbar.rows  # on the mean row
                by_tile[crossbar.row_tile].append(crossbar._replace(rows=driven, beside=beside))
            self._read[copy.rank] = dict(by_tile)
        return self._read[copy.rank][row_tile]

    def chip_of(self, layer: str) -> Chip:
        """The chip as a layer finds it, with the layer's own bits and ranges."""
        return self.chip.for_layer(layer)

    def _bits_of(self, layer: str) -> int:
        """Bits of a value that a layer reads or makes."""
        return made_bits(self.chip, layer)

    # ---- one copy

    def of(self, copy: LayerCopy, row_tile: int = 0) -> VectorOperation:
        """The vector operation of a layer copy; row_tile: of a look-up, where its row lies."""
        layer, geometry = self.network.layer(copy.layer), self.placement.geometry(copy.layer)
        crossbars, bits = self.read_by(copy, row_tile), self.core_bits(copy, row_tile)
        ports = {tile: self.port_time(written) for tile, written in self.written_bits(copy, row_tile).items()}
        for core, count in bits.items():
            ports[core // self.chip.structure.cores_per_tile] += self.port_time(count)
        shares = self.chip.shares_of_mean(layer.signed_input, layer.lookup)
        return VectorOperation(
            ports, read_cycle(self.chip, layer, crossbars, self._beside(copy)),
            {**shares, "crossbar": shares["crossbar"] * filled_share(self.chip_of(layer.name), crossbars)},
            *self._drain(layer, geometry, crossbars, {"buffer": sum(bits.values()), "bus": sum(bits.values())}),
        )  # fmt: skip

    # ---- what copies share

    def units_of(self, copy: LayerCopy, row_tile: int = 0) -> frozenset[Unit]:
        """Converters that crossbars of several copies are wired to and a vector of this one needs: it has them from its first read to its
        last conversion."""
        return frozenset(self._units(self.read_by(copy, row_tile))) & self._shared if self._shared else frozenset()

    def _units(self, crossbars: list[Crossbar]) -> set[Unit]:
        return {(x.core, self.adc_of(x)) for x in crossbars}

    @cached_property
    def _shared(self) -> frozenset[Unit]:
        """Converters that several copies need."""
        if self.placement.sharing == "none":
            return frozenset()
        found = Counter(unit for crossbars in self.crossbars.values() for unit in self._units(crossbars))
        return frozenset(unit for unit, copies in found.items() if copies > 1)

    @cached_property
    def _driven(self) -> dict[int, dict[int, list[tuple[int, int]]]]:
        """By core and its crossbar: ranks of the copies on it, with the wordlines of it that a vector of each drives."""
        found: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for copy in (copy for copies in self.placement.copies.values() for copy in copies):
            for row_tile in self.row_tiles(self.network.layer(copy.layer)):
                for crossbar in self.read_by(copy, row_tile):
                    found[crossbar.core][crossbar.slot].append((copy.rank, crossbar.rows))
        return found

    def _beside(self, copy: LayerCopy) -> dict[int, int]:
        """By core of a copy: wordlines that others may drive while it drives its own, because they need no converter that it needs."""
        if self.placement.sharing == "none":
            return {}
        mine = self._units(self.crossbars[copy.rank])
        meanwhile = cache(lambda rank: rank != copy.rank and not mine & self._units(self.crossbars[rank]))
        return {
            core: sum(max((rows for rank, rows in on if meanwhile(rank)), default=0) for on in self._driven[core].values())
            for core in copy.in_cores
        }

    def core_bits(self, copy: LayerCopy, row_tile: int = 0) -> dict[int, int]:
        """Input bits that each core of the copy reads per vector: each input of a row tile once per core, however many wordlines it drives,
        rows of biases not at all; of a look-up, its index."""
        layer = self.network.layer(copy.layer)
        if layer.lookup:
            return dict.fromkeys(sorted({x.core for x in self.read_by(copy, row_tile)}), layer.index_bits)
        geometry, width = self.placement.geometry(copy.layer), self._bits_of(copy.layer)
        values: dict[int, int] = defaultdict(int)
        for (core, _, _), rows in {(x.core, x.group, x.row_tile): x.rows for x in self.crossbars[copy.rank]}.items():
            values[core] += geometry.values_on(rows)
        return {core: count * width for core, count in values.items()}

    def port_time(self, bits: float) -> int:
        """Time [fs] that `bits` hold a tile's buffer port and bus."""
        return port_time(self.chip, bits)

    def adc_of(self, crossbar: Crossbar) -> int:
        """The ADC of its core (or the first of several) to which a crossbar's columns are wired."""
        return adc_of(self.chip, crossbar)

    def conversion_time(self, layer: str, crossbar: Crossbar) -> int:
        """Time [fs] of one slice's conversions of a layer's crossbar on its ADC, or on its several ADCs side by side."""
        return conversion_time(self.chip, layer, crossbar)

    def written_bits(self, copy: LayerCopy, row_tile: int = 0) -> dict[int, int]:
        """Bits written to each tile's buffer per vector of the copy, before it can be read."""
        layer = self.network.layer(copy.layer)
        if layer.lookup:
            due, whole = self._writes[copy.layer, False]
            tiles = sorted({x.tile for x in self.read_by(copy, row_tile)})
            mine = {tile: due[tile] / whole[tile] if whole.get(tile) else 1.0 for tile in tiles}  # of indices that no flow brings, all
            return {tile: ceil(round(layer.index_bits * share, 6)) if self.off_chip_io else 0 for tile, share in mine.items()}
        deal, copies = self.placement.deals[copy.layer], self.placement.copies[copy.layer]
        written = {}
        for tile in self.tiles[copy.rank]:
            loads = sum(deal.share(other.index) for other in copies if tile in self.tiles[other.rank])
            bits = sum(self._writes[copy.layer, addend][0].get(tile, 0.0) for addend in (False, True))
            written[tile] = ceil(round(bits / loads, 6)) if loads else 0
        return written

    @cached_property
    def _writes(self) -> dict[tuple[str, bool], tuple[dict[int, float], dict[int, float]]]:
        """By reader, and whether it adds them up: bits of a sample written to each tile that it answers for, an equal part of those that
        several read there; and all that it reads there."""
        found: dict[tuple[str, bool], tuple[dict[int, float], dict[int, float]]] = {
            (name, addend): (defaultdict(float), defaultdict(float)) for name in self.placement.copies for addend in (False, True)
        }
        for source in self.sources:
            flows = self.destinations.flows_from[source]
            for tile, held in self.destinations.arriving(source).items():
                for readers, bits in held.items():
                    for place in readers:
                        due, whole = found[flows[place].target, flows[place].addend]
                        due[tile] += bits / len(readers)
                        whole[tile] += bits
        return found

    @property
    def sources(self) -> list[str]:
        """Where values come from that are written to buffers: the layers, and, with off-chip transfers, "" of the network's input."""
        return [source for source in self.destinations.flows_from if source or self.off_chip_io]

    def _drain(
        self, layer: MatrixLayer, geometry: Geometry, crossbars: list[Crossbar], load: Actions
    ) -> tuple[
        dict[int, int], Shipment, dict[int, int], dict[int, int], dict[int, str], dict[int, float], Actions, Actions, Actions
    ]:  # fmt: skip
        """What follows the conversions: partial_ports, gather, output_ports, buffer_ports, longest, made; and load, compute, drain."""
        chip, actions = self.chip_of(layer.name), Actions()
        digital = {name: layer.digital.get(name, 0.0) for name in DIGITAL}
        additions: dict[int, float] = defaultdict(float)  # by tile
        finished: dict[int, int] = defaultdict(int)  # outputs, by tile
        partial: dict[int, dict[int, dict[object, float]]] = defaultdict(lambda: defaultdict(dict))
        for key, block in blocks(crossbars).items():
            outputs = geometry.outputs_of(block[0].column_tile, block[0].group)
            home = block[-1].tile
            finished[home] += outputs
            for crossbar in block:
                additions[crossbar.tile] += outputs if crossbar.conversions else 0
            for tile in {crossbar.tile for crossbar in block} - {home}:
                additions[home] += outputs
                partial[tile][home][key, tile] = outputs * (chip.weights.bits + chip.inputs.bits)
        gather = self.mesh.shipment(partial)
        total = layer.groups * layer.outputs
        made = {tile: outputs / total for tile, outputs in finished.items()}
        operands = self._operands(digital) * chip.inputs.bits / layer.vectors
        results = self.network.outputs.get(layer.name, 0.0) / layer.vectors * chip.inputs.bits
        stage_ports, buffer_ports, longest = {}, {}, {}
        for tile in additions:
            share = made.get(tile, 0.0)  # of the vector's results
            additions[tile] += digital["accumulator"] * share / layer.vectors
            work = {name: count * share / layer.vectors for name, count in digital.items()}
            times = units_times(chip, work | {"accumulator": additions[tile], "tile_register": additions[tile]})
            stage_ports[tile] = max(times.values(), default=0)
            if times:
                longest[tile] = max(times, key=lambda name: times[name])
            if (operands + results) * share:
                buffer_ports[tile] = self.port_time((operands + results) * share)
        actions |= {name: count / layer.vectors for name, count in digital.items()}
        actions["accumulator"] = actions["tile_register"] = sum(additions.values())
        actions["buffer"] = actions["bus"] = operands + results * sum(made.values())
        actions.update(self._sent(gather))
        partial_ports = {tile: hold for tile, hold in stage_ports.items() if tile not in made}
        output_ports = {tile: hold for tile, hold in stage_ports.items() if tile in made}
        compute = compute_actions(chip, layer, crossbars)
        return partial_ports, gather, output_ports, buffer_ports, longest, made, load, compute, _present(actions)

    def _operands(self, digital: Mapping[str, float]) -> float:
        """Values read back from the buffer per sample for a layer's digital work."""
        product = self.chip.costs.get("product")
        of_products = digital["product"] * 2 / sqrt(product.units) if product is not None else 0.0
        return digital["accumulator"] + digital["multiplier"] + of_products

    # ---- over the mesh

    def sending(self, layer: MatrixLayer, made: Mapping[int, float], copies: Copies) -> tuple[Shipment, Actions, dict[int, float]]:
        """One vector's results, `made` where, on their way to copies of each flow's target: what travels, what it adds to
        the drain's actions, and the bits that arrive at each tile."""
        parts = self.destinations.parts(layer.name, copies)
        arriving = _arriving(parts, sum(made.values()) / layer.vectors)
        sent = {source: _bits_of(parts, share / layer.vectors) for source, share in made.items()}
        shipment, written = self.mesh.shipment(sent), sum(arriving.values())
        return shipment, _present({"buffer": written, "bus": written, **self._sent(shipment)}), arriving

    # ---- the chip's edge

    def image_in(self, sample: int) -> Transfer:
        """One sample over the links to the layers that read it, what a host gives among it."""
        parts = self.destinations.of_sample("", sample)
        shipment, written = self.mesh.shipment({EDGE: _bits_of(parts)}), sum(_arriving(parts).values())
        return self._transfer(self.placement.bits_in, shipment, {}, {"buffer": written, "bus": written, **self._sent(shipment)})

    def result_out(self, sample: int) -> Transfer:
        """One sample's results over the links from the tiles where they are made, what a host takes among them."""
        bits, outputs = self.placement.bits_out, self.network.outputs
        widest = max(map(self._bits_of, outputs), default=1)
        wide = {name: values * (self._bits_of(name) / widest) for name, values in outputs.items()}
        total = sum(wide.values())
        made: dict[int, float] = defaultdict(float)
        for name, values in wide.items():
            for tile, share in self.destinations.completed(name, sample).items() if values else ():
                made[tile] += bits * values / total * share
        shipment = self.mesh.shipment({tile: {EDGE: {tile: count}} for tile, count in made.items()})
        ports = {tile: self.port_time(count) for tile, count in made.items()}
        read = sum(made.values())
        return self._transfer(bits, shipment, ports, {"buffer": read, "bus": read, **self._sent(shipment)})

    def _sent(self, shipment: Shipment) -> Actions:
        """What routers, and wires between them that are a component of their own, do for a shipment."""
        wires = {"mesh_wires": shipment.wire_bits} if "mesh_wires" in self.chip.costs else {}
        return {"router": shipment.router_bits, **wires}

    def _transfer(self, bits: float, shipment: Shipment, ports: dict[int, int], actions: Actions) -> Transfer:
        link = self.chip.costs["link"]
        return Transfer(ticks(bits, link.units * link.unit_rate), shipment, ports, _present({"link": bits} | actions))


def compute_actions(chip: Chip, layer: MatrixLayer, crossbars: list[Crossbar]) -> Actions:
    """Actions of one vector on the crossbars of a layer that it reads, over all slices and passes."""
    slices, used = slices_of(chip, layer), chip.one_hot if layer.lookup else chip
    drives = slices * sum(crossbar.rows for crossbar in crossbars)
    reads = slices // used.input_slices * sum(used.array_design.reads_per_conversion)
    alike = Counter((crossbar.rows, crossbar.bitlines, crossbar.conversions) for crossbar in crossbars)
    whole = chip.array_design
    parts = [(count * whole.partial_reads(rows), bitlines, converted) for (rows, bitlines, converted), count in alike.items()]
    conversions = used.conversions_per_column(layer.signed_input) * sum(converted * count for count, _, converted in parts)
    return {
        "input_register": drives * chip.component.dac.bits,
        "dac": drives,
        **({"gate_driver": drives} if chip.component.gate_driver is not None else {}),
        "crossbar": reads * sum(count for count, _, _ in parts),
        "sample_hold": reads * sum(bitlines * count for count, bitlines, _ in parts),
        **({"multiplexer": conversions} if chip.component.multiplexer is not None else {}),
        "adc": conversions,
        "shift_add": conversions,
        "output_register": conversions,
    }


def filled_share(chip: Chip, crossbars: list[Crossbar]) -> float:
    """What a read of these crossbars takes of a whole array's, on the mean: its cells are at the middle of g_min and g_max where a
    driven wordline and a bitline in use cross, where these are of two groups at what holds a weight of 0 (`zero_share`), at g_min on
    the bitlines without weights (those of other copies' blocks: at the middle), and wordlines that are not driven carry nothing.
    Of `rows_at_once`, a whole array is that many wordlines. chip: with the bits of the layer that lies on them."""
    design, device = chip.array_design, chip.device
    idle = 2 * device.g_min / (device.g_min + device.g_max)
    passed = sum(x.rows * (x.bitlines + idle * (design.bitlines - x.bitlines)) for x in crossbars)
    if beside := sum(x.beside for x in crossbars):
        passed += (1 - idle) * beside
    if off_diagonal := sum(x.off_diagonal for x in crossbars):
        passed -= (1 - zero_share(design)) * off_diagonal
    reads = sum(design.partial_reads(crossbar.rows) for crossbar in crossbars)
    return passed / (reads * (design.rows_at_once or design.wordlines) * design.bitlines)


def zero_share(design: ArrayDesign) -> float:
    """Mean conductance of the cells that hold a weight of 0, over the middle of g_min and g_max. Where columns are stored flipped that
    hold much, those of a slice that would otherwise have more than half of the levels are."""
    device, top = design.device, 2**design.cell_bits - 1
    zeros = map_integers(torch.zeros(1, 1, 1), torch.ones(1, 1), design.geometry(1, 1)).levels
    if design.weights.flipped_columns:
        zeros = torch.minimum(zeros, top - zeros)
    return float(device.conductance(zeros, design.cell_bits).mean()) * 2 / (device.g_min + device.g_max)


def _bits_of(parts: Parts, share: float = 1.0) -> dict[int, dict[object, float]]:
    """By tile: the bits of this share of each part."""
    return {tile: {part: bits * share for part, (bits, _) in held.items()} for tile, held in parts.items()}


def _arriving(parts: Parts, share: float = 1.0) -> dict[int, float]:
    """By tile: the bits of this share of all parts."""
    return {tile: sum(bits * share for bits, _ in held.values()) for tile, held in parts.items()}


def _present(actions: Actions) -> Actions:
    return {name: count for name, count in actions.items() if count}

"""What one vector operation of a layer copy does: its actions by stage, and how long each stage holds what.

Everything here follows from the placement and is computed once; the simulation only adds when. Stages:

- load: every core of the copy reads its inputs from its tile's buffer over the tile's bus;
- compute: DAC drives, array reads, sample-and-hold, ADC conversions, shift-and-add, slice after slice;
- drain: partial sums of a block meet on the tile of the block's last crossbar, where the tile's digital units follow
  (activation, pooling, additions, multiplications, products of two activations: `MatrixLayer.digital`), side by side;
  results travel over the mesh of routers to the tiles that read them and are written to their buffers.

Conventions (ours, where the sources are silent): a result travels once to every tile that holds rows for it
in a copy that reads it, and all results of a layer to the mean of these tiles; partial sums are as wide as
weight and input together; the buffer port time of writing results is paid with the reader's load, of the
network's last results not at all; per-sample digital work is spread evenly over the layer's vectors. Each addition and each
element-wise multiplication reads one operand back from the buffer. The product unit works on square blocks of results, as many as
it has units, so that each operand read serves a row or column of them: 2 / sqrt(units) operands a multiply-accumulate.

What the host computes is not on the chip: only its values cross the links, half of them out with the sample's results, read from
a buffer as far from the links as the network's outputs are on the mean, and half in with the sample, to the layers that read them.
Without off-chip transfers there are none of these either. How long the host takes is not modelled.

A look-up has the same stages, with the crossbars of its row tile alone: its index, of as many bits as tell the rows of
the table apart, goes to the tiles of the chip that hold the row tile, each core there reads it once, one input's wordlines
are driven in one slice, and there are no partial sums of other row tiles. What samples and results cost on the way to and
from a table (routers, links) is that of the mean row, as of rows looked up alike often.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil, isqrt, sqrt

import numpy as np

from xbar.hw.array.geometry import Geometry
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Crossbar, LayerCopy, Placement, slices_of
from xbar.hw.graph.network import DIGITAL, Flow, MatrixLayer

FEMTOSECONDS = 10**15  # in a second

Actions = dict[str, float]  # component -> actions


def ticks(count: float, rate: float) -> int:
    """Time of `count` ticks of a clock of `rate` [1/s] in whole femtoseconds: round(count / rate)."""
    return round(Fraction(count) * FEMTOSECONDS / Fraction(rate))


def clock_ticks(bits: float, width: int, rate: float) -> int:
    """Time [fs] to move `bits` over `width` wires, one word per tick; what is left of a word takes a tick."""
    return ticks(ceil(bits / width), rate)


@dataclass(frozen=True)
class ReadCycle:
    """The slice loop of one copy: `slices` times `read` [fs] of array reads, each then `conversion` [fs] of ADC time."""

    slices: int
    read: int
    conversion: int


@dataclass(frozen=True)
class VectorOperation:
    """Actions of one vector by stage, and the times [fs] of each stage; ports are held per tile."""

    load_ports: dict[int, int]
    cycle: ReadCycle
    gather_latency: int
    output_ports: dict[int, int]
    hop_latency: int
    load: Actions
    compute: Actions
    drain: Actions


@dataclass(frozen=True)
class Transfer:
    """One image in, or one result out, over the chip's links: hold of the links [fs], then hops [fs]."""

    hold: int
    hop_latency: int
    actions: Actions


class Mesh:
    """Routers in a near-square grid, each serving neighbouring tiles, XY routes; links sit at router 0."""

    def __init__(self, chip: Chip):
        tiles, per_router = chip.structure.tiles, chip.costs["router"].shared_by
        routers = ceil(tiles / per_router)
        width = isqrt(routers - 1) + 1
        router = np.arange(tiles) // per_router
        column, row = router % width, router // width
        distance = abs(column[:, None] - column) + abs(row[:, None] - row)
        self.passed = np.where(np.eye(tiles, dtype=bool), 0, 1 + distance)  # routers between two tiles
        self.passed_to_links = 1 + column + row


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
        self._readers = {name: self._reader_weight(name) for name in placement.copies}
        self._adders = {name: self._adder_weight(name) for name in placement.copies}

    # ---- who reads what, where

    def _reader_weight(self, name: str) -> np.ndarray:
        """To how many tiles of each kind one input value goes: the mean, over the positions of the layer's
        input, of the share of the rows that each tile holds in any of the copies that read the position."""
        layer, copies = self.network.layer(name), self.placement.copies[name]
        held = [{(x.tile, x.group, x.row_tile): x.rows for x in self.crossbars[copy.rank]} for copy in copies]
        positions = self.network.positions_read(name)
        weight = np.zeros(self.chip.structure.tiles)
        lines = self.placement.geometry(name).wordlines_per_input if layer.lookup else 1
        for reached, count in _copies_reached(layer, len(copies)).items():
            union = {key: rows for index in reached for key, rows in held[index].items()}
            for (tile, _, _), rows in union.items():
                weight[tile] += count * rows / (layer.groups * layer.inputs * lines) / positions
        return weight

    def _adder_weight(self, name: str) -> np.ndarray:
        """Share of the layer's results that each tile completes, on the mean of its copies."""
        weight = np.zeros(self.chip.structure.tiles)
        copies, layer = self.placement.copies[name], self.network.layer(name)
        geometry = self.placement.geometry(name)
        for copy in copies:
            for row_tile in self.row_tiles(layer):
                share = geometry.inputs_of(row_tile) / layer.inputs if layer.lookup else 1.0
                for block in _blocks(self.read_by(copy, row_tile)).values():
                    outputs = geometry.outputs_of(block[0].column_tile)
                    weight[block[-1].tile] += share * outputs / (layer.groups * layer.outputs) / len(copies)
        return weight

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
                by_tile[crossbar.row_tile].append(replace(crossbar, rows=driven))
            self._read[copy.rank] = dict(by_tile)
        return self._read[copy.rank][row_tile]

    def bits(self, flow: Flow) -> float:
        """Bits per sample of a flow where it goes to once."""
        layer = self.network.layer(flow.target)
        return flow.values * (layer.index_bits if layer.lookup and not flow.addend else self.chip.inputs.bits)

    def destination(self, flow: Flow) -> np.ndarray:
        """How many times each tile gets one value of the flow, (tiles,)."""
        return (self._adders if flow.addend else self._readers)[flow.target]

    # ---- one copy

    def of(self, copy: LayerCopy, row_tile: int = 0) -> VectorOperation:
        """The vector operation of a layer copy; row_tile: of a look-up, where its row lies."""
        layer, geometry = self.network.layer(copy.layer), self.placement.geometry(copy.layer)
        crossbars = self.read_by(copy, row_tile)
        load, load_ports = self._load(copy, row_tile)
        drain, gather_latency, output_ports, hop_latency = self._drain(layer, geometry, crossbars)
        return VectorOperation(
            load_ports, self.cycle(layer, crossbars), gather_latency, output_ports, hop_latency,
            load, compute_actions(self.chip, layer, crossbars), drain,
        )  # fmt: skip

    def core_bits(self, copy: LayerCopy, row_tile: int = 0) -> dict[int, int]:
        """Input bits that each core of the copy reads per vector: each row tile once per core; of a look-up, its index."""
        layer = self.network.layer(copy.layer)
        if layer.lookup:
            return dict.fromkeys(sorted({x.core for x in self.read_by(copy, row_tile)}), layer.index_bits)
        held = {(x.core, x.group, x.row_tile): x.rows for x in self.crossbars[copy.rank]}
        bits: dict[int, int] = defaultdict(int)
        for (core, _, _), rows in held.items():
            bits[core] += rows * self.chip.inputs.bits
        return dict(bits)

    def port_time(self, bits: float) -> int:
        """Time [fs] that `bits` hold a tile's buffer port and bus."""
        timing = self.chip.timing
        return clock_ticks(bits, min(timing.buffer_width, timing.bus_width), timing.tile_clock)

    def written_bits(self, copy: LayerCopy, row_tile: int = 0) -> dict[int, int]:
        """Bits written to each tile's buffer per vector of the copy, before it can be read."""
        layer = self.network.layer(copy.layer)
        if layer.lookup:
            tiles = sorted({x.tile for x in self.read_by(copy, row_tile)})
            return dict.fromkeys(tiles, layer.index_bits if self.off_chip_io else 0)
        flows = [f for f in self.network.flows if f.target == copy.layer and (f.source or self.off_chip_io)]
        copies = self.placement.copies[copy.layer]
        written = {}
        for tile in self.tiles[copy.rank]:
            here = sum(tile in self.tiles[other.rank] for other in copies)
            loads_per_sample = layer.vectors / len(copies) * here
            bits = sum(f.values * self.destination(f)[tile] for f in flows) * self.chip.inputs.bits
            written[tile] = ceil(bits / loads_per_sample)
        return written

    def _load(self, copy: LayerCopy, row_tile: int) -> tuple[Actions, dict[int, int]]:
        bits = self.core_bits(copy, row_tile)
        ports = {tile: self.port_time(written) for tile, written in self.written_bits(copy, row_tile).items()}
        for core, count in bits.items():
            ports[core // self.chip.structure.cores_per_tile] += self.port_time(count)
        return {"buffer": sum(bits.values()), "bus": sum(bits.values())}, ports

    def cycle(self, layer: MatrixLayer, crossbars: list[Crossbar]) -> ReadCycle:
        """Slices, read time and the conversion time of the busiest ADC of the copy."""
        by_adc: dict[tuple[int, int], int] = defaultdict(int)
        for crossbar in crossbars:
            by_adc[(crossbar.core, self.adc_of(crossbar))] += self.conversion_time(crossbar)
        chip = self.chip.one_hot if layer.lookup else self.chip
        return ReadCycle(
            chip.conversions_per_column(layer.signed_input),
            chip.reads_per_conversion * round(self.chip.read_time * FEMTOSECONDS),
            max(by_adc.values()),
        )

    def adc_of(self, crossbar: Crossbar) -> int:
        """The ADC of its core (or the first of several) to which a crossbar's columns are wired."""
        design = self.chip.array_design
        return crossbar.slot // design.crossbars_per_adc * design.adc_units

    def conversion_time(self, crossbar: Crossbar) -> int:
        """Time [fs] of one slice's conversions of a crossbar on its ADC, or on its several ADCs side by side."""
        return ticks(ceil(crossbar.conversions / self.chip.array_design.adc_units), self.chip.costs["adc"].unit_rate)

    def _drain(
        self, layer: MatrixLayer, geometry: Geometry, crossbars: list[Crossbar]
    ) -> tuple[Actions, int, dict[int, int], int]:
        chip, timing = self.chip, self.chip.timing
        actions: Actions = defaultdict(float)
        digital = {name: layer.digital.get(name, 0.0) for name in DIGITAL}
        additions: dict[int, float] = defaultdict(float)  # by tile
        finished: dict[int, int] = defaultdict(int)  # outputs, by tile
        gather_latency = 0
        for block in _blocks(crossbars).values():
            outputs = geometry.outputs_of(block[0].column_tile)
            home = block[-1].tile
            finished[home] += outputs
            for crossbar in block:
                additions[crossbar.tile] += outputs
            for tile in {crossbar.tile for crossbar in block} - {home}:
                bits = outputs * (chip.weights.bits + chip.inputs.bits)
                passed = int(self.mesh.passed[tile, home])
                additions[home] += outputs
                actions["router"] += bits * passed
                latency = clock_ticks(bits, timing.flit_width, timing.tile_clock)
                latency += ticks(passed * timing.router_cycles, timing.tile_clock)
                gather_latency = max(gather_latency, latency)
        total = layer.groups * layer.outputs
        hop_latency, ports = 0, {}
        for tile, outputs in finished.items():
            share = outputs / total / layer.vectors  # of the layer's per-sample digital work
            additions[tile] += digital["accumulator"] * share
            sent, passed = self._send(layer, tile, share * layer.vectors, actions)
            hop_latency = max(hop_latency, ticks(passed * timing.router_cycles, timing.tile_clock))
            work = {name: count * share for name, count in digital.items()} | {"accumulator": additions[tile]}
            ports[tile] = max([
                clock_ticks(sent, timing.flit_width, timing.tile_clock),
                *(self._unit_time(name, count) for name, count in work.items() if count),
            ])  # fmt: skip
        actions |= {name: count / layer.vectors for name, count in digital.items()}
        actions["accumulator"] = actions["tile_register"] = sum(additions.values())
        operands = self._operands(digital) * chip.inputs.bits / layer.vectors
        _add(actions, {"buffer": operands, "bus": operands})
        return {name: count for name, count in actions.items() if count}, gather_latency, ports, hop_latency

    def _unit_time(self, name: str, count: float) -> int:
        component = self.chip.costs[name]
        return ticks(ceil(count), component.units * component.unit_rate)

    def _operands(self, digital: Mapping[str, float]) -> float:
        """Values read back from the buffer per sample for a layer's digital work."""
        product = self.chip.costs.get("product")
        of_products = digital["product"] * 2 / sqrt(product.units) if product is not None else 0.0
        return digital["accumulator"] + digital["multiplier"] + of_products

    def _send(self, layer: MatrixLayer, tile: int, share: float, actions: Actions) -> tuple[float, int]:
        """Charge sending `share` of one vector's results from `tile`; bits injected and most routers passed."""
        made = share * self.network.outputs.get(layer.name, 0.0) / layer.vectors * self.chip.inputs.bits
        _add(actions, {"buffer": made, "bus": made})  # what leaves over the links waits in the tile's own buffer
        injected, most = 0.0, 0
        for flow in self.network.flows:
            if flow.source != layer.name:
                continue
            weight = self.destination(flow)
            bits = share * flow.values / layer.vectors * self.chip.inputs.bits
            passed = self.mesh.passed[tile]
            written = bits * weight.sum()
            _add(actions, {"buffer": written, "bus": written, "router": bits * float(passed @ weight)})
            injected += bits * float(weight[passed > 0].sum())
            most = max(most, int(passed[weight > 0].max()))
        return injected, most

    # ---- the chip's edge

    @cached_property
    def image_in(self) -> Transfer:
        """One sample over the links to the layers that read it, with half of the values that go to and from the host."""
        indices = self.network.index_bits
        bits = (self.network.input_values - len(indices)) * self.chip.inputs.bits + sum(indices) + self._host_bits
        actions: Actions = defaultdict(float, {"link": bits})
        most = 0
        for flow in self.network.flows:
            if flow.source:
                continue
            weight = self.destination(flow)
            copied = self.bits(flow)
            passed = self.mesh.passed_to_links
            written = copied * weight.sum()
            _add(actions, {"buffer": written, "bus": written, "router": copied * float(passed @ weight)})
            most = max(most, int(passed[weight > 0].max()))
        return self._transfer(bits, most, actions)

    @cached_property
    def result_out(self) -> Transfer:
        """One sample's results over the links from the layers where they are made, with the other half of the host's values."""
        bits = self.network.output_values * self.chip.inputs.bits + self._host_bits
        passed = self._outputs_passed
        actions = {"link": bits, "buffer": bits, "bus": bits, "router": bits * passed}
        return self._transfer(bits, ceil(passed), actions)

    @property
    def _host_bits(self) -> float:
        """Bits per sample that go to the host, and as many that come from it."""
        return self.network.host_values / 2 * self.chip.inputs.bits

    @cached_property
    def _outputs_passed(self) -> float:
        """Routers between the links and where the network's outputs are made, on the mean of values and of copies."""
        total, passed = sum(self.network.outputs.values()), 0.0
        for name, values in ((name, values) for name, values in self.network.outputs.items() if values):
            tiles = [self.crossbars[copy.rank][-1].tile for copy in self.placement.copies[name]]
            passed += values / total * float(self.mesh.passed_to_links[tiles].mean())
        return passed

    def _transfer(self, bits: float, passed: int, actions: Actions) -> Transfer:
        link, timing = self.chip.costs["link"], self.chip.timing
        hops = ticks(passed * timing.router_cycles, timing.tile_clock)
        return Transfer(ticks(bits, link.units * link.unit_rate), hops, dict(actions))


def compute_actions(chip: Chip, layer: MatrixLayer, crossbars: list[Crossbar]) -> Actions:
    """Actions of one vector on the crossbars of a layer that it reads, over all slices and passes."""
    slices, used = slices_of(chip, layer), chip.one_hot if layer.lookup else chip
    drives = slices * sum(crossbar.rows for crossbar in crossbars)
    conversions = used.conversions_per_column(layer.signed_input) * sum(crossbar.conversions for crossbar in crossbars)
    return {
        "input_register": drives * chip.component.dac.bits,
        "dac": drives,
        "crossbar": slices * len(crossbars),
        "sample_hold": slices * sum(crossbar.bitlines for crossbar in crossbars),
        "adc": conversions,
        "shift_add": conversions,
        "output_register": conversions,
    }


def _blocks(crossbars: list[Crossbar]) -> dict[tuple[int, int], list[Crossbar]]:
    """Crossbars whose results are added up, by (group, column tile)."""
    blocks: dict[tuple[int, int], list[Crossbar]] = defaultdict(list)
    for crossbar in crossbars:
        blocks[(crossbar.group, crossbar.column_tile)].append(crossbar)
    return blocks


def _copies_reached(layer: MatrixLayer, copies: int) -> dict[tuple[int, ...], float]:
    """How many input positions of a sample each set of copies reads, when vectors are dealt out to them in turn
    (on the mean of samples, where there are more copies than vectors and each sample begins at another copy)."""
    vector, _ = np.nonzero(layer.reads >= 0)
    position = layer.reads[layer.reads >= 0]
    shifts = range(copies) if copies > layer.vectors else range(1)
    reached: dict[tuple[int, ...], float] = defaultdict(float)
    for shift in shifts:
        pairs = np.unique(np.stack([position, (vector + shift) % copies]), axis=1)
        starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
        for chunk in np.split(pairs[1], starts[1:]):
            reached[tuple(chunk.tolist())] += 1 / len(shifts)
    return reached


def _add(actions: Actions, more: Actions) -> None:
    for component, count in more.items():
        actions[component] += count

"""What a request asks of every unit of a placed network, counted without simulating: actions, and how long each unit is held.

How long the unit is held that is held longest is the shortest period in which a chip can serve requests one after the other, whatever waits
for what; the unit that comes next is what would bound it if the first took no time. Counts are those of the simulation on the mean of many
requests (a test pins both); rows of tables are looked up alike often.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from xbar.hw.chip.placement import LayerCopy, Placement
from xbar.hw.events.critical_path import travel_time
from xbar.hw.events.destinations import Copies
from xbar.hw.events.ledger import INPUT, OUTPUT, Ledger
from xbar.hw.events.mesh import Links, Shipment
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.vector_operation import Actions, Transfer, VectorOperation, VectorOperations
from xbar.hw.graph.network import MatrixLayer


class Stage(NamedTuple):
    """A kind of work of a layer, as spans of a critical path name it (`xbar.hw.events.critical_path.PARTS`)."""

    layer: str
    kind: str


SLICES, VECTORS = "slices", "vectors"  # kinds beside those: a vector's slices but the first, and vectors that a copy takes of a sample


@dataclass(frozen=True)
class Counts:
    """What a request asks, on the mean: actions by layer and component; charged: of those that take another energy than a component's
    action does, as many actions as they take the energy of (`VectorOperation.shares`); held: how long units [fs] are, by their names in
    `Ledger.units` and `Ledger.links`; takes: how long a piece of work takes [fs], by `Stage`, the longest over tiles and copies."""

    actions: dict[str, Actions]
    charged: dict[str, Actions]
    held: dict[str, float]
    takes: dict[Stage, float]


def count(placement: Placement) -> Counts:
    """The counts of a placement whose samples come and results leave over the off-chip links."""
    return _Counting(placement).all()


class _Counting:
    def __init__(self, placement: Placement):
        self.placement, self.network = placement, placement.network
        self.operations = VectorOperations(placement, off_chip_io=True)
        self.mesh = self.operations.mesh
        self.links = Links(self.mesh)
        self.actions: dict[str, Actions] = defaultdict(lambda: defaultdict(float))
        self.charged: dict[str, Actions] = defaultdict(lambda: defaultdict(float))
        self.held: dict[str, float] = defaultdict(float)
        self.takes: dict[Stage, float] = defaultdict(float)

    def all(self) -> Counts:
        """Every layer and both transfers."""
        for layer in self.network.layers:
            for copy in self.placement.copies[layer.name]:
                self._copy(layer, copy)
            self.takes[Stage(layer.name, VECTORS)] = self.placement.deals[layer.name].longest
        deals = self.placement.deals
        phases = int(np.lcm.reduce([deal.phases for deal in deals.values()])) if deals else 1
        for sample in range(phases):
            self._transfer(INPUT, self.operations.image_in(sample), 1 / phases)
            self._transfer(OUTPUT, self.operations.result_out(sample), 1 / phases)
        actions, charged = ({name: dict(found) for name, found in each.items()} for each in (self.actions, self.charged))
        return Counts(actions, charged, dict(self.held), dict(self.takes))

    def _copy(self, layer: MatrixLayer, copy: LayerCopy) -> None:
        name, deal = layer.name, self.placement.deals[layer.name]
        geometry = self.placement.geometry(name)
        for row_tile in self.operations.row_tiles(layer):
            of_tile = geometry.rows_of(row_tile) / sum(map(geometry.rows_of, range(geometry.row_tiles))) if layer.lookup else 1.0
            operation = self.operations.of(copy, row_tile)
            share = deal.share(copy.index) * of_tile
            self._vectors(name, f"{name}, copy {copy.index}", operation, share)
            for core, adc in self.operations.units_of(copy, row_tile):
                cycle = operation.cycle
                whole = cycle.busy if cycle.in_turn else cycle.read + cycle.busy - max(cycle.read, cycle.conversion) + cycle.conversion
                self.held[f"shared ADC {adc} of core {core}"] += share * whole
            self._ship(name, operation.gather, share)
            for copies, times in self._destinations(layer, copy):
                shipment, actions, _ = self.operations.sending(layer, operation.made, copies)
                self._add(name, actions, times * of_tile)
                self._ship(name, shipment, times * of_tile)

    def _vectors(self, layer: str, copy: str, operation: VectorOperation, share: float) -> None:
        """So many vectors of a copy."""
        cycle = operation.cycle
        for actions in (operation.load, operation.compute, operation.drain):
            self._add(layer, actions, share)
        for name, part in operation.shares.items():
            self.charged[layer][name] += operation.compute[name] * part * share
        for unit, hold in operation.held(copy).items():
            self.held[unit] += hold * share
        longer = max(cycle.read, cycle.conversion)
        for kind, time in {
            "load": max(operation.load_ports.values(), default=0), "read": cycle.read, "conversion": cycle.conversion,
            SLICES: cycle.busy if cycle.in_turn else (cycle.slices - 1) * longer,
            "partial sums": max(operation.partial_ports.values(), default=0),
            "digital": max(operation.output_ports.values(), default=0),
            "operands": max(operation.buffer_ports.values(), default=0),
        }.items():  # fmt: skip
            self.takes[Stage(layer, kind)] = max(self.takes[Stage(layer, kind)], time)

    def _destinations(self, layer: MatrixLayer, copy: LayerCopy) -> Iterator[tuple[Copies, float]]:
        """The copies that a copy's vectors send to, and how many of its vectors a sample do, on the mean."""
        deal = self.placement.deals[layer.name]
        phases = int(np.lcm(deal.phases, self.operations.destinations.phases(layer.name)))
        found: dict[Copies, int] = defaultdict(int)
        for sample in range(phases):
            to = self.operations.destinations.copies_of(layer.name, sample)
            for vector in deal.vectors_of(copy.index, sample):
                found[to[vector]] += 1
        return ((copies, times / phases) for copies, times in found.items())

    def _transfer(self, which: str, transfer: Transfer, share: float) -> None:
        self._add(which, transfer.actions, share)
        self._ship(which, transfer.shipment, share)
        self.held["off-chip links"] += transfer.hold * share
        for tile, hold in transfer.buffer_ports.items():
            self.held[f"buffer port of tile {tile}"] += hold * share
        longest = max(transfer.buffer_ports.values(), default=0)
        for kind, time in (("link", transfer.hold), ("results read", longest)):
            self.takes[Stage(which, kind)] = max(self.takes[Stage(which, kind)], time)

    def _ship(self, layer: str, shipment: Shipment, times: float) -> None:
        for step in shipment.steps:
            self.held[self.mesh.names[step.link]] += step.service * times
        stage = Stage(layer, "mesh")
        self.takes[stage] = max(self.takes[stage], travel_time(shipment, self.links))

    def _add(self, layer: str, actions: Actions, times: float) -> None:
        mine = self.actions[layer]
        for name, number in actions.items():
            mine[name] = mine.get(name, 0.0) + number * times


# ---- what bounds the period


def periods(held: Mapping[str, float]) -> pd.DataFrame:
    """What bounds the time from request to request, the longest first: kind ("ADCs of conv1" of all copies, "buffer ports", "mesh
    links" ...; index), unit that is held longest of its kind, and period_s: how long by a request, which is the shortest period
    while that kind is as it is. held [fs]: by unit (`Counts`)."""
    found: dict[str, tuple[str, float]] = {}
    for unit, time in held.items():
        kind = kind_of(unit)
        if kind not in found or time > found[kind][1]:
            found[kind] = (unit, time)
    rows = {kind: {"unit": unit, "period_s": time * FEMTOSECOND} for kind, (unit, time) in found.items() if time}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["unit", "period_s"]).rename_axis("kind")
    return table.sort_values("period_s", ascending=False, kind="stable")


KINDS = {
    "buffer port of": "buffer ports", "output stage of": "digital units", "shared ADC": "shared ADCs",
    "off-chip links": "off-chip links", "router": "mesh links", "into the mesh": "mesh links", "out of the mesh": "mesh links",
}  # fmt: skip


def kind_of(unit: str) -> str:
    """The kind of a unit by its name: of all copies of a layer one, of all ports, stages and links of the mesh one."""
    for begins, kind in KINDS.items():
        if unit.startswith(begins):
            return kind
    of_layer = unit.rpartition(", copy ")[0]
    return of_layer.replace("busiest ADC of", "ADCs of")


def held_in(ledger: Ledger) -> dict[str, float]:
    """How long a request held each unit in a simulation, on the mean [fs], as `Counts.held`; nothing without requests."""
    requests = ledger.requests or 1
    links = dict(zip(ledger.mesh_links.mesh.names, ledger.mesh_links.busy, strict=True))
    return {unit: time / requests for unit, time in {**ledger.unit_busy_fs, **links}.items() if time}

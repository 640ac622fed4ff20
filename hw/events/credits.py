"""Finite buffers: a value is sent when every tile that it goes to has room for it, and room is kept from then until its last
reader there has loaded it (of an addend: until the sum is made). A vector whose results find no room holds its registers, and
so stops its copy; a sample that finds none waits before the off-chip links.

Room goes to the oldest sample first, then to who asked first, in one instant by rank, as in ports: a younger sample takes only what
leaves room for all that older ones have yet to send to the tile. Where a whole sample's values fit every buffer, the oldest sample
therefore never waits for room: what it sends was kept free. So it ends, the next is the oldest, and no simulation can lock up.
Where they do not fit (a long picture of which the buffer holds some rows), values still flow through as their readers take them; if
all wait for each other then, `stuck` raises.

Tiles whose buffers cannot run full are not watched: those that hold the values of as many samples as flow control lets in.
Conventions: of a position that several vectors on one tile read, the last reader is the one that comes last in its copy's own
block; a sample comes as a whole; the network's results that wait for the off-chip links take no room, partial sums neither.
"""

from bisect import insort
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from simpy.events import Event

from xbar.hw.chip.widths import made_bits
from xbar.hw.errors import BufferCapacityError
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.events.waiting import BEFORE_PORTS, Clock
from xbar.hw.graph.network import Flow

Bits = dict[int, float]  # by tile
ROUNDING = 1e-3  # [bit], of sums of shares


class _Waiting(NamedTuple):
    """A request for room: all of it, or it waits. Those of the oldest sample come first, then who asked first, in one instant
    by rank."""

    sample: int
    asked: float
    rank: int
    turn: int
    bits: Bits
    event: Event


class Credits:
    """Room in the buffers of the tiles that could run full, `watched`; `peak` is the most bits that each held. chip: its number where
    there are several, for messages."""

    chip: int | None = None

    def __init__(self, env: Clock, operations: VectorOperations, samples_held: int):
        self.env, self.operations = env, operations
        self.placement, self.network = operations.placement, operations.network
        self.size = operations.chip.timing.buffer_size
        self.flows = [flow for flow in self.network.flows if flow.source or operations.off_chip_io]
        self._arrivals: dict[tuple[int, int], Bits] = {}
        held: Bits = defaultdict(float)
        for flow in self.flows:
            for phase in range(operations.destinations.phases(flow)):
                most = samples_held + flow.addend
                for tile, bits in self.of_sample(flow, phase).items():
                    held[tile] += most * bits
        self.watched = {tile for tile, bits in held.items() if bits > self.size}
        self.level: Bits = dict.fromkeys(self.watched, 0.0)
        self.peak: Bits = dict.fromkeys(self.watched, 0.0)
        self.waiting: list[_Waiting] = []
        self.requested = 0
        self.turn_due = False
        self.oldest = 0  # sample that is not done
        self.finished: set[int] = set()  # samples after it that are
        self.unsent: dict[int, Bits] = {}  # by sample from it on: what it has yet to send
        self._loads: dict[tuple[str, int], dict[int, Bits]] = {}
        self._sums: dict[tuple[str, int], dict[int, Bits]] = {}

    def of_sample(self, flow: Flow, sample: int) -> Bits:
        """Bits of a sample of the flow that go to each tile."""
        phase = sample % self.operations.destinations.phases(flow)
        key = (id(flow), phase)
        if key not in self._arrivals:
            destinations, found = self.operations.destinations, defaultdict[int, float](float)
            if not flow.source:
                for (tile, _), weight in destinations.of_sample(flow, phase).items():
                    found[tile] += self.operations.bits(flow) * weight
            else:
                each = flow.values * made_bits(self.operations.chip, flow.target) / self.network.layer(flow.source).vectors
                for copies in destinations.of_vectors(flow, phase):
                    for (tile, _), weight in destinations.weights(flow, copies).items():
                        found[tile] += each * weight
            self._arrivals[key] = dict(found)
        return self._arrivals[key]

    def of_input(self, sample: int) -> Bits:
        """Room that a sample needs on watched tiles when it comes over the links."""
        return self._of(sample, [flow for flow in self.flows if not flow.source])

    def _of(self, sample: int, flows: list[Flow]) -> Bits:
        found: Bits = defaultdict(float)
        for flow in flows:
            for tile, bits in self.of_sample(flow, sample).items():
                if tile in self.watched:
                    found[tile] += bits
        return dict(found)

    # ---- taking room

    def take(self, rank: int, sample: int, bits: Bits) -> Event:
        """Ask for room for all of these bits on watched tiles; an event when it is there and taken. Requests of one instant are
        served together, by rank."""
        for tile, count in bits.items():
            if count > self.size + ROUNDING:
                raise BufferCapacityError(tile, count, self.size, self.chip)
        event = Event(self.env)
        self.requested += 1
        insort(self.waiting, _Waiting(sample, self.env._now, rank, self.requested, bits, event))
        self._serve_by_rank()
        return event

    def _left(self, sample: int) -> Bits:
        if sample not in self.unsent:
            self.unsent[sample] = self._of(sample, self.flows)
        return self.unsent[sample]

    def _fits(self, request: _Waiting) -> bool:
        older = [self._left(sample) for sample in range(self.oldest, request.sample) if sample not in self.finished]
        return all(
            self.level[tile] + count + sum(left.get(tile, 0.0) for left in older) <= self.size + ROUNDING
            for tile, count in request.bits.items()
        )

    def _admit(self, request: _Waiting) -> None:
        left = self._left(request.sample)
        for tile, count in request.bits.items():
            self.level[tile] += count
            self.peak[tile] = max(self.peak[tile], self.level[tile])
            left[tile] = max(0.0, left[tile] - count)
        request.event.succeed()

    def _give(self, bits: Bits) -> None:
        for tile, count in bits.items():
            self.level[tile] -= count
        if bits:
            self._serve_by_rank()

    def _serve_by_rank(self) -> None:
        """Serve when all that gives or asks for room in this instant has, before ports begin what they serve."""
        if self.turn_due or not self.waiting:
            return
        self.turn_due = True
        turn = Event(self.env)
        turn._ok, turn._value = True, None
        turn.callbacks.append(self._serve)
        self.env.schedule(turn, BEFORE_PORTS)  # type: ignore[arg-type]

    def _serve(self, turn: Event) -> None:
        """Those that wait and fit, the oldest first; none passes one of its sample or an older one that wants the same tile."""
        self.turn_due = False
        passed: list[_Waiting] = []
        for request in self.waiting:
            if any(before.bits.keys() & request.bits.keys() for before in passed) or not self._fits(request):
                passed.append(request)
            else:
                self._admit(request)
        self.waiting = passed

    def done(self, sample: int) -> None:
        """That every layer has finished the sample."""
        self.finished.add(sample)
        while self.oldest in self.finished:
            self.finished.remove(self.oldest)
            self.unsent.pop(self.oldest, None)
            self.oldest += 1
        self._serve_by_rank()

    # ---- giving it back

    def loaded(self, layer: str, sample: int, vector: int) -> None:
        """That a vector has been loaded."""
        phase = sample % self.placement.deals[layer].phases
        if (layer, phase) not in self._loads:
            self._loads[layer, phase] = self._last_reads(layer, phase)
        self._give(self._loads[layer, phase].get(vector, {}))

    def summed(self, layer: str, sample: int, vector: int) -> None:
        """That a vector's results are made."""
        phase = sample % self.placement.deals[layer].phases
        if (layer, phase) not in self._sums:
            self._sums[layer, phase] = self._sums_of(layer, phase)
        self._give(self._sums[layer, phase].get(vector, {}))

    def _copies_on(self, layer: str, tile: int) -> np.ndarray:
        copies = self.placement.copies[layer]
        return np.array([copy.index for copy in copies if tile in self.operations.tiles[copy.rank]])

    def _last_reads(self, name: str, phase: int) -> dict[int, Bits]:
        """By vector of a sample: the bits on each watched tile that nobody there reads after it."""
        layer, dealt = self.network.layer(name), self.placement.deals[name].copy_of(phase)
        own = np.zeros(layer.vectors, np.int64)  # number of a vector in its copy's block
        for copy in np.unique(dealt):
            own[dealt == copy] = np.arange((dealt == copy).sum())
        vector, tap = np.nonzero(layer.reads >= 0)
        position = layer.reads[vector, tap]
        found: dict[int, Bits] = defaultdict(dict)
        for flow in (flow for flow in self.flows if flow.target == name and not flow.addend):
            inside = (position >= flow.first) & (position < flow.first + len(flow.after))
            for tile, bits in self.of_sample(flow, phase).items():
                if tile not in self.watched:
                    continue
                here = inside & np.isin(dealt[vector], self._copies_on(name, tile))
                reader, read = vector[here], position[here]
                order = np.lexsort((reader, own[reader], read))
                last = reader[order][np.flatnonzero(np.diff(read[order], append=-1))]
                numbers, counts = np.unique(last, return_counts=True)
                for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                    found[number][tile] = found[number].get(tile, 0.0) + bits * count / len(last)
        return dict(found)

    def _sums_of(self, name: str, phase: int) -> dict[int, Bits]:
        """By vector of a sample: the bits of addends on each watched tile that its results take up."""
        dealt = self.placement.deals[name].copy_of(phase)
        found: dict[int, Bits] = defaultdict(dict)
        for flow in (flow for flow in self.flows if flow.target == name and flow.addend):
            for tile, bits in self.of_sample(flow, phase).items():
                if tile in self.watched:
                    numbers = np.flatnonzero(np.isin(dealt, self._copies_on(name, tile))).tolist()
                    for number in numbers:
                        found[number][tile] = found[number].get(tile, 0.0) + bits / len(numbers)
        return dict(found)

    def stuck(self) -> None:
        """Raise BufferCapacityError where requests wait for room though nothing else happens any more."""
        for request in self.waiting:
            for tile, count in request.bits.items():
                if self.level[tile] + count > self.size + ROUNDING:
                    raise BufferCapacityError(tile, self.level[tile] + count, self.size, self.chip)

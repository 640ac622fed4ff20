"""Finite buffers: a value is sent when every tile that it goes to has room for it, and room is kept from then until its last reader
there, of whichever layer, has loaded it (of an addend: until the sum is made). A vector whose results find no room holds its registers,
and so stops its copy; a sample that finds none waits before the off-chip links.

Room goes to the oldest sample first, then to who asked first, in one instant by rank, as in ports: a younger sample takes only what
leaves room for all that older ones have yet to send to the tile. Where a whole sample's values fit every buffer, the oldest sample
therefore never waits for room: what it sends was kept free. So it ends, the next is the oldest, and no simulation can lock up.
Where they do not fit (a long picture of which the buffer holds some rows), values still flow through as their readers take them; if
all wait for each other then, `stuck` raises.

Tiles whose buffers cannot run full are not watched: those that hold the values of as many samples as flow control lets in. Conventions:
of a position that several vectors on one tile read, the last reader is the one that comes last in its copy's own block; of values that
several layers read on a tile those are free that are of positions with which all of them are done; a sample comes as a whole; the
network's results that wait for the off-chip links take no room, partial sums neither.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from simpy.events import Event

from xbar.hw.errors import BufferCapacityError
from xbar.hw.events.destinations import Readers, segments_of
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


def waiting(bits: Bits) -> _Waiting:
    """A request for these bits, of which nothing else is known."""
    return _Waiting(0, 0, 0, 0, bits, None)  # type: ignore[arg-type]


class Kept(NamedTuple):
    """Values of a sample on a tile that the targets of some flows read there: `each` bits of each segment of their positions, and by
    flow's place and vector the segments that it needs no longer. Where readers have no position in common, one segment, which nobody
    ends before the sample is done."""

    tile: int
    each: float
    segments: int
    ended: Mapping[int, Mapping[int, np.ndarray]]


class Ends(NamedTuple):
    """What a flow's target needs no longer, by its vectors: of what nobody else reads on a tile the bits by tile; of the rest the number
    among what is kept of the source, and segments."""

    alone: Mapping[int, Bits]
    shared: Mapping[int, list[tuple[int, np.ndarray]]]


class Credits:
    """Room in the buffers of the tiles that could run full, `watched`; `peak` is the most bits that each held. chip: its number where
    there are several, for messages."""

    chip: int | None = None

    def __init__(self, env: Clock, operations: VectorOperations, samples_held: int):
        self.env, self.operations = env, operations
        self.placement, self.network = operations.placement, operations.network
        self.size = operations.chip.timing.buffer_size
        self.limit = self.size + ROUNDING
        self.destinations, self.sources = operations.destinations, operations.sources
        self.watched = {tile for tile, bits in self._held(samples_held, 1).items() if bits > self.size}
        self.level: Bits = dict.fromkeys(self.watched, 0.0)
        self.peak: Bits = dict.fromkeys(self.watched, 0.0)
        self.waiting: list[_Waiting] = []
        self.requested = 0
        self.turn_due = False
        self.oldest = 0  # sample that is not done
        self.finished: set[int] = set()  # samples after it that are
        self.unsent: dict[int, Bits] = {}  # by sample from it on: what it has yet to send
        self.pending: dict[tuple[int, str, int], np.ndarray] = {}  # by sample, source, number of what is kept: readers of each segment left
        self._kept: dict[tuple[str, int], list[Kept]] = {}
        self._ends: dict[tuple[str, int, int], Ends] = {}
        self._last: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}

    def _held(self, samples: int, more: int) -> Bits:
        """Bits of so many samples that lie on each tile at most, of addends of so many more."""
        held: Bits = defaultdict(float)
        for source in self.sources:
            most: Bits = defaultdict(float)
            for phase in range(self.destinations.phases(source)):
                for tile, bits in self._most_of(source, phase, samples, more).items():
                    most[tile] = max(most[tile], bits)
            for tile, bits in most.items():
                held[tile] += bits
        return held

    @property
    def enough(self) -> float:
        """A size [bit] with which no simulation locks up: a whole sample's values on the tile that gets most of them."""
        return max(self._held(1, 0).values(), default=0.0)

    def _most_of(self, source: str, sample: int, samples: int, more: int) -> Bits:
        """`_held` of one source's values, with the phase of a sample."""
        flows = self.destinations.flows_from[source]
        return {
            tile: sum((samples + more * any(flows[place].addend for place in readers)) * bits for readers, bits in held.items())
            for tile, held in self.destinations.taken(source, sample).items()
        }

    def of_input(self, sample: int) -> Bits:
        """Room that a sample needs on watched tiles when it comes over the links."""
        return self.bits_of(sample, [source for source in self.sources if not source])

    def bits_of(self, sample: int, sources: list[str]) -> Bits:
        """Bits of these sources' values that a sample puts on watched tiles."""
        found: Bits = defaultdict(float)
        for source in sources:
            for tile, held in self.destinations.taken(source, sample).items():
                if tile in self.watched:
                    found[tile] += sum(held.values())
        return dict(found)

    # ---- taking room

    def take(self, rank: int, sample: int, bits: Bits) -> Event:
        """Ask for room for all of these bits on watched tiles; an event when it is there and taken. Requests of one instant are
        served together, by rank."""
        for tile, count in bits.items():
            if count > self.limit:
                raise BufferCapacityError(tile, count, self.size, self.enough, self.chip)
        event = Event(self.env)
        self.requested += 1
        insort(self.waiting, _Waiting(sample, self.env._now, rank, self.requested, bits, event))
        self._serve_by_rank()
        return event

    def _left(self, sample: int) -> Bits:
        if sample not in self.unsent:
            self.unsent[sample] = self.bits_of(sample, self.sources)
        return self.unsent[sample]

    def _fits(self, request: _Waiting) -> bool:
        older = [self._left(sample) for sample in range(self.oldest, request.sample) if sample not in self.finished]
        for tile, count in request.bits.items():
            unsent = 0.0
            for left in older:  # one after the other, as the compiled loop adds them
                unsent += left.get(tile, 0.0)
            if self.level[tile] + count + unsent > self.limit:
                return False
        return True

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
        for source in self.sources:
            for kept in self.kept_of(source, sample):
                if not kept.ended:
                    self._give({kept.tile: kept.each})
        while self.oldest in self.finished:
            self.finished.remove(self.oldest)
            self.unsent.pop(self.oldest, None)
            self.oldest += 1
        self._serve_by_rank()

    # ---- giving it back

    def loaded(self, layer: str, sample: int, vector: int) -> None:
        """That a vector has been loaded."""
        self._ended(layer, False, sample, vector)

    def summed(self, layer: str, sample: int, vector: int) -> None:
        """That a vector's results are made."""
        self._ended(layer, True, sample, vector)

    def _ended(self, layer: str, addend: bool, sample: int, vector: int) -> None:
        """Give back what nobody needs when a vector of the layer needs it no longer, of its inputs or of its addends."""
        bits: Bits = {}
        for source, place in self.bringing[layer, addend]:
            ends = self.ends_of(source, sample, place)
            for tile, count in ends.alone.get(vector, {}).items():
                bits[tile] = bits.get(tile, 0.0) + count
            for number, segments in ends.shared.get(vector, ()):
                kept = self.kept_of(source, sample)[number]
                left = self.pending.setdefault((sample, source, number), np.full(kept.segments, len(kept.ended)))
                left[segments] -= 1
                bits[kept.tile] = bits.get(kept.tile, 0.0) + kept.each * int((left[segments] == 0).sum())
                if not left.any():
                    del self.pending[sample, source, number]
        self._give(bits)

    @cached_property
    def bringing(self) -> dict[tuple[str, bool], list[tuple[str, int]]]:
        """By target, and whether it adds them up: sources and the places of their flows that bring it values."""
        found: dict[tuple[str, bool], list[tuple[str, int]]] = defaultdict(list)
        for source in self.sources:
            for place, flow in enumerate(self.destinations.flows_from[source]):
                found[flow.target, flow.addend].append((source, place))
        return found

    def ends_of(self, source: str, sample: int, place: int) -> Ends:
        """What the target of a flow needs no longer of a source's values, by its vectors."""
        key = source, sample % self.destinations.phases(source), place
        if key not in self._ends:
            alone: dict[int, Bits] = defaultdict(dict)
            shared: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
            for number, kept in enumerate(self.kept_of(source, sample)):
                for vector, segments in kept.ended.get(place, {}).items():
                    if len(kept.ended) > 1:
                        shared[vector].append((number, segments))
                    else:
                        alone[vector][kept.tile] = alone[vector].get(kept.tile, 0.0) + kept.each * len(segments)
            self._ends[key] = Ends(alone, shared)
        return self._ends[key]

    def kept_of(self, source: str, sample: int) -> list[Kept]:
        """What watched tiles keep of a source's values."""
        key = source, sample % self.destinations.phases(source)
        if key not in self._kept:
            self._kept[key] = [
                self._kept_on(source, key[1], tile, readers, bits)
                for tile, held in self.destinations.taken(*key).items() if tile in self.watched
                for readers, bits in held.items()
            ]  # fmt: skip
        return self._kept[key]

    def _kept_on(self, source: str, phase: int, tile: int, readers: Readers, bits: float) -> Kept:
        """What a tile keeps for these readers: of the positions that all of them read there those that no other flow of the same values
        does, where there are such."""
        kinds = [set(kind.flows) for kind in self.destinations.kinds(source)]
        beside = {place for kind in kinds if kind.issuperset(readers) for place in kind.difference(readers)}
        flows = [self.destinations.flows_from[source][place] for place in (*readers, *sorted(beside))]
        _, at = segments_of([self._positions(flow) for flow in flows])
        last = np.full((len(flows), len(at[0])), -1)  # of each reader: the vector that is the last to need each segment, -1 where none does
        for mine, flow, position in zip(last, flows, at, strict=True):
            of_position = np.full(self._positions(flow), -1)
            positions, vectors = self._last_needs(flow, phase, tile)
            of_position[positions] = vectors
            mine[:] = of_position[position]
        needed = (last[: len(readers)] >= 0).all(0)
        alone = needed & (last[len(readers) :] < 0).all(0)
        segments = np.flatnonzero(alone if alone.any() else needed)
        if not len(segments):
            return Kept(tile, bits, 1, {})
        ended = {}
        for place, mine in zip(readers, last, strict=False):
            vectors, which = np.unique(mine[segments], return_inverse=True)
            ended[place] = {int(vector): np.flatnonzero(which == number) for number, vector in enumerate(vectors)}
        return Kept(tile, bits / len(segments), len(segments), ended)

    def _positions(self, flow: Flow) -> int:
        """How many positions a flow's values are told apart by: of addends the vectors that add them up."""
        return self.network.layer(flow.target).vectors if flow.addend else len(flow.after)

    def _last_needs(self, flow: Flow, phase: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a flow that vectors on a tile need, and the last of these vectors, (positions needed,) each."""
        layer, deal = self.network.layer(flow.target), self.placement.deals[flow.target]
        key = id(flow), phase % deal.phases, tile
        if key not in self._last:
            dealt = deal.copy_of(phase)
            here = np.isin(dealt, [copy.index for copy in self.placement.copies[layer.name] if tile in self.operations.tiles[copy.rank]])
            if flow.addend:
                numbers = np.flatnonzero(here)
                self._last[key] = numbers, numbers
            else:
                own = np.zeros(layer.vectors, np.int64)  # number of a vector in its copy's block
                for copy in np.unique(dealt):
                    own[dealt == copy] = np.arange((dealt == copy).sum())
                reader, tap = np.nonzero(layer.reads >= 0)
                position = layer.reads[reader, tap] - flow.first
                mine = (position >= 0) & (position < len(flow.after)) & here[reader]
                reader, position = reader[mine], position[mine]
                order = np.lexsort((reader, own[reader], position))
                ends = order[np.flatnonzero(np.diff(position[order], append=-1))]
                self._last[key] = position[ends], reader[ends]
        return self._last[key]

    def stuck(self) -> None:
        """Raise BufferCapacityError where requests wait for room though nothing else happens any more."""
        for request in self.waiting:
            for tile, count in request.bits.items():
                if self.level[tile] + count > self.limit:
                    raise BufferCapacityError(tile, self.level[tile] + count, self.size, self.enough, self.chip)

"""Room in buffers (`xbar.hw.events.credits`) as rows of the compiled loop: what is taken and given where, by tiles that could run full."""

from collections.abc import Mapping, Sequence
from math import lcm
from types import ModuleType
from typing import Protocol

import numpy as np

from xbar.hw.errors import BufferCapacityError
from xbar.hw.events.credits import Credits, waiting
from xbar.hw.graph.network import Network

MOST = 1 << 24  # numbers of what samples send, by phase and tile
MOST_GIVEN = 1 << 22  # rows of what vectors give, by phase


class Rows(Protocol):
    """Tables by their names (`xbar.hw.events.fast`)."""

    at: dict[str, int]

    def room(self, name: str, count: int, width: int = 1) -> None:
        """Leave room for a table of zeros."""

    def put(self, name: str, rows: Sequence[Sequence[int]] | Sequence[int] | np.ndarray, width: int = 1) -> np.ndarray:
        """A table of these rows."""

    def of(self, name: str, number: np.ndarray) -> np.ndarray:
        """Where rows of a table begin, by their numbers."""

    def one(self, name: str, number: int) -> int:
        """Where a row of a table begins."""


def phases_of(credits: Credits, requests: int) -> int:
    """Of how many samples in a row each sends something else, no more than there are."""
    return min(requests, lcm(*(credits.destinations.phases(source) for source in credits.sources)))


def rows_given(credits: Credits, requests: int) -> int:
    """Rows of what vectors of all layers give back, of each phase."""
    found = 0
    for layer in credits.network.layers:
        for addend in (False, True):
            if brings := credits.bringing.get((layer.name, addend), []):
                found += layer.vectors * _phases(credits, brings, requests)
    return found


def _phases(credits: Credits, brings: Sequence[tuple[str, int]], requests: int) -> int:
    return min(requests, lcm(*(credits.destinations.phases(source) for source, _ in brings)))


class RoomRows:
    """What the compiled loop has to know of room in buffers. `bits` are numbers that stand in its second array, behind the levels."""

    def __init__(self, credits: Credits, loop: ModuleType, requests: int):
        self.credits, self.loop, self.requests = credits, loop, requests
        self.tiles = {tile: number for number, tile in enumerate(sorted(credits.watched))}
        self.bits: list[float] = []
        self.first_bits = loop.LEVEL + 3 * len(self.tiles)
        self.rooms: dict[tuple[tuple[int, float], ...], int] = {}
        self.on_tiles: list[tuple[int, int]] = []
        self.given: list[tuple[int, ...]] = []
        self.segments: list[int] = []
        self.begins: list[int] = []  # of which of what is given each vector, or sample, gives
        self.regions: dict[tuple[str, int], int] = {}  # by source and number of what is kept: its first segment in a slot
        self.pending = 0

    def _standing(self, bits: float) -> int:
        self.bits.append(bits)
        return self.first_bits + len(self.bits) - 1

    def number(self, room: Mapping[int, float]) -> int:
        """The number of these bits on tiles, from 1; 0 where there are none."""
        return self.rooms.setdefault(tuple(room.items()), len(self.rooms) + 1) if room else 0

    def put(self, rows: Rows, layers: np.ndarray, requests: np.ndarray, network: Network, copies: int) -> None:
        """Lay the tables; layers, requests: theirs, whose columns of room are filled. All rooms have numbers by then."""
        c = self.loop
        phases = phases_of(self.credits, self.requests) if self.tiles else 1
        if self.tiles:
            of_input = [self.number(self.credits.of_input(sample)) for sample in range(phases)]
            requests[:, c.R_ROOM] = np.array(of_input)[np.arange(len(requests)) % phases]
            for row, layer in zip(layers, network.layers, strict=True):
                row[c.L_LOADED], row[c.L_LOADED_PHASES] = self._gives(layer.name, False, layer.vectors)
                row[c.L_SUMMED], row[c.L_SUMMED_PHASES] = self._gives(layer.name, True, layer.vectors)
            gives = self._rest(phases)
        begins, spans = [0], []
        for room in self.rooms:
            for tile, count in room:
                self.on_tiles.append((self.tiles[tile], self._standing(count)))
            spans.append((begins[-1], len(self.on_tiles)))
            begins.append(len(self.on_tiles))
        rows.put("bits on tiles", self.on_tiles, c.B_WIDTH)
        spanned = rows.put("rooms", spans, 2)
        spanned[:] = rows.of("bits on tiles", spanned)
        rows.put("segments", self.segments)
        given = rows.put("given", self.given, c.V_WIDTH)
        given[:, [c.V_SEGMENTS, c.V_END]] = rows.of("segments", given[:, [c.V_SEGMENTS, c.V_END]])
        begin_of = rows.put("gives", self.begins)
        begin_of[:] = rows.of("given", begin_of)
        rows.room("waiting for room", len(requests) + 4 * copies, c.A_WIDTH)
        rows.room("passed", len(self.tiles))
        self.first_unsent = self.first_bits + len(self.bits)
        self.unsent = np.zeros((phases, len(self.tiles)))
        if not self.tiles:
            return
        for phase in range(phases):
            for tile, count in self.credits.bits_of(phase, self.credits.sources).items():
                self.unsent[phase, self.tiles[tile]] = count
        requests[:, c.R_ROOM] = self.where(rows, requests[:, c.R_ROOM])
        requests[:, c.R_UNSENT] = self.first_unsent + np.arange(len(requests)) % phases * len(self.tiles)
        requests[:, c.R_GIVES] = rows.of("gives", gives + 2 * (np.arange(len(requests)) % phases))
        for column in (c.L_LOADED, c.L_SUMMED):
            layers[:, column] = np.where(layers[:, column] < 0, 0, rows.of("gives", layers[:, column]))

    def where(self, rows: Rows, numbers: np.ndarray) -> np.ndarray:
        """Where rooms of these numbers begin, 0 of none."""
        return np.where(numbers > 0, rows.of("rooms", numbers - 1), 0)

    def _gives(self, layer: str, addend: bool, vectors: int) -> tuple[int, int]:
        """What a layer's vectors give back, of its inputs or of its addends: where it begins, -1 where it is nothing, and its phases."""
        brings = self.credits.bringing.get((layer, addend), [])
        phases = _phases(self.credits, brings, self.requests)
        first, before = len(self.begins), len(self.given)
        for phase in range(phases):
            ends = [(source, self.credits.ends_of(source, phase, place), self.credits.kept_of(source, phase)) for source, place in brings]
            for vector in range(vectors):
                self.begins.append(len(self.given))
                for source, each, kept in ends:
                    for tile, count in each.alone.get(vector, {}).items():
                        self.given.append((self.tiles[tile], self._standing(count), 0, 0, 0))
                    for number, segments in each.shared.get(vector, ()):
                        begin, region = len(self.segments), self._region(source, number)
                        self.segments += (region + segments).tolist()
                        self.given.append((
                            self.tiles[kept[number].tile], self._standing(kept[number].each), begin, len(self.segments),
                            len(kept[number].ended),
                        ))  # fmt: skip
        if len(self.given) == before:
            del self.begins[first:]
            return -1, 1
        self.begins.append(len(self.given))
        return first, phases

    def _region(self, source: str, number: int) -> int:
        """Where the segments of what is kept stand among those of a sample, as many as any phase has."""
        if (source, number) not in self.regions:
            self.regions[source, number] = self.pending
            kept = [self.credits.kept_of(source, phase) for phase in range(min(self.requests, self.credits.destinations.phases(source)))]
            self.pending += max(each[number].segments for each in kept if number < len(each))
        return self.regions[source, number]

    def _rest(self, phases: int) -> int:
        """What nobody gives before a sample is done, by phase from and to."""
        first = len(self.begins)
        for phase in range(phases):
            self.begins.append(len(self.given))
            for source in self.credits.sources:
                for kept in self.credits.kept_of(source, phase):
                    if not kept.ended:
                        self.given.append((self.tiles[kept.tile], self._standing(kept.each), 0, 0, 0))
            self.begins.append(len(self.given))
        return first

    def begin(self, slots: int) -> np.ndarray:
        """The second array as it is at the beginning, with room for so many slots."""
        levels, tiles = self.loop.LEVEL, len(self.tiles)
        found = np.zeros(self.first_unsent + self.unsent.size + slots * tiles)
        found[self.loop.LIMIT] = self.credits.limit
        found[levels + 3 * tiles : self.first_unsent] = self.bits
        found[self.first_unsent : self.first_unsent + self.unsent.size] = self.unsent.ravel()
        return found

    def scalars(self, of: Mapping[str, int], slot: int, slot_width: int) -> dict[int, int]:
        """Scalars of the first array; of: where tables begin; slot: where the first slot does."""
        c = self.loop
        return {
            c.WATCHED: len(self.tiles), c.UNSENT: self.first_unsent + self.unsent.size, c.SLOT_FIRST: slot, c.SLOT_WIDTH: slot_width,
            c.PENDING: slot_width - 1 - self.pending, c.IN_WAITING: of["waiting for room"], c.PASSED: of["passed"],
        }  # fmt: skip

    def put_back(self, memory: np.ndarray, room: np.ndarray) -> None:
        """Levels, peaks and who waits, as the processes would have left them."""
        c, count = self.loop, len(self.tiles)
        levels, peaks = room[c.LEVEL : c.LEVEL + count], room[c.LEVEL + count : c.LEVEL + 2 * count]
        self.credits.level = dict(zip(self.tiles, levels.tolist(), strict=True))
        self.credits.peak = dict(zip(self.tiles, peaks.tolist(), strict=True))
        self.credits.waiting = [waiting(self._bits_at(memory, room, row[c.A_ROOM])) for row in self.waiting(memory)]

    def waiting(self, memory: np.ndarray) -> np.ndarray:
        """Rows of who waits for room, in order."""
        c = self.loop
        first = int(memory[c.IN_WAITING])
        return memory[first : first + int(memory[c.WAITING]) * c.A_WIDTH].reshape(-1, c.A_WIDTH)

    def _bits_at(self, memory: np.ndarray, room: np.ndarray, needed: int) -> dict[int, float]:
        c, tiles = self.loop, list(self.tiles)
        return {
            tiles[memory[bits + c.B_TILE]]: float(room[memory[bits + c.B_BITS]])
            for bits in range(memory[needed], memory[needed + 1], c.B_WIDTH)
        }

    def lacks(self, memory: np.ndarray, room: np.ndarray) -> BufferCapacityError:
        """What is raised for bits that are more than a buffer holds."""
        c, bits = self.loop, int(memory[self.loop.LACKING])
        tile, count = list(self.tiles)[memory[bits + c.B_TILE]], float(room[memory[bits + c.B_BITS]])
        return BufferCapacityError(tile, count, self.credits.size, self.credits.enough, self.credits.chip)

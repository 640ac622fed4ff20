"""Where to cut a network that is to lie on several chips of one kind, one part of neighbouring layers on each.

Rule: every part fits a chip with the copies asked for (of "balance", one of each layer).

- As few chips as needed: of all ways to cut it so, the one whose chips send each other the fewest values.
- A number of chips given: the one whose longest stage is shortest, and of those the one whose chips send the fewest values.

A stage is what one chip does for a sample. Its time is estimated: of "balance" the least time t for which the chip has crossbars enough for
ceil(vectors / floor(t / vector_time)) copies of every layer, which is what `place` comes to; else that of the longest of its layers
with the copies asked for; where layers share cores, as long as copies take a converter one after another; and no less than the off-chip
links take for what comes and goes, the host's too. What waits for what within a sample is not in it, nor which layers come to lie on one
tile: the simulation tells. Both rules are kept exactly, by dynamic programming over the places where the network may be cut: the second
for these estimates, so that another cut may be simulated to be quicker. Where layers share crossbars, what fits a chip is what
`xbar.hw.chip.packing.pack` finds room for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from math import ceil, inf

import numpy as np

from xbar.hw.chip.cycle import ticks
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Replication, Sharing, asked, layer_geometry, packed_crossbars, vector_time
from xbar.hw.chip.recurrence import most_at_once, own_needs
from xbar.hw.chip.widths import made_bits, read_bits
from xbar.hw.errors import CapacityError, ParameterError
from xbar.hw.graph.network import Network
from xbar.hw.graph.part import cuts


class Stages:
    """Parts of a network, each between two numbers of layers, as stages on chips of one kind."""

    def __init__(self, network: Network, chip: Chip, replication: Replication = "balance", sharing: Sharing = "as_needed"):
        self.network, self.chip, self.sharing, self.balanced = network, chip, sharing, replication == "balance"
        self.copies = np.array(list(asked(network, None if isinstance(replication, str) else replication).values()))
        self.vectors = np.array([layer.vectors for layer in network.layers])
        per_core = chip.structure.crossbars_per_core
        self.alone = np.array([layer_geometry(chip, layer).crossbars for layer in network.layers])
        self.whole = -(-self.alone // per_core) * per_core
        self._index_values()

    def _index_values(self) -> None:
        """Values that travel, each once: the layer that makes them (-1: the input), how many, how wide each layer reads them (0: not)."""
        places = {layer.name: number for number, layer in enumerate(self.network.layers)}
        carried = self.network.carried
        self._source = np.array([places.get(each.source, -1) for each in carried])
        self._values = np.array([each.values for each in carried])
        self._made = np.array([made_bits(self.chip, each.source) if each.source else 0 for each in carried])
        self._read = np.zeros((len(carried), len(places)), np.int64)
        widths = {layer.name: read_bits(self.chip, layer) for layer in self.network.layers}
        for row, each in enumerate(carried):
            for name in each.readers:
                self._read[row, places[name]] = widths[name]
        self._leaving = np.array([self.network.outputs.get(name, 0.0) * made_bits(self.chip, name) for name in places])

    def crossbars(self, first: int, last: int) -> int:
        """The fewest crossbars that the layers from `first` to before `last` take, with what sharing allows."""
        taken = self.whole if self.sharing == "none" else self.alone
        together = int((taken[first:last] * self.copies[first:last]).sum())
        if self.sharing != "crossbars" or together <= self.chip.crossbars:
            return together
        layers = self.network.layers[first:last]
        return packed_crossbars(self.chip, layers, {x.name: int(n) for x, n in zip(layers, self.copies[first:last], strict=True)})

    def fits(self, first: int, last: int) -> bool:
        """Whether they fit a chip."""
        return self.crossbars(first, last) <= self.chip.crossbars

    def sent(self, first: int, last: int) -> float:
        """Values a sample that they send to others, each once."""
        return float(self._values[self._sent(first, last)].sum())

    def _sent(self, first: int, last: int) -> np.ndarray:
        """Which values they send to others, bool."""
        others = np.ones(self._read.shape[1], bool)
        others[first:last] = False
        return (self._source >= first) & (self._source < last) & self._read[:, others].any(axis=1)

    def _received_bits(self, first: int, last: int) -> float:
        """Bits a sample that come from others, and from outside: each value as wide as the widest of them reads it."""
        width, outside = self._read[:, first:last].max(axis=1), self._source < 0
        others = ~outside & ((self._source < first) | (self._source >= last))
        of_input = float(self._values[outside & (width > 0)].sum())
        there = min(1.0, self.network.input_values / of_input) if of_input else 0.0
        bits = self._values * width
        return float(bits[others].sum()) + there * float(bits[outside].sum())

    @cached_property
    def _times_in_whole(self) -> np.ndarray:
        return self._vector_times(self.whole)

    @cached_property
    def _times_shared(self) -> np.ndarray:
        return self._vector_times(self.alone)

    def _vector_times(self, taken: np.ndarray) -> np.ndarray:
        """Of each layer, how long a vector holds a copy of so many crossbars [fs]."""
        counts = [None if self.balanced else int(count) for count in self.copies]
        each = zip(self.network.layers, taken, counts, strict=True)
        return np.array([vector_time(self.chip, layer, int(n), count) for layer, n, count in each], np.int64)

    @cached_property
    def _limits(self) -> np.ndarray:
        """The most copies of each layer that help."""
        own = own_needs(self.network)
        return np.array([most_at_once(own[x.name]) if x.name in own else x.vectors for x in self.network.layers])

    def time(self, first: int, last: int) -> int:
        """How long a chip with these layers takes for a sample, in a long row of samples [fs], as estimated."""
        sent = self._sent(first, last)
        bits = self._received_bits(first, last) + float((self._values * self._made)[sent].sum() + self._leaving[first:last].sum())
        link = self.chip.costs["link"]
        return max(self._computing(slice(first, last)), ticks(ceil(bits), link.units * link.unit_rate))

    def _computing(self, part: slice) -> int:
        in_whole = self.sharing in ("none", "as_needed") and int((self.whole * self.copies)[part].sum()) <= self.chip.crossbars
        taken, each = (self.whole, self._times_in_whole) if in_whole else (self.alone, self._times_shared)
        taken, each, vectors, copies = taken[part], each[part], self.vectors[part], self.copies[part]
        if self.balanced:
            low, high = int((-(-vectors // self._limits[part]) * each).max()) - 1, int((vectors * each).max())
            while high - low > 1:  # high is enough time, low is not
                time = (low + high) // 2
                enough = bool((time >= each).all()) and int((taken * -(-vectors // (time // each))).sum()) <= self.chip.crossbars
                low, high = (low, time) if enough else (time, high)
            copies = -(-vectors // (high // each))
        blocks = -(-vectors // copies) * each
        return int(blocks.max()) if in_whole else self._busiest_converter(taken, copies, blocks)

    def _busiest_converter(self, crossbars: np.ndarray, copies: np.ndarray, blocks: np.ndarray) -> int:
        """How long the converter is taken that copies of so many crossbars, one after another on the chip, take longest, each for its
        block of vectors [fs]."""
        per_core, per_adc = self.chip.structure.crossbars_per_core, self.chip.array_design.crossbars_per_adc
        ends, times = np.repeat(crossbars, copies).cumsum(), np.repeat(blocks, copies)

        def converter(slot: np.ndarray) -> np.ndarray:
            return slot // per_core * ceil(per_core / per_adc) + slot % per_core // per_adc

        taken = np.zeros(int(converter(ends[-1])) + 2, np.int64)
        np.add.at(taken, converter(ends - np.repeat(crossbars, copies)), times)
        np.subtract.at(taken, converter(ends - 1) + 1, times)
        return int(taken.cumsum().max())


def partition(stages: Stages, chips: int | None = None) -> list[int]:
    """Numbers of layers before each cut, in order, for as few chips as needed (None) or for so many.

    Raises CapacityError where layers that cannot be parted do not fit a chip, or the network so few; ParameterError for more chips
    than parts that it can be cut into.
    """
    places = [0, *cuts(stages.network), len(stages.network.layers)]
    _check_parts(stages, places)
    count = len(places) - 1
    fitting = {
        (i, j): stages.sent(places[i], places[j]) for i in range(count) for j in range(i + 1, count + 1)
        if stages.fits(places[i], places[j])
    }  # fmt: skip
    if chips is None:
        return [places[i] for i in _fewest(count, fitting)]
    if not isinstance(chips, int | np.integer) or isinstance(chips, bool) or chips < 1:
        raise ParameterError(f"chips must be a whole number of at least 1, or None for as few as needed, got {chips!r}")
    if chips > count:
        raise ParameterError(f"the network can be cut into {count} parts at most, got {chips} chips")
    needed = len(_fewest(count, fitting)) + 1
    if chips < needed:
        size = stages.chip.crossbars
        raise CapacityError(f"{chips} chips {stages.chip.name} are too few: the network needs {needed}", needed * size, chips * size)
    times = {(i, j): stages.time(places[i], places[j]) for i, j in fitting}
    longest, _ = _best(count, chips, times, max)
    _, found = _best(count, chips, {part: sent for part, sent in fitting.items() if times[part] <= longest}, lambda a, b: a + b)
    return [places[i] for i in found]


def _check_parts(stages: Stages, places: Sequence[int]) -> None:
    """Raise CapacityError for layers that cannot be parted and do not fit a chip."""
    for first, last in pairwise(places):
        if not stages.fits(first, last):
            names = [layer.name for layer in stages.network.layers[first:last]]
            needed, available = stages.crossbars(first, last), stages.chip.crossbars
            named = f"layer {names[0]} takes" if len(names) == 1 else f"layers {', '.join(names)}, which cannot be on several chips, take"
            raise CapacityError(
                f"chip {stages.chip.name} is too small by {needed - available} crossbars: {named} {needed} alone, and the chip has "
                f"{available}", needed, available,
            )  # fmt: skip


def _fewest(count: int, sent: dict[tuple[int, int], float]) -> list[int]:
    """Cuts into as few parts as can be, and of those with the smallest sum."""
    best: list[tuple[int, float, list[int]]] = [(0, 0.0, [])]
    for j in range(1, count + 1):
        ways = [(best[i][0] + 1, best[i][1] + sent[i, j], [*best[i][2], i]) for i in range(j) if (i, j) in sent]
        best.append(min(ways, key=lambda way: way[:2]))
    return best[count][2][1:]


def _best(
    count: int, parts: int, costs: Mapping[tuple[int, int], float], join: Callable[[float, float], float]
) -> tuple[float, list[int]]:
    """The smallest cost of that many parts, joined so, and the cuts that have it, the first of those that are alike."""
    best: list[tuple[float, list[int]]] = [(0, []), *[(inf, [])] * count]
    for _ in range(parts):
        found: list[tuple[float, list[int]]] = [(inf, [])] * (count + 1)
        for (i, j), cost in sorted(costs.items()):
            whole = join(best[i][0], cost)
            if whole < found[j][0]:
                found[j] = (whole, [*best[i][1], i])
        best = found
    return best[count][0], best[count][1][1:]

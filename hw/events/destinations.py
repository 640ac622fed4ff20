"""Which tiles a value goes to: those that hold rows for it in the copies whose vectors read it.

Positions of a flow are read by vectors, and vectors are dealt to copies (`xbar.hw.chip.copies`). A value of a position goes once to
every tile that holds rows for it in any copy that reads the position; an addend, to where the copy that makes the sum completes it.
Of the values of a position each tile gets the share of the matrix's rows that it holds: on the mean of the positions' channels.

What several flows bring is one value where its numbers are (`xbar.hw.graph.made`): a tile gets it once, whichever of their layers read it
there, as wide as the widest of these does. Rows of several readers, and results that are added up, are then taken to lie in the order of
the values, and of values that only some flows bring each reader's rows to hold alike many. What one flow brings twice, as windows that
overlap do where they are laid out in memory, is two values.

A layer's vectors send alike much; each sends to where the first position goes that is not complete before it, so that of pooled
values each vector sends its part.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

import numpy as np

from xbar.hw.chip.copies import copies_reached
from xbar.hw.chip.placement import Crossbar, Placement
from xbar.hw.chip.widths import made_bits, read_bits
from xbar.hw.graph.made import together
from xbar.hw.graph.network import Flow

Copies = tuple[tuple[int, ...], ...]  # of each flow of a source, the copies of its target
Readers = tuple[int, ...]  # places of flows among their source's


class Part(NamedTuple):
    """Part of a source's values on one tile: bits of a sample, if all of it went there, and who reads it there."""

    bits: float
    readers: Readers


class Kind(NamedTuple):
    """Values that these flows of a source bring, and no other; of each flow the bits of a sample."""

    flows: Readers
    bits: tuple[float, ...]


@dataclass(frozen=True)
class Lines:
    """Where the values that a layer reads, or those that it makes, lie in each of its copies: (tile, begin, end), in parts of `whole`."""

    whole: int
    of: tuple[tuple["Run", ...], ...]


Parts = Mapping[int, Mapping[object, Part]]  # by tile and part
Taken = Mapping[int, Mapping[Readers, float]]  # by tile and who reads there: bits
Run = tuple[int, int, int]  # (tile, or reader; begin; end)


def blocks(crossbars: list[Crossbar]) -> dict[tuple[int, int], list[Crossbar]]:
    """Crossbars whose results are added up, by (group, column tile)."""
    found: dict[tuple[int, int], list[Crossbar]] = defaultdict(list)
    for crossbar in crossbars:
        found[(crossbar.group, crossbar.column_tile)].append(crossbar)
    return found


class Destinations:
    """Where values go, for every source of a placed network: its layers, and "" of the network's input."""

    def __init__(self, placement: Placement, crossbars: dict[int, list[Crossbar]]):
        self.placement, self.network, self.deals = placement, placement.network, placement.deals
        self.crossbars = crossbars  # by rank
        self.flows_from = {name: [flow for flow in self.network.flows if flow.source == name] for name in ["", *placement.copies]}
        self._kinds: dict[str, list[Kind]] = {}
        self._positions: dict[tuple[str, bool, int, int, int], list[tuple[int, ...]]] = {}
        self._lines: dict[tuple[str, bool], Lines] = {}
        self._spread: dict[tuple[str, int, Copies], Parts] = {}
        self._parts: dict[tuple[str, Copies], Parts] = {}
        self._taken: dict[tuple[str, int], Taken] = {}
        self._mean: dict[str, Taken] = {}

    # ---- what travels

    def bits(self, flow: Flow) -> float:
        """Bits per sample of a flow where it goes to once."""
        chip, layer = self.placement.chip, self.network.layer(flow.target)
        return flow.values * (made_bits(chip, layer.name) if flow.addend else read_bits(chip, layer))

    def kinds(self, source: str) -> list[Kind]:
        """What a source makes, by which of its flows bring it."""
        if source not in self._kinds:
            flows = self.flows_from[source]
            found = together(flows)
            all_of = [sum(values for which, values in found if place in which) for place in range(len(flows))]
            self._kinds[source] = [
                Kind(which, tuple(values / all_of[place] * self.bits(flows[place]) for place in which)) for which, values in found
            ]
        return self._kinds[source]

    # ---- which copies it goes to

    def phases(self, source: str) -> int:
        """After how many samples the copies that a source's values go to are the same again."""
        return lcm(*(self.deals[flow.target].phases for flow in self.flows_from[source]))

    def reached(self, flow: Flow, sample: int) -> list[tuple[int, ...]]:
        """The copies of the flow's target that each of its positions goes to."""
        deal, positions = self.deals[flow.target], len(flow.after)
        key = (flow.target, flow.addend, flow.first, positions, sample % deal.phases)
        if key not in self._positions:
            layer = self.network.layer(flow.target)
            if flow.addend:
                taken = deal.copy_of(sample)[np.arange(positions) * layer.vectors // max(1, positions)]
                self._positions[key] = [(int(copy),) for copy in taken]
            else:
                every = copies_reached(layer, deal.copy_of(sample))
                self._positions[key] = every[flow.first : flow.first + positions]
        return self._positions[key]

    def of_vectors(self, flow: Flow, sample: int) -> list[tuple[int, ...]]:
        """The copies of the target that each vector of the source sends to."""
        reached = self.reached(flow, sample)
        if not reached:
            return [()] * self.network.layer(flow.source).vectors
        complete = np.maximum.accumulate(flow.after)
        vectors = np.arange(self.network.layer(flow.source).vectors)
        position = np.minimum(np.searchsorted(complete, vectors, side="right"), len(reached) - 1)
        return [reached[k] for k in position.tolist()]

    def copies_of(self, layer: str, sample: int) -> list[Copies]:
        """Of each vector of a layer's sample: for each flow of its results the copies that it goes to."""
        flows = self.flows_from[layer]
        if not flows:
            return [()] * self.network.layer(layer).vectors
        return list(zip(*(self.of_vectors(flow, sample) for flow in flows), strict=True))

    # ---- which tiles

    def parts(self, source: str, copies: Copies) -> Parts:
        """Of all values of a source that go to these copies of each flow's target, what each tile gets."""
        if (source, copies) not in self._parts:
            found: dict[int, dict[object, Part]] = defaultdict(dict)
            for number, kind in enumerate(self.kinds(source)):
                for tile, parts in self._parts_of(source, number, tuple(copies[place] for place in kind.flows)).items():
                    found[tile].update({(number, part): each for part, each in parts.items()})
            self._parts[source, copies] = found
        return self._parts[source, copies]

    def of_sample(self, source: str, sample: int) -> Parts:
        """What each tile gets of a whole sample; of each position's values where these go. No two positions share a part."""
        found: dict[int, dict[object, Part]] = defaultdict(dict)
        for number, kind in enumerate(self.kinds(source)):
            for copies, share in self._positions_of(source, kind, sample).items():
                for tile, parts in self._parts_of(source, number, copies).items():
                    for part, (bits, readers) in parts.items():
                        found[tile][number, part, copies] = Part(bits * share, readers)
        return found

    def _positions_of(self, source: str, kind: Kind, sample: int) -> dict[Copies, float]:
        """By the copies of each of a kind's flows: the share of the positions that go there. Where flows have other positions than each
        other, as values have that are read in a picture and as one vector, each stands for its share of all."""
        reached = [self.reached(self.flows_from[source][place], sample) or [()] for place in kind.flows]
        if len({len(each) for each in reached}) == 1:
            return {copies: count / len(reached[0]) for copies, count in Counter(zip(*reached, strict=True)).items()}
        widths, at = segments_of([len(each) for each in reached])
        found: dict[Copies, int] = defaultdict(int)
        every = zip(*([each[k] for k in place.tolist()] for each, place in zip(reached, at, strict=True)), strict=True)
        for copies, width in zip(every, widths.tolist(), strict=True):
            found[copies] += width
        return {copies: width / int(widths.sum()) for copies, width in found.items()}

    def _parts_of(self, source: str, number: int, copies: Copies) -> Parts:
        """Of a source's values of one kind that go to these copies of each of its flows, what each tile gets."""
        key = source, number, copies
        if key not in self._spread:
            kind, flows = self.kinds(source)[number], self.flows_from[source]
            lines = [self._lines_of(flows[place].target, flows[place].addend) for place in kind.flows]
            whole = lcm(*(each.whole for each in lines))
            held: dict[int, list[Run]] = defaultdict(list)  # by tile: who reads from where to where
            for reader, (line, reached) in enumerate(zip(lines, copies, strict=True)):
                for copy in reached:
                    for tile, begin, end in line.of[copy]:
                        held[tile].append((reader, begin * whole // line.whole, end * whole // line.whole))
            edges = sorted({edge for runs in held.values() for run in runs for edge in run[1:]})
            self._spread[key] = {tile: _cut(runs, edges, whole, kind) for tile, runs in held.items()}
        return self._spread[key]

    def _lines_of(self, name: str, results: bool) -> Lines:
        """Where the values that a layer reads lie in its copies, or its results."""
        if (name, results) not in self._lines:
            copies = [self.crossbars[copy.rank] for copy in self.placement.copies[name]]
            whole, runs = (self._results if results else self._rows)(name)
            self._lines[name, results] = Lines(whole, tuple(tuple(_joined(runs(crossbars))) for crossbars in copies))
        return self._lines[name, results]

    def _rows(self, name: str) -> tuple[int, Callable[[list[Crossbar]], list[Run]]]:
        """How many values a vector reads, of a look-up the rows of which it reads one; and which of them lie on a copy's tiles."""
        layer, geometry = self.network.layer(name), self.placement.geometry(name)
        of_group, of_tile = geometry.together * geometry.of_layer.weights, geometry.inputs_per_crossbar - geometry.bias_rows

        def runs(crossbars: list[Crossbar]) -> list[Run]:
            begins = [(x, x.group * of_group + x.row_tile * of_tile) for x in crossbars]
            return [(x.tile, begin, begin + geometry.values_on(x.rows)) for x, begin in begins]

        return layer.groups * layer.inputs, runs

    def _results(self, name: str) -> tuple[int, Callable[[list[Crossbar]], list[Run]]]:
        """How many results a vector makes, and which of them a copy's tiles complete; of a look-up, where its row's tile does, of each
        result the share of the rows."""
        layer, geometry = self.network.layer(name), self.placement.geometry(name)
        of_group = geometry.together * geometry.of_layer.outputs
        rows = layer.inputs if layer.lookup else 1

        def runs(crossbars: list[Crossbar]) -> list[Run]:
            found = []
            for row_tile in range(geometry.row_tiles if layer.lookup else 1):
                first, held = (row_tile * geometry.inputs_per_crossbar, geometry.inputs_of(row_tile)) if layer.lookup else (0, 1)
                read = [x for x in crossbars if x.row_tile == row_tile] if layer.lookup else crossbars
                for (group, column_tile), block in blocks(read).items():
                    begin, results = group * of_group + column_tile * geometry.outputs_per_crossbar, geometry.outputs_of(column_tile, group)
                    at = begin * rows + results * first
                    found.append((block[-1].tile, at, at + results * held))
            return found

        return layer.groups * layer.outputs * rows, runs

    def completed(self, name: str, sample: int) -> dict[int, float]:
        """Share of a sample's results of a layer that each tile completes."""
        deal, lines = self.deals[name], self._lines_of(name, True)
        found: dict[int, float] = defaultdict(float)
        for copy, vectors in Counter(deal.copy_of(sample).tolist()).items():
            for tile, begin, end in lines.of[copy]:
                found[tile] += (end - begin) / lines.whole * vectors / deal.vectors
        return dict(found)

    # ---- what tiles get of a sample

    def taken(self, source: str, sample: int) -> Taken:
        """Bits of a sample of a source's values that each tile gets, by who reads them there."""
        key = source, sample % self.phases(source)
        if key not in self._taken:
            found: dict[int, dict[Readers, float]] = defaultdict(lambda: defaultdict(float))
            for parts, share in self._shares(source, sample):
                for tile, held in parts.items():
                    for bits, readers in held.values():
                        found[tile][readers] += bits * share
            self._taken[key] = found
        return self._taken[key]

    def _shares(self, source: str, sample: int) -> list[tuple[Parts, float]]:
        if not source:
            return [(self.of_sample(source, sample), 1.0)]
        goes = self.copies_of(source, sample)
        return [(self.parts(source, copies), count / len(goes)) for copies, count in Counter(goes).items()]

    def arriving(self, source: str) -> Taken:
        """The same, on the mean of samples."""
        if source not in self._mean:
            found: dict[int, dict[Readers, float]] = defaultdict(lambda: defaultdict(float))
            phases = self.phases(source)
            for sample in range(phases):
                for tile, held in self.taken(source, sample).items():
                    for readers, bits in held.items():
                        found[tile][readers] += bits / phases
            self._mean[source] = found
        return self._mean[source]


def segments_of(counts: Sequence[int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Values that are laid out at so many positions in one way and another, cut where any of these begins: widths, (segments,), and for
    each way the position that each segment lies in, (segments,)."""
    whole = lcm(*counts)
    edges = np.unique(np.concatenate([np.arange(count + 1) * (whole // count) for count in counts]))
    return np.diff(edges), [edges[:-1] // (whole // count) for count in counts]


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """The same on every tile, by tile, neighbours as one."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for tile, begin, end in runs:
        found[tile].append((begin, end))
    for tile, held in found.items():
        first, last = -1, -1
        for begin, end in sorted(held):
            if begin > last and last >= 0:
                yield tile, first, last
            first, last = (first, max(last, end)) if first >= 0 and begin <= last else (begin, end)
        yield tile, first, last


def _cut(runs: Sequence[Run], edges: Sequence[int], whole: int, kind: Kind) -> dict[object, Part]:
    """What one tile gets of values of a kind, that runs (reader, begin, end) of `whole` read there, cut at all of these edges."""
    at, readers = {edge: number for number, edge in enumerate(edges)}, [0] * len(edges)  # as bits of a number
    for reader, begin, end in runs:
        for number in range(at[begin], at[end]):
            readers[number] |= 1 << reader
    found: dict[object, Part] = {}
    for number, mask in enumerate(readers):
        if mask:
            who = [reader for reader in range(len(kind.flows)) if mask >> reader & 1]
            share = (edges[number + 1] - edges[number]) / whole
            found[number] = Part(max(kind.bits[reader] for reader in who) * share, tuple(kind.flows[reader] for reader in who))
    return found

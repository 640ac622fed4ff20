"""Which tiles a value goes to: those that hold rows for it in the copies whose vectors read it.

Positions of a flow are read by vectors, and vectors are dealt to copies (`xbar.hw.chip.copies`). A value of a position goes once to
every tile that holds rows for it in any copy that reads the position; an addend, to where the copy that makes the sum completes it.
Of the values of a position each tile gets the share of the matrix's rows that it holds: on the mean of the positions' channels.

A layer's vectors send alike much; each sends to where the first position goes that is not complete before it, so that of pooled
values each vector sends its part.
"""

from collections import Counter, defaultdict
from functools import cached_property

import numpy as np

from xbar.hw.chip.copies import copies_reached
from xbar.hw.chip.placement import Crossbar, Placement
from xbar.hw.graph.network import Flow

Weights = dict[tuple[int, object], float]  # by (tile, part of the value): share of a value's bits


def blocks(crossbars: list[Crossbar]) -> dict[tuple[int, int], list[Crossbar]]:
    """Crossbars whose results are added up, by (group, column tile)."""
    found: dict[tuple[int, int], list[Crossbar]] = defaultdict(list)
    for crossbar in crossbars:
        found[(crossbar.group, crossbar.column_tile)].append(crossbar)
    return found


class Destinations:
    """Where values go, for every flow of a placed network."""

    def __init__(self, placement: Placement, crossbars: dict[int, list[Crossbar]]):
        self.placement, self.network, self.deals = placement, placement.network, placement.deals
        self.crossbars = crossbars  # by rank
        self._positions: dict[tuple[str, bool, int, int, int], list[tuple[int, ...]]] = {}
        self._weights: dict[tuple[str, bool, tuple[int, ...]], Weights] = {}
        self._mean: dict[int, np.ndarray] = {}

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

    def phases(self, flow: Flow) -> int:
        """After how many samples the copies that a flow goes to are the same again."""
        return self.deals[flow.target].phases

    def weights(self, flow: Flow, copies: tuple[int, ...]) -> Weights:
        """How often each tile gets each part of a value that goes to these copies of the target."""
        key = (flow.target, flow.addend, copies)
        if key not in self._weights:
            weights: Weights = {}
            for copy in copies:
                own = self._of_adder[flow.target][copy] if flow.addend else self._of_reader[flow.target][copy]
                weights.update(own)
            self._weights[key] = weights
        return self._weights[key]

    @cached_property
    def _of_reader(self) -> dict[str, list[Weights]]:
        """For every copy of each layer: the share of the rows that each tile holds, by row tile and group."""
        found: dict[str, list[Weights]] = {}
        for name, copies in self.placement.copies.items():
            layer, geometry = self.network.layer(name), self.placement.geometry(name)
            lines = geometry.wordlines_per_input if layer.lookup else 1
            rows = layer.groups * layer.inputs * lines
            found[name] = [
                {(x.tile, (name, x.group, x.row_tile)): x.rows / rows for x in self.crossbars[copy.rank]} for copy in copies
            ]
        return found

    @cached_property
    def _of_adder(self) -> dict[str, list[Weights]]:
        """For every copy of each layer: the share of the results that each tile completes."""
        found = {}
        for name, copies in self.placement.copies.items():
            layer, geometry = self.network.layer(name), self.placement.geometry(name)
            found[name] = [
                self._completed(layer.groups * layer.outputs, geometry.column_tiles, self.crossbars[copy.rank], name)
                for copy in copies
            ]
        return found

    def _completed(self, outputs: int, column_tiles: int, crossbars: list[Crossbar], name: str) -> Weights:
        layer, geometry = self.network.layer(name), self.placement.geometry(name)
        weights: Weights = defaultdict(float)
        for row_tile in range(geometry.row_tiles if layer.lookup else 1):
            share = geometry.inputs_of(row_tile) / layer.inputs if layer.lookup else 1.0
            read = [x for x in crossbars if x.row_tile == row_tile] if layer.lookup else crossbars
            for block in blocks(read).values():
                home = block[-1]
                made = share * geometry.outputs_of(home.column_tile, home.group) / outputs
                weights[home.tile, (name, "sum", home.group, home.column_tile)] += made
        return dict(weights)

    def completed(self, name: str, sample: int) -> dict[int, float]:
        """Share of a sample's results of a layer that each tile completes."""
        deal = self.deals[name]
        found: dict[int, float] = defaultdict(float)
        for copy, vectors in Counter(deal.copy_of(sample).tolist()).items():
            for (tile, _), share in self._of_adder[name][copy].items():
                found[tile] += share * vectors / deal.vectors
        return dict(found)

    def arriving(self, flow: Flow) -> np.ndarray:
        """How many times each tile gets one value of the flow, on the mean of samples, (tiles,)."""
        key = id(flow)
        if key not in self._mean:
            found, phases = np.zeros(self.placement.chip.structure.tiles), self.phases(flow)
            for sample in range(phases):
                senders = self._senders(flow, sample)
                for copies, count in Counter(senders).items():
                    for (tile, _), weight in self.weights(flow, copies).items():
                        found[tile] += count * weight / len(senders) / phases
            self._mean[key] = found
        return self._mean[key]

    def _senders(self, flow: Flow, sample: int) -> list[tuple[int, ...]]:
        return self.of_vectors(flow, sample) if flow.source else self.reached(flow, sample)

    def of_sample(self, flow: Flow, sample: int) -> Weights:
        """How often each tile gets each part of the flow's values of a whole sample, on the mean of positions; no two positions
        share a part."""
        reached = self.reached(flow, sample)
        found: Weights = defaultdict(float)
        for copies, count in Counter(reached).items():
            for (tile, part), weight in self.weights(flow, copies).items():
                found[tile, (part, copies)] += weight * count / len(reached)
        return dict(found)

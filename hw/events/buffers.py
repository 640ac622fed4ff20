"""How much of each tile's buffer is taken by values that wait for their last reader.

Told after a simulation, from when values were made and read; `xbar.hw.events.credits` keeps room for them meanwhile.
A value takes its bits once on every tile that it is sent to, from when it is made until the last vector that reads it
has loaded (an addend: until the sum is made), of all layers that read it there. Samples are counted from their arrival over the links.
"""

import numpy as np
import pandas as pd

from xbar.hw.events.destinations import segments_of
from xbar.hw.events.ledger import INPUT, Ledger
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.network import Flow


class _Times:
    """When vectors of each layer were loaded and drained, from the ledger's runs; of requests that repeat each other, as if there were
    none but one period of them, in which as much waits as in the others."""

    def __init__(self, ledger: Ledger):
        self.ledger, self.runs = ledger, ledger.runs
        self.requests = ledger.requests - (0 if self.runs.repeats is None else self.runs.repeats.requests)
        self.order = np.argsort(self.runs.activity, kind="stable")
        self.first = np.searchsorted(self.runs.activity[self.order], np.arange(len(ledger.activities) + 1))

    def _ends(self, activities: set[int]) -> np.ndarray:
        """Ends of the runs of these activities (of one stage of a copy, several for a table) in their order [fs]."""
        runs = [self.order[self.first[k] : self.first[k + 1]] for k in activities]
        return self.runs.end[np.sort(np.concatenate(runs))] if runs else np.zeros(0, np.int64)

    def of(self, layer: str, stage: str) -> np.ndarray:
        """End of the stage for every vector [fs], int64 (samples, vectors)."""
        deal = self.ledger.placement.deals[layer]
        ends = np.zeros((self.requests, deal.vectors), np.int64)
        for copy in range(deal.copies):
            turns = np.array(list(deal.turns(copy, self.requests)), np.int64).reshape(-1, 2)
            if len(turns):
                ends[turns[:, 0], turns[:, 1]] = self._ends({
                    k for k, a in enumerate(self.ledger.activities) if (a.layer, a.stage, a.copy) == (layer, stage, copy)
                })  # fmt: skip
        return ends

    def samples(self) -> np.ndarray:
        """Arrival of every sample over the links [fs] (samples,), empty where samples lay in the buffers."""
        return self._ends({i for i, a in enumerate(self.ledger.activities) if a.layer == INPUT})


def buffer_demand(ledger: Ledger) -> pd.DataFrame:
    """Largest number of bits waiting in each tile's buffer: peak_bits and, of the chip's buffer size, share."""
    chip = ledger.chip
    operations, times = VectorOperations(ledger.placement, off_chip_io=True), _Times(ledger)
    moments: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    weights: list[dict[int, float]] = []  # by tile: bits of a sample
    for source in operations.sources:
        stays = [_stay(flow, ledger, times) for flow in operations.destinations.flows_from[source]]
        arriving = operations.destinations.arriving(source)
        for readers in dict.fromkeys(readers for held in arriving.values() for readers in held):
            found = [stay for stay in (stays[place] for place in readers) if stay is not None]
            if not found:
                continue
            widths, at = segments_of([made.shape[1] for made, _ in found])
            made = np.min([made[:, place] for (made, _), place in zip(found, at, strict=True)], axis=0)
            released = np.max([released[:, place] for (_, released), place in zip(found, at, strict=True)], axis=0)
            share = np.tile(widths / widths.sum(), len(made))
            moments.append(np.concatenate([made.ravel(), released.ravel()]))
            shares.append(np.concatenate([share, -share]))
            weights.append({tile: held[readers] for tile, held in arriving.items() if readers in held})
    peaks = np.zeros(chip.structure.tiles)
    for tile in range(chip.structure.tiles):
        held = [k for k, weight in enumerate(weights) if weight.get(tile, 0.0) > 0]
        if held:
            when, where = np.unique(np.concatenate([moments[k] for k in held]), return_inverse=True)
            change = np.concatenate([shares[k] * weights[k][tile] for k in held])
            peaks[tile] = np.cumsum(np.bincount(where, weights=change, minlength=len(when))).max()
    return pd.DataFrame({"peak_bits": peaks, "share": peaks / chip.timing.buffer_size}).rename_axis("tile")


def _stay(flow: Flow, ledger: Ledger, times: _Times) -> tuple[np.ndarray, np.ndarray] | None:
    """When each position of the flow's value was made and no longer needed [fs], (samples, positions) each."""
    network = ledger.placement.network
    positions = len(flow.after)
    if flow.source:
        done = np.maximum.accumulate(times.of(flow.source, "drain"), axis=1)
        made = done[:, np.maximum(flow.after, 1) - 1]
    else:
        arrived = times.samples()
        if not len(arrived):
            return None
        made = np.repeat(arrived[:, None], positions, axis=1)
    if flow.addend:
        used = times.of(flow.target, "drain")
        return made, np.maximum(made, used[:, np.arange(positions) * used.shape[1] // positions])
    loaded = times.of(flow.target, "load")
    released = made.copy()
    for taps in network.layer(flow.target).reads.T - flow.first:  # every tap of a window reads another position
        inside = (taps >= 0) & (taps < positions)
        released[:, taps[inside]] = np.maximum(released[:, taps[inside]], loaded[:, inside])
    return made, released

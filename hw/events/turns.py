"""A network in turns on a chip that it does not fit: weights come from a memory beside the chip, are written, serve a batch, and make
room for the next layers. What several chips would each hold (`xbar.hw.chip.chips.place_chips`), one chip holds in turn.

The requests of a batch, all there at its beginning, go through the first turn's layers; what these give is kept in the memory until
the next turn's layers are written; and so on. A larger batch shares the writes among more requests, and keeps more values meanwhile and
each request waiting longer: `schedule` shows that trade.

A turn is one simulation (`xbar.hw.events.simulator`), in which writes are events: weights stream in over the chip's links, layer after
layer; a layer's crossbars, of all its copies, are written in parallel once its weights are there (`xbar.hw.events.updates` has the
conventions); requests begin when the last weights are there, and a vector waits until its layer is written. The turn ends when its last
result has left; nothing of the next turn overlaps with it.

The memory is written with what a turn makes for later ones, and, when the batch comes, with what later turns read of the network's own
input; it holds each until the last turn that reads it. What the first turn reads of the input comes from outside, and final results of
whichever turn leave for there: neither passes the memory.

Not modelled: what weights take on the chip from its links to their crossbars, in energy and time of mesh, bus and buffer; writing one
layer while others compute for another turn; keeping values of a small batch in the chip's own buffers; idle power and refresh of the
memory; biases that are added digitally (`weights.bias_rows = 0`), whose width no chip states: those on crossbars come with the weights,
as wide as they are, a number an output, of which each row of biases holds an equal part.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, isfinite, nan

import numpy as np
import pandas as pd

from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement
from xbar.hw.cost.dram import dram
from xbar.hw.display import Shown, lasting, si
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import INPUT, WRITE, Ledger
from xbar.hw.events.simulator import lookups_on, simulate
from xbar.hw.events.updates import SECONDS_PER_YEAR, Update


@dataclass(frozen=True)
class Memory:
    """The memory beside the chip. kind: of `xbar.hw.cost.dram.ENERGY`, which gives its energy per bit; bandwidth [bit/s] and latency [s],
    from the request of a stream to its first bit, are the user's: by default those of one stack of HBM2 (JEDEC JESD235A, not opened:
    1,024 pins at 2 Gbit/s) and 100 ns (assumed). Raises ParameterError.
    """

    kind: str = "HBM2"
    bandwidth: float = 2.048e12
    latency: float = 100e-9

    def __post_init__(self) -> None:
        dram(kind=self.kind)
        if not 0 < self.bandwidth < inf:
            raise ParameterError(f"memory: bandwidth must be above 0 bit/s and finite, got {self.bandwidth}")
        if not 0 <= self.latency < inf:
            raise ParameterError(f"memory: latency must be 0 s or more and finite, got {self.latency}")

    @property
    def energy(self) -> float:
        """Energy of a bit read or written [J]."""
        return dram(kind=self.kind).energy


HBM2 = Memory()


@dataclass(frozen=True, repr=False)
class Turns(Shown):
    """A batch served in turns. ledgers: of each turn, by its own clock, which begins when the turn before ends; weight_bits: that came
    in before each; kept_bits: of one request, what the memory holds of values after each turn; written_bits: of one request, what each
    turn, and the request's coming, writes to it; memory; pulses_per_cell: as written."""

    ledgers: tuple[Ledger, ...] = field(repr=False)
    weight_bits: tuple[float, ...]
    kept_bits: tuple[float, ...]
    written_bits: tuple[float, ...]
    memory: Memory
    pulses_per_cell: float

    def _title(self) -> str:
        return f"{self.batch:,} request{'' if self.batch == 1 else 's'} in {len(self.ledgers)} turns on {self.chip.title}"

    def _numbers(self) -> dict[str, str]:
        return {
            "latency": f"{si(self.latency, 's')} on the mean", "throughput": f"{si(self.throughput)} requests/s",
            "energy": f"{si(self.energy, 'J')} a request, of which writing {self.write_energy / self.energy:.1%}, links and memory "
                      f"{(self.link_energy + self.memory_energy) / self.energy:.1%}",
            "writing": f"{self.write_time / self.period:.1%} of the time",
            "first cells worn out": f"after {lasting(self.years_to_wear_out)}",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return self.table.assign(
            **{name: self.table[name].map(lambda value: si(value, "s")) for name in ("until_written_s", "span_s")},
            energy_J=self.table["energy_J"].map(lambda value: si(value, "J")), weight_bits=self.table["weight_bits"].map(si),
        )  # fmt: skip

    @property
    def chip(self) -> Chip:
        """The chip that takes the turns."""
        return self.ledgers[0].chip

    @property
    def batch(self) -> int:
        """Requests served together."""
        return self.ledgers[0].requests

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a turn: layers, copies, crossbars, weight_bits, until_written_s (from its beginning until all is written), span_s,
        energy_J (of the batch, memory apart)."""
        return pd.DataFrame([
            {
                "layers": len(ledger.placement.copies), "copies": sum(map(len, ledger.placement.copies.values())),
                "crossbars": ledger.placement.crossbars_used, "weight_bits": bits, "until_written_s": _written(ledger),
                "span_s": ledger.span, "energy_J": ledger.total_energy,
            }
            for ledger, bits in zip(self.ledgers, self.weight_bits, strict=True)
        ]).rename_axis("turn")  # fmt: skip

    @property
    def period(self) -> float:
        """Time of a batch [s]: batches follow each other without overlap."""
        return sum(ledger.span for ledger in self.ledgers)

    @property
    def throughput(self) -> float:
        """Requests per second of batches one after the other [1/s]."""
        return self.batch / self.period

    @property
    def latency(self) -> float:
        """From the beginning of the batch to a request's result [s], mean of the batch; what it waits for a batch to fill is not in it."""
        *before, last = self.ledgers
        return sum(ledger.span for ledger in before) + float(np.mean(last.finish_fs)) * 1e-15

    @property
    def write_time(self) -> float:
        """Of a batch, from the beginning of each turn until its last crossbar is written [s]; early layers may compute meanwhile."""
        return float(self.table["until_written_s"].sum())

    # ---- energy of a request [J]

    @property
    def energy(self) -> float:
        """All of it: chip, links, writing, memory."""
        return sum(ledger.total_energy for ledger in self.ledgers) / self.batch + self._weight_link_energy + self.memory_energy

    @property
    def write_energy(self) -> float:
        """Of write pulses."""
        return sum(float(ledger.energy[WRITE].sum()) for ledger in self.ledgers if WRITE in ledger.energy) / self.batch

    @property
    def link_energy(self) -> float:
        """Of the off-chip links: what they draw, what values take, what weights take."""
        return sum(ledger.link_energy for ledger in self.ledgers) / self.batch + self._weight_link_energy

    @property
    def memory_energy(self) -> float:
        """Of the memory: weights read; values written, and read by each turn but the first that takes them."""
        read = sum(self.weight_bits) + sum(_bits(each, INPUT) for each in self.ledgers[1:])
        return (read / self.batch + sum(self.written_bits)) * self.memory.energy

    @property
    def _weight_link_energy(self) -> float:
        return sum(self.weight_bits) * self.chip.costs["link"].energy_per_action / self.batch

    # ---- wear

    @property
    def years_to_wear_out(self) -> float:
        """Years of batches one after the other until the cells that are written most often have had as many pulses as they endure; cells of
        the crossbars that are in use in the most turns. nan where the device states no endurance, infinite where nothing is rewritten."""
        used = Counter(slot for ledger in self.ledgers for slot in _slots(ledger.placement))
        return self._years(max(used.values()) * self.pulses_per_cell)

    @property
    def years_levelled(self) -> float:
        """The same if all cells of the chip were written alike often, as turns that begin at another crossbar each time would do."""
        structure = self.chip.structure
        cells = self.chip.crossbars * structure.wordlines * structure.bitlines
        pulses = sum(ledger.programming(self.pulses_per_cell)["pulses"].sum() for ledger in self.ledgers)
        return self._years(float(pulses) / cells)

    def _years(self, pulses: float) -> float:
        """Of so many pulses of a cell a batch."""
        if len(self.ledgers) == 1:
            return inf
        endurance = self.chip.device.endurance
        return nan if endurance is None else endurance / pulses * self.period / SECONDS_PER_YEAR


def serve_in_turns(
    turns: ChipsPlacement, batch: int, *, memory: Memory = HBM2, pulses_per_cell: float = 1.0, cells_at_once: int = 1,
    samples_held: int = 2,
) -> Turns:  # fmt: skip
    """Serve a batch on one chip that takes turns with what `turns` has on several (`xbar.hw.chip.chips.place_chips`); a network of one
    turn stays on the chip, and nothing is written.

    pulses_per_cell, cells_at_once: as in `xbar.hw.events.updates.programming_cost`. The cells need `device.write_energy` and
    `device.write_time`. Raises ParameterError for a batch below 1, a memory slower than the chip's links, which would hold back
    values in a way that is not modelled, and what a simulation raises.
    """
    if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
        raise ParameterError(f"a batch must be a whole number of 1 request or more, got {batch!r}")
    if not isinstance(turns, ChipsPlacement):
        raise ParameterError(f"turns must be of place_chips; got {type(turns).__name__}")
    placements = turns.chips
    chip = placements[0].chip
    rate = link_rate(chip)
    if memory.bandwidth < rate:
        raise ParameterError(f"memory: bandwidth must be that of the chip's links, {rate:g} bit/s, or more, got {memory.bandwidth:g}")
    if len(placements) == 1:
        alone = simulate(placements[0], Arrivals.batch(batch), samples_held=samples_held)
        return Turns((alone,), (0.0,), (0.0,), (0.0,), memory, pulses_per_cell)
    ledgers, weight_bits = [], []
    rows = lookups_on(turns, batch, {})
    for placement in placements:
        there, bits, updates = memory.latency, 0.0, []
        for layer in placement.network.layers:
            numbers = layer.weights + (layer.groups * layer.outputs if placement.geometry(layer.name).bias_rows else 0)
            bits += numbers * placement.chip.for_layer(layer.name).weights.bits
            there = memory.latency + bits / rate
            updates.append(Update(layer.name, there, None, pulses_per_cell, cells_at_once))
        asked = {name: each for name, each in rows.items() if name in placement.copies}
        ledgers.append(simulate(placement, Arrivals.trace([there] * batch), updates=updates, samples_held=samples_held, lookups=asked))
        weight_bits.append(bits)
    kept = tuple(turns.sent_past(turn) + turns.input_bits_past(turn) for turn in range(len(placements)))
    written = (turns.sent_bits[0] + turns.input_bits_past(0), *turns.sent_bits[1:])
    return Turns(tuple(ledgers), tuple(weight_bits), kept, written, memory, pulses_per_cell)


def schedule(turns: ChipsPlacement, batches: Sequence[int], **options: object) -> pd.DataFrame:
    """What a batch of so many requests (index) takes: period_s, latency_s, throughput, energy_J a request and of it write_J, link_J and
    memory_J, kept_bits (values of the batch that the memory holds at most), years_to_wear_out, years_levelled. options: of
    `serve_in_turns`."""
    rows = {}
    for batch in batches:
        found = serve_in_turns(turns, batch, **options)  # type: ignore[arg-type]
        rows[batch] = {
            "period_s": found.period, "latency_s": found.latency, "throughput": found.throughput, "energy_J": found.energy,
            "write_J": found.write_energy, "link_J": found.link_energy, "memory_J": found.memory_energy,
            "kept_bits": max(found.kept_bits) * batch, "years_to_wear_out": found.years_to_wear_out,
            "years_levelled": found.years_levelled,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("batch")


def link_rate(chip: Chip) -> float:
    """What the chip's off-chip links carry [bit/s]."""
    link = chip.costs["link"]
    rate = link.units * link.unit_rate
    return rate if isfinite(rate) else inf


def _bits(ledger: Ledger, which: str) -> float:
    """Bits of the batch that came in or left over the links."""
    return float(ledger.actions.loc[which, "link"])


def _written(ledger: Ledger) -> float:
    """When the last crossbar is written [s]."""
    return float(ledger.updates_table()["end_s"].max()) if ledger.updates else 0.0


def _slots(placement: Placement) -> set[tuple[int, int]]:
    """Crossbars in use."""
    return {(crossbar.core, crossbar.slot) for copies in placement.copies.values() for copy in copies
            for crossbar in placement.crossbars_of(copy)}  # fmt: skip

"""The processes of layer copies: in lock-step, and crossbar by crossbar as its reference; and the journal that they write."""

from array import array
from collections import defaultdict, deque
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from simpy.events import Event

from xbar.hw.chip.placement import Crossbar, LayerCopy
from xbar.hw.events.arrivals import check_reach
from xbar.hw.events.destinations import Copies
from xbar.hw.events.ledger import Activity
from xbar.hw.events.mesh import Shipment
from xbar.hw.events.runs import Repeats, Runs
from xbar.hw.events.updates import CrossbarWrite
from xbar.hw.events.vector_operation import Actions, VectorOperation
from xbar.hw.events.waiting import Port
from xbar.hw.graph.network import MatrixLayer

if TYPE_CHECKING:
    from xbar.hw.events.simulator import Simulation

Steps = Generator[Event, Any, None]
RESULTS_HELD = 3  # vectors of a copy on their way: one that is read, one that is converted, and one in the tile's register


class Ports(NamedTuple):
    """What a stage holds: ports that others use too, with their hold times [fs], and the longest hold of what nobody else uses."""

    shared: list[tuple[Port, int]]
    private: int


class Kind(NamedTuple):
    """What one kind of vector of a layer copy does: all vectors alike, or of a table those of one row tile. load_run and
    compute_run are indices into the ledger's activities."""

    operation: VectorOperation
    load_run: int
    compute_run: int
    load: Ports
    partial: Ports
    output: Ports
    buffers: Ports


class Sending(NamedTuple):
    """How results of one kind of vector leave for the same copies of their readers: the drain's activity, what travels, and the
    room that it takes."""

    run: int
    shipment: Shipment
    room: dict[int, float]  # bits on the tiles that could run full


class Result:
    """Results of one vector: when they have left the tile [fs], None as long as they have not."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.awaited: Event | None = None

    def leaves(self, when: int) -> None:
        """That they have left the tile, or are about to, at this time."""
        self.left = when
        if self.awaited is not None:
            self.awaited.succeed()


class Journal:
    """What the ledger is made of, written as it happens."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []
        self.activity, self.start, self.end = array("q"), array("q"), array("q")
        self.repeats: Repeats | None = None
        self.afterwards: list[tuple[int, int, int]] = []  # activity, start and end of what is only known when all has happened

    def describe(self, activity: Activity) -> int:
        self.activities.append(activity)
        return len(self.activities) - 1

    def write(self, activity: int, start: int, end: int) -> None:
        self.activity.append(activity)
        try:
            self.start.append(start)
            self.end.append(end)
        except OverflowError:
            check_reach(max(start, end))
            raise

    @property
    def runs(self) -> Runs:
        """All that was written, by its end, as it stands now; of what is only known afterwards, nothing ended after a repetition began."""
        rows = np.array([self.activity, self.start, self.end], np.int64)
        if not self.afterwards:
            return Runs(rows[0], rows[1], rows[2], self.repeats)
        more, repeats, before = np.array(self.afterwards, np.int64).T, self.repeats, rows.shape[1]
        if repeats is not None:
            assert (more[2] <= repeats.begins).all(), "something that repeats itself, told once"
            before = repeats.first
            repeats = replace(repeats, first=before + more.shape[1], last=repeats.last + more.shape[1])
        early = np.concatenate([rows[:, :before], more], axis=1)
        early = early[:, np.argsort(early[2], kind="stable")]
        activity, start, end = np.concatenate([early, rows[:, before:]], axis=1)
        return Runs(activity, start, end, repeats)


class CopyProcess:
    """One layer copy in lock-step."""

    def __init__(
        self, simulation: "Simulation", layer: MatrixLayer, copy: LayerCopy, operations: list[VectorOperation]
    ):
        self.simulation, self.env, self.layer, self.copy = simulation, simulation.env, layer, copy
        self.rank, self.deal = copy.rank, simulation.placement.deals[layer.name]
        # in one instant, results go before loads and partial sums of a vector after them
        self.result_rank, self.load_rank = 2 * copy.rank, 2 * copy.rank + 1
        self.kinds = [self._kind(operation) for operation in operations]
        self.needs = {name: counts.tolist() for name, counts in layer.needs.items()}
        self.results: deque[Result] = deque([Result() for _ in range(RESULTS_HELD)], RESULTS_HELD)
        for result in self.results:
            result.leaves(0)
        self.sendings: dict[tuple[int, Copies], Sending] = {}
        self.arrays_free = self.converters_free = 0
        self.read_until = [0] * len(self.kinds)  # last latch by kind
        self.written_until = [0] * len(self.kinds)  # end of the last write by kind
        self.crossbar_written_until: dict[int, int] = {}
        self.shared = [simulation.operations.units_of(copy, row_tile) for row_tile in simulation.operations.row_tiles(layer)]  # by kind

    def _kind(self, operation: VectorOperation) -> Kind:
        simulation, layer = self.simulation, self.layer
        load, compute = (
            simulation.journal.describe(Activity(layer.name, stage, self.copy.index, actions, shares=operation.shares))
            for stage, actions in (("load", operation.load), ("compute", operation.compute))
        )
        return Kind(operation, load, compute, *simulation.ports_of(operation, layer))

    def kind_of(self, crossbar: Crossbar) -> int:
        """The kind of vector that reads a crossbar."""
        return crossbar.row_tile if self.layer.lookup else 0

    @property
    def now(self) -> int:
        """Time on the event clock [fs]."""
        return self.env._now

    def process(self) -> Steps:
        """All vectors of this copy, over all samples in order of arrival."""
        simulation, layer = self.simulation, self.layer
        credits = simulation.credits
        journal, kinds, loads = simulation.journal, simulation.kinds.get(layer.name), self.kinds
        for sample in simulation.samples():
            mine = self.deal.vectors_of(self.copy.index, sample)
            if not mine:
                continue
            copies = simulation.copies_of(layer.name, sample)
            yield from simulation.room_for(sample, layer.name)
            for vector in mine:
                yield from self._wait_for_inputs(sample, vector)
                kind = kinds[sample * layer.vectors + vector] if kinds else 0
                start = yield from self._load(kind)
                journal.write(loads[kind].load_run, start, self.now)
                simulation.count_load(layer, sample)
                if credits.watched:
                    credits.loaded(layer.name, sample, vector)
                if self.results[0].left is None or self.results[0].left > self.now:
                    yield from self._wait_for_results()
                yield from self._wait_for_arrays(kind)
                if self.shared[kind]:
                    yield simulation.turns.take(self.result_rank, self.shared[kind])
                    yield from self._wait_for_arrays(kind)  # written meanwhile
                self.results.append(Result())
                self.env.process(self._finish(sample, vector, kind, copies[vector], self._compute(kind), self.results[-1]))

    def _wait_for_results(self) -> Steps:
        """Until there is room for one more vector's results."""
        oldest = self.results[0]
        if oldest.left is None:
            oldest.awaited = Event(self.env)
            yield oldest.awaited
        if oldest.left is not None and oldest.left > self.now:
            yield self.env.timeout(oldest.left - self.now)

    def _wait_for_inputs(self, sample: int, vector: int) -> Steps:
        if not any(counts[vector] for counts in self.needs.values()):  # else what it waits for has had the sample
            ready = self.simulation.sample_ready[sample]
            if not ready.processed:
                yield ready
        for name, counts in self.needs.items():
            yield from self.simulation.progress(name, sample).until(counts[vector])

    def _load(self, kind: int) -> Generator[Event, Any, int]:
        return (yield from self._serve(self.kinds[kind].load, self.load_rank))

    def _begin(self, ports: Ports, rank: int) -> list[Event]:
        """Ask for all shared ports and hold private ones; the ends of the services."""
        served = [port.serve(rank, duration) for port, duration in ports.shared]
        if ports.private:
            served.append(self.env.timeout(ports.private, self.now))
        return served

    def _serve(self, ports: Ports, rank: int) -> Generator[Event, Any, int]:
        """Be served by all shared ports and hold private ones; returns when the first service began."""
        served = self._begin(ports, rank)
        if len(served) == 1:
            return (yield served[0])
        yield self.env.all_of(served)
        return _first(served)

    def _wait_for_arrays(self, kind: int) -> Steps:
        while (until := max(self.arrays_free, self.written_until[kind])) > self.now:
            yield self.env.timeout(until - self.now)

    def write(self, update: int, writes: list[CrossbarWrite]) -> None:
        """Write the crossbars of an update that begins now, before all else of this instant."""
        crossbars = self.simulation.operations.crossbars[self.rank]
        for write in writes:
            kind = self.kind_of(crossbars[write.crossbar])
            start = max(self.now, self.read_until[kind], self.crossbar_written_until.get(write.crossbar, 0))
            end = self.crossbar_written_until[write.crossbar] = start + write.duration
            self.written_until[kind] = max(self.written_until[kind], end)
            self.simulation.written[(update, self.copy.index, start, end)] += write.cells

    def _compute(self, kind: int) -> Event:
        """Start a vector now; an event when its last conversion is done.

        A slice is latched when it has been read and the conversions of the slice before are done, so slices
        follow at max(read, conversion); the arrays are free again at the last latch. Converters that integrate take read and
        conversion in turn: all is free again at the end.
        """
        cycle = self.kinds[kind].operation.cycle
        if cycle.in_turn:
            self.arrays_free = self.read_until[kind] = self.converters_free = self.now + cycle.busy
            return self.env.timeout(cycle.busy)
        first_latch = max(self.now + cycle.read, self.converters_free)
        self.arrays_free = self.read_until[kind] = first_latch + (cycle.slices - 1) * max(cycle.read, cycle.conversion)
        self.converters_free = self.arrays_free + cycle.conversion
        return self.env.timeout(self.converters_free - self.now)

    def _finish(self, sample: int, vector: int, kind: int, copies: Copies, computed: Event, result: Result) -> Steps:
        started = self.now
        yield computed
        simulation, mine = self.simulation, self.kinds[kind]
        journal = simulation.journal
        journal.write(mine.compute_run, started, self.now)
        if self.shared[kind]:
            simulation.turns.give(self.shared[kind])
            for unit in self.shared[kind]:
                simulation.taken[unit] += self.now - started
        if mine.operation.partial_ports:
            yield from self._serve(mine.partial, self.load_rank)
        if mine.operation.gather.steps:
            _, arrived = yield simulation.outbox.post(self.load_rank, mine.operation.gather)
            yield self.env.timeout(arrived - self.now)
        sending = self.sendings.get((kind, copies)) or self._sending(kind, copies)
        if sending.room:
            yield simulation.credits.take(self.rank, sample, sending.room)
        written = self._begin(mine.buffers, self.result_rank)
        start = yield from self._serve(mine.output, self.result_rank)
        if written:
            yield self.env.all_of(written)
        if simulation.credits.watched:
            simulation.credits.summed(self.layer.name, sample, vector)
        journal.write(sending.run, start, self.now)
        injected = arrived = self.now
        if sending.shipment.steps:
            injected, arrived = yield simulation.outbox.post(self.result_rank, sending.shipment)
        result.leaves(injected)
        if arrived > self.now:
            yield self.env.timeout(arrived - self.now)
        simulation.progress(self.layer.name, sample).finish(vector)

    def _sending(self, kind: int, copies: Copies) -> Sending:
        """How results of a kind of vector leave for these copies of each reader; such vectors are alike."""
        drain, shipment, room = self.drain(kind, copies)
        self.sendings[kind, copies] = Sending(self.simulation.journal.describe(drain), shipment, room)
        return self.sendings[kind, copies]

    def drain(self, kind: int, copies: Copies) -> tuple[Activity, Shipment, dict[int, float]]:
        """The same, but for its number in the journal: the drain's activity, what travels, and the room that it takes."""
        simulation, operation = self.simulation, self.kinds[kind].operation
        shipment, more, arriving = simulation.operations.sending(self.layer, operation.made, copies)
        actions = {name: operation.drain.get(name, 0.0) + more.get(name, 0.0) for name in [*operation.drain, *more]}
        room = {tile: bits for tile, bits in arriving.items() if tile in simulation.credits.watched}
        return Activity(self.layer.name, "drain", self.copy.index, actions), shipment, room


class CrossbarCopyProcess(CopyProcess):
    """One layer copy, crossbar by crossbar: the reference for the lock-step process.

    Every core asks for its inputs on its own, every crossbar runs its own slice loop against its own
    sample-and-hold and the ADC that it shares, writes wordline by wordline, and its actions are counted as they happen.
    """

    def __init__(
        self, simulation: "Simulation", layer: MatrixLayer, copy: LayerCopy, operations: list[VectorOperation]
    ):
        super().__init__(simulation, layer, copy, operations)
        known = simulation.operations
        crossbars = known.crossbars[copy.rank]
        self.index_of = {(x.core, x.slot): index for index, x in enumerate(crossbars)}
        self.crossbars = [known.read_by(copy, row_tile) for row_tile in known.row_tiles(layer)]  # by kind
        self.held: list[Event] = [self.env.timeout(0) for _ in crossbars]
        adcs = sorted({(x.core, known.adc_of(x)) for x in crossbars})
        self.adcs = {adc: Port(self.env) for adc in adcs}
        self.core_bits = [known.core_bits(copy, row_tile) for row_tile in known.row_tiles(layer)]
        self.written = [known.written_bits(copy, row_tile) for row_tile in known.row_tiles(layer)]
        self.counted: list[Actions] = [defaultdict(float) for _ in self.kinds]
        chip = known.chip_of(layer.name)
        design = (chip.one_hot if layer.lookup else chip).array_design
        self.phases = list(zip(design.converted_slices, design.reads_per_conversion, strict=True))
        self.rows_at_once, self.dac_bits = design.rows_at_once or 0, design.dac.bits
        self.driving = ("dac",) if chip.component.gate_driver is None else ("dac", "gate_driver")
        self.latched: Event = self.env.timeout(0)
        self.converted: Event = self.env.timeout(0)
        self.latched_last: list[Event] = [self.latched] * len(self.kinds)
        self.writing: dict[int, Event] = {}

    def _load(self, kind: int) -> Generator[Event, Any, int]:
        ports, operations = self.simulation.buffer_ports, self.simulation.operations
        per_tile = operations.chip.structure.cores_per_tile
        served = []
        for tile, bits in self.written[kind].items():
            served.append(ports[tile].serve(self.load_rank, operations.port_time(bits)))
        for core, bits in self.core_bits[kind].items():
            served.append(ports[core // per_tile].serve(self.load_rank, operations.port_time(bits)))
            for component in ("buffer", "bus"):
                self.counted[kind][component] += bits
        yield self.env.all_of(served)
        return _first(served)

    def _wait_for_arrays(self, kind: int) -> Steps:
        yield self.latched
        mine = [self.index_of[x.core, x.slot] for x in self.crossbars[kind]] if self.writing else []
        while pending := [self.writing[k] for k in mine if k in self.writing and not self.writing[k].processed]:
            yield self.env.all_of(pending)

    def write(self, update: int, writes: list[CrossbarWrite]) -> None:
        """Write the crossbars of an update that begins now, before all else of this instant."""
        crossbars = self.simulation.operations.crossbars[self.rank]
        for write in writes:
            after: list[Event] = [self.latched_last[self.kind_of(crossbars[write.crossbar])]]
            if write.crossbar in self.writing:
                after.append(self.writing[write.crossbar])
            self.writing[write.crossbar] = self.env.process(self._write(update, write, after))

    def _write(self, update: int, write: CrossbarWrite, after: list[Event]) -> Steps:
        """One crossbar, wordline by wordline."""
        yield self.env.all_of(after)
        start, cells = self.now, 0
        for wordline in range(1, write.wordlines + 1):
            yield self.env.timeout(start + write.until(wordline) - self.now)
            cells += write.line_cells
        self.simulation.written[(update, self.copy.index, start, self.now)] += cells

    def _compute(self, kind: int) -> Event:
        latched, converted = [], []
        if self.layer.lookup:  # latches after the look-up before, whichever crossbars it read
            self.held = [self.converted] * len(self.held)
        for crossbar in self.crossbars[kind]:
            last_latch = Event(self.env)
            latched.append(last_latch)
            converted.append(self.env.process(self._crossbar(kind, crossbar, last_latch)))
        self.latched = self.latched_last[kind] = self.env.all_of(latched)
        self.converted = self.env.all_of(converted)
        return self.converted

    def _crossbar(self, kind: int, crossbar: Crossbar, last_latch: Event) -> Steps:
        operations, cycle = self.simulation.operations, self.kinds[kind].operation.cycle
        index, adc = self.index_of[crossbar.core, crossbar.slot], self.adcs[(crossbar.core, operations.adc_of(crossbar))]
        parts, at_once, counted = cycle.parts, self.rows_at_once, self.counted[kind]
        converting = operations.conversion_time(self.layer.name, crossbar)
        for turn in range(cycle.slices):
            slices, reads = self.phases[turn // parts % len(self.phases)]
            if cycle.in_turn:
                yield adc.serve(crossbar.slot, max(cycle.read, converting))
            else:
                yield self.env.timeout(cycle.read)
                yield self.held[index]
                self.held[index] = adc.serve(crossbar.slot, converting)
            rows = min(at_once or crossbar.rows, crossbar.rows - turn % parts * at_once)
            if rows <= 0:  # all its wordlines are read; others of the copy have more
                continue
            for component in self.driving:
                counted[component] += slices * rows
            counted["input_register"] += slices * rows * self.dac_bits
            counted["crossbar"] += reads
            counted["sample_hold"] += reads * crossbar.bitlines
            for component in ("multiplexer", "adc", "shift_add", "output_register"):
                counted[component] += crossbar.conversions
        last_latch.succeed()
        yield self.held[index]


def _first(served: list[Event]) -> int:
    """When the first of the services began [fs]."""
    begun: list[Any] = [event.value for event in served]
    return int(min(begun))

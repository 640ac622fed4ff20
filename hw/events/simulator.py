"""The discrete-event simulation (SimPy): requests in, events, ledger out. The clock is integer femtoseconds.

Every layer copy is one process: its crossbars move in lock-step, and what happens within a vector has a
closed form. `resolution="crossbar"` runs every crossbar, sample-and-hold and ADC as a process of its own; both
give the same times and the same energy, which a test pins.

A vector starts to load when the values of its receptive field exist and the input register is free, that is
when the vector before it has started to compute. It computes when it is loaded and the arrays are free. What
contends: buffer ports and buses, ADCs, output stages of tiles, links. Flow control: a layer begins a sample, and a
sample comes over the links, when all who read it have loaded the samples until `samples_held` before. A layer may read itself,
and layers that come after it: within a sample each vector waits for those that it needs, whichever layers they are of. A request
is done when the layers that make its outputs, and those that nobody else waits for, are done with it. How much buffer that takes,
`xbar.hw.events.buffers` tells afterwards; the simulation takes buffers as large enough.

An update (`xbar.hw.events.updates.Update`) goes before every vector that does not compute yet. Each crossbar that it touches is
written as soon as the last vector that reads it has been latched, and an earlier update of it is written; the crossbars of
a copy in parallel, all copies of the layer at once. Conversions of what was latched go on. A vector computes when all
crossbars that it reads are written: of a table those of its own row tile, so that look-ups of other row tiles go on; of
any other layer all of its copy, since their partial sums belong to one result. Vectors keep their order: one that waits
holds the input register of its copy, and what comes after it waits too. Convention (the sources are silent): a copy of a
table has one input register, one address decoder and one set of output registers, so it reads one row at a time, and a row
is latched when the conversions of the row before are done, whichever row tiles they lie in.
"""

import dataclasses
from array import array
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import simpy
from simpy.events import Event

from xbar.hw.chip.placement import Crossbar, LayerCopy, Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals, check_reach
from xbar.hw.events.ledger import INPUT, OUTPUT, WRITE, Activity, Ledger
from xbar.hw.events.updates import CrossbarWrite, Update, check_updates, crossbar_writes
from xbar.hw.events.vector_operation import FEMTOSECONDS, Actions, VectorOperation, VectorOperations
from xbar.hw.events.waiting import Port, Progress
from xbar.hw.graph.network import MatrixLayer

BEFORE_ALL_ELSE = -1  # SimPy's own events have priorities 0 and 1 at the same time
Steps = Generator[Event, Any, None]


class _Run(NamedTuple):
    """Indices into the ledger's activities for one layer copy."""

    load: int
    compute: int
    drain: int


class _Kind(NamedTuple):
    """What one kind of vector of a layer copy does: all vectors alike, or of a table those of one row tile."""

    operation: VectorOperation
    run: _Run
    load_ports: tuple[list[tuple[Port, int]], int]
    output_ports: tuple[list[tuple[Port, int]], int]


class _Journal:
    """What the ledger is made of, written as it happens."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []
        self.activity, self.start, self.end = array("q"), array("q"), array("q")

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


class _CopyProcess:
    """One layer copy in lock-step."""

    def __init__(
        self, simulation: "_Simulation", layer: MatrixLayer, copy: LayerCopy, operations: list[VectorOperation]
    ):
        self.simulation, self.env, self.layer, self.copy = simulation, simulation.env, layer, copy
        self.rank = copy.rank
        self.kinds = [self._kind(operation) for operation in operations]
        self.needs = {name: counts.tolist() for name, counts in layer.needs.items()}
        self.arrays_free = self.converters_free = 0
        self.read_until = [0] * len(self.kinds)  # last latch by kind
        self.written_until = [0] * len(self.kinds)  # end of the last write by kind
        self.crossbar_written_until: dict[int, int] = {}

    def _kind(self, operation: VectorOperation) -> _Kind:
        simulation, layer = self.simulation, self.layer
        run = _Run(*(
            simulation.journal.describe(Activity(layer.name, stage, self.copy.index, actions))
            for stage, actions in (("load", operation.load), ("compute", operation.compute), ("drain", operation.drain))
        ))  # fmt: skip
        return _Kind(
            operation, run, simulation.shared(operation, simulation.buffer_ports, layer),
            simulation.shared(operation, simulation.output_stages, layer),
        )  # fmt: skip

    def kind_of(self, crossbar: Crossbar) -> int:
        """The kind of vector that reads a crossbar."""
        return crossbar.row_tile if self.layer.lookup else 0

    @property
    def now(self) -> int:
        """Time on the event clock [fs]."""
        return int(self.env.now)

    def process(self, copies: int) -> Steps:
        """All vectors of this copy: every `copies`-th, over all samples in order of arrival."""
        vectors = self.layer.vectors
        for turn in range(self.copy.index, vectors * self.simulation.requests, copies):
            sample, vector = divmod(turn, vectors)
            if vector < copies:
                yield from self.simulation.room_for(sample, self.layer.name)
            yield from self._wait_for_inputs(sample, vector)
            kind = self.simulation.kind(self.layer.name, turn)
            start = yield from self._load(kind)
            self.simulation.journal.write(self.kinds[kind].run.load, start, self.now)
            self.simulation.count_load(self.layer, sample)
            yield from self._wait_for_arrays(kind)
            self.env.process(self._finish(sample, vector, kind, self.now, self._compute(kind)))

    def _wait_for_inputs(self, sample: int, vector: int) -> Steps:
        if not any(counts[vector] for counts in self.needs.values()):  # else what it waits for has had the sample
            ready = self.simulation.sample_ready[sample]
            if not ready.processed:
                yield ready
        for name, counts in self.needs.items():
            yield from self.simulation.progress(name, sample).until(counts[vector])

    def _load(self, kind: int) -> Generator[Event, Any, int]:
        shared, private = self.kinds[kind].load_ports
        return (yield from self._serve(shared, private))

    def _serve(self, shared: list[tuple[Port, int]], private: int) -> Generator[Event, Any, int]:
        """Be served by all shared ports and hold private ones; returns when the first service began."""
        begun = self.now
        served = [port.serve(self.rank, duration) for port, duration in shared]
        if private:
            served.append(self.env.timeout(private, begun))
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
        follow at max(read, conversion); the arrays are free again at the last latch.
        """
        cycle = self.kinds[kind].operation.cycle
        first_latch = max(self.now + cycle.read, self.converters_free)
        self.arrays_free = self.read_until[kind] = first_latch + (cycle.slices - 1) * max(cycle.read, cycle.conversion)
        self.converters_free = self.arrays_free + cycle.conversion
        return self.env.timeout(self.converters_free - self.now)

    def _finish(self, sample: int, vector: int, kind: int, started: int, computed: Event) -> Steps:
        yield computed
        journal, (operation, run, _, output_ports) = self.simulation.journal, self.kinds[kind]
        journal.write(run.compute, started, self.now)
        if operation.gather_latency:
            yield self.env.timeout(operation.gather_latency)
        start = yield from self._serve(*output_ports)
        journal.write(run.drain, start, self.now)
        if operation.hop_latency:
            yield self.env.timeout(operation.hop_latency)
        self.simulation.progress(self.layer.name, sample).finish(vector)


class _CrossbarCopyProcess(_CopyProcess):
    """One layer copy, crossbar by crossbar: the reference for the lock-step process.

    Every core asks for its inputs on its own, every crossbar runs its own slice loop against its own
    sample-and-hold and the ADC that it shares, writes wordline by wordline, and its actions are counted as they happen.
    """

    def __init__(
        self, simulation: "_Simulation", layer: MatrixLayer, copy: LayerCopy, operations: list[VectorOperation]
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
        self.latched: Event = self.env.timeout(0)
        self.converted: Event = self.env.timeout(0)
        self.latched_last: list[Event] = [self.latched] * len(self.kinds)
        self.writing: dict[int, Event] = {}

    def _load(self, kind: int) -> Generator[Event, Any, int]:
        ports, operations = self.simulation.buffer_ports, self.simulation.operations
        per_tile = operations.chip.structure.cores_per_tile
        served = []
        for tile, bits in self.written[kind].items():
            served.append(ports[tile].serve(self.rank, operations.port_time(bits)))
        for core, bits in self.core_bits[kind].items():
            served.append(ports[core // per_tile].serve(self.rank, operations.port_time(bits)))
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
        chip = operations.chip_of(self.layer.name)
        chip = chip.one_hot if self.layer.lookup else chip
        width, reads = chip.component.dac.bits, chip.reads_per_conversion
        for _ in range(cycle.slices):
            yield self.env.timeout(cycle.read)
            yield self.held[index]
            self.held[index] = adc.serve(crossbar.slot, operations.conversion_time(crossbar, self.layer.name))
            for component, count in (
                ("input_register", reads * crossbar.rows * width), ("dac", reads * crossbar.rows), ("crossbar", reads),
                ("sample_hold", reads * crossbar.bitlines), ("adc", crossbar.conversions),
                ("shift_add", crossbar.conversions), ("output_register", crossbar.conversions),
            ):  # fmt: skip
                self.counted[kind][component] += count
        last_latch.succeed()
        yield self.held[index]


class _Simulation:
    """The environment, what is shared in it, and its processes."""

    def __init__(
        self, placement: Placement, arrivals: Arrivals, off_chip_io: bool, per_crossbar: bool, samples_held: int,
        updates: Sequence[Update], lookups: Mapping[str, Sequence[int]],
    ):  # fmt: skip
        self.env: simpy.Environment = simpy.Environment(initial_time=0)
        self.placement, self.network = placement, placement.network
        self.journal = _Journal()
        self.operations = VectorOperations(placement, off_chip_io)
        self.arrival_fs = arrivals.femtoseconds
        self.requests = len(self.arrival_fs)
        self.finish_fs = np.zeros(self.requests, np.int64)
        self.off_chip_io, self.per_crossbar, self.samples_held = off_chip_io, per_crossbar, samples_held
        self.sample_ready = [Event(self.env) for _ in range(self.requests)]
        self.buffer_ports: dict[int, Port] = defaultdict(lambda: Port(self.env))
        self.output_stages: dict[int, Port] = defaultdict(lambda: Port(self.env))
        self.links = Port(self.env)
        self._progress: dict[tuple[str, int], Progress] = {}
        self._loads: dict[tuple[str, int], int] = defaultdict(int)  # vectors loaded of a layer and sample
        self._loaded = {name: Progress(self.env, self.requests) for name in placement.copies}  # samples loaded
        self.readers: dict[str, tuple[str, ...]] = {
            source: tuple(dict.fromkeys(flow.target for flow in self.network.flows if flow.source == source))
            for source in ["", *placement.copies]
        }
        last = {*self.network.last_layers, *self.network.outputs}
        self.last_layers = [layer for layer in self.network.layers if layer.name in last]
        self.updates = updates
        self.written: dict[tuple[int, int, int, int], int] = defaultdict(int)  # (update, copy, start, end) -> cells
        self._kinds = {layer.name: self._row_tiles(layer, lookups) for layer in self.network.layers if layer.lookup}
        operations = {
            copy.rank: [self.operations.of(copy, row_tile) for row_tile in self.operations.row_tiles(layer)]
            for layer in self.network.layers
            for copy in placement.copies[layer.name]
        }
        self._uses = {"load_ports": _uses(operations, "load_ports"), "output_ports": _uses(operations, "output_ports")}
        kind = _CrossbarCopyProcess if per_crossbar else _CopyProcess
        self.copies = [
            kind(self, layer, copy, operations[copy.rank])
            for layer in self.network.layers
            for copy in placement.copies[layer.name]
        ]
        self.image_in = self.operations.image_in
        self.result_out = self.operations.result_out
        self.input_run = self.journal.describe(Activity(INPUT, "transfer", 0, self.image_in.actions))
        self.output_run = self.journal.describe(Activity(OUTPUT, "transfer", 0, self.result_out.actions))

    def _row_tiles(self, layer: MatrixLayer, lookups: Mapping[str, Sequence[int]]) -> list[int]:
        """The row tile of every look-up, over all requests; rows that are not given are drawn, all alike often."""
        count = self.requests * layer.vectors
        rows = np.asarray(lookups[layer.name] if layer.name in lookups else drawn_rows(layer, count)).ravel()
        tiles: list[int] = (rows // self.placement.geometry(layer.name).inputs_per_crossbar).tolist()
        return tiles

    def kind(self, layer: str, turn: int) -> int:
        """Which kind of vector the layer's vector number `turn` is, over all samples."""
        return self._kinds[layer][turn] if layer in self._kinds else 0

    def shared(
        self, operation: VectorOperation, ports: dict[int, Port], layer: MatrixLayer
    ) -> tuple[list[tuple[Port, int]], int]:
        """Ports that other copies use too, with their hold times [fs], and the longest hold of the others. A vector that can
        hold an output stage for longer than the next one computes shares with itself: a look-up, of so few slices, and much
        digital work."""
        side = "load_ports" if ports is self.buffer_ports else "output_ports"
        uses, holds, cycle = self._uses[side], getattr(operation, side), operation.cycle
        computes = cycle.slices * max(cycle.read, cycle.conversion)
        contended = {
            tile: uses[tile] > 1 or self.per_crossbar or layer.lookup or hold > computes for tile, hold in holds.items()
        }
        shared = [(ports[tile], hold) for tile, hold in holds.items() if contended[tile]]
        private = [hold for tile, hold in holds.items() if not contended[tile]]
        return shared, max(private, default=0)

    def count_load(self, layer: MatrixLayer, sample: int) -> None:
        """One more vector of the sample has been loaded by the layer."""
        self._loads[layer.name, sample] += 1
        if self._loads[layer.name, sample] == layer.vectors:
            del self._loads[layer.name, sample]
            self._loaded[layer.name].finish(sample)

    def progress(self, layer: str, sample: int) -> Progress:
        """Progress of a layer on a sample."""
        key = (layer, sample)
        if key not in self._progress:
            self._progress[key] = Progress(self.env, self.network.layer(layer).vectors)
        return self._progress[key]

    def room_for(self, sample: int, source: str) -> Steps:
        """Until all who read what `source` makes have loaded all samples until `samples_held` before."""
        for reader in self.readers[source]:
            yield from self._loaded[reader].until(sample - self.samples_held + 1)

    def _request(self, sample: int) -> Steps:
        """One request from its arrival to its result."""
        yield self.env.timeout(int(self.arrival_fs[sample]))
        if self.off_chip_io:
            yield from self.room_for(sample, "")
            start = yield self.links.serve(2 * sample, self.image_in.hold)
            self.journal.write(self.input_run, start, int(self.env.now))
            yield self.env.timeout(self.image_in.hop_latency)
        self.sample_ready[sample].succeed()
        for layer in self.last_layers:
            yield from self.progress(layer.name, sample).until(layer.vectors)
        if self.off_chip_io:
            yield self.env.timeout(self.result_out.hop_latency)
            start = yield self.links.serve(2 * sample + 1, self.result_out.hold)
            self.journal.write(self.output_run, start, int(self.env.now))
        check_reach(int(self.env.now))
        self.finish_fs[sample] = int(self.env.now)
        for layer in self.network.layers:  # vectors that no result rests on
            yield from self.progress(layer.name, sample).until(layer.vectors)
        for layer in self.network.layers:
            del self._progress[layer.name, sample]

    def _begin_update(self, number: int, begin: Event) -> None:
        update = self.updates[number]
        for process in self.copies:
            if process.layer.name == update.layer:
                process.write(number, crossbar_writes(self.placement, process.copy, update))

    def _schedule_updates(self) -> None:
        """Updates of one instant in the order in which they were given."""
        for number, update in enumerate(self.updates):
            begin = Event(self.env)
            begin._ok, begin._value = True, None
            begin.callbacks.append(partial(self._begin_update, number))
            self.env.schedule(begin, BEFORE_ALL_ELSE, round(update.begins * FEMTOSECONDS))  # type: ignore[arg-type]

    def start(self) -> Iterator[Event]:
        """Start every process; the events are the requests' ends."""
        self._schedule_updates()
        for copy in self.copies:
            self.env.process(copy.process(len(self.placement.copies[copy.layer.name])))
        return iter([self.env.process(self._request(sample)) for sample in range(self.requests)])

    def enter_writes(self) -> None:
        """The crossbars of a copy that an update wrote over the same time are one run."""
        for (number, copy, start, end), cells in sorted(self.written.items()):
            update = self.updates[number]
            pulses = {WRITE: cells * update.pulses_per_cell}
            self.journal.write(self.journal.describe(Activity(update.layer, WRITE, copy, pulses, number)), start, end)

    def enter_counted_actions(self) -> None:
        """Replace what load and compute are known to do by what the single crossbars were seen to do."""
        runs = np.bincount(np.array(self.journal.activity, int), minlength=len(self.journal.activities))
        for copy in self.copies:
            assert isinstance(copy, _CrossbarCopyProcess)
            for kind, counted in zip(copy.kinds, copy.counted, strict=True):
                for index in (kind.run.load, kind.run.compute):
                    known = self.journal.activities[index]
                    seen = {name: counted[name] / max(1, int(runs[index])) for name in known.actions}
                    self.journal.activities[index] = dataclasses.replace(known, actions=seen)


def _first(served: list[Event]) -> int:
    """When the first of the services began [fs]."""
    begun: list[Any] = [event.value for event in served]
    return int(min(begun))


def _uses(operations: dict[int, list[VectorOperation]], ports: str) -> dict[int, int]:
    """How many copies use each tile's port."""
    uses: dict[int, int] = defaultdict(int)
    for kinds in operations.values():
        for tile in {tile for operation in kinds for tile in getattr(operation, ports)}:
            uses[tile] += 1
    return uses


def drawn_rows(layer: MatrixLayer, count: int) -> np.ndarray:
    """Rows that `count` look-ups of a table read where none are given: independent, every row alike often (assumed), by
    the layer's name the same draws in every simulation, int64 (count,)."""
    return np.random.default_rng(list(layer.name.encode())).integers(layer.inputs, size=count)


def _check_lookups(placement: Placement, requests: int, lookups: Mapping[str, Sequence[int]]) -> None:
    """Raise ParameterError unless each is one row of a table for every look-up."""
    tables = {layer.name: layer for layer in placement.network.layers if layer.lookup}
    for name, given in lookups.items():
        if name not in tables:
            raise ParameterError(f"lookups: no look-up layer {name!r}; there are: {', '.join(tables) or 'none'}")
        rows, needed = np.asarray(given), requests * tables[name].vectors
        if rows.size != needed or (needed and not np.issubdtype(rows.dtype, np.integer)):
            raise ParameterError(f"lookups of {name} must be {needed} whole numbers, got {rows.size} of {rows.dtype}")
        if needed and not 0 <= rows.min() <= rows.max() < tables[name].inputs:
            raise ParameterError(
                f"lookups of {name} must be from 0 to {tables[name].inputs - 1}, got {rows.min()} to {rows.max()}"
            )


def simulate(
    placement: Placement,
    arrivals: Arrivals,
    *,
    off_chip_io: bool = True,
    read_energy: Mapping[str, float] | None = None,
    samples_held: int = 2,
    horizon: float = 0.0,
    resolution: Literal["group", "crossbar"] = "group",
    progress: Callable[[int], None] | None = None,
    updates: Sequence[Update] = (),
    lookups: Mapping[str, Sequence[int]] | None = None,
) -> Ledger:
    """Serve the requests on the placed network and return the ledger.

    off_chip_io: samples come and results leave over the chip's links; without it they lie in the buffers.
    read_energy: joule of the array reads of one vector by layer (`xbar.hw.analog.read_energies`); without it the
    preset's figure per read is charged. samples_held: samples in a reader's buffers at most, by default one that it
    computes on and one that arrives; a reader many layers later (a long skip) may need more not to hold the layers
    before it back. horizon: simulate at least that long [s], idle if need be. progress is
    called with 1 after each request. updates: what is written anew meanwhile, also after the last request. lookups: by
    look-up layer the rows that requests look up, (requests, vectors) or flat in that order; layers that are not named look
    up every row alike often (`drawn_rows`). Raises ParameterError for a read energy missing or not finite, for updates
    that cannot be made, and for look-ups of other shape or range.
    """
    layers = [layer.name for layer in placement.network.layers]
    if read_energy is not None:
        wrong = [name for name in layers if not (np.isfinite(read_energy.get(name, np.nan)))]
        if wrong:
            raise ParameterError(f"read_energy needs a finite number of joules for layers {', '.join(wrong)}")
    if resolution not in ("group", "crossbar"):
        raise ParameterError(f"resolution must be 'group' or 'crossbar', got {resolution!r}")
    if samples_held < 1:
        raise ParameterError(f"samples_held must be at least 1, got {samples_held}")
    if not (horizon >= 0 and np.isfinite(horizon)):
        raise ParameterError(f"horizon must be 0 s or more, got {horizon}")
    updates = tuple(updates)
    check_updates(placement, updates)
    _check_lookups(placement, len(arrivals.times), lookups or {})
    simulation = _Simulation(
        placement, arrivals, off_chip_io, resolution == "crossbar", samples_held, updates, lookups or {}
    )
    for finished in simulation.start():
        simulation.env.run(finished)
        if progress is not None:
            progress(1)
    simulation.env.run()
    journal = simulation.journal
    simulation.enter_writes()
    if resolution == "crossbar":
        simulation.enter_counted_actions()
    span = max([round(horizon * FEMTOSECONDS), *journal.end, *simulation.finish_fs.tolist()])
    check_reach(span)
    activity, start, end = (np.array(each) for each in (journal.activity, journal.start, journal.end))
    if updates:  # writes come after all else until here
        order = np.argsort(end, kind="stable")
        activity, start, end = activity[order], start[order], end[order]
    return Ledger(
        placement, tuple(journal.activities), activity, start, end, simulation.arrival_fs, simulation.finish_fs, span,
        next(simulation.env._eid), None if read_energy is None else dict(read_energy), updates,
    )  # fmt: skip

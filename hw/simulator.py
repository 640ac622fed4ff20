"""The discrete-event simulation (SimPy): requests in, events, ledger out. The clock is integer femtoseconds.

Every layer copy is one process: its crossbars move in lock-step, and what happens within a vector has a
closed form. `resolution="crossbar"` runs every crossbar, sample-and-hold and ADC as a process of its own; both
give the same times and the same energy, which a test pins.

A vector starts to load when the values of its receptive field exist and the input register is free, that is
when the vector before it has started to compute. It computes when it is loaded and the arrays are free. What
contends: buffer ports and buses, ADCs, output stages of tiles, links. Flow control: a layer begins a sample, and a
sample comes over the links, when all who read it have loaded the sample `samples_held` before. How much buffer that takes,
`hw.buffers` tells afterwards; the simulation takes buffers as large enough.
"""

import dataclasses
import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import simpy
from simpy.events import Event

from hw.errors import ParameterError
from hw.ledger import INPUT, OUTPUT, Activity, Ledger
from hw.network import MatrixLayer
from hw.placement import Crossbar, LayerCopy, Placement
from hw.vector_operation import FEMTOSECONDS, Actions, VectorOperation, VectorOperations

AFTER_ALL_ELSE = 2  # SimPy's own events have priorities 0 and 1 at the same time
Steps = Generator[Event, Any, None]


@dataclass(frozen=True)
class Arrivals:
    """When requests arrive: `times` [s], in order."""

    times: tuple[float, ...]

    @classmethod
    def batch(cls, requests: int) -> "Arrivals":
        """All at once at time 0."""
        return cls.trace([0.0] * _count(requests))

    @classmethod
    def at_rate(cls, per_second: float, requests: int) -> "Arrivals":
        """Evenly spaced, the first at time 0."""
        _check_rate(per_second)
        return cls.trace([k / per_second for k in range(_count(requests))])

    @classmethod
    def poisson(cls, per_second: float, requests: int, seed: int) -> "Arrivals":
        """A Poisson stream: independent exponential gaps, the first one before the first request."""
        _check_rate(per_second)
        gaps = np.random.default_rng(seed).exponential(1 / per_second, _count(requests))
        return cls.trace(np.cumsum(gaps).tolist())

    @classmethod
    def trace(cls, times: Sequence[float]) -> "Arrivals":
        """At the given times [s]; raises ParameterError unless finite, from 0 on, in order."""
        values = np.asarray(times, float)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or (np.diff(values) < 0).any():
            raise ParameterError("arrival times must be finite seconds from 0 on, in order")
        return cls(tuple(values.tolist()))

    @property
    def femtoseconds(self) -> np.ndarray:
        """The times on the event clock, int64."""
        return np.array([round(time * FEMTOSECONDS) for time in self.times], np.int64)


def _count(requests: int) -> int:
    if requests < 0:
        raise ParameterError(f"requests must be 0 or more, got {requests}")
    return requests


def _check_rate(per_second: float) -> None:
    if not (per_second > 0 and np.isfinite(per_second)):
        raise ParameterError(f"the arrival rate must be a positive number per second, got {per_second}")


class Port:
    """Serves one request at a time, first come first served, those of one instant by their rank."""

    def __init__(self, env: simpy.Environment):
        self.env = env
        self.waiting: list[tuple[float, int, int, int, Event]] = []
        self.turns = 0
        self.turn_due = False

    def serve(self, rank: int, duration: int) -> Event:
        """An event at the end of `duration` [fs] of service; its value is when the service began."""
        served = Event(self.env)
        self.turns += 1
        heapq.heappush(self.waiting, (self.env.now, rank, self.turns, duration, served))
        if not self.turn_due:
            self._next_turn(0)
        return served

    def _next_turn(self, delay: int) -> None:
        self.turn_due = True
        turn = Event(self.env)
        turn._ok, turn._value = True, None
        turn.callbacks.append(self._begin)
        self.env.schedule(turn, AFTER_ALL_ELSE, delay)  # type: ignore[arg-type]

    def _begin(self, turn: Event) -> None:
        if not self.waiting:
            self.turn_due = False
            return
        _, _, _, duration, served = heapq.heappop(self.waiting)
        served._ok, served._value = True, self.env.now
        self.env.schedule(served, delay=duration)
        self._next_turn(duration)


class Progress:
    """How many vectors of a layer's sample are done, without gaps from the first; wakes who waits for more."""

    def __init__(self, env: simpy.Environment, vectors: int):
        self.env, self.vectors = env, vectors
        self.done = bytearray(vectors)
        self.complete = 0
        self.waiting: list[tuple[int, int, Event]] = []
        self.waits = 0

    def wait(self, count: int) -> Event:
        """An event when the first `count` vectors are done."""
        event = Event(self.env)
        self.waits += 1
        heapq.heappush(self.waiting, (count, self.waits, event))
        return event

    def finish(self, vector: int) -> None:
        """Vector number `vector` is done."""
        self.done[vector] = 1
        while self.complete < self.vectors and self.done[self.complete]:
            self.complete += 1
        while self.waiting and self.waiting[0][0] <= self.complete:
            _, _, waiter = heapq.heappop(self.waiting)
            waiter.succeed()


class _Run(NamedTuple):
    """Indices into the ledger's activities for one layer copy."""

    load: int
    compute: int
    drain: int


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
        self.start.append(start)
        self.end.append(end)


class _CopyProcess:
    """One layer copy in lock-step."""

    def __init__(self, simulation: "_Simulation", layer: MatrixLayer, copy: LayerCopy, operation: VectorOperation):
        self.simulation, self.env, self.layer, self.copy = simulation, simulation.env, layer, copy
        self.operation, self.rank = operation, copy.rank
        journal = simulation.journal
        self.run = _Run(*(
            journal.describe(Activity(layer.name, stage, copy.index, actions))
            for stage, actions in (("load", operation.load), ("compute", operation.compute), ("drain", operation.drain))
        ))  # fmt: skip
        self.needs = {name: counts.tolist() for name, counts in layer.needs.items()}
        self.arrays_free = self.converters_free = 0
        self.load_ports = simulation.shared(operation.load_ports, simulation.buffer_ports)
        self.output_ports = simulation.shared(operation.output_ports, simulation.output_stages)

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
            start = yield from self._load()
            self.simulation.journal.write(self.run.load, start, self.now)
            self.simulation.count_load(self.layer, sample)
            yield from self._wait_for_arrays()
            self.env.process(self._finish(sample, vector, self.now, self._compute()))

    def _wait_for_inputs(self, sample: int, vector: int) -> Steps:
        if not self.needs:
            ready = self.simulation.sample_ready[sample]
            if not ready.processed:
                yield ready
        for name, counts in self.needs.items():
            progress = self.simulation.progress(name, sample)
            if progress.complete < counts[vector]:
                yield progress.wait(counts[vector])

    def _load(self) -> Generator[Event, Any, int]:
        shared, private = self.load_ports
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

    def _wait_for_arrays(self) -> Steps:
        if self.arrays_free > self.now:
            yield self.env.timeout(self.arrays_free - self.now)

    def _compute(self) -> Event:
        """Start a vector now; an event when its last conversion is done.

        A slice is latched when it has been read and the conversions of the slice before are done, so slices
        follow at max(read, conversion); the arrays are free again at the last latch.
        """
        cycle = self.operation.cycle
        first_latch = max(self.now + cycle.read, self.converters_free)
        self.arrays_free = first_latch + (cycle.slices - 1) * max(cycle.read, cycle.conversion)
        self.converters_free = self.arrays_free + cycle.conversion
        return self.env.timeout(self.converters_free - self.now)

    def _finish(self, sample: int, vector: int, started: int, computed: Event) -> Steps:
        yield computed
        journal, operation = self.simulation.journal, self.operation
        journal.write(self.run.compute, started, self.now)
        if operation.gather_latency:
            yield self.env.timeout(operation.gather_latency)
        start = yield from self._serve(*self.output_ports)
        journal.write(self.run.drain, start, self.now)
        if operation.hop_latency:
            yield self.env.timeout(operation.hop_latency)
        self.simulation.progress(self.layer.name, sample).finish(vector)


class _CrossbarCopyProcess(_CopyProcess):
    """One layer copy, crossbar by crossbar: the reference for the lock-step process.

    Every core asks for its inputs on its own, every crossbar runs its own slice loop against its own
    sample-and-hold and the ADC that it shares, and its actions are counted as they happen.
    """

    def __init__(self, simulation: "_Simulation", layer: MatrixLayer, copy: LayerCopy, operation: VectorOperation):
        super().__init__(simulation, layer, copy, operation)
        operations = simulation.operations
        self.crossbars = operations.crossbars[copy.rank]
        self.held: list[Event] = [self.env.timeout(0) for _ in self.crossbars]
        adcs = sorted({(x.core, operations.adc_of(x)) for x in self.crossbars})
        self.adcs = {adc: Port(self.env) for adc in adcs}
        self.core_bits, self.written = operations.core_bits(copy), operations.written_bits(copy)
        self.counted: Actions = defaultdict(float)
        self.latched: Event = self.env.timeout(0)

    def _load(self) -> Generator[Event, Any, int]:
        ports, operations = self.simulation.buffer_ports, self.simulation.operations
        per_tile = operations.chip.structure.cores_per_tile
        served = []
        for tile, bits in self.written.items():
            served.append(ports[tile].serve(self.rank, operations.port_time(bits)))
        for core, bits in self.core_bits.items():
            served.append(ports[core // per_tile].serve(self.rank, operations.port_time(bits)))
            for component in ("buffer", "bus"):
                self.counted[component] += bits
        yield self.env.all_of(served)
        return _first(served)

    def _wait_for_arrays(self) -> Steps:
        yield self.latched

    def _compute(self) -> Event:
        latched, converted = [], []
        for index, crossbar in enumerate(self.crossbars):
            last_latch = Event(self.env)
            latched.append(last_latch)
            converted.append(self.env.process(self._crossbar(index, crossbar, last_latch)))
        self.latched = self.env.all_of(latched)
        return self.env.all_of(converted)

    def _crossbar(self, index: int, crossbar: Crossbar, last_latch: Event) -> Steps:
        operations, cycle = self.simulation.operations, self.operation.cycle
        adc = self.adcs[(crossbar.core, operations.adc_of(crossbar))]
        width, reads = operations.chip.component.dac.bits, operations.chip.reads_per_conversion
        for _ in range(cycle.slices):
            yield self.env.timeout(cycle.read)
            yield self.held[index]
            self.held[index] = adc.serve(crossbar.slot, operations.conversion_time(crossbar))
            for component, count in (
                ("input_register", reads * crossbar.rows * width), ("dac", reads * crossbar.rows), ("crossbar", reads),
                ("sample_hold", reads * crossbar.bitlines), ("adc", crossbar.conversions),
                ("shift_add", crossbar.conversions), ("output_register", crossbar.conversions),
            ):  # fmt: skip
                self.counted[component] += count
        last_latch.succeed()
        yield self.held[index]


class _Simulation:
    """The environment, what is shared in it, and its processes."""

    def __init__(
        self, placement: Placement, arrivals: Arrivals, off_chip_io: bool, per_crossbar: bool, samples_held: int
    ):
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
        self._loaded: dict[tuple[str, int], tuple[Event, list[int]]] = {}
        self.readers: dict[str, tuple[str, ...]] = {
            source: tuple(dict.fromkeys(flow.target for flow in self.network.flows if flow.source == source))
            for source in ["", *placement.copies]
        }
        self.last_layers = [layer for layer in self.network.layers if not self.network.consumers[layer.name]]
        operations = {copy.rank: self.operations.of(copy) for copies in placement.copies.values() for copy in copies}
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

    def shared(self, holds: dict[int, int], ports: dict[int, Port]) -> tuple[list[tuple[Port, int]], int]:
        """Ports that other copies use too, with their hold times [fs], and the longest hold of the others."""
        uses = self._uses["load_ports" if ports is self.buffer_ports else "output_ports"]
        shared = [(ports[tile], hold) for tile, hold in holds.items() if uses[tile] > 1 or self.per_crossbar]
        private = [hold for tile, hold in holds.items() if uses[tile] == 1 and not self.per_crossbar]
        return shared, max(private, default=0)

    def loaded(self, layer: str, sample: int) -> Event:
        """When every vector of the sample has been loaded by the layer."""
        return self._loading(layer, sample)[0]

    def count_load(self, layer: MatrixLayer, sample: int) -> None:
        """One more vector of the sample has been loaded by the layer."""
        event, count = self._loading(layer.name, sample)
        count[0] += 1
        if count[0] == layer.vectors:
            event.succeed()
            self._loaded.pop((layer.name, sample - self.samples_held - 1), None)

    def _loading(self, layer: str, sample: int) -> tuple[Event, list[int]]:
        return self._loaded.setdefault((layer, sample), (Event(self.env), [0]))

    def progress(self, layer: str, sample: int) -> Progress:
        """Progress of a layer on a sample."""
        key = (layer, sample)
        if key not in self._progress:
            self._progress[key] = Progress(self.env, self.network.layer(layer).vectors)
        return self._progress[key]

    def room_for(self, sample: int, source: str) -> Steps:
        """Until all who read what `source` makes have loaded the sample `samples_held` before."""
        for reader in self.readers[source] if sample >= self.samples_held else ():
            loaded = self.loaded(reader, sample - self.samples_held)
            if not loaded.processed:
                yield loaded

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
            progress = self.progress(layer.name, sample)
            if progress.complete < layer.vectors:
                yield progress.wait(layer.vectors)
        if self.off_chip_io:
            yield self.env.timeout(self.result_out.hop_latency)
            start = yield self.links.serve(2 * sample + 1, self.result_out.hold)
            self.journal.write(self.output_run, start, int(self.env.now))
        self.finish_fs[sample] = int(self.env.now)
        for layer in self.network.layers:
            self._progress.pop((layer.name, sample), None)

    def start(self) -> Iterator[Event]:
        """Start every process; the events are the requests' ends."""
        for copy in self.copies:
            self.env.process(copy.process(len(self.placement.copies[copy.layer.name])))
        return iter([self.env.process(self._request(sample)) for sample in range(self.requests)])

    def enter_counted_actions(self) -> None:
        """Replace what load and compute are known to do by what the single crossbars were seen to do."""
        runs = np.bincount(np.array(self.journal.activity, int), minlength=len(self.journal.activities))
        for copy in self.copies:
            assert isinstance(copy, _CrossbarCopyProcess)
            for index in (copy.run.load, copy.run.compute):
                known = self.journal.activities[index]
                seen = {name: copy.counted[name] / max(1, int(runs[index])) for name in known.actions}
                self.journal.activities[index] = dataclasses.replace(known, actions=seen)


def _first(served: list[Event]) -> int:
    """When the first of the services began [fs]."""
    begun: list[Any] = [event.value for event in served]
    return int(min(begun))


def _uses(operations: dict[int, VectorOperation], ports: str) -> dict[int, int]:
    """How many copies use each tile's port."""
    uses: dict[int, int] = defaultdict(int)
    for operation in operations.values():
        for tile in getattr(operation, ports):
            uses[tile] += 1
    return uses


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
) -> Ledger:
    """Serve the requests on the placed network and return the ledger.

    off_chip_io: samples come and results leave over the chip's links; without it they lie in the buffers.
    read_energy: joule of the array reads of one vector by layer (`hw.analog.read_energies`); without it the
    preset's figure per read is charged. samples_held: samples in a reader's buffers at most, by default one that it
    computes on and one that arrives; a reader many layers later (a long skip) may need more not to hold the layers
    before it back. horizon: simulate at least that long [s], idle if need be. progress is
    called with 1 after each request. Raises ParameterError for a read energy missing or not finite.
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
    simulation = _Simulation(placement, arrivals, off_chip_io, resolution == "crossbar", samples_held)
    for finished in simulation.start():
        simulation.env.run(finished)
        if progress is not None:
            progress(1)
    simulation.env.run()
    journal = simulation.journal
    if resolution == "crossbar":
        simulation.enter_counted_actions()
    span = max([round(horizon * FEMTOSECONDS), *journal.end, *simulation.finish_fs.tolist()])
    return Ledger(
        placement, tuple(journal.activities), np.array(journal.activity), np.array(journal.start),
        np.array(journal.end), simulation.arrival_fs, simulation.finish_fs, span,
        next(simulation.env._eid), None if read_energy is None else dict(read_energy),
    )  # fmt: skip

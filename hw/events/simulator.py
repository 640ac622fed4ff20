"""The discrete-event simulation (SimPy): requests in, events, ledger out. The clock is integer femtoseconds.

Every layer copy is one process: its crossbars move in lock-step, and what happens within a vector has a
closed form. `resolution="crossbar"` runs every crossbar, sample-and-hold and ADC as a process of its own; both
give the same times and the same energy, which a test pins.

A vector starts to load when the values of its receptive field exist and the input register is free, that is
when the vector before it has started to compute. It computes when it is loaded, the arrays are free, and there is room for its
results: a copy has at most three vectors on their way, one that is read, one that is converted, and one in the tile's register
until it is injected into the mesh. What contends: buffer ports and buses, ADCs, output stages of tiles, every link of the mesh
(`xbar.hw.events.mesh`), room in buffers (`xbar.hw.events.credits`), off-chip links. A converter to which crossbars of several copies
are wired (`place(..., sharing="cores")`) serves one vector from its first read to its last conversion, then who asked first; a vector
that needs several such converters gets them at once. Flow control: a layer begins a sample, and a
sample comes over the links, when all who read it have loaded the samples until `samples_held` before. A layer may read itself,
and layers that come after it: within a sample each vector waits for those that it needs, whichever layers they are of. A request
is done when the layers that make its outputs, and those that nobody else waits for, are done with it.

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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import lcm
from numbers import Real
from typing import Literal

import numpy as np
from simpy.events import Event, Process

from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.chip.cycle import FEMTOSECONDS
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals, check_reach
from xbar.hw.events.copies import CopyProcess, CrossbarCopyProcess, Journal, Ports, Steps
from xbar.hw.events.credits import Credits
from xbar.hw.events.destinations import Copies
from xbar.hw.events.fast import COMPILED, LEAST, events_expected, serve_compiled, uncollected, why_not
from xbar.hw.events.ledger import INPUT, OUTPUT, WRITE, Activity, Ledger
from xbar.hw.events.mesh import Links, Outbox
from xbar.hw.events.repetition import serve
from xbar.hw.events.updates import Update, check_updates, crossbar_writes
from xbar.hw.events.vector_operation import Transfer, Unit, VectorOperation, VectorOperations
from xbar.hw.events.waiting import Clock, Port, Progress, SharedUnits
from xbar.hw.graph.network import MatrixLayer, Network

BEFORE_ALL_ELSE = -1  # SimPy's own events have priorities 0 and 1 at the same time


class OffChipLinks:
    """A chip's off-chip links to what is no chip: one sample at a time, in or out."""

    def __init__(self, env: Clock):
        self.port = Port(env)

    def receive(self, sample: int, hold: int, begins: Callable[[int], None]) -> Event:
        """An event when a sample is in, after `hold` [fs] of the links; its value is when that began, and `begins` is called then."""
        return self.port.serve(2 * sample, hold, begins)

    def send(self, sample: int, hold: int, whole: int) -> Event:
        """An event when a sample's results are out, after `hold` [fs] of the links; its value is when that began. whole: when the last of
        them is at the links [fs], which do not wait for it."""
        return self.port.serve(2 * sample + 1, hold)


class Simulation:
    """One chip: what is shared on it, and its processes. env: the clock, its own where it is not given one; links: who holds its off-chip
    links, its own where no other chip does."""

    def __init__(
        self, placement: Placement, arrivals: Arrivals, off_chip_io: bool, per_crossbar: bool, samples_held: int,
        updates: Sequence[Update], lookups: Mapping[str, Sequence[int]], env: Clock | None = None,
        off_chip_links: OffChipLinks | None = None,
    ):  # fmt: skip
        self.env = env or Clock(initial_time=0)
        self.placement, self.network = placement, placement.network
        self.journal = Journal()
        self.operations = VectorOperations(placement, off_chip_io)
        self.arrival_fs = arrivals.femtoseconds
        self.requests = len(self.arrival_fs)
        self.engine = "SimPy"  # what it is served by
        self.finish_fs = np.zeros(self.requests, np.int64)
        self.more_events = 0  # than the clock had, of what is not simulated because it repeats itself
        self.off_chip_io, self.per_crossbar, self.samples_held = off_chip_io, per_crossbar, samples_held
        self.sample_ready = [Event(self.env) for _ in range(self.requests)]
        self.buffer_ports: dict[int, Port] = defaultdict(lambda: Port(self.env))
        self.output_stages: dict[int, Port] = defaultdict(lambda: Port(self.env))
        self.off_chip_links, self.links = off_chip_links or OffChipLinks(self.env), Links(self.operations.mesh)
        self.outbox = Outbox(self.env, self.links)
        self.turns = SharedUnits(self.env)
        self.taken: dict[Unit, int] = defaultdict(int)  # how long shared converters were [fs]
        self._progress: dict[tuple[str, int], Progress] = {}
        self._loads: dict[tuple[str, int], int] = defaultdict(int)  # vectors loaded of a layer and sample
        self._loaded = {name: Progress(self.env, self.requests) for name in placement.copies}  # samples loaded
        self.readers: dict[str, list[Progress]] = {  # of what each layer makes: the samples that they have loaded
            source: [self._loaded[name] for name in dict.fromkeys(flow.target for flow in self.network.flows if flow.source == source)]
            for source in ["", *placement.copies]
        }
        last = {*self.network.last_layers, *self.network.outputs}
        self.last_layers = [layer for layer in self.network.layers if layer.name in last]
        self.updates = updates
        self.written: dict[tuple[int, int, int, int], int] = defaultdict(int)  # (update, copy, start, end) -> cells
        self.kinds = {layer.name: self._row_tiles(layer, lookups) for layer in self.network.layers if layer.lookup}
        operations = {
            copy.rank: [self.operations.of(copy, row_tile) for row_tile in self.operations.row_tiles(layer)]
            for layer in self.network.layers
            for copy in placement.copies[layer.name]
        }
        self._copies: dict[tuple[str, int], list[Copies]] = {}
        self.credits = Credits(self.env, self.operations, samples_held)
        self.transfers = _Transfers(self) if off_chip_io else None
        self._uses = self._counted_uses(operations)
        kind = CrossbarCopyProcess if per_crossbar else CopyProcess
        self.copies = [
            kind(self, layer, copy, operations[copy.rank])
            for layer in self.network.layers
            for copy in placement.copies[layer.name]
        ]

    def _row_tiles(self, layer: MatrixLayer, lookups: Mapping[str, Sequence[int]]) -> list[int]:
        """The row tile of every look-up, over all requests; rows that are not given are drawn, all alike often."""
        count = self.requests * layer.vectors
        rows = np.asarray(lookups[layer.name] if layer.name in lookups else drawn_rows(layer.name, layer.inputs, count)).ravel()
        tiles: list[int] = (rows // self.placement.geometry(layer.name).inputs_per_crossbar).tolist()
        return tiles

    def _counted_uses(self, operations: dict[int, list[VectorOperation]]) -> dict[tuple[str, int], int]:
        """How many stages of how many copies use each tile's buffer port and output stage."""
        uses: dict[tuple[str, int], int] = defaultdict(int)
        sides = (("buffer", "load_ports"), ("buffer", "buffer_ports"), ("stage", "partial_ports"), ("stage", "output_ports"))
        for kinds in operations.values():
            for port, side in sides:
                for tile in {tile for operation in kinds for tile in getattr(operation, side)}:
                    uses[port, tile] += 1
        if self.transfers is not None:
            for tile in self.transfers.buffer_tiles:
                uses["buffer", tile] += 1
        return uses

    def ports_of(self, operation: VectorOperation, layer: MatrixLayer) -> tuple[Ports, Ports, Ports, Ports]:
        """What a vector holds while it loads, while its partial sums are made, and while its results are. A port that nobody else
        uses needs no queue, unless a vector can hold it after its compute for longer than the next one computes, and so shares
        with itself: a look-up, of so few slices, and much digital work."""

        def ports(port: str, holds: dict[int, int], after: bool) -> Ports:
            found, shared, private = self.buffer_ports if port == "buffer" else self.output_stages, [], 0
            for tile, hold in holds.items():
                alone = self._uses[port, tile] == 1 and not self.per_crossbar
                if alone and not (after and (layer.lookup or hold > operation.cycle.busy)):
                    private = max(private, hold)
                else:
                    shared.append((found[tile], hold))
            return Ports(shared, private)

        return (
            ports("buffer", operation.load_ports, False), ports("stage", operation.partial_ports, True),
            ports("stage", operation.output_ports, True), ports("buffer", operation.buffer_ports, True),
        )  # fmt: skip

    def copies_of(self, layer: str, sample: int) -> list[Copies]:
        """Of each vector of a layer's sample: for each flow of its results the copies that it goes to."""
        key = (layer, sample % self.operations.destinations.phases(layer))
        if key not in self._copies:
            self._copies[key] = self.operations.destinations.copies_of(layer, sample)
        return self._copies[key]

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

    def samples(self) -> Iterator[int]:
        """Numbers of the samples, as many as there are when the last one is asked for."""
        sample = 0
        while sample < self.requests:
            yield sample
            sample += 1

    def room_for(self, sample: int, source: str) -> Steps:
        """Until all who read what `source` makes have loaded all samples until `samples_held` before."""
        for loaded in self.readers[source]:
            yield from loaded.until(sample - self.samples_held + 1)

    def _request(self, sample: int) -> Steps:
        yield self.env.timeout(int(self.arrival_fs[sample]))
        yield from self.serve(sample)

    def serve(self, sample: int) -> Steps:
        """One request from its arrival, which is now, to its result."""
        if self.transfers is not None:
            yield from self.room_for(sample, "")
            if room := self.credits.of_input(sample):
                yield self.credits.take(sample - self.requests, sample, room)
            yield from self.transfers.bring(sample)
        self.sample_ready[sample].succeed()
        for layer in self.last_layers:
            yield from self.progress(layer.name, sample).until(layer.vectors)
        if self.transfers is not None:
            yield from self.transfers.take(sample)
        self.finished(sample)
        for layer in self.network.layers:  # vectors that no result rests on
            yield from self.progress(layer.name, sample).until(layer.vectors)
        if self.credits.watched:
            self.credits.done(sample)
        for layer in self.network.layers:
            del self._progress[layer.name, sample]

    def finished(self, sample: int) -> None:
        """That a request's result is out now."""
        check_reach(self.env._now)
        self.finish_fs[sample] = self.env._now

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

    def start(self) -> list[Process]:
        """Start every process; those of the requests."""
        self.start_copies()
        return [self.env.process(self._request(sample)) for sample in range(self.requests)]

    def start_copies(self) -> None:
        """Start every process but those of requests."""
        self._schedule_updates()
        self.processes = [self.env.process(copy.process()) for copy in self.copies]

    def unit_busy(self) -> dict[str, int]:
        """How long each unit that bounds time was busy [fs], by what it is called."""
        written = self.journal.runs
        runs = written.counts(len(self.journal.activities))
        busy: dict[str, int] = defaultdict(int)
        for copy in self.copies:
            name = f"{copy.layer.name}, copy {copy.copy.index}"
            for kind in copy.kinds:
                for unit, hold in kind.operation.held(name).items():
                    busy[unit] += int(runs[kind.load_run]) * hold
        for (core, adc), hold in sorted(self.taken.items()):
            busy[f"shared ADC {adc} of core {core}"] = hold
        for transfer, index in self.transfers.described if self.transfers is not None else ():
            busy["off-chip links"] += int(runs[index]) * transfer.hold  # without what they are held longer for other chips
            for tile, hold in transfer.buffer_ports.items():
                busy[f"buffer port of tile {tile}"] += int(runs[index]) * hold
        return dict(busy)

    def run(self, until: Event) -> None:
        """Go on until an event; raises BufferCapacityError where all wait for room in buffers."""
        try:
            self.env.run(until)
        except RuntimeError:  # of SimPy: nothing is left that could happen
            self.credits.stuck()
            raise

    def close(self, horizon: float) -> int:
        """Write down what is known only when all has happened; its end [fs], not before the horizon [s]."""
        self._enter_writes()
        if self.per_crossbar:
            self._enter_counted_actions()
        runs = self.journal.runs
        ends = [runs.last_end] if len(runs.end) else []
        span = max([round(horizon * FEMTOSECONDS), *ends, *self.finish_fs.tolist()])
        check_reach(span)
        return span

    def ledger(self, span: int, read_energy: Mapping[str, float] | None, served: int | None = None) -> Ledger:
        """The ledger from 0 to `span` [fs], of what is closed; served: of so many requests, the first ones, all where it is None."""
        return Ledger(
            self.placement, tuple(self.journal.activities), self.journal.runs, self.arrival_fs[:served], self.finish_fs[:served], span,
            next(self.env._eid) + self.more_events, self.links, self.unit_busy(), None if read_energy is None else dict(read_energy),
            tuple(self.updates), self.engine,
        )  # fmt: skip

    def _enter_writes(self) -> None:
        """The crossbars of a copy that an update wrote over the same time are one run."""
        for (number, copy, start, end), cells in sorted(self.written.items()):
            update = self.updates[number]
            pulses = {WRITE: cells * update.pulses_per_cell}
            self.journal.afterwards.append((self.journal.describe(Activity(update.layer, WRITE, copy, pulses, number)), start, end))

    def _enter_counted_actions(self) -> None:
        """Replace what load and compute are known to do by what the single crossbars were seen to do."""
        runs = np.bincount(np.array(self.journal.activity, int), minlength=len(self.journal.activities))
        for copy in self.copies:
            assert isinstance(copy, CrossbarCopyProcess)
            for kind, counted in zip(copy.kinds, copy.counted, strict=True):
                for index in (kind.load_run, kind.compute_run):
                    known = self.journal.activities[index]
                    seen = {name: counted[name] / max(1, int(runs[index])) for name in known.actions}
                    self.journal.activities[index] = dataclasses.replace(known, actions=seen)


class _Transfers:
    """Samples that come and results that leave over the chip's off-chip links."""

    def __init__(self, simulation: Simulation):
        self.simulation, self.env, self.operations = simulation, simulation.env, simulation.operations
        destinations, network = self.operations.destinations, simulation.network
        self.in_phases = destinations.phases("")
        self.out_phases = lcm(*(simulation.placement.deals[name].phases for name in network.outputs))
        self.known: dict[tuple[str, int], tuple[Transfer, int]] = {}
        self.buffer_tiles = {
            tile for name in network.outputs for phase in range(simulation.placement.deals[name].phases)
            for tile in destinations.completed(name, phase)
        }  # fmt: skip

    @property
    def described(self) -> list[tuple[Transfer, int]]:
        """Transfers and their activities."""
        return list(self.known.values())

    def _transfer(self, which: str, sample: int) -> tuple[Transfer, int]:
        phases, made = (self.in_phases, self.operations.image_in) if which == INPUT else (self.out_phases, self.operations.result_out)
        key = (which, sample % phases)
        if key not in self.known:
            transfer = made(sample)
            self.known[key] = transfer, self.simulation.journal.describe(Activity(which, "transfer", 0, transfer.actions))
        return self.known[key]

    def bring(self, sample: int) -> Steps:
        """One sample: it travels on over the mesh while it comes over the links, and is there when its last bit is."""
        transfer, run = self._transfer(INPUT, sample)
        arrived: list[int] = []
        links, shipment = self.simulation.links, transfer.shipment
        start = yield self.simulation.off_chip_links.receive(
            sample, transfer.hold, lambda now: arrived.append(links.send(shipment, now)[1])
        )
        self.simulation.journal.write(run, start, self.env._now)
        last = max(self.env._now + shipment.routers * links.hop, *arrived)
        yield self.env.timeout(last - self.env._now)

    def take(self, sample: int) -> Steps:
        """One sample's results: read from the buffers, over the mesh, and over the links as they come."""
        transfer, run = self._transfer(OUTPUT, sample)
        simulation, shipment = self.simulation, transfer.shipment
        rank = sample - simulation.requests  # before all copies
        reads = [simulation.buffer_ports[tile].serve(rank, hold) for tile, hold in transfer.buffer_ports.items()]
        if reads:
            yield self.env.all_of(reads)
        _, arrived = yield simulation.outbox.post(rank, shipment)
        yield self.env.timeout(shipment.routers * simulation.links.hop)
        start = yield simulation.off_chip_links.send(sample, transfer.hold, arrived)
        simulation.journal.write(run, start, self.env._now)
        if arrived > self.env._now:
            yield self.env.timeout(arrived - self.env._now)


def drawn_rows(table: str, rows: int, count: int) -> np.ndarray:
    """Rows that `count` look-ups of a table of so many read where none are given: independent, every row alike often (assumed), by
    the table's name the same draws in every simulation, int64 (count,)."""
    return np.random.default_rng(list(table.encode())).integers(rows, size=count)


def lookups_on(whole: ChipsPlacement, requests: int, lookups: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """The rows that each table on several chips is asked for, with those of tables in pieces, which are asked for one row together: given
    for the whole table, or drawn for it."""
    layers = whole.network.layers_by_name
    given = dict(lookups)
    for name, pieces in whole.pieces.items():
        first = layers[pieces[0]]
        if first.lookup and given.keys().isdisjoint([name, *pieces]):
            given[name] = drawn_rows(name, first.inputs, requests * first.vectors).tolist()
    return whole.by_table_piece(given)


def check_lookups(network: Network, requests: int, lookups: Mapping[str, Sequence[int]]) -> None:
    """Raise ParameterError unless each is one row of a table for every look-up."""
    tables = {layer.name: layer for layer in network.layers if layer.lookup}
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
    every_request: bool = False,
    engine: Literal["auto", "simpy", "compiled"] = "auto",
) -> Ledger:
    """Serve the requests on the placed network and return the ledger.

    off_chip_io: samples come and results leave over the chip's links; without it they lie in the buffers.
    read_energy: joule of the array reads of one vector by layer (`xbar.hw.analog.read_energies`); without it the
    preset's figure per read is charged. samples_held: samples in a reader's buffers at most, by default one that it
    computes on and one that arrives; a reader many layers later (a long skip) may need more not to hold the layers
    before it back. horizon: simulate at least that long [s], idle if need be. progress is
    called with 1 after each request. updates: what is written anew meanwhile, also after the last request. lookups: by
    look-up layer the rows that requests look up, (requests, vectors) or flat in that order; layers that are not named look
    up every row alike often (`drawn_rows`). every_request: simulate each of them, also where evenly spaced ones come to repeat each other,
    which are else simulated until they do (`xbar.hw.events.repetition`), with the same ledger. engine: SimPy, which is the reference, or
    the compiled loop (`xbar.hw.events.fast`) with the same ledger; "auto" takes the loop for what is large where it can. `Ledger.engine`
    tells which it was, and why.

    Raises ParameterError for a read energy missing or not finite, for updates that cannot be made, for look-ups of other shape or range,
    and for engine="compiled" where the loop cannot; BufferCapacityError where values wait for each other because a tile's buffer is too
    small (`xbar.hw.events.credits` says when that cannot be).
    """
    check_kinds(placement, Placement, "place; simulate_chips takes those of place_chips", arrivals)
    check_options(placement.network, read_energy, resolution, samples_held, horizon)
    updates = tuple(updates)
    check_updates(placement, updates)
    check_lookups(placement.network, len(arrivals.times), lookups or {})
    with uncollected():
        simulation = Simulation(placement, arrivals, off_chip_io, resolution == "crossbar", samples_held, updates, lookups or {})
    simulation.engine = _serve(simulation, progress, every_request, engine)
    return simulation.ledger(simulation.close(horizon), read_energy)


def _serve(simulation: Simulation, progress: Callable[[int], None] | None, every_request: bool, engine: str) -> str:
    """Serve all requests with an engine; which it was, and why."""
    if engine not in ("auto", "simpy", "compiled"):
        raise ParameterError(f"engine must be 'auto', 'simpy' or 'compiled', got {engine!r}")
    large, reason = events_expected(simulation) >= LEAST, why_not(simulation)
    if engine == "compiled" and reason is not None:
        raise ParameterError(f"engine='compiled': {reason}")
    if engine == "compiled" or (engine == "auto" and large and reason is None):
        if serve_compiled(simulation, every_request):
            for _ in range(simulation.requests if progress is not None else 0):
                progress(1)  # type: ignore[misc]
            return COMPILED
        reason = "times near the end of what 64 bits hold"
        if engine == "compiled":
            raise ParameterError(f"engine='compiled': {reason}")
    serve(simulation, progress, every_request)
    return "SimPy" if engine == "simpy" or not large else f"SimPy: {reason}"


def check_kinds(placement: object, kind: type, made_by: str, arrivals: object) -> None:
    """Raise ParameterError for what is no placement of a kind, or no arrivals."""
    if not isinstance(placement, kind):
        raise ParameterError(f"placement must be of {made_by}; got {type(placement).__name__}")
    if not isinstance(arrivals, Arrivals):
        raise ParameterError(f"arrivals must be Arrivals, as Arrivals.batch(8); got {type(arrivals).__name__}")


def check_options(
    network: Network, read_energy: Mapping[str, float] | None, resolution: str, samples_held: int, horizon: float
) -> None:
    """Raise ParameterError for options of a simulation that it cannot have."""
    layers = [layer.name for layer in network.layers]
    if read_energy is not None:
        unknown = [name for name in read_energy if name not in layers]
        if unknown:
            raise ParameterError(f"read_energy: no layers {', '.join(unknown)}; layers: {', '.join(layers)}")
        wrong = [name for name in layers if not _is_energy(read_energy.get(name))]
        if wrong:
            raise ParameterError(f"read_energy needs a finite number of joules, 0 or more, for layers {', '.join(wrong)}")
    if resolution not in ("group", "crossbar"):
        raise ParameterError(f"resolution must be 'group' or 'crossbar', got {resolution!r}")
    if isinstance(samples_held, bool) or not isinstance(samples_held, int | np.integer) or samples_held < 1:
        raise ParameterError(f"samples_held must be a whole number of at least 1, got {samples_held!r}")
    if not (horizon >= 0 and np.isfinite(horizon)):
        raise ParameterError(f"horizon must be 0 s or more, got {horizon}")


def _is_energy(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < float("inf")

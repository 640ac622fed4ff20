"""What a request's latency is made of: its critical path through the events of a simulation, back from its result to its arrival.

Each event of the clock has a cause: the event in whose instant it was scheduled, which is the last of all that it waited for. Back
from the result, cause after cause, lie spans of time without gaps, each the work of one unit (a part of a vector's stages, or a
transfer): the path. Its spans sum to the latency, to the femtosecond. A shorter span anywhere else shortens nothing; one on the path
shortens the latency until another path is longer.

Where something waits for a unit at work, the path goes on through that work, and the span is `waiting`: the unit was busy with a vector,
or a request, before. So of a layer whose vectors queue for its arrays, nearly all is reads or conversions that were waited for.

What the event model has in closed form is taken apart here: a vector's compute is its first read, its slices but one at the longer of
read and conversion, and its last conversion; a vector that waits for arrays waits from the beginning of the compute before it. A packet's
time beyond what it takes on free links is waiting. Stages overlap (a sample travels on while it comes over the links): a path tells
of what was last, not of what was at work beside it.

Recorded only here: a clock that notes causes, so that other simulations are not slower. Several chips, updates and single crossbars are
not told of.
"""

import sys
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pandas as pd
from simpy.events import NORMAL, Event

from xbar.hw.chip.cycle import conversion_rates, port_part
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.copies import CopyProcess, Kind, Ports, Result
from xbar.hw.events.ledger import INPUT, OUTPUT
from xbar.hw.events.mesh import Links, Shipment
from xbar.hw.events.repetition import serve
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.simulator import Simulation, _Transfers
from xbar.hw.events.waiting import Clock, Port

ARRIVAL = "arrival"
# What a span is the work of, by its kind; of reads and slices the longer part decides.
PARTS = {
    "load": "buffers and buses", "operands": "buffers and buses", "results read": "buffers and buses", "read": "array reads",
    "conversion": "conversions", "partial sums": "digital units", "digital": "digital units", "mesh": "mesh", "link": "off-chip links",
}  # fmt: skip
OF_KIND = {"load": "load", "partial": "partial sums", "output": "digital", "buffers": "operands"}  # by the field of `Kind`


class Span(NamedTuple):
    """A part of a path: begin and end [fs], the layer ((input), (output) of transfers) and its copy, the kind of work (`PARTS`), the
    component that it takes as long as, and whether the unit worked for a vector or request before. of_slices: of a compute, whether it is
    that of all slices but the first read and the last conversion."""

    begin: int
    end: int
    layer: str
    copy: int
    kind: str
    component: str
    waiting: bool = False
    of_slices: bool = False

    @property
    def length(self) -> int:
        """How long it is [fs]."""
        return self.end - self.begin


@dataclass(frozen=True)
class CriticalPath:
    """The critical path of one request: `spans` in order of time, without gaps from `arrival_fs` to `finish_fs`."""

    placement: Placement = field(repr=False)
    request: int
    arrival_fs: int
    finish_fs: int
    spans: tuple[Span, ...] = field(repr=False)

    @property
    def latency_fs(self) -> int:
        """Arrival to result [fs]; the sum of the spans."""
        return self.finish_fs - self.arrival_fs

    @property
    def latency(self) -> float:
        """Arrival to result [s]."""
        return self.latency_fs * FEMTOSECOND

    def table(self) -> pd.DataFrame:
        """One row a layer, part and component, the longest first: layer, part, component, time_fs, time_s, share of the latency, and
        waiting_share: the part of the time in which the unit worked for others before."""
        sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for span in self.spans:
            found = sums[span.layer, PARTS[span.kind], span.component]
            found[0] += span.length
            found[1] += span.length * span.waiting
        rows = [(*key, time, waited) for key, (time, waited) in sums.items()]
        return self._shares(pd.DataFrame(rows, columns=["layer", "part", "component", "time_fs", "waited_fs"]))

    def parts(self) -> pd.DataFrame:
        """The same by part alone (index), over all layers: array reads, conversions, buffers and buses, digital units, mesh, off-chip
        links; component: the one that most of the part's time is as long as."""
        table = self.table()
        waited = table.assign(waited_fs=(table["time_fs"] * table["waiting_share"]).round().astype("int64"))
        sums = waited.groupby("part", sort=False)[["time_fs", "waited_fs"]].sum().reset_index()
        of_part = table.groupby(["part", "component"], sort=False)["time_fs"].sum().sort_values(ascending=False, kind="stable")
        named = of_part.reset_index().drop_duplicates("part").set_index("part")["component"]
        return self._shares(sums.assign(component=sums["part"].map(named))).set_index("part")

    def _shares(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table of time_fs and waited_fs in shares, the longest first."""
        time, waited = table["time_fs"], table.pop("waited_fs")
        shares = table.assign(
            time_s=time * FEMTOSECOND, share=time / max(1, self.latency_fs), waiting_share=(waited / time.where(time > 0)).fillna(0.0)
        )
        return shares.sort_values("time_fs", ascending=False, kind="stable").reset_index(drop=True)


def critical_path(
    placement: Placement, arrivals: Arrivals | None = None, request: int = 0, *, off_chip_io: bool = True, samples_held: int = 2
) -> CriticalPath:
    """The critical path of a request among those that arrive, by default one alone. Options as of `xbar.hw.events.simulator.simulate`.

    Raises ParameterError for a request that is not among them, and what a simulation raises.
    """
    arrivals = Arrivals.batch(1) if arrivals is None else arrivals
    if not 0 <= request < len(arrivals.times):
        raise ParameterError(f"request must be from 0 to {len(arrivals.times) - 1}, got {request}")
    simulation = _Traced(placement, arrivals, off_chip_io, samples_held)
    serve(simulation, None, every_request=True)
    return simulation.path(request)


# ---- what is noted


class _Noted(NamedTuple):
    """Whose work a delay is: what function asked for it, and what it knew."""

    of: str
    values: tuple[Any, ...]


class _Compute(NamedTuple):
    """A vector's compute: when it began [fs] and by which event, the first latch, the last latch, and the last conversion."""

    start: int
    cause: int
    first_latch: int
    last_latch: int
    end: int
    kind: Kind


class _Causes(Clock):
    """A clock that notes of every event in the instant of which other it was scheduled, when, and where time passes, for what."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.now_event = -1
        self.cause, self.asked, self.due = array("q"), array("q"), array("q")  # by number of the event
        self.noted: dict[int, _Noted] = {}
        self.computes: dict[int, list[_Compute]] = defaultdict(list)  # by rank of the copy
        self.left: dict[int, tuple[Result, int, int]] = {}  # by id of a vector's results: when they were posted, by which event

    def schedule(self, event: Event, priority: Any = NORMAL, delay: Any = 0) -> None:
        """As of the clock; numbers of events are those of the clock."""
        super().schedule(event, priority, delay)
        number = len(self.cause)
        assert event.callbacks is not None
        event.callbacks.insert(0, partial(self._begin, number))
        self.cause.append(self.now_event)
        self.asked.append(self._now)
        self.due.append(self._now + int(delay))
        if delay and (noted := self._note(sys._getframe(1))) is not None:
            self.noted[number] = noted

    def _begin(self, number: int, _: Event) -> None:
        self.now_event = number

    def _note(self, frame: FrameType | None) -> _Noted | None:
        """Who asked for time to pass: the innermost function that is known here."""
        while frame is not None:
            told = ASKERS.get(frame.f_code)
            if told is not None:
                of, names = told
                known = frame.f_locals
                if of == "compute":
                    self._computes(known["self"], known["kind"])
                elif of == "results" and (result := known.get("result")) is not None and result.left is not None:
                    self.left[id(result)] = (result, self._now, self.now_event)
                if of == "port":
                    return _Noted(of, (known["self"], known["self"].rank))
                return _Noted(of, tuple(known.get(name) for name in names))
            frame = frame.f_back
        return None

    def _computes(self, copy: CopyProcess, number: int) -> None:
        """Note a compute that begins now, whose times the copy has set."""
        kind, start = copy.kinds[number], self._now
        cycle, last_latch, end = kind.operation.cycle, copy.arrays_free, copy.converters_free
        first_latch = start if cycle.in_turn else last_latch - (cycle.slices - 1) * max(cycle.read, cycle.conversion)
        self.computes[copy.rank].append(_Compute(start, self.now_event, first_latch, last_latch, end, kind))


# By the code of a function in which time is asked for: what it is called here, and the local variables that tell whose it is.
ASKERS: dict[CodeType, tuple[str, tuple[str, ...]]] = {
    CopyProcess._compute.__code__: ("compute", ("self",)),
    CopyProcess._wait_for_arrays.__code__: ("arrays", ("self",)),
    CopyProcess._wait_for_results.__code__: ("held", ("self", "oldest")),
    CopyProcess._begin.__code__: ("private", ("self", "ports")),
    CopyProcess._finish.__code__: ("results", ("self", "mine", "sending")),
    Port._next_turn.__code__: ("busy", ()),
    Port._begin.__code__: ("port", ()),
    _Transfers.bring.__code__: ("bring", ("shipment",)),
    _Transfers.take.__code__: ("take", ("shipment",)),
    Simulation._request.__code__: (ARRIVAL, ()),
}


class _Traced(Simulation):
    """A simulation whose clock notes causes."""

    env: _Causes

    def __init__(self, placement: Placement, arrivals: Arrivals, off_chip_io: bool, samples_held: int):
        self.ends: dict[int, int] = {}  # by request: the event of its result
        super().__init__(placement, arrivals, off_chip_io, False, samples_held, (), {}, _Causes())

    def finished(self, sample: int) -> None:
        """As of the simulation, and by which event."""
        super().finished(sample)
        self.ends[sample] = self.env.now_event

    def path(self, request: int) -> CriticalPath:
        """The critical path of a request that was served."""
        arrival, finish = int(self.arrival_fs[request]), int(self.finish_fs[request])
        spans: list[Span] = []
        for span in _Walk(self).back(self.ends[request], finish):
            if span.end <= arrival:
                break
            if span.length:
                spans.append(span._replace(begin=max(span.begin, arrival)))
        return CriticalPath(self.placement, request, arrival, finish, tuple(reversed(spans)))


# ---- the way back

Back = Generator[Span, None, tuple[int, int]]  # spans, and in the end the event before them with its time


class _Walk:
    """Goes back from an event through causes, and tells what took the time between them."""

    def __init__(self, simulation: _Traced):
        self.simulation, self.clock, self.chip = simulation, simulation.env, simulation.placement.chip
        self.copies = {copy.rank: copy for copy in simulation.copies}
        self.ports = {id(port): ("buffer", tile) for tile, port in simulation.buffer_ports.items()}
        self.ports |= {id(port): ("stage", tile) for tile, port in simulation.output_stages.items()}
        self.port_part = port_part(self.chip)
        self._slowest: dict[str, str] = {}  # part of a conversion, by layer

    def back(self, event: int, time: int) -> Iterator[Span]:
        """The spans before an event that came at a time [fs], the last first."""
        clock = self.clock
        while event >= 0:
            assert clock.due[event] == time, "a cause that came at another time than what it caused was asked for"
            if time > clock.asked[event]:
                event, time = yield from self._delay(event, time)
            else:
                event = clock.cause[event]

    def _delay(self, event: int, time: int) -> Back:
        """What took the time from an event's cause to it; returns the event before and its time."""
        clock = self.clock
        noted = clock.noted[event]
        of, values = noted
        begin, cause = clock.asked[event], clock.cause[event]
        if of in ("compute", "arrays"):
            copy = values[0]
            last = bisect_right(clock.computes[copy.rank], begin, key=lambda each: each.start) - 1  # that had begun by then
            return (yield from self._computing(copy, last, time, of == "arrays"))
        if of == "held":  # results of the vector before are injected into the mesh
            copy, oldest = values
            _, begin, cause = clock.left[id(oldest)]
            yield Span(begin, time, copy.layer.name, copy.copy.index, "mesh", "router", True)
            return cause, begin
        if of in ("busy", "port"):
            yield self._port(event, begin, time, of == "busy")
        elif of == "private":
            copy, ports = values
            yield self._private(copy, ports, begin, time)
        elif of == "results":
            copy, mine, sending = values
            gathers = sending is None  # not yet made
            shipment = mine.operation.gather if gathers else sending.shipment
            yield from self._travel(copy.layer.name, copy.copy.index, shipment, begin, time)
        elif of in ("bring", "take"):
            yield from self._travel(INPUT if of == "bring" else OUTPUT, 0, values[0], begin, time)
        else:
            assert of == ARRIVAL
            yield Span(begin, time, INPUT, 0, "link", "link", True)  # before the request is there
        return cause, begin

    def _computing(self, copy: CopyProcess, place: int, until: int, waiting: bool) -> Back:
        """A vector's compute back from `until`, its last latch or its end; where it waited for the converters, the compute before too."""
        name, index = copy.layer.name, copy.copy.index
        while True:
            found = self.clock.computes[copy.rank][place]
            cycle = found.kind.operation.cycle
            reading, converting = cycle.longest, self._converting(name)
            longer = ("conversion", converting) if cycle.conversion > cycle.read else ("read", reading)
            if cycle.in_turn:
                yield Span(found.start, until, name, index, *longer, waiting, True)
                return found.cause, found.start
            if until > found.last_latch:
                yield Span(found.last_latch, until, name, index, "conversion", converting, waiting)
            yield Span(found.first_latch, found.last_latch, name, index, *longer, waiting, True)
            if found.first_latch <= found.start + cycle.read:
                yield Span(found.start, found.first_latch, name, index, "read", reading, waiting)
                return found.cause, found.start
            place, until, waiting = place - 1, found.first_latch, True  # the vector before was still converted

    def _converting(self, layer: str) -> str:
        """The component that a layer's conversions take as long as."""
        if layer not in self._slowest:
            rates = conversion_rates(self.chip, layer)
            self._slowest[layer] = min(rates, key=lambda part: rates[part])
        return self._slowest[layer]

    def _port(self, event: int, begin: int, end: int, waiting: bool) -> Span:
        """The hold of a port: of the buffers, of an output stage, or of the off-chip links."""
        port, rank = self.clock.noted[event - waiting].values  # a port's next turn is scheduled after what it serves
        if id(port) not in self.ports:
            return Span(begin, end, OUTPUT if rank % 2 else INPUT, 0, "link", "link", waiting)
        what, tile = self.ports[id(port)]
        if rank < 0:
            return Span(begin, end, OUTPUT, 0, "results read", self.port_part, waiting)
        copy = self.copies[rank // 2]
        if what == "buffer":
            kind, component = "load" if rank % 2 else "operands", self.port_part
        else:
            operation = next(kind.operation for kind in copy.kinds if tile in kind.operation.longest)
            kind, component = "partial sums" if rank % 2 else "digital", operation.longest[tile]
        return Span(begin, end, copy.layer.name, copy.copy.index, kind, component, waiting)

    def _private(self, copy: CopyProcess, ports: Ports, begin: int, end: int) -> Span:
        """The hold of what nobody else uses."""
        kind, name = next((kind, name) for kind in copy.kinds for name in OF_KIND if getattr(kind, name) is ports)
        component = self.port_part
        if name in ("partial", "output"):
            holds = kind.operation.partial_ports if name == "partial" else kind.operation.output_ports
            component = kind.operation.longest[max(holds, key=lambda tile: holds[tile])]
        return Span(begin, end, copy.layer.name, copy.copy.index, OF_KIND[name], component)

    def _travel(self, layer: str, copy: int, shipment: Shipment, begin: int, end: int) -> Iterator[Span]:
        """Packets on the mesh, until they have arrived; what free links would not take is waiting, told first."""
        free = min(end - begin, travel_time(shipment, self.simulation.links))
        yield Span(end - free, end, layer, copy, "mesh", "router")
        if end - free > begin:
            yield Span(begin, end - free, layer, copy, "mesh", "router", True)


def travel_time(shipment: Shipment, links: Links) -> int:
    """How long packets take from when they are sent until all have arrived, on links that are free [fs]."""
    begins: list[int] = []
    arrived = 0
    for _, after, service, _ in shipment.steps:
        begins.append(0 if after < 0 else begins[after] + links.hop)
        arrived = max(arrived, begins[-1] + service)
    return arrived

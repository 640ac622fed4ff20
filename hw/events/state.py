"""The whole state of a simulation at an instant, told relative to the time and to a sample: equal for two instants exactly where what
follows is the same, that much later and for so many samples further on.

State is what will be looked at again: events that are due, with who waits for them; where each process stands, and what its local
variables hold; queues of ports, of converters and for room in buffers; what is done of each sample; when arrays, converters and links are
free again. Times stand as time from now, where only whether they have passed matters as 0; samples as distance from the sample. Left
out is what is only written down (journal, counts, peaks), and requests that nothing has been done for yet, since who waits in a queue
behind all others changes nothing for those before.

Processes are Python's generators, read by their frames. Local variables hold times and samples by their names, below. A variable or an
object that is not known here equals nothing, so that a simulation with it is never taken to repeat itself.
"""

from collections.abc import Iterator
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from simpy.events import PENDING, Condition, ConditionValue, Event, Process

from xbar.hw.events.copies import CopyProcess, Journal, Kind, Ports, Result, Sending
from xbar.hw.events.credits import Credits
from xbar.hw.events.mesh import Links, Outbox, Shipment
from xbar.hw.events.vector_operation import Transfer
from xbar.hw.events.waiting import Port, Progress, Turns
from xbar.hw.graph.network import MatrixLayer

if TYPE_CHECKING:
    from xbar.hw.events.simulator import Simulation

TIMES = frozenset({"start", "started", "until", "injected", "arrived", "last", "_"})  # names of local variables [fs]
SAMPLES = frozenset({"sample"})
RANKS = frozenset({"rank"})  # of a copy, not negative; of a sample, the sample less all requests
CONSTANT = frozenset({"mine", "copies", "loads", "counts"})  # made once, and not changed
UNUSED = frozenset({"count"})  # not looked at again
DIGITS = 6  # of a bit: room in buffers is a sum of shares of bits, and its last digits are of no account
FIXED = (MatrixLayer, Transfer, Shipment, Kind, Ports, Sending, CopyProcess, Journal, Credits, Links, Outbox)  # the same object throughout

REQUEST = "_request"  # what a request's process is called

State = tuple[Any, ...]


def frames(process: Process) -> Iterator[GeneratorType]:
    """The generators of a process, each but the last waiting for the next."""
    generator: Any = process._generator
    while isinstance(generator, GeneratorType) and generator.gi_frame is not None:
        yield generator
        generator = generator.gi_yieldfrom


def where(process: Process) -> list[str]:
    """Names of the functions in which a process waits, from the outermost; none when it has ended."""
    return [generator.gi_code.co_name for generator in frames(process)]


def waits_behind(event: Event, untouched: int) -> bool:
    """Whether the event is waited for by a request from this one on."""
    for callback in event.callbacks or ():
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, Process) and owner._generator.gi_code.co_name == REQUEST:  # type: ignore[attr-defined]
            frame = owner._generator.gi_frame  # type: ignore[attr-defined]
            return frame is not None and frame.f_locals["sample"] >= untouched
    return False


class Snapshot:
    """Tells the state of a simulation when all of an instant has happened. requests: their processes; sample: relative to which; untouched:
    nothing has been done for requests from this one on; unseen: no layer has come to samples from this one on."""

    def __init__(self, simulation: "Simulation", requests: list[Process], sample: int, untouched: int, unseen: int):
        self.simulation, self.requests, self.now, self.sample = simulation, requests, simulation.env._now, sample
        self.untouched, self.unseen = untouched, max(untouched, unseen)
        self.ports: dict[int, tuple[Any, ...]] = {id(simulation.off_chip_links.port): ("links",)}
        for name, ports in (("buffer", simulation.buffer_ports), ("stage", simulation.output_stages)):
            self.ports |= {id(port): (name, tile) for tile, port in ports.items()}
        self.progress: dict[int, tuple[Any, ...]] = {id(one): ("samples", name) for name, one in simulation._loaded.items()}
        self.progress |= {id(one): (name, number - sample) for (name, number), one in simulation._progress.items()}
        self.met: dict[int, int] = {}  # by id: objects told already, by number
        self.kept: list[object] = []  # these, so that no id is used again meanwhile

    def state(self) -> State:
        """All of it; can be told once."""
        simulation = self.simulation
        due = sorted(simulation.env._queue)  # (time, priority, number, event)
        return (
            tuple(
                (int(when) - self.now, priority, self._event(event)) for when, priority, _, event in due if not waits_behind(event, self.untouched)
            ),
            tuple(map(self._process, [*simulation.processes, *self.requests[self.sample : self.untouched]])),
            tuple(self._port(port) for ports in (simulation.buffer_ports, simulation.output_stages) for _, port in sorted(ports.items())),
            self._port(simulation.off_chip_links.port),
            self._turns(simulation.turns), self._credits(simulation.credits), len(simulation.outbox.posted),
            tuple(self._samples(name, one) for name, one in simulation._loaded.items()),
            tuple(
                self._vectors(name, number, one) for (name, number), one in sorted(simulation._progress.items()) if number < self.unseen
            ),
            tuple((name, number - self.sample, count) for (name, number), count in sorted(simulation._loads.items())),
            tuple(self._copy(copy) for copy in simulation.copies),
            tuple(self._event(ready) for ready in simulation.sample_ready[self.sample : self.unseen]),
            tuple(self._links(simulation.links)),
        )  # fmt: skip

    def _later(self, time: int) -> int:
        """A time of which only matters how far it is ahead [fs]."""
        return max(0, time - self.now)

    def _rank(self, rank: int) -> int:
        return rank if rank >= 0 else rank + self.simulation.requests - self.sample

    def _again(self, one: object) -> State | None:
        """The number of what was told before; else it gets one."""
        if id(one) in self.met:
            return ("again", self.met[id(one)])
        self.met[id(one)] = len(self.met)
        self.kept.append(one)
        return None

    # ---- events and who waits for them

    def _event(self, event: Event) -> State:
        if (again := self._again(event)) is not None:
            return again
        if event.callbacks is None:
            return ("processed", self._outcome(event))
        parts = (event._count, tuple(map(self._event, event._events))) if isinstance(event, Condition) else ()
        return (type(event).__name__, self._outcome(event), tuple(map(self._callback, event.callbacks)), parts)

    def _outcome(self, event: Event) -> object:
        """The value of an event: a time, times, or nothing."""
        value: Any = event._value
        if value is PENDING:
            return "pending"
        if value is None or isinstance(value, ConditionValue):
            return None
        if isinstance(value, tuple):
            return tuple(time - self.now if isinstance(time, int) else object() for time in value)
        return value - self.now if isinstance(value, int) else object()

    def _callback(self, callback: object) -> object:
        owner = getattr(callback, "__self__", None)
        name = getattr(callback, "__name__", "")
        if isinstance(owner, Process):
            return self._process(owner)
        if isinstance(owner, Condition):
            return name, self._event(owner)
        if isinstance(owner, Port):
            return name, self.ports.get(id(owner), object())
        return (name, type(owner).__name__) if isinstance(owner, Turns | Credits | Outbox) else object()

    def _process(self, process: Process) -> State:
        if (again := self._again(process)) is not None:
            return again
        return tuple(
            (
                generator.gi_code.co_name, generator.gi_frame.f_lasti,
                tuple((name, self._local(name, value)) for name, value in generator.gi_frame.f_locals.items() if name not in UNUSED),
            )
            for generator in frames(process)
        )  # fmt: skip

    def _local(self, name: str, value: Any) -> object:
        """What a local variable holds."""
        if value is None or isinstance(value, bool | str | float):
            return value
        if isinstance(value, int):
            if name in TIMES:
                return value - self.now
            return value - self.sample if name in SAMPLES else self._rank(value) if name in RANKS else value
        if name in CONSTANT or isinstance(value, FIXED) or value is self.simulation or value is self.simulation.transfers:
            return id(value)
        if isinstance(value, Event):
            return self._event(value)
        if isinstance(value, Result):
            return self._result(value)
        if isinstance(value, Progress):
            return self.progress.get(id(value), object())
        if isinstance(value, list | tuple | dict):
            items = sorted(value.items()) if isinstance(value, dict) else value
            return tuple(self._local(name, each) for each in items)
        return object()

    # ---- what is shared

    def _result(self, result: Result) -> State:
        if (again := self._again(result)) is not None:
            return again
        if result.left is not None:
            return (self._later(result.left),)
        return (None, None if result.awaited is None else self._event(result.awaited))

    def _copy(self, copy: CopyProcess) -> State:
        free = self._later(copy.arrays_free), self._later(copy.converters_free)
        return (*free, tuple(map(self._result, copy.results)))

    def _port(self, port: Port) -> State:
        return (port.turn_due, *(
            (int(asked) - self.now, duration, self._event(served), begins is None)
            for asked, _, _, duration, served, begins in sorted(port.waiting, key=lambda each: each[:3])
        ))  # fmt: skip

    def _turns(self, turns: Turns) -> State:
        waiting = ((asked - self.now, tuple(sorted(units)), self._event(event)) for asked, _, _, units, event in turns.waiting)  # type: ignore[type-var]
        return (turns.turn_due, tuple(sorted(turns.taken)), *waiting)  # type: ignore[type-var]

    def _credits(self, credits: Credits) -> State:
        if not credits.watched:
            return ()
        rounded = [
            tuple((tile, round(bits, DIGITS) + 0.0) for tile, bits in sorted(each.items()))
            for each in (credits.level, *(bits for _, bits in sorted(credits.unsent.items())))
        ]
        return (
            credits.turn_due, credits.oldest - self.sample, tuple(number - self.sample for number in sorted(credits.finished)),
            tuple(number - self.sample for number in sorted(credits.unsent)), tuple(rounded),
            tuple(
                (each.sample - self.sample, int(each.asked) - self.now, tuple(sorted(each.bits.items())), self._event(each.event))
                for each in credits.waiting
            ),
        )  # fmt: skip

    def _samples(self, name: str, progress: Progress) -> State:
        """Samples that a layer has loaded, and who waits for more."""
        waiting = ((count - self.sample, event) for count, _, event in sorted(progress.waiting) if not waits_behind(event, self.untouched))
        return (name, progress.complete - self.sample, _ahead(progress), tuple((count, self._event(event)) for count, event in waiting))

    def _vectors(self, name: str, number: int, progress: Progress) -> State:
        """Vectors of a sample that a layer has done, and who waits for more."""
        waiting = tuple((count, self._event(event)) for count, _, event in sorted(progress.waiting))
        return (name, number - self.sample, progress.complete, _ahead(progress), waiting)

    def _links(self, links: Links) -> Iterator[State]:
        """Of the mesh's links that are taken from now on: when they are free, and for how long before that."""
        for link, free in enumerate(links.free):
            if free > self.now:
                gaps = ((max(begin, self.now), end) for begin, end in links.gaps[link] if end > self.now)
                yield link, free - self.now, tuple((a - self.now, b - self.now) for a, b in gaps if b - a >= links.shortest)


def _ahead(progress: Progress) -> bytes:
    """What is done behind the first that is not."""
    return bytes(progress.done[progress.complete :]).rstrip(b"\0")

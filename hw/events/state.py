"""The whole state of a simulation at an instant, told relative to the time and to a sample: equal for two instants exactly where what
follows is the same, that much later and for so many samples further on.

State is what will be looked at again: events that are due, with who waits for them; where each process stands, and what its local
variables hold; queues of ports, of converters and for room in buffers; what is done of each sample; when arrays, converters and links are
free again. Times stand as time from now, where only whether they have passed matters as 0; samples as distance from the sample. Left
out is what is only written down (journal, counts, peaks), and requests that nothing has been done for yet, since who waits in a queue
behind all others changes nothing for those before.

Processes are Python's generators, read by their frames. Local variables hold times, samples and other whole numbers by their names, below,
which a test compares with those that the generators have (`tests/hw/test_repetition.py`). A whole number under another name and an object
that is not known here equal nothing, so that a simulation with them is never taken to repeat itself. What is not told at all
`xbar.hw.events.repetition.is_told` lists.
"""

import itertools
import marshal
from collections.abc import Iterator
from types import FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

from simpy.events import PENDING, Condition, ConditionValue, Event, Process

from xbar.hw.events.copies import CopyProcess, Journal, Kind, Ports, Result, Sending
from xbar.hw.events.credits import Bits, Credits
from xbar.hw.events.mesh import Links, Outbox, Shipment
from xbar.hw.events.vector_operation import Transfer
from xbar.hw.events.waiting import Port, Progress, SharedUnits
from xbar.hw.graph.network import MatrixLayer

if TYPE_CHECKING:
    from xbar.hw.events.simulator import Simulation

TIMES = frozenset({"start", "started", "until", "injected", "arrived", "last", "_"})  # names of local variables [fs]
SAMPLES = frozenset({"sample"})
RANKS = frozenset({"rank"})  # of a copy, not negative; of a sample, the sample less all requests
NUMBERS = frozenset({"kind", "vector", "run", "unit", "room"})  # that stand for themselves; of `unit` and `room` keys
CONSTANT = frozenset({"mine", "copies", "loads", "counts"})  # made once, and not changed
UNUSED = frozenset({"count"})  # not looked at again
DIGITS = 6  # of a bit: room in buffers is a sum of shares of bits, and its last digits are of no account
FIXED = frozenset({  # types of what is the same throughout
    MatrixLayer, Transfer, Shipment, Kind, Ports, Sending, CopyProcess, Journal, Credits, Links, Outbox,
})  # fmt: skip
PLAIN = frozenset({type(None), bool, str, float})

REQUEST = "_request"  # what a request's process is called

UNKNOWN = itertools.count()
WITHOUT_REFERENCES = 2  # format of marshal in which equal lists are equal bytes


def frames(process: Process) -> Iterator[FrameType]:
    """Where a process stands: the frames of its generators, each but the last waiting for the next; none when it has ended."""
    generator: Any = process._generator
    while isinstance(generator, GeneratorType) and generator.gi_frame is not None:
        yield generator.gi_frame
        generator = generator.gi_yieldfrom


def waits_behind(event: Event, untouched: int) -> bool:
    """Whether the event is waited for by a request from this one on."""
    for callback in event.callbacks or ():
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, Process) and (frame := next(frames(owner), None)) is not None and frame.f_code.co_name == REQUEST:
            return bool(frame.f_locals["sample"] >= untouched)
    return False


class Snapshot:
    """Tells the state of a simulation when all of an instant has happened. requests: their processes; sample: relative to which; untouched:
    nothing has been done for requests from this one on; unseen: no layer has come to samples from this one on."""

    def __init__(self, simulation: "Simulation", requests: list[Process], sample: int, untouched: int, unseen: int):
        self.simulation, self.requests, self.now, self.sample = simulation, requests, simulation.env._now, sample
        self.untouched, self.unseen = untouched, max(untouched, unseen)
        self.ports: dict[int, str] = {id(simulation.off_chip_links.port): "links"}
        for name, ports in (("buffer", simulation.buffer_ports), ("stage", simulation.output_stages)):
            self.ports |= {id(port): f"{name} {tile}" for tile, port in ports.items()}
        self.progress: dict[int, str] = {id(one): f"samples of {name}" for name, one in simulation._loaded.items()}
        self.progress |= {id(one): f"{number - sample} of {name}" for (name, number), one in simulation._progress.items()}
        self.met: dict[int, int] = {}  # by id: objects told already, by number
        self.kept: list[object] = []  # these, so that no id is used again meanwhile
        self.told: list[object] = []  # flat; what is of any length begins with its length

    def state(self) -> bytes:
        """All of it; can be told once."""
        simulation = self.simulation
        self._waiting(
            [(int(when) - self.now, priority, event) for when, priority, _, event in sorted(simulation.env._queue)]  # due events
        )
        for process in [*simulation.processes, *self.requests[self.sample : self.untouched]]:
            self._process(process)
        for ports in (simulation.buffer_ports, simulation.output_stages):
            for _, port in sorted(ports.items()):
                self._port(port)
        self._port(simulation.off_chip_links.port)
        self._turns(simulation.turns)
        self._credits(simulation.credits)
        self.told.append(len(simulation.outbox.posted))
        for one in simulation._loaded.values():  # samples that layers have loaded
            self._ahead(one.complete - self.sample, one)
            self._waiting([(count - self.sample, event) for count, _, event in sorted(one.waiting)])
        for (name, number), one in sorted(simulation._progress.items()):  # vectors that they have done
            if number < self.unseen:
                self.told += name, number - self.sample
                self._ahead(one.complete, one)
                self._waiting([(count, event) for count, _, event in sorted(one.waiting)])
        for (name, number), count in sorted(simulation._loads.items()):
            self.told += name, number - self.sample, count
        for copy in simulation.copies:
            self.told += self._later(copy.arrays_free), self._later(copy.converters_free), *map(self._later, copy.written_until)
            for result in copy.results:
                self._result(result)
        for ready in simulation.sample_ready[self.sample : self.unseen]:
            self._event(ready)
        self._links(simulation.links)
        return marshal.dumps(self.told, WITHOUT_REFERENCES)

    def _later(self, time: int) -> int:
        """A time of which only matters how far it is ahead [fs]."""
        return max(0, time - self.now)

    def _unknown(self) -> None:
        """What equals nothing else."""
        self.told += "unknown", next(UNKNOWN)

    def _again(self, one: object) -> bool:
        """Whether it was told before: then its number is; else it gets one."""
        number = self.met.setdefault(id(one), len(self.met))
        if number < len(self.kept):
            self.told += "again", number
            return True
        self.kept.append(one)
        return False

    # ---- events and who waits for them

    def _waiting(self, events: list[Any]) -> None:
        """Events, each behind what is to be told of it, but those that only requests wait for that nothing has been done for."""
        mine = [each for each in events if not waits_behind(each[-1], self.untouched)]
        self.told.append(len(mine))
        for *what, event in mine:
            self.told += what
            self._event(event)

    def _event(self, event: Event) -> None:
        if self._again(event):
            return
        value: Any = event._value
        if value is PENDING:
            self.told.append("pending")
        elif value is None or isinstance(value, ConditionValue):
            self.told.append(None)
        elif type(value) is int:
            self.told.append(value - self.now)
        else:
            self._unknown()
        if event.callbacks is None:
            self.told.append("processed")
            return
        self.told += type(event).__name__, len(event.callbacks)
        for callback in event.callbacks:
            self._callback(callback)
        if isinstance(event, Condition):
            self.told += event._count, len(event._events)
            for each in event._events:
                self._event(each)

    def _callback(self, callback: object) -> None:
        owner = getattr(callback, "__self__", None)
        self.told.append(getattr(callback, "__name__", ""))
        if isinstance(owner, Process):
            self._process(owner)
        elif isinstance(owner, Condition):
            self._event(owner)
        elif isinstance(owner, SharedUnits | Credits | Outbox):
            self.told.append(type(owner).__name__)
        elif id(owner) in self.ports:
            self.told.append(self.ports[id(owner)])
        else:
            self._unknown()

    def _process(self, process: Process) -> None:
        if self._again(process):
            return
        for frame in frames(process):
            self.told += frame.f_code.co_name, frame.f_lasti
            for name, value in frame.f_locals.items():
                if name not in UNUSED:
                    self.told.append(name)
                    self._local(name, value)
        self.told.append("end")

    def _local(self, name: str, value: Any) -> None:
        """What a local variable holds."""
        kind = type(value)
        if kind is int:
            if name in TIMES:
                value -= self.now
            elif name in SAMPLES:
                value -= self.sample
            elif name in RANKS:
                value += self.simulation.requests - self.sample if value < 0 else 0
            elif name not in NUMBERS and name not in CONSTANT:
                self._unknown()
            self.told.append(value)
        elif kind in FIXED or name in CONSTANT or value is self.simulation or value is self.simulation.transfers:
            self.told.append(id(value))
        elif kind in PLAIN:
            self.told.append(value)
        elif isinstance(value, Event):
            self._event(value)
        elif kind is Result:
            self._result(value)
        elif kind is Progress and id(value) in self.progress:
            self.told.append(self.progress[id(value)])
        elif kind in (list, tuple, dict):
            items = sorted(value.items()) if kind is dict else value
            self.told.append(len(items))
            for each in items:
                self._local(name, each)
        else:
            self._unknown()

    # ---- what is shared

    def _result(self, result: Result) -> None:
        if self._again(result):
            return
        if result.left is not None:
            self.told.append(self._later(result.left))
        elif result.awaited is None:
            self.told.append(None)
        else:
            self._event(result.awaited)

    def _port(self, port: Port) -> None:
        self.told.append(port.turn_due)
        self._waiting([
            (int(asked) - self.now, duration, begins is None, served)
            for asked, _, _, duration, served, begins in sorted(port.waiting, key=lambda each: each[:3])
        ])  # fmt: skip

    def _turns(self, turns: SharedUnits) -> None:
        self.told += turns.turn_due, repr(sorted(turns.taken))  # type: ignore[type-var]
        self._waiting([(asked - self.now, repr(sorted(units)), event) for asked, _, _, units, event in turns.waiting])  # type: ignore[type-var]

    def _credits(self, credits: Credits) -> None:
        if not credits.watched:
            return
        self.told += credits.turn_due, credits.oldest - self.sample, [number - self.sample for number in sorted(credits.finished)]
        self._bits(credits.level)
        self.told.append(len(credits.unsent))
        for number, bits in sorted(credits.unsent.items()):
            self.told.append(number - self.sample)
            self._bits(bits)
        for (number, source, kept), left in sorted(credits.pending.items()):
            self.told += number - self.sample, source, kept, left.tobytes()
        for each in credits.waiting:
            self._bits(each.bits)
        self._waiting([(each.sample - self.sample, int(each.asked) - self.now, each.event) for each in credits.waiting])

    def _bits(self, bits: Bits) -> None:
        self.told.append([each for tile, count in sorted(bits.items()) for each in (tile, round(count, DIGITS) + 0.0)])

    def _ahead(self, complete: int, progress: Progress) -> None:
        """Up to where all is done, and what is done behind."""
        self.told += complete, bytes(progress.done[progress.complete :]).rstrip(b"\0")

    def _links(self, links: Links) -> None:
        """Of the mesh's links that are taken from now on: when they are free, and for how long before that."""
        for link, free in enumerate(links.free):
            if free > self.now:
                gaps = [(self._later(begin), end - self.now) for begin, end in links.gaps[link] if end > self.now]
                self.told += link, free - self.now, [each for gap in gaps if gap[1] - gap[0] >= links.shortest for each in gap]

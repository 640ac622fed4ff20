"""The clock, and where things wait: for a port that serves one at a time, for units that several take in turn, and for vectors that must
be done before."""

import heapq
from bisect import insort
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import simpy
from simpy.events import Event

BEFORE_PORTS = 2  # SimPy's own events have priorities 0 and 1 at the same time
AFTER_ALL_ELSE = 3
LAST = 9


class Clock(simpy.Environment):
    """SimPy's environment with its loop written out, which takes a call or two less for each event; times are whole [fs]."""

    _now: int

    def run(self, until: Any = None) -> Any:
        """Go on until an event, or to the end; the event's value. Raises what a process raises, and RuntimeError where nothing is
        left to happen before the event."""
        queue, pop = self._queue, heapq.heappop
        while until is None or until.callbacks is not None:
            if not queue:
                if until is None:
                    return None
                raise RuntimeError(f"nothing is left to happen, and {until} did not")
            self._now, _, _, event = pop(queue)  # type: ignore[assignment]
            callbacks: Any = event.callbacks
            event.callbacks = None  # type: ignore[assignment]
            for callback in callbacks:
                callback(event)
            if not event._ok and not event.defused:
                raise event._value
        return until.value

    def finish_instant(self) -> None:
        """Go on until nothing is left to happen now; takes one number of an event."""
        last = Event(self)
        last._ok, last._value = True, None
        self.schedule(last, LAST)  # type: ignore[arg-type]
        self.run(last)


class Port:
    """Serves one request at a time, first come first served, those of one instant by their rank."""

    def __init__(self, env: Clock):
        self.env = env
        self.waiting: list[tuple[float, int, int, int, Event, Callable[[int], None] | None]] = []
        self.turns = 0
        self.turn_due = False
        self.rank = 0  # of who was served last

    def serve(self, rank: int, duration: int, begins: Callable[[int], None] | None = None) -> Event:
        """An event at the end of `duration` [fs] of service; its value is when the service began, when `begins` is called with
        the time."""
        served = Event(self.env)
        self.turns += 1
        heapq.heappush(self.waiting, (self.env._now, rank, self.turns, duration, served, begins))
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
        _, self.rank, _, duration, served, begins = heapq.heappop(self.waiting)
        if begins is not None:
            begins(self.env._now)
        served._ok, served._value = True, self.env._now
        self.env.schedule(served, delay=duration)
        self._next_turn(duration)


class SharedUnits:
    """Units that several have a use for and one has at a time, such as converters: who needs several gets all at once. Nobody passes one
    who asked earlier and waits for the same unit, so nobody waits for ever; those of one instant come by their rank."""

    def __init__(self, env: Clock):
        self.env = env
        self.waiting: list[tuple[int, int, int, frozenset[Hashable], Event]] = []
        self.taken: set[Hashable] = set()
        self.asked = 0
        self.turn_due = False

    def take(self, rank: int, units: frozenset[Hashable]) -> Event:
        """Ask for all of these units; an event when they are free and taken."""
        event = Event(self.env)
        self.asked += 1
        insort(self.waiting, (self.env._now, rank, self.asked, units, event), key=lambda request: request[:3])
        self._serve_by_rank()
        return event

    def give(self, units: frozenset[Hashable]) -> None:
        """Give units back."""
        self.taken -= units
        self._serve_by_rank()

    def _serve_by_rank(self) -> None:
        """Serve when all who ask or give in this instant have."""
        if self.turn_due or not self.waiting:
            return
        self.turn_due = True
        turn = Event(self.env)
        turn._ok, turn._value = True, None
        turn.callbacks.append(self._serve)
        self.env.schedule(turn, BEFORE_PORTS)  # type: ignore[arg-type]

    def _serve(self, turn: Event) -> None:
        self.turn_due = False
        passed: set[Hashable] = set()
        left = []
        for request in self.waiting:
            units, event = request[3:]
            if units & self.taken or units & passed:
                passed |= units
                left.append(request)
            else:
                self.taken |= units
                event.succeed()
        self.waiting = left


class Progress:
    """How many of `total` things, vectors of a layer's sample or samples, are done without gaps from the first; wakes who
    waits for more."""

    def __init__(self, env: Clock, total: int):
        self.env, self.total = env, total
        self.done = bytearray(total)
        self.complete = 0
        self.waiting: list[tuple[int, int, Event]] = []
        self.waits = 0

    def wait(self, count: int) -> Event:
        """An event when the first `count` are done."""
        event = Event(self.env)
        self.waits += 1
        heapq.heappush(self.waiting, (count, self.waits, event))
        return event

    def until(self, count: int) -> Iterator[Event]:
        """What is to be waited for until the first `count` are done: an event, or nothing."""
        if self.complete < count:
            yield self.wait(count)

    def finish(self, number: int) -> None:
        """That one is done."""
        self.done[number] = 1
        while self.complete < self.total and self.done[self.complete]:
            self.complete += 1
        while self.waiting and self.waiting[0][0] <= self.complete:
            _, _, waiter = heapq.heappop(self.waiting)
            waiter.succeed()

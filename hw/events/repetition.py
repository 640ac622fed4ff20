"""Requests that repeat each other are simulated until they do, and counted from there on.

Requests that come at once or evenly spaced are a deterministic load, and a pipeline under it comes to a cycle: after p requests and T
femtoseconds all is as before, p samples further on. Whether it is, is looked up: after each request's end, when all of that instant has
happened, the whole state of the simulation is told relative to the time and the number of requests that ended
(`xbar.hw.events.state`). Where it equals that of p requests before, whatever follows repeats what followed then, since

- nothing is drawn, and what happens follows from the state alone;
- all rules compare times and ranks of samples with each other, never with a clock's reading or a number of their own; what depends on
  the number of a sample, the copies that take its vectors, depends on it modulo the deals' phases, of which p is a multiple;
- that there is a last request shows only when somebody would go on to one more: until then no process has come to its end, and requests
  for which nothing has been done wait behind all others, or have not arrived. Those that arrive meanwhile either arrive as long before or
  after the others as in the period before (T is p times their distance), or have all come before they could be served.

So for N requests the simulation goes on with fewer: as many as were begun, and up to p - 1 more, so that whole periods are left out.
What comes then, the pipeline's running empty, is what comes at the end of N requests, later by the periods that were left out, each of
which is the one that was seen. Nothing is estimated: every number is that of the simulation of every request, sums of energies but for
their rounding, and room in buffers, where it can run out, is compared to a millionth of a bit.

Updates, tables and single crossbars are simulated request by request: a state tells neither what is being written until when, nor the rows
that look-ups read (each by its own number), nor the processes of crossbars (`is_told`).

Where no state comes again within the requests that are looked at (`LOOKED_AT`), the simulation goes on to the end as if nobody had looked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify
from math import lcm
from typing import TYPE_CHECKING

import numpy as np
from simpy.events import Process

from xbar.hw.events.arrivals import check_reach
from xbar.hw.events.runs import Repeats
from xbar.hw.events.state import REQUEST, Snapshot, frames, waits_behind

if TYPE_CHECKING:
    from xbar.hw.events.simulator import Simulation

LOOKED_AT = 64  # rounds of the deals' phases: each of the first 15, every second one to 31, every fourth one from there on
IN_LINE = [REQUEST, "serve", "room_for"]  # where a request stands that waits for its turn to come in


def serve(simulation: "Simulation", progress: Callable[[int], None] | None, every_request: bool) -> None:
    """Start a simulation and go on until all of its requests are served; progress is called with 1 after each.

    every_request: simulate all of them. Otherwise, where they come evenly spaced, and all of the state is told, what repeats itself is left
    out and counted.
    """
    requests = simulation.start()
    look, served = None if every_request or not is_told(simulation) else LookAtProcesses(simulation, requests), 0
    while served < simulation.requests:
        simulation.run(requests[served])
        served += 1
        if progress is not None:
            progress(1)
        if look is not None and look.open:
            look.after(served)
    simulation.env.run()
    if look is not None:
        for _ in range(look.close()):
            if progress is not None:
                progress(1)


def is_told(simulation: "Simulation") -> bool:
    """Whether a `Snapshot` tells all that what follows depends on. It knows until when copies are written and that writes are to come (a
    process of theirs waits), neither the row tiles of look-ups to come nor `CrossbarCopyProcess`."""
    return not (simulation.kinds or simulation.per_crossbar)


@dataclass(frozen=True)
class Mark:
    """What was written down until a request's end: the time [fs], the journal's rows, the clock's events, shipments and how long shared
    converters were taken."""

    served: int
    now: int
    rows: int
    events: int
    sent: dict[int, int]
    taken: dict[tuple[int, int], int]


class Look:
    """Looks for a state that comes again, and leaves out what then repeats itself. open: as long as it looks."""

    def __init__(self, simulation: "Simulation"):
        self.simulation, self.all = simulation, simulation.requests
        self.phases = lcm(*(deal.phases for deal in simulation.placement.deals.values()))
        self.marks: dict[bytes, Mark] = {}
        self.found: tuple[Mark, Mark, int] | None = None  # the last two ends of the period, and how often it was left out
        self.taken_numbers = 0  # of events, by looking
        distances = np.diff(simulation.arrival_fs)
        self.open = bool(len(distances)) and bool((distances == distances[0]).all())
        self.distance = int(distances[0]) if self.open else 0

    def untouched(self, served: int) -> int:
        """The first request that nothing has been done for: that has not come, or waits behind all others for its turn to come in."""
        raise NotImplementedError

    def unseen(self) -> int:
        """The first sample that no copy has come to; all where a copy has come to its end."""
        raise NotImplementedError

    def mark(self, served: int) -> Mark:
        """What was written down until now, when all of this instant has happened."""
        raise NotImplementedError

    def state(self, served: int, untouched: int, unseen: int) -> bytes:
        """The whole state now."""
        raise NotImplementedError

    def forget(self, fewer: int) -> None:
        """Go on as if requests from this one on had never come."""
        raise NotImplementedError

    def after(self, served: int) -> None:
        """Look after so many requests have been served."""
        rounds, rest = divmod(served, self.phases)
        if rest or rounds % (1 << max(0, rounds.bit_length() - 4)):
            return
        if rounds > LOOKED_AT:
            self.open = False
            return
        if max(self.untouched(served), self.unseen()) + self.phases > self.all:
            self.open = False
            return
        mark = self.mark(served)
        untouched, unseen = self.untouched(served), self.unseen()  # what happened in this instant is in it
        state = self.state(served, untouched, unseen)
        before = self.marks.get(state)
        self.marks[state] = mark
        if before is not None:
            self._leave_out(before, mark, max(untouched, unseen))

    def _leave_out(self, before: Mark, mark: Mark, begun: int) -> None:
        """Go on with fewer requests, where what has come since `before` repeats itself."""
        simulation, period, shift = self.simulation, mark.served - before.served, mark.now - before.now
        fewer = begun + (self.all - begun) % period
        more = (self.all - fewer) // period
        in_step = shift == period * self.distance
        waiting = shift > period * self.distance and int(simulation.arrival_fs[fewer - 1]) <= before.now
        if not more or not shift or not (in_step or waiting):
            return
        self.open, self.found = False, (before, mark, more)
        self.marks.clear()
        simulation.requests = fewer
        self.forget(fewer)

    def close(self) -> int:
        """When all is done: count what was left out, and how many requests it was."""
        simulation = self.simulation
        simulation.more_events -= self.taken_numbers
        if self.found is None:
            return 0
        before, mark, more = self.found
        period, shift, fewer = mark.served - before.served, mark.now - before.now, simulation.requests
        check_reach(int(simulation.finish_fs[:fewer].max()) + more * shift)
        check_reach(simulation.journal.end[-1] + more * shift)
        simulation.journal.repeats = Repeats(before.rows, mark.rows, before.now, shift, more, more * period)
        simulation.links.repeat(before.sent, mark.sent, more)
        for unit, taken in mark.taken.items():
            simulation.taken[unit] += more * (taken - before.taken.get(unit, 0))
        simulation.more_events += more * (mark.events - before.events)
        if not simulation.off_chip_io:  # then a request that arrives is an event, in or out of step with the periods
            came = [int(np.searchsorted(simulation.arrival_fs, each.now, "right")) for each in (before, mark)]
            simulation.more_events += self.all - max(came[1], fewer) - more * (came[1] - came[0])
        simulation.finish_fs = self._finish(simulation.finish_fs[:fewer], before.now, mark.now, more, period)
        simulation.requests = self.all
        return more * period

    def _finish(self, seen: np.ndarray, begins: int, ends: int, more: int, period: int) -> np.ndarray:
        """When all requests were done, from those that were simulated [fs]."""
        found, number = np.full(self.all, -1, np.int64), np.arange(len(seen))
        repeated, late = (seen > begins) & (seen <= ends), seen > ends
        found[number[seen <= begins]] = seen[seen <= begins]
        for turn in range(more + 1):
            found[number[repeated] + turn * period] = seen[repeated] + turn * (ends - begins)
        found[number[late] + more * period] = seen[late] + more * (ends - begins)
        assert (found >= 0).all(), "requests of a period that are not one after another"
        return found


class LookAtProcesses(Look):
    """Looks at SimPy's processes; `requests` are those of the requests."""

    def __init__(self, simulation: "Simulation", requests: list[Process]):
        super().__init__(simulation)
        self.requests = requests

    def untouched(self, served: int) -> int:
        """See `Look`."""
        simulation = self.simulation
        if not simulation.off_chip_io:
            return self.unseen()
        gates = simulation.readers[""]
        for number in range(served, self.all):
            inside = list(frames(self.requests[number]))
            names = [frame.f_code.co_name for frame in inside]
            if names == [REQUEST] or (names[:3] == IN_LINE and inside[2].f_locals["loaded"] is gates[0]):
                return number
        return self.all

    def unseen(self) -> int:
        """See `Look`."""
        inside = [next(frames(process), None) for process in self.simulation.processes]
        return max((self.all if frame is None else frame.f_locals["sample"] + 1 for frame in inside), default=self.all)

    def mark(self, served: int) -> Mark:
        """See `Look`; finishes the instant."""
        simulation, clock = self.simulation, self.simulation.env
        clock.finish_instant()
        self.taken_numbers += 1
        events = next(clock._eid) - self.taken_numbers
        self.taken_numbers += 1
        return Mark(served, clock._now, len(simulation.journal.end), events, simulation.links.sent, dict(simulation.taken))

    def state(self, served: int, untouched: int, unseen: int) -> bytes:
        """See `Look`."""
        return Snapshot(self.simulation, self.requests, served, untouched, unseen).state()

    def forget(self, fewer: int) -> None:
        """See `Look`."""
        simulation, queue = self.simulation, self.simulation.env._queue
        queue[:] = [each for each in queue if not waits_behind(each[3], fewer)]
        heapify(queue)
        for progress in simulation._loaded.values():
            progress.waiting = [each for each in progress.waiting if not waits_behind(each[2], fewer)]
            heapify(progress.waiting)
        for key in [key for key in simulation._progress if key[1] >= fewer]:
            del simulation._progress[key]

"""Requests on several chips, in one simulation with one clock: parts of a network on chips in a row, and replicas of all of it.

In a row of chips a sample is on one chip as requests are on a chip alone (`xbar.hw.events.simulator`), and goes on when it is done there:
whole samples cross, not single vectors. What comes from outside comes to the chips whose layers read it, results leave from those
where they are made. What a chip makes for others crosses once a sample, however many read it, over the off-chip links of both chips,
which are one wire:

- both are held from the same moment on, the sender's for what it sends, the receiver's for all that it receives, which does not end before
  the sender's; the energy of the bits is drawn at both ends;
- a crossing waits until all of the sample's results have been read from their buffers, there is room for the sample on the receiver (as
  for one that comes from outside), and the links of both are free; who asked first is first, of one instant the older sample. It holds
  nothing while it waits;
- what several chips send to one comes with the last of them, the one that asks last: the wires of the others are held when they send, and
  what they sent is kept, outside of buffers and at no cost, until then. What comes from outside comes with it too;
- results that wait to cross take no room in buffers, but a layer that others read elsewhere begins a sample when all samples until
  `samples_held` before have crossed. So a slow chip holds the ones before it back.

No crossing can wait for ever: the oldest sample that is not done finds room on every chip, since those before it are done, and links are
held for a time known beforehand, all those of a crossing taken at once.

Not modelled: a crossing in parts, as single vectors; what a sender's values take up while they wait at their receiver for others'.
Several chips are simulated by SimPy (one chip of one replica as `xbar.hw.events.simulator.simulate` does it), and requests that repeat each
other all of them: what a simulation of one chip leaves out (`xbar.hw.events.repetition`) takes a state of several chips that is not
told yet, so a batch of many requests costs all its events. Links that a crossing holds until its last
value is there (`whole`) count as busy for their bits' own time.

Replicas are the same chips with the same weights, several times. A dispatcher sends each request to one of them as it arrives, in no time:
in turn ("round_robin"), at random by the seed ("random"), or to the one with the fewest requests that are not done, of several
the first ("least_loaded"). Work that no result rests on counts until it is done.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from simpy.events import Event

from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals, check_seed
from xbar.hw.events.chips_ledger import ChipsLedger
from xbar.hw.events.copies import Steps
from xbar.hw.events.simulator import (
    OffChipLinks,
    Simulation,
    check_kinds,
    check_lookups,
    check_options,
    lookups_on,
    simulate,
)
from xbar.hw.events.waiting import Clock, Progress, SharedUnits

Dispatch = Literal["round_robin", "random", "least_loaded"]
Begins = Callable[[int], object]


class ChipLinks(OffChipLinks):
    """The off-chip links of one chip of several. turns: of the links of all; sources, targets: those that it receives from and sends to."""

    def __init__(self, env: Clock, turns: SharedUnits, samples: int):
        self.env, self.turns = env, turns
        self.sources: list[ChipLinks] = []
        self.targets: list[ChipLinks] = []
        self.crossed = Progress(env, samples)  # samples that it has sent
        self._asked: dict[int, int] = {}  # by sample: how many sources want to send it
        self._offered: dict[int, Event] = {}  # that all do
        self._room: dict[int, Event] = {}  # that there is room for it here, with what receiving it takes
        self._begun: dict[int, Event] = {}  # that sending it has begun

    def _event(self, of: dict[int, Event], sample: int) -> Event:
        if sample not in of:
            of[sample] = Event(self.env)
        return of[sample]

    def offered(self, sample: int) -> Event:
        """An event when all chips that send something of the sample want to."""
        return self._event(self._offered, sample)

    def receive(self, sample: int, hold: int, begins: Begins) -> Event:
        """As of a chip alone; from other chips, when the last of them sends."""
        done = Event(self.env)
        if self.sources:
            self._event(self._room, sample).succeed((hold, begins, done))
        else:
            self.env.process(self._hold(2 * sample, {self: (hold, begins, done)}, 0))
        return done

    def send(self, sample: int, hold: int, whole: int) -> Event:
        """As of a chip alone; to other chips, when they have room, and not before `whole` [fs] is it all across."""
        done = Event(self.env)
        self.env.process(self._send(sample, hold, whole, done))
        return done

    def _send(self, sample: int, hold: int, whole: int, done: Event) -> Steps:
        last_for = [target for target in self.targets if target.is_asked(sample)]
        holds: dict[ChipLinks, tuple[int, Begins, Event]] = {self: (hold, self._event(self._begun, sample).succeed, done)}
        for target in last_for:
            for source in target.sources:
                if source is not self:
                    yield source.begun(sample)
            holds[target] = yield target.room(sample)
        yield from self._hold(2 * sample + 1, holds, whole)
        self.crossed.finish(sample)

    def is_asked(self, sample: int) -> bool:
        """Count one more source that wants to send the sample; whether it is the last."""
        self._asked[sample] = self._asked.get(sample, 0) + 1
        if self._asked[sample] < len(self.sources):
            return False
        del self._asked[sample]
        self.offered(sample).succeed()
        return True

    def begun(self, sample: int) -> Event:
        """An event when sending the sample has begun."""
        return self._event(self._begun, sample)

    def room(self, sample: int) -> Event:
        """An event when there is room for the sample; its value is what receiving it takes."""
        return self._event(self._room, sample)

    def forget(self, sample: int) -> None:
        """That a sample is done on all chips, so that nobody asks for it again."""
        for noted in (self._offered, self._room, self._begun):
            noted.pop(sample, None)

    def _hold(self, rank: int, holds: Mapping["ChipLinks", tuple[int, Begins, Event]], whole: int) -> Steps:
        """Take the links of all at once, each for its hold [fs], no other for less than the first one's, which ends at `whole` or later."""
        yield self.turns.take(rank, frozenset(holds))
        start, first = self.env._now, next(iter(holds))
        sent = max(start + holds[first][0], whole)
        ends = {links: max(sent, start + hold) if links is not first else sent for links, (hold, _, _) in holds.items()}
        for _, begins, _ in holds.values():
            begins(start)
        for links, end in sorted(ends.items(), key=lambda each: each[1]):
            if end > self.env._now:
                yield self.env.timeout(end - self.env._now)
            self.turns.give(frozenset([links]))
            holds[links][2].succeed(start)


class _Row:
    """Chips in a row, on which samples are numbered as they come."""

    def __init__(
        self, env: Clock, placement: ChipsPlacement, arrivals: Arrivals, per_crossbar: bool, samples_held: int,
        lookups: Mapping[str, Sequence[int]],
    ):  # fmt: skip
        self.env, self.placement = env, placement
        turns, samples, several = SharedUnits(env), len(arrivals.times), len(placement.chips) > 1
        self.links = [ChipLinks(env, turns, samples) for _ in placement.chips]
        self.chips = [
            Simulation(
                each, arrivals, True, per_crossbar, samples_held, (), {name: rows for name, rows in lookups.items() if name in each.copies},
                env, links if several else None,
            )
            for each, links in zip(placement.chips, self.links, strict=True)
        ]  # fmt: skip
        for number, senders in enumerate(placement.senders):
            self.chips[number].credits.chip = number if several else None
            for sender in senders:
                self.links[number].sources.append(self.links[sender])
                self.links[sender].targets.append(self.links[number])
            for name in placement.read_elsewhere(number):
                self.chips[number].readers[name].append(self.links[number].crossed)
        self.come = self.done = 0
        self.kinds = [{name: list(kinds) for name, kinds in chip.kinds.items()} for chip in self.chips]  # by request

    @property
    def waiting(self) -> int:
        """Samples that are not done."""
        return self.come - self.done

    def serve(self, request: int) -> Steps:
        """A request from now to the end of all that it is about."""
        sample = self.come
        self.come += 1
        for chip, asked in zip(self.chips, self.kinds, strict=True):
            for name, kinds in asked.items():
                vectors = chip.network.layer(name).vectors
                chip.kinds[name][sample * vectors : (sample + 1) * vectors] = kinds[request * vectors : (request + 1) * vectors]
        yield self.env.all_of([self.env.process(self._on(number, sample)) for number in range(len(self.chips))])
        self.done += 1
        for links in self.links:
            links.forget(sample)

    def _on(self, number: int, sample: int) -> Steps:
        chip, links = self.chips[number], self.links[number]
        if links.sources:
            yield links.offered(sample)
        chip.arrival_fs[sample] = self.env._now
        yield from chip.serve(sample)


def simulate_chips(
    placement: ChipsPlacement | Placement,
    arrivals: Arrivals,
    *,
    replicas: int = 1,
    dispatch: Dispatch = "round_robin",
    seed: int = 0,
    read_energy: Mapping[str, float] | None = None,
    samples_held: int = 2,
    horizon: float = 0.0,
    resolution: Literal["group", "crossbar"] = "group",
    progress: Callable[[int], None] | None = None,
    lookups: Mapping[str, Sequence[int]] | None = None,
) -> ChipsLedger:
    """Serve the requests on a network that lies on several chips, or on several replicas of a placement, or both.

    replicas, dispatch, seed: how many, and which of them serves a request (see above; the seed is of "random" alone). All else is as for
    `xbar.hw.events.simulator.simulate`, samples and results come and leave over the chips' links, and nothing is written meanwhile;
    read_energy of a layer in pieces, and the rows looked up in a table in pieces, may be the whole layer's.
    Raises as that does, and ParameterError for other dispatch or replicas.
    """
    whole = ChipsPlacement.of(placement) if isinstance(placement, Placement) else placement
    check_kinds(whole, ChipsPlacement, "place_chips, or place", arrivals)
    read_energy = None if read_energy is None else whole.by_piece(read_energy)
    check_options(whole.network, read_energy, resolution, samples_held, horizon)
    rows_read = lookups_on(whole, len(arrivals.times), lookups or {})
    check_lookups(whole.network, len(arrivals.times), rows_read)
    if not isinstance(replicas, int | np.integer) or isinstance(replicas, bool) or replicas < 1:
        raise ParameterError(f"replicas must be a whole number of at least 1, got {replicas!r}")
    if len(whole.chips) == replicas == 1:
        _dispatcher(dispatch, [], 0, seed)
        alone = simulate(
            whole.chips[0], arrivals, read_energy=read_energy, samples_held=samples_held, horizon=horizon, resolution=resolution,
            progress=progress, lookups=rows_read,
        )  # fmt: skip
        first = np.zeros(alone.requests, np.int64)
        return ChipsLedger(whole, (alone,), first, alone.arrival_fs, alone.finish_fs, alone.span_fs, alone.events)
    env = Clock(initial_time=0)
    rows = [_Row(env, whole, arrivals, resolution == "crossbar", samples_held, rows_read) for _ in range(replicas)]
    choose = _dispatcher(dispatch, rows, len(arrivals.times), seed)
    served = np.zeros((len(arrivals.times), 2), np.int64)  # by request: the replica, and the number that the sample has there

    def request(number: int, arrives: int) -> Steps:
        yield env.timeout(arrives)
        replica = choose(number)
        served[number] = replica, rows[replica].come
        yield from rows[replica].serve(number)

    for chip in (chip for row in rows for chip in row.chips):
        chip.start_copies()
    times = arrivals.femtoseconds
    for finished in [env.process(request(number, int(time))) for number, time in enumerate(times)]:
        _run(env, rows, finished)
        if progress is not None:
            progress(1)
    env.run()
    span = max(chip.close(horizon) for row in rows for chip in row.chips)
    finish = [np.max([chip.finish_fs for chip in row.chips], axis=0) for row in rows]
    return ChipsLedger(
        whole,
        tuple(
            chip.ledger(span, None if read_energy is None else {name: read_energy[name] for name in chip.placement.copies}, row.come)
            for row in rows for chip in row.chips
        ),
        served[:, 0], times, np.array([finish[replica][sample] for replica, sample in served], np.int64), span, next(env._eid),
    )  # fmt: skip


def _run(env: Clock, rows: list[_Row], until: Event) -> None:
    """Go on until an event; raises BufferCapacityError where all wait for room in buffers."""
    try:
        env.run(until)
    except RuntimeError:  # nothing is left that could happen
        for chip in (chip for row in rows for chip in row.chips):
            chip.credits.stuck()
        raise


def _dispatcher(dispatch: Dispatch, rows: list[_Row], requests: int, seed: int) -> Callable[[int], int]:
    """Which row serves a request, by its number, when it arrives."""
    if dispatch not in get_args(Dispatch):
        raise ParameterError(f"dispatch must be {', '.join(get_args(Dispatch))}, got {dispatch!r}")
    check_seed(seed)
    if dispatch == "least_loaded":
        return lambda _: min(range(len(rows)), key=lambda number: rows[number].waiting)
    if dispatch == "round_robin":
        return lambda number: number % len(rows)
    drawn: list[int] = np.random.default_rng(seed).integers(len(rows), size=requests).tolist()
    return drawn.__getitem__

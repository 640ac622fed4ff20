"""The mesh: routers in a near-square grid, and every link between them as a server that packets contend for.

Each router serves neighbouring tiles (`component.router.shared_by`). Routers are numbered in bands of a few rows, so that layers
placed one after another lie beside each other along several links. Packets take XY routes: along the row first. Links, each in one
direction: between neighbouring routers, an injection and an ejection port for every tile, and a port each way between router 0 and
the chip's off-chip links. Each moves one flit of `timing.flit_width` bits a tile clock; what is left of a flit takes a flit.
A packet's head takes `timing.router_cycles` per router passed.

Virtual cut-through, approximated: a packet's head goes on as soon as the next link is free, while the tail follows. When a packet
is sent, it takes on each link of its route the first time from its head's arrival on that is free for all its flits, after
packets that were sent before, or between them. So no link does two things at once, and a packet that waits holds only the
link that it crosses. Not modelled: router queues are as long as need be (a full one stops nobody upstream; but a tile whose
results are not injected yet makes no more of them: `xbar.hw.events.copies`), flits of different packets do not interleave,
and there are no virtual channels.

Unicast: one packet to each tile, whichever layers read there what it brings; the packets travel apart, so that a link carries a value as
often as tiles behind it need it. Multicast: one packet, copied by routers where routes part, in which each link carries every value once
that any tile behind it needs, as wide as the widest of these needs it; it needs `timing.multicast`. ISAAC (ISCA 2016) describes no
multicast routers, so chips have none unless they say so. Energy and time count the same flits: the router's action is a bit that leaves a
router, a flit's worth for every flit on every link but injection ports.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pandas as pd
from simpy.events import Event

from xbar.hw.chip.cycle import ticks
from xbar.hw.chip.description import Chip
from xbar.hw.chip.floorplan import router_places
from xbar.hw.events.waiting import Clock

AFTER_PORTS = 4  # priority of what happens after ports have begun what they serve at the same time
EDGE = -1  # in place of a tile: the chip's off-chip links
END = itemgetter(1)  # of a gap
Bits = Mapping[int, Mapping[object, float]]  # by tile: the bits of each part of a value that it needs


class Step(NamedTuple):
    """A packet on one link: after which step of the shipment (-1: none, it begins there), how long [fs], and in how many flits."""

    link: int
    after: int
    service: int
    flits: int


@dataclass(frozen=True)
class Shipment:
    """Packets that are sent together, as steps in an order in which each comes after the one that it follows.

    router_bits: bits that leave routers, whole flits; wire_bits: those of them that go over wires to another router. routers:
    most that a packet passes.
    """

    steps: tuple[Step, ...]
    router_bits: float
    wire_bits: float
    routers: int


class Mesh:
    """Links of a chip and routes over them."""

    def __init__(self, chip: Chip):
        self.chip, timing = chip, chip.timing
        self.tiles, self.per_router = chip.structure.tiles, chip.costs["router"].shared_by
        routers = ceil(self.tiles / self.per_router)
        self.width = isqrt(routers - 1) + 1
        self.places = router_places(routers, self.width)
        self.flit = timing.flit_width
        # a router's unit_rate is ports x flit width x tile clock: lower than a link's only where it has been lowered
        self.flit_rate = min(timing.tile_clock, chip.costs["router"].unit_rate / self.flit)
        self.hop = ticks(timing.router_cycles, timing.tile_clock)
        self.names = [f"into the mesh, tile {t}" for t in range(self.tiles)] + [f"out of the mesh, tile {t}" for t in range(self.tiles)]
        self.names += ["into the mesh, off-chip links", "out of the mesh, off-chip links"]
        self.between: dict[tuple[int, int], int] = {}
        self.at = {place: router for router, place in enumerate(self.places)}
        for (column, row), router in self.at.items():
            for beside in ((column + 1, row), (column, row + 1)):
                for pair in ((router, self.at[beside]), (self.at[beside], router)) if beside in self.at else ():
                    self.between[pair] = len(self.names)
                    self.names.append(f"router {pair[0]} to {pair[1]}")
        self._routes: dict[tuple[int, int], tuple[int, ...]] = {}

    def injects(self, link: int) -> bool:
        """Whether a link leads into the mesh: no router sends over it."""
        return link < self.tiles or link == 2 * self.tiles

    @property
    def router_links(self) -> int:
        """Links that routers send over."""
        return len(self.names) - self.tiles - 1

    def route(self, source: int, target: int) -> tuple[int, ...]:
        """Links from tile to tile, or from or to EDGE, in order; none from a tile to itself.

        Where the grid is not full and a row ends before the target's column, the packet goes on in the row above.
        """
        if source == target:
            return ()
        if (source, target) not in self._routes:
            at, to = (0 if tile == EDGE else tile // self.per_router for tile in (source, target))
            links = [2 * self.tiles if source == EDGE else source]
            while at != to:
                (column, row), (to_column, to_row) = self.places[at], self.places[to]
                step = (column + (1 if to_column > column else -1), row)
                if column == to_column:
                    step = (column, row + (1 if to_row > row else -1))
                elif step not in self.at:
                    step = (column, row - 1)
                links.append(self.between[at, self.at[step]])
                at = self.at[step]
            links.append(2 * self.tiles + 1 if target == EDGE else self.tiles + target)
            self._routes[source, target] = tuple(links)
        return self._routes[source, target]

    def shipment(self, sent: Mapping[int, Bits]) -> Shipment:
        """What sends from each tile (or EDGE) to each tile (or EDGE) the bits of each part: one packet to each, or one for all."""
        steps: list[Step] = []
        for source, targets in sent.items():
            if self.chip.timing.multicast:
                self._add_tree(steps, source, targets)
            else:
                for target, parts in targets.items():
                    self._add_packet(steps, self.route(source, target), sum(parts.values()))
        bits = float(self.flit * sum(step.flits for step in steps if not self.injects(step.link)))
        wires = float(self.flit * sum(step.flits for step in steps if step.link > 2 * self.tiles + 1))
        passed: list[int] = []  # routers before each step
        for step in steps:
            passed.append(0 if step.after < 0 else passed[step.after] + 1)
        return Shipment(tuple(steps), bits, wires, max(passed, default=0))

    def _step(self, link: int, after: int, bits: float) -> Step:
        flits = ceil(round(bits / self.flit, 9))  # sums of shares of a flit are not above it by rounding
        return Step(link, after, ticks(flits, self.flit_rate), flits)

    def _add_packet(self, steps: list[Step], route: Sequence[int], bits: float) -> None:
        after = -1
        for link in route if bits > 0 else ():
            steps.append(self._step(link, after, bits))
            after = len(steps) - 1

    def _add_tree(self, steps: list[Step], source: int, targets: Bits) -> None:
        carried: dict[int, dict[object, float]] = {}  # by link, in the order of the routes
        follows: dict[int, int] = {}
        for target, parts in targets.items():
            before = -1
            for link in self.route(source, target):
                over = carried.setdefault(link, {})
                for part, bits in parts.items():
                    over[part] = max(bits, over.get(part, 0.0))
                follows.setdefault(link, before)
                before = link
        at: dict[int, int] = {}
        for link, parts in carried.items():
            if (bits := sum(parts.values())) > 0:
                steps.append(self._step(link, at.get(follows[link], -1), bits))
                at[link] = len(steps) - 1


class Links:
    """The links of one simulation: when each is free, and what it carried."""

    def __init__(self, mesh: Mesh):
        self.mesh, self.hop = mesh, mesh.hop
        self.shortest = ticks(1, mesh.flit_rate)
        count = len(mesh.names)
        self.free = [0] * count  # from then on
        self.gaps: list[list[tuple[int, int]]] = [[] for _ in range(count)]  # free before that, in order
        self._sent: dict[int, tuple[Shipment, list[int]]] = {}  # by id: shipments, and how often they were sent

    def send(self, shipment: Shipment, now: int) -> tuple[int, int]:
        """Send packets now [fs]; when all are injected, and when all have arrived."""
        if not shipment.steps:
            return now, now
        if id(shipment) not in self._sent:
            self._sent[id(shipment)] = (shipment, [0])
        self._sent[id(shipment)][1][0] += 1
        begun: list[int] = []
        injected = arrived = now
        free, gaps, hop, shortest = self.free, self.gaps, self.hop, self.shortest
        for link, after, service, _ in shipment.steps:
            earliest = now if after < 0 else begun[after] + hop
            start = free[link]
            if earliest >= start:
                if earliest > now and earliest - max(start, now) >= shortest:
                    gaps[link].append((start, earliest))
                start = earliest
                free[link] = start + service
            else:
                if gaps[link] and gaps[link][-1][1] >= earliest + service:
                    start = self._between(link, earliest, service, now)
                if start >= free[link]:
                    free[link] = start + service
            begun.append(start)
            end = start + service
            if end > arrived:
                arrived = end
            if after < 0 and end > injected:
                injected = end
        return injected, arrived

    def _between(self, link: int, earliest: int, service: int, now: int) -> int:
        """The first free time from `earliest` on for `service` [fs], which is taken where it lies between packets."""
        gaps = self.gaps[link]
        del gaps[: bisect_right(gaps, now, key=END)]
        for index in range(bisect_left(gaps, earliest + service, key=END), len(gaps)):  # those before end too early
            begin, end = gaps[index]
            start = max(begin, earliest)
            if start + service <= end:
                left = [gap for gap in ((begin, start), (start + service, end)) if gap[1] - gap[0] >= self.shortest]
                gaps[index : index + 1] = left
                return start
        return max(self.free[link], earliest)

    def count(self, shipment: Shipment, times: int) -> None:
        """Count a shipment as sent so many times, which took place elsewhere."""
        if times:
            self._sent[id(shipment)] = shipment, [times]

    @property
    def sent(self) -> dict[int, int]:
        """How often each shipment was sent, by its id."""
        return {key: count for key, (_, (count,)) in self._sent.items()}

    def repeat(self, before: Mapping[int, int], after: Mapping[int, int], more: int) -> None:
        """Count what was sent between two times, as `sent` was then, so many times more."""
        for key, count in after.items():
            if again := count - before.get(key, 0):
                self._sent[key][1][0] += more * again

    def _carried(self, weigh: Callable[[Step], int]) -> list[int]:
        """Sums by link over all that was sent."""
        found = [0] * len(self.mesh.names)
        for shipment, (count,) in self._sent.values():
            for step in shipment.steps:
                found[step.link] += count * weigh(step)
        return found

    @property
    def busy(self) -> list[int]:
        """How long each link was busy [fs]."""
        return self._carried(lambda step: step.service)

    @property
    def flits(self) -> list[int]:
        """Flits that each link carried."""
        return self._carried(lambda step: step.flits)

    def table(self, span_fs: int) -> pd.DataFrame:
        """One row a link that carried something: packets, flits, bits (whole flits), busy_s, utilisation over the span."""
        carried, packets = self.flits, self._carried(lambda step: 1)
        rows = [index for index, count in enumerate(carried) if count]
        flits, busy = np.array(carried)[rows], np.array(self.busy)[rows]
        return pd.DataFrame(
            {
                "packets": np.array(packets)[rows], "flits": flits, "bits": flits * self.mesh.flit, "busy_s": busy * 1e-15,
                "utilisation": busy / max(1, span_fs), "injects": np.array([self.mesh.injects(index) for index in rows], bool),
            },
            index=pd.Index([self.mesh.names[index] for index in rows], name="link"),
        )  # fmt: skip


class Outbox:
    """Sends the packets of one instant over the links by their rank, whichever process asks first."""

    def __init__(self, env: Clock, links: Links):
        self.env, self.links = env, links
        self.posted: list[tuple[int, int, Shipment, Event]] = []

    def post(self, rank: int, shipment: Shipment) -> Event:
        """An event of this instant, when all packets of the instant have been posted: (all injected, all arrived) [fs]."""
        sent = Event(self.env)
        if not self.posted:
            turn = Event(self.env)
            turn._ok, turn._value = True, None
            turn.callbacks.append(self._send)
            self.env.schedule(turn, AFTER_PORTS)  # type: ignore[arg-type]
        self.posted.append((rank, len(self.posted), shipment, sent))
        return sent

    def _send(self, turn: Event) -> None:
        posted, self.posted = sorted(self.posted, key=lambda each: each[:2]), []
        for _, _, shipment, sent in posted:
            sent.succeed(self.links.send(shipment, self.env._now))

"""How many copies each layer gets, in what order they lie and what they share, by search on the simulator, from where the greedy rule
(`xbar.hw.chip.placement.place`) ends.

What is made small is the energy of a request, static power and off-chip links in it, times its latency when it is alone, or times the time
between results of a long row of requests (the reciprocal throughput). Three things tell a mapping, each some hundred times dearer than the
one before:

- an estimate from copies alone, a millisecond. Latency: every vector begins when what it waits for is done and its copy is free, with the
  mesh and whatever contends left out (`Dataflow`). Throughput: the longest that a copy works on a sample, of which the least is known;
- a simulation of one request: its energy and latency; and the time for which it holds each unit and link, the longest of which the time
  between results is not below;
- for throughput a row of requests.

The search goes over copies by the estimate alone (simulated annealing: S. Kirkpatrick, C. Gelatt and M. Vecchi, Science 220, 1983; not
opened), simulates what that finds and what the greedy rule finds in several numbers of strips, and goes on from the best: of some
mappings near it the one of least estimate that was not simulated yet, or the same copies in other strips or sharing cores or not, kept
where it is better, or by chance where it is not much worse. A layer gets as many more copies as make its largest block smaller, and
others give some until they fit; layers that hold up much get, those that hold up little give. The temperature falls geometrically over
the budget, which is a number of simulations. Where there are no more mappings than that, all are simulated.

`xbar.hw.events.mapping_bound.least` tells what no mapping comes below.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product as every_choice
from math import exp, inf, log, prod
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from xbar.hw.chip.copies import Deal
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement, Shared, Sharing, order, place, vector_time
from xbar.hw.chip.recurrence import most_at_once, own_needs
from xbar.hw.display import Shown, si
from xbar.hw.errors import BufferCapacityError, CapacityError, ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.hw.events.mapping_bound import Judged, copies_for, least_period, sizes, stage_times
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.simulator import simulate
from xbar.hw.graph.network import Network

Objective = Literal["latency", "throughput"]
ROW = 60  # requests of a row that tells the time between results; a third fills the pipeline, and a third empties it
BEGIN, END = 0.02, 0.001  # temperatures, of the logarithm of what is made small
ESTIMATES, NEAR = 3000, 40  # estimates before the first simulation, and of mappings near one


class Mapped(NamedTuple):
    """A mapping: copies of each layer, in the order of the network; strips in which they come; what they share."""

    copies: tuple[int, ...]
    strips: int
    sharing: Shared


@dataclass(frozen=True, repr=False)
class FoundMapping(Shown):
    """What a search found. placement, strips, best: the best mapping; greedy: what the greedy rule comes to; objective; tried: one row
    a mapping simulated: energy_J, time_s, product_Js, kept, copies, strips, sharing, and for throughput row_time_s, where a row was
    simulated: time_s is then the longest that one request holds a unit or link, and energy_J that over this time."""

    placement: Placement = field(repr=False)
    strips: int
    best: Judged
    greedy: Judged
    objective: Objective
    tried: pd.DataFrame = field(repr=False)

    @property
    def gain(self) -> float:
        """By what share the product is smaller than the greedy rule's."""
        return 1 - self.best.product / self.greedy.product

    def _title(self) -> str:
        what = "latency" if self.objective == "latency" else "time between results"
        return f"Mapping of least energy x {what} of {len(self.tried)} simulated"

    def _numbers(self) -> dict[str, str]:
        return {
            "energy": f"{si(self.best.energy, 'J')} ({si(self.greedy.energy, 'J')} by the greedy rule)",
            "time": f"{si(self.best.time, 's')} ({si(self.greedy.time, 's')})", "product": f"{self.gain:.1%} smaller",
            "strips": f"{self.strips:,}",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({name: {"copies": len(copies)} for name, copies in self.placement.copies.items()}).T


def judge(placement: Placement, objective: Objective, row: int = ROW) -> Judged:
    """Energy and time of a placement, links included, as a simulation has them: of one request alone, or of one in a long row of
    requests, over whose results the static power is spread: of `row` requests the period with which they come to repeat each other, or
    where they do not (`xbar.hw.events.repetition`; look-ups never do), the mean of the middle third, for which all are simulated: so a
    search in a network that never comes to repeat itself takes up to ten times as long as in one that soon does."""
    if objective == "latency":
        return _alone(simulate(placement, Arrivals.batch(1)))
    ledger = simulate(placement, Arrivals.batch(row))
    if (repeats := ledger.runs.repeats) is not None:
        time = repeats.length / repeats.requests * FEMTOSECOND
    else:
        finish = np.sort(ledger.finish_fs)
        time = float(finish[2 * row // 3 - 1] - finish[row // 3 - 1]) / (2 * row // 3 - row // 3) * FEMTOSECOND
    return Judged(_dynamic(ledger) / row + placement.chip.static_power * time, time)


def _alone(ledger: Ledger) -> Judged:
    return Judged(ledger.total_energy, float(ledger.latency[0]))


def _busiest(ledger: Ledger) -> Judged:
    """Below what time between results a placement does not come, by what one request holds longest, and the energy of a request then."""
    time = max(float(ledger.units()["busy_s"].max()), float(ledger.links()["busy_s"].max()) if len(ledger.links()) else 0.0)
    return Judged(_dynamic(ledger) + ledger.chip.static_power * time, time)


def _dynamic(ledger: Ledger) -> float:
    return float(ledger.energy.drop(index=STATIC).to_numpy().sum())


def search_mapping(
    network: Network, chip: Chip, objective: Objective = "latency", budget: int = 60, seed: int = 0, sharing: Sharing = "as_needed",
    rows: int = 4, row: int = ROW, step: Callable[[str], None] = lambda _: None,
) -> FoundMapping:  # fmt: skip
    """The best mapping that `budget` simulations of one request and, for throughput, `rows` of a row of requests find, the greedy rule's
    apart; the same for the same seed. Rows are simulated of those that may be best, until none is left that may.

    sharing: what copies may share; "as_needed": nothing or cores. row: requests of a row. Raises ParameterError for another objective, a
    budget or rows below 1, a row below 3, and as `place` and `simulate`.
    """
    if objective not in ("latency", "throughput"):
        raise ParameterError(f"objective must be latency or throughput, got {objective!r}")
    if budget < 1 or rows < 1:
        raise ParameterError(f"budget and rows must be 1 or more, got {budget} and {rows}")
    if row < 3:
        raise ParameterError(f"row must be 3 requests or more, got {row}")
    search = _Search(network, chip, objective, sharing, budget, np.random.default_rng(seed), step)
    if (every := search.all_there_are()) is not None:
        for mapped in every:
            search.simulated(mapped)
    else:
        search.anneal()
    tried = sorted(search.known, key=lambda mapped: search.known[mapped].product)
    if objective == "latency":
        best, judged, greedy = tried[0], search.known[tried[0]], search.known[search.begin]
    else:
        best, judged, greedy = search.rows_of(tried, rows, row)
    table = pd.DataFrame([search.rows[mapped] for mapped in search.known])
    return FoundMapping(search.placed(best), best.strips, judged, greedy, objective, table)


def helpful_copies(vectors: int, most: int) -> Iterator[int]:
    """Numbers of copies up to `most` with each of which the copy that takes most takes fewer vectors than with one less."""
    deal = Deal(vectors, 1)
    while deal.copies <= most:
        yield deal.copies
        more = deal.next_that_helps()
        if more == deal.copies:
            return
        deal = replace(deal, copies=more)


class Dataflow:
    """When one request's result is there if vectors wait only for what they read and for their copy: estimates of latency.

    A copy takes a vector every `vector_time`, and a vector's result is there after its `StageTimes.delay`. Left out: the mesh, ports that
    are not free, the links; and of layers that wait for themselves, that they do.
    """

    def __init__(self, network: Network, paces: list[int], delays: list[int]):
        self.network, self.paces, self.delays = network, paces, delays
        self.own = own_needs(network)
        self._taken: dict[tuple[int, int], np.ndarray] = {}

    def _turns(self, layer: int, copies: int) -> np.ndarray:
        """The vectors of each copy in its order, (copies, most of one); the number of all where a copy has fewer."""
        if (layer, copies) not in self._taken:
            mine = self.network.layers[layer]
            dealt = Deal.of(mine, copies, mine.name in self.own).copy_of(0)
            by_copy = np.argsort(dealt, kind="stable")
            counts = np.bincount(dealt, minlength=copies)
            turns = np.full((copies, counts.max()), mine.vectors)
            turns[dealt[by_copy], np.arange(len(dealt)) - np.repeat(np.cumsum(counts) - counts, counts)] = by_copy
            self._taken[layer, copies] = turns
        return self._taken[layer, copies]

    def latency(self, copies: tuple[int, ...]) -> float:
        """Time [fs] with so many copies of each layer."""
        done: dict[str, np.ndarray] = {}  # by layer: when its first n vectors are done
        for number, (layer, count) in enumerate(zip(self.network.layers, copies, strict=True)):
            ready = np.zeros(layer.vectors + 1)
            for name, needed in layer.needs.items():
                if name in done:
                    ready[:-1] = np.maximum(ready[:-1], done[name][needed])
            turns = self._turns(number, count)
            before = np.arange(turns.shape[1]) * float(self.paces[number])
            begins = np.maximum.accumulate(ready[turns] - before, axis=1) + before
            ready[turns] = begins + self.delays[number]  # the last one is nobody's
            done[layer.name] = np.concatenate([[0.0], np.maximum.accumulate(ready[:-1])])
        return max(float(each[-1]) for each in done.values())


class _Search:
    """What a search knows: mappings simulated, and what was found of them."""

    def __init__(
        self, network: Network, chip: Chip, objective: Objective, sharing: Sharing, budget: int, random: np.random.Generator,
        step: Callable[[str], None],
    ):  # fmt: skip
        self.network, self.chip, self.objective, self.budget, self.random, self.step = network, chip, objective, budget, random, step
        self.names = [layer.name for layer in network.layers]
        self.vectors = [layer.vectors for layer in network.layers]
        begun = place(network, chip, sharing=sharing)
        self.sharings: tuple[Shared, ...] = ("none", "cores") if sharing == "as_needed" else (begun.sharing,)
        self.taken = {each: list(sizes(network, chip, each).values()) for each in self.sharings}
        own, least_taken = own_needs(network), self.taken[self.sharings[-1]]
        room = chip.crossbars - sum(least_taken)
        most = [most_at_once(own[x.name]) if x.name in own else x.vectors for x in network.layers]
        self.steps = [
            list(helpful_copies(vectors, min(limit, 1 + int(room // taken))))
            for vectors, limit, taken in zip(self.vectors, most, least_taken, strict=True)
        ]
        alone = sizes(network, chip, "none" if self.sharings[-1] == "none" else "cores").values()
        self.paces = [vector_time(chip, layer, round(taken)) for layer, taken in zip(network.layers, alone, strict=True)]
        self.flow = Dataflow(network, self.paces, [stage_times(chip, layer, begun.sharing).delay for layer in network.layers])
        self.known: dict[Mapped, Judged] = {}
        self.rows: dict[Mapped, dict[str, object]] = {}
        self.estimates: dict[tuple[int, ...], float] = {}
        self.begin = Mapped(tuple(len(begun.copies[name]) for name in self.names), 1, begun.sharing)
        self.dynamic = self.simulated(self.begin).energy - chip.static_power * self.known[self.begin].time

    # ---- what mappings there are

    def placed(self, mapped: Mapped) -> Placement:
        """The mapping as a placement; raises as `place`."""
        return place(self.network, self.chip, dict(zip(self.names, mapped.copies, strict=True)), mapped.sharing, mapped.strips)

    def fits(self, copies: tuple[int, ...], sharing: Shared) -> bool:
        """Whether the chip has crossbars, or cells, for them; whether they can be packed is not known before they are."""
        return sum(count * taken for count, taken in zip(copies, self.taken[sharing], strict=True)) <= self.chip.crossbars

    def strips(self, copies: tuple[int, ...], sharing: Shared) -> list[int]:
        """Numbers of strips, powers of two and halfway between, in which copies come in different orders."""
        if sharing == "crossbars":
            return [1]
        found, orders = list[int](), list[list[tuple[str, int]]]()
        for strips in sorted({2**k * times // 2 for k in range(max(copies).bit_length() + 1) for times in (2, 3)}):
            if (there := order(dict(zip(self.names, copies, strict=True)), strips)) not in orders:
                found.append(strips)
                orders.append(there)
        return found

    def all_there_are(self) -> list[Mapped] | None:
        """All mappings, where the budget is enough for them."""
        if prod(len(steps) for steps in self.steps) > 50 * self.budget:
            return None
        found = []
        for copies in every_choice(*self.steps):
            for sharing in self.sharings:
                if self.fits(copies, sharing):
                    found += [Mapped(copies, strips, sharing) for strips in self.strips(copies, sharing)]
        return found if len({*found, self.begin}) <= self.budget else None

    # ---- what they come to

    def estimate(self, copies: tuple[int, ...]) -> float:
        """Logarithm of the product, of copies alone."""
        if copies not in self.estimates:
            time = (self.flow.latency(copies) if self.objective == "latency" else self.held_up(copies).max()) * FEMTOSECOND
            self.estimates[copies] = log((self.dynamic + self.chip.static_power * time) * time)
        return self.estimates[copies]

    def held_up(self, copies: tuple[int, ...]) -> np.ndarray:
        """How long the copy of each layer that takes most works on a sample [fs]."""
        return np.array([Deal(v, c).longest * t for v, c, t in zip(self.vectors, copies, self.paces, strict=True)], float)

    def simulated(self, mapped: Mapped) -> Judged:
        """A mapping's energy and time by the simulation of one request; infinite where the chip cannot hold or serve it."""
        if mapped not in self.known:
            try:
                ledger = simulate(self.placed(mapped), Arrivals.batch(1))
                found = _alone(ledger) if self.objective == "latency" else _busiest(ledger)
            except (CapacityError, BufferCapacityError):
                if not self.known:
                    raise
                found = Judged(inf, inf)
            self.known[mapped] = found
            told = {"energy_J": found.energy, "time_s": found.time, "product_Js": found.product, "kept": True}
            self.rows[mapped] = {**told, "copies": sum(mapped.copies), "strips": mapped.strips, "sharing": mapped.sharing}
            gain = 1 - found.product / self.known[self.begin].product
            if len(self.known) > 1 and found.product <= min(each.product for each in self.known.values()):
                self.step(f"mapping search: {len(self.known)} of {self.budget} simulated, product {gain:.1%} smaller")
        return self.known[mapped]

    def rows_of(self, tried: list[Mapped], rows: int, row: int) -> tuple[Mapped, Judged, Judged]:
        """The best mapping by rows of requests, and what it and the greedy rule's come to; tried: by what each is not below."""
        best, greedy = self.begin, judge(self.placed(self.begin), "throughput", row)
        found = greedy
        self.rows[self.begin]["row_time_s"] = greedy.time
        for mapped in [mapped for mapped in tried if mapped != self.begin][:rows]:
            if self.known[mapped].product >= found.product:
                break
            there = judge(self.placed(mapped), "throughput", row)
            self.rows[mapped]["row_time_s"] = there.time
            self.step(f"mapping search: a row of requests, product {1 - there.product / greedy.product:.1%} smaller")
            if there.product < found.product:
                best, found = mapped, there
        return best, found, greedy

    # ---- going from one to another

    def anneal(self) -> None:
        """Simulate mappings until the budget is spent or all near the best are known."""
        for copies in (self.by_estimates(), self.begin.copies):
            sharing = next(each for each in self.sharings if self.fits(copies, each))
            for strips in (2**k for k in range(max(copies).bit_length())):
                if len(self.known) < self.budget and strips in self.strips(copies, sharing):
                    self.simulated(Mapped(copies, strips, sharing))
        now = min(self.known, key=lambda mapped: self.known[mapped].product)
        while len(self.known) < self.budget:
            temperature = BEGIN * (END / BEGIN) ** (len(self.known) / self.budget)
            there = self.near(now)
            if there is None:
                break
            self.simulated(there)
            kept = self.kept(log(self.known[now].product), log(self.known[there].product), temperature)
            self.rows[there]["kept"] = kept
            now = there if kept else now

    def kept(self, value: float, other: float, temperature: float) -> bool:
        """Whether to go on from another mapping."""
        return other <= value or self.random.random() < exp((value - other) / temperature)

    def by_estimates(self) -> tuple[int, ...]:
        """The copies of least estimate: for throughput exactly, for latency of those that were found."""
        sharing, now = self.sharings[-1], self.begin.copies
        if self.objective == "throughput":
            paces = dict(zip(self.names, self.paces, strict=True))
            taken = dict(zip(self.names, self.taken[sharing], strict=True))
            period = least_period(self.network, paces, taken, self.chip.crossbars)
            fewest = (copies_for(vectors, pace, period) for vectors, pace in zip(self.vectors, self.paces, strict=True))
            return tuple(min(count, steps[-1]) for count, steps in zip(fewest, self.steps, strict=True))
        best = now
        for number in range(ESTIMATES):
            there = self.neighbour(now, sharing)
            if self.kept(self.estimate(now), self.estimate(there), BEGIN * (END / BEGIN) ** (number / ESTIMATES)):
                now = there
            if self.estimate(now) < self.estimate(best):
                best = now
        return best

    def near(self, now: Mapped) -> Mapped | None:
        """A mapping near this one that was not simulated: of the same copies, or of others the one of least estimate; of all that were
        estimated where there is none; None where all are known."""
        same = [
            Mapped(now.copies, strips, sharing) for sharing in self.sharings if self.fits(now.copies, sharing)
            for strips in self.strips(now.copies, sharing) if now.strips / 2 <= strips <= 2 * now.strips
        ]  # fmt: skip
        same = [mapped for mapped in same if mapped not in self.known]
        if same and self.random.random() < 0.2:
            return same[int(self.random.integers(len(same)))]
        others = [Mapped(self.neighbour(now.copies, self.sharings[-1]), now.strips, now.sharing) for _ in range(NEAR)]
        others = [each if self.fits(each.copies, each.sharing) else each._replace(sharing=self.sharings[-1]) for each in others]
        others = [each for each in dict.fromkeys(others) if each not in self.known] or self.seen()
        return min(others, key=lambda each: self.estimate(each.copies), default=same[0] if same else None)

    def seen(self) -> list[Mapped]:
        """All that was estimated and not simulated, in any strips."""
        every = [(copies, each) for copies in self.estimates for each in self.sharings if self.fits(copies, each)]
        found = (Mapped(copies, strips, each) for copies, each in every for strips in self.strips(copies, each))
        return [mapped for mapped in found if mapped not in self.known]

    def neighbour(self, now: tuple[int, ...], sharing: Shared) -> tuple[int, ...]:
        """Other copies near these that fit the chip."""
        copies, held_up = list(now), self.held_up(now)
        if self.random.random() < 0.1:  # one fewer alone: less energy on the way, more room
            self._fewer(copies, held_up)
        else:
            more = self._drawn(held_up, [self._place(k, copies[k]) + 1 < len(self.steps[k]) for k in range(len(copies))])
            if more is None:
                self._fewer(copies, held_up)
            else:
                far = min(len(self.steps[more]) - 1, self._place(more, copies[more]) + int(self.random.geometric(0.5)))
                copies[more] = self.steps[more][far]
                while not self.fits(tuple(copies), sharing) and self._fewer(copies, held_up, more):
                    pass
        return tuple(copies) if self.fits(tuple(copies), sharing) else now

    def _place(self, layer: int, copies: int) -> int:
        """Of the numbers of copies that help, the last up to this one."""
        return int(np.searchsorted(self.steps[layer], copies, side="right")) - 1

    def _fewer(self, copies: list[int], held_up: np.ndarray, keep: int = -1) -> bool:
        """Take copies from a layer that holds up little; whether any had some to give."""
        gives = self._drawn(1 / held_up, [k != keep and count > 1 for k, count in enumerate(copies)])
        if gives is None:
            return False
        place_ = self._place(gives, copies[gives])
        copies[gives] = self.steps[gives][place_ - 1 if self.steps[gives][place_] == copies[gives] else place_]
        return True

    def _drawn(self, weights: np.ndarray, may: list[bool]) -> int | None:
        """A layer by these weights, of those that may."""
        weights = np.where(may, weights, 0.0)
        return int(self.random.choice(len(weights), p=weights / weights.sum())) if weights.sum() else None

"""How many copies each layer gets, by search on the simulator itself, from where the greedy rule (`xbar.hw.chip.placement.place`) ends.

What is made small is the energy of a request times its latency when it is alone, or times the time between results of a long row of
requests (the reciprocal throughput). Each number of copies is judged by a simulation; nothing is estimated in its place.

Simulated annealing (S. Kirkpatrick, C. Gelatt and M. Vecchi, Science 220, 1983; not opened): a step gives a layer as many more copies as
make its largest block smaller, and takes some from others until they fit, or takes some away alone; it is kept where it is better, or by
chance where it is not much worse. Layers are drawn by what they hold up: those of much time per sample get copies, those of little give
them. The temperature falls geometrically over the budget. Mappings that were judged are not judged again.

`least` bounds what any numbers of copies could reach: energy that no copy changes, with static power over the shortest time, times the
shortest time there can be. It neglects all but arrays and their converters, so the optimum may lie far above.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import exp, inf, log
from typing import Literal

import numpy as np
import pandas as pd

from xbar.hw.chip.copies import Deal
from xbar.hw.chip.cycle import read_cycle
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement, Sharing, crossbars_at, layer_geometry, place, vector_time
from xbar.hw.chip.recurrence import most_at_once, own_needs
from xbar.hw.display import Shown, si
from xbar.hw.errors import BufferCapacityError, CapacityError, ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.simulator import simulate
from xbar.hw.graph.network import MatrixLayer, Network

Objective = Literal["latency", "throughput"]
ROW = 60  # requests of a row that tells the time between results; a third fills the pipeline, and a third empties it
BEGIN, END = 0.05, 0.002  # temperatures, of the logarithm of what is made small

WHERE_THEY_LIE = frozenset({"router", "mesh_wires", "buffer", "bus", "accumulator", "tile_register"})  # what copies' places change


@dataclass(frozen=True)
class Judged:
    """One mapping: energy of a request [J], latency alone or time between results [s]."""

    energy: float
    time: float

    @property
    def product(self) -> float:
        """What is made small [J s]."""
        return self.energy * self.time


@dataclass(frozen=True, repr=False)
class FoundMapping(Shown):
    """What a search found. placement, best: the best mapping; greedy: what the greedy rule comes to; tried: one row a mapping judged:
    energy_J, time_s, product_Js, kept; objective."""

    placement: Placement = field(repr=False)
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
        return f"Mapping of least energy x {what} of {len(self.tried)} judged"

    def _numbers(self) -> dict[str, str]:
        return {
            "energy": f"{si(self.best.energy, 'J')} ({si(self.greedy.energy, 'J')} by the greedy rule)",
            "time": f"{si(self.best.time, 's')} ({si(self.greedy.time, 's')})", "product": f"{self.gain:.1%} smaller",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({name: {"copies": len(copies)} for name, copies in self.placement.copies.items()}).T


def judge(placement: Placement, objective: Objective) -> Judged:
    """Energy and time of a placement, links included, as a simulation has them: of one request alone, or of one in a long row of
    requests, over whose results the static power is spread: of ROW requests the period with which they come to repeat each other, or where
    they do not (`xbar.hw.events.repetition`; look-ups never do), the mean of the middle third, for which all ROW are simulated: so a
    search in a network that never comes to repeat itself takes up to ten times as long as in one that soon does."""
    if objective == "latency":
        ledger = simulate(placement, Arrivals.batch(1))
        return Judged(ledger.total_energy, float(ledger.latency[0]))
    ledger = simulate(placement, Arrivals.batch(ROW))
    if (repeats := ledger.runs.repeats) is not None:
        time = repeats.length / repeats.requests * FEMTOSECOND
    else:
        finish = np.sort(ledger.finish_fs)
        time = float(finish[2 * ROW // 3 - 1] - finish[ROW // 3 - 1]) / (ROW // 3) * FEMTOSECOND
    return Judged(_dynamic(ledger) / ROW + placement.chip.static_power * time, time)


def search_mapping(
    network: Network, chip: Chip, objective: Objective = "latency", budget: int = 200, seed: int = 0, sharing: Sharing = "as_needed",
    step: Callable[[str], None] = lambda _: None,
) -> FoundMapping:  # fmt: skip
    """The best of `budget` mappings that a search from the greedy rule's judges; the same for the same seed.

    sharing: as `place` has it. Raises ParameterError for another objective and a budget below 1, and as `place` and `simulate`.
    """
    if objective not in ("latency", "throughput"):
        raise ParameterError(f"objective must be latency or throughput, got {objective!r}")
    if budget < 1:
        raise ParameterError(f"budget must be 1 mapping or more, got {budget}")
    begun = place(network, chip, sharing=sharing)
    search = _Search(network, chip, objective, sharing, np.random.default_rng(seed))
    greedy = search.judged({name: len(copies) for name, copies in begun.copies.items()})
    now, best = search.begin, search.begin
    value = least_value = log(greedy.product)
    while len(search.known) < budget:
        temperature = BEGIN * (END / BEGIN) ** (len(search.known) / budget)
        for _ in range(100):
            there = search.neighbour(now)
            if there not in search.known:
                break
        else:
            break  # all near it are known
        found = search.judged(dict(zip(search.names, there, strict=True)))
        other = log(found.product) if found.product < inf else inf
        kept = other <= value or search.random.random() < exp((value - other) / temperature)
        search.rows[-1]["kept"] = kept
        if kept:
            now, value = there, other
        if other < least_value:
            best, least_value = there, other
            step(f"mapping search: {len(search.known)} of {budget} judged, product {1 - exp(least_value) / greedy.product:.1%} smaller")
    placement = place(network, chip, dict(zip(search.names, best, strict=True)), sharing)
    return FoundMapping(placement, search.known[best], greedy, objective, pd.DataFrame(search.rows))


def helpful_copies(vectors: int, most: int) -> Iterator[int]:
    """Numbers of copies up to `most` with each of which the copy that takes most takes fewer vectors than with one less."""
    deal = Deal(vectors, 1)
    while deal.copies <= most:
        yield deal.copies
        more = deal.next_that_helps()
        if more == deal.copies:
            return
        deal = replace(deal, copies=more)


def least(network: Network, chip: Chip, objective: Objective, ledger: Ledger) -> float:
    """A product [J s] below which no numbers of copies come that share as those of `ledger` do: it is of any such placement of the network,
    and of it is taken the energy of all that copies do not change: not of the mesh, of buffers, and of sums that are made where tiles meet;
    nor, on shared crossbars, of reads, in which cells of others draw.

    A vector holds a copy for as long as the slowest of its crossbars, each taken alone, reads and converts it, wherever they lie. Time
    between results: the least t for which the chip has crossbars for vectors x that / t copies of every layer, or one; where copies share
    crossbars, each of which is read for one after the other, that many without the one. Latency: no less than a vector of every layer on
    the longest path through the network.
    """
    shared = ledger.placement.sharing == "crossbars"
    fixed = [name for name in ledger.energy.columns if name not in WHERE_THEY_LIE and not (shared and name == "crossbar")]
    energy = float(ledger.energy.drop(index=STATIC)[fixed].to_numpy().sum()) / ledger.requests
    times = {layer.name: _least_held(chip, layer) for layer in network.layers}
    time = _fastest_row(network, chip, times, 0.0 if shared else 1.0) if objective == "throughput" else _longest_path(network, times)
    time *= FEMTOSECOND
    return (energy + chip.static_power * time) * time


def _least_held(chip: Chip, layer: MatrixLayer) -> int:
    """How long a vector holds a copy of the layer at least [fs]."""
    geometry = layer_geometry(chip, layer)
    crossbars = crossbars_at(chip, geometry, range(geometry.crossbars))
    if layer.lookup:
        crossbars = [replace(x, rows=geometry.wordlines_per_input) for x in crossbars]
    return max(read_cycle(chip, layer, [x]).busy for x in dict.fromkeys(replace(x, core=0, tile=0, slot=0, group=0) for x in crossbars))


class _Search:
    """What a search knows: mappings judged, as numbers of copies in the order of the layers."""

    def __init__(self, network: Network, chip: Chip, objective: Objective, sharing: Sharing, random: np.random.Generator):
        self.network, self.chip, self.objective, self.sharing, self.random = network, chip, objective, sharing, random
        self.names = [layer.name for layer in network.layers]
        self.vectors = [layer.vectors for layer in network.layers]
        own, per_core = own_needs(network), chip.structure.crossbars_per_core
        alone = [layer_geometry(chip, layer).crossbars for layer in network.layers]
        whole = [-(-count // per_core) * per_core for count in alone]
        self.taken = whole if sharing == "none" or (sharing == "as_needed" and sum(whole) <= chip.crossbars) else alone
        self.cycles = [vector_time(chip, layer, taken) for layer, taken in zip(network.layers, self.taken, strict=True)]
        most = [most_at_once(own[x.name]) if x.name in own else x.vectors for x in network.layers]
        room = chip.crossbars - sum(self.taken)
        self.steps = [
            list(helpful_copies(vectors, min(limit, 1 + room // taken)))
            for vectors, limit, taken in zip(self.vectors, most, self.taken, strict=True)
        ]
        self.known: dict[tuple[int, ...], Judged] = {}
        self.rows: list[dict[str, object]] = []
        self.begin: tuple[int, ...] = ()

    def judged(self, copies: Mapping[str, int]) -> Judged:
        """A mapping's energy and time; infinite where the chip cannot hold or serve it."""
        key = tuple(copies[name] for name in self.names)
        if key not in self.known:
            try:
                found = judge(place(self.network, self.chip, copies, self.sharing), self.objective)
            except (CapacityError, BufferCapacityError):
                if not self.known:
                    raise
                found = Judged(inf, inf)
            self.begin = self.begin or key
            self.known[key] = found
            self.rows.append({"energy_J": found.energy, "time_s": found.time, "product_Js": found.product, "kept": True})
        return self.known[key]

    def neighbour(self, now: tuple[int, ...]) -> tuple[int, ...]:
        """Another mapping near this one that fits the chip."""
        copies = list(now)
        held_up = np.array([Deal(v, c).longest * t for v, c, t in zip(self.vectors, copies, self.cycles, strict=True)], float)
        if self.random.random() < 0.1:  # one fewer alone: less energy on the way, more room
            self._fewer(copies, held_up)
        else:
            more = self._drawn(held_up, [self._place(k, copies[k]) + 1 < len(self.steps[k]) for k in range(len(copies))])
            if more is None:
                self._fewer(copies, held_up)
            else:
                far = min(len(self.steps[more]) - 1, self._place(more, copies[more]) + int(self.random.geometric(0.5)))
                copies[more] = self.steps[more][far]
                while self._crossbars(copies) > self.chip.crossbars and self._fewer(copies, held_up, more):
                    pass
        return tuple(copies) if self._crossbars(copies) <= self.chip.crossbars else now

    def _crossbars(self, copies: list[int]) -> int:
        return sum(count * taken for count, taken in zip(copies, self.taken, strict=True))

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


def _fastest_row(network: Network, chip: Chip, times: Mapping[str, int], one: float) -> float:
    """Least time between results [fs] that crossbars suffice for; one: copies of a layer at least, on crossbars of their own."""
    crossbars = {layer.name: layer_geometry(chip, layer).crossbars for layer in network.layers}
    low, high = 0.0, float(max(layer.vectors * times[layer.name] for layer in network.layers))
    for _ in range(60):  # copies may be dealt over samples, so a layer's share of a copy's time may be less than a vector's
        middle = (low + high) / 2
        needed = sum(max(one, layer.vectors * times[layer.name] / middle) * crossbars[layer.name] for layer in network.layers)
        low, high = (low, middle) if needed <= chip.crossbars else (middle, high)
    return low


def _longest_path(network: Network, times: Mapping[str, int]) -> float:
    """Time [fs] of one vector of every layer on the path of most time, from the input to a result."""
    until: dict[str, float] = {}
    for layer in network.layers:
        before = (until[name] for name, counts in layer.needs.items() if name in until and counts.any())
        until[layer.name] = times[layer.name] + max(before, default=0.0)
    return max(until[name] for name in until)


def _dynamic(ledger: Ledger) -> float:
    return float(ledger.energy.drop(index=STATIC).to_numpy().sum())

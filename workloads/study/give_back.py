"""What a search for targets cut too much is given back: rounds end below the targets, here every filter and input that still fits
returns.

Bits that the search lowered (`xbar.workloads.study.precision`) come back where they undo more damage than the filters and inputs that the
same slack holds are estimated to; what they leave of it goes to these. First the last round is taken back in part: counts between those
before it, which met not all targets, and those after it, as many as the targets allow. Then layers, inputs and units of streams grow by
themselves, those first whose worth is most for what they use of the slack that each target has left: worth as the last round measured
it for the least that it kept, and beyond that falling as it fell in the uncompressed network. So inputs that fill arrays come back where
area binds, and filters of layers with few vectors where energy does. Steps are chosen by fitted costs and stand by simulated ones, of the
network cut by magnitude; at the end no single further filter, input or unit fits. Numbers only: which filters stay is chosen later.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xbar.compression.gemm import groups_of, matrix_layers
from xbar.compression.packing import packing
from xbar.workloads.study.allocation import (
    Chosen,
    Keep,
    Search,
    by_units,
    joint_sets,
    joint_streams,
    key_of,
    left_by_streams,
    prune_once,
    whole,
)
from xbar.workloads.study.costs import Costs, Sizes
from xbar.workloads.study.precision import Bits, bits_of, more_bits

MOST_SIMULATED = 120  # networks, a second or more each
CLOSE = 0.995  # of the target that binds: as near as the last round is followed back
GROWTH = 0.05  # of what a layer has, in a step of growth; halved where it does not fit
FINEST = 1 / 256  # of the last round, as near as it is followed back
NEAR = 0.98  # of a target: what is below is told as slack
NOTHING = 1e-30  # worth of what the loss does not feel, or of which nothing was measured: less than any other

FILTERS, INPUTS = 0, 1
Side = tuple[str, int]  # of a layer or stream: FILTERS (of streams units) or INPUTS
Counts = dict[Side, int]


@dataclass(frozen=True)
class GivenBack:
    """The allocation after, and costs at the bits after; rows: what came back, as `Chosen.steps` has them, step "taken back" or "filled",
    damage negative, the estimate of what the loss gains; targets: by name allowed, after the search (cut) and left now, shares, and why
    no more came back, in words ("" where the target is met within 2 %); simulated: how many networks."""

    state: dict[str, Keep]
    costs: Costs
    rows: list[dict[str, Any]]
    targets: dict[str, dict[str, Any]]
    simulated: int


def give_back(search: Search, chosen: Chosen) -> GivenBack:
    """What of `chosen` can return within the targets. A choice of one share everywhere, of which nothing was measured, only goes back as
    a whole."""
    found, wider = _GiveBack(search, chosen).found(), list[dict[str, Any]]()
    while (more := _more_bits(search, chosen, found)) is not None:
        chosen = replace(chosen, costs=more[0])
        again = _GiveBack(search, chosen).found()
        left = {name: each["left"] for name, each in again.targets.items()}
        again = replace(again, simulated=found.simulated + again.simulated)
        if not search.met(left):
            return replace(found, simulated=again.simulated)
        wider.append(more[1] | left)
        found = replace(again, rows=[*wider, *again.rows])
    return found


def _more_bits(search: Search, chosen: Chosen, found: GivenBack) -> tuple[Costs, dict[str, Any]] | None:
    """Costs at the bits that gain most beyond what came back in their place, where any do, and their row of `GivenBack.rows`."""
    if search.widths is None or chosen.network is None:
        return None
    slack = {name: (each["cut"], each["allowed"] - each["cut"]) for name, each in found.targets.items()}
    gained = -sum(row["damage"] for row in found.rows if row["filters"])
    best: tuple[float, Bits, dict[str, Any]] | None = None

    def used(factor: Mapping[str, float]) -> float:
        """What share of the slack more bits take, of the target that has least."""
        return max((factor[name] - 1) * cut / max(left, 1e-12) for name, (cut, left) in slack.items())

    now = bits_of(chosen.costs.chip)
    for bits, factor, undone in more_bits(search.widths, chosen.network, now, search.data, lambda factor: used(factor) <= 1):
        beyond = undone - max(0.0, used(factor)) * gained
        if beyond > 0 and (best is None or beyond > best[0]):
            told = f"weights: {bits[0]} bits" if bits[0] > now[0] else f"inputs: {bits[1]} bits"
            row = {"round": _last_round(chosen), "step": "taken back", "layer": told, "filters": 0, "inputs": 0, "damage": -undone}
            best = beyond, bits, row
    return None if best is None else (search.widths.costs_at(best[1]), best[2])


def _last_round(chosen: Chosen) -> int:
    return int(chosen.steps["round"].max()) if len(chosen.steps) else 0


@dataclass(frozen=True)
class _Limits:
    """Of an allocation what each side has, the most that it could have (filters that streams leave, inputs that are fed), and which sides
    are `free`: have no limit of their own, and follow streams and what feeds them."""

    counts: Counts
    most: Counts
    free: frozenset[Side]


@dataclass(frozen=True)
class _Point:
    """An allocation and what it costs: sizes of layers, and shares by target."""

    counts: Counts
    free: frozenset[Side]
    sizes: Sizes
    shares: dict[str, float]


class _GiveBack:
    def __init__(self, search: Search, chosen: Chosen):
        self.search, self.chosen, self.simulated = replace(search, costs=chosen.costs), chosen, 0
        self.model, self.example = search.model, search.costs.example
        self.whole = {name: keep.filters for name, keep in whole(self.model).items()}
        self.streams = {key_of(stream): stream for stream in joint_streams(self.model, self.example)}
        self.together = by_units(self.streams.values(), self.whole)
        self.start = self._limits(chosen.state)
        self.grown: dict[Side, dict[str, tuple[float, float]]] = {}  # outputs and inputs by layer, for one more of a side
        self.broken: dict[Side, list[str]] = {}  # targets that one more would break

    def found(self) -> GivenBack:
        search, start = self.search, self.start
        cut = self._simulate(start.counts, start.free)
        near = self._taken_back(cut)
        filled = self._filled(near) if self.chosen.worth and search.met(near.shares) else near
        middle, end = (self._limits(self._allocation(point.counts, point.free)).counts for point in (near, filled))
        rows = [*self._rows("taken back", start.counts, middle, near.shares), *self._rows("filled", middle, end, filled.shares)]
        targets = {name: {"allowed": share, "cut": cut.shares[name], "left": filled.shares[name],
                          "why": self._why(name, filled.shares)} for name, share in search.targets.items()}  # fmt: skip
        return GivenBack(self._kept(end), self.search.costs, rows, targets, self.simulated)

    # ---- allocations and their cost

    def _limits(self, state: Mapping[str, Keep]) -> _Limits:
        filters_only = {name: replace(keep, inputs=None) for name, keep in state.items()}
        small = matrix_layers(prune_once(self.model, filters_only, self.example))
        counts: Counts = {}
        most: Counts = {}
        free = set()
        for name, left in left_by_streams(self.model, joint_sets(self.model, state, self.example)).items():
            present = len(packing(small[name].weight, groups_of(small[name])).inputs)
            keep = state.get(name, Keep(left))
            most |= {(name, FILTERS): left, (name, INPUTS): present}
            for side, kept in (((name, FILTERS), keep.filters), ((name, INPUTS), keep.inputs or present)):
                follows = kept >= most[side] or (side[1] == FILTERS and name in self.together)
                counts[side] = most[side] if follows else kept
                free |= {side} if follows else set()
        for name, stream in self.streams.items():
            most[name, FILTERS] = stream.count
            counts[name, FILTERS] = min(stream.count, state[name].filters) if name in state else stream.count
        return _Limits(counts, most, frozenset(free))

    def _allocation(self, counts: Counts, free: frozenset[Side]) -> dict[str, Keep]:
        """The allocation in which free sides have no limit."""
        found = {name: Keep(count if (name, FILTERS) in free else counts[name, FILTERS],
                            None if (name, INPUTS) in free else counts[name, INPUTS])
                 for name, count in self.whole.items()}  # fmt: skip
        return found | {name: Keep(counts[name, FILTERS]) for name in self.streams}

    def _kept(self, counts: Counts) -> dict[str, Keep]:
        """The allocation of just these counts, streams of which all is kept left out."""
        streams = {name: Keep(counts[name, FILTERS]) for name, each in self.streams.items() if counts[name, FILTERS] < each.count}
        return {name: Keep(counts[name, FILTERS], counts[name, INPUTS]) for name in self.whole} | streams

    def _simulate(self, counts: Counts, free: frozenset[Side]) -> _Point:
        self.simulated += 1
        sizes, cost = self.search.costs.measured(prune_once(self.model, self._allocation(counts, free), self.example))
        return _Point(counts, free, sizes, self.search.shares(cost))

    def _may(self) -> bool:
        """Whether another network may be simulated."""
        return self.simulated < MOST_SIMULATED

    # ---- the last round, in part

    def _taken_back(self, cut: _Point) -> _Point:
        """The point nearest to the targets on the way back to before the last round."""
        earlier = self._limits(self.chosen.earlier)
        free = cut.free & earlier.free

        def between(share: float) -> Counts:
            return {side: max(1, round(count + share * (max(count, earlier.counts[side]) - count))) for side, count in cut.counts.items()}

        best, low, high = cut, 0.0, 1.0
        for less in (0.05, 0.1, 0.2, 0.4):  # chosen by magnitude, filters may feed a little more than in the search
            if self.search.met(best.shares):
                break
            best, low = self._simulate(between(-less), free), -less
        while self.search.met(best.shares) and self._used(best.shares) < CLOSE and high - low > FINEST:
            middle = (low + high) / 2
            if between(middle) == between(low):
                low = middle
            elif between(middle) == between(high):
                high = middle
            else:
                point = self._simulate(between(middle), free)
                best, low, high = (point, middle, high) if self.search.met(point.shares) else (best, low, middle)
        return best

    def _used(self, shares: Mapping[str, float]) -> float:
        """What share of the target that binds is used."""
        return max(shares[name] / share for name, share in self.search.targets.items())

    # ---- growth where slack is

    def _filled(self, point: _Point) -> _Point:
        """Grown side by side until not one more fits anywhere."""
        while True:
            most = self._limits(self._allocation(point.counts, point.free)).most
            sides = [side for side, count in point.counts.items() if side not in point.free and count < most[side]]
            for side in sides:
                if side not in self.grown and self._may():
                    self.grown[side] = self._probed(point, side, most[side])
            steps = self._steps(point, [side for side in sides if side in self.grown], most)
            further = self._furthest(point, steps)
            further = self._singly(point, sides) if further is point else further
            if further is point:
                return point
            point = further

    def _more(self, point: _Point, side: Side, count: int) -> Counts:
        return point.counts | {side: point.counts[side] + count}

    def _probed(self, point: _Point, side: Side, most: int) -> dict[str, tuple[float, float]]:
        """Outputs and inputs of layers for one more of a side."""
        count = min(most - point.counts[side], max(1, round(GROWTH * point.counts[side])))
        sizes = self._simulate(self._more(point, side, count), point.free).sizes
        return {name: ((sizes[name][0] - outputs) / count, (sizes[name][1] - inputs) / count)
                for name, (outputs, inputs) in point.sizes.items() if sizes[name] != (outputs, inputs)}  # fmt: skip

    def _steps(self, point: _Point, sides: list[Side], most: Counts) -> list[Counts]:
        """What each further step of growth would keep, by fitted costs the best first, as long as one fits."""
        costs, targets = self.search.costs, self.search.targets
        fitted = self.search.shares(costs.of_sizes(point.sizes))
        right = {name: point.shares[name] / share for name, share in fitted.items()}
        counts, sizes, shares, found = point.counts, dict(point.sizes), point.shares, []
        size = {side: max(1, round(GROWTH * counts[side])) for side in sides}

        def grown(side: Side, count: int) -> tuple[Sizes, dict[str, float]]:
            more = {name: (sizes[name][0] + count * one[0], sizes[name][1] + count * one[1]) for name, one in self.grown[side].items()}
            after = sizes | more
            taken = self.search.shares(costs.of_sizes({name: (round(each[0]), round(each[1])) for name, each in after.items()}))
            return after, {name: right[name] * share for name, share in taken.items()}

        while True:
            best: tuple[float, Side, int, Sizes, dict[str, float]] | None = None
            for side in sides:
                size[side] = min(size[side], most[side] - counts[side])
                while size[side]:
                    after, taken = grown(side, size[side])
                    if self.search.met(taken):
                        use = sum(max(0.0, taken[name] - shares[name]) / (share - shares[name] + 1e-12) for name, share in targets.items())
                        worth = self._worth(side, counts[side], size[side]) / (use + 1e-6)
                        if best is None or worth > best[0]:
                            best = worth, side, size[side], after, taken
                        break
                    size[side] //= 2
            if best is None:
                return found
            _, side, count, sizes, shares = best
            counts = counts | {side: counts[side] + count}
            found.append(counts)

    def _worth(self, side: Side, count: int, more: int) -> float:
        """What the loss would do without the next so many of a side, beyond `count`: as the least that the search kept, and falling from
        there as in the uncompressed network."""
        name, which = side
        values, least = self.chosen.worth.get(name), self.chosen.least.get(name)
        if values is None or least is None or not len(values[which]):
            return NOTHING
        falling = values[which]
        last = float(falling[min(self.start.counts[side], len(falling)) - 1])
        return max(NOTHING, least[which] * (float(falling[count : count + more].sum()) / last if last > 0 else more))

    def _furthest(self, point: _Point, steps: list[Counts]) -> _Point:
        """The last of the steps at which the targets are met, simulated; `point` itself where none is."""
        low, high = 0, len(steps)  # steps taken; high: the most not yet refuted
        trial = high
        while low < high and self._may():
            found = self._simulate(steps[trial - 1], point.free)
            if self.search.met(found.shares):
                point, low = found, trial
            else:
                high = trial - 1
            trial = (low + high + 1) // 2
        return point

    def _singly(self, point: _Point, sides: Iterable[Side]) -> _Point:
        """One more of each side alone, simulated; what does not fit is noted with the targets that it would break."""
        for side in sides:
            if side in self.broken or not self._may():
                continue
            found = self._simulate(self._more(point, side, 1), point.free)
            if self.search.met(found.shares):
                point = found
            else:
                self.broken[side] = [name for name, share in self.search.targets.items() if found.shares[name] > share]
        return point

    # ---- told

    def _rows(self, step: str, before: Counts, after: Counts, shares: Mapping[str, float]) -> list[dict[str, Any]]:
        found = []
        for name in [*self.whole, *self.streams]:
            sides = [side for side in ((name, FILTERS), (name, INPUTS)) if side in after and after[side] > before[side]]
            if sides:
                gained = sum(self._worth(side, before[side], after[side] - before[side]) for side in sides)
                gained = gained if gained > 2 * NOTHING else 0.0
                found.append({"round": _last_round(self.chosen), "step": step, "layer": name, "filters": after[name, FILTERS],
                              "inputs": after.get((name, INPUTS), 0), "damage": -gained, **shares})  # fmt: skip
        return found

    def _why(self, target: str, shares: Mapping[str, float]) -> str:
        """Why no more of a target is used, in words."""
        if shares[target] > self.search.targets[target]:
            return "not met: by magnitude, filters feed more than in the search"
        if shares[target] >= NEAR * self.search.targets[target]:
            return ""
        if not self.search.met(shares):
            return "nothing comes back while another target is not met"
        if not self._may():
            return f"the search for what fits ended after {MOST_SIMULATED} simulated networks"
        if not self.chosen.worth and self.chosen.earlier != self.chosen.state:
            return "the next larger share of all layers would not meet all targets"
        if not self.broken:
            return "every layer is whole"
        by = sorted({name for names in self.broken.values() for name in names})
        return f"one more filter or input anywhere would break {' or '.join(by)}"

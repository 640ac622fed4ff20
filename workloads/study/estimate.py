"""What a change of a chip would do, estimated from the ledger of the chip as it is, before it is simulated.

- Energy: every component's energy in every layer, times its actions then over now, times its energy an action then over now. Leakage: times
  the idle chip's power then over now, and the time that a request takes.
- Latency: every span of the critical path, times how long that piece of work takes then over now. Of n vectors that a copy takes, n - 1
  wait for its arrays: that time falls with n - 1 in every layer; where it grows, layers wait beside each other, and the one in which it
  grows most adds it. No less than the time that a request holds its busiest unit then.
- Throughput: the period, times what bounds it then over what does now (`xbar.hw.events.bounds`).
- Area: what the components' laws tell; nothing of it is left to a simulation.

Actions, and how long pieces of work take, are counted on the changed chip without simulating. What is not foreseen: that another path
becomes the longest, and that waiting grows or vanishes. So estimates agree with the simulation within BANDS, or the difference is told.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.bottlenecks import LEAKAGE, Bottlenecks, area_parts, bottlenecks
from xbar.hw.events.bounds import SLICES, VECTORS, Counts, Stage, count, periods
from xbar.hw.events.critical_path import PARTS, CriticalPath, critical_path
from xbar.hw.events.ledger import INPUT, OUTPUT, STATIC, Ledger
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.simulator import simulate
from xbar.reports.advice_sheet import PLURALS, SINGULAR
from xbar.reports.style import human

OBJECTIVES = {"energy": "J", "latency": "s", "throughput": "1/s", "area": "m²"}  # with their units
# By how much of the simulated value an estimate may be off, as a share of it [1]. Energies are counted, but leakage follows the time;
# paths and waiting change in ways that are not foreseen.
BANDS = {"energy": 0.05, "latency": 0.20, "throughput": 0.20, "area": 1e-9}
Values = dict[str, float]  # by objective


def values_of(ledger: Ledger, latency: float, chip: Chip) -> Values:
    """Of a batch, and of a request alone: energy on chip of a request of the batch [J], latency alone [s], throughput between results
    [1/s], and the chip's area without its off-chip links [m²]."""
    return {
        "energy": ledger.on_chip_energy / ledger.requests, "latency": latency, "throughput": ledger.steady_throughput,
        "area": float(area_parts(chip).sum()),
    }  # fmt: skip


def simulated(placement: Placement, requests: int) -> Values:
    """What the simulator says of a placement."""
    alone = simulate(placement, Arrivals.batch(1))
    return values_of(simulate(placement, Arrivals.batch(requests)), float(alone.latency[0]), placement.chip)


@dataclass(frozen=True)
class Estimate:
    """values: by objective; reasons: by objective, what decides it, in a sentence."""

    values: Values
    reasons: dict[str, str]


@dataclass(frozen=True)
class Footing:
    """A network on a chip as it is: what estimates stand on."""

    placement: Placement
    ledger: Ledger
    path: CriticalPath
    counts: Counts

    @classmethod
    def of(cls, placement: Placement, requests: int) -> "Footing":
        """Simulated once: a batch of so many requests, two at least, and one alone."""
        return cls(placement, simulate(placement, Arrivals.batch(requests)), critical_path(placement), count(placement))

    @property
    def values(self) -> Values:
        """What the simulator says of it."""
        return values_of(self.ledger, self.path.latency, self.placement.chip)

    @property
    def bottlenecks(self) -> Bottlenecks:
        """What binds it."""
        return bottlenecks(self.ledger, self.path, self.counts.held)

    def estimate(self, placement: Placement) -> Estimate:
        """What another placement of the network, on another chip or in another way, is worth by the formulas above."""
        then = count(placement)
        parts, before = self._latencies(then), self._latencies(self.counts)
        latency = max(sum(parts.values()), max(then.held.values(), default=0.0)) * FEMTOSECOND
        bound, bound_before = (periods(counts.held) for counts in (then, self.counts))
        longer = float(bound["period_s"].iloc[0] / bound_before["period_s"].iloc[0])
        throughput = self.ledger.steady_throughput / longer
        requests = self.ledger.requests
        span, span_before = (
            first + (requests - 1) / rate for first, rate in ((latency, throughput), (self.path.latency, self.ledger.steady_throughput))
        )
        chips = placement.chip, self.placement.chip
        energy, energy_before = self._energies(placement.chip, then), self._energies(chips[1], self.counts)
        idle = self.ledger.leakage_energy / requests
        energy_before[LEAKAGE] = idle
        energy[LEAKAGE] = idle * _ratio(chips[0].leakage, chips[1].leakage) * span / span_before
        area, area_before = (area_parts(chip).to_dict() for chip in chips)
        values = {"energy": sum(energy.values()), "latency": latency, "throughput": throughput, "area": float(sum(area.values()))}
        reasons = {
            "energy": _shares(energy_before, energy, "the energy on chip", PLURALS),
            "area": _shares(area_before, area, "the area", PLURALS),
            "latency": _shares(before, parts, "the latency", {}, "long"),
            "throughput": f"{_bound(bound_before, 0)}, and next {_bound(bound_before, 1)}; with the change {_bound(bound, 0)}",
        }  # fmt: skip
        return Estimate(values, reasons)

    def _latencies(self, then: Counts) -> dict[str, float]:
        """The critical path by part [fs], its pieces of work as long as they are by other counts."""
        found: dict[str, float] = defaultdict(float)
        more: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))  # by layer: what vectors wait that do not now
        for span in self.path.spans:
            stage = Stage(span.layer, SLICES if span.of_slices else span.kind)
            length = span.length * _ratio(then.takes.get(stage, 0.0), self.counts.takes.get(stage, 0.0))
            if span.kind in ("read", "conversion"):
                behind, behind_now = (max(0.0, counts.takes[Stage(span.layer, VECTORS)] - 1) for counts in (then, self.counts))
                if span.waiting:
                    times = _ratio(behind, behind_now)
                    more[span.layer][PARTS[span.kind]] += length * max(0.0, times - 1)
                    length *= min(1.0, times)
                elif behind and not behind_now and span.of_slices:
                    more[span.layer][PARTS[span.kind]] += length * behind
            found[PARTS[span.kind]] += length
        for part, length in max(more.values(), key=lambda parts: sum(parts.values()), default={}).items():
            found[part] += length
        return dict(found)

    def _energies(self, chip: Chip, then: Counts) -> dict[str, float]:
        """Energy of a request by component [J], on a chip where it does so much; links off the chip apart, without leakage."""
        chip_before, now, requests = self.placement.chip, self.counts, self.ledger.requests
        table = self.ledger.energy.drop(index=STATIC)
        found: dict[str, float] = defaultdict(float)
        for layer in [INPUT, *self.placement.copies, OUTPUT]:
            costs, costs_before = chip.costs_for(layer), chip_before.costs_for(layer)
            for name in {*then.actions.get(layer, {}), *now.actions.get(layer, {})} - set(CHIP_COMPONENTS):
                asked, asked_before = (
                    each.charged.get(layer, {}).get(name, each.actions[layer].get(name, 0.0)) for each in (then, now)
                )
                cost, cost_before = (each[name].energy_per_action if name in each else 0.0 for each in (costs, costs_before))
                if asked_before * cost_before:
                    found[name] += float(table.loc[layer, name]) / requests * (asked * cost) / (asked_before * cost_before)
                else:
                    found[name] += asked * cost
        return dict(found)


def agrees(objective: str, estimated: float, judged: float) -> bool:
    """Whether an estimate is within its band of what the simulator says."""
    return abs(estimated - judged) <= BANDS[objective] * abs(judged)


def factor(objective: str, value: float, before: float) -> float:
    """How many times better a value is than before [1]: of throughput value over before, of all else before over value."""
    return value / before if objective == "throughput" else before / value


def _ratio(then: float, now: float) -> float:
    return then / now if now else 1.0


def _shares(before: Mapping[str, float], after: Mapping[str, float], of: str, names: Mapping[str, str], much: str = "much") -> str:
    """Which part changes most, what share it has now, and how many times as much with the change."""
    total = sum(before.values())
    changes = {name: after.get(name, 0.0) - before.get(name, 0.0) for name in {**before, **after}}
    name = max(changes, key=lambda each: abs(changes[each]))
    called = names.get(name, name)
    verb = "takes" if name in SINGULAR else "take"
    if not before.get(name):
        return f"{called} {verb} nothing of {of} now"
    share, ratio = before[name] / total, after.get(name, 0.0) / before[name]
    return f"{called} {verb} {100 * share:.0f} % of {of}; with the change {ratio:.2f} times as {much}"


def _bound(found: pd.DataFrame, place: int) -> str:
    if len(found) <= place:
        return "nothing else"
    return f"{found.index[place]} are held {human(float(found['period_s'].iloc[place]), 's')} a request"

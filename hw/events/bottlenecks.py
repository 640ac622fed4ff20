"""What binds a run, and what would bind it next: of its latency, its throughput, its energy on chip and its area, each with its shares.

Shares of a quantity sum to it: spans of the critical path to the latency (`xbar.hw.events.critical_path`), components and leakage to the
energy, components to the area. Of the throughput there are no shares: units are held side by side, and the one that is held longest by a
request tells the shortest period (`xbar.hw.events.bounds`). Off-chip links are apart, as in all totals of energy and area.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.description import Chip
from xbar.hw.events.bounds import periods
from xbar.hw.events.critical_path import CriticalPath
from xbar.hw.events.ledger import STATIC, Ledger

LEAKAGE = "leakage"
NOTHING = ("", "", 0.0)  # where there is no next


@dataclass(frozen=True)
class Bottlenecks:
    """What binds. latency: `CriticalPath.parts`; throughput: `periods`; energy: joule of a request by component, and leakage; area: m² by
    component. All with the largest first."""

    latency: pd.DataFrame = field(repr=False)
    throughput: pd.DataFrame = field(repr=False)
    energy: pd.Series = field(repr=False)
    area: pd.Series = field(repr=False)
    period: float

    def table(self) -> pd.DataFrame:
        """One row a quantity (latency, throughput, energy, area): binds, by (the component, or the unit), share (of the latency, energy or
        area; of the throughput: of the period that the simulation came to), and the same of what comes next, next, next_by, next_share.

        Of the throughput next_share is the period that would bind if what binds took no time, over the period that there is.
        """
        found: dict[str, list[tuple[str, str, float]]] = {
            "latency": [(str(part), str(row["component"]), float(row["share"])) for part, row in self.latency.head(2).iterrows()],
            "throughput": [
                (str(kind), str(row["unit"]), float(row["period_s"]) / self.period) for kind, row in self.throughput.head(2).iterrows()
            ],
        }  # fmt: skip
        for name, series in (("energy", self.energy), ("area", self.area)):
            found[name] = [(str(part), str(part), float(value) / float(series.sum())) for part, value in series.head(2).items()]
        columns = ["binds", "by", "share", "next", "next_by", "next_share"]
        rows = {name: [cell for each in [*two, NOTHING, NOTHING][:2] for cell in each] for name, two in found.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def bottlenecks(ledger: Ledger, path: CriticalPath, held: Mapping[str, float]) -> Bottlenecks:
    """What binds the requests of a ledger. path: of one request, as a rule alone; held: how long a request holds each unit [fs], of
    `Counts` or `held_in`."""
    period = 1 / ledger.steady_throughput if ledger.requests > 1 else float("nan")
    return Bottlenecks(path.parts(), periods(held), energy_parts(ledger), area_parts(ledger.chip), period)


def energy_parts(ledger: Ledger) -> pd.Series:
    """Energy on chip of a request [J] by component, what is drawn whether or not anything happens as "leakage", the largest first."""
    requests = ledger.requests or 1
    found = ledger.energy.drop(index=STATIC).drop(columns=list(CHIP_COMPONENTS)).sum() / requests
    found[LEAKAGE] = ledger.leakage_energy / requests
    return found[found > 0].sort_values(ascending=False, kind="stable")


def area_parts(chip: Chip) -> pd.Series:
    """Area on chip [m²] by component, the largest first; off-chip links apart."""
    return chip.table()["area_m2"].drop(list(CHIP_COMPONENTS)).sort_values(ascending=False, kind="stable")

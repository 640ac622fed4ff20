"""How a score reads in a report: an accuracy in percent and points, any other metric in its own unit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbar.reports.style import percent, significant

MINUS = "\u2212"


@dataclass(frozen=True)
class ShownMetric:
    """A metric as results keep it (`xbar.workloads.task.Metric.told`). unit: "" for a share of 1, shown in percent."""

    name: str = "accuracy"
    title: str = "Accuracy"
    unit: str = ""
    better: str = "high"

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "ShownMetric":
        """The metric of a run or compression; accuracy where nothing else is told."""
        return cls(**meta["metric"]) if "metric" in meta else cls()

    @property
    def is_share(self) -> bool:
        """True for shares of 1."""
        return not self.unit

    @property
    def factor(self) -> float:
        """From a value as kept to one as drawn."""
        return 100.0 if self.is_share else 1.0

    @property
    def word(self) -> str:
        """The metric within a sentence; acronyms stay as they are."""
        return self.title if self.title[1:2].isupper() else self.title[:1].lower() + self.title[1:]

    @property
    def axis(self) -> str:
        """Label of an axis."""
        return f"{self.word}, {'%' if self.is_share else self.unit}"

    @property
    def step(self) -> str:
        """The unit of a difference."""
        return f"points of {self.word}" if self.is_share else self.word

    @property
    def step_short(self) -> str:
        """The same for the head of a column."""
        return "points" if self.is_share else self.unit

    @property
    def better_words(self) -> str:
        """Which side is better."""
        return "more is better" if self.better == "high" else "less is better"

    def text(self, value: float, digits: int = 1) -> str:
        """A value for people."""
        return percent(value, digits) if self.is_share else f"{significant(value, digits + 2)}\u00a0{self.unit}"

    def number(self, value: float) -> str:
        """A difference without its unit."""
        if self.is_share:
            return f"{100 * value:.2f}".replace("-", MINUS) if abs(value) >= 5e-5 else "0"
        return significant(value, 3).replace("-", MINUS)

    def banded(self, value: float, half: float) -> str:
        """A difference with half its band, without its unit: to as many decimals as the band's two digits have."""
        if self.is_share or not np.isfinite(half) or half <= 0:
            return self.number(value) + (f" ± {self.number(half)}" if np.isfinite(half) else "")
        band = significant(half, 2)
        decimals = len(band.partition(".")[2])
        return f"{value:.{decimals}f}".replace("-", MINUS) + f" ± {band}"

    def difference(self, value: float, digits: int = 1) -> str:
        """A difference for people."""
        return f"{100 * value:.{digits}f} points" if self.is_share else f"{significant(value, digits + 1)}\u00a0{self.unit}"

    def lost(self, reference: float, value: float) -> float:
        """How much worse a value is."""
        return reference - value if self.better == "high" else value - reference

    def matters(self, lost: float, reference: float) -> bool:
        """True of a loss that is worth a word: half a point, or half a percent of another metric."""
        return lost >= (0.005 if self.is_share else 0.005 * abs(reference))

    def change(self, reference: float, value: float) -> str:
        """What became of a value, in words: keeps its accuracy, loses 1.2 points."""
        lost = self.lost(reference, value)
        if abs(lost) < (0.0005 if self.is_share else 0.0005 * abs(reference)):
            return f"keeps its {self.word}"
        if self.is_share or self.better == "high":
            return f"{'loses' if lost > 0 else 'gains'} {self.difference(abs(lost))}"
        return f"is {'worse' if lost > 0 else 'better'} by {self.difference(abs(lost))}"

    def limits(self, values: Iterable[float]) -> tuple[float, float]:
        """Ends of an axis of values as drawn: all shares, or what the values span and a little more."""
        if self.is_share:
            return 0.0, 103.0
        found = np.array([value for value in values if np.isfinite(value)])
        low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
        room = 0.06 * max(high - low, 0.1 * abs(high), 1e-12)
        return low - room, high + room

"""What a cost law returns: energy, area, leakage and time of one unit of a component, with bands."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """What one unit of a component costs; a band is (low, high) in factors of the value, between which silicon is expected."""

    energy: float  # [J] of one action
    area: float  # [m²]
    leakage: float = 0.0  # [W] while powered
    time: float = 0.0  # [s] from an action's beginning to its end; 0 where a clock or rate sets it
    energy_band: tuple[float, float] = (1.0, 1.0)  # of energy and leakage
    area_band: tuple[float, float] = (1.0, 1.0)
    # Where a law adds up what constants of its own tell apart, so that a fit may move each: what they are, adding up to the whole.
    energy_parts: Mapping[str, float] = field(default_factory=dict)
    time_parts: Mapping[str, float] = field(default_factory=dict)

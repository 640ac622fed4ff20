"""What a component costs.

A component's cost is stated once: `power` drawn by all `units` of its parent (core, tile or chip) when each
unit works at `rate`, or `energy` per action; energy per action = power / (units x rate).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xbar.hw.quantity import Unit


class Component(BaseModel):
    """`units` identical things in one core, tile or chip, what they cost per action, and their area."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Unit("1"), Field(ge=1)]
    rate: Annotated[float, Unit("1/s"), Field(ge=1, le=1e15)]  # actions per second of one unit at full load; the event clock ticks in fs
    power: Annotated[float | None, Unit("W", banded=True), Field(ge=0)] = None  # all units at full load
    energy: Annotated[float | None, Unit("J", banded=True), Field(ge=0)] = None  # per action
    area: Annotated[float, Unit("m²", banded=True), Field(ge=0)]  # all units
    static_power: Annotated[float, Unit("W", banded=True), Field(ge=0)] = 0.0  # all units, drawn whenever powered
    shared_by: Annotated[int, Unit("1"), Field(ge=1)] = 1  # parents that share these units

    @model_validator(mode="after")
    def _check(self) -> "Component":
        if (self.power is None) == (self.energy is None):
            raise ValueError("exactly one of power (at full rate) and energy (per action) must be given")
        return self

    @property
    def energy_per_action(self) -> float:
        """Energy of one action [J]."""
        if self.energy is not None:
            return self.energy
        assert self.power is not None
        return self.power / (self.units * self.rate)

    @property
    def unit_rate(self) -> float:
        """Actions per second of one unit at full load."""
        return self.rate

    @property
    def peak_power(self) -> float:
        """Power of one parent's share with every unit at its full rate, static included [W]."""
        return (self.energy_per_action * self.units * self.unit_rate + self.static_power) / self.shared_by

    @property
    def parent_area(self) -> float:
        """Area of one parent's share [m²]."""
        return self.area / self.shared_by

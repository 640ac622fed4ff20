"""What a chip file says of a component, and what the component then costs.

A chip file gives a component a `law` (`xbar.hw.cost`), which tells energy, area, leakage and time from its parameters, or
published figures with the configuration that they were published for (`stated_at`), from where the law moves them:
cost = stated x law(as it is) / law(stated_at). How many units there are, their widths, loads and lengths follow from the
chip's structure and are never typed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xbar.hw.quantity import Unit

Count = Annotated[int | None, Unit("1"), Field(ge=1)]
Bits = Annotated[float | None, Unit("bit"), Field(gt=0)]
Rate = Annotated[float | None, Unit("1/s"), Field(gt=0, le=1e15)]


class StatedAt(BaseModel):
    """The configuration that figures were published for, in the parameters of laws.

    units: how many the power and area are of; load: actions per second of one unit at which the power was stated; all else
    are parameters of laws, such as rate, the actions per second that a unit is made for. Where a table tells no activity,
    mean_square or mean_code of array reads, they are taken as 0.5, 1 and 0.5.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Count = None
    load: Rate = None
    rate: Rate = None
    node: Annotated[float | None, Unit("m"), Field(gt=0)] = None
    voltage: Annotated[float | None, Unit("V"), Field(gt=0)] = None
    bits: Count = None
    second_bits: Count = None
    pulses: Annotated[float | None, Unit("1"), Field(gt=0)] = None
    input_bits: Count = None
    phases: Count = None
    slices: Annotated[float | None, Unit("1"), Field(gt=0)] = None
    columns: Count = None
    wordlines: Count = None
    bitlines: Count = None
    cell_bits: Count = None
    rows_at_once: Count = None
    stored: Count = None
    capacitors: Annotated[int | None, Unit("1"), Field(ge=0)] = None
    clocks: Annotated[float | None, Unit("1"), Field(ge=1)] = None
    ports: Count = None
    banks: Count = None
    width: Bits = None
    capacity: Bits = None
    clock: Rate = None
    length: Annotated[float | None, Unit("m"), Field(gt=0)] = None
    read_voltage: Annotated[float | None, Unit("V"), Field(gt=0)] = None
    fed_at: Annotated[float | None, Unit("V"), Field(gt=0)] = None
    read_time: Annotated[float | None, Unit("s"), Field(gt=0)] = None
    conductance: Annotated[float | None, Unit("S"), Field(gt=0)] = None
    on_resistance: Annotated[float | None, Unit("ohm"), Field(gt=0)] = None
    activity: Annotated[float | None, Unit("1"), Field(gt=0, le=1)] = None
    mean_square: Annotated[float | None, Unit("1"), Field(gt=0, le=1)] = None
    mean_code: Annotated[float | None, Unit("1"), Field(gt=0, le=1)] = None

    def given(self) -> dict[str, float]:
        """What is stated, by parameter."""
        return self.model_dump(exclude_none=True)


class Component(BaseModel):
    """What a chip file says of one kind of component. All counts follow from the structure of the chip.

    power: of `stated_at.units` units that each act `stated_at.load` times a second; or energy: of one action. area: of as many
    units. static_power: drawn whenever powered, of as many units, beside a stated power; without it the law's leakage, which
    is then a part of the stated power.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    not_keys: ClassVar[dict[str, str]] = {
        "units": "how many there are follows from the structure",
        "rate": "how fast it is follows from widths, clocks and read times",
    }

    law: str
    power: Annotated[float | None, Unit("W", banded=True), Field(ge=0)] = None
    energy: Annotated[float | None, Unit("J", banded=True), Field(ge=0)] = None
    area: Annotated[float | None, Unit("m²", banded=True), Field(ge=0)] = None
    static_power: Annotated[float | None, Unit("W", banded=True), Field(ge=0)] = None
    stated_at: StatedAt | None = None

    @model_validator(mode="after")
    def _check(self) -> "Component":
        stated = [name for name in ("power", "energy", "area", "static_power") if getattr(self, name) is not None]
        if self.power is not None and self.energy is not None:
            raise ValueError("power (at the rate stated) and energy (per action) exclude each other")
        if bool(stated) != (self.stated_at is not None):
            raise ValueError(
                "stated_at, the configuration that figures were published for, goes with figures (power or energy, area, "
                f"static_power); got {', '.join(stated) or 'no figure'}"
            )
        if self.stated_at is not None and self.stated_at.units is None:
            raise ValueError("stated_at.units is missing: how many units the figures are of")
        if self.power is not None and self.stated_at is not None and self.stated_at.load is None:
            raise ValueError("stated_at.load is missing: how often each unit acted a second where it drew the power")
        return self


class CountedComponent(Component):
    """A component of which a tile (or core, or chip) has as many `units` as its designer put there."""

    not_keys: ClassVar[dict[str, str]] = {}
    units: Annotated[int, Unit("1"), Field(ge=1)] = 1
    rate: Rate = None


@dataclass(frozen=True)
class ComponentCost:
    """What a component of a chip costs, all of it following from the chip.

    units: in one core, tile or chip; shared_by: parents that share them at most. energy_per_action [J]; unit_rate: actions per
    second of which one unit is capable; load: actions per second of all units at the chip's peak (`xbar.hw.chip.costs`);
    area [m²] and static_power [W] of all units. energy_parts, time_parts: what the law says that its energy and time consist of
    (`Cost`), whatever figure is stated.
    """

    units: int
    shared_by: int
    energy_per_action: float
    unit_rate: float
    load: float
    area: float
    static_power: float
    law: str
    stated: bool
    energy_parts: Mapping[str, float] = field(default_factory=dict)
    time_parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def peak_power(self) -> float:
        """Power of one parent's share at the chip's peak, leakage included, where as many share it as can [W]."""
        return (self.energy_per_action * self.load + self.static_power) / self.shared_by

    @property
    def full_power(self) -> float:
        """Power with every unit at the rate that it is capable of, leakage included [W]."""
        return self.energy_per_action * self.units * self.unit_rate + self.static_power

    @property
    def parent_area(self) -> float:
        """Area of one parent's share, where as many share it as can [m²]."""
        return self.area / self.shared_by

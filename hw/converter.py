"""What a component costs, and what DACs and ADCs do to a signal.

A component's cost is stated once: `power` drawn by all `units` of its parent (core, tile or chip) when each
unit works at `rate`, or `energy` per action; energy per action = power / (units x rate).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hw.quantity import Unit


class Component(BaseModel):
    """`units` identical things in one core, tile or chip, what they cost per action, and their area."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units: Annotated[int, Unit("1"), Field(ge=1)]
    rate: Annotated[float, Unit("1/s"), Field(gt=0)]  # actions per second of one unit at full load
    power: Annotated[float | None, Unit("W"), Field(ge=0)] = None  # all units at full load
    energy: Annotated[float | None, Unit("J"), Field(ge=0)] = None  # per action
    area: Annotated[float, Unit("m²"), Field(ge=0)]  # all units
    static_power: Annotated[float, Unit("W"), Field(ge=0)] = 0.0  # all units, drawn whenever powered
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
    def peak_power(self) -> float:
        """Power of one parent's share with every unit at its full rate, static included [W]."""
        dynamic = self.energy_per_action * self.units * self.rate
        return (dynamic + self.static_power) / self.shared_by

    @property
    def parent_area(self) -> float:
        """Area of one parent's share [m²]."""
        return self.area / self.shared_by


class Dac(Component):
    """Wordline drivers: one action drives one wordline with one input slice of `bits` bits, ideally."""

    bits: Annotated[int, Unit("1"), Field(ge=1, le=8)]


@dataclass(frozen=True)
class AdcRange:
    """Codes `low`..`high` and the width of one code, per column group; in level steps of current.

    One level step is the current of one conductance level under the smallest DAC step. Shapes (columns,).
    """

    step: Tensor
    low: Tensor
    high: Tensor

    def convert(self, current: Tensor) -> Tensor:
        """Digitised `current` (..., columns), in level steps: round half to even, clip to the codes.

        Works in place on `current`, which it returns.
        """
        if bool((self.step != 1).any()):
            return current.div_(self.step).round_().clamp_(self.low, self.high).mul_(self.step)
        return current.round_().clamp_(self.low, self.high)

    def saturated_share(self, current: Tensor) -> float:
        """Share of `current` values that fall outside the codes by more than half a step."""
        code = current / self.step
        return ((code < self.low - 0.5) | (code > self.high + 0.5)).double().mean().item()


class Adc(Component):
    """Column converters; one action is one conversion of `bits` bits.

    range: "level" makes one code one level step from zero up (or around zero for a signed current);
    "full_scale" spreads the codes over the largest current that the array can give; "calibrated" over the
    `percentile` of the currents seen on calibration data, per layer and weight slice. A code is never
    finer than one level step: an integer sum has nothing in between.
    """

    bits: Annotated[int, Unit("1"), Field(ge=1, le=24)]
    range: Literal["level", "full_scale", "calibrated"] = "level"
    percentile: Annotated[float, Unit("1"), Field(gt=0.5, le=1)] = 1.0

    def codes(self, signed: bool) -> tuple[int, int]:
        """Lowest and highest code: 0 .. 2^bits - 1, or symmetric around a zero code when signed."""
        half = 2 ** (self.bits - 1)
        return (-half + 1, half - 1) if signed else (0, 2**self.bits - 1)

    def range_for(self, largest: Tensor, signed: bool) -> AdcRange:
        """The range whose codes reach `largest` (columns,) [level steps], or one code a step for "level"."""
        low, high = self.codes(signed)
        step = torch.ones_like(largest)
        if self.range != "level":
            step = (largest / max(high, 1)).clamp(min=1.0)
        return AdcRange(step, torch.full_like(step, low), torch.full_like(step, high))


def lossless_bits(rows: int, dac_bits: int, cell_bits: int) -> int:
    """ADC bits with which a column of `rows` cells loses nothing: ceil(log2(R (2^v - 1)(2^w - 1) + 1)).

    Source: Shafiee et al., ISAAC, ISCA 2016, section on ADC resolution, in the general form with the
    g_min current cancelled before the ADC. 9 bits for 128 rows, 1-bit DAC, 2-bit cells.
    """
    return (rows * (2**dac_bits - 1) * (2**cell_bits - 1)).bit_length()

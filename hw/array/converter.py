"""DACs and ADCs: what they do to a signal; what they cost, `xbar.hw.cost` tells by the laws named here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from xbar.hw.cost.component import Component
from xbar.hw.later import Later
from xbar.hw.quantity import Unit

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Later("torch")


class Dac(Component):
    """Wordline drivers: one action drives one wordline with one input slice of `bits` bits.

    law: "driver" of lines of memristive cells gives a code as a voltage, "pulse_width" the largest voltage for a time in proportion to the
    code; of SRAM cells that compute in charge "pulses", as many as the code says, or "capacitive", a DAC of capacitors
    (`xbar.hw.cost.charge`).
    bow: largest deviation of the voltage (or time) from the straight line between the first and the last code, in steps; a
    parabola in between, 0 at both ends (and so without effect on 1 bit).
    """

    law: Literal["driver", "pulse_width", "pulses", "capacitive"] = "driver"
    bits: Annotated[int, Unit("1"), Field(ge=1, le=12)]
    bow: Annotated[float, Unit("1"), Field(ge=-64, le=64)] = 0.0

    @model_validator(mode="after")
    def _check_monotone(self) -> Dac:
        if self.largest > 1 and abs(self.bow) >= self.largest**2 / (4 * (self.largest - 1)):
            raise ValueError(f"bow = {self.bow} steps is not monotone over the {2**self.bits} codes of {self.bits} bits")
        return self

    @property
    def largest(self) -> int:
        """Highest code: 2^bits - 1."""
        return int(2**self.bits - 1)

    def driven(self, ones: float) -> float:
        """Share of the codes that are not 0, of whose bits a share `ones` are 1, each by itself: 1 - (1 - p)^bits."""
        return 1 - float((1 - ones) ** self.bits)

    def mean_square(self, ones: float) -> float:
        """Mean of (code / largest)² over all codes, 0 among them, of whose bits a share `ones` are 1, each by itself.

        Variance and square of the mean of a sum of bits that weigh 2^i: p (1 - p) (4^bits - 1)/3 + (p (2^bits - 1))².
        """
        return float(ones * (1 - ones) * (4**self.bits - 1) / 3 / self.largest**2 + ones**2)

    def shares(self, ones: float) -> dict[float, float]:
        """How often each code comes, by the code over the largest, of whose bits a share `ones` are 1, each by itself."""
        return {
            code / self.largest: ones ** code.bit_count() * (1 - ones) ** (self.bits - code.bit_count()) for code in range(2**self.bits)
        }

    def voltage(self, code: Tensor) -> Tensor:
        """Voltage of each code, in steps; odd in the code's sign, so a bipolar driver has the same bow both ways."""
        if not self.bow or self.largest < 2:
            return code
        share = code.abs() / self.largest
        return code + self.bow * 4 * share * (1 - share) * code.sign()


@dataclass(frozen=True)
class AdcRange:
    """What an ADC does to a current: codes `low`..`high` (on `center` + whole numbers) of width `step`.

    In level steps of current: one level step is the current of one conductance level under the smallest DAC step.
    step: of any shape; of a crossbar matrix (row_tiles or 1, columns). origin: what code 0 stands for, in steps and in the
    form of `step`; None: no current. An ideal converter neither rounds nor clips.
    """

    step: Tensor
    low: float
    high: float
    center: float = 0.0
    ideal: bool = False
    origin: Tensor | None = None

    def of_tile(self, tile: int | Tensor) -> AdcRange:
        """The range of one row tile, or of the row tile of each look-up: the same, but where code 0 depends on the tile."""
        return self if self.origin is None else replace(self, origin=self.origin[tile % len(self.origin)])

    def convert(self, scaled: Tensor) -> Tensor:
        """What the codes of `scaled` currents stand for (in steps), round half to even and clip. Works in place where no
        gradient is asked for; else gradients pass the rounding and stop where the code is clipped."""
        if self.ideal:
            return scaled
        if self.origin is not None:
            origin = self.origin.to(scaled.dtype)
            return replace(self, origin=None).convert(scaled - origin) + origin
        if scaled.requires_grad and torch.is_grad_enabled():
            from xbar.hw.array.rounding import Rounded

            converted: Tensor = Rounded.apply(scaled, self)
            return converted
        return self.rounded(scaled)

    def rounded(self, scaled: Tensor) -> Tensor:
        """The code of each current, in place, of a range without an origin of its own."""
        if self.center:
            return scaled.sub_(self.center).round_().add_(self.center).clamp_(self.low, self.high)
        return scaled.round_().clamp_(self.low, self.high)

    def distorted(self, scaled: Tensor, offset: Tensor | None, inl: Tensor | None) -> Tensor:
        """`scaled` currents as converters with an offset and an integral non-linearity [steps] see them: a sine over
        the range, 0 at its ends (an ideal converter has no ends, and none); the gradient is that of `scaled`."""
        if offset is not None:
            scaled = scaled + offset
        if inl is not None and not self.ideal:
            share = ((self._above_origin(scaled.detach()) - self.low) / (self.high - self.low)).clamp(0, 1)
            scaled = scaled + inl * torch.sin(torch.pi * share)
        return scaled

    def _above_origin(self, scaled: Tensor) -> Tensor:
        return scaled if self.origin is None else scaled - self.origin.to(scaled.dtype)

    def saturated(self, scaled: Tensor, present: Tensor | None = None) -> int:
        """How many of the currents (in steps) lie outside the codes by more than half a step. present: bool (groups, 1, columns), which
        of the last dimensions (instances x groups, vectors, columns) count; None: all."""
        if self.ideal:
            return 0
        scaled = self._above_origin(scaled)
        if present is not None:  # 0 is a code of every range
            scaled = scaled * present.repeat(scaled.shape[-3] // len(present), 1, 1).to(scaled)
        return count_beyond(scaled, self.low - 0.5, self.high + 0.5)


def count_beyond(values: Tensor, low: float, high: float) -> int:
    """How many finite values lie outside low to high; four times as fast as to compare them with both."""
    values = values.detach()
    return int(torch.count_nonzero(values - values.clamp(low, high)))


SMALLEST = 1e-12  # [level steps] of a range where no current was seen

AdcLaw = Literal["survey", "sar", "flash", "ramp", "integrating", "sense_amplifier"]


Range = Literal["level", "level_fixed", "full_scale", "calibrated", "fixed", "ideal"]


class Adc(Component):
    """Column converters; one action is one conversion of `bits` bits.

    range: "level" makes one code one level step from zero up (or around zero for a signed current) where the codes reach
    the largest current that the array can give; where they do not, it is as "calibrated" with a code no finer than a level.
    "level_fixed" keeps that step whatever the bits, and clips; "full_scale" spreads the codes over the largest current that
    the array can give; "calibrated" over the `percentile` of the currents seen on calibration data; "fixed" up to
    `full_scale` [A]; "ideal" neither rounds nor clips. Calibrated ranges are per weight slice, and per layer or per
    crossbar (`range_per`). With `finest` "level" a code is never finer than one level step, as an integer sum has nothing
    in between.
    lower, lower_percentile: where the codes of a "fixed" range [A] or of a "calibrated" one begin, all 2^bits from there up,
    so that a current with a pedestal, or one of lopsided sign, uses all of them; None: at zero, or around it.
    codes: of a signed current, "symmetric" around a zero code (2^bits - 1 codes), or "all" 2^bits without one.
    current_limit: largest current [A] that a column can give to its converter in one read, either way, after the
    subtraction of pairs and references and whatever `g_min_current` takes away; more is held at it. None: any.
    conversion: after each input slice, or once a vector after an analog accumulation over its slices.
    offset_sigma, gain_sigma, inl_sigma: drawn per ADC and chip instance: offset [steps], relative gain error, and
    largest deviation [steps] of a sine over the range, 0 at its ends (integral non-linearity).
    sensing: what is converted: the "current" of a column held at a virtual ground, or the "voltage" at which a column left floating
    settles, sum(V G) / sum(G) over its driven cells, whose gain follows the column's own load; codes then reach `full_scale_voltage`
    [V], summed over the reads of a conversion, or the range that `range` tells.
    column_calibration: of each column's gain and offset in the digital arithmetic: "nominal" ones follow from the targets of its
    cells; "fitted" ones are a line through its codes against the products that they stand for, chip by chip.
    columns: bitlines that an ADC converts in turn at most, of whole crossbars or of a part of one, which tells how many ADCs a
    core has: one or more for each array, or one for several arrays. rate: conversions per second that each is made for; the
    law "integrating" tells its own pace from bits and inputs, which holds where no rate is given.
    """

    law: AdcLaw = "survey"
    columns: Annotated[int, Unit("1"), Field(ge=1, le=2**20)]
    rate: Annotated[float | None, Unit("1/s"), Field(ge=1, le=1e15)] = None

    bits: Annotated[int, Unit("1"), Field(ge=1, le=24)]
    range: Range = "level"
    range_per: Literal["layer", "crossbar"] = "layer"
    percentile: Annotated[float, Unit("1"), Field(gt=0.5, le=1)] = 1.0
    lower_percentile: Annotated[float | None, Unit("1"), Field(ge=0, lt=0.5)] = None
    full_scale: Annotated[float | None, Unit("A"), Field(gt=-1, lt=1e3)] = None
    lower: Annotated[float | None, Unit("A"), Field(gt=-1, lt=1)] = None
    current_limit: Annotated[float | None, Unit("A"), Field(gt=0)] = None
    finest: Literal["level", "any"] = "level"
    codes: Literal["symmetric", "all"] = "symmetric"
    conversion: Literal["each_slice", "after_accumulation"] = "each_slice"
    sensing: Literal["current", "voltage"] = "current"
    full_scale_voltage: Annotated[float | None, Unit("V"), Field(gt=0, le=1e3)] = None
    column_calibration: Literal["nominal", "fitted"] = "nominal"
    offset_sigma: Annotated[float, Unit("1"), Field(ge=0, le=100)] = 0.0
    gain_sigma: Annotated[float, Unit("1"), Field(ge=0, le=0.5)] = 0.0
    inl_sigma: Annotated[float, Unit("1"), Field(ge=0, le=100)] = 0.0

    @model_validator(mode="after")
    def _check_range(self) -> Adc:
        if self.rate is None and not self.integrates:
            raise ValueError(f"rate is missing: the law {self.law} is made for one; only integrating tells its own")
        voltage = self.sensing == "voltage"
        if self.full_scale_voltage is not None and not (voltage and self.range == "fixed"):
            raise ValueError("full_scale_voltage [V] goes with range = fixed and sensing = voltage")
        if voltage and (self.full_scale is not None or self.current_limit is not None or self.range in ("level", "level_fixed")):
            raise ValueError(
                "sensing = voltage has no current and no levels: range must be fixed (with full_scale_voltage), calibrated, full_scale "
                "or ideal, without full_scale and current_limit"
            )
        if (self.range == "fixed") != ((self.full_scale_voltage if voltage else self.full_scale) is not None):
            raise ValueError(
                "full_scale [A], or full_scale_voltage [V] with sensing = voltage, goes with range = fixed, and range = fixed needs it"
            )
        if voltage and self.finest == "level":
            raise ValueError("sensing = voltage needs finest = any: a settled voltage is no whole number of levels")
        if self.lower is not None and self.full_scale is None:
            raise ValueError(f"lower = {self.lower:g} A goes with range = fixed")
        if self.full_scale is not None and self.full_scale <= (self.lower or 0.0):
            raise ValueError(f"full_scale = {self.full_scale:g} A must be above lower, {self.lower or 0.0:g} A")
        if self.lower_percentile is not None and self.range != "calibrated":
            raise ValueError(f"lower_percentile goes with range = calibrated, got {self.range}")
        if self.begins_anywhere and self.codes == "all":
            raise ValueError("codes = all says where codes lie around zero; from a lower end up all are used anyway")
        return self

    @property
    def integrates(self) -> bool:
        """True where a converter is at work while its columns are read, and converts them after that."""
        return self.law == "integrating"

    @property
    def has_errors(self) -> bool:
        """True where units differ: offset, gain or integral non-linearity are drawn."""
        return bool(self.offset_sigma or self.gain_sigma or self.inl_sigma)

    @property
    def begins_anywhere(self) -> bool:
        """True where codes begin at a current of their own, not at zero or around it."""
        return self.lower is not None or self.lower_percentile is not None

    def code_range(self, signed: bool) -> tuple[float, float, float]:
        """Lowest and highest code, and where between whole numbers codes lie: 0 .. 2^bits - 1 for a current from 0
        up; for a signed one symmetric around a zero code, or all 2^bits at half-whole places."""
        half = 2 ** (self.bits - 1)
        if not signed or self.begins_anywhere:
            return 0, 2**self.bits - 1, 0.0
        return (1 - half, half - 1, 0.0) if self.codes == "symmetric" else (0.5 - half, half - 0.5, 0.5)

    def range_for(self, largest: Tensor, signed: bool, lowest: Tensor | None = None) -> AdcRange:
        """The range whose codes reach `largest` (any shape) [level steps], of a range that begins anywhere from `lowest`
        on; one code a level step for "level_fixed"."""
        low, high, center = self.code_range(signed)
        if self.range in ("level_fixed", "ideal"):
            return AdcRange(torch.ones_like(largest), low, high, center, self.range == "ideal")
        finest_is_level = self.finest == "level" or self.range == "level"
        if lowest is not None and finest_is_level:
            lowest = lowest.floor()  # codes on whole levels, where a code is one level
        step = (largest if lowest is None else largest - lowest) / (high if high > 0 else 1)
        step = step.clamp(min=1.0 if finest_is_level else SMALLEST)
        return AdcRange(step, low, high, center, origin=None if lowest is None else lowest / step)


def lossless_bits(rows: int, dac_bits: int, cell_bits: int) -> int:
    """ADC bits with which a column of `rows` cells loses nothing: ceil(log2(R (2^v - 1)(2^w - 1) + 1)).

    Source: Shafiee et al., ISAAC, ISCA 2016, section on ADC resolution, in the general form with the
    g_min current cancelled before the ADC. 9 bits for 128 rows, 1-bit DAC, 2-bit cells.
    """
    return (rows * (2**dac_bits - 1) * (2**cell_bits - 1)).bit_length()

"""The memristive cell: range, levels, writing, drift, telegraph noise, read noise, temperature. SI units.

Per cell, independent between cells. Three kinds of randomness, told apart by when they are drawn:

- at a write (cycle to cycle): the programming error, Gaussian or log-normal, with write-verify if asked for, and what a cell relaxes
  by once it is accepted;
- once per chip instance: the device-to-device factor, stuck cells, drift exponents, telegraph cells;
- at a read: read noise, Gaussian (`read_variance` gives its variance), and the state of telegraph cells.

Sources of the laws: programming error independent of or proportional to G as in T. P. Xiao et al., "On the accuracy
of analog neural network inference accelerators", IEEE Circuits and Systems Magazine 22(4), 2022; polynomial, drift
and 1/f law as in S. R. Nandakumar et al., ICECS 2019, pp. 727-730, as the package aihwkit 1.1.0 states them (the
paper itself was not opened). Numbers of actual technologies: presets/devices.

Not modelled: how a pulse's amplitude and polarity change G (writes aim at a target), relaxation whose spread grows
with time apart from G(t) = G t^-nu, disturbance by reads or by neighbours' writes, wear (`endurance` is only compared with).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xbar.hw.cells.programmed import Programmed
from xbar.hw.cells.table import TABLE_EDGE, check_table, find_table, interpolate, read_table
from xbar.hw.checks import check
from xbar.hw.errors import ParameterError
from xbar.hw.later import Later
from xbar.hw.quantity import Unit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from xbar.hw.cells.law import Linear, Polynomial, Sinh
else:
    torch = Later("torch")

ProgrammingModel = Literal["independent", "proportional", "lognormal", "polynomial", "table"]
ReadNoiseModel = Literal["proportional", "independent", "flicker"]
CurrentLaw = Literal["linear", "sinh", "polynomial"]

BOLTZMANN = 1.380649e-23  # [J/K], exact: BIPM, The International System of Units (SI), 9th edition, 2019
SMALLEST_G = 1e-7  # of g_max: ln g and 1/g^q stop here (aihwkit 1.1.0, inference/noise/pcm.py)


class Device(BaseModel):
    """A cell technology; the conductances of an actual array live with the array, never here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: Annotated[int, Unit("1"), Field(ge=2, le=65536)]
    g_min: Annotated[float, Unit("S", banded=True), Field(ge=0, lt=1)]
    g_max: Annotated[float, Unit("S", banded=True), Field(gt=0, lt=1)]

    # ---- writing: a fresh draw at every pulse
    programming_model: ProgrammingModel = "proportional"
    programming_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    programming_s0: Annotated[float, Unit("S"), Field(gt=-1, lt=1)] = 0.0  # polynomial: sigma = s0 + s1 g
    programming_s1: Annotated[float, Unit("S"), Field(gt=-1, lt=1)] = 0.0  # + s2 g² + s3 g³, g = G / g_max
    programming_s2: Annotated[float, Unit("S"), Field(gt=-1, lt=1)] = 0.0
    programming_s3: Annotated[float, Unit("S"), Field(gt=-1, lt=1)] = 0.0
    programming_table: tuple[tuple[float, float], ...] | None = None  # (target, sigma) [S]; a CSV file's name is read
    limit_to_range: bool = False
    write_verify_tolerance: Annotated[float | None, Unit("1"), Field(gt=0, le=1)] = None  # of g_max - g_min
    write_verify_most: Annotated[int | None, Unit("1"), Field(ge=1, le=10_000)] = None  # pulses per cell
    write_verify_floor: Annotated[float | None, Unit("S"), Field(gt=0, lt=1)] = None  # targets below accept any read below
    # What a cell moves by, for good, soon after its last write, Gaussian: of the same spread for all, or by what it holds.
    relaxation_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0  # of g_max - g_min
    relaxation_table: tuple[tuple[float, float], ...] | None = None  # (conductance, sigma) [S]; a CSV file's name is read
    write_energy: Annotated[float | None, Unit("J", banded=True), Field(ge=0, lt=1)] = None  # per pulse
    write_time: Annotated[float | None, Unit("s"), Field(gt=0)] = None  # per pulse
    endurance: Annotated[float | None, Unit("1"), Field(gt=0)] = None  # write cycles

    # ---- fixed for a chip instance
    device_to_device_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    stuck_on_rate: Annotated[float, Unit("1"), Field(ge=0, le=1)] = 0.0
    stuck_off_rate: Annotated[float, Unit("1"), Field(ge=0, le=1)] = 0.0

    # ---- drift: nu = |N(mean, sigma)|, each slope ln g + constant within [low, high]
    reference_time: Annotated[float | None, Unit("s"), Field(gt=0)] = None  # t0 of drift and of 1/f noise
    drift_exponent: Annotated[float, Unit("1"), Field(ge=-2, le=2)] = 0.0
    drift_exponent_slope: Annotated[float, Unit("1"), Field(ge=-2, le=2)] = 0.0
    drift_exponent_low: Annotated[float | None, Unit("1"), Field(ge=0, le=2)] = None
    drift_exponent_high: Annotated[float | None, Unit("1"), Field(ge=0, le=2)] = None
    drift_exponent_sigma: Annotated[float, Unit("1"), Field(ge=-2, le=2)] = 0.0
    drift_exponent_sigma_slope: Annotated[float, Unit("1"), Field(ge=-2, le=2)] = 0.0
    drift_exponent_sigma_low: Annotated[float | None, Unit("1"), Field(ge=0, le=2)] = None
    drift_exponent_sigma_high: Annotated[float | None, Unit("1"), Field(ge=0, le=2)] = None

    # ---- random telegraph noise: two states per cell, each left after telegraph_dwell_time on average
    telegraph_share: Annotated[float, Unit("1"), Field(ge=0, le=1)] = 0.0
    telegraph_amplitude: Annotated[float, Unit("1"), Field(gt=-1, le=10)] = 0.0  # the high state has G (1 + this)
    telegraph_dwell_time: Annotated[float | None, Unit("s"), Field(gt=0)] = None

    # ---- reading
    read_voltage: Annotated[float | None, Unit("V", banded=True), Field(gt=0)] = None
    read_noise_model: ReadNoiseModel = "proportional"
    read_noise_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    read_noise_q0: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0  # flicker: Q = min(q0 / g^q1, q_max)
    read_noise_q1: Annotated[float, Unit("1"), Field(ge=0, le=10)] = 0.0
    read_noise_q_max: Annotated[float | None, Unit("1"), Field(gt=0, le=2)] = None
    read_noise_time: Annotated[float | None, Unit("s"), Field(gt=0)] = None  # flicker: t_r
    # For how long one draw of the read noise holds; 0: independent from read to read. Used by the crossbar product.
    read_correlation_time: Annotated[float, Unit("s"), Field(ge=0)] = 0.0
    # How often the noise is drawn: "each_read", or once for all reads (input slices) of a vector, as noise that is slow
    # against a vector is.
    read_noise_drawn: Literal["each_read", "each_vector"] = "each_read"
    # Where noise would take a cell below 0 S, it is at 0 S: mean and variance are those of the Gaussian held there.
    read_noise_above_zero: bool = True
    read_bandwidth: Annotated[float | None, Unit("1/s"), Field(gt=0)] = None  # of the current's thermal noise
    temperature: Annotated[float | None, Unit("K"), Field(gt=0, le=2000)] = None
    activation_energy: Annotated[float | None, Unit("J"), Field(ge=-1e-18, le=1e-18)] = None
    reference_temperature: Annotated[float | None, Unit("K"), Field(gt=0, le=2000)] = None  # where g_min, g_max hold

    # ---- current against voltage, in units of G V: see hw/cells/law.py
    iv: CurrentLaw = "linear"
    iv_v0: Annotated[float | None, Unit("V"), Field(gt=0)] = None
    iv_c2: Annotated[float, Unit("1/V")] = 0.0
    iv_c3: Annotated[float, Unit("1/V²")] = 0.0

    @field_validator("programming_table", "relaxation_table", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return read_table(find_table(given)) if isinstance(given, (str, Path)) else given

    @model_validator(mode="after")
    def _check(self) -> Device:
        if not self.g_min < self.g_max:
            raise ValueError(f"g_min = {self.g_min:g} S must be below g_max = {self.g_max:g} S")
        if self.levels & (self.levels - 1):
            raise ValueError(f"levels = {self.levels} must be a power of two, for whole bits per cell")
        if self.stuck_on_rate + self.stuck_off_rate > 1:
            raise ValueError("stuck_on_rate + stuck_off_rate must be at most 1")
        for wrong, message in (*self._wrong_writing(), *self._wrong_in_time(), *self._wrong_reading()):
            if wrong:
                raise ValueError(message)
        if self.programming_table is not None:
            check_table(self.programming_table, "programming_table")
        if self.relaxation_table is not None:
            check_table(self.relaxation_table, "relaxation_table")
        return self

    def _wrong_writing(self) -> list[tuple[bool, str]]:
        model, table = self.programming_model, self.programming_table
        fitted = any((self.programming_s0, self.programming_s1, self.programming_s2, self.programming_s3))
        covers = not table or (
            table[0][0] <= self.g_min * (1 + TABLE_EDGE) and table[-1][0] >= self.g_max * (1 - TABLE_EDGE)
        )
        return [
            (model in ("polynomial", "table") and self.programming_sigma > 0,
             f"programming_sigma = {self.programming_sigma:g} has no meaning for programming_model {model}; leave it out"),
            (fitted and model != "polynomial", f"programming_s0 to s3 need programming_model polynomial, got {model}"),
            ((table is None) == (model == "table"),
             f"programming_table and programming_model table need each other, got programming_model {model}"),
            (not covers, "programming_table must reach from g_min to g_max"),
            ((self.write_verify_tolerance is None) != (self.write_verify_most is None),
             "write_verify_tolerance and write_verify_most need each other"),
            (self.write_verify_floor is not None and self.write_verify_tolerance is None,
             "write_verify_floor needs write_verify_tolerance and write_verify_most"),
            (self.write_verify_floor is not None and not self.g_min <= self.write_verify_floor <= (self.g_min + self.g_max) / 2,
             f"write_verify_floor = {self.write_verify_floor or 0:g} S must be at least g_min and in the lower half of the range: targets "
             "below it accept any read below it"),
            (self.relaxation_table is not None and self.relaxation_sigma > 0,
             f"relaxation_sigma = {self.relaxation_sigma:g} and relaxation_table both say how far cells relax; give one"),
        ]  # fmt: skip

    def _wrong_in_time(self) -> list[tuple[bool, str]]:
        found = [
            (self.drifts and self.reference_time is None, "drift_exponent needs reference_time, the time t0 of its law"),
            (self.telegraph_share > 0 and (not self.telegraph_amplitude or self.telegraph_dwell_time is None),
             "telegraph_share needs telegraph_amplitude and telegraph_dwell_time"),
        ]  # fmt: skip
        for name in ("drift_exponent", "drift_exponent_sigma"):
            slope, low, high = (getattr(self, f"{name}_{part}") for part in ("slope", "low", "high"))
            unlimited = bool(slope) and (low is None or high is None)
            crossed = low is not None and high is not None and low > high
            found.append((unlimited, f"{name}_slope needs {name}_low and {name}_high: ln g has no limit at 0 S"))
            found.append((crossed, f"{name}_low = {low} must be at most {name}_high = {high}"))
            found.append((not slope and getattr(self, name) < 0, f"{name} below 0 needs {name}_slope"))
        return found

    def _wrong_reading(self) -> list[tuple[bool, str]]:
        flicker = (self.read_noise_q0, self.read_noise_q_max, self.read_noise_time, self.reference_time)
        early = self.read_noise_time and self.reference_time and self.read_noise_time >= self.reference_time
        return [
            (self.read_noise_model == "flicker" and not all(flicker),
             "read_noise_model flicker needs read_noise_q0, read_noise_q_max, read_noise_time and reference_time"),
            (self.read_noise_model == "flicker" and self.read_noise_sigma > 0,
             f"read_noise_sigma = {self.read_noise_sigma:g} has no meaning for read_noise_model flicker; leave it out"),
            (self.read_noise_q0 > 0 and self.read_noise_model != "flicker",
             f"read_noise_q0 needs read_noise_model flicker, got {self.read_noise_model}"),
            (bool(early), "read_noise_time must be below reference_time"),
            (self.read_noise_drawn == "each_vector" and self.read_correlation_time > 0,
             "read_noise_drawn = each_vector and read_correlation_time both say how long a draw lasts; give one"),
            (self.read_noise_drawn == "each_vector" and not (self.read_noise_sigma or self.read_noise_q0),
             "read_noise_drawn = each_vector needs read noise of the cells (read_noise_sigma or read_noise_q0)"),
            (self.read_bandwidth is not None and (self.temperature is None or self.read_voltage is None),
             "read_bandwidth needs temperature and read_voltage, for thermal noise"),
            (self.activation_energy is not None and (self.temperature is None or self.reference_temperature is None),
             "activation_energy needs temperature and reference_temperature"),
            (self.iv == "sinh" and self.iv_v0 is None, "iv sinh needs iv_v0"),
            (self.iv != "sinh" and self.iv_v0 is not None, f"iv_v0 needs iv sinh, got {self.iv}"),
            (self.iv != "polynomial" and bool(self.iv_c2 or self.iv_c3), f"iv_c2, iv_c3 need iv polynomial, got {self.iv}"),
        ]  # fmt: skip

    # ---- what the device has

    @property
    def bits(self) -> int:
        """Bits that one cell stores: log2(levels)."""
        return self.levels.bit_length() - 1

    @property
    def is_ideal(self) -> bool:
        """True where every read, at any time, returns exactly the target, and current is linear in voltage."""
        fixed = self.device_to_device_sigma or self.stuck_on_rate or self.stuck_off_rate or self.telegraph_share
        heated = self.activation_energy and self.temperature != self.reference_temperature
        changed = self._errs_in_writing or self.relaxes or fixed or heated or self.iv != "linear"
        return not (changed or self.has_read_noise or self.drifts)

    @property
    def draws(self) -> bool:
        """True where chips of it differ from each other, or reads from reads."""
        spread = (self.drift_exponent_sigma, self.drift_exponent_sigma_slope, self.drift_exponent_sigma_low)
        fixed = self.device_to_device_sigma or self.stuck_on_rate or self.stuck_off_rate or self.telegraph_share
        return bool(self._errs_in_writing or self.relaxes or fixed or self.has_read_noise or any(spread))

    @property
    def has_read_noise(self) -> bool:
        """True where `read_variance` is above 0 from the device's own fields (see there for `bandwidth`)."""
        return bool(self.read_noise_sigma or self.read_noise_q0 or self.read_bandwidth)

    @property
    def has_telegraph_noise(self) -> bool:
        """True where some cells switch between two conductances."""
        return self.telegraph_share > 0

    @property
    def drifts(self) -> bool:
        """True where conductance falls with time."""
        law = (self.drift_exponent, self.drift_exponent_slope, self.drift_exponent_low)
        spread = (self.drift_exponent_sigma, self.drift_exponent_sigma_slope, self.drift_exponent_sigma_low)
        return any(law) or any(spread)

    @property
    def relaxes(self) -> bool:
        """True where cells move after their last write."""
        return bool(self.relaxation_sigma) or any(sigma for _, sigma in self.relaxation_table or ())

    @property
    def _errs_in_writing(self) -> bool:
        if self.programming_model == "polynomial":
            return any((self.programming_s0, self.programming_s1, self.programming_s2, self.programming_s3))
        if self.programming_model == "table":
            return any(sigma for _, sigma in self.programming_table or ())
        return self.programming_sigma > 0

    @property
    def law(self) -> Linear | Sinh | Polynomial:
        """The current-voltage law by its name in `iv`, an object of hw/cells/law.py."""
        from xbar.hw.cells.law import Linear, Polynomial, Sinh

        if self.iv == "sinh" and self.iv_v0 is not None:
            return Sinh(self.iv_v0)
        return Polynomial(self.iv_c2, self.iv_c3) if self.iv == "polynomial" else Linear()

    def conducts(self, share: float = 1.0) -> float:
        """Current [1] at that share of the read voltage, over G times the read voltage: the share itself of linear cells at their
        reference temperature. Raises ParameterError where cells are not linear and there is no read voltage."""
        if self.iv == "linear":
            return share * self.temperature_factor
        if self.read_voltage is None:
            raise ParameterError(f"device.read_voltage is not given: what cells of iv = {self.iv} conduct needs it")
        one = torch.tensor(1.0, dtype=torch.float64)
        current = float(self.law.current(share * self.read_voltage * one, one))
        return current / self.read_voltage * self.temperature_factor

    def with_programming_sigma(self, sigma: float) -> Device:
        """A copy whose writes err by `sigma` [1] alone: in the device's own model where that takes a sigma, else
        (polynomial, table) as a share of the range, the same at every target. Each is one pulse, neither verified nor followed by a
        relaxation; what is fixed for a chip instance, the limit to the range, and all that is not of writes stays."""
        plain = dict.fromkeys(("programming_s0", "programming_s1", "programming_s2", "programming_s3"), 0.0)
        once = dict.fromkeys(("write_verify_tolerance", "write_verify_most", "write_verify_floor", "relaxation_table"))
        changes: dict[str, Any] = plain | once | {"programming_table": None, "programming_sigma": sigma, "relaxation_sigma": 0.0}
        if self.programming_model in ("polynomial", "table"):
            changes["programming_model"] = "independent"
        return Device.model_validate(self.model_dump() | changes)

    # ---- levels

    def conductance(self, level: Tensor, bits: int) -> Tensor:
        """Target conductance [S] of integer `level` (any shape) when 2^bits levels span the range.

        G = g_min + (g_max - g_min) level / (2^bits - 1), equally spaced levels.
        """
        return self.g_min + self.level_step(bits) * level

    def level_step(self, bits: int) -> float:
        """Conductance between neighbouring levels [S] when 2^bits levels span the range."""
        return (self.g_max - self.g_min) / (2**bits - 1)

    # ---- writing

    def program(
        self, target: Tensor, generator: torch.Generator,
        instance_generator: torch.Generator | None = None, stuck: Tensor | None = None,
    ) -> Programmed:  # fmt: skip
        """Cells after programming `target` [S] (any shape, floating): one pulse each, or write-verify.

        generator: the draws of every write. instance_generator: what is fixed for a chip instance, in the order
        device-to-device factor, stuck cells, drift exponents, telegraph cells; seed it alike to write the same cells
        again. None: from `generator`, after the first pulse's draws. stuck: int8 of the targets' shape instead of the
        rates, +1 at g_max, -1 at g_min, 0 works.

        A draw is N(target, sigma) or log-normal (see `write_sigma`), times the device's factor; it is truncated at
        0 S, and with limit_to_range set to the nearer end of the range. The upper end is not cut otherwise, because
        a measured write can overshoot the nominal range.

        Write-verify: the cell is read without noise; it is accepted where |G - target| <= tolerance x (g_max -
        g_min), else drawn afresh, up to write_verify_most pulses, and keeps the last draw whether accepted or not. A
        stuck cell is pulsed like any other.

        What is accepted relaxes: a Gaussian of `relaxation_sigma` x (g_max - g_min), or of the spread that `relaxation_table` has for
        what the cell holds (its end's beyond it), truncated at 0 S. Stuck cells do not.

        Gradients flow to `target` through what is not truncated, clipped or stuck. Raises ParameterError.
        """
        _check_cells("target", target)
        fixed = generator if instance_generator is None else instance_generator
        written = self._pulse(target, generator)
        factor = self._factor(target, fixed)
        written = written * factor if factor is not None else written
        stuck = self._stuck(target, fixed, stuck)
        pulses, wrong = target.numel(), None
        for count in range(1, (self.write_verify_most or 0) + 1):
            wrong = self._outside_tolerance(self._landed(written, stuck), target)
            missing = int(wrong.sum())
            if not missing or count == self.write_verify_most:
                break
            again = self._pulse(target[wrong], generator)
            again = again * factor[wrong] if factor is not None else again
            written = written.masked_scatter(wrong, again)
            pulses += missing
        below, outside = _share(written < 0), _share((written < self.g_min) | (written > self.g_max))  # of draws, before they relax
        if self.relaxes:
            held = self._landed(written, None)
            written = held + self._relaxation(held.detach()) * _normal(held, generator)
        return Programmed(
            target=target,
            conductance=self._landed(written, stuck),
            drift_exponent=self._drift_exponents(target, stuck, fixed) if self.drifts else None,
            telegraph=self._telegraph(target, stuck, fixed) if self.has_telegraph_noise else None,
            stuck=stuck,
            truncated_share=below,
            clipped_share=outside if self.limit_to_range else 0.0,
            stuck_share=_share(stuck != 0) if stuck is not None else 0.0,
            pulses=float(pulses),
            unconverged_share=_share(wrong) if wrong is not None else 0.0,
        )

    def write_sigma(self, target: Tensor) -> Tensor:
        """Standard deviation [S] of one write to `target` [S] (any shape), before truncation at 0 S.

        independent: sigma (g_max - g_min); proportional: sigma G; lognormal: G sqrt(exp(sigma²) - 1), for
        G exp(sigma N - sigma²/2), whose mean is G; polynomial: s0 + s1 g + s2 g² + s3 g³ with g = G / g_max, never
        below 0; table: linear between its points, ParameterError outside.
        """
        sigma = self.programming_sigma
        if self.programming_model == "independent":
            return torch.full_like(target, sigma * (self.g_max - self.g_min))
        if self.programming_model == "polynomial":
            g = target / self.g_max
            cubic = self.programming_s2 + self.programming_s3 * g
            return (self.programming_s0 + (self.programming_s1 + cubic * g) * g).clamp(min=0)
        if self.programming_model == "table":
            return interpolate(self.programming_table or (), target)
        return target * (sigma if self.programming_model == "proportional" else math.sqrt(math.expm1(sigma**2)))

    def _pulse(self, target: Tensor, generator: torch.Generator) -> Tensor:
        """One draw per cell around the target [S], before the device's factor and truncation."""
        if not self._errs_in_writing:
            return target
        normal = _normal(target, generator)
        sigma = self.programming_sigma
        if self.programming_model == "proportional":
            return target * (1 + sigma * normal)
        if self.programming_model == "lognormal":
            return target * torch.exp(sigma * normal - sigma**2 / 2)
        return target + self.write_sigma(target) * normal

    def _factor(self, target: Tensor, generator: torch.Generator) -> Tensor | None:
        sigma = self.device_to_device_sigma
        return 1 + sigma * _normal(target, generator) if sigma else None

    def _stuck(self, target: Tensor, generator: torch.Generator, given: Tensor | None) -> Tensor | None:
        """int8 map of stuck cells: as given, or drawn at the rates; None where none can be."""
        if given is not None:
            if given.shape != target.shape or not bool(((given == 0) | (given.abs() == 1)).all()):
                raise ParameterError(
                    f"stuck must be -1, 0 or +1 in the targets' shape {tuple(target.shape)}, got {tuple(given.shape)} "
                    f"with values {given.unique()[:5].tolist()}"
                )
            return given.to(device=target.device, dtype=torch.int8)
        if not (self.stuck_on_rate or self.stuck_off_rate):
            return None
        uniform = torch.rand(target.shape, generator=generator, dtype=torch.float64, device=target.device)
        return (uniform < self.stuck_on_rate).to(torch.int8) - (uniform >= 1 - self.stuck_off_rate).to(torch.int8)

    def _landed(self, written: Tensor, stuck: Tensor | None) -> Tensor:
        """What the cells hold [S] after a draw."""
        held = written.clamp(self.g_min, self.g_max) if self.limit_to_range else written.clamp(min=0)
        if stuck is not None:
            held = torch.where(stuck > 0, self.g_max, torch.where(stuck < 0, self.g_min, held))
        return held

    def _outside_tolerance(self, held: Tensor, target: Tensor) -> Tensor:
        tolerance = (self.write_verify_tolerance or 0.0) * (self.g_max - self.g_min)
        wrong = (held - target).detach().abs() > tolerance
        if self.write_verify_floor is None:
            return wrong
        return torch.where(target.detach() < self.write_verify_floor, held.detach() >= self.write_verify_floor, wrong)

    def _relaxation(self, held: Tensor) -> Tensor:
        """Spread [S] of what cells that hold `held` [S] move by."""
        if self.relaxation_table is None:
            return torch.full_like(held, self.relaxation_sigma * (self.g_max - self.g_min))
        return interpolate(self.relaxation_table, held.clamp(self.relaxation_table[0][0], self.relaxation_table[-1][0]))

    # ---- time

    def conductance_at(self, programmed: Programmed, time: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Conductance [S] at `time` [s] after programming, as a read without noise finds it; cells that were written at different
        times have each its own, a tensor that broadcasts with them, and no generator.

        G(t) = G ((time + t0) / t0)^-nu with t0 = reference_time, so that time 0 gives what was programmed. A
        telegraph cell in its high state has G (1 + telegraph_amplitude); with `generator` the states are drawn given
        those in `programmed`, `time` earlier, without it they are held (see `telegraph_after`). The Arrhenius factor
        exp(-Ea/k (1/T - 1/T0)) applies to every cell at every time. Raises ParameterError for a time below 0.
        """
        held = programmed.conductance
        _check_time(time)
        if programmed.drift_exponent is not None and not (isinstance(time, float | int) and time == 0):
            held = held * self._elapsed(time) ** -programmed.drift_exponent
        if programmed.telegraph is not None:
            state = programmed.telegraph
            if generator is not None:
                state = self.telegraph_after(state, float(time), generator)
            held = held * (1 + self.telegraph_amplitude * (state > 0))
        return held * self.temperature_factor if self.temperature_factor != 1 else held

    def drift_law(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sigma [1] of the normal distribution whose magnitude is nu, for `target` [S] (any shape)."""
        log_g = (target / self.g_max).clamp(min=SMALLEST_G).log()
        return self._drift_part("drift_exponent", log_g), self._drift_part("drift_exponent_sigma", log_g)

    def _drift_part(self, name: str, log_g: Tensor) -> Tensor:
        slope, low, high = (getattr(self, f"{name}_{part}") for part in ("slope", "low", "high"))
        value = slope * log_g + getattr(self, name)
        return value if low is None and high is None else value.clamp(low, high)

    def _drift_exponents(self, target: Tensor, stuck: Tensor | None, generator: torch.Generator) -> Tensor:
        mean, sigma = self.drift_law(target)
        exponent = (mean + sigma * _normal(target, generator)).abs()
        return exponent if stuck is None else torch.where(stuck == 0, exponent, 0.0)

    def _elapsed(self, time: float | Tensor) -> float | Tensor:
        """(time + t0) / t0."""
        if self.reference_time is None:
            raise ParameterError("device.reference_time is needed for conductance at a later time, got None")
        return (time + self.reference_time) / self.reference_time

    def _telegraph(self, target: Tensor, stuck: Tensor | None, generator: torch.Generator) -> Tensor:
        """int8 states at programming: of the cells that switch, half are in either state."""
        uniform = torch.rand(target.shape, generator=generator, dtype=torch.float64, device=target.device)
        high = (uniform < self.telegraph_share / 2).to(torch.int8)
        state = 2 * high - (uniform < self.telegraph_share).to(torch.int8)
        return state if stuck is None else torch.where(stuck == 0, state, 0)

    def telegraph_after(self, state: Tensor, elapsed: float, generator: torch.Generator) -> Tensor:
        """Telegraph states (int8, +1 high, -1 low, 0 none) `elapsed` [s] after `state`, of the same shape, drawn where the generator is.

        Symmetric two-state process: a state persists with probability (1 + exp(-2 elapsed / dwell time)) / 2. For a
        chain of reads, feed each result to the next. Raises ParameterError for a time below 0.
        """
        _check_time(elapsed)
        if self.telegraph_dwell_time is None:
            raise ParameterError("device.telegraph_dwell_time is needed for telegraph noise, got None")
        uniform = torch.rand(state.shape, generator=generator, dtype=torch.float64, device=generator.device).to(state.device)
        switches = uniform < -math.expm1(-2 * elapsed / self.telegraph_dwell_time) / 2
        return torch.where(switches, -state, state)

    @property
    def temperature_factor(self) -> float:
        """Arrhenius factor exp(-Ea/k (1/T - 1/T0)) of conductance [1]; 1 without activation_energy."""
        if self.activation_energy is None or self.temperature is None or self.reference_temperature is None:
            return 1.0
        inverse = 1 / self.temperature - 1 / self.reference_temperature
        return math.exp(-self.activation_energy / BOLTZMANN * inverse)

    # ---- reading

    def read_variance(
        self, conductance: Tensor, target: Tensor | None = None, time: float = 0.0, bandwidth: float | None = None
    ) -> Tensor:
        """Variance of one read [S²], Gaussian and independent between cells, of cells that hold `conductance` [S].

        proportional: (sigma G)²; independent: (sigma (g_max - g_min))²; flicker: (G Q)² ln((t + t_r) / (2 t_r)) with
        t = reference_time + time and Q = min(q0 / g^q1, q_max), g = `target` / g_max. target [S]: what was aimed at,
        or Programmed.conductance, which the PCM fit takes; None: `conductance`.
        Thermal noise 4 k T G bandwidth / V² is added where temperature and read_voltage are given; bandwidth [1/s]:
        of the read, None: read_bandwidth. Raises ParameterError.
        """
        _check_time(time)
        if self.read_noise_model == "independent":
            variance = torch.full_like(conductance, (self.read_noise_sigma * (self.g_max - self.g_min)) ** 2)
        elif self.read_noise_model == "proportional":
            variance = (self.read_noise_sigma * conductance) ** 2
        else:
            variance = (conductance * self._flicker(conductance if target is None else target, time)) ** 2
        width = self.read_bandwidth if bandwidth is None else bandwidth
        if width is None or self.temperature is None:
            return variance
        if self.read_voltage is None or not 0 <= width < math.inf:
            raise ParameterError(
                f"thermal noise needs device.read_voltage above 0 V and a finite bandwidth of at least 0 /s, got "
                f"{self.read_voltage} and {width}"
            )
        return variance + 4 * BOLTZMANN * self.temperature * width / self.read_voltage**2 * conductance

    def read_moments(self, conductance: Tensor, target: Tensor | None = None, time: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean [S] and variance [S²] of a read without thermal noise of cells that hold `conductance` [S]; parameters as of
        `read_variance`. Where `read_noise_above_zero`, those of max(0, G + sigma N), the rectified Gaussian, with z = G / sigma:
        mean G Phi(z) + sigma phi(z), second moment (G² + sigma²) Phi(z) + G sigma phi(z) (by integration); else G and
        sigma²."""
        variance = self.read_variance(conductance, target, time, bandwidth=0.0)
        if not self.read_noise_above_zero:
            return conductance, variance
        sigma = variance.sqrt()
        z = torch.where(sigma > 0, conductance / sigma.clamp(min=torch.finfo(sigma.dtype).tiny), math.inf)
        below, density = 0.5 * torch.special.erfc(z / math.sqrt(2)), torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        mean = conductance + sigma * density - conductance * below
        # in terms of what is cut off, so that nothing is lost where next to nothing is
        gained = mean - conductance
        cut = variance * (1 - below) + conductance * sigma * density - conductance**2 * below
        return mean, (cut - 2 * conductance * gained - gained**2).clamp(min=0)

    def _flicker(self, programmed: Tensor, time: float) -> Tensor:
        """Relative standard deviation [1] of 1/f noise gathered since programming."""
        if self.read_noise_time is None or self.read_noise_q_max is None or self.reference_time is None:
            raise ParameterError("read_noise_model flicker lacks read_noise_time, read_noise_q_max or reference_time")
        g = (programmed / self.g_max).clamp(min=SMALLEST_G)
        q = (self.read_noise_q0 / g**self.read_noise_q1).clamp(max=self.read_noise_q_max)
        after = self.reference_time + time + self.read_noise_time
        return q * math.sqrt(math.log(after / (2 * self.read_noise_time)))


def ideal_of(device: Device) -> Device:
    """The same cells without any error, noise, drift or stuck cell."""
    return Device(
        levels=device.levels, g_min=device.g_min, g_max=device.g_max, read_voltage=device.read_voltage, iv=device.iv,
        iv_v0=device.iv_v0, iv_c2=device.iv_c2, iv_c3=device.iv_c3,
    )  # fmt: skip


# ---- helpers


def _share(cells: Tensor) -> float | Tensor:
    """Share of cells that are so [1]; a 0-dimensional tensor on an accelerator, which need not be waited for."""
    share = cells.double().mean() if cells.numel() else cells.new_zeros((), dtype=torch.float64)
    return share.item() if share.device.type == "cpu" else share


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _check_cells(name: str, values: Tensor) -> None:
    if not values.is_floating_point():
        raise ParameterError(f"{name} must be floating-point conductances in S, got {values.dtype}")

    def judge(seen: Sequence[float]) -> None:
        if not seen[0]:
            raise ParameterError(f"{name} must be finite conductances in S, got NaN or infinity")

    check(torch.isfinite(values).all().view(1), judge)


def _check_time(time: float | Tensor) -> None:
    least, most = (time, time) if isinstance(time, float | int) else (time.min(), time.max())
    if not (least >= 0 and most < math.inf):  # false for NaN too
        raise ParameterError(f"time must be at least 0 s and finite, got {time}")

"""The memristive cell: conductance range, levels, programming variation, read noise, stuck cells. SI units.

Modelled, per cell and independent between cells (architecture of the field as in Xiao et al., "On the
accuracy of analog neural network inference accelerators", IEEE Circuits and Systems Magazine 22(4), 2022):

- programming error, drawn once when a chip instance is programmed, Gaussian and truncated at 0 S;
- read noise, Gaussian, drawn anew at every read;
- cells stuck at g_max ("stuck on") or at g_min ("stuck off").

Not modelled here: drift, random telegraph noise, temperature, non-linear I-V curves, wire resistance.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hw.quantity import Unit

ProgrammingModel = Literal["independent", "proportional", "lognormal"]


@dataclass(frozen=True)
class Programmed:
    """Cells after programming: `conductance` [S] of the targets' shape, and what happened on the way."""

    conductance: Tensor
    truncated_share: float  # share of cells whose draw fell below 0 S and was set to 0 S [1]
    stuck_share: float  # share of cells that are stuck [1]


class Device(BaseModel):
    """A cell technology; the conductances of an actual array live with the array, never here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: Annotated[int, Unit("1"), Field(ge=2, le=65536)]
    g_min: Annotated[float, Unit("S"), Field(ge=0, lt=1)]
    g_max: Annotated[float, Unit("S"), Field(gt=0, lt=1)]
    programming_model: ProgrammingModel = "proportional"
    programming_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    read_noise_sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    stuck_on_rate: Annotated[float, Unit("1"), Field(ge=0, le=1)] = 0.0
    stuck_off_rate: Annotated[float, Unit("1"), Field(ge=0, le=1)] = 0.0
    read_voltage: Annotated[float | None, Unit("V"), Field(gt=0)] = None

    @model_validator(mode="after")
    def _check(self) -> "Device":
        if not self.g_min < self.g_max:
            raise ValueError(f"g_min = {self.g_min:g} S must be below g_max = {self.g_max:g} S")
        if self.levels & (self.levels - 1):
            raise ValueError(f"levels = {self.levels} must be a power of two, for whole bits per cell")
        if self.stuck_on_rate + self.stuck_off_rate > 1:
            raise ValueError("stuck_on_rate + stuck_off_rate must be at most 1")
        return self

    @property
    def bits(self) -> int:
        """Bits that one cell stores: log2(levels)."""
        return self.levels.bit_length() - 1

    @property
    def is_ideal(self) -> bool:
        """True where every read returns exactly what was programmed, and that is the target."""
        return not (self.programming_sigma or self.read_noise_sigma or self.stuck_on_rate or self.stuck_off_rate)

    def conductance(self, level: Tensor, bits: int) -> Tensor:
        """Target conductance [S] of integer `level` (any shape) when 2^bits levels span the range.

        G = g_min + (g_max - g_min) level / (2^bits - 1), equally spaced levels.
        """
        return self.g_min + self.level_step(bits) * level

    def level_step(self, bits: int) -> float:
        """Conductance between neighbouring levels [S] when 2^bits levels span the range."""
        return (self.g_max - self.g_min) / (2**bits - 1)

    def program(self, target: Tensor, generator: torch.Generator) -> Programmed:
        """Conductances after one programming of `target` [S] (any shape); one draw per cell.

        independent: G + sigma (g_max - g_min) N;  proportional: G (1 + sigma N);
        lognormal: G exp(sigma N - sigma²/2), whose mean is G.  Gaussian draws are truncated at 0 S;
        the upper end is not cut, because a measured write can overshoot the nominal range.
        """
        written, truncated_share = target, 0.0
        sigma = self.programming_sigma
        if sigma:
            normal = torch.randn(target.shape, generator=generator, dtype=target.dtype, device=target.device)
            if self.programming_model == "independent":
                written = target + sigma * (self.g_max - self.g_min) * normal
            elif self.programming_model == "proportional":
                written = target * (1 + sigma * normal)
            else:
                written = target * torch.exp(sigma * normal - sigma**2 / 2)
            truncated_share = (written < 0).double().mean().item()
            written = written.clamp(min=0)
        stuck_share = 0.0
        if self.stuck_on_rate or self.stuck_off_rate:
            uniform = torch.rand(target.shape, generator=generator, dtype=torch.float64, device=target.device)
            stuck_on = uniform < self.stuck_on_rate
            stuck_off = uniform >= 1 - self.stuck_off_rate
            written = torch.where(stuck_on, torch.full_like(written, self.g_max), written)
            written = torch.where(stuck_off, torch.full_like(written, self.g_min), written)
            stuck_share = (stuck_on | stuck_off).double().mean().item()
        return Programmed(written, truncated_share, stuck_share)

    def read_variance(self, conductance: Tensor) -> Tensor:
        """Variance of one read [S²]: (read_noise_sigma G)², Gaussian and independent between cells."""
        return (self.read_noise_sigma * conductance) ** 2

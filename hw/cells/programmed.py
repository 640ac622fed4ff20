"""Cells after programming, and what happened on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xbar.hw.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Programmed:
    """Cells after programming, tensors of the targets' shape, and what happened on the way.

    `conductance` is what the writes left; drift, telegraph state and temperature come with
    `Device.conductance_at`. Where a feature is off its tensor is None. Shares are 0-dimensional tensors where cells lie on an
    accelerator.
    """

    target: Tensor | None  # [S]; None where who holds the cells knows it
    conductance: Tensor  # [S]
    drift_exponent: Tensor | None = None  # nu [1]; 0 for stuck cells
    telegraph: Tensor | None = None  # int8 state at programming: +1 high, -1 low, 0 has no telegraph noise
    stuck: Tensor | None = None  # int8: +1 at g_max, -1 at g_min, 0 works
    truncated_share: float | Tensor = 0.0  # share of cells whose last draw fell below 0 S and was set to 0 S [1]
    clipped_share: float | Tensor = 0.0  # share of cells whose last draw was set to g_min or g_max (limit_to_range) [1]
    stuck_share: float | Tensor = 0.0  # share of cells that are stuck [1]
    pulses: float = 0.0  # write pulses of all cells [1]
    unconverged_share: float | Tensor = 0.0  # share of cells outside the write-verify tolerance after the last pulse [1]

    @property
    def pulses_per_cell(self) -> float:
        """Mean write pulses per cell; 0 without cells."""
        return self.pulses / max(1, self.conductance.numel())

    @property
    def residual(self) -> float:
        """Root mean square of conductance - target [S] over the cells that are not stuck; 0 without such cells. Raises
        ParameterError where the targets are not held."""
        if self.target is None:
            raise ParameterError("the residual of a write needs the targets, which are not held with these cells")
        error = (self.conductance - self.target).detach().double()
        if self.stuck is not None:
            error = error[self.stuck == 0]
        return error.square().mean().sqrt().item() if error.numel() else 0.0

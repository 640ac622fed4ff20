"""Current-voltage laws of a memristive cell: what current flows at a voltage, for a cell of a given conductance.

Each law is a small frozen class; any object with the two methods of `CellLaw` serves the solver as well. Conductance
is the small-signal one, dI/dV at 0 V, so that a law changes nothing where the voltage is small.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xbar.hw.errors import ConvergenceError, ParameterError


class CellLaw(Protocol):
    """Current [A] and its slope [S] of cells, elementwise (the two arguments broadcast), exactly 0 A at 0 V."""

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor: ...

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor: ...


class SpiceLaw(CellLaw, Protocol):
    """A law that can also be written into a netlist: an expression of the current [A] for a B source."""

    def spice(self, voltage: str, conductance: float) -> str: ...


@dataclass(frozen=True)
class Linear:
    """I = G V."""

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * voltage

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance + torch.zeros_like(voltage)

    def spice(self, voltage: str, conductance: float) -> str:
        return f"{conductance!r}*{voltage}"


@dataclass(frozen=True)
class Sinh:
    """I = G v0 sinh(V / v0), v0 [V] above 0: conduction by tunnelling through a gap.

    The voltage dependence of X. Guan, S. Yu, H.-S. P. Wong, "A SPICE compact model of metal oxide resistive
    switching memory with variations", IEEE Electron Device Letters 33(10), 2012: I = I0 exp(-g/g0) sinh(V/V0), whose
    gap-dependent factor is written here as the conductance at 0 V.
    """

    v0: float

    def __post_init__(self) -> None:
        if not 0 < self.v0 < math.inf:
            raise ParameterError(f"sinh.v0 must be above 0 V and finite, got {self.v0}")

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * self.v0 * torch.sinh(voltage / self.v0)

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * torch.cosh(voltage / self.v0)

    def spice(self, voltage: str, conductance: float) -> str:
        return f"{conductance * self.v0!r}*sinh({voltage}/{self.v0!r})"


@dataclass(frozen=True)
class Polynomial:
    """I = G (V + c2 V^2 + c3 V^3); c2 [1/V], c3 [1/V^2], any sign.

    With c3 < 0 the current falls again at large voltages; a network may then have more than one solution.
    """

    c2: float
    c3: float

    def __post_init__(self) -> None:
        for name in ("c2", "c3"):
            if not math.isfinite(getattr(self, name)):
                raise ParameterError(f"polynomial.{name} must be finite, got {getattr(self, name)}")

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * voltage * (1 + voltage * (self.c2 + self.c3 * voltage))

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * (1 + voltage * (2 * self.c2 + 3 * self.c3 * voltage))

    def spice(self, voltage: str, conductance: float) -> str:
        return f"{conductance!r}*{voltage}*(1+{voltage}*({self.c2!r}+{self.c3!r}*{voltage}))"


@dataclass(frozen=True)
class MiloPolynomial:
    """I = G V + a2 V^2 + a3 V^3 with a2, a3 polynomials of log10(G / 1 S): a measured HfO2 cell.

    Coefficients as stated by CrossSim 3.2 (simulator/devices/custom/RRAM_Milo.py), fitted there to Fig. 1 of V. Milo et
    al., "Optimized programming algorithms for multilevel RRAM in hardware neural networks", IRPS 2021: four cells of
    62.5 to 110 uS between -0.5 and 0.5 V, with a linear cell assumed at 225 uS. A conductance of 0 S is no cell;
    other conductances outside [lowest, highest] [S] raise ParameterError, since the polynomials mean nothing there.
    """

    lowest: float = 49.99e-6  # the range that CrossSim accepts
    highest: float = 225.01e-6

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        second, third = self._coefficients(conductance)
        return voltage * (conductance + voltage * (second + third * voltage))

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        second, third = self._coefficients(conductance)
        return conductance + voltage * (2 * second + 3 * third * voltage)

    def spice(self, voltage: str, conductance: float) -> str:
        second, third = (part.item() for part in self._coefficients(torch.tensor(conductance, dtype=torch.float64)))
        return f"{voltage}*({conductance!r}+{voltage}*({second!r}+{third!r}*{voltage}))"

    def _coefficients(self, conductance: Tensor) -> tuple[Tensor, Tensor]:
        """a2 [A/V^2] and a3 [A/V^3], shaped like the conductance."""
        open_ = conductance == 0
        outside = ~open_ & ~((conductance >= self.lowest) & (conductance <= self.highest))
        if bool(outside.any()):
            worst = conductance[outside].flatten()[0].item()
            raise ParameterError(
                f"conductance must be 0 S or from {self.lowest:g} to {self.highest:g} S for this law, got {worst:g}"
            )
        level = torch.log10(torch.where(open_, torch.ones_like(conductance), conductance))
        second = 7.063e-3 + level * (5.711e-3 + level * (1.541e-3 + level * 1.388e-4))
        third = 1.2968e-3 + level * (6.7919e-4 + level * 8.8710e-5)
        return second.masked_fill(open_, 0.0), third.masked_fill(open_, 0.0)


@dataclass(frozen=True)
class WithAccess:
    """A cell in series with an access transistor that is on, as a resistance [ohm]: one transistor, one cell.

    The voltage v of the cell alone solves v + access I(v) = V, by Newton within a shrinking bracket from 0 to V.
    """

    law: CellLaw
    access: float

    def __post_init__(self) -> None:
        if not 0 <= self.access < math.inf:
            raise ParameterError(f"access must be 0 ohm or more and finite, got {self.access}")

    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return self.law.current(self.cell_voltage(voltage, conductance), conductance)

    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        alone = self.law.slope(self.cell_voltage(voltage, conductance), conductance)
        return alone / (1 + self.access * alone)

    def cell_voltage(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        """Voltage [V] across the cell alone. Raises ConvergenceError where the law has none between 0 and V."""
        voltage, conductance = torch.broadcast_tensors(voltage, conductance)
        low, high = voltage.clamp(max=0.0), voltage.clamp(min=0.0)
        at, last = voltage, voltage.abs()  # size of the last step
        for _ in range(200):
            excess = at + self.access * self.law.current(at, conductance) - voltage
            settled = (excess.abs() <= 4e-16 * voltage.abs()) | (excess == 0) | (low == high)
            low, high = torch.where(excess < 0, at, low), torch.where(excess < 0, high, at)
            newton = at - excess / (1 + self.access * self.law.slope(at, conductance))
            usable = (newton > low) & (newton < high) & ((newton - at).abs() <= last / 2)  # else halve the bracket
            following = torch.where(settled, at, torch.where(usable, newton, (low + high) / 2))
            if bool((settled | (following == at)).all()):
                return self._checked(at, excess, voltage, conductance)
            at, last = following, (following - at).abs()
        raise ConvergenceError("the voltage of cells behind their access resistance was not found in 200 steps")

    def _checked(self, at: Tensor, excess: Tensor, voltage: Tensor, conductance: Tensor) -> Tensor:
        """`at`, unless its equation does not hold there: a bracket closes on anything where the law is wrong."""
        steepness = (1 + self.access * self.law.slope(at, conductance)).abs()
        wrong = ~(excess.abs() <= 1e-12 * voltage.abs() + 1e-15 * steepness * at.abs())
        if bool(wrong.any()):
            raise ConvergenceError(
                f"{int(wrong.sum())} cells have no voltage between 0 and {voltage[wrong][0].item():g} V behind their "
                f"access resistance of {self.access:g} ohm"
            )
        return at

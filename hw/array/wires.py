"""Resistances of a crossbar's wires, as the solvers take them."""

from dataclasses import dataclass
from typing import Literal

from xbar.hw.errors import ParameterError

Ends = Literal["one", "both"]


@dataclass(frozen=True)
class Wires:
    """Resistances [ohm] of a crossbar's wires, all from 0 on.

    wordline, bitline: of the segment between neighbouring cells; driver: from a source to its line's first cell;
    sense: from a line's last cell to its virtual ground; access: of the transistor in series with each cell.
    driven_from "both": the same voltage at both ends of a wordline; sensed_at "both": a bitline's current is taken at
    both ends and added.
    """

    wordline: float
    bitline: float
    driver: float = 0.0
    sense: float = 0.0
    driven_from: Ends = "one"
    sensed_at: Ends = "one"
    access: float = 0.0

    def __post_init__(self) -> None:
        _check_resistances(self, ("wordline", "bitline", "driver", "sense", "access"))
        for name in ("driven_from", "sensed_at"):
            if getattr(self, name) not in ("one", "both"):
                raise ParameterError(f"wires.{name} must be 'one' or 'both', got {getattr(self, name)!r}")


@dataclass(frozen=True)
class GatedWires:
    """Resistances [ohm] of an array whose inputs switch its cells on, all from 0 on.

    Every bitline has its own source line beside it, fed at the first row's side; the bitline is sensed at the last
    row's side. source_line, bitline: of the segment between neighbouring rows; driver: all between the source and the
    first row; sense: all between the last row and the virtual ground; access: in series with each cell. Rows of the
    array that are not used lengthen driver (where they come before the first row) or sense (after the last).
    """

    source_line: float
    bitline: float
    driver: float = 0.0
    sense: float = 0.0
    access: float = 0.0

    def __post_init__(self) -> None:
        _check_resistances(self, ("source_line", "bitline", "driver", "sense", "access"))


def _check_resistances(wires: Wires | GatedWires, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(wires, name)
        if not 0 <= value < float("inf"):
            raise ParameterError(f"wires.{name} must be 0 ohm or more and finite, got {value}")

"""Checked by `mypy`, never run: the type checker sees the types of `xbar.hw`, and not Any.

Each line below is a mistake that mypy must find. Where a name of xbar.hw were Any, there would be none, and mypy would tell of an
unused `type: ignore` (warn_unused_ignores).
"""

from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.hw.chip.description import Chip

chip: int = load_chip("edge")  # type: ignore[assignment]
load_chip(5)  # type: ignore[arg-type]
place("network", "chip")  # type: ignore[arg-type]
simulate(3, Arrivals.batch(1))  # type: ignore[arg-type]
trace(None, None)  # type: ignore[arg-type]


def of(whole: Chip) -> str:
    return whole.area  # type: ignore[return-value]

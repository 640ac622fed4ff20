"""The decorator of cost laws: it keeps a law's source and valid range beside the formula, and refuses what lies outside.

    @law(cite="...", read="...", valid={"bits": (1, 64), "node": (7e-9, 130e-9)})
    def adder(*, bits: float, node: float, voltage: float | None = None) -> Cost: ...

A law is a pure function of numbers in SI units, given by keyword. A law that takes `node` and `voltage` needs no range for the
voltage: it may be what `technology` allows at that node, and None is the nominal voltage.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, ParamSpec

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.technology import voltage_range
from xbar.hw.errors import LawRangeError

P = ParamSpec("P")

ROUNDING = 1e-12  # 180 * 1e-9, as a chip file's 180 nm becomes, is not quite 180e-9

# The unit in which people read a parameter of that name, and the SI value of one of it.
HUMAN_UNITS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "node": ("nm", 1e-9), "from_node": ("nm", 1e-9), "voltage": ("V", 1.0), "from_voltage": ("V", 1.0),
        "read_voltage": ("V", 1.0), "bits": ("bit", 1.0), "width": ("bit", 1.0), "capacity": ("KiB", 8192.0),
        "length": ("mm", 1e-3), "rate": ("M/s", 1e6), "clock": ("MHz", 1e6), "read_time": ("ns", 1e-9),
        "conductance": ("µS", 1e-6), "on_resistance": ("kohm", 1e3), "cell_area": ("µm²", 1e-12), "cell_bits": ("bit", 1.0),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Law:
    """What is known of a law besides its formula."""

    name: str
    cite: str  # whose formula and constants it is
    read: str  # where they were read; says so where the paper itself was not opened
    valid: Mapping[str, tuple[float, float]]  # lowest and highest value [SI] of each parameter that has a range
    parameters: tuple[str, ...]  # names, in order
    required: tuple[str, ...]  # those without a default


class LawFunction(Generic[P]):
    """A law as it is called; `law` tells its source, range and parameters."""

    def __init__(self, function: Callable[P, Cost], law: Law):
        functools.update_wrapper(self, function)
        self.law = law
        self._function = function
        self._signature = inspect.signature(function)
        self._defaults = {name: each.default for name, each in self._signature.parameters.items() if name not in law.required}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Cost:
        """The Cost at these parameters; raises LawRangeError where one of them is outside the law's range."""
        values: Mapping[str, Any] = {**self._defaults, **kwargs}
        if args or len(values) != len(self.law.parameters) or not all(name in values for name in self.law.required):
            bound = self._signature.bind(*args, **kwargs)  # raises TypeError where one is missing, or too much
            bound.apply_defaults()
            values = bound.arguments
        for parameter, allowed in self.law.valid.items():
            if values[parameter] is not None:  # left out
                self._check(parameter, values[parameter], allowed)
        if values.get("voltage") is not None and "node" in values:
            self._check("voltage", values["voltage"], voltage_range(values["node"]))
        return self._function(*args, **kwargs)

    def __reduce__(self) -> str:
        """A law is copied and sent to other processes by its name in its module."""
        return self._function.__qualname__

    def _check(self, parameter: str, value: float, allowed: tuple[float, float]) -> None:
        if not allowed[0] * (1 - ROUNDING) <= value <= allowed[1] * (1 + ROUNDING):  # nan too
            raise LawRangeError(self.law.name, parameter, value, allowed, *HUMAN_UNITS.get(parameter, ("", 1.0)))


def law(*, cite: str, read: str, valid: Mapping[str, tuple[float, float]]) -> Callable[[Callable[P, Cost]], LawFunction[P]]:
    """A decorator that makes a pure function of keyword SI numbers a law, whose `valid` ranges each call is checked against."""

    def decorate(function: Callable[P, Cost]) -> LawFunction[P]:
        parameters = inspect.signature(function).parameters
        unknown = set(valid) - set(parameters)
        if unknown:
            raise TypeError(f"law {function.__name__} has no parameter {', '.join(sorted(unknown))}")
        required = tuple(name for name, each in parameters.items() if each.default is inspect.Parameter.empty)
        what = Law(function.__name__, cite, read, dict(valid), tuple(parameters), required)
        return LawFunction(function, what)

    return decorate

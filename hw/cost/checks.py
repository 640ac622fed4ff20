"""Checks that several laws make of their parameters beyond a fixed range."""

from xbar.hw.errors import LawRangeError, ParameterError


def whole(law: str, parameter: str, value: float) -> int:
    """`value` as an integer; raises ParameterError, which names the law and the parameter, where it is not whole."""
    if value != int(value):
        raise ParameterError(f"law {law}: {parameter} = {value:g} must be a whole number")
    return int(value)


def reachable_rate(law: str, rate: float, largest: float) -> None:
    """Raises LawRangeError where `rate` [1/s] is above the `largest` that the structure reaches."""
    if rate > largest:
        raise LawRangeError(law, "rate", rate, (0.0, largest), "M/s", 1e6)

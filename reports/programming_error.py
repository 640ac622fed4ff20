"""Programming error in words: the model of its spread, and what its amount is counted in."""

from typing import Any

# How far a write errs, by the model of the device; words after "write error:".
WRITE_ERRORS = {
    "independent": "a share of the range, the same at every target", "proportional": "a share of the target",
    "lognormal": "log-normal", "polynomial": "a polynomial of the target", "table": "a table by target",
}  # fmt: skip


def write_error(model: str) -> str:
    """How far a write errs, in words; the model's name where it has none."""
    return WRITE_ERRORS.get(model, f"{model}, as the device's model has it")


def amount_axis(chip: dict[str, Any]) -> str:
    """What the amount of programming error is, for an axis."""
    return "times the device's own write error" if chip["programming_scaled"] else "programming sigma"

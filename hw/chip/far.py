"""Numbers of one's own that are far from what they replace: most often a unit that was left out or mistaken."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from xbar.hw.quantity import UNITS, number_and_unit, unit_named

FAR = 1000.0  # times: a prefix of SI


class FarFromPresetWarning(UserWarning):
    """A number that was given is more than a thousand times what it replaces, or less than a thousandth of it."""


def warn_of_far(given: Mapping[str, Any], replaced: Mapping[str, Any], label: str, of: str) -> None:
    """Warn of each number in a raw file `label` that is more than FAR times off the one of that key in the file `of`. Whole numbers of
    no unit are counts, and what figures were published for is told with them: neither is compared."""
    for key, (new, new_unit), (old, old_unit) in _both(given, replaced):
        dimension, factor = UNITS.get(new_unit, ("", 1.0))
        was, old_factor = UNITS.get(old_unit, (None, 1.0))
        if dimension != was or (dimension == "1" and isinstance(new, int) and isinstance(old, int)):
            continue
        ratio = abs(new * factor / (old * old_factor)) if old and new else 1.0
        if not 1 / FAR <= ratio <= FAR:
            texts = [f"{value:g}{'' if unit == '1' else f' {unit}'}" for value, unit in ((new, new_unit), (old, old_unit))]
            off = f"{ratio:,.0f} times more" if ratio > 1 else f"{1 / ratio:,.0f} times less"
            warnings.warn(
                f"{label}: {key} = {texts[0]} is {off} than the {texts[1]} of {of}; if another unit is meant, write it beside the number",
                FarFromPresetWarning, stacklevel=2,
            )  # fmt: skip


def _both(given: Mapping[str, Any], replaced: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, number and unit, number and unit) of what both have."""
    for key, new in given.items():
        old = replaced.get(key)
        if key in ("source", "stated_at") or old is None:
            continue
        pair = _number(new), _number(old)
        if pair[0] is not None and pair[1] is not None:
            yield f"{prefix}{key}", *pair
        elif isinstance(new, Mapping) and isinstance(old, Mapping):
            yield from _both(new, old, f"{prefix}{key}.")


def _number(raw: Any) -> tuple[int | float, str] | None:
    """A number and its unit as a file has them; None of all else, and of what is told to be wrong later."""
    try:
        if isinstance(raw, Mapping) and "value" in raw:
            value, unit = raw["value"], unit_named(str(raw.get("unit", "1")))
        else:
            value, unit = number_and_unit(raw) if isinstance(raw, str) else (raw, "1")
    except ValueError:
        return None
    unit = unit or "1"
    return (value, unit) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf") else None

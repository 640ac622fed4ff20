"""What follows the size and number of a core's arrays and the width of inputs, where only these are changed, in a file that extends
another or by a setting.

Most counts follow by themselves (`xbar.hw.chip.costs`): drivers, gate lines and sample-and-holds of every line, converters by their
columns, registers by what they hold. Five numbers are written beside these and go with them here, unless they are given too: the
columns of an ADC that serves whole arrays, the shift-and-add units of a core's ADCs, the wordlines driven at once, the inputs on one
crossbar, and the bits of inputs that are accumulated for a conversion.
"""

from collections.abc import Collection, Mapping
from math import ceil
from typing import Any

from xbar.hw.array.design import adcs_of_core
from xbar.hw.quantity import number_and_unit

LINES = ("structure.wordlines", "structure.bitlines", "structure.crossbars_per_core")
COLUMNS, UNITS, ROWS = "component.adc.columns", "component.shift_add.units", "component.crossbar.rows_at_once"
SEGMENT, BITS, PHASE = "weights.segment", "inputs.bits", "inputs.phase_bits"


def follow_structure(raw: dict[str, Any], before: Mapping[str, Any], given: Collection[str], of: str) -> None:
    """Change what follows arrays and inputs in a raw chip file `raw`, of which `given` are the keys that were changed from `before`, the
    file `of`. What is no whole number from one up is left as it is, to be refused with all else that is wrong."""
    changed = [key for key in LINES if key in given]
    bits, phase = _count(raw, BITS), _count(raw, PHASE)
    if BITS in given and PHASE not in given and bits and phase:
        _put(raw, PHASE, min(phase, bits), phase, f"as {BITS}, from what {of} has")
    old, new = ([found for key in (*LINES, COLUMNS) if (found := _count(each, key))] for each in (before, raw))
    if not changed or len(old) < 4 or len(new) < 4:
        return
    why = f"as {' and '.join(changed)}, from what {of} has"
    was, (lines, bitlines, crossbars, columns) = (old[1], old[2], old[3]), new
    if COLUMNS not in given:
        columns = _columns(*was, bitlines, crossbars)
        _put(raw, COLUMNS, columns, was[2], why)
    units = _count(raw, UNITS)
    if units is not None and UNITS not in given:
        _put(raw, UNITS, ceil(units * adcs_of_core(bitlines, crossbars, columns) / adcs_of_core(*was)), units, why)
    segment, inputs = _count(raw, SEGMENT), _fitting(raw, lines)
    if segment is not None and SEGMENT not in given and inputs >= 1:
        _put(raw, SEGMENT, min(segment, inputs), segment, why)
    at_once = _count(raw, ROWS)
    if at_once is not None and ROWS not in given:
        _put(raw, ROWS, min(at_once, lines), at_once, why)


def _fitting(raw: Mapping[str, Any], wordlines: int) -> int:
    """Inputs with weights that a crossbar holds at most."""
    weights = raw["weights"] if isinstance(raw.get("weights"), Mapping) else {}
    return wordlines // (2 if weights.get("subtraction") == "shared_bitline" else 1) - (_count(raw, "weights.bias_rows") or 0)


def _columns(bitlines_before: int, crossbars_before: int, columns: int, bitlines: int, crossbars: int) -> int:
    """Columns of an ADC: of as many whole arrays as before, of a whole core where it had one, else as many as before."""
    arrays, rest = divmod(columns, bitlines_before)
    if rest or not arrays:
        return min(columns, bitlines * crossbars)
    return bitlines * (crossbars if arrays >= crossbars_before > 1 else min(arrays, crossbars))


def _put(raw: dict[str, Any], key: str, value: int, before: int | None, why: str) -> None:
    if value != before:
        *sections, leaf = key.split(".")
        where: Any = raw
        for section in sections:
            where = where[section]
        where[leaf] = {"value": value, "unit": "1", "kind": "derived", "why": why}


def _count(raw: Mapping[str, Any], key: str) -> int | None:
    found: Any = raw
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    found = found.get("value") if isinstance(found, Mapping) and found.get("unit") == "1" else found
    if isinstance(found, str):
        try:
            found = number_and_unit(found)[0]
        except ValueError:
            return None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 1 else None

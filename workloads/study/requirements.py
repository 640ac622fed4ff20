"""What a design must hold: a column at least or at most so much, with what confidence where the column is estimated from a few chips."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbar.hw.quantity import UNITS, number_and_unit
from xbar.workloads.study.identity import SweepError, Value
from xbar.workloads.study.mean_errors import half_band, mean_error

DIMENSIONS = {"_per_s": "1/s", "_per_J": "1/J", "_J": "J", "_s": "s", "_W": "W", "_m2": "m²"}  # by the end of a column's name
OF_FLOAT = re.compile(r"float\s*([+-])\s*(\S.*?)")
FORM = 'must be { at_least = ... } or { at_most = ... }, and of accuracies perhaps confidence = "95 %"'
FITS = "one chip"
CONFIDENCE = 0.95
MOST_IMAGES = 2**20
MISSING = 1000.0  # by how much a requirement on a value that a design does not have is broken


@dataclass(frozen=True)
class Requirement:
    """A column that must be at most (`low`) or at least (`high`) `limit`, in SI or the column's own unit; with `of_float`, that must not
    be worse by more than `limit` than the uncompressed network in float. text: as it was asked for."""

    column: str
    better: str
    limit: float
    of_float: bool = False
    confidence: float = CONFIDENCE
    text: str = ""

    def estimate(self, row: Mapping[str, Any]) -> tuple[float, float, float] | None:
        """By how much the row breaks it (0 or below: it holds), the standard error of that and its degrees of freedom; infinite where the
        row has no value, None where the column is not judged yet."""
        name = f"{self.column}_lost" if self.of_float else self.column
        if name not in row:
            return None
        value = row[name]
        if value is None or not math.isfinite(value):
            return math.inf, 0.0, 1.0
        over = value - self.limit if self.better == "low" or self.of_float else self.limit - value
        error = row.get(f"{name}_error", 0.0)
        return over, math.inf if error is None else error, row.get(f"{name}_freedom", 1.0)

    def broken(self, row: Mapping[str, Any]) -> float:
        """By what share of its limit the row's own values break it; 0 where it is not judged yet."""
        found = self.estimate(row)
        return 0.0 if found is None else min(found[0] / (abs(self.limit) or 0.01), MISSING)

    def holds(self, row: Mapping[str, Any], confidence: float | None = None) -> bool:
        """Whether it holds with that confidence, by default its own; not where it is not judged yet."""
        found = self.estimate(row)
        if found is None:
            return False
        over, error, freedom = found
        return over + half_band(error, freedom, confidence or self.confidence) <= 0

    def left(self, row: Mapping[str, Any], confidence: float) -> float:
        """By what share of its limit a row that was judged may break it, at that confidence; below 0 it holds by as much."""
        over, error, freedom = self.estimate(row) or (math.inf, 0.0, 1.0)
        return (over + half_band(error, freedom, confidence)) / (abs(self.limit) or 0.01)

    def stricter(self, looks: int) -> float:
        """The confidence that each of so many looks needs, so that none of them errs with its own (Bonferroni's inequality)."""
        return 1 - (1 - self.confidence) / looks

    def possible(self, row: Mapping[str, Any]) -> bool:
        """Whether it may hold still: not where it is broken with its confidence."""
        found = self.estimate(row)
        if found is None:
            return True
        over, error, freedom = found
        return over - half_band(error, freedom, self.confidence) <= 0

    def told(self) -> dict[str, Any]:
        """What a report needs to know of it."""
        return {"column": self.column, "text": self.text}


def read_requirements(raw: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """The requirements of a table, such as `area_m2 = { at_most = "5 mm2" }`, `accuracy = { at_least = "float - 0.5 points", confidence =
    "95 %" }` and `fits = "one chip"`, which holds for every design that has a result. Raises SweepError naming key, value and form."""
    found = []
    for name, asked in raw.items():
        where = f"constraints.{name}"
        if name == "fits":
            if asked != FITS:
                raise SweepError(f'{where} = {asked!r}: must be "{FITS}": a point is one network on one chip')
            continue
        if not isinstance(asked, dict) or len(sides := [each for each in ("at_least", "at_most") if each in asked]) != 1:
            raise SweepError(f"{where} = {asked!r}: {FORM}")
        unknown = [key for key in asked if key not in (*sides, "confidence")]
        if unknown:
            raise SweepError(f"{where}.{unknown[0]} = {asked[unknown[0]]!r}: unknown key; {FORM}")
        confidence = _confidence(f"{where}.confidence", asked.get("confidence", CONFIDENCE))
        better = "low" if sides[0] == "at_most" else "high"
        limit, of_float = _limit(f"{where}.{sides[0]}", name, better, asked[sides[0]])
        sign = "≤" if better == "low" else "≥"
        told = f" with {100 * confidence:.4g} % confidence" if of_float or "confidence" in asked else ""
        found.append(Requirement(name, better, limit, of_float, confidence, f"{name} {sign} {asked[sides[0]]}{told}"))
    return tuple(found)


def _confidence(where: str, value: Any) -> float:
    share = _number(value, "%")
    if share is None or not 0.5 <= share < 1:
        raise SweepError(f'{where} = {value!r}: must be a share from 0.5 and below 1, as in "95 %"')
    return share


def _limit(where: str, column: str, better: str, value: Any) -> tuple[float, bool]:
    """A limit in SI units, and whether it is a distance from the float network's."""
    text = OF_FLOAT.fullmatch(value.strip()) if isinstance(value, str) else None
    if text is None:
        dimension = next((of for end, of in DIMENSIONS.items() if column.endswith(end)), "1")
        number = _number(value, dimension)
        if number is None:
            units = ", ".join(unit for unit, (of, _) in UNITS.items() if of == dimension) or dimension
            raise SweepError(f'{where} = {value!r}: must be a number, or a text of number and unit ({units}), or "float - 0.5 points"')
        return number, False
    if any(column.endswith(end) for end in DIMENSIONS):
        raise SweepError(f"{where} = {value!r}: {column} has no value of the float network's; only metrics have, as accuracy")
    sign, rest = text.groups()
    if (sign == "-") != (better == "high"):
        raise SweepError(f'{where} = {value!r}: must be "float {"-" if better == "high" else "+"} ...", which may be worse than float')
    share = re.fullmatch(r"(\S+)\s*points?", rest)
    number = _number(share[1] if share else rest, "%" if share is None else "1")
    if number is None or number < 0:
        raise SweepError(f'{where} = {value!r}: must be "float {sign} 0.5 points" of a share, or a number in the metric\'s own unit')
    return (number / 100 if share else number), True


def _number(value: Any, dimension: str) -> float | None:
    """A finite number, of a text with its unit in SI; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= sys.float_info.max else None
    try:
        number, unit = number_and_unit(str(value))
    except ValueError:
        return None
    of, factor = UNITS.get(unit, ("", 1.0)) if unit else (dimension, 1.0)
    same = of == dimension or (of == "1" and dimension == "%") or not unit
    return float(f"{number * factor:.12g}") if same and math.isfinite(number) else None  # 5 mm² is 5e-6 m², whatever the factor


def images_needed(allowed: float, confidence: float, instances: int) -> int | None:
    """Samples on which a network that loses nothing is shown to lose no more than a share `allowed`, on so many chips; None for more than
    MOST_IMAGES."""

    def shown(images: int) -> bool:
        error = mean_error(np.broadcast_to(0.0, (instances, images)), (-1.0, 1.0))
        return half_band(error.error, error.freedom, confidence) <= allowed

    most = 2
    while not shown(most):
        most *= 2
        if most > MOST_IMAGES:
            return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if shown(middle) else (middle, most)
    return most


def worst_value(values: list[Value]) -> float:
    """The largest of some losses; 0 where there are none."""
    known = [float(value) for value in values if value is not None and math.isfinite(float(value))]
    return max(known, default=0.0)

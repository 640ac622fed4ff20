"""Numbers with a unit, a kind and a source, as chip files write them; SI floats once loaded."""

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

KINDS = ("published", "measured", "fitted", "derived", "assumed")
OWN = "own"  # kind of a number that a file of one's own gives plainly, as `bits = 5` or `node = "22 nm"`: exact, a decision
COSTS = ("J", "W", "m²")  # dimensions that are costs: never plain, since a cost is found out and not decided
MOST_DIGITS = 300  # of a whole number; int() refuses thousands
LARGEST = 1e100  # of a number as written: sums and products of a few stay far from what a float ends at

# Unit as written -> (dimension, factor to SI). SI prefixes and unit definitions: BIPM, The International
# System of Units (SI), 9th edition, 2019, tables 1, 4, 7 and 8;
# 1 byte = 8 bits; a year is the Julian year of 365.25 days (IAU).
UNITS: dict[str, tuple[str, float]] = {
    "1": ("1", 1.0), "%": ("1", 1e-2),
    "bit": ("bit", 1.0), "byte": ("bit", 8.0), "KB": ("bit", 8.0 * 1024), "KiB": ("bit", 8.0 * 1024),
    "MiB": ("bit", 8.0 * 1024**2),
    "W": ("W", 1.0), "mW": ("W", 1e-3), "µW": ("W", 1e-6), "nW": ("W", 1e-9), "pW": ("W", 1e-12),
    "m": ("m", 1.0), "mm": ("m", 1e-3), "µm": ("m", 1e-6), "nm": ("m", 1e-9),
    "m²": ("m²", 1.0), "mm²": ("m²", 1e-6), "µm²": ("m²", 1e-12),
    "min": ("s", 60.0), "h": ("s", 3600.0), "day": ("s", 86400.0), "year": ("s", 365.25 * 86400.0),
    "s": ("s", 1.0), "ms": ("s", 1e-3), "µs": ("s", 1e-6), "ns": ("s", 1e-9), "ps": ("s", 1e-12),
    "fs": ("s", 1e-15), "1/s": ("1/s", 1.0), "Hz": ("1/s", 1.0), "kHz": ("1/s", 1e3), "MHz": ("1/s", 1e6), "GHz": ("1/s", 1e9),
    "kS/s": ("1/s", 1e3), "MS/s": ("1/s", 1e6), "GS/s": ("1/s", 1e9), "M/s": ("1/s", 1e6), "G/s": ("1/s", 1e9),
    "bit/s": ("1/s", 1.0), "Mbit/s": ("1/s", 1e6), "Gbit/s": ("1/s", 1e9), "GB/s": ("1/s", 8e9),
    "J": ("J", 1.0), "mJ": ("J", 1e-3), "µJ": ("J", 1e-6), "nJ": ("J", 1e-9), "pJ": ("J", 1e-12), "fJ": ("J", 1e-15), "aJ": ("J", 1e-18),
    "eV": ("J", 1.602176634e-19), "meV": ("J", 1.602176634e-22),
    "S": ("S", 1.0), "mS": ("S", 1e-3), "µS": ("S", 1e-6), "nS": ("S", 1e-9), "pS": ("S", 1e-12),
    "A": ("A", 1.0), "mA": ("A", 1e-3), "µA": ("A", 1e-6), "nA": ("A", 1e-9), "pA": ("A", 1e-12),
    "V": ("V", 1.0), "mV": ("V", 1e-3), "µV": ("V", 1e-6),
    "ohm": ("ohm", 1.0), "kohm": ("ohm", 1e3), "Mohm": ("ohm", 1e6),
    "1/V": ("1/V", 1.0), "1/V²": ("1/V²", 1.0), "K": ("K", 1.0),
}  # fmt: skip

# What people type for parts of these, once the forms of a character are told apart no more (`unit_named`).
TYPED = (
    (r"μ", "µ"), (r"^u(?=[A-Za-z])", "µ"), (r"(\^|\*\*)?2$", "²"), (r"(Ω|[Oo]hms?)$", "ohm"), (r"^S/s$", "1/s"), (r"^samples/s$", "1/s"),
    (r"^/(.+)$", r"1/\1"), (r"^([pnµm]?)sec(onds?)?$", r"\1s"), (r"^(bit|byte|day|year)s$", r"\1"), (r"^B$", "byte"),
    (r"^(hours?|hr)$", "h"), (r"^minutes?$", "min"), (r"^(percent|pct)$", "%"),
)  # fmt: skip
NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf(?:inity)?|nan)(?![A-Za-z]))\s*(.*?)\s*", re.IGNORECASE)


@cache
def unit_named(written: str) -> str:
    """A unit as `UNITS` spells it, of one as it is typed: uS, μS (a Greek letter) and µS, um2, um^2 and µm², Ohm, kΩ; what is
    none of these comes back as it is. Letters of either case stay apart: mS is no MS."""
    found = unicodedata.normalize("NFKC", written).strip().replace(" ", "")
    for pattern, spelt in TYPED:
        found = re.sub(pattern, spelt, found)
    return found if found in UNITS else written


def number_and_unit(text: str) -> tuple[int | float, str]:
    """The number and the unit, "" where none is typed, that a text such as 25uS, "22 nm" or 5 gives; raises ValueError."""
    found = NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    digits, unit = found.groups()
    whole = digits.lstrip("+-").isdigit() and len(digits) < MOST_DIGITS
    return int(digits) if whole else float(digits), unit_named(unit)


@cache
def _spellings(dimension: str) -> tuple[str, ...]:
    return tuple(name for name, (of, _) in UNITS.items() if of == dimension)


@dataclass(frozen=True)
class Unit:
    """Marks a numeric field of a chip description with its dimension, written as the SI unit.

    banded: its quantity may state a low and a high, which are carried through to the totals (`xbar.hw.bands`).
    """

    dimension: str
    banded: bool = False

    @property
    def spellings(self) -> list[str]:
        """Every unit in which a chip file may write this dimension."""
        return list(_spellings(self.dimension))


@dataclass(frozen=True)
class Quantity:
    """One number of a chip file: `value` in `unit` as written, what kind of number it is, and its source.

    low, high: between which the true value is taken to lie, in the same unit, where the file states it.
    """

    value: float
    unit: str
    kind: str
    source: str | None = None
    why: str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def si(self) -> float:
        """The value in SI units; an integer stays an integer when the factor is 1."""
        return self.to_si(self.value)

    def to_si(self, written: float) -> float:
        """A number written in this quantity's unit, in SI units."""
        factor = UNITS[self.unit][1]
        return written if factor == 1.0 else written * factor


class QuantityProblem(Exception):
    """What is wrong with a quantity table and what would be allowed (turned into ConfigurationError)."""

    def __init__(self, key_suffix: str, value: object, allowed: str):
        self.key_suffix = key_suffix
        self.value = value
        self.allowed = allowed
        super().__init__(allowed)


def parse_quantity(raw: Any, unit: Unit, sources: set[str]) -> Quantity:
    """The Quantity in a TOML table `{value, unit, kind, source, why}`, of a banded one with low and high where they are
    known, or in a plain number or text "VALUE UNIT" (`parse_plain`); raises QuantityProblem."""
    if isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        return parse_plain(raw, unit)
    ends = ("low", "high") if unit.banded else ()
    form = f'{{ value = NUMBER, {"".join(f"{end} = NUMBER, " for end in ends)}unit = "...", kind = "...", source = "...", why = "..." }}'
    if not isinstance(raw, dict):
        plain = "" if unit.dimension in COSTS else f', or plainly {_as_written(unit)}'
        raise QuantityProblem("", raw, f"must be a table {form}{plain}")
    for key in raw:
        if key in ("low", "high") and not unit.banded:
            carried = "only energies, powers, areas and what an array read draws by (voltage, conductances, time) have a band"
            raise QuantityProblem(f".{key}", raw[key], f"not carried: {carried}")
        if key not in ("value", "unit", "kind", "source", "why", *ends):
            raise QuantityProblem(f".{key}", raw[key], f"unknown key; allowed form: {form}")
    for key in ("value", "unit", "kind"):
        if key not in raw:
            raise QuantityProblem(f".{key}", "(missing)", f"required; the form is {form}")
    value = raw["value"]
    for key in ("value", *ends):
        number = raw.get(key, 0)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise QuantityProblem(f".{key}", number, "must be a number")
        if not abs(number) <= LARGEST:  # nan too
            raise QuantityProblem(f".{key}", number, f"must be a finite number, of at most {LARGEST:g}")
    low, high = raw.get("low"), raw.get("high")
    if (low is None) != (high is None):
        raise QuantityProblem(f".{'low' if low is None else 'high'}", "(missing)", "low and high need each other")
    if low is not None and not (math.isfinite(low) and low <= value):
        raise QuantityProblem(".low", low, f"must be finite and at most the value, {value}")
    if high is not None and not (math.isfinite(high) and high >= value):
        raise QuantityProblem(".high", high, f"must be finite and at least the value, {value}")
    written = unit_named(raw["unit"]) if isinstance(raw["unit"], str) else raw["unit"]
    if written not in unit.spellings:
        raise QuantityProblem(".unit", raw["unit"], f"must be one of {', '.join(unit.spellings)}")
    kind, source, why = raw["kind"], raw.get("source"), raw.get("why")
    if kind not in (*KINDS, "override"):
        raise QuantityProblem(".kind", kind, f"must be one of {', '.join(KINDS)}")
    if source is not None and not (isinstance(source, str) and source in sources):
        known = ", ".join(sorted(sources)) or "none"
        raise QuantityProblem(".source", source, f"must be a [source.*] of this file: {known}")
    if kind in ("published", "measured", "fitted") and source is None:
        raise QuantityProblem(".source", "(missing)", f"a {kind} number needs its source")
    if why is not None and not isinstance(why, str):
        raise QuantityProblem(".why", why, "must be a text")
    if kind in ("derived", "assumed") and not why:
        raise QuantityProblem(".why", "(missing)", f"a number that is {kind} needs its reason in `why`")
    return Quantity(value, written, kind, source, why, low, high)


def parse_plain(raw: float | str, unit: Unit) -> Quantity:
    """The Quantity that a chip's designer decides and writes plainly: a number where it is a count or a share, else a text of
    value and unit, as "22 nm"; of kind OWN. Raises QuantityProblem, also for a cost, which needs a kind and a source."""
    if unit.dimension in COSTS:
        form = f'{{ value = NUMBER, unit = "{unit.dimension}", kind = "...", source = "...", why = "..." }}'
        raise QuantityProblem("", raw, f"is a cost, which is found out and not decided: state it as {form}")
    try:
        value, written = number_and_unit(str(raw))
    except ValueError:
        raise QuantityProblem("", raw, f"must begin with a number, as {_as_written(unit)}") from None
    written = written or "1"
    if written not in unit.spellings:
        raise QuantityProblem("", raw, f"must be written as {_as_written(unit)}; units: {', '.join(unit.spellings)}")
    if not abs(value) <= LARGEST:  # nan too
        raise QuantityProblem("", raw, f"must be a finite number, of at most {LARGEST:g}")
    return Quantity(value, written, OWN)


def _as_written(unit: Unit) -> str:
    """How people write a number of that unit plainly, with an example."""
    example = {"1": '5 or "5 %"', "bit": '"64 KB"', "m": '"22 nm"', "s": '"10 ns"', "1/s": '"1 GS/s"', "S": '"20 µS"', "V": '"0.2 V"'}
    return example.get(unit.dimension, f'"1 {unit.spellings[-1]}"')


def unit_written(raw: Any, unit: Unit) -> str:
    """The unit in which a chip file writes a number, given as it stands there; the SI unit where it says none."""
    if isinstance(raw, dict):
        return unit_named(str(raw.get("unit", unit.dimension)))
    try:
        return number_and_unit(raw)[1] or unit.dimension if isinstance(raw, str) else unit.dimension
    except ValueError:  # told when the file is read
        return unit.dimension

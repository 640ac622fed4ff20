"""How objects tell their numbers: a few lines where they are printed, a table in a notebook."""

import math
from collections.abc import Mapping
from html import escape

import pandas as pd

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
MOST_ROWS = 30  # of a table in a notebook


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """A number with its SI prefix, rounded to so many significant digits; square metres in mm²; "unknown" for nan."""
    if math.isnan(value):
        return "unknown"
    if unit == "m²":
        return f"{value * 1e6:.{digits}g} mm²"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    rounded = float(f"{value:.{digits - 1}e}")
    power = min(max(3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12), min(PREFIXES)), max(PREFIXES))
    return f"{rounded / 10.0**power:.{digits}g} {PREFIXES[power]}{unit}".rstrip()


def lasting(years: float) -> str:
    """A lifetime in the largest of years, days, hours, minutes and seconds of which it is one or more; "unknown" for nan, "for ever"
    for infinitely long."""
    if not math.isfinite(years):
        return "unknown" if math.isnan(years) else "for ever"
    for unit, each in (("years", 1.0), ("days", 365.25), ("hours", 24 * 365.25), ("minutes", 1440 * 365.25)):
        if years * each >= 1:
            return f"{years * each:.3g} {unit}" if years * each < 1e6 else f"{years * each:.2e} {unit}"
    return f"{years * 86400 * 365.25:.3g} s"


class Shown:
    """Prints as its title and numbers, and stands in a notebook as a table of them, with a table of its parts below.

    A number that cannot be had, for what a description lacks or no law knows, is told as that error's first words: to print an object
    never fails.
    """

    def _title(self) -> str:
        """What it is, in a line."""
        raise NotImplementedError

    def _numbers(self) -> Mapping[str, str]:
        """What counts most, in words, by name."""
        raise NotImplementedError

    def _parts(self) -> pd.DataFrame:
        """What it is made of, a row each, in words; empty: not told."""
        return pd.DataFrame()

    def __repr__(self) -> str:
        numbers = self._told()
        return f"{self._title()}\n  " + "  ·  ".join(f"{name} {text}" for name, text in numbers.items())

    __str__ = __repr__  # pydantic has one of its own

    def _told(self) -> Mapping[str, str]:
        try:
            return self._numbers()
        except (ValueError, ArithmeticError, LookupError) as error:
            return {"numbers": f"not known: {str(error)[:100]}"}

    def _repr_html_(self) -> str:
        try:
            parts = self._parts()
        except (ValueError, ArithmeticError, LookupError):
            parts = pd.DataFrame()
        found = f"<p><b>{escape(self._title())}</b></p>{html_table(pd.DataFrame(self._told().items()), names=False)}"
        more = f"<p>{len(parts) - MOST_ROWS} rows more</p>" if len(parts) > MOST_ROWS else ""
        return found + (html_table(parts.head(MOST_ROWS)) + more if len(parts) else "")


def html_table(table: pd.DataFrame, names: bool = True) -> str:
    """A table as HTML, its texts escaped; names: with those of its columns and rows."""
    return table.to_html(header=names, index=names, border=0, escape=True, index_names=False)

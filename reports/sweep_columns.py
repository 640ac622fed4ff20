"""Columns of a sweep in words and on scales: names, units, values for people."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from xbar.reports.style import human, percent, plain_decimals, scale_of, significant

UNITS = {"_per_s": "/s", "_J": "J", "_s": "s", "_W": "W", "_m2": "m²"}  # by the end of a column's name
LOG_RATIO = 20.0  # of largest to smallest, from which a scale may be logarithmic
MOST_DRAWN, MOST_LINES = 20_000, 5000  # points in one picture


def is_number(values: pd.Series) -> bool:
    """True for columns of numbers."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def texts_of(values: pd.Series) -> pd.Series:
    """Texts and switches as categories; a missing one is "none"."""
    return values.map(lambda value: "none" if pd.isna(value) else str(value).lower() if isinstance(value, bool | np.bool_) else str(value))


def is_log(values: np.ndarray) -> bool:
    """True where numbers look spread by ratio: over more than LOG_RATIO, three quarters of them in the lower half of the range."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() <= 0 or known.max() < LOG_RATIO * known.min():
        return False
    distinct = np.unique(known)
    return bool(np.mean(distinct <= (known.min() + known.max()) / 2) >= 0.75)


def unit_of(column: str, told: Mapping[str, str] = MappingProxyType({})) -> str:
    """Unit of a metric as it is `told` by column, else by its name: % of an accuracy, or the end of the name; nothing where it has none."""
    if column in told:
        return told[column]
    if column.startswith("accuracy"):
        return "%"
    if column.endswith("_per_J"):
        return ""
    return next((unit for end, unit in UNITS.items() if column.endswith(end)), "")


def shown(value: Any, unit: str = "", digits: int = 4) -> str:
    """A value for people, with its unit, of SI with a prefix; without one as a setting is written; a dash where it is missing."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if not isinstance(value, int | float | np.number):
        return str(value)
    if not np.isfinite(value):
        return f"{value:+}"
    if unit == "%":
        return percent(float(value), 2)
    if unit in UNITS.values():
        return human(float(value), unit, digits)
    if unit:  # a metric's own takes no prefix
        return f"{significant(float(value), digits)}\u00a0{unit}"
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        whole = float(value).is_integer() and (isinstance(value, int | np.integer) or abs(value) >= 10 ** (digits - 1))
        text = f"{int(value)}" if whole else significant(float(value), digits)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits - 1}e}"


@dataclass(frozen=True)
class Scale:
    """How numbers of a column are drawn: times `factor`, under `label`."""

    label: str
    factor: float
    log: bool

    def apply(self, axes: Axes, which: str) -> None:
        """Scale and label an axis of a plot, x or y."""
        axis = axes.xaxis if which == "x" else axes.yaxis
        if self.log:
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
            plain_decimals(axis)
        else:
            axis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
            axis.get_major_formatter().set_scientific(False)  # type: ignore[attr-defined]
        axis.set_label_text(self.label, fontsize=8.5)


def scale_for(column: str, values: pd.Series, unit: str) -> Scale:
    """How the numbers of a column are drawn that are in this unit, and whether by ratio."""
    numbers = values.to_numpy(float, na_value=np.nan)
    known = np.abs(numbers[np.isfinite(numbers)])
    words, log = name_of(column), is_log(numbers)
    if unit == "%":
        return Scale(f"{words}, %", 100.0, log)
    if unit == "m²":
        return Scale(f"{words}, mm²", 1e6, log)
    if unit not in UNITS.values():
        return Scale(f"{words}, {unit}" if unit else words, 1.0, log)
    size = float(np.sqrt(known.min() * known.max()) if log else known.max()) if len(known) else 0.0
    factor, prefix = scale_of(size)
    return Scale(f"{words}, {prefix}{unit}", factor, log)


def name_of(column: str) -> str:
    """A column in words: a metric without its unit; a setting as it is."""
    end = next((end for end in UNITS if column.endswith(end)), "")
    return column.removesuffix(end).replace("_", " ") if end or column.startswith("accuracy") else column


def ending(text: str, most: int) -> str:
    """The end of a name that is too long for its place: what tells it from others is there."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Settings by the last part of their names, where no other ends so and it says enough; those of a layer begin with its name."""
    names = list(names)
    ends = [name.rpartition(".")[2] for name in names]
    plain = ("name", "bits", "seed", "range", "data", "weights", "mode")  # of many things
    return {
        name: end if ends.count(end) == 1 and end not in plain else _of_layer(name) + ".".join(name.split(".")[-2:])
        for name, end in zip(names, ends, strict=True)
    }


def _of_layer(name: str) -> str:
    """The layer that a setting is of, as the beginning of its name; nothing where it is the chip's."""
    found = re.fullmatch(r'layer\."?(.+?)"?\.\w+\.\w+(\.\w+)?', name)
    return f"{found[1]} " if found else ""


def told_count(count: int, one: str, many: str) -> str:
    """A number of things with their name, in one or many."""
    return f"{count:,} {one if count == 1 else many}"


def listed(words: list[str]) -> str:
    """Words joined by commas and an "and"."""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def evenly(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most that many rows, evenly from the first to the last."""
    return rows if len(rows) <= most else rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]

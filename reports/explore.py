"""What a sweep found: its axes and metrics, the Pareto front, what each axis does, two axes against each other, all at once.

Everything is drawn from the rows of `results.parquet`, one a point, and `sweep.json`; nothing here knows what was swept.
An axis is a column of the points that varies, a metric a column of numbers that came back.
"""

import difflib
import itertools
import json
import textwrap
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import NullLocator

from xbar.reports.notebook import in_notebook, printed
from xbar.reports.results import ResultsError
from xbar.reports.style import (
    ACCENT,
    INK,
    PAGE,
    PAPER,
    ROW_HEIGHT,
    SECOND,
    SOFT,
    Column,
    cut,
    draw_table,
    human,
    page,
    percent,
    plain_decimals,
    plot,
    scale_of,
    significant,
    write,
)
from xbar.reports.together import WITH, leader, together

FILE, RESULTS = "sweep.json", "results.parquet"
OWN = ("point", "wall_s", "error", "key")  # columns of the sweep itself
BETTER = ("low", "high")
FIRST = (  # metrics that are looked at before others
    "accuracy", "bits_per_character", "bits_per_token", "rms_error", "energy_on_chip_J", "energy_J", "latency_s", "area_m2",
    "throughput_per_s",
)  # fmt: skip
UNITS = {"_per_s": "/s", "_J": "J", "_s": "s", "_W": "W", "_m2": "m²"}  # by the end of a column's name
SHADES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.92, 256)))  # its lightness rises too: readable in grey
LOG_RATIO = 20.0  # of largest to smallest, from which a scale may be logarithmic
MOST_VALUES = 12  # of an axis, beyond which its numbers are binned, its texts put together
FEW_VALUES = 6  # of an axis, up to which its least and greatest value are compared, not its thirds
MOST_BINS = 8
MOST_DRAWN, MOST_LINES = 20_000, 5000  # points in one picture
MOST_AXES = 12  # bars on a page
FEW_AXES = 5  # up to which two metrics share one
MOST_PARALLEL = 11  # columns in parallel
ROWS_OF_FRONT = 11  # under its picture
MISSING = -0.12  # where lines of points without a number run, below a scale from 0 to 1


# ---- what a sweep left


@dataclass(frozen=True, repr=False)
class SweepSheet:
    """The rows of a sweep, as `xbar.workloads.study.sweep.SweepResult.frame` tells, and what `sweep.json` says of it."""

    meta: dict[str, Any]
    frame: pd.DataFrame

    @classmethod
    def load(cls, directory: Path) -> "SweepSheet":
        """Read a sweep's folder; raises ResultsError naming the file that is missing, corrupt or empty."""
        for name in (FILE, RESULTS):
            if not (directory / name).is_file():
                raise ResultsError(f"{directory}: no {name} there; give the folder of a sweep that ended")
        try:
            meta = json.loads((directory / FILE).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ResultsError(f"{directory / FILE}: is not JSON: {error}") from None
        varied, fixed = (meta.get(name) if isinstance(meta, dict) else None for name in ("varied", "fixed"))
        if not isinstance(varied, list) or not all(isinstance(name, str) for name in varied) or not isinstance(fixed, dict):
            raise ResultsError(f"{directory / FILE}: is not of a sweep: varied must be a list of names, fixed a table")
        try:
            frame = pd.read_parquet(directory / RESULTS)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise ResultsError(f"{directory / RESULTS}: cannot be read: {error}") from None
        missing = [name for name in (*OWN, *varied) if name not in frame]
        if missing:
            raise ResultsError(f"{directory / RESULTS}: has no column {', '.join(missing)}")
        if frame.empty or len(frame) != meta.get("points"):
            raise ResultsError(
                f"{directory / RESULTS}: has {len(frame)} rows, {FILE} tells of {meta.get('points')} points; sweep again to mend it"
            )
        return cls(meta, frame)

    def __repr__(self) -> str:
        view = chosen(self, View())
        return printed(f"{self.title}: {verdict(self, view)}", headlines(self, view))

    def _repr_html_(self) -> str:
        view = chosen(self, View())
        return in_notebook(f"{self.title}: {verdict(self, view)}", headlines(self, view), pareto(self, view) if view.pareto else None)

    @property
    def title(self) -> str:
        """What the sweep is called."""
        return str(self.meta.get("title", "Sweep"))

    @property
    def axes(self) -> list[str]:
        """Columns of the points that vary."""
        return list(self.meta["varied"])

    @cached_property
    def metrics(self) -> list[str]:
        """Columns of numbers that came back, those of `FIRST` first."""
        others = {*OWN, *self.meta["varied"], *self.meta["fixed"]}
        found = [name for name in self.frame if name not in others and _is_number(self.frame[name]) and self.frame[name].notna().any()]
        return [name for name in self.first if name in found] + [name for name in found if name not in self.first]

    @property
    def first(self) -> list[str]:
        """Metrics that are looked at before others: a network's own, then `FIRST`."""
        return [*dict.fromkeys([*self.meta.get("better", {}), *FIRST])]

    @property
    def told_better(self) -> dict[str, str]:
        """Which side of a network's own metric is better, as the sweep tells."""
        told = self.meta.get("better", {})
        ends = ("", "_float", "_smallest", "_largest")
        return {name: side for metric, side in told.items() for end in ends if (name := f"{metric}{end}") in self.metrics}

    @property
    def numbers(self) -> list[str]:
        """Columns that have an order: metrics, axes of numbers, and the time that a point took."""
        return [*self.metrics, *(name for name in self.axes if _is_number(self.frame[name])), "wall_s"]

    @cached_property
    def done(self) -> pd.DataFrame:
        """Rows of the points that did not fail."""
        return self.frame[self.frame["error"].isna()]

    @property
    def failed(self) -> int:
        """Points that ended in an error."""
        return len(self.frame) - len(self.done)

    def varies(self, column: str) -> bool:
        """True where the points that did not fail differ in it."""
        return self.done[column].nunique() > 1


@dataclass(frozen=True)
class View:
    """What to draw of a sweep, by names of columns; what is empty is chosen.

    pareto: two or three; heat: two axes and perhaps a metric; tornado: metrics, a page each; better: which side of a column
    is better, "low" or "high", beside those that are known (`better_side`).
    """

    pareto: tuple[str, ...] = ()
    heat: tuple[str, ...] = ()
    tornado: tuple[str, ...] = ()
    better: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> bool:
        """True where anything was asked for."""
        return bool(self.pareto or self.heat or self.tornado or self.better)


LOWER = ("bits_per_token", "bits_per_character", "rms_error")  # metrics of networks that are better where they are lower


def better_side(column: str) -> str | None:
    """Which side of a metric is better, as far as its name tells: accuracies and rates high; J, s, W, m², bits of a
    token and errors low."""
    if column.startswith("accuracy") or column.endswith(("_per_s", "_per_J")):
        return "high"
    return "low" if column.endswith(tuple(UNITS)) or column.startswith(LOWER) or column in ("arrays", "footprint_arrays") else None


def chosen(sheet: SweepSheet, view: View) -> View:
    """The view with everything that it leaves open, as far as the sweep has it; raises ResultsError naming what it has not."""
    for name, side in view.better.items():
        _known("better", name, sheet.numbers)
        if side not in BETTER:
            raise ResultsError(f"better: {name} = {side!r}: must be low or high")
    told = {name: side for name in sheet.metrics if (side := better_side(name))} | sheet.told_better
    better = told | dict(view.better)
    if view.pareto and (len(view.pareto) not in (2, 3) or len(set(view.pareto)) < len(view.pareto)):
        raise ResultsError(f"pareto: {','.join(view.pareto)}: must be two or three different columns")
    for name in view.pareto:
        _known("pareto", name, sheet.numbers)
        if name not in better:
            raise ResultsError(f"pareto: which side of {name} is better is not known; say --better {name}=low or {name}=high")
    for name in view.tornado:
        _known("tornado", name, [*sheet.metrics, "wall_s"])
    if view.heat:
        if len(view.heat) not in (2, 3) or view.heat[0] == view.heat[1]:
            raise ResultsError(f"heat: {','.join(view.heat)}: must be two different axes, and perhaps a metric")
        for name in view.heat[:2]:
            _known("heat", name, sheet.axes, "axis that varies")
        for name in view.heat[2:]:
            _known("heat", name, [*sheet.metrics, "wall_s"])
    if not sheet.metrics:
        if view.asked:
            raise ResultsError("no point has a result: there is nothing to draw by --pareto, --heat or --tornado")
        return View()
    wanted = [name for name in sheet.metrics if name in better and sheet.varies(name)]
    if "energy_on_chip_J" in wanted:  # the whole energy is the same and that of links
        wanted = [name for name in wanted if name != "energy_J"]
    usual = [name for name in wanted if name in sheet.first or name in view.better] or wanted
    pareto = view.pareto or (tuple(usual[:2]) if len(usual) > 1 else ())
    varying = [name for name in (*usual, *sheet.metrics) if sheet.varies(name)]
    tornado = view.tornado or tuple(name for name in pareto if name in sheet.metrics) or tuple(varying[:1] or sheet.metrics[:1])
    heat = view.heat
    if not heat and len(sheet.axes) > 1:
        effects = main_effects(sheet.done, sheet.axes, tornado[0])
        leaders = [leader(str(name), sheet.axes) for name in effects.index]
        first = [*leaders, *(name for name in sheet.axes if name not in leaders)][:2]
        heat = tuple(sorted(first, key=sheet.axes.index))
    heat = (*heat, tornado[0]) if len(heat) == 2 else heat
    return View(pareto, heat, tornado if sheet.axes else (), better)


def _known(option: str, name: str, allowed: Sequence[str], what: str = "column of numbers") -> None:
    if name in allowed:
        return
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.4) or list(allowed)[:8]
    hint = f"did you mean {' or '.join(near)}?" if near else f"this sweep has no {what}"
    raise ResultsError(f"{option}: {name}: no such {what}; {hint}")


# ---- what is computed


def pareto_front(frame: pd.DataFrame, better: Mapping[str, str]) -> pd.Series:
    """True for each row that no other beats: none is as good in every column of `better` and better in one.

    better: column and its better side, "low" or "high". Rows that are equal in all these columns do not beat each other: all
    of them are on the front, or none. A row with a missing value is not on it. Up to three columns take n log n steps; more,
    n times the length of the front. Raises ResultsError for a column that is not there or not of numbers.
    """
    if not better:
        raise ResultsError("better = (none): a front needs one column or more")
    for name, side in better.items():
        if name not in frame or not _is_number(frame[name]):
            raise ResultsError(f"{name}: no such column of numbers")
        if side not in BETTER:
            raise ResultsError(f"better: {name} = {side!r}: must be low or high")
    values = np.column_stack([frame[name].to_numpy(float, na_value=np.nan) * (1 if side == "low" else -1) for name, side in better.items()])
    whole = ~np.isnan(values).any(axis=1)
    found = np.zeros(len(frame), dtype=bool)
    if whole.any():
        distinct, group = np.unique(values[whole], axis=0, return_inverse=True)  # in the order of the first column, then the second, ...
        best = _staircase(distinct) if distinct.shape[1] <= 3 else _eliminated(distinct)
        found[whole] = best[group.reshape(-1)]
    return pd.Series(found, index=frame.index, name="front")


def _staircase(rows: np.ndarray) -> np.ndarray:
    """Which of distinct rows, in order, none beats (low is better): only an earlier row can, and those kept so far that are not
    beaten in the last two columns are a staircase, down in one as it goes up in the other."""
    padded = np.hstack([rows, np.zeros((len(rows), 3 - rows.shape[1]))])
    ups: list[float] = []
    downs: list[float] = []
    best = np.zeros(len(rows), dtype=bool)
    for place, (_, up, down) in enumerate(padded.tolist()):
        before = bisect_right(ups, up)
        if before and downs[before - 1] <= down:
            continue
        best[place] = True
        first = last = bisect_left(ups, up)
        while last < len(ups) and downs[last] >= down:
            last += 1
        ups[first:last], downs[first:last] = [up], [down]
    return best


def _eliminated(rows: np.ndarray) -> np.ndarray:
    """The same in any number of columns: the first row left is best; what it beats is taken away."""
    best, left = np.zeros(len(rows), dtype=bool), np.arange(len(rows))
    while len(left):
        best[left[0]] = True
        left = left[(rows[left] < rows[left[0]]).any(axis=1)]
    return best


def main_effects(frame: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """What each axis does to the metric, one row an axis, the greatest effect first; other axes are as they were sampled.

    The effect is the mean of the metric over one group of points less that over another: of an axis of numbers with at most
    `FEW_VALUES` values, points at its greatest and at its least; of one with more, the third of the points with the greatest
    values and the third with the least; of an axis of texts or switches, the category with the highest mean and the one with
    the lowest. Axes that always move together in the points (`together`) are one row, "a with b": which of them it is that acts cannot
    be told. Columns: low, high (the groups in words), mean_low, mean_high, points_low, points_high, effect, standard_error:
    sqrt(s1²/n1 + s2²/n2), s² each group's sample variance (Welch 1947, Biometrika 34:28; the formula from memory), missing
    where a group has one point. Points without the metric, or without the axis, are left out; axes that have one group are too.
    """
    rows = []
    part = frame[frame[metric].notna()]
    for group in together(part, axes):
        first, *others = group
        groups = _ends(part[first]) if _is_number(part[first]) else _extreme_categories(part, first, metric)
        if groups is None:
            continue
        axis, names = WITH.join(group), [", ".join([name, *_one_value(part.loc[mask, others])]) for name, mask in groups]
        (low_name, low), (high_name, high) = (
            (name, part.loc[mask, metric].astype(float)) for name, (_, mask) in zip(names, groups, strict=True)
        )
        few = min(len(low), len(high)) < 2
        error = np.nan if few else float(np.sqrt(low.var() / len(low) + high.var() / len(high)))
        rows.append((axis, low_name, high_name, low.mean(), high.mean(), len(low), len(high), high.mean() - low.mean(), error))
    columns = ["axis", "low", "high", "mean_low", "mean_high", "points_low", "points_high", "effect", "standard_error"]
    found = pd.DataFrame(rows, columns=columns).set_index("axis")
    return found.loc[found["effect"].abs().sort_values(ascending=False, kind="stable").index]


def _one_value(part: pd.DataFrame) -> list[str]:
    """The value of each column that has one alone."""
    return [shown("", each.iloc[0]) if _is_number(each) else str(each.iloc[0]) for _, each in part.items() if each.nunique() == 1]


Groups = tuple[tuple[str, pd.Series], tuple[str, pd.Series]] | None


def _ends(values: pd.Series) -> Groups:
    """The least and the greatest of an axis of numbers."""
    known = np.sort(values.dropna().to_numpy(float))
    distinct = np.unique(known)
    if len(distinct) < 2:
        return None
    third = -(-len(known) // 3)
    low, high = known[third - 1], known[-third]
    if len(distinct) <= FEW_VALUES or low >= high:
        return tuple((shown("", value), values == value) for value in (distinct[0], distinct[-1]))  # type: ignore[return-value]
    return (f"≤ {shown('', low)}", values <= low), (f"≥ {shown('', high)}", values >= high)


def _extreme_categories(frame: pd.DataFrame, axis: str, metric: str) -> Groups:
    """The categories with the lowest and the highest mean."""
    words = _words(frame[axis])
    means = frame.groupby(words, sort=False)[metric].mean()
    if len(means) < 2:
        return None
    low, high = means.idxmin(), means.idxmax()
    low, high = (means.index[0], means.index[1]) if low == high else (low, high)
    return (str(low), words == low), (str(high), words == high)


def front_table(sheet: SweepSheet, view: View) -> pd.DataFrame:
    """Points of the front, in the order of its first column, the best first: point, its columns, the axes, other usual metrics."""
    if not view.pareto:
        return pd.DataFrame()
    best = sheet.done[pareto_front(sheet.done, {name: view.better[name] for name in view.pareto})]
    columns = dict.fromkeys(["point", *view.pareto, *sheet.axes, *(name for name in sheet.first if name in sheet.metrics)])
    rising = [view.better[name] == "low" for name in view.pareto]
    return best[list(columns)].sort_values([*view.pareto, "point"], ascending=[*rising, True]).reset_index(drop=True)


def heat_table(sheet: SweepSheet, across: str, up: str, metric: str) -> pd.DataFrame:
    """Mean of the metric over the points of every cell of two axes: both axes' values or bins in words, points, mean, lowest,
    highest; a row for every cell, also where no point is."""
    part = sheet.done[sheet.done[metric].notna()]
    x, y = _bins(sheet.frame[across]), _bins(sheet.frame[up])
    cells = pd.DataFrame({"x": x.places[part.index], "y": y.places[part.index], "value": part[metric].to_numpy(float)})
    found = cells[(cells["x"] >= 0) & (cells["y"] >= 0)].groupby(["y", "x"])["value"].agg(["size", "mean", "min", "max"])
    whole = found.reindex(pd.MultiIndex.from_product([range(len(y.names)), range(len(x.names))], names=["y", "x"]))
    names = {across: [x.names[k] for k in whole.index.get_level_values("x")], up: [y.names[k] for k in whole.index.get_level_values("y")]}
    return pd.DataFrame({
        **names, "points": whole["size"].fillna(0).astype(int).to_numpy(), "mean": whole["mean"].to_numpy(),
        "lowest": whole["min"].to_numpy(), "highest": whole["max"].to_numpy(),
    })  # fmt: skip


@dataclass(frozen=True)
class _Bins:
    """Places along an axis: their names, which of them each row is in (-1: none), and the bounds of numbers that are binned."""

    names: list[str]
    places: np.ndarray
    bounds: list[str] | None = None


def _bins(values: pd.Series) -> _Bins:
    if not _is_number(values):
        words = _words(values)
        names = list(dict.fromkeys(words))
        if len(names) > MOST_VALUES:
            kept = list(words.value_counts().index[: MOST_VALUES - 1])
            rest = f"{len(names) - len(kept)} others"
            words, names = words.where(words.isin(kept), rest), [*kept, rest]
        return _Bins(names, words.map({name: place for place, name in enumerate(names)}).to_numpy())
    numbers = values.to_numpy(float, na_value=np.nan)
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if len(distinct) <= MOST_VALUES:
        places = np.where(np.isnan(numbers), -1, np.searchsorted(distinct, np.nan_to_num(numbers)))
        return _Bins([shown("", value) for value in distinct], places)
    count = int(np.clip(round(np.sqrt(len(numbers) / 5)), 3, MOST_BINS))
    bounds = (np.geomspace if _is_log(numbers) else np.linspace)(distinct[0], distinct[-1], count + 1)
    places = np.clip(np.searchsorted(bounds, np.nan_to_num(numbers), side="right") - 1, 0, count - 1)
    texts = [shown("", value, 3) for value in bounds]
    return _Bins([f"{a} to {b}" for a, b in itertools.pairwise(texts)], np.where(np.isnan(numbers), -1, places), texts)


# ---- columns in words


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _words(values: pd.Series) -> pd.Series:
    """Texts and switches as categories; a missing one is "none"."""
    return values.map(lambda value: "none" if pd.isna(value) else str(value).lower() if isinstance(value, bool | np.bool_) else str(value))


def _is_log(values: np.ndarray) -> bool:
    """True where numbers look spread by ratio: over more than LOG_RATIO, three quarters of them in the lower half of the range."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() <= 0 or known.max() < LOG_RATIO * known.min():
        return False
    distinct = np.unique(known)
    return bool(np.mean(distinct <= (known.min() + known.max()) / 2) >= 0.75)


def unit_of(column: str) -> str:
    """Unit of a metric by its name: % of an accuracy, else the end of the name; nothing where it has none."""
    if column.startswith("accuracy"):
        return "%"
    if column.endswith("_per_J"):
        return ""
    return next((unit for end, unit in UNITS.items() if column.endswith(end)), "")


def shown(column: str, value: Any, digits: int = 4) -> str:
    """A value of a column for people: a metric with its unit; a setting as one writes it; a dash where it is missing."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if not isinstance(value, int | float | np.number):
        return str(value)
    unit = unit_of(column)
    if not np.isfinite(value):
        return f"{value:+}"
    if unit == "%":
        return percent(float(value), 2)
    if unit:
        return human(float(value), unit, digits)
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


def scale_for(column: str, values: pd.Series) -> Scale:
    """In which unit the numbers of a column are drawn, and whether by ratio."""
    numbers = values.to_numpy(float, na_value=np.nan)
    known = np.abs(numbers[np.isfinite(numbers)])
    unit, words = unit_of(column), name_of(column)
    log = _is_log(numbers)
    if unit == "%":
        return Scale(f"{words}, %", 100.0, log)
    if unit == "m²":
        return Scale(f"{words}, mm²", 1e6, log)
    if not unit:
        return Scale(words, 1.0, log)
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
    """Settings by the last part of their names, where no other ends so and it says enough."""
    names = list(names)
    ends = [name.rpartition(".")[2] for name in names]
    plain = ("name", "bits", "seed", "range", "data", "weights", "mode")  # of many things
    return {
        name: end if ends.count(end) == 1 and end not in plain else ".".join(name.split(".")[-2:])
        for name, end in zip(names, ends, strict=True)
    }


# ---- pages


def verdict(sheet: SweepSheet, view: View) -> str:
    """What came of the sweep, in a sentence or two."""
    count, failed = len(sheet.frame), sheet.failed
    told = f"{_counted(count, 'point', 'points')} over {_counted(len(sheet.axes), 'axis', 'axes')}"
    if failed == count:
        return f"{told}: all failed."
    told += f", {failed:,} failed." if failed else "."
    if view.pareto:
        on = int(pareto_front(sheet.done, {name: view.better[name] for name in view.pareto}).sum())
        told += f" {on:,} {'is' if on == 1 else 'are'} on the Pareto front of {_sides(view)}."
    return told


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _sides(view: View) -> str:
    """The columns of the front with their better sides."""
    return _listed([f"{name_of(name)} ({view.better[name]})" for name in view.pareto])


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def best_points(sheet: SweepSheet, view: View) -> list[tuple[str, str, pd.Series, int]]:
    """The best point of each usual metric that varies: column, its better side, the row, how many others are as good."""
    metrics = [name for name in (*sheet.first, *view.better) if name in sheet.metrics]
    names = dict.fromkeys([*view.pareto, *metrics])
    found = []
    for name in names:
        values = sheet.done[name].dropna()
        if name not in view.better or values.nunique() < 2 or (name not in sheet.first and name not in view.pareto and len(found) >= 3):
            continue
        best = values.min() if view.better[name] == "low" else values.max()
        rows = sheet.done[sheet.done[name] == best]
        found.append((name, view.better[name], rows.iloc[0], len(rows) - 1))
    return found[:6]


def headlines(sheet: SweepSheet, view: View) -> list[tuple[str, str, str]]:
    """The best of each usual metric: label, value, and where."""
    names = short_names(sheet.axes)
    return [
        (f"{'Highest' if side == 'high' else 'Lowest'} {name_of(name)}", shown(name, row[name]),
         ", ".join(f"{names[axis]} {shown('', row[axis])}" for axis in sheet.axes[:4]))
        for name, side, row, _ in best_points(sheet, view)
    ]  # fmt: skip


def errors_of(sheet: SweepSheet, most: int = 3) -> list[str]:
    """The most frequent errors, each with how often it came."""
    counts = sheet.frame["error"].dropna().value_counts()
    lines = [f"{count} x  {text}" for text, count in counts.iloc[:most].items()]
    return lines + [f"and {len(counts) - most} other errors; results.parquet has them"] * (len(counts) > most)


def _values_of(values: pd.Series) -> str:
    """Values of an axis in words."""
    if _is_number(values):
        known = np.sort(values.dropna().unique())
        if len(known) > 8:
            how = ", spread by ratio" if _is_log(known.astype(float)) else ""
            return f"{shown('', known[0])} to {shown('', known[-1])}{how}"
        texts = [shown("", value) for value in known] + ["none"] * bool(values.isna().any())
    else:
        texts = list(dict.fromkeys(_words(values)))
    return ", ".join(texts)


def _metric_rows(sheet: SweepSheet, view: View) -> list[list[str]]:
    """Metric, better side, lowest, median, highest, points; metrics that do not vary last."""
    names = sorted(sheet.metrics, key=lambda name: not sheet.varies(name))
    rows = []
    for name in names:
        values = sheet.done[name].dropna()
        span = (shown(name, value) for value in (values.min(), float(values.median()), values.max()))
        rows.append([ending(name, 34), view.better.get(name, "–"), *span, f"{len(values):,}"])
    return rows


def overview(sheet: SweepSheet, view: View) -> Figure:
    """What was swept, ranges of the metrics, the best points, and what failed."""
    figure = page(sheet.title, verdict(sheet, view))
    figure.set_label(cut(sheet.title, 40))  # as the contents have it
    swept = [sheet.frame[name] for name in sheet.axes]
    axes = [[ending(str(c.name), 34), cut(_values_of(c), 92), f"{c.nunique(dropna=False):,}"] for c in swept]
    metrics = _metric_rows(sheet, view)
    best = best_points(sheet, view)
    errors = [line for text in errors_of(sheet) for line in textwrap.wrap(cut(text, 290), 150)]
    axes = _capped(axes, 8, "axes")
    metrics = _capped(metrics, 16 - len(axes) - (len(errors) > 2), "metrics")
    shared = textwrap.wrap("Shared by all points: " + ", ".join(f"{k} {shown('', v)}" for k, v in sheet.meta["fixed"].items()), 172)
    shared = shared[:3] if sheet.meta["fixed"] else []
    lines = len(axes) + len(metrics) + len(best)
    row = min(ROW_HEIGHT, (0.69 - 0.017 * (len(errors) + len(shared))) / (lines + 5))
    end = 0.865
    if axes:
        end = draw_table(figure, end, (("axis", 0.05, "left"), ("values", 0.30, "left"), ("different", 0.95, "right")), axes, row)
        end -= 1.9 * row
    if metrics:
        columns: tuple[Column, ...] = (
            ("metric", 0.05, "left"), ("better", 0.30, "left"), ("lowest", 0.52, "right"), ("median", 0.66, "right"),
            ("highest", 0.80, "right"), ("points", 0.95, "right"),
        )  # fmt: skip
        end = draw_table(figure, end, columns, metrics, row) - 1.9 * row
    if best:
        rows = pd.DataFrame([
            {"best": f"{'highest' if side == 'high' else 'lowest'} {name_of(name)}" + (f" (and {others:,} more)" if others else ""),
             "point": str(found["point"]), **{name_of(n): shown(n, found[n]) for n, *_ in best[:4]},
             **{short: shown("", found[axis]) for axis, short in short_names(sheet.axes).items()}}
            for name, side, found, others in best
        ])  # fmt: skip
        end = _fitted_table(figure, end, rows, row) - 1.5 * row
    if errors:
        heading = f"{_counted(sheet.failed, 'point', 'points')} failed; the most frequent error first"
        write(figure, 0.05, end, heading, size=9, weight="bold", colour=SOFT, vertical="top")
        write(figure, 0.05, end - 0.022, "\n".join(errors), size=8, vertical="top", linespacing=1.4)
        end -= 0.022 + 0.0178 * len(errors) + 0.012
    if sheet.metrics and not view.pareto:
        write(figure, 0.05, end, "No Pareto front: fewer than two metrics vary that are known to be better low or high (--better says so).",
              size=8, colour=SOFT, vertical="top")  # fmt: skip
        end -= 0.025
    write(figure, 0.05, end, "\n".join(shared), size=8, colour=SOFT, vertical="top", linespacing=1.4)
    return figure


def _capped(rows: list[list[str]], most: int, what: str) -> list[list[str]]:
    """The first rows, and how many more there are."""
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], [f"{len(rows) - most + 1} more {what} in results.parquet", *[""] * (len(rows[0]) - 1)]]


@cache
def _width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a text, share of the page."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72 / PAGE[0]


def _fitted_table(figure: Figure, top: float, table: pd.DataFrame, row: float) -> float:
    """A table of texts as wide as its texts; columns that have no room are left out, and it says so. Where its last row ends."""
    gap, x, columns, used = 0.016, 0.05, [], []
    table = table.map(lambda text: ending(text, 34))
    widths = {
        name: max([_width(ending(str(name), 24), 9, "bold"), *(_width(text, 8.5) for text in table[name])]) for name in table
    }
    crowded = sum(widths.values()) + gap * (len(widths) - 1) > 0.9
    for place, name in enumerate(table):
        if x + widths[name] > 0.95 - (0.07 if crowded else 0.0):
            write(figure, 0.95, top, f"+{len(table.columns) - place} more", size=9, colour=SOFT, align="right")
            break
        numbers = place > 0 and not any(text[:1].isalpha() for text in table[name])
        columns.append((ending(str(name), 24), x + widths[name] if numbers else x, "right" if numbers else "left"))
        used.append(name)
        x += widths[name] + gap
    return draw_table(figure, top, tuple(columns), table[used].to_numpy().tolist(), row)


def pareto(sheet: SweepSheet, view: View) -> Figure:
    """Every point by two columns, a third as colour, the front marked; the front's points in a table."""
    sides = {name: view.better[name] for name in view.pareto}
    y, x, *third = view.pareto
    whole = sheet.done.dropna(subset=list(view.pareto))
    on = pareto_front(whole, sides)
    table = front_table(sheet, view)
    tied = int(table.duplicated(list(view.pareto), keep=False).sum())
    left_out = len(sheet.done) - len(whole)
    told = f"Better: {cut(', '.join(f'{name_of(name)} {side}' for name, side in sides.items()), 60)}  ·  "
    told += f"{len(table):,} of {_counted(len(whole), 'point', 'points')}, beaten by none"
    told += f"  ·  {tied:,} as good as another" if tied else ""
    told += f"  ·  {left_out:,} without a value" if left_out else ""
    figure = page(f"Pareto front: {_listed([name_of(name) for name in view.pareto])}", told)
    rows = min(len(table), ROWS_OF_FRONT)
    bottom = 0.215 + 0.0235 * rows
    axes = plot(figure, (0.085, bottom, 0.72 if third else 0.865, 0.84 - bottom), f"{name_of(y)} against {name_of(x)}", "both")
    across, up = scale_for(x, whole[x]), scale_for(y, whole[y])
    drawn, best = evenly(whole[~on], MOST_DRAWN), whole[on].sort_values([x, y])
    if third:
        depth = scale_for(third[0], whole[third[0]])
        colour = _norm(whole[third[0]].astype(float) * depth.factor)
        for rows_, marker, size, edge in ((drawn, "o", 16, "none"), (best, "D", 46, INK)):
            axes.scatter(rows_[x] * across.factor, rows_[y] * up.factor, c=rows_[third[0]] * depth.factor, cmap=SHADES, norm=colour,
                         marker=marker, s=size, edgecolors=edge, linewidths=1.1, rasterized=len(rows_) > 2000, zorder=3)  # fmt: skip
        _colour_bar(figure, (0.83, bottom, 0.016, 0.84 - bottom), colour, depth.label)
    else:
        axes.scatter(drawn[x] * across.factor, drawn[y] * up.factor, s=14, color="#9aa5b1", alpha=0.8 if len(drawn) < 300 else 0.5,
                     edgecolors="none", rasterized=len(drawn) > 2000, zorder=2)  # fmt: skip
        steps = "steps-post" if sides[x] == "low" else "steps-pre"
        axes.plot(best[x] * across.factor, best[y] * up.factor, drawstyle=steps, color=ACCENT, lw=1.5, marker="D", ms=6, mec=INK, mew=0.8,
                  zorder=4)  # fmt: skip
    across.apply(axes, "x")
    up.apply(axes, "y")
    handles = [Line2D([], [], ls="none" if third else "-", marker="D", color=PAPER if third else ACCENT, mec=INK, label="front")]
    if len(drawn):
        others = "other points" + (", in part" if len(drawn) < (~on).sum() else "")
        handles.insert(0, Line2D([], [], ls="none", marker="o", color="#9aa5b1", label=others))
    axes.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=INK, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    names = short_names(sheet.axes)
    texts = pd.DataFrame({names.get(name, name_of(name)): [shown(name if name in sheet.metrics else "", value) for value in table[name]]
                          for name in table})  # fmt: skip
    more = len(texts) - ROWS_OF_FRONT
    kept = evenly(texts, ROWS_OF_FRONT)
    end = _fitted_table(figure, bottom - 0.085, kept, 0.0235)
    note = f"{len(kept)} of the front's {len(texts):,} points, evenly along it; all stand in front.csv. " if more > 0 else ""
    note += "A point is beaten where another is at least as good in all these columns and better in one. "
    write(figure, 0.05, end - 0.022, f"{note}Settings are in the chip file's own units.", size=8, colour=SOFT, vertical="top")
    return figure


def evenly(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most that many rows, evenly from the first to the last."""
    return rows if len(rows) <= most else rows.iloc[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def _norm(values: pd.Series) -> Normalize:
    """From the lowest to the highest value, or around the one there is."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        width = abs(low) * 0.05 or 1.0
        low, high = low - width, high + width
    return Normalize(low, high)


def _colour_bar(figure: Figure, box: tuple[float, float, float, float], norm: Normalize, label: str) -> None:
    axes = figure.add_axes(box)
    bar = figure.colorbar(ScalarMappable(norm, SHADES), cax=axes)
    bar.outline.set_visible(False)  # type: ignore[operator]
    axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
    axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    bar.set_label(label, fontsize=8.5, color=SOFT)


def tornado_pages(sheet: SweepSheet, effects: Mapping[str, pd.DataFrame]) -> list[Figure]:
    """The main effects on each metric, a page each, or two where both are of few axes."""
    figures, waiting = [], list(effects.items())
    while waiting:
        together = waiting[: 2 if all(len(table) <= FEW_AXES for _, table in waiting[:2]) else 1]
        waiting = waiting[len(together) :]
        figures.append(tornado_page(sheet, *together[0]) if len(together) == 1 else _two_tornados(sheet, dict(together)))
    return figures


def tornado_page(sheet: SweepSheet, metric: str, effects: pd.DataFrame) -> Figure:
    """The main effect of each axis on a metric: bars around the mean, and the numbers."""
    values = sheet.done[metric].dropna().astype(float)
    figure = page(f"What each axis does to {name_of(metric)}", f"Main effects over {len(values):,} points, "
                  f"mean {shown(metric, values.mean())}, from {shown(metric, values.min())} to {shown(metric, values.max())}")  # fmt: skip
    part = effects.head(MOST_AXES)
    if part.empty:
        write(figure, 0.05, 0.85, "No axis has two groups of points with this metric.", size=10)
        return figure
    row = min(0.0235, 0.34 / len(part))
    height = min(0.84 - (0.265 + row * len(part)), 0.05 + 0.085 * len(part))
    _tornado(figure, (0.25, 0.84 - height, 0.68, height), "Mean of the metric at either end of an axis", sheet, metric, part)
    end = _tornado_table(figure, 0.84 - height - 0.09, metric, part, row)
    more = f" {len(effects) - len(part)} axes more in tornado.csv." if len(effects) > len(part) else ""
    _tornado_words(figure, end - 0.02, more + _joined(part))
    return figure


def _two_tornados(sheet: SweepSheet, effects: Mapping[str, pd.DataFrame]) -> Figure:
    """The same of two metrics of few axes: bars side by side, the numbers below."""
    names = _listed([name_of(metric) for metric in effects])
    figure = page(f"What each axis does to {names}", f"Main effects over the {len(sheet.done):,} points that did not fail")
    figure.set_label(cut(f"What each axis does to {names}", 40))  # as the contents have it
    most = max(1, *map(len, effects.values()))
    height = min(0.10 + 0.055 * most, 0.30)
    for (metric, part), left in zip(effects.items(), (0.15, 0.64), strict=True):
        if len(part):
            _tornado(figure, (left, 0.84 - height, 0.31, height), f"Mean {name_of(metric)} at either end", sheet, metric, part)
    end = 0.84 - height - 0.045
    for metric, part in effects.items():
        values = sheet.done[metric].dropna().astype(float)
        mean, low, high = (shown(metric, value) for value in (values.mean(), values.min(), values.max()))
        write(figure, 0.05, end - 0.04, f"{name_of(metric)}: mean {mean}, from {low} to {high}", size=9.5, weight="bold")
        end = _tornado_table(figure, end - 0.075, metric, part, 0.0235)
        end = end - 0.012
    _tornado_words(figure, end - 0.012, _joined(*effects.values()))
    return figure


def _joined(*effects: pd.DataFrame) -> str:
    """Axes that stand as one, in a sentence."""
    names = dict.fromkeys(str(name) for part in effects for name in part.index if WITH in str(name))
    return f" Axes that always move together in the points stand as one: {'; '.join(names)}." if names else ""


def _tornado(
    figure: Figure, box: tuple[float, float, float, float], title: str, sheet: SweepSheet, metric: str, part: pd.DataFrame
) -> None:
    """Bars of the main effects on a metric, and the legend of the page."""
    values = sheet.done[metric].dropna().astype(float)
    scale = replace(scale_for(metric, values), log=False)
    axes = plot(figure, box, title, "x")
    places = np.arange(len(part))
    low, high, error = ((part[name] * scale.factor).to_numpy(float) for name in ("mean_low", "mean_high", "standard_error"))
    texts = [not _is_number(sheet.frame[leader(str(axis), sheet.axes)]) for axis in part.index]
    for place, a, b, e, is_text in zip(places, low, high, error, texts, strict=True):
        colour, hatch = ("#9aa5b1", "") if is_text else (ACCENT, "") if b >= a else ("#f0c987", "////")
        edge = SECOND if hatch else colour
        axes.barh(place, b - a, left=a, height=0.56, color=colour, hatch=hatch, edgecolor=edge, linewidth=0.8, zorder=2)
        axes.errorbar(b, place, xerr=0.0 if np.isnan(e) else e, fmt="o", ms=4, color=INK, elinewidth=1.0, capsize=2.5, zorder=3)
    mean = float(values.mean()) * scale.factor
    axes.axvline(mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
    reach = np.nan_to_num(error)
    left, right = min(mean, low.min(), (high - reach).min()), max(mean, low.max(), (high + reach).max())
    span = (right - left) or abs(mean) * 0.1 or 1.0
    wide = box[2] > 0.5
    room = 0.2 if wide else 0.35
    axes.set_xlim(left - room * span, right + room * span)
    for place, a, b, e, (low_name, high_name) in zip(places, low, high, reach, part[["low", "high"]].to_numpy(), strict=True):
        sign = 1 if b >= a else -1
        for text, at, side in ((low_name, sign * min(sign * a, sign * b - e), -sign), (high_name, b + sign * e, sign)):
            axes.annotate(ending(str(text), 20 if wide else 12), (at, place), xytext=(6 * side, 0), textcoords="offset points", va="center",
                          fontsize=7.5, color=INK, ha="left" if side > 0 else "right")  # fmt: skip
    names = dict(zip(sheet.axes, sheet.axes, strict=True)) if wide else short_names(sheet.axes)
    told = [WITH.join(names[each] for each in str(name).split(WITH)) for name in part.index]
    axes.set_yticks(places, [ending(name, 30 if wide else 16) for name in told], fontsize=8.5, color=INK)
    axes.set_ylim(len(part) - 0.4, -0.6)
    scale.apply(axes, "x")
    if unit_of(metric) == "%":  # a whisker may reach where no share can be
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100 and left - room * span <= tick <= right + room * span])
    handles = [Patch(facecolor=ACCENT, label="rises along the axis"),
               Patch(facecolor="#f0c987", edgecolor=SECOND, hatch="////", label="falls along the axis"),
               Patch(facecolor="#9aa5b1", label="lowest to highest of texts"),
               Line2D([], [], color=INK, marker="o", ms=4, label="± standard error of the effect, at the high end"),
               Line2D([], [], color=INK, lw=0.9, ls=(0, (4, 2)), label="mean of all points")]  # fmt: skip
    if figure.legends:
        return
    figure.legend(handles=handles, frameon=False, fontsize=8, ncols=5, columnspacing=1.4, labelcolor=INK, loc="upper right",
                  bbox_to_anchor=(0.957, 0.91))  # fmt: skip


def _tornado_table(figure: Figure, top: float, metric: str, part: pd.DataFrame, row: float) -> float:
    """The numbers of the effects on a metric; where its last row ends."""
    columns: tuple[Column, ...] = (
        ("axis", 0.05, "left"), ("low end", 0.28, "left"), ("high end", 0.41, "left"), ("points at each", 0.58, "right"),
        ("mean, low end", 0.68, "right"), ("mean, high end", 0.79, "right"), ("effect", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [ending(str(axis), 32), ending(str(r["low"]), 17), ending(str(r["high"]), 17),
         f"{int(r['points_low']):,}, {int(r['points_high']):,}",
         shown(metric, r["mean_low"]), shown(metric, r["mean_high"]), _effect(metric, r["effect"], r["standard_error"])]
        for axis, r in part.iterrows()
    ]  # fmt: skip
    return draw_table(figure, top, columns, rows, row)


def _tornado_words(figure: Figure, top: float, more: str) -> None:
    """What an effect is."""
    note = (
        "Effect: mean of the metric over the points at the high end of an axis less that over those at its low end, the other axes as "
        f"they were sampled. Ends: the least and the greatest value of an axis with at most {FEW_VALUES} values; the thirds of the points "
        "with the least and the greatest of one with more; of texts, the one with the lowest and the one with the highest mean, so that "
        "the effect looks larger than it is where they hardly differ. Standard error: sqrt(s1²/n1 + s2²/n2), s² the variance within an "
        "end, which the other axes make too: in a full grid, where they are the same at both ends, it is overstated. What turns between "
        "the ends does not show here."
    )
    write(figure, 0.05, top, "\n".join(textwrap.wrap(note + more, 172)), size=8, colour=SOFT, vertical="top", linespacing=1.35)


def _effect(metric: str, effect: float, error: float) -> str:
    """An effect with its standard error; of shares in points."""
    if unit_of(metric) == "%":
        return f"{100 * effect:+.2f}" + (f" ± {100 * error:.2f}" if not np.isnan(error) else "") + " points"
    sign = "+" if effect > 0 else ""
    return f"{sign}{shown(metric, effect, 3)}" + (f" ± {shown(metric, error, 2)}" if not np.isnan(error) else "")


def heat_map(sheet: SweepSheet, across: str, up: str, metric: str) -> Figure:
    """Mean of a metric over two axes; how many points each cell has; cells without points hatched."""
    table = heat_table(sheet, across, up, metric)
    x, y = _bins(sheet.frame[across]), _bins(sheet.frame[up])
    shape = len(y.names), len(x.names)
    means, counts = table["mean"].to_numpy().reshape(shape), table["points"].to_numpy().reshape(shape)
    filled = counts > 0
    each = f"{counts[filled].min():,} to {counts.max():,}" if filled.any() and counts[filled].min() < counts.max() else ""
    each = f"{each} points" if each else _counted(int(counts.max()), "point", "points")
    others = [name for name in sheet.axes if name not in (across, up)]
    told = f"Mean over {each} a cell" + (f", {_counted(len(others), 'other axis', 'other axes')} as sampled" if others else "")
    figure = page(f"{name_of(metric)[:1].upper()}{name_of(metric)[1:]} over two axes", told
                  + (f"  ·  {(~filled).sum():,} of {filled.size} cells have no point" if not filled.all() else ""))  # fmt: skip
    short = short_names(sheet.axes)
    title = f"{cut(name_of(metric), 24)} by {ending(short[across], 24)} and {ending(short[up], 24)}"
    scale = replace(scale_for(metric, table["mean"]), log=False)
    values = pd.Series(means[filled] * scale.factor)
    axes = plot(figure, (0.17, 0.17, 0.63, 0.66), title, "none")
    norm = _norm(values) if len(values) else Normalize(0, 1)
    empty = {"facecolor": PAPER, "hatch": "////", "edgecolor": "#cbd2d9"}
    axes.add_patch(Rectangle((0, 0), shape[1], shape[0], linewidth=0, zorder=0, **empty))
    cells = np.ma.masked_array(means * scale.factor, ~filled)
    axes.pcolormesh(np.arange(shape[1] + 1), np.arange(shape[0] + 1), cells, cmap=SHADES, norm=norm, edgecolors=PAPER, linewidth=1.2)
    room = min(0.63 * PAGE[0] / shape[1], 0.66 * PAGE[1] / shape[0] * 1.6)  # width of a cell, or as its height allows [inch]
    varied_counts = len(set(counts[filled].tolist())) > 1
    for row, column in zip(*np.nonzero(filled), strict=True):
        value = means[row, column] * scale.factor
        style = {"color": _ink_on(SHADES(float(norm(value)))), "ha": "center", "va": "center", "textcoords": "offset points"}
        middle = (column + 0.5, row + 0.5)
        counted = room > 0.6 and varied_counts
        if room > 0.45:
            axes.annotate(significant(float(value)), middle, (0, 4 if counted else 0), fontsize=8.5 if room > 0.7 else 7, **style)
        if counted:
            axes.annotate(f"n = {counts[row, column]:,}", middle, (0, -7), fontsize=6.5, **style)
    for bins, axis, most in ((x, axes.xaxis, 16), (y, axes.yaxis, 18)):
        labels = bins.bounds or [ending(name, most) for name in bins.names]
        axis.set_ticks(np.arange(len(labels)) + (0.0 if bins.bounds else 0.5), labels, fontsize=8.5)
    crowded = max(len(label.get_text()) for label in axes.get_xticklabels()) * shape[1] > 120
    axes.tick_params(axis="x", labelrotation=20 if crowded else 0)
    axes.set_xlim(0, shape[1])
    axes.set_ylim(0, shape[0])
    axes.set_xlabel(ending(across, 60) + (", binned" if x.bounds else ""), fontsize=8.5)
    axes.set_ylabel(ending(up, 60) + (", binned" if y.bounds else ""), fontsize=8.5)
    if len(values):
        _colour_bar(figure, (0.84, 0.17, 0.016, 0.66), norm, scale.label)
    if not filled.all():
        axes.legend(handles=[Patch(label="no point", **empty)], frameon=False, fontsize=8.5,
                    labelcolor=INK, loc="lower right", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    note = "The mean is over the points in a cell: where the other axes differ between cells, that shows too. Values: heat.csv."
    write(figure, 0.05, 0.06, f"Settings are in the chip file's own units. {note}", size=8, colour=SOFT)
    return figure


def _ink_on(colour: tuple[float, float, float, float]) -> str:
    """Dark or light type, whichever is told apart better (relative luminance as in WCAG 2: dark from 0.22 on)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return INK if float(np.dot(linear, (0.2126, 0.7152, 0.0722))) > 0.22 else PAPER


@dataclass(frozen=True)
class ParallelColumns:
    """What stands side by side: axes and metrics, the metric that colours lines, how many axes have no room."""

    axes: list[str]
    metrics: list[str]
    colour_by: str
    left_out: int


def parallel_columns(sheet: SweepSheet, view: View) -> ParallelColumns:
    """Which columns of a sweep that has metrics are shown in parallel."""
    colour_by = next((name for name in (*view.pareto, *view.tornado) if name in sheet.metrics), sheet.metrics[0])
    usual = list(dict.fromkeys(name for name in (*view.pareto, *filter(sheet.varies, sheet.metrics)) if name in sheet.metrics and
                               (name in view.pareto or name in sheet.first)))  # fmt: skip
    metrics = (usual or [colour_by])[:5]
    kept = sheet.axes[: MOST_PARALLEL - len(metrics)]
    return ParallelColumns(kept, metrics, colour_by, len(sheet.axes) - len(kept))


def parallel(sheet: SweepSheet, view: View) -> Figure:
    """Axes and usual metrics side by side, a line a point, coloured by the first metric; the front on top."""
    layout = parallel_columns(sheet, view)
    colour_by, columns, more = layout.colour_by, [*layout.axes, *layout.metrics], layout.left_out
    rows = sheet.done.dropna(subset=[colour_by])
    drawn = evenly(rows, MOST_LINES)
    told = f"{len(drawn):,} of " if len(drawn) < len(rows) else ""
    told += f"{_counted(len(rows), 'point', 'points')}, a line each, coloured by {name_of(colour_by)}"
    told += f"  ·  {_counted(more, 'axis is', 'axes are')} not shown" if more else ""
    figure = page("All axes and metrics at once", told)
    scale = scale_for(colour_by, rows[colour_by])
    norm = _norm(rows[colour_by].astype(float) * scale.factor)
    best = pareto_front(rows, {name: view.better[name] for name in view.pareto}) if view.pareto else pd.Series(False, index=rows.index)
    axes = plot(figure, (0.085, 0.17, 0.76, 0.65), "Settings and what came of them", "none")
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=11, color=INK, fontweight="bold", pad=19)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    heights, ticks = zip(*(heights_of(rows[name]) for name in columns), strict=True)
    paths = pd.DataFrame(np.column_stack(heights), index=rows.index)
    across = np.arange(len(columns))

    def lines(index: pd.Index) -> list[np.ndarray]:
        return [np.column_stack([across, path]) for path in paths.loc[index].to_numpy()]

    few = len(drawn) < 100
    order = drawn[colour_by].sort_values().index
    axes.add_collection(LineCollection(lines(order), colors=SHADES(norm(drawn.loc[order, colour_by].to_numpy(float) * scale.factor)),
                        linewidths=1.1 if few else 0.6, alpha=0.9 if few else 0.45, rasterized=len(drawn) > 2000, zorder=2))  # fmt: skip
    on = evenly(rows[best], 200)
    axes.add_collection(LineCollection(lines(on.index), colors=PAPER, linewidths=3.0, zorder=3))
    axes.add_collection(LineCollection(lines(on.index), colors=INK, linewidths=1.4, zorder=4))
    names = short_names(sheet.axes)
    has_missing = False
    for place, (name, marks) in enumerate(zip(columns, ticks, strict=True)):
        axes.axvline(place, color=SOFT, linewidth=1.0, zorder=5)
        for (height, _), text in zip(marks, told_apart(name if name in sheet.metrics else "", [value for _, value in marks]), strict=True):
            write(axes, place + 0.03, height, ending(text, 14), size=7.5, vertical="center", transform=axes.transData, zorder=6,
                  bbox={"facecolor": PAPER, "alpha": 0.75, "edgecolor": "none", "pad": 0.6})  # fmt: skip
        if _is_number(rows[name]) and rows[name].isna().any():
            has_missing = True
            write(axes, place + 0.03, MISSING, "missing", size=7.5, vertical="center", colour=SOFT, transform=axes.transData, zorder=6)
        below = {"transform": axes.get_xaxis_transform()}
        label = ending(names.get(name, name_of(name)), 40).replace("_", "_ ").replace(".", ". ")
        label = textwrap.fill(label, 13, break_long_words=False).replace("_ ", "_").replace(". ", ".")
        write(axes, place, -0.02, label, size=8, weight="bold", align="center", vertical="top", **below)
        if name in sheet.metrics and name in view.better:
            write(axes, place, 1.01, f"better {view.better[name]}", size=7.5, colour=SOFT, align="center", **below)
    axes.set_xlim(-0.15, len(columns) - 1 + 0.55)
    axes.set_ylim(-0.16 if has_missing else -0.04, 1.03)
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    _colour_bar(figure, (0.89, 0.17, 0.016, 0.65), norm, scale.label)
    handles = [Line2D([], [], color=INK, lw=1.6, label=f"Pareto front of {_sides(view)}")] if view.pareto else []
    if handles:
        figure.legend(handles=handles, frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right", bbox_to_anchor=(0.95, 0.91))
    note = "Each scale runs from the lowest to the highest value, by ratio where values are spread so; texts stand as they came."
    write(figure, 0.05, 0.06, f"{note} Points that failed are not drawn.", size=8, colour=SOFT)
    return figure


def told_apart(column: str, values: list[Any]) -> list[str]:
    """Values in words, with as many digits as tell them apart."""
    for digits in (3, 4, 5, 6):
        texts = [shown(column, value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def heights_of(values: pd.Series) -> tuple[np.ndarray, list[tuple[float, Any]]]:
    """Where each value stands between 0 and 1 (`MISSING`: it has none), and marks (height, value)."""
    if not _is_number(values):
        bins = _bins(values)
        most = max(1, len(bins.names) - 1)
        single = len(bins.names) == 1
        return (np.full(len(values), 0.5) if single else bins.places / most), [
            (0.5 if single else place / most, name) for place, name in enumerate(bins.names)
        ]
    numbers = values.to_numpy(float, na_value=np.nan)
    known = np.unique(numbers[~np.isnan(numbers)])
    if not len(known):
        return np.full(len(values), MISSING), []
    if len(known) == 1:
        return np.where(np.isnan(numbers), MISSING, 0.5), [(0.5, known[0])]
    log = _is_log(numbers)
    low, high = known[0], known[-1]

    def height(value: np.ndarray) -> np.ndarray:
        return np.log(value / low) / np.log(high / low) if log else (value - low) / (high - low)

    evenly = np.linspace(0, 1, 5)
    marks = known if len(known) <= 6 else low * (high / low) ** evenly if log else low + evenly * (high - low)
    found = height(np.where(np.isnan(numbers), low, numbers))
    return np.where(np.isnan(numbers), MISSING, found), [(float(height(mark)), mark) for mark in marks]


# ---- in words


def summary_text(sheet: SweepSheet, view: View) -> str:
    """What was swept, ranges, the best points and the front, as plain text."""
    lines = [sheet.title, "", *textwrap.wrap(verdict(sheet, view), 110), ""]
    width = max([len(name) for name in (*sheet.axes, *sheet.metrics)], default=10) + 2
    lines += [f"{name:{width}}{cut(_values_of(sheet.frame[name]), 90)}" for name in sheet.axes]
    if sheet.metrics:
        lines += ["", f"{'metric':{width}}{'better':8}{'lowest':>14}{'median':>14}{'highest':>14}{'points':>9}"]
        rows = _metric_rows(sheet, view)
        lines += [f"{n:{width}}{b:8}{low:>14}{mid:>14}{high:>14}{c:>9}" for n, b, low, mid, high, c in rows if sheet.varies(n)]
        same = [f"{name} {value}" for name, _, value, *_ in rows if not sheet.varies(name)]
        lines += textwrap.wrap(f"the same of all: {', '.join(same)}", 110) if same else []
    front = front_table(sheet, view)
    if len(front):
        texts = pd.DataFrame({name: [shown(name if name in sheet.metrics else "", value) for value in front[name]] for name in front})
        kept = evenly(texts, 20)
        lines += ["", f"Pareto front of {_sides(view)}: {len(front):,} points" 
                  + (f", {len(kept)} of them here" if len(kept) < len(front) else "")]  # fmt: skip
        lines += kept.to_string(index=False).splitlines()
    if sheet.failed:
        heading = f"{_counted(sheet.failed, 'point', 'points')} failed; the most frequent error first:"
        lines += ["", heading, *(cut(text, 300) for text in errors_of(sheet))]
    return "\n".join(line.rstrip() for line in lines).replace("\u00a0", " ") + "\n"

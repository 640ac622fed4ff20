"""What a sweep left, and what of it is looked at: a sheet and a view."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from xbar.reports.metric import ShownMetric
from xbar.reports.notebook import in_notebook, printed
from xbar.reports.results import ResultsError
from xbar.reports.sweep_columns import UNITS, is_number, unit_of
from xbar.reports.sweep_effects import main_effects
from xbar.reports.tied_axes import leader

FILE, RESULTS = "sweep.json", "results.parquet"
OWN = ("point", "wall_s", "error", "key")  # columns of the sweep itself
BETTER = ("low", "high")
FIRST = (  # metrics that are looked at before others
    "accuracy", "bits_per_character", "bits_per_token", "rms_error", "energy_on_chip_J", "energy_J", "latency_s", "area_m2",
    "throughput_per_s",
)  # fmt: skip


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
        _check_metrics(directory / FILE, meta)
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

        from xbar.reports.sweep_pages import headlines, verdict

        view = chosen(self, View())
        return printed(f"{self.title}: {verdict(self, view)}", headlines(self, view))

    def _repr_html_(self) -> str:

        from xbar.reports.sweep_pages import headlines, pareto, verdict

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
        errors = {f"{name}{end}" for name in self.told for end in ("_error", "_freedom")}
        others = {*OWN, *errors, "level", *self.meta["varied"], *self.meta["fixed"]}
        judged = [name for name in self.frame if name not in others and not name.startswith("study.")]  # of a search, they vary by level
        found = [name for name in judged if is_number(self.frame[name]) and self.frame[name].notna().any()]
        return [name for name in self.first if name in found] + [name for name in found if name not in self.first]

    @property
    def first(self) -> list[str]:
        """Metrics that are looked at before others: a network's own, then `FIRST`."""
        return [*dict.fromkeys([*(told["name"] for told in self.meta.get("metrics", ())), *FIRST])]

    @cached_property
    def told(self) -> dict[str, ShownMetric]:
        """Metrics of networks as the sweep tells of them, by each of their columns."""
        told = [ShownMetric(**metric) for metric in self.meta.get("metrics", ())]
        return {f"{metric.name}{end}": metric for metric in told for end in ("", "_float", "_smallest", "_largest", "_lost")}

    def unit_of(self, column: str) -> str:
        """Unit of a column: of a network's metric as it is told, else as far as its name tells (`xbar.reports.sweep_columns.unit_of`)."""
        return unit_of(column, {name: metric.unit or "%" for name, metric in self.told.items()})

    @property
    def numbers(self) -> list[str]:
        """Columns that have an order: metrics, axes of numbers, and the time that a point took."""
        return [*self.metrics, *(name for name in self.axes if is_number(self.frame[name])), "wall_s"]

    @cached_property
    def done(self) -> pd.DataFrame:
        """Rows of the points that did not fail."""
        return self.frame[self.frame["error"].isna()]

    @cached_property
    def able(self) -> pd.DataFrame:
        """Of these rows those of a search that hold its constraints; of a sweep all."""
        return self.done[self.done["holds"].eq(True).fillna(False).astype(bool)] if "search" in self.meta else self.done

    @property
    def objectives(self) -> dict[str, str]:
        """What a search looked for, by column the better side; nothing of a sweep."""
        return dict(self.meta.get("search", {}).get("objectives", {}))

    @property
    def failed(self) -> int:
        """Points that ended in an error."""
        return len(self.frame) - len(self.done)

    def varies(self, column: str) -> bool:
        """True where the points that did not fail differ in it."""
        return self.done[column].nunique() > 1


def _check_metrics(path: Path, meta: Mapping[str, Any]) -> None:
    """Raise ResultsError where a sweep does not tell its metrics as reports know them."""
    needed = 'needs metrics, a list of {"name", "title", "unit" ("" of a share), "better"}'
    if meta.get("better") and "metrics" not in meta:
        raise ResultsError(f"{path}: is of an earlier xbar, which kept only which side is better; it {needed}: sweep again, or add them")
    try:
        for metric in meta.get("metrics", ()):
            ShownMetric(**metric)
    except TypeError:
        raise ResultsError(f"{path}: metrics = {meta['metrics']!r}: {needed}") from None


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
    """Which side of a metric is better, as far as its name tells: accuracies, rates and lifetimes high; J, s, W, m², bits of
    a token, errors and what is lost low."""
    if column.endswith("_lost"):
        return "low"
    if column.startswith("accuracy") or column.endswith(("_per_s", "_per_J")) or column == "lifetime_s":
        return "high"
    return "low" if column.endswith(tuple(UNITS)) or column.startswith(LOWER) or column in ("arrays", "footprint_arrays") else None


def chosen(sheet: SweepSheet, view: View) -> View:
    """The view with everything that it leaves open, as far as the sweep has it; raises ResultsError naming what it has not."""
    for name, side in view.better.items():
        _known("better", name, sheet.numbers)
        if side not in BETTER:
            raise ResultsError(f"better: {name} = {side!r}: must be low or high")
    told = {name: side for name in sheet.metrics if (side := better_side(name))}
    told |= {name: metric.better for name, metric in sheet.told.items() if name in sheet.metrics and not name.endswith("_lost")}
    better = told | sheet.objectives | dict(view.better)
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
    sought = tuple(name for name in sheet.objectives if name in sheet.metrics)[:3]
    pareto = view.pareto or (sought if len(sought) > 1 else tuple(usual[:2]) if len(usual) > 1 else ())
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

"""What changed between two results folders: what was asked, headline numbers, each component, each layer; tables and pages.

Values are old and new, ratio new over old; energies, static energies and busy times are per request.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xbar.reports.compression_sheet import FILE as COMPRESSION_FILE
from xbar.reports.differences import TOLERANCE, is_changed, side_by_side, tables_side_by_side
from xbar.reports.fairea_sheet import FILE as FAIREA_FILE
from xbar.reports.metric import ShownMetric
from xbar.reports.recommender import FILE as RECOMMENDER_FILE
from xbar.reports.results import Results, ResultsError, drawing_again
from xbar.reports.significance import score_difference
from xbar.reports.sweep_columns import unit_of
from xbar.reports.sweep_sheet import FILE as SWEEP_FILE
from xbar.reports.sweep_sheet import SweepSheet

FILE = "comparison.json"
RUN_FILE = "run.json"
KINDS = {
    RUN_FILE: "xbar run of a network", COMPRESSION_FILE: "xbar compress", RECOMMENDER_FILE: "xbar run recommender",
    FAIREA_FILE: "xbar run fairea", SWEEP_FILE: "xbar sweep",
}  # fmt: skip
MOST_COUNTED = 2**31 - 1  # images and instances
MISSING = "–"
LINKS = ("link",)  # components off the chip, whose energy is told apart
STATIC = ", static"  # after a component's name
ASKED = ["what", "key", "old", "new", "unit", "kind"]
TABLES = {"asked": False, "metrics": True, "components": True, "layers": True, "points": False}  # whether written with its index
Meta = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """A headline number of a run: where its JSON has it, its unit, and which way is better, if one is."""

    label: str
    unit: str
    places: tuple[str, ...]
    better: str = ""


SCORES = ("score_chip", "score_float")


def _of_score(metric: Headline, shown: ShownMetric) -> Headline:
    return replace(metric, label=f"{shown.title} {metric.label}", unit="%" if shown.is_share else shown.unit, better=shown.better)


METRICS = {
    "score_chip": Headline("on chip", "", ("score.chip",)),  # what it is the runs tell, see `_of_score`
    "score_float": Headline("in float", "", ("score.float",)),
    "latency_s": Headline("Latency, one request", "s", ("single_request.latency_s",), "low"),
    "latency_p99_s": Headline("Latency in a batch, 99th percentile", "s", ("summary.latency_p99_s",), "low"),
    "throughput_per_s": Headline("Requests per second", "/s", ("summary.steady_throughput_per_s", "summary.throughput_per_s"), "high"),
    "operations_per_s": Headline("Operations per second", "OPS", ("summary.operations_per_s",), "high"),
    "on_chip_energy_per_request_J": Headline("Energy per request, on chip", "J", ("summary.on_chip_energy_per_request_J",), "low"),
    "on_chip_dynamic_energy_per_request_J": Headline("  dynamic", "J", ("summary.on_chip_dynamic_energy_per_request_J",), "low"),
    "leakage_energy_per_request_J": Headline("  leakage", "J", ("summary.leakage_energy_per_request_J",), "low"),
    "on_chip_operations_per_J": Headline("Efficiency, on chip", "OPS/W", ("summary.on_chip_operations_per_J",), "high"),
    "on_chip_power_W": Headline("Average power, on chip", "W", ("summary.on_chip_power_W",), "low"),
    "on_chip_peak_power_W": Headline("Peak power, on chip", "W", ("summary.on_chip_peak_power_W",), "low"),
    "leakage_power_W": Headline("Leakage, on chip", "W", ("summary.leakage_power_W",), "low"),
    "link_energy_per_request_J": Headline("Energy per request, off-chip links", "J", ("summary.link_energy_per_request_J",), "low"),
    "energy_per_request_J": Headline("Energy per request, links too", "J", ("summary.energy_per_request_J",), "low"),
    "operations_per_J": Headline("Efficiency, links too", "OPS/W", ("summary.operations_per_J",), "high"),
    "average_power_W": Headline("Average power, links too", "W", ("summary.average_power_W",), "low"),
    "peak_power_W": Headline("Peak power, links too", "W", ("summary.peak_power_W",), "low"),
    "table_power_W": Headline("Table power of the chip", "W", ("chip.peak_power_W",), "low"),
    "table_operations_per_s": Headline("Table peak of the chip", "OPS", ("chip.peak_operations_per_s",), "high"),
    "area_m2": Headline("Chip area", "m²", ("summary.area_m2",), "low"),
    "crossbars_used": Headline("Crossbars in use", "", ("summary.crossbars_used",), "low"),
    "crossbars": Headline("Crossbars of the chip", "", ("summary.crossbars",)),
}
COMPONENT_VALUES = {"energy_J": "J", "static_energy_J": "J", "area_m2": "m²", "busy_s": "s"}
LAYER_VALUES = {"energy_J": "J", "busy_s": "s", "vector_time_s": "s", "crossbars": ""}
ASKED_PARTS = ("plan", "study", "recipe", "target", "shares", "version")  # of other results' JSON: settings, not findings
# Wall-clock times of the computer that made the results: never the same twice, so they are shown and never count as a change.
MEASURED = re.compile(r"(^|\.)(training_seconds|seconds|request_seconds|members_per_second|hours_of_many_members)(\.|$)|(^|_)seconds_")


@dataclass(frozen=True)
class Comparison:
    """Two results folders of one kind.

    asked: what, key, old, new (texts), unit, kind of every setting and constant that differs. metrics: by quantity: label,
    unit, better, old, new, ratio, changed. components, layers: columns as `xbar.reports.differences.tables_side_by_side`; layers
    have the rows (input), (output) and (static) of the energy too. score: whether the scores differ by more than noise,
    with difference, low, high, method, verdict and text. points (of sweeps): the point's settings, metric, old, new, ratio.
    matched: points of two sweeps: joined, only_old, only_new, fails_old, fails_new. names: of the folders; titles: of what is in them.
    """

    kind: str
    names: tuple[str, str]
    titles: tuple[str, str]
    tolerance: float
    asked: pd.DataFrame
    metrics: pd.DataFrame
    components: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    score: dict[str, Any] = field(default_factory=dict)
    matched: dict[str, int] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """True where any result changed by more than the tolerance, or only one of the two has it."""
        return self.changed_values > 0 or any(self.matched.get(name, 0) for name in self.matched if name != "joined")

    @property
    def changed_values(self) -> int:
        """Results that changed: of headline numbers, components and layers; of two sweeps of all points' metrics."""
        if self.kind == SWEEP_FILE:
            return int(self.points["changed"].sum())
        found = int(self.metrics["changed"].sum())
        for table, values in ((self.components, COMPONENT_VALUES), (self.layers, LAYER_VALUES)):
            for column in values if len(table) else ():
                found += int(is_changed(table[f"{column}_old"], table[f"{column}_new"], self.tolerance).sum())
        return found


# ---- from folders


def compare(old: Path, new: Path, tolerance: float = TOLERANCE) -> Comparison:
    """What changed from the results in folder `old` to those in `new`.

    tolerance: share of the old value up to which a value counts as the same. Raises ResultsError naming the folder, file or
    value where one cannot be read or the two are of different kinds.
    """
    if not tolerance >= 0:
        raise ResultsError(f"tolerance = {tolerance}: must be 0 or more")
    kinds = [_kinds(folder) for folder in (old, new)]
    both = [name for name in kinds[0] if name in kinds[1]]
    if not both:
        told = "; ".join(f"{folder} is of {' and of '.join(KINDS[name] for name in found)}"
                         for folder, found in zip((old, new), kinds, strict=True))  # fmt: skip
        raise ResultsError(f"results of different kinds cannot be compared: {told}")
    kind, names = both[0], (str(old), str(new))
    load = {RUN_FILE: Results.load, SWEEP_FILE: SweepSheet.load}.get(kind, lambda folder: _leaves_of(folder / kind))
    sides: list[Any] = []
    for folder in (old, new):
        with drawing_again(folder, kind):  # whose files are as they were saved
            sides.append(load(folder))
    if kind == RUN_FILE:
        return compare_runs(*sides, tolerance, names)
    return compare_sweeps(*sides, tolerance, names) if kind == SWEEP_FILE else _compare_leaves(kind, *sides, tolerance, names)


def _kinds(folder: Path) -> list[str]:
    found = [name for name in KINDS if (folder / name).is_file()]
    if not found:
        raise ResultsError(f"{folder}: no {', '.join(KINDS)} there; give folders that --out named")
    return found


def compare_runs(
    old: Results, new: Results, tolerance: float = TOLERANCE, names: tuple[str, str] = ("old", "new")
) -> Comparison:
    """Two runs of a network. Raises ResultsError naming run, table and column where one lacks what is compared."""
    runs = [_checked(results, name) for results, name in zip((old, new), names, strict=True)]
    (before, after), requests = (run["values"] for run in runs), [run["requests"] for run in runs]
    metrics = side_by_side(before, after)
    metrics = metrics[metrics["old"].notna() | metrics["new"].notna()]
    if ShownMetric.of(old.meta) != ShownMetric.of(new.meta):  # no two numbers of one kind
        metrics = metrics.drop(index=list(SCORES), errors="ignore")
    about = [_of_score(METRICS[name], ShownMetric.of(new.meta)) if name in SCORES else METRICS[name] for name in metrics.index]
    for column in ("label", "unit", "better"):
        metrics[column] = [getattr(each, column) for each in about]
    metrics["changed"] = is_changed(metrics["old"], metrics["new"], tolerance)
    components = [results.components[list(COMPONENT_VALUES)].astype(np.float64).assign(
        **{name: results.components[name] / count for name in ("energy_J", "static_energy_J", "busy_s")}
    ) for results, count in zip((old, new), requests, strict=True)]  # fmt: skip
    layers = [_layers(results, count) for results, count in zip((old, new), requests, strict=True)]
    titles = tuple(f"{r.meta['workload'].get('title')} on {r.meta['chip'].get('title')}" for r in (old, new))
    return Comparison(
        RUN_FILE, names, (titles[0], titles[1]), tolerance, _asked(old, new), metrics,
        tables_side_by_side(*components, list(COMPONENT_VALUES)), tables_side_by_side(*layers, list(LAYER_VALUES)),
        score=score_difference(old.meta, new.meta),
    )  # fmt: skip


def _checked(results: Results, name: str) -> dict[str, Any]:
    """Headline numbers by quantity, and requests; raises ResultsError where something that is compared is missing."""
    meta = results.meta
    for part in ("workload", "chip", "study", "summary", "single_request", "score"):
        if not isinstance(meta, dict) or not isinstance(meta.get(part), dict):
            raise ResultsError(f"{name}/{RUN_FILE}: {part} is missing or no table; is it of an interrupted or older run?")
    numbers = {"components": list(COMPONENT_VALUES), "layers": list(LAYER_VALUES), "energy": list(results.energy)}
    for table, columns in numbers.items():
        _check_table(getattr(results, table), columns, f"{name}/{table}.csv")
        _check_once(getattr(results, table).index, f"{name}/{table}.csv")
        for column in columns:
            if not pd.api.types.is_numeric_dtype(getattr(results, table)[column]):
                raise ResultsError(f"{name}/{table}.csv: {column} must be numbers")
    _check_table(results.provenance, ["key", "value", "unit", "kind"], f"{name}/provenance.csv")
    _check_once(pd.Index(results.provenance["key"]), f"{name}/provenance.csv")
    leaves = dict(_leaves(meta))
    for place in ("score.samples", "score.instances", "study.instances"):
        value = leaves.get(place)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_COUNTED:
            raise ResultsError(f"{name}/{RUN_FILE}: {place} = {value!r}: must be a whole number of 1 or more")
    share = ShownMetric.of(meta).is_share
    if not (0 <= _number(leaves, "score.chip", name) <= 1 if share else math.isfinite(_number(leaves, "score.chip", name))):
        allowed = "a share from 0 to 1" if share else "a finite number"
        raise ResultsError(f"{name}/{RUN_FILE}: score.chip = {leaves.get('score.chip')!r}: must be {allowed}")
    requests = _number(leaves, "summary.requests", name)
    requests = 1.0 if math.isnan(requests) or requests < 1 else requests
    for quantity, value in _energies(results.components, requests).items():  # which results of earlier versions do not tell
        leaves.setdefault(f"summary.{quantity}", value)
    values = {
        quantity: next((found for place in metric.places if not math.isnan(found := _number(leaves, place, name))), math.nan)
        for quantity, metric in METRICS.items()
    }  # fmt: skip
    return {"values": values, "requests": requests}


def _energies(components: pd.DataFrame, requests: float) -> dict[str, float]:
    """Energies per request [J] on chip, of its leakage, and of the off-chip links."""
    own, links = (components[components.index.isin(LINKS) == apart] for apart in (False, True))
    leakage, total = (float(own[column].sum()) / requests for column in ("static_energy_J", "energy_J"))
    return {
        "on_chip_energy_per_request_J": total, "on_chip_dynamic_energy_per_request_J": total - leakage,
        "leakage_energy_per_request_J": leakage, "link_energy_per_request_J": float(links["energy_J"].sum()) / requests,
    }  # fmt: skip


def _check_table(table: pd.DataFrame, columns: Sequence[str], path: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ResultsError(f"{path}: has no column {', '.join(missing)}")


def _check_once(names: pd.Index, path: str) -> None:
    if names.has_duplicates:
        raise ResultsError(f"{path}: {names[names.duplicated()][0]} is there twice")


def _number(leaves: Meta, place: str, name: str) -> float:
    value = leaves.get(place)
    if value is not None and not _is_number(value):
        raise ResultsError(f"{name}/{RUN_FILE}: {place} = {value!r}: must be a number")
    return math.nan if value is None else float(value)


def _layers(results: Results, requests: float) -> pd.DataFrame:
    """Values of each layer per request, and of what the energy has besides: input, output, static."""
    rows = results.layers[list(LAYER_VALUES)].astype(np.float64)
    rows = rows.reindex([*rows.index, *(name for name in results.energy.index if name not in rows.index)])
    energy = results.energy.sum(axis=1).reindex(rows.index)
    return rows.assign(energy_J=energy.fillna(rows["energy_J"]) / requests, busy_s=rows["busy_s"] / requests)


def _asked(old: Results, new: Results) -> pd.DataFrame:
    """What differs in workload, study, version, texts of the chip, and every constant."""
    rows: list[dict[str, str]] = []
    for what, parts in (("version", ("version",)), ("workload", ("workload",)), ("study", ("study",)), ("chip", ("chip",))):
        found = [
            {key: value for key, value in _leaves(results.meta) if key.partition(".")[0] in parts and _is_setting(what, key, value)}
            for results in (old, new)
        ]  # fmt: skip
        rows += _differing(what, *found)
    tables = [results.provenance.set_index("key") for results in (old, new)]
    for key in dict.fromkeys([*tables[0].index, *tables[1].index]):
        cells = [table.loc[key] if key in table.index else None for table in tables]
        told = [MISSING if cell is None else plain(cell["value"]) for cell in cells]
        units, kinds = ([str(cell[name]) for cell in cells if cell is not None] for name in ("unit", "kind"))
        if told[0] != told[1] or len(set(units)) > 1:
            rows.append({"what": "constant", "key": str(key), "old": told[0], "new": told[1],
                         "unit": " → ".join(dict.fromkeys(units)), "kind": " → ".join(dict.fromkeys(kinds))})  # fmt: skip
    return pd.DataFrame(rows, columns=ASKED)


def _is_setting(what: str, key: str, value: Any) -> bool:
    """Of the chip only texts: its numbers are constants, and are told as such."""
    if what != "chip":
        return True
    return isinstance(value, str) and key not in ("chip.title", "chip.description", "chip.read_noise") and "overrides" not in key


def _differing(what: str, old: Meta, new: Meta) -> list[dict[str, str]]:
    keys = dict.fromkeys([*old, *new])
    texts = {key: [plain(found[key]) if key in found else MISSING for found in (old, new)] for key in keys}
    return [{"what": what, "key": key, "old": before, "new": after, "unit": "", "kind": ""}
            for key, (before, after) in texts.items() if before != after]  # fmt: skip


def plain(value: Any) -> str:
    """A setting or constant as one writes it."""
    if _is_number(value):
        whole = float(value).is_integer() and abs(value) < 1e15
        return f"{int(value):,}" if whole else f"{float(value):.12g}"
    return MISSING if value is None or value != value else str(value).replace("\u00a0", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and abs(value) < 1e300


# ---- other kinds of results


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested tables and lists by dotted name."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield name, value
        return
    for key, each in inner:
        yield from _leaves(each, f"{name}.{key}" if name else str(key))


def _leaves_of(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text("utf-8"))
        found = dict(_leaves(meta))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: is not JSON: {error}") from None
    if not isinstance(meta, dict):
        raise ResultsError(f"{path}: must be a table of names and values")
    return found


def _compare_leaves(kind: str, old: dict[str, Any], new: dict[str, Any], tolerance: float, names: tuple[str, str]) -> Comparison:
    """Every number of two JSON files; texts and settings are what was asked."""
    sides = (old, new)
    found = [
        {key: float(value) for key, value in side.items() if _is_number(value) and key.split(".")[0] not in ASKED_PARTS}
        for side in sides
    ]  # fmt: skip
    asked = [{key: value for key, value in side.items() if key not in numbers and not (other.get(key) is None and value is None)}
             for side, other, numbers in zip(sides, (new, old), found, strict=True)]  # fmt: skip
    asked = [{key: value for key, value in each.items() if key not in found[0] and key not in found[1]} for each in asked]
    metrics = side_by_side(*found)
    measured = pd.Series([MEASURED.search(name) is not None for name in metrics.index], index=metrics.index)
    metrics = metrics.assign(
        label=metrics.index, unit=[unit_of(name.rpartition(".")[2]) for name in metrics.index],
        better="", changed=is_changed(metrics["old"], metrics["new"], tolerance) & ~measured, measured=measured,
    )  # fmt: skip
    rows = pd.DataFrame(_differing("setting", *asked), columns=ASKED)
    titles = tuple(" on ".join(str(side[name]) for name in ("title", "chip_title") if side.get(name)) or KINDS[kind] for side in sides)
    return Comparison(kind, names, (titles[0], titles[1]), tolerance, rows, metrics)


# ---- sweeps


def compare_sweeps(
    old: SweepSheet, new: SweepSheet, tolerance: float = TOLERANCE, names: tuple[str, str] = ("old", "new")
) -> Comparison:
    """Two sweeps, point by point: those with the same values in every setting that varies in either.

    Raises ResultsError where a setting that varies in one is not among the other's.
    """
    sheets = (old, new)
    settings = list(dict.fromkeys([*old.axes, *new.axes]))
    for sheet, name in zip(sheets, names, strict=True):
        missing = [each for each in settings if each not in sheet.frame]
        if missing:
            raise ResultsError(f"{name}/{SWEEP_FILE}: has no {', '.join(missing)}, which the other sweep varies; points cannot be joined")
    frames = []
    for sheet in sheets:
        values = sheet.frame[settings].itertuples(index=False, name=None)
        keys = [json.dumps([float(value) if _is_number(value) else plain(value) for value in row]) for row in values]
        frames.append(sheet.frame.assign(key=keys).drop_duplicates("key").set_index("key"))
    shared = [key for key in frames[0].index if key in frames[1].index]
    fails = [frame.loc[shared, "error"].notna() for frame in frames]
    rows = []
    joined = [key for key in shared if not (fails[0][key] or fails[1][key])]
    metrics = list(dict.fromkeys([*old.metrics, *new.metrics]))
    for metric in metrics:
        values = [
            (frame.loc[joined, metric].astype(np.float64) if metric in sheet.metrics else pd.Series(math.nan, index=joined))
            for frame, sheet in zip(frames, sheets, strict=True)
        ]  # fmt: skip
        table = pd.DataFrame({"old": values[0], "new": values[1]}, index=joined)
        pair = side_by_side(values[0].to_dict(), values[1].to_dict())
        table["ratio"], table["changed"] = pair["ratio"], is_changed(pair["old"], pair["new"], tolerance)
        rows.append(pd.concat([frames[0].loc[joined, settings], table.assign(metric=metric)], axis=1))
    empty = pd.DataFrame(columns=[*settings, "old", "new", "ratio", "changed", "metric"])
    points = pd.concat(rows, ignore_index=True) if rows else empty
    points = points[[*settings, "metric", "old", "new", "ratio", "changed"]].astype({"changed": bool})
    fixed = [{key: value for key, value in sheet.meta["fixed"].items() if key not in settings} for sheet in sheets]
    versions = [dict(_leaves(sheet.meta.get("versions", {}), "versions")) for sheet in sheets]
    asked = [*_differing("version", *versions), *_differing("fixed", *fixed)]
    matched = {
        "joined": len(joined), "only_old": len(frames[0]) - len(shared), "only_new": len(frames[1]) - len(shared),
        "fails_old": int((fails[0] & ~fails[1]).sum()), "fails_new": int((fails[1] & ~fails[0]).sum()),
    }  # fmt: skip
    told = pd.DataFrame(asked, columns=ASKED)
    return Comparison(
        SWEEP_FILE, names, (old.title, new.title), tolerance, told, _ratios(points, {name: new.unit_of(name) for name in metrics}),
        points=points, matched=matched,
    )  # fmt: skip


def _ratios(points: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    """Of each metric, whose units these are, over the joined points: medians of old, new and ratio, smallest and largest ratio, points
    that changed."""
    rows = []
    for name, unit in units.items():
        part = points[points["metric"] == name]
        ratio = part["ratio"].dropna()
        rows.append({
            "old": part["old"].median(), "new": part["new"].median(), "ratio": ratio.median(), "smallest": ratio.min(),
            "largest": ratio.max(), "points": len(part), "changed_points": int(part["changed"].sum()), "label": name,
            "unit": unit, "better": "", "changed": bool(part["changed"].any()),
        })  # fmt: skip
    columns = ["old", "new", "ratio", "smallest", "largest", "points", "changed_points", "label", "unit", "better", "changed"]
    return pd.DataFrame(rows, index=pd.Index(list(units), name="quantity", dtype=object), columns=columns)

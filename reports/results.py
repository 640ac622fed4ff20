"""What one run leaves behind: a folder of tables and one JSON file, from which every report is drawn."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from xbar.reports.notebook import in_notebook, printed

# What a report is drawn from and folders of earlier versions lack: columns of tables, and headline numbers.
DRAWN_COLUMNS = {
    "power": ("on_chip_power_W",), "adc_bits": ("width", "saturated_share", "score"), "variation": ("score",),
    "layers": ("cells", "cells_share"),
}  # fmt: skip
DRAWN_NUMBERS = (
    "on_chip_energy_per_request_J", "leakage_energy_per_request_J", "link_energy_per_request_J", "on_chip_power_W",
    "on_chip_peak_power_W", "leakage_power_W", "on_chip_operations_per_J", "cells_of_used_crossbars_share",
)  # fmt: skip
DRAWN_TOTALS = ("on_chip_energy_per_request_J", "table_power_W", "area_m2", "on_chip_operations_per_J")  # of the bands
RUN_AGAIN = "these results are of an earlier xbar; give the command again that made them"
INDEXES = {"components": "component", "layers": "layer", "energy": "layer", "requests": "request", "sources": "source"}


RECORD = "record.json"  # how they were made; see reports/record.py
CHECKSUMS = "checksums.json"  # of the files that a report is drawn from
MEASURED = "measured.json"  # what differs at every run


class ResultsError(ValueError):
    """A results folder is incomplete or unreadable; the message names the file."""


@dataclass(frozen=True, repr=False)
class Results:
    """One network on one chip. Columns carry their units; all values are SI.

    meta: name of the workload and chip, settings, headline numbers (see `xbar.workloads.study.run`).
    components: one row a component; layers: one row a layer; energy: layer x component [J]; requests: one row a
    request; power: time_s, power_W, on_chip_power_W; adc_use: time_s, share; timeline: layer, stage, copy, start_s, end_s of the
    first requests; variation: sigma, instance, score; adc_bits: bits, width
    (of a code: "made for the bits" or "kept"), instance, score, saturated_share; provenance: every
    number of the chip file; sources: what they cite. The tables after these may be empty, or missing in a folder, where
    they were not studied; their columns are told where they are made, in `xbar.workloads.study.studies`,
    `xbar.workloads.study.baselines`, `xbar.workloads.study.hardware_tables`, `xbar.workloads.study.classes`,
    `xbar.workloads.study.predictions`, `xbar.hw.bands`, `xbar.hw.chip.floorplan` and, of several chips,
    `xbar.hw.events.chips_ledger.ChipsLedger.table`.
    measured: what was timed on a computer, different at every run and kept in a file of its own, so that all others are
    the same again; it may be empty.
    """

    meta: dict[str, Any]
    components: pd.DataFrame
    layers: pd.DataFrame
    energy: pd.DataFrame
    requests: pd.DataFrame
    power: pd.DataFrame
    adc_use: pd.DataFrame
    timeline: pd.DataFrame
    variation: pd.DataFrame
    adc_bits: pd.DataFrame
    provenance: pd.DataFrame
    sources: pd.DataFrame
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    layer_sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    yield_points: pd.DataFrame = field(default_factory=pd.DataFrame)
    yields: pd.DataFrame = field(default_factory=pd.DataFrame)
    drift: pd.DataFrame = field(default_factory=pd.DataFrame)
    layer_quality: pd.DataFrame = field(default_factory=pd.DataFrame)
    baselines: pd.DataFrame = field(default_factory=pd.DataFrame)
    bands: pd.DataFrame = field(default_factory=pd.DataFrame)
    floorplan: pd.DataFrame = field(default_factory=pd.DataFrame)
    efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)
    roofline: pd.DataFrame = field(default_factory=pd.DataFrame)
    roofs: pd.DataFrame = field(default_factory=pd.DataFrame)
    mapping: pd.DataFrame = field(default_factory=pd.DataFrame)
    tile_use: pd.DataFrame = field(default_factory=pd.DataFrame)
    mesh_use: pd.DataFrame = field(default_factory=pd.DataFrame)
    steady_power: pd.DataFrame = field(default_factory=pd.DataFrame)
    confusion: pd.DataFrame = field(default_factory=pd.DataFrame)
    class_accuracy: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    chips: pd.DataFrame = field(default_factory=pd.DataFrame)
    measured: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return printed(*self._told())

    def _repr_html_(self) -> str:
        from xbar.reports.first_page import summary

        title, headlines = self._told()
        return in_notebook(title, headlines, summary(self) if headlines else None)

    def _told(self) -> tuple[str, list[tuple[str, str, str]]]:
        """Title and headline numbers; none where these results lack what a report is drawn from."""
        from xbar.reports.run_words import headlines

        try:
            self.check_drawable()
            return f"Results of {self.heading}", headlines(self)
        except (ResultsError, LookupError, TypeError, ValueError) as error:
            return f"Results that no report can be drawn of: {error}", []

    @property
    def heading(self) -> str:
        """The network on its chip, or on how many."""
        count = self.meta.get("chips", {}).get("count", 1)
        return f"{self.meta['workload']['title']} on {self.meta['chip']['title']}{'' if count == 1 else f', {count} chips'}"

    def check_drawable(self) -> None:
        """Raise ResultsError naming the table and column, or the number of run.json, that a report needs and these results lack."""
        for name, columns in DRAWN_COLUMNS.items():
            for column in columns:
                if column not in getattr(self, name):
                    raise ResultsError(f"{name}.csv: has no column {column}; {RUN_AGAIN}")
        for number in DRAWN_NUMBERS:
            if number not in self.meta.get("summary", {}):
                raise ResultsError(f"run.json: summary has no {number}; {RUN_AGAIN}")
        if "alike" not in self.meta.get("score", {}):
            raise ResultsError(f"run.json: has no score with alike; {RUN_AGAIN}")
        for part, name in (("study", "adc_instances"), ("chip", "wordlines")):
            if name not in self.meta.get(part, {}):
                raise ResultsError(f"run.json: has no {part} with {name}; {RUN_AGAIN}")
        if len(self.efficiency) and "table" not in set(self.efficiency["of"]):
            raise ResultsError(f"efficiency.csv: has no row of the chip's table; {RUN_AGAIN}")
        totals = set() if self.bands.empty else set(self.bands.loc[self.bands["of"] == "total", "quantity"])
        for quantity in DRAWN_TOTALS if len(self.bands) else ():
            if quantity not in totals:
                raise ResultsError(f"bands.csv: has no total of {quantity}; {RUN_AGAIN}")

    def save(self, directory: Path) -> None:
        """Write every table as CSV, the timeline as Parquet as well, and run.json last."""
        directory.mkdir(parents=True, exist_ok=True)
        forget(directory)
        saved = ["run.json"]
        for name in _tables():
            table: pd.DataFrame = getattr(self, name)
            if table.empty and name in _may_miss():
                (directory / f"{name}.csv").unlink(missing_ok=True)
                continue
            write_text(directory / f"{name}.csv", table.to_csv(index=name in INDEXES, float_format="%.12g"))
            saved.append(f"{name}.csv")
        temporary = directory / "timeline.parquet.part"
        self.timeline.to_parquet(temporary)
        os.replace(temporary, directory / "timeline.parquet")
        if self.measured:
            write_text(directory / MEASURED, json.dumps(self.measured, indent=2, allow_nan=False) + "\n")
            saved.append(MEASURED)
        else:
            (directory / MEASURED).unlink(missing_ok=True)
        write_text(directory / "run.json", json.dumps(self.meta, indent=2, allow_nan=False) + "\n")
        save_checksums(directory, saved)

    @classmethod
    def load(cls, directory: Path) -> "Results":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""
        if not (directory / "run.json").is_file():
            raise ResultsError(f"{directory}: no run.json there; give the folder that `xbar run ... --out` wrote")
        tables = {}
        for name in _tables():
            path = directory / f"{name}.csv"
            if name in _may_miss() and not path.exists():
                continue
            try:
                # names that look like numbers or like "null" stay names; only an empty field is missing
                table = pd.read_csv(path, dtype={"layer": str}, keep_default_na=False, na_values=[""])
                tables[name] = table.set_index(INDEXES[name]) if name in INDEXES else table
            except (OSError, ValueError, KeyError) as error:
                raise ResultsError(f"{path}: cannot be read: {error}") from None
        measured = _read_json(directory / MEASURED) if (directory / MEASURED).is_file() else {}
        return cls(meta=_read_json(directory / "run.json"), measured=measured, **tables)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ResultsError(f"{path}: not JSON: {error}") from None


def _tables() -> list[str]:
    return [field.name for field in fields(Results) if field.name not in ("meta", "measured")]


def _may_miss() -> list[str]:
    return [field.name for field in fields(Results) if field.default_factory is not MISSING]


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def forget(directory: Path) -> None:
    """Remove what tells how the results that were in the folder before were made. Their checksums stay until there are new ones: they
    tell that the files are of both, should the writing end half way."""
    (directory / RECORD).unlink(missing_ok=True)


def save_checksums(directory: Path, names: Iterable[str]) -> None:
    """Keep the SHA-256 of files as they were saved; see `drawing_again`."""
    found = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
    write_text(directory / CHECKSUMS, json.dumps(found, indent=2) + "\n")


@contextmanager
def drawing_again(directory: Path, file: str) -> Iterator[None]:
    """A block in which results that were saved with `file` are loaded and drawn; raises ResultsError before it, naming a file that is
    not as it was saved. Results without checksums are of an earlier version: what of them this one misses is told as ResultsError.
    """
    if (directory / CHECKSUMS).is_file():
        kept = _read_json(directory / CHECKSUMS)
        if file not in kept:
            raise ResultsError(f"{directory / CHECKSUMS}: must have the SHA-256 of {file}; give the command again that made the results")
        for name, digest in kept.items():
            path = directory / Path(name).name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                what = "is not as it was saved" if path.is_file() else "is missing"
                raise ResultsError(f"{path}: {what}; put it back as it was, or give the command again that made the results")
        yield
        return
    try:
        yield
    except ResultsError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ResultsError(f"{directory}: cannot be drawn, its results are not what this xbar writes ({type(error).__name__}: "
                           f"{error}); give the command again that made them") from None  # fmt: skip


def save_sheet(directory: Path, file: str, meta: dict[str, Any], tables: dict[str, pd.DataFrame], indexed: Collection[str] = ()) -> None:
    """Write each table as CSV, those `indexed` with their index, and meta as JSON in `file` last; empty tables leave no file."""
    directory.mkdir(parents=True, exist_ok=True)
    forget(directory)
    saved = [file]
    for name, table in tables.items():
        if table.empty:
            (directory / f"{name}.csv").unlink(missing_ok=True)
        else:
            write_text(directory / f"{name}.csv", table.to_csv(index=name in indexed, float_format="%.12g"))
            saved.append(f"{name}.csv")
    write_text(directory / file, json.dumps(meta, indent=2, allow_nan=False) + "\n")
    save_checksums(directory, saved)


def load_sheet(
    directory: Path, file: str, what: str, may_miss: dict[str, bool],
    read: Callable[[Path, str], pd.DataFrame] = lambda path, name: pd.read_csv(path),
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:  # fmt: skip
    """What `save_sheet` wrote: meta, and the tables by name, empty where they may miss and do. read: of one table's file.

    Raises ResultsError naming the folder and `what` was to be there.
    """
    try:
        meta = json.loads((directory / file).read_text("utf-8"))
        paths = {name: directory / f"{name}.csv" for name in may_miss}
        tables = {
            name: pd.DataFrame() if may_miss[name] and not path.is_file() else read(path, name) for name, path in paths.items()
        }
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise ResultsError(f"{directory}: no {what} can be read there: {error}") from None
    return meta, tables

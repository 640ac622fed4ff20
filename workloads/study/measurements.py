"""Measured cells as CSV files: writes, repeated reads and drift, read and checked line by line. SI units.

| file | columns | one row is |
|---|---|---|
| writes | cell, target_S, conductance_S | one read right after a write that aimed at target_S |
| reads | cell, read, conductance_S | read number `read` of a cell, within a time in which nothing drifts |
| drift | cell, time_s, conductance_S | a cell at time_s after its write |

Which file is which is told by its columns. Lines that begin with # are notes; other columns are left alone.
"""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

COLUMNS = {
    "writes": ("cell", "target_S", "conductance_S"),
    "reads": ("cell", "read", "conductance_S"),
    "drift": ("cell", "time_s", "conductance_S"),
}
TELLS = {"target_S": "writes", "read": "reads", "time_s": "drift"}  # the column that no other kind has
FORMS = "; ".join(f"{kind}: {','.join(columns)}" for kind, columns in COLUMNS.items())
SMALLEST_S = 1e-15  # a cell of 10^15 ohm: below, fits meet the ends of numbers before those of cells
LARGEST = {"target_S": 1.0, "conductance_S": 1.0, "time_s": 1e12}  # exclusive; a device file takes conductances below 1 S
FEWEST_WRITTEN, FEWEST_READ, FEWEST_DRIFTING = 30, 6, 6  # cells
FEWEST_TIMES = 3  # of a drifting cell: two fix its line, the third tells how far it lies off


class MeasurementError(ValueError):
    """A file of measurements cannot be used; the message names file, line or cell, column, value and what is allowed."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One file. `frame` has `cell` (text) and numbers by the columns' names, rows as in the file."""

    path: Path
    frame: pd.DataFrame
    digest: str  # SHA-256 of the file

    @property
    def name(self) -> str:
        """Of the file, without its folder."""
        return self.path.name

    @property
    def cells(self) -> int:
        """How many different cells it has."""
        return int(self.frame["cell"].nunique())


@dataclass(frozen=True, eq=False)
class Measurements:
    """What was measured of one kind of cells; None: no such file."""

    writes: Measured
    reads: Measured | None = None
    drift: Measured | None = None

    @property
    def files(self) -> tuple[Measured, ...]:
        """Those that there are."""
        return tuple(each for each in (self.writes, self.reads, self.drift) if each is not None)


def read_measurements(paths: Sequence[str | Path]) -> Measurements:
    """The files, in any order, checked. Raises MeasurementError."""
    found: dict[str, Measured] = {}
    for path in map(Path, paths):
        kind, measured = read_file(path)
        if kind in found:
            raise MeasurementError(f"{path}: columns = those of {kind}, as in {found[kind].path}: give one file of each kind; {FORMS}")
        found[kind] = measured
    if "writes" not in found:
        raise MeasurementError(f"{', '.join(map(str, paths))}: no file of writes among them, which has the columns {_comma('writes')}")
    return Measurements(**found)


def read_file(path: Path) -> tuple[str, Measured]:
    """What kind of file it is, and its content, checked. Raises MeasurementError."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise MeasurementError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise MeasurementError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise MeasurementError(f"{path}: is empty; it needs a line of column names and rows below it; {FORMS}")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader((line for _, line in lines), strict=True)]
    except csv.Error as error:
        raise MeasurementError(f"{path}: is not CSV: {error}") from None
    if len(rows) != len(lines):
        raise MeasurementError(f"{path}: a quoted value goes over several lines; one line is one row")
    kind = _kind(path, rows[0])
    table = [(number, row) for (number, _), row in zip(lines[1:], rows[1:], strict=True)]
    frame = _numbers(path, kind, rows[0], table)
    {"writes": _check_writes, "reads": _check_reads, "drift": _check_drift}[kind](path, frame)
    return kind, Measured(path, frame.drop(columns="line"), hashlib.sha256(content).hexdigest())


def _comma(kind: str) -> str:
    return ",".join(COLUMNS[kind])


def _kind(path: Path, header: list[str]) -> str:
    """Which kind of file has these columns."""
    shown, separated = ",".join(header), " (columns are separated by commas)" if len(header) == 1 and {";", "\t"} & set(header[0]) else ""
    kinds = [kind for column, kind in TELLS.items() if column in header]
    if len(kinds) != 1:
        said = "none of target_S, read, time_s, of which one tells" if not kinds else "of more than one kind, so they do not tell"
        raise MeasurementError(f"{path}: columns = {shown}: {said} what was measured{separated}; {FORMS}")
    twice = [name for name, count in Counter(header).items() if count > 1 and name in COLUMNS[kinds[0]]]
    missing = [name for name in COLUMNS[kinds[0]] if name not in header]
    if missing or twice:
        said = f"no column {' and no '.join(missing)}" if missing else f"column {twice[0]} stands there twice"
        raise MeasurementError(f"{path}: columns = {shown}: {said}; {kinds[0]} need {_comma(kinds[0])}")
    return kinds[0]


def _numbers(path: Path, kind: str, header: list[str], table: list[tuple[int, list[str]]]) -> pd.DataFrame:
    """Cells as text, all else as numbers; `line` of the file beside them."""
    places = {name: header.index(name) for name in COLUMNS[kind]}
    kept: dict[str, list[object]] = {"line": [], **{name: [] for name in places}}
    for line, row in table:
        if len(row) != len(header):
            raise MeasurementError(
                f"{path}, line {line}: {len(row)} values = {','.join(row)}: must be {len(header)}, as columns have names"
            )
        kept["line"].append(line)
        for name, place in places.items():
            kept[name].append(_value(f"{path}, line {line}", name, row[place]))
    if not table:
        raise MeasurementError(f"{path}: has no rows below its column names")
    return pd.DataFrame(kept)


def _value(where: str, name: str, text: str) -> object:
    """What stands in a column, checked by itself."""
    if name == "cell":
        if not text:
            raise MeasurementError(f"{where}: cell = (nothing): must be a name or number that tells the cell from others")
        return text
    try:
        value = float(text)
    except ValueError:
        raise MeasurementError(f"{where}: {name} = {text or '(nothing)'}: must be a number") from None
    if not math.isfinite(value):
        raise MeasurementError(f"{where}: {name} = {text}: must be finite; leave out what was not measured")
    if name in LARGEST and value < 0:
        why = "; take the instrument's offset away, or leave the row out and say so" if name == "conductance_S" else ""
        raise MeasurementError(f"{where}: {name} = {text}: must be 0 or more{why}")
    if name in ("target_S", "conductance_S") and 0 < value < SMALLEST_S:
        raise MeasurementError(f"{where}: {name} = {text}: must be 0 or at least {SMALLEST_S:g} S; no cell that is read holds less")
    if name in LARGEST and value >= LARGEST[name]:
        unit = "s" if name == "time_s" else "S"
        hint = "; is it in µS?" if unit == "S" else ""
        raise MeasurementError(f"{where}: {name} = {text}: must be below {LARGEST[name]:g} {unit}{hint}")
    return value


def _check_cells(path: Path, frame: pd.DataFrame, fewest: int, why: str) -> None:
    if (cells := frame["cell"].nunique()) < fewest:
        raise MeasurementError(f"{path}: cells = {cells}: must be {fewest} or more, {why}")


def _check_writes(path: Path, frame: pd.DataFrame) -> None:
    targets = frame["target_S"].unique()
    if len(targets) < 2:
        raise MeasurementError(f"{path}: target_S = {targets[0]:g} in every row: at least two targets are needed, the ends of the range")
    _check_cells(path, frame, FEWEST_WRITTEN, "of which two thirds are fitted and one third judges")
    if frame["conductance_S"].nunique() == 1:
        raise MeasurementError(f"{path}: conductance_S = {frame['conductance_S'].iloc[0]:g} in every row: nothing was written there")


def _check_reads(path: Path, frame: pd.DataFrame) -> None:
    counts = frame.groupby("cell", sort=False).size()
    if (counts < 2).any():
        cell = counts.index[counts < 2][0]
        line = frame.loc[frame["cell"] == cell, "line"].iloc[0]
        raise MeasurementError(f"{path}, line {line}: cell = {cell} has one read: must be read two times or more, to see its reads scatter")
    twice = frame.duplicated(["cell", "read"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise MeasurementError(
            f"{path}, line {row['line']}: read = {row['read']:g} of cell {row['cell']} stands there before: one row a read"
        )
    _check_cells(path, frame, FEWEST_READ, "to tell how noise goes with conductance")
    if not (frame.groupby("cell")["conductance_S"].nunique() > 1).any():
        raise MeasurementError(f"{path}: conductance_S = the same at every read of a cell: finer digits are needed to see any noise")


def _check_drift(path: Path, frame: pd.DataFrame) -> None:
    zero = frame["conductance_S"] <= 0
    if zero.any():
        row = frame[zero].iloc[0]
        raise MeasurementError(f"{path}, line {row['line']}: conductance_S = 0: must be above 0, since drift is a line in its logarithm")
    if frame["time_s"].nunique() < 2:
        raise MeasurementError(f"{path}: time_s = {frame['time_s'].iloc[0]:g} in every row: times must differ, or nothing drifts")
    step = frame.groupby("cell", sort=False)["time_s"].diff()
    if (step <= 0).any():
        row = frame[step <= 0].iloc[0]
        before = row["time_s"] - step[step <= 0].iloc[0]
        raise MeasurementError(
            f"{path}, line {row['line']}: time_s = {row['time_s']:g} of cell {row['cell']}, after {before:g} in a row "
            "before: times of a cell must rise from row to row"
        )
    counts = frame.groupby("cell", sort=False).size()
    if (counts < FEWEST_TIMES).any():
        cell = counts.index[counts < FEWEST_TIMES][0]
        line = frame.loc[frame["cell"] == cell, "line"].iloc[0]
        raise MeasurementError(
            f"{path}, line {line}: cell = {cell} has {counts[cell]} times: must be {FEWEST_TIMES} or more, to tell its "
            "exponent from errors of reading"
        )
    _check_cells(path, frame, FEWEST_DRIFTING, "to tell how exponents spread")

"""CSV files as people have them: a byte-order mark, `;` or tabs between columns, blank lines, headings in any case.

What is wrong is told by file, line, column and value: of the cell that is wrong, never of the others in its row, which may be
private.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xbar.workloads.fairea.problem import FaireaError

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """A row: its file, line, and cells by column, without spaces around them."""

    file: str
    line: int
    cells: dict[str, str]
    decimal_comma: bool

    def wrong(self, column: str, allowed: str) -> FaireaError:
        """What to raise of the cell in this column."""
        return FaireaError(f"{self.file}, line {self.line}, {column}", self.cells[column], allowed)

    def text(self, column: str) -> str:
        """The cell, which must not be empty."""
        if self.cells[column] == "":
            raise self.wrong(column, "must not be empty")
        return self.cells[column]

    def number(self, column: str) -> float:
        """The cell as a finite number, with a decimal comma where columns are apart by `;`."""
        text = self.text(column)
        try:
            value = float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(column, "must be a finite number")
        return value


@dataclass(frozen=True)
class Table:
    """A CSV file with a heading: its path, columns and rows."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def column(self, *names: str) -> str:
        """The column that is called one of these, in any case, the first of them before others; raises `FaireaError`."""
        found = self.find(*names)
        if found is None:
            others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
            raise FaireaError(f"{self.file}, header", list(self.columns), f"needs a column {names[0]!r}{others}")
        return found

    def find(self, *names: str) -> str | None:
        """The same, or None."""
        folded = {column.casefold(): column for column in reversed(self.columns)}
        return next((folded[name.casefold()] for name in names if name.casefold() in folded), None)


def read_table(path: str | Path) -> Table:
    """A CSV file in UTF-8 with a heading and rows. Columns are apart by whichever of `,`, `;` and tab the heading has most; rows
    without any text are passed over, and so are columns without heading and text. Raises `FaireaError`."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FaireaError("file", str(path), f"must be a readable CSV file in UTF-8 ({error})") from error
    heading = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=heading.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise FaireaError("file", str(path), f"must be CSV ({error})") from error
    if not lines:
        raise FaireaError(f"{path}, header", None, "the file is empty; a heading and rows are needed")
    (_, columns), *rows = lines
    kept = _kept(path, columns, rows)
    found = [
        Row(str(path), line, {columns[n]: row[n] for n in kept}, delimiter == ";")
        for line, row in rows
    ]  # fmt: skip
    if not found:
        raise FaireaError("file", str(path), "must have rows")
    return Table(str(path), tuple(columns[n] for n in kept), tuple(found))


def _kept(path: str | Path, columns: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> list[int]:
    """Numbers of the columns that count; every row must have as many cells as the heading."""
    for line, row in rows:
        if len(row) != len(columns):
            raise FaireaError(f"{path}, line {line}", f"{len(row)} cells", f"must have {len(columns)} columns, as the heading has")
    kept = [n for n, name in enumerate(columns) if name or any(row[n] for _, row in rows)]
    seen = set()
    for n in kept:
        if not columns[n]:
            raise FaireaError(f"{path}, header, column {n + 1}", "", "a column with text in it needs a heading")
        if columns[n] in seen:
            raise FaireaError(f"{path}, header", columns[n], "a heading must not be given twice")
        seen.add(columns[n])
    return kept

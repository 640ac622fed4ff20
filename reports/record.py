"""How results were made, kept beside them: command, settings, versions, and every constant with its source."""

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pydantic import BaseModel, ConfigDict, ValidationError

from xbar.reports.results import RECORD, ResultsError, write_text
from xbar.reports.style import FAINT, INK, SOFT, page, write

NONE_KEPT = "no record was kept with these results"
KINDS = {
    "published": "stands in the source", "measured": "measured, as the source tells", "fitted": "fitted to the source's data",
    "derived": "follows from others, as the reason tells", "assumed": "a choice, for the reason given",
    "override": "given on the command line", "own": "decided, as the chip's own file gives it",
}  # fmt: skip
LINE = 0.0152  # height of a line of the constants' pages, share of the page
LINES_PER_PAGE = 52
COLUMNS = (("constant", 0.05), ("value", 0.285), ("low to high", 0.360), ("kind", 0.475), ("source, reason", 0.53))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Constant(_Strict):
    """A number of a chip's file as it stands there; `of`: the chip, where there are several; low, high: its band, if known."""

    key: str
    value: float
    unit: str
    kind: str
    source: str = ""
    why: str = ""
    of: str = ""
    low: float | None = None
    high: float | None = None
    band_from: str = ""


class Source(_Strict):
    """What is cited under a name, and how it was read."""

    name: str
    cite: str
    read: str


class Record(_Strict):
    """How one folder of results was made.

    command: as given; settings: every option with its value; configuration: text of a file that it read, if one; packages:
    versions by name; code: of the project, as a hash; computer: system, processor, cores, threads; began: date and time with
    its zone; took_s [s]: of the last call, which may have gone on where an earlier one was interrupted.
    """

    version: str
    command: str
    settings: dict[str, Any]
    packages: dict[str, str]
    computer: dict[str, Any]
    began: str
    took_s: float
    code: str = ""
    seed: int | None = None
    configuration: str = ""
    constants: list[Constant] = []
    sources: list[Source] = []

    def save(self, directory: Path) -> None:
        """Write record.json."""
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / RECORD, self.model_dump_json(indent=1, exclude_defaults=True) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "Record | None":
        """What `save` wrote, or None where nothing was; raises ResultsError naming the file where it cannot be read."""
        path = directory / RECORD
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise ResultsError(f"{path}: is no record of a run: {place}: {first['msg']}") from None

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Constants and sources, the latter by name, as tables."""
        constants = pd.DataFrame([each.model_dump() for each in self.constants], columns=list(Constant.model_fields))
        sources = pd.DataFrame([each.model_dump() for each in self.sources], columns=list(Source.model_fields))
        return constants, sources.set_index("name")

    def rows(self) -> dict[str, dict[str, str]]:
        """What is needed to do it again, by heading, as text."""
        seed = {} if self.seed is None else {"seed": str(self.seed)}
        how = {"command": self.command, **seed, "began": self.began, "took": f"{self.took_s:,.1f} s without drawing"}
        versions = {"xbar": self.version + (f", code {self.code}" if self.code else ""), **self.packages}
        return {
            "How": how, "Settings": {name: _shown(value) for name, value in self.settings.items()}, "Versions": versions,
            "Computer": {name: _shown(value) for name, value in self.computer.items()},
        }  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return "not given" if value is None else str(value)


def number(value: Any, digits: int = 6) -> str:
    """A number of a chip's file as one writes it; nothing for one that is missing."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{float(value):.{digits}g}"


def band_of(row: pd.Series) -> str:
    """Low and high of a constant where they are known and differ."""
    low, high = (number(row.get(end), 4) for end in ("low", "high"))
    return "" if low == high else f"{low} to {high}"


# ---- pages


def constants_pages(constants: pd.DataFrame, sources: pd.DataFrame, heading: str) -> list[Figure]:
    """Every constant with unit, kind, source and reason, and the sources; as many pages as it takes."""
    cut = _whole_rows(list(_constant_lines(constants, sources)))
    kinds = constants["kind"].value_counts()
    told = "  ·  ".join(f"{count} {kind}" for kind, count in kinds.items())
    figures = []
    for place, part in enumerate(cut, 1):
        figure = page("Every constant, with its source", f"{heading}  ·  {told}{f'  ·  {place} of {len(cut)}' if len(cut) > 1 else ''}")
        for label, x in COLUMNS:
            write(figure, x, 0.878, label, size=8, weight="bold", colour=SOFT)
        figure.add_artist(Line2D([0.05, 0.95], [0.872] * 2, color=SOFT, linewidth=1))
        for row, (cells, bold, begins) in enumerate(part, 1):
            y = 0.866 - row * LINE
            if begins:
                figure.add_artist(Line2D([0.05, 0.95], [y + 0.78 * LINE] * 2, color=FAINT, linewidth=0.5))
            for x, text in cells:
                write(figure, x, y, text, size=7, weight="bold" if bold else "normal", colour=INK)
        figures.append(figure)
    return figures


Line = tuple[list[tuple[float, str]], bool, bool]  # cells with their places, whether bold, whether a row begins


def _whole_rows(lines: list[Line]) -> list[list[Line]]:
    """Lines by page: a row stays whole, and a heading with the row below it; only what is longer than a page is cut."""
    rows: list[list[Line]] = []  # a heading is bold
    for line in lines:
        if line[2] and not (rows and rows[-1][-1][1]):
            rows.append([line])
        else:
            rows[-1].append(line)
    pages: list[list[Line]] = [[]]
    for row in rows:
        if len(pages[-1]) + len(row) > LINES_PER_PAGE and pages[-1]:
            pages.append([])
        pages[-1] += row
    return [page[first : first + LINES_PER_PAGE] for page in pages for first in range(0, len(page), LINES_PER_PAGE)]


def _constant_lines(constants: pd.DataFrame, sources: pd.DataFrame) -> Iterator[Line]:
    """The lines of the constants' table and of the sources below it."""
    places = [x for _, x in COLUMNS]
    of = ""
    for _, row in constants.iterrows():
        if row.get("of", "") != of:
            of = str(row["of"])
            yield [(places[0], of)], True, True
        unit = "" if str(row["unit"]) == "1" else f" {row['unit']}"
        reason = ": ".join(str(part) for part in (row["source"], row["why"]) if isinstance(part, str) and part)
        wrapped = textwrap.wrap(reason or KINDS[str(row["kind"])], 90)
        cells = [str(row["key"]), number(row["value"]) + unit, band_of(row), str(row["kind"]), wrapped[0]]
        yield list(zip(places, cells, strict=True)), False, True
        for more in wrapped[1:]:
            yield [(places[-1], more)], False, False
    yield [(places[0], "Sources")], True, True
    for name, source in sources.iterrows():
        for place, text in enumerate(textwrap.wrap(f"{name}: {source['cite']}. Read: {source['read']}.", 190)):
            yield [(places[0] + (0.012 if place else 0.0), text)], False, place == 0


def reproducibility_page(record: Record | None, heading: str) -> Figure:
    """Command, settings, versions and computer; of a configuration that was read, as much as fits."""
    figure = page("Reproducibility", heading)
    if record is None:
        write(figure, 0.05, 0.86, f"{NONE_KEPT[0].upper()}{NONE_KEPT[1:]}; the command line keeps one.", size=10)
        return figure
    top = 0.872
    for title, rows in record.rows().items():
        write(figure, 0.05, top, title, size=10, weight="bold", vertical="top")
        told = [f"{name}: {value}" for name, value in rows.items()]
        told = ["  ·  ".join(told)] if len(told) > 6 else told  # many short ones run on
        for text in (line for part in told for line in textwrap.wrap(part, 138)):
            write(figure, 0.15, top, text, size=8.5, vertical="top")
            top -= 0.0205
        top -= 0.016
    if record.configuration:
        write(figure, 0.05, top, "Configuration", size=10, weight="bold", vertical="top")
        lines = [line for line in record.configuration.splitlines() if line.strip()]
        room = max(1, int((top - 0.07) / 0.0165))
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines; the whole text stands in {RECORD}"]
        for place, text in enumerate(lines):
            write(figure, 0.15, top - place * 0.0165, text[:150], size=7.5, vertical="top")
    return figure

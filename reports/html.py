"""A report as one HTML page that a browser shows without a network: pictures, tables, constants, how it was made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from xbar.reports.record import KINDS, NONE_KEPT, Record, band_of, number
from xbar.reports.vector import face

MOST_ROWS = 300  # of a table on the page; its CSV has all


@dataclass(frozen=True)
class Section:
    """A page: its name, heading, what it shows, and its picture as an element of HTML; linked: what stands in its place in a browser
    that can draw it."""

    name: str
    title: str
    shown: str
    picture: Markup
    linked: str = ""


def html(
    title: str, verdict: str, headlines: Sequence[tuple[str, str, str]], sections: Sequence[Section],
    tables: Mapping[str, pd.DataFrame], constants: pd.DataFrame, sources: pd.DataFrame, record: Record | None, footer: str,
) -> str:  # fmt: skip
    """The page's text. The same arguments give the same text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("xbar.reports").joinpath("report.html.jinja").read_text("utf-8"))
    shown = {name: _table(table) for name, table in tables.items() if len(table)}
    rendered = partial(
        template.render,
        title=title, verdict=verdict, headlines=headlines, sections=sections, tables=shown, constants=_constants(constants),
        sources=sources.reset_index().to_dict("records") if len(sources) else [], kinds=KINDS,
        counts=constants["kind"].value_counts().to_dict() if len(constants) else {},
        record=None if record is None else record.rows(), configuration="" if record is None else record.configuration,
        none_kept=NONE_KEPT, footer=footer,
    )  # fmt: skip
    scripts = _scripts() if any(section.linked for section in sections) else ""
    return rendered(face=face(rendered(face="", scripts="")), scripts=scripts) + "\n"


def _scripts() -> Markup:
    """What linked pictures need: plotly.js and ours."""
    from plotly.offline import get_plotlyjs  # a tenth of a second that other pages and commands do not wait for

    ours = resources.files("xbar.reports").joinpath("linked.js").read_text("utf-8")
    return Markup(f"<script>{get_plotlyjs()}</script>\n<script>\n{ours}</script>")


def _table(table: pd.DataFrame) -> dict[str, Any]:
    """Headings and cells of a table, each cell as what is shown and what it is sorted by."""
    whole = table if table.index.name is None else table.reset_index()
    cells = [[_cell(value) for value in row] for row in whole.head(MOST_ROWS).itertuples(index=False, name=None)]
    return {"columns": [str(name) for name in whole.columns], "rows": cells, "count": len(whole), "cut": len(whole) > MOST_ROWS}


def _cell(value: Any) -> tuple[str, bool]:
    """Text of a cell, and whether it is a number."""
    if isinstance(value, bool):
        return str(value).lower(), False
    if isinstance(value, int | float) or hasattr(value, "dtype"):
        found = float(value)
        if math.isnan(found):
            return "", True
        return f"{found:.6g}", True
    return "" if value is None else str(value), False


def _constants(constants: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "of": str(row.get("of", "") or ""), "key": str(row["key"]), "value": number(row["value"]),
            "unit": "" if str(row["unit"]) == "1" else str(row["unit"]), "band": band_of(row), "kind": str(row["kind"]),
            "source": row["source"] if isinstance(row["source"], str) else "", "why": row["why"] if isinstance(row["why"], str) else "",
        }
        for _, row in constants.iterrows()
    ]  # fmt: skip

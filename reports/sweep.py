"""The report of a sweep: its pages, its tables, and in the HTML page the pictures that can be hovered and filtered."""

from pathlib import Path

import pandas as pd

from xbar.reports.heat_map import heat_map, heat_table
from xbar.reports.pages import Document, save_document
from xbar.reports.parallel_coordinates import parallel
from xbar.reports.pareto import front_table
from xbar.reports.record import Record
from xbar.reports.results import write_text
from xbar.reports.search_page import search_page
from xbar.reports.sweep_effects import main_effects
from xbar.reports.sweep_pages import headlines, overview, pareto, summary_text, verdict
from xbar.reports.sweep_sheet import SweepSheet, View, chosen
from xbar.reports.tornado import tornado_pages

EVERYTHING = View()  # as it is chosen
TABLES = ("front", "tornado", "heat")


def draw_sweep(sheet: SweepSheet, directory: Path, view: View = EVERYTHING) -> list[Path]:
    """Write report.pdf, report.html, a PNG a page, summary.txt, and front.csv, tornado.csv and heat.csv where there are such; the
    paths. The same sheet and view give the same bytes. Raises ResultsError for columns that are not there."""
    from xbar.reports.linked import linked  # and plotly, which other commands do not wait for

    view = chosen(sheet, view)
    directory.mkdir(parents=True, exist_ok=True)
    front = front_table(sheet, view)
    effects = {metric: main_effects(sheet.done, sheet.axes, metric) for metric in view.tornado}
    tornado = pd.concat([table.reset_index().assign(metric=metric) for metric, table in effects.items()]) if effects else pd.DataFrame()
    heat = heat_table(sheet, *view.heat) if view.heat else pd.DataFrame()
    pages = {"sweep": overview(sheet, view)}
    if "search" in sheet.meta:
        pages["search"] = search_page(sheet)
    if view.pareto:
        pages["pareto"] = pareto(sheet, view)
    if sheet.metrics and sheet.axes:
        pages["parallel"] = parallel(sheet, view)
    pages |= {f"tornado_{place}": figure for place, figure in enumerate(tornado_pages(sheet, effects), 1)}
    if view.heat:
        pages["heat"] = heat_map(sheet, *view.heat)
    tables = dict(zip(TABLES, (front, tornado, heat), strict=True))
    for name, table in tables.items():
        if table.empty:
            (directory / f"{name}.csv").unlink(missing_ok=True)
        else:
            write_text(directory / f"{name}.csv", table.to_csv(index=False, float_format="%.12g"))
    versions, kind = sheet.meta.get("versions", {}), "search" if "search" in sheet.meta else "sweep"
    footer = f"xbar {versions.get('xbar', '')}  ·  {kind} of {len(sheet.frame):,} points  ·  code {str(sheet.meta.get('code', ''))[:12]}"
    document = Document(
        sheet.title, verdict(sheet, view), pages, footer, headlines(sheet, view), tables, Record.load(directory),
        linked=linked(sheet, view),
    )  # fmt: skip
    paths = save_document(document, directory / "report.pdf")
    write_text(directory / "summary.txt", summary_text(sheet, view))
    return [*paths, directory / "summary.txt"]

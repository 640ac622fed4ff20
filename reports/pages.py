"""From figures to files: one document of a run or sweep as PDF, as one HTML page, and a PNG of each page."""

import base64
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xbar.reports.html import Section, html
from xbar.reports.record import Record, constants_pages, reproducibility_page
from xbar.reports.results import write_text
from xbar.reports.style import FAINT, SOFT, page, write
from xbar.reports.vector import svg

PNG_DPI = 130
PDF_DPI = 220  # of the parts that are too many to draw as shapes


@dataclass(frozen=True)
class Document:
    """What one run or sweep found, to be read.

    verdict: in a sentence or two; headlines: label, value and detail of each number that counts most; pages: by the names of
    their PNGs, the first of them a summary; tables: by the names of their CSVs, SI, units in the columns' names (settings as
    the chip's file has them); record: how it was made, if kept; footer: of each page. constants, sources: those of the record
    unless given. linked: pictures that the HTML page has in place of pages, by their names; see `reports/linked.py`.
    """

    title: str
    verdict: str
    pages: Mapping[str, Figure]
    footer: str
    headlines: Sequence[tuple[str, str, str]] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    record: Record | None = None
    constants: pd.DataFrame = field(default_factory=pd.DataFrame)
    sources: pd.DataFrame = field(default_factory=pd.DataFrame)
    linked: Mapping[str, Markup] = field(default_factory=dict)


def save_document(document: Document, pdf: Path) -> list[Path]:
    """Write the document to `pdf`, as one HTML page beside it, and each page, by its name, as PNG; their paths. A list of the pages
    stands beside them; PNGs of a document before, which this one has not, are removed.

    The pages are the document's own, with the contents after the first, and every constant with its source and what is needed
    to do it again at the end. The same document gives the same bytes.
    """
    pages, told = _whole(document), pdf.with_name(f"{pdf.stem}_pages.txt")
    _clear(told, keep=pages)
    for number, figure in enumerate(pages.values(), 1):
        write(figure, 0.05, 0.025, document.footer, size=8, colour=SOFT)
        write(figure, 0.95, 0.025, f"{number} / {len(pages)}", size=8, colour=SOFT, align="right")
    save_pdf(list(pages.values()), pdf, document.title)
    pictures = {name: save_png(figure, pdf.with_name(f"{name}.png")) for name, figure in pages.items()}
    sections = [
        Section(name, title_of(figure), shown_on(figure), picture(figure, name, pictures[name]), document.linked.get(name, ""))
        for name, figure in document.pages.items()
    ]
    constants, sources = _constants(document)
    text = html(document.title, document.verdict, document.headlines, sections, document.tables, constants, sources,
                document.record, document.footer)  # fmt: skip
    write_text(pdf.with_suffix(".html"), text)
    lines = [f"{number:3}  {name}.png  {title_of(figure)}" for number, (name, figure) in enumerate(pages.items(), 1)]
    write_text(told, "\n".join(lines) + "\n")
    return [pdf, pdf.with_suffix(".html"), *pictures.values()]


def _clear(told: Path, keep: Mapping[str, Figure]) -> None:
    """Remove the PNGs of pages that the document before had, as its list tells, and this one has not."""
    if told.is_file():
        for name in re.findall(r"^ *\d+  (\w+)\.png  ", told.read_text("utf-8", errors="replace"), re.MULTILINE):
            if name not in keep:
                told.with_name(f"{name}.png").unlink(missing_ok=True)


def _constants(document: Document) -> tuple[pd.DataFrame, pd.DataFrame]:
    if document.record is None or len(document.constants):
        return document.constants, document.sources
    return document.record.tables()


def _whole(document: Document) -> dict[str, Figure]:
    """All pages: the first, the contents, the others, constants, reproducibility."""
    constants, sources = _constants(document)
    last = constants_pages(constants, sources, document.title) if len(constants) else []
    ends = {f"constants_{number}": figure for number, figure in enumerate(last, 1)}
    ends["reproducibility"] = reproducibility_page(document.record, document.title)
    (first, summary), *others = document.pages.items()
    contents, listed = page("Contents", document.title), [(title_of(summary), shown_on(summary), 1)]
    for number, (_, figure) in enumerate([*others, *ends.items()], 3):
        if title_of(figure) != listed[-1][0]:  # of several pages of one title the first
            listed.append((title_of(figure), shown_on(figure).removeprefix(document.title).lstrip(" ·"), number))
    _draw_contents(contents, listed)
    return {first: summary, "contents": contents, **dict(others), **ends}


def _draw_contents(figure: Figure, listed: Sequence[tuple[str, str, int]]) -> None:
    """Title, what is shown, and number of each page."""
    row = min(0.052, 0.79 / max(1, len(listed)))
    for place, (title, shown, number) in enumerate(listed):
        y = 0.865 - place * row
        write(figure, 0.05, y, title, size=10.5, weight="bold", vertical="top")
        lines = textwrap.wrap(shown, 92)
        kept = lines[: max(1, int(row / 0.017))]
        if len(lines) > len(kept):
            kept[-1] = kept[-1][:90].rstrip(" ,;") + " …"
        write(figure, 0.37, y - 0.002, "\n".join(kept), size=8.5, colour=SOFT, vertical="top")
        write(figure, 0.95, y, str(number), size=10.5, align="right", vertical="top")
        figure.add_artist(Line2D([0.05, 0.95], [y - row + 0.008] * 2, color=FAINT, linewidth=0.7))


def title_of(figure: Figure) -> str:
    """The heading of a page."""
    return str(figure.get_label())


def shown_on(figure: Figure) -> str:
    """What a page shows: the headings of its pictures, or what stands below its own."""
    headings = dict.fromkeys(title for axes in figure.axes if (title := axes.get_title(loc="left").replace("\n", " ")))
    return "; ".join(headings) or str(figure.get_gid() or "")


def picture(figure: Figure, name: str, png: Path) -> Markup:
    """A page as an element of HTML: as SVG, or as its PNG where that would be too large."""
    title, shown = title_of(figure), shown_on(figure)
    label = f"{title}: {shown}" if shown else title
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return svg(figure, name, label) or Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, label)


def save_pdf(pages: list[Figure], path: Path, title: str) -> Path:
    """Write a PDF under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".part")
    with PdfPages(temporary, metadata={"Title": title, "Creator": "xbar", "CreationDate": None}) as pdf:
        for figure in pages:
            pdf.savefig(figure, dpi=PDF_DPI)
    os.replace(temporary, path)
    return path


def save_png(figure: Figure, path: Path) -> Path:
    """Write a PNG under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".part")
    FigureCanvasAgg(figure)
    figure.savefig(temporary, dpi=PNG_DPI, format="png", metadata={"Software": None})
    os.replace(temporary, path)
    return path

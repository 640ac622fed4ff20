"""From figures to files: one PDF with all pages, a PNG of each, the same footer on all."""

import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from reports.style import SOFT, write

PNG_DPI = 130
PDF_DPI = 220  # of the parts that are too many to draw as shapes


def save_document(pages: Mapping[str, Figure], pdf: Path, title: str, footer: str) -> list[Path]:
    """Write the pages to `pdf` and, each by its name, as PNG beside it; the paths. The same figures give the same bytes."""
    for number, figure in enumerate(pages.values(), 1):
        write(figure, 0.05, 0.025, footer, size=8, colour=SOFT)
        write(figure, 0.95, 0.025, f"{number} / {len(pages)}", size=8, colour=SOFT, align="right")
    save_pdf(list(pages.values()), pdf, title)
    return [pdf, *(save_png(figure, pdf.with_name(f"{name}.png")) for name, figure in pages.items())]


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

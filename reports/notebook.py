"""What results show of themselves where they are printed, and in a notebook: headline numbers, and a page as a picture."""

import base64
import io
from collections.abc import Sequence
from html import escape

import pandas as pd
from matplotlib.figure import Figure

DPI = 72  # of a page in a notebook: 840 pixels wide
MOST_NUMBERS = 6  # where they are printed

Headlines = Sequence[tuple[str, str, str]]  # label, value, detail


def printed(title: str, headlines: Headlines) -> str:
    """Title and the first numbers, in two lines."""
    return "\n  ".join([title, "  ·  ".join(f"{label} {value}" for label, value, _ in headlines[:MOST_NUMBERS])]).replace("\u00a0", " ")


def in_notebook(title: str, headlines: Headlines, page: Figure | None) -> str:
    """Title, a table of all numbers, and a page below, as HTML that needs no file."""
    table = pd.DataFrame(headlines, columns=["", "value", "detail"]).to_html(index=False, border=0, escape=True)
    return f"<p><b>{escape(title)}</b></p>{table if len(headlines) else ''}{'' if page is None else image(page)}"


def image(page: Figure) -> str:
    """A page as an `img` element that holds its PNG."""
    written = io.BytesIO()
    page.savefig(written, format="png", dpi=DPI, metadata={"Software": None})
    data = base64.b64encode(written.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(str(page.get_label()))}">'

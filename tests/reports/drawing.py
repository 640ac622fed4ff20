"""What a page shows when it is drawn: its visible texts, and that none overlaps another or leaves the page."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from xbar.reports.results import Results


def sketch(figure: Figure) -> RendererAgg:
    """Draw a page without its pixels: every artist finds its place, which is all that the boxes of texts need, and no glyph is
    filled, which takes longer than all else. What measures it in pixels."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


def sketch_png(figure: Figure, path: Path) -> Path:
    """In place of `save_png`: the page is sketched, the file empty."""
    sketch(figure)
    path.write_bytes(b"")
    return path


def visible_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels."""
    return [(text.get_text(), box) for text, box in visible(figure)]


def visible(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with its box in pixels; tick labels beyond an axis' view are not drawn."""
    renderer = sketch(figure)
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if not low - slack <= tick.get_loc() <= high + slack:
                    beyond |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t.get_text().strip()]
    return [(t, t.get_window_extent(renderer)) for t in texts if t not in beyond]


def overlap(one: Text, a: Bbox, other: Text, b: Bbox) -> bool:
    """Whether two texts are drawn over each other; slanted ones by the distance between their lines."""
    if one.get_rotation() % 90 and one.get_rotation() == other.get_rotation():
        apart = abs(a.x1 - b.x1) * math.sin(math.radians(one.get_rotation()))
        return apart < one.get_fontsize() * one.get_figure().dpi / 72  # type: ignore[union-attr]
    shared = Bbox.intersection(a, b)
    return shared is not None and shared.width > 1.5 and shared.height > 2.5


def check_page(texts: list[tuple[Text, Bbox]]) -> None:
    """Every visible text of a page is on the page and clear of the others; slanted labels by their lines."""
    assert len(texts) > 2
    page = texts[0][0].get_figure(root=True)
    assert page is not None
    width, height = page.bbox.width, page.bbox.height
    for text, box in texts:
        inside = box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
        assert inside, f"off the page: {text.get_text()!r}"
    for (one, a), (other, b) in meeting(texts):
        assert not overlap(one, a, other, b), f"{one.get_text()!r} overlaps {other.get_text()!r}"


def check_texts(pages: Iterable[Figure]) -> None:
    """`check_page` of each, drawn here."""
    for figure in pages:
        check_page(visible(figure))


def meeting(texts: list[tuple[Text, Bbox]]) -> Iterator[tuple[tuple[Text, Bbox], tuple[Text, Bbox]]]:
    """The pairs that can overlap: their boxes meet, or both are slanted. A table has hundreds of texts, and `overlap` is slow."""
    low, high = (np.array([corner(box) for _, box in texts]) for corner in (attrgetter("min"), attrgetter("max")))
    slanted = np.array([text.get_rotation() % 90 != 0 for text, _ in texts])
    boxes = (np.maximum(low[:, None], low) <= np.minimum(high[:, None], high)).all(2)
    for one, other in np.argwhere(np.triu(boxes | (slanted[:, None] & slanted), 1)):
        yield texts[one], texts[other]


def results_of(meta: dict[str, Any], **tables: pd.DataFrame) -> Results:
    """Results with these tables alone, the others empty."""
    return Results(meta=meta, **{each.name: pd.DataFrame() for each in fields(Results)[1:] if each.name != "measured"} | tables)

"""Pictures of a sweep that a browser lets one hover and filter: the Pareto front and the parallel coordinates, linked.

Drawn by plotly, whose parallel coordinates can be brushed; of bokeh, the other library that is kept well and works in a file without a
server, every part of that would be code of ours. Its Python package has plotly.js as one file of 4.8 MB, which the page of a sweep
therefore has inside, and no other page. The script beside this file, `linked.js`, ties the pictures together; where it cannot run, as in
print, the drawn pages stay.
"""

import html
import json
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from xbar.reports.parallel_coordinates import MISSING, ParallelColumns, heights_of, parallel_columns, told_apart
from xbar.reports.pareto import front_of
from xbar.reports.shading import SHADES
from xbar.reports.style import ACCENT, FAINT, GREY, INK, PAPER, SOFT, cut
from xbar.reports.sweep_columns import MOST_LINES, ending, evenly, name_of, scale_for, short_names, shown
from xbar.reports.sweep_sheet import SweepSheet, View

FONT = {"family": "'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif", "size": 12, "color": INK}
HEIGHT = 460  # of a picture [CSS pixels]
MOST_OF_FRONT = 1000
DIGITS = 7  # of a number in the page, significant
NOTES = {
    "pareto": "Point at a mark to see its settings; drag to look closer, click twice to see all.",
    "parallel": "Drag along an axis to keep the points within that part, click there to keep all again; drag a name to move its axis. "
    '<span class="linked-kept"></span><span class="linked-point" hidden></span>',
}
SCALE = [[place / 8, "#" + "".join(f"{round(255 * part):02x}" for part in SHADES(place / 8)[:3])] for place in range(9)]


def linked(sheet: SweepSheet, view: View) -> dict[str, Markup]:
    """By the names of the pages that they stand in for, what is put in the HTML page; of a sweep without such pages nothing.

    The points of both are the same, at most `MOST_LINES` and `MOST_OF_FRONT` of the front, evenly. The same sheet and view give
    the same text.
    """
    if not (sheet.metrics and sheet.axes):
        return {}
    layout = parallel_columns(sheet, view)
    rows = sheet.done.dropna(subset=[layout.colour_by])
    on = front_of(sheet, rows, view)
    kept = rows.index.isin([*evenly(rows, MOST_LINES).index, *evenly(rows[on], MOST_OF_FRONT).index])
    found: dict[str, go.Figure] = {"parallel": _parallel(sheet, view, rows, kept, layout)}
    if view.pareto:
        found = {"pareto": _pareto(sheet, view, rows[kept], on[kept])} | found
    told = [_told(sheet, row, bool(on[index])) for index, row in rows[kept].iterrows()]
    shared = {"told": told, "points": len(told), "of": len(sheet.done)}
    return {name: _element(name, figure, shared if name == "parallel" else None) for name, figure in found.items()}


def _element(name: str, figure: go.Figure, shared: dict[str, Any] | None) -> Markup:
    """An empty place for the picture, and what it is drawn from; hidden until the script has drawn it."""
    content = json.loads(figure.to_json()) | ({"shared": shared} if shared else {})
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    note = f'<p class="linked-told">{NOTES[name]}</p>'
    return Markup(
        f'<div class="linked" hidden><div id="linked-{name}" class="drawn"></div>{note}'
        f'<script type="application/json" id="linked-{name}-data">{text}</script></div>'
    )


def _told(sheet: SweepSheet, row: pd.Series, front: bool) -> str:
    """A point in words, as plotly and HTML both take it: its number, its settings, what came of them."""
    metrics = [name for name in sheet.metrics if name in sheet.first] or sheet.metrics
    settings = [f"{name} {shown(row[name])}" for name in sheet.axes[:12]]
    values = [f"{name_of(name)} {shown(row[name], sheet.unit_of(name))}" for name in metrics[:8]]
    lines = [*(html.escape(cut(text, 80)) for text in (*settings, "", *values))]
    return f"<b>point {int(row['point'])}{', on the front' if front else ''}</b><br>" + "<br>".join(lines)


def _numbers(values: pd.Series | np.ndarray, factor: float = 1.0) -> list[float | None]:
    """As JSON has them, with no more digits than a screen shows."""
    return [float(f"{value * factor:.{DIGITS}g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]


def _pareto(sheet: SweepSheet, view: View, rows: pd.DataFrame, on: pd.Series) -> go.Figure:
    """Every point by two columns, a third as colour; the front marked, and of two columns joined."""
    y, x, *third = view.pareto
    across, up = scale_for(x, rows[x], sheet.unit_of(x)), scale_for(y, rows[y], sheet.unit_of(y))
    figure = go.Figure(layout=_layout())
    whole = rows[list(view.pareto)].notna().all(axis=1)
    places = pd.Series(range(len(rows)), index=rows.index)
    for name, mask, look in (
        ("other points", whole & ~on, {"symbol": "circle", "size": 7, "color": GREY}),
        ("front", whole & on, {"symbol": "diamond", "size": 10, "color": ACCENT, "line": {"color": INK, "width": 1}}),
    ):
        part = rows[mask].sort_values([x, y])
        if third:
            depth = scale_for(third[0], rows[third[0]], sheet.unit_of(third[0]))
            look = look | {
                "color": _numbers(part[third[0]], depth.factor), "colorscale": SCALE, "showscale": name == "front",
                "cmin": float(rows[third[0]].min()) * depth.factor, "cmax": float(rows[third[0]].max()) * depth.factor,
                "colorbar": {"title": {"text": html.escape(depth.label), "side": "right"}, "outlinewidth": 0, "thickness": 12},
            }  # fmt: skip
        joined = name == "front" and not third
        line = {"color": ACCENT, "width": 1.5, "shape": "hv" if view.better[x] == "low" else "vh"}
        figure.add_scatter(
            x=_numbers(part[x], across.factor), y=_numbers(part[y], up.factor), name=name, mode="lines+markers" if joined else "markers",
            marker=look, line=line if joined else None, customdata=places[part.index].tolist(), hoverinfo="none",
            unselected={"marker": {"opacity": 0.08}},
        )  # fmt: skip
    for axis, scale in ((figure.layout.xaxis, across), (figure.layout.yaxis, up)):
        axis.update(title={"text": html.escape(scale.label)}, type="log" if scale.log else "linear")
    return figure


def _parallel(sheet: SweepSheet, view: View, rows: pd.DataFrame, kept: np.ndarray, layout: ParallelColumns) -> go.Figure:
    """Axes and usual metrics side by side, at the heights at which the drawn page has them."""
    names, dimensions = short_names(sheet.axes), []
    for name in (*layout.axes, *layout.metrics):
        heights, marks = heights_of(rows[name])
        heights = heights[kept]
        missing = bool((heights < 0).any())
        texts = told_apart([value for _, value in marks], sheet.unit_of(name) if name in sheet.metrics else "")
        ticks = [(height, ending(text, 16)) for (height, _), text in zip(marks, texts, strict=True)]
        ticks = [(MISSING, "missing"), *ticks] if missing else ticks
        dimensions.append({
            "label": html.escape(ending(names.get(name, name_of(name)), 20)), "values": _numbers(heights),
            "range": [MISSING - 0.04 if missing else -0.02, 1.02], "tickvals": [height for height, _ in ticks],
            "ticktext": [html.escape(text) for _, text in ticks],
        })  # fmt: skip
    scale = scale_for(layout.colour_by, rows[layout.colour_by], sheet.unit_of(layout.colour_by))
    colour = _numbers(rows[layout.colour_by][kept], scale.factor)
    figure = go.Figure(layout=_layout(margin={"l": 90, "r": 20, "t": 60, "b": 24}))
    figure.add_parcoords(
        dimensions=dimensions, labelfont=FONT | {"size": 12}, tickfont=FONT | {"size": 10}, rangefont=FONT | {"size": 1, "color": PAPER},
        line={"color": colour, "colorscale": SCALE, "showscale": True,
              "colorbar": {"title": {"text": html.escape(scale.label), "side": "right"}, "outlinewidth": 0, "thickness": 12}},
        unselected={"line": {"color": FAINT, "opacity": 0.4}},
    )  # fmt: skip
    return figure


def _layout(**more: Any) -> go.Layout:
    """The style of the pages."""
    axis = {
        "gridcolor": FAINT, "linecolor": SOFT, "zeroline": False, "showline": True, "ticks": "outside",
        "tickfont": {"color": SOFT, "size": 11},
    }  # fmt: skip
    plain = {
        "template": go.layout.Template(), "font": FONT, "paper_bgcolor": PAPER, "plot_bgcolor": PAPER, "height": HEIGHT,
        "xaxis": axis, "yaxis": axis, "margin": {"l": 70, "r": 20, "t": 40, "b": 56}, "hovermode": "closest", "dragmode": "zoom",
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
    }  # fmt: skip
    return go.Layout(plain | more)

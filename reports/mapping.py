"""The page of the mapping: every crossbar in use with its filled cells, layer by layer, or cores or tiles where they are many."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xbar.reports.results import Results
from xbar.reports.shading import TINTS, shade_strip
from xbar.reports.style import ACCENT, FAINT, INK, PAGE, SECOND, SOFT, cut, page, percent, write

MOST_SQUARES = 1200  # drawn one by one; beyond, cores or tiles are
MOST_LAYERS = 40  # named one by one
LEFT, WIDTH, TOP, BOTTOM = 0.315, 0.635, 0.865, 0.085  # of the drawing, shares of the page
LEAST_HEIGHT = 0.031  # of a layer's two lines of text
LARGEST = 0.125  # side of a square, share of the page's height


def crossbar_mapping(results: Results) -> Figure:
    """Layers down the page, their crossbars beside each other in the order of placement, with the cells that hold weights."""
    table, summary = results.mapping, results.meta["summary"]
    chip = results.meta["chip"]
    each = chip["wordlines"] * chip["bitlines"]
    squares, of, per = _squares(table, chip)
    told = "each square a crossbar, its filled part the rows and columns in use"
    if of != "crossbar":
        told = f"each square a {of} of {per} crossbars, the darker, the more of its cells are in use"
    used = percent(summary["cells_of_used_crossbars_share"])
    figure = page("Mapping", f"{len(table):,} crossbars in use, {used} of their cells  ·  {told}")
    axes = figure.add_axes((LEFT, BOTTOM, WIDTH, TOP - BOTTOM))
    names = list(dict.fromkeys(squares["layer"].astype(str)))
    _draw(figure, axes, squares, names[:MOST_LAYERS], table, of, each)
    notes = ["Crossbars are too many to draw; shares are of all cells of a square, empty ones too."]
    if of == "crossbar":
        notes = ["Rows: wordlines, columns: bitlines, reference columns too; groups of a layer on one crossbar: its diagonal."]
    if of != "tile":
        notes.append("Orange lines: the next tile begins.")
    if len(names) > MOST_LAYERS:
        notes.append(f"The first {MOST_LAYERS} of {len(names)} layers; all are in mapping.csv.")
    write(figure, 0.05, 0.055, " ".join(notes), size=8, colour=SOFT)
    if of != "crossbar":
        _scale(figure)
    return figure


def _squares(table: pd.DataFrame, chip: Mapping[str, Any]) -> tuple[pd.DataFrame, str, int]:
    """What is drawn: layer, tile, filled (share of all cells), across and up (shares of a side in use), blocks (on its diagonal); of what a
    square is; the crossbars that it has, used or not."""
    each = chip["wordlines"] * chip["bitlines"]
    if len(table) <= MOST_SQUARES:
        sides = table["rows"] / chip["wordlines"], table["columns"] / chip["bitlines"]
        blocks = table.get("groups", 1)  # results of an older version have one each
        return table.assign(filled=table["cells"] / each, up=sides[0], across=sides[1], blocks=blocks), "crossbar", 1
    of, per = "core", chip["crossbars_per_core"]
    found = table.groupby(["layer", "tile", "core"], sort=False)["cells"].sum().reset_index()
    if len(found) > MOST_SQUARES:
        of, per = "tile", per * chip["cores_per_tile"]
        found = found.groupby(["layer", "tile"], sort=False)["cells"].sum().reset_index()
    return found.assign(filled=found["cells"] / (per * each), up=1.0, across=1.0, blocks=1), of, per


def _draw(figure: Figure, axes: Axes, squares: pd.DataFrame, names: list[str], table: pd.DataFrame, of: str, each: float) -> None:
    """The squares of each layer in rows as wide as the drawing, in one size that fits the page, with the layer's name and numbers."""
    wide, high = WIDTH * PAGE[0], (TOP - BOTTOM) * PAGE[1]  # inch
    counts = {name: int((squares["layer"].astype(str) == name).sum()) for name in names}
    least = min(LEAST_HEIGHT * PAGE[1], high / len(names) / 1.25)
    side = LARGEST * PAGE[1]
    while sum(max(least, ceil(n / max(1, int(wide / side))) * side) + 0.25 * least for n in counts.values()) > high and side > 0.004:
        side *= 0.97
    columns = max(1, int(wide / side))
    axes.set_xlim(0, wide)
    axes.set_ylim(high, 0)
    axes.axis("off")
    small = least < 0.9 * LEAST_HEIGHT * PAGE[1]
    top = 0.0
    boxes, fills, shares, edges = [], [], [], []
    for name in names:
        mine = squares[squares["layer"].astype(str) == name]
        tile = None
        for place, row in enumerate(mine.itertuples()):
            x, y = place % columns * side, top + place // columns * side
            inner = 0.92 * side
            boxes.append(Rectangle((x, y), inner, inner))
            wide, high = inner * row.across / row.blocks, inner * row.up / row.blocks
            fills += [Rectangle((x + k * wide, y + inner - (row.blocks - k) * high), wide, high) for k in range(row.blocks)]
            shares += [row.filled] * row.blocks
            if tile not in (None, row.tile):
                edges.append([(x - 0.04 * side, y - 0.02 * side), (x - 0.04 * side, y + inner + 0.02 * side)])
            tile = row.tile
        on = table[table["layer"].astype(str) == name]
        y = TOP - top / PAGE[1]
        filled = on["cells"].sum() / (len(on) * each)
        facts = f"{len(on):,} crossbar{'s' if len(on) > 1 else ''}, {percent(filled)} of cells  ·  {_range('tile', on['tile'])}"
        if small:
            write(figure, 0.05, y, f"{cut(name, 20)}  {facts}", size=6.0, vertical="top")
        else:
            copies = int(on["copy"].max()) + 1
            write(figure, 0.05, y, f"{cut(name, 26)}{f'  x{copies}' if copies > 1 else ''}", size=8.5, weight="bold", vertical="top")
            write(figure, 0.05, y - 0.0165, facts, size=7, colour=SOFT, vertical="top")
        top += max(least, ceil(counts[name] / columns) * side) + 0.25 * least
    axes.add_collection(PatchCollection(boxes, facecolor=FAINT, edgecolor="none"))
    filled_ones = PatchCollection(fills, edgecolor="none", rasterized=len(fills) > 3000)
    if of == "crossbar":
        filled_ones.set_facecolor(ACCENT)
    else:
        filled_ones.set(array=shares, cmap=TINTS, clim=(0, 1))
    axes.add_collection(filled_ones)
    if of != "tile":
        axes.add_collection(LineCollection(edges, colors=SECOND, linewidths=min(1.4, 12 * side)))


def _range(what: str, numbers: pd.Series) -> str:
    first, last = int(numbers.min()), int(numbers.max())
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def _scale(figure: Figure) -> None:
    """What the shades mean."""
    shade_strip(figure, 0.76, 0.052, TINTS)
    write(figure, 0.752, 0.053, "0 %", size=7.5, colour=INK, align="right")
    write(figure, 0.888, 0.053, "100 % of cells", size=7.5, colour=INK)

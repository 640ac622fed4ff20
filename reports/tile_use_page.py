"""The page of how busy tiles and the links of the mesh are, on the floor plan."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from xbar.reports.results import Results
from xbar.reports.run_words import batch_of
from xbar.reports.shading import TINTS, shade_strip
from xbar.reports.style import FAINT, INK, PAPER, SECOND, SOFT, WARNING, page, percent, write

LINKS = LinearSegmentedColormap.from_list("links", ["#f6dfc3", SECOND, WARNING])
PLACE = ["left_m", "bottom_m", "width_m", "height_m"]
PANELS = (
    ("crossbars_share", "Crossbars being read, mean of a tile's", False),
    ("busiest", "Busiest unit of each tile, and links of the mesh", True),
)  # fmt: skip


def tile_use(results: Results) -> Figure:
    """Tiles on the floor plan by how busy their crossbars and their busiest unit are, and links between routers by load."""
    tiles, links = results.tile_use, results.mesh_use
    over = batch_of(int(results.meta["summary"]["requests"]))
    figure = page("Use of tiles and mesh", f"{results.heading}  ·  shares of the simulated time, {over}")
    for index, (column, title, with_links) in enumerate(PANELS):
        left = 0.055 + 0.475 * index
        write(figure, left, 0.862, title, size=11, weight="bold")
        axes = figure.add_axes((left, 0.245, 0.42, 0.595), anchor="NW")
        shown = tiles.set_index("tile")[column]
        top = _most(float(shown.max()))
        _tiles(axes, results, shown, top)
        _scale(figure, left, 0.180, TINTS, top, "tile")
        if with_links and len(links):
            most = _most(float(links["utilisation"].max()))
            _links(axes, results, most)
            _scale(figure, left + 0.22, 0.180, LINKS, most, "link, each way")
    _outside(figure, results)
    return figure


def _most(share: float) -> float:
    """Where a scale of shares ends: the next of 1, 2, 5, 10, 20, 50 and 100 %."""
    return next((end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if share <= end), 1.0)


def _tiles(axes: Axes, results: Results, shown: "object", top: float) -> None:
    """Every tile of the plan, those in use shaded."""
    plan = results.floorplan
    kinds = {kind: plan[plan["kind"] == kind] for kind in ("tile", "router", "link")}
    scale = 1e3  # to mm
    boxes = {
        kind: [Rectangle((x, y), width, height) for x, y, width, height in (part[PLACE] * scale).itertuples(index=False)]
        for kind, part in kinds.items()
    }
    width = float((plan["left_m"] + plan["width_m"]).max()) * scale
    height = float((plan["bottom_m"] + plan["height_m"]).max()) * scale
    axes.add_collection(PatchCollection(boxes["router"] + boxes["link"], facecolor=FAINT, edgecolor="none"))
    axes.add_collection(PatchCollection(boxes["tile"], facecolor=PAPER, edgecolor=FAINT, linewidth=0.6))
    numbers = kinds["tile"]["number"].astype(int).tolist()
    used = [(box, shown[number]) for box, number in zip(boxes["tile"], numbers, strict=True) if number in shown.index]  # type: ignore[index, attr-defined]
    found = PatchCollection([box for box, _ in used], cmap=TINTS, edgecolor=PAPER, linewidth=0.5)
    found.set(array=np.array([share for _, share in used]), clim=(0, top))
    axes.add_collection(found)
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.set_xlabel("mm", fontsize=8, color=SOFT)
    axes.tick_params(labelsize=7.5, colors=SOFT)
    for spine in axes.spines.values():
        spine.set_color(SOFT)


def _links(axes: Axes, results: Results, most: float) -> None:
    """Each direction of a link to the right of its way."""
    links = results.mesh_use
    start = links[["source_x_m", "source_y_m"]].to_numpy() * 1e3
    end = links[["target_x_m", "target_y_m"]].to_numpy() * 1e3
    way = end - start
    aside = 0.06 * np.stack([way[:, 1], -way[:, 0]], 1)
    lines = LineCollection(list(np.stack([start + aside, end + aside], 1)), cmap=LINKS, linewidths=2.2, capstyle="round")
    lines.set(array=links["utilisation"].to_numpy(), clim=(0, most))
    under = LineCollection(list(np.stack([start + aside, end + aside], 1)), colors=PAPER, linewidths=3.8, capstyle="round")
    axes.add_collection(under)
    axes.add_collection(lines)


def _scale(figure: Figure, left: float, bottom: float, shades: LinearSegmentedColormap, most: float, of: str) -> None:
    shade_strip(figure, left, bottom, shades)
    write(figure, left, bottom - 0.019, f"0 to {percent(most, 0)} of the time, {of}", size=7.5, colour=INK)


def _outside(figure: Figure, results: Results) -> None:
    tiles, links = results.tile_use, results.mesh_use
    worst = tiles.loc[tiles["busiest"].idxmax()]
    units = {"arrays_share": "arrays", "adcs_share": "ADCs", "buffer_port_share": "buffer port", "output_stage_share": "output stage"}
    by = max(units, key=lambda name: float(worst[name]))
    told = [f"Busiest tile: {int(worst['tile'])}, its {units[by]} {percent(worst['busiest'])} of the time."]
    if len(links):
        most = links.loc[links["utilisation"].idxmax()]
        told.append(f"Busiest link between routers: {int(most['source'])} to {int(most['target'])}, {percent(most['utilisation'])}.")
    told.append(
        "Units of a tile: the arrays and the ADCs of each layer copy on it, its buffer port with its bus, and its output stage; arrays "
        "count as busy while vectors are read, however few of their cells hold weights. A white tile holds nothing. Routers lie in the "
        "middle of their tiles; ports between a tile and its router, and to the off-chip links, are not drawn."
    )
    write(figure, 0.05, 0.115, "\n".join(textwrap.wrap(" ".join(told), 165)), size=8, colour=SOFT, vertical="top")

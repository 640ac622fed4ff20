"""The page of a chip's floor plan: tiles with what lies on them, routers, links, and what a tile is made of."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from xbar.reports.results import Results
from xbar.reports.style import (
    FAINT,
    FILLS,
    GROUPS,
    INK,
    PAPER,
    SECOND,
    SOFT,
    cut,
    group_of,
    human,
    look,
    page,
    percent,
    plot,
    write,
)

MOST_NAMED = 8  # layers with a fill of their own


def floorplan(results: Results) -> Figure:
    """Tiles of the chip at their sizes, by layer, and one tile's area by component."""
    plan = results.floorplan
    tiles = plan[plan["kind"] == "tile"]
    side = float(tiles["width_m"].iloc[0])
    used = tiles["used_share"] > 0
    figure = page(
        "Floor plan",
        f"{len(tiles)} tiles of {human(side, 'm')} side, {percent(used.mean())} of them hold layers  ·  a layout by convention: "
        "square tiles around their routers",
    )
    axes = figure.add_axes((0.05, 0.10, 0.56, 0.78))
    names = _fills(tiles)
    _draw(axes, plan, names)
    handles = [Patch(**fill, label=cut(name, 24)) for name, fill in names.items()]
    handles.append(Patch(facecolor=FAINT, label="nothing placed"))
    handles += [Patch(facecolor=SECOND, label="routers"), Patch(facecolor=SOFT, label="off-chip links")]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.63, 0.885), frameon=False, fontsize=8.5, labelcolor=INK, ncols=2,
        title="Tiles, by the layer on most of their cores", title_fontsize=9, alignment="left",
    )  # fmt: skip
    _parts(plot(figure, (0.755, 0.12, 0.20, 0.36), "One tile's area", "x"), results, len(tiles))
    return figure


def _fills(tiles: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Fills of the layers on most tiles, and one for all others."""
    first = tiles.loc[tiles["used_share"] > 0, "layers"].astype(str).str.split(" ").str[0]
    names = list(dict.fromkeys(first.value_counts().index))
    shown = {name: dict(FILLS[k]) for k, name in enumerate(names[: min(MOST_NAMED, len(FILLS) - 1)])}
    if len(names) > len(shown):
        shown[f"{len(names) - len(shown)} other layers"] = dict(FILLS[len(FILLS) - 1])
    return shown


def _draw(axes: Axes, plan: pd.DataFrame, names: dict[str, dict[str, object]]) -> None:
    scale = 1e3
    others = next((fill for name, fill in names.items() if name.endswith(" other layers")), {})
    for row in plan.itertuples():
        box = Rectangle((row.left_m * scale, row.bottom_m * scale), row.width_m * scale, row.height_m * scale)
        if row.kind == "tile":
            holds = row.used_share > 0
            fill = names.get(str(row.layers).split(" ")[0], others) if holds else {"facecolor": FAINT}
            box.set(**fill)
            box.set_edgecolor(PAPER)
            box.set_linewidth(0.6)
        else:
            box.set(facecolor=SECOND if row.kind == "router" else SOFT, linewidth=0)
        axes.add_patch(box)
    right = float((plan["left_m"] + plan["width_m"]).max()) * scale
    top = float((plan["bottom_m"] + plan["height_m"]).max()) * scale
    axes.set_xlim(0, right)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.set_xlabel("mm", fontsize=8.5)
    axes.set_ylabel("mm", fontsize=8.5)
    axes.tick_params(labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(SOFT)


def _parts(axes: Axes, results: Results, tiles: int) -> None:
    """Area of one tile by group of components."""
    areas = results.components["area_m2"].drop(["link"], errors="ignore") / tiles
    grouped = areas.groupby(areas.index.map(lambda name: group_of(str(name)))).sum().sort_values()
    grouped = grouped[grouped > 0.002 * grouped.sum()]
    places = np.arange(len(grouped))
    bars = axes.barh(places, grouped * 1e6, height=0.7)
    for bar, name in zip(bars, grouped.index, strict=True):
        bar.set(**look(name) if name in GROUPS else {"facecolor": SOFT})
    for place, value in zip(places, grouped, strict=True):
        write(axes, value * 1e6, place - 0.12, f" {human(value, 'm²')}", size=7.5, transform=axes.transData)
    axes.set_yticks(places, [cut(str(name), 24) for name in grouped.index], fontsize=8)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(0, float(grouped.max()) * 1e6 * 1.35)
    axes.set_xlabel("mm²", fontsize=8.5)

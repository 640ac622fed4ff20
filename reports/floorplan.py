"""The page of a chip's floor plan: tiles with what lies on them, routers, links, and what a tile is made of."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from xbar.reports.results import Results
from xbar.reports.style import (
    ACCENT,
    FAINT,
    GROUPS,
    INK,
    PAPER,
    SECOND,
    SOFT,
    WARNING,
    cut,
    group_of,
    human,
    look,
    page,
    percent,
    plot,
    scale_of,
    significant,
    write,
)

# Of layers, those on most tiles first; the last is of all others. Told apart in grey too.
LAYER_FILLS: tuple[dict[str, Any], ...] = tuple(
    {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.6, "hatch": hatch}
    for colour, hatch in (
        (ACCENT, None), ("#8ed6b8", None), (SECOND, "////"), ("#7a5195", None), ("#f0c987", "...."), (WARNING, "\\\\\\\\"),
        ("#6ab7d6", "xxxx"), ("#c3a6d8", None),
    )
)  # fmt: skip
ROUTERS = "#394651"


def floor_plan(results: Results) -> Figure:
    """Tiles of the chip at their sizes, by layer, and one tile's area by component."""
    plan = results.floorplan
    tiles = plan[plan["kind"] == "tile"]
    side = float(tiles["width_m"].iloc[0])
    used = tiles["used_share"] > 0
    outline = [float((plan[start] + plan[length]).max()) for start, length in (("left_m", "width_m"), ("bottom_m", "height_m"))]
    figure = page(
        "Floor plan",
        f"{len(tiles)} tiles of {human(side, 'm')} side, {percent(used.mean())} of them hold layers  ·  a layout by convention: "
        "square tiles around their routers",
    )
    axes = figure.add_axes((0.085, 0.10, 0.515, 0.78), anchor="NW")
    names = _fills(tiles)
    _draw(axes, plan, names, outline)
    handles = [Patch(**fill, label=cut(name, 24)) for name, fill in names.items()]
    if not used.all():
        handles.append(Patch(facecolor=FAINT, label="nothing placed"))
    handles += [Patch(facecolor=ROUTERS, label="routers"), Patch(facecolor=SOFT, label="off-chip links")]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.63, 0.885), frameon=False, fontsize=8.5, labelcolor=INK, ncols=2,
        title="Tiles, by the layer on most of their cores", title_fontproperties={"size": 9, "weight": "bold"}, alignment="left",
    )  # fmt: skip
    facts = [
        ("Outline", _size(outline)), ("Cores in use", percent(float(tiles["used_share"].mean()))),
        ("Layers on one tile, at most", f"{tiles['layers'].map(_count).max():,}"),
        ("Area of all parts, of the outline", percent(results.meta["summary"]["area_m2"] / (outline[0] * outline[1]))),
    ]  # fmt: skip
    for place, (label, value) in enumerate(facts):
        x, y = 0.635 + 0.155 * (place % 2), 0.665 - 0.065 * (place // 2)
        write(figure, x, y + 0.026, label, size=8.5, colour=SOFT)
        write(figure, x, y, value, size=12, weight="bold")
    _parts(plot(figure, (0.775, 0.13, 0.175, 0.38), "One tile's area", "x"), results, len(tiles))
    return figure


def _size(outline: list[float]) -> str:
    """Width x height in one unit."""
    factor, prefix = scale_of(max(outline))
    return f"{significant(outline[0] * factor)} x {significant(outline[1] * factor)}\u00a0{prefix}m"


def _count(layers: object) -> int:
    """How many layers a tile holds."""
    return len(layers.split()) if isinstance(layers, str) else 0


def _fills(tiles: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Fills of the layers on most tiles, and one for all others."""
    first = tiles.loc[tiles["used_share"] > 0, "layers"].astype(str).str.split(" ").str[0]
    names = list(dict.fromkeys(first.value_counts().index))
    named = len(LAYER_FILLS) - (len(names) > len(LAYER_FILLS))
    shown = {name: dict(fill) for name, fill in zip(names[:named], LAYER_FILLS, strict=False)}
    if len(names) > named:
        shown[f"{len(names) - named} other layers"] = dict(LAYER_FILLS[-1])
    return shown


def _draw(axes: Axes, plan: pd.DataFrame, names: dict[str, dict[str, Any]], outline: list[float]) -> None:
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
            box.set(facecolor=ROUTERS if row.kind == "router" else SOFT, linewidth=0)
        axes.add_patch(box)
    axes.set_xlim(0, outline[0] * scale)
    axes.set_ylim(0, outline[1] * scale)
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
    axes.set_yticks(places, [cut(str(name), 26) for name in grouped.index], fontsize=7.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(0, float(grouped.max()) * 1e6 * 1.5)
    axes.set_xlabel("mm²", fontsize=8.5)

"""The page of the roofline: operations per byte moved against operations per second, beside what bounds them."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from xbar.reports.labels import label_points, shortened
from xbar.reports.results import Results
from xbar.reports.style import (
    ACCENT,
    INK,
    PAPER,
    SECOND,
    SOFT,
    Column,
    draw_table,
    human,
    page,
    percent,
    plot,
    significant,
    write,
)

NETWORK = "(network)"
MOST_ROWS = 9
COLUMNS: tuple[Column, ...] = (
    ("", 0.050, "left"), ("operations", 0.270, "right"), ("bytes at buffers", 0.375, "right"), ("on the mesh", 0.465, "right"),
    ("op/byte, buffers", 0.575, "right"), ("attained", 0.675, "right"), ("bound", 0.765, "right"), ("bound by", 0.785, "left"),
    ("of bound", 0.950, "right"),
)  # fmt: skip
LEGEND = Bbox.from_extents(0.0, 0.80, 0.62, 1.0)  # share of the axes that the legend has
Level = tuple[str, str, str]  # of data that moves: column of bytes, roof, colour
BUFFERS: tuple[Level, ...] = (("buffer_bytes", "buffer ports", ACCENT),)
LINKS: tuple[Level, ...] = (("mesh_bytes", "mesh links", "#2f9e77"), ("link_bytes", "off-chip links", "#7a5195"))


def operations_and_bytes(results: Results) -> Figure:
    """Each layer and the network under the roofs of crossbars, buffer ports, mesh and off-chip links, and in numbers."""
    table, chip = results.roofline, results.meta["chip"]
    bits = f"{chip['weight_bits']}-bit weights x {chip['input_bits']}-bit inputs"
    figure = page(
        "Roofline", f"{results.heading}  ·  a multiply-accumulate is 2 operations, of {bits}; bytes are 8 bits"
    )
    spare = 0.0215 * max(0, MOST_ROWS - len(table))
    bottom, height = 0.455 - spare, 0.395 + spare
    left = _panel(plot(figure, (0.075, bottom, 0.405, height), "Data through the buffers of tiles", "both"), results, BUFFERS, True)
    right = _panel(plot(figure, (0.56, bottom, 0.39, height), "Data over the mesh and off chip", "both"), results, LINKS, False)
    order = (table["attained_per_s"] / table["bound_per_s"]).sort_values(ascending=False, kind="stable").index
    rows = pd.concat([table[table["layer"] == NETWORK], table.loc[order][lambda part: part["layer"] != NETWORK]])
    short = shortened(map(str, rows["layer"]), 24)
    end = draw_table(figure, bottom - 0.085, COLUMNS, [_cells(row, short) for _, row in rows.head(MOST_ROWS).iterrows()], 0.0215)
    notes = []
    if len(rows) > MOST_ROWS:
        notes.append(f"The {MOST_ROWS - 1} layers nearest to their bounds of {len(rows) - 1}; all are in roofline.csv.")
    if left + right:
        notes.append("Points without a name found no room for one.")
    if (table["attained_per_s"] > 1.0001 * table["bound_per_s"]).any():
        notes.append("Over 100 % of a bound: a short batch, whose first layers had worked ahead before the first result came.")
    notes.append(
        "Attained: operations at the requests per second between results. Bound: operations over the time that a request holds the "
        "busiest of the layer's arrays, ADCs, buffer ports and output stages; of the network, of all units and mesh links: the thin lines "
        "above points end there. Bytes are those that energy is charged for: every bit read from or written to a buffer (results count "
        "with the layer that makes them), every bit that leaves a router, in whole flits, once a hop, and every bit over the off-chip "
        "links. Weights stay in their cells and move no bytes. Solid roofs: the whole chip; dashed: what of crossbars, tiles and mesh "
        "links is in use."
    )
    write(figure, 0.05, end - 0.020, "\n".join(textwrap.wrap(" ".join(notes), 178)), size=7.5, colour=SOFT, vertical="top")
    return figure


def _panel(axes: Axes, results: Results, levels: tuple[Level, ...], bounds: bool) -> int:
    """Roofs, points and their names; how many names found no room. bounds: whether each point's own bound is drawn."""
    table, roofs = results.roofline, results.roofs.set_index("roof")
    peak, used = roofs.loc["crossbars", ["chip_per_s", "used_per_s"]]
    points = [
        (row[column], row["operations"] / row[column], row["attained_per_s"], row["bound_per_s"], str(row["layer"]), colour)
        for column, _, colour in levels
        for _, row in table.iterrows()
        if row[column] > 0 and (column != "link_bytes" or row["layer"] == NETWORK)
    ]
    x = np.array([point[1] for point in points] or [1.0])
    y = np.array([point[2] for point in points] or [peak])
    ridges = [peak / roofs.loc[roof, "chip_per_s"] for _, roof, _ in levels]
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = min(x.min(), *ridges) / 4, max(x.max(), *ridges) * 4
    axes.set_xlim(low, high)
    floor = 10 ** np.floor(np.log10(y.min() / 2))
    axes.set_ylim(floor, peak * (peak / floor) ** 0.25)
    across = np.geomspace(low, high, 400)
    axes.axhline(peak, color=INK, linewidth=1.4)
    axes.axhline(used, color=INK, linewidth=1.1, linestyle=(0, (5, 3)))
    drawn = [(across, np.full_like(across, peak)), (across, np.full_like(across, used))]
    handles = [Line2D([], [], color=INK, linewidth=1.4, label=f"crossbars {human(peak, 'OPS')}, in use {human(used, 'OPS')}")]
    for column, roof, colour in levels:
        of_chip, of_used = roofs.loc[roof, ["chip_per_s", "used_per_s"]]
        axes.plot(across, np.minimum(peak, of_chip * across), color=colour, linewidth=1.4)
        drawn += [(across, np.minimum(peak, of_chip * across)), (across, np.minimum(used, of_used * across))]
        if of_used and of_used < of_chip:
            axes.plot(across, np.minimum(used, of_used * across), color=colour, linewidth=1.1, linestyle=(0, (5, 3)))
        in_use = f", in use {human(of_used, 'B/s')}" if of_used < of_chip else ""
        marker = "*" if column == "link_bytes" else "o"
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=5, label=f"{roof} {human(of_chip, 'B/s')}{in_use}"))
    for _, at, attained, bound, name, colour in points:
        if bounds:
            axes.plot([at, at], [attained, bound], color=SOFT, linewidth=0.9, zorder=2)
            drawn.append((np.array([at] * 40), np.geomspace(attained, bound, 40)))
            axes.plot([at], [bound], color=INK, marker="_", markersize=7, zorder=2)
        whole = name == NETWORK
        axes.plot([at], [attained], color=SECOND if whole else colour, marker="*" if whole else "o", markersize=10 if whole else 5,
                  markeredgecolor=colour if whole else PAPER, markeredgewidth=0.8, zorder=4 if whole else 3)  # fmt: skip
    for axis, decades in ((axes.xaxis, np.log10(high / low)), (axes.yaxis, 9.0)):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: human(value, "", 1)))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("operations per byte moved", fontsize=8.5)
    axes.set_ylabel("operations per second", fontsize=8.5)
    axes.legend(handles=handles, loc="upper left", fontsize=7, frameon=False, labelcolor=INK, borderpad=0.1, handlelength=1.8)
    way = {colour: {"mesh_bytes": ", mesh", "link_bytes": ", off chip"}.get(column, "") for column, _, colour in levels}
    short = shortened((point[4] for point in points), 24)
    names = [f"the network{way[point[5]]}" if point[4] == NETWORK else short[point[4]] for point in points]
    return label_points(axes, [(point[1], point[2]) for point in points], names, keep_off=[LEGEND], lines=drawn)


def _cells(row: pd.Series, short: Mapping[str, str]) -> list[str]:
    """A row of the table."""
    per_byte = significant(row["operations"] / row["buffer_bytes"]) if row["buffer_bytes"] else "–"
    return [
        "the network" if row["layer"] == NETWORK else short[str(row["layer"])], human(row["operations"], "OP"),
        human(row["buffer_bytes"], "B"), human(row["mesh_bytes"], "B"), per_byte, human(row["attained_per_s"], "OPS"),
        human(row["bound_per_s"], "OPS"), str(row["bound_by"]), percent(row["attained_per_s"] / row["bound_per_s"]),
    ]  # fmt: skip

"""The page of efficiency and density: operations per joule and per area, attained, with every crossbar full and by the chip's table, and
where operations are done."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from xbar.reports.results import Results
from xbar.reports.style import (
    ACCENT,
    FAINT,
    INK,
    PAPER,
    SECOND,
    SOFT,
    Column,
    draw_table,
    human,
    page,
    paragraph,
    percent,
    plot,
    significant,
    write,
)

# Operating points, as everything that tells of them names them.
POINTS = {"batch": "the run, begin to end", "steady": "at steady throughput", "peak": "every crossbar full", "table": "by the chip's table"}
COLUMNS: tuple[Column, ...] = (
    ("", 0.050, "left"), ("off-chip links", 0.255, "left"), ("operations/s", 0.470, "right"), ("power", 0.570, "right"),
    ("area", 0.670, "right"), ("TOPS/W", 0.790, "right"), ("TOPS/mm²", 0.950, "right"),
)  # fmt: skip
PLACES = (  # of multiply-accumulates: column of the headline numbers, words, look
    ("crossbar", "on crossbars", {"facecolor": ACCENT}),
    ("digital", "in product units", {"facecolor": "#8ed6b8", "hatch": "...."}),
    ("host", "on the host", {"facecolor": SECOND, "hatch": "////"}),
)  # fmt: skip


def tera(value: float) -> str:
    """Operations per joule, or per second and m², in tera without the prefix's name."""
    return significant(value * 1e-12)


def density(value: float) -> str:
    """Operations per second and area, given per m², for people."""
    return f"{human(value * 1e-6, 'OPS')}/mm²"


def points_of(results: Results) -> pd.DataFrame:
    """The table of efficiency, without the steady state where the run has none and its rate is the whole run's."""
    table = results.efficiency
    return table if results.meta["summary"]["steady_throughput_per_s"] else table[table["of"] != "steady"].reset_index(drop=True)


def row_of(results: Results, of: str, links: bool = False) -> pd.Series:
    """An operating point of the table of efficiency, with the off-chip links or without."""
    table = results.efficiency
    return table[(table["of"] == of) & (table["links"] == links)].iloc[0]


def efficiency_and_density(results: Results) -> Figure:
    """Operations per joule and per area, each with the off-chip links and without, and shares of operations by where they are done."""
    chip = results.meta["chip"]
    figure = page("Efficiency and density", f"{results.heading}  ·  with the off-chip links and without")
    for index, (column, title, unit) in enumerate((
        ("operations_per_J", "Operations per second and watt", "TOPS/W"),
        ("operations_per_s_m2", "Operations per second and area", "TOPS/mm²"),
    )):  # fmt: skip
        _bars(plot(figure, (0.235 + 0.395 * index, 0.655, 0.315, 0.195), title, "x"), points_of(results), column, unit, named=not index)
    rows = [
        [POINTS[str(row["of"])], "with" if row["links"] else "without", human(row["operations_per_s"], "OPS"), human(row["power_W"], "W"),
         human(row["area_m2"], "m²"), tera(row["operations_per_J"]), tera(row["operations_per_s_m2"] * 1e-6)]
        for _, row in points_of(results).iterrows()
    ]  # fmt: skip
    end = draw_table(figure, 0.570, COLUMNS, rows, 0.0235)
    _where(plot(figure, (0.05, end - 0.130, 0.90, 0.040), "Where a request's multiply-accumulates are done", "none"), results)
    notes = [
        f"One multiply-accumulate is 2 operations, of {chip['weight_bits']}-bit weights and {chip['input_bits']}-bit inputs, the "
        "chip's own bits; nothing is scaled to other widths. Of the run, operations are those that the network needs on crossbars and "
        "in product units: empty cells and idle crossbars do none, while their leakage and area count. Power is dynamic and leakage.",
        "The run: from its first arrival to the last result, filling and emptying of the pipeline in it; the energy per request, the "
        f"average power, and efficiency and density among the headline numbers are of it. {_steady(results)}",
        "Every crossbar full is the peak of this network on this chip: every cell of every crossbar in use as fast as the slowest part "
        "allows; array reads, product units and links take for an operation what they do in this network, all else what it does at "
        "the chip's full load; where product units, or links, cannot keep up, crossbars wait. By the chip's table is how publications "
        "add it up: operations on crossbars alone, while product units and links draw what they do at full load, and array reads "
        "what the file says of cells and inputs in general. "
        f"{_beside_the_table(results)}",
    ]
    paragraph(figure, end - 0.182, "\n".join(notes))
    return figure


def _steady(results: Results) -> str:
    """What the steady state is, or why there is none."""
    if not results.meta["summary"]["steady_throughput_per_s"]:
        return "There is no steady state: no two results come one after the other."
    return ("At steady throughput: at the requests per second between results, which headline numbers have too, with the dynamic energy of "
            "a request and what the idle chip draws in between.")  # fmt: skip


def _beside_the_table(results: Results) -> str:
    """Why a run may be above the chip's table, where one is; that it is above its peak, where it is."""
    steady, peak, table = (row_of(results, of)["operations_per_J"] for of in ("steady", "peak", "table"))
    if steady > peak:
        return "This network is above its peak: its layers have bits of their own, or share inputs that the peak's crossbars each load."
    return "This network is above the table: its cells and inputs take less than that." if steady > table else ""


def _bars(axes: Axes, table: pd.DataFrame, column: str, unit: str, named: bool) -> None:
    """A bar an operating point and side of the links, on a logarithmic axis, its value beside it."""
    values = table[column].to_numpy(dtype=float) * (1e-12 if unit == "TOPS/W" else 1e-18)
    least, most = values[values > 0].min(initial=np.inf), values.max(initial=0.0)
    axes.set_xscale("log")
    axes.set_xlim((least / 4, most * (most / least * 4) ** 0.3) if most else (0.1, 1.0))
    places = [place + 0.5 * (place // table["of"].nunique()) for place in range(len(values))]
    for place, value, links in zip(places, values, table["links"], strict=True):
        fill = {"facecolor": SOFT, "hatch": "////"} if links else {"facecolor": ACCENT}
        axes.barh([place], [value], height=0.7, edgecolor=PAPER, linewidth=0, **fill)
        axes.annotate(significant(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    names = [f"{POINTS[str(of)]}{', links too' if links else ''}" for of, links in zip(table["of"], table["links"], strict=True)]
    axes.set_yticks(places, names if named else [""] * len(names))
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)
    axes.set_ylim(max(places) + 0.6, -0.6)
    axes.set_xlabel(unit, fontsize=8.5)
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _where(axes: Axes, results: Results) -> None:
    """One stacked bar of the shares of multiply-accumulates."""
    found = [(results.meta["summary"].get(f"{where}_operations_share"), words, look) for where, words, look in PLACES]
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("%", fontsize=8.5)
    begin, handles = 0.0, []
    for share, words, look in found:
        if share is None:
            continue
        axes.barh([0], [100 * share], left=[100 * begin], height=0.9, edgecolor=PAPER, linewidth=0, **look)
        handles.append(Patch(**look, edgecolor=PAPER, linewidth=0, label=f"{words} {percent(share)}"))
        begin += share
    if not handles:
        axes.barh([0], [100], height=0.9, color=FAINT)
        write(axes, 0.5, 0.5, "the network has none", size=8.5, align="center", vertical="center")
        return
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.02), ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)

"""The recommender's chip under load, drawn and told: latency with its intervals, energy with static power and links, what a chip holds."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xbar.reports.style import (
    ACCENT,
    INK,
    SECOND,
    SOFT,
    WARNING,
    Column,
    draw_table,
    human,
    page,
    percent,
    plain_decimals,
    plot,
    write,
)

if TYPE_CHECKING:
    from xbar.reports.recommender import RecommenderSheet

PERCENTILES = {"p50_s": ("median", "-", ACCENT), "p95_s": ("95 %", "--", SECOND), "p99_s": ("99 %", ":", WARNING)}
DISPATCHED = {"random": "one at random", "least_loaded": "who has fewest"}


def headline_of(sheet: "RecommenderSheet") -> pd.Series:
    """The row of the load that the energy of a request is told of first: one chip of one copy, at the headline's share of its capacity."""
    one = sheet.load[(sheet.load["placement"] == "one copy") & (sheet.load["replicas"] == 1)]
    return one.loc[(one["share"] - sheet.meta["headline_share"]).abs().idxmin()]


def energy_text(sheet: "RecommenderSheet") -> str:
    row = headline_of(sheet)
    return (
        f"A request of {sheet.meta['study']['candidates']} candidates takes {human(row['energy_per_request_J'], 'J')} of a chip at "
        f"{percent(row['share'], 0)} of its capacity, {row['rate']:,.0f} a second: {human(row['dynamic_J'], 'J')} for what it does, "
        f"{human(row['leakage_J'], 'J')} of static power on the chip, {human(row['links_J'], 'J')} of its links; 99 % of requests are done "
        f"within {_interval(row)}."
    )


def capacity_text(sheet: "RecommenderSheet") -> str:
    m, said = sheet.meta, []
    for name, where in (("buffers", "in its buffers"), ("crossbars", "on its crossbars")):
        held = m["capacity"][name]
        chips = "no number of chips holds" if held["chips"] is None else f"{held['chips']:,} chips hold"
        said.append(f"{held['members']:,} members {where} ({chips} {m['many_members']:,})")
    return f"Beside the global block and all items' embeddings a chip holds {' or '.join(said)}."


def _interval(row: pd.Series) -> str:
    """The 99th percentile with its 95 % interval."""
    return f"{human(row['p99_s'], 's')} ({human(row['p99_low_s'], 's')} to {human(row['p99_high_s'], 's')})"


def load(sheet: "RecommenderSheet") -> Figure:
    """Latency and power against the rate of requests."""
    m = sheet.meta
    said = [f"{name} ({m['arrays'][name]:,} arrays) at most {1 / service:,.0f}/s" for name, service in m["service_s"].items()]
    figure = page("Under load", f"Poisson requests of {m['study']['candidates']} candidates  ·  one chip: {'; '.join(said)}")
    one = sheet.load[sheet.load["replicas"] == 1]
    axes = plot(figure, (0.07, 0.54, 0.40, 0.31), "Latency of a chip with one copy of each layer", "both")
    single = one[one["placement"] == "one copy"]
    for column, (label, style, colour) in PERCENTILES.items():
        low, high = (single[column.replace("_s", f"_{side}_s")] for side in ("low", "high"))
        axes.errorbar(
            single["rate"],
            single[column] * 1e6,
            yerr=1e6 * np.stack([single[column] - low, high - single[column]]),
            fmt="o" + style,
            color=colour,
            label=label,
            markersize=4,
            capsize=2,
        )
    axes.set_yscale("log")
    axes.set_xlim(0, 1.03 / m["service_s"]["one copy"])
    axes.axvline(1 / m["service_s"]["one copy"], color=INK, linewidth=0.8, label="saturation")
    axes.set_xlabel("requests per second; bars: 95 % intervals")
    axes.set_ylabel("microseconds")
    plain_decimals(axes.yaxis)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    axes = plot(figure, (0.56, 0.54, 0.39, 0.31), "99th percentile of n chips", "both")
    looks = (
        ("one copy", 1, "round_robin", "-", ACCENT),
        ("most copies", 1, "round_robin", "-", SECOND),
        ("most copies", 2, "random", "--", SECOND),
        ("most copies", 4, "random", ":", SECOND),
        ("most copies", 2, "least_loaded", "--", WARNING),
        ("most copies", 4, "least_loaded", ":", WARNING),
    )
    for placement, count, dispatch, style, colour in looks:
        part = sheet.load[(sheet.load["placement"] == placement) & (sheet.load["replicas"] == count) & (sheet.load["dispatch"] == dispatch)]
        to = "" if count == 1 else f", to {DISPATCHED[dispatch]}"
        label = f"{count} chip{'s' if count > 1 else ''}, {placement}{to}"
        axes.loglog(part["rate"], part["p99_s"] * 1e6, "o" + style, color=colour, label=label, markersize=4)
    axes.set_xlabel("requests per second of all chips")
    axes.set_ylabel("microseconds")
    plain_decimals(axes.yaxis)
    plain_decimals(axes.xaxis, (1.0,))
    axes.legend(fontsize=8, frameon=False)
    columns: tuple[Column, ...] = (
        ("one chip", 0.05, "left"), ("load", 0.16, "right"), ("requests/s", 0.25, "right"), ("median", 0.32, "right"),
        ("95 %", 0.39, "right"), ("99 %, its 95 % interval", 0.57, "right"), ("for what it does", 0.68, "right"), ("static", 0.77, "right"),
        ("links", 0.86, "right"), ("a request", 0.95, "right"),
    )  # fmt: skip
    rows = [
        [str(row["placement"]), percent(row["share"], 0), f"{row['rate']:,.0f}", human(row["p50_s"], "s"), human(row["p95_s"], "s"),
         f"{_interval(row)}{'' if row['p99_valid'] else ' ?'}",
         *(human(row[name], "J") for name in ("dynamic_J", "leakage_J", "links_J", "energy_per_request_J"))]
        for _, row in one.iterrows()
    ]  # fmt: skip
    end = draw_table(figure, 0.435, columns, rows, 0.0225)
    note = (
        f"Requests come and leave over the chip's links. Static energy is that of the whole chip and its time, most of it where the "
        f"network fills little of the chip. Latencies of {int(sheet.load['requests'].min()):,} to "
        f"{int(sheet.load['requests'].max()):,} requests a point, intervals by {m['batches']} batch means (? where these are not "
        f"independent or not normal); of {m['study']['requests']} requests a point simulated event by event none is further from "
        f"these than {human(sheet.load['off_s'].max(), 's')}."
    )
    write(figure, 0.05, end - 0.02, "\n".join(textwrap.wrap(note, 165)), size=8, colour=SOFT, vertical="top")
    return figure

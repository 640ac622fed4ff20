"""One page on refreshes: quality over time of each policy, and what its writes take."""

import textwrap
from pathlib import Path

import pandas as pd

from xbar.reports.recommender import NAMES
from xbar.reports.style import ACCENT, FILLS, INK, SECOND, WARNING, Column, draw_table, human, page, plot, write

STYLES = {"frozen": ("o", ":"), "retrained": ("s", "-")}  # of policies; refreshed ones have ("^", "--")


def draw_refreshes(quality: pd.DataFrame, costs: pd.DataFrame, data: str, path: Path) -> Path:
    """Write the page as PNG. quality: `xbar.workloads.recommender.over_time.OverTime.quality`; costs: its refreshes with write_J and
    write_s."""
    told = f"{data}: networks trained up to one date, all later interactions scored in order of time"
    figure = page("Refreshing embeddings of frozen networks", told)
    methods = dict.fromkeys(name.split(", ")[0] for name in quality["policy"])
    colours = dict(zip(methods, (ACCENT, SECOND, WARNING, "#2f9e77", INK, *FILLS), strict=False))
    for box, metric, title in (((0.07, 0.60, 0.38, 0.25), "auc", "AUC by period"), ((0.56, 0.60, 0.39, 0.25), "gauc", "GAUC by period")):
        axes = plot(figure, box, title)
        periods = [part for part in quality["part"].unique() if part.startswith("period")]
        for policy in quality["policy"].unique():
            chosen = quality[(quality["policy"] == policy) & (quality["metric"] == metric)].set_index("part")
            there = [part for part in periods if part in chosen.index]
            method, kind = policy.split(", ")
            marker, line = STYLES.get(kind, ("^", "--"))
            if kind not in (*STYLES, "every 8"):
                continue
            places, values = [periods.index(part) for part in there], chosen.loc[there, "mean"]
            axes.plot(places, values, marker + line, color=colours[method], markersize=4, linewidth=1, label=_label(policy))
        axes.set_xticks(range(len(periods)), [part.removeprefix("period ") for part in periods])
        if metric == "auc":
            axes.legend(fontsize=6.5, frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(-0.05, -0.12))
    columns: tuple[Column, ...] = (
        ("policy", 0.05, "left"), ("AUC", 0.33, "right"), ("95 % band", 0.45, "right"), ("GAUC", 0.51, "right"),
        ("log loss", 0.58, "right"), ("lead of meta, every 8", 0.76, "right"), ("written", 0.87, "right"), ("energy", 0.95, "right"),
    )  # fmt: skip
    whole = quality[quality["part"] == "all"].set_index(["policy", "metric"])
    rows = []
    for cost in costs.itertuples():
        auc = whole.loc[(cost.policy, "auc")]
        rows.append([
            _label(cost.policy), f"{auc['mean']:.4f}",
            f"{auc['low']:.4f} to {auc['high']:.4f}", f"{whole.loc[(cost.policy, 'gauc'), 'mean']:.4f}",
            f"{whole.loc[(cost.policy, 'log_loss'), 'mean']:.4f}",
            f"{auc['lead']:+.4f} ({auc['lead_low']:+.4f} to {auc['lead_high']:+.4f})",
            f"{cost.embeddings_written:,}" if cost.policy.startswith("meta, ") else "–",
            human(cost.write_J, "J") if cost.policy.startswith("meta, ") else "–",
        ])  # fmt: skip
    end = draw_table(figure, 0.485, columns, rows, 0.0215)
    note = (
        "Lead: in AUC, of meta embeddings refreshed after every 8 interactions of a member, each with a 95 % band of its own. Written: "
        "embeddings after the date; energy: of writing them on the chip's crossbars, 10 pulses a cell, assumed; not of the processors that "
        "make them."
    )
    write(figure, 0.05, end - 0.03, textwrap.fill(note, 170), size=8, vertical="top")
    figure.savefig(path)
    return path


def _label(policy: str) -> str:
    """A policy in words."""
    method, kind = policy.split(", ")
    return f"{NAMES[method]}, {kind}"

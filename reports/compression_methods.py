"""Page of a compression: the ways to choose what goes, against each other at equal training."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xbar.reports.compression_sheet import CompressionSheet, bits_told, samples_of, score_before
from xbar.reports.metric import ShownMetric
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, WARNING, Column, draw_table, human, page, percent, plot, write

METHODS = {"cost-aware-least-squares": ("P", INK, "-"), "cost-aware-magnitude": ("D", SOFT, "-"), "cost-aware": ("o", ACCENT, "-"),
           "uniform": ("s", SECOND, "--"), "magnitude": ("^", WARNING, ":")}  # fmt: skip
METHOD_NAMES = {
    "cost-aware-least-squares": "one-shot, least squares, ratios by cost on the chip",
    "cost-aware-magnitude": "one-shot magnitude, ratios by cost on the chip",
    "cost-aware": "ADMM, ratios by cost on the chip",
    "uniform": "ADMM, uniform ratios",
    "magnitude": "one-shot magnitude, uniform ratios",
}
MOST_POINTS = 15  # of methods and budgets in the table under their picture


def ahead(frontier: pd.DataFrame, column: str, other: str, ours: str = "cost-aware", better: str = "high") -> pd.DataFrame:
    """What `ours` takes at the score of each point of the method `other`: score, other, ours (both of `column`, J or m²)
    and share, ours over other. Ours is interpolated between its points that no other of it beats, log cost over score;
    scores that these do not span are left out. better: which scores are, high or low ones."""
    found = reached(frontier)
    found = found.assign(good=found["float"] * (1 if better == "high" else -1))
    mine = found[found["method"] == ours].sort_values([column, "good"], ascending=[True, False])
    best = mine[mine["good"] > mine["good"].cummax().shift(fill_value=-np.inf)]
    theirs = found[found["method"] == other].sort_values(column)
    if best.empty:
        return pd.DataFrame(columns=["score", "other", "ours", "share"])
    spanned = theirs[theirs["good"].between(best["good"].min(), best["good"].max())]
    taken = np.exp(np.interp(spanned["good"], best["good"], np.log(best[column])))
    return pd.DataFrame({"score": spanned["float"].to_numpy(), "other": spanned[column].to_numpy(), "ours": taken,
                         "share": taken / spanned[column].to_numpy()})  # fmt: skip


def ahead_text(frontier: pd.DataFrame, shown: ShownMetric | None = None) -> str:
    """By how much the method that is the default (in older results magnitude or ADMM), at ratios by cost, is ahead of the others at equal
    score, in words. shown: the metric, accuracy unless told otherwise."""
    parts, shown, there = [], shown or ShownMetric(), set(frontier["method"])
    ours = next((name for name in METHODS if name in there), "cost-aware")
    for other in (name for name in METHODS if name != ours and name in set(frontier["method"])):
        said = []
        for column, what in (("energy_J", "energy"), ("area_m2", "area")):
            found = ahead(frontier, column, other, ours, shown.better)
            if len(found):
                shares = ", ".join(f"{percent(row['share'], 0)} at {shown.text(row['score'], 2)}" for _, row in found.iterrows())
                said.append(f"{what} {shares}")
        parts.append(f"Of {METHOD_NAMES[other]}: " + ("; ".join(said) if said else f"no {shown.word} in common"))
    return f"What {METHOD_NAMES[ours]}, takes of the others' cost at equal {shown.word} (interpolated). " + ". ".join(parts) + "."


def reached(frontier: pd.DataFrame) -> pd.DataFrame:
    """Points of the picture of methods that met their targets, means over seeds: one row a method and budget, with the standard deviation
    of the score as `spread` (0 of one seed) and `seeds`, their count."""
    if not len(frontier):
        return frontier
    there = frontier[frontier["reached"] > 0].assign(spread=lambda rows: rows["float"], seeds=1)
    by = ["method", "budget"]
    numbers = there.select_dtypes("number").columns.difference([*by, "seed"])
    how = dict.fromkeys(numbers, "mean") | {"spread": lambda scores: scores.std() if len(scores) > 1 else 0.0, "seeds": "sum"}
    return there.groupby(by, sort=False, as_index=False).agg(how)


def methods(sheet: CompressionSheet) -> Figure:
    """Score against energy and area of the ways to choose what goes, trained alike."""
    found, m = reached(sheet.frontier), sheet.meta
    admm, retraining = m["plan"]["frontier"]
    seeds = int(found["seeds"].max())
    told = f"; means over {seeds} seeds, bars their standard deviation" if seeds > 1 else ""
    figure = page(
        "Which way to choose what goes",
        f"each point: {admm + retraining} epochs on {m['frontier_images']:,} training {samples_of(m)}, "
        f"footprint at {bits_told(m, 'after')}; not the full training of the first page" + told,
    )
    first = m["footprints"]["before"]
    for index, (column, unit, factor, label) in enumerate(
        (("energy_J", "J", 1e6, "energy per inference, µJ"), ("area_m2", "m²", 1e6, "area, mm²"))
    ):
        axes = plot(
            figure,
            (0.08 + 0.47 * index, 0.47, 0.38, 0.315),
            f"Against {'energy' if unit == 'J' else 'area'}",
            "both",
        )
        for method, rows in found.groupby("method", sort=False):
            marker, colour, line = METHODS[str(method)]
            rows = rows.sort_values(column)
            axes.errorbar(
                rows[column] * factor,
                ShownMetric.of(m).factor * rows["float"],
                yerr=ShownMetric.of(m).factor * rows["spread"] if rows["seeds"].max() > 1 else None,
                capsize=2,
                marker=marker,
                color=colour,
                linestyle=line,
                label=METHOD_NAMES[str(method)],
                markersize=6,
            )
        before = ShownMetric.of(m).factor * score_before(m)
        axes.axhline(before, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.text(
            1.0,
            before,
            f"uncompressed, at {human(first[column], unit)}",
            transform=axes.get_yaxis_transform(),
            fontsize=7.5,
            color=SOFT,
            ha="right",
            va="bottom",
        )
        axes.set_xlabel(label, fontsize=8.5)
        axes.set_ylabel(f"{ShownMetric.of(m).axis} in float, all test {samples_of(m)}", fontsize=8.5)
        axes.set_xlim(left=0)
        if not index:
            axes.legend(
                frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 1.36), labelcolor=INK, ncols=2
            )
    columns: tuple[Column, ...] = (
        ("targets times", 0.05, "left"),
        ("method", 0.16, "left"),
        (ShownMetric.of(m).word, 0.50, "right"),
        ("weights", 0.60, "right"),
        ("arrays", 0.68, "right"),
        ("energy", 0.81, "right"),
        ("area", 0.95, "right"),
    )
    missed = sheet.frontier[sheet.frontier["reached"] == 0].drop_duplicates(["method", "budget"])
    shown, names = ShownMetric.of(m), sheet.frontier.drop_duplicates(["method", "budget"])[["method", "budget"]]
    rows_ = [
        [
            f"{r['budget']:g}",
            METHOD_NAMES[str(r["method"])],
            *(
                [
                    shown.text(r["float"], 2) + (f" ± {shown.number(r['spread'])}" if r["seeds"] > 1 else ""),
                    f"{int(r['weights']):,}",
                    f"{r['arrays']:.0f}",
                    human(r["energy_J"], "J"),
                    human(r["area_m2"], "m²"),
                ]
                if r["reached"]
                else ["out of reach", "", "", "", ""]
            ),
        ]
        for _, r in names.merge(pd.concat([found, missed]), how="left").iterrows()
    ]
    if len(rows_) > MOST_POINTS:
        rows_ = [*rows_[: MOST_POINTS - 1], ["…", f"{len(rows_) - MOST_POINTS + 1} rows more in frontier.csv", *[""] * 5]]
    end = draw_table(figure, 0.402, columns, rows_, row=0.0165)
    write(figure, 0.05, end - 0.022, "\n".join(textwrap.wrap(ahead_text(sheet.frontier, ShownMetric.of(m)), 175)), size=8, vertical="top")
    return figure

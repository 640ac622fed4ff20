"""The page of what each non-ideality costs of the score, alone and together."""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from xbar.reports.loss_bars import bars_of_rows, least_span, make_room
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, FAINT, INK, SECOND, SOFT, page, plot, write

GIVEN = {"chip": (ACCENT, "the chip's own"), "assumed": (SECOND, "assumed: the chip is ideal here")}


def sensitivity(results: Results) -> Figure:
    """What each non-ideality alone and all together cost of the score."""
    table, a, shown = results.sensitivity, results.meta["score"], ShownMetric.of(results.meta)
    judged = f"{a['samples']:,} test {a['of']}, {shown.word} in float on them {shown.text(a['float'], 2)}"
    figure = page(f"What costs {shown.word}", f"{results.heading}  ·  {judged}")
    height = min(0.62, 0.042 * len(table))
    axes = plot(figure, (0.40, 0.815 - height, 0.32, height), f"Loss of {shown.word}, each alone", "x")
    loss = shown.factor * table["loss"].to_numpy(dtype=float)
    least = least_span(results)
    colours = [GIVEN.get(str(given), (SOFT, ""))[0] for given in table["given"]]
    bars_of_rows(axes, loss, colours, least)
    half = shown.factor * (table["high"] - table["low"]).to_numpy(dtype=float) / 2
    known = np.isfinite(half) & (half > 0)
    axes.errorbar(loss[known], np.flatnonzero(known), xerr=half[known], fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    make_room(axes, loss, half, least)
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_xlabel(f"{shown.step}; whiskers: 95 % band of the mean over chip instances", fontsize=8.5)
    across = axes.get_yaxis_transform()
    columns = (
        ("", -1.09, "left"), ("value", -0.60, "left"), ("chips", 1.16, "right"), (shown.word if shown.is_share else "score", 1.37, "right"),
        (f"loss, {shown.step_short}", 1.71, "right"),
    )  # fmt: skip
    for name, x, align in columns[1:]:
        write(axes, x, -0.95, name, size=8.5, weight="bold", colour=SOFT, align=align, transform=across)
    for row, (_, effect) in enumerate(table.iterrows()):
        ideal = effect["given"] == "ideal"
        colour = SOFT if ideal else INK
        cells = (
            str(effect["effect"]), str(effect["value"]), f"{int(effect['instances'])}", shown.text(effect["score"], 2),
            "ideal here" if ideal else shown.banded(float(effect["loss"]), half[row] / shown.factor),
        )  # fmt: skip
        for (_, x, align), text in zip(columns, cells, strict=True):
            weight = "bold" if x < -1 and effect["against"] == "float" else "normal"
            write(axes, x, row, text, 8.5, weight, colour, align, "center", transform=across)
        if row and table["against"].iloc[row] != table["against"].iloc[row - 1]:
            axes.plot([-1.09, 1.71], [row - 0.5] * 2, color=FAINT, linewidth=1, transform=across, clip_on=False)
    handles = [Patch(color=colour, label=label) for name, (colour, label) in GIVEN.items() if name in set(table["given"])]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.72, 1.065), ncols=2, frameon=False, fontsize=8.5, labelcolor=INK
    )
    digital = table.loc[table["against"] == "digital", "reference"]
    against = f" ({shown.text(float(digital.iloc[0]), 2)})" if len(digital) else ""
    note = (
        "Rows in bold count against the network in float. All others count against the same chip with every analog part "
        f"ideal{against}, weights and inputs in its levels: cells without error, noise or drift, ideal wires and drivers, "
        "ADCs that neither round nor clip; one part at a time is then as described. Losses alone need not add up to the loss "
        "together, not least because an ADC that rounds to whole levels rounds small errors away. "
        "Values marked as assumed are not in the chip file; they are taken to show what the chip would lose to them."
    )
    write(figure, 0.05, 0.125, "\n".join(textwrap.wrap(note, 165)), size=8.5, colour=SOFT, vertical="top")
    return figure


def costliest(results: Results) -> str:
    """What of the chip's own costs most by itself, as a sentence; nothing where nothing costs half a point."""
    shown = ShownMetric.of(results.meta)
    if results.sensitivity.empty:
        return ""
    alone = results.sensitivity[results.sensitivity["given"] == "chip"]
    alone = alone[~alone["effect"].str.startswith(("all", "weights and inputs"))].sort_values("loss")
    if alone.empty or not shown.matters(alone["loss"].iloc[-1], results.meta["score"]["float"]):
        return ""
    worst = alone.iloc[-1]
    return f" By itself, {worst['effect']} costs most: {shown.difference(worst['loss'])}."

"""Page of a compression: what the loss does without parts of each layer, what each stage of training cost and gained, and, where ADMM
pulled, how far weights were from their sets."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from xbar.reports.compression_sheet import NAMES, CompressionSheet, damage_told, samples_of
from xbar.reports.metric import ShownMetric
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, Column, cut, draw_table, page, percent, plot, write

AGAINST = {"longer": ("uncompressed",), "pruned": ("longer", "uncompressed"), "purified": ("pruned",), "quantised": ("purified",),
           "control": ("quantised",), "final": ("quantised",)}  # what a stage's score is set beside: the first that there is
MOST_LAYERS = 18  # rows of the picture of sensitivity; of more, those that the loss feels most


def training(sheet: CompressionSheet) -> Figure:
    """Stages of training above, sensitivity of layers and ADMM's residuals below."""
    figure = page("Layer by layer, step by step", _subtitle(sheet))
    top = _stages(figure, sheet) - 0.075
    if len(sheet.sensitivity) and (sheet.sensitivity["damage"] > 0).any():
        _sensitivity(figure, sheet, top, wide=not len(sheet.admm))
    else:
        write(figure, 0.05, top, _nothing_measured(sheet), 9, colour=SOFT)
    if len(sheet.admm):
        _residuals(plot(figure, (0.65, 0.20, 0.30, top - 0.20), "Residuals of ADMM, an update each", "y"), sheet.admm)
    return figure


def _nothing_measured(sheet: CompressionSheet) -> str:
    """Why there is no picture of layers, in words."""
    if len(sheet.sensitivity):
        return "The loss does not feel any filter or input."
    if sheet.meta["plan"].get("allocation") == "uniform":
        return "Nothing was measured of layers alone: ratios are the same share everywhere."
    return "What the loss does without parts of layers is not kept here: older results have none, nor those of which nothing had to go."


def _subtitle(sheet: CompressionSheet) -> str:
    told = [f"{sheet.meta['method']}"] if "method" in sheet.meta else []
    apart = sheet.meta.get("from_sets_at_projection") or {}
    if apart:
        told.append(f"when put in their sets weights were {percent(max(apart.values()))} away at most")
    return "  ·  ".join([*told, str(sheet.meta.get("validation_split", "")).split(":")[0]]).removesuffix("  ·  ")


def _sensitivity(figure: Figure, sheet: CompressionSheet, top: float, wide: bool) -> None:
    """Shares of filters and of inputs across, layers down, damage as colour; where the choice of ratios ended as a dot."""
    table = sheet.sensitivity
    ranked = table.groupby("layer")["damage"].max().sort_values(ascending=False)
    shown = set(ranked.index[:MOST_LAYERS])
    names = [name for name in dict.fromkeys(table["layer"]) if name in shown]
    most = float(table["damage"].max())
    scale = LogNorm(min(max(float(table.loc[table["damage"] > 0, "damage"].min()), most * 1e-6), most / 10), most)
    height = min(top - 0.20, 0.055 * len(names) + 0.02)
    bottom, width = top - height, 0.34 if wide else 0.18
    image = None
    for place, side in enumerate(("filters", "inputs")):
        mine = table[table["side"] == side].pivot_table(index="layer", columns="share", values="damage").reindex(names)
        axes = plot(figure, (0.17 + (width + 0.04) * place, bottom, width, height), f"Without {side}", "x")
        axes.grid(False)
        grid = np.ma.masked_invalid(mine.to_numpy(dtype=float).clip(min=scale.vmin))
        image = axes.imshow(grid, norm=scale, cmap="Blues", aspect="auto", extent=(0.05, 0.95, len(names) - 0.5, -0.5))
        axes.set_xticks([0.1, 0.5, 0.9], ["10", "50", "90"], fontsize=8)
        axes.set_xlabel(f"% of {side} gone, least first", fontsize=8.5)
        axes.set_yticks(range(len(names)), [cut(str(name), 20) for name in names] if not place else [""] * len(names), fontsize=7.5)
        axes.set_xlim(0, 1)
        gone = _gone(sheet, side)
        at = [(gone[name], row) for row, name in enumerate(names) if name in gone]
        axes.plot([x for x, _ in at], [y for _, y in at], "o", color=SECOND, markersize=4.5, linestyle="none", clip_on=False)
    assert image is not None, "two sides"
    bar = figure.colorbar(image, cax=figure.add_axes((0.17, bottom - 0.085, 0.18, 0.012)), orientation="horizontal")
    bar.ax.tick_params(labelsize=7.5, colors=SOFT)
    write(figure, 0.36, bottom - 0.079, damage_told(sheet.meta), 8, colour=SOFT, vertical="center")
    left = len(ranked) - len(names)
    told = f" {left} layers that the loss feels less are left out; sensitivity.csv has all." if left > 0 else ""
    write(figure, 0.17, bottom - 0.125, f"Dots: gone in the final network.{told}", 8, colour=SOFT, vertical="top")


def _gone(sheet: CompressionSheet, side: str) -> dict[str, float]:
    """Share of each layer's filters or inputs that the final network has not."""
    kept = {"filters": "outputs", "inputs": "inputs"}[side]
    found = 1 - sheet.layers[f"{kept}_after"] / sheet.layers[f"{kept}_before"]
    return {str(name): float(share) for name, share in found.items()}


def _stages(figure: Figure, sheet: CompressionSheet) -> float:
    """A row a stage: epochs, processor time, score, and its change; where the table ends."""
    shown, stages = ShownMetric.of(sheet.meta), sheet.stages
    columns: tuple[Column, ...] = (
        ("stage", 0.05, "left"), ("epochs", 0.40, "right"), ("processor minutes", 0.54, "right"), (f"{shown.word} in float", 0.68, "right"),
        ("against", 0.71, "left"), ("change", 0.95, "right"),
    )  # fmt: skip
    rows = []
    for name, row in stages.iterrows():
        against = next((each for each in AGAINST.get(str(name), ()) if each in stages.index), None)
        change = "" if against is None else shown.difference(float(row["float"] - stages.loc[against, "float"]) or 0.0, 2)
        epochs, minutes = (sheet.meta.get(key, {}).get(name) for key in ("stage_epochs", "processor_min"))
        rows.append([NAMES[str(name)], f"{epochs}" if epochs else "–", f"{minutes:.2f}" if epochs else "–",
                     shown.text(float(row["float"]), 2), NAMES[against] if against else "", change])  # fmt: skip
    end = draw_table(figure, 0.845, columns, rows)
    told = (f"Float, all {sheet.meta['test_images']:,} test {samples_of(sheet.meta)}; minutes of training alone, of one thread or more "
            "together; the choice of ratios and judging apart.")  # fmt: skip
    write(figure, 0.05, end - 0.012, told, 7.5, colour=SOFT, vertical="top")
    return end - 0.02


def _residuals(axes: Axes, history: pd.DataFrame) -> None:
    """Primal and dual residual of the farthest layer at each update, stages one after the other."""
    axes.set_yscale("log")
    begin, marks = 0, []
    for stage, rows in history.groupby("stage", sort=False):
        worst = rows.groupby("update")[["primal_residual", "dual_residual"]].max()
        at = begin + np.arange(len(worst))
        for column, colour, label in (
            ("primal_residual", ACCENT, "primal: weights from their set"), ("dual_residual", SECOND, "dual: the set's move"),
        ):  # fmt: skip
            drawn = worst[column].where(worst[column] > 0)
            axes.plot(at, drawn, color=colour, linewidth=1.2, label=label if not begin else None)
        marks.append((begin + len(worst) / 2, str(stage)))
        begin += len(worst)
        axes.axvline(begin - 0.5, color=SOFT, linewidth=0.6, linestyle=(0, (2, 2)))
    axes.axhline(0.01, color=INK, linewidth=0.6, label="small enough to end")
    axes.set_xlim(0, max(1, begin - 0.5))
    axes.set_xticks([x for x, _ in marks], [name for _, name in marks], fontsize=8)
    axes.set_ylabel("of the weights' norm, farthest layer", fontsize=8.5)
    axes.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper left", bbox_to_anchor=(-0.02, -0.12))

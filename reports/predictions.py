"""The page of predictions, of a network that is asked for values: true against predicted ones and what is left, in float and on chips."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xbar.reports.results import Results
from xbar.reports.style import ACCENT, INK, SECOND, Column, draw_table, page, paragraph, plot, significant

SIDES = {"float": ("In float", SECOND), "ideal": ("On an ideal chip", "#2f9e77"), "chip": ("On chip, as described", ACCENT)}
COLUMNS: tuple[Column, ...] = (
    ("", 0.050, "left"), ("RMS residual", 0.330, "right"), ("mean residual", 0.450, "right"), ("5th percentile", 0.570, "right"),
    ("median", 0.670, "right"), ("95th percentile", 0.790, "right"), ("largest", 0.880, "right"), ("R²", 0.950, "right"),
)  # fmt: skip
LEFT, WIDTH, PITCH = 0.080, 0.255, 0.3075
FEW = 300  # points of a panel that are drawn large


def predicted_values(results: Results) -> Figure:
    """Predicted against true values and residuals, in three columns: float, all analog parts ideal, the chip as described."""
    table, meta = results.predictions, results.meta
    found = {of: part.assign(residual=part["predicted"] - part["true"]) for of, part in table.groupby("of", sort=False)}
    samples, outputs, chips = table["sample"].nunique(), table["output"].nunique(), int(found["chip"]["instance"].max()) + 1
    several = f", {outputs} values each" if outputs > 1 else ""
    who = f"{chips} chips" if chips > 1 else "chips are alike" if meta["score"].get("alike") else "one chip"
    told = f"{samples:,} test {meta['score']['of']}{several}, {who}  ·  values in the target's units"
    figure = page("Predictions", f"{results.heading}  ·  {told}")
    true = _spanned(table["true"])
    up, most = _spanned(table[["true", "predicted"]].to_numpy()), max(float(part["residual"].abs().max()) for part in found.values())
    rows = []
    for place, (of, (title, colour)) in enumerate(SIDES.items()):
        part = found[of]
        top = plot(figure, (LEFT + PITCH * place, 0.510, WIDTH, 0.325), title, "both")
        below = plot(figure, (LEFT + PITCH * place, 0.305, WIDTH, 0.145), "", "both")
        top.plot(true, true, color=INK, linewidth=1.0, linestyle=(0, (5, 3)))
        below.axhline(0.0, color=INK, linewidth=1.0, linestyle=(0, (5, 3)))
        for axes, column, limits in ((top, "predicted", up), (below, "residual", (-1.08 * most, 1.08 * most) if most else (-1.0, 1.0))):
            _points(axes, part, column, colour)
            axes.set_xlim(*true)
            axes.set_ylim(*limits)
            axes.set_ylabel({"predicted": "predicted", "residual": "predicted \u2212 true"}[column] if not place else "", fontsize=8.5)
        below.set_xlabel("true", fontsize=8.5)
        rows.append([title, *_told(part)])
    end = draw_table(figure, 0.225, COLUMNS, rows)
    note = (
        "Residual: predicted less true value. R²: 1 less the sum of squared residuals over that of the true values' deviations from their "
        "mean. The ideal chip holds weights and inputs in its own levels, and its cells, wires, drivers and ADCs have no errors: what is "
        "worse on the chip as described is these parts'."
        + (f" Points and numbers of the chip as described are of {chips} chip instances together." if chips > 1 else "")
        + (" All outputs of a sample are drawn together, as its metric takes them." if outputs > 1 else "")
    )
    paragraph(figure, end - 0.022, note)
    return figure


def _points(axes: Axes, part: pd.DataFrame, column: str, colour: str) -> None:
    few = len(part) <= FEW
    axes.scatter(part["true"], part[column], s=12 if few else 5, color=colour, alpha=0.6 if few else 0.35, linewidths=0, rasterized=True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _spanned(values: pd.Series | np.ndarray) -> tuple[float, float]:
    """Ends of an axis that shows these values and a little more."""
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.04 * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _told(part: pd.DataFrame) -> list[str]:
    """A row of the table."""
    residual = part["residual"]
    scatter = float(((part["true"] - part["true"].mean()) ** 2).sum())
    of_scatter = significant(1 - float((residual**2).sum()) / scatter, 4) if scatter else "–"
    numbers = (np.sqrt((residual**2).mean()), residual.mean(), *residual.quantile([0.05, 0.5, 0.95]), residual.abs().max())
    return [*(significant(float(number)).replace("-", "\u2212") for number in numbers), of_scatter.replace("-", "\u2212")]

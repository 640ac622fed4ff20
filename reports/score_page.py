"""The page of the score against programming variation and ADC bits."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from xbar.reports.metric import ShownMetric
from xbar.reports.programming_error import amount_axis, write_error
from xbar.reports.results import Results
from xbar.reports.run_words import PERCENT
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, page, percent, plot, write

ADC_CURVES = {"made for the bits": (ACCENT, "-"), "kept": (INK, (0, (4, 2)))}  # by what becomes of the width of a code
MANY_SATURATED = 0.01  # of conversions


def accuracy(results: Results) -> Figure:
    """The score against programming variation, with a band over chip instances, and against ADC bits."""
    a, chip, study, shown = results.meta["score"], results.meta["chip"], results.meta["study"], ShownMetric.of(results.meta)
    judged = f"{a['samples']:,} of {a['test_samples']:,} test {a['of']}; {shown.word} in float on all"
    figure = page(f"{shown.title} on the chip", f"{results.heading}  ·  {judged}: {shown.text(a['float_all'], 2)}")
    axes = plot(figure, (0.08, 0.355, 0.52, 0.485), "Against programming variation")
    accuracy_band(axes, results)
    right = plot(figure, (0.69, 0.355, 0.26, 0.485), "Against ADC resolution")
    bits = results.adc_bits
    right.axhline(shown.factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    curves = _adc_curves(right, bits, shown.factor)
    right.axvline(chip["adc_bits"], color=SECOND, linewidth=1.2)
    right.set_xticks(sorted({int(b) for b in bits["bits"]}))
    right.set_xlabel("ADC bits", fontsize=9)
    right.set_ylabel(shown.axis, fontsize=9)
    right.set_ylim(*shown.limits(shown.factor * np.array([a["float"], *bits["score"]])))
    right.legend(
        handles=[
            *curves,
            Line2D([], [], color=SECOND, label=f"this chip: {chip['adc_bits']} bits"),
            Line2D([], [], color=SOFT, linestyle=(0, (5, 3)), label=f"float {shown.text(a['float'])}"),
        ],
        loc="upper left", bbox_to_anchor=(-0.02, -0.125), fontsize=8.5, frameon=False, labelcolor=INK,
    )  # fmt: skip
    scaled = ", here scaled as a whole" if chip["programming_scaled"] else ""
    own = "is 1 on this axis" if chip["programming_scaled"] else f"sigma is {100 * chip['programming_own']:.3g}\u00a0%"
    law = write_error(chip["programming_model"])
    note = (
        f"Programming error: {law}{scaled}; this chip's own {own}, with {chip['read_noise'] or 'no read noise'}. "
        f"Up to {study['instances']} chip instances per point are programmed once, each with its own seed, and judged on the "
        f"same {a['of']}, in the right panel up to {study['adc_instances']}; where nothing is drawn it is one. "
        f"ADC range: {chip['adc_range']}. In the right panel the cells are as the chip describes them; the width of a code is made for "
        "the bits, or kept as it is on this chip, so that codes end earlier. As described, "
        f"{percent(a['truncated_share'], 2)} of cells were cut at 0 S, {percent(a['stuck_share'], 2)} are stuck, "
        f"{percent(a['clipped_input_share'], 2)} of layer inputs lay beyond their calibrated range, and at most "
        f"{percent(a['largest_saturated_share'], 2)} of a layer's conversions saturated in calibration."
    )
    note += "".join(f" Left out: {text}." for text in study.get("left_out", ()))
    write(figure, 0.08, 0.145, "\n".join(textwrap.wrap(note, 150)), size=9, colour=SOFT, vertical="top")
    return figure


def accuracy_band(axes: Axes, results: Results, small: bool = False) -> None:
    """Mean, quartiles and range of the score over chip instances against sigma."""
    a, chip, shown = results.meta["score"], results.meta["chip"], ShownMetric.of(results.meta)
    own, unit = chip["programming_own"], 1 if chip["programming_scaled"] else 100
    points = results.variation
    by_sigma = points.groupby("sigma")["score"]
    sigma = unit * by_sigma.min().index.to_numpy()
    factor = shown.factor
    low, high = factor * by_sigma.min().to_numpy(), factor * by_sigma.max().to_numpy()
    first, third = factor * by_sigma.quantile(0.25).to_numpy(), factor * by_sigma.quantile(0.75).to_numpy()
    axes.axhline(factor * a["float"], color=SOFT, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.fill_between(sigma, low, high, color=ACCENT, alpha=0.15, linewidth=0)
    axes.fill_between(sigma, first, third, color=ACCENT, alpha=0.25, linewidth=0)
    axes.plot(
        sigma,
        factor * by_sigma.mean().to_numpy(),
        color=ACCENT,
        linewidth=1.8,
        marker="o",
        markersize=3.5 if small else 5,
    )
    if not small:
        axes.scatter(
            unit * points["sigma"], factor * points["score"], s=9, color=INK, alpha=0.35, linewidths=0, zorder=3
        )
    if own > 0:
        axes.axvline(unit * own, color=SECOND, linewidth=1.2)
    axes.set_ylim(*shown.limits(factor * np.array([a["float"], *points["score"]])))
    scaled = "times the device's error" if small else amount_axis(chip)
    axes.set_xlabel(scaled if chip["programming_scaled"] else "sigma, %", fontsize=9)
    axes.set_ylabel(shown.axis, fontsize=9)
    if small:
        return
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=ACCENT, marker="o", markersize=5, label="mean of chip instances"),
        Patch(color=ACCENT, alpha=0.4, linewidth=0, label="middle half"),
        Patch(color=ACCENT, alpha=0.15, linewidth=0, label="smallest to largest"),
        Line2D([], [], color=INK, alpha=0.5, marker="o", markersize=3, linestyle="none", label="one chip instance"),
        Line2D([], [], color=SOFT, linestyle=(0, (5, 3)), label=f"float {shown.text(a['float'])}"),
    ]
    if own > 0:
        handles.append(Line2D([], [], color=SECOND, label=f"this chip: {unit * own:.3g}{'' if chip['programming_scaled'] else PERCENT}"))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(-0.01, -0.125), ncols=2, fontsize=8.5, frameon=False, labelcolor=INK
    )


def _adc_curves(axes: Axes, bits: pd.DataFrame, factor: float = 100.0) -> list[Line2D]:
    """The score, times a factor, by ADC bits, a curve for each width of a code, open where many conversions saturate; a legend's lines."""
    handles, instances = [], int(bits["instance"].max()) + 1
    what = f"mean of {instances}, " if instances > 1 else ""
    for width, (colour, line) in ADC_CURVES.items():
        rows = bits[bits["width"] == width]
        if rows.empty:
            continue
        by_bits = factor * rows.groupby("bits")["score"].agg(["min", "mean", "max"])
        many = rows.groupby("bits")["saturated_share"].max() > MANY_SATURATED
        axes.fill_between(by_bits.index, by_bits["min"], by_bits["max"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(by_bits.index, by_bits["mean"], color=colour, linestyle=line, linewidth=1.6)
        for chosen, fill in ((many, "white"), (~many, colour)):
            at = by_bits[chosen.to_numpy()]
            axes.plot(at.index, at["mean"], color=colour, marker="o", markersize=5, markerfacecolor=fill, linewidth=0)
        handles.append(Line2D([], [], color=colour, linestyle=line, marker="o", markersize=5, label=f"{what}code width {width}"))
    if (bits["saturated_share"] > MANY_SATURATED).any():
        label = f"over {percent(MANY_SATURATED, 0)} of conversions saturated"
        handles.append(Line2D([], [], color=INK, marker="o", markersize=5, markerfacecolor="white", linewidth=0, label=label))
    return handles

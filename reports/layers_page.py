"""The page of the layers: what each one's cells cost of the score, how exact its outputs are, what saturates and what is clipped."""

import math
import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xbar.reports.labels import shortened, size_of_labels
from xbar.reports.loss_bars import MOST_VALUES, bars_of_rows, least_span, make_room
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, INK, SECOND, SOFT, WARNING, page, plot, write


def layers(results: Results) -> Figure:
    """Layer by layer: what its cells cost alone, how exact its outputs are, what saturates and what is clipped."""
    cost, quality, shown = results.layer_sensitivity, results.layer_quality, ShownMetric.of(results.meta)
    span = least_span(results)
    figure = page("Layer by layer", results.heading)
    names = [str(name) for name in (quality if len(quality) else cost)["layer"]]
    panels: list[tuple[str, str, np.ndarray, str, float, str]] = []
    if len(cost):
        loss = shown.factor * cost["loss"].to_numpy(dtype=float)
        panels.append(("Errors in this layer only", f"loss, {shown.step}", loss, SECOND, span, "{:.2f}" if shown.is_share else "{:.2g}"))
    if len(quality):
        panels += [
            ("Signal to noise of output", "dB", quality["snr_dB"].to_numpy(dtype=float), ACCENT, 10.0, "{:.1f}"),
            ("Saturated conversions", "%", 100 * quality["saturated_share"].to_numpy(dtype=float), WARNING, 0.1, "{:.3g}"),
            ("Inputs beyond their range", "%", 100 * quality["clipped_input_share"].to_numpy(dtype=float), WARNING, 0.1, "{:.3g}"),
        ]  # fmt: skip
    height = min(0.63, 0.14 * len(names) + 0.05)
    width = 0.18 if len(panels) > 3 else 0.24
    for number, (title, unit, values, colour, least, form) in enumerate(panels):
        axes = plot(figure, (0.135 + number * (width + 0.027), 0.835 - height, width, height), title, "x")
        bars_of_rows(axes, values, colour, least)
        axes.set_xlabel(unit, fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.title.set_fontsize(10)
        if not number:
            short = shortened(names)
            axes.set_yticks(range(len(names)), [short[name] for name in names], fontsize=size_of_labels(axes, len(names), 8.5))
            axes.tick_params(axis="y", length=0, labelcolor=INK)
        if len(cost) and not number:
            half = shown.factor * (cost["high"] - cost["low"]).to_numpy(dtype=float) / 2
            known = np.isfinite(half) & (half > 0)
            axes.errorbar(values[known], np.flatnonzero(known), xerr=half[known], fmt="none", ecolor=INK, elinewidth=0.9)
            make_room(axes, values, half, span, 1.3)
            axes.axvline(0, color=SOFT, linewidth=1)
        if len(names) <= MOST_VALUES:
            ends = np.nan_to_num(values, posinf=0.0, neginf=0.0)
            if len(cost) and not number:
                ends = np.minimum(np.maximum(ends, 0) + np.nan_to_num(half), 0.8 * axes.get_xlim()[1])
            for row, value in enumerate(values):
                axes.annotate(
                    _figure_of(value, form), (max(0.0, ends[row]), row), xytext=(3, 0), textcoords="offset points", va="center",
                    fontsize=7.5, color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                )  # fmt: skip
    parts = []
    if len(cost):
        parts.append(
            f"Errors in one layer only: its cells as in this study ({cost['cells'].iloc[0]}), the cells of all other layers ideal, against "
            f"all ideal ({shown.text(float(cost['reference'].iloc[0]), 2)}); mean of {int(cost['instances'].max())} chip instances, "
            "whiskers are its 95 % band."
        )
    if len(quality):
        study = results.meta["study"]
        parts.append(
            "Signal to noise: power of the exact product of the integers that reach a layer over the power of what the chip's "
            "product differs from it by, so errors made in earlier layers do not count. Saturated conversions lie beyond the ADC's "
            "codes; inputs beyond the range seen in calibration are clipped. Where a layer saturates, its range is too small; where "
            "nothing does and the signal is poor, the ADC's step is too coarse or the cells are too noisy. Of "
            f"{study['quality_samples']} {results.meta['score']['of']} on up to {study['quality_instances']} chips."
        )
    write(figure, 0.05, 0.13, "\n".join(textwrap.wrap(" ".join(parts), 172)), size=8, colour=SOFT, vertical="top")
    return figure


def _figure_of(value: float, form: str) -> str:
    """The number beside a bar."""
    if math.isinf(value):
        return "exact" if value > 0 else "no signal"
    return "< 0.001" if 0 < value < 0.001 else form.format(value).replace("-", "\u2212")

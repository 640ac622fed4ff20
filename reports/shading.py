"""A column of numbers as colours: the scale of shades and its bar."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from xbar.reports.style import SOFT

SHADES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.92, 256)))  # its lightness rises too: readable in grey


def norm_of(values: pd.Series) -> Normalize:
    """From the lowest to the highest value, or around the one there is."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        width = abs(low) * 0.05 or 1.0
        low, high = low - width, high + width
    return Normalize(low, high)


def colour_bar(figure: Figure, box: tuple[float, float, float, float], norm: Normalize, label: str) -> None:
    """The bar of the scale of shades, its label beside it."""
    axes = figure.add_axes(box)
    bar = figure.colorbar(ScalarMappable(norm, SHADES), cax=axes)
    bar.outline.set_visible(False)  # type: ignore[operator]
    axes.tick_params(labelsize=8.5, colors=SOFT, length=3)
    axes.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    bar.set_label(label, fontsize=8.5, color=SOFT)

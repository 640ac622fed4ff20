"""Numbers as colours: the scales of shades, their bar and their strip."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from xbar.reports.style import ACCENT, SOFT

SHADES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.92, 256)))  # its lightness rises too: readable in grey

TINTS = LinearSegmentedColormap.from_list("tints", ["#e3eef4", ACCENT, "#06384e"])  # of shares: from little to all in one hue


def shade_strip(figure: Figure, left: float, bottom: float, shades: Colormap) -> None:
    """All shades beside each other, from the lowest to the highest, in a strip; its words are the page's."""
    axes = figure.add_axes((left, bottom, 0.12, 0.012))
    axes.imshow([list(range(256))], cmap=shades, aspect="auto")
    axes.axis("off")


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

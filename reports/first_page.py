"""The first page of a run: headline numbers, and the three pictures that explain them in small."""

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from xbar.reports.energy_page import energy_bars
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results
from xbar.reports.run_words import changes_of, headlines, subtitle_of, verdict
from xbar.reports.score_page import accuracy_band
from xbar.reports.style import ACCENT, FAINT, PAGE, SECOND, SOFT, fitted, page, plot, write
from xbar.reports.time_pages import power_axes, steady_axes


def summary(results: Results) -> Figure:
    """Headline numbers, and the three pictures that explain them in small."""
    figure = page(results.heading, subtitle_of(results))
    (changed,), size = fitted(changes_of(results), 0.90 * PAGE[0], 10, 7)
    write(figure, 0.05, 0.890, changed, size=size, colour=SECOND)
    write(figure, 0.05, 0.848, "\n".join(textwrap.wrap(verdict(results), 130)), size=11.5, vertical="center")
    for index, (label, value, detail) in enumerate(headlines(results)):
        column, row = index % 4, index // 4
        _tile(figure, 0.05 + 0.2275 * column, 0.645 - 0.165 * row, label, value, detail)
    energy_bars(
        plot(figure, (0.165, 0.115, 0.19, 0.27), "Dynamic energy, on chip", "x"), results, most=6, small=True
    )
    accuracy_band(plot(figure, (0.44, 0.115, 0.21, 0.27), _against(results)), results, small=True)
    box = (0.735, 0.115, 0.215, 0.27)
    if results.meta.get("steady"):
        steady_axes(plot(figure, box, "Steady power, on chip"), results, small=True)
    else:
        power_axes(plot(figure, box, "Power over time, on chip"), results.power, results.meta["summary"])
    return figure


def _against(results: Results) -> str:
    """The heading of the score's small picture; long names of metrics stand on its axis."""
    shown = ShownMetric.of(results.meta)
    return f"{shown.title} against variation" if shown.is_share and len(shown.title) < 12 else "Against variation"


def _tile(figure: Figure, x: float, y: float, label: str, value: str, detail: str) -> None:
    """One headline number in a box."""
    box = FancyBboxPatch(
        (x, y), 0.2125, 0.135, boxstyle="round,pad=0,rounding_size=0.008", transform=figure.transFigure,
        facecolor="#f5f7fa", edgecolor=FAINT, linewidth=1, mutation_aspect=1.4,
    )  # fmt: skip
    figure.add_artist(box)
    write(figure, x + 0.013, y + 0.102, label, size=9, colour=SOFT)
    lines, size = fitted(detail, 0.1925 * PAGE[0], 8, 7, lines=3)
    write(figure, x + 0.013, y + (0.046, 0.053, 0.065)[len(lines) - 1], value, size=19, weight="bold", colour=ACCENT)
    for line, text in enumerate(lines):
        write(figure, x + 0.013, y + (0.018, 0.026, 0.0430)[len(lines) - 1] - 0.0155 * line, text, size=size, colour=SOFT)

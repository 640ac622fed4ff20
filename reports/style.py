"""One look for every page: colours, type, units for people."""

import math
import textwrap
from functools import cache
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

matplotlib.use("Agg")  # files only, no window

PAGE = (11.69, 8.27)  # A4 landscape [inch]
TYPE = "DejaVu Sans"
HINTED = 1.015  # by how much a line may get wider where letters are set on pixels
ROW_HEIGHT = 0.0265  # of a table's row, share of the page
Column = tuple[str, float, str]  # of a table: heading, place, alignment
INK, SOFT, FAINT, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
ACCENT, SECOND, WARNING, GREEN = "#0b6e99", "#d9822b", "#b23a48", "#2f9e77"
GREY = "#9aa5b1"  # of what stands beside: other points, links, texts

# Groups of components as pages name them, each with its colour throughout (Okabe-Ito hues, toned).
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADC": ("#0b6e99", ("adc", "multiplexer")),
    "DAC": ("#6ab7d6", ("dac", "gate_driver")),
    "Arrays, sample-and-hold": ("#d9822b", ("crossbar", "sample_hold")),
    "Shift-and-add": ("#f0c987", ("shift_add",)),
    "Registers": ("#7a5195", ("input_register", "output_register", "tile_register")),
    "Buffers, buses": ("#2f9e77", ("buffer", "bus")),
    "Routers": ("#9bcf8c", ("router", "mesh_wires")),
    "Activation, pooling, sums": ("#b23a48", ("activation", "accumulator", "pool")),
    "Products of activations": ("#e3a1aa", ("multiplier", "product")),
    "Links": (GREY, ("link",)),
    "Writes": ("#1f2933", ("write",)),
}
# Printed in grey some of the colours are alike: these are hatched too.
HATCHES = {
    "Arrays, sample-and-hold": "////", "Registers": "\\\\\\\\", "Activation, pooling, sums": "....", "DAC": "---",
    "Products of activations": "xxxx",
}  # fmt: skip
STAGES = {"load": "#8ed6b8", "compute": "#0b6e99", "drain": "#d9822b", "transfer": "#394651", "write": "#1f2933"}

NAMES = {
    "dac": "DAC", "gate_driver": "gate drivers", "crossbar": "arrays", "sample_hold": "sample-and-hold",
    "multiplexer": "multiplexers", "adc": "ADC",
    "shift_add": "shift-and-add", "input_register": "input registers", "output_register": "output registers",
    "buffer": "buffers", "bus": "buses", "router": "routers", "mesh_wires": "mesh wires", "activation": "activation",
    "accumulator": "accumulators", "pool": "pooling", "multiplier": "multipliers", "product": "product units",
    "tile_register": "tile registers", "link": "links", "write": "writes",
}  # fmt: skip



def look(group: str) -> dict[str, Any]:
    """How bars and patches of a group of components are filled; of none of the groups, plainly."""
    colour = GROUPS[group][0] if group in GROUPS else SOFT
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0, "hatch": HATCHES.get(group)}


# Of bars side by side or stacked, told apart in grey too.
FILLS = tuple(
    {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0, "hatch": hatch}
    for colour, hatch in ((ACCENT, None), ("#8ed6b8", None), (SECOND, "////"))
)


def group_of(component: str) -> str:
    """The group that a component belongs to, or its own name."""
    return next((group for group, (_, members) in GROUPS.items() if component in members), component)


_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def scale_of(value: float) -> tuple[float, str]:
    """Factor and SI prefix that bring `value` between 1 and 1000 (or as near as prefixes go)."""
    if value == 0 or not math.isfinite(value):
        return 1.0, ""
    power = min(max(3 * math.floor(math.log10(abs(value)) / 3 + 1e-12), -15), 15)
    return 10.0**-power, _PREFIXES[power]


def human(value: float | None, unit: str, digits: int = 3) -> str:
    """`value` (SI) with a prefix, as in 1.65 µJ; square metres become mm²; a dash for None and nan."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return f"∞\u00a0{unit}"
    if unit == "m²":
        return f"{significant(value * 1e6, digits)}\u00a0mm²"
    factor, prefix = scale_of(value)
    shown = significant(value * factor, digits)
    if float(shown) >= 1000 and prefix != "P":  # rounded up into the next prefix
        factor, prefix = scale_of(float(shown) / factor)
        shown = significant(value * factor, digits)
    return f"{shown}\u00a0{prefix}{unit}".rstrip()  # a space that does not break


def span(low: float, high: float, unit: str, inner: tuple[float, float] | None = None, digits: int = 3) -> str:
    """From `low` to `high` (SI) in the prefix of `high`, as in 1.20 to 2.41 µJ; with `inner` 1.20 (1.31) to (1.90) 2.41 µJ."""
    values = [low, *(inner or ()), high]
    if not all(map(math.isfinite, values)):
        return f"{human(low, unit, digits)} to {human(high, unit, digits)}"
    largest, space, name = human(high, unit, digits).partition("\u00a0")
    factor = 1e6 if unit == "m²" else 10.0 ** -next(power for power, prefix in _PREFIXES.items() if prefix + unit == name)
    *lower, _ = (significant(value * factor, digits) for value in values)
    if inner is None:
        return f"{lower[0]} to {largest}{space}{name}"
    return f"{lower[0]} ({lower[1]}) to ({lower[2]}) {largest}{space}{name}"


def significant(value: float, digits: int = 3) -> str:
    """`value` in plain decimals with that many significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{digits}f}\u00a0%"


def cut(text: str, most: int) -> str:
    """The beginning of a text that is too long for its place."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@cache
def _font(weight: str) -> FT2Font:
    return get_font(findfont(FontProperties(family=TYPE, weight=weight)))


def width_of(text: str, size: float, weight: str = "normal") -> float:
    """How wide a line of text in the project's type of that size [pt] is [inch]."""
    font = _font(weight)
    font.set_size(size, 72)
    font.set_text(text, 0, flags=LoadFlags.NO_HINTING)
    return float(font.get_width_height()[0]) / 64 / 72


@cache
def _letter(letter: str, weight: str) -> float:
    """How much wider a letter makes a line in type of 1 pt, about [inch]."""
    return (width_of(f"n{letter}n", 100, weight) - width_of("nn", 100, weight)) / 100


def _fits(text: str, wide: float, size: float, weight: str) -> bool:
    """Whether a line is no wider than `wide` [inch]: told by its letters where it is far from that, since to lay a line out takes half
    a millisecond; pairs of letters are set closer by at most some hundredths."""
    about = size * sum(_letter(letter, weight) for letter in text)
    return about < 0.94 * wide or (about < 1.1 * wide and width_of(text, size, weight) <= wide)


def fitted(text: str, wide: float, size: float, least: float, lines: int = 1, weight: str = "normal") -> tuple[list[str], float]:
    """A text in at most so many lines of `wide` inches, and the size of its type [pt]: `size`, or as much less as it takes, but no less
    than `least`, at which what still has no room ends in an ellipsis."""
    while True:
        found = _broken(text, wide, size, weight)
        if len(found) <= lines:
            return found, size
        if size <= least:
            rest = " ".join(found[lines - 1 :])
            while len(rest) > 1 and not _fits(f"{rest}…", wide, size, weight):
                rest = rest[:-1]
            return [*found[: lines - 1], f"{rest.rstrip()}…"], size
        size = max(least, size - 0.25)


def _broken(text: str, wide: float, size: float, weight: str) -> list[str]:
    """Lines as wide as there is room, broken at spaces; a word that is wider than that has a line of its own and is broken in it."""
    lines: list[str] = []
    wide /= HINTED
    for word in text.split(" "):  # those that do not break are no breaks
        if lines and _fits(f"{lines[-1]} {word}", wide, size, weight):
            lines[-1] += f" {word}"
            continue
        while len(word) > 1 and not _fits(word, wide, size, weight):
            most = next(end for end in range(len(word) - 1, 0, -1) if end == 1 or _fits(word[:end], wide, size, weight))
            lines.append(word[:most])
            word = word[most:]
        lines.append(word)
    return lines


def paragraph(figure: Figure, top: float, text: str, size: float = 8.0, left: float = 0.05, wide: float = 0.90) -> None:
    """Lines of small type from `top` down, as wide as `wide` of the page; a line break begins a new one."""
    lines = [line for part in text.split("\n") for line in _broken(part, wide * PAGE[0], size, "normal")]
    write(figure, left, top, "\n".join(lines), size=size, colour=SOFT, vertical="top")


TITLE, SUBTITLE = (18, 11), (10, 7.5)  # sizes of type [pt]: as a rule, and at least, where a long one has no room


def page(title: str, subtitle: str) -> Figure:
    """An empty page with its heading, in type that is smaller where it is long."""
    figure = Figure(figsize=PAGE, facecolor=PAPER, label=title, gid=subtitle)  # which the contents tell
    for y, text, (size, least), weight, colour in ((0.945, title, TITLE, "bold", INK), (0.912, subtitle, SUBTITLE, "normal", SOFT)):
        (line,), size = fitted(text, 0.90 * PAGE[0], size, least, weight=weight)
        write(figure, 0.05, y, line, size=size, weight=weight, colour=colour)
    return figure


def write(
    target: Figure | Axes, x: float, y: float, text: str, size: float = 10, weight: str = "normal",
    colour: str = INK, align: str = "left", vertical: str = "baseline", **more: Any,
) -> Any:  # fmt: skip
    """Text in the project's type at (x, y) of the figure or axes; the artist."""
    if isinstance(target, Axes):
        more = {"transform": target.transAxes} | more
    font = FontProperties(family=TYPE, size=size, weight=weight)
    return target.text(x, y, text.replace("$", r"\$"), fontproperties=font, color=colour, ha=align, va=vertical, **more)


def plot(figure: Figure, box: tuple[float, float, float, float], title: str, grid: str = "y") -> Axes:
    """Axes in the house style at (left, bottom, width, height) of the page; grid: x, y, both or none."""
    axes = figure.add_axes(box)
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold", pad=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=3)
    axes.xaxis.label.set_color(SOFT)
    axes.yaxis.label.set_color(SOFT)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
    return axes


def draw_table(figure: Figure, top: float, columns: tuple[Column, ...], rows: list[list[str]], row: float = ROW_HEIGHT) -> float:
    """A table drawn downwards from `top` of the page, each row `row` of the page high; where its last row ends."""
    for label, x, align in columns:
        write(figure, x, top, label, size=9, weight="bold", colour=SOFT, align=align)
    figure.add_artist(Line2D([0.05, 0.95], [top - 0.010] * 2, color=SOFT, linewidth=1))
    y = top - 0.005
    for cells in rows:
        y -= row
        for (_, x, align), cell in zip(columns, cells, strict=True):
            write(figure, x, y, cell, size=8.5, align=align)
        figure.add_artist(Line2D([0.05, 0.95], [y - 0.28 * row] * 2, color=FAINT, linewidth=0.7))
    return y


def plain_decimals(axis: Axis, at: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Ticks of a logarithmic axis in plain decimals, at these multiples of powers of ten."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def sections(figure: Figure, texts: dict[str, str], width: int = 142) -> None:
    """Paragraphs with their headings beside them, down the page; width: characters of a line."""
    top = 0.875
    for heading, text in texts.items():
        lines = textwrap.wrap(text, width)
        write(figure, 0.05, top, heading, size=10, weight="bold", vertical="top")
        write(figure, 0.15, top, "\n".join(lines), size=9, vertical="top")
        top -= 0.0235 * len(lines) + 0.020

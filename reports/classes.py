"""The page of classes: which are taken for which, in float and on chip, and accuracy by class."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xbar.reports.labels import size_of_labels
from xbar.reports.results import Results
from xbar.reports.style import ACCENT, FAINT, INK, PAPER, SECOND, SOFT, page, percent, plot, write

MOST_CLASSES = 100  # in a matrix; of more, the WORST
WORST = 20
NUMBERED = 16  # classes at most with a number in each cell
SHADES = LinearSegmentedColormap.from_list("share", [PAPER, "#b7d6e4", ACCENT, "#06384e"])


def confusion(results: Results) -> Figure:
    """Confusion in float and on chip, in shares of the samples of a class, and accuracy by class, the worst on chip first."""
    table, meta = results.class_accuracy, results.meta
    instances, images = int(table["instances"].max()), int(table["images"].sum())
    worst = table.sort_values(["chip", "label"], kind="stable")
    shown = sorted((worst["label"].head(WORST) if len(table) > MOST_CLASSES else worst["label"]).tolist())
    of = f"mean of {instances} chips" if instances > 1 else "chips are alike" if meta["score"].get("alike") else "one chip"
    part = f"  ·  the {WORST} classes that are worst on chip, of {len(table)}" if len(shown) < len(table) else ""
    what = meta["score"]["of"]
    figure = page("Classes", f"{results.heading}  ·  {images:,} test {what}, {of}{part}")
    matrices = {name: _matrix(results.confusion, name, shown, table) for name in ("float", "chip")}
    for index, (name, title) in enumerate((("float", "In float"), ("chip", f"On chip, {of}"))):
        axes = plot(figure, (0.065 + 0.325 * index, 0.450, 0.275, 0.275 * 11.69 / 8.27), title, "none")
        _draw(axes, matrices[name], shown, named=not index)
    axes = plot(figure, (0.735, 0.165, 0.215, 0.674), "By class, worst first", "x")
    _by_class(axes, worst.head(MOST_CLASSES if len(table) <= MOST_CLASSES else WORST), instances, what)
    write(figure, 0.065, 0.350, "Most often taken for another, on chip", size=11, weight="bold")
    for place, line in enumerate(_mistakes(results.confusion, table, what)):
        write(figure, 0.065 + 0.325 * (place // 4), 0.315 - 0.030 * (place % 4), line, size=9)
    overall = {name: float((table[name] * table["images"]).sum() / images) for name in ("float", "chip")}
    right = f"Of these {what} {percent(overall['float'])} are right in float and {percent(overall['chip'])} on chip, {of}."
    write(figure, 0.065, 0.110, right, size=8.5, colour=SOFT)
    write(figure, 0.065, 0.085, "Cells of the matrices: share of the class in the row.", size=8.5, colour=SOFT)
    return figure


def _matrix(confusion: pd.DataFrame, of: str, shown: list[int], table: pd.DataFrame) -> np.ndarray:
    """Shares of each label's samples by prediction, both among those shown."""
    mine = confusion[(confusion["of"] == of) & confusion["label"].isin(shown) & confusion["predicted"].isin(shown)]
    at = {label: place for place, label in enumerate(shown)}
    images = table.set_index("label")["images"]
    found = np.zeros((len(shown), len(shown)))
    for row in mine.rename(columns={"count": "count_"}).itertuples():
        found[at[row.label], at[row.predicted]] = row.count_ / images[row.label]
    return found


def _draw(axes: Axes, matrix: np.ndarray, shown: list[int], named: bool) -> None:
    axes.imshow(matrix, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    step = max(1, -(-len(shown) // 20))
    places = list(range(0, len(shown), step))
    across = 90 if max(shown) >= 100 else 0
    axes.set_xticks(places, [str(shown[place]) for place in places], fontsize=7.5, rotation=across)
    axes.set_yticks(places, [str(shown[place]) for place in places], fontsize=7.5)
    axes.tick_params(length=0)
    axes.set_xlabel("taken for", fontsize=8.5)
    if named:
        axes.set_ylabel("class", fontsize=8.5)
    if len(shown) <= NUMBERED:
        for label, predicted in np.argwhere(matrix > 0).tolist():
            share = matrix[label, predicted]
            text = f"{100 * share:.0f}" if share >= 0.01 else "<1"
            axes.text(predicted, label, text, ha="center", va="center", fontsize=7, color=PAPER if share > 0.5 else INK)
        axes.set_title(f"{axes.get_title(loc='left')}, %", loc="left", fontsize=11, color=INK, fontweight="bold", pad=8)


def _by_class(axes: Axes, worst: pd.DataFrame, instances: int, what: str) -> None:
    places = np.arange(len(worst))
    axes.hlines(places, 100 * worst["chip_smallest"], 100 * worst["chip_largest"], color=FAINT, linewidth=3)
    axes.plot(100 * worst["float"], places, color=SECOND, marker="|", markersize=12, markeredgewidth=1.8, linewidth=0)
    axes.plot(100 * worst["chip"], places, color=ACCENT, marker="o", markersize=5 if len(worst) <= 40 else 2.5, linewidth=0)
    size = size_of_labels(axes, len(worst), 8.0)
    step = 1 if size >= 5 else 2
    names = [f"{label} ({images:,})" for label, images in zip(worst["label"], worst["images"], strict=True)]
    axes.set_yticks(places[::step], names[::step], fontsize=max(5.0, size))
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(worst) - 0.4, -0.6)
    least = 100 * float(worst[["chip_smallest", "float"]].min().min())
    axes.set_xlim(max(0.0, least - 5), 101)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(f"%; in brackets the class's {what}", fontsize=8.5)
    handles = [
        Line2D([], [], color=ACCENT, marker="o", markersize=5, linewidth=0, label="on chip, mean" if instances > 1 else "on chip"),
        Line2D([], [], color=SECOND, marker="|", markersize=8, markeredgewidth=1.8, linewidth=0, label="float"),
    ]
    if instances > 1:
        handles.append(Line2D([], [], color=FAINT, linewidth=3, label="chips, worst to best"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.25, -0.085), ncols=3, frameon=False, fontsize=7.5, labelcolor=INK,
                columnspacing=0.9, handletextpad=0.4)  # fmt: skip


def _count(count: float) -> str:
    """A mean number of samples."""
    return f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"


def _mistakes(confusion: pd.DataFrame, table: pd.DataFrame, what: str) -> list[str]:
    """The most frequent confusions on chip, with the same in float."""
    wrong = confusion[confusion["label"] != confusion["predicted"]].set_index(["label", "predicted"])
    chip, in_float = (wrong[wrong["of"] == of]["count"] for of in ("chip", "float"))
    images = table.set_index("label")["images"]
    lines = [
        f"{label} for {predicted}: {_count(count)} of {images[label]} {what}, {_count(in_float.get((label, predicted), 0.0))} in float"
        for (label, predicted), count in chip.sort_values(ascending=False, kind="stable").head(8).items()
    ]
    return lines or ["None is taken for another."]

"""Names beside points of a picture, clear of each other and of the points."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from xbar.reports.style import SOFT, write

NEAR = 5.0  # points of type within which points share a label
# Directions from a point and distances [points of type] at which its label is tried, in this order.
DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
DISTANCES = (7.0, 15.0, 26.0, 40.0, 58.0)


def label_points(
    axes: Axes, places: Sequence[tuple[float, float]], names: Sequence[str], size: float = 7.5, keep_off: Sequence[Bbox] = (),
    lines: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> int:  # fmt: skip
    """Label points at these data coordinates; how many names found no room. Points on one spot share a label: the first one's and how
    many more. keep_off: boxes in shares of the axes that stay free; lines: x and y of points along lines that labels do not
    cross. The axes' limits must be set before."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer, unit = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72
    at = axes.transData.transform(np.asarray(places, dtype=float).reshape(-1, 2))
    window = axes.get_window_extent(renderer)
    taken = [Bbox.from_extents(*(axes.transAxes.transform(box.get_points()).ravel())) for box in keep_off]
    taken += [Bbox.from_extents(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y in at]
    along = [axes.transData.transform(np.stack([x, y], 1)) for x, y in lines]
    taken += [Bbox.from_extents(x - unit, y - unit, x + unit, y + unit) for points in along for x, y in points if window.contains(x, y)]
    missing = 0
    for spot in _spots(at, NEAR * unit):
        name = names[spot[0]] if len(spot) == 1 else f"{names[spot[0]]} and {len(spot) - 1} more"
        text = write(axes, 0, 0, name, size, vertical="center", transform=None)
        box = text.get_window_extent(renderer).expanded(1.04, 1.0)  # at other resolutions type is a little wider
        found = next((c for c in _candidates(at[spot[0]], box.width, box.height, unit) if _free(c, window, taken)), None)
        if found is None:
            text.remove()
            missing += len(spot)
            continue
        text.set_transform(axes.transData)
        text.set_position(axes.transData.inverted().transform((found.x0, (found.y0 + found.y1) / 2)))
        x, y = at[spot[0]]
        near = np.clip(x, found.x0, found.x1), np.clip(y, found.y0, found.y1)
        if np.hypot(near[0] - x, near[1] - y) > 11 * unit:
            line = axes.transData.inverted().transform([(x, y), near])
            axes.plot(line[:, 0], line[:, 1], color=SOFT, linewidth=0.6, zorder=1)
        taken.append(found)
    return missing


def shortened(names: Iterable[str], most: int = 16) -> dict[str, str]:
    """Names by themselves, what is longer without its begin or, where several would be alike then, without a part further on; names that
    no such part tells apart stay alike."""
    every = list(dict.fromkeys(names))

    def without(begin: int) -> dict[str, str]:
        return {name: name if len(name) <= most else f"{name[:begin]}…{name[begin + 1 - most :]}" for name in every}

    return max((without(begin) for begin in range(most)), key=lambda found: len(set(found.values())))


def _spots(at: np.ndarray, near: float) -> list[list[int]]:
    """Points by the first of those that they lie near to."""
    spots: list[list[int]] = []
    for number, point in enumerate(at):
        spot = next((each for each in spots if np.hypot(*(at[each[0]] - point)) < near), None)
        if spot is None:
            spots.append([number])
        else:
            spot.append(number)
    return spots


def _candidates(point: np.ndarray, width: float, height: float, unit: float) -> list[Bbox]:
    found = []
    for distance in DISTANCES:
        for across, up in DIRECTIONS:
            apart = distance * unit / (1.4 if across and up else 1.0)
            x = point[0] + across * apart - (0.0, width / 2, width)[{1: 0, 0: 1, -1: 2}[across]]
            y = point[1] + up * (apart + height / 2) - height / 2
            found.append(Bbox.from_bounds(x, y, width, height))
    return found


def _free(box: Bbox, window: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = box.x0 >= window.x0 and box.x1 <= window.x1 and box.y0 >= window.y0 and box.y1 <= window.y1
    return inside and not any(box.overlaps(other) for other in taken)


def size_of_labels(axes: Axes, labels: int, most: float, across: bool = False) -> float:
    """Size of type [pt] at which that many tick labels stand clear of each other; `across` for slanted ones."""
    box, (width, height) = axes.get_position(), axes.get_figure().get_size_inches()  # type: ignore[union-attr]
    room = 0.55 * box.width * width if across else 0.8 * box.height * height
    return min(most, 72 * room / max(1, labels))

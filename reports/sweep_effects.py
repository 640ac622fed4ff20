"""Main effects of a sweep's axes on a metric, with their standard errors."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xbar.reports.sweep_columns import is_number, shown, texts_of
from xbar.reports.tied_axes import WITH, together

FEW_VALUES = 6  # of an axis, up to which its least and greatest value are compared, not its thirds


def main_effects(frame: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """What each axis does to the metric, one row an axis, the greatest effect first; other axes are as they were sampled.

    The effect is the mean of the metric over one group of points less that over another: of an axis of numbers with at most
    `FEW_VALUES` values, points at its greatest and at its least; of one with more, the third of the points with the greatest
    values and the third with the least; of an axis of texts or switches, the category with the highest mean and the one with
    the lowest. Axes that always move together in the points (`together`) are one row, "a with b": which of them it is that acts cannot
    be told. Columns: low, high (the groups in words), mean_low, mean_high, points_low, points_high, effect, standard_error:
    sqrt(s1²/n1 + s2²/n2), s² each group's sample variance (Welch 1947, Biometrika 34:28; the formula from memory), missing
    where a group has one point. Points without the metric, or without the axis, are left out; axes that have one group are too.
    """
    rows = []
    part = frame[frame[metric].notna()]
    for group in together(part, axes):
        first, *others = group
        groups = _ends(part[first]) if is_number(part[first]) else _extreme_categories(part, first, metric)
        if groups is None:
            continue
        axis, names = WITH.join(group), [", ".join([name, *_one_value(part.loc[mask, others])]) for name, mask in groups]
        (low_name, low), (high_name, high) = (
            (name, part.loc[mask, metric].astype(float)) for name, (_, mask) in zip(names, groups, strict=True)
        )
        few = min(len(low), len(high)) < 2
        error = np.nan if few else float(np.sqrt(low.var() / len(low) + high.var() / len(high)))
        rows.append((axis, low_name, high_name, low.mean(), high.mean(), len(low), len(high), high.mean() - low.mean(), error))
    columns = ["axis", "low", "high", "mean_low", "mean_high", "points_low", "points_high", "effect", "standard_error"]
    found = pd.DataFrame(rows, columns=columns).set_index("axis")
    return found.loc[found["effect"].abs().sort_values(ascending=False, kind="stable").index]


def _one_value(part: pd.DataFrame) -> list[str]:
    """The value of each column that has one alone."""
    return [shown(each.iloc[0]) if is_number(each) else str(each.iloc[0]) for _, each in part.items() if each.nunique() == 1]


Groups = tuple[tuple[str, pd.Series], tuple[str, pd.Series]] | None


def _ends(values: pd.Series) -> Groups:
    """The least and the greatest of an axis of numbers."""
    known = np.sort(values.dropna().to_numpy(float))
    distinct = np.unique(known)
    if len(distinct) < 2:
        return None
    third = -(-len(known) // 3)
    low, high = known[third - 1], known[-third]
    if len(distinct) <= FEW_VALUES or low >= high:
        return tuple((shown(value), values == value) for value in (distinct[0], distinct[-1]))  # type: ignore[return-value]
    return (f"≤ {shown(low)}", values <= low), (f"≥ {shown(high)}", values >= high)


def _extreme_categories(frame: pd.DataFrame, axis: str, metric: str) -> Groups:
    """The categories with the lowest and the highest mean."""
    words = texts_of(frame[axis])
    means = frame.groupby(words, sort=False)[metric].mean()
    if len(means) < 2:
        return None
    low, high = means.idxmin(), means.idxmax()
    low, high = (means.index[0], means.index[1]) if low == high else (low, high)
    return (str(low), words == low), (str(high), words == high)

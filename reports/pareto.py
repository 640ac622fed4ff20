"""The points of a sweep that no other beats: the Pareto front."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

import numpy as np
import pandas as pd

from xbar.reports.results import ResultsError
from xbar.reports.sweep_columns import is_number
from xbar.reports.sweep_sheet import BETTER, SweepSheet, View


def pareto_front(frame: pd.DataFrame, better: Mapping[str, str]) -> pd.Series:
    """True for each row that no other beats: none is as good in every column of `better` and better in one.

    better: column and its better side, "low" or "high". Rows that are equal in all these columns do not beat each other: all
    of them are on the front, or none. A row with a missing value is not on it. Up to three columns take n log n steps; more,
    n times the length of the front. Raises ResultsError for a column that is not there or not of numbers.
    """
    if not better:
        raise ResultsError("better = (none): a front needs one column or more")
    for name, side in better.items():
        if name not in frame or not is_number(frame[name]):
            raise ResultsError(f"{name}: no such column of numbers")
        if side not in BETTER:
            raise ResultsError(f"better: {name} = {side!r}: must be low or high")
    values = np.column_stack([frame[name].to_numpy(float, na_value=np.nan) * (1 if side == "low" else -1) for name, side in better.items()])
    whole = ~np.isnan(values).any(axis=1)
    found = np.zeros(len(frame), dtype=bool)
    if whole.any():
        distinct, group = np.unique(values[whole], axis=0, return_inverse=True)  # in the order of the first column, then the second, ...
        best = _staircase(distinct) if distinct.shape[1] <= 3 else _eliminated(distinct)
        found[whole] = best[group.reshape(-1)]
    return pd.Series(found, index=frame.index, name="front")


def _staircase(rows: np.ndarray) -> np.ndarray:
    """Which of distinct rows, in order, none beats (low is better): only an earlier row can, and those kept so far that are not
    beaten in the last two columns are a staircase, down in one as it goes up in the other."""
    padded = np.hstack([rows, np.zeros((len(rows), 3 - rows.shape[1]))])
    ups: list[float] = []
    downs: list[float] = []
    best = np.zeros(len(rows), dtype=bool)
    for place, (_, up, down) in enumerate(padded.tolist()):
        before = bisect_right(ups, up)
        if before and downs[before - 1] <= down:
            continue
        best[place] = True
        first = last = bisect_left(ups, up)
        while last < len(ups) and downs[last] >= down:
            last += 1
        ups[first:last], downs[first:last] = [up], [down]
    return best


def _eliminated(rows: np.ndarray) -> np.ndarray:
    """The same in any number of columns: the first row left is best; what it beats is taken away."""
    best, left = np.zeros(len(rows), dtype=bool), np.arange(len(rows))
    while len(left):
        best[left[0]] = True
        left = left[(rows[left] < rows[left[0]]).any(axis=1)]
    return best


def front_of(sheet: SweepSheet, rows: pd.DataFrame, view: View) -> pd.Series:
    """True for each of these rows of the sheet on the front of the view; of a search among those that hold its constraints."""
    if not view.pareto:
        return pd.Series(False, index=rows.index)
    on = pareto_front(rows[rows.index.isin(sheet.able.index)], {name: view.better[name] for name in view.pareto})
    return on.reindex(rows.index, fill_value=False)


def front_table(sheet: SweepSheet, view: View) -> pd.DataFrame:
    """Points of the front, in the order of its first column, the best first: point, its columns, the axes, other usual metrics."""
    if not view.pareto:
        return pd.DataFrame()
    best = sheet.done[front_of(sheet, sheet.done, view)]
    columns = dict.fromkeys(["point", *view.pareto, *sheet.axes, *(name for name in sheet.first if name in sheet.metrics)])
    rising = [view.better[name] == "low" for name in view.pareto]
    return best[list(columns)].sort_values([*view.pareto, "point"], ascending=[*rising, True]).reset_index(drop=True)

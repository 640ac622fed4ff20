"""Places along an axis of a sweep: its values, or bins of them where they are many."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from xbar.reports.sweep_columns import is_log, is_number, shown, texts_of

MOST_VALUES = 12  # of an axis, beyond which its numbers are binned, its texts put together
MOST_BINS = 8


@dataclass(frozen=True)
class Bins:
    """Places along an axis: their names, which of them each row is in (-1: none), and the bounds of numbers that are binned."""

    names: list[str]
    places: np.ndarray
    bounds: list[str] | None = None


def bins_of(values: pd.Series) -> Bins:
    """The bins of an axis: each value its own where they are few, else ranges of numbers or the most frequent texts."""
    if not is_number(values):
        words = texts_of(values)
        names = list(dict.fromkeys(words))
        if len(names) > MOST_VALUES:
            kept = list(words.value_counts().index[: MOST_VALUES - 1])
            rest = f"{len(names) - len(kept)} others"
            words, names = words.where(words.isin(kept), rest), [*kept, rest]
        return Bins(names, words.map({name: place for place, name in enumerate(names)}).to_numpy())
    numbers = values.to_numpy(float, na_value=np.nan)
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if len(distinct) <= MOST_VALUES:
        places = np.where(np.isnan(numbers), -1, np.searchsorted(distinct, np.nan_to_num(numbers)))
        return Bins([shown(value) for value in distinct], places)
    count = int(np.clip(round(np.sqrt(len(numbers) / 5)), 3, MOST_BINS))
    bounds = (np.geomspace if is_log(numbers) else np.linspace)(distinct[0], distinct[-1], count + 1)
    places = np.clip(np.searchsorted(bounds, np.nan_to_num(numbers), side="right") - 1, 0, count - 1)
    texts = [shown(value, digits=3) for value in bounds]
    return Bins([f"{a} to {b}" for a, b in itertools.pairwise(texts)], np.where(np.isnan(numbers), -1, places), texts)

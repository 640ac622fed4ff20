"""Axes of a sweep that always move together: what one of them does to a metric cannot be told from what the others do."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

WITH = " with "


def together(frame: pd.DataFrame, axes: Sequence[str]) -> list[list[str]]:
    """The axes in groups whose values belong to each other one to one in all rows, and where they are numbers rise or fall together;
    groups and what is in them in the order of `axes`, but for numbers before texts. An axis of one value is alone."""
    groups: list[list[str]] = []
    for axis in axes:
        found = next((group for group in groups if _move_together(frame[group[0]], frame[axis])), None)
        if found is None:
            groups.append([axis])
        else:
            found.append(axis)
    return [sorted(group, key=lambda name: not _numeric(frame[name])) for group in groups]


def _move_together(a: pd.Series, b: pd.Series) -> bool:
    first, second = (pd.factorize(each, use_na_sentinel=False)[0] for each in (a, b))
    pairs = np.unique(np.column_stack([first, second]), axis=0)
    if len(pairs) < 2 or len(pairs) > min(len(np.unique(first)), len(np.unique(second))):
        return False
    if not (_numeric(a) and _numeric(b)):
        return True
    known = pd.DataFrame({"a": a, "b": b}).dropna().astype(float).drop_duplicates().sort_values("a")["b"]
    return bool(known.is_monotonic_increasing or known.is_monotonic_decreasing)


def _numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def leader(name: str, axes: Sequence[str]) -> str:
    """The first axis of a group by the name that `WITH` joins it to."""
    return next(axis for axis in axes if name == axis or name.startswith(f"{axis}{WITH}"))

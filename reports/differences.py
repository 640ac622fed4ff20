"""Old, new and ratio: of named values and of tables row by row, and which of them changed beyond a tolerance."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

TOLERANCE = 1e-9  # share of the old value; values are sums of the same terms, only their order may differ


def is_changed(old: pd.Series, new: pd.Series, tolerance: float = TOLERANCE) -> pd.Series:
    """True where a value changed by more than `tolerance` of the old one, or where only one of the two is there."""
    equal = (new == old) | (old.isna() & new.isna())  # equal infinities have no difference
    with np.errstate(invalid="ignore"):
        return ~(equal | ((new - old).abs() <= tolerance * old.abs()))


def ratio_of(old: pd.Series, new: pd.Series) -> pd.Series:
    """New over old: 1 where they are equal, infinite where only the old one is 0, missing where one is missing."""
    ratio = (new / old.replace(0.0, np.nan)).mask((old == 0) & new.notna(), math.inf)
    return ratio.mask(old == new, 1.0)


def side_by_side(old: Mapping[str, float], new: Mapping[str, float]) -> pd.DataFrame:
    """Columns old, new and ratio, one row a quantity that either has, in the order of old and then of new."""
    names = list(dict.fromkeys([*old, *new]))
    table = pd.DataFrame(
        {"old": [old.get(name, math.nan) for name in names], "new": [new.get(name, math.nan) for name in names]},
        index=pd.Index(names, name="quantity", dtype=object), dtype=np.float64,
    )  # fmt: skip
    return table.assign(ratio=ratio_of(table["old"], table["new"]))


def tables_side_by_side(old: pd.DataFrame, new: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """For each of `columns` of two tables with the same kind of index: <column>_old, _new, _ratio, _change and _share.

    A row that only one has is there, the other's values missing; its change is its whole value. change: new less old;
    share: of the sum of all changes of that column, so that shares sum to 1; missing where these cancel to nothing.
    """
    rows = list(dict.fromkeys([*old.index, *new.index]))
    found: dict[str, pd.Series] = {}
    for column in columns:
        before, after = (table[column].astype(np.float64).reindex(rows) for table in (old, new))
        change = after.fillna(0.0) - before.fillna(0.0)
        total = change.sum() if abs(change.sum()) > TOLERANCE * change.abs().sum() else math.nan
        found |= {
            f"{column}_old": before, f"{column}_new": after, f"{column}_ratio": ratio_of(before, after),
            f"{column}_change": change, f"{column}_share": change / total,
        }  # fmt: skip
    return pd.DataFrame(found, index=pd.Index(rows, name=old.index.name, dtype=object))


def differences(old: Mapping[str, float], new: Mapping[str, float], tolerance: float = TOLERANCE) -> str:
    """A table of old, new and ratio of every quantity that changed by more than `tolerance` of it; empty where none did."""
    table = side_by_side(old, new)
    rows = table[is_changed(table["old"], table["new"], tolerance)].sort_index().reset_index()
    return rows.to_string(index=False, float_format="{:.6g}".format) if len(rows) else ""

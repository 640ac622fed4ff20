"""Who liked what, when: MovieLens in its official formats, tables of one's own, a synthetic stand-in, and splits in time.

A rating of LIKED or more is a positive. Files of interactions are read in pieces (pandas), so that twenty million ratings take little more
memory than they do as numbers. Within a user, interactions are in order of their time stamps; those of one time
stamp (about half of MovieLens-100K share one) are in the order of the rows in the file, which the publisher shuffled.
"""

import csv
import hashlib
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xbar.workloads.data import DataError

LIKED = 4.0  # a rating of that and above is a positive
GRADES = (2.0, 3.0, 4.0, 5.0)  # where graded labels are cut: a rating is that or more, or it is not
LOWEST, HIGHEST = 0.5, 5.0  # ratings of MovieLens
ROWS_AT_ONCE = 1_000_000  # of a file
GENRES_100K = 19
AGE_BANDS = (18, 25, 35, 45, 50, 56)  # MovieLens-1M's bands, from these years on
HOUR, DAY = 3600, 86400
SHARES = (0.7, 0.1, 0.2)  # of a user's interactions: training, validation, test


@dataclass(frozen=True)
class Interactions:
    """Interactions of users with items, users in order and each user's in order of time.

    user, item: int64 (n,), indices into the features' rows; time: int64 (n,), Unix seconds; liked: bool (n,);
    user_features: float32 (users, f), item_features: float32 (items, g), named by user_columns and item_columns.
    rating: float32 (n,), or None where there are none. liked: what is to be foretold.
    user_ids, item_ids: as the files call them. synthetic: made up here, not observed. dropped: rows left out, by reason.
    Raises DataError for indices out of range, features that are not finite, and interactions out of order.
    """

    name: str
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    liked: np.ndarray
    user_features: np.ndarray
    item_features: np.ndarray
    user_columns: tuple[str, ...]
    item_columns: tuple[str, ...]
    user_ids: tuple[str, ...] = field(repr=False)
    item_ids: tuple[str, ...] = field(repr=False)
    synthetic: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    rating: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not len(self.user):
            raise DataError(f"{self.name}: no interaction")
        for name, indices, rows in (("user", self.user, self.users), ("item", self.item, self.items)):
            if indices.shape != self.user.shape or indices.min() < 0 or indices.max() >= rows:
                raise DataError(f"{self.name}: {name} must be {len(self.user)} indices from 0 to {rows - 1}")
        for name in ("user_features", "item_features"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"{self.name}: {name} must be finite")
        if self.rating is not None and (self.rating.shape != self.user.shape or not np.isfinite(self.rating).all()):
            raise DataError(f"{self.name}: rating must be {len(self.user)} finite numbers, or none at all")
        later = np.diff(self.user) > 0
        if not (later | ((np.diff(self.user) == 0) & (np.diff(self.time) >= 0))).all():
            raise DataError(f"{self.name}: interactions must be in order of user and time")

    def __len__(self) -> int:
        return len(self.user)

    @property
    def users(self) -> int:
        """Users that the features know."""
        return len(self.user_features)

    @property
    def items(self) -> int:
        """Items that the features know."""
        return len(self.item_features)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all interactions and features."""
        found = hashlib.sha256()
        for part in (self.user, self.item, self.time, self.liked, self.user_features, self.item_features, self.rating):
            if part is not None:
                found.update(np.ascontiguousarray(part).data.cast("B") if part.size else b"")
        return found.hexdigest()

    @cached_property
    def position(self) -> np.ndarray:
        """Place of each interaction in its user's history, from 0; int64 (n,)."""
        return np.arange(len(self)) - self._firsts[self.user]

    @cached_property
    def history(self) -> np.ndarray:
        """Interactions of each user; int64 (users,)."""
        return np.bincount(self.user, minlength=self.users)

    @cached_property
    def _firsts(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.history)[:-1]])

    def only(self, chosen: np.ndarray) -> "Interactions":
        """Those interactions; users and items keep their indices. chosen: bool (n,)."""
        if not chosen.any():
            raise DataError(f"{self.name}: no interaction is left of {len(self)}")
        parts = {name: getattr(self, name)[chosen] for name in ("user", "item", "time", "liked")}
        return replace(self, **parts, rating=None if self.rating is None else self.rating[chosen])

    def split_by_history(self, shares: tuple[float, float, float] = SHARES) -> np.ndarray:
        """0 training, 1 validation, 2 test for each interaction: each user's in order of time; int8 (n,).

        A user has at least one for training, and from two on its last one is for test.
        """
        if min(shares) < 0 or not math.isclose(sum(shares), 1) or shares[0] == 0:
            raise DataError(f"shares must be 0 or more, the first above 0, 1 in all; got {shares}")
        count = self.history[self.user]
        test = np.where(count > 1, np.maximum(np.round(shares[2] * count), shares[2] > 0), 0)
        test = np.minimum(test, count - 1)
        validation = np.minimum(np.round(shares[1] * count), count - test - 1)
        return ((self.position >= count - test - validation).astype(np.int8) + (self.position >= count - test)).astype(
            np.int8
        )

    def split_by_date(self, share: float = 0.8) -> np.ndarray:
        """0 for the earliest `share` of all interactions, 2 for those from that moment on; int8 (n,)."""
        if not 0 < share < 1:
            raise DataError(f"share must be between 0 and 1, got {share}")
        moment = np.quantile(self.time, share, method="lower")
        return np.where(self.time >= max(moment, self.time.min() + 1), 2, 0).astype(np.int8)


# ---- files


def load_movielens(folder: Path) -> Interactions:
    """MovieLens from its official files: u.data, u.item, u.user (100K); ratings.dat, movies.dat, users.dat (1M, 10M without users.dat);
    or ratings.csv, movies.csv (Latest, 20M, 25M and others; no features of users).

    A rating of an unknown user or item, a row given twice, is left out and counted; a row that cannot be read, or a rating
    outside 0.5 to 5, raises DataError with file, line and what is allowed.
    """
    for first, reader in (("u.data", _read_100k), ("ratings.dat", _read_dat), ("ratings.csv", _read_csv)):
        if (folder / first).is_file():
            return reader(folder)
    raise DataError(f"{folder}: no u.data, ratings.dat or ratings.csv of MovieLens")


def _rows(path: Path, separator: str, fields: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row of a small file; Latin-1, as MovieLens writes titles, or UTF-8 (with or without a mark)."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    text = path.read_bytes().decode("utf-8-sig" if path.suffix == ".csv" else "latin-1", errors="replace")
    rows = text.replace("\r\n", "\n").split("\n")  # not splitlines(): titles may hold other line ends of Unicode
    lines = csv.reader(rows) if separator == "," else (line.split(separator) for line in rows)
    try:
        for number, row in enumerate(lines, 1):
            if not row or row == [""]:
                continue
            if len(row) != fields:
                raise DataError(
                    f"{path}, line {number}: needs {fields} fields separated by {separator!r}, has {len(row)}"
                )
            yield number, row
    except csv.Error as error:
        raise DataError(f"{path}: {error}") from None


def _whole(path: Path, line: int, name: str, text: str, least: int = 0) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19) or int(text) < least:
        raise DataError(f"{path}, line {line}: {name} must be a whole number of at least {least}, got {text[:40]!r}")
    return int(text)


def _read_100k(folder: Path) -> Interactions:
    users = {}
    for line, row in _rows(folder / "u.user", "|", 5):
        _once(folder / "u.user", line, row[0], users)
        users[row[0]] = _person(_whole(folder / "u.user", line, "age", row[1]), row[2], row[3])
    items = {}
    path = folder / "u.item"
    for line, row in _rows(path, "|", 5 + GENRES_100K):
        flags = [_whole(path, line, "genre", flag) for flag in row[5:]]
        if max(flags) > 1:
            raise DataError(f"{path}, line {line}: genres must be 0 or 1, got {row[5:]}")
        items[row[0]] = (row[2][-4:] if row[2] else "", [str(genre) for genre, flag in enumerate(flags) if flag])
    return _movielens("MovieLens-100K", folder / "u.data", "\t", users, items)


def _read_dat(folder: Path) -> Interactions:
    users: dict[str, dict[str, float]] | None = None
    if (folder / "users.dat").is_file():
        users = {}
        for line, row in _rows(folder / "users.dat", "::", 5):
            _once(folder / "users.dat", line, row[0], users)
            users[row[0]] = _person(_whole(folder / "users.dat", line, "age", row[2]), row[1], row[3])
    items = {row[0]: (_year(row[1]), row[2].split("|")) for _, row in _rows(folder / "movies.dat", "::", 3)}
    return _movielens("MovieLens-1M" if users else "MovieLens-10M", folder / "ratings.dat", "::", users, items)


def _read_csv(folder: Path) -> Interactions:
    rows = _rows(folder / "movies.csv", ",", 3)
    header = next((row for _, row in rows), [""])
    if header[0] != "movieId":
        raise DataError(f"{folder / 'movies.csv'}, line 1: needs a header that begins with movieId, got {header[0][:40]!r}")
    items = {row[0]: (_year(row[1]), row[2].split("|")) for _, row in rows}
    return _movielens("MovieLens", folder / "ratings.csv", ",", None, items, header="userId")


def _once(path: Path, line: int, key: str, known: dict[str, Any]) -> None:
    if key in known:
        raise DataError(f"{path}, line {line}: {key[:40]!r} is there a second time")


def _person(age: int, gender: str, occupation: str) -> dict[str, float]:
    band = sum(age >= start for start in AGE_BANDS)
    return {f"age band {band}": 1.0, f"gender {gender}": 1.0, f"occupation {occupation}": 1.0}


def _year(title: str) -> str:
    """The year at the end of a title, as in "Toy Story (1995)"."""
    return title.strip()[-5:-1] if title.strip().endswith(")") else ""


class _Indices:
    """Indices from 0 on of ids as they are met, or of those that are known."""

    def __init__(self, known: Sequence[str] | None = None):
        self.open, self.index = known is None, {key: index for index, key in enumerate(known or ())}

    def of(self, column: pd.Series) -> np.ndarray:
        """int32 (n,) of a categorical column's ids; -1 for one that is not known."""
        names = column.cat.categories
        if self.open:
            for code in pd.unique(column.cat.codes):
                self.index.setdefault(str(names[code]), len(self.index))
        table = np.array([self.index.get(str(name), -1) for name in names], np.int32)
        return table[column.cat.codes.to_numpy()]


def _filled(column: pd.Series) -> np.ndarray:
    """Whether there is anything in each field, bool (n,)."""
    codes = column.cat.codes.to_numpy()
    return np.append([str(each) != "" for each in column.cat.categories], False)[codes].astype(bool)


def _pieces(
    path: Path, separator: str, names: list[str], header: bool, full: bool = True
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Line number of its first row, and a piece of a large file, its fields as categories of text. Blank lines count as none.
    full: the last field must not be empty."""
    every = 2 if separator == "::" else 1  # between its two characters is an empty field
    width = every * (len(names) - 1) + 1
    line = 1 + header
    try:
        with pd.read_csv(
            path, sep=separator[0], header=None, names=range(width + 1), index_col=False, dtype="category", skiprows=int(header),
            chunksize=ROWS_AT_ONCE, keep_default_na=False, na_values=[], encoding="utf-8-sig", encoding_errors="replace",
            quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE, skip_blank_lines=True,
        ) as reader:  # fmt: skip
            for piece in reader:
                fields = piece[list(range(0, width + 1, every))] if every == 1 else piece[[*range(0, width, every), width]]
                filled = np.stack([_filled(fields[column]) for column in fields.columns], 1)
                wrong = np.flatnonzero(filled[:, -1] | ~filled[:, -2] if full else filled[:, -1])
                if len(wrong):
                    there = int(np.flatnonzero(filled[wrong[0]])[-1]) + 1 if filled[wrong[0]].any() else 0
                    told = f"{there}" if there <= len(names) else f"{there} or more"
                    raise DataError(f"{path}, line {line + wrong[0]}: needs {len(names)} fields separated by {separator!r}, has {told}")
                found = piece[list(range(0, width, every))]
                found.columns = names
                yield line, found
                line += len(piece)
    except pd.errors.EmptyDataError:
        return
    except (pd.errors.ParserError, OSError) as error:
        raise DataError(f"{path}: {error}") from None


def _numbers(path: Path, line: int, name: str, column: pd.Series, least: float, most: float, whole: bool) -> np.ndarray:
    """float64 or int64 (n,) of a categorical column of text; raises DataError for the first value out of range."""
    values = pd.to_numeric(pd.Series(column.cat.categories.astype(str)), errors="coerce").to_numpy(np.float64)
    allowed = (values >= least) & (values <= most)
    if whole:
        texts = [str(text) for text in column.cat.categories]
        allowed &= np.array([text.isdecimal() and text.isascii() for text in texts], bool)
    codes = column.cat.codes.to_numpy()
    wrong = np.flatnonzero(~allowed[codes])
    if len(wrong):
        told = f"a whole number of at least {least:g}" if whole else f"from {least:g} to {most:g}"
        raise DataError(f"{path}, line {line + wrong[0]}: {name} must be {told}, got {str(column.iloc[wrong[0]])[:40]!r}")
    return values[codes].astype(np.int64) if whole else values[codes]


LATEST = 1e15  # of time stamps; whole numbers that float64 holds


def _movielens(
    name: str, path: Path, separator: str, users: dict[str, dict[str, float]] | None, items: dict[str, tuple[str, list[str]]],
    header: str = "",
) -> Interactions:  # fmt: skip
    """Interactions of a file of user, item, rating and time stamp; without `users` they are those of the file."""
    if header:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline().split(",")[0].strip()
        if first != header:
            raise DataError(f"{path}, line 1: needs a header that begins with {header}, got {first[:40]!r}")
    user_of, item_of = _Indices(None if users is None else list(users)), _Indices(list(items))
    parts: list[tuple[np.ndarray, ...]] = []
    for line, piece in _pieces(path, separator, ["user", "item", "rating", "time"], bool(header)):
        rating = _numbers(path, line, "rating", piece["rating"], LOWEST, HIGHEST, whole=False).astype(np.float32)
        time = _numbers(path, line, "time stamp", piece["time"], 0, LATEST, whole=True)
        parts.append((user_of.of(piece["user"]), item_of.of(piece["item"]), time, rating))
    if not parts:
        raise DataError(f"{path}: no rating of a known user and item")
    user, item, time, rating = (np.concatenate([part[index] for part in parts]) for index in range(4))
    del parts
    user_features, user_columns = _table(list(users.values()) if users is not None else [{}] * len(user_of.index))
    item_features, item_columns = _table([{f"genre {genre}": 1.0 for genre in genres} for _, genres in items.values()])
    years = np.array([float(year) if year.isdecimal() else math.nan for year, _ in items.values()])
    middle = np.nanmedian(years) if np.isfinite(years).any() else 0.0
    decades = np.where(np.isfinite(years), (years - middle) / 10, 0.0)[:, None].astype(np.float32)
    return _ordered(
        name, path, user, item, time, rating >= LIKED, rating, user_features=user_features,
        item_features=np.hstack([item_features, decades]), user_columns=user_columns,
        item_columns=(*item_columns, "decades from the median year"), user_ids=tuple(user_of.index), item_ids=tuple(items),
    )  # fmt: skip


def _ordered(
    name: str, path: Path, user: np.ndarray, item: np.ndarray, time: np.ndarray, liked: np.ndarray, rating: np.ndarray | None,
    again: bool = False, **rest: Any,
) -> Interactions:  # fmt: skip
    """Interactions of rows as a file has them: without those of an unknown user or item (-1), nor, unless `again`, of a pair that was there
    before; in order of user, time and row."""
    dropped = {"unknown user": int((user < 0).sum()), "unknown item": int(((item < 0) & (user >= 0)).sum())}
    kept = np.flatnonzero((user >= 0) & (item >= 0))
    if not again:
        pair = user[kept].astype(np.int64) * (int(item.max(initial=0)) + 1) + item[kept]
        by_pair = np.argsort(pair, kind="stable")
        first = np.ones(len(kept), bool)
        first[by_pair[1:][pair[by_pair[1:]] == pair[by_pair[:-1]]]] = False
        dropped["same user and item again"] = int((~first).sum())
        kept = kept[first]
        del pair, by_pair, first
    if not len(kept):
        raise DataError(f"{path}: no rating of a known user and item")
    order = kept[np.lexsort((time[kept], user[kept]))]  # stable: ties in the order of the file
    del kept
    return Interactions(
        name, user[order].astype(np.int64), item[order].astype(np.int64), time[order], liked[order],
        dropped={reason: count for reason, count in dropped.items() if count}, rating=None if rating is None else rating[order], **rest,
    )  # fmt: skip


def load_described(path: Path) -> Interactions:
    """Interactions of a table of one's own, as a TOML file describes it: clicks as of KDD Cup 2012 or Criteo, ratings, purchases.

        file = "clicks.tsv"                     # beside the description, or an absolute path
        separator = "\\t"                       # "," unless given
        columns = ["click", "ad", "user", "time", "age"]   # where the file has no header
        user = "user"
        item = "ad"
        time = "time"                           # whole seconds; rows are in order of time where it is left out
        liked = "click"                         # 0 or 1; or a rating from 0.5 to 5: rating = "stars"
        user_features = ["age"]                 # numbers are standardised, anything else is one column a value; of a user's first row
        item_features = []
        again = true                            # one may meet an item more than once

    Raises DataError with file, line or key, and what is allowed.
    """
    told = _described(path)
    table, separator = path.parent / told["file"], told.get("separator", ",")
    if not table.is_file():
        raise DataError(f"{path}: file: {table} is not there")
    names = told.get("columns")
    if names is None:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            names = next(csv.reader([file.readline().rstrip("\r\n")], delimiter=separator), [])
    label = "rating" if "rating" in told else "liked"
    features = {kind: told.get(f"{kind}_features", []) for kind in ("user", "item")}
    wanted = [told[key] for key in ("user", "item", "time", label) if key in told] + [*features["user"], *features["item"]]
    for column in wanted:
        if column not in names:
            raise DataError(f"{path}: no column {column!r} in {table}, which has {', '.join(map(repr, names))}")
    indices = {kind: _Indices() for kind in ("user", "item")}
    parts: list[tuple[np.ndarray, ...]] = []
    of_first: dict[str, list[pd.DataFrame]] = {"user": [], "item": []}
    for line, piece in _pieces(table, separator, list(names), "columns" not in told, full=False):
        low, high = (LOWEST, HIGHEST) if label == "rating" else (0, 1)
        value = _numbers(table, line, told[label], piece[told[label]], low, high, whole=label == "liked").astype(np.float32)
        time = (_numbers(table, line, told["time"], piece[told["time"]], 0, LATEST, whole=True) if "time" in told
                else np.arange(line, line + len(piece), dtype=np.int64))  # fmt: skip
        before = {kind: len(each.index) for kind, each in indices.items()}
        found = {kind: each.of(piece[told[kind]]) for kind, each in indices.items()}
        for kind, columns in features.items():
            new = pd.Series(found[kind]).drop_duplicates()
            new = new[new >= before[kind]]
            of_first[kind].append(piece[columns].iloc[new.index].astype(str).set_axis(new.to_numpy()))
        parts.append((found["user"], found["item"], time, value))
    if not parts:
        raise DataError(f"{table}: no row")
    user, item, time, value = (np.concatenate([part[index] for part in parts]) for index in range(4))
    made = {}
    for kind, rows in of_first.items():
        made[f"{kind}_features"], made[f"{kind}_columns"] = _encoded(pd.concat(rows).sort_index())
        made[f"{kind}_ids"] = tuple(indices[kind].index)
    rating = value if label == "rating" else None
    liked = value >= LIKED if label == "rating" else value > 0
    return _ordered(path.stem, table, user, item, time, liked, rating, again=bool(told.get("again", False)), **made)


def _described(path: Path) -> dict[str, Any]:
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    texts, lists = ("file", "separator", "user", "item", "time", "liked", "rating"), ("columns", "user_features", "item_features")
    for key, value in told.items():
        fits = isinstance(value, str) if key in texts else isinstance(value, bool) if key == "again" else (
            isinstance(value, list) and all(isinstance(each, str) for each in value))  # fmt: skip
        if key not in (*texts, *lists, "again") or not fits:
            raise DataError(f"{path}: {key} = {value!r}: allowed are text for {', '.join(texts)}; lists of text for "
                            f"{', '.join(lists)}; true or false for again")  # fmt: skip
    for key in ("file", "user", "item"):
        if key not in told:
            raise DataError(f"{path}: needs {key}")
    if ("liked" in told) == ("rating" in told):
        raise DataError(f"{path}: needs one of liked and rating")
    if len(told.get("separator", ",")) != 1:
        raise DataError(f"{path}: separator must be one character, got {told['separator']!r}")
    return told


MOST_VALUES = 100  # of a feature that is one column a value


def _encoded(rows: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """Features float32 (rows, f) and their names: numbers standardised, anything else one column for each of its most frequent values."""
    found: dict[str, np.ndarray] = {}
    for name in rows.columns:
        numbers = pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64)
        if np.isfinite(numbers).all() and len(np.unique(numbers)) > 2:
            found[str(name)] = _standard(numbers)
        else:
            for value in rows[name].value_counts().index[:MOST_VALUES]:
                found[f"{name} {value}"] = (rows[name] == value).to_numpy()
    table = np.stack([np.asarray(each, np.float32) for each in found.values()], 1) if found else np.zeros((len(rows), 0), np.float32)
    return table, tuple(found)


def _table(rows: list[dict[str, float]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of named values as float32 (rows, names), 0 where a row lacks one."""
    columns = tuple(sorted({name for row in rows for name in row}))
    place = {name: index for index, name in enumerate(columns)}
    table = np.zeros((len(rows), len(columns)), np.float32)
    for index, row in enumerate(rows):
        for name, value in row.items():
            table[index, place[name]] = value
    return table, columns


# ---- synthetic


@dataclass(frozen=True)
class Taste:
    """A synthetic world with known preferences: a member likes an item with probability logistic(taste . item + quality).

    A member's taste (latent, `factors` numbers) is `told` of its variance a linear function of its features, the rest its
    own. It drifts: an Ornstein-Uhlenbeck process whose correlation falls to 1/e in `drift_hours` hours. sharpness: standard deviation of
    taste . item. interactions: mean of a geometric number per member, at `rate` an hour.
    """

    members: int = 600
    items: int = 400
    factors: int = 6
    interactions: int = 80
    rate: float = 0.15
    told: float = 0.3
    sharpness: float = 2.5
    drift_hours: float = 500.0

    def __post_init__(self) -> None:
        for name in ("members", "items", "factors", "interactions", "rate", "sharpness", "drift_hours"):
            if not 0 < getattr(self, name) < math.inf:
                raise DataError(f"taste.{name} must be above 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.told <= 1:
            raise DataError(f"taste.told must be from 0 to 1, got {self.told}")


def synthetic(taste: Taste | None = None, seed: int = 0) -> Interactions:
    """Interactions of made-up members whose preferences are known (see `Taste`), the same for the same seed."""
    world, draw = taste or Taste(), np.random.default_rng(seed)
    member_columns, item_columns = 8, 10
    members = (draw.random((world.members, member_columns)) < 0.3).astype(np.float32)
    items = (draw.random((world.items, item_columns)) < 0.25).astype(np.float32)
    item_factors = _standard(items @ draw.normal(size=(item_columns, world.factors))) * math.sqrt(0.5)
    item_factors = item_factors + draw.normal(size=(world.items, world.factors)) * math.sqrt(0.5)
    quality = 0.7 * draw.normal(size=world.items)
    told = _standard(members @ draw.normal(size=(member_columns, world.factors))) * math.sqrt(world.told)
    scale = world.sharpness / math.sqrt(world.factors)
    parts = []
    for member in range(world.members):
        count = 2 + draw.geometric(1 / world.interactions)
        hours = np.cumsum(draw.exponential(1 / world.rate, count)) + draw.uniform(0, 24 * 30)
        chosen = draw.choice(world.items, min(count, world.items), replace=False)
        own = draw.normal(size=world.factors)
        last = hours[0]
        for item, hour in zip(chosen, hours, strict=False):
            kept = math.exp(-(hour - last) / world.drift_hours)
            own, last = kept * own + math.sqrt(1 - kept**2) * draw.normal(size=world.factors), hour
            preference = (told[member] + math.sqrt(1 - world.told) * own) @ item_factors[item] * scale + quality[item]
            parts.append((member, item, round(hour * HOUR), draw.random() < 1 / (1 + math.exp(-preference))))
    table = np.array(parts, np.int64)
    return Interactions(
        "synthetic preferences", table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), members, items,
        tuple(f"trait {index}" for index in range(member_columns)), tuple(f"kind {index}" for index in range(item_columns)),
        tuple(f"m{index}" for index in range(world.members)), tuple(f"i{index}" for index in range(world.items)), synthetic=True,
    )  # fmt: skip


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / np.maximum(values.std(0), 1e-12)

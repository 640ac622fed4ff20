"""Who liked what, when: MovieLens in its official formats, a synthetic stand-in, and splits in time.

A rating of LIKED or more is a positive. Within a user, interactions are in order of their time stamps; those of one time
stamp (about half of MovieLens-100K share one) are in the order of the rows in the file, which the publisher shuffled.
"""

import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from xbar.workloads.data import DataError

LIKED = 4.0  # a rating of that and above is a positive
GENRES_100K = 19
AGE_BANDS = (18, 25, 35, 45, 50, 56)  # MovieLens-1M's bands, from these years on
HOUR, DAY = 3600, 86400
SHARES = (0.7, 0.1, 0.2)  # of a user's interactions: training, validation, test


@dataclass(frozen=True)
class Interactions:
    """Interactions of users with items, users in order and each user's in order of time.

    user, item: int64 (n,), indices into the features' rows; time: int64 (n,), Unix seconds; liked: bool (n,);
    user_features: float32 (users, f), item_features: float32 (items, g), named by user_columns and item_columns.
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

    def __post_init__(self) -> None:
        if not len(self.user):
            raise DataError(f"{self.name}: no interaction")
        for name, indices, rows in (("user", self.user, self.users), ("item", self.item, self.items)):
            if indices.shape != self.user.shape or indices.min() < 0 or indices.max() >= rows:
                raise DataError(f"{self.name}: {name} must be {len(self.user)} indices from 0 to {rows - 1}")
        for name in ("user_features", "item_features"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"{self.name}: {name} must be finite")
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
        parts = (self.user, self.item, self.time, self.liked, self.user_features, self.item_features)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

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
        return replace(self, **parts)

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


# ---- MovieLens


def load_movielens(folder: Path) -> Interactions:
    """MovieLens from its official files: u.data, u.item, u.user (100K); ratings.dat, movies.dat, users.dat (1M); or
    ratings.csv, movies.csv (Latest, 20M and others; no features of users).

    A rating of an unknown user or item, a row given twice, is left out and counted; a row that cannot be read, or a rating
    outside 0.5 to 5, raises DataError with file, line and what is allowed.
    """
    for first, reader in (("u.data", _read_100k), ("ratings.dat", _read_1m), ("ratings.csv", _read_csv)):
        if (folder / first).is_file():
            return reader(folder)
    raise DataError(f"{folder}: no u.data, ratings.dat or ratings.csv of MovieLens")


def _rows(path: Path, separator: str, fields: int, exactly: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row; Latin-1, as MovieLens writes titles."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    text = path.read_bytes().decode("utf-8" if path.suffix == ".csv" else "latin-1", errors="replace")
    rows = text.replace("\r\n", "\n").split("\n")  # not splitlines(): titles may hold other line ends of Unicode
    lines = csv.reader(rows) if separator == "," else (line.split(separator) for line in rows)
    try:
        for number, row in enumerate(lines, 1):
            if not row or row == [""]:
                continue
            if len(row) < fields or (exactly and len(row) != fields):
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
    ratings = ((line, *row) for line, row in _rows(folder / "u.data", "\t", 4))
    return _assemble("MovieLens-100K", folder / "u.data", users, items, ratings)


def _read_1m(folder: Path) -> Interactions:
    users = {}
    for line, row in _rows(folder / "users.dat", "::", 5):
        _once(folder / "users.dat", line, row[0], users)
        users[row[0]] = _person(_whole(folder / "users.dat", line, "age", row[2]), row[1], row[3])
    items = {row[0]: (_year(row[1]), row[2].split("|")) for _, row in _rows(folder / "movies.dat", "::", 3)}
    ratings = ((line, *row) for line, row in _rows(folder / "ratings.dat", "::", 4))
    return _assemble("MovieLens-1M", folder / "ratings.dat", users, items, ratings)


def _read_csv(folder: Path) -> Interactions:
    for name, first in (("movies.csv", "movieId"), ("ratings.csv", "userId")):
        header = next((row for _, row in _rows(folder / name, ",", 3, exactly=False)), [""])
        if header[0] != first:
            raise DataError(f"{folder / name}, line 1: needs a header that begins with {first}, got {header[0][:40]!r}")
    items = {
        row[0]: (_year(row[1]), row[2].split("|")) for line, row in _rows(folder / "movies.csv", ",", 3) if line > 1
    }
    rows = [(line, *row) for line, row in _rows(folder / "ratings.csv", ",", 4) if line > 1]
    users = {row[1]: None for row in rows}
    return _assemble("MovieLens", folder / "ratings.csv", users, items, iter(rows))


def _once(path: Path, line: int, key: str, known: dict[str, Any]) -> None:
    if key in known:
        raise DataError(f"{path}, line {line}: {key[:40]!r} is there a second time")


def _person(age: int, gender: str, occupation: str) -> dict[str, float]:
    band = sum(age >= start for start in AGE_BANDS)
    return {f"age band {band}": 1.0, f"gender {gender}": 1.0, f"occupation {occupation}": 1.0}


def _year(title: str) -> str:
    """The year at the end of a title, as in "Toy Story (1995)"."""
    return title.strip()[-5:-1] if title.strip().endswith(")") else ""


def _assemble(
    name: str, path: Path, users: dict[str, dict[str, float] | None], items: dict[str, tuple[str, list[str]]],
    ratings: Iterator[tuple[int, str, str, str, str]],
) -> Interactions:  # fmt: skip
    user_of, item_of = ({key: index for index, key in enumerate(known)} for known in (users, items))
    found: dict[tuple[int, int], tuple[int, float, int]] = {}
    dropped = {"unknown user": 0, "unknown item": 0, "same user and item again": 0}
    for line, user, item, rating, stamp in ratings:
        try:
            value = float(rating)
        except ValueError:
            value = math.nan
        if not 0.5 <= value <= 5:
            raise DataError(f"{path}, line {line}: rating must be from 0.5 to 5, got {rating[:40]!r}")
        when = _whole(path, line, "time stamp", stamp)
        if user not in user_of or item not in item_of:
            dropped["unknown user" if user not in user_of else "unknown item"] += 1
        elif (user_of[user], item_of[item]) in found:
            dropped["same user and item again"] += 1
        else:
            found[user_of[user], item_of[item]] = (when, value, line)
    if not found:
        raise DataError(f"{path}: no rating of a known user and item")
    pairs = np.array(list(found), np.int64)
    times, values = np.array([v[0] for v in found.values()], np.int64), np.array([v[1] for v in found.values()])
    order = np.lexsort((np.arange(len(pairs)), times, pairs[:, 0]))  # ties in the order of the file
    user_features, user_columns = _table([person or {} for person in users.values()])
    item_features, item_columns = _table([{f"genre {genre}": 1.0 for genre in genres} for _, genres in items.values()])
    years = np.array([float(year) if year.isdecimal() else math.nan for year, _ in items.values()])
    middle = np.nanmedian(years) if np.isfinite(years).any() else 0.0
    decades = np.where(np.isfinite(years), (years - middle) / 10, 0.0)[:, None].astype(np.float32)
    return Interactions(
        name, pairs[order, 0], pairs[order, 1], times[order], values[order] >= LIKED, user_features,
        np.hstack([item_features, decades]), user_columns, (*item_columns, "decades from the median year"), tuple(users),
        tuple(items), dropped={reason: count for reason, count in dropped.items() if count},
    )  # fmt: skip


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

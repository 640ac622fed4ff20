"""Meta embeddings in versions: made offline, switched to in one step, read online.

One SQLite file. It is embedded, comes with Python, and its transactions are what the task needs: a job that is killed anywhere
leaves what it committed, the version that serves is one row, changed in one transaction, and a reader sees one version or the
other. (Columnar files would read faster in bulk, but a refresh writes few members and a request reads one.)

An embedding is kept by the learner's version, the member, and a hash of the interactions that it rests on; a version of
the store says which of them are its members'. So a refresh computes only members with new interactions, and a run after an
interrupt only what is missing.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xbar.workloads.recommender.learning import Batch, Learner, Tables, context_of

MEMBERS_AT_ONCE = 64  # adapted together, and committed together
FORMAT = 2
APPLICATION = 0x78626172  # of SQLite's application_id: this program's files
_SCHEMA = """
CREATE TABLE embeddings (
    learner TEXT, member TEXT, basis TEXT, vector BLOB NOT NULL, PRIMARY KEY (learner, member, basis)
) WITHOUT ROWID;
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, learner TEXT NOT NULL, size INTEGER NOT NULL, standard BLOB NOT NULL, through INTEGER NOT NULL,
    members INTEGER NOT NULL
);
CREATE TABLE contents (version INTEGER, member TEXT, basis TEXT NOT NULL, PRIMARY KEY (version, member)) WITHOUT ROWID;
CREATE TABLE serving (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL);
"""


_VERSION = "number, learner, size, through, members"  # as `Version` has them


class StoreError(ValueError):
    """The store holds no version that can serve, or one of another learner, or is no store."""


@dataclass(frozen=True)
class Version:
    """A published set of embeddings. through: time stamp of the latest interaction that it rests on [Unix s]."""

    number: int
    learner: str
    size: int
    through: int
    members: int


@dataclass(frozen=True)
class Refresh:
    """What a run of the offline job did: the version now serving, members adapted, members whose embedding was there already."""

    version: Version
    adapted: int
    kept: int


class EmbeddingStore:
    """A file of embeddings in versions; raises StoreError for a file that is none."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        with self._work("EXCLUSIVE"):
            kept, owner = (int(self._one(f"PRAGMA {name}")[0]) for name in ("user_version", "application_id"))
            tables = int(self._one("SELECT count(*) FROM sqlite_master")[0])
            if not tables and not kept:
                for statement in _SCHEMA.split(";"):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {FORMAT}")
                self.connection.execute(f"PRAGMA application_id = {APPLICATION}")
            elif owner != APPLICATION or kept != FORMAT:
                raise StoreError(f"{path}: not a store of embeddings of format {FORMAT}")
        self.connection.execute("PRAGMA journal_mode = WAL")  # readers see a snapshot, and wait for nobody

    def close(self) -> None:
        """Release the file."""
        self.connection.close()

    def __enter__(self) -> "EmbeddingStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _work(self, kind: str) -> Iterator[None]:
        """A transaction: all of what is done within, or none of it; a process that dies leaves none. kind: DEFERRED to read.

        What SQLite cannot do is a StoreError.
        """
        try:
            self.connection.execute(f"BEGIN {kind}")
            try:
                yield
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: not a store of embeddings, or one that cannot be used now: {error}"
            ) from None

    def _one(self, query: str, values: Sequence[object] = ()) -> Any:
        return self.connection.execute(query, values).fetchone()

    # ---- reading

    def versions(self) -> list[Version]:
        """All published versions, the oldest first."""
        with self._work("DEFERRED"):
            rows = self.connection.execute(f"SELECT {_VERSION} FROM versions ORDER BY number")
            return [Version(*row) for row in rows]

    def serving(self) -> Version:
        """The version that serves; raises StoreError where none was published."""
        with self._work("DEFERRED"):
            return self._serving()

    def _serving(self) -> Version:
        row = self._one(f"SELECT {_VERSION} FROM serving JOIN versions ON version = number")
        if row is None:
            raise StoreError(f"{self.path}: no version was published yet")
        return Version(*row)

    def look_up(self, members: Sequence[str], learner: str) -> tuple[Tensor, np.ndarray]:
        """Embeddings float32 (n, size) that serve, and whether each member is known (n,); an unknown one gets the default's.

        Raises StoreError where what serves was made by another learner than the one of that version.
        """
        with self._work("DEFERRED"):
            serving = self._serving()
            if serving.learner != learner:
                raise StoreError(f"{self.path}: version {serving.number} was made by the meta block {serving.learner}, "
                                 f"which a global block of {learner} cannot read")  # fmt: skip
            standard = self._one("SELECT standard FROM versions WHERE number = ?", [serving.number])[0]
            found = [self._vector(serving, member) for member in members]
        known = np.array([vector is not None for vector in found], bool)
        together = b"".join(standard if vector is None else vector for vector in found)
        if len(together) != 4 * len(members) * serving.size:
            raise StoreError(f"{self.path}: holds embeddings of another size than {serving.size} numbers")
        values = np.frombuffer(together, np.float32).reshape(len(members), serving.size)
        return torch.from_numpy(values.copy()), known

    def _vector(self, version: Version, member: str) -> bytes | None:
        """The member's vector; None where the version has no such member."""
        basis = self._one("SELECT basis FROM contents WHERE version = ? AND member = ?", [version.number, member])
        if basis is None:
            return None
        row = self._one(
            "SELECT vector FROM embeddings WHERE learner = ? AND member = ? AND basis = ?",
            [version.learner, member, *basis],
        )
        if row is None:
            raise StoreError(f"{self.path}: version {version.number} has lost the embedding of {member}")
        return bytes(row[0])

    # ---- writing

    def missing(self, learner: str, bases: dict[str, str]) -> list[str]:
        """Members whose embedding on that basis is not there yet."""
        with self._work("DEFERRED"):
            return self._missing(learner, bases)

    def _missing(self, learner: str, bases: dict[str, str]) -> list[str]:
        there = set(self.connection.execute("SELECT member, basis FROM embeddings WHERE learner = ?", [learner]))
        return [member for member, basis in bases.items() if (member, basis) not in there]

    def add(self, learner: str, vectors: dict[tuple[str, str], Tensor]) -> None:
        """Keep embeddings by (member, basis), all or none."""
        rows = [(learner, member, basis, _bytes(vector)) for (member, basis), vector in vectors.items()]
        with self._work("IMMEDIATE"):
            self.connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)

    def publish(self, learner: str, bases: dict[str, str], standard: Tensor, through: int) -> Version:
        """A new version of these members' embeddings, all of which must be there, and switch to it; all or nothing."""
        with self._work("IMMEDIATE"):
            absent = self._missing(learner, bases)
            if absent:
                raise StoreError(f"{self.path}: {len(absent)} members have no embedding yet, the first is {absent[0]}")
            number = self.connection.execute(
                "INSERT INTO versions (learner, size, standard, through, members) VALUES (?, ?, ?, ?, ?)",
                [learner, len(standard), _bytes(standard), through, len(bases)],
            ).lastrowid
            self.connection.executemany(
                "INSERT INTO contents VALUES (?, ?, ?)", [(number, *pair) for pair in bases.items()]
            )
            self._switch(int(number or 0))
            return self._serving()

    def roll_back(self, number: int | None = None) -> Version:
        """Serve an earlier version again: that number, or the one before the present; raises StoreError without one."""
        with self._work("IMMEDIATE"):
            present = self._serving().number
            known = [row[0] for row in self.connection.execute("SELECT number FROM versions ORDER BY number")]
            earlier = [each for each in known if each < present]
            target = (earlier[-1] if earlier else None) if number is None else number
            if target not in known:
                wanted = f"before {present}" if number is None else number
                raise StoreError(f"{self.path}: no version {wanted}; there are {known}")
            self._switch(target)
            return self._serving()

    def prune(self, keep: int = 2) -> int:
        """Remove all but the last `keep` versions and the one that serves, and embeddings that only removed versions had; how many
        embeddings went. What a job has made and not yet published stays."""
        if keep < 1:
            raise StoreError(f"keep must be at least 1 version, got {keep}")
        with self._work("IMMEDIATE"):
            numbers = [row[0] for row in self.connection.execute("SELECT number FROM versions ORDER BY number")]
            gone = set(numbers[:-keep]) - {self._serving().number}
            marks = ",".join("?" * len(gone))
            there = "SELECT learner, member, basis FROM contents JOIN versions ON version = number WHERE number"
            removed = self.connection.execute(
                f"DELETE FROM embeddings WHERE (learner, member, basis) IN ({there} IN ({marks})) "
                f"AND (learner, member, basis) NOT IN ({there} NOT IN ({marks}))", [*gone, *gone],
            ).rowcount  # fmt: skip
            for table, column in (("contents", "version"), ("versions", "number")):
                self.connection.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", list(gone))
            return removed

    def _switch(self, number: int) -> None:
        self.connection.execute("INSERT OR REPLACE INTO serving VALUES (1, ?)", [number])


def _bytes(vector: Tensor) -> bytes:
    return vector.detach().to(torch.float32).numpy().tobytes()


# ---- the offline job and the online scorer


def basis_of(tables: Tables, begin: int, end: int) -> str:
    """Hash of the interactions in rows begin to end (excluded), by item, time and label."""
    data = tables.data
    parts = (data.item[begin:end], data.time[begin:end], data.liked[begin:end])
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


def refresh(
    store: EmbeddingStore,
    learner: Learner,
    tables: Tables,
    ends: np.ndarray,
    step: Callable[[int, int], None] = lambda done, of: None,
) -> Refresh:
    """The offline job: adapt every member to its interactions before row `ends`[member], and serve the outcome.

    Members whose interactions have not changed keep their embedding. Whatever interrupts it, the version before serves on,
    and a later call does the rest. step(members done, members to do) is told after each commit.
    """
    data, version = tables.data, learner.version
    begins = np.maximum(tables.firsts[:-1], ends - learner.recipe.support)
    bases = {data.user_ids[m]: basis_of(tables, begins[m], ends[m]) for m in range(data.users)}
    number_of = {member: number for number, member in enumerate(data.user_ids)}
    missing = [number_of[member] for member in store.missing(version, bases)]
    missing.sort(key=lambda member: ends[member] - begins[member])  # of similar support together
    for begin in range(0, len(missing), MEMBERS_AT_ONCE):
        some = np.array(missing[begin : begin + MEMBERS_AT_ONCE])
        vectors = learner.embeddings(some, tables.batch(begins[some], ends[some]))
        ids = [data.user_ids[member] for member in some]
        store.add(version, {(member, bases[member]): vector for member, vector in zip(ids, vectors, strict=True)})
        step(begin + len(some), len(missing))
    through = int(
        data.time[np.concatenate([np.arange(b, e) for b, e in zip(begins, ends, strict=True)])].max(initial=0)
    )
    published = store.publish(version, bases, default_embedding(learner), through)
    return Refresh(published, len(missing), data.users - len(missing))


def default_embedding(learner: Learner) -> Tensor:
    """Meta embedding (size,) of a member of whom nothing is known: mean features, no inner step."""
    empty = Batch(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, 4), torch.zeros(1, 1), torch.zeros(1, 1))
    return learner.embeddings(np.array([learner.unknown]), empty, steps=0)[0]


class Scorer:
    """The online side: scores candidates for a member with its stored embedding and the global block.

    A refresh in the meantime is taken up at the next request. Raises StoreError where what serves belongs to another learner.
    """

    def __init__(self, learner: Learner, store: EmbeddingStore):
        self.learner, self.store, self.version = learner, store, learner.version
        store.look_up([], self.version)

    def score(self, member: str, items: np.ndarray, time: int) -> np.ndarray:
        """Logits (n,) of candidates, indices of items (n,), for a member at a Unix time [s]; unknown members get the default."""
        embedding, _ = self.store.look_up([member], self.version)
        chosen = torch.from_numpy(np.asarray(items, np.int64))[None]
        context = torch.from_numpy(context_of(np.full(len(items), time, np.int64)))[None]
        query = Batch(chosen, context, torch.zeros(1, len(items)), torch.ones(1, len(items)))
        return self.learner.scores(embedding, query)[0].numpy()

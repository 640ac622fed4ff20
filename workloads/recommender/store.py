"""Meta embeddings in versions: made offline, switched to in one step, read online by anyone while they are written.

One SQLite file in WAL mode. It is embedded, comes with Python, and its transactions are what the task needs: a process that is
killed anywhere leaves what it committed, and readers see a snapshot and wait for nobody. (A memory-mapped array reads faster in
bulk, but is one version, and what SQLite has tried for twenty years against kills would be ours to prove. Measured sizes and
times: `benchmarks/store.py`.)

A row is one embedding with the version that it came in with; it holds until the member's next row. So a version is a number, a
refresh writes rows of members that changed, and what was written for a version that is not published yet is seen by nobody:
publishing it is one small transaction, whatever its size. A version also tells since which version its learner's rows begin;
older ones are another learner's, and are nobody's embeddings any more.

Every row has a CRC-32 over all that it holds, its key included, checked at each look-up. A row whose key was damaged is not found
where it should be, so a look-up checks the row that follows the member's too, and for a member who is not there the row before:
the place of the lost one. What no single bit can do is serve a wrong vector in silence. One can make a page of the file seem shorter, so
that members on it are unknown to a look-up, as strangers are, and scored with the default: `verify` counts them.
"""

import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

FORMAT = 3
APPLICATION = 0x78626172  # of SQLite's application_id: this program's files
WAIT = 30.0  # for another writer [s]
PRUNED_AT_ONCE = 20_000  # members, in one transaction
CACHED = 64 * 1024  # of a writer's pages [KiB], so that rows in no order do not read each page anew
_SCHEMA = """
CREATE TABLE embeddings (
    member TEXT, first INTEGER, basis BLOB NOT NULL, vector BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (member, first)
) WITHOUT ROWID;
CREATE TABLE prepared (member TEXT PRIMARY KEY, is_new INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, since INTEGER NOT NULL, learner TEXT NOT NULL, size INTEGER NOT NULL, through INTEGER NOT NULL,
    members INTEGER NOT NULL, standard BLOB NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE networks (learner TEXT PRIMARY KEY, state BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE serving (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, checksum INTEGER NOT NULL);
"""
_VERSION = "number, since, learner, size, through, members"  # as `Version` has them
_ROWS = "SELECT member, first, basis, vector, checksum FROM embeddings"  # a cursor that is not closed would hold its snapshot
_LATEST = "SELECT coalesce(max(number), 0) FROM versions"
# Whether a member has no embedding in the latest version (?2, its learner's rows since ?3).
_IS_NEW = """NOT EXISTS (SELECT 1 FROM (SELECT first, length(vector) AS bytes FROM embeddings WHERE member = ?1 AND first <= ?2
    ORDER BY first DESC LIMIT 1) WHERE first >= ?3 AND bytes > 0)"""


class StoreError(ValueError):
    """The store holds no version that can serve, or one of another learner, or is no store."""


class DamageError(StoreError):
    """What the file holds is not what was written into it; it is not served."""


@dataclass(frozen=True)
class Version:
    """A published set of embeddings. since: first version of its learner's rows; size: numbers of an embedding; through: time
    stamp of the latest interaction that it rests on [Unix s]; members: who have one."""

    number: int
    since: int
    learner: str
    size: int
    through: int
    members: int


@dataclass(frozen=True)
class Found:
    """Embeddings of one version: vectors float32 (n, size), and whether each member is known, bool (n,); an unknown one has the
    version's default."""

    version: Version
    vectors: np.ndarray
    known: np.ndarray


class EmbeddingReader:
    """Reads a file of embeddings, from any number of threads, without ever waiting for a writer; raises StoreError for a file that is
    none. Every thread has a connection of its own, which `close` ends."""

    mode = "ro"

    def __init__(self, path: Path):
        self.path = Path(path)
        self._local, self._lock, self._opened = threading.local(), threading.Lock(), list[sqlite3.Connection]()
        self._known: dict[int, tuple[Version, bytes]] = {}
        self._closed = False
        self._check_file()

    def _check_file(self) -> None:
        if not self.path.is_file():
            raise StoreError(f"{self.path}: no such file of embeddings; xbar run recommender or xbar refresh makes one")
        with self._told():
            self._check_format()

    def _check_format(self) -> None:
        kept, owner = (int(self._one(f"PRAGMA {name}")[0]) for name in ("user_version", "application_id"))
        if owner != APPLICATION:
            raise StoreError(f"{self.path}: not a store of embeddings of format {FORMAT}")
        if kept != FORMAT:
            raise StoreError(f"{self.path}: a store of embeddings of format {kept}, not {FORMAT}: remove it, and make it anew")

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection; what it cannot do raises sqlite3.Error."""
        found = getattr(self._local, "connection", None)
        if found is None:
            with self._lock:
                if self._closed:
                    raise StoreError(f"{self.path}: is closed")
                found = self._connect()
                self._opened.append(found)
            self._local.connection = found
        return found

    def _connect(self) -> sqlite3.Connection:
        place = f"file:{quote(str(self.path.absolute()))}?mode={self.mode}"
        return sqlite3.connect(place, isolation_level=None, timeout=WAIT, uri=True, check_same_thread=False)

    def close(self) -> None:
        """Release the file, in all threads; none of them may be reading."""
        with self._lock:
            self._closed = True
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite cannot do is a StoreError, also what it cannot tell because a text in the file is damaged."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(f"{self.path}: not a store of embeddings, or one that cannot be used now: {error}") from None

    @contextmanager
    def _work(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """A transaction: all of what is done within, or none of it; a process that dies leaves none. DEFERRED reads one snapshot."""
        with self._told():
            connection = self.connection
            connection.execute(f"BEGIN {kind}")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # SQLite itself has rolled back where a disk is full or cannot be read
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _one(self, query: str, values: Sequence[object] = ()) -> Any:
        return self.connection.execute(query, values).fetchone()

    # ---- reading

    def versions(self) -> list[Version]:
        """All published versions, the oldest first."""
        with self._work():
            return [self._version(number)[0] for number in self._numbers()]

    def serving(self) -> Version:
        """The version that serves; raises StoreError where none was published."""
        with self._work():
            return self._serving()[0]

    def look_up(self, members: Sequence[str]) -> Found:
        """Embeddings of the version that serves, all of one version.

        Raises StoreError where none serves; DamageError where a vector, or the place where it should be, does not bear its checksum.
        """
        with self._work():
            version, standard = self._serving()
            found = [self._vector(version, member) for member in members]
        known = np.array([vector is not None for vector in found], bool)
        together = b"".join(standard if vector is None else vector for vector in found)
        if len(together) != 4 * len(members) * version.size:
            raise DamageError(f"{self.path}: holds embeddings of another size than {version.size} numbers")
        return Found(version, np.frombuffer(together, np.float32).reshape(len(members), version.size).copy(), known)

    def network(self, learner: str) -> bytes:
        """What `keep_network` kept for that learner; raises StoreError where nothing was."""
        with self._work():
            row = self._one("SELECT state, checksum FROM networks WHERE learner = ?", [learner])
        if row is None:
            raise StoreError(f"{self.path}: has no network of the learner {learner}")
        if not isinstance(row[0], bytes) or zlib.crc32(row[0], zlib.crc32(learner.encode())) != row[1]:
            raise DamageError(f"{self.path}: the network of the learner {learner} is damaged")
        return row[0]

    def verify(self) -> int:
        """How many embeddings there are, of all versions, after every checksum was checked and the members of each version were
        counted; raises DamageError. Takes time in proportion to the file."""
        with self._work() as connection:
            versions = [self._version(number)[0] for number in self._numbers()]
            self._serving()
            counts, last, live, count = dict.fromkeys(versions, 0), "", dict[Version, bool](), 0
            with closing(connection.execute(f"{_ROWS} ORDER BY member, first")) as rows:
                for row in rows:
                    self._check(row)
                    if row[0] != last:
                        for version, there in live.items():
                            counts[version] += there
                        last, live = row[0], {}
                    for version in versions:
                        if row[1] <= version.number:
                            live[version] = row[1] >= version.since and len(row[3]) > 0
                    count += 1
            for version, there in live.items():
                counts[version] += there
        for version, there in counts.items():
            if there != version.members:
                raise DamageError(f"{self.path}: version {version.number} has {there:,} of its {version.members:,} members")
        return count

    def _numbers(self) -> list[int]:
        return [row[0] for row in self.connection.execute("SELECT number FROM versions ORDER BY number")]

    def _serving(self) -> tuple[Version, bytes]:
        row = self._one("SELECT version, checksum FROM serving")
        if row is None:
            raise StoreError(f"{self.path}: no version was published yet")
        if _checksum_of_serving(row[0]) != row[1]:
            raise DamageError(f"{self.path}: the number of the version that serves is damaged")
        return self._version(row[0])

    def _version(self, number: int) -> tuple[Version, bytes]:
        """That version and its default embedding; it never changes once it is published."""
        found = self._known.get(number)
        if found is None:
            row = self._one(f"SELECT {_VERSION}, standard, checksum FROM versions WHERE number = ?", [number])
            if row is None:
                raise StoreError(f"{self.path}: has no version {number}")
            *told, standard, checksum = row
            if checksum != _checksum_of_version(told, standard):
                raise DamageError(f"{self.path}: what is told of version {number} is damaged")
            found = self._known[number] = (Version(*told), standard)
        return found

    def _vector(self, version: Version, member: str) -> bytes | None:
        """The member's vector; None where the version has no such member."""
        chosen, there, others = None, False, False
        with closing(self.connection.execute(f"{_ROWS} WHERE member >= ? ORDER BY member, first", [member])) as rows:
            for row in rows:
                self._check(row)
                if row[0] != member:
                    others = True
                    break
                there = True
                if row[1] <= version.number:
                    chosen = row
        if not there:
            before = self._one(f"{_ROWS} WHERE member < ? ORDER BY member DESC, first DESC LIMIT 1", [member])
            if before is not None:
                self._check(before)
            elif not others and version.members:
                raise DamageError(f"{self.path}: holds no embedding, and version {version.number} should have {version.members:,}")
        return chosen[3] if chosen is not None and chosen[1] >= version.since and chosen[3] else None

    def _check(self, row: Sequence[Any]) -> None:
        member, first, basis, vector, checksum = row
        sound = isinstance(member, str) and isinstance(first, int) and isinstance(basis, bytes) and isinstance(vector, bytes)
        if not sound or _checksum(member, first, basis, vector) != checksum:
            raise DamageError(f"{self.path}: the embedding of {member!r} of version {first} is damaged: it is not what its checksum tells")


class EmbeddingStore(EmbeddingReader):
    """A file of embeddings that is also written; made where there is none. Writers wait for each other, at most `WAIT` seconds."""

    mode = "rwc"

    def _check_file(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._told():
            if not self._one("SELECT count(*) FROM sqlite_master")[0]:
                self._make()
            self._check_format()
            if self._one("PRAGMA journal_mode")[0] != "wal":
                self.connection.execute("PRAGMA journal_mode = WAL")

    def _make(self) -> None:
        """The tables, all or none, unless another process made them meanwhile."""
        with self._work("EXCLUSIVE") as connection:
            if self._one("SELECT count(*) FROM sqlite_master")[0] or self._one("PRAGMA user_version")[0]:
                return
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may undo the last commits, each as a whole
        connection.execute(f"PRAGMA cache_size = -{CACHED}")
        return connection

    def _next(self, learner: str) -> tuple[int, int]:
        """Number of the version to come, and since when its rows are of its learner."""
        latest = self._one(_LATEST)[0]
        if latest and (before := self._version(latest)[0]).learner == learner:
            return latest + 1, before.since
        return latest + 1, latest + 1

    def missing(self, learner: str, bases: Mapping[str, bytes]) -> list[str]:
        """Members, in order, whose embedding by that learner on that basis is not there yet, published or prepared."""
        with self._work():
            return self._missing(learner, bases)

    def _missing(self, learner: str, bases: Mapping[str, bytes]) -> list[str]:
        _, since = self._next(learner)
        ask = "SELECT first, basis, length(vector) FROM embeddings WHERE member = ? ORDER BY first DESC LIMIT 1"
        found = []
        for member in sorted(bases):
            row = self._one(ask, [member])
            if row is None or row[0] < since or row[1] != bases[member] or not row[2]:
                found.append(member)
        return found

    def add(self, embeddings: Mapping[str, tuple[bytes, np.ndarray]]) -> None:
        """Prepare embeddings by member, each its basis and vector (size,) for the version to come, all or none; nobody sees them before
        `publish`. A basis stands for all that the vector rests on, the learner included."""
        vectors = {member: (basis, _bytes(vector)) for member, (basis, vector) in sorted(embeddings.items())}
        if "" in vectors:
            raise StoreError("a member's id must not be empty")
        with self._work("IMMEDIATE") as connection:
            latest = self._one(_LATEST)[0]
            since = self._version(latest)[0].since if latest else 0
            connection.executemany(
                f"INSERT OR REPLACE INTO prepared VALUES (?1, {_IS_NEW})", ((member, latest, since) for member in vectors)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)",
                ((member, latest + 1, basis, vector, _checksum(member, latest + 1, basis, vector))
                 for member, (basis, vector) in vectors.items()),
            )  # fmt: skip

    def keep_network(self, learner: str, state: bytes) -> None:
        """Keep what scores with this learner's embeddings, for `network`; once kept it stays as it is."""
        checksum = zlib.crc32(state, zlib.crc32(learner.encode()))
        with self._work("IMMEDIATE") as connection:
            connection.execute("INSERT OR IGNORE INTO networks VALUES (?, ?, ?)", [learner, state, checksum])

    def publish(self, learner: str, bases: Mapping[str, bytes], standard: np.ndarray, through: int) -> Version:
        """A new version of exactly these members' embeddings, all of which must be there, and switch to it; all or nothing.

        Members of the version before who are not among them are left out from this version on, and what was prepared for others is
        dropped. Where nothing differs from the latest version, that one serves. standard: default embedding (size,).
        """
        given = _bytes(standard)
        for checked_before in (True, True, False):  # against what others write meanwhile; at last with their writing held up
            with self._told():
                seen = self._one("PRAGMA data_version")
            with self._work():
                left = self._left_out(learner, bases) if checked_before else None
            with self._work("IMMEDIATE") as connection:
                if checked_before and self._one("PRAGMA data_version") != seen:
                    continue
                dropped, gone, members = self._left_out(learner, bases) if left is None else left
                number, since = self._next(learner)
                for member in dropped:
                    connection.execute("DELETE FROM embeddings WHERE member = ? AND first = ?", [member, number])
                    connection.execute("DELETE FROM prepared WHERE member = ?", [member])
                if not gone and not self._one("SELECT count(*) FROM prepared")[0] and number > 1:
                    before, default = self._version(number - 1)
                    if (before.learner, before.through, default) == (learner, through, given):
                        self._switch(before.number)
                        return before
                connection.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)",
                    ((member, number, b"", b"", _checksum(member, number, b"", b"")) for member in gone),
                )
                told = (number, since, learner, len(given) // 4, through, members)
                connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                                   [*told, given, _checksum_of_version(told, given)])  # fmt: skip
                connection.execute("DELETE FROM prepared")
                self._switch(number)
                return self._serving()[0]
        raise AssertionError("the last of the tries does not go on")

    def _left_out(self, learner: str, bases: Mapping[str, bytes]) -> tuple[list[str], list[str], int]:
        """Members prepared and not wanted; members of the version before who are not either; how many there are to be."""
        absent = self._missing(learner, bases)
        if absent:
            raise StoreError(f"{self.path}: {len(absent)} members have no embedding yet, the first is {absent[0]}")
        number, since = self._next(learner)
        dropped, new, prepared = [], 0, 0
        for member, is_new in self.connection.execute("SELECT member, is_new FROM prepared"):
            if member in bases:
                new, prepared = new + is_new, prepared + 1
            else:
                dropped.append(member)
        kept = self._version(number - 1)[0].members + new if since < number else prepared
        gone = self._others(bases, number - 1, since) if kept != len(bases) else []
        return dropped, gone, len(bases)

    def _others(self, bases: Mapping[str, bytes], latest: int, since: int) -> list[str]:
        """Members of the latest version who are not among the bases."""
        rows = self.connection.execute(
            "SELECT member, first, length(vector) FROM embeddings WHERE first <= ? ORDER BY member, first", [latest]
        )
        found = {member: bool(size) and first >= since for member, first, size in rows if member not in bases}
        return [member for member, there in found.items() if there]

    def roll_back(self, number: int | None = None) -> Version:
        """Serve an earlier version again, or a later one: that number, or the one before the present; raises StoreError without one."""
        with self._work("IMMEDIATE"):
            present, known = self._serving()[0].number, self._numbers()
            earlier = [each for each in known if each < present]
            target = (earlier[-1] if earlier else None) if number is None else number
            if target not in known:
                wanted = f"before {present}" if number is None else number
                raise StoreError(f"{self.path}: no version {wanted}; there are {known}")
            self._switch(target)
            return self._serving()[0]

    def prune(self, keep: int = 2) -> int:
        """Remove all but the last `keep` versions and the one that serves, and embeddings that only removed versions had; how many
        embeddings went. What is prepared stays.

        One pass over the file, in transactions of `PRUNED_AT_ONCE` members, so that other writers need not wait for the whole of
        it; the versions go first, and a later call removes what a killed one left.
        """
        if keep < 1:
            raise StoreError(f"keep must be at least 1 version, got {keep}")
        with self._work("IMMEDIATE") as connection:
            numbers, serving = self._numbers(), self._serving()[0].number
            kept = [number for number in numbers if number == serving or number in numbers[-keep:]]
            marks = ",".join("?" * len(kept))
            connection.execute(f"DELETE FROM versions WHERE number NOT IN ({marks})", kept)
            connection.execute("DELETE FROM networks WHERE learner NOT IN (SELECT learner FROM versions)")
            versions = [self._version(number)[0] for number in kept]
        removed, after = 0, ""
        while True:
            with self._work("IMMEDIATE") as connection:
                last = self._one("SELECT max(member) FROM (SELECT member FROM embeddings WHERE member > ? ORDER BY member LIMIT ?)",
                                 [after, PRUNED_AT_ONCE])[0]  # fmt: skip
                if last is None:
                    return removed
                rows = connection.execute("SELECT member, first, length(vector) FROM embeddings WHERE member > ? AND member <= ?"
                                          " ORDER BY member, first", [after, last]).fetchall()  # fmt: skip
                gone = list(_unneeded(rows, versions))
                connection.executemany("DELETE FROM embeddings WHERE member = ? AND first = ?", gone)
                removed, after = removed + len(gone), last

    def _switch(self, number: int) -> None:
        self.connection.execute("INSERT OR REPLACE INTO serving VALUES (1, ?, ?)", [number, _checksum_of_serving(number)])


def _unneeded(rows: Sequence[tuple[str, int, int]], versions: Sequence[Version]) -> Iterator[tuple[str, int]]:
    """Member and first version of rows, in order of both, that none of the versions nor a later one to come reads; a row without a
    vector is needed where an older one stays."""
    newest = versions[-1].number
    before: tuple[str, bool] = ("", False)
    for index, (member, first, size) in enumerate(rows):
        following = rows[index + 1] if index + 1 < len(rows) else None
        until = following[1] if following is not None and following[0] == member else None
        read = any(version.since <= first <= version.number and (until is None or until > version.number) for version in versions)
        needed = first > newest or (read and (size > 0 or before == (member, True)))
        if needed:
            before = (member, True)
        else:
            yield member, first


def _checksum(member: str, first: int, basis: bytes, vector: bytes) -> int:
    return zlib.crc32(vector, zlib.crc32(basis, zlib.crc32(struct.pack("<q", first), zlib.crc32(member.encode()))))


def _checksum_of_version(told: Sequence[object], standard: bytes) -> int:
    return zlib.crc32(standard, zlib.crc32(repr(tuple(told)).encode())) if isinstance(standard, bytes) else -1


def _checksum_of_serving(number: object) -> int:
    return zlib.crc32(f"serving {number!r}".encode())


def _bytes(vector: np.ndarray) -> bytes:
    values = np.ascontiguousarray(vector, np.float32)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise StoreError(f"an embedding must be finite numbers (size,), one or more, got the shape {values.shape}")
    return values.tobytes()

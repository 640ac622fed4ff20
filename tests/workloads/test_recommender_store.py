"""Embeddings in versions: what is written, what is seen, what a kill or a flipped bit does."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.workloads.recommender.store import DamageError, EmbeddingReader, EmbeddingStore, StoreError, Version

SIZE = 4
Contents = Mapping[str, int]


def vector(value: int) -> np.ndarray:
    return np.arange(SIZE, dtype=np.float32) + value


def publish(store: EmbeddingStore, contents: Contents, learner: str = "one", through: int = 0) -> Version:
    """A version in which each member's embedding is that of its value, by the least writing."""
    bases = {member: f"{learner} {value}".encode() for member, value in contents.items()}
    store.add({member: (bases[member], vector(contents[member])) for member in store.missing(learner, bases)})
    return store.publish(learner, bases, vector(-1), through)


def holds(store: EmbeddingReader, contents: Contents, others: tuple[str, ...] = ("nobody",)) -> None:
    found = store.look_up([*contents, *others])
    assert found.known.tolist() == [True] * len(contents) + [False] * len(others)
    assert np.array_equal(found.vectors, [vector(value) for value in [*contents.values(), *[-1] * len(others)]])


def rows_of(store: EmbeddingStore) -> int:
    return int(store.connection.execute("SELECT count(*) FROM embeddings").fetchone()[0])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore(tmp_path / "e.sqlite") as found:
        yield found


def test_a_version_writes_what_changed_and_no_more(store: EmbeddingStore) -> None:
    first = {f"m{n}": n for n in range(50)}
    publish(store, first)
    second = first | {"m7": 70, "m9": 90}
    published = publish(store, second)
    assert (published.number, published.members, rows_of(store)) == (2, 50, 52)
    holds(store, second)
    assert store.roll_back().number == 1
    holds(store, first)
    third = {member: value for member, value in second.items() if member != "m3"} | {"new": 5}
    assert publish(store, third).members == 50
    assert rows_of(store) == 54  # one new, and one row that says who left
    holds(store, third, ("nobody", "m3"))
    assert publish(store, third).number == 3  # nothing differs, nothing is written
    assert publish(store, third, through=9).number == 4
    assert store.verify() == rows_of(store) == 54


def test_a_full_disk_is_told_as_that(store: EmbeddingStore) -> None:
    """SQLite rolls the transaction back itself then."""
    publish(store, {"a": 1})
    store.connection.execute(f"PRAGMA max_page_count = {store.connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match="cannot be used now: database or disk is full"):
        publish(store, {f"m{n}": n for n in range(5000)})
    store.connection.execute("PRAGMA max_page_count = 100000")
    holds(store, {"a": 1}, ("m0",))
    publish(store, {"a": 1, "m0": 5})
    holds(store, {"a": 1, "m0": 5})


def test_a_learners_version_has_none_of_anothers_embeddings(store: EmbeddingStore) -> None:
    publish(store, {"a": 1, "b": 2, "c": 3})
    other = publish(store, {"a": 1, "b": 2}, learner="two")
    assert (other.since, other.members, rows_of(store)) == (2, 2, 5)
    holds(store, {"a": 1, "b": 2}, ("c",))
    again = publish(store, {"a": 1, "b": 2, "c": 3})
    assert (again.since, again.members) == (3, 3)
    for number, members in ((1, "abc"), (2, "ab"), (3, "abc")):
        store.roll_back(number)
        holds(store, {member: value for member, value in (("a", 1), ("b", 2), ("c", 3)) if member in members})
    assert store.verify() == 8


def test_what_is_prepared_is_seen_by_nobody_and_published_only_where_asked_for(store: EmbeddingStore) -> None:
    publish(store, {"a": 1, "b": 2})
    store.add({"a": (b"one 5", vector(5)), "strange": (b"one 9", vector(9))})
    holds(store, {"a": 1, "b": 2}, ("strange",))
    assert store.missing("one", {"a": b"one 5", "b": b"one 2"}) == []
    with pytest.raises(StoreError, match="1 members have no embedding yet, the first is c"):
        store.publish("one", {"a": b"one 5", "c": b"one 3"}, vector(-1), 0)
    publish(store, {"a": 5, "b": 2})
    holds(store, {"a": 5, "b": 2}, ("strange",))
    assert rows_of(store) == 3


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1), st.sampled_from(("one", "two")),
                          st.sampled_from(("", "back", "prune 1", "prune 2", "stop"))), min_size=1, max_size=7))  # fmt: skip
def test_any_order_of_doing_serves_what_a_list_of_copies_would(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]) -> None:
    copies: dict[int, Contents] = {}
    with EmbeddingStore(tmp_path_factory.mktemp("any") / "e.sqlite") as store:
        for contents, learner, then in steps:
            published = publish(store, contents, learner)
            assert copies.setdefault(published.number, contents) == contents
            assert published.members == len(contents)
            if then == "stop":  # a job that is not published
                store.add({"a": (b"none", vector(77)), "z": (b"none", vector(78))})
            if then == "back" and len(store.versions()) > 1:
                store.roll_back()
            if then.startswith("prune"):
                store.prune(int(then[-1]))
                copies = {version.number: copies[version.number] for version in store.versions()}
            serving = store.serving().number
            for version in store.versions():
                store.roll_back(version.number)
                mine = copies[version.number]
                holds(store, mine, tuple(member for member in "abcdefz" if member not in mine))
            store.roll_back(serving)
            store.verify()
        store.roll_back(store.versions()[-1].number)
        store.prune(1)
        last = store.versions()[-1]
        waiting = store.connection.execute("SELECT count(*) FROM prepared").fetchone()[0]
        assert rows_of(store) == last.members + waiting


def test_pruning_keeps_the_last_and_what_serves(store: EmbeddingStore) -> None:
    for value in range(1, 6):
        publish(store, {"a": value, "b": 0} | ({"c": 0} if value < 3 else {}))
    store.roll_back(2)
    assert store.prune(keep=1) == 3  # of a, versions 1, 3 and 4
    assert [version.number for version in store.versions()] == [2, 5]
    holds(store, {"a": 2, "b": 0, "c": 0})
    store.roll_back(5)
    holds(store, {"a": 5, "b": 0}, ("c",))
    assert store.prune(keep=1) == 3  # a of 2, c, and the row that says that it left
    assert rows_of(store) == 2
    with pytest.raises(StoreError, match="no version before 5; there are \\[5\\]"):
        store.roll_back()
    with pytest.raises(StoreError, match="keep must be at least 1"):
        store.prune(0)


def test_pruning_takes_time_in_proportion(tmp_path: Path) -> None:
    """Counted in instructions of SQLite's machine, which no other process changes: 16 times the members, at most 18 times as many."""
    counts = []
    for members in (100, 1600):
        with EmbeddingStore(tmp_path / f"{members}.sqlite") as store:
            for value in range(2):
                publish(store, {f"m{n}": value for n in range(members)})
            count = [0]
            store.connection.set_progress_handler(lambda count=count: count.__setitem__(0, count[0] + 1), 50)  # type: ignore[misc]
            assert store.prune(1) == members
            counts.append(count[0])
    assert counts[1] < 18 * counts[0]


# ---- readers


def test_a_reader_opens_and_reads_while_a_long_write_goes_on(store: EmbeddingStore) -> None:
    publish(store, {"a": 1})
    with store._work("EXCLUSIVE") as connection:
        connection.execute("DELETE FROM embeddings")
        with EmbeddingReader(store.path) as reader:
            holds(reader, {"a": 1})
            assert reader.verify() == 1
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.connection.execute("DELETE FROM versions")
    with EmbeddingReader(store.path) as reader, pytest.raises(DamageError, match="version 1 has 0 of its 1 members"):
        reader.verify()


def test_many_threads_read_one_version_at_a_time_while_others_are_published(store: EmbeddingStore) -> None:
    names = [f"m{n}" for n in range(8)]
    publish(store, dict.fromkeys(names, 1))
    wrong: list[object] = []
    stop = threading.Event()
    with EmbeddingReader(store.path) as reader:

        def read() -> None:
            try:
                while not stop.is_set():
                    found = reader.look_up(names)
                    if not (found.vectors == vector(found.version.number)).all():
                        wrong.append(found)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for value in range(2, 30):
            publish(store, dict.fromkeys(names, value))
            if value % 9 == 0:
                store.prune(1)
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    with pytest.raises(StoreError, match="is closed"):
        reader.serving()


def test_files_that_are_no_store_are_told_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file of embeddings"):
        EmbeddingReader(tmp_path / "none.sqlite")
    path = tmp_path / "text.sqlite"
    path.write_bytes(b"not a database" * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    for opened in (EmbeddingStore, EmbeddingReader):
        for file in (path, other):
            before = file.read_bytes()
            with pytest.raises(StoreError, match="not a store of embeddings"):
                opened(file)
            assert file.read_bytes() == before
    with EmbeddingStore(tmp_path / "new.sqlite") as store:
        with pytest.raises(StoreError, match="no version was published yet"):
            store.serving()
        store.connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="of format 2, not 3"):
        EmbeddingStore(tmp_path / "new.sqlite")


@pytest.mark.parametrize("bad", [np.array([1.0, np.nan]), np.zeros((2, 2)), np.zeros(0)])
def test_what_is_no_embedding_is_refused(store: EmbeddingStore, bad: np.ndarray) -> None:
    with pytest.raises(StoreError, match="must be finite numbers"):
        store.add({"a": (b"x", bad)})
    with pytest.raises(StoreError, match="must not be empty"):
        store.add({"": (b"x", vector(1))})
    assert rows_of(store) == 0


# ---- damage


def test_no_flipped_bit_is_served(tmp_path: Path) -> None:
    """One bit at a time of the pages that hold a few embeddings and of others: each member's vector comes as it was, or an error does."""
    path = tmp_path / "e.sqlite"
    members = {f"member {n}": n for n in range(6)}
    with EmbeddingStore(path) as store:
        publish(store, members)
        publish(store, members | {"member 2": 20, "member 4": 40})
    contents = members | {"member 2": 20, "member 4": 40}
    whole = path.read_bytes()
    pages = {begin: whole[begin : begin + 4096] for begin in range(0, len(whole), 4096)}
    of_rows = next(begin for begin, page in pages.items() if b"member 3" in page and page.count(b"member") > 6)
    draw = np.random.default_rng(0)
    used = draw.choice([at for at in range(of_rows, of_rows + 4096) if whole[at]], 80, replace=False).tolist()
    elsewhere = draw.choice([at for at in range(len(whole)) if whole[at] and at not in set(used)], 30, replace=False)
    refused = 0
    for at, bit in [(at, int(bit)) for at in used for bit in draw.choice(8, 1)] + [(int(at), int(draw.integers(8))) for at in elsewhere]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            with EmbeddingReader(path) as reader:
                for member, value in contents.items():
                    try:
                        found = reader.look_up([member])
                    except StoreError:
                        refused += 1
                        continue
                    assert found.known[0], (at, bit, member)
                    assert np.array_equal(found.vectors[0], vector(value)), (at, bit, member)
        except StoreError:
            refused += 1
    assert refused > len(used) // 2


def test_a_table_that_seems_empty_is_told(store: EmbeddingStore) -> None:
    """As where a bit of its number of rows is flipped."""
    publish(store, {"a": 1, "b": 2})
    with store._work("IMMEDIATE") as connection:
        connection.execute("DELETE FROM embeddings")
    with pytest.raises(DamageError, match="holds no embedding, and version 1 should have 2"):
        store.look_up(["a"])


# ---- kills

JOB = """
import os, random, signal, sys, time
import numpy as np
from pathlib import Path
from xbar.workloads.recommender.store import EmbeddingReader, EmbeddingStore

def vector(value): return np.arange(4, dtype=np.float32) + value
FIRST, SECOND = ({f"m{n}": value for n in range(40)} for value in (1, 2))

def job(path, contents, arm=lambda connection: None):
    with EmbeddingStore(path) as store:
        arm(store.connection)
        bases = {member: b"%d" % value for member, value in contents.items()}
        for _ in range(8):
            some = store.missing("one", bases)[:6]
            if some:
                store.add({member: (bases[member], vector(contents[member])) for member in some})
        store.keep_network("one", b"weights")
        store.publish("one", bases, vector(-1), 0)
        store.prune(1)

def check(path, allowed):
    with EmbeddingReader(path) as reader:
        found = reader.look_up(sorted(FIRST))
        assert found.known.all()
        values = set(found.vectors[:, 0].astype(int).tolist())
        assert len(values) == 1 and values <= allowed, (values, allowed)
        reader.verify()

def killed(path, contents, arm, after=None):
    child = os.fork()
    if not child:
        job(path, contents, arm)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

folder, deaths, statements = Path(sys.argv[1]), 0, 0
def at_statement(wanted):
    seen = [0]
    def trace(_):
        seen[0] += 1
        if seen[0] == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
    return lambda connection: connection.set_trace_callback(trace)
for wanted in range(1, 2000, 41):
    path = folder / f"{wanted}.sqlite"
    job(path, FIRST)
    died = killed(path, SECOND, at_statement(wanted))
    check(path, {1, 2} if died else {2})
    job(path, SECOND)
    check(path, {2})
    deaths += died
    if not died:
        break
path, draw = folder / "timed.sqlite", random.Random(1)
job(path, FIRST)
timed = 0
for _ in range(12):
    timed += killed(path, SECOND if draw.random() < 0.5 else FIRST, lambda connection: None, 0.02 * draw.random())
    check(path, {1, 2})
fresh = folder / "fresh.sqlite"
while killed(fresh, FIRST, at_statement(statements := statements + 1)) and statements < 6:
    pass
job(fresh, FIRST)
check(fresh, {1})
print(deaths, timed)
"""


def test_a_kill_at_any_statement_or_moment_leaves_one_version_or_the_other(tmp_path: Path) -> None:
    """One process forks the jobs, each of which is killed: at every 41st statement of a job, and after random times."""
    done = subprocess.run([sys.executable, "-c", JOB, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    deaths, timed = map(int, done.stdout.split())
    assert deaths > 8
    assert timed > 2


def test_a_writer_waits_for_another_and_says_so_where_it_takes_too_long(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbar.workloads.recommender.store.WAIT", 0.05)
    publish(store, {"a": 1})
    with store._work("IMMEDIATE"), EmbeddingStore(store.path) as other, pytest.raises(StoreError, match=r"cannot be used now.*locked"):
        publish(other, {"a": 2})


def test_what_others_write_while_a_version_is_checked_is_checked_too(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, {"a": 1})
    left_out: Callable[..., object] = store._left_out
    meddled = []

    def meddle(*given: object) -> object:
        found = left_out(*given)
        if not meddled:
            meddled.append(True)
            with EmbeddingStore(store.path) as other:
                other.add({"a": (b"other", vector(9))})
        return found

    store.add({"a": (b"one 2", vector(2))})
    monkeypatch.setattr(store, "_left_out", meddle)
    with pytest.raises(StoreError, match="1 members have no embedding yet"):
        store.publish("one", {"a": b"one 2"}, vector(-1), 0)
    holds(store, {"a": 1})

"""The store of embeddings at many members: seconds of the processor by step, microseconds a look-up, bytes a member.

    python benchmarks/store.py [--members 1000000] [--folder DIR]

10,000,000 members need about 4 GB of disk while one version of all and one of a hundredth of them are there, and 4 GB of memory, for the
list of who is to be in a version. Seconds are of the processor, of this process alone; the disk may add to them.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xbar.workloads.recommender.store import EmbeddingReader, EmbeddingStore

SIZE = 32  # numbers of an embedding
AT_ONCE = 50_000  # prepared in one transaction
LOOK_UPS = 20_000


@contextmanager
def told(what: str, count: int = 0) -> Iterator[None]:
    """Print what was done, seconds, and microseconds each of `count`."""
    began, first = time.perf_counter(), sum(os.times()[:2])
    yield
    used, wall = sum(os.times()[:2]) - first, time.perf_counter() - began
    print(f"{what:58}{used:9.2f} s of the processor, {wall:8.2f} s in all" + (f", {1e6 * used / count:8.2f} us each" if count else ""),
          flush=True)  # fmt: skip


def prepare(store: EmbeddingStore, bases: dict[str, bytes], members: list[str], draw: np.random.Generator) -> None:
    for begin in range(0, len(members), AT_ONCE):
        some = members[begin : begin + AT_ONCE]
        vectors = draw.standard_normal((len(some), SIZE), np.float32)
        store.add({member: (bases[member], vector) for member, vector in zip(some, vectors, strict=True)})


def look_ups(reader: EmbeddingReader, members: list[str], draw: np.random.Generator) -> None:
    for number in draw.integers(len(members), size=LOOK_UPS):
        reader.look_up([members[number]])


def during(work: Callable[[], None], path: Path) -> list[float]:
    """Seconds that opening a reader and one look-up took, again and again while `work` went on."""
    found, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            began = time.perf_counter()
            with EmbeddingReader(path) as reader:
                reader.look_up(["00000000"])
            found.append(time.perf_counter() - began)
            time.sleep(0.02)

    thread = threading.Thread(target=read)
    thread.start()
    work()
    done.set()
    thread.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=10**6)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    draw, count = np.random.default_rng(0), options.members
    members = [f"{number:08d}" for number in range(count)]
    bases = {member: number.to_bytes(16) for number, member in enumerate(members)}
    standard = np.zeros(SIZE, np.float32)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, EmbeddingStore(Path(folder) / "e.sqlite") as store:
        print(f"{count:,} members x {SIZE} numbers")
        with told("prepare all, 50,000 at a time", count):
            prepare(store, bases, members, draw)
        with told("publish them", count):
            store.publish("one", bases, standard, 0)
        print(f"{'file':58}{store.path.stat().st_size / count:9.0f} bytes a member, {4 * SIZE} of them the vector")
        with EmbeddingReader(store.path) as reader, told("look one up, at random", LOOK_UPS):
            look_ups(reader, members, draw)
        changed = [members[number] for number in np.sort(draw.choice(count, count // 100, replace=False))]
        bases |= {member: (int.from_bytes(bases[member]) + count).to_bytes(16) for member in changed}
        with told("find who of all is missing", count):
            missing = store.missing("one", bases)
        assert missing == changed
        with told("prepare a hundredth, at random", len(changed)):
            prepare(store, bases, changed, draw)
        with told("publish them", count):
            waits = during(lambda: store.publish("one", bases, standard, 1), store.path)
        print(f"{'opening a reader and a look-up meanwhile':58}{1e3 * np.median(waits):9.2f} ms, at most {1e3 * max(waits):.2f} ms")
        with told("prune to one version", count):
            assert store.prune(1) == len(changed)
        with EmbeddingReader(store.path) as reader, told("verify every checksum", count):
            assert reader.verify() == count


if __name__ == "__main__":
    main()

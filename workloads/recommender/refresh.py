"""The offline job: every member adapted to its latest interactions, by as many processes as there are, and the outcome published.

An embedding is kept by a basis, a hash of the learner, of the member's features, and of the interactions that it rests on. So a job
adapts only members with new interactions, and a job after an interrupt only those whose embeddings are not in the store yet;
whatever interrupts it, the version before serves on.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from xbar.workloads.recommender.learning import Batch, Learner, MetaRecipe, Tables
from xbar.workloads.recommender.scorer import scoring_state
from xbar.workloads.recommender.store import EmbeddingStore, StoreError, Version
from xbar.workloads.study.workers import InProcess
from xbar.workloads.training import TrainingError, read_state, save_state

MEMBERS_AT_ONCE = 64  # adapted together, and committed together
IN_FLIGHT = 8  # such parts given to workers and not back yet
_OF_MEMBERS = ("model.meta.identity.", "model.wide_member.")  # of a learner's state: a row a member, the last one of who is unknown


@dataclass(frozen=True)
class Refresh:
    """What a run of the offline job did: the version that serves now, or None where members of other shards are missing yet; members
    adapted, members whose embedding was there already, and those that are missing."""

    version: Version | None
    adapted: int
    kept: int
    missing: int = 0


def basis_of(learner: str, tables: Tables, member: int, begin: int, end: int) -> bytes:
    """Hash of the learner, the member's features, and its interactions in rows begin to end (excluded), by item, time, label and rating; 16
    bytes."""
    data = tables.data
    told = (data.item, data.time, data.liked, *(() if data.rating is None else (data.rating,)))
    parts = (data.user_features[member], *(column[begin:end] for column in told))
    return hashlib.sha256(learner.encode() + b"".join(part.tobytes() for part in parts)).digest()[:16]


def refresh(
    store: EmbeddingStore,
    learner: Learner,
    tables: Tables,
    ends: np.ndarray,
    step: Callable[[int, int], None] = lambda done, of: None,
    *,
    executor: Executor | None = None,
    shard: tuple[int, int] = (0, 1),
) -> Refresh:
    """Adapt every member to its interactions before row `ends`[member], and serve the outcome.

    step(members done, members to do) is told after each commit. executor: who adapts, this process without one. shard: (k, n)
    adapts only the k-th of n parts of the members, told by a hash of their ids; processes that write the same store take
    different ones, and the one that finds nobody missing publishes. Raises StoreError.
    """
    part, parts = shard
    if not 0 <= part < parts:
        raise StoreError(f"shard must be a number from 0 to {parts - 1} of {parts}, got {part}")
    data, version = tables.data, learner.version
    begins = np.maximum(tables.firsts[:-1], ends - learner.recipe.support)
    bases = {data.user_ids[m]: basis_of(version, tables, m, begins[m], ends[m]) for m in range(data.users)}
    number_of = {member: number for number, member in enumerate(data.user_ids)}
    mine = {member: basis for member, basis in bases.items() if zlib.crc32(member.encode()) % parts == part}
    missing = [number_of[member] for member in store.missing(version, mine)]
    missing.sort(key=lambda member: ends[member] - begins[member])  # of similar support together
    done, tasks = 0, (np.array(missing[k : k + MEMBERS_AT_ONCE]) for k in range(0, len(missing), MEMBERS_AT_ONCE))
    for some, vectors in _adapted(learner, tables, begins, ends, tasks, executor or InProcess()):
        ids = [data.user_ids[member] for member in some]
        store.add({member: (bases[member], vector) for member, vector in zip(ids, vectors, strict=True)})
        done += len(some)
        step(done, len(missing))
    left = store.missing(version, bases) if parts > 1 else []
    if left:
        return Refresh(None, len(missing), len(mine) - len(missing), len(left))
    store.keep_network(version, scoring_state(learner, data.item_ids))
    through = max((int(data.time[e - 1]) for b, e in zip(begins, ends, strict=True) if e > b), default=0)
    published = store.publish(version, bases, default_embedding(learner), through)
    return Refresh(published, len(missing), len(mine) - len(missing))


def _adapted(
    learner: Learner, tables: Tables, begins: np.ndarray, ends: np.ndarray, tasks: Iterator[np.ndarray], executor: Executor
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Members (n,) of each task with their embeddings (n, size), as they are ready."""
    given: dict[Future[np.ndarray], np.ndarray] = {}

    def give(count: int) -> None:
        for some in islice(tasks, count):
            given[executor.submit(_embeddings, learner, some, tables.batch(begins[some], ends[some]))] = some

    give(1 if isinstance(executor, InProcess) else IN_FLIGHT)
    while given:
        ready, _ = wait(given, return_when=FIRST_COMPLETED)
        for future in ready:
            some = given.pop(future)
            yield some, future.result()
        give(len(ready))


def _embeddings(learner: Learner, members: np.ndarray, support: Batch) -> np.ndarray:
    return learner.embeddings(members, support).numpy()


def default_embedding(learner: Learner) -> np.ndarray:
    """Meta embedding float32 (size,) of a member of whom nothing is known: mean features, no inner step."""
    empty = Batch(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, 4), torch.zeros(1, 1), torch.zeros(1, 1))
    return learner.embeddings(np.array([learner.unknown]), empty, steps=0)[0].numpy()


# ---- the learner, kept for later jobs


class KeptLearner(Learner):
    """A learner read from a file, with the version that it was kept by: members who came since change nothing of it."""

    kept_version = ""

    @property
    def version(self) -> str:
        """As it was when kept."""
        return self.kept_version


def save_learner(learner: Learner, tables: Tables, path: Path) -> None:
    """Keep a learner of these interactions for `load_learner`; the file is the old one or the new one, never half of one."""
    data = tables.data
    save_state({"version": learner.version, "recipe": asdict(learner.recipe), "seen": learner.seen, "user_ids": list(data.user_ids),
                "item_ids": list(data.item_ids), "columns": [*data.user_columns, *data.item_columns], "tensors": learner.state_dict()},
               path)  # fmt: skip


def load_learner(path: Path, tables: Tables) -> KeptLearner:
    """The learner of a file, for interactions of the same items and features; members who are not in it are as unknown ones.

    Raises TrainingError where the file holds none, and for other items or features.
    """
    kept, data = read_state(path), tables.data
    try:
        recipe = MetaRecipe(**kept["recipe"] | {"hidden": tuple(kept["recipe"]["hidden"])})
        for what, there, given in (("item", kept["item_ids"], data.item_ids),
                                   ("feature", kept["columns"], (*data.user_columns, *data.item_columns))):  # fmt: skip
            strange = [*(set(there) ^ set(given))] or [new for old, new in zip(there, given, strict=True) if old != new]
            if strange:
                raise TrainingError(f"{path}: was trained on other {what}s than these, or in another order: {min(strange)}")
        place = {member: row for row, member in enumerate(kept["user_ids"])}
        unknown = len(place)
        rows = torch.tensor([*(place.get(member, unknown) for member in data.user_ids), unknown])
        learner = KeptLearner(Learner.build(tables, recipe, 0).model, recipe, tables.member_features, tables.item_features).eval()
        tensors = {name: value[rows] if name.startswith(_OF_MEMBERS) else value for name, value in kept["tensors"].items()}
        seen = torch.cat([kept["seen"], torch.zeros(1, dtype=torch.bool)])[rows[:-1]]
        learner.load_state_dict(tensors | {"member_features": tables.member_features, "seen": seen})
        learner.kept_version = kept["version"]
    except (KeyError, TypeError, RuntimeError) as error:
        raise TrainingError(f"{path}: holds no learner of this version of the program ({error})") from None
    return learner

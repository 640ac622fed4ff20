"""The online side: scores of candidates for a member, by their ids, from its stored embedding and the network kept beside it.

The network comes from the store, by the learner that the version which serves names. So a version of another learner is taken up
as any other is: between two requests, embeddings and network together.
"""

import io
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch

from xbar.workloads.recommender.learning import Batch, Learner, MetaRecipe, context_of
from xbar.workloads.recommender.store import EmbeddingReader, StoreError

NETWORKS_HELD = 3  # of learners that served lately
_OFFLINE = ("model.meta.", "rates.", "seen", "member_features", "model.wide_member.")  # of a learner's state: the offline job's alone


@dataclass(frozen=True)
class Scores:
    """logits float32 (n,) of the items asked for, nan of those in unknown_items, which the network was not trained on; version: of the
    embeddings; known: whether the member has one, else it was scored with the default."""

    logits: np.ndarray
    version: int
    known: bool
    unknown_items: tuple[str, ...]


def scoring_state(learner: Learner, item_ids: Sequence[str]) -> bytes:
    """What scores with this learner's embeddings, without what belongs to members; `Scorer` reads it."""
    tensors = {name: value for name, value in learner.state_dict().items() if not name.startswith(_OFFLINE)}
    written = io.BytesIO()
    torch.save({"recipe": asdict(learner.recipe), "item_ids": list(item_ids), "tensors": tensors}, written)
    return written.getvalue()


@dataclass(frozen=True)
class _Network:
    learner: Learner
    place: dict[str, int]  # of an item by its id

    @classmethod
    def read(cls, state: bytes) -> "_Network":
        """The network of `scoring_state`; raises StoreError for one of another kind."""
        kept = torch.load(io.BytesIO(state), weights_only=True)
        try:
            given = kept["recipe"] | {"hidden": tuple(kept["recipe"]["hidden"])}
            recipe = replace(MetaRecipe(**given), members=False)
            features = kept["tensors"]["item_features"]
            shape = SimpleNamespace(member_features=torch.zeros(0, 1), item_features=features,
                                    data=SimpleNamespace(users=0, items=len(features)))  # fmt: skip
            learner = Learner.build(shape, recipe, 0).eval()  # type: ignore[arg-type]
            lacking, strange = learner.load_state_dict(kept["tensors"], strict=False)
            wrong = [*strange, *(name for name in lacking if not name.startswith(_OFFLINE))]
            if wrong:
                raise KeyError(wrong[0])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StoreError(f"the network in the store is not one of this version of the program: {error}") from None
        return cls(learner.requires_grad_(False), {item: index for index, item in enumerate(kept["item_ids"])})


class Scorer:
    """Scores candidates, from any number of threads; a version published meanwhile is taken up at the next request. Raises
    StoreError where none serves."""

    def __init__(self, store: EmbeddingReader):
        self.store = store
        self._networks: dict[str, _Network] = {}
        self._lock = threading.Lock()
        self.prepare()

    def prepare(self) -> int:
        """Have the network of the version that serves at hand; the number of that version."""
        serving = self.store.serving()
        self._network(serving.learner)
        return serving.number

    def _network(self, learner: str) -> _Network:
        found = self._networks.get(learner)
        if found is None:
            with self._lock:
                found = self._networks.get(learner)
                if found is None:
                    found = _Network.read(self.store.network(learner))
                    held = [*self._networks.items(), (learner, found)][-NETWORKS_HELD:]
                    self._networks = dict(held)  # replaced, not changed: others are reading it
        return found

    def score(self, member: str, items: Sequence[str], time: int) -> Scores:
        """Logits of candidates for a member at a Unix time [s]. Who is not known is scored with the default embedding, and items that are
        not known are not scored: both are said. Raises StoreError; DamageError for a damaged embedding, which is not served."""
        found = self.store.look_up([member])
        try:
            network = self._network(found.version.learner)
        except StoreError:  # switched from and removed since the look-up
            found = self.store.look_up([member])
            network = self._network(found.version.learner)
        places = np.array([network.place.get(item, -1) for item in items], np.int64)
        there = places >= 0
        logits = np.full(len(places), np.nan, np.float32)
        if there.any():
            chosen = torch.from_numpy(places[there])[None]
            context = torch.from_numpy(context_of(np.full(chosen.shape[1], time, np.int64)))[None]
            query = Batch(chosen, context, torch.zeros(chosen.shape), torch.ones(chosen.shape))
            logits[there] = network.learner.scores(torch.from_numpy(found.vectors), query)[0].numpy()
        unknown = tuple(item for item, each in zip(items, there, strict=True) if not each)
        return Scores(logits, found.version.number, bool(found.known[0]), unknown)

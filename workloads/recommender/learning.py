"""Learning to recommend: the ordinary way, and MAML whose inner loop moves the meta block alone.

A task is one member: a support set (older interactions) that the inner loop adapts to, a query set (the next ones) whose loss
the outer loop lowers. In an epoch every training interaction is a query once: a member's history is cut into stretches of
`query` interactions from a random place on, and what lies before a stretch, the last `support` of it, is its support set. The
inner loop takes `steps` gradient steps on the meta block (or, to compare with, on the whole network) from the shared
weights; the outer loop moves both blocks, and the inner rate of each tensor.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from xbar.models.limaml import Recommender
from xbar.workloads.recommender.interactions import DAY, HOUR, Interactions
from xbar.workloads.training import TrainingError, read_state, save_state

CONTEXT = ("hour sine", "hour cosine", "weekday sine", "weekday cosine")
Weights = dict[str, Tensor]
INPUTS = "inputs"  # among the weights of a task: what the meta block reads of its member
RATE_OF_RATES = 10.0  # learning rate of the inner rates over that of the weights


@dataclass(frozen=True)
class MetaRecipe:
    """How to meta-learn. Raises TrainingError for values out of range.

    adapt: "meta" block, or "all" weights but the item embeddings. steps: of the inner loop, 0 for none; inner_rate: before
    the outer loop moves it; prior: interactions that the mean over a support set counts besides its own, so that few of
    them move little; second_order: through the inner gradients, or (False) as if they were constants. id_dropout: share
    of tasks whose member is taken as unknown, so that the unknown member's vector is learned. members: whether the
    meta block has a vector for each member's id; wide: see `Recommender`. tasks: of an outer step; batch: interactions
    of an ordinary step.
    """

    epochs: int = 8
    tasks: int = 64
    support: int = 128
    query: int = 16
    steps: int = 3
    inner_rate: float = 1.0
    prior: float = 5.0
    second_order: bool = True
    adapt: str = "meta"
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    id_dropout: float = 0.1
    size: int = 32
    hidden: tuple[int, int] = (128, 64)
    members: bool = True
    wide: bool = False
    batch: int = 512

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("tasks", 1),
            ("support", 1),
            ("query", 1),
            ("steps", 0),
            ("size", 1),
            ("batch", 1),
        ):
            if not getattr(self, name) >= least:
                raise TrainingError(f"meta.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("inner_rate", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"meta.{name} must be above 0 and finite, got {getattr(self, name)}")
        for name, least in (("prior", 0.0), ("weight_decay", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise TrainingError(f"meta.{name} must be 0 or more and finite, got {getattr(self, name)}")
        if not 0 <= self.id_dropout < 1:
            raise TrainingError(f"meta.id_dropout must be from 0 to below 1, got {self.id_dropout}")
        if min(self.hidden) < 1:
            raise TrainingError(f"meta.hidden must be 1 or more each, got {self.hidden}")
        if self.adapt not in ("meta", "all"):
            raise TrainingError(f"meta.adapt must be 'meta' or 'all', got {self.adapt!r}")


@dataclass(frozen=True)
class Batch:
    """Support or query sets of tasks, padded. items: int64 (tasks, n); context: float32 (tasks, n, 4); liked, mask: float32
    (tasks, n), mask 0 where there is nothing."""

    items: Tensor
    context: Tensor
    liked: Tensor
    mask: Tensor


class Tables:
    """The interactions as tensors, and their batches. Members are the users of the interactions."""

    def __init__(self, data: Interactions):
        self.data = data
        self.members = torch.from_numpy(data.user)
        self.items = torch.from_numpy(data.item)
        self.liked = torch.from_numpy(data.liked.astype(np.float32))
        self.context = torch.from_numpy(context_of(data.time))
        self.member_features = torch.from_numpy(data.user_features)
        self.item_features = torch.from_numpy(data.item_features)
        self.firsts = np.concatenate([[0], np.cumsum(data.history)])

    def batch(self, begins: np.ndarray, ends: np.ndarray) -> Batch:
        """The interactions begins[t] to ends[t] (excluded) of each task."""
        longest = max(1, int((ends - begins).max()))
        rows = torch.from_numpy(begins)[:, None] + torch.arange(longest)
        mask = rows < torch.from_numpy(ends)[:, None]
        rows = rows.clamp(max=len(self.items) - 1)
        return Batch(self.items[rows], self.context[rows], self.liked[rows], mask.float())

    def support(self, members: np.ndarray, ends: np.ndarray, most: int) -> Batch:
        """The last `most` interactions of each member before its interaction number `ends`[t] (a row, int64)."""
        return self.batch(np.maximum(self.firsts[members], ends - most), ends)


def context_of(times: np.ndarray) -> np.ndarray:
    """Hour of the day and day of the week of Unix seconds (n,), each as sine and cosine; float32 (n, 4)."""
    hour, week = 2 * np.pi * (times % DAY) / (24 * HOUR), 2 * np.pi * (times % (7 * DAY)) / (7 * DAY)
    return np.stack([np.sin(hour), np.cos(hour), np.sin(week), np.cos(week)], 1).astype(np.float32)


# ---- the inner loop


class Learner(nn.Module):
    """A recommender with its inner loop. rates: log of the step size of each tensor that the inner loop moves."""

    member_features: Tensor
    item_features: Tensor

    def __init__(self, model: Recommender, recipe: MetaRecipe, member_features: Tensor, item_features: Tensor):
        super().__init__()
        self.model, self.recipe = model, recipe
        self.seen = torch.ones(len(member_features), dtype=torch.bool)  # members that were trained on
        self.seconds = 0.0  # of training
        self.register_buffer("member_features", member_features)
        self.register_buffer("item_features", item_features)
        self.rates = nn.ParameterDict(
            {
                name.replace(".", " "): nn.Parameter(torch.full((), math.log(recipe.inner_rate)))
                for name in (*self.shared(), INPUTS)
            }
        )

    @classmethod
    def build(cls, tables: Tables, recipe: MetaRecipe, seed: int) -> "Learner":
        """A new one for these interactions, its weights by the seed alone."""
        members = tables.data.users if recipe.members else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Recommender(
                tables.member_features.shape[1], members, tables.data.items, tables.item_features.shape[1], len(CONTEXT),
                recipe.size, hidden=recipe.hidden, wide=recipe.wide,
            )  # fmt: skip
        return cls(model, recipe, tables.member_features, tables.item_features)

    @property
    def unknown(self) -> int:
        """The member number of whoever is not known."""
        return len(self.member_features)

    @property
    def version(self) -> str:
        """Hash of everything that a meta embedding, and a score from it, depends on."""
        hashed = hashlib.sha256(repr(asdict(self.recipe)).encode())
        hashed.update(self.seen.numpy().tobytes())
        for name, value in sorted(self.state_dict().items()):
            hashed.update(name.encode() + value.detach().cpu().numpy().tobytes())
        return hashed.hexdigest()[:16]

    def shared(self) -> Weights:
        """The weights that the inner loop moves, as every task begins with them."""
        moved = {
            f"meta.{name}": value
            for name, value in self.model.meta.named_parameters()
            if not name.startswith("identity")
        }
        if self.recipe.adapt == "all":
            moved |= {f"globals.{name}": value for name, value in self.model.globals.named_parameters()}
        return moved

    def inputs(self, members: Tensor, known: Tensor | None = None) -> Tensor:
        """What the meta block reads of each member (n, inputs): its features and the vector of its id.

        known: bool (n,), where it is False the vector is the unknown member's. The member number `unknown` has the mean features.
        """
        features = torch.cat([self.member_features, self.member_features.mean(0, keepdim=True)])[members]
        if self.model.meta.identity is None:
            return features
        return torch.cat([features, self.model.meta.identity(self.ids(members, known))], 1)

    def ids(self, members: Tensor, known: Tensor | None = None) -> Tensor:
        """The number of the vector that stands for each member (n,): the unknown one's where it was not trained on, or not `known`."""
        seen = torch.cat([self.seen, torch.zeros(1, dtype=torch.bool)])[members]
        return torch.where(seen if known is None else seen & known, members, self.unknown)

    def rest(self, batch: Batch) -> Tensor:
        """What the global block reads besides the meta embedding (tasks, n, ...)."""
        return self.model.rest(batch.items, self.item_features[batch.items], batch.context)

    def adapted(self, inputs: Tensor, support: Batch, steps: int | None = None) -> Weights:
        """Weights of each task after `steps` of the inner loop (default: the recipe's); (tasks, ...) each.

        inputs: (tasks, inputs) as `inputs` gives. "inputs" is among the weights: the vector of the member's id moves as a
        weight does; its features do not.
        """
        tasks = len(inputs)
        weights = {name: value.expand(tasks, *value.shape) for name, value in self.shared().items()} | {INPUTS: inputs}
        rest, own = self.rest(support), self._own(inputs)
        gradient = vmap(grad(self.support_loss))
        for _ in range(self.recipe.steps if steps is None else steps):
            found = gradient(weights, rest, support.liked, support.mask)
            if not self.recipe.second_order:
                found = {name: value.detach() for name, value in found.items()}
            found[INPUTS] = found[INPUTS] * own
            weights = {
                name: value - self.rates[name.replace(".", " ")].exp() * found[name] for name, value in weights.items()
            }
        return weights

    def _own(self, inputs: Tensor) -> Tensor:
        """1 for what of the inputs is the id's vector, 0 for features."""
        identity = self.model.meta.identity
        size = 0 if identity is None else identity.embedding_dim
        return (torch.arange(inputs.shape[1]) >= inputs.shape[1] - size).float()

    def support_loss(self, weights: Weights, rest: Tensor, liked: Tensor, mask: Tensor) -> Tensor:
        """Of one task: the sum of its losses over its size plus the prior."""
        losses = functional.binary_cross_entropy_with_logits(self.task_logits(weights, rest), liked, reduction="none")
        return (losses * mask).sum() / (mask.sum() + self.recipe.prior)

    def task_logits(self, weights: Weights, rest: Tensor) -> Tensor:
        """Logits of one task (n,)."""
        together = torch.cat([self.embed(weights).expand(len(rest), -1), rest], 1)
        own = {name.removeprefix("globals."): value for name, value in weights.items() if name.startswith("globals.")}
        return functional_call(self.model.globals, own, (together,))[:, 0]

    def embed(self, weights: Weights) -> Tensor:
        """Meta embedding (size,) of one task's weights, or (tasks, size) under vmap."""
        own = {name.removeprefix("meta."): value for name, value in weights.items() if name.startswith("meta.")}
        return functional_call(self.model.meta, own, (weights[INPUTS],), {"ready": True})

    def logits(self, weights: Weights, query: Batch) -> Tensor:
        """Logits of adapted tasks (tasks, n)."""
        return vmap(self.task_logits)(weights, self.rest(query))

    @torch.no_grad()
    def embeddings(self, members: np.ndarray, support: Batch, steps: int | None = None) -> Tensor:
        """Meta embeddings (members, size) after adapting to their support sets; `unknown` may be among the members."""
        return vmap(self.embed)(self.adapted(self.inputs(torch.from_numpy(members)), support, steps))

    @torch.no_grad()
    def scores(self, embeddings: Tensor, query: Batch) -> Tensor:
        """Logits (tasks, n) of the global block from stored embeddings (tasks, size)."""
        rest = self.rest(query)
        together = torch.cat([embeddings[:, None].expand(-1, rest.shape[1], -1), rest], 2)
        return self.model.globals(together)[..., 0]


# ---- the outer loop


def stretches(tables: Tables, ends: np.ndarray, recipe: MetaRecipe, generator: torch.Generator) -> np.ndarray:
    """Tasks of one epoch, int64 (tasks, 4): member, rows where its support begins and ends, where its query ends.

    ends: int64 (members,), the first row of each member that is not for training. A query begins where its support ends.
    """
    found = []
    firsts = torch.randint(1, recipe.query + 1, (len(ends),), generator=generator).tolist()
    for member, (first, begin, end) in enumerate(zip(firsts, tables.firsts[:-1], ends, strict=True)):
        cuts = np.concatenate([[begin], np.arange(begin + first, end, recipe.query), [end]])
        for cut, until in pairwise(cuts):
            if until > cut:
                found.append((member, max(begin, cut - recipe.support), cut, until))
    return np.array(found, np.int64)


def meta_train(
    tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int = 0, checkpoint: Path | None = None,
    after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Learner:  # fmt: skip
    """A learner meta-trained on each member's interactions before row `ends`[member]; same seed, same bits.

    With `checkpoint`, progress is kept after each epoch and a later call of the same settings goes on from there. after(epoch,
    mean loss) is told. Raises TrainingError where the checkpoint belongs to another training.
    """
    if recipe.wide:
        raise TrainingError("meta.wide is of networks that are trained the ordinary way")
    learner = Learner.build(tables, recipe, seed)
    learner.seen = torch.from_numpy(ends > tables.firsts[:-1])
    generator = torch.Generator().manual_seed(seed)
    count = len(stretches(tables, ends, recipe, torch.Generator().manual_seed(seed)))
    most = recipe.epochs * (-(-count // recipe.tasks) + 2)  # the number of tasks differs a little from epoch to epoch

    def steps(epoch: int) -> Iterator[Tensor]:
        for tasks in _batches(stretches(tables, ends, recipe, generator), recipe.tasks, generator):
            members = torch.from_numpy(tasks[:, 0])
            known = torch.rand(len(tasks), generator=generator) >= recipe.id_dropout
            weights = learner.adapted(learner.inputs(members, known), tables.batch(tasks[:, 1], tasks[:, 2]))
            query = tables.batch(tasks[:, 2], tasks[:, 3])
            losses = functional.binary_cross_entropy_with_logits(
                learner.logits(weights, query), query.liked, reduction="none"
            )
            yield (losses * query.mask).sum() / query.mask.sum()

    _train(learner, steps, most, generator, _identity(tables, ends, recipe, seed, "meta"), checkpoint, after)
    return learner


def train(
    tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int = 0, checkpoint: Path | None = None,
    after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Learner:  # fmt: skip
    """The same network trained the ordinary way, every interaction by itself; see `meta_train`."""
    learner = Learner.build(tables, recipe, seed)
    learner.seen = torch.from_numpy(ends > tables.firsts[:-1])
    generator = torch.Generator().manual_seed(seed)
    within = np.arange(len(tables.items)) < ends[tables.data.user]
    rows = torch.from_numpy(np.flatnonzero(within))

    def steps(epoch: int) -> Iterator[Tensor]:
        for chosen in rows[torch.randperm(len(rows), generator=generator)].split(recipe.batch):
            known = torch.rand(len(chosen), generator=generator) >= recipe.id_dropout
            logits = _plain_logits(learner, tables, chosen, known)
            yield functional.binary_cross_entropy_with_logits(logits, tables.liked[chosen])

    most = recipe.epochs * -(-len(rows) // recipe.batch)
    _train(learner, steps, most, generator, _identity(tables, ends, recipe, seed, "ordinary"), checkpoint, after)
    return learner


def _plain_logits(learner: Learner, tables: Tables, rows: Tensor, known: Tensor | None = None) -> Tensor:
    members, items = tables.members[rows], tables.items[rows]
    features = learner.member_features[members]
    return learner.model(
        features, learner.ids(members, known), items, learner.item_features[items], tables.context[rows]
    )


@torch.no_grad()
def plain_scores(learner: Learner, tables: Tables, rows: np.ndarray) -> np.ndarray:
    """Logits (n,) of the interactions in those rows, without any inner step."""
    parts = torch.from_numpy(rows).split(20000)
    return torch.cat([_plain_logits(learner, tables, part) for part in parts]).numpy()


def _batches(tasks: np.ndarray, size: int, generator: torch.Generator) -> list[np.ndarray]:
    """Tasks in random order, those of similar support together, so that little of a batch is padding."""
    tasks = tasks[torch.randperm(len(tasks), generator=generator).numpy()]
    found = []
    for pool in (tasks[begin : begin + 8 * size] for begin in range(0, len(tasks), 8 * size)):
        pool = pool[np.argsort(pool[:, 2] - pool[:, 1], kind="stable")]
        found += [pool[begin : begin + size] for begin in range(0, len(pool), size)]
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


def _train(
    learner: Learner, steps: Callable[[int], Iterator[Tensor]], most: int, generator: torch.Generator, identity: dict[str, Any],
    checkpoint: Path | None, after: Callable[[int, float], None],
) -> None:  # fmt: skip
    """AdamW under a one-cycle rate on the losses that `steps` makes, epoch by epoch, resumable."""
    recipe = learner.recipe
    groups = [
        {"params": list(learner.model.parameters())},
        {"params": list(learner.rates.parameters()), "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rates = [recipe.learning_rate, RATE_OF_RATES * recipe.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=most)
    first, before = 0, 0.0
    if checkpoint is not None and checkpoint.is_file():
        state = read_state(checkpoint)
        told = state.get("identity") if isinstance(state, dict) else None
        if not isinstance(told, dict) or "epoch" not in state:
            raise TrainingError(f"{checkpoint}: not a checkpoint of a training; remove it")
        for name, value in identity.items():
            if told.get(name) != value:
                raise TrainingError(
                    f"{checkpoint}: kept by a training with another {name}; remove it or train elsewhere"
                )
        first, before = state["epoch"] + 1, state.get("seconds", 0.0)
        learner.load_state_dict(state["learner"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
    learner.seconds, began = before, time.monotonic()
    for epoch in range(first, recipe.epochs):
        losses = []
        for loss in steps(epoch):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if schedule.last_epoch < most - 1:
                schedule.step()
            losses.append(loss.detach())
        if not losses:
            raise TrainingError("there is no interaction to train on")
        learner.seconds = before + time.monotonic() - began
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} in epoch {epoch + 1}; a smaller learning_rate or inner_rate may help"
            )
        if checkpoint is not None:
            save_state({"identity": identity, "epoch": epoch, "learner": learner.state_dict(), "optimiser": optimiser.state_dict(),
                        "schedule": schedule.state_dict(), "seconds": learner.seconds,
                        "generator": generator.get_state()}, checkpoint)  # fmt: skip
        after(epoch, mean)


def _identity(tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int, kind: str) -> dict[str, Any]:
    return {"kind": kind, "recipe": repr(asdict(recipe)), "seed": seed, "data": tables.data.digest,
            "training rows": hashlib.sha256(ends.tobytes()).hexdigest()}  # fmt: skip

"""Learning to recommend: the ordinary way, and MAML whose inner loop moves what belongs to one member.

A task is one member: a support set (older interactions) that the inner loop adapts to, a query set (the next ones) whose loss
the outer loop lowers. In an epoch every training interaction is a query once: a member's history is cut into stretches of
`query` interactions from a random place on, and what lies before a stretch, the last `support` of it, is its support set. Older
interactions of a support set weigh less, by a time constant that the outer loop learns.

What the inner loop moves, from where all members begin, is the meta block's weights (as LiMAML does), or its output alone, the meta
embedding. Of one member the block has one input, so that a gradient step on its weights is a step on the embedding under a metric which
those weights fix (the block's tangent kernel at that input): the second moves the same vector, and is cheaper. It goes down by gradient
steps with a learned rate for each number (Meta-SGD, Li et al. 2017), or by Newton's steps on the support loss with a
learned Gaussian prior around the beginning, through which the outer loop is differentiated (as Bertinetto et al. 2019 do with ridge and
logistic regression). The latter need logits that are linear in the embedding: the product term; the hidden layers' part is held as
it is at the beginning. To compare with, "globals" moves the global block (MeLU, Lee et al. 2019).
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
from xbar.workloads.recommender.interactions import DAY, GRADES, HOUR, LIKED, Interactions
from xbar.workloads.training import TrainingError, read_state, save_state

CONTEXT = ("hour sine", "hour cosine", "weekday sine", "weekday cosine")
Weights = dict[str, Tensor]
EMBEDDING, FEATURES, GIVEN = "embedding", "features", "given"  # among the weights of a task, besides those of blocks
RATE_OF_RATES = 5.0  # learning rate of the inner rates, priors and cuts over that of the weights
CUTS = (2.7, 1.4, 0.0, -1.4)  # of the logit, to begin with, where graded labels are cut; 0 where a rating counts as liked
ADAPTED = ("embedding", "meta", "globals")


@dataclass(frozen=True)
class MetaRecipe:
    """How to meta-learn. Raises TrainingError for values out of range.

    adapt: what the inner loop moves: the "embedding", the "meta" block's weights, or the "globals" block's. newton: by Newton's steps (of
    an embedding, with `product`) rather than gradient steps. steps: of the inner loop, 0 for none; inner_rate: of gradient steps,
    before the outer loop moves it; each_rate: one for each number, or (False) each tensor; prior: before the outer loop moves it,
    the weight that the beginning has, in interactions; recency: after how many interactions one weighs 1/e, before
    the outer loop moves it, 0 for all alike; second_order: through the inner steps, or (False) as if they were constants.
    graded: learn how high a rating is, where ratings are given, rather than whether it is liked. id_dropout: share of tasks whose member is
    taken as unknown, so that nothing but its history speaks for it. members: whether each member has a vector of its own;
    history, product, wide: see `xbar.models.limaml`. networks: how many are trained apart, whose mean score counts; with `newton` they
    lie side by side in one network, whose `size` and `hidden` these are (`committee`), else each has those sizes. l2: weight of the
    squares of what tables hold of items, a mean over interactions; l2_members: of members; weight_decay: of networks. tasks: of an outer
    step; batch: interactions of an ordinary
    step.
    """

    epochs: int = 4
    tasks: int = 64
    support: int = 1000
    query: int = 16
    steps: int = 2
    inner_rate: float = 1.0
    each_rate: bool = True
    newton: bool = True
    prior: float = 5.0
    recency: float = 50.0
    second_order: bool = True
    adapt: str = "embedding"
    graded: bool = True
    learning_rate: float = 6e-3
    weight_decay: float = 0.1
    l2: float = 0.03
    l2_members: float = 0.003
    id_dropout: float = 0.3
    size: int = 18
    hidden: tuple[int, ...] = (32, 16)
    members: bool = True
    history: bool = False
    product: bool = True
    wide: bool = False
    networks: int = 1
    batch: int = 1024

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1), ("tasks", 1), ("support", 1), ("query", 1), ("steps", 0), ("size", 3 if self.product else 1), ("batch", 1),
            ("networks", 1),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise TrainingError(f"meta.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("inner_rate", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"meta.{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("prior", "weight_decay", "l2", "l2_members", "recency"):
            if not 0 <= getattr(self, name) < math.inf:
                raise TrainingError(f"meta.{name} must be 0 or more and finite, got {getattr(self, name)}")
        if not 0 <= self.id_dropout < 1:
            raise TrainingError(f"meta.id_dropout must be from 0 to below 1, got {self.id_dropout}")
        if len(self.hidden) not in ((0, 2) if self.product else (2,)) or min(self.hidden, default=1) < 1:
            raise TrainingError(f"meta.hidden must be 2 sizes of 1 or more, or none beside a product; got {self.hidden}")
        if self.newton and any(each % self.networks for each in (self.size, *self.hidden)):
            raise TrainingError(f"meta.networks = {self.networks} must divide meta.size = {self.size} and meta.hidden = {self.hidden}")
        if self.adapt not in ADAPTED:
            raise TrainingError(f"meta.adapt must be one of {', '.join(ADAPTED)}, got {self.adapt!r}")
        if self.newton and not (self.adapt == "embedding" and self.product and self.prior > 0):
            raise TrainingError("meta.newton needs meta.adapt = 'embedding', meta.product and a meta.prior above 0")


@dataclass(frozen=True)
class Batch:
    """Support or query sets of tasks, padded. items: int64 (tasks, n); context: float32 (tasks, n, 4); liked, mask: float32
    (tasks, n), mask 0 where there is nothing; grades: float32 (tasks, n, GRADES), 1 where the rating is that or more, or None."""

    items: Tensor
    context: Tensor
    liked: Tensor
    mask: Tensor
    grades: Tensor | None = None


class Tables:
    """The interactions as tensors, and their batches. Members are the users of the interactions."""

    def __init__(self, data: Interactions):
        self.data = data
        self.members = torch.from_numpy(data.user).to(torch.int64)
        self.items = torch.from_numpy(data.item).to(torch.int64)
        self.liked = torch.from_numpy(data.liked.astype(np.float32))
        self.context = torch.from_numpy(context_of(data.time))
        self.member_features = torch.from_numpy(data.user_features)
        self.item_features = torch.from_numpy(data.item_features)
        self.firsts = np.concatenate([[0], np.cumsum(data.history)])
        self.rating = None if data.rating is None else torch.from_numpy(data.rating)

    def grades(self, rows: Tensor) -> Tensor | None:
        """Whether each rating of those rows is GRADES[k] or more, float32 (..., k); None without ratings."""
        return None if self.rating is None else (self.rating[rows][..., None] >= torch.tensor(GRADES)).float()

    def batch(self, begins: np.ndarray, ends: np.ndarray) -> Batch:
        """The interactions begins[t] to ends[t] (excluded) of each task."""
        longest = max(1, int((ends - begins).max()))
        rows = torch.from_numpy(begins)[:, None] + torch.arange(longest)
        mask = rows < torch.from_numpy(ends)[:, None]
        rows = rows.clamp(max=len(self.items) - 1)
        return Batch(self.items[rows], self.context[rows], self.liked[rows], mask.float(), self.grades(rows))

    def support(self, members: np.ndarray, ends: np.ndarray, most: int) -> Batch:
        """The last `most` interactions of each member before its interaction number `ends`[t] (a row, int64)."""
        return self.batch(np.maximum(self.firsts[members], ends - most), ends)


def context_of(times: np.ndarray) -> np.ndarray:
    """Hour of the day and day of the week of Unix seconds (n,), each as sine and cosine; float32 (n, 4)."""
    hour, week = 2 * np.pi * (times % DAY) / (24 * HOUR), 2 * np.pi * (times % (7 * DAY)) / (7 * DAY)
    return np.stack([np.sin(hour), np.cos(hour), np.sin(week), np.cos(week)], 1).astype(np.float32)


class Learner(nn.Module):
    """The network with its inner loop: adapts members to their support sets, and makes their meta embeddings.

    Of `rates`, all logarithms: the inner rates, the prior of Newton's steps, and the time constant of recency; and `cuts` of graded labels.
    """

    seen: Tensor  # bool (members,): whether a member had anything to train on
    member_features: Tensor
    item_features: Tensor

    def __init__(self, model: Recommender, recipe: MetaRecipe, member_features: Tensor, item_features: Tensor):
        super().__init__()
        self.model, self.recipe = model, recipe
        self.seconds = 0.0  # of training
        self.register_buffer("seen", torch.ones(len(member_features), dtype=torch.bool))
        self.register_buffer("member_features", member_features)
        self.register_buffer("item_features", item_features)
        rate, prior = math.log(recipe.inner_rate), math.log(recipe.prior) if recipe.prior else 0.0
        found = {"cuts": torch.tensor(CUTS)}
        if recipe.recency:
            found["recency"] = torch.tensor(math.log(recipe.recency))
        if recipe.newton:
            found["prior"] = torch.full((recipe.size,), prior)
        else:
            starts = self.shared() or {EMBEDDING: torch.zeros(recipe.size)}
            shapes = {name: value.shape if recipe.each_rate else () for name, value in starts.items()}
            found |= {name.replace(".", " "): torch.full(shape, rate) for name, shape in shapes.items()}
        self.rates = nn.ParameterDict({name: nn.Parameter(value) for name, value in found.items()})

    @classmethod
    def build(cls, tables: Tables, recipe: MetaRecipe, seed: int) -> "Learner":
        """A new one for these interactions, its weights by the seed alone."""
        members = tables.data.users if recipe.members else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Recommender(
                tables.member_features.shape[1], members, tables.data.items, tables.item_features.shape[1], len(CONTEXT),
                recipe.size, hidden=recipe.hidden, wide=recipe.wide, product=recipe.product, history=recipe.history,
                networks=recipe.networks,
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
        """The weights of blocks that the inner loop moves, as every task begins with them; none where it moves the embedding."""
        if self.recipe.adapt == "globals":
            return {f"globals.{name}": value for name, value in self.model.globals.named_parameters()}
        if self.recipe.adapt == "embedding":
            return {}
        return {f"meta.{name}": value for name, value in self.model.meta.named_parameters() if name.split(".")[0] in ("hidden", "out")}

    def features(self, members: Tensor) -> Tensor:
        """What the meta block reads of each member (n, features); of the member number `unknown` the mean."""
        return torch.cat([self.member_features, self.member_features.mean(0, keepdim=True)])[members]

    def given(self, members: Tensor, support: Batch, known: Tensor | None = None) -> Tensor:
        """What the tables add to each member's meta embedding (n, size): the vector of its id, and of its history the sum of the
        items' vectors over the root of 1 + their number, by `weighed`.

        known: bool (n,), where it is False the vector is the unknown member's.
        """
        meta, found = self.model.meta, torch.zeros(len(members), self.recipe.size)
        if meta.identity is not None:
            found = found + meta.identity(self.ids(members, known))
        if meta.history is not None:
            weights = self.weighed(support.mask)[..., None]
            found = found + (meta.history(support.items) * weights).sum(1) / (weights.sum(1) + 1).sqrt()
        return found

    def ids(self, members: Tensor, known: Tensor | None = None) -> Tensor:
        """The number of the vector that stands for each member (n,): the unknown one's where it was not trained on, or not `known`."""
        seen = torch.cat([self.seen, torch.zeros(1, dtype=torch.bool)])[members]
        return torch.where(seen if known is None else seen & known, members, self.unknown)

    def weighed(self, mask: Tensor) -> Tensor:
        """How much each interaction of support sets counts (..., n): by its age in interactions, the last one 1, padding 0."""
        if not self.recipe.recency:
            return mask
        age = mask.sum(-1, keepdim=True) - 1 - torch.arange(mask.shape[-1])
        return mask * torch.exp(-age.clamp(min=0) / self.rates["recency"].exp())

    def rest(self, batch: Batch) -> Tensor:
        """What the global block reads besides the meta embedding (tasks, n, ...)."""
        return self.model.rest(batch.items, self.item_features[batch.items], batch.context)

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """The table of all items' vectors (items, item_size)."""
        return self.model.vectors(torch.arange(len(self.item_features)), self.item_features)

    def losses(self, logits: Tensor, liked: Tensor, grades: Tensor | None) -> Tensor:
        """Cross-entropy of each interaction (...): of liked or not; or, graded, its mean over the cuts, at each of which the logit is
        shifted by a learned number, 0 where a rating counts as liked (cumulative link, McCullagh 1980)."""
        if grades is None or not self.recipe.graded:
            return functional.binary_cross_entropy_with_logits(logits, liked, reduction="none")
        shifted = logits[..., None] + self._cuts()
        return functional.binary_cross_entropy_with_logits(shifted, grades, reduction="none").mean(-1)

    def _cuts(self) -> Tensor:
        return self.rates["cuts"] * torch.tensor([grade != LIKED for grade in GRADES])

    def _slopes(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """First and second derivative of `losses` by the logit (tasks, n)."""
        if batch.grades is None or not self.recipe.graded:
            likely = torch.sigmoid(logits)
            return likely - batch.liked, likely * (1 - likely)
        likely = torch.sigmoid(logits[..., None] + self._cuts())
        return (likely - batch.grades).mean(-1), (likely * (1 - likely)).mean(-1)

    def adapted(self, members: Tensor, support: Batch, steps: int | None = None, known: Tensor | None = None) -> Weights:
        """What belongs to each task after `steps` of the inner loop (default: the recipe's), (tasks, ...) each: weights of blocks, with
        what is the member's own and does not move ("features", "given"); or its "embedding"."""
        tasks, steps = len(members), self.recipe.steps if steps is None else steps
        own = {FEATURES: self.features(members), GIVEN: self.given(members, support, known)}
        rest, weighed = self.rest(support), self.weighed(support.mask)
        moved = {name: value.expand(tasks, *value.shape) for name, value in self.shared().items()}
        if self.recipe.adapt == "embedding":
            start = self.model.embedding(self.model.meta(own[FEATURES]) + own[GIVEN])
            if self.recipe.newton:
                return {EMBEDDING: self._newton(start, rest, support, weighed, steps)}
            moved, own = {EMBEDDING: start}, {}
        gradient = vmap(grad(self.support_loss), (0, 0, 0, 0, 0, None if support.grades is None else 0))
        for _ in range(steps):
            found = gradient(moved, own, rest, support.liked, weighed, support.grades)
            if not self.recipe.second_order:
                found = {name: value.detach() for name, value in found.items()}
            moved = {name: value - self.rates[name.replace(".", " ")].exp() * found[name] for name, value in moved.items()}
        if self.recipe.adapt == "embedding":
            moved[EMBEDDING] = self.model.embedding(moved[EMBEDDING])
        return moved | own

    def _newton(self, start: Tensor, rest: Tensor, support: Batch, weighed: Tensor, steps: int) -> Tensor:
        """Embeddings (tasks, size) after so many Newton steps on the sum of support losses plus prior (e - start)^2 / 2."""
        size, score = self.recipe.size, self.model.globals.score
        slope = rest[..., :size] * score.weight[0, -size:] * (1 - self.model.one_of_member)  # d logit / d embedding
        prior = self.rates["prior"].exp()
        offset = self._scored(start, rest) - (slope @ start[..., None])[..., 0]
        found = start
        for _ in range(steps):
            first, second = self._slopes((slope @ found[..., None])[..., 0] + offset, support)
            gradient = (slope * (first * weighed)[..., None]).sum(1) + prior * (found - start)
            curvature = (slope * (second * weighed)[..., None]).mT @ slope + torch.diag(prior)
            step = torch.linalg.solve(curvature, gradient)
            found = found - (step if self.recipe.second_order else step.detach())
        return found

    def support_loss(
        self, moved: Weights, own: Weights, rest: Tensor, liked: Tensor, weighed: Tensor, grades: Tensor | None
    ) -> Tensor:
        """Of one task: the weighed sum of its losses over the sum of weights plus the prior."""
        losses = self.losses(self.task_logits(moved | own, rest), liked, grades)
        return (losses * weighed).sum() / (weighed.sum() + self.recipe.prior)

    def task_logits(self, weights: Weights, rest: Tensor) -> Tensor:
        """Logits of one task (n,)."""
        together = torch.cat([self.embed(weights).expand(len(rest), -1), rest], 1)
        own = {name.removeprefix("globals."): value for name, value in weights.items() if name.startswith("globals.")}
        return functional_call(self.model.globals, own, (together,))[:, 0]

    def embed(self, weights: Weights) -> Tensor:
        """Meta embedding (size,) of one task's weights, or (tasks, size) under vmap."""
        if EMBEDDING in weights:
            return self.model.embedding(weights[EMBEDDING])
        own = {name.removeprefix("meta."): value for name, value in weights.items() if name.startswith("meta.")}
        return self.model.embedding(functional_call(self.model.meta, own, (weights[FEATURES],)) + weights[GIVEN])

    def logits(self, weights: Weights, query: Batch) -> Tensor:
        """Logits of adapted tasks (tasks, n)."""
        if EMBEDDING in weights:
            return self._scored(weights[EMBEDDING], self.rest(query))
        return vmap(self.task_logits)(weights, self.rest(query))

    def _scored(self, embeddings: Tensor, rest: Tensor) -> Tensor:
        """Logits (tasks, n) of embeddings (tasks, size) with what else is read of each interaction (tasks, n, ...)."""
        tasks, count = rest.shape[:2]
        together = torch.cat([embeddings[:, None].expand(-1, count, -1), rest], 2)
        return self.model.globals(together.flatten(0, 1))[:, 0].view(tasks, count)

    @torch.no_grad()
    def embeddings(self, members: np.ndarray, support: Batch, steps: int | None = None) -> Tensor:
        """Meta embeddings (members, size) after adapting to their support sets; `unknown` may be among the members."""
        weights = self.adapted(torch.from_numpy(members), support, steps)
        return self.embed(weights) if EMBEDDING in weights else vmap(self.embed)(weights)

    @torch.no_grad()
    def scores(self, embeddings: Tensor, query: Batch) -> Tensor:
        """Logits (tasks, n) of the global block from stored embeddings (tasks, size)."""
        return self._scored(embeddings, self.rest(query))


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
    after: Callable[[int, float], None] = lambda epoch, loss: None, prepare: Callable[[Learner], None] = lambda _: None,
    base: str = "",
) -> Learner:  # fmt: skip
    """A learner meta-trained on each member's interactions before row `ends`[member]; same seed, same bits.

    With `checkpoint`, progress is kept after each epoch and a later call of the same settings goes on from there. after(epoch,
    mean loss) is told; prepare(learner) before the first; base: the version of another network that it begins from. Raises
    TrainingError where the checkpoint belongs to another training.
    """
    if recipe.wide:
        raise TrainingError("meta.wide is of networks that are trained the ordinary way")
    learner = Learner.build(tables, recipe, seed)
    prepare(learner)
    learner.seen = torch.from_numpy(ends > tables.firsts[:-1])
    generator = torch.Generator().manual_seed(seed)
    count = len(stretches(tables, ends, recipe, torch.Generator().manual_seed(seed)))
    most = recipe.epochs * (-(-count // recipe.tasks) + 2)  # the number of tasks differs a little from epoch to epoch

    def steps(epoch: int) -> Iterator[Tensor]:
        for tasks in _batches(stretches(tables, ends, recipe, generator), recipe.tasks, generator):
            members = torch.from_numpy(tasks[:, 0])
            known = torch.rand(len(tasks), generator=generator) >= recipe.id_dropout
            weights = learner.adapted(members, tables.batch(tasks[:, 1], tasks[:, 2]), known=known)
            query = tables.batch(tasks[:, 2], tasks[:, 3])
            losses = learner.losses(learner.logits(weights, query), query.liked, query.grades)
            yield ((losses + squares(learner, members[:, None], query.items)) * query.mask).sum() / query.mask.sum()

    _train(learner, steps, most, generator, _identity(tables, ends, recipe, seed, "meta", base), checkpoint, after)
    return learner


def train(
    tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int = 0, checkpoint: Path | None = None,
    after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Learner:  # fmt: skip
    """The same network trained the ordinary way, every interaction by itself; see `meta_train`."""
    learner = Learner.build(tables, recipe, seed)
    learner.seen = torch.from_numpy(ends > tables.firsts[:-1])
    rows = torch.from_numpy(np.flatnonzero(np.arange(len(tables.items)) < ends[tables.data.user]))
    generator = torch.Generator().manual_seed(seed)

    def loss(chosen: Tensor) -> Tensor:
        known = torch.rand(len(chosen), generator=generator) >= recipe.id_dropout
        losses = learner.losses(_plain_logits(learner, tables, chosen, known), tables.liked[chosen], tables.grades(chosen))
        return (losses + squares(learner, tables.members[chosen], tables.items[chosen])).mean()

    fit_by(learner, loss, rows, tables, ends, recipe, seed, "ordinary", checkpoint, after, generator)
    return learner


def fit_by(
    network: nn.Module, loss: Callable[[Tensor], Tensor], rows: Tensor, tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int,
    kind: str, checkpoint: Path | None = None, after: Callable[[int, float], None] = lambda epoch, loss: None,
    generator: torch.Generator | None = None, base: str = "",
) -> None:  # fmt: skip
    """Train a network (with a `recipe`, a `model`, `rates` and `seconds`) on a loss of rows of the tables, `recipe.batch` at once in
    random order; see `meta_train`. generator: of order, where the loss draws from it too; base: the version of another network that it
    stands on."""
    generator = generator or torch.Generator().manual_seed(seed)

    def steps(epoch: int) -> Iterator[Tensor]:
        for chosen in rows[torch.randperm(len(rows), generator=generator)].split(recipe.batch):
            yield loss(chosen)

    most = recipe.epochs * -(-len(rows) // recipe.batch)
    _train(network, steps, most, generator, _identity(tables, ends, recipe, seed, kind, base), checkpoint, after)


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


def squares(learner: Learner, members: Tensor, items: Tensor) -> Tensor:
    """l2 times the squares of what the tables hold for these members and items, by interaction."""
    model, found, own = learner.model, torch.zeros(items.shape), learner.recipe.l2_members
    for table, rows, weight in (
        (model.item, items, learner.recipe.l2), (model.meta.history, items, learner.recipe.l2), (model.wide_item, items, learner.recipe.l2),
        (model.meta.identity, members, own), (model.wide_member, members, own),
    ):  # fmt: skip
        if table is not None and weight:
            found = found + weight * table(rows).square().sum(-1)
    return found


def _batches(tasks: np.ndarray, size: int, generator: torch.Generator) -> list[np.ndarray]:
    """Tasks in random order, those of similar support together, so that little of a batch is padding."""
    tasks = tasks[torch.randperm(len(tasks), generator=generator).numpy()]
    found = []
    for pool in (tasks[begin : begin + 8 * size] for begin in range(0, len(tasks), 8 * size)):
        pool = pool[np.argsort(pool[:, 2] - pool[:, 1], kind="stable")]
        found += [pool[begin : begin + size] for begin in range(0, len(pool), size)]
    return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]


def _train(
    learner: Any, steps: Callable[[int], Iterator[Tensor]], most: int, generator: torch.Generator, identity: dict[str, Any],
    checkpoint: Path | None, after: Callable[[int, float], None],
) -> None:  # fmt: skip
    """AdamW under a one-cycle rate on the losses that `steps` makes, epoch by epoch, resumable."""
    recipe = learner.recipe
    tables = {id(each.weight) for each in learner.modules() if isinstance(each, nn.Embedding)}
    groups = [
        {"params": [each for each in learner.model.parameters() if id(each) not in tables and each.requires_grad]},
        {"params": list(learner.rates.parameters()), "weight_decay": 0.0},
        {"params": [each for each in learner.model.parameters() if id(each) in tables and each.requires_grad], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    rates = [recipe.learning_rate, RATE_OF_RATES * recipe.learning_rate, recipe.learning_rate]
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


def _identity(tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int, kind: str, base: str) -> dict[str, Any]:
    """What a training depends on, by names for a message; base: the version of the network that it stands on, where it stands on one."""
    told = {"kind": kind, "recipe": repr(asdict(recipe)), "seed": seed, "data": tables.data.digest,
            "training rows": hashlib.sha256(ends.tobytes()).hexdigest()}  # fmt: skip
    return told | ({"base": base} if base else {})

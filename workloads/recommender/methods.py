"""Ways to rank for members, by name: what each is, how it learns, how it scores. All see the same interactions, labels and features.

`fit` trains one on what comes before a row of each member; what it returns scores any interactions from what lay before them. Recipes are
the best that results/recommender/search.py found on validation interactions of MovieLens-100K, in as many processor seconds for each
method, but for two things tried by hand on LiMAML alone: its hidden layers, of which the script's best has none (a mean of AUC and GAUC
0.0002 higher on the same interactions), so that features and time reach the score; and three networks in place of one, which all have.
What is of the style of a publication has its idea, not its sizes, and none of its code.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xbar.workloads.recommender.committee import part_of, together
from xbar.workloads.recommender.learning import (
    CONTEXT,
    Learner,
    MetaRecipe,
    Tables,
    fit_by,
    meta_train,
    plain_scores,
    train,
)
from xbar.workloads.training import TrainingError

METHODS: dict[str, str] = {
    "meta": "LiMAML: meta embeddings, adapted by an inner loop",
    "unadapted": "the same network without any inner step",
    "popularity": "share of members that like the item",
    "global": "no personalisation: features of member and item",
    "residual": "wide and deep, and one number a member fitted to its history",
    "wide_deep": "wide and deep, ID embeddings (Cheng et al. 2016)",
    "mf": "matrix factorisation with biases and features (Koren et al. 2009)",
    "din": "attention over the history (DIN, Zhou et al. 2018, in style)",
    "melu": "MAML on the deciding layers (MeLU, Lee et al. 2019, in style)",
    "metaemb": "factorisation, embeddings from a learned start (MetaEmb, Pan et al. 2019, in style)",
    "mwuf": "factorisation, embeddings scaled and shifted (MWUF, Zhu et al. 2021, in style)",
}
NETWORKS = 3  # of every method
META = MetaRecipe(networks=NETWORKS, size=54, hidden=(96, 48))
_ORDINARY = MetaRecipe(
    epochs=8, adapt="meta", newton=False, product=False, learning_rate=6e-3, id_dropout=0.0, networks=NETWORKS
)
RECIPES: dict[str, MetaRecipe] = {
    "meta": META,
    "global": replace(_ORDINARY, members=False, hidden=(128, 64), l2_members=0.01),
    "wide_deep": replace(_ORDINARY, wide=True, size=32, l2_members=0.03),
    "mf": replace(_ORDINARY, product=True, hidden=(), epochs=15, size=10, l2=0.01, l2_members=0.01, learning_rate=9e-3),
    "din": replace(_ORDINARY, size=16, support=20, epochs=5, l2=0.01),
    "melu": replace(_ORDINARY, members=False, adapt="globals", support=32, steps=2, epochs=5, inner_rate=0.1, weight_decay=1.0),
    "metaemb": replace(
        _ORDINARY, members=False, product=True, hidden=(), adapt="embedding", support=128, steps=3, epochs=2, inner_rate=3.0,
        learning_rate=3e-3,
    ),
    "mwuf": replace(_ORDINARY, product=True, hidden=(), epochs=2, learning_rate=1e-3, weight_decay=1.0, support=20),
}  # fmt: skip
OF = {"unadapted": "meta", "residual": "wide_deep"}  # methods that take another one's network
BASED = {"metaemb": "mf", "mwuf": "mf"}  # methods that are learned on top of another one's network, which stays as it is
RESIDUAL_PRIOR = 3.0  # interactions that the zero of the residual number counts as
POPULARITY_PRIOR = 5.0  # interactions that the mean share counts as
TASKS_AT_ONCE = 64


@dataclass(frozen=True)
class Fitted:
    """A method after training. seconds: that it took, with those of a network that it stands on (`BASED`); learner: its network, where it
    has one of `Learner`'s kind."""

    name: str
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray] = field(repr=False)
    seconds: float
    learner: Learner | None = field(repr=False)

    def score(self, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Logits (n,) of the interactions in `rows` (n,) from each member's interactions before row `ends` (n,). Raises TrainingError
        where those would hold the interaction that is scored, or a later one."""
        check_ends(rows, ends)
        return self.scores(rows, ends)


def check_ends(rows: np.ndarray, ends: np.ndarray) -> None:
    """Raise TrainingError where a history would hold the interaction that is scored, or a later one."""
    if (ends > rows).any():
        raise TrainingError(f"a support set ends at row {ends[ends > rows][0]}, after the interaction that is scored")


def fit(
    name: str, tables: Tables, ends: np.ndarray, seed: int, recipe: MetaRecipe | None = None, kept: Path | None = None,
    trained: dict[tuple[str, int], nn.Module] | None = None,
) -> Fitted:  # fmt: skip
    """The method `name` (of METHODS), trained on each member's interactions before row `ends`[member].

    recipe: RECIPES' unless given; kept: a folder of checkpoints; trained: networks by method and seed, used again where a method takes
    another's. The networks of a recipe of several have seeds `seed` times their number and on.
    """
    of = OF.get(name, name)
    recipe = recipe or RECIPES.get(of, META)
    trained = {} if trained is None else trained
    if name == "popularity":
        return Fitted(name, _popularity(tables, ends), 0.0, None)
    seeds = range(seed * recipe.networks, (seed + 1) * recipe.networks)
    if recipe.networks > 1 and not recipe.newton:
        each = [fit(name, tables, ends, one, replace(recipe, networks=1), kept, trained) for one in seeds]
        return Fitted(name, lambda rows, before: _mean_score(each, rows, before), sum(one.seconds for one in each), None)
    base = fit(BASED[of], tables, ends, seed, replace(RECIPES[BASED[of]], networks=1), kept, trained) if of in BASED else None
    below = None if base is None else base.learner
    if (of, seed) not in trained:
        place = _place(kept, of, seed, recipe, "" if below is None else below.version)
        if of == "din":
            trained[of, seed] = _din(tables, ends, recipe, seed, place)
        elif below is not None:
            made = _from_base if of == "metaemb" else _warmed
            trained[of, seed] = made(below, tables, ends, recipe, seed, place)
        elif recipe.networks > 1:
            parts = [meta_train(tables, ends, part_of(recipe), one, _place(kept, of, one, part_of(recipe))) for one in seeds]
            trained[of, seed] = together(parts, tables, recipe)
        else:
            learn = meta_train if of in ("meta", "melu") else train
            trained[of, seed] = learn(tables, ends, recipe, seed, place)
    network = trained[of, seed].eval()
    seconds = float(network.seconds) + (0.0 if base is None else base.seconds)  # type: ignore[arg-type]
    if isinstance(network, (DeepInterest, Warmed)):
        return Fitted(name, lambda rows, before: network.scores(tables, rows, before), seconds, None)
    assert isinstance(network, Learner)
    if name in ("meta", "unadapted", "melu", "metaemb"):
        steps = 0 if name == "unadapted" else None
        return Fitted(name, lambda rows, before: adapted_scores(network, tables, rows, before, steps=steps), seconds, network)
    if name == "residual":
        return Fitted(name, lambda rows, before: _residual(network, tables, rows, before), seconds, network)
    return Fitted(name, lambda rows, before: plain_scores(network, tables, rows), seconds, network)


def _mean_score(each: list[Fitted], rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.asarray(sum(one.scores(rows, ends) for one in each) / len(each))


def _place(kept: Path | None, name: str, seed: int, recipe: MetaRecipe, base: str = "") -> Path | None:
    """The checkpoint of that training, a name of its own for every recipe, and for every network that it may stand on."""
    told = hashlib.sha256(f"{recipe!r}{base}".encode()).hexdigest()[:8]
    return None if kept is None else kept / f"{name}-{told}-{seed}.checkpoint"


def tasks_of(tables: Tables, rows: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Different pairs of member and end (tasks, 2), which of them each interaction has (n,), and tasks from the shortest history on."""
    members = tables.data.user[rows]
    tasks, task_of = np.unique(np.stack([members, ends], 1), axis=0, return_inverse=True)
    return tasks, task_of, np.argsort(tasks[:, 1] - tables.firsts[tasks[:, 0]], kind="stable")


def adapted_scores(
    learner: Learner, tables: Tables, rows: np.ndarray, ends: np.ndarray, most: int | None = None, steps: int | None = None
) -> np.ndarray:
    """Logits of the interactions in `rows` (n,), each member adapted to its last `most` interactions (default: as many as in training)
    before row `ends` (n,).

    Interactions of one member and one end share an adaptation. Raises TrainingError where a support set would hold the
    interaction that is scored, or a later one.
    """
    check_ends(rows, ends)
    if learner.recipe.adapt != "globals":
        embeddings, task_of = adapted_embeddings(learner, tables, rows, ends, most, steps)
        parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // 20000))
        return np.concatenate([
            learner.scores(embeddings[task_of[part]], tables.batch(rows[part], rows[part] + 1))[:, 0].numpy() for part in parts
        ])  # fmt: skip
    most = learner.recipe.support if most is None else most
    tasks, task_of, order = tasks_of(tables, rows, ends)
    scores, by_task = np.zeros(len(rows)), np.argsort(task_of, kind="stable")
    begins = np.searchsorted(task_of[by_task], np.arange(len(tasks) + 1))
    with torch.no_grad():
        for some in _chunks(order):
            weights = learner.adapted(torch.from_numpy(tasks[some, 0]), tables.support(tasks[some, 0], tasks[some, 1], most), steps)
            for index, task in enumerate(some):  # the global block is the member's own
                chosen = by_task[begins[task] : begins[task + 1]]
                own = {name: value[index] for name, value in weights.items()}
                scores[chosen] = learner.task_logits(own, learner.rest(tables.batch(rows[chosen], rows[chosen] + 1))[:, 0])
    return scores


def adapted_embeddings(
    learner: Learner, tables: Tables, rows: np.ndarray, ends: np.ndarray, most: int | None = None, steps: int | None = None
) -> tuple[Tensor, np.ndarray]:
    """Meta embeddings (tasks, size), one for each pair of member and end among `rows` and `ends`, and which of them each row has (n,)."""
    most = learner.recipe.support if most is None else most
    tasks, task_of, order = tasks_of(tables, rows, ends)
    embeddings = torch.zeros(len(tasks), learner.recipe.size)
    for some in _chunks(order):
        support = tables.support(tasks[some, 0], tasks[some, 1], most)
        embeddings[some] = learner.embeddings(tasks[some, 0], support, steps)
    return embeddings, task_of


def _chunks(order: np.ndarray) -> Iterator[np.ndarray]:
    return (order[begin : begin + TASKS_AT_ONCE] for begin in range(0, len(order), TASKS_AT_ONCE))


# ---- without a network of its own


def _popularity(tables: Tables, ends: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Logit of each item's share of likes, drawn towards the share of all."""
    data = tables.data
    before = np.arange(len(data)) < ends[data.user]
    mean = data.liked[before].mean()
    counts = np.bincount(data.item[before], minlength=data.items)
    liked = np.bincount(data.item[before], data.liked[before], minlength=data.items)
    share = (liked + POPULARITY_PRIOR * mean) / (counts + POPULARITY_PRIOR)
    return lambda rows, _: np.log(share / (1 - share))[data.item[rows]]


def _residual(
    learner: Learner, tables: Tables, rows: np.ndarray, ends: np.ndarray, prior: float = RESIDUAL_PRIOR, steps: int = 5
) -> np.ndarray:
    """Logits with one number added, which minimises the member's log loss before row `ends` plus prior/4 of its square (a
    Bernoulli's curvature at one half), by Newton's steps."""
    tasks, task_of, order = tasks_of(tables, rows, ends)
    found = torch.zeros(len(tasks))
    plain = torch.from_numpy(plain_scores(learner, tables, np.arange(len(tables.items))))
    for some in _chunks(order):
        begins = torch.from_numpy(tables.firsts[tasks[some, 0]])[:, None]
        places = begins + torch.arange(int((tasks[some, 1] - begins[:, 0].numpy()).max(initial=1)))
        mask = places < torch.from_numpy(tasks[some, 1])[:, None]
        places = places.clamp(max=len(plain) - 1)
        own = torch.zeros(len(some))
        for _ in range(steps):
            likely = torch.sigmoid(plain[places] + own[:, None])
            first = ((likely - tables.liked[places]) * mask).sum(1) + prior / 4 * own
            own = own - first / (((likely * (1 - likely)) * mask).sum(1) + prior / 4)
        found[some] = own
    return plain.numpy()[rows] + found.numpy()[task_of]


# ---- with one of its own


class DeepInterest(nn.Module):
    """Attention over what a member met, by the candidate: a small network weighs each earlier item, seen with its label, beside the
    candidate; the weighed sum goes through hidden layers with candidate, member and context."""

    def __init__(self, tables: Tables, recipe: MetaRecipe):
        super().__init__()
        self.recipe, self.seconds, size = recipe, 0.0, recipe.size
        self.rates = nn.ParameterDict()
        member, item = tables.member_features.shape[1], tables.item_features.shape[1]
        self.model = nn.ModuleDict({
            "item": nn.Embedding(tables.data.items, size), "bias": nn.Embedding(tables.data.items, 1), "tower": nn.Linear(item, size),
            "label": nn.Embedding(2, size), "weight": nn.Sequential(nn.Linear(3 * size, 16), nn.Sigmoid(), nn.Linear(16, 1)),
            "deep": nn.Sequential(nn.Linear(3 * size + member + item + len(CONTEXT), recipe.hidden[0]), nn.ReLU(),
                                  nn.Linear(*recipe.hidden), nn.ReLU(), nn.Linear(recipe.hidden[1], 1)),
        })  # fmt: skip
        nn.init.normal_(self.model["item"].weight, std=0.1)  # type: ignore[arg-type]
        nn.init.normal_(self.model["label"].weight, std=0.1)  # type: ignore[arg-type]
        nn.init.zeros_(self.model["bias"].weight)  # type: ignore[arg-type]

    def forward(self, tables: Tables, rows: Tensor, ends: Tensor) -> Tensor:
        """Logits (n,) of interactions, the last `support` of each member before its end as history."""
        model, count = self.model, self.recipe.support
        begins = torch.from_numpy(tables.firsts)[tables.members[rows]]
        places = ends[:, None] - 1 - torch.arange(count)  # (n, history), the latest first
        mask = (places >= begins[:, None]).float()
        places = places.clamp(min=0)
        vectors = model["item"].weight + model["tower"](tables.item_features)
        met = vectors[tables.items[places]] + model["label"](tables.liked[places].long())  # (n, history, size)
        asked = vectors[tables.items[rows]]
        beside = asked[:, None].expand_as(met)
        weights = model["weight"](torch.cat([met, beside, met * beside], 2))[..., 0] * mask
        taste = (weights[..., None] * met).sum(1) / (mask.sum(1, keepdim=True) + 1).sqrt()
        together = [taste, asked, taste * asked, tables.member_features[tables.members[rows]], tables.item_features[tables.items[rows]],
                    tables.context[rows]]  # fmt: skip
        return model["deep"](torch.cat(together, 1))[:, 0] + model["bias"](tables.items[rows])[:, 0]

    @torch.no_grad()
    def scores(self, tables: Tables, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Logits (n,) as float64."""
        parts = zip(torch.from_numpy(rows).split(4000), torch.from_numpy(ends).split(4000), strict=True)
        return torch.cat([self(tables, *part) for part in parts]).numpy().astype(float)


def _rows_before(tables: Tables, ends: np.ndarray) -> Tensor:
    return torch.from_numpy(np.flatnonzero(np.arange(len(tables.items)) < ends[tables.data.user]))


def _din(tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int, place: Path | None) -> DeepInterest:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DeepInterest(tables, recipe)
    judge = Learner.build(tables, recipe, seed)  # whose loss is of the labels that all learn from
    network.rates = judge.rates

    def loss(chosen: Tensor) -> Tensor:
        losses = judge.losses(network(tables, chosen, chosen), tables.liked[chosen], tables.grades(chosen))
        vectors = network.model["item"].weight[tables.items[chosen]]  # type: ignore[index]
        return (losses + recipe.l2 * vectors.square().sum(1)).mean()

    fit_by(network, loss, _rows_before(tables, ends), tables, ends, recipe, seed, "din", place)
    return network


def _from_base(
    base: Learner, tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int, place: Path | None
) -> Learner:
    """Meta-learned where the embedding of a member begins, from its features, and how fast it goes; all else is the base's and frozen."""
    recipe, version = replace(recipe, size=base.recipe.size), base.version

    def frozen(learner: Learner) -> None:
        for name in ("item", "item_tower", "globals"):
            getattr(learner.model, name).load_state_dict(getattr(base.model, name).state_dict())
            getattr(learner.model, name).requires_grad_(False)

    return meta_train(tables, ends, recipe, seed, place, prepare=frozen, base=version)


class Warmed(nn.Module):
    """A factorisation whose members' vectors are scaled by their features and shifted by what they met; all else is its own and frozen."""

    def __init__(self, base: Learner, recipe: MetaRecipe):
        super().__init__()
        size = base.recipe.size
        self.recipe, self.seconds, self.rates = recipe, 0.0, base.rates
        self.base = [base]  # no part of what is trained or kept
        self.model = nn.ModuleDict({"scale": nn.Linear(base.member_features.shape[1], size), "shift": nn.Linear(size, size)})
        for layer in self.model.values():
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, tables: Tables, rows: Tensor, ends: Tensor) -> Tensor:
        """Logits (n,); the mean of the last `support` items before each end shifts."""
        base, members = self.base[0], tables.members[rows]
        places = ends[:, None] - 1 - torch.arange(self.recipe.support)
        mask = (places >= torch.from_numpy(tables.firsts)[members][:, None]).float()
        with torch.no_grad():
            own = base.model.meta(base.member_features[members], base.ids(members))
            met = base.item_vectors()[tables.items[places.clamp(min=0)]]
            mean = (met * mask[..., None]).sum(1) / (mask.sum(1, keepdim=True) + 1)
            rest = base.model.rest(tables.items[rows], base.item_features[tables.items[rows]], tables.context[rows])
        warm = own * (1 + self.model["scale"](base.member_features[members])) + self.model["shift"](mean)
        return base.model.globals(torch.cat([base.model.embedding(warm), rest], 1))[:, 0]

    scores = DeepInterest.scores


def _warmed(base: Learner, tables: Tables, ends: np.ndarray, recipe: MetaRecipe, seed: int, place: Path | None) -> Warmed:
    network = Warmed(base, replace(recipe, size=base.recipe.size))
    base.requires_grad_(False)

    def loss(chosen: Tensor) -> Tensor:
        return base.losses(network(tables, chosen, chosen), tables.liked[chosen], tables.grades(chosen)).mean()

    fit_by(network, loss, _rows_before(tables, ends), tables, ends, recipe, seed, "mwuf", place, base=base.version)
    return network

"""How well members are ranked for: AUC, per-user GAUC, NDCG@10, their bands by bootstrap over users, methods in pairs.

AUC: share of pairs of a liked and another interaction, of any users, that the scores put in order (ties half). GAUC: AUC
within each user, weighted by the user's interactions; users of one class only have none and are counted. NDCG@10: of each
user's interactions ranked by score, liked ones of gain 1 (Jarvelin and Kekalainen 2002), users without a liked one left out.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
import torch

from xbar.workloads.data import DataError
from xbar.workloads.recommender.interactions import HOUR, Interactions
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables, meta_train, plain_scores, train
from xbar.workloads.training import TrainingError

COLD = 25  # interactions before the test ones, at most, of a user that is called cold
RANKED = 10
RESAMPLES = 1000
BAND = (2.5, 97.5)  # percentiles of the bootstrap
METRICS = ("auc", "gauc", "ndcg")
META = MetaRecipe()
METHODS: dict[str, str] = {
    "meta": "meta embeddings (MAML on the meta block)",
    "unadapted": "the same network without any inner step",
    "global": "no personalisation",
    "wide_deep": "wide and deep, ID embeddings",
    "fine_tuned": "no personalisation, then fine-tuned a member",
    "maml_all": "MAML on the whole network",
}
TASKS_AT_ONCE = 64
VALUES_AT_ONCE = 4_000_000  # of weights in a bootstrap


class Ranking:
    """Scores of interactions, and what any bootstrap of users makes of them. user: int64 (n,); liked: bool (n,); score: (n,)."""

    def __init__(self, user: np.ndarray, liked: np.ndarray, score: np.ndarray):
        if not (len(user) == len(liked) == len(score) > 0) or not np.isfinite(score).all():
            raise TrainingError(
                f"a ranking needs as many users, labels and finite scores; got {len(user)}, {len(liked)}, {len(score)}"
            )
        order = np.argsort(user, kind="stable")
        self.users, counts = np.unique(user, return_counts=True)
        self.liked, self.score = np.asarray(liked, bool)[order], np.asarray(score, float)[order]
        self.counts = counts
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.positives = np.add.reduceat(self.liked.astype(float), self.first[:-1])
        self.negatives = counts - self.positives

    @cached_property
    def _ties(self) -> tuple[np.ndarray, np.ndarray]:
        """Interactions from the lowest score to the highest, and where each run of equal scores begins."""
        order = np.argsort(self.score, kind="stable")
        ordered = self.score[order]
        return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def _auc(self, weights: np.ndarray) -> np.ndarray:
        """AUC for each row of weights of the users (resamples, users): the share of pairs in order, ties half."""
        order, begins = self._ties
        owner = np.repeat(np.arange(len(self.users)), self.counts)[order]
        liked = self.liked[order]
        found = []
        for some in np.array_split(weights, max(1, len(weights) * len(order) // VALUES_AT_ONCE)):
            each = some[:, owner]  # (resamples, interactions)
            liked_here = np.add.reduceat(each * liked, begins, axis=1)
            others_here = np.add.reduceat(each * ~liked, begins, axis=1)
            below = np.cumsum(others_here, axis=1) - others_here / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append((liked_here * below).sum(1) / (liked_here.sum(1) * others_here.sum(1)))
        return np.concatenate(found)

    @cached_property
    def auc_of_users(self) -> np.ndarray:
        """AUC within each user; nan where it has one class only."""
        found = np.full(len(self.users), np.nan)
        for index, (begin, end) in enumerate(pairwise(self.first)):
            if self.positives[index] and self.negatives[index]:
                ranks = scipy.stats.rankdata(self.score[begin:end])[self.liked[begin:end]]
                p, n = self.positives[index], self.negatives[index]
                found[index] = (ranks.sum() - p * (p + 1) / 2) / (p * n)  # Mann and Whitney's U
        return found

    @cached_property
    def ndcg_of_users(self) -> np.ndarray:
        """NDCG@10 of each user; nan without a liked one."""
        found = np.full(len(self.users), np.nan)
        discount = 1 / np.log2(np.arange(2, RANKED + 2))
        for index, (begin, end) in enumerate(pairwise(self.first)):
            if self.positives[index]:
                best = np.argsort(-self.score[begin:end], kind="stable")[:RANKED]
                gained = (self.liked[begin:end][best] * discount[: len(best)]).sum()
                found[index] = gained / discount[: int(min(self.positives[index], RANKED))].sum()
        return found

    def metrics(self, weights: np.ndarray | None = None) -> pd.DataFrame:
        """auc, gauc, ndcg for each row of `weights`, how often each user is in (resamples, users); without them, once each."""
        weights = np.ones((1, len(self.users))) if weights is None else weights
        both, ranked = np.isfinite(self.auc_of_users), np.isfinite(self.ndcg_of_users)
        with np.errstate(invalid="ignore", divide="ignore"):
            return pd.DataFrame({
                "auc": self._auc(weights),
                "gauc": (weights @ (np.nan_to_num(self.auc_of_users) * self.counts)) / (weights @ (both * self.counts)),
                "ndcg": (weights @ np.nan_to_num(self.ndcg_of_users)) / (weights @ ranked),
            })  # fmt: skip


def resamples(users: int, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each user is drawn in each bootstrap resample, float64 (count, users)."""
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), count).astype(float)


def _band(values: np.ndarray) -> tuple[float, float]:
    """Percentiles BAND of those that are known, not a number where none is: of few users a resample may have no metric."""
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, BAND) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def table(
    rankings: dict[str, list[Ranking]], chosen: np.ndarray | None = None, reference: str = "meta", seed: int = 0
) -> pd.DataFrame:
    """One row a method and metric: mean over seeds, its band by bootstrap over users, the spread over seeds, and the reference's lead
    with its band, paired by user and seed. rankings: by method, one a seed, all of the same users; chosen: bool (users,).
    """
    first = next(iter(rankings.values()))[0]
    part = np.ones(len(first.users), bool) if chosen is None else chosen
    weights = np.zeros((RESAMPLES, len(part)))
    weights[:, part] = resamples(int(part.sum()), seed=seed)
    point = {name: [r.metrics(part[None].astype(float)) for r in each] for name, each in rankings.items()}
    drawn = {name: sum(r.metrics(weights) for r in each) / len(each) for name, each in rankings.items()}
    rows = []
    for name, each in point.items():
        for metric in METRICS:
            values = np.array([float(one[metric].iloc[0]) for one in each])
            best = np.array([float(one[metric].iloc[0]) for one in point[reference]])
            lead = drawn[reference][metric] - drawn[name][metric]
            low, high = _band(drawn[name][metric])
            lead_low, lead_high = _band(lead)
            rows.append({
                "method": name, "metric": metric, "mean": values.mean(), "low": low, "high": high,
                "seeds": len(values), "seed_std": values.std(ddof=1) if len(values) > 1 else np.nan, "lead": (best - values).mean(),
                "lead_low": lead_low, "lead_high": lead_high, "users": int(part.sum()),
            })  # fmt: skip
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Split:
    """Which interactions are for what. train_ends, test_begins: int64 (users,), the first row of each user that is not for training,
    that is for test; what lies between is for validation. ends: where each user's rows end."""

    tables: Tables
    train_ends: np.ndarray
    test_begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, data: Interactions, parts: np.ndarray) -> "Split":
        """From 0, 1, 2 (training, validation, test) for each interaction, in order within each user."""
        tables = Tables(data)
        counts = [np.bincount(data.user[parts == part], minlength=data.users) for part in (0, 1)]
        return cls(
            tables, tables.firsts[:-1] + counts[0], tables.firsts[:-1] + counts[0] + counts[1], tables.firsts[1:]
        )

    @property
    def test_rows(self) -> np.ndarray:
        """Rows of the test interactions."""
        rows = np.arange(len(self.tables.items))
        return rows[rows >= self.test_begins[self.tables.data.user]]

    @property
    def support(self) -> np.ndarray:
        """Interactions of each user before its test ones."""
        return self.test_begins - self.tables.firsts[:-1]


def adapted_scores(
    learner: Learner,
    tables: Tables,
    rows: np.ndarray,
    ends: np.ndarray,
    most: int | None = None,
    steps: int | None = None,
) -> np.ndarray:
    """Logits of the interactions in `rows` (n,), each member adapted to its last `most` interactions (default: as many as in training)
    before row `ends` (n,).

    Interactions of one member and one end share an adaptation. Raises TrainingError where a support set would hold the
    interaction that is scored, or a later one.
    """
    if (ends > rows).any():
        raise TrainingError(f"a support set ends at row {ends[ends > rows][0]}, after the interaction that is scored")
    most = learner.recipe.support if most is None else most
    members = tables.data.user[rows]
    tasks, task_of = np.unique(np.stack([members, ends], 1), axis=0, return_inverse=True)
    order = np.argsort(tasks[:, 1] - tables.firsts[tasks[:, 0]], kind="stable")
    embeddings = torch.zeros(len(tasks), learner.recipe.size)
    scores = np.zeros(len(rows))
    by_task = np.argsort(task_of, kind="stable")
    begins = np.searchsorted(task_of[by_task], np.arange(len(tasks) + 1))
    for some in (order[begin : begin + TASKS_AT_ONCE] for begin in range(0, len(order), TASKS_AT_ONCE)):
        support = tables.support(tasks[some, 0], tasks[some, 1], most)
        if learner.recipe.adapt == "meta":
            embeddings[some] = learner.embeddings(tasks[some, 0], support, steps)
            continue
        with torch.no_grad():
            weights = learner.adapted(learner.inputs(torch.from_numpy(tasks[some, 0])), support, steps)
            for index, task in enumerate(some):  # the whole network is the member's own
                own = {name: value[index] for name, value in weights.items()}
                chosen = by_task[begins[task] : begins[task + 1]]
                query = tables.batch(rows[chosen], rows[chosen] + 1)
                scores[chosen] = learner.task_logits(own, learner.rest(query)[:, 0])
    if learner.recipe.adapt == "meta":
        query = tables.batch(rows, rows + 1)
        scores = learner.scores(embeddings[task_of], query)[:, 0].numpy()
    return scores


@dataclass(frozen=True)
class Grid:
    """What is tried on validation interactions for the methods that are compared with: epochs and weight decay of ordinary training, and
    steps and rate of fine-tuning a member's meta block of a network that was not meta-learned."""

    epochs: tuple[int, ...] = (8, 12)
    decays: tuple[float, ...] = (0.1, 1.0)
    steps: tuple[int, ...] = (1, 3, 10)
    rates: tuple[float, ...] = (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Chosen:
    """What of it was best, by method: recipes of ordinary training; steps and rate of fine-tuning."""

    recipes: dict[str, MetaRecipe]
    fine_tuning: tuple[int, float]

    def told(self) -> dict[str, str]:
        """By method, in words."""
        words = {
            name: f"{each.epochs} epochs, weight decay {each.weight_decay:g}" for name, each in self.recipes.items()
        }
        return words | {"fine_tuned": f"{self.fine_tuning[0]} steps at a rate of {self.fine_tuning[1]:g}"}


def fine_tuned(learner: Learner, rate: float) -> Learner:
    """The same network with that inner rate of every tensor."""
    found = Learner(
        learner.model, replace(learner.recipe, inner_rate=rate), learner.member_features, learner.item_features
    )
    return found.eval()


@dataclass(frozen=True)
class QualityStudy:
    """What was found. rankings: of the test interactions, by method and seed; learners: the meta-learned one of each seed; seconds: of
    training, by method, the mean over seeds; settings: what validation chose."""

    split: Split
    rankings: dict[str, list[Ranking]] = field(repr=False)
    learners: list[Learner] = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def tables(self) -> pd.DataFrame:
        """`table` of all users, of cold and of warm ones; column users_are."""
        cold = (self.split.support <= COLD)[next(iter(self.rankings.values()))[0].users]
        parts = {"all": None, "cold": cold, "warm": ~cold}
        found = [
            table(self.rankings, part).assign(users_are=name)
            for name, part in parts.items()
            if part is None or part.any()
        ]
        return pd.concat(found, ignore_index=True)


def study_quality(
    data: Interactions, parts: np.ndarray, seeds: int, recipe: MetaRecipe, kept: Path | None = None,
    step: Callable[[str], None] = lambda _: None, methods: tuple[str, ...] = tuple(METHODS), workers: int = 1, first: int = 0,
) -> QualityStudy:  # fmt: skip
    """Train every method with every seed on what comes before the test interactions, and rank these.

    All methods learn from training and validation interactions; settings of those that are compared with are chosen on validation
    (`Grid`), by the first seed's networks trained on training interactions alone. kept: a folder for trained networks, used
    again by a later call. workers: processes that share the seeds, each with one thread; the outcome is the same whatever
    their number. first: the first of the seeds. Raises DataError where too little is left to train on or to rank.
    """
    if seeds < 1 or workers < 1 or "meta" not in methods or set(methods) - set(METHODS):
        raise TrainingError(f"needs 1 seed and worker or more, and methods of {', '.join(METHODS)}, meta among them")
    split = Split.of(data, parts)
    _check_split(data, split)
    with one_thread():
        chosen = _choose(split, recipe, methods, Grid(), first, kept)
    jobs = (joblib.delayed(_one_seed)(split, first + seed, recipe, methods, chosen, kept) for seed in range(seeds))
    found = []
    for seed, result in enumerate(joblib.Parallel(n_jobs=min(workers, seeds), return_as="generator")(jobs)):
        found.append(result)
        step(f"quality: {seed + 1} of {seeds} seeds trained and ranked")
    rankings = {name: [ranking[name] for ranking, _, _ in found] for name in methods}
    means = {name: float(np.mean([seconds[name] for _, _, seconds in found])) for name in methods}
    return QualityStudy(split, rankings, [learner for _, learner, _ in found], means, chosen.told())


def _check_split(data: Interactions, split: Split) -> None:
    """Raise DataError unless there is something to learn from and something to rank."""
    test, trained = data.liked[split.test_rows], data.liked[np.arange(len(data)) < split.test_begins[data.user]]
    users = len(np.unique(data.user[split.test_rows]))
    for what, labels in (("before the test interactions", trained), ("among the test interactions", test)):
        if not len(labels) or labels.all() or not labels.any():
            raise DataError(
                f"{data.name}: needs liked and other interactions {what}, has {int(labels.sum())} of {len(labels)} liked"
            )
    if users < 2:
        raise DataError(f"{data.name}: needs test interactions of 2 users or more, has {users}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, so that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_seed(
    split: Split, seed: int, recipe: MetaRecipe, methods: tuple[str, ...], chosen: Chosen, kept: Path | None
) -> tuple[dict[str, Ranking], Learner, dict[str, float]]:
    """Rankings of all methods, the meta-learned network, and seconds of training by method."""
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    recipes = {"meta": recipe, "maml_all": replace(recipe, adapt="all")} | chosen.recipes
    steps, rate = chosen.fine_tuning
    trained: dict[str, Learner] = {}
    rankings, seconds = {}, {}
    with one_thread():
        for name in methods:
            of = {"fine_tuned": "global", "unadapted": "meta"}.get(name, name)
            if of not in trained:
                fit = meta_train if of in ("meta", "maml_all") else train
                trained[of] = fit(
                    tables, split.test_begins, recipes[of], seed, _place(kept, of, seed, recipes[of])
                ).eval()
            learner = trained[of]
            seconds[name] = learner.seconds
            if name in ("meta", "maml_all"):
                scores = adapted_scores(learner, tables, rows, ends)
            elif name == "fine_tuned":
                scores = adapted_scores(fine_tuned(learner, rate), tables, rows, ends, steps=steps)
            else:
                scores = plain_scores(learner, tables, rows)
            rankings[name] = Ranking(tables.data.user[rows], tables.data.liked[rows], scores)
    return rankings, trained["meta"], seconds


def _choose(
    split: Split, recipe: MetaRecipe, methods: tuple[str, ...], grid: Grid, seed: int, kept: Path | None
) -> Chosen:
    """Settings with the best AUC on validation interactions; the first of each grid without any."""
    tables, user = split.tables, split.tables.data.user
    rows = np.arange(len(tables.items))
    rows = rows[(rows >= split.train_ends[user]) & (rows < split.test_begins[user])]
    starts = {"global": replace(recipe, members=False), "wide_deep": replace(recipe, wide=True)}
    first = {name: replace(start, epochs=grid.epochs[0], weight_decay=grid.decays[0]) for name, start in starts.items()}
    if not len(rows) or tables.data.liked[rows].all() or not tables.data.liked[rows].any():
        return Chosen(first, (grid.steps[0], grid.rates[0]))

    def auc(scores: np.ndarray) -> float:
        return float(Ranking(user[rows], tables.data.liked[rows], scores).metrics()["auc"].iloc[0])

    found, best = {}, first
    for name, start in starts.items():
        if not {name, "fine_tuned" if name == "global" else name} & set(methods):
            continue
        for epochs, decay in product(grid.epochs, grid.decays):
            tried = replace(start, epochs=epochs, weight_decay=decay)
            learner = train(
                tables, split.train_ends, tried, seed, _place(kept, f"validation-{name}", seed, tried)
            ).eval()
            score = auc(plain_scores(learner, tables, rows))
            if score > found.get(name, (-1.0, learner))[0]:
                found[name], best = (score, learner), best | {name: tried}
    if "fine_tuned" not in methods:
        return Chosen(best, (grid.steps[0], grid.rates[0]))

    def tuned(setting: tuple[int, float]) -> float:
        learner = fine_tuned(found["global"][1], setting[1])
        return auc(adapted_scores(learner, tables, rows, split.train_ends[user[rows]], steps=setting[0]))

    return Chosen(best, max(product(grid.steps, grid.rates), key=tuned))


def _place(kept: Path | None, name: str, seed: int, recipe: MetaRecipe) -> Path | None:
    """The checkpoint of that training, a name of its own for every recipe."""
    told = hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]
    return None if kept is None else kept / f"{name}-{told}-{seed}.checkpoint"


# ---- how support and its age matter


def by_support(
    learner: Learner, split: Split, sizes: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32, 64, 128)
) -> pd.DataFrame:
    """AUC and GAUC of the test interactions when members are adapted to no more than so many latest interactions: support, auc, gauc."""
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    found = []
    for size in sizes:
        scores = adapted_scores(learner, tables, rows, ends, most=size)
        metrics = Ranking(tables.data.user[rows], tables.data.liked[rows], scores).metrics()
        found.append({"support": size, "auc": float(metrics["auc"].iloc[0]), "gauc": float(metrics["gauc"].iloc[0])})
    return pd.DataFrame(found)


def staleness(
    learner: Learner, split: Split, missed: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 50), hours: tuple[float, ...] = (),
    window: int = 32, most: int = 4000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """AUC of test interactions scored by embeddings that miss the latest interactions before them: kind, missed, auc, loss_low, loss_high,
    support, interactions.

    kind "interactions": so many of the member's own are missed; "hours": all of the last so many. An embedding rests on the
    `window` interactions before those that are missed, so that its age changes and not its size; scored are test
    interactions with half a window or more even before the most that are missed, at most `most`, drawn by seed. support: mean interactions
    that an embedding rests on. loss_low, loss_high: band of the AUC less that with nothing missed, paired by user. Kinds for
    which too little is left are left out.
    """
    tables = split.tables
    user, times = tables.data.user, tables.data.time
    found = []
    for kind, amounts in (("interactions", missed), ("hours", hours)):
        if not amounts:
            continue
        rows = split.test_rows
        begins = tables.firsts[:-1][user[rows]]
        ends = np.stack([_ends_before(times, rows, begins, kind, amount) for amount in amounts])
        enough = ends.min(0) - begins >= window // 2
        chosen = np.flatnonzero(enough)
        if len(chosen) > most:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
        rows, ends, begins = rows[chosen], ends[:, chosen], begins[chosen]
        liked = tables.data.liked[rows]
        if len(np.unique(user[rows])) < 2 or liked.all() or not liked.any():
            continue
        fresh = None
        for amount, end in zip(amounts, ends, strict=True):
            ranking = Ranking(user[rows], liked, adapted_scores(learner, tables, rows, end, most=window))
            drawn = ranking.metrics(resamples(len(ranking.users), seed=seed))["auc"].to_numpy()
            fresh = drawn if fresh is None else fresh
            low, high = _band(drawn - fresh)
            found.append({
                "kind": kind, "missed": amount, "auc": float(ranking.metrics()["auc"].iloc[0]), "loss_low": low, "loss_high": high,
                "support": float(np.minimum(end - begins, window).mean()), "interactions": len(rows),
            })  # fmt: skip
    return pd.DataFrame(found, columns=["kind", "missed", "auc", "loss_low", "loss_high", "support", "interactions"])


def _ends_before(times: np.ndarray, rows: np.ndarray, begins: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """Where the support set of each interaction in `rows` ends when so much before it is missed; int64 (n,)."""
    if kind == "interactions":
        return np.maximum(rows - int(amount), begins)
    if amount == 0:
        return rows
    moments = times[rows] - amount * HOUR
    return np.array(
        [b + np.searchsorted(times[b:r], m, "left") for r, b, m in zip(rows, begins, moments, strict=True)], np.int64
    )

"""How well members are ranked for: metrics, their bands by bootstrap over users and seeds, methods in pairs.

AUC: share of pairs of a liked and another interaction, of any users, that the scores put in order (ties half). GAUC: AUC
within each user, weighted by the user's interactions; users of one class only have none and are counted. NDCG@10: of each
user's interactions ranked by score, liked ones of gain 1 (Jarvelin and Kekalainen 2002), users without a liked one left out.
Recall@10: which share of a user's liked interactions is among its ten of highest score; of users with more than ten. Log loss: mean
cross-entropy of the logits [nat]. Calibration: mean gap between probability and share of likes over BINS bins of equally many
interactions, weighted by size (expected calibration error, Naeini et al. 2015).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
import torch
from torch import nn

from xbar.workloads.data import DataError
from xbar.workloads.recommender.interactions import HOUR, Interactions
from xbar.workloads.recommender.learning import Learner, MetaRecipe, Tables
from xbar.workloads.recommender.methods import METHODS, OF, adapted_scores, fit
from xbar.workloads.training import TrainingError

COLD = 25  # interactions before the test ones, at most, of a user that is called cold
RANKED = 10
RESAMPLES = 1000
BAND = (2.5, 97.5)  # percentiles of the bootstrap
CONFIDENCE = 0.95  # of all leads in one metric together
BINS = 15  # of equally many interactions, for calibration
METRICS = ("auc", "gauc", "ndcg", "recall", "log_loss", "calibration")
FALLING = ("log_loss", "calibration")  # where less is better
VALUES_AT_ONCE = 4_000_000  # of weights in a bootstrap
MOST_PAIRED = 4000  # users of whom each two are told apart in a bootstrap: 128 MB


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

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Pairs in order, ties half, of a liked interaction of one user and another one of each user (users, users)."""
        order, begins = self._ties
        owner, liked = np.repeat(np.arange(len(self.users)), self.counts)[order], self.liked[order]
        found, below = np.zeros((len(self.users), len(self.users))), np.zeros(len(self.users))
        for begin, end in pairwise([*begins.tolist(), len(order)]):
            users, likes = owner[begin:end], liked[begin:end]
            others = np.bincount(users[~likes], minlength=len(below)) if not likes.all() else 0.0
            for user in users[likes]:
                found[user] += below + others / 2
            below = below + others
        return found

    def _auc(self, weights: np.ndarray) -> np.ndarray:
        """AUC for each row of weights of the users (resamples, users): the share of pairs in order, ties half.

        Of few users from the pairs of each two, which are counted once; of many, whose pairs no memory holds, from the ranks, anew for
        each row.
        """
        if len(self.users) > MOST_PAIRED:
            return self._auc_by_ranks(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ self._pairs) * weights).sum(1) / ((weights @ self.positives) * (weights @ self.negatives))

    def _auc_by_ranks(self, weights: np.ndarray) -> np.ndarray:
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

    @cached_property
    def recall_of_users(self) -> np.ndarray:
        """Share of each user's liked interactions that are among its ten of highest score; nan without more than ten, or a liked one."""
        found = np.full(len(self.users), np.nan)
        for index, (begin, end) in enumerate(pairwise(self.first)):
            if self.positives[index] and end - begin > RANKED:
                best = np.argsort(-self.score[begin:end], kind="stable")[:RANKED]
                found[index] = self.liked[begin:end][best].sum() / self.positives[index]
        return found

    @cached_property
    def _losses(self) -> np.ndarray:
        """Sum of each user's cross-entropies [nat], of logits as they are."""
        each = np.logaddexp(0, self.score) - self.liked * self.score
        return np.add.reduceat(each, self.first[:-1])

    @cached_property
    def _gaps(self) -> np.ndarray:
        """Likes less probabilities, by user and bin (users, BINS)."""
        order = np.argsort(self.score, kind="stable")
        of_bin = np.empty(len(order), np.int64)
        of_bin[order] = np.arange(len(order)) * BINS // len(order)
        gap = self.liked - scipy.special.expit(self.score)
        owner = np.repeat(np.arange(len(self.users)), self.counts)
        return np.bincount(owner * BINS + of_bin, gap, len(self.users) * BINS).reshape(-1, BINS)

    def metrics(self, weights: np.ndarray | None = None) -> pd.DataFrame:
        """METRICS for each row of `weights`, how often each user is in (resamples, users); without them, once each."""
        weights = np.ones((1, len(self.users))) if weights is None else weights
        both, ranked, recalled = (np.isfinite(each) for each in (self.auc_of_users, self.ndcg_of_users, self.recall_of_users))
        with np.errstate(invalid="ignore", divide="ignore"):
            return pd.DataFrame({
                "auc": self._auc(weights),
                "gauc": (weights @ (np.nan_to_num(self.auc_of_users) * self.counts)) / (weights @ (both * self.counts)),
                "ndcg": (weights @ np.nan_to_num(self.ndcg_of_users)) / (weights @ ranked),
                "recall": (weights @ np.nan_to_num(self.recall_of_users)) / (weights @ recalled),
                "log_loss": (weights @ self._losses) / (weights @ self.counts),
                "calibration": np.abs(weights @ self._gaps).sum(1) / (weights @ self.counts),
            })  # fmt: skip


def resamples(users: int, count: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each user is drawn in each bootstrap resample, float64 (count, users)."""
    return np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), count).astype(float)


def _band(values: np.ndarray) -> tuple[float, float]:
    """Percentiles BAND of those that are known, not a number where none is: of few users a resample may have no metric."""
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, BAND) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def joint_bands(leads: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Bands (leads, 2) that hold all leads together with CONFIDENCE: each lead less and plus q of its standard deviation over resamples, q
    the quantile of the largest |resampled lead - lead| in such deviations (max-t: Westfall and Young 1993, Resampling-Based
    Multiple Testing; not opened). leads: (leads,); drawn: by resample (resamples, leads), where not a number is not drawn."""
    known = ~np.isnan(drawn)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, drawn, 0.0).sum(0) / count
    deviation = np.sqrt(np.where(known, (drawn - mean) ** 2, 0.0).sum(0) / count)
    away = np.where(known & (deviation > 0), np.abs(drawn - leads) / np.where(deviation > 0, deviation, 1.0), 0.0)
    most = away.max(1, initial=0.0)[known.any(1)]
    half = (np.quantile(most, CONFIDENCE) if len(most) else np.nan) * deviation
    return np.where(known.any(0)[:, None], np.stack([leads - half, leads + half], 1), np.nan)


def table(
    rankings: dict[str, list[Ranking]], chosen: np.ndarray | None = None, reference: str = "meta", seed: int = 0
) -> pd.DataFrame:
    """One row a method and metric: mean over seeds, its band by bootstrap over users and seeds, the spread over seeds, and the reference's
    lead with its bands, paired by user and seed; a lead above 0 is always the better of both. rankings: by method, one a seed, all of the
    same users; chosen: bool (users,).

    low, high, lead_low, lead_high: percentiles, a 95 % band of each row by itself, of which one in twenty may miss. joint_low,
    joint_high: of the leads over all other methods in one metric, which hold together (`joint_bands`): who says that the
    reference is ahead of several methods needs these.
    """
    first = next(iter(rankings.values()))[0]
    part = np.ones(len(first.users), bool) if chosen is None else chosen
    weights = np.zeros((RESAMPLES, len(part)))
    weights[:, part] = resamples(int(part.sum()), seed=seed)
    point = {name: [r.metrics(part[None].astype(float)) for r in each] for name, each in rankings.items()}
    count = len(next(iter(rankings.values())))
    shares = np.random.default_rng(seed + 1).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    drawn = {
        name: sum(r.metrics(weights).mul(share, axis=0) for r, share in zip(each, shares.T, strict=True)) for name, each in rankings.items()
    }
    rows = []
    others = [name for name in point if name != reference]
    for metric in METRICS:
        sign = -1.0 if metric in FALLING else 1.0
        values = {name: np.array([float(one[metric].iloc[0]) for one in each]) for name, each in point.items()}
        leads = {name: sign * (values[reference] - of).mean() for name, of in values.items()}
        resampled = {name: sign * (drawn[reference][metric] - drawn[name][metric]).to_numpy() for name in point}
        together = np.array([resampled[name] for name in others]).reshape(len(others), -1).T
        joint = {reference: (0.0, 0.0)} | dict(zip(others, joint_bands(np.array([leads[name] for name in others]), together), strict=True))
        for name, of in values.items():
            low, high = _band(drawn[name][metric].to_numpy())
            lead_low, lead_high = _band(resampled[name])
            rows.append({
                "method": name, "metric": metric, "mean": of.mean(), "low": low, "high": high,
                "seeds": len(of), "seed_std": of.std(ddof=1) if len(of) > 1 else np.nan, "lead": leads[name],
                "lead_low": lead_low, "lead_high": lead_high, "joint_low": joint[name][0], "joint_high": joint[name][1],
                "users": int(part.sum()),
            })  # fmt: skip
    order = {name: place for place, name in enumerate(point)}
    return pd.DataFrame(rows).sort_values("method", key=lambda column: column.map(order), kind="stable", ignore_index=True)


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


@dataclass(frozen=True)
class QualityStudy:
    """What was found. rankings: of the test interactions, by method and seed; learners: the meta-learned one of each seed; seconds: of
    training, by method, the mean over seeds."""

    split: Split
    rankings: dict[str, list[Ranking]] = field(repr=False)
    learners: list[Learner] = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict)

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

    All methods learn from training and validation interactions, by their recipes in `methods` ("meta" by `recipe`). kept: a folder for
    trained networks, used again by a later call. workers: processes that share the seeds, each with one thread; the outcome is the same
    whatever their number. first: the first of the seeds. Raises DataError where too little is left to train on or to rank, and
    TrainingError for a "meta" of several networks that do not lie side by side.
    """
    if recipe.networks > 1 and not recipe.newton:
        raise TrainingError(f"meta.networks = {recipe.networks} must be 1 without meta.newton here: only with it are several one network, "
                            "whose support, age and chip are studied")  # fmt: skip
    if seeds < 1 or workers < 1 or "meta" not in methods or set(methods) - set(METHODS):
        raise TrainingError(f"needs 1 seed and worker or more, and methods of {', '.join(METHODS)}, meta among them")
    split = Split.of(data, parts)
    _check_split(data, split)
    jobs = (joblib.delayed(_one_seed)(split, first + seed, recipe, methods, kept) for seed in range(seeds))
    found = []
    for seed, result in enumerate(joblib.Parallel(n_jobs=min(workers, seeds), return_as="generator")(jobs)):
        found.append(result)
        step(f"quality: {seed + 1} of {seeds} seeds trained and ranked")
    rankings = {name: [ranking[name] for ranking, _, _ in found] for name in methods}
    means = {name: float(np.mean([seconds[name] for _, _, seconds in found])) for name in methods}
    return QualityStudy(split, rankings, [learner for _, learner, _ in found], means)


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
    split: Split, seed: int, recipe: MetaRecipe, methods: tuple[str, ...], kept: Path | None
) -> tuple[dict[str, Ranking], Learner, dict[str, float]]:
    """Rankings of all methods, the meta-learned network, and seconds of training by method."""
    tables, rows = split.tables, split.test_rows
    ends = split.test_begins[tables.data.user[rows]]
    trained: dict[tuple[str, int], nn.Module] = {}
    rankings, seconds = {}, {}
    with one_thread():
        for name in methods:
            own = recipe if OF.get(name, name) == "meta" else None
            found = fit(name, tables, split.test_begins, seed, own, kept, trained)
            seconds[name] = found.seconds
            rankings[name] = Ranking(tables.data.user[rows], tables.data.liked[rows], found.score(rows, ends))
    learner = trained["meta", seed]
    assert isinstance(learner, Learner)
    return rankings, learner, seconds


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

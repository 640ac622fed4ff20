"""Fitness from a network: generated people and positions with a stated truth, training, and the scores of all pairs.

No organisation's data says how well its people would do elsewhere, so features and outcomes are generated; the network,
the classes and who held which position are the organisation's own. The truth, of a person with skills s (D,) and a
position that demands d (D,), d uniform on the simplex and scaled to a mean of 1/2:

    fitness = logistic(STEEPNESS s . d / sqrt(D))            bilinear in skills and demands, nothing else
    outcome = 1 with probability logistic(STEEPNESS s . d / sqrt(D) + N(0, OUTCOME_NOISE²))

A person's skills are N(profile of their class, 1), and profiles of classes differ by PROFILE_SHIFT in each skill, up in
half of them and down in the other half: classes are good at different things, and equally good on the mean over positions.
Of the person the network sees the skills and BACKGROUND numbers that tell the class (mean by class, N(0, 1) around it) and
have no part in the truth: given the skills, fitness does not depend on the class.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional

from xbar.models.fairea import PairScorer
from xbar.workloads.fairea.networks import candidate_pool, open_at_random
from xbar.workloads.fairea.problem import (
    Bools,
    FaireaError,
    Floats,
    Ints,
    Matching,
    Problem,
    is_missing,
    sorted_classes,
)

SKILLS, BACKGROUND = 6, 2
STEEPNESS, OUTCOME_NOISE, PROFILE_SHIFT = 2.5, 0.5, 0.5
APPLICANTS = 3  # of whom the holder of a position was the best by the noisy truth
MORE_POSITIONS = 4  # that a candidate qualifies for besides, as in FairEA's F1
BATCH = 4096  # pairs scored at once


def stream(purpose: str, seed: int) -> np.random.Generator:
    """A generator of its own for each purpose of one seed."""
    return np.random.default_rng([seed, *purpose.encode()])


@dataclass(frozen=True)
class World:
    """Where people and positions come from: classes with their shares among the people that a network learns from, and their
    profiles, drawn by `seed`. The first class is the base, from which the others differ. Raises `FaireaError`."""

    names: tuple[Hashable, ...]
    shares: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or len(self.shares) != count or min(self.shares) < 0 or not np.isclose(sum(self.shares), 1):
            raise FaireaError("shares", self.shares, f"must be a share from 0 up for each of {count} classes, 1 in all")

    @classmethod
    def of(cls, graph: nx.Graph, attribute: str, seed: int = 0) -> "World":
        """Classes of a network by falling size, with their shares in it. Raises `FaireaError` for a node without one."""
        for u, value in graph.nodes(attribute):
            if is_missing(value):
                raise FaireaError(f"{attribute} of {u!r}", value, "every position needs a class")
        held = [value for _, value in graph.nodes(attribute)]
        names = sorted(sorted_classes(held), key=lambda name: -held.count(name))
        return cls(tuple(names), tuple(held.count(name) / len(held) for name in names), seed)

    @property
    def groups(self) -> int:
        """K, how many classes."""
        return len(self.names)

    @cached_property
    def profiles(self) -> Floats:
        """(K, SKILLS) mean skills of each class; each row sums to 0."""
        rng = stream("profiles", self.seed)
        signs = np.repeat([1.0, -1.0], SKILLS // 2)
        return np.array([np.zeros(SKILLS)] + [PROFILE_SHIFT * rng.permutation(signs) for _ in range(self.groups - 1)])

    @cached_property
    def backgrounds(self) -> Floats:
        """(K, BACKGROUND) means of the numbers that tell the class."""
        rng = stream("backgrounds", self.seed)
        return np.vstack([np.zeros((1, BACKGROUND)), 1.5 * rng.choice([-1.0, 1.0], (self.groups - 1, BACKGROUND))])

    def skills(self, group: Ints, rng: np.random.Generator) -> Floats:
        """(n, SKILLS) of people of classes `group` (n,)."""
        return self.profiles[group] + rng.normal(size=(len(group), SKILLS))

    def seen(self, skills: Floats, group: Ints, rng: np.random.Generator) -> Tensor:
        """(n, SKILLS + BACKGROUND) float32: what the network sees of people."""
        background = self.backgrounds[group] + rng.normal(size=(len(group), BACKGROUND))
        return torch.from_numpy(np.concatenate([skills, background], 1).astype(np.float32))

    @staticmethod
    def demands(count: int, rng: np.random.Generator) -> Floats:
        """(count, SKILLS) of positions, each row with a mean of 1/2."""
        return rng.dirichlet(np.ones(SKILLS), count) * (SKILLS / 2)

    @staticmethod
    def logit(skills: Floats, demands: Floats) -> Floats:
        """Truth before the logistic, of rows of both."""
        return STEEPNESS * (skills * demands).sum(-1) / np.sqrt(SKILLS)


# ---- training


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs row by row: candidates (n, features), positions (n, SKILLS), outcome (n,) 0 or 1, truth (n,) [1], group (n,)."""

    candidates: Tensor
    positions: Tensor
    outcome: Tensor
    truth: Floats
    group: Ints


def draw_pairs(world: World, count: int, seed: int, purpose: str = "training") -> Pairs:
    """`count` pairs of people with positions. Raises `FaireaError`."""
    if count < 1:
        raise FaireaError("count", count, "must be at least 1")
    rng = stream(purpose, seed)
    group = rng.choice(world.groups, count, p=world.shares)
    skills, demands = world.skills(group, rng), world.demands(count, rng)
    logit = world.logit(skills, demands)
    outcome = rng.random(count) < expit(logit + OUTCOME_NOISE * rng.normal(size=count))
    seen = world.seen(skills, group, rng)
    places, results = (torch.from_numpy(x.astype(np.float32)) for x in (demands, outcome))
    return Pairs(seen, places, results, expit(logit), group)


def train_scorer(
    pairs: Pairs, epochs: int = 10, batch: int = 256, learning_rate: float = 3e-3, weight_decay: float = 0.01, seed: int = 0,
    step: Callable[[str], None] = lambda _: None,
) -> PairScorer:  # fmt: skip
    """The network after binary cross-entropy on outcomes, AdamW, a falling cosine of rates; the same seed, the same weights."""
    if epochs < 1 or batch < 1:
        raise FaireaError("epochs, batch", (epochs, batch), "must be at least 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PairScorer(pairs.candidates.shape[1], pairs.positions.shape[1])
    fit(network, pairs, epochs, batch, learning_rate, weight_decay, seed, step)
    return network.eval()


def fit(
    network: torch.nn.Module, pairs: Pairs, epochs: int, batch: int, learning_rate: float, weight_decay: float, seed: int,
    step: Callable[[str], None] = lambda _: None,
) -> None:  # fmt: skip
    """Train any network with the call of `PairScorer` in place."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    count = len(pairs.outcome)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-count // batch))
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for chosen in torch.randperm(count, generator=generator).split(batch):
            found = network(pairs.candidates[chosen], pairs.positions[chosen])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(found, pairs.outcome[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        step(f"training the scoring network: epoch {epoch + 1} of {epochs}")


@torch.no_grad()
def logits(network: torch.nn.Module, candidates: Tensor, positions: Tensor, batch: int = BATCH) -> Floats:
    """(n,) logits of pairs row by row, `batch` at a time; fitness is their logistic, computed digitally."""
    parts = [network(c, p)[:, 0] for c, p in zip(candidates.split(batch), positions.split(batch), strict=True)]
    return torch.cat(parts).double().numpy()


def correlation(network: torch.nn.Module, pairs: Pairs) -> tuple[float, float]:
    """Pearson correlation of scores with the truth, and their root mean square difference."""
    found = expit(logits(network, pairs.candidates, pairs.positions))
    return float(np.corrcoef(found, pairs.truth)[0, 1]), float(np.sqrt(np.mean((found - pairs.truth) ** 2)))


# ---- an organisation's openings


@dataclass(frozen=True, eq=False)
class Opening:
    """Open positions of a network with candidates whose features are drawn, before anything is scored.

    positions (m, SKILLS) and candidates (t, features) as the network sees them; rows, columns: the n pairs of position and
    candidate that qualify, no others are scored; truth: (m, t) fitness, NaN where not qualified; `held`: candidate j
    of the first m is who held position j.
    """

    graph: nx.Graph
    classes: Mapping[Hashable, Hashable]
    open_positions: tuple[Hashable, ...]
    groups: Mapping[Hashable, Hashable]  # class of each candidate
    positions: Tensor
    candidates: Tensor
    qualified: Bools
    truth: Floats

    @cached_property
    def pairs(self) -> tuple[Ints, Ints]:
        """Position and candidate of each qualified pair, (n,) each."""
        rows, columns = np.nonzero(self.qualified)
        return rows, columns

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """What the network is fed: features of candidates and positions, a row a qualified pair."""
        rows, columns = self.pairs
        return self.candidates[columns], self.positions[rows]

    def matrix(self, scores: Floats) -> Floats:
        """(..., m, t) of scores (..., n) of the qualified pairs, NaN elsewhere."""
        rows, columns = self.pairs
        found = np.full((*scores.shape[:-1], *self.qualified.shape), np.nan)
        found[..., rows, columns] = scores
        return found

    def problem(self, scores: Floats) -> Problem:
        """The assignment problem with fitness of these scores (n,)."""
        return Problem(self.graph, self.classes, self.open_positions, self.groups, self.matrix(scores))

    def actual(self, problem: Problem) -> Matching:
        """Everybody in the position that they held."""
        return Matching(problem, tuple(range(len(self.open_positions))))


def make_opening(
    graph: nx.Graph, attribute: str, open_positions: Sequence[Hashable], world: World, *, pool: int = 2, seed: int = 0
) -> Opening:
    """Openings with candidates: who held them, and `pool` - 1 others of each of their classes.

    A holder was the best of APPLICANTS of the class by the truth with the outcomes' noise, and qualifies for the position
    held; everybody qualifies for MORE_POSITIONS random ones (F1 of FairEA's experiments, whose one-to-one matching is here
    who held what). Raises `FaireaError`.
    """
    groups = candidate_pool(graph, attribute, open_positions, pool)
    number = np.array([world.names.index(name) for name in groups.values()])
    m, t = len(open_positions), len(groups)
    rng = stream("opening", seed)
    demands = world.demands(m, rng)
    skills = world.skills(number, rng)
    for i in range(m):
        applicants = world.skills(np.repeat(number[i], APPLICANTS), rng)
        told = world.logit(applicants, demands[i]) + OUTCOME_NOISE * rng.normal(size=APPLICANTS)
        skills[i] = applicants[np.argmax(told)]
    qualified = np.zeros((m, t), np.bool_)
    qualified[np.arange(m), np.arange(m)] = True
    for j in range(t):
        qualified[rng.permutation(m)[: min(MORE_POSITIONS, m)], j] = True
    truth = np.where(qualified, expit(world.logit(skills[None], demands[:, None])), np.nan)
    places = torch.from_numpy(demands.astype(np.float32))
    classes = dict(graph.nodes(attribute))
    return Opening(
        graph, classes, tuple(open_positions), groups, places, world.seen(skills, number, rng), qualified, truth
    )


def draw_openings(
    graph: nx.Graph, attribute: str, world: World, count: int, *, share: float, most: int, pool: int = 2, seed: int = 0
) -> list[Opening]:
    """`count` openings: a `share` of positions at random, `most` at most, each with candidates of its own.

    Draws whose candidates are all of one class are drawn again. Raises `FaireaError` where no other come.
    """
    found: list[Opening] = []
    for draw in range(20 * count + 20):
        opened = open_at_random(graph, share, seed=seed + draw)[:most]
        if len({graph.nodes[u][attribute] for u in opened}) > 1:
            found.append(make_opening(graph, attribute, opened, world, pool=pool, seed=seed + draw))
        if len(found) == count:
            return found
    raise FaireaError("share", share, "open positions held by two classes were hardly ever drawn; open more of them")

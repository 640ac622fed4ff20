"""Fitness learned from an organisation's past outcomes, by the scoring network.

outcomes.csv has a row for each time that somebody held a position: a column `outcome`, from 0 (failed) to 1 (succeeded), and
numbers about the person and the position. A number about the person is one that candidates.csv has a column for too, one about
the position one that positions.csv has. Each is shifted and scaled to mean 0 and standard deviation 1 over the outcomes. The
attributes that people are classed by are never among them; other numbers may stand for them all the same, and what past
outcomes got wrong about a group is learned with the rest: nothing here corrects it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from scipy.special import expit
from torch import Tensor

from xbar.models.fairea import PairScorer
from xbar.workloads.fairea.problem import FaireaError, Floats
from xbar.workloads.fairea.scoring import Pairs, logits, train_scorer
from xbar.workloads.fairea.tables import Table

LEAST_OUTCOMES = 50
HELD_OUT = 0.2  # share of outcomes that judge the network and are not learned from
STEPS = 600  # of training, about: few outcomes are gone through more often


@dataclass(frozen=True, eq=False)
class Learned:
    """The network, with what it was fed and found.

    candidates (t, features), positions (m, features): as fed; pairs: the outcomes learned from; fitness: (m, t), the probability of
    success; auc: probability that of two outcomes not learned from, one above and one below 1/2, the better has the larger score.
    """

    network: PairScorer
    candidates: Tensor
    positions: Tensor
    pairs: Pairs
    fitness: Floats
    auc: float
    told: str


def learn(
    outcomes: Table, people: Table, places: Table | None, candidates: Sequence[str], opened: Sequence[str],
    attributes: Sequence[str], seed: int = 0,
) -> Learned:  # fmt: skip
    """Train on the outcomes and score every pair. Raises `FaireaError`, among others for fewer than LEAST_OUTCOMES outcomes."""
    result = outcomes.column("outcome")
    names = [name for name in outcomes.columns if name != result and name not in attributes]
    of_people = [name for name in names if name in people.columns]
    of_places = [name for name in names if places is not None and name in places.columns and name not in people.columns]
    if not of_people:
        raise FaireaError(f"{outcomes.file}, header", list(outcomes.columns), f"needs a column that {people.file} has too, besides outcome")
    seen = np.array([[row.number(name) for name in (*of_people, *of_places)] for row in outcomes])
    value = np.array([row.number(result) for row in outcomes])
    for row, each in zip(outcomes, value, strict=True):
        if not 0 <= each <= 1:
            raise row.wrong(result, "must be from 0 (failed) to 1 (succeeded)")
    if len(value) < LEAST_OUTCOMES or np.ptp(value) == 0:
        raise FaireaError(f"{outcomes.file}, {result}", len(value), f"needs {LEAST_OUTCOMES} rows at least, of different outcomes")
    middle, spread = seen.mean(0), np.where(seen.std(0) > 0, seen.std(0), 1.0)
    seen = (seen - middle) / spread
    order = np.random.default_rng([seed, 5]).permutation(len(value))
    test, kept = np.split(order, [math.ceil(HELD_OUT * len(value))])
    count = len(of_people)
    pairs = _pairs(seen[kept], value[kept], count)
    batch = min(256, len(kept))
    network = train_scorer(pairs, max(5, STEPS * batch // len(kept)), batch, weight_decay=0.1, seed=seed)
    judged = _pairs(seen[test], value[test], count)
    auc = _auc(logits(network, judged.candidates, judged.positions), value[test])
    fed = (_features(people, of_people, candidates, ("id", "candidate"), middle[:count], spread[:count]),
           _features(places, of_places, opened, ("position", "id"), middle[count:], spread[count:]))  # fmt: skip
    m, t = len(opened), len(candidates)
    found = logits(network, fed[0].repeat(m, 1), fed[1].repeat_interleave(t, 0))
    told = (
        f"fitness is learned from {len(kept)} past outcomes by {', '.join((*of_people, *of_places))}; of {len(test)} others the better "
        f"of two is told in {auc:.0%} (half is chance)"
    )
    return Learned(network, *fed, pairs, expit(found).reshape(m, t), auc, told)


def _pairs(seen: Floats, value: Floats, count: int) -> Pairs:
    candidates, positions = (torch.from_numpy(part.astype(np.float32)) for part in (seen[:, :count], _or_one(seen[:, count:])))
    return Pairs(candidates, positions, torch.from_numpy(value.astype(np.float32)), value, np.zeros(len(value), np.int64))


def _or_one(features: Floats) -> Floats:
    """Features of positions, or the number 1 where there are none."""
    return features if features.shape[1] else np.ones((len(features), 1))


def _features(
    table: Table | None, names: Sequence[str], wanted: Sequence[str], keys: tuple[str, ...], middle: Floats, spread: Floats
) -> Tensor:
    if table is None or not names:
        return torch.ones(len(wanted), 1)
    key = table.column(*keys)
    found = {row.cells[key]: [row.number(name) for name in names] for row in table}
    scaled = (np.array([found[name] for name in wanted]) - middle) / spread
    return torch.from_numpy(scaled.astype(np.float32))


def _auc(scores: Floats, value: Floats) -> float:
    good = value > 0.5
    if good.all() or not good.any():
        return math.nan
    ranks = scipy.stats.rankdata(scores)
    return float((ranks[good].sum() - good.sum() * (good.sum() + 1) / 2) / (good.sum() * (~good).sum()))

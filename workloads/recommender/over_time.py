"""Networks frozen at a date, members' embeddings refreshed as interactions come in: quality over time, and what refreshes write.

What comes after the date is scored in order of time, each interaction from its member's history as far as the last refresh saw it: a
member's embedding is made anew after every `every` interactions of its own, so that it misses 0 to `every` - 1 of them. Compared with are
networks that are left as they were at the date, networks that are trained anew at later dates on all that came before, and
methods that read a history without an embedding. Nothing that is scored was seen by what scores it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from xbar.workloads.data import DataError
from xbar.workloads.recommender.interactions import Interactions
from xbar.workloads.recommender.learning import Tables
from xbar.workloads.recommender.methods import METHODS, fit
from xbar.workloads.recommender.quality import Ranking, one_thread, table

EVERY = (1, 8, 32)  # interactions of a member between refreshes of its embedding
STREAMED = ("meta", "residual", "din")  # methods whose scores move with a member's history
RETRAINED = ("mf", "wide_deep")
AGES = (0, 8, 32, 128)  # interactions since the date, or since its first, from which a member's are told apart


@dataclass(frozen=True)
class OverTime:
    """What was found. quality: `xbar.workloads.recommender.quality.table` by policy, with `part` (all; "period 1" ... in time; "after n"
    interactions of the member); refreshes: by policy, embeddings written in all and interactions scored."""

    quality: pd.DataFrame
    refreshes: pd.DataFrame
    rankings: dict[str, list[Ranking]] = field(repr=False)


def ends_at(tables: Tables, rows: np.ndarray, known: np.ndarray, every: int | None) -> np.ndarray:
    """Where the history that scores each interaction ends (n,): `known`[member], or the last multiple of `every` interactions after it."""
    base = known[tables.data.user[rows]]
    return base if every is None else base + (rows - base) // every * every


def refresh_study(
    data: Interactions, seeds: int = 3, share: float = 0.8, periods: int = 4, every: tuple[int, ...] = EVERY,
    methods: tuple[str, ...] = ("meta", "residual", "mf", "wide_deep", "popularity"), kept: Path | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> OverTime:  # fmt: skip
    """Freeze at the date before which `share` of all interactions lie; score the rest under each policy.

    Policies are named "method, frozen", "method, every k", "method, retrained": the last at the beginning of each of `periods` periods of
    equally many interactions. kept: a folder of checkpoints. Raises DataError where there is no positive or no other interaction to score.
    """
    if set(methods) - set(METHODS) or "meta" not in methods:
        raise DataError(f"methods must be of {', '.join(METHODS)}, meta among them; got {', '.join(methods)}")
    tables, parts = Tables(data), data.split_by_date(share)
    rows = np.flatnonzero(parts == 2)
    if data.liked[rows].all() or not data.liked[rows].any():
        raise DataError(f"{data.name}: needs liked and other interactions after the date")
    order = np.argsort(data.time[rows], kind="stable")
    starts = [data.time[rows[part[0]]] for part in np.array_split(order, periods)]
    period = np.searchsorted(starts, data.time[rows], "right") - 1
    known = [_before(tables, moment) for moment in starts]
    scores: dict[str, list[np.ndarray]] = {}
    written: dict[str, int] = {}
    with one_thread():
        for seed in range(seeds):
            networks: dict[tuple[str, int], nn.Module] = {}
            for name in methods:
                frozen = fit(name, tables, known[0], seed, None, kept, networks)
                for gap in (None, *(every if name in STREAMED else ())):
                    policy = f"{name}, frozen" if gap is None else f"{name}, every {gap}"
                    ends = ends_at(tables, rows, known[0], gap)
                    scores.setdefault(policy, []).append(frozen.score(rows, ends))
                    written[policy] = _made_anew(tables, rows, ends, known[0])
                if name in RETRAINED:
                    scores.setdefault(f"{name}, retrained", []).append(
                        _retrained(name, tables, rows, period, known, seed, kept, networks)
                    )
                    written[f"{name}, retrained"] = data.users * (periods - 1)
                step(f"seed {seed + 1} of {seeds}: {name}")
    rankings = {policy: [Ranking(data.user[rows], data.liked[rows], each) for each in found] for policy, found in scores.items()}
    reference = f"meta, every {every[min(1, len(every) - 1)]}"
    found = [table(rankings, reference=reference).assign(part="all")]
    ages = rows - known[0][data.user[rows]]
    of_part = {f"period {index + 1}": period == index for index in range(periods)}
    of_part |= {f"after {low}": (ages >= low) & (ages < high) for low, high in zip(AGES, (*AGES[1:], np.inf), strict=True)}
    for part, chosen in of_part.items():
        labels = data.liked[rows[chosen]]
        if len(labels) and labels.any() and not labels.all() and len(np.unique(data.user[rows[chosen]])) > 1:
            users = data.user[rows[chosen]]
            some = {policy: [Ranking(users, labels, score[chosen]) for score in each] for policy, each in scores.items()}
            found.append(table(some, reference=reference).assign(part=part))
    refreshes = pd.DataFrame({"policy": list(written), "embeddings_written": list(written.values()), "interactions": len(rows)})
    return OverTime(pd.concat(found, ignore_index=True).rename(columns={"method": "policy"}), refreshes, rankings)


def _before(tables: Tables, moment: float) -> np.ndarray:
    """Row of each member's first interaction at that moment or later; int64 (users,)."""
    data = tables.data
    return tables.firsts[:-1] + np.bincount(data.user[data.time < moment], minlength=data.users)


def _made_anew(tables: Tables, rows: np.ndarray, ends: np.ndarray, known: np.ndarray) -> int:
    """Embeddings that were made after the date: different pairs of member and end, but those of the date."""
    members = tables.data.user[rows]
    later = ends > known[members]
    return len(np.unique(ends[later]))  # rows are in order of members, so that an end belongs to one


def _retrained(
    name: str, tables: Tables, rows: np.ndarray, period: np.ndarray, known: list[np.ndarray], seed: int, kept: Path | None,
    first: dict[tuple[str, int], nn.Module],
) -> np.ndarray:  # fmt: skip
    """Scores of each period by a network trained on all that came before it; histories as they were then."""
    scores = np.zeros(len(rows))
    for index, ends in enumerate(known):
        chosen = np.flatnonzero(period == index)
        folder = None if kept is None else kept / f"period-{index}"
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        found = fit(name, tables, ends, seed, None, folder, first if index == 0 else {})
        scores[chosen] = found.score(rows[chosen], ends[tables.data.user[rows[chosen]]])
    return scores

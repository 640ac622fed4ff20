"""Which values travel, so that each is counted once however many read it.

The values of a sample have numbers. An operator that computes gives its results new ones; what only moves values (views, chunks,
concatenations, shuffles) leaves them theirs. So chunks of one result are different values, a result and part of it have that part in
common, and what two operators make of the same values is not the same. A flow (`xbar.hw.graph.network.Flow`) tells the numbers of what
it brings; `carried` counts those of several flows once each.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from xbar.hw.graph.network import Flow

Who = TypeVar("Who", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Made:
    """Values of one source: runs of neighbouring numbers, from `first` to before `end`, (runs,), in order and apart; share: the part of
    each that the source makes, where several layers make one together, (runs,)."""

    first: np.ndarray
    end: np.ndarray
    share: np.ndarray

    @classmethod
    def run(cls, first: float, count: float) -> "Made":
        """So many neighbours."""
        return cls(np.array([first]), np.array([first + count]), np.ones(1))

    @property
    def count(self) -> float:
        """Values, or of those that several make together the source's part of them."""
        return float(((self.end - self.first) * self.share).sum())

    def scaled(self, share: float) -> "Made":
        """What a source makes that makes this part of each."""
        return Made(self.first, self.end, self.share * share)

    def part(self, begin: float, end: float) -> "Made":
        """Those from this part of all of them to that, in order."""
        before = np.concatenate([[0.0], np.cumsum(self.end - self.first)])
        low, high = begin * before[-1], end * before[-1]
        first = self.first + np.clip(low - before[:-1], 0, self.end - self.first)
        last = self.first + np.clip(high - before[:-1], 0, self.end - self.first)
        there = last > first
        return Made(first[there], last[there], self.share[there])

    def shares_at(self, numbers: np.ndarray) -> np.ndarray:
        """The share of each of these numbers, 0 of those that are not among the values."""
        if not len(self.first):
            return np.zeros(len(numbers))
        run = np.searchsorted(self.first, numbers, side="right") - 1
        return np.where((run >= 0) & (numbers < self.end[run]), self.share[run], 0.0)


def runs(numbers: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of neighbours among numbers, each once and in order, that are `of` the same: first, end and of what."""
    begins = np.ones(len(numbers), bool)
    begins[1:] = (np.diff(numbers) != 1) | (np.diff(of) != 0)
    at = np.flatnonzero(begins)
    last = np.append(at[1:], len(numbers)) - 1 if len(at) else at
    return numbers[at], numbers[last] + 1, of[at]


def joined(parts: Sequence[Made]) -> Made:
    """All of these, what several have once."""
    edges = np.unique(np.concatenate([each for part in parts for each in (part.first, part.end)]))
    share = np.max([part.shares_at(edges[:-1]) for part in parts], axis=0)
    there = share > 0
    return Made(edges[:-1][there], edges[1:][there], share[there])


class Carried(NamedTuple):
    """Values per sample that a layer makes ("": of the network's input) and that these layers read, all of them and no other."""

    source: str
    values: float
    readers: frozenset[str]


def carried(flows: Iterable["Flow"]) -> list[Carried]:
    """What these flows bring, each value once: by source, and by who reads it."""
    by_source: dict[str, list[tuple[str, Made]]] = {}
    for source, target, made in _numbered(flows):
        by_source.setdefault(source, []).append((target, made))
    return [each for source, brought in by_source.items() for each in _carried(source, brought)]


def _numbered(flows: Iterable["Flow"]) -> Iterator[tuple[str, str, Made]]:
    """Of each flow: source, target and which values it brings, where it does not tell them too."""
    begun = -1.0  # of the input, what has no numbers: below those that are given
    for flow in flows:
        made = flow.made
        if made is None:
            made = Made.run(0.0 if flow.source else begun - flow.values, flow.values)
            begun -= 0.0 if flow.source else flow.values
        yield flow.source, flow.target, made


def distinct(flows: Iterable["Flow"]) -> float:
    """Values per sample that these flows bring, each once."""
    return sum(each.values for each in carried(flows))


def together(flows: Sequence["Flow"]) -> list[tuple[tuple[int, ...], float]]:
    """Values per sample of one source by which of its flows bring them, all of these and no other (their places here, in order), and how
    many there are of each kind."""
    found = _kinds([(place, made) for place, (_, _, made) in enumerate(_numbered(flows))])
    return sorted((tuple(sorted(who)), values) for who, values in found)


def _carried(source: str, brought: list[tuple[str, Made]]) -> list[Carried]:
    return [Carried(source, values, readers) for readers, values in _kinds(brought)]


def _kinds(brought: Sequence[tuple[Who, Made]]) -> list[tuple[frozenset[Who], float]]:
    """What is brought to whom, each value once: by all whom it is brought to."""
    readers = list(dict.fromkeys(target for target, _ in brought))
    if not brought:
        return []
    edges = np.unique(np.concatenate([each for _, made in brought for each in (made.first, made.end)]))
    read = np.zeros((len(readers), max(0, len(edges) - 1)), bool)  # between two edges: by whom
    share = np.zeros(read.shape[1])
    for target, made in brought:
        mine = made.shares_at(edges[:-1])
        share = np.maximum(share, mine)
        read[readers.index(target)] |= mine > 0
    kinds, which = np.unique(read, axis=1, return_inverse=True)
    values = np.bincount(which.reshape(-1), np.diff(edges) * share, kinds.shape[1])
    return [
        (frozenset(reader for reader, mine in zip(readers, kind, strict=True) if mine), float(count))
        for kind, count in zip(kinds.T, values, strict=True) if count
    ]  # fmt: skip

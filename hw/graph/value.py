"""What is known of a tensor while a graph is walked: which sample each element is of, and which vectors it rests on."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from xbar.hw.graph.graph import SAMPLES


@dataclass
class Value:
    """What is known of a tensor, at each of its elements, for a batch of SAMPLES.

    of: for each sample, 1 where an element is of it; after: by layer, how many of its vectors must be done before an element
    exists; holders: layers where its values are made ("" for the network's input), and their shares; index_of: the network's
    input whose whole numbers these are. first: number of its first element (`xbar.hw.graph.made`), from which its elements are numbered
    where they were computed as they stand; moved: at each element the number of the value that it is, float64 (exact to 2^53), where
    values were only moved.
    """

    shape: tuple[int, ...]
    of: tuple[Tensor, ...]
    after: dict[str, Tensor]
    holders: dict[str, float]
    index_of: str | None = None
    first: int = 0
    moved: Tensor | None = None

    @cached_property
    def size(self) -> int:
        """Elements of one sample."""
        return int(self.of[0].sum())

    @property
    def elements(self) -> int:
        """Elements of all samples."""
        return math.prod(self.shape)

    @property
    def numbers(self) -> Tensor:
        """At each element the number of the value that it is, float64."""
        if self.moved is not None:
            return self.moved
        return torch.arange(self.first, self.first + self.elements, dtype=torch.float64).view(self.shape)

    def numbers_of_first(self) -> np.ndarray:
        """Numbers of the first sample's elements, as often as they are there, in their order."""
        return self.numbers[self.of[0] > 0].numpy()


def none_of(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(()).expand(shape)


def along_axis(axis: int, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """For each sample, 1 where a tensor's element along `axis` is of it: as many neighbours as samples have of it."""
    each = shape[axis] // SAMPLES
    index = torch.arange(shape[axis]) // each
    view = [-1 if a == axis else 1 for a in range(len(shape))]
    return tuple((index == k).float().view(view).expand(shape) for k in range(SAMPLES))


def largest_of_rows(numbers: Tensor, linear: bool) -> Tensor:
    """Largest of the numbers over the channels, by row and position in it."""
    if linear:
        return numbers.reshape(-1, numbers.shape[-1]).amax(1, keepdim=True)
    return numbers.amax(1).flatten(1)


def by_position(value: Value, holder: str) -> np.ndarray:
    """Vectors of `holder` that must be done before each position of a sum's operand exists: positions in space of an
    image, rows of a matrix, one of a flat value (of values laid out otherwise, one)."""
    counts = value.after.get(holder)
    if counts is None:
        counts = none_of(value.shape)
    apart = len(value.shape) > 2 and value.shape[0] == SAMPLES  # the first axis is the batch
    apart = apart and bool(value.of[0][0].any()) and not bool(value.of[0][1].any())
    if not apart:
        own = counts[value.of[0] > 0]
        return np.array([int(own.max()) if own.numel() else 0], np.int64)
    mine = counts[0]
    return (mine.amax(-1) if mine.dim() == 2 else mine.amax(0).flatten()).numpy().astype(np.int64)


def shares_of(operands: list[Value]) -> dict[str, float]:
    """Shares of the values of `operands` together by the layers that make them."""
    total = sum(value.size for value in operands if value.holders)
    shares: dict[str, float] = {}
    for value in operands:
        for holder, share in value.holders.items():
            part = share * value.size / total if total else share / len(operands)
            shares[holder] = shares.get(holder, 0.0) + part
    return shares


def rests_on_all(operands: list[Value], shape: tuple[int, ...]) -> Value:
    """A value of which each element rests on all of the operands' of its sample, made on a host."""
    after = {
        layer: torch.full((), float(max(each.after[layer].max() for each in operands if layer in each.after))).expand(shape)
        for layer in dict.fromkeys(layer for each in operands for layer in each.after)
    }
    return Value(shape, along_axis(0, shape), after, {"": 1.0})

"""Labels of channels, which of them are one, and which go together so that tensors stay regular."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_LABELLED = 2**22  # elements of a constant that are told apart
FIXED = 0  # the label of what belongs to no channel that could go


class Labels:
    """Whole numbers from 1, tied into classes; FIXED is the class of what stays."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._parent)

    def new(self, *shape: int) -> Tensor:
        """Labels that were not there before."""
        count, first = int(np.prod(shape)), len(self._parent)
        made = np.arange(first, first + count)
        self._parent = np.concatenate([self._parent, made])
        return torch.from_numpy(made.copy()).view(shape)

    def find(self, labels: Tensor) -> Tensor:
        """The class of each, its smallest label."""
        found = labels.numpy()
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return torch.from_numpy(np.ascontiguousarray(found))
            found = self._parent[above]

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Make classes one, element by element (broadcast)."""
        one, other = torch.broadcast_tensors(one, other)
        pairs = torch.stack([one.reshape(-1), other.reshape(-1)])
        pairs = pairs[:, pairs[0] != pairs[1]]
        while pairs.numel():
            low, high = (self.find(each).numpy() for each in (pairs.amin(0), pairs.amax(0)))
            low, high = np.minimum(low, high), np.maximum(low, high)
            apart = low != high
            if not apart.any():
                return
            np.minimum.at(self._parent, high[apart], low[apart])
            pairs = torch.from_numpy(np.stack([low[apart], high[apart]]))

    def fix(self, labels: Tensor) -> None:
        """Let them stay."""
        self.tie(labels, torch.zeros((), dtype=torch.int64))

    def classes(self) -> Tensor:
        """The class of every label."""
        return self.find(torch.arange(len(self._parent)))


def varying(labels: Tensor) -> list[int]:
    """Axes along which labels differ."""
    return [a for a in range(labels.dim()) if labels.shape[a] > 1 and bool((labels != labels.narrow(a, 0, 1)).any())]


def compact(labels: Tensor, axes: Sequence[int]) -> Tensor:
    """Labels with axes of length 1 in place of all but `axes`."""
    for axis in range(labels.dim()):
        if axis not in axes:
            labels = labels.narrow(axis, 0, 1)
    return labels


@dataclass
class Grid:
    """Parts (rows, m) of labels that share their rows: a row goes from all parts at once, a column from its part alone. Of one
    part a tensor's own labels, any number of axes: what goes are whole slices. linked: an operator that takes rows apart, such as
    heads or groups, asks for it; rows_only: a column is never asked to go."""

    parts: list[Tensor]
    linked: bool = False
    rows_only: bool = False

    def covered(self, free: Tensor) -> list[Tensor]:
        """Of each part the elements that lie in slices of which everything is `free` (bool by label)."""
        open_ = [free[part] for part in self.parts]
        if len(self.parts) == 1:
            (part,) = open_
            found = torch.zeros_like(part)
            for axis in range(part.dim()):
                others = [a for a in range(part.dim()) if a != axis]
                found |= part.all(dim=others, keepdim=True) if others else part
            return [found]
        rows = torch.stack([part.all(1) for part in open_]).all(0).unsqueeze(1)
        return [rows | (part.all(0, keepdim=True) if part.shape[1] > 1 else torch.zeros_like(part)) for part in open_]

    def bind(self, free: Tensor) -> bool:
        """Take back what would leave a tensor irregular; whether anything was."""
        changed = False
        for part, covered in zip(self.parts, self.covered(free), strict=True):
            back = part[free[part] & ~covered]
            if back.numel():
                free[back] = False
                changed = True
        return changed

    def tie(self, labels: Labels, whole: bool) -> None:
        """Tie so that any set of classes leaves regular tensors. whole: rows, such as heads or groups, go whole; else the same place of
        every row does."""
        parts = [labels.find(part) for part in self.parts]
        if self.linked and (whole or self.rows_only):
            for part in parts:
                labels.tie(part, parts[0][:, :1])
            return
        for part in parts:
            axes = varying(part)
            for axis in axes[:-1] if not self.linked else [0]:
                labels.tie(part, part.narrow(axis, 0, 1))


@dataclass
class Read:
    """What sums across channels: inputs (rows, m) and the results (rows, n) that rest on a row of them. operands: node, axes of its
    rows and axes that are summed; an input does not count where an operand is 0."""

    node: str
    inputs: Tensor
    outputs: Tensor
    operands: list[tuple[str, list[int], list[int]]]

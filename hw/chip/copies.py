"""Which copy of a layer takes which vector of a sample.

Copy i of n takes block i of n of a sample's vectors, of equal lengths but for one. What a block reads lies together, so that a
value goes to the copy whose block reads it and to few neighbours, and not to all copies. Blocks are cut along the columns of
the picture of results: a block is a stripe of one or more columns, and all copies go down their stripes side by side, row by
row. So a layer behind can follow some rows later, as ISAAC's line buffers want it (ISCA 2016, section on buffers); blocks of whole
rows would send as little, but each layer would wait for nearly all of the layer before. Where there are more copies than
columns, rows are dealt in turn to the copies of a column: as if every r-th row, one below another, made columns of their own.

Other deals: vectors that read one position each (a linear layer of a sequence, a kernel of 1 x 1, look-ups) go to one copy whatever the
deal, and are dealt in turn, so that those behind can follow. A layer that waits for its own results (`xbar.hw.chip.recurrence`)
takes vectors in turn, because only neighbours are ready at once. Where there are more copies than vectors in a sample,
vectors are dealt in turn over all samples, so that each sample begins at another copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xbar.hw.graph.network import MatrixLayer


@dataclass(frozen=True)
class Deal:
    """How a layer's `vectors` of each sample are dealt to `copies`.

    height: rows of the picture of results, numbered row by row; in_turn: vectors one after another in place of stripes.
    """

    vectors: int
    copies: int
    height: int = 1
    in_turn: bool = False

    @classmethod
    def of(cls, layer: MatrixLayer, copies: int, waits_for_itself: bool) -> "Deal":
        """The deal of a layer's vectors; a matrix that is used several times has the pictures of its uses one below another."""
        height = layer.height * len(layer.nodes)
        whole = layer.vectors % height == 0
        return cls(layer.vectors, copies, height if whole else 1, waits_for_itself or layer.reads.shape[1] == 1)

    @property
    def phases(self) -> int:
        """After how many samples the deal repeats."""
        return 1 if self.copies <= self.vectors else self.copies // int(np.gcd(self.vectors, self.copies))

    @cached_property
    def _dealt(self) -> list[np.ndarray]:
        """The copy of each vector, by phase."""
        numbers = np.arange(self.vectors)
        if self.copies > self.vectors:
            return [(phase * self.vectors + numbers) % self.copies for phase in range(self.phases)]
        if self.in_turn:
            return [numbers % self.copies]
        width = max(1, self.vectors // self.height)
        row, column = numbers // width, numbers % width
        side_by_side = min(self.height, -(-self.copies // width))  # rows at once
        order = np.lexsort((row // side_by_side, row % side_by_side, column))
        dealt = np.empty(self.vectors, np.int64)
        dealt[order] = numbers * self.copies // max(1, self.vectors)
        return [dealt]

    def copy_of(self, sample: int) -> np.ndarray:
        """The copy that takes each vector of the sample, int64 (vectors,)."""
        return self._dealt[sample % self.phases]

    @cached_property
    def _taken(self) -> list[list[list[int]]]:
        """The vectors of each copy, by phase and copy."""
        return [[np.flatnonzero(dealt == copy).tolist() for copy in range(self.copies)] for dealt in self._dealt]

    def vectors_of(self, copy: int, sample: int) -> list[int]:
        """The vectors of the sample that the copy takes, in its order."""
        return self._taken[sample % self.phases][copy]

    def turns(self, copy: int, samples: int) -> Iterator[tuple[int, int]]:
        """(sample, vector) of all that the copy takes of the first samples, in its order."""
        return ((sample, vector) for sample in range(samples) for vector in self.vectors_of(copy, sample))

    @property
    def longest(self) -> float:
        """Vectors a sample of the copy that takes most, on the mean of samples."""
        return -(-self.vectors // self.copies) if self.copies <= self.vectors else self.vectors / self.copies

    def share(self, copy: int) -> float:
        """Vectors that a copy takes of a sample, on the mean of samples."""
        return sum(len(taken[copy]) for taken in self._taken) / self.phases

    def next_that_helps(self) -> int:
        """The smallest larger number of copies with which the copy that takes most takes fewer; `copies` where none does."""
        longest = -(-self.vectors // self.copies)
        return -(-self.vectors // (longest - 1)) if longest > 1 else self.copies


def copies_reached(layer: MatrixLayer, copy_of: np.ndarray) -> list[tuple[int, ...]]:
    """Which copies read each position of the layer's input, when copy_of (vectors,) takes its vectors."""
    vector, _ = np.nonzero(layer.reads >= 0)
    position = layer.reads[layer.reads >= 0]
    pairs = np.unique(np.stack([position, copy_of[vector]]), axis=1)
    reached: list[tuple[int, ...]] = [()] * layer.positions
    if pairs.size:
        starts = np.flatnonzero(np.diff(pairs[0], prepend=-1))
        for first, chunk in zip(starts, np.split(pairs[1], starts[1:]), strict=True):
            reached[int(pairs[0, first])] = tuple(chunk.tolist())
    return reached

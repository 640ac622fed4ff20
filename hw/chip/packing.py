"""Blocks of several matrices on shared crossbars: where each lies, and how few crossbars there can be.

Two-dimensional bin packing of rectangles that keep their sides (rows are wordlines), with one rule more: no two blocks of one owner
lie on the same crossbar, because those of a layer copy are read at once. `pack` takes blocks one after another to where the
shorter side of what is left is least ("best short side fit" of maximal rectangles: J. Jylänki, A Thousand Ways to Pack the Bin,
2010), in several orders, and keeps the fewest crossbars: a heuristic, next to which `least` is what no packing goes below.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import NamedTuple


class Block(NamedTuple):
    """What lies on one crossbar, wordlines x bitlines, of one owner."""

    owner: int
    rows: int
    columns: int


class Spot(NamedTuple):
    """Where a block lies: number of the crossbar, from 0, and its first wordline and bitline."""

    crossbar: int
    row: int
    column: int


Order = Callable[[Block], tuple[int, ...]]
ORDERS: tuple[Order, ...] = (  # largest first
    lambda block: (block.rows * block.columns, block.rows),
    lambda block: (block.rows, block.columns),
    lambda block: (block.columns, block.rows),
    lambda block: (max(block.rows, block.columns), min(block.rows, block.columns)),
)


def pack(blocks: Sequence[Block], wordlines: int, bitlines: int) -> list[Spot]:
    """Where each block lies, on as few crossbars of that size as were found; they are numbered from 0 on, in no order."""
    return min((_packed(blocks, order, wordlines, bitlines) for order in ORDERS), key=used)


def used(spots: Iterable[Spot]) -> int:
    """Crossbars that hold something."""
    return len({spot.crossbar for spot in spots})


def least(blocks: Sequence[Block], wordlines: int, bitlines: int) -> int:
    """A number of crossbars below which no packing of these blocks goes: the largest of

    - their cells over those of a crossbar;
    - blocks of one owner, which all lie apart;
    - for thresholds r <= wordlines / 2 and c <= bitlines / 2: blocks of more than wordlines - r rows and more than bitlines - c
      columns, each on a crossbar of its own where no other block of at least r rows and c columns finds room, neither beside nor below
      it (nor does a second of them), and for these others, the larger of their cells over those of a crossbar and the blocks of one
      owner among them (as bound L3 of S. Martello and D. Vigo, Management Science 44(3), 1998, which knows no owners).
    """
    kinds = Counter(blocks)
    bound = _least_together(kinds, wordlines * bitlines)
    for r in {min(block.rows, wordlines - block.rows + 1) for block in kinds}:
        for c in {min(block.columns, bitlines - block.columns + 1) for block in kinds}:
            if r > wordlines // 2 or c > bitlines // 2:
                continue
            alone, others = 0, Counter[Block]()
            for block, count in kinds.items():
                if block.rows > wordlines - r and block.columns > bitlines - c:
                    alone += count
                elif block.rows >= r and block.columns >= c:
                    others[block] = count
            bound = max(bound, alone + _least_together(others, wordlines * bitlines))
    return bound


def _least_together(kinds: Counter[Block], cells: int) -> int:
    """By cells, and by blocks of one owner."""
    owners: Counter[int] = Counter()
    for block, count in kinds.items():
        owners[block.owner] += count
    area = ceil(sum(count * block.rows * block.columns for block, count in kinds.items()) / cells)
    return max(area, max(owners.values(), default=0))


class _Crossbar:
    """One that is being filled: maximal free rectangles (row, column, rows, columns), and whose blocks it holds."""

    def __init__(self, wordlines: int, bitlines: int):
        self.free = [(0, 0, wordlines, bitlines)]
        self.owners: set[int] = set()

    def put(self, row: int, column: int, block: Block) -> None:
        """A block at a place that is free."""
        self.owners.add(block.owner)
        bottom, right = row + block.rows, column + block.columns
        left = []
        for top, first, rows, columns in self.free:
            if top >= bottom or top + rows <= row or first >= right or first + columns <= column:
                left.append((top, first, rows, columns))
                continue
            if row > top:
                left.append((top, first, row - top, columns))
            if top + rows > bottom:
                left.append((bottom, first, top + rows - bottom, columns))
            if column > first:
                left.append((top, first, rows, column - first))
            if first + columns > right:
                left.append((top, right, rows, first + columns - right))
        left = list(dict.fromkeys(left))
        self.free = [each for each in left if not any(other != each and _inside(each, other) for other in left)]

    def leave(self, rows: int, columns: int) -> None:
        """Forget free places for less than so many rows or columns."""
        self.free = [each for each in self.free if each[2] >= rows and each[3] >= columns]


def _inside(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return (
        one[0] >= other[0] and one[1] >= other[1]
        and one[0] + one[2] <= other[0] + other[2] and one[1] + one[3] <= other[1] + other[3]
    )  # fmt: skip


def _packed(blocks: Sequence[Block], order: Order, wordlines: int, bitlines: int) -> list[Spot]:
    """Where each block lies when taken in that order, the largest first, those of one size owner by owner."""
    numbers = sorted(range(len(blocks)), key=lambda k: (*(-side for side in order(blocks[k])), blocks[k].owner, k))
    rows, columns = (min((getattr(block, side) for block in blocks), default=1) for side in ("rows", "columns"))
    found: dict[int, Spot] = {}
    open_ones: dict[int, _Crossbar] = {}
    begun = 0
    for k in numbers:
        block = blocks[k]
        best: tuple[int, int, int, int, int] | None = None
        for number, crossbar in open_ones.items():
            if block.owner in crossbar.owners:
                continue
            for row, column, high, wide in crossbar.free:
                below, beside = high - block.rows, wide - block.columns
                if below >= 0 and beside >= 0:
                    candidate = (min(below, beside), max(below, beside), number, row, column)
                    best = candidate if best is None or candidate < best else best
        if best is None:
            best = (0, 0, begun, 0, 0)
            open_ones[begun] = _Crossbar(wordlines, bitlines)
            begun += 1
        found[k] = Spot(*best[2:])
        crossbar = open_ones[best[2]]
        crossbar.put(best[3], best[4], block)
        crossbar.leave(rows, columns)
        if not crossbar.free:
            del open_ones[best[2]]
    return [found[k] for k in range(len(blocks))]

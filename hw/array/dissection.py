"""Crossbars of linear cells and resistive wires, seen from their terminals: nested dissection of the network, in float64.

A rectangle of cells is a network between the wire ends on its four sides. Two neighbours share wire ends; with these eliminated they
are one network again (A. George, "Nested dissection of a regular finite element mesh", SIAM J. Numer. Anal. 10 (1973) 345). From
4 x 4 cells up to the whole array this takes of the order of n³ operations for n x n cells.

A network is held as the conductances between its ends, all 0 or more. What eliminated nodes add to them is a sum of products of
positive numbers, and what a node has to all others is summed anew each time: segments of next to no resistance beside cells of next
to no conductance lose no digits. Digits are lost where a driver or sense resistance is far above that of all cells in parallel: as
many as the ratio of the two has.
"""

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

import torch
from torch import Tensor

from xbar.hw.array.wires import Wires
from xbar.hw.errors import ConvergenceError

BLOCK = 2**14  # cells up to which all rectangles of one size are taken together: what they hold fits a core's cache
SMALLEST = 4  # wordlines, and bitlines, up to which a rectangle's nodes are eliminated one by one
GATHERED = 192  # ends up to which they are put in order value by value: twice as fast where groups are small
ALIGNED = 8  # numbers of a cache line, the widest that processors of x86-64 take at once
STEP = 32  # lines, to a multiple of which arrays are cut that are larger, or cannot be halved down to so many

Along = Literal["word", "bit"]
Sides = dict[Along, list[int]]
ACROSS: dict[Along, Along] = {"word": "bit", "bit": "word"}


def between_terminals(cells: Tensor, wires: Wires, rows_per_node: int) -> Tensor:
    """Conductances [S] (tiles, terminals, terminals) between wordlines' sources, then bitlines' grounds; 0 on the diagonal.

    cells: (tiles, wordlines, bitlines) [S], access transistors already in series. Whatever the voltages of sources and grounds, the
    current from one terminal to another is that through a resistor of this conductance. rows_per_node: as in
    `parasitics.effective_conductance`. A tile's result has the same bits whatever tiles are solved with it. Raises ConvergenceError
    where resistances lie too far apart for float64.
    """
    tiles, wordlines, bitlines = cells.shape
    word_far = _far_end(wires.wordline, wires.driver, wires.driven_from == "both", bitlines)
    bit_far = _far_end(wires.bitline, wires.sense, wires.sensed_at == "both", wordlines // rows_per_node)
    columns = bitlines - 1 if word_far and wires.driver == 0 else bitlines
    rows = rows_per_node if bit_far and wires.sense == 0 else 0
    if columns == bitlines and rows == 0:
        return _between(cells, wires, rows_per_node, word_far, bit_far)
    held = cells.new_zeros(tiles, wordlines + bitlines, wordlines + bitlines)
    row, column = torch.arange(wordlines, device=cells.device), torch.arange(bitlines, device=cells.device)
    for above, of_rows in ((bit_far, row[rows:]), (0.0, row[:rows])):  # between cells at a tied far end and their terminal is no wire
        for beyond, of_columns in ((word_far, column[:columns]), (0.0, column[columns:])):
            if len(of_rows) and len(of_columns):
                places = torch.cat([of_rows, wordlines + of_columns])
                held[:, places[:, None], places] += _between(cells[:, of_rows][:, :, of_columns], wires, rows_per_node, beyond, above)
    return held


def _far_end(segment: float, end: float, both: bool, nodes: int) -> float:
    """Conductance [S] from a line's last node to its terminal, 0 where it leads nowhere; from the last but one where the last is the
    terminal itself (0 ohm)."""
    return 1 / (end or segment) if both and segment > 0 and (end > 0 or nodes > 1) else 0.0


def _between(cells: Tensor, wires: Wires, rows_per_node: int, word_far: float, bit_far: float) -> Tensor:
    """`between_terminals` of arrays whose lines lead on to their terminals with these conductances [S], 0 for not."""
    tiles, wordlines, bitlines = cells.shape
    nodes = wordlines // rows_per_node
    grid = cells.new_empty(rows_per_node + 2, tiles, nodes, bitlines)
    grid[:-2] = cells.flip(1).unflatten(1, (nodes, rows_per_node)).movedim(2, 0)  # the sensed end first
    grid[-2] = 1 / wires.wordline if wires.wordline > 0 else 0.0
    grid[-2, ..., -1] = word_far
    grid[-1] = 1 / wires.bitline if wires.bitline > 0 else 0.0
    grid[-1, ..., -1, :] = bit_far
    resistances: dict[Along, float] = {"word": wires.wordline, "bit": wires.bitline}
    single = tuple(along for along in ACROSS if resistances[along] == 0)
    try:
        part = _part(grid, {"word": word_far > 0, "bit": bit_far > 0}, single)
        part = _led_to(part, "word", wires.driver, wires.driven_from == "both")
        part = _led_to(part, "bit", wires.sense, wires.sensed_at == "both")
    except torch.linalg.LinAlgError as error:
        raise ConvergenceError(f"resistances lie too far apart to be solved in float64: {wires}") from error
    held = part.between
    for dim in (1, 2):
        groups = held.split(part.sizes, dim)
        sides = []
        for along in ACROSS:
            side = torch.cat([groups[group] for group in part.near[along]], dim)
            if not part.single(along) and part.lines(along, part.far):
                side = side + torch.cat([groups[group] for group in part.far[along]], dim)
            sides.append(side.flip(dim) if along == "word" else side)
        held = torch.cat(sides, dim)
    held.diagonal(dim1=-2, dim2=-1).zero_()
    return held


# --- networks between the ends of their lines --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Part:
    """A network between the ends of its lines; near: at the side where they are driven or sensed.

    between: conductances [S] (batch, ends, ends), 0 on the diagonal. Ends lie in groups of these sizes; near, far: the groups that make
    up a side. The near end of a line that is one node is its far end; far ends that lead nowhere are on no side.
    """

    between: Tensor
    sizes: list[int]
    near: Sides
    far: Sides

    def single(self, along: Along) -> bool:
        """Whether these lines are one node."""
        return self.near[along] == self.far[along]

    def lines(self, along: Along, side: Sides) -> int:
        return sum(self.sizes[group] for group in side[along])

    def arranged(self, along: Along) -> "Part":
        """The same with these lines' near ends first, their far ends last, and each side one group."""
        across = ACROSS[along]
        sides = [self.near[along], self.near[across]]
        beyond, far = 1, 0  # the groups of far ends across and along
        if not self.single(across):
            beyond = len(sides)
            sides.append(self.far[across])
        if not self.single(along):
            far = len(sides)
            sides.append(self.far[along])
        between = _ordered(self.between, self.sizes, [group for side in sides for group in side])
        sizes = [sum(self.sizes[group] for group in side) for side in sides]
        return Part(between, sizes, {along: [0], across: [1]}, {along: [far], across: [beyond]})


def _ordered(between: Tensor, sizes: list[int], order: list[int]) -> Tensor:
    """Conductances between the ends of these groups only, in this order."""
    if order == list(range(len(sizes))):
        return between
    if between.shape[1] <= GATHERED:
        places, ends = _places(tuple(sizes), tuple(order))
        return between.flatten(1).gather(1, places.to(between.device).expand(len(between), -1)).view(-1, ends, ends)
    for dim in (1, 2):
        groups = between.split(sizes, dim)
        between = torch.cat([groups[group] for group in order], dim)
    return between


@lru_cache(maxsize=64)
def _places(sizes: tuple[int, ...], order: tuple[int, ...]) -> tuple[Tensor, int]:
    """Where the conductances between the ends of these groups lie in a flat matrix, and how many ends there are."""
    groups = torch.arange(sum(sizes)).split(sizes)
    ends = torch.cat([groups[group] for group in order])
    return (ends.unsqueeze(1) * sum(sizes) + ends).flatten(), len(ends)


def _led_to(part: Part, along: Along, end: float, both: bool) -> Part:
    """The part with the near ends of its lines behind resistors of `end` [ohm]: two beside each other where a line of one node has both."""
    if end == 0:
        return part
    lines, single = part.lines(along, part.near), part.single(along)
    between = part.between.new_zeros(len(part.between), 2 * lines, 2 * lines)
    for offset in (lines, -lines):
        between.diagonal(offset, -2, -1).fill_((2 if both and single else 1) / end)
    resistors = Part(between, [lines, lines], {along: [0], ACROSS[along]: []}, {along: [1], ACROSS[along]: []})
    return _joined(resistors, replace(part, far=part.far | {along: []}) if single else part, along)


def _part(grid: Tensor, leads: dict[Along, bool], single: tuple[Along, ...]) -> Part:
    """The network of a grid (rows per node + 2, batch, nodes, bitlines) [S]: cells, then the segments that follow along wordline and
    bitline. leads: whether the far ends lead anywhere; single: lines of one node."""
    cut = _cut(grid)
    if cut is None:
        part = _block(grid, single)
        return replace(part, far={along: side if leads[along] or along in single else [] for along, side in part.far.items()})
    along, dim, size = cut
    near = _part(grid.narrow(dim, 0, size), leads | {along: True}, single)
    return _joined(near, _part(grid.narrow(dim, size, grid.shape[dim] - size), leads, single), along)


def _cut(grid: Tensor) -> tuple[Along, int, int] | None:
    """Along which lines to cut a grid in two of different sizes or ends, that dimension, and how much of it comes first."""
    nodes, columns = grid.shape[2:]
    along, dim = _longer(grid)
    if _odd(columns) > STEP:
        along, dim = "word", 3
    elif _odd(nodes) > STEP:
        along, dim = "bit", 2
    elif nodes * columns * (len(grid) - 2) <= BLOCK or nodes == columns == 1:
        return None
    size = grid.shape[dim]
    if _odd(size) > STEP and size % STEP:
        return along, dim, size // STEP * STEP
    return along, dim, round(size / 2 / STEP) * STEP if size > STEP else size // 2


def _odd(size: int) -> int:
    """What is left of a size halved as often as it can be."""
    return size // (size & -size)


def _block(grid: Tensor, single: tuple[Along, ...]) -> Part:
    """The same of fewer cells, all rectangles of one size together; far ends are kept wherever they lead."""
    nodes, columns = grid.shape[2:]
    if columns <= SMALLEST and (nodes == 1 or nodes * (len(grid) - 2) <= SMALLEST):
        return _rectangle(grid, single)
    along, dim = _longer(grid)
    size = grid.shape[dim]
    if size % 2:
        near, far = (_block(grid.narrow(dim, *place), single) for place in ((0, size - 1), (size - 1, 1)))
    else:
        both = _block(torch.cat(grid.split(size // 2, dim), 1), single).arranged(along)
        near, far = (replace(both, between=half) for half in both.between.chunk(2))
    return _joined(near, far, along)


def _longer(grid: Tensor) -> tuple[Along, int]:
    """Along which lines a grid is cut, and that dimension of it: where fewer wires cross."""
    nodes, columns = grid.shape[2:]
    return ("word", 3) if nodes == 1 or 1 < columns >= nodes * (len(grid) - 2) else ("bit", 2)


# --- two parts into one ------------------------------------------------------------------------------------------


def _joined(near: Part, far: Part, along: Along) -> Part:
    """Two neighbours as one: the far ends of the one are the near ends of the other, eliminated unless they are lines of one node."""
    near, far, across = near.arranged(along), far.arranged(along), ACROSS[along]
    single = far.single(along)
    shared, kept = far.sizes[0], near.sizes if single else near.sizes[:-1]
    between = (_beside if single else _joint)(near.between, far.between, shared)

    def moved(side: Sides, along: Along) -> list[int]:
        """Groups of the far part, of which the first is shared, behind those kept of the near part."""
        return [group - 1 + len(kept) for group in side[along]]

    nears = near.near[across] + moved(far.near, across)
    fars = nears if far.single(across) else near.far[across] + moved(far.far, across)
    return Part(
        between,
        [*kept, *far.sizes[1:]],
        {along: [0], across: nears},
        {along: [0] if single else moved(far.far, along), across: fars},
    )


def _beside(one: Tensor, other: Tensor, shared: int) -> Tensor:
    """Conductances between the ends that two parts share (the first of each), the other ends of the one, and those of the other."""
    first, second = one.shape[1], other.shape[1] - shared
    whole = one.new_zeros(len(one), first + second, first + second)
    whole[:, :first, :first] = one
    whole[:, :shared, :shared] += other[:, :shared, :shared]
    whole[:, :shared, first:] = other[:, :shared, shared:]
    whole[:, first:, :shared] = other[:, shared:, :shared]
    whole[:, first:, first:] = other[:, shared:, shared:]
    return whole


def _joint(one: Tensor, other: Tensor, shared: int) -> Tensor:
    """Conductances between the ends that two parts do not share, with those that they do (the last of the one, the first of the other)
    eliminated: by Cholesky's factors of the shared nodes' conductance matrix. Every matrix begins at a multiple of `ALIGNED` numbers, with
    nodes that are joined to none between: what a processor's library makes of one depends on where it lies."""
    first, second = one.shape[1] - shared, other.shape[1] - shared
    inside, ours_end, width = _aligned(shared), _aligned(first), _aligned(first) + _aligned(second)
    matrix, outwards = one.new_zeros(len(one), inside, inside), one.new_zeros(len(one), inside, width)
    torch.add(one[:, first:, first:], other[:, :shared, :shared], out=matrix[:, :shared, :shared]).neg_()
    matrix.diagonal(dim1=-2, dim2=-1).fill_(1.0)[:, :shared] = one[:, first:].sum(-1) + other[:, :shared].sum(-1)
    outwards[:, :shared, :first] = one[:, first:, :first]
    outwards[:, :shared, ours_end : ours_end + second] = other[:, :shared, shared:]
    arms = torch.linalg.solve_triangular(torch.linalg.cholesky(matrix), outwards, upper=False)
    ours, theirs = arms[..., :ours_end], arms[..., ours_end:]
    result = one.new_empty(len(one), first + second, first + second)
    torch.add(one[:, :first, :first], (ours.mT @ ours)[:, :first, :first], out=result[:, :first, :first])
    torch.add(other[:, shared:, shared:], (theirs.mT @ theirs)[:, :second, :second], out=result[:, first:, first:])
    result[:, :first, first:] = (ours.mT @ theirs)[:, :first, :second]
    result[:, first:, :first] = result[:, :first, first:].mT
    result.diagonal(dim1=-2, dim2=-1).zero_()
    return result


def _aligned(count: int) -> int:
    """So many numbers, or the next multiple of `ALIGNED`."""
    return -(-count // ALIGNED) * ALIGNED


# --- the smallest rectangles: node after node, in all of them at once --------------------------------------------


@dataclass(frozen=True, eq=False)
class Star:
    """A node that is eliminated: the pairs of nodes that it is in (`arms`); of each two arms the `one`, the `other`, and the pair of
    nodes to which they lead (`pairs`)."""

    arms: Tensor
    one: Tensor
    other: Tensor
    pairs: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """How a rectangle comes to its ends: so many pairs of nodes, of which cells and segments are the first, and star after star.

    sizes: how many ends are on each side; between: the pair of each two ends, side by side.
    """

    pairs: int
    stars: list[Star]
    sizes: list[int]
    between: Tensor


def _rectangle(grid: Tensor, single: tuple[Along, ...]) -> Part:
    """`_part` of very few cells: each node inside turned from a star into a mesh."""
    rows, batch, nodes, columns = len(grid) - 2, *grid.shape[1:]
    plan = _plan(rows, nodes, columns, single)
    segments: dict[Along, Tensor] = {"word": grid[-2].repeat_interleave(rows, 1), "bit": grid[-1]}
    values = [grid[:-2].movedim(0, 2), *(segments[along] for along in ACROSS if along not in single)]
    given = torch.cat([value.flatten(1) for value in values], 1).mT
    pairs = torch.cat([given, given.new_zeros(plan.pairs - len(given), batch)])
    for star in plan.stars:
        arms = pairs[star.arms]
        arms = arms / _total(arms).sqrt()
        pairs[star.pairs] += arms[star.one] * arms[star.other]
    ends = sum(plan.sizes)
    between = pairs[plan.between].view(ends, ends, batch).permute(2, 0, 1).contiguous()
    near: Sides = {"word": [0], "bit": [1]}
    far = near | {along: [group] for group, along in enumerate((each for each in ACROSS if each not in single), 2)}
    return Part(between, plan.sizes, near, far)


@cache
def _plan(rows: int, nodes: int, columns: int, single: tuple[Along, ...]) -> Plan:
    """For so many rows per node, nodes along the bitlines, and bitlines; nodes with the fewest arms first."""
    lines = range(nodes * rows)
    word = [[("word", line, 0 if "word" in single else j) for j in range(columns + 1)] for line in lines]
    bit = [[("bit", 0 if "bit" in single else node, j) for j in range(columns)] for node in range(nodes + 1)]
    joins: list[tuple[Hashable, Hashable]] = [(word[line][j], bit[line // rows][j]) for line in lines for j in range(columns)]
    sides: list[list[Hashable]] = [[line[0] for line in word], list(bit[0])]
    if "word" not in single:
        joins += [(word[line][j], word[line][j + 1]) for line in lines for j in range(columns)]
        sides.append([line[-1] for line in word])
    if "bit" not in single:
        joins += [(bit[node][j], bit[node + 1][j]) for node in range(nodes) for j in range(columns)]
        sides.append(list(bit[-1]))
    number = {frozenset(pair): place for place, pair in enumerate(joins)}
    beside: dict[Hashable, list[Hashable]] = {}
    for one, other in joins:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    ends = [end for side in sides for end in side]
    inside = [node for node in beside if node not in ends]
    stars = []
    while inside:
        node = min(inside, key=lambda each: len(beside[each]))
        inside.remove(node)
        arms = beside.pop(node)
        for arm in arms:
            beside[arm] = [each for each in dict.fromkeys(beside[arm] + arms) if each not in (node, arm)]
        two = list(itertools.combinations(range(len(arms)), 2))
        pairs = [number.setdefault(frozenset((arms[one], arms[other])), len(number)) for one, other in two]
        held = [number[frozenset((node, arm))] for arm in arms]
        stars.append(Star(*(torch.tensor(each, dtype=torch.long) for each in (held, *zip(*two, strict=True), pairs))))
    unjoined = len(number)
    between = torch.tensor([number.get(frozenset((one, other)), unjoined) for one in ends for other in ends])
    return Plan(unjoined + 1, stars, [len(side) for side in sides], between)


def _total(values: Tensor) -> Tensor:
    """Sum over the first dimension, in the same order for each sum whatever lies beside it."""
    while len(values) > 1:
        half = len(values) // 2
        values = torch.cat([values[:half] + values[half : 2 * half], values[2 * half :]])
    return values[0]

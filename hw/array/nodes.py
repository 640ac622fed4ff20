"""The wires of a crossbar as lines of nodes, and how the nodes of one are eliminated into the next."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xbar.hw.array.wires import Wires

MANY = 64  # bitlines from which it pays to save work
KEPT = 1e4  # a segment's conductance over that of what lies behind it, where a difference of the two keeps 12 digits


@dataclass(frozen=True, eq=False)
class Line:
    """A wire with `nodes` nodes in a row, joined by `segment` [S]; `ends` (nodes,) [S] lead to its source or ground.

    tied (nodes,): at the source or ground itself. One node stands for all cells where the segments are 0 ohm.
    """

    segment: float
    ends: Tensor
    tied: Tensor

    @property
    def nodes(self) -> int:
        return len(self.ends)

    @cached_property
    def matrix(self) -> Tensor:
        """Conductance matrix (nodes, nodes) [S] of the wire with its ends."""
        joins = torch.full((self.nodes - 1,), self.segment, dtype=torch.float64, device=self.ends.device)
        sums = torch.nn.functional.pad(joins, (0, 1)) + torch.nn.functional.pad(joins, (1, 0))
        return torch.diag(sums + self.ends) - torch.diag(joins, 1) - torch.diag(joins, -1)

    @cached_property
    def injection(self) -> Tensor:
        """Current (nodes,) [A] into each node when source or ground are at 1 V and the other nodes at 0."""
        return self.ends - self.matrix[:, self.tied].sum(1)

    def demand(self, drops: Tensor) -> Tensor:
        """Current (..., nodes) [A] that the wire supplies to each node at `drops` (..., nodes) [V]; 0 at tied ones."""
        flows = self.segment * drops.diff(dim=-1)  # one number for both its ends: no rounding makes current
        pad = torch.nn.functional.pad
        return (self.ends * drops + pad(flows, (1, 0)) - pad(flows, (0, 1))).masked_fill(self.tied, 0.0)

    def power(self, drops: Tensor) -> Tensor:
        """Power (...,) [W] in the wire and its ends."""
        return self.segment * drops.diff(dim=-1).square().sum(-1) + (self.ends * drops.square()).sum(-1)

    def inverse(self, shunt: Tensor) -> Tensor:
        """Drops (..., nodes, nodes) [V] per current drawn at each node, `shunt` (..., nodes) [S] beside the wire.

        The inverse of a tridiagonal matrix in closed form, from the conductance seen to the left and to the right of
        every node: only sums, products and quotients of positive numbers.
        """
        count, segment = self.nodes, self.segment
        own = (shunt + self.ends).masked_fill(self.tied, float("inf")).unbind(-1)
        left, right = [torch.zeros_like(own[0])], [torch.zeros_like(own[0])]
        for node in range(count - 1):
            left.append(segment / (1 + segment / (left[-1] + own[node])))
            right.append(segment / (1 + segment / (right[-1] + own[count - 1 - node])))
        right.reverse()
        result = shunt.new_empty(*shunt.shape[:-1], count, count)
        for node in range(count):
            result[..., node, node] = 1 / (left[node] + own[node] + right[node])
        for node in range(count - 1):  # a node's voltage follows from its neighbour's on the side of the current
            back, below = count - 2 - node, node + 1
            share = 1 / (1 + (left[back] + own[back]) / segment)
            torch.mul(share.unsqueeze(-1), result[..., back + 1, back + 1 :], out=result[..., back, back + 1 :])
            share = 1 / (1 + (right[below] + own[below]) / segment)
            torch.mul(share.unsqueeze(-1), result[..., node, :below], out=result[..., below, :below])
        return result


def line_of(cells: int, segment: float, end: float, at: tuple[int, ...], device: torch.device) -> Line:
    """Line along `cells` cells; segment, end [ohm]; the end resistance leads away from the cells `at` (0 or -1)."""
    nodes = cells if segment > 0 else 1
    ends = torch.zeros(nodes, dtype=torch.float64, device=device)
    tied = torch.zeros(nodes, dtype=torch.bool, device=device)
    for place in at:
        if end > 0:
            ends[place] += 1 / end
        else:
            tied[place] = True
    return Line(1 / segment if nodes > 1 else 0.0, ends, tied)


@dataclass(frozen=True, eq=False)
class Network:
    """The wires of (wordlines, bitlines) cells: `word` along each wordline, `bit` along each bitline."""

    wires: Wires
    word: Line
    bit: Line
    bitlines: int
    rows: int  # wordlines per bitline node, all of them where a bitline is one node
    bitline_nodes: int  # before merging

    def at_word(self, of_cells: Tensor) -> Tensor:
        """Sum (..., wordlines, word nodes) of (..., wordlines, bitlines)."""
        return of_cells if self.word.nodes == self.bitlines else of_cells.sum(-1, keepdim=True)

    def at_bit(self, of_cells: Tensor) -> Tensor:
        """Sum (..., bit nodes, bitlines) of (..., wordlines, bitlines)."""
        return of_cells if self.rows == 1 else of_cells.unflatten(-2, (self.bit.nodes, self.rows)).sum(-2)

    def to_cells(self, of_bit: Tensor) -> Tensor:
        """(..., wordlines, bitlines) of (..., bit nodes, bitlines)."""
        return of_bit if self.rows == 1 else of_bit.repeat_interleave(self.rows, dim=-2)

    def across(self, voltages: Tensor, word: Tensor, bit: Tensor) -> Tensor:
        """Voltage (..., wordlines, bitlines) [V] between word and bit node of every cell."""
        return voltages.unsqueeze(-1) - word - self.to_cells(bit)

    def missing(self, current: Tensor, word: Tensor, bit: Tensor) -> tuple[Tensor, Tensor]:
        """Wire current less cell current [A] at every word and every bit node, 0 at tied ones."""
        at_word = self.word.demand(word) - self.at_word(current).masked_fill(self.word.tied, 0.0)
        demand = self.bit.demand(bit.mT).mT
        return at_word, demand - self.at_bit(current).masked_fill(self.bit.tied.unsqueeze(-1), 0.0)


def network_of(cells: Tensor, wires: Wires, rows_per_node: int) -> Network:
    """The network of cells (..., wordlines, bitlines)."""
    wordlines, bitlines = cells.shape[-2:]
    nodes = wordlines // rows_per_node
    driven = (0,) if wires.driven_from == "one" else (0, -1)
    sensed = (-1,) if wires.sensed_at == "one" else (0, -1)
    word = line_of(bitlines, wires.wordline, wires.driver, driven, cells.device)
    bit = line_of(nodes, wires.bitline, wires.sense, sensed, cells.device)
    return Network(wires, word, bit, bitlines, wordlines // bit.nodes, nodes)


def load_of(cells: Tensor, inverse: Tensor) -> Tensor:
    """Conductance matrix (tiles, bitlines, bitlines) of (tiles, rows, bitlines) cells behind their wordlines."""
    taken = inverse * cells.unsqueeze(-1) * cells.unsqueeze(-2)
    load = -(taken[:, 0] if cells.shape[1] == 1 else taken.sum(1))
    load.diagonal(dim1=-2, dim2=-1).add_(cells.sum(1))
    return load


def eliminated(node: int, load: Tensor, above: Tensor, bit: Line) -> tuple[Tensor, Tensor]:
    """Inverse of a node's matrix (0 where tied), and the conductance that the next node sees through its segment.

    All (tiles, bitlines, bitlines); above: what this node sees of those before. A segment s in series with a
    conductance matrix E is s E (s + E)^-1; written as a difference, s - s (s + E)^-1 s, which saves a product of matrices, it loses the
    digits of E where s is large: s / E of them, at most 4 of 16 (`KEPT`).
    """
    if bool(bit.tied[node]):
        return torch.zeros_like(load), bit.segment * torch.eye(load.shape[-1], dtype=load.dtype, device=load.device)
    upwards = load + above
    upwards.diagonal(dim1=-2, dim2=-1).add_(bit.ends[node])
    if node == bit.nodes - 1:
        return _inverse(upwards), upwards
    matrix = upwards.clone()
    matrix.diagonal(dim1=-2, dim2=-1).add_(bit.segment)
    inverse = _inverse(matrix)
    if matrix.shape[-1] >= MANY and bit.segment < KEPT * float(upwards.diagonal(dim1=-2, dim2=-1).min()):
        seen = inverse * -(bit.segment**2)
        seen.diagonal(dim1=-2, dim2=-1).add_(bit.segment)
        return inverse, seen
    return inverse, bit.segment * (upwards @ inverse)


def _inverse(matrix: Tensor) -> Tensor:
    """Of symmetric matrices (tiles, n, n) whose diagonal outweighs the rest: by Cholesky's factors, half of the work of a general one's."""
    if matrix.shape[-1] >= MANY:
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not bool(failed.any()):
            return torch.cholesky_inverse(factor)
    return torch.linalg.inv_ex(matrix)[0]

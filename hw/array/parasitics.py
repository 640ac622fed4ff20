"""Wire resistance: what flows in a programmed crossbar whose wires are resistors, solved at every node, in float64.

- `effective_conductance`, `source_conductance`, `transfer`: with every wordline driven (0 V counts as driven) a
  crossbar of linear cells and resistive wires is a linear network, so its bitline and source currents are fixed
  matrices times the voltages: solved once per programmed crossbar, every product after it costs a matmul.
- `solve`: all node voltages, currents and powers of that network for given voltages.
- `solve_nonlinear`: the same for cells with any current-voltage law (`xbar.hw.cells.law`), by Newton.
- `gated_currents`: arrays whose inputs switch the cells on; the network then depends on the input.

Kirchhoff's current law at every node, direct elimination, tiles batched: the wordline nodes of a row are eliminated
into the bitline nodes of that row (a Norton equivalent of the row), then rows are chained down the bitlines. A
segment of 0 ohm merges its nodes. Floating lines are not modelled.

The unknowns are voltage drops (wordlines: from the source; bitlines: from ground), so that wires of next to no
resistance lose no digits. Tied nodes (at a source or at ground through 0 ohm) have a drop of 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from xbar.hw.cells.law import CellLaw, Linear, WithAccess
from xbar.hw.errors import ConvergenceError, ParameterError

Ends = Literal["one", "both"]
CHUNK_BYTES = 2**25  # of one (tiles, wordlines, bitlines, bitlines) array; a few are alive at once
EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Wires:
    """Resistances [ohm] of a crossbar's wires, all from 0 on.

    wordline, bitline: of the segment between neighbouring cells; driver: from a source to its line's first cell;
    sense: from a line's last cell to its virtual ground; access: of the transistor in series with each cell.
    driven_from "both": the same voltage at both ends of a wordline; sensed_at "both": a bitline's current is taken at
    both ends and added.
    """

    wordline: float
    bitline: float
    driver: float = 0.0
    sense: float = 0.0
    driven_from: Ends = "one"
    sensed_at: Ends = "one"
    access: float = 0.0

    def __post_init__(self) -> None:
        _check_resistances(self, ("wordline", "bitline", "driver", "sense", "access"))
        for name in ("driven_from", "sensed_at"):
            if getattr(self, name) not in ("one", "both"):
                raise ParameterError(f"wires.{name} must be 'one' or 'both', got {getattr(self, name)!r}")


@dataclass(frozen=True)
class GatedWires:
    """Resistances [ohm] of an array whose inputs switch its cells on, all from 0 on.

    Every bitline has its own source line beside it, fed at the first row's side; the bitline is sensed at the last
    row's side. source_line, bitline: of the segment between neighbouring rows; driver: all between the source and the
    first row; sense: all between the last row and the virtual ground; access: in series with each cell. Rows of the
    array that are not used lengthen driver (where they come before the first row) or sense (after the last).
    """

    source_line: float
    bitline: float
    driver: float = 0.0
    sense: float = 0.0
    access: float = 0.0

    def __post_init__(self) -> None:
        _check_resistances(self, ("source_line", "bitline", "driver", "sense", "access"))


def _check_resistances(wires: Wires | GatedWires, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(wires, name)
        if not 0 <= value < float("inf"):
            raise ParameterError(f"wires.{name} must be 0 ohm or more and finite, got {value}")


@dataclass(frozen=True, eq=False)
class Solution:
    """Everything that a network's equations say; leading dimensions as given, then vectors.

    wordline_voltage, cell_current: (..., vectors, wordlines, bitlines) [V], [A]; bitline_voltage: (..., vectors,
    nodes, bitlines) [V], one node per `rows_per_node` wordlines; bitline_current: (..., vectors, bitlines) [A].
    Powers (..., vectors) [W]: source_power delivered by all sources = cell_power (in the cells alone) + wire_power
    (all wires, drivers, senses and access transistors).
    residual: largest current missing at any node over the largest current of its vector; with stiff segments mostly
    the rounding of their drops, which moves no current. iterations: linear systems solved one after the other.
    """

    wordline_voltage: Tensor
    bitline_voltage: Tensor
    cell_current: Tensor
    bitline_current: Tensor
    source_power: Tensor
    cell_power: Tensor
    wire_power: Tensor
    residual: float
    iterations: int


def effective_conductance(conductance: Tensor, wires: Wires, rows_per_node: int = 1) -> Tensor:
    """Conductances (..., wordlines, bitlines) [S] float64 with which ideal wires would give the same currents.

    conductance: of the cells, the same shape [S]. Wordlines are driven at the first bitline's side, bitlines sensed
    at the last wordline's side (or at both ends). Current of bitline j = sum_i V_i effective[i, j].
    rows_per_node: so many neighbouring wordlines end at the same node of each bitline (2: interleaved pairs, row 2i
    for +, 2i + 1 for -). Raises ParameterError for conductances below 0 or not finite, for fewer than two dimensions,
    and for rows_per_node that does not divide the wordlines.
    """
    return _transfer(conductance, wires, rows_per_node, sources=False)[0]


def source_conductance(conductance: Tensor, wires: Wires, rows_per_node: int = 1) -> Tensor:
    """Matrix M (..., wordlines, wordlines) [S] float64: the source of wordline i delivers sum_j M[i, j] V_j.

    Symmetric; all sources together deliver V M V [W]. Arguments and errors as `effective_conductance`.
    """
    return _transfer(conductance, wires, rows_per_node, sources=True)[1]


def transfer(conductance: Tensor, wires: Wires, rows_per_node: int = 1) -> tuple[Tensor, Tensor]:
    """`effective_conductance` and `source_conductance` of the same crossbars, for less than both cost apart."""
    return _transfer(conductance, wires, rows_per_node, sources=True)


def solve(conductance: Tensor, voltages: Tensor, wires: Wires, rows_per_node: int = 1) -> Solution:
    """Voltages, currents and powers everywhere in crossbars of linear cells.

    conductance: (..., wordlines, bitlines) [S]; voltages: (..., vectors, wordlines) [V], the same leading dimensions
    or none. Other arguments and errors as `effective_conductance`; also ParameterError for voltages that are not
    finite.
    """
    cells, tiled, network = _checked(conductance, voltages, wires, rows_per_node)
    chunks = []
    for tiles, drives in zip(_in_chunks(cells), _in_chunks(tiled, cells), strict=True):
        linear = tiles / (1 + wires.access * tiles)
        factors = _Factors(linear, network)
        each = max(1, CHUNK_BYTES // (8 * tiles[..., 0].numel() * tiles.shape[-1]))
        parts = [_solve_linear(linear, part, network, factors) for part in drives.split(each, dim=1)]
        chunks.append(_solution(_State.along_vectors(parts), drives, network, iterations=2))
    return _joined(chunks, torch.broadcast_shapes(conductance.shape[:-2], voltages.shape[:-2]))


def solve_nonlinear(
    conductance: Tensor,
    voltages: Tensor,
    wires: Wires,
    law: CellLaw,
    rows_per_node: int = 1,
    tolerance: float = 1e-12,
    most_iterations: int = 100,
) -> Solution:
    """`solve` for cells that obey `law`, by Newton with a line search; each vector of each tile has its own Jacobian.

    Starts at ideal wires. Ends when the current missing at no node and along no line exceeds `tolerance` times the
    largest current of its vector, beyond what the rounding of voltages makes up. Raises ConvergenceError where this does
    not happen within most_iterations, where no step helps, and where a current is not finite; otherwise as `solve`.
    A law whose current falls with rising voltage may have several solutions; one of them is returned.
    """
    if not 0 < tolerance < 1:
        raise ParameterError(f"tolerance must be above 0 and below 1, got {tolerance}")
    if most_iterations < 1:
        raise ParameterError(f"most_iterations must be 1 or more, got {most_iterations}")
    cells, tiled, network = _checked(conductance, voltages, wires, rows_per_node)
    composite: CellLaw = WithAccess(law, wires.access) if wires.access > 0 else law
    vectors = tiled.shape[1]
    index = torch.arange(len(cells) * vectors, device=cells.device)
    chunks = []
    for items in index.split(_tiles_per_chunk(cells)):
        tile, vector = items // vectors, items % vectors
        part, drives = cells[tile], tiled[tile, vector].unsqueeze(1)
        state, iterations = _newton(part, drives, composite, network, tolerance, most_iterations)
        chunks.append(_solution(state, drives, network, iterations))
    lead = torch.broadcast_shapes(conductance.shape[:-2], voltages.shape[:-2])
    return _joined(chunks, lead, vectors)


def gated_currents(conductance: Tensor, inputs: Tensor, wires: GatedWires, rows_per_node: int = 1) -> Tensor:
    """Bitline currents (..., vectors, bitlines) [A] of arrays whose inputs switch the cells on.

    conductance: (..., rows, bitlines) [S]; inputs: (..., vectors, rows) [V], the same leading dimensions or none. A
    cell whose input is 0 is open; any other input is an EMF in series with its cell, between the source line (held
    at 0 V at its feed) and the bitline: a source line at 1 V is an input of 1, and an input of -1 a source of -1 V.
    rows_per_node: so many neighbouring rows, each with its own source line per bitline, end at the same bitline node
    (2: interleaved pairs, the second usually given the negative input). Raises ParameterError as `solve`.

    One sweep down the rows. What lies above a row is a hybrid multiport: source lines as Thevenin, a = p - Z J + k b,
    the bitline as Norton, I = q - k J - y b, for source line currents J and bitline voltage b; every segment and cell
    updates p, Z, h = 1 - k, q, y in closed form, and 0 ohm needs no special case.
    """
    cells, tiled = _checked_shapes(conductance, inputs, rows_per_node, "inputs")
    cells = cells / (1 + wires.access * cells)
    each = max(1, CHUNK_BYTES // (8 * len(cells) * cells.shape[-1] * (rows_per_node + 1) ** 2))
    currents = torch.cat([_gated(cells, part, wires, rows_per_node) for part in tiled.split(each, dim=1)], dim=1)
    lead = torch.broadcast_shapes(conductance.shape[:-2], inputs.shape[:-2])
    return currents.reshape(*lead, *currents.shape[1:])


def _gated(cells: Tensor, inputs: Tensor, wires: GatedWires, lines: int) -> Tensor:
    """Bitline currents (tiles, vectors, bitlines) of cells (tiles, rows, bitlines) and inputs (tiles, vectors, rows)."""
    tiles, rows, bitlines = cells.shape
    shape = (tiles, inputs.shape[1], bitlines)
    zero = cells.new_zeros(shape)
    p = cells.new_zeros(*shape, lines)
    h = cells.new_ones(*shape, lines)
    z = (wires.driver * torch.eye(lines, dtype=cells.dtype, device=cells.device)).expand(*shape, lines, lines).clone()
    step = wires.source_line * torch.eye(lines, dtype=cells.dtype, device=cells.device)
    q, y = zero, zero
    for row in range(rows):
        line = row % lines
        if line == 0 and row > 0:
            damping = 1 / (1 + y * wires.bitline)
            k = 1 - h
            z = z + step + (wires.bitline * damping)[..., None, None] * k.unsqueeze(-1) * k.unsqueeze(-2)
            p = p + k * (wires.bitline * damping * q).unsqueeze(-1)
            h = 1 - k * damping.unsqueeze(-1)
            q, y = q * damping, y * damping
        emf = inputs[:, :, row].unsqueeze(-1)
        on = torch.where(emf != 0, cells[:, None, row], zero)
        seen = z[..., line]  # by the cell: how far its current pulls down every source line
        admittance = on / (1 + on * seen[..., line])
        drive = admittance * (emf + p[..., line])
        pull = admittance * h[..., line]
        q, y = q + h[..., line] * drive, y + h[..., line] * pull
        p = p - seen * drive.unsqueeze(-1)
        h = h - seen * pull.unsqueeze(-1)
        z = z - (admittance.unsqueeze(-1) * seen).unsqueeze(-1) * seen.unsqueeze(-2)
    return q / (1 + y * wires.sense)


# --- checks and chunks -------------------------------------------------------------------------------------------


def _check_cells(conductance: Tensor, rows_per_node: int) -> None:
    if conductance.dim() < 2 or 0 in conductance.shape:
        raise ParameterError(f"conductance must be (..., wordlines, bitlines), got {tuple(conductance.shape)}")
    if not bool(torch.isfinite(conductance).all()) or bool((conductance < 0).any()):
        raise ParameterError("conductance must be finite and 0 S or more")
    if rows_per_node < 1 or conductance.shape[-2] % rows_per_node:
        raise ParameterError(
            f"rows_per_node must be 1 or more and divide the {conductance.shape[-2]} wordlines, got {rows_per_node}"
        )


def _checked_shapes(
    conductance: Tensor, voltages: Tensor, rows_per_node: int, name: str = "voltages"
) -> tuple[Tensor, Tensor]:
    """(tiles, wordlines, bitlines) and (tiles, vectors, wordlines), float64."""
    _check_cells(conductance, rows_per_node)
    lead, wordlines = conductance.shape[:-2], conductance.shape[-2]
    fits = voltages.dim() >= 2 and voltages.shape[-1] == wordlines and 0 not in voltages.shape
    if not fits or voltages.shape[:-2] not in (lead, ()):
        allowed = f"(..., vectors, {wordlines}) with leading dimensions {tuple(lead)} or none"
        raise ParameterError(f"{name} must be {allowed}, got {tuple(voltages.shape)}")
    if not bool(torch.isfinite(voltages).all()):
        raise ParameterError(f"{name} must be finite, got {voltages[~torch.isfinite(voltages)][0].item()}")
    cells = conductance.double().reshape(-1, *conductance.shape[-2:])
    tiled = voltages.double().expand(*lead, *voltages.shape[-2:]).reshape(-1, *voltages.shape[-2:])
    return cells, tiled


def _check_constant(values: Tensor, name: str) -> None:
    if values.requires_grad and torch.is_grad_enabled():
        raise ParameterError(f"{name} must not require a gradient: the solution has none (detach it, or no_grad)")


def _checked(
    conductance: Tensor, voltages: Tensor, wires: Wires, rows_per_node: int
) -> tuple[Tensor, Tensor, "_Network"]:
    cells, tiled = _checked_shapes(conductance, voltages, rows_per_node)
    _check_constant(voltages, "voltages")
    return cells, tiled, _network(cells, wires, rows_per_node)


def _tiles_per_chunk(cells: Tensor) -> int:
    return max(1, CHUNK_BYTES // (8 * cells.shape[-2] * cells.shape[-1] ** 2))


def _in_chunks(values: Tensor, cells: Tensor | None = None) -> tuple[Tensor, ...]:
    """`values` split in as many tiles as fit the memory budget for such `cells`."""
    return values.split(_tiles_per_chunk(values if cells is None else cells))


# --- the network -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Line:
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


def _line(cells: int, segment: float, end: float, at: tuple[int, ...], device: torch.device) -> _Line:
    """Line along `cells` cells; segment, end [ohm]; the end resistance leads away from the cells `at` (0 or -1)."""
    nodes = cells if segment > 0 else 1
    ends = torch.zeros(nodes, dtype=torch.float64, device=device)
    tied = torch.zeros(nodes, dtype=torch.bool, device=device)
    for place in at:
        if end > 0:
            ends[place] += 1 / end
        else:
            tied[place] = True
    return _Line(1 / segment if nodes > 1 else 0.0, ends, tied)


@dataclass(frozen=True, eq=False)
class _Network:
    """The wires of (wordlines, bitlines) cells: `word` along each wordline, `bit` along each bitline."""

    wires: Wires
    word: _Line
    bit: _Line
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


def _network(cells: Tensor, wires: Wires, rows_per_node: int) -> _Network:
    _check_constant(cells, "conductance")
    wordlines, bitlines = cells.shape[-2:]
    nodes = wordlines // rows_per_node
    driven = (0,) if wires.driven_from == "one" else (0, -1)
    sensed = (-1,) if wires.sensed_at == "one" else (0, -1)
    word = _line(bitlines, wires.wordline, wires.driver, driven, cells.device)
    bit = _line(nodes, wires.bitline, wires.sense, sensed, cells.device)
    return _Network(wires, word, bit, bitlines, wordlines // bit.nodes, nodes)


# --- linear crossbars: transfer matrices -------------------------------------------------------------------------


def _transfer(conductance: Tensor, wires: Wires, rows_per_node: int, sources: bool) -> tuple[Tensor, Tensor]:
    """Effective conductances, and source conductances (or nothing) of any leading dimensions."""
    _check_cells(conductance, rows_per_node)
    cells = conductance.double().reshape(-1, *conductance.shape[-2:])
    network = _network(cells, wires, rows_per_node)
    effective, drawn = [], []
    for tiles in _in_chunks(cells):
        linear = tiles / (1 + wires.access * tiles)
        grouped = linear.unflatten(1, (network.bit.nodes, network.rows))
        current, matrix = _down(grouped, network, sources)
        if wires.sensed_at == "both" and network.bit.nodes > 1:
            current = current + _down(grouped.flip(1), network, sources=False)[0].flip(1)
        effective.append(current.flatten(1, 2))
        drawn.append(matrix)
    wordlines = conductance.shape[-2]
    matrices = torch.cat(drawn).view(*conductance.shape[:-1], wordlines) if sources else cells.new_zeros(0)
    return torch.cat(effective).view(conductance.shape), matrices


def _rows(cells: Tensor, network: _Network) -> Iterator[tuple[Tensor, Tensor]]:
    """Norton equivalent of each node's wordlines as its bitline nodes see it, node by node from the first.

    cells (tiles, nodes, rows, bitlines). Current into the bitline nodes = source v - load b, with source (tiles,
    bitlines, rows), load (tiles, bitlines, bitlines) [S].
    """
    tiles, _, rows, _ = cells.shape
    nodes_at_once = max(1, CHUNK_BYTES // (8 * tiles * rows * network.word.nodes**2))
    for part in cells.split(nodes_at_once, dim=1):
        inverse = network.word.inverse(network.at_word(part))
        reached = network.word.tied + inverse @ network.word.injection  # of the source's voltage, bitlines grounded
        for node in range(part.shape[1]):
            here = part[:, node]
            yield (here * reached[:, node]).mT, _load(here, inverse[:, node])


def _load(cells: Tensor, inverse: Tensor) -> Tensor:
    """Conductance matrix (tiles, bitlines, bitlines) of (tiles, rows, bitlines) cells behind their wordlines."""
    taken = inverse * cells.unsqueeze(-1) * cells.unsqueeze(-2)
    load = -(taken[:, 0] if cells.shape[1] == 1 else taken.sum(1))
    load.diagonal(dim1=-2, dim2=-1).add_(cells.sum(1))
    return load


def _down(cells: Tensor, network: _Network, sources: bool) -> tuple[Tensor, Tensor]:
    """Current out of the last node's end of each bitline per volt on each wordline, and the source conductances.

    cells (tiles, nodes, rows, bitlines) -> the same shape, (tiles, wordlines, wordlines).
    """
    tiles, nodes, rows, bitlines = cells.shape
    bit = network.bit
    seen = cells.new_zeros(tiles, bitlines, bitlines)
    held = cells.new_zeros(tiles, bitlines, 0)  # voltages of the node per volt on the wordlines so far
    drives, blocks, helds = [], [], []
    for node, (drive, load) in enumerate(_rows(cells, network)):
        above = held
        block, seen = _eliminated(node, load, seen, bit)
        held = block @ torch.cat([bit.segment * above, drive], dim=2)
        if sources:
            drives.append(drive)
            blocks.append(block)
            helds.append(held)
    tied = bool(bit.tied[-1])
    current = torch.cat([bit.segment * above, drive], dim=2) if tied else bit.ends[-1] * held
    matrix = _source_matrix(drives, blocks, helds, bit.segment) if sources else cells.new_zeros(0)
    return current.mT.reshape(tiles, nodes, rows, bitlines), matrix


def _eliminated(node: int, load: Tensor, above: Tensor, bit: _Line) -> tuple[Tensor, Tensor]:
    """Inverse of a node's matrix (0 where tied), and the conductance that the next node sees through its segment.

    All (tiles, bitlines, bitlines); above: what this node sees of those before. A segment s in series with a
    conductance matrix E is s E (s + E)^-1; written as a difference, s - s (s + E)^-1 s, it would lose the digits of
    E where s is large.
    """
    if bool(bit.tied[node]):
        return torch.zeros_like(load), bit.segment * torch.eye(load.shape[-1], dtype=load.dtype, device=load.device)
    upwards = load + above
    upwards.diagonal(dim1=-2, dim2=-1).add_(bit.ends[node])
    if node == bit.nodes - 1:
        return torch.linalg.inv_ex(upwards)[0], upwards
    matrix = upwards.clone()
    matrix.diagonal(dim1=-2, dim2=-1).add_(bit.segment)
    inverse = torch.linalg.inv_ex(matrix)[0]
    return inverse, bit.segment * (upwards @ inverse)


def _source_matrix(drives: list[Tensor], blocks: list[Tensor], helds: list[Tensor], segment: float) -> Tensor:
    """(tiles, wordlines, wordlines): what each source delivers with the bitlines grounded, less what they hold back.

    A row's source sees bitline voltages through the same conductances with which it drives them (reciprocity). From
    the last node up; of a node's voltages only those due to wordlines down to it, the rest by symmetry.
    """
    tiles, _, rows = drives[0].shape
    wordlines = rows * len(drives)
    matrix = drives[0].new_zeros(tiles, wordlines, wordlines)
    below = drives[0].new_zeros(*helds[-1].shape[:2], wordlines)
    for node in reversed(range(len(drives))):
        first, last = node * rows, (node + 1) * rows
        voltages = helds[node] + segment * (blocks[node] @ below[:, :, :last])
        here = -(drives[node].mT @ voltages)
        matrix[:, first:last, :last] = here
        matrix[:, :last, first:last] = here.mT
        below = voltages
    matrix.diagonal(dim1=-2, dim2=-1).add_(torch.cat([drive.sum(1) for drive in drives], dim=1))
    return matrix


# --- node voltages: linear and Newton ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """Drops [V] (batch, vectors, wordlines, word nodes) and (..., bit nodes, bitlines); currents [A]."""

    word: Tensor
    bit: Tensor
    current: Tensor  # (batch, vectors, wordlines, bitlines)
    missing: Tensor  # (batch, vectors, all nodes), word nodes first

    @classmethod
    def along_vectors(cls, parts: list["_State"]) -> "_State":
        return cls(*(torch.cat([getattr(part, name) for part in parts], dim=1) for name in cls.__annotations__))


class _Factors:
    """The eliminated network for cells (batch, wordlines, bitlines) of these slopes [S]: drops from currents."""

    def __init__(self, cells: Tensor, network: _Network):
        self.cells, self.network = cells, network
        self.inverse = network.word.inverse(network.at_word(cells))
        grouped = cells.unflatten(1, (network.bit.nodes, network.rows))
        inverses = self.inverse.unflatten(1, (network.bit.nodes, network.rows))
        seen = cells.new_zeros(len(cells), network.bitlines, network.bitlines)
        self.blocks = []
        for node in range(network.bit.nodes):
            block, seen = _eliminated(node, _load(grouped[:, node], inverses[:, node]), seen, network.bit)
            self.blocks.append(block)

    def drops(self, at_word: Tensor, at_bit: Tensor) -> tuple[Tensor, Tensor]:
        """Drops (batch, vectors, wordlines, word nodes), (..., bit nodes, bitlines) that supply these currents."""
        network, cells = self.network, self.cells.unsqueeze(1)
        word = self._along_words(at_word)
        bit = self._down_bits(at_bit - network.at_bit(cells * word))
        return word - self._along_words(network.at_word(cells * network.to_cells(bit))), bit

    def _along_words(self, currents: Tensor) -> Tensor:
        return (self.inverse @ currents.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _down_bits(self, currents: Tensor) -> Tensor:
        segment = self.network.bit.segment
        above = torch.zeros_like(currents[:, :, 0]).mT
        held = []
        for node, block in enumerate(self.blocks):
            above = block @ (currents[:, :, node].mT + segment * above)
            held.append(above)
        for node in reversed(range(len(held) - 1)):
            held[node] = held[node] + segment * (self.blocks[node] @ held[node + 1])
        return torch.stack(held, dim=1).permute(0, 3, 1, 2)


def _solve_linear(cells: Tensor, voltages: Tensor, network: _Network, factors: _Factors) -> _State:
    """Linear cells (batch, wordlines, bitlines), voltages (batch, vectors, wordlines): solved, then refined once."""
    state = _start(cells, voltages, Linear(), network)
    for _ in range(2):
        word, bit = _step(state, factors)
        state = _evaluated(state.word + word, state.bit + bit, cells, voltages, Linear(), network)
    return state


def _start(cells: Tensor, voltages: Tensor, law: CellLaw, network: _Network) -> _State:
    """Ideal wires: no drops."""
    batch, vectors, wordlines = voltages.shape
    word = cells.new_zeros(batch, vectors, wordlines, network.word.nodes)
    bit = cells.new_zeros(batch, vectors, network.bit.nodes, network.bitlines)
    return _evaluated(word, bit, cells, voltages, law, network)


def _evaluated(word: Tensor, bit: Tensor, cells: Tensor, voltages: Tensor, law: CellLaw, network: _Network) -> _State:
    """Currents at these drops, and what is missing at the nodes."""
    current = law.current(network.across(voltages, word, bit), cells.unsqueeze(1))
    missing = torch.cat([part.flatten(2) for part in network.missing(current, word, bit)], dim=2)
    return _State(word, bit, current, missing)


def _step(state: _State, factors: _Factors) -> tuple[Tensor, Tensor]:
    """Newton step of the drops, word and bit."""
    words = state.word[0, 0].numel()
    at_word, at_bit = state.missing[..., :words], state.missing[..., words:]
    return factors.drops(-at_word.reshape(state.word.shape), -at_bit.reshape(state.bit.shape))


def _newton(
    cells: Tensor, voltages: Tensor, law: CellLaw, network: _Network, tolerance: float, most_iterations: int
) -> tuple[_State, int]:
    """Solution for items (batch, wordlines, bitlines) with one vector each, (batch, 1, wordlines)."""
    state = _start(cells, voltages, law, network)
    for iteration in range(most_iterations + 1):
        if not bool(torch.isfinite(state.missing).all()):
            raise ConvergenceError(f"currents of the cells are not finite after {iteration} iterations")
        rounding = _rounding(state, cells, voltages, law, network)
        excess = _excess(state, network, rounding).amax(1)
        active = torch.nonzero(~(excess <= tolerance * _largest_current(state)[:, 0])).flatten()
        if len(active) == 0:
            return state, iteration
        if iteration == most_iterations:
            break
        part = _State(*(field[active] for field in vars(state).values()))
        improved = _improved(part, cells[active], voltages[active], law, network, rounding[active])
        for field, values in zip(vars(state).values(), vars(improved).values(), strict=True):
            field[active] = values
    raise ConvergenceError(
        f"{len(active)} of {len(cells)} vectors did not converge in {most_iterations} iterations: "
        f"{_relative(state).max().item():g} of the largest current is missing at a node, allowed {tolerance:g}"
    )


def _improved(
    part: _State, cells: Tensor, voltages: Tensor, law: CellLaw, network: _Network, rounding: Tensor
) -> _State:
    """One Newton step of every item, each halved until less current is missing than before."""
    slope = law.slope(network.across(voltages, part.word, part.bit)[:, 0], cells)
    word, bit = _step(part, _Factors(slope, network))
    before = _excess(part, network, rounding).square().sum(1)
    length = torch.ones_like(before)
    for _ in range(60):
        scale = length[:, None, None, None]
        trial = _evaluated(part.word + scale * word, part.bit + scale * bit, cells, voltages, law, network)
        after = _excess(trial, network, rounding).square().sum(1)
        worse = ~(after < before)  # also where not finite
        if not bool(worse.any()):
            return trial
        length = torch.where(worse, length / 2, length)
    raise ConvergenceError(
        f"no Newton step lessens the current missing at the nodes of {int(worse.sum())} vectors: "
        f"{_relative(part)[worse].max().item():g} of the largest current"
    )


def _largest_current(state: _State) -> Tensor:
    """Of any line or cell, (batch, vectors) [A]."""
    sizes = [state.current.abs().amax((-1, -2)), state.current.sum(-1).abs().amax(-1)]
    return torch.stack([*sizes, state.current.sum(-2).abs().amax(-1)]).amax(0)


def _relative(state: _State) -> Tensor:
    """Largest current missing at a node over the largest current, (batch, vectors)."""
    largest, missing = _largest_current(state), state.missing.abs().amax(-1)
    return torch.where(missing > 0, missing / largest, missing)


def _rounding(state: _State, cells: Tensor, voltages: Tensor, law: CellLaw, network: _Network) -> Tensor:
    """Current [A] that rounding alone makes appear missing, (items, 2): at a node, along a whole line."""
    slope = law.slope(network.across(voltages, state.word, state.bit)[:, 0], cells).abs()
    of_lines = torch.maximum(slope.sum(1).amax(1), slope.sum(2).amax(1)) * voltages.abs().amax((1, 2))
    stiffest = [line.matrix.diagonal().max().item() for line in (network.word, network.bit)]
    of_wires = stiffest[0] * state.word.abs().amax((1, 2, 3)) + stiffest[1] * state.bit.abs().amax((1, 2, 3))
    return 4 * EPSILON * torch.stack([of_lines + of_wires, of_lines], dim=1)


def _excess(state: _State, network: _Network, rounding: Tensor) -> Tensor:
    """Current [A] missing beyond rounding: at every node, and along every line, where segments cancel; (items, all).

    Where segments are stiff, the nodes alone would not tell a solution from one whose lines lack current.
    """
    words = state.word[0].numel()
    at_word = state.missing[:, 0, :words].reshape(state.word[:, 0].shape)
    at_bit = state.missing[:, 0, words:].reshape(state.bit[:, 0].shape)
    lines = torch.cat([at_word.sum(2), at_bit.sum(1)], dim=1)
    beyond = [state.missing[:, 0].abs() - rounding[:, :1], lines.abs() - rounding[:, 1:]]
    return torch.cat(beyond, dim=1).clamp(min=0.0)


def _solution(state: _State, voltages: Tensor, network: _Network, iterations: int) -> Solution:
    """All quantities of (batch, vectors), leading dimensions still (batch, vectors)."""
    wires, current = network.wires, state.current
    across = network.across(voltages, state.word, state.bit)
    in_access = wires.access * current.square().sum((-1, -2))
    in_wires = network.word.power(state.word).sum(-1) + network.bit.power(state.bit.mT).sum(-1)
    solution = Solution(
        wordline_voltage=(voltages.unsqueeze(-1) - state.word).expand(current.shape),
        bitline_voltage=state.bit.expand(*current.shape[:2], network.bitline_nodes, network.bitlines),
        cell_current=current,
        bitline_current=current.sum(-2),
        source_power=(voltages * current.sum(-1)).sum(-1),
        cell_power=(current * across).sum((-1, -2)) - in_access,
        wire_power=in_wires + in_access,
        residual=_relative(state).max().item(),
        iterations=iterations,
    )
    if not all(bool(torch.isfinite(part).all()) for part in vars(solution).values() if isinstance(part, Tensor)):
        raise ConvergenceError("the network has no finite solution in float64")
    return solution


def _joined(chunks: list[Solution], lead: torch.Size, vectors: int | None = None) -> Solution:
    """One Solution of chunks along the first dimension, with leading dimensions `lead` (and then `vectors`)."""

    def join(name: str) -> Tensor:
        whole = torch.cat([getattr(chunk, name) for chunk in chunks])
        return whole.reshape(*lead, vectors or whole.shape[1], *whole.shape[2:])

    tensors = {name: join(name) for name, value in vars(chunks[0]).items() if isinstance(value, Tensor)}
    return Solution(
        **tensors,
        residual=max(chunk.residual for chunk in chunks),
        iterations=max(chunk.iterations for chunk in chunks),
    )

"""Wire resistance: what flows in a programmed crossbar whose wires are resistors, solved at every node, in float64.

- `effective_conductance`, `source_conductance`, `transfer`: with every wordline driven (0 V counts as driven) a
  crossbar of linear cells and resistive wires is a linear network, so its bitline and source currents are fixed
  matrices times the voltages: solved once per programmed crossbar, every product after it costs a matmul.
- `solve`: all node voltages, currents and powers of that network for given voltages.
- `solve_nonlinear`: the same for cells with any current-voltage law (`xbar.hw.cells.law`), by Newton.
- `gated_currents`: arrays whose inputs switch the cells on; the network then depends on the input.

Kirchhoff's current law at every node, direct elimination, tiles batched. A segment of 0 ohm merges its nodes. Floating
lines are not modelled. The fixed matrices come from nested dissection (`xbar.hw.array.dissection`): n³ operations for
n x n cells. Node voltages take n⁴: the wordline nodes of a row are eliminated into the bitline nodes of that row (a
Norton equivalent of the row), then rows are chained down the bitlines. The unknowns there are voltage drops (wordlines:
from the source; bitlines: from ground), so that wires of next to no resistance lose no digits; tied nodes (at a source or
at ground through 0 ohm) have a drop of 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xbar.hw.array.dissection import BLOCK, between_terminals
from xbar.hw.array.newton import Factors, State, linear_state, newton_state, relative_missing
from xbar.hw.array.nodes import Network, network_of
from xbar.hw.array.wires import GatedWires, Wires
from xbar.hw.cells.law import CellLaw, WithAccess
from xbar.hw.errors import ConvergenceError, ParameterError

CHUNK_BYTES = 2**25  # of one (tiles, wordlines, bitlines, bitlines) array of a solution; a few are alive at once


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
    for +, 2i + 1 for -). Each array's result has the same bits whatever else is solved with it. Raises ParameterError
    for conductances below 0 or not finite, for fewer than two dimensions, and for rows_per_node that does not divide the
    wordlines; ConvergenceError where resistances lie too far apart for float64.
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
        factors = Factors(linear, network)
        each = max(1, CHUNK_BYTES // (8 * tiles[..., 0].numel() * tiles.shape[-1]))
        parts = [linear_state(linear, part, network, factors) for part in drives.split(each, dim=1)]
        chunks.append(_solution(State.along_vectors(parts), drives, network, iterations=2))
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
        state, iterations = newton_state(part, drives, composite, network, tolerance, most_iterations)
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
) -> tuple[Tensor, Tensor, Network]:
    cells, tiled = _checked_shapes(conductance, voltages, rows_per_node)
    _check_constant(voltages, "voltages")
    _check_constant(cells, "conductance")
    return cells, tiled, network_of(cells, wires, rows_per_node)


def _tiles_per_chunk(cells: Tensor) -> int:
    return max(1, CHUNK_BYTES // (8 * cells.shape[-2] * cells.shape[-1] ** 2))


def _in_chunks(values: Tensor, cells: Tensor | None = None) -> tuple[Tensor, ...]:
    """`values` split in as many tiles as fit the memory budget for such `cells`."""
    return values.split(_tiles_per_chunk(values if cells is None else cells))


# --- linear crossbars: transfer matrices -------------------------------------------------------------------------


def _transfer(conductance: Tensor, wires: Wires, rows_per_node: int, sources: bool) -> tuple[Tensor, Tensor]:
    """Effective conductances, and source conductances (or nothing) of any leading dimensions; open cells where no current flows are left
    out (`_used`)."""
    _check_cells(conductance, rows_per_node)
    cells = conductance.double().reshape(-1, *conductance.shape[-2:])
    _check_constant(cells, "conductance")
    tiles, wordlines, bitlines = cells.shape
    effective, matrices = torch.zeros_like(cells), cells.new_zeros(tiles, wordlines, wordlines) if sources else cells.new_zeros(0)
    for used, (first, last) in _used(cells, wires, rows_per_node):
        whole = len(used) == tiles
        part = (cells if whole else cells[used])[:, first:, :last]
        if part.numel():
            current, matrix = _all_currents(part, wires, rows_per_node, sources)
            if whole and (first, last) == (0, bitlines):
                effective, matrices = current, matrix
                break
            effective[used, first:, :last] = current
            if sources:
                matrices[used, first:, first:] = matrix
    return effective.view(conductance.shape), matrices.view(*conductance.shape[:-1], wordlines) if sources else matrices


def _used(cells: Tensor, wires: Wires, rows_per_node: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Tiles (their numbers) by the corner of them that wires carry current in: from which wordline on, and up to which bitline.

    Exact: no current flows where all cells of the first wordlines, far from where bitlines are sensed, or of the last bitlines, far from
    where wordlines are driven, are open. Where lines are driven or sensed at both ends, it does.
    """
    tiles, wordlines, bitlines = cells.shape
    held = cells != 0
    first, last = torch.zeros(tiles, dtype=torch.long, device=cells.device), torch.full((tiles,), bitlines, device=cells.device)
    if wires.sensed_at == "one":
        rows = held.any(-1)
        first = torch.where(rows.any(-1), rows.int().argmax(-1), wordlines)
        first -= first % rows_per_node
    if wires.driven_from == "one":
        columns = held.any(-2)
        last = torch.where(columns.any(-1), bitlines - columns.flip(-1).int().argmax(-1), 0)
    corners, number = torch.unique(torch.stack([first, last], -1), dim=0, return_inverse=True)
    for corner, (begin, end) in enumerate(corners.tolist()):
        yield torch.nonzero(number == corner).flatten(), (begin, end)


def _all_currents(cells: Tensor, wires: Wires, rows_per_node: int, sources: bool) -> tuple[Tensor, Tensor]:
    """The same of tiles (tiles, wordlines, bitlines), with all of their cells."""
    wordlines = cells.shape[1]
    effective, drawn = [], []
    for tiles in cells.split(max(1, BLOCK // cells[0].numel())):
        held = between_terminals(tiles / (1 + wires.access * tiles), wires, rows_per_node)
        effective.append(held[:, :wordlines, wordlines:])
        if sources:
            matrix = -held[:, :wordlines, :wordlines]
            matrix.diagonal(dim1=-2, dim2=-1).copy_(held[:, :wordlines].sum(-1))
            drawn.append(matrix)
    return torch.cat(effective), torch.cat(drawn) if sources else cells.new_zeros(0)


# --- node voltages: linear and Newton ----------------------------------------------------------------------------


def _solution(state: State, voltages: Tensor, network: Network, iterations: int) -> Solution:
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
        residual=relative_missing(state).max().item(),
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

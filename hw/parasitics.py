"""Wire resistance: the exact map from wordline voltages to bitline currents of a programmed crossbar.

With every wordline driven (0 V counts as driven) a crossbar of linear cells and resistive wires is a linear
network, so its currents are a fixed matrix times the voltages: solved once, every product after it costs a matmul.
Solved by Kirchhoff's current law at every node, in float64, all tiles batched: the wordline nodes of a row are
eliminated into the bitline nodes of that row (a Norton equivalent of the row), then rows are chained down the
bitlines. A segment of 0 ohm merges its nodes. Non-linear cells and floating lines are not modelled here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hw.errors import ParameterError

Ends = Literal["one", "both"]
CHUNK_BYTES = 2**26  # of one (tiles, wordlines, bitlines, bitlines) array; a few are alive at once


@dataclass(frozen=True)
class Wires:
    """Resistances [ohm] of a crossbar's wires, all from 0 on.

    wordline, bitline: of the segment between neighbouring cells; driver: from a source to its line's first cell;
    sense: from a line's last cell to its virtual ground. driven_from "both": the same voltage at both ends of a
    wordline; sensed_at "both": a bitline's current is taken at both ends and added.
    """

    wordline: float
    bitline: float
    driver: float = 0.0
    sense: float = 0.0
    driven_from: Ends = "one"
    sensed_at: Ends = "one"

    def __post_init__(self) -> None:
        for name in ("wordline", "bitline", "driver", "sense"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ParameterError(f"wires.{name} must be 0 ohm or more and finite, got {value}")
        for name in ("driven_from", "sensed_at"):
            if getattr(self, name) not in ("one", "both"):
                raise ParameterError(f"wires.{name} must be 'one' or 'both', got {getattr(self, name)!r}")


def effective_conductance(conductance: Tensor, wires: Wires) -> Tensor:
    """Conductances (..., wordlines, bitlines) [S] float64 with which ideal wires would give the same currents.

    conductance: of the cells, the same shape [S]. Wordlines are driven at the first bitline's side, bitlines sensed
    at the last wordline's side (or at both ends). Current of bitline j = sum_i V_i effective[i, j]. Raises
    ParameterError for conductances below 0 or not finite, and for fewer than two dimensions.
    """
    if conductance.dim() < 2 or 0 in conductance.shape:
        raise ParameterError(f"conductance must be (..., wordlines, bitlines), got {tuple(conductance.shape)}")
    if not bool(torch.isfinite(conductance).all()) or bool((conductance < 0).any()):
        raise ParameterError("conductance must be finite and 0 S or more")
    cells = conductance.double().flatten(0, -3) if conductance.dim() > 2 else conductance.double().unsqueeze(0)
    bytes_per_tile = 8 * cells.shape[1] * cells.shape[2] ** 2
    chunks = cells.split(max(1, CHUNK_BYTES // bytes_per_tile))
    return torch.cat([_solve(chunk, wires) for chunk in chunks]).view(conductance.shape)


def _solve(cells: Tensor, wires: Wires) -> Tensor:
    """Effective conductances of (tiles, wordlines, bitlines)."""
    source, load = _rows(cells, wires)
    effective = _currents_at_the_end(source, load, wires)
    if wires.sensed_at == "both":
        effective = effective + _currents_at_the_end(source.flip(1), load.flip(1), wires).flip(1)
    return effective


def _rows(cells: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """Norton equivalent of each row as its bitline nodes see it: current into them = source v - load b.

    cells (tiles, wordlines, bitlines); source (tiles, wordlines, bitlines), load (..., bitlines, bitlines).
    """
    diagonal = torch.diag_embed(cells)
    if wires.wordline == 0:
        if wires.driver == 0:  # every cell at the source
            return cells, diagonal
        feed = (1 if wires.driven_from == "one" else 2) / wires.driver
        total = cells.sum(-1, keepdim=True) + feed
        return cells * feed / total, diagonal - cells.unsqueeze(-1) * (cells / total).unsqueeze(-2)
    bitlines = cells.shape[-1]
    segment = 1 / wires.wordline
    chain = _chain(bitlines, segment, cells.device)
    driven = [0] if wires.driven_from == "one" else sorted({0, bitlines - 1})
    at_both = 2 if wires.driven_from == "both" and bitlines == 1 else 1
    if wires.driver > 0:
        feeds = torch.zeros(bitlines, dtype=torch.float64, device=cells.device)
        feeds[driven] = at_both / wires.driver
        to_line = torch.linalg.inv(diagonal + chain + torch.diag(feeds))  # (tiles, wordlines, bitlines, bitlines)
        source = cells * (to_line @ feeds)
        return source, diagonal - cells.unsqueeze(-1) * to_line * cells.unsqueeze(-2)
    free = [j for j in range(bitlines) if j not in driven]
    source, load = cells.clone(), diagonal.clone()  # driven nodes are at the source
    if free:
        part = cells[..., free]
        to_line = torch.linalg.inv(torch.diag_embed(part) + chain[free][:, free])
        source[..., free] = part * (to_line @ -chain[free][:, driven].sum(1))
        first, last = free[0], free[-1] + 1
        load[..., first:last, first:last] -= part.unsqueeze(-1) * to_line * part.unsqueeze(-2)
    return source, load


def _currents_at_the_end(source: Tensor, load: Tensor, wires: Wires) -> Tensor:
    """Current out of the last row's end of each bitline per volt on each wordline, (tiles, wordlines, bitlines)."""
    tiles, wordlines, bitlines = source.shape
    identity = torch.eye(bitlines, dtype=torch.float64, device=source.device)
    ends = 1 if wires.sensed_at == "one" else 2
    if wires.bitline == 0 or wordlines == 1:
        if wires.sense == 0:
            return source / ends  # both ends are one node: either takes half
        total = load.sum(1) + ends / wires.sense * identity
        return torch.linalg.solve(total, source.transpose(1, 2)).transpose(1, 2) / wires.sense
    segment = 1 / wires.bitline
    held = torch.zeros(tiles, bitlines, 0, dtype=torch.float64, device=source.device)  # b of the row per volt so far
    block = identity  # of the row before, inverted
    for row in range(wordlines):
        first, last = row == 0, row == wordlines - 1
        grounded_here = wires.sense == 0 and (last or (first and ends == 2))
        above = 0.0 if first else segment
        drive = source[:, row].unsqueeze(-1)
        if grounded_here:
            if last:
                return torch.cat([segment * held, drive], dim=2).transpose(1, 2)
            held, block = torch.zeros_like(drive), torch.zeros_like(load[:, row])
            continue
        node = load[:, row] + (above + (0.0 if last else segment)) * identity
        if wires.sense > 0:
            node = node + ((1 / wires.sense) * (int(last) + int(first and ends == 2))) * identity
        if not first:
            node = node - segment**2 * block
        block = torch.linalg.inv(node)
        held = block @ torch.cat([above * held, drive], dim=2)
    return held.transpose(1, 2) / wires.sense


def _chain(nodes: int, segment: float, device: torch.device) -> Tensor:
    """Conductance matrix [S] of `nodes` in a row joined by `segment` [S]."""
    joins = torch.full((nodes - 1,), segment, dtype=torch.float64, device=device)
    ends = torch.nn.functional.pad(joins, (0, 1)) + torch.nn.functional.pad(joins, (1, 0))
    return torch.diag(ends) - torch.diag(joins, 1) - torch.diag(joins, -1)

"""Array reads that are no matrix product: non-linear cells, with or without wire resistance, and gate-selected arrays.

Their currents depend on the voltages by more than a fixed matrix, so they are solved for every vector.
"""

import torch
from torch import Tensor

from xbar.hw.array.design import WireResistance
from xbar.hw.array.layout import CrossbarLayout
from xbar.hw.array.parasitics import gated_currents, solve_nonlinear
from xbar.hw.array.wires import GatedWires, Wires
from xbar.hw.cells.law import CellLaw, Linear, WithAccess
from xbar.hw.errors import ParameterError

FEW_VOLTAGES = 16  # so many different voltages are each a matrix product; more are evaluated cell by cell
CHUNK_VALUES = 2**22  # cell currents held at once


def wires_of(wires: WireResistance) -> Wires:
    """The solver's description of row-driven wires."""
    return Wires(
        wires.wordline, wires.bitline, wires.driver, wires.sense, wires.driven_from, wires.sensed_at, wires.access
    )


def on_wordlines(layout: CrossbarLayout, voltage: Tensor) -> Tensor:
    """Voltages of inputs (..., row_tiles, vectors, rows) on all wordlines of the crossbars (..., row_tiles, vectors,
    wordlines); pairs on a shared bitline are driven at opposite voltages, unused wordlines at 0 V."""
    g = layout.geometry
    driven = torch.stack([voltage, -voltage][: g.wordlines_per_input], dim=-1).flatten(-2)
    out = driven.new_zeros(*driven.shape[:-1], layout.wordlines)
    for tile, first in enumerate(layout.first_wordline.tolist()):
        out[..., tile, :, first:] = driven[..., tile, :, : layout.wordlines - first]
    return out


def column_currents(
    layout: CrossbarLayout, conductance: Tensor, voltage: Tensor, wires: WireResistance, law: CellLaw, unused: float,
    pulse: float | None = None,
) -> Tensor:  # fmt: skip
    """Currents [A] of all columns (..., row_tiles, vectors, columns).

    conductance: (..., row_tiles, rows, columns) [S]; voltage: (..., row_tiles, vectors, rows) [V]; unused: conductance
    of cells that hold nothing [S]. A pair on a shared bitline gives its whole current in its first column. pulse: the voltage [V] that
    lines are at for voltage / pulse of the read, where they are not at `voltage` for all of it; currents are then means over the read.
    Raises ParameterError for pulses of several widths where wires have resistance, along which pulses that end see those that do not.
    """
    if wires.lines_ideal:
        return _over_ideal_wires(layout, conductance, voltage, WithAccess(law, wires.access) if wires.access else law, pulse)
    if pulse is not None and bool(((voltage != 0) & (voltage.abs() != pulse)).any()):
        raise ParameterError(
            "codes that are widths of pulses (component.dac.law = pulse_width) need lines without resistance where cells are not linear or "
            "wires.topology = gate_selected"
        )
    placed = layout.place(conductance, unused)  # (..., planes, row_tiles, column_tiles, wordlines, bitlines)
    driven = on_wordlines(layout, voltage)[..., None, :, None, :, :]
    pairs = layout.geometry.wordlines_per_input
    if wires.topology == "gate_selected":
        if not isinstance(law, Linear):
            raise ParameterError("device.iv must be linear where wires.topology = gate_selected")
        gated = GatedWires(wires.wordline, wires.bitline, wires.driver, wires.sense, wires.access)
        lead = (*placed.shape[:-2], *driven.shape[-2:])
        current = gated_currents(placed, driven.expand(lead), gated, pairs)
    else:
        lead = (*placed.shape[:-2], *driven.shape[-2:])
        current = solve_nonlinear(placed, driven.expand(lead), wires_of(wires), law, pairs).bitline_current
    return _by_column(layout, current)


def _by_column(layout: CrossbarLayout, current: Tensor) -> Tensor:
    """(..., planes, row_tiles, column_tiles, vectors, bitlines) to (..., row_tiles, vectors, columns)."""
    moved = current.movedim((-5, -3), (-3, -2))  # (..., row_tiles, vectors, planes, column_tiles, bitlines)
    device = current.device
    columns = moved[..., layout.plane.to(device), layout.tile.to(device), layout.bitline.to(device)]
    if layout.geometry.encoding.shared_bitline:
        columns = columns.clone()
        columns[..., 1::2] = 0  # both columns of a pair read the same bitline
    return columns


def _over_ideal_wires(layout: CrossbarLayout, conductance: Tensor, voltage: Tensor, law: CellLaw, pulse: float | None) -> Tensor:
    if not layout.geometry.encoding.shared_bitline:
        return _sum_over_rows(conductance, voltage, law, pulse)
    plus = _sum_over_rows(conductance[..., 0::2], voltage, law, pulse)
    minus = _sum_over_rows(conductance[..., 1::2], -voltage, law, pulse)
    return torch.stack([plus + minus, torch.zeros_like(plus)], dim=-1).flatten(-2)


def _sum_over_rows(conductance: Tensor, voltage: Tensor, law: CellLaw, pulse: float | None) -> Tensor:
    """Sum of cell currents (..., vectors, columns) of (..., rows, columns) and (..., vectors, rows)."""
    if pulse is not None:
        ends = [(sign, (sign * voltage / pulse).clamp(min=0)) for sign in (1, -1)]  # of time at either end
        full = voltage.new_tensor(pulse)
        total = voltage.new_zeros(*voltage.shape[:-1], conductance.shape[-1])
        for sign, share in ends:
            if bool(share.any()):
                total += share @ law.current(sign * full, conductance).to(voltage)
        return total
    different = voltage.unique()
    if different.numel() <= FEW_VOLTAGES:
        total = voltage.new_zeros(*voltage.shape[:-1], conductance.shape[-1])
        for each in different[different != 0]:
            total += (voltage == each).to(voltage) @ law.current(each, conductance).to(voltage)
        return total
    each_vector = conductance.numel()
    parts = [
        law.current(part.unsqueeze(-1), conductance.unsqueeze(-3)).sum(-2)
        for part in voltage.split(max(1, CHUNK_VALUES // each_vector), dim=-2)
    ]
    return torch.cat(parts, dim=-2)

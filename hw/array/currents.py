"""What the cells of a programmed array make of voltages: levels as the sense amplifiers see them, behind the wires.

In level steps: one unit is the current of one conductance level under the smallest DAC step. What a programmed crossbar of
linear cells does to voltages is linear, so wires and programming error are worked into its cells once. The read noise of
independent cells adds up to a Gaussian on each bitline whose variance is a product of squared voltages with the cells'
variances. Non-linear cells and gate-selected arrays are solved for every vector.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.geometry import Geometry
from xbar.hw.array.nonlinear import column_currents, wires_of
from xbar.hw.array.programmed import CPU, ProgrammedArray
from xbar.hw.array.solved import kept_conductance
from xbar.hw.cells.device import Device
from xbar.hw.cells.law import Linear
from xbar.hw.errors import ParameterError

NO_LOAD = 1e-9  # of g_max: a column that holds less settles nowhere, and gives nothing
OPEN = 1e-9  # of g_max: an array of open cells, next to no load on its wires


@dataclass(frozen=True, eq=False)
class SeenCells:
    """Cells as the sense amplifiers see them, pairs whose currents meet joined into one column; float64.

    levels [level steps], or where voltage is sensed each cell's share of its column's load, and variance of one read per squared
    voltage [level steps²]: (instances, groups, row_tiles, rows, columns); floor: variance of one read whatever is driven [level
    steps²] (.., 1, columns). None: there is none.
    conductance: [S] (instances x groups, row_tiles, rows, columns before pairs are joined) where currents are solved for
    each vector (`solved_levels`); levels are then all 1, (.., 1, columns). pull: where voltage is sensed, the variance of the positive
    cell of a pair less that of the negative one, in the form of variance: what a settled voltage pulls on (`_TileNoise`).
    """

    levels: Tensor
    variance: Tensor | None = None
    floor: Tensor | None = None
    conductance: Tensor | None = None
    pull: Tensor | None = None


def is_solved(array: ProgrammedArray, design: ArrayDesign) -> bool:
    """True where currents are no fixed matrix times the voltages."""
    gated = design.wires.topology == "gate_selected" and not design.wires.ideal
    return gated or not isinstance(array.law, Linear)


def base_levels(geometry: Geometry, device: Device) -> float:
    """Level steps that g_min adds to every cell as the ADC sees it."""
    if geometry.encoding.g_min_current == "cancelled":
        return 0.0
    return device.g_min / device.level_step(geometry.cell_bits)


def seen_cells(array: ProgrammedArray, design: ArrayDesign, with_noise: bool) -> SeenCells:
    """The cells of every instance as they are now, behind the wires, with read noise or without."""
    g, device = array.mapped.geometry, array.device
    solved = is_solved(array, design)
    off = bool(design.cell_error.sigma) and not array.aimed
    if all(cells is None for cells in array.cells) and design.wires.ideal and not (solved or off or design.adc.sensing == "voltage"):
        columns, base = array.mapped.columns(), base_levels(g, device)
        levels = join_pairs(g, (columns + base if base else columns).unsqueeze(0), subtract=True)
        return SeenCells(levels.expand(len(array.cells), *[-1] * 4))
    held, read = array.conductances(), None
    if off:
        normals = [torch.randn(held.shape[1:], generator=array.draws.of_cell_errors(seed, CPU), dtype=held.dtype)
                   for seed in array.draws.seeds]  # fmt: skip
        held = design.cell_error.added(held, device.g_max, torch.stack(normals).to(held.device))
    if device.has_read_noise and with_noise:
        own = held.detach()
        mean, read = device.read_moments(own, array.written().detach(), array.time)
        held = held + (mean - own)
    if design.adc.sensing == "voltage":
        load = column_load(g, held).clamp(min=NO_LOAD * device.g_max)
        levels = join_pairs(g, held / load, subtract=True)
        if read is None:
            return SeenCells(levels)
        own = read / load.detach() ** 2
        return SeenCells(levels, join_pairs(g, own, subtract=False), pull=join_pairs(g, own, subtract=True))
    if solved:
        levels = torch.ones_like(join_pairs(g, held[..., :1, :], subtract=True))
    else:
        base = device.g_min if g.encoding.g_min_current == "cancelled" else 0.0
        behind = held if design.wires.ideal else _through_wires(array, design, held)
        levels = join_pairs(g, (behind - base) / device.level_step(g.cell_bits), subtract=True)
    conductance = held.flatten(0, 1) if solved else None
    if read is None:
        return SeenCells(levels, conductance=conductance)
    held = held.detach()
    share = 1.0 if solved or design.wires.ideal else _noise_share(array, design, held)
    variance = join_pairs(g, read * (share / device.level_step(g.cell_bits)) ** 2, subtract=False)
    return SeenCells(levels, variance, _thermal_floor(array, design, held), conductance)


def join_pairs(geometry: Geometry, columns: Tensor, subtract: bool) -> Tensor:
    """Per column (..., columns), with pairs whose currents meet before the ADC joined into one."""
    if not geometry.encoding.analog_pair:
        return columns
    pairs = columns.unflatten(-1, (-1, 2))
    return pairs[..., 0] - pairs[..., 1] if subtract else pairs.sum(-1)


def _through_wires(array: ProgrammedArray, design: ArrayDesign, conductance: Tensor) -> Tensor:
    """Effective conductances (..., columns): those that would give the same currents over ideal wires."""
    with torch.no_grad():
        placed = array.layout.place(conductance.detach(), array.device.g_min)
        seen = array.layout.collect(_effective(design, placed, array.mapped.geometry))
    return conductance + (seen - conductance.detach())


def _noise_share(array: ProgrammedArray, design: ArrayDesign, conductance: Tensor) -> Tensor:
    """What is left of a cell's noise at the sense amplifier, by its place: effective over own conductance in an array
    whose cells all have its mean conductance. (A cell's own ratio tells nothing where it holds little, since its
    effective conductance is then mostly what passes through its neighbours.)"""
    placed = array.layout.place(conductance, array.device.g_min)
    mean = placed.mean((-1, -2), keepdim=True).expand_as(placed).clamp(min=OPEN * array.device.g_max)
    return array.layout.collect(_effective(design, mean, array.mapped.geometry) / mean)


def _effective(design: ArrayDesign, placed: Tensor, geometry: Geometry) -> Tensor:
    return kept_conductance(placed, wires_of(design.wires), geometry.wordlines_per_input)


def _thermal_floor(array: ProgrammedArray, design: ArrayDesign, held: Tensor) -> Tensor | None:
    """Variance [level steps²] that the thermal noise of all cells of a column adds to a read, whatever is driven,
    (instances, groups, row_tiles, 1, columns); Nyquist's 4 k T G bandwidth is a current, free of the voltage."""
    device, g = array.device, array.mapped.geometry
    if device.temperature is None or not device.read_bandwidth:
        return None
    both = device.read_variance(held, held, array.time) - device.read_variance(held, held, array.time, bandwidth=0.0)
    at_one_step = (design.dac.largest / device.level_step(g.cell_bits)) ** 2
    return join_pairs(g, both * at_one_step, subtract=False).sum(-2, keepdim=True)


def column_load(geometry: Geometry, conductance: Tensor) -> Tensor:
    """Summed conductance [S] of each bitline's cells on driven wordlines (.., groups, row_tiles, 1, columns), of cells (.., groups,
    row_tiles, rows, columns) before pairs are joined; both cells of a pair that shares a bitline load it."""
    rows = torch.tensor([geometry.inputs_of(tile) for tile in range(geometry.row_tiles)], device=conductance.device)
    used = torch.arange(conductance.shape[-2], device=conductance.device) < rows[:, None]
    load = (conductance * used.unsqueeze(-1)).sum(-2, keepdim=True)
    if geometry.encoding.shared_bitline:
        load = load.unflatten(-1, (-1, 2)).sum(-1, keepdim=True).expand(*load.shape[:-1], -1, 2).flatten(-2)
    return load


def solved_levels(array: ProgrammedArray, design: ArrayDesign, conductance: Tensor, voltage: Tensor) -> Tensor:
    """Currents [level steps] (instances x groups, row_tiles, vectors, columns) of cells that are solved for each vector.

    conductance: SeenCells.conductance; voltage: (instances x groups, row_tiles, vectors, rows) float64 [DAC steps]. Raises
    ParameterError where the device names no read voltage, and for voltages that ask for a gradient. Codes that are widths of pulses
    are those shares of the read at the read voltage.
    """
    g, device = array.mapped.geometry, array.device
    if device.read_voltage is None:
        raise ParameterError("device.read_voltage is not given: cells that are not linear need it")
    if voltage.requires_grad:
        raise ParameterError("currents that are solved for each vector have no gradient")
    unit = device.read_voltage / design.dac.largest
    pulse = device.read_voltage if design.dac.law == "pulse_width" else None
    current = column_currents(array.layout, conductance.double(), voltage * unit, design.wires, array.law, device.g_min, pulse)
    levels = current / (unit * device.level_step(g.cell_bits))
    if g.encoding.g_min_current == "cancelled" and not g.encoding.shared_bitline:
        levels = levels - device.g_min / device.level_step(g.cell_bits) * voltage.sum(-1, keepdim=True)
    return join_pairs(g, levels, subtract=not g.encoding.shared_bitline)

"""Energy of the array reads of a vector, from the cells' own currents."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.nonlinear import on_wordlines, wires_of
from xbar.hw.array.parasitics import solve_nonlinear, source_conductance
from xbar.hw.array.programmed import ProgrammedArray
from xbar.hw.cells.law import Linear, WithAccess
from xbar.hw.errors import ParameterError

SOLVED_VALUES = 2**22  # cells of vectors whose voltages are solved at once


def read_energy(array: ProgrammedArray, channel: ReadChannel, driven: Iterable[tuple[Tensor, float]]) -> float:
    """Mean energy of the array reads of one vector [J] over whole-numbered vectors (groups, vectors, inputs) float64, given
    in parts with each part's share of all.

    E = V I(V) t per cell and slice, V² G t of linear ones (Joule's law), at the target conductances of all cells on driven wordlines, with
    the device's factor of temperature; or with wire resistance the power that the sources give, of linear cells V^T M V. V is the read
    voltage times the DAC's fraction, t the array read time, I the cells' law, behind their access transistors. Where codes are pulses'
    widths, a cell takes that share of V I(V) at the read voltage; where its current comes from a supply of `design.fed_at`, that voltage
    times its current. Raises ParameterError where the device names no read voltage, for gate-selected arrays, and for resistive wires
    where the energy is not the power of the sources.
    """
    device, design = array.device, channel.design
    if device.read_voltage is None:
        raise ParameterError("device.read_voltage is not given: the published figure per read applies")
    if not design.wires.ideal and design.wires.topology == "gate_selected":
        raise ParameterError("the energy of reads from the cells' own currents needs wires.topology = row_driven")
    pulses = design.dac.law == "pulse_width"
    if (design.fed_at is not None or pulses) and not design.wires.ideal:
        raise ParameterError("the energy of reads from the cells' own currents needs ideal wires where component.crossbar.fed_at is given "
                             "or component.dac.law = pulse_width")  # fmt: skip
    drawn = _power_of_sources(array, design)
    unit, power = device.read_voltage / design.dac.largest, array.mapped.held.new_zeros((), dtype=torch.float64)
    for values, share in driven:
        for (codes, _), place in zip(channel.streams(values), design.places(channel.passes), strict=True):
            voltage = on_wordlines(array.layout, channel.tiled(design.dac.voltage(codes) * unit))
            power += place.pulses * share * drawn(voltage) / voltage.shape[2]
    return float(power) * design.array_read


def _power_of_sources(array: ProgrammedArray, design: ArrayDesign) -> Callable[[Tensor], Tensor]:
    """What all sources give [W], summed over vectors, at voltages of wordlines (groups, row_tiles, vectors, wordlines) [V]."""
    device, wires, lines = array.device, design.wires, array.mapped.geometry.wordlines_per_input
    placed = array.layout.place(array.target(), device.g_min) * device.temperature_factor
    if not wires.ideal and isinstance(array.law, Linear):
        matrix = source_conductance(placed, wires_of(wires), lines).sum((1, 3))  # (.., wordlines, wordlines)
        return lambda voltage: torch.einsum("gtvi,gtij,gtvj->", voltage, matrix, voltage)
    if not wires.lines_ideal:

        def solved(voltage: Tensor) -> Tensor:
            total = placed.new_zeros(())
            for part in voltage.split(max(1, SOLVED_VALUES // placed.numel()), dim=2):
                on_lines = part[:, None, :, None].expand(*placed.shape[:-2], *part.shape[2:])
                total += solve_nonlinear(placed, on_lines, wires_of(wires), array.law, lines).source_power.sum()
            return total

        return solved
    law, at = WithAccess(array.law, wires.access) if wires.access else array.law, device.read_voltage
    assert at is not None
    held = placed.sum((1, 3, 5))  # (groups, row_tiles, wordlines)
    cells = placed.movedim((2, 4), (1, 2)).flatten(3)  # (groups, row_tiles, wordlines, cells)

    def current(voltage: Tensor) -> Tensor:
        """Of all cells of a wordline [A]; those of laws that a device names are in proportion to the conductance."""
        if law == device.law:
            return law.current(voltage, held.unsqueeze(2))
        found = torch.zeros_like(voltage)
        for each in voltage.unique():
            found += (voltage == each) * law.current(each, cells).sum(-1).unsqueeze(2)
        return found

    def drawn(voltage: Tensor) -> Tensor:
        share: Tensor | float = 1.0
        if design.dac.law == "pulse_width":
            share, voltage = voltage.abs() / at, at * voltage.sign()
        supply = voltage if design.fed_at is None else max(design.fed_at, at) * voltage.sign()
        return (share * supply * current(voltage)).sum()

    return drawn

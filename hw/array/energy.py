"""Energy of the array reads of a vector, from the cells' own currents."""

from collections.abc import Iterable

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.nonlinear import on_wordlines, wires_of
from xbar.hw.array.parasitics import source_conductance
from xbar.hw.array.programmed import ProgrammedArray
from xbar.hw.errors import ParameterError


def read_energy(array: ProgrammedArray, channel: ReadChannel, driven: Iterable[tuple[Tensor, float]]) -> float:
    """Mean energy of the array reads of one vector [J] over whole-numbered vectors (groups, vectors, inputs) float64, given
    in parts with each part's share of all.

    E = V² G t per cell and slice (Joule's law) at the target conductances of all cells on driven wordlines, or with
    wire resistance the power that the sources give, V^T M V; V is the read voltage times the DAC's fraction, t the
    array read time. Where codes are pulses' widths, or the cells' current comes from a supply of `design.fed_at`, a cell takes
    that supply (else the read voltage) x V G t with V as its code. Raises ParameterError where the device names no read voltage, for
    gate-selected arrays, and for resistive wires where the energy does not go with the voltage squared.
    """
    device, design = array.device, channel.design
    if device.read_voltage is None:
        raise ParameterError("device.read_voltage is not given: the published figure per read applies")
    if not design.wires.ideal and design.wires.topology == "gate_selected":
        raise ParameterError("the energy of reads from the cells' own currents needs wires.topology = row_driven")
    unit, linear = device.read_voltage / design.dac.largest, design.fed_at is not None or design.dac.law == "pulse_width"
    if linear and not design.wires.ideal:
        raise ParameterError("the energy of reads from the cells' own currents needs ideal wires where component.crossbar.fed_at is given "
                             "or component.dac.law = pulse_width")  # fmt: skip
    supply = max(design.fed_at or 0.0, device.read_voltage)
    placed = array.layout.place(array.target(), device.g_min)
    if design.wires.ideal:
        seen = placed.sum((1, 3, 5))  # (groups, row_tiles, wordlines)
    else:
        lines = channel.geometry.wordlines_per_input
        seen = source_conductance(placed, wires_of(design.wires), lines).sum((1, 3))  # (.., wordlines, wordlines)
    power = seen.new_zeros(())
    for values, share in driven:
        for (codes, _), place in zip(channel.streams(values), design.places(channel.passes), strict=True):
            voltage = on_wordlines(array.layout, channel.tiled(design.dac.voltage(codes) * unit))
            if linear:
                power += place.pulses * share * (supply * voltage.abs().mean(2) * seen).sum()
            elif design.wires.ideal:
                power += place.pulses * share * (voltage.square().mean(2) * seen).sum()
            else:
                drawn = torch.einsum("gtvi,gtij,gtvj->", voltage, seen, voltage) / voltage.shape[2]
                power += place.pulses * share * drawn
    return float(power) * design.array_read

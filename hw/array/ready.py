"""A programmed array as a channel's ADCs see it, ready for products and look-ups."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xbar.hw.array.channel import ColumnFit, ReadChannel, adc_errors
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.currents import base_levels, column_load, is_solved, join_pairs, seen_cells, solved_levels
from xbar.hw.array.draws import LASTING
from xbar.hw.array.programmed import ProgrammedArray
from xbar.hw.cells.device import Device

LARGEST_COUNT = 127 * 127 + 126  # two digits to the base 127, each an int8
MOST_COUNTED = 2**24 // LARGEST_COUNT  # cells whose counts add up to what float32 holds exactly


@dataclass(frozen=True, eq=False)
class WholeVariance:
    """Variances of reads as counts of a unit (instances x groups x row_tiles, 1, columns) float32, the largest of a column in a row tile
    being LARGEST_COUNT: sums over driven cells are whole numbers, the same in any order and from products of float32 and of int8 alike. A
    cell is off by half a unit at most. digits: of each row tile (instances x groups, 2 x rows, columns) int8, those of 127 and then the
    others.
    """

    digits: tuple[Tensor, ...]
    unit: Tensor

    def counts(self, tile: int, rows: int) -> Tensor:
        """Of a row tile (instances x groups, rows, columns) float32."""
        digits = self.digits[tile].float()
        return digits[:, :rows] * 127 + digits[:, rows:]


@dataclass(frozen=True, eq=False)
class ReadyArray:
    """Cells ready for products, currents in ADC steps, in the dtype of the product.

    cells, and variance of one read per squared voltage: (instances x groups x row_tiles, rows, columns); floor: variance
    of one read whatever is driven, offset and inl: of each column's ADC [steps] (.., 1, columns); or None. conductance [S]
    (instances x groups, row_tiles, rows, columns before pairs are joined) where currents are solved for each vector, and
    then `cells` is only their scale to ADC steps (.., 1, columns). array: the cells themselves. scale: where columns are
    not converted as they are (`received`), of a converted one from level steps to ADC steps (.., 1, columns); all else is in
    level steps then. fit: what makes sums of products of codes, where that is not the same for all row tiles. pull: as of SeenCells, and
    step: ADC steps of a DAC step of voltage (.., 1, columns), where voltage is sensed with read noise.
    """

    array: ProgrammedArray
    cells: Tensor
    variance: Tensor | None = None
    floor: Tensor | None = None
    offset: Tensor | None = None
    inl: Tensor | None = None
    conductance: Tensor | None = None
    scale: Tensor | None = None
    fit: ColumnFit | None = None
    pull: Tensor | None = None
    step: Tensor | None = None
    plans: dict[bool, Any] = field(default_factory=dict, init=False)  # what `xbar.hw.array.fused` keeps, with noise and without
    _whole: WholeVariance | None = field(default=None, init=False)

    def received(
        self, current: Tensor, channel: ReadChannel, scale: Tensor | None, counts: ActionCounts | None
    ) -> Tensor:  # fmt: skip
        """What ADCs get [ADC steps] of the currents of one read (.., columns): less those of reference columns that are
        subtracted, at most the limit. scale: those rows of `scale` that are of these currents. counts: where limited currents
        are counted."""
        if scale is None:
            return current
        if channel.subtracted_reference is not None:
            taken = current[..., channel.columns :]
            current = current[..., : channel.columns] - taken[..., channel.subtracted_reference]
        if channel.limit is not None:
            if counts is not None:
                counts.limited += int((current.abs() > channel.limit).sum())
            current = current.clamp(-channel.limit, channel.limit)
        return current * scale

    def counts_in_units(self, channel: ReadChannel) -> bool:
        """True where the variance of a read adds up in whole numbers: of codes of one bit, each read with noise of its own."""
        rows = min(channel.geometry.inputs, channel.geometry.inputs_per_crossbar)
        alone = self.array.device.read_noise_drawn == "each_read" or channel.streams_per_vector == 1
        whole = channel.design.dac.bits == 1 and channel.design.inputs.quantise and rows <= MOST_COUNTED
        return alone and whole and self.pull is None and self.cells.dtype == torch.float32

    @cached_property
    def flat_variance(self) -> Tensor | None:
        """Variance of a column's cells (.., 1, columns), where it is the same for all of them; else None."""
        if self.variance is None or self.pull is not None or not bool((self.variance == self.variance[:, :1]).all()):
            return None
        return self.variance[:, :1].contiguous()

    def whole_variance(self, channel: ReadChannel) -> WholeVariance:
        """The variance in whole numbers, made on first use."""
        if self._whole is None:
            assert self.variance is not None
            tiles = channel.geometry.row_tiles
            unit = self.variance.amax(1, keepdim=True) / LARGEST_COUNT
            counts = torch.where(unit > 0, self.variance / unit, 0.0).round_().to(torch.int16)
            high = (counts // 127).to(torch.int8)
            low = (counts - high.to(torch.int16) * 127).to(torch.int8)
            digits = tuple(
                torch.cat([part[tile::tiles, : channel.geometry.inputs_of(tile)] for part in (high, low)], dim=1) for tile in range(tiles)
            )
            object.__setattr__(self, "_whole", WholeVariance(digits, unit))
        assert self._whole is not None
        return self._whole

    def holding(self, epoch: int) -> "ReadyArray":
        """The cells as the noise of one epoch has them, where noise lasts between reads; no noise of single reads then."""
        if self.variance is None:
            return self
        units, rows, columns = self.cells.shape
        normal = torch.empty(units, 1, rows * columns, dtype=self.cells.dtype, device=self.cells.device)
        self.array.draws.fill(normal, epoch, LASTING)
        return replace(self, cells=self.cells + normal.view_as(self.cells) * self.variance.sqrt(), variance=None)

    def solve(self, channel: ReadChannel, voltage: Tensor) -> Tensor | None:
        """Currents [ADC steps] (instances x groups, row_tiles, vectors, columns) of inputs at `voltage` [DAC steps]
        (instances x groups, vectors, inputs), where cells are solved for each vector; else None."""
        if self.conductance is None:
            return None
        tiles = channel.tiled(voltage.double())
        levels = solved_levels(self.array, channel.design, self.conductance, tiles)
        return (levels * self.cells.unflatten(0, (-1, channel.geometry.row_tiles))).to(self.cells.dtype)


def nominal_fit(array: ProgrammedArray, channel: ReadChannel) -> ColumnFit | None:
    """The gain and offset of columns whose cells are at their targets; None where sums need neither, as of currents of row tiles
    whose levels stand for the same."""
    mapped, g = array.mapped, channel.geometry
    shape, voltage = (g.groups, g.row_tiles, 1, channel.columns + channel.references), channel.design.adc.sensing == "voltage"
    gain = torch.ones(shape, dtype=torch.float64, device=mapped.held.device)
    if voltage:
        load = column_load(g, array.target()) / array.device.level_step(g.cell_bits)
        gain = join_pairs(g, load, subtract=False) / 2
    elif mapped.segment_scale is None:
        return None
    if mapped.segment_scale is not None:
        gain = gain * mapped.segment_scale[:, :, None, None]
    gain = gain.expand(len(array.cells), *shape).flatten(0, 2)
    return ColumnFit(gain, gain.new_zeros(len(array.cells) * g.groups, 1, shape[-1]))


def make_ready(
    array: ProgrammedArray, channel: ReadChannel, dtype: torch.dtype, with_errors: bool = True, fit: ColumnFit | None = None
) -> ReadyArray:
    """The array behind the channel's ADCs; with_errors: with read noise, and with the errors of ADCs; fit: of the columns of these
    instances, in place of the nominal one. Gradients flow to what the cells hold."""
    seen = seen_cells(array, channel.design, with_errors)
    errors = adc_errors(channel, array.draws, array.layout) if with_errors else None
    gain = 0.0 if errors is None else errors.gain
    to_steps = (1 + gain) / channel.adc.step.unsqueeze(1)  # (..., row_tiles, 1, columns)
    apart = channel.limit is not None or channel.subtracted_reference is not None
    scale = torch.ones((), dtype=torch.float64) if apart else to_steps
    shape = (len(array.cells), channel.geometry.groups, channel.geometry.row_tiles, 1, -1)

    def flat(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.flatten(0, 2).to(dtype)

    return ReadyArray(
        array,
        (seen.levels * scale).flatten(0, 2).to(dtype),
        flat(None if seen.variance is None else seen.variance * scale**2),
        flat(None if seen.floor is None else seen.floor * scale**2),
        flat(None if errors is None else errors.offset),
        flat(errors.inl if errors is not None and channel.design.adc.inl_sigma else None),
        None if seen.conductance is None else seen.conductance.to(dtype),
        flat(to_steps.expand(shape)) if apart else None,
        nominal_fit(array, channel) if fit is None else fit,
        flat(None if seen.pull is None else seen.pull * scale**2),
        flat(None if seen.pull is None else scale.expand(shape)),
    )  # fmt: skip


class ReadSequence:
    """The reads of an array one after another: the cells made ready once, and noise that lasts held as long as it does.
    graded: gradients flow to what the cells hold."""

    def __init__(
        self, array: ProgrammedArray, channel: ReadChannel, dtype: torch.dtype, graded: bool = False, fit: ColumnFit | None = None
    ):
        self.array, self.channel, self.dtype, self.graded, self.fit = array, channel, dtype, graded, fit
        self._epoch: tuple[int, ReadyArray] | None = None

    @cached_property
    def ready(self) -> ReadyArray:
        """The cells, on first use, because wires take a while."""
        with torch.inference_mode(False), torch.set_grad_enabled(self.graded and torch.is_grad_enabled()):
            return make_ready(self.array, self.channel, self.dtype, fit=self.fit)

    def at(self, vector: int) -> ReadyArray:
        """The cells as that vector finds them."""
        length = vectors_at_once(self.channel, self.array.device)
        if length is None:
            return self.ready
        if self._epoch is None or self._epoch[0] != vector // length:
            with torch.inference_mode(False), torch.set_grad_enabled(self.graded and torch.is_grad_enabled()):
                self._epoch = vector // length, self.ready.holding(vector // length)
        return self._epoch[1]


def read_time_per_vector(channel: ReadChannel) -> float:
    """Time that the array reads of one vector take [s]: of a crossbar that is read in parts, one after another."""
    reads = sum(channel.design.reads_per_conversion) * channel.passes
    return reads * min(channel.design.parts, channel.geometry.row_tiles) * channel.design.array_read


def vectors_at_once(channel: ReadChannel, device: Device) -> int | None:
    """Vectors that see the same read noise, from the device's correlation time; None where each read has its own."""
    if not (device.has_read_noise and device.read_correlation_time):
        return None
    return max(1, round(min(device.read_correlation_time / read_time_per_vector(channel), 2**62)))


def runs_of(vectors: int, first: int, most: int, epoch: int | None) -> Iterator[slice]:
    """Runs of at most `most` of the vectors that come after `first` others, each within one epoch of lasting noise."""
    start = 0
    while start < vectors or start == 0:
        stop = min(vectors, start + most)
        if epoch is not None:
            stop = min(stop, start + epoch - (first + start) % epoch)
        yield slice(start, stop)
        start = max(stop, 1)


def array_is_exact(array: ProgrammedArray, channel: ReadChannel) -> bool:
    """True where products equal the integer products: perfect cells, ideal wires and drivers, and a lossless ADC."""
    based = base_levels(array.mapped.geometry, array.device) and not channel.adc.ideal
    wires, off = channel.design.wires, channel.design.cell_error.sigma and not array.aimed
    return array.perfect and not off and wires.ideal and not is_solved(array, channel.design) and not based and channel.exact

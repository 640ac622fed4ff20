"""A table on crossbars, read one row at a time: what a one-hot input does, without the zeros.

A look-up drives the wordlines of one input with one slice at the DAC's highest code, for any number of input bits, and
converts only the crossbars that hold the row: all column tiles and planes of one row tile. Wordlines that are not driven
are held at 0 V, as those of a product are. So a look-up is the product with a one-hot vector whose other row tiles are left
out, with their noise and their ADCs' offsets. Read noise is drawn by the number of the look-up, whatever row it reads.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.counts import ActionCounts, drives_of
from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.draws import READ
from xbar.hw.array.ready import ReadyArray
from xbar.hw.array.sums import signs_of, sums_of
from xbar.hw.errors import ParameterError


def look_up(
    array: ReadyArray, channel: ReadChannel, rows: Tensor, first: int = 0, scale: Tensor | None = None,
    out: Tensor | None = None, measure: bool = False,
) -> tuple[Tensor, ActionCounts]:  # fmt: skip
    """The rows (instances, look-ups) of a table of one group read one after another, (instances, look-ups, outputs), and what
    was done for them; parameters as of `xbar.hw.array.product.product`, `first` being the number of the first look-up."""
    g, adc, mapped = channel.geometry, channel.adc, array.array.mapped
    tile = rows // g.inputs_per_crossbar
    current = row_currents(array, channel, rows)
    if array.variance is not None:
        current = _with_read_noise(current, array, channel, rows, first)
    counts = _counted(channel, rows.numel())
    current = _received(current, array, channel, tile, counts if measure else None)
    offset, inl = (None if e is None else _at_tile(e, tile, g.row_tiles) for e in (array.offset, array.inl))
    own = adc.of_tile(tile)
    current = own.distorted(current, offset, inl)
    if measure:
        counts.saturated = own.saturated(current)
    codes = own.convert(current)
    if adc.step.shape[0] > 1:
        codes = codes * adc.step[tile].to(codes.dtype)
    if array.fit is not None:  # row tiles whose levels stand for different weights
        codes = codes * _at_tile(array.fit.gain, tile, g.row_tiles).to(codes.dtype)
    if g.encoding.flipped_columns:
        codes = codes * signs_of(mapped, codes.shape[-1], codes.dtype)[0, tile]

    def tile_sums() -> Tensor:
        return nn.functional.one_hot(tile.long(), g.row_tiles).double() * channel.integer_range[1]

    codes = codes.to(channel.sum_dtype(array.cells.dtype))
    return sums_of(codes, tile_sums, array.array, channel, scale, out), counts


def row_currents(array: ReadyArray, channel: ReadChannel, rows: Tensor) -> Tensor:
    """Currents [ADC steps] of the rows (instances, look-ups), (instances, look-ups, columns), without noise."""
    g = channel.geometry
    tile, row = rows // g.inputs_per_crossbar, rows % g.inputs_per_crossbar
    instance = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1)
    if array.conductance is None:
        return array.cells.unflatten(0, (-1, g.row_tiles))[instance, tile, row] * _drive(channel)
    solved = array.solve(channel, _one_hot(channel, rows))  # (instances, row_tiles, look-ups, columns)
    assert solved is not None
    return solved[instance, tile, torch.arange(rows.shape[1], device=rows.device)]


def _received(
    current: Tensor, array: ReadyArray, channel: ReadChannel, tile: Tensor, counted: ActionCounts | None
) -> Tensor:  # fmt: skip
    """What the ADCs get of the currents of each look-up."""
    scale = None if array.scale is None else _at_tile(array.scale, tile, channel.geometry.row_tiles)
    return array.received(current, channel, scale, counted)


def _with_read_noise(current: Tensor, array: ReadyArray, channel: ReadChannel, rows: Tensor, first: int) -> Tensor:
    """The currents with the noise of one read each."""
    assert array.variance is not None
    g = channel.geometry
    tile, row = rows // g.inputs_per_crossbar, rows % g.inputs_per_crossbar
    with torch.no_grad():
        instance = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1)
        spread = array.variance.unflatten(0, (-1, g.row_tiles))[instance, tile, row] * _drive(channel) ** 2
        spread = (spread if array.floor is None else spread + _at_tile(array.floor, tile, g.row_tiles)).sqrt_()
        normal = torch.empty_like(spread)
        array.array.draws.fill(normal, first, READ)
    return current + spread * normal


def _at_tile(values: Tensor, tile: Tensor, row_tiles: int) -> Tensor:
    """Values of each row tile (instances x row_tiles, 1, columns) at each look-up, (instances, look-ups, columns)."""
    instance = torch.arange(tile.shape[0], device=tile.device).unsqueeze(1)
    return values.unflatten(0, (-1, row_tiles))[instance, tile, 0]


def _drive(channel: ReadChannel) -> float:
    """Voltage of the driven wordline [DAC steps]."""
    return float(channel.design.dac.voltage(torch.tensor(float(channel.integer_range[1]))))


def _one_hot(channel: ReadChannel, rows: Tensor) -> Tensor:
    """The look-ups (..., look-ups) as vectors of the DAC (..., look-ups, inputs) float64."""
    return nn.functional.one_hot(rows.long(), channel.geometry.inputs).double() * channel.integer_range[1]


def _counted(channel: ReadChannel, look_ups: int) -> ActionCounts:
    """What that many look-ups take, of several instances their sum."""
    return ActionCounts(
        vectors=look_ups, inputs=look_ups, conversions=look_ups * channel.full_scale.shape[1],
        drives=drives_of(channel, look_ups),
    )  # fmt: skip


class LookUps:
    """How a table is read, by rows (..., 1, look-ups) int32 or int64."""

    def design(self, design: ArrayDesign) -> ArrayDesign:
        """How arrays are driven: one wordline at the highest code."""
        return design.one_hot

    def most_driven(self, inputs_of_a_crossbar: int) -> int:
        """Inputs of one crossbar that can be driven at once."""
        return 1

    def lead(self, inputs: Tensor) -> torch.Size:
        """Shape of the results without their last dimension, outputs; the last of it are look-ups."""
        return inputs.shape

    def check(self, inputs: Tensor, channel: ReadChannel, instances: int | None, values: bool) -> None:
        """Raise ParameterError for another shape than (1, look-ups), or (instances, 1, look-ups) of several, for rows that
        the table does not have (of `values`, not known to be of it), and, to calibrate with (instances None), for row tiles without a
        look-up."""
        g, shape = channel.geometry, tuple(inputs.shape)
        several = instances is not None and instances > 1
        if inputs.dim() not in (2, 3) or (inputs.dim() == 2 and several) or (inputs.dim() == 3 and shape[0] != instances):
            raise ParameterError(f"rows must be ({instances} instances, 1, look-ups), got {shape}")
        if inputs.dtype not in (torch.int32, torch.int64) or shape[-2] != 1:
            raise ParameterError(f"rows must be whole numbers (..., 1, look-ups), got {inputs.dtype} {shape}")
        if inputs.numel() and values:
            smallest, largest = (int(end) for end in torch.aminmax(inputs))
            if smallest < 0 or largest >= g.inputs:
                raise ParameterError(f"rows must be from 0 to {g.inputs - 1}, got {smallest} to {largest}")
        if instances is None:
            without = set(range(g.row_tiles)) - set((inputs.flatten() // g.inputs_per_crossbar).tolist())
            if without:
                raise ParameterError(f"look-ups to calibrate with must reach every row tile, got none in {sorted(without)}")

    def read(
        self, array: ReadyArray, channel: ReadChannel, inputs: Tensor, first: int, scale: Tensor | None, out: Tensor | None,
        measure: bool,
    ) -> tuple[Tensor, ActionCounts]:  # fmt: skip
        """`look_up` of rows (instances, look-ups)."""
        return look_up(array, channel, inputs, first, scale, out, measure)

    def flat(self, inputs: Tensor, instances: int, dtype: torch.dtype) -> Tensor:
        """Rows as `read` takes them, (instances, look-ups)."""
        return inputs.reshape(instances, -1)

    def exact(self, inputs: Tensor, integers: Tensor, channel: ReadChannel) -> Tensor:
        """The rows of the mapped integers (1, rows, outputs) times the highest code, float64."""
        return integers[0, inputs].double() * channel.integer_range[1]

    def counted(self, inputs: Tensor, channel: ReadChannel) -> ActionCounts:
        """What a chip does for these look-ups."""
        return _counted(channel, inputs.numel())

    def currents(self, array: ReadyArray, channel: ReadChannel, inputs: Tensor, counted: ActionCounts) -> list[Tensor]:
        """Currents of each row tile [ADC steps] (..., columns) of one instance without noise; those that are limited are
        counted."""
        rows, per_tile = inputs.flatten(), channel.geometry.inputs_per_crossbar
        by_tile = [rows[rows // per_tile == tile].unsqueeze(0) for tile in range(channel.geometry.row_tiles)]
        return [_received(row_currents(array, channel, each), array, channel, each // per_tile, counted) for each in by_tile]

    def driven(self, inputs: Tensor, channel: ReadChannel) -> Iterator[tuple[Tensor, float]]:
        """Look-ups as vectors of the DAC (1, vectors, inputs) float64 in parts, and each part's share of them."""
        for rows in cast(Sequence[Tensor], inputs.split(channel.geometry.inputs_per_crossbar, dim=-1)):
            yield _one_hot(channel, rows), rows.shape[-1] / inputs.shape[-1]

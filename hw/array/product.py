"""The analog matrix-vector product of a stack of crossbars, batched over chip instances, tiles, slices and vectors."""

from collections.abc import Iterator

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.counts import ActionCounts, drives_of
from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.draws import READ
from xbar.hw.array.ready import ReadyArray
from xbar.hw.array.sums import signs_of, sums_of
from xbar.hw.errors import ParameterError


def product(
    array: ReadyArray, channel: ReadChannel, values: Tensor, first: int = 0, scale: Tensor | None = None,
    out: Tensor | None = None, measure: bool = False,
) -> tuple[Tensor, ActionCounts]:  # fmt: skip
    """Sums of products (instances x groups, vectors, outputs) of whole-numbered `values` (instances x groups, vectors,
    inputs), and what was done for them; saturated conversions are counted where `measure` is on.

    first: number of the first vector, which read noise follows from. scale: what sums are multiplied by (instances x groups,
    1, outputs). out: where they are written, if no gradient is asked for. Sums are in units of (weight integer x input
    integer) without a scale.
    """
    adc, mapped, g = channel.adc, array.array.mapped, channel.geometry
    counts = ActionCounts(vectors=values.shape[0] * values.shape[1] // g.groups)
    counts.drives = drives_of(channel, values.numel()) * channel.streams_per_vector
    wide = channel.sum_dtype(array.cells.dtype)
    sign = signs_of(mapped, array.cells.shape[-1], array.cells.dtype) if g.encoding.flipped_columns else None
    total: Tensor | None = None
    for tile, current, weight in currents(array, channel, values, first, counts if measure else None):
        errors = (None if error is None else error[tile :: g.row_tiles] for error in (array.offset, array.inl))
        own = adc.of_tile(tile)
        current = own.distorted(current, *errors)
        if measure:
            counts.saturated += own.saturated(current)
        codes = own.convert(current)
        counts.conversions += codes.numel()
        if adc.step.shape[0] > 1:
            codes = codes * adc.step[tile].to(codes.dtype)
        if sign is not None:
            codes = codes * sign[:, tile].repeat(codes.shape[0] // g.groups, 1).unsqueeze(1)
        codes = codes.to(wide)
        if total is None:
            total = codes if weight == 1 else codes * weight
        else:
            total = total.add(codes, alpha=weight) if total.requires_grad else total.add_(codes, alpha=weight)
    assert total is not None
    return sums_of(total, lambda: _tile_sums(channel, values), array.array, channel, scale, out), counts


def currents(
    array: ReadyArray, channel: ReadChannel, values: Tensor, first: int | None, counted: ActionCounts | None = None
) -> Iterator[tuple[int, Tensor, float]]:
    """(row tile, currents [ADC steps] (instances x groups, vectors, columns), weight) of each conversion of `values`
    (instances x groups, vectors, inputs). first: number of the first vector, for read noise; None is without. counted: where
    currents that are limited are counted."""
    tiles, count, design = channel.geometry.row_tiles, channel.design.input_slices, channel.design
    accumulated: list[Tensor | None] = [None] * tiles
    for stream, (codes, weight) in enumerate(channel.streams(values)):
        voltage = design.dac.voltage(codes)
        solved = array.solve(channel, voltage)
        for tile in range(tiles):
            driven = channel.of_tile(voltage, tile)
            current = _current(array, driven, tile, tiles) if solved is None else solved[:, tile]
            if array.variance is not None and first is not None:
                current = _with_read_noise(current, driven, array, tile, tiles, first, stream)
            scale = None if array.scale is None else array.scale[tile::tiles]
            current = array.received(current, channel, scale, counted)
            if design.reads_per_conversion == 1:
                yield tile, current, weight
                continue
            sign = -1.0 if channel.passes == 2 and stream >= count else 1.0
            so_far, current = accumulated[tile], current * (sign * weight)
            accumulated[tile] = current = current if so_far is None else so_far + current
            if stream % count == count - 1:
                yield tile, current, sign
                accumulated[tile] = None


def _current(array: ReadyArray, voltage: Tensor, tile: int, tiles: int) -> Tensor:
    """Currents [ADC steps] of one read of a row tile at `voltage` (instances x groups, vectors, rows)."""
    rows = voltage.shape[-1]
    if len(array.cells) == tiles:
        return torch.mm(voltage[0], array.cells[tile, :rows]).unsqueeze(0)
    return torch.bmm(voltage, array.cells[tile::tiles, :rows])


def _with_read_noise(
    current: Tensor, voltage: Tensor, array: ReadyArray, tile: int, tiles: int, first: int, stream: int
) -> Tensor:
    """The currents with the noise of one read, in place where no gradient is asked for."""
    assert array.variance is not None
    with torch.no_grad():
        spread = torch.bmm(voltage.square(), array.variance[tile::tiles, : voltage.shape[-1]])
        spread = (spread if array.floor is None else spread.add_(array.floor[tile::tiles])).sqrt_()
        normal = torch.empty_like(spread)
        array.array.draws.fill(normal, first, READ, stream, tile)
    if current.requires_grad:
        return current + spread * normal
    return current.addcmul_(spread, normal)


def _tile_sums(channel: ReadChannel, values: Tensor) -> Tensor:
    """Summed inputs of each row tile (instances x groups, vectors, row_tiles) float64."""
    sums = [channel.of_tile(values, tile).double().sum(-1) for tile in range(channel.geometry.row_tiles)]
    return torch.stack(sums, dim=-1)


class Products:
    """How a matrix is read with vectors of whole numbers (..., groups, vectors, inputs)."""

    def design(self, design: ArrayDesign) -> ArrayDesign:
        """How arrays are driven: as they are."""
        return design

    def most_driven(self, inputs_of_a_crossbar: int) -> int:
        """Inputs of one crossbar that can be driven at once."""
        return inputs_of_a_crossbar

    def lead(self, inputs: Tensor) -> torch.Size:
        """Shape of the results without their last dimension, outputs; the last of it are vectors."""
        return inputs.shape[:-1]

    def check(self, inputs: Tensor, channel: ReadChannel, instances: int | None, values: bool) -> None:
        """Raise ParameterError for another shape than (groups, vectors, inputs), or (instances, groups, vectors, inputs) of
        several, and, of `values`, for those that the DAC has no code for. instances: None to calibrate with."""
        g, shape = channel.geometry, tuple(inputs.shape)
        if instances is None and (inputs.dim() != 3 or not shape[1]):
            raise ParameterError(f"inputs must be (groups, vectors, inputs), one vector or more, got {shape}")
        several = instances is not None and instances > 1
        if inputs.dim() not in (3, 4) or (inputs.dim() == 3 and several) or (inputs.dim() == 4 and shape[0] != instances):
            raise ParameterError(f"inputs must be ({instances} instances, groups, vectors, inputs), got {shape}")
        if (shape[-3], shape[-1]) != (g.groups, g.inputs):
            raise ParameterError(f"inputs must be (..., {g.groups}, vectors, {g.inputs}), got {shape}")
        if not values or not inputs.numel():
            return
        low, high = channel.integer_range
        smallest, largest = (float(end) for end in torch.aminmax(inputs.detach()))
        quantise = channel.design.inputs.quantise
        whole = not quantise or bool((inputs.detach() == inputs.detach().round()).all())
        if not (low <= smallest and largest <= high and whole):
            raise ParameterError(
                f"inputs must be {'whole numbers' if quantise else 'values'} from {low} to {high}, got {smallest} to {largest}"
            )

    def read(
        self, array: ReadyArray, channel: ReadChannel, inputs: Tensor, first: int, scale: Tensor | None, out: Tensor | None,
        measure: bool,
    ) -> tuple[Tensor, ActionCounts]:  # fmt: skip
        """`product` of inputs (instances x groups, vectors, inputs)."""
        return product(array, channel, inputs, first, scale, out, measure)

    def flat(self, inputs: Tensor, instances: int, dtype: torch.dtype) -> Tensor:
        """Inputs as `read` takes them, (instances x groups, vectors, inputs)."""
        return inputs.to(dtype).reshape(-1, *inputs.shape[-2:])

    def exact(self, inputs: Tensor, integers: Tensor, channel: ReadChannel) -> Tensor:
        """Products with the mapped integers (groups, inputs, outputs), float64."""
        return torch.matmul(inputs.to(integers.dtype), integers).double()

    def counted(self, inputs: Tensor, channel: ReadChannel) -> ActionCounts:
        """What a chip does for inputs (..., groups, vectors, inputs)."""
        vectors = inputs.numel() // (channel.geometry.groups * channel.geometry.inputs)
        counts = ActionCounts(vectors=vectors, conversions=vectors * channel.conversions_per_vector)
        counts.drives = drives_of(channel, inputs.numel()) * channel.streams_per_vector
        return counts

    def currents(self, array: ReadyArray, channel: ReadChannel, inputs: Tensor, counted: ActionCounts) -> list[Tensor]:
        """Currents of each row tile [ADC steps] (..., columns), over all conversions, of one instance without noise; those
        that are limited are counted."""
        by_tile: list[list[Tensor]] = [[] for _ in range(channel.geometry.row_tiles)]
        for tile, current, _ in currents(array, channel, inputs.to(array.cells.dtype), None, counted):
            by_tile[tile].append(current)
        return [torch.stack(each) for each in by_tile]

    def driven(self, inputs: Tensor, channel: ReadChannel) -> Iterator[tuple[Tensor, float]]:
        """Inputs as vectors of the DAC (groups, vectors, inputs) float64 in parts, and each part's share of them."""
        yield inputs.double(), 1.0

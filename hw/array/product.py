"""The analog matrix-vector product of a stack of crossbars, batched over chip instances, tiles, slices and vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.counts import ActionCounts, drives_of
from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.draws import READ
from xbar.hw.array.fused import totals
from xbar.hw.array.ready import ReadyArray
from xbar.hw.array.sums import signs_of, sums_of
from xbar.hw.errors import ParameterError
from xbar.hw.randomness import root

PIVOT = 1e-6  # of a read's variance: below, float32 cannot tell it from 0


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
    counts.drives = drives_of(channel, values.numel(), counts.vectors) * channel.streams_per_vector
    wide = channel.sum_dtype(array.cells.dtype)
    sign = signs_of(mapped, array.cells.shape[-1], array.cells.dtype) if g.encoding.flipped_columns else None
    total = None if measure else totals(array, channel, values, first)
    if total is not None:
        per_tile = values.shape[0] * values.shape[1] * array.cells.shape[-1] - counts.vectors * channel.missing_columns
        counts.conversions = per_tile * g.row_tiles * channel.design.conversions_per_column(channel.signed_input)
        return sums_of(total, lambda: _tile_sums(channel, values), array.array, channel, scale, out), counts
    for tile, current, weight in currents(array, channel, values, first, counts if measure else None):
        errors = (None if error is None else error[tile :: g.row_tiles] for error in (array.offset, array.inl))
        own = adc.of_tile(tile)
        current = own.distorted(current, *errors)
        if measure:
            counts.saturated += own.saturated(current, channel.present)
        codes = own.convert(current)
        counts.conversions += codes.numel() - counts.vectors * channel.missing_columns
        if adc.step.shape[0] > 1:
            codes = codes * adc.step[tile].to(codes.dtype)
        if array.fit is not None:
            codes = codes * array.fit.gain[tile :: g.row_tiles].to(codes.dtype)
        if sign is not None:
            codes = codes * sign[:, tile].repeat(codes.shape[0] // g.groups, 1).unsqueeze(1)
        codes = codes.to(wide)
        if total is None:
            total = codes if weight == 1 else codes * weight
        else:
            total = total.add(codes, alpha=weight) if total.requires_grad else total.add_(codes, alpha=weight)
    assert total is not None
    if array.fit is not None:
        step = 1.0 if channel.common_step is None else channel.common_step  # sums are multiplied by it
        total = total + (array.fit.offset / step).to(total.dtype)
    return sums_of(total, lambda: _tile_sums(channel, values), array.array, channel, scale, out), counts


def currents(
    array: ReadyArray, channel: ReadChannel, values: Tensor, first: int | None, counted: ActionCounts | None = None
) -> Iterator[tuple[int, Tensor, float]]:
    """(row tile, currents [ADC steps] (instances x groups, vectors, columns), weight) of each conversion of `values`
    (instances x groups, vectors, inputs). first: number of the first vector, for read noise; None is without. counted: where
    currents that are limited are counted."""
    tiles, design = channel.geometry.row_tiles, channel.design
    if _adds_before_reading(array, channel, first):
        for values_read, weight in _merged(channel, values):
            for tile in range(tiles):
                current = _current(array, channel.of_tile(values_read, tile), tile, tiles)
                yield tile, array.received(current, channel, None if array.scale is None else array.scale[tile::tiles], counted), weight
        return
    accumulated: list[Tensor | None] = [None] * tiles
    noises = [_TileNoise(array, channel, tile) for tile in range(tiles)]
    for stream, ((codes, weight), place) in enumerate(zip(channel.streams(values), design.places(channel.passes), strict=True)):
        voltage = design.dac.voltage(codes)
        solved = array.solve(channel, voltage)
        for tile in range(tiles):
            driven = channel.of_tile(voltage, tile)
            current = _current(array, driven, tile, tiles) if solved is None else solved[:, tile]
            if array.variance is not None and first is not None:
                current = noises[tile].added(current, driven, first, stream, place.pulses)
            scale = None if array.scale is None else array.scale[tile::tiles]
            current = array.received(current, channel, scale, counted)
            if design.adc.conversion == "each_slice":
                yield tile, current, weight
                continue
            so_far, current = accumulated[tile], current * (weight / place.weight)
            accumulated[tile] = current = current if so_far is None else so_far + current
            if place.last:
                yield tile, current, place.weight
                accumulated[tile] = None


def _adds_before_reading(array: ReadyArray, channel: ReadChannel, first: int | None) -> bool:
    """True where the accumulated current of several reads is that of one read at the sum of their voltages: nothing but sums happens
    before the conversion."""
    design = channel.design
    noisy = array.variance is not None and first is not None
    return (
        design.adc.conversion == "after_accumulation" and max(design.converted_slices) > 1 and not design.dac.bow
        and not noisy and array.conductance is None and channel.limit is None
    )  # fmt: skip


def _merged(channel: ReadChannel, values: Tensor) -> Iterator[tuple[Tensor, float]]:
    """What the reads of each conversion drive together, in units of its least significant slice, and its weight."""
    design = channel.design
    if channel.passes == 1 and len(design.converted_slices) == 1:
        yield values, 1.0
        return
    total: Tensor | None = None
    for (codes, weight), place in zip(channel.streams(values), design.places(channel.passes), strict=True):
        codes = codes * (weight / place.weight)
        total = codes if total is None else total + codes
        if place.last:
            yield total, place.weight
            total = None


def _current(array: ReadyArray, voltage: Tensor, tile: int, tiles: int) -> Tensor:
    """Currents [ADC steps] of one read of a row tile at `voltage` (instances x groups, vectors, rows)."""
    rows = voltage.shape[-1]
    if len(array.cells) == tiles:
        return torch.mm(voltage[0], array.cells[tile, :rows]).unsqueeze(0)
    return torch.bmm(voltage, array.cells[tile::tiles, :rows])


class _Drive(NamedTuple):
    """One read: voltages of the rows (instances x groups, vectors, rows) and, where columns settle at one, theirs (.., columns) [DAC
    steps]."""

    voltage: Tensor
    settled: Tensor | None


@dataclass
class _TileNoise:
    """Read noise of a row tile's columns, read by read of the same vectors.

    Each read has a draw of its own; where all reads of a vector share the draws of their cells, the noises of its reads are
    Gaussians with covariance C[k, l] = sum over rows of v_k v_l sigma² (v: voltages; sigma²: variance of a cell's read), made of
    independent ones by the Cholesky factor L of C, row by row: noise k = sum over m <= k of L[k, m] n_m. Thermal noise, which no
    two reads share, is on the diagonal alone. Where a column settles at V = sum(v G) / sum(G), dV = sum((v - V) dG) / sum(G), so that
    v - V stands in place of v, -v - V of the negative cell of a pair (first order in dG).
    """

    array: ReadyArray
    channel: ReadChannel
    tile: int
    _drives: list[_Drive] = field(default_factory=list)  # of the reads so far
    _factors: list[list[Tensor]] = field(default_factory=list)  # the rows of L so far, each (instances x groups, vectors, columns)
    _normals: list[Tensor] = field(default_factory=list)

    def added(self, current: Tensor, voltage: Tensor, first: int, read: int, pulses: int) -> Tensor:
        """The currents of a read with its noise, in place where no gradient is asked for; the mean of so many reads, each with
        noise of its own unless all reads of a vector share it."""
        with torch.no_grad():
            tiles, step = self.channel.geometry.row_tiles, self.array.step
            drive = _Drive(voltage, None if step is None else current.detach() / step[self.tile :: tiles])
            spread = self._covariance(drive, drive)
            floor = self.array.floor
            if floor is not None:
                spread = spread.add_(floor[self.tile :: tiles])
            normal = torch.empty_like(spread)
            self.array.array.draws.fill(normal, first, READ, read, self.tile)
            shared = self.array.array.device.read_noise_drawn == "each_vector" and self.channel.streams_per_vector > 1
            if shared:
                spread, normal = torch.ones_like(spread), self._correlated(spread, drive, normal)
            else:
                spread = root(spread.div_(pulses))
            noise = spread.mul_(normal)
        return current + noise if current.requires_grad else current.add_(noise)

    def _covariance(self, one: _Drive, other: _Drive) -> Tensor:
        """Of two reads (instances x groups, vectors, columns)."""
        assert self.array.variance is not None
        tiles, rows = self.channel.geometry.row_tiles, one.voltage.shape[-1]
        driven, flat = one.voltage * other.voltage, self.array.flat_variance
        if flat is not None:
            return driven.sum(-1, keepdim=True) * flat[self.tile :: tiles]
        if self.array.counts_in_units(self.channel):
            whole = self.array.whole_variance(self.channel)
            return torch.bmm(driven, whole.counts(self.tile, rows)).mul_(whole.unit[self.tile :: tiles])
        both = self.array.variance[self.tile :: tiles, :rows]
        found = torch.bmm(driven, both)
        if self.array.pull is None or one.settled is None or other.settled is None:
            return found
        pull = self.array.pull[self.tile :: tiles, :rows]
        found -= one.settled * torch.bmm(other.voltage, pull) + other.settled * torch.bmm(one.voltage, pull)
        found.addcmul_(one.settled * other.settled, both.sum(1, keepdim=True))
        return found.clamp_(min=0) if one is other else found

    def _correlated(self, variance: Tensor, drive: _Drive, normal: Tensor) -> Tensor:
        """The noise of a read of that variance, given those of the reads before it; keeps what the next ones need."""
        row: list[Tensor] = []
        left = variance.clone()
        noise = torch.zeros_like(normal)
        for before, (driven, factors) in enumerate(zip(self._drives, self._factors, strict=True)):
            shared = self._covariance(drive, driven)
            for mine, theirs in zip(row, factors, strict=False):
                shared = shared.addcmul_(mine, theirs, value=-1)
            pivot = factors[before]
            factor = torch.where(pivot > 0, shared / pivot, 0.0)
            row.append(factor)
            left = left.addcmul_(factor, factor, value=-1)
            noise = noise.addcmul_(factor, self._normals[before])
        # what is left of a read that the ones before determine is rounding, and no pivot
        pivot = torch.where(left > PIVOT * variance, left.clamp(min=0).sqrt(), 0.0)
        self._drives.append(drive)
        self._factors.append([*row, pivot])
        self._normals.append(normal)
        return noise.addcmul_(pivot, normal)


def _tile_sums(channel: ReadChannel, values: Tensor) -> Tensor:
    """Summed inputs of each row tile (instances x groups, vectors, row_tiles) float64."""
    sums = [channel.of_tile(values, tile).double().sum(-1) for tile in range(channel.geometry.row_tiles)]
    return torch.stack(sums, dim=-1)


class Products:
    """How a matrix is read with vectors of whole numbers (..., groups, vectors, inputs)."""

    def design(self, design: ArrayDesign) -> ArrayDesign:
        """How arrays are driven: so many wordlines at once."""
        return design.as_read

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
        groups, _, width = g.of_layer.shape
        if (shape[-3], shape[-1]) != (groups, width):
            raise ParameterError(f"inputs must be (..., {groups}, vectors, {width}), got {shape}")
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
        """What a chip does for a layer's inputs (..., groups, vectors, inputs)."""
        g = channel.geometry
        groups, _, width = g.of_layer.shape
        vectors = inputs.numel() // (groups * width)
        counts = ActionCounts(vectors=vectors, conversions=vectors * channel.conversions_per_vector)
        counts.drives = drives_of(channel, vectors * g.groups * g.inputs, vectors) * channel.streams_per_vector
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

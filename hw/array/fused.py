"""The product in one pass over currents: noise, rounding, clipping and summing, a block of vectors at a time.

What `xbar.hw.array.product` does in torch operations, read by read, on the CPU in float32: vectors in blocks, of each block and row tile
one product of matrices for all reads, and then `xbar.hw.kernels`. Bit for bit the same sums, whatever the blocks
(`tests/hw/test_fused.py`). Where a gradient is asked for, on other torch devices, and where more happens between current and sum, there is
no such pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.draws import READ
from xbar.hw.array.ready import ReadyArray, WholeVariance
from xbar.hw.array.sums import signs_of
from xbar.hw.randomness import kernels, kernels_are_loaded, on_threads, parts_of

NONE, AS_IS, SCALED, WHOLE, BY_DRIVE = range(5)  # how `xbar.hw.kernels` gets the variance of reads
BLOCK_VALUES = 2**20  # currents converted at once on a thread; measured best among 2^15 .. 2^20, by a fifth
BLOCK_ROWS = 1024  # of a product of matrices at least, where there are so many: with fewer more goes into packing the cells
PART_VALUES = 2**14  # of them converted by a thread at least
MOST_ROWS = 512  # of a row tile: below, MKL sums in the same order for any number of vectors but one
LEAST_WITHOUT = 2**25  # multiplications without noise, below which numba is not loaded, which takes half a second
LEAST_CONVERTED = 2**15  # currents of one read each without noise, below which torch's way takes no longer
LEAST_PRODUCT = 400  # multiplications of one matrix, below which torch's batched product sums in an order of its own


@dataclass(frozen=True)
class _Reads:
    """How inputs become the reads of a vector, each of which is converted: `count` slices of `width` bits a pass, or as they are where
    `slices` is False; wrap keeps bits of two's complement, bipolar codes have the sign of their value. weights: of the codes' sums."""

    weights: tuple[float, ...]
    slices: bool = False
    width: int = 1
    count: int = 1
    passes: int = 1
    wrap: int = -1
    bipolar: bool = False


def totals(array: ReadyArray, channel: ReadChannel, values: Tensor, first: int | None) -> Tensor | None:
    """Weighted sums of codes (instances x groups, vectors, columns) over all reads and row tiles of `values` (instances x groups, vectors,
    inputs), in `ReadChannel.sum_dtype`; None where it takes the way of torch. first: number of the first vector, for read noise;
    None: without."""
    noisy = array.variance is not None and first is not None
    if not _applies(array, channel, values, noisy):
        return None
    plan = array.plans.get(noisy)
    if plan is None or plan.channel is not channel:
        reads = _reads(array, channel, noisy)
        plan = array.plans[noisy] = Plan(channel, None) if reads is None else Plan(channel, _Pass(array, channel, reads, noisy))
    if plan.way is None or not plan.way.pays(values.shape[1]):
        return None
    return plan.way.totals(values.detach(), first or 0)


def _applies(array: ReadyArray, channel: ReadChannel, values: Tensor, noisy: bool) -> bool:
    """True where blocks of these inputs give the bits of the whole, and it is worth the while to load what numba compiled."""
    vectors, rows, columns = values.shape[1], min(values.shape[2], channel.geometry.inputs_per_crossbar), array.cells.shape[-1]
    graded = torch.is_grad_enabled() and (values.requires_grad or array.cells.requires_grad)
    if values.device.type != "cpu" or values.dtype != torch.float32 or graded:
        return False
    if columns < 2 or rows > MOST_ROWS or not vectors or rows * columns * vectors < LEAST_PRODUCT:
        return False
    return noisy or kernels_are_loaded() or values.numel() * columns >= LEAST_WITHOUT


def _reads(array: ReadyArray, channel: ReadChannel, noisy: bool) -> _Reads | None:
    """None where more happens to currents than noise, offsets and conversion, where reads add up before a conversion in a way of their own,
    and where sums of codes depend on their order."""
    more = (array.conductance, array.scale, array.fit, array.inl, array.pull, channel.adc.origin)
    shared = noisy and array.array.device.read_noise_drawn == "each_vector" and channel.streams_per_vector > 1
    if channel.adc.ideal or shared or any(each is not None for each in more):
        return None
    design, inputs, passes = channel.design, channel.design.inputs, channel.passes
    each = design.adc.conversion == "each_slice" or channel.streams_per_vector == 1
    width, count, bowed = design.dac.bits, design.input_slices, bool(design.dac.bow) and design.dac.largest > 1
    if not each:
        if noisy or bowed or len(design.converted_slices) > 1:
            return None
        width, count = inputs.streamed_bits, 1
    if count == passes == 1 and not (each and inputs.signed == "twos_complement"):
        return _Reads((1.0,))
    if bowed or not inputs.quantise or channel.adc.step.shape[0] > 1:
        return None
    weights = [2.0 ** (width * k) for k in range(count)]
    if inputs.signed == "twos_complement":
        weights[-1] = -weights[-1]
    wrap = 2**inputs.bits - 1 if inputs.signed == "twos_complement" else -1
    signed = tuple(sign * weight for sign in (1.0, -1.0)[:passes] for weight in weights)
    return _Reads(signed, True, width, count, passes, wrap, inputs.signed == "bipolar")


@cache
def whole_products() -> bool:
    """True where this computer multiplies matrices of int8 with instructions of their own (then four times as fast as float32), the sums
    exact."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_vnni")) and hasattr(torch, "_int_mm")


@dataclass
class _Tile:
    """What a row tile brings to every block: cells and their variance (units, rows, columns), or its digits by unit."""

    inputs: slice
    cells: Tensor
    variance: Tensor | None
    digits: list[Tensor]


class _Room:
    """Tensors that blocks of so many row tiles, units and reads use in turn, and the same as numpy sees them."""

    def __init__(self, tiles: int, count: int, rows: int, columns: int, kind: int):
        of_kind = [kind in kinds for kinds in ((AS_IS, SCALED), (BY_DRIVE,), (WHOLE,))]
        current = torch.empty(tiles, count, rows, columns)
        variance = torch.empty((tiles, count, rows, columns) if of_kind[0] else (tiles, 0))
        drive = torch.empty((tiles, count, rows) if of_kind[1] else (tiles, 0))
        whole = torch.empty((tiles, count, rows, columns) if of_kind[2] else (tiles, 0), dtype=torch.int32)
        self.current, self.variance, self.drive, self.whole = current.unbind(), variance.unbind(), drive.unbind(), whole.unbind()
        self.flat_current, self.flat_whole = current.view(-1).numpy(), whole.view(-1).numpy()
        self.flat_variance = (drive if of_kind[1] else variance).view(-1).numpy()


class _Codes:
    """Room for the codes of one row tile's reads, and for them as int8 and squared."""

    def __init__(self, count: int, rows: int, inputs: int, sliced: bool, kind: int):
        self.codes = torch.empty((count, rows, inputs) if sliced else 0)
        self.marks = torch.empty((count, rows, 2 * inputs) if kind == WHOLE else 0, dtype=torch.int8)
        self.square = torch.empty((count, rows, inputs) if kind in (AS_IS, SCALED, BY_DRIVE) else 0)
        self.flat_codes, self.flat_marks, self.by_unit = self.codes.view(-1).numpy(), self.marks.view(-1).numpy(), list(self.marks)


class _Given:
    """Inputs (units, vectors, inputs), or voltages, the number of the first vector, and where they are cut in slices numpy's view of
    them."""

    def __init__(self, values: Tensor, first: int, slices: bool):
        self.values, self.first, self.flat = values, first, values.view(-1).numpy() if slices else None


@dataclass
class Plan:
    """How an array is read with a channel; way: None is torch's."""

    channel: ReadChannel
    way: "_Pass | None"


class _Pass:
    """The product of one array with one channel, with noise or without: what does not change from call to call."""

    def __init__(self, array: ReadyArray, channel: ReadChannel, reads: _Reads, noisy: bool):
        self.channel, self.reads = channel, reads
        draws, instances, g = array.array.draws, len(array.array.draws.seeds), channel.geometry
        self.units, self.columns, self.streams = instances * g.groups, array.cells.shape[-1], len(reads.weights)
        self.dtype = channel.sum_dtype(torch.float32)
        self.weights = torch.tensor(reads.weights, dtype=self.dtype).numpy()
        self.keys = np.repeat(np.array(draws.words(READ), np.uint64), g.groups, axis=0)
        self.numbers = np.tile(np.arange(g.groups, dtype=np.uint64), instances)
        self.places = np.array([[read * 2**24 + tile for read in range(self.streams)] for tile in range(g.row_tiles)], np.uint64)
        flat = array.flat_variance if noisy else None
        whole = array.whole_variance(channel) if noisy and flat is None and array.counts_in_units(channel) else None
        if whole is None:
            self.kind = NONE if not noisy else AS_IS if flat is None else BY_DRIVE
        else:
            self.kind = WHOLE if reads.slices and whole_products() else SCALED
        with torch.no_grad():
            self.tiles = [self._tile(array, whole, tile) for tile in range(g.row_tiles)]
            self.scale = self._by_column(flat if whole is None else whole.unit)
            self.floor, self.offset = self._by_column(array.floor if noisy else None), self._by_column(array.offset)
            self.factor = self._factors(array)

    def pays(self, vectors: int) -> bool:
        """False of one vector cut in slices, which MKL sums in an order of its own, and of so little that torch is sooner done."""
        if self.streams > 1:
            return vectors > 1
        return self.kind != NONE or self.units * vectors * self.columns * len(self.tiles) >= LEAST_CONVERTED

    def _tile(self, array: ReadyArray, whole: WholeVariance | None, tile: int) -> _Tile:
        g, tiles = self.channel.geometry, self.channel.geometry.row_tiles
        rows, begin = g.inputs_of(tile), tile * g.inputs_per_crossbar
        variance = None
        if self.kind == AS_IS:
            assert array.variance is not None
            variance = array.variance[tile::tiles, :rows]
        if self.kind == SCALED:
            assert whole is not None
            variance = whole.counts(tile, rows)
        digits = list(whole.digits[tile]) if whole is not None and self.kind == WHOLE else []
        return _Tile(slice(begin, begin + rows), array.cells.detach()[tile::tiles, :rows], variance, digits)

    def _by_column(self, values: Tensor | None) -> np.ndarray:
        """Values of columns (instances x groups x row_tiles, 1, columns) as (row_tiles, units, columns)."""
        if values is None:
            return np.empty((0, 0, 0), np.float32)
        found: np.ndarray = values.detach().view(self.units, -1, self.columns).transpose(0, 1).contiguous().numpy()
        return found

    def _factors(self, array: ReadyArray) -> np.ndarray:
        """What codes are multiplied by (row_tiles, units, columns), or nothing."""
        g, step = self.channel.geometry, self.channel.adc.step
        factor = torch.ones(g.row_tiles, self.units, self.columns)
        if g.encoding.flipped_columns:
            factor = signs_of(array.array.mapped, self.columns, torch.float32).transpose(0, 1).repeat(1, self.units // g.groups, 1)
        if step.shape[0] > 1:
            factor = factor * step.float().unsqueeze(1)
        elif not g.encoding.flipped_columns:
            return np.empty((0, 0, 0), np.float32)
        return factor.contiguous().numpy()

    def totals(self, values: Tensor, first: int) -> Tensor:
        """See the function of that name."""
        given = _Given(values.contiguous() if self.reads.slices else self.channel.design.dac.voltage(values), first, self.reads.slices)
        total = torch.empty(self.units, values.shape[1], self.columns, dtype=self.dtype)
        flat = total.view(-1).numpy()
        rooms: dict[tuple[int, int, int], _Room] = {}
        codes: dict[tuple[int, int, int], _Codes] = {}
        for units, vectors in self._blocks(values.shape[1], torch.get_num_threads()):
            count, rows = units.stop - units.start, self.streams * (vectors.stop - vectors.start)
            together = max(1, BLOCK_VALUES // (count * rows * self.columns))
            for start in range(0, len(self.tiles), together):
                tiles = slice(start, min(len(self.tiles), start + together))
                form = tiles.stop - tiles.start, count, rows
                if form not in rooms:
                    rooms[form] = _Room(*form, self.columns, self.kind)
                for place, tile in enumerate(self.tiles[tiles]):
                    inputs = tile.cells.shape[1]
                    if (count, rows, inputs) not in codes:
                        codes[count, rows, inputs] = _Codes(count, rows, inputs, self.reads.slices, self.kind)
                    self._read(given, tile, units, vectors, rooms[form], place, codes[count, rows, inputs])
                self._convert(flat, given, tiles, units, vectors, rooms[form])
        return total

    def _blocks(self, every: int, threads: int) -> Iterator[tuple[slice, slice]]:
        """Units and vectors of each block, of about equal size."""
        a_vector = self.streams * self.columns
        at_once = max(-(-BLOCK_ROWS * threads // self.streams), BLOCK_VALUES * threads // (a_vector * len(self.tiles)))
        count = -(-every // at_once)
        ends = [every * k // count for k in range(count + 1)]
        together = max(1, BLOCK_VALUES * threads // (a_vector * len(self.tiles) * every)) if count == 1 else 1
        for unit in range(0, self.units, together):
            for start, stop in pairwise(ends):
                yield slice(unit, min(self.units, unit + together)), slice(start, stop)

    def _read(self, given: _Given, tile: _Tile, units: slice, vectors: slice, room: _Room, place: int, codes: _Codes) -> None:
        """Currents and variances of a row tile's reads into their place of the room."""
        drive = self._drive(given, tile, units, vectors, codes)  # (units, streams x vectors, rows)
        if self.units == 1:
            torch.mm(drive[0], tile.cells[0], out=room.current[place][0])
        else:
            torch.bmm(drive, tile.cells[units], out=room.current[place])
        if self.kind == WHOLE:
            for marks, digits, whole in zip(codes.by_unit, tile.digits[units], room.whole[place], strict=True):
                torch._int_mm(marks, digits, out=whole)
        elif self.kind != NONE:
            torch.mul(drive, drive, out=codes.square)
            if self.kind == BY_DRIVE:
                torch.sum(codes.square, -1, out=room.drive[place])
            else:
                assert tile.variance is not None
                torch.bmm(codes.square, tile.variance[units], out=room.variance[place])

    def _drive(self, given: _Given, tile: _Tile, units: slice, vectors: slice, codes: _Codes) -> Tensor:
        """Voltages of a row tile's wordlines (units, streams x vectors, rows); where noise adds up in whole numbers, these into marks."""
        if given.flat is None:
            return given.values[units, vectors, tile.inputs]
        reads, (_, every, inputs) = self.reads, given.values.shape
        kernels().slices(
            given.flat, codes.flat_codes, codes.flat_marks, (units.start * every + vectors.start) * inputs + tile.inputs.start,
            every * inputs, inputs, units.stop - units.start, vectors.stop - vectors.start, tile.cells.shape[1], reads.width, reads.count,
            reads.passes, reads.wrap, reads.bipolar, codes.flat_marks.size > 0,
        )  # fmt: skip
        return codes.codes

    def _convert(self, total: np.ndarray, given: _Given, tiles: slice, units: slice, vectors: slice, room: _Room) -> None:
        """Add some row tiles' codes of a block, or begin with them."""
        length, every, adc = vectors.stop - vectors.start, given.values.shape[1], self.channel.adc
        place = total[units.start * every * self.columns :]
        by_column = [each[tiles, units] for each in (self.scale, self.floor, self.offset, self.factor)]
        keys, numbers, places = self.keys[units], self.numbers[units], self.places[tiles]

        def convert(start: int, stop: int) -> None:
            kernels().converted(
                place, room.flat_current, room.flat_variance, room.flat_whole, *by_column, self.weights, keys, numbers, places,
                self.columns, self.kind, tiles.start > 0, float(adc.low), float(adc.high), float(adc.center), given.first + vectors.start,
                vectors.start, every, length, start, stop,
            )  # fmt: skip

        on_threads(convert, parts_of(length, max(1, PART_VALUES // (places.size * self.columns * len(numbers)))))

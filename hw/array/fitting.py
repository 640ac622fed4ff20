"""Gain and offset of every column, fitted to the products that its codes stand for, as a chip is calibrated after it is written."""

from collections.abc import Iterator

import torch
from torch import Tensor

from xbar.hw.array.channel import ColumnFit, ReadChannel
from xbar.hw.array.currents import join_pairs
from xbar.hw.array.mapping import MappedMatrix
from xbar.hw.array.product import currents
from xbar.hw.array.ready import ReadyArray, nominal_fit

LEAST_VARIANCE = 1e-9  # of a column's products, of their mean square: less is a constant, and rounding


class FitSums:
    """Sums over vectors of each column's codes and products, of which the least squares line follows; (instances x groups, row_tiles,
    columns) float64."""

    def __init__(self, row_tiles: int) -> None:
        self.vectors = 0
        self._of_tiles: list[list[Tensor]] = [[] for _ in range(row_tiles)]  # of x, y, x², x y and y²; x: product, y: codes

    def add(self, tile: int, product: Tensor, codes: Tensor) -> None:
        """Take in products and codes of a row tile (instances x groups, vectors, columns)."""
        new = [each.sum(1, dtype=torch.float64) for each in (product, codes, product.square(), product * codes, codes.square())]
        held = self._of_tiles[tile]
        self._of_tiles[tile] = new if not held else [sums + more for sums, more in zip(held, new, strict=True)]
        self.vectors += product.shape[1] if tile == 0 else 0

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean product [level steps] and mean codes, each (instances x groups, row_tiles, columns)."""
        x, y = (torch.stack([sums[k] for sums in self._of_tiles], dim=1) / self.vectors for k in (0, 1))
        return x, y

    @property
    def line(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slope [codes a level step], intercept [codes] and residual [level steps] of codes on products, each (instances x groups,
        row_tiles, columns); the slope is 0 where products do not vary. The residual is the standard deviation of codes about the line,
        over the slope, of the vectors less one."""
        n = self.vectors
        x, y, xx, xy, yy = (torch.stack(each, dim=1) for each in zip(*self._of_tiles, strict=True))
        varying, together = xx - x**2 / n, xy - x * y / n
        slope = torch.where(varying > LEAST_VARIANCE * xx, together / varying, 0.0)
        left = (yy - y**2 / n - slope * together).clamp(min=0) / max(1, n - 1)
        return slope, (y - slope * x) / n, torch.where(slope != 0, left.sqrt() / slope.abs(), torch.inf)


def codes_of_tiles(array: ReadyArray, channel: ReadChannel, values: Tensor, first: int) -> list[Tensor]:
    """What each row tile's ADCs give for whole-numbered `values` (instances x groups, vectors, inputs), over all conversions of a vector
    (instances x groups, vectors, columns), in units of what is sensed."""
    adc, tiles = channel.adc, channel.geometry.row_tiles
    totals: list[Tensor | None] = [None] * tiles
    for tile, current, weight in currents(array, channel, values, first):
        errors = (None if error is None else error[tile::tiles] for error in (array.offset, array.inl))
        own = adc.of_tile(tile)
        codes = own.convert(own.distorted(current, *errors)) * (adc.step[tile % len(adc.step)] * weight).to(current.dtype)
        held = totals[tile]
        totals[tile] = codes if held is None else held + codes
    return [each for each in totals if each is not None]


def products_of_tile(levels: Tensor, channel: ReadChannel, values: Tensor, tile: int) -> Tensor:
    """What a row tile's products would be, were its cells at their targets, [level steps] of its own, in the form of `codes_of_tiles`;
    levels: of the targets, pairs joined (groups, row_tiles, rows, columns)."""
    inputs = channel.of_tile(values, tile)
    cells = levels[:, tile, : inputs.shape[-1]].to(inputs.dtype)
    return torch.bmm(inputs, cells.repeat(inputs.shape[0] // cells.shape[0], 1, 1))


def fit_columns(parts: Iterator[tuple[ReadyArray, Tensor, int]], channel: ReadChannel) -> tuple[ColumnFit, FitSums]:
    """The line through each column's codes against its products, over parts (the cells as they find them, whole-numbered inputs
    (instances x groups, vectors, inputs), number of the first vector), as gain and offset of the codes; and the sums that it rests on.

    The line goes through the means of both. A column whose products do not vary, or whose codes fall with them, keeps its nominal gain.
    """
    sums = FitSums(channel.geometry.row_tiles)
    array: ReadyArray | None = None
    levels = torch.empty(0)
    for array, values, first in parts:
        levels = levels if len(levels) else join_pairs(channel.geometry, array.array.mapped.columns(), subtract=True)
        for tile, codes in enumerate(codes_of_tiles(array, channel, values, first)):
            sums.add(tile, products_of_tile(levels, channel, values, tile), codes)
    assert array is not None
    nominal = nominal_fit(array.array, channel)
    slope, _, _ = sums.line  # (instances x groups, row_tiles, columns)
    product, code = sums.means
    scale = array.array.mapped.segment_scale
    each = torch.ones(1) if scale is None else scale.repeat(len(array.array.cells), 1).unsqueeze(-1)
    kept = torch.ones_like(slope) if nominal is None else nominal.gain.view_as(slope)
    fitted = slope > 0
    gain = torch.where(fitted, each / torch.where(fitted, slope, 1.0), kept)
    offset = (each * product - gain * code).sum(1, keepdim=True)
    return ColumnFit(gain.flatten(0, 1).unsqueeze(1), offset), sums


def level_units(mapped: MappedMatrix, channel: ReadChannel) -> Tensor:
    """What one level step of each converted column stands for, in units of (weight x input integer), (groups, row_tiles, columns)."""
    g, each = channel.geometry, channel.columns // channel.geometry.outputs
    slices = mapped.slice_weight.to(mapped.scale.device).repeat_interleave(channel.polarities).repeat(g.outputs)
    unit = mapped.output_scale.repeat_interleave(each, dim=1) * slices
    unit = torch.cat([unit, unit[:, :1].expand(-1, channel.references)], dim=1).unsqueeze(1)
    return unit.expand(-1, g.row_tiles, -1) * (1.0 if mapped.segment_scale is None else mapped.segment_scale.unsqueeze(-1))


def moved(fit: ColumnFit | None, device: torch.device) -> ColumnFit | None:
    """The same on a torch device."""
    return None if fit is None else ColumnFit(*(each.to(device) for each in fit))

"""Weight matrices to signed, bit-sliced, tiled cell levels, and exactly back.

A matrix is (outputs, inputs) as in torch; crossbars carry inputs on wordlines and outputs on bitlines. How signs, slices and
tiles are cut says `xbar.hw.array.geometry`. Integers wider than a cell are cut in slices of the cell's bits, most significant
first. Weights that are not quantised keep a level with a fraction. Mapping is differentiable: rounding passes gradients
straight through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from xbar.hw.array.diagonal import of_outputs, off_diagonal, on_diagonal, outputs_present, rows_present
from xbar.hw.array.geometry import Geometry, WeightEncoding
from xbar.hw.array.layout import CrossbarLayout
from xbar.hw.checks import check
from xbar.hw.errors import MappingError

ZERO_SCALE = 2.0**-64  # the weight that the integer 1 stands for where all weights are 0: see quantise_weights


@dataclass(frozen=True)
class MappedMatrix:
    """Levels of the cells that hold one matrix, with what is needed to read it back.

    held: (groups, row_tiles, rows, outputs, slices, polarities) the levels in the smallest signed integer type that can
        hold them, or float64 where weights keep fractions or ask for a gradient; rows are inputs, those beyond the matrix
        are level 0 and never driven; slices are most significant first; polarity 0 is positive. Groups and outputs are the geometry's:
        of groups that lie together, cells off the diagonal hold weights of 0.
    flipped: (groups, row_tiles, outputs, slices) bool, columns stored as (2^cell_bits - 1 - level).
    scale: (layer groups, outputs of a group) float64, the weight that the integer 1 stands for. segment_scale: (groups, row_tiles)
        float64, the integers that one level of the cells of a row tile stands for; None: 1 of all.
    """

    geometry: Geometry
    held: Tensor
    flipped: Tensor
    scale: Tensor
    segment_scale: Tensor | None = None

    @property
    def levels(self) -> Tensor:
        """The levels in float64."""
        return self.held.double()

    @property
    def slice_weight(self) -> Tensor:
        """2^(cell_bits k) of each slice, most significant first, float64 (slices,)."""
        return slice_weights(self.geometry.slices, self.geometry.cell_bits).flip(0)

    @property
    def output_scale(self) -> Tensor:
        """The scale of every output of the geometry, (groups, outputs) float64; 0 for groups that the last one lacks."""
        return of_outputs(self.scale, self.geometry)

    def crossbar_levels(self) -> Tensor:
        """The same levels as they lie on the chip: float64 (groups, planes, row_tiles, column_tiles, wordlines,
        bitlines), unused cells at level 0; without a wordline that is left over where inputs take two."""
        return CrossbarLayout(self.geometry).place(self.columns(), 0.0)

    def columns(self) -> Tensor:
        """Levels by column, float64 (groups, row_tiles, rows, columns): outputs x slices x polarities, then the reference
        columns of each column tile."""
        g = self.geometry
        levels = self.levels.flatten(3)
        if not g.reference_columns:
            return levels
        reference = levels.new_tensor(g.reference_levels * g.column_tiles).expand(*levels.shape[:3], -1)
        return torch.cat([levels, reference], dim=3)

    def to(self, device: torch.device) -> "MappedMatrix":
        """The same on a torch device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]


def slice_weights(count: int, bits: int) -> Tensor:
    """2^(bits k) for k = 0 .. count - 1, float64 (count,)."""
    return 2.0 ** (bits * torch.arange(count, dtype=torch.float64))


def quantise_weights(
    weight: Tensor, encoding: WeightEncoding, largest: float | None = None
) -> tuple[Tensor, Tensor]:
    """Symmetric integers of `weight` (groups, outputs, inputs) and the scale (groups, outputs), both float64.

    q = round(w / scale) clipped to ±`encoding.largest`, scale = w_max / `encoding.largest`; w_max is `largest`, or the
    largest or a percentile of |w|, over the layer (or the row segment that it is) or each output column; where that percentile is 0,
    the largest.
    Gradients pass the rounding, not the clipping. Raises MappingError for weights that are not finite and for a `largest`
    that is not above 0.

    Where all weights are 0 nothing says what the largest conductance stands for; the errors of the cells come out of the
    product times the scale. The limit of ever smaller weights is a scale of 0, at which a weight has no gradient (0/0). So
    the scale is ZERO_SCALE = 2^-64: errors of the cells, some steps a column, end 1e-19 in size, below the rounding of any
    sum that they are part of, and gradients, which pass the scale on their way to the cells and are divided by it again, stay
    far above the smallest float32, 1e-38. It is a power of two, so the gradient of a weight is the same to the bit of its
    mantissa as with any other.
    """
    count = weight.numel()

    def judge(seen: Sequence[float]) -> None:
        if seen[0]:
            raise MappingError(f"weights must be finite; {seen[0]:.0f} of {count} are not")

    check(count - torch.isfinite(weight).sum().view(1), judge)
    with torch.no_grad():
        if largest is None:
            magnitude = weight.double().abs()
            w_max = magnitude.amax(-1) if encoding.per == "column" else magnitude.amax()
            if encoding.range == "percentile":
                magnitude = magnitude if encoding.per == "column" else magnitude.flatten()
                find = _interpolated_quantile if encoding.per == "segment" else _quantile
                at_share = find(magnitude, encoding.percentile)
                w_max = torch.where(at_share > 0, at_share, w_max)
        elif 0 < largest < float("inf"):
            w_max = torch.tensor(float(largest), dtype=torch.float64, device=weight.device)
        else:
            raise MappingError(f"largest must be above 0 and finite, got {largest}")
        w_max = w_max.expand(weight.shape[:2])  # (groups, outputs)
        scale = torch.where(w_max > 0, w_max / encoding.largest, ZERO_SCALE).contiguous()
    integer = weight.double() / scale.unsqueeze(-1)
    if encoding.quantise:
        integer = straight_through(integer, torch.round)
    return (integer if encoding.beyond == "keep" else integer.clamp(-encoding.largest, encoding.largest)), scale


def lines_in_use(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and inputs of a matrix (1, outputs, inputs) with any weight but 0, as indices; at least the first of each.

    The lines that a packed mapping puts on crossbars. Those of several groups are all kept.
    """
    outputs, inputs = torch.arange(matrix.shape[1]), torch.arange(matrix.shape[2])
    if matrix.shape[0] > 1:
        return outputs, inputs
    used = matrix[0] != 0
    kept = outputs[used.any(1).cpu()], inputs[used.any(0).cpu()]
    return (kept[0], kept[1]) if len(kept[0]) else (outputs[:1], inputs[:1])


def straight_through(value: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change(value)`, with the gradient of `value`."""
    if not (value.requires_grad and torch.is_grad_enabled()):
        return change(value)
    return value + (change(value.detach()) - value.detach())


def _interpolated_quantile(values: Tensor, share: float) -> Tensor:
    """The `share` quantile along the last dimension, linear between the two values about rank 1 + share (n - 1): R. Hyndman and Y.
    Fan, The American Statistician 50, 1996, definition 7, numpy's own."""
    rank = share * (values.shape[-1] - 1)
    below = int(rank)
    low = values.kthvalue(below + 1, dim=-1).values
    high = values.kthvalue(min(below + 2, values.shape[-1]), dim=-1).values
    return low + (rank - below) * (high - low)


def _quantile(values: Tensor, share: float) -> Tensor:
    """The `share` quantile along the last dimension: the value at rank ceil(share n)."""
    rank = max(1, ceil(share * values.shape[-1]))
    return values.kthvalue(rank, dim=-1).values


def map_weights(weight: Tensor, geometry: Geometry, largest: float | None = None) -> MappedMatrix:
    """Cell levels of a layer's `weight` (groups, outputs, inputs), or (outputs, inputs) for one group, the rows that carry a bias among
    its inputs; `largest` sets the full scale, where it is not to be taken from the weights."""
    if weight.dim() == 2:
        weight = weight.unsqueeze(0)
    expected = geometry.of_layer.shape
    if tuple(weight.shape) != expected:
        raise MappingError(f"the weight must be (groups, outputs, inputs) = {expected}, got {tuple(weight.shape)}")
    if geometry.encoding.per != "segment" or largest is not None:
        integer, scale = quantise_weights(weight, geometry.encoding, largest)
        return map_integers(integer, scale, geometry)
    segments = [quantise_weights(part, geometry.encoding) for part in weight.split(geometry.inputs_per_crossbar, dim=-1)]
    scales = torch.stack([scale for _, scale in segments])  # (row_tiles, groups, outputs), of all outputs the same
    common = scales.amax(0)
    mapped = map_integers(torch.cat([integer for integer, _ in segments], dim=-1), common, geometry)
    return replace(mapped, segment_scale=(scales / common)[..., 0].T[: geometry.groups].contiguous())


def map_integers(integer: Tensor, scale: Tensor, geometry: Geometry) -> MappedMatrix:
    """Cell levels of a layer's symmetric integers (groups, outputs, inputs) with `scale` (groups, outputs)."""
    encoding = geometry.encoding
    levels = _digits(_stored(on_diagonal(integer.double(), geometry), encoding), geometry)
    # (groups, outputs, inputs, slices, polarities) -> rows padded to whole tiles -> tiles
    rows = min(geometry.inputs, geometry.inputs_per_crossbar)
    padding = geometry.row_tiles * rows - geometry.inputs
    levels = torch.nn.functional.pad(levels.movedim(2, 1), (0, 0, 0, 0, 0, 0, 0, padding))
    levels = levels.unflatten(1, (geometry.row_tiles, rows))  # (groups, row_tiles, rows, outputs, slices, pol.)
    if geometry.of_layer.missing:
        present = rows_present(geometry)[..., None] & outputs_present(geometry)[:, None, None]
        levels = levels * present[..., None, None].to(levels)
    shape = (geometry.groups, geometry.row_tiles, geometry.outputs, geometry.slices)
    flipped = torch.zeros(shape, dtype=torch.bool, device=levels.device)
    if encoding.flipped_columns:
        levels, flipped = _flip(levels, geometry)
    return MappedMatrix(geometry, levels, flipped, scale)


def _stored(integer: Tensor, encoding: WeightEncoding) -> Tensor:
    """What the cells of each polarity hold together, (groups, outputs, inputs, polarities), from 0 up."""
    if encoding.scheme == "offset":
        return (integer + encoding.offset).unsqueeze(-1)
    if encoding.pair == "two_sided":
        half = (encoding.largest + integer) / 2
        plus = straight_through(half, torch.ceil) if encoding.quantise else half
        return torch.stack([plus, plus - integer], dim=-1)
    zero = torch.zeros_like(integer)
    return torch.stack([torch.where(integer > 0, integer, zero), torch.where(integer > 0, zero, -integer)], dim=-1)


def _digits(stored: Tensor, geometry: Geometry) -> Tensor:
    """Levels of the slices of `stored` (..., polarities), most significant first, (..., slices, polarities): whole numbers in
    the smallest signed type that holds them and their differences, float64 with fractions or a gradient.

    The gradient goes to all slices alike, so that the sum of slices times their weights has the slope of `stored`.
    """
    graded = stored.requires_grad and torch.is_grad_enabled()
    if not geometry.encoding.quantise or (graded and geometry.slices == 1):
        return stored.unsqueeze(-2)
    bits = geometry.cell_bits
    held = torch.int8 if bits < 8 else torch.int16 if bits < 16 else torch.int32
    whole = stored.detach().to(torch.int32)  # 24 bits at most
    shifts = [bits * k for k in reversed(range(geometry.slices))]
    digits = torch.stack([(whole >> shift & 2**bits - 1).to(held) for shift in shifts], dim=-2)
    if not graded:
        return digits
    weight = slice_weights(geometry.slices, bits).flip(0).to(stored.device).unsqueeze(-1)
    share = stored.unsqueeze(-2) / (geometry.slices * weight)
    return share + (digits.double() - share.detach())


def _flip(levels: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Columns whose levels sum to over half of the possible are stored inverted, which halves the largest
    current and so saves one ADC bit (ISAAC, ISCA 2016)."""
    top = 2**geometry.cell_bits - 1
    is_row = rows_present(geometry).to(levels.device)[..., None, None, None]
    flipped = 2 * levels.sum(2).squeeze(-1) > is_row.sum(2).squeeze(-1) * top
    invert = flipped.unsqueeze(2).unsqueeze(-1) & is_row
    return torch.where(invert, top - levels, levels), flipped


def read_integers(mapped: MappedMatrix, levels: Tensor | None = None) -> Tensor:
    """The layer's symmetric integers (groups, outputs, inputs) float64 that the levels stand for; inverse of map_integers.

    levels: others than the mapped ones, (..., groups, row_tiles, rows, outputs, slices, polarities), such as those of
    programmed cells: the weights as the chip holds them, (..., groups, outputs, inputs), without what cells off the diagonal hold.
    """
    geometry = mapped.geometry
    levels = mapped.held if levels is None else levels
    flip = mapped.flipped.unsqueeze(2).unsqueeze(-1)
    levels = torch.where(flip, 2**geometry.cell_bits - 1 - levels, levels)
    weight = mapped.slice_weight.to(levels.device)
    if levels.is_floating_point():
        stored = (levels * weight.view(-1, 1)).sum(-2)
    else:  # whole numbers add up to the same in any order; slice by slice takes less memory
        stored = sum((levels[..., k, :] * weight[k] for k in range(geometry.slices)), start=weight.new_zeros(()))
    if mapped.segment_scale is not None:
        stored = stored * mapped.segment_scale[:, :, None, None, None]
    stored = stored.flatten(-4, -3)[..., : geometry.inputs, :, :]  # (..., inputs, outputs, pol.)
    minus = geometry.encoding.offset if geometry.encoding.scheme == "offset" else stored[..., 1]
    return off_diagonal((stored[..., 0] - minus).transpose(-1, -2), geometry)


def unmap(mapped: MappedMatrix) -> Tensor:
    """The layer's weights (groups, outputs, inputs) float64 that the levels stand for: exactly quantise(w)."""
    return read_integers(mapped) * mapped.scale.unsqueeze(-1)

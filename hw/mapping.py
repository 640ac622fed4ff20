"""Weight matrices to signed, bit-sliced, tiled cell levels, and exactly back.

A matrix is (outputs, inputs) as in torch; crossbars carry inputs on wordlines and outputs on bitlines.
Three ways to hold a sign (after Xiao et al., IEEE Circuits and Systems Magazine 22(4), 2022, and Shafiee
et al., ISAAC, ISCA 2016, section on encoding):

- "differential": a pair of neighbouring bitlines, |w| on one, level 0 on the other, subtracted;
- "separate": the same pair on two crossbars, subtracted after the ADCs;
- "offset": w + 2^(bits-1) on one bitline; the constant times the sum of the inputs is subtracted, known
  from a reference column of each crossbar or counted digitally.

Integers wider than a cell are cut in slices of the cell's bits, most significant first.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hw.errors import MappingError
from hw.quantity import Unit


class WeightEncoding(BaseModel):
    """How signed weights become levels of cells; `cell_bits` of a cell are used (default: all it has)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Unit("1"), Field(ge=2, le=24)]
    scheme: Literal["differential", "offset", "separate"]
    cell_bits: Annotated[int | None, Unit("1"), Field(ge=1, le=16)] = None
    subtraction: Literal["analog", "digital"] = "analog"  # of a differential pair: before or after the ADC
    offset_reference: Literal["column", "digital"] = "column"
    flipped_columns: bool = False
    range: Literal["max_abs", "percentile"] = "max_abs"
    per: Literal["layer", "column"] = "layer"
    percentile: Annotated[float, Unit("1"), Field(gt=0.5, le=1)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> "WeightEncoding":
        if self.flipped_columns and self.scheme != "offset":
            raise ValueError("flipped_columns needs scheme = offset (only there are all levels on one column)")
        return self

    @property
    def largest(self) -> int:
        """Largest magnitude of the symmetric integer weights: 2^(bits-1) - 1."""
        return 2 ** (self.bits - 1) - 1

    @property
    def stored_bits(self) -> int:
        """Bits that the cells of one polarity hold: all for offset, the magnitude's otherwise."""
        return self.bits if self.scheme == "offset" else self.bits - 1

    def slices(self, cell_bits: int) -> int:
        """Cells per weight and polarity."""
        return ceil(self.stored_bits / cell_bits)

    @property
    def polarities(self) -> int:
        """2 where positive and negative weights have cells of their own, else 1."""
        return 1 if self.scheme == "offset" else 2


@dataclass(frozen=True)
class Geometry:
    """How a (groups x) outputs x inputs matrix is cut into crossbars; every count of cells, drives and
    conversions comes from here.

    Outputs of a crossbar are whole: all slices (and both polarities of a differential pair) of a weight
    lie on the same crossbar. Tiles are filled in order, the last one takes the rest. Each group of a
    grouped convolution has crossbars of its own.
    """

    outputs: int
    inputs: int
    groups: int
    wordlines: int
    bitlines: int
    cell_bits: int
    encoding: WeightEncoding

    def __post_init__(self) -> None:
        for name in ("outputs", "inputs", "groups"):
            if getattr(self, name) < 1:
                raise MappingError(f"a layer needs at least 1 of {name}, got {getattr(self, name)}")
        if self.outputs_per_crossbar < 1:
            raise MappingError(
                f"one weight of {self.encoding.bits} bits needs {self.columns_per_output} bitlines of "
                f"{self.cell_bits}-bit cells (plus {self.reference_columns} for the reference), but a crossbar "
                f"has {self.bitlines}"
            )

    @property
    def slices(self) -> int:
        """Cells per weight and polarity."""
        return self.encoding.slices(self.cell_bits)

    @property
    def planes(self) -> int:
        """Crossbars that hold one block: 2 for separate signs, else 1."""
        return 2 if self.encoding.scheme == "separate" else 1

    @property
    def columns_per_output(self) -> int:
        """Bitlines of one crossbar that one output takes."""
        return self.slices * (2 if self.encoding.scheme == "differential" else 1)

    @property
    def conversions_per_output(self) -> int:
        """ADC conversions per output, crossbar and input slice."""
        analog_pair = self.encoding.scheme == "differential" and self.encoding.subtraction == "analog"
        return self.slices if analog_pair else self.columns_per_output

    @property
    def reference_columns(self) -> int:
        """Bitlines of each crossbar given to the offset's reference."""
        return int(self.encoding.scheme == "offset" and self.encoding.offset_reference == "column")

    @property
    def outputs_per_crossbar(self) -> int:
        """Outputs that fit on one crossbar."""
        return (self.bitlines - self.reference_columns) // self.columns_per_output

    @property
    def row_tiles(self) -> int:
        """Crossbars along the inputs."""
        return ceil(self.inputs / self.wordlines)

    @property
    def column_tiles(self) -> int:
        """Crossbars along the outputs."""
        return ceil(self.outputs / self.outputs_per_crossbar)

    @property
    def crossbars(self) -> int:
        """Crossbars for one copy of the whole layer."""
        return self.groups * self.planes * self.row_tiles * self.column_tiles

    def rows_of(self, row_tile: int) -> int:
        """Wordlines used in that row of tiles."""
        return min(self.wordlines, self.inputs - row_tile * self.wordlines)

    def outputs_of(self, column_tile: int) -> int:
        """Outputs held in that column of tiles."""
        return min(self.outputs_per_crossbar, self.outputs - column_tile * self.outputs_per_crossbar)

    def bitlines_of(self, column_tile: int) -> int:
        """Bitlines used in one crossbar of that column of tiles."""
        return self.outputs_of(column_tile) * self.columns_per_output + self.reference_columns

    def conversions_of(self, column_tile: int) -> int:
        """ADC conversions of one crossbar of that column of tiles per input slice."""
        return self.outputs_of(column_tile) * self.conversions_per_output + self.reference_columns

    @property
    def drives_per_slice(self) -> int:
        """Wordlines driven per input slice, over all crossbars of one copy."""
        return self.groups * self.planes * self.inputs * self.column_tiles

    @property
    def bitlines_per_slice(self) -> int:
        """Bitlines sampled per input slice, over all crossbars of one copy."""
        columns = self.outputs * self.columns_per_output + self.column_tiles * self.reference_columns
        return self.groups * self.planes * self.row_tiles * columns

    @property
    def conversions_per_slice(self) -> int:
        """ADC conversions per input slice, over all crossbars of one copy."""
        per_row = self.outputs * self.conversions_per_output + self.column_tiles * self.reference_columns
        return self.groups * self.planes * self.row_tiles * per_row

    @property
    def cells(self) -> int:
        """Cells that hold weights or references, over all crossbars of one copy."""
        columns = self.outputs * self.columns_per_output + self.column_tiles * self.reference_columns
        return self.groups * self.planes * self.inputs * columns


@dataclass(frozen=True)
class MappedMatrix:
    """Integer levels of the cells that hold one matrix, with what is needed to read it back.

    levels: (groups, row_tiles, rows, outputs, slices, polarities) int64; rows beyond the matrix are level 0
        and never driven; slices are most significant first; polarity 0 is positive.
    flipped: (groups, row_tiles, outputs, slices) bool, columns stored as (2^cell_bits - 1 - level).
    scale: (groups, outputs) float64, the weight that the integer 1 stands for.
    """

    geometry: Geometry
    levels: Tensor
    flipped: Tensor
    scale: Tensor

    @property
    def slice_weight(self) -> Tensor:
        """2^(cell_bits k) of each slice, most significant first, float64 (slices,)."""
        return slice_weights(self.geometry.slices, self.geometry.cell_bits).flip(0)

    @property
    def reference_level(self) -> int:
        """Level of every cell of an offset's reference column, which has the top slice's weight."""
        below = self.geometry.cell_bits * (self.geometry.slices - 1)
        return int(2 ** (self.geometry.encoding.bits - 1 - below))

    def crossbar_levels(self) -> Tensor:
        """The same levels as they lie on the chip: int64 (groups, planes, row_tiles, column_tiles,
        wordlines, bitlines); an output's columns are slice-major, positive before negative."""
        g = self.geometry
        per_output = self.levels  # (groups, row_tiles, rows, outputs, slices, polarities)
        # (groups, planes, row_tiles, rows, outputs, slices, polarities)
        planes = per_output.movedim(-1, 1).unsqueeze(-1) if g.planes == 2 else per_output.unsqueeze(1)
        chip = torch.zeros(g.groups, g.planes, g.row_tiles, g.column_tiles, g.wordlines, g.bitlines, dtype=torch.int64)
        for tile in range(g.column_tiles):
            first = tile * g.outputs_per_crossbar
            block = planes[:, :, :, :, first : first + g.outputs_of(tile)].flatten(4)
            chip[:, :, :, tile, : block.shape[3], : block.shape[4]] = block
            if g.reference_columns:
                for row_tile in range(g.row_tiles):
                    chip[:, :, row_tile, tile, : g.rows_of(row_tile), block.shape[4]] = self.reference_level
        return chip


def slice_weights(count: int, bits: int) -> Tensor:
    """2^(bits k) for k = 0 .. count - 1, float64 (count,)."""
    return 2.0 ** (bits * torch.arange(count, dtype=torch.float64))


def quantise_weights(weight: Tensor, encoding: WeightEncoding) -> tuple[Tensor, Tensor]:
    """Symmetric integers of `weight` (groups, outputs, inputs) and the scale (groups, outputs) float64.

    q = round(w / scale) clipped to ±(2^(bits-1) - 1), scale = w_max / (2^(bits-1) - 1); w_max is the
    largest or a percentile of |w|, over the layer or each output column. An all-zero matrix has scale 1.
    Raises MappingError for weights that are not finite.
    """
    if not bool(torch.isfinite(weight).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise MappingError(f"weights must be finite; {bad} of {weight.numel()} are not")
    magnitude = weight.double().abs()
    share = encoding.percentile if encoding.range == "percentile" else 1.0
    whole = magnitude if encoding.per == "column" else magnitude.flatten()
    w_max = _quantile(whole, share).expand(weight.shape[:2])  # (groups, outputs)
    scale = torch.where(w_max > 0, w_max / encoding.largest, torch.ones_like(w_max))
    integer = (weight.double() / scale.unsqueeze(-1)).round()
    return integer.clamp(-encoding.largest, encoding.largest).long(), scale.contiguous()


def _quantile(values: Tensor, share: float) -> Tensor:
    """The `share` quantile along the last dimension: the value at rank ceil(share n)."""
    rank = max(1, ceil(share * values.shape[-1]))
    return values.kthvalue(rank, dim=-1).values


def map_weights(weight: Tensor, geometry: Geometry) -> MappedMatrix:
    """Cell levels of `weight` (groups, outputs, inputs), or (outputs, inputs) for one group."""
    if weight.dim() == 2:
        weight = weight.unsqueeze(0)
    expected = (geometry.groups, geometry.outputs, geometry.inputs)
    if tuple(weight.shape) != expected:
        raise MappingError(f"the weight must be (groups, outputs, inputs) = {expected}, got {tuple(weight.shape)}")
    integer, scale = quantise_weights(weight, geometry.encoding)
    return map_integers(integer, scale, geometry)


def map_integers(integer: Tensor, scale: Tensor, geometry: Geometry) -> MappedMatrix:
    """Cell levels of symmetric integers (groups, outputs, inputs) with `scale` (groups, outputs)."""
    encoding, cell_bits = geometry.encoding, geometry.cell_bits
    if encoding.scheme == "offset":
        stored = (integer + 2 ** (encoding.bits - 1)).unsqueeze(-1)
    else:
        stored = torch.stack([integer.clamp(min=0), (-integer).clamp(min=0)], dim=-1)
    shifts = cell_bits * torch.arange(geometry.slices - 1, -1, -1)
    levels = (stored.unsqueeze(-2) >> shifts.unsqueeze(-1)) & (2**cell_bits - 1)
    # (groups, outputs, inputs, slices, polarities) -> rows padded to whole tiles -> tiles
    rows = min(geometry.inputs, geometry.wordlines)
    padding = geometry.row_tiles * rows - geometry.inputs
    levels = torch.nn.functional.pad(levels.movedim(2, 1), (0, 0, 0, 0, 0, 0, 0, padding))
    levels = levels.unflatten(1, (geometry.row_tiles, rows))  # (groups, row_tiles, rows, outputs, slices, pol.)
    flipped = torch.zeros(geometry.groups, geometry.row_tiles, geometry.outputs, geometry.slices, dtype=torch.bool)
    if encoding.flipped_columns:
        levels, flipped = _flip(levels, geometry)
    return MappedMatrix(geometry, levels, flipped, scale)


def _flip(levels: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Columns whose levels sum to over half of the possible are stored inverted, which halves the largest
    current and so saves one ADC bit (ISAAC, ISCA 2016)."""
    top = 2**geometry.cell_bits - 1
    used = torch.tensor([geometry.rows_of(t) for t in range(geometry.row_tiles)])
    flipped = 2 * levels.sum(2).squeeze(-1) > (used * top).view(1, -1, 1, 1)
    is_row = (torch.arange(levels.shape[2]) < used.unsqueeze(1)).view(1, *used.shape, -1, 1, 1, 1)
    invert = flipped.unsqueeze(2).unsqueeze(-1) & is_row
    return torch.where(invert, top - levels, levels), flipped


def read_integers(mapped: MappedMatrix) -> Tensor:
    """The symmetric integers (groups, outputs, inputs) that the levels stand for; inverse of map_integers."""
    geometry = mapped.geometry
    flip = mapped.flipped.unsqueeze(2).unsqueeze(-1)
    levels = torch.where(flip, 2**geometry.cell_bits - 1 - mapped.levels, mapped.levels)
    weight = mapped.slice_weight.long().view(-1, 1)
    stored = (levels * weight).sum(-2).flatten(1, 2)[:, : geometry.inputs]  # (groups, inputs, outputs, pol.)
    if geometry.encoding.scheme == "offset":
        integer = stored[..., 0] - 2 ** (geometry.encoding.bits - 1)
    else:
        integer = stored[..., 0] - stored[..., 1]
    return integer.movedim(1, 2)


def unmap(mapped: MappedMatrix) -> Tensor:
    """The weights (groups, outputs, inputs) float64 that the levels stand for: exactly quantise(w)."""
    return read_integers(mapped) * mapped.scale.unsqueeze(-1)

"""Weight matrices to signed, bit-sliced, tiled cell levels, and exactly back.

A matrix is (outputs, inputs) as in torch; crossbars carry inputs on wordlines and outputs on bitlines.
Three ways to hold a sign (after Xiao et al., IEEE Circuits and Systems Magazine 22(4), 2022, and Shafiee
et al., ISAAC, ISCA 2016, section on encoding):

- "differential": a pair of cells, |w| on one, level 0 on the other (or, two-sided, both around the middle), on
  neighbouring bitlines that are subtracted, or on one shared bitline from two wordlines at opposite voltages;
- "separate": the same pair on two crossbars, subtracted after the ADCs;
- "offset": w + 2^(bits-1) on one bitline; the constant times the sum of the inputs is subtracted, known
  from a reference column of each crossbar or counted digitally.

Integers wider than a cell are cut in slices of the cell's bits, most significant first. Weights that are not
quantised keep a level with a fraction. Mapping is differentiable: rounding passes gradients straight through.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from xbar.hw.errors import MappingError
from xbar.hw.quantity import Unit


class WeightEncoding(BaseModel):
    """How signed weights become levels of cells; `cell_bits` of a cell are used (default: all it has).

    subtraction: of a differential pair, before the ADC ("analog": two bitlines; "shared_bitline": currents of
    opposite sign on one bitline) or after it ("digital"). g_min_current: whether the current that every cell carries
    at level 0 is taken away before the ADC ("cancelled") or goes through it and is subtracted after it ("converted").
    quantise: False keeps weights between levels, as a device without levels does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Unit("1"), Field(ge=2, le=24)]
    scheme: Literal["differential", "offset", "separate"]
    cell_bits: Annotated[int | None, Unit("1"), Field(ge=1, le=16)] = None
    subtraction: Literal["analog", "digital", "shared_bitline"] = "analog"
    pair: Literal["one_sided", "two_sided"] = "one_sided"
    g_min_current: Literal["cancelled", "converted"] = "cancelled"
    quantise: bool = True
    offset_reference: Literal["column", "digital"] = "column"
    flipped_columns: bool = False
    range: Literal["max_abs", "percentile"] = "max_abs"
    per: Literal["layer", "column"] = "layer"
    percentile: Annotated[float, Unit("1"), Field(gt=0.5, le=1)] = 1.0

    @model_validator(mode="after")
    def _check(self) -> "WeightEncoding":
        if self.flipped_columns and self.scheme != "offset":
            raise ValueError("flipped_columns needs scheme = offset (only there are all levels on one column)")
        if self.subtraction == "shared_bitline" and self.scheme != "differential":
            raise ValueError("subtraction = shared_bitline needs scheme = differential")
        if self.pair == "two_sided" and self.scheme == "offset":
            raise ValueError("pair = two_sided needs scheme = differential or separate")
        if self.flipped_columns and not self.quantise:
            raise ValueError("flipped_columns needs quantise = true")
        return self

    @property
    def largest(self) -> float:
        """Largest magnitude of the symmetric whole-numbered weights, 2^(bits-1) - 1; with an offset and weights between
        levels, half of the range."""
        return self.offset if self.scheme == "offset" and not self.quantise else float(2 ** (self.bits - 1) - 1)

    @property
    def offset(self) -> float:
        """What an offset scheme adds to a weight: 2^(bits-1), or the middle of the range for weights between levels."""
        return 2.0 ** (self.bits - 1) if self.quantise else (2**self.bits - 1) / 2

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

    @property
    def shared_bitline(self) -> bool:
        """True where the two cells of a pair lie on one bitline and two wordlines."""
        return self.subtraction == "shared_bitline"

    @property
    def analog_pair(self) -> bool:
        """True where a pair's currents are subtracted before the ADC."""
        return self.scheme == "differential" and self.subtraction != "digital"


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
        if self.inputs_per_crossbar < 1:
            raise MappingError(f"an input needs {self.wordlines_per_input} wordlines, a crossbar has {self.wordlines}")
        if not self.encoding.quantise and self.slices > 1:
            raise MappingError(
                f"weights that are not quantised cannot be cut in slices: {self.encoding.stored_bits} stored bits must "
                f"fit a cell of {self.cell_bits} bits"
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
        neighbours = self.encoding.scheme == "differential" and not self.encoding.shared_bitline
        return self.slices * (2 if neighbours else 1)

    @property
    def wordlines_per_input(self) -> int:
        """Wordlines of one crossbar that one input drives."""
        return 2 if self.encoding.shared_bitline else 1

    @property
    def inputs_per_crossbar(self) -> int:
        """Inputs that fit on one crossbar."""
        return self.wordlines // self.wordlines_per_input

    @property
    def conversions_per_output(self) -> int:
        """ADC conversions per output, crossbar and input slice."""
        return self.slices if self.encoding.analog_pair else self.columns_per_output

    @property
    def reference_columns(self) -> int:
        """Bitlines of each crossbar given to the offset's reference."""
        return int(self.encoding.scheme == "offset" and self.encoding.offset_reference == "column")

    @property
    def reference_level(self) -> float:
        """Level of every cell of an offset's reference column, which has the top slice's weight."""
        return self.encoding.offset / 2 ** (self.cell_bits * (self.slices - 1))

    @property
    def outputs_per_crossbar(self) -> int:
        """Outputs that fit on one crossbar."""
        return (self.bitlines - self.reference_columns) // self.columns_per_output

    @property
    def row_tiles(self) -> int:
        """Crossbars along the inputs."""
        return ceil(self.inputs / self.inputs_per_crossbar)

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
        return self.wordlines_per_input * self.inputs_of(row_tile)

    def inputs_of(self, row_tile: int) -> int:
        """Inputs held in that row of tiles."""
        return min(self.inputs_per_crossbar, self.inputs - row_tile * self.inputs_per_crossbar)

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
        return self.groups * self.planes * self.wordlines_per_input * self.inputs * self.column_tiles

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
        return self.groups * self.planes * self.wordlines_per_input * self.inputs * columns


@dataclass(frozen=True)
class MappedMatrix:
    """Levels of the cells that hold one matrix, with what is needed to read it back.

    levels: (groups, row_tiles, rows, outputs, slices, polarities) float64, whole numbers where weights are
        quantised; rows are inputs, those beyond the matrix are level 0 and never driven; slices are most significant
        first; polarity 0 is positive.
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

    def crossbar_levels(self) -> Tensor:
        """The same levels as they lie on the chip: float64 (groups, planes, row_tiles, column_tiles, wordlines,
        bitlines), unused cells at level 0; without a wordline that is left over where inputs take two."""
        return CrossbarLayout(self.geometry).place(self.columns(), 0.0)

    def columns(self) -> Tensor:
        """Levels by column, (groups, row_tiles, rows, columns): outputs x slices x polarities, then the reference
        column of each column tile."""
        g = self.geometry
        levels = self.levels.flatten(3)
        tiles = g.column_tiles if g.reference_columns else 0
        reference = levels.new_full((*levels.shape[:3], tiles), g.reference_level if tiles else 0.0)
        return torch.cat([levels, reference], dim=3)


class CrossbarLayout:
    """Where the cells of a mapped matrix lie on its crossbars.

    A block lies in the corner where the drivers' bitline and the sense amplifiers' wordline meet, so that its wires
    are as short as they can be. From the drivers: the reference column, then output after output, an output's
    columns slice-major, positive before negative. Towards the sense amplifiers: input after input, the last nearest;
    where pairs share a bitline the positive wordline comes first. wordlines: of a crossbar, in whole inputs.
    """

    def __init__(self, geometry: Geometry):
        g = self.geometry = geometry
        lines, rows = g.wordlines_per_input, min(g.inputs, g.inputs_per_crossbar)
        self.wordlines = g.wordlines - g.wordlines % lines
        used = torch.tensor([g.rows_of(tile) for tile in range(g.row_tiles)])
        self.first_wordline = self.wordlines - used  # (row_tiles,)
        # of each column, where it lies
        place = torch.tensor(list(self._column_places())).T  # plane, column tile, bitline, which wordline of an input
        self.plane, self.tile, self.bitline, line = place
        row = torch.arange(rows)
        self.wordline = (self.first_wordline[:, None, None] + lines * row[:, None] + line) % self.wordlines
        # of each place, which column and row is there; -1: unused
        self.column = torch.full((g.planes, g.column_tiles, lines, g.bitlines), -1)
        self.column[self.plane, self.tile, line, self.bitline] = torch.arange(place.shape[1])
        from_first = torch.arange(self.wordlines) - self.first_wordline[:, None]  # (row_tiles, wordlines)
        self.row = torch.where(from_first >= 0, from_first // lines, -1)
        self.line = from_first.clamp(min=0) % lines

    def _column_places(self) -> Iterator[tuple[int, int, int, int]]:
        """(plane, column tile, bitline, wordline of its input) of the columns outputs x slices x polarities, then
        of the reference column of each column tile."""
        g = self.geometry
        for output in range(g.outputs):
            tile, within = divmod(output, g.outputs_per_crossbar)
            for part in range(g.slices):
                for polarity in range(g.encoding.polarities):
                    if g.encoding.shared_bitline:
                        yield 0, tile, within * g.slices + part, polarity
                    elif g.planes == 2:
                        yield polarity, tile, within * g.slices + part, 0
                    else:
                        beside = (within * g.slices + part) * g.encoding.polarities + polarity
                        yield 0, tile, g.reference_columns + beside, 0
        if g.reference_columns:
            for tile in range(g.column_tiles):
                yield 0, tile, 0, 0

    def place(self, columns: Tensor, unused: float) -> Tensor:
        """Values (..., groups, row_tiles, rows, columns) as they lie: (..., groups, planes, row_tiles, column_tiles,
        wordlines, bitlines), `unused` elsewhere."""
        padded = torch.nn.functional.pad(columns, (0, 1, 0, 1), value=unused)
        tile = torch.arange(self.row.shape[0])
        at = (
            tile[None, :, None, None, None],
            self.row[None, :, None, :, None],
            self.column[:, :, self.line].movedim(2, 1),  # (planes, row_tiles, column_tiles, wordlines, bitlines)
        )
        return padded[(..., *(index.to(columns.device) for index in at))]  # type: ignore[index]

    def collect(self, placed: Tensor) -> Tensor:
        """The inverse of `place`; rows beyond the matrix hold anything."""
        tile = torch.arange(self.row.shape[0])[:, None, None]
        at = (self.plane, tile, self.tile, self.wordline, self.bitline)
        return placed[(..., *(index.to(placed.device) for index in at))]


def slice_weights(count: int, bits: int) -> Tensor:
    """2^(bits k) for k = 0 .. count - 1, float64 (count,)."""
    return 2.0 ** (bits * torch.arange(count, dtype=torch.float64))


def quantise_weights(
    weight: Tensor, encoding: WeightEncoding, largest: float | None = None
) -> tuple[Tensor, Tensor]:
    """Symmetric integers of `weight` (groups, outputs, inputs) and the scale (groups, outputs), both float64.

    q = round(w / scale) clipped to ±`encoding.largest`, scale = w_max / `encoding.largest`; w_max is `largest`, or the
    largest or a percentile of |w|, over the layer or each output column. An all-zero matrix has scale 1. Gradients
    pass the rounding, not the clipping. Raises MappingError for weights that are not finite and for a `largest`
    that is not above 0.
    """
    if not bool(torch.isfinite(weight).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise MappingError(f"weights must be finite; {bad} of {weight.numel()} are not")
    with torch.no_grad():
        if largest is None:
            magnitude = weight.double().abs()
            share = encoding.percentile if encoding.range == "percentile" else 1.0
            w_max = _quantile(magnitude if encoding.per == "column" else magnitude.flatten(), share)
        elif 0 < largest < float("inf"):
            w_max = torch.tensor(float(largest), dtype=torch.float64, device=weight.device)
        else:
            raise MappingError(f"largest must be above 0 and finite, got {largest}")
        w_max = w_max.expand(weight.shape[:2])  # (groups, outputs)
        scale = torch.where(w_max > 0, w_max / encoding.largest, torch.ones_like(w_max)).contiguous()
    integer = weight.double() / scale.unsqueeze(-1)
    if encoding.quantise:
        integer = straight_through(integer, torch.round)
    return integer.clamp(-encoding.largest, encoding.largest), scale


def matrix_of(layer: nn.Linear | nn.Conv2d | nn.Embedding) -> Tensor:
    """The weights of a layer as a matrix (groups, outputs, inputs); a convolution's inputs are ordered kernel row, kernel
    column, channel; an embedding's are the rows of its table."""
    weight = layer.weight.detach()
    if isinstance(layer, nn.Embedding):
        return weight.T.unsqueeze(0)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    if isinstance(layer, nn.Conv2d):
        weight = weight.permute(0, 2, 3, 1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


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


def _quantile(values: Tensor, share: float) -> Tensor:
    """The `share` quantile along the last dimension: the value at rank ceil(share n)."""
    rank = max(1, ceil(share * values.shape[-1]))
    return values.kthvalue(rank, dim=-1).values


def map_weights(weight: Tensor, geometry: Geometry, largest: float | None = None) -> MappedMatrix:
    """Cell levels of `weight` (groups, outputs, inputs), or (outputs, inputs) for one group; `largest` sets the full
    scale, where it is not to be taken from the weights."""
    if weight.dim() == 2:
        weight = weight.unsqueeze(0)
    expected = (geometry.groups, geometry.outputs, geometry.inputs)
    if tuple(weight.shape) != expected:
        raise MappingError(f"the weight must be (groups, outputs, inputs) = {expected}, got {tuple(weight.shape)}")
    integer, scale = quantise_weights(weight, geometry.encoding, largest)
    return map_integers(integer, scale, geometry)


def map_integers(integer: Tensor, scale: Tensor, geometry: Geometry) -> MappedMatrix:
    """Cell levels of symmetric integers (groups, outputs, inputs) with `scale` (groups, outputs)."""
    encoding = geometry.encoding
    levels = _digits(_stored(integer.double(), encoding), geometry)
    # (groups, outputs, inputs, slices, polarities) -> rows padded to whole tiles -> tiles
    rows = min(geometry.inputs, geometry.inputs_per_crossbar)
    padding = geometry.row_tiles * rows - geometry.inputs
    levels = torch.nn.functional.pad(levels.movedim(2, 1), (0, 0, 0, 0, 0, 0, 0, padding))
    levels = levels.unflatten(1, (geometry.row_tiles, rows))  # (groups, row_tiles, rows, outputs, slices, pol.)
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
    """Levels of the slices of `stored` (..., polarities), most significant first, (..., slices, polarities).

    The gradient goes to all slices alike, so that the sum of slices times their weights has the slope of `stored`.
    """
    if geometry.slices == 1:
        return stored.unsqueeze(-2)
    weight = slice_weights(geometry.slices, geometry.cell_bits).flip(0).to(stored.device).unsqueeze(-1)
    whole = stored.detach().unsqueeze(-2)
    digits = torch.floor(whole / weight) % 2**geometry.cell_bits
    if not (stored.requires_grad and torch.is_grad_enabled()):
        return digits
    share = stored.unsqueeze(-2) / (geometry.slices * weight)
    return share + (digits - share.detach())


def _flip(levels: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Columns whose levels sum to over half of the possible are stored inverted, which halves the largest
    current and so saves one ADC bit (ISAAC, ISCA 2016)."""
    top = 2**geometry.cell_bits - 1
    used = torch.tensor([geometry.inputs_of(t) for t in range(geometry.row_tiles)], device=levels.device)
    flipped = 2 * levels.sum(2).squeeze(-1) > (used * top).view(1, -1, 1, 1)
    is_row = (torch.arange(levels.shape[2], device=levels.device) < used.unsqueeze(1)).view(1, *used.shape, -1, 1, 1, 1)
    invert = flipped.unsqueeze(2).unsqueeze(-1) & is_row
    return torch.where(invert, top - levels, levels), flipped


def read_integers(mapped: MappedMatrix, levels: Tensor | None = None) -> Tensor:
    """The symmetric integers (groups, outputs, inputs) float64 that the levels stand for; inverse of map_integers.

    levels: others than the mapped ones, (..., groups, row_tiles, rows, outputs, slices, polarities), such as those of
    programmed cells: the weights as the chip holds them, (..., groups, outputs, inputs).
    """
    geometry = mapped.geometry
    levels = mapped.levels if levels is None else levels
    flip = mapped.flipped.unsqueeze(2).unsqueeze(-1)
    levels = torch.where(flip, 2**geometry.cell_bits - 1 - levels, levels)
    weight = mapped.slice_weight.to(levels.device).view(-1, 1)
    stored = (levels * weight).sum(-2).flatten(-4, -3)[..., : geometry.inputs, :, :]  # (..., inputs, outputs, pol.)
    minus = geometry.encoding.offset if geometry.encoding.scheme == "offset" else stored[..., 1]
    return (stored[..., 0] - minus).transpose(-1, -2)


def unmap(mapped: MappedMatrix) -> Tensor:
    """The weights (groups, outputs, inputs) float64 that the levels stand for: exactly quantise(w)."""
    return read_integers(mapped) * mapped.scale.unsqueeze(-1)

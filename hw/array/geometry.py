"""How a signed weight is held by cells, and how a matrix is cut into crossbars: all counts.

Three ways to hold a sign (after Xiao et al., IEEE Circuits and Systems Magazine 22(4), 2022, and Shafiee
et al., ISAAC, ISCA 2016, section on encoding):

- "differential": a pair of cells, |w| on one, level 0 on the other (or, two-sided, both around the middle), on
  neighbouring bitlines that are subtracted, or on one shared bitline from two wordlines at opposite voltages;
- "separate": the same pair on two crossbars, subtracted after the ADCs or, where the two bitlines meet, before one;
- "offset": w + 2^(bits-1) on one bitline; the constant times the sum of the inputs is subtracted, known
  from a reference column of each crossbar, counted digitally, or taken away before the ADC.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xbar.hw.errors import MappingError
from xbar.hw.quantity import Unit


class WeightEncoding(BaseModel):
    """How signed weights become levels of cells; `cell_bits` of a cell are used (default: all it has).

    subtraction: of a pair, before the ADC ("analog": two bitlines, neighbours or of two crossbars; "shared_bitline":
    currents of opposite sign on one bitline) or after it ("digital"); None: before it for a differential pair, after it for
    a separate one. offset_reference: how an offset is known: "column", one column a crossbar that is converted like any other;
    "digital", counted from the inputs; "analog", one column a weight slice, of cells that hold the offset's digit and err as
    all cells do, whose current is subtracted from each of the slice's columns before their ADC, g_min's with it.
    g_min_current: whether the current that every cell carries at level 0 is taken away before the ADC ("cancelled") or goes
    through it and is subtracted after it ("converted").
    quantise: False keeps weights between levels, as a device without levels does.
    range: the weight that the largest conductance stands for: the largest of all, or a `percentile` of the magnitudes, `per` layer,
    output column or row segment (inputs of one crossbar); beyond: whether larger weights are held at it ("clip") or get the
    conductance that follows ("keep"), which needs quantise = false.
    segment: inputs with weights on one crossbar at most; longer columns are cut into segments of as equal length as can be. None:
    crossbars are filled in order. bias_rows: inputs of each crossbar, always driven at the highest code, whose cells hold the
    bias of outputs, each an equal part of it; 0: biases are added digitally.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Unit("1"), Field(ge=2, le=24)]
    scheme: Literal["differential", "offset", "separate"]
    cell_bits: Annotated[int | None, Unit("1"), Field(ge=1, le=16)] = None
    subtraction: Literal["analog", "digital", "shared_bitline"] | None = None
    pair: Literal["one_sided", "two_sided"] = "one_sided"
    g_min_current: Literal["cancelled", "converted"] = "cancelled"
    quantise: bool = True
    offset_reference: Literal["column", "digital", "analog"] = "column"
    flipped_columns: bool = False
    range: Literal["max_abs", "percentile"] = "max_abs"
    per: Literal["layer", "column", "segment"] = "layer"
    percentile: Annotated[float, Unit("1"), Field(gt=0.5, le=1)] = 1.0
    beyond: Literal["clip", "keep"] = "clip"
    segment: Annotated[int | None, Unit("1"), Field(ge=1, le=65536)] = None
    bias_rows: Annotated[int, Unit("1"), Field(ge=0, le=256)] = 0

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
        if self.beyond == "keep" and (self.quantise or self.range != "percentile"):
            raise ValueError("beyond = keep needs quantise = false and range = percentile: else no weight lies beyond the largest level")
        if self.per == "segment" and self.scheme == "offset":
            raise ValueError("per = segment needs scheme = differential or separate: an offset is one number for all row segments")
        if self.analog_reference and self.flipped_columns:
            raise ValueError("flipped_columns saves a bit of currents of one sign; offset_reference = analog makes them signed")
        if self.analog_reference and self.g_min_current == "converted":
            raise ValueError("g_min_current = converted: offset_reference = analog takes g_min's current away before the ADC")
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
        if self.scheme == "differential":
            return self.subtraction != "digital"
        return self.scheme == "separate" and self.subtraction == "analog"

    @property
    def analog_reference(self) -> bool:
        """True where an offset's current is subtracted before the ADC."""
        return self.scheme == "offset" and self.offset_reference == "analog"

    @property
    def signed_columns(self) -> bool:
        """True where what an ADC converts can be negative whatever the inputs."""
        return self.analog_pair or self.analog_reference


@dataclass(frozen=True)
class Geometry:
    """How a (groups x) outputs x inputs matrix is cut into crossbars; every count of cells, drives and
    conversions comes from here.

    Outputs of a crossbar are whole: all slices (and both polarities of a differential pair) of a weight
    lie on the same crossbar. Tiles are filled in order, the last one takes the rest. Each group of a
    grouped convolution has crossbars of its own.

    inputs: those of the weights, and `bias_rows` more at the end of each row of tiles, which carry the bias. stride: inputs of a row
    of tiles, bias among them; None: as many as fit.
    """

    outputs: int
    inputs: int
    groups: int
    wordlines: int
    bitlines: int
    cell_bits: int
    encoding: WeightEncoding
    stride: int | None = None
    bias_rows: int = 0

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
            stored, bits = self.encoding.stored_bits, self.encoding.bits
            raise MappingError(
                f"weights.quantise = false cannot be cut in slices: a cell must hold the {stored} stored bits of weights.bits = {bits}, "
                f"and holds {self.cell_bits}; set weights.quantise = true, device.levels = {2**stored} or more, or weights.bits = "
                f"{bits - stored + self.cell_bits} or less"
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
        """Inputs of a row of tiles: as many as fit on a crossbar, or the segment's, bias among them."""
        return self.stride or self.wordlines // self.wordlines_per_input

    @property
    def conversions_per_output(self) -> int:
        """ADC conversions per output, crossbar that has any, and input slice."""
        return self.slices if self.encoding.analog_pair else self.columns_per_output

    @property
    def converted_planes(self) -> int:
        """Crossbars of a block whose bitlines lead to ADCs: one of two that are subtracted before them, else all."""
        return 1 if self.encoding.analog_pair else self.planes

    @property
    def converted_references(self) -> int:
        """Reference columns of a crossbar that are converted."""
        return 0 if self.encoding.analog_reference else self.reference_columns

    @property
    def reference_columns(self) -> int:
        """Bitlines of each crossbar given to the offset's reference."""
        if self.encoding.analog_reference:
            return self.slices
        return int(self.encoding.scheme == "offset" and self.encoding.offset_reference == "column")

    @property
    def reference_level(self) -> float:
        """Level of every cell of an offset's reference column, which has the top slice's weight."""
        return self.encoding.offset / 2 ** (self.cell_bits * (self.slices - 1))

    @property
    def reference_levels(self) -> tuple[float, ...]:
        """Level of the cells of each reference column of a crossbar; one a slice are the offset's digits: all of it is in
        the top one, and g_min in the others."""
        return (self.reference_level, *[0.0] * (self.slices - 1))[: self.reference_columns]

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
        """ADC conversions of one crossbar of that column of tiles, if it has any, per input slice."""
        return self.outputs_of(column_tile) * self.conversions_per_output + self.converted_references

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
        per_row = self.outputs * self.conversions_per_output + self.column_tiles * self.converted_references
        return self.groups * self.converted_planes * self.row_tiles * per_row

    @property
    def cells(self) -> int:
        """Cells that hold weights or references, over all crossbars of one copy."""
        columns = self.outputs * self.columns_per_output + self.column_tiles * self.reference_columns
        return self.groups * self.planes * self.wordlines_per_input * self.inputs * columns


def cut(
    outputs: int, inputs: int, groups: int, wordlines: int, bitlines: int, cell_bits: int, encoding: WeightEncoding, bias: bool
) -> Geometry:
    """A (groups x) outputs x inputs matrix on crossbars of that size, with the rows of its bias where it has one on them; raises
    MappingError where none can hold it."""
    rows = encoding.bias_rows if bias else 0
    if encoding.segment is None and not rows:
        return Geometry(outputs, inputs, groups, wordlines, bitlines, cell_bits, encoding)
    fitting = wordlines // (2 if encoding.shared_bitline else 1) - rows
    if fitting < 1:
        raise MappingError(f"weights.bias_rows = {rows} leave no wordline of a crossbar's {wordlines} to weights")
    if inputs < 1:
        raise MappingError(f"a layer needs at least 1 of inputs, got {inputs}")
    tiles = ceil(inputs / min(fitting, encoding.segment or fitting))
    stride = ceil(inputs / tiles) + rows
    tiles = ceil(inputs / (stride - rows))
    return Geometry(outputs, inputs + tiles * rows, groups, wordlines, bitlines, cell_bits, encoding, stride, rows)

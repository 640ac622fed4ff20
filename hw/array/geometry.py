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
from functools import cached_property
from math import ceil
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xbar.hw.array.groups import LayerGroups
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
    bias of outputs, each an equal part of it; 0: biases are added digitally. groups_per_crossbar: groups of a grouped matrix, such as
    channels of a depthwise convolution, on one crossbar at most, block-diagonally; None: as many as fit; 1: crossbars of their own,
    more accurate where cells of weight 0 err (hw/README.md has figures).
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
    groups_per_crossbar: Annotated[int | None, Unit("1"), Field(ge=1, le=65536)] = None

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
    lie on the same crossbar. Tiles are filled in order, the last one takes the rest. Groups of a layer lie block-diagonally, `together`
    of them, on one crossbar where that many fit (`cut` decides): then one of the `groups` here, each of which has crossbars
    of its own, is that block-diagonal matrix, and the last one holds what is left of the `layer_groups` (None: as many as `groups`).
    Its cells off the diagonal hold weights of 0. `xbar.hw.array.diagonal` goes from a layer's matrices to these and back.

    outputs, inputs: of one of the groups here, `of_layer` tells of the layer's; inputs: those of the weights, and `bias_rows` more at the
    end of each row of tiles, which carry the bias. stride: inputs of a row of tiles, bias among them; None: as many as fit.
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
    together: int = 1
    layer_groups: int | None = None

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

    @cached_property
    def slices(self) -> int:
        """Cells per weight and polarity."""
        return self.encoding.slices(self.cell_bits)

    @property
    def planes(self) -> int:
        """Crossbars that hold one block: 2 for separate signs, else 1."""
        return 2 if self.encoding.scheme == "separate" else 1

    @cached_property
    def columns_per_output(self) -> int:
        """Bitlines of one crossbar that one output takes."""
        neighbours = self.encoding.scheme == "differential" and not self.encoding.shared_bitline
        return self.slices * (2 if neighbours else 1)

    @property
    def wordlines_per_input(self) -> int:
        """Wordlines of one crossbar that one input drives."""
        return 2 if self.encoding.shared_bitline else 1

    @cached_property
    def inputs_per_crossbar(self) -> int:
        """Inputs of a row of tiles: as many as fit on a crossbar, or the segment's, bias among them."""
        return self.stride or self.wordlines // self.wordlines_per_input

    @cached_property
    def conversions_per_output(self) -> int:
        """ADC conversions per output, crossbar that has any, and input slice."""
        return self.slices if self.encoding.analog_pair else self.columns_per_output

    @property
    def converted_planes(self) -> int:
        """Crossbars of a block whose bitlines lead to ADCs: one of two that are subtracted before them, else all."""
        return 1 if self.encoding.analog_pair else self.planes

    @cached_property
    def converted_references(self) -> int:
        """Reference columns of a crossbar that are converted."""
        return 0 if self.encoding.analog_reference else self.reference_columns

    @cached_property
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

    @cached_property
    def outputs_per_crossbar(self) -> int:
        """Outputs that fit on one crossbar."""
        return (self.bitlines - self.reference_columns) // self.columns_per_output

    @cached_property
    def row_tiles(self) -> int:
        """Crossbars along the inputs."""
        return ceil(self.inputs / self.inputs_per_crossbar)

    @cached_property
    def column_tiles(self) -> int:
        """Crossbars along the outputs."""
        return ceil(self.outputs / self.outputs_per_crossbar)

    @property
    def crossbars(self) -> int:
        """Crossbars for one copy of the whole layer."""
        return self.groups * self.planes * self.row_tiles * self.column_tiles

    @cached_property
    def of_layer(self) -> LayerGroups:
        """The layer's groups, and how they lie on the groups here."""
        biases = self.bias_rows * self.row_tiles
        groups = self.groups if self.layer_groups is None else self.layer_groups
        return LayerGroups(groups, self.outputs // self.together, (self.inputs - biases) // self.together, biases, self.together)

    # ---- one crossbar; group: of the groups here, the first, which is full, where none is named

    def rows_of(self, row_tile: int, group: int = 0) -> int:
        """Wordlines used in that row of tiles."""
        return self.wordlines_per_input * self.inputs_of(row_tile, group)

    def inputs_of(self, row_tile: int, group: int = 0) -> int:
        """Inputs held in that row of tiles."""
        inputs = self.inputs - self.of_layer.lacking(group) * self.of_layer.weights
        return min(self.inputs_per_crossbar, inputs - row_tile * self.inputs_per_crossbar)

    def values_of(self, row_tile: int, group: int = 0) -> int:
        """Of these inputs, those that are values which the layer reads: all but the rows of biases."""
        return self.values_on(self.rows_of(row_tile, group))

    def values_on(self, wordlines: int) -> int:
        """The same of a row of tiles that so many wordlines are used in."""
        return wordlines // self.wordlines_per_input - self.bias_rows

    def outputs_of(self, column_tile: int, group: int = 0) -> int:
        """Outputs held in that column of tiles."""
        outputs = self.of_layer.held(group) * self.of_layer.outputs
        return min(self.outputs_per_crossbar, outputs - column_tile * self.outputs_per_crossbar)

    def bitlines_of(self, column_tile: int, group: int = 0) -> int:
        """Bitlines used in one crossbar of that column of tiles."""
        return self.outputs_of(column_tile, group) * self.columns_per_output + self.reference_columns

    def conversions_of(self, column_tile: int, group: int = 0) -> int:
        """ADC conversions of one crossbar of that column of tiles, if it has any, per input slice."""
        return self.outputs_of(column_tile, group) * self.conversions_per_output + self.converted_references

    @property
    def cells(self) -> int:
        """Cells of the rows and columns in use, over all crossbars of one copy: of weights, references, and off the diagonal."""
        columns = self.outputs * self.columns_per_output + self.column_tiles * self.reference_columns
        layer = self.of_layer
        lacking = layer.missing * layer.outputs * self.columns_per_output
        last = (self.inputs - layer.missing * layer.weights) * (columns - lacking)
        return self.planes * self.wordlines_per_input * ((self.groups - 1) * self.inputs * columns + last)


def cut(
    outputs: int, inputs: int, groups: int, wordlines: int, bitlines: int, cell_bits: int, encoding: WeightEncoding, bias: bool,
    driven: int | None = None,
) -> Geometry:  # fmt: skip
    """A (groups x) outputs x inputs matrix on crossbars of that size, with the rows of its bias where it has one on them; raises
    MappingError where none can hold it. driven: wordlines that a read drives at most; None: all.

    As many groups share a crossbar, block-diagonally, as its bitlines hold outputs of, one read drives the inputs of, and
    `encoding.groups_per_crossbar` allows, its rows of biases shared by all: a read then serves them all, no group takes
    more reads or conversions than alone. Groups that do not fit twice have crossbars of their own.
    """
    rows = encoding.bias_rows if bias else 0
    together = _together(outputs, inputs, groups, min(wordlines, driven or wordlines), bitlines, cell_bits, encoding, rows)
    if together > 1:
        stride = None if encoding.segment is None and not rows else together * inputs + rows
        return Geometry(
            together * outputs, together * inputs + rows, ceil(groups / together), wordlines, bitlines, cell_bits, encoding, stride, rows,
            together, groups,
        )  # fmt: skip
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


def _together(
    outputs: int, inputs: int, groups: int, wordlines: int, bitlines: int, cell_bits: int, encoding: WeightEncoding, rows: int
) -> int:
    """Groups that share a crossbar."""
    if groups < 2 or min(outputs, inputs) < 1:
        return 1
    fitting = wordlines // (2 if encoding.shared_bitline else 1) - rows
    by_inputs = min(fitting, encoding.segment or fitting) // inputs
    by_outputs = Geometry(1, 1, 1, wordlines, bitlines, cell_bits, encoding).outputs_per_crossbar // outputs
    return max(1, min(groups, by_inputs, by_outputs, encoding.groups_per_crossbar or groups))

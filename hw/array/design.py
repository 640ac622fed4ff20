"""How arrays are built and read: one description for everything that happens between a weight and a sum.

A chip has one such design for all of its crossbars (`array_design`). Nothing here knows how many crossbars there are, what
lies between them, or what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from xbar.hw.array.converter import Adc, Dac
from xbar.hw.array.geometry import Geometry, WeightEncoding, cut
from xbar.hw.cells.device import Device
from xbar.hw.quantity import Unit

if TYPE_CHECKING:
    from torch import Tensor

ONES = 0.5  # share of an input's bits that are ones: assumed


class Inputs(BaseModel):
    """How activations are streamed: `bits` per value in slices of the DAC's bits, least significant first.

    twos_complement: the last slice counts negative (needs a 1-bit DAC). two_pass: unsigned; a layer with
    negative inputs streams their magnitudes in a second pass. bipolar: one of the bits is the sign, and drivers give
    voltages of either sign. quantise: False drives the value itself, as an analog input does.
    activity: share of the bits of inputs that are ones, on the mean, for the energy of array reads, and of drivers that follow the code,
    alone; by default half of them (assumed); of a layer that comes in two passes, of its magnitudes, each of which is 0 in the other
    pass. Bits count as independent of each other, so that codes of a DAC of several bits follow (`Dac.mean_square`).
    Inputs that are known tell more: `xbar.hw.analog.read_energies`.
    pulses: how a slice of weight 2^k reaches the ADC of an accumulated vector: in "one" read whose charge is scaled, or
    "weighted", in 2^k reads that the ADC integrates. phase_bits: streamed bits that are accumulated for one conversion at most;
    longer inputs come in phases of whole slices, of as equal length as can be, each converted apart and added digitally. None: all in one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: Annotated[int, Unit("1"), Field(ge=1, le=24)]
    signed: Literal["twos_complement", "two_pass", "bipolar"]
    quantise: bool = True
    activity: Annotated[float, Unit("1", banded=True), Field(ge=0, le=1)] = ONES
    pulses: Literal["one", "weighted"] = "one"
    phase_bits: Annotated[int | None, Unit("1"), Field(ge=1, le=24)] = None

    @property
    def streamed_bits(self) -> int:
        """Bits of a value that pass the DAC in slices."""
        return self.bits - 1 if self.signed == "bipolar" else self.bits

    def integer_range(self, signed: bool) -> tuple[int, int]:
        """Smallest and largest input integer: symmetric two's complement or sign and magnitude, or magnitudes of
        full width."""
        largest = int(2**self.bits - 1 if self.signed == "two_pass" else 2 ** (self.bits - 1) - 1)
        return (-largest if signed else 0), largest


class CellError(BaseModel):
    """What a cell's conductance is off by in a product, beyond what its device says: wires, coupling and neurons together, as a measured
    chip shows them; fixed in each chip instance from one write to the next, independent between cells.

    sigma: standard deviation over g_max of a cell at g_max; model: of all cells the same ("independent"), or growing as the
    conductance ("proportional") or its square root ("square_root"). No cell falls below 0 S.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sigma: Annotated[float, Unit("1"), Field(ge=0, le=2)] = 0.0
    model: Literal["independent", "square_root", "proportional"] = "independent"

    def added(self, conductance: Tensor, g_max: float, normal: Tensor) -> Tensor:
        """Conductances [S] with the errors that standard normals stand for; gradients pass, but where a cell is held at 0 S."""
        share = conductance.detach().clamp(min=0) / g_max
        power = {"independent": 0.0, "square_root": 0.5, "proportional": 1.0}[self.model]
        return (conductance + self.sigma * g_max * share**power * normal).clamp(min=0)


class WireResistance(BaseModel):
    """Resistances of a crossbar's wires and of each cell's access transistor; all 0 is ideal.

    wordline, bitline: of one segment between neighbouring cells; driver: from a source to its line's first cell;
    sense: from a line's last cell to its virtual ground. driven_from, sensed_at: one end of the lines, or both.
    topology: "row_driven" drives the wordlines; in "gate_selected" (1T1R) wordlines switch cells on, currents come
    from source lines along the bitlines, `wordline` is a segment of a source line, `driver` its feed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wordline: Annotated[float, Unit("ohm"), Field(ge=0, le=1e9)] = 0.0
    bitline: Annotated[float, Unit("ohm"), Field(ge=0, le=1e9)] = 0.0
    driver: Annotated[float, Unit("ohm"), Field(ge=0, le=1e9)] = 0.0
    sense: Annotated[float, Unit("ohm"), Field(ge=0, le=1e9)] = 0.0
    access: Annotated[float, Unit("ohm"), Field(ge=0, le=1e9)] = 0.0
    driven_from: Literal["one", "both"] = "one"
    sensed_at: Literal["one", "both"] = "one"
    topology: Literal["row_driven", "gate_selected"] = "row_driven"

    @property
    def ideal(self) -> bool:
        """True where nothing has resistance."""
        return self.lines_ideal and not self.access

    @property
    def lines_ideal(self) -> bool:
        """True where no line has resistance, so that each cell, with its access transistor, has a current of its own."""
        return not (self.wordline or self.bitline or self.driver or self.sense)


class Place(NamedTuple):
    """Where a stream stands in the conversion that it is part of.

    weight: of the conversion, that of its least significant slice, negative in the pass of negative inputs; pulses: reads of the
    stream; last: whether the conversion follows it.
    """

    weight: float
    pulses: int
    last: bool


def adcs_of_core(bitlines: int, crossbars: int, columns: int) -> int:
    """ADCs of a core of so many crossbars, each of `columns` bitlines of a part of a crossbar or of whole crossbars."""
    shared = min(crossbars, max(1, columns // bitlines))
    return ceil(crossbars / shared) * ceil(bitlines / columns)


@dataclass(frozen=True)
class ArrayDesign:
    """One crossbar with its converters, and how weights and inputs are put on it.

    array_read: time of one analog read [s]. crossbars_per_core: crossbars whose converters are one set. rows_at_once: wordlines
    that a read drives, None for all; the others follow in reads of their own, each converted. parts: such arrays in one crossbar,
    which are read one after another. fed_at: supply that the cells' current comes from [V], None: the read voltage.
    """

    wordlines: int
    bitlines: int
    crossbars_per_core: int
    device: Device
    weights: WeightEncoding
    inputs: Inputs
    wires: WireResistance
    dac: Dac
    adc: Adc
    array_read: float
    rows_at_once: int | None = None
    parts: int = 1
    fed_at: float | None = None
    cell_error: CellError = field(default_factory=CellError)

    def partial_reads(self, rows: int) -> int:
        """Reads, each converted, that an input slice on `rows` wordlines of a crossbar takes."""
        return ceil(rows / (self.rows_at_once or rows))

    @property
    def as_read(self) -> ArrayDesign:
        """The arrays that products see: what is read and converted at once is an array of its own."""
        if not self.rows_at_once:
            return self
        parts = self.partial_reads(self.wordlines)
        return replace(self, wordlines=self.rows_at_once, rows_at_once=None, parts=parts)

    @property
    def cell_bits(self) -> int:
        """Bits of a weight that one cell holds."""
        return self.weights.cell_bits or self.device.bits

    def geometry(self, outputs: int, inputs: int, groups: int = 1, bias: bool = False) -> Geometry:
        """How a (groups x) outputs x inputs matrix, with a bias or without, is cut on crossbars; raises MappingError where none can
        hold it."""
        return cut(outputs, inputs, groups, self.wordlines, self.bitlines, self.cell_bits, self.weights, bias, self.rows_at_once)

    @property
    def inputs_per_crossbar(self) -> int:
        """Inputs with weights that a crossbar holds at most."""
        fitting = self.wordlines // (2 if self.weights.shared_bitline else 1) - self.weights.bias_rows
        return min(fitting, self.weights.segment or fitting)

    @property
    def input_slices(self) -> int:
        """Input slices of one pass."""
        return ceil(self.inputs.streamed_bits / self.dac.bits)

    def passes(self, signed_input: bool) -> int:
        """Streams of the input that one product takes."""
        return 2 if signed_input and self.inputs.signed == "two_pass" else 1

    @property
    def converted_slices(self) -> tuple[int, ...]:
        """Input slices whose reads make one conversion, of each conversion of a pass, least significant first: every slice by
        itself, or the slices of each phase."""
        slices = self.input_slices
        if self.adc.conversion != "after_accumulation":
            return (1,) * slices
        most = slices if self.inputs.phase_bits is None else max(1, self.inputs.phase_bits // self.dac.bits)
        phases = ceil(slices / most)
        return tuple(slices * (phase + 1) // phases - slices * phase // phases for phase in range(phases))

    def pulses_of(self, slice_in_phase: int) -> int:
        """Reads of that input slice of a conversion, counted from its least significant one."""
        return int(2 ** (self.dac.bits * slice_in_phase)) if self.inputs.pulses == "weighted" else 1

    @property
    def reads_per_conversion(self) -> tuple[int, ...]:
        """Array reads whose currents make each of a pass's conversions."""
        return tuple(sum(map(self.pulses_of, range(slices))) for slices in self.converted_slices)

    def places(self, passes: int) -> tuple[Place, ...]:
        """Where each stream of one vector stands in its conversion."""
        found = []
        for sign in (1.0, -1.0)[:passes]:
            first = 0
            for count in self.converted_slices:
                weight = sign * 2.0 ** (self.dac.bits * first)
                found += [Place(weight, self.pulses_of(k), k == count - 1) for k in range(count)]
                first += count
        return tuple(found)

    def conversions_per_column(self, signed_input: bool) -> int:
        """ADC conversions of one column per vector."""
        return len(self.converted_slices) * self.passes(signed_input)

    def signed_current(self, signed_input: bool) -> bool:
        """True where the current of a conversion can have either sign."""
        accumulated = self.inputs.signed == "twos_complement" and self.converted_slices[-1] > 1
        return self.weights.signed_columns or (signed_input and (self.inputs.signed == "bipolar" or accumulated))

    @property
    def adc_units(self) -> int:
        """ADCs side by side at one crossbar; one that several crossbars share counts as one of each."""
        return ceil(self.bitlines / self.adc.columns)

    @property
    def crossbars_per_adc(self) -> int:
        """Crossbars that share an ADC; 1 where a crossbar has one or more of its own."""
        return min(self.crossbars_per_core, max(1, self.adc.columns // self.bitlines))

    @property
    def columns_per_adc(self) -> int:
        """Bitlines that an ADC is switched to in turn: `adc.columns` at most, and no more than there are."""
        return ceil(self.crossbars_per_adc * self.bitlines / self.adc_units)

    @property
    def adcs_per_core(self) -> int:
        """ADCs of one core: of every crossbar, or one for `crossbars_per_adc` of them."""
        return adcs_of_core(self.bitlines, self.crossbars_per_core, self.adc.columns)

    @property
    def one_hot(self) -> ArrayDesign:
        """The same arrays as a look-up drives them: one wordline, in one slice of the DAC's highest code, never negative."""
        return replace(self, inputs=Inputs(bits=self.dac.bits, signed="two_pass"))


class HasArrays(Protocol):
    """What has crossbars of one design, such as a chip."""

    @property
    def array_design(self) -> ArrayDesign:
        """The design."""

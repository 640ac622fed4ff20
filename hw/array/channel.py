"""The way of a read: whole-numbered inputs to voltages slice by slice, and currents to the codes of ADCs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xbar.hw.array.converter import AdcRange
from xbar.hw.array.design import ArrayDesign
from xbar.hw.array.diagonal import outputs_present
from xbar.hw.array.draws import Draws
from xbar.hw.array.geometry import Geometry
from xbar.hw.array.layout import CrossbarLayout
from xbar.hw.array.mapping import map_integers
from xbar.hw.errors import ParameterError

EXACT_FLOAT32 = 2**24  # whole numbers up to here are exact in float32 (IEEE 754)


@dataclass(frozen=True, eq=False)
class AdcErrors:
    """Relative gain error, offset and INL amplitude [steps] of each column's ADC, (instances, groups, row_tiles, 1, columns)
    float64."""

    gain: Tensor
    offset: Tensor
    inl: Tensor


class ColumnFit(NamedTuple):
    """What makes sums of products of a column's codes: gain [level steps a step of what is sensed], (instances x groups x row_tiles,
    1, columns), and offset [level steps], (instances x groups, 1, columns), of all row tiles together; float64."""

    gain: Tensor
    offset: Tensor


@dataclass(frozen=True, eq=False)
class ReadChannel:
    """DACs, streams of input slices, and ADCs with their ranges, of the crossbars that hold one matrix.

    full_scale: largest current of each column's ADC [level steps], (row_tiles or 1, columns) float64; columns are outputs x
    slices x polarities that are converted apart, then the reference column of each column tile. most_driven: inputs of one
    crossbar that can be driven at once. lowest: where the codes of calibrated ranges begin, in the form of full_scale; None:
    at zero or around it.
    """

    design: ArrayDesign
    geometry: Geometry
    signed_input: bool
    most_driven: int
    full_scale: Tensor
    lowest: Tensor | None = None

    @property
    def columns(self) -> int:
        """Columns that are converted, without references."""
        encoding = self.geometry.encoding
        return self.geometry.outputs * self.geometry.slices * (1 if encoding.analog_pair else encoding.polarities)

    @cached_property
    def present(self) -> Tensor | None:
        """Which converted columns there are, bool (groups, 1, columns and references); None: all."""
        if not self.geometry.of_layer.missing:
            return None
        columns = outputs_present(self.geometry).repeat_interleave(self.columns // self.geometry.outputs, dim=1)
        return nn.functional.pad(columns, (0, self.references), value=True).unsqueeze(1).to(self.full_scale.device)

    @property
    def missing_columns(self) -> int:
        """Columns that tensors have and no ADC converts, over all groups and one row tile: of groups that the last matrix lacks."""
        g = self.geometry
        return g.of_layer.missing * g.of_layer.outputs * (self.columns // g.outputs)

    @property
    def polarities(self) -> int:
        """Polarities that are converted apart."""
        return self.columns // (self.geometry.outputs * self.geometry.slices)

    @property
    def references(self) -> int:
        """Reference columns that are converted."""
        return self.geometry.column_tiles * self.geometry.converted_references

    @cached_property
    def subtracted_reference(self) -> Tensor | None:
        """Of each converted column the reference column, among all of them, whose current is subtracted from it before its
        ADC, (columns,); None where none is."""
        g = self.geometry
        if not g.encoding.analog_reference:
            return None
        column = torch.arange(self.columns, device=self.full_scale.device)
        return column // g.slices // g.outputs_per_crossbar * g.slices + column % g.slices

    # ---- from inputs to voltages

    @property
    def integer_range(self) -> tuple[int, int]:
        """Smallest and largest input integer."""
        return self.design.inputs.integer_range(self.signed_input)

    @property
    def passes(self) -> int:
        """Streams of the input that one product takes."""
        return self.design.passes(self.signed_input)

    @property
    def streams_per_vector(self) -> int:
        """Array reads of one vector, of crossbars that are read whole."""
        return self.design.input_slices * self.passes

    def streams(self, values: Tensor) -> Iterator[tuple[Tensor, float]]:
        """DAC codes of `values` slice by slice, least significant first, and the weight of each."""
        inputs, width = self.design.inputs, self.design.dac.bits
        count = self.design.input_slices
        weights = [2.0 ** (width * k) for k in range(count)]
        if inputs.signed == "twos_complement":
            weights[-1] = -weights[-1]
            wrapped = values % 2**inputs.bits if count == 1 else values
            yield from zip(_digits(wrapped, weights, width, inputs.bits), weights, strict=True)
        elif inputs.signed == "bipolar":
            sign = torch.where(values.detach() < 0, -1.0, 1.0).to(values.dtype)
            yield from ((sign * code, weight) for code, weight in zip(_digits(sign * values, weights, width), weights, strict=True))
        else:
            zero = torch.zeros((), dtype=values.dtype, device=values.device)
            parts = [(values, 1.0)]
            if self.passes == 2:
                parts = [(torch.where(values > 0, values, zero), 1.0), (torch.where(values > 0, zero, -values), -1.0)]
            for part, direction in parts:
                for code, weight in zip(_digits(part, weights, width), weights, strict=True):
                    yield code, direction * weight

    def of_tile(self, values: Tensor, tile: int) -> Tensor:
        """The inputs (.., vectors, rows) of a row tile of (.., vectors, inputs)."""
        first = tile * self.geometry.inputs_per_crossbar
        return values[..., first : first + self.geometry.inputs_of(tile)]

    def tiled(self, values: Tensor) -> Tensor:
        """(.., vectors, inputs) as (.., row_tiles, vectors, rows), 0 where a tile has fewer inputs."""
        g = self.geometry
        rows = min(g.inputs, g.inputs_per_crossbar)
        padded = nn.functional.pad(values, (0, g.row_tiles * rows - g.inputs))
        return padded.unflatten(-1, (g.row_tiles, rows)).transpose(-3, -2)

    # ---- from currents to codes

    @property
    def conversions_per_vector(self) -> int:
        """ADC conversions of one vector, of all groups and row tiles."""
        per_column = self.design.conversions_per_column(self.signed_input)
        columns = self.geometry.groups * self.full_scale.shape[1] - self.missing_columns
        return per_column * self.geometry.row_tiles * columns

    @property
    def signed_current(self) -> bool:
        """True where the current of a column can have either sign."""
        return self.design.signed_current(self.signed_input)

    @property
    def largest_drive(self) -> int:
        """Largest input of one conversion, in the smallest DAC steps."""
        slices = max(self.design.converted_slices)
        if self.design.adc.conversion == "each_slice" or len(self.design.converted_slices) > 1:
            return int(2 ** (self.design.dac.bits * slices) - 1)
        return self.integer_range[1]

    def largest_current(self) -> Tensor:
        """Largest |current| that each column can give with ideal cells and wires [level steps], or voltage where that is sensed [DAC
        steps], (columns,) float64. Of groups that lie together a column has weights in the rows of its own, in the others 0."""
        g, device, bits = self.geometry, self.design.device, self.geometry.cell_bits
        if self.design.adc.sensing == "voltage":  # no column settles above the largest voltage that drives it
            return torch.full((self.columns,), float(self.largest_drive), dtype=torch.float64)
        top = 2**bits - 1
        converted = g.encoding.g_min_current == "converted" and not g.encoding.signed_columns
        beneath = self.most_driven * device.g_min / device.level_step(bits) if converted else 0.0
        reference = self.most_driven * g.reference_level if g.reference_columns else 0
        if g.encoding.analog_reference:
            reach = torch.tensor([max(taken, top - taken) for taken in g.reference_levels], dtype=torch.float64)
            return _most_own(self) * self.largest_drive * reach.repeat(g.outputs)
        return torch.cat([
            (_most_levels(self) + beneath) * self.largest_drive,
            torch.full((self.references,), (reference + beneath) * self.largest_drive, dtype=torch.float64),
        ])  # fmt: skip

    def ampere_per_level(self, largest_drive: int | None = None) -> float:
        """Current of one level step at the smallest DAC step [A], of `largest_drive` steps in the read voltage, or those of one
        conversion; raises ParameterError where the device names no read voltage."""
        device, largest_drive = self.design.device, largest_drive or self.largest_drive
        if device.read_voltage is None:
            raise ParameterError("device.read_voltage is not given: a current range in ampere needs it")
        return device.read_voltage * device.level_step(self.geometry.cell_bits) / largest_drive

    @cached_property
    def limit(self) -> float | None:
        """Largest current of a column in one read [level steps]; None: any."""
        limit = self.design.adc.current_limit
        return None if limit is None else limit / self.ampere_per_level(self.design.dac.largest)

    @cached_property
    def adc(self) -> AdcRange:
        """Codes of each column's ADC under the design's policy; step (row_tiles or 1, columns)."""
        with torch.inference_mode(False), torch.no_grad():
            adc, full_scale, lowest = self.design.adc, self.full_scale, self.lowest
            if adc.full_scale is not None:
                full_scale = torch.full_like(full_scale, adc.full_scale / self.ampere_per_level())
            if adc.full_scale_voltage is not None:
                assert self.design.device.read_voltage is not None
                steps = adc.full_scale_voltage / self.design.device.read_voltage * self.design.dac.largest
                full_scale = torch.full_like(full_scale, steps)
            if adc.lower is not None:
                lowest = torch.full_like(full_scale, adc.lower / self.ampere_per_level())
            return adc.range_for(full_scale, self.signed_current, lowest)

    @cached_property
    def is_calibrated(self) -> bool:
        """True where ranges follow the currents seen: those that are "calibrated", and "level" ones whose codes do not reach
        the largest current at one code a level."""
        adc = self.design.adc
        reaches = bool((self.largest_current() <= adc.code_range(self.signed_current)[1]).all())
        return adc.range == "calibrated" or (adc.range == "level" and not reaches)

    @cached_property
    def common_step(self) -> Tensor | None:
        """Width of a code [level steps] (1, columns) where it is the same in all row tiles and not always 1."""
        step = self.adc.step
        return None if step.shape[0] > 1 or not bool((step != 1).any()) else step

    @cached_property
    def lossless(self) -> bool:
        """True where one code is one level step and no noise-free current of whole levels can leave the codes."""
        adc, worst = self.adc, self.largest_current().to(self.full_scale.device)
        return adc.ideal or bool((adc.step == 1).all() and (worst <= adc.high).all() and adc.center == 0 and adc.origin is None)

    @cached_property
    def exact(self) -> bool:
        """True where whole levels over ideal wires give the integer products."""
        worst = float(self.largest_current().max()) / self.largest_drive * self.design.dac.largest
        limited = self.limit is not None and worst > self.limit
        divided = self.design.adc.sensing == "voltage" or self.design.adc.column_calibration == "fitted"
        return self.lossless and not divided and not self.design.dac.bow and not self.design.adc.has_errors and not limited

    @cached_property
    def _highest(self) -> float:
        """Largest that a code stands for, in steps."""
        return self.adc.high if self.adc.origin is None else self.adc.high + float(self.adc.origin.abs().max())

    def sum_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """`dtype`, or float64 where sums of codes over slices could exceed what float32 holds exactly."""
        g = self.geometry
        top = g.row_tiles * self._highest * (2.0 ** (self.design.inputs.bits + g.cell_bits * (g.slices - 1)))
        plain = g.encoding.scheme != "offset" and top < EXACT_FLOAT32 and not self.adc.ideal
        if self.design.adc.sensing == "voltage":
            return dtype
        simple = self.design.input_slices == 1 and g.slices == 1 and g.encoding.scheme != "offset"
        return dtype if plain or simple else torch.float64


def adc_errors(channel: ReadChannel, draws: Draws, layout: CrossbarLayout) -> AdcErrors | None:
    """Errors of each column's ADC in each instance, or None. Columns of a crossbar take its ADCs in turn; ADCs shared
    by crossbars are drawn for each of them."""
    adc, g, units = channel.design.adc, channel.geometry, channel.design.adc_units
    if not adc.has_errors:
        return None
    shape = (3, g.groups, g.row_tiles, g.planes, g.column_tiles, units)
    drawn = torch.stack([torch.randn(shape, generator=draws.of_adcs(seed), dtype=torch.float64) for seed in draws.seeds])
    first = slice(None, None, 2) if g.encoding.analog_pair else slice(None)
    stored = channel.geometry.outputs * channel.geometry.slices * g.encoding.polarities
    at = torch.cat([torch.arange(stored)[first], torch.arange(stored, stored + channel.references)])
    pairs = g.columns_per_output // g.conversions_per_output  # bitlines of one conversion
    unit = layout.bitline[at] // pairs % units
    per_column = drawn[..., layout.plane[at], layout.tile[at], unit].to(channel.full_scale.device)
    gain, offset, inl = (part.unsqueeze(-2) for part in per_column.unbind(1))
    inl = inl * adc.inl_sigma
    low, high, _ = adc.code_range(channel.signed_current)
    if bool((inl.abs() * torch.pi >= high - low).any()):
        raise ParameterError(f"component.adc.inl_sigma = {adc.inl_sigma} steps makes {adc.bits} bits not monotone")
    return AdcErrors(adc.gain_sigma * gain, adc.offset_sigma * offset, inl)


def read_channel(design: ArrayDesign, geometry: Geometry, signed_input: bool, most_driven: int) -> ReadChannel:
    """A channel whose ADCs reach the largest currents that their columns can give."""
    channel = ReadChannel(design, geometry, signed_input, most_driven, torch.empty(0))
    full_scale = channel.largest_current().unsqueeze(0)
    return replace(channel, full_scale=full_scale, lowest=None if design.adc.lower_percentile is None else 0 * full_scale)


def _digits(values: Tensor, weights: Sequence[float], width: int, wrap: int | None = None) -> Iterator[Tensor]:
    """Digits of `width` bits of whole numbers (two's complement of `wrap` bits where given), least significant first.

    The gradient goes to all digits alike, so that their weighted sum has the slope of `values`.
    """
    if len(weights) == 1 and wrap is None:
        yield values
        return
    whole = values.detach().to(torch.int32)
    whole = whole if wrap is None else whole & (2**wrap - 1)
    graded = values.requires_grad and torch.is_grad_enabled()
    for k, weight in enumerate(weights):
        digit = ((whole >> (width * k)) & (2**width - 1)).to(values.dtype)
        if graded:
            share = values / (len(weights) * weight)
            digit = share + (digit - share.detach())
        yield digit


def _most_own(channel: ReadChannel) -> int:
    """Inputs with weights of one column that can be driven at once."""
    layer = channel.geometry.of_layer
    return min(channel.most_driven, layer.weights + layer.biases) if layer.together > 1 else channel.most_driven


def _most_levels(channel: ReadChannel) -> Tensor:
    """Largest sum of levels on driven wordlines that each column can hold, or of the two that are subtracted, (columns,) float64."""
    g, own, top = channel.geometry, _most_own(channel), 2**channel.geometry.cell_bits - 1
    others = channel.most_driven - own  # rows of other groups, whose weights are 0
    alone = channel.design.geometry(1, 1)
    zero = map_integers(torch.zeros(1, 1, 1), torch.ones(1, 1), alone).levels.flatten(-2)[0, 0, 0, 0]  # by slice and polarity
    if g.encoding.analog_pair:
        zero = torch.zeros(g.slices, dtype=torch.float64)
    most = own * top + others * zero
    if g.encoding.flipped_columns:  # what would hold more than half of all levels is stored inverted, other groups' rows too
        half = min(g.inputs, g.inputs_per_crossbar) * top // 2
        most = torch.where(most > half, (own * top + others * torch.maximum(zero, top - zero)).clamp(max=half), most)
    return most.repeat(g.outputs)

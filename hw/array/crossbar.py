"""The analog matrix-vector product of a stack of crossbars, batched over chip instances, tiles, slices and vectors.

Currents are kept in level steps: one unit is the current of one conductance level under the smallest DAC step. What a
programmed crossbar does to voltages is linear, so wires and programming error are worked into its cells once and
every product is a matrix product. The read noise of independent cells adds up to a Gaussian on each bitline whose
variance is one more product, of squared voltages with the cells' variances.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from xbar.hw.array.converter import AdcRange
from xbar.hw.array.mapping import CrossbarLayout, MappedMatrix, map_weights, read_integers
from xbar.hw.array.nonlinear import column_currents, on_wordlines, wires_of
from xbar.hw.array.parasitics import effective_conductance, source_conductance
from xbar.hw.cells.device import Device, Programmed
from xbar.hw.cells.law import CellLaw, Linear
from xbar.hw.chip.description import Chip
from xbar.hw.errors import ParameterError
from xbar.hw.randomness import CountedNormals, generator_of, key_of

CHUNK_VALUES = 2**19  # bitline values held at once; measured best on 2 cores among 2^17 .. 2^22
OPEN = 1e-9  # of g_max: an array of open cells, next to no load on its wires
EXACT_FLOAT32 = 2**24  # whole numbers up to here are exact in float32 (IEEE 754)
CELLS, INSTANCE, TELEGRAPH, ADC, READ, LASTING = range(6)  # what a random draw is for


@dataclass
class ActionCounts:
    """What the functional model did: counted from the tensors that it worked on, not from the geometry."""

    drives: int = 0
    conversions: int = 0
    inputs: int = 0  # input values converted, each once however many vectors it is part of
    clipped_inputs: int = 0  # of them, beyond the calibrated range
    vectors: int = 0
    saturated: int = 0  # conversions beyond the codes; counted while `measure` is on


class _Array(NamedTuple):
    """Cells ready for the product, currents in ADC steps.

    cells, and variance of one read per squared voltage: (instances x groups x row_tiles, rows, columns); floor: variance
    of one read whatever is driven, offset and inl: of each column's ADC [steps] (.., 1, columns); or None. conductance [S]
    (instances x groups, row_tiles, rows, columns before pairs are joined) where currents are solved for each vector, and
    then `cells` is only their scale to ADC steps (.., 1, columns). mapped: what they hold.
    """

    mapped: MappedMatrix
    cells: Tensor
    variance: Tensor | None
    floor: Tensor | None
    offset: Tensor | None
    inl: Tensor | None
    conductance: Tensor | None


class CrossbarMatrix(nn.Module):
    """Cells programmed with one matrix, and the product of inputs with them.

    `weight` (groups, outputs, inputs) is a parameter; `program` maps it and draws chip instances; `calibrate` sets the
    range of ADCs that are calibrated; then `forward` takes whole-numbered inputs (groups, vectors, inputs), or
    (instances, groups, vectors, inputs) for several chips, to sums of products (..., groups, vectors, outputs) in units
    of (weight integer x input integer).

    largest_weight: full scale of the weights, where it is not to be taken from them; law: a current-voltage law of the
    cells that the device does not know by name. Non-linear cells and gate-selected arrays are solved for every vector.

    In training mode every forward maps the present weights and programmes fresh cells, and gradients flow to inputs
    and weights, straight through rounding and not through clipping. In evaluation mode, in which it begins, the cells
    stay as programmed; going back to it from training writes the present weights to the same chip instances.
    """

    weight: nn.Parameter
    full_scale: Tensor  # (row_tiles or 1, columns) float64, largest current of each column's ADC [level steps]
    cells: Tensor
    variance: Tensor | None
    floor: Tensor | None
    offset: Tensor | None
    inl: Tensor | None
    conductance: Tensor | None
    _lasting: tuple[int, Tensor] | None  # cells with the noise of one epoch
    _integers: Tensor | None  # the mapped weights (groups, inputs, outputs), once an exact product is asked for

    def __init__(
        self, weight: Tensor, chip: Chip, signed_input: bool, largest_weight: float | None = None,
        dtype: torch.dtype = torch.float32, law: CellLaw | None = None,
    ):  # fmt: skip
        super().__init__()
        if weight.dim() != 3:
            raise ParameterError(f"weight must be (groups, outputs, inputs), got {tuple(weight.shape)}")
        groups, outputs, inputs = weight.shape
        self.chip, self.signed_input, self.largest_weight = chip, signed_input, largest_weight
        self.geometry = chip.geometry(outputs, inputs, groups)
        self.layout = CrossbarLayout(self.geometry)
        encoding = self.geometry.encoding
        polarities = 1 if encoding.analog_pair else encoding.polarities
        self.columns = outputs * self.geometry.slices * polarities  # without references
        self.passes = chip.passes(signed_input)
        self.low, self.high = chip.inputs.integer_range(signed_input)
        self.counts = ActionCounts()
        self.fuse_when_exact = True
        self.measure = False
        self.checked = True  # False: inputs are known to be whole numbers of the DAC
        self._law = law
        self.weight = nn.Parameter(weight.detach().clone())
        self.register_buffer("full_scale", self._worst_case_current().unsqueeze(0).to(weight.device))
        held = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        for name in ("cells", "variance", "floor", "offset", "inl", "conductance"):
            self.register_buffer(name, torch.empty(0, dtype=held, device=weight.device), persistent=False)
        self.program((0,))
        self.eval()

    # ---- programming

    def program(
        self, seeds: Sequence[int], device: Device | None = None, layer: int = 0, write: int = 0,
        stuck: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Programme chip instances `seeds`, each drawn apart, on `device` or the chip's own.

        layer keeps layers' draws apart. What is fixed in a chip (stuck cells, differences between devices, errors of
        ADCs) depends on its seed and layer; what differs each time that it is written, on `write` as well. stuck: cells
        known to be stuck, in place of drawn ones: +1 at g_max, -1 at g_min, 0 works, as they lie on the crossbars
        (groups, planes, row_tiles, column_tiles, wordlines, bitlines). Raises ParameterError.
        """
        numbers = [*seeds, layer, write]
        if not seeds or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ParameterError(
                f"program needs at least one seed; seeds, layer and write are whole numbers from 0 on, got {list(seeds)}, "
                f"{layer} and {write}"
            )
        device, bits = device or self.chip.device, self.geometry.cell_bits
        if bits > device.bits:
            raise ParameterError(f"weights use {bits} bits per cell; device.levels = {device.levels} is too few")
        self.stuck = None if stuck is None else self._checked_map(stuck)
        self.device, self.seeds, self.layer, self.write = device, tuple(seeds), layer, write
        self.reads, self.time, self._lasting, self._integers, self.trained = 0, 0.0, None, None, False
        with torch.inference_mode(False), torch.no_grad():
            self.mapped = self._map()
            drawn = [self._write(self.mapped, seed, write, torch.device("cpu")) for seed in self.seeds]
            self.programmed = [_moved(cells, self.weight.device) for cells in drawn]
        self._loaded = False

    def _checked_map(self, stuck: Tensor) -> Tensor:
        """A map of stuck cells by place, int8."""
        g = self.geometry
        shape = (g.groups, g.planes, g.row_tiles, g.column_tiles, self.layout.wordlines, g.bitlines)
        if tuple(stuck.shape) != shape:
            raise ParameterError(f"stuck must be {shape}, as crossbars lie, got {tuple(stuck.shape)}")
        if not bool(((stuck == 0) | (stuck.abs() == 1)).all()):
            raise ParameterError("stuck must hold +1 (at g_max), -1 (at g_min) and 0 (works) only")
        return stuck.to("cpu", torch.int8)

    def _map(self) -> MappedMatrix:
        return map_weights(self.weight, self.geometry, self.largest_weight)

    def _write(self, mapped: MappedMatrix, seed: int, write: int, on: torch.device) -> Programmed | None:
        """The cells of one chip instance by column, drawn `on` a torch device, or None where the device is ideal."""
        if self.device.is_ideal and self.stuck is None:
            return None
        return self.device.program(
            self._target(mapped).to(on), generator_of(seed, self.layer, CELLS, write, device=on),
            generator_of(seed, self.layer, INSTANCE, device=on),
            None if self.stuck is None else self.layout.collect(self.stuck).to(on),
        )  # fmt: skip

    def _target(self, mapped: MappedMatrix) -> Tensor:
        return self.device.conductance(mapped.columns(), self.geometry.cell_bits)

    def set_time(self, seconds: float) -> None:
        """Read the cells `seconds` after programming from now on: drift moves them, their noise may grow."""
        if not 0 <= seconds < float("inf"):
            raise ParameterError(f"time must be 0 s or more and finite, got {seconds}")
        self.time, self._lasting, self._loaded = seconds, None, False

    def _load(self) -> None:
        """Cells as they are now, as the product needs them; on first use after a change, because wires take a while."""
        if self._loaded:
            return
        with torch.inference_mode(False), torch.no_grad():
            array = self._cast(self._array(self.mapped, self.programmed))
        for name in ("cells", "variance", "floor", "offset", "inl", "conductance"):
            setattr(self, name, getattr(array, name))
        self._loaded = True

    def conductances(self) -> Tensor:
        """Conductances of the cells now [S], by column (instances, groups, row_tiles, rows, columns) float64."""
        return self._conductances(self.mapped, self.programmed)

    def crossbar_conductances(self) -> Tensor:
        """The same as the cells lie on the crossbars [S] (instances, groups, planes, row_tiles, column_tiles,
        wordlines, bitlines) float64: what `xbar.hw.array.parasitics` solves and `xbar.hw.array.spice` writes."""
        return self.layout.place(self.conductances(), self.device.g_min)

    def _conductances(self, mapped: MappedMatrix, programmed: Sequence[Programmed | None]) -> Tensor:
        target = self._target(mapped)
        seeds = self.seeds[: len(programmed)]
        now = [
            target if cells is None else self.device.conductance_at(cells, self.time, self._telegraph(seed))
            for cells, seed in zip(programmed, seeds, strict=True)
        ]
        return torch.stack(now)

    def _telegraph(self, seed: int) -> torch.Generator:
        return generator_of(seed, self.layer, TELEGRAPH, self.write, device=self.weight.device)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As of any module; what is not a buffer follows the weights to another torch device."""
        before, full_scale = self.weight.device, self.full_scale
        super()._apply(fn, recurse)
        self.full_scale = full_scale.to(self.weight.device)  # a range keeps its precision
        if self.cells.dtype not in (torch.float32, torch.float64):
            self.cells, self._loaded = torch.empty(0, device=self.weight.device), False
        if self.weight.device != before:
            with torch.no_grad():
                self.mapped = self._map()
            self.programmed = [_moved(cells, self.weight.device) for cells in self.programmed]
        self._lasting = self._integers = None
        return self

    def train(self, mode: bool = True) -> Self:
        """As of any module; after training, evaluation begins with the present weights written to the chip."""
        super().train(mode)
        if not mode and self.trained:
            self.program(self.seeds, self.device, self.layer, self.write + 1, self.stuck)
        return self

    def _array(
        self, mapped: MappedMatrix, programmed: Sequence[Programmed | None], with_errors: bool = True
    ) -> _Array:
        """The cells of each instance (None: cells at their targets), currents in steps of the ADC; with_errors: with read
        noise, and with the errors of ADCs."""
        g, device = self.geometry, self.device
        level = device.level_step(g.cell_bits)
        per_step = self._adc_step()  # (row_tiles or 1, columns)
        variance = floor = None
        conductance = self._conductances(mapped, programmed).flatten(0, 1) if self._solved else None
        at_targets = all(cells is None for cells in programmed)
        if at_targets and self.chip.wires.ideal and not self._solved:
            columns = mapped.columns()
            columns = columns + self._g_min_levels if self._g_min_levels else columns
            cells = self._join(columns.unsqueeze(0), subtract=True).expand(len(programmed), *[-1] * 4)
        else:
            held = self._conductances(mapped, programmed)
            seen = held if self._solved else self._through_wires(held)
            base = device.g_min if g.encoding.g_min_current == "cancelled" else 0.0
            cells = self._join((seen - base) / level, subtract=True)
            if device.has_read_noise and with_errors:
                written = [self._target(mapped) if each is None else each.conductance for each in programmed]
                read = device.read_variance(held.detach(), torch.stack(written).detach(), self.time, bandwidth=0.0)
                variance = self._join(read * (self._noise_share(held) / level) ** 2, subtract=False)
                floor = self._thermal_floor(held.detach())
        gain, offset, inl = self._adc_errors() if with_errors else (0.0, None, None)
        scale = (1 + gain) / per_step.unsqueeze(1)  # (..., row_tiles, 1, columns)
        cells = (torch.ones_like(cells[..., :1, :]) if self._solved else cells) * scale
        cells = cells.flatten(0, 2)
        variance = None if variance is None else (variance * scale**2).flatten(0, 2)
        floor = None if floor is None else (floor * scale**2).flatten(0, 2)
        flat = [None if error is None else error.flatten(0, 2) for error in (offset, inl)]
        return _Array(mapped, cells, variance, floor, flat[0], flat[1], conductance)

    def _thermal_floor(self, held: Tensor) -> Tensor | None:
        """Variance [level steps²] that the thermal noise of all cells of a column adds to a read, whatever is driven,
        (instances, groups, row_tiles, 1, columns); Nyquist's 4 k T G bandwidth is a current, free of the voltage."""
        device = self.device
        if device.temperature is None or not device.read_bandwidth:
            return None
        both = device.read_variance(held, held, self.time) - device.read_variance(held, held, self.time, bandwidth=0.0)
        at_one_step = (self.chip.component.dac.largest / device.level_step(self.geometry.cell_bits)) ** 2
        return self._join(both * at_one_step, subtract=False).sum(-2, keepdim=True)

    def _join(self, columns: Tensor, subtract: bool) -> Tensor:
        """Per column (..., columns), with pairs whose currents meet before the ADC joined into one."""
        if not self.geometry.encoding.analog_pair:
            return columns
        pairs = columns.unflatten(-1, (-1, 2))
        return pairs[..., 0] - pairs[..., 1] if subtract else pairs.sum(-1)

    def _through_wires(self, conductance: Tensor) -> Tensor:
        """Effective conductances (..., columns): those that would give the same currents over ideal wires."""
        if self.chip.wires.ideal:
            return conductance
        with torch.no_grad():
            placed = self.layout.place(conductance.detach(), self.device.g_min)
            seen = self.layout.collect(self._effective(placed))
        return conductance + (seen - conductance.detach())

    def _noise_share(self, conductance: Tensor) -> Tensor | float:
        """What is left of a cell's noise at the sense amplifier, by its place: effective over own conductance in an array
        whose cells all have its mean conductance. (A cell's own ratio tells nothing where it holds little, since its
        effective conductance is then mostly what passes through its neighbours.)"""
        if self._solved or self.chip.wires.ideal:
            return 1.0
        placed = self.layout.place(conductance.detach(), self.device.g_min)
        mean = placed.mean((-1, -2), keepdim=True).expand_as(placed).clamp(min=OPEN * self.device.g_max)
        return self.layout.collect(self._effective(mean) / mean)

    def _effective(self, placed: Tensor) -> Tensor:
        return effective_conductance(placed, wires_of(self.chip.wires), self.geometry.wordlines_per_input)

    @property
    def law(self) -> CellLaw:
        """Current-voltage law of the cells."""
        return self._law or self.device.law

    @property
    def _solved(self) -> bool:
        """True where currents are no fixed matrix times the voltages."""
        gated = self.chip.wires.topology == "gate_selected" and not self.chip.wires.ideal
        return gated or not isinstance(self.law, Linear)

    @property
    def _g_min_levels(self) -> float:
        """Level steps that g_min adds to every cell as the ADC sees it."""
        if self.geometry.encoding.g_min_current == "cancelled":
            return 0.0
        return self.device.g_min / self.device.level_step(self.geometry.cell_bits)

    def programmed_mean(self, what: str) -> float:
        """Mean over chip instances of a figure of `xbar.hw.cells.device.Programmed`, such as "stuck_share" or "pulses"; 0 for
        ideal cells."""
        return sum(0.0 if cells is None else float(getattr(cells, what)) for cells in self.programmed) / len(self.seeds)

    # ---- ADC

    def _worst_case_current(self) -> Tensor:
        """Largest |current| that each column can give with ideal cells and wires [level steps], (columns,)."""
        g, device, bits = self.geometry, self.chip.device, self.geometry.cell_bits
        held = min(g.inputs, g.inputs_per_crossbar)
        rows = self._most_driven
        top, drive = 2**bits - 1, self._largest_drive
        levels = min(rows * top, held * top // 2) if g.encoding.flipped_columns else rows * top
        beneath = rows * device.g_min / device.level_step(bits) if g.encoding.g_min_current == "converted" else 0.0
        beneath = 0.0 if g.encoding.analog_pair else beneath
        reference = rows * g.reference_level if g.reference_columns else 0
        return torch.cat([
            torch.full((self.columns,), (levels + beneath) * drive, dtype=torch.float64),
            torch.full((g.column_tiles * g.reference_columns,), (reference + beneath) * drive, dtype=torch.float64),
        ])  # fmt: skip

    @property
    def _most_driven(self) -> int:
        """Inputs of one crossbar that can be driven at once."""
        return min(self.geometry.inputs, self.geometry.inputs_per_crossbar)

    @property
    def _largest_drive(self) -> int:
        """Largest input of one conversion, in the smallest DAC steps."""
        if self.chip.component.adc.conversion == "after_accumulation":
            return self.high
        return self.chip.component.dac.largest

    def set_full_scale(self, current: Tensor | float) -> None:
        """Set the largest current of each ADC [A] (at the device's read voltage): one for all or one a weight slice,
        most significant first. Raises ParameterError where the device names no read voltage, and for other numbers."""
        given = torch.as_tensor(current, dtype=torch.float64).flatten()
        if len(given) not in (1, self.geometry.slices) or not bool(((given > 0) & torch.isfinite(given)).all()):
            raise ParameterError(
                f"full scale must be one current or {self.geometry.slices}, above 0 A and finite, got {given.tolist()}"
            )
        self._set_slices(given / self._ampere_per_level())

    def _ampere_per_level(self) -> float:
        if self.chip.device.read_voltage is None:
            raise ParameterError("device.read_voltage is not given: a current range in ampere needs it")
        return self.chip.device.read_voltage * self.chip.device.level_step(self.geometry.cell_bits) / self._largest_drive

    def _set_slices(self, full_scale: Tensor) -> None:
        """Full scale [level steps] for all columns, of one value or one a slice; references as the top slice."""
        g = self.geometry
        per_slice = full_scale.expand(g.slices)
        polarities = self.columns // (g.outputs * g.slices)
        columns = per_slice.repeat_interleave(polarities).repeat(g.outputs)
        references = per_slice[:1].expand(g.column_tiles * g.reference_columns)
        self.full_scale = torch.cat([columns, references]).unsqueeze(0).to(self.full_scale.device)
        self._loaded = False

    def adc_range(self) -> AdcRange:
        """Codes of each column's ADC under the chip's policy; step (row_tiles or 1, columns)."""
        adc, full_scale = self.chip.component.adc, self.full_scale
        if adc.full_scale is not None:
            full_scale = torch.full_like(full_scale, adc.full_scale / self._ampere_per_level())
        return adc.range_for(full_scale, self.signed_current)

    @property
    def signed_current(self) -> bool:
        """True where the current of a column can have either sign."""
        return self.chip.signed_current(self.signed_input)

    def _adc_step(self) -> Tensor:
        return self.adc_range().step

    def _adc_errors(self) -> tuple[Tensor | float, Tensor | None, Tensor | None]:
        """Relative gain error, offset and INL amplitude [steps] of each column's ADC: (instances, groups, row_tiles,
        1, columns), or 0 and None. Columns of a crossbar take its ADCs in turn; ADCs shared by crossbars are drawn for
        each of them."""
        adc, g = self.chip.component.adc, self.geometry
        if not adc.has_errors:
            return 0.0, None, None
        units = max(1, adc.units // self.chip.structure.crossbars_per_core)
        shape = (3, g.groups, g.row_tiles, g.planes, g.column_tiles, units)
        drawn = torch.stack([
            torch.randn(shape, generator=generator_of(seed, self.layer, ADC), dtype=torch.float64) for seed in self.seeds
        ]).to(self.weight.device)  # fmt: skip
        first = slice(None, None, 2) if g.encoding.analog_pair else slice(None)
        references = self.layout.plane.shape[0] - g.column_tiles * g.reference_columns
        at = torch.cat([torch.arange(references)[first], torch.arange(references, self.layout.plane.shape[0])])
        pairs = g.columns_per_output // g.conversions_per_output  # bitlines of one conversion
        unit = self.layout.bitline[at] // pairs % units
        per_column = drawn[..., self.layout.plane[at], self.layout.tile[at], unit]
        gain, offset, inl = (part.unsqueeze(-2) for part in per_column.unbind(1))
        inl = inl * adc.inl_sigma
        low, high, _ = adc.code_range(self.signed_current)
        if bool((inl.abs() * torch.pi >= high - low).any()):
            raise ParameterError(f"component.adc.inl_sigma = {adc.inl_sigma} steps makes {adc.bits} bits not monotone")
        return adc.gain_sigma * gain, adc.offset_sigma * offset, inl

    def calibrate(self, inputs: Tensor, as_programmed: bool = False) -> float:
        """Set the full scale of "calibrated" ADCs from whole-numbered `inputs` (groups, vectors, inputs): the chip's
        percentile of |current| per weight slice, with ideal cells on the chip's wires, or with the first instance's
        cells as they are now. Returns the share of conversions that would saturate, whatever the policy."""
        cells = self.programmed[:1] if as_programmed else [None]
        if inputs.dim() != 3 or not inputs.shape[1]:
            raise ParameterError(f"inputs must be (groups, vectors, inputs), one vector or more, got {tuple(inputs.shape)}")
        self._check_inputs(inputs)
        with torch.inference_mode(False), torch.no_grad():
            array = self._cast(self._array(self.mapped, cells, with_errors=False))
            step = self._adc_step().to(self.cells.dtype)
            by_tile: list[list[Tensor]] = [[] for _ in range(self.geometry.row_tiles)]
            for tile, current, _ in self._currents(inputs.to(self.cells.dtype), array, None):
                by_tile[tile].append(current * step[tile % len(step)])
            return self._set_range([torch.stack(each) for each in by_tile])

    def _set_range(self, currents: Sequence[Tensor]) -> float:
        """Set the full scale of "calibrated" ADCs from the currents of each row tile (..., columns) [level steps]; the
        share of them that would saturate."""
        if self.chip.component.adc.range == "calibrated":
            self.full_scale = self._percentile([current.abs() for current in currents]).to(self.full_scale)
            self._loaded = False
        adc, step = self.adc_range(), self._adc_step()
        saturated = sum(adc.saturated(current / step[tile % len(step)]) for tile, current in enumerate(currents))
        return saturated / sum(current.numel() for current in currents)

    def _percentile(self, magnitudes: Sequence[Tensor]) -> Tensor:
        """Percentile of the magnitudes of each row tile (..., columns) per weight slice, over the layer or each
        crossbar, spread to (row_tiles or 1, columns); references have one of their own."""
        g, adc = self.geometry, self.chip.component.adc
        per_crossbar = adc.range_per == "crossbar"
        polarities = self.columns // (g.outputs * g.slices)
        column = torch.arange(self.columns)
        slice_of = column // polarities % g.slices
        tile_of = column // (polarities * g.slices) // g.outputs_per_crossbar
        kind = torch.cat([slice_of, torch.full((g.column_tiles * g.reference_columns,), g.slices)])
        tile = torch.cat([tile_of, torch.arange(g.column_tiles * g.reference_columns)])
        kind = kind + (g.slices + 1) * tile if per_crossbar else kind
        rows = magnitudes if per_crossbar else [torch.cat([each.flatten(0, -2) for each in magnitudes])]
        out = torch.ones(len(rows), rows[0].shape[-1], dtype=torch.float64, device=rows[0].device)
        for row, part in enumerate(rows):
            for each in kind.unique().tolist():
                values = part[..., kind == each].flatten()
                rank = max(1, -int(-adc.percentile * values.numel() // 1))
                floor = 1.0 if adc.finest == "level" else 1e-12
                out[row, kind == each] = values.kthvalue(rank).values.double().clamp(min=floor)
        return out

    @property
    def lossless(self) -> bool:
        """True where one code is one level step and no noise-free current can leave the codes."""
        adc, worst = self.adc_range(), self._worst_case_current().to(self.full_scale.device)
        if adc.ideal:
            return True
        return bool((adc.step == 1).all() and (worst <= adc.high).all() and adc.center == 0 and not self._g_min_levels)

    @property
    def exact(self) -> bool:
        """True where the product equals the integer product: ideal cells, wires and drivers, and a lossless ADC."""
        chip = self.chip
        plain = chip.wires.ideal and not chip.component.dac.bow and not chip.component.adc.has_errors
        return self.device.is_ideal and self.stuck is None and not self._solved and plain and self.lossless

    # ---- product

    def forward(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """Sums of products (..., groups, vectors, outputs) of whole-numbered `inputs` (..., groups, vectors, inputs),
        with one leading dimension for several instances; float64 where the product is exact. unit: the input value that
        the integer 1 stands for, one or (instances,); with it sums are in units of weight x input value."""
        count = len(self.seeds)
        if inputs.dim() not in (3, 4) or (inputs.dim() == 3 and count > 1) or (inputs.dim() == 4 and inputs.shape[0] != count):
            raise ParameterError(f"inputs must be ({count} instances, groups, vectors, inputs), got {tuple(inputs.shape)}")
        self._check_inputs(inputs)
        training = self.training
        if training and self._solved:
            raise ParameterError("cells that are solved for each vector have no gradient: train on linear, row-driven ones")
        if self.exact and self.fuse_when_exact and not training:
            per_column = self.chip.conversions_per_column(self.signed_input)
            self._count(inputs.shape, inputs.shape[-2] * per_column * self._tiles * self.full_scale.shape[1])
            self.reads += inputs.shape[-2]
            return self.exact_product(inputs, unit)
        values = inputs.to(self.cells.dtype).reshape(-1, *inputs.shape[-2:])
        array = self._train_array() if training else self._programmed_array()
        scale = self._scale(array.mapped, unit)
        parts = self._chunks(inputs.shape[-2])
        if torch.is_grad_enabled() and (training or inputs.requires_grad):
            products = [self._product(values[:, part], array, self.reads + part.start, scale) for part in parts]
            product = torch.cat(products, dim=1)
        else:
            product = self._fill_product(values, array, scale, list(parts))
        self.reads += inputs.shape[-2]
        return product.view(*inputs.shape[:-1], self.geometry.outputs)

    def _check_inputs(self, inputs: Tensor) -> None:
        """Raise ParameterError for another shape, or for values that the DAC has no code for."""
        g = self.geometry
        if (inputs.shape[-3], inputs.shape[-1]) != (g.groups, g.inputs):
            raise ParameterError(f"inputs must be (..., {g.groups}, vectors, {g.inputs}), got {tuple(inputs.shape)}")
        if not self.checked or not inputs.numel():
            return
        smallest, largest = (float(end) for end in torch.aminmax(inputs.detach()))
        whole = not self.chip.inputs.quantise or bool((inputs.detach() == inputs.detach().round()).all())
        if not (self.low <= smallest and largest <= self.high and whole):
            raise ParameterError(
                f"inputs must be {'whole numbers' if self.chip.inputs.quantise else 'values'} from {self.low} to {self.high}, "
                f"got {smallest} to {largest}"
            )

    def _scale(self, mapped: MappedMatrix, unit: Tensor | None) -> Tensor | None:
        """What sums are multiplied by, (instances x groups, 1, outputs)."""
        if unit is None:
            return None
        per_instance = unit.expand(len(self.seeds)).view(-1, 1, 1, 1)
        return (per_instance * mapped.scale.unsqueeze(1)).flatten(0, 1)

    def _fill_product(self, values: Tensor, array: _Array, scale: Tensor | None, parts: Sequence[slice]) -> Tensor:
        """The products of all `parts`, written to one tensor."""
        first = self._product(values[:, parts[0]], array, self.reads, scale)
        if len(parts) == 1:
            return first
        product = first.new_empty(first.shape[0], values.shape[1], first.shape[2])
        product[:, parts[0]] = first
        for part in parts[1:]:
            self._product(values[:, part], array, self.reads + part.start, scale, product[:, part])
        return product

    @property
    def _tiles(self) -> int:
        """Row tiles of all instances and groups."""
        return len(self.seeds) * self.geometry.groups * self.geometry.row_tiles

    def _programmed_array(self) -> _Array:
        self._load()
        return _Array(self.mapped, self.cells, self.variance, self.floor, self.offset, self.inl, self.conductance)

    def exact_product(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """What `forward` would give of an ideal chip, float64: the product with the weights as they were mapped."""
        integers = self._mapped_integers()
        product = torch.matmul(inputs.to(integers.dtype), integers).double()
        scale = self._scale(self.mapped, unit)
        return product if scale is None else product * scale.view(*product.shape[:-2], 1, -1)

    def _mapped_integers(self) -> Tensor:
        """The weights as they were mapped (groups, inputs, outputs), in float32 where sums of products are exact in it."""
        if self._integers is None:
            with torch.inference_mode(False), torch.no_grad():
                integers = read_integers(self.mapped).transpose(1, 2)
                largest = float(integers.abs().sum(1).max()) * self.high  # of a sum
                whole = self.geometry.encoding.quantise and self.chip.inputs.quantise
                self._integers = integers.to(torch.float32 if whole and largest < EXACT_FLOAT32 else torch.float64)
        return self._integers

    def _train_array(self) -> _Array:
        """Cells of the present weights, written anew."""
        self.write, self.trained = self.write + 1, True
        mapped = self._map()
        array = self._array(mapped, [self._write(mapped, seed, self.write, self.weight.device) for seed in self.seeds])
        return self._cast(array)

    def _cast(self, array: _Array) -> _Array:
        """The array in the dtype of the product."""
        return _Array(array.mapped, *(None if part is None else part.to(self.cells.dtype) for part in array[1:]))  # type: ignore[arg-type]

    def _chunks(self, vectors: int) -> Iterator[slice]:
        """Runs of vectors whose bitline values fit CHUNK_VALUES and whose noise is of one time."""
        longest = max(1, CHUNK_VALUES * self.geometry.row_tiles // (self._tiles * self.full_scale.shape[1]))
        epoch = self._epoch_vectors
        start = 0
        while start < vectors or start == 0:
            stop = min(vectors, start + longest)
            if epoch is not None:
                stop = min(stop, start + epoch - (self.reads + start) % epoch)
            yield slice(start, stop)
            start = max(stop, 1)

    @property
    def _epoch_vectors(self) -> int | None:
        """Vectors that see the same read noise, from the device's correlation time; None where each read has its own."""
        if not (self.device.has_read_noise and self.device.read_correlation_time):
            return None
        streams = self.chip.input_slices * self.passes
        return max(1, round(min(self.device.read_correlation_time / (streams * self.chip.timing.array_read), 2**62)))

    def _at_this_time(self, array: _Array, vector: int) -> _Array:
        """The cells as noise that lasts between reads has them now; no noise of single reads then."""
        length = self._epoch_vectors
        if length is None or array.variance is None:
            return array
        epoch = vector // length
        if self._lasting is not None and self._lasting[0] == epoch and not self.training:
            return array._replace(cells=self._lasting[1], variance=None)
        units, rows, columns = array.cells.shape
        normal = torch.empty(units, 1, rows * columns, dtype=array.cells.dtype, device=array.cells.device)
        self._fill(normal, epoch, LASTING)
        cells = array.cells + normal.view_as(array.cells) * array.variance.sqrt()
        if not self.training:
            self._lasting = epoch, cells.detach()
        return array._replace(cells=cells, variance=None)

    def _fill(self, normal: Tensor, first: int, what: int, stream: int = 0, tile: int = 0) -> None:
        """Normals (instances x units, vectors, columns) for vectors from `first` on, each instance's its own."""
        units = normal.shape[0] // len(self.seeds)
        for instance, seed in enumerate(self.seeds):
            normals = CountedNormals(key_of(seed, self.layer, what, self.write, stream, tile), units, normal.shape[2])
            normals.fill(normal[instance * units : (instance + 1) * units], first)

    def _of_tile(self, values: Tensor, tile: int) -> Tensor:
        """The inputs (.., vectors, rows) of a row tile of (.., vectors, inputs)."""
        first = tile * self.geometry.inputs_per_crossbar
        return values[..., first : first + self.geometry.inputs_of(tile)]

    def _streams(self, values: Tensor) -> Iterator[tuple[Tensor, float]]:
        """DAC codes of `values` slice by slice, least significant first, and the weight of each."""
        inputs, width = self.chip.inputs, self.chip.component.dac.bits
        count = self.chip.input_slices
        weights = [2.0 ** (width * k) for k in range(count)]
        if inputs.signed == "twos_complement":
            weights[-1] = -weights[-1]
            yield from zip(_digits(values % 2**inputs.bits if count == 1 else values, weights, width, inputs.bits), weights, strict=True)
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

    def _currents(self, values: Tensor, array: _Array, first: int | None) -> Iterator[tuple[int, Tensor, float]]:
        """(row tile, currents [ADC steps] (instances x groups, vectors, columns), weight) of each conversion of `values`
        (instances x groups, vectors, inputs). first: number of the first vector, for read noise; None is without."""
        tiles, count = self.geometry.row_tiles, self.chip.input_slices
        accumulated: list[Tensor | None] = [None] * tiles
        for stream, (codes, weight) in enumerate(self._streams(values)):
            voltage = self.chip.component.dac.voltage(codes)
            solved = None if array.conductance is None else self._solve(voltage, array)
            for tile in range(tiles):
                current = self._current(self._of_tile(voltage, tile), array, tile, solved)
                current = self._with_read_noise(current, self._of_tile(voltage, tile), array, tile, first, stream)
                if self.chip.reads_per_conversion == 1:
                    yield tile, current, weight
                    continue
                sign = -1.0 if self.passes == 2 and stream >= count else 1.0
                so_far, current = accumulated[tile], current * (sign * weight)
                accumulated[tile] = current = current if so_far is None else so_far + current
                if stream % count == count - 1:
                    yield tile, current, sign
                    accumulated[tile] = None

    def _current(self, voltage: Tensor, array: _Array, tile: int, solved: Tensor | None) -> Tensor:
        """Currents [ADC steps] of one read of a row tile at `voltage` (instances x groups, vectors, rows)."""
        if solved is not None:
            return solved[:, tile]
        tiles, rows = self.geometry.row_tiles, voltage.shape[-1]
        if len(array.cells) == tiles:
            return torch.mm(voltage[0], array.cells[tile, :rows]).unsqueeze(0)
        return torch.bmm(voltage, array.cells[tile::tiles, :rows])

    def _with_read_noise(
        self, current: Tensor, voltage: Tensor, array: _Array, tile: int, first: int | None, stream: int
    ) -> Tensor:
        """The currents with the noise of one read, in place where no gradient is asked for."""
        if array.variance is None or first is None:
            return current
        with torch.no_grad():
            tiles = self.geometry.row_tiles
            spread = torch.bmm(voltage.square(), array.variance[tile::tiles, : voltage.shape[-1]])
            spread = (spread if array.floor is None else spread.add_(array.floor[tile::tiles])).sqrt_()
            normal = torch.empty_like(spread)
            self._fill(normal, first, READ, stream, tile)
        if current.requires_grad:
            return current + spread * normal
        return current.addcmul_(spread, normal)

    def _solve(self, voltage: Tensor, array: _Array) -> Tensor:
        """Currents [ADC steps] (instances x groups, row_tiles, vectors, columns) of cells that are solved for each
        vector; voltage in DAC steps (instances x groups, vectors, inputs)."""
        g, device = self.geometry, self.device
        if device.read_voltage is None:
            raise ParameterError("device.read_voltage is not given: cells that are not linear need it")
        if voltage.requires_grad:
            raise ParameterError("currents that are solved for each vector have no gradient")
        assert array.conductance is not None
        unit = device.read_voltage / self.chip.component.dac.largest
        tiles = self._tiled(voltage.double())
        current = column_currents(
            self.layout, array.conductance.double(), tiles * unit, self.chip.wires, self.law, device.g_min
        )
        levels = current / (unit * device.level_step(g.cell_bits))
        if g.encoding.g_min_current == "cancelled" and not g.encoding.shared_bitline:
            levels = levels - device.g_min / device.level_step(g.cell_bits) * tiles.sum(-1, keepdim=True)
        joined = self._join(levels, subtract=not g.encoding.shared_bitline)
        return (joined * array.cells.unflatten(0, (-1, g.row_tiles))).to(self.cells.dtype)

    def _tiled(self, values: Tensor) -> Tensor:
        """(instances x groups, vectors, inputs) as (instances x groups, row_tiles, vectors, rows), 0 where a tile has
        fewer inputs."""
        g = self.geometry
        rows = min(g.inputs, g.inputs_per_crossbar)
        padded = nn.functional.pad(values, (0, g.row_tiles * rows - g.inputs))
        return padded.unflatten(2, (g.row_tiles, rows)).transpose(1, 2)

    def _product(
        self, values: Tensor, array: _Array, first: int, scale: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Sums of products (instances x groups, vectors, outputs) of `values` (instances x groups, vectors, inputs),
        times `scale` (instances x groups, 1, outputs), in `out` where no gradient is asked for. first: number of the
        first vector."""
        adc = self.adc_range()
        array = self._at_this_time(array, first)
        total: Tensor | None = None
        conversions = 0
        wide = self._sum_dtype(adc)
        for tile, current, weight in self._currents(values, array, first):
            codes = self._digitise(current, array, adc, tile)
            conversions += codes.numel()
            codes = self._as_summed(codes, adc, tile, array.mapped).to(wide)
            if total is None:
                total = codes if weight == 1 else codes * weight
            else:
                total = total.add(codes, alpha=weight) if total.requires_grad else total.add_(codes, alpha=weight)
        assert total is not None
        self._count(values.shape, conversions)
        return self._combine(total, lambda: self._tile_sums(values), array.mapped, scale, out)

    def _tile_sums(self, values: Tensor) -> Tensor:
        """Summed inputs of each row tile (instances x groups, vectors, row_tiles) float64."""
        sums = [self._of_tile(values, tile).double().sum(-1) for tile in range(self.geometry.row_tiles)]
        return torch.stack(sums, dim=-1)

    def _digitise(self, current: Tensor, array: _Array, adc: AdcRange, tile: int) -> Tensor:
        tiles = self.geometry.row_tiles
        errors = (None if error is None else error[tile::tiles] for error in (array.offset, array.inl))
        current = adc.distorted(current, *errors)
        if self.measure:
            self.counts.saturated += adc.saturated(current)
        return adc.convert(current)

    def _as_summed(self, codes: Tensor, adc: AdcRange, tile: int, mapped: MappedMatrix) -> Tensor:
        """Codes of a row tile as they are added to those of others: in level steps where the step differs between
        tiles, columns stored flipped with the other sign."""
        if adc.step.shape[0] > 1:
            codes = codes * adc.step[tile].to(codes.dtype)
        if not self.geometry.encoding.flipped_columns:
            return codes
        sign = 1.0 - 2.0 * mapped.flipped[:, tile].flatten(1).to(codes.dtype)  # (groups, columns)
        sign = nn.functional.pad(sign, (0, codes.shape[-1] - sign.shape[-1]), value=1.0)
        return codes * sign.repeat(len(self.seeds), 1).unsqueeze(1)

    def _sum_dtype(self, adc: AdcRange) -> torch.dtype:
        """float64 where sums of codes over slices could exceed what float32 holds exactly."""
        g = self.geometry
        top = g.row_tiles * adc.high * (2.0 ** (self.chip.inputs.bits + g.cell_bits * (g.slices - 1)))
        plain = g.encoding.scheme != "offset" and top < EXACT_FLOAT32 and not adc.ideal
        simple = self.chip.input_slices == 1 and g.slices == 1 and g.encoding.scheme != "offset"
        return self.cells.dtype if plain or simple else torch.float64

    def _combine(
        self, total: Tensor, tile_sums: Callable[[], Tensor], mapped: MappedMatrix, scale: Tensor | None,
        out: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Digital arithmetic after the ADCs: columns (instances x groups, vectors, columns) to outputs. tile_sums: gives
        the summed inputs of each row tile (instances x groups, vectors, row_tiles) float64."""
        g, step = self.geometry, self._adc_step()
        factor = None if step.shape[0] > 1 or not bool((step != 1).any()) else step
        correction = self._correction(mapped)
        if self.columns == g.outputs and correction is None and not g.reference_columns:
            factor = scale if factor is None else factor if scale is None else factor * scale
            total = total if factor is None else torch.mul(total, factor.to(total.dtype), out=out)
            return total if out is None else _put(total, out)
        total = total if factor is None else total * factor.to(total.dtype)
        stored = total[..., : self.columns]
        if self.columns != g.outputs:
            stored = stored.unflatten(-1, (g.outputs, g.slices, -1))
            stored = stored[..., 0] - stored[..., 1] if stored.shape[-1] == 2 else stored[..., 0]
            stored = stored @ mapped.slice_weight.to(stored)
        if correction is not None:
            per_tile = tile_sums()
            stored = stored + per_tile @ correction.repeat(per_tile.shape[0] // g.groups, 1, 1).to(per_tile)
        if g.reference_columns:
            tile_of_output = torch.arange(g.outputs, device=total.device) // g.outputs_per_crossbar
            reference = total[..., self.columns :] * mapped.slice_weight[0].to(total)
            stored = stored - reference[..., tile_of_output]
        stored = stored if scale is None else stored * scale.to(stored.dtype)
        return stored if out is None else _put(stored, out)

    def _correction(self, mapped: MappedMatrix) -> Tensor | None:
        """What is added digitally per unit of a row tile's summed inputs, (groups, row_tiles, outputs) float64: the
        offset of stored weights, columns stored flipped, converted g_min current; None where nothing is."""
        g = self.geometry
        if g.encoding.scheme != "offset":
            return None
        base, weight = self._g_min_levels, mapped.slice_weight.to(mapped.levels.device)
        flip = mapped.flipped.double()
        correction = (flip * (2**g.cell_bits - 1) - (1 - 2 * flip) * base) @ weight
        if g.reference_columns:
            return correction + base * weight[0]
        return correction - g.encoding.offset

    def _count(self, shape: Sequence[int], conversions: int) -> None:
        """Add the actions of inputs of `shape` (..., groups, vectors, inputs): each value drives the wordlines of
        every crossbar that hold part of its outputs, per slice and pass. Of several instances, their sum."""
        g, streams = self.geometry, self.chip.input_slices * self.passes
        values = 1
        for size in shape:
            values *= size
        self.counts.vectors += values // (g.groups * g.inputs)
        self.counts.conversions += conversions
        self.counts.drives += values * streams * g.column_tiles * g.planes * g.wordlines_per_input

    # ---- energy

    def read_energy(self, inputs: Tensor) -> float:
        """Mean energy of the array reads of one vector [J] over whole-numbered `inputs` (groups, vectors, inputs).

        E = V² G t per cell and slice (Joule's law) at the target conductances of all cells on driven wordlines, or with
        wire resistance the power that the sources give, V^T M V; V is the read voltage times the DAC's fraction, t the
        array read time. Raises ParameterError where the device names no read voltage.
        """
        if self.device.read_voltage is None:
            raise ParameterError("device.read_voltage is not given: the published figure per read applies")
        g = self.geometry
        unit = self.device.read_voltage / self.chip.component.dac.largest
        dac, target = self.chip.component.dac, self._target(self.mapped)
        power = torch.zeros((), dtype=torch.float64)
        if self.chip.wires.ideal:
            per_wordline = self.layout.place(target, self.device.g_min).sum((1, 3, 5))  # (groups, row_tiles, wordlines)
            for values, share in self._driven(inputs):
                for codes, _ in self._streams(values):
                    driven = on_wordlines(self.layout, self._tiled(dac.voltage(codes) * unit))
                    power += share * (driven.square().mean(2) * per_wordline).sum()
            return float(power) * self.chip.timing.array_read
        if self.chip.wires.topology == "gate_selected":
            raise ParameterError("the energy of reads from the cells' own currents needs wires.topology = row_driven")
        placed = self.layout.place(target, self.device.g_min)
        seen = source_conductance(placed, wires_of(self.chip.wires), g.wordlines_per_input).sum((1, 3))
        for values, share in self._driven(inputs):
            for codes, _ in self._streams(values):
                driven = on_wordlines(self.layout, self._tiled(dac.voltage(codes) * unit))
                power += share * torch.einsum("gtvi,gtij,gtvj->", driven, seen, driven) / driven.shape[2]
        return float(power) * self.chip.timing.array_read

    def _driven(self, inputs: Tensor) -> Iterator[tuple[Tensor, float]]:
        """`inputs` as vectors of the DAC (groups, vectors, inputs) float64 in parts, and each part's share of them."""
        yield inputs.double(), 1.0

    # ---- state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As of any module; takes over for how many row tiles ranges were set."""
        given = state_dict.get(f"{prefix}full_scale")
        if given is not None and given.shape[1:] == self.full_scale.shape[1:]:
            self.full_scale = self.full_scale.new_ones(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def get_extra_state(self) -> dict[str, Any]:
        """What the cells follow from, besides weights and ranges."""
        return {
            "signed_input": self.signed_input, "device": self.device.model_dump_json(), "seeds": list(self.seeds), "layer": self.layer,
            "write": self.write, "reads": self.reads, "time": self.time, "stuck": self.stuck,
        }  # fmt: skip

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Programme the same chip instances again from the loaded weights and ranges."""
        if state["signed_input"] != self.signed_input:
            raise ParameterError(
                f"the state is of inputs that were {'' if state['signed_input'] else 'not '}signed when it was calibrated, "
                "this matrix of others"
            )
        device = Device.model_validate_json(state["device"])
        self.program(state["seeds"], device, state["layer"], state["write"], state["stuck"])
        if state["time"]:
            self.set_time(state["time"])
        self.reads = state["reads"]


def ideal_of(device: Device) -> Device:
    """The same cells without any error, noise, drift or stuck cell."""
    return Device(
        levels=device.levels, g_min=device.g_min, g_max=device.g_max, read_voltage=device.read_voltage, iv=device.iv,
        iv_v0=device.iv_v0, iv_c2=device.iv_c2, iv_c3=device.iv_c3,
    )  # fmt: skip


def _moved(programmed: Programmed | None, device: torch.device) -> Programmed | None:
    """The same cells on a torch device."""
    if programmed is None:
        return None
    tensors = {name: value.to(device) for name, value in vars(programmed).items() if isinstance(value, Tensor)}
    return replace(programmed, **tensors)  # type: ignore[arg-type]


def _put(value: Tensor, out: Tensor) -> Tensor:
    return value if value.data_ptr() == out.data_ptr() else out.copy_(value)


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

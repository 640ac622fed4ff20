"""The analog matrix-vector product of a stack of crossbars, batched over tiles, input slices and vectors.

Currents are kept in level steps: one unit is the current of one conductance level under the smallest DAC
step. The current of an all-g_min column, g_min times the sum of the voltages, is taken as cancelled before
the ADC (architecture of ISAAC, ISCA 2016, and of differential pairs); wires are ideal.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hw.chip import Chip
from hw.converter import AdcRange
from hw.device import Device
from hw.errors import ParameterError
from hw.mapping import MappedMatrix, read_integers, slice_weights

CHUNK_VALUES = 2**22  # bitline values held at once; measured best on 2 cores among 2^20 .. 2^25


@dataclass
class ActionCounts:
    """What the functional model did: counted from the tensors that it worked on, not from the geometry."""

    drives: int = 0
    conversions: int = 0
    clipped_inputs: int = 0
    vectors: int = 0


class CrossbarMatrix(nn.Module):
    """Cells programmed with one mapped matrix, and the product of integer inputs with them.

    `program` draws a chip instance; `calibrate` fixes the ADC range; then `forward` takes integer-valued
    inputs (groups, vectors, inputs) float64 to integer-valued sums (groups, vectors, outputs) float64, in
    units of (weight integer x input integer). Gradients do not flow.
    """

    def __init__(self, mapped: MappedMatrix, chip: Chip, signed_input: bool):
        super().__init__()
        self.mapped, self.chip, self.signed_input = mapped, chip, signed_input
        geometry = mapped.geometry
        self.analog_pair = geometry.columns_per_output != geometry.conversions_per_output
        self.columns = geometry.outputs * geometry.conversions_per_output * geometry.planes  # without references
        self.passes = chip.passes(signed_input)
        self.counts = ActionCounts()
        self.fuse_when_exact = True
        self.register_buffer("exact_weight", read_integers(mapped).double().transpose(1, 2).contiguous())
        self.register_buffer("largest_current", self._worst_case_current())
        self.register_buffer("cells", torch.empty(0))
        self.register_buffer("cell_variance", None)
        self.truncated_share = self.stuck_share = 0.0
        self.program(chip.device, torch.Generator().manual_seed(0))

    exact_weight: Tensor  # (groups, inputs, outputs) float64
    largest_current: Tensor  # (columns,) float32, the ADC's calibrated full scale
    cells: Tensor  # (groups x row_tiles, rows, columns) float32, in levels above g_min
    cell_variance: Tensor | None  # of one read, the same shape, levels²

    # ---- columns: outputs x slices (x polarities), then one reference column per column tile

    def _columns(self, per_cell: Tensor, reference: Tensor, pair: str) -> Tensor:
        """(groups, row_tiles, rows, outputs, slices, polarities) and the reference columns (groups,
        row_tiles, rows, column_tiles) as (groups x row_tiles, rows, columns); pair: how an analog pair joins."""
        if self.analog_pair:
            plus, minus = per_cell[..., 0], per_cell[..., 1]
            joined = plus - minus if pair == "subtract" else plus + minus
        else:
            joined = per_cell
        columns = torch.cat([joined.flatten(3), reference], dim=3)
        return columns.flatten(0, 1)

    def _reference_target(self) -> Tensor:
        """Level of the reference cells (groups, row_tiles, rows, column_tiles or 0)."""
        g = self.mapped.geometry
        tiles = g.column_tiles if g.reference_columns else 0
        shape = (*self.mapped.levels.shape[:3], tiles)
        return torch.full(shape, float(self.mapped.reference_level) if tiles else 0.0)

    def program(self, device: Device, generator: torch.Generator) -> None:
        """Draw one chip instance: cells programmed once by `device`, reads noisy from then on."""
        bits = self.mapped.geometry.cell_bits
        if bits > device.bits:
            raise ParameterError(f"weights use {bits} bits per cell; device.levels = {device.levels} is too few")
        self.device, self.generator = device, generator
        step = device.level_step(bits)
        levels, reference = self.mapped.levels, self._reference_target()
        if device.is_ideal:
            self.cells = self._columns(levels.float(), reference.float(), "subtract")
            self.truncated_share = self.stuck_share = 0.0
            self.cell_variance = None
            return
        flat = torch.cat([levels.double().flatten(), reference.double().flatten()])
        programmed = device.program(device.conductance(flat, bits), generator)
        self.truncated_share, self.stuck_share = programmed.truncated_share, programmed.stuck_share
        above = (programmed.conductance - device.g_min) / step
        noisy = above[: levels.numel()].view(levels.shape), above[levels.numel() :].view(reference.shape)
        self.cells = self._columns(*noisy, pair="subtract").float()
        self.cell_variance = None
        if device.read_noise_sigma:
            variance = device.read_variance(programmed.conductance) / step**2
            parts = variance[: levels.numel()].view(levels.shape), variance[levels.numel() :].view(reference.shape)
            self.cell_variance = self._columns(*parts, pair="add").float()

    # ---- ADC range

    def _worst_case_current(self) -> Tensor:
        """Largest |current| that each column can give without noise [level steps], (columns,)."""
        g = self.mapped.geometry
        rows = min(g.inputs, g.wordlines)
        top = 2**g.cell_bits - 1
        levels_sum = rows * top // 2 if g.encoding.flipped_columns else rows * top
        drive = 2**self.chip.component.dac.bits - 1
        reference = g.column_tiles if g.reference_columns else 0
        return torch.cat([
            torch.full((self.columns,), float(levels_sum * drive)),
            torch.full((reference,), float(rows * self.mapped.reference_level * drive)),
        ])  # fmt: skip

    def adc_range(self) -> AdcRange:
        """Codes of each column's ADC under the chip's policy."""
        return self.chip.component.adc.range_for(self.largest_current, signed=self.analog_pair)

    def calibrate(self, inputs: Tensor) -> float:
        """Set the full scale of a "calibrated" ADC from integer `inputs` (groups, vectors, inputs): per
        weight slice, the chip's percentile of |current| with ideal cells. Returns the share of conversions
        that would saturate, whatever the policy."""
        g, adc = self.mapped.geometry, self.chip.component.adc
        ideal = self._columns(self.mapped.levels.float(), self._reference_target(), "subtract")
        current = self._drive(inputs, ideal)[0]
        if adc.range == "calibrated":
            magnitude = current.abs().reshape(-1, current.shape[-1])  # (reads, columns)
            per_slice = magnitude[:, : self.columns].unflatten(1, (g.outputs, g.slices, -1)).movedim(2, 0).flatten(1)
            rank = max(1, -int(-adc.percentile * per_slice.shape[1] // 1))
            full_scale = per_slice.kthvalue(rank, dim=1).values.clamp(min=1.0)  # (slices,)
            polarities = self.columns // (g.outputs * g.slices)
            self.largest_current[: self.columns] = full_scale.repeat_interleave(polarities).repeat(g.outputs)
            if g.reference_columns:
                self.largest_current[self.columns :] = magnitude[:, self.columns :].amax().clamp(min=1.0)
        return self.adc_range().saturated_share(current)

    @property
    def lossless(self) -> bool:
        """True where one code is one level step and no noise-free current can leave the codes."""
        adc = self.adc_range()
        return bool((adc.step == 1).all() and (self._worst_case_current() <= adc.high).all())

    @property
    def exact(self) -> bool:
        """True where the product equals the integer product: ideal cells and a lossless ADC."""
        return self.device.is_ideal and self.lossless

    # ---- product

    def _slices(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """DAC codes (slices, groups x row_tiles, vectors, rows) float32 of integer inputs, and the
        weight of each slice (slices,) float64."""
        g, bits, width = self.mapped.geometry, self.chip.inputs.bits, self.chip.component.dac.bits
        rows = self.mapped.levels.shape[2]
        padded = nn.functional.pad(inputs, (0, g.row_tiles * rows - g.inputs)).to(torch.int32)
        tiled = padded.unflatten(2, (g.row_tiles, rows)).transpose(1, 2).flatten(0, 1)
        count = self.chip.input_slices
        weight = slice_weights(count, width)
        if self.chip.inputs.signed == "twos_complement":
            streams = [(tiled & (2**bits - 1), weight * torch.where(torch.arange(count) == count - 1, -1.0, 1.0))]
        elif self.passes == 2:
            streams = [(tiled.clamp(min=0), weight), ((-tiled).clamp(min=0), -weight)]
        else:
            streams = [(tiled, weight)]
        mask = 2**width - 1
        codes = [(value >> (width * k)) & mask for value, _ in streams for k in range(count)]
        return torch.stack(codes).float(), torch.cat([w for _, w in streams])

    def _drive(self, inputs: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bitline currents (groups x row_tiles, slices, vectors, columns) of one pass over all slices, the
        sum of the DAC codes (groups x row_tiles, slices, vectors), and the slice weights."""
        codes, weight = self._slices(inputs)
        batch = codes.movedim(0, 1)  # (groups x row_tiles, slices, vectors, rows)
        shape = (*batch.shape[:3], cells.shape[-1])
        stacked = batch.flatten(1, 2)
        current = torch.bmm(stacked, cells)
        if self.cell_variance is not None and cells is self.cells:
            spread = torch.bmm(stacked.square(), self.cell_variance).sqrt_()
            noise = torch.randn(spread.shape, generator=self.generator, device=spread.device)
            current.addcmul_(spread, noise)
        return current.view(shape), batch.sum(-1), weight

    def forward(self, inputs: Tensor) -> Tensor:
        """Sums of products (groups, vectors, outputs) float64 of integer `inputs` (groups, vectors, inputs)."""
        if self.exact and self.fuse_when_exact:
            streams = self.chip.input_slices * self.passes
            self._count(inputs, inputs.shape[1] * streams * self.cells.shape[0] * self.cells.shape[2])
            return torch.bmm(inputs.double(), self.exact_weight)
        return torch.cat([self._product(chunk) for chunk in self._chunks(inputs)], dim=1)

    def _chunks(self, inputs: Tensor) -> Iterator[Tensor]:
        """`inputs` in runs of vectors whose bitline values fit CHUNK_VALUES."""
        per_vector = self.cells.shape[0] * self.cells.shape[2] * self.chip.input_slices * self.passes
        return iter(inputs.split(max(1, CHUNK_VALUES // per_vector), dim=1))

    def _product(self, inputs: Tensor) -> Tensor:
        g = self.mapped.geometry
        current, code_sum, input_weight = self._drive(inputs, self.cells)
        digital = self.adc_range().convert(current)  # (groups x row_tiles, slices, vectors, columns)
        self._count(inputs, digital.numel())
        digital = digital.unflatten(0, (g.groups, g.row_tiles))
        sums = digital[..., : self.columns].unflatten(-1, (g.outputs, g.slices, -1))
        code_sum = code_sum.view(*digital.shape[:-1])  # (groups, row_tiles, input slices, vectors)
        sums = self._unflip(sums, code_sum) if g.encoding.flipped_columns else sums
        stored = sums.sum(1).double()  # over row tiles: (groups, input slices, vectors, outputs, slices, pol.)
        value = stored[..., 0] - stored[..., 1] if stored.shape[-1] == 2 else stored[..., 0]
        total = torch.einsum("gkvos,k,s->gvo", value, input_weight, self.mapped.slice_weight)
        if g.encoding.scheme == "offset":
            total -= self._offset(digital[..., self.columns :], inputs, input_weight)
        return total

    def _unflip(self, sums: Tensor, code_sum: Tensor) -> Tensor:
        """Column sums as if no column were stored flipped: (2^cell_bits - 1) sum(x) - current."""
        top = 2**self.mapped.geometry.cell_bits - 1
        flip = self.mapped.flipped[:, :, None, None, :, :, None].float()
        return sums * (1 - 2 * flip) + flip * top * code_sum[..., None, None, None]

    def _offset(self, reference: Tensor, inputs: Tensor, input_weight: Tensor) -> Tensor:
        """What the constant 2^(bits-1) in every stored weight added, (groups, vectors, outputs or 1)."""
        g = self.mapped.geometry
        if not g.reference_columns:
            return 2.0 ** (g.encoding.bits - 1) * inputs.double().sum(-1, keepdim=True)
        per_tile = torch.einsum("gtkvc,k->gvc", reference.double(), input_weight) * self.mapped.slice_weight[0]
        tile_of_output = torch.arange(g.outputs) // g.outputs_per_crossbar
        return per_tile[..., tile_of_output]

    def _count(self, inputs: Tensor, conversions: int) -> None:
        """Add the actions of `inputs` (groups, vectors, inputs): each value drives one wordline of every
        crossbar that holds part of its outputs, per slice and pass."""
        g, streams = self.mapped.geometry, self.chip.input_slices * self.passes
        self.counts.vectors += inputs.shape[1]
        self.counts.conversions += conversions
        self.counts.drives += inputs.numel() * streams * g.column_tiles * g.planes

    # ---- energy

    def read_energy(self, inputs: Tensor) -> float:
        """Mean energy of the array reads of one vector [J] over integer `inputs` (groups, vectors, inputs).

        E = V² G t per cell and slice (Joule's law) at the target conductances; V is the read voltage times
        the DAC's fraction, t the array read time. Raises ParameterError where the device names no read voltage.
        """
        if self.device.read_voltage is None:
            raise ParameterError("device.read_voltage is not given: the published figure per read applies")
        g = self.mapped.geometry
        step = self.device.level_step(g.cell_bits)
        per_row = self._row_conductance(step)  # (groups x row_tiles, rows) [S]
        codes, _ = self._slices(inputs)
        drive = codes.double() / (2**self.chip.component.dac.bits - 1)
        voltage_squared = (self.device.read_voltage * drive).square().sum(0).mean(1)
        return float((voltage_squared * per_row).sum()) * self.chip.timing.array_read

    def _row_conductance(self, step: float) -> Tensor:
        """Sum of the target conductances along each wordline [S], (groups x row_tiles, rows) float64."""
        levels = self.mapped.levels.double().sum((3, 4, 5)) + self._reference_target().double().sum(3)
        g = self.mapped.geometry
        cells = g.planes * (g.outputs * g.columns_per_output + g.column_tiles * g.reference_columns)
        return (step * levels + self.device.g_min * cells).flatten(0, 1)

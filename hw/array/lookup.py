"""A table on crossbars, read one row at a time: what a one-hot input does, without the zeros.

A look-up drives the wordlines of one input with one slice at the DAC's highest code, for any number of input bits, and
converts only the crossbars that hold the row: all column tiles and planes of one row tile. Wordlines that are not driven
are held at 0 V, as those of a product are. So a look-up is the product with a one-hot vector whose other row tiles are left
out, with their noise and their ADCs' offsets. Read noise is drawn by the number of the look-up, whatever row it reads.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xbar.hw.array.crossbar import READ, CrossbarMatrix, _Array
from xbar.hw.cells.law import CellLaw
from xbar.hw.chip.description import Chip
from xbar.hw.errors import ParameterError


class LookUpMatrix(CrossbarMatrix):
    """A CrossbarMatrix of `weight` (1, outputs, rows of the table) whose inputs are numbers of rows.

    `forward` takes int64 (1, look-ups), or (instances, 1, look-ups) for several chips, to (..., 1, look-ups, outputs) in
    units of (weight integer x `high`), `high` being the DAC's highest code. `calibrate` and `read_energy` take rows too.
    """

    def __init__(
        self, weight: Tensor, chip: Chip, largest_weight: float | None = None, dtype: torch.dtype = torch.float32,
        law: CellLaw | None = None,
    ):  # fmt: skip
        super().__init__(weight, chip.one_hot, False, largest_weight, dtype, law)
        if self.geometry.groups != 1:
            raise ParameterError(f"a table is one matrix, got {self.geometry.groups} groups")

    @property
    def _most_driven(self) -> int:
        return 1

    def calibrate(self, inputs: Tensor, as_programmed: bool = False) -> float:
        """As of any matrix, from look-ups of the rows `inputs` (1, look-ups), at least one in every row tile."""
        self._check_inputs(inputs)
        tile_of = inputs.flatten() // self.geometry.inputs_per_crossbar
        without = set(range(self.geometry.row_tiles)) - set(tile_of.tolist())
        if without:
            raise ParameterError(f"look-ups to calibrate with must reach every row tile, got none in {sorted(without)}")
        cells = self.programmed[:1] if as_programmed else [None]
        with torch.inference_mode(False), torch.no_grad():
            array = self._cast(self._array(self.mapped, cells, with_errors=False))
            step = self._adc_step().to(self.cells.dtype)
            currents = []
            for tile in range(self.geometry.row_tiles):
                rows = inputs.flatten()[tile_of == tile].unsqueeze(0)
                currents.append(self._row_currents(rows, array) * step[tile % len(step)])
        return self._set_range(currents)

    def forward(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """The rows `inputs` (..., 1, look-ups) as the chip reads them, (..., 1, look-ups, outputs); unit as of any
        matrix. Raises ParameterError for other shapes, and for rows that the table does not have."""
        count = len(self.seeds)
        if inputs.dim() not in (2, 3) or (inputs.dim() == 2 and count > 1) or (inputs.dim() == 3 and inputs.shape[0] != count):
            raise ParameterError(f"rows must be ({count} instances, 1, look-ups), got {tuple(inputs.shape)}")
        self._check_inputs(inputs)
        if self.training and self._solved:
            raise ParameterError("cells that are solved for each vector have no gradient: train on linear, row-driven ones")
        if self.exact and self.fuse_when_exact and not self.training:
            self._count_look_ups(inputs.numel())
            self.reads += inputs.shape[-1]
            return self.exact_product(inputs, unit)
        rows = inputs.reshape(count, -1)
        array = self._train_array() if self.training else self._programmed_array()
        scale = self._scale(array.mapped, unit)
        parts = [self._read(rows[:, p], array, self.reads + p.start, scale) for p in self._chunks(rows.shape[1])]
        self.reads += rows.shape[1]
        return torch.cat(parts, dim=1).view(*inputs.shape, self.geometry.outputs)

    def _check_inputs(self, inputs: Tensor) -> None:
        if inputs.dtype not in (torch.int32, torch.int64) or inputs.shape[-2] != 1:
            raise ParameterError(f"rows must be whole numbers (..., 1, look-ups), got {inputs.dtype} {tuple(inputs.shape)}")
        if not inputs.numel():
            return
        smallest, largest = (int(end) for end in torch.aminmax(inputs))
        if smallest < 0 or largest >= self.geometry.inputs:
            raise ParameterError(f"rows must be from 0 to {self.geometry.inputs - 1}, got {smallest} to {largest}")

    def exact_product(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """What `forward` would give of an ideal chip, float64."""
        product = self._mapped_integers()[0, inputs].double() * self.high
        scale = self._scale(self.mapped, unit)
        return product if scale is None else product * scale.view(*product.shape[:-2], 1, -1)

    def _read(self, rows: Tensor, array: _Array, first: int, scale: Tensor | None) -> Tensor:
        """The rows (instances, look-ups) read one after another, (instances, look-ups, outputs). first: number of the
        first look-up."""
        array = self._at_this_time(array, first)
        g, adc = self.geometry, self.adc_range()
        tile = rows // g.inputs_per_crossbar
        current = self._with_noise(self._row_currents(rows, array), rows, array, first)
        offset, inl = (None if e is None else self._at_tile(e, tile) for e in (array.offset, array.inl))
        current = adc.distorted(current, offset, inl)
        if self.measure:
            self.counts.saturated += adc.saturated(current)
        codes = adc.convert(current)
        if adc.step.shape[0] > 1:
            codes = codes * adc.step[tile].to(codes.dtype)
        if g.encoding.flipped_columns:
            sign = 1.0 - 2.0 * array.mapped.flipped[0].flatten(1).to(codes.dtype)  # (row_tiles, columns)
            codes = codes * nn.functional.pad(sign, (0, codes.shape[-1] - sign.shape[-1]), value=1.0)[tile]
        self._count_look_ups(rows.numel())

        def tile_sums() -> Tensor:
            return nn.functional.one_hot(tile.long(), g.row_tiles).double() * self.high

        return self._combine(codes.to(self._sum_dtype(adc)), tile_sums, array.mapped, scale, None)

    def _at_tile(self, values: Tensor, tile: Tensor) -> Tensor:
        """Values of each row tile (instances x row_tiles, 1, columns) at each look-up, (instances, look-ups, columns)."""
        instance = torch.arange(tile.shape[0], device=tile.device).unsqueeze(1)
        return values.unflatten(0, (-1, self.geometry.row_tiles))[instance, tile, 0]

    def _row_currents(self, rows: Tensor, array: _Array) -> Tensor:
        """Currents [ADC steps] of the rows (instances, look-ups), (instances, look-ups, columns), without noise."""
        tile, row = rows // self.geometry.inputs_per_crossbar, rows % self.geometry.inputs_per_crossbar
        instance = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1)
        if array.conductance is None:
            return array.cells.unflatten(0, (-1, self.geometry.row_tiles))[instance, tile, row] * self._drive
        solved = self._solve(self._one_hot(rows), array)  # (instances, row_tiles, look-ups, columns)
        return solved[instance, tile, torch.arange(rows.shape[1], device=rows.device)]

    @property
    def _drive(self) -> float:
        """Voltage of the driven wordline [DAC steps]."""
        return float(self.chip.component.dac.voltage(torch.tensor(float(self.high))))

    def _one_hot(self, rows: Tensor) -> Tensor:
        """The look-ups (..., look-ups) as vectors of the DAC (..., look-ups, inputs) float64."""
        return nn.functional.one_hot(rows.long(), self.geometry.inputs).double() * self.high

    def _with_noise(self, current: Tensor, rows: Tensor, array: _Array, first: int) -> Tensor:
        """The currents with the noise of one read each."""
        if array.variance is None:
            return current
        tile, row = rows // self.geometry.inputs_per_crossbar, rows % self.geometry.inputs_per_crossbar
        with torch.no_grad():
            instance = torch.arange(rows.shape[0], device=rows.device).unsqueeze(1)
            spread = array.variance.unflatten(0, (-1, self.geometry.row_tiles))[instance, tile, row] * self._drive**2
            spread = (spread if array.floor is None else spread + self._at_tile(array.floor, tile)).sqrt_()
            normal = torch.empty_like(spread)
            self._fill(normal, first, READ)
        return current + spread * normal

    def _count_look_ups(self, look_ups: int) -> None:
        """Add the actions of that many look-ups, of several instances their sum."""
        g = self.geometry
        self.counts.vectors += look_ups
        self.counts.inputs += look_ups
        self.counts.conversions += look_ups * self.full_scale.shape[1]
        self.counts.drives += look_ups * g.column_tiles * g.planes * g.wordlines_per_input

    def _driven(self, inputs: Tensor) -> Iterator[tuple[Tensor, float]]:
        at_once = self.geometry.inputs_per_crossbar
        for rows in cast(Sequence[Tensor], inputs.split(at_once, dim=-1)):
            yield self._one_hot(rows), rows.shape[-1] / inputs.shape[-1]

"""A matrix on crossbars as a torch module: ties mapping, cells, channel and reading together, and keeps their state.

The weight's way: `mapping` (integers, slices, signs, scale), `layout` (where cells lie), `programmed` (what cells hold),
`currents` (what sense amplifiers see of them), `channel` and `calibration` (DACs, streams, ADCs and their ranges), `ready`
(the two together), `product` or `lookup`, `sums`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from xbar.hw.array.bias import with_drives, with_rows
from xbar.hw.array.calibration import calibrated_range, currents_seen, saturated_share, stated_full_scale
from xbar.hw.array.channel import EXACT_FLOAT32, ColumnFit, ReadChannel, read_channel
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.currents import is_solved
from xbar.hw.array.design import HasArrays
from xbar.hw.array.diagonal import apart, side_by_side
from xbar.hw.array.draws import Draws
from xbar.hw.array.energy import read_energy
from xbar.hw.array.fitting import FitSums, fit_columns, moved
from xbar.hw.array.layout import CrossbarLayout
from xbar.hw.array.lookup import LookUps
from xbar.hw.array.mapping import MappedMatrix, map_weights, read_integers
from xbar.hw.array.product import Products
from xbar.hw.array.programmed import ProgrammedArray, write_array
from xbar.hw.array.ready import ReadSequence, ReadyArray, array_is_exact, make_ready, runs_of, vectors_at_once
from xbar.hw.array.sums import unit_scale
from xbar.hw.cells.device import Device
from xbar.hw.cells.law import CellLaw
from xbar.hw.errors import ParameterError

CHUNK_VALUES = 2**19  # bitline values held at once; measured best on 2 cores among 2^17 .. 2^22


class CrossbarMatrix(nn.Module):
    """Cells programmed with one matrix, and the product of inputs with them.

    `weight` (groups, outputs, inputs) is a parameter; `program` maps it and draws chip instances; `calibrate` sets the
    range of ADCs that are calibrated; then `forward` takes whole-numbered inputs (groups, vectors, inputs), or
    (instances, groups, vectors, inputs) for several chips, to sums of products (..., groups, vectors, outputs) in units
    of (weight integer x input integer). Groups here are the layer's; where several lie together on a crossbar, the array's are the
    geometry's.

    largest_weight: full scale of the weights, where it is not to be taken from them; law: a current-voltage law of the
    cells that the device does not know by name. bias (groups, outputs): what every row that carries the bias holds, in units of weights,
    where the design has such rows; their inputs are added here. fit: gain and offset of the columns of these cells, where they were
    fitted (`fit_columns`); None: the nominal ones. Non-linear cells and gate-selected arrays are solved for every vector.
    reading: how the array is read, with vectors (`Products`, the default) or by rows (`LookUps`). reads: vectors read since
    programming. limited_share: of the column currents that calibration saw, those beyond `Adc.current_limit`.

    In training mode every forward maps the present weights and programmes fresh cells, and gradients flow to inputs
    and weights, straight through rounding and not through clipping. In evaluation mode, in which it begins, the cells
    stay as programmed; going back to it from training writes the present weights to the same chip instances.
    """

    weight: nn.Parameter
    full_scale: Tensor  # (row_tiles or 1, columns) float64, largest current of each column's ADC [level steps]
    lowest: Tensor | None  # in its form, where the codes of calibrated ranges begin [level steps]
    array: ProgrammedArray
    fit: ColumnFit | None
    _integers: Tensor | None  # the mapped weights (groups, inputs, outputs), once an exact product is asked for

    def __init__(
        self, weight: Tensor, chip: HasArrays, signed_input: bool, largest_weight: float | None = None,
        dtype: torch.dtype = torch.float32, law: CellLaw | None = None, reading: Products | LookUps | None = None,
        bias: Tensor | None = None,
    ):  # fmt: skip
        super().__init__()
        if weight.dim() != 3:
            raise ParameterError(f"weight must be (groups, outputs, inputs), got {tuple(weight.shape)}")
        groups, outputs, inputs = weight.shape
        self.chip, self.signed_input, self.largest_weight, self._law = chip, signed_input, largest_weight, law
        self.reading = reading or Products()
        self.design = self.reading.design(chip.array_design)
        self.geometry = g = self.design.geometry(outputs, inputs, groups, bias is not None)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.layout = CrossbarLayout(g)
        most_driven = self.reading.most_driven(min(g.inputs, g.inputs_per_crossbar))
        self._channel = read_channel(self.design, g, signed_input, most_driven)
        self.low, self.high = self._channel.integer_range
        self.counts = ActionCounts()
        self.fuse_when_exact = True
        self.measure, self.limited_share = False, 0.0
        self.checked = True  # False: inputs are known to be whole numbers of the DAC
        self.dtype = _product_dtype(dtype)
        self.weight, self.fit = nn.Parameter(weight.detach().clone()), None
        self.register_buffer("full_scale", self._channel.full_scale.to(weight.device))
        self.register_buffer("lowest", None if self._channel.lowest is None else self._channel.lowest.to(weight.device))
        self.program((0,))
        self.eval()

    # ---- programming

    def program(
        self, seeds: Sequence[int], device: Device | None = None, layer: int = 0, write: int = 0,
        stuck: Tensor | None = None, aimed: bool = False,
    ) -> None:  # fmt: skip
        """Programme chip instances `seeds`, each drawn apart, on `device` or the chip's own. aimed: cells are not off in products either.

        layer and write: as in `xbar.hw.array.draws.Draws`; stuck: as in `xbar.hw.array.programmed.write_array`. Raises
        ParameterError.
        """
        draws, device = Draws(tuple(seeds), layer, write), device or self.design.device
        with torch.inference_mode(False), torch.no_grad():
            mapped, self.fit = map_weights(with_rows(self.weight, self.bias, self.geometry), self.geometry, self.largest_weight), None
            array = write_array(mapped, self.layout, device, draws, stuck, self._law)
            self._hold(replace(array, aimed=aimed).to(self.weight.device))
        self.write, self.reads, self._integers = write, 0, None

    def _hold(self, array: ProgrammedArray) -> None:
        """Read these cells from now on."""
        self.array, self._reads = array, ReadSequence(array, self.channel, self.dtype, fit=self.fit)

    def set_time(self, seconds: float) -> None:
        """Read the cells `seconds` after programming from now on: drift moves them, their noise may grow."""
        self._hold(self.array.at(seconds))

    def crossbar_conductances(self) -> Tensor:
        """Conductances of the cells now, as they lie on the crossbars [S] (instances, groups, planes, row_tiles, column_tiles,
        wordlines, bitlines) float64: what `xbar.hw.array.parasitics` solves and `xbar.hw.array.spice` writes."""
        return self.layout.place(self.array.conductances(), self.device.g_min)

    @property
    def mapped(self) -> MappedMatrix:
        """The weights as they were mapped when the cells were programmed."""
        return self.array.mapped

    @property
    def device(self) -> Device:
        """Device of the cells."""
        return self.array.device

    @property
    def seeds(self) -> tuple[int, ...]:
        """Chip instances."""
        return self.array.draws.seeds

    @property
    def time(self) -> float:
        """Time since programming at which the cells are read [s]."""
        return self.array.time

    @property
    def trained(self) -> bool:
        """True where cells were written in training since `program`."""
        return self.write != self.array.draws.write

    # ---- converters

    @property
    def channel(self) -> ReadChannel:
        """DACs, streams and ADCs at the present ranges."""
        if self._channel.full_scale is not self.full_scale or self._channel.lowest is not self.lowest:
            self._channel = replace(self._channel, full_scale=self.full_scale, lowest=self.lowest)
        return self._channel

    def set_full_scale(self, current: Tensor | float) -> None:
        """Set the largest current of each ADC [A] (at the device's read voltage): one for all or one a weight slice,
        most significant first. Raises ParameterError where the device names no read voltage, for other numbers, and for ADCs whose range
        follows no current that is set: those of range fixed, level_fixed or ideal, and those that sense a voltage."""
        self.full_scale = stated_full_scale(self.channel, current).to(self.full_scale.device)

    def calibrate(self, inputs: Tensor, as_programmed: bool = False) -> float:
        """Set the range of calibrated ADCs (`ReadChannel.is_calibrated`) from `inputs` as `forward` takes them for one instance: the chip's
        percentile of |current| per weight slice, with ideal cells on the chip's wires, or with the first instance's
        cells as they are now. Returns the share of conversions that would saturate, whatever the policy."""
        currents, self.limited_share = currents_of(self, inputs, as_programmed)
        with torch.inference_mode(False), torch.no_grad():
            if self.channel.is_calibrated:
                full_scale, lowest = calibrated_range(self.channel, currents)
                self.full_scale = full_scale.to(self.full_scale)
                self.lowest = None if lowest is None else lowest.to(self.full_scale)
            return saturated_share(self.channel, currents)

    def fit_columns(self, parts: Iterable[Tensor]) -> FitSums:
        """Fit gain and offset of every column of these cells to inputs, each part of them as `forward` takes it, each row tile by itself,
        by least squares of its codes on the products that they stand for (`xbar.hw.array.fitting`), until cells are written again.
        Returns the sums of the fit, which tell slopes and residuals."""
        with torch.inference_mode(False), torch.no_grad():
            self.fit, sums = fit_columns(_read_parts(self, parts), self.channel)
            self._hold(self.array)
        return sums

    @property
    def exact(self) -> bool:
        """True where the product equals the integer product: ideal cells, wires and drivers, and a lossless ADC."""
        return array_is_exact(self.array, self.channel)

    # ---- reading

    def forward(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """Sums of products (..., groups, vectors, outputs) of whole-numbered `inputs` (..., groups, vectors, inputs),
        with one leading dimension for several instances; float64 where the product is exact. unit: the input value that
        the integer 1 stands for, one or (instances,); with it sums are in units of weight x input value."""
        given, inputs = inputs, _checked(self, inputs, len(self.seeds))
        if self.training and is_solved(self.array, self.design):
            raise ParameterError("cells that are solved for each vector have no gradient: train on linear, row-driven ones")
        reads = self.reading.lead(inputs)[-1]
        if self.exact and self.fuse_when_exact and not self.training:
            self.counts.add(self.reading.counted(inputs, self.channel))
            sums = self.exact_product(given, unit)
        else:
            inputs = side_by_side(inputs, self.geometry)
            sums = self._read(self._written_anew(inputs) if self.training else _sequence(self), inputs, unit)
            sums = apart(sums.view(*self.reading.lead(inputs), self.geometry.outputs), self.geometry)
        self.reads += reads
        return sums

    def _written_anew(self, inputs: Tensor) -> ReadSequence:
        """Reads of the present weights, written once more; columns that the chip has fitted are fitted to these inputs."""
        self.write += 1
        draws = replace(self.array.draws, write=self.write)
        mapped = map_weights(with_rows(self.weight, self.bias, self.geometry), self.geometry, self.largest_weight)
        array = write_array(mapped, self.layout, self.device, draws, self.array.stuck, self._law, self.weight.device).at(self.time)
        if self.design.adc.column_calibration == "nominal" or not isinstance(self.reading, Products):
            return ReadSequence(array, self.channel, self.dtype, graded=True)
        with torch.no_grad():
            values = self.reading.flat(inputs.detach(), len(self.seeds), self.dtype)
            fit, _ = fit_columns(iter([(make_ready(array, self.channel, self.dtype), values, self.reads)]), self.channel)
        return ReadSequence(array, self.channel, self.dtype, graded=True, fit=fit)

    def _read(self, reads: ReadSequence, inputs: Tensor, unit: Tensor | None) -> Tensor:
        """Sums (instances x groups, vectors, outputs), a run of vectors whose bitline values fit CHUNK_VALUES at a time."""
        values = self.reading.flat(inputs, len(self.seeds), self.dtype)
        scale = unit_scale(reads.array, unit, reads.array.mapped.output_scale)
        runs = _runs(self, values)

        def read(run: slice, out: Tensor | None = None) -> Tensor:
            first = self.reads + run.start
            sums, counts = self.reading.read(reads.at(first), self.channel, values[:, run], first, scale, out, self.measure)
            self.counts.add(counts)
            return sums

        if len(runs) == 1:
            return read(runs[0])
        if torch.is_grad_enabled() and (self.training or inputs.requires_grad):
            return torch.cat([read(run) for run in runs], dim=1)
        begun = read(runs[0])
        whole = begun.new_empty(begun.shape[0], values.shape[1], begun.shape[2])
        whole[:, runs[0]] = begun
        for run in runs[1:]:
            read(run, whole[:, run])
        return whole

    def exact_product(self, inputs: Tensor, unit: Tensor | None = None) -> Tensor:
        """What `forward` would give of an ideal chip, float64: the product with the weights as they were mapped."""
        if self._integers is None:
            with torch.inference_mode(False), torch.no_grad():
                integers = read_integers(self.mapped).transpose(1, 2)  # (groups, inputs, outputs)
                largest = float(integers.abs().sum(1).max()) * self.high  # of a sum
                whole = self.geometry.encoding.quantise and self.design.inputs.quantise
                self._integers = integers.to(torch.float32 if whole and largest < EXACT_FLOAT32 else torch.float64)
        sums = self.reading.exact(with_drives(inputs, self.geometry, self.high), self._integers, self.channel)
        scale = unit_scale(self.array, unit, self.mapped.scale)
        return sums if scale is None else sums * scale.view(*sums.shape[:-2], 1, -1)

    def read_energy(self, inputs: Tensor) -> float:
        """Mean energy of the array reads of one vector [J] over `inputs` as `calibrate` takes them: see
        `xbar.hw.array.energy`."""
        driven = _driven(self, inputs, 1)
        return read_energy(self.array, self.channel, self.reading.driven(driven, self.channel))

    # ---- state

    def train(self, mode: bool = True) -> Self:
        """As of any module; after training, evaluation begins with the present weights written to the chip."""
        super().train(mode)
        if not mode and self.trained:
            self.program(self.seeds, self.device, self.array.draws.layer, self.write + 1, self.array.stuck)
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As of any module; ranges keep their precision, and cells and what is made of them follow to another torch device
        and dtype."""
        full_scale, lowest, like = self.full_scale, self.lowest, torch.empty(0, dtype=self.dtype, device=self.weight.device)
        super()._apply(fn, recurse)
        self.full_scale = full_scale.to(self.weight.device)
        self.lowest = None if lowest is None else lowest.to(self.weight.device)
        self.dtype, self._integers = _product_dtype(fn(like).dtype), None
        self.fit = moved(self.fit, self.weight.device)
        self._hold(self.array.to(self.weight.device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As of any module; takes over for how many row tiles ranges were set."""
        given = state_dict.get(f"{prefix}full_scale")
        if given is not None and given.shape[1:] == self.full_scale.shape[1:]:
            self.full_scale = self.full_scale.new_ones(given.shape)
            self.lowest = None if self.lowest is None else self.full_scale.new_zeros(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def get_extra_state(self) -> dict[str, Any]:
        """What the cells follow from, besides weights and ranges."""
        return {
            "signed_input": self.signed_input, "device": self.device.model_dump_json(), "seeds": list(self.seeds),
            "layer": self.array.draws.layer, "write": self.write, "reads": self.reads, "time": self.time,
            "stuck": self.array.stuck, "fit": None if self.fit is None else list(self.fit),
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
        self.fit = None if state.get("fit") is None else moved(ColumnFit(*state["fit"]), self.weight.device)
        self._hold(self.array)
        if state["time"]:
            self.set_time(state["time"])
        self.reads = state["reads"]


class LookUpMatrix(CrossbarMatrix):
    """The torch module of a table `weight` (1, outputs, rows of the table): a CrossbarMatrix that is read by rows.

    `forward` takes int64 (1, look-ups), or (instances, 1, look-ups) for several chips, to (..., 1, look-ups, outputs) in
    units of (weight integer x `high`), `high` being the DAC's highest code. `calibrate`, which needs a look-up in every row
    tile, and `read_energy` take rows too.
    """

    def __init__(
        self, weight: Tensor, chip: HasArrays, largest_weight: float | None = None, dtype: torch.dtype = torch.float32,
        law: CellLaw | None = None,
    ):  # fmt: skip
        if weight.dim() == 3 and weight.shape[0] != 1:
            raise ParameterError(f"a table is one matrix, got {weight.shape[0]} groups")
        if chip.array_design.adc.sensing == "voltage":
            raise ParameterError(
                "component.adc.sensing = voltage: a column that one wordline drives settles at that wordline's voltage, whatever its "
                "cell holds, so tables are not looked up by rows"
            )
        super().__init__(weight, chip, False, largest_weight, dtype, law, reading=LookUps())


def currents_of(matrix: CrossbarMatrix, inputs: Tensor, as_programmed: bool = False) -> tuple[list[Tensor], float]:
    """What `currents_seen` tells of `inputs` as `CrossbarMatrix.calibrate` takes them, with ideal cells on the chip's wires, or with the
    first instance's as they are now."""
    driven = _driven(matrix, inputs, None)
    with torch.inference_mode(False), torch.no_grad():
        array = matrix.array.first() if as_programmed else matrix.array.at_targets()
        return currents_seen(array, matrix.channel, matrix.reading, driven, matrix.dtype)


def _checked(matrix: CrossbarMatrix, inputs: Tensor, instances: int | None) -> Tensor:
    """The inputs of a layer with those of the rows that carry a bias; raises ParameterError for those that the reading cannot take.
    instances: as of `Products.check`."""
    inputs = with_drives(inputs, matrix.geometry, matrix.high)
    matrix.reading.check(inputs, matrix.channel, instances, matrix.checked)
    return inputs


def _driven(matrix: CrossbarMatrix, inputs: Tensor, instances: int | None) -> Tensor:
    """What drives the arrays: `_checked` inputs, of groups that lie together side by side."""
    return side_by_side(_checked(matrix, inputs, instances), matrix.geometry)


def _sequence(matrix: CrossbarMatrix) -> ReadSequence:
    """Reads of the cells as programmed, at the present ranges."""
    if matrix._reads.channel is not matrix.channel:
        matrix._hold(matrix.array)
    return matrix._reads


def _read_parts(matrix: CrossbarMatrix, parts: Iterable[Tensor]) -> Iterator[tuple[ReadyArray, Tensor, int]]:
    """The cells as they find each run of inputs, the run, and the number of its first vector."""
    for given in parts:
        inputs = _driven(matrix, given, len(matrix.seeds))
        values, reads = matrix.reading.flat(inputs, len(matrix.seeds), matrix.dtype), _sequence(matrix)
        for run in _runs(matrix, values):
            yield reads.at(matrix.reads + run.start), values[:, run], matrix.reads + run.start
        matrix.reads += values.shape[1]


def _runs(matrix: CrossbarMatrix, values: Tensor) -> list[slice]:
    """Runs of vectors whose bitline values fit CHUNK_VALUES."""
    columns = len(matrix.seeds) * matrix.geometry.groups * matrix.full_scale.shape[1]
    epoch = vectors_at_once(matrix.channel, matrix.device)
    return list(runs_of(values.shape[1], matrix.reads, max(1, CHUNK_VALUES // columns), epoch))


def _product_dtype(dtype: torch.dtype) -> torch.dtype:
    """`dtype` where products can be computed in it, else float32."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32

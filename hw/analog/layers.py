"""Layers of a network on simulated crossbars: an AnalogLayer for a constant matrix, an AnalogEmbedding for a table."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from xbar.hw.array.crossbar import CrossbarMatrix, LookUpMatrix
from xbar.hw.array.fitting import level_units
from xbar.hw.array.mapping import lines_in_use, straight_through
from xbar.hw.cells.law import CellLaw
from xbar.hw.checks import check
from xbar.hw.chip.description import Chip
from xbar.hw.errors import MappingError, ParameterError, RangeWarning
from xbar.hw.graph.layout import layout_of
from xbar.hw.graph.matrix import Matrix, Table
from xbar.hw.randomness import kernels, kernels_are_loaded, on_threads, parts_of

WINDOW_VALUES = 2**21  # of a convolution's windows laid out at once; measured best on 2 cores among 2^18 .. 2^24
FIT_VECTORS = 2**17  # that columns are fitted to, of all evenly spread ones: a slope is then known to a part in 300 of the residual
TOLD_SHARE, TOLD_BEYOND = 0.05, 0.05  # a layer warns where more of its inputs than this share are further beyond the
# calibrated range than this part of it: what errors of the layers before move over its end is no news


class AnalogLayer(nn.Module):
    """A Linear, Conv2d or any other constant matrix on crossbars; same call as the layer it replaces.

    input_scale: the input value that the integer 1 stands for. saturated_share: share of conversions on
    calibration data that leave the ADC's codes. Inputs beyond the calibrated range are clipped, as a DAC does,
    and counted in `matrix.counts.clipped_inputs`. output_scale (instances,): what results are multiplied by
    digitally, 1 unless drift is compensated. watched: inputs far beyond the calibrated range are warned of
    (RangeWarning), once after programming; in a converted model those of layers that read the network's inputs, since what others
    read has the chip's own errors. largest_weight, law: as in CrossbarMatrix. pack: outputs and inputs whose
    weights are all 0 are not mapped; kept_outputs and kept_inputs are the others (None: all). With several chip instances
    a batch holds theirs one after the other. fitting: gain and offset of every column are fitted anew to the inputs of a forward (to
    FIT_VECTORS or up to twice as many vectors, where there are more), before it; residual: what the fit left of each column's
    products, (instances x groups, row_tiles, columns) in units of the layer's outputs. Differentiable; in training mode the weights
    are written anew at every forward (see CrossbarMatrix).
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d | Matrix, chip: Chip, name: str, input_low: float, input_high: float,
        largest_weight: float | None = None, law: CellLaw | None = None, pack: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.name, self.chip, self.warned, self.watched = name, chip, False, True
        matrix = layer if isinstance(layer, Matrix) else Matrix(layout_of(layer), layer.weight, layer.bias)
        self.layout, self.shape_of_weight, self.space = matrix.layout, matrix.weight.shape, matrix.space
        weight = matrix.matrix
        self.outputs, self.inputs = weight.shape[1:]  # of a group, packed away or not
        kept_outputs, kept_inputs = lines_in_use(weight)
        self.register_buffer("kept_outputs", kept_outputs if pack and len(kept_outputs) < self.outputs else None)
        self.register_buffer("kept_inputs", kept_inputs if pack and len(kept_inputs) < self.inputs else None)
        weight = weight if self.kept_outputs is None else weight[:, self.kept_outputs]
        weight = weight if self.kept_inputs is None else weight[:, :, self.kept_inputs]
        largest = max(abs(input_low), abs(input_high))
        self.unseen = largest == 0  # all that it was calibrated with is 0: there is no range
        _, high = chip.inputs.integer_range(input_low < 0)
        scale = largest / high if largest > 0 else 1.0
        bias = None if matrix.bias is None else matrix.bias.detach().clone()
        try:
            on_rows = None
            if bias is not None and has_bias_rows(chip, matrix):
                kept = bias.view(weight.shape[0], -1) if self.kept_outputs is None else bias[self.kept_outputs].view(1, -1)
                cut = chip.geometry(weight.shape[1], weight.shape[2], weight.shape[0], True)
                on_rows = kept / (scale * high * cut.bias_rows * cut.row_tiles)
                bias = None if self.kept_outputs is None else bias.index_fill(0, self.kept_outputs, 0.0)
            self.matrix = CrossbarMatrix(weight, chip, input_low < 0, largest_weight, weight.dtype, law, bias=on_rows)
            self.matrix.checked = False
        except MappingError as error:
            raise MappingError(f"layer {name}: {error}") from None
        self.register_buffer("input_scale", torch.tensor(scale, dtype=torch.float64, device=weight.device))
        self.register_buffer("output_scale", torch.ones(1, dtype=torch.float64, device=weight.device))
        self.bias = None if bias is None else nn.Parameter(bias)
        self.saturated_share, self.fitting = 0.0, False
        self.residual: Tensor | None = None

    input_scale: Tensor
    output_scale: Tensor
    kept_outputs: Tensor | None
    kept_inputs: Tensor | None

    @property
    def columns_are_fitted(self) -> bool:
        """True where the chip fits the gain and offset of every column."""
        return self.chip.component.adc.column_calibration == "fitted"

    @property
    def shown(self) -> Tensor:
        """Its calibration inputs, as `matrix` takes them of its chip instances."""
        vectors, instances = self.get_buffer("calibration_vectors"), len(self.matrix.seeds)
        return vectors.expand(instances, *vectors.shape) if instances > 1 else vectors

    def to_integers(self, x: Tensor) -> Tensor:
        """Whole-numbered vectors (groups, vectors, inputs) of an input batch, clipped to the DAC's range."""
        return self._vectors(self._converted(x))

    def chosen(self, x: Tensor, vectors: Tensor) -> Tensor:
        """Of an input's whole-numbered vectors those of these numbers (in order), (groups, vectors, inputs)."""
        converted = self._converted(x)
        if self.layout.kind == "linear":
            return self._vectors(converted)[:, vectors]
        found, each = [], math.prod(self.layout.space(tuple(x.shape)))
        for first, images in self._parts(converted, 1):
            here = (vectors >= first * each) & (vectors < (first + len(images)) * each)
            if bool(here.any()):
                found.append(self._vectors(images)[:, vectors[here] - first * each])
        return torch.cat(found, dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """As of any module; takes over how many chip instances the state is of."""
        given = state_dict.get(f"{prefix}output_scale")
        if given is not None:
            self.output_scale = self.output_scale.new_ones(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As of any module; the scales keep their precision."""
        scales = self.input_scale, self.output_scale
        super()._apply(fn, recurse)
        self.input_scale, self.output_scale = (scale.to(self.matrix.weight.device) for scale in scales)
        return self

    def train(self, mode: bool = True) -> Self:
        """As of any module; cells that are written anew after training have no drift to compensate, and their columns are fitted to the
        calibration inputs."""
        written = not mode and self.matrix.trained
        if written:
            self.output_scale = torch.ones_like(self.output_scale)
        super().train(mode)
        if written and self.columns_are_fitted:
            self.matrix.fit_columns([self.shown])
        return self

    def _converted(self, x: Tensor) -> Tensor:
        """`x` as whole numbers of the DAC."""
        matrix = self.matrix
        plain = x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous() and x.numel() > 0
        graded = x.requires_grad and torch.is_grad_enabled()
        if plain and not graded and self.chip.inputs.quantise and not self.unseen and kernels_are_loaded():
            return self._converted_at_once(x)
        values = x if x.dtype in (torch.float32, torch.float64) else x.float()
        scaled = values / self.input_scale.to(values.dtype)
        clipped = self._round(scaled).clamp(matrix.low, matrix.high)
        matrix.counts.inputs += x.numel()
        if x.numel():
            self._look(scaled.detach())
        return clipped

    def _look(self, scaled: Tensor) -> None:
        """See that inputs [DAC steps] are finite, and count and tell those beyond the range."""
        matrix, ends = self.matrix, torch.stack(torch.aminmax(scaled))
        judge = partial(self._judge, scaled.numel())
        if ends.device.type == "cpu":  # at hand: nothing is counted where nothing is beyond
            low, high = ends.tolist()
            inside = matrix.low - 0.5 <= low and high <= matrix.high + 0.5 and not self.unseen
            judge([low, high, *((0.0, 0.0, 0.0) if inside else self._beyond(scaled).tolist())])
        else:
            check(torch.cat([ends.double(), self._beyond(scaled)]), judge)

    def _beyond(self, scaled: Tensor) -> Tensor:
        """How many inputs are clipped, are far beyond the range, and are not 0, (3,) float64; the last two where they are of use."""
        matrix, none = self.matrix, scaled.new_zeros((), dtype=torch.long)
        margin, whole = TOLD_BEYOND * matrix.high, scaled.round()
        clipped = torch.count_nonzero(whole - whole.clamp(matrix.low, matrix.high))
        asked = self.watched and not self.warned
        far = torch.count_nonzero(whole - whole.clamp(matrix.low - margin, matrix.high + margin)) if asked else none
        return torch.stack([clipped, far, torch.count_nonzero(scaled) if asked and self.unseen else none]).double()

    def _judge(self, inputs: int, seen: Sequence[float]) -> None:
        """Raise, warn and count by the smallest and largest of so many inputs [DAC steps] and what `_beyond` counted."""
        smallest, largest, clipped, far, not_zero = seen
        matrix, margin = self.matrix, TOLD_BEYOND * self.matrix.high
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            raise ParameterError(f"layer {self.name}: inputs must be finite, got {smallest} to {largest} steps of the DAC")
        if self.unseen:
            self._tell(not_zero / inputs, smallest)
        matrix.counts.clipped_inputs += int(clipped)
        if smallest < matrix.low - margin or largest > matrix.high + margin:
            self._tell(far / inputs, smallest)

    def _converted_at_once(self, x: Tensor) -> Tensor:
        """The same in one pass, by what numba compiled: the same bits, counts and warnings."""
        matrix, codes = self.matrix, torch.empty_like(x)
        given, made, unit, margin = x.detach().view(-1).numpy(), codes.view(-1).numpy(), float(self.input_scale), TOLD_BEYOND * matrix.high
        found: list[tuple[int, int, int]] = []

        def convert(start: int, stop: int) -> None:
            part = given[start:stop], made[start:stop], unit, float(matrix.low), float(matrix.high), margin
            found.append(kernels().quantised(*part))

        on_threads(convert, parts_of(x.numel(), 2**16))
        infinite, clipped, far = (sum(counts) for counts in zip(*found, strict=True))
        matrix.counts.inputs += x.numel()
        if infinite:
            smallest, largest = (float(end) for end in torch.aminmax(x / self.input_scale.to(x.dtype)))
            raise ParameterError(f"layer {self.name}: inputs must be finite, got {smallest} to {largest} steps of the DAC")
        matrix.counts.clipped_inputs += clipped
        if far:
            self._tell(far / x.numel(), float(x.min()))
        return codes

    def _tell(self, share: float, smallest: float) -> None:
        """Warn, once, that inputs are not like those that the layer was calibrated with."""
        if share <= TOLD_SHARE or self.warned or not self.watched:
            return
        self.warned = True
        matrix = self.matrix
        if self.unseen:
            said = f"layer {self.name}: {share:.1%} of the inputs are not 0, as all that it was calibrated with are: it has no range"
            warnings.warn(said, RangeWarning, stacklevel=2)
            return
        sign = "; it was calibrated with inputs that are never negative" if smallest < 0 and not matrix.signed_input else ""
        warnings.warn(
            f"layer {self.name}: {share:.1%} of the inputs are beyond the calibrated {matrix.low} to {matrix.high} steps of the "
            f"DAC and clipped{sign}",
            RangeWarning, stacklevel=2,
        )  # fmt: skip

    def _round(self, scaled: Tensor) -> Tensor:
        return straight_through(scaled, torch.round) if self.chip.inputs.quantise else scaled

    def forward(self, x: Tensor, outer: int = 1) -> Tensor:
        """The layer's output for `x`, as the chip computes it. Raises ParameterError for an input of another shape.

        outer: how often the rows of `x` (all axes but the last of a linear layer's, else the first) go through all samples:
        of time steps x samples as many as steps."""
        self.layout.check(tuple(x.shape), self.name)
        linear = self.layout.kind == "linear"
        batches = self._apart(x.flatten(0, -2) if linear else x, outer)  # (instances, rows, ...)
        converted = self._converted(batches)
        instances = len(batches)
        if self.fitting:
            every = [converted] if linear else [part for _, part in self._parts(converted, instances)]
            vectors = sum(self.layout.count(tuple(part.flatten(0, 1).shape)) for part in every) // instances
            self._fit(every[:: max(1, vectors // FIT_VECTORS)])
        if linear or (torch.is_grad_enabled() and (self.training or x.requires_grad)):
            found = self._product(converted, x.dtype)
        else:
            parts = [self._product(part, x.dtype) for _, part in self._parts(converted, instances)]
            found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        found = self._together(found, outer)
        return found.reshape(*x.shape[:-1], found.shape[-1]) if linear else found

    def _apart(self, rows: Tensor, outer: int) -> Tensor:
        """Rows (all, ...) by chip instance, (instances, rows, ...)."""
        instances = len(self.matrix.seeds)
        if rows.shape[0] % (instances * outer):
            raise ParameterError(f"a batch for {instances} chip instances must divide by them, got {tuple(rows.shape)}")
        if outer == 1:
            return rows.unflatten(0, (instances, -1))
        return rows.unflatten(0, (outer, instances, -1)).transpose(0, 1).flatten(1, 2)

    def _together(self, rows: Tensor, outer: int) -> Tensor:
        """The inverse of `_apart`."""
        return rows.flatten(0, 1) if outer == 1 else rows.unflatten(1, (outer, -1)).transpose(0, 1).flatten(0, 2)

    def _parts(self, x: Tensor, instances: int) -> Iterator[tuple[int, Tensor]]:
        """Images (instances, batch, ...), or (batch, ...) of one, in parts whose windows fit WINDOW_VALUES, and the number of
        each part's first."""
        axis = x.dim() - 2 - len(self.layout.kernel)
        positions = math.prod(self.layout.space((1, *x.shape[axis + 1 :])))
        at_once = max(1, WINDOW_VALUES // (positions * self.matrix.weight.shape[0] * self.inputs * instances))
        for first in range(0, max(1, x.shape[axis]), at_once):
            yield first, x.narrow(axis, first, min(at_once, x.shape[axis] - first))

    def _product(self, converted: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs (instances, batch, ...) of whole-numbered inputs of the same form."""
        instances, vectors = converted.shape[0], self._vectors_of(converted)
        value = self.matrix(vectors, self.output_scale * self.input_scale)  # (..., groups, vectors, outputs)
        if self.kept_outputs is not None:
            value = value.new_zeros(*value.shape[:-1], self.outputs).index_copy(-1, self.kept_outputs, value)
        joined = value.transpose(-3, -2).flatten(-2).to(dtype)  # (..., vectors, groups x outputs)
        shape = tuple(converted.shape[1:])
        joined = joined.unsqueeze(0) if instances == 1 else joined
        if self.layout.kind == "transposed":
            laid = self.layout.assembled(joined, shape, self.space(shape))
            return laid if self.bias is None else laid + self.bias.to(dtype).view(-1, *[1] * len(self.layout.kernel))
        if self.bias is not None:
            joined = joined + self.bias.to(dtype)
        return self.layout.assembled(joined, shape, self.space(shape) if self.layout.kernel else ())

    def _vectors_of(self, converted: Tensor) -> Tensor:
        """Inputs of each product of whole-numbered inputs (instances, batch, ...), as the matrix takes them."""
        instances = converted.shape[0]
        vectors = self._vectors(converted.flatten(0, 1))  # (groups, instances x vectors, inputs)
        return vectors if instances == 1 else vectors.unflatten(1, (instances, -1)).transpose(0, 1)

    def _fit(self, parts: list[Tensor]) -> None:
        """Fit the columns to whole-numbered inputs (instances, batch, ...), part by part."""
        found, array = self.matrix.fit_columns(map(self._vectors_of, parts)).line[2], self.matrix.array
        self.residual = found * (level_units(array.mapped, self.matrix.channel) * self.input_scale).repeat(len(array.cells), 1, 1)

    def _vectors(self, x: Tensor) -> Tensor:
        """Inputs of each product, (groups, vectors, inputs), without those packed away."""
        vectors = self.layout.vectors(x)
        return vectors if self.kept_inputs is None else vectors[..., self.kept_inputs]

    def torch_bias(self) -> Tensor | None:
        """The present bias of the layer as torch holds it, whether it is added digitally or lies on crossbars."""
        if self.matrix.bias is None:
            return None if self.bias is None else self.bias.detach()
        rows = self.matrix.geometry.bias_rows * self.matrix.geometry.row_tiles
        on_rows = (self.matrix.bias.detach() * (self.input_scale * self.matrix.high * rows)).to(self.matrix.bias.dtype).flatten()
        if self.bias is None or self.kept_outputs is None:
            return on_rows
        return self.bias.detach().index_copy(0, self.kept_outputs, on_rows)

    def torch_weight(self) -> Tensor:
        """The present weights of the layer as torch holds them, those packed away 0."""
        weight = self.matrix.weight.detach()
        if self.kept_inputs is not None:
            weight = weight.new_zeros(*weight.shape[:2], self.inputs).index_copy(2, self.kept_inputs, weight)
        if self.kept_outputs is not None:
            weight = weight.new_zeros(weight.shape[0], self.outputs, weight.shape[2]).index_copy(1, self.kept_outputs, weight)
        return self.layout.weight(weight, self.shape_of_weight)


def has_bias_rows(chip: Chip, matrix: Matrix) -> bool:
    """True where the bias of that matrix lies on crossbars: of results that are sums of one product each, as all but those of
    transposed convolutions are."""
    return chip.weights.bias_rows > 0 and matrix.bias is not None and matrix.layout.kind != "transposed"


class AnalogEmbedding(AnalogLayer):
    """An Embedding whose table lies on crossbars, a row on the wordlines of one input (see `xbar.hw.array.lookup`); same call.

    input_scale: 1 over the DAC's highest code, at which a look-up drives. ADC ranges are set with every row of the table,
    whatever calibration data look up. Tables are never packed. Raises ParameterError for rows that it does not have.
    """

    matrix: LookUpMatrix
    columns_are_fitted = False

    def __init__(
        self, layer: nn.Embedding | Table, chip: Chip, name: str, largest_weight: float | None = None, law: CellLaw | None = None
    ):
        nn.Module.__init__(self)
        self.name, self.chip, self.warned, self.watched = name, chip, False, True
        weight = Table(layer.weight).matrix
        self.outputs, self.inputs = weight.shape[1:]
        self.register_buffer("kept_outputs", None)
        self.register_buffer("kept_inputs", None)
        try:
            self.matrix = LookUpMatrix(weight, chip, largest_weight, weight.dtype, law)
        except MappingError as error:
            raise MappingError(f"layer {name}: {error}") from None
        scale = torch.tensor(1.0 / self.matrix.high, dtype=torch.float64, device=weight.device)
        self.register_buffer("input_scale", scale)
        self.register_buffer("output_scale", torch.ones(1, dtype=torch.float64, device=weight.device))
        self.matrix.checked = False
        self.bias, self.saturated_share, self.fitting, self.residual = None, 0.0, False, None

    def to_integers(self, x: Tensor) -> Tensor:
        """The rows looked up, int64 (1, look-ups)."""
        return x.reshape(1, -1)

    def every_row(self) -> Tensor:
        """Every row of the table once, (1, rows)."""
        return torch.arange(self.inputs, device=self.matrix.weight.device).unsqueeze(0)

    def torch_weight(self) -> Tensor:
        """The present table as torch holds it."""
        return self.matrix.weight.detach()[0].T

    def forward(self, x: Tensor, outer: int = 1) -> Tensor:
        """Rows of the table (*x.shape, outputs) as the chip reads them; outer: as of any layer."""
        rows = self._apart(self._there(x.flatten()), outer)
        try:
            value = self.matrix(rows if len(rows) == 1 else rows.unsqueeze(1), self.output_scale * self.input_scale)
        except ParameterError as error:
            raise ParameterError(f"layer {self.name}: {error}") from None
        value = self._together(value.reshape(*rows.shape, self.outputs), outer)  # from (..., 1, look-ups, outputs)
        return value.to(self.matrix.weight.dtype).reshape(*x.shape, self.outputs)

    def _there(self, rows: Tensor) -> Tensor:
        """Rows, seen to be of the table; where that is told only later, rows that it does not have are its last or first meanwhile,
        as an accelerator breaks at the index of none."""
        if not rows.numel() or rows.is_floating_point():
            return rows  # of which the matrix tells
        check(torch.stack(torch.aminmax(rows)), self._judge_rows)
        return rows if rows.device.type == "cpu" else rows.clamp(0, self.inputs - 1)

    def _judge_rows(self, seen: Sequence[float]) -> None:
        smallest, largest = (int(end) for end in seen)
        if smallest < 0 or largest >= self.inputs:
            raise ParameterError(f"layer {self.name}: rows must be from 0 to {self.inputs - 1}, got {smallest} to {largest}")

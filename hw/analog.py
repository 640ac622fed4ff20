"""Torch layers on simulated crossbars, and `convert(model, chip, calibration_data, seed)`.

Each Linear and Conv2d becomes an AnalogLayer: inputs to integers over the calibrated range, crossbar product,
integers back to values, bias added digitally. Each Embedding becomes an AnalogEmbedding, which reads rows of its table.
Everything else of the model runs as it is.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.crossbar import CrossbarMatrix, LookUpMatrix
from xbar.hw.array.mapping import lines_in_use, matrix_of, straight_through
from xbar.hw.cells.device import Device, ideal_of
from xbar.hw.cells.law import CellLaw
from xbar.hw.chip.description import Chip
from xbar.hw.errors import MappingError, ParameterError
from xbar.hw.graph.network import Example, check_embedding, check_inputs, check_look_up, fold, inputs_of, matrix_nodes

WINDOW_VALUES = 2**21  # of a convolution's windows laid out at once; measured best on 2 cores among 2^18 .. 2^24
ROUNDING = 1e-5  # of a signal: deviations below it are the arithmetic's, float32
CALIBRATION_VECTORS = 512  # input vectors kept per layer for the ADC range; the input range uses all


class AnalogLayer(nn.Module):
    """A Linear or Conv2d on crossbars; same call as the layer it replaces.

    input_scale: the input value that the integer 1 stands for. saturated_share: share of conversions on
    calibration data that leave the ADC's codes. Inputs beyond the calibrated range are clipped, as a DAC does,
    and counted in `matrix.counts.clipped_inputs`. output_scale (instances,): what results are multiplied by
    digitally, 1 unless drift is compensated. largest_weight, law: as in CrossbarMatrix. pack: outputs and inputs whose
    weights are all 0 are not mapped; kept_outputs and kept_inputs are the others (None: all). With several chip instances
    a batch holds theirs one after the other. Differentiable; in training mode the weights are written anew at every
    forward (see CrossbarMatrix).
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, chip: Chip, name: str, input_low: float, input_high: float,
        largest_weight: float | None = None, law: CellLaw | None = None, pack: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.name, self.chip = name, chip
        self.convolution = _convolution(layer) if isinstance(layer, nn.Conv2d) else None
        self.groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        weight = matrix_of(layer)
        self.outputs, self.inputs = weight.shape[1:]  # of a group, packed away or not
        kept_outputs, kept_inputs = lines_in_use(weight)
        self.register_buffer("kept_outputs", kept_outputs if pack and len(kept_outputs) < self.outputs else None)
        self.register_buffer("kept_inputs", kept_inputs if pack and len(kept_inputs) < self.inputs else None)
        weight = weight if self.kept_outputs is None else weight[:, self.kept_outputs]
        weight = weight if self.kept_inputs is None else weight[:, :, self.kept_inputs]
        try:
            self.matrix = CrossbarMatrix(weight, chip, input_low < 0, largest_weight, weight.dtype, law)
            self.matrix.checked = False
        except MappingError as error:
            raise MappingError(f"layer {name}: {error}") from None
        largest = max(abs(input_low), abs(input_high))
        scale = largest / self.matrix.high if largest > 0 else 1.0
        self.register_buffer("input_scale", torch.tensor(scale, dtype=torch.float64, device=weight.device))
        self.register_buffer("output_scale", torch.ones(1, dtype=torch.float64, device=weight.device))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.saturated_share = 0.0

    input_scale: Tensor
    output_scale: Tensor
    kept_outputs: Tensor | None
    kept_inputs: Tensor | None

    def to_integers(self, x: Tensor) -> Tensor:
        """Whole-numbered vectors (groups, vectors, inputs) of an input batch, clipped to the DAC's range."""
        return self._vectors(self._converted(x))

    def calibration_of(self, x: Tensor) -> Tensor:
        """Inputs of the matrix to set ADC ranges with, at most CALIBRATION_VECTORS of those in a batch, evenly spread."""
        integers = self.to_integers(x)
        count = integers.shape[1]
        keep = torch.linspace(0, count - 1, min(count, CALIBRATION_VECTORS)).round().long()
        return integers[:, keep]

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
        """As of any module; cells that are written anew after training have no drift to compensate."""
        if not mode and self.matrix.trained:
            self.output_scale = torch.ones_like(self.output_scale)
        return super().train(mode)

    def _converted(self, x: Tensor) -> Tensor:
        """`x` as whole numbers of the DAC."""
        matrix = self.matrix
        values = x if x.dtype in (torch.float32, torch.float64) else x.float()
        scaled = values / self.input_scale.to(values.dtype)
        clipped = self._round(scaled).clamp(matrix.low, matrix.high)
        matrix.counts.inputs += x.numel()
        smallest, largest = (float(end) for end in torch.aminmax(scaled.detach())) if x.numel() else (0.0, 0.0)
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            raise ParameterError(f"layer {self.name}: inputs must be finite, got {smallest} to {largest} steps of the DAC")
        if smallest < matrix.low - 0.5 or largest > matrix.high + 0.5:
            whole = scaled.detach().round()
            matrix.counts.clipped_inputs += int(((whole > matrix.high) | (whole < matrix.low)).sum())
        return clipped

    def _round(self, scaled: Tensor) -> Tensor:
        return straight_through(scaled, torch.round) if self.chip.inputs.quantise else scaled

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for `x`, as the chip computes it."""
        instances = len(self.matrix.seeds)
        if x.shape[0] % instances:
            raise ParameterError(f"a batch for {instances} chip instances must divide by them, got {tuple(x.shape)}")
        batches = x.unflatten(0, (instances, -1))  # (instances, batch, ...)
        converted = self._converted(batches)
        if self.convolution is None or (torch.is_grad_enabled() and (self.training or x.requires_grad)):
            return self._product(converted, x.dtype).flatten(0, 1)
        parts = [self._product(part, x.dtype) for part in converted.split(self._images_at_once(x), dim=1)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).flatten(0, 1)

    def _images_at_once(self, x: Tensor) -> int:
        """Images of each instance whose windows fit WINDOW_VALUES."""
        positions = self._positions(x.shape[2], 0) * self._positions(x.shape[3], 1)
        return max(1, WINDOW_VALUES // (positions * self.groups * self.inputs * len(self.matrix.seeds)))

    def _product(self, converted: Tensor, dtype: torch.dtype) -> Tensor:
        """Outputs (instances, batch, ...) of whole-numbered inputs of the same form."""
        instances, batch = converted.shape[:2]
        vectors = self._vectors(converted.flatten(0, 1))  # (groups, instances x vectors, inputs)
        if instances > 1:
            vectors = vectors.unflatten(1, (instances, -1)).transpose(0, 1)
        value = self.matrix(vectors, self.output_scale * self.input_scale)  # (..., groups, vectors, outputs)
        if self.kept_outputs is not None:
            value = value.new_zeros(*value.shape[:-1], self.outputs).index_copy(-1, self.kept_outputs, value)
        joined = value.transpose(-3, -2).flatten(-2).to(dtype)  # (..., vectors, groups x outputs)
        if self.bias is not None:
            joined = joined + self.bias.to(dtype)
        if self.convolution is None:
            return joined.reshape(*converted.shape[:-1], joined.shape[-1])
        down, across = (self._positions(converted.shape[3 + i], i) for i in (0, 1))
        return joined.reshape(instances, batch, down, across, joined.shape[-1]).permute(0, 1, 4, 2, 3)

    def _vectors(self, x: Tensor) -> Tensor:
        """Inputs of each product, (groups, vectors, inputs); a convolution's are ordered kernel row, column, channel."""
        vectors = x.reshape(1, -1, x.shape[-1]) if self.convolution is None else self._windows(x)
        return vectors if self.kept_inputs is None else vectors[..., self.kept_inputs]

    def _windows(self, x: Tensor) -> Tensor:
        """What a convolution's kernel covers at each position, (groups, vectors, inputs)."""
        c = self.convolution
        assert c is not None
        (top, left), (height, width) = c["padding"], c["kernel_size"]
        image = nn.functional.pad(x, (left, left, top, top)).permute(0, 2, 3, 1).contiguous()
        batch, rows, columns, channels = image.shape
        image = image.view(batch, rows, columns, self.groups, channels // self.groups)
        down, across = (self._positions(x.shape[2 + i], i) for i in (0, 1))
        at = image.stride()
        windows = image.as_strided(
            (self.groups, batch, down, across, height, width, channels // self.groups),
            (
                at[3], at[0], at[1] * c["stride"][0], at[2] * c["stride"][1], at[1] * c["dilation"][0],
                at[2] * c["dilation"][1], at[4],
            ),
        )  # fmt: skip
        return windows.reshape(self.groups, batch * down * across, self.inputs)

    def _positions(self, size: int, axis: int) -> int:
        """Positions of a convolution's window along one axis."""
        c = self.convolution
        assert c is not None
        spread = c["dilation"][axis] * (c["kernel_size"][axis] - 1) + 1
        return int((size + 2 * c["padding"][axis] - spread) // c["stride"][axis] + 1)


class AnalogEmbedding(AnalogLayer):
    """An Embedding whose table lies on crossbars, a row on the wordlines of one input (see `xbar.hw.array.lookup`); same call.

    input_scale: 1 over the DAC's highest code, at which a look-up drives. ADC ranges are set with every row of the table,
    whatever calibration data look up. Tables are never packed. Raises ParameterError for rows that it does not have.
    """

    matrix: LookUpMatrix

    def __init__(
        self, layer: nn.Embedding, chip: Chip, name: str, largest_weight: float | None = None, law: CellLaw | None = None
    ):
        nn.Module.__init__(self)
        check_embedding(layer, name)
        self.name, self.chip, self.convolution, self.groups = name, chip, None, 1
        weight = matrix_of(layer)
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
        self.bias, self.saturated_share = None, 0.0

    def to_integers(self, x: Tensor) -> Tensor:
        """The rows looked up, int64 (1, look-ups)."""
        return x.reshape(1, -1)

    def calibration_of(self, x: Tensor) -> Tensor:
        """Every row of the table once, (1, rows)."""
        return torch.arange(self.inputs, device=self.matrix.weight.device).unsqueeze(0)

    def forward(self, x: Tensor) -> Tensor:
        """Rows of the table (*x.shape, outputs) as the chip reads them."""
        instances = len(self.matrix.seeds)
        if x.shape[0] % instances:
            raise ParameterError(f"a batch for {instances} chip instances must divide by them, got {tuple(x.shape)}")
        rows = self.to_integers(x) if instances == 1 else x.reshape(instances, 1, -1)
        try:
            value = self.matrix(rows, self.output_scale * self.input_scale)  # (..., 1, look-ups, outputs)
        except ParameterError as error:
            raise ParameterError(f"layer {self.name}: {error}") from None
        return value.to(self.matrix.weight.dtype).reshape(*x.shape, self.outputs)


def _convolution(layer: nn.Conv2d) -> dict[str, Any]:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise MappingError("only zero padding given in numbers can be mapped")
    return {
        "kernel_size": layer.kernel_size, "stride": layer.stride,
        "padding": layer.padding, "dilation": layer.dilation,
    }  # fmt: skip


class _Calibrator(fx.Interpreter):
    """Runs the float model on calibration data and keeps what each matrix layer is fed."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.sources = {str(n.args[0]): n.name for n in matrix_nodes(module)}
        self.inputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        check_look_up(self, n)
        value = super().run_node(n)
        if n.name in self.sources:
            self.inputs[n.name] = value
        return value


def convert(
    model: nn.Module, chip: Chip, calibration_data: Example, seed: int, pack: bool = False
) -> fx.GraphModule:
    """A model of the same call signature whose Linear, Conv2d and Embedding run on `chip`'s crossbars.

    Batch norm is folded first. `calibration_data` (batch, ...), a tuple for a model of several inputs, sets the input
    range of each layer and the range of calibrated ADCs; `seed` draws the chip instance. pack: as in `xbar.hw.graph.network.trace`.
    `model` is left alone. Raises TraceError, MappingError or ParameterError.
    """
    given = inputs_of(calibration_data)
    for data in given:
        if data.dim() < (2 if data.is_floating_point() else 1) or data.shape[0] < 1:
            raise ParameterError(f"calibration_data must be (batch, ...), got {tuple(data.shape)}")
        if not bool(torch.isfinite(data).all()):
            raise ParameterError("calibration_data must be finite")
    with torch.inference_mode(False):
        return _converted(model, chip, [data.clone() for data in given], seed, pack)


def _converted(
    model: nn.Module, chip: Chip, calibration_data: Sequence[Tensor], seed: int, pack: bool
) -> fx.GraphModule:
    module = fold(model)
    check_inputs(module, calibration_data)
    calibrator = _Calibrator(module)
    with torch.no_grad():
        calibrator.run(*calibration_data)
    for node in matrix_nodes(module):
        name = str(node.target)
        seen = calibrator.inputs[str(node.args[0])]
        layer = _analog(module.get_submodule(name), chip, name, seen, pack)
        vectors = layer.calibration_of(seen)
        layer.saturated_share = layer.matrix.calibrate(vectors)
        layer.matrix.counts = ActionCounts()
        layer.register_buffer("calibration_vectors", vectors, persistent=False)
        module.set_submodule(name, layer)
    module.recompile()
    program(module, seed)
    return module.eval()


def _analog(layer: nn.Module, chip: Chip, name: str, seen: Tensor, pack: bool) -> AnalogLayer:
    """What stands in for a layer that was fed `seen`."""
    if isinstance(layer, nn.Embedding):
        return AnalogEmbedding(layer, chip, name)
    return AnalogLayer(layer, chip, name, float(seen.min()), float(seen.max()), pack=pack)  # type: ignore[arg-type]


def analog_layers(model: nn.Module) -> dict[str, AnalogLayer]:
    """The analog layers of a converted model by name, in order."""
    return {m.name: m for m in model.modules() if isinstance(m, AnalogLayer)}


@torch.no_grad()
def copy_weights(model: nn.Module, to: nn.Module) -> None:
    """Give the layers of `to` the weights and biases of the converted `model`, after training it on the chip's model.

    `to` is a network of the same layers by name, without batch norm, which conversion folds; raises ParameterError else.
    """
    for name, layer in analog_layers(model).items():
        try:
            own = to.get_submodule(name)
        except AttributeError:
            raise ParameterError(f"{type(to).__name__} has no layer {name}, which the converted model has") from None
        weight = layer.matrix.weight
        if not isinstance(own.weight, Tensor) or own.weight.numel() != weight.numel() or (own.bias is None) != (layer.bias is None):
            raise ParameterError(f"layer {name} needs a weight of {weight.numel()} values and "
                                 f"{'no bias' if layer.bias is None else 'a bias'}, as the converted model has")  # fmt: skip
        own.weight.copy_(weight.reshape(own.weight.shape))
        if layer.bias is not None:
            own.bias.copy_(layer.bias)  # type: ignore[operator]


def program(
    model: nn.Module, seed: int | Sequence[int], device: Device | None = None, write: int = 0,
    layers: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Programme a converted model anew: chip instance `seed`, or several as one batch, on `device` or the chip's own.

    A batch of a model with several instances holds the samples of the first, then of the second, and so on. Each layer
    draws from generators of its own, so that a change in one does not alter another's noise, and instance i of many
    equals instance i alone. layers: only these have the device's errors; the cells of all others are ideal. `write`
    counts how often the same chips have been written. Raises ParameterError.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    found = analog_layers(model)
    unknown = set(layers or ()) - set(found)
    if unknown:
        raise ParameterError(f"no analog layer is called {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    for index, (name, layer) in enumerate(found.items()):
        chosen = device or layer.chip.device
        if layers is not None and name not in layers:
            chosen = ideal_of(chosen)
        layer.output_scale = torch.ones(1, dtype=torch.float64, device=layer.output_scale.device)
        layer.matrix.program(seeds, chosen, index, write)


def write_pulses(model: nn.Module) -> dict[str, float]:
    """Mean write pulses per cell by layer, over chip instances: 1 without write-verify, 0 where cells are ideal."""
    return {name: layer.matrix.programmed_mean("pulses_per_cell") for name, layer in analog_layers(model).items()}


def set_time(model: nn.Module, seconds: float) -> None:
    """Read a converted model's cells `seconds` after they were programmed, from now on."""
    for layer in analog_layers(model).values():
        layer.matrix.set_time(seconds)


def compensate_drift(model: nn.Module) -> dict[str, Tensor]:
    """Global drift compensation: one digital factor per layer and chip instance, by layer (instances,).

    A reference read: the layer's calibration inputs now, against the same read just after programming; the factor is the
    ratio of the summed magnitudes. Source: V. Joshi et al., Nature Communications 11, 2473 (2020), "global drift
    compensation", which reads a subset of columns periodically; it was not opened.
    """
    factors = {}
    with torch.no_grad():
        for name, layer in analog_layers(model).items():
            matrix, now = layer.matrix, layer.matrix.time
            reads = matrix.reads
            vectors = layer.get_buffer("calibration_vectors")
            shown = vectors.expand(len(matrix.seeds), *vectors.shape) if len(matrix.seeds) > 1 else vectors
            later = matrix(shown).abs().reshape(len(matrix.seeds), -1).sum(1)
            matrix.set_time(0.0)
            first = matrix(shown).abs().reshape(len(matrix.seeds), -1).sum(1)
            matrix.set_time(now)
            matrix.reads = reads
            factors[name] = layer.output_scale = torch.where(later > 0, first / later, torch.ones_like(later)).double()
    return factors


def recalibrate(model: nn.Module) -> dict[str, float]:
    """Set the ranges of calibrated ADCs anew from the calibration inputs on the first chip instance's cells as they
    are now, wires and drift included; the share of conversions that would saturate, by layer. Where drift is compensated
    as well, that comes first: its reference is the read just after programming, over the range of that time."""
    return {
        name: layer.matrix.calibrate(layer.get_buffer("calibration_vectors"), as_programmed=True)
        for name, layer in analog_layers(model).items()
    }


@dataclass(frozen=True)
class LayerQuality:
    """How well a layer computes on the inputs that reach it: share of ADC codes saturated [1], signal-to-noise ratio of
    its output [dB] (power of the exact product over power of the deviation), share of inputs clipped [1]."""

    saturated_share: float
    signal_to_noise_dB: float
    clipped_input_share: float


def layer_quality(model: nn.Module, data: Example) -> dict[str, LayerQuality]:
    """Quality of every layer of a converted model on `data` (batch, ...), given to each chip instance; a tuple for a
    model of several inputs.

    Begins the matrices' `counts` anew, and reads on, as any forward does."""
    found = analog_layers(model)
    power = {name: [0.0, 0.0] for name in found}

    def compare(matrix: nn.Module, given: tuple[Tensor, ...], product: Tensor, name: str) -> None:
        assert isinstance(matrix, CrossbarMatrix)
        exact = matrix.exact_product(given[0], found[name].input_scale)
        power[name][0] += float(exact.square().sum())
        power[name][1] += float((product.double() - exact).square().sum())

    hooks = []
    for name, layer in found.items():
        layer.matrix.measure, layer.matrix.counts = True, ActionCounts()
        hooks.append(layer.matrix.register_forward_hook(partial(compare, name=name)))
    instances = len(next(iter(found.values())).matrix.seeds)
    try:
        with torch.no_grad():
            model(*(each.repeat(instances, *[1] * (each.dim() - 1)) for each in inputs_of(data)))
    finally:
        for hook in hooks:
            hook.remove()
        for layer in found.values():
            layer.matrix.measure = False
    return {name: _quality(layer.matrix, *power[name]) for name, layer in found.items()}


def _quality(matrix: CrossbarMatrix, signal: float, noise: float) -> LayerQuality:
    counts = matrix.counts
    ratio = math.inf if noise <= ROUNDING**2 * signal else 10 * math.log10(signal / noise) if signal > 0 else -math.inf
    return LayerQuality(
        counts.saturated / max(1, counts.conversions), ratio,
        counts.clipped_inputs / max(1, counts.inputs),
    )  # fmt: skip


def read_energies(model: nn.Module) -> dict[str, float]:
    """Energy of the array reads of one vector [J] by layer, over calibration inputs, from V² G t.

    Raises ParameterError where the chip's device names no read voltage.
    """
    return {
        name: layer.matrix.read_energy(layer.get_buffer("calibration_vectors"))
        for name, layer in analog_layers(model).items()
    }

"""Torch layers on simulated crossbars, and `convert(model, chip, calibration_data, seed)`.

Each Linear and Conv2d becomes an AnalogLayer: inputs to integers over the calibrated range, crossbar product,
integers back to values, bias added digitally. Everything else of the model runs as it is.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from hw.chip import Chip
from hw.crossbar import CrossbarMatrix
from hw.device import Device
from hw.errors import MappingError, ParameterError
from hw.mapping import map_weights
from hw.network import fold, matrix_nodes

CALIBRATION_VECTORS = 512  # input vectors kept per layer for the ADC range; the input range uses all


class AnalogLayer(nn.Module):
    """A Linear or Conv2d on crossbars; same call as the layer it replaces, no gradients.

    input_scale: the input value that the integer 1 stands for. saturated_share: share of conversions on
    calibration data that leave the ADC's codes. Inputs beyond the calibrated range are clipped, as a DAC does,
    and counted in `matrix.counts.clipped_inputs`.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, chip: Chip, name: str, input_low: float, input_high: float):
        super().__init__()
        self.name, self.chip = name, chip
        self.convolution = _convolution(layer) if isinstance(layer, nn.Conv2d) else None
        self.groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        weight = layer.weight.detach()
        weight = weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        try:
            mapped = map_weights(weight, chip.geometry(weight.shape[1], weight.shape[2], self.groups))
        except MappingError as error:
            raise MappingError(f"layer {name}: {error}") from None
        self.signed_input = input_low < 0
        self.matrix = CrossbarMatrix(mapped, chip, self.signed_input)
        self.low, self.high = _integer_range(chip, self.signed_input)
        largest = max(abs(input_low), abs(input_high))
        self.input_scale = largest / self.high if largest > 0 else 1.0
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.saturated_share = 0.0

    bias: Tensor | None

    def to_integers(self, x: Tensor) -> Tensor:
        """Integer vectors (groups, vectors, inputs) float64 of an input batch, clipped to the DAC's range."""
        vectors = self._vectors(x)
        integers = (vectors.double() / self.input_scale).round_()
        clipped = integers.clamp(self.low, self.high)
        self.matrix.counts.clipped_inputs += int((clipped != integers).sum())
        return clipped

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for `x`, as the chip computes it."""
        with torch.no_grad():
            sums = self.matrix(self.to_integers(x))  # (groups, vectors, outputs)
            value = sums * (self.matrix.mapped.scale.unsqueeze(1) * self.input_scale)
            return self._outputs(value, x)

    def _vectors(self, x: Tensor) -> Tensor:
        if self.convolution is None:
            return x.reshape(1, -1, x.shape[-1])
        patches = nn.functional.unfold(x, **self.convolution)  # (batch, channels x kernel, positions)
        grouped = patches.unflatten(1, (self.groups, -1))
        return grouped.permute(1, 0, 3, 2).flatten(1, 2)

    def _outputs(self, value: Tensor, x: Tensor) -> Tensor:
        joined = value.transpose(0, 1).flatten(1)  # (vectors, groups x outputs)
        if self.bias is not None:
            joined = joined + self.bias
        joined = joined.to(x.dtype)
        if self.convolution is None:
            return joined.reshape(*x.shape[:-1], -1)
        c = self.convolution
        height, width = (
            (x.shape[2 + i] + 2 * c["padding"][i] - c["dilation"][i] * (c["kernel_size"][i] - 1) - 1)
            // c["stride"][i] + 1
            for i in (0, 1)
        )  # fmt: skip
        return joined.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)


def _convolution(layer: nn.Conv2d) -> dict[str, Any]:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise MappingError("only zero padding given in numbers can be mapped")
    return {
        "kernel_size": layer.kernel_size, "stride": layer.stride,
        "padding": layer.padding, "dilation": layer.dilation,
    }  # fmt: skip


def _integer_range(chip: Chip, signed: bool) -> tuple[int, int]:
    """Smallest and largest input integer: symmetric two's complement, or magnitudes of full width."""
    if chip.inputs.signed == "twos_complement":
        largest = 2 ** (chip.inputs.bits - 1) - 1
        return (-largest, largest) if signed else (0, largest)
    largest = 2**chip.inputs.bits - 1
    return (-largest if signed else 0, largest)


class _Calibrator(fx.Interpreter):
    """Runs the float model on calibration data and keeps what each matrix layer is fed."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.sources = {str(n.args[0]): n.name for n in matrix_nodes(module)}
        self.inputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self.sources:
            self.inputs[n.name] = value
        return value


def convert(model: nn.Module, chip: Chip, calibration_data: Tensor, seed: int) -> fx.GraphModule:
    """A model of the same call signature whose Linear and Conv2d run on `chip`'s crossbars.

    Batch norm is folded first. `calibration_data` (batch, ...) sets the input range of each layer and the
    range of calibrated ADCs; `seed` draws the chip instance. `model` is left alone. Raises TraceError,
    MappingError or ParameterError.
    """
    if calibration_data.dim() < 2 or calibration_data.shape[0] < 1:
        raise ParameterError(f"calibration_data must be (batch, ...), got {tuple(calibration_data.shape)}")
    if not bool(torch.isfinite(calibration_data).all()):
        raise ParameterError("calibration_data must be finite")
    module = fold(model)
    calibrator = _Calibrator(module)
    with torch.no_grad():
        calibrator.run(calibration_data)
    for node in matrix_nodes(module):
        name = str(node.target)
        seen = calibrator.inputs[str(node.args[0])]
        layer = AnalogLayer(module.get_submodule(name), chip, name, float(seen.min()), float(seen.max()))  # type: ignore[arg-type]
        vectors = _sample_vectors(layer.to_integers(seen))
        layer.saturated_share = layer.matrix.calibrate(vectors)
        layer.matrix.counts.clipped_inputs = 0
        layer.register_buffer("calibration_vectors", vectors.to(torch.int32), persistent=False)
        module.set_submodule(name, layer)
    module.recompile()
    program(module, seed)
    return module.eval()


def _sample_vectors(integers: Tensor) -> Tensor:
    """At most CALIBRATION_VECTORS of (groups, vectors, inputs), evenly spread."""
    count = integers.shape[1]
    keep = torch.linspace(0, count - 1, min(count, CALIBRATION_VECTORS)).round().long()
    return integers[:, keep]


def analog_layers(model: nn.Module) -> dict[str, AnalogLayer]:
    """The analog layers of a converted model by name, in order."""
    return {m.name: m for m in model.modules() if isinstance(m, AnalogLayer)}


def program(model: nn.Module, seed: int, device: Device | None = None) -> None:
    """Programme a converted model anew: chip instance `seed`, on `device` or the chip's own.

    Each layer draws from a generator of its own, so that a change in one does not alter another's noise.
    """
    if seed < 0:
        raise ParameterError(f"seed must be 0 or more, got {seed}")
    for index, layer in enumerate(analog_layers(model).values()):
        state = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator().manual_seed(state)
        layer.matrix.program(device or layer.chip.device, generator)


def read_energies(model: nn.Module) -> dict[str, float]:
    """Energy of the array reads of one vector [J] by layer, over calibration inputs, from V² G t.

    Raises ParameterError where the chip's device names no read voltage.
    """
    return {
        name: layer.matrix.read_energy(layer.get_buffer("calibration_vectors").double())
        for name, layer in analog_layers(model).items()
    }

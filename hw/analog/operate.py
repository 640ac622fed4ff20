"""What is done with a converted model: write it to chips, let time pass, compensate, and ask how well and at what energy it reads."""

import math
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import SupportsIndex

import torch
from torch import Tensor, nn

from xbar.hw.analog.layers import AnalogLayer
from xbar.hw.array.calibration import saturated_share
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.crossbar import CrossbarMatrix, currents_of
from xbar.hw.cells.device import Device, ideal_of
from xbar.hw.errors import ParameterError
from xbar.hw.graph.capture import Example, inputs_of

ROUNDING = 1e-5  # of a signal: deviations below it are the arithmetic's, float32


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
        weight = layer.torch_weight()
        bias = layer.torch_bias()
        if not isinstance(own.weight, Tensor) or own.weight.numel() != weight.numel() or (own.bias is None) != (bias is None):
            raise ParameterError(f"layer {name} needs a weight of {weight.numel()} values and "
                                 f"{'no bias' if bias is None else 'a bias'}, as the converted model has")  # fmt: skip
        own.weight.copy_(weight.reshape(own.weight.shape))
        if bias is not None:
            own.bias.copy_(bias)  # type: ignore[operator]


def program(
    model: nn.Module, seed: int | Sequence[int], device: Device | None = None, write: int = 0,
    layers: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Programme a converted model anew: chip instance `seed`, or several as one batch, on `device` or the chip's own.

    A batch of a model with several instances holds the samples of the first, then of the second, and so on. Each layer
    draws from generators of its own, so that a change in one does not alter another's noise, and instance i of many
    equals instance i alone. Columns that the chip has fitted are fitted to the calibration inputs; `fit_columns` takes others, and
    those that the layers before really give. layers: only these have the device's errors; the cells of all others are ideal. `write`
    counts how often the same chips have been written. Raises ParameterError.
    """
    seeds = _whole(seed)
    found = analog_layers(model)
    unknown = set(layers or ()) - set(found)
    if unknown:
        raise ParameterError(f"no analog layer is called {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    for index, (name, layer) in enumerate(found.items()):
        chosen = device or layer.chip.device
        aimed = layers is not None and name not in layers
        if aimed:
            chosen = ideal_of(chosen)
        layer.output_scale = torch.ones(1, dtype=torch.float64, device=layer.output_scale.device)
        layer.warned = False
        layer.matrix.program(seeds, chosen, index, write, aimed=aimed)
        if layer.columns_are_fitted:
            layer.matrix.fit_columns([layer.shown])


def _whole(seed: int | Sequence[int]) -> list[int]:
    """Seeds as Python's whole numbers, numpy's among them."""
    try:
        return [operator.index(each) for each in ([seed] if isinstance(seed, SupportsIndex) else seed)]
    except TypeError:
        raise ParameterError(f"seed must be a whole number, or several, got {seed!r}") from None


def write_pulses(model: nn.Module) -> dict[str, float]:
    """Mean write pulses per cell by layer, over chip instances: 1 without write-verify, 0 where cells are ideal."""
    return {name: layer.matrix.array.mean("pulses_per_cell") for name, layer in analog_layers(model).items()}


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
            reads, shown = matrix.reads, layer.shown
            later = matrix(shown).abs().reshape(len(matrix.seeds), -1).sum(1)
            matrix.set_time(0.0)
            first = matrix(shown).abs().reshape(len(matrix.seeds), -1).sum(1)
            matrix.set_time(now)
            matrix.reads = reads
            factors[name] = layer.output_scale = torch.where(later > 0, first / later, torch.ones_like(later)).double()
    return factors


@torch.no_grad()
def fit_columns(model: nn.Module, data: Example) -> dict[str, Tensor]:
    """Fit the gain and offset of every column of a converted model's crossbars on `data` (batch, ...), given to each chip instance, as
    a chip is calibrated after it was written: layer after layer, on the inputs that the layers before, fitted, give. A matrix used
    several times keeps the fit of its last use. Returns what is left of each column's products, by layer (instances x groups,
    row_tiles, columns), a standard deviation in units of the layer's outputs, infinite where a column's products do not vary.

    Raises ParameterError for chips with component.adc.column_calibration = nominal. Look-ups keep their nominal columns.
    """
    found = {name: layer for name, layer in analog_layers(model).items() if layer.columns_are_fitted}
    if not found:
        raise ParameterError("columns are fitted on chips with component.adc.column_calibration = fitted")
    instances = len(next(iter(found.values())).matrix.seeds)
    try:
        for layer in found.values():
            layer.fitting = True
        model(*(each.repeat(instances, *[1] * (each.dim() - 1)) for each in inputs_of(data)))
    finally:
        for layer in found.values():
            layer.fitting = False
    return {name: layer.residual for name, layer in found.items() if layer.residual is not None}


def recalibrate(model: nn.Module) -> dict[str, float]:
    """Set the ranges of calibrated ADCs anew from the calibration inputs on the first chip instance's cells as they
    are now, wires and drift included; the share of conversions that would saturate, by layer. Where drift is compensated
    as well, that comes first: its reference is the read just after programming, over the range of that time."""
    return {
        name: layer.matrix.calibrate(layer.get_buffer("calibration_vectors"), as_programmed=True)
        for name, layer in analog_layers(model).items()
    }


def keep_steps(model: nn.Module, of: nn.Module) -> None:
    """Give the ADCs of a converted model the widths of a code that those of `of` have, the same network on a chip with ADCs of
    other bits: their ranges then begin where they do there, and end where their own bits end. Raises ParameterError for ADCs whose range
    is not set, such as those of a fixed one, and has codes of another width."""
    steps = {name: layer.matrix.channel.adc for name, layer in analog_layers(of).items()}
    for name, layer in analog_layers(model).items():
        matrix, kept = layer.matrix, steps[name]
        width = matrix.channel.adc.high * kept.step
        if kept.origin is None:
            matrix.full_scale = width
        else:
            matrix.lowest = kept.origin * kept.step
            matrix.full_scale = matrix.lowest + width
        found, begins = matrix.channel.adc, kept.origin
        moved = begins is not None and (found.origin is None or not torch.allclose(found.origin, begins))
        if moved or not torch.allclose(found.step, kept.step):
            policy = layer.chip.component.adc.range
            raise ParameterError(f"layer {name}: with component.adc.range = {policy} codes have a width of their own, which cannot be kept")


def saturated_shares(model: nn.Module) -> dict[str, float]:
    """Share of the conversions of calibration inputs that leave the codes, by layer, at the ranges as they are."""
    found = {}
    for name, layer in analog_layers(model).items():
        currents, _ = currents_of(layer.matrix, layer.get_buffer("calibration_vectors"))
        found[name] = saturated_share(layer.matrix.channel, currents)
    return found


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
    power: dict[str, list[Tensor | float]] = {name: [0.0, 0.0] for name in found}  # read when all is done

    def compare(matrix: nn.Module, given: tuple[Tensor, ...], product: Tensor, name: str) -> None:
        assert isinstance(matrix, CrossbarMatrix)
        exact = matrix.exact_product(given[0], found[name].input_scale)
        power[name][0] = power[name][0] + exact.square().sum()
        power[name][1] = power[name][1] + (product.double() - exact).square().sum()

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
    return {name: _quality(layer.matrix, *map(float, power[name])) for name, layer in found.items()}


def _quality(matrix: CrossbarMatrix, signal: float, noise: float) -> LayerQuality:
    counts = matrix.counts
    ratio = math.inf if noise <= ROUNDING**2 * signal else 10 * math.log10(signal / noise) if signal > 0 else -math.inf
    return LayerQuality(
        counts.saturated / max(1, counts.conversions), ratio,
        counts.clipped_inputs / max(1, counts.inputs),
    )  # fmt: skip


def read_energies(model: nn.Module) -> dict[str, float]:
    """Energy of the array reads of one vector [J] by layer, over calibration inputs, from V² G t, and as much of it as the chip's arrays
    take where their energy is stated (`Chip.read_energy_share`).

    Raises ParameterError where the chip's device names no read voltage.
    """
    return {
        name: layer.matrix.read_energy(layer.get_buffer("calibration_vectors")) * layer.chip.read_energy_share
        for name, layer in analog_layers(model).items()
    }

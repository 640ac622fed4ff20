"""Weights on the device's levels, and training with levels, masks and device mismatch in the forward pass.

The order of work: prune, `shrink`, `folded` (a chip quantises what is left after batch norm is folded: levels found
before folding would be scaled apart, output by output), `quantise`, `inject_mismatch`, retraining, `bake`. Like masks, levels
and mismatch are parametrisations of a layer's weight: mask, then levels, then mismatch; gradients go straight through the
latter two (Y. Bengio et al., arXiv 1308.3432, 2013; not opened).

Learned step sizes (S. Esser et al., Learned step size quantization, arXiv 1902.08153, 2019, equations 1 to 3; not opened): the step
between two levels is trained with the weights, and so is that between two codes of a layer's inputs (`learn_input_steps`), which is
the range that `xbar.hw.convert` is given (`take_input_ranges`). Differs from the paper: a step is trained by its logarithm, because
AdamW's steps are of the learning rate's size whatever the gradient; it begins at the nearest levels' and the calibrated
range's; and under full scale the largest weight stays on the last level.

`xbar.hw.convert(model, chip, data, seed).train()` trains through the whole chip, converters included, with cells drawn anew
each forward: closer to the chip, dearer. Here only programming errors of the cells are injected, at the cost of one
draw a cell.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xbar.compression.admm import Admm, Rho
from xbar.compression.channels import BATCH_NORMS
from xbar.compression.constraints import Levels
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, groups_of, layer_of, matrix_layers, matrix_of, weight_of
from xbar.compression.masks import attach, baked, masks_of, nonzero_masks, values
from xbar.compression.packing import packing
from xbar.hw.array.mapping import map_weights, read_integers
from xbar.hw.chip.description import Chip
from xbar.hw.graph.fold import fold
from xbar.hw.randomness import generator_of

_STAYS = "stays_after_folding"  # of a batch norm
TrainEpoch = Callable[[nn.Module, Callable[[], Tensor], int], None]


class _StraightThrough(torch.autograd.Function):
    """`value` forward, the gradient to `weight` unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[0], None


class _LearnedStep(torch.autograd.Function):
    """`integer` x step forward; backward as LSQ: values within the codes get the gradient; the step gets integer - value / step of
    those that were rounded, and the code itself of those held at an end, times `share` (1 / sqrt(values x largest code))."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, step: Tensor, integer: Tensor, within: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(value, step, integer, within)
        ctx.share = share
        return integer * step

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        value, step, integer, within = ctx.saved_tensors
        rounded = integer - value / step
        slope = gradient[0] * torch.where(within & (rounded.abs() <= 0.5), rounded, integer)
        return gradient[0] * within, slope.sum_to_size(step.shape) * ctx.share, None, None, None


class Levelled(nn.Module):
    """The parametrisation: nearest level of a scale (groups, outputs), which stays as it is or, `learned`, is trained: it is
    `scale` x exp(`stretch`) then, one stretch for a layer or for each output, as the levels have it."""

    def __init__(self, levels: Levels, scale: Tensor, groups: int, learned: bool = False):
        super().__init__()
        self.levels, self.groups = levels, groups
        self.register_buffer("scale", scale)
        shape = scale.shape if levels.per == "output" else (1, 1)
        self.stretch = nn.Parameter(scale.new_zeros(shape, dtype=torch.float32)) if learned else None

    scale: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its levels."""
        if self.stretch is None:
            integer = self.levels.at_scale(matrix_of(weight.detach(), self.groups), self.scale)
            value = weight_of(integer * self.scale.unsqueeze(-1), weight.shape).to(weight.dtype)
            return _StraightThrough.apply(weight, value)
        matrix = matrix_of(weight, self.groups).double()
        scale = self.scale * self.stretch.double().exp()
        with torch.no_grad():
            integer = self.levels.at_scale(matrix, scale)
            step = scale.unsqueeze(-1).clamp(min=torch.finfo(torch.float64).tiny)
            within = matrix.abs() <= self.levels.largest * step
        share = (matrix.numel() * self.levels.largest) ** -0.5
        value = _LearnedStep.apply(matrix, scale.unsqueeze(-1), integer, within, share)
        return weight_of(value, weight.shape).to(weight.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What stands behind a weight that is assigned."""
        return weight


class InputCodes(nn.Module):
    """A layer's inputs on the codes of a converter, low .. high, of a learned step: step 0 at the start x exp(`stretch`)."""

    def __init__(self, low: int, high: int, step: float):
        super().__init__()
        self.low, self.high = low, high
        self.register_buffer("step", torch.tensor(step, dtype=torch.float64))
        self.stretch = nn.Parameter(torch.zeros(()))

    step: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The inputs on their codes."""
        step = (self.step * self.stretch.double().exp()).to(x.dtype)
        with torch.no_grad():
            scaled = x / step
            integer = scaled.round().clamp(self.low, self.high)
            within = (scaled >= self.low) & (scaled <= self.high)
        return _LearnedStep.apply(x, step, integer, within, (x[0].numel() * self.high) ** -0.5)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest input, from which `xbar.hw.convert` makes this very step; without sign from 0."""
        highest = float((self.step * self.stretch.double().exp()).detach()) * self.high
        return (-highest if self.low < 0 else 0.0), highest


class Mismatch(nn.Module):
    """The parametrisation: in training, the weight as cells programmed anew hold it; else the weight.

    `draws` counts the forward passes; with seed and index it decides the errors, so a resumed run repeats them. It stays on the CPU,
    where it is at hand.
    """

    def __init__(self, chip: Chip, groups: int, seed: int, index: int):
        super().__init__()
        self.chip, self.groups, self.seed, self.index = chip, groups, seed, index
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    draws: Tensor

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As of any module, but for the count."""
        draws = self.draws
        super()._apply(fn, recurse)
        self.draws = draws
        return self

    def forward(self, weight: Tensor) -> Tensor:
        """Weight plus error; the gradient is the weight's."""
        if not self.training:
            return weight
        generator = generator_of(self.seed, self.index, int(self.draws), device=weight.device)
        with torch.no_grad():
            self.draws += 1
            error = programming_error(weight.detach(), self.chip, generator, self.groups)
        return weight + error

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What stands behind a weight that is assigned."""
        return weight


def programming_error(weight: Tensor, chip: Chip, generator: torch.Generator, groups: int = 1) -> Tensor:
    """What `chip`'s cells hold less what they should, of the weight's shape and dtype, for one programming.

    The weight's rows and columns that are not zero are packed and mapped as `xbar.hw.array.mapping` maps them, the cells programmed by
    the chip's device (errors, write-verify, stuck cells), and the levels read back as weights. Rows and columns that are
    zero have no cells; zeros between others have, and err. Left out: the errors of an offset's reference columns, drift,
    telegraph and read noise, wires.
    """
    found = packing(weight, groups)
    error = torch.zeros_like(matrix_of(weight, groups), dtype=torch.float64)
    mapped = map_weights(found.pack(weight), found.geometry(chip))
    bits = mapped.geometry.cell_bits
    target = chip.device.conductance(mapped.levels, bits)
    cells = chip.device.program(target, generator).conductance
    levels = (cells - chip.device.g_min) / chip.device.level_step(bits)
    packed = (read_integers(mapped, levels) - read_integers(mapped)) * mapped.scale.unsqueeze(-1)
    outputs, inputs = (lines.to(error.device) for lines in (found.outputs, found.inputs))
    error[:, outputs[:, None], inputs] = packed
    return weight_of(error, weight.shape).to(weight.dtype)


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `model` with batch norm folded, as the chip runs it, in evaluation mode; layers that had a mask have
    it again. Norms that follow no layer alone stay, digital on the chip, and copies of the result know that nothing of theirs is to be
    folded. example: inputs (batch, ...). Raises TraceError as `xbar.hw.graph.fold.fold`."""
    result = fold(baked(model), example)
    for module in result.modules():
        if isinstance(module, BATCH_NORMS):
            setattr(module, _STAYS, True)
    masked = masks_of(model)
    attach(result, {name: mask for name, mask in nonzero_masks(result).items() if name in masked})
    return result


def hold_levels(model: nn.Module, levels: Levels | Mapping[str, Levels], learned: bool = False) -> dict[str, Tensor]:
    """Keep weights on levels from now on, of all Linear and Conv2d layers or of those named: the scale is solved for from
    the present weights and stays, or is trained from there (`learned`); training moves weights between levels. The scales (groups,
    outputs) by layer as they are now. An optimiser is to be made afterwards, for the scales that it trains.

    Under full scale the largest weight is on the last level whatever training does, so that the chip's own levels are
    these. Raises CompressionError for an unknown layer, one without weights, one whose levels are held already, and a model
    with batch norm that `folded` has not seen (see the module).
    """
    _check_folded(model)
    scales = {}
    for name, chosen in _by_layer(model, levels).items():
        layer = layer_of(model, name)
        if any(isinstance(m, (Levelled, Mismatch)) for m in layer.modules()):
            raise CompressionError(f"layer {name}: levels are held, or mismatch injected, already")
        _, scale = chosen.quantise(values(layer), groups_of(layer))
        if not bool(scale.any()):
            raise CompressionError(f"layer {name}: all its weights are 0")
        if name not in masks_of(model):  # so that a later mask comes before the levels
            attach(model, {name: torch.ones_like(layer.weight, dtype=torch.bool)})
        _append(layer, Levelled(chosen, scale, groups_of(layer), learned))
        scales[name] = scale
    return scales


def learn_input_steps(
    model: nn.Module, chip: Chip, example: Tensor, ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> None:  # fmt: skip
    """Round the inputs of every Linear and Conv2d to the codes of `chip`'s converters from now on, with a step that is trained.

    It begins at the range that `example`, inputs (batch, ...), has there, or at that of `ranges` where the layer's is there. Inputs
    that are never negative in `example` have codes from 0. An optimiser is to be made afterwards. Raises CompressionError for a model
    with batch norm that `folded` has not seen, or whose inputs are on codes already.
    """
    _check_folded(model)
    layers = matrix_layers(model)
    found: dict[str, tuple[float, float]] = {}

    def seen(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
            low, high = (float(end) for end in torch.aminmax(given[0]))
            before = found.get(name, (low, high))
            found[name] = min(low, before[0]), max(high, before[1])

        return hook

    if any(isinstance(m, InputCodes) for m in model.modules()):
        raise CompressionError("inputs are on codes already")
    training, hooks = model.training, [layer.register_forward_pre_hook(seen(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(training)
        for each in hooks:
            each.remove()
    for name, (low, high) in found.items():
        low, high = ranges.get(name, (low, high))
        codes = chip.for_layer(name).inputs.integer_range(low < 0)
        largest = max(abs(low), abs(high))
        layers[name].input_codes = InputCodes(*codes, largest / codes[1] if largest else 1.0).to(layers[name].weight.device)
        layers[name].register_forward_pre_hook(_on_codes)


def _on_codes(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (layer.input_codes(given[0]), *given[1:])  # type: ignore[operator]


def take_input_ranges(model: nn.Module) -> dict[str, tuple[float, float]]:
    """The ranges of inputs learned, lowest and highest by layer, as `xbar.hw.convert(input_ranges=)` takes them; the model is without
    codes from now on, as tracing wants it."""
    found = {}
    for name, layer in matrix_layers(model).items():
        codes = getattr(layer, "input_codes", None)
        if isinstance(codes, InputCodes):
            found[name] = codes.range
            del layer.input_codes
            for key, hook in list(layer._forward_pre_hooks.items()):
                if hook is _on_codes:
                    del layer._forward_pre_hooks[key]
    return found


def inject_mismatch(model: nn.Module, chip: Chip, seed: int) -> None:
    """Give every Linear and Conv2d the programming errors of `chip`'s cells in each training forward, fresh ones each time;
    evaluation is without. Each layer draws from generators of its own. See `programming_error` for what errs."""
    for index, layer in enumerate(matrix_layers(model).values()):
        if any(isinstance(m, Mismatch) for m in layer.modules()):
            raise CompressionError("mismatch is injected already")
        _append(layer, Mismatch(chip, groups_of(layer), seed, index))


def quantise(
    model: nn.Module, levels: Levels | Mapping[str, Levels], train_epoch: TrainEpoch, epochs: int,
    rho: float | Rho | Mapping[str, float | Rho] = 1e-3,
) -> pd.DataFrame:  # fmt: skip
    """Pull the weights of a folded model to levels by ADMM, masks kept, project on them and hold them; ADMM's history.

    train_epoch(model, penalty, epoch) trains one epoch with penalty() added to its loss; none for 0 epochs. Weights that are
    0 at the start stay 0. Retrain afterwards with the levels held. Raises as `hold_levels`.
    """
    _check_folded(model)
    chosen = _by_layer(model, levels)
    attach(model, nonzero_masks(model, chosen))
    admm = Admm(model, {name: [each] for name, each in chosen.items()}, rho)
    for epoch in range(epochs):
        train_epoch(model, admm.penalty, epoch)
        admm.update(epoch)
    admm.project_()
    hold_levels(model, chosen)
    return admm.history


def _by_layer(model: nn.Module, levels: Levels | Mapping[str, Levels]) -> dict[str, Levels]:
    return dict.fromkeys(matrix_layers(model), levels) if isinstance(levels, Levels) else dict(levels)


def _check_folded(model: nn.Module) -> None:
    norms = [n for n, m in model.named_modules() if isinstance(m, BATCH_NORMS) and not getattr(m, _STAYS, False)]
    if norms:
        raise CompressionError(
            f"batch norm {norms[0]} would scale levels apart when the chip folds it: take folded(model, images) first"
        )


def _append(layer: MatrixLayer, step: nn.Module) -> None:
    """One more parametrisation of the weight, after those there are, in the layer's training mode."""
    parametrize.register_parametrization(layer, "weight", step)
    layer.get_submodule("parametrizations").train(layer.training)

"""Masks that stay: masked weights are exactly zero and get no gradient, whatever the optimiser does.

A mask is a parametrisation of the layer's weight: the layer computes with weight x mask, so that weight decay and momentum of
the tensor behind cannot show. `bake` makes it a plain weight again, which tracing and `xbar.hw.convert` want.
Masks are bool of the weight's shape. A model keeps them in its state_dict.
"""

import copy
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xbar.compression.constraints import Channel, Column, Filter, PruningSet
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, groups_of, layer_of, matrix_layers, matrix_of, weight_of
from xbar.compression.packing import packing


class Masked(nn.Module):
    """The parametrisation: weight x mask."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    mask: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros where it is masked; their gradient is 0."""
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What stands behind a weight that is assigned."""
        return self.forward(weight)


def attach(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Mask layers of `model` from now on; a mask joins those there are, so that nothing masked comes back.

    Raises CompressionError for an unknown layer, a mask of another shape than the weight's, and one that leaves
    nothing. Optimisers made before keep working: the parameter that they hold stays the same.
    """
    for name, mask in masks.items():
        layer = layer_of(model, name)
        if mask.shape != layer.weight.shape or mask.dtype != torch.bool:
            raise CompressionError(
                f"layer {name}: the mask must be bool {tuple(layer.weight.shape)}, got {mask.dtype} {tuple(mask.shape)}"
            )
        mask = mask.to(layer.weight.device)
        held = _mask(layer)
        joined = mask if held is None else mask & held.mask
        if not bool(joined.any()):
            raise CompressionError(f"layer {name}: the mask leaves no weight")
        if held is None:
            parametrize.register_parametrization(layer, "weight", Masked(joined.clone()))
        else:
            held.mask.copy_(joined)
        with torch.no_grad():
            behind(layer).mul_(joined)


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks of a model by layer, copies; layers without one are left out."""
    found = {name: _mask(layer) for name, layer in matrix_layers(model).items()}
    return {name: held.mask.clone() for name, held in found.items() if held is not None}


def nonzero_masks(model: nn.Module, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Masks of the weights that are not zero now, by layer (all Linear and Conv2d unless given)."""
    chosen = matrix_layers(model) if layers is None else {name: layer_of(model, name) for name in layers}
    return {name: values(layer) != 0 for name, layer in chosen.items()}


def packed_masks(model: nn.Module) -> dict[str, Tensor]:
    """Masks of what the chip holds (`xbar.compression.packing.packing`), by layer: of rows and columns of the matrix that are packed away,
    all else stays free. Single zeros between others save no cell, so that training may use them."""
    found = {}
    for name, layer in matrix_layers(model).items():
        weight, groups = values(layer), groups_of(layer)
        kept = packing(weight, groups)
        held = torch.zeros_like(matrix_of(weight, groups), dtype=torch.bool)
        held[:, kept.outputs.to(held.device)[:, None], kept.inputs.to(held.device)] = True
        found[name] = weight_of(held, weight.shape)
    return found


def bake(model: nn.Module) -> nn.Module:
    """`model` itself, its parametrised weights plain ones of the values that the layers compute with."""
    for layer in matrix_layers(model).values():
        if parametrize.is_parametrized(layer, "weight"):
            _unparametrise(layer)
    return model


def _unparametrise(layer: MatrixLayer) -> None:
    """As torch's remove_parametrizations, which would break copies of the layer: these share its class."""
    value, weight = values(layer), behind(layer)
    if set(layer.get_submodule("parametrizations").keys()) != {"weight"}:  # type: ignore[operator]
        raise CompressionError("only parametrisations of weights can be baked")
    bias = layer.bias
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    with torch.no_grad():
        weight.copy_(value)
    del layer._parameters["bias"]  # comes after the weight, as in any layer
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)  # type: ignore[arg-type]


def baked(model: nn.Module) -> nn.Module:
    """A copy of `model` with plain weights; see `bake`."""
    return bake(copy.deepcopy(model))


def hold_zeros(model: nn.Module) -> nn.Module:
    """A copy of `model` in training mode, plain but for masks that keep rows and columns zero that are so now (`packed_masks`)."""
    copied = baked(model)
    attach(copied, {name: mask for name, mask in packed_masks(copied).items() if not bool(mask.all())})
    return copied.train()


def compression_ratio(model: nn.Module) -> float:
    """Weights of the Linear and Conv2d layers over those that are not zero, biases not counted."""
    layers = matrix_layers(model).values()
    left = sum(int((values(layer) != 0).sum()) for layer in layers)
    if not left:
        raise CompressionError("every weight of the model is 0")
    return sum(layer.weight.numel() for layer in layers) / left


def values(layer: MatrixLayer) -> Tensor:
    """A copy of a layer's weight as it is when not training, that is without injected mismatch."""
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight.detach().clone()
    steps = layer.get_submodule("parametrizations")
    training = steps.training
    steps.eval()
    try:
        return layer.weight.detach().clone()
    finally:
        steps.train(training)


def behind(layer: MatrixLayer) -> nn.Parameter:
    """The trained tensor behind a layer's weight: the weight itself where it has no parametrisation."""
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight  # type: ignore[return-value]
    return layer.get_parameter("parametrizations.weight.original")


def _mask(layer: MatrixLayer) -> Masked | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    steps = layer.get_submodule("parametrizations.weight").children()
    return next((step for step in steps if isinstance(step, Masked)), None)


# ---- purification (X. Ma et al., Tiny but accurate, ASP-DAC 2020, arXiv 1908.10017; not opened)

_KINDS: dict[str, type[PruningSet]] = {"filter": Filter, "channel": Channel, "column": Column}


def purification_masks(
    model: nn.Module, threshold: float, kinds: Iterable[str] = ("filter", "column"), layers: Iterable[str] | None = None
) -> dict[str, Tensor]:  # fmt: skip
    """Masks without the groups whose l2 norm is below `threshold` times the mean over the layer's groups that are not zero.

    kinds: "filter", "channel", "column". Each layer keeps its largest group. Raises CompressionError for a
    threshold outside 0 .. 1 and for unknown kinds or layers.
    """
    if not 0 <= threshold <= 1:
        raise CompressionError(f"threshold, a share of the layer's mean norm, must be from 0 to 1, got {threshold}")
    kinds = list(kinds)
    unknown = set(kinds) - set(_KINDS)
    if unknown:
        raise CompressionError(f"kinds must be of {', '.join(_KINDS)}, got {', '.join(sorted(unknown))}")
    chosen = matrix_layers(model) if layers is None else {name: layer_of(model, name) for name in layers}
    masks = {}
    for name, layer in chosen.items():
        weight, groups = layer.weight.detach(), groups_of(layer)
        mask = weight != 0
        for kind in kinds:
            norms = _KINDS[kind](k=1).norms(weight * mask, groups)
            left = norms[norms > 0]
            if len(left):
                k = max(1, int((norms >= threshold * left.mean()).sum()))
                mask &= _KINDS[kind](k=min(k, len(left))).mask(weight * mask, groups)
        masks[name] = mask
    return masks


def purify(
    model: nn.Module, threshold: float, kinds: Iterable[str] = ("filter", "column"), layers: Iterable[str] | None = None
) -> dict[str, Tensor]:  # fmt: skip
    """Mask what `purification_masks` leaves out; the masks."""
    masks = {name: mask for name, mask in purification_masks(model, threshold, kinds, layers).items() if mask.any()}
    attach(model, masks)
    return masks


def choose_threshold(
    model: nn.Module, thresholds: Iterable[float], score: Callable[[nn.Module], float], most_lost: float,
    kinds: Iterable[str] = ("filter", "column"), layers: Iterable[str] | None = None,
) -> float:  # fmt: skip
    """The largest of `thresholds` up to which purification costs at most `most_lost` of `score` (higher is better, such as
    accuracy on validation data, called with a purified copy); 0 where none does. `model` is left alone."""
    before = score(model)
    chosen, kinds = 0.0, list(kinds)
    names = None if layers is None else list(layers)
    for threshold in sorted(thresholds):
        trial = copy.deepcopy(model)
        purify(trial, threshold, kinds, names)
        if score(trial) < before - most_lost:
            break
        chosen = threshold
    return chosen

"""Magnitude pruning, the baseline: no regularisation, weights go by their size alone.

One-shot: once, then retraining. Iterative: a few at a time with retraining between (S. Han et al., Learning both weights
and connections, NeurIPS 2015; not opened). Structured by the same sets as ADMM, unstructured within a layer by
`Weights`, over all layers by `global_masks`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from xbar.compression.constraints import PruningSet
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import groups_of, layer_of, matrix_layers
from xbar.compression.masks import attach, masks_of

Sets = Mapping[str, Sequence[PruningSet]]


def magnitude_masks(model: nn.Module, sets: Sets) -> dict[str, Tensor]:
    """Masks by layer of what the sets keep of the present weights, one set after the other."""
    masks = {}
    for name, given in sets.items():
        layer = layer_of(model, name)
        weight = layer.weight.detach()
        mask = torch.ones_like(weight, dtype=torch.bool)
        for constraint in given:
            mask &= constraint.mask(weight * mask, groups_of(layer))
        masks[name] = mask
    return masks


def global_masks(model: nn.Module, ratio: float, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Masks by layer that keep the share `ratio` of all weights together, the largest magnitudes (unstructured;
    torch.nn.utils.prune). Raises CompressionError for a ratio outside 0 .. 1 or an unknown layer."""
    if not 0 < ratio <= 1:
        raise CompressionError(f"ratio, the share kept, must be above 0 and at most 1, got {ratio}")
    names = list(matrix_layers(model) if layers is None else layers)
    copies = {name: nn.ParameterDict({"weight": layer_of(model, name).weight.detach().clone()}) for name in names}
    total = sum(holder["weight"].numel() for holder in copies.values())
    pruned = total - max(1, round(ratio * total))
    prune.global_unstructured(
        [(holder, "weight") for holder in copies.values()], pruning_method=prune.L1Unstructured, amount=pruned
    )
    return {name: holder.get_buffer("weight_mask").bool() for name, holder in copies.items()}


def one_shot(model: nn.Module, sets: Sets) -> dict[str, Tensor]:
    """Prune once by magnitude and keep the masks on the model; the masks."""
    masks = magnitude_masks(model, sets)
    attach(model, masks)
    return masks


def iterative(
    model: nn.Module, sets: Sets, rounds: int, retrain: Callable[[nn.Module, int], None]
) -> dict[str, Tensor]:
    """Prune in `rounds` steps of equal ratio, from all groups to the sets' own k, calling `retrain(model, round)` after
    each; the last masks. Raises CompressionError for rounds below 1."""
    if rounds < 1:
        raise CompressionError(f"rounds must be 1 or more, got {rounds}")
    for step in range(1, rounds + 1):
        eased = {name: [_eased(s, layer_of(model, name), step / rounds) for s in given] for name, given in sets.items()}
        one_shot(model, eased)
        retrain(model, step - 1)
    return masks_of(model)


def _eased(constraint: PruningSet, layer: nn.Conv2d | nn.Linear, way: float) -> PruningSet:
    """The set a share `way` of the way from all groups to its own."""
    if way == 1:
        return constraint
    kept, total = constraint.count(layer.weight.detach(), groups_of(layer))
    return replace(constraint, k=None, ratio=(kept / total) ** way)

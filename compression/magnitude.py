"""Magnitude pruning, the baseline: no regularisation, weights go by their size alone.

One-shot: once, then retraining. Iterative: a few at a time with retraining between (S. Han et al., Learning both weights
and connections, NeurIPS 2015; not opened). Gradual: the same along training itself, many times (M. Zhu and S. Gupta, To prune, or
not to prune, arXiv 1710.01878, 2017; not opened). Structured by the same sets as ADMM, unstructured within a layer by
`Weights`, over all layers by `global_masks`.

`OneShot` and `Gradual` stand where `xbar.compression.admm.Admm` stands in a training: a penalty, which is 0, updates, a
projection at the end.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from xbar.compression.constraints import PruningSet
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import groups_of, layer_of, matrix_layers
from xbar.compression.joint import Joint, cut_all
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


class OneShot:
    """What the sets, and the joint sets of streams, leave is masked at once; training goes on under the masks."""

    done = False

    def __init__(self, model: nn.Module, sets: Sets, joint: Sequence[Joint] = ()):
        self.model, self.sets, self.updates = model, {name: list(given) for name, given in sets.items()}, 0
        self.joint = list(joint)
        self._begin()

    def _begin(self) -> None:
        cut_all(self.model, self.joint)
        one_shot(self.model, self.sets)

    def penalty(self) -> Tensor:
        """0: nothing pulls."""
        return torch.zeros((), device=next(self.model.parameters()).device)

    def update(self, epoch: int | None = None) -> None:
        """Counted only."""
        self.updates += 1

    @property
    def history(self) -> pd.DataFrame:
        """Empty: there are no residuals."""
        return pd.DataFrame()

    def project_(self) -> dict[str, Tensor]:
        """The masks by layer, all of them in their sets."""
        cut_all(self.model, self.joint)  # biases and norms of what went have learned
        return masks_of(self.model)

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on, besides the model, whose state has the masks."""
        return {"updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.updates = state["updates"]


class Gradual(OneShot):
    """Groups go by their size a few at each of `planned` updates, what is left falling as (1 - t)³ from all of them to the sets' own
    (Zhu and Gupta, equation 1), t the share of the updates done; once masked, masked for good. `until`: the share of the updates
    after which all are gone, the rest retrains. Raises CompressionError for planned below 1 and until outside 0 .. 1.
    """

    def __init__(self, model: nn.Module, sets: Sets, planned: int, until: float = 0.7, joint: Sequence[Joint] = ()):
        if planned < 1 or not 0 < until <= 1:
            raise CompressionError(f"gradual pruning needs planned of 1 or more and until above 0 and at most 1, got {planned}, {until}")
        self.steps = max(1, round(until * planned))
        super().__init__(model, sets, joint)

    def _begin(self) -> None:
        there = matrix_layers(self.model)
        of_streams = (each.path.removesuffix(".weight") for one in self.joint for each in one.stream.slices)
        names = dict.fromkeys([*self.sets, *(name for name in of_streams if name in there)])
        attach(self.model, {name: torch.ones_like(layer_of(self.model, name).weight, dtype=torch.bool) for name in names})

    @torch.no_grad()
    def update(self, epoch: int | None = None) -> None:
        """Mask what is to be gone by now."""
        self.updates += 1
        if self.updates <= self.steps:
            left = (1 - self.updates / self.steps) ** 3
            cut_all(self.model, [replace(each, k=round(each.kept + left * (each.stream.count - each.kept)), ratio=None)
                                 for each in self.joint])  # fmt: skip
            layers = {name: layer_of(self.model, name) for name in self.sets}
            one_shot(self.model, {name: [_leaving(s, layers[name], left) for s in given] for name, given in self.sets.items()})

    def project_(self) -> dict[str, Tensor]:
        """Mask what is left to be masked; the masks by layer."""
        one_shot(self.model, self.sets)
        return super().project_()


def _leaving(constraint: PruningSet, layer: nn.Conv2d | nn.Linear, left: float) -> PruningSet:
    """The set with the share `left` of what is to go still there."""
    if left == 0:
        return constraint
    kept, total = constraint.count(layer.weight.detach(), groups_of(layer))
    return replace(constraint, k=None, ratio=(kept + left * (total - kept)) / total)


def _eased(constraint: PruningSet, layer: nn.Conv2d | nn.Linear, way: float) -> PruningSet:
    """The set a share `way` of the way from all groups to its own."""
    if way == 1:
        return constraint
    kept, total = constraint.count(layer.weight.detach(), groups_of(layer))
    return replace(constraint, k=None, ratio=(kept / total) ** way)

"""Norms over channels of which some are gone, because they are always 0: means are still over all there were."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _normalised(x: Tensor, axes: list[int], count: int, eps: float) -> Tensor:
    """Deviation from the mean over its root mean square, of `count` values of which those that are not in x are 0.

    The sum of (x - mean)² over all is the sum of x (x - mean), in which what is 0 does not count.
    """
    apart = x - x.sum(axes, keepdim=True) * (1 / count)
    variance = (x * apart).sum(axes, keepdim=True) * (1 / count)
    return apart * torch.rsqrt(variance + eps)


class NarrowLayerNorm(nn.LayerNorm):
    """A layer norm of `count` values, of which those not given are 0."""

    def __init__(self, shape: Sequence[int], count: int, eps: float, weight: nn.Parameter | None, bias: nn.Parameter | None):
        super().__init__(list(shape), eps, weight is not None, bias is not None, device="meta")
        self.count, self.weight, self.bias = count, weight, bias  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """The norm over the last axes."""
        found = _normalised(x, list(range(-len(self.normalized_shape), 0)), self.count, self.eps)
        found = found if self.weight is None else found * self.weight
        return found if self.bias is None else found + self.bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, count={self.count}"


class NarrowGroupNorm(nn.GroupNorm):
    """A group norm of groups of `count` channels, of which those not given are 0."""

    def __init__(self, groups: int, channels: int, count: int, eps: float, weight: nn.Parameter | None, bias: nn.Parameter | None):
        super().__init__(groups, channels, eps, weight is not None, device="meta")
        self.count, self.weight, self.bias = count, weight, bias  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """The norm over the channels of each group, at all positions."""
        apart = x.unflatten(1, (self.num_groups, -1))
        positions = x[0, 0].numel()
        found = _normalised(apart, list(range(2, apart.dim())), self.count * positions, self.eps).flatten(1, 2)
        sides = (-1, *[1] * (x.dim() - 2))
        found = found if self.weight is None else found * self.weight.view(sides)
        return found if self.bias is None else found + self.bias.view(sides)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, count={self.count}"

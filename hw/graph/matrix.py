"""What a graph multiplies with and looks up in: a constant matrix, or a table, and how it lies in tensors."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xbar.hw.errors import TraceError
from xbar.hw.graph.layout import Layout


class Matrix(nn.Module):
    """A constant matrix of a network: weight as torch holds it, bias (outputs,) or None, and how it lies in tensors.

    Computes what the operator of the model does, in float.
    """

    def __init__(self, layout: Layout, weight: Tensor, bias: Tensor | None, target: Any = None, rest: tuple[Any, ...] = ()):
        super().__init__()
        self.layout, self.target, self.rest = layout, target, rest
        self.weight = _held(weight)
        self.bias = None if bias is None else _held(bias)

    def forward(self, x: Tensor) -> Tensor:
        """The operator's result for x."""
        if self.target is None:
            return F.linear(x, self.weight, self.bias)
        return cast(Tensor, self.target(x, self.weight, self.bias, *self.rest))

    @property
    def matrix(self) -> Tensor:
        """The weights (groups, outputs, inputs)."""
        return self.layout.matrix(self.weight.detach())

    def space(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of a result of an input (batch, channels, *space): its space."""
        if self.layout.kind == "convolution":
            return self.layout.space(shape)
        sizes = zip(shape[2:], *(getattr(self.layout, n) for n in ("kernel", "stride", "dilation", "before", "after")), strict=True)
        return tuple((n - 1) * s + d * (k - 1) + 1 - low - high for n, k, s, d, low, high in sizes)


class Table(nn.Module):
    """A constant table that is looked up by whole numbers: weight (rows, values of a row)."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = _held(weight)

    def forward(self, rows: Tensor) -> Tensor:
        """The rows, (*rows.shape, values of a row)."""
        return F.embedding(rows, self.weight)

    @property
    def matrix(self) -> Tensor:
        """The table as a matrix (1, values of a row, rows)."""
        return self.weight.detach().T.unsqueeze(0)

    def check(self, rows: Tensor, name: str, error: type[Exception] = TraceError) -> None:
        """Raise `error` for anything but rows of the table."""
        if rows.dtype not in (torch.int32, torch.int64):
            raise error(f"layer {name}: an Embedding looks up a tensor of whole numbers, int32 or int64")
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < len(self.weight):
            raise error(
                f"layer {name}: look-ups must be from 0 to {len(self.weight) - 1}, got {int(rows.min())} to {int(rows.max())}"
            )


def _held(tensor: Tensor) -> nn.Parameter:
    """A parameter that shares the tensor's memory; of one from inference mode a copy, which may be trained."""
    return nn.Parameter(tensor.clone() if tensor.is_inference() else tensor.detach())

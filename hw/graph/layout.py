"""Where the vectors of a matrix lie in a tensor: which values it multiplies at once, and where its results go.

Three layouts. Of a linear layer the last axis is the vector, every other position one product. Of a convolution (1, 2 or 3
dimensions) a window at each position is, ordered kernel position by kernel position, channels last. Of a transposed convolution
the channels at each *input* position are, and its results, one for each output channel and kernel position, are added up
where their windows overlap.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xbar.hw.errors import ParameterError

Kind = Literal["linear", "convolution", "transposed"]


@dataclass(frozen=True)
class Layout:
    """How a matrix of `groups` lies in tensors (batch, channels, *space), or, linear, (..., channels).

    kernel, stride, dilation: one number an axis of space; before, after: zeros put at both ends of each axis, of a
    transposed convolution the positions that its output lacks there. channels: of the input.
    """

    kind: Kind
    channels: int
    groups: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def matrix(self, weight: Tensor) -> Tensor:
        """The weights of a layer, as torch holds them, as a matrix (groups, outputs, inputs)."""
        if self.kind == "transposed":  # (channels, outputs of a group, *kernel)
            return weight.reshape(self.groups, self.channels // self.groups, -1).transpose(1, 2)
        if self.kind == "convolution":
            weight = weight.movedim(1, -1)
        return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)

    def weight(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """The inverse of `matrix`: weights of `shape` as torch holds them."""
        if self.kind == "transposed":
            return matrix.transpose(1, 2).reshape(shape)
        if self.kind == "convolution":
            return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1).contiguous()
        return matrix.reshape(shape)

    def space(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Positions of the vectors along each axis of space, for an input (batch, channels, *space)."""
        if self.kind == "transposed":
            return tuple(shape[2:])
        spread = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        sides = zip(shape[2:], self.before, self.after, spread, self.stride, strict=True)
        return tuple((size + low + high - wide) // step + 1 for size, low, high, wide, step in sides)

    def count(self, shape: tuple[int, ...]) -> int:
        """Vectors of an input of `shape`."""
        if self.kind == "linear":
            return int(np.prod(shape[:-1]))
        return shape[0] * int(np.prod(self.space(shape)))

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """Raise ParameterError unless an input of `shape` has vectors of this layout."""
        if self.kind == "linear":
            if len(shape) < 2 or shape[-1] != self.channels:
                raise ParameterError(f"layer {name}: inputs must be (batch, ..., {self.channels}), got {tuple(shape)}")
            return
        axes = ", ".join(["depth", "height", "width"][-len(self.kernel) :]) if len(self.kernel) > 1 else "length"
        if len(shape) != 2 + len(self.kernel) or shape[1] != self.channels:
            raise ParameterError(f"layer {name}: inputs must be (batch, {self.channels}, {axes}), got {tuple(shape)}")
        if min(self.space(shape)) < 1:
            raise ParameterError(
                f"layer {name}: a window of {' x '.join(map(str, self.kernel))} (dilation {self.dilation}, zeros before "
                f"{self.before}) needs an input at least as large, got {tuple(shape)}"
            )

    def vectors(self, x: Tensor) -> Tensor:
        """Inputs of every product in order, (groups, vectors, inputs)."""
        if self.kind == "linear":
            return x.reshape(1, -1, x.shape[-1])
        if self.kind == "transposed":
            return x.flatten(2).movedim(1, -1).reshape(-1, self.groups, self.channels // self.groups).movedim(1, 0)
        n = len(self.kernel)
        around = [side for pair in zip(reversed(self.before), reversed(self.after), strict=True) for side in pair]
        image = F.pad(x, around).movedim(1, -1).contiguous()
        image = image.unflatten(-1, (self.groups, x.shape[1] // self.groups))  # (batch, *space, groups, channels)
        at, space = image.stride(), self.space(tuple(x.shape))
        windows = image.as_strided(
            (self.groups, x.shape[0], *space, *self.kernel, x.shape[1] // self.groups),
            (
                at[n + 1], at[0], *(at[1 + i] * self.stride[i] for i in range(n)),
                *(at[1 + i] * self.dilation[i] for i in range(n)), at[n + 2],
            ),
        )  # fmt: skip
        return windows.reshape(self.groups, x.shape[0] * int(np.prod(space)), int(np.prod(self.kernel)) * (x.shape[1] // self.groups))

    def assembled(self, products: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
        """Results (..., vectors, groups x outputs) of an input of `shape` as torch gives them; the leading axes stay, `size`:
        of the output's space."""
        lead = products.shape[:-2]
        if self.kind == "linear":
            return products.reshape(*lead, *shape[:-1], products.shape[-1])
        space = self.space(shape)
        laid = products.reshape(*lead, shape[0], *space, products.shape[-1]).movedim(-1, -1 - len(space))
        if self.kind == "convolution":
            return laid
        return self._overlapped(laid.flatten(0, len(lead)), size).unflatten(0, (*lead, shape[0]))

    def _overlapped(self, laid: Tensor, size: tuple[int, ...]) -> Tensor:
        """Results of each input position (batch, outputs x kernel positions, *space) added up where they meet."""
        taps = int(np.prod(self.kernel))
        outputs = laid.shape[1] // taps
        one_hot = torch.eye(taps, dtype=laid.dtype, device=laid.device).view(taps, 1, *self.kernel).repeat(
            outputs, *[1] * (1 + len(self.kernel))
        )  # fmt: skip
        fold = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(self.kernel) - 1]
        full = fold(laid, one_hot, stride=self.stride, groups=outputs, dilation=self.dilation)
        for axis, (low, length) in enumerate(zip(self.before, size, strict=True)):
            missing = low + length - full.shape[2 + axis]
            if missing > 0:  # output padding: positions that no result reaches
                full = F.pad(full, [0, 0] * (len(self.kernel) - 1 - axis) + [0, missing])
            full = full.narrow(2 + axis, low, length)
        return full

    def taps(self, shape: tuple[int, ...]) -> np.ndarray:
        """Positions in space (raster order) that each vector of one sample reads, int64 (vectors, taps), -1 in padding."""
        count = int(np.prod(shape[2:]))
        if self.kind != "convolution":
            return np.arange(count)[:, None]
        number = torch.arange(1, count + 1, dtype=torch.float64).view(1, 1, *shape[2:])
        alone = Layout("convolution", 1, 1, self.kernel, self.stride, self.dilation, self.before, self.after)
        return alone.vectors(number)[0].long().numpy() - 1

    def contributions(self, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Of a transposed convolution: input positions and the output positions that they add to, int64 (pairs,) each."""
        inputs, outputs = [], []
        raster_in, raster_out = (np.arange(int(np.prod(s))).reshape(s) for s in (shape[2:], size))
        for tap in product(*(range(k) for k in self.kernel)):
            at = [
                np.arange(n) * s + t * d - low
                for n, s, t, d, low in zip(shape[2:], self.stride, tap, self.dilation, self.before, strict=True)
            ]
            inside = [(a >= 0) & (a < length) for a, length in zip(at, size, strict=True)]
            inputs.append(raster_in[np.ix_(*inside)].ravel())
            outputs.append(raster_out[np.ix_(*(a[i] for a, i in zip(at, inside, strict=True)))].ravel())
        return np.concatenate(inputs), np.concatenate(outputs)


def layout_of(layer: nn.Linear | nn.Conv2d) -> Layout:
    """The layout of a torch layer; raises ParameterError for one that pads with anything but zeros given in numbers."""
    if isinstance(layer, nn.Linear):
        return Layout("linear", layer.in_features)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ParameterError("only zero padding given in numbers can be mapped")
    return Layout(
        "convolution", layer.in_channels, layer.groups, tuple(layer.kernel_size), tuple(layer.stride), tuple(layer.dilation),
        tuple(layer.padding), tuple(layer.padding),
    )  # fmt: skip

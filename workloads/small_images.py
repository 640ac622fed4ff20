"""Layers computed in another way while a network is trained: what is faster on processors, and what takes smaller images.

A mode of torch's functions and not a change of the network: parametrised, captured and plain modules go through it alike, and
outside the block everything is as it was. Not for judging: a chip computes the network as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FEW = 16  # positions of an output up to which a convolution is one matrix product


class SmallImages(TorchFunctionMode):
    """A block in which convolutions of at most FEW output positions are one matrix product (`products`), and pools take images
    smaller than they were made for (`pools`): max pooling keeps an odd last row and column, an average over more than there is
    takes what there is. At the size a network was made for both are what they were, to rounding.

    Why: oneDNN's 3 x 3 convolutions of 512 channels at 4 x 4 and 2 x 2 pixels take 60 % of VGG-16's training step; as one product
    a tenth of that (two cores with bfloat16; results/baselines/train.py). Not used: groups, dilation, devices other than the
    processor.
    """

    def __init__(self, products: bool, pools: bool):
        super().__init__()
        self.products, self.pools = products, pools

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, given: Sequence[Any] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        """`function` of the same arguments, or what stands in for it."""
        named = dict(named or {})
        if self.products and function in (torch.conv2d, torch.ops.aten.conv2d.default):
            found = _product(*given, **named)
            if found is not None:
                return found
        if self.pools and function in (functional.max_pool2d, torch.max_pool2d, torch.ops.aten.max_pool2d.default):
            return _whole_max_pool(*given, **named)
        if self.pools and function in (functional.avg_pool2d, torch.ops.aten.avg_pool2d.default):
            return _average_of_there(*given, **named)
        return function(*given, **named)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    """The convolution as one product of patches (positions, kernel rows x columns x channels), None where it is not worth it."""
    if x.dim() != 4 or x.device.type != "cpu" or groups != 1 or _pair(dilation) != (1, 1) or isinstance(padding, str):
        return None
    (down, right), (above, beside) = _pair(stride), _pair(padding)
    n, channels, height, width = x.shape
    outputs, _, rows, columns = weight.shape
    out = ((height + 2 * above - rows) // down + 1, (width + 2 * beside - columns) // right + 1)
    if rows * columns == 1 or not 0 < out[0] * out[1] <= FEW:
        return None
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, beside, beside, above, above))  # (n, height, width, channels)
    taps = [
        padded[:, i : i + down * (out[0] - 1) + 1 : down, j : j + right * (out[1] - 1) + 1 : right]
        for i in range(rows) for j in range(columns)
    ]  # fmt: skip
    patches = torch.cat(taps, -1).view(n * out[0] * out[1], rows * columns * channels)
    found = functional.linear(patches, weight.permute(0, 2, 3, 1).reshape(outputs, -1), bias)
    return found.view(n, *out, outputs).permute(0, 3, 1, 2)


def _whole_max_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    return torch.max_pool2d(x, kernel_size, stride or kernel_size, padding, dilation, ceil_mode=True)


def _average_of_there(x: Tensor, kernel_size: Any, stride: Any = None, *given: Any, **named: Any) -> Tensor:
    (rows, columns), (height, width) = _pair(kernel_size), x.shape[2:]
    if rows <= height and columns <= width:
        return functional.avg_pool2d(x, kernel_size, stride, *given, **named)
    least = min(rows, height), min(columns, width)
    return functional.avg_pool2d(x, least, least, *given, **named)

"""A layer's weights as the matrix that is cut on crossbars, in the order of `xbar.hw.analog.AnalogLayer`.

The matrix is (groups, outputs, inputs), outputs and inputs of one group; a convolution's inputs lie in the order kernel
row, kernel column, channel.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xbar.compression.errors import CompressionError

MatrixLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def matrix_of(weight: Tensor, groups: int = 1) -> Tensor:
    """The matrix (groups, outputs, inputs) of a weight: (outputs, inputs) of a linear layer, (groups x outputs, channels, *kernel) of a
    convolution. Raises CompressionError for other shapes."""
    if weight.dim() not in (2, 3, 4, 5) or not weight.numel() or weight.shape[0] % groups:
        raise CompressionError(
            f"a weight must be (outputs, inputs) or (outputs, channels, *kernel), with outputs a multiple of the {groups} groups, and not "
            f"empty, got {tuple(weight.shape)}"
        )
    if weight.dim() > 2:
        weight = weight.movedim(1, -1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def weight_of(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `matrix_of`: a weight of `shape` from its matrix."""
    if len(shape) > 2:
        return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1).contiguous()
    return matrix.reshape(shape)


def channels_of(weight: Tensor, groups: int = 1) -> int:
    """Input channels per group: of a linear layer its inputs."""
    return weight.shape[1] if weight.dim() > 2 else matrix_of(weight, groups).shape[2]


def groups_of(layer: MatrixLayer) -> int:
    """Groups of a layer, 1 for a linear one."""
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def matrix_layers(model: nn.Module) -> dict[str, MatrixLayer]:
    """The linear layers and convolutions of a model by name, in order; not transposed ones."""
    return {name: m for name, m in model.named_modules() if isinstance(m, (*_CONVOLUTIONS, nn.Linear))}


def layer_of(model: nn.Module, name: str) -> MatrixLayer:
    """The linear layer or convolution called `name`; raises CompressionError naming those there are."""
    found = matrix_layers(model)
    if name not in found:
        raise CompressionError(f"no Linear or convolution is called {name!r}; there are {', '.join(found) or 'none'}")
    return found[name]


def set_weight(layer: MatrixLayer, weight: Tensor) -> None:
    """Give a layer new weights of the same shape, through its parametrisations if it has any."""
    with torch.no_grad():
        if parametrize.is_parametrized(layer, "weight"):
            layer.weight = weight
        else:
            layer.weight.copy_(weight)

"""What of a pruned matrix the crossbars must hold.

Zero rows and columns of the matrix need no bitlines and no wordlines: the matrix is packed to those that are not zero
before it is cut, the input buffer leaves the others out. Arrays that hold nothing need not be there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xbar.compression.gemm import groups_of, matrix_of
from xbar.hw.array.diagonal import on_diagonal
from xbar.hw.array.geometry import Geometry
from xbar.hw.array.mapping import lines_in_use
from xbar.hw.chip.description import Chip


@dataclass(frozen=True)
class Packing:
    """Indices of the outputs and inputs (int64, ascending, of one group) that are mapped, in the order of the matrix; the same of all
    groups, because these are cut alike. `groups` of the layer."""

    outputs: Tensor
    inputs: Tensor
    groups: int

    def pack(self, weight: Tensor) -> Tensor:
        """The matrix (groups, outputs, inputs) without its zero rows and columns."""
        outputs, inputs = (lines.to(weight.device) for lines in (self.outputs, self.inputs))
        return matrix_of(weight, self.groups)[:, outputs][:, :, inputs]

    def geometry(self, chip: Chip) -> Geometry:
        """How `chip` cuts the packed matrix."""
        return chip.geometry(len(self.outputs), len(self.inputs), self.groups)


def packing(weight: Tensor, groups: int = 1) -> Packing:
    """Which outputs and inputs of a layer's matrix the chip maps (`xbar.hw.array.mapping.lines_in_use`): those that are not zero, of
    several groups all, of a matrix of zeros the first. Raises CompressionError for a shape that is none of a layer's."""
    outputs, inputs = lines_in_use(matrix_of(weight.detach(), groups))
    return Packing(outputs, inputs, groups)


def weights_in_cells(layers: Iterable[nn.Module]) -> int:
    """Weights that the chip has cells for, of layers with a matrix or a table: outputs times inputs that are left once rows and
    columns of zeros are packed away; tables whole. Zeros between others, such as weights rounded to the level 0, count: they fill cells.
    Cells off the diagonal of a crossbar that groups share hold no weight and do not."""
    count = 0
    for layer in layers:
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            count += layer.weight.numel()
            continue
        found = packing(layer.weight, groups_of(layer))
        count += len(found.outputs) * len(found.inputs) * found.groups
    return count


def used_arrays(weight: Tensor, chip: Chip, groups: int = 1, packed: bool = True) -> Tensor:
    """bool (groups of the geometry, row tiles, column tiles): the arrays of the matrix, packed first or as it is, that hold a weight that
    is not zero. Each is `geometry.planes` crossbars."""
    found = packing(weight, groups)
    matrix = found.pack(weight) if packed else matrix_of(weight.detach(), groups)
    g = chip.geometry(matrix.shape[1], matrix.shape[2], groups)
    padding = (
        0,
        g.row_tiles * g.inputs_per_crossbar - g.inputs,
        0,
        g.column_tiles * g.outputs_per_crossbar - g.outputs,
    )
    used = torch.nn.functional.pad(on_diagonal(matrix != 0, g), padding)
    tiles = used.unflatten(2, (g.row_tiles, -1)).unflatten(1, (g.column_tiles, -1))
    return tiles.any(4).any(2).transpose(1, 2)  # (groups, column tiles, outputs, row tiles, inputs) before


def crossbars_needed(weight: Tensor, chip: Chip, groups: int = 1) -> int:
    """Crossbars for one copy of the packed matrix without its empty arrays."""
    found = packing(weight, groups)
    return int(used_arrays(weight, chip, groups).sum()) * found.geometry(chip).planes

"""Groups of a layer on the diagonals of larger matrices, and back: what goes in and comes out of crossbars that groups share.

How many lie together says `xbar.hw.array.geometry`. What belongs to no group (off the diagonal, and where the last matrix has
fewer groups) is 0. Without groups that lie together everything is as it is.
"""

import torch
from torch import Tensor

from xbar.hw.array.geometry import Geometry


def on_diagonal(weights: Tensor, geometry: Geometry) -> Tensor:
    """Block-diagonal matrices (groups, outputs, inputs) of the geometry, of a layer's (layer groups, outputs, inputs of a group), those
    that carry the bias last; differentiable."""
    g = geometry
    if g.together == 1:
        return weights
    each = _in_full_matrices(weights, g, 0)  # (groups, together, outputs of a group, inputs of a group)
    of_weights, of_bias = each.split([g.of_layer.weights, g.bias_rows], dim=-1)
    blocks = torch.diag_embed(of_weights.movedim(1, -1), dim1=1, dim2=3)  # (.., together, outputs, together, inputs)
    return torch.cat([blocks.flatten(3).flatten(1, 2), of_bias.flatten(1, 2)], dim=-1)


def off_diagonal(matrices: Tensor, geometry: Geometry) -> Tensor:
    """The inverse of `on_diagonal`, (..., layer groups, outputs of a group, inputs of a group): what lies on the diagonal."""
    g = geometry
    if g.together == 1:
        return matrices
    rows = matrices.unflatten(-2, (g.together, g.of_layer.outputs))  # (..., groups, together, outputs, inputs of the matrix)
    of_weights, of_bias = rows.split([g.together * g.of_layer.weights, g.bias_rows], dim=-1)
    blocks = of_weights.unflatten(-1, (g.together, g.of_layer.weights)).diagonal(dim1=-4, dim2=-2)
    return torch.cat([blocks.movedim(-1, -3), of_bias], dim=-1).flatten(-4, -3)[..., : g.of_layer.groups, :, :]


def side_by_side(inputs: Tensor, geometry: Geometry) -> Tensor:
    """Inputs (..., groups, vectors, inputs) of the geometry's matrices, of a layer's (..., layer groups, vectors, inputs of a group): those
    that carry the bias once a matrix."""
    g = geometry
    if g.together == 1:
        return inputs
    each = _in_full_matrices(inputs, g, inputs.dim() - 3)  # (..., groups, together, vectors, inputs of a group)
    of_weights, of_bias = each.split([g.of_layer.weights, g.bias_rows], dim=-1)
    return torch.cat([of_weights.transpose(-3, -2).flatten(-2), of_bias[..., 0, :, :]], dim=-1)


def apart(results: Tensor, geometry: Geometry) -> Tensor:
    """Results (..., layer groups, vectors, outputs of a group), of the geometry's matrices (..., groups, vectors, outputs)."""
    g = geometry
    if g.together == 1:
        return results
    each = results.unflatten(-1, (g.together, g.of_layer.outputs)).transpose(-3, -2)  # (..., groups, together, vectors, outputs)
    return each.flatten(-4, -3)[..., : g.of_layer.groups, :, :]


def of_outputs(values: Tensor, geometry: Geometry) -> Tensor:
    """Values of every output of the geometry's matrices (groups, outputs), of a layer's (layer groups, outputs of a group)."""
    return values if geometry.together == 1 else _in_full_matrices(values, geometry, 0).flatten(1)


def rows_present(geometry: Geometry) -> Tensor:
    """Which rows of each row tile hold inputs, bool (groups, row_tiles, rows): not those beyond the matrix, nor those of groups that the
    last one lacks."""
    g = geometry
    row = torch.arange(min(g.inputs, g.inputs_per_crossbar))
    present = row < torch.tensor([g.inputs_of(tile) for tile in range(g.row_tiles)]).unsqueeze(1)
    present = present.repeat(g.groups, 1, 1)
    if g.of_layer.missing:
        full = g.together * g.of_layer.weights
        present[-1, 0, full - g.of_layer.missing * g.of_layer.weights : full] = False
    return present


def outputs_present(geometry: Geometry) -> Tensor:
    """Which outputs each matrix has, bool (groups, outputs): not those of groups that the last one lacks."""
    g = geometry
    present = torch.ones(g.groups, g.outputs, dtype=torch.bool)
    present[-1, g.outputs - g.of_layer.missing * g.of_layer.outputs :] = False
    return present


def off_diagonal_cells(geometry: Geometry, group: int = 0) -> int:
    """Cells of one crossbar of that group of the geometry where wordlines of one group of the layer cross bitlines of another."""
    g, held = geometry, geometry.of_layer.held(group)
    return held * (held - 1) * g.wordlines_per_input * g.of_layer.weights * g.of_layer.outputs * g.columns_per_output


def weight_cells(geometry: Geometry) -> int:
    """Cells that hold weights or references, over all crossbars of one copy: all in use but those off the diagonal."""
    if geometry.together == 1:
        return geometry.cells
    return geometry.cells - geometry.planes * sum(off_diagonal_cells(geometry, group) for group in range(geometry.groups))


def _in_full_matrices(values: Tensor, geometry: Geometry, axis: int) -> Tensor:
    """Values with their axis of layer groups split in (groups, together), 0 for groups that the last one lacks."""
    if geometry.of_layer.missing:
        lacking = values.new_zeros(*values.shape[:axis], geometry.of_layer.missing, *values.shape[axis + 1 :])
        values = torch.cat([values, lacking], dim=axis)
    return values.unflatten(axis, (geometry.groups, geometry.together))

"""Biases on crossbars: rows at the end of each row of tiles, always driven at the highest code, whose cells hold the bias."""

import torch
from torch import Tensor

from xbar.hw.array.geometry import Geometry


def with_rows(weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Weights (groups, outputs, inputs of the weights) with the rows that carry the bias, each `bias` (groups, outputs), in units of
    weights: (groups, outputs, inputs of the geometry). None: as they are."""
    if bias is None:
        return weight
    rows = bias.to(weight.dtype).unsqueeze(-1).expand(-1, -1, geometry.bias_rows)
    return _at_ends(weight, rows, geometry)


def with_drives(inputs: Tensor, geometry: Geometry, highest: float) -> Tensor:
    """Inputs (.., inputs of the weights) with those of the rows that carry a bias, at the `highest` code."""
    if not geometry.bias_rows:
        return inputs
    return _at_ends(inputs, inputs.new_full((1,), highest).expand(*inputs.shape[:-1], geometry.bias_rows), geometry)


def _at_ends(values: Tensor, added: Tensor, geometry: Geometry) -> Tensor:
    """Values along the last axis with `added` after those of each row of tiles."""
    parts = values.split(geometry.inputs_per_crossbar - geometry.bias_rows, dim=-1)
    return torch.cat([each for part in parts for each in (part, added)], dim=-1)

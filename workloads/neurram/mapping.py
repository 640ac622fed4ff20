"""How the chip's networks lie on the preset: bias rows of each layer, bits of its inputs, and the targets of its cells."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from xbar.hw.analog import convert
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.chip.description import Chip
from xbar.hw.graph.capture import Example
from xbar.hw.graph.graph import read
from xbar.hw.graph.matrix import Matrix
from xbar.workloads.data import DataError
from xbar.workloads.neurram.folder import Folder

IMAGE_LAYERS = {"conv00": 5}  # of CIFAR-10: sign and 4 bits, where all other inputs have 3
BITS = 4  # sign and 3 bits


def bias_rows(folder: Folder, table: str, layer: str, inputs: int, segment: int) -> int:
    """Pairs of wordlines that each row segment of a layer gives to its bias, as it lay on the chip: those beyond its weights'."""
    rows = folder.rows(table, layer)
    tiles = ceil(inputs / segment)
    length = ceil(inputs / tiles)
    if len(rows) != tiles or rows[0] % 2 or rows[0] // 2 <= length:
        raise DataError(f"{folder.path / 'core_map.csv'}: {layer} of {table} takes {rows} rows; {inputs} inputs take {tiles} segments")
    return rows[0] // 2 - length


def chip_for(chip: Chip, folder: Folder, table: str, layers: Mapping[str, int]) -> Chip:
    """The chip as it held a network: `layers` tells inputs of each of its layers."""
    segment = chip.weights.segment
    assert segment is not None
    settings: dict[str, dict[str, dict[str, int]]] = {}
    for name, inputs in layers.items():
        rows = bias_rows(folder, table, name, inputs, segment)
        settings[name] = {"weights": {"bias_rows": rows}, "inputs": {"bits": IMAGE_LAYERS.get(name, BITS)}}
    return chip.with_changes(inputs={"bits": max(IMAGE_LAYERS.get(name, BITS) for name in layers)}, layer=settings)


def inputs_of(model: nn.Module, example: Example) -> dict[str, int]:
    """Inputs of each matrix of a network, by name."""
    return {name: layer.matrix.shape[-1] for name, layer in read(model, example).layers.items() if isinstance(layer, Matrix)}


def on_chip(
    model: nn.Module, chip: Chip, example: Tensor, ranges: Mapping[str, tuple[float, float]], seed: int = 0, host: tuple[str, ...] = ()
) -> nn.Module:
    """A network converted, over the known ranges of its inputs; layers of `host` stay in software."""
    own = chip.with_changes(layer={name: each.changes() for name, each in chip.layer.items() if name not in host})
    return convert(model, own, example, seed, host=host, input_ranges={k: v for k, v in ranges.items() if k not in host})


def segment_matrix(
    weight: np.ndarray, bias: np.ndarray, input_top: float, chip: Chip, rows: int, bits: int = BITS
) -> tuple[CrossbarMatrix, float]:
    """The cells of a whole layer, weight (outputs, inputs) and bias (outputs,) with batch norm folded, and the input value of code 1."""
    own = chip.with_changes(layer={}, weights={"bias_rows": rows}, inputs={"bits": bits})
    unit = input_top / (2 ** (bits - 1) - 1)
    tiles = own.geometry(*weight.shape, bias=True).row_tiles
    per_row = torch.as_tensor(bias, dtype=torch.float64)[None] / (input_top * tiles * rows)
    matrix = CrossbarMatrix(torch.as_tensor(weight, dtype=torch.float64)[None], own, False, dtype=torch.float64, bias=per_row)
    return matrix, unit


def targets(matrix: CrossbarMatrix, segment: int) -> np.ndarray:
    """Targets of the cells of a row segment as they lie on the chip, pairs of rows x columns [S]: the positive part on the even row."""
    columns = matrix.array.target()[0, segment].numpy()  # rows, outputs x polarities
    rows = matrix.geometry.inputs_of(segment)
    return columns[:rows].reshape(rows, -1, 2).transpose(0, 2, 1).reshape(2 * rows, -1)


def printed_error(folder: Folder, array: str, held: np.ndarray) -> tuple[int, float]:
    """How many printed targets of an array there are, and the largest difference of `held` from them [S]."""
    printed = folder.failures[folder.failures["array"] == array]
    found = held[printed["row"].to_numpy(int), printed["column"].to_numpy(int)]
    return len(printed), float(np.abs(found - printed["target_uS"].to_numpy(float) * 1e-6).max())

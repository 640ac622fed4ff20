"""A network for other programs: the whole numbers that a chip's cells hold with their scales, and the network itself in files that
torch alone, or a runtime of ONNX, reads.

`save_integers` writes one .npz file (numpy's own container; no pickles). `meta` is a JSON text: format, chip, bits of a weight, and of
each layer, in the order of use, what it is. Of layer number i:

    i/integers   whole numbers of the matrix without the rows and columns that are all 0, (groups, outputs, inputs) in C order:
                 up to 4 bits two in a byte, the first in the low half, each in two's complement; else int8, int16 or int32
    i/scale      (groups, outputs kept) float64: the weight that the integer 1 stands for
    i/outputs    (outputs kept,) int64, i/inputs (inputs kept,) int64: which of a group's outputs and inputs they are
    i/bias       (all outputs,) float, where there is one: what is added to the products
    rest/NAME    every other tensor of the network's state, under its name there, but batch norm's counters of batches

A convolution's inputs lie in the order kernel row, kernel column, channel, as on the wordlines.
"""

import contextlib
import copy
import importlib.util
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xbar.compression.errors import CompressionError
from xbar.hw.array.mapping import lines_in_use, quantise_weights
from xbar.hw.chip.description import Chip
from xbar.hw.graph.capture import Example, inputs_of
from xbar.hw.graph.graph import read
from xbar.hw.graph.matrix import Matrix

FORMAT = "xbar integers 1"
_COUNTER = "num_batches_tracked"  # of batch norm, of no use after training
_NIBBLES = 4  # bits of a whole number of which two share a byte


@dataclass(frozen=True)
class HeldWeights:
    """A layer's weights as cells hold them: integers (groups, outputs kept, inputs kept) int64, scale (groups, outputs kept) float64,
    which outputs and inputs are kept (int64), the size of the whole matrix (groups, outputs, inputs), the bias of all outputs or None;
    bits of an integer, sign included; the names of the tensors in the network's state that the layer was made from."""

    integers: Tensor
    scale: Tensor
    outputs: Tensor
    inputs: Tensor
    size: tuple[int, int, int]
    bias: Tensor | None
    bits: int
    parameters: tuple[str, ...]

    def matrix(self) -> Tensor:
        """The weights that the integers stand for, (groups, outputs, inputs) float64, zeros where rows and columns are left out."""
        whole = torch.zeros(self.size, dtype=torch.float64)
        whole[:, self.outputs[:, None], self.inputs] = self.integers.double() * self.scale.unsqueeze(-1)
        return whole


def held_weights(model: nn.Module, chip: Chip, example: Example) -> dict[str, HeldWeights]:
    """What the cells of `chip` hold of each constant matrix and table of `model`, by layer in order of use, batch norm folded.

    example: inputs (batch, ...), a tuple for several. The chip's own rule makes the integers (`xbar.hw.array.mapping`): weights on its
    levels keep their values, others are rounded. Raises CompressionError for a chip whose weights are no whole numbers or have a scale
    a row segment, and TraceError as `xbar.hw.graph.graph.read`.
    """
    graph, found = read(model, example), {}
    for name, layer in graph.layers.items():
        encoding = chip.for_layer(name).weights
        if not encoding.quantise or encoding.per == "segment":
            key, value = ("quantise", "false") if not encoding.quantise else ("per", "segment")
            raise CompressionError(f"chip {chip.name}, weights.{key} = {value}: cells hold no whole numbers of one scale for layer {name}")
        weight = layer.matrix.cpu()
        outputs, inputs = lines_in_use(weight)
        integers, scale = quantise_weights(weight[:, outputs][:, :, inputs], encoding)
        bias = layer.bias.detach().cpu() if isinstance(layer, Matrix) and layer.bias is not None else None
        groups, height, width = weight.shape
        found[name] = HeldWeights(
            integers.round().long(), scale, outputs, inputs, (groups, height, width), bias, encoding.bits,
            (*graph.parameters[name], *graph.folded.get(name, ())),
        )  # fmt: skip
    return found


def save_integers(model: nn.Module, chip: Chip, example: Example, path: Path) -> None:
    """Write what `chip` holds of `model`, and the rest of its state, to an .npz file as the module tells; whole or not at all. Raises
    as `held_weights`, and CompressionError where the file cannot be written."""
    found = held_weights(model, chip, example)
    arrays, layers, used = {}, [], {part for layer in found.values() for part in layer.parameters}
    for number, (name, layer) in enumerate(found.items()):
        arrays[f"{number}/integers"] = _packed(layer.integers, layer.bits)
        for part in ("scale", "outputs", "inputs", "bias"):
            if getattr(layer, part) is not None:
                arrays[f"{number}/{part}"] = getattr(layer, part).numpy()
        layers.append({"name": name, "size": layer.size, "bits": layer.bits, "parameters": layer.parameters})
    state = {key: value for key, value in model.state_dict().items() if key not in used and not key.endswith(_COUNTER)}
    rest = {f"rest/{key}": value.detach().cpu().numpy() for key, value in state.items()}
    meta = {"format": FORMAT, "chip": chip.name, "bits": chip.weights.bits, "layers": layers}

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, meta=np.array(json.dumps(meta)), **arrays, **rest)  # type: ignore[arg-type]

    _whole(path, write)


def load_integers(path: Path) -> tuple[dict[str, Any], dict[str, HeldWeights], dict[str, Tensor]]:
    """Meta, layers by name and the rest of the state of a file of `save_integers`. Raises CompressionError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CompressionError(f"{path}: no .npz file that numpy reads: {error}") from None
    try:
        meta = json.loads(str(arrays.pop("meta")))
        if meta["format"] != FORMAT:
            raise CompressionError(f"{path}: the format must be {FORMAT!r}, got {meta['format']!r}")
        layers = {layer["name"]: _layer(arrays, number, layer) for number, layer in enumerate(meta["layers"])}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CompressionError(f"{path}: is not what save_integers writes: {type(error).__name__}: {error}") from None
    rest = {key.removeprefix("rest/"): torch.from_numpy(value) for key, value in arrays.items() if key.startswith("rest/")}
    return meta, layers, rest


def save_program(model: nn.Module, example: Example, path: Path) -> None:
    """Write the network in evaluation mode as a .pt2 file of `torch.export.save`, its batch free: `torch.export.load(path).module()`
    computes it with torch alone. Raises CompressionError where torch cannot export it or the file cannot be written."""
    given = tuple(x[:2].cpu() for x in inputs_of(example))
    program = _exported(model, given)
    _whole(path, lambda part: torch.export.save(program, part))


def save_onnx(model: nn.Module, example: Example, path: Path) -> None:
    """Write the network in evaluation mode as ONNX, by torch's exporter, its batch free. Needs onnx and onnxscript (the extra `onnx`);
    raises CompressionError where they lack, or where torch cannot export it."""
    check_onnx()
    given = tuple(x[:2].cpu() for x in inputs_of(example))
    exported = _exported(model, given)
    try:
        program = torch.onnx.export(exported, given, dynamo=True, verbose=False)
    except Exception as error:  # torch raises errors of many kinds
        raise CompressionError(f"torch's ONNX exporter cannot write the network: {type(error).__name__}: {error}") from None
    if program is None:
        raise CompressionError("torch's exporter gave no ONNX program")
    _whole(path, lambda part: program.save(str(part)))


def check_onnx() -> None:
    """Raise CompressionError where packages that torch's ONNX exporter needs are not there."""
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise CompressionError(f"ONNX is written by torch's exporter, which needs {package}: pip install 'xbar[onnx]'")


def _exported(model: nn.Module, given: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    try:
        return torch.export.export(copy.deepcopy(model).cpu().eval(), given, dynamic_shapes=tuple({0: batch} for _ in given))
    except Exception as error:  # torch raises errors of many kinds
        raise CompressionError(f"torch.export cannot export the network: {type(error).__name__}: {error}") from None


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    """The file as `write` leaves it under another name, or as it was."""
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise CompressionError(f"{path}: cannot be written ({error})") from None
    finally:
        with contextlib.suppress(OSError):  # where it lies nowhere
            part.unlink()


def _packed(integers: Tensor, bits: int) -> np.ndarray:
    if bits > _NIBBLES:
        return integers.numpy().astype(np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    halves = integers.numpy().astype(np.int8).view(np.uint8).ravel() & 15
    halves = np.pad(halves, (0, len(halves) % 2))
    return halves[::2] | halves[1::2] << 4


def _layer(arrays: Mapping[str, np.ndarray], number: int, told: Mapping[str, Any]) -> HeldWeights:
    scale, outputs, inputs = (torch.from_numpy(arrays[f"{number}/{part}"]) for part in ("scale", "outputs", "inputs"))
    bias, held, bits = arrays.get(f"{number}/bias"), arrays[f"{number}/integers"], int(told["bits"])
    shape = (int(told["size"][0]), len(outputs), len(inputs))
    if bits <= _NIBBLES:
        halves = np.stack([held & 15, held >> 4], axis=1).ravel()[: int(np.prod(shape))].astype(np.int8)
        held = np.where(halves > 7, halves - 16, halves)
    integers = torch.from_numpy(held.astype(np.int64)).reshape(shape)
    size = (shape[0], int(told["size"][1]), int(told["size"][2]))
    return HeldWeights(
        integers, scale, outputs, inputs, size, None if bias is None else torch.from_numpy(bias), bits, tuple(told["parameters"])
    )

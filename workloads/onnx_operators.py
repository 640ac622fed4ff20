"""Operators of ONNX as torch computes them, given to the package onnx2torch by its own registry.

Most are operators that it knows in an older opset, which a newer one only opened to more types: a node that uses nothing but what the
older opset has is read by what reads that. Others torch has itself, and its exporter writes: GELU, Mish, Swish, global max pooling, group
norm, LSTM, GRU. The rest onnx2torch reads otherwise than ONNX defines them in some cases: reductions, Squeeze, Unsqueeze, Split, Pad,
Resize, Clip, IsInf, NonZero, layer norm. Definitions: https://onnx.ai/onnx/operators (each operator, each opset).
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xbar.workloads.exported import first_line

Converter = Callable[[Any, Any], Any]  # a node and its graph to a module and what it is fed
REDUCTIONS: dict[str, Callable[[Tensor, tuple[int, ...], bool], Tensor]] = {  # a tensor, its axes, whether they stay as 1
    "L1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "L2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "LogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "LogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "Max": lambda x, axes, keep: x.amax(axes, keep),
    "Mean": lambda x, axes, keep: x.mean(axes, keep),
    "Min": lambda x, axes, keep: x.amin(axes, keep),
    "Prod": lambda x, axes, keep: _product(x, axes, keep),
    "Sum": lambda x, axes, keep: x.sum(axes, keep),
    "SumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}


class OnnxNodeError(NotImplementedError):
    """A node uses what cannot be read; the message says what."""


def add_operators() -> None:
    """Make onnx2torch know them, once."""
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY as known
    from onnx2torch.node_converters.registry import OperationDescription, add_converter

    if OperationDescription("", "Trilu", 14) in known:
        return
    schemas = _schemas()
    for kind, first, converter in _own(known):
        for version in schemas[kind]:
            if version >= first:
                known[OperationDescription("", kind, version)] = converter
    versions = defaultdict(list)
    for each in list(known):
        if each.domain == "":
            versions[each.operation_type].append(each.version)
    for kind, read in versions.items():
        last = max(read)
        older, converter = schemas[kind].get(last), known[OperationDescription("", kind, last)]
        for version, newer in schemas[kind].items():
            if version > last and older is not None:
                add_converter(kind, version)(_as_before(converter, older, newer))
    for key, converter in list(known.items()):
        known[key] = _named(converter)


def _named(converter: Converter) -> Converter:
    """What reads a node, or raises OnnxNodeError with the node's name."""

    def read(node: Any, graph: Any) -> Any:
        try:
            return converter(node, graph)
        except OnnxNodeError:
            raise
        except Exception as error:  # of onnx2torch and torch
            raise OnnxNodeError(f"{_name(node)}: {first_line(error)}") from error

    return read


def _name(node: Any) -> str:
    return f"{node.operation_type} of {node.name or node.unique_name}"


def _schemas() -> dict[str, dict[int, Any]]:
    """ONNX's own definitions of operators, by name and the opset that they came with."""
    from onnx import defs

    found: dict[str, dict[int, Any]] = defaultdict(dict)
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found[schema.name][schema.since_version] = schema
    return found


def _as_before(converter: Converter, older: Any, newer: Any) -> Converter:
    """What reads a node of a newer opset that uses what the older one has: as many inputs, attributes that it knows; others must have the
    value that they have when they are left out."""
    from onnx import helper
    from onnx2torch.onnx_node import OnnxNode

    def read(node: Any, graph: Any) -> Any:
        left_out = {}
        for each in node.proto.attribute:
            if each.name in older.attributes:
                continue
            standard = newer.attributes[each.name].default_value
            told = each.name in ("num_outputs", "allowzero") or _value(each) in (_value(standard), [1] * len(each.ints))
            if not told:
                raise OnnxNodeError(f"{_name(node)}: {each.name} = {helper.get_attribute_value(each)}")
            left_out[each.name] = each
        given = [name for name in node.input_values if name]
        if older.max_input < len(given):
            raise OnnxNodeError(f"{_name(node)}: {len(given)} inputs")
        kept = type(node.proto)()
        kept.CopyFrom(node.proto)
        for each in left_out.values():
            kept.attribute.remove(each)
        return converter(OnnxNode(kept, node.unique_name), graph)

    return read


def _value(attribute: Any) -> Any:
    """An attribute's value, None of one that has none."""
    from onnx import helper

    found = helper.get_attribute_value(attribute) if attribute.type else None
    return list(found) if isinstance(found, tuple | list) else found


def _own(known: dict[Any, Converter]) -> list[tuple[str, int, Converter]]:
    """Readers of operators that onnx2torch has in no opset, reads otherwise, or asks the file about: name, first opset, reader."""
    from onnx2torch.node_converters.registry import OperationDescription

    def older(kind: str, version: int) -> Converter:
        return known[OperationDescription("", kind, version)]

    return [
        ("Gelu", 20, _plain(lambda told: nn.GELU(told.get("approximate", "none")))),
        ("Mish", 18, _plain(lambda told: nn.Mish())),
        ("Swish", 24, _plain(_swish)),
        ("LSTM", 7, _recurrent),
        ("GRU", 7, _recurrent),
        ("GlobalMaxPool", 1, _plain(lambda told: _GlobalMaxPool())),
        ("GroupNormalization", 21, _group_norm),
        ("LayerNormalization", 17, _layer_norm(older("LayerNormalization", 17))),
        ("Trilu", 14, _triangle),
        ("PRelu", 7, _leaky(older("PRelu", 16))),
        ("Clip", 11, _clip),
        ("CumSum", 11, _sums_so_far),
        ("IsInf", 10, _infinite),
        ("NonZero", 9, lambda node, graph: _on(lambda x: x.nonzero().T, node)),
        ("Squeeze", 1, _squeeze),
        ("Unsqueeze", 1, _unsqueeze),
        ("Split", 2, _split),
        ("Pad", 2, _pad),
        ("Resize", 10, _resize),
        *((f"Reduce{kind}", 1, _reduction(kind)) for kind in REDUCTIONS),
    ]


def _result(module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

    return OperationConverterResult(module, OnnxMapping(inputs, outputs))


def _plain(made: Callable[[dict[str, Any]], nn.Module]) -> Converter:
    """An operator that is a module of torch's made of its attributes."""
    return lambda node, graph: _result(made(dict(node.attributes)), node.input_values, node.output_values)


def _swish(told: dict[str, Any]) -> nn.Module:
    if told.get("alpha", 1.0) != 1.0:
        raise OnnxNodeError(f"Swish: alpha = {told['alpha']}")
    return nn.SiLU()


def _constant(node: Any, graph: Any, at: int) -> Tensor | None:
    """A constant input of a node, None of one that is left out."""
    from onnx2torch.utils.common import get_const_value

    if at >= len(node.input_values) or not node.input_values[at]:
        return None
    try:
        found: Tensor = torch.as_tensor(get_const_value(node.input_values[at], graph))
    except KeyError:
        raise OnnxNodeError(f"{_name(node)}: {node.input_values[at]}, which is computed") from None
    return found.clone()


def _axes(node: Any, graph: Any) -> tuple[int, ...] | None:
    """The axes of a node, an attribute in older opsets and a constant second input in newer; None where they are left out."""
    found = node.attributes.get("axes", _constant(node, graph, 1))
    found = found.tolist() if isinstance(found, Tensor) else found
    return tuple(found) if isinstance(found, list) else None


class _On(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """As the function has it."""
        return self.function(x)


def _on(function: Callable[[Tensor], Tensor], node: Any) -> Any:
    return _result(_On(function), node.input_values[:1], node.output_values)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """Products over axes, which stay as 1 or go; torch takes one axis at a time."""
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keep)
    return x


def _reduction(kind: str) -> Converter:
    def read(node: Any, graph: Any) -> Any:
        axes, keep = _axes(node, graph), bool(node.attributes.get("keepdims", 1))
        if not axes and node.attributes.get("noop_with_empty_axes"):
            return _result(nn.Identity(), node.input_values[:1], node.output_values)
        return _on(lambda x: REDUCTIONS[kind](x, axes or tuple(range(x.dim())), keep), node)

    return read


def _squeeze(node: Any, graph: Any) -> Any:
    axes = _axes(node, graph)
    return _on(lambda x: x.squeeze(axes) if axes else x.squeeze(), node)


def _unsqueeze(node: Any, graph: Any) -> Any:
    axes = _axes(node, graph) or ()

    def widened(x: Tensor) -> Tensor:
        for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return _on(widened, node)


def _clip(node: Any, graph: Any) -> Any:
    low, high = (None if each is None else each.item() for each in (_constant(node, graph, at) for at in (1, 2)))
    if low == 0 and high in (None, 6):
        return _result(nn.ReLU() if high is None else nn.ReLU6(), node.input_values[:1], node.output_values)
    return _on(lambda x: x if low is None and high is None else x.clamp(low, high), node)


def _infinite(node: Any, graph: Any) -> Any:
    above, below = (bool(node.attributes.get(f"detect_{side}", 1)) for side in ("positive", "negative"))
    return _on(lambda x: x.isinf() & ((x > 0) & above | (x < 0) & below), node)


def _sums_so_far(node: Any, graph: Any) -> Any:
    axis = _constant(node, graph, 1)
    if axis is None or any(node.attributes.get(name) for name in ("exclusive", "reverse")):
        raise OnnxNodeError(f"{_name(node)}: exclusive, or reverse")
    return _on(lambda x: x.cumsum(int(axis)), node)


class Split(nn.Module):
    """Parts of an axis, of the sizes that are told, or as many as `parts` of the same size; `last_smaller` lets them not divide."""

    def __init__(self, axis: int, parts: int, sizes: list[int] | None, last_smaller: bool):
        super().__init__()
        self.axis, self.parts, self.sizes, self.last_smaller = axis, parts, sizes, last_smaller

    def forward(self, x: Tensor, split: Tensor | None = None) -> tuple[Tensor, ...]:
        """Each as x but for the axis."""
        return x.split(self.of(x.shape[self.axis], None if split is None else split.tolist()), self.axis)

    def of(self, size: int, split: list[int] | None) -> list[int]:
        """The sizes of the parts of an axis; raises ValueError where they do not divide it."""
        if split := split or self.sizes:
            return split
        each = -(-size // self.parts)
        last = size - each * (self.parts - 1)
        if last < 1 or (last != each and not self.last_smaller):
            raise ValueError(f"{size} in {self.parts} parts")
        return [each] * (self.parts - 1) + [last]


def _split(node: Any, graph: Any) -> Any:
    told = node.attributes
    split = Split(told.get("axis", 0), len(node.output_values), told.get("split"), "num_outputs" in told)
    return _result(split, node.input_values, node.output_values)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}  # ONNX's and torch's words


class Pad(nn.Module):
    """Values around a tensor."""

    def __init__(self, mode: str, pads: list[int] | None, value: float):
        super().__init__()
        if mode not in _PAD_MODES:
            raise ValueError(f"mode {mode}")
        self.mode, self.pads, self.value = mode, pads, value

    def forward(self, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        """(...), larger, or smaller where pads are negative."""
        told = (None if each is None else each.flatten().tolist() for each in (pads, value, axes))
        return nn.functional.pad(x, *self.how(x.dim(), *told))

    def how(self, rank: int, pads: list[int] | None, value: list[float] | None, axes: list[int] | None) -> tuple[list[int], str, Any]:
        """Pads from the last axis on, mode and value as torch.nn.functional.pad has them; raises ValueError for what torch has not."""
        pads = pads or self.pads or []
        where = [axis % rank for axis in axes or range(rank)]
        if len(pads) != 2 * len(where):
            raise ValueError(f"{len(pads)} pads of {len(where)} axes")
        both = [(0, 0)] * rank
        for at, axis in enumerate(where):
            both[axis] = pads[at], pads[len(where) + at]
        if self.mode != "constant":
            skip = 2 if 3 <= rank <= 5 and both[:2] == [(0, 0)] * 2 else 1
            if min(pads) < 0 or rank - skip not in (1, 2, 3) or both[:skip] != [(0, 0)] * skip:
                raise ValueError(f"mode {self.mode} with pads {pads} of {rank} axes")
            both = both[skip:]
        filled = (value[0] if value else self.value) if self.mode == "constant" else None
        return [n for pair in reversed(both) for n in pair], _PAD_MODES[self.mode], filled


def _pad(node: Any, graph: Any) -> Any:
    told = node.attributes
    module = Pad(told.get("mode", "constant"), told.get("pads"), told.get("value", 0.0))
    return _result(module, node.input_values, node.output_values)


class Resize(nn.Module):
    """Interpolation of all but the first two axes, where torch computes it as ONNX defines it."""

    def __init__(self, mode: str, coordinates: str, rounding: str):
        super().__init__()
        self.mode, self.coordinates, self.rounding = mode, coordinates, rounding

    def forward(self, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        """(batch, channels, ...)."""
        factors, wanted = (each.tolist() if each is not None and each.numel() else None for each in (scales, sizes))
        if (factors or [1, 1])[:2] != [1, 1] or (wanted and wanted[:2] != list(x.shape[:2])):
            raise ValueError("other sizes of the first two axes")
        return nn.functional.interpolate(x, **self.how(list(x.shape[2:]), factors and factors[2:], wanted and wanted[2:]))

    def how(self, given: list[int], factors: list[float] | None, sizes: list[int] | None) -> dict[str, Any]:
        """Arguments of torch.nn.functional.interpolate; raises ValueError for what it computes otherwise. Factors or sizes, not both."""
        if not factors and not sizes:
            raise ValueError("neither factors nor sizes are known")
        told: dict[str, Any] = {"scale_factor": factors} if factors else {"size": sizes}
        made = sizes or [math.floor(n * f) for n, f in zip(given, factors or [], strict=True)]
        each = list(zip(given, made, factors or [m / n for n, m in zip(given, made, strict=True)], strict=True))
        if self.mode == "nearest":
            for mode in ("nearest", "nearest-exact"):
                if all(self._places(*axis) == _nearest_places(mode, *axis, by_size=not factors) for axis in each):
                    return told | {"mode": mode}
        else:
            mode = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear", ("cubic", 2): "bicubic"}.get(
                (self.mode, len(given)), "")  # fmt: skip
            plain = {"half_pixel": True, "pytorch_half_pixel": all(m > 1 or n == 1 for n, m, _ in each),
                     "align_corners": all(n * f == m for n, m, f in each)}  # fmt: skip
            if mode and plain.get(self.coordinates):
                return told | {"mode": mode, "align_corners": self.coordinates == "align_corners"}
        raise ValueError(f"mode {self.mode}, {self.coordinates}{f', {self.rounding}' * (self.mode == 'nearest')} from {given} to {made}")

    def _places(self, given: int, made: int, factor: float) -> list[int]:
        """Where the values of an axis come from, by ONNX's definition; empty for coordinates that are not read."""
        place: Callable[[int], float] | None = {
            "asymmetric": lambda at: at / factor,
            "half_pixel": lambda at: (at + 0.5) / factor - 0.5,
            "pytorch_half_pixel": lambda at: (at + 0.5) / factor - 0.5 if made > 1 else 0.0,
            "align_corners": lambda at: at * (given - 1) / (made - 1) if made > 1 else 0.0,
        }.get(self.coordinates)
        if place is None:
            return []
        rounded = {"floor": math.floor, "ceil": math.ceil, "round_prefer_floor": lambda x: math.ceil(x - 0.5),
                   "round_prefer_ceil": lambda x: math.floor(x + 0.5)}[self.rounding]  # fmt: skip
        return [min(max(int(rounded(place(at))), 0), given - 1) for at in range(made)]


def _nearest_places(mode: str, given: int, made: int, factor: float, by_size: bool) -> list[int]:
    """Where torch takes the values of an axis from."""
    how: dict[str, Any] = {"size": made} if by_size else {"scale_factor": factor}
    places = nn.functional.interpolate(torch.arange(float(given))[None, None], **how, mode=mode)
    return [int(place) for place in places.flatten()]


def _resize(node: Any, graph: Any) -> Any:
    told = dict(node.attributes)
    told.pop("extrapolation_value", None)  # of regions alone, which are not read
    mode = told.pop("mode", "nearest")
    if len(node.input_values) == 2 and "coordinate_transformation_mode" not in told:  # of opset 10, which has factors alone
        inputs, coordinates, rounding = (node.input_values[0], "", node.input_values[1]), "asymmetric", "floor"
    else:
        inputs = node.input_values
        coordinates = told.pop("coordinate_transformation_mode", "half_pixel")
        rounding = told.pop("nearest_mode", "round_prefer_floor")
    standard: dict[str, Any] = {"exclude_outside": 0, "antialias": 0, "keep_aspect_ratio_policy": "stretch", "cubic_coeff_a": -0.75}
    other = {name: value for name, value in told.items() if value != standard.get(name) and (name != "cubic_coeff_a" or mode == "cubic")}
    if other:
        raise OnnxNodeError(f"{_name(node)}: {', '.join(f'{name} = {value}' for name, value in other.items())}")
    return _result(Resize(mode, coordinates, rounding), inputs, node.output_values)


class _GlobalMaxPool(nn.Module):
    """Largest values of (batch, channels, ...) over all but the first two axes, which stay as 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, 1, ...)."""
        return x.amax(tuple(range(2, x.dim())), keepdim=True)


class _LayerNorm(nn.Module):
    """Layer norm over an axis and all after it, with a scale and bias of their sizes, or that are broadcast."""

    def __init__(self, axis: int, epsilon: float, scale: Tensor, bias: Tensor | None):
        super().__init__()
        self.axis, self.epsilon = axis, epsilon
        self.weight, self.bias = nn.Parameter(scale), None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """(...), as x."""
        sizes = x.shape[self.axis :]
        if all(each is None or each.shape == sizes for each in (self.weight, self.bias)):
            return nn.functional.layer_norm(x, sizes, self.weight, self.bias, self.epsilon)
        normed = nn.functional.layer_norm(x, sizes, eps=self.epsilon) * self.weight
        return normed if self.bias is None else normed + self.bias


def _layer_norm(older: Converter) -> Converter:
    """Layer norm by its own weights, where onnx2torch asks the file for the sizes of what comes in."""

    def read(node: Any, graph: Any) -> Any:
        try:
            scale, bias = _constant(node, graph, 1), _constant(node, graph, 2)
        except OnnxNodeError:
            return older(node, graph)
        assert scale is not None, "by definition"
        norm = _LayerNorm(node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5), scale, bias)
        return _result(norm, node.input_values[:1], node.output_values)

    return read


class _Leaky(nn.Module):
    """A parametric ReLU of one slope, or of one for each channel."""

    def __init__(self, slope: Tensor):
        super().__init__()
        self.weight = nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, ...), as x; other slopes than of channels are broadcast."""
        by_channel = self.weight.numel() == 1 or (self.weight.dim() == x.dim() - 1 and self.weight.shape[1:].numel() == 1)
        return nn.functional.prelu(x, self.weight.flatten()) if by_channel else torch.where(x >= 0, x, self.weight * x)


def _leaky(older: Converter) -> Converter:
    """A parametric ReLU as torch has it where its slopes are constants, for onnx2torch picks negative values out one by one."""

    def read(node: Any, graph: Any) -> Any:
        try:
            slope = _constant(node, graph, 1)
        except OnnxNodeError:
            return older(node, graph)
        assert slope is not None, "by definition"
        return _result(_Leaky(slope), node.input_values[:1], node.output_values)

    return read


class _Triangle(nn.Module):
    """Matrices with zeros below (upper) or above a diagonal."""

    def __init__(self, upper: bool, diagonal: int):
        super().__init__()
        self.upper, self.diagonal = upper, diagonal

    def forward(self, x: Tensor) -> Tensor:
        """(..., rows, columns), as x."""
        return x.triu(self.diagonal) if self.upper else x.tril(self.diagonal)


def _triangle(node: Any, graph: Any) -> Any:
    diagonal = _constant(node, graph, 1)
    module = _Triangle(bool(node.attributes.get("upper", 1)), 0 if diagonal is None else int(diagonal))
    return _result(module, node.input_values[:1], node.output_values)


def _group_norm(node: Any, graph: Any) -> Any:
    scale, bias = _constant(node, graph, 1), _constant(node, graph, 2)
    assert scale is not None, "by definition"
    assert bias is not None, "by definition"
    norm = nn.GroupNorm(node.attributes["num_groups"], len(scale), node.attributes.get("epsilon", 1e-5))
    norm.load_state_dict({"weight": scale, "bias": bias})
    return _result(norm, node.input_values[:1], node.output_values)


class _Recurrent(nn.Module):
    """torch's LSTM or GRU of one layer with ONNX's outputs: (steps, directions, batch, units), and the last states."""

    def __init__(self, layer: nn.LSTM | nn.GRU, outputs: int):
        super().__init__()
        self.layer, self.outputs = layer, outputs

    def forward(self, x: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """x: (steps, batch, features); hidden, cell: (directions, batch, units), zeros where left out. As many outputs as are named, one
        bare."""
        given = hidden
        if isinstance(self.layer, nn.LSTM) and (known := [each for each in (hidden, cell) if each is not None]):
            given = tuple(torch.zeros_like(known[0]) if each is None else each for each in (hidden, cell))
        found, last = self.layer(x, given)
        directions = 2 if self.layer.bidirectional else 1
        ordered = found.unflatten(2, (directions, self.layer.hidden_size)).transpose(1, 2)
        outputs = ordered, *(last if isinstance(last, tuple) else (last,))
        return ordered if self.outputs == 1 else outputs[: self.outputs]


def _recurrent(node: Any, graph: Any) -> Any:
    """An LSTM or GRU. ONNX has the gates of an LSTM as input, output, forget, cell, of a GRU as update, reset, hidden; torch as input,
    forget, cell, output, and reset, update, new, with the recurrent bias of the new state inside its gate (`linear_before_reset`)."""
    lstm = node.operation_type == "LSTM"
    told = dict(node.attributes)
    units, direction = int(told.pop("hidden_size")), told.get("direction", "forward")
    plain = {"activations": (["Sigmoid", "Tanh", "Tanh"] if lstm else ["Sigmoid", "Tanh"]) * (2 if direction == "bidirectional" else 1),
             "direction": "bidirectional" if direction == "bidirectional" else "forward",
             "layout": 0, "input_forget": 0, "linear_before_reset": 1}  # fmt: skip
    told = {"linear_before_reset": int(lstm)} | told
    other = {name: value for name, value in told.items() if value != plain.get(name)}
    if other:
        raise OnnxNodeError(f"{_name(node)}: {', '.join(f'{name} = {value}' for name, value in other.items())}")
    if any(len(node.input_values) > at and node.input_values[at] for at in (4, 7)):
        raise OnnxNodeError(f"{_name(node)}: lengths of sequences, or peepholes")
    weight, recurrent, bias = (_constant(node, graph, at) for at in (1, 2, 3))
    assert weight is not None, "by definition"
    assert recurrent is not None, "by definition"
    gates = (0, 2, 3, 1) if lstm else (1, 0, 2)  # of ONNX's, in torch's order
    layer = (nn.LSTM if lstm else nn.GRU)(weight.shape[2], units, bias=bias is not None, bidirectional=direction == "bidirectional")

    def ordered(matrix: Tensor) -> Tensor:
        return matrix.unflatten(0, (len(gates), units))[list(gates)].flatten(0, 1)

    for at, end in enumerate(("", "_reverse")[: weight.shape[0]]):
        state = {"weight_ih": weight[at], "weight_hh": recurrent[at]}
        if bias is not None:
            state |= dict(zip(("bias_ih", "bias_hh"), bias[at].chunk(2), strict=True))
        for name, value in state.items():
            getattr(layer, f"{name}_l0{end}").data.copy_(ordered(value))
    starts = (tuple(node.input_values) + ("",) * 8)[5 : 7 if lstm else 6]
    return _result(_Recurrent(layer, len(node.output_values)), (node.input_values[0], *starts), node.output_values)

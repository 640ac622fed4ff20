"""Operators of ONNX that the package onnx2torch lacks, given to it by its own `add_converter`.

Most are operators that it knows in an older opset, which a newer one only opened to more types: a node that uses nothing but what the
older opset has is read by what reads that. The rest torch has itself, and its exporter writes: GELU, Mish, Swish, reductions whose axes are
an input, global max pooling, group norm, LSTM, GRU. Definitions: https://onnx.ai/onnx/operators (each operator, each opset).
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Converter = Callable[[Any, Any], Any]  # a node and its graph to a module and what it is fed
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")


class OnnxNodeError(NotImplementedError):
    """A node uses what cannot be read; the message says what."""


def add_operators() -> None:
    """Make onnx2torch know them, once."""
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY as known
    from onnx2torch.node_converters.registry import OperationDescription, add_converter

    if OperationDescription("", "Trilu", 14) in known:
        return
    schemas = _schemas()
    for (kind, version), converter in _own(known).items():
        if version in schemas[kind]:
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
                raise OnnxNodeError(f"{node.operation_type} of {node.name}: {each.name} = {helper.get_attribute_value(each)}")
            left_out[each.name] = each
        given = [name for name in node.input_values if name]
        if older.max_input < len(given):
            raise OnnxNodeError(f"{node.operation_type} of {node.name}: {len(given)} inputs")
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


def _own(known: dict[Any, Converter]) -> dict[tuple[str, int], Converter]:
    """Readers of operators that onnx2torch has in no opset, or with an input in place of an attribute, or where the file must tell more."""
    from onnx2torch.node_converters.registry import OperationDescription

    found: dict[tuple[str, int], Converter] = {
        ("Gelu", 20): _plain(lambda told: nn.GELU(told.get("approximate", "none"))),
        ("Mish", 18): _plain(lambda told: nn.Mish()),
        ("Mish", 22): _plain(lambda told: nn.Mish()),
        ("Swish", 24): _plain(_swish),
        ("LSTM", 14): _recurrent,
        ("LSTM", 22): _recurrent,
        ("GRU", 14): _recurrent,
        ("GRU", 22): _recurrent,
        ("GlobalMaxPool", 1): _plain(lambda told: _GlobalMaxPool()),
        ("GlobalMaxPool", 22): _plain(lambda told: _GlobalMaxPool()),
        ("GroupNormalization", 21): _group_norm,
        ("LayerNormalization", 17): _layer_norm(known[OperationDescription("", "LayerNormalization", 17)]),
        ("Trilu", 14): _triangle,
    } | {("PRelu", version): _leaky(known[OperationDescription("", "PRelu", version)]) for version in (7, 9, 16)}
    for name in REDUCTIONS:
        older = next(each for key, each in known.items() if (key.operation_type, key.version) == (f"Reduce{name}", 13))
        found |= {(f"Reduce{name}", version): _reduction(older) for version in (18, 20)}
    return found


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
        raise OnnxNodeError(f"{node.operation_type} of {node.name}: {node.input_values[at]}, which is computed") from None
    return found.clone()


def _reduction(older: Converter) -> Converter:
    """A reduction whose axes are its second input, read as one that has them as an attribute."""

    def read(node: Any, graph: Any) -> Any:
        from onnx import helper
        from onnx2torch.onnx_node import OnnxNode

        axes = _constant(node, graph, 1)
        told = {name: value for name, value in node.attributes.items() if name != "noop_with_empty_axes"}
        if axes is None and node.attributes.get("noop_with_empty_axes"):
            return _result(nn.Identity(), node.input_values[:1], node.output_values)
        if axes is not None:
            told["axes"] = axes.tolist()
        plain = helper.make_node(node.operation_type, node.input_values[:1], node.output_values, name=node.name, **told)
        return older(OnnxNode(plain, node.unique_name), graph)

    return read


class _GlobalMaxPool(nn.Module):
    """Largest values of (batch, channels, ...) over all but the first two axes, which stay as 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, 1, ...)."""
        return x.amax(tuple(range(2, x.dim())), keepdim=True)


def _layer_norm(older: Converter) -> Converter:
    """Layer norm whose sizes are those of its weights, where onnx2torch asks the file for the sizes of what comes in."""

    def read(node: Any, graph: Any) -> Any:
        try:
            scale, bias = _constant(node, graph, 1), _constant(node, graph, 2)
        except OnnxNodeError:
            return older(node, graph)
        assert scale is not None, "by definition"
        if scale.dim() != -node.attributes.get("axis", -1) and node.attributes.get("axis", -1) < 0:
            return older(node, graph)
        norm = nn.LayerNorm(scale.shape, node.attributes.get("epsilon", 1e-5), bias=bias is not None)
        norm.load_state_dict({"weight": scale} | ({} if bias is None else {"bias": bias}))
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

    def forward(self, x: Tensor, *states: Tensor) -> Tensor | tuple[Tensor, ...]:
        """x: (steps, batch, features); states: (directions, batch, units), of an LSTM two. As many outputs as are named, one bare."""
        given = (states if isinstance(self.layer, nn.LSTM) else states[0]) if states else None
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
    units, direction = told.pop("hidden_size"), told.pop("direction", "forward")
    before_reset = told.pop("linear_before_reset", 0)
    standard = (["Sigmoid", "Tanh", "Tanh"] if lstm else ["Sigmoid", "Tanh"]) * (2 if direction == "bidirectional" else 1)
    if told.pop("activations", standard) == standard and (lstm or before_reset) and direction != "reverse":
        told.pop("layout" if told.get("layout") == 0 else "", None)
        told.pop("input_forget" if told.get("input_forget") == 0 else "", None)
    else:
        told |= {"direction": direction, "linear_before_reset": before_reset}
    if told:
        raise OnnxNodeError(f"{node.operation_type} of {node.name}: {', '.join(f'{name} = {value}' for name, value in told.items())}")
    if any(len(node.input_values) > at and node.input_values[at] for at in (4, 7)):
        raise OnnxNodeError(f"{node.operation_type} of {node.name}: lengths of sequences, or peepholes")
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
    starts = tuple(node.input_values[at] for at in ((5, 6) if lstm else (5,)) if len(node.input_values) > at and node.input_values[at])
    return _result(_Recurrent(layer, len(node.output_values)), (node.input_values[0], *starts), node.output_values)

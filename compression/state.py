"""A smaller network as tensors, texts and numbers to keep, from which it is built again without running any code of a file."""

import keyword
import operator
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from xbar.compression.channels import DROPOUTS, MATRICES, TRANSPOSED
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, matrix_layers
from xbar.compression.layered import attribute_at, folded_layers, put
from xbar.compression.norms import NarrowGroupNorm, NarrowLayerNorm
from xbar.hw.graph.capture import Example, inputs_of
from xbar.hw.graph.operators import kind_of

FORMAT = "small network 2"
BEFORE = "small network 1"  # Linear and Conv2d alone: their weights, and the channels that pads add
_SETTINGS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: (),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), ("stride", "padding", "dilation", "groups")),
    **dict.fromkeys(TRANSPOSED, ("stride", "padding", "output_padding", "dilation", "groups")),
    nn.Embedding: (), nn.LayerNorm: ("normalized_shape", "eps"), nn.GroupNorm: ("num_groups", "num_channels", "eps"),
    NarrowLayerNorm: ("normalized_shape", "count", "eps"), NarrowGroupNorm: ("num_groups", "num_channels", "count", "eps"),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), ("eps", "momentum")),
    **dict.fromkeys(DROPOUTS, ("p",)),
}  # fmt: skip
_KINDS = {kind.__name__: kind for kind in _SETTINGS}
_NUMBERS: dict[str, Any] = {each.__name__: each for each in (
    operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.neg,
    max, min, torch.sym_max, torch.sym_min,
)}  # fmt: skip


def small_state(
    small: nn.Module, example: Example, input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> dict[str, Any]:
    """A smaller network, batch norm folded: its layers, and what is computed between them; with the ranges of inputs that were learned, by
    layer. Tensors, texts and numbers, as torch.save wants them; see `rebuild` and `learned_ranges`, which read all that is written. Raises
    CompressionError for what they would not read."""
    graph = folded_layers(small, example)
    nodes = [
        {"name": node.name, "op": node.op, "target": _target(node), "args": _told(node.args), "kwargs": _told(dict(node.kwargs))}
        for node in graph.graph.nodes
    ]
    layers, tensors = {}, {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            layers[str(node.target)] = _layer_state(graph.get_submodule(str(node.target)))
        elif node.op == "get_attr":
            value = attribute_at(graph, str(node.target))
            tensors[str(node.target)] = value.detach().clone()
    trained = [name for name, each in graph.named_parameters() if each.requires_grad]
    state = {"format": FORMAT, "layers": layers, "tensors": tensors, "nodes": nodes, "trained": trained}
    return state | ({"input_ranges": {name: list(each) for name, each in input_ranges.items()}} if input_ranges else {})


def learned_ranges(state: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Ranges of inputs by layer that `small_state` kept, for `xbar.hw.convert`; none where none were learned. Raises CompressionError for
    what are no ranges."""
    found = state.get("input_ranges", {})
    if not isinstance(found, dict) or not all(isinstance(name, str) and _is_range(each) for name, each in found.items()):
        raise CompressionError("the state's input_ranges must be lowest and highest by layer")
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value) and value[0] <= value[1]


def rebuild(model: nn.Module, example: Example, state: Mapping[str, Any]) -> fx.GraphModule:
    """The smaller network of `small_state`, from the whole one that it was made of; in evaluation mode.

    `model` tells what layers and outputs it must have, its weights are not used. Raises CompressionError where the state has another
    format, or layers of another network.
    """
    if state.get("format") not in (FORMAT, BEFORE):
        raise CompressionError(f"the state's format must be {FORMAT!r}, got {state.get('format')!r}")
    if not isinstance(state.get("layers"), dict):
        raise CompressionError("the state has no layers by name, or no list of pads")
    whole = folded_layers(model, example)
    wanted = {name for name, layer in whole.named_modules() if isinstance(layer, MATRICES)}
    kinds = {name: str(parts.get("kind", "Linear")) if isinstance(parts, dict) else "Linear" for name, parts in state["layers"].items()}
    found = {name for name, kind in kinds.items() if kind in _MATRIX_NAMES}
    if wanted != found:
        raise CompressionError(f"the state is of another network: layers {', '.join(sorted(map(str, wanted ^ found)))} differ")
    outputs = _output_shapes(whole, example)
    graph = _from_nodes(state) if state["format"] == FORMAT else _from_pads(whole, state)
    graph.eval()
    try:
        given = _output_shapes(graph, example)
    except (RuntimeError, TypeError, LookupError, ValueError, AttributeError, NameError, SyntaxError, AssertionError) as error:
        raise CompressionError(f"the state does not fit the network: {error}") from None
    if given != outputs:
        raise CompressionError(f"the state gives {_shapes(given)} outputs, the network {_shapes(outputs)}")
    return graph


_MATRIX_NAMES = {kind.__name__ for kind in MATRICES}


def are_numbers(value: object) -> TypeGuard[Tensor]:
    """Whether it is a plain tensor of finite real numbers: not sparse, quantised or complex, and with its values at hand."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
        return False
    return bool(torch.isfinite(value).all())


# ---- writing


def _layer_state(layer: nn.Module) -> dict[str, Any]:
    kind = type(layer)
    if kind not in _SETTINGS:
        raise CompressionError(f"a {kind.__name__} cannot be kept")
    settings = {name: getattr(layer, name) for name in _SETTINGS[kind]}
    state = {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}
    for name in ("weight", "bias"):
        if isinstance(layer, MATRICES):
            state.setdefault(name, None)  # type: ignore[arg-type]
    return {"kind": kind.__name__, "settings": settings, **state}


def _target(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target
    name = str(node.target) if hasattr(node.target, "overloadpacket") else node.target.__name__
    if _found(name) is not node.target:
        raise CompressionError(f"operator {name} cannot be kept; {node.meta.get('line') or 'no line is known'}")
    return name


def _told(value: Any) -> Any:
    """Arguments as plain values."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_told(each) for each in value]}
    if isinstance(value, list):
        return [_told(each) for each in value]
    if isinstance(value, dict):
        return {"dict": {str(key): _told(each) for key, each in value.items()}}
    if isinstance(value, torch.dtype | torch.memory_format):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CompressionError(f"an argument of type {type(value).__name__} cannot be kept")


# ---- reading


def _from_nodes(state: Mapping[str, Any]) -> fx.GraphModule:
    root, graph, known = nn.Module(), fx.Graph(), {}
    tensors, trained = _dictionary(state, "tensors"), state.get("trained", [])
    if not isinstance(trained, list) or not all(isinstance(each, str) for each in trained):
        raise CompressionError("the state's list of what is trained is no list of names")
    for name, parts in state["layers"].items():
        _put(root, name, _layer(name, parts))
    for path, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise CompressionError(f"tensor {path}: no plain numbers")  # masks hold infinities
        _put(root, path, nn.Parameter(tensor, tensor.is_floating_point()) if path in trained else tensor)
    nodes = state.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(each, dict) for each in nodes):
        raise CompressionError("the state has no list of nodes")
    try:
        for each in nodes:
            args, kwargs = _meant(each["args"], known), _meant(each["kwargs"], known)
            target = _function(each["target"]) if each["op"] == "call_function" else str(each["target"])
            if each["op"] == "placeholder":
                target = _word(target)
            if each["op"] == "call_module" and each["target"] not in state["layers"]:
                raise CompressionError(f"the state has no layer {each['target']}")
            if each["op"] == "get_attr" and each["target"] not in tensors:
                raise CompressionError(f"the state has no tensor {each['target']}")
            if each["op"] not in ("placeholder", "get_attr", "call_module", "call_function", "output"):
                raise CompressionError(f"the state has a node of kind {each['op']!r}")
            known[each["name"]] = graph.create_node(each["op"], target, args, kwargs, each["name"])
        made = fx.GraphModule(root, graph)
        made.graph.lint()
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, SyntaxError, NameError) as error:
        if isinstance(error, CompressionError):
            raise
        raise CompressionError(f"the state's nodes cannot be read: {error}") from None
    return made


def _dictionary(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = state.get(name)
    if not isinstance(found, dict):
        raise CompressionError(f"the state has no {name} by name")
    return found


def _put(root: nn.Module, path: Any, what: nn.Module | Tensor) -> None:
    """Set a layer or tensor under a name that may stand in code, and that no part of a module has."""
    if not isinstance(path, str) or not re.fullmatch(r"\w+(\.\w+)*", path):
        raise CompressionError(f"the state has a name {path!r}")
    try:
        put(root, path, what)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise CompressionError(f"the state has a name {path!r}: {error}") from None


def _found(target: str) -> Any:
    """An operator of torch that networks are made of, or of plain numbers; None for any other."""
    if target in _NUMBERS:
        return _NUMBERS[target]
    space, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    found = getattr(getattr(torch.ops.aten, name, None), overload or "default", None) if space == "aten" else None
    if not isinstance(found, torch._ops.OpOverload) or (kind_of(found) is None and name != "sym_size"):
        return None
    return found


def _function(target: Any) -> Any:
    """The operator of that name."""
    found = _found(target) if isinstance(target, str) else None
    if found is None:
        raise CompressionError(f"the state has an operator {target!r}, which is none of networks")
    return found


def _word(text: Any) -> str:
    """A name that may stand in code: fx makes code of the names of inputs and of arguments."""
    if not isinstance(text, str) or not text.isidentifier() or keyword.iskeyword(text):
        raise CompressionError(f"the state has a name {text!r}")
    return text


def _meant(value: Any, known: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_meant(each, known) for each in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise CompressionError(f"the state has an argument of type {type(value).__name__}")
    ((kind, inner),) = value.items()
    if kind == "node":
        return known[inner]
    if kind == "tuple":
        return tuple(_meant(each, known) for each in inner)
    if kind == "dict":
        return {_word(key): _meant(each, known) for key, each in inner.items()}
    if kind == "device":
        return torch.device(inner)
    found = getattr(torch, inner, None)
    if kind != "torch" or not isinstance(found, torch.dtype | torch.memory_format):
        raise CompressionError(f"the state has an argument {value!r}")
    return found


def _layer(name: str, parts: Any) -> nn.Module:
    kind = _KINDS.get(str(parts.get("kind"))) if isinstance(parts, dict) else None
    if kind is None:
        raise CompressionError(f"layer {name}: must be a {', a '.join(_KINDS)}")
    tensors = {key: value for key, value in parts.items() if key not in ("kind", "settings")}
    settings = parts.get("settings")
    if not isinstance(settings, dict) or set(settings) != set(_SETTINGS[kind]):
        raise CompressionError(f"layer {name}: settings must be {', '.join(_SETTINGS[kind])}")
    if type(settings.get("groups", 1)) is not int:
        raise CompressionError(f"layer {name}: groups must be a whole number, got {settings['groups']!r}")
    if kind in MATRICES:
        dimensions = 2 if kind is nn.Linear else 2 + int(kind.__name__[-2])
        _check_matrix(name, tensors, dimensions, settings.get("groups", 1), kind in TRANSPOSED)
    elif not all(are_numbers(each) for each in tensors.values()):
        raise CompressionError(f"layer {name}: tensors that are not finite")
    try:
        made = _empty(kind, tensors, settings)
        made.load_state_dict({key: value for key, value in tensors.items() if value is not None}, assign=True)
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise CompressionError(f"layer {name}: {error}") from None
    return made


def _empty(kind: Any, tensors: Mapping[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    if kind in DROPOUTS:
        return kind(**settings)
    weight = tensors.get("weight")
    if kind is nn.Linear:
        return nn.Linear(weight.shape[1], weight.shape[0], tensors["bias"] is not None, device="meta")  # type: ignore[union-attr]
    if kind is nn.Embedding:
        return nn.Embedding(*weight.shape, device="meta")  # type: ignore[union-attr]
    if kind in MATRICES:
        groups = settings["groups"]
        first, second = weight.shape[:2]  # type: ignore[union-attr]
        sizes = (first, second * groups) if kind in TRANSPOSED else (second * groups, first)
        return kind(*sizes, tuple(weight.shape[2:]), bias=tensors["bias"] is not None, device="meta", **settings)  # type: ignore[union-attr]
    if kind is NarrowLayerNorm:
        return NarrowLayerNorm(settings["normalized_shape"], settings["count"], settings["eps"], *_affine(tensors))
    if kind is NarrowGroupNorm:
        return NarrowGroupNorm(settings["num_groups"], settings["num_channels"], settings["count"], settings["eps"], *_affine(tensors))
    if kind is nn.LayerNorm:
        return nn.LayerNorm(**settings, elementwise_affine=weight is not None, bias="bias" in tensors, device="meta")
    if kind is nn.GroupNorm:
        return nn.GroupNorm(**settings, affine=weight is not None, device="meta")
    return kind(len(tensors["running_mean"]), **settings, affine=weight is not None)


def _affine(tensors: Mapping[str, Any]) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    weight, bias = (None if tensors.get(name) is None else nn.Parameter(tensors[name]) for name in ("weight", "bias"))
    return weight, bias


def _check_matrix(name: str, parts: Mapping[str, Any], dimensions: int, groups: int = 1, transposed: bool = False) -> None:
    weight, bias = parts.get("weight"), parts.get("bias", "(missing)")
    if not are_numbers(weight) or weight.dim() != dimensions or not weight.numel():
        raise CompressionError(f"layer {name}: no weight of {dimensions} dimensions that is finite")
    outputs = weight.shape[1] * groups if transposed else len(weight)
    if bias is not None and (not are_numbers(bias) or bias.shape != (outputs,)):
        raise CompressionError(f"layer {name}: the bias must be {outputs} finite numbers or none")


# ---- the format before


def _from_pads(graph: fx.GraphModule, state: Mapping[str, Any]) -> fx.GraphModule:
    """The whole network's graph with the state's weights, and pads that add as many channels as it says."""
    if not isinstance(state.get("pads"), list) or not all(isinstance(pair, list | tuple) for pair in state["pads"]):
        raise CompressionError("the state has no layers by name, or no list of pads")
    layers = matrix_layers(graph)
    for name, parts in state["layers"].items():
        old = layers[name]
        _check_matrix(name, parts if isinstance(parts, dict) else {}, old.weight.dim())
        _resize(name, old, parts["weight"], parts["bias"])
    pads = [node for node in graph.graph.nodes if str(node.target) in ("aten.pad.default", "aten.constant_pad_nd.default")]
    if len(pads) != len(state["pads"]):
        raise CompressionError(f"the state is of another network: {len(state['pads'])} pads, this has {len(pads)}")
    for node, pair in zip(pads, state["pads"], strict=True):
        widths: list[Any] = [*node.args[1], 0, 0, 0, 0, 0, 0][:6]  # type: ignore[misc]
        if len(pair) != 2 or not all(type(n) is int and 0 <= n <= most for n, most in zip(pair, widths[4:], strict=True)):
            raise CompressionError(f"a pad of {pair} channels: two whole numbers from 0 to {widths[4]} and {widths[5]}")
        node.update_arg(1, [*widths[:4], *pair])
    for node in list(graph.graph.nodes):
        if str(node.target) == "aten.reshape.default" and len(node.args[1]) == 2:  # type: ignore[arg-type]
            with graph.graph.inserting_before(node):
                new = graph.graph.call_function(torch.ops.aten.flatten.using_ints, (node.args[0], 1))
            node.replace_all_uses_with(new)
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    return graph


def _resize(name: str, layer: MatrixLayer, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer these weights."""
    if weight.shape[2:] != layer.weight.shape[2:]:
        raise CompressionError(f"layer {name}: a weight of {tuple(weight.shape)}, the network has {tuple(layer.weight.shape)}")
    layer.weight = nn.Parameter(weight.clone())
    layer.bias = None if bias is None else nn.Parameter(bias.clone())  # type: ignore[assignment]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = len(weight), weight.shape[1] * layer.groups


def _output_shapes(graph: fx.GraphModule, example: Example) -> list[tuple[int, ...]]:
    graph.eval()
    with torch.no_grad():
        found = torch.utils._pytree.tree_leaves(graph.forward(*inputs_of(example)))  # calling it prints a traceback where it fails
    return [tuple(each.shape[1:]) for each in found if isinstance(each, Tensor)]


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))



"""A masked network as a smaller dense one, equal to it, so that retraining costs what the small network costs; and such a
network as tensors to keep, from which it is built again."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from xbar.compression.errors import CompressionError
from xbar.compression.gemm import layer_of, matrix_layers
from xbar.compression.paths import Paths, Reader, argument, channel_padding, kind_of, shapes_of, traced
from xbar.hw.graph.fold import fold

FORMAT = "small network 1"


def shrink(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """A smaller copy of `model` that computes the same in evaluation mode, to float rounding, on inputs like `example`
    (batch, ...).

    Filters that nobody reads and channels that are always 0, or a constant that a reader's bias takes exactly, are gone
    from every layer and batch norm; see `Paths` for what ties channels together. Zeros inside the matrices that stay
    are not removed (a dense convolution cannot be without a kernel position of one channel): `packing` tells what of
    them the crossbars need not hold. Layers keep their names, weights are plain (masks do not come along: take
    `nonzero_masks` where zeros are to stay), the training mode is the model's. `model` is left alone. Raises
    CompressionError where the model cannot be traced or followed.
    """
    paths = Paths(model, example)
    graph = paths.graph
    for name, reader in paths.readers.items():
        graph.set_submodule(name, _smaller(reader, paths.stays))
    for node in list(graph.graph.nodes):
        if node.name not in paths.shapes:
            continue
        kind = kind_of(graph, node)
        stays = paths.stays[paths.channels[node.name]]
        if kind == "norm":
            graph.set_submodule(str(node.target), _smaller_norm(graph.get_submodule(str(node.target)), stays))
        elif kind == "pad":
            _repad(node, len(paths.shapes[node.name]), stays)
        elif kind == "flatten" and node.op != "call_module":
            _flatten_again(graph, node, paths.shapes[node.all_input_nodes[0].name] != paths.shapes[node.name])
    graph.graph.eliminate_dead_code()
    graph.graph.lint()
    graph.recompile()
    graph.train(model.training)
    return graph


def _smaller(reader: Reader, stays: Tensor) -> nn.Conv2d | nn.Linear:
    """The layer with the outputs and inputs that stay."""
    old = reader.module
    outputs, inputs = stays[reader.outputs], stays[reader.source]
    weight = reader.weight[outputs] if reader.grouped else reader.weight[outputs][:, inputs]
    bias = reader.bias[outputs]
    new = _sized(old, len(weight), weight.shape[1], old.bias is not None or bool(bias.any()))
    with torch.no_grad():
        new.weight.copy_(weight)
        if new.bias is not None:
            new.bias.copy_(bias)
    return new


def _smaller_norm(old: Any, stays: Tensor) -> nn.Module:
    """The batch norm of the channels that stay."""
    like = old.running_mean
    new = type(old)(int(stays.sum()), old.eps, old.momentum, old.affine, old.track_running_stats,
                    device=like.device, dtype=like.dtype)  # fmt: skip
    chosen = stays.to(like.device)
    state = {k: v if k == "num_batches_tracked" else v[chosen] for k, v in old.state_dict().items()}
    new.load_state_dict(state)
    return new


def small_state(small: nn.Module, example: Tensor) -> dict[str, Any]:
    """What tells a smaller network from the one it was made of: weight and bias of each Linear and Conv2d, batch norm
    folded, and the channels that pads add. Tensors, texts and numbers, as torch.save wants them; see `rebuild`."""
    graph = traced(fold(small, example))
    shapes = shapes_of(graph, example)
    layers = {name: {"weight": layer.weight.detach().clone(), "bias": None if layer.bias is None else layer.bias.detach().clone()}
              for name, layer in matrix_layers(graph).items()}  # fmt: skip
    pads = [list(channel_padding(node, len(shapes[node.name]))) for node in _pads(graph, shapes)]
    return {"format": FORMAT, "layers": layers, "pads": pads}


def rebuild(model: nn.Module, example: Tensor, state: Mapping[str, Any]) -> fx.GraphModule:
    """The smaller network of `small_state`, from the whole one that it was made of; in evaluation mode.

    `model` gives the operations alone, its weights are not used. Raises CompressionError where the state has another format,
    or layers of another network.
    """
    if state.get("format") != FORMAT:
        raise CompressionError(f"the state's format must be {FORMAT!r}, got {state.get('format')!r}")
    _check_state(state)
    graph = traced(fold(model, example))
    shapes, found = shapes_of(graph, example), state["layers"]
    outputs = shapes[_last(graph)]
    layers = matrix_layers(graph)
    if set(layers) != set(found):
        raise CompressionError(f"the state is of another network: layers {', '.join(sorted(map(str, set(layers) ^ set(found))))} differ")
    for name, parts in found.items():
        graph.set_submodule(name, _like(name, layer_of(graph, name), parts["weight"], parts["bias"]))
    pads = list(_pads(graph, shapes))
    if len(pads) != len(state["pads"]):
        raise CompressionError(f"the state is of another network: {len(state['pads'])} pads, this has {len(pads)}")
    for node, pair in zip(pads, state["pads"], strict=True):
        whole = channel_padding(node, len(shapes[node.name]))
        if len(pair) != 2 or not all(type(n) is int and 0 <= n <= most for n, most in zip(pair, whole, strict=True)):
            raise CompressionError(f"a pad of {pair} channels: two whole numbers from 0 to {whole[0]} and {whole[1]}")
        _set_padding(node, len(shapes[node.name]), *pair)
    for node in list(graph.graph.nodes):
        if node.name in shapes and node.op != "call_module" and kind_of(graph, node) == "flatten":
            _flatten_again(graph, node, shapes[node.all_input_nodes[0].name] != shapes[node.name])
    graph.graph.lint()
    graph.recompile()
    graph.eval()
    try:
        with torch.no_grad():
            given = tuple(graph.forward(example).shape[1:])  # graph(example) prints a traceback where it fails
    except RuntimeError as error:
        raise CompressionError(f"the state does not fit the network: {error}") from None
    if given != outputs:
        raise CompressionError(f"the state gives {given} outputs, the network {outputs}")
    return graph


def _last(graph: fx.GraphModule) -> str:
    """The node that the network puts out."""
    (source,) = next(node for node in graph.graph.nodes if node.op == "output").all_input_nodes
    return str(source.name)


def are_numbers(value: object) -> TypeGuard[Tensor]:
    """Whether it is a plain tensor of finite real numbers: not sparse, quantised or complex, and with its values at hand."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_complex():
        return False
    return bool(torch.isfinite(value).all())


def _check_state(state: Mapping[str, Any]) -> None:
    """Raises CompressionError where a part of a state is missing or is not what it should be."""
    if not isinstance(state.get("layers"), dict) or not isinstance(state.get("pads"), list):
        raise CompressionError("the state has no layers by name, or no list of pads")
    if not all(isinstance(pair, list | tuple) for pair in state["pads"]):
        raise CompressionError("pads must be pairs of whole numbers")
    for name, parts in state["layers"].items():
        weight = parts.get("weight") if isinstance(parts, dict) else None
        if not are_numbers(weight) or weight.dim() not in (2, 4) or not weight.numel():
            raise CompressionError(f"layer {name}: no weight of 2 or 4 dimensions that is finite")
        bias = parts.get("bias", "(missing)")
        if bias is not None and (not are_numbers(bias) or bias.shape != weight.shape[:1]):
            raise CompressionError(f"layer {name}: the bias must be {len(weight)} finite numbers or none")


def _like(name: str, old: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Conv2d | nn.Linear:
    """A layer of that kind with these weights."""
    if weight.dim() != old.weight.dim() or weight.shape[2:] != old.weight.shape[2:]:
        raise CompressionError(f"layer {name}: a weight of {tuple(weight.shape)}, the network has {tuple(old.weight.shape)}")
    new = _sized(old, len(weight), weight.shape[1], bias is not None)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)  # type: ignore[union-attr]
    return new


def _sized(old: nn.Conv2d | nn.Linear, outputs: int, inputs: int, bias: bool) -> nn.Conv2d | nn.Linear:
    """A layer like `old` with so many outputs and inputs (per group), its weights to be filled in."""
    size: Any = {"bias": bias, "device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        return nn.Linear(inputs, outputs, **size)
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return nn.Conv2d(inputs * old.groups, outputs, **size, **{name: getattr(old, name) for name in names})


def _pads(graph: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]]) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.name in shapes and kind_of(graph, node) == "pad"]


def _repad(node: fx.Node, dimensions: int, stays: Tensor) -> None:
    """Pad fewer channels: those of the added ones that stay."""
    low, high = channel_padding(node, dimensions)
    if not low and not high:
        return
    _set_padding(node, dimensions, int(stays[:low].sum()), int(stays[len(stays) - high :].sum()))


def _set_padding(node: fx.Node, dimensions: int, low: int, high: int) -> None:
    """Let a pad add so many channels before and after."""
    at = 2 * (dimensions - 1)
    widths: list[Any] = list(argument(node, 1, "pad", ()))
    if len(widths) < at + 2:
        return
    widths[at : at + 2] = low, high
    if len(node.args) > 1:
        node.update_arg(1, tuple(widths))
    else:
        node.update_kwarg("pad", tuple(widths))


def _flatten_again(graph: fx.GraphModule, node: fx.Node, flattens: bool) -> None:
    """A reshape may name the number of features: flatten does not, and one that changes nothing can go."""
    new = node.all_input_nodes[0]
    if flattens:
        with graph.graph.inserting_after(node):
            new = graph.graph.call_function(torch.flatten, (new, 1))
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)

"""A masked network as a smaller dense one, equal to it, so that retraining costs what the small network costs."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from compression.paths import Paths, Reader, argument, channel_padding, kind_of


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
    has_bias = old.bias is not None or bool(bias.any())
    size: Any = {"bias": has_bias, "device": old.weight.device, "dtype": old.weight.dtype}
    new: nn.Conv2d | nn.Linear
    if isinstance(old, nn.Conv2d):
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        size |= {name: getattr(old, name) for name in names}
        new = nn.Conv2d(weight.shape[1] * old.groups, len(weight), **size)
    else:
        new = nn.Linear(weight.shape[1], len(weight), **size)
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


def _repad(node: fx.Node, dimensions: int, stays: Tensor) -> None:
    """Pad fewer channels: those of the added ones that stay."""
    low, high = channel_padding(node, dimensions)
    if not low and not high:
        return
    at = 2 * (dimensions - 1)
    widths: list[Any] = list(argument(node, 1, "pad", ()))
    widths[at : at + 2] = int(stays[:low].sum()), int(stays[len(stays) - high :].sum())
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

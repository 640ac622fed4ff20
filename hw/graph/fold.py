"""A copy of a model with the batch norms folded that the chip folds, by the one graph; its modules, names and forward stay."""

import copy

import torch
from torch import nn

from xbar.hw.errors import TraceError
from xbar.hw.graph.capture import Example
from xbar.hw.graph.graph import read
from xbar.hw.graph.matrix import Matrix


def fold(model: nn.Module, example: Example) -> nn.Module:
    """A copy of `model` in evaluation mode: a batch norm that `hw.graph` folds is an Identity, its layer has the folded weights.

    example: inputs (batch, ...). Raises TraceError as `hw.graph.graph.read`, and for a layer that is used with and without
    a norm, or with several: it has no one set of folded weights.
    """
    graph = read(model, example)
    folded = copy.deepcopy(model).eval()
    owners: dict[str, str] = {}
    for name, parts in graph.parameters.items():
        for part in parts:
            owner = part.rpartition(".")[0]
            if graph.folded and owners.setdefault(owner, name) != name and (name in graph.folded or owners[owner] in graph.folded):
                raise TraceError(f"layer {owner} is used with different batch norms: it cannot be folded")
    for name, norm in graph.folded.items():
        matrix = graph.layers[name]
        assert isinstance(matrix, Matrix)
        layer = folded.get_submodule(graph.parameters[name][0].rpartition(".")[0])
        with torch.no_grad():
            layer.weight.copy_(matrix.weight)  # type: ignore[operator]
            assert matrix.bias is not None
            if layer.bias is None:
                layer.bias = nn.Parameter(matrix.bias.detach().clone())
            else:
                layer.bias.copy_(matrix.bias)  # type: ignore[operator]
        folded.set_submodule(norm[0].rpartition(".")[0], nn.Identity())
    return folded

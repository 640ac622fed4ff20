"""A network that `torch.export` saved (.pt2) as plain torch modules: layers under their names, so that it can be put on a
chip, compressed and trained on as any other.

The file holds operators on parameters. Those of linear, convolution, norm and embedding layers become `nn` modules again, named as
their weights are; others stay the operators they are, in torch's own functions where there is one.
"""

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from xbar.compression.layered import attribute_at
from xbar.hw.graph.capture import quiet
from xbar.workloads.data import DataError

_aten: Any = torch.ops.aten
HOW = "torch.export.export(model.eval(), (x,), dynamic_shapes=({0: torch.export.Dim('batch')},))"

# Operators that torch has a function of the same arguments for, as `xbar.compression` knows them.
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    _aten.relu.default: torch.relu, _aten.relu_.default: torch.relu, _aten.sigmoid.default: torch.sigmoid, _aten.tanh.default: torch.tanh,
    _aten.gelu.default: F.gelu, _aten.silu.default: F.silu, _aten.silu_.default: F.silu, _aten.leaky_relu.default: F.leaky_relu,
    _aten.hardtanh.default: F.hardtanh, _aten.hardtanh_.default: F.hardtanh, _aten.hardswish.default: F.hardswish,
    _aten.hardswish_.default: F.hardswish, _aten.hardsigmoid.default: F.hardsigmoid,
    _aten.flatten.using_ints: torch.flatten, _aten.max_pool2d.default: F.max_pool2d, _aten.avg_pool2d.default: F.avg_pool2d,
    _aten.adaptive_avg_pool2d.default: F.adaptive_avg_pool2d, _aten.cat.default: torch.cat, _aten.mean.dim: torch.mean,
    _aten.add.Tensor: operator.add, _aten.add_.Tensor: operator.add, _aten.mul.Tensor: operator.mul,
}  # fmt: skip
# What they give shares memory with what they were given: what is written into it is written there too.
_VIEWS = {
    "view", "reshape", "flatten", "slice", "select", "transpose", "permute", "squeeze", "unsqueeze", "expand", "split", "chunk", "unbind",
    "narrow", "t", "alias", "detach", "unflatten", "split_with_sizes", "tensor_split", "diagonal", "movedim", "getitem",
}  # fmt: skip
_DROPOUTS = (_aten.dropout.default, _aten.dropout_.default, _aten.feature_dropout.default)


def load_exported(path: Path, example: Tensor) -> nn.Module:
    """The network of a .pt2 file, for inputs like `example` (n, ...); raises DataError for what is none, or has other than one input.

    torch reads such a file, and may run what a pickle within it says: as with Python files, only load what you trust.
    """
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:  # torch raises RuntimeError, KeyError, BadZipFile and others for files that are none
        raise DataError(f"{path}: is no file of torch.export.save: {first_line(error)}") from None
    return network_of(program, str(path), example)


def network_of(program: torch.export.ExportedProgram, name: str, example: Tensor) -> nn.Module:
    """A module of layers that computes what the program does (see the module), as it is seen to do on `example` (n, ...); raises
    DataError."""
    source = program.module(check_guards=False)
    inputs = [node for node in source.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise DataError(f"{name}: has {len(inputs)} inputs, must have one: wrap the model in a module of one tensor")
    kept = {node.target: attribute_at(source, str(node.target)) for node in source.graph.nodes if node.op == "get_attr"}
    try:
        built = _Rebuilt(source.graph, kept).module()
    except (AttributeError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{name}: its layers cannot be told apart: {first_line(error)}") from None
    wanted = outputs_of(source, example[:2])
    if wanted is not None and not alike(wanted, outputs_of(built, example[:2])):
        raise DataError(f"{name}: written in plain layers it computes something else; give the model as FILE.py:FUNCTION")
    return built


def alike(wanted: Tensor, found: Tensor | None) -> bool:
    """True of tensors of the same shape that differ by no more than float32 rounds."""
    if found is None or wanted.shape != found.shape:
        return False
    a, b = wanted.double(), found.double()
    largest = float(a[a.isfinite()].abs().max()) if bool(a.isfinite().any()) else 0.0
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5 * largest, equal_nan=True)


def outputs_of(module: Callable[[Tensor], Any], example: Tensor) -> Tensor | None:
    """What a module gives, or None where it fails on that batch, which is told when the network is first used."""
    with torch.no_grad():
        try:
            found = module(example.clone())
        except Exception:  # of a user's network
            return None
    return found if isinstance(found, Tensor) else None


class _Rebuilt:
    """The graph of a program, written anew with modules."""

    def __init__(self, graph: fx.Graph, kept: dict[str, Any]):
        self.old, self.kept = graph, kept
        self.root, self.new = fx.GraphModule(nn.Module(), fx.Graph()), fx.Graph()
        self.of: dict[fx.Node, Any] = {}
        self.layers: dict[str, tuple[Any, ...]] = {}

    def module(self) -> nn.Module:
        """The whole network, in evaluation mode."""
        for node in self.old.nodes:
            if node.op == "output":
                (found,) = node.args
                self.new.output(self._new(found[0] if isinstance(found, list | tuple) and len(found) == 1 else found))
            elif node.op == "placeholder":
                self.of[node] = self.new.placeholder(node.name)
            elif node.op == "call_function":
                self.of[node] = self._layer(node) or self._function(node)
        built = fx.GraphModule(self.root, self.new)
        built.graph.eliminate_dead_code()
        built.recompile()
        built.delete_all_unused_submodules()
        return built.eval()

    def _new(self, value: Any) -> Any:
        """Arguments in terms of the new graph; a parameter that no layer took is an attribute."""
        return fx.node.map_arg(value, self._node)

    def _node(self, node: fx.Node) -> Any:
        if node not in self.of and node.op == "get_attr":
            name = str(node.target).replace(".", "_")
            value = self.kept[str(node.target)]
            if not hasattr(self.root, name):
                if isinstance(value, nn.Parameter):
                    self.root.register_parameter(name, value)
                else:
                    self.root.register_buffer(name, value)
            self.of[node] = self.new.get_attr(name)
        return self.of[node]

    def _function(self, node: fx.Node) -> fx.Node:
        """The operator as it is, or torch's own function."""
        target = node.target
        if target in _DROPOUTS:
            return self._call("dropout", nn.Dropout(node.args[1]), node, ("dropout", node.args[1]))
        if str(target).endswith(("_.default", "_.Tensor", "_.Scalar")) and _is_view(node.args[0]):
            return self.new.call_function(target, self._new(node.args), self._new(node.kwargs))  # writes into what it is a view of
        if target in (_aten.view.default, _aten.reshape.default) and _flattens(node):
            return self.new.call_function(torch.flatten, (self._new(node.args[0]), 1))
        if target in (_aten.add.Tensor, _aten.add_.Tensor) and node.kwargs:  # a factor besides
            return self.new.call_function(target, self._new(node.args), self._new(node.kwargs))
        return self.new.call_function(_FUNCTIONS.get(target, target), self._new(node.args), self._new(node.kwargs))

    def _layer(self, node: fx.Node) -> fx.Node | None:
        """The layer whose weights an operator has, called; None where it is no layer with weights of its own."""
        make = _LAYERS.get(node.target)
        given = _arguments(node)
        which = given.get("weight")
        if make is None or not isinstance(which, fx.Node) or which.op != "get_attr":
            return None
        tensors = {key: value for key, value in given.items() if isinstance(value, fx.Node) and key not in ("input", "indices")}
        if any(value.op != "get_attr" for value in tensors.values()):
            return None
        owned = {key: self.kept[str(value.target)] for key, value in tensors.items()}
        plain = {key: value for key, value in given.items() if not isinstance(value, fx.Node)}
        layer = make(owned, plain | {"rank": node.meta["val"].dim()})
        if layer is None:
            return None
        for key, value in owned.items():
            if isinstance(getattr(layer, key), nn.Parameter):
                setattr(layer, key, value if isinstance(value, nn.Parameter) else nn.Parameter(value))
            else:
                getattr(layer, key).copy_(value)
        path = str(which.target).replace("/", ".")  # in_proj_weight of attention lies beside a module of its own, out_proj
        name = path.removesuffix(".weight") if "." in path else f"layer_{path}"
        source = given["indices"] if "indices" in given else given["input"]
        return self._call(name, layer, source, (node.target, *(str(value.target) for value in tensors.values()), repr(plain)))

    def _call(self, name: str, layer: nn.Module, source: Any, told: tuple[Any, ...]) -> fx.Node:
        """A call of the layer, under its name, or another where that is taken by another layer."""
        while self.layers.get(name, told) != told:
            name += "_"
        if name not in self.layers:
            self.layers[name] = told
            self.root.add_submodule(name, layer)
        argument = source.args[0] if name.startswith("dropout") and isinstance(source, fx.Node) and source.target in _DROPOUTS else source
        return self.new.call_module(name, (self._new(argument),))


def _arguments(node: fx.Node) -> dict[str, Any]:
    """What an operator is given, by the names of its schema, defaults too."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    found = {each.name: each.default_value for each in schema.arguments if each.has_default_value()}
    return found | dict(zip([each.name for each in schema.arguments], node.args, strict=False)) | dict(node.kwargs)


def _linear(owned: dict[str, Tensor], plain: dict[str, Any]) -> nn.Module | None:
    weight = owned["weight"]
    return nn.Linear(weight.shape[1], weight.shape[0], "bias" in owned) if weight.dim() == 2 else None


def _convolution(kind: type[nn.Module]) -> Callable[[dict[str, Tensor], dict[str, Any]], nn.Module]:
    def make(owned: dict[str, Tensor], plain: dict[str, Any]) -> nn.Module:
        outputs, inputs, *kernel = owned["weight"].shape
        return kind(
            inputs * plain["groups"], outputs, tuple(kernel), stride=_tuple(plain["stride"]),
            padding=plain["padding"] if isinstance(plain["padding"], str) else _tuple(plain["padding"]),
            dilation=_tuple(plain["dilation"]), groups=plain["groups"], bias="bias" in owned,
        )  # fmt: skip

    return make


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) and len(value) > 1 else value[0] if isinstance(value, list | tuple) else value


def _batch_norm(owned: dict[str, Tensor], plain: dict[str, Any]) -> nn.Module | None:
    if not {"weight", "bias", "running_mean", "running_var"} <= set(owned):
        return None
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[plain["rank"]]
    return kind(len(owned["weight"]), eps=plain["eps"], momentum=plain["momentum"])


def _layer_norm(owned: dict[str, Tensor], plain: dict[str, Any]) -> nn.Module | None:
    return nn.LayerNorm(tuple(plain["normalized_shape"]), eps=plain["eps"]) if {"weight", "bias"} <= set(owned) else None


def _embedding(owned: dict[str, Tensor], plain: dict[str, Any]) -> nn.Module:
    return nn.Embedding(*owned["weight"].shape)


_LAYERS: dict[Any, Callable[[dict[str, Tensor], dict[str, Any]], nn.Module | None]] = {
    _aten.linear.default: _linear, _aten.conv1d.default: _convolution(nn.Conv1d), _aten.conv2d.default: _convolution(nn.Conv2d),
    _aten.conv2d.padding: _convolution(nn.Conv2d), _aten.conv3d.default: _convolution(nn.Conv3d), _aten.batch_norm.default: _batch_norm,
    _aten.layer_norm.default: _layer_norm, _aten.embedding.default: _embedding,
}  # fmt: skip


def _is_view(node: Any) -> bool:
    """True of what shares memory with what it was made of."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return False
    name = getattr(node.target, "__name__", "").partition(".")[0]
    return name in _VIEWS


def _flattens(node: fx.Node) -> bool:
    """True of a view that keeps the batch axis and makes one of all others."""
    before, after = (each.meta.get("val") for each in (node.args[0], node))
    return (
        isinstance(before, Tensor) and isinstance(after, Tensor) and after.dim() == 2 and before.dim() > 2
        and not isinstance(after.shape[0], int) and str(after.shape[0]) == str(before.shape[0])
    )  # fmt: skip


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

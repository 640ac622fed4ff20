"""A network as layers: a torch module that computes what the user's does, each of its constant matrices a layer of its own.

It is made of the captured graph that the chip is read from too (`xbar.hw.graph.capture`), so that a recurrent network's or an
attention's matrices are `nn.Linear`s of the names that the chip knows them by, and functions that the model's code calls are nodes.
All other operators stay what they are. Parameters keep their paths, may be trained, and dropout and batch norm
follow the training mode.
"""

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils import _pytree as pytree

from xbar.compression.errors import CompressionError
from xbar.compression.masks import baked
from xbar.hw.errors import TraceError
from xbar.hw.graph.capture import Captured, Example, capture, inputs_of
from xbar.hw.graph.operators import kind_of
from xbar.hw.graph.origin import origin_of

_aten: Any = torch.ops.aten
_CONVOLUTIONS: dict[Any, Any] = {
    _aten.conv1d: nn.Conv1d, _aten.conv2d: nn.Conv2d, _aten.conv3d: nn.Conv3d, _aten.conv_transpose1d: nn.ConvTranspose1d,
    _aten.conv_transpose2d: nn.ConvTranspose2d, _aten.conv_transpose3d: nn.ConvTranspose3d,
}  # fmt: skip
_PRODUCTS = (_aten.mm, _aten.matmul, _aten.addmm)
_NORMS: dict[int, Any] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_DROPOUTS = {
    "dropout": nn.Dropout, "feature_dropout": nn.Dropout2d, "alpha_dropout": nn.AlphaDropout,
    "feature_alpha_dropout": nn.FeatureAlphaDropout,
}  # fmt: skip
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size", "_assert_async")


def layered(model: nn.Module, example: Example) -> fx.GraphModule:
    """`model` as layers (see the module), for inputs shaped like `example` (batch, ...), a tuple for several inputs; any batch.

    Weights are copies and plain; the training mode is the model's. `meta["parameters"]`: of every parameter and buffer that the model
    has unchanged, its path there. Raises CompressionError, with the line of the model, for what cannot be captured.
    """
    plain = baked(model)
    shapes = [(tuple(each.shape[1:]), each.dtype) for each in inputs_of(example)]
    if isinstance(plain, fx.GraphModule) and plain.meta.get("layered") == shapes:
        return _again(plain)
    try:
        captured = capture(plain, example)
    except TraceError as error:
        raise CompressionError(str(error)) from error
    made = _Layers(plain, captured).module()
    made.meta["layered"] = shapes
    made.train(model.training)
    return made


MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def layers_of(model: nn.Module) -> dict[str, Any]:
    """The modules of a model that hold a matrix or a table, by name, in order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, (*MATRICES, nn.Embedding))}


def with_layers(model: nn.Module, example: Example) -> nn.Module:
    """`model` itself where each matrix is a module of its own, else `layered`."""
    found = layered(model, example)
    return model if set(layers_of(found)) <= set(layers_of(model)) else found


def folded_layers(model: nn.Module, example: Example) -> fx.GraphModule:
    """`layered`, in evaluation mode, with each batch norm that alone follows a layer folded into it, as the chip has it."""
    graph = layered(model, example).eval()
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    uses = Counter(str(node.target) for node in calls)
    for node in calls:
        norm, source = graph.get_submodule(str(node.target)), cast(fx.Node, node.args[0])
        if not isinstance(norm, tuple(_NORMS.values())) or source.op != "call_module" or uses[str(source.target)] + len(source.users) > 2:
            continue
        layer: Any = graph.get_submodule(str(source.target))
        if isinstance(layer, nn.Linear) and node.args[0].meta.get("rank", 2) == 2:  # type: ignore[union-attr]
            graph.set_submodule(str(source.target), fuse_linear_bn_eval(layer, norm))
        elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            graph.set_submodule(str(source.target), fuse_conv_bn_eval(layer, norm))
        else:
            continue
        node.replace_all_uses_with(source)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


def _again(graph: fx.GraphModule) -> fx.GraphModule:
    """A network that is layers already."""
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), nn.Identity):
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    tensors = (*graph.named_parameters(remove_duplicate=False), *graph.named_buffers(remove_duplicate=False))
    graph.meta["parameters"] = {path: path for path, _ in tensors}
    return graph


class _Layers:
    """Walks a captured graph once: constants evaluated, layers made modules, the rest copied."""

    def __init__(self, model: nn.Module, captured: Captured):
        self.model, self.captured = model, captured
        self.root, self.new = nn.Module(), fx.Graph()
        self.constant: dict[fx.Node, Any] = {}
        self.path: dict[fx.Node, str] = {}  # of a constant: where in the model it is, or what it is made of
        self.same: dict[str, str] = {}  # path here -> in the model
        self.held: dict[int, tuple[Tensor, Tensor]] = {}  # the model's tensor and our copy
        self.copied: dict[fx.Node, fx.Node] = {}
        self.layers: dict[Any, str] = {}

    def module(self) -> fx.GraphModule:
        tensors = self.captured.tensors(self.model)
        for node in self.captured.graph.nodes:
            if node.op == "placeholder" and node.name in tensors:
                path = self.captured.held.get(node.name)
                owned = attribute_at(self.model, path) if path else None
                self.constant[node] = tensors[node.name] if owned is None else owned
                self.path[node] = path or node.name
            elif node.op == "placeholder":
                self.copied[node] = self.new.placeholder(node.name)
            elif node.op == "call_function":
                self._visit(node)
            elif node.op == "output":
                leaves = [self._operand(each) if isinstance(each, fx.Node) else each for each in cast(tuple[Any, ...], node.args[0])]
                self.new.output(pytree.tree_unflatten(leaves, self.captured.outputs))
        made = fx.GraphModule(self.root, self.new, type(self.model).__name__)
        made.graph.eliminate_dead_code()
        made.graph.lint()
        made.recompile()
        made.meta["parameters"] = self.same
        return made

    def _visit(self, node: fx.Node) -> None:
        packet = getattr(node.target, "overloadpacket", None)
        if packet is not None and packet.__name__ in _CHECKS:
            return
        draws = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if all(each in self.constant for each in node.all_input_nodes) and not draws:
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda each: self.constant[each])
            with torch.enable_grad():  # what is made of a parameter may be trained as well
                value = node.target(*args, **kwargs)  # type: ignore[operator]
            source = next((each for each in node.all_input_nodes if _is_all_of(value, self.constant[each])), None)
            made = next((self.path[each] for each in node.all_input_nodes), node.name)
            self.constant[node] = value if source is None else self.constant[source]
            self.path[node] = self.path[source] if source is not None else made if made.endswith("_as_used") else f"{made}_as_used"
            return
        before = self._as_layer(node, packet)
        if before is None:
            if packet is not None and kind_of(node.target) is None and packet.__name__ != "sym_size" and not _is_size(node):
                origin = origin_of(node)
                raise CompressionError(
                    f"operator {packet.__name__}{f' of {origin.module}' if origin.module else ''}: channels cannot be followed through "
                    f"it; {origin.line or 'no line is known'}"
                )
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._operand)
            target = _aten.reshape.default if node.target in (_aten.view.default, _aten._unsafe_view.default) else node.target
            before = self.new.call_function(target, args, kwargs)  # type: ignore[arg-type]
        before.meta["line"] = origin_of(node).line
        if isinstance(node.meta.get("val"), Tensor):
            before.meta["rank"] = node.meta["val"].dim()
        self.copied[node] = before

    def _as_layer(self, node: fx.Node, packet: Any) -> fx.Node | None:
        """A call of the layer that a node is, or None."""
        args: tuple[Any, ...] = node.args
        if node.target is operator.getitem and args[0] in self.copied and self.copied[args[0]].op == "call_module":
            return self.copied[args[0]]  # a norm gives its statistics besides
        if node.target is torch.ops.xbar.dropout.default:
            made = _DROPOUTS[str(args[2])](args[1])
            return self._call(origin_of(node).module or "dropout", node, made, args[0])
        if packet is _aten.linear and self._matrix(args[1]):
            weight, bias = self._tensors(node, args[1], _at(args, 2))
            return self._call(self._name(args[1]), (node.target, args[1], _at(args, 2)), _linear(weight, bias), args[0])
        if packet in _CONVOLUTIONS and args[1] in self.constant:
            weight, bias = self._tensors(node, args[1], _at(args, 2))
            made = _convolution(_CONVOLUTIONS[packet], args, weight, bias)
            return self._call(self._name(args[1]), (node.target, args[1], _at(args, 2), repr(args[3:])), made, args[0])
        if packet is _aten.embedding and args[0] in self.constant:
            (weight,) = self._tensors(node, args[0])
            made = nn.Embedding(*weight.shape, _weight=torch.empty(weight.shape, device="meta"))
            made.weight = weight
            return self._call(self._name(args[0]), (node.target, args[0]), made, args[1])
        if packet in _PRODUCTS:
            return self._product(node, packet)
        if packet in (_aten.rms_norm, _aten._fused_rms_norm):
            return self._root_mean_square(node)
        return self._norm(node, packet)

    def _product(self, node: fx.Node, packet: Any) -> fx.Node | None:
        """Rows times one constant matrix, and what is added to them."""
        summed = packet is _aten.addmm
        first, second = cast("tuple[fx.Node, fx.Node]", node.args[1:3] if summed else node.args[:2])
        bias = cast(fx.Node, node.args[0]) if summed else None
        if first in self.constant or not self._matrix(second) or node.kwargs:
            return None
        if bias is not None and (bias not in self.constant or self.constant[bias].dim() != 1):
            return None
        turned = second.target in (_aten.t.default, _aten.transpose.int, _aten.permute.default) and second.args[0] in self.path
        if turned:
            second = cast(fx.Node, second.args[0])
            weight, added = self._tensors(node, second, bias)
        else:
            _, added = self._tensors(node, None, bias)
            weight = _like(self.constant[second].mT.contiguous(), self.constant[second])
        return self._call(self._name(second), (packet, second, bias), _linear(weight, added), first)

    def _norm(self, node: fx.Node, packet: Any) -> fx.Node | None:
        args: tuple[Any, ...] = node.args
        if packet is _aten._native_batch_norm_legit_no_training and args[3] in self.constant and args[4] in self.constant:
            weight, bias, mean, variance = self._tensors(node, *args[1:5])
            made = _NORMS[node.meta["val"][0].dim()](len(mean), eps=args[6], momentum=args[5], affine=weight is not None)
            made.weight, made.bias = weight, bias
            made.running_mean, made.running_var = mean, variance
            return self._call(self._owner(args[3]), (node.target, *args[1:5]), made, args[0])
        if packet is _aten.layer_norm:
            weight, bias = self._tensors(node, _at(args, 2), _at(args, 3))
            made = nn.LayerNorm(args[1], _at(args, 4, 1e-5), weight is not None, bias is not None, device="meta")
        elif packet is _aten.group_norm:
            weight, bias = self._tensors(node, _at(args, 2), _at(args, 3))
            made = nn.GroupNorm(args[1], node.meta["val"].shape[1], _at(args, 4, 1e-5), weight is not None, device="meta")
        else:
            return None
        if any(isinstance(each, fx.Node) and each not in self.constant for each in args[1:]):
            return None
        made.weight, made.bias = weight, bias
        name = self._owner(args[2]) if isinstance(_at(args, 2), fx.Node) else origin_of(node).module or "norm"
        return self._call(name, (node.target, _at(args, 2), _at(args, 3), node if weight is None else None), made, args[0])

    def _root_mean_square(self, node: fx.Node) -> fx.Node:
        """torch's rms_norm written out (its documentation gives this form): a mean of squares over channels."""
        args: tuple[Any, ...] = node.args
        source = self._operand(args[0])
        eps = _at(args, 3)
        eps = torch.finfo(args[0].meta["val"].dtype).eps if eps is None else eps
        squares = self.new.call_function(_aten.mul.Tensor, (source, source))
        mean = self.new.call_function(_aten.mean.dim, (squares, list(range(-len(args[1]), 0)), True))
        root = self.new.call_function(_aten.rsqrt.default, (self.new.call_function(_aten.add.Tensor, (mean, eps)),))
        found = self.new.call_function(_aten.mul.Tensor, (source, root))
        weight = _at(args, 2)
        return found if weight is None else self.new.call_function(_aten.mul.Tensor, (found, self._operand(weight)))

    # ---- tensors and names

    def _matrix(self, node: Any) -> bool:
        return node in self.constant and self.constant[node].dim() == 2

    def _tensors(self, node: fx.Node, *wanted: Any) -> tuple[Any, ...]:
        """Our copies of constants, None for those that are none."""
        if any(isinstance(each, fx.Node) and each not in self.constant for each in wanted):
            return (None,) * len(wanted)
        return tuple(None if each is None else self._ours(each) for each in wanted)

    def _ours(self, node: fx.Node) -> Tensor:
        value = self.constant[node]
        if id(value) not in self.held:
            self.held[id(value)] = value, _like(value.detach().clone(), value)
        return self.held[id(value)][1]

    def _name(self, weight: fx.Node) -> str:
        """The name of a layer: its weight's path without ".weight"."""
        path = self.path[weight].removesuffix("_as_used")
        return type(self.model).__name__.lower() if path == "weight" else path.removesuffix(".weight")

    def _owner(self, tensor: fx.Node) -> str:
        return self.path[tensor].rpartition(".")[0] or type(self.model).__name__.lower()

    def _call(self, asked: str, key: Any, module: nn.Module, source: Any) -> fx.Node:
        if key not in self.layers:
            name, number = asked, 1
            while _taken(self.root, name):
                number += 1
                name = f"{asked}_call{number}"
            self.layers[key] = name
            put(self.root, name, module)
            ours = {id(copy): self._path_of(value) for value, copy in self.held.values()}
            for own, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if ours.get(id(tensor)):
                    self.same[f"{name}.{own}"] = ours[id(tensor)]
        return self.new.call_module(self.layers[key], (self._operand(source),))

    def _path_of(self, value: Tensor) -> str:
        """Where in the model this very tensor is, "" where nowhere."""
        return next((self.captured.held[node.name] for node, each in self.constant.items()
                     if each is value and node.name in self.captured.held and node.op == "placeholder"), "")  # fmt: skip

    def _operand(self, node: fx.Node) -> Any:
        if node not in self.copied:
            value = self.constant[node]
            if not isinstance(value, Tensor):
                return value
            tensor, path = self._ours(node), self.path[node]
            while _taken(self.root, path) and attribute_at(self.root, path) is not tensor:
                path += "_"
            if not _taken(self.root, path):
                put(self.root, path, tensor)
                if self._path_of(value):
                    self.same[path] = self._path_of(value)
            self.copied[node] = self.new.get_attr(path)
        return self.copied[node]


def put(root: nn.Module, path: str, what: nn.Module | Tensor) -> None:
    """Set a module, parameter or buffer, making what is missing on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    if isinstance(what, nn.Module):
        root.add_module(name, what)
    elif isinstance(what, nn.Parameter):
        root.register_parameter(name, what)
    else:
        root.register_buffer(name, what)


def _taken(root: nn.Module, path: str) -> bool:
    try:
        attribute_at(root, path)
    except AttributeError:
        return False
    return True


def attribute_at(root: nn.Module, path: str) -> Any:
    """What `put` set: a module, parameter or buffer by its path; raises AttributeError where there is none."""
    found: Any = root
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _like(value: Tensor, source: Tensor) -> Tensor:
    """A parameter where the source is one, or was made of one."""
    if isinstance(source, nn.Parameter) or source.requires_grad:
        return nn.Parameter(value.detach().clone() if value.is_inference() else value.detach(), source.requires_grad)
    return value.detach()


def _held(module: Any, weight: Tensor, bias: Tensor | None) -> Any:
    module.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight, False)
    if bias is not None:
        module.bias = bias if isinstance(bias, nn.Parameter) else nn.Parameter(bias, False)
    return module


def _is_all_of(value: Any, source: Any) -> bool:
    """Whether a value is a whole tensor as it lies in memory, such as a slice of all of it."""
    return isinstance(value, Tensor) and isinstance(source, Tensor) and value.data_ptr() == source.data_ptr() and (
        value.shape == source.shape and value.stride() == source.stride() and value.dtype == source.dtype)  # fmt: skip


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    return _held(nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta"), weight, bias)


def _convolution(kind: Callable[..., Any], args: tuple[Any, ...], weight: Tensor, bias: Tensor | None) -> Any:
    """The layer of a convolution node, transposed or not."""
    transposed = kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    padding = _at(args, 4, 0)
    given = {"stride": _sides(_at(args, 3, 1)), "padding": padding if isinstance(padding, str) else _sides(padding)}
    if transposed:
        groups = int(_at(args, 6, 1))
        given |= {"output_padding": _sides(_at(args, 5, 0)), "dilation": _sides(_at(args, 7, 1))}
        sizes = weight.shape[0], weight.shape[1] * groups
    else:
        groups = int(_at(args, 6, 1))
        given |= {"dilation": _sides(_at(args, 5, 1))}
        sizes = weight.shape[1] * groups, weight.shape[0]
    made = kind(*sizes, tuple(weight.shape[2:]), groups=groups, bias=bias is not None, device="meta", **given)
    return _held(made, weight, bias)


def _sides(value: Any) -> Any:
    """A number, or one an axis."""
    return value if isinstance(value, int) else value[0] if len(value) == 1 else tuple(value)


def _at(args: tuple[Any, ...], place: int, default: Any = None) -> Any:
    return args[place] if len(args) > place else default


def _is_size(node: fx.Node) -> bool:
    """Whether a node gives a plain number."""
    return not isinstance(node.meta.get("val"), Tensor | list | tuple)

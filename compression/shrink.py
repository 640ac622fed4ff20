"""A masked network as a smaller dense one, equal to it, so that retraining costs what the small network costs."""

import copy
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from xbar.compression.channels import BATCH_NORMS, MATRICES, Channels
from xbar.compression.errors import CompressionError
from xbar.compression.labels import compact, varying
from xbar.compression.layered import attribute_at, put
from xbar.compression.masks import baked
from xbar.compression.norms import NarrowGroupNorm, NarrowLayerNorm
from xbar.compression.paths import Paths
from xbar.hw.graph.capture import Example, flattened, inputs_of

_aten: Any = torch.ops.aten
_SIZED = {  # operators that are told a shape, and where
    "reshape": 1, "view": 1, "_unsafe_view": 1, "view_copy": 1, "expand": 1, "expand_copy": 1, "broadcast_to": 1, "zeros": 0, "ones": 0,
    "full": 0, "empty": 0, "new_zeros": 1, "new_ones": 1, "new_full": 1, "new_empty": 1,
}  # fmt: skip
TOLERANCE = 1e-3  # of the largest output, by which a smaller network may differ in float before it is called wrong


def shrink(model: nn.Module, example: Example) -> nn.Module:
    """A smaller copy of `model` that computes the same in evaluation mode, to float rounding, on inputs like `example`
    (batch, ...), a tuple for several inputs.

    Filters that nobody reads and channels that are always 0, or a constant that a reader's bias takes exactly, are gone
    from every tensor; see `Paths` for what rests on what. Zeros inside the matrices that stay are not removed (a dense convolution
    cannot be without a kernel position of one channel): `packing` tells what of them the crossbars need not hold. A norm over channels of
    which some are gone still divides by how many there were (`xbar.compression.norms`). What comes back is the model's own module
    with smaller parameters, where its code does not hold sizes itself; else its graph of layers (`layered`), for inputs of these
    sizes. Layers keep their names, weights are plain (masks do not come along: take `nonzero_masks` where zeros are to
    stay), the training mode is the model's. `model` is left alone. Raises CompressionError where it cannot be captured or followed.
    """
    paths = Paths(model, example)
    wanted = _outputs(paths.graph, example)
    graph = _Cut(paths.channels, paths.stays, paths.constants).graph()
    if not _equal(wanted, _outputs(graph, example)):
        raise CompressionError(f"{type(model).__name__} cannot be made smaller: its smaller graph computes something else")
    own = None if isinstance(model, fx.GraphModule) else _own(model, graph, example, wanted)
    small = graph if own is None else own
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    return small.to(device).train(model.training)


class _Cut:
    """Makes a graph of layers smaller, in place: stays, bool by label; constants, by layer, what inputs that go are."""

    def __init__(self, channels: Channels, stays: Tensor, constants: dict[str, Tensor]):
        self.channels, self.constants = channels, constants
        self.stays = stays
        self.module = channels.graph
        self.tensors: dict[int, Tensor] = {}  # by the whole tensor's id; shared ones stay shared
        self.roles: defaultdict[int, list[Tensor]] = defaultdict(list)
        for path, roles in channels.roles.items():
            self.roles[id(attribute_at(self.module, path))] += roles

    def graph(self) -> fx.GraphModule:
        for node in list(self.module.graph.nodes):
            if node.op == "call_function":
                self._function(node)
        norms = {node.target: node for node in self.module.graph.nodes if node.op == "call_module"}
        for name, node in norms.items():
            module: Any = self.module.get_submodule(str(name))
            if isinstance(module, MATRICES):
                self._matrix(str(name), module)
            elif isinstance(module, nn.LayerNorm | nn.GroupNorm):
                self._norm(str(name), module, node)
            elif isinstance(module, BATCH_NORMS):
                module.num_features = len(self._all(str(name), module).running_mean)  # type: ignore[arg-type]
            elif isinstance(module, nn.Embedding):
                module.embedding_dim = self._all(str(name), module).weight.shape[1]
        for node in self.module.graph.nodes:
            if node.op == "get_attr":
                path = str(node.target)
                if path in self.channels.roles:
                    put(self.module, path, self._cut(path))
        self.module.graph.eliminate_dead_code()
        self.module.graph.lint()
        self.module.recompile()
        return self.module

    # ---- what is kept

    def kept(self, labels: Tensor) -> list[Tensor | None]:
        """Of each axis the places that stay, bool; None for all."""
        axes = varying(self.channels.class_of(compact(labels, varying(labels))))
        gone = ~self.stays[compact(labels, axes)]
        found: list[Tensor | None] = [None] * labels.dim()
        for axis in axes:
            others = [a for a in range(labels.dim()) if a != axis]
            stays = ~(gone.all(dim=others) if others else gone)
            found[axis] = None if bool(stays.all()) else stays
        return found

    def of(self, node: Any) -> list[Tensor | None]:
        """`kept` of a node's tensor."""
        labels = self.channels.values.get(node.name)
        return self.kept(labels) if isinstance(labels, Tensor) else [None] * len(self.channels.shapes.get(node.name, ()))

    def _cut(self, path: str, more: dict[int, Tensor] | None = None) -> Tensor:
        """A parameter or buffer without what goes; more: bool by axis, besides its labels."""
        tensor = attribute_at(self.module, path)
        if id(tensor) in self.tensors:
            return self.tensors[id(tensor)]
        stays: dict[int, Tensor] = dict(more or {})
        for role in self.roles[id(tensor)]:
            for axis, kept in enumerate(self.kept(role)):
                if kept is not None:
                    stays[axis] = stays[axis] & kept if axis in stays else kept
        made = tensor.detach()
        for axis, kept in stays.items():
            made = made.index_select(axis, kept.nonzero().flatten().to(made.device))
        made = nn.Parameter(made.clone(), tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made.clone()
        self.tensors[id(tensor)] = self.tensors[id(made)] = made
        return made

    # ---- layers

    def _all(self, name: str, module: Any) -> Any:
        for own, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if f"{name}.{own}" in self.channels.roles:
                setattr(module, own, self._cut(f"{name}.{own}"))
        return module

    def _matrix(self, name: str, module: Any) -> None:
        matrix = self.channels.matrices[name]
        sources, outputs = self.stays[matrix.source], self.stays[matrix.outputs]
        bias = self._bias(name, module)
        groups = int((outputs.view(matrix.groups, -1).any(1)).sum())
        more = {}
        if matrix.groups > 1:  # places within the groups that stay
            whole = outputs.view(matrix.groups, -1).any(1)
            apart = (outputs if matrix.transposed else sources).view(matrix.groups, -1)[whole]
            more = {1: apart.any(0)}
        weight = self._cut(f"{name}.weight", more)
        module.weight = weight
        if bias is not None:
            held = module.bias
            module.bias = nn.Parameter(bias[outputs].to(weight), weight.requires_grad if held is None else held.requires_grad)
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = weight.shape
        else:
            module.groups = groups
            module.in_channels, module.out_channels = int(sources.sum()), int(outputs.sum())

    def _bias(self, name: str, module: Any) -> Tensor | None:
        """The bias of all outputs, with the constants of the inputs that go; None where there is none to have."""
        matrix, given = self.channels.matrices[name], self.constants[name]
        gone = ~self.stays[matrix.source] & given.isfinite() & (given != 0)
        if not bool(gone.any()):
            return None if module.bias is None else module.bias.detach()
        summed = matrix.kernels(module.weight.detach().double().cpu()).sum(3)  # (groups, outputs, inputs)
        constant = torch.where(gone, given, 0.0).view(matrix.groups, -1, 1)
        added = (summed @ constant).flatten()
        before = torch.zeros_like(added) if module.bias is None else module.bias.detach().double().cpu()
        added = added + before
        return None if module.bias is None and not bool(added[self.stays[matrix.outputs]].any()) else added

    def _norm(self, name: str, module: Any, node: fx.Node) -> None:
        shape = self.channels.shapes[node.name]
        kept = self.of(node)
        axes = list(range(len(shape) - len(module.normalized_shape), len(shape))) if isinstance(module, nn.LayerNorm) else [1]
        if all(kept[axis] is None for axis in axes):
            return
        self._all(name, module)
        if isinstance(module, nn.LayerNorm):
            sizes = [shape[axis] if kept[axis] is None else int(kept[axis].sum()) for axis in axes]  # type: ignore[union-attr]
            count = getattr(module, "count", int(torch.tensor(module.normalized_shape).prod()))
            made: Any = NarrowLayerNorm(sizes, count, module.eps, module.weight, module.bias)
        else:
            stays: Any = kept[1]
            apart = stays.view(module.num_groups, -1)
            apart = apart[apart.any(1)]
            if bool(apart.all()):  # whole groups went
                module.num_groups, module.num_channels = len(apart), apart.numel()
                return
            count = getattr(module, "count", apart.shape[1])
            made = NarrowGroupNorm(len(apart), int(apart.sum()), count, module.eps, module.weight, module.bias)
        self.module.set_submodule(name, made)

    # ---- functions

    def _function(self, node: fx.Node) -> None:
        packet = getattr(node.target, "overloadpacket", None)
        name = str(packet.__name__) if packet is not None else getattr(node.target, "__name__", "")
        if name in _SIZED:
            self._resize(node, _SIZED[name], self.of(node))
        elif name == "unflatten":
            axis = int(node.args[1]) % len(self.channels.shapes[node.all_input_nodes[0].name])  # type: ignore[arg-type]
            self._resize(node, 2, self.of(node)[axis:])
        elif name == "mean":
            self._mean(node)
        elif name in _MOVED:
            source: Any = node.args[0]
            _MOVED[name](self, node, source)

    def _resize(self, node: fx.Node, place: int, kept: list[Tensor | None]) -> None:
        sizes: list[Any] = list(node.args[place])  # type: ignore[arg-type]
        for axis, (size, stays) in enumerate(zip(sizes, kept, strict=False)):
            if stays is None or size == -1:
                continue
            if isinstance(size, int):
                sizes[axis] = int(stays.sum())
            elif -1 not in sizes and "expand" not in str(node.target):
                sizes[axis] = -1
            else:
                raise CompressionError(f"{node.name}: channels lie beside the batch in a way that cannot be cut; {node.meta.get('line')}")
        node.update_arg(place, sizes)

    def _mean(self, node: fx.Node) -> None:
        """Over what stays, as many as there were."""
        source: Any = node.args[0]
        kept, shape = self.of(source), self.channels.shapes[source.name]
        given: Any = node.args[1] if len(node.args) > 1 else list(range(len(shape)))
        axes = [int(a) % len(shape) for a in (given if isinstance(given, list | tuple) else [given])]
        if all(kept[axis] is None for axis in axes):
            return
        whole = 1.0
        for axis in axes:
            whole *= shape[axis] if kept[axis] is not None else 1
        rest = [axis for axis in axes if kept[axis] is None]
        keepdim = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim", False))
        with self.module.graph.inserting_before(node):
            new = source
            if rest:
                new = self.module.graph.call_function(_aten.mean.dim, (new, rest, True))
            cut = [axis for axis in axes if kept[axis] is not None]
            new = self.module.graph.call_function(_aten.sum.dim_IntList, (new, cut, True))
            if not keepdim:
                for axis in sorted(axes, reverse=True):
                    new = self.module.graph.call_function(_aten.squeeze.dim, (new, axis))
            new = self.module.graph.call_function(_aten.mul.Tensor, (new, 1 / whole))
        node.replace_all_uses_with(new)

    def _sliced(self, node: fx.Node, source: fx.Node) -> None:
        args: tuple[Any, ...] = node.args
        axis = int(args[1] if len(args) > 1 else 0)
        start, end, step = (args[i] if len(args) > i and args[i] is not None else default for i, default in ((2, 0), (3, None), (4, 1)))
        self._gathered(node, source, axis, lambda places: places[slice(start, end, step)])

    def _gathered(self, node: fx.Node, source: fx.Node, axis: int, chosen: Callable[[Tensor], Tensor]) -> None:
        """Places along one axis, taken anew of those that are left."""
        shape = self.channels.shapes[source.name]
        axis %= len(shape)
        stays = self.of(source)[axis]
        if stays is None:
            return
        places = chosen(torch.arange(shape[axis]))
        new = (stays.cumsum(0) - 1)[places[stays[places]]]
        graph = self.module.graph
        with graph.inserting_before(node):
            if len(new) and torch.equal(new, torch.arange(int(new[0]), int(new[0]) + len(new))):
                made = graph.call_function(_aten.slice.Tensor, (source, axis, int(new[0]), int(new[0]) + len(new)))
            else:
                path = f"places_{node.name}"
                self.module.register_buffer(path, new)
                made = graph.call_function(_aten.index_select.default, (source, axis, graph.get_attr(path)))
        node.replace_all_uses_with(made)

    def _narrowed(self, node: fx.Node, source: fx.Node) -> None:
        axis, start, length = (int(each) for each in node.args[1:4])  # type: ignore[arg-type]
        self._gathered(node, source, axis, lambda places: places[start : start + length])

    def _rolled(self, node: fx.Node, source: fx.Node) -> None:
        shifts: Any = node.args[1]
        axes: Any = node.args[2] if len(node.args) > 2 else []
        kept = self.of(source)
        if all(stays is None for stays in kept):
            return
        if len(axes) != 1:
            raise CompressionError(f"{node.name}: channels rolled along several axes cannot be cut; {node.meta.get('line')}")
        self._gathered(node, source, int(axes[0]), lambda places: places.roll(int(shifts[0])))

    def _selected(self, node: fx.Node, source: fx.Node) -> None:
        axis, index = int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
        shape = self.channels.shapes[source.name]
        stays = self.of(source)[axis]
        if stays is not None:
            node.update_arg(2, int(stays[: index % shape[axis]].sum()))

    def _picked(self, node: fx.Node, source: fx.Node) -> None:
        """index_select."""
        index: Any = node.args[2]
        self._gathered(node, source, int(node.args[1]), lambda _: self.channels.indices[index.name].reshape(-1))  # type: ignore[arg-type]

    def _indexed(self, node: fx.Node, source: fx.Node) -> None:
        kept = self.of(source)
        given: Any = node.args[1]
        cut = [axis for axis, index in enumerate(given) if index is not None and kept[axis] is not None]
        if not cut:
            return
        used = [index for index in given if index is not None]
        if len(used) != 1 or self.channels.indices[used[0].name].dim() != 1:
            raise CompressionError(f"{node.name}: channels are read by several indices, and cannot be cut; {node.meta.get('line')}")
        self._gathered(node, source, cut[0], lambda _: self.channels.indices[used[0].name])

    def _split(self, node: fx.Node, source: fx.Node) -> None:
        """Parts of the sizes that are left."""
        name = str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]
        shapes = self.channels.shapes[node.name]
        place = 1 if name == "unbind" else 2
        axis = int(node.args[place] if len(node.args) > place else node.kwargs.get("dim", 0))  # type: ignore[arg-type]
        axis %= len(self.channels.shapes[source.name])
        stays = self.of(source)[axis]
        if stays is None:
            return
        if name == "unbind":
            for user in list(node.users):
                user.update_arg(1, int(stays[: int(user.args[1])].sum()))  # type: ignore[arg-type]
            return
        sizes, at = [], 0
        for shape in shapes:
            sizes.append(int(stays[at : at + shape[axis]].sum()))
            at += shape[axis]
        with self.module.graph.inserting_before(node):
            made = self.module.graph.call_function(_aten.split_with_sizes.default, (source, sizes, axis))
        node.replace_all_uses_with(made)

    def _padded(self, node: fx.Node, source: fx.Node) -> None:
        """Of the zeros beside channels those that stay."""
        widths: list[Any] = list(node.args[1])  # type: ignore[arg-type]
        kept = self.of(node)
        for place in range(len(widths) // 2):
            stays, (low, high) = kept[len(kept) - 1 - place], widths[2 * place : 2 * place + 2]
            if stays is None:
                continue
            if low < 0 or high < 0:
                raise CompressionError(f"{node.name}: a pad that takes channels away cannot be cut; {node.meta.get('line')}")
            widths[2 * place : 2 * place + 2] = int(stays[:low].sum()), int(stays[len(stays) - high :].sum())
        node.update_arg(1, widths)


_MOVED: dict[str, Callable[[_Cut, fx.Node, fx.Node], None]] = {
    "slice": _Cut._sliced, "narrow": _Cut._narrowed, "select": _Cut._selected, "index_select": _Cut._picked, "index": _Cut._indexed,
    "roll": _Cut._rolled, **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "tensor_split", "unsafe_split", "unsafe_chunk"),
                                          _Cut._split),
    "pad": _Cut._padded, "constant_pad_nd": _Cut._padded,
}  # fmt: skip


# ---- the model's own module


def _own(model: nn.Module, graph: fx.GraphModule, example: Example, wanted: list[Tensor]) -> nn.Module | None:
    """The model's own module with the smaller tensors, where it computes the same then; else None."""
    own, there = baked(model), graph.meta["parameters"]
    holders: defaultdict[int, list[str]] = defaultdict(list)  # of each tensor all paths: it may be in several modules
    for path, tensor in (*own.named_parameters(remove_duplicate=False), *own.named_buffers(remove_duplicate=False)):
        holders[id(tensor)].append(path)
    held = {path: paths for paths in holders.values() for path in paths}
    shared: dict[int, Tensor] = {}
    try:
        for name, layer in graph.named_modules():
            if layer is graph or not [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
                continue
            for part, tensor in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
                path = there.get(f"{name}.{part}")
                if path is None and part == "num_batches_tracked":
                    continue
                if path is None and isinstance(layer, MATRICES) and part == "bias" and there.get(f"{name}.weight"):
                    path = there[f"{name}.weight"].rpartition(".")[0] + ".bias"  # constants that went into it
                    if attribute_at(own, path) is not None:
                        return None
                if path is None:
                    return None
                for each in held.get(path, [path]):
                    _set(own, each, shared.setdefault(id(tensor), tensor))
            path = next((there[f"{name}.{part}"] for part, _ in layer.named_parameters(recurse=False)), None)
            for each in held.get(path or "", []):
                _resize_module(own, each.rpartition(".")[0], layer)
        for part, tensor in (*graph.named_parameters(recurse=False), *graph.named_buffers(recurse=False)):
            if part not in there:
                return None
            for each in held.get(there[part], [there[part]]):
                _set(own, each, shared.setdefault(id(tensor), tensor))
        own = copy.deepcopy(own)
        return own if _equal(wanted, _outputs(own, example), 1e-5) else None
    except (RuntimeError, AttributeError, TypeError, ValueError, IndexError, KeyError, AssertionError):
        return None


def _set(root: nn.Module, path: str, tensor: Tensor) -> None:
    owner, _, name = path.rpartition(".")
    module = root.get_submodule(owner)
    if name in module._parameters:
        module._parameters[name] = tensor  # type: ignore[assignment]
    else:
        module._buffers[name] = tensor


def _resize_module(root: nn.Module, path: str, layer: nn.Module) -> None:
    """Let a module of torch know its sizes."""
    module: Any = root.get_submodule(path)
    if isinstance(layer, NarrowLayerNorm | NarrowGroupNorm):
        if type(module) not in (nn.LayerNorm, nn.GroupNorm):
            raise TypeError(f"{path} is no norm of torch")
        root.set_submodule(path, layer)
        return
    if isinstance(layer, nn.Linear | nn.Embedding) and not isinstance(module, type(layer) | nn.RNNBase | nn.MultiheadAttention):
        return
    for name in ("in_features", "out_features", "in_channels", "out_channels", "groups", "num_features", "num_groups", "num_channels",
                 "embedding_dim"):  # fmt: skip
        if name in vars(module) and name in vars(layer):
            setattr(module, name, getattr(layer, name))
    if isinstance(module, nn.RNNBase) and module.num_layers == 1:
        module.input_size = module.weight_ih_l0.shape[1]
        module.hidden_size = module.weight_hh_l0.shape[1]
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]


# ---- checks


def _outputs(module: nn.Module, example: Example) -> list[Tensor]:
    """What a module gives in evaluation mode for the example and, of real numbers, for others near it."""
    given = [each.detach() for each in inputs_of(example)]
    generator = torch.Generator().manual_seed(0)
    device = next((each.device for each in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    other = [each.cpu() for each in given]
    other = [each + torch.randn(each.shape, generator=generator).to(each.dtype) if each.is_floating_point() else each for each in other]
    was = module.training
    module.eval()
    forward: Any = module.forward  # a graph's call prints a traceback where it fails
    try:
        with torch.no_grad():
            found = flattened(forward(*(each.to(device) for each in other)))
    finally:
        module.train(was)
    return [each.cpu() for each in found if isinstance(each, Tensor)]


def _equal(wanted: list[Tensor], found: list[Tensor], tolerance: float = TOLERANCE) -> bool:
    """Whether outputs are as wanted, to a share of the largest."""
    if [each.shape for each in wanted] != [each.shape for each in found]:
        return False
    for one, other in zip(wanted, found, strict=True):
        one, other = one.double().nan_to_num(), other.double().nan_to_num()
        if one.numel() and float((one - other).abs().max()) > tolerance * max(1e-6, float(one.abs().max())):
            return False
    return True

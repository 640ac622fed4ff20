"""One graph of a network with its weights: constant matrices told apart and named, batch norm folded, all else by operator.

`trace` (cost) and `convert` (accuracy) read this one graph, so that they agree on layers, their names, signs and packing.

A matrix that several operators multiply with (a module called twice, a recurrence) is one set of cells, used in turn. Batch norm is
folded into the use that it follows, if nothing else reads that use; two uses folded apart are two matrices. A batch norm that follows
something else stays, a product and a sum for each value on the digital unit.
"""

import operator
from collections.abc import Collection
from dataclasses import dataclass, field
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.utils import _pytree as pytree

from xbar.hw.errors import ParameterError, TraceError
from xbar.hw.graph.capture import Captured, Example, capture, inputs_of
from xbar.hw.graph.layout import Layout
from xbar.hw.graph.matrix import Matrix, Table
from xbar.hw.graph.operators import computes_a_size, kind_of
from xbar.hw.graph.origin import Origin, origin_of, sharing

_aten: Any = torch.ops.aten
_CONVOLUTIONS = {_aten.conv1d: 1, _aten.conv2d: 2, _aten.conv3d: 3}
_TRANSPOSED = {_aten.conv_transpose1d: 1, _aten.conv_transpose2d: 2, _aten.conv_transpose3d: 3}
_PRODUCTS = (_aten.mm, _aten.mv, _aten.matmul, _aten.bmm, _aten.addmm, _aten.baddbmm)
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size", "_assert_async")
_NORM = _aten._native_batch_norm_legit_no_training.default
_DROPOUTS = {
    "dropout": nn.Dropout, "feature_dropout": nn.Dropout2d, "alpha_dropout": nn.AlphaDropout,
    "feature_alpha_dropout": nn.FeatureAlphaDropout,
}  # fmt: skip


class InputShapes(nn.Module):
    """Lets inputs of the captured shapes through, of any batch; a graph of other sizes would be another graph."""

    def __init__(self, shapes: list[tuple[int, ...]]):
        super().__init__()
        self.shapes = shapes

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The inputs; raises ParameterError for others."""
        for number, (x, shape) in enumerate(zip(given, self.shapes, strict=True)):
            if tuple(x.shape[1:]) != shape:
                which = f"input {number + 1} of the network" if len(given) > 1 else "inputs of the network"
                raise ParameterError(f"{which} must be (batch, {', '.join(map(str, shape))}), as captured; got {tuple(x.shape)}")
        return given


@dataclass(frozen=True)
class Graph:
    """module: runs the network in float; its graph's nodes are the operators, matrices and tables modules named as layers.

    layers: those in order of first use; uses: of each, its nodes in order. origins: of every node, where it came from; parameters:
    of each layer the names, in the user's model, of the tensors that it was made from; folded: of each layer with a batch norm
    folded into it, the names of that norm's tensors. host: nodes left to a host. shapes: of every node that is a tensor, with
    a batch of `SAMPLES`. batched: of a node's axes, those as long as the batch.
    """

    module: fx.GraphModule = field(repr=False)
    layers: dict[str, Matrix | Table] = field(repr=False)
    uses: dict[str, tuple[str, ...]]
    origins: dict[str, Origin] = field(repr=False)
    parameters: dict[str, tuple[str, ...]]
    folded: dict[str, tuple[str, ...]]
    host: frozenset[str]
    shapes: dict[str, Any] = field(repr=False)
    batched: dict[str, tuple[int, ...]] = field(repr=False)
    inputs: tuple[str, ...] = ()

    def layer_of(self, node: fx.Node) -> str | None:
        """The layer that a node is a use of."""
        return str(node.target) if node.op == "call_module" and str(node.target) in self.layers else None


SAMPLES = 2  # of the batch that dependences are followed through: two tell whether samples are kept apart


def read(model: nn.Module, example: Example, host: Collection[str] = ()) -> Graph:
    """The graph of `model` with its present weights, for inputs shaped like `example` (batch, ...), a tuple for several inputs.

    host: paths of modules whose operators a host computes, off the chip. Raises TraceError for what cannot be captured, for
    all operators together that the chip has no way to run, and for a model without any matrix.
    """
    given = inputs_of(example)
    return _Binder(model, capture(model, example), given, host).graph()


class _Binder:
    """Walks a captured graph once: constants evaluated, matrices found, the rest copied."""

    def __init__(self, model: nn.Module, captured: Captured, given: tuple[Tensor, ...], host: Collection[str]):
        self.model, self.captured, self.given = model, captured, given
        self.constant: dict[fx.Node, Any] = {}
        self.new = fx.Graph()
        self.root = nn.Module()
        self.copied: dict[fx.Node, fx.Node] = {}
        self.layers: dict[str, Matrix | Table] = {}
        self.keys: dict[Any, str] = {}  # what a matrix is made of -> its name
        self.wanted: dict[str, tuple[Any, Matrix | Table, str]] = {}  # name of a use's new node -> key, module, name asked for
        self.roots: dict[fx.Node, frozenset[str]] = {}  # names of the model's tensors behind a constant
        self.made_from: dict[Any, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.origins: dict[str, Origin] = {}
        self.shapes: dict[str, Any] = {}
        self.batched: dict[str, tuple[int, ...]] = {}
        self.varies: set[fx.Node] = set()  # nodes whose values follow from the inputs
        self.refused: list[str] = []
        self.on_host: set[str] = set()
        self.hosted = False  # whether the present node is a host's
        self.host = self._checked(host)

    def _checked(self, host: Collection[str]) -> tuple[str, ...]:
        if isinstance(host, str):
            raise TraceError(f"host must be a list of names of modules, got {host!r}")
        known = {name for name, _ in self.model.named_modules() if name}
        for name in host:
            if name not in known:
                raise TraceError(f"host: {type(self.model).__name__} has no module {name!r}; there are {', '.join(sorted(known))}")
        return tuple(host)

    def _first_name(self, path: str | None) -> str | None:
        """The name of a tensor by the first name of its module, which may have several."""
        owner, _, name = (path or "").rpartition(".")
        module = self.model.get_submodule(owner)
        first = next(known for known, each in self.model.named_modules(remove_duplicate=False) if each is module)
        return f"{first}.{name}" if first else name or None

    def graph(self) -> Graph:
        tensors = self.captured.tensors(self.model)
        taken = []
        for node in self.captured.graph.nodes:
            if node.op == "placeholder" and node.name in tensors:
                self.constant[node] = tensors[node.name]
                path = self._first_name(self.captured.held.get(node.name))
                self.roots[node] = frozenset([path] if path else ())
            elif node.op == "placeholder":
                taken.append(node)
                self.varies.add(node)
                self.copied[node] = self.new.placeholder(node.name)
                self._remember(node, self.copied[node])
        self._check_inputs(taken)
        for node in self.captured.graph.nodes:
            if node.op == "call_function":
                self._visit(node)
            elif node.op == "output":
                self._output(node)
        if self.refused:
            raise TraceError(
                f"{type(self.model).__name__} has operators that the chip has no way to run:\n  " + "\n  ".join(self.refused)
                + "\nWrite them with others, or leave their module to a host: host=[\"name of the module\"]"
            )  # fmt: skip
        self._name_layers()
        if not {node.target for node in self.new.nodes if node.name in self.wanted and node.name not in self.on_host}:
            raise TraceError(
                "the model has no Linear, convolution or other constant matrix, and no Embedding, to put on crossbars"
            )
        module = fx.GraphModule(self.root, self.new, type(self.model).__name__)
        module.graph.lint()
        uses: dict[str, list[str]] = {name: [] for name in self.layers}
        for node in module.graph.nodes:
            if node.op == "call_module" and node.target in uses:
                uses[node.target].append(node.name)
        made = {self.keys[key]: parts for key, parts in self.made_from.items()}
        inputs = tuple(self.copied[node].name for node in taken)
        return Graph(
            module.eval(), self.layers, {name: tuple(nodes) for name, nodes in uses.items()}, self.origins,
            {name: made[name][0] for name in self.layers}, {name: made[name][1] for name in self.layers if made[name][1]},
            frozenset(self.on_host), self.shapes, self.batched, inputs,
        )  # fmt: skip

    def _check_inputs(self, taken: list[fx.Node]) -> None:
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in self.given]
        self.root.add_module("input_shapes", InputShapes(shapes))
        new = [self.copied[node] for node in taken]
        checked = self.new.call_module("input_shapes", tuple(new))
        for number, node in enumerate(taken):
            self.copied[node] = self.new.call_function(operator.getitem, (checked, number))
            self._remember(node, self.copied[node])

    # ---- one node

    def _remember(self, old: fx.Node, new: fx.Node) -> None:
        """What is known of a node, by the name of its copy."""
        self.origins[new.name] = origin_of(old)
        value = old.meta.get("val")
        if isinstance(value, Tensor):
            self.shapes[new.name] = tuple(_size(side) for side in value.shape)
            self.batched[new.name] = tuple(axis for axis, side in enumerate(value.shape) if _is_batch(side))
            new.meta["dtype"] = value.dtype
        elif isinstance(value, tuple | list):
            self.shapes[new.name] = [tuple(_size(side) for side in v.shape) if isinstance(v, Tensor) else None for v in value]

    def _visit(self, node: fx.Node) -> None:
        packet = getattr(node.target, "overloadpacket", None)
        if packet is not None and packet.__name__ in _CHECKS:
            return
        operands = node.all_input_nodes
        if all(each in self.constant for each in operands) and not _draws(node) and not _symbolic(node):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda each: self.constant[each])
            with torch.no_grad():
                self.constant[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            self.roots[node] = frozenset().union(*(self.roots.get(each, frozenset()) for each in operands))
            return
        if not computes_a_size(node.target) and any(each in self.varies for each in operands):
            self.varies.add(node)
        origin = origin_of(node)
        self.hosted = any(origin.module == name or origin.module.startswith(f"{name}.") for name in self.host)
        before = next(iter(reversed(self.new.nodes)), None)
        if not (self._matrix(node, packet) or self._table(node, packet) or self._norm(node)):
            self._copy(node)
        for made in reversed(self.new.nodes) if self.hosted else ():
            if made is before:
                break
            self.on_host.add(made.name)

    def _copy(self, node: fx.Node) -> None:
        if node.target is operator.getitem and node.args[0] in self.copied and node.args[0].target is _NORM:  # type: ignore[union-attr]
            folded = self.copied[cast(fx.Node, node.args[0])]
            if folded.target is not _NORM:  # the norm went into a matrix: its first result is the matrix's
                self.copied[node] = folded
                return
        if node.target is torch.ops.xbar.dropout.default:
            self._dropout(node)
            return
        plain = node.target is operator.getitem or computes_a_size(node.target)
        if not self.hosted and not plain:
            problem = "draws at random" if _draws(node) else self._problem(node)
            if problem:
                origin = origin_of(node)
                place = f" of {origin.module}" if origin.module else ""
                self.refused.append(f"{_title(node)}{place}: {problem}; {origin.line or 'no line is known'}")
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._operand)
        views = (_aten.view.default, _aten._unsafe_view.default)  # of tensors that need not lie in memory as captured
        target = _aten.reshape.default if node.target in views else node.target
        new = self.new.call_function(target, args, kwargs)  # type: ignore[arg-type]
        self.copied[node] = new
        self._remember(node, new)

    def _problem(self, node: fx.Node) -> str | None:
        """Why an operator cannot run on the chip, or None."""
        kind = kind_of(node.target)
        if kind is None:
            return "no counterpart on the chip"
        if kind.name == "product" and sum(each in self.varies for each in node.args[-2:]) < 2 and set(node.args[-2:]) & self.varies:
            return "a constant that is multiplied with in a way that is no matrix on crossbars"
        for place in kind.indices:
            value = node.args[place] if len(node.args) > place else None
            for each in value if isinstance(value, list | tuple) else [value]:
                if each in self.varies:
                    return "where it reads depends on values"
        return None

    def _operand(self, node: fx.Node) -> fx.Node:
        if node not in self.copied:
            value = self.constant[node]
            if not isinstance(value, Tensor):
                return value
            name = f"constant_{len(self.copied)}"
            self.root.register_buffer(name, value.detach().clone())
            self.copied[node] = self.new.get_attr(name)
            self.shapes[self.copied[node].name] = tuple(value.shape)
            self.batched[self.copied[node].name] = ()
        return self.copied[node]

    def _dropout(self, node: fx.Node) -> None:
        source, share, kind = node.args
        name = f"dropout_{len(self.copied)}"
        self.root.add_module(name, _DROPOUTS[str(kind)](cast(float, share)))
        self.copied[node] = self.new.call_module(name, (self._operand(cast(fx.Node, source)),))
        self._remember(node, self.copied[node])

    def _output(self, node: fx.Node) -> None:
        leaves = [self._operand(each) if isinstance(each, fx.Node) else each for each in cast(tuple[Any, ...], node.args[0])]
        self.new.output(pytree.tree_unflatten(leaves, self.captured.outputs))

    # ---- matrices

    def _matrix(self, node: fx.Node, packet: Any) -> bool:
        """Copy an operator that multiplies by a constant matrix; False for others."""
        args: tuple[Any, ...] = node.args
        if packet is _aten.linear and args[1] in self.constant:
            self._use(node, args[0], args[1], _at(args, 2), self._linear(self.constant[args[1]], self._value(_at(args, 2))))
            return True
        if packet in _CONVOLUTIONS or packet in _TRANSPOSED:
            if args[1] not in self.constant:
                return False
            self._use(node, args[0], args[1], _at(args, 2), self._convolution(node, packet))
            return True
        return packet in _PRODUCTS and self._product(node, packet)

    def _product(self, node: fx.Node, packet: Any) -> bool:
        """A product of matrices, stacks of them or vectors, one of which is constant; False where neither is."""
        summed = packet in (_aten.addmm, _aten.baddbmm)
        first, second = cast("tuple[fx.Node, fx.Node]", node.args[1:3] if summed else node.args[:2])
        left, right = self._fixed(first), self._fixed(second)
        if (left is None) == (right is None):
            return False
        constant, weight, other = (first, left, second) if right is None else (second, right, first)
        assert weight is not None
        sides = list(other.meta["val"].shape)
        column = weight.dim() == 1  # a vector: one column, or from the left one row
        vector = len(sides) == 1
        new, from_left = self._operand(other), right is None
        if column:
            weight = weight.unsqueeze(0 if from_left else 1)
        if vector:
            new, sides = self._view(node, new, _aten.unsqueeze.default, -1 if from_left else 0), [1, *sides]
        if from_left and not vector:  # the same matrix on the transposed tensor
            sides[-2:] = sides[:-3:-1]
        if from_left:
            weight, new = weight.mT, self._view(node, new, _aten.transpose.int, -2, -1)
        factor = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
        weight = (weight * factor).mT.contiguous()  # (*lead, outputs, inputs)
        while weight.dim() > 2 and weight.shape[0] == 1:
            weight, wider = weight[0], max(0, weight.dim() - len(sides))
            new, sides = (self._view(node, new, _aten.unsqueeze.default, 0), [1, *sides]) if wider else (new, sides)
        addend = cast(fx.Node, node.args[0]) if summed else None
        bias = self._bias(node, addend, len(weight)) if weight.dim() == 2 and not from_left else None
        name, key = self._asked(node, constant), (self.hosted, "L" if from_left else "", factor, constant, None if bias is None else addend)
        if weight.dim() > 2:
            found = self._grouped(node, new, weight, sides, key, name)
            if found is None:
                return False
            new = found
        else:
            new = self._rows(node, new, weight, bias, sides, key, name)
        behind = self._roots_of(constant) | (frozenset() if addend is None else self.roots.get(addend, frozenset()))
        self.made_from[key] = (tuple(sorted(behind)), ())
        if from_left:
            new = self._view(node, new, _aten.transpose.int, -2, -1)
        if vector:
            new = self._view(node, new, _aten.squeeze.dim, -1 if from_left else -2)
        if column:
            new = self._view(node, new, _aten.squeeze.dim, -2 if from_left and not vector else -1)
        if summed and bias is None:
            new = self._plus(node, new)
        self.copied[node] = new
        self._remember(node, new)
        return True

    def _fixed(self, node: fx.Node) -> Tensor | None:
        """A constant operand of a product, or None; where it is repeated over the batch, with an axis of 1."""
        if node in self.constant:
            return cast(Tensor, self.constant[node])
        if node.target is not _aten.expand.default or node.args[0] not in self.constant:
            return None
        value, sides = self.constant[cast(fx.Node, node.args[0])], node.meta["val"].shape
        value = value.reshape(*[1] * (len(sides) - value.dim()), *value.shape)
        kept = [side == own or index < len(sides) - 2 for index, (side, own) in enumerate(zip(sides, value.shape, strict=True))]
        return cast(Tensor, value) if all(bool(each) for each in kept) else None

    def _roots_of(self, node: fx.Node) -> frozenset[str]:
        """Names of the model's tensors that a constant operand is made from."""
        source = node if node in self.constant else cast(fx.Node, node.args[0])
        return self.roots.get(source, frozenset())

    def _bias(self, node: fx.Node, addend: fx.Node | None, outputs: int) -> Tensor | None:
        """What addmm adds, where it is one constant row."""
        added = None if addend is None else self.constant.get(addend)
        if added is None or added.numel() not in (1, outputs) or (added.dim() and added.shape[-1] != added.numel()):
            return None
        return added.reshape(-1).expand(outputs) * node.kwargs.get("beta", 1)

    def _rows(self, node: fx.Node, new: fx.Node, weight: Tensor, bias: Tensor | None, sides: list[Any], key: Any, name: str) -> fx.Node:
        """Rows (..., inputs) times one matrix (outputs, inputs); leading axes of 1, which are no samples', apart."""
        leading = next((axis for axis, side in enumerate(sides[:-2]) if isinstance(side, torch.SymInt) or side != 1), len(sides) - 2)
        for _ in range(leading):
            new = self._view(node, new, _aten.squeeze.dim, 0)
        shape = (*self.shapes[new.name][:-1], len(weight))
        new = self._made(node, self._call(new, key, self._linear(weight, bias), name), shape)
        for _ in range(leading):
            new = self._view(node, new, _aten.unsqueeze.default, 0)
        return new

    def _grouped(self, node: fx.Node, new: fx.Node, weight: Tensor, sides: list[Any], key: Any, name: str) -> fx.Node | None:
        """Rows (..., *lead, rows, inputs) times a matrix for each of lead, (*lead, outputs, inputs): the groups of a
        convolution of one position. None where lead holds the batch."""
        lead, (outputs, inputs) = weight.dim() - 2, weight.shape[-2:]
        for _ in range(lead + 2 - len(sides)):
            new, sides = self._view(node, new, _aten.unsqueeze.default, 0), [1, *sides]
        outer = len(sides) - 2 - lead  # axes before lead
        if any(isinstance(side, torch.SymInt) for side in sides[outer:-2]):
            return None
        stack = [max(int(side), own) for side, own in zip(sides[outer:-2], weight.shape[:-2], strict=True)]
        groups = prod(stack)
        weight = weight.expand(*stack, outputs, inputs).reshape(groups * outputs, inputs, 1)
        new = self._view(node, new, _aten.expand.default, [-1] * outer + stack + [-1, -1])
        new = self._view(node, new, _aten.permute.default, [*range(outer), outer + lead, *range(outer, outer + lead), outer + lead + 1])
        new = self._view(node, new, _aten.reshape.default, [-1, groups * inputs, 1])
        layout = Layout("convolution", groups * inputs, groups, (1,), (1,), (1,), (0,), (0,))
        matrix = Matrix(layout, weight, None, _aten.conv1d.default, ([1], [0], [1], groups))
        new = self._made(node, self._call(new, key, matrix, name), (self.shapes[new.name][0], groups * outputs, 1))
        rows = [-1 if isinstance(side, torch.SymInt) else int(side) for side in (*sides[:outer], sides[-2])]
        new = self._view(node, new, _aten.reshape.default, [*rows, *stack, outputs])
        return self._view(node, new, _aten.permute.default, [*range(outer), *range(outer + 1, outer + lead + 1), outer, outer + lead + 1])

    def _plus(self, node: fx.Node, product: fx.Node) -> fx.Node:
        """What addmm and baddbmm add to their product."""
        added = self._operand(cast(fx.Node, node.args[0]))
        if (factor := node.kwargs.get("beta", 1)) != 1:
            added = self._made(node, self.new.call_function(_aten.mul.Tensor, (added, factor)), self.shapes[added.name])
        return self._made(node, self.new.call_function(_aten.add.Tensor, (product, added)), self.shapes[product.name])

    def _view(self, node: fx.Node, new: fx.Node, target: Any, *args: Any) -> fx.Node:
        """`new` moved, on behalf of `node`."""
        shape = target(torch.empty(self.shapes[new.name], device="meta"), *args).shape
        return self._made(node, self.new.call_function(target, (new, *args)), tuple(shape))

    def _made(self, node: fx.Node, new: fx.Node, shape: tuple[int, ...]) -> fx.Node:
        """Note what is known of a node that stands for part of `node`."""
        self.shapes[new.name], self.origins[new.name], self.batched[new.name] = shape, origin_of(node), ()
        return new

    def _value(self, node: Any) -> Tensor | None:
        return None if node is None else cast(Tensor, self.constant[node])

    def _linear(self, weight: Tensor, bias: Tensor | None) -> Matrix:
        return Matrix(Layout("linear", weight.shape[1]), weight, None if bias is None else bias.expand(weight.shape[0]))

    def _convolution(self, node: fx.Node, packet: Any) -> Matrix:
        """The matrix of a convolution node, of any dimension, transposed or not."""
        weight, args = self.constant[cast(fx.Node, node.args[1])], node.args
        bias = self._value(_at(args, 2))
        transposed = packet in _TRANSPOSED
        n = _TRANSPOSED[packet] if transposed else _CONVOLUTIONS[packet]
        kernel = tuple(weight.shape[2:])
        stride = _sides(_at(args, 3, 1), n)
        padding = _at(args, 4, 0)
        if transposed:
            extra, groups, dilation = _sides(_at(args, 5, 0), n), int(_at(args, 6, 1)), _sides(_at(args, 7, 1), n)
            before = _sides(padding, n)
            after = tuple(low - more for low, more in zip(before, extra, strict=True))
            layout = Layout("transposed", weight.shape[0], groups, kernel, stride, dilation, before, after)
        else:
            dilation, groups = _sides(_at(args, 5, 1), n), int(_at(args, 6, 1))
            if isinstance(padding, str):
                spread = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
                before, after = tuple(s // 2 for s in spread), tuple(s - s // 2 for s in spread)
            else:
                before = after = _sides(padding, n)
            layout = Layout("convolution", weight.shape[1] * groups, groups, kernel, stride, dilation, before, after)
        return Matrix(layout, weight, bias, node.target, tuple(args[3:]))

    def _use(self, node: fx.Node, source: Any, weight: Any, bias: Any, matrix: Matrix, how: str = "") -> None:
        if not matrix.weight.numel():
            raise TraceError(f"layer {self._asked(node, weight)} has no weights: its shape is {tuple(matrix.weight.shape)}")
        key = (self.hosted, how, weight, bias, str(matrix.layout), matrix.rest)
        self.copied[node] = self._call(self._operand(source), key, matrix, self._asked(node, weight))
        self.made_from[key] = (tuple(sorted(self.roots.get(weight, frozenset()) | self.roots.get(bias, frozenset()))), ())
        self._remember(node, self.copied[node])

    def _call(self, source: fx.Node, key: Any, module: Matrix | Table, asked: str) -> fx.Node:
        """A use of a matrix, whose name is settled when all are known."""
        new = self.new.create_node("call_module", "to be named", (source,), name=f"use_{len(self.wanted)}")
        self.wanted[new.name] = (key, module, asked)
        return new

    def _asked(self, node: fx.Node, weight: Any) -> str:
        """The name that a layer would have: its parameter's without ".weight", or its module's: of a parameter of several modules that of
        the one that uses it."""
        roots = sorted({_plain_name(root) for root in self._roots_of(weight)})
        paths = [root for root in roots if root.rpartition(".")[2] == "weight"] or roots
        if paths == ["weight"]:  # the model is this layer itself
            return type(self.model).__name__.lower()
        if paths:
            return sharing(self.model, origin_of(node).module, paths[0]) or paths[0].removesuffix(".weight")
        return origin_of(node).module or "matrix"

    def _table(self, node: fx.Node, packet: Any) -> bool:
        if packet is not _aten.embedding or node.args[0] not in self.constant:
            return False
        weight, rows = cast(tuple[fx.Node, fx.Node], node.args[:2])
        key = (self.hosted, "table", weight)
        self.copied[node] = self._call(self._operand(rows), key, Table(self.constant[weight]), self._asked(node, weight))
        self.made_from[key] = (tuple(sorted(self.roots.get(weight, ()))), ())
        self._remember(node, self.copied[node])
        return True

    def _norm(self, node: fx.Node) -> bool:
        """Fold a batch norm into the matrix that it alone follows; False where it stays."""
        if node.target is not _NORM:
            return False
        source = cast(fx.Node, node.args[0])
        use = self.copied.get(source)
        if use is None or use.name not in self.wanted or len(source.users) != 1 or (use.name in self.on_host) != self.hosted:
            return False
        if any(isinstance(each, fx.Node) and each not in self.constant for each in node.args[1:]):
            return False
        key, matrix, asked = self.wanted[use.name]
        if not isinstance(matrix, Matrix) or (matrix.layout.kind == "linear" and len(source.meta["val"].shape) != 2):
            return False
        weight, bias, mean, variance = (self._value(each) for each in node.args[1:5])
        assert mean is not None
        assert variance is not None
        eps = float(cast(float, node.args[6]))
        if matrix.layout.kind == "linear":
            fused = fuse_linear_bn_weights(matrix.weight, matrix.bias, mean, variance, eps, *_affine(weight, bias, mean))
        else:
            transposed = matrix.layout.kind == "transposed"
            if transposed and matrix.layout.groups > 1:
                return False
            fused = fuse_conv_bn_weights(
                matrix.weight, matrix.bias, mean, variance, eps, *_affine(weight, bias, mean), transpose=transposed
            )
        folded = Matrix(matrix.layout, fused[0], fused[1], matrix.target, matrix.rest)
        norm = tuple(node.args[1:5])
        made = self.made_from[key][0]
        key = (*key, norm, eps)
        self.wanted[use.name] = (key, folded, asked)
        self.made_from[key] = (made, tuple(sorted(frozenset().union(*(self.roots.get(each, frozenset()) for each in norm)))))  # type: ignore[arg-type]
        self.copied[node] = use
        return True

    def _name_layers(self) -> None:
        """Names as asked for; a second matrix that asks for the same is its `_call2`, one inside another its full parameter."""
        asked: dict[Any, str] = {}
        for key, _, name in self.wanted.values():
            asked.setdefault(key, name)
        taken = set(asked.values())
        for node in self.new.nodes:
            if node.name not in self.wanted:
                continue
            key, module, name = self.wanted[node.name]
            if key not in self.keys:
                if any(other.startswith(f"{name}.") for other in taken):
                    name = f"{name}.weight"
                unique, number = name, 1
                while unique in self.layers:
                    number += 1
                    unique = f"{name}_call{number}"
                self.keys[key] = unique
                self.layers[unique] = module
                _put(self.root, unique, module)
            node.target = self.keys[key]
        self.made_from = {key: parts for key, parts in self.made_from.items() if key in self.keys}


def _plain_name(path: str) -> str:
    """The name of a parameter without what a parametrization makes of it, as `layer.weight` of `layer.parametrizations.weight.original`."""
    owner, found, rest = path.rpartition("parametrizations.")
    return owner + rest.partition(".")[0] if found else path


def _affine(weight: Tensor | None, bias: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(like) if weight is None else weight, torch.zeros_like(like) if bias is None else bias


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Set a submodule, making what is missing on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = getattr(root, parent)
    root.add_module(name, module)


def _at(args: tuple[Any, ...], place: int, default: Any = None) -> Any:
    return args[place] if len(args) > place else default


def _sides(value: Any, n: int) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * n if len(values) == 1 else values)


def _draws(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _symbolic(node: fx.Node) -> bool:
    """Whether a node's value has the batch in its shape, or is a size."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.SymInt | torch.SymFloat | torch.SymBool) or (
        isinstance(v, Tensor) and any(isinstance(side, torch.SymInt) for side in v.shape)) for v in values)  # fmt: skip


def _size(side: Any) -> int:
    """A side of a shape for a batch of SAMPLES."""
    if not isinstance(side, torch.SymInt):
        return int(side)
    expression = side.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, SAMPLES)))


def _is_batch(side: Any) -> bool:
    return isinstance(side, torch.SymInt) and bool(side.node.expr.is_symbol)


def _title(node: fx.Node) -> str:
    """The operator's name as a user knows it."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet.__name__ if packet is not None else getattr(node.target, "__name__", node.target))

"""Which channel every element of a network is of: labels, carried by executing the network's operators on them.

A matrix starts a label an output; views, slices, concatenations, ... are executed on the labels as on values; operators element by
element tie the labels that meet, and a matrix those that it reads through one column (`Labels`). A product of activations,
as attention's two, ties the labels along the axis that is summed and carries the others. What leaves a tensor irregular
unless more goes with it, such as a channel of one head, is a `Grid`. What the result of a sum rests on, across channels, is
a `Read`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from xbar.compression.errors import CompressionError
from xbar.compression.labels import FIXED, Grid, Labels, compact, varying
from xbar.compression.layered import MATRICES, layered
from xbar.hw.graph.capture import Example, check_example, inputs_of
from xbar.hw.graph.operators import computes_a_size, kind_of

SAMPLES = 2  # of the batch that labels are followed through
MOST_LABELLED = 2**22  # elements of a constant that are told apart
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@dataclass
class Matrix:
    """A layer with a matrix: source (inputs,): what each input feature is of; outputs (outputs,). nodes: its uses, in order."""

    module: Any
    source: Tensor
    outputs: Tensor
    nodes: list[str]

    @property
    def groups(self) -> int:
        return getattr(self.module, "groups", 1)

    @property
    def transposed(self) -> bool:
        return isinstance(self.module, TRANSPOSED)

    def kernels(self, weight: Tensor) -> Tensor:
        """A weight as (groups, outputs of a group, inputs of a group, kernel positions)."""
        outputs, inputs = len(self.outputs) // self.groups, len(self.source) // self.groups
        if self.transposed:
            return weight.reshape(self.groups, inputs, outputs, -1).transpose(1, 2)
        return weight.reshape(self.groups, outputs, inputs, -1)


@dataclass
class Read:
    """What sums across channels: inputs (rows, m) and the results (rows, n) that rest on a row of them. operands: node, axes of its
    rows and axes that are summed; an input does not count where an operand is 0."""

    node: str
    inputs: Tensor
    outputs: Tensor
    operands: list[tuple[str, list[int], list[int]]]


class Channels:
    """The channels of `model` on inputs like `example`, a tuple for several inputs.

    graph: the model as layers, a copy with plain weights; values: labels of every node's elements, for a batch of SAMPLES; shapes
    of those; matrices by layer; reads: sums across channels; roles: by parameter the labels of its elements, of a shape
    that broadcasts to its own, once each way it is used. Raises CompressionError for what cannot be captured or followed.
    """

    def __init__(self, model: nn.Module, example: Example):
        given = inputs_of(example)
        check_example(given, "the example", CompressionError)
        self.graph = layered(model, example).cpu()
        self.labels = Labels()
        self.values: dict[str, Any] = {}
        self.shapes: dict[str, Any] = {}
        self.matrices: dict[str, Matrix] = {}
        self.reads: list[Read] = []
        self.roles: dict[str, list[Tensor]] = {}
        self.sizes: dict[str, Any] = {}  # plain numbers among the nodes
        self.indices: dict[str, Tensor] = {}  # constants that say where to read
        self._links: list[Grid] = []
        self._real: dict[fx.Node, Any] = {}
        self._walk([torch.cat([each, each])[:SAMPLES].detach().cpu() for each in given])
        self._tie_shared()

    @cached_property
    def classes(self) -> Tensor:
        """The class of every label."""
        return self.labels.classes()

    def class_of(self, labels: Tensor) -> Tensor:
        """The class of each label."""
        return self.classes[labels]

    @cached_property
    def grids(self) -> list[Grid]:
        """What keeps tensors regular, by classes."""
        found: dict[Any, Grid] = {}
        tensors = [each for value in self.values.values() for each in (value if isinstance(value, list) else [value])]
        tensors += [each for roles in self.roles.values() for each in roles]
        for labels in tensors:
            if isinstance(labels, Tensor) and labels.dim() > 1:
                part = self.class_of(labels)
                axes = varying(part)
                if len(axes) > 1:
                    part = compact(part, axes).squeeze()
                    found[part.numpy().tobytes(), tuple(part.shape)] = Grid([part])
        for link in self._links:
            parts = [self.class_of(part) for part in link.parts]
            if any(int(part.max()) != FIXED for part in parts):
                key = tuple(part.numpy().tobytes() for part in parts)
                found[key] = Grid(parts, True, link.rows_only)
        return list(found.values())

    # ---- the walk

    def _walk(self, given: list[Tensor]) -> None:
        graph = self.graph
        was = graph.training
        graph.eval()
        inputs = iter(given)
        with torch.no_grad():
            for node in graph.graph.nodes:
                if node.op == "output":
                    for source in node.all_input_nodes:
                        if isinstance(self.values.get(source.name), Tensor):
                            self.labels.fix(self.values[source.name])
                    break
                self._real[node] = self._run(node, inputs)
                self._note(node, self._real[node])
                self._forget(node)
        graph.train(was)
        self._real = {}

    def _run(self, node: fx.Node, inputs: Any) -> Any:
        if node.op == "placeholder":
            return next(inputs)
        if node.op == "get_attr":
            return _attribute(self.graph, str(node.target)).detach()
        args, kwargs = self._concrete(node)
        if node.op == "call_module":
            return self.graph.get_submodule(str(node.target))(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _concrete(self, node: fx.Node) -> tuple[Any, Any]:
        return fx.map_arg((node.args, node.kwargs), lambda each: self._real[each])

    def _forget(self, node: fx.Node) -> None:
        """Values that no later node reads."""
        for each in node.all_input_nodes:
            if all(user in self._real or user.op == "output" for user in each.users) and not isinstance(self._real[each], int):
                value = self._real[each]
                self._real[each] = value.new_empty(0) if isinstance(value, Tensor) else value

    def _note(self, node: fx.Node, value: Any) -> None:
        if isinstance(value, Tensor):
            self.shapes[node.name] = tuple(value.shape)
        elif isinstance(value, tuple | list):
            self.shapes[node.name] = [tuple(each.shape) if isinstance(each, Tensor) else None for each in value]
        else:
            self.sizes[node.name] = value
            return
        if node.op == "get_attr" and not value.is_floating_point():
            self.indices[node.name] = value
        found = self._labels_of(node, value)
        self.values[node.name] = list(found) if isinstance(found, tuple | list) else found

    def _labels_of(self, node: fx.Node, value: Any) -> Any:
        if node.op == "placeholder":
            return _fixed(value.shape)
        if node.op == "get_attr":
            return None  # by its uses
        if node.op == "call_module":
            return self._module(node, self.graph.get_submodule(str(node.target)))
        if computes_a_size(node.target) or getattr(node.target, "__name__", "") == "getitem":
            found = self.values[node.args[0].name]  # type: ignore[union-attr]
            return found[node.args[1]]
        kind = kind_of(node.target)
        assert kind is not None  # `layered` refuses what is not known
        name = str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]
        rule = _RULES.get(name) or _RULES.get(kind.name)
        if rule is None:
            return self._unknown(node)
        return rule(self, node)

    # ---- operands

    def of(self, operand: fx.Node) -> Tensor:
        """Labels of an operand's elements, classes; a constant gets its own."""
        found = self.values[operand.name]
        if found is None:
            shape = self.shapes[operand.name]
            real = self._real[operand]
            told = real.is_floating_point() and len(shape) and prod(shape) <= MOST_LABELLED
            found = self.labels.new(*shape) if told else _fixed(shape)
            self._is(operand, found)
        return self.labels.find(found) if isinstance(found, Tensor) else found

    def _is(self, operand: fx.Node, labels: Tensor) -> None:
        """The labels of a constant, by one more use."""
        if self.values[operand.name] is None:
            self.values[operand.name] = labels
        else:
            self.labels.tie(self.values[operand.name], labels)
        self._role(str(operand.target), labels)

    def _role(self, path: str, labels: Tensor) -> None:
        self.roles.setdefault(path, []).append(labels)

    def _tensors(self, node: fx.Node) -> list[fx.Node]:
        return [each for each in node.all_input_nodes if each.name in self.values]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of the node's tensor."""
        return self.shapes[node.name]

    def _unknown(self, node: fx.Node) -> Any:
        """Nothing is known of what goes where: all channels stay."""
        for each in self._tensors(node):
            if self.values[each.name] is not None:
                self.labels.fix(self.of(each))
        shapes = self.shapes[node.name]
        return [_fixed(each or ()) for each in shapes] if isinstance(shapes, list) else _fixed(shapes)

    def along(self, labels: Tensor, axes: list[int]) -> Tensor:
        """Labels that differ along `axes` alone: those along others are tied."""
        for axis in varying(labels):
            if axis not in axes:
                self.labels.tie(labels, labels.narrow(axis, 0, 1))
        return self.labels.find(compact(labels, axes))

    # ---- rules

    def _moved(self, node: fx.Node) -> Any:
        """Views, slices, concatenations, ...: the operator itself, on labels."""
        places = kind_of(node.target).indices  # type: ignore[union-attr]
        indices = {id(each) for place in places for each in _nodes(node.args[place] if len(node.args) > place else None)}

        def operand(each: fx.Node) -> Any:
            return self._real[each] if id(each) in indices or each.name not in self.values else self.of(each)

        args, kwargs = fx.map_arg((node.args, node.kwargs), operand)
        name = str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]
        if name in ("slice_scatter", "select_scatter", "copy"):
            return node.target(*args, **kwargs)  # type: ignore[operator]
        if name.startswith(("upsample", "_upsample")):
            return self._pooled(node)
        if "pad" in name:
            return self._padded(node)
        if name in ("tril", "triu"):
            return self.of(node.args[0])  # type: ignore[arg-type]
        if name in ("_to_copy", "to", "type_as", "float"):
            return self.of(node.args[0])  # type: ignore[arg-type]
        if name == "im2col":
            return node.target(args[0].double(), *args[1:], **kwargs).long()  # type: ignore[operator]
        kwargs = {key: value for key, value in kwargs.items() if key != "memory_format"}
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _padded(self, node: fx.Node) -> Tensor:
        """Zeros in space are of the channel there; those beside channels are channels of their own."""
        labels, widths = self.of(node.args[0]), list(node.args[1])  # type: ignore[arg-type]
        mode = (node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")) if "pad" in _name(node) else "constant"
        if _name(node) not in ("pad", "constant_pad_nd") or (_name(node) == "pad" and mode != "constant"):
            axes = [labels.dim() - 1 - i for i in range(len(widths) // 2) if any(widths[2 * i : 2 * i + 2])]
            labels = self.along(labels, [a for a in range(labels.dim()) if a not in axes])
            return labels.expand(self.shape(node)).clone()
        for place in range(len(widths) // 2):
            axis, (low, high) = labels.dim() - 1 - place, widths[2 * place : 2 * place + 2]
            labels = labels.narrow(axis, max(0, -low), labels.shape[axis] - max(0, -low) - max(0, -high))
            for count, before in ((max(0, low), True), (max(0, high), False)):
                if not count:
                    continue
                if axis in varying(labels):
                    sides = [1 if a not in varying(labels) else s for a, s in enumerate(labels.shape)]
                    sides[axis] = count
                    added = self.labels.new(*sides).expand([count if a == axis else s for a, s in enumerate(labels.shape)])
                else:
                    added = labels.narrow(axis, 0, 1).expand([count if a == axis else s for a, s in enumerate(labels.shape)])
                labels = torch.cat([added, labels] if before else [labels, added], axis)
        return labels

    def _made(self, node: fx.Node) -> Tensor:
        """Values made from no operand: channels by what they meet, or as those that they are made like."""
        shape, tensors = self.shape(node), self._tensors(node)
        if tensors and self.shape(tensors[0]) == shape:
            return self.of(tensors[0])
        told = self._real[node].is_floating_point() and len(shape) and prod(shape) <= MOST_LABELLED
        return self.labels.new(*shape) if told else _fixed(shape)

    def _each(self, node: fx.Node) -> Tensor:
        """Element by element: what meets is tied, along the axes that channels differ along."""
        shape, tensors = self.shape(node), list(dict.fromkeys(self._tensors(node)))
        wide = {each: (1,) * (len(shape) - len(self.shape(each))) + self.shape(each) for each in tensors}
        moving = [each for each in tensors if self.values[each.name] is not None]
        given = {each: self.of(each).view(wide[each]) for each in moving}
        if not given:
            return self._made(node)
        spread = {each: set(varying(labels)) for each, labels in given.items()}
        base = max(moving, key=lambda each: (len(spread[each]), prod(wide[each])))
        axes = sorted(set().union(*spread.values()))
        if any(wide[base][axis] == 1 and shape[axis] > 1 for axis in axes):  # an outer sum of channels
            for labels in given.values():
                self.labels.fix(labels)
            return _fixed(shape)
        result = given[base].expand(shape)
        for each in tensors:
            if each is base:
                continue
            aligned = [axis for axis in axes if wide[each][axis] > 1 or shape[axis] == 1]
            if len(aligned) == len(axes):
                self._meets(each, result, wide[each])
            elif aligned:
                self._meets_rows(each, result, wide[each], aligned)
        return self.labels.find(result)

    def _meets(self, operand: fx.Node, result: Tensor, wide: tuple[int, ...]) -> None:
        """An operand with an element for each channel of the result."""
        for axis, side in enumerate(wide):
            if side == 1:
                result = result.narrow(axis, 0, 1)
        if self.values[operand.name] is None and not self._real[operand].is_floating_point():
            return
        labels = result.expand(wide).reshape(self.shape(operand))
        if operand.op == "get_attr":
            if labels.numel() > 1:
                self._is(operand, labels.clone())
        else:
            self.labels.tie(self.of(operand), labels)

    def _meets_rows(self, operand: fx.Node, result: Tensor, wide: tuple[int, ...], rows: list[int]) -> None:
        """An operand with one element for several channels, such as a head's: it goes when all of them do."""
        own = self.of(operand).view(wide)
        rest = [axis for axis in varying(result) if axis not in rows]
        self.link(result, rows, rest, [(own, rows, [])])

    def link(self, first: Tensor, rows: list[int], rest: list[int], others: list[tuple[Tensor, list[int], list[int]]]) -> None:
        """Rows along those axes go from all tensors at once."""
        parts = [_rows(self.along(labels, [*lead, *own]), lead, own) for labels, lead, own in ((first, rows, rest), *others)]
        if len({len(part) for part in parts}) > 1:
            for part in parts:
                self.labels.fix(part)
            return
        self._links.append(Grid(parts, True))

    def _reduced(self, node: fx.Node) -> Any:
        """A sum or mean over channels rests on all of them; over anything else it is of the channel."""
        source = node.args[0]
        labels = self.of(source)  # type: ignore[arg-type]
        axes, mixed, rest = self._over(node, labels)
        if not mixed:
            return self._shortened(node, labels, axes)
        if _name(node) not in ("sum", "mean") or rest and len(labels) != SAMPLES:
            return self._unknown(node)
        found = self._row_labels(labels, rest, mixed)
        self.reads.append(Read(node.name, _rows(labels, rest, mixed), _rows(found, rest, []), [(source.name, rest, mixed)]))  # type: ignore[union-attr]
        return self._shortened(node, found.expand(labels.shape), axes)

    def _row_labels(self, labels: Tensor, rest: list[int], mixed: list[int]) -> Tensor:
        """Labels of what is made of whole rows, with an axis of 1 for each that went."""
        if not rest:
            return _fixed((1,) * labels.dim())
        found = self.labels.new(*(side if axis in rest else 1 for axis, side in enumerate(labels.shape)))
        self.link(labels, rest, mixed, [(found, rest, [])])
        return found

    def _over(self, node: fx.Node, labels: Tensor) -> tuple[list[int], list[int], list[int]]:
        """Axes that a reduction runs over; of the axes that channels differ along those, and the others."""
        place = 2 if _name(node) == "linalg_vector_norm" else 1
        given = node.args[place] if len(node.args) > place else node.kwargs.get("dim")
        if _name(node) in ("max", "min") and not isinstance(given, int):
            given = None
        dims = list(range(labels.dim())) if given is None or given == [] else [given] if isinstance(given, int) else list(given)  # type: ignore[call-overload]
        axes = sorted(axis % max(1, labels.dim()) for axis in dims)
        spread = varying(labels)
        return axes, [a for a in spread if a in axes], [a for a in spread if a not in axes]

    def _shortened(self, node: fx.Node, labels: Tensor, axes: list[int]) -> Any:
        """Labels of a result that lacks axes, or has them of length 1."""
        for axis in axes:
            labels = labels.narrow(axis, 0, 1)
        shapes = self.shapes[node.name]
        return [labels.reshape(each) for each in shapes] if isinstance(shapes, list) else labels.reshape(shapes)

    def _softmax(self, node: fx.Node) -> Tensor:
        """Rests on its row; over channels none can go, because those that are 0 count."""
        labels = self.of(node.args[0])  # type: ignore[arg-type]
        axis = int(node.args[1]) % labels.dim()  # type: ignore[arg-type]
        if axis in varying(labels):
            self.labels.fix(labels)
        return self.labels.find(labels)

    def _pooled(self, node: fx.Node) -> Any:
        """Windows in space: of one channel, so labels that differ there are tied."""
        shapes = self.shapes[node.name]
        shape = shapes[0] if isinstance(shapes, list) else shapes
        labels = self.of(node.args[0])  # type: ignore[arg-type]
        found = self.along(labels, [a for a in range(labels.dim()) if a < labels.dim() - _dimensions(_name(node))]).expand(shape)
        return [found for _ in shapes] if isinstance(shapes, list) else found

    def _gated(self, node: fx.Node) -> Tensor:
        """One half times the gate of the other."""
        axis = int(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", -1))  # type: ignore[arg-type]
        first, second = self.of(node.args[0]).chunk(2, axis)  # type: ignore[arg-type]
        self.labels.tie(first, second)
        return self.labels.find(first)

    def _prelu(self, node: fx.Node) -> Tensor:
        """A slope for each channel, or one."""
        labels, weight = self.of(node.args[0]), node.args[1]  # type: ignore[arg-type]
        if prod(self.shape(weight)) > 1:  # type: ignore[arg-type]
            self._is(weight, self.along(labels, [1]).reshape(self.shape(weight)))  # type: ignore[arg-type]
        return self.labels.find(labels)

    def _product(self, node: fx.Node) -> Tensor:
        """A product of two activations: labels along the axis that is summed are tied, others carried."""
        operands = [each for each in node.args if isinstance(each, fx.Node)]
        first, second = operands[-2:]
        sides = [self.shape(first), self.shape(second)]
        if any(len(side) < 2 for side in sides):
            return self._unknown(node)
        lead = torch.broadcast_shapes(sides[0][:-2], sides[1][:-2])
        n = len(lead)
        a, b = (self.of(each).view((1,) * (n + 2 - len(side)) + side) for each, side in zip((first, second), sides, strict=True))
        a, b = (self.along(each, [*range(n), axis]) if n + summed in varying(each) else each  # a summed axis: its labels alone
                for each, axis, summed in ((a, n + 1, 1), (b, n, 0)))  # fmt: skip
        if n + 1 in varying(a) or n in varying(b) or a.shape[n + 1] == 1 == b.shape[n]:
            wide = max(a.shape[n + 1], b.shape[n])
            if wide > 1:
                self.labels.tie(a[..., :1, :], b[..., :1].transpose(-1, -2))
        a, b = self.labels.find(a), self.labels.find(b)
        for axis in range(n):  # an axis that only one differs along: the other would keep its rows
            for one, other in ((a, b), (b, a)):
                if axis in varying(one) and axis not in varying(other) and other.shape[axis] > 1:
                    one_, rest = one, [x for x in varying(one) if x != axis]
                    self.labels.tie(one_, one_.narrow(axis, 0, 1)) if rest else self.labels.fix(one_)
        a, b = self.labels.find(a), self.labels.find(b)
        rows = sorted({axis for axis in (*varying(a), *varying(b)) if axis < n})
        left, right = n in varying(a), n + 1 in varying(b)
        summed = n + 1 in varying(a)
        if left and right:
            self.labels.fix(a)
            self.labels.fix(b)
            return _fixed(self.shape(node))
        shape = [*lead, sides[0][-2], sides[1][-1]]
        if left or right:
            carried = a[..., :1] if left else b[..., :1, :]
            result = carried.expand(shape)
            if rows:
                self.link(result, rows, [n] if left else [n + 1], [
                    (each, rows, [x for x in varying(each) if x not in rows]) for each in (a, b) if set(rows) <= set(varying(each))])  # fmt: skip
        elif rows:
            result = self.labels.new(*(side if axis in rows else 1 for axis, side in enumerate(shape))).expand(shape)
            self.link(result, rows, [], [
                (each, rows, [x for x in varying(each) if x not in rows]) for each in (a, b) if set(rows) <= set(varying(each))])  # fmt: skip
        else:
            result = _fixed(tuple(shape))
        if summed:
            outputs = _rows(result, rows, [x for x in varying(result) if x not in rows])
            places = [(first.name, [x - n - 2 for x in rows], [-1]), (second.name, [x - n - 2 for x in rows], [-2])]
            self.reads.append(Read(node.name, _rows(a.expand(*lead, 1, a.shape[-1]) if a.shape[n] == 1 else a, rows, [n + 1]), outputs, places))
        if len(operands) == 3:
            added = self.of(operands[0])
            self.labels.tie(added.expand(self.shape(node)), result.reshape(self.shape(node)))
        return self.labels.find(result.reshape(self.shape(node)))

    # ---- layers

    def _module(self, node: fx.Node, module: Any) -> Any:
        source: Any = node.args[0]
        if isinstance(module, DROPOUTS):
            return self.of(source)
        if isinstance(module, nn.Embedding):
            return self._embedding(node, module)
        if isinstance(module, MATRICES):
            return self._matrix(node, module)
        labels = self.of(source)
        if isinstance(module, BATCH_NORMS):
            vector = self.along(labels, [1])
            for name in ("weight", "bias", "running_mean", "running_var"):
                if getattr(module, name) is not None:
                    self._role(f"{node.target}.{name}", vector.reshape(-1))
            return self.labels.find(labels)
        if isinstance(module, nn.LayerNorm):
            return self._layer_norm(node, module, labels)
        if isinstance(module, nn.GroupNorm):
            return self._group_norm(node, module, labels)
        raise CompressionError(f"layer {node.target}: a {type(module).__name__} cannot be followed")  # layered makes no other

    def _layer_norm(self, node: fx.Node, module: nn.LayerNorm, labels: Tensor) -> Tensor:
        count = len(module.normalized_shape)
        axes = list(range(labels.dim() - count, labels.dim()))
        mixed = [axis for axis in varying(labels) if axis in axes]
        if not mixed:
            return labels
        own = self.along(labels, axes)
        shape = module.normalized_shape
        for name in ("weight", "bias"):
            if getattr(module, name) is not None:
                self._role(f"{node.target}.{name}", own.reshape(own.shape[-count:]).expand(shape))
        row = _rows(own, [], mixed)
        self.reads.append(Read(node.name, row, row, [(node.args[0].name, [], mixed)]))  # type: ignore[union-attr]
        return self.labels.find(labels)

    def _group_norm(self, node: fx.Node, module: nn.GroupNorm, labels: Tensor) -> Tensor:
        vector = self.along(labels, [1]).reshape(-1)
        for name in ("weight", "bias"):
            if getattr(module, name) is not None:
                self._role(f"{node.target}.{name}", vector)
        groups = vector.view(module.num_groups, -1)
        if 1 < module.num_groups < len(vector):
            self._links.append(Grid([groups], True))
        if module.num_groups < len(vector):
            self.reads.append(Read(node.name, groups, groups, [(node.args[0].name, [], [1])]))  # type: ignore[union-attr]
        return self.labels.find(labels)

    def _embedding(self, node: fx.Node, module: nn.Embedding) -> Tensor:
        path = f"{node.target}.weight"
        if path not in self.roles:
            self._role(path, self.labels.new(1, module.embedding_dim))
        return self.labels.find(self.roles[path][0].reshape(-1)).expand(self.shape(node))

    def _matrix(self, node: fx.Node, module: Any) -> Tensor:
        source, name, shape = node.args[0], str(node.target), self.shape(node)
        labels = self.of(source)  # type: ignore[arg-type]
        axis = labels.dim() - 1 if isinstance(module, nn.Linear) else 1
        spread = varying(labels)
        if isinstance(module, nn.Linear) and spread and axis not in spread and labels.shape[axis] > 1:
            found = self._begin(node, module, _fixed((labels.shape[axis],)), True)
            return self.along(labels, spread).narrow(axis, 0, 1).expand(shape) if found is not None else _fixed(shape)
        vector = self.along(labels, [axis]).reshape(-1)
        outputs = self._begin(node, module, vector, False)
        return outputs.view([-1 if a == axis else 1 for a in range(len(shape))]).expand(shape)

    def _begin(self, node: fx.Node, module: Any, source: Tensor, carried: bool) -> Tensor:
        """One more use of a matrix: labels of its outputs. carried: its rows mix no channels, and start none."""
        name = str(node.target)
        outputs = module.weight.shape[0]
        if isinstance(module, TRANSPOSED):
            outputs = module.weight.shape[1] * module.groups
        if name in self.matrices:
            known = self.matrices[name]
            known.nodes.append(node.name)
            self.labels.tie(known.source, source)
            if carried:
                self.labels.fix(known.outputs)
            return self.labels.find(known.outputs)
        made = _fixed((outputs,)) if carried else self.labels.new(outputs)
        self.matrices[name] = Matrix(module, source, made, [node.name])
        groups = getattr(module, "groups", 1)
        if groups > 1:
            parts = [source.view(groups, -1), made.view(groups, -1)]
            self._links.append(Grid(parts, True, min(part.shape[1] for part in parts) == 1))
        self._matrix_roles(name, module, source, made, groups)
        return made

    def _matrix_roles(self, name: str, module: Any, source: Tensor, outputs: Tensor, groups: int) -> None:
        kernel = (1,) * (module.weight.dim() - 2)
        if isinstance(module, TRANSPOSED):
            self._role(f"{name}.weight", source.view(-1, 1, *kernel))
            if groups == 1:
                self._role(f"{name}.weight", outputs.view(1, -1, *kernel))
        else:
            self._role(f"{name}.weight", outputs.view(-1, 1, *kernel))
            if groups == 1:
                self._role(f"{name}.weight", source.view(1, -1, *kernel))
        if module.bias is not None:
            self._role(f"{name}.bias", outputs)

    def _tie_shared(self) -> None:
        """One tensor used in two ways goes from both."""
        by_tensor: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for path, roles in self.roles.items():
            tensor = _attribute(self.graph, path)
            by_tensor.setdefault(id(tensor), []).extend((tensor, role) for role in roles)
        for uses in by_tensor.values():
            seen: dict[tuple[int, ...], Tensor] = {}
            for tensor, role in uses:
                whole = role.expand(tensor.shape)
                axes = tuple(axis for axis in range(role.dim()) if role.shape[axis] > 1)
                if axes in seen:
                    self.labels.tie(seen[axes], whole)
                elif any(set(axes) & set(other) for other in seen):
                    self.labels.fix(role)
                else:
                    seen[axes] = whole


def _rows(labels: Tensor, rows: list[int], rest: list[int]) -> Tensor:
    """Labels as (rows, m): those axes first, then the rest; others are of one label."""
    labels = compact(labels, [*rows, *rest])
    others = [axis for axis in range(labels.dim()) if axis not in (*rows, *rest)]
    ordered = labels.permute(*rows, *rest, *others)
    return ordered.reshape(prod(labels.shape[axis] for axis in rows), -1)


def _fixed(shape: Any) -> Tensor:
    return torch.zeros((), dtype=torch.int64).expand(tuple(shape))


def _nodes(value: Any) -> list[fx.Node]:
    if isinstance(value, fx.Node):
        return [value]
    return [each for part in value for each in _nodes(part)] if isinstance(value, list | tuple) else []


def _name(node: fx.Node) -> str:
    return str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]


def _dimensions(name: str) -> int:
    """Axes of space that a pooling or interpolation runs over."""
    return next((dims for dims in (1, 2, 3) if f"{dims}d" in name), 0)


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


_RULES: dict[str, Callable[[Channels, fx.Node], Any]] = {
    "move": Channels._moved, "cast": Channels._moved, "constant": Channels._made, "activation": Channels._each,
    "add": Channels._each, "multiply": Channels._each, "divide": Channels._each, "compare": Channels._each,
    "glu": Channels._gated, "prelu": Channels._prelu, "_prelu_kernel": Channels._each, "softmax": Channels._softmax,
    "cumsum": Channels._softmax, "product": Channels._product, "interpolate": Channels._pooled, "fill": Channels._made,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "max", "min", "argmax", "argmin", "var", "std", "linalg_vector_norm"),
                    Channels._reduced),
    "pool": Channels._pooled,
}  # fmt: skip

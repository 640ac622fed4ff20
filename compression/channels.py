"""Which channel every element of a network is of: labels, carried by executing the network's operators on them.

A matrix starts a label an output; views, slices, concatenations, ... are executed on the labels as on values; operators element by
element tie the labels that meet, and a matrix those that it reads through one column (`Labels`). A product of activations,
as attention's two, ties the labels along the axis that is summed and carries the others. What leaves a tensor irregular
unless more goes with it, such as a channel of one head, is a `Grid`. What the result of a sum rests on, across channels, is
a `Read`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from xbar.compression.errors import CompressionError
from xbar.compression.labels import FIXED, MOST_LABELLED, Grid, Labels, Read, compact, varying
from xbar.compression.layered import MATRICES, attribute_at, layered
from xbar.compression.rules import RULES, fixed, rows_of
from xbar.hw.graph.capture import Example, check_example, inputs_of
from xbar.hw.graph.operators import computes_a_size, kind_of

SAMPLES = 2  # of the batch that labels are followed through
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
        self.real: dict[fx.Node, Any] = {}
        self._begun: dict[Any, Tensor] = {}
        samples = [torch.cat([each, each])[:SAMPLES].detach().cpu() for each in given]
        self._walk(samples)
        self._tie_shared()
        if self._links:  # what was tied later may tell more of what meets earlier, such as a token beside others
            self.values, self.matrices, self.reads, self.roles, self._links = {}, {}, [], {}, []
            self._walk(samples)
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
                self.real[node] = self._run(node, inputs)
                self._note(node, self.real[node])
                self._forget(node)
        graph.train(was)
        self.real = {}

    def _run(self, node: fx.Node, inputs: Any) -> Any:
        if node.op == "placeholder":
            return next(inputs)
        if node.op == "get_attr":
            return attribute_at(self.graph, str(node.target)).detach()
        args, kwargs = self._concrete(node)
        if node.op == "call_module":
            return self.graph.get_submodule(str(node.target))(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _concrete(self, node: fx.Node) -> tuple[Any, Any]:
        return fx.map_arg((node.args, node.kwargs), lambda each: self.real[each])

    def _forget(self, node: fx.Node) -> None:
        """Values that no later node reads."""
        for each in node.all_input_nodes:
            if all(user in self.real or user.op == "output" for user in each.users) and not isinstance(self.real[each], int):
                value = self.real[each]
                self.real[each] = value.new_empty(0) if isinstance(value, Tensor) else value

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
            return fixed(value.shape)
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
        rule = RULES.get(name) or RULES.get(kind.name)
        if rule is None:
            return self.unknown(node)
        return rule(self, node)

    # ---- operands

    def new(self, key: Any, *shape: int) -> Tensor:
        """Labels that begin somewhere; the same ones on another walk."""
        if (key, shape) not in self._begun:
            self._begun[key, shape] = self.labels.new(*shape)
        return self.labels.find(self._begun[key, shape])

    def of(self, operand: fx.Node) -> Tensor:
        """Labels of an operand's elements, classes; a constant gets its own."""
        found = self.values[operand.name]
        if found is None:
            shape = self.shapes[operand.name]
            real = self.real[operand]
            told = real.is_floating_point() and len(shape) and prod(shape) <= MOST_LABELLED
            found = self.new(operand.name, *shape) if told else fixed(shape)
            self.use(operand, found)
        return self.labels.find(found) if isinstance(found, Tensor) else found

    def use(self, operand: fx.Node, labels: Tensor) -> None:
        """The labels of a constant, by one more use."""
        if self.values[operand.name] is None:
            self.values[operand.name] = labels
        else:
            self.labels.tie(self.values[operand.name], labels)
        self._role(str(operand.target), labels)

    def _role(self, path: str, labels: Tensor) -> None:
        self.roles.setdefault(path, []).append(labels)

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        return [each for each in node.all_input_nodes if each.name in self.values]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of the node's tensor."""
        return self.shapes[node.name]

    def unknown(self, node: fx.Node) -> Any:
        """Nothing is known of what goes where: all channels stay."""
        for each in self.tensors(node):
            if self.values[each.name] is not None:
                self.labels.fix(self.of(each))
        shapes = self.shapes[node.name]
        return [fixed(each or ()) for each in shapes] if isinstance(shapes, list) else fixed(shapes)

    def along(self, labels: Tensor, axes: list[int]) -> Tensor:
        """Labels that differ along `axes` alone: those along others are tied."""
        for axis in varying(labels):
            if axis not in axes:
                self.labels.tie(labels, labels.narrow(axis, 0, 1))
        return self.labels.find(compact(labels, axes))

    def link(self, first: Tensor, rows: list[int], rest: list[int], others: list[tuple[Tensor, list[int], list[int]]]) -> None:
        """Rows along those axes go from all tensors at once."""
        parts = [rows_of(self.along(labels, [*lead, *own]), lead, own) for labels, lead, own in ((first, rows, rest), *others)]
        if len({len(part) for part in parts}) > 1:
            for part in parts:
                self.labels.fix(part)
            return
        self._links.append(Grid(parts, True))

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
        row = rows_of(own, [], mixed)
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
            self._role(path, self.new(path, 1, module.embedding_dim))
        return self.labels.find(self.roles[path][0].reshape(-1)).expand(self.shape(node))

    def _matrix(self, node: fx.Node, module: Any) -> Tensor:
        source, shape = node.args[0], self.shape(node)
        labels = self.of(source)  # type: ignore[arg-type]
        axis = labels.dim() - 1 if isinstance(module, nn.Linear) else 1
        spread = varying(labels)
        if isinstance(module, nn.Linear) and spread and axis not in spread and labels.shape[axis] > 1:
            found = self._begin(node, module, fixed((labels.shape[axis],)), True)
            return self.along(labels, spread).narrow(axis, 0, 1).expand(shape) if found is not None else fixed(shape)
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
        made = fixed((outputs,)) if carried else self.new(name, outputs)
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
            tensor = attribute_at(self.graph, path)
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

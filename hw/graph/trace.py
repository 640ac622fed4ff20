"""`trace`: the dataflow of a network, by walking its graph once with what each value rests on."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, fx, nn

from xbar.hw.array.mapping import lines_in_use
from xbar.hw.errors import TraceError
from xbar.hw.graph.capture import Example, inputs_of
from xbar.hw.graph.graph import SAMPLES, Graph, InputShapes, read
from xbar.hw.graph.made import Made, joined, runs
from xbar.hw.graph.matrix import Matrix, Table
from xbar.hw.graph.network import Flow, MatrixLayer, Network
from xbar.hw.graph.operators import Call, Kind, computes_a_size, kind_of
from xbar.hw.graph.ranges import Ranges
from xbar.hw.graph.value import Value, along_axis, by_position, largest_of_rows, none_of, rests_on_all, shares_of


def trace(model: nn.Module, example_input: Example, pack: bool = False, host: Collection[str] = ()) -> Network:
    """The dataflow of `model` for inputs shaped like `example_input` (batch, ...), a tuple for a model of several inputs.

    pack: rows and columns of a matrix that hold no weight but 0 are left out of it; what is left is packed together
    (tables are kept whole). host: modules whose operators a host computes. Inputs of a layer count as signed when
    `example_input` makes one of them negative, so give real samples. Raises TraceError for operators that the chip has no
    way to run, all at once; for values that rest on several samples of a batch; or a model without any matrix.
    """
    graph = read(model, example_input, host)
    recorder = Ranges(graph)
    recorder.record(inputs_of(example_input))
    return _Builder(graph, recorder.low, pack).build()


def outer_rows(graph: Graph) -> dict[str, int]:
    """Of every use of a layer, how often its rows go through all samples: 1 where those of a sample lie together.

    Rows: of a linear layer all axes but the last, of a convolution the first, of a table all. Raises TraceError as `trace`.
    """
    builder = _Builder(graph, {}, False)
    builder.build()
    return builder.outer


@dataclass
class _Spec:
    """A layer as it is put together from its uses."""

    outputs: int
    inputs: int
    groups: int
    lookup: bool
    kernel: tuple[int, ...]
    height: int
    bias: bool = False
    nodes: list[str] = field(default_factory=list)
    vectors: int = 0
    positions: int = 0
    reads: list[np.ndarray] = field(default_factory=list)
    needs: list[tuple[int, dict[str, np.ndarray]]] = field(default_factory=list)
    digital: dict[str, float] = field(default_factory=dict)


class _Builder:
    """Walks the graph once, carrying for each value which sample it is of and how much of each layer it rests on."""

    def __init__(self, graph: Graph, low: Mapping[str, float], pack: bool):
        self.read, self.low, self.pack = graph, low, pack
        self.values: dict[fx.Node, Any] = {}  # a Value, a list of them, or a plain number
        self.graph = nx.DiGraph()
        self.layers: dict[str, _Spec] = {}
        self.flows: list[Flow] = []
        self.indices: dict[str, int] = {}  # input of the network -> bits of its indices
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, float] = {}
        self.leaving: set[fx.Node] = set()  # values that leave the chip, as results or to a host
        self.output_values = 0
        self.before: dict[str, float] = {}  # digital work on the inputs, before any layer
        self.outer: dict[str, int] = {}  # by use: how often its rows go through all samples
        self.host_operations = 0.0
        self.from_host: dict[fx.Node, int] = {}  # values that come from a host
        self.numbers = 1  # that the next value gets (`xbar.hw.graph.made`); 0 is none's
        self.makers: tuple[list[int], list[dict[str, float]]] = [], []  # numbers from which on values are made by so much of which layers

    def build(self) -> Network:
        users = {node: len(node.users) for node in self.read.module.graph.nodes}
        for node in self.read.module.graph.nodes:
            self.values[node] = self._visit(node)
            self._cross(node)
            for operand in node.all_input_nodes:  # values are large: none is kept longer than it is read
                users[operand] -= 1
                if not users[operand] and isinstance(self.values[operand], Value | list):
                    self.values[operand] = None
        first = next(iter(self.layers.values()))
        for component, count in self.before.items():
            first.digital[component] = first.digital.get(component, 0.0) + count
        layers = tuple(self._layer(name, spec) for name, spec in self.layers.items())
        consumers = {
            name: tuple(layer.name for layer in layers if name in layer.needs) for name in self.layers
        }
        bits = [self.indices[name] for name in self.indices for _ in range(self.inputs[name].size)]
        coming = sum(value.size for name, value in self.inputs.items() if name not in self._read_by_host_alone())
        return Network(
            self.read.module, self.graph, layers, tuple(_merged(self.flows)), consumers,
            coming + sum(self.from_host.values()), self.output_values, tuple(bits), self.outputs, self.host_operations,
        )  # fmt: skip

    def _layer(self, name: str, spec: _Spec) -> MatrixLayer:
        every = list(dict.fromkeys(layer for _, needs in spec.needs for layer in needs))
        needs = {
            layer: np.maximum.accumulate(
                np.concatenate([part.get(layer, np.zeros(count, np.int64)) for count, part in spec.needs])
            )
            for layer in every
        }
        widest = max(part.shape[1] for part in spec.reads)
        reads = [np.pad(part, ((0, 0), (0, widest - part.shape[1])), constant_values=-1) for part in spec.reads]
        return MatrixLayer(
            name, tuple(spec.nodes), spec.outputs, spec.inputs, spec.groups, spec.vectors, self.low.get(name, 0.0) < 0,
            spec.positions, np.concatenate(reads), needs, dict(spec.digital), spec.lookup, spec.kernel, spec.height,
            spec.bias,
        )  # fmt: skip

    # ---- one node

    def _visit(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input(node)
        if node.op == "output":
            return self._output(node)
        if node.op == "get_attr":
            shape = self.read.shapes[node.name]
            self._drawn(node, "constant")
            return self._numbered(Value(shape, (none_of(shape),) * SAMPLES, {}, {}))
        if node.op == "call_module":
            return self._module(node)
        if computes_a_size(node.target):
            args: Any = fx.map_arg(node.args, self._plain)
            return args[0].shape[args[1]] if "sym_size" in str(node.target) else node.target(*args)  # type: ignore[operator]
        if getattr(node.target, "__name__", "") == "getitem":
            value, index = self.values[node.args[0]], node.args[1]  # type: ignore[index]
            return value[index]
        return self._operator(node)

    def _plain(self, node: fx.Node) -> Any:
        return self.values[node]

    def _drawn(self, node: fx.Node, kind: str) -> None:
        """Enter a node in the graph that users see."""
        self.graph.add_node(node.name, kind=kind, shape=self.read.shapes.get(node.name), target=str(node.target))
        for operand in node.all_input_nodes:
            source = operand
            while source.name not in self.graph and source.all_input_nodes:
                source = source.all_input_nodes[0]
            if source.name in self.graph:
                self.graph.add_edge(source.name, node.name)

    def _input(self, node: fx.Node) -> Value:
        shape = self.read.shapes[node.name]
        whole = not node.meta["dtype"].is_floating_point
        value = Value(shape, along_axis(0, shape), {}, {"": 1.0}, node.name if whole else None)
        self.inputs[node.name] = value
        self._drawn(node, "input")
        return self._numbered(value)

    def _output(self, node: fx.Node) -> None:
        self._drawn(node, "output")
        for source in node.all_input_nodes:
            if source.name not in self.read.host:
                self._leaves(source)

    def _leaves(self, node: fx.Node) -> None:
        """Count values that leave the chip, each once."""
        value = self.values[node]
        if node in self.leaving or not isinstance(value, Value):
            return
        self.leaving.add(node)
        self.output_values += value.size
        for holder, share in value.holders.items():
            if holder:
                self.outputs[holder] = self.outputs.get(holder, 0.0) + share * value.size

    def _module(self, node: fx.Node) -> Any:
        name = str(node.target)
        module = self.read.module.get_submodule(name)
        operands = [self.values[each] for each in node.all_input_nodes]
        if isinstance(module, InputShapes):
            return operands
        if isinstance(module, Table):
            if node.name in self.read.host:
                return self._table_on_host(node, operands[0])
            return self._table(node, name, module, operands[0])
        if isinstance(module, Matrix):
            if node.name in self.read.host:
                return self._matrix_on_host(node, module, operands[0])
            return self._matrix(node, name, module, operands[0])
        self._drawn(node, "dropout")
        return operands[0]

    # ---- operators of the digital unit

    def _operator(self, node: fx.Node) -> Any:
        hosted = node.name in self.read.host
        kind = kind_of(node.target)
        if kind is None:
            return self._unknown_on_host(node)
        self._drawn(node, kind.name)
        operands = [value for value in (self.values[each] for each in node.all_input_nodes) if isinstance(value, Value)]
        shapes = self.read.shapes.get(node.name, ())
        listed = isinstance(shapes, list)
        shape = (shapes[0] if listed else shapes) or ()
        of = [self._reach(node, kind, shape, lambda value, k=k: value.of[k]) for k in range(SAMPLES)]
        layers = list(dict.fromkeys(layer for value in operands for layer in value.after))
        after = {
            layer: self._reach(node, kind, shape, lambda value, layer=layer: value.after.get(layer)) for layer in layers
        }
        holders, index = shares_of(operands), next((v.index_of for v in operands if v.index_of), None)
        found = [
            self._value(node, shapes[i] if listed else shape, [each[i] if listed else each for each in of],
                        {layer: each[i] if listed else each for layer, each in after.items()}, holders, index)
            for i in range(len(of[0]) if listed else 1) if not listed or of[0][i] is not None
        ]  # fmt: skip
        if not hosted:
            self._charge(node, kind, shape, operands, found[0])
        else:
            work = kind.work(self._call(node, kind, shape, lambda value: value.of[0]))
            self.host_operations += 2 * work.get("product", 0.0) / SAMPLES
        if kind.moves and operands:
            moved = operands[0].numbers if kind.name == "cast" else self._reach(node, kind, shape, lambda value: value.numbers)
            for value, numbers in zip(found, moved if listed else [moved], strict=True):
                self._moved(value, numbers)
        else:
            for value in found:
                self._numbered(value)
        return found if listed else found[0]

    # ---- numbers of values

    def _numbered(self, value: Value) -> Value:
        """A value that was computed as it stands, with numbers for its elements."""
        value.first = self.numbers
        self.makers[0].append(value.first)
        self.makers[1].append(value.holders)
        self.numbers += value.elements
        return value

    def _moved(self, value: Value, numbers: Tensor) -> None:
        """Give elements the numbers of the values that they are; of what several layers made, then each holds what is there of its own.
        Elements chosen by a mask, whose count the capture cannot know, get numbers of their own."""
        if any(there not in (1, size) for there, size in zip(reversed(numbers.shape), reversed(value.shape), strict=False)):
            self._numbered(value)
            return
        value.moved = numbers.expand(value.shape)
        if len(value.holders) > 1:
            found: dict[str, float] = {}
            makers, counts = np.unique(self._makers_of(value.numbers_of_first()), return_counts=True)
            made = [(self.makers[1][maker], int(count)) for maker, count in zip(makers, counts, strict=True) if self.makers[1][maker]]
            for holders, count in made:
                for holder, share in holders.items():
                    found[holder] = found.get(holder, 0.0) + share * count
            total = sum(count for _, count in made)
            value.holders = {holder: found[holder] / total for holder in value.holders if holder in found}

    def _makers_of(self, numbers: np.ndarray) -> np.ndarray:
        """Of each number, where its maker stands among all."""
        return np.searchsorted(self.makers[0], numbers, side="right") - 1

    def _made(self, value: Value, holders: Iterable[str]) -> list[Made]:
        """Which of a sample's values that each of `holders` makes a value holds ("": also those that are made from nothing)."""
        numbers = value.numbers_of_first()
        if value.moved is not None:
            numbers = np.unique(numbers)
        first, end, makers = runs(numbers, self._makers_of(numbers))
        made_by = [self.makers[1][maker] or {"": 1.0} for maker in makers]
        found = []
        for holder in holders:
            share = np.array([each.get(holder, 0.0) for each in made_by])
            found.append(Made(first[share > 0], end[share > 0], share[share > 0]))
        return found

    def _reach(self, node: fx.Node, kind: Kind, shape: tuple[int, ...], numbers: Any) -> Any:
        """What the kind's `reach` makes of the numbers of its operands."""
        return kind.reach(self._call(node, kind, shape, numbers))

    def _call(self, node: fx.Node, kind: Kind, shape: tuple[int, ...], numbers: Any) -> Call:
        def argument(each: fx.Node) -> Any:
            value = self.values[each]
            if not isinstance(value, Value):
                return value
            found = numbers(value)
            return none_of(value.shape) if found is None else found

        args, kwargs = list(node.args), dict(node.kwargs)
        for place in kind.indices:
            args[place] = fx.map_arg(args[place], self._constant)
        args = [arg if place in kind.indices else fx.map_arg(arg, argument) for place, arg in enumerate(args)]
        without = ("dtype", "device", "layout", "pin_memory")  # of the values, not of these numbers
        kwargs = {name: fx.map_arg(value, argument) for name, value in kwargs.items() if name not in without}
        return Call(node.target, tuple(args), kwargs, shape)

    def _constant(self, node: fx.Node) -> Any:
        """The value of a node that follows from no input but its size."""
        if node.op == "get_attr":
            return self.read.module.get_buffer(str(node.target))
        value = self.values[node]
        if node.op == "call_function" and (value is None or isinstance(value, Value)):
            args, kwargs = fx.map_arg((node.args, node.kwargs), self._constant)
            return node.target(*args, **kwargs)  # type: ignore[operator]
        return value

    def _value(
        self, node: fx.Node, shape: tuple[int, ...], of: list[Tensor], after: dict[str, Tensor], holders: dict[str, float],
        index_of: str | None,
    ) -> Value:  # fmt: skip
        """A result, refused where its elements rest on several samples."""
        if bool((of[0] * of[1]).any()):
            origin = self.read.origins[node.name]
            raise TraceError(
                f"{_name(node)} joins values of different samples of a batch, which a chip that serves one after another "
                f"cannot: {origin.line}"
            )
        axes = self.read.batched.get(node.name, ())
        after = {layer: each for layer, each in after.items() if bool(each.any())}
        if not after and len(axes) == 1 and not bool(of[0].any()) and not bool(of[1].any()):
            of = list(along_axis(axes[0], shape))  # made anew for every sample, as initial states are
        return Value(shape, tuple(of), after, holders, index_of)

    def _charge(self, node: fx.Node, kind: Kind, shape: tuple[int, ...], operands: list[Value], found: Value) -> None:
        """Count digital work with the latest layer that the value rests on; operands made elsewhere travel there."""
        if not found.size:
            return
        call = self._call(node, kind, shape, lambda value: value.of[0])
        work = {component: count / SAMPLES for component, count in kind.work(call).items()}
        host = next((layer for layer in reversed(self.layers) if layer in found.after), None)
        charged = self.before if host is None else self.layers[host].digital
        for component, count in work.items():
            charged[component] = charged.get(component, 0.0) + count
        if not kind.sums or host is None or sum(bool(value.holders) for value in operands) < 2:
            return
        found.holders = {host: 1.0}
        for value in operands:
            others = [holder for holder in value.holders if holder != host]
            self.flows += [
                Flow(holder, host, value.size * value.holders[holder], True, by_position(value, holder), made=made)
                for holder, made in zip(others, self._made(value, others), strict=True)
            ]

    # ---- matrices

    def _matrix(self, node: fx.Node, name: str, matrix: Matrix, source: Value) -> Value:
        self._drawn(node, "matrix")
        rows = self._rows(node, name, matrix, source)
        spec = self.layers.get(name)
        shape = self.read.shapes[node.name]
        if spec is None:
            weights = matrix.matrix
            groups, outputs, inputs = weights.shape
            if self.pack:
                outputs, inputs = (len(kept) for kept in lines_in_use(weights))
            kernel = matrix.layout.kernel if matrix.layout.kind == "convolution" else ()
            bias = matrix.bias is not None and matrix.layout.kind != "transposed"
            spec = self.layers[name] = _Spec(outputs, inputs, groups, False, kernel, shape[2] if kernel else 1, bias)
        linear = matrix.layout.kind == "linear"
        count = 1 if linear else int(np.prod(source.shape[2:]))  # positions of a row
        taps = np.zeros((1, 1), np.int64) if linear else matrix.layout.taps(source.shape)
        mine = rows[0]
        reads = np.concatenate([np.where(taps >= 0, taps + k * count, -1) for k in range(len(mine))])
        at = {layer: largest_of_rows(each, linear)[mine].reshape(-1).numpy().astype(np.int64) for layer, each in source.after.items()}
        needs = {layer: np.append(counts, 0)[reads].max(1) for layer, counts in at.items()}
        self._add_use(name, spec, node, reads, count * len(mine), needs, source, at)
        first = spec.vectors - len(reads)
        each = len(taps)
        numbers = torch.zeros(len(rows[0]) + len(rows[1]), each)
        for sample in rows:
            numbers[sample] = torch.arange(first + 1, first + len(reads) + 1, dtype=torch.float32).view(-1, each)
        of = [torch.zeros(len(numbers)) for _ in range(SAMPLES)]
        for k in range(SAMPLES):
            of[k][rows[k]] = 1
        if linear:
            numbers = numbers.view(*shape[:-1], 1).expand(shape)
            parts = [each_of.view(*shape[:-1], 1).expand(shape) for each_of in of]
        else:
            numbers = self._results(matrix, source.shape, shape, numbers, spec, len(mine)).view(shape[0], 1, *shape[2:]).expand(shape)
            parts = [each_of.view(-1, *[1] * (len(shape) - 1)).expand(shape) for each_of in of]
        return self._numbered(Value(shape, tuple(parts), {name: numbers}, {name: 1.0}))

    def _results(
        self, matrix: Matrix, before: tuple[int, ...], after: tuple[int, ...], numbers: Tensor, spec: _Spec, rows: int
    ) -> Tensor:
        """Number of the last vector that each position of the results rests on; counts the additions of overlaps."""
        if matrix.layout.kind != "transposed":
            return numbers
        source, target = matrix.layout.contributions(before, after[2:])
        found = np.zeros((len(numbers), int(np.prod(after[2:]))), np.float32)
        for k in range(len(numbers)):
            np.maximum.at(found[k], target, numbers[k].numpy()[source])
        overlaps = (len(target) - len(np.unique(target))) * after[1] * rows
        if overlaps:
            spec.digital["accumulator"] = spec.digital.get("accumulator", 0.0) + float(overlaps)
        return torch.from_numpy(found)

    def _rows(self, node: fx.Node, name: str, matrix: Matrix, source: Value) -> list[Tensor]:
        """Of each sample, which rows of the input are its own: vectors of a linear layer, images of a convolution."""
        linear = matrix.layout.kind == "linear"
        own = [largest_of_rows(each, linear).flatten(1).amax(1) > 0 for each in source.of]
        if not bool((own[0] | own[1]).all()):
            own = _with_padding(own)
        if bool((own[0] & own[1]).any()):
            raise TraceError(f"layer {name}: a vector holds values of different samples of a batch: {self.read.origins[node.name].line}")
        rows = [each.nonzero().flatten() for each in own]
        if len(rows[0]) != len(rows[1]) or len(rows[0]) + len(rows[1]) != len(own[0]):
            raise TraceError(
                f"layer {name}: {len(own[0])} inputs of {SAMPLES} samples are not as many for each: {self.read.origins[node.name].line}"
            )
        self._order(node, name, own[0])
        return rows

    def _order(self, node: fx.Node, name: str, first: Tensor) -> None:
        """Note how the rows of a use go through the samples, of which `first` marks those of the first."""
        outer = 1 + int((first[1:] & ~first[:-1]).sum())
        if len(first) % (outer * SAMPLES) or not bool(first.view(outer, SAMPLES, -1)[:, 0].all()):
            raise TraceError(f"layer {name}: inputs of different samples lie without order: {self.read.origins[node.name].line}")
        self.outer[node.name] = outer

    def _add_use(
        self, name: str, spec: _Spec, node: fx.Node, reads: np.ndarray, positions: int, needs: dict[str, np.ndarray],
        source: Value, at: dict[str, np.ndarray],
    ) -> None:  # fmt: skip
        holders = source.holders or {"": 0.0}  # a state that begins at 0 comes from nowhere
        self.flows += [
            Flow(holder, name, source.size * share, False, at.get(holder, np.zeros(positions, np.int64)), spec.positions, made)
            for (holder, share), made in zip(holders.items(), self._made(source, holders), strict=True)
        ]
        spec.nodes.append(node.name)
        spec.reads.append(np.where(reads >= 0, reads + spec.positions, -1))
        spec.needs.append((len(reads), needs))
        spec.vectors += len(reads)
        spec.positions += positions

    def _table(self, node: fx.Node, name: str, table: Table, source: Value) -> Value:
        self._drawn(node, "table")
        shape = self.read.shapes[node.name]
        vectors = source.size
        if not vectors:
            raise TraceError(f"layer {name}: there is nothing to look up, got (batch, 0)")
        spec = self.layers.get(name)
        if spec is None:
            _, outputs, rows = table.matrix.shape
            spec = self.layers[name] = _Spec(outputs, rows, 1, True, (), 1)
        own = [each.flatten() > 0 for each in source.of]
        self._order(node, name, own[0])
        at = {layer: each.flatten()[own[0]].numpy().astype(np.int64) for layer, each in source.after.items()}
        first = spec.vectors
        self._add_use(name, spec, node, np.arange(vectors)[:, None], vectors, at, source, at)
        numbers = torch.zeros(own[0].shape)
        for each in own:
            numbers[each] = torch.arange(first + 1, first + vectors + 1, dtype=torch.float32)
        if source.index_of:
            bits = max(1, (spec.inputs - 1).bit_length())
            self.indices[source.index_of] = max(bits, self.indices.get(source.index_of, 0))
        lead = source.shape
        of = tuple(each.unsqueeze(-1).expand(shape) for each in source.of)
        return self._numbered(Value(shape, of, {name: numbers.view(*lead, 1).expand(shape)}, {name: 1.0}))

    # ---- what a host does

    def _cross(self, node: fx.Node) -> None:
        """Note the operands that pass between chip and host to reach this operator; inputs and results of the network are outside
        anyway."""
        for operand in node.all_input_nodes if node.op != "output" else ():
            value = self.values[operand]
            if _given(operand) or not isinstance(value, Value) or (operand.name in self.read.host) == (node.name in self.read.host):
                continue
            if operand.name in self.read.host:
                self.from_host[operand] = value.size
            else:
                self._leaves(operand)

    def _read_by_host_alone(self) -> set[str]:
        """Inputs of the network that do not come to the chip."""
        names = list(self.inputs)
        readers: dict[str, set[bool]] = {}
        for node in self.read.module.graph.nodes:
            if _given(node) and isinstance(node.args[1], int):
                readers.setdefault(names[node.args[1]], set()).update(user.name in self.read.host for user in node.users)
        return {name for name, by_host in readers.items() if by_host == {True}}

    def _unknown_on_host(self, node: fx.Node) -> Any:
        """An operator of a host that the registry does not know: each result rests on all of its sample."""
        self._drawn(node, "host")
        operands = [value for value in (self.values[each] for each in node.all_input_nodes) if isinstance(value, Value)]
        shapes = self.read.shapes[node.name]
        if isinstance(shapes, list):
            return [self._numbered(rests_on_all(operands, shape)) for shape in shapes if shape is not None]
        return self._numbered(rests_on_all(operands, shapes))

    def _table_on_host(self, node: fx.Node, rows: Value) -> Value:
        """Rows that a host fetches: no operations, only what crosses."""
        self._drawn(node, "host")
        return self._numbered(rests_on_all([rows], self.read.shapes[node.name]))

    def _matrix_on_host(self, node: fx.Node, matrix: Matrix, source: Value) -> Value:
        self._drawn(node, "host")
        shape = self.read.shapes[node.name]
        weights = matrix.matrix
        vectors = len(self._rows(node, str(node.target), matrix, source)[0])
        if matrix.layout.kind != "linear":
            vectors *= int(np.prod(matrix.layout.space(source.shape)))
        self.host_operations += 2.0 * weights.numel() * vectors
        return self._numbered(rests_on_all([source], shape))


def _given(node: fx.Node) -> bool:
    """Whether a node is an input of the network, as operators read it."""
    return any(each.target == "input_shapes" for each in node.all_input_nodes)


def _with_padding(own: list[Tensor]) -> list[Tensor]:
    """Rows of each sample, with those that hold padding alone, such as the last window of an image that was made larger: of the
    sample in whose run of rows they lie. As they are where the runs of the others are not all as long."""
    known = own[0] | own[1]
    first = own[0][known]
    runs = 1 + int((first[1:] & ~first[:-1]).sum())
    if not len(first) or len(known) % (runs * SAMPLES):
        return own
    of_first = (torch.arange(len(known)) // (len(known) // (runs * SAMPLES))) % SAMPLES == 0
    return [of_first, ~of_first] if bool((of_first == own[0])[known].all()) else own


def _merged(flows: Iterable[Flow]) -> list[Flow]:
    """Flows between the same two places that fill neighbouring positions, as one; addends of uses in turn, as one."""
    found: dict[tuple[str, str, bool], list[Flow]] = {}
    for flow in flows:
        found.setdefault((flow.source, flow.target, flow.addend), []).append(flow)
    merged = []
    for parts in found.values():
        run = [parts[0]]
        for part in parts[1:]:
            last = run[-1]
            if part.addend or part.first == last.first + len(last.after):
                after = np.concatenate([last.after, part.after])
                made = joined([each.made for each in (last, part) if each.made is not None])
                run[-1] = Flow(last.source, last.target, last.values + part.values, last.addend, after, last.first, made)
            else:
                run.append(part)
        merged += run
    order = {id_: k for k, id_ in enumerate(found)}
    return sorted(merged, key=lambda flow: order[(flow.source, flow.target, flow.addend)])


def _name(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet.__name__ if packet is not None else node.name)

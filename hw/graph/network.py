"""A torch model as a dataflow graph of matrix operations: what is computed, and what must exist before.

The graph is a networkx.DiGraph whose nodes are the model's operations (torch.fx) with batch norm folded.
Positions: an image-shaped value (channels, height, width) has height x width positions in raster order, each
produced by one vector operation of a convolution; a flat value has one. Of an embedding each index is a position, read by
one look-up.
"""

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import networkx as nx
import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from xbar.hw.array.mapping import lines_in_use, matrix_of
from xbar.hw.errors import ParameterError, TraceError

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish,
    nn.Hardsigmoid, nn.Softmax, nn.LogSoftmax, nn.Softplus,
)  # fmt: skip
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d)
_KIND_OF_FUNCTION: dict[Any, str] = {
    torch.relu: "activation", nn.functional.relu: "activation", torch.sigmoid: "activation",
    torch.tanh: "activation", nn.functional.gelu: "activation", nn.functional.silu: "activation",
    nn.functional.softmax: "activation", nn.functional.log_softmax: "activation",
    operator.add: "add", operator.iadd: "add", torch.add: "add", torch.cat: "concat",
    torch.flatten: "flatten", nn.functional.max_pool2d: "pool", torch.max_pool2d: "pool",
    nn.functional.avg_pool2d: "pool", nn.functional.adaptive_avg_pool2d: "pool",
    nn.functional.pad: "pad", operator.getitem: "slice", torch.mean: "pool",
    nn.functional.dropout: "identity", torch.sum: "pool",
}  # fmt: skip
_KIND_OF_METHOD = {
    "view": "flatten", "reshape": "flatten", "flatten": "flatten", "relu": "activation",
    "sigmoid": "activation", "tanh": "activation", "add": "add", "add_": "add", "mean": "pool",
    "contiguous": "identity", "size": "size", "sum": "pool",
}  # fmt: skip
_MATRICES = (nn.Conv2d, nn.Linear, nn.Embedding)

Example = Tensor | tuple[Tensor, ...]  # one tensor an input of the model

# Digital units of a tile and what is counted of each: values through the table of the activation unit (sigmoid, tanh,
# exponentials, reciprocal roots); values that are compared or pooled; additions; element-wise multiplications;
# multiply-accumulates of two activations, as in the products of attention.
DIGITAL = ("activation", "pool", "accumulator", "multiplier", "product")


@dataclass(frozen=True)
class MatrixLayer:
    """One matrix operation: `vectors` products per sample of a (groups x) outputs x inputs matrix.

    reads: positions of the input that each vector reads, int64 (vectors, taps), -1 where a tap lies in padding.
    needs: for each layer that it waits for, how many of that one's vectors (in raster order) must be done before each of
    this layer's vectors can start, int64 (vectors,). A matrix that is used several times in a sample is one layer with the
    vectors of all its uses in order; it may need itself, at most as many vectors as come before, and layers that need it.
    digital: work on the results per sample by unit of the tile (DIGITAL), in actions. lookup: a vector is a
    look-up of one of `inputs` rows by its number, a one-hot product; its positions are the indices.
    Raises ParameterError for digital work of no such unit, or of an amount that is not 0 or more.
    """

    name: str
    node: str
    outputs: int  # per group
    inputs: int  # per group
    groups: int
    vectors: int
    signed_input: bool
    reads: np.ndarray = field(repr=False)
    needs: dict[str, np.ndarray] = field(repr=False)
    digital: Mapping[str, float] = field(default_factory=dict)
    lookup: bool = False

    def __post_init__(self) -> None:
        for unit, count in self.digital.items():
            if unit not in DIGITAL:
                raise ParameterError(f"layer {self.name}: digital work of {unit!r}: must be of {', '.join(DIGITAL)}")
            if not (count >= 0 and math.isfinite(count)):
                raise ParameterError(f"layer {self.name}: digital work of {unit} must be 0 or more actions, got {count}")

    @property
    def index_bits(self) -> int:
        """Bits that tell the rows of a table apart, at least 1."""
        return max(1, (self.inputs - 1).bit_length())

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        return self.groups * self.outputs * self.inputs

    @property
    def operations(self) -> int:
        """Multiplications and additions per sample; a look-up takes none."""
        return 0 if self.lookup else 2 * self.weights * self.vectors


@dataclass(frozen=True)
class Flow:
    """Values per sample that travel from layer `source` ("" for the network's input) to layer `target`: to its
    matrix as inputs, or, for an `addend`, to where its results are added up (a sum is made at the latest layer
    that it rests on, and travels on from there). Several flows may join two layers, and a layer with itself.

    after: for each position of the value, how many vectors of the source must be done, int64 (positions,); 0 where there
    is nothing to wait for. Of a matrix's inputs the positions are those that its `reads` name.
    """

    source: str
    target: str
    values: float
    addend: bool
    after: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Network:
    """A traced network: `module` is the folded torch.fx model, `graph` its dataflow, `layers` the matrices.

    flows: what travels between layers; consumers: for each layer the layers that wait for its result, itself among them;
    input_values and output_values are per sample. index_bits: of those input values that are indices, the bits of each:
    what the largest table that reads its tensor needs. outputs: by layer, how many of the output values are made there
    (what comes from the input as it is, at none); where they are not given, the layers that no other reads make alike
    many. host_operations: multiplications and additions per sample that a host does; host_values: values per sample that
    go to it and come from it, other than inputs and outputs.
    Raises ParameterError for a layer to which no flow brings inputs, for outputs of no such layer or too many, and where
    they are not given and every layer is read by another.
    """

    module: fx.GraphModule = field(repr=False)
    graph: nx.DiGraph = field(repr=False)
    layers: tuple[MatrixLayer, ...]
    flows: tuple[Flow, ...]
    consumers: dict[str, tuple[str, ...]]
    input_values: int
    output_values: int
    index_bits: tuple[int, ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)
    host_operations: float = 0.0
    host_values: float = 0.0

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if dry := set(names) - {flow.target for flow in self.flows if not flow.addend}:
            raise ParameterError(f"flows: none brings inputs to {', '.join(name for name in names if name in dry)}")
        if not self.outputs:
            last = [name for name in self.last_layers if not any(f.source == name and f.target != name for f in self.flows)]
            if not last:
                raise ParameterError("outputs: every layer is read by another, so outputs must say where the results are made")
            object.__setattr__(self, "outputs", {name: self.output_values / len(last) for name in last})
        for name, values in self.outputs.items():
            if name not in names or not (values >= 0 and math.isfinite(values)):
                raise ParameterError(f"outputs: {name!r} with {values} values; must be 0 or more of a layer: {', '.join(names)}")
        if sum(self.outputs.values()) > self.output_values * (1 + 1e-9):
            raise ParameterError(f"outputs: {sum(self.outputs.values()):g} values, more than the {self.output_values} of the network")
        if not all(count >= 0 and math.isfinite(count) for count in (self.host_operations, self.host_values)):
            raise ParameterError(
                f"host_operations and host_values must be 0 or more, got {self.host_operations} and {self.host_values}"
            )

    @property
    def last_layers(self) -> tuple[str, ...]:
        """The layers for whose results no other layer waits."""
        return tuple(layer.name for layer in self.layers if not set(self.consumers[layer.name]) - {layer.name})

    @property
    def operations(self) -> int:
        """Multiplications and additions of all matrix operations on crossbars per sample."""
        return sum(layer.operations for layer in self.layers)

    @property
    def digital_operations(self) -> float:
        """Multiplications and additions of the tiles' product units per sample."""
        return 2 * sum(layer.digital.get("product", 0.0) for layer in self.layers)

    @property
    def chip_operations(self) -> float:
        """Multiplications and additions per sample of all matrix operations on the chip."""
        return self.operations + self.digital_operations

    @property
    def operations_shares(self) -> dict[str, float]:
        """Of all multiply-accumulates the share on crossbars, in product units and on the host, by crossbar_, digital_ and
        host_operations_share; nan where there are none."""
        done = {"crossbar": self.operations, "digital": self.digital_operations, "host": self.host_operations}
        total = sum(done.values())
        return {f"{where}_operations_share": count / total if total else math.nan for where, count in done.items()}

    def layer(self, name: str) -> MatrixLayer:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    def positions_read(self, name: str) -> int:
        """Positions of the tensor that the layer reads, as its flows have them."""
        return max(len(flow.after) for flow in self.flows if flow.target == name and not flow.addend)


def fold(model: nn.Module) -> fx.GraphModule:
    """An evaluation-mode torch.fx copy of `model` with each batch norm folded into the convolution or linear
    layer before it. Raises TraceError where tracing or folding is impossible; `model` is left alone."""
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model).eval())
    except Exception as error:  # torch.fx raises many types; each means: not traceable
        raise TraceError(
            f"{type(model).__name__} cannot be traced by torch.fx (control flow that depends on data?): {error}"
        ) from error
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        before = node.args[0]
        host = modules.get(str(before.target)) if before.op == "call_module" else None
        if len(before.users) != 1 or not isinstance(host, (nn.Conv2d, nn.Linear)):
            raise TraceError(
                f"batch norm {node.target} does not directly follow a Conv2d or Linear used once: it cannot be folded"
            )
        fuse: Callable[..., nn.Module] = fuse_conv_bn_eval if isinstance(host, nn.Conv2d) else fuse_linear_bn_eval
        fused = fuse(host, module)
        _set_module(traced, str(before.target), fused)
        modules[str(before.target)] = fused
        node.replace_all_uses_with(before)
        traced.graph.erase_node(node)
    _separate_reused_layers(traced)
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _set_module(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)


def _separate_reused_layers(traced: fx.GraphModule) -> None:
    """A module called twice is two layers on the chip: give each later call a copy of its own."""
    seen: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op != "call_module":
            continue
        target = str(node.target)
        module = traced.get_submodule(target)
        if not isinstance(module, _MATRICES):
            continue
        seen[target] = seen.get(target, 0) + 1
        if seen[target] > 1:
            node.target = f"{target}_call{seen[target]}"
            _set_module(traced, node.target, copy.deepcopy(module))


def matrix_nodes(module: fx.GraphModule) -> list[fx.Node]:
    """The Linear, Conv2d and Embedding calls of a folded model, in order; raises TraceError where there are none."""
    found = [
        node
        for node in module.graph.nodes
        if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), _MATRICES)
    ]
    if not found:
        raise TraceError(
            "the model calls no Linear or Conv2d layer, and no Embedding, to put on crossbars; one layer alone goes into nn.Sequential"
        )
    return found


def inputs_of(example: Example) -> tuple[Tensor, ...]:
    """The tensors of an example, one an input of the model."""
    return (example,) if isinstance(example, Tensor) else tuple(example)


def check_inputs(module: fx.GraphModule, given: Sequence[Tensor]) -> None:
    """Raise TraceError unless there is one tensor (batch, ...) for each input of the folded model, all of one batch."""
    names = [node.name for node in module.graph.nodes if node.op == "placeholder"]
    if len(names) != len(given):
        raise TraceError(f"the model has {len(names)} inputs ({', '.join(names)}), got {len(given)} tensors")
    if len({len(tensor) for tensor in given}) > 1:
        raise TraceError(f"inputs must be of one batch, got {', '.join(str(tuple(t.shape)) for t in given)}")


def check_embedding(layer: nn.Embedding, name: str) -> None:
    """Raise TraceError for an embedding that changes its table when it is read."""
    if layer.max_norm is not None:
        raise TraceError(f"layer {name}: an Embedding with max_norm rewrites its table at look-ups: it cannot be mapped")


def check_look_up(running: fx.Interpreter, n: fx.Node) -> None:
    """Raise TraceError where an embedding is about to be given anything but rows of its table, as its one argument."""
    layer = running.module.get_submodule(str(n.target)) if n.op == "call_module" else None
    if not isinstance(layer, nn.Embedding):
        return
    given, named = running.fetch_args_kwargs_from_env(n)
    rows = given[0] if given and not named else None
    if not isinstance(rows, Tensor) or rows.dtype not in (torch.int32, torch.int64):
        raise TraceError(f"layer {n.target}: an Embedding looks up a tensor of whole numbers, int32 or int64")
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < layer.num_embeddings:
        raise TraceError(
            f"layer {n.target}: look-ups must be from 0 to {layer.num_embeddings - 1}, got {int(rows.min())} to "
            f"{int(rows.max())}"
        )


class _Recorder(fx.Interpreter):
    """Runs the folded model once and keeps each value's shape and each matrix input's minimum."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.minimum: dict[str, float] = {}
        self.whole: set[str] = set()  # values that are whole numbers

    def run_node(self, n: fx.Node) -> Any:
        check_look_up(self, n)
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n.name] = tuple(value.shape[1:])
            self.minimum[n.name] = float(value.min()) if value.numel() else 0.0
            if value.dtype in (torch.int32, torch.int64):
                self.whole.add(n.name)
        return value


def trace(model: nn.Module, example_input: Example, pack: bool = False) -> Network:
    """The dataflow of `model` for inputs shaped like `example_input` (batch, ...), a tuple for a model of several inputs.

    pack: rows and columns of a matrix that hold no weight but 0 are left out of it; what is left is packed together
    (tables are kept whole). Embeddings are looked up by whole-numbered inputs (batch,) or (batch, look-ups) of the
    network, or by columns of these; each call of one is a layer of its own, as of any layer.
    Inputs of a layer count as signed when `example_input` makes one of them negative, so give real samples.
    Raises TraceError for operations that the chip has no way to run, or a model without any matrix.
    """
    module, given = fold(model), inputs_of(example_input)
    for example in given:
        if example.dim() < (2 if example.is_floating_point() else 1) or example.shape[0] < 1:
            raise TraceError(f"the example input must be (batch, ...), one sample or more, got {tuple(example.shape)}")
        if not bool(torch.isfinite(example).all()):
            raise TraceError("the example input must be finite")
    check_inputs(module, given)
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*given)
    builder = _Builder(module, recorder, pack)
    return builder.build()


def _positions(shape: tuple[int, ...]) -> int:
    """Vector positions of a value: height x width of an image, rows of a matrix, 1 of a flat value."""
    if len(shape) == 3:
        return shape[1] * shape[2]
    return shape[0] if len(shape) == 2 else 1


class _Builder:
    """Walks the folded graph once, carrying for each value how much of each layer it rests on."""

    def __init__(self, module: fx.GraphModule, recorder: _Recorder, pack: bool):
        self.module, self.shapes, self.minimum, self.pack = module, recorder.shapes, recorder.minimum, pack
        self.whole = recorder.whole
        self.rests_on: dict[str, dict[str, np.ndarray]] = {}  # node -> layer -> vectors needed per position
        self.graph = nx.DiGraph()
        self.layers: dict[str, dict[str, Any]] = {}
        self.holders: dict[str, dict[str, float]] = {}  # node -> layers where its values are made, and their shares
        self.indices: dict[str, int] = {}  # node -> bits of an index that it holds: an input, or columns of one
        self.index_of: dict[str, str] = {}  # node of indices -> the input that they are of
        self.flows: list[Flow] = []
        self.input_values = 0
        self.output_values = 0
        self.outputs: dict[str, float] = {}

    def build(self) -> Network:
        for node in self.module.graph.nodes:
            kind = self._kind(node)
            if kind == "size":
                continue
            inputs = [i for i in node.all_input_nodes if i.name in self.shapes]
            self.graph.add_node(node.name, kind=kind, shape=self.shapes.get(node.name), target=str(node.target))
            self.graph.add_edges_from((i.name, node.name) for i in inputs)
            getattr(self, f"_visit_{kind}")(node, inputs)
            if node.name not in self.holders:
                self.holders[node.name] = self._passed_on(inputs)
        if not self.layers:
            raise TraceError("the model has no Linear or Conv2d layer, and no Embedding, to put on crossbars")
        consumers = {
            name: tuple(other for other, spec in self.layers.items() if name in spec["needs"]) for name in self.layers
        }
        layers = tuple(MatrixLayer(**spec) for spec in self.layers.values())
        index_bits = [bits for name, bits in self.indices.items() for _ in range(self._size(name))]
        return Network(
            self.module, self.graph, layers, tuple(self.flows), consumers, self.input_values, self.output_values,
            tuple(index_bits), self.outputs,
        )  # fmt: skip

    def _size(self, name: str) -> int:
        """Values of a node per sample."""
        return int(np.prod(self.shapes[name]))

    def _passed_on(self, inputs: list[fx.Node]) -> dict[str, float]:
        """Shares of the values of `inputs` together by the layers that make them."""
        total = sum(self._size(i.name) for i in inputs)
        shares: dict[str, float] = {}
        for i in inputs:
            for holder, share in self.holders[i.name].items():
                part = share * self._size(i.name) / total if total else share / len(inputs)
                shares[holder] = shares.get(holder, 0.0) + part
        return shares

    def _kind(self, node: fx.Node) -> str:
        if node.op in ("placeholder", "output"):
            return {"placeholder": "input", "output": "output"}[node.op]
        kind: str | None = None
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            for types, name in (
                ((nn.Conv2d, nn.Linear), "matrix"), ((nn.Embedding,), "table"), (_ACTIVATIONS, "activation"), (_POOLS, "pool"),
                (_IDENTITIES, "identity"), ((nn.Flatten,), "flatten"),
            ):  # fmt: skip
                if isinstance(module, types):
                    kind = name
        elif node.op == "call_function":
            kind = _KIND_OF_FUNCTION.get(node.target)
            indexed: Any = node.args[0] if node.args else None
            if kind == "slice" and indexed.name not in self.shapes:
                kind = "size"
            if kind is None and node.target is getattr and node.args[1] == "shape":
                kind = "size"
        elif node.op == "call_method":
            kind = _KIND_OF_METHOD.get(str(node.target))
        if kind is None:
            raise TraceError(f"operation {node.name} ({node.op} {node.target}) has no counterpart on the chip")
        return kind

    # ---- one visit a kind; each sets what its result rests on

    def _visit_input(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        self.input_values += self._size(node.name)
        self.rests_on[node.name] = {}
        self.holders[node.name] = {"": 1.0}
        if node.name in self.whole:
            self.index_of[node.name] = node.name

    def _visit_output(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        if len(inputs) != 1:
            raise TraceError("the model must return one tensor")
        self.output_values = int(np.prod(self.shapes[inputs[0].name]))
        made = self.holders[inputs[0].name]
        self.outputs = {holder: share * self.output_values for holder, share in made.items() if holder}

    def _visit_table(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        table = self.module.get_submodule(str(node.target))
        assert isinstance(table, nn.Embedding)
        check_embedding(table, str(node.target))
        source, name = inputs[0].name, str(node.target)
        if source not in self.index_of:
            raise TraceError(f"layer {name}: look-ups must be an input of the network, or columns of one, got {source}")
        if len(self.shapes[source]) > 1:
            raise TraceError(
                f"layer {name}: look-ups must be (batch,) or (batch, look-ups), got (batch, *{self.shapes[source]})"
            )
        vectors = self._size(source)
        if not vectors:
            raise TraceError(f"layer {name}: there is nothing to look up, got (batch, 0)")
        self.layers[name] = dict(
            name=name, node=node.name, outputs=table.embedding_dim, inputs=table.num_embeddings, groups=1,
            vectors=vectors, signed_input=False, reads=np.arange(vectors)[:, None], needs={},
            digital={}, lookup=True,
        )  # fmt: skip
        self.rests_on[node.name] = {name: np.arange(1, vectors + 1)}
        self.holders[node.name] = {name: 1.0}
        self.flows.append(Flow("", name, float(vectors), addend=False, after=np.zeros(vectors, np.int64)))
        bits = MatrixLayer(**self.layers[name]).index_bits
        of = self.index_of[source]
        self.indices[of] = max(bits, self.indices.get(of, 0))

    def _visit_matrix(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        module = self.module.get_submodule(str(node.target))
        source = inputs[0].name
        vectors = _positions(self.shapes[node.name])
        if isinstance(module, nn.Conv2d):
            if module.padding_mode != "zeros" or isinstance(module.padding, str):
                raise TraceError(f"layer {node.target}: only zero padding given in numbers can be run")
            window = module.kernel_size, module.stride, module.padding, module.dilation
            last = self._last_in_window(source, node.name, *window)
            reads = _window_positions(self.shapes[source], module)
        else:
            assert isinstance(module, nn.Linear)
            last = np.arange(vectors)
            reads = last[:, None]
        matrix = matrix_of(module)
        groups, outputs, depth = matrix.shape
        if self.pack:
            outputs, depth = (len(kept) for kept in lines_in_use(matrix))
        needs = {layer: np.maximum.accumulate(count[last]) for layer, count in self.rests_on[source].items()}
        name = str(node.target)
        self.layers[name] = dict(
            name=name, node=node.name, outputs=outputs, inputs=depth, groups=groups, vectors=vectors,
            signed_input=self.minimum[source] < 0, reads=reads, needs=needs,
            digital={},
        )  # fmt: skip
        self.rests_on[node.name] = {name: np.arange(1, vectors + 1)}
        self.holders[node.name] = {name: 1.0}
        self.flows += [
            Flow(holder, name, self._size(source) * share, addend=False, after=self._after(source, holder))
            for holder, share in self.holders[source].items()
        ]

    def _after(self, value: str, holder: str) -> np.ndarray:
        """Vectors of `holder` that must be done before each position of the value exists."""
        positions = _positions(self.shapes[value])
        return self.rests_on[value].get(holder, np.zeros(positions, np.int64))

    def _visit_activation(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        self.rests_on[node.name] = self.rests_on[inputs[0].name]
        self._charge(node, "activation", self.shapes[node.name])

    def _visit_identity(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        self.rests_on[node.name] = self.rests_on[inputs[0].name]
        self._keep_indices(node, inputs[0].name)

    def _keep_indices(self, node: fx.Node, source: str) -> None:
        """What only moves indices leaves them an input of the network."""
        if source in self.index_of:
            self.index_of[node.name] = self.index_of[source]

    def _visit_pool(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        source = inputs[0].name
        self._visit_window(node, source)
        self._charge(node, "pool", self.shapes[source])

    def _visit_window(self, node: fx.Node, source: str) -> None:
        shape = self.shapes[node.name]
        before = self.shapes[source]
        if len(before) == 3 and len(shape) == 3:
            window = self._pool_window(node, before, shape)
            last = self._last_in_window(source, node.name, *window)
        else:
            last = np.full(_positions(shape), _positions(before) - 1)
        self.rests_on[node.name] = {k: np.maximum.accumulate(v)[last] for k, v in self.rests_on[source].items()}

    def _pool_window(
        self, node: fx.Node, before: tuple[int, ...], after: tuple[int, ...]
    ) -> tuple[tuple[int, int], ...]:
        """(kernel, stride, padding, dilation) of a pooling node; adaptive pools get an enclosing window."""
        if node.op == "call_module":
            module: Any = self.module.get_submodule(str(node.target))
            if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
                dilation = getattr(module, "dilation", 1)
                return _pair(module.kernel_size), _pair(module.stride), _pair(module.padding), _pair(dilation)
        elif node.target in (nn.functional.max_pool2d, torch.max_pool2d, nn.functional.avg_pool2d):
            kernel = _pair(_argument(node, 1, "kernel_size", 1))
            stride = _argument(node, 2, "stride", None)
            return kernel, _pair(stride) if stride else kernel, _pair(_argument(node, 3, "padding", 0)), (1, 1)
        stride = tuple(max(1, before[i] // after[i]) for i in (1, 2))
        kernel = tuple(before[i] - (after[i] - 1) * stride[i - 1] for i in (1, 2))
        return (kernel[0], kernel[1]), (stride[0], stride[1]), (0, 0), (1, 1)

    def _visit_flatten(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        last = np.full(_positions(self.shapes[node.name]), _positions(self.shapes[inputs[0].name]) - 1)
        self.rests_on[node.name] = {k: np.maximum.accumulate(v)[last] for k, v in self.rests_on[inputs[0].name].items()}
        self._keep_indices(node, inputs[0].name)

    def _visit_add(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        self._merge(node, inputs)
        host = self._host(node)
        if len(inputs) < 2 or host is None:
            return
        self._charge(node, "accumulator", self.shapes[node.name])
        self.holders[node.name] = {host: 1.0}
        values = self._size(node.name)
        for source in inputs:
            self.flows += [
                Flow(holder, host, values * share, addend=True, after=self._after(source.name, holder))
                for holder, share in self.holders[source.name].items()
                if holder != host
            ]

    def _visit_concat(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        if _argument(node, 1, "dim", 0) not in (1, -len(self.shapes[node.name])):
            raise TraceError(f"concatenation {node.name}: only along channels or features (dim=1)")
        self._merge(node, inputs)

    def _merge(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        """Position by position, all inputs must exist."""
        positions = _positions(self.shapes[node.name])
        merged: dict[str, np.ndarray] = {}
        for source in inputs:
            for layer, count in self.rests_on[source.name].items():
                if len(count) != positions:
                    raise TraceError(f"{node.name} joins values of different height or width")
                merged[layer] = np.maximum(merged[layer], count) if layer in merged else count
        self.rests_on[node.name] = merged

    def _visit_pad(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        source = inputs[0].name
        if self.shapes[source][1:] != self.shapes[node.name][1:]:
            raise TraceError(f"{node.name}: only padding of channels has a counterpart on the chip")
        self.rests_on[node.name] = self.rests_on[source]

    def _visit_slice(self, node: fx.Node, inputs: list[fx.Node]) -> None:
        source = inputs[0].name
        shape, index = self.shapes[source], cast(Any, node.args[1])
        columns = isinstance(index, tuple) and len(index) == 2 and isinstance(index[1], (int, slice))
        if source in self.index_of and columns and index[0] == slice(None):
            self.rests_on[node.name] = self.rests_on[source]
            self._keep_indices(node, source)
            return
        if len(shape) != 3 or not isinstance(index, tuple) or not all(isinstance(i, slice) for i in index):
            raise TraceError(f"{node.name}: only slices of image-shaped values, as in x[:, :, ::2, ::2]")
        raster = np.arange(_positions(shape)).reshape(1, 1, *shape[1:])
        kept = raster[(slice(None), slice(None), *index[2:])].ravel()
        self.rests_on[node.name] = {k: v[kept] for k, v in self.rests_on[source].items()}

    def _last_in_window(
        self, source: str, result: str, kernel: Any, stride: Any, padding: Any, dilation: Any
    ) -> np.ndarray:
        """Raster index of the last input position that each output position reads."""
        (_, height, width), (_, rows, columns) = self.shapes[source], self.shapes[result]
        last_row = np.clip(np.arange(rows) * stride[0] - padding[0] + dilation[0] * (kernel[0] - 1), 0, height - 1)
        last_column = np.clip(np.arange(columns) * stride[1] - padding[1] + dilation[1] * (kernel[1] - 1), 0, width - 1)
        return (last_row[:, None] * width + last_column[None, :]).ravel()

    def _charge(self, node: fx.Node, what: str, shape: tuple[int, ...]) -> None:
        """Count digital work with the latest layer that the value rests on (none before the first layer)."""
        host = self._host(node)
        if host is not None:
            digital = self.layers[host]["digital"]
            digital[what] = digital.get(what, 0) + int(np.prod(shape))

    def _host(self, node: fx.Node) -> str | None:
        """The latest layer that a value rests on."""
        return next((layer for layer in reversed(self.layers) if layer in self.rests_on[node.name]), None)


def _window_positions(shape: tuple[int, ...], module: nn.Conv2d) -> np.ndarray:
    """Input positions of each window of a convolution, int64 (vectors, taps), -1 in padding."""
    height, width = shape[1:]
    number = torch.arange(1, height * width + 1, dtype=torch.float64).view(1, 1, height, width)
    window: Any = {name: getattr(module, name) for name in ("kernel_size", "dilation", "padding", "stride")}
    return nn.functional.unfold(number, **window)[0].T.long().numpy() - 1


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, (tuple, list)) else (value, value)


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)

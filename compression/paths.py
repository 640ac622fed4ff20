"""Channels through a network: which could go without a trace, through batch norm, pooling, flatten and sums.

Every output of a layer starts a channel. Elementwise and pooling operations pass channels on, flatten makes several features
of one, a sum ties its addends' channels together, and a shortcut that pads channels (ResNet option A) starts new
ones that are zero and passes the others on, shifted. Tied channels go together or stay together: one goes only when
every branch that feeds the sum loses it. A tied set can go when every layer that reads it either has only zero
weights for it or reads a constant: 0, or one that can be added to the reader's bias exactly (a filter without weights
still emits its bias, through batch norm; a convolution that pads with zeros does not see it as a constant at the borders,
so there it stays). What goes may let further channels go, so this is repeated until nothing changes.

Constants are those of evaluation mode. Convolutions with groups keep all their channels.
"""

import copy
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers
from xbar.compression.masks import attach, baked, masks_of

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid,
    nn.Softplus,
)  # fmt: skip
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d)
_FUNCTIONS: dict[Any, str] = {
    torch.relu: "elementwise", F.relu: "elementwise", torch.sigmoid: "elementwise", torch.tanh: "elementwise",
    F.gelu: "elementwise", F.silu: "elementwise", F.relu6: "elementwise", F.leaky_relu: "elementwise",
    F.softmax: "mixing", F.log_softmax: "mixing",
    operator.add: "add", operator.iadd: "add", torch.add: "add", torch.cat: "concat", torch.flatten: "flatten",
    F.max_pool2d: "pool", torch.max_pool2d: "pool", F.avg_pool2d: "pool", F.adaptive_avg_pool2d: "pool",
    torch.mean: "pool", F.pad: "pad", operator.getitem: "slice", F.dropout: "identity",
}  # fmt: skip
_METHODS = {
    "view": "flatten", "reshape": "flatten", "flatten": "flatten", "relu": "elementwise", "sigmoid": "elementwise",
    "tanh": "elementwise", "add": "add", "add_": "add", "mean": "pool", "contiguous": "identity",
}  # fmt: skip


@dataclass
class Reader:
    """A layer and what it reads: channel of each input feature (features,), its weight and bias in float64, changed as
    channels go, and whether it adds up constants exactly (it pads with no zeros)."""

    module: nn.Conv2d | nn.Linear
    source: Tensor
    outputs: Tensor
    weight: Tensor
    bias: Tensor
    exact: bool

    def kernels(self) -> Tensor:
        """The weight as (outputs, features, kernel positions)."""
        return self.weight.reshape(*self.weight.shape[:2], -1)

    @property
    def grouped(self) -> bool:
        """Whether its features are not those of every output."""
        return isinstance(self.module, nn.Conv2d) and self.module.groups > 1


class Paths:
    """Channels of `model` on inputs like `example` (batch, ...), and which stay.

    graph: a torch.fx copy of the model with plain weights; channels: by node, the channel of each feature (int64);
    readers: by layer; `stays` (channels,): bool. fold_constants: whether a nonzero constant may move to a bias.
    Raises CompressionError where the model cannot be traced, calls a layer twice, or has an operation not known here.
    """

    def __init__(self, model: nn.Module, example: Tensor, fold_constants: bool = True):
        self.fold_constants = fold_constants
        self.graph = traced(model)
        self.shapes = shapes_of(self.graph, example)
        self.channels: dict[str, Tensor] = {}
        self.readers: dict[str, Reader] = {}
        self._constant: dict[str, Tensor] = {}
        self._parent: list[int] = []
        self._pinned: list[int] = []
        self._visit(first=True)
        self._tied = torch.tensor([self._root(c) for c in range(len(self._parent))])
        self.stays = torch.ones(len(self._parent), dtype=torch.bool)
        while self._remove_once():
            self._visit(first=False)
        self._keep_one_of_each()

    def reached(self, filters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Which features each layer still gets, bool (features,) by layer, where of each layer named only those `filters`,
        bool (outputs,), are left and the others are silent."""
        alive = self._none()
        alive[self._tied[self._pinned]] = True
        for name, reader in self.readers.items():
            left = filters[name].cpu() if name in filters else torch.ones(len(reader.outputs), dtype=torch.bool)
            alive[self._tied[reader.outputs[left]]] = True
        return {name: alive[self._tied[reader.source]] for name, reader in self.readers.items()}

    def read(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Which filters of each layer are read, bool (outputs,) by layer, where each layer named reads only those `features`,
        bool (features,), of what it gets; what the network puts out counts as read."""
        wanted = self._none()
        wanted[self._tied[self._pinned]] = True
        for name, reader in self.readers.items():
            source = reader.source[features[name].cpu()] if name in features else reader.source
            wanted[self._tied[source]] = True
        return {name: wanted[self._tied[reader.outputs]] for name, reader in self.readers.items()}

    def fixed(self) -> set[str]:
        """Layers whose filters cannot go: the network's outputs depend on their number, or they have groups."""
        pinned = self._none()
        pinned[self._tied[self._pinned]] = True
        return {name for name, reader in self.readers.items() if bool(pinned[self._tied[reader.outputs]].any())}

    def _none(self) -> Tensor:
        return torch.zeros(len(self._parent), dtype=torch.bool)

    # ---- which go

    def _remove_once(self) -> bool:
        """Let go what can; whether anything did."""
        free = torch.ones_like(self.stays)
        free[self._pinned] = False
        for reader, constant in self._reads():
            used = (reader.kernels() != 0).any(2).any(0)  # (features,)
            hidden = ~used | (constant == 0) | (constant.isfinite() & reader.exact & self.fold_constants)
            free[reader.source[~hidden]] = False
        bound = torch.zeros_like(self.stays)
        bound[self._tied[~free]] = True
        goes = ~bound[self._tied] & self.stays
        for reader, constant in self._reads():
            gone = goes[reader.source]
            summed = reader.kernels().sum(2)[:, gone]
            reader.bias += torch.where(summed != 0, summed * constant[gone], 0.0).sum(1)
            reader.weight[:, gone] = 0
            reader.weight[goes[reader.outputs]] = 0
        self.stays &= ~goes
        return bool(goes.any())

    def _reads(self) -> list[tuple[Reader, Tensor]]:
        """Each reader without groups, with the constants that it reads (NaN: not a constant)."""
        return [(reader, self._constant[f"{name}:in"]) for name, reader in self.readers.items() if not reader.grouped]

    def _keep_one_of_each(self) -> None:
        """A value without channels cannot be computed: its first channel stays, of zero weight to its readers."""
        for channels in self.channels.values():
            if not bool(self.stays[channels].any()):
                self.stays[self._tied == self._tied[channels[0]]] = True

    def _root(self, channel: int) -> int:
        while self._parent[channel] != channel:
            channel = self._parent[channel]
        return channel

    def _tie(self, one: Tensor, other: Tensor) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((self._root(a), self._root(b)))
            self._parent[second] = first

    def _new(self, count: int, pinned: bool = False) -> Tensor:
        first = len(self._parent)
        self._parent += range(first, first + count)
        self._pinned += range(first, first + count) if pinned else ()
        return torch.arange(first, first + count)

    # ---- one walk: channels (the first time) and constants

    def _visit(self, first: bool) -> None:
        for node in self.graph.graph.nodes:
            if node.name not in self.shapes:
                if node.op == "output":
                    for source in node.all_input_nodes:
                        self._pinned += self.channels[source.name].tolist() if first else []
                continue
            kind = kind_of(self.graph, node)
            inputs = [n for n in node.all_input_nodes if n.name in self.shapes]
            channels, constant = getattr(self, f"_visit_{kind}")(node, inputs, first)
            if first:
                self.channels[node.name] = channels
            self._constant[node.name] = constant

    def _given(self, node: fx.Node) -> tuple[Tensor, Tensor]:
        return self.channels[node.name], self._constant[node.name]

    def _visit_input(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        count = self.shapes[node.name][0]
        channels = self._new(count, pinned=True) if first else self.channels[node.name]
        return channels, torch.full((count,), torch.nan, dtype=torch.float64)

    def _visit_matrix(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        name = str(node.target)
        source, constant = self._given(inputs[0])
        if first:
            self._begin(name, source, len(self.shapes[inputs[0].name]))
        self._constant[f"{name}:in"] = constant
        reader = self.readers[name]
        used = reader.kernels() != 0  # (outputs, features, kernel)
        if reader.grouped:
            known = ~used.flatten(1).any(1)
            return reader.outputs, torch.where(known, reader.bias, torch.nan)
        seen = (constant == 0) | (constant.isfinite() & reader.exact)
        known = ~(used.any(2) & ~seen).any(1)
        value = reader.bias + reader.kernels().sum(2) @ torch.where(seen, constant, 0.0)
        return reader.outputs, torch.where(known, value, torch.nan)

    def _begin(self, name: str, source: Tensor, dimensions: int) -> None:
        if name in self.readers:
            raise CompressionError(f"layer {name} is called more than once; give each call a layer of its own")
        module = self.graph.get_submodule(name)
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        if isinstance(module, nn.Linear) and dimensions != 1:
            raise CompressionError(f"layer {name}: a linear layer must read (batch, features)")
        grouped = isinstance(module, nn.Conv2d) and module.groups > 1
        exact = isinstance(module, nn.Linear) or not any(_numbers(module.padding))
        weight = module.weight.detach().double().cpu().clone()
        bias = torch.zeros(len(weight), dtype=torch.float64)
        if module.bias is not None:
            bias += module.bias.detach().double().cpu()
        self._pinned += source.tolist() if grouped else []
        self.readers[name] = Reader(module, source, self._new(len(weight), pinned=grouped), weight, bias, exact)

    def _visit_norm(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        module: Any = self.graph.get_submodule(str(node.target))
        if module.running_mean is None:
            raise CompressionError(f"batch norm {node.target} keeps no running statistics")
        scale = (module.running_var.double() + module.eps).rsqrt().cpu()
        shift = -module.running_mean.double().cpu() * scale
        if module.affine:
            gain = module.weight.detach().double().cpu()
            scale, shift = scale * gain, shift * gain + module.bias.detach().double().cpu()
        dead = torch.where(scale == 0, shift, torch.nan)  # gain 0: a constant whatever comes in
        return channels, torch.where(scale == 0, dead, constant * scale + shift)

    def _visit_elementwise(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        return channels, self._call(node, constant)

    def _visit_identity(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        return self._given(inputs[0])

    def _visit_mixing(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        self._pinned += channels.tolist() if first else []
        return channels, torch.full_like(constant, torch.nan)

    def _call(self, node: fx.Node, value: Tensor) -> Tensor:
        if node.op == "call_module":
            with torch.no_grad():
                return self.graph.get_submodule(str(node.target))(value.clone())
        function = getattr(torch.Tensor, str(node.target)) if node.op == "call_method" else node.target
        return function(value.clone(), *node.args[1:], **node.kwargs)  # type: ignore[operator]

    def _visit_pool(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        if self.shapes[node.name][0] != len(channels):
            raise CompressionError(f"{node.name} pools over channels, which has no meaning here")
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        padding = getattr(module, "padding", 0) if module else argument(node, 3, "padding", 0)
        averages = isinstance(module, nn.AvgPool2d) or node.target is F.avg_pool2d
        if averages and any(_numbers(padding)):
            constant = torch.where(constant == 0, 0.0, torch.nan)
        return channels, constant

    def _visit_flatten(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        before, after = self.shapes[inputs[0].name], self.shapes[node.name]
        if after == before:
            return channels, constant
        if len(after) != 1:
            raise CompressionError(f"{node.name} reshapes {before} to {after}; only flattening can be followed")
        each = after[0] // before[0]
        return channels.repeat_interleave(each), constant.repeat_interleave(each)

    def _visit_add(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        if len(inputs) == 1:  # a number, or the value with itself
            other = next((a for a in node.args if not isinstance(a, fx.Node)), None)
            return channels, constant * 2 if other is None else constant + float(other)  # type: ignore[arg-type]
        if self.shapes[inputs[0].name] != self.shapes[inputs[1].name]:
            raise CompressionError(f"{node.name} adds values of different shapes")
        if first:
            self._tie(channels, self.channels[inputs[1].name])
        return channels, constant + self._constant[inputs[1].name]

    def _visit_concat(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        if argument(node, 1, "dim", 0) not in (1, -len(self.shapes[node.name])):
            raise CompressionError(f"{node.name}: only a concatenation along channels (dim=1) can be followed")
        parts: Any = node.args[0]
        return torch.cat([self.channels[n.name] for n in parts]), torch.cat([self._constant[n.name] for n in parts])

    def _visit_pad(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        widths: Any = argument(node, 1, "pad", ())
        if any(w < 0 for w in widths) or argument(node, 2, "mode", "constant") != "constant" or argument(
            node, 3, "value", None
        ):  # fmt: skip
            raise CompressionError(f"{node.name}: only padding with zeros can be followed")
        if any(widths[: 2 * (len(self.shapes[node.name]) - 1)]):
            constant = torch.where(constant == 0, 0.0, torch.nan)
        low, high = channel_padding(node, len(self.shapes[node.name]))
        if first:
            channels = torch.cat([self._new(low), channels, self._new(high)])
        zeros = constant.new_zeros(low), constant.new_zeros(high)
        return (channels if first else self.channels[node.name]), torch.cat([zeros[0], constant, zeros[1]])

    def _visit_slice(self, node: fx.Node, inputs: list[fx.Node], first: bool) -> tuple[Tensor, Tensor]:
        channels, constant = self._given(inputs[0])
        if self.shapes[node.name][0] != len(channels) or len(self.shapes[node.name]) != len(
            self.shapes[inputs[0].name]
        ):
            raise CompressionError(f"{node.name}: only slices along height and width can be followed")
        return channels, constant


def channel_padding(node: fx.Node, dimensions: int) -> tuple[int, int]:
    """Channels that a pad adds before and after those of a (channels, ...) value of so many dimensions."""
    widths: Any = argument(node, 1, "pad", ())
    at = 2 * (dimensions - 1)
    low, high = (*widths[at : at + 2], 0, 0)[:2]
    return int(low), int(high)


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument of a call, by position or name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def kind_of(graph: fx.GraphModule, node: fx.Node) -> str:
    """What a node does with channels; raises CompressionError for operations not known here."""
    kind: str | None = None
    if node.op == "placeholder":
        kind = "input"
    elif node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        for types, name in (
            ((nn.Conv2d, nn.Linear), "matrix"), (_NORMS, "norm"), (_ELEMENTWISE, "elementwise"), (_POOLS, "pool"),
            (_IDENTITIES, "identity"), ((nn.Flatten,), "flatten"), ((nn.Softmax, nn.LogSoftmax), "mixing"),
        ):  # fmt: skip
            kind = name if isinstance(module, types) else kind
    elif node.op == "call_function":
        kind = _FUNCTIONS.get(node.target)
    elif node.op == "call_method":
        kind = _METHODS.get(str(node.target))
    if kind is None:
        raise CompressionError(
            f"operation {node.name} ({node.op} {node.target}): channels cannot be followed through it"
        )
    return kind


def _numbers(padding: Any) -> tuple[int, ...]:
    if isinstance(padding, str):
        return (0,) if padding == "valid" else (1,)
    return tuple(padding) if isinstance(padding, (tuple, list)) else (int(padding),)


def traced(model: nn.Module) -> fx.GraphModule:
    try:
        graph = fx.symbolic_trace(baked(model))
    except Exception as error:  # torch.fx raises many types; each means: not traceable
        raise CompressionError(
            f"{type(model).__name__} cannot be traced by torch.fx (control flow that depends on data?): {error}"
        ) from error
    graph.delete_all_unused_submodules()
    return graph


class _Shapes(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule):
        super().__init__(graph)
        self.found: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op != "output":
            self.found[n.name] = tuple(value.shape[1:])
        return value


def shapes_of(graph: fx.GraphModule, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape without the batch of every tensor in the graph."""
    if example.dim() < 2 or example.shape[0] < 1:
        raise CompressionError(f"the example must be (batch, ...), one sample or more, got {tuple(example.shape)}")
    runner = _Shapes(copy.deepcopy(graph).eval())
    with torch.no_grad():
        runner.run(example)
    return runner.found


# ---- on masks


def unused_path_masks(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Masks by layer without the filters that nobody reads and the channels that are always 0, exactly as the model
    computes now: a filter removed from layer n is a channel removed from layer n + 1, and the other way round.

    Channels that are constant but not 0 stay (see `silence`). `attach` keeps the masks. Raises as `Paths`.
    """
    paths = Paths(model, example, fold_constants=False)
    held = masks_of(model)
    masks = {}
    for name, reader in paths.readers.items():
        mask = held[name].cpu() if name in held else torch.ones_like(reader.weight, dtype=torch.bool)
        mask &= paths.stays[reader.outputs].view(-1, *[1] * (mask.dim() - 1))
        if not reader.grouped:
            mask &= paths.stays[reader.source].view(1, -1, *[1] * (mask.dim() - 2))
        if bool(mask.any()) and not bool(mask.all()):
            masks[name] = mask.to(reader.module.weight.device)
    return masks


def remove_unused_paths(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Mask `unused_path_masks` on the model; the masks."""
    masks = unused_path_masks(model, example)
    attach(model, masks)
    return masks


def silence(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Make filters without weights emit 0, in place: their bias, and gain and shift of the batch norm that follows, become
    0. How many by layer, where any. It changes what the model computes, by a constant a channel: retrain. Training
    moves a batch norm's shift again, so `shrink` before that. Raises as `Paths`."""
    paths = Paths(model, example)
    layers = matrix_layers(model)
    silenced: dict[str, int] = {}
    for node in paths.graph.graph.nodes:
        name = str(node.target)
        if node.op != "call_module" or name not in layers:
            continue
        layer = layers[name]
        dead = ~(layer.weight.detach() != 0).flatten(1).any(1)
        parts = [layer.bias, *_norm_after(model, paths.graph, node)]
        with torch.no_grad():
            for part in parts:
                if part is not None:
                    part[dead] = 0
        if bool(dead.any()):
            silenced[name] = int(dead.sum())
    return silenced


def _norm_after(model: nn.Module, graph: fx.GraphModule, node: fx.Node) -> list[Tensor]:
    """Gain and shift of a batch norm that is the only reader of a layer."""
    readers = list(node.users)
    if len(readers) != 1 or readers[0].op != "call_module":
        return []
    module: Any = model.get_submodule(str(readers[0].target))
    return [module.weight, module.bias] if isinstance(module, _NORMS) and module.affine else []

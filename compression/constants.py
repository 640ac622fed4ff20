"""What of a network is constant whatever comes in, in evaluation mode, such as what a filter without weights emits."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from xbar.compression.channels import BATCH_NORMS, DROPOUTS, MATRICES, SAMPLES, Channels
from xbar.compression.layered import attribute_at
from xbar.hw.graph.operators import computes_a_size, kind_of

_aten: Any = torch.ops.aten
_NEVER = ("nan_to_num", "argmax", "argmin", "isnan", "isfinite", "isinf")
_SAME_PLACE = ("activation", "cast", "add", "multiply", "divide")
_EACH = (*_SAME_PLACE, "interpolate")


class Constants:
    """Of every node of the channels' graph its elements (float64), NaN where they are not constant; None where none is."""

    def __init__(self, channels: Channels):
        self.channels = channels
        self.of: dict[str, Tensor | None] = {}
        self._sizes = channels.sizes
        was = channels.graph.training
        channels.graph.eval()
        with torch.no_grad():
            for node in channels.graph.graph.nodes:
                if node.name in channels.shapes:
                    self.of[node.name] = self._value(node)
        channels.graph.train(was)

    def zero(self, name: str) -> Tensor:
        """Where a node's tensor is always 0, bool of its shape."""
        value = self.of[name]
        return torch.zeros((), dtype=torch.bool).expand(self.channels.shapes[name]) if value is None else value == 0

    def features(self, node: str, axis: int) -> tuple[Tensor, Tensor]:
        """Of each feature along `axis` of a node's tensor: its value where that is one at all positions, else NaN; and whether it is 0."""
        value = self.of[node]
        count = self.channels.shapes[node][axis]
        if value is None:
            return torch.full((count,), torch.nan, dtype=torch.float64), torch.zeros(count, dtype=torch.bool)
        rows = value.movedim(axis, 0).reshape(count, -1)
        first = rows[:, 0]
        one = (rows == first.unsqueeze(1)).all(1)
        return torch.where(one, first, torch.nan), one & (first == 0)

    # ---- one node

    def _value(self, node: fx.Node) -> Any:
        shape = self.channels.shapes[node.name]
        if node.op == "placeholder":
            return None
        if node.op == "get_attr":
            tensor = attribute_at(self.channels.graph, str(node.target)).detach()
            return tensor.double().cpu() if tensor.is_floating_point() else None
        if node.op == "call_module":
            return self._layer(node, self.channels.graph.get_submodule(str(node.target)))
        if getattr(node.target, "__name__", "") == "getitem" or computes_a_size(node.target):
            given = self.of[node.args[0].name]  # type: ignore[union-attr]
            return None if given is None else given[node.args[1]]  # type: ignore[index]
        kind, name = kind_of(node.target), str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]
        assert kind is not None
        tensors = [each for each in node.all_input_nodes if each.name in self.of]
        if kind.name == "constant" and not tensors:
            return self._call(node).double() if not isinstance(shape, list) else None
        known = any(self.of[each.name] is not None for each in tensors)
        if name in _NEVER or not (known or "pad" in name):
            return None
        if kind.name == "product":
            return self._product(node)
        if kind.name not in (*_EACH, "move", "pool"):
            return None
        found = self._call(node)
        if kind.name in _SAME_PLACE:
            same = [each for each in tensors if _spreads(self.channels.shapes[each.name], found.shape)]
            for each in same:  # not every function makes NaN of NaN: its sign is 0
                found = torch.where(self._full(each.name).isnan(), torch.nan, found)
            for each in {"multiply": same, "divide": [each for each in same if each is tensors[0]]}.get(kind.name, []):
                found = torch.where(self._full(each.name) == 0, 0.0, found)
        return _told(found)

    def _call(self, node: fx.Node) -> Any:
        """The node's operator on what is known."""

        def operand(each: fx.Node) -> Any:
            if each.name in self._sizes:
                return self._sizes[each.name]
            if each.name in self.channels.indices:
                return self.channels.indices[each.name]
            value = self.of[each.name]
            return torch.full(self.channels.shapes[each.name], torch.nan, dtype=torch.float64) if value is None else value

        args, kwargs = fx.map_arg((node.args, node.kwargs), operand)
        kwargs = {key: value for key, value in kwargs.items() if key not in ("dtype", "memory_format", "pin_memory")}
        if node.target is _aten._to_copy.default:
            return args[0]
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _product(self, node: fx.Node) -> Tensor | None:
        """0 where each term has a factor of 0."""
        operands = [each for each in node.args if isinstance(each, fx.Node)]
        if len(operands) > 2:
            return None
        a, b = (self._full(each.name) for each in operands)
        unknown = torch.matmul(a.isnan().double(), (b != 0).double()) + torch.matmul((a != 0).double(), b.isnan().double())
        return _told(torch.where(unknown > 0, torch.nan, torch.matmul(a.nan_to_num(), b.nan_to_num())))

    def _full(self, name: str) -> Tensor:
        value = self.of[name]
        return torch.full(self.channels.shapes[name], torch.nan, dtype=torch.float64) if value is None else value

    def _layer(self, node: fx.Node, module: Any) -> Tensor | None:
        source: Any = node.args[0]
        value, shape = self.of[source.name], self.channels.shapes[node.name]
        if isinstance(module, DROPOUTS):
            return value
        if isinstance(module, MATRICES):
            return self._matrix(node, module, source)
        if isinstance(module, nn.Embedding):
            weight = module.weight.double().cpu()
            alike = (weight == weight[:1]).all(0)
            return torch.where(alike, weight[0], torch.nan).expand(shape) if bool(alike.any()) else None
        if isinstance(module, BATCH_NORMS):
            scale = (module.running_var.double() + module.eps).rsqrt()
            shift = -module.running_mean.double() * scale
            if module.affine:
                gain = module.weight.double()
                scale, shift = scale * gain, shift * gain + module.bias.double()
            scale, shift = (each.cpu().view(-1, *[1] * (len(shape) - 2)) for each in (scale, shift))
            if value is None and not bool((scale == 0).any()):
                return None
            return _told(torch.where(scale == 0, shift, self._full(source.name) * scale + shift))
        if module.weight is None:  # a layer or group norm without gain
            return None
        gain = module.weight.double().cpu()
        if not bool((gain == 0).any()):
            return None
        shift = torch.zeros_like(gain) if module.bias is None else module.bias.double().cpu()
        found = torch.where(gain == 0, shift, torch.nan)
        if isinstance(module, nn.GroupNorm):
            found = found.view(-1, *[1] * (len(shape) - 2))
        return found.expand(shape)

    def _matrix(self, node: fx.Node, module: Any, source: fx.Node) -> Tensor | None:
        matrix, shape = self.channels.matrices[str(node.target)], self.channels.shapes[node.name]
        value, linear = self.of[source.name], isinstance(module, nn.Linear)
        axis = len(shape) - 1 if linear else 1
        used = (matrix.kernels(module.weight.detach().cpu()) != 0).any(3)  # (groups, outputs, inputs)
        count = self.channels.shapes[source.name][axis if linear else 1]
        whole = torch.zeros(count, dtype=torch.bool)
        if value is not None:
            whole = ~value.movedim(axis if linear else 1, 0).reshape(count, -1).isnan().any(1)
        rows = ~(used & ~whole.view(matrix.groups, 1, -1)).any(2).flatten()
        if not bool(rows.any()):
            if value is None or not linear or bool(value.isnan().all()):
                return None
            weight = module.weight.double().cpu()  # positions that are known
            unknown = nn.functional.linear(value.isnan().double(), (weight != 0).double()) > 0
            return _told(torch.where(unknown, torch.nan, self._computed(module, value.nan_to_num())))
        told = torch.full(shape, torch.nan, dtype=torch.float64).movedim(axis, -1)
        zero = value is None or not bool((value.nan_to_num() != 0).any()) or not bool(used.flatten(0, 1)[rows].any())
        if zero:
            told[..., rows] = 0.0 if module.bias is None else module.bias.double().cpu()[rows]
        else:
            assert value is not None
            told[..., rows] = self._computed(module, value.nan_to_num()).movedim(axis, -1)[..., rows]
        return told.movedim(-1, axis)

    def _computed(self, module: Any, value: Tensor) -> Tensor:
        """A layer's result in float64, of one sample, because all are alike."""
        tensors = {name: tensor.detach().double().cpu() for name, tensor in module.named_parameters()}
        if len(value) == SAMPLES:
            found = torch.func.functional_call(module, tensors, (value[:1],))
            return found.expand(SAMPLES, *found.shape[1:])
        return torch.func.functional_call(module, tensors, (value,))


def _spreads(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` is broadcast to `whole`."""
    return len(shape) <= len(whole) and all(own in (1, side) for own, side in zip(reversed(shape), reversed(whole), strict=False))


def _told(value: Any) -> Any:
    """None where nothing is known."""
    if isinstance(value, Tensor):
        return None if bool(value.isnan().all()) else value
    return value

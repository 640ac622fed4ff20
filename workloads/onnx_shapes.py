"""Shapes of networks that onnx2torch made, as plain numbers: as they come, shapes, axes and places are tensors whose values the operators
look at, which torch.export cannot follow.

The network runs on a batch of two samples and on one of three. What follows from shapes alone and is the same in both is a constant; where
they differ it is by the batch, which stays free. Operators are then torch's own with those numbers.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

BATCHES = (2, 3)
_SHAPED = ("OnnxReshape", "OnnxExpand", "OnnxConstantOfShape")  # whose result has the shape that they are told


def with_plain_shapes(converted: fx.GraphModule, example: Tensor) -> fx.GraphModule:
    """The network, changed in place. example: (n, ...), one input. What cannot be told is left as it is, for torch.export to refuse."""
    runs = [_Recorded(converted).of(example[:1].repeat(n, *[1] * (example.dim() - 1))) for n in BATCHES]
    source = next(node for node in converted.graph.nodes if node.op == "placeholder")
    of_shapes: set[fx.Node] = set()  # computed from shapes and constants alone
    for node in converted.graph.nodes:
        if _kind(node) == "OnnxShape" or (node.op not in ("placeholder", "output") and of_shapes.issuperset(node.all_input_nodes)):
            of_shapes.add(node)
    for node in list(converted.graph.nodes):
        if node.op == "call_module" and node.args:
            _Plain(converted, node, source, runs, of_shapes).replace()
    converted.graph.eliminate_dead_code()
    converted.recompile()
    return converted


class _Recorded(fx.Interpreter):
    """What every node of a network gives."""

    def of(self, x: Tensor) -> dict[fx.Node, Any]:
        """By node, for that input."""
        self.found: dict[fx.Node, Any] = {}
        with torch.no_grad():
            self.run(x)
        return self.found

    def run_node(self, node: fx.Node) -> Any:
        """As fx has it, kept."""
        self.found[node] = super().run_node(node)
        return self.found[node]


def _kind(node: fx.Node) -> str:
    """The class of the module that a node calls; empty of other nodes."""
    return type(node.graph.owning_module.get_submodule(node.target)).__name__ if node.op == "call_module" else ""  # type: ignore[union-attr]


class _Plain:
    """One node, and what it becomes."""

    def __init__(self, converted: fx.GraphModule, node: fx.Node, source: fx.Node, runs: list[dict[fx.Node, Any]], of_shapes: set[fx.Node]):
        self.converted, self.node, self.source, self.runs, self.of_shapes = converted, node, source, runs, of_shapes
        self.graph = converted.graph

    def replace(self) -> None:
        """Put torch's own function in the node's place, where it is told by constants."""
        module: Any = self.converted.get_submodule(str(self.node.target))
        kind = type(module).__name__
        if self.node in self.of_shapes and kind not in _SHAPED:
            return self._hold()
        with self.graph.inserting_before(self.node):
            if kind == "_Recurrent":
                if all(isinstance(each, fx.Node) and self._is_zero(each) for each in self.node.args[1:]):
                    self.node.args = self.node.args[:1]  # as it begins by itself
                return
            plain = self._told(kind, module)
        if plain is not None:
            for run in self.runs:
                run[plain] = run[self.node]
            self.node.replace_all_uses_with(plain)
            self.graph.erase_node(self.node)

    def _hold(self) -> None:
        """Put a constant in place of what is one, where something else than shapes is computed of it."""
        held = self._constant(self.node)
        users = [user for user in self.node.users if user not in self.of_shapes]
        if not isinstance(held, Tensor) or not users:
            return
        name = f"constant_{len(list(self.converted.buffers(recurse=False)))}"
        self.converted.register_buffer(name, held.detach().clone())
        with self.graph.inserting_before(self.node):
            constant = self.graph.get_attr(name)
        for user in users:
            user.replace_input_with(self.node, constant)
        self.of_shapes.add(constant)
        for run in self.runs:
            run[constant] = held

    def _told(self, kind: str, module: Any) -> fx.Node | None:
        first, *rest = self.node.args
        x: Any = first
        if kind in _SHAPED:
            return self._shaped(kind, module, x)
        if kind == "OnnxGather" and module._axis == 0 and x in self.of_shapes and rest[0] not in self.of_shapes:
            return self.graph.call_function(nn.functional.embedding, (rest[0], x))  # rows of a table, by tokens
        given = [self._constant(each) for each in rest]
        if kind == "OnnxResize":
            named = dict(zip(("roi", "scales", "sizes"), given, strict=False))
            return self._resized(x, module, named | {name: self._constant(each) for name, each in self.node.kwargs.items()})
        if not given or given[0] is None:
            return None
        told: list[Any] = [None if each is None else each.tolist() for each in given]
        match kind:
            case "OnnxGather" if given[0].dim() == 0:
                return self.graph.call_function(torch.select, (x, module._axis, told[0]))
            case "OnnxSqueezeDynamicAxes":
                return self.graph.call_function(torch.squeeze, (x, tuple(told[0])))
            case "OnnxUnsqueezeDynamicAxes":
                for axis in sorted(each % (self._rank(x) + len(told[0])) for each in told[0]):
                    x = self.graph.call_function(torch.unsqueeze, (x, axis))
                return x
            case "OnnxSplit13":
                return self.graph.call_function(torch.split, (x, told[0], module.axis))
            case "OnnxTile":
                return self.graph.call_method("repeat", (x, *told[0]))
            case "OnnxSlice":
                return self._sliced(x, *told)
            case "OnnxPadDynamic" if module.mode == "constant":
                half = len(told[0]) // 2
                pads = [n for axis in reversed(range(half)) for n in (told[0][axis], told[0][half + axis])]
                return self.graph.call_function(nn.functional.pad, (x, pads, "constant", told[1] if len(told) > 1 and told[1] else 0.0))
            case "OnnxReduceSumDynamicAxes" if told[0]:
                return self.graph.call_function(torch.sum, (x, told[0]), {"keepdim": bool(module._keepdims)})
        return None

    def _shaped(self, kind: str, module: Any, x: Any) -> fx.Node | None:
        """What has the shape that it is told."""
        sizes = self._sizes() if self.node.args[-1] in self.of_shapes else None
        if sizes is None:
            return None
        if kind == "OnnxConstantOfShape":
            return self.graph.call_function(torch.full, (sizes, module.value.item()), {"dtype": module.value.dtype})
        if kind == "OnnxReshape":  # the one size that the batch decides follows from the others
            return self.graph.call_function(torch.reshape, (x, tuple(-1 if isinstance(n, fx.Node) else n for n in sizes)))
        return self.graph.call_method("expand", (x, *sizes))

    def _sliced(self, x: Any, starts: list[int], ends: list[int], axes: list[int] | None = None, steps: list[int] | None = None) -> Any:
        """Ranges of axes; None where one runs backwards."""
        steps = steps or [1] * len(starts)
        if min(steps) < 1:
            return None
        rank = self._rank(x)
        where = [slice(None)] * rank
        for axis, start, end, step in zip(axes or range(len(starts)), starts, ends, steps, strict=True):
            most = 2**31  # ONNX writes the largest integer for "to the end"
            where[axis % rank] = slice(max(start, -most), end if abs(end) < most else None, step)
        return self.graph.call_function(operator.getitem, (x, tuple(where)))

    def _resized(self, x: Any, module: Any, told: dict[str, Any]) -> Any:
        """Interpolation by factors, or to sizes, of all but the first two axes."""
        rank = self._rank(x) - 2
        mode = {"nearest": "nearest", "linear": ("linear", "bilinear", "trilinear")[rank - 1], "cubic": "bicubic"}[module.onnx_mode]
        how: dict[str, Any] = {"mode": mode} | ({} if mode == "nearest" else {"align_corners": module.align_corners})
        scales, sizes = (None if told.get(name) is None else told[name].tolist() for name in ("scales", "sizes"))
        if bool(scales) == bool(sizes) or (scales and scales[:2] != [1, 1]):
            return None
        how |= {"scale_factor": scales[2:]} if scales else {"size": sizes[2:]}
        return self.graph.call_function(nn.functional.interpolate, (x,), how)

    def _rank(self, node: fx.Node) -> int:
        return int(self.runs[0][node].dim())

    def _sizes(self) -> tuple[Any, ...] | None:
        """The result's shape, the batch as it comes; None where more than one size, or another than the batch, follows it."""
        two, three = (tuple(run[self.node].shape) for run in self.runs)
        if len(two) != len(three) or sum(a != b for a, b in zip(two, three, strict=True)) > 1:
            return None
        if two == three:
            return two
        if _kind(self.node) != "OnnxReshape" and not all(a == b or (a, b) == BATCHES for a, b in zip(two, three, strict=True)):
            return None
        batch = self.graph.call_method("size", (self.source, 0))
        return tuple(a if a == b else batch for a, b in zip(two, three, strict=True))

    def _constant(self, given: Any) -> Any:
        """A tensor that follows from shapes and is the same whatever the batch; None of others, and of what is left out."""
        if given is None or given not in self.of_shapes:
            return None
        two, three = (run[given] for run in self.runs)
        return two if isinstance(two, Tensor) and two.shape == three.shape and bool((two == three).all()) else None

    def _is_zero(self, given: fx.Node) -> bool:
        return given in self.of_shapes and all(not bool(run[given].any()) for run in self.runs)

"""Shapes of networks that onnx2torch made, as plain numbers: as they come, shapes, axes and places are tensors whose values the operators
look at, which torch.export cannot follow.

The network runs on batches of several sizes, and what follows from shapes alone for further sizes without it. What is the same for all of
them is a constant; where sizes differ it is by the batch, which stays free. Operators are then torch's own with those numbers; what follows
the batch otherwise is told by name.
"""

import inspect
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from xbar.workloads.exported import first_line
from xbar.workloads.onnx_operators import OnnxNodeError

BATCHES, FURTHER = (1, 2, 5), (3, 8, 97)  # run; for shapes alone, where a size that is halved or limited shows
_SHAPED = ("OnnxReshape", "OnnxExpand", "OnnxConstantOfShape")  # whose result has the shape that they are told
_NUMBERS = (*_SHAPED, "OnnxTile", "OnnxSlice", "Split", "Pad", "Resize")  # which need numbers, not tensors
_LARGEST = 2**31  # ONNX writes the largest integers for "to the end"

Run = dict[fx.Node, Any]  # what nodes give; only the shape of what follows from values


def samples(example: Tensor, n: int) -> Tensor:
    """So many samples of the example, over and over."""
    return example[torch.arange(n) % len(example)]


def with_plain_shapes(converted: fx.GraphModule, example: Tensor) -> tuple[fx.GraphModule, list[tuple[Tensor, Any]]]:
    """The network, changed in place, and batches of several sizes with what it gave for them before. example: (n, ...), one input. Raises
    OnnxNodeError for numbers that cannot be told."""
    source = next(node for node in converted.graph.nodes if node.op == "placeholder")
    of_shapes: set[fx.Node] = set()  # computed from shapes and constants alone
    for node in converted.graph.nodes:
        if _kind(node) == "OnnxShape" or (node.op not in ("placeholder", "output") and of_shapes.issuperset(node.all_input_nodes)):
            of_shapes.add(node)
    batches = [samples(example, n) for n in BATCHES]
    runs = [_Recorded(converted, of_shapes).of(x) for x in batches]
    seen = [(x, run[node]) for x, run in zip(batches, runs, strict=True) for node in run if node.op == "output"]
    runs += [_OfShapes(converted, of_shapes, runs, n).of(example) for n in FURTHER]
    for node in list(converted.graph.nodes):
        if node.op == "call_module" and node.all_input_nodes:
            with _named(node):
                _Plain(converted, node, source, runs, of_shapes).replace()
    converted.graph.eliminate_dead_code()
    converted.recompile()
    return converted, seen


def program_of(converted: fx.GraphModule, example: Tensor) -> torch.export.ExportedProgram:
    """The network of torch.export with a free batch axis. Raises OnnxNodeError for a node that it cannot follow, or what it raises."""
    given: dict[str, Any] = {"args": (samples(example, 2),), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    try:
        return torch.export.export(converted, **given)
    except Exception:  # which does not tell the node
        torch.export.export(_Named(converted), **given)
        raise


class _Named(nn.Module):
    """A network that tells the node at which it fails."""

    def __init__(self, converted: fx.GraphModule):
        super().__init__()
        self.converted = converted

    def forward(self, x: Tensor) -> Any:
        """As the network has it."""
        return _Recorded(self.converted, set(self.converted.graph.nodes)).run(x)


@contextmanager
def _named(node: fx.Node) -> Iterator[None]:
    """A block in which what goes wrong is told with the node's kind and name."""
    try:
        yield
    except OnnxNodeError:
        raise
    except Exception as error:  # of onnx2torch and torch
        kind = re.sub("^Onnx|(Static|Dynamic|Axes|V?[0-9]+)+$", "", _kind(node)) or node.op
        raise OnnxNodeError(f"{kind} of {node.target}: {first_line(error)}") from error


class _Recorded(fx.Interpreter):
    """What every node of a network gives."""

    def __init__(self, converted: fx.GraphModule, of_shapes: set[fx.Node]):
        super().__init__(converted)
        self.of_shapes = of_shapes
        self.found: Run = {}

    def of(self, x: Tensor) -> Run:
        """By node, for that input."""
        with torch.no_grad():
            self.run(x)
        return self.found

    def run_node(self, node: fx.Node) -> Any:
        """As fx has it, kept."""
        with _named(node):
            found = super().run_node(node)
        whole = node in self.of_shapes or node.op == "output" or not isinstance(found, Tensor) or not found.is_floating_point()
        self.found[node] = found if whole else torch.empty_like(found, device="meta")
        return found


class _OfShapes(_Recorded):
    """What follows from shapes alone for a batch of another size, where those of `runs` are in proportion to it or constant."""

    def __init__(self, converted: fx.GraphModule, of_shapes: set[fx.Node], runs: list[Run], n: int):
        super().__init__(converted, of_shapes)
        self.runs, self.n = runs, n

    def run_node(self, node: fx.Node) -> Any:
        """Shapes as they would be; None of values."""
        if node not in self.of_shapes:
            return None
        if _kind(node) != "OnnxShape" or node.args[0] in self.of_shapes:
            return super().run_node(node)
        with _named(node):
            first, *others = (run[node] for run in self.runs)
            by_sample = others[0] - first
            if any(not torch.equal(other, first + (n - 1) * by_sample) for n, other in zip(BATCHES[1:], others, strict=True)):
                raise ValueError("sizes that follow the batch otherwise than in proportion to it")
            self.found[node] = first + (self.n - 1) * by_sample
        return self.found[node]


def _kind(node: fx.Node) -> str:
    """The class of the module that a node calls; empty of other nodes."""
    return type(node.graph.owning_module.get_submodule(node.target)).__name__ if node.op == "call_module" else ""  # type: ignore[union-attr]


class _Plain:
    """One node, and what it becomes."""

    def __init__(self, converted: fx.GraphModule, node: fx.Node, source: fx.Node, runs: list[Run], of_shapes: set[fx.Node]):
        self.converted, self.node, self.source, self.runs, self.of_shapes = converted, node, source, runs, of_shapes
        self.graph = converted.graph

    def replace(self) -> None:
        """Put torch's own function in the node's place, where it is told by constants."""
        module: Any = self.converted.get_submodule(str(self.node.target))
        kind = type(module).__name__
        by_shapes = self.node in self.of_shapes
        if by_shapes and kind not in _SHAPED and self._constant(self.node) is not None:
            return self._hold()
        with self.graph.inserting_before(self.node):
            if kind == "_Recurrent":
                if all(self._is_zero(each) for each in self.node.all_input_nodes[1:]):
                    self.node.args, self.node.kwargs = self.node.args[:1], {}  # as it begins by itself
                return
            try:
                plain = self._told(kind, module)
            except ValueError:
                if not by_shapes:  # what is made of it alone may be a constant again
                    raise
                plain = None
        if plain is None:
            if kind in _NUMBERS and not by_shapes:
                raise ValueError("numbers that follow from values, or from the batch otherwise than as its size")
            return
        for run in self.runs:
            if self.node in run:
                run[plain] = run[self.node]
        if by_shapes:
            self.of_shapes.add(plain)
        self.node.replace_all_uses_with(plain)
        self.graph.erase_node(self.node)

    def _hold(self) -> None:
        """Put a constant in place of what is one, where something else than shapes is computed of it."""
        held = self._constant(self.node)
        users = [user for user in self.node.users if user not in self.of_shapes]
        if held is None or not users:
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
        call = self.graph.call_function
        if kind in _SHAPED:
            return self._shaped(kind, module, x)
        if kind == "OnnxGather" and module._axis == 0 and rest[0] not in self.of_shapes and (table := self._constant(x)) is not None:
            if table.dim() == 2 and not any(bool((run[rest[0]] < 0).any()) for run in self.runs if rest[0] in run):
                return call(nn.functional.embedding, (rest[0], x))  # rows of a table, by tokens
            return call(operator.getitem, (x, rest[0]))  # negative places are from the end
        if kind == "Resize":
            return call(nn.functional.interpolate, (x,), self._resized(module, x))
        if kind == "Split":
            (size,) = {run[x].shape[module.axis] for run in self.runs if x in run} or {0}
            return call(torch.split, (x, module.of(size, self._numbers("split")), module.axis))
        if kind == "Pad":
            given = {name: self._numbers(name) for name in ("pads", "value", "axes")}
            return call(nn.functional.pad, (x, *module.how(self._rank(x), *given.values())))
        if kind == "OnnxTile":
            return self._tiled(x)
        if kind == "OnnxSlice":
            names = ("starts", "ends", "axes", "steps")
            return self._sliced(x, *(self._numbers(name) for name in names))
        told = self._constant(rest[0]) if rest else None
        if told is None:
            return None
        if kind == "OnnxGather" and told.dim() == 0:
            return call(torch.select, (x, module._axis, told.item()))
        return None

    def _given(self, name: str) -> fx.Node | None:
        """An input by its name; None of one that is left out."""
        names = list(inspect.signature(self.converted.get_submodule(str(self.node.target)).forward).parameters)
        found: Any = (dict(zip(names, self.node.args, strict=False)) | self.node.kwargs).get(name)
        return found

    def _numbers(self, name: str, skip: int = 0) -> list[Any] | None:
        """An input's constant numbers, without the first; None of one that is left out. Raises ValueError for what is no constant."""
        given = self._given(name)
        if given is None:
            return None
        found = self._constant(given, skip)
        if found is None:
            raise ValueError(f"{name} that follow from values, or from the size of the batch")
        return list(found.flatten().tolist())

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

    def _tiled(self, x: Any) -> fx.Node | None:
        """Copies along axes, as many as there are samples where that is what they are in all runs."""
        given = self._given("repeats")
        if given not in self.of_shapes:
            return None
        axes = list(zip(*(run[given].tolist() for run in self.runs), strict=True))
        if any(len(set(each)) > 1 and each != (*BATCHES, *FURTHER) for each in axes):
            return None
        times = [each[0] if len(set(each)) == 1 else self.graph.call_method("size", (self.source, 0)) for each in axes]
        return self.graph.call_method("repeat", (x, *times))

    def _sliced(self, x: Any, starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None) -> fx.Node:
        """Ranges of axes; those that run backwards are turned first."""
        rank = self._rank(x)
        where, turned = [slice(None)] * rank, []
        for axis, start, end, step in zip(axes or range(len(starts)), starts, ends, steps or [1] * len(starts), strict=True):
            start, end = max(start, -_LARGEST), max(end, -_LARGEST)
            if step > 0:
                where[axis % rank] = slice(start, end if end < _LARGEST else None, step)
                continue
            sizes = {run[x].shape[axis] for run in self.runs if x in run}
            backwards = [slice(start, end if end > -_LARGEST else None, step).indices(n) for n in sizes]
            turned.append(axis % rank)
            if any(each != (n - 1, -1, -1) for each, n in zip(backwards, sizes, strict=True)):  # not the whole axis
                ((size, (begin, stop, step)),) = zip(sizes, backwards, strict=True)
                where[axis % rank] = slice(size - 1 - begin, size - 1 - stop, -step)
        if turned:
            x = self.graph.call_function(torch.flip, (x, turned))
        return self.graph.call_function(operator.getitem, (x, tuple(where)))

    def _resized(self, module: Any, x: fx.Node) -> dict[str, Any]:
        """How all but the first two axes are interpolated."""
        (given,) = {tuple(run[x].shape[2:]) for run in self.runs if x in run}
        how: dict[str, Any] = module.how(list(given), self._numbers("scales", 2), self._numbers("sizes", 2))
        return how

    def _rank(self, node: fx.Node) -> int:
        """How many axes there are, whatever the batch."""
        (rank,) = {run[node].dim() for run in self.runs if node in run}
        return int(rank)

    def _sizes(self) -> tuple[Any, ...] | None:
        """The result's shape, the batch as it comes; None where more than one size, or another than the batch, follows it."""
        told = [run[self.node.args[-1]] for run in self.runs]
        by_sample = told[1] - told[0]
        if any(not torch.equal(each, told[0] + (n - 1) * by_sample) for n, each in zip((*BATCHES, *FURTHER), told, strict=True)):
            return None
        found = [tuple(run[self.node].shape) for run in self.runs[: len(BATCHES)]]
        if len({len(each) for each in found}) > 1:
            return None
        axes = list(zip(*found, strict=True))
        varied = [each for each in axes if len(set(each)) > 1]
        if len(varied) > 1 or (varied and _kind(self.node) != "OnnxReshape" and varied[0] != BATCHES):
            return None
        batch = self.graph.call_method("size", (self.source, 0)) if varied else None
        return tuple(each[0] if len(set(each)) == 1 else batch for each in axes)

    def _constant(self, given: Any, skip: int = 0) -> Tensor | None:
        """A tensor that follows from shapes and is the same whatever the batch, without its first values; None of others, and of what is
        left out."""
        if given is None or given not in self.of_shapes:
            return None
        first, *others = (run[given][skip:] if skip else run[given] for run in self.runs)
        same = isinstance(first, Tensor) and all(_equal(first, other) for other in others)
        return first if same else None

    def _is_zero(self, given: fx.Node) -> bool:
        return given in self.of_shapes and all(not bool(run[given].any()) for run in self.runs)


def _equal(a: Tensor, b: Tensor) -> bool:
    """True of tensors of the same values, NaN too."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())

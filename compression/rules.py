"""What each operator does with labels of channels; layers with weights apart (`xbar.compression.channels`)."""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from xbar.compression.labels import MOST_LABELLED, Read, compact, varying
from xbar.hw.graph.operators import kind_of

if TYPE_CHECKING:
    from xbar.compression.channels import Channels


def _moved(channels: "Channels", node: fx.Node) -> Any:
    """Views, slices, concatenations, ...: the operator itself, on labels."""
    places = kind_of(node.target).indices  # type: ignore[union-attr]
    indices = {id(each) for place in places for each in _nodes(node.args[place] if len(node.args) > place else None)}

    def operand(each: fx.Node) -> Any:
        return channels.real[each] if id(each) in indices or each.name not in channels.values else channels.of(each)

    args, kwargs = fx.map_arg((node.args, node.kwargs), operand)
    name = str(node.target.overloadpacket.__name__)  # type: ignore[union-attr]
    if name in ("slice_scatter", "select_scatter", "copy"):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if name.startswith(("upsample", "_upsample")):
        return _pooled(channels, node)
    if "pad" in name:
        return _padded(channels, node)
    if name in ("tril", "triu"):
        return channels.of(node.args[0])  # type: ignore[arg-type]
    if name in ("_to_copy", "to", "type_as", "float"):
        return channels.of(node.args[0])  # type: ignore[arg-type]
    if name == "im2col":
        return node.target(args[0].double(), *args[1:], **kwargs).long()  # type: ignore[operator]
    kwargs = {key: value for key, value in kwargs.items() if key != "memory_format"}
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _padded(channels: "Channels", node: fx.Node) -> Tensor:
    """Zeros in space are of the channel there; those beside channels are channels of their own."""
    labels, widths = channels.of(node.args[0]), list(node.args[1])  # type: ignore[arg-type]
    mode = (node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")) if "pad" in _name(node) else "constant"
    if _name(node) not in ("pad", "constant_pad_nd") or (_name(node) == "pad" and mode != "constant"):
        axes = [labels.dim() - 1 - i for i in range(len(widths) // 2) if any(widths[2 * i : 2 * i + 2])]
        labels = channels.along(labels, [a for a in range(labels.dim()) if a not in axes])
        return labels.expand(channels.shape(node)).clone()
    for place in range(len(widths) // 2):
        axis, (low, high) = labels.dim() - 1 - place, widths[2 * place : 2 * place + 2]
        labels = labels.narrow(axis, max(0, -low), labels.shape[axis] - max(0, -low) - max(0, -high))
        for count, before in ((max(0, low), True), (max(0, high), False)):
            if not count:
                continue
            if axis in varying(labels):
                sides = [1 if a not in varying(labels) else s for a, s in enumerate(labels.shape)]
                sides[axis] = count
                added = channels.new((node.name, place, before), *sides)
            else:
                added = labels.narrow(axis, 0, 1)
            added = added.expand([count if a == axis else s for a, s in enumerate(labels.shape)])
            labels = torch.cat([added, labels] if before else [labels, added], axis)
    return labels


def _made(channels: "Channels", node: fx.Node) -> Tensor:
    """Values made from no operand: channels by what they meet, or as those that they are made like."""
    shape, tensors = channels.shape(node), channels.tensors(node)
    if tensors and channels.shape(tensors[0]) == shape:
        return channels.of(tensors[0])
    told = channels.real[node].is_floating_point() and len(shape) and prod(shape) <= MOST_LABELLED
    return channels.new(node.name, *shape) if told else fixed(shape)


def _each(channels: "Channels", node: fx.Node) -> Tensor:
    """Element by element: what meets is tied, along the axes that channels differ along."""
    shape, tensors = channels.shape(node), list(dict.fromkeys(channels.tensors(node)))
    wide = {each: (1,) * (len(shape) - len(channels.shape(each))) + channels.shape(each) for each in tensors}
    moving = [each for each in tensors if channels.values[each.name] is not None]
    given = {each: channels.of(each).view(wide[each]) for each in moving}
    if not given:
        return _made(channels, node)
    spread = {each: set(varying(labels)) for each, labels in given.items()}
    base = max(moving, key=lambda each: (len(spread[each]), prod(wide[each])))
    axes = sorted(set().union(*spread.values()))
    if any(wide[base][axis] == 1 and shape[axis] > 1 for axis in axes):  # an outer sum of channels
        for labels in given.values():
            channels.labels.fix(labels)
        return fixed(shape)
    result = given[base].expand(shape)
    for each in tensors:
        if each is base:
            continue
        aligned = [axis for axis in axes if wide[each][axis] > 1 or shape[axis] == 1]
        if len(aligned) == len(axes):
            _meets(channels, each, result, wide[each])
        elif aligned:
            _meets_rows(channels, each, result, wide[each], aligned)
    return channels.labels.find(result)


def _meets(channels: "Channels", operand: fx.Node, result: Tensor, wide: tuple[int, ...]) -> None:
    """An operand with an element for each channel of the result."""
    for axis, side in enumerate(wide):
        if side == 1:
            result = result.narrow(axis, 0, 1)
    if channels.values[operand.name] is None and not channels.real[operand].is_floating_point():
        return
    labels = result.expand(wide).reshape(channels.shape(operand))
    if operand.op == "get_attr":
        if labels.numel() > 1:
            channels.use(operand, labels.clone())
    else:
        channels.labels.tie(channels.of(operand), labels)


def _meets_rows(channels: "Channels", operand: fx.Node, result: Tensor, wide: tuple[int, ...], rows: list[int]) -> None:
    """An operand with one element for several channels, such as a head's: it goes when all of them do."""
    own = channels.of(operand).view(wide)
    rest = [axis for axis in varying(result) if axis not in rows]
    channels.link(result, rows, rest, [(own, rows, [])])


def _reduced(channels: "Channels", node: fx.Node) -> Any:
    """A sum or mean over channels rests on all of them; over anything else it is of the channel."""
    source = node.args[0]
    labels = channels.of(source)  # type: ignore[arg-type]
    axes, mixed, rest = _over(channels, node, labels)
    if not mixed:
        return _shortened(channels, node, labels, axes)
    if _name(node) not in ("sum", "mean"):
        return channels.unknown(node)
    found = _row_labels(channels, node, labels, rest, mixed)
    channels.reads.append(Read(node.name, rows_of(labels, rest, mixed), rows_of(found, rest, []), [(source.name, rest, mixed)]))  # type: ignore[union-attr]
    return _shortened(channels, node, found.expand(labels.shape), axes)


def _row_labels(channels: "Channels", node: fx.Node, labels: Tensor, rest: list[int], mixed: list[int]) -> Tensor:
    """Labels of what is made of whole rows, with an axis of 1 for each that went."""
    if not rest:
        return fixed((1,) * labels.dim())
    found = channels.new(node.name, *(side if axis in rest else 1 for axis, side in enumerate(labels.shape)))
    channels.link(labels, rest, mixed, [(found, rest, [])])
    return found


def _over(channels: "Channels", node: fx.Node, labels: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Axes that a reduction runs over; of the axes that channels differ along those, and the others."""
    place = 2 if _name(node) == "linalg_vector_norm" else 1
    given = node.args[place] if len(node.args) > place else node.kwargs.get("dim")
    if _name(node) in ("max", "min") and not isinstance(given, int):
        given = None
    dims = list(range(labels.dim())) if given is None or given == [] else [given] if isinstance(given, int) else list(given)  # type: ignore[call-overload]
    axes = sorted(axis % max(1, labels.dim()) for axis in dims)
    spread = varying(labels)
    return axes, [a for a in spread if a in axes], [a for a in spread if a not in axes]


def _shortened(channels: "Channels", node: fx.Node, labels: Tensor, axes: list[int]) -> Any:
    """Labels of a result that lacks axes, or has them of length 1."""
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    shapes = channels.shapes[node.name]
    return [labels.reshape(each) for each in shapes] if isinstance(shapes, list) else labels.reshape(shapes)


def _softmax(channels: "Channels", node: fx.Node) -> Tensor:
    """Rests on its row; over channels none can go, because those that are 0 count."""
    labels = channels.of(node.args[0])  # type: ignore[arg-type]
    axis = int(node.args[1]) % labels.dim()  # type: ignore[arg-type]
    if axis in varying(labels):
        channels.labels.fix(labels)
    return channels.labels.find(labels)


def _pooled(channels: "Channels", node: fx.Node) -> Any:
    """Windows in space: of one channel, so labels that differ there are tied."""
    shapes = channels.shapes[node.name]
    shape = shapes[0] if isinstance(shapes, list) else shapes
    labels = channels.of(node.args[0])  # type: ignore[arg-type]
    found = channels.along(labels, [a for a in range(labels.dim()) if a < labels.dim() - _dimensions(_name(node))]).expand(shape)
    return [found for _ in shapes] if isinstance(shapes, list) else found


def _gated(channels: "Channels", node: fx.Node) -> Tensor:
    """One half times the gate of the other."""
    axis = int(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", -1))  # type: ignore[arg-type]
    first, second = channels.of(node.args[0]).chunk(2, axis)  # type: ignore[arg-type]
    channels.labels.tie(first, second)
    return channels.labels.find(first)


def _prelu(channels: "Channels", node: fx.Node) -> Tensor:
    """A slope for each channel, or one."""
    labels, weight = channels.of(node.args[0]), node.args[1]  # type: ignore[arg-type]
    if prod(channels.shape(weight)) > 1:  # type: ignore[arg-type]
        channels.use(weight, channels.along(labels, [1]).reshape(channels.shape(weight)))  # type: ignore[arg-type]
    return channels.labels.find(labels)


def _product(channels: "Channels", node: fx.Node) -> Tensor:
    """A product of two activations: labels along the axis that is summed are tied, others carried."""
    operands = [each for each in node.args if isinstance(each, fx.Node)]
    first, second = operands[-2:]
    sides = [channels.shape(first), channels.shape(second)]
    if any(len(side) < 2 for side in sides):
        return channels.unknown(node)
    lead = torch.broadcast_shapes(sides[0][:-2], sides[1][:-2])
    n = len(lead)
    a, b = (channels.of(each).view((1,) * (n + 2 - len(side)) + side) for each, side in zip((first, second), sides, strict=True))
    a, b = (channels.along(each, [*range(n), axis]) if n + summed in varying(each) else each  # a summed axis: its labels alone
            for each, axis, summed in ((a, n + 1, 1), (b, n, 0)))  # fmt: skip
    if n + 1 in varying(a) or n in varying(b) or a.shape[n + 1] == 1 == b.shape[n]:
        wide = max(a.shape[n + 1], b.shape[n])
        if wide > 1:
            channels.labels.tie(a[..., :1, :], b[..., :1].transpose(-1, -2))
    a, b = channels.labels.find(a), channels.labels.find(b)
    for axis in range(n):  # an axis that only one differs along: the other would keep its rows
        for one, other in ((a, b), (b, a)):
            if axis in varying(one) and axis not in varying(other) and other.shape[axis] > 1:
                one_, rest = one, [x for x in varying(one) if x != axis]
                channels.labels.tie(one_, one_.narrow(axis, 0, 1)) if rest else channels.labels.fix(one_)
    a, b = channels.labels.find(a), channels.labels.find(b)
    rows = sorted({axis for axis in (*varying(a), *varying(b)) if axis < n})
    left, right = n in varying(a), n + 1 in varying(b)
    summed = n + 1 in varying(a)
    if left and right:
        channels.labels.fix(a)
        channels.labels.fix(b)
        return fixed(channels.shape(node))
    shape = [*lead, sides[0][-2], sides[1][-1]]
    if left or right:
        carried = a[..., :1] if left else b[..., :1, :]
        result = carried.expand(shape)
    elif rows:
        result = channels.new(node.name, *(side if axis in rows else 1 for axis, side in enumerate(shape))).expand(shape)
    else:
        result = fixed(tuple(shape))
    if rows:
        apart = [(each, rows, [x for x in varying(each) if x not in rows]) for each in (a, b) if set(rows) <= set(varying(each))]
        channels.link(result, rows, [n] if left else [n + 1] if right else [], apart)
    if summed:
        outputs = rows_of(result, rows, [x for x in varying(result) if x not in rows])
        places = [(first.name, [x - n - 2 for x in rows], [-1]), (second.name, [x - n - 2 for x in rows], [-2])]
        inputs = a.expand(*lead, 1, a.shape[-1]) if a.shape[n] == 1 else a
        channels.reads.append(Read(node.name, rows_of(inputs, rows, [n + 1]), outputs, places))
    if len(operands) == 3:
        added = channels.of(operands[0])
        channels.labels.tie(added.expand(channels.shape(node)), result.reshape(channels.shape(node)))
    return channels.labels.find(result.reshape(channels.shape(node)))


def rows_of(labels: Tensor, rows: list[int], rest: list[int]) -> Tensor:
    """Labels as (rows, m): those axes first, then the rest; others are of one label."""
    labels = compact(labels, [*rows, *rest])
    others = [axis for axis in range(labels.dim()) if axis not in (*rows, *rest)]
    ordered = labels.permute(*rows, *rest, *others)
    return ordered.reshape(prod(labels.shape[axis] for axis in rows), -1)


def fixed(shape: Any) -> Tensor:
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


RULES: dict[str, Callable[["Channels", fx.Node], Any]] = {
    "move": _moved, "cast": _moved, "constant": _made, "activation": _each,
    "add": _each, "multiply": _each, "divide": _each, "compare": _each,
    "glu": _gated, "prelu": _prelu, "_prelu_kernel": _each, "softmax": _softmax,
    "cumsum": _softmax, "product": _product, "interpolate": _pooled, "fill": _made,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "max", "min", "argmax", "argmin", "var", "std", "linalg_vector_norm"),
                    _reduced),
    "pool": _pooled,
}  # fmt: skip

"""Every operator that a network may hold: what it computes is torch's; here stands what each result rests on, and what it
costs on the digital unit of a tile.

One entry a kind. `reach` answers what rests on what: given, for each operand, a number at each element, the largest number
among the elements that each result rests on (0: none). Given which sample an element is of, that tells which sample a result
is of; given how many vectors of a layer must be done before an element exists, when a result can exist. `work` counts actions
of the digital unit by component, for all results together.

Conventions of the counts (ours): one pass of a value through the table of the activation unit for any function of one value
(also exponential, logarithm, reciprocal, reciprocal root); an adder for a sum or difference; a comparator (`pool`) for a
comparison or a value pooled; a multiplier for a product with another value or a constant; `product` for a multiply-accumulate
of two activations. A softmax takes its largest value away, sums exponentials, takes the logarithm of the sum away and
exponentiates: comparisons, additions, table look-ups and no division.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_aten: Any = torch.ops.aten

Work = dict[str, float]  # component of the digital unit -> actions


@dataclass(frozen=True)
class Call:
    """One operator at work: its target, its arguments with numbers for tensors, and the shape of its result."""

    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its place or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def tensors(self) -> list[Tensor]:
        """Tensors among the arguments, in lists too."""
        return list(_tensors((self.args, tuple(self.kwargs.values()))))

    @property
    def results(self) -> int:
        """Elements of the result."""
        return prod(self.shape)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


@dataclass(frozen=True)
class Kind:
    """A kind of operator. moves: its results are its operands' values, elsewhere. sums: operands from several layers meet at
    one of them. indices: places of arguments that say where to read, which no activation may decide."""

    name: str
    reach: Callable[[Call], Any]
    work: Callable[[Call], Work] = lambda call: {}
    moves: bool = False
    sums: bool = False
    indices: tuple[int, ...] = ()


# ---- what rests on what


def _moved(call: Call) -> Any:
    """The same movement of the numbers, which need not lie in memory as the values do."""
    if call.target is _aten.view_copy.default:
        return call.args[0].reshape(list(call.args[1]))
    return call.target(*call.args, **call.kwargs)


def _padded(call: Call) -> Tensor:
    """Zeros come from nowhere; reflected, replicated and wrapped values from where they lie."""
    mode = call.argument(2, "mode", "constant") if call.target is _aten.pad.default else "constant"
    return F.pad(call.args[0], list(call.args[1]), mode) if mode != "constant" else F.pad(call.args[0], list(call.args[1]))


def _each(call: Call) -> Tensor:
    """Element by element, over operands of one shape or broadcast."""
    operands = [tensor for tensor in call.tensors if tensor.dim() or len(call.tensors) == 1]
    largest = reduce(torch.maximum, operands) if operands else torch.zeros(())
    return largest if tuple(largest.shape) == call.shape else largest.expand(call.shape)


def _nothing(call: Call) -> Tensor:
    """Values made from no operand."""
    return torch.zeros(()).expand(call.shape)


def _filled(call: Call) -> Tensor:
    """One value everywhere."""
    return call.args[1].expand(call.shape) if isinstance(call.args[1], Tensor) else _nothing(call)


def _along(tensor: Tensor, dims: Any, keep: bool) -> Tensor:
    dims = list(range(tensor.dim())) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    return tensor.amax(dims, keepdim=keep)


def _reduced(position: int = 1) -> Callable[[Call], Tensor]:
    """Over the axes that the argument at `position` names, all where there is none."""

    def reach(call: Call) -> Tensor:
        found = _along(call.args[0], call.argument(position, "dim"), keep=False)
        return found.reshape(call.shape)

    return reach


def _extreme(call: Call) -> Any:
    """Largest or smallest along one axis, or of all: values alone, or values and where they lie."""
    found = _along(call.args[0], call.argument(1, "dim"), bool(call.argument(2, "keepdim", False)))
    return found if call.target in (_aten.max.default, _aten.min.default, _aten.argmax.default, _aten.argmin.default) else (found, found)


def _rows(dims: Callable[[Call], list[int]]) -> Callable[[Call], Tensor]:
    """Each result rests on all of its row."""

    def reach(call: Call) -> Tensor:
        tensor = call.args[0]
        return tensor.amax(dims(call), keepdim=True).expand(tensor.shape)

    return reach


def _last(call: Call) -> list[int]:
    """The axes that a layer norm runs over."""
    return list(range(-len(call.args[1]), 0))


def _grouped(call: Call) -> Tensor:
    """A group norm: the channels of a group, at all positions."""
    tensor, groups = call.args[0], int(call.args[1])
    apart = tensor.unflatten(1, (groups, -1))
    return apart.amax(list(range(2, apart.dim())), keepdim=True).expand(apart.shape).reshape(tensor.shape)


def _window(dims: int) -> Callable[[Call], Any]:
    """Pooling with a window."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]

    def reach(call: Call) -> Any:
        name = str(call.target)
        kernel, stride = _sides(call.args[1], dims), _sides(call.argument(2, "stride") or call.args[1], dims)
        padding = _sides(call.argument(3, "padding", 0), dims)
        largest = "max_pool" in name
        dilation = _sides(call.argument(4, "dilation", 1), dims) if largest else (1,) * dims
        ceil = bool(call.argument(5 if largest else 4, "ceil_mode", False))
        # max pooling pads with nothing; where an average counts zeros, they rest on nothing either
        found = pool(call.args[0].contiguous(), kernel, stride, padding, dilation, ceil_mode=ceil)
        return (found, found) if "with_indices" in name else found

    return reach


def _sides(value: Any, dims: int) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * dims if len(values) == 1 else values)


def _adaptive(dims: int) -> Callable[[Call], Any]:
    pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[dims - 1]

    def reach(call: Call) -> Any:
        found = pool(call.args[0], list(call.args[1]))
        return (found, found) if "max_pool" in str(call.target) else found

    return reach


def _interpolated(call: Call) -> Tensor:
    """Of linear interpolation every value with a weight, by pooling over the largest of the four: through the same
    interpolation of ones at each value in turn would be exact; here a window of two values an axis around each result."""
    tensor = call.args[0]
    for axis in range(2, tensor.dim()):
        tensor = _interpolated_axis(tensor, axis, call.shape[axis], bool(call.argument(2, "align_corners", False)))
    return tensor


def _interpolated_axis(tensor: Tensor, axis: int, size: int, align: bool) -> Tensor:
    """The larger of the two values on either side of each result along one axis (torch's rule of source positions)."""
    before = tensor.shape[axis]
    place = torch.arange(size, dtype=torch.float64)
    at = place * ((before - 1) / max(1, size - 1)) if align else ((place + 0.5) * before / size - 0.5).clamp(min=0)
    low = at.floor().long().clamp(max=before - 1)
    high = torch.where(at > low, low + 1, low).clamp(max=before - 1)
    return torch.maximum(tensor.index_select(axis, low), tensor.index_select(axis, high))


def _inner(call: Call) -> Tensor:
    """A product of two activations: result (i, j) rests on row i of the first and column j of the second."""
    first, second = (tensor for tensor in call.tensors[-2:])
    first = first.unsqueeze(0) if first.dim() == 1 else first
    second = second.unsqueeze(1) if second.dim() == 1 else second
    row, column = first.amax(-1, keepdim=True), second.amax(-2, keepdim=True)
    found = torch.maximum(row, column).expand(*torch.broadcast_shapes(row.shape[:-2], column.shape[:-2]), row.shape[-2], column.shape[-1])
    if len(call.tensors) == 3:  # something added
        found = torch.maximum(found, call.tensors[0])
    return found.reshape(call.shape)


def _cumulated(call: Call) -> Any:
    return call.args[0].cummax(int(call.args[1])).values


# ---- what it costs


def _count(**per_result: float) -> Callable[[Call], Work]:
    """Actions for each element of the result."""
    return lambda call: {component: count * call.results for component, count in per_result.items()}


def _of_operand(**per_value: float) -> Callable[[Call], Work]:
    """Actions for each element of the operand."""
    return lambda call: {component: count * call.args[0].numel() for component, count in per_value.items()}


def _of_rows(dims: Callable[[Call], list[int]], row: Work, value: Work) -> Callable[[Call], Work]:
    """Actions for each row and for each value."""

    def work(call: Call) -> Work:
        tensor = call.args[0]
        rows = tensor.numel() // max(1, prod(tensor.shape[d] for d in dims(call)))
        return _sum({k: v * rows for k, v in row.items()}, {k: v * tensor.numel() for k, v in value.items()})

    return work


def _sum(*parts: Work) -> Work:
    total: Work = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0.0) + count
    return total


def _norm_work(row_of: Callable[[Call], int], affine: Sequence[int], centred: bool) -> Callable[[Call], Work]:
    """A norm: sums for the mean and for the mean square, one reciprocal root a row, then every value is shifted and scaled;
    `affine`: places of a weight and of a shift, applied where they are given."""

    def work(call: Call) -> Work:
        values = call.args[0].numel()
        weight, shift = (place >= 0 and call.argument(place, "") is not None for place in affine)
        multiplied = 2 + weight  # the square, the root's reciprocal, the weight
        added = (3 if centred else 1) + shift  # the mean, the deviation, the sum of squares; the shift
        return {
            "multiplier": float(values * multiplied), "accumulator": float(values * added), "activation": float(row_of(call)),
        }  # fmt: skip

    return work


def _product_work(call: Call) -> Work:
    first = call.tensors[-2]
    found = {"product": float(call.results * first.shape[-1])}
    return _sum(found, {"accumulator": float(call.results)}) if len(call.tensors) == 3 else found


def _interpolation_work(call: Call) -> Work:
    values = 2 ** (len(call.shape) - 2)
    return {"multiplier": float(values * call.results), "accumulator": float((values - 1) * call.results)}


def _softmax_dims(call: Call) -> list[int]:
    return [int(call.args[1])]


def _group_rows(call: Call) -> int:
    return int(call.args[0].shape[0] * call.args[1])


def _layer_rows(call: Call) -> int:
    return int(call.args[0].numel() // prod(call.args[1]))


_MOVES = (
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand",
    "repeat", "slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack", "flip", "roll",
    "clone", "contiguous", "alias", "detach", "pixel_shuffle", "pixel_unshuffle", "lift_fresh_copy", "movedim", "swapaxes",
    "broadcast_to", "diagonal", "slice_scatter", "select_scatter", "channel_shuffle", "tril", "triu", "expand_as", "view_as",
    "im2col", "unfold", "numpy_T", "mT", "adjoint", "concatenate", "concat", "hstack", "vstack", "dstack", "tile", "rot90",
    "repeat_interleave", "unsafe_split", "unsafe_chunk", "tensor_split", "column_stack", "ravel", "resolve_conj",
    "resolve_neg", "view_copy", "squeeze_copy", "unsqueeze_copy", "permute_copy", "expand_copy", "split_copy",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
_CAST = ("_to_copy", "to", "type_as", "float", "_conj")
_MAKES = (
    "zeros", "ones", "full", "empty", "arange", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones",
    "new_full", "new_empty", "scalar_tensor", "eye", "linspace", "tril_indices",
)  # fmt: skip
OF_ONE = (
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "hardtanh", "softplus",
    "mish", "selu", "celu", "log_sigmoid", "log_sigmoid_forward", "softsign", "softshrink", "hardshrink", "threshold",
    "exp", "expm1", "exp2", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "abs", "neg", "sign", "sgn",
    "erf", "sin", "cos", "tan", "atan", "asin", "acos", "sinh", "cosh", "clamp", "clamp_min", "clamp_max", "clip", "ceil", "floor", "round",
    "trunc", "logit", "tanhshrink", "relu_", "hardtanh_", "positive", "nan_to_num",
)  # fmt: skip
_COMPARES = (
    "maximum", "minimum", "where", "masked_fill", "gt", "lt", "ge", "le", "eq", "ne", "logical_and", "logical_or",
    "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "fmax", "fmin", "isnan", "isinf", "isfinite",
)  # fmt: skip


def _power_work(call: Call) -> Work:
    """x ** 2 multiplies, any other power is a table's."""
    exponent = call.argument(1, "exponent")
    squared = not isinstance(exponent, Tensor) and exponent == 2
    return {"multiplier" if squared else "activation": float(call.results)}


def _add_work(call: Call) -> Work:
    """A sum, and a product where one operand is scaled."""
    found: Work = {"accumulator": float(call.results)}
    return found if call.kwargs.get("alpha", 1) == 1 else _sum(found, {"multiplier": float(call.results)})


def _entries() -> Iterator[tuple[str, Kind]]:
    for name in _MOVES:
        yield name, Kind("move", _moved, moves=True)
    for name in ("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d"):
        plain = name in ("pad", "constant_pad_nd")
        yield name, Kind("move", _padded if plain else _moved, moves=True)
    for name, places in (("index", (1,)), ("index_select", (2,)), ("gather", (2,)), ("take_along_dim", (1,))):
        yield name, Kind("move", _moved, moves=True, indices=places)
    for name in _CAST:
        yield name, Kind("cast", _each, moves=True)
    for name in _MAKES:
        yield name, Kind("constant", _nothing)
    for name in OF_ONE:
        yield name, Kind("activation", _each, _count(activation=1))
    for name in ("add", "sub", "rsub"):
        yield name, Kind("add", _each, _add_work, sums=True)
    yield "mul", Kind("multiply", _each, _count(multiplier=1), sums=True)
    yield "div", Kind("divide", _each, _count(activation=1, multiplier=1), sums=True)
    for name in ("pow", "float_power"):
        yield name, Kind("activation", _each, _power_work, sums=True)
    yield "fill", Kind("constant", _filled)
    yield "copy", Kind("move", lambda call: call.args[1].expand(call.shape), moves=True)
    yield "prelu", Kind("activation", lambda call: call.args[0], _count(activation=1))
    yield "_prelu_kernel", Kind("activation", lambda call: call.args[0], _count(activation=1))
    yield "glu", Kind("multiply", lambda call: reduce(torch.maximum, call.args[0].chunk(2, int(call.argument(1, "dim", -1)))),
                      _count(activation=1, multiplier=1))  # fmt: skip
    for name in ("addcmul", "addcdiv"):
        yield name, Kind("add", _each, _count(multiplier=1, accumulator=1, **({"activation": 1} if "div" in name else {})), sums=True)
    yield "lerp", Kind("add", _each, _count(multiplier=1, accumulator=2), sums=True)
    for name in _COMPARES:
        yield name, Kind("compare", _each, _count(pool=1), sums=True)
    for name, place in (("mean", 1), ("sum", 1), ("amax", 1), ("amin", 1), ("logsumexp", 1)):
        more = {"accumulator": 1.0, "activation": 1.0} if name == "logsumexp" else {}
        yield name, Kind("pool", _reduced(place), _of_operand(pool=1, **more))
    for name in ("max", "min", "argmax", "argmin"):
        yield name, Kind("pool", _extreme, _of_operand(pool=1))
    for name in ("var", "std", "linalg_vector_norm"):
        place = 2 if name == "linalg_vector_norm" else 1
        yield name, Kind("pool", _reduced(place), _of_operand(multiplier=1, accumulator=3))
    yield "cumsum", Kind("add", _cumulated, _count(accumulator=1))
    for dims in (1, 2, 3):
        for name in (f"max_pool{dims}d", f"avg_pool{dims}d", f"max_pool{dims}d_with_indices"):
            yield name, Kind("pool", _window(dims), _of_operand(pool=1))
        for name in (f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d"):
            yield name, Kind("pool", _adaptive(dims), _of_operand(pool=1))
    for name in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"):
        yield name, Kind("interpolate", _interpolated, _interpolation_work)
    value: Work = {"pool": 1.0, "accumulator": 3.0, "activation": 2.0}
    yield "softmax", Kind("softmax", _rows(_softmax_dims), _of_rows(_softmax_dims, {"activation": 1.0}, value))
    yield "_softmax", Kind("softmax", _rows(_softmax_dims), _of_rows(_softmax_dims, {"activation": 1.0}, value))
    less: Work = value | {"activation": 1.0}
    yield "log_softmax", Kind("softmax", _rows(_softmax_dims), _of_rows(_softmax_dims, {"activation": 1.0}, less))
    yield "_log_softmax", Kind("softmax", _rows(_softmax_dims), _of_rows(_softmax_dims, {"activation": 1.0}, less))
    yield "layer_norm", Kind("norm", _rows(_last), _norm_work(_layer_rows, (2, 3), centred=True))
    for name in ("rms_norm", "_fused_rms_norm"):
        yield name, Kind("norm", _rows(_last), _norm_work(_layer_rows, (2, -1), centred=False))
    yield "group_norm", Kind("norm", _grouped, _norm_work(_group_rows, (2, 3), centred=True))
    for name in ("matmul", "mm", "bmm", "addmm", "baddbmm"):
        yield name, Kind("product", _inner, _product_work, sums=True)
    yield "_native_batch_norm_legit_no_training", Kind(
        "norm", lambda call: (call.args[0], None, None),
        lambda call: {"multiplier": float(call.args[0].numel()), "accumulator": float(call.args[0].numel())},
    )  # fmt: skip


_BY_NAME = dict(_entries())
MATRICES = (  # that a constant matrix or table may be an operand of, besides products
    "linear", "embedding", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip


def kind_of(target: Any) -> Kind | None:
    """The registry's entry for the target of a node, or None."""
    packet = getattr(target, "overloadpacket", None)
    if packet is None:
        return None
    if target.namespace == "xbar":
        return Kind("dropout", lambda call: call.args[0], moves=True)
    return _BY_NAME.get(packet.__name__) if target.namespace == "aten" else None


_PLAIN_NUMBERS = {
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.neg, operator.pow,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, max, min, round, int, float, abs,
}  # fmt: skip


def computes_a_size(target: Any) -> bool:
    """Whether a node works on plain numbers, as sizes are."""
    return target in _PLAIN_NUMBERS or str(target).startswith(("aten.sym_", "math.", "<function sym_")) or (
        getattr(target, "__module__", "") in ("torch", "torch.fx.experimental.sym_node", "math", "torch.utils._sympy.functions")
        and not hasattr(target, "overloadpacket")
    )  # fmt: skip

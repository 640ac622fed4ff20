"""A torch model as a graph of functional operators, by `torch.export` with a free batch axis.

What export is asked for besides: recurrent layers unrolled step by step, attention as its two products, a softmax and a mask,
values written over in place as new values, and dropout kept as an operator that the module's mode decides on.
A capture knows names and shapes, no weights: the same one serves a model whose weights changed, and is kept for it.
"""

import contextlib
import copy
import functools
import inspect
import io
import logging
import math
import operator
import re
import traceback
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import get_decompositions
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from xbar.hw.errors import TraceError
from xbar.hw.graph.operators import MATRICES, kind_of

Example = Tensor | tuple[Tensor, ...]  # one tensor an input of the model
_aten: Any = torch.ops.aten


@torch.library.custom_op("xbar::dropout", mutates_args=())
def _dropout(x: Tensor, share: float, kind: str) -> Tensor:
    """Stands for dropout in a captured graph; `hw.graph` reads it, nothing computes it. kind: torch's name of it."""
    return x.clone()


@_dropout.register_fake
def _(x: Tensor, share: float, kind: str) -> Tensor:
    return torch.empty_like(x)


_DROPOUTS = {
    getattr(_aten, name).default: name for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
}  # fmt: skip


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """torch's scaled_dot_product_attention written out (its documentation gives this form)."""
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = torch.matmul(query, key.transpose(-2, -1)) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if is_causal:
        allowed = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(allowed.logical_not(), float("-inf"))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    return torch.matmul(torch.ops.xbar.dropout(weights, dropout_p, "dropout") if dropout_p else weights, value)


def _layer_by_layer(one: Callable[..., Any], cell: bool) -> Callable[..., Any]:
    """A stacked recurrent operator as single layers, which `one` unrolls, with dropout between them (torch's own unrolling of
    several layers forgets it). cell: the state is a pair, as an LSTM's."""

    def run(
        given: Tensor, state: Any, weights: list[Tensor], biases: bool, layers: int, dropout: float, train: bool, both: bool, first: bool
    ) -> Any:
        per_layer, directions = len(weights) // layers, 2 if both else 1
        ends = []
        for layer in range(layers):
            own = slice(layer * directions, (layer + 1) * directions)
            begins = [part[own] for part in state] if cell else state[own]
            given, *end = one(
                given, begins, weights[layer * per_layer : (layer + 1) * per_layer], biases, 1, 0.0, False, both, first
            )
            ends.append(end)
            if dropout and layer < layers - 1:
                given = torch.ops.xbar.dropout(given, dropout, "dropout")
        return given, *(torch.cat(parts) for parts in zip(*ends, strict=True))

    return run


def _instance_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, variance: Tensor | None, own: bool,
    momentum: float, eps: float, _: bool,
) -> Tensor:  # fmt: skip
    """Over each channel of each sample: a group norm of groups of one; with statistics of its own a batch norm."""
    if own:
        return torch.group_norm(x, x.shape[1], weight, bias, eps)
    return torch.batch_norm(x, weight, bias, mean, variance, False, momentum, eps, False)


def _bilinear(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One matrix on the first input; what it gives, times the second."""
    outputs, wide, _ = weight.shape
    rows = torch.nn.functional.linear(first, weight.transpose(1, 2).reshape(-1, wide)).unflatten(-1, (outputs, -1))
    found = torch.matmul(rows, second.unsqueeze(-1)).squeeze(-1)
    return found if bias is None else found + bias


def _rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, train: bool = False, _: Any = None) -> Tensor:
    """As it evaluates."""
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    unrolled = get_decompositions([_aten.lstm.input, _aten.gru.input, _aten.rnn_tanh.input, _aten.rnn_relu.input])
    table: dict[Any, Callable[..., Any]] = {
        kind: _layer_by_layer(one, kind is _aten.lstm.input) for kind, one in unrolled.items() if callable(one)
    }
    table[_aten.scaled_dot_product_attention.default] = _attention
    table[_aten.instance_norm.default] = _instance_norm
    table[_aten.bilinear.default] = _bilinear
    table[_aten.rrelu.default] = _rrelu
    return table


_KEPT_WHOLE = re.compile("embedding_bag|one_hot|fft_.*")  # torch makes them of what tells a user less, and the chip lacks too


def _composed(module: fx.GraphModule) -> dict[Any, Callable[..., Any]]:
    """Of the operators that the registry lacks those that torch composes of others, with how: einsum, recurrent cells, ..."""
    lacking = set()
    for target in {node.target for node in module.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}:
        name = target.overloadpacket.__name__
        if kind_of(target) is None and name not in MATRICES and not _KEPT_WHOLE.fullmatch(name) and target._can_decompose():
            lacking.add(target)
    torchs = torch.export.default_decompositions() if lacking else {}  # a table of a thousand, made anew each time
    return {target: torchs[target] for target in lacking if target in torchs}


def _is_written_out(module: fx.GraphModule, table: Container[Any]) -> bool:
    """Whether the graph is what torch would decompose it into, but for names of nodes; torch takes longer to find that out than to
    capture. So it is where every operator makes one tensor, writes to none, and is none that torch or the table writes as others;
    flattenings and batch norms, of which most networks have some, are written here as torch does."""
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    if not all(_flattens(node) or _normalises(node) or _stays(node, table) for node in nodes):
        return False
    for node in nodes:
        with module.graph.inserting_before(node):
            if _flattens(node):
                given, value = node.args[0], node.meta["val"]
                batch = _added(node, _aten.sym_size.int, (given, 0), value.shape[0])
                node.replace_all_uses_with(_added(node, _aten.view.default, (given, [batch, *value.shape[1:]]), value))
            elif _normalises(node):
                value, none = node.meta["val"], node.meta["val"].new_empty(0)
                norm = _added(node, _NORM, (*node.args[:5], *node.args[6:8]), (value, none, none))
                node.replace_all_uses_with(_added(node, operator.getitem, (norm, 0), value))
    module.graph.eliminate_dead_code()
    return True


_NORM = _aten._native_batch_norm_legit_no_training.default


def _flattens(node: fx.Node) -> bool:
    """Whether a node flattens axes of known sizes, and none of them the batch, of values that lie in their order."""
    if node.target is not _aten.flatten.using_ints or len(node.args) < 2 or node.args[1] < 1:  # type: ignore[operator]
        return False
    given = node.args[0].meta["val"]  # type: ignore[union-attr]
    return bool(given.is_contiguous()) and all(isinstance(side, int) for side in given.shape[1:])


def _normalises(node: fx.Node) -> bool:
    """Whether a node is a batch norm by kept statistics."""
    return node.target is _aten.batch_norm.default and not node.args[5] and None not in node.args[3:5]


def _stays(node: fx.Node, table: Container[Any]) -> bool:
    """Whether torch's decomposition leaves a node as it is."""
    target = node.target
    if target is _aten.sym_size.int:
        return True
    if not isinstance(target, torch._ops.OpOverload) or target in table or target._schema.is_mutable:
        return False
    known = kind_of(target) is not None or target.overloadpacket.__name__ in MATRICES
    one = [str(each.type) for each in target._schema.returns] == ["Tensor"]
    view = any(each.alias_info is not None for each in target._schema.arguments)
    return known and one and not (view and target._can_decompose())


def _added(old: fx.Node, target: Any, args: tuple[Any, ...], value: Any) -> fx.Node:
    """A node in place of another, or of a part of it."""
    made = old.graph.call_function(target, args)
    made.meta = {**old.meta, "val": value}
    return made


def _keep_dropout(module: fx.GraphModule) -> None:
    """Name dropout by an operator of our own: torch leaves out what evaluation does not compute."""
    for node in module.graph.nodes:
        if node.target in _DROPOUTS:
            node.args = (node.args[0], float(node.args[1]), _DROPOUTS[node.target])
            node.target = torch.ops.xbar.dropout.default
    module.recompile()


@dataclass(frozen=True)
class Captured:
    """A functional graph: `inputs` are its placeholders that the user gives, in order, `held` those that hold a parameter or
    buffer (by the name that the model gives it) or a `constant` tensor. outputs: how its results make what the model returns.
    batch: the size of the batch axis that shapes are recorded with, as a symbol."""

    graph: fx.Graph = field(repr=False)
    inputs: tuple[str, ...]
    held: dict[str, str]
    constants: dict[str, Tensor] = field(repr=False)
    outputs: Any = field(repr=False)

    def tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's present parameters and buffers, and the constants, by placeholder."""
        found = {name: _tensor_of(model, path).detach() for name, path in self.held.items()}
        return found | self.constants


def _tensor_of(model: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    return getattr(model.get_submodule(owner), name)


def inputs_of(example: Example) -> tuple[Tensor, ...]:
    """The tensors of an example, one an input of the model."""
    return (example,) if isinstance(example, Tensor) else tuple(example)


def check_example(given: Sequence[Tensor], what: str, error: type[Exception] = TraceError) -> None:
    """Raise `error` unless there are finite tensors (batch, ...) of one batch, one sample or more."""
    for each in given:
        if not isinstance(each, Tensor):
            raise error(f"{what} must be a tensor, or a tuple of tensors, one an input; got {type(each).__name__}")
        if each.dim() < (2 if each.is_floating_point() else 1) or each.shape[0] < 1 or not each.numel():
            raise error(f"{what} must be (batch, ...), one sample or more, got {tuple(each.shape)}")
        if not bool(torch.isfinite(each).all()):
            raise error(f"{what} must be finite")
    if len({len(each) for each in given}) > 1:
        raise error(f"{what}: inputs must be of one batch, got {', '.join(str(tuple(t.shape)) for t in given)}")


_KEPT: "OrderedDict[Any, Captured]" = OrderedDict()
MOST_KEPT = 64  # captures; each is a graph of a few hundred nodes


def capture(model: nn.Module, example: Example) -> Captured:
    """The graph of `model`, as it evaluates, for inputs shaped like `example` (batch, ...), any batch.

    A model of the same classes, attributes and shapes has the same graph and is not captured again; where that cannot be told
    (hooks, attributes of other types than plain values) it always is. What forward reads from outside the model, such as
    a global variable, is taken as it was at the first capture.
    `model` is left as it is. Raises TraceError, with torch's reason, for what torch.export cannot take: control flow that
    depends on values, a batch whose size the model fixes, or inputs that the model itself refuses.
    """
    given = inputs_of(example)
    check_example(given, "the example input")
    known = _structure(model)
    key = None if known is None else (known, tuple((tuple(t.shape[1:]), t.dtype) for t in given))
    if key is not None and key in _KEPT:
        _KEPT.move_to_end(key)
        return _KEPT[key]
    found = _exported(model, [_few_samples(tensor) for tensor in given])
    if key is not None:
        _KEPT[key] = found
        if len(_KEPT) > MOST_KEPT:
            _KEPT.popitem(last=False)
    return found


def _few_samples(tensor: Tensor) -> Tensor:
    """Three: of a batch of 1 export would fix the batch at 1."""
    with torch.inference_mode(False):
        some = tensor[:3].detach().clone()
        return some if len(some) == 3 else torch.cat([some, some, some])[:3]


def _exported(model: nn.Module, given: list[Tensor]) -> Captured:
    _check_model(model, given)
    model = _trainable(model)
    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in given)
    free = (shapes,) if _takes_all(model) else shapes
    with warnings.catch_warnings(), quiet(), _evaluating(model), _written_out(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            try:
                exported = torch.export.export(model, tuple(given), dynamic_shapes=free)
            except Exception as error:  # by its values; by its code len(x) is free too
                if not _fixes_batch(error):
                    raise
                try:
                    exported = torch.export.export(model, tuple(given), dynamic_shapes=free, strict=True)
                except Exception:  # the first reason is the clearer one
                    raise error from None
            _keep_dropout(exported.graph_module)
            table = _composed(exported.graph_module) | _decompositions()
            if not _is_written_out(exported.graph_module, table):
                exported = exported.run_decompositions(table)
        except TraceError:
            raise
        except Exception as error:  # torch raises many types; each means: not captured
            raise TraceError(_reason(model, given, error)) from error
    held, constants, inputs = {}, {}, []
    for spec in exported.graph_signature.input_specs:
        name = spec.arg.name
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(name)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and _has(model, str(spec.target)):
            held[name] = str(spec.target)
        else:
            constants[name] = exported.constants[str(spec.target)].detach()
    if any(spec.kind is not OutputKind.USER_OUTPUT for spec in exported.graph_signature.output_specs):
        raise TraceError(f"{type(model).__name__} writes to its own buffers when it evaluates: it cannot be mapped")
    return Captured(exported.graph, tuple(inputs), held, constants, exported.call_spec.out_spec)


def _trainable(model: nn.Module) -> nn.Module:
    """The model, or, where it was made in inference mode, whose tensors export does not take, a copy."""
    made = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_inference()]
    if not made:
        return model
    with torch.inference_mode(False):
        copies: dict[int, Any] = {
            id(tensor): nn.Parameter(tensor.clone(), tensor.is_floating_point()) if isinstance(tensor, nn.Parameter) else tensor.clone()
            for tensor in made
        }
        return copy.deepcopy(model, copies)


def _check_model(model: nn.Module, given: list[Tensor]) -> None:
    """Raise TraceError for what torch would tell in other words."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
            raise TraceError(f"layer {name}: an Embedding with max_norm rewrites its table at look-ups: it cannot be mapped")
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return
    taken = [p for p in parameters if p.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in taken if p.default is inspect.Parameter.empty]
    if not len(needed) <= len(given) <= len(taken):
        names = ", ".join(p.name for p in taken)
        raise TraceError(f"the model has {len(needed)} inputs ({names}), got {len(given)} tensors")


def _has(model: nn.Module, path: str) -> bool:
    try:
        return isinstance(_tensor_of(model, path), Tensor)
    except AttributeError:
        return False


def _takes_all(model: nn.Module) -> bool:
    """Whether the model's forward gathers its inputs as *inputs."""
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    return bool(kinds) and kinds[0] is inspect.Parameter.VAR_POSITIONAL


def _fixes_batch(error: Exception) -> bool:
    return "Constraints violated" in str(error) or "specialized" in str(error)


def _reason(model: nn.Module, given: list[Tensor], error: Exception) -> str:
    text = " ".join(str(error).split())
    shapes = " and ".join(f"({', '.join(['batch', *map(str, each.shape[1:])])})" for each in given)
    said = f"{type(model).__name__} cannot be captured for inputs {shapes}: "
    line = _line_of(error)
    if "data-dependent" in text or "Could not guard" in text:
        return (
            f"{said}its control flow depends on values{line}. The chip runs the same operators for all inputs: choose between two results "
            "with torch.where(condition, one, other), keep numbers as tensors (without float(), int() and .item()), give loops a fixed "
            "length, or run that part yourself, before or after the chip"
        )
    if _fixes_batch(error):
        return (
            f"{said}it fixes the size of the batch, or takes inputs without a batch axis; inputs are (batch, ...), of "
            f"recurrent and attention layers too (batch_first=True); the size is x.size(0){line}. {text[:300]}"
        )
    return f"{said}{text[:600]}{line}"


def _line_of(error: BaseException) -> str:
    """The last line of the user's that an error passed, as "; file:line: code"."""
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and frame.filename != __file__ and not frame.filename.startswith("<")
    ]  # fmt: skip
    return f"; {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A block in which nothing is logged or printed: torch does so at length with what it raises anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; attention and recurrent layers as in training, where that only tells their dropout."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for module in modes:
            if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
                module.training = True
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _written_out() -> Iterator[None]:
    """Without operators that tell nothing of their parts: torch's fused path of attention and of encoder layers, and bags of
    embeddings."""
    before, bag = torch.backends.mha.get_fastpath_enabled(), torch.nn.functional.embedding_bag
    torch.backends.mha.set_fastpath_enabled(False)
    torch.nn.functional.embedding_bag = _bag
    try:
        yield
    finally:
        torch.nn.functional.embedding_bag = bag
        torch.backends.mha.set_fastpath_enabled(before)


def _bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """torch's embedding_bag of (bags, look-ups), as its look-ups and what is made of them (its documentation gives this form)."""
    if input.dim() != 2 or offsets is not None or max_norm is not None:
        raise TraceError(
            "an EmbeddingBag takes (batch, look-ups) and no max_norm on the chip: bags by offsets differ in size with the data"
        )
    rows = torch.nn.functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if padding_idx is None:
        return rows.amax(1) if mode == "max" else rows.sum(1) if mode == "sum" else rows.mean(1)
    counts = (input != padding_idx).unsqueeze(-1)
    if mode == "max":
        return torch.where(counts, rows, torch.full((), float("-inf"))).amax(1)
    kept = torch.where(counts, rows, torch.zeros(())).sum(1)
    return kept if mode == "sum" else kept / counts.sum(1).clamp(min=1)


# ---- when a capture may be used again

_PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.Size, torch.device, type)


_OF_TORCH = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weight_refs", "training"}


def _structure(model: nn.Module) -> Any:
    """All that the graph of a model follows from besides torch's and its own code, or None where that cannot be told:
    classes, plain attributes, and names, shapes and identities of tensors."""
    seen: dict[int, int] = {}

    def tensor(value: Tensor | None) -> Any:
        if value is None:
            return None
        return seen.setdefault(id(value), len(seen)), tuple(value.shape), value.dtype, str(value.device)

    found = []
    try:
        for name, module in model.named_modules(remove_duplicate=False):
            if any(getattr(module, hooks) for hooks in ("_forward_hooks", "_forward_pre_hooks")):
                return None
            attributes = vars(module)
            written = isinstance(module, fx.GraphModule)  # its code is its graph
            own = [
                (key, _plain(value)) for key, value in attributes.items()
                if key not in _OF_TORCH and not (written and key.startswith("_") and key != "_code") and key != "meta"
            ]  # fmt: skip
            tensors = [(key, tensor(value)) for part in ("_parameters", "_buffers") for key, value in attributes[part].items()]
            found.append((name, fx.GraphModule if written else type(module), tuple(own), tuple(tensors)))
        hash(tuple(found))
    except (_UnknownError, TypeError):
        return None
    return tuple(found)


class _UnknownError(Exception):
    """An attribute that cannot be compared."""


def _plain(value: Any) -> Any:
    """A value that compares by its content, or _UnknownError."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return tuple((_plain(key), _plain(each)) for key, each in value.items())
    if isinstance(value, functools.partial):
        return "partial", _plain(value.func), _plain(value.args), _plain(value.keywords)
    if isinstance(value, types.BuiltinFunctionType) or (isinstance(value, types.FunctionType) and value.__closure__ is None):
        return value
    raise _UnknownError


def flattened(outputs: Any) -> list[Any]:
    """The leaves of what a graph's output node returns."""
    return list(pytree.tree_leaves(outputs))

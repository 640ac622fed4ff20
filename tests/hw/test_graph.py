"""The one graph: every kind of operator on chip as torch has it, cost and accuracy alike, counts by hand, named refusals."""

import functools
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, TensorDataset

from xbar.hw import Arrivals, ParameterError, TraceError, convert, load_chip, place, simulate, trace
from xbar.hw.analog import AnalogEmbedding, analog_layers, program
from xbar.hw.errors import RangeWarning
from xbar.hw.graph.capture import capture
from xbar.hw.graph.matrix import Matrix
from xbar.hw.graph.network import Network

QUIET = load_chip("edge").with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0})
IDEAL = QUIET.with_changes(
    device={"levels": 256}, weights={"quantise": False, "bits": 8}, inputs={"quantise": False},
    component={"dac": {"bits": 8}, "adc": {"range": "ideal"}},
)  # fmt: skip


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
    pytest.mark.filterwarnings("ignore::xbar.hw.errors.RangeWarning"),  # dropout and few bits leave the calibrated ranges
]


def filled(model: nn.Module) -> nn.Module:
    """Random weights and statistics."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and "_mask" not in name:
                values = torch.randn(tensor.shape, generator=generator) * 0.3
                tensor.copy_(values.abs() + 0.5 if "running_var" in name else values)
    return model.eval()


class Of(nn.Module):
    """A model whose forward is a function of itself and its inputs."""

    def __init__(self, function: Callable[..., Any], **parts: Any):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *given: Tensor) -> Any:
        return self.function(self, *given)


def on_chip(model: nn.Module, *given: Tensor) -> Network:
    """Assert that the model is the same on an ideal chip and that trace and convert agree; its trace."""
    filled(model)
    example = given[0] if len(given) == 1 else given
    converted, network = convert(model, IDEAL, example, seed=0), trace(model, example)
    with torch.no_grad():
        found, expected = converted(*given), model(*given)
    paths, structure = pytree.tree_flatten_with_path(expected)
    assert pytree.tree_structure(found) == structure
    for (path, value), got in zip(paths, pytree.tree_leaves(found), strict=True):
        assert got.shape == value.shape, path
        assert got.dtype == value.dtype, path
        assert float((got - value).abs().max()) <= 1e-5 * max(1e-3, float(value.abs().max())), path
    layers = analog_layers(converted)
    assert list(layers) == [layer.name for layer in network.layers]
    for layer in network.layers:
        assert layer.signed_input == layers[layer.name].matrix.signed_input or layer.lookup
        assert (layer.groups, layer.outputs, layer.inputs) == tuple(layers[layer.name].matrix.weight.shape)
    return network


def sizes(network: Network) -> dict[str, tuple[int, ...]]:
    """Vectors, groups, outputs and inputs by layer."""
    return {layer.name: (layer.vectors, layer.groups, layer.outputs, layer.inputs) for layer in network.layers}


# ---- batch norm, rows, values written over


def test_layers_that_share_a_tensor_are_named_as_their_modules() -> None:
    """A table and a head of the same weights, the head registered first; a module that is called twice keeps its one name."""
    model = Of(lambda m, x: m.head(m.same(m.middle(m.table(x)))), head=nn.Linear(8, 30), middle=nn.Linear(8, 8), table=nn.Embedding(30, 8))
    model.same = model.middle
    model.table.weight = model.head.weight
    x = torch.randint(30, (2, 4))
    assert sizes(trace(model, x)) == {"table": (4, 1, 8, 30), "middle": (8, 1, 8, 8), "head": (4, 1, 30, 8)}
    assert list(analog_layers(convert(model, IDEAL, x, seed=0))) == ["table", "middle", "head"]
    assert [layer.name for layer in trace(model, x, host=["head"]).layers] == ["table", "middle"]


def test_uses_are_told_apart_before_batch_norm_is_folded() -> None:
    """c(x) + b(c(x + 1)): the norm is of one use."""
    x = drawn(2, 1, 4, 4)
    once = Of(lambda m, x: m.c(x) + m.b(m.c(x + 1)), c=nn.Conv2d(1, 1, 1), b=nn.BatchNorm2d(1))
    assert sizes(on_chip(once, x)) == {"c": (16, 1, 1, 1), "c_call2": (16, 1, 1, 1)}
    both = Of(lambda m, x: m.b(m.c(x)) + m.b(m.c(x + 1)), c=nn.Conv2d(1, 1, 1), b=nn.BatchNorm2d(1))
    assert sizes(on_chip(both, x)) == {"c": (32, 1, 1, 1)}
    read_twice = Of(lambda m, x: (lambda y: y + m.b(y))(m.c(x)), c=nn.Conv2d(1, 1, 1), b=nn.BatchNorm2d(1))
    network = on_chip(read_twice, x)
    assert sizes(network) == {"c": (16, 1, 1, 1)}
    assert network.layers[0].digital == {"multiplier": 16, "accumulator": 32}  # the norm stays, and the sum


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_batch_norm_after_any_convolution_is_folded(dims: int, transposed: bool) -> None:
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dims}d")
    model = nn.Sequential(kind(4, 3, 2, stride=2), getattr(nn, f"BatchNorm{dims}d")(3))
    network = on_chip(model, drawn(2, 4, 4, 3, 5)[(slice(None), slice(None), *[0] * (3 - dims))])
    assert not network.layers[0].digital.get("multiplier")


def test_every_row_is_a_vector() -> None:
    assert sizes(on_chip(nn.Sequential(nn.Linear(8, 3)), torch.rand(1, 4, 6, 8)))["0"][0] == 24
    last = Of(lambda m, x: m.l(m.c(x).permute(0, 2, 3, 1)), c=nn.Conv2d(1, 4, 3), l=nn.Linear(4, 3))
    network = on_chip(last, drawn(2, 1, 6, 5))
    assert sizes(network) == {"c": (12, 1, 4, 9), "l": (12, 1, 3, 4)}
    assert network.layer("l").needs["c"].tolist() == list(range(1, 13))


def test_rows_of_padding_alone_are_of_the_sample_that_they_lie_in() -> None:
    """4 x 4 pixels made 6 x 6 and cut into windows of 3 x 3, whose pixels are the rows: 36 a sample, 20 of them zeros."""

    def windows(m: Any, x: Tensor) -> Tensor:
        larger = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 2, 0, 2))
        cut = larger.view(len(x), 2, 3, 2, 3, 4).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, 4)
        found: Tensor = m.b(torch.softmax(m.a(cut), 1)).view(len(x), -1)
        return found

    network = on_chip(Of(windows, a=nn.Linear(4, 5), b=nn.Linear(5, 2)), drawn(3, 4, 4, 4))
    assert sizes(network) == {"a": (36, 1, 5, 4), "b": (36, 1, 2, 5)}
    assert sum(flow.values for flow in network.flows if flow.target == "a") == 64  # what is made anew does not travel


def test_ranges_are_of_the_values_when_they_are_read() -> None:
    """relu_ writes over what c2 read before: c2's inputs are signed, c1's are not."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.c0(x)
        side = m.c2(y)
        return m.c1(F.relu_(y)) + side

    network = on_chip(Of(forward, c0=nn.Conv2d(1, 1, 1), c1=nn.Conv2d(1, 1, 1), c2=nn.Conv2d(1, 1, 1)), drawn(2, 1, 4, 4))
    assert {layer.name: layer.signed_input for layer in network.layers} == {"c0": True, "c2": True, "c1": False}


def test_a_view_to_any_batch() -> None:
    model = Of(lambda m, x: m.l(m.c(x).view(-1, 18)), c=nn.Conv2d(1, 2, 2), l=nn.Linear(18, 2))
    assert sizes(on_chip(model, drawn(2, 1, 4, 4))) == {"c": (9, 1, 2, 4), "l": (1, 1, 2, 18)}
    by_len = Of(lambda m, x: m.l(x.view(len(x), -1)), l=nn.Linear(16, 2))
    assert sizes(on_chip(by_len, drawn(2, 1, 4, 4))) == {"l": (1, 1, 2, 16)}


# ---- constant matrices of every kind


class _Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * 2, self.bias) + 1


class _Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        apart = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, apart / (apart.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


ROWS, IMAGE = (2, 5, 8), (2, 4, 6, 6)
LONG = {"batch_first": True}
MATRICES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    "LSTM": (lambda: Of(lambda m, x: m.l(x), l=nn.LSTM(8, 3, **LONG)), ROWS,
             {"l.weight_ih_l0": (5, 1, 12, 8), "l.weight_hh_l0": (5, 1, 12, 3)}),
    "GRU": (lambda: Of(lambda m, x: m.l(x)[0], l=nn.GRU(8, 3, **LONG)), ROWS,
            {"l.weight_ih_l0": (5, 1, 9, 8), "l.weight_hh_l0": (5, 1, 9, 3)}),
    "RNN": (lambda: Of(lambda m, x: m.l(x)[1], l=nn.RNN(8, 3, **LONG)), ROWS,
            {"l.weight_ih_l0": (5, 1, 3, 8), "l.weight_hh_l0": (5, 1, 3, 3)}),
    "LSTM with projection": (lambda: Of(lambda m, x: m.l(x)[0], l=nn.LSTM(8, 3, proj_size=2, **LONG)), (2, 2, 8),
                             {"l.weight_ih_l0": (2, 1, 12, 8), "l.weight_hh_l0": (2, 1, 12, 2), "l.weight_hr_l0": (2, 1, 2, 3)}),
    "GRU of two layers both ways": (
        lambda: Of(lambda m, x: m.l(x)[0], l=nn.GRU(8, 2, num_layers=2, bidirectional=True, dropout=0.5, **LONG)), (2, 2, 8),
        {f"l.weight_{part}_l{layer}{way}": (2, 1, 6, 2 if part == "hh" else 4 if layer else 8)
         for layer in (0, 1) for way in ("", "_reverse") for part in ("ih", "hh")}),
    "LSTMCell": (lambda: Of(lambda m, x: m.l(x)[0], l=nn.LSTMCell(8, 3)), (2, 8),
                 {"l.weight_hh": (1, 1, 12, 3), "l.weight_ih": (1, 1, 12, 8)}),
    "GRUCell": (lambda: Of(lambda m, x: m.l(x), l=nn.GRUCell(8, 3)), (2, 8), {"l.weight_ih": (1, 1, 9, 8), "l.weight_hh": (1, 1, 9, 3)}),
    "MultiheadAttention": (lambda: Of(lambda m, x: m.l(x, x, x), l=nn.MultiheadAttention(8, 2, dropout=0.1, **LONG)), ROWS,
                           {"l.in_proj_weight": (5, 1, 24, 8), "l.out_proj": (5, 1, 8, 8)}),
    "MultiheadAttention of other keys": (
        lambda: Of(lambda m, x: m.l(x, x[:, :3, :6], x[:, :3, :4])[0], l=nn.MultiheadAttention(8, 2, kdim=6, vdim=4, **LONG)), ROWS,
        {"l.q_proj_weight": (5, 1, 8, 8), "l.k_proj_weight": (3, 1, 8, 6), "l.v_proj_weight": (3, 1, 8, 4), "l.out_proj": (5, 1, 8, 8)}),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, **LONG), ROWS,
                                {"self_attn.in_proj_weight": (5, 1, 24, 8), "self_attn.out_proj": (5, 1, 8, 8),
                                 "linear1": (5, 1, 16, 8), "linear2": (5, 1, 8, 16)}),
    "Conv1d": (lambda: nn.Sequential(nn.Conv1d(5, 6, 3, stride=2, padding=2, dilation=2)), ROWS, {"0": (4, 1, 6, 15)}),
    "Conv1d, same": (lambda: nn.Sequential(nn.Conv1d(5, 6, 2, padding="same")), ROWS, {"0": (8, 1, 6, 10)}),
    "Conv2d, circular": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular")), IMAGE, {"0": (36, 1, 6, 36)}),
    "Conv2d, reflect": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")), IMAGE, {"0": (36, 1, 6, 36)}),
    "Conv3d": (lambda: nn.Sequential(nn.Conv3d(4, 6, 2, groups=2)), (2, 4, 3, 3, 4), {"0": (12, 2, 3, 16)}),
    "ConvTranspose1d": (lambda: nn.Sequential(nn.ConvTranspose1d(5, 4, 3, stride=2, padding=1, output_padding=1)), ROWS,
                        {"0": (8, 1, 12, 5)}),
    "ConvTranspose2d": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, dilation=2, groups=2)), IMAGE, {"0": (36, 2, 27, 2)}),
    "ConvTranspose3d": (lambda: nn.Sequential(nn.ConvTranspose3d(4, 2, 2, padding=1)), (2, 4, 3, 3, 4), {"0": (36, 1, 16, 4)}),
    "F.linear": (lambda: Of(lambda m, x: F.linear(x, m.w), w=weights(3, 8)), ROWS, {"w": (5, 1, 3, 8)}),
    "F.conv2d": (lambda: Of(lambda m, x: F.conv2d(x, m.w, padding=1), w=weights(3, 4, 3, 3)), IMAGE, {"w": (36, 1, 3, 36)}),
    "a Linear of its own forward": (lambda: nn.Sequential(_Doubled(8, 3)), ROWS, {"0": (5, 1, 3, 8)}),
    "a Conv2d of its own weights": (lambda: nn.Sequential(_Standardised(4, 3, 3)), IMAGE, {"0": (16, 1, 3, 36)}),
    "weight norm": (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))), ROWS, {"0": (5, 1, 3, 8)}),
    "Bilinear": (lambda: Of(lambda m, x: m.b(x, x), b=nn.Bilinear(8, 8, 3)), ROWS, {"b": (5, 1, 24, 8)}),
    "x @ W": (lambda: Of(lambda m, x: x @ m.w, w=weights(8, 3)), ROWS, {"w": (5, 1, 3, 8)}),
    "x @ w": (lambda: Of(lambda m, x: x @ m.w, w=weights(8)), ROWS, {"w": (5, 1, 1, 8)}),
    "W @ x": (lambda: Of(lambda m, x: m.w @ x, w=weights(3, 5)), ROWS, {"w": (8, 1, 3, 5)}),
    "w @ x": (lambda: Of(lambda m, x: m.w @ x, w=weights(5)), ROWS, {"w": (8, 1, 1, 5)}),
    "W @ x.T": (lambda: Of(lambda m, x: (m.w @ x.T).T, w=weights(3, 8)), (2, 8), {"w": (1, 1, 3, 8)}),
    "W for each head": (lambda: Of(lambda m, x: x @ m.w, w=weights(4, 6, 3)), IMAGE, {"w": (6, 4, 3, 6)}),
    "W for each head, from the left": (lambda: Of(lambda m, x: m.w @ x, w=weights(4, 3, 6)), IMAGE, {"w": (6, 4, 3, 6)}),
    "bmm, W repeated": (lambda: Of(lambda m, x: torch.bmm(x, m.w.expand(x.size(0), 8, 3)), w=weights(8, 3)), ROWS, {"w": (5, 1, 3, 8)}),
    "addmm": (lambda: Of(lambda m, x: torch.addmm(m.b, x, m.w, beta=2, alpha=3), w=weights(8, 3), b=weights(3)), (2, 8),
              {"w": (1, 1, 3, 8)}),
    "baddbmm": (lambda: Of(lambda m, x: torch.baddbmm(x[..., :3], x, m.w.expand(x.size(0), 8, 3), beta=2, alpha=3), w=weights(8, 3)), ROWS,
                {"w": (5, 1, 3, 8)}),
    "einsum, rows": (lambda: Of(lambda m, x: torch.einsum("bti,io->bto", x, m.w), w=weights(8, 3)), ROWS, {"w": (5, 1, 3, 8)}),
    "einsum, columns": (lambda: Of(lambda m, x: torch.einsum("bti,ot->boi", x, m.w), w=weights(3, 5)), ROWS, {"w": (8, 1, 3, 5)}),
    "einsum, channels": (lambda: Of(lambda m, x: torch.einsum("nchw,oc->nohw", x, m.w), w=weights(3, 4)), IMAGE, {"w": (36, 1, 3, 4)}),
    "einsum, heads": (lambda: Of(lambda m, x: torch.einsum("bhi,hij->bhj", x, m.w), w=weights(5, 8, 3)), ROWS, {"w": (1, 5, 3, 8)}),
    "tensordot": (lambda: Of(lambda m, x: torch.tensordot(x, m.w, 1), w=weights(8, 3)), ROWS, {"w": (5, 1, 3, 8)}),
}  # fmt: skip


class _SideBySide(nn.Module):
    """Several models of the same inputs, each a result of its own: one capture for all."""

    def __init__(self, models: dict[str, nn.Module]):
        super().__init__()
        self.kinds = nn.ModuleDict(models)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {kind: model(x) for kind, model in self.kinds.items()}


@pytest.mark.parametrize("shape", sorted({shape for _, shape, _ in MATRICES.values()}))
def test_a_constant_matrix_is_on_crossbars(shape: tuple[int, ...]) -> None:
    kinds = {kind.replace(".", "_"): (build, expected) for kind, (build, given, expected) in MATRICES.items() if given == shape}
    network = on_chip(_SideBySide({kind: build() for kind, (build, _) in kinds.items()}), drawn(*shape))
    named = {f"kinds.{kind}.{name}": size for kind, (_, expected) in kinds.items() for name, size in expected.items()}
    assert sizes(network) == named
    assert network.operations_shares["host_operations_share"] == 0


def test_a_table_and_its_rows() -> None:
    rows = torch.randint(10, (3, 5), generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(nn.Embedding(10, 4, padding_idx=0), nn.Linear(4, 2))
    network = on_chip(model, rows)
    assert sizes(network) == {"0": (5, 1, 4, 10), "1": (5, 1, 2, 4)}
    assert isinstance(analog_layers(convert(model, IDEAL, rows, seed=0))["0"], AnalogEmbedding)


# ---- what is not a matrix: many operators of a network at once, each a result of its own


def several(**functions: Callable[..., Any]) -> nn.Module:
    """A model of a convolution's results y (4 channels) by each of the functions (m, y)."""
    norms = {
        "layer": nn.LayerNorm(6), "group": nn.GroupNorm(2, 4), "instance": nn.InstanceNorm2d(4, affine=True), "rms": nn.RMSNorm([6, 6]),
        "tracked": nn.InstanceNorm2d(4, track_running_stats=True), "batch": nn.BatchNorm2d(4), "narrow": nn.Conv2d(4, 2, 1),
        "wide": nn.Conv2d(2, 4, 1), "same": nn.Conv2d(4, 4, 3, padding=1),
    }  # fmt: skip
    used = {name: part for name, part in norms.items() if any(name in f.__code__.co_names for f in functions.values())}
    return Of(lambda m, x: {name: f(m, y) for y in [m.first(x)] for name, f in functions.items()}, first=nn.Conv2d(4, 4, 1), **used)


def _written(m: Any, y: Tensor) -> Tensor:
    z = y.clone()
    z[:, 0] = 0
    z[:, 1] = y[:, 2]
    z += 1
    return z.clamp_(0)


OPERATORS: dict[str, dict[str, Callable[..., Any]]] = {
    "functions": {
        "relu6": lambda m, y: F.relu6(y), "leaky": lambda m, y: F.leaky_relu(y), "clamp": lambda m, y: y.clamp(-1, 1),
        "one end": lambda m, y: torch.clamp(y, min=0.0), "power": lambda m, y: y**2 + y.abs() ** 0.5 + 2**y,
        "roots": lambda m, y: torch.rsqrt(y.square() + 1) + torch.expm1(y) + torch.log1p(y.abs()) + y.sin() + torch.erf(y),
        "where": lambda m, y: torch.where(y > 0, y, y * 0.1), "filled": lambda m, y: y.masked_fill(y < 0, -1.0),
    },
    "sums and products": {
        "x - 1": lambda m, y: y - 1, "1 - x": lambda m, y: 1 - y, "x * y": lambda m, y: y * y.sigmoid(),
        "x / y": lambda m, y: y / (y.abs() + 1),
        "lerp": lambda m, y: torch.lerp(y, y + 1, 0.3), "addcmul": lambda m, y: torch.addcmul(y, y, y, value=2),
        "scaled": lambda m, y: y * 2 / 3,
        "positions": lambda m, y: y + torch.arange(6.0), "larger": lambda m, y: torch.maximum(y, y.flip(1)),
        "inner": lambda m, y: y @ y.transpose(-1, -2), "einsum": lambda m, y: torch.einsum("bchw,bdhw->bcd", y, y),
        "similar": lambda m, y: F.cosine_similarity(y, y + 1, 1),
        "SE": lambda m, y: y * m.wide(m.narrow(y.mean((2, 3), True)).relu()).sigmoid(),
    },
    "norms": {
        "layer": lambda m, y: m.layer(y), "group": lambda m, y: m.group(y), "instance": lambda m, y: m.instance(y),
        "rms": lambda m, y: m.rms(y),
        "tracked": lambda m, y: m.tracked(y), "before": lambda m, y: m.same(F.relu(m.batch(y))) + y,
        "unit": lambda m, y: F.normalize(y, dim=1),
        "local": lambda m, y: F.local_response_norm(y, 2), "softmax": lambda m, y: y.softmax(1), "log": lambda m, y: y.log_softmax(-1),
    },
    "movements": {
        "squeeze": lambda m, y: F.adaptive_avg_pool2d(y, 1).squeeze(-1).squeeze(-1), "corner": lambda m, y: y[:, :, 0, 0],
        "concat": lambda m, y: torch.concat([y, y * 2], axis=1), "permute": lambda m, y: y.permute(0, 2, 3, 1),
        "flip": lambda m, y: y.flip(1),
        "chunk": lambda m, y: y.chunk(2, 1)[0] * y.chunk(2, 1)[1], "split": lambda m, y: y.split([1, 3], 1),
        "roll": lambda m, y: y.roll(1, 2),
        "stack": lambda m, y: torch.stack([y, y + 1], 1), "unbind": lambda m, y: y.unbind(1)[2], "index": lambda m, y: y[:, [2, 0]],
        "select": lambda m, y: y.index_select(1, torch.tensor([1, 0])), "mask": lambda m, y: y[:, torch.tensor([True, False, True, True])],
        "gather": lambda m, y: torch.gather(y, 3, torch.zeros(y.size(0), 4, 6, 2, dtype=torch.long)), "steps": lambda m, y: y[:, ::2, 1:-1],
        "shuffle": lambda m, y: F.pixel_shuffle(y, 2), "windows": lambda m, y: F.unfold(y, 3),
        "repeat": lambda m, y: y[:, :1].repeat(1, 2, 1, 1),
        "pad": lambda m, y: F.pad(y, (1, 2, 0, 1), value=0.5), "circular": lambda m, y: F.pad(y, (1, 1, 1, 1), mode="circular"),
        "channels": lambda m, y: y.view(y.size(0), 2, 2, 6, 6).transpose(1, 2).reshape(y.shape), "written": _written,
        "new": lambda m, y: torch.cat([y, y.new_zeros(y.size(0), 1, 6, 6)], 1),
    },
    "pooling and upsampling": {
        "max": lambda m, y: F.max_pool2d(y, 3, 2, 1, ceil_mode=True),
        "average": lambda m, y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
        "by size": lambda m, y: F.avg_pool2d(y, y.size()[3]), "adaptive": lambda m, y: F.adaptive_max_pool2d(y, (2, 3)),
        "mean": lambda m, y: y.mean((2, 3)), "largest": lambda m, y: y.amax((2, 3)), "both": lambda m, y: y.max(1).values,
        "spread": lambda m, y: y.std(1), "norm": lambda m, y: y.norm(dim=1), "sums": lambda m, y: y.cumsum(1),
        "Lp": lambda m, y: F.lp_pool2d(y, 2, 2),
        "nearest": lambda m, y: F.interpolate(y, scale_factor=2), "down": lambda m, y: F.interpolate(y, (3, 4), mode="bilinear"),
        "bilinear": lambda m, y: F.interpolate(y, (9, 7), mode="bilinear", align_corners=True),
        "area": lambda m, y: F.interpolate(y, (3, 3), mode="area"),
    },
}  # fmt: skip


@pytest.mark.parametrize("group", OPERATORS)
def test_what_is_not_a_matrix_is_torchs(group: str) -> None:
    on_chip(several(**OPERATORS[group]), drawn(2, 4, 6, 6))


def test_every_activation_of_torch() -> None:
    made = {
        name: kind for name in nn.modules.activation.__all__
        if isinstance(kind := getattr(nn, name), type)
        and name not in ("MultiheadAttention", "Threshold", "Softmax", "Softmin", "LogSoftmax")
    }  # fmt: skip
    parts = {f"part_{name}": kind() for name, kind in made.items()}
    parts |= {"part_Threshold": nn.Threshold(0.1, 0.2), "part_per_channel": nn.PReLU(4), "part_in_place": nn.ReLU(inplace=True)}
    parts |= {f"part_{kind.__name__}": kind(1) for kind in (nn.Softmax, nn.Softmin, nn.LogSoftmax)}
    assert len(parts) > 25
    on_chip(Of(lambda m, x: {name: getattr(m, name)(m.first(x)) for name in parts}, first=nn.Conv2d(4, 4, 1), **parts), drawn(2, 4, 6, 6))


def test_code_around_the_layers() -> None:
    class Checks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(8, 3)

        def forward(self, x: Tensor, more: Tensor | None = None) -> Any:
            assert x.dim() == 2, "rows"
            if x.dim() == 2:
                x = self.hidden(x)
            if more is not None:
                x = x + more
            return x, {"twice": [x * 2, x.sum(1)]}

    assert sizes(on_chip(Checks(), drawn(2, 8))) == {"hidden": (1, 1, 3, 8)}


# ---- counts by hand


def counted(model: nn.Module, *given: Tensor) -> Network:
    """As `on_chip`, and two requests on the edge chip take time."""
    network = on_chip(model, *given)
    ledger = simulate(place(network, QUIET), Arrivals.batch(2))
    assert (ledger.latency > 0).all()
    return network


def test_attention_by_hand() -> None:
    """One head of width 8 over 5 rows: QK^T and AV are 5 x 5 x 8 multiply-accumulates each, the softmax runs over 5 rows of 5,
    the scores are scaled; every row of a result needs all keys."""
    model = Of(lambda m, x: m.a(x, x, x, need_weights=False)[0], a=nn.MultiheadAttention(8, 1, batch_first=True))
    network = counted(model, drawn(2, 5, 8))
    project, out = network.layers
    assert project.vectors == out.vectors == 5
    assert project.digital["product"] == 2 * 5 * 5 * 8
    assert project.digital["pool"] == 25  # the largest of each row
    assert project.digital["accumulator"] == 3 * 25  # less the largest, the sum, less its logarithm
    assert project.digital["activation"] == 2 * 25 + 5  # exponentials twice, a logarithm a row
    assert project.digital["multiplier"] == 25  # the scores are scaled
    assert out.needs == {"a.in_proj_weight": pytest.approx(np.full(5, 5))}
    assert not out.digital


def test_lstm_by_hand() -> None:
    """Four steps of width 3: each step adds the two products (12) and two bias-free terms of the cell (3), multiplies 3 x 3
    and passes 4 x 3 gates and the cell through a table; hh's step t needs its own step t - 1 and ih's step t - 1 or later."""
    network = counted(Of(lambda m, x: m.l(x)[0], l=nn.LSTM(8, 3, batch_first=True)), drawn(2, 4, 8))
    of_input, of_state = network.layers
    assert (of_input.name, of_input.vectors, of_input.needs) == ("l.weight_ih_l0", 4, {})
    assert (of_state.name, of_state.vectors) == ("l.weight_hh_l0", 4)
    assert of_state.needs["l.weight_hh_l0"].tolist() == [0, 1, 2, 3]
    assert of_state.needs["l.weight_ih_l0"].tolist() == [0, 1, 2, 3]
    assert of_state.digital == {"accumulator": 4 * (12 + 3), "multiplier": 4 * 9, "activation": 4 * 15}
    assert not of_input.digital
    assert network.consumers == {"l.weight_ih_l0": ("l.weight_hh_l0",), "l.weight_hh_l0": ("l.weight_hh_l0",)}


def test_steps_of_a_recurrence_follow_one_another() -> None:
    """Each step waits for the one before: every one more takes as long, a vector's reads of the array at least."""

    def latency(steps: int) -> float:
        network = trace(filled(Of(lambda m, x: m.l(x)[0], l=nn.RNN(8, 3, batch_first=True))), drawn(2, steps, 8))
        return float(simulate(place(network, QUIET), Arrivals.batch(1)).latency[0])

    vector = QUIET.input_slices * QUIET.timing.array_read
    short, middle, long = latency(2), latency(3), latency(4)
    assert middle - short >= vector
    assert long - middle == pytest.approx(middle - short, rel=0.02)


def test_convolutions_by_hand() -> None:
    """A window of 3 at stride 2 over 9 positions; at each end one position of padding."""
    line = counted(nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv1d(4, 2, 2)), drawn(2, 2, 9))
    assert sizes(line) == {"0": (5, 1, 4, 6), "2": (4, 1, 2, 8)}
    assert line.layer("0").reads.tolist() == [[-1, 0, 1], [1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 8, -1]]
    assert line.layer("2").needs["0"].tolist() == [2, 3, 4, 5]
    assert line.layer("0").digital == {"activation": 20}
    own = counted(nn.Sequential(nn.Conv2d(4, 8, 3, groups=4)), drawn(2, 4, 5, 4))
    assert sizes(own) == {"0": (6, 4, 2, 9)}
    assert own.operations == 2 * 6 * 8 * 9


def test_a_transposed_convolution_by_hand() -> None:
    """3 x 3 inputs, windows of 3 x 3 at stride 2: 81 products of each output channel land on 7 x 7 results, 49 of them first."""
    model = nn.Sequential(nn.ConvTranspose2d(4, 2, 3, stride=2), nn.Conv2d(2, 1, 7))
    network = counted(model, drawn(2, 4, 3, 3))
    assert sizes(network) == {"0": (9, 1, 18, 4), "1": (1, 1, 1, 98)}
    assert network.layer("0").digital == {"accumulator": 2 * (81 - 49)}
    assert network.layer("1").needs["0"].tolist() == [9]
    cut = counted(nn.Sequential(nn.ConvTranspose1d(2, 3, 2, stride=2), nn.Conv1d(3, 1, 1)), drawn(2, 2, 4))
    assert "accumulator" not in cut.layer("0").digital  # windows that do not overlap
    assert cut.layer("1").needs["0"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


def test_norms_and_gates_by_hand() -> None:
    """A layer norm of 5 rows of 6: the square, the root's reciprocal and the weight multiply each value; the mean, the deviation, the
    sum of squares and the shift add; one root a row. A gate of 6 values: 3 through a sigmoid, 3 products."""
    network = counted(nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6)), drawn(2, 5, 8))
    assert network.layers[0].digital == {"multiplier": 3 * 30, "accumulator": 4 * 30, "activation": 5}
    gate = counted(nn.Sequential(nn.Linear(8, 6), nn.GLU()), drawn(2, 5, 8))
    assert gate.layers[0].digital == {"activation": 15, "multiplier": 15}
    assert gate.outputs == {"0": 15}


# ---- calibration


def test_calibration_holds_512_vectors_however_many_images() -> None:
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)))
    images = drawn(1000, 1, 6, 6)
    whole = convert(model, QUIET, images, seed=0)
    loader = convert(model, QUIET, DataLoader(TensorDataset(images, torch.zeros(1000)), batch_size=7), seed=0)
    few = convert(model, QUIET, images.numpy()[:3], seed=np.int64(0))
    held = sum(tensor.numel() for tensor in whole.buffers())
    for name, layer in analog_layers(whole).items():
        other = analog_layers(loader)[name]
        assert layer.calibration_vectors.shape[1] == 512
        assert torch.equal(layer.calibration_vectors, other.calibration_vectors)
        assert layer.input_scale == other.input_scale
        assert torch.equal(layer.matrix.full_scale, other.matrix.full_scale)
        assert analog_layers(few)[name].calibration_vectors.shape[1] == {"0": 48, "3": 3}[name]
    more = convert(model, QUIET, images.repeat(2, 1, 1, 1), seed=0)
    assert sum(tensor.numel() for tensor in more.buffers()) == held
    assert analog_layers(whole)["0"].input_scale == pytest.approx(float(images.abs().max()) / 255)


def test_calibration_runs_few_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    largest, forward = [], Matrix.forward
    monkeypatch.setattr(Matrix, "forward", lambda self, x: (largest.append(len(x)), forward(self, x))[1])
    convert(filled(nn.Sequential(nn.Linear(8, 2))), QUIET, drawn(1000, 8), seed=0)
    assert max(largest) == 256
    assert sum(largest) == 2 * 1000  # once for the ranges, once to pick vectors


# ---- named errors, alike in cost and accuracy


def both_refuse(model: nn.Module, given: Any, *words: str, **options: Any) -> str:
    """Trace and convert raise an error of the project with all of these words; trace's."""
    said = []
    for run in (lambda: trace(model, given, **options), lambda: convert(model, IDEAL, given, seed=0, **options)):
        with pytest.raises((TraceError, ParameterError)) as caught:
            run()
        for word in words:
            assert word in str(caught.value)
        said.append(str(caught.value))
    return said[0]


class _Lacking(nn.Module):
    """Two operators that no chip has, a draw, and a table that is summed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bag = nn.Linear(8, 8), nn.EmbeddingBag(5, 3)

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.fft.rfft(y).abs()
        best = y.topk(3)[0]
        return best + self.bag(rows) + z.sum(1, keepdim=True) + torch.rand_like(best)


def test_all_that_the_chip_lacks_is_told_at_once() -> None:
    words = ("fft_rfft", "topk", "rand_like: draws at random", "test_graph.py:", "best = y.topk(3)[0]", "host=[")
    both_refuse(_Lacking(), (drawn(2, 8), torch.zeros(2, 2, dtype=torch.long)), *words)


def test_values_of_different_samples_are_not_joined() -> None:
    for name, joined in {
        "mean": lambda m, x: m.l(x - x.mean(0)), "softmax": lambda m, x: m.l(x).softmax(0), "add": lambda m, x: m.l(x) + m.l(x).roll(1, 0),
        "sum": lambda m, x: m.l(x) / m.l(x).sum(), "matmul": lambda m, x: m.l(x).T @ m.l(x),
    }.items():  # fmt: skip
        both_refuse(Of(joined, l=nn.Linear(8, 8)), drawn(3, 8), name, "different samples", "test_graph.py:")


def test_control_flow_on_values() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            if self.l(x).sum() > 0:
                return x
            return -x

    both_refuse(Branch(), drawn(2, 8), "depends on values", "torch.where", "test_graph.py:", "if self.l(x).sum() > 0")


def test_a_constant_in_a_form_that_is_no_matrix() -> None:
    model = Of(lambda m, x: torch.bmm(x, m.w.repeat(x.size(0), 1, 1)) @ m.v, w=weights(8, 3), v=weights(3, 2))
    both_refuse(filled(model), drawn(*ROWS), "bmm", "no matrix on crossbars")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (drawn(1, 6, 6), ("batch", "1 channels")), (drawn(2, 1, 2, 2), ("Kernel size",)), (drawn(2, 3, 6, 6), ("1 channels",)),
        (drawn(6), ("(batch, ...)",)), (drawn(0, 1, 6, 6), ("one sample or more",)), (drawn(2, 1, 6, 6) / 0, ("finite",)),
        ("images", ("tensor",)), (drawn(2, 1, 6, 6).double(), ("double",)),
    ],
)  # fmt: skip
def test_inputs_of_another_form(given: Any, words: tuple[str, ...]) -> None:
    both_refuse(nn.Sequential(nn.Conv2d(1, 2, 3)), given, *words)


@pytest.mark.parametrize("data", [[], [{"a": 1}], (drawn(2, 8) for _ in range(2)), drawn(8).numpy(), None, 3])
def test_calibration_data_of_another_form(data: Any) -> None:
    with pytest.raises(ParameterError, match="calibration_data"):
        convert(nn.Sequential(nn.Linear(8, 2)), IDEAL, data, seed=0)


def test_a_seed_is_a_whole_number() -> None:
    model = filled(nn.Sequential(nn.Linear(8, 2)))
    for seed in (1.5, "1", None):
        with pytest.raises(ParameterError, match="seed"):
            convert(model, IDEAL, drawn(2, 8), seed=seed)  # type: ignore[arg-type]
    noisy = load_chip("edge")
    x = drawn(2, 8)
    assert torch.equal(convert(model, noisy, x, seed=np.int64(3))(x), convert(model, noisy, x, seed=3)(x))


def test_a_converted_model_checks_its_inputs() -> None:
    converted = convert(filled(nn.Sequential(nn.Linear(8, 2))), IDEAL, drawn(2, 8), seed=0)
    for given in (drawn(8), drawn(2, 7), drawn(2, 3, 8)):
        with pytest.raises(ParameterError, match="as captured"):
            converted(given)


def test_inputs_unlike_those_of_calibration_are_told_with_their_share() -> None:
    model = filled(nn.Sequential(nn.Linear(8, 2)))
    for data, given, said in (
        (torch.rand(4, 8), -torch.rand(4, 8) - 0.1, "100.0% .* never negative"), (torch.zeros(4, 8), torch.ones(4, 8), "100.0% .* not 0"),
        (torch.ones(4, 8), torch.cat([torch.ones(4, 6), 2 * torch.ones(4, 2)], 1), "25.0% .* beyond"),
    ):  # fmt: skip
        converted = convert(model, QUIET, data, seed=0)
        with pytest.warns(RangeWarning, match=f"layer 0: {said}"):
            converted(given)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            converted(given)  # told once
    assert convert(model, QUIET, torch.zeros(4, 8), seed=0)(torch.zeros(4, 8)).isfinite().all()


# ---- a host


class _Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.strange, self.last = nn.Linear(8, 4), _Sorted(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.strange(self.first(x)))


class _Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).sort(-1)[0]


def test_a_host_takes_modules_that_the_chip_lacks() -> None:
    """32, 16 and 8 multiply-accumulates on the chip, the host, the chip; 4 values go to the host, the 4 that come back are the host's."""
    model, x = filled(_Parts()), drawn(2, 8)
    both_refuse(model, x, "sort of strange", "no counterpart")
    network = trace(model, x, host=["strange"])
    assert sizes(network) == {"first": (1, 1, 4, 8), "last": (1, 1, 2, 4)}
    assert network.host_operations == 2 * 16
    assert network.operations_shares == {
        "crossbar_operations_share": pytest.approx(40 / 56), "digital_operations_share": 0, "host_operations_share": pytest.approx(16 / 56)
    }  # fmt: skip
    assert (network.input_values, network.outputs) == (8 + 4, {"first": 4, "last": 2})
    converted = convert(model, IDEAL, x, seed=0, host=["strange"])
    assert list(analog_layers(converted)) == ["first", "last"]
    assert torch.allclose(converted(x), model(x), atol=1e-5)


@pytest.mark.parametrize(("host", "said"), [(["fisrt"], "no module 'fisrt'; there are first, last, strange"), ("first", "list of names")])
def test_hosts_that_are_none(host: Any, said: str) -> None:
    both_refuse(_Parts(), drawn(2, 8), said, host=host)


# ---- instances, training, and when a network is read anew


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Of(lambda m, x: m.l(x, x, x)[0], l=nn.MultiheadAttention(8, 2, batch_first=True)), (2, 4, 8)),
        (Of(lambda m, x: m.l(x)[0], l=nn.GRU(8, 3, batch_first=True)), (2, 4, 8)),
        (Of(lambda m, x: m.l(x.permute(3, 2, 0, 1)).sum((0, 1)), l=nn.Linear(4, 3)), (2, 4, 2, 2)),
        (Of(lambda m, x: m.l(x.transpose(0, 1).reshape(-1, 1, 3, 3)).unflatten(0, (2, -1)).sum(0), l=nn.Conv2d(1, 2, 2)), (2, 2, 3, 3)),
    ],
    ids=["attention", "recurrence", "axes", "images"],
)  # fmt: skip
def test_samples_of_an_instance_are_told_apart_wherever_they_lie(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Two instances as one batch are each as it is alone, also where the batch is not a tensor's first axis."""
    chip = load_chip("edge").with_changes(device={"read_noise_sigma": 0.0})
    x = drawn(*shape)
    converted = convert(filled(model), chip, x, seed=0)
    alone = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RangeWarning)
        for seed in (3, 4):
            program(converted, seed)
            alone.append(converted(x))
        program(converted, [3, 4])
        assert torch.allclose(converted(torch.cat([x, x])), torch.cat(alone), atol=1e-6)
    assert not torch.allclose(*alone, atol=1e-3)


def test_dropout_is_of_training() -> None:
    """Of every kind, also in attention and between recurrent layers."""
    functional = Of(lambda m, x: F.dropout(m.a(x), 0.5, training=m.training), a=nn.Linear(8, 8))
    attention = Of(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True))
    recurrent = Of(lambda m, x: m.a(x)[0], a=nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True))
    modules = [nn.Sequential(nn.Linear(8, 8), drop) for drop in (nn.Dropout(0.5), nn.AlphaDropout())]
    for model in (functional, attention, recurrent, *modules):
        x = drawn(2, 3, 8)
        converted = convert(filled(model), IDEAL, x, seed=0)
        assert torch.allclose(converted(x), model(x), atol=1e-5)
        converted.train()
        torch.manual_seed(0)
        first, second = converted(x), converted(x)
        assert not torch.allclose(first, second, atol=1e-3)
        converted.eval()
        assert torch.allclose(converted(x), model(x), atol=1e-5)


def test_training_on_the_chip_reaches_all_weights() -> None:
    model = filled(Of(lambda m, x: m.o(m.r(x)[0][:, -1]), r=nn.LSTM(8, 3, batch_first=True), o=nn.Linear(3, 2)))
    x = drawn(2, 3, 8)
    converted = convert(model, QUIET, x, seed=0)
    converted.train()
    converted(x).square().sum().backward()
    for name, layer in analog_layers(converted).items():
        assert layer.matrix.weight.grad.abs().sum() > 0, name


def test_a_network_is_captured_anew_where_it_changed() -> None:
    x = drawn(2, 8)
    model = filled(nn.Sequential(nn.Linear(8, 4), nn.LeakyReLU(0.1), nn.Linear(4, 2)))
    first = capture(model, x)
    assert capture(model, drawn(5, 8)) is first
    assert capture(model.train(), x) is first
    model.eval()
    model[1].negative_slope = 0.9
    changed = capture(model, x)
    assert changed is not first
    model[1] = nn.ReLU()
    replaced = capture(model, x)
    assert replaced is not changed
    hook = model[0].register_forward_hook(lambda module, given, result: result * 2)
    assert capture(model, x) is not replaced
    assert torch.allclose(convert(model, IDEAL, x, seed=0)(x), model(x), atol=1e-5)
    hook.remove()
    assert capture(model, x) is replaced
    with torch.no_grad():
        model[0].weight.mul_(-2)
        model[2].weight[0] = 0
    assert torch.allclose(convert(model, IDEAL, x, seed=0)(x), model(x), atol=1e-5)
    assert sizes(trace(model, x, pack=True))["2"] == (1, 1, 1, 4)
    assert capture(model, x) is replaced
    tied = nn.Linear(8, 4)
    tied.weight = model[0].weight
    model[0] = tied
    assert torch.allclose(convert(model, IDEAL, x, seed=0)(x), model(x), atol=1e-5)


def test_a_model_that_holds_a_partial_is_kept_by_what_it_holds() -> None:
    model = filled(Of(lambda m, x: m.l(m.act(x)), l=nn.Linear(8, 4), act=functools.partial(F.leaky_relu, negative_slope=0.1)))
    first = capture(model, x := drawn(2, 8))
    model.act = functools.partial(F.leaky_relu, negative_slope=0.1)
    assert capture(model, x) is first
    model.act = functools.partial(F.leaky_relu, negative_slope=0.2)
    assert capture(model, x) is not first


def test_a_captured_model_is_let_go() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    trace(model, drawn(2, 8))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0])
def test_bags_of_embeddings_are_look_ups_and_what_is_made_of_them(mode: str, padding: int | None) -> None:
    """A table is read once for each look-up of a bag, whatever becomes of the rows. Its weights keep their 8 bits."""
    model = filled(Of(lambda m, x: m.bag(x), bag=nn.EmbeddingBag(6, 3, mode=mode, padding_idx=padding)))
    rows = torch.tensor([[1, 2, 5, 0], [3, 3, 4, 1]])
    network, converted = trace(model, rows), convert(model, QUIET, rows, seed=0)
    (layer,) = network.layers
    assert (layer.lookup, layer.vectors, layer.inputs, layer.outputs) == (True, 4, 6, 3)
    (table,) = analog_layers(converted).values()
    assert isinstance(table, AnalogEmbedding)
    with torch.no_grad():
        held = table.matrix.exact_product(torch.arange(6).unsqueeze(0), table.input_scale)[0].float()  # the rows as mapped
        kept = nn.EmbeddingBag(6, 3, mode=mode, padding_idx=padding, _weight=held)
        step = float(table.matrix.mapped.scale.max())
        assert torch.allclose(converted(rows), kept(rows), atol=(4 if mode == "sum" else 1) * step)


def test_what_the_chips_own_errors_move_out_of_range_is_no_warning() -> None:
    """Layers that read the network's inputs warn; others read what the chip made, whose sizes the inputs tell as well."""
    model = filled(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)))
    watched = {name: layer.watched for name, layer in analog_layers(convert(model, QUIET, drawn(4, 1, 6, 6), seed=0)).items()}
    assert watched == {"0": True, "3": False}

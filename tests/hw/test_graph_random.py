"""Networks drawn at random: what a chip computes is torch's, and cost and accuracy read one graph.

Every network is checked against things computed apart from the graph: the float model, torch's own layers on values that are
rounded here, and hooks on the model's own modules. A network follows from one number: hypothesis draws that, `drawn` all else.
"""

import random
import re
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from xbar.hw import Arrivals, Network, convert, load_chip, place, simulate, trace
from xbar.hw.analog import analog_layers
from xbar.hw.array.crossbar import ActionCounts
from xbar.hw.graph.operators import OF_ONE

EDGE = load_chip("edge").with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0})
LOSSLESS = EDGE.with_changes(component={"adc": {"range": "ideal"}})
IDEAL = LOSSLESS.with_changes(
    device={"levels": 256}, weights={"quantise": False, "bits": 8}, inputs={"quantise": False}, component={"dac": {"bits": 8}}
)
pytestmark = pytest.mark.filterwarnings("ignore::xbar.hw.errors.RangeWarning")  # weights of few bits leave the float model's ranges
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS, TRANSPOSED = MATRICES[1:4], MATRICES[4:]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = 16
# Of the registry's functions of one value those left out here: steps, at which the last bit of a value decides, and names that are
# no function of torch's, or one in place.
STEPS = {"sign", "sgn", "ceil", "floor", "round", "trunc", "hardshrink", "softshrink", "threshold"}
NO_FUNCTIONS = {"log_sigmoid", "log_sigmoid_forward", "relu_", "hardtanh_"}
POSITIVE = {"log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal"}  # are given 1 + |x|
BOUNDED = {"exp", "expm1", "exp2", "tan", "asin", "acos", "sinh", "cosh", "logit"}  # are given tanh(x) / 2, logit a half more
ARGUMENTS = {"clamp": (-0.5, 0.7), "clamp_min": (-0.4,), "clamp_max": (0.6,), "clip": (-0.3, 0.8)}
ONE_VALUE = sorted(set(OF_ONE) - STEPS - NO_FUNCTIONS)
WHOLE = {  # of rows or of whole samples, of any shape
    "flip": lambda x: x.flip(-1), "roll": lambda x: x.roll(1, -1), "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, 1), "cumsum": lambda x: x.cumsum(-1), "mean": lambda x: x - x.mean(1, keepdim=True),
    "amax": lambda x: x - x.amax(-1, keepdim=True), "maximum": lambda x: torch.maximum(x, x.flip(1)), "pow": lambda x: x**2,
    "where": lambda x: torch.where(x > 0, x, x / 3), "lerp": lambda x: torch.lerp(x, x.flip(-1), 0.3), "pad": lambda x: F.pad(x, (1, 0)),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(1), value=0.3), "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:]),
    "logsumexp": lambda x: x - x.logsumexp(-1, keepdim=True), "std": lambda x: x / (1 + x.var(1, keepdim=True, correction=0)),
    "stack": lambda x: torch.stack([x, x.flip(-1)]).mean(0), "split": lambda x: torch.cat(x.split(1, 1)[::-1], 1),
    "repeat": lambda x: x.repeat_interleave(2, -1), "div": lambda x: x / (1 + x.abs().sum(1, keepdim=True)),
    "in place": lambda x: F.relu_(x.clone()) - 0.1, "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
}  # fmt: skip


class Value(nn.Module):
    """A function of one value from the registry."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """The function of x, or of what of x it is defined for."""
        if self.name in POSITIVE:
            x = 1 + x.abs()
        if self.name in BOUNDED:
            x = torch.tanh(x) / 2 + (0.5 if self.name == "logit" else 0)
        function = getattr(torch, self.name, None) or getattr(F, self.name)
        return function(x, *ARGUMENTS.get(self.name, ()))


class Whole(nn.Module):
    """A function of rows or samples."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ...)."""
        return WHOLE[self.name](x)


class Plus(nn.Module):
    """What goes in, added to what a part makes of it."""

    def __init__(self, part: nn.Module):
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """x + part(x)."""
        return x + self.part(x)


class Gated(Plus):
    def forward(self, x: Tensor) -> Tensor:
        """x * sigmoid(part(x))."""
        return x * torch.sigmoid(self.part(x))


class Beside(Plus):
    def forward(self, x: Tensor) -> Tensor:
        """x and part(x) along the channels."""
        return torch.cat([x, self.part(x)], dim=1)


class Twice(Plus):
    def forward(self, x: Tensor) -> Tensor:
        """One part used twice."""
        return self.part(torch.relu(self.part(x)) - 0.1)


class Apart(nn.Module):
    """A norm after one use of a part and not after the other."""

    def __init__(self, part: nn.Module, norm: nn.Module):
        super().__init__()
        self.part, self.norm = part, norm

    def forward(self, x: Tensor) -> Tensor:
        """part(x) + norm(part(x / 2))."""
        return self.part(x) + self.norm(self.part(x / 2))


class Cut(nn.Module):
    """Some channels, or positions."""

    def __init__(self, axis: int, first: int):
        super().__init__()
        self.axis, self.first = axis, first

    def forward(self, x: Tensor) -> Tensor:
        """x from `first` on."""
        return x.narrow(self.axis, self.first, x.shape[self.axis] - self.first)


class Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(batch, rows, features) to (batch, features, rows)."""
        return x.transpose(1, 2)


class Attend(nn.Module):
    """One head of attention."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, rows, width)."""
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        return torch.softmax(scores / x.shape[-1] ** 0.5, -1) @ self.value(x)


class Recur(nn.Module):
    """h = tanh(W x_t + U h), row by row."""

    def __init__(self, width: int):
        super().__init__()
        self.of_input, self.of_state, self.width = nn.Linear(width, width), nn.Linear(width, width), width

    def forward(self, x: Tensor) -> Tensor:
        """(batch, rows, width)."""
        state, states = x.new_zeros(x.size(0), self.width), []
        for step in range(x.size(1)):
            state = torch.tanh(self.of_input(x[:, step]) + self.of_state(state))
            states.append(state)
        return torch.stack(states, dim=1)


def drawn(seed: int, norms: bool = True) -> tuple[nn.Module, Tensor]:
    """A network of 2 to 5 parts, float64, and three samples: rows, or space of 1 to 3 dimensions."""
    draw = random.Random(seed)
    dims = draw.randrange(4)
    shape = [draw.randint(2, 4), *[draw.randint(3, 5) for _ in range(dims)]] if dims else [draw.randint(2, 4), 4]
    first, parts = tuple(shape), []
    for _ in range(draw.randint(2, 5)):
        part = draw.choice(_possible(draw, shape, dims, norms))()
        parts.append(part)
        with torch.no_grad():
            out = part.eval()(torch.zeros(2, *shape))
        shape = list(out.shape[1:])
        dims = out.dim() - 2 if dims or isinstance(part, Turn) else 0
    parts += [nn.Flatten(), nn.Linear(prod(shape), 3)]
    model = nn.Sequential(*parts).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.4
                tensor.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
    x = torch.randn(3, *first, generator=generator, dtype=torch.float64)
    return model, x.abs() if draw.random() < 0.5 else x


def _possible(draw: random.Random, shape: list[int], dims: int, norms: bool) -> list:  # type: ignore[type-arg]
    """Functions that make parts for an input (batch, *shape): rows of features without dims, else channels and space."""
    value, whole = lambda: Value(draw.choice(ONE_VALUE)), lambda: Whole(draw.choice(sorted(WHOLE)))
    width = shape[-1] if not dims else shape[0]
    if not dims:
        same = lambda: nn.Linear(width, width)  # noqa: E731
        found = [
            value, whole, lambda: nn.Linear(width, draw.randint(1, 6), bias=draw.random() < 0.5), lambda: nn.LayerNorm(width),
            lambda: Attend(width), lambda: Recur(width), lambda: Turn(),
        ]  # fmt: skip
        return found + [lambda kind=kind: kind(same()) for kind in (Plus, Gated, Twice)]
    convolution, transposed, norm = CONVOLUTIONS[dims - 1], TRANSPOSED[dims - 1], NORMS[dims - 1]
    same = lambda: convolution(width, width, 3, padding=1, groups=draw.choice([1, width]))  # noqa: E731
    found = [value, whole, *[lambda kind=kind: kind(same()) for kind in (Plus, Gated, Twice)]]
    if prod(shape) > 1:  # of a group of one value torch makes no norm where the batch is of one sample
        found.append(lambda: nn.GroupNorm(1, width))
    if min(shape[1:]) > 1:
        found += [
            lambda: convolution(width, draw.randint(1, 5), 2, stride=draw.randint(1, 2), padding=draw.randint(0, 1)),
            lambda: convolution(width, 2, 3, dilation=draw.randint(1, 2), padding="same"),
            lambda: (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1](2),
            lambda: (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1](2, 1),
        ]
    if prod(shape[1:]) < 40:
        found.append(lambda: transposed(width, draw.randint(1, 3), 2, stride=2, padding=draw.randint(0, min(1, min(shape[1:]) - 1))))
    if 1 < width < 5:
        found += [lambda: Beside(same()), lambda: Cut(1, 1)]
    if norms:
        found += [
            lambda: nn.Sequential(same(), norm(width)), lambda: norm(width), lambda: Apart(same(), norm(width)),
        ]  # fmt: skip
    return found


def far(found: Tensor, expected: Tensor) -> float:
    """Largest deviation, of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9))


@given(seed=SEEDS)
@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
def test_on_an_ideal_chip_a_network_is_its_float_self(seed: int) -> None:
    """And cost and accuracy read one graph: layers, signs, vectors, and what events count is what the functional model does."""
    model, x = drawn(seed)
    converted, network = convert(model, IDEAL, x, seed=0), trace(model, x)
    with torch.no_grad():
        assert far(converted(x), model(x)) < 1e-5
        assert far(converted(x[:1]), model(x[:1])) < 1e-5
    layers = analog_layers(converted)
    assert list(layers) == [layer.name for layer in network.layers]
    for layer in network.layers:
        assert layers[layer.name].matrix.signed_input == layer.signed_input
        assert (layer.groups, layer.outputs, layer.inputs) == tuple(layers[layer.name].matrix.weight.shape)
    assert by_module({layer.name: layer.vectors for layer in network.layers}) == vectors_by_hooks(model, x[:1])
    check_events(model, network, x)


def by_module(counts: dict[str, int]) -> dict[str, int]:
    """Counts of layers by the model's own modules: one that was folded apart for one use is a matrix of its own."""
    found: dict[str, int] = {}
    for name, count in counts.items():
        module = re.sub(r"_call\d+$", "", name)
        found[module] = found.get(module, 0) + count
    return found


def vectors_by_hooks(model: nn.Module, x: Tensor) -> dict[str, int]:
    """Vectors of one sample by module: rows of a linear layer, positions of a convolution's results, of a transposed one's inputs."""
    found: dict[str, int] = {}

    def count(name: str, module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        if isinstance(module, nn.Linear):
            vectors = given[0].numel() // module.in_features
        else:
            vectors = prod((given[0] if isinstance(module, TRANSPOSED) else result).shape[2:])
        found[name] = found.get(name, 0) + vectors

    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: count(name, m, i, o))
        for name, module in model.named_modules() if isinstance(module, MATRICES)
    ]  # fmt: skip
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


@given(seed=SEEDS, packed=st.booleans())
@settings(deadline=None, max_examples=EXAMPLES, derandomize=True)
def test_on_a_chip_without_losses_it_is_torch_on_rounded_values(seed: int, packed: bool) -> None:
    """5-bit weights and 8-bit inputs, each to the nearest of the steps up to the largest magnitude of its layer."""
    model, x = drawn(seed, norms=False)
    if packed:
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    module.weight[0] = 0
                    module.weight[:, -1] = 0
                    module.weight[-1, 0] = 0.3
    converted, network = convert(model, LOSSLESS, x, seed=0, pack=packed), trace(model, x, pack=packed)
    found = converted(x)
    largest: dict[nn.Module, float] = {}
    rounding = [False]

    def watch(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not rounding[0]:
            largest[module] = max(largest.get(module, 0.0), float(given[0].abs().max()))
            return None
        step = largest[module] / 255 or 1.0
        return ((given[0] / step).round().clamp(-255, 255) * step,)

    matrices = [module for module in model.modules() if isinstance(module, MATRICES)]
    hooks = [module.register_forward_pre_hook(watch) for module in matrices]
    with torch.no_grad():
        model(x)
        rounding[0] = True
        for module in matrices:
            step = float(module.weight.abs().max()) / 15 or 1.0
            module.weight.copy_((module.weight / step).round() * step)
        assert far(found, model(x)) < 1e-6
    for hook in hooks:
        hook.remove()
    for layer in network.layers:
        assert (layer.groups, layer.outputs, layer.inputs) == tuple(analog_layers(converted)[layer.name].matrix.weight.shape)


def check_events(model: nn.Module, network: Network, x: Tensor) -> None:
    """Counts of the event simulation are those of the functional model."""
    placement = place(network, EDGE)
    ledger = simulate(placement, Arrivals.batch(1))
    converted = convert(model, EDGE, x, seed=0)
    layers = analog_layers(converted)
    for layer in layers.values():
        layer.matrix.counts = ActionCounts()
    converted(x[:1])
    for name, layer in layers.items():
        counts, actions = layer.matrix.counts, ledger.actions.loc[name]
        slices = EDGE.input_slices * EDGE.passes(layer.matrix.signed_input) * counts.vectors
        assert counts.vectors == placement.network.layer(name).vectors
        assert counts.drives == actions["dac"]
        assert counts.conversions == actions["adc"]
        assert actions["crossbar"] == placement.geometry(name).crossbars * slices
    assert ledger.total_energy > 0

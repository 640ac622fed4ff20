"""What the traced dataflow says must exist, against what torch's gradients say is used."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from tests.hw.networks import Residual, residual, seeded, small_convolutional
from xbar.hw import TraceError, trace
from xbar.hw.graph.network import Network, fold


class _Watch(fx.Interpreter):
    """Runs the folded model and keeps every layer's result with its gradient."""

    def __init__(self, network: Network):
        super().__init__(network.module)
        self.nodes = {layer.node: layer.name for layer in network.layers}
        self.results: dict[str, Tensor] = {}
        self.inputs: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        if n.name in self.nodes:
            self.inputs[self.nodes[n.name]] = self.env[n.args[0]]
        value = super().run_node(n)
        if n.name in self.nodes:
            value = value.detach().requires_grad_()
            self.results[self.nodes[n.name]] = value
        return value


def used_positions(network: Network, example: Tensor, reader: str) -> dict[str, np.ndarray]:
    """For each vector of `reader`: the last position (raster order, one-based) of each earlier layer whose
    result has a gradient into what the vector reads; running maximum over the vectors."""
    watch = _Watch(network)
    watch.run(example)
    read = watch.inputs[reader]
    layer = network.layer(reader)
    module = network.module.get_submodule(reader)
    if isinstance(module, nn.Conv2d):
        windows = nn.functional.unfold(
            read, module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride
        )[0].T
    else:
        windows = read[0].reshape(layer.vectors, -1)
    used: dict[str, list[int]] = {}
    for window in windows if windows.requires_grad else []:
        for name, result in watch.results.items():
            (gradient,) = torch.autograd.grad(window.sum(), result, retain_graph=True, allow_unused=True)
            if gradient is None or name == reader:
                continue
            touched = gradient[0].abs().reshape(gradient.shape[1], -1).sum(0).nonzero()
            used.setdefault(name, []).append(int(touched.max()) + 1 if len(touched) else 0)
    return {name: np.maximum.accumulate(last) for name, last in used.items()}


def smooth(network: tuple[nn.Module, Tensor]) -> tuple[nn.Module, Tensor]:
    """The same with a sigmoid for ReLU and mean for max pooling: gradients vanish nowhere."""
    model, example = network
    for name, module in list(model.named_children()):
        if isinstance(module, nn.ReLU):
            model.set_submodule(name, nn.Sigmoid())
        elif isinstance(module, nn.MaxPool2d):
            model.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
    return model, example


class SmoothResidual(Residual):
    def forward(self, x: Tensor) -> Tensor:
        stem = torch.sigmoid(self.stem(x))
        joined = torch.sigmoid(self.second(torch.sigmoid(self.first(stem))) + stem)
        both = torch.cat([joined, torch.sigmoid(self.side(stem))], dim=1)
        return self.out(torch.flatten(nn.functional.adaptive_avg_pool2d(both, 1), 1))


CASES = {
    "digits": lambda: smooth(small_convolutional()),
    "residual": lambda: (seeded(SmoothResidual), torch.rand(1, 2, 6, 6)),
    "strides and dilation": lambda: (
        seeded(
            None, nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Sigmoid(), nn.Conv2d(2, 2, 3, dilation=2, padding=2),
            nn.Sigmoid(), nn.AvgPool2d(3, stride=2, padding=1), nn.Conv2d(2, 3, (1, 3)), nn.Flatten(), nn.Linear(24, 2),
        ),
        torch.rand(1, 1, 16, 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_needs_are_what_gradients_reach(case: str) -> None:
    model, example = CASES[case]()
    network = trace(model, example[:1])
    checked = 0
    for layer in network.layers:
        used = used_positions(network, example[:1], layer.name)
        direct = {name: last for name, last in used.items() if name in layer.needs}
        assert set(direct) == set(layer.needs)
        for name, last in direct.items():
            assert layer.needs[name].tolist() == last.tolist(), (layer.name, name)
            checked += 1
    assert checked == sum(len(readers) for readers in network.consumers.values()) > 0


def test_windows_name_the_positions_read() -> None:
    network = trace(seeded(None, nn.Conv2d(1, 1, 2, stride=1, padding=1, dilation=2)), torch.rand(1, 1, 3, 4))
    (layer,) = network.layers
    first, last = layer.reads[0], layer.reads[-1]
    assert first.tolist() == [-1, -1, -1, 5]  # taps at rows -1, 1 and columns -1, 1
    assert last.tolist() == [6, -1, -1, -1]  # rows 1, 3 and columns 2, 4 of a 3 x 4 input


def test_the_graph_is_a_networkx_digraph_of_the_model() -> None:
    model, example = residual()
    network = trace(model, example)
    assert isinstance(network.graph, nx.DiGraph)
    assert nx.is_directed_acyclic_graph(network.graph)
    kinds = nx.get_node_attributes(network.graph, "kind")
    assert sorted(kinds.values()).count("matrix") == 5
    assert {"add", "concat", "pool", "flatten", "input", "output"} <= set(kinds.values())
    assert network.consumers == {
        "stem": ("first", "side", "out"), "first": ("second",), "second": ("out",),
        "side": ("out",), "out": (),
    }  # fmt: skip


def test_a_sum_travels_from_where_it_is_made() -> None:
    """stem's skip goes to second, where the sum is made; the sum goes on, not the skip again."""
    network = trace(*residual())
    flows = {(f.source, f.target, f.addend): f.values for f in network.flows}
    assert flows == {
        ("", "stem", False): 72, ("stem", "first", False): 216, ("first", "second", False): 216,
        ("stem", "second", True): 216, ("stem", "side", False): 216, ("second", "out", False): 6,
        ("side", "out", False): 4,
    }  # fmt: skip
    assert network.layer("second").digital["accumulator"] == 216


def test_operations_by_hand() -> None:
    model, example = small_convolutional()
    network = trace(model, example)
    assert network.operations == 2 * (64 * 9 * 8 + 16 * 72 * 16 + 64 * 10)
    first, second, _ = network.layers
    assert first.digital == {"activation": 512, "pool": 512}
    assert second.digital == {"activation": 256, "pool": 256}
    assert not any(layer.signed_input for layer in network.layers)
    assert trace(model, example - 0.5).layers[0].signed_input


def test_a_module_called_twice_is_two_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.relu(self.linear(x)))

    network = trace(Twice(), torch.rand(2, 4))
    assert [layer.name for layer in network.layers] == ["linear", "linear_call2"]


class Multiplies(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * x


@pytest.mark.parametrize(
    ("model", "example", "said"),
    [
        (Multiplies(), torch.rand(2, 4), r"mul .* no counterpart"),
        (nn.Sequential(nn.ReLU()), torch.rand(2, 4), "no Linear or Conv2d"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), torch.rand(2, 4), "does not directly follow"),
        (nn.Sequential(nn.Linear(4, 2)), torch.rand(4), "example input"),
        (nn.Sequential(nn.Linear(4, 2)), torch.full((1, 4), float("inf")), "finite"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding="same")), torch.rand(1, 1, 5, 5), "zero padding given in numbers"),
    ],
)
def test_what_cannot_run_on_the_chip(model: nn.Module, example: Tensor, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        trace(model, example)


def test_fold_leaves_the_model_alone() -> None:
    model = seeded(None, nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

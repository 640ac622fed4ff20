"""What the traced dataflow says must exist, against what torch's gradients say is used."""

import math
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from tests.hw.networks import Residual, residual, seeded, small_convolutional
from xbar.hw import TraceError, convert, load_chip, trace
from xbar.hw.analog import analog_layers
from xbar.hw.graph.fold import fold
from xbar.hw.graph.matrix import Matrix
from xbar.hw.graph.network import Network


class _Watch(fx.Interpreter):
    """Runs the graph and keeps every layer's result with its gradient."""

    def __init__(self, network: Network):
        super().__init__(network.module)
        self.nodes = {node: layer.name for layer in network.layers for node in layer.nodes}
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
    assert isinstance(module, Matrix)
    if (how := module.layout).kind == "convolution":
        windows = nn.functional.unfold(read, how.kernel, dilation=how.dilation, padding=how.before, stride=how.stride)[0].T
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
    assert {"add", "move", "pool", "activation", "input", "output"} <= set(kinds.values())
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


def test_a_module_called_twice_is_one_set_of_cells_used_in_turn() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.relu(self.linear(x)))

    network = trace(Twice(), torch.rand(2, 4))
    (layer,) = network.layers
    assert (layer.name, layer.vectors, layer.needs["linear"].tolist()) == ("linear", 2, [0, 1])
    assert network.consumers == {"linear": ("linear",)}


class Sorts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(self.linear(x)).values


class Empty(nn.Module):
    """A linear layer without outputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of initialising nothing
            self.inner = nn.Linear(inputs, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "example", "said"),
    [
        (Sorts(), torch.rand(2, 4), r"sort: no counterpart on the chip; .*test_network.py:\d+: return torch.sort"),
        (nn.Sequential(nn.ReLU()), torch.rand(2, 4), "no Linear, convolution"),
        (nn.Sequential(nn.Linear(4, 2)), torch.rand(4), "example input"),
        (nn.Sequential(nn.Linear(4, 2), Empty(2)), torch.rand(1, 4), r"layer 1.inner has no weights: its shape is \(0, 2\)"),
        (nn.Sequential(nn.Linear(4, 2)), torch.full((1, 4), float("inf")), "finite"),
    ],
)
def test_what_cannot_run_on_the_chip(model: nn.Module, example: Tensor, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        trace(model, example)


def test_fold_leaves_the_model_alone() -> None:
    model = seeded(None, nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold(model, torch.rand(1, 1, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Middle(nn.Module):
    """Two layers on the chip, and `middle` between them, to be left to a host."""

    def __init__(self, middle: nn.Module, width: int = 5):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 4), middle, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


class Gram(nn.Module):
    """Rows times themselves."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ x.transpose(1, 2)


class FromTheLeft(nn.Module):
    """A constant times columns."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.rand(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.mixing @ x


class TestHost:
    """What a host does is counted by hand: 2 operations a multiply-accumulate, values there and back."""

    @pytest.mark.parametrize(
        ("middle", "shape", "width", "operations", "taken", "given"),
        [
            (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), (6,), 5, 2 * 4 * 5, 4, 5),
            (nn.Sequential(nn.Linear(4, 5), nn.ReLU()), (3, 6), 5, 3 * 2 * 4 * 5, 3 * 4, 3 * 5),
            (nn.Conv1d(3, 5, 2), (3, 6), 3, 2 * 5 * 3 * 2 * 3, 3 * 4, 5 * 3),
            (Gram(), (3, 6), 3, 2 * 3 * 3 * 4, 3 * 4, 3 * 3),
            (FromTheLeft(), (3, 6), 4, 2 * 7 * 3 * 4, 3 * 4, 7 * 4),
            (Sorts(), (6,), 4, 2 * 4 * 4, 4, 4),
        ],
        ids=["linear", "linear of rank 3", "convolution", "product of activations", "from the left", "unknown to the chip"],
    )
    def test_operations_and_values(
        self, middle: nn.Module, shape: tuple[int, ...], width: int, operations: int, taken: int, given: int
    ) -> None:
        network = trace(Middle(middle, width), torch.rand(2, *shape), host=["middle"])
        assert [layer.name for layer in network.layers] == ["first", "last"]
        results = math.prod(network.module(torch.rand(2, *shape)).shape[1:])
        assert (network.host_operations, network.input_values) == (operations, math.prod(shape) + given)
        assert network.output_values == sum(network.outputs.values()) == taken + results
        assert network.outputs == {"first": taken, "last": results}

    def test_inputs_and_outputs_are_at_the_host_anyway(self) -> None:
        model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5), nn.Linear(5, 3))
        network = trace(model, torch.rand(2, 6), host=["0", "2"])
        assert [layer.name for layer in network.layers] == ["1"]
        assert (network.host_operations, network.input_values, network.outputs) == (2 * (6 * 4 + 5 * 3), 4, {"1": 5})
        assert network.operations_shares["host_operations_share"] == (24 + 15) / (24 + 20 + 15)

    def test_a_table_of_a_host_is_on_no_crossbar(self) -> None:
        """Three rows of 8 values come to the chip; the host multiplies nothing for them."""
        model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 4)).eval()
        rows = torch.randint(50, (2, 3))
        network = trace(model, rows, host=["0"])
        assert [layer.name for layer in network.layers] == ["1"]
        assert (network.host_operations, network.input_values, network.index_bits, network.outputs) == (0, 24, (), {"1": 12})
        converted = convert(model, load_chip("edge"), rows, seed=0, host=["0"])
        assert list(analog_layers(converted)) == ["1"]

    def test_layers_of_a_host_stay_float_on_a_converted_model(self) -> None:
        model = Middle(nn.Linear(4, 5))
        with torch.no_grad():
            model.last.weight.zero_()  # what comes from the chip is then the bias alone
        data = torch.rand(8, 6)
        converted = convert(model, load_chip("edge"), data, seed=0, host=["middle", "last"])
        assert list(analog_layers(converted)) == ["first"]
        assert torch.equal(converted(data), model(data))

    def test_a_batch_norm_of_the_chip_is_not_folded_into_a_layer_of_the_host(self) -> None:
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
        network = trace(model, torch.rand(2, 6), host=["0"])
        assert network.layer("2").digital == {"multiplier": 4.0, "accumulator": 4.0}
        assert not trace(model, torch.rand(2, 6)).layer("0").digital

    def test_a_model_that_is_all_left_to_the_host_is_refused(self) -> None:
        with pytest.raises(TraceError, match="no Linear, convolution or other constant matrix"):
            trace(nn.Sequential(nn.Linear(6, 4)), torch.rand(2, 6), host=["0"])

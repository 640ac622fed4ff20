"""Smaller networks equal the masked ones; what is unused goes; what is packed saves crossbars."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from xbar.compression.constraints import Channel, Column, CrossbarBlock, Filter
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import groups_of, matrix_layers, matrix_of, set_weight
from xbar.compression.magnitude import magnitude_masks, one_shot
from xbar.compression.masks import attach, bake, hold_zeros, masks_of, nonzero_masks
from xbar.compression.packing import crossbars_needed, packing, used_arrays, weights_in_cells
from xbar.compression.paths import remove_unused_paths, silence, unused_path_masks
from xbar.compression.shrink import shrink
from xbar.compression.state import rebuild, small_state
from xbar.hw import Chip, place, trace
from xbar.models import VGG16, DigitsCNN, ResNet18, ResNet20
from xbar.models.lenet import LeNet5Caffe


def _random(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with batch norms as if trained, so that a filter without weights emits something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for part, low in ((module.weight, 0.5), (module.bias, -0.3), (module.running_var, 0.5)):
                part.data.copy_(low + torch.rand(part.shape, generator=generator))
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) / 5)
    return model.eval()


def _images(*shape: int) -> Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(7))


def _equal(model: nn.Module, small: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        wanted = model(x)
        assert bool(wanted.isfinite().all())
        return bool((small(x) - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max())))


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


NETWORKS = [
    (LeNet5Caffe, (1, 28, 28), ("fc2",), 0.35),
    (VGG16, (3, 32, 32), ("classifier",), 0.35),
    (ResNet20, (3, 32, 32), ("linear",), 0.75),
    (ResNet18, (3, 32, 32), ("linear",), 0.75),
]


@pytest.mark.parametrize(("build", "shape", "whole", "most"), NETWORKS)
def test_shrunk_network_equals_the_masked_one(
    build: Callable[[], nn.Module], shape: tuple[int, ...], whole: tuple[str, ...], most: float
) -> None:
    """Half of all filters silent: at most this share of the parameters is left (streams of a residual network stay)."""
    model, x = _random(build), _images(*shape)
    before = _parameters(model)
    one_shot(model, {name: [Filter(ratio=0.5)] for name in matrix_layers(model) if name not in whole})
    silence(model, x)
    small = shrink(model, x)
    assert _equal(model, small, x)
    assert _parameters(small) < most * before
    assert isinstance(trace(small, x).module, nn.Module)  # the hardware can read it


@pytest.mark.parametrize(("build", "shape", "whole", "most"), NETWORKS)
def test_what_dead_filters_emit_is_kept_where_it_is_seen(
    build: Callable[[], nn.Module], shape: tuple[int, ...], whole: tuple[str, ...], most: float
) -> None:
    """Without `silence` a dead filter's constant stays, or moves to a bias where that is exact."""
    model, x = _random(build), _images(*shape)
    one_shot(
        model, {name: [Filter(ratio=0.6), Channel(ratio=0.8)] for name in matrix_layers(model) if name not in whole}
    )
    assert _equal(model, shrink(model, x), x)


def test_convolutions_that_do_not_pad_take_constants_exactly() -> None:
    model, x = _random(LeNet5Caffe), _images(1, 28, 28)
    one_shot(model, {"conv1": [Filter(k=7)], "conv2": [Filter(k=11)], "fc1": [Filter(k=60)]})
    small = shrink(model, x)
    assert (small.conv1.out_channels, small.conv2.out_channels, small.fc1.out_features) == (7, 11, 60)
    assert small.fc1.in_features == 11 * 16
    assert _equal(model, small, x)


@pytest.mark.parametrize("function", [torch.sign, torch.sgn, lambda x: torch.relu(torch.sign(x)) + 0.5, lambda x: 2 * torch.sign(x)])
def test_a_sign_is_no_constant(function: Callable[[Tensor], Tensor]) -> None:
    class Signs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(function(self.a(x)))

    model, x = _random(Signs), _images(3)
    model.a.weight.data[0] = 0
    before = copy.deepcopy(model)
    remove_unused_paths(model, x)
    assert _equal(before, model, x)


def test_a_residual_stream_loses_a_channel_only_when_all_branches_do() -> None:
    """Stage 1 of ResNet-20: channel 3 of the stream is fed by the stem and three blocks, and passes on, shifted by 8 and by
    24, into the streams of stages 2 and 3."""
    model, x = _random(ResNet20), _images(3, 32, 32)
    feeding = [
        ("conv1", 3), *((f"layer1.{i}.conv2", 3) for i in range(3)), *((f"layer2.{i}.conv2", 11) for i in range(3)),
        *((f"layer3.{i}.conv2", 27) for i in range(3)),
    ]  # fmt: skip
    for name, channel in feeding[:-1]:
        model.get_submodule(name).weight.data[channel] = 0
    silence(model, x)
    assert shrink(model, x).conv1.out_channels == 16
    name, channel = feeding[-1]
    model.get_submodule(name).weight.data[channel] = 0
    silence(model, x)
    small = shrink(model, x)
    assert small.conv1.out_channels == 15
    assert small.get_submodule("layer2.0.conv2").out_channels == 31
    assert small.linear.in_features == 63
    assert _equal(model, small, x)


def test_padded_channels_of_a_shortcut_go() -> None:
    """Channels 0 to 7 of stage 2 come from no earlier stage."""
    model, x = _random(ResNet20), _images(3, 32, 32)
    for i in range(3):
        model.get_submodule(f"layer2.{i}.conv2").weight.data[[0, 2, 30]] = 0
    for i in range(3):
        model.get_submodule(f"layer3.{i}.conv2").weight.data[[16, 18, 46]] = 0
    silence(model, x)
    small = shrink(model, x)
    assert small.get_submodule("layer2.1.conv1").in_channels == 29
    assert _equal(model, small, x)
    assert trace(small, x).layer("layer2.1.conv1").inputs == 29 * 9


def test_unused_channel_removes_its_filter_and_the_other_way_round() -> None:
    model, x = _random(VGG16), _images(3, 32, 32)
    convs = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    second, third = (model.get_submodule(name) for name in convs[1:3])
    with torch.no_grad():
        third.weight[:, :10] = 0  # filters 0 .. 9 of the second are read by nobody
    wanted = model(x)
    masks = remove_unused_paths(model, x)
    assert not masks[convs[1]][:10].any()
    assert masks[convs[1]][10:].all()
    assert torch.equal(model(x), wanted)
    weight = second.weight.detach().clone()
    weight[10:20] = 0
    set_weight(second, weight)
    silence(model, x)
    masks = unused_path_masks(model, x)
    assert not masks[convs[2]][:, 10:20].any()
    assert set(masks_of(model)) >= {convs[1]}


def test_everything_dead_leaves_one_channel() -> None:
    model, x = _random(ResNet20), _images(3, 32, 32)
    model.get_submodule("layer1.0.conv1").weight.data.zero_()
    silence(model, x)
    small = shrink(model, x)
    assert small.get_submodule("layer1.0.conv1").out_channels == 1
    assert _equal(model, small, x)


class _Branches(nn.Module):
    """Concatenation, sums of branches and of a number, reshapes that name sizes, a depthwise convolution, a batch norm after a
    concatenation, padded and ceiled pooling, means, a shortcut that pads channels, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 6, 3, padding=1)
        self.norm, self.c = nn.BatchNorm2d(10), nn.Conv2d(10, 6, 1)
        self.depthwise, self.d = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 10, 3, bias=False)
        self.pool, self.e = nn.AvgPool2d(3, 2, padding=1), nn.Conv2d(10, 6, 1)
        self.last, self.flat_norm, self.scores = nn.Linear(6 * 9 + 10, 12), nn.BatchNorm1d(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.a(x))
        both = torch.cat([first, torch.relu(self.b(x)) + 1], 1)
        both = self.norm(both).view(-1, 10, 8, 8)
        c = self.c(both) + F.pad(first, (0, 0, 0, 0, 1, 1))
        d = torch.tanh(self.d(torch.relu(self.depthwise(c))))
        e = self.pool(F.max_pool2d(self.e(d), 3, 1, 1)).reshape(x.size(0), -1)
        return F.log_softmax(self.scores(torch.relu(self.flat_norm(self.last(torch.cat([e, d.mean((2, 3))], 1))))), 1)


def test_concatenation_reshape_and_sums() -> None:
    model, x = _random(_Branches), _images(2, 8, 8)
    one_shot(model, {"b": [Filter(k=3)], "d": [Filter(k=7)], "e": [Filter(k=4)], "last": [Filter(k=5)]})
    small = shrink(model, x)
    assert small.b.out_channels == 3  # 1x1 convolutions take constants
    assert small.d.out_channels == 7
    assert small.e.out_channels == 4  # of padded averages the constant differs by position, and by feature of the layer that reads them
    assert small.scores.in_features == 5
    assert _equal(model, small, x)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), kept=st.floats(0.1, 0.9), silent=st.booleans(), training=st.booleans())
def test_any_zeros_anywhere(seed: int, kept: float, silent: bool, training: bool) -> None:
    """Random filters and channels dead, biases partly 0: equal, and masks of unused paths change nothing."""
    model, x = _random(_Branches, seed), _images(2, 8, 8)
    generator = torch.Generator().manual_seed(seed)
    for layer in matrix_layers(model).values():
        weight, groups = layer.weight.data, groups_of(layer)
        weight[torch.rand(len(weight), generator=generator) > kept] = 0
        if groups == 1:
            weight[:, torch.rand(weight.shape[1], generator=generator) > kept] = 0
        if layer.bias is not None:
            layer.bias.data[torch.rand(len(weight), generator=generator) > 0.5] = 0
    if silent:
        silence(model, x)
    model.train(training)
    small = shrink(model, x)
    assert small.training == training
    assert _equal(model.eval(), small.eval(), x)
    assert _parameters(small) <= _parameters(model)
    wanted = model(x)
    remove_unused_paths(model, x)
    assert torch.allclose(model(x), wanted, atol=1e-6)


class _Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return x.sort(1).values


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = self.a(x)
        return x


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (_Sorted(), (3, 4), r"operator sort: channels cannot be followed through it; .*test_shrink.py:\d+: return x.sort"),
        (_Branching(), (3,), r"its control flow depends on values.*test_shrink.py:\d+: if x.sum"),
    ],
)
def test_what_cannot_be_followed_is_named(model: nn.Module, x: tuple[int, ...], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        shrink(model, _images(*x))


def test_packed_columns_save_crossbars(edge: Chip) -> None:
    """512 x 1152 on 128 x 128 crossbars with 64 outputs each: 8 x 9; a fourth of the columns on 8 x 3."""
    weight = torch.randn(512, 128, 3, 3, generator=torch.Generator().manual_seed(1))
    assert edge.geometry(512, 1152).crossbars == crossbars_needed(weight, edge) == 72
    pruned = Column(ratio=0.25).project(weight)
    found = packing(pruned)
    assert len(found.inputs) == 288
    assert torch.equal(found.pack(pruned), matrix_of(pruned)[:, :, found.inputs])
    assert found.geometry(edge).crossbars == crossbars_needed(pruned, edge) == 24
    blocks = CrossbarBlock(ratio=0.25, chip=edge).project(weight)
    assert int(used_arrays(blocks, edge, packed=False).sum()) == 18
    assert crossbars_needed(blocks, edge) <= 18
    assert crossbars_needed(torch.zeros(5, 5), edge) == 0


def test_shrunk_network_takes_fewer_crossbars(isaac: Chip) -> None:
    model, x = _random(ResNet20), _images(3, 32, 32)
    before = place(trace(model, x), isaac).crossbars_used
    inner = [name for name in matrix_layers(model) if name.endswith("conv1") and "." in name]
    attach(model, magnitude_masks(model, {name: [Filter(ratio=0.25)] for name in inner}))
    silence(model, x)
    small = shrink(model, x)
    layers = trace(small, x).layers
    assert place(trace(small, x), isaac).crossbars_used < before
    assert {layer.outputs for layer in layers if layer.name in inner} == {4, 8, 16}


def test_zeros_inside_stay_zero_where_asked() -> None:
    model, x = _random(DigitsCNN), _images(1, 8, 8)
    one_shot(model, {"conv2": [Column(ratio=0.3)]})
    small = shrink(model, x)
    attach(small, nonzero_masks(small))
    small.conv2.weight.sum().backward()
    assert _equal(model, small, x)
    assert [groups_of(layer) for layer in matrix_layers(small).values()] == [1, 1, 1]


@pytest.mark.parametrize("build", [LeNet5Caffe, DigitsCNN, ResNet20, ResNet18, VGG16])
def test_a_small_network_is_built_again_from_its_state(build: Callable[[], nn.Module]) -> None:
    model = _random(build)
    example = _images(*{LeNet5Caffe: (1, 28, 28), DigitsCNN: (1, 8, 8)}.get(build, (3, 32, 32)))
    last = list(matrix_layers(model))[-1]
    sets = {name: [Filter(ratio=0.5)] for name in matrix_layers(model) if name != last}
    streams = {name for name in sets if name.endswith("conv2") or name in ("conv1", "layer1.0.conv1")}
    for name, mask in magnitude_masks(model, sets).items():
        if name in streams:  # the same channels of every branch of a sum
            mask[:] = True
            mask[: len(mask) // 4] = False
        attach(model, {name: mask})
    silence(model, example)
    small = shrink(model, example)
    state = small_state(small, example)
    again = rebuild(_random(build, seed=1), example, state)
    with torch.no_grad():
        expected, found = small(example), again(example)
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in model.parameters())


def test_a_state_runs_no_code() -> None:
    """fx makes code of a graph: of names of inputs, of modules, of arguments, and of what arguments are."""
    example = _images(1, 28, 28)
    state = small_state(LeNet5Caffe().eval(), example)
    code = 'x"); raise SystemExit; ("'

    def changed(op: str, **parts: object) -> list[dict[str, object]]:
        at = next(i for i, node in enumerate(state["nodes"]) if node["op"] == op)
        return [node | (parts if i == at else {}) for i, node in enumerate(state["nodes"])]

    named = next(node for node in state["nodes"] if node["op"] == "call_module")["target"]
    for broken in (
        {"nodes": changed("placeholder", target="x=print(1)")},
        {"nodes": changed("call_function", kwargs={"dict": {"a=print(1), b": 1}})},
        {"nodes": changed("call_function", args=[torch.zeros(2)])},
        {"nodes": changed("call_function", args=[{"node": "x", "torch": "float32"}])},
        {"nodes": changed("call_module", target=code),
         "layers": {code if name == named else name: parts for name, parts in state["layers"].items()}},
    ):  # fmt: skip
        with pytest.raises(CompressionError, match=r"the state (has a|is of another network)"):
            rebuild(LeNet5Caffe(), example, state | broken)


def test_a_state_of_another_network_is_refused() -> None:
    example = _images(1, 28, 28)
    state = small_state(LeNet5Caffe().eval(), example)
    with pytest.raises(CompressionError, match="of another network: layers"):
        rebuild(ResNet20(), _images(3, 32, 32), state)
    with pytest.raises(CompressionError, match="format must be"):
        rebuild(LeNet5Caffe(), example, state | {"format": "small network 9"})
    fc1, fc2 = state["layers"]["fc1"], state["layers"]["fc2"]
    nodes = [node | ({"target": "aten.from_file.default"} if node["op"] == "call_function" else {}) for node in state["nodes"]]
    for broken, message in (
        ({"layers": 3}, "no layers by name"),
        ({"layers": state["layers"] | {"fc1": fc1 | {"weight": torch.full((500, 800), torch.nan)}}}, "layer fc1: no weight"),
        ({"layers": state["layers"] | {"fc1": fc1 | {"weight": torch.zeros(7, 800), "bias": torch.zeros(8)}}}, "must be 7 finite"),
        ({"layers": state["layers"] | {"fc2": fc2 | {"weight": torch.zeros(4, 500), "bias": None}}}, r"gives \(4,\) outputs"),
        ({"nodes": [state["nodes"][0] | {"target": "x=print(1)"}, *state["nodes"][1:]]}, "a name .x=print"),
        ({"nodes": nodes}, "an operator 'aten.from_file.default', which is none of networks"),
    ):
        with pytest.raises(CompressionError, match=message):
            rebuild(LeNet5Caffe(), example, state | broken)
    for broken, message in (
        ({"trained": 3}, "list of what is trained"),
        ({"trained": [3]}, "list of what is trained"),
        ({"layers": state["layers"] | {"fc2": fc2 | {"kind": []}}}, "of another network: layers fc2"),
        ({"layers": state["layers"] | {"train": {"kind": "Dropout", "settings": {"p": 0.5}}}}, "a name 'train': .*already exists"),
        ({"layers": state["layers"] | {7: {"kind": "Dropout", "settings": {"p": 0.5}}}}, "a name 7"),
        *(({"tensors": {name: torch.zeros(2)}}, "a name ") for name in ("training", "fc1.forward.x", "fc1", "", "a b", 3)),
        *(({"nodes": [node | ({"target": target} if node["op"] == "call_function" else {}) for node in state["nodes"]]}, "an operator ")
          for target in ("aten.sym_size.__class__", "aten.sym_size._qualified_op_name", "aten.sym_size.op", "aten.relu.overloads", 3)),
        *(({"nodes": [*state["nodes"][:-1], {"name": "more", "op": "get_attr", "target": target, "args": [], "kwargs": {"dict": {}}},
                      state["nodes"][-1]]}, "no tensor ") for target in ("__class__", "fc1.weight", "training")),
    ):  # fmt: skip
        with pytest.raises(CompressionError, match=message):
            rebuild(LeNet5Caffe(), example, state | broken)
    state["layers"]["fc1"] = fc1 | {"weight": torch.zeros(7, 13), "bias": None}
    with pytest.raises(CompressionError, match="does not fit the network"):
        rebuild(LeNet5Caffe(), example, state)


class _Sized(nn.Module):
    def __init__(self, of: Callable[[int], int]):
        super().__init__()
        self.of, self.a, self.b = of, nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) * self.of(x.shape[0])


@pytest.mark.parametrize("of", [lambda n: n % 3 + 1, lambda n: n / 2, lambda n: -n, lambda n: torch.sym_max(n, 7), lambda n: 2 * n // 3])
def test_numbers_that_are_made_of_sizes_are_kept(of: Callable[[int], int]) -> None:
    model, x = _random(lambda: _Sized(of)), _images(3)
    again = rebuild(_random(lambda: _Sized(of), seed=1), x, small_state(model, x))
    assert all(_equal(model, again, each) for each in (x, x[:3]))


def test_what_could_not_be_built_again_is_not_kept() -> None:
    with pytest.raises(CompressionError, match=r"operator \w+ cannot be kept; .*test_shrink"):
        small_state(_random(lambda: _Sized(lambda n: n**2)), _images(3))


def test_what_fills_cells_is_counted_and_may_be_trained() -> None:
    """Rows and columns of zeros leave the chip, of several groups none; single zeros between others fill cells, and may become weights
    again. As the chip maps them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(5, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[[1, 4]] = 0
        model[1].weight[2] = 0
        model[1].weight[:, 3] = 0
        model[1].weight[1, 1] = 0
        model[5].weight.zero_()
    layers = [model[0], model[1], model[4], model[5]]
    mapped = trace(model, torch.rand(2, 4, 3, 3), pack=True).layers
    counts = [weights_in_cells([layer]) for layer in layers]
    assert counts == [6 * 18, 4 * 5, 15, 1] == [layer.groups * layer.outputs * layer.inputs for layer in mapped]
    assert weights_in_cells([*layers, nn.Embedding(7, 4, padding_idx=0)]) == sum(counts) + 28
    held = hold_zeros(model)
    optimiser = torch.optim.SGD(held.parameters(), 0.1)
    (held[:2](torch.randn(7, 4, 3, 3)) - 1).square().sum().backward()
    optimiser.step()
    trained = bake(held)
    assert (trained[1].weight[2] == 0).all()
    assert (trained[1].weight[:, 3] == 0).all()
    assert trained[1].weight[1, 1] != 0

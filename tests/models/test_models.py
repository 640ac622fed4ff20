"""Networks as published: parameter counts, shapes, published weights, and that the hardware can read them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from xbar.hw import trace
from xbar.models import VGG16, DigitsCNN, DigitsViT, LeNet5, LeNet5Caffe, ResNet18, ResNet20, ResNet56, RowLSTM
from xbar.workloads.data import load_digits
from xbar.workloads.training import score
from xbar.workloads.workload import load_weights, shipped_weights

NETWORKS = [
    (DigitsCNN, (1, 8, 8), 1_898, 3, 2 * (64 * 72 + 16 * 1152 + 640)),
    (DigitsViT, (1, 8, 8), 58_474, 14, 2 * (16 * (4 * 48 + 3 * (4 + 4) * 48 * 48) + 480)),
    (RowLSTM, (1, 8, 8), 19_594, 3, 2 * (8 * (8 + 64) * 256 + 640)),
    (LeNet5, (1, 28, 28), 61_706, 5, 2 * (784 * 150 + 100 * 2400 + 48_000 + 10_080 + 840)),
    (LeNet5Caffe, (1, 28, 28), 431_080, 4, 2 * (576 * 500 + 64 * 25_000 + 400_000 + 5_000)),
    (ResNet20, (3, 32, 32), 269_722, 20, 2 * 40_551_040),
    (ResNet18, (3, 32, 32), 11_173_962, 21, 2 * 555_422_720),
    (VGG16, (3, 32, 32), 14_724_042, 14, 2 * 313_201_664),
]


@pytest.mark.parametrize(("build", "shape", "parameters", "layers", "operations"), NETWORKS)
def test_size_shape_and_trace(
    build: Callable[[], nn.Module], shape: tuple[int, int, int], parameters: int, layers: int, operations: int
) -> None:
    model = build().eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (2, 10)
    network = trace(model, x)
    assert len(network.layers) == layers
    assert network.operations == operations
    assert torch.allclose(network.module(x), model(x), atol=1e-5)


def test_a_deeper_one_is_of_the_same_blocks() -> None:
    model = ResNet56().eval()
    assert sum(p.numel() for p in model.parameters()) == 853_018
    with torch.no_grad():
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("build", "name"), [(ResNet20, "resnet20"), (ResNet56, "resnet56")])
def test_takes_published_weights(build: Callable[[], nn.Module], name: str, shared_data: Path) -> None:
    """State dicts of Y. Idelbayev's networks for CIFAR-10 (2018), every key."""
    path = shared_data / name / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"no published weights at {path}")
    state = torch.load(path, weights_only=True)
    model = build()
    wanted = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    assert {key for key in state if not key.endswith("num_batches_tracked")} == wanted
    model.load_state_dict(state, strict=True)


def test_resnet_shortcut_is_option_a() -> None:
    """With the residual branch silent, a shrinking block passes every second position, zero channels around."""
    block = ResNet20().eval().layer2[0]
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 16, 8, 8)
    y = block(x)
    assert y.shape == (1, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize(("build", "name", "hits"), [(DigitsViT, "vit", 354), (RowLSTM, "rows", 352)])
def test_shipped_weights_reach_what_is_told(build: Callable[[], nn.Module], name: str, hits: int) -> None:
    """Of 360 test digits, as models/weights/README.md has it; another processor may tip one."""
    path = shipped_weights(name)
    assert path is not None
    model, digits = load_weights(build(), path).eval(), load_digits()
    assert abs(360 * score(model, digits.test_inputs, digits.test_targets) - hits) < 1.5

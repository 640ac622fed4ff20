"""Networks as published: parameter counts, shapes, published weights, and that the hardware can read them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hw import trace
from models import VGG16, DigitsCNN, LeNet5, ResNet20

NETWORKS = [
    (DigitsCNN, (1, 8, 8), 1_898, 3, 2 * (64 * 72 + 16 * 1152 + 640)),
    (LeNet5, (1, 28, 28), 61_706, 5, 2 * (784 * 150 + 100 * 2400 + 48_000 + 10_080 + 840)),
    (ResNet20, (3, 32, 32), 269_722, 20, 2 * 40_551_040),
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


def test_resnet20_takes_published_weights(shared_data: Path) -> None:
    """State dict of Y. Idelbayev's ResNet-20 for CIFAR-10 (2018), every key."""
    state = torch.load(shared_data / "resnet20" / "resnet20.pt", weights_only=True)
    state = state.get("state_dict", state)
    model = ResNet20()
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)


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

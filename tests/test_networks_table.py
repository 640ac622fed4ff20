"""docs/networks.md: the table is what the measurements say, complete, and as the networks are traced today."""

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from xbar.hw import trace

DOCS = Path(__file__).parents[1] / "docs"
ZOO = pytest.mark.skipif(not all(map(find_spec, ("torchvision", "transformers"))), reason="needs the extra zoo: torchvision, transformers")
ASKED = {
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "shufflenet_v2_x1_0", "regnet_y_400mf",
    "googlenet", "vit_b_16", "swin_t", "convnext_tiny", "bert_2_layers", "gpt2_2_layers", "lstm", "gru",
}  # fmt: skip


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "tables" / "networks.py"))


@pytest.fixture(scope="module")
def rows(script: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = script["rows_of"]()
    return found


def test_every_network_is_there(script: dict[str, Any], rows: dict[str, Any]) -> None:
    assert set(script["NETWORKS"]) == set(rows) == ASKED


def test_the_page_has_the_table_of_the_measurements(script: dict[str, Any], rows: dict[str, Any]) -> None:
    assert script["table_of"]((DOCS / "networks.md").read_text("utf-8")) == script["table"](rows), "run python docs/tables/networks.py"


def test_shares_and_agreement_are_shares(rows: dict[str, Any]) -> None:
    for row in rows.values():
        assert row.crossbar_share + row.digital_share + row.host_share == pytest.approx(1), row.network
        assert row.host_share == 0, row.network
        assert 0 < row.cells_in_use <= 1, row.network
        assert 0 < row.on_chip_energy_J <= row.energy_J, row.network
        assert 0 < row.relative_error < 1, row.network


@ZOO
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["resnet18", "bert_2_layers"])
def test_networks_are_traced_as_in_the_table(script: dict[str, Any], rows: dict[str, Any], name: str) -> None:
    """The library's own network, its counts next to torch's, at the size of the table."""
    entry, row = script["NETWORKS"][name], rows[name]
    model, x = entry.model(), entry.inputs(1)
    network = script["checked"](trace(model, x), model, x)
    assert len(network.layers) == row.matrices
    assert sum(layer.weights for layer in network.layers) == row.weights
    assert network.chip_operations == pytest.approx(2 * row.multiply_accumulates, rel=1e-6)
    shares = network.operations_shares
    assert shares["crossbar_operations_share"] == pytest.approx(row.crossbar_share, rel=1e-6)
    assert shares["digital_operations_share"] == pytest.approx(row.digital_share, rel=1e-6)


@ZOO
def test_the_error_on_the_ideal_chip_is_that_of_rounding(script: dict[str, Any], rows: dict[str, Any]) -> None:
    """Weights and inputs of ResNet-18 rounded in torch, layer by layer, without a chip: 8 bits of weight and sign, 8 of input."""
    entry, ends = script["NETWORKS"]["resnet18"], dict[nn.Module, float]()
    calibration, x = (entry.inputs(8, entry.converted_size, seed=seed) for seed in (1, 2))
    model = entry.model(entry.converted_size)
    rounded = fuse(model)  # batch norms folded
    layers = [module for module in rounded.modules() if isinstance(module, nn.Conv2d | nn.Linear)]

    def look(layer: nn.Module, given: tuple[Tensor]) -> None:
        ends[layer] = float(given[0].abs().max()) / 255

    def round_input(layer: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return ((given[0] / ends[layer]).round().clamp(-255, 255) * ends[layer],)

    with torch.no_grad():
        expected = model(x)
        seen = [layer.register_forward_pre_hook(look) for layer in layers]
        rounded(calibration)
        for layer, hook in zip(layers, seen, strict=True):
            hook.remove()
            step = layer.weight.abs().max() / 127
            layer.weight.copy_((layer.weight / step).round() * step)
            layer.register_forward_pre_hook(round_input)
        error = (rounded(x) - expected).norm() / expected.norm()
    assert float(error) == pytest.approx(rows["resnet18"].relative_error, rel=0.03)

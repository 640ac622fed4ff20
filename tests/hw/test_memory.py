"""What a conversion is said to take is what its tensors take."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import analog_layers, memory_needed
from xbar.hw.array import fused, memory

BYTES_HELD = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "memory.py"))["bytes_held"]
CHIPS = {
    "edge": lambda: load_chip("edge"),
    "edge that drifts": lambda: load_chip("edge").with_changes(device={"drift_exponent": 0.05, "reference_time": 1.0}),
    "isaac": lambda: load_chip("isaac"),
    "isaac with read noise": lambda: load_chip("isaac").with_changes(device={"read_noise_sigma": 0.03}),
    "isaac with errors": lambda: load_chip("isaac").with_changes(device={"programming_sigma": 0.04}),
}


@pytest.mark.parametrize("of_int8", [True, False], ids=["with products of int8", "without"])
@pytest.mark.parametrize("chip", CHIPS)
def test_memory_is_told_before_it_is_taken(chip: str, of_int8: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fused, memory):
        monkeypatch.setattr(module, "whole_products", lambda: of_int8)
    described: Chip = CHIPS[chip]()
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(256, 256, bias=False)), torch.rand(4, 256)
    said = memory_needed(model, described, x)
    converted = convert(model, described, x, seed=0)
    with torch.no_grad():
        converted(x)
    (layer,) = analog_layers(converted).values()
    held = BYTES_HELD(layer) - layer.matrix.weight.numel() * layer.matrix.weight.element_size()
    assert said == pytest.approx(held, rel=0.1), "beside the weights; ranges and calibration inputs are left out"


def test_a_layer_holds_few_bytes_a_weight() -> None:
    """Goals: 40 a weight beside the weights themselves on edge, 100 on isaac."""
    model, x = nn.Sequential(nn.Linear(512, 512, bias=False)), torch.rand(2, 512)
    assert memory_needed(model, load_chip("edge"), x) / 512**2 <= 40
    assert memory_needed(model, load_chip("isaac"), x) / 512**2 <= 100

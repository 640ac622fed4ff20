"""Converted networks on CUDA, where torch finds it, against the CPU's numbers; `benchmarks/gpu.py` runs these with its measurements.

What may differ: float32 sums are added in another order, which moves a current by some 1e-7 of the largest. An ADC turns that into a whole
code where the current lies between two codes, so that of quantised arrays some outputs in a thousand may differ by codes.
"""

import warnings

import pytest
import torch
from torch import Tensor, nn

from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import analog_layers, compensate_drift, program, set_time
from xbar.hw.array.draws import READ, Draws
from xbar.workloads.compute import told, torch_device

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")]

X = torch.rand(64, 1, 10, 10, generator=torch.Generator().manual_seed(0))
ROUNDING = 1e-5  # of the largest output: some layers of sums of some hundred products in float32
CODES = 5e-3  # share of outputs that may differ by codes


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


def both(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a converted model gives on the CPU and, moved, on CUDA, each from its first read on."""
    with torch.no_grad():
        for layer in analog_layers(model).values():
            layer.matrix.reads = 0
        here = model(x)
        model.to("cuda")
        for layer in analog_layers(model).values():
            layer.matrix.reads = 0
        return here, model(x.to("cuda")).cpu()


def off(here: Tensor, there: Tensor) -> Tensor:
    """How far outputs differ, in shares of the largest."""
    return (here - there).abs() / here.abs().max()


def test_whole_numbers_are_the_same() -> None:
    """Lossless converters and ideal cells: every product is exact on both."""
    model = convert(nn.Sequential(nn.Flatten(), nn.Linear(100, 20)), load_chip("isaac"), X, seed=1)
    here, there = both(model, X)
    assert off(here, there).max() < 1e-7


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_programmed_and_noisy_arrays_are_the_same_to_rounding(noise: float) -> None:
    chip = load_chip("edge").with_changes(device={"read_noise_sigma": noise}, component={"adc": {"range": "ideal"}})
    model = convert(nn.Sequential(nn.Flatten(), nn.Linear(100, 20)), chip, X, seed=1)
    here, there = both(model, X)
    assert off(here, there).max() < ROUNDING


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_quantised_arrays_differ_in_few_codes(noise: float) -> None:
    chip = load_chip("edge").with_changes(device={"read_noise_sigma": noise})
    model = convert(nn.Sequential(nn.Flatten(), nn.Linear(100, 20)), chip, X, seed=1)
    here, there = both(model, X)
    assert (off(here, there) > ROUNDING).double().mean() < CODES


def test_several_chips_of_drifting_cells() -> None:
    chip = load_chip("edge", {}, "pcm").with_changes(component={"adc": {"range": "ideal"}})
    model = convert(network(), chip, X, seed=1)
    program(model, [1, 2])
    set_time(model, 1e5)
    compensate_drift(model)
    here, there = both(model, torch.cat([X, X]))
    assert not torch.equal(here[:64], here[64:])
    # an input that rounding moves over half a step of a DAC moves an output by more
    assert (off(here, there) > 100 * ROUNDING).double().mean() < CODES


def test_the_noise_is_the_same() -> None:
    """The normals of read noise, whose bits follow from seed and number of the vector alone; a function of them may round otherwise."""
    drawn = []
    for device in ("cpu", "cuda"):
        normal = torch.empty(2, 300, 40, device=device)
        Draws((3, 4), layer=1).fill(normal, 17, READ)
        drawn.append(normal.cpu())
    assert torch.allclose(*drawn, rtol=1e-5, atol=1e-5)


def test_a_forward_waits_once() -> None:
    """CUDA's own count of operations that wait for it."""
    chip = load_chip("edge").with_changes(device={"read_noise_sigma": 0.03})
    model, there = convert(network(), chip, X, seed=1).to("cuda"), X.to("cuda")
    with torch.no_grad():
        model(there)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                model(there)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert [str(each.message) for each in seen if "synchroniz" in str(each.message)][1:] == []


def test_gradients_are_the_same(edge: Chip) -> None:
    """Of cells without errors, which are written alike."""
    quiet = edge.with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0}, component={"adc": {"range": "ideal"}})
    grads = []
    for device in ("cpu", "cuda"):
        model = convert(network(), quiet, X, seed=1).to(device).train()
        model(X.to(device)).square().mean().backward()
        grads.append(torch.cat([each.grad.flatten().cpu() for each in model.parameters() if each.grad is not None]))
    assert off(*grads).max() < 1e-3


def test_training_under_errors_runs(edge: Chip) -> None:
    model = convert(network(), edge, X, seed=1).to("cuda").train()
    model(X.to("cuda")).square().mean().backward()
    assert all(bool(torch.isfinite(each.grad).all()) for each in model.parameters() if each.grad is not None)
    assert torch.isfinite(model.eval()(X.to("cuda"))).all()


def test_it_is_told() -> None:
    assert torch_device("cuda").type == torch_device("auto").type == "cuda"
    assert told(torch_device("cuda")) == f"cuda, {torch.cuda.get_device_name()}"

"""Weights of nothing but zeros: cells err, and what they err by weighs as much as weights that go to zero do."""

import pytest
import torch
from torch import nn

from tests.hw.test_crossbar import small_chip
from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import analog_layers
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import ZERO_SCALE, WeightEncoding, quantise_weights

SCHEMES: list[dict[str, object]] = [
    {"scheme": "differential"}, {"scheme": "differential", "subtraction": "shared_bitline"}, {"scheme": "separate"},
    {"scheme": "offset"},
]  # fmt: skip
GAMMAS = [1.0, 1e-3, 1e-6, 1e-12, 0.0]


def noisy(per: str, scheme: dict[str, object]) -> Chip:
    chip = small_chip(16, 20, 3, 4, 4, 1, "two_pass", 8, "full_scale", per=per, **scheme)
    return chip.with_changes(device={
        "programming_model": "independent", "programming_sigma": 0.05, "read_noise_model": "independent", "read_noise_sigma": 0.03,
    })  # fmt: skip


def deviation(weight: torch.Tensor, chip: Chip) -> torch.Tensor:
    """Root mean square of what the chip adds to each output, (outputs,), over 20 instances, in units of weight x input."""
    matrix = CrossbarMatrix(weight, chip, False, dtype=torch.float64)
    matrix.program(tuple(range(20)))
    x = torch.randint(0, 16, (1, 30, weight.shape[2]), generator=torch.Generator().manual_seed(1)).double()
    unit = torch.ones(1, dtype=torch.float64)
    off = matrix(x.expand(20, *x.shape), unit) - matrix.exact_product(x.expand(20, *x.shape), unit)
    return off.square().mean((0, 1, 2)).sqrt()


@pytest.mark.parametrize("scheme", SCHEMES)
class TestTheLimitOfSmallWeights:
    def test_of_a_layer(self, scheme: dict[str, object]) -> None:
        """The deviation goes down with the weights, to below what float32 tells from nothing; with errors in proportion to the
        weights, that of zeros is their limit. Errors of the cells are those of 15 steps of a weight near 1 in any case."""
        weight = torch.randn(1, 5, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = [deviation(gamma * weight, noisy("layer", scheme)).max().item() for gamma in GAMMAS]
        assert found[0] > 0.1
        assert found == sorted(found, reverse=True)
        for gamma, each in zip(GAMMAS[1:4], found[1:4], strict=True):
            assert each == pytest.approx(gamma * found[0], rel=1e-6)
        assert 0 < found[-1] < 1e-16

    def test_of_a_column(self, scheme: dict[str, object]) -> None:
        """The other columns are as they are without it."""
        weight = torch.randn(1, 5, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        columns = []
        for gamma in GAMMAS:
            scaled = weight.clone()
            scaled[:, 2] *= gamma
            columns.append(deviation(scaled, noisy("column", scheme)))
        one = torch.stack(columns)[:, 2].tolist()
        assert one == sorted(one, reverse=True)
        assert one[0] > 0.1
        assert one[3] == pytest.approx(1e-12 * one[0], rel=1e-6)
        assert 0 < one[-1] < 1e-16
        for each in columns[1:]:
            assert torch.equal(each[[0, 1, 3, 4]], columns[0][[0, 1, 3, 4]])


@pytest.mark.parametrize("per", ["layer", "column"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_zero_weights_are_those_of_any(scheme: dict[str, object], per: str, dtype: torch.dtype) -> None:
    """dL/dW = dL/dy^T x, straight through rounding, whatever the scale; an ADC that does not clip."""
    chip = noisy(per, scheme).with_changes(component={"adc": {"range": "ideal"}}, device={"programming_sigma": 0.0})
    matrix = CrossbarMatrix(torch.zeros(1, 5, 30, dtype=dtype), chip, False, dtype=dtype).train()
    x = torch.randint(0, 16, (1, 6, 30), generator=torch.Generator().manual_seed(1)).to(dtype)
    upstream = 1e-6 * torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(2), dtype=dtype)
    (matrix(x, torch.full((1,), 1e-3, dtype=torch.float64)) * upstream).sum().backward()
    assert matrix.weight.grad is not None
    expected = 1e-3 * upstream.transpose(1, 2) @ x
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    assert (matrix.weight.grad - expected).abs().max() < tolerance * expected.abs().max()


class Branch(nn.Module):
    """x + W2 relu(W1 x), W2 zero at first, as residual networks begin."""

    def __init__(self, gamma: float):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16, bias=False)
        with torch.no_grad():
            self.second.weight.mul_(gamma)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(x)))


def test_a_residual_branch_that_begins_with_zeros() -> None:
    """On the edge preset, with its errors: with nothing in the branch the network is the identity."""
    x = torch.rand(40, 16, generator=torch.Generator().manual_seed(3))
    off = []
    for gamma in (1e-6, 0.0):
        with torch.no_grad():
            off.append((convert(Branch(gamma), load_chip("edge"), x, seed=0)(x) - x).abs().max().item())
    assert off[1] == 0.0
    assert off[0] < 1e-5


def test_training_from_zeros_begins_as_in_float() -> None:
    """Gradients within 1 % (inputs of 8 bits), as no cell is truncated at 0 S and no code clipped: with nothing seen in
    calibration, ADCs are ready for the largest current. With g_min = 0 a write to 0 S is truncated half of the time, and
    then does not move with its target: half of the gradients are 0, the others as in float."""
    in_float = nn.Linear(32, 16, bias=False)
    nn.init.zeros_(in_float.weight)
    x, wanted = (torch.rand(200, size, generator=torch.Generator().manual_seed(3)) for size in (32, 16))
    (in_float(x) - wanted).square().sum().backward()
    expected = in_float.weight.grad
    assert expected is not None
    for g_min, share in ((5e-6, 1.0), (0.0, 0.5)):
        chip = load_chip("edge").with_changes(device={"g_min": g_min})
        on_chip = convert(nn.Sequential(in_float), chip, x, seed=0).train()
        (on_chip(x) - wanted).square().sum().backward()
        found = analog_layers(on_chip)["0"].matrix.weight.grad
        assert found is not None
        moved = found[0] != 0
        assert moved.double().mean().item() == pytest.approx(share, abs=0.1)  # 4 standard errors of 512 halves
        assert (found[0] - expected)[moved].norm() < 0.01 * expected[moved].norm()


def test_a_percentile_of_zeros_takes_the_largest() -> None:
    """Nine weights in ten are 0: their 80 % percentile says nothing of the others' range."""
    weight = torch.zeros(1, 1, 100)
    weight[0, 0, ::10] = torch.linspace(-1, 0.8, 10)
    encoding = WeightEncoding(bits=8, scheme="differential", range="percentile", percentile=0.8)
    integer, scale = quantise_weights(weight, encoding)
    assert scale.item() == pytest.approx(1 / 127)
    assert (integer * scale - weight).abs().max() <= scale.item() / 2 * (1 + 1e-9)
    assert quantise_weights(torch.zeros(1, 1, 100), encoding)[1].item() == ZERO_SCALE

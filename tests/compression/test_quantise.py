"""Levels found by ADMM and held, masks with them, mismatch as the device has it; the chip holds these very weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from xbar.compression.admm import Rho
from xbar.compression.constraints import Column, Levels
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import groups_of, matrix_layers, matrix_of
from xbar.compression.magnitude import one_shot
from xbar.compression.masks import bake, baked, behind, compression_ratio, masks_of, nonzero_masks
from xbar.compression.quantise import (
    Levelled,
    folded,
    hold_levels,
    inject_mismatch,
    learn_input_steps,
    programming_error,
    quantise,
    take_input_ranges,
)
from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import program
from xbar.hw.array.mapping import quantise_weights


class _Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(48, 10),
        )  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = load_digits()
    x, y = torch.tensor(found.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(found.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:1200]], y[order[:1200]], x[order[1200:]], y[order[1200:]]


def _epoch(
    model: nn.Module, data: tuple[Tensor, ...], optimiser: torch.optim.Optimizer, epoch: int,
    penalty: Callable[[], Tensor] | None = None,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(epoch)
    for chosen in torch.randperm(len(data[0]), generator=generator).split(60):
        loss = nn.functional.cross_entropy(model(data[0][chosen]), data[1][chosen])
        loss = loss if penalty is None else loss + penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _accuracy(model: nn.Module, data: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return float((model(data[2]).argmax(1) == data[3]).float().mean())


@pytest.fixture(scope="module")
def pruned(digits: tuple[Tensor, ...]) -> nn.Module:
    """Trained, half of the inner columns masked, trained again, batch norm folded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _Small()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(5):
        _epoch(model, digits, optimiser, epoch)
    one_shot(model, {"4": [Column(ratio=0.5)]})
    for epoch in range(3):
        _epoch(model, digits, optimiser, epoch)
    assert isinstance(model[1], nn.BatchNorm2d)
    result = folded(model.eval(), digits[2][:2])
    assert torch.allclose(result(digits[2]), model(digits[2]), atol=1e-4)
    assert torch.equal(masks_of(result)["4"], masks_of(model)["4"])
    return result


def test_levels_and_masks_hold_through_training(pruned: nn.Module, digits: tuple[Tensor, ...], edge: Chip) -> None:
    """And the chip maps the result to the same whole numbers, so nothing is rounded twice."""
    model, levels = copy.deepcopy(pruned), Levels.of(edge.with_changes(weights={"bits": 3}))
    scales = hold_levels(model, levels)
    before = baked(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    _epoch(model, digits, optimiser, 0)
    bake(model)
    chip = edge.with_changes(weights={"bits": 3})
    for name, layer in matrix_layers(model).items():
        integer, scale = quantise_weights(matrix_of(layer.weight, groups_of(layer)), chip.weights)
        assert torch.allclose(scale, scales[name], rtol=1e-6)
        assert torch.allclose(matrix_of(layer.weight).double(), integer * scale.unsqueeze(-1), rtol=1e-6, atol=0)
        assert not torch.equal(layer.weight, before.get_submodule(name).weight)
    assert not model.get_submodule("4").weight[~masks_of(pruned)["4"]].any()


def test_admm_to_few_levels_beats_rounding(pruned: nn.Module, digits: tuple[Tensor, ...]) -> None:
    """Three bits: rounded to the largest weight, projected exactly, and pulled there by ADMM and retrained."""
    levels = Levels(3, full_scale=True)
    model = copy.deepcopy(pruned)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = quantise(
        model, levels, lambda m, penalty, epoch: _epoch(m, digits, optimiser, epoch, penalty), 6, Rho(3e-2, 1.5)
    )
    assert len(history) == 6 * 3
    for epoch in range(3):
        _epoch(model, digits, optimiser, 10 + epoch)
    projected, rounded = copy.deepcopy(pruned), baked(pruned)
    quantise(projected, levels, lambda *_: None, 0)
    for layer in matrix_layers(rounded).values():
        step = layer.weight.detach().abs().max() / 3
        layer.weight.data.copy_((layer.weight / step).round() * step)
    found = [_accuracy(m, digits) for m in (rounded, projected, model)]
    assert found[0] < found[1] < found[2]
    assert found[2] > _accuracy(pruned, digits) - 0.02
    assert compression_ratio(model) > compression_ratio(pruned)


def test_programming_error_has_the_devices_spread(edge: Chip) -> None:
    """Independent errors of sigma g_range on both cells of a pair: sqrt 2 sigma w_max where neither is cut at 0 S, that is in
    cells well above; packed columns have none; the same seed, the same errors."""
    chip = edge.with_changes(device={"programming_sigma": 0.02, "g_min": 5e-6})
    weight = torch.rand(400, 50, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    weight[:, 10:20] = 0
    weight[0, 0] = 1.0
    error = programming_error(weight, chip, torch.Generator().manual_seed(1))
    assert not error[:, 10:20].any()
    assert float(error[:, :10].std()) == pytest.approx(2**0.5 * 0.02, rel=0.05)
    assert torch.equal(error, programming_error(weight, chip, torch.Generator().manual_seed(1)))
    ideal = chip.with_changes(device={"programming_sigma": 0.0})
    assert float(programming_error(weight, ideal, torch.Generator()).abs().max()) < 1e-12
    assert float(programming_error(torch.zeros(3, 3), chip, torch.Generator()).abs().max()) < 1e-12  # one cell, of no scale


@pytest.mark.parametrize("overrides", [
    {}, {"device.levels": "4"}, {"weights.scheme": "separate", "weights.subtraction": "digital"},
    {"weights.scheme": "offset", "weights.offset_reference": "digital", "component.adc.bits": "12"},
])  # fmt: skip
def test_injected_error_is_what_a_converted_layer_has(overrides: dict[str, str]) -> None:
    """The spread of a product over 40 chip instances, pairs and offsets, whole and sliced cells."""
    x = torch.rand(200, 30, generator=torch.Generator().manual_seed(3))
    chip = load_chip("edge", {"device.programming_sigma": "3", "device.read_noise_sigma": "0"} | overrides)
    linear = nn.Linear(30, 20, bias=False)
    linear.weight.data.copy_(torch.randn(20, 30, generator=torch.Generator().manual_seed(2)))
    model, weight = nn.Sequential(linear), linear.weight.detach()
    injected = torch.stack([x @ programming_error(weight, chip, torch.Generator().manual_seed(s)).T for s in range(40)])
    chips = torch.stack([convert(model, chip, x, seed=s)(x).detach() for s in range(40)])
    spread = float((chips - chips.mean(0)).std())
    assert float((injected - injected.mean(0)).std()) == pytest.approx(spread, rel=0.1)


def test_training_with_mismatch_helps_on_chips_that_vary(pruned: nn.Module, digits: tuple[Tensor, ...]) -> None:
    """sigma 10 % of the range, 4 bits, 20 epochs: mean accuracy of 10 simulated chips (8-bit ADCs, read noise) after
    retraining with and without injected errors; measured 68 against 41 %."""
    chip = load_chip("edge", {"device.programming_sigma": "10", "weights.bits": "4"})
    found = []
    for injects in (True, False):
        model = copy.deepcopy(pruned)
        hold_levels(model, Levels.of(chip))
        if injects:
            inject_mismatch(model, chip, seed=5)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        model.train()
        for epoch in range(20):
            _epoch(model, digits, optimiser, 20 + epoch)
        model.eval()
        assert torch.equal(model(digits[2]), model(digits[2]))
        on_chip = convert(bake(model), chip, digits[0][:200], seed=0)
        accuracies = []
        for seed in range(10):
            program(on_chip, seed)
            accuracies.append(_accuracy(on_chip, digits))
        found.append(sum(accuracies) / 10)
    assert found[0] > found[1] + 0.15


def test_mismatch_is_fresh_and_repeats_on_reload(pruned: nn.Module, digits: tuple[Tensor, ...], edge: Chip) -> None:
    model = copy.deepcopy(pruned).train()
    hold_levels(model, Levels(4))
    inject_mismatch(model, edge, seed=0)
    state = copy.deepcopy(model.state_dict())
    first, second = model(digits[2][:5]), model(digits[2][:5])
    assert not torch.equal(first, second)
    model.load_state_dict(state)
    again = model(digits[2][:5])
    assert torch.equal(first, again)
    again.sum().backward()
    layer = model.get_submodule("4")
    assert behind(layer).grad[masks_of(model)["4"]].any()
    assert not behind(layer).grad[~masks_of(model)["4"]].any()
    clean = nonzero_masks(model)["4"]
    assert not (clean & ~masks_of(model)["4"]).any()
    assert torch.equal(bake(model).get_submodule("4").weight != 0, clean)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c: hold_levels(_Small(), Levels(4)), "batch norm 1 would scale levels apart"),
        (lambda m, c: quantise(_Small(), Levels(4), lambda *_: None, 0), "batch norm 1"),
        (lambda m, c: hold_levels(m, {"9x": Levels(4)}), "'9x'; there are 0, 4, 9"),
        (lambda m, c: [hold_levels(m, Levels(4)) for _ in range(2)], "already"),
        (lambda m, c: [inject_mismatch(m, c, 0) for _ in range(2)], "already"),
        (lambda m, c: hold_levels(nn.Sequential(_zeros()), Levels(4)), "all its weights are 0"),
    ],
)
def test_what_is_not_allowed_is_named(
    call: Callable[[nn.Module, Chip], object], message: str, pruned: nn.Module, edge: Chip
) -> None:
    with pytest.raises(CompressionError, match=message):
        call(copy.deepcopy(pruned), edge)


@pytest.mark.parametrize(("layer", "norm", "shape"), [
    (nn.Linear, nn.BatchNorm1d, (4, 3)), (nn.Conv1d, nn.BatchNorm1d, (4, 3, 5)), (nn.Conv2d, nn.BatchNorm2d, (4, 3, 5, 5)),
    (nn.Conv3d, nn.BatchNorm3d, (4, 3, 5, 5, 5)),
])  # fmt: skip
def test_only_norms_that_fold_are_refused(layer: Any, norm: Any, shape: tuple[int, ...], edge: Chip) -> None:
    """Norms before a layer and after a ReLU stay, digital on the chip; one after a layer is folded first."""
    given = () if layer is nn.Linear else (3,)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stays = nn.Sequential(norm(3), layer(3, 4, *given), nn.ReLU(), norm(4)).eval()
    folds = nn.Sequential(layer(3, 4, *given), norm(4)).eval()
    for model in (stays, folds):
        with pytest.raises(CompressionError, match=r"batch norm \d would scale levels apart"):
            hold_levels(model, Levels(4))
        held = copy.deepcopy(folded(model, x))
        assert list(hold_levels(held, Levels(4))) == ["1" if model is stays else "0"]
        learn_input_steps(held, edge, x)
        quantise(folded(model, x), Levels(4), lambda *_: None, 0)
    assert isinstance(held[1], nn.Identity)


def _zeros() -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    return layer


# ---- learned steps (LSQ)


def test_the_learned_step_has_the_gradients_of_the_paper() -> None:
    """Equations 1 to 3 by hand for 2 bits, codes -1, 0, 1: within the codes the weight's gradient passes and the step gets round - v / s;
    beyond, no gradient and the end code; the largest weight is held on the last level."""
    step = 0.5
    held = Levelled(Levels(2, full_scale=True), torch.full((1, 1), step, dtype=torch.float64), 1, learned=True)
    weight = torch.tensor([[0.1, 0.4, -0.3, -0.7]], requires_grad=True)
    found = held(weight)
    assert found.tolist() == [[0.0, 0.5, -0.5, -0.5]]
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    found.backward(upstream)
    assert weight.grad.tolist() == [[1.0, 2.0, 3.0, 0.0]]
    slopes = torch.tensor([0 - 0.2, 1 - 0.8, -1 + 0.6, -1.0])
    assert held.stretch is not None
    expected = float((upstream[0] * slopes).sum()) * step / (4 * 1) ** 0.5  # by the step's logarithm: times the step
    assert held.stretch.grad.item() == pytest.approx(expected, rel=1e-6)


def test_learned_steps_end_on_the_chips_levels_and_codes(digits: tuple[Tensor, ...]) -> None:
    """Training moves steps and ranges; baked, the chip computes what training computed: full scale, and input_ranges."""
    torch.manual_seed(0)
    model = _Small()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(4):
        _epoch(model, digits, optimiser, epoch)
    chip = load_chip("isaac").with_changes(weights={"bits": 3}, inputs={"bits": 4})
    small = folded(model, digits[0][:2])
    hold_levels(small, Levels.of(chip), learned=True)
    learn_input_steps(small, chip, digits[0][:200])
    with pytest.raises(CompressionError, match="inputs are on codes already"):
        learn_input_steps(small, chip, digits[0][:200])
    optimiser = torch.optim.Adam(small.parameters(), lr=5e-3)
    for epoch in range(2):
        _epoch(small.train(), digits, optimiser, epoch)
    stretched = [float(p.detach().abs()) for name, p in small.named_parameters() if "stretch" in name]
    assert len(stretched) == 6
    assert min(stretched) > 1e-4
    images = digits[2][:100]
    with torch.no_grad():
        trained = small.eval()(images)
        ranges = take_input_ranges(small)
        bake(small)
        assert all(Levels.of(chip).contains(layer.weight) for layer in matrix_layers(small).values())
        assert set(ranges) == set(matrix_layers(small))
        assert not any("input_codes" in name for name, _ in small.named_modules())
        on_chip = convert(small, chip, digits[0][:200], 0, input_ranges=ranges)
        program(on_chip, 0, chip.device, layers=())
        found = on_chip(images)
    assert float((found - trained).abs().max()) < 0.02 * float(trained.abs().max())
    assert float((found.argmax(1) == trained.argmax(1)).float().mean()) >= 0.98

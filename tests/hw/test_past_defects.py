"""Defects of the analog product that were found and mended: one test each, which failed before."""

import copy

import pytest
import torch
from torch import nn

from hw import Chip, convert
from hw.analog import analog_layers, compensate_drift, program, set_time
from hw.crossbar import CrossbarMatrix
from hw.mapping import quantise_weights
from tests.hw.networks import seeded
from tests.hw.test_crossbar import crossbar_matrix, small_chip

CHIP = small_chip(16, 20, 3, 4, 4, 1, "two_pass", 12, scheme="differential")


def one_layer(chip: Chip = CHIP) -> tuple[nn.Module, torch.Tensor, nn.Module]:
    model, x = seeded(None, nn.Linear(10, 4, bias=False)), torch.rand(5, 10, generator=torch.Generator().manual_seed(0))
    return model, x, convert(model, chip, x, seed=0)


def test_training_forward_uses_the_scale_of_the_present_weights() -> None:
    _, x, converted = one_layer()
    layer = analog_layers(converted)["0"]
    converted.train()
    with torch.no_grad():
        layer.matrix.weight.mul_(2)
    first, second = converted(x), converted(x)
    assert torch.allclose(first, second), (first / second).flatten()[0]


def test_evaluation_after_training_uses_one_set_of_weights() -> None:
    _, x, converted = one_layer()
    matrix = analog_layers(converted)["0"].matrix
    matrix.fuse_when_exact = False
    converted.train()
    with torch.no_grad():
        matrix.weight.copy_(torch.randn(matrix.weight.shape, generator=torch.Generator().manual_seed(1)))
    converted(x)
    after = converted.eval()(x).detach()
    trained = x @ matrix.weight[0].detach().T
    assert torch.allclose(after, trained, atol=0.5), "the trained weights are on the chip"


def test_a_model_can_be_copied_after_a_training_step() -> None:
    _, x, converted = one_layer()
    converted.train()(x)
    copy.deepcopy(converted)


@pytest.mark.parametrize("dac", [1, 3])
def test_bipolar_inputs_of_0_have_a_gradient(dac: int) -> None:
    chip = small_chip(16, 20, 3, 4, 4, dac, "bipolar", 12, scheme="differential")
    matrix = crossbar_matrix(chip, 3, 8, 1, 0, True).train()
    x = torch.tensor([[[0.0, 1, -1, 2, 0, -3, 3, 0]]], requires_grad=True)
    matrix(x).sum().backward()
    integer, _ = quantise_weights(matrix.weight.detach(), matrix.geometry.encoding, matrix.largest_weight)
    assert torch.allclose(x.grad[0, 0].double(), integer[0].sum(0))


@pytest.mark.parametrize("scheme", ["separate", "offset"])
def test_twos_complement_accumulates_to_either_sign(scheme: str) -> None:
    chip = small_chip(16, 40, 3, 4, 4, 1, "twos_complement", 16, scheme=scheme)
    chip = chip.with_changes(component={"adc": {"conversion": "after_accumulation"}})
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, True).double()
    x = torch.randint(-7, 8, (1, 30, 20), generator=torch.Generator().manual_seed(0)).double()
    exact = matrix(x)
    matrix.fuse_when_exact = False
    assert torch.equal(matrix(x), exact)


def test_calibrated_ranges_know_nothing_of_one_instances_adc_gains() -> None:
    found = []
    for gain in (0.0, 0.1):
        chip = small_chip(16, 40, 3, 4, 4, 1, "two_pass", 6, "calibrated", scheme="differential")
        matrix = crossbar_matrix(chip.with_changes(component={"adc": {"gain_sigma": gain}}), 3, 20, 1, 0, False)
        matrix.calibrate(torch.randint(0, 16, (1, 30, 20), generator=torch.Generator().manual_seed(0)).double())
        found.append(matrix.full_scale)
    assert torch.equal(*found)


def test_another_dtype_inside_one_epoch_of_lasting_noise() -> None:
    chip = CHIP.with_changes(device={"read_noise_sigma": 0.1, "read_correlation_time": 1.0})
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, False)
    x = torch.ones(1, 3, 20)
    matrix(x)
    matrix.double()(x.double())


def test_lasting_noise_does_not_carry_the_graph_of_training_into_evaluation() -> None:
    chip = CHIP.with_changes(device={"read_noise_sigma": 0.01, "read_correlation_time": 1.0})
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, False).double()
    x = torch.ones(1, 3, 20, dtype=torch.float64)
    before = matrix(x)
    matrix.train()
    with torch.no_grad():
        matrix.weight.neg_()
    matrix(x)
    with torch.no_grad():
        after = matrix.eval()(x)
    assert not after.requires_grad
    assert torch.allclose(-before, after, atol=3), "the trained weights are on the chip"


def test_a_drift_compensated_model_of_several_instances_loads() -> None:
    model, x, converted = one_layer(CHIP.with_changes(device={"drift_exponent": 0.05, "reference_time": 1.0}))
    program(converted, [1, 2])
    set_time(converted, 100.0)
    compensate_drift(converted)
    fresh = convert(model, converted.get_submodule("0").chip, x, seed=0)
    fresh.load_state_dict(converted.state_dict())
    assert torch.equal(fresh(x.repeat(2, 1)), converted(x.repeat(2, 1)))


def test_pairs_take_all_adcs_of_a_crossbar_in_turn() -> None:
    chip = small_chip(4, 16, 4, 5, 4, 4, "two_pass", 8, "ideal", scheme="differential")
    units = 2 * chip.structure.crossbars_per_core
    chip = chip.with_changes(component={"adc": {"units": units, "gain_sigma": 0.05}})
    matrix = CrossbarMatrix(torch.full((1, 4, 2), 15.0), chip, False, 15.0, torch.float64)
    product = matrix(torch.ones(1, 1, 2, dtype=torch.float64))[0, 0]
    assert product[0] == product[2]
    assert product[0] != product[1], "two ADCs, and all four pairs are on the first"


def test_draws_of_different_purpose_have_different_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that the code itself makes over writes 0 .. 9 of one layer."""
    seen: dict[int, set] = {}
    import hw.crossbar as module
    from hw.randomness import key_of

    def recording(*parts: int, device: object = None) -> torch.Generator:
        seen.setdefault(key_of(*parts), set()).add(("generator", parts))
        return torch.Generator().manual_seed(key_of(*parts))

    def recording_key(*parts: int) -> int:
        seen.setdefault(key_of(*parts), set()).add(("normals", parts))
        return key_of(*parts)

    monkeypatch.setattr(module, "generator_of", recording)
    monkeypatch.setattr(module, "key_of", recording_key)
    chip = CHIP.with_changes(device={
        "read_noise_sigma": 0.1, "read_correlation_time": 1.0, "programming_sigma": 0.1,
        "telegraph_share": 0.1, "telegraph_amplitude": 0.1, "telegraph_dwell_time": 1.0,
    })
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, False)
    for write in range(10):
        matrix.program((0,), write=write)
        matrix(torch.ones(1, 2, 20))
    assert [uses for uses in seen.values() if len(uses) > 1] == []


def test_an_empty_batch() -> None:
    _, x, converted = one_layer()
    assert converted(x[:0]).shape == (0, 4)


def test_pairs_on_one_bitline_over_wires_on_an_odd_number_of_wordlines() -> None:
    chip = small_chip(7, 20, 3, 4, 4, 1, "two_pass", 12, scheme="differential", subtraction="shared_bitline")
    crossbar_matrix(chip.with_changes(wires={"wordline": 1.0, "bitline": 1.0}), 3, 5, 1, 0, False)(torch.ones(1, 1, 5))

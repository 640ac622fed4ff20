"""Defects of the analog product that were found and mended: one test each, which failed before."""

import copy
import math

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from tests.hw.test_crossbar import crossbar_matrix, small_chip
from xbar.hw import Chip, ParameterError, TraceError, convert
from xbar.hw.analog import analog_layers, compensate_drift, layer_quality, program, set_time
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import quantise_weights

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
    copied = copy.deepcopy(converted)
    with torch.no_grad():
        before = converted.eval()(x)
        assert torch.equal(copied.eval()(x), before)
        analog_layers(copied)["0"].matrix.weight.zero_()
        copied.train()(x)
        assert not copied.eval()(x).any()
        assert torch.equal(converted(x), before), "the copy has weights and cells of its own"


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
    found = matrix.double()(x.double())
    always = crossbar_matrix(chip, 3, 20, 1, 0, False).double()
    assert torch.equal(found, always(x.double())), "the noise of the epoch, as drawn for that dtype"
    assert torch.equal(found, found[:, :1].expand_as(found)), "it lasts"
    assert not torch.equal(found, always.exact_product(x.double()))


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
    chip = chip.with_changes(component={"adc": {"columns": 8, "gain_sigma": 0.05}})
    matrix = CrossbarMatrix(torch.full((1, 4, 2), 15.0), chip, False, 15.0, torch.float64)
    product = matrix(torch.ones(1, 1, 2, dtype=torch.float64))[0, 0]
    assert product[0] == product[2]
    assert product[0] != product[1], "two ADCs, and all four pairs are on the first"


def test_draws_of_different_purpose_have_different_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that the code itself makes over writes 0 .. 9 of one layer."""
    seen: dict[int, set] = {}
    import xbar.hw.array.draws as module
    from xbar.hw.randomness import key_of

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
    """One vector of ones, over ohms where cells have 0.6 MOhm: the integer product."""
    chip = small_chip(7, 20, 3, 4, 4, 1, "two_pass", 12, scheme="differential", subtraction="shared_bitline")
    matrix = crossbar_matrix(chip.with_changes(wires={"wordline": 1.0, "bitline": 1.0}), 3, 5, 1, 0, False)
    assert not matrix.exact
    x = torch.ones(1, 1, 5)
    assert torch.equal(matrix(x).double(), matrix.exact_product(x))


def test_cells_of_0_siemens_have_noise_that_does_not_depend_on_conductance() -> None:
    """64 inputs at 255 of 255 on cells of 0 S, sigma 5 % of the range: 255 x 0.05 x 7 levels x sqrt(2 x 64) of a pair, times
    sqrt(1/2 - 1/(2 pi)), the spread of a Gaussian that is held at 0; to five standard errors."""
    chip = small_chip(64, 20, 3, 4, 8, 8, "two_pass", 12, "ideal", scheme="differential")
    noisy = chip.with_changes(device={"g_min": 0.0, "read_noise_model": "independent", "read_noise_sigma": 0.05})
    matrix = CrossbarMatrix(torch.zeros(1, 4, 64), noisy, False)
    for wires in (0.0, 0.01):
        wired = noisy.with_changes(wires={"wordline": wires, "bitline": wires})
        matrix = CrossbarMatrix(torch.zeros(1, 4, 64), wired, False)
        spread = matrix(torch.full((1, 4000, 64), 255.0)).std(1)
        assert spread.flatten().tolist() == pytest.approx([255 * 0.05 * 7 * (64 - 64 / math.pi) ** 0.5] * 4, rel=0.06)


def test_thermal_noise_is_there_whatever_is_driven() -> None:
    """Nyquist: variance of a column's current 4 k T bandwidth sum(G), free of the voltage."""
    chip = small_chip(64, 20, 3, 4, 8, 8, "two_pass", 12, "ideal", scheme="differential")
    device = {"g_min": 1e-5, "g_max": 1e-4, "read_voltage": 1e-3, "temperature": 300.0, "read_bandwidth": 1e7}
    matrix = CrossbarMatrix(torch.zeros(1, 4, 64), chip.with_changes(device=device), False)
    ampere = 4 * 1.380649e-23 * 300 * 1e7 * (2 * 64 * 1e-5)  # squared, of a pair of columns
    level = 1e-3 / 255 * 9e-5 / 7  # of one level at one DAC step
    for x in (0.0, 1.0, 255.0):
        spread = matrix(torch.full((1, 4000, 64), x)).std(1)
        assert spread.flatten().tolist() == pytest.approx([ampere**0.5 / level] * 4, rel=0.06)


def test_signal_to_noise_sees_that_drift_is_compensated() -> None:
    drifting = CHIP.with_changes(device={"drift_exponent": 0.05, "reference_time": 1.0})
    _, x, converted = one_layer(drifting)
    set_time(converted, 1e7)
    before = layer_quality(converted, x)["0"].signal_to_noise_dB
    compensate_drift(converted)
    assert layer_quality(converted, x)["0"].signal_to_noise_dB > before + 10


def test_training_leaves_no_compensation_behind() -> None:
    drifting = CHIP.with_changes(device={"drift_exponent": 0.05, "reference_time": 1.0})
    _, x, converted = one_layer(drifting)
    fresh = converted(x)
    set_time(converted, 1e7)
    compensate_drift(converted)
    converted.train()(x)
    assert torch.allclose(converted.eval()(x), fresh, atol=1e-6)


def test_training_mode_means_the_present_weights_with_and_without_gradients() -> None:
    _, x, converted = one_layer()
    converted.train()
    with torch.no_grad():
        analog_layers(converted)["0"].matrix.weight.zero_()
        assert not converted(x).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_at_the_edges(dtype: torch.dtype) -> None:
    """Inputs and outputs may be half; scales, cells and sums are not."""
    chip = CHIP.with_changes(device={"programming_sigma": 1e-4})
    _, x, converted = one_layer(chip)
    expected = converted(x)
    assert torch.allclose(converted(x.to(dtype)).float(), expected, rtol=0.02, atol=0.02)
    assert torch.allclose(converted.to(dtype)(x.to(dtype)).float(), expected, rtol=0.02, atol=0.02)


def test_inputs_that_are_no_numbers_are_refused() -> None:
    _, x, converted = one_layer()
    x[0, 0] = float("nan")
    with pytest.raises(ParameterError, match="layer 0: inputs must be finite"):
        converted(x)


def test_a_model_converted_and_run_in_inference_mode_trains_later() -> None:
    with torch.inference_mode():
        _, x, converted = one_layer()
        converted(x)
    given = torch.rand(5, 10, requires_grad=True)
    converted(given).sum().backward()
    converted.train()(torch.rand(5, 10)).sum().backward()
    assert given.grad is not None


def test_inputs_that_the_dac_has_no_code_for_are_refused() -> None:
    matrix = crossbar_matrix(CHIP, 3, 20, 1, 0, False)
    for wrong, said in ((16.0, "to 15, got"), (-1.0, "from 0 to"), (0.5, "whole numbers")):
        with pytest.raises(ParameterError, match=said):
            matrix(torch.full((1, 2, 20), wrong))
    for shape in ((1, 2, 19), (2, 2, 20)):
        with pytest.raises(ParameterError, match="inputs must be"):
            matrix(torch.zeros(shape))
    with pytest.raises(ParameterError, match="one vector or more"):
        matrix.calibrate(torch.zeros(1, 0, 20))


@pytest.mark.parametrize("current", [-1e-5, 0.0, float("nan"), [1e-5, 1e-5, 1e-5]])
def test_a_full_scale_that_is_none_is_refused(current: float | list[float]) -> None:
    matrix = crossbar_matrix(CHIP.with_changes(device={"read_voltage": 0.2}), 3, 20, 1, 0, False)
    with pytest.raises(ParameterError, match="full scale must be"):
        matrix.set_full_scale(torch.tensor(current))


@pytest.mark.parametrize(("adc", "said"), [
    ({"range": "fixed", "full_scale": 1e-4}, "range = fixed"), ({"range": "level_fixed"}, "range = level_fixed"),
    ({"range": "ideal"}, "range = ideal"),
])  # fmt: skip
def test_a_full_scale_that_no_converter_takes_is_refused(adc: dict[str, object], said: str) -> None:
    """It set what nothing read; where it is taken, a code is that current over the highest."""
    chip = CHIP.with_changes(device={"read_voltage": 0.2}, component={"adc": {"range": "full_scale"}})
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, False)
    matrix.set_full_scale(5e-3)
    channel = matrix.channel
    assert channel.adc.step * channel.adc.high * channel.ampere_per_level() == pytest.approx(5e-3)
    matrix = crossbar_matrix(chip.with_changes(component={"adc": adc}), 3, 20, 1, 0, False)
    before = matrix.full_scale
    with pytest.raises(ParameterError, match=f"without effect where component.adc.{said}"):
        matrix.set_full_scale(5e-3)
    assert matrix.full_scale is before


def test_a_wrong_program_call_changes_nothing() -> None:
    matrix = crossbar_matrix(CHIP, 3, 20, 1, 0, False)
    x = torch.ones(1, 2, 20)
    before = matrix(x)
    for wrong in ({"seeds": (0,), "layer": -1}, {"seeds": (0,), "write": -1}, {"seeds": ()}, {"seeds": (1.5,)}):
        with pytest.raises(ParameterError, match="whole numbers from 0 on"):
            matrix.program(**wrong)  # type: ignore[arg-type]
    assert torch.equal(matrix(x), before)


def test_a_state_of_signed_inputs_is_not_one_of_unsigned() -> None:
    signed, unsigned = (crossbar_matrix(CHIP, 3, 20, 1, 0, each) for each in (True, False))
    with pytest.raises(ParameterError, match="signed"):
        unsigned.load_state_dict(signed.state_dict())


def test_an_empty_batch_through_a_convolution() -> None:
    model, x = seeded(None, nn.Conv2d(2, 4, 3, groups=2)), torch.rand(3, 2, 6, 6)
    assert convert(model, CHIP, x, seed=0)(x[:0]).shape == (0, 4, 4, 4)


def test_a_model_without_a_layer_to_convert_is_refused() -> None:
    """It came back as it was, without a word."""
    with pytest.raises(TraceError, match="no Linear, convolution or other constant matrix"):
        convert(nn.Sequential(nn.ReLU()), CHIP, torch.rand(5, 8), seed=0)


def test_a_layer_alone_is_converted() -> None:
    """It came back as it was, then it was refused."""
    assert list(analog_layers(convert(nn.Linear(8, 4), CHIP, torch.rand(5, 8), seed=0))) == ["linear"]


def test_ranges_set_within_one_epoch_of_lasting_noise_hold_for_its_cells() -> None:
    """Cells are kept in steps of their ADCs: those of the epoch were in steps of the range before."""
    chip = small_chip(16, 40, 3, 4, 4, 1, "two_pass", 6, "calibrated", scheme="differential")
    chip = chip.with_changes(device={"read_noise_sigma": 0.1, "read_correlation_time": 1.0})
    matrix = crossbar_matrix(chip, 3, 20, 1, 0, False)
    x = torch.randint(0, 16, (1, 30, 20), generator=torch.Generator().manual_seed(0)).float()
    matrix(x)
    matrix.calibrate((x > 7).float())
    matrix.reads = 0
    found = matrix(x)
    matrix.program((0,))
    assert torch.equal(found, matrix(x))

"""Converted models against the float model: every kind of layer, the call signature, the errors."""

import math

import pytest
import torch
from torch import nn

from tests.hw.networks import residual, seeded, sequence, small_convolutional, unusual_paths
from xbar.hw import Chip, MappingError, ParameterError, TraceError, convert, place, trace
from xbar.hw.analog import (
    AnalogLayer,
    analog_layers,
    compensate_drift,
    layer_quality,
    program,
    read_energies,
    recalibrate,
    set_time,
)
from xbar.hw.errors import RangeWarning

LAYERS = {
    "linear": (nn.Linear(37, 11), (5, 37)),
    "linear without bias": (nn.Linear(300, 20, bias=False), (5, 300)),
    "linear on rows": (nn.Linear(8, 3), (2, 6, 8)),
    "convolution": (nn.Conv2d(3, 8, 3), (2, 3, 9, 7)),
    "stride, padding": (nn.Conv2d(3, 8, 5, stride=2, padding=2), (2, 3, 11, 11)),
    "dilation": (nn.Conv2d(2, 4, 3, dilation=2, padding=1), (2, 2, 9, 9)),
    "groups": (nn.Conv2d(6, 9, 3, groups=3, padding=1), (2, 6, 5, 5)),
    "depthwise, no bias": (nn.Conv2d(4, 4, 3, groups=4, bias=False), (2, 4, 6, 6)),
    "uneven kernel": (nn.Conv2d(2, 3, (1, 5), stride=(2, 1), padding=(0, 2)), (2, 2, 5, 8)),
    "many rows": (nn.Conv2d(40, 5, 3), (1, 40, 4, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("signed", [False, True])
def test_on_isaac_a_layer_is_its_float_self_to_the_last_of_16_bits(isaac: Chip, name: str, signed: bool) -> None:
    layer, shape = LAYERS[name]
    model = seeded(None, layer)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(3)) - (0.5 if signed else 0.0)
    converted = convert(model, isaac, x, seed=0)
    with torch.no_grad():
        expected = model(x)
    terms = next(iter(analog_layers(converted).values())).matrix.mapped.geometry.inputs
    step = expected.abs().max() * 2**-15
    assert converted(x).shape == expected.shape
    assert converted(x).dtype == expected.dtype
    assert (converted(x) - expected).abs().max() < 2 * terms**0.5 * step + 1e-5


def test_batch_norm_is_folded(isaac: Chip) -> None:
    model = seeded(
        None, nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5)
    )
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    model[5].running_mean.uniform_(-1, 1)
    x = torch.rand(6, 2, 6, 6)
    converted = convert(model, isaac, x, seed=0)
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in converted.modules())
    assert len(analog_layers(converted)) == 2
    assert torch.allclose(converted(x), model(x), atol=1e-3)
    assert isinstance(model[1], nn.BatchNorm2d), "the model itself is left alone"


@pytest.mark.parametrize("network", [small_convolutional, residual, unusual_paths, sequence])
def test_networks_on_isaac(isaac: Chip, network) -> None:  # type: ignore[no-untyped-def]
    model, x = network()
    converted = convert(model, isaac, x, seed=0)
    with torch.no_grad():
        assert torch.allclose(converted(x), model(x), atol=2e-3)


def test_fewer_bits_are_worse(edge: Chip) -> None:
    """Error against float falls with weight bits, on cells that have the levels."""
    model, x = small_convolutional()
    errors = []
    for cell_bits in (2, 4, 6):
        chip = edge.with_changes(
            device={"levels": 2**cell_bits, "programming_sigma": 0.0, "read_noise_sigma": 0.0},
            weights={"bits": cell_bits + 1}, component={"adc": {"bits": 14}},
        )  # fmt: skip
        with torch.no_grad():
            errors.append((convert(model, chip, x, seed=0)(x) - model(x)).pow(2).mean().sqrt().item())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_instances(edge: Chip) -> None:
    """A seed is a chip: the same seed gives the same bits, another seed another chip."""
    model, x = small_convolutional()
    chip = edge.with_changes(device={"read_noise_sigma": 0.0})
    converted = convert(model, chip, x, seed=1)
    first = converted(x)
    program(converted, 2)
    second = converted(x)
    program(converted, 1)
    assert torch.equal(converted(x), first)
    assert torch.equal(convert(model, chip, x, seed=1)(x), first)
    assert not torch.equal(first, second)


def test_layers_draw_apart(edge: Chip) -> None:
    """Another first layer leaves the second layer's cells as they were."""
    chip = edge.with_changes(device={"read_noise_sigma": 0.0, "g_min": 5e-6, "programming_sigma": 0.01})
    cells = []
    for width in (4, 7):
        model = seeded(None, nn.Conv2d(1, width, 3), nn.Flatten(), nn.Linear(36 * width, 5))
        converted = convert(model, chip, torch.rand(2, 1, 8, 8), seed=3)
        second = list(analog_layers(converted).values())[1].matrix
        error = second.array.conductances()[0] - second.device.conductance(second.mapped.columns(), 4)
        cells.append(error.flatten()[:20] / second.device.g_max)
    assert torch.allclose(cells[0], cells[1], atol=1e-5)


def test_inputs_beyond_the_calibrated_range_are_clipped_and_counted(isaac: Chip) -> None:
    model = seeded(None, nn.Linear(4, 2, bias=False))
    converted = convert(model, isaac, torch.ones(1, 4), seed=0)
    (layer,) = analog_layers(converted).values()
    with torch.no_grad():
        with pytest.warns(RangeWarning, match=r"layer 0: 100.0% of the inputs are beyond"):
            found = converted(3 * torch.ones(1, 4))
        assert torch.allclose(found, model(torch.ones(1, 4)), atol=1e-3)
    assert layer.matrix.counts.clipped_inputs == 4


def test_all_zero_weights_and_inputs(edge: Chip) -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(0.25)
    ideal = edge.with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0})
    assert torch.equal(convert(model, ideal, torch.zeros(2, 6), seed=0)(torch.zeros(2, 6)), torch.full((2, 3), 0.25))


def test_read_energy_needs_a_voltage(isaac: Chip) -> None:
    model, x = small_convolutional()
    with pytest.raises(ParameterError, match="read_voltage"):
        read_energies(convert(model, isaac.with_changes(device={"read_voltage": None}), x, seed=0))


class TestErrors:
    def test_calibration_data(self, isaac: Chip) -> None:
        model, x = small_convolutional()
        with pytest.raises(ParameterError, match="finite"):
            convert(model, isaac, torch.full_like(x, float("nan")), seed=0)
        with pytest.raises(ParameterError, match=r"\(batch"):
            convert(model, isaac, x[:0], seed=0)
        with pytest.raises(ParameterError, match="seed"):
            convert(model, isaac, x, seed=-1)

    def test_weights_that_are_not_finite_name_the_layer(self, isaac: Chip) -> None:
        model, x = small_convolutional()
        with torch.no_grad():
            model[3].weight[0, 0, 0, 0] = float("inf")
        with pytest.raises(MappingError, match=r"layer 3: weights must be finite; 1 of"):
            convert(model, isaac, x, seed=0)

    def test_control_flow_on_data(self, isaac: Chip) -> None:
        class Branch(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x if x.sum() > 0 else -x

        with pytest.raises(TraceError, match=r"Branch cannot be captured for inputs .* depends on values; .*: return x if x.sum") as told:
            convert(Branch(), isaac, torch.rand(2, 3), seed=0)
        assert "torch.where(condition, one, other)" in str(told.value)
        assert "guard" not in str(told.value)  # torch's own words are in what it came from


def test_a_layer_is_a_module_with_its_name(isaac: Chip) -> None:
    model, x = small_convolutional()
    converted = convert(model, isaac, x, seed=0)
    assert [type(m) for m in (converted.get_submodule("0"), converted.get_submodule("7"))] == [AnalogLayer] * 2


def test_layer_quality_by_closed_form(edge: Chip) -> None:
    """An 8-bit ADC rounds each of a layer's conversions with a variance of step² / 12; nothing else errs here."""
    model, x = seeded(None, nn.Linear(100, 50, bias=False)), torch.rand(400, 100, generator=torch.Generator().manual_seed(0))
    chip = edge.with_changes(
        device={"programming_sigma": 0.0, "read_noise_sigma": 0.0}, component={"dac": {"bits": 8}, "adc": {"percentile": 1.0}}
    )
    converted = convert(model, chip, x, seed=0)
    (layer,) = analog_layers(converted).values()
    found = layer_quality(converted, x)["0"]
    step = float(layer.matrix.channel.adc.step[0, 0])
    signal = float(layer.matrix.exact_product(layer.to_integers(x)).square().mean())
    assert step > 2, "else whole numbers have no rounding error"
    assert found.signal_to_noise_dB == pytest.approx(10 * math.log10(signal / (step**2 / 12)), abs=0.3)
    assert (found.saturated_share, found.clipped_input_share) == (0.0, 0.0)
    with pytest.warns(RangeWarning):
        beyond = layer_quality(converted, 2 * x)["0"]
    assert beyond.clipped_input_share == pytest.approx(float((2 * x / x.max() > 1).double().mean()), abs=0.01)
    lossless = chip.with_changes(component={"adc": {"bits": 24, "range": "level"}})
    assert layer_quality(convert(model, lossless, x, seed=0), x)["0"].signal_to_noise_dB == math.inf


def test_drift_is_compensated_by_one_factor_and_ranges_follow(edge: Chip) -> None:
    """With one exponent for all cells a factor (1 + t/t0)^nu undoes the drift but for the ADC's steps."""
    model, x = seeded(None, nn.Linear(100, 20, bias=False)), torch.rand(50, 100, generator=torch.Generator().manual_seed(0))
    drift = {"drift_exponent": 0.1, "reference_time": 1.0, "programming_sigma": 0.0, "read_noise_sigma": 0.0}
    chip = edge.with_changes(device=drift, component={"dac": {"bits": 8}, "adc": {"bits": 12, "finest": "any"}})
    converted = convert(model, chip, x, seed=0)
    program(converted, [0, 1])
    with torch.no_grad():
        fresh = converted(x.repeat(2, 1))
        set_time(converted, 1e6)
        aged = converted(x.repeat(2, 1))
        factors = compensate_drift(converted)["0"]
        compensated = converted(x.repeat(2, 1))
    law = (1 + 1e6) ** 0.1
    assert torch.allclose(fresh / law, aged, atol=0.02 * float(aged.abs().max()))
    assert factors.tolist() == pytest.approx([law, law], rel=0.01)
    assert torch.allclose(compensated, fresh, atol=0.02 * float(fresh.abs().max()))
    before = analog_layers(converted)["0"].matrix.full_scale.clone()
    recalibrate(converted)
    assert torch.allclose(analog_layers(converted)["0"].matrix.full_scale * law, before, rtol=0.01)


def test_packed_layers_compute_the_same_on_fewer_crossbars(edge: Chip) -> None:
    """Outputs and inputs without a weight are on no crossbar; the functional model and the placement agree on it."""
    model = seeded(None, nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 40))
    with torch.no_grad():
        model[0].weight[::2] = 0  # every second filter
        model[0].weight[:, :, 0, 1] = 0  # one place of the kernel
        model[3].weight[:, :1000] = 0
    x = torch.rand(3, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    chip = edge.with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0}, component={"adc": {"bits": 14}})
    whole, packed = (convert(model, chip, x, seed=0, pack=pack) for pack in (False, True))
    assert torch.equal(packed(x), whole(x))
    geometries = {name: layer.matrix.geometry for name, layer in analog_layers(packed).items()}
    assert [(g.outputs, g.inputs) for g in geometries.values()] == [(16, 8 * 8), (40, 152)]
    network, before = trace(model, x, pack=True), trace(model, x)
    assert [(layer.outputs, layer.inputs) for layer in network.layers] == [(16, 64), (40, 152)]
    crossbars = {name: geometry.crossbars for name, geometry in geometries.items()}
    assert list(crossbars.values()) == [1, 2]
    for traced, each in ((network, crossbars), (before, {"0": 1, "3": 9})):
        placement = place(traced, chip)
        assert placement.crossbars_used == sum(len(copies) * each[name] for name, copies in placement.copies.items())
    assert sum(layer.matrix.geometry.crossbars for layer in analog_layers(whole).values()) == 1 + 9


def test_a_layer_without_weights_can_be_packed(edge: Chip) -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(0.25)
    converted = convert(model, edge, torch.ones(2, 6), seed=0, pack=True)
    assert converted(torch.ones(2, 6))[:, 1:].tolist() == [[0.25, 0.25]] * 2

"""Torch all the way: gradients against the float layer's, training under noise, saving and loading, copies, dtypes."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.hw.networks import residual, seeded, small_convolutional
from tests.hw.test_crossbar import small_chip
from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import analog_layers, copy_weights, program, set_time
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import quantise_weights
from xbar.hw.array.ready import make_ready
from xbar.hw.errors import ParameterError, RangeWarning

EDGE = load_chip("edge")
SCHEMES: list[dict[str, object]] = [
    {"scheme": "differential"}, {"scheme": "differential", "subtraction": "digital"},
    {"scheme": "differential", "subtraction": "shared_bitline"}, {"scheme": "separate", "pair": "two_sided"},
    {"scheme": "separate"}, {"scheme": "separate", "subtraction": "analog"}, {"scheme": "offset", "offset_reference": "analog"},
    {"scheme": "offset"}, {"scheme": "offset", "offset_reference": "digital"},
    {"scheme": "offset", "flipped_columns": True},
]  # fmt: skip
# cell bits, DAC bits, signed inputs: whole, sliced weights, sliced inputs, both
SLICINGS = [(4, 4, "two_pass"), (2, 4, "two_pass"), (4, 1, "two_pass"), (2, 1, "two_pass"), (1, 1, "twos_complement"), (2, 3, "two_pass")]
DEVICE = {"programming_model": "independent", "programming_sigma": 0.05, "g_min": 0.0}


def lossless(cell_bits: int, dac: int, signed: str, **scheme: object) -> Chip:
    """5-bit weights, 4-bit inputs, an ADC with bits to spare."""
    return small_chip(16, 30, cell_bits, 5, 4, dac, signed, 16, **scheme)


class TestGradients:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize(("cell_bits", "dac", "signed"), SLICINGS)
    def test_equal_the_float_layers_on_quantised_values(
        self, scheme: dict[str, object], cell_bits: int, dac: int, signed: str
    ) -> None:
        """Straight through: dL/dx = dL/dy Wq, dL/dW = dL/dy^T xq, with Wq and xq what the chip holds and drives; also on
        several tiles, and for inputs and weights that are 0."""
        if scheme["scheme"] == "offset":
            cell_bits = min(cell_bits, 5)
        matrix = CrossbarMatrix(
            torch.randn(1, 7, 37, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
            lossless(cell_bits, dac, signed, **scheme), True, dtype=torch.float64,
        ).train()  # fmt: skip
        largest = matrix.high
        with torch.no_grad():
            matrix.weight[0, :3] = 0
        x = torch.randint(-largest, largest + 1, (1, 6, 37), generator=torch.Generator().manual_seed(1)).double()
        x[0, 0] = 0
        x.requires_grad_()
        upstream = torch.randn(1, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        integer, scale = quantise_weights(matrix.weight.detach(), matrix.geometry.encoding)
        y = matrix(x)
        assert torch.equal(y.detach(), x.detach() @ integer.transpose(1, 2))
        (y * upstream).sum().backward()
        assert x.grad is not None
        assert matrix.weight.grad is not None
        assert torch.allclose(x.grad, upstream @ integer, rtol=1e-9, atol=1e-9)
        expected = upstream.transpose(1, 2) @ x.detach() / scale.unsqueeze(-1)
        assert torch.allclose(matrix.weight.grad, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize(("cell_bits", "dac"), [(4, 4), (2, 1)])
    def test_none_where_inputs_are_clipped(self, signed: bool, cell_bits: int, dac: int) -> None:
        """Beyond the calibrated range (half a step over its end and more) the driver does not move."""
        low = -1.0 if signed else 0.0
        model = seeded(None, nn.Linear(6, 3))
        converted = convert(model, lossless(cell_bits, dac, "two_pass", scheme="differential"),
                            torch.tensor([[low, 0, 0, 0, 0, 1.0]]), seed=0)  # fmt: skip
        (layer,) = analog_layers(converted).values()
        x = torch.tensor([[0.5, 1.0, 1.5, -0.5, -1.5, 40.0]], requires_grad=True)
        with pytest.warns(RangeWarning):
            converted.train()(x).sum().backward()
        assert x.grad is not None
        clipped = torch.tensor([False, False, True, not signed, True, True])
        step = layer.matrix.mapped.scale[0].max()
        expected = (torch.round(model[0].weight.double() / step) * step).sum(0)
        assert x.grad[0][clipped].abs().max() == 0
        assert torch.allclose(x.grad[0][~clipped].double(), expected[~clipped], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dac", [4, 1])
    @pytest.mark.parametrize("training", [True, False])
    def test_none_where_codes_are_saturated(self, dac: int, training: bool) -> None:
        """Columns 0 and 1 exceed the ADC's largest code in every read, column 2 in none."""
        chip = small_chip(16, 30, 4, 5, 4, dac, "two_pass", 6 if dac == 4 else 4, "level_fixed", scheme="differential")
        weight = torch.zeros(1, 3, 12, dtype=torch.float64)
        weight[0, 0], weight[0, 1], weight[0, 2, 0] = 15.0, -15.0, 1.0
        matrix = CrossbarMatrix(weight, chip, False, 15.0, torch.float64).train(training)
        x = torch.full((1, 2, 12), 15.0, dtype=torch.float64, requires_grad=True)
        for column, expected in ((0, 0.0), (1, 0.0), (2, 1.0)):
            x.grad = matrix.weight.grad = None
            matrix(x)[..., column].sum().backward()
            assert x.grad is not None
            assert x.grad[0, :, 0].tolist() == pytest.approx([expected] * 2)
            if training:
                assert matrix.weight.grad is not None
                assert matrix.weight.grad[0, column].abs().max() == pytest.approx(30 * expected)

    def test_flow_through_noise_to_every_parameter(self) -> None:
        model, x = small_convolutional()
        chip = EDGE.with_changes(device={"device_to_device_sigma": 0.02, "stuck_off_rate": 0.01})
        converted = convert(model, chip, x, seed=0).train()
        converted(x).square().sum().backward()
        for name, parameter in converted.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().max() > 0, name

    def test_of_inputs_in_evaluation_mode(self) -> None:
        """Through the programmed cells, as they are."""
        matrix = CrossbarMatrix(torch.randn(1, 4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
                                lossless(4, 2, "two_pass", scheme="differential").with_changes(device=DEVICE),
                                True, dtype=torch.float64)  # fmt: skip
        cells = (matrix.array.conductances()[0, 0] / matrix.device.level_step(4)).flatten(0, 1)[:20]
        held = cells[:, 0::2] - cells[:, 1::2]  # (inputs, outputs)
        x = torch.randint(-15, 16, (1, 3, 20), generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        matrix(x).sum().backward()
        assert x.grad is not None
        assert torch.allclose(x.grad[0], held.sum(1).expand(3, 20), rtol=1e-9)


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes of 8 x 8 pictures: fixed patterns under a little noise."""
    patterns = torch.rand(4, 64, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 4, (count,), generator=generator)
    return (0.5 + 0.5 * patterns[label] + 0.1 * torch.randn(count, 64, generator=generator)).clamp(0, 2), label


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))


def fit(model: nn.Module, steps: range, optimiser: torch.optim.Optimizer) -> list[float]:
    """Losses of steps on new data each."""
    losses = []
    model.train()
    for step in steps:
        x, label = blobs(64, 1000 + step)
        loss = nn.functional.cross_entropy(model(x), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


NOISY = EDGE.with_changes(device={"programming_model": "independent", "programming_sigma": 0.25, "read_noise_sigma": 0.02})
CALIBRATION = blobs(256, 0)[0]


def test_training_on_noisy_cells_lowers_the_loss_and_beats_float_training() -> None:
    """200 float steps of Adam, then 150 more in float or on the chip, each on cells written anew (25 % of the range); loss
    on new data, mean of 16 chip instances. Measured, initial weights of two seeds (the first is run here): before 0.53 and
    0.60, trained on the chip 0.31 and 0.47, trained on in float 0.62 and 0.73."""
    start = network(1)
    fit(start, range(200), torch.optim.Adam(start.parameters(), 5e-3))
    in_float = copy.deepcopy(start)
    fit(in_float, range(200, 350), torch.optim.Adam(in_float.parameters(), 5e-3))
    on_chip = convert(start, NOISY, CALIBRATION, seed=0)
    fit(on_chip, range(200, 350), torch.optim.Adam(on_chip.parameters(), 5e-3))
    x, label = blobs(300, 7)

    def on_chips(model: nn.Module) -> float:
        program(model.eval(), list(range(100, 116)))
        with torch.no_grad():
            return nn.functional.cross_entropy(model(x.repeat(16, 1)), label.repeat(16)).item()

    noisy = on_chips(on_chip)
    assert noisy < 0.9 * on_chips(convert(start, NOISY, CALIBRATION, seed=0))
    assert noisy < 0.8 * on_chips(convert(in_float, NOISY, CALIBRATION, seed=0))


def test_sgd_lowers_the_loss_from_the_start() -> None:
    """100 steps of plain SGD on cells written anew each time (8 % of the range): the loss falls from 1.39 to
    0.96."""
    chip = NOISY.with_changes(device={"programming_sigma": 0.08})
    model = convert(network(1), chip, CALIBRATION, seed=0)
    losses = fit(model, range(100), torch.optim.SGD(model.parameters(), 0.05))
    assert sum(losses[-10:]) / 10 < 0.85 * sum(losses[:5]) / 5


class TestStates:
    @staticmethod
    def made(network: Callable[[], tuple[nn.Module, Tensor]] = small_convolutional) -> tuple[nn.Module, Tensor, nn.Module, Chip]:
        model, x = network()
        device = {"read_noise_sigma": 0.05, "drift_exponent": 0.05, "drift_exponent_sigma": 0.02, "reference_time": 1.0}
        chip = EDGE.with_changes(device=device, component={"adc": {"offset_sigma": 0.5, "gain_sigma": 0.02}})
        return convert(model, chip, x, seed=3), x, model, chip

    @pytest.mark.parametrize("how", ["dict", "file"])
    @pytest.mark.parametrize("network", [small_convolutional, residual])
    @pytest.mark.parametrize("instances", [1, 3])
    def test_a_freshly_converted_model_goes_on_where_the_saved_one_was(
        self, how: str, network: Callable[[], tuple[nn.Module, Tensor]], instances: int
    ) -> None:
        """Chip instances, number of writes, time since, reads so far; calibrated on other data and seeded otherwise."""
        saved, x, model, chip = self.made(network)
        program(saved, list(range(4, 4 + instances)), chip.device.with_programming_sigma(0.08), write=2)
        set_time(saved, 300.0)
        batch = x.repeat(instances, 1, 1, 1)
        saved(batch)
        state = saved.state_dict()
        if how == "file":
            file = io.BytesIO()
            torch.save(state, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
        fresh = convert(model, chip, 2 * x[:2], seed=11)
        fresh.load_state_dict(state)
        for _ in range(2):
            assert torch.equal(fresh(batch), saved(batch))
        for name, layer in analog_layers(saved).items():
            other = analog_layers(fresh)[name].matrix
            assert (other.seeds, other.write, other.time, other.reads) == (
                layer.matrix.seeds, layer.matrix.write, layer.matrix.time, layer.matrix.reads,
            )  # fmt: skip
            assert torch.equal(other.array.conductances(), layer.matrix.array.conductances())

    def test_the_state_is_a_copy(self) -> None:
        """Reading on does not change a state taken before."""
        saved, x, model, chip = self.made()
        state = copy.deepcopy(saved.state_dict())
        expected = saved(x)
        saved(x)
        fresh = convert(model, chip, x, seed=0)
        fresh.load_state_dict(state)
        assert torch.equal(fresh(x), expected)

    def test_deepcopy(self) -> None:
        saved, x, _, _ = self.made()
        saved(x)
        other = copy.deepcopy(saved)
        assert torch.equal(other(x), saved(x))
        program(other, 9)
        assert not torch.equal(other(x), saved(x))

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_modes_give_the_same(self, mode: Callable[[], object]) -> None:
        saved, x, _, _ = self.made()
        first = saved(x)
        program(saved, 3)
        with mode():  # type: ignore[attr-defined]
            assert torch.equal(saved(x), first)

    def test_programming_and_converting_in_inference_mode(self) -> None:
        saved, x, model, chip = self.made()
        first = saved(x)
        with torch.inference_mode():
            assert torch.equal(convert(model, chip, x, seed=3)(x), first)
            program(saved, 3)
            set_time(saved, 10.0)
            set_time(saved, 0.0)
            assert torch.equal(saved(x), first)

    @pytest.mark.parametrize("network", [small_convolutional, residual])
    def test_float32_and_float64_agree_to_rounding(self, network: Callable[[], tuple[nn.Module, Tensor]]) -> None:
        """An ADC that neither rounds nor clips, programming error and drift but no read noise (which draws other numbers in
        other dtypes): within 1e-5 of the largest output, where 24 bits give 6e-8 an operation."""
        model, x = network()
        chip = EDGE.with_changes(
            device={"read_noise_sigma": 0.0}, component={"adc": {"range": "ideal"}, "dac": {"bits": 8}},
            inputs={"quantise": False},
        )  # fmt: skip
        single = convert(model, chip, x, seed=3)
        double = convert(copy.deepcopy(model).double(), chip, x.double(), seed=3)
        assert double(x.double()).dtype == torch.float64
        expected = double(x.double())
        assert (single(x).double() - expected).abs().max() < 1e-5 * expected.abs().max()
        later = copy.deepcopy(single).double()
        assert later(x.double()).dtype == torch.float64
        assert (later(x.double()) - expected).abs().max() < 1e-5 * expected.abs().max()

    def test_double_after_conversion_programmes_as_before(self) -> None:
        model, x = small_convolutional()
        chip = EDGE.with_changes(device={"read_noise_sigma": 0.0})
        converted = convert(model, chip, x, seed=3)
        cells = [layer.matrix.array.conductances() for layer in analog_layers(converted).values()]
        converted.double()
        program(converted, 3)
        for layer, before in zip(analog_layers(converted).values(), cells, strict=True):
            assert make_ready(layer.matrix.array, layer.matrix.channel, layer.matrix.dtype).cells.dtype == torch.float64
            assert torch.allclose(layer.matrix.array.conductances(), before, rtol=1e-12)


def test_trained_weights_are_copied_back_to_the_network(isaac: Chip) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    on_chip = convert(model, isaac, torch.rand(8, 6), seed=0)
    with torch.no_grad():
        for parameter in on_chip.parameters():
            parameter.add_(0.25)
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    copy_weights(on_chip, other)
    for trained, start in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(trained, start + 0.25)
    for wrong, told in ((nn.Sequential(nn.Linear(6, 4)), "no layer 2"), (nn.Sequential(nn.Linear(6, 3)), "weight of 24 values")):
        with pytest.raises(ParameterError, match=told):
            copy_weights(on_chip, wrong)
    with pytest.raises(ParameterError, match="no bias"):
        copy_weights(on_chip, nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))

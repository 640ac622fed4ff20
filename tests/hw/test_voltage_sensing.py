"""Columns that settle at a voltage, row segments with a scale of their own, biases on driven rows, fitted columns, cells that are off:
each against numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from xbar.hw import Arrivals, place, simulate, trace
from xbar.hw.analog import analog_layers, convert, copy_weights, fit_columns, program, saturated_shares
from xbar.hw.array.counts import conversions_per_slice, drives_per_slice
from xbar.hw.array.crossbar import CrossbarMatrix, LookUpMatrix
from xbar.hw.array.design import CellError
from xbar.hw.array.ready import ReadSequence
from xbar.hw.cells.device import Device
from xbar.hw.chip.files import load_chip
from xbar.hw.errors import ConfigurationError, ParameterError, UnknownLayerError

EXACT = {
    "device.programming_sigma": "0", "component.crossbar.cell_error.sigma": "0", "component.adc.column_calibration": "nominal",
}  # fmt: skip


def neurram(ideal: bool = False, **changes):
    """The preset, its cells exact where ideal and its converters without codes."""
    chip = load_chip("neurram", EXACT if ideal else {})
    device = {"relaxation_table": None, "write_verify_tolerance": None, "write_verify_most": None, "write_verify_floor": None}
    adc = {"range": "ideal", "full_scale_voltage": None}
    return chip.with_changes(**({"device": device, "component": {"adc": adc}} if ideal else {})).with_changes(**changes)


def conductances(matrix: CrossbarMatrix, tile: int) -> np.ndarray:
    """Conductances of the first instance's row tile, (rows, outputs, 2)."""
    held = matrix.array.conductances()[0, 0, tile].numpy()
    return held[: matrix.geometry.inputs_of(tile)].reshape(-1, matrix.geometry.outputs, 2)


def test_a_column_settles_at_the_mean_of_its_cells_voltages():
    """Sum over V G over sum over G of each bitline, whose pairs are driven at opposite voltages; then codes, then nominal gains."""
    torch.manual_seed(0)
    chip = neurram(component={"adc": {"column_calibration": "nominal"}})
    matrix = CrossbarMatrix(torch.randn(1, 5, 230), chip, False, dtype=torch.float64)
    inputs = torch.randint(0, 8, (1, 40, 230)).double()
    step = 3.704 / 0.5 / 127.5  # of a code, in pulses of the read voltage
    total = np.zeros((40, 5))
    level = 40e-6 / 127
    for tile in range(3):
        g = conductances(matrix, tile)
        first = tile * matrix.geometry.inputs_per_crossbar
        driven = inputs[0, :, first : first + len(g)].numpy()
        settled = driven @ (g[..., 0] - g[..., 1]) / g.sum((0, 2))
        codes = np.clip(np.floor(settled / step) + 0.5, -127.5, 127.5) * step
        target = matrix.array.target()[0, tile, : len(g)].numpy().reshape(-1, 5, 2)
        total += codes * target.sum((0, 2)) / level * float(matrix.mapped.segment_scale[0, tile])
    # cells of the product are off by what the preset states beside what they hold
    exact = neurram(component={"adc": {"column_calibration": "nominal"}, "crossbar": {"cell_error": {"sigma": 0.0}}})
    plain = CrossbarMatrix(matrix.weight.data, exact, False, dtype=torch.float64)
    assert torch.equal(plain.array.conductances(), matrix.array.conductances())
    assert np.allclose(plain(inputs)[0].numpy(), total, rtol=1e-9, atol=1e-9)
    assert not np.allclose(matrix(inputs)[0].numpy(), total, rtol=1e-2)


@pytest.mark.parametrize("inputs", [1, 7, 100, 101, 250, 576])
def test_ideal_cells_give_the_product(inputs):
    torch.manual_seed(inputs)
    matrix = CrossbarMatrix(torch.randn(2, 9, inputs), neurram(ideal=True), True, dtype=torch.float64, bias=torch.randn(2, 9))
    values = torch.randint(-7, 8, (2, 30, inputs)).double()
    assert torch.allclose(matrix(values), matrix.exact_product(values), atol=1e-9)
    scale = matrix.mapped.scale
    weights = (matrix.exact_product(torch.eye(inputs).repeat(2, 1, 1)) - matrix.exact_product(torch.zeros(2, 1, inputs))) * scale[:, None]
    assert torch.allclose(weights.transpose(1, 2), matrix.weight.double(), atol=1e-6)


def test_segments_are_of_equal_length_and_scaled_by_their_own_percentile():
    """576 inputs in 6 segments of 96, each with its bias rows, the 95th percentile of each at g_max, larger weights above it."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(64, 576)) * np.repeat(rng.uniform(0.2, 3, 6), 96), rng.normal(size=64)
    chip = neurram(weights={"bias_rows": 2})
    matrix = CrossbarMatrix(torch.tensor(weight)[None], chip, False, dtype=torch.float64, bias=torch.tensor(bias)[None])
    g = matrix.geometry
    assert (g.row_tiles, [g.inputs_of(tile) for tile in range(6)], g.rows_of(0)) == (6, [98] * 6, 196)
    for tile in range(6):
        part = np.vstack([weight[:, 96 * tile : 96 * (tile + 1)].T, bias, bias])
        expected = part * 40e-6 / np.percentile(np.abs(part), 95)
        target = matrix.array.target()[0, tile].numpy().reshape(98, 64, 2)
        assert np.allclose(target[..., 0] - target[..., 1], expected, rtol=1e-12, atol=1e-18)
        assert np.all(target.min(-1) == 0)
        assert target.max() > 40e-6


def test_columns_are_fitted_by_least_squares():
    torch.manual_seed(3)
    matrix = CrossbarMatrix(torch.randn(1, 4, 150), neurram(), False, dtype=torch.float64)
    inputs = torch.randint(0, 8, (1, 3000, 150)).double()
    matrix.program((5,))
    sums = matrix.fit_columns([inputs[:, :1000], inputs[:, 1000:]])
    slope, intercept, residual = (each[0] for each in sums.line)
    for tile in range(2):
        first = tile * 75
        target = matrix.array.target()[0, tile].numpy().reshape(75, 4, 2)
        product = inputs[0, :, first : first + 75].numpy() @ ((target[..., 0] - target[..., 1]) / (40e-6 / 127))
        alone = inputs.clone()
        alone[..., : 75 * (1 - tile)] = 0 if tile else alone[..., :75]
        codes = codes_of(matrix, inputs, tile)
        for column in range(4):
            a, b = np.polyfit(product[:, column], codes[:, column], 1)
            left = codes[:, column] - a * product[:, column] - b
            assert a == pytest.approx(float(slope[tile, column]), rel=1e-8)
            assert b == pytest.approx(float(intercept[tile, column]), abs=1e-8)
            assert np.sqrt((left**2).sum() / 2999) / a == pytest.approx(float(residual[tile, column]), rel=1e-6)
    exact, found = matrix.exact_product(inputs)[0].numpy(), matrix(inputs)[0].numpy()
    for column in range(4):  # sums follow: the calibrated line has slope 1 and goes through 0, but for what each tile's residual leaves
        a, b = np.polyfit(exact[:, column], found[:, column], 1)
        assert a == pytest.approx(1, abs=0.02)
        assert abs(b) < 0.05 * exact.std()


def codes_of(matrix: CrossbarMatrix, inputs: torch.Tensor, tile: int) -> np.ndarray:
    """What the ADCs of a row tile give [pulses], from the cells as products see them."""
    seen = ReadSequence(matrix.array, matrix.channel, matrix.dtype).ready.cells[tile].numpy()
    first = tile * matrix.geometry.inputs_per_crossbar
    driven = inputs[0, :, first : first + matrix.geometry.inputs_of(tile)].numpy()
    step = 3.704 / 0.5 / 127.5
    return np.clip(np.floor(driven @ seen[: driven.shape[1]]) + 0.5, -127.5, 127.5) * step


def test_columns_whose_products_do_not_vary_keep_their_value():
    """Inputs that never vary, as dead borders of images, give a constant, such as a segment's share of the bias, which a fit must keep."""
    torch.manual_seed(0)
    layer = nn.Linear(300, 6)
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6) / 2.0)
    images = torch.rand(600, 300)
    images[:, :100] = 0
    found = {}
    for calibration in ("nominal", "fitted"):
        chip = neurram(ideal=True, component={"adc": {"column_calibration": calibration}})
        converted = convert(nn.Sequential(layer), chip, images, seed=0)
        found[calibration] = converted(images).detach()
    assert torch.allclose(found["nominal"], found["fitted"], atol=1e-4)
    alike = CrossbarMatrix(torch.randn(1, 5, 60), neurram(), False)
    vector = torch.randint(0, 8, (1, 1, 60)).float()
    alike.fit_columns([vector.expand(1, 400, 60)])
    assert torch.allclose(alike(vector).double(), alike.exact_product(vector), atol=1e-2)


class Net(nn.Module):
    """Convolutions with a stride, groups and a bias or none, and a dense layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, groups=2)
        self.third, self.dense = nn.Conv2d(8, 6, 1, bias=False), nn.Linear(54, 5)

    def forward(self, x):
        """Logits."""
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.dense(torch.relu(self.third(x)).flatten(1))


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_biases_on_rows_are_biases(rows):
    """With inputs that are not rounded an ideal chip is the float network, wherever the bias lies."""
    torch.manual_seed(0)
    model, images = Net().eval(), torch.rand(6, 3, 8, 8)
    chip = neurram(ideal=True, weights={"bias_rows": rows}, component={"dac": {"bits": 8}},
                   inputs={"bits": 8, "signed": "two_pass", "quantise": False, "pulses": "one", "phase_bits": None})  # fmt: skip
    converted = convert(model, chip, images, seed=0)
    assert torch.allclose(converted(images), model(images), atol=2e-5)
    layers = analog_layers(converted)
    assert (layers["first"].bias is None) == (rows > 0)
    assert layers["third"].matrix.bias is None
    other = Net()
    copy_weights(converted, other)
    for name in ("first", "second", "dense"):
        assert torch.allclose(other.get_submodule(name).bias, model.get_submodule(name).bias, atol=1e-6)


def test_functional_model_and_events_count_bias_rows_alike():
    torch.manual_seed(0)
    model, images = Net().eval(), torch.rand(2, 3, 8, 8)
    chip = neurram(weights={"bias_rows": 2}, inputs={"bits": 6})
    converted = convert(model, chip, images, seed=0)
    for layer in analog_layers(converted).values():
        layer.matrix.counts = type(layer.matrix.counts)()
    converted(images)
    placement = place(trace(model, images), chip, replication=None)
    actions = simulate(placement, Arrivals.batch(2)).actions
    for layer in placement.network.layers:
        counts, geometry = analog_layers(converted)[layer.name].matrix.counts, placement.geometry(layer.name)
        assert (layer.bias, geometry.bias_rows) == ((True, 2) if layer.name != "third" else (False, 0))
        assert counts.drives == actions.loc[layer.name, "dac"] == drives_per_slice(geometry) * layer.vectors * 2 * 5
        assert counts.conversions == actions.loc[layer.name, "adc"] == conversions_per_slice(geometry) * layer.vectors * 2 * 2
        assert actions.loc[layer.name, "crossbar"] == geometry.crossbars * layer.vectors * 2 * (3 + 7)


def test_stated_input_ranges_hold_and_unknown_layers_are_refused():
    torch.manual_seed(0)
    model, images = Net().eval(), torch.rand(6, 3, 8, 8)
    converted = convert(model, neurram(ideal=True), images, seed=0, input_ranges={"first": (0.0, 2.0)})
    assert float(analog_layers(converted)["first"].input_scale) == pytest.approx(2 / 7)
    with pytest.raises(UnknownLayerError, match=r"frist.*first"):
        convert(model, neurram(), images, seed=0, input_ranges={"frist": (0.0, 1.0)})
    with pytest.raises(ParameterError, match="lowest first"):
        convert(model, neurram(), images, seed=0, input_ranges={"first": (1.0, 0.0)})


def test_fitted_columns_bring_the_network_nearer():
    """Nominal gains leave what cells are off by in loads; fitted ones take it out, chip by chip, and several chips equal each alone."""
    torch.manual_seed(0)
    model, images = Net().eval().requires_grad_(False), torch.rand(64, 3, 8, 8)
    exact = model(images)
    errors = {}
    for calibration in ("nominal", "fitted"):
        converted = convert(model, neurram(component={"adc": {"column_calibration": calibration}}), images, seed=1)
        errors[calibration] = float((converted(images) - exact).square().mean())
        if calibration == "nominal":
            with pytest.raises(ParameterError, match="column_calibration = fitted"):
                fit_columns(converted, images)
    assert errors["fitted"] < 0.8 * errors["nominal"]
    program(converted, [1, 2])
    fit_columns(converted, images)
    both = converted(images.repeat(2, 1, 1, 1)).unflatten(0, (2, -1))
    program(converted, 2)
    residual = fit_columns(converted, images)
    assert torch.allclose(converted(images), both[1], atol=1e-5)
    assert residual["dense"].shape == (1, 1, 5)
    restored = convert(model, neurram(), images, seed=0)
    restored.load_state_dict(converted.state_dict())
    assert torch.allclose(restored(images), converted(images), atol=1e-5)


@pytest.mark.parametrize(("model", "power"), [("independent", 0.0), ("square_root", 0.5), ("proportional", 1.0)])
def test_cells_are_off_as_stated(model, power):
    error, normal = CellError(sigma=0.1, model=model), torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for g in (10e-6, 40e-6):
        off = error.added(torch.full_like(normal, g), 40e-6, normal)
        assert float(off.std()) == pytest.approx(0.1 * 40e-6 * (g / 40e-6) ** power, rel=0.02)
        assert float(off.mean()) == pytest.approx(g, rel=0.01)
    assert float(error.added(torch.zeros(5, dtype=torch.float64), 40e-6, -torch.ones(5, dtype=torch.float64)).max()) == 0


def test_cells_stay_off_alike_and_differ_between_chips():
    chip = neurram(ideal=True, component={"crossbar": {"cell_error": {"sigma": 0.1, "model": "independent"}}})
    torch.manual_seed(0)
    matrix, inputs = CrossbarMatrix(torch.randn(1, 3, 50), chip, False), torch.randint(0, 8, (1, 20, 50)).float()
    first = matrix(inputs)
    assert torch.equal(first, matrix(inputs))
    assert not torch.allclose(first.double(), matrix.exact_product(inputs), rtol=1e-3)
    matrix.program((1,))
    assert not torch.equal(first, matrix(inputs))
    matrix.program((0,))
    assert torch.equal(first, matrix(inputs))


def test_relaxation_and_the_floor_of_write_verify():
    """Accepted within ±1 µS of 20 µS, cells then relax; targets below 1 µS accept any read below it; how many miss is geometric."""
    device = Device(
        levels=128, g_min=0, g_max=40e-6, programming_model="independent", programming_sigma=0.215, write_verify_tolerance=0.025,
        write_verify_most=50, write_verify_floor=1e-6,
    )  # fmt: skip
    written = device.program(torch.full((40_000,), 20e-6, dtype=torch.float64), torch.Generator().manual_seed(0))
    hit = float(torch.erf(torch.tensor(1e-6 / (0.215 * 40e-6) / 2**0.5)))
    assert written.unconverged_share == pytest.approx((1 - hit) ** 50, rel=0.15)
    accepted = (written.conductance - 20e-6).abs() <= 1e-6
    assert float((~accepted).double().mean()) == pytest.approx(written.unconverged_share)
    low = device.program(torch.full((20_000,), 0.2e-6, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert float(low.conductance.max()) < 1e-6
    relaxing = device.model_copy(update={"relaxation_sigma": 0.05})
    moved = relaxing.program(torch.full((40_000,), 20e-6, dtype=torch.float64), torch.Generator().manual_seed(0)).conductance[accepted]
    assert float(moved.std()) == pytest.approx((4e-12 + 1e-12 / 3) ** 0.5, rel=0.02)
    table = device.model_copy(update={"relaxation_table": ((0.0, 0.0), (40e-6, 4e-6))})
    moved = table.program(torch.full((40_000,), 30e-6, dtype=torch.float64), torch.Generator().manual_seed(0)).conductance
    assert float(moved.std()) == pytest.approx((9e-12 + 1e-12 / 3) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights.subtraction": "analog"}, "shared_bitline"),
        ({"wires.bitline": "1"}, "ideal wires"),
        ({"component.adc.range": "level"}, "range = fixed"),
        ({"component.adc.finest": "level"}, "finest = any"),
        ({"component.adc.sensing": "current"}, "full_scale_voltage"),
        ({"weights.quantise": "true"}, "beyond = keep"),
        ({"device.read_bandwidth": "1e6", "device.temperature": "300"}, "read_bandwidth"),
        ({"weights.bias_rows": "128"}, "bias_rows"),
        ({"inputs.phase_bits": "0"}, "phase_bits"),
        ({"component.crossbar.rows_at_once": "64"}, "bias of the whole"),
        ({"component.crossbar.fed_at": "0.1"}, "below device.read_voltage"),
        ({"component.crossbar.law": "crosspoint"}, "access transistor"),
        ({"device.write_verify_floor": "30"}, "lower half"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        load_chip("neurram", changes)


def test_rows_of_tables_have_their_segments_scale():
    """A table whose first rows are ten times as large: each row tile's levels stand for its own weights, looked up as in a product."""
    torch.manual_seed(0)
    weight = torch.randn(1, 8, 700)
    weight[..., :300] *= 10
    chip = load_chip("edge", {"weights.per": "segment", "weights.range": "percentile", "weights.percentile": "0.95"})
    table = LookUpMatrix(weight, chip.with_changes(component={"adc": {"range": "ideal"}}, device={"read_noise_sigma": 0.0}))
    rows = torch.arange(700).unsqueeze(0)
    found = table(rows, torch.ones(()) / table.high)[0]
    off = (found - weight[0].T).square().mean(1).sqrt()
    assert float(off[450:].mean()) < 0.3
    assert float(off[:250].mean()) < 3


def test_saturation_is_told_with_the_rows_of_biases():
    torch.manual_seed(0)
    layer, images = nn.Linear(100, 8), torch.rand(200, 100)
    layer.bias.data.fill_(3.0)
    converted = convert(nn.Sequential(layer), neurram(component={"adc": {"full_scale_voltage": 0.5}}), images, seed=0)
    assert saturated_shares(converted)["0"] == pytest.approx(analog_layers(converted)["0"].saturated_share)


def test_training_fits_columns_and_leaves_them_fitted():
    torch.manual_seed(0)
    layer, images = nn.Linear(250, 16), torch.rand(300, 250)
    on_chip = convert(nn.Sequential(layer), neurram(), images, seed=0)
    exact = layer(images).detach()
    before = float((on_chip(images).detach() - exact).square().mean())
    on_chip.train()
    while_training = float((on_chip(images).detach() - exact).square().mean())
    on_chip.eval()
    after = float((on_chip(images).detach() - exact).square().mean())
    assert analog_layers(on_chip)["0"].matrix.fit is not None
    assert max(before, while_training, after) < 1.6 * min(before, while_training, after)


def test_tables_are_not_looked_up_where_voltages_are_sensed():
    with pytest.raises(ParameterError, match="looked up"):
        LookUpMatrix(torch.randn(1, 4, 30), neurram())


def test_noise_aware_training_reaches_biases_on_rows():
    torch.manual_seed(0)
    model, images = Net().eval(), torch.rand(16, 3, 8, 8)
    on_chip = convert(model, neurram(), images, seed=0).train()
    loss = nn.functional.cross_entropy(on_chip(images), torch.randint(0, 5, (16,)))
    loss.backward()
    first = analog_layers(on_chip)["first"].matrix
    assert float(first.weight.grad.abs().sum()) > 0
    assert float(first.bias.grad.abs().sum()) > 0


@pytest.mark.parametrize("drawn", ["each_read", "each_vector"])
def test_read_noise_of_a_settled_column(drawn):
    """Against cells drawn one by one and read at sum(V G) / sum(G)."""
    noisy = {"read_noise_model": "independent", "read_noise_sigma": 0.01, "read_noise_above_zero": False, "read_noise_drawn": drawn}
    chip = neurram(ideal=True, device=noisy, inputs={"pulses": "one"})
    torch.manual_seed(0)
    weight = torch.randn(1, 3, 60, dtype=torch.float64)
    weight[0, 2] = weight[0, 2].abs()
    matrix, values = CrossbarMatrix(weight, chip, False, dtype=torch.float64), torch.randint(0, 8, (60,)).double()
    g = conductances(matrix, 0)
    rng, many = np.random.default_rng(0), 20_000
    volts, total = values.numpy(), np.zeros((many, 3))
    shape = (many, *g.shape)
    noise = np.zeros(shape)
    for bit in range(3):
        noise = rng.normal(size=shape) * 0.01 * 40e-6 if bit == 0 or drawn == "each_read" else noise
        on = (volts.astype(int) >> bit & 1) * 2.0**bit
        held = g + noise
        total += np.einsum("r,nrc->nc", on, held[..., 0] - held[..., 1]) / held.sum((1, 3))
    load = g.sum((0, 2)) / (40e-6 / 127)
    found = matrix(values.repeat(1, many, 1))[0].numpy() / load / float(matrix.mapped.segment_scale[0, 0])
    assert np.allclose(found.std(0), total.std(0), rtol=0.03)


def test_cells_that_all_see_one_voltage_have_no_noise():
    """A column of equal inputs and weights of one sign settles at that voltage, whatever its cells hold."""
    chip = neurram(ideal=True, device={"read_noise_model": "proportional", "read_noise_sigma": 0.05, "read_noise_above_zero": False})
    matrix = CrossbarMatrix(torch.rand(1, 3, 60, dtype=torch.float64), chip, False, dtype=torch.float64)
    found = matrix(torch.full((1, 500, 60), 7.0, dtype=torch.float64))[0]
    assert float(found.std(0).max() / found.mean()) < 1e-6

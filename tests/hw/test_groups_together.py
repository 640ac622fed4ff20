"""Groups of a layer that share crossbars, block-diagonally: the same products, and costs counted by hand."""

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from tests.hw.test_crossbar import small_chip
from xbar.hw import Arrivals, Chip, convert, load_chip, place, simulate, trace
from xbar.hw.analog import analog_layers, saturated_shares
from xbar.hw.array.counts import ActionCounts, bitlines_per_slice, conversions_per_slice, drives_per_slice
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.diagonal import apart, off_diagonal, off_diagonal_cells, on_diagonal, side_by_side, weight_cells
from xbar.hw.array.geometry import Geometry
from xbar.hw.array.mapping import quantise_weights

SCHEMES = [
    {"scheme": "differential"},
    {"scheme": "differential", "subtraction": "shared_bitline"},
    {"scheme": "differential", "subtraction": "digital", "pair": "two_sided"},
    {"scheme": "separate"},
    {"scheme": "offset"},
    {"scheme": "offset", "offset_reference": "digital", "flipped_columns": True},
    {"scheme": "offset", "offset_reference": "analog"},
    {"scheme": "offset", "g_min_current": "converted"},
]
ALONE = {"weights": {"groups_per_crossbar": 1}}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: " ".join(map(str, scheme.values())))
@pytest.mark.parametrize(("groups", "outputs", "kernel"), [(7, 2, 3), (5, 1, 5), (4, 1, 3)])
def test_the_product_is_that_of_groups_alone(groups: int, outputs: int, kernel: int, scheme: dict[str, object], signed: bool) -> None:
    """With and without a last crossbar that lacks groups, of an ADC that neither rounds nor clips: the integer product."""
    chip = small_chip(120, 41, 2, 5, 4, 1, "two_pass", 8, "ideal", **scheme)
    weight, inputs = drawn(groups, outputs, kernel**2), kernel**2
    x = (15 * drawn(groups, 3, inputs, seed=1).clamp(-1, 1)).round()
    x = x if signed else x.abs()
    packed, alone = (CrossbarMatrix(weight, each, signed, dtype=torch.float64) for each in (chip, chip.with_changes(**ALONE)))
    assert packed.geometry.together > 1
    assert alone.geometry.crossbars == groups * alone.geometry.planes > packed.geometry.crossbars
    assert bool(packed.geometry.of_layer.missing) == (groups % packed.geometry.together > 0)
    integers, _ = quantise_weights(weight, chip.weights)
    for matrix in (packed, alone):
        matrix.fuse_when_exact, matrix.measure = False, True
        assert torch.allclose(matrix(x), x @ integers.transpose(1, 2), rtol=0, atol=1e-8)
    g = packed.geometry
    levels = packed.mapped.levels
    for missing in range(g.of_layer.missing):  # nothing is written where groups are lacking
        assert not levels[-1, :, :, g.outputs - 1 - missing].any()
        assert not levels[-1, :, g.together * inputs - 1 - missing].any()
    assert torch.equal(packed.exact_product(x), x @ integers.transpose(1, 2))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: " ".join(map(str, scheme.values())))
def test_the_largest_current_is_that_of_one_group_and_of_zeros(scheme: dict[str, object]) -> None:
    """All weights of a group at one end or the other, drawn, all inputs at the top: no column goes beyond, and the largest is reached. By
    hand, of 4 groups of 9 inputs, cells of 2 bits and whole inputs of 4: 9 x 3 levels for a pair, 15 steps."""
    bits = 4 if scheme["scheme"] == "offset" else 5  # that fill two cells
    chip = small_chip(120, 60, 2, bits, 4, 4, "two_pass", 8, "full_scale", **scheme)
    seen, matrix = torch.zeros(0), None
    for seed in range(12):
        weight = torch.where(drawn(4, 1, 1, seed=seed) < 0, -1.0, 1.0).double().expand(4, 1, 9)
        if seed % 3 == 2:
            weight = weight * drawn(4, 1, 9, seed=seed).clamp(0, 1)
            weight[0, 0, 0] = 1.0
        matrix = CrossbarMatrix(weight, chip, False, dtype=torch.float64)
        levels = matrix.mapped.levels[0, 0]  # rows, outputs, slices, polarities
        if matrix.geometry.encoding.analog_pair:
            levels = levels[..., :1] - levels[..., 1:]
        elif matrix.geometry.encoding.analog_reference:
            levels = levels - torch.tensor(matrix.geometry.reference_levels).view(-1, 1)
        each = levels.sum(0).abs().flatten()
        seen = torch.maximum(seen, each) if len(seen) else each
    assert matrix is not None
    assert matrix.geometry.together == 4
    bound = matrix.channel.largest_current()[: matrix.channel.columns] / 15
    converted = scheme.get("g_min_current") == "converted"
    beneath = 36 * chip.device.g_min / chip.device.level_step(2) if converted else 0.0
    assert (seen + beneath <= bound + 1e-9).all()
    reached = (seen + beneath).view(4, -1).amax(0)
    assert reached == pytest.approx(bound.view(4, -1)[0], abs=1e-9)
    if scheme == {"scheme": "differential"}:
        assert bound.tolist() == [9 * 3] * len(bound)  # of all 36 inputs it was 4 times as much


def test_groups_together_add_the_errors_of_their_zeros(edge: Chip) -> None:
    """Cells that err alike at every level, by 0.0422 of 15 levels, nine pairs a group: of n groups on a crossbar that all read 200, an
    output is off by 200 sqrt(2 x 9 n) x 0.0422 x 15. 150 chips of 6 x 2 outputs: 1.7 % of a spread."""
    exact = {"device": {"g_min": 5e-6, "read_noise_sigma": 0.0}, "component": {"adc": {"range": "ideal"}}}
    for together in (1, 3, 6):
        chip = edge.with_changes(**exact, weights={"groups_per_crossbar": together})
        matrix = CrossbarMatrix(drawn(6, 2, 9), chip, False, dtype=torch.float64)
        matrix.program(range(150))
        inputs = torch.full((6, 1, 9), 200.0, dtype=torch.float64)
        off = matrix(inputs.expand(150, 6, 1, 9)) - matrix.exact_product(inputs)
        assert off.pow(2).mean().sqrt().item() == pytest.approx(200 * (2 * 9 * together) ** 0.5 * 0.0422 * 15, rel=0.05)


@pytest.mark.parametrize("rows", [0, 2])
def test_what_goes_on_the_diagonal_comes_back(rows: int) -> None:
    """Seven groups of two outputs and three inputs, three together, their rows of biases shared."""
    chip = load_chip("edge", {"weights.bias_rows": str(rows), "weights.groups_per_crossbar": "3"})
    g = chip.geometry(2, 3, 7, bias=True)
    assert (g.groups, g.together, g.of_layer.missing, g.of_layer.shape) == (3, 3, 2, (7, 2, 3 + rows))
    assert (g.outputs, g.inputs, g.row_tiles) == (6, 9 + rows, 1)
    weights, inputs = drawn(7, 2, 3 + rows), drawn(4, 7, 5, 3 + rows, seed=1)
    inputs[..., 3:] = 9.0  # what drives biases drives those of all groups
    matrices = on_diagonal(weights, g)
    assert torch.equal(off_diagonal(matrices, g), weights)
    assert torch.count_nonzero(matrices) == torch.count_nonzero(weights)
    products = side_by_side(inputs, g) @ matrices.transpose(1, 2)
    assert torch.allclose(apart(products, g), inputs @ weights.transpose(1, 2), rtol=1e-12, atol=1e-12)


def test_as_many_groups_as_a_read_serves() -> None:
    """By bitlines, wordlines, rows driven at once, the segment, the key; and none where two do not fit."""
    isaac = load_chip("isaac")  # 128 x 128 cells, eight a weight
    assert isaac.geometry(1, 9, 960).together == 14
    assert isaac.geometry(2, 9, 960).together == 8
    assert isaac.geometry(1, 49, 960).together == 2
    assert isaac.geometry(1, 65, 960).together == isaac.geometry(9, 9, 960).together == 1
    assert isaac.geometry(1, 9, 5).together == 5
    assert isaac.geometry(1, 9, 960, bias=True).together == 14
    edge = load_chip("edge")
    assert edge.geometry(1, 9, 99).together == 14
    by_rows = edge.with_changes(component={"crossbar": {"rows_at_once": 32}})
    assert by_rows.geometry(1, 9, 99).together == by_rows.array_design.as_read.geometry(1, 9, 99).together == 3
    assert edge.with_changes(weights={"segment": 20}).geometry(1, 9, 99).together == 2
    assert edge.with_changes(weights={"groups_per_crossbar": 4}).geometry(1, 9, 99).together == 4


class Grouped(nn.Module):
    """Convolutions of one input channel a group and of two, with a bias and without, behind one that is not grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 20, 3, groups=10, padding=1)
        self.wide, self.paired = nn.Conv2d(20, 20, 5, groups=20, bias=False), nn.Conv2d(20, 30, 3, groups=10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 3, 8, 8) to (batch, 30)."""
        x = self.wide(torch.relu(self.depthwise(torch.relu(self.first(x)))))
        return self.paired(x).flatten(2).amax(2)


@pytest.mark.parametrize(("name", "overrides"), [
    ("isaac", {}), ("generic", {"weights.bias_rows": "2"}), ("neurram", {}),
    ("edge", {"weights.groups_per_crossbar": "4", "device.programming_sigma": "0", "device.read_noise_sigma": "0"}),
])  # fmt: skip
def test_a_network_computes_the_same_and_all_models_count_alike(name: str, overrides: dict[str, str]) -> None:
    """The first layer's inputs and those of the last two are signed. Ideal cells, ADCs that neither round nor clip."""
    chip = load_chip(name, overrides).with_changes(component={"adc": {"range": "ideal"}}) if name != "neurram" else load_chip(name)
    model, x = seeded(Grouped), drawn(3, 3, 8, 8).float()
    found = []
    for each in (chip, chip.with_changes(**ALONE)):
        placement = place(trace(model, x), each, None)
        actions = simulate(placement, Arrivals.batch(1)).actions
        converted = convert(model, each, x, seed=0)
        for layer in analog_layers(converted).values():
            layer.matrix.counts, layer.matrix.fuse_when_exact = ActionCounts(), False
        found.append(converted(x[:1]))
        for key, layer in analog_layers(converted).items():
            counts, g = layer.matrix.counts, placement.geometry(key)
            crossbars = placement.crossbars_of(placement.copies[key][0])
            assert (counts.drives, counts.conversions) == tuple(actions.loc[key, ["dac", "adc"]]), key
            assert sum(c.rows for c in crossbars) == drives_per_slice(g)
            assert sum(c.bitlines for c in crossbars) == bitlines_per_slice(g)
            assert sum(c.conversions for c in crossbars) == conversions_per_slice(g)
            assert sum(c.rows * c.bitlines for c in crossbars) == g.cells
            assert sum(c.rows * c.bitlines - c.off_diagonal for c in crossbars) == weight_cells(g)
            layer.matrix.fuse_when_exact = True
            if layer.matrix.exact:
                layer.matrix.counts = ActionCounts()
        if all(layer.matrix.exact for layer in analog_layers(converted).values()):
            converted(x[:1])
            for key, layer in analog_layers(converted).items():
                counts = layer.matrix.counts
                assert (counts.drives, counts.conversions) == tuple(actions.loc[key, ["dac", "adc"]]), f"{key}, exact"
    if name != "neurram":
        assert torch.allclose(*found, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_groups_alone() -> None:
    chip = small_chip(120, 41, 2, 5, 4, 1, "two_pass", 8, "ideal", scheme="differential")
    weight, x = drawn(7, 2, 9), (15 * drawn(7, 3, 9, seed=1).clamp(-1, 1)).round()
    gradients = []
    for each in (chip, chip.with_changes(**ALONE)):
        matrix = CrossbarMatrix(weight, each, True, dtype=torch.float64).train()
        matrix(x).square().sum().backward()
        gradients.append(matrix.weight.grad)
    assert torch.allclose(*gradients, rtol=1e-9)


def test_a_cell_off_the_diagonal_adds_to_what_another_group_gives() -> None:
    """One of them stuck at g_max: the first group's output has 15 times an input of the second in it."""
    chip = small_chip(40, 20, 4, 5, 4, 1, "two_pass", 8, "ideal", scheme="differential")
    matrix = CrossbarMatrix(drawn(2, 1, 9), chip, False, dtype=torch.float64)
    g, x = matrix.geometry, (15 * drawn(2, 3, 9, seed=1).abs().clamp(max=1)).round()
    assert (g.groups, g.together, off_diagonal_cells(g)) == (1, 2, 2 * 9 * 2)
    right = matrix(x)
    stuck = torch.zeros(1, 1, 1, 1, 40, 20, dtype=torch.int8)
    stuck[0, 0, 0, 0, 40 - 18 + 9, 0] = 1  # the positive cell of the first output, on the second group's first wordline
    matrix.program((0,), stuck=stuck)
    assert torch.allclose(matrix(x)[0, :, 0] - right[0, :, 0], 15 * x[1, :, 0])
    assert torch.allclose(matrix(x)[1], right[1])


def depthwise_energy(chip: Chip) -> tuple[dict[str, float], dict[str, float], float]:
    """Actions and energies [J] of a depthwise layer of 32 channels for one input of 6 x 6, and the mean share of a whole array's read."""
    model = seeded(None, nn.Conv2d(32, 32, 3, groups=32, bias=False))
    ledger = simulate(place(trace(model, torch.rand(1, 32, 6, 6)), chip, None), Arrivals.batch(1))
    filled = next(each.shares["crossbar"] for each in ledger.activities if each.stage == "compute")
    return dict(ledger.actions.loc["0"]), dict(ledger.energy.loc["0"]), filled


def test_a_depthwise_layer_counted_by_hand(isaac: Chip) -> None:
    """ISAAC: 16 vectors of 16 slices; a channel's 9 inputs and 8 columns; 14, 14 and 4 channels on three crossbars."""
    cycles = 16 * 16
    packed, packed_energy, packed_share = depthwise_energy(isaac)
    alone, alone_energy, alone_share = depthwise_energy(isaac.with_changes(**ALONE))
    for found, crossbars in ((packed, 3), (alone, 32)):
        assert found["crossbar"] == crossbars * cycles
        assert found["dac"] == 32 * 9 * cycles
        assert found["sample_hold"] == found["adc"] == found["shift_add"] == 32 * 8 * cycles
    # cells: weights and those beside the columns in use as ever; off the diagonal 10 00 .. 00, the top slice stored flipped: 01
    g_min, g_max = isaac.device.g_min, isaac.device.g_max
    idle, zero = 2 * g_min / (g_min + g_max), 2 * (g_min + (g_max - g_min) / 3 / 8) / (g_min + g_max)
    passed = [rows * (bitlines + idle * (128 - bitlines)) - (1 - zero) * off for rows, bitlines, off in
              [(126, 112, 14 * 13 * 72), (126, 112, 14 * 13 * 72), (36, 32, 4 * 3 * 72)]]  # fmt: skip
    assert packed_share == pytest.approx(sum(passed) / (3 * 128**2), rel=1e-12)
    assert alone_share == pytest.approx(9 * (8 + idle * 120) / 128**2, rel=1e-12)
    per_read = isaac.costs["crossbar"].energy_per_action
    assert packed_energy["crossbar"] == pytest.approx(per_read * packed["crossbar"] * packed_share, rel=1e-12)
    assert alone_energy["crossbar"] == pytest.approx(per_read * alone["crossbar"] * alone_share, rel=1e-12)
    for name in ("dac", "adc", "sample_hold", "shift_add", "input_register", "output_register"):
        assert packed_energy[name] == alone_energy[name] == isaac.costs[name].energy_per_action * packed[name]


def test_a_reference_column_serves_all_groups_of_a_crossbar(isaac: Chip) -> None:
    """A converted one: conversions fall from 9 a channel and slice to 8 and one a crossbar."""
    chip = isaac.with_changes(weights={"offset_reference": "column"})
    packed, energy, _ = depthwise_energy(chip)
    alone, before, _ = depthwise_energy(chip.with_changes(**ALONE))
    assert (packed["adc"], alone["adc"]) == ((32 * 8 + 3) * 256, 32 * 9 * 256)
    assert energy["adc"] / before["adc"] == pytest.approx((32 * 8 + 3) / (32 * 9), rel=1e-12)


@pytest.mark.parametrize("channels", [4, 40])
def test_saturated_shares_are_those_of_channels_alone(channels: int) -> None:
    """Of one and of several crossbars, the last of which lacks groups: what conversion told, and what a crossbar a channel tells."""
    chip = load_chip("edge").with_changes(component={"adc": {"range": "level_fixed", "bits": 4}})
    model = seeded(None, nn.Conv2d(channels, channels, 3, groups=channels, bias=False))
    x = torch.rand(2, channels, 6, 6, generator=torch.Generator().manual_seed(1))
    together, alone = (convert(model, each, x, seed=0) for each in (chip, chip.with_changes(**ALONE)))
    ((name, layer),) = analog_layers(together).items()
    assert layer.matrix.geometry.together > 1
    (expected,) = saturated_shares(alone).values()
    assert 0.1 < expected < 0.9
    assert saturated_shares(together) == {name: pytest.approx(expected, rel=1e-12)}
    assert layer.saturated_share == pytest.approx(expected, rel=1e-12)


def test_read_energy_from_the_cells_counts_those_off_the_diagonal() -> None:
    """Joule's law on every cell of a driven wordline, unused ones at g_min: what one crossbar of two groups takes."""
    chip = load_chip("edge").with_changes(component={"adc": {"range": "ideal"}})
    weight, x = drawn(2, 1, 9), torch.full((2, 1, 9), 1.0, dtype=torch.float64)
    matrix = CrossbarMatrix(weight, chip, False, dtype=torch.float64)
    placed = matrix.crossbar_conductances()[0].sum((1, 3, 5))[0, 0, -18:]  # of the 18 wordlines in use, over all bitlines
    unit = chip.device.read_voltage / chip.array_design.dac.largest
    one_pulse = float(placed.sum()) * unit**2 * chip.array_design.array_read
    assert matrix.read_energy(x) == pytest.approx(one_pulse, rel=1e-12)


def test_calibrated_ranges_and_saturation_see_no_column_that_is_not_there() -> None:
    """Seven groups, three a crossbar: the range of the whole is that of the groups' own currents, and so is the share beyond it."""
    chip = small_chip(30, 40, 4, 5, 4, 4, "two_pass", 4, "calibrated", scheme="differential")
    chip = chip.with_changes(component={"adc": {"percentile": 0.9}})
    weight, x = drawn(7, 1, 9), (15 * drawn(7, 50, 9, seed=1).abs().clamp(max=1)).round()
    packed, alone = (CrossbarMatrix(weight, each, False, dtype=torch.float64) for each in (chip, chip.with_changes(**ALONE)))
    assert (packed.geometry.together, packed.geometry.of_layer.missing) == (3, 2)
    assert packed.calibrate(x) == alone.calibrate(x) > 0
    assert torch.allclose(packed.full_scale[:, 0], alone.full_scale[:, 0], rtol=1e-12)
    for matrix in (packed, alone):
        matrix.measure = True
    assert torch.allclose(packed(x), alone(x), rtol=1e-12)
    assert packed.counts == alone.counts


def test_geometry_of_uneven_groups() -> None:
    """Ten groups, four a crossbar: the last holds two."""
    g: Geometry = load_chip("edge", {"weights.groups_per_crossbar": "4"}).geometry(2, 9, 10)
    assert [g.of_layer.held(group) for group in range(g.groups)] == [4, 4, 2]
    assert [g.rows_of(0, group) for group in range(3)] == [36, 36, 18]
    assert [g.outputs_of(0, group) for group in range(3)] == [8, 8, 4]
    assert g.cells == 2 * (36 * 8 + 36 * 8 + 18 * 4)  # two bitlines an output
    assert weight_cells(g) == 2 * 10 * 9 * 2


def test_reads_draw_by_the_layers_own_bits() -> None:
    """What cells off the diagonal hold is a 0 of the layer's weights, not of the chip's."""
    chip, bits = load_chip("isaac"), {"weights": {"bits": 15, "cell_bits": 1}}
    own, of_all = depthwise_energy(chip.with_changes(layer={"0": bits})), depthwise_energy(chip.with_changes(**bits))
    assert own[2] == of_all[2] != depthwise_energy(chip)[2]

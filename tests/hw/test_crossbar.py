"""The analog product against numpy's integer product, a converter written out in numpy, and sampled noise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hw.test_mapping import SCHEMES, random_integers
from xbar.hw import Chip, load_chip
from xbar.hw.array.converter import lossless_bits
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import read_integers, slice_weights

ISAAC = load_chip("isaac")


def small_chip(
    wordlines: int, bitlines: int, cell_bits: int, weight_bits: int, input_bits: int, dac_bits: int, signed: str,
    adc_bits: int, adc_range: str = "level", **scheme: object,
) -> Chip:  # fmt: skip
    """ISAAC with other arrays, converters and encoding; an ideal device unless changed afterwards."""
    weights = {"flipped_columns": False, "offset_reference": "column", "subtraction": None} | scheme
    return ISAAC.with_changes(
        structure={"wordlines": wordlines, "bitlines": bitlines},
        device={"levels": 2**cell_bits},
        weights={"bits": weight_bits, **weights},
        inputs={"bits": input_bits, "signed": signed},
        component={
            "dac": {"bits": dac_bits}, "adc": {"bits": adc_bits, "range": adc_range, "columns": bitlines},
        },
    )


def crossbar_matrix(chip: Chip, outputs: int, inputs: int, groups: int, seed: int, signed: bool) -> CrossbarMatrix:
    geometry = chip.geometry(outputs, inputs, groups)
    weight = random_integers(geometry, seed).double()
    return CrossbarMatrix(weight, chip, signed, largest_weight=geometry.encoding.largest)


@st.composite
def lossless_cases(draw: st.DrawFn) -> tuple[Chip, int, int, int, int, bool]:
    """Any shape, slicing and scheme with an ADC of just enough bits."""
    scheme = draw(st.sampled_from(SCHEMES))
    signed = draw(st.booleans())
    dac_bits = draw(st.integers(1, 4))
    streams = draw(st.sampled_from(["twos_complement", "two_pass"])) if dac_bits == 1 else "two_pass"
    cell_bits, weight_bits = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    wordlines = draw(st.integers(1, 24))
    adc_bits = lossless_bits(wordlines, dac_bits, max(cell_bits, weight_bits - 1)) + 1  # a sign bit for pairs
    chip = small_chip(
        wordlines, 2 * weight_bits + 1 + draw(st.integers(0, 20)), cell_bits, weight_bits,
        draw(st.integers(2, 9)), dac_bits, streams, adc_bits, **scheme,
    )  # fmt: skip
    return (
        chip,
        draw(st.integers(1, 20)),
        draw(st.integers(1, 60)),
        draw(st.integers(1, 2)),
        draw(st.integers(0, 999)),
        signed,
    )


@settings(max_examples=250, deadline=None)
@given(lossless_cases())
def test_lossless_product_is_numpys_integer_product_bit_for_bit(case: tuple[Chip, int, int, int, int, bool]) -> None:
    chip, outputs, inputs, groups, seed, signed = case
    matrix = crossbar_matrix(chip, outputs, inputs, groups, seed, signed)
    weight = random_integers(matrix.mapped.geometry, seed).numpy()
    largest = 2 ** (chip.inputs.bits - 1) - 1
    random = np.random.default_rng(seed)
    x = random.integers(-largest if signed else 0, largest + 1, (groups, 5, inputs))
    expected = np.einsum("gvi,goi->gvo", x, weight)
    assert matrix.exact
    for fuse in (False, True):
        matrix.fuse_when_exact = fuse
        ours = matrix(torch.from_numpy(x).double()).numpy()
        assert np.array_equal(ours, expected)


def test_isaac_needs_nine_bits_and_eight_with_flipped_columns() -> None:
    """ISAAC (ISCA 2016): 128 rows, 1-bit DAC, 2-bit cells."""
    assert lossless_bits(128, 1, 2) == 9
    for flipped, bits, exact in ((True, 8, True), (True, 7, False), (False, 8, False), (False, 9, True)):
        chip = ISAAC.with_changes(weights={"flipped_columns": flipped}, component={"adc": {"bits": bits}})
        assert crossbar_matrix(chip, 16, 128, 1, 0, False).exact == exact


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("adc_range", ["level", "level_fixed", "full_scale", "calibrated"])
def test_an_adc_with_too_few_bits_clips_and_rounds_as_written_out(scheme: dict[str, object], adc_range: str) -> None:
    """Slice by slice, tile by tile, column by column in plain numpy. A current just between two codes may go to
    either: the product lies between the sums with all such currents rounded down and up."""
    chip = small_chip(16, 20, 2, 5, 4, 1, "two_pass", 4, adc_range, **scheme)
    outputs, inputs = 7, 37
    matrix = crossbar_matrix(chip, outputs, inputs, 1, 3, False)
    x = torch.randint(0, 16, (1, 40, inputs), generator=torch.Generator().manual_seed(4)).double()
    matrix.calibrate(x)
    ours = matrix(x)[0].numpy()
    assert not matrix.exact
    g, mapped = matrix.geometry, matrix.mapped
    adc = matrix.channel.adc
    step, low, high = adc.step[0].numpy(), adc.low, adc.high

    def convert(current: np.ndarray, column: int) -> np.ndarray:
        """(2, ...): rounded down and up where it is a tie."""
        code = current / step[column]
        rounded = np.stack([np.round(code - 1e-5), np.round(code + 1e-5)])
        return np.clip(rounded, low, high) * step[column]

    pairs = g.encoding.polarities == 2
    analog = pairs and g.encoding.analog_pair
    expected = np.zeros((2, 40, outputs))
    for tile in range(g.row_tiles):
        rows = slice(tile * 16, min(inputs, tile * 16 + 16))
        for k in range(4):
            bit = (x[0, :, rows].numpy().astype(int) >> k) & 1
            for o in range(outputs):
                for s in range(g.slices):
                    cells = mapped.levels[0, tile, : bit.shape[1], o, s].numpy()
                    if analog:
                        digital = convert(bit @ (cells[:, 0] - cells[:, 1]), o * g.slices + s)
                    elif pairs:
                        first = (o * g.slices + s) * 2
                        digital = convert(bit @ cells[:, 0], first) - convert(bit @ cells[:, 1], first + 1)[::-1]
                    elif g.encoding.analog_reference:
                        digital = convert(bit @ (cells[:, 0] - (g.reference_level if s == 0 else 0)), o * g.slices + s)
                    else:
                        digital = convert(bit @ cells[:, 0], o * g.slices + s)
                        if mapped.flipped[0, tile, o, s]:
                            digital = 3 * bit.sum(1) - digital[::-1]
                    expected[..., o] += 2**k * mapped.slice_weight[s].item() * digital
                if not pairs and not g.encoding.analog_reference:
                    if g.reference_columns:
                        column = outputs * g.slices + o // g.outputs_per_crossbar
                        ones = convert(bit.sum(1) * g.reference_level, column) * mapped.slice_weight[0].item()
                        expected[..., o] -= 2**k * ones[::-1]
                    else:
                        expected[..., o] -= 2**k * 16.0 * bit.sum(1)
    assert (ours >= expected[0] - 1e-3).all()
    assert (ours <= expected[1] + 1e-3).all()
    if adc_range == "level_fixed":
        assert np.array_equal(expected[0], expected[1]), "whole numbers on steps of 1 have no ties"
        assert not np.array_equal(expected[0], np.einsum("vi,oi->vo", x[0].numpy(), random_integers(g, 3)[0].numpy()))


@pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[3]])
def test_read_noise_equals_noise_drawn_cell_by_cell(scheme: dict[str, object]) -> None:
    """One Gaussian per bitline with the summed variance, against one draw per cell and read: same mean and
    variance of the result within 5 standard errors (ADC of many bits, so that it adds nothing)."""
    chip = small_chip(16, 40, 3, 4, 3, 1, "two_pass", 20, **scheme)
    chip = chip.with_changes(device={"read_noise_sigma": 0.1, "g_min": 1e-5, "g_max": 1e-4})
    outputs, inputs, reads = 3, 12, 20_000
    matrix = crossbar_matrix(chip, outputs, inputs, 1, 5, False)
    matrix.program((6,))
    x = torch.randint(0, 8, (1, 1, inputs), generator=torch.Generator().manual_seed(7)).double()
    ours = matrix(x.expand(1, reads, inputs))[0].numpy()

    g, mapped, device = matrix.mapped.geometry, matrix.mapped, chip.device
    step = device.level_step(3)
    random = np.random.default_rng(8)
    sign = [1, -1] if g.encoding.polarities == 2 else [1]
    sampled = np.zeros((reads, outputs))
    for k in range(3):
        bit = (x[0, 0].numpy().astype(int) >> k) & 1
        reference = np.zeros(reads)
        if g.reference_columns:
            target = np.full(inputs, device.g_min + g.reference_level * step)
            read = target * (1 + 0.1 * random.standard_normal((reads, inputs)))
            reference = np.round((read - device.g_min) / step @ bit) * mapped.slice_weight[0].item()
        for o in range(outputs):
            for s in range(g.slices):
                current = np.zeros(reads)
                for p, direction in enumerate(sign):
                    target = device.g_min + mapped.levels[0, 0, :, o, s, p].numpy() * step
                    read = target * (1 + 0.1 * random.standard_normal((reads, inputs)))
                    current += direction * ((read - device.g_min) / step @ bit)
                sampled[:, o] += 2**k * mapped.slice_weight[s].item() * np.round(current)
            sampled[:, o] -= 2**k * reference
    error = np.hypot(ours.std(0), sampled.std(0)) / np.sqrt(reads)
    assert (abs(ours.mean(0) - sampled.mean(0)) < 5 * error).all()
    assert ours.std(0) == pytest.approx(sampled.std(0), rel=5 * np.sqrt(1 / reads))
    assert (ours.std(0) > 1).all()


def test_programming_error_moves_each_instance_and_averages_out() -> None:
    """Over chip instances the mean product is the ideal one and its variance that of the cells."""
    chip = small_chip(32, 40, 4, 5, 1, 1, "two_pass", 20, scheme="differential")
    chip = chip.with_changes(
        device={"programming_model": "independent", "programming_sigma": 0.05, "g_min": 2e-5, "g_max": 4e-5}
    )
    matrix = crossbar_matrix(chip, 2, 30, 1, 9, False)
    x = torch.ones(1, 1, 30, dtype=torch.float64)
    instances = []
    for seed in range(600):
        matrix.program((seed,))
        instances.append(matrix(x)[0, 0])
    products = torch.stack(instances)
    sigma = 0.05 * 15 * (2 * 30) ** 0.5  # 60 cells a column pair, 5 % of 15 level steps each
    ideal = read_integers(matrix.mapped)[0].sum(1)
    rounding = 1 / 12  # of the ADC's one-step codes
    assert (products.mean(0) - ideal).abs().max() < 5 * sigma / 600**0.5
    assert products.std(0).numpy() == pytest.approx((sigma**2 + rounding) ** 0.5, rel=5 / (2 * 600) ** 0.5)


def test_results_do_not_depend_on_how_vectors_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = small_chip(16, 20, 2, 5, 4, 1, "two_pass", 4, scheme="differential")
    matrix = crossbar_matrix(chip, 7, 37, 1, 3, False)
    x = torch.randint(0, 16, (1, 50, 37), generator=torch.Generator().manual_seed(4)).double()
    whole = matrix(x)
    monkeypatch.setattr("xbar.hw.array.crossbar.CHUNK_VALUES", 1)
    assert torch.equal(matrix(x), whole)


def test_slice_weights() -> None:
    assert slice_weights(4, 2).tolist() == [1, 4, 16, 64]

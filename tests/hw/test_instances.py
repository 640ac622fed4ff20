"""Instance i of many is instance i alone; results depend on nothing but seed and position; weights come back exactly."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.hw.networks import residual, seeded, small_convolutional, unusual_paths
from tests.hw.test_crossbar import crossbar_matrix, small_chip
from xbar.hw import Chip, convert, load_chip
from xbar.hw.analog import analog_layers, program, set_time
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.geometry import Geometry, WeightEncoding
from xbar.hw.array.mapping import ZERO_SCALE, map_weights, quantise_weights, read_integers, unmap

EVERYTHING = {
    "g_min": 2e-6, "g_max": 50e-6, "programming_model": "independent", "programming_sigma": 0.03,
    "device_to_device_sigma": 0.02, "stuck_on_rate": 0.02, "stuck_off_rate": 0.03, "read_noise_sigma": 0.05,
    "drift_exponent": 0.05, "drift_exponent_sigma": 0.02, "reference_time": 1.0,
    "telegraph_share": 0.1, "telegraph_amplitude": 0.2, "telegraph_dwell_time": 10.0,
}  # fmt: skip
ADC_ERRORS = {"offset_sigma": 0.5, "gain_sigma": 0.02, "inl_sigma": 0.3}
ONE_BY_ONE: dict[str, dict[str, object]] = {
    "programming error": {"programming_sigma": 0.05}, "read noise": {"read_noise_sigma": 0.05},
    "lasting read noise": {"read_noise_sigma": 0.05, "read_correlation_time": 1e-5},
    "device to device": {"device_to_device_sigma": 0.05}, "stuck cells": {"stuck_on_rate": 0.05, "stuck_off_rate": 0.05},
    "drift": {"drift_exponent": 0.05, "drift_exponent_sigma": 0.03, "reference_time": 1.0},
    "telegraph": {"telegraph_share": 0.5, "telegraph_amplitude": 0.3, "telegraph_dwell_time": 10.0},
    "ADC errors": {}, "everything": EVERYTHING,
}  # fmt: skip
SCHEMES: list[dict[str, object]] = [
    {"scheme": "differential"}, {"scheme": "differential", "subtraction": "digital"},
    {"scheme": "differential", "subtraction": "shared_bitline"}, {"scheme": "differential", "pair": "two_sided"},
    {"scheme": "differential", "subtraction": "digital", "pair": "two_sided"},
    {"scheme": "differential", "subtraction": "shared_bitline", "pair": "two_sided"},
    {"scheme": "separate"}, {"scheme": "separate", "subtraction": "analog"}, {"scheme": "offset", "offset_reference": "analog"},
    {"scheme": "separate", "pair": "two_sided"},
    {"scheme": "offset"}, {"scheme": "offset", "offset_reference": "digital"},
    {"scheme": "offset", "flipped_columns": True},
    {"scheme": "offset", "flipped_columns": True, "offset_reference": "digital"},
]  # fmt: skip
EDGE = load_chip("edge")


def chip_with(device: dict[str, object], adc: dict[str, object], **scheme: object) -> Chip:
    chip = small_chip(16, 20, 2, 5, 4, 1, "two_pass", 5, "full_scale", **scheme)
    return chip.with_changes(device=device, component={"adc": adc})


def integers(count: int, inputs: int, groups: int = 1, signed: bool = False, seed: int = 4) -> torch.Tensor:
    low = -15 if signed else 0
    return torch.randint(low, 16, (groups, count, inputs), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[2], SCHEMES[6], SCHEMES[8], SCHEMES[11]])
@pytest.mark.parametrize("what", ONE_BY_ONE)
def test_instance_i_of_many_is_instance_i_alone(what: str, scheme: dict[str, object]) -> None:
    """Bit for bit, twice over (second reads), later in time too; other seeds give other results."""
    adc = ADC_ERRORS if what in ("ADC errors", "everything") else {}
    chip = chip_with(ONE_BY_ONE[what], adc, **scheme)
    matrix = crossbar_matrix(chip, 7, 37, 2, 3, True)
    x = integers(9, 37, 2, signed=True)
    seeds = (4, 0, 2**33, 7)
    matrix.program(seeds, layer=3, write=2)
    batch = x.expand(4, *x.shape)
    together = [matrix(batch), matrix(batch)]
    matrix.set_time(1000.0)
    together.append(matrix(batch))
    for i, seed in enumerate(seeds):
        matrix.program((seed,), layer=3, write=2)
        alone = [matrix(x), matrix(x)]
        matrix.set_time(1000.0)
        alone.append(matrix(x))
        for ours, expected in zip(together, alone, strict=True):
            assert torch.equal(ours[i], expected)
    for a in range(4):
        for b in range(a):
            assert not torch.equal(together[0 if what not in ("drift", "telegraph") else 2][a], together[2][b])


@pytest.mark.parametrize("network", [small_convolutional, residual, unusual_paths])
def test_converted_networks(network: Callable[[], tuple[nn.Module, torch.Tensor]]) -> None:
    model, x = network()
    chip = EDGE.with_changes(device=EVERYTHING, component={"adc": ADC_ERRORS})
    converted = convert(model, chip, x, seed=0)
    program(converted, [5, 1, 9])
    set_time(converted, 50.0)
    together = [converted(x.repeat(3, 1, 1, 1)).unflatten(0, (3, -1)) for _ in range(2)]
    for i, seed in enumerate((5, 1, 9)):
        program(converted, seed)
        set_time(converted, 50.0)
        for reading in together:
            assert torch.equal(converted(x), reading[i])
    assert not torch.equal(together[0][0], together[0][1])
    assert not torch.equal(together[0], together[1]), "reads differ"


@pytest.mark.parametrize("what", ["read noise", "lasting read noise", "everything"])
@pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[8]])
class TestNothingElseMatters:
    def test_chunks(self, what: str, scheme: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
        matrix = crossbar_matrix(chip_with(ONE_BY_ONE[what], ADC_ERRORS, **scheme), 7, 37, 2, 3, False)
        matrix.program((1, 2))
        x = integers(60, 37, 2).expand(2, 2, 60, 37)
        whole = matrix(x)
        for values in (100, 3000):
            monkeypatch.setattr("xbar.hw.array.crossbar.CHUNK_VALUES", values)
            matrix.program((1, 2))
            assert torch.equal(matrix(x), whole)

    def test_batches(self, what: str, scheme: dict[str, object]) -> None:
        matrix = crossbar_matrix(chip_with(ONE_BY_ONE[what], ADC_ERRORS, **scheme), 7, 37, 1, 3, False)
        matrix.program((1,))
        x = integers(100, 37)
        whole = matrix(x)
        for parts in ([30, 70], [64, 36], [1, 99], [1] * 10 + [90]):
            matrix.program((1,))
            found = torch.cat([matrix(part) for part in x.split(parts, dim=1)], dim=1)
            if 1 in parts:  # the product of one vector is another routine of the BLAS, which some processors sum in another order
                torch.testing.assert_close(found, whole, rtol=1e-14, atol=1e-11)
            else:
                assert torch.equal(found, whole)

    def test_threads(self, what: str, scheme: dict[str, object]) -> None:
        before, found = torch.get_num_threads(), []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                matrix = crossbar_matrix(chip_with(ONE_BY_ONE[what], ADC_ERRORS, **scheme), 7, 37, 1, 3, False)
                matrix.program((1, 5))
                found.append(matrix(integers(200, 37).expand(2, 1, 200, 37)))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(*found)


def test_a_networks_batches() -> None:
    """100 samples are 30 and then 70, through convolutions."""
    model, _ = small_convolutional()
    x = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    converted = convert(model, EDGE, x[:20], seed=3)
    whole = converted(x)
    program(converted, 3)
    assert torch.equal(torch.cat([converted(x[:30]), converted(x[30:])]), whole)


def test_a_layers_reads_go_on() -> None:
    """Read noise is by position: the same input again reads anew, and programming begins anew."""
    model = seeded(None, nn.Linear(6, 3))
    x = torch.rand(5, 6)
    converted = convert(model, EDGE, x, seed=0)
    (layer,) = analog_layers(converted).values()
    first, second = converted(x), converted(x)
    assert layer.matrix.reads == 10
    program(converted, 0)
    assert torch.equal(converted(x), first)
    assert torch.equal(converted(x), second)
    assert not torch.equal(first, second)


@st.composite
def mappings(draw: st.DrawFn) -> tuple[Geometry, torch.Tensor]:
    """Weights of any dtype and size on any mapping that the project offers."""
    scheme = dict(draw(st.sampled_from(SCHEMES)))
    bits, cell_bits = draw(st.integers(2, 9)), draw(st.integers(1, 8))
    quantise = draw(st.booleans())
    stored = bits if scheme["scheme"] == "offset" else bits - 1
    if not quantise:
        scheme.pop("flipped_columns", None)
        cell_bits = stored
    encoding = WeightEncoding(
        bits=bits, quantise=quantise, per=draw(st.sampled_from(["layer", "column"])),
        range=(policy := draw(st.sampled_from(["max_abs", "percentile"]))),
        percentile=draw(st.sampled_from([0.6, 0.9])) if policy == "percentile" else 1.0, **scheme,
    )  # fmt: skip
    wide = encoding.slices(cell_bits) * 2 + 1
    geometry = Geometry(
        draw(st.integers(1, 12)), draw(st.integers(1, 30)), draw(st.integers(1, 3)), draw(st.integers(2, 9)),
        wide + draw(st.integers(0, 20)), cell_bits, encoding,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    shape = geometry.of_layer.shape
    weight = torch.randn(shape, generator=generator) * 10.0 ** draw(st.integers(-3, 3))
    if draw(st.booleans()):
        weight[:, torch.arange(shape[1]) % 2 == 0] = 0
    return geometry, weight.to(dtype)


@settings(max_examples=250, deadline=None)
@given(mappings())
def test_weights_come_back_as_they_were_quantised(case: tuple[Geometry, torch.Tensor]) -> None:
    """unmap(map(w)) == quantise(w): exactly in whole numbers, to rounding where weights keep fractions. Quantised here in
    numpy's words: nearest step of the scale, within the largest integer."""
    geometry, weight = case
    encoding = geometry.encoding
    integer, scale = quantise_weights(weight, encoding)
    mapped = map_weights(weight, geometry)
    if encoding.quantise:
        assert torch.equal(read_integers(mapped), integer)
        assert torch.equal(unmap(mapped), integer * scale.unsqueeze(-1))
        assert torch.equal(mapped.levels, mapped.levels.round())
    else:
        largest = scale.unsqueeze(-1) * encoding.largest
        assert bool(((unmap(mapped) - integer * scale.unsqueeze(-1)).abs() <= 1e-14 * largest).all())
    assert mapped.levels.min() >= 0
    assert mapped.levels.max() <= 2**geometry.cell_bits - 1
    wide = weight.double()
    expected = (wide / scale.unsqueeze(-1)).clamp(-encoding.largest, encoding.largest)
    off = (unmap(mapped) / scale.unsqueeze(-1) - expected).abs().max()
    assert off <= (0.5 + 1e-9 if encoding.quantise else 1e-9)
    if encoding.range == "max_abs":
        dims = (2,) if encoding.per == "column" else (0, 1, 2)
        top = wide.abs().amax(dims, keepdim=True).expand(wide.shape).amax(2)
        assert torch.equal(scale, torch.where(top > 0, top / encoding.largest, ZERO_SCALE))


@settings(max_examples=60, deadline=None)
@given(mappings(), st.integers(0, 99))
def test_the_product_of_any_mapping_is_that_of_the_quantised_weights(
    case: tuple[Geometry, torch.Tensor], seed: int
) -> None:
    """An ADC that neither rounds nor clips on ideal cells, against float64 matrix products."""
    geometry, weight = case
    encoding = geometry.encoding
    chip = small_chip(geometry.wordlines, geometry.bitlines, 1, 2, 4, 1, "two_pass", 8, "ideal", scheme="separate")
    settings_ = encoding.model_dump() | {"cell_bits": None}
    chip = chip.with_changes(device={"levels": 2**geometry.cell_bits}, weights=settings_)
    matrix = CrossbarMatrix(weight.double(), chip, True, dtype=torch.float64)
    matrix.fuse_when_exact = False
    groups, _, inputs = geometry.of_layer.shape
    x = torch.randint(-15, 16, (groups, 3, inputs), generator=torch.Generator().manual_seed(seed)).double()
    integer, _ = quantise_weights(weight.double(), encoding)
    expected = x @ integer.transpose(1, 2)
    assert (matrix(x) - expected).abs().max() <= 1e-11 * max(1.0, expected.abs().max().item()) * encoding.largest

"""Inputs as pulses: bits integrated 2^k times, in one phase or several, against the products that they stand for."""

import pytest
import torch

from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.ready import read_time_per_vector
from xbar.hw.chip.files import load_chip
from xbar.hw.errors import ConfigurationError

IDEAL = {
    "component.adc.range": "ideal", "device.programming_sigma": "0", "device.read_noise_sigma": "0",
    "component.adc.conversion": "after_accumulation",
}  # fmt: skip


def chip(**changes: str):
    """The edge chip, its inputs pulses of 1 bit that are accumulated."""
    return load_chip("edge", IDEAL | {"inputs.signed": "bipolar", "inputs.pulses": "weighted"} | changes)


@pytest.mark.parametrize(
    ("bits", "phase", "slices", "reads"),
    [
        (5, None, (4,), (15,)),
        (5, 3, (2, 2), (3, 3)),
        (6, 3, (2, 3), (3, 7)),
        (7, 3, (3, 3), (7, 7)),
        (4, 3, (3,), (7,)),
        (2, 2, (1,), (1,)),
        (11, 4, (3, 3, 4), (7, 7, 15)),
    ],
)
def test_phases_are_as_equal_as_can_be(bits, phase, slices, reads):
    changes = {"inputs.bits": str(bits)} | ({} if phase is None else {"inputs.phase_bits": str(phase)})
    design = chip(**changes).array_design
    assert design.converted_slices == slices
    assert design.reads_per_conversion == reads
    assert design.conversions_per_column(True) == len(slices)


@pytest.mark.parametrize(
    ("bits", "dac", "phase", "slices"), [(8, 2, 3, (1, 1, 1, 1)), (8, 2, 4, (2, 2)), (8, 3, 7, (1, 2)), (7, 3, 3, (1, 1, 1))]
)
def test_no_phase_has_more_bits_than_it_may(bits: int, dac: int, phase: int, slices: tuple[int, ...]) -> None:
    """Of slices of several bits, as many as fit whole."""
    made = chip(**{"inputs.bits": str(bits), "inputs.signed": "two_pass", "component.dac.bits": str(dac), "inputs.phase_bits": str(phase)})
    assert made.array_design.converted_slices == slices
    assert max(slices) * dac <= phase
    assert sum(slices) == made.input_slices


def test_a_phase_holds_a_slice() -> None:
    with pytest.raises(ConfigurationError, match=r"phase_bits = 2 is less than the component\.dac\.bits = 4"):
        chip(**{"inputs.signed": "two_pass", "component.dac.bits": "4", "inputs.phase_bits": "2"})


@pytest.mark.parametrize("phase", [1, 2, 3, 6])
@pytest.mark.parametrize("signed", ["bipolar", "two_pass", "twos_complement"])
def test_phases_add_up_to_the_product(phase, signed):
    torch.manual_seed(0)
    made = chip(**{"inputs.bits": "7", "inputs.phase_bits": str(phase), "inputs.signed": signed})
    matrix = CrossbarMatrix(torch.randn(1, 6, 300), made, True)
    low, high = matrix.low, matrix.high
    inputs = torch.randint(low, high + 1, (1, 40, 300)).float()
    assert torch.equal(matrix(inputs), matrix.exact_product(inputs))


def test_a_phase_is_converted_by_itself():
    """One ADC code a level: with phases of 2 bits a vector is what each pair of bits, rounded alone, adds up to."""
    made = chip(**{"inputs.bits": "5", "inputs.phase_bits": "2", "component.adc.range": "full_scale", "component.adc.bits": "6"})
    torch.manual_seed(1)
    matrix = CrossbarMatrix(torch.randn(1, 3, 100), made, True)
    inputs = torch.randint(-15, 16, (1, 30, 100)).float()
    levels = matrix.exact_product(torch.eye(100).unsqueeze(0))  # (1, 100, 3) integers of the weights
    step = matrix.channel.adc.step
    found = torch.zeros(1, 30, 3, dtype=torch.float64)
    for weight in (1, 4):
        digits = inputs.sign() * (inputs.abs() // weight % 4)
        codes = (digits.double() @ levels / step).round().clamp(-31, 31)
        found += weight * codes * step
    assert torch.allclose(matrix(inputs).double(), found, atol=1e-3)


def test_noise_of_reads_averages_over_pulses():
    """A bit of weight 2^k in 2^k reads, each with noise of its own: variance 2^k sigma², not 4^k sigma²."""
    noisy = {"device.read_noise_sigma": "5", "device.read_noise_model": "independent", "inputs.bits": "5"}
    inputs = torch.zeros(1, 20_000, 1) + 8.0  # the bit of weight 8 alone
    spread = {}
    for pulses in ("one", "weighted"):
        matrix = CrossbarMatrix(torch.ones(1, 1, 1), chip(**noisy, **{"inputs.pulses": pulses}), True)
        spread[pulses] = float(matrix(inputs).std())
    assert spread["one"] / spread["weighted"] == pytest.approx(8**0.5, rel=0.03)


def test_a_vector_takes_as_many_reads_as_pulses():
    made = chip(**{"inputs.bits": "5", "inputs.phase_bits": "3"})
    matrix = CrossbarMatrix(torch.ones(1, 1, 1), made, True)
    assert read_time_per_vector(matrix.channel) == pytest.approx(6 * made.read_time)


@pytest.mark.parametrize("key", ["inputs.pulses", "inputs.phase_bits"])
def test_without_accumulation_both_are_refused(key):
    value = "weighted" if key == "inputs.pulses" else "2"
    with pytest.raises(ConfigurationError, match="without effect"):
        load_chip("edge", {key: value})

"""Settings that would do nothing, or not what they seem to say, are refused or warned of by name."""

import pytest

from xbar.hw.chip.files import load_chip
from xbar.hw.chip.settings import UnusedRangeWarning
from xbar.hw.errors import ConfigurationError


@pytest.mark.parametrize(
    ("preset", "settings", "said"),
    [
        ("edge", {"component.adc.columns": "513"}, r"component.adc.columns = 513: more than a core has: .* are 512; set"),
        ("neurram", {"inputs.phase_bits": "9"}, r"inputs.phase_bits = 9: more than inputs.bits = 4; set"),
        ("edge", {"weights.segment": "129"}, r"weights.segment = 129: more than the 128 inputs .* structure.wordlines = 128"),
        ("neurram", {"weights.segment": "128"}, r"weights.segment = 128: more than the 127 inputs"),
        ("edge", {"component.crossbar.cell_error.model": "proportional"}, r"model = proportional: without effect: set .*cell_error.sigma"),
    ],
)
def test_what_has_no_effect_is_refused(preset: str, settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_chip(preset, settings)


def test_what_has_some_is_not() -> None:
    both = {"component.crossbar.cell_error.model": "proportional", "component.crossbar.cell_error.sigma": "0"}  # as the first of a sweep
    assert load_chip("edge", both | {"component.adc.columns": "512", "weights.segment": "128"}).component.adc.columns == 512
    assert load_chip("neurram", {"structure.wordlines": "64"}).weights.segment == 31
    assert load_chip("neurram", {"inputs.bits": "2"}).inputs.phase_bits == 2


def test_a_full_scale_that_no_column_comes_near() -> None:
    with pytest.warns(UnusedRangeWarning, match=r"full_scale_voltage = 500 V is 143 times what a column settles at at most, 3.5 V"):
        load_chip("neurram", {"component.adc.full_scale_voltage": "500V"})

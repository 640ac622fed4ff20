"""Cells at the crossings of lines alone, and settings that would have no effect."""

import pytest

from xbar.hw import ConfigurationError, load_chip


def test_a_crosspoint_array_is_a_twelfth_and_charges_no_gates() -> None:
    """4 F² in place of NeuroSim's 48 F²; its drivers charge one line, and lines are shorter and without gates and drains."""
    plain, cross = (load_chip("generic", {"component.crossbar.law": law}) for law in ("array", "crosspoint"))
    assert cross.costs["crossbar"].area == pytest.approx(plain.costs["crossbar"].area / 12)
    assert cross.costs["crossbar"].energy_per_action == pytest.approx(plain.costs["crossbar"].energy_per_action)
    assert cross.costs["dac"].energy_per_action < plain.costs["dac"].energy_per_action
    wide = {"structure.wordlines": "1024", "structure.bitlines": "1024", "timing.array_read": "0.2"}
    slow = {name: load_chip("generic", wide | {"component.crossbar.law": name}).read_time for name in ("array", "crosspoint")}
    assert slow["crosspoint"] < slow["array"]


@pytest.mark.parametrize(
    ("chip", "key", "value", "said"),
    [
        ("generic", "component.buffer.banks", "4", "banks = 4 is without effect: the law sram knows no banks"),
        ("isaac", "component.router.ports", "5", "ports = 5 are too few: 4 tiles share the router"),
        ("isaac", "component.adc.stated_at.columns", "7", r"component\.adc\.stated_at\.columns = 7: without effect"),
    ],
)
def test_what_would_have_no_effect_is_refused(chip: str, key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_chip(chip, {key: value})

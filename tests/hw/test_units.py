"""Units as people type them, in files and on the command line; limits are told in the unit that was typed."""

from pathlib import Path

import pytest

from xbar.hw.chip.far import FarFromPresetWarning
from xbar.hw.chip.files import load_chip, load_device
from xbar.hw.errors import ConfigurationError
from xbar.hw.quantity import UNITS, Unit, number_and_unit, parse_quantity, unit_named

MICRO, GREEK = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"


def test_every_unit_is_its_own_spelling() -> None:
    assert [name for name in UNITS if unit_named(name) != name] == []


@pytest.mark.parametrize(
    ("typed", "unit"),
    [
        ("uS", "µS"), (f"{MICRO}S", "µS"), (f"{GREEK}S", "µS"), ("um2", "µm²"), ("um^2", "µm²"), (f"{GREEK}m²", "µm²"), ("mm**2", "mm²"),
        ("Ohm", "ohm"), ("ohms", "ohm"), ("\N{OHM SIGN}", "ohm"), ("\N{GREEK CAPITAL LETTER OMEGA}", "ohm"), ("kOhm", "kohm"),
        ("k\N{OHM SIGN}", "kohm"), ("MΩ", "Mohm"), ("nW", "nW"), ("uW", "µW"), ("S/s", "1/s"), ("1/V2", "1/V²"), ("bits", "bit"),
        ("years", "year"), ("/s", "1/s"), ("seconds", "s"), ("MW", "MW"), ("mw", "mw"), ("kB", "kB"),
    ],
)  # fmt: skip
def test_a_unit_as_it_is_typed(typed: str, unit: str) -> None:
    assert unit_named(typed) == unit


@pytest.mark.parametrize(
    ("text", "found"),
    [("25uS", (25, "µS")), ("2.5e-5 S", (2.5e-5, "S")), ("5", (5, "")), (".5eV", (0.5, "eV")), ("-1e3kohm", (-1000.0, "kohm"))],
)
def test_number_and_unit(text: str, found: tuple[float, str]) -> None:
    assert number_and_unit(text) == found


def test_in_a_file() -> None:
    table = {"value": 3, "unit": "um^2", "kind": "assumed", "why": "a test"}
    assert parse_quantity(table, Unit("m²"), set()).si == pytest.approx(3e-12)
    assert parse_quantity("25uS", Unit("S"), set()).si == pytest.approx(25e-6)


def test_set_takes_a_unit_or_that_of_the_file() -> None:
    typed = load_chip("isaac", {"device.g_max": "0.025mS", "technology.node": "22nm", "wires.wordline": "0.001 kΩ"})
    assert (typed.device.g_max, typed.technology.node, typed.wires.wordline) == pytest.approx((25e-6, 22e-9, 1.0))
    assert load_chip("isaac", {"device.g_max": "25"}).device.g_max == pytest.approx(25e-6)  # the file's µS
    with pytest.raises(ConfigurationError, match=r"device.g_max = 25nm: must be in one of S, mS, µS"):
        load_chip("isaac", {"device.g_max": "25nm"})


@pytest.mark.filterwarnings("ignore::xbar.hw.chip.far.FarFromPresetWarning")
@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("device.g_max", "2e6uS", "must be less than 1e\\+06 µS"), ("device.g_max", "2000 mS", "must be less than 1000 mS"),
        ("device.programming_sigma", "300%", "must be less than or equal to 200 %"), ("timing.array_read", "2e9ns", "1e\\+09 ns"),
    ],
)  # fmt: skip
def test_a_limit_is_told_in_the_unit_that_was_typed(key: str, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_chip("isaac", {key: text})


class TestFar:
    """A number more than a thousand times off the one that it replaces is warned of, once, with both and their units."""

    def test_a_setting(self) -> None:
        with pytest.warns(FarFromPresetWarning) as told:
            load_chip("isaac", {"device.g_max": "25", "device.g_min": "1e-5", "structure.tiles": "1", "device.levels": "4096"})
        said = "settings: device.g_min = 1e-05 µS is 8,720 times less than the 0.0872 µS of isaac.toml; if another unit is meant, "
        assert [str(each.message) for each in told] == [f"{said}write it beside the number"]

    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        own = 'extends = "isaac"\nname = "own"\ntitle = "Own"\ndescription = "a test"\n[timing]\n'
        (tmp_path / "own.toml").write_text(own + 'array_read = "1 ms"\ntile_clock = "2 GHz"\n', "utf-8")
        with pytest.warns(FarFromPresetWarning, match=r"own.toml: timing.array_read = 1 ms is 10,000 times more than the 100 ns"):
            load_chip(tmp_path / "own.toml")

    def test_cells_of_ones_own(self, tmp_path: Path) -> None:
        own = 'extends = "pcm"\nname = "own"\ntitle = "Own"\ndescription = "a test"\n[device]\ng_max = "30 mS"\n'
        (tmp_path / "own.toml").write_text(own, "utf-8")
        with pytest.warns(FarFromPresetWarning, match=r"device.g_max = 30 mS is 1,200 times more than the 25 µS of pcm.toml"):
            load_device(tmp_path / "own.toml")

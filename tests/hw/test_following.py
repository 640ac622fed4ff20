"""What is written beside the size of arrays and the levels of cells follows them, on every preset; what is given by hand stays."""

from pathlib import Path

import pytest

from xbar.hw.chip.files import load_chip, preset_names, silicon_names
from xbar.hw.errors import ConfigurationError

SRAM = ("jia2020", "sinangil2021", "wang2022")
PRESETS = [*preset_names(), *silicon_names()]
MEMRISTORS = [name for name in PRESETS if name not in SRAM]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("key", ["wordlines", "bitlines", "crossbars_per_core"])
def test_each_number_of_the_structure_changes_alone(name: str, key: str) -> None:
    own = load_chip(name)
    for value in {getattr(own.structure, key) * factor // 4 for factor in (1, 2, 8)} - {0}:
        chip = load_chip(name, {f"structure.{key}": str(value)})
        design, s = chip.array_design, chip.structure
        assert chip.costs["dac"].units * (chip.component.crossbar.law == "array") in (0, s.crossbars_per_core * s.wordlines)
        assert chip.costs["adc"].units == design.adcs_per_core
        assert chip.component.adc.columns <= s.bitlines * s.crossbars_per_core
        if key == "wordlines":
            assert chip.costs["adc"].units == own.costs["adc"].units


@pytest.mark.parametrize("name", MEMRISTORS)
def test_wordlines_sweep(name: str) -> None:
    areas = [load_chip(name, {"structure.wordlines": f"{rows}"}).area for rows in (64, 128, 256)]
    assert areas == sorted(areas)


def test_an_adc_of_whole_arrays_keeps_its_arrays() -> None:
    for bitlines in (64, 256):
        isaac, edge = (load_chip(name, {"structure.bitlines": str(bitlines)}) for name in ("isaac", "edge"))
        assert (isaac.costs["adc"].units, isaac.component.adc.columns) == (8, bitlines)  # one an array
        assert (edge.costs["adc"].units, edge.component.adc.columns) == (1, 4 * bitlines)  # one a core
    more = load_chip("isaac", {"structure.crossbars_per_core": "16"})
    assert (more.costs["adc"].units, more.costs["shift_add"].units) == (16, 8)
    assert more.provenance["component.shift_add.units"].why == "as structure.crossbars_per_core, from what isaac.toml has"
    assert load_chip("generic", {"structure.bitlines": "256"}).costs["adc"].units == 16 * 256 // 8
    assert load_chip("wang2022", {"structure.wordlines": "32"}).component.crossbar.rows_at_once == 32


def test_what_is_given_by_hand_stays_or_is_refused(tmp_path: Path) -> None:
    given = {"structure.bitlines": "64", "component.adc.columns": "32"}
    assert load_chip("isaac", given).component.adc.columns == 32
    own = 'extends = "edge"\nname = "own"\ntitle = "Own"\ndescription = "a test"\n'
    (tmp_path / "own.toml").write_text(own + "structure.crossbars_per_core = 8\n")
    assert load_chip(tmp_path / "own.toml").component.adc.columns == 1024
    (tmp_path / "own.toml").write_text(own + "structure.bitlines = 64\ncomponent.adc.columns = 300\n")
    with pytest.raises(ConfigurationError, match=r"component.adc.columns = 300: more than a core has: .* are 256; set"):
        load_chip(tmp_path / "own.toml")


@pytest.mark.parametrize("levels", [4, 64])
def test_the_bits_of_a_cell_follow_its_levels(levels: int) -> None:
    for name in MEMRISTORS:
        for device in (None, "hfox"):
            if name == "neurram" and levels < 128:  # its weights are of one cell
                with pytest.raises(ConfigurationError, match=r"weights.quantise = false .* set .* device.levels = 128 or more"):
                    load_chip(name, {"device.levels": str(levels)}, device)
            else:
                assert load_chip(name, {"device.levels": str(levels)}, device).cell_bits == levels.bit_length() - 1


def test_bits_of_a_cell_given_by_hand() -> None:
    assert load_chip("edge", {"device.levels": "16", "weights.cell_bits": "2"}, "hfox").cell_bits == 2
    with pytest.raises(ConfigurationError, match=r"weights.cell_bits = 3 is more than .* device.levels = 4"):
        load_chip("edge", {"device.levels": "4", "weights.cell_bits": "3"}, "hfox")


def test_sources_of_one_name_are_told_apart() -> None:
    chip = load_chip("neurram", {"weights.bits": "5"}, "hfox")
    assert chip.source["wan2022"] != chip.source["hfox.wan2022"]
    assert chip.provenance["device.g_max"].source == "hfox.wan2022"


@pytest.mark.parametrize("name", SRAM)
def test_no_cells_stand_in_for_sram(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"component.crossbar.law = .*leave the device out \(hfox\)"):
        load_chip(name, device="hfox")

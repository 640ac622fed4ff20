"""Chip files as people write them: ten lines over `generic`, numbers written plainly; and costs that such files once got wrong."""

from pathlib import Path
from time import process_time

import pytest

from xbar.hw import Chip, ConfigurationError, chip_bands, load_chip, preset_names, silicon_names
from xbar.hw.bands import band_of
from xbar.hw.quantity import OWN, Quantity, QuantityProblem, Unit, parse_quantity

OWN_CHIP = """extends = "generic"
name = "mine"
title = "Mine"
description = "256 x 256 arrays of one-bit cells, 28 nm"
technology.node = "28 nm"
structure.tiles = 16
structure.wordlines = 256
structure.bitlines = 256
device.levels = 2
component.adc = { bits = 6, rate = "0.8 GS/s", columns = 16 }
"""


def written(folder: Path, more: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(OWN_CHIP + more, "utf-8")
    return path


class TestTenLines:
    def test_say_what_they_decide(self, tmp_path: Path) -> None:
        chip, generic = load_chip(written(tmp_path)), load_chip("generic")
        expected = generic.with_changes(
            technology={"node": 28 * 1e-9}, structure={"tiles": 16, "wordlines": 256, "bitlines": 256}, device={"levels": 2},
            component={"adc": {"bits": 6, "rate": 0.8e9, "columns": 16}},
        )  # fmt: skip
        own = {"name", "title", "description"}
        assert chip.model_dump(exclude=own) == expected.model_dump(exclude=own)
        assert chip.area == expected.area

    def test_every_number_tells_whose_it_is(self, tmp_path: Path) -> None:
        chip, generic = load_chip(written(tmp_path)), load_chip("generic")
        assert chip.provenance["technology.node"] == Quantity(28, "nm", OWN)
        own = {key for key, quantity in chip.provenance.items() if quantity.kind == OWN}
        assert own == {
            "technology.node", "structure.tiles", "structure.wordlines", "structure.bitlines", "device.levels",
            "component.adc.bits", "component.adc.rate", "component.adc.columns",
        }  # fmt: skip
        assert all(chip.provenance[key] == quantity for key, quantity in generic.provenance.items() if key not in own)

    def test_a_decision_is_exact(self, tmp_path: Path) -> None:
        chip = load_chip(written(tmp_path, 'device.read_voltage = "0.3 V"\n'))
        assert band_of("device.read_voltage", chip.provenance["device.read_voltage"]) == (0.3, 0.3, "exact: a decision")
        assert not chip_bands(chip).isna().any().any()

    def test_overrides_are_in_the_units_of_the_file(self, tmp_path: Path) -> None:
        chip = load_chip(written(tmp_path), {"technology.node": "32", "component.adc.rate": "0.5", "component.adc.bits": "5"})
        assert (chip.technology.node, chip.component.adc.rate, chip.component.adc.bits) == (32 * 1e-9, 0.5e9, 5)

    def test_another_device_keeps_the_bits_of_a_cell(self, tmp_path: Path) -> None:
        assert load_chip(written(tmp_path), device="hfox").cell_bits == 1


@pytest.mark.parametrize("preset", [*preset_names(), *silicon_names()])
def test_presets_state_in_full(preset: str) -> None:
    assert OWN not in {quantity.kind for quantity in load_chip(preset).provenance.values()}


def test_generic_states_no_cost() -> None:
    assert not any(cost.stated for cost in load_chip("generic").costs.values())


class TestPlainNumbers:
    @pytest.mark.parametrize(
        ("raw", "dimension", "si"),
        [
            (5, "1", 5), (0.5, "1", 0.5), ("5", "1", 5), ("5 %", "1", 0.05), ("22 nm", "m", 22e-9), ("1 GS/s", "1/s", 1e9),
            ("1.6 GB/s", "1/s", 12.8e9), ("64 KB", "bit", 64 * 8192.0), ("1e2 ns", "s", 1e-7), (" 2  V ", "V", 2), ("-1 1/V", "1/V", -1),
        ],
    )  # fmt: skip
    def test_are_taken(self, raw: float | str, dimension: str, si: float) -> None:
        quantity = parse_quantity(raw, Unit(dimension), set())
        assert quantity.si == pytest.approx(si, rel=1e-15)
        assert (quantity.kind, isinstance(quantity.si, int)) == (OWN, isinstance(si, int))

    @pytest.mark.parametrize(
        ("raw", "dimension", "said"),
        [
            (22, "m", r'must be written as "22 nm"; units: m, mm, µm, nm'), ("22", "m", "must be written as"),
            ("22 lightyears", "m", "units: m, mm, µm, nm"), ("nm 22", "m", "must begin with a number"), ("", "1", "must begin with"),
            (64, "bit", 'must be written as "64 KB"'), (True, "1", "must be a table .*, or plainly 5 or"), ([5], "1", "must be a table"),
            ("nan", "1", "finite"), ("1e300", "1", "finite"), (5, "J", "is a cost, which is found out and not decided: state it as"),
            ("5 pJ", "J", "is a cost"), ("3 mW", "W", "is a cost"), ("1 mm²", "m²", "is a cost"),
        ],
    )  # fmt: skip
    def test_are_refused(self, raw: object, dimension: str, said: str) -> None:
        with pytest.raises(QuantityProblem, match=said):
            parse_quantity(raw, Unit(dimension), set())

    def test_a_refusal_names_file_key_and_form(self, tmp_path: Path) -> None:
        path = written(tmp_path, 'timing.array_read = 10\ncomponent.link.area = "1 mm²"\n')
        with pytest.raises(ConfigurationError) as caught:
            load_chip(path)
        said = str(caught.value)
        assert f'{path}: timing.array_read = 10: must be written as "10 ns"; units: min, h, day' in said
        assert f"{path}: component.link.area = '1 mm²': is a cost" in said


class TestCosts:
    def test_a_chip_is_loaded_with_its_costs_in_20_ms(self) -> None:
        times = []
        for _ in range(5):
            began = process_time()
            assert load_chip("isaac").costs
            times.append(process_time() - began)
        assert sorted(times)[2] < 0.02

    def test_a_bit_of_a_stated_memory_is_moved_as_a_bit(self, isaac: Chip) -> None:
        """Twice the word takes 2^0.6 of the energy (the law), so a bit 2^-0.4 of it."""
        wider = isaac.with_changes(timing={"buffer_width": 512}).costs["buffer"]
        assert wider.energy_per_action == pytest.approx(isaac.costs["buffer"].energy_per_action * 2**-0.4)

    def test_a_multiplexer_has_no_more_columns_than_there_are(self) -> None:
        edge = load_chip("edge")
        more = edge.with_changes(component={"adc": {"columns": 700}})
        assert more.costs["multiplexer"] == edge.costs["multiplexer"]
        assert more.area == edge.area

    def test_dense_inputs_draw_twice_the_half_that_a_table_was_stated_for(self, isaac: Chip) -> None:
        for chip in (isaac, load_chip("generic")):
            dense = chip.with_changes(inputs={"activity": 1.0})
            assert dense.costs["crossbar"].energy_per_action == pytest.approx(2 * chip.costs["crossbar"].energy_per_action)
            assert {n: c for n, c in dense.costs.items() if n != "crossbar"} == {n: c for n, c in chip.costs.items() if n != "crossbar"}

    def test_full_power_is_of_every_unit_at_its_own_rate(self, isaac: Chip) -> None:
        expected = sum(
            (c.units * c.unit_rate * c.energy_per_action + c.static_power) * isaac.parents(name) / c.shared_by  # 168 tiles: 42 routers
            for name, c in isaac.costs.items()
        )
        assert isaac.full_power == pytest.approx(expected)
        assert isaac.costs["adc"].full_power == pytest.approx(16e-3)

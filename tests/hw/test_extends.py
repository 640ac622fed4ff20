"""Chip files that give only what differs from another."""

from pathlib import Path

import pytest

from xbar.hw import Chip, ConfigurationError, load_chip
from xbar.hw.cost.laws import LAWS

OWN = 'name = "mine"\ntitle = "Mine"\ndescription = "A chip of a test"\n'


def written(folder: Path, text: str, name: str = "chip.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


class TestInherited:
    def test_all_but_what_is_given(self, tmp_path: Path, isaac: Chip) -> None:
        path = written(tmp_path, f"""extends = "isaac"
{OWN}
[structure]
tiles = {{ value = 4, unit = "1", kind = "assumed", why = "a test" }}
[component.product]
units = {{ value = 2, unit = "1", kind = "assumed", why = "a test" }}
rate = {{ value = 1, unit = "G/s", kind = "assumed", why = "a test" }}
energy = {{ value = 1, unit = "pJ", kind = "derived", source = "isaac2016", why = "a test" }}
area = {{ value = 100, unit = "µm²", kind = "assumed", why = "a test" }}
[component.product.stated_at]
units = {{ value = 1, unit = "1", kind = "assumed", why = "a test" }}
bits = {{ value = 16, unit = "1", kind = "assumed", why = "a test" }}
rate = {{ value = 1, unit = "G/s", kind = "assumed", why = "a test" }}
""")  # fmt: skip
        chip = load_chip(path)
        product = {"units": 2, "rate": 1e9, "energy": 1e-12, "area": 100e-12, "stated_at": {"units": 1, "bits": 16, "rate": 1e9}}
        expected = isaac.with_changes(structure={"tiles": 4}, component={"product": product})
        assert chip.costs == expected.costs
        assert chip.costs["product"].area == pytest.approx(200e-12)
        assert chip.model_dump() == expected.model_dump() | {"name": "mine", "title": "Mine", "description": "A chip of a test"}

    def test_a_number_keeps_the_statement_that_it_was_given(self, tmp_path: Path, isaac: Chip) -> None:
        restated = '[structure]\ntiles = { value = 8, unit = "1", kind = "assumed", why = "a test" }\n'
        chip = load_chip(written(tmp_path, f'extends = "isaac"\n{OWN}{restated}'))
        assert chip.provenance["component.adc.area"] == isaac.provenance["component.adc.area"]
        tiles = chip.provenance["structure.tiles"]
        assert (tiles.value, tiles.kind, tiles.source) == (8, "assumed", None)
        assert chip.source == isaac.source

    def test_figures_of_its_own_replace_all_that_are_inherited(self, tmp_path: Path, isaac: Chip) -> None:
        """An energy at a configuration of its own: the area is the law's, for isaac's was stated for another."""
        restated = (
            '[component.adc]\nenergy = { value = 2, unit = "pJ", kind = "assumed", why = "a test" }\n[component.adc.stated_at]\n'
            'units = 8\nbits = 6\nrate = "1.28 GS/s"\n'
        )
        chip = load_chip(written(tmp_path, f'extends = "isaac"\n{OWN}{restated}'))
        assert (chip.component.adc.power, chip.component.adc.area) == (None, None)
        here, there = (LAWS["survey"](bits=bits, rate=1.28e9, node=32e-9) for bits in (8, 6))
        assert chip.costs["adc"].energy_per_action == pytest.approx(2e-12 * here.energy / there.energy)
        assert chip.costs["adc"].area == pytest.approx(8 * here.area)
        assert chip.costs["buffer"] == isaac.costs["buffer"]

    def test_another_law_costs_what_it_says(self, tmp_path: Path) -> None:
        chip = load_chip(written(tmp_path, f'extends = "isaac"\n{OWN}[component.adc]\nlaw = "flash"\nbits = 5\n'))
        law = LAWS["flash"](bits=5, rate=1.28e9, node=32e-9)
        assert chip.costs["adc"].energy_per_action == pytest.approx(law.energy)
        assert chip.costs["adc"].area == pytest.approx(8 * law.area)

    def test_a_path_is_relative_to_the_file_and_files_may_follow_one_another(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        tiles = '[structure]\ntiles = {{ value = {}, unit = "1", kind = "assumed", why = "a test" }}\n'
        written(tmp_path, f'extends = "edge"\n{OWN}{tiles.format(3)}', "base.toml")
        path = written(tmp_path / "deep", f'extends = "../base.toml"\n{OWN.replace("mine", "last")}')
        assert (load_chip(path).structure.tiles, load_chip(path).name) == (3, "last")

    def test_overrides_and_devices_come_after(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'extends = "edge"\n{OWN}')
        chip = load_chip(path, {"structure.tiles": "2"}, device="hfox")
        assert chip.structure.tiles == 2
        assert chip.device == load_chip("edge", device="hfox").device

    def test_isaac_vector_is_isaac_and_two_units(self, isaac: Chip) -> None:
        vector = load_chip("isaac-vector")
        own = {"name", "title", "description", "source"}
        expected = isaac.with_changes(component={name: getattr(vector.component, name).model_dump() for name in ("multiplier", "product")})
        assert vector.model_dump(exclude=own) == expected.model_dump(exclude=own)
        assert isaac.source.items() <= vector.source.items()
        added = {key for key in vector.provenance if key not in isaac.provenance}
        assert {key.split(".")[1] for key in added} == {"multiplier", "product"}
        assert added == {"component.multiplier.units", "component.product.units"}, "what they cost is their laws' to tell"
        assert {vector.provenance[key].kind for key in added} == {"assumed"}
        same = {name for name, cost in isaac.costs.items() if vector.costs[name] == cost}
        assert set(isaac.costs) - same == {"bus"}, "which is longer, past the units"
        assert all(vector.provenance[key] == quantity for key, quantity in isaac.provenance.items())


class TestWrong:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f'extends = "isac"\n{OWN}', "extends = 'isac': no such preset, and no such file beside this one; did you mean isaac"),
            (f'extends = "no.toml"\n{OWN}', r"extends = 'no\.toml': no such preset"),
            (f'extends = "a\\u0000b"\n{OWN}', "no such preset"),
            (f'extends = "{"x" * 5000}"\n{OWN}', "no such preset"),
            (f"extends = 3\n{OWN}", "extends = 3: must be the name of a chip preset, or a path beside this file"),
            (f'extends = "chip.toml"\n{OWN}', "a file cannot extend itself: .*chip.toml -> .*chip.toml"),
            ('extends = "isaac"\nname = "mine"\n', r"title = \(missing\): required: a chip that extends another says its own"),
            (f'extends = "isaac"\n{OWN}[source.isaac2016]\ncite = "another"\nread = "no"\n', "source.isaac2016 = .*another source than"),
            (f'extends = "isaac"\n{OWN}[structure]\ntile = 3\n', r"structure\.tile = 3: unknown key; did you mean tiles"),
            (f'extends = "isaac"\n{OWN}[structure]\ntiles = {{ value = 3 }}\n', "structure.tiles.unit"),
            (
                f'extends = "isaac"\n{OWN}[component.product]\nenergy = {{ value = 3, unit = "pJ", kind = "assumed", why = "x" }}\n',
                r"component\.product = .*stated_at, the configuration that figures were published for, goes with figures",
            ),
            (
                f'extends = "isaac"\n{OWN}[component.adc]\nenergy = {{ value = 3, unit = "pJ", kind = "assumed", why = "x" }}\n',
                r"component\.adc\.stated_at = \(missing\): energy of this file need the configuration",
            ),
            (
                f'extends = "isaac"\n{OWN}[component.adc.stated_at]\nbits = 7\n',
                r"component\.adc = .*stated_at, the configuration that figures were published for, goes with figures",
            ),
            (
                f'extends = "isaac"\n{OWN}[component.buffer]\nunits = {{ value = 3, unit = "1", kind = "assumed", why = "x" }}\n',
                r"component\.buffer\.units = .*: how many there are follows from the structure",
            ),
        ],
    )  # fmt: skip
    def test_named(self, tmp_path: Path, text: str, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said) as caught:
            load_chip(written(tmp_path, text))
        assert str(tmp_path / "chip.toml") in str(caught.value)

    def test_a_circle_of_two(self, tmp_path: Path) -> None:
        written(tmp_path, f'extends = "b.toml"\n{OWN}', "a.toml")
        written(tmp_path, f'extends = "a.toml"\n{OWN}', "b.toml")
        with pytest.raises(ConfigurationError, match=r"cannot extend itself: \S*a\.toml -> \S*b\.toml -> \S*a\.toml"):
            load_chip(tmp_path / "a.toml")

    def test_what_is_wrong_below_is_named_below(self, tmp_path: Path) -> None:
        written(tmp_path, "no toml", "a.toml")
        with pytest.raises(ConfigurationError, match=r"a\.toml: file = .*is not TOML"):
            load_chip(written(tmp_path, f'extends = "a.toml"\n{OWN}'))

"""Every key of a chip file has a meaning; a template says all of them and loads to the chip that it was made from."""

from pathlib import Path

import pytest

from xbar.hw.chip.checked import leaves
from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip, preset_names, silicon_names
from xbar.hw.chip.keys import fields_of, keys, meaning, table, template


def test_every_key_has_a_meaning() -> None:
    assert [key for key in leaves(Chip) if not meaning(key)] == []
    assert [key for key, _ in fields_of(Chip)] == list(leaves(Chip))


def test_keys_of_a_chip() -> None:
    found = {key.name: key for key in keys("isaac")}
    columns, sigma, law = (found[name] for name in ("component.adc.columns", "device.programming_sigma", "component.crossbar.law"))
    assert (columns.value, columns.kind, columns.unit) == ("128", "derived", "1")
    assert (sigma.value, sigma.allowed, sigma.kind) == ("0 %", "from 0, to 200 %", "assumed")
    assert (law.value, law.kind, law.allowed, law.unit) == ("array", "file", "array, crosspoint, charge, discharge", "")
    assert (found["device.endurance"].value, found["wires.wordline"].kind) == ("-", "default")
    assert found["component.adc.stated_at.load"].value == "1.28 GS/s"
    text = table("isaac")
    assert "component.NAME.stated_at.mean_code" in text
    assert all(name in text for name in leaves(Chip) if "." in name and "stated_at" not in name)


@pytest.mark.parametrize("name", [*preset_names(), *silicon_names()])
def test_a_template_is_the_chip(name: str, tmp_path: Path) -> None:
    text = template(name)
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    mine, own = load_chip(tmp_path / "mine.toml"), load_chip(name)
    texts = {"name", "title", "description"}
    assert mine.model_dump(exclude=texts) == own.model_dump(exclude=texts)
    assert mine.provenance == own.provenance
    for key, _ in fields_of(Chip):
        assert "stated_at" in key or f"{key.rpartition('.')[2]} = " in text


def test_a_default_can_be_taken_from_its_note(tmp_path: Path) -> None:
    lines = template("generic").splitlines()
    for name in ("wordline", "bias_rows", "flipped_columns", "iv_c3"):
        place = next(place for place, line in enumerate(lines) if line.startswith(f"#: {name} = "))
        lines[place] = lines[place].removeprefix("#: ")
    (tmp_path / "mine.toml").write_text("\n".join(lines), "utf-8")
    assert load_chip(tmp_path / "mine.toml").costs == load_chip("generic").costs

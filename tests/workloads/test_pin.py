"""Pinned costs of a configuration of one's own: what is written, what a change shows, the fixture."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.compression.state import small_state
from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.workloads.cli import main
from xbar.workloads.study.pin import PinError, accept, check, differences, measure, pin, setting
from xbar.workloads.training import save_state
from xbar.workloads.workload import untrained

pytest_plugins = ["pytester"]

EDGE = Path(__file__).parents[2] / "hw/presets/edge.toml"
OWN: dict[str, Any] = {"workload.name": "digits", "chip.name": "chips/mine.toml", "component.adc.bits": 7}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a chip of its user's own, and a pin of it elsewhere in it."""
    (tmp_path / "chips").mkdir()
    shutil.copy(EDGE, tmp_path / "chips/mine.toml")
    monkeypatch.chdir(tmp_path)
    pin(OWN, "tests/pins/mine.json")
    return tmp_path


def change(project: Path, old: str, new: str) -> None:
    file = project / "chips/mine.toml"
    text = file.read_text("utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), "utf-8")


def test_what_is_pinned_is_the_ledger_of_one_inference(project: Path) -> None:
    kept = json.loads((project / "tests/pins/mine.json").read_text("utf-8"))
    assert kept["configuration"] == OWN | {"chip.name": "../../chips/mine.toml"}
    chip = load_chip("edge", {"component.adc.bits": "7"})
    model, example = untrained("digits")
    ledger = simulate(place(trace(model, example, pack=True), chip), Arrivals.batch(1))
    for name, joule in ledger.components()["energy_J"].items():
        if name != "crossbar":  # of the cells' own conductances
            assert kept["values"][f"energy_{name}_J"] == pytest.approx(joule, rel=1e-11), name
    assert kept["values"]["energy_crossbar_J"] > 0
    assert kept["values"]["latency_s"] == pytest.approx(ledger.latency[0], rel=1e-11)
    areas = [value for name, value in kept["values"].items() if name.startswith("area_") and name != "area_m2"]
    assert sum(areas) == pytest.approx(kept["values"]["area_m2"], rel=1e-10) == pytest.approx(chip.area, rel=1e-10)


def test_a_change_is_shown_as_old_new_and_ratio_until_it_is_accepted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check("tests/pins/mine.json") == ""
    change(project, "energy = { value = 50.78125,", "energy = { value = 76.171875,")
    monkeypatch.chdir(project / "tests")  # files are found from the pin, wherever one stands
    shown = check("pins/mine.json").splitlines()
    assert shown[0].split() == ["quantity", "old", "new", "ratio"]
    assert [line.split()[0] for line in shown[1:]] == ["energy_link_J"]
    assert shown[1].split()[3] == "1.5"
    kept = Path("pins/mine.json").read_bytes()
    with pytest.raises(PinError, match=r"pins/mine.json: is there already; xbar pin --accept .*--replace"):
        pin(OWN, "pins/mine.json")
    assert Path("pins/mine.json").read_bytes() == kept
    assert accept("pins/mine.json").splitlines() == shown
    assert accept("pins/mine.json") == ""
    assert check("pins/mine.json") == ""
    assert json.loads(Path("pins/mine.json").read_text("utf-8"))["configuration"] == OWN | {"chip.name": "../../chips/mine.toml"}


def test_weights_with_learned_ranges_are_read_under_them(project: Path) -> None:
    """Inputs of a hundredth of the range leave nearly all lines at rest."""
    model, example = untrained("digits")
    found = []
    for name, high in (("narrow", 1.0), ("wide", 100.0)):
        save_state(small_state(model, example, dict.fromkeys(("conv1", "conv2", "fc"), (0.0, high))), project / f"{name}.pt")
        found.append(measure(OWN | {"workload.weights": f"{name}.pt"}))
    changed = {name for name in found[0] if found[0][name] != found[1][name]}
    assert {"energy_crossbar_J"} <= changed <= {"energy_crossbar_J", "energy_dac_J"}
    assert found[1]["energy_crossbar_J"] < 0.5 * found[0]["energy_crossbar_J"]


def test_cells_are_charged_by_their_conductances(project: Path) -> None:
    """Twice the voltage: four times the energy of the reads; drivers charge their lines to it, and nothing else changes."""
    before, after = measure(OWN), measure(OWN | {"device.read_voltage": 0.4})
    changed = {name: after[name] / before[name] for name in before if after[name] != before[name]}
    assert changed == {"energy_crossbar_J": pytest.approx(4.0, rel=1e-12), "energy_dac_J": pytest.approx(2.5, abs=1.5)}


def test_quantities_that_come_go_or_become_something_are_told() -> None:
    shown = differences({"a": 2.0, "gone": 1.0, "zero": 0.0, "same": 1.0}, {"a": 3.0, "new": 1.0, "zero": 1.0, "same": 1 + 1e-12})
    assert [line.split()[0] for line in shown.splitlines()] == ["quantity", "a", "gone", "new", "zero"]
    assert shown.splitlines()[-1].split() == ["zero", "0", "1", "inf"]
    assert differences({"a": 0.0}, {"a": 0.0}) == ""


def test_the_fixture_passes_and_fails_with_the_table(project: Path, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from xbar.workloads.study.pin import check_pinned")
    pytester.makepyfile(f"def test_costs(check_pinned): check_pinned({str(project / 'tests/pins/mine.json')!r})")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    change(project, 'rate = { value = 1.28, unit = "GS/s"', 'rate = { value = 0.64, unit = "GS/s"')
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    said = "*mine.json changed; if intended, accept with `xbar pin --accept *"
    result.stdout.fnmatch_lines([said, "*quantity*old*new*ratio*", "*latency_s*"])


def test_a_module_has_no_other_names() -> None:
    import xbar.workloads.study.pin

    with pytest.raises(AttributeError, match="no attribute 'check_pined'"):
        xbar.workloads.study.pin.check_pined  # noqa: B018


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"workload.name": "digits"}, r"chip.name = \(missing\): needed"),
        ({"chip.name": "edge"}, r"workload.name = \(missing\): needed"),
        (OWN | {"device.level": 4}, "device.level = 4: unknown name; did you mean device.levels"),
        (OWN | {"study.images": 4}, "study.images = 4: unknown name"),
        (OWN | {"workload.name": "digit"}, "workload.name = 'digit': must be one of digits"),
        (OWN | {"device.levels": "x"}, "device.levels = 'x': must be a whole number"),
    ],
)
def test_what_cannot_be_pinned_is_named(configuration: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PinError, match=said):
        pin(configuration, tmp_path / "x.json")
    assert not os.listdir(tmp_path)


def test_commands_show_what_they_accept_and_replace_only_when_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pin", "digits", "--chip", "chips/mine.toml", "--out", "own.json"]
    assert main(arguments) == 0
    change(project, "energy = { value = 50.78125,", "energy = { value = 76.171875,")
    assert main(arguments) == 1
    assert "own.json: is there already" in capsys.readouterr().err
    assert main(["pin", "--accept", "own.json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "own.json: accepted"
    assert said[2].split()[0] == "energy_link_J"
    assert said[2].split()[-1] == "1.5"
    assert main(["pin", "--accept", "own.json"]) == 0
    assert capsys.readouterr().out == "own.json: as pinned\n"
    assert main([*arguments, "--set", "component.adc.bits=6", "--replace"]) == 0
    assert json.loads(Path("own.json").read_text("utf-8"))["configuration"]["component.adc.bits"] == 6
    assert main(["pin", "--check", "own.json", "--replace"]) == 1


def test_settings_of_a_command_line() -> None:
    given = {"device.levels": "8", "device.g_max": "20", "inputs.quantise": "False", "weights.range": "percentile"}
    found = [setting(name, text) for name, text in given.items()]
    assert found == [8, 20.0, False, "percentile"]
    assert isinstance(found[1], float)
    for name, text in (("device.levels", "8.5"), ("device.levels", "many"), ("weights.range", "x"), ("inputs.quantise", "no")):
        with pytest.raises(PinError, match=f"{name} = '?{text}'?: must be"):
            setting(name, text)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)), max_leaves=4,
)  # fmt: skip
tables = st.one_of(json_values, st.dictionaries(st.sampled_from([*OWN, "device.name"]), json_values, max_size=3))
pins = st.fixed_dictionaries({"format": st.one_of(st.just("xbar pin 1"), json_values)}, optional={
    "configuration": tables, "values": st.one_of(json_values, st.just({"latency_s": 1.0})),
})  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(content=st.one_of(st.binary(max_size=40), pins.map(lambda pinned: json.dumps(pinned).encode())))
def test_any_file_is_a_pin_or_a_named_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught:  # nothing drawn has a chip and a workload
        check(path)
    assert isinstance(caught.value, PinError)
    assert str(caught.value).startswith(f"{path}: ")

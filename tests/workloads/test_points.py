"""Points over workload, chip, device and compression: names, the TOML file, and what a point is worth."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xbar.compression.state import small_state
from xbar.hw import Arrivals, load_chip, place, simulate, trace
from xbar.hw.analog import read_energies
from xbar.hw.bands import ledger_bands
from xbar.hw.chip.description import Chip
from xbar.hw.footprint import footprint
from xbar.workloads.study import points as module
from xbar.workloads.study.allocation import AllocationError
from xbar.workloads.study.compress import compress
from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.study.plan import TRAININGS
from xbar.workloads.study.points import CHIP_FIELDS, FIELDS, complete, files_of, judge, read_sweep, sweep_chips
from xbar.workloads.study.sweep import SUMMARY, InProcess, SweepError, point_key
from xbar.workloads.training import TrainingError, save_state, score
from xbar.workloads.workload import Workload, load_workload

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"study.images": 40, "study.instances": 2, "study.requests": 3}


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XBAR_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("XBAR_DATA", raising=False)
        yield


@pytest.fixture(scope="module")
def workload() -> Workload:
    return load_workload("digits")


# ---- names


def test_every_setting_of_a_chip_is_a_name(isaac: Chip) -> None:
    """Those that a preset states, and with a value each of them."""
    assert set(isaac.provenance) <= set(CHIP_FIELDS)
    for name, quantity in isaac.provenance.items():
        assert CHIP_FIELDS[name].holds(quantity.value), name
        load_chip("isaac", {name: str(quantity.value)})


def test_a_point_is_complete_with_its_defaults() -> None:
    whole = complete({"chip.name": "edge", "device.levels": 8})
    assert whole["workload.name"] == "digits"
    assert whole["study.seed"] == 0
    assert whole["device.levels"] == 8
    assert complete(whole) == whole


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"device.level": 4}, "device.level = 4: unknown name; did you mean device.levels"),
        ({"device.levels": 4.5}, "device.levels = 4.5: must be a whole number"),
        ({"device.levels": True}, "device.levels = True: must be a whole number"),
        ({"weights.scheme": "diff"}, "weights.scheme = 'diff': must be one of differential, offset, separate"),
        ({"workload.name": "digit"}, "workload.name = 'digit': must be one of digits, lenet5.*; did you mean digits"),
        ({"study.instances": 0}, "study.instances = 0: must be a whole number from 1"),
        ({"study.rate": 0}, "study.rate = 0: must be a number from 1e-300"),
        ({"study.seconds": float("inf")}, "study.seconds = inf: must be a number from 0"),
        ({"compression.bits": 4}, "compression.bits = 4: needs a target, one or more of compression.area"),
        ({"compression.power": 1.5}, "compression.power = 1.5: must be a number from 1e-09 to 1"),
        ({"inputs.quantise": "yes"}, "inputs.quantise = 'yes': must be true or false"),
    ],
)
def test_what_a_point_cannot_have_is_named(point: dict[str, Any], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        complete(point)


def test_a_point_is_known_by_the_contents_of_the_files_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    shutil.copy(ROOT / "hw/presets/edge.toml", file)
    point = {"chip.name": str(file)}
    before = point_key(point, judge, files_of(point))
    file.write_text(file.read_text() + "\n# a remark\n")
    assert point_key(point, judge, files_of(point)) != before
    assert files_of({"chip.name": "edge"}) == files_of({"chip.name": str(tmp_path / "missing")}) == ""
    table = tmp_path / "cells.csv"
    table.write_text("1")
    file.write_text('[device]\nprogramming_table = "cells.csv"\n')
    named = files_of({"device.name": str(file)})
    table.write_text("2")
    module._digest_of.cache_clear()  # the name of the TOML file has not changed
    assert files_of({"device.name": str(file)}) != named


def test_a_chip_file_is_known_by_what_it_extends_too(tmp_path: Path) -> None:
    file, base = tmp_path / "mine.toml", tmp_path / "base.toml"
    file.write_text('extends = "base.toml"\n')
    base.write_text('extends = "edge"\n')
    before = files_of({"chip.name": str(file)})
    base.write_text('extends = "isaac"\n# another\n')
    assert files_of({"chip.name": str(file)}) != before
    base.write_text('extends = "mine.toml"\n')  # told when the point is computed
    assert len(files_of({"chip.name": str(file)})) == 2 * 64


def test_a_number_may_have_its_unit(tmp_path: Path) -> None:
    axes = "[axes]\ndevice.g_max = ['20 uS', 0.04]\n"
    assert [point["device.g_max"] for point in read_sweep(written(tmp_path, axes)).points] == ["20 uS", 0.04]
    for wrong in ("20 nm", "uS", "1e400 S"):
        with pytest.raises(SweepError, match=r"device.g_max = .*number or a text of number and unit: S, mS"):
            read_sweep(written(tmp_path, f"[fixed]\nstudy.seed = 1\n[axes]\ndevice.g_max = ['{wrong}']\n"))


@pytest.mark.parametrize("axis", ["device.levels = [4, 8, 4]", "device.g_max = ['20 uS', '0.02 mS']", "weights.quantise = [true, true]"])
def test_a_value_is_on_an_axis_once(axis: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="is on the axis twice"):
        read_sweep(written(tmp_path, f"[axes]\n{axis}\n"))


# ---- the file


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_grid_file_is_the_product_of_its_axes(tmp_path: Path) -> None:
    file = read_sweep(written(tmp_path, """
        [fixed]
        workload.name = "digits"
        chip.name = "chips/mine.toml"
        [axes]
        component.adc.bits = [6, 8]
        device.programming_sigma = { low = 1, high = 100, scale = "log", steps = 3 }
        study.seed = { low = 0, high = 1 }
    """))  # fmt: skip
    expected = list(itertools.product([6, 8], [1.0, 10.0, 100.0], [0, 1]))
    names = ("component.adc.bits", "device.programming_sigma", "study.seed")
    found = [tuple(point[name] for name in names) for point in file.points]
    assert np.allclose(np.array(found), np.array(expected), rtol=1e-12)
    assert {point["chip.name"] for point in file.points} == {str(tmp_path / "chips/mine.toml")}
    assert all(isinstance(point["study.seed"], int) for point in file.points)


def test_a_list_file_is_its_points(tmp_path: Path) -> None:
    file = read_sweep(written(tmp_path, """
        title = "two"
        [fixed]
        chip.name = "edge"
        [[points]]
        device.levels = 4
        [[points]]
        weights = { range = "percentile" }
        device.name = "pcm"
    """))  # fmt: skip
    assert file.title == "two"
    assert file.points == [
        complete({"chip.name": "edge", "device.levels": 4}),
        complete({"chip.name": "edge", "weights.range": "percentile", "device.name": "pcm"}),
    ]


def test_the_example_file_gives_the_same_points_again() -> None:
    one, other = (read_sweep(ROOT / "examples/sweep.toml").points for _ in range(2))
    assert one == other
    assert len(one) == 24
    sigmas = [np.log(point["device.programming_sigma"] / 0.5) / np.log(40) for point in one]
    assert sorted(int(share * 24) for share in sigmas) == list(range(24))
    assert {point["component.adc.bits"] for point in one} == {5, 6, 7, 8}


AXES = "[axes]\ndevice.levels = [2]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is not TOML"),
        ("", r"axes = \(none\)"),
        (AXES + "[extra]\n", "extra = {}: unknown key; allowed: title, space, fixed, axes, points"),
        (AXES + "[space]\nkind = 'sobol'\n", "space.kind = 'sobol': must be one of grid, list"),
        (AXES + "[space]\nkind = 'random'\n", r"space.samples = \(missing\): needed where space.kind = random"),
        (AXES + "[space]\nkind = 'random'\nsamples = 0\n", "space.samples = 0 points: must be 1 to"),
        (AXES + "[space]\nkind = 'random'\nsamples = 3\nseed = 1.5\n", "space.seed = 1.5: must be a whole number"),
        (AXES + "[space]\nsamples = 3\n", "space.samples = 3: not used where space.kind = grid"),
        (AXES + "[space]\nkind = 'list'\n", r"axes = \(given\): must be left out where space.kind = list"),
        ("[space]\nkind = 'list'\n", r"points = \(none\): must be one \[\[points\]\] or more"),
        ("title = 3\n" + AXES, "title = 3: must be a text"),
        ("axes = 3", "axes = 3: must be a table"),
        ("[axes]\ndevice.levels = []", r"device.levels = \[\]: must be a list of one value or more"),
        ("[axes]\ndevice.levels = [2, 'x']", "device.levels = 'x': must be a whole number"),
        ("[axes]\ndevice.levels = 4", r"device.levels = 4: an axis must be a list of values, or { low, high, scale, steps }"),
        ("[axes]\nweights.range = { low = 1, high = 2 }", "weights.range = .*: an axis must be a list of values$"),
        ("[axes]\ndevice.levels = { low = 4 }", r"device.levels.high = \(missing\)"),
        ("[axes]\ndevice.levels = { low = 4, high = 2 }", "device.levels.low = 4: must be below high = 2"),
        ("[axes]\ndevice.g_max = { low = 0, high = 2, scale = 'log', steps = 3 }", "device.g_max.low = 0: must be above 0"),
        ("[axes]\ndevice.g_max = { low = 0, high = 2, scale = 'ln' }", "device.g_max.scale = 'ln': must be linear or log"),
        ("[axes]\ndevice.g_max = { low = 0, high = 2 }", r"device.g_max.steps = \(missing\)"),
        ("[axes]\ndevice.g_max = { low = 0, high = 2, step = 3 }", "device.g_max.step = 3: unknown key; allowed: low, high"),
        ("[axes]\ndevice.g_maks = { low = 0, high = 2 }", "device.g_maks.low = 0: unknown name; did you mean"),
        (AXES + "[fixed]\ndevice.levels = 4", r"device.levels = 4: is in \[fixed\] and varies too"),
        ("[axes]\ndevice.levels = [2]\n'device.levels' = [4]", r"device.levels = \[4\]: is given twice"),
    ],
)
def test_a_file_that_cannot_be_is_told_by_key_value_and_what_is_allowed(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SweepError, match=said) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: ")


def _toml(value: Any) -> str:
    """A value of JSON's kinds as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, float) and value != value:
        return "nan"
    return "inf" if value == float("inf") else "-inf" if value == float("-inf") else json.dumps(value)


words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
scalars = st.one_of(st.integers(), st.floats(), st.booleans(), words, st.just(10**400), st.sampled_from(["grid", "random", "log"]))
names = st.one_of(st.sampled_from([*FIELDS, "device", "low", "high"]), words)
spans = st.fixed_dictionaries({}, optional={key: scalars for key in ("low", "high", "scale", "steps", "more")})
axes = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3), spans), max_size=3)
fixed = st.dictionaries(names, st.one_of(scalars, st.dictionaries(names, scalars, max_size=2)), max_size=3)
space = st.fixed_dictionaries({}, optional={
    "kind": st.one_of(scalars, st.sampled_from(["grid", "list", "random", "latin_hypercube"])),
    "samples": st.one_of(st.integers(-2, 50), scalars), "seed": scalars,
})  # fmt: skip
files = st.fixed_dictionaries({}, optional={
    "title": scalars, "space": st.one_of(space, scalars), "fixed": st.one_of(fixed, scalars), "axes": st.one_of(axes, scalars),
    "points": st.one_of(scalars, st.lists(st.one_of(fixed, scalars), max_size=3)), "other": scalars,
})  # fmt: skip


def _read_or_named(content: bytes, folder: Path) -> None:
    path = folder / "fuzz.toml"
    path.write_bytes(content)
    try:
        points = read_sweep(path).points
    except SweepError as caught:
        said = str(caught)
    else:
        assert points
        assert all(complete(point) == point for point in points)
        return
    assert said.startswith(f"{path}: ")
    assert len(said) > len(f"{path}: ") + 5


@settings(max_examples=250, deadline=None)
@given(file=files)
def test_any_tables_are_points_or_a_named_error(file: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = "\n".join(f"{key} = {_toml(value)}" for key, value in file.items())
    _read_or_named(text.encode("utf-8"), tmp_path_factory.getbasetemp())


@settings(max_examples=100, deadline=None)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_points_or_a_named_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    _read_or_named(content, tmp_path_factory.getbasetemp())


# ---- what a point is worth


def _values(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting's type has; whether the chip can have them is for it to say."""
    field = CHIP_FIELDS[name]
    if field.choices is not None:
        return st.sampled_from(field.choices)
    if field.kind is bool:
        return st.booleans()
    if field.kind is int:
        return st.sampled_from([-1, 0, 1, 2, 3, 5, 8, 16, 31, 64, 128, 2**40])
    return st.sampled_from([-1.0, 0.0, 1e-3, 0.5, 1.0, 2.0, 10.0, 100.0, 1e6]) if field.kind is float else st.just("none.csv")


settings_of_chips = st.lists(st.sampled_from(sorted(CHIP_FIELDS)), min_size=1, max_size=2, unique=True).flatmap(
    lambda chosen: st.fixed_dictionaries({name: _values(name) for name in chosen})
)


@pytest.mark.filterwarnings("ignore::xbar.hw.chip.far.FarFromPresetWarning")
@settings(max_examples=20, deadline=None, derandomize=True)
@given(chip=st.sampled_from(["edge", "isaac"]), device=st.sampled_from([None, "pcm", "hfox"]), changed=settings_of_chips)
def test_any_setting_is_judged_or_a_named_error(chip: str, device: str | None, changed: dict[str, Any]) -> None:
    point = {"chip.name": chip, "study.images": 10, "study.instances": 1, "study.requests": 2, **changed}
    if device is not None:
        point["device.name"] = device
    try:
        worth = judge(point)
    except ValueError as caught:  # what the project raises is a ValueError of its own
        error: Exception = caught
    else:
        assert 0 <= worth["accuracy"] <= 1
        assert worth["energy_J"] > 0
        return
    assert type(error).__module__.startswith("xbar."), repr(error)

POINTS: list[dict[str, Any]] = [
    {"chip.name": "edge"},
    {"chip.name": "edge", "device.programming_sigma": 12.0, "device.stuck_off_rate": 0.01},
    {"chip.name": "edge", "device.name": "pcm", "study.seconds": 1e5, "study.correction": "compensated"},
    {"chip.name": "edge", "device.g_max": 40.0, "study.rate": 1e5},
    {"chip.name": "edge", "device.read_noise_sigma": 0.0, "component.adc.bits": 6, "study.seed": 5},
    {"chip.name": "isaac"},
    {"chip.name": "isaac", "device.programming_sigma": 4.0, "study.rate": 1e9},
]


def test_a_point_is_worth_what_its_chip_computes_alone(workload: Workload) -> None:
    """Each point against conversion, simulation and placement of its whole chip; points share what does not differ."""
    for point in POINTS * 2:
        whole = complete({**SMALL, **point})
        chip = load_chip(
            point["chip.name"], {name: str(value) for name, value in point.items() if name in CHIP_FIELDS}, point.get("device.name")
        )
        seed, rate, found = whole["study.seed"], whole["study.rate"], judge(whole)
        chosen = torch.from_numpy(np.random.default_rng(seed).permutation(360)[:40])
        images, labels = workload.data.test_inputs[chosen], workload.data.test_targets[chosen]
        on_chip = OnChip(workload.model, chip, workload.calibration_inputs, seed)
        energies = read_energies(on_chip.model) if chip.device.read_voltage is not None else None
        condition = Condition(None, None, whole["study.seconds"], whole["study.correction"])
        instances = [value for part in on_chip.scores([seed, seed + 1], images, labels, condition) for value in part.values()]
        network = trace(workload.model, workload.calibration_inputs, pack=True)
        batch, alone = (simulate(place(network, chip), Arrivals.batch(count), read_energy=energies) for count in (3, 1))
        taken = footprint(network, chip, rate, energies)
        summary = batch.summary()
        expected = {
            "accuracy_float": score(workload.model, images, labels), "accuracy": sum(instances) / 2,
            "accuracy_smallest": min(instances), "accuracy_largest": max(instances), "images": len(labels),
            "energy_J": summary["energy_per_request_J"], "energy_on_chip_J": summary["on_chip_energy_per_request_J"],
            "latency_s": alone.latency[0], "area_m2": chip.area,
            "throughput_per_s": summary["steady_throughput_per_s"], "weights": sum(layer.weights for layer in network.layers),
            "footprint_area_m2": taken.area, "footprint_power_W": taken.power, "arrays": taken.arrays,
            "power_W": summary["dynamic_energy_per_request_J"] * rate + chip.static_power
            if rate <= summary["steady_throughput_per_s"] else None,
        }  # fmt: skip
        components = {f"energy_{name}_J": joule / 3 for name, joule in batch.components()["energy_J"].items()}
        bands = {name: found.pop(name) for name in ("energy_low_J", "energy_high_J", "area_low_m2", "area_high_m2")}
        totals = ledger_bands(batch).query("of == 'total'").set_index("quantity")
        outer = {f"{what}_{end}_{unit}": totals.loc[name, end] for what, name, unit in (
            ("energy", "energy_per_request_J", "J"), ("area", "area_m2", "m2")) for end in ("low", "high")}  # fmt: skip
        assert bands == pytest.approx(outer, rel=1e-12)
        assert found == expected | components, point
        assert sum(components.values()) == pytest.approx(found["energy_J"], rel=1e-12)


def test_a_sweep_of_chips_has_a_row_a_point(tmp_path: Path) -> None:
    points = [*POINTS[:2], {"chip.name": "isac"}, {"chip.name": "edge", "device.levels": 3}]
    result = sweep_chips([{**SMALL, **point} for point in points], tmp_path, InProcess())
    frame = result.frame()
    assert frame["error"].isna().tolist() == [True, True, False, False]
    assert "no such file, and no such preset; presets: edge, generic, isaac" in frame["error"][2]
    assert "weights.cell_bits" in frame["error"][3] or "levels" in frame["error"][3]
    assert frame["accuracy"][0] == judge({**SMALL, **POINTS[0]})["accuracy"]
    assert json.loads((tmp_path / SUMMARY).read_text())["fixed"]["study.images"] == 40
    pd.testing.assert_series_equal(frame["study.seed"], pd.Series([0] * 4, name="study.seed"))


CUT: dict[str, Any] = {
    **SMALL, "chip.name": "isaac", "compression.weights": 0.5, "compression.images": 20, "compression.search_images": 100,
    **{f"compression.{name}": 0 for name in TRAININGS}, "compression.rounds": 1, "compression.instances": 1,
}  # a compression without training: cutting alone; its damage does not matter here


def test_compression_makes_the_network_smaller_once(monkeypatch: pytest.MonkeyPatch) -> None:
    point, made = {**CUT, "compression.bits": 4}, []
    monkeypatch.setitem(module.PLANS, "digits", replace(module.PLANS["digits"], longer=True))
    monkeypatch.setattr(module, "compress", lambda *given, **more: (made.append(given[5]), compress(*given, **more))[1])
    whole, small = judge({**SMALL, "chip.name": "isaac"}), judge(point)
    assert small["weights"] < whole["weights"]
    assert len(made) == 1  # with nothing beside it that no point tells of
    assert (made[0].longer, made[0].most_on_chips, made[0].budgets) == (False, 0, ())
    assert small["footprint_power_W"] < whole["footprint_power_W"]
    monkeypatch.setattr(module, "compress", None)  # kept in the cache: not called again
    module._compressed.found.clear()
    assert judge({**point, "study.rate": 10.0})["weights"] == small["weights"]


def test_learned_input_ranges_are_those_that_a_compressed_point_is_judged_under(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges twice as wide from the compression are so on the chip, and also where they come from the cache."""
    scales = []
    for high in (20.0, 40.0, 20.0):
        ranges = dict.fromkeys(("conv1", "conv2", "fc"), (0.0, high))

        def compressed(model: Any, data: Any, chip: Chip, target: Any, out: Path, *_: Any, found: Any = ranges, **__: Any) -> Any:
            out.mkdir(parents=True)
            return SimpleNamespace(model=model, chip=chip, input_ranges=found)

        monkeypatch.setattr(module, "compress", compressed)
        point = complete({**CUT, "chip.name": "edge", "compression.learned": True, "compression.seed": int(high)})
        layers = module._on_chip(module._subject(point), point)[0].layers
        scales.append([float(layers[name].input_scale) for name in ranges])
        module._compressed.found.clear()
        module._converted.found.clear()
    assert scales[1] == pytest.approx([2 * scale for scale in scales[0]])
    assert scales[2] == scales[0]


def test_the_method_of_a_compression_is_a_name_and_rho_is_of_one() -> None:
    assert complete({"compression.weights": 0.5, "compression.method": "admm", "compression.rho": 0.2})["compression.method"] == "admm"
    with pytest.raises(SweepError, match=r"compression.method = 'adm': must be one of admm, .*; did you mean admm"):
        complete({"compression.weights": 0.5, "compression.method": "adm"})
    with pytest.raises(TrainingError, match=r"plan.rho must be left out without method admm"):
        judge({**CUT, "compression.method": "gradual", "compression.rho": 0.2})


# ---- what searches vary, and how they judge


def test_copies_and_sharing_are_what_placement_is_asked_for(workload: Workload) -> None:
    chip, network = load_chip("edge"), trace(workload.model, workload.calibration_inputs[:2], pack=True)
    base = {"chip.name": "edge", "study.images": 0, "study.requests": 3}
    for point, options in (
        ({"mapping.copies": "one"}, {"replication": None}), ({"mapping.sharing": "cores"}, {"sharing": "cores"}),
        ({'layer."conv1".mapping.copies': 3, "mapping.sharing": "none"}, {"replication": {"conv1": 3}, "sharing": "none"}),
    ):  # fmt: skip
        ledger = simulate(place(network, chip, **options), Arrivals.batch(1))
        assert judge({**base, **point})["latency_s"] == float(ledger.latency[0])
    with pytest.raises(SweepError, match=r'layer."conv1".mapping.copies = 3: copies of one layer need mapping.copies = one'):
        complete({'layer."conv1".mapping.copies': 3, "mapping.copies": "balance"})


def test_parts_of_chips_and_images_add_up_to_the_whole() -> None:
    """40 images on 4 chips, in two parts of either; and the errors that stand beside them."""
    base = {"chip.name": "edge", "study.requests": 2, "study.errors": True}
    whole = judge({**base, "study.images": 40, "study.instances": 4})
    parts = [judge({**base, "study.images": 20, "study.instances": 2, "study.first_image": image, "study.first_instance": chip})
             for image in (0, 20) for chip in (0, 2)]  # fmt: skip
    for name in ("accuracy", "accuracy_lost", "accuracy_float"):
        assert np.mean([part[name] for part in parts]) == pytest.approx(whole[name])
    assert whole["accuracy_lost"] == pytest.approx(whole["accuracy_float"] - whole["accuracy"])
    assert 0 < whole["accuracy_lost_error"] < min(part["accuracy_lost_error"] for part in parts)
    assert judge({**base, "study.images": 20, "study.instances": 1})["accuracy_error"] is None  # one chip does not tell how chips vary
    with pytest.raises(SweepError, match=r"study.first_image = 400: there are no more than 360 test images"):
        judge({**base, "study.images": 20, "study.first_image": 400})


def test_costs_are_the_same_with_images_and_without_where_reads_are_charged_by_cells() -> None:
    base = {"chip.name": "edge", "study.requests": 2}
    judged = judge({**base, "study.images": 10, "study.instances": 1})["energy_J"]
    by_cells, stated = (judge({**base, "study.images": 0, "study.reads": reads})["energy_J"] for reads in ("cells", "stated"))
    assert by_cells == judged != stated == judge({**base, "study.images": 0})["energy_J"]


@pytest.mark.parametrize("first", ["stated", "cells"])
def test_what_a_copy_takes_is_the_same_whatever_was_judged_before(first: str) -> None:
    base = {"chip.name": "edge", "study.images": 0, "study.requests": 2}
    module._footprints.found.clear()
    judge({**base, "study.reads": first})
    found = {reads: judge({**base, "study.reads": reads})["footprint_power_W"] for reads in ("cells", "stated")}
    module._footprints.found.clear()
    assert found["stated"] == judge({**base, "study.reads": "stated"})["footprint_power_W"] != found["cells"]


LINES = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 4))
"""


@pytest.mark.filterwarnings("ignore::xbar.workloads.own.UntrainedWarning")
def test_the_network_in_float_is_judged_on_the_data_of_the_point(tmp_path: Path) -> None:
    """The same weights with labels that are all right, then, in the same process, with labels that are all wrong."""
    (tmp_path / "lines.py").write_text(LINES)
    inputs = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        right = nn.Linear(8, 4)(torch.from_numpy(inputs)).argmax(1).numpy()
    found = []
    for name, labels in (("right", right), ("wrong", (right + 1) % 4)):
        arrays = {"x_train": inputs[:200], "y_train": labels[:200], "x_test": inputs[200:], "y_test": labels[200:]}
        np.savez(tmp_path / f"{name}.npz", **arrays)
        point = {"workload.name": f"{tmp_path}/lines.py:network", "workload.data": str(tmp_path / f"{name}.npz"), "chip.name": "edge"}
        found.append(judge({**point, "study.images": 50, "study.instances": 1, "study.requests": 2, "study.errors": True}))
    assert [each["accuracy_float"] for each in found] == [1.0, 0.0]
    assert found[1]["accuracy_lost"] == -found[1]["accuracy"]


@pytest.mark.filterwarnings("ignore::xbar.hw.errors.RangeWarning")
def test_weights_with_learned_ranges_are_judged_under_them(workload: Workload, tmp_path: Path) -> None:
    """As a run of the same weights is (`Workload.input_ranges`); and they are told from the same weights without ranges."""
    example, ranges = workload.calibration_inputs[:2], dict.fromkeys(("conv1", "conv2", "fc"), (0.0, 0.02))
    found = []
    for name, learned in (("plain", {}), ("learned", ranges)):
        save_state(small_state(workload.model, example, learned), tmp_path / f"{name}.pt")
        found.append(judge({**SMALL, "chip.name": "edge", "workload.weights": str(tmp_path / f"{name}.pt")}))
    chip = load_chip("edge")
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(360)[:40])
    images, labels = workload.data.test_inputs[chosen], workload.data.test_targets[chosen]
    on_chip = OnChip(workload.model, chip, workload.calibration_inputs, input_ranges=ranges)
    scores = [value for part in on_chip.scores([0, 1], images, labels, Condition()) for value in part.values()]
    assert found[1]["accuracy"] == np.mean(scores) < found[0]["accuracy"] - 0.3


def test_layers_keep_a_share_of_their_filters(workload: Workload) -> None:
    base = {"chip.name": "edge", "study.images": 100, "study.instances": 2, "study.requests": 2}
    whole, solved, cut = (judge({**base, **more}) for more in (
        {}, {'layer."conv2".compression.keep': 0.5}, {'layer."conv2".compression.keep': 0.5, "compression.method": "magnitude"},
    ))  # fmt: skip
    layers = dict(workload.model.named_modules())
    gone = layers["conv2"].weight.numel() // 2 + layers["fc"].weight.numel() // 2
    assert whole["weights"] - solved["weights"] == whole["weights"] - cut["weights"] == gone
    assert solved["accuracy_float"] > cut["accuracy_float"]
    assert solved["energy_J"] < whole["energy_J"]
    with pytest.raises(AllocationError, match="fc: has no filters that can go; those that have: conv1, conv2"):
        judge({**base, 'layer."fc".compression.keep': 0.5})
    for more, said in (
        ({"compression.area": 0.5}, "what layers keep is chosen by compression.area"),
        ({"compression.bits": 4}, "compression.bits = 4: of no use where layers keep a share"),
        ({"compression.method": "admm"}, "compression.method = 'admm': of no use"),
    ):
        with pytest.raises(SweepError, match=said):
            complete({'layer."conv2".compression.keep': 0.5, **more})


def test_latency_under_load_and_lifetime_are_told_where_asked_for(workload: Workload) -> None:
    chip, network = load_chip("edge"), trace(workload.model, workload.calibration_inputs[:2], pack=True)
    base = {"chip.name": "edge", "study.images": 0, "study.requests": 2, "study.rate": 2e5}
    found = judge({**base, "study.poisson": 60, "study.rewrite": 3600.0, "device.endurance": 1e6})
    ledger = simulate(place(network, chip), Arrivals.poisson(2e5, 60, 0))
    assert found["latency_p99_s"] == np.percentile(ledger.latency, 99) > found["latency_s"]
    assert found["lifetime_s"] == pytest.approx(1e6 * 3600)
    assert judge({**base, "study.poisson": 60, "study.rate": 1e9})["latency_p99_s"] is None  # cannot be served
    assert not {"latency_p99_s", "lifetime_s"} & set(judge(base))

"""Comparisons: equal results have no change, steps sum to the difference, noise is told from change, bad folders are named."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.reports.drawing import check_texts
from xbar.hw import load_chip
from xbar.reports.compare import compare, compare_runs, compare_sweeps
from xbar.reports.compare_pages import MOST_STEPS, draw_comparison, pages
from xbar.reports.compared_in_words import (
    area_steps,
    energy_steps,
    link_steps,
    save_comparison,
    shown,
    summary_text,
    verdict,
)
from xbar.reports.differences import differences, is_changed, side_by_side, tables_side_by_side
from xbar.reports.results import Results, ResultsError
from xbar.reports.significance import score_difference
from xbar.reports.sweep_sheet import SweepSheet
from xbar.workloads.data import load_digits
from xbar.workloads.study.run import Study, run
from xbar.workloads.training import initialise
from xbar.workloads.workload import Workload

QUICK = Study(instances=3, sigmas=(0.05,), multiples=(1.0,), adc_bits=(8,), images=20, requests=4, parts=())


def judged(chip: str, **settings: str) -> Results:
    """A quick study of an untrained network."""
    from xbar.models import DigitsCNN

    workload = Workload("digits", "Digits CNN", initialise(DigitsCNN, 0).eval(), load_digits(), 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xbar.workloads.study.run.measure", lambda *_: {})  # this computer's own speed is not compared
        return run(workload, load_chip(chip, settings), QUICK)


@pytest.fixture(scope="module")
def isaac() -> Results:
    return judged("isaac")


@pytest.fixture(scope="module")
def changed() -> Results:
    return judged("isaac", **{"device.levels": "16", "component.adc.bits": "10"})


@pytest.fixture(scope="module")
def edge() -> Results:
    return judged("edge")


def scaled(results: Results, component: str, factor: float, column: str = "energy_J") -> Results:
    """The same with one component's energy (dynamic), or another column of it, multiplied."""
    components = results.components.copy()
    energy = results.energy.copy()
    if column == "energy_J":
        more = (factor - 1) * components.loc[component, "dynamic_energy_J"]
        components.loc[component, ["energy_J", "dynamic_energy_J"]] += more
        energy.loc[energy.index != "(static)", component] *= factor
    else:
        components.loc[component, column] *= factor
    return replace(results, components=components, energy=energy)


class TestIdentity:
    def test_a_run_against_itself_has_no_change(self, isaac: Results, edge: Results, tmp_path: Path) -> None:
        for number, results in enumerate((isaac, edge)):
            results.save(tmp_path / str(number))
            found = compare(tmp_path / str(number), tmp_path / str(number), 0.0)
            assert not found.changed
            assert found.asked.empty
            assert not found.metrics["changed"].any()
            assert verdict(found) == "Nothing changed: the results are the same, and so is what was asked."
            assert set(found.metrics["ratio"]) == {1.0}
            assert energy_steps(found).empty
            assert area_steps(found).empty
            assert found.score["verdict"] == "same"

    def test_a_saved_run_is_the_same_as_the_one_in_memory(self, isaac: Results, tmp_path: Path) -> None:
        isaac.save(tmp_path)
        assert not compare_runs(isaac, Results.load(tmp_path)).changed

    def test_what_was_asked_alone_is_no_change_of_results(self, isaac: Results) -> None:
        other = replace(isaac, meta=isaac.meta | {"version": "9"})
        found = compare_runs(isaac, other)
        assert not found.changed
        assert "though what was asked differs in 1 setting or constant" in verdict(found)


class TestAsked:
    def test_every_constant_that_differs_is_told_with_unit_and_kind(self, isaac: Results, changed: Results) -> None:
        rows = compare_runs(isaac, changed).asked.set_index("key")
        assert list(rows.index) == ["device.levels", "component.adc.bits"]
        assert rows.loc["device.levels", ["what", "old", "new", "kind"]].tolist() == ["constant", "4", "16", "published → override"]

    def test_constants_that_only_one_has(self, isaac: Results, edge: Results) -> None:
        rows = compare_runs(isaac, edge).asked.set_index("key")
        one, other = (results.provenance.set_index("key") for results in (isaac, edge))
        differ = {key for key in {*one.index, *other.index} if key not in one.index or key not in other.index
                  or one.loc[key, "value"] != other.loc[key, "value"] or one.loc[key, "unit"] != other.loc[key, "unit"]}  # fmt: skip
        assert set(rows.index[rows["what"] == "constant"]) == differ
        assert rows.loc["component.adc.power", "new"] == "–"  # of the edge chip's ADCs the law alone tells it
        assert rows.loc["chip.name", ["old", "new"]].tolist() == ["isaac", "edge"]

    def test_a_constant_in_another_unit_is_told_with_both(self, isaac: Results) -> None:
        other = isaac.provenance.copy()
        other.loc[other["key"] == "device.g_max", ["value", "unit"]] = [0.0017438, "mS"]
        row = compare_runs(replace(isaac, provenance=other), isaac).asked.set_index("key").loc["device.g_max"]
        assert row[["old", "new", "unit"]].tolist() == ["0.0017438", "1.7438", "mS → µS"]


class TestSteps:
    @settings(max_examples=20, deadline=None)
    @given(st.dictionaries(st.sampled_from(["adc", "dac", "buffer", "router", "link"]), st.floats(0.1, 10.0), min_size=1))
    def test_steps_sum_to_the_difference_and_shares_to_one(self, isaac: Results, factors: dict[str, float]) -> None:
        other = isaac
        for component, factor in factors.items():
            other = scaled(scaled(other, component, factor), component, factor, "area_m2")
        found = compare_runs(isaac, other)
        chip = [name for name in isaac.components.index if name != "link"]
        for steps, rows, column, requests in (
            (energy_steps(found), chip, "energy_J", 4), (link_steps(found), ["link"], "energy_J", 4),
            (area_steps(found), [*chip, "link"], "area_m2", 1),
        ):  # fmt: skip
            before, after = (float(results.components.loc[rows, column].sum()) / requests for results in (isaac, other))
            assert steps.sum() == pytest.approx(after - before, rel=1e-9, abs=1e-12 * before)
            change = found.components[f"{column}_change"]
            assert list(steps.abs()) == sorted(steps.abs(), reverse=True)
            if abs(change.sum()) > 1e-6 * change.abs().sum():
                assert found.components[f"{column}_share"].sum() == pytest.approx(1.0)

    def test_one_component_twice_is_the_whole_difference(self, isaac: Results) -> None:
        found = compare_runs(isaac, scaled(isaac, "adc", 2.0))
        own = isaac.components.loc["adc", "energy_J"] / 4
        assert list(energy_steps(found).index) == ["ADC"]
        assert energy_steps(found)["ADC"] == pytest.approx(own)
        assert found.components.loc["adc", "energy_J_ratio"] == pytest.approx(2.0)
        assert found.components.loc["adc", "energy_J_share"] == pytest.approx(1.0)
        assert found.layers["energy_J_change"].sum() == pytest.approx(own)
        assert found.layers["energy_J_share"].sum() == pytest.approx(1.0)
        assert area_steps(found).empty

    def test_static_energy_is_a_step_of_its_own(self, isaac: Results, edge: Results) -> None:
        found = compare_runs(isaac, edge)
        steps = link_steps(found)
        per_request = [results.components[["energy_J", "dynamic_energy_J", "static_energy_J"]] / 4 for results in (isaac, edge)]
        links, buffers = ([table.loc[name] for table in per_request] for name in ("link", "buffer"))
        assert steps["links, static"] == pytest.approx(links[1]["static_energy_J"] - links[0]["static_energy_J"])
        assert steps.sum() == pytest.approx(links[1]["energy_J"] - links[0]["energy_J"])
        own = energy_steps(found)
        assert not any("links" in name for name in own.index)
        assert own["buffers, static"] == pytest.approx(buffers[1]["static_energy_J"] - buffers[0]["static_energy_J"])
        assert own["buffers"] == pytest.approx(buffers[1]["dynamic_energy_J"] - buffers[0]["dynamic_energy_J"])

    def test_layers_and_components_make_the_same_energy(self, isaac: Results, edge: Results) -> None:
        found = compare_runs(isaac, edge)
        for side, results in (("old", isaac), ("new", edge)):
            total = results.meta["summary"]["energy_per_request_J"]
            assert found.components[f"energy_J_{side}"].sum() == pytest.approx(total)
            assert found.layers[f"energy_J_{side}"].sum() == pytest.approx(total)

    def test_requests_of_a_batch_do_not_count(self, isaac: Results) -> None:
        """Twice the requests at twice the energy: the same per request."""
        twice = replace(
            isaac, components=isaac.components.assign(
                **{name: 2 * isaac.components[name] for name in ("energy_J", "dynamic_energy_J", "static_energy_J", "busy_s")}
            ), energy=2 * isaac.energy, layers=isaac.layers.assign(busy_s=2 * isaac.layers["busy_s"]),
            meta=isaac.meta | {"summary": isaac.meta["summary"] | {
                "requests": 8.0, "static_energy_J": 2 * isaac.meta["summary"]["static_energy_J"]}},
        )  # fmt: skip
        assert not compare_runs(isaac, twice).changed

    def test_layers_that_only_one_has(self, isaac: Results, tmp_path: Path) -> None:
        fewer = replace(isaac, layers=isaac.layers.drop(index="fc"), energy=isaac.energy.drop(index="fc"))
        found = compare_runs(isaac, fewer)
        row = found.layers.loc["fc"]
        assert math.isnan(row["energy_J_new"])
        assert row["energy_J_change"] == pytest.approx(-isaac.energy.loc["fc"].sum() / 4)
        assert found.changed
        drawn = pages(found)
        check_texts([drawn["by_layer"], drawn["layers_1"]])
        texts = [text.get_text() for axes in drawn["by_layer"].axes for text in axes.texts]
        assert texts.count("not in new") == 3
        line = next(line for line in summary_text(found).splitlines() if line.startswith("fc"))
        assert "–" in line


def meta_of(accuracies: list[float], seed: int = 0, images: int = 1000, instances: int | None = None, **more: Any) -> dict[str, Any]:
    """What noise is judged on."""
    return {
        "workload": {"data": "d"}, "study": {"seed": seed, "instances": instances or max(3, len(accuracies))},
        "score": {"chip": float(np.mean(accuracies)), "samples": images, "test_samples": 5000, "instances": len(accuracies),
                     "chip_worst": min(accuracies), "chip_best": max(accuracies), "by_instance": accuracies} | more,
    }  # fmt: skip


class TestNoise:
    def test_paired_by_seed_is_student_of_the_differences(self) -> None:
        rng = np.random.default_rng(0)
        old, gain = rng.normal(0.8, 0.05, 12), rng.normal(0.01, 0.002, 12)
        found = score_difference(meta_of(list(old)), meta_of(list(old + gain)))
        band = stats.t.interval(0.95, 11, gain.mean(), stats.sem(gain))
        assert (found["low"], found["high"]) == pytest.approx(band)
        assert (found["method"], found["verdict"]) == ("paired", "beyond")
        # the spread between instances, five times the gain, would hide it from an unpaired test of other seeds
        other = meta_of(list(old + gain), images=999)
        unpaired = score_difference(meta_of(list(old)), other)
        welch = stats.ttest_ind(old + gain, old, equal_var=False).confidence_interval(0.95)
        assert (unpaired["low"], unpaired["high"]) == pytest.approx((welch.low, welch.high))
        assert (unpaired["method"], unpaired["verdict"]) == ("independent", "within")

    def test_seeds_are_paired_where_they_overlap(self) -> None:
        old, new = meta_of([0.5, 0.6, 0.7, 0.8]), meta_of([0.71, 0.82, 0.1])
        new["study"]["seed"] = 2
        assert score_difference(old, new)["method"] == "independent"  # another seed judges other samples
        new["study"]["seed"] = 0
        found = score_difference(old, new)
        assert found["difference"] == pytest.approx(np.mean([0.21, 0.22, -0.6]))

    def test_the_same_images_are_known_by_their_content(self) -> None:
        """Not by a name, a seed and numbers, which other data may share."""
        old, new = meta_of([0.5, 0.6, 0.7], samples_digest="a"), meta_of([0.6, 0.7, 0.9], samples_digest="b")
        old["workload"]["data_digest"], new["workload"]["data_digest"] = "1", "2"
        found = score_difference(old, new)
        assert found["method"] == "independent"
        assert "the data are called d in both and differ in content" in found["text"]
        new["score"]["samples_digest"], new["workload"]["data"] = "a", "another name"
        assert score_difference(old, new)["method"] == "paired"
        del new["score"]["samples_digest"]  # of an earlier version: by name
        assert score_difference(old, new)["method"] == "independent"

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [(980, 985, "within"), (980, 980, "same"), (500, 700, "beyond"), (980, 987, "open"), (999, 989, "beyond"), (20, 900, "beyond")],
    )
    def test_chips_without_spread_are_judged_on_samples(self, old: int, new: int, said: str) -> None:
        """Hits of 1,000 images: 5 apart can always be chance, 2 * 0.5**5 > 0.05; 200 apart of 500 and 300 errors never."""
        found = score_difference(meta_of([old / 1000]), meta_of([new / 1000]))
        assert (found["verdict"], found["method"]) == (said, "samples")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=120))
    def test_a_verdict_on_images_holds_whichever_samples_they_are(self, hits: list[tuple[bool, bool]]) -> None:
        """The exact test of the images themselves, which the folders do not keep, never says otherwise."""
        a, b = (sum(pair[side] for pair in hits) / len(hits) for side in (0, 1))
        found = score_difference(meta_of([a], images=len(hits)), meta_of([b], images=len(hits)))
        only = sum(x and not y for x, y in hits), sum(y and not x for x, y in hits)
        p = stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
        if found["verdict"] in ("within", "same"):
            assert p > 0.05
        elif found["verdict"] == "beyond":
            assert p <= 0.05

    def test_one_chip_against_many(self) -> None:
        rng = np.random.default_rng(1)
        many = list(rng.normal(0.7, 0.01, 8))
        found = score_difference(meta_of([0.9]), meta_of(many))
        band = stats.t.interval(0.95, 7, np.mean(many) - 0.9, stats.sem(many))
        assert (found["low"], found["high"]) == pytest.approx(band)
        assert found["verdict"] == "beyond"

    def test_folders_that_keep_no_accuracy_by_instance(self) -> None:
        far = score_difference(meta_of([0.4, 0.5, 0.6, 0.7], by_instance=None), meta_of([0.8, 0.85, 0.9, 0.95]))
        few = score_difference(meta_of([0.5, 0.6, 0.7], by_instance=None), meta_of([0.8, 0.9, 0.95]))
        near = score_difference(meta_of([0.4, 0.5, 0.6, 0.7], by_instance=None), meta_of([0.65, 0.9, 0.9, 0.95]))
        assert {each["method"] for each in (far, few, near)} == {"ranges"}
        assert [each["verdict"] for each in (far, few, near)] == ["beyond", "open", "open"]  # by chance 2/70, 2/20, often

    def test_a_single_instance_of_chips_that_differ_is_left_open(self) -> None:
        assert score_difference(meta_of([0.5], instances=1), meta_of([0.9], instances=1))["verdict"] == "open"


class TestTables:
    def test_conventions_of_old_new_and_ratio(self) -> None:
        old, new = {"a": 2.0, "gone": 1.0, "zero": 0.0, "same": 1.0}, {"a": 3.0, "new": 1.0, "zero": 1.0, "same": 1.0}
        table = side_by_side(old, new)
        assert table["ratio"].tolist()[0] == 1.5
        assert math.isinf(table.loc["zero", "ratio"])
        assert table.loc[["gone", "new"], "ratio"].isna().all()
        assert list(is_changed(table["old"], table["new"])) == [True, True, True, False, True]
        assert "gone" in differences(old, new)

    @given(st.floats(1e-9, 1e9), st.floats(-0.5, 0.5), st.floats(0, 0.5))
    def test_tolerance_is_a_share_of_the_old_value(self, old: float, change: float, tolerance: float) -> None:
        new = old * (1 + change)
        found = bool(is_changed(pd.Series([old]), pd.Series([new]), tolerance).iloc[0])
        assert found == (abs(new - old) > tolerance * old)

    def test_changes_that_cancel_have_no_share(self) -> None:
        table = tables_side_by_side(pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [2.0, 1.0]}), ["x"])
        assert table["x_share"].isna().all()


class TestPages:
    @pytest.mark.parametrize("pair", ["changed", "edge", "same"])
    def test_no_text_overlaps_another_or_leaves_the_page(self, pair: str, isaac: Results, changed: Results, edge: Results) -> None:
        found = compare_runs(isaac, {"changed": changed, "edge": edge, "same": isaac}[pair], names=("a/long/path/" * 6 + "one", "b"))
        check_texts(pages(found).values())

    def test_a_waterfall_is_drawn_from_the_steps(self, isaac: Results, edge: Results) -> None:
        found = compare_runs(isaac, edge)
        energy = pages(found)["waterfall"].axes[0]
        old, new, *bars = energy.patches
        unit = old.get_width() / (isaac.components["energy_J"].drop("link").sum() / 4)
        assert new.get_width() == pytest.approx(unit * edge.components["energy_J"].drop("link").sum() / 4)
        steps = energy_steps(found)
        expected = steps.abs().tolist()[: MOST_STEPS - 1] if len(steps) > MOST_STEPS else steps.abs().tolist()
        if len(steps) > MOST_STEPS:  # the smallest are joined, with their signs
            expected.append(abs(steps.iloc[MOST_STEPS - 1 :].sum()))
        assert sorted(bar.get_width() for bar in bars) == pytest.approx(sorted(unit * np.array(expected)), abs=1e-9)

    def test_links_are_told_apart_from_the_energy_on_chip(self, isaac: Results) -> None:
        """Only the links differ: nothing changes on chip, and the page says by how much the links do."""
        other = scaled(scaled(isaac, "link", 2.0), "link", 2.0, "static_energy_J")
        summary = isaac.meta["summary"]
        other.components.loc["link", "energy_J"] = other.components.loc["link", ["dynamic_energy_J", "static_energy_J"]].sum()
        changed = {"link_energy_per_request_J": float(other.components.loc["link", "energy_J"]) / 4}
        other = replace(other, meta=isaac.meta | {"summary": summary | changed})
        found = compare_runs(isaac, other)
        assert energy_steps(found).empty
        assert not found.metrics.loc["on_chip_energy_per_request_J", "changed"]
        assert found.metrics.loc["link_energy_per_request_J", "ratio"] == pytest.approx(2.0)
        assert "energy of the off-chip links" in verdict(found).lower()
        figure = pages(found)["waterfall"]
        assert any("off-chip links, not in the picture" in text.get_text() for text in figure.texts)
        check_texts([figure])

    def test_results_of_before_energies_were_told_on_chip(self, isaac: Results) -> None:
        """Energies on chip and of links are then of the components; powers, which cannot be, are only in the other."""
        summary = {name: value for name, value in isaac.meta["summary"].items() if not name.startswith(("on_chip", "leakage", "link"))}
        found = compare_runs(replace(isaac, meta=isaac.meta | {"summary": summary}), isaac)
        for name in ("on_chip_energy_per_request_J", "leakage_energy_per_request_J", "link_energy_per_request_J"):
            assert not found.metrics.loc[name, "changed"], name
        assert math.isnan(found.metrics.loc["on_chip_power_W", "old"])

    def test_many_layers(self, isaac: Results) -> None:
        names = [f"stage{n}.block.conv" for n in range(60)]
        layers = pd.DataFrame([isaac.layers.iloc[0]] * 60, index=pd.Index(names, name="layer"))
        energy = pd.concat([pd.DataFrame([isaac.energy.iloc[1]] * 60, index=pd.Index(names, name="layer")), isaac.energy.tail(2)])
        many = replace(isaac, layers=layers, energy=energy)
        more = replace(many, energy=energy * np.linspace(1, 3, 62)[:, None])
        found = pages(compare_runs(many, more))
        assert [name for name in found if name.startswith("layers")] == ["layers_1", "layers_2", "layers_3"]
        check_texts([found["comparison"], found["by_layer"], found["layers_3"]])

    def test_files_are_complete_and_twice_the_same(self, isaac: Results, edge: Results, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("xbar.reports.pages.PNG_DPI", 30)  # draws faster
        found = compare_runs(isaac, edge)
        for name in ("one", "other"):
            save_comparison(found, tmp_path / name)
            draw_comparison(found, tmp_path / name)
        files = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert {"comparison.pdf", "comparison.html", "comparison.json", "components.csv", "asked.csv", "summary.txt"} <= set(files)
        assert not [name for name in files if name.endswith(".part")]
        assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in files)
        kept = json.loads((tmp_path / "one" / "comparison.json").read_text("utf-8"))
        assert kept["metrics"]["area_m2"]["ratio"] == pytest.approx(edge.meta["summary"]["area_m2"] / isaac.meta["summary"]["area_m2"])
        assert sum(kept["steps"]["area_m2"].values()) == pytest.approx(edge.components["area_m2"].sum() - isaac.components["area_m2"].sum())
        table = pd.read_csv(tmp_path / "one" / "components.csv", index_col="component")
        pd.testing.assert_frame_equal(table, found.components, check_dtype=False, check_index_type=False, rtol=1e-10)


def write_json(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value), "utf-8")
    return folder


class TestOtherKinds:
    def test_numbers_of_json_by_their_place(self, tmp_path: Path) -> None:
        old = {"title": "N", "plan": {"seed": 0}, "seconds": 5.0, "left": {"area": 0.5, "power": 0.0}, "list": [1, 2], "old": 1, "on": True}
        new = {"title": "N", "plan": {"seed": 1}, "seconds": 9.0, "left": {"area": 0.25, "power": 0.0}, "list": [1, 4], "on": False}
        found = compare(write_json(tmp_path / "a", "compression.json", old), write_json(tmp_path / "b", "compression.json", new))
        rows = found.metrics
        assert set(rows.index[rows["changed"]]) == {"left.area", "list.1", "old"}
        assert rows.loc["list.1", "ratio"] == 2.0
        assert set(found.asked["key"]) == {"plan.seed", "on"}
        assert not rows.loc["seconds", "changed"]  # of the computer
        check_texts(pages(found).values())
        same = compare(tmp_path / "a", tmp_path / "a")
        assert not same.changed
        assert "Nothing changed" in summary_text(same)


def sweep_of(levels: list[int], bits: list[int], factor: float = 1.0, name: str = "edge", fails: tuple[int, ...] = ()) -> SweepSheet:
    """A sweep of two axes whose energy is levels x bits x factor."""
    points = [(level, bit) for level in levels for bit in bits]
    rows = [
        {"point": place, "chip.name": name, "device.levels": level, "component.adc.bits": bit,
         "energy_J": math.nan if place in fails else 1e-9 * level * bit * (factor if bit > 4 else 1.0), "accuracy": 0.5,
         "wall_s": 1.0, "error": "broken" if place in fails else None, "key": str(place)} for place, (level, bit) in enumerate(points)
    ]  # fmt: skip
    varied = [key for key, values in (("device.levels", levels), ("component.adc.bits", bits)) if len(values) > 1]
    fixed = {"chip.name": name} | ({"component.adc.bits": bits[0]} if len(bits) == 1 else {})
    meta = {"title": "S", "points": len(points), "varied": varied, "fixed": fixed, "versions": {"xbar": "1"}}
    return SweepSheet(meta, pd.DataFrame(rows))


class TestSweeps:
    def test_points_are_joined_on_their_own_settings(self) -> None:
        """The second sweep has the points in another order, one more value, and three times the energy above 4 bits."""
        found = compare_sweeps(sweep_of([2, 4, 8], [4, 6]), sweep_of([16, 8, 4, 2], [6, 4], 3.0, "isaac"))
        assert found.matched == {"joined": 6, "only_old": 0, "only_new": 2, "fails_old": 0, "fails_new": 0}
        energy = found.points[found.points["metric"] == "energy_J"]
        assert dict(zip(energy["component.adc.bits"], energy["ratio"], strict=True)) == {4: 1.0, 6: pytest.approx(3.0)}
        row = found.metrics.loc["energy_J"]
        assert (row["changed_points"], row["points"], row["smallest"]) == (3, 6, 1.0)
        assert (row["largest"], row["ratio"]) == pytest.approx((3.0, 2.0))
        assert found.asked[["key", "old", "new"]].to_numpy().tolist() == [["chip.name", "edge", "isaac"]]
        assert found.changed
        check_texts(pages(found).values())

    def test_a_sweep_against_itself(self) -> None:
        sheet = sweep_of([2, 4], [4, 6], fails=(1,))
        found = compare_sweeps(sheet, sheet)
        assert not found.changed
        assert "Nothing changed" in summary_text(found)
        assert found.matched["joined"] == 3

    def test_points_that_fail_in_one(self) -> None:
        found = compare_sweeps(sweep_of([2, 4], [4, 6]), sweep_of([2, 4], [4, 6], fails=(0,)))
        assert found.matched["fails_new"] == 1
        assert found.changed
        assert "1 fail only in the new one" in verdict(found)

    def test_an_axis_that_the_other_holds_fixed(self) -> None:
        found = compare_sweeps(sweep_of([2, 4], [4, 6]), sweep_of([2, 4], [6]))
        assert (found.matched["joined"], found.matched["only_old"]) == (2, 2)

    def test_whole_numbers_are_joined_with_the_same_numbers_as_floats(self) -> None:
        old, new = sweep_of([128, 1024, 2048], [4, 6]), sweep_of([128, 1024, 2048], [4, 6])
        new.frame["device.levels"] = new.frame["device.levels"].astype(float)
        found = compare_sweeps(old, new)
        assert (found.matched["joined"], found.matched["only_old"]) == (6, 0)
        assert not found.changed

    def test_an_axis_that_the_other_does_not_have(self) -> None:
        other = sweep_of([2, 4], [6])
        other = replace(other, frame=other.frame.drop(columns="component.adc.bits"))
        with pytest.raises(ResultsError, match=r"new/sweep\.json: has no component\.adc\.bits, which the other sweep varies"):
            compare_sweeps(sweep_of([2, 4], [4, 6]), other)


class TestBadFolders:
    def test_different_kinds(self, isaac: Results, tmp_path: Path) -> None:
        isaac.save(tmp_path / "run")
        write_json(tmp_path / "small", "compression.json", {})
        with pytest.raises(ResultsError, match=r"different kinds.*run is of xbar run of a network; .*small is of xbar compress"):
            compare(tmp_path / "run", tmp_path / "small")

    def test_no_results(self, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match=r"no run\.json, .*there"):
            compare(tmp_path, tmp_path)

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("run.json", lambda text: text[:-9], "not JSON"),
            ("run.json", lambda _: "[1]", r"run\.json: not JSON"),
            ("run.json", lambda _: "{}", r"run\.json: workload is missing"),
            ("run.json", lambda text: text.replace('"area_m2": ', '"area_m2": "wide", "x": '), r"area_m2 = 'wide': must be a number"),
            ("run.json", lambda text: text.replace('"samples": 20', '"samples": []'), r"score\.samples = .*: must be a whole number"),
            ("run.json", lambda text: text.replace('"instances": 3', '"instances": "x"', 1), r"instances = 'x': must be a whole number"),
            ("components.csv", lambda text: text.replace("busy_s", "busy"), r"components\.csv: has no column busy_s"),
            ("components.csv", lambda text: text + text.splitlines()[1] + "\n", r"components\.csv: dac is there twice"),
            ("layers.csv", lambda text: text.replace("energy_J", "energy"), r"layers\.csv: has no column energy_J"),
            ("energy.csv", lambda text: text.replace("0.0", "much", 1), r"energy\.csv: .* must be numbers"),
            ("provenance.csv", lambda text: text.replace("kind", "sort"), r"provenance\.csv: has no column kind"),
        ],
    )  # fmt: skip
    def test_a_file_that_is_corrupt(self, isaac: Results, tmp_path: Path, file: str, change: Any, said: str) -> None:
        for name in ("good", "bad"):
            isaac.save(tmp_path / name)
        path = tmp_path / "bad" / file
        path.write_text(change(path.read_text("utf-8")), "utf-8")
        with pytest.raises(ResultsError, match="is not as it was saved"):
            compare(tmp_path / "good", tmp_path / "bad")
        (tmp_path / "bad" / "checksums.json").unlink()  # as of an earlier version
        for pair in (("good", "bad"), ("bad", "good")):
            with pytest.raises(ResultsError, match=said):
                compare(*(tmp_path / name for name in pair))

    @pytest.mark.parametrize("text", ["", "[]", "nul", '{"a": NaN', "[" * 100_000])
    def test_json_that_is_none(self, text: str, tmp_path: Path) -> None:
        folder = write_json(tmp_path / "a", "fairea.json", {})
        (folder / "fairea.json").write_text(text)
        with pytest.raises(ResultsError, match=r"fairea\.json"):
            compare(folder, folder)


def test_units_of_a_metric_have_no_prefix() -> None:
    assert shown(0.5719, "units") == "0.5719\u00a0units"
    assert shown(0.02, "bit") == "0.02\u00a0bit"
    assert shown(5e-9, "J") == "5.000\u00a0nJ"

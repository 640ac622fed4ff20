"""The report on a compression: drawn from saved tables alone, to the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.reports.drawing import check_page, visible
from xbar.reports.compression import definitions, draw_compression, summary
from xbar.reports.compression_methods import ahead, ahead_text, methods, reached
from xbar.reports.compression_sheet import CompressionSheet, lost, saved, summary_text, verdict
from xbar.reports.compression_training import training
from xbar.reports.metric import ShownMetric
from xbar.reports.results import ResultsError

STAGES = ("uncompressed", "pruned", "purified", "quantised", "control", "final")


def taken(share: float) -> dict[str, float]:
    return {"arrays": round(240 * share), "area_m2": 1e-6 * share, "energy_J": 9e-6 * share, "power_W": 9e-3 * share,
            "peak_power_W": 0.8 * share, "latency_s": 1e-3}  # fmt: skip


@pytest.fixture
def sheet() -> CompressionSheet:
    meta: dict[str, Any] = {
        "version": "0", "workload": "lenet5-caffe", "title": "LeNet-5", "chip": "isaac", "chip_title": "ISAAC", "array": [128, 128],
        "cell_bits": 2, "input_bits_before": 16, "input_bits_after": 8,
        "target": {"area": 0.1}, "rate": 1000.0, "sigma": 0.1, "sigma_is_own": False,
        "programming_model": "proportional", "bits_before": 16, "bits_after": 8, "weights_before": 430500, "weights_after": 10000,
        "compression": 43.05, "float_before": 0.994, "float_after": 0.993, "test_images": 10000, "chip_images": 1000, "instances": 10,
        "validation_images": 5000, "frontier_images": 15000, "seconds": 600.0, "search_images": 10000,
        "left": {"area": 0.05},
        "footprints": {"before": taken(1.0), "pruned": taken(0.1), "fewer_bits": taken(0.5), "after": taken(0.05)},
        "plan": {"seed": 0, "filters": 4, "inputs": 3, "pruned": 12, "purified": 6, "levels": 3, "quantised": 5, "final": 8,
                 "frontier": [1, 3], "rounds": 6, "search_images": 10000},
    }  # fmt: skip
    row = {"bits": 16, "weights": 430500, "arrays": 246, "energy_J": 9e-6, "float": 0.994, "ideal": 0.993, "varied_mean": 0.9,
           "varied_least": 0.85, "varied_most": 0.92, "varied_std": 0.02}  # fmt: skip
    stages = pd.DataFrame([row] * 6, index=pd.Index(STAGES, name="stage"))
    layer = {
        "outputs_before": 50, "outputs_after": 12, "inputs_before": 500, "inputs_after": 120,
        "weights_before": 25000, "weights_after": 1440,
        "bits_before": 16, "bits_after": 8, "arrays_before": 16, "arrays_pruned": 1, "arrays_after": 1, "energy_before_J": 4e-6,
        "energy_pruned_J": 1e-6, "energy_after_J": 5e-7,
    }  # fmt: skip
    layers = pd.DataFrame([layer] * 30, index=pd.Index([f"layer{i}.with.a.long.name.of.its.own" for i in range(30)], name="layer"))
    steps = pd.DataFrame({"round": 1, "layer": ["conv1"] * 60, "filters": 12, "inputs": 40, "damage": 0.1, "area": 0.3})
    frontier = pd.DataFrame([
        {"method": method, "budget": budget, "reached": 1.0, "float": 0.99, "weights": 1000, "arrays": 9, "energy_J": budget * 1e-7,
         "area_m2": budget * 1e-8}
        for method in ("cost-aware", "uniform", "magnitude") for budget in (1.0, 2.0)
    ])  # fmt: skip
    frontier.loc[len(frontier)] = {"method": "uniform", "budget": 0.1, "reached": 0.0, "why": "out of reach"}
    meta |= {"stage_epochs": dict(zip(STAGES, (0, 19, 6, 8, 8, 8), strict=True)),
             "processor_min": dict(zip(STAGES, (0.0, 4.0, 1.0, 1.5, 1.5, 3.0), strict=True))}  # fmt: skip
    sensitivity = pd.DataFrame([{"layer": name, "side": side, "share": share, "damage": 1e-4 * share * (1 + number)}
                                for number, name in enumerate(layers.index) for side in ("filters", "inputs") for share in (0.1, 0.5, 0.9)])
    admm = pd.DataFrame([{"stage": stage, "epoch": 0, "update": update, "layer": "conv1", "set": "Filter", "rho": 0.1,
                          "primal_residual": 0.5**update, "dual_residual": 0.1 * 0.5**update}
                         for stage in ("filters", "levels") for update in range(9)])  # fmt: skip
    return CompressionSheet(meta, stages, layers, steps, sensitivity, frontier, admm)


def test_saved_and_loaded_draws_the_same_bytes(sheet: CompressionSheet, tmp_path: Path) -> None:
    sheet.save(tmp_path)
    one = {path.name: path.read_bytes() for path in draw_compression(sheet, tmp_path / "one")}
    two = {path.name: path.read_bytes() for path in draw_compression(CompressionSheet.load(tmp_path), tmp_path / "two")}
    assert one == two
    pages = {f"compression{name}.png" for name in ("", "_layers_2", "_methods", "_training")}
    assert pages | {"compression.pdf", "summary.txt"} <= set(one)


def test_says_what_was_saved_and_by_what(sheet: CompressionSheet) -> None:
    assert lost(sheet) == pytest.approx(0.001)
    assert saved(sheet, "power_W") == pytest.approx(0.95)
    assert saved(sheet, "power_W", "pruned") == pytest.approx(0.9)
    text = verdict(sheet).replace("\u00a0", " ")
    assert "43.0 times fewer weights" in text or "43.1 times fewer weights" in text
    assert "95.0 % less power" in text
    assert "Pruning alone, at the 16-bit weights and 16-bit inputs of before: 90.0 % less power" in text
    assert "+ mismatch retraining" in summary_text(sheet)


@pytest.mark.usefixtures("sketched")
def test_without_the_picture_of_methods(sheet: CompressionSheet, tmp_path: Path) -> None:
    nothing = pd.DataFrame()
    meta = {key: value for key, value in sheet.meta.items() if key not in ("stage_epochs", "processor_min")}
    bare = replace(sheet, meta=meta, sensitivity=nothing, frontier=nothing, admm=nothing)
    bare.save(tmp_path)
    names = {path.name for path in draw_compression(CompressionSheet.load(tmp_path), tmp_path)}
    assert "compression_methods.png" not in names
    assert not (tmp_path / "frontier.csv").exists()


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no compression can be read there"):
        CompressionSheet.load(tmp_path)


def test_ahead_compares_at_equal_accuracy() -> None:
    rows = [("cost-aware", 0.90, 1.0), ("cost-aware", 0.94, 4.0), ("cost-aware", 0.89, 2.0), ("uniform", 0.92, 4.0),
            ("uniform", 0.99, 9.0), ("magnitude", 0.80, 1.0)]  # fmt: skip
    frontier = pd.DataFrame([{"method": m, "budget": e, "float": a, "energy_J": e, "area_m2": 2 * e, "reached": 1.0} for m, a, e in rows])
    found = ahead(frontier, "energy_J", "uniform")
    assert found["score"].tolist() == [0.92]  # 0.99 is beyond what ours reaches
    assert found["ours"].iloc[0] == pytest.approx(2.0)  # half way from 1 to 4 in log cost; the point at 0.89 is beaten
    assert found["share"].iloc[0] == pytest.approx(0.5)
    assert "magnitude, uniform ratios: no accuracy in common" in ahead_text(frontier)
    assert "energy 50" in ahead_text(frontier)
    bits = ShownMetric("bits_per_character", "Bits per character", "bits", "low")
    frontier["float"] = 3 - frontier["float"]  # the same order, less is better
    low = ahead(frontier, "energy_J", "uniform", better="low")
    assert low["score"].tolist() == pytest.approx([2.08])
    assert low["ours"].tolist() == pytest.approx(found["ours"].tolist())
    assert "energy 50.0\u00a0% at 2.080\u00a0bits" in ahead_text(frontier, bits).replace("50\u00a0%", "50.0\u00a0%")
    assert "no bits per character in common" in ahead_text(frontier, bits)


def test_names_what_the_uncompressed_network_reaches_when_trained_as_long(sheet: CompressionSheet) -> None:
    meta = sheet.meta | {"float_longer": 0.9945, "epochs": 41}
    longer = replace(sheet, meta=meta)
    assert lost(longer) == pytest.approx(0.0015)
    text = verdict(longer).replace("\u00a0", " ")
    assert "at 0.15 points lost (99.45 % to 99.30 %" in text
    assert "the better of 99.40 % as it came in and 99.45 % trained on for as many epochs, 41 epochs" in text
    minutes = replace(sheet, meta=meta | {"float_longer": 0.9900, "longer_epochs": 7, "plan": meta["plan"] | {"longer_by": "minutes"}})
    assert lost(minutes) == pytest.approx(0.0010)
    assert "99.00 % trained on for as many minutes of the processor, 7 epochs" in verdict(minutes).replace("\u00a0", " ")


@pytest.mark.usefixtures("sketched")
def test_a_network_too_large_for_chips_has_a_dash(sheet: CompressionSheet, tmp_path: Path) -> None:
    stages = sheet.stages.astype(float).copy()
    stages.loc["uncompressed", ["ideal", "varied_mean", "varied_least", "varied_most", "varied_std"]] = float("nan")
    third = sum([0.1, 0.1, 0.1]) / 3  # above 0.1 by its last bit
    stages.loc["final", ["varied_least", "varied_mean", "varied_most"]] = 0.1, third, 0.1
    large = replace(sheet, stages=stages)
    line = next(line for line in summary_text(large).splitlines() if line.startswith("uncompressed"))
    assert line.split()[1:5] == ["99.40", "%", "–", "–"]
    large.save(tmp_path)
    draw_compression(CompressionSheet.load(tmp_path), tmp_path)


def test_first_page_has_the_weights_and_clear_labels(sheet: CompressionSheet) -> None:
    for change in (0.1, 0.055):  # shares that are near each other: their labels were drawn over each other
        sheet.meta["footprints"] |= {"pruned": taken(change), "fewer_bits": taken(1.0), "after": taken(0.05)}
        texts = visible(summary(sheet))
        check_page(texts)
        words = [text.get_text() for text, _ in texts]
        assert words.count("430,500") > 6  # of each stage, before and with fewer bits alone
        assert words.count("10,000") == 2
        assert "97.68\u00a0%" in words
        assert "2.3" in words


@pytest.mark.usefixtures("undrawn")
def test_words_are_of_what_was_done(sheet: CompressionSheet) -> None:
    """Definitions and the page of training, of uniform ratios, of older results, and of a score of which less is better."""

    def words(draw: Callable[[CompressionSheet], Figure], plan: dict[str, Any], **changes: Any) -> str:
        changed = replace(sheet, meta=sheet.meta | {"plan": sheet.meta["plan"] | plan}, **changes)
        return " ".join(" ".join(text.get_text() for text, _ in visible(draw(changed))).split())

    asked = words(definitions, {"bits": "auto"})
    assert "how much to purify is chosen on" in asked
    assert "filters or inputs or bits that" in asked
    uniform = words(definitions, {"allocation": "uniform", "purify": False})
    assert "the same share of filters in every layer" in uniform
    assert "Ratios are chosen on those to train on" not in uniform
    assert "validation scores are of 5,000 training images" in uniform
    nothing, unfelt, same = pd.DataFrame(), sheet.sensitivity.assign(damage=0.0), sheet.sensitivity.assign(damage=0.5)
    assert "older results have none" in words(training, {}, sensitivity=nothing)
    assert "ratios are the same share everywhere" in words(training, {"allocation": "uniform"}, sensitivity=nothing)
    assert "does not feel any" in words(training, {}, sensitivity=unfelt)
    assert "Without filters" in words(training, {}, sensitivity=same)
    sheet.meta["metric"] = {"name": "bits_per_character", "title": "Bits per character", "unit": "bits", "better": "low"}
    sheet.stages.loc["pruned", "float"] = 0.794
    assert "-0.200 bits" in words(training, {}, sensitivity=nothing)


def test_points_of_several_seeds_are_one_with_their_spread(sheet: CompressionSheet, tmp_path: Path) -> None:
    other = sheet.frontier.assign(seed=1, float=sheet.frontier["float"] - 0.02)
    both = pd.concat([sheet.frontier.assign(seed=0), other], ignore_index=True)
    found = reached(both)
    assert len(found) == 6
    assert found["float"].tolist() == pytest.approx([0.98] * 6)
    assert found["spread"].tolist() == pytest.approx([0.01 * 2**0.5] * 6)  # of two values, with the freedom of one
    assert (found["seeds"] == 2).all()
    assert found["energy_J"].tolist() == sheet.frontier["energy_J"].tolist()[:6]
    one = reached(sheet.frontier)
    assert (one["spread"] == 0).all()
    figure = methods(replace(sheet, frontier=both))
    words = " ".join(text.get_text() for text in figure.texts)
    assert "means over 2 seeds, bars their standard deviation" in words
    assert "98.00 % ± 1.41" in words.replace("\u00a0", " ")
    assert words.count("out of reach") == 1
    plt.close(figure)

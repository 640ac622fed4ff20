"""Runs of a network on several chips: what is told of all of them together, and what of one chip alone is left out."""

import json
from pathlib import Path

import pytest
from matplotlib import pyplot

from xbar.hw import Chip, ChipsPlacement, Placement, load_chip, place, trace
from xbar.reports.render import FIGURES, pages_of
from xbar.reports.results import Results
from xbar.reports.run_words import headlines, summary_text, verdict
from xbar.workloads.cli import main
from xbar.workloads.data import load_digits
from xbar.workloads.study.on_chips import ONE_CHIP, placed, served, told
from xbar.workloads.study.run import Study, run
from xbar.workloads.workload import Workload, untrained

LITTLE = Study(instances=1, sigmas=(0.0,), adc_bits=(8,), images=10, requests=6, parts=("quality",), chips=2)


@pytest.fixture(scope="module")
def chip() -> Chip:
    """Two cores of two crossbars: the digits network fits where its layers share cores."""
    return load_chip("edge", {"structure.tiles": "1", "structure.cores_per_tile": "2", "structure.crossbars_per_core": "2"})


@pytest.fixture(scope="module")
def results(chip: Chip) -> Results:
    return run(Workload("digits", "Digits CNN", untrained("digits")[0], load_digits(), 0.1), chip, LITTLE)


def test_tables_are_of_all_chips(results: Results, chip: Chip) -> None:
    s, of = results.meta["summary"], results.meta["chips"]
    assert (of["count"], of["pieces"]) == (2, {})
    assert s["area_m2"] == pytest.approx(2 * chip.area) == pytest.approx(results.components["area_m2"].sum())
    assert s["crossbars"] == 2 * chip.crossbars
    assert results.components["energy_J"].sum() == pytest.approx(s["energy_J"]) == pytest.approx(results.energy.to_numpy().sum())
    assert results.chips["energy_J"].sum() == pytest.approx(s["energy_J"])
    assert results.power["power_W"].mean() * s["span_s"] == pytest.approx(s["energy_J"])
    assert s["on_chip_peak_power_W"] >= results.power["on_chip_power_W"].max() > s["leakage_power_W"] == pytest.approx(2 * chip.leakage)
    assert results.layers["chip"].to_dict() == {"conv1": 0, "conv2": 1, "fc": 1}
    assert set(results.timeline["layer"]) == {"(input)", "conv1", "(from chip 0)", "(to chip 1)", "conv2", "fc", "(output)"}
    sent = 8 * 4 * 4 * chip.inputs.bits  # of the first convolution, pooled
    assert of["crossing_bits_per_request"] == sent == results.chips["sent_bits"].sum() / 6
    assert of["crossing_energy_per_request_J"] == pytest.approx(2 * sent * 50.78125e-12)


def test_words_say_how_many_chips(results: Results) -> None:
    text = summary_text(results)
    assert text.startswith("Digits CNN on Edge, 2 chips\n")
    assert "Chips                        2; between them 1.02" in text
    assert f"Left out                     {ONE_CHIP}\n" in text
    assert "Area of 2 chips" in [label for label, _, _ in headlines(results)]
    assert verdict(results).startswith("On 2 of these chips the network ")
    assert "of it between chips" in verdict(results)


def test_every_page_that_is_left_is_drawn(results: Results) -> None:
    pages = pages_of(results)
    assert {"summary", "energy_and_area", "timeline", "power_over_time", "accuracy"} <= {*pages}
    assert not {"floorplan", "use", "mapping", "roofline", "efficiency", "baselines"} & {*pages}
    for name in pages:
        assert FIGURES[name](results).axes
    pyplot.close("all")


def test_saved_and_read_again(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path)
    again = Results.load(tmp_path)
    assert again.chips["sent_bits"].tolist() == results.chips["sent_bits"].tolist()
    assert again.heading == results.heading
    again.check_drawable()


def test_one_chip_where_one_suffices_is_as_placed_on_it(chip: Chip) -> None:
    network = trace(*untrained("digits"))
    found = placed(network, chip, "auto")
    assert isinstance(found, Placement)
    assert (found.copies, found.sharing) == (place(network, chip).copies, "cores")
    assert told(served(found, 1, None)) == {}
    assert isinstance(placed(network, chip, 2), ChipsPlacement)


def test_as_few_as_hold_it(tmp_path: Path, undrawn: None, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for key in ("tiles", "crossbars_per_core") for part in ("--set", f"structure.{key}=1")]
    sizes = ["--set", "structure.cores_per_tile=2", "--instances", "1", "--images", "10", "--requests", "3", "--study", "quick"]
    assert main(["run", "digits", "--chip", "edge", *settings, *sizes, "--chips", "auto", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "run.json").read_text("utf-8"))["chips"]["count"] == 2
    assert "Area of 2 chips" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["digits", "--chips", "0"], ["digits", "--chips", "several"], ["digits", "--chips", "1.5"]])
def test_wrong_numbers_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *words, "--out", "nowhere"])
    assert stopped.value.code == 2
    assert "is neither a whole number of at least 1 nor auto" in capsys.readouterr().err


def test_what_is_of_no_use_or_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "recommender", "--chips", "2", "--out", str(tmp_path / "a")]) == 1
    assert "--chips is of no use to recommender" in capsys.readouterr().err
    assert main(["run", "digits", "--chip", "edge", "--chips", "9", "--out", str(tmp_path / "b")]) == 1
    assert "the network can be cut into 3 parts at most, got 9 chips" in capsys.readouterr().err

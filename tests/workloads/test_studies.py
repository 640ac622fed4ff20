"""What costs accuracy, yield, drift, quality of layers: rows against cases whose answer is known."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from xbar.hw import Chip, load_chip
from xbar.hw.analog import convert, program
from xbar.models import DigitsCNN
from xbar.workloads.data import Dataset, load_digits
from xbar.workloads.study import effects as chips
from xbar.workloads.study import studies
from xbar.workloads.study.effects import NOTHING, Assumed, effects
from xbar.workloads.study.evaluate import Condition, OnChip, mean_band, wilson_band
from xbar.workloads.study.run import Bench, Points, Study, run
from xbar.workloads.task import ACCURACY
from xbar.workloads.training import Recipe, initialise, score, train_network
from xbar.workloads.workload import Workload

IDEAL = {"device.programming_sigma": "0", "device.read_noise_sigma": "0", "component.adc.range": "level", "component.adc.bits": "12"}


@pytest.fixture(scope="module")
def workload() -> Workload:
    """A network trained for a moment on half of the digits' images, judged on 100."""
    digits = load_digits()
    data = Dataset("digits", digits.train_inputs, digits.train_targets, digits.test_inputs[:100], digits.test_targets[:100])
    model = initialise(DigitsCNN, 0)
    train_network(model, data, Recipe(epochs=6, batch=64, learning_rate=2e-2), 0)
    return Workload("digits", "Digits CNN", model, data, score(model, data.test_inputs, data.test_targets))


@pytest.fixture(scope="module")
def fine() -> Chip:
    """A chip that rounds so finely that nothing is lost, with cells, wires and ADCs without error."""
    chip = load_chip("edge", IDEAL | {"weights.bits": "12", "device.levels": "2048"})
    return chip.with_changes(component={"adc": {"bits": 20}})  # which no law prices: accuracies alone are asked


Judge = Callable[..., list[float]]


@pytest.fixture(scope="module")
def judge(workload: Workload) -> Judge:
    study = Study(instances=3)
    bench = Bench(workload, study, workload.data.test_inputs, workload.data.test_targets, Points(None, ""), lambda _: None)
    return bench.judge


class TestSensitivity:
    def test_an_ideal_chip_loses_nothing_in_any_row(self, workload: Workload, fine: Chip, judge: Judge) -> None:
        table = studies.sensitivity(fine, workload.float_score, NOTHING, 1e5, judge, ACCURACY)
        assert len(table) > 8
        assert not table["loss"].any(), table
        assert set(table["given"]) == {"chip", "ideal"}
        assert (table["instances"] == 1).all()

    def test_only_what_the_chip_has_is_its_own(self, judge: Judge, workload: Workload, fine: Chip) -> None:
        """One non-ideality in the chip: its row loses what the whole chip loses, the others nothing. Both are computed in another
        order, the row without the chip's ADCs: in one instance one image may lie on a tie, which a processor's sums decide."""
        for device, name in (
            ({"programming_sigma": 0.3}, "programming error"), ({"device_to_device_sigma": 0.3}, "device to device"),
            ({"stuck_on_rate": 0.03}, "stuck cells"), ({"read_noise_sigma": 0.5}, "read noise"),
            ({"telegraph_share": 0.9, "telegraph_amplitude": 2.0, "telegraph_dwell_time": 1.0}, "telegraph noise"),
        ):  # fmt: skip
            chip = fine.with_changes(device=device)
            table = studies.sensitivity(chip, workload.float_score, NOTHING, 1e5, judge, ACCURACY).set_index("effect")
            assert table.loc[name, "given"] == "chip"
            one = 1.001 / (table.loc[name, "instances"] * len(workload.data.test_targets))
            assert table.loc[name, "score"] == pytest.approx(table.loc["all of the chip's own", "score"], abs=one)
            assert table.loc[name, "loss"] > 0.02, name
            assert not table.drop(index=[name, "all of the chip's own"])["loss"].any(), table

    def test_circuits_alone(self, judge: Judge, workload: Workload, fine: Chip) -> None:
        wired = fine.with_changes(wires={"wordline": 100.0, "bitline": 100.0})
        coarse = fine.with_changes(component={"adc": {"range": "full_scale", "bits": 4}})
        for chip, name in ((wired, "wire resistance"), (coarse, "ADC range and bits")):
            table = studies.sensitivity(chip, workload.float_score, NOTHING, 1e5, judge, ACCURACY).set_index("effect")
            assert table.loc[name, "loss"] > 0.02
            assert table.loc[name, "score"] == pytest.approx(table.loc["all of the chip's own", "score"], abs=1e-9)
            assert not table.drop(index=[name, "all of the chip's own"])["loss"].any()

    def test_rounding_alone(self, judge: Judge, workload: Workload, edge: Chip) -> None:
        """Weights of 2 bits and inputs of 1 bit lose each alone; with both rows as the chip that has nothing else."""
        chip = edge.with_changes(weights={"bits": 2}, inputs={"bits": 1}, component={"adc": {"range": "ideal"}})
        chip = chip.with_changes(device=chips.ideal_device(chip.device).model_dump())
        table = studies.sensitivity(chip, workload.float_score, NOTHING, 1e5, judge, ACCURACY).set_index("effect")
        assert table.loc["weights in levels", "loss"] > 0.02
        assert table.loc["inputs in levels", "loss"] > 0.02
        assert table.loc["weights and inputs", "score"] == table.loc["all of the chip's own", "score"]

    def test_assumed_values_are_told_and_not_the_chips(self, edge: Chip) -> None:
        rows = {row.name: row for row in effects(edge, Assumed(), 1e5, "later")}
        assert rows["programming error"].given == "chip"
        assert rows["device to device"].given == "assumed"
        assert rows["wire resistance"].value == "1 ohm a segment"
        assert rows["drift"].given == "ideal"
        assert rows["all of the chip's own"].chip == edge
        together = rows["all, assumed ones too"]
        assert together.chip.wires.wordline == 1.0
        device = together.condition.device
        assert device is not None
        assert device.programming_sigma == edge.device.programming_sigma
        assert device.device_to_device_sigma == Assumed().device_to_device_sigma
        assert "all, assumed ones too" not in {row.name for row in effects(edge, NOTHING, 1e5, "later")}

    @pytest.mark.parametrize("device", ["pcm", "hfox", "taox", None])
    @pytest.mark.parametrize("preset", ["isaac", "edge"])
    def test_every_preset_on_every_device_has_rows(self, preset: str, device: str | None) -> None:
        try:
            chip = load_chip(preset, device=device)
        except ValueError as error:
            pytest.skip(str(error))
        rows = effects(chip, Assumed(), 1e5, "later")
        assert len({row.name for row in rows}) == len(rows)
        assert any(row.name == "drift" and row.given == ("chip" if chip.device.drifts else "ideal") for row in rows)
        assert chips.with_write_error(chip.device, chips.own_write_error(chip.device)) == chip.device
        assert chips.own_device_is_exact(chips.with_write_error(chip.device, 0.0))


class TestLayers:
    def test_only_a_layer_whose_cells_err_costs(self, workload: Workload, fine: Chip, judge: Judge) -> None:
        """Each layer alone as the network's only layer with errors: what is lost is what it loses."""
        chip = fine.with_changes(device={"programming_sigma": 0.5})
        names = ["conv1", "conv2", "fc"]
        table = studies.layer_sensitivity(chip, names, Assumed(), judge, ACCURACY)
        assert table["layer"].tolist() == names
        assert (table["loss"] > 0).any()
        assert (table["reference"] == workload.float_score).all()
        for name, row in zip(names, table.itertuples(), strict=True):
            direct = [
                found for part in OnChip(workload.model, chip, workload.calibration_inputs).scores(
                    [0, 1, 2], workload.data.test_inputs, workload.data.test_targets, Condition(layers=(name,)))
                for found in part.values()
            ]  # fmt: skip
            assert row.score == pytest.approx(sum(direct) / 3)
            assert (row.low, row.high) == pytest.approx(mean_band(direct), nan_ok=True)

    def test_a_network_of_one_layer(self, fine: Chip, workload: Workload) -> None:
        """Errors in its only layer are errors in all of it."""
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
        single = Workload("one", "One layer", model, workload.data, 0.1)
        bench = Bench(single, Study(instances=2), workload.data.test_inputs, workload.data.test_targets, Points(None, ""), lambda _: None)
        chip = fine.with_changes(device={"programming_sigma": 0.5})
        table = studies.layer_sensitivity(chip, ["1"], Assumed(), bench.judge, ACCURACY)
        everything = bench.judge(chip, Condition(), "")
        assert table.loc[0, "score"] == pytest.approx(sum(everything) / 2)

    def test_ideal_cells_take_the_assumed_error(self, fine: Chip, judge: Judge) -> None:
        table = studies.layer_sensitivity(fine, ["fc"], Assumed(programming_sigma=0.6), judge, ACCURACY)
        assert "60" in table.loc[0, "cells"]
        assert table.loc[0, "instances"] == 3


class TestQuality:
    def rows(self, workload: Workload, chip: Chip) -> pd.DataFrame:
        on_chip = OnChip(workload.model, chip, workload.calibration_inputs)
        return studies.quality(on_chip, [0, 1], workload.data.test_inputs).set_index("layer")

    def test_exact_products_and_noisy_ones(self, workload: Workload, isaac: Chip) -> None:
        exact = self.rows(workload, isaac)
        assert (exact["snr_dB"] == math.inf).all()
        assert not exact["saturated_share"].any()
        unrounded = isaac.with_changes(component={"adc": {"range": "ideal"}})
        little, much = (
            self.rows(workload, unrounded.with_changes(device={"programming_sigma": sigma}))["snr_dB"] for sigma in (0.01, 0.1)
        )
        assert (little - much).to_list() == pytest.approx([20] * 3, abs=4)  # ten times the error, a hundredth of the ratio

    def test_an_adc_that_is_too_small_saturates(self, workload: Workload, isaac: Chip) -> None:
        cut = self.rows(workload, isaac.with_changes(component={"adc": {"bits": 4, "range": "level_fixed"}}))
        assert cut.loc["conv2", "saturated_share"] > 0
        assert cut.loc["conv2", "snr_dB"] < 40


class TestYield:
    def test_bands_and_threshold(self) -> None:
        values = {0.0: [1.0], 0.1: [0.9, 0.8, 0.95, 0.7]}
        points = pd.DataFrame([
            {"parameter": "stuck", "value": value, "cells": "own", "alike": not value, "instance": n, "score": found}
            for value, group in values.items()
            for n, found in enumerate(group)
        ])  # fmt: skip
        table = studies.yields(points, 0.9, ACCURACY)
        assert table["above"].tolist() == [1, 2]
        assert (table.loc[0, "low"], table.loc[0, "high"]) == (1.0, 1.0)
        assert (table.loc[1, "low"], table.loc[1, "high"]) == pytest.approx(wilson_band(2, 4))
        assert table.loc[1, "mean"] == pytest.approx(0.8375)

    def test_points(self, fine: Chip, judge: Judge) -> None:
        """Without errors every chip is as good as the ideal one; with half of the cells stuck none is."""
        points = studies.yield_points(fine, (0.0,), (0.0, 0.5), (0.0, 1e6), Assumed(programming_sigma=0.01), judge)
        best = judge(fine, Condition(layers=()), "")[0]
        table = studies.yields(points, best - 0.02, ACCURACY).set_index(["parameter", "value"])
        assert table.loc[("programming", 0.0), "share"] == 1
        assert table.loc[("stuck", 0.5), "share"] == 0
        assert table.loc[("wires", 0.0), "share"] == 1
        assert table.loc[("wires", 1e6), "share"] == 0
        assert table["instances"].tolist() == [1, 1, 3, 3, 3]


class TestDrift:
    def test_compensation_brings_back_what_a_common_exponent_takes(self, fine: Chip, judge: Judge) -> None:
        """Every cell falls alike: the results are too small by one factor, which the reference read finds."""
        chip = fine.with_changes(device={"drift_exponent": 0.3, "reference_time": 1.0})
        table = studies.drift(chip, (1.0, 1e8), judge)
        mean = table.groupby(["correction", "time_s"])["score"].mean()
        assert set(table["correction"]) == {"none", "compensated"}  # this chip's range is not calibrated
        assert mean["compensated", 1e8] == pytest.approx(judge(fine, Condition(), "")[0], abs=0.011)
        assert mean["none", 1e8] < mean["compensated", 1e8] - 0.02

    def test_calibrated_ranges_can_be_set_anew(self, edge: Chip, judge: Judge) -> None:
        table = studies.drift(load_chip("edge", device="pcm"), (1.0,), judge)
        assert table.groupby("correction").size().to_dict() == {"none": 3, "compensated": 3, "recalibrated": 3}
        assert studies.drift(edge, (1.0,), judge).empty  # its cells do not drift


class TestPoints:
    def test_a_point_is_measured_once(self, workload: Workload, edge: Chip, monkeypatch: pytest.MonkeyPatch) -> None:
        """The chip as described is in several parts of a study; it is judged in one."""
        seen: list[tuple[Any, ...]] = []
        judge = OnChip.scores

        def counted(on_chip: OnChip, seeds: Any, inputs: Any, targets: Any, condition: Condition, metric: Any) -> Iterator[Any]:
            whole = on_chip.chip.model_copy(update={"device": condition.device or on_chip.chip.device}).model_dump_json()
            seen.extend((whole, condition.layers, condition.seconds, condition.correction, seed) for seed in seeds)
            return judge(on_chip, seeds, inputs, targets, condition, metric)

        monkeypatch.setattr(OnChip, "scores", counted)
        small = Study(instances=2, images=5, requests=2, adc_bits=(8,), sigmas=(0.0422,), stuck_rates=(0.0,), wire_resistances=(0.0,))
        results = run(workload, edge, small)
        assert len(set(seen)) == len(seen)
        assert len(results.yields) == 3


def test_ideal_cells_are_not_off_in_products_either() -> None:
    """A chip's stated error of cells in products is one of its cells: without it where only other layers' cells, or none, have errors."""
    exact_cells = {"device.programming_sigma": "0", "device.read_noise_sigma": "0"}
    chip = load_chip("edge", exact_cells | {"component.crossbar.cell_error.sigma": "0.3"})
    model, images = nn.Sequential(nn.Linear(40, 8)), torch.rand(64, 40)
    converted = convert(model, chip, images, seed=0)
    off = converted(images)
    program(converted, 0, layers=())
    ideal = converted(images)
    exact = convert(model, load_chip("edge", exact_cells), images, seed=0)
    assert torch.equal(ideal, exact(images))
    assert float((off - ideal).detach().std()) > 0.01
    assert chip.differs(chip.device)
    assert not chip.differs(chip.device, with_cells=False)

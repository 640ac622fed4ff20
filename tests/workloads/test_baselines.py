"""The same network on digital accelerators and on this computer, beside the chip."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from xbar.hw import convert, load_chip, trace
from xbar.hw.digital import accelerator_names, estimate, load_accelerator, products_of
from xbar.models import DigitsCNN
from xbar.reports import run_words
from xbar.reports.baseline import summary_line
from xbar.reports.render import pages_of
from xbar.reports.results import CHECKSUMS, MEASURED, Results, ResultsError
from xbar.workloads.data import load_digits
from xbar.workloads.study.baselines import BATCH, SIMULATED, integer_chip
from xbar.workloads.study.computer import LEAST, MOST, measure
from xbar.workloads.study.run import Study, run
from xbar.workloads.training import initialise
from xbar.workloads.workload import Workload

STUDY = Study(instances=1, sigmas=(0.0,), multiples=(0.0,), adc_bits=(8,), images=20, requests=6, parts=())


def judged(study: Study = STUDY) -> Results:
    workload = Workload("digits", "Digits CNN", initialise(DigitsCNN, 0).eval(), load_digits(), 0.1)
    return run(workload, load_chip("edge"), study)


@pytest.fixture(scope="module")
def results() -> Results:
    return judged()


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_an_integer_chip_computes_the_integer_product(bits: int, generator: torch.Generator) -> None:
    """Against rounding and multiplying by hand: weights and inputs symmetric, ranges the largest magnitudes."""
    model = nn.Sequential(nn.Linear(300, 7, bias=False))
    inputs = torch.randn(40, 300, generator=generator)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(7, 300, generator=generator))
        found = convert(model, integer_chip(bits), inputs, seed=0)(inputs)
    top = 2 ** (bits - 1) - 1
    step_w, step_x = model[0].weight.detach().double().abs().max() / top, inputs.double().abs().max() / top
    whole = torch.round(inputs.double() / step_x) @ torch.round(model[0].weight.detach().double() / step_w).T
    assert torch.allclose(found.double(), whole * step_w * step_x, rtol=1e-5, atol=1e-5 * float(found.abs().max()))
    assert (found - model(inputs)).abs().max() > 0


def test_the_table_holds_the_chip_s_numbers_and_the_estimates(results: Results) -> None:
    table, meta = results.baselines.set_index("name"), results.meta
    assert list(table.index) == ["edge", *accelerator_names()]
    own = table.loc["edge"]
    assert own["latency_s"] == meta["single_request"]["latency_s"]
    dynamic = results.energy.drop(index="(static)").drop(columns="link").to_numpy().sum() / STUDY.requests  # as for the accelerators
    leaked = meta["summary"]["leakage_power_W"] / own["throughput_per_s"]
    assert own["energy_per_request_J"] == pytest.approx(dynamic + leaked, rel=1e-9)
    assert (table["batch"] == BATCH).all()
    assert own["operations_per_J"] == pytest.approx(meta["workload"]["operations"] / own["energy_per_request_J"])
    assert 0 < own["energy_alone_J"] < meta["single_request"]["energy_J"]
    assert own["score"] == meta["score"]["chip"]
    network = trace(initialise(DigitsCNN, 0).eval(), load_digits().train_inputs[:200], pack=True)
    for name in accelerator_names():
        accelerator, row = load_accelerator(name), table.loc[name]
        alone, batch = (estimate(products_of(network), accelerator, count) for count in (1, BATCH))
        assert row["latency_s"] == alone.time
        assert row["throughput_per_s"] == pytest.approx(BATCH / batch.time)
        assert row["energy_per_request_J"] == pytest.approx(accelerator.power.busy * batch.time / BATCH)
        assert row["operations_per_J"] == pytest.approx(network.operations / row["energy_per_request_J"])
        assert row["utilisation"] * accelerator.peak_operations_per_second == pytest.approx(network.operations * row["throughput_per_s"])
        assert 0 <= row["score"] <= 1
        assert accelerator.source.popitem()[1].cite in row["source"]


def test_the_table_does_not_move_with_the_requests_that_are_simulated(results: Results) -> None:
    pd.testing.assert_frame_equal(results.baselines, judged(replace(STUDY, requests=SIMULATED)).baselines)
    pd.testing.assert_frame_equal(results.baselines, judged(replace(STUDY, requests=1)).baselines)


def test_what_is_measured_stays_in_a_file_of_its_own(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "one")
    judged().save(tmp_path / "other")
    files = {path.name for path in (tmp_path / "one").iterdir()}
    assert MEASURED in files
    for name in files - {MEASURED, CHECKSUMS, "timeline.parquet"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
    assert Results.load(tmp_path / "one").measured == results.measured
    replace(results, measured={}).save(tmp_path / "one")
    assert not (tmp_path / "one" / MEASURED).exists()
    (tmp_path / "other" / MEASURED).write_text("[1, 2")
    with pytest.raises(ResultsError, match=r"measured\.json: not JSON"):
        Results.load(tmp_path / "other")


def test_an_older_folder_is_drawn_without_the_page(results: Results, tmp_path: Path) -> None:
    old = replace(results, baselines=pd.DataFrame(), measured={})
    assert "baselines" in pages_of(results)
    assert "baselines" not in pages_of(old)
    assert summary_line(old) == ""
    assert "Against digital" in run_words.summary_text(results)
    assert "Against digital" not in run_words.summary_text(old)
    old.save(tmp_path)
    assert pages_of(Results.load(tmp_path)) == pages_of(old)


def test_measuring_repeats_and_says_on_what() -> None:
    model = nn.Linear(4, 2).train()
    seen: list[int] = []
    model.register_forward_hook(lambda _module, given, _result: seen.append(len(given[0])))
    found = measure(model, torch.zeros(5, 4), seconds=0.0)
    assert seen == [1] * (LEAST + 1) + [5] * (LEAST + 1)  # one run each to warm up
    assert (found["repeats_alone"], found["repeats_batch"], found["batch"]) == (LEAST, LEAST, 5)
    assert 0 < found["latency_first_quartile_s"] <= found["latency_s"] <= found["latency_third_quartile_s"]
    assert found["throughput_first_quartile_per_s"] <= found["throughput_per_s"] <= found["throughput_third_quartile_per_s"]
    assert found["threads"] == torch.get_num_threads()
    assert found["processor"]
    assert model.training
    assert MOST > LEAST

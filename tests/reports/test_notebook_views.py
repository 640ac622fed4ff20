"""Results, sweeps and evaluations where they are printed and in a notebook; pages by name."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import xbar.reports
from tests.reports.test_linked import a_sheet
from xbar.hw import load_chip
from xbar.reports import run_words
from xbar.reports.render import FIGURES
from xbar.reports.results import Results
from xbar.workloads.data import load_digits
from xbar.workloads.study.evaluate import Evaluation
from xbar.workloads.study.run import Study, run
from xbar.workloads.study.sweep import SweepResult
from xbar.workloads.workload import Workload, untrained


@pytest.fixture(scope="module")
def results() -> Results:
    """A study of little, of an untrained network."""
    workload = Workload("digits", "Digits CNN", untrained("digits")[0], load_digits(), 0.1)
    little = Study(instances=1, sigmas=(0.0,), adc_bits=(8,), images=10, requests=2, parts=("quality",))
    return run(workload, load_chip("edge"), little)


def pictures(text: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]


def test_results_tell_their_headlines_and_show_their_summary(results: Results) -> None:
    said, shown = repr(results), results._repr_html_()
    assert said.startswith(f"Results of Digits CNN on {results.meta['chip']['title']}\n  ")
    for label, value, _ in run_words.headlines(results)[:6]:
        assert f"{label} {value}".replace("\u00a0", " ") in said
    for _, value, _ in run_words.headlines(results):
        assert f"<td>{value}</td>" in shown
    assert [picture[:4] for picture in pictures(shown)] == [b"\x89PNG"]


def test_results_that_cannot_be_drawn_say_so(results: Results) -> None:
    broken = replace(results, meta={})
    assert repr(broken).startswith("Results that no report can be drawn of: run.json: summary has no ")
    assert "no report can be drawn" in broken._repr_html_()


def test_a_title_cannot_become_markup(results: Results) -> None:
    workload = results.meta["workload"] | {"title": "<script>"}
    shown = replace(results, meta=results.meta | {"workload": workload})._repr_html_()
    assert "<script" not in shown
    assert "Results of &lt;script&gt; on" in shown


def test_a_sweep_tells_its_counts_and_shows_its_front(tmp_path: Path) -> None:
    sheet = a_sheet()
    assert repr(sheet).startswith("A sweep: 12 points over 2 axes, 1 failed.")
    assert "Highest accuracy 90.00 %" in repr(sheet)
    assert len(pictures(sheet._repr_html_())) == 1
    result = SweepResult(tmp_path / "results.parquet", 12, 3, 1)
    assert repr(result) == f"Sweep of 12 points, 3 of them known before, 1 failed\n  {tmp_path / 'results.parquet'}"
    assert result._repr_html_().startswith("<p>Sweep of 12 points")  # nothing is there to be drawn


def test_an_evaluation_tells_its_mean_and_band() -> None:
    found = Evaluation(pd.DataFrame({"instance": range(3), "seed": [5, 6, 7], "score": [0.9, 0.95, 0.97]}), 100)
    half = found.band[1] - found.mean
    assert repr(found).startswith("Evaluation of 3 chip instances on 100 samples\n  mean accuracy ")
    assert f"mean accuracy {found.mean:.2%} ± {half:.2%} (95 % band)  ·  worst 90.00%  ·  median 95.00%" in repr(found)
    assert "<td>97.00%</td>" in found._repr_html_()
    alone = Evaluation(found.table.head(1), 100)
    assert "mean accuracy 90.00%  ·  " in repr(alone)


def test_every_page_of_a_run_is_had_by_its_name() -> None:
    named = {name: getattr(xbar.reports, name) for name in xbar.reports.PAGES}
    assert {*FIGURES.values()} <= {*named.values()}
    assert xbar.reports.Results is Results
    assert {*xbar.reports.LOADED, *xbar.reports.PAGES} <= {*dir(xbar.reports)}
    for name in xbar.reports.LOADED:
        assert getattr(xbar.reports, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'pie'"):
        _ = xbar.reports.pie

"""Results in which cells were written while requests were served: their energy, lanes and legend are drawn."""

from functools import partial
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import xbar.workloads.study.run as runs
from xbar.hw import Update, load_chip, simulate
from xbar.reports import energy_page, time_pages
from xbar.reports.render import render, trace_events
from xbar.reports.results import Results
from xbar.reports.style import STAGES, human
from xbar.workloads.data import load_digits
from xbar.workloads.study import on_chips
from xbar.workloads.training import initialise
from xbar.workloads.workload import Workload


@pytest.fixture(scope="module")
def results() -> Results:
    from xbar.models import DigitsCNN

    chip = load_chip("edge").with_changes(device={"write_energy": 2e-12, "write_time": 1e-9})
    workload = Workload("digits", "Digits CNN", initialise(DigitsCNN, 0).eval(), load_digits(), 0.1)
    study = runs.Study(instances=1, sigmas=(0.0,), multiples=(0.0,), adc_bits=(8,), images=5, requests=3, parts=())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_chips, "simulate", partial(simulate, updates=(Update("conv2", 1e-6),)))
        return runs.run(workload, chip, study)


def texts(figure: Figure) -> set[str]:
    FigureCanvasAgg(figure).draw()  # which makes the labels of the axes
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_writes_are_a_bar_of_their_own(results: Results) -> None:
    joule = results.components.loc["write", "dynamic_energy_J"]
    assert joule == results.energy.loc["conv2", "write"] > 0
    drawn = texts(energy_page.energy_and_area(results))
    assert {"writes", "Writes"} <= drawn  # the bar, the legend of the layers' bars
    assert any(text.startswith(human(joule / 3, "J")) for text in drawn)


def test_a_lane_shows_when_cells_are_written(results: Results) -> None:
    figure = time_pages.timeline(results)
    assert "write" in texts(figure)
    written = [
        collection for axes in figure.axes for collection in axes.collections
        if isinstance(collection, PolyCollection) and (collection.get_facecolor() == to_rgba(STAGES["write"])).all()
        and len(collection.get_paths())
    ]  # fmt: skip
    rows = results.timeline[results.timeline["stage"] == "write"]  # one a copy of the layer
    (lane,) = written
    boxes = [path.get_extents() for path in lane.get_paths()]
    assert len(boxes) == len(rows) > 0
    for box, start, end in zip(boxes, rows["start_s"], rows["end_s"], strict=True):
        assert box.x0 * 1e-6 == pytest.approx(start, rel=1e-9)  # the axis is in µs
        assert box.x1 * 1e-6 >= end * (1 - 1e-9)


@pytest.mark.usefixtures("sketched")
def test_the_whole_report_is_drawn(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path)
    assert tmp_path / "report.pdf" in render(Results.load(tmp_path), tmp_path)
    assert any(event.get("cat") == "write" for event in trace_events(results)["traceEvents"])

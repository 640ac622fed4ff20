"""Reports: every page renders, nothing overlaps or runs off, numbers are the results', files are valid and stable."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from torch import nn

from xbar.hw import load_chip, preset_names
from xbar.reports import figures, studies
from xbar.reports.render import PAGES, pages_of, render, trace_events
from xbar.reports.results import Results, ResultsError
from xbar.reports.style import human, percent, span
from xbar.workloads.data import load_digits
from xbar.workloads.study.run import Study, run
from xbar.workloads.training import initialise
from xbar.workloads.workload import Workload

QUICK = Study(
    instances=3, sigmas=(0.0, 0.05, 0.2), multiples=(0.0, 1.0, 3.0), adc_bits=(4, 8), images=20, requests=5, stuck_rates=(0.0, 0.01),
    wire_resistances=(0.0, 1.0), times=(1.0, 3600.0, 315576000.0),
)  # fmt: skip
CHIPS = {name: (name, None) for name in preset_names()} | {"edge on PCM": ("edge", "pcm")}


@pytest.fixture(scope="module", params=list(CHIPS))
def results(request: pytest.FixtureRequest) -> Results:
    """A quick study of an untrained network: real shapes of every table, meaningless accuracies."""
    from xbar.models import DigitsCNN

    workload = Workload("digits", "Digits CNN", initialise(DigitsCNN, 0).eval(), load_digits(), 0.1)
    name, device = CHIPS[request.param]
    return run(workload, load_chip(name, device=device), QUICK)


@pytest.fixture(scope="module")
def deep() -> Results:
    """Twenty layers whose names are numbers, on a chip with much changed, judged at one sigma on one instance."""
    layers: list[nn.Module] = []
    for number in range(19):
        layers += [nn.Conv2d(4 if number else 1, 4, 3, padding=1), nn.ReLU()]
    build = lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))  # noqa: E731
    workload = Workload("deep", "Twenty layers", initialise(build, 0).eval(), load_digits(), 0.1)
    study = Study(instances=1, sigmas=(0.05,), adc_bits=(8,), images=4, requests=4, parts=("layers", "quality"))
    return run(workload, load_chip("isaac", CHANGES), study)


CHANGES = {
    "component.adc.units": "8", "device.programming_sigma": "0.05", "device.read_noise_sigma": "0.01",
    "timing.router_cycles": "2", "component.link.static_power": "1", "component.adc.bits": "7",
}  # fmt: skip


def single_request(results: Results) -> Results:
    """The same with one request: no rate between results."""
    summary = results.meta["summary"] | {"requests": 1.0, "steady_throughput_per_s": None}
    return replace(results, meta=results.meta | {"summary": summary}, requests=results.requests.iloc[:1])


def without_energy(results: Results) -> Results:
    """The same on a chip that nothing static draws power on, judged at one sigma."""
    components = results.components.assign(static_energy_J=0.0)
    sigma = sorted(results.variation["sigma"].unique())[1]
    return replace(results, components=components, variation=results.variation[results.variation["sigma"] == sigma])


def unstudied(results: Results) -> Results:
    """The same without further parts, but for the cost of layers."""
    tables = ("sensitivity", "yields", "yield_points", "drift", "layer_quality")
    return replace(results, **{name: pd.DataFrame() for name in tables})


def without_bands(results: Results) -> Results:
    """The same as a folder of an earlier version has it."""
    return replace(results, bands=pd.DataFrame())


CASES = [lambda r: r, single_request, without_energy]


def pages(results: Results) -> list[Figure]:
    return [*(PAGES[name](results) for name in pages_of(results)), *figures.tables(results), *figures.assumptions(results)]


def visible_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels."""
    return [(text.get_text(), box) for text, box in visible(figure)]


def visible(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with its box in pixels; tick labels beyond an axis' view are not drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if not low - slack <= tick.get_loc() <= high + slack:
                    beyond |= {tick.label1, tick.label2}
    texts = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t.get_text().strip()]
    return [(t, t.get_window_extent(canvas.get_renderer())) for t in texts if t not in beyond]


def overlap(one: Text, a: Bbox, other: Text, b: Bbox) -> bool:
    """Whether two texts are drawn over each other; slanted ones by the distance between their lines."""
    if one.get_rotation() % 90 and one.get_rotation() == other.get_rotation():
        apart = abs(a.x1 - b.x1) * math.sin(math.radians(one.get_rotation()))
        return apart < one.get_fontsize() * one.get_figure().dpi / 72  # type: ignore[union-attr]
    shared = Bbox.intersection(a, b)
    return shared is not None and shared.width > 1.5 and shared.height > 2.5


@pytest.mark.parametrize("change", CASES)
def test_no_text_overlaps_another_or_leaves_the_page(results: Results, change) -> None:  # type: ignore[no-untyped-def]
    check_texts(change(results))


def test_texts_of_a_deep_network_on_a_changed_chip(deep: Results, tmp_path: Path) -> None:
    check_texts(deep)
    deep.save(tmp_path)
    check_texts(Results.load(tmp_path))


def test_texts_of_more_layers_than_a_page_holds(results: Results) -> None:
    """Sixty copies of a layer: the table goes on on a second page."""
    row = results.layers.iloc[0]
    many = pd.DataFrame([row] * 60, index=pd.Index([f"stage{n}.conv" for n in range(60)], name="layer"))
    energy = pd.concat(
        [many.assign(**dict.fromkeys(results.energy, 1e-9))[list(results.energy)], results.energy.tail(1)]
    )
    runs = [results.timeline.head(1).assign(layer=name, start_s=1e-7 * n) for n, name in enumerate(many.index)]
    long = replace(results, layers=many, energy=energy, timeline=pd.concat(runs).assign(end_s=1e-5))
    check_texts(long, [figures.energy_and_area(long), figures.timeline(long), *figures.tables(long)])
    drawn = [text for figure in figures.tables(long) for text, _ in visible_texts(figure)]
    assert all(name in drawn for name in many.index)


def test_texts_of_layers_with_one_table(results: Results) -> None:
    check_texts(results, [studies.layers(unstudied(results)), studies.layers(replace(results, layer_sensitivity=pd.DataFrame()))])


def check_texts(results: Results, drawn: list[Figure] | None = None) -> None:
    """Every text of every page is on the page and clear of the others; slanted labels by their lines."""
    for figure in drawn or pages(results):
        texts = visible(figure)
        assert len(texts) > 2
        width, height = figure.bbox.width, figure.bbox.height
        for text, box in texts:
            inside = box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
            assert inside, f"off the page: {text.get_text()!r}"
        for (one, a), (other, b) in meeting(texts):
            assert not overlap(one, a, other, b), f"{one.get_text()!r} overlaps {other.get_text()!r}"


def meeting(texts: list[tuple[Text, Bbox]]) -> Iterator[tuple[tuple[Text, Bbox], tuple[Text, Bbox]]]:
    """The pairs that can overlap: their boxes meet, or both are slanted. A table has hundreds of texts, and `overlap` is slow."""
    low, high = (np.array([corner(box) for _, box in texts]) for corner in (attrgetter("min"), attrgetter("max")))
    slanted = np.array([text.get_rotation() % 90 != 0 for text, _ in texts])
    boxes = (np.maximum(low[:, None], low) <= np.minimum(high[:, None], high)).all(2)
    for one, other in np.argwhere(np.triu(boxes | (slanted[:, None] & slanted), 1)):
        yield texts[one], texts[other]


def test_bands_are_drawn_and_told(results: Results) -> None:
    """Tiles and the totals' panel say them; whiskers of the largest component end where its band does."""
    totals = results.bands[results.bands["of"] == "total"].set_index("quantity")
    details = {label: detail for label, _, detail in figures.headlines(results)}
    page = figures.energy_and_area(results)
    drawn = [text for text, _ in visible_texts(page)]
    for label, quantity, unit in (("Energy per request", "energy_per_request_J", "J"), ("Chip area", "area_m2", "m²")):
        row = totals.loc[quantity]
        assert details[label].startswith(span(row["low"], row["high"], unit))
        assert span(row["low"], row["high"], unit, (row["inner_low"], row["inner_high"])) in drawn
    assert "no confidence interval" in " ".join(drawn).replace("\n", " ")
    largest = results.components["area_m2"].idxmax()
    row = results.bands[(results.bands["quantity"] == "area_m2") & (results.bands["name"] == largest)].iloc[0]
    area = next(axes for axes in page.axes if axes.get_title("left") == "Area, by component")
    ends = next(segment[:, 0] for line in area.collections for segment in line.get_segments())
    assert sorted(ends) == pytest.approx([row["low"] * 1e6, row["high"] * 1e6])
    old = without_bands(results)
    check_texts(old, [figures.energy_and_area(old), figures.summary(old)])
    assert not any("confidence" in text for text, _ in visible_texts(figures.energy_and_area(old)))
    assert "dynamic" in {label: detail for label, _, detail in figures.headlines(old)}["Energy per request"]


@pytest.mark.parametrize(
    ("low", "high", "inner", "text"),
    [
        (1.2e-6, 2.41e-6, None, "1.20 to 2.41 µJ"), (0.9e-6, 1.2e-6, None, "0.900 to 1.20 µJ"),
        (0.5e-9, 2e-9, (1e-9, 1.5e-9), "0.500 (1.00) to (1.50) 2.00 nJ"), (0.0, 0.0, None, "0 to 0 J"),
        (1.0, math.inf, None, "1.00 J to ∞ J"),
    ],
)  # fmt: skip
def test_a_band_in_words(low: float, high: float, inner: tuple[float, float] | None, text: str) -> None:
    assert span(low, high, "J", inner).replace("\u00a0", " ") == text


def test_headlines_are_the_results(results: Results) -> None:
    shown = {label: value for label, value, _ in figures.headlines(results)}
    s, single = results.meta["summary"], results.meta["single_request"]
    assert shown["Energy per request"] == human(s["energy_per_request_J"], "J")
    assert shown["Latency, one request"] == human(single["latency_s"], "s")
    assert shown["Accuracy on chip"] == percent(results.meta["accuracy"]["chip"])
    assert shown["Chip area"] == human(load_chip(results.meta["chip"]["name"]).area, "m²")
    drawn = [text for text, _ in visible_texts(figures.summary(results))]
    assert set(shown.values()) <= set(drawn)
    assert all(value in figures.summary_text(results) for value in shown.values())


def test_headlines_stay_in_their_tiles(results: Results, deep: Results) -> None:
    for drawn in (results, single_request(results), deep):
        figure = figures.summary(drawn)
        texts = visible_texts(figure)
        renderer = FigureCanvasAgg(figure).get_renderer()
        tiles = [patch.get_window_extent(renderer) for patch in figure.findobj(FancyBboxPatch) if patch.axes is None]
        tiles = [tile for tile in tiles if tile.height > 50]  # the rest are frames of legends
        inside = [(text, box, tile) for text, box in texts for tile in tiles if tile.contains(box.x0, box.y0)]
        assert (len(tiles), len(inside)) == (8, 24)
        for text, box, tile in inside:
            assert tile.contains(box.x1, box.y1), f"leaves its tile: {text!r}"


def test_one_request_is_no_batch(results: Results) -> None:
    one = single_request(results)
    assert "batch" not in figures.summary_text(one)
    assert "percentile" not in figures.summary_text(one)
    assert "batch" not in figures.verdict(one)
    assert "batch of 5" in figures.summary_text(results)


def test_changes_are_told_with_their_units(deep: Results, results: Results) -> None:
    assert "component.link.static_power = 1 W" in figures.summary_text(deep)
    assert "changed" not in figures.summary_text(results)


def test_every_layer_has_a_lane_before_and_after_a_folder(deep: Results, tmp_path: Path) -> None:
    deep.save(tmp_path)
    for drawn in (deep, Results.load(tmp_path)):
        lanes = [label.get_text() for label in figures.timeline(drawn).axes[0].get_yticklabels()]
        assert (lanes[0], lanes[-1]) == ("(input)", "(output)")
        assert [lane.split()[0] for lane in lanes[1:-1]] == [str(name) for name in drawn.layers.index]


def test_short_transfers_are_wide_enough_to_see(results: Results) -> None:
    axes = figures.timeline(results).axes[0]
    width = axes.get_xlim()[1]
    boxes = [path.get_extents().width for lane in axes.collections for path in lane.get_paths() if len(path.vertices)]
    assert len(boxes) == len(results.timeline)
    assert min(boxes) >= 0.001 * width * (1 - 1e-9)


def test_bars_are_the_tables(results: Results) -> None:
    figure = figures.energy_and_area(results)
    energy, area, layers, split, totals = figure.axes
    assert [label.get_text() for label in totals.get_yticklabels()] == ["energy", "table power", "area", "efficiency"]
    per_request = results.components["dynamic_energy_J"] / 5
    widths = sorted(bar.get_width() for bar in energy.patches)
    assert sum(widths) == pytest.approx(per_request.sum() * widths[-1] / per_request.max())
    assert sum(bar.get_width() for bar in area.patches) == pytest.approx(results.components["area_m2"].sum() * 1e6)
    stacked = sum(bar.get_height() for bar in layers.patches)
    assert stacked > 0
    assert sum(bar.get_width() for bar in split.patches) == pytest.approx(results.components["energy_J"].sum() / 5)


def test_pages_are_those_that_something_was_studied_for(results: Results) -> None:
    names = pages_of(results)
    assert ("drift" in names) == results.meta["chip"]["drifts"]
    assert {"sensitivity", "layers", "yield"} <= set(names)
    left = pages_of(unstudied(results))
    assert "layers" in left
    assert not {"sensitivity", "yield", "drift"} & set(left)


def test_rows_of_the_study_pages_are_the_tables(results: Results, deep: Results) -> None:
    texts = [text for text, _ in visible_texts(studies.sensitivity(results))]
    for _, row in results.sensitivity.iterrows():
        assert row["effect"] in texts
        assert percent(row["accuracy"], 2) in texts
    for drawn in (results, deep):
        axes = studies.layers(drawn).axes
        assert [len(panel.patches) for panel in axes] == [len(drawn.layers)] * 4
        assert [bar.get_width() for bar in axes[0].patches] == pytest.approx(list(100 * drawn.layer_sensitivity["loss"]))
    panels = studies.yields(results).axes
    for axes, (_, rows) in zip(panels, results.yields.groupby("parameter", sort=False), strict=True):
        assert list(axes.lines[-1].get_ydata()) == pytest.approx(list(100 * rows["share"]))


def test_the_verdict_names_what_costs_most(results: Results) -> None:
    """The largest loss of the chip's own parts alone, not an assumed one and not a sum."""
    rows = results.sensitivity.assign(loss=0.0)
    rows.loc[rows["effect"].str.startswith("all"), "loss"] = 0.9
    assert "costs most" not in figures.verdict(replace(results, sensitivity=rows))
    assert "costs most" not in figures.verdict(unstudied(results))
    rows.loc[rows["effect"] == "ADC range and bits", "loss"] = 0.25
    rows.loc[rows["given"] == "assumed", "loss"] = 0.5
    assert "By itself, ADC range and bits costs most: 25.0 points." in figures.verdict(replace(results, sensitivity=rows))


def test_a_drift_page_names_each_correction_and_time(results: Results) -> None:
    if results.drift.empty:
        return
    texts = [text for text, _ in visible_texts(studies.drift(results))]
    for needed in ("1 s", "1 h", "10 years", *(label for _, _, label in studies.CORRECTIONS.values())):
        assert texts.count(needed) == 2  # in the picture and in the table


class TestTrace:
    def test_events_are_valid_and_complete(self, results: Results) -> None:
        events = trace_events(results)["traceEvents"]
        assert all({"ph", "ts", "pid", "tid", "name"} <= event.keys() for event in events)
        assert {event["ph"] for event in events} == {"M", "X", "C"}
        runs = [event for event in events if event["ph"] == "X"]
        assert len(runs) == len(results.timeline)
        assert all(event["dur"] > 0 for event in runs)
        computing = results.timeline[results.timeline["stage"] == "compute"]
        assert sum(e["dur"] for e in runs if e["name"] == "compute") * 1e-6 == pytest.approx(
            (computing["end_s"] - computing["start_s"]).sum()
        )

    def test_runs_of_one_thread_do_not_overlap(self, results: Results) -> None:
        """Viewers nest or drop a thread's overlapping events, and the vectors of one copy are computed overlapping."""
        threads: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for event in trace_events(results)["traceEvents"]:
            if event["ph"] == "X":
                threads.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
        for spans in threads.values():
            spans.sort()
            assert all(b[0] >= a[1] - 1e-6 for a, b in itertools.pairwise(spans))

    def test_every_thread_has_a_name(self, results: Results) -> None:
        events = trace_events(results)["traceEvents"]
        named = [(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"]
        assert len(named) == len(set(named))
        assert {(event["pid"], event["tid"]) for event in events if event["ph"] == "X"} == set(named)


class TestFiles:
    def test_render_writes_everything_and_twice_the_same(self, results: Results, tmp_path: Path) -> None:
        for name in ("one", "other"):
            results.save(tmp_path / name)
            render(results, tmp_path / name)
        files = sorted(path.name for path in (tmp_path / "one").iterdir())
        for needed in (
            "report.pdf",
            "summary.png",
            "accuracy.png",
            "timeline.png",
            "trace.json",
            "components.csv",
            "run.json",
        ):
            assert needed in files
        assert not [name for name in files if name.endswith(".part")]
        for name in files:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name
        json.loads((tmp_path / "one" / "trace.json").read_text())
        assert (tmp_path / "one" / "report.pdf").read_bytes().startswith(b"%PDF")

    def test_what_was_saved_is_loaded_and_draws_the_same(self, results: Results, tmp_path: Path) -> None:
        results.save(tmp_path)
        again = Results.load(tmp_path)
        assert again.meta == results.meta
        for name in ("components", "layers", "energy", "variation", "sensitivity", "layer_sensitivity", "yields", "layer_quality"):
            pd.testing.assert_frame_equal(getattr(again, name), getattr(results, name), check_dtype=False, rtol=1e-10)
        assert figures.summary_text(again) == figures.summary_text(results)
        render(again, tmp_path / "drawn")
        unstudied(results).save(tmp_path)  # over the fuller results: no table of theirs stays
        assert Results.load(tmp_path).yields.empty

    def test_layer_names_that_look_like_numbers_stay_names(self, results: Results, tmp_path: Path) -> None:
        names = dict(zip(results.layers.index, ("0.1", "0.10", "null"), strict=True))
        changed = replace(
            results, layers=results.layers.rename(index=names), energy=results.energy.rename(index=names),
            timeline=results.timeline.assign(layer=results.timeline["layer"].astype(str).replace(names)),
        )  # fmt: skip
        changed.save(tmp_path)
        again = Results.load(tmp_path)
        assert list(again.layers.index) == ["0.1", "0.10", "null"]
        assert list(again.energy.index) == list(changed.energy.index)
        assert set(again.timeline["layer"]) == set(changed.timeline["layer"])
        assert figures.summary_text(again) == figures.summary_text(changed)

    def test_a_folder_of_before_the_further_studies(self, results: Results, tmp_path: Path) -> None:
        results.save(tmp_path)
        for name in ("sensitivity", "layer_sensitivity", "yields", "yield_points", "drift", "layer_quality"):
            (tmp_path / f"{name}.csv").unlink(missing_ok=True)
        render(Results.load(tmp_path), tmp_path / "drawn")
        assert not (tmp_path / "drawn" / "yield.png").exists()

    def test_a_folder_that_is_none(self, results: Results, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match=r"no run\.json there"):
            Results.load(tmp_path)
        results.save(tmp_path)
        (tmp_path / "layers.csv").unlink()
        with pytest.raises(ResultsError, match=r"layers\.csv: cannot be read"):
            Results.load(tmp_path)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.5625e-12, "J", "1.56 pJ"), (0.0, "W", "0 W"), (85.42e-6, "m²", "85.4 mm²"), (999.96, "W", "1.00 kW"),
        (4.9e-20, "J", "0.0000490 fJ"), (None, "s", "–"), (float("nan"), "s", "–"), (41.29e12, "OP/s", "41.3 TOP/s"),
        (1.0, "s", "1.00 s"), (0.001, "s", "1.00 ms"), (1000, "OP", "1.00 kOP"),
    ],
)  # fmt: skip
def test_numbers_for_people(value: float | None, unit: str, shown: str) -> None:
    assert human(value, unit).replace("\u00a0", " ") == shown

"""Reports: every page renders, nothing overlaps or runs off, numbers are the results', files are valid and stable."""

import functools
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from torch import nn

from tests.reports.drawing import check_page, check_texts, visible
from xbar.hw import load_chip
from xbar.reports import drift_page, efficiency, energy_page, first_page, layers_page, run_tables, run_words, time_pages
from xbar.reports.floorplan import floor_plan
from xbar.reports.programming_error import WRITE_ERRORS
from xbar.reports.render import FIGURES, pages_of, render, trace_events
from xbar.reports.results import Results, ResultsError
from xbar.reports.score_page import ADC_CURVES
from xbar.reports.style import human, percent, significant, span
from xbar.workloads.data import load_digits
from xbar.workloads.study.evaluate import mean_band
from xbar.workloads.study.run import Study, run
from xbar.workloads.training import initialise
from xbar.workloads.workload import Workload

QUICK = Study(
    instances=3, sigmas=(0.0, 0.05, 0.2), multiples=(0.0, 1.0, 3.0), adc_bits=(4, 8), images=20, requests=5, stuck_rates=(0.0, 0.01),
    wire_resistances=(0.0, 1.0), times=(1.0, 3600.0, 315576000.0),
)  # fmt: skip
CHIPS = {"isaac": ("isaac", None), "edge on PCM": ("edge", "pcm")}  # others show no page more
FULLEST = "edge on PCM"  # its results have every page


@functools.cache
def studied(chip: str) -> Results:
    """A quick study of an untrained network: real shapes of every table, meaningless accuracies."""
    from xbar.models import DigitsCNN

    workload = Workload("digits", "Digits CNN", initialise(DigitsCNN, 0).eval(), load_digits(), 0.1)
    name, device = CHIPS[chip]
    return run(workload, load_chip(name, device=device), QUICK)


@pytest.fixture(scope="module", params=list(CHIPS))
def chip(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def results(chip: str) -> Results:
    return studied(chip)


@pytest.fixture(scope="module")
def full() -> Results:
    """Of one chip, for what does not depend on the chip."""
    return studied(FULLEST)


def figures_of(results: Results) -> dict[str, Figure]:
    """Every page, by name."""
    figures = {name: FIGURES[name](results) for name in pages_of(results)}
    for name, numbered in (("tables", run_tables.tables(results)), ("assumptions", run_tables.assumptions(results))):
        figures |= {f"{name}_{number}": figure for number, figure in enumerate(numbered)}
    return figures


def places(figure: Figure) -> np.ndarray:
    """Of every text of a page that is not laid out yet: how many letters, where, of which size, (texts, 4)."""
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return np.array([(len(text.get_text()), *text.get_position(), text.get_fontsize()) for text in texts])


class Drawn:
    """The pages of results, drawn once: figures by name, and of each its visible texts with their boxes in pixels."""

    def __init__(self, results: Results):
        self.figures = figures_of(results)
        self.places = {name: places(figure) for name, figure in self.figures.items()}
        self.visible = {name: visible(figure) for name, figure in self.figures.items()}

    def texts(self, name: str) -> list[str]:
        """What stands on a page."""
        return [text.get_text() for text, _ in self.visible[name]]

    def check(self) -> None:
        """Every text of every page is on the page and clear of the others."""
        for texts in self.visible.values():
            check_page(texts)


@pytest.fixture(scope="module")
def drawn(chip: str, results: Results) -> Drawn:
    """Not to be changed."""
    return _drawn(chip)


@functools.cache
def _drawn(chip: str) -> Drawn:
    return Drawn(studied(chip))


@pytest.fixture(scope="module")
def folder(full: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was saved, and what was drawn of it when it was loaded; not to be changed."""
    folder = tmp_path_factory.mktemp("drawn")
    full.save(folder)
    render(Results.load(folder), folder)
    return folder


@functools.cache
def _deep() -> Results:
    """Twenty layers whose names are numbers, on a chip with much changed, judged at one sigma on one instance."""
    layers: list[nn.Module] = []
    for number in range(19):
        layers += [nn.Conv2d(4 if number else 1, 4, 3, padding=1), nn.ReLU()]
    build = lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10))  # noqa: E731
    workload = Workload("deep", "Twenty layers", initialise(build, 0).eval(), load_digits(), 0.1)
    study = Study(instances=1, sigmas=(0.05,), adc_bits=(8,), images=4, requests=4, parts=("layers", "quality"))
    return run(workload, load_chip("isaac", CHANGES), study)


@pytest.fixture(scope="module")
def deep() -> Results:
    return _deep()


CHANGES = {
    "component.adc.columns": "64", "device.programming_sigma": "0.05", "device.read_noise_sigma": "0.01",
    "timing.router_cycles": "2", "component.link.static_power": "1", "component.adc.bits": "7",
}  # fmt: skip


def single_request(results: Results) -> Results:
    """The same with one request: no rate between results."""
    summary = results.meta["summary"] | {"requests": 1.0, "steady_throughput_per_s": None}
    meta = results.meta | {"summary": summary, "steady": None}
    return replace(results, meta=meta, requests=results.requests.iloc[:1], steady_power=pd.DataFrame())


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


def test_no_text_overlaps_another_or_leaves_the_page(drawn: Drawn) -> None:
    drawn.check()


@pytest.mark.parametrize("change", [single_request, without_energy])
def test_texts_of_results_that_lack_something(full: Results, change: Callable[[Results], Results]) -> None:
    Drawn(change(full)).check()


def test_texts_of_a_deep_network_on_a_changed_chip(deep: Results, tmp_path: Path) -> None:
    before = {name: places(figure) for name, figure in figures_of(deep).items()}
    deep.save(tmp_path)
    again = Drawn(Results.load(tmp_path))
    again.check()
    assert again.places.keys() == before.keys()
    for name, expected in before.items():  # what was not saved yet is as clear of each other
        np.testing.assert_allclose(again.places[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)


def test_texts_of_more_layers_than_a_page_holds(full: Results) -> None:
    """Sixty copies of a layer: the table goes on on a second page."""
    results = full
    row = results.layers.iloc[0]
    many = pd.DataFrame([row] * 60, index=pd.Index([f"stage{n}.conv" for n in range(60)], name="layer"))
    energy = pd.concat(
        [many.assign(**dict.fromkeys(results.energy, 1e-9))[list(results.energy)], results.energy.tail(1)]
    )
    runs = [results.timeline.head(1).assign(layer=name, start_s=1e-7 * n) for n, name in enumerate(many.index)]
    long = replace(results, layers=many, energy=energy, timeline=pd.concat(runs).assign(end_s=1e-5))
    check_texts([energy_page.energy_and_area(long), time_pages.timeline(long)])
    tables = [visible(figure) for figure in run_tables.tables(long)]
    for texts in tables:
        check_page(texts)
    assert {text.get_text() for texts in tables for text, _ in texts} >= set(many.index)


def test_texts_of_layers_with_one_table(full: Results) -> None:
    check_texts(layers_page.layers(found) for found in (unstudied(full), replace(full, layer_sensitivity=pd.DataFrame())))


def test_bands_are_drawn_and_told(results: Results, drawn: Drawn) -> None:
    """Tiles and the totals' panel say them; whiskers of the largest component end where its band does."""
    totals = results.bands[results.bands["of"] == "total"].set_index("quantity")
    details = {label: detail for label, _, detail in run_words.headlines(results)}
    page, texts = drawn.figures["energy_and_area"], drawn.texts("energy_and_area")
    for label, quantity, unit in (("Energy per request, on chip", "on_chip_energy_per_request_J", "J"), ("Chip area", "area_m2", "m²")):
        row = totals.loc[quantity]
        assert details[label].startswith(span(row["low"], row["high"], unit))
        assert span(row["low"], row["high"], unit, (row["inner_low"], row["inner_high"])) in texts
    assert "no confidence interval" in " ".join(texts).replace("\n", " ")
    largest = results.components["area_m2"].idxmax()
    row = results.bands[(results.bands["quantity"] == "area_m2") & (results.bands["name"] == largest)].iloc[0]
    area = next(axes for axes in page.axes if axes.get_title("left") == "Area, by component")
    ends = next(segment[:, 0] for line in area.collections for segment in line.get_segments())
    assert sorted(ends) == pytest.approx([row["low"] * 1e6, row["high"] * 1e6])


def test_without_bands_no_page_speaks_of_them(full: Results) -> None:
    old = without_bands(full)
    costs = visible(energy_page.energy_and_area(old))
    check_page(costs)
    check_page(visible(first_page.summary(old)))
    assert not any("confidence" in text.get_text() for text, _ in costs)
    assert "leakage" in {label: detail for label, _, detail in run_words.headlines(old)}["Energy per request, on chip"]


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


def test_headlines_are_the_results(results: Results, drawn: Drawn) -> None:
    shown = {label: value for label, value, _ in run_words.headlines(results)}
    s, single = results.meta["summary"], results.meta["single_request"]
    assert shown["Energy per request, on chip"] == human(s["on_chip_energy_per_request_J"], "J")
    assert shown["Average power, on chip"] == human(s["on_chip_power_W"], "W")
    assert shown["Efficiency, on chip"] == human(s["on_chip_operations_per_J"], "OPS/W")
    details = {label: detail for label, _, detail in run_words.headlines(results)}
    assert f"links {human(s['link_energy_per_request_J'], 'J')}" in details["Energy per request, on chip"]
    assert human(s["average_power_W"], "W") in details["Average power, on chip"]
    assert human(s["operations_per_J"], "OPS/W") in details["Efficiency, on chip"]
    assert shown["Latency, one request"] == human(single["latency_s"], "s")
    assert shown["Accuracy on chip"] == percent(results.meta["score"]["chip"])
    assert shown["Chip area"] == human(load_chip(results.meta["chip"]["name"]).area, "m²")
    assert set(shown.values()) <= set(drawn.texts("summary"))
    assert all(value in run_words.summary_text(results) for value in shown.values())


def test_the_accuracy_of_chips_is_one_number(results: Results) -> None:
    """Mean of the instances, with its 95 % interval and the worst, wherever it is told; of one instance that chips are alike."""
    a = results.meta["score"]
    found = a["by_instance"]
    assert a["chip"] == pytest.approx(sum(found) / len(found))
    assert a["alike"] == (len(found) == 1)
    assert results.baselines.iloc[0]["score"] == a["chip"]
    assert percent(a["chip"]) in run_words.verdict(results)
    detail = run_words.headlines(results)[0][2]
    if a["alike"]:
        assert a["chip_low"] is a["chip_high"] is None
        assert "alike" in detail
        return
    low, high = mean_band(found)
    assert (a["chip_low"], a["chip_high"]) == pytest.approx((max(low, 0.0), min(high, 1.0)))  # shares end there
    assert f"worst {percent(min(found))}" in detail
    whole = results.sensitivity.set_index("effect").loc["all of the chip's own"]
    assert whole["score"] == pytest.approx(a["chip"])


def test_headlines_stay_in_their_tiles(results: Results, drawn: Drawn, deep: Results) -> None:
    for figure in (drawn.figures["summary"], first_page.summary(single_request(results)), first_page.summary(deep)):
        texts = drawn.visible["summary"] if figure is drawn.figures["summary"] else visible(figure)
        renderer = FigureCanvasAgg(figure).get_renderer()
        tiles = [patch.get_window_extent(renderer) for patch in figure.findobj(FancyBboxPatch) if patch.axes is None]
        tiles = [tile for tile in tiles if tile.height > 50]  # the rest are frames of legends
        inside = [(text.get_text(), box, tile) for text, box in texts for tile in tiles if tile.contains(box.x0, box.y0)]
        assert len(tiles) == 8
        assert 24 <= len(inside) <= 32  # label, value, and one or two lines below
        for text, box, tile in inside:
            assert tile.contains(box.x1, box.y1), f"leaves its tile: {text!r}"


def test_one_request_is_no_batch(results: Results) -> None:
    one = single_request(results)
    assert "batch" not in run_words.summary_text(one)
    assert "percentile" not in run_words.summary_text(one)
    assert "batch" not in run_words.verdict(one)
    assert "batch of 5" in run_words.summary_text(results)


def test_a_headline_number_is_of_one_operating_point(results: Results, drawn: Drawn) -> None:
    """Efficiency and density of the whole run, the peak named; a rate says of which time it is, and so does a token's time."""
    _, value, detail = run_words.headlines(results)[-1]
    run = efficiency.row_of(results, "batch")
    assert value == human(run["operations_per_J"], "OPS/W")
    run_alone, steady = (efficiency.density(efficiency.row_of(results, of)["operations_per_s_m2"]) for of in ("batch", "steady"))
    assert run_alone != steady
    assert detail.startswith(f"the run, {run_alone}; with links {human(results.meta['summary']['operations_per_J'], 'OPS/W')}; ")
    assert detail.endswith(f"; peak {human(efficiency.row_of(results, 'peak')['operations_per_J'], 'OPS/W')}")
    assert "efficiency and density among the headline numbers are of it" in " ".join(drawn.texts("efficiency")).replace("\n", " ")
    in_tokens = replace(results, meta=results.meta | {"workload": results.meta["workload"] | {"tokens": 4}})
    s = results.meta["summary"]
    together = replace(in_tokens, meta=in_tokens.meta | {"summary": s | {"steady_throughput_per_s": None}})
    for found, rate, of in (
        (in_tokens, s["steady_throughput_per_s"], "between results"), (together, s["throughput_per_s"], "first to last"),
        (single_request(in_tokens), s["throughput_per_s"], "one after another"),
    ):  # fmt: skip
        assert run_words.headlines(found)[2][1:] == (human(rate, ""), of if "another" in of else f"batch of 5, {of}")
        assert f"{human(1 / (4 * rate), 's')} ({of})" in run_words.verdict(found)
        assert ("t steady throughput" in run_words.summary_text(found)) == (of == "between results")


def test_a_kib_is_1024_bytes_and_write_errors_have_the_devices_words(results: Results, drawn: Drawn) -> None:
    held, size = (f"{significant(results.meta['buffers'][name] / 8 / 1024)}\u00a0KiB" for name in ("fullest_bits", "size_bits"))
    texts = " ".join(text for name in drawn.figures if name.startswith("assumptions") for text in drawn.texts(name)).replace("\n", " ")
    assert f"the fullest tile held {held} of its {size}." in texts
    note = " ".join(drawn.texts("accuracy")).replace("\n", " ")
    chip = results.meta["chip"]
    assert f"Programming error: {WRITE_ERRORS[chip['programming_model']]}" in note
    assert ("here scaled as a whole" in note) == chip["programming_scaled"]


def test_places_and_operating_points_have_one_name(results: Results, drawn: Drawn) -> None:
    page, text = " ".join(drawn.texts("efficiency")), run_words.summary_text(results)
    for words in efficiency.POINTS.values():
        assert words in page
        assert f"\n{words[0].upper()}{words[1:]} " in text
    summary = results.meta["summary"] | {"crossbar_operations_share": 0.75, "digital_operations_share": 0.25}
    shared = replace(results, meta=results.meta | {"summary": summary})
    bar = efficiency.efficiency_and_density(shared).axes[2]
    labels = [text.get_text() for legend in bar.findobj(Legend) for text in legend.get_texts()]
    assert f"in product units {percent(0.25)}" in labels
    assert f"{percent(0.25)} in product units" in run_words.summary_text(shared)


def test_changes_are_told_with_their_units(deep: Results, results: Results) -> None:
    assert "component.link.static_power = 1 W" in run_words.summary_text(deep)
    assert "changed" not in run_words.summary_text(results)


def test_every_layer_has_a_lane_before_and_after_a_folder(deep: Results, tmp_path: Path) -> None:
    deep.save(tmp_path)
    for found in (deep, Results.load(tmp_path)):
        lanes = [label.get_text() for label in time_pages.timeline(found).axes[0].get_yticklabels()]
        assert (lanes[0], lanes[-1]) == ("(input)", "(output)")
        assert [lane.split()[0] for lane in lanes[1:-1]] == [str(name) for name in found.layers.index]


def test_short_transfers_are_wide_enough_to_see(results: Results, drawn: Drawn) -> None:
    axes = drawn.figures["timeline"].axes[0]
    width = axes.get_xlim()[1]
    boxes = [path.get_extents().width for lane in axes.collections for path in lane.get_paths() if len(path.vertices)]
    assert len(boxes) == len(results.timeline)
    assert min(boxes) >= 0.001 * width * (1 - 1e-9)


def test_bars_are_the_tables(results: Results, drawn: Drawn) -> None:
    figure = drawn.figures["energy_and_area"]
    energy, area, layers, split, totals = figure.axes
    assert [label.get_text() for label in totals.get_yticklabels()] == [
        "energy,\non chip", "peak load,\nlinks too", "area", "efficiency,\non chip",
    ]  # fmt: skip
    per_request = results.components["dynamic_energy_J"].drop("link") / 5
    widths = sorted(bar.get_width() for bar in energy.patches)
    assert sum(widths) == pytest.approx(per_request.sum() * widths[-1] / per_request.max())
    assert sum(bar.get_width() for bar in area.patches) == pytest.approx(results.components["area_m2"].sum() * 1e6)
    stacked = sum(bar.get_height() for bar in layers.patches)
    assert stacked > 0
    on_chip = results.components.drop(index="link")["energy_J"].sum() / 5
    assert sum(bar.get_width() for bar in split.patches) == pytest.approx(on_chip)
    assert on_chip == pytest.approx(results.meta["summary"]["on_chip_energy_per_request_J"])
    links = human(results.components.loc["link", "energy_J"] / 5, "J")
    assert any("off-chip links" in text and links in text for text in drawn.texts("energy_and_area"))


def test_the_busiest_unit_and_link_are_told_with_their_shares(results: Results, drawn: Drawn) -> None:
    s, busiest = results.meta["summary"], results.meta["busiest"]
    assert busiest["unit"]
    told = [f"{busiest[name]}, {percent(s[f'busiest_{name}_share'])} of the time" for name in ("unit", "link")]
    facts = next(text for text in drawn.texts("power_over_time") if text.startswith("Busiest unit"))
    for text in told if busiest["link"] else told[:1]:
        assert text in facts
        assert text in run_words.summary_text(results)
    untold = replace(results, meta={name: value for name, value in results.meta.items() if name != "busiest"})  # as a folder of before
    check_page(visible(time_pages.power_over_time(untold)))
    assert "Busiest" not in run_words.summary_text(untold)


def test_curves_of_adc_bits_are_the_table(results: Results, drawn: Drawn) -> None:
    """A line by width of a code; open points where more than 1 % of conversions saturate, filled ones elsewhere."""
    axes = next(axes for axes in drawn.figures["accuracy"].axes if axes.get_title("left") == "Against ADC resolution")
    for width, (colour, _) in ADC_CURVES.items():
        rows = results.adc_bits[results.adc_bits["width"] == width]
        mine = [line for line in axes.lines if line.get_color() == colour]
        if rows.empty:
            assert not mine
            continue
        mean, saturated = rows.groupby("bits")["score"].mean(), rows.groupby("bits")["saturated_share"].max() > 0.01
        curve, opened, filled = mine
        for line, part in ((curve, mean), (opened, mean[saturated]), (filled, mean[~saturated])):
            assert list(line.get_xdata()) == list(part.index)
            assert list(line.get_ydata()) == pytest.approx(list(100 * part))
        assert (opened.get_markerfacecolor(), filled.get_markerfacecolor()) == ("white", colour)


def test_the_floor_plan_is_drawn_to_scale(results: Results, drawn: Drawn) -> None:
    plan, (axes, parts) = results.floorplan, drawn.figures["floorplan"].axes
    boxes = [patch.get_bbox().bounds for patch in axes.patches]
    expected = 1e3 * plan[["left_m", "bottom_m", "width_m", "height_m"]].to_numpy()
    assert [value for box in boxes for value in box] == pytest.approx(list(expected.ravel()))
    tiles = plan[plan["kind"] == "tile"]
    assert len(tiles) == load_chip(results.meta["chip"]["name"]).structure.tiles
    assert set(" ".join(tiles["layers"].dropna()).split()) == set(results.layers.index)
    grouped = sum(bar.get_width() for bar in parts.patches)
    area = results.components["area_m2"].drop("link").sum() * 1e6 / len(tiles)
    assert 0.98 * area < grouped <= area * (1 + 1e-9)  # parts of less than 0.2 % are left out


def test_many_layers_share_the_last_fill_of_the_floor_plan() -> None:
    results = studied("isaac")
    plan = results.floorplan.copy()
    tiles = plan.index[plan["kind"] == "tile"]
    plan.loc[tiles, "layers"] = [f"stage{number}.block.convolution" for number in range(len(tiles))]
    plan.loc[tiles, "used_share"] = 1.0
    texts = visible(floor_plan(replace(results, floorplan=plan)))
    check_page(texts)
    assert f"{len(tiles) - 7} other layers" in [text.get_text() for text, _ in texts]


def test_pages_are_those_that_something_was_studied_for(results: Results) -> None:
    names = pages_of(results)
    assert ("drift" in names) == results.meta["chip"]["drifts"]
    assert {"sensitivity", "layers", "yield"} <= set(names)
    left = pages_of(unstudied(results))
    assert "layers" in left
    assert not {"sensitivity", "yield", "drift"} & set(left)


def test_rows_of_the_study_pages_are_the_tables(results: Results, drawn: Drawn, deep: Results) -> None:
    texts = drawn.texts("sensitivity")
    for _, row in results.sensitivity.iterrows():
        assert row["effect"] in texts
        assert percent(row["score"], 2) in texts
    for found, page in ((results, drawn.figures["layers"]), (deep, layers_page.layers(deep))):
        assert [len(panel.patches) for panel in page.axes] == [len(found.layers)] * 4
        assert [bar.get_width() for bar in page.axes[0].patches] == pytest.approx(list(100 * found.layer_sensitivity["loss"]))
    panels = drawn.figures["yield"].axes
    for axes, (_, rows) in zip(panels, results.yields.groupby("parameter", sort=False), strict=True):
        assert list(axes.lines[-1].get_ydata()) == pytest.approx(list(100 * rows["share"]))


def test_the_verdict_names_what_costs_most(results: Results) -> None:
    """The largest loss of the chip's own parts alone, not an assumed one and not a sum."""
    rows = results.sensitivity.assign(loss=0.0)
    rows.loc[rows["effect"].str.startswith("all"), "loss"] = 0.9
    assert "costs most" not in run_words.verdict(replace(results, sensitivity=rows))
    assert "costs most" not in run_words.verdict(unstudied(results))
    rows.loc[rows["effect"] == "ADC range and bits", "loss"] = 0.25
    rows.loc[rows["given"] == "assumed", "loss"] = 0.5
    assert "By itself, ADC range and bits costs most: 25.0 points." in run_words.verdict(replace(results, sensitivity=rows))


def test_a_drift_page_names_each_correction_and_time(results: Results, drawn: Drawn) -> None:
    if results.drift.empty:
        return
    texts = drawn.texts("drift")
    for needed in ("1 s", "1 h", "10 years", *(label for _, _, label in drift_page.CORRECTIONS.values())):
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

    def test_the_power_counted_is_that_of_the_pages(self, results: Results) -> None:
        """On chip, without the off-chip links."""
        found = [event["args"] for event in trace_events(results)["traceEvents"] if event["ph"] == "C" and "power" in event["name"]]
        assert found == [{"power on chip, W": value} for value in results.power["on_chip_power_W"]]
        assert (results.power["on_chip_power_W"] < results.power["power_W"]).any()

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
    def test_render_writes_everything(self, folder: Path) -> None:
        files = sorted(path.name for path in folder.iterdir())
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
        json.loads((folder / "trace.json").read_text())
        assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")

    def test_render_writes_twice_the_same(self, full: Results, folder: Path, tmp_path: Path) -> None:
        full.save(tmp_path)
        render(Results.load(tmp_path), tmp_path)
        files = sorted(path.name for path in folder.iterdir())
        assert files == sorted(path.name for path in tmp_path.iterdir())
        for name in files:
            assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name

    def test_what_was_saved_is_loaded(self, results: Results, tmp_path: Path) -> None:
        results.save(tmp_path)
        again = Results.load(tmp_path)
        assert again.meta == results.meta
        for name in ("components", "layers", "energy", "variation", "sensitivity", "layer_sensitivity", "yields", "layer_quality"):
            pd.testing.assert_frame_equal(getattr(again, name), getattr(results, name), check_dtype=False, rtol=1e-10)
        assert run_words.summary_text(again) == run_words.summary_text(results)
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
        assert run_words.summary_text(again) == run_words.summary_text(changed)

    @pytest.mark.usefixtures("sketched")
    def test_a_folder_of_before_the_further_studies(self, full: Results, tmp_path: Path) -> None:
        full.save(tmp_path)
        for name in ("sensitivity", "layer_sensitivity", "yields", "yield_points", "drift", "layer_quality"):
            (tmp_path / f"{name}.csv").unlink(missing_ok=True)
        render(Results.load(tmp_path), tmp_path / "drawn")
        assert not (tmp_path / "drawn" / "yield.png").exists()

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("power.csv", lambda text: text.replace("on_chip_power_W", "chip_W"), r"power\.csv: has no column on_chip_power_W"),
            ("adc_bits.csv", lambda text: text.replace("width", "wide"), r"adc_bits\.csv: has no column width"),
            ("adc_bits.csv", lambda text: text.replace("saturated_share", "s"), r"adc_bits\.csv: has no column saturated_share"),
            ("run.json", lambda text: text.replace('"leakage_power_W"', '"l"'), r"run\.json: summary has no leakage_power_W"),
            ("bands.csv", lambda text: text.replace("on_chip_operations_per_J", "x"), r"bands\.csv: has no total of on_chip_operations"),
        ],
    )  # fmt: skip
    def test_a_folder_of_before_what_a_page_shows_is_refused(
        self, full: Results, tmp_path: Path, file: str, change: Callable[[str], str], said: str
    ) -> None:
        full.save(tmp_path)
        (tmp_path / "checksums.json").unlink()
        (tmp_path / file).write_text(change((tmp_path / file).read_text("utf-8")), "utf-8")
        with pytest.raises(ResultsError, match=f"{said}.*give the command again that made them"):
            render(Results.load(tmp_path), tmp_path / "drawn")
        assert not (tmp_path / "drawn").exists()

    def test_a_folder_without_floor_plan_bands_and_baselines_is_drawn(self, full: Results, tmp_path: Path) -> None:
        full.save(tmp_path)
        for name in ("floorplan", "bands", "baselines"):
            (tmp_path / f"{name}.csv").unlink()
        old = Results.load(tmp_path)
        assert not {"floorplan", "baselines"} & set(pages_of(old))
        old.check_drawable()
        Drawn(old).check()

    def test_a_folder_that_is_none(self, full: Results, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match=r"no run\.json there"):
            Results.load(tmp_path)
        full.save(tmp_path)
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

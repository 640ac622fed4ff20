"""The report of a sweep: fronts against brute force, effects against closed forms, pages that can be read."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import ttest_ind

from tests.reports.drawing import check_texts, visible_texts
from xbar.reports import heat_map, parallel_coordinates, sweep_pages, tornado
from xbar.reports.heat_map import heat_table
from xbar.reports.linked import linked
from xbar.reports.pareto import front_table, pareto_front
from xbar.reports.results import ResultsError
from xbar.reports.style import page
from xbar.reports.sweep import draw_sweep
from xbar.reports.sweep_columns import unit_of
from xbar.reports.sweep_effects import main_effects
from xbar.reports.sweep_pages import _fitted_table
from xbar.reports.sweep_sheet import SweepSheet, View, better_side, chosen

Point = dict[str, Any]


def sheet_of(points: list[Point], run: Callable[[Point], Point], title: str = "A sweep") -> SweepSheet:
    """What a sweep of these points leaves; `run` may raise ValueError."""
    rows = []
    for place, point in enumerate(points):
        found, error = {}, None
        try:
            found = run(point)
        except ValueError as caught:
            error = str(caught)
        rows.append({"point": place, **point, **found, "wall_s": 0.5, "error": error, "key": f"{place:032x}"})
    frame = pd.DataFrame(rows)
    names = list(dict.fromkeys(name for point in points for name in point))
    varied = [name for name in names if len({json.dumps(point.get(name)) for point in points}) > 1]
    meta = {
        "title": title, "points": len(points), "failed": int(frame["error"].notna().sum()), "varied": varied,
        "fixed": {name: points[0][name] for name in names if name not in varied}, "versions": {"xbar": "0.1.0"}, "code": "0" * 32,
    }  # fmt: skip
    return SweepSheet(meta, frame)


def chip(point: Point) -> Point:
    """Numbers with the look of a chip's."""
    bits, sigma, rows = (point.get(name, value) for name, value in (("adc.bits", 6), ("device.sigma", 1.0), ("structure.wordlines", 128)))
    if bits == 4 and sigma > 15:
        raise ValueError(f"adc.bits = {bits}: cannot hold a column's sum at this error, which takes a sentence of some length to tell")
    latency = 2e-5 * (1 + bits / 8) * 128 / rows
    return {
        "accuracy": min(0.99, 0.99 - 0.01 * (9 - bits) - 0.001 * sigma**1.5 + (0.01 if point.get("weights.range") == "percentile" else 0)),
        "energy_J": 1e-6 * (0.4 + 2.0 ** (bits - 6) / 2 + rows / 512), "latency_s": latency, "throughput_per_s": 0.8 / latency,
        "power_W": 1e-3 * bits if bits < 8 else None, "area_m2": 2e-6 * (1 + rows / 256), "accuracy_float": 0.99, "arrays": 40,
    }  # fmt: skip


def drawn(count: int) -> list[Point]:
    """Points of six axes: by ratio, whole, texts, a switch, evenly."""
    rng = np.random.default_rng(7)
    return [
        {"device.sigma": float(0.5 * 40 ** rng.random()), "adc.bits": int(rng.integers(4, 10)), "workload.name": "digits",
         "weights.range": str(rng.choice(["max_abs", "percentile"])), "structure.wordlines": int(rng.choice([64, 128, 256])),
         "study.shared": bool(rng.random() < 0.5), "study.seconds": float(1e6 * rng.random())}
        for _ in range(count)
    ]  # fmt: skip


def many(point: Point) -> Point:
    values = [value for value in point.values() if isinstance(value, float)]
    score = values[2] if values[2] > 0.5 else None
    return {"accuracy": 0.5 + 0.4 * values[0], "energy_J": 1e-9 * 10 ** (3 * values[1]), "own score": score}


def wide() -> list[Point]:
    """Twenty axes with long names and thirty texts."""
    rng = np.random.default_rng(3)
    return [
        {f"component.some_long_name_of_a_part.setting_number_{k}": float(rng.random()) for k in range(20)}
        | {"workload.name": f"a-network-with-a-long-name-{rng.integers(30)}"}
        for _ in range(150)
    ]


def refused(point: Point) -> Point:
    raise ValueError(f"n = {point['n'] % 2}: " + "no such thing, " * 30)


SHEETS = {
    "six axes": lambda: sheet_of(drawn(400), chip),
    "three points": lambda: sheet_of([{"adc.bits": bits, "structure.wordlines": 128} for bits in (5, 7, 9)], chip),
    "one point": lambda: sheet_of([{"adc.bits": 6}], chip),
    "constant": lambda: sheet_of([{"workload.name": name, "n": n} for name in ("digits", "lenet5", "resnet20") for n in (1, 2)],
                                 lambda point: {"accuracy": 0.9, "energy_J": 1e-6}),
    "all failed": lambda: sheet_of([{"n": n} for n in range(5)], refused),
    "gaps": lambda: sheet_of([{"a": 1, "x": "p"}, {"a": 2}, {"x": "q"}, {"a": 4, "x": "q"}],
                             lambda point: {"accuracy": len(point) / 10, "energy_J": point.get("a")}),
    "many axes": lambda: sheet_of(wide(), many, "A title that goes on and on, beyond all measure and sense, and then some more"),
}  # fmt: skip


# ---- the front


@st.composite
def frames(draw: st.DrawFn) -> tuple[pd.DataFrame, dict[str, str]]:
    """Few different values, so that many are equal; some missing, some infinite."""
    columns, rows = draw(st.integers(1, 4)), draw(st.integers(0, 25))
    value = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.5, math.nan, math.inf, -math.inf])
    names = [f"c{k}" for k in range(columns)]
    frame = pd.DataFrame([[draw(value) for _ in names] for _ in range(rows)], columns=names, index=range(5, 5 + rows), dtype=float)
    return frame, {name: draw(st.sampled_from(["low", "high"])) for name in names}


@settings(max_examples=300, deadline=None)
@given(frames())
def test_the_front_is_what_brute_force_finds(case: tuple[pd.DataFrame, dict[str, str]]) -> None:
    frame, better = case
    signed = [tuple(row[name] * (1 if side == "low" else -1) for name, side in better.items()) for _, row in frame.iterrows()]
    whole = [row for row in signed if not any(map(math.isnan, row))]

    def beaten(row: tuple[float, ...]) -> bool:
        return any(other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in whole)

    expected = [not any(map(math.isnan, row)) and not beaten(row) for row in signed]
    found = pareto_front(frame, better)
    assert found.tolist() == expected
    assert found.index.equals(frame.index)


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_a_front_of_many_points_is_one(columns: int) -> None:
    """Of 100,000 points: none on it is beaten by another on it, and each that is not on it is beaten by one that is."""
    values = np.random.default_rng(columns).random((100_000, columns)).round(3)
    frame = pd.DataFrame(values, columns=list("abcd")[:columns])
    on = pareto_front(frame, dict.fromkeys(frame, "low")).to_numpy()
    front = np.unique(values[on], axis=0)
    assert 1 < len(front) < 2000
    for row in front:
        assert not ((front <= row).all(axis=1) & (front < row).any(axis=1)).any()
    left = values[~on]
    for row in front:
        left = left[~((left >= row).all(axis=1) & (left > row).any(axis=1))]
    assert not len(left)


def test_a_front_that_is_all_points() -> None:
    values = np.arange(100_000)
    frame = pd.DataFrame({"a": values, "b": values, "c": 1})
    assert pareto_front(frame, {"a": "low", "b": "high", "c": "low"}).all()
    assert pareto_front(frame, {"a": "low", "b": "low"}).sum() == 1


@pytest.mark.parametrize(
    ("better", "said"),
    [({}, "a front needs one column"), ({"b": "low"}, "b: no such column"), ({"t": "low"}, "t: no such column of numbers"),
     ({"a": "small"}, "a = 'small': must be low or high"), ({"s": "high"}, "s: no such column of numbers")],
)  # fmt: skip
def test_a_front_of_columns_that_have_no_order_is_refused(better: dict[str, str], said: str) -> None:
    with pytest.raises(ResultsError, match=said):
        pareto_front(pd.DataFrame({"a": [1, 2], "t": ["x", "y"], "s": [True, False]}), better)


def test_points_as_good_as_each_other_are_all_on_the_front_and_told() -> None:
    accuracy, energy = [0.9, 0.8, 0.9, 0.5, 0.8, 0.4], [2e-6, 1e-6, 2e-6, 1e-6, 1e-6, 3e-6]
    sheet = sheet_of([{"n": n} for n in range(6)], lambda point: {"accuracy": accuracy[point["n"]], "energy_J": energy[point["n"]]})
    view = chosen(sheet, View())
    assert front_table(sheet, view)["point"].tolist() == [0, 2, 1, 4]
    texts = " ".join(text for text, _ in visible_texts(sweep_pages.pareto(sheet, view)))
    assert "4 of 6 points" in texts
    assert "4 as good as another" in texts


# ---- effects


def test_effects_of_a_straight_line_over_a_grid_are_exact() -> None:
    """y = 3 a - 2 b + 5 [c is y]: over a full grid other axes are the same at both ends, whatever they do."""
    grid = [{"a": a, "b": b, "c": c} for a, b, c in itertools.product([1.0, 2.0, 5.0], [10, 20, 30, 40], ["x", "y"])]
    frame = pd.DataFrame(grid)
    frame["y"] = 3 * frame["a"] - 2 * frame["b"] + 5 * (frame["c"] == "y")
    found = main_effects(frame, ["a", "b", "c"], "y")
    assert found.index.tolist() == ["b", "a", "c"]
    assert found["effect"].tolist() == pytest.approx([-60.0, 12.0, 5.0], rel=1e-12)
    assert found[["low", "high"]].to_numpy().tolist() == [["10", "40"], ["1", "5"], ["x", "y"]]
    assert found[["points_low", "points_high"]].to_numpy().tolist() == [[6, 6], [8, 8], [12, 12]]
    for axis, low, high in (("a", 1.0, 5.0), ("b", 10, 40), ("c", "x", "y")):
        test = ttest_ind(frame.loc[frame[axis] == high, "y"], frame.loc[frame[axis] == low, "y"], equal_var=False)
        assert found.loc[axis, "standard_error"] == pytest.approx(found.loc[axis, "effect"] / test.statistic, rel=1e-9)


def test_an_axis_of_many_values_is_compared_by_its_thirds() -> None:
    frame = pd.DataFrame({"a": np.arange(30.0)[::-1], "y": 4 * np.arange(30.0)[::-1]})
    found = main_effects(frame, ["a"], "y").loc["a"]
    assert found["effect"] == pytest.approx(4 * 20)
    assert (found["low"], found["high"], found["points_low"]) == ("≤ 9", "≥ 20", 10)
    mostly = pd.DataFrame({"a": [*range(8), *[99.0] * 40], "y": [0.0] * 8 + [1.0] * 40})  # thirds would be the same points
    assert main_effects(mostly, ["a"], "y").loc["a", ["low", "high"]].tolist() == ["0", "99"]


def test_the_standard_error_is_that_of_repeated_samples() -> None:
    """Noise of sigma 1 and no effect: over 400 samples effects spread as the standard errors say (400 draws: 3.5 %, four of them)."""
    rng = np.random.default_rng(0)
    samples = [pd.DataFrame({"a": rng.integers(0, 3, 90), "y": rng.normal(size=90)}) for _ in range(400)]
    found = pd.concat([main_effects(frame, ["a"], "y") for frame in samples])
    assert found["effect"].std() == pytest.approx(found["standard_error"].mean(), rel=0.14)


def test_axes_that_move_together_are_one() -> None:
    """b falls as a rises and t names the same points; c is of its own, and so are numbers that differ at each point."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame([{"a": a, "b": 8 / a, "t": f"x{a}", "c": c} for a in (1, 2, 4) for c in (0, 1)])
    frame["y"] = frame["a"] + 0.5 * frame["c"]
    found = main_effects(frame, ["t", "c", "a", "b"], "y")
    assert found.index.tolist() == ["a with b with t", "c"]
    assert found.loc["a with b with t", ["low", "high"]].tolist() == ["1, 8, x1", "4, 2, x4"]
    sheet = sheet_of(frame.drop(columns="y").to_dict("records"), lambda point: {"y": point["a"] + 0.5 * point["c"]})
    assert chosen(sheet, View()).heat == ("a", "c", "y")
    tornado.tornado_page(sheet, "y", main_effects(sheet.done, sheet.axes, "y"))
    drawn = pd.DataFrame({"a": rng.random(20), "b": rng.random(20), "y": rng.random(20)})
    assert sorted(main_effects(drawn, ["a", "b"], "y").index) == ["a", "b"]


def test_effects_leave_out_what_is_missing() -> None:
    frame = pd.DataFrame({"a": [1, 1, 2, 2, None], "t": ["x", None, "x", None, "x"], "one": 3, "y": [1.0, None, 3.0, 5.0, 100.0]})
    found = main_effects(frame, ["a", "t", "one"], "y")
    assert found.loc["a", ["mean_low", "mean_high", "points_low", "points_high"]].tolist() == [1.0, 4.0, 1, 2]
    assert math.isnan(found.loc["a", "standard_error"])
    assert found.loc["t", ["low", "high"]].tolist() == ["none", "x"]
    assert "one" not in found.index


# ---- two axes


def test_cells_of_the_heat_map_are_means_of_their_points() -> None:
    sheet = sheet_of(drawn(400), chip)
    done = sheet.frame[sheet.frame["error"].isna()]
    table = heat_table(sheet, "structure.wordlines", "weights.range", "energy_J").set_index(["structure.wordlines", "weights.range"])
    for (rows, name), part in done.groupby(["structure.wordlines", "weights.range"]):
        cell = table.loc[(str(rows), name)]
        assert cell["points"] == len(part)
        assert cell["mean"] == pytest.approx(part["energy_J"].mean(), rel=1e-12)
        assert (cell["lowest"], cell["highest"]) == (part["energy_J"].min(), part["energy_J"].max())


def test_bins_of_a_heat_map_hold_every_point_once() -> None:
    sheet = sheet_of(drawn(400), chip)
    table = heat_table(sheet, "device.sigma", "study.seconds", "accuracy")
    done = sheet.frame[sheet.frame["error"].isna()]
    assert len(table) == 64
    assert table["points"].sum() == len(done)
    assert (table["points"] * table["mean"]).sum() / len(done) == pytest.approx(done["accuracy"].mean(), rel=1e-12)
    first = table.iloc[0]["device.sigma"].split(" to ")  # by ratio: each bin as many times its own beginning
    ratio = sheet.frame["device.sigma"].max() / sheet.frame["device.sigma"].min()
    assert float(first[1]) / float(first[0]) == pytest.approx(ratio**0.125, rel=0.02)


def test_cells_without_points_are_there_and_empty() -> None:
    sheet = sheet_of([{"a": 1, "b": 1}, {"a": 2, "b": 2}], lambda point: {"accuracy": point["a"] / 10})
    table = heat_table(sheet, "a", "b", "accuracy")
    assert table["points"].tolist() == [1, 0, 0, 1]
    assert table["mean"].isna().tolist() == [False, True, True, False]
    texts = [text for text, _ in visible_texts(heat_map.heat_map(sheet, "a", "b", "accuracy"))]
    assert {"10.0", "20.0", "no point"} <= set(texts)


# ---- what is chosen, and what is refused


def test_usual_columns_are_chosen() -> None:
    view = chosen(sheet_of(drawn(60), chip), View())
    assert view.pareto == view.tornado == ("accuracy", "energy_J")
    assert view.heat[2] == "accuracy"
    assert view.better["power_W"] == "low"
    assert view.better["throughput_per_s"] == "high"
    own = sheet_of([{"n": n} for n in range(4)], lambda point: {"score": -point["n"], "loss": point["n"] ** 2})
    assert chosen(own, View()).pareto == ()
    assert chosen(own, View()).tornado == ("score",)
    assert chosen(own, View(better={"loss": "low", "score": "high"})).pareto == ("score", "loss")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View(pareto=("accuracy", "energy")), "pareto: energy: no such column of numbers; did you mean energy_J"),
        (View(pareto=("accuracy", "weights.range")), "pareto: weights.range: no such column of numbers"),
        (View(pareto=("accuracy", "adc.bits")), "which side of adc.bits is better is not known; say --better adc.bits=low"),
        (View(pareto=("accuracy", "accuracy")), "must be two or three different columns"),
        (View(heat=("adc.bits", "workload.name")), "heat: workload.name: no such axis that varies"),
        (View(heat=("adc.bits", "adc.bits")), "must be two different axes"),
        (View(heat=("adc.bits", "weights.range", "acuracy")), "heat: acuracy: .* did you mean accuracy"),
        (View(tornado=("latency",)), "tornado: latency: .* did you mean latency_s"),
        (View(better={"energy": "low"}), "better: energy: .* did you mean energy_J"),
        (View(better={"energy_J": "small"}), "energy_J = 'small': must be low or high"),
    ],
)
def test_a_view_of_what_is_not_there_is_refused(view: View, said: str) -> None:
    with pytest.raises(ResultsError, match=said):
        chosen(sheet_of(drawn(20), chip), view)


def test_nothing_can_be_asked_of_a_sweep_that_failed() -> None:
    with pytest.raises(ResultsError, match="tornado: accuracy: no such column of numbers"):
        chosen(SHEETS["all failed"](), View(tornado=("accuracy",)))
    sheet = sheet_of([{"n": n, "b": n % 3} for n in range(6)], refused)
    with pytest.raises(ResultsError, match="no point has a result"):
        chosen(sheet, View(heat=("n", "b")))
    assert chosen(sheet, View()) == View()


def test_a_front_without_points_is_drawn_as_such() -> None:
    """Its table has no row to be measured."""
    figure = page("Nothing", "")
    assert _fitted_table(figure, 0.8, pd.DataFrame({"point": [], "accuracy": []}), 0.02) < 0.8


def test_sides_and_units_of_names() -> None:
    assert [better_side(name) for name in ("operations_per_J", "throughput_per_s", "energy_J")] == ["high", "high", "low"]
    assert [unit_of(name) for name in ("operations_per_J", "energy_J")] == ["", "J"]


def test_a_networks_own_metric_has_its_unit_on_every_page() -> None:
    """As its runs show it: a share in percent and points, another in its unit, without a prefix; in any of its columns."""
    told = [
        {"name": "hit_rate", "title": "Hit rate", "unit": "", "better": "high"},
        {"name": "delay", "title": "Delay", "unit": "ticks", "better": "low"},
    ]  # fmt: skip
    sheet = sheet_of(
        [{"a": a, "b": b} for a in (1, 2) for b in (3, 4)],
        lambda point: {"hit_rate": point["a"] / 4, "hit_rate_float": 0.875, "delay": 0.002 * point["a"] * point["b"]},
    )
    sheet = SweepSheet(sheet.meta | {"metrics": told}, sheet.frame)
    columns = ("hit_rate", "hit_rate_float", "delay", "energy_J", "accuracy")
    assert [sheet.unit_of(name) for name in columns] == ["%", "%", "ticks", "J", "%"]
    view = chosen(sheet, View())
    assert view.pareto == ("hit_rate", "delay")
    assert view.better == {"hit_rate": "high", "hit_rate_float": "high", "delay": "low"}
    said = sweep_pages.summary_text(sheet, view).replace("\u00a0", " ")
    for needed in ("50.00 %", "87.50 %", "0.006000 ticks", "0.01600 ticks"):
        assert needed in said
    drawn_texts = [text.replace("\u00a0", " ") for page in pages(sheet, view) for text, _ in visible_texts(page)]
    for needed in ("hit_rate, %", "delay, ticks", "50.00 %", "+25.00 ± 0.00 points"):
        assert any(needed in text for text in drawn_texts), needed
    assert "delay 0.01600\\u00a0ticks" in linked(sheet, view)["parallel"]  # of a point that is pointed at
    plain = SweepSheet({name: value for name, value in sheet.meta.items() if name != "metrics"}, sheet.frame)
    assert plain.unit_of("hit_rate") == ""


def test_a_sweep_that_does_not_tell_its_metrics_is_named(kept: Path, tmp_path: Path) -> None:
    sheet = SweepSheet.load(kept)
    wrong = {"metrics": [{"of": 1}]}
    cases = (({"better": {"mine": "low"}}, "is of an earlier xbar.*it needs metrics"), (wrong, "metrics = .*needs metrics"))
    for more, said in cases:
        save(SweepSheet(sheet.meta | more, sheet.frame), tmp_path)
        with pytest.raises(ResultsError, match=rf"sweep\.json: {said}"):
            SweepSheet.load(tmp_path)
    save(SweepSheet(sheet.meta | {"better": {}}, sheet.frame), tmp_path)  # had none of its own
    assert SweepSheet.load(tmp_path).unit_of("accuracy") == "%"


# ---- pages


def pages(sheet: SweepSheet, view: View) -> list[Figure]:
    view = chosen(sheet, view)
    found = [sweep_pages.overview(sheet, view)]
    found += [sweep_pages.pareto(sheet, view)] if view.pareto else []
    found += [parallel_coordinates.parallel(sheet, view)] if sheet.metrics and sheet.axes else []
    found += [tornado.tornado_page(sheet, metric, main_effects(sheet.done, sheet.axes, metric)) for metric in view.tornado[:1]]
    return found + ([heat_map.heat_map(sheet, *view.heat)] if view.heat else [])


@pytest.mark.parametrize("name", SHEETS)
def test_no_text_overlaps_another_or_leaves_the_page(name: str) -> None:
    check_texts(pages(SHEETS[name](), View()))


def test_texts_of_what_was_asked_for() -> None:
    wanted = View(("accuracy", "energy_J", "latency_s"), ("study.seconds", "weights.range", "power_W"), ("power_W",))
    check_texts(pages(SHEETS["six axes"](), wanted))
    long = View(heat=("workload.name", "component.some_long_name_of_a_part.setting_number_3"))
    check_texts(pages(SHEETS["many axes"](), long)[-1:])


def test_the_best_points_are_the_best() -> None:
    sheet = sheet_of(drawn(200), chip)
    best = {name: (side, row, others) for name, side, row, others in sweep_pages.best_points(sheet, chosen(sheet, View()))}
    assert list(best) == ["accuracy", "energy_J", "latency_s", "area_m2", "throughput_per_s"]
    for name, (side, row, others) in best.items():
        least, most = sheet.done[name].min(), sheet.done[name].max()
        assert row[name] == (most if side == "high" else least)
        assert others == (sheet.done[name] == row[name]).sum() - 1
    shown = [text for text, _ in visible_texts(sweep_pages.overview(sheet, chosen(sheet, View())))]
    assert any("cannot hold a column's sum" in text for text in shown)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of four points."""
    folder = tmp_path_factory.mktemp("kept")
    save(sheet_of([{"adc.bits": bits, "device.sigma": sigma} for bits in (5, 7) for sigma in (1.0, 3.0)], chip), folder)
    return folder


def save(sheet: SweepSheet, folder: Path) -> None:
    sheet.frame.to_parquet(folder / "results.parquet")
    (folder / "sweep.json").write_text(json.dumps(sheet.meta))


def test_the_same_sheet_gives_the_same_files_and_old_ones_go(kept: Path, tmp_path: Path) -> None:
    sheet = SweepSheet.load(kept)
    paths = draw_sweep(sheet, tmp_path / "one")
    (tmp_path / "two").mkdir()
    draw_sweep(sheet, tmp_path / "two", View(tornado=("accuracy", "energy_J", "area_m2")))
    assert (tmp_path / "two" / "tornado_2.png").exists()  # two metrics of few axes on the first page
    draw_sweep(sheet, tmp_path / "two")
    assert not (tmp_path / "two" / "tornado_2.png").exists()
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert {path.name for path in paths} >= {"report.pdf", "report.html", "summary.txt", "tornado_1.png", "heat.png", "pareto.png"}
    assert {path.name for path in (tmp_path / "one").glob("*.csv")} == {"front.csv", "tornado.csv", "heat.csv"}
    assert not list(tmp_path.rglob("*.part"))


# ---- folders


def test_a_folder_that_is_no_sweeps_is_named(kept: Path, tmp_path: Path) -> None:
    meta, rows = (kept / "sweep.json").read_bytes(), (kept / "results.parquet").read_bytes()
    empty = tmp_path / "empty.parquet"
    SweepSheet.load(kept).frame.iloc[:0].to_parquet(empty)
    cases = [
        (None, rows, "no sweep.json there"), (meta, None, "no results.parquet there"), (b"{", rows, "sweep.json: is not JSON"),
        (b"\xff", rows, "sweep.json: is not JSON"), (b"[]", rows, "is not of a sweep"),
        (b'{"varied": 3, "fixed": {}}', rows, "varied must be"),
        (meta, b"", "results.parquet: cannot be read"), (meta, empty.read_bytes(), "has 0 rows, sweep.json tells of 4 points"),
        (meta.replace(b'"points": 4', b'"points": 5'), rows, "has 4 rows, sweep.json tells of 5 points"),
        (meta.replace(b'"device.sigma"]', b'"device.sigma", "gone"]'), rows, "results.parquet: has no column gone"),
        *((meta, rows[:end], "results.parquet: cannot be read") for end in range(3, len(rows), 997)),
    ]  # fmt: skip
    for place, (described, table, said) in enumerate(cases):
        folder = tmp_path / str(place)
        folder.mkdir()
        for name, content in (("sweep.json", described), ("results.parquet", table)):
            if content is not None:
                (folder / name).write_bytes(content)
        with pytest.raises(ResultsError, match=said):
            SweepSheet.load(folder)


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_flipped_byte_is_read_or_named(kept: Path, tmp_path_factory: pytest.TempPathFactory, place: float, value: int) -> None:
    rows = bytearray((kept / "results.parquet").read_bytes())
    rows[min(int(place * len(rows)), len(rows) - 1)] = value
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "sweep.json").write_bytes((kept / "sweep.json").read_bytes())
    (folder / "results.parquet").write_bytes(rows)
    said = ""
    try:
        SweepSheet.load(folder)
    except ResultsError as error:
        said = str(error)
    assert not said or said.startswith(str(folder / "results.parquet"))

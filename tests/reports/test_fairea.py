"""The report on fair assignment: drawn from saved tables alone, and what it says."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from xbar.reports.fairea import draw_fairea, summary_text
from xbar.reports.fairea_front import METHODS
from xbar.reports.fairea_repairs import bettered_text
from xbar.reports.fairea_sheet import BEFORE, OF_CHIP, RANDOM, FaireaSheet, table_names
from xbar.reports.fairea_sweeps import _value
from xbar.reports.fairea_verdict import MEASURES as JUDGED
from xbar.reports.fairea_verdict import harm_text, harms, judged_methods, selection_text
from xbar.reports.fairea_words import _explained, limits_text, methods_text, noise_text, opening_text, share_band
from xbar.reports.results import ResultsError

MEASURES = [f"{x}_{g}" for x in ("shift", "lost", "dropped") for g in ("minority", "majority", "gap")]
MEASURES += ["error", "changed", "selection_ratio", "regret", "regret_truth", "distance"]
REPAIRS = ("9-bit weights", "write-verify")


def rows(sources: tuple[str, ...], **labels: object) -> list[dict[str, object]]:
    return [
        {**labels, "source": source, "assigner": assigner, "measure": name, "mean": 0.2, "low": 0.1, "high": 0.3, "instances": 9}
        for source, name, assigner in product(sources, MEASURES, ("FairEA", "largest fitness"))
    ]


@pytest.fixture
def sheet() -> FaireaSheet:
    placed = {"fitness": 5.0, "distance": 0.3, "dominated_by": 2, "front": 3, "least_distance": 0.1, "most_fitness": 6.0}
    meta: dict[str, Any] = {
        "version": "0", "workload": "fairea", "title": "Fair assignment", "chip": "edge", "chip_title": "Edge", "network": "club",
        "attribute": "place", "positions": 12, "edges": 14, "classes": {"NA": 6, "b": 4, "c": 2}, "open": 3,
        "candidates": {"NA": 4, "c": 2}, "minority": "c", "pairs": 20, "r_full": 0.3, "r_filled": 0.25, "test_correlation": 0.9,
        "test_rmse": 0.1, "exact": False, "patterns": 0, "gap": None, "gap_fairea": None, "float_ratio": None,
        "placed": {"actual holders": placed, "FairEA": placed}, "random_draws": 4,
        "filled": {"NA": 5, "b": 3, "c": 1}, "attribute_named": True, "told": ["12 rows of edges are 11 ties"], "left_out": [],
        "answer": "fittest within limits", "four_fifths": 0.8,
        "limits": {"asked": False, "wanted": {"selection": 0.8, "core": 0.9}, "kept": {"selection": 0.8}, "dropped": [["core", "proved"]],
                   "exact": True, "gap": 0.0},
        "study": {"instances": 9, "pool": 2, "pairs": 100, "epochs": 1},
        "world": {"skills": 6, "background": 2, "steepness": 2.5, "outcome_noise": 0.5, "profile_shift": 0.5, "applicants": 3,
                  "more_positions": 4, "shares": {"NA": 0.5, "b": 0.3, "c": 0.2}},
        "judged": {"weight_bits": 5, "input_bits": 8, "cell_bits": 4, "adc_bits": 8, "programming_model": "polynomial",
                   "programming_sigma": 0.0, "sigma_is_own": True, "read_noise_sigma": 0.0, "read_noise_is_own": True,
                   "drift_is_own": True, "drift_levels": 16, "tolerance": 0.01, "most_pulses": 100},
        "writes": {"write_energy": {"value": 1e-12, "own": False, "unit": "J a pulse", "why": "assumed"},
                   "write_time": {"value": 1e-7, "own": True, "unit": "s a pulse", "why": ""}},
    }  # fmt: skip
    angle = np.linspace(0, 6, 12)
    held = ["NA"] * 6 + ["b"] * 4 + ["c"] * 2
    opened = [n in (0, 7, 11) for n in range(12)]
    nodes = pd.DataFrame({"position": [str(n) for n in range(12)], "x": np.cos(angle), "y": np.sin(angle), "open": opened,
                          "before": ["" if o else c for o, c in zip(opened, held, strict=True)], "fairea": ["", *held[1:]],
                          "improved": held, "actual": held})  # fmt: skip
    edges = pd.DataFrame({"source": range(11), "target": range(1, 12)})
    names = [BEFORE, *METHODS, RANDOM]
    methods = pd.DataFrame({
        "method": names, "fitness": np.linspace(2, 6, len(names)), "true_fitness": 3.0, "fitness_normalised": 0.5,
        "abs_assortativity": np.linspace(0.3, 0.0, len(names)), "assortativity": 0.1, "cross_group_share": 0.4, "isolated_share": 0.2,
        "unfilled": 1.0, "selection_ratio": 1.0, "isolated_members": 3.0, "community_minority_share": 0.1, "degree_ratio": 0.9,
        "core_ratio": 0.9,
    })  # fmt: skip
    points = pd.DataFrame({"front": ["improved"] * 3 + ["random"] * 2, "fitness": [4.0, 5, 6, 3, 2],
                           "abs_assortativity": [0.0, 0.1, 0.2, 0.3, 0.4]})  # fmt: skip
    both = ("chip", "own variance", "one variance", "chip less own variance", "chip less one variance")
    noise = rows(both, series="judged", value=0.0, label="as judged")
    for series, value in (("sigma", 0.0), ("sigma", 0.1), ("adc", 6.0), ("drift", 1.0), ("drift", 86400.0), ("drift, compensated", 1.0)):
        noise += rows(both[:2], series=series, value=value, label=f"{series} {value:g}")
    for number, label in enumerate(REPAIRS):
        noise += rows(both[:2], series="repair", value=float(number), label=label)
    costs = pd.DataFrame([
        {"label": label, "pairs": 20, "filled": 3, "reads": 1, "actions": 1e5, "energy_J": 1e-7, "static_J": 0.0, "latency_s": 1e-5,
         "energy_per_pair_J": 5e-9, "energy_per_position_J": 3e-8, "towers_once_J": 5e-8, "arrays": 3, "writing_J": 1e-9, "pulses": 1.0}
        for label in ("as judged", *REPAIRS)
    ])  # fmt: skip
    openings = pd.DataFrame(rows(("float", "chip", "one variance", "chip less one variance")))
    groups = pd.DataFrame([
        {"method": name, "attribute": "place", "group": group, "members_before": 5, "members_after": 6, "alone_before": 0, "alone_after": 1,
         "candidates": 4 + 10 * n, "chosen": 2 + 3 * n, "rate": (2 + 3 * n) / (4 + 10 * n), "p_value": 0.6, "mean_degree": 2.0,
         "mean_core": 2.0}
        for name in METHODS for n, group in enumerate(("NA", "c"))
    ])  # fmt: skip
    placements = pd.DataFrame([
        {"method": name, "position": str(n), "candidate": "" if n == 0 else f"c{n}", "class": "NA", "fitness": np.nan if n == 0 else 0.5,
         "rank": 1.0, "qualified": 3, "runner_up": "c9", "runner_up_class": "c", "exchanged": "", "fitness_change": -0.1,
         "distance_change": 0.01, "selection_ratio_change": 0.0, "isolated_change": 1.0, "reason": "fittest of 3"}
        for name in ("fittest within limits", "FairEA") for n in range(90)
    ])  # fmt: skip
    curve = pd.DataFrame([
        {"measure": name, "limit": limit, "fitness": np.nan if limit == 0.9 else 5.0 - limit, "bound": 5.0, "exact": limit < 0.5}
        for name in ("distance", "selection", "isolated") for limit in (0.1, 0.4, 0.6, 0.9)
    ])  # fmt: skip
    return FaireaSheet(
        meta, nodes, edges, methods, groups, placements, points, curve, pd.DataFrame(noise),
        pd.DataFrame({"instance": [0], "changed": [0.1]}), costs, openings,
    )  # fmt: skip


def test_a_sheet_comes_back_as_it_was_saved(sheet: FaireaSheet, tmp_path: Path) -> None:
    for pools in (pd.DataFrame({"share": [0.1, 0.2], "mean": [0.25, np.nan]}), pd.DataFrame()):
        saved = replace(sheet, pools=pools)
        saved.save(tmp_path)
        found = FaireaSheet.load_from(tmp_path)
        assert found.meta == saved.meta
        for name in table_names():
            pd.testing.assert_frame_equal(getattr(found, name), getattr(saved, name), check_dtype=False)
    assert list(found.nodes["before"][:2]) == ["", "NA"]  # a class of that name stays one


def test_a_folder_without_a_run_is_named(sheet: FaireaSheet, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="fair assignment"):
        FaireaSheet.load_from(tmp_path)
    sheet.save(tmp_path)
    (tmp_path / "methods.csv").unlink()
    with pytest.raises(ResultsError, match=r"methods\.csv"):
        FaireaSheet.load_from(tmp_path)


@pytest.mark.usefixtures("sketched")
def test_pages_are_drawn_without_exact_front_and_pools(sheet: FaireaSheet, tmp_path: Path) -> None:
    paths = draw_fairea(sheet, tmp_path)
    assert len([path for path in paths if path.stem.startswith("report_")]) == 11
    assert {"report.pdf", "report.html", "summary.txt", "reproducibility.png"} <= {path.name for path in paths}
    assert {"who_goes_where.csv", "measures.csv"} <= {path.name for path in paths}


def test_a_repair_that_another_betters_at_no_more_energy_is_named(sheet: FaireaSheet) -> None:
    assert bettered_text(sheet) == ""  # all change as many
    noise, costs = sheet.noise.copy(), sheet.costs.copy()
    verified = (noise["label"] == "write-verify") & (noise["measure"] == "changed")
    noise.loc[verified, ["mean", "low", "high"]] = [0.02, 0.0, 0.05]
    assert "with write-verify (101 nJ) than as judged, 9-bit weights." in bettered_text(replace(sheet, noise=noise)).replace("\u00a0", " ")
    costs.loc[costs["label"] == "write-verify", "writing_J"] = 2e-9  # dearer than all
    assert bettered_text(replace(sheet, noise=noise, costs=costs)) == ""


def test_what_the_report_says(sheet: FaireaSheet) -> None:
    assert "2 of 3 matchings of the front" in methods_text(sheet)
    assert "exact front" not in methods_text(sheet)
    free = {**sheet.meta, "placed": {"actual holders": {**sheet.meta["placed"]["FairEA"], "dominated_by": 0}}}
    assert "nothing found is better" in methods_text(replace(sheet, meta=free))
    exact = {**sheet.meta, "exact": True, "gap": 0.0, "gap_fairea": 0.125, "patterns": 1234}
    assert "(1,234 class patterns)" in methods_text(replace(sheet, meta=exact))
    assert "12.5" in methods_text(replace(sheet, meta=exact))
    assert "so the chip adds +0.20 (+0.10 to +0.30)" in noise_text(sheet)
    assert "ranks go down" in noise_text(sheet)
    assert "in float" not in noise_text(sheet).rpartition("selection")[2]  # no ratio in float is known
    assert "Fitness lost: +20.0 (+10.0 to +30.0) % of its range" in noise_text(sheet)
    assert "weighted Hungarian" in summary_text(sheet)
    assert "ratio of selection rates at least 0.80. It costs" in limits_text(sheet)
    assert "proved by HiGHS to be the fittest. Ratio of mean core numbers at least 0.90: proved to be out of reach" in limits_text(sheet)


@pytest.mark.parametrize(
    ("gap", "net", "told"),
    [((0.1, 0.3), (0.1, 0.2), "adds"), ((-0.3, -0.1), (-0.2, -0.1), "takes"), ((0.1, 0.3), (-0.1, 0.1), "any errors of that size"),
     ((-0.1, 0.3), (-0.1, 0.1), "no gap"), ((np.nan, np.nan), (np.nan, np.nan), "no gap")],
)  # fmt: skip
def test_a_gap_is_called_the_chips_only_where_the_control_has_less(
    gap: tuple[float, float], net: tuple[float, float], told: str
) -> None:
    made = [pd.Series({"mean": sum(band) / 2, "low": band[0], "high": band[1]}) for band in (gap, net)]
    assert told in _explained(*made)


def test_shares_stay_within_what_a_share_can_be() -> None:
    assert share_band(pd.Series({"mean": 0.01, "low": -0.01, "high": 0.02})) == "1\u00a0% (0\u00a0% to 2\u00a0%)"
    assert share_band(pd.Series({"mean": np.nan, "low": np.nan, "high": np.nan})) == "–"


@pytest.mark.parametrize(
    ("series", "value", "shown"),
    [("drift", 1.0, "1 s"), ("drift", 60.0, "1 min"), ("drift", 7200.0, "2 h"), ("drift", 86400.0, "1 day"),
     ("drift", 10 * 31557600.0, "10 years"), ("sigma", 0.05, "5\u00a0%"), ("adc", 8.0, "8")],
)  # fmt: skip
def test_values_of_sweeps_in_words(series: str, value: float, shown: str) -> None:
    assert _value(series, value) == shown


# ---- whom it harms

HOLDERS = "actual holders"


def told(sheet: FaireaSheet, values: dict[str, dict[str, float]], **meta: Any) -> FaireaSheet:
    """The sheet with these measures of methods, all others equal and harmless."""
    even = {"fitness": 5.0, "fitness_normalised": 0.9, "selection_ratio": 1.0, "cross_group_share": 0.5, "unfilled": 0.0}
    even |= {measure.column: 1.0 for measure in JUDGED}
    methods = pd.DataFrame([{"method": name, **even, **row} for name, row in values.items()])
    return replace(sheet, methods=methods, meta={**sheet.meta, **meta})


def test_the_lawyers_fairea_hurts_and_best_fitness_does_not(sheet: FaireaSheet) -> None:
    """|r| 0.101 against 0.079, 0.054 and 0.049, selection rates 43 and 56 %: the case that pages kept quiet about."""
    values = {BEFORE: {"abs_assortativity": 0.11}, HOLDERS: {"abs_assortativity": 0.079}, RANDOM: {"abs_assortativity": 0.054},
              "FairEA": {"abs_assortativity": 0.101, "selection_ratio": 0.76},
              "largest fitness": {"abs_assortativity": 0.049, "fitness_normalised": 1.0},
              "weighted Hungarian": {"abs_assortativity": 0.04, "selection_ratio": 0.06}}  # fmt: skip
    lawyers = told(sheet, values)
    text = harm_text(lawyers)
    assert "|r| 0.101 (0.079 with the actual holders, 0.054 by chance)" in text
    assert "ratio of selection rates 0.76 (0.80 needed)" in text
    assert "Nothing is made worse by: largest fitness (fitness 100\u00a0% of its range)" in text
    assert not harms(lawyers, "largest fitness")
    assert [harm.measure.column for harm in harms(lawyers, "weighted Hungarian")] == ["selection_ratio"]


def test_the_karate_clubs_isolated_minority_is_told(sheet: FaireaSheet) -> None:
    values = {BEFORE: {"isolated_share": 0.0}, HOLDERS: {"isolated_share": 0.0}, RANDOM: {"isolated_share": 0.05},
              "FairEA": {"isolated_share": 0.06}, "improved": {"isolated_share": 0.12}}  # fmt: skip
    text = harm_text(told(sheet, values))
    assert "minority members with no neighbour of their class 6\u00a0% (0\u00a0% before, 0\u00a0% with the actual holders, 5" in text
    assert "Every method makes these worse" in text


def test_a_class_nobody_chose_and_one_of_a_single_person_are_said(sheet: FaireaSheet) -> None:
    """Krackhardt's managers: the level became the class, and the minority was one CEO."""
    managers = replace(sheet, meta={**sheet.meta, "attribute": "level", "attribute_named": False,
                                    "classes": {"Manager": 14, "Vice President": 6, "CEO": 1}})  # fmt: skip
    assert "Nobody named an attribute: level is the first" in opening_text(managers)
    assert "CEO (1 among members)" in summary_text(managers).replace("\n", " ")


def test_no_harm_is_told_where_there_is_none(sheet: FaireaSheet) -> None:
    assert "makes no measure worse" in harm_text(told(sheet, {name: {} for name in (BEFORE, RANDOM, "FairEA")}))
    assert judged_methods(told(sheet, {name: {} for name in (BEFORE, RANDOM, "FairEA", "smallest fitness")})) == ["FairEA"]


def test_selection_rates_are_told_with_what_chance_makes(sheet: FaireaSheet) -> None:
    text = selection_text(sheet)
    assert "c 36\u00a0% of 14, NA 50\u00a0% of 4, ratio 0.71, below four fifths" in text
    assert "p = 0.60, which chance may well make" in text


@pytest.mark.usefixtures("undrawn")
def test_pages_need_no_chip(sheet: FaireaSheet, tmp_path: Path) -> None:
    own = {name: value for name, value in sheet.meta.items() if name not in ("world", "judged", "writes", "test_correlation")}
    alone = replace(sheet, meta=own | {"chip": None}, **{name: pd.DataFrame() for name in OF_CHIP})
    alone.save(tmp_path)
    found = FaireaSheet.load_from(tmp_path)
    assert not found.on_chip
    assert "made up" not in summary_text(found)
    pages = {path.stem for path in draw_fairea(found, tmp_path)}
    assert "report_chip" not in pages
    assert {"report_placements_3", "report_method"} <= pages
    assert pd.read_csv(tmp_path / "who_goes_where.csv")["candidate"].isna().sum() == 1  # stays open

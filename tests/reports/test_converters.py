"""The page of a chip's converters: what its tables hold, and that it is drawn."""

from pathlib import Path

import numpy as np
import pytest

from tests.reports.drawing import check_page, visible
from xbar.hw import Chip, load_chip, preset_names
from xbar.hw.cost.laws import LAWS
from xbar.reports.converters import NAMES, converter_page, draw_converters
from xbar.workloads.study.converters import UNITS, converter_sheet


def test_ideal_converters_follow_the_straight_line(isaac: Chip) -> None:
    sheet = converter_sheet(isaac)
    assert (sheet.dac["deviation_steps"] == 0).all()
    inside = sheet.adc[(sheet.adc["current_steps"] >= 0) & (sheet.adc["current_steps"] <= 255)]
    assert (inside["code"] - inside["current_steps"]).abs().max() <= 0.5
    assert (np.diff(sheet.adc["code"]) >= 0).all()
    assert (sheet.adc["code"].min(), sheet.adc["code"].max()) == (0, 255)
    assert sheet.own["energy_J"] == pytest.approx(16e-3 / 8 / 1.28e9)  # as its file states it, 16 mW of 8 ADCs
    law = sheet.cost[(sheet.cost["bits"] == 8) & (sheet.cost["architecture"] == "survey")].iloc[0]
    assert law["energy_J"] == pytest.approx(LAWS["survey"](bits=8, rate=1.28e9, node=32e-9).energy)
    assert "ramp" not in set(sheet.cost["architecture"]), "it does not reach 1.28 GS/s"
    assert (sheet.cost.groupby("architecture")["energy_J"].diff().dropna() >= 0).all()


def test_units_that_err_differ_and_stay_monotone(edge: Chip) -> None:
    errors = {"offset_sigma": 0.5, "gain_sigma": 0.02, "inl_sigma": 0.8}
    sheet = converter_sheet(edge.with_changes(component={"adc": errors}))
    codes = np.stack([unit["code"].to_numpy() for _, unit in sheet.adc.groupby("unit")])
    assert len(codes) == UNITS
    assert (np.diff(codes, axis=1) >= 0).all()
    assert len(np.unique(codes, axis=0)) == UNITS


@pytest.mark.parametrize("name", preset_names())
def test_a_page_has_a_curve_of_each_structure_and_the_chip_s_own_point(name: str) -> None:
    sheet = converter_sheet(load_chip(name))
    figure = converter_page(sheet)
    check_page(visible(figure))
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    for title, column, factor in (("Energy of a conversion, by bits", "energy_J", None), ("Area of an ADC, by bits", "area_m2", 1e12)):
        axes = panels[title]
        curves = {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}
        assert set(curves) == {NAMES[law] for law in sheet.cost["architecture"]}
        own = next(line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()))
        assert list(own.get_xdata()) == [sheet.bits]
        shown = factor or curves[NAMES[sheet.architecture]].get_ydata()[0] / sheet.cost.loc[
            sheet.cost["architecture"] == sheet.architecture, column].iloc[0]  # fmt: skip
        assert own.get_ydata()[0] == pytest.approx(sheet.own[column] * shown)


def test_pages_are_written(edge: Chip, tmp_path: Path) -> None:
    paths = draw_converters([converter_sheet(edge)], tmp_path)
    assert [path.name for path in paths] == ["edge-converters.png", "edge-converters.pdf"]
    assert all(path.stat().st_size > 10_000 for path in paths)

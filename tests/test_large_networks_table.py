"""docs/large-networks.md: the tables are what the measurements say, and what is measured today."""

import math
import runpy
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
QUICK = ("vgg16_cifar10 hermes several", "vgg16_cifar10 phase_change written")  # seconds each
ENDLESS = {"years", "endurance"}
OF_COMPUTER = {"measured", "memory", "trace_s", "place_s", "simulate_s"}  # not of the chip


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    sys.path.insert(0, str(DOCS / "tables"))
    try:
        return runpy.run_path(str(DOCS / "tables" / "large_networks.py"))
    finally:
        sys.path.remove(str(DOCS / "tables"))
        del sys.modules["networks"]


def test_rows_are_of_cases_in_their_order_and_all_numbers(script: dict[str, Any]) -> None:
    for table in script["TABLES"]:
        rows = table.rows
        assert [*rows] == [case for case in table.cases if case in rows], f"{table.file} has rows of no case"
        for row in rows.values():
            told = {each.name: getattr(row, each.name) for each in fields(row)}
            assert all(not isinstance(value, float) or value >= 0 for value in told.values()), told
            assert all(math.isfinite(value) for name, value in told.items() if isinstance(value, float) and name not in ENDLESS)


def test_the_page_has_the_tables_of_the_measurements(script: dict[str, Any]) -> None:
    page = (DOCS / "large-networks.md").read_text("utf-8")
    for table in script["TABLES"]:
        assert script["table_of"](page, table.columns) == table.text, "run python docs/tables/large_networks.py"


def test_ways_of_a_network_belong_together(script: dict[str, Any]) -> None:
    rows = script["TABLES"][0].rows
    for network in script["NETWORKS"]:
        for chip in script["PRESETS"]:
            cases = [f"{network} {chip} {way}" for way in script["WAYS"]]
            if not set(cases) <= {*rows}:
                continue
            one, several, turns = (rows[case] for case in cases)
            assert one.chips == one.turns == turns.chips == several.turns == 1
            assert several.chips == turns.turns
            assert turns.area_m2 <= several.area_m2
            assert (turns.years < math.inf) == (turns.turns > 1)
            assert 0 < turns.write_J < turns.energy_J or turns.turns == 1
            assert all(0 < row.on_chip_J < row.energy_J for row in (one, several, turns))


def test_cells_of_static_memory_are_written_at_once_and_do_not_wear(script: dict[str, Any]) -> None:
    rows = {case.split()[1]: row for case, row in script["TABLES"][2].rows.items()}
    memory = rows.pop("static_memory")
    assert memory.years == math.inf
    for row in rows.values():
        assert row.years < 1
        assert row.written_s > 10 * memory.written_s


@pytest.mark.parametrize("case", QUICK)
def test_numbers_are_those_of_today(script: dict[str, Any], case: str) -> None:
    table = script["TABLE_OF"][case]
    row, found = table.rows[case], table.measure(case)
    for each in fields(row):
        if each.name not in OF_COMPUTER:
            told, now = getattr(row, each.name), getattr(found, each.name)
            assert now == (pytest.approx(told, rel=1e-6) if isinstance(told, float) else told), each.name

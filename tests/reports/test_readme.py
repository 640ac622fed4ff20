"""What reports/README.md says of the modules and pages is so."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.reports.test_linked import a_sheet
from xbar.reports.render import FIGURES, NEEDS

ROOM = Path(__file__).parents[2] / "reports"
README = (ROOM / "README.md").read_text("utf-8")
FILES, _, PYTHON = README.partition("## Pages from Python")


def test_every_module_is_in_the_table_once() -> None:
    told = re.findall(r"`(\w+\.py)`", FILES)
    assert len(told) == len({*told})
    assert {*told} == {path.name for path in ROOM.glob("*.py")} - {"__init__.py"}


def test_pages_of_other_folders_are_where_they_are_said_to_be() -> None:
    rows = [line.split("|")[3] for line in PYTHON.splitlines() if line.startswith("| `xbar ") and "`xbar run` |" not in line]
    assert len(rows) == 7
    for row in rows:
        module = ""
        for name in re.findall(r"`([\w.]+)`", row):
            module, _, function = name.rpartition(".") if "." in name else (module, "", name)
            assert callable(getattr(import_module(f"xbar.reports.{module}"), function)), name


def test_pages_that_every_run_has_are_named() -> None:
    told = re.search(r"takes\. (.*?) can be drawn of every run", PYTHON, re.DOTALL)
    assert told is not None
    assert set(re.findall(r"`(\w+)`", told[1])) == {FIGURES[name].__name__ for name in FIGURES if name not in NEEDS}


def test_pages_of_a_sweep_are_had_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = a_sheet()
    (tmp_path / "out" / "sweep").mkdir(parents=True)
    sheet.frame.to_parquet(tmp_path / "out" / "sweep" / "results.parquet")
    (tmp_path / "out" / "sweep" / "sweep.json").write_text(json.dumps(sheet.meta))
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL)[1]
    lines = [line.partition("  #")[0] for line in code.strip().splitlines()]
    names = {"Path": Path}
    exec("\n".join([*lines[:-2], f"pages = [{lines[-2]}, *{lines[-1]}]"]), names)
    assert [type(page) for page in names["pages"]] == [Figure] * 4

"""The guide as a site (docs/site): its navigation has every page, its reference every public name.

`make docs` builds it, with warnings as errors; a link that leads nowhere is one. It takes Sphinx, of the extra `docs`: no test needs it.
"""

import re
import runpy
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import xbar
from xbar import compression, hw, reports
from xbar.hw import analog

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def words() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "site" / "words.py"))


@pytest.fixture(scope="module")
def documented() -> set[str]:
    """Modules that the reference documents."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.rst"))
    return set(re.findall(r"^\.\. automodule:: ([\w.]+)$", text, re.MULTILINE))


def test_every_chapter_is_in_the_navigation_once(words: dict[str, Any]) -> None:
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    listed = words["chapters"](ROOT)
    assert len(listed) == len(set(listed))
    assert set(listed) == there


def test_pages_and_readmes_are_in_the_navigation(words: dict[str, Any]) -> None:
    pages = {path.stem for path in (ROOT / "docs" / "reference").glob("*.rst")}
    assert set(words["reference_pages"](ROOT)) == pages
    assert {"docs/README", "hw/README", "results/README"} <= set(words["readmes"](ROOT))


def test_no_heading_skips_a_level() -> None:
    """Sphinx refuses a part of a part where there is no part."""
    files = [path for path in ROOT.rglob("*.md") if not {".venv", "build", "out"} & {*path.relative_to(ROOT).parts}]
    assert len(files) > 20
    for path in files:
        text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
        levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
        assert all(after <= before + 1 for before, after in pairwise([0, *levels])), path


def test_every_public_module_is_documented(documented: set[str]) -> None:
    """All of workloads.study and reports, and the doors of the rooms."""
    study = {f"xbar.workloads.study.{path.stem}" for path in (ROOT / "workloads" / "study").glob("*.py")}
    pages = {f"xbar.reports.{path.stem}" for path in (ROOT / "reports").glob("*.py")}
    wanted = {"xbar", "xbar.hw", "xbar.hw.analog", "xbar.compression", "xbar.reports", "xbar.workloads.own"}
    wanted |= {name for name in study | pages if not name.endswith("__init__")}
    assert wanted <= documented
    for name in documented:
        assert import_module(name).__doc__, name


@pytest.mark.parametrize("door", [xbar, hw, analog, compression], ids=lambda module: module.__name__)
def test_every_public_name_tells_what_it_is(door: Any) -> None:
    """Sphinx leaves out what has no docstring of its own."""
    for name in door.__all__:
        thing = getattr(door, name)
        assert (thing.__doc__ or "").strip(), f"{door.__name__}.{name}"
    if door is xbar:
        assert all(callable(getattr(reports, name)) for name in reports.PAGES)


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        (["One line of `name`."], ["One line of ``name``\\ .", ""]),
        (["A [m] * b | c_", "goes on.", "", "- one", "  more", "- two"], ["A [m] \\* b \\| c\\_ goes on.", "", "- one more", "- two", ""]),
        (["Reads:", "- a"], ["Reads:", "", "- a", ""]),
        (["Text", "", "    x = 1", "      y"], ["Text", "", "::", "", "        x = 1", "          y", ""]),
    ],
)  # fmt: skip
def test_docstrings_stay_what_they_are(words: dict[str, Any], docstring: list[str], shown: list[str]) -> None:
    assert words["restructured"](docstring) == shown

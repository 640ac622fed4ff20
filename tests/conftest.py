"""What every test may use, what the whole run is asked (`--accept`, `--measure`), which tests are slow, and what no test may do."""

import gc
import math
import os
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # of pytest-xdist; each has one core then, and so have the processes that its tests start
    os.environ["OMP_NUM_THREADS"] = "1"

import xbar  # noqa: E402, F401 - first: it tells waiting threads to sleep, before torch begins them

import torch  # isort: skip # noqa: E402

from xbar.hw import Chip, load_chip  # noqa: E402

if WORKERS > 1:
    torch.set_num_threads(1)

TESTS = Path(__file__).parent
ROOT = TESTS.parent
ROOMS = ("hw", "models", "compression", "workloads", "reports")
SLOW = TESTS / "slow.txt"
"""Seconds of processor time and name of each test function that `make check` leaves out: its tests take more than SLOW_SECONDS
together, all parameters and the fixtures that they share with others included. `pytest --measure` writes them."""
SLOW_SECONDS = 0.25
WRITTEN = pytest.StashKey[list[str]]()
MEASURED = pytest.StashKey["Measured"]()


@dataclass
class Measured:
    """Processor time [s] by test function, and by fixture that several tests share; which fixtures a function shares."""

    calls: dict[str, float] = field(default_factory=dict)
    setups: dict[str, float] = field(default_factory=dict)
    shared: dict[str, set[str]] = field(default_factory=dict)

    def seconds(self) -> dict[str, float]:
        """Of all tests of each function, with all of what they share."""
        return {
            function: seconds + sum(self.setups.get(fixture, 0.0) for fixture in self.shared[function])
            for function, seconds in self.calls.items()
        }


def processor_time() -> float:
    """Of this process and of those that it waited for [s]."""
    return sum(os.times()[:4])


def function_of(item: pytest.Item) -> str:
    """Path from the folder of the tests, and name without parameters."""
    return f"{item.path.relative_to(TESTS).as_posix()}::{item.nodeid.partition('::')[2].partition('[')[0]}"


def slow_functions() -> dict[str, float]:
    """What SLOW tells: seconds by function."""
    rows = (line.split(maxsplit=1) for line in SLOW.read_text("utf-8").splitlines())
    return {function: float(seconds) for seconds, function in rows}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true",
        help="write what tests/golden and tests/test_docs.py find in place of what stands there; say in the commit why it changed",
    )  # fmt: skip
    parser.addoption("--measure", action="store_true", help="write which of the tests that are run are slow to tests/slow.txt")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[WRITTEN] = []
    config.stash[MEASURED] = Measured()
    for option in ("--accept", "--measure"):
        if config.getoption(option) and config.getoption("numprocesses", None):
            raise pytest.UsageError(f"{option} writes files, one process at a time: leave -n out")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and put the longest modules first: `make test` gives a module to one core, and a long one must not begin
    when others end."""
    slow, functions = slow_functions(), dict[Path, set[str]]()
    for item in items:
        function = function_of(item) if item.path.is_relative_to(TESTS) else ""
        if function in slow:
            item.add_marker(pytest.mark.slow)
        functions.setdefault(item.path, set()).add(function)
    seconds = {path: math.fsum(slow.get(each, 0.0) for each in named) for path, named in functions.items()}  # in any order the same
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """What is imported stays: collections of garbage that look through all of it again and again took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Torch's own generator begins anew before each module, fixture and test, so that what a test draws without a generator is the
    same whatever ran before it."""
    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    began = processor_time()
    torch.manual_seed(0)
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            setups, name = request.config.stash[MEASURED].setups, f"{fixturedef.baseid}::{fixturedef.argname}"
            setups[name] = setups.get(name, 0.0) + processor_time() - began


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    measured, function, began = item.config.stash[MEASURED], function_of(item), processor_time()
    torch.manual_seed(0)
    try:
        return (yield)
    finally:
        measured.calls[function] = measured.calls.get(function, 0.0) + processor_time() - began
        definitions = [last for *_, last in getattr(item, "_fixtureinfo").name2fixturedefs.values()]  # noqa: B009 - pytest's own
        fixtures = {f"{each.baseid}::{each.argname}" for each in definitions if each.scope != "function"}
        measured.shared.setdefault(function, set()).update(fixtures)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--measure"):
        found = slow_functions() | session.config.stash[MEASURED].seconds()
        slow = sorted((function, seconds) for function, seconds in found.items() if seconds > SLOW_SECONDS)
        SLOW.write_text("".join(f"{seconds:6.1f} {function}\n" for function, seconds in slow), "utf-8")
        session.config.stash[WRITTEN].append(f"{SLOW.relative_to(ROOT)}: {len(slow)} functions are slow")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[WRITTEN]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def accept(pytestconfig: pytest.Config) -> Callable[[str], None] | None:
    """With --accept what tells, at the end of the run, that something was written; else None, and tests compare."""
    return pytestconfig.stash[WRITTEN].append if pytestconfig.getoption("--accept") else None


@pytest.fixture(autouse=True)
def _nothing_of_ours_at_the_top() -> Iterator[None]:
    """Our folders are imported as xbar.hw and so on: the first test that loads one by its bare name, which a user's module or
    Python 3.14's package `compression` may have, fails."""
    yield
    loaded = [name for name in ROOMS if name in sys.modules and _ours(sys.modules[name])]
    assert not loaded, f"loaded at the top: {', '.join(loaded)}; they are imported as xbar.{loaded[0]}"


def _ours(module: object) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place and Path(place).resolve().is_relative_to(ROOT) for place in places)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data that does not ship with the project; skips where it is absent."""
    folder = Path(os.environ.get("XBAR_DATA", ROOT / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set XBAR_DATA to a folder that has it)")
    return folder


def _leave_empty_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from xbar.reports import pages

    def touched(path: Path) -> Path:
        path.write_bytes(b"")
        return path

    monkeypatch.setattr(pages, "save_pdf", lambda figures, path, title: touched(path))
    monkeypatch.setattr(pages, "save_png", lambda figure, path: touched(path))
    monkeypatch.setattr(pages, "svg", lambda figure, name, label: Markup("<svg></svg>"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not drawn, which takes seconds a report: empty files stand for the PDF and the pictures, headings alone for the
    pages of a run. For tests of what commands compute and print; those of `reports`, and one of each command, draw."""
    from xbar.reports import render
    from xbar.reports.style import page

    _leave_empty_files(monkeypatch)
    for name in render.FIGURES:
        monkeypatch.setitem(render.FIGURES, name, lambda results, name=name: page(name, ""))


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files stand for the PDF and the pictures, but every page is laid out as it would be drawn: what cannot be drawn fails."""
    from tests.reports.drawing import sketch_png
    from xbar.reports import pages

    _leave_empty_files(monkeypatch)
    monkeypatch.setattr(pages, "save_png", sketch_png)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps compute their points in this process, to the same bits: a worker spends most of its time on importing torch. For tests of
    what sweeps find; tests/workloads/test_sweep.py, and one of the command, have workers."""
    from xbar.workloads.study import workers

    class Here(workers.InProcess):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, kill_workers: bool = False) -> None:
            pass

    monkeypatch.setattr(workers, "local", lambda count, threads: Here())


@pytest.fixture(scope="session")
def isaac() -> Chip:
    return load_chip("isaac")


@pytest.fixture(scope="session")
def edge() -> Chip:
    return load_chip("edge")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20240229)

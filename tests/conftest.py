"""What every test may use, what the whole run is asked (`--accept`), and what no test may do."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
SLOW = (
    "compression/test_admm.py", "compression/test_constraints.py", "compression/test_quantise.py", "compression/test_shrink.py",
    "hw/test_instances.py", "hw/test_parasitics.py", "hw/test_read_noise.py", "hw/test_training.py",
    "reports/test_compare.py", "reports/test_document.py", "reports/test_explore.py", "reports/test_fairea.py",
    "reports/test_reports.py", "workloads/fairea/test_fronts.py", "workloads/fairea/test_on_chip.py", "workloads/fairea/test_run.py",
    "workloads/test_cli.py", "workloads/test_cli_sweep.py", "workloads/test_compress.py",
    "workloads/test_dask.py", "workloads/test_evaluate.py", "workloads/test_pin.py", "workloads/test_points.py",
    "workloads/test_recommender.py", "workloads/test_studies.py", "workloads/test_sweep.py", "test_docs.py",
)  # fmt: skip
"""Modules of trainings, whole studies, pages and many chips: their tests count as slow, and `make check` leaves them out."""
WRITTEN = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true",
        help="write what tests/golden and tests/test_docs.py find in place of what stands there; say in the commit why it changed",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.stash[WRITTEN] = []
    if config.getoption("--accept") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--accept writes files, one process at a time: leave -n out")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture(scope="session")
def isaac() -> Chip:
    return load_chip("isaac")


@pytest.fixture(scope="session")
def edge() -> Chip:
    return load_chip("edge")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20240229)

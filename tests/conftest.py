"""What every test may use."""

import os
from pathlib import Path

import pytest

import xbar  # noqa: F401 - first: it tells waiting threads to sleep, before torch begins them

import torch  # isort: skip

from xbar.hw import Chip, load_chip


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data that does not ship with the project; skips where it is absent."""
    folder = Path(os.environ.get("XBAR_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
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

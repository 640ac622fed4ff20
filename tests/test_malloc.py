"""Freed memory is kept for the next large tensor, unless it is asked not to be."""

import os
import platform
import subprocess
import sys

import pytest

from xbar.hw.analog import freed

FILL = """
import resource
import xbar
import numpy as np
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(4):
    np.ones(2**23)  # 64 MiB
print(faults() - before)
"""
PAGES = 4 * 2**26 // 4096


def test_freed_memory_is_given_back_each_time_that_so_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    done: list[int] = []
    monkeypatch.setattr(freed, "give_back", lambda: given.append(sum(done)))
    every_ten = freed.Freed(10)
    for amount in (4, 4, 4, 9, 1, 25, 3):
        done.append(amount)
        every_ten.done(amount)
    assert given == [12, 22, 47]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize(("asked", "kept"), [("", True), ("system", False)])
def test_large_arrays_take_the_memory_of_those_before(asked: str, kept: bool) -> None:
    environment = os.environ | {"XBAR_MALLOC": asked, "NUMPY_MADVISE_HUGEPAGE": "0"}  # pages that can be counted
    done = subprocess.run([sys.executable, "-c", FILL], env=environment, capture_output=True, text=True, check=True)
    faults = int(done.stdout)
    assert faults < PAGES / 8 if kept else faults > PAGES / 2

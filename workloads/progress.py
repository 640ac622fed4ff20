"""What a long command is at, told as it goes."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def steps(first: str = "starting", shown: bool = True, apart: float = 0.0) -> Iterator[Callable[[str], None]]:
    """A function that is told what begins. On a terminal one line is written over, with the time since the first step; elsewhere, as
    in a log file, each new step is a line of its own, with the seconds since the first. shown: whether anything is; apart: seconds
    between two such lines at least, the steps in between untold."""
    if shown and not sys.stderr.isatty():
        yield _lines(apart)
        return
    with tqdm(desc=first, bar_format="{desc} [{elapsed}]", file=sys.stderr, disable=not shown) as bar:
        yield bar.set_description_str


def _lines(apart: float) -> Callable[[str], None]:
    began = time.monotonic()
    before, at = "", began - apart

    def tell(text: str) -> None:
        nonlocal before, at
        now = time.monotonic()
        if text != before and now - at >= apart:
            print(f"{now - began:7.1f} s  {text}", file=sys.stderr, flush=True)
            before, at = text, now

    return tell

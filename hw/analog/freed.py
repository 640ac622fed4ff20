"""Freed memory, given back to the system where much was made and freed between what stays.

glibc is asked to keep freed memory for the next large tensor (`xbar`), which saves time. What stays, such as the cells of one layer after
another, comes to lie between what was freed, so that little of it serves again: a ViT-B/16 converted for `edge` held 3 GB and took 11.
"""

import ctypes
import sys


class Freed:
    """Gives freed memory back each time that so much (`every`, in any unit) has been `done`."""

    def __init__(self, every: int):
        self.every, self.since = every, 0

    def done(self, amount: int) -> None:
        """So much more has been done."""
        self.since += amount
        if self.since >= self.every:
            self.since = 0
            give_back()


def give_back() -> None:
    """Give the system what glibc keeps of freed memory, within its heap too; under other C libraries nothing."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)

"""Checks of values that a computation works with, without waiting for an accelerator at each: what is still to be computed there is read
once, when the block around ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xbar.hw.later import Later

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Later("torch")

Judge = Callable[[Sequence[float]], None]


class _Waiting(threading.local):
    """Checks of each open block of this thread, the innermost last."""

    def __init__(self) -> None:
        self.blocks: list[list[tuple[Tensor, Judge]]] = []


_WAITING = _Waiting()


def check(numbers: Tensor, judge: Judge) -> None:
    """Give `judge`, which raises, warns or counts, these numbers (n,): at once where they are at hand (on the CPU) or no block
    `together` is open, else when the innermost one ends."""
    if numbers.device.type == "cpu" or not _WAITING.blocks:
        judge(numbers.tolist())
    else:
        _WAITING.blocks[-1].append((numbers, judge))


def begin() -> None:
    """Open a block, which `end` closes."""
    _WAITING.blocks.append([])


def end(done: bool = True) -> None:
    """Close the innermost block and judge what waited in it, in order, with one read a torch device; done: False where the computation
    broke off, whose error is told already."""
    waited = _WAITING.blocks.pop()
    if not done or not waited:
        return
    read: dict[torch.device, list[float]] = {}
    for device in dict.fromkeys(numbers.device for numbers, _ in waited):
        read[device] = torch.cat([numbers.double() for numbers, _ in waited if numbers.device == device]).tolist()
    for numbers, judge in waited:
        own = read[numbers.device]
        judge(own[: len(numbers)])
        del own[: len(numbers)]


@contextmanager
def together() -> Iterator[None]:
    """A block whose checks are judged together at its end."""
    begin()
    done = False
    try:
        yield
        done = True
    finally:
        end(done)

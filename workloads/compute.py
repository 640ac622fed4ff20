"""On which torch device numbers are computed: the one place that chooses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xbar.hw.errors import ParameterError
from xbar.workloads.offered import AUTO, COMPUTES

CPU = "cpu"


def torch_device(compute: str = CPU) -> torch.device:
    """The torch device of "cpu", "cuda" (the present one of several), or "auto": CUDA where torch finds it. Raises ParameterError for
    CUDA that torch does not find, with what it says of it, and for another word."""
    if compute not in (*COMPUTES, AUTO):
        raise ParameterError(f"compute = {compute!r}: must be one of {', '.join(COMPUTES)}, or {AUTO}")
    if compute == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else CPU)
    if compute == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"compute = cuda: torch {torch.__version__} finds no CUDA device here: {_reason()}")
    return torch.device(compute)


def _reason() -> str:
    """What torch says of CUDA that it does not have."""
    if not torch.backends.cuda.is_built():
        return "it was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return f"torch.cuda.is_available() is false, with {torch.cuda.device_count()} devices"


def told(device: torch.device) -> str:
    """A torch device in words: cpu, or cuda and what it is."""
    return device.type if device.type != "cuda" else f"cuda, {torch.cuda.get_device_name(device)}"


@contextmanager
def moved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """A block in which the model is on that torch device; on the CPU after it."""
    model.to(device)
    try:
        yield
    finally:
        model.cpu()

"""How fast this computer runs a network in torch: measured, so different at every run, and no part of any table that
is to be the same again."""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SECONDS = 0.15  # that a measurement repeats for, at least LEAST times
LEAST, MOST = 3, 2000


def measure(model: nn.Module, inputs: Tensor, seconds: float = SECONDS) -> dict[str, Any]:
    """Medians with quartiles of repeated runs in float32, each after one to warm up: one input alone, and all `inputs`.

    The model as torch runs it, without a compiler; int8 is left out, as torch 2.13 deprecates its own and says to take another
    package. Keys carry their units; processor, threads and torch say on what.
    """
    training = model.training
    model.eval()
    with torch.inference_mode():
        alone, batch = (_times(partial(model, chosen), seconds) for chosen in (inputs[:1], inputs))
    model.train(training)
    first, median, third = np.quantile(alone, [0.25, 0.5, 0.75])
    slow, middle, fast = len(inputs) / np.quantile(batch, [0.75, 0.5, 0.25])
    return {
        "latency_s": float(median), "latency_first_quartile_s": float(first), "latency_third_quartile_s": float(third),
        "throughput_per_s": float(middle), "throughput_first_quartile_per_s": float(slow),
        "throughput_third_quartile_per_s": float(fast), "batch": len(inputs), "repeats_alone": len(alone),
        "repeats_batch": len(batch), "numbers": "float32", "processor": processor(), "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }  # fmt: skip


def processor() -> str:
    """The name of this computer's processor, as its system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _times(work: Callable[[], object], seconds: float) -> list[float]:
    """Times of repeated runs [s], after one to warm up."""
    work()
    taken: list[float] = []
    while len(taken) < LEAST or (sum(taken) < seconds and len(taken) < MOST):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return taken

"""Bytes that a converted layer holds beside its weights, and the most that converting it and one forward take.

Held: every tensor that can be reached from the model, each storage once, after `convert` and a first forward; per weight,
without the weights. Peak: growth of the resident memory meanwhile over what it was before, weights of the float model included.
A 2048 x 2048 linear layer and a convolution of 512 x 512 x 3 x 3 (the largest of VGG-16), on both presets; "read" takes the
product through cells and converters also where the chip's sums are exact, "drift" is a device that drifts.
"""

import multiprocessing
import resource
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xbar.hw import convert, load_chip
from xbar.hw.analog import analog_layers

DRIFT = {"drift_exponent": 0.05, "drift_exponent_sigma": 0.02, "reference_time": 1.0}
CASES: dict[str, tuple[str, dict[str, float], bool]] = {
    "edge": ("edge", {}, False), "edge, drift": ("edge", DRIFT, False), "isaac": ("isaac", {}, False),
    "isaac, read": ("isaac", {}, True), "isaac, programming error": ("isaac", {"programming_sigma": 0.04}, False),
}  # fmt: skip


def layer(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """A model of one layer, and a batch for it."""
    torch.manual_seed(0)
    if kind == "linear 2048 x 2048":
        return nn.Sequential(nn.Linear(2048, 2048, bias=False)), torch.rand(16, 2048)
    return nn.Sequential(nn.Conv2d(512, 512, 3, padding=1, bias=False)), torch.rand(1, 512, 8, 8)


def bytes_held(root: Any) -> int:
    """Bytes of all tensors that can be reached from an object through attributes and containers, each storage once."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (str, int, float, type, torch.device, torch.dtype)):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set)):
            waiting += each
        elif hasattr(each, "__dict__"):
            waiting += vars(each).values()
    return sum(found.values())


def resident() -> int:
    """Resident memory of this process [B]."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(kind: str, case: str) -> tuple[float, float, float]:
    """(bytes held per weight beside the weights, most bytes taken per weight, seconds) of a case, in a process of its own."""
    preset, device, read = CASES[case]
    chip = load_chip(preset).with_changes(device=device)
    model, x = layer(kind)
    weights = sum(parameter.numel() for parameter in model.parameters())
    convert(nn.Sequential(nn.Linear(8, 8)), chip, torch.rand(4, 8), seed=0)  # what is loaded once
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    converted = convert(model, chip, x, seed=0)
    for each in analog_layers(converted).values():
        each.matrix.fuse_when_exact = not read
    with torch.no_grad():
        converted(x)
    spent = time.perf_counter() - start
    done.set()
    watcher.join()
    return (bytes_held(converted) - 4 * weights) / weights, (most[0] - before) / weights, spent


def main() -> None:
    """Print one line a case."""
    from ratios import told  # beside this file; `bytes_held` is used without

    print(f"{'':<52} {'held':>8} {'peak':>8}  B/weight")
    context, ratios = multiprocessing.get_context("spawn"), {}
    for kind in ("linear 2048 x 2048", "convolution 512 x 512 x 3 x 3"):
        for case in CASES:
            with context.Pool(1) as pool:
                held, peak, spent = pool.apply(measure, (kind, case))
            print(f"{kind + ', ' + case:<52} {held:8.1f} {peak:8.0f}  {spent:6.1f} s", flush=True)
            ratios[f"{kind}, {case}: bytes held a weight"] = held
            ratios[f"{kind}, {case}: most bytes a weight"] = peak
    told("memory", ratios)


if __name__ == "__main__":
    main()

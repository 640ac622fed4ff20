"""`xbar sweep` in Python: a grid of cells and ADCs on the edge chip, and a function of one's own over any points.

Run again, it goes on where it was, or takes what is there.
"""

from pathlib import Path

from xbar import load_chip
from xbar.workloads.study.points import sweep_chips
from xbar.workloads.study.sweep import Span, grid, latin_hypercube, sweep


def peak(point: dict[str, float]) -> dict[str, float]:
    """What of a chip can be said without a network."""
    chip = load_chip("isaac", {"structure.tiles": str(point["tiles"]), "component.adc.bits": str(point["bits"])})
    return {"peak_power_W": chip.peak_power, "peak_TOPS": chip.peak_operations_per_second * 1e-12}


if __name__ == "__main__":  # workers begin by reading this file
    axes = {"chip.name": ["edge"], "component.adc.bits": [5, 6, 7, 8], "device.programming_sigma": [1.0, 5.0]}
    found = sweep_chips(grid(axes), Path("out/sweep-example"), workers=2).frame()
    print(found[["component.adc.bits", "device.programming_sigma", "accuracy", "energy_J", "error"]])

    points = latin_hypercube({"tiles": Span(16, 168, whole=True), "bits": Span(6, 9, whole=True)}, samples=10, seed=0)
    print(sweep(points, peak, Path("out/sweep-peak"), workers=2).frame()[["tiles", "bits", "peak_power_W", "peak_TOPS"]])

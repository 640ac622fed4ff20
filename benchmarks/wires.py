"""Wire resistance, solved once for each programmed crossbar: whole arrays, and arrays of which a corner is used; processor time.

A ratio is a multiple of as many products of two matrices of the array's size, float64, as the array has wordlines.
"""

import sys
import time
from collections.abc import Callable

import torch
from ratios import told

from xbar.hw.array.parasitics import Wires, effective_conductance

WIRES = Wires(1.0, 1.0, driver=1.0, sense=1.0)


def seconds(run: Callable[[], object], times: int) -> float:
    """The least processor time of so many runs [s]."""
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def main(sizes: list[int]) -> None:
    """Print one line a case."""
    torch.set_num_threads(1)
    ratios = {}
    for size in sizes:
        cells = torch.rand(1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 25e-6
        used = torch.zeros_like(cells)
        used[:, size // 2 :, : size // 4] = cells[:, size // 2 :, : size // 4]
        bare = size * seconds(lambda cells=cells: cells[0] @ cells[0], 5)
        for name, tile in (("whole", cells), ("a corner of 1/2 by 1/4 in use, the rest open", used)):
            spent = seconds(lambda tile=tile: effective_conductance(tile, WIRES), 3 if size < 300 else 1)
            print(f"{size} x {size}, {name}: {spent:.3f} s, {spent / bare:.2f} x as many products of matrices")
            ratios[f"{size} x {size}, {name}"] = spent / bare
    told("wires", ratios)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [128, 256])

"""Wire resistance, solved once for each programmed crossbar: whole arrays, and arrays of which a corner is used; processor time.

A ratio is a multiple of one product of two matrices of the array's size, float64. Both grow as n³; in small arrays what is done once
for each step of the solution weighs more.
"""

import sys
import time
from collections.abc import Callable

import torch
from ratios import told

from xbar.hw.array.parasitics import Wires, effective_conductance

WIRES = Wires(1.0, 1.0, driver=1.0, sense=1.0)
RUNS = 5


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one run [s]."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main(sizes: list[int]) -> None:
    """Print one line a case; the least of several runs, products and solutions in turn."""
    torch.set_num_threads(1)
    ratios = {}
    for size in sizes:
        cells = torch.rand(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 25e-6
        used = torch.zeros_like(cells)
        used[size // 2 :, : size // 4] = cells[size // 2 :, : size // 4]
        tiles = {"whole": cells, "a corner of 1/2 by 1/4 in use, the rest open": used}
        bare, spent = float("inf"), dict.fromkeys(tiles, float("inf"))
        for _ in range(RUNS):
            bare = min(bare, *(seconds(lambda cells=cells: cells @ cells) for _ in range(5)))
            for name, tile in tiles.items():
                spent[name] = min(spent[name], seconds(lambda tile=tile: effective_conductance(tile, WIRES)))
        for name in tiles:
            print(f"{size} x {size}, {name}: {spent[name]:.3f} s, {spent[name] / bare:.0f} x a product of two matrices")
            ratios[f"{size} x {size}, {name}"] = spent[name] / bare
    told("wires", ratios)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [128, 256, 512])

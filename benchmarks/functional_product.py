"""The product of a 512 x 512 matrix on crossbars, batch 1,000, as a multiple of torch.matmul of the same float32 product.

The whole layer is timed: float inputs to DAC codes, crossbar product, ADC per crossbar, digital sums, outputs in float.
Differential pairs of 16-level cells, 5-bit weights, 8-bit inputs, 8-bit ADC. "8 x 1 bit": eight input slices, a
conversion after each; else one slice of 8 bits. Medians of interleaved runs, processor time, one thread.
"""

import statistics
import time
from collections.abc import Callable

import torch
from ratios import told
from torch import nn

from xbar.hw import Chip, convert, load_chip
from xbar.hw.array.parasitics import Wires, effective_conductance

SIZE, BATCH, ROUNDS = 512, 1000, 21


def inputs() -> torch.Tensor:
    """Uniform activations (batch, inputs) float32."""
    return torch.rand(BATCH, SIZE, generator=torch.Generator().manual_seed(2))


def layer(array: int, dac_bits: int = 8, wires: float = 0.0, lossless: bool = False, **device: float) -> nn.Module:
    """A linear layer on the edge preset's cells in arrays of `array` wordlines."""
    quiet = {"programming_sigma": 0.04, "read_noise_sigma": 0.0} | device
    chip: Chip = load_chip("isaac") if lossless else load_chip("edge")
    if not lossless:
        chip = chip.with_changes(
            structure={"wordlines": array, "bitlines": max(array, 128) if array < SIZE else 2 * array},
            device=quiet, wires={"wordline": wires, "bitline": wires},
            component={"dac": {"bits": dac_bits}},
        )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(SIZE, SIZE, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(SIZE, SIZE, generator=generator))
    return convert(nn.Sequential(linear), chip, inputs(), seed=1)


CASES: dict[str, dict[str, object]] = {
    "programming error": {"array": 128},
    "programming error, one 512 x 512 array": {"array": 512},
    "programming error, wire resistance": {"array": 128, "wires": 1.0},
    "programming error, read noise": {"array": 128, "read_noise_sigma": 0.03},
    "8 x 1 bit": {"array": 128, "dac_bits": 1},
    "8 x 1 bit, read noise": {"array": 128, "dac_bits": 1, "read_noise_sigma": 0.03},
    "ISAAC: 16 x 1 bit, 8 slices, lossless": {"array": 128, "lossless": True},
}


def measure() -> tuple[float, dict[str, float]]:
    """Median seconds of the bare matmul, and of each case."""
    x, weight = inputs(), torch.randn(SIZE, SIZE)
    cases: dict[str, Callable[[], object]] = {"torch.matmul float32": lambda: x @ weight}
    for name, settings in CASES.items():
        built = layer(**settings)  # type: ignore[arg-type]
        cases[name] = lambda built=built: built(x)
    times: dict[str, list[float]] = {name: [] for name in cases}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, run in cases.items():
                start = time.process_time()
                run()
                times[name].append(time.process_time() - start)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    return medians.pop("torch.matmul float32"), medians


def solve_seconds(tiles: int = 16) -> float:
    """Median seconds of the one-time wire solve per 128 x 128 crossbar, of a batch."""
    cells = torch.rand(tiles, 128, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 25e-6
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        effective_conductance(cells, Wires(1.0, 1.0, driver=1.0, sense=1.0))
        spent.append((time.perf_counter() - start) / tiles)
    return statistics.median(spent)


def main() -> None:
    """Print one line a case: time, rate, multiple of the matmul."""
    torch.set_num_threads(1)
    base, medians = measure()
    print(f"{SIZE} x {SIZE}, batch {BATCH}, {torch.get_num_threads()} threads, median of {ROUNDS}")
    for name, median in {"torch.matmul float32": base, **medians}.items():
        print(f"{name:<46} {median * 1e3:9.2f} ms {BATCH / median:12,.0f} vectors/s {median / base:8.1f} x matmul")
    print(f"wires of one 128 x 128 crossbar, solved once {solve_seconds():11.3f} s")
    told("functional_product", {name: median / base for name, median in medians.items()})


if __name__ == "__main__":
    main()

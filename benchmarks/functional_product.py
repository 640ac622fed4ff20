"""The product of a 512 x 512 matrix on 128 x 128 crossbars, batch 1,000, as a multiple of a plain torch matmul.

Differential pairs of 16-level cells, 5-bit weights, 8-bit ADC. "8 x 1 bit": eight input slices, every slice and tile
through the ADC; "1 x 8 bit": one slice. Medians of interleaved runs.
"""

import statistics
import time
from collections.abc import Callable

import torch

from hw import Chip, load_chip
from hw.crossbar import CrossbarMatrix
from hw.mapping import map_weights

SIZE, BATCH, ROUNDS = 512, 1000, 15


def matrix(dac_bits: int, **device: float) -> CrossbarMatrix:
    """The matrix on the edge preset's cells, its ADC calibrated on the batch itself."""
    quiet = {"programming_sigma": 0.0, "read_noise_sigma": 0.0} | device
    chip: Chip = load_chip("edge").with_changes(device=quiet, component={"dac": {"bits": dac_bits}})
    weight = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    built = CrossbarMatrix(map_weights(weight, chip.geometry(SIZE, SIZE)), chip, signed_input=False)
    built.calibrate(integers())
    built.program(chip.device, torch.Generator().manual_seed(1))
    return built


def integers() -> torch.Tensor:
    """8-bit inputs (1, batch, inputs) float64."""
    return torch.randint(0, 256, (1, BATCH, SIZE), generator=torch.Generator().manual_seed(2)).double()


def lossless() -> CrossbarMatrix:
    """ISAAC's encoding, where the ADC loses nothing and slices may be fused."""
    chip = load_chip("isaac")
    weight = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return CrossbarMatrix(map_weights(weight, chip.geometry(SIZE, SIZE)), chip, signed_input=False)


def main() -> None:
    """Print one line a case: time, rate, multiple of the matmul."""
    x, weight = integers(), torch.randn(SIZE, SIZE)
    single = x[0].float()
    cases: dict[str, Callable[[], object]] = {"torch.matmul float32": lambda: single @ weight}
    for name, built in {
        "1 x 8 bit, 8-bit ADC": matrix(8),
        "1 x 8 bit, programming error": matrix(8, programming_sigma=0.04),
        "8 x 1 bit, 8-bit ADC": matrix(1),
        "8 x 1 bit, programming error": matrix(1, programming_sigma=0.04),
        "8 x 1 bit, programming error, read noise": matrix(1, programming_sigma=0.04, read_noise_sigma=0.03),
        "ISAAC 16 x 1 bit, 8 slices, lossless, fused": lossless(),
    }.items():
        cases[name] = lambda built=built: built(x)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["torch.matmul float32"])
    print(f"{SIZE} x {SIZE}, batch {BATCH}, {torch.get_num_threads()} threads, median of {ROUNDS}")
    for name, spent in times.items():
        median = statistics.median(spent)
        print(f"{name:<46} {median * 1e3:9.2f} ms {BATCH / median:12,.0f} vectors/s {median / base:8.1f} x matmul")


if __name__ == "__main__":
    main()

"""ResNet-20 on the CIFAR-10 test set: one chip instance, 8-bit inputs in one slice, an 8-bit ADC per crossbar, programming
error and read noise; and an ideal chip with lossless ADCs. Images per second against torch's own float inference.

    python benchmarks/resnet20.py [DATA_DIRECTORY]

DATA_DIRECTORY holds CIFAR-10's binary version and resnet20/resnet20.pt, as for `xbar run resnet20 --data`.
"""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from xbar.hw import Chip, convert, load_chip
from xbar.workloads.training import score
from xbar.workloads.workload import load_workload


def chip(adc_bits: int, **device: float) -> Chip:
    """The edge preset with 8-bit weights in 8-bit cells, twice the tiles, 8-bit inputs in one slice."""
    quiet = {"levels": 256, "programming_sigma": 0.0, "read_noise_sigma": 0.0} | device
    adc = {"bits": adc_bits} if adc_bits <= 12 else {"bits": adc_bits, "range": "level"}
    return load_chip("edge").with_changes(
        structure={"tiles": 16}, device=quiet, weights={"bits": 8}, component={"dac": {"bits": 8}, "adc": adc}
    )


def main() -> None:
    """Print accuracy, images per second and the multiple of float time of each case."""
    workload = load_workload("resnet20", data_directory=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    images, labels = workload.data.test_inputs, workload.data.test_targets
    cases: dict[str, nn.Module] = {"float": workload.model}
    for name, described in {
        "ideal cells, lossless ADC": chip(24),
        "8-bit ADC, programming error 1 %, read noise 3 %": chip(8, programming_sigma=0.01, read_noise_sigma=0.03),
    }.items():
        cases[name] = convert(workload.model, described, workload.calibration_inputs, seed=0)
    base = 0.0
    print(f"ResNet-20, {len(labels):,} test images, {torch.get_num_threads()} threads")
    for name, model in cases.items():
        start = time.perf_counter()
        found = score(model, images, labels, batch=200)
        spent = time.perf_counter() - start
        base = base or spent
        print(f"{name:<50} {100 * found:6.2f} % {spent:7.1f} s {len(labels) / spent:8,.0f} images/s {spent / base:6.1f} x float")


if __name__ == "__main__":
    main()

"""Everything that a machine with a GPU is to tell, in one go: the tests that need CUDA, and times on it as multiples of plain torch on it.

python benchmarks/gpu.py                          # on CUDA, into results/gpu/
python benchmarks/gpu.py --compute cpu --tiny     # the same on the CPU at sizes that take seconds: tries the script, measures nothing

Parts: tests marked `cuda`; the product of `functional_product.py`; inference of ResNet-20 (32 pixels) and of a network of ResNet-50's
size (224 pixels) on the edge preset's cells with programming error and read noise; a training step with the programming errors of cells
injected. Weights are initial ones: they take the same time. A part that fails is told with its error, and the others go on; the exit code
is 1 then. What is left is `gpu.json` and `gpu.txt`, whole or not at all.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import functional_product
import torch
from torch import Tensor, nn

from xbar.compression.constraints import Levels
from xbar.compression.quantise import folded, hold_levels, inject_mismatch
from xbar.hw import convert, load_chip
from xbar.hw.errors import ParameterError
from xbar.models import ResNet20
from xbar.reports.results import write_text
from xbar.workloads.compute import told, torch_device
from xbar.workloads.training import initialise

ROOT = Path(__file__).parents[1]
Ratios = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """Of the product, its batch; images of either network, their pixels; blocks and width of the large network; of the training batch;
    rounds that a median is taken of."""

    product: int = functional_product.SIZE
    vectors: int = functional_product.BATCH
    images: int = 256
    pixels: int = 32
    large_images: int = 32
    large_pixels: int = 224
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    training: int = 128
    rounds: int = 11


TINY = Sizes(product=128, vectors=20, images=2, large_images=1, large_pixels=32, blocks=(1, 1), width=4, training=4, rounds=2)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut (K. He et al., Deep residual learning, CVPR 2016, figure 5)."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != 4 * width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.path = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) to (batch, 4 width, h / stride, w / stride)."""
        return torch.relu(self.path(x) + self.shortcut(x))


def large_network(sizes: Sizes) -> nn.Module:
    """By default ResNet-50: stages of 3, 4, 6 and 3 bottlenecks, 25.5 million weights."""
    channels = sizes.width
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for stage, blocks in enumerate(sizes.blocks):
        for block in range(blocks):
            layers.append(Bottleneck(channels, sizes.width << stage, 2 if stage and not block else 1))
            channels = 4 * sizes.width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median time of a run [s], after two to warm up: until the GPU is done, or of the processor."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    spent = []
    for _ in range(rounds + 2):
        _finish(device)
        start = clock()
        run()
        _finish(device)
        spent.append(clock() - start)
    return statistics.median(spent[2:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def images(count: int, pixels: int) -> Tensor:
    """(count, 3, pixels, pixels) around 0."""
    return torch.rand(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)) - 0.5


def tests(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """Those marked `cuda`: how many passed, failed and were skipped, and what was printed."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "-rs", "tests/hw/test_cuda.py"]
    run = subprocess.run([*command[:1], "-P", *command[1:]], cwd=ROOT, capture_output=True, text=True)
    last = [line for line in run.stdout.splitlines() if line.strip()][-30:]
    if run.returncode not in (0, 5):
        raise RuntimeError("\n".join(last))
    return {"printed": last}


def product(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """`functional_product.py`'s cases there: seconds, and multiples of torch.matmul."""
    functional_product.SIZE, functional_product.BATCH = sizes.product, sizes.vectors
    x = functional_product.inputs().to(device)
    weight = torch.randn(sizes.product, sizes.product, device=device)
    found = {"torch.matmul float32": seconds(lambda: x @ weight, device, sizes.rounds)}
    for name, settings in functional_product.CASES.items():
        if settings["array"] <= sizes.product:  # type: ignore[operator]
            layer = functional_product.layer(**settings).to(device)  # type: ignore[arg-type]
            found[name] = seconds(lambda layer=layer: layer(x), device, sizes.rounds)  # type: ignore[misc]
    return _ratios(found, "torch.matmul float32")


def inference(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """ResNet-20 and a network of ResNet-50's size on the edge preset: seconds a batch, and multiples of float."""
    chip, found, rest = load_chip("edge").with_changes(device={"read_noise_sigma": 0.03}), {}, {}
    for name, build, x in (
        ("ResNet-20", ResNet20, images(sizes.images, sizes.pixels)),
        ("ResNet-50's size", lambda: large_network(sizes), images(sizes.large_images, sizes.large_pixels)),
    ):
        model = initialise(build, 0).eval()
        began = time.perf_counter()
        on_chip = convert(model, chip, x[:2], seed=1)
        rest[f"{name}, seconds to convert, on the CPU"] = time.perf_counter() - began
        there, model, on_chip = x.to(device), model.to(device), on_chip.to(device)
        own = {f"{name}, float": seconds(lambda model=model: model(there), device, sizes.rounds),  # type: ignore[misc] # noqa: B023
               f"{name}, on chip": seconds(lambda model=on_chip: model(there), device, sizes.rounds)}  # type: ignore[misc] # noqa: B023
        found[name] = _ratios(own, f"{name}, float") | {"images": len(x)}
        rest[f"{name}, images per second on chip"] = len(x) / own[f"{name}, on chip"]
    return {"seconds": {k: v for each in found.values() for k, v in each["seconds"].items()},
            "ratios": {k: v for each in found.values() for k, v in each["ratios"].items()}, **rest}  # fmt: skip


def training(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """A step of ResNet-20 on levels, with and without errors of cells injected: seconds, and multiples of the same step in float."""
    chip, x = load_chip("edge"), images(sizes.training, sizes.pixels)
    labels = torch.arange(len(x)).remainder(10).to(device)
    x = x.to(device)

    def step(errors: bool, levels: bool) -> Callable[[], object]:
        model = folded(initialise(ResNet20, 0), x[:2].cpu()).to(device)
        if levels:
            hold_levels(model, Levels.of(chip))
        if errors:
            inject_mismatch(model, chip, 0)
        model.train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def run() -> None:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), labels).backward()
            optimiser.step()

        return run

    found = {name: seconds(step(*how), device, sizes.rounds) for name, how in (
        ("float", (False, False)), ("on levels", (False, True)), ("on levels, under programming errors", (True, True)))}  # fmt: skip
    return _ratios(found, "float")


def _ratios(found: dict[str, float], base: str) -> dict[str, Any]:
    return {"seconds": found, "ratios": {name: spent / found[base] for name, spent in found.items() if name != base}}


PARTS = {"tests": tests, "product": product, "inference": inference, "training": training}


def measured(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """All parts; of one that fails its error."""
    found: dict[str, Any] = {
        "device": told(device), "torch": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(), "sizes": asdict(sizes),
    }  # fmt: skip
    for name, part in PARTS.items():
        print(f"{name} ...", flush=True)
        try:
            with torch.inference_mode(name in ("product", "inference")):
                found[name] = part(device, sizes)
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}", "where": traceback.format_exc(limit=-4)}
        if device.type == "cuda":
            found[name]["peak_bytes"] = torch.cuda.max_memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
    return found


def text(found: dict[str, Any]) -> str:
    """The same for reading."""
    lines = [f"{found['device']}; torch {found['torch']}, CUDA {found['cuda']}, {found['threads']} threads; {found['date']}"]
    for part in PARTS:
        told_of = found[part]
        lines += ["", part]
        if "failed" in told_of:
            lines += [f"  failed: {told_of['failed']}"]
        for name, spent in told_of.get("seconds", {}).items():
            ratio = told_of["ratios"].get(name)
            lines.append(f"  {name:<46} {spent * 1e3:11.3f} ms" + ("" if ratio is None else f" {ratio:9.1f} x"))
        lines += [f"  {name:<46} {value:11,.1f}" for name, value in told_of.items() if isinstance(value, float)]
        lines += [f"  {line}" for line in told_of.get("printed", ())]
        if "peak_bytes" in told_of:
            lines.append(f"  {'most memory of the GPU':<46} {told_of['peak_bytes'] / 2**20:11,.0f} MiB")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Measure and write; 0 where every part was done."""
    parser = argparse.ArgumentParser(description="Tests and times on a GPU.")
    parser.add_argument("--compute", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu")
    options = parser.parse_args(arguments)
    try:
        device = torch_device(options.compute)
    except ParameterError as error:
        print(f"{error}; --compute cpu --tiny tries the script without one", file=sys.stderr)
        return 1
    sizes = TINY if options.tiny else Sizes()
    found = measured(device, replace(sizes, rounds=3) if options.compute == "cpu" and not options.tiny else sizes)
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "gpu.json", json.dumps(found, indent=1) + "\n")
    write_text(options.out / "gpu.txt", text(found))
    print(text(found), end="")
    return int(any("failed" in found[part] for part in PARTS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

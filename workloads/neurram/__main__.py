"""`python -P -m xbar.workloads.neurram FOLDER`: a measured chip's networks on the simulated chip, and what it should have shown.

FOLDER holds the arrays extracted from NeuRRAM's published software. Nothing of it is copied but result tables.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.hw.chip.files import load_chip
from xbar.hw.errors import HardwareError
from xbar.workloads.data import CIFAR10_TEST_FILE, DataError, cifar10_folder, load_mnist, read_cifar10
from xbar.workloads.neurram import noise
from xbar.workloads.neurram.columns import Columns
from xbar.workloads.neurram.folder import Folder
from xbar.workloads.neurram.predict import Judge, check

QUANTITIES = {  # of Columns.summary: name, unit, factor
    "residual": ("mean residual", "of the ideal output's unit", 1.0), "residual_sd": ("sd of residuals", "of the ideal output's unit", 1.0),
    "gain_spread": ("spread of gains", "%", 100.0), "gain_correlation": ("correlation of gains with 1/load", "1", 1.0),
    "constant": ("gain x load", "counts S a unit", 1.0),
}  # fmt: skip
ROW = ["what", "quantity", "unit", "mean", "sd", "lowest", "highest", "instances", "measured"]


def rows_of(what: str, found: Columns, measured: dict[str, float] | None = None) -> list[dict[str, object]]:
    """Rows of the table for a segment's columns."""
    summary = found.summary()
    return [
        _row(what, name, unit, factor * summary[key].to_numpy(), None if measured is None else factor * measured[key])
        for key, (name, unit, factor) in QUANTITIES.items()
    ]


def _row(what: str, quantity: str, unit: str, values: np.ndarray, measured: float | None = None) -> dict[str, object]:
    spread = values.std(ddof=1) if len(values) > 1 else float("nan")
    return dict(zip(ROW, (what, quantity, unit, values.mean(), spread, values.min(), values.max(), len(values), measured), strict=True))


def measured_of(folder: Folder, run: str) -> dict[str, float]:
    """The same figures of the chip itself."""
    own = folder.measured[folder.measured["run"] == run]
    load = own["target_column_conductance_uS"].to_numpy() * 1e-6
    found = Columns(own["slope_counts_per_unit"].to_numpy()[None], own["residual_std_units"].to_numpy()[None], load)
    return {str(key): float(value) for key, value in found.summary().iloc[0].items()}


def accuracy_rows(found: pd.DataFrame) -> list[dict[str, object]]:
    """Accuracy, software and change of each configuration, in percent and points."""
    rows = []
    for name, group in found.groupby("configuration", sort=False):
        software, accuracy = 100 * group["software"].iloc[0], 100 * group["accuracy"].to_numpy()
        on = f"{name} ({group['images'].iloc[0]:,} test images, in software {software:.2f} %)"
        rows += [_row(on, "accuracy", "%", accuracy), _row(on, "change from software", "points", accuracy - software)]
    return rows


def silence_rows(found: pd.DataFrame, instances: int) -> list[dict[str, object]]:
    """The 48 outputs for a waveform of zeros."""
    return [
        {"what": f"LSTM output layer on silence, block {each['block']}, class {each['class']} (software {each['software']:.3f})",
         "quantity": "mean output", "unit": "1", "mean": each["mean"], "sd": each["sd"], "lowest": None, "highest": None,
         "instances": instances, "measured": None}
        for each in found.to_dict("records")
    ]  # fmt: skip


def main() -> int:
    """Run it; returns the exit code: 0 done, 1 as told in one message."""
    parser = argparse.ArgumentParser(prog="python -P -m xbar.workloads.neurram", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the chip's extracted arrays")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tables")
    parser.add_argument("--chip", default="neurram", metavar="PRESET_OR_FILE")
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="folder of MNIST's files (default: XBAR_DATA, cache)")
    parser.add_argument("--cifar10", type=Path, metavar="DIR", help="folder of CIFAR-10's binary files (default: XBAR_DATA)")
    parser.add_argument("--instances", type=int, default=10, help="chip instances of every figure (default 10)")
    parser.add_argument("--images", type=int, default=10_000, help="test images of accuracies, the first (default 10,000)")
    parser.add_argument("--draws", type=int, default=40, help="draws of weight noise (default 40); 0 leaves the noise table out")
    parser.add_argument("--noise-images", type=int, default=2_000, help="test images of the noise table (default 2,000)")
    parser.add_argument("--only", choices=("columns", "mnist", "cifar10", "silence", "noise"), action="append", help="may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        return run(options)
    except (DataError, HardwareError, OSError) as error:
        print(f"neurram: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("neurram: interrupted; parts that are done stand in the folder and are kept", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """All parts asked for, each written when it is done; parts that stand in the folder already are kept."""
    folder = Folder(options.folder)
    judge = Judge(load_chip(options.chip), folder, options.instances, options.seed, options.images, _tell)
    check(judge)
    options.out.mkdir(parents=True, exist_ok=True)
    parts = options.only or ["columns", "mnist", "silence", "cifar10", "noise"]
    _record(options)
    for part in parts:
        path = options.out / f"{part}.csv"
        if path.exists() and part != "noise":
            print(f"{part}: kept, {path}")
            continue
        print(f"{part} ...", flush=True)
        table = {"columns": _columns, "mnist": _mnist, "cifar10": _cifar10, "silence": _silence, "noise": _noise}[part](judge, options)
        temporary = path.with_suffix(".part")
        table.to_csv(temporary, index=False, float_format="%.6g")
        temporary.replace(path)
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    return 0


def _tell(text: str) -> None:
    print(f"  {text}", flush=True)


def _record(options: argparse.Namespace) -> None:
    """What the tables are of."""
    said = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"), "xbar": version("xbar"), "torch": torch.__version__,
        "chip": options.chip, "instances": options.instances, "seed": options.seed, "images": options.images, "draws": options.draws,
        "noise_images": options.noise_images,
    }  # fmt: skip
    path = options.out / "record.json"
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        other = [key for key in said if key not in ("written", "xbar", "torch") and kept.get(key) != said[key]]
        if other:
            raise DataError(f"{options.out} holds tables of another {', '.join(other)}; give another folder")
        return
    path.write_text(json.dumps(said, indent=1) + "\n", "utf-8")


def _columns(judge: Judge, options: argparse.Namespace) -> pd.DataFrame:
    printed = judge.printed()
    print(f"  {int(printed['targets'].sum())} printed targets, largest difference {1e6 * printed['largest_difference_S'].max():.2g} µS")
    mnist = load_mnist(options.mnist)
    rows = rows_of("C15, conv15 segment 5, 64 columns: what the preset was fitted on", judge.run_c15(), measured_of(judge.folder, "C15"))
    rows += rows_of("C4, conv04 segment 0 of `progressive`, 16 columns", judge.run_c4())
    rows += rows_of("MNIST, dense layer, segment 5, 10 columns", judge.mnist_dense(mnist.test_inputs[:2000]))
    return pd.DataFrame(rows)


def _mnist(judge: Judge, options: argparse.Namespace) -> pd.DataFrame:
    data = load_mnist(options.mnist)
    return pd.DataFrame(accuracy_rows(judge.mnist(data.test_inputs, data.test_targets)))


def _cifar10(judge: Judge, options: argparse.Namespace) -> pd.DataFrame:
    return pd.DataFrame(accuracy_rows(judge.cifar10(*cifar10_test(options.cifar10))))


def _silence(judge: Judge, options: argparse.Namespace) -> pd.DataFrame:
    return pd.DataFrame(silence_rows(judge.silence(), judge.instances))


def _noise(judge: Judge, options: argparse.Namespace) -> pd.DataFrame:
    journal = options.out / "noise_draws.csv"
    images, labels = (each[: options.noise_images] for each in cifar10_test(options.cifar10))
    for done, count in noise.accuracies(judge.folder, images, labels, options.draws, options.seed, journal):
        if done % 20 == 0 or done == count:
            print(f"  {done} of {count}", flush=True)
    return noise.compared(judge.folder, noise.read_journal(journal))


def cifar10_test(directory: Path | None) -> tuple[Tensor, Tensor]:
    """Test images from 0 to 1 (10000, 3, 32, 32) and labels, as the chip's networks take them."""
    pixels, labels = read_cifar10(cifar10_folder(directory) / CIFAR10_TEST_FILE)
    return torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels.astype(np.int64))


if __name__ == "__main__":
    sys.exit(main())

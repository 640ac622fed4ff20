"""The authors' own simulation, done again: accuracy of networks trained with noise on their weights, against noise at inference.

Each draw adds a normal error to every kernel and bias, of `noise` times the kernel's largest weight, as the published software does.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xbar.hw.randomness import generator_of
from xbar.workloads.data import DataError
from xbar.workloads.neurram.folder import Folder
from xbar.workloads.neurram.networks import ResNet20

TABLE = ["noise_training", "noise_inference", "authors_simulated"]
LEVELS = (0.0, 0.05, 0.10, 0.15)
COLUMNS = ["noise_training", "noise_inference", "draw", "accuracy"]
BATCH = 50


@torch.no_grad()
def with_noise(model: nn.Module, clean: dict[str, Tensor], noise: float, generator: torch.Generator) -> None:
    """Give every convolution and dense layer its clean weights and biases with an error drawn anew."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            kernel = clean[f"{name}.weight"]
            sigma = noise * float(kernel.abs().max())
            layer.weight.copy_(kernel + sigma * torch.randn(kernel.shape, generator=generator))
            if layer.bias is not None:
                bias = clean[f"{name}.bias"]
                layer.bias.copy_(bias + sigma * torch.randn(bias.shape, generator=generator))


def wanted(folder: Folder, draws: int, least_training: float) -> list[tuple[str, float, float, int]]:
    """Network, noise in training, at inference, and draw, of all that is to be computed."""
    found = []
    for network in reversed(folder.networks("cifar10_base.npz")):  # those trained with noise first
        training = float(network.removeprefix("w"))
        if training >= least_training:
            for noise in LEVELS:
                found += [(network, training, noise, draw) for draw in range(draws if noise else 1)]
    return found


def accuracies(
    folder: Folder, images: Tensor, labels: Tensor, draws: int, seed: int, journal: Path, least_training: float = 0.0
) -> Iterator[tuple[int, int]]:
    """Accuracy of every network, noise and draw, each written to the journal (CSV) as it is found; what stands there is not done again.

    Yields (done, all). Raises DataError for a journal of another form.
    """
    todo = wanted(folder, draws, least_training)
    known = read_journal(journal) if journal.exists() else pd.DataFrame(columns=COLUMNS)
    there = set(zip(known["noise_training"], known["noise_inference"], known["draw"], strict=True))
    if not journal.exists():
        journal.write_text(",".join(COLUMNS) + "\n", "utf-8")
    network, model, clean = "", nn.Module(), {}
    for number, (name, training, noise, draw) in enumerate(todo):
        if (training, noise, draw) not in there:
            if name != network:
                network, model = name, ResNet20(folder.arrays("cifar10_base.npz", name), "evaluated").eval()
                model = model.to(memory_format=torch.channels_last)
                clean = {key: value.clone() for key, value in model.state_dict().items()}
            with_noise(model, clean, noise, generator_of(seed, round(1000 * training), round(1000 * noise), draw))
            with torch.inference_mode():
                right = sum(int((model(part).argmax(1) == truth).sum()) for part, truth in zip(
                    images.split(BATCH), labels.split(BATCH), strict=True))  # fmt: skip
            with journal.open("a", encoding="utf-8") as file:
                file.write(f"{training},{noise},{draw},{right / len(labels):.6f}\n")
        yield number + 1, len(todo)


def read_journal(journal: Path) -> pd.DataFrame:
    """What was found so far."""
    try:
        found = pd.read_csv(journal)
    except (OSError, ValueError) as error:
        raise DataError(f"{journal}: cannot be read as a table: {error}") from None
    if list(found) != COLUMNS:
        raise DataError(f"{journal}: must have the columns {', '.join(COLUMNS)}, got {', '.join(found)}")
    return found


def compared(folder: Folder, found: pd.DataFrame) -> pd.DataFrame:
    """Changes of accuracy by noise at inference, ours and the authors': a row for each network and noise above 0.

    change and its standard error over draws; authors_change; difference; allowed: 1.5 points and two standard errors.
    """
    authors = folder.table("cifar10_noise_table.csv", TABLE)
    rows = []
    for (training, noise), group in found.groupby(["noise_training", "noise_inference"]):
        if not noise:
            continue
        clean = found[(found["noise_training"] == training) & (found["noise_inference"] == 0)]["accuracy"]
        own = authors[np.isclose(authors["noise_training"], training)]
        told = {level: own[np.isclose(own["noise_inference"], level)]["authors_simulated"] for level in (0.0, float(noise))}
        if clean.empty or any(each.empty for each in told.values()):
            continue
        change, theirs = group["accuracy"].mean() - clean.iloc[0], told[float(noise)].iloc[0] - told[0.0].iloc[0]
        error = group["accuracy"].std(ddof=1) / np.sqrt(len(group))
        rows.append({
            "noise_training": training, "noise_inference": noise, "draws": len(group), "accuracy": group["accuracy"].mean(),
            "change": change, "standard_error": error, "authors_change": theirs, "difference": change - theirs,
            "allowed": 0.015 + 2 * error, "within": abs(change - theirs) <= 0.015 + 2 * error,
        })  # fmt: skip
    return pd.DataFrame(rows)

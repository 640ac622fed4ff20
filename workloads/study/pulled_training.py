"""Training of a compression: what is pulled into its sets meanwhile, and by which method."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from xbar.compression.admm import Admm, Balanced
from xbar.compression.joint import Joint
from xbar.compression.magnitude import Gradual, OneShot
from xbar.workloads.data import Dataset
from xbar.workloads.study.plan import Plan
from xbar.workloads.training import Recipe, train_network


def pulling(
    method: str, model: nn.Module, sets: Mapping[str, list[Any]], plan: Plan, epochs: int, data: Dataset, tolerance: float = 0.01,
    joint: Sequence[Joint] = (),
) -> Admm | OneShot:  # fmt: skip
    """What pulls the model into its sets along a training of so many epochs: by COMPRESSION_METHODS."""
    planned = epochs * updates_of(plan, data)
    if method == "gradual":
        return Gradual(model, sets, planned, joint=joint)
    return Admm(model, sets, Balanced(plan.rho, planned), decoupled=True, tolerance=tolerance, joint=joint)


def updates_of(plan: Plan, data: Dataset) -> int:
    """Of ADMM in an epoch: as planned, at most one a batch."""
    return min(plan.updates, -(-len(data.train_targets) // plan.batch))


def train(
    model: nn.Module, data: Dataset, recipe: Recipe, plan: Plan, pulled: Admm | OneShot | None = None, checkpoint: Path | None = None,
    after: Callable[[int, float], None] = lambda epoch, loss: None, teacher: nn.Module | None = None,
) -> None:  # fmt: skip
    """Train in place; what is pulled is put in its sets at the end."""
    updates = updates_of(plan, data)
    train_network(model, data, recipe, plan.seed, checkpoint, regulariser=pulled, updates=updates, after=after, teacher=teacher)
    if pulled is not None:
        pulled.project_()

"""A network of which each layer keeps a stated share of its filters, cut at once and without training: by magnitude, what is left solved
by least squares or left as it is."""

from collections.abc import Mapping

from torch import Tensor, nn

from xbar.compression.gemm import matrix_layers
from xbar.compression.paths import Paths
from xbar.hw.errors import did_you_mean
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.study.allocation import (
    AllocationError,
    Keep,
    joint_streams,
    key_of,
    prune_and_solve,
    prune_once,
    smaller,
)

SOLVED_ON = 500  # training samples that least squares see


def cut_to_shares(model: nn.Module, data: Dataset, shares: Mapping[str, float], method: str = "least-squares", seed: int = 0) -> nn.Module:
    """A smaller copy of `model` of which each layer, or stream of several layers ("stream of ..."), keeps that share of its filters or
    units, one at least; others stay whole.

    method: least-squares or magnitude; least squares see training samples of `data`, at places that the seed draws. Raises AllocationError
    for a name whose filters cannot go, naming those that can, and as `prune_and_solve`.
    """
    example = data.train_inputs[:2]
    counts = filters_of(model, example)
    unknown = [name for name in shares if name not in counts]
    if unknown:
        hint = did_you_mean(unknown[0], counts)
        raise AllocationError(f"{unknown[0]}: has no filters that can go{hint}; those that have: {', '.join(counts)}")
    allocation = {name: Keep(count) for name, count in counts.items()}
    allocation |= {name: Keep(max(1, round(share * counts[name]))) for name, share in shares.items()}
    if all(allocation[name].filters == count for name, count in counts.items()):
        return model
    if method == "magnitude":
        return prune_once(model, allocation, example)
    return smaller(prune_and_solve(model, allocation, first_samples(data, SOLVED_ON), seed), example)


def filters_of(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Filters of each layer, and units of each stream of several layers, of which some can go: not of layers that give the outputs, nor
    of those whose filters are a stream's. example: inputs (batch, ...)."""
    joint = joint_streams(model, example)
    held = Paths(model, example).fixed()
    counts = {
        name: layer.weight.shape[0] for name, layer in matrix_layers(model).items()
        if name not in held and not any((stream.rows(name) >= 0).any() for stream in joint)
    }  # fmt: skip
    return counts | {key_of(stream): stream.count for stream in joint}

"""What the loss does without inputs of layers, once the inputs that are left have been solved again for what the layer gave.

Two inputs of which one tells what the other does are worth little each, and either one is worth much once the other has gone. So worth is
found by taking inputs away, those of least worth first, and solving for the weights of the others each time. Of a layer with matrix W,
inputs x of covariance H and outputs z, whose changes d cost the loss half the sum of G d² (G the mean square of the loss's gradient by each
output, summed over the places of a sample: Fisher's information on the diagonal, J. Martens, arXiv 1412.1193), inputs S cost, when all
others make up for them,

    trace(G W_S ((H⁻¹)_SS)⁻¹ W_Sᵀ) / 2      and then      W - W_S ((H⁻¹)_SS)⁻¹ (H⁻¹)_S: ,

optimal brain surgeon for a set (B. Hassibi and D. Stork, NIPS 1992; E. Frantar and D. Alistarh, arXiv 2208.11580; none of the three opened;
tests compare with least squares by numpy). Labels are drawn from what the network gives where it gives scores of classes, so that a
network that has learnt its samples by heart is measured too.

Not modelled: how outputs of one layer, or places of one sample, act on the loss together, and that layers make up for each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xbar.compression.channels import TRANSPOSED
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, groups_of, matrix_of
from xbar.compression.labels import FIXED
from xbar.compression.layered import layers_of
from xbar.compression.least_squares import RIDGE, drawn_places, rows_of
from xbar.compression.paths import Paths
from xbar.compression.quantise import folded

PLACES = 16  # of a layer's outputs in one sample whose inputs are looked at, at most
SHARE = 16  # of the inputs that are left, the least worth that one step takes away together: a sixteenth
BATCH = 64

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Statistics:
    """Of one layer, by group, float64. inputs: covariance of the inputs that reach its matrix (groups, inputs, inputs), or the mean of
    their products where the layer has no bias to hold means; gradient: of the loss of a sample by each output, squared, summed over places
    (groups, outputs); silent: what the loss does when an output is held at its mean (at 0 without a bias), half the sum of the squares of
    gradient times output (groups x outputs,)."""

    inputs: Tensor
    gradient: Tensor
    silent: Tensor


def worth_without(
    weights: Tensor, statistics: Tensor, sets: Tensor, share: int = SHARE
) -> Tensor:
    """What it costs to go without each set of inputs, in the order in which they go: of the least worth first, the others solved again.

    weights (outputs, inputs), each row times the root of half its output's weight in the loss; statistics (inputs, inputs) of the inputs,
    positive definite; sets (inputs,): the number of the set that each input is of, 0 .. count - 1, -1 of inputs that never go (and help
    the others). Returns (count,) float64, rising in the order of going: sets that go in one step (a share 1 / `share` of what is left, at
    least one) have what that step costs together, each as much of it as it would cost alone, and none less than the dearest before it. So
    their sum is the step's cost in the first step, and may be more in those that follow. inf for a set without inputs.
    """
    count = int(sets.max()) + 1 if len(sets) else 0
    found = torch.full((max(count, 0),), torch.inf, dtype=torch.float64)
    left = torch.bincount(sets[sets >= 0], minlength=count) > 0
    state = _Elimination(weights, torch.linalg.inv(statistics), sets)
    highest = 0.0
    while bool(left.any()):
        alive = left.nonzero().flatten()
        prices = state.prices(alive)
        cheapest = prices.argsort(stable=True)[: max(1, len(alive) // share)]
        together, whole = state.remove(alive[cheapest]), float(prices[cheapest].sum())
        values = prices[cheapest] * (together / whole if whole > 0 else 1.0)
        values = values.clamp(min=highest).cummax(0).values
        highest = float(values[-1])
        found[alive[cheapest]] = values
        left[alive[cheapest]] = False
    return found


class _Elimination:
    """Weights and the inverse of the statistics of the inputs that are left, and of which set each is."""

    def __init__(self, weights: Tensor, inverse: Tensor, sets: Tensor):
        self.weights, self.inverse, self.sets = weights.clone(), inverse, sets.clone()
        self.gone = torch.zeros(len(sets), dtype=torch.bool)

    def _members(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the inputs of each set (sets, widest), and which of them are inputs, bool of the same shape."""
        number = torch.full((int(self.sets.max()) + 2,), -1)  # the last: of -1
        number[chosen] = torch.arange(len(chosen))
        of = torch.where(self.gone, -1, number[self.sets])
        order = of.argsort(stable=True)[int((of < 0).sum()) :]
        sizes = torch.bincount(of[order], minlength=len(chosen))
        places = torch.zeros(len(chosen), int(sizes.max()), dtype=torch.int64)
        slots = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[of[order]]
        places[of[order], slots] = order
        return places, torch.arange(places.shape[1]) < sizes[:, None]

    def prices(self, chosen: Tensor) -> Tensor:
        """What it costs to go without each of these sets alone."""
        at, there = self._members(chosen)
        columns = torch.where(there, self.weights[:, at], 0.0)  # (outputs, sets, widest)
        if at.shape[1] == 1:
            return columns[:, :, 0].square().sum(0) / self.inverse.diagonal()[at[:, 0]]
        blocks = self.inverse[at[:, :, None], at[:, None, :]]
        blocks = torch.where(there[:, :, None] & there[:, None, :], blocks, torch.eye(at.shape[1], dtype=blocks.dtype))
        products = torch.einsum("osi,osj->sij", columns, columns)
        return torch.linalg.solve(blocks, products).diagonal(dim1=1, dim2=2).sum(1).clamp(min=0.0)

    def remove(self, chosen: Tensor) -> float:
        """Go on without these sets; what that costs."""
        at, there = self._members(chosen)
        gone = at[there]
        rows, block, columns = self.inverse[gone], self.inverse[gone[:, None], gone], self.weights[:, gone]
        pulled = torch.linalg.solve(block, columns.T)  # (gone, outputs)
        self.weights -= pulled.T @ rows
        self.inverse -= rows.T @ torch.linalg.solve(block, rows)
        self.gone[gone] = True
        if float(self.gone.double().mean()) > 0.2:  # smaller matrices from here on
            stay = (~self.gone).nonzero().flatten()
            self.weights, self.inverse = self.weights[:, stay].contiguous(), self.inverse[stay][:, stay].contiguous()
            self.sets, self.gone = self.sets[stay], self.gone[stay]
        return float((pulled * columns.T).sum())


def statistics_of(
    model: nn.Module, samples: Tensor, targets: Tensor, loss: Loss, seed: int = 0, bfloat16: bool = False
) -> dict[str, Statistics]:
    """Statistics of every layer with a matrix, by name, over samples (count, ...) of training; of transposed convolutions only what
    their outputs are worth (no inputs).

    model: in evaluation mode, batch norms folded. loss: the mean over samples. Raises CompressionError where a layer is given its inputs
    by name, or a statistic is not finite.
    """
    layers, sums = _layers(model), dict[str, list[Tensor]]()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    for number, (x, y) in enumerate(zip(samples.split(BATCH), targets.split(BATCH), strict=True)):
        _add_batch(model, layers, x.to(device), y.to(device), loss, seed + 1_000_003 * number, generator, bfloat16, sums)
    found = {}
    for name, (square, mean, gradient, silent, rows) in sums.items():
        inputs = square / rows
        if layers[name].bias is not None:
            inputs = inputs - (mean / rows)[:, :, None] * (mean / rows)[:, None, :]
        if not all(bool(each.isfinite().all()) for each in (inputs, gradient, silent)):
            raise CompressionError(f"layer {name}: its inputs or gradients are not finite, so no worth can be told")
        found[name] = Statistics(inputs, gradient / len(samples), silent / len(samples) / 2)
    return found


def _layers(model: nn.Module) -> dict[str, Any]:
    """Layers with a matrix, transposed ones too."""
    return {name: layer for name, layer in layers_of(model).items() if not isinstance(layer, nn.Embedding)}


def _add_batch(
    model: nn.Module, layers: Mapping[str, Any], x: Tensor, y: Tensor, loss: Loss, seed: int, generator: torch.Generator,
    bfloat16: bool, sums: dict[str, list[Tensor]],
) -> None:  # fmt: skip
    seen: list[tuple[str, Tensor, Tensor]] = []

    def hook(name: str) -> Callable[..., None]:
        def told(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if not given:
                raise CompressionError(f"layer {name} is given its inputs by name; give them by position")
            if output.requires_grad:
                output.retain_grad()
            seen.append((name, given[0].detach(), output))

        return told

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        with torch.enable_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            outputs = model(x)
        outputs = outputs.float()
        if not bool(outputs.isfinite().all()):
            raise CompressionError("what the network gives is not finite, so no worth of its inputs can be told")
        if not y.is_floating_point() and outputs.dim() == y.dim() + 1:
            shares = outputs.detach().softmax(-1).flatten(0, -2).cpu()
            y = shares.multinomial(1, generator=generator).view(y.shape).to(y.device)
        model.zero_grad()
        (loss(outputs, y) * len(x)).backward()
    finally:
        for each in hooks:
            each.remove()
    with torch.no_grad():
        for name, given, output in seen:
            layer, gradient = layers[name], output.grad
            if isinstance(layer, TRANSPOSED):
                rows = output.new_zeros(1, groups_of(layer), 0)  # type: ignore[arg-type]
            else:
                rows = rows_of(layer, given.float(), drawn_places(layer, output, PLACES, seed))
            slope = torch.zeros_like(output) if gradient is None else gradient
            slopes, values = (_flat(layer, each.float()) for each in (slope, output.detach()))
            kept = values - values.mean((0, 1)) if layer.bias is not None else values
            groups = groups_of(layer)
            new = [torch.einsum("pgi,pgj->gij", rows, rows).double(), rows.sum(0).double(),
                   slopes.square().sum((0, 1)).view(groups, -1).double(), (slopes * kept).square().sum((0, 1)).double(),
                   torch.tensor(float(len(rows)))]  # fmt: skip
            sums[name] = [a + b for a, b in zip(sums[name], new, strict=True)] if name in sums else new
    model.zero_grad()


def _flat(layer: MatrixLayer, y: Tensor) -> Tensor:
    """Outputs (samples, places, outputs)."""
    return y.reshape(len(y), -1, y.shape[-1]) if isinstance(layer, nn.Linear) else y.flatten(2).transpose(1, 2)


def scaled(layer: MatrixLayer, statistics: Statistics, group: int) -> Tensor:
    """The matrix of a group, each row times the root of half its output's weight in the loss (outputs, inputs), float64."""
    matrix = matrix_of(layer.weight.detach(), groups_of(layer))[group].double()
    return matrix * (statistics.gradient[group] / 2).sqrt()[:, None]


def with_ridge(inputs: Tensor) -> Tensor:
    """Statistics of inputs (inputs, inputs) that are positive definite: a share of the mean square on the diagonal."""
    share = RIDGE * inputs.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    return inputs + share * torch.eye(len(inputs), dtype=inputs.dtype, device=inputs.device)


def worth(
    model: nn.Module, paths: Paths, samples: Tensor, targets: Tensor, loss: Loss, seed: int = 0, bfloat16: bool = False
) -> dict[str, tuple[Tensor, Tensor]]:  # fmt: skip
    """What the loss does without each filter (outputs,) and each input (kernel positions x channels of all groups) of each linear layer
    and convolution: what `worth_without` says of the layers that read a filter, added up; of the outputs themselves held at their mean
    where no such layer reads them (the network's own, queries and keys, gates), or only layers with groups.

    model: in evaluation mode, with batch norms; paths: of it; loss: the mean over samples (count, ...) of training. Weights that are 0
    are left out. Raises as `statistics_of` and `xbar.compression.quantise.folded`.
    """
    network = folded(model, samples[:2]).eval()
    found, layers = statistics_of(network, samples, targets, loss, seed, bfloat16), _layers(network)
    classes = paths.channels.classes
    read = torch.zeros(len(classes), dtype=torch.float64), torch.zeros(len(classes), dtype=torch.bool)
    inputs = {}
    for name, layer in layers.items():
        if name in found and not isinstance(layer, TRANSPOSED):
            source = classes[paths.readers[name].source] if name in paths.readers else None
            inputs[name] = _inputs(layer, found[name], source, read)
    values = {}
    for name, layer in layers.items():
        reader = paths.readers.get(name)
        outputs, features = (len(reader.outputs), len(reader.source)) if reader else (len(layer.weight), layer.weight.shape[1])
        silent = found[name].silent if name in found else torch.zeros(outputs, dtype=torch.float64)
        if reader is not None:
            made = classes[reader.outputs]
            silent = torch.where(read[1][made], read[0][made], silent)
        values[name] = silent.float(), inputs.get(name, torch.zeros(features, dtype=torch.float64)).float()
    return values


def _inputs(layer: MatrixLayer, statistics: Statistics, source: Tensor | None, read: tuple[Tensor, Tensor]) -> Tensor:
    """Worth of each input of a layer; what its channels are worth together is added to `read`, by class, and told to be there. source
    (features,): the class of each."""
    groups, (channels, positions) = groups_of(layer), (layer.weight.shape[1], layer.weight[0, 0].numel())
    found = torch.zeros(positions, groups, channels, dtype=torch.float64)
    for group in range(groups):
        weights = scaled(layer, statistics, group)
        used = (weights != 0).any(0).nonzero().flatten()
        if not len(used):
            continue
        inputs = with_ridge(statistics.inputs[group][used][:, used])
        found.view(positions, groups * channels)[used // channels, group * channels + used % channels] = worth_without(
            weights[:, used], inputs, torch.arange(len(used))
        )
        if groups == 1 and source is not None:
            there, which = source[used % channels].unique(return_inverse=True)
            free = there != FIXED
            numbers = torch.where(free, free.cumsum(0) - 1, -1)
            read[0].index_add_(0, there[free], worth_without(weights[:, used], inputs, numbers[which]))
            read[1][there[free]] = True
    return found.flatten()

"""A network cut at once, and the weights that are left solved by least squares, layer after layer, so that each layer gives what it gave.

After filters have gone, a layer reads what is left of its inputs, as the smaller network computes them, and is to put out what the
whole network puts out there. For a matrix W of the whole network, inputs x there and x' in the smaller one, rows of W' that stay are

    W' = (E[W x x'ᵀ] + r W) (E[x' x'ᵀ] + r 1)⁻¹,

which minimises E|W x - W' x'|² + r |W' - W|², with r a share (`ridge`) of the mean square input; means are taken off first where the
layer has a bias to hold them. (Y. He, X. Zhang, J. Sun, Channel pruning for accelerating very deep neural networks, ICCV 2017, arXiv
1707.06168, solve the same in each layer; not opened.) Which inputs stay is chosen there too: those go one after the other whose
loss costs least once the others have been solved again, |column of W'|² over its element of the inverse's diagonal (B. Hassibi and
D. Stork, Second order derivatives for network pruning: optimal brain surgeon, NIPS 1992; not opened).

No training, no labels: some hundred samples are enough. Batch norms keep their statistics.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, groups_of, layer_of, matrix_layers, matrix_of, weight_of
from xbar.compression.masks import bake
from xbar.compression.paths import remove_unused_paths, silence

RIDGE = 1e-3  # share of the mean square input
PLACES = 32  # of a layer's outputs in one sample (pixels, tokens) that are looked at, at most
TOGETHER = 64  # eliminations before the inverse is written anew
BATCH = 100
BATCHES = 1_000_003  # more than there are: every seed has its own places


def reconstruct(
    model: nn.Module, cut: nn.Module, inputs: Mapping[str, int], samples: Tensor, seed: int = 0,
    step: Callable[[str], None] = lambda _: None,
) -> nn.Module:  # fmt: skip
    """A copy of `cut`, which is `model` with some filters zero, whose other weights give what `model` gives as well as they can; of its
    inputs each layer named in `inputs` keeps so many (of all groups together), the rest become zero columns. Plain, in evaluation mode,
    of the size of `model` (`shrink` makes it small).

    model: in evaluation mode; samples: inputs (count, ...), of training. seed: of the places that are looked at.
    Filters without weights emit 0 from here on (`silence`). Layers that are called several times are solved over all their calls, with
    inputs as they were before. Transposed convolutions and embeddings stay as they are. Raises CompressionError for a model in training
    mode, an unknown layer, fewer than one input, inputs given to a layer by name, and what is not finite; and as `Paths`.
    """
    if any(module.training for module in model.modules()):
        raise CompressionError("least squares: the model is in training mode, in which it would not give what it gives; call model.eval()")
    layers = matrix_layers(model)
    for name, count in inputs.items():
        layer_of(model, name)
        if count < 1:
            raise CompressionError(f"layer {name} must keep 1 input or more, got {count}")
    small = copy.deepcopy(bake(copy.deepcopy(cut)))
    silence(small, samples[:2])
    remove_unused_paths(small, samples[:2])
    bake(small).eval()
    wanted = _Outputs(model, samples, seed)
    for number, name in enumerate(wanted.order, 1):
        step(f"least squares: {name}, layer {number} of {len(wanted.order)}")
        _solve_layer(layers[name], layer_of(small, name), inputs.get(name), *wanted.moments(name, small))
    return small


class _Outputs:
    """What every layer of the whole network puts out for the samples, at places drawn by the seed."""

    def __init__(self, model: nn.Module, samples: Tensor, seed: int):
        self.samples, self.seed, self.batch = samples, seed, 0  # batch: the number of the one that is looked at
        self.calls: dict[str, int] = {}  # of a layer in one forward pass, in order of the first
        self.outputs: dict[str, list[Tensor]] = {}  # by layer, of each call of each batch: (places, groups, outputs)
        for batch in self._batches():
            self.calls = {}
            _watched(model, batch, list(matrix_layers(model)), self._keep)

    def _batches(self) -> Iterator[Tensor]:
        for number, batch in enumerate(self.samples.split(BATCH)):
            self.batch = number
            yield batch

    def _keep(self, name: str, layer: MatrixLayer, x: Tensor, y: Tensor) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        places = self._places(layer, y)
        self.outputs.setdefault(name, []).append(_outputs(layer, y, places))

    @property
    def order(self) -> list[str]:
        """Layers as they are first called."""
        return list(self.calls)

    def _places(self, layer: MatrixLayer, y: Tensor) -> Tensor | None:
        """(samples, places) of a layer's outputs in a batch, others in the next; the same whenever it is asked. None for all."""
        return drawn_places(layer, y, PLACES, BATCHES * self.seed + self.batch)

    def moments(self, name: str, small: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means over the places, float64, by group: of x' x'ᵀ, of z x'ᵀ, of x' and of z, z what the whole network puts out."""
        sums: list[Any] = [0.0, 0.0, 0.0, 0.0]
        count, left = 0, iter(self.outputs[name])

        def add(_: str, layer: MatrixLayer, x: Tensor, y: Tensor) -> None:
            nonlocal count
            z, inputs = next(left), rows_of(layer, x, self._places(layer, y))
            found = (torch.einsum("pgi,pgj->gij", inputs, inputs), torch.einsum("pgo,pgi->goi", z, inputs), inputs.sum(0), z.sum(0))
            count += len(z)
            for place, each in enumerate(found):
                sums[place] = sums[place] + each.double()

        for batch in self._batches():
            _watched(small, batch, [name], add, self.calls[name])
        square, across, mean_x, mean_z = (each / count for each in sums)
        return square, across, mean_x, mean_z


def drawn_places(layer: MatrixLayer, y: Tensor, count: int, seed: int) -> Tensor | None:
    """So many places (samples, places) of a layer's outputs y, drawn by the seed; None for all, where there are no more."""
    there = y[0].numel() // len(layer.weight)
    if there <= count:
        return None
    return torch.rand(len(y), there, generator=torch.Generator().manual_seed(seed)).topk(count).indices.to(y.device)


class _Enough(Exception):
    """All calls that were wanted have been seen."""


@torch.no_grad()
def _watched(
    model: nn.Module, batch: Tensor, names: Sequence[str], tell: Callable[[str, MatrixLayer, Tensor, Tensor], None], calls: int = 0
) -> None:
    """Tell inputs and outputs of layers in one forward pass, which ends after so many calls (0: at its own end)."""
    seen, hooks = [], []

    def hook(name: str) -> Callable[..., None]:
        def told(layer: Any, given: tuple[Tensor, ...], output: Tensor) -> None:
            if not given:
                raise CompressionError(f"least squares: layer {name} is given its inputs by name; give them by position")
            seen.append(name)
            tell(name, layer, given[0], output)
            if len(seen) == calls:
                raise _Enough

        return told

    try:
        hooks = [layer_of(model, name).register_forward_hook(hook(name)) for name in names]
        model(batch.to(next(model.parameters()).device))
    except _Enough:
        pass
    finally:
        for each in hooks:
            each.remove()


def rows_of(layer: MatrixLayer, x: Tensor, places: Tensor | None) -> Tensor:
    """Inputs of the matrix (places, groups, inputs), in its order (`matrix_of`), at the places (samples, places) or at all."""
    if isinstance(layer, nn.Linear):
        return _at(x.reshape(len(x), -1, x.shape[-1]), places).unsqueeze(1)
    axes = len(layer.kernel_size)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    for axis, (size, stride, dilation) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), 2):
        x = x.unfold(axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    x = _at(x.flatten(2, 1 + axes).flatten(3).transpose(1, 2).flatten(2), places)  # (places, channels x kernel)
    return x.view(len(x), layer.groups, layer.in_channels // layer.groups, -1).transpose(2, 3).flatten(2)


def _outputs(layer: MatrixLayer, y: Tensor, places: Tensor | None) -> Tensor:
    """Outputs (places, groups, outputs) of a layer."""
    y = y.reshape(len(y), -1, y.shape[-1]) if isinstance(layer, nn.Linear) else y.flatten(2).transpose(1, 2)
    return _at(y, places).unflatten(1, (groups_of(layer), -1))


def _at(found: Tensor, places: Tensor | None) -> Tensor:
    """What is at the places of (samples, places, features), or all of it: (places, features)."""
    if places is not None:
        found = found.gather(1, places[:, :, None].expand(-1, -1, found.shape[2]))
    return found.flatten(0, 1)


@torch.no_grad()
def _solve_layer(
    whole: MatrixLayer, small: MatrixLayer, most: int | None, square: Tensor, across: Tensor, mean_x: Tensor, mean_z: Tensor
) -> None:
    """Give `small` the weights, and the bias where it has one, that give what `whole` puts out."""
    if not all(bool(each.isfinite().all()) for each in (square, across)):
        raise CompressionError("a layer's inputs or outputs are not finite: least squares cannot be solved")
    groups = groups_of(small)
    before, left = matrix_of(whole.weight.detach(), groups).double(), matrix_of(small.weight.detach(), groups) != 0
    if small.bias is not None:
        square = square - mean_x[:, :, None] * mean_x[:, None, :]
        across = across - mean_z[:, :, None] * mean_x[:, None, :]
    problems = [_Problem(square[g], across[g][left[g].any(1)], before[g][left[g].any(1)], left[g].any(0)) for g in range(groups)]
    _choose(problems, most)
    found = torch.zeros_like(before)
    for group, problem in enumerate(problems):
        found[group, left[group].any(1)] = problem.weights
    small.weight.copy_(weight_of(found.to(small.weight.dtype), small.weight.shape))
    if small.bias is not None:
        bias = mean_z - torch.einsum("goi,gi->go", found, mean_x)
        small.bias.copy_(torch.where(left.any(2), bias.to(small.bias.dtype), small.bias.view(groups, -1)).flatten())


class _Problem:
    """Least squares of one group: outputs from the inputs that are kept. kept: bool of all inputs; weights (outputs, inputs), 0 elsewhere;
    price: of the loss of each input, infinite of those that have gone."""

    def __init__(self, square: Tensor, across: Tensor, before: Tensor, may: Tensor):
        ridge = RIDGE * square.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        self.square = square + ridge * torch.eye(len(square), dtype=square.dtype, device=square.device)
        self.across = across + ridge * before
        self.kept = may
        self.solve()

    def solve(self) -> None:
        """For what is kept."""
        at = self.kept.nonzero().flatten()
        factor = torch.linalg.cholesky(self.square[at][:, at])
        self.weights = torch.zeros_like(self.across)
        self.weights[:, at] = torch.cholesky_solve(self.across[:, at].mT, factor).mT
        self._inverse = torch.zeros_like(self.square)
        self._inverse[at[:, None], at] = torch.cholesky_inverse(factor)
        self._diagonal = self._inverse.diagonal().clone()
        self._gone = self._inverse.new_zeros(len(self.square), TOGETHER)  # the inverse is still to lose these times their transpose
        self._count = 0
        self._price()

    def _price(self) -> None:
        worth = self.weights.square().sum(0) / self._diagonal
        self.price = torch.where(self.kept, worth, torch.inf)

    def remove(self, place: int) -> None:
        """Without one input, the others as they are best then (block elimination of the inverse)."""
        gone = self._gone[:, : self._count]
        column = self._inverse[:, place] - gone @ gone[place]
        pivot = column[place].clone()
        self.weights -= torch.outer(self.weights[:, place] / pivot, column)
        self._gone[:, self._count] = column / pivot.sqrt()
        self._diagonal -= column.square() / pivot
        self._count += 1
        if self._count == TOGETHER:
            self._inverse -= self._gone @ self._gone.T
            self._count = 0
        self.kept = self.kept.clone()
        self.kept[place] = False
        self._price()


def _choose(problems: list[_Problem], most: int | None) -> None:
    """Leave the problems, groups of a layer, so many inputs together; the one of least price goes, again and again."""
    count = sum(int(each.kept.sum()) for each in problems)
    if most is None or count <= most:
        return
    prices = torch.stack([each.price for each in problems])
    for _ in range(count - most):
        group, place = divmod(int(prices.argmin()), prices.shape[1])
        problems[group].remove(place)
        prices[group] = problems[group].price
    for each in problems:
        each.solve()

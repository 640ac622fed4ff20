"""Weights solved by least squares, against independent solvers and nets in which nothing needs to be lost."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.compression import networks
from xbar.compression import CompressionError, Filter, OneShot, bake, baked, reconstruct, shrink
from xbar.compression.gemm import matrix_layers, matrix_of
from xbar.compression.least_squares import BATCH, PLACES, RIDGE, _choose, _Outputs, _outputs, _Problem, rows_of


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def solved_problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs that resemble each other, a matrix of the whole network, and outputs that it does not give."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 14)) @ random.normal(size=(14, 14)) + 0.1 * random.normal(size=(400, 14))
    before = random.normal(size=(5, 14))
    return x, before, x @ before.T + 0.3 * random.normal(size=(400, 5))


def ridge_by_stacking(x: np.ndarray, before: np.ndarray, z: np.ndarray, kept: list[int], ridge: float) -> tuple[np.ndarray, float]:
    """The solution, and what is left, by numpy's least squares on stacked rows in place of normal equations."""
    root = np.sqrt(ridge * len(x))
    stacked = np.vstack([x[:, kept], root * np.eye(len(kept))])
    wanted = np.vstack([z, root * before[:, kept].T])
    found, *_ = np.linalg.lstsq(stacked, wanted, rcond=None)
    gone = [i for i in range(x.shape[1]) if i not in kept]
    return found.T, float(((stacked @ found - wanted) ** 2).sum() / len(x) + ridge * (before[:, gone] ** 2).sum())


@pytest.mark.parametrize("together", [3, 64])
def test_inputs_go_one_by_one_as_solving_anew_for_each_would_have_it(
    solved_problem: tuple[np.ndarray, np.ndarray, np.ndarray], together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xbar.compression.least_squares.TOGETHER", together)
    x, before, z = solved_problem
    ridge = RIDGE * float((x**2).mean())
    kept = list(range(14))
    for _ in range(8):
        left = [[i for i in kept if i != one] for one in kept]
        # the pull to the old weights is not part of what decides once an input has gone, so that it counts the same for all that go
        losses = [ridge_by_stacking(x, before, z, each, ridge)[1] - ridge * (before[:, [i for i in range(14) if i not in each]] ** 2).sum()
                  for each in left]  # fmt: skip
        kept = left[int(np.argmin(losses))]
    t = [torch.from_numpy(each) for each in (x.T @ x / len(x), z.T @ x / len(x), before)]
    problem = _Problem(*t, torch.ones(14, dtype=torch.bool))
    _choose([problem], 6)
    assert problem.kept.nonzero().flatten().tolist() == kept
    expected, _ = ridge_by_stacking(x, before, z, kept, ridge)
    assert problem.weights[:, kept].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-11)
    assert not problem.weights[:, ~problem.kept].any()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4), (3, 6)), (nn.Linear(6, 4), (3, 5, 6)), (nn.Conv1d(6, 4, 3, padding=2, dilation=2), (3, 6, 9)),
        (nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 6, 8, 7)),
        (nn.Conv2d(6, 12, 3, padding="same", groups=3), (3, 6, 5, 5)),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6, padding_mode="reflect"), (3, 6, 5, 5)), (nn.Conv3d(2, 4, 2, dilation=2), (3, 2, 5, 4, 4)),
    ],
    ids=["linear", "tokens", "conv1d", "stride", "groups", "depthwise", "conv3d"],
)  # fmt: skip
@pytest.mark.parametrize("drawn_places", [False, True])
def test_rows_times_the_matrix_are_the_layers_outputs(layer: nn.Module, shape: tuple[int, ...], drawn_places: bool) -> None:
    (matrix,) = matrix_layers(nn.Sequential(layer)).values()
    x = drawn(*shape)
    with torch.no_grad():
        y = layer(x) - (layer.bias.view(-1, *[1] * (x.dim() - 2)) if not isinstance(layer, nn.Linear) else layer.bias)
    there = y[0].numel() // len(layer.weight)
    places = torch.tensor([[there - 1, 0]] * 3) if drawn_places else None
    rows = rows_of(matrix, x, places)
    groups = getattr(layer, "groups", 1)
    found = torch.einsum("pgi,goi->pgo", rows, matrix_of(layer.weight.detach(), groups))
    assert found.numpy() == pytest.approx(_outputs(matrix, y, places).numpy(), abs=1e-5)
    assert len(found) == 3 * (2 if drawn_places else there)


class Twins(nn.Module):
    """Every channel is there twice, so that half of them can go without a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, stride=2)
        self.last = nn.Linear(6, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(drawn(*parameter.shape, seed=parameter.numel()))
            self.first.weight[:4] /= self.first.weight[:4].square().sum((1, 2, 3), keepdim=True).sqrt()
            self.first.weight[4:] = 0.9 * self.first.weight[:4]
            self.norm.weight[4:], self.norm.bias[4:] = self.norm.weight[:4], 0.9 * self.norm.bias[:4]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.norm(self.first(x))))).mean((2, 3)))


def cut(model: nn.Module, filters: dict[str, int]) -> nn.Module:
    small = baked(model)
    OneShot(small, {name: [Filter(k=count)] for name, count in filters.items()})
    return bake(small).eval()


def away(model: nn.Module, small: nn.Module, x: Tensor) -> float:
    """Share of the outputs' square that is missed."""
    with torch.no_grad():
        wanted = model(x)
        return float((small(x) - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean())


def test_what_is_there_twice_can_go_without_a_loss() -> None:
    model, x = Twins().eval(), drawn(60, 2, 7, 7)
    pruned = cut(model, {"first": 4})
    solved = reconstruct(model, pruned, {}, x)
    fresh = drawn(60, 2, 7, 7, seed=1)
    assert away(model, pruned, fresh) > 0.1
    assert away(model, solved, fresh) < 1e-4
    small = shrink(solved, x[:2])
    assert small.first.weight.shape[0] == 4
    with torch.no_grad():
        assert small(fresh).numpy() == pytest.approx(solved(fresh).numpy(), abs=1e-4)
    again = reconstruct(model, pruned, {}, x)
    assert all(torch.equal(a, b) for a, b in zip(solved.parameters(), again.parameters(), strict=True))


def test_inputs_that_are_there_twice_go_without_a_loss() -> None:
    model, x = Twins().eval(), drawn(60, 2, 7, 7)
    solved = reconstruct(model, baked(model), {"second": 36}, x)
    assert int((matrix_of(solved.second.weight)[0] != 0).any(0).sum()) == 36
    assert away(model, solved, drawn(60, 2, 7, 7, seed=1)) < 1e-4


@pytest.mark.parametrize(("make", "shape"), networks.NETWORKS)
def test_any_network_comes_nearer_to_what_it_gave(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = make(), drawn(40, *shape)
    model(x)  # batch norms see what they will
    model.eval()
    layers = matrix_layers(model)
    pruned = cut(model, {each: max(1, len(layer.weight) * 3 // 4) for each, layer in list(layers.items())[:-1]})
    solved = reconstruct(model, pruned, {}, x)
    assert away(model, solved, x) < away(model, pruned, x)


def test_what_cannot_be_asked_is_refused() -> None:
    model, x = Twins().eval(), drawn(4, 2, 7, 7)
    with pytest.raises(CompressionError, match="no Linear or convolution is called 'third'"):
        reconstruct(model, model, {"third": 3}, x)
    with pytest.raises(CompressionError, match="layer second must keep 1 input or more, got 0"):
        reconstruct(model, model, {"second": 0}, x)
    with pytest.raises(CompressionError, match="not finite"):
        reconstruct(model, model, {}, 1e30 * x)
    before = model.norm.running_mean.clone()
    model.norm.train()
    with pytest.raises(CompressionError, match="in training mode"):
        reconstruct(model, model, {}, x)
    assert torch.equal(model.norm.running_mean, before)


def test_inputs_by_name_are_refused_by_name() -> None:
    class ByName(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](input=x)

    model = ByName(nn.Linear(3, 2)).eval()
    with pytest.raises(CompressionError, match="layer 0 is given its inputs by name"):
        reconstruct(model, model, {}, drawn(4, 3))


def test_every_batch_is_looked_at_in_places_of_its_own() -> None:
    model, batch = nn.Sequential(nn.Conv2d(2, 3, 1)).eval(), drawn(BATCH, 2, 8, 8)
    seen = _Outputs(model, torch.cat([batch, batch]), 0)
    first, second = seen.outputs["0"]
    assert first.shape == second.shape == (BATCH * PLACES, 1, 3)
    assert not torch.equal(first, second)
    square, across, *_ = seen.moments("0", model)  # inputs at the places that outputs were kept of
    matrix = model[0].weight.detach().flatten(1).double()
    bias = model[0].bias.detach().double()
    assert (across[0] - torch.outer(bias, seen.moments("0", model)[2][0])).numpy() == pytest.approx((matrix @ square[0]).numpy(), abs=1e-5)

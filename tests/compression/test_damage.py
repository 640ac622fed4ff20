"""What going without inputs costs, against least squares by numpy and against removal in the flesh."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbar.compression import CompressionError
from xbar.compression.damage import statistics_of, worth, worth_without
from xbar.compression.paths import Paths
from xbar.compression.quantise import folded


def correlated(inputs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(inputs, 3 * inputs))
    return mixed @ mixed.T / (3 * inputs) + 1e-3 * np.eye(inputs)


def without(weights: np.ndarray, covariance: np.ndarray, gone: list[int]) -> float:
    """The least error of outputs without some inputs, by numpy."""
    kept = [i for i in range(len(covariance)) if i not in gone]
    solved = np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[kept] @ weights.T).T
    wrong = weights.copy()
    wrong[:, kept] -= solved
    return float(np.trace(wrong @ covariance @ wrong.T))


@pytest.mark.parametrize(
    "sets", [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 0, 1, 2, 2, 3, 2], [0, 0, -1, 1, 1, -1, 2, 2]], ids=["one", "uneven", "some stay"]
)
def test_worth_is_what_least_squares_cannot_make_up_for(sets: list[int]) -> None:
    covariance, weights = correlated(8, 1), np.random.default_rng(2).normal(size=(5, 8))
    found = worth_without(torch.tensor(weights), torch.tensor(covariance), torch.tensor(sets), share=10**6).numpy()
    gone: list[int] = []
    left, before, highest = set(sets) - {-1}, 0.0, 0.0
    while left:  # one after the other, the least first
        prices = {one: without(weights, covariance, [*gone, *(i for i, s in enumerate(sets) if s == one)]) - before for one in left}
        least = min(prices, key=lambda one: prices[one])
        highest = max(highest, prices[least])
        assert found[least] == pytest.approx(highest, rel=1e-6)
        gone += [i for i, s in enumerate(sets) if s == least]
        left.remove(least)
        before = without(weights, covariance, gone) if len(gone) < 8 else float(np.trace(weights @ covariance @ weights.T))


def test_steps_of_many_cost_together_what_they_cost() -> None:
    covariance, weights = correlated(40, 3), np.random.default_rng(4).normal(size=(6, 40))
    found = worth_without(torch.tensor(weights), torch.tensor(covariance), torch.arange(40), share=4).numpy()
    first = np.argsort(found, kind="stable")[:10]
    assert found[first].sum() == pytest.approx(without(weights, covariance, first.tolist()), rel=1e-6)
    assert found.sum() >= 0.999 * float(np.trace(weights @ covariance @ weights.T))  # all of it goes in the end, or more where it rises


def test_a_twin_is_worth_nothing_and_the_other_all() -> None:
    covariance = np.eye(3)
    covariance[:2, :2] = 1 + 1e-6 * np.eye(2)
    found = worth_without(torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64), torch.tensor(covariance), torch.arange(3))
    twins = sorted(found[:2].tolist())
    assert twins[0] < 1e-5
    assert twins[1] == pytest.approx(4.0, rel=1e-5)
    assert float(found[2]) == pytest.approx(1.0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.deep, self.last = nn.Conv2d(6, 6, 3, groups=3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.deep(torch.relu(self.norm(self.conv(x))))).mean((2, 3)))


def test_statistics_are_of_inputs_gradients_and_outputs() -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(70, 2, 7, 7)
    network = folded(model, x[:2])
    targets = torch.randn(70, 4)
    half_square = lambda y, t: (y - t).square().sum(1).mean() / 2  # noqa: E731
    found = statistics_of(network, x, targets, half_square)
    assert set(found) == {"conv", "deep", "last"}
    with torch.no_grad():
        y = network(x)
        before = {}
        network.last.register_forward_hook(lambda _, given, out: before.update(x=given[0]))
        network(x)
    slopes = (y - targets).double()  # of half the square of what is missed
    assert found["last"].gradient[0].numpy() == pytest.approx(slopes.square().mean(0).numpy(), rel=1e-5)
    given = before["x"].double()
    assert found["last"].inputs[0].numpy() == pytest.approx(torch.cov(given.T, correction=0).numpy(), rel=1e-4, abs=1e-8)
    assert found["deep"].inputs.shape == (3, 18, 18)
    assert found["deep"].gradient.shape == (3, 2)
    away = y.double() - torch.cat([part.mean(0).expand_as(part) for part in y.double().split(64)])
    assert found["last"].silent.numpy() == pytest.approx(((slopes * away).square().mean(0) / 2).numpy(), rel=1e-4)


def test_labels_are_drawn_where_the_network_gives_scores() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4)).eval(), torch.randn(4000, 3)
    with torch.no_grad():
        shares = model(x).softmax(-1).double()
        learnt = model(x).argmax(-1)
    found = statistics_of(model, x, learnt, nn.functional.cross_entropy)["0"].gradient[0]
    assert found.numpy() == pytest.approx((shares * (1 - shares)).mean(0).numpy(), rel=0.05)  # variance of a drawn label, 4,000 samples


def test_what_is_not_finite_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(CompressionError, match="is not finite"):
        statistics_of(model.eval(), torch.ones(4, 3), torch.zeros(4, dtype=torch.int64), nn.functional.cross_entropy)


def test_filters_are_worth_what_those_that_read_them_lose() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.ReLU(), nn.Flatten(),
                          nn.Linear(45, 3)).eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight[4:] = 0.9 * model[0].weight[:4]  # each is there twice
    x = torch.randn(300, 2, 7, 7)
    found = worth(model, Paths(model, x[:2]), x, torch.zeros(300, dtype=torch.int64), nn.functional.cross_entropy)
    filters = found["0"][0].view(2, 4).sort(0).values
    assert (filters[0] < 0.02 * filters[1]).all()
    assert found["0"][1].shape == (18,)
    assert found["3"][1].shape == (72,)
    assert found["6"][0].min() > 0  # scores, which nothing reads
    rows = found["6"][1].view(5, 9)  # inputs are places of channels: together they are worth more than the least of each
    assert (found["3"][0] > rows.min(1).values).all()

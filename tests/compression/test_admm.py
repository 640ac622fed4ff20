"""ADMM, magnitude pruning and masks on a small network and real digits."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import prune

from xbar.compression.admm import Admm, Balanced, FarFromSetsWarning, Rho
from xbar.compression.constraints import Channel, Column, Filter, Levels, PruningSet, Weights
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers, matrix_of
from xbar.compression.magnitude import Gradual, OneShot, global_masks, iterative, magnitude_masks, one_shot
from xbar.compression.masks import (
    attach,
    bake,
    baked,
    behind,
    choose_threshold,
    compression_ratio,
    masks_of,
    nonzero_masks,
    purification_masks,
    purify,
)


def _network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train images and labels, test images and labels."""
    found = load_digits()
    x, y = torch.tensor(found.data / 16, dtype=torch.float32), torch.tensor(found.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:1200]], y[order[:1200]], x[order[1200:]], y[order[1200:]]


def _train(
    model: nn.Module, data: tuple[Tensor, ...], epochs: int | range, seed: int, penalty: Callable[[], Tensor] | None = None,
    after: Callable[[int], None] | None = None, optimiser: torch.optim.Optimizer | None = None, pulled: Admm | None = None,
) -> None:  # fmt: skip
    """pulled: decoupled, after each step, and updated every fourth."""
    steps = 0
    optimiser = optimiser or torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(epochs) if isinstance(epochs, int) else epochs:
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        for chosen in torch.randperm(len(data[0]), generator=generator).split(60):
            loss = nn.functional.cross_entropy(model(data[0][chosen]), data[1][chosen])
            loss = loss if penalty is None else loss + penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
            if pulled is not None:
                pulled.pull()
                if steps % 4 == 0:
                    pulled.update(epoch)
        if after is not None:
            after(epoch)


def _accuracy(model: nn.Module, data: tuple[Tensor, ...]) -> float:
    with torch.no_grad():
        return float((model(data[2]).argmax(1) == data[3]).float().mean())


SETS = {"0": [Column(k=16)], "2": [Column(ratio=0.25)]}


@pytest.fixture(scope="module")
def trained(digits: tuple[Tensor, ...]) -> list[nn.Module]:
    models = [_network(seed) for seed in range(6)]
    for seed, model in enumerate(models):
        _train(model, digits, 15, seed)
    return models


def test_admm_beats_one_shot_magnitude_at_a_fourth_of_the_columns(
    digits: tuple[Tensor, ...], trained: list[nn.Module]
) -> None:
    """Same start, same columns left, mean of six seeds, 30 epochs of retraining: ahead by half a point (measured: 91.1 against 90.3 %),
    its weights within 1 % of their sets before the projection. Where one-shot retrains for ADMM's 30 epochs as well both are alike
    (91.2 %): on three layers and easy digits time is worth as much as the choice (results/README.md has harder cases)."""
    pulled_, plain_, longer_ = [], [], []
    for seed, start in enumerate(trained):
        pulled, plain = copy.deepcopy(start), copy.deepcopy(start)
        admm = Admm(pulled, SETS, Balanced(0.3, planned=150), decoupled=True)
        _train(pulled, digits, 30, seed, pulled=admm)
        attach(pulled, admm.project_())
        assert admm.reached < 0.01
        one_shot(plain, SETS)
        for model in (pulled, plain):
            _train(model, digits, 30, seed + 50)
            assert int((model[0].weight != 0).any(0).sum()) == 16
            assert int((model[2].weight != 0).any(0).sum()) == 10
        pulled_.append(_accuracy(pulled, digits))
        plain_.append(_accuracy(plain, digits))
        _train(plain, digits, 30, seed + 90)
        longer_.append(_accuracy(plain, digits))
    assert sum(pulled_) > sum(plain_) + 6 * 0.004
    assert abs(sum(pulled_) - sum(longer_)) < 6 * 0.005


def test_pulled_apart_from_the_loss_it_ends_in_the_best_set() -> None:
    """f = ||W - W0||² / 2 by plain gradient steps: the nearest member is the projection of W0, which differs from that of where W
    began; and rho may be anything."""
    best = torch.tensor([[3.0, 1.0, 0.2], [2.0, 1.0, 0.1]])
    for rho in (0.05, 0.5):
        model = nn.Sequential(nn.Linear(3, 2, bias=False))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[0.1, 1.0, 2.0], [0.1, 1.0, 2.0]]))  # magnitude would keep columns 1 and 2
        admm = Admm(model, {"0": [Column(k=2)]}, rho, decoupled=True)
        assert admm.penalty().item() == 0
        for step in range(600):
            with torch.no_grad():
                model[0].weight -= 0.1 * (model[0].weight - best)
            admm.pull()
            if step % 5 == 4:
                admm.update()
        assert admm.history.primal_residual.iloc[-1] < 1e-3
        admm.project_()
        assert torch.allclose(model[0].weight, best * torch.tensor([1.0, 1.0, 0.0]), atol=2e-3)
        assert admm.done


def test_a_pull_is_the_proximal_step() -> None:
    """(W + rho sum_j (Z_j - U_j)) / (1 + J rho) for J sets; masked weights stay masked."""
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    attach(model, {"0": torch.arange(4).expand(3, 4) < 3})
    admm = Admm(model, {"0": [Column(k=2), Filter(k=2)]}, 0.25, decoupled=True)
    admm.update()
    before = model[0].weight.detach().clone()
    goals = sum(z - u for z, u in zip(admm.z["0"], admm.u["0"], strict=True))
    admm.pull()
    assert torch.allclose(model[0].weight, (before + 0.25 * goals) / 1.5, atol=1e-6)
    assert not model[0].weight[:, 3].any()


@pytest.mark.parametrize(("updates", "primal", "dual", "expected"), [
    (1, 0.5, 0.01, 2.0), (1, 0.05, 0.01, 1.0), (1, 0.001, 0.02, 0.5), (7, 0.05, 0.9, 2.0), (7, 0.005, 0.9, 1.0),
])  # fmt: skip
def test_rho_follows_the_residuals(updates: int, primal: float, dual: float, expected: float) -> None:
    """Boyd section 3.4.1 with mu 10 and tau 2; towards the end only up, and only while far from the sets."""
    assert Balanced(1.0, planned=10).next(1.0, updates, primal, dual, tolerance=0.01) == expected


def test_far_from_its_sets_it_warns() -> None:
    model = _network(0)
    admm = Admm(model, {"0": [Column(k=2)]}, 1e-6)
    admm.update()
    with pytest.warns(FarFromSetsWarning, match=r"1 of 1 layers .* farthest 0 \(\d+%\): ADMM had not converged after 1 updates"):
        admm.project_()
    assert admm.reached > 0.5


def test_what_stands_where_admm_stands(digits: tuple[Tensor, ...]) -> None:
    """Gradual pruning goes down as (1 - t)³ and then rests; one-shot is there at once; both go on after an interrupt."""
    sets: dict[str, list[PruningSet]] = {"0": [Column(k=16)]}
    model, kept = _network(0), []
    gradual = Gradual(model, sets, planned=10, until=0.4)
    _train(model, digits, 1, 0, gradual.penalty)
    for _ in range(6):
        gradual.update()
        kept.append(int(model[0].weight.any(0).sum()))
    assert kept == [37, 22, 17, 16, 16, 16]  # 16 + 48 (1 - t / 4)³, rounded up
    other = _network(1)
    again = Gradual(other, sets, planned=10, until=0.4)
    again.load_state_dict(gradual.state_dict())
    other.load_state_dict(model.state_dict())
    assert torch.equal(again.project_()["0"], gradual.project_()["0"])
    at_once = OneShot(other, {"2": [Filter(k=7)]})
    assert int(at_once.project_()["2"].any(1).sum()) == 7
    assert not len(at_once.history)


def test_residuals_fall_and_are_logged() -> None:
    """f = ||W - W0||² / 2, minimised exactly in each W-step: two sets on one layer agree in the end, as rho grows (at a
    rho that stays, supports may go on changing: the sets are not convex)."""
    start = torch.randn(20, 30, generator=torch.Generator().manual_seed(4))
    model = nn.Sequential(nn.Linear(30, 20, bias=False), nn.Linear(20, 3))
    model[0].weight.data.copy_(start)
    rho = {"0": Rho(1.0, 1.3, 2, 1e3), "1": 1e-1}
    admm = Admm(model, {"0": [Filter(k=10), Column(k=12)], "1": [Levels(3)]}, rho)
    for epoch in range(60):
        pull = admm.rho("0") * sum(z - u for z, u in zip(admm.z["0"], admm.u["0"], strict=True))
        model[0].weight.data.copy_((start + pull) / (1 + 2 * admm.rho("0")))
        admm.update(epoch)
    history = admm.history
    assert list(history.columns) == ["update", "epoch", "layer", "set", "rho", "primal_residual", "dual_residual"]
    assert len(history) == 60 * 3
    filters = history[history["set"] == "0:Filter"]
    assert filters.rho.to_list() == pytest.approx([min(1.3 ** (n // 2), 1e3) for n in range(60)])
    assert filters.primal_residual.iloc[0] > 0.4
    assert (history[(history.epoch == 59) & (history.layer == "0")].primal_residual < 1e-2).all()
    masks = admm.project_()
    assert set(masks) == {"0"}
    assert torch.equal(masks["0"], masks["0"].any(1, keepdim=True) & masks["0"].any(0))
    for name, given in admm.sets.items():
        assert all(s.contains(model.get_submodule(name).weight) for s in given)


def test_update_is_the_textbook_step() -> None:
    """U scaled by rho_old / rho_new where rho changes; Z the projection of W + U."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))
    admm = Admm(model, {"0": [Column(k=1)]}, rho=Rho(1.0, factor=4))
    assert admm.penalty().item() == pytest.approx(0.5 * 2)  # column 1 left out: 1² + 1²
    admm.update()
    assert torch.equal(admm.z["0"][0], torch.tensor([[3.0, 0, 0], [1, 0, 0]]))
    assert torch.equal(admm.u["0"][0], torch.tensor([[0, 1.0, 0], [0, 1, 0]]) / 4)
    assert admm.history.iloc[0].primal_residual == pytest.approx((2 / 12) ** 0.5)
    assert admm.history.iloc[0].dual_residual == 0
    assert admm.rho("0") == 4
    admm.penalty().backward()
    assert torch.equal(model[0].weight.grad, 4 * torch.tensor([[0, 1.25, 0], [0, 1.25, 0]]))


def test_resumed_run_equals_an_uninterrupted_one(digits: tuple[Tensor, ...], tmp_path: Any) -> None:
    def begin() -> tuple[nn.Module, Admm, torch.optim.Optimizer]:
        model = _network(3)
        sets = {"0": [Column(k=16), Filter(k=30)], "2": [Levels(4)]}
        return model, Admm(model, sets, Rho(1e-3, 3, 2)), torch.optim.AdamW(model.parameters(), lr=2e-3)

    whole, admm, optimiser = begin()
    _train(whole, digits, 4, 0, admm.penalty, admm.update, optimiser)
    first, part, optimiser = begin()
    _train(first, digits, 2, 0, part.penalty, part.update, optimiser)
    saved = {"model": first.state_dict(), "optimiser": optimiser.state_dict(), "admm": part.state_dict()}
    torch.save(saved, tmp_path / "state.pt")
    second, rest, optimiser = begin()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    rest.load_state_dict(state["admm"])
    _train(second, digits, range(2, 4), 0, rest.penalty, rest.update, optimiser)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert admm.history.equals(rest.history)
    with pytest.raises(CompressionError, match="differ in 0, 2"):
        Admm(second, {"0": [Column(k=15)]}).load_state_dict(state["admm"])


@pytest.mark.parametrize("build", [
    lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5), lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.5),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
])  # fmt: skip
def test_masked_weights_stay_zero(build: Callable[[Any], torch.optim.Optimizer], digits: tuple[Tensor, ...]) -> None:
    """Also where the optimiser carries momentum from before the mask."""
    model = _network(0)
    optimiser = build(model.parameters())
    _train(model, digits, 1, 0, optimiser=optimiser)
    masks = one_shot(model, {"0": [Weights(ratio=0.3)], "2": [Filter(k=9)]})
    before = model[0].weight.detach().clone()
    assert before.count_nonzero() == 768
    _train(model, digits, 2, 0, optimiser=optimiser)
    for name, mask in masks.items():
        layer = model.get_submodule(name)
        assert not layer.weight[~mask].any()
        assert not behind(layer).grad[~mask].any()
    assert (model[0].weight != before)[masks["0"]].all()
    assert not bake(model)[0].weight[~masks["0"]].any()
    assert type(model[0]) is nn.Linear
    assert [name for name, _ in model[0].named_parameters()] == ["weight", "bias"]


def test_masks_join_copy_and_reload() -> None:
    model = _network(0)
    first = torch.arange(64).expand(40, 64) % 2 == 0
    attach(model, {"0": first})
    other = copy.deepcopy(model)
    plain = baked(model)
    assert torch.equal(plain[0].weight, model[0].weight)
    attach(model, {"0": torch.arange(64).expand(40, 64) % 3 == 0})
    assert torch.equal(masks_of(model)["0"], torch.arange(64).expand(40, 64) % 6 == 0)
    assert torch.equal(masks_of(other)["0"], first)
    other.load_state_dict(model.state_dict())
    assert torch.equal(masks_of(other)["0"], masks_of(model)["0"])
    assert compression_ratio(model) == pytest.approx((2560 + 1200 + 300) / (40 * 11 + 1200 + 300))
    assert not masks_of(plain)
    assert nonzero_masks(plain, ["4"])["4"].all()


def test_masks_agree_with_torch() -> None:
    """Filters and channels against torch's structured pruning, single weights against its unstructured one."""
    conv = nn.Conv2d(6, 8, 3)
    model = nn.Sequential(conv)
    for constraint, dim in ((Filter(k=5), 0), (Channel(k=2), 1)):
        theirs = prune.ln_structured(
            copy.deepcopy(conv), "weight", amount=conv.weight.shape[dim] - constraint.k, n=2, dim=dim
        )
        assert torch.equal(magnitude_masks(model, {"0": [constraint]})["0"], theirs.weight_mask.bool())
    theirs = prune.l1_unstructured(copy.deepcopy(conv), "weight", amount=conv.weight.numel() - 100)
    assert torch.equal(magnitude_masks(model, {"0": [Weights(k=100)]})["0"], theirs.weight_mask.bool())
    everywhere = global_masks(_network(0), 0.1)
    assert sum(int(mask.sum()) for mask in everywhere.values()) == round(0.1 * (2560 + 1200 + 300))


def test_iterative_pruning_goes_down_by_equal_ratios() -> None:
    model, kept = _network(0), []
    sets: dict[str, list[PruningSet]] = {"0": [Column(k=16)]}
    masks = iterative(model, sets, 2, lambda m, _: kept.append(int(m[0].weight.any(0).sum())))
    assert kept == [32, 16]
    assert masks["0"].any(0).sum() == 16


def test_purification_and_its_threshold() -> None:
    """Row norms 1, 1, 0.1, 0.001 of equal columns: mean 0.525."""
    model = nn.Sequential(nn.Linear(4, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [1.0], [0.1], [0.001]]).expand(4, 4) / 2)
    assert purification_masks(model, 0.01)["0"].any(1).tolist() == [True, True, True, False]
    assert purification_masks(model, 0.5, ["filter"])["0"].any(1).tolist() == [True, True, False, False]
    assert purification_masks(model, 1, ["column"])["0"].all()
    rows = lambda m: float(m[0].weight.any(1).sum())  # noqa: E731
    assert choose_threshold(model, [0.9, 0.01, 0.1, 0.3], rows, most_lost=1) == 0.1
    assert choose_threshold(model, [0.9], rows, most_lost=0) == 0
    assert not masks_of(model)
    purify(model, 0.01)
    assert compression_ratio(model) == pytest.approx(4 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: Admm(m, {}), "got none"),
        (lambda m: Admm(m, {"0": []}), "layer 0 has no set"),
        (lambda m: Admm(m, {"conv9": [Filter(k=1)]}), "'conv9'; there are 0, 2, 4"),
        (lambda m: Admm(m, {"0": [Filter(k=1)]}, rho=0.0), "0 < first"),
        (lambda m: Admm(m, {"0": [Filter(k=1)]}, rho={"2": 1.0}), "not for 0"),
        (lambda m: one_shot(m, {"1": [Filter(k=1)]}), "'1'; there are"),
        (lambda m: attach(m, {"0": torch.zeros(40, 64, dtype=torch.bool)}), "leaves no weight"),
        (lambda m: attach(m, {"0": torch.ones(40, 63, dtype=torch.bool)}), r"must be bool \(40, 64\)"),
        (lambda m: global_masks(m, 0.0), "got 0.0"),
        (lambda m: Gradual(m, {"0": [Filter(k=1)]}, 0), "planned of 1 or more"),
        (lambda m: Balanced(0.1, 0), "planned 1 or more"),
        (lambda m: Balanced(0.1, 5, until=2.0), "rho.until"),
        (lambda m: iterative(m, {}, 0, lambda *_: None), "rounds must be 1"),
        (lambda m: purify(m, 1.5), "from 0 to 1, got 1.5"),
        (lambda m: purify(m, 0.5, ["rows"]), "filter, channel, column, got rows"),
    ],
)
def test_what_is_not_allowed_is_named(call: Callable[[nn.Module], object], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        call(_network(0))


def test_sets_that_leave_nothing_together_are_named() -> None:
    """The filter kept has weights only where no column is kept: columns are ranked by what filters left, so one stays."""
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.zero_()
    with pytest.raises(CompressionError, match="together leave no weight"):
        Admm(model, {"0": [Filter(k=1), Column(k=1)]}).project_()
    assert matrix_of(model[0].weight).shape == (1, 2, 2)
    assert list(matrix_layers(model)) == ["0"]


def test_levels_and_pruning_are_pulled_to_together(digits: tuple[Tensor, ...], trained: list[nn.Module]) -> None:
    """Both copies agree in the end, and one after the other the projections leave the weights in both sets."""
    model = copy.deepcopy(trained[0])
    sets = {"0": [Column(k=24), Levels(4, full_scale=True)], "2": [Filter(k=20), Levels(4, full_scale=True)]}
    admm = Admm(model, sets, Balanced(0.1, planned=50), decoupled=True)
    _train(model, digits, 10, 0, pulled=admm)
    assert (admm.history.tail(4)["primal_residual"] < 0.02).all()
    before = _accuracy(model, digits)
    masks = admm.project_()
    assert admm.reached < 0.05
    assert set(masks) == {"0", "2"}
    assert all(s.contains(model.get_submodule(name).weight) for name, given in sets.items() for s in given)
    assert abs(_accuracy(model, digits) - before) < 0.02

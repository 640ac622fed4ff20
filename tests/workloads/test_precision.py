"""Bits as a part of the search for what to keep."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.workloads.test_give_back import Plain, searched
from xbar.compression.constraints import Levels
from xbar.compression.gemm import matrix_layers
from xbar.hw import Chip, trace
from xbar.hw.footprint import footprint
from xbar.workloads.data import Dataset
from xbar.workloads.study.allocation import Chosen, Keep, Search, _Round, cost_aware, whole
from xbar.workloads.study.compress import compress
from xbar.workloads.study.costs import Costs, costs_before
from xbar.workloads.study.give_back import give_back
from xbar.workloads.study.plan import PLANS, Plan, quick
from xbar.workloads.study.precision import LASTING, RoundWidths, Widths, bits_of
from xbar.workloads.training import Recipe, TrainingError
from xbar.workloads.workload import load_workload


def of_eight_bits(chip: Chip, targets: dict[str, float]) -> Search:
    search = searched(Plain, chip.with_changes(weights={"bits": 8}, inputs={"bits": 8}), targets)
    return replace(search, widths=Widths(search.costs, search.model, True, True))


def test_the_width_taken_is_the_best_of_all(isaac: Chip) -> None:
    """Against footprints of the network at all others, and its loss with weights on levels and inputs on codes rounded here. Odd bits of a
    weight cost as one more, two a cell."""
    search = of_eight_bits(isaac, {"power": 0.3, "area": 0.9})
    model, data, example = search.model, search.data, search.costs.example
    shares = search.shares(search.costs.of(model))

    def losses(bits: tuple[int, int]) -> Tensor:
        trial, hooks = copy.deepcopy(model), {}
        for layer in matrix_layers(trial).values():
            levels = Levels.of(search.costs.chip.with_changes(weights={"bits": bits[0]}))
            layer.weight.data = levels.project(layer.weight.data)
            ends: list[float] = []

            def seen(_: nn.Module, given: tuple[Tensor, ...], ends: list[float] = ends) -> None:
                ends[:] = [float(end) for end in torch.aminmax(given[0])]

            def rounded(_: nn.Module, given: tuple[Tensor, ...], ends: list[float] = ends) -> Tensor:
                low, high = inputs.integer_range(ends[0] < 0)
                step = max(-ends[0], ends[1]) / high
                return (given[0] / step).round().clamp(low, high) * step

            hooks[layer.register_forward_pre_hook(seen)] = layer, rounded
        inputs = search.costs.chip.with_changes(inputs={"bits": bits[1]}).inputs
        with torch.no_grad():
            x, y = data.train_inputs.split(64), data.train_targets.split(64)
            trial(x[0])
            for hook, (layer, rounding) in hooks.items():
                hook.remove()
                layer.register_forward_pre_hook(rounding)
            return torch.stack([nn.functional.cross_entropy(trial(a), b) for a, b in zip(x, y, strict=True)]).double()

    network, found, round_ = trace(model, example, pack=True), {}, _Round(search, model, data, shares)
    now = losses((8, 8))
    for bits in [(fewer, 8) for fewer in (6, 4, 2)] + [(8, fewer) for fewer in range(2, 8)]:
        chip = search.costs.chip.with_changes(weights={"bits": bits[0]}, inputs={"bits": bits[1]})
        taken = footprint(network, chip, 1000.0)
        after = search.shares({"area": taken.area, "power": taken.power, "weights": search.before["weights"]})
        damage = max(round_._least(), float((losses(bits) - now).mean()) * (LASTING if bits[1] < 8 else 1))
        found[bits] = (search.way(shares) - search.way(after)) / damage
    best = max(found, key=lambda bits: (found[bits], *bits))
    ratio, bits, _, _ = round_._best_width(shares) or pytest.fail("no width")
    assert bits == best
    assert ratio == pytest.approx(found[best], rel=0.02)  # losses are float32, whose change is taken


def test_bits_and_cuts_meet_the_targets_together(isaac: Chip) -> None:
    search = of_eight_bits(isaac, {"power": 0.4, "weights": 0.8})
    chosen = cost_aware(search)
    assert bits_of(chosen.costs.chip) != (8, 8)
    assert set(chosen.steps["step"]) == {"bits", "cut"}
    found = give_back(search, chosen)
    assert all(each["left"] <= each["allowed"] for each in found.targets.values())
    assert max(each["left"] / each["allowed"] for each in found.targets.values()) >= 0.98


@pytest.fixture(scope="module")
def learnt(isaac: Chip) -> Search:
    """A search of power for a network that tells which of three inputs is largest, 8 bits of weights and of inputs its to choose."""
    x = torch.rand(256, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    data = Dataset("drawn", x, x.argmax(1), x, x.argmax(1))
    model = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 3))
    with torch.no_grad():
        for layer, signs in ((model[0], (1.0, -1.0)), (model[2], (1.0, -1.0))):
            layer.bias.zero_()
            eyes = torch.cat([sign * torch.eye(3) for sign in signs for _ in range(2)])  # type: ignore[arg-type]
            layer.weight.copy_(5 * eyes if len(layer.weight) == 12 else 5 * eyes.T)
    chip = isaac.with_changes(weights={"bits": 8}, inputs={"bits": 8})
    costs = Costs(model.eval(), chip, 1000.0, x[:2])
    before = costs_before(model, footprint(trace(model, x[:2]), chip, 1000.0))
    return Search(model, costs, {"power": 0.95}, before, data, Recipe(1, 64, 1e-3), widths=Widths(costs, model, True, True))


def test_a_width_leaves_a_quarter_of_what_the_network_knows(learnt: Search) -> None:
    widths, data = learnt.widths, learnt.data
    assert widths is not None
    loss, outputs = nn.functional.cross_entropy, learnt.model(data.train_inputs).detach()
    whole, most = float(loss(outputs, data.train_targets)), widths.loss_limit(data)
    same = float(loss(outputs.mean(0).expand_as(outputs), data.train_targets))
    assert most == pytest.approx(0.75 * min(same, math.log(3)) + 0.25 * whole, rel=1e-5)
    round_ = RoundWidths(widths, learnt.model, (8, 8), data)
    offered = [bits for bits, _, _ in round_.moves((8, 8))]
    assert offered == [bits for bits, each in round_.losses.items() if bits != (8, 8) and float(each.mean()) <= most]
    round_.losses = {(8, 8): torch.tensor([0.1]), (4, 8): torch.tensor([0.5]), (8, 4): torch.tensor([0.5])}
    round_.cost, round_.loss_limit = {bits: {"power": 0.5} for bits in round_.losses}, 0.8
    assert [bits for bits, _, _ in round_.moves((8, 8))] == [(4, 8), (8, 4)]
    assert not [*round_.moves((4, 8))]  # each alone would do, both would not
    dead = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 3))
    with torch.no_grad():
        for value in dead.parameters():
            value.mul_(1e-3)
    assert not [*RoundWidths(widths, dead, (8, 8), data).moves((8, 8))]  # fewer bits do no harm to what knows nothing


def test_bits_come_back_where_they_undo_most(learnt: Search) -> None:
    """At 3 and 3 bits, in the room that power leaves; none where filters that come back are worth more."""
    assert learnt.widths is not None
    state, low = whole(learnt.model), learnt.widths.costs_at((2, 3))
    chosen = Chosen(state, state, low, pd.DataFrame(), {}, {}, learnt.model)
    found = give_back(learnt, chosen)
    bits = bits_of(found.costs.chip)
    assert bits != (2, 3)
    assert found.targets["power"]["cut"] == found.targets["power"]["left"] <= 0.95
    wider = [row["layer"] for row in found.rows]
    assert wider[-1] in (f"weights: {bits[0]} bits", f"inputs: {bits[1]} bits")
    assert all(row["damage"] < 0 and row["power"] <= 0.95 for row in found.rows)
    loss = {each: float(learnt.widths.losses(learnt.model, [each], learnt.data)[each].mean()) for each in (bits, (2, 3))}
    assert loss[bits] < loss[2, 3]
    smaller = {"0": Keep(4, 3), "2": Keep(3, 4)}
    falling = torch.linspace(1, 0.5, 12)
    worth = {"0": (falling, falling[:3]), "2": (falling[:3], falling)}
    kept = give_back(learnt, Chosen(smaller, smaller, low, pd.DataFrame(), worth, dict.fromkeys(worth, (1e9, 1e9)), learnt.model))
    assert bits_of(kept.costs.chip) == (2, 3)
    assert kept.state["0"].filters > 4


def test_widths_go_down_to_a_level_on_each_side(isaac: Chip) -> None:
    costs = of_eight_bits(isaac, {"power": 0.5}).costs
    assert sorted(Widths(costs, Plain(), False, True).below((4, 4))) == [(4, 2), (4, 3)]
    below = Widths(costs, Plain(), True, True).below((4, 4))
    assert sorted(below) == [(2, 4), (3, 4), (4, 2), (4, 3)]
    assert all(bits_of(each) == bits for bits, each in below.items())


def test_a_compression_goes_on_at_the_bits_chosen(isaac: Chip, tmp_path: Path) -> None:
    digits = load_workload("digits")
    once = dict.fromkeys(("filters", "inputs", "pruned", "purified", "levels", "quantised", "final", "instances"), 1)
    plan = replace(quick(PLANS["digits"]), rounds=2, search_images=500, images=20, budgets=(), bits="auto", input_bits="auto", **once)
    found = compress(digits.model, digits.data, isaac, {"power": 0.2}, tmp_path, plan)
    bits = found.meta["bits_after"], found.meta["input_bits_after"]
    assert bits == bits_of(found.chip)
    assert bits[0] <= 8
    assert bits[1] < 16
    assert found.meta["left"]["power"] <= 0.2
    for layer in matrix_layers(found.model).values():
        steps = layer.weight.detach().double() * (2 ** (bits[0] - 1) - 1) / float(layer.weight.detach().abs().max())
        assert float((steps - steps.round()).abs().max()) < 1e-3
    again = compress(digits.model, digits.data, isaac, {"power": 0.2}, tmp_path, plan)
    assert again.meta["bits_after"] == bits[0]
    with pytest.raises(TrainingError, match="belongs to another compression"):
        compress(digits.model, digits.data, isaac, {"power": 0.2}, tmp_path, replace(plan, bits=bits[0], input_bits=bits[1]))


def test_what_bits_may_be() -> None:
    for changes, said in (({"bits": "all"}, "plan.bits must be 1 or more, or auto, got all"), ({"input_bits": 0}, "plan.input_bits"),
                          ({"bits": "auto", "allocation": "uniform"}, "a number with allocation uniform")):  # fmt: skip
        with pytest.raises(TrainingError, match=said):
            Plan(**changes)  # type: ignore[arg-type]

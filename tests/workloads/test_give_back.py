"""What a search for targets cut too much comes back as far as the targets allow."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from xbar.hw import Chip, trace
from xbar.hw.footprint import footprint
from xbar.workloads.data import Dataset
from xbar.workloads.study.allocation import (
    Chosen,
    Keep,
    Search,
    cost_aware,
    joint_streams,
    key_of,
    prune_once,
    uniform,
    whole,
)
from xbar.workloads.study.costs import Costs, costs_before
from xbar.workloads.study.give_back import GivenBack, give_back
from xbar.workloads.training import Recipe, initialise


class Plain(nn.Module):
    """Two convolutions of 64 vectors each, and two layers of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(256, 100), nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class Residual(nn.Module):
    """A sum of two branches, whose channels go together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(1, 20, 3, padding=1), nn.Conv2d(20, 24, 3, padding=1), nn.Conv2d(24, 20, 3, padding=1)
        self.head = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.b(torch.relu(self.a(x))))
        return self.head(x.mean((2, 3)))


def searched(kind: type[nn.Module], chip: Chip, targets: Mapping[str, float], rounds: int = 2) -> Search:
    model = initialise(kind, 0).eval()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(128, 1, 8, 8, generator=generator), torch.randint(10, (128,), generator=generator)
    before = costs_before(model, footprint(trace(model, x[:2]), chip, 1000.0))
    return Search(model, Costs(model, chip, 1000.0, x[:2]), targets, before, Dataset("drawn", x, y, x, y), Recipe(1, 64, 1e-2), rounds, 128)


def shares(search: Search, state: Mapping[str, Keep]) -> dict[str, float]:
    return search.shares(search.costs.of(prune_once(search.model, state, search.costs.example)))


def more_of(search: Search, state: Mapping[str, Keep]) -> list[dict[str, Keep]]:
    """The allocation with one more of each filter, input, or unit of a stream, where there are more."""
    found = []
    for name, count in {name: keep.filters for name, keep in whole(search.model).items()}.items():
        if state[name].filters < count:
            found.append({**state, name: replace(state[name], filters=state[name].filters + 1)})
        found.append({**state, name: replace(state[name], inputs=(state[name].inputs or 0) + 1)})
    for stream in joint_streams(search.model, search.costs.example):
        if key_of(stream) in state:
            one = {name: replace(state[name], filters=state[name].filters + 1) for name in stream.writers}
            found.append({**state, **one, key_of(stream): Keep(state[key_of(stream)].filters + 1)})
    return found


def check(search: Search, chosen: Chosen, found: GivenBack) -> None:
    """All targets are met, nothing is smaller than before, and each target is met within 2 % or not one more fits anywhere."""
    left = shares(search, found.state)
    assert search.met(left)
    assert {name: each["left"] for name, each in found.targets.items()} == pytest.approx(left)
    for name, keep in chosen.state.items():
        now = found.state.get(name)
        assert now is None or (now.filters >= keep.filters and (keep.inputs or 0) <= (now.inputs or 0))
    slack = [name for name, share in search.targets.items() if left[name] < 0.98 * share]
    assert [name for name, each in found.targets.items() if each["why"]] == slack
    if slack:
        for further in more_of(search, found.state):
            assert not search.met(now := shares(search, further)) or now == left


@pytest.mark.parametrize(("kind", "targets"), [(Plain, {"weights": 0.3, "power": 0.6}),
                                               (Residual, {"power": 0.6, "weights": 0.6})])  # fmt: skip
def test_what_still_fits_comes_back(kind: type[nn.Module], targets: dict[str, float], isaac: Chip) -> None:
    search = searched(kind, isaac, targets)
    chosen = cost_aware(search)
    found = give_back(search, chosen)
    check(search, chosen, found)
    assert max(each["left"] / each["allowed"] for each in found.targets.values()) >= 0.98
    assert found.simulated < 60
    after = pd.DataFrame(found.rows)
    assert set(after["step"]) <= {"taken back", "filled"}
    assert (after["damage"] <= 0).all()
    assert (after["damage"] < 0).any()
    assert set(chosen.steps.columns) == set(after.columns)


def test_slack_goes_where_it_takes_nothing_of_what_binds(isaac: Chip) -> None:
    """Power binds by convolutions of 64 vectors; fc1, of one, grows until the target of weights is met as well."""
    search = searched(Plain, isaac, {"weights": 0.14, "power": 0.405})
    state = {"conv1": Keep(6, 9), "conv2": Keep(7, 40), "fc1": Keep(20, 50), "fc2": Keep(10, 20)}
    falling = torch.linspace(1, 0.01, 300)
    worth = {name: (falling[: keep.filters], falling) for name, keep in whole(search.model).items()}
    least = {name: (1.0, 1.0) if name == "fc1" else (1e-6, 1e-6) for name in state}
    chosen = Chosen(state, state, search.costs, pd.DataFrame(), worth, least)
    found = give_back(search, chosen)
    check(search, chosen, found)
    assert found.targets["power"]["cut"] > 0.96 * 0.405
    assert found.targets["weights"]["cut"] < 0.5 * 0.14
    assert found.targets["weights"]["left"] > 0.98 * 0.14
    assert found.state["fc1"].filters * (found.state["fc1"].inputs or 0) > 2 * 20 * 50


def test_the_same_share_everywhere_stays_one(isaac: Chip) -> None:
    search = searched(Plain, isaac, {"weights": 0.85})
    chosen = uniform(search)
    found = give_back(search, chosen)
    assert search.met(shares(search, found.state))
    of = whole(search.model)
    kept = [found.state[name].filters / of[name].filters for name in ("conv1", "conv2", "fc1")]
    assert max(kept) - min(kept) < 0.1
    assert not [row for row in found.rows if row["step"] == "filled"]
    assert all(row["damage"] == 0 for row in found.rows)  # of which nothing was measured


def test_nothing_is_whole_that_waits_for_another_target(isaac: Chip) -> None:
    """A state above the one target, and far below the other: why no more comes back."""
    search = searched(Plain, isaac, {"weights": 0.001, "power": 0.9})
    state = {"conv1": Keep(6, 9), "conv2": Keep(7, 40), "fc1": Keep(20, 50), "fc2": Keep(10, 20)}
    found = give_back(search, Chosen(state, state, search.costs, pd.DataFrame(), {"fc1": (torch.ones(100), torch.ones(256))}, {}))
    assert found.targets["weights"]["why"].startswith("not met")
    assert found.targets["power"]["why"] == "nothing comes back while another target is not met"
    assert not found.rows

"""Streams as candidates of the allocation: what cutting one is said to leave is what is left."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.compression import networks
from xbar.compression.gemm import groups_of, matrix_layers
from xbar.compression.layered import layers_of, with_layers
from xbar.hw import Chip, trace
from xbar.models.gpt import CharacterGPT
from xbar.workloads.study import allocation
from xbar.workloads.study.allocation import (
    Keep,
    _Round,
    filter_sets,
    joint_sets,
    joint_streams,
    key_of,
    prune_once,
    smaller,
    whole,
    worth_of_units,
)
from xbar.workloads.training import initialise


def tiny_gpt() -> nn.Module:
    return CharacterGPT(vocabulary=11, context=6, width=16, layers=1, heads=2, dropout=0.0)


CASES: list[tuple[Callable[[], nn.Module], Tensor, set[str]]] = [
    (tiny_gpt, torch.arange(12).view(2, 6) % 11, {"blocks.0.attention.out", "blocks.0.attention.joint", "blocks.0.attention.joint (2)"}),
    (networks.Residual, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), {"stem", "down"}),
    (networks.ChunkLSTM, torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0)), {"a", "lstm.weight_ih_l0"}),
    (networks.Grouped, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), {"a", "g"}),
]


def _round(model: nn.Module, example: Tensor, chip: Chip, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> _Round:
    """A round's cuts of a search that is after weights alone."""
    costs: Any = SimpleNamespace(
        example=example, chip=chip, whole={layer.name: (layer.outputs, layer.inputs) for layer in trace(model, example).layers},
        of_sizes=lambda sizes: {"weights": float(sum(a * b for a, b in sizes.values()))},
    )  # fmt: skip
    search: Any = SimpleNamespace(costs=costs, refit=SimpleNamespace(bfloat16=False), seed=0, widths=None, shares=lambda cost: cost)
    data: Any = SimpleNamespace(train_inputs=example, train_targets=torch.zeros(len(example)), task=SimpleNamespace(loss=loss))
    return _Round(search, model, data, {"weights": 1.0})


@pytest.mark.parametrize(("build", "example", "names"), CASES, ids=["gpt", "residual", "lstm", "grouped"])
def test_what_a_cut_stream_leaves_is_what_the_search_says(
    build: Callable[[], nn.Module], example: Tensor, names: set[str], isaac: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    model = with_layers(initialise(build, 0).eval(), example)
    worth = {name: (torch.rand(layer.weight.shape[0]), torch.rand(layer.weight[0].numel() * groups_of(layer)))
             for name, layer in matrix_layers(model).items()}  # fmt: skip
    monkeypatch.setattr(allocation, "worth_on", lambda *_: worth)
    found = _round(model, example, isaac)
    assert set(found.streams) == names
    assert found.before == found.search.costs.whole
    moves = {name: gone for name, _, _, gone, _ in found._moves() if name in found.streams and bool(gone.any())}
    assert set(moves) == names
    found.gone = torch.stack(list(moves.values())).any(0)
    said = found.sizes(found.filters, found.columns, found.gone)
    found.cut_streams()
    small = smaller(model, example)
    left = trace(small, example, pack=True)
    assert said == {layer.name: (layer.outputs, layer.inputs) for layer in left.layers}
    assert said != found.before
    assert set(layers_of(small)) == set(layers_of(model))


class _Sum(nn.Module):
    """A residual sum whose layers are all transposed, or all grouped."""

    def __init__(self, kind: type[nn.Module], groups: int):
        super().__init__()
        self.a, self.b, self.c = (kind(4, 4, 3, padding=1, groups=groups) for _ in "abc")

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.c(y + self.b(torch.relu(y)))


@pytest.mark.parametrize(("kind", "groups"), [(nn.ConvTranspose2d, 1), (nn.Conv2d, 2), (nn.ConvTranspose2d, 2)])
def test_units_of_any_convolutions_are_worth_what_the_loss_says(kind: type[nn.Module], groups: int, isaac: Chip) -> None:
    """Read by no layer that could be solved again, a unit is worth what the loss does with it held at its mean, where it is worth most."""
    model: Any = initialise(lambda: _Sum(kind, groups), 0).eval()
    x = torch.randn(4, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    found = _round(model, x, isaac, lambda scores, _: scores.square().mean())
    outputs: dict[str, Tensor] = {}
    for name in "abc":
        model.get_submodule(name).register_forward_hook(lambda _, given, out, name=name: outputs.__setitem__(name, out))
    scores = model(x)
    for each in outputs.values():
        each.retain_grad()
    (scores.square().mean() * len(x)).backward()
    silent = {name: ((y - y.mean((0, 2, 3), keepdim=True)) * y.grad).square().sum((0, 2, 3)) / len(x) / 2 for name, y in outputs.items()}
    (stream,) = found.streams.values()
    units = stream.labels[found.paths.readers["a"].outputs]
    made = torch.stack([silent[name] for name in "ab"]).amax(0)  # both are held at their means when a unit goes
    expected = torch.zeros(stream.count).index_add_(0, units, made.detach())
    assert worth_of_units(stream, found.paths, found.worth)[0].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_an_allocation_of_streams_is_cut_at_once() -> None:
    example = CASES[1][1]
    model = initialise(networks.Residual, 0).eval()
    stem = next(stream for stream in joint_streams(model, example) if stream.name == "stem")
    asked = whole(model) | {key_of(stem): Keep(5), "b": Keep(4), "stem": Keep(5), "c": Keep(9)}
    joint = joint_sets(model, asked, example)
    assert [(each.stream.name, each.kept) for each in joint] == [("stem", 5)]
    sets = filter_sets(model, asked, joint)
    assert {name: given[0].k for name, given in sets.items()} == {"b": 4, "c": 9}  # the stem loses what its stream does
    small = prune_once(model, asked, example)
    assert (small.stem.out_channels, small.b.out_channels, small.c.out_channels, small.down.in_channels) == (5, 5, 9, 5)
    assert int((small.b.weight != 0).flatten(1).any(1).sum()) in (3, 4)  # one branch may hold less than the stream

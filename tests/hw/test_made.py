"""Which values travel: by hand, and against the numbers that layers are seen to read when the model runs."""

from collections.abc import Callable, Collection
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.hw.networks import seeded
from xbar.hw import Network, trace
from xbar.hw.graph.made import Made, joined, runs
from xbar.hw.graph.part import crossing, part


class Moving(nn.Module):
    """Layers by name, joined by `way`."""

    def __init__(self, way: Callable[..., Tensor], **layers: nn.Module):
        super().__init__()
        self.way, self.names = way, list(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """What `way` makes of the input and the layers."""
        return self.way(x, *(self.get_submodule(name) for name in self.names))


def chunks(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
    p, q = a(x).chunk(2, -1)
    return b(p) + c(q)


def gated(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
    p, q = a(x).chunk(2, -1)
    return b(p) * torch.sigmoid(c(q))


def attention(x: Tensor, qkv: nn.Module, query: nn.Module, key: nn.Module, value: nn.Module) -> Tensor:
    q, k, v = qkv(x).chunk(3, -1)
    return torch.softmax(query(q) @ key(k).transpose(1, 2), -1) @ value(v)


def gates(x: Tensor, cell: nn.Module, i: nn.Module, f: nn.Module, g: nn.Module, o: nn.Module) -> Tensor:
    each = [layer(part) for layer, part in zip((i, f, g, o), cell(x).unflatten(-1, (4, 5)).unbind(-2), strict=True)]
    return torch.sigmoid(each[0]) * torch.tanh(each[2]) + torch.sigmoid(each[1]) * each[3]


def shuffled(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module, out: nn.Module) -> Tensor:
    p, q = a(x).chunk(2, 1)
    joined = torch.cat([p, b(q)], 1).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
    p, q = joined.chunk(2, 1)
    return out(torch.cat([p, c(q)], 1).flatten(1))


def in_order(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module, out: nn.Module) -> Tensor:
    p, q = a(x).chunk(2, 1)
    p, q = torch.cat([p, b(q)], 1).chunk(2, 1)
    return out(torch.cat([p, c(q)], 1).flatten(1))


def overlapping(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module, d: nn.Module) -> Tensor:
    h = a(x)
    return torch.cat([b(h), c(h[:, :24]), d(h.flip(1)[:, :16])], 1)


def dense(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
    first = a(x)
    second = torch.cat([b(first), first], 1)
    return c(torch.cat([second, second.roll(3, 1)], 1))


def strided(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
    h = a(x)
    return torch.cat([b(h).flatten(1), c(nn.functional.pad(h[:, :, ::2, ::2], (1, 0, 0, 0))).flatten(1)], 1)


def pointwise(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1)


# Of each: layers, the input of a sample, and what travels from the first so many layers, by hand.
CASES: dict[str, tuple[Callable[..., Tensor], dict[str, nn.Module], tuple[int, ...], dict[int, float]]] = {
    "chunks": (chunks, {"a": nn.Linear(16, 64), "b": nn.Linear(32, 8), "c": nn.Linear(32, 8)}, (16,), {1: 64, 2: 32 + 8}),
    "gated": (gated, {"a": nn.Linear(6, 20), "b": nn.Linear(10, 7), "c": nn.Linear(10, 7)}, (3, 6), {1: 60, 2: 3 * (10 + 7)}),
    "attention": (
        attention, {"qkv": nn.Linear(12, 36), **{name: nn.Linear(12, 12) for name in ("query", "key", "value")}}, (5, 12),
        {1: 180, 2: 120 + 60, 3: 60 + 25},  # what the product of queries and keys makes is 5 x 5
    ),
    "gates": (
        gates, {"cell": nn.Linear(9, 20), **{name: nn.Linear(5, 5) for name in "ifgo"}}, (9,),
        {1: 20, 2: 20, 3: 20, 4: 5 + 5 + 5},  # each gate goes on where its partner is; at last o's input, i times g, and f
    ),
    "shuffled": (
        shuffled, {"a": pointwise(3, 8), "b": pointwise(4, 4), "c": pointwise(4, 4), "out": nn.Linear(128, 5)}, (3, 4, 4),
        {1: 128, 2: 64 + 64, 3: 32 + 32 + 64},  # p and q of 4 channels have two of a and two of b each
    ),
    "in order": (
        in_order, {"a": pointwise(3, 8), "b": pointwise(4, 4), "c": pointwise(4, 4), "out": nn.Linear(128, 5)}, (3, 4, 4),
        {1: 128, 2: 64 + 64, 3: 64 + 64},
    ),
    "overlapping": (
        overlapping, {"a": nn.Linear(4, 32), "b": nn.Linear(32, 2), "c": nn.Linear(24, 2), "d": nn.Linear(16, 2)}, (4,),
        {1: 32, 2: 32, 3: 16},  # c reads the first 24, d the last 16
    ),
    "dense": (dense, {"a": nn.Linear(4, 10), "b": nn.Linear(10, 6), "c": nn.Linear(32, 2)}, (4,), {1: 10, 2: 16}),
    "strided": (
        strided, {"a": pointwise(2, 4), "b": pointwise(4, 2), "c": nn.Conv2d(4, 2, (3, 4))}, (2, 6, 6), {1: 144, 2: 4 * 9},
    ),
}  # fmt: skip


@cache
def built(name: str) -> tuple[nn.Module, Tensor, Network]:
    """The model, an input for it, and its network."""
    way, layers, shape, _ = CASES[name]
    model = seeded(None, Moving(way, **layers)).double()
    x = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    network = trace(model, x)
    return model, x, network


def short(name: str) -> str:
    """A layer's name within `Moving`."""
    return name.rpartition(".")[2]


@pytest.mark.parametrize("name", CASES)
def test_what_travels_is_counted_by_hand(name: str) -> None:
    network = built(name)[2]
    names = [layer.name for layer in network.layers]
    assert list(map(short, names)) == list(CASES[name][1])
    for count, values in CASES[name][3].items():
        assert crossing(network, names[:count]) == values, names[:count]


def seen(model: nn.Module, x: Tensor, before: Collection[str]) -> int:
    """Different numbers that layers of `before` give and others read, of the first sample."""
    given, read = set[float](), set[float]()

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if layer in first:
            given.update(output[0].flatten().tolist())
        else:
            read.update(inputs[0][0].flatten().tolist())

    first = [model.get_submodule(name) for name in before]
    hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return len(given & read)


@pytest.mark.parametrize(("name", "counts"), [
    ("chunks", [1]), ("gated", [1]), ("attention", [1]), ("gates", [1]), ("shuffled", [1, 2, 3]), ("in order", [1, 2, 3]),
    ("overlapping", [1, 2, 3]), ("dense", [1, 2]), ("strided", [1, 2]),
])  # fmt: skip
def test_layers_are_seen_to_read_as_many(name: str, counts: list[int]) -> None:
    """No two of the numbers that random weights make are the same, so what is moved is known again."""
    model, x, network = built(name)
    for count in counts:
        before = [layer.name for layer in network.layers][:count]
        assert crossing(network, before) == seen(model, x, before)


def test_parts_take_and_give_what_travels() -> None:
    network = built("shuffled")[2]
    names = [layer.name for layer in network.layers]
    first, last = part(network, names[:2]), part(network, names[2:])
    assert (first.output_values, [*first.outputs.values()], last.input_values) == (128, [64, 64], 128)


def test_who_made_what_is_moved_is_known() -> None:
    """Chunks of what was joined are again what was joined: the first is a's, the second b's; mixed channels are half and half."""
    flows = {}
    for name in ("in order", "shuffled"):
        into = [flow for flow in built(name)[2].flows if short(flow.target) in ("c", "out")]
        flows[name] = {(short(flow.source), short(flow.target)): flow.values for flow in into}
    assert flows["in order"] == {("b", "c"): 64, ("a", "out"): 64, ("c", "out"): 64}
    assert flows["shuffled"] == {("a", "c"): 32, ("b", "c"): 32, ("a", "out"): 32, ("b", "out"): 32, ("c", "out"): 64}


class Recurrent(nn.Module):
    """An LSTM whose results at all steps go through a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4, 6) to (batch, 4, 3)."""
        return self.out(self.lstm(x)[0])


def test_gates_of_an_lstm_travel_as_sums_and_its_results_once() -> None:
    """Four gates of five values in four steps are added to what the recurrent matrix makes; five results a step go on, also into the
    recurrent matrix itself."""
    network = trace(seeded(Recurrent), torch.rand(2, 4, 6))
    names = [layer.name for layer in network.layers]
    assert [crossing(network, names[:count]) for count in (1, 2)] == [4 * 5 * 4, 5 * 4]


def test_made_values_are_joined_parted_and_shared() -> None:
    one = Made(*runs(np.array([1.0, 2, 3, 7, 8]), np.array([1.0, 1, 1, 1, 0.5])))
    assert (one.first.tolist(), one.end.tolist(), one.share.tolist()) == ([1, 7, 8], [4, 8, 9], [1, 1, 0.5])
    assert (one.count, one.scaled(0.5).count) == (4.5, 2.25)
    both = joined([one, Made.run(3, 5.5)])  # 3 to 8.5
    assert both.count == 2 + 5.5 + 0.5 * 0.5
    pieces = [one.part(0, 0.4), one.part(0.4, 1)]
    assert [each.count for each in pieces] == [2, 1 + 1 + 0.5]
    assert joined(pieces).count == one.count

"""Parts of a network: what travels over a cut, by hand; nothing is lost or made; the whole is itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.hw.hand_built import layer, network
from tests.hw.networks import residual, small_convolutional
from xbar.hw import Arrivals, Chip, ParameterError, place, simulate, trace
from xbar.hw.graph.network import Flow, Network
from xbar.hw.graph.part import crossing, cuts, part, parts


@pytest.fixture(scope="module")
def joined() -> Network:
    return trace(*residual())


def flow(source: str, target: str, values: float, after: int = 0, addend: bool = False) -> Flow:
    return Flow(source, target, values, addend, np.full(4, after, np.int64))


def test_what_travels_over_a_cut_is_counted_once_however_many_read_it(joined: Network) -> None:
    # stem 6 x 36 values goes to first, as an addend to second, and to side; joined 6 x 36 and side 4 x 36 go, as means, to out
    assert [each.name for each in joined.layers] == ["stem", "first", "second", "side", "out"]
    assert cuts(joined) == [1, 2, 3, 4]
    assert crossing(joined, {"stem"}) == 216
    assert crossing(joined, {"stem", "first"}) == 216 + 216
    stem, rest = parts(joined, [1])
    assert (stem.input_values, stem.output_values, dict(stem.outputs)) == (2 * 36, 216, {"stem": 216.0})
    assert (rest.input_values, rest.output_values) == (216, 3)
    assert {(each.source, each.target) for each in rest.flows if not each.source} == {("", "first"), ("", "second"), ("", "side")}
    assert not any("stem" in each.needs for each in rest.layers)
    assert all(not each.after.any() for each in rest.flows if not each.source)


def test_work_is_that_of_the_whole(joined: Network) -> None:
    for at in ([1], [2, 3], [1, 2, 3, 4]):
        found = parts(joined, at)
        assert [one.name for each in found for one in each.layers] == [one.name for one in joined.layers]
        assert sum(each.operations for each in found) == joined.operations
        assert sum(each.host_operations for each in found) == joined.host_operations
        assert found[0].input_values == joined.input_values
        assert found[-1].output_values == joined.output_values


def test_the_whole_is_itself(joined: Network) -> None:
    assert part(joined, [each.name for each in joined.layers]) is joined
    assert parts(joined, []) == [joined]


def test_parts_do_on_crossbars_what_the_whole_does(edge: Chip) -> None:
    whole = trace(*small_convolutional())
    done = [simulate(place(each, edge), Arrivals.batch(2)).actions[["crossbar", "adc", "dac"]].sum() for each in parts(whole, [1, 2])]
    expected = simulate(place(whole, edge), Arrivals.batch(2)).actions[["crossbar", "adc", "dac"]].sum()
    assert sum(done).to_dict() == expected.to_dict()  # type: ignore[union-attr]


def test_layers_in_turn_are_not_cut_apart() -> None:
    once = np.arange(1, 5)
    layers = [layer("a", 4, 4, 4, {"c": once - 1}), layer("b", 4, 4, 4, {"a": once}), layer("c", 4, 4, 4, {"b": once}),
              layer("d", 4, 4, 4, {"c": once})]  # fmt: skip
    whole = network(layers, [flow("", "a", 16), flow("a", "b", 16), flow("b", "c", 16), flow("c", "a", 16), flow("c", "d", 16)], 16, 16)
    assert cuts(whole) == [3]
    with pytest.raises(ParameterError, match="a network can be cut after so many layers: 3; got 2"):
        parts(whole, [2])
    with pytest.raises(ParameterError, match="layer a waits for c, which waits for the part itself"):
        part(whole, ["a", "b"])
    first, last = parts(whole, [3])
    assert (first.output_values, last.input_values) == (16, 16)


def test_a_part_with_what_lies_between_elsewhere_is_refused(joined: Network) -> None:
    with pytest.raises(ParameterError, match="layer second waits for first, which waits for the part itself"):
        part(joined, ["stem", "second"])
    with pytest.raises(ParameterError, match="no layers third"):
        part(joined, ["third"])
    with pytest.raises(ParameterError, match="no layers are named"):
        part(joined, [])


def test_inputs_of_several_layers_come_with_each_part_that_reads_them() -> None:
    once = np.arange(1, 5)
    layers = [layer("a", 4, 4, 4), layer("b", 4, 4, 4, {"a": once})]
    whole = network(layers, [flow("", "a", 16), flow("a", "b", 16, 4), flow("", "b", 16, 0, True)], 16, 16)
    second = part(whole, ["b"])
    assert second.input_values == 16 + 16
    assert [each.values for each in second.flows] == [16, 16]


def test_of_several_inputs_each_part_takes_what_it_reads() -> None:
    once = np.arange(1, 5)
    table = replace(layer("t", 4, 9, 4), lookup=True)
    layers = [layer("a", 4, 250, 4), layer("b", 4, 4, 4), table, layer("c", 4, 8, 4, {"b": once, "t": once})]
    from_input = [flow("", "a", 1000), flow("", "b", 16), flow("", "t", 4)]
    flows = [*from_input, flow("a", "b", 16, 4, True), flow("b", "c", 16, 4), flow("t", "c", 16, 4)]
    whole = network(layers, flows, 1000 + 16 + 4, 16, index_bits=(5,) * 4)  # a larger table reads the indices too
    found = parts(whole, [1, 2, 3])
    assert [each.input_values for each in found] == [1000, 16 + 16, 4, 16 + 16]
    assert [each.index_bits for each in found] == [(), (), (5,) * 4, ()]
    assert [part(whole, names).input_values for names in (["a", "b"], ["b", "t", "c"])] == [1016, 16 + 16 + 4]


class _Tables(nn.Module):
    """Two tables of different lengths look up the same rows, a third others."""

    def __init__(self) -> None:
        super().__init__()
        self.long, self.short, self.other = nn.Embedding(1000, 4), nn.Embedding(300, 4), nn.Embedding(50, 4)
        self.out = nn.Linear(12, 2)

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:
        return self.out(torch.cat([self.long(shared), self.short(shared), self.other(own)], -1))


def test_an_index_that_tables_of_different_lengths_read_comes_once_as_the_longest_needs_it() -> None:
    whole = trace(_Tables().eval(), (torch.randint(300, (2, 4)), torch.randint(50, (2, 4))))
    assert sorted(whole.index_bits) == [6] * 4 + [10] * 4
    found = {names: part(whole, names.split()) for names in ("long", "short", "other", "long short", "long short other")}
    assert {names: (each.input_values, sorted(each.index_bits)) for names, each in found.items()} == {
        "long": (4, [10] * 4), "short": (4, [9] * 4), "other": (4, [6] * 4), "long short": (4, [10] * 4),
        "long short other": (8, [6] * 4 + [10] * 4),
    }  # fmt: skip

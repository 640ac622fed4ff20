"""Networks written down as such, for what no traced model has: layers that read themselves, and digital units at will."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
from torch import fx, nn

from xbar.hw import Chip
from xbar.hw.graph.network import Flow, MatrixLayer, Network


def with_rates(chip: Chip, **rates: float) -> Chip:
    """The chip with these components capable of that many actions per second a unit, at what they cost as they are."""
    other = chip.model_copy()
    other.__dict__["costs"] = {
        name: replace(cost, unit_rate=rates.get(name, cost.unit_rate)) for name, cost in chip.costs.items()
    }
    return other


def priced_as_it_was(chip: Chip, **changes: Mapping[str, Any]) -> Chip:
    """The chip with changes, its components at the costs that they had before: for sizes that no law covers."""
    other = chip.with_changes(**changes)
    other.__dict__["costs"] = chip.costs
    return other


def wide(chip: Chip, **timing: int) -> Chip:
    """The chip with buffers, buses and input registers at 1 Pbit/s, at what they cost as they are: loads take whole words of the
    narrower of buffer_width and bus_width, one a tile clock, and nothing else."""
    other = chip.with_changes(timing=timing)
    other.__dict__["costs"] = with_rates(chip, buffer=1e15, bus=1e15, input_register=1e15).costs
    return other


def layer(
    name: str,
    outputs: int,
    inputs: int,
    vectors: int,
    needs: Mapping[str, np.ndarray] | None = None,
    digital: Mapping[str, float] | None = None,
) -> MatrixLayer:
    """A layer each of whose vectors reads a position of its own."""
    reads = np.arange(vectors)[:, None]
    return MatrixLayer(name, (name,), outputs, inputs, 1, vectors, False, vectors, reads, dict(needs or {}), dict(digital or {}))


def network(layers: list[MatrixLayer], flows: list[Flow], input_values: int, output_values: int, **fields: object) -> Network:
    """The network of these layers, with modules of their sizes."""
    consumers = {one.name: tuple(other.name for other in layers if one.name in other.needs) for one in layers}
    module = fx.GraphModule(nn.Module(), fx.Graph())
    for each in layers:
        module.add_submodule(each.name, nn.Linear(each.inputs, each.outputs))
    return Network(module, nx.DiGraph(), tuple(layers), tuple(flows), consumers, input_values, output_values, **fields)  # type: ignore[arg-type]


def flow(source: str, target: str, values: float, after: np.ndarray, addend: bool = False) -> Flow:
    """Values from a layer ("": the input) to another."""
    return Flow(source, target, values, addend, after)


def recurrent(steps: int, width: int = 20, hidden: int = 10, digital: Mapping[str, float] | None = None) -> Network:
    """One matrix on [x_t, h_(t-1)] in `steps` steps, each of which waits for the one before; its last result goes out."""
    before = np.arange(steps)
    cell = layer("cell", hidden, width + hidden, steps, {"cell": before}, digital)
    flows = [flow("", "cell", steps * width, 0 * before), flow("cell", "cell", steps * hidden, before)]
    return network([cell], flows, steps * width, hidden)


def looped(steps: int, hidden: int = 12) -> Network:
    """Two layers in turn: `first` of step t waits for `second` of step t - 1, and `second` for `first` of its own step; `first`
    also takes the input, and a third layer reads all that `second` made."""
    before = np.arange(steps)
    layers = [
        layer("first", hidden, 2 * hidden, steps, {"second": before}),
        layer("second", hidden, hidden, steps, {"first": before + 1}),
        layer("out", 3, hidden, 1, {"second": np.array([steps])}),
    ]
    flows = [
        flow("", "first", steps * hidden, 0 * before), flow("second", "first", steps * hidden, before),
        flow("first", "second", steps * hidden, before + 1), flow("second", "out", hidden, np.array([steps])),
    ]  # fmt: skip
    return network(layers, flows, steps * hidden, 3)

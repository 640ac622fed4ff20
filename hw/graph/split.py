"""A layer as several layers that together give its results: for one that is larger than a chip."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from xbar.hw.errors import ParameterError
from xbar.hw.graph.made import Made
from xbar.hw.graph.network import Flow, MatrixLayer, Network


@dataclass(frozen=True)
class Pieces:
    """Into how many shares of its outputs a layer is cut, and each of these into how many of its inputs; sum_width: how wide a sum over
    a share of the inputs is, in values that layers read."""

    outputs: int
    inputs: int = 1
    sum_width: float = 1.0

    @property
    def count(self) -> int:
        """How many pieces."""
        return self.outputs * self.inputs

    def name(self, layer: str, outputs: int, inputs: int) -> str:
        """The name of a piece."""
        return f"{layer}[{outputs}]" if self.inputs == 1 else f"{layer}[{outputs}, {inputs}]"

    def names(self, layer: str) -> list[str]:
        """The names of all pieces, in order."""
        return [self.name(layer, k, part) for k in range(self.outputs) for part in range(self.inputs)]



def shares(whole: int, pieces: int) -> list[int]:
    """So many things as so many shares: alike many, the first ones one more where that does not come out even."""
    return [whole // pieces + (piece < whole % pieces) for piece in range(pieces)]


def channels(layer: MatrixLayer) -> int:
    """Inputs that are one position's, and may be cut: those of a linear layer, channels of a convolution; of a table one, the number of a
    row."""
    if layer.lookup:
        return 1
    taps = layer.reads.shape[1]
    return layer.inputs // taps if layer.inputs % taps == 0 else layer.inputs


def pieces_of(layer: MatrixLayer, pieces: Pieces) -> list[MatrixLayer]:
    """The pieces of a layer in the order of their names, those of one share of the outputs one after the other: the matrix's part, and,
    where a sum over other inputs comes before, that it is waited for and added. Digital work on results comes with the last of them, in
    proportion to the outputs."""
    taps, found = layer.inputs // channels(layer), []
    once = np.arange(1, layer.vectors + 1)
    for k, outputs in enumerate(shares(layer.outputs, pieces.outputs)):
        for part, inputs in enumerate(shares(channels(layer), pieces.inputs)):
            last = part == pieces.inputs - 1
            digital = {unit: count * outputs / layer.outputs for unit, count in layer.digital.items()} if last else {}
            needs = dict(layer.needs)
            if part:
                digital["accumulator"] = digital.get("accumulator", 0.0) + outputs * layer.vectors
                needs[pieces.name(layer.name, k, part - 1)] = once
            found.append(replace(
                layer, name=pieces.name(layer.name, k, part), outputs=outputs, inputs=inputs * taps, needs=needs, digital=digital,
                bias=layer.bias and last,
            ))  # fmt: skip
    return found


def split(network: Network, pieces: Mapping[str, Pieces]) -> Network:
    """The network with each of these layers as its pieces. Those of several shares of the outputs stand side by side: each reads all
    inputs, and is read where the layer was. Those of several shares of the inputs stand one behind the other: each reads a share of every
    position's values, in proportion, adds what the one before it gives, and the last one is read where the layer was. Digital work on
    results and addends are shared in proportion to the outputs, also where they rest on several outputs.

    A table's pieces side by side hold a share of each row: all are asked for the same one.

    Raises ParameterError for unknown layers, more pieces than there are outputs or inputs of a position (of a table's rows there are no
    pieces: one look-up reads one of them), layers of several groups, and layers that read themselves.
    """
    for name, asked in pieces.items():
        _check(network, name, asked)
    of = {layer.name: pieces_of(layer, pieces[layer.name]) if layer.name in pieces else [layer] for layer in network.layers}

    def results(name: str) -> list[tuple[str, float]]:
        """The pieces that give a layer's results, and the share of each."""
        if name not in pieces:
            return [(name, 1.0)]
        last = of[name][pieces[name].inputs - 1 :: pieces[name].inputs]
        return [(piece.name, piece.outputs / network.layer(name).outputs) for piece in last]

    def takers(flow: Flow) -> list[tuple[str, float, float]]:
        """The pieces of a flow's target that it goes to: from which share of all its values on each takes which share of them."""
        if flow.addend:
            given = results(flow.target)
        else:
            given = [(piece.name, piece.inputs / network.layer(flow.target).inputs) for piece in of[flow.target]]
        parts = len(given) if flow.addend else (pieces[flow.target].inputs if flow.target in pieces else 1)
        return [(name, sum(each for _, each in given[k - k % parts : k]), share) for k, (name, share) in enumerate(given)]

    layers = tuple(_waiting(piece, network, results) for each in of.values() for piece in each)
    flows = [each for flow in network.flows for each in _flows(flow, results(flow.source), takers(flow))]
    for name, asked in pieces.items():
        for before, piece in zip(of[name], of[name][1:], strict=False):
            if before.name in piece.needs:
                values = piece.outputs * piece.vectors * asked.sum_width
                flows.append(Flow(before.name, piece.name, values, addend=True, after=piece.needs[before.name]))
    consumers = {layer.name: tuple(other.name for other in layers if layer.name in other.needs) for layer in layers}
    outputs = {name: values * share for whole, values in network.outputs.items() for name, share in results(whole)}
    return replace(network, layers=layers, flows=tuple(flows), consumers=consumers, outputs=outputs)


def _flows(flow: Flow, sources: list[tuple[str, float]], takers: list[tuple[str, float, float]]) -> Iterator[Flow]:
    """A flow between pieces: each of the source makes its share of every value, each of the target takes part of the values."""
    for source, made in sources:
        for target, begin, share in takers:
            numbers = flow.made
            if flow.source:
                numbers = (numbers or Made.run(0.0, flow.values)).scaled(made)
            if numbers is not None and share < 1.0:
                numbers = numbers.part(begin, begin + share)
            yield replace(flow, source=source, target=target, values=flow.values * made * share, made=numbers)


def _waiting(piece: MatrixLayer, network: Network, results: Callable[[str], list[tuple[str, float]]]) -> MatrixLayer:
    """The piece, waiting for the pieces of what its layer waits for."""
    known = {layer.name for layer in network.layers}
    needs = {name: counts for of, counts in piece.needs.items() for name in ([n for n, _ in results(of)] if of in known else [of])}
    return replace(piece, needs=needs)


def _check(network: Network, name: str, pieces: Pieces) -> None:
    names = [layer.name for layer in network.layers]
    if name not in names:
        raise ParameterError(f"split: no layer {name!r}; layers: {', '.join(names)}")
    layer = network.layer(name)
    if not splittable(layer):
        raise ParameterError(f"split: layer {name} has several groups or reads itself: it has no pieces side by side")
    for what, there, asked in (("outputs", layer.outputs, pieces.outputs), ("inputs a position", channels(layer), pieces.inputs)):
        if not 1 <= asked <= there:
            raise ParameterError(f"split: layer {name} has {there} {what}, and cannot be {asked} pieces")


def splittable(layer: MatrixLayer) -> bool:
    """Whether a layer can be split: a matrix of one group, or a table, that does not read itself."""
    return layer.groups == 1 and layer.name not in layer.needs

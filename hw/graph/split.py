"""A layer as several layers, each of which makes part of its results: for one that is larger than a chip."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from xbar.hw.errors import ParameterError
from xbar.hw.graph.made import Made
from xbar.hw.graph.network import Flow, MatrixLayer, Network


def piece_names(layer: str, pieces: int) -> list[str]:
    """The names of so many pieces of a layer."""
    return [f"{layer}[{piece}]" for piece in range(pieces)]


def shares(outputs: int, pieces: int) -> list[int]:
    """How many of a layer's outputs each piece makes: alike many, the first ones one more where that does not come out even."""
    return [outputs // pieces + (piece < outputs % pieces) for piece in range(pieces)]


def split(network: Network, pieces: Mapping[str, int]) -> Network:
    """The network with each of these layers as so many, named `piece_names`, side by side: each makes part of the outputs, reads all
    inputs, and is read where the layer was. Digital work on results and addends are shared in proportion to the outputs, also where they
    rest on several outputs.

    Raises ParameterError for unknown layers, more pieces than outputs, tables, layers of several groups, and layers that read themselves.
    """
    for name, count in pieces.items():
        _check(network, name, count)
    sizes = {name: shares(network.layer(name).outputs, count) for name, count in pieces.items()}

    def of(name: str) -> list[tuple[str, float]]:
        """Names of the pieces of a layer, and the share of the outputs of each."""
        if name not in sizes:
            return [(name, 1.0)]
        whole = network.layer(name).outputs
        return [(piece, outputs / whole) for piece, outputs in zip(piece_names(name, pieces[name]), sizes[name], strict=True)]

    layers = tuple(each for layer in network.layers for each in _pieces(layer, sizes.get(layer.name), of))
    flows = tuple(each for flow in network.flows for each in _flows(flow, of))
    consumers = {layer.name: tuple(other.name for other in layers if layer.name in other.needs) for layer in layers}
    outputs = {name: values * share for whole, values in network.outputs.items() for name, share in of(whole)}
    return replace(network, layers=layers, flows=flows, consumers=consumers, outputs=outputs)


def _flows(flow: Flow, of: Callable[[str], list[tuple[str, float]]]) -> Iterator[Flow]:
    """A flow between pieces: each of the source makes its share of every value, each of the target reads all, or adds up its part."""
    for source, made in of(flow.source):
        begin = 0.0
        for target, taken in of(flow.target):
            share, numbers = taken if flow.addend else 1.0, flow.made
            if flow.source:
                numbers = (numbers or Made.run(0.0, flow.values)).scaled(made)
            if numbers is not None and flow.addend:
                numbers, begin = numbers.part(begin, begin + taken), begin + taken
            yield replace(flow, source=source, target=target, values=flow.values * made * share, made=numbers)


def _pieces(layer: MatrixLayer, sizes: list[int] | None, of: Callable[[str], list[tuple[str, float]]]) -> list[MatrixLayer]:
    needs = {name: counts for whole, counts in layer.needs.items() for name, _ in of(whole)}
    if sizes is None:
        return [replace(layer, needs=needs)]
    return [
        replace(layer, name=name, outputs=outputs, needs=needs, digital={unit: count * share for unit, count in layer.digital.items()})
        for outputs, (name, share) in zip(sizes, of(layer.name), strict=True)
    ]


def _check(network: Network, name: str, pieces: int) -> None:
    names = [layer.name for layer in network.layers]
    if name not in names:
        raise ParameterError(f"split: no layer {name!r}; layers: {', '.join(names)}")
    layer = network.layer(name)
    if not splittable(layer):
        raise ParameterError(f"split: layer {name} is a table, has several groups or reads itself: it has no pieces side by side")
    if not 1 <= pieces <= layer.outputs:
        raise ParameterError(f"split: layer {name} has {layer.outputs} outputs, and cannot be {pieces} pieces")


def splittable(layer: MatrixLayer) -> bool:
    """Whether a layer can be split: a matrix of one group that does not read itself."""
    return not layer.lookup and layer.groups == 1 and layer.name not in layer.needs

"""Part of a network as a network of its own: what one chip of several, or one chip in one of several turns, has of it.

Layers stand in the order in which they can be computed. A network may be cut between two of them where no layer before the cut waits for
one behind it; what travels over the cut are the flows from layers before it to layers behind it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np

from xbar.hw.errors import ParameterError
from xbar.hw.graph.made import Made, distinct, together
from xbar.hw.graph.network import Flow, MatrixLayer, Network

APART = 2.0**40  # more than the values that a layer makes, so few that numbers of many layers are exact


def cuts(network: Network) -> list[int]:
    """Where the network may be cut: numbers of layers before the cut, from 1 to all but one, in order."""
    places = {layer.name: number for number, layer in enumerate(network.layers)}
    barred = np.zeros(len(network.layers) + 1, bool)
    for layer in network.layers:  # a layer that waits for a later one: no cut between the two
        for name in layer.needs:
            barred[places[layer.name] + 1 : places[name] + 1] = True
    for flow in network.flows:
        if flow.source:
            barred[places[flow.target] + 1 : places[flow.source] + 1] = True
    return [number for number in range(1, len(network.layers)) if not barred[number]]


def crossing(network: Network, before: Collection[str], behind: Collection[str] | None = None) -> float:
    """Values per sample that travel from the layers `before` to those `behind`, by default all others, each once however many read it."""
    inside = frozenset(before)
    return sum(
        each.values for each in network.carried
        if each.source in inside and (each.readers - inside if behind is None else (each.readers - inside).intersection(behind))
    )  # fmt: skip


def part(network: Network, names: Collection[str]) -> Network:
    """The layers `names` as a network of its own: what other layers make for them comes in as inputs do, what others read of theirs
    goes out as results do, both once a sample however many read it.

    A value that other layers make is there with the whole sample: within a part vectors wait for each other as they did, not for single
    vectors of other parts. Of the network's input comes in what the part reads, each value once, and never more than there
    is. Work of a host stands with the first layer's part. Raises ParameterError for unknown or no names, and for
    layers of which one waits for another outside that itself waits for one inside: a part that nothing can serve in one go.
    """
    there = {layer.name for layer in network.layers}
    if not names or (unknown := sorted(set(names) - there)):
        raise ParameterError(f"part of a network: no layers {', '.join(unknown)}" if names else "part of a network: no layers are named")
    inside = set(names)
    _check_whole(network, inside)
    if inside == there:
        return network
    layers = tuple(_alone(layer, inside) for layer in network.layers if layer.name in inside)
    places = {layer.name: number for number, layer in enumerate(network.layers)}
    flows = tuple(
        flow if flow.source in inside or not flow.source else _arriving(flow, places[flow.source])
        for flow in network.flows if flow.target in inside
    )  # fmt: skip
    consumers = {layer.name: tuple(other.name for other in layers if layer.name in other.needs) for layer in layers}
    read, indices = _input_of(network, inside)
    arriving = crossing(network, there - inside, inside)
    outputs = {layer.name: network.outputs.get(layer.name, 0.0) for layer in layers}
    for each in network.carried:
        if each.source in inside and each.readers - inside:
            outputs[each.source] += each.values
    first = network.layers[0].name in inside
    return Network(
        network.module, network.graph, layers, flows, consumers, read + ceil(arriving),
        ceil(sum(outputs.values())), indices, {name: count for name, count in outputs.items() if count},
        network.host_operations if first else 0.0,
    )  # fmt: skip


def parts(network: Network, at: Sequence[int]) -> list[Network]:
    """The network cut at numbers of `cuts`, in order. Raises ParameterError where it cannot be cut."""
    if list(at) != sorted(set(at)) or (wrong := sorted(set(at) - set(cuts(network)))):
        raise ParameterError(f"a network can be cut after so many layers: {', '.join(map(str, cuts(network))) or 'nowhere'}; "
                             f"got {', '.join(map(str, at if list(at) != sorted(set(at)) else wrong))}")  # fmt: skip
    names = [layer.name for layer in network.layers]
    return [part(network, names[first:last]) for first, last in pairwise([0, *at, len(names)])]


def input_read(network: Network, names: Collection[str]) -> float:
    """Of the network's input, the values per sample that these layers read, indices among them, each once, and at most what there is
    (of flows that do not tell which values they bring, those of each are others)."""
    values, indices = _read_apart(network, names)
    return min(values, network.input_values - len(network.index_bits)) + min(len(indices), len(network.index_bits))


def _input_of(network: Network, names: Collection[str]) -> tuple[int, tuple[int, ...]]:
    """`input_read` as whole values, and of those that are indices the bits."""
    values, indices = _read_apart(network, names)
    if len(indices) >= len(network.index_bits):
        indices = network.index_bits
    return min(ceil(values), network.input_values - len(network.index_bits)) + len(indices), indices


def _read_apart(network: Network, names: Collection[str]) -> tuple[float, tuple[int, ...]]:
    """Values of the input that these layers read, and bits of the indices that their tables do, each once, as wide as the widest of them
    that reads it needs."""
    flows = [flow for flow in network.flows if not flow.source and flow.target in names]
    tables = {layer.name: layer.index_bits for layer in network.layers if layer.lookup and network.index_bits}
    looked_up = [flow for flow in flows if flow.target in tables and not flow.addend]
    counts: dict[int, float] = {}
    for places, values in together(looked_up):
        widest = max(tables[looked_up[place].target] for place in places)
        counts[widest] = counts.get(widest, 0.0) + values
    indices = tuple(bits for bits in sorted(counts, reverse=True) for _ in range(ceil(counts[bits])))
    return distinct(flow for flow in flows if flow.target not in tables or flow.addend), indices


def _alone(layer: MatrixLayer, inside: Collection[str]) -> MatrixLayer:
    return replace(layer, needs={name: counts for name, counts in layer.needs.items() if name in inside})


def _arriving(flow: Flow, source: int) -> Flow:
    """A flow from a layer of that number elsewhere, as one of the part's input; values without numbers get some of their layer's own."""
    made = flow.made or Made.run(-APART * (source + 1), flow.values)
    return replace(flow, source="", after=np.zeros_like(flow.after), made=made)


def _check_whole(network: Network, inside: Collection[str]) -> None:
    """Raise ParameterError where a layer outside both waits for the inside and is waited for by it."""
    after = set(inside)
    behind: set[str] = set()
    while True:  # layers outside that wait for the inside, over others outside
        more = {layer.name for layer in network.layers if layer.name not in after | behind and set(layer.needs) & (after | behind)}
        if not more:
            break
        behind |= more
    for layer in network.layers:
        if layer.name in inside and (back := sorted(set(layer.needs) & behind)):
            raise ParameterError(f"part of a network: layer {layer.name} waits for {', '.join(back)}, which waits for the part itself; "
                                 "they must be in one part")  # fmt: skip

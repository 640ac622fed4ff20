"""What a matrix that waits for its own results, itself or through other layers, can do at once, and in how many steps.

A vector waits for the first n of a layer's vectors (`MatrixLayer.needs`), and these for others: so of a layer in a loop each
vector waits for the first own(v) of its own layer, through whichever layers. What follows holds for any times of the vectors.
"""

import networkx as nx
import numpy as np

from xbar.hw.errors import TraceError
from xbar.hw.graph.network import MatrixLayer, Network


def own_needs(network: Network) -> dict[str, np.ndarray]:
    """For each layer that waits for itself: how many of its own vectors must be done, through whichever layers, before each
    of its vectors can start, int64 (vectors,).

    Raises TraceError where a vector would wait for itself or for one after it, and for needs that no layer can meet.
    """
    layers = {layer.name: layer for layer in network.layers}
    waits: nx.DiGraph = nx.DiGraph()
    for layer in network.layers:
        _check(layer, layers)
        waits.add_edges_from((layer.name, name) for name in layer.needs)
    found = {}
    for loop in nx.strongly_connected_components(waits):
        for name in sorted(loop):
            if len(loop) > 1 or name in layers[name].needs:
                found[name] = _own(layers[name], [layers[other] for other in sorted(loop)])
    return found


def _check(layer: MatrixLayer, layers: dict[str, MatrixLayer]) -> None:
    """Raise TraceError unless what the layer needs can be."""
    for name, counts in layer.needs.items():
        if name not in layers:
            raise TraceError(f"layer {layer.name} waits for {name!r}, and there is no such layer: {', '.join(layers)}")
        if counts.shape != (layer.vectors,):
            raise TraceError(
                f"layer {layer.name} waits for {name}: needs one count for each of {layer.vectors} vectors, got {counts.shape}"
            )
        if counts.min(initial=0) < 0 or counts.max(initial=0) > layers[name].vectors:
            raise TraceError(
                f"layer {layer.name} waits for {counts.min()} to {counts.max()} vectors of {name}, which has {layers[name].vectors}"
            )


def _own(layer: MatrixLayer, loop: list[MatrixLayer]) -> np.ndarray:
    """Own vectors that each vector of the layer waits for, through the layers of its loop.

    By rounds: what a vector waits for is at least what those wait for that it waits for, until nothing grows any more.
    """
    reached = {other.name: other.needs.get(layer.name, np.zeros(other.vectors, np.int64)) for other in loop}
    grows = True
    while grows:
        grows = False
        for other in loop:
            before = reached[other.name]
            for name in (name for name in other.needs if name in reached and name != layer.name):
                most = np.concatenate([[0], np.maximum.accumulate(reached[name])])  # by how many vectors are done
                reached[other.name] = np.maximum(reached[other.name], most[other.needs[name]])
            grows = grows or bool((reached[other.name] > before).any())
    own = reached[layer.name]
    late = np.flatnonzero(own > np.arange(layer.vectors))
    if len(late):
        through = ", ".join(other.name for other in loop if other is not layer)
        raise TraceError(
            f"layer {layer.name}: vector {late[0]} waits for the first {own[late[0]]} vectors of its own layer"
            f"{f' (through {through})' if through else ''}, and so for itself"
        )
    return own


def most_at_once(own: np.ndarray) -> int:
    """Largest number of the layer's vectors that can be ready at once: when exactly the first n are done, those from n on
    that wait for n or fewer."""
    begins = np.bincount(own, minlength=len(own) + 1)  # by n: one more that waits for no more than n
    ends = np.concatenate([[0], np.ones(len(own), np.int64)])  # and one that is done
    return int(np.cumsum(begins - ends).max())


def steps(own: np.ndarray) -> int:
    """Vectors in the longest chain, each of which waits for the one before."""
    longest = [0]  # among the first n vectors
    for count in own.tolist():
        longest.append(max(longest[-1], longest[count] + 1))
    return longest[-1]

"""What layers cost on the chip: what `xbar.hw.footprint` says of a network as it would lie there, and a fit to it for sizes between."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from xbar.compression.layered import layers_of
from xbar.compression.packing import weights_in_cells
from xbar.hw.chip.description import Chip
from xbar.hw.footprint import Footprint, array_area, footprint
from xbar.hw.graph.network import Network
from xbar.hw.graph.trace import trace

SAMPLES = 48  # sizes that the energy of each layer is fitted to
Sizes = dict[str, tuple[int, int]]  # outputs and inputs by layer


def weights_of(model: nn.Module) -> int:
    """Weights that the chip has cells for (`xbar.compression.packing.weights_in_cells`), of all layers with a matrix or a table."""
    return weights_in_cells(layers_of(model).values())


def costs_before(model: nn.Module, taken: Footprint) -> dict[str, float]:
    """The uncompressed network's area [m²], power [W] and weights."""
    return {"area": taken.area, "power": taken.power, "weights": float(weights_of(model))}


class Costs:
    """What networks take of a chip at `rate` inferences per second [1/s].

    Of a network (`of`) the simulator tells. Of sizes of layers (`of_sizes`), as a search asks for by the thousand, area follows
    from the geometry, and a layer's energy is fitted to SAMPLES simulated sizes by what its components count: outputs o, inputs
    i, tiles along each, and the products that conversions, drives, reads and arrays are. A few per cent off, as tests tell.
    model: the uncompressed network; example: inputs (batch, ...).
    """

    def __init__(self, model: nn.Module, chip: Chip, rate: float, example: Tensor):
        self.chip, self.rate, self.example = chip, rate, example
        network = trace(model, example)
        self._layers = {layer.name: layer for layer in network.layers}
        self.whole: Sizes = {layer.name: (layer.outputs, layer.inputs) for layer in network.layers}
        generator = torch.Generator().manual_seed(0)
        samples = [{name: (_some(layer.outputs, generator), _some(layer.inputs, generator))
                    for name, layer in self._layers.items()} for _ in range(SAMPLES)]  # fmt: skip
        taken = [footprint(_resized(network, sizes), chip, rate) for sizes in samples]
        self._array_area = array_area(chip)
        self._static = (taken[0].power - rate * float(taken[0].layers["energy_J"].sum())) / taken[0].area
        self._per_count: dict[str, np.ndarray] = {}
        for name in self._layers:
            energy = np.array([each.layers.loc[name, "energy_J"] for each in taken])
            counts = np.array([self._counts(name, *sizes[name]) for sizes in samples])
            largest = counts.max(0)
            fitted = np.linalg.lstsq(counts / largest / energy[:, None], np.ones(SAMPLES), rcond=None)[0]
            self._per_count[name] = fitted / largest

    def of(self, model: nn.Module) -> dict[str, float]:
        """area [m²], power [W] and weights (not zero) of a pruned copy, packed."""
        return self.measured(model)[1]

    def measured(self, model: nn.Module) -> tuple[Sizes, dict[str, float]]:
        """Sizes of a pruned copy's layers, packed, and what `of` tells."""
        network = trace(model, self.example, pack=True)
        sizes = {layer.name: (layer.outputs, layer.inputs) for layer in network.layers}
        return sizes, costs_before(model, footprint(network, self.chip, self.rate))

    def of_sizes(self, sizes: Sizes) -> dict[str, float]:
        """area [m²], power [W] and weights of layers of those sizes; energy is the sum of the layers' own."""
        arrays, energy, weights = 0, 0.0, 0
        for name, (outputs, inputs) in sizes.items():
            counts = self._counts(name, outputs, inputs)
            energy += float(self._per_count[name] @ counts)
            g = self.chip.geometry(outputs, inputs, self._layers[name].groups)
            arrays += g.crossbars
            weights += self._layers[name].groups * outputs * inputs
        area = arrays * self._array_area
        return {"area": area, "power": energy * self.rate + self._static * area, "weights": float(weights)}

    def _counts(self, name: str, outputs: int, inputs: int) -> list[float]:
        g = self.chip.geometry(outputs, inputs, self._layers[name].groups)
        rows, columns = g.row_tiles, g.column_tiles
        products = outputs * rows, inputs * columns, g.groups * g.outputs * g.inputs, g.groups * rows * columns
        return [1.0, *map(float, (outputs, inputs, rows, columns, *products))]


def _some(most: int, generator: torch.Generator) -> int:
    """A count from a twentieth of `most` to all, small ones as often as large ones."""
    share = 20 ** -float(torch.rand((), generator=generator))
    return max(1, round(most * share))


def _resized(network: Network, sizes: Sizes) -> Network:
    """The network with other sizes of some layers; digital work on a layer's outputs, and their traffic, in proportion. Sums
    stay as wide as they are: another branch may feed what one no longer does."""
    layers, made = [], {}
    for layer in network.layers:
        outputs, inputs = sizes.get(layer.name, (layer.outputs, layer.inputs))
        share = outputs / layer.outputs
        made[layer.name] = 1.0 if layer.digital.get("accumulator") else share
        follows = ("activation", "pool")
        digital = {name: round(count * share) if name in follows else count for name, count in layer.digital.items()}
        layers.append(replace(layer, outputs=outputs, inputs=inputs, digital=digital))
    flows = tuple(replace(flow, values=flow.values * made.get(flow.source, 1.0)) for flow in network.flows)
    return replace(network, layers=tuple(layers), flows=flows)

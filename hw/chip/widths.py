"""How wide values are: what stands on links, in buffers' ports and in estimates takes its bits from here.

Conventions (ours): a value is as wide as the inputs of the layer that reads it, of several the widest; the number of a table's row as
many bits as tell the rows apart; what leaves a chip, for outside, a host or another one, as the inputs of the layer that makes it; what a
network hands on as it is, as the chip's inputs.
"""

from collections.abc import Sequence

from xbar.hw.chip.description import Chip
from xbar.hw.graph.made import Carried, carried
from xbar.hw.graph.network import MatrixLayer, Network


def read_bits(chip: Chip, layer: MatrixLayer) -> int:
    """Bits of a value that a layer reads, or of the number of a row that it looks up."""
    return layer.index_bits if layer.lookup else made_bits(chip, layer.name)


def made_bits(chip: Chip, layer: str) -> int:
    """Bits of a value that a layer makes; of what is added up with its results too."""
    return chip.for_layer(layer).inputs.bits


def width_read(chip: Chip, network: Network, brought: Carried) -> int:
    """Bits of a value as the widest of those layers of `network` reads it that do; 0 where none does."""
    layers = network.layers_by_name
    return max((read_bits(chip, layers[name]) for name in brought.readers if name in layers), default=0)


def bits_in(chip: Chip, network: Network) -> float:
    """Bits per sample that come over a chip's links: of the input values each as wide as the widest that reads it (those that nobody
    reads as the mean of the others) and of indices as told."""
    layers, indices = network.layers_by_name, network.index_bits
    values = carried(f for f in network.flows if not f.source and (f.addend or not (indices and layers[f.target].lookup)))
    width = _mean([(each.values, width_read(chip, network, each)) for each in values], chip.inputs.bits)
    return (network.input_values - len(indices)) * width + sum(indices)


def bits_out(chip: Chip, network: Network) -> float:
    """Bits per sample that leave over a chip's links."""
    made = [(values, made_bits(chip, name)) for name, values in network.outputs.items()]
    as_they_are = max(0.0, network.output_values - sum(network.outputs.values()))
    return network.output_values * _mean([*made, (as_they_are, chip.inputs.bits)], chip.inputs.bits)


def _mean(counted: Sequence[tuple[float, int]], otherwise: int) -> float:
    """The mean width of so many values of widths each; `otherwise` where there are none."""
    widths = {width for values, width in counted if values}
    if len(widths) < 2:
        return widths.pop() if widths else otherwise
    return sum(values * width for values, width in counted) / sum(values for values, _ in counted)

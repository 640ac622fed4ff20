"""What a network computes, when, and what it costs: the dataflow of its matrix operations, as `hw.graph.trace` reads it.

Positions: the places in a layer's input that its vectors read, in raster order: of a convolution the positions in space, of
a linear layer all but the last axis, of a table each index. Vectors of a layer are numbered in the order in which its uses
stand in the network, and within a use in raster order; of a matrix used several times the numbers go on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
import numpy as np
import pandas as pd
from torch import fx

from xbar.hw.display import Shown, si
from xbar.hw.errors import ParameterError
from xbar.hw.graph.made import Carried, Made, carried

# Digital units of a tile and what is counted of each: values through the table of the activation unit (sigmoid, tanh,
# exponentials, reciprocal roots); values that are compared or pooled; additions; element-wise multiplications;
# multiply-accumulates of two activations, as in the products of attention.
DIGITAL = ("activation", "pool", "accumulator", "multiplier", "product")

@dataclass(frozen=True)
class MatrixLayer:
    """One matrix: `vectors` products per sample of a (groups x) outputs x inputs matrix.

    nodes: the graph's uses of it. reads: positions of the input that each vector reads, int64 (vectors, taps), -1 where a tap
    lies in padding; positions: how many there are. needs: for each layer (itself, where it is used in turn), how many of its
    vectors (in order) must be done before each of this layer's vectors can start, int64 (vectors,). digital: actions per
    sample of the digital unit on the results, by component. lookup: a vector is a look-up of one of `inputs` rows by its
    number, a one-hot product; its positions are the indices. kernel: of a convolution, height and width; height: positions
    of its results along the first axis of space; bias: each result is one product and a constant more. A matrix that is used several
    times in a sample has the vectors of all its uses in
    order; it may need itself, at most as many vectors as come before, and layers that need it.
    Raises ParameterError for digital work of no such unit, or of an amount that is not 0 or more.
    """

    name: str
    nodes: tuple[str, ...]
    outputs: int  # per group
    inputs: int  # per group
    groups: int
    vectors: int
    signed_input: bool
    positions: int
    reads: np.ndarray = field(repr=False)
    needs: dict[str, np.ndarray] = field(repr=False)
    digital: Mapping[str, float] = field(default_factory=dict)
    lookup: bool = False
    kernel: tuple[int, ...] = ()
    height: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        for unit, count in self.digital.items():
            if unit not in DIGITAL:
                raise ParameterError(f"layer {self.name}: digital work of {unit!r}: must be of {', '.join(DIGITAL)}")
            if not (count >= 0 and math.isfinite(count)):
                raise ParameterError(f"layer {self.name}: digital work of {unit} must be 0 or more actions, got {count}")

    @property
    def index_bits(self) -> int:
        """Bits that tell the rows of a table apart, at least 1."""
        return max(1, (self.inputs - 1).bit_length())

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        return self.groups * self.outputs * self.inputs

    @property
    def operations(self) -> int:
        """Multiplications and additions per sample; a look-up takes none."""
        return 0 if self.lookup else 2 * self.weights * self.vectors


@dataclass(frozen=True)
class Flow:
    """Values per sample that travel from layer `source` ("" for the network's input) to layer `target`: to its
    matrix as inputs, or, for an `addend`, to where its results are added up (a sum is made at the latest layer
    that it rests on, and travels on from there). Several flows may join two layers, and a layer with itself.

    after: for each position of the value, how many vectors of the source must be done, int64 (positions,); 0 where there
    is nothing to wait for. first: where these positions begin among the target's, which several flows may fill. made: which of the
    values that the source makes these are, so that what several flows bring is counted once (`carried`); None: its first ones, as many
    as `values`, of the network's input others than any other flow's.
    """

    source: str
    target: str
    values: float
    addend: bool
    after: np.ndarray = field(repr=False, compare=False)
    first: int = 0
    made: Made | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, repr=False)
class Network(Shown):
    """A traced network: `module` runs it in float, `graph` is its dataflow, `layers` the matrices.

    flows: what travels between layers; consumers: for each layer the layers that wait for its result, itself among them;
    input_values and output_values are per sample, what a host hands over and takes among them, without what it alone reads
    and makes. index_bits: of those input values that are indices, the bits of each:
    what the largest table that reads its tensor needs. outputs: by layer, how many of the output values are made there
    (what comes from the input as it is, or from a host, at none); where they are not given, the layers that no other reads make
    alike many. host_operations: multiplications and additions per sample that a host does.
    Raises ParameterError for a layer to which no flow brings inputs, for outputs of no such layer or too many, and where
    they are not given and every layer is read by another.
    """

    module: fx.GraphModule = field(repr=False)
    graph: nx.DiGraph = field(repr=False)
    layers: tuple[MatrixLayer, ...]
    flows: tuple[Flow, ...]
    consumers: dict[str, tuple[str, ...]]
    input_values: int
    output_values: int
    index_bits: tuple[int, ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)
    host_operations: float = 0.0

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if dry := set(names) - {flow.target for flow in self.flows if not flow.addend}:
            raise ParameterError(f"flows: none brings inputs to {', '.join(name for name in names if name in dry)}")
        if not self.outputs and self.output_values:
            last = [name for name in self.last_layers if not any(f.source == name and f.target != name for f in self.flows)]
            if not last:
                raise ParameterError("outputs: every layer is read by another, so outputs must say where the results are made")
            object.__setattr__(self, "outputs", {name: self.output_values / len(last) for name in last})
        for name, values in self.outputs.items():
            if name not in names or not (values >= 0 and math.isfinite(values)):
                raise ParameterError(f"outputs: {name!r} with {values} values; must be 0 or more of a layer: {', '.join(names)}")
        if sum(self.outputs.values()) > self.output_values * (1 + 1e-9):
            raise ParameterError(f"outputs: {sum(self.outputs.values()):g} values, more than the {self.output_values} of the network")
        if not (self.host_operations >= 0 and math.isfinite(self.host_operations)):
            raise ParameterError(f"host_operations must be 0 or more, got {self.host_operations}")

    def _title(self) -> str:
        return f"Network of {len(self.layers)} layer{'' if len(self.layers) == 1 else 's'}"

    def _numbers(self) -> dict[str, str]:
        host = {"on a host": f"{si(self.host_operations, 'OP')} a sample"} if self.host_operations else {}
        return {
            "weights": f"{sum(layer.weights for layer in self.layers):,}", "on crossbars": f"{si(self.operations, 'OP')} a sample",
            "in product units": f"{si(self.digital_operations, 'OP')} a sample", **host,
            "inputs": f"{self.input_values:,}", "outputs": f"{self.output_values:,}",
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        return pd.DataFrame({
            layer.name: {
                "matrix": f"{layer.outputs} x {layer.inputs}" + (f", {layer.groups} groups" if layer.groups > 1 else ""),
                "weights": f"{layer.weights:,}", "vectors a sample": f"{layer.vectors:,}",
                "operations a sample": si(layer.operations, "OP"),
            }
            for layer in self.layers
        }).T  # fmt: skip

    @property
    def last_layers(self) -> tuple[str, ...]:
        """The layers for whose results no other layer waits."""
        return tuple(layer.name for layer in self.layers if not set(self.consumers[layer.name]) - {layer.name})

    @property
    def operations(self) -> int:
        """Multiplications and additions of all matrix operations on crossbars per sample."""
        return sum(layer.operations for layer in self.layers)

    @property
    def digital_operations(self) -> float:
        """Multiplications and additions of the tiles' product units per sample."""
        return 2 * sum(layer.digital.get("product", 0.0) for layer in self.layers)

    @property
    def chip_operations(self) -> float:
        """Multiplications and additions per sample of all matrix operations on the chip."""
        return self.operations + self.digital_operations

    @property
    def operations_shares(self) -> dict[str, float]:
        """Of all multiply-accumulates the share on crossbars, in product units and on the host, by crossbar_, digital_ and
        host_operations_share; nan where there are none."""
        done = {"crossbar": self.operations, "digital": self.digital_operations, "host": self.host_operations}
        total = sum(done.values())
        return {f"{where}_operations_share": count / total if total else math.nan for where, count in done.items()}

    def layer(self, name: str) -> MatrixLayer:
        """The layer of that name."""
        return self.layers_by_name[name]

    @cached_property
    def carried(self) -> list[Carried]:
        """What travels between layers, each value once however many read it."""
        return carried(self.flows)

    @cached_property
    def layers_by_name(self) -> dict[str, MatrixLayer]:
        """The layers by name, in their order."""
        return {layer.name: layer for layer in self.layers}

    def positions_read(self, name: str) -> int:
        """Positions of the tensor that the layer reads."""
        return self.layer(name).positions

"""Digital accelerators to set a chip against: time and energy of a network from published constants.

One layer at a time, as published machines run: its time is the longer of computing and fetching its weights. What
an accelerator computes is the integer product at the width of its words, which `xbar.hw.analog` computes exactly on a
chip with ideal cells and lossless converters; nothing of that is repeated here.

A weight-stationary array (Jouppi et al., ISCA 2017, section 2) holds a tile of rows x columns weights while inputs
stream through, one vector a clock. The next tile's weights are shifted in meanwhile, which takes as many clocks as
there are rows, and are fetched whole, filled up with zeros: section 7 of that paper has a matrix of 600 x 600 take nine
tiles and 18 µs, which is nine times 64 KiB at 34 GB/s. Filling and draining the array takes rows + columns - 2 clocks
a layer (A. Samajdar et al., A Systematic Methodology for Characterizing Scalability of DNN Accelerators using SCALE-Sim,
ISPASS 2020, equation of the runtime, from memory).

A row-stationary array (Chen et al., IEEE JSSC 52(1), 2017, section III) gives each element a row of a filter and a row of
the output: a set of as many elements as the filter is high times the output is high, folded where it exceeds the array,
and as many sets beside each other as fit and as there are pairs of channels. Elements in a set do one multiplication a
clock; `sustained` is the share of clocks in which they do.

A layer that waits for its own results is computed step by step, each as a batch of its own: its weights are fetched for every
step (assumed: the LSTMs of Jouppi et al., table 1, use a fetched weight as often as the batch is large), unless they are one
tile that stays in a weight-stationary array, whose depth comes on top in every step.

Not modelled: activations and pooling, which these machines do beside the products; products of two activations; moving
activations, other than as `sustained` holds it; the host; the power of DRAM. Nothing is scaled between technology nodes.
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, PrivateAttr, model_validator

from xbar.hw.chip.checked import build
from xbar.hw.chip.description import Section, Source
from xbar.hw.chip.files import names_in, read_toml
from xbar.hw.chip.recurrence import own_needs, steps
from xbar.hw.errors import ParameterError
from xbar.hw.graph.network import MatrixLayer, Network
from xbar.hw.quantity import Quantity, Unit

PRESETS = "xbar.hw.presets.digital"


class Technology(Section):
    """What is made of silicon: `node` as its makers call it [m], `area` [m²], bits of a weight and of an input."""

    node: Annotated[float, Unit("m"), Field(gt=0, le=1e-3)]
    area: Annotated[float, Unit("m²"), Field(gt=0, le=1)]
    word: Annotated[int, Unit("bit"), Field(ge=1, le=64)]


class ProcessingArray(Section):
    """Multipliers and how a layer lies on them.

    sustained: share of clocks in which multipliers that hold work do it. results: vectors whose results a
    weight-stationary array can hold before it needs another pass of the weights; 0 is no limit.
    """

    dataflow: Literal["weight_stationary", "row_stationary"]
    rows: Annotated[int, Unit("1"), Field(ge=1, le=2**20)]
    columns: Annotated[int, Unit("1"), Field(ge=1, le=2**20)]
    clock: Annotated[float, Unit("1/s"), Field(gt=0, le=1e12)]
    sustained: Annotated[float, Unit("1"), Field(gt=0, le=1)]
    results: Annotated[int, Unit("1"), Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> "ProcessingArray":
        if self.dataflow == "row_stationary" and self.results:
            raise ValueError("results = 0, or left out: only a weight-stationary array passes its weights again")
        return self


class WeightMemory(Section):
    """Where weights come from, once for every batch and layer."""

    weight_bandwidth: Annotated[float, Unit("1/s"), Field(gt=0, le=1e18)]  # bits


class Power(Section):
    """Power while it serves, whatever the layer, and while it waits [W]."""

    busy: Annotated[float, Unit("W"), Field(gt=0, le=1e6)]
    idle: Annotated[float, Unit("W"), Field(ge=0, le=1e6)]

    @model_validator(mode="after")
    def _check(self) -> "Power":
        if self.idle > self.busy:
            raise ValueError(f"idle = {self.idle:g} W must be at most busy = {self.busy:g} W")
        return self


@dataclass(frozen=True)
class Product:
    """One layer as an accelerator sees it: `vectors` products a sample of a (groups x) outputs x inputs matrix, as a
    convolution of filters kernel_rows high whose output is output_rows high; 1 and 1 for a linear layer.

    lookup: rows are fetched, one a vector, and nothing is multiplied. steps: parts of the vectors, one after the other, since
    each waits for the results of the one before.
    """

    name: str
    outputs: int  # per group
    inputs: int  # per group
    groups: int = 1
    vectors: int = 1
    kernel_rows: int = 1
    kernel_columns: int = 1
    output_rows: int = 1
    lookup: bool = False
    steps: int = 1

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        return self.groups * self.outputs * self.inputs

    @property
    def multiplications(self) -> int:
        """Multiply-accumulates per sample."""
        return 0 if self.lookup else self.weights * self.vectors


@dataclass(frozen=True)
class Estimate:
    """A batch on an accelerator. layers: one row a layer with compute_s, fetch_s, time_s of the batch, and utilisation,
    the share of all multipliers' clocks that multiply."""

    accelerator: "Accelerator"
    batch: int
    layers: pd.DataFrame
    operations: int  # multiplications and additions of the batch

    @property
    def time(self) -> float:
        """From the batch's start to its end, layer after layer [s]; every sample of it waits that long."""
        return float(self.layers["time_s"].sum())

    @property
    def throughput(self) -> float:
        """Samples per second, batch after batch."""
        return self.batch / self.time

    @property
    def energy(self) -> float:
        """Energy of the batch at busy power [J]."""
        return self.accelerator.power.busy * self.time

    @property
    def energy_per_sample(self) -> float:
        """Energy of a sample [J]."""
        return self.energy / self.batch

    @property
    def utilisation(self) -> float:
        """Share of the accelerator's peak that the batch reaches."""
        return self.operations / self.time / self.accelerator.peak_operations_per_second


class Accelerator(Section):
    """A digital inference accelerator, in numbers that each have their source."""

    name: str
    title: str
    description: str
    source: dict[str, Source]
    technology: Technology
    array: ProcessingArray
    memory: WeightMemory
    power: Power

    _provenance: dict[str, Quantity] = PrivateAttr(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Quantity]:
        """Every number of the file as written, by dotted key."""
        return dict(self._provenance)

    @property
    def peak_operations_per_second(self) -> float:
        """Multiplications and additions per second with every multiplier at work."""
        return 2 * self.array.rows * self.array.columns * self.array.clock

    @property
    def multiplications_per_weight(self) -> float:
        """How often a fetched weight must be used for the array to be as fast as the memory: the ridge of its roofline."""
        return self.peak_operations_per_second / 2 / (self.memory.weight_bandwidth / self.technology.word)

    def elements_in_use(self, product: Product) -> float:
        """Multipliers that hold work while the layer is computed, in the mean over its parts.

        Weight-stationary: the weights over their tiles. Row-stationary: a set's elements times the sets beside each
        other; its columns in the mean over the strips in which a high output is cut.
        """
        a = self.array
        if a.dataflow == "weight_stationary":
            return product.weights / self.tiles(product)
        high = product.kernel_rows / ceil(product.kernel_rows / a.rows)
        wide = product.output_rows / ceil(product.output_rows / a.columns)
        channels = product.inputs / product.kernel_rows / product.kernel_columns
        sets = min((a.rows // ceil(high)) * (a.columns // ceil(wide)), product.groups * product.outputs * channels)
        return float(sets * high * wide)

    def tiles(self, product: Product) -> int:
        """Tiles of rows x columns weights that the layer fills, each group apart."""
        return product.groups * ceil(product.inputs / self.array.rows) * ceil(product.outputs / self.array.columns)

    def layer_times(self, product: Product, batch: int) -> tuple[float, float]:
        """(computing, fetching) of a batch through one layer [s]; its time is the longer.

        Weight-stationary: each tile takes a clock a vector, or a clock a row where vectors are fewer, and the array's
        depth comes on top once; where results do not fit, all tiles pass again.
        """
        a, vectors = self.array, batch * product.vectors
        word, bandwidth = self.technology.word, self.memory.weight_bandwidth
        if product.lookup:
            return 0.0, vectors * product.outputs * word / bandwidth
        if a.dataflow == "row_stationary":
            clocks = batch * product.multiplications / self.elements_in_use(product)
            return clocks / a.clock / a.sustained, product.steps * product.weights * word / bandwidth
        vectors = ceil(vectors / product.steps)  # of one step
        passes = ceil(vectors / a.results) if a.results else 1
        last = vectors - (passes - 1) * a.results
        tiles = self.tiles(product)
        clocks = tiles * ((passes - 1) * max(a.results, a.rows) + max(last, a.rows)) + a.rows + a.columns - 2
        fetches = product.steps if tiles > 1 else 1
        compute = product.steps * clocks / a.clock / a.sustained
        return compute, fetches * passes * tiles * a.rows * a.columns * word / bandwidth


def accelerator_names() -> list[str]:
    """Names of the digital accelerators that ship with the package."""
    return names_in(PRESETS)


def load_accelerator(preset_or_file: str | Path) -> Accelerator:
    """The accelerator of a preset name or a TOML file.

    Raises ConfigurationError naming the file, each wrong key, its value and what is allowed.
    """
    label, raw = read_toml(preset_or_file, PRESETS, "accelerator")
    accelerator, provenance = build(Accelerator, raw, label)
    accelerator._provenance = provenance
    return accelerator


def products_of(network: Network) -> list[Product]:
    """The layers of a traced network as an accelerator computes them: filters whole, those that are zero left out
    only where the network was traced with them packed away."""
    own = own_needs(network)
    return [_product(layer, steps(own[layer.name]) if layer.name in own else 1) for layer in network.layers]


def _product(layer: MatrixLayer, in_steps: int) -> Product:
    plane = len(layer.kernel) == 2  # a convolution of images; another is so many products
    high, wide, rows = (*layer.kernel, layer.height) if plane else (1, 1, 1)
    shape = (layer.outputs, layer.inputs, layer.groups, layer.vectors)
    return Product(layer.name, *shape, high, wide, rows, layer.lookup, in_steps)


def estimate(products: list[Product], accelerator: Accelerator, batch: int = 1) -> Estimate:
    """Time and energy of a batch of samples through the layers one after the other; raises ParameterError."""
    if batch < 1 or not products:
        raise ParameterError(f"estimate needs a batch of at least 1 and at least one layer, got {batch} and {len(products)}")
    every = accelerator.array.rows * accelerator.array.columns * accelerator.array.clock
    rows = []
    for product in products:
        compute, fetch = accelerator.layer_times(product, batch)
        time = max(compute, fetch)
        used = batch * product.multiplications / (time * every)
        rows.append({"layer": product.name, "compute_s": compute, "fetch_s": fetch, "time_s": time, "utilisation": used})
    operations = 2 * batch * sum(product.multiplications for product in products)
    return Estimate(accelerator, batch, pd.DataFrame(rows).set_index("layer"), operations)

"""Area and power that a network takes of a chip, so that networks on the same chip can be compared.

Chips come in whole, networks do not fill them, so both are counted by what a network uses, with one copy of each layer:

- area: arrays in use times (an array and its share of its core's and tile's other parts); off-chip links apart;
- power: energy of an inference times a stated rate of inferences, the same for all networks compared. Energy is what the
  components spend per action, links apart, and of static power the share of the arrays in use over the time between
  inferences.

Publications often count the power of the hardware in use instead: arrays in use times `array_power`, however often they are read.
"""

from dataclasses import dataclass

import pandas as pd

from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import place
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import STATIC
from xbar.hw.events.simulator import simulate
from xbar.hw.graph.network import Network


@dataclass(frozen=True)
class Footprint:
    """What a network takes of a chip at `rate` inferences per second [1/s].

    layers: one row a layer: outputs, inputs, arrays, area_m2, energy_J per inference.
    latency [s]: of one inference alone, one copy of each layer.
    """

    chip: str
    rate: float
    layers: pd.DataFrame
    energy: float  # per inference [J]
    latency: float

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return int(self.layers["arrays"].sum())

    @property
    def area(self) -> float:
        """Area of the arrays in use with their share of what serves them [m²]."""
        return float(self.layers["area_m2"].sum())

    @property
    def power(self) -> float:
        """Power at the stated rate [W]."""
        return self.energy * self.rate


def array_area(chip: Chip) -> float:
    """Area of one array with its share of its core and tile [m²], off-chip links apart."""
    shared = chip.table()["area_m2"].drop(list(CHIP_COMPONENTS)).sum()
    return float(shared) / chip.crossbars


def array_power(chip: Chip) -> float:
    """Power of one array with its share of its core and tile at the chip's peak load, leakage in it [W], off-chip links apart."""
    shared = chip.table()["power_W"].drop(list(CHIP_COMPONENTS)).sum()
    return float(shared) / chip.crossbars


def footprint(network: Network, chip: Chip, rate: float, read_energy: dict[str, float] | None = None) -> Footprint:
    """The footprint of a traced network on a chip; raises CapacityError where it does not fit once.

    rate: inferences per second [1/s]; read_energy: of the array reads of one vector by layer [J], as in `simulate`.
    """
    if not 0 < rate < float("inf"):
        raise ParameterError(f"rate must be above 0 /s and finite, got {rate}")
    placement = place(network, chip, None)
    ledger = simulate(placement, Arrivals.batch(1), read_energy=read_energy)
    per_array = array_area(chip)
    dynamic = ledger.energy.drop(index=STATIC).drop(columns=list(CHIP_COMPONENTS)).sum(axis=1)
    rows = {}
    for layer in network.layers:
        arrays = sum(copy.crossbars for copy in placement.copies[layer.name])
        rows[layer.name] = {
            "outputs": layer.outputs * layer.groups, "inputs": layer.inputs, "arrays": arrays,
            "area_m2": arrays * per_array, "energy_J": float(dynamic[layer.name]),
        }  # fmt: skip
    layers = pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")
    static = chip.leakage * layers["arrays"].sum() / chip.crossbars / rate
    return Footprint(chip.name, rate, layers, float(dynamic.sum()) + float(static), float(ledger.latency[0]))

"""Simulated memristor crossbar hardware: one chip description gives accuracy, time, energy and area.

The public door: load a chip, trace a network, then ask. Everything inside is SI; event times are
integer femtoseconds. `hw` imports nothing from the project's other packages.
"""

from hw.analog import AnalogEmbedding, AnalogLayer, convert
from hw.bands import chip_bands, ledger_bands
from hw.chip import Chip, device_names, load_chip, load_device, preset_names
from hw.device import Device
from hw.errors import (
    CapacityError,
    ConfigurationError,
    ConvergenceError,
    HardwareError,
    MappingError,
    ParameterError,
    TraceError,
)
from hw.ledger import Ledger
from hw.network import Network, trace
from hw.placement import Placement, place
from hw.programming import Update
from hw.simulator import Arrivals, simulate

__all__ = [
    "AnalogEmbedding",
    "AnalogLayer",
    "Arrivals",
    "CapacityError",
    "Chip",
    "ConfigurationError",
    "ConvergenceError",
    "Device",
    "HardwareError",
    "Ledger",
    "MappingError",
    "Network",
    "ParameterError",
    "Placement",
    "TraceError",
    "Update",
    "chip_bands",
    "convert",
    "device_names",
    "ledger_bands",
    "load_chip",
    "load_device",
    "place",
    "preset_names",
    "simulate",
    "trace",
]

"""Simulated memristor crossbar hardware: one chip description gives accuracy, time, energy and area.

The public door: load a chip, trace a network, then ask. Everything inside is SI; event times are
integer femtoseconds. Each name is loaded when it is first asked for: a chip file is read without torch. `hw` imports
nothing from the project's other packages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbar.hw.analog import AnalogEmbedding, AnalogLayer, convert
    from xbar.hw.bands import chip_bands, ledger_bands
    from xbar.hw.cells.device import Device
    from xbar.hw.chip.chips import ChipsPlacement, place_chips
    from xbar.hw.chip.description import Chip
    from xbar.hw.chip.files import device_names, load_chip, load_device, preset_names, silicon_names
    from xbar.hw.chip.placement import Placement, place
    from xbar.hw.errors import (
        BufferCapacityError,
        CapacityError,
        ConfigurationError,
        ConvergenceError,
        HardwareError,
        MappingError,
        MissingComponentError,
        ParameterError,
        TraceError,
    )
    from xbar.hw.events.arrivals import Arrivals
    from xbar.hw.events.chips import simulate_chips
    from xbar.hw.events.chips_ledger import ChipsLedger
    from xbar.hw.events.ledger import Ledger
    from xbar.hw.events.mapping_search import search_mapping
    from xbar.hw.events.simulator import simulate
    from xbar.hw.events.turns import serve_in_turns
    from xbar.hw.events.updates import Update
    from xbar.hw.graph.network import Network
    from xbar.hw.graph.trace import trace

__all__ = [
    "AnalogEmbedding",
    "AnalogLayer",
    "Arrivals",
    "BufferCapacityError",
    "CapacityError",
    "Chip",
    "ChipsLedger",
    "ChipsPlacement",
    "ConfigurationError",
    "ConvergenceError",
    "Device",
    "HardwareError",
    "Ledger",
    "MappingError",
    "MissingComponentError",
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
    "place_chips",
    "preset_names",
    "search_mapping",
    "serve_in_turns",
    "silicon_names",
    "simulate",
    "simulate_chips",
    "trace",
]

_FROM = {
    "xbar.hw.analog": ("AnalogEmbedding", "AnalogLayer", "convert"),
    "xbar.hw.bands": ("chip_bands", "ledger_bands"),
    "xbar.hw.cells.device": ("Device",),
    "xbar.hw.chip.chips": ("ChipsPlacement", "place_chips"),
    "xbar.hw.chip.description": ("Chip",),
    "xbar.hw.chip.files": ("device_names", "load_chip", "load_device", "preset_names", "silicon_names"),
    "xbar.hw.chip.placement": ("Placement", "place"),
    "xbar.hw.errors": (
        "BufferCapacityError", "CapacityError", "ConfigurationError", "ConvergenceError", "HardwareError", "MappingError",
        "MissingComponentError", "ParameterError", "TraceError",
    ),
    "xbar.hw.events.arrivals": ("Arrivals",),
    "xbar.hw.events.chips": ("simulate_chips",),
    "xbar.hw.events.chips_ledger": ("ChipsLedger",),
    "xbar.hw.events.ledger": ("Ledger",),
    "xbar.hw.events.mapping_search": ("search_mapping",),
    "xbar.hw.events.simulator": ("simulate",),
    "xbar.hw.events.turns": ("serve_in_turns",),
    "xbar.hw.events.updates": ("Update",),
    "xbar.hw.graph.network": ("Network",),
    "xbar.hw.graph.trace": ("trace",),
}  # fmt: skip
_WHERE = {name: module for module, names in _FROM.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

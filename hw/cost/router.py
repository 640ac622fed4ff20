"""Routers of a network on chip, by flit width, ports, clock, node and voltage."""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import gate_leakage, scaling

# At 32 nm, 0.9 V, flits of 32 bits, through PUMA's two points: 4 ports 16.1 mW, 0.41 mW leakage, 0.047 mm²; 8 ports 51.5, 1.04,
# 0.116; the power is taken as a flit through every port each cycle of 1 GHz, 4.03 and 6.44 pJ a flit.
_BASE = 32e-9
_CROSSING = (51.5 / 8 - 16.1 / 4) / 4 / 32 * 1e-12  # [J] a bit and port of the switch
_BUFFER = 16.1 / 4 / 32 * 1e-12 - 4 * _CROSSING  # [J] a bit, written into a buffer and read
_SWITCH_AREA = (0.116 - 2 * 0.047) / 32 * 1e-6  # [m²] a port²
_PORT_AREA = 0.047e-6 / 4 - 4 * _SWITCH_AREA  # [m²] a port
_SWITCH_LEAKAGE = (1.04 - 2 * 0.41) / 32 * 1e-3  # [W] a port²
_PORT_LEAKAGE = 0.41e-3 / 4 - 4 * _SWITCH_LEAKAGE  # [W] a port
CYCLES = 3  # of a flit through a router that waits for no other: buffer, arbitration, switch; assumed


@law(
    cite="A. Ankit et al., ASPLOS 2019 (PUMA; of the kind of Orion)",
    read="puma-simulator a206f75; paper not opened",
    valid={"width": (8, 512), "ports": (2, 16), "clock": (1e6, 5e9), "node": (7e-9, 180e-9), "fast_share": (0.0, 1.0)},
)
def router(
    *, width: float, ports: float, clock: float, node: float, voltage: float | None = None, fast_share: float = 0.0
) -> Cost:
    """One bit through a router with flits of `width` bits; area and leakage are of the whole router.

    Buffers cost the same for each bit and grow with ports x width; a matrix switch's wires are ports x width long, so that a
    bit's energy grows with ports x width and the area with its square. Leakage reaches PUMA's at fast_share 1. Time is 3
    cycles. Band: ISAAC's router of 8 ports at 32 nm, 4.4 to 5.25 pJ a flit and 0.151 mm² (0.68 to 0.82, area 1.3). The clock
    has no part in energy and area. Not modelled: waiting for other flits (the event simulation does), virtual channels, depth
    of buffers.
    """
    words = width / 32
    moved, low_voltage = scaling(node, voltage, _BASE, None), scaling(node, None, _BASE, None)
    slower = gate_leakage(node, voltage, fast_share) / gate_leakage(_BASE, None, 1.0)
    return Cost(
        energy=(_BUFFER + _CROSSING * ports * words) * moved.energy,
        area=(_PORT_AREA * ports * words + _SWITCH_AREA * (ports * words) ** 2) * moved.area,
        leakage=(_PORT_LEAKAGE * ports * words + _SWITCH_LEAKAGE * (ports * words) ** 2) * slower,
        time=CYCLES / clock,
        energy_band=(0.5 * moved.low, 2.0 * moved.high),
        area_band=(0.5 * low_voltage.low, 2.0 * low_voltage.high),
    )

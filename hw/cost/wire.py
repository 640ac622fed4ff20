"""Buses of repeated wires, by width, length, node, voltage and activity."""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import Technology, gate_leakage, largest_up_to, technology

PITCH = 4  # [nodes] from wire to wire: twice the least of metal on a chip's lower layers; assumed


def repeaters(at: Technology) -> float:
    """Smallest inverters that the repeaters of one metre of wire amount to.

    What a repeated bus charges beyond its bare wire is the gate and drain of its repeaters, whose p-channel transistor is twice
    as wide as the n-channel one: 3 (gate + drain) for one node of width.
    """
    added = at.bus_energy / at.voltage**2 - at.wire_capacitance
    return added / (3 * (at.gate_capacitance + at.drain_capacitance))


@law(
    cite="P.-Y. Chen, X. Peng, S. Yu, IEEE TCAD 37, 2018 (NeuroSim V1.3)",
    read="values of a run; paper not opened",
    valid={
        "width": (1, 4096),
        "length": (1e-6, 0.03),
        "node": (7e-9, 180e-9),
        "activity": (0.0, 1.0),
        "fast_share": (0.0, 1.0),
    },
)
def bus(
    *, width: float, length: float, node: float, voltage: float | None = None, activity: float = 0.25, fast_share: float = 0.0
) -> Cost:
    """One bit moved along a bus of `width` wires and `length` [m]; area and leakage are of the whole bus.

    `activity` is the share of bits that differ from the one before (NeuroSim assumes 0.25). Time is the delay of the wire,
    which rises with a smaller node, since thin wires are slow. Band: ISAAC's and PUMA's buses of 384 wires at 32 nm, 85.5 and
    15.6 fJ a bit, whose length, not told, is taken as the side of ISAAC's tile, 0.61 mm (1.47 and 0.27; area 0.090 mm², 1.2).
    Not modelled: turns and branches, coupling between wires, low-swing signalling.
    """
    at = technology(node, voltage)

    def leakage(each: float) -> float:
        return repeaters(technology(each)) * gate_leakage(each, None, fast_share)

    return Cost(
        energy=at.bus_energy * length * activity,
        area=width * length * (PITCH * node + repeaters(technology(node)) * at.inverter_area),
        leakage=width * length * largest_up_to(node, leakage) * at.voltage / at.nominal_voltage,
        time=at.bus_delay * length,
        energy_band=(0.25, 2.0),
        area_band=(0.5, 2.0),
    )

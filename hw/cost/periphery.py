"""What stands between an array's bitlines and its converters: the multiplexer and the sample-and-hold.

Decoders and level shifters have no sourced figure of their own and no law.
"""

from math import log

from xbar.hw.cost.array import narrowest
from xbar.hw.cost.checks import whole
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import NODES, nominal_voltage, technology

KT = 1.380649e-23 * 300  # [J] at 300 K
LOST = 0.25  # share of the cells' resistance that a switch may add: what NeuroSim allows an access transistor
HELD = 0.9765625e-15 / 0.9**2  # [F]: ISAAC's 0.01 mW over 1024 x 10 M/s at 32 nm, as a charge at 0.9 V
SIGNAL = 1.3  # [V] largest signal that is held, the supply of 130 nm; assumed
HELD_AREA = 0.0390625e-12  # [m²]: ISAAC's 0.00004 mm² over 1024


def _held_capacitance(bits: float, node: float, voltage: float | None) -> float:
    """Capacitor [F] whose thermal noise is that of a step of `bits` bits (12 kT 4^bits / signal²), at least ISAAC's."""
    supply = nominal_voltage(node) if voltage is None else voltage
    return float(max(HELD * node / 32e-9, 12 * KT * 4**bits / min(supply, SIGNAL) ** 2))


@law(
    cite="A. Shafiee et al., ISAAC, ISCA 2016 (8 bits, 32 nm); kT/C noise against the rounding noise step²/12, textbook",
    read="ISAAC's Table I as transcribed",
    valid={"bits": (1, 14), "node": NODES},
)
def sample_hold(*, bits: float, node: float, voltage: float | None = None) -> Cost:
    """One sample of a bitline held for a converter of `bits`: C voltage², C such that kT/C is at most the rounding noise.

    The signal is taken to span the supply, at most 1.3 V. C is at least ISAAC's 1.2 fF x node/32 nm. 3.3 fJ and 0.13 µm² for 8
    bits at 32 nm, where ISAAC has 0.98 fJ and 0.039 µm²; band from ISAAC's to 4 times the energy (an amplifier's share,
    assumed) and 16 times the area (2 fF/µm² of a metal capacitor, from memory). Capacitance per area as ISAAC's, x 32 nm/node.
    NeuRRAM's 1.2 pJ a sample has its integrator and is in `integrating`. Not modelled: droop, leakage, time. Raises
    LawRangeError, and ParameterError where bits are not whole.
    """
    whole("sample_hold", "bits", bits)
    supply = nominal_voltage(node) if voltage is None else voltage
    capacitance = _held_capacitance(bits, node, voltage)
    area = HELD_AREA * capacitance / HELD * node / 32e-9
    return Cost(capacitance * supply**2, area, energy_band=(0.29, 4.0), area_band=(0.29, 16.0))


@law(
    cite="transmission gates of NeuroSim's transistors; loss as NeuroSim allows an access transistor",
    read="NeuroSim V1.3 388f421; the paper was not opened",
    valid={
        "columns": (1, 4096), "bits": (1, 14), "rate": (1e3, 1e10), "node": NODES, "wordlines": (1, 65536),
        "conductance": (0, 1),
    },
)  # fmt: skip
def multiplexer(
    *, columns: float, bits: float, rate: float, node: float, voltage: float | None = None, wordlines: float = 1,
    conductance: float = 0.0,
) -> Cost:  # fmt: skip
    """One converter's multiplexer over `columns` bitlines, a transmission gate each; one action connects one of them. 1 column:
    none.

    A gate is wide enough to charge the sampling capacitor of `bits` in 1/rate and, where the gates carry the columns' current
    themselves, to add no more than a quarter of the resistance of `wordlines` cells of mean `conductance` [S] (0 behind a
    sample-and-hold). Energy: one gate's three widths of gate capacitance x voltage²; area: 3 (W/F + 1) F² for each transistor,
    the PMOS twice as wide. No multiplexer that was built is at hand: the band is assumed. Not modelled: decoder, junctions of
    the gates that are off, leakage. Raises LawRangeError, and ParameterError where columns, wordlines or bits are not whole.
    """
    count, rows = whole("multiplexer", "columns", columns), whole("multiplexer", "wordlines", wordlines)
    whole("multiplexer", "bits", bits)
    if count == 1:
        return Cost(0.0, 0.0)
    known = technology(node, voltage)
    charged = log(2) * (bits + 1) * rate * _held_capacitance(bits, node, voltage)  # [S] least conductance of a gate
    width = max(narrowest(node, 1.0), technology(node).on_resistance * max(charged, rows * conductance / LOST))
    energy = 3 * width * known.gate_capacitance * known.voltage**2
    return Cost(energy, count * 3 * (3 * width + 2) * node**2, energy_band=(0.25, 4.0), area_band=(0.25, 4.0))

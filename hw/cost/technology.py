"""Transistors and wires of a technology node, and how a circuit's cost changes from one node and voltage to another.

Two sources. `technology` interpolates a table that NeuroSim V1.3 computes for low-standby-power transistors (P.-Y. Chen, X.
Peng, S. Yu, "NeuroSim", IEEE TCAD 2018; computed by running its code, the paper not opened). `scaling` follows A. Stillmaker
and B. Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm", Integration 58,
2017 (coefficients read through the package nodeScale 0676b74; paper not opened).

Between tabulated nodes everything is interpolated as a power of the node. Not modelled: temperature, process corners, several
threshold voltages in one circuit, and analog circuits, which gain less from a smaller node.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from xbar.hw.errors import LawRangeError

# node [nm], V_dd [V], gate and drain capacitance of a transistor one F wide [fF], its on resistance [kohm], smallest inverter:
# area [µm²], leakage [nW] of low-standby-power and of high-performance transistors; wire [ohm/µm]; repeated bus [fJ/(bit mm)]
# of a bit that toggles; its delay [ps/mm]. NeuroSim V1.3. The row of 180 nm is derived, not computed: voltage of the ITRS node,
# capacitance and leakage as the node, inverter area by Stillmaker and Baas (40/14), resistance of a wire as 1/node², bus energy
# as voltage², on resistance and delay of the bus as at 130 nm.
_TABLE = (
    (7, 0.70, 0.093, 0.013, 13.0, 0.0145, 0.0077, 7.6, 98.0, 178.0, 855.0),
    (14, 0.80, 0.087, 0.024, 19.0, 0.058, 0.0066, 6.6, 40.6, 269.0, 646.0),
    (22, 0.85, 0.0315, 0.031, 86.0, 0.103, 0.0043, 4.0, 13.3, 337.0, 493.0),
    (32, 0.90, 0.054, 0.045, 83.0, 0.218, 0.0072, 6.2, 6.56, 382.0, 465.0),
    (45, 1.00, 0.088, 0.064, 79.0, 0.43, 0.012, 9.8, 3.04, 476.0, 406.0),
    (65, 1.10, 0.156, 0.093, 75.0, 0.90, 0.019, 19.0, 1.43, 586.0, 363.0),
    (90, 1.20, 0.253, 0.131, 68.0, 1.72, 0.03, 32.0, 1.30, 693.0, 428.0),
    (130, 1.30, 0.414, 0.195, 51.0, 3.60, 0.05, 53.0, 0.45, 819.0, 293.0),
    (180, 1.80, 0.573, 0.270, 51.0, 10.3, 0.069, 73.0, 0.235, 1570.0, 293.0),
)
_TABLE_NODES = tuple(row[0] for row in _TABLE)
WIRE_CAPACITANCE = 2e-10  # [F/m]: NeuroSim's 0.2 fF/µm at every node

# node [nm]: E(V) = a V² + b V + c, relative; bulk transistors down to 65 nm, then the high-performance family.
_ENERGY = {
    7: (0.1776, -0.0910, 0.0245), 10: (0.2068, -0.0931, 0.0238), 14: (0.2363, -0.0968, 0.0224), 16: (0.2958, -0.1241, 0.0302),
    20: (0.373, -0.1582, 0.0410), 32: (0.8367, -0.4341, 0.1701), 45: (1.018, -0.3107, 0.1539), 65: (3.755, -4.398, 1.975),
    90: (4.762, -4.781, 2.092), 130: (7.171, -6.709, 2.904), 180: (0.0, 24.64, -17.98),
}  # fmt: skip
# node [nm]: delay = d3 V³ + d2 V² + d1 V + d0, relative. The fit of 20 nm is left out: at nominal voltage it is slower than
# that of 32 nm, the step between the families of bulk and of multi-gate models.
_DELAY = {
    7: (-28.58, 76.6, -70.26, 24.69), 10: (-34.95, 93.65, -85.99, 30.4), 14: (-40.66, 109.2, -100.6, 35.92),
    16: (0.0, 24.8, -47.52, 28.87), 32: (-1047.0, 2982.0, -2797.0, 873.5), 45: (-501.6, 1567.0, -1619.0, 566.1),
    65: (-53.3, 230.4, -333.9, 178.6), 90: (-60.34, 262.5, -384.2, 210.9), 130: (-76.65, 334.9, -493.4, 275.8),
    180: (0.0, 97.09, -356.7, 406.5),
}  # fmt: skip
# node [nm]: area relative to 32 nm
_AREA = {7: 0.13, 10: 0.22, 14: 0.38, 16: 0.41, 20: 0.46, 32: 1.0, 45: 2.2, 65: 3.3, 90: 6.1, 130: 14.0, 180: 40.0}

NODES = (7e-9, 180e-9)  # [m] smallest and largest node
# Alpha-power law (T. Sakurai and A. R. Newton, JSSC 25(2), 1990, from memory): delay ~ V / (V - THRESHOLD)^ALPHA. The threshold is
# fitted, one for all, on ratios of cycles of Wang VLSI 2022 (22 nm, 0.7, 1.0, 1.1 V: 1.513, 1, 0.912) and Sinangil JSSC 2021 (7 nm,
# 0.8, 1.0 V: 1, 0.818), both as digitised or printed in accelforge 1c1929c and CiMLoop d6e1390; it is within 3 % of all three.
ALPHA, THRESHOLD = 1.3, 0.32
LEAST_OVERDRIVE = 0.15  # [V] above the threshold, down to which the law is taken to hold; assumed
RELATIVE_VOLTAGE = (0.5, 1.45)  # of the nominal voltage; assumed: the supplies of measured compute-in-memory chips lie within
# band = exp(this * sqrt(|ln(node ratio)|)), as errors that add up step by step. Holds NeuroSim's adder and flip-flop at any two
# of 130 to 7 nm, without the flip-flop's energy at 14 nm, which is up to 2.2 times off (tested).
NODE_SPREAD = 0.7
VOLTAGE_EXPONENT = 1.0  # and (ratio of voltages relative to nominal)^this; assumed


@dataclass(frozen=True)
class Technology:
    """Transistors and wires at one node and logic voltage."""

    node: float  # [m]
    voltage: float  # [V]
    nominal_voltage: float  # [V]
    gate_capacitance: float  # [F] of a transistor as wide as the node
    drain_capacitance: float  # [F] of the same
    on_resistance: float  # [ohm] of the same, NMOS
    inverter_area: float  # [m²] of the smallest inverter
    inverter_leakage: float  # [W], low-standby-power transistors; NeuroSim's rise below 22 nm is doubtful
    fast_inverter_leakage: float  # [W], high-performance transistors
    wire_resistance: float  # [ohm/m]
    wire_capacitance: float  # [F/m]
    bus_energy: float  # [J/(bit m)] of a repeated bus's bit that toggles
    bus_delay: float  # [s/m] of a repeated bus


@dataclass(frozen=True)
class Scaling:
    """Factors from one node and voltage to another for the same digital circuit; low and high are the band of each factor."""

    energy: float
    area: float
    delay: float
    leakage: float
    low: float
    high: float


@lru_cache(maxsize=4096)
def technology(node: float, voltage: float | None = None) -> Technology:
    """The technology at `node` [m], 7 to 180 nm, and logic `voltage` [V], nominal where None.

    Energy of a bus follows voltage², leakage the voltage; on resistance and bus delay follow the delay of Stillmaker and Baas.
    Raises LawRangeError.
    """
    nominal, gate, drain, resistance, area, leakage, fast_leakage, wire, bus, bus_delay = _row(node)
    supply = _supply("technology", node, voltage)
    slower = _delay(node, supply / nominal) / _delay(node, 1.0)
    return Technology(
        node, supply, nominal, gate * 1e-15, drain * 1e-15, resistance * 1e3 * slower, area * 1e-12,
        leakage * 1e-9 * supply / nominal, fast_leakage * 1e-9 * supply / nominal, wire * 1e6, WIRE_CAPACITANCE,
        bus * 1e-12 * (supply / nominal) ** 2, bus_delay * 1e-9 * slower,
    )  # fmt: skip


def nominal_voltage(node: float) -> float:
    """Nominal logic voltage [V] at `node` [m]; raises LawRangeError."""
    return _row(node)[0]


def voltage_range(node: float) -> tuple[float, float]:
    """Lowest and highest logic voltage [V] that laws take at `node` [m]; raises LawRangeError."""
    nominal = nominal_voltage(node)
    return RELATIVE_VOLTAGE[0] * nominal, RELATIVE_VOLTAGE[1] * nominal


@lru_cache(maxsize=4096)
def gate_leakage(node: float, voltage: float | None = None, fast_share: float = 0.0) -> float:
    """Leakage [W] of the smallest inverter where `fast_share` of the gates are of high-performance transistors, for laws.

    It is the largest value of any node up to `node`: NeuroSim's table has a minimum at 22 nm and a rise below that its authors
    do not explain, and a law must not promise less leakage from a larger node.
    """
    relative = _supply("gate_leakage", node, voltage) / nominal_voltage(node)
    slow = largest_up_to(node, lambda each: technology(each).inverter_leakage)
    fast = largest_up_to(node, lambda each: technology(each).fast_inverter_leakage)
    return ((1 - fast_share) * slow + fast_share * fast) * relative


def largest_up_to(node: float, of: Callable[[float], float]) -> float:
    """The largest of `of` at `node` [m] and at the smaller nodes of the table: what never falls with a larger node."""
    return max(of(each) for each in (*(each * 1e-9 for each in _TABLE_NODES if each * 1e-9 < node), node))


@lru_cache(maxsize=4096)
def scaling(node: float, voltage: float | None, from_node: float, from_voltage: float | None) -> Scaling:
    """What the costs of a digital circuit at `from_node` [m] and `from_voltage` [V] are multiplied by at `node` and
    `voltage`.

    Energy, area and delay by Stillmaker and Baas: bulk transistors down to 65 nm and high-performance ones below, never the
    low-power family, so that no step of the family comes in at 20 nm. At another than the nominal voltage the fits of the two
    neighbouring nodes are taken at the same share of their nominal voltages. Where a fit turns (below its least energy, above
    its least delay), its extreme value holds. Leakage: `gate_leakage`. None is the nominal voltage. Raises LawRangeError.
    """
    to, source = _supply("scaling", node, voltage), _supply("scaling", from_node, from_voltage, "from_")
    here, there = to / nominal_voltage(node), source / nominal_voltage(from_node)
    band = math.exp(NODE_SPREAD * math.sqrt(abs(math.log(node / from_node))) + VOLTAGE_EXPONENT * abs(math.log(here / there)))
    return Scaling(
        energy=_energy(node, here) / _energy(from_node, there),
        area=area_ratio(node) / area_ratio(from_node),
        delay=_delay(node, here) / _delay(from_node, there),
        leakage=gate_leakage(node, to) / gate_leakage(from_node, source),
        low=1 / band,
        high=band,
    )


def cycle_ratio(voltage: float, at: float) -> float:
    """How much longer a cycle of mixed circuits (array, converter, logic) takes at supply `voltage` [V] than `at` [V].

    The alpha-power law with one threshold voltage of 0.32 V for all nodes, fitted at 7 and 22 nm (ALPHA, THRESHOLD). Unlike `scaling`,
    whose delay is of logic at one node, it goes on falling above the nominal voltage, as measured cycles do. Not modelled: other
    thresholds, parts of the cycle that do not follow the supply. Raises LawRangeError below 0.47 V and above 2 V.
    """
    for each in (voltage, at):
        if not THRESHOLD + LEAST_OVERDRIVE <= each <= 2:
            raise LawRangeError("cycle_ratio", "voltage", each, (THRESHOLD + LEAST_OVERDRIVE, 2.0), "V")
    ratio: float = voltage / at * ((at - THRESHOLD) / (voltage - THRESHOLD)) ** ALPHA
    return ratio


@lru_cache(maxsize=4096)
def area_ratio(node: float) -> float:
    """Area of a circuit at `node` [m] over its area at 32 nm (Stillmaker and Baas)."""
    _row(node)
    return interpolate(node, tuple(_AREA), tuple(_AREA.values()))


def interpolate(node: float, nodes: Sequence[float], values: Sequence[float]) -> float:
    """The value at `node` [m] from positive `values` at rising `nodes` [nm]: a power of the node between two neighbours.

    Beyond the ends the last piece goes on; the caller widens its band there.
    """
    above = min(max(bisect_left(nodes, node * 1e9), 1), len(nodes) - 1)
    low, high = nodes[above - 1], nodes[above]
    share = math.log(node * 1e9 / low) / math.log(high / low)
    return values[above - 1] * (values[above] / values[above - 1]) ** share


@lru_cache(maxsize=4096)
def _row(node: float) -> tuple[float, ...]:
    """Every column of the table at `node` [m], in the table's units."""
    if not NODES[0] * (1 - 1e-12) <= node <= NODES[1] * (1 + 1e-12):  # 7 * 1e-9 is not quite 7e-9; nan too
        raise LawRangeError("technology", "node", node, NODES, "nm", 1e-9)
    return tuple(interpolate(node, _TABLE_NODES, column) for column in list(zip(*_TABLE, strict=True))[1:])


def _supply(name: str, node: float, voltage: float | None, prefix: str = "") -> float:
    """The voltage [V], nominal where None; raises LawRangeError where it is outside the range of `node`."""
    if voltage is None:
        return nominal_voltage(node)
    low, high = voltage_range(node)
    if not low <= voltage <= high:
        raise LawRangeError(name, f"{prefix}voltage", voltage, (low, high), "V")
    return voltage


def _energy(node: float, relative: float) -> float:
    """E(V) at `relative` times the nominal voltage, interpolated between nodes; not below the least energy of a fit."""

    def fit(each: int) -> float:
        a, b, c = _ENERGY[each]
        supply = relative * nominal_voltage(each * 1e-9)
        supply = max(supply, -b / (2 * a)) if a else supply
        return a * supply**2 + b * supply + c

    return interpolate(node, tuple(_ENERGY), [fit(each) for each in _ENERGY])


def _delay(node: float, relative: float) -> float:
    """Delay at `relative` times the nominal voltage, interpolated between nodes; never rising with the voltage."""

    def fit(each: int) -> float:
        d3, d2, d1, d0 = _DELAY[each]
        # The derivative's first root, or the inflection where it has none: a cubic that falls again later is no fit there.
        least = (-d2 + math.sqrt(max(d2**2 - 3 * d3 * d1, 0.0))) / (3 * d3) if d3 else -d1 / (2 * d2)
        supply = min(relative * nominal_voltage(each * 1e-9), least)
        return ((d3 * supply + d2) * supply + d1) * supply + d0

    return interpolate(node, tuple(_DELAY), [fit(each) for each in _DELAY])

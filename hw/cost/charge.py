"""What arrays of SRAM cells that compute in charge cost, and the drivers of their rows: no memristors, no conductance.

Two ways. `charge`: each computing bit sets a capacitor of its own, and the capacitors of a column share their charge; a cell of
several bits weighs them by a C-2C ladder. `discharge`: the read ports of 8T cells discharge a bitline by as much as inputs and
weights tell; bitlines of a cell of several bits are weighed by capacitors in powers of two. Rows are driven by `pulses` (one of
one bit, up to 2^bits - 1 that a counter tells) or by a `capacitive` DAC.

A computing unit may serve several stored rows in turn: of `wordlines` rows, `rows_at_once` compute together, and the
wordlines/rows_at_once rows of a unit share its capacitors, its extra transistors and its driver.

All energy is C V² of what is charged, V the supply of the logic. Two constants are fitted, for all chips together, on printed and
digitised figures of three that were measured: UNIT (Jia JSSC 2020, 65 nm: 9.7 pJ of array and row drivers a column of 2304 cells
at 0.85 V; Wang VLSI 2022, 22 nm: 40 % of 125 pJ for 64 x 16 products of 8 bits at 1.0 V) and OVERHEAD (array areas of both, 2.91 mm²
and 46 % of 0.124 mm², and 800 µm² of Sinangil JSSC 2021, 7 nm). Not modelled: how energy of `charge` follows the data, mismatch of
capacitors, decoders and write ports apart from OVERHEAD, power of references and clocks.
"""

from math import ceil, sqrt

from xbar.hw.cost.adc import AREA_EXPONENT
from xbar.hw.cost.array import NARROWEST, narrowest
from xbar.hw.cost.checks import whole
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.driver import CONVERSION
from xbar.hw.cost.law import law
from xbar.hw.cost.logic import Block, counter_block
from xbar.hw.cost.technology import NODES, Technology, gate_leakage, interpolate, technology

NEUROSIM = "P.-Y. Chen, X. Peng and S. Yu, NeuroSim, IEEE TCAD 2018 (V1.3 and V1.4: SRAM cells, transistors, wires)"
CHIPS = "H. Jia et al., JSSC 2020; M. Sinangil et al., JSSC 2021; H. Wang et al., VLSI 2022"
CHIPS_READ = (
    "the simulator's source, NeuroSim 388f421 and ac828e6; the chips' figures through CiMLoop d6e1390 and accelforge 1c1929c, parts of "
    "Jia's and all of Wang's digitised there; the papers were not opened"
)

# [F²] of a 6T cell by node [nm]: NeuroSim's 160 to 280 above 22 nm, here its middle, 300 at 14 nm and 600 at 7 nm
CELL_NODES, CELL_AREAS = (7, 14, 22, 180), (600.0, 300.0, 220.0, 220.0)
STORING, COMPUTING = 6, 2  # transistors of a stored bit, and what a computing bit has besides (8T)
OVERHEAD = 4.0  # area of an array over that of its bare cells; fitted: geometric mean of Jia 3.1, Wang 4.1 and Sinangil 5.0
UNIT = 2.2e-15  # [F] of a bit's capacitor; fitted, see above: Jia's array alone asks 3.4, Wang's 1.6
LADDER = 3  # unit capacitors a bit of a C-2C ladder: C and 2C; textbook
DENSITY = 2e-3  # [F/m²] of a metal capacitor, 2 fF/µm²; from memory
ENERGY_BAND, AREA_BAND = (0.4, 2.5), (0.55, 1.8)


def cell_area(node: float) -> float:
    """Area [m²] of a 6T SRAM cell at `node` [m] by NeuroSim's table; measured cells lie at 0.73 to 1.27 of it above 22 nm."""
    return interpolate(node, CELL_NODES, CELL_AREAS) * node**2


def _bare(node: float, stored: float, units: float) -> float:
    """Area [m²] of a computing bit with `stored` cells and `units` capacitors, without what surrounds the cells."""
    return cell_area(node) * (stored + COMPUTING / STORING) + units * UNIT / DENSITY


def pitch(node: float, stored: float = 1.0, units: float = 0.0) -> float:
    """Length of a line over one computing bit [m]: the root of its area."""
    return sqrt(_bare(node, stored, units))


def _transistor(known: Technology) -> tuple[float, float]:
    """Capacitance of gate and of drain of a cell's transistor [F], as wide as NeuroSim's and MNSIM's least access transistor."""
    widths = narrowest(known.node, NARROWEST)
    return widths * known.gate_capacitance, widths * known.drain_capacitance


def _ladder(cell_bits: float) -> int:
    return 1 if cell_bits == 1 else LADDER


def line_loads(node: float, *, cell_bits: float, stored: float, own_capacitor: bool) -> tuple[float, float, float]:
    """Capacitance over one computing bit of a row's and of a column's line [F], and resistance of either there [ohm].

    A row has a gate a bit. A column has the drains of as many read ports as it has stored bits (`discharge`), or the capacitor.
    """
    known = technology(node)
    units = _ladder(cell_bits) if own_capacitor else 0
    length, (gate, drain) = pitch(node, stored, units), _transistor(known)
    wire = known.wire_capacitance * length
    return wire + gate, wire + (units * UNIT if own_capacitor else stored * drain), known.wire_resistance * length


_LINES = (1, 65536)
_SRAM = {"wordlines": _LINES, "bitlines": _LINES, "node": NODES, "cell_bits": (1, 8), "rows_at_once": (0, 65536)}


def _counts(name: str, wordlines: float, bitlines: float, cell_bits: float, rows_at_once: float) -> tuple[int, int, int]:
    """Rows, bits of a row, and rows that share a computing unit."""
    rows, bits = whole(name, "wordlines", wordlines), whole(name, "bitlines", bitlines) * whole(name, "cell_bits", cell_bits)
    return rows, bits, ceil(rows / (whole(name, "rows_at_once", rows_at_once) or rows))


def _leakage(bits: float, node: float, voltage: float | None) -> float:
    """[W] of so many stored bits: an inverter's each, as CACTI's 0.020 nW a bit of 22 nm and 0.0225 of 65 nm are."""
    return bits * gate_leakage(node, voltage)


@law(cite=f"C V²; {CHIPS}; {NEUROSIM}", read=CHIPS_READ, valid=_SRAM)
def charge(
    *, wordlines: float, bitlines: float, node: float, voltage: float | None = None, cell_bits: float = 1, rows_at_once: float = 0
) -> Cost:
    """One read of all wordlines of an SRAM array with a capacitor (8T1C) or, of several bits a cell, a C-2C ladder a computing bit.

    Energy: every computing bit once a read x voltage²: its capacitors of 2.2 fF each (fitted; the share of them that data charge is
    in it), the wire over it, gate and drain of its two extra transistors, and a drain for each further stored bit. Area: 4.0
    (fitted) times the bare cells, and the capacitors at 2 fF/µm². Band of energy: assumed, about as wide as unit capacitors are
    (accelforge's model of the three chips takes 0.5 to 6.5 times its own cell capacitance). Band of area: the spread of SRAM cells,
    160 to 280 of 220 F², and of OVERHEAD over the three chips, 3.1 to 5.0. Raises LawRangeError, and ParameterError where counts are
    not whole.
    """
    rows, bits, stored = _counts("charge", wordlines, bitlines, cell_bits, rows_at_once)
    known, units = technology(node, voltage), _ladder(cell_bits)
    gate, drain = _transistor(known)
    capacitance = units * UNIT + known.wire_capacitance * pitch(node, stored, units) + COMPUTING * (gate + drain) + (stored - 1) * drain
    computing = bits * (whole("charge", "rows_at_once", rows_at_once) or rows)
    area = computing * (OVERHEAD * _bare(node, stored, 0) + units * UNIT / DENSITY)
    return Cost(
        stored * computing * capacitance * known.voltage**2, area, _leakage(stored * computing, node, voltage),
        energy_band=ENERGY_BAND, area_band=AREA_BAND,
    )  # fmt: skip


@law(cite=f"C V²; {CHIPS}; {NEUROSIM}", read=CHIPS_READ, valid={**_SRAM, "mean_code": (0, 1)})
def discharge(
    *, wordlines: float, bitlines: float, node: float, voltage: float | None = None, cell_bits: float = 1, rows_at_once: float = 0,
    mean_code: float = 0.5,
) -> Cost:  # fmt: skip
    """One read of all wordlines of an 8T SRAM array, whose bitlines are discharged in proportion to the sum of inputs x weights.

    mean_code: mean of an input's code over the largest; weights count as ones half of the time. A bitline, all rows' drains and
    wire, and where cells have several bits 2^bits - 1 unit capacitors a cell column that weigh them, swing by the supply at the
    largest sum: C V² mean_code/2. The area has these capacitors besides the cells as of `charge`. Bands as of `charge`. Raises
    LawRangeError, and ParameterError where counts are not whole.
    """
    rows, bits, reads = _counts("discharge", wordlines, bitlines, cell_bits, rows_at_once)
    known = technology(node, voltage)
    _, line, _ = line_loads(node, cell_bits=cell_bits, stored=1, own_capacitor=False)
    weighing = bits / cell_bits * (2**cell_bits - 1) * UNIT if cell_bits > 1 else 0.0
    energy = reads * (bits * rows * line + weighing) * known.voltage**2 * mean_code / 2
    area = OVERHEAD * rows * bits * _bare(node, 1, 0) + weighing / DENSITY
    return Cost(energy, area, _leakage(rows * bits, node, voltage), energy_band=ENERGY_BAND, area_band=AREA_BAND)


FAN_OUT = 1 / 3  # stages of a driver over their load, each a quarter of the next: 1/4 + 1/16 + ...; textbook


@law(
    cite=f"C V²; {NEUROSIM}",
    read="NeuroSim 388f421 and values of a run of hwcomponents-neurosim 1.0.43; the paper was not opened",
    valid={
        "bits": (1, 8), "bitlines": _LINES, "node": NODES, "cell_bits": (1, 8), "stored": (1, 65536), "capacitors": (0, 8),
        "activity": (0, 1), "mean_code": (0, 1),
    },
)  # fmt: skip
def pulses(
    *, bits: float, bitlines: float, node: float, voltage: float | None = None, cell_bits: float = 1, stored: float = 1,
    capacitors: float = 0, activity: float = 1.0, mean_code: float = 0.5,
) -> Cost:  # fmt: skip
    """One drive of a row of SRAM cells by as many pulses as its input code of `bits` says, full swings of the supply.

    A pulse charges the row, gates and wire over `bitlines` cells of `cell_bits`, and stages of a third of that. Of several bits a
    synchronous counter tells the pulses (`logic.counter_block`): where the code is not 0 (`activity`) it counts 2^bits - 1 clocks.
    mean_code: mean code over the largest. stored, capacitors: as the array has them a bit, which make the row longer. Bands: assumed,
    those of registers and adders, wider where counters of published macros are not known; Sinangil's, calibrated, is 0.36 of the
    energy. Not modelled: level shifters, what clocks the counters. Raises LawRangeError, and ParameterError where counts are not
    whole.
    """
    known = technology(node, voltage)
    columns = whole("pulses", "bitlines", bitlines) * whole("pulses", "cell_bits", cell_bits)
    largest = 2 ** whole("pulses", "bits", bits) - 1
    gate, _ = _transistor(known)
    line = columns * (known.wire_capacitance * pitch(node, stored, capacitors) + gate)
    counter = counter_block(bits, largest) if bits > 1 else Block()
    counted = counter.cost(1.0, node, voltage, 0.0, (1.0, 1.0), (1.0, 1.0)).energy
    energy = mean_code * largest * line * (1 + FAN_OUT) * known.voltage**2 + activity * counted
    inverters = line * FAN_OUT / (3 * known.gate_capacitance) + counter.inverters
    return Cost(
        energy, max(1.0, inverters) * known.inverter_area, max(1.0, inverters) * gate_leakage(node, voltage),
        energy_band=(0.3, 2.0), area_band=(0.4, 4.0),
    )  # fmt: skip


# 8 bits at 28 nm: Wang's 30 % of 0.124 mm² over 64 are 671 µm² there by node^0.6 (`adc.AREA_EXPONENT`), the DAC of Chen's chip as
# Brahms takes it, 438 µm² at 40 nm, is 354. Geometric mean; growth with bits as of a SAR's.
DAC_AREA_8, AREA_BIT = 487e-12, 2 * 10**-0.0369


@law(
    cite="ZigZag-IMC (energy of a capacitive DAC); H. Wang et al., VLSI 2022, and Brahms (area)",
    read="zigzag-imc df34a6f; Wang through accelforge 1c1929c, digitised; hwcomponents-library 8b56f7e; the papers were not opened",
    valid={"bits": (1, 8), "bitlines": _LINES, "node": NODES, "cell_bits": (1, 8), "stored": (1, 65536), "capacitors": (0, 8)},
)
def capacitive(
    *, bits: float, bitlines: float, node: float, voltage: float | None = None, cell_bits: float = 1, stored: float = 1,
    capacitors: float = 0,
) -> Cost:  # fmt: skip
    """One drive of a row of computing bits by a capacitive (C-2C or charge-redistribution) DAC of `bits`.

    Energy: (50 fF bits node/28 nm + wire and gates over the row, whose capacitors are the array's) voltage². Area: 487 µm²
    (node/28 nm)^0.6 1.84^(bits - 8), fitted on Wang's and Brahms's, which lie at 1.38 and 0.73 of it. Band of energy: Brahms's
    0.291 pJ at 40 nm, 0.46, to twice, assumed. TIMELY's time-domain DAC, 240 µm² at 65 nm, lies outside. Not modelled: a buffer.
    Raises LawRangeError, and ParameterError where counts are not whole.
    """
    known = technology(node, voltage)
    columns = whole("capacitive", "bitlines", bitlines) * whole("capacitive", "cell_bits", cell_bits)
    gate, _ = _transistor(known)
    line = columns * (known.wire_capacitance * pitch(node, stored, capacitors) + gate)
    energy = (CONVERSION * whole("capacitive", "bits", bits) * node / 28e-9 + line) * known.voltage**2
    area = DAC_AREA_8 * AREA_BIT ** (bits - 8) * (node / 28e-9) ** AREA_EXPONENT
    return Cost(energy, area, energy_band=(0.4, 2.0), area_band=(0.6, 1.7))

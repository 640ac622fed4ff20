"""What the drivers of an array's lines cost: a DAC of some bits, or pulses of some widths, with the stage that charges and feeds
its line; and the driver of a line that only switches cells on."""

from math import log

from xbar.hw.cost.array import drain_capacitance, gate_capacitance, line_resistance, settling_time
from xbar.hw.cost.checks import reachable_rate, whole
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.logic import counter_block
from xbar.hw.cost.technology import NODES, technology

CONVERSION = 50e-15  # [F] a bit at 28 nm: ZigZag-IMC's DAC
DAC_AREA = 0.166e-12  # [m²] ISAAC's 1-bit DAC at 32 nm; x 2^(bits - 1), with which MNSIM has 21.2 µm² for 8 bits
STAGE_AREA = 418e-12 / 128  # [m²] NeuroSim's row drivers at 32 nm: 418 µm² taken as all of a side of 128 rows
DROP = 0.1  # share of the read voltage that a driver may lose at its line's mean current; assumed


@law(
    cite="ZigZag-IMC (DAC energy), A. Shafiee et al., ISAAC, ISCA 2016 (1-bit DAC), NeuroSim 1.3 (row drivers, transistors), "
    "MNSIM 2.0 (area by bits)",
    read="zigzag-imc df34a6f, hwcomponents-neurosim 1.0.43, MNSIM-2.0 ca39ccb; ISAAC's Table I as transcribed",
    valid={
        "bits": (1, 8), "bitlines": (1, 65536), "rate": (1e3, 1e10), "node": NODES, "read_voltage": (0, 5),
        "on_resistance": (0, 1e9), "conductance": (0, 1), "cell_area": (0, 1e-8), "gates": (0, 1),
    },
)  # fmt: skip
def driver(
    *, bits: float, bitlines: float, rate: float, node: float, read_voltage: float, voltage: float | None = None,
    on_resistance: float = 0.0, conductance: float = 0.0, cell_area: float = 0.0, gates: float = 1.0,
) -> Cost:  # fmt: skip
    """One drive of one wordline of `bitlines` cells by an input slice of `bits`; `rate` drives a second set the time.

    Energy: (50 fF bits node/28 nm) voltage² of the DAC, the charge of the stage's own gates, of the line that switches the cells on at
    logic `voltage` and of the one that carries `read_voltage` (on_resistance, the cell's least [ohm], 0: no access transistor and
    no line that switches; gates 0: lines that switch have drivers of their own, `gate_line`). Every drive is charged as a full
    swing. The current that the cells take is the array's. Area: DAC 0.166 µm² 2^(bits - 1) and stage 3.27 µm², both x (node/32
    nm)², and a pair of transistors, the PMOS twice as wide, that settle the line to half a step in 1/rate and lose no more than 0.1
    of the read voltage, assumed, over the cells' mean `conductance` [S], 0 to leave that out.

    Bands hold ISAAC's 0.39 pJ and NeuroSim's 10.7 fJ, Yao's R2R of 4 bits, and ISAAC's 0.166 µm² and MNSIM's 13.5 µm² (in which
    no cell's conductance is counted). Outside: Brahms's 438 µm² (11 times) and TIMELY's time-domain DAC of 0.0375 pJ (0.03).
    Not modelled: leakage, level shifters, the amplifier of a multi-bit driver. Raises LawRangeError, also where the wires alone
    do not settle in 1/rate; ParameterError where bits or bitlines are not whole.
    """
    whole("driver", "bits", bits)
    cells = whole("driver", "bitlines", bitlines)
    known, geometry = technology(node, voltage), (node, on_resistance, cell_area)
    line = cells * drain_capacitance(*geometry)
    switching = cells * gate_capacitance(*geometry) * gates if on_resistance else 0.0
    wires = settling_time(bits=bits, cells=cells, resistance=line_resistance(*geometry), capacitance=(line + switching) / cells)
    reachable_rate("driver", rate, 1 / wires)
    settled = log(2) * (bits + 1) * (line + switching) * rate  # [S] least conductance of the stage
    fed = cells * conductance / DROP
    width = technology(node).on_resistance * max(settled, fed)  # node widths; at nominal voltage, for which it is built
    logic = CONVERSION * bits * node / 28e-9 + 3 * width * known.gate_capacitance  # [F]
    energy = (logic + switching) * known.voltage**2 + line * read_voltage**2
    area = (DAC_AREA * 2 ** (bits - 1) + STAGE_AREA) * (node / 32e-9) ** 2 + 3 * (3 * width + 2) * node**2
    return Cost(energy, area, energy_band=(0.1, 6.0), area_band=(0.04, 4.2))


MOST_CLOCK = 5e9  # [1/s] of a counter; assumed, as of `xbar.hw.cost.logic`


@law(
    cite=driver.law.cite + "; counter: NeuroSim 1.3 (flip-flop)",
    read=driver.law.read,
    valid={**driver.law.valid, "bits": (1, 10)},
)
def pulse_width(
    *, bits: float, bitlines: float, rate: float, node: float, read_voltage: float, voltage: float | None = None,
    on_resistance: float = 0.0, conductance: float = 0.0, cell_area: float = 0.0, gates: float = 1.0,
) -> Cost:  # fmt: skip
    """One drive of one wordline by a pulse as long as its code, up to 2^bits - 1 clocks in 1/rate.

    A synchronous counter a row (`logic.counter_block`), and the stage of `driver` of one bit, which charges its lines once. Band
    assumed: no such driver by itself is at hand; TIMELY's time-domain DAC (65 nm, 0.0375 pJ, simulated) lies far below. Not
    modelled: the clock's tree. Raises LawRangeError as `driver`, and where the clock, 2^bits rate, is above 5 GHz; ParameterError
    where bits are not whole.
    """
    clocks = 2 ** whole("pulse_width", "bits", bits)
    reachable_rate("pulse_width", rate, MOST_CLOCK / clocks)
    one = driver(
        bits=1, bitlines=bitlines, rate=rate, node=node, read_voltage=read_voltage, voltage=voltage, on_resistance=on_resistance,
        conductance=conductance, cell_area=cell_area, gates=gates,
    )  # fmt: skip
    counter = counter_block(bits, clocks).cost(1.0, node, voltage, 0.0, (1.0, 1.0), (1.0, 1.0))
    return Cost(one.energy + counter.energy, one.area + counter.area, energy_band=(0.1, 6.0), area_band=(0.04, 4.2))


STAGE = 48e-15  # [F] at 130 nm: NeuRRAM's driver of a wordline
# What a phase takes of a wordline's drives beyond those of its bits, in drives: least squares of relative errors on NeuRRAM's four
# published energies of wordlines, 6.44 fJ a bit + 2.55 fJ a phase and operation (within 0.2 %; each left out within 1.0 %).
PHASE_DRIVES = 0.396


@law(
    cite="W. Wan et al., NeuRRAM, Nature 2022 (driver's capacitance; drives a phase, fitted here); lines: NeuroSim 1.3",
    read="accelforge 1c1929c, energies read off the paper's figures; the papers were not opened",
    valid={
        "bitlines": (1, 65536), "rate": (1e3, 1e10), "node": NODES, "on_resistance": (1e2, 1e9), "cell_area": (0, 1e-8),
        "slices": (1, 24),
    },
)  # fmt: skip
def gate_line(
    *, bitlines: float, rate: float, node: float, on_resistance: float, voltage: float | None = None, cell_area: float = 0.0,
    slices: float = 1.0,
) -> Cost:  # fmt: skip
    """One switching of a line of `bitlines` gates on and off, with its share of what each phase of `slices` input slices takes besides.

    Energy (gates and wire + 48 fF node/130 nm) voltage² (1 + 0.396/slices). NeuRRAM's 3, 5, 7 and 9-bit results take 1.05 to 1.25
    of it at 1.8 V; the band holds them and is assumed beyond. Area: the stage of `driver` and a pair of transistors that charge
    the line in 1/rate. Not modelled: level shifters, decoder, leakage. Raises LawRangeError, and ParameterError where bitlines
    are not whole.
    """
    cells, known = whole("gate_line", "bitlines", bitlines), technology(node, voltage)
    line = cells * gate_capacitance(node, on_resistance, cell_area) + STAGE * node / 130e-9
    width = technology(node).on_resistance * log(2) * 2 * line * rate
    parts = {"bit": (line + 3 * width * known.gate_capacitance) * known.voltage**2}
    parts["phase"] = parts["bit"] * PHASE_DRIVES / slices
    area = STAGE_AREA * (node / 32e-9) ** 2 + 3 * (3 * width + 2) * node**2
    return Cost(sum(parts.values()), area, energy_band=(0.5, 2.0), area_band=(0.04, 4.2), energy_parts=parts)

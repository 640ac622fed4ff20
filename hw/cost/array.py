"""What an array of memristive cells costs: area by its cell, energy and time of a read; capacitance and resistance of its
lines.

A cell with a transistor (1T1R): its access transistor is as wide as the cell's resistance asks. A cell without one (0T1R) is
`crosspoint`. Conductances, voltages and times are those with which the array computes, so that a read takes what
`xbar.hw.array.energy` finds cell by cell. The charge of wordlines is the driver's (`xbar.hw.cost.driver`) and not counted here.
Not modelled: dummy rows, well taps, leakage of unselected cells, and what a wire's resistance takes away from a cell's voltage.
"""

from math import ceil, inf, log, sqrt

from xbar.hw.cost.checks import whole
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import NODES, technology
from xbar.hw.errors import ParameterError

NEUROSIM = "P.-Y. Chen, X. Peng and S. Yu, NeuroSim, IEEE TCAD 2018 (V1.3); L. Xia et al., MNSIM, IEEE TCAD 2018 (MNSIM 2.0)"
NEUROSIM_READ = "the programs' source: NeuroSim 388f421 and MNSIM-2.0 ca39ccb; the papers were not opened"

ACCESS = 0.8  # NeuroSim: width of the access transistor in node widths = 0.8 R_on of one node width / resistance of the cell
NARROWEST = 3.0  # node widths; MNSIM's 12 F² of a cell is 3 (3 + 1) F²
LAID_OUT, CROSSPOINT = 48.0, 4.0  # [F²] NeuroSim's 1T1R cell of 4 F x 12 F, and its cell without a transistor
LARGEST_SILICON = 200.0  # [F²]: Liu 2020 has 3.38 µm² at 130 nm; NeuRRAM's 2.13 µm² are 126 F²
PLANAR = 22e-9  # [m] below it the table of transistors is of fins, which conduct more per node width


def narrowest(node: float, widths: float) -> float:
    """Width [node widths] of a least transistor that has `widths` down to 22 nm, and below conducts as that one at 22 nm."""
    if node < PLANAR:
        return widths * technology(node).on_resistance / technology(PLANAR).on_resistance
    return widths


def access_width(node: float, on_resistance: float) -> float:
    """Width of a cell's access transistor [node widths] for a cell of least resistance `on_resistance` [ohm].

    0.8 R_on/on_resistance (NeuroSim), but at least 3, MNSIM's smallest (see `narrowest`).
    """
    return max(narrowest(node, NARROWEST), ACCESS * technology(node).on_resistance / on_resistance)


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"node": NODES, "on_resistance": (1e2, 1e9)})
def cell(*, node: float, on_resistance: float) -> Cost:
    """Area of a 1T1R cell of least resistance `on_resistance` [ohm]: NeuroSim's 48 F², or 3 (W/F + 1) F² where that is more.

    Band: from 3 (W/F + 1) F², without NeuroSim's room for contacts, to the 200 F² of the largest published cell. Two-transistor
    cells are two of these. Energy is 0: a cell takes it as part of an array.
    """
    tight = 3 * (access_width(node, on_resistance) + 1)
    taken = max(LAID_OUT, tight)
    return Cost(0.0, taken * node**2, area_band=(tight / taken, max(1.0, LARGEST_SILICON / taken)))


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"node": NODES})
def crosspoint_cell(*, node: float) -> Cost:
    """Area of a cell between two crossing wires without a transistor, 4 F²; band to 4 times, assumed: wires at twice the pitch.
    """
    return Cost(0.0, CROSSPOINT * node**2, area_band=(1.0, 4.0))


def _cell(node: float, on_resistance: float, cell_area: float) -> Cost:
    """The cell: of `cell_area` [m²] where that is not 0, else by law; without a transistor where on_resistance is 0."""
    if cell_area:
        return Cost(0.0, cell_area)
    return cell(node=node, on_resistance=on_resistance) if on_resistance else crosspoint_cell(node=node)


def wire_capacitance(node: float, on_resistance: float, cell_area: float = 0.0) -> float:
    """Capacitance of a line's wire over one cell [F]: 0.2 fF/µm (NeuroSim) over the square root of the cell's area.

    `cell_area` [m²]: 0 for the cell of the law; on_resistance 0: without a transistor. As of the next two functions.
    """
    return technology(node).wire_capacitance * sqrt(_cell(node, on_resistance, cell_area).area)


def gate_capacitance(node: float, on_resistance: float, cell_area: float = 0.0) -> float:
    """Capacitance of a wordline that switches cells on, per cell [F]: wire and gate of the access transistor.

    Measured: NeuRRAM (130 nm) 1.5 fF of a gate and 0.6 fF of coupling; here 1.24 fF and 0.18 fF.
    """
    gate = access_width(node, on_resistance) * technology(node).gate_capacitance if on_resistance else 0.0
    return wire_capacitance(node, on_resistance, cell_area) + gate


def drain_capacitance(node: float, on_resistance: float, cell_area: float = 0.0) -> float:
    """Capacitance of a bitline or source line per cell [F]: wire and drain of the access transistor."""
    drain = access_width(node, on_resistance) * technology(node).drain_capacitance if on_resistance else 0.0
    return wire_capacitance(node, on_resistance, cell_area) + drain


def line_resistance(node: float, on_resistance: float, cell_area: float = 0.0) -> float:
    """Resistance of a line over one cell [ohm]: a wire as NeuroSim's at that node over the square root of the cell's area."""
    return technology(node).wire_resistance * sqrt(_cell(node, on_resistance, cell_area).area)


def settling_time(
    *, bits: float, cells: float, resistance: float, capacitance: float, driver_resistance: float = 0.0,
    conductance: float = 0.0,
) -> float:  # fmt: skip
    """Time [s] in which the far end of a line of `cells` cells is within half a step of `bits` bits of its last value.

    ln 2 (bits + 1) R N c with R = driver_resistance + N r/2: one time constant, the sum of resistance before each capacitance
    (Elmore 1948) but for one of N cells; textbook. r [ohm] and c [F] are per cell. `conductance` [S], mean of a cell, is a load
    that holds the line's other side: R is then parallel to the N cells', which a line that droops much exceeds. Exact for
    N r << driver_resistance; without a driver up to a fifth above the exact time (tested on ladders).
    Raises ParameterError for what is negative or no number.
    """
    given = (bits, cells, resistance, capacitance, driver_resistance, conductance)
    if not all(0 <= each < inf for each in given):
        raise ParameterError("settling_time: every number must be finite and at least 0")
    source = driver_resistance + cells * resistance / 2
    return log(2) * (bits + 1) * source / (1 + source * cells * conductance) * cells * capacitance


_LINES = (1, 65536)
_READ = {
    "wordlines": _LINES, "bitlines": _LINES, "node": NODES, "conductance": (0, 1), "read_voltage": (0, 5), "read_time": (0, 1),
    "activity": (0, 1), "mean_square": (0, 1), "rows_at_once": (0, 65536), "swing": (0, 5), "cell_area": (0, 1e-8),
    "fed_at": (0, 5), "mean_code": (0, 1),
}  # fmt: skip
READ_CITE = "Joule's law V² G t; cells and lines: " + NEUROSIM


@law(cite=READ_CITE, read=NEUROSIM_READ, valid={**_READ, "on_resistance": (1e2, 1e9)})
def array(
    *, wordlines: float, bitlines: float, node: float, on_resistance: float, conductance: float, read_voltage: float,
    read_time: float, activity: float = 1.0, mean_square: float = 1.0, rows_at_once: float = 0, swing: float = 0.0,
    cell_area: float = 0.0, fed_at: float = 0.0, mean_code: float | None = None,
) -> Cost:  # fmt: skip
    """One read of all wordlines of an array of 1T1R cells: V² G t of cells on driven wordlines, and charge of bitlines that
    swing.

    conductance: mean of a cell [S], its current at read_voltage over that; activity: share of the wordlines that are driven;
    mean_square: of the driven ones' code
    over the largest code, squared; read_voltage [V] of the largest code, for read_time [s]. rows_at_once: wordlines that a
    partial read takes, 0 for all; the others follow in turn, each partial read of `read_time`, and each charges the bitlines
    anew by `swing` [V] (0 for a virtual ground). Cost.time is all partial reads. cell_area [m²]: 0 for the area of law `cell`.
    fed_at [V]: the supply that the cells' current comes from, through a source follower, a clamp or a mirror: then V_fed V G t,
    charge times supply (0: from the read voltage itself). mean_code: of all wordlines' codes over the largest, where a cell takes in
    proportion to the code, as with fed_at or where codes are widths of pulses; it stands for activity x mean_square.

    The energy is that of `xbar.hw.array.energy` where conductances and codes are independent (exact for equal codes); it has no
    band of its own. ISAAC's array takes 1.5 F² a cell, less than any cell here, and 1.83 fJ a cell and read. Raises
    LawRangeError, and ParameterError where lines are not whole.
    """
    rows, columns = whole("array", "wordlines", wordlines), whole("array", "bitlines", bitlines)
    at_once = whole("array", "rows_at_once", rows_at_once) or rows
    reads = ceil(rows / at_once)
    driven = activity * mean_square if mean_code is None else mean_code
    of_cells = rows * columns * driven * read_voltage * max(fed_at, read_voltage) * conductance * read_time
    of_lines = reads * columns * rows * drain_capacitance(node, on_resistance, cell_area) * swing**2
    one = _cell(node, on_resistance, cell_area)
    return Cost(of_cells + of_lines, rows * columns * one.area, time=reads * read_time, area_band=one.area_band)


@law(cite=READ_CITE, read=NEUROSIM_READ, valid=_READ)
def crosspoint(
    *, wordlines: float, bitlines: float, node: float, conductance: float, read_voltage: float, read_time: float,
    activity: float = 1.0, mean_square: float = 1.0, rows_at_once: float = 0, swing: float = 0.0, cell_area: float = 0.0,
    fed_at: float = 0.0, mean_code: float | None = None,
) -> Cost:  # fmt: skip
    """As `array`, of cells without a transistor (4 F² where cell_area is 0). Currents through undriven cells are not modelled.
    """
    rows, columns = whole("crosspoint", "wordlines", wordlines), whole("crosspoint", "bitlines", bitlines)
    one = _cell(node, 0.0, cell_area)
    read = array(
        wordlines=rows, bitlines=columns, node=node, on_resistance=1e9, conductance=conductance, read_voltage=read_voltage,
        read_time=read_time, activity=activity, mean_square=mean_square, rows_at_once=rows_at_once, cell_area=one.area, fed_at=fed_at,
        mean_code=mean_code,
    )  # fmt: skip
    reads = ceil(rows / (int(rows_at_once) or rows))
    of_lines = reads * columns * rows * wire_capacitance(node, 0.0, cell_area) * swing**2
    return Cost(read.energy + of_lines, read.area, time=read.time, area_band=one.area_band)


# PUMA writes a 128 x 128 array row by row with 676 nJ: 41 pJ a cell. NeuroSim gives 0.606 pJ a cell at 32 nm.
CELL_WRITE = 676e-9 / 128**2


@law(
    cite="A. Ankit et al., PUMA, ASPLOS 2019; low end of the band: NeuroSim 1.3",
    read="puma-simulator a206f75; hwcomponents-neurosim 1.0.43; the papers were not opened",
    valid={"wordlines": _LINES, "bitlines": _LINES},
)
def write(*, wordlines: float, bitlines: float) -> Cost:
    """Energy of writing an array once, cell by cell: a reference of size for any node and device; time and area are not
    modelled.

    Pulses, verification and what the device's states ask are all in the one figure, hence a band from NeuroSim's 0.606 pJ a
    cell to twice PUMA's 41 pJ (the upper end assumed).
    """
    cells = whole("write", "wordlines", wordlines) * whole("write", "bitlines", bitlines)
    return Cost(cells * CELL_WRITE, 0.0, energy_band=(0.606e-12 / CELL_WRITE, 2.0))

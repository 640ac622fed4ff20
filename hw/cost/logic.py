"""Digital logic: adders, registers, multipliers and what is put together from them, by bits, rate, node and voltage.

One base for all. Energies and areas of adder and flip-flop are NeuroSim's at 130 to 7 nm (low-standby-power transistors,
activity 0.25, a model that NeuroSim calibrates on layouts; 90 nm left out, its values being anomalous); a multiplier is
Horowitz's at 45 nm ("Computing's energy problem", ISSCC 2014; energies second-hand, areas from memory), counted in NeuroSim's
adders and inverters, so that every block follows a node alike. A block is a number of adder bits, flip-flops and smallest
inverters.

A unit that must begin an action every 1/rate seconds while its gates need longer is cut by pipeline registers, one set for each
further 1/rate (a share of a set for a share, so that costs have no steps). Two things end that: no stage is shorter than the
two gates of one bit, and below the node's nominal voltage there are no more stages than at it. Where these do not reach the
rate, copies of the unit take turns (again by shares), whose area and leakage count, while an action takes one copy's energy:
what parallel units at a lower voltage are for (A. P. Chandrakasan et al., IEEE JSSC 27(4), 1992; from memory, paper not opened).
Gates: a NAND2 of 28 nm takes 47.8 ps (zigzag-imc
df34a6f), other nodes and voltages by `technology.scaling`. Time is that of the gates, to which the registers of a pipeline add
nothing. Not modelled: faster adders than the ripple carry, the clock tree, control, wires between blocks, what leads actions to
copies, and an activity other than NeuroSim's. `fast_share`, 0 to 1, is the share of gates of
high-performance transistors, whose leakage is about 1000 times the others'.
"""

import math
from dataclasses import dataclass, replace

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import NODES, gate_leakage, interpolate, scaling, technology

NEUROSIM = "P.-Y. Chen, X. Peng, S. Yu, IEEE TCAD 37, 2018 (NeuroSim)"
NEUROSIM_READ = "values of a run of hwcomponents-neurosim 1.0.43; paper not opened"
ALADDIN = "Y. S. Shao et al., ISCA 2014 (Aladdin)"
PUMA = "A. Ankit et al., ASPLOS 2019 (PUMA)"
PUMA_READ = "puma-simulator a206f75; paper not opened"
HOROWITZ = "M. Horowitz, ISSCC 2014 (Computing's energy problem)"
HOROWITZ_READ = "energies second-hand, areas from memory; paper not opened"

_NODES = (7, 14, 22, 32, 45, 65, 130)  # [nm]
_ADDER = tuple(each / 8 * 1e-15 for each in (2.4, 5.9, 8.6, 16.0, 32.0, 69.0, 254.0))  # [J] a bit
_REGISTER = tuple(each / 8 * 1e-15 for each in (6.7, 17.5, 20.0, 38.0, 75.0, 156.0, 570.0))  # [J] a bit
ADDER_INVERTERS = 109 / 8  # smallest inverters that an adder's bit takes the area of: 107 to 110 for 8 bits at every node
REGISTER_INVERTERS = 96 / 8  # the same for a flip-flop
_MULTIPLIER_ADDERS = 0.2e-12 / 32e-15 * 8  # adder bits of the energy of 8 x 8 bits at 45 nm: Horowitz's 0.2 pJ
_MULTIPLIER_INVERTERS = 282 / 0.43  # Horowitz's 282 µm² over NeuroSim's smallest inverter, 45 nm
_ENERGY_EXPONENT = math.log(3.1 / 0.2) / math.log(16)  # of bits x bits: from 8 x 8 to 32 x 32
_AREA_EXPONENT = math.log(3495 / 282) / math.log(16)
GATE_DELAY, GATE_NODE = 47.8e-12, 28e-9  # [s], [m]
BIT_DEPTH = 2  # NAND2 delays in series of one bit of an adder, the least of a pipeline stage

RATE = (1.0, 5e9)
COMMON = {"node": NODES, "rate": RATE, "fast_share": (0.0, 1.0)}


@dataclass(frozen=True)
class Block:
    """Gates in numbers that no node changes."""

    adders: float = 0.0  # adder bits with the same energy
    registers: float = 0.0  # flip-flops, energy and area
    clocked: float = 0.0  # energies of a flip-flop at NeuroSim's activity, beyond one a register
    inverters: float = 0.0  # smallest inverters with the same area, registers not among them
    depth: float = 0.0  # NAND2 delays in series
    cut: float = 0.0  # bits that a pipeline register holds

    def __add__(self, after: "Block") -> "Block":
        """Both, one after the other."""
        return Block(
            self.adders + after.adders,
            self.registers + after.registers,
            self.clocked + after.clocked,
            self.inverters + after.inverters,
            self.depth + after.depth,
            max(self.cut, after.cut),
        )

    def cost(
        self,
        rate: float,
        node: float,
        voltage: float | None,
        fast_share: float,
        energy_band: tuple[float, float],
        area_band: tuple[float, float],
        from_node: float | None = None,
    ) -> Cost:
        """Cost of one action each 1/rate; time is that of one action's gates.

        The bands are those at the base, widened by what `scaling` adds from `from_node`, the nearest of NeuroSim's nodes where
        None.
        """
        base = from_node or min(max(node, 7e-9), 130e-9)
        spread = scaling(node, voltage, base, None)
        area_spread = scaling(node, None, base, None)
        gates, slowest = self.depth * GATE_DELAY, scaling(node, None, GATE_NODE, None).delay
        time = gates * scaling(node, voltage, GATE_NODE, None).delay
        stages = max(1.0, min(min(time, gates * slowest) * rate, self.depth / BIT_DEPTH))
        copies = max(1.0, time * rate / stages) if self.cut else 1.0
        registers = self.registers + (stages - 1) * self.cut
        nominal = self.adders * interpolate(node, _NODES, _ADDER) + (registers + self.clocked) * interpolate(node, _NODES, _REGISTER)
        inverters = copies * (self.inverters + registers * REGISTER_INVERTERS)
        return Cost(
            energy=nominal * scaling(node, voltage, node, None).energy,
            area=inverters * technology(node).inverter_area,
            leakage=inverters * gate_leakage(node, voltage, fast_share),
            time=time,
            energy_band=(energy_band[0] * spread.low, energy_band[1] * spread.high),
            area_band=(area_band[0] * area_spread.low, area_band[1] * area_spread.high),
        )


def adder_block(bits: float) -> Block:
    """A ripple-carry adder."""
    return Block(adders=bits, inverters=bits * ADDER_INVERTERS, depth=2 * bits, cut=bits)


def comparator_block(bits: float) -> Block:
    """0.3 of an adder's energy and 0.48 of its area, Aladdin's 29.5 fJ and 71 µm² of 32 bits, 40 nm; a tree, two gates a
    level."""
    return Block(adders=0.3 * bits, inverters=0.48 * bits * ADDER_INVERTERS, depth=2 * (1 + math.log2(bits)), cut=bits)


def maximum_block(bits: float) -> Block:
    """The larger of a word and what a register holds: comparator, register, two-way multiplexer (3 NAND2 a bit, derived)."""
    return comparator_block(bits) + Block(adders=0.15 * bits, registers=bits, inverters=3 * 2 * bits, depth=2, cut=bits)


def multiplier_block(bits: float, second_bits: float) -> Block:
    """An array multiplier; bits x bits in the power between Horowitz's 8 and 32 bits."""
    size = bits * second_bits / 64
    return Block(
        adders=_MULTIPLIER_ADDERS * size**_ENERGY_EXPONENT,
        inverters=_MULTIPLIER_INVERTERS * size**_AREA_EXPONENT,
        depth=2 * (bits + second_bits),
        cut=bits + second_bits,
    )


def lookup_block(bits: float) -> Block:
    """A table of a function: PUMA's 16 bits at 32 nm, 0.26 pJ and 300 µm², in proportion to the bits; four gates for each
    doubling of them (assumed: 16 bits then need no pipeline at PUMA's 1 GHz)."""
    size = bits / 16
    return Block(adders=0.26e-12 / 2e-15 * size, inverters=300 / 0.218 * size, depth=4 * max(math.log2(bits), 1), cut=bits)


def divider_block(bits: float) -> Block:
    """A divider: 1.22 of a multiplier's energy (PUMA's 0.688 against 0.565 mW), twice its area and gates in series
    (assumed)."""
    one = multiplier_block(bits, bits)
    return replace(one, adders=1.22 * one.adders, inverters=2 * one.inverters, depth=2 * one.depth)


CLOCKED = 0.5  # energy of a flip-flop that is clocked and stores the same over that at NeuroSim's activity of 0.25; assumed
ACTIVITY = 0.25  # share of a flip-flop's clocks in which it toggles, in NeuroSim's energy of it


def counter_block(bits: float, clocks: float) -> Block:
    """A synchronous binary counter that counts `clocks` clocks: every flip-flop is clocked, 2 - 2^(1 - bits) of them toggle a clock on
    the mean (1 + 1/2 + 1/4 + ...), and what NeuroSim's energy has beyond the clock's share is of its toggles. A flip-flop and an
    adder's bit of area each; what the adder takes is left out."""
    toggles = 2 - 2 ** (1 - bits)
    each = CLOCKED * bits + (1 - CLOCKED) / ACTIVITY * toggles
    return Block(clocked=clocks * each, inverters=bits * (REGISTER_INVERTERS + ADDER_INVERTERS), depth=2 * bits)


def multiply_accumulate_block(bits: float, second_bits: float) -> Block:
    """Multiplier, adder and register of a sum that is 8 bits wider than the product: 256 products."""
    wide = bits + second_bits + 8
    return multiplier_block(bits, second_bits) + adder_block(wide) + Block(registers=wide)


def exponential_block(bits: float) -> Block:
    """A table of values and slopes, one multiplication and one addition: a piecewise line."""
    return lookup_block(bits) + multiplier_block(bits, bits) + adder_block(bits)


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"bits": (1, 64), **COMMON})
def adder(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """An addition of two words of `bits`.

    Band: holds Horowitz (0.73 to 0.94), zigzag-imc's full adder of 28 nm (area 2.1) and Aladdin's 32 bits (energy 2.1, area
    1.9).
    """
    return adder_block(bits).cost(rate, node, voltage, fast_share, (0.5, 2.2), (0.65, 2.3))


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"bits": (1, 65536), **COMMON})
def register(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """A store of `bits` into flip-flops. Band: Aladdin's flip-flop of 40 nm (energy 1.25, area 1.5), zigzag-imc's area at 28
    nm (1.9).

    The rate has no part in the cost: a flip-flop is not cut.
    """
    return Block(registers=bits, depth=3).cost(rate, node, voltage, fast_share, (0.3, 1.5), (0.65, 2.0))


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"bits": (2, 64), **COMMON})
def shift_add(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """A shift and an addition into a sum of `bits`, where a word of half as many comes in.

    NeuroSim's unit from 8 to 16 bits is, at every node, an adder of 8 bits and 24 flip-flops: bits/2 and 1.5 bits here.
    Band: ISAAC's and PUMA's 16 bits of 32 nm, 0.021 to 0.05 pJ and 60 µm² (0.16 to 0.38, area 0.7). Not in it: the 0.1 pJ and
    170 µm² that hwcomponents-library fits to NeuRRAM's step at 130 nm (0.05 and 0.12), whose bits are not known.
    """
    unit = Block(adders=bits / 2, registers=1.5 * bits, inverters=bits / 2 * ADDER_INVERTERS, depth=bits, cut=bits)
    return unit.cost(rate, node, voltage, fast_share, (0.15, 1.5), (0.5, 1.5))


SCALED_COLUMNS, SCALE_BITS = 8, 16  # columns that share a scale unit, as in Jia's chip; its word, assumed


@law(
    cite=f"{NEUROSIM}; {HOROWITZ}; one scale unit for 8 columns as H. Jia et al., JSSC 2020",
    read=NEUROSIM_READ,
    valid={"bits": (2, 64), "clocks": (1, 1e6), **COMMON},
)
def datapath(
    *, bits: float, clocks: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0
) -> Cost:
    """A shift-and-add into a sum of `bits`, as `shift_add`, in a near-memory datapath of synchronous logic without clock gating.

    Each column has its sum; eight share a multiplier, an adder and registers of 16 bits that scale results and add a bias, and a
    table of a function. Registers are clocked in each of `clocks` cycles from one action to the next, at half the energy of one that
    stores (assumed: how much of NeuroSim's figure at an activity of 0.25 is the clock's); what scaling itself takes, once a
    result, is left out. Band: energy of `shift_add` and the assumed half, area of its blocks. Jia's datapath (65 nm, 0.85 V, 54 clocks
    of 25 ns) takes 8.3 pJ a column and 1941 µm²: 0.98 and 2.3 of the law for sums of 16 bits. Not fitted.
    """
    share = 1 / SCALED_COLUMNS
    scale = multiplier_block(SCALE_BITS, SCALE_BITS) + adder_block(SCALE_BITS) + lookup_block(SCALE_BITS)
    held = 1.5 * bits + 2 * SCALE_BITS * share
    unit = Block(
        adders=bits / 2, registers=1.5 * bits, clocked=CLOCKED * held * (clocks - 1), depth=bits, cut=bits,
        inverters=bits / 2 * ADDER_INVERTERS + share * (scale.inverters + 2 * SCALE_BITS * REGISTER_INVERTERS),
    )  # fmt: skip
    return unit.cost(rate, node, voltage, fast_share, (0.15, 2.0), (0.5, 2.7))


@law(cite=HOROWITZ, read=HOROWITZ_READ, valid={"bits": (1, 64), "second_bits": (1, 64), **COMMON})
def multiplier(
    *, bits: float, second_bits: float = 8, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0
) -> Cost:
    """A product of a word of `bits` and one of `second_bits`, as integers.

    Band, from 45 nm: RAELLA's 16 x 8 at 40 nm (0.8), PUMA's 16 x 16 at 32 nm and 1 GHz (0.8; 1.4 of one that is not cut),
    Aladdin's 32 x 32 at 40 nm, which is 5.2 times Horowitz (area 2.3).
    """
    unit = multiplier_block(bits, second_bits)
    return unit.cost(rate, node, voltage, fast_share, (0.6, 5.5), (0.6, 2.7), 45e-9)


@law(cite=ALADDIN, read="hwcomponents-library 8b56f7e, aladdin.py; paper not opened", valid={"bits": (1, 64), **COMMON})
def comparator(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """Which of two words of `bits` is larger. Band: as the adder's, since one source alone is at hand."""
    return comparator_block(bits).cost(rate, node, voltage, fast_share, (0.5, 2.2), (0.65, 2.3), 40e-9)


@law(cite=f"{ALADDIN}; {NEUROSIM}", read=NEUROSIM_READ, valid={"bits": (1, 64), **COMMON})
def maximum(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """The larger of a word of `bits` and what is held in a register, stored there. Band: `digital_unit.pooling` tells."""
    return maximum_block(bits).cost(rate, node, voltage, fast_share, (0.4, 3.2), (0.6, 1.6))


@law(cite=f"{HOROWITZ}; {NEUROSIM}", read=HOROWITZ_READ, valid={"bits": (1, 32), "second_bits": (1, 32), **COMMON})
def multiply_accumulate(
    *, bits: float, second_bits: float = 8, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0
) -> Cost:
    """A product of `bits` by `second_bits` added to a sum that is 8 bits wider than it, and stored.

    Band, from 45 nm: holds the 0.084 pJ of a TPUv4i's 8 x 8 bits at 7 nm, and not its 850 µm² (40 times as much; what that
    area holds besides is not known).
    """
    unit = multiply_accumulate_block(bits, second_bits)
    return unit.cost(rate, node, voltage, fast_share, (0.5, 4.0), (0.6, 2.7), 45e-9)


@law(cite=f"{PUMA}; {HOROWITZ}", read=PUMA_READ, valid={"bits": (2, 32), **COMMON})
def divider(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """A quotient of two words of `bits`; its energy is PUMA's share over its multiplier, its area assumed, twice a
    multiplier's."""
    return divider_block(bits).cost(rate, node, voltage, fast_share, (0.4, 5.5), (0.4, 4.0), 45e-9)


@law(cite=f"{PUMA}; {HOROWITZ}", read=PUMA_READ, valid={"bits": (2, 32), **COMMON})
def exponential(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """e to the power of a word of `bits`.

    No energy of an exponential unit was found in any source: it is put together from PUMA's table, Horowitz's multiplier and
    NeuroSim's adder, and its band is the multiplier's.
    """
    return exponential_block(bits).cost(rate, node, voltage, fast_share, (0.4, 5.5), (0.4, 3.0), 45e-9)

"""Units of a tile that work on words: activation functions, pooling, normalisation, softmax, products of two activations.

All are put together from the blocks of `logic`, and follow rate, node and voltage as those do. Not modelled: control, the
buffers that feed them (`memory`), and the energy of what a whole row needs once (a square root, a reciprocal).
"""

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.logic import (
    ALADDIN,
    COMMON,
    HOROWITZ,
    HOROWITZ_READ,
    NEUROSIM,
    NEUROSIM_READ,
    PUMA,
    PUMA_READ,
    Block,
    adder_block,
    comparator_block,
    divider_block,
    exponential_block,
    lookup_block,
    maximum_block,
    multiplier_block,
    multiply_accumulate_block,
)


@law(cite=PUMA, read=PUMA_READ, valid={"bits": (1, 32), **COMMON})
def activation(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """A value of a non-linear function of one word, from a table of `bits` out.

    PUMA: 0.26 mW at 1 GHz and 300 µm² for 16 bits, 32 nm; other bits in proportion (assumed). Band: ISAAC's sigmoid, 0.26 mW
    and 300 µm² each, taken as one value a cycle of 1.2 GHz (0.83).
    """
    return lookup_block(bits).cost(rate, node, voltage, fast_share, (0.5, 2.0), (0.5, 2.0), 32e-9)


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"bits": (1, 32), **COMMON})
def rectifier(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """The positive part of one word: a gate a bit after the sign (derived: an eighth of an adder's energy), and a register."""
    unit = Block(adders=bits / 8, registers=bits, inverters=2 * bits, depth=3, cut=bits)
    return unit.cost(rate, node, voltage, fast_share, (0.3, 1.5), (0.65, 2.0))


@law(cite=f"{NEUROSIM}; {ALADDIN}", read=NEUROSIM_READ, valid={"bits": (1, 32), **COMMON})
def pooling(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One value that enters a maximum: comparator, multiplexer and register.

    Band: ISAAC's max-pool, 0.4 mW and 240 µm², taken as four 16-bit values a cycle of 1.2 GHz (near 1); MNSIM's unit of 3 x 3 x
    64 values at 65 nm, 308 pJ and 91,917 µm² (2.9 at 8 bits, area 0.9).
    """
    return maximum_block(bits).cost(rate, node, voltage, fast_share, (0.4, 3.2), (0.6, 1.6))


@law(cite=NEUROSIM, read=NEUROSIM_READ, valid={"bits": (1, 32), **COMMON})
def mean_pooling(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One value that enters a mean over up to 256: adder and register of bits + 8; the division is a shift."""
    unit = adder_block(bits + 8) + Block(registers=bits + 8)
    return unit.cost(rate, node, voltage, fast_share, (0.4, 2.2), (0.65, 2.3))


@law(cite=f"{HOROWITZ}; {NEUROSIM}", read=HOROWITZ_READ, valid={"bits": (1, 32), **COMMON})
def product(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One multiply-accumulate of two activations of `bits`, as attention and gates need; the sum is 8 bits wider than a
    product.

    Band: `logic.multiply_accumulate`.
    """
    return multiply_accumulate_block(bits, bits).cost(rate, node, voltage, fast_share, (0.5, 4.0), (0.6, 2.7), 45e-9)


@law(cite=f"{HOROWITZ}; {NEUROSIM}", read=HOROWITZ_READ, valid={"bits": (2, 32), **COMMON})
def normalisation(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One element of a layer normalisation: sum, sum of squares, less the mean, times the inverse deviation, times gain,
    plus offset.

    Put together from `logic`, since no sourced energy was found; one divider stands in the area, its energy, once a row, is
    left out. Band of the area: the 1199 µm² of a synthesised LayerNorm unit at 28 nm, whose bits are not known (arXiv
    2604.23647, abstract; 1.6 of 8 bits, 0.5 of 16).
    """
    sums = adder_block(bits + 8) + multiply_accumulate_block(bits, bits) + Block(registers=bits + 8)
    apply = adder_block(bits) + multiplier_block(bits, bits) + multiplier_block(bits, bits) + adder_block(bits)
    divide = Block(inverters=divider_block(bits).inverters)
    return (sums + apply + divide).cost(rate, node, voltage, fast_share, (0.3, 5.5), (0.2, 3.0), 45e-9)


@law(cite=f"{PUMA}; {HOROWITZ}; {NEUROSIM}", read=PUMA_READ, valid={"bits": (2, 32), **COMMON})
def softmax(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One element of a softmax: enters the row's maximum, less it, exponential, enters the sum, times the reciprocal of the
    sum.

    Put together from `logic`, since no sourced energy was found; one divider stands in the area, its energy, once a row, is
    left out. Band of the area: the 942 µm² of a synthesised softmax unit at 28 nm, whose bits are not known (arXiv 2604.23647,
    abstract; 1.4 of 8 bits, 0.5 of 16).
    """
    row = maximum_block(bits) + adder_block(bits) + exponential_block(bits)
    total = adder_block(bits + 8) + Block(registers=bits + 8) + multiplier_block(bits, bits)
    divide = Block(inverters=divider_block(bits).inverters)
    return (row + total + divide).cost(rate, node, voltage, fast_share, (0.3, 5.5), (0.2, 3.0), 45e-9)


@law(cite=f"{PUMA}; {HOROWITZ}", read=PUMA_READ, valid={"bits": (2, 32), **COMMON})
def vector_alu(*, bits: float, rate: float, node: float, voltage: float | None = None, fast_share: float = 0.0) -> Cost:
    """One action of a lane with multiplier, divider, adder and comparator, of which a multiplication is booked as energy.

    Area and leakage are of all four and an output register. Band: PUMA's lane of 16 bits at 32 nm and 1 GHz, multiplication
    0.565 and other operations 0.265 pJ, 4030 µm², 0.192 mW of leakage (0.7, area 2.2, leakage 0.3 of fast transistors).
    """
    multiply = multiplier_block(bits, bits) + Block(registers=bits)
    idle = adder_block(bits).inverters + comparator_block(bits).inverters + divider_block(bits).inverters
    return (multiply + Block(inverters=idle)).cost(rate, node, voltage, fast_share, (0.4, 5.5), (0.6, 3.2), 45e-9)

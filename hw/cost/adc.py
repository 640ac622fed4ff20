"""What an analog-to-digital converter of an array's columns costs, by structure.

`survey` is a regression over converters for all purposes. `sar`, `flash`, `ramp` and `integrating` are structures, each
anchored to converters that were built; `sense_amplifier` is a flash of one to three bits. One action is one conversion. Energy
never falls with bits or rate; a rate that the structure does not reach at the node is refused with the largest one. Where a
structure works by steps, Cost.time is their sum at an unhurried pace, or 1/rate where the rate asks for more.

How structures follow the node: capacitances of logic and comparators are proportional to it and energy to voltage² (Dennard et
al., JSSC 1974, constant-field scaling, from memory), noise-limited capacitors keep their size, step times are proportional to
it, and area goes as its power AREA_EXPONENT. Above the rate of the survey's knee every structure pays the survey's slope,
energy ~ rate^0.66. Not modelled: leakage, reference and ramp generators, interleaving, step times at another than the nominal
voltage.
"""

from math import exp, log

from xbar.hw.cost.checks import reachable_rate, whole
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import NODES, nominal_voltage, technology
from xbar.hw.errors import LawRangeError

SURVEY = "T. Andrulis et al., arXiv 2404.06553: regression over B. Murmann, ADC Performance Survey 1997-2023"
SURVEY_READ = "coefficients and 215 converters of the package hwcomponents-adc 1.0.21; the paper was not opened"
# Of the 215 converters a share of 5 % takes less than 0.16 of the fit's energy, and 80 % take at most 10 times it; 80 % have at
# most 29 times its area. Converters in crossbar chips are smaller than nearly all of the survey: 0.05 (FORMS, simulated) to
# 0.46 of it.
SURVEY_ENERGY_BAND = (0.16, 10.0)
SURVEY_AREA_BAND = (0.05, 29.0)
CONVERTERS = "converters of Jia JSSC 2020, Wang VLSI 2022, Kull ISSCC 2013 (as ISAAC uses it) and Chen (as Brahms uses it)"

# Power of the node (0.63 by least squares) through the areas of four 8-bit SAR converters that were built: 1941 µm² at 65 nm
# (Jia), 1650 at 40 (Chen), 1200 at 32 (Kull), 1008 at 22 (Wang). Sinangil's 4-bit flash at 7 nm and FORMS's 4 bits at 32 nm lie
# on the power 0.69.
AREA_EXPONENT = 0.6
STEP = 0.64e-9 / 28e-9  # [s/m of node] a bit of an unhurried SAR: ZigZag-IMC's fit at 28 nm without its wait for the array
FASTEST_STEP = 1 / (9 * 1.1e9) / 40e-9  # [s/m of node] 8 bits and a sample at 1.1 GS/s and 40 nm (Chen, as MNSIM lists it)


def _peak_merit(bits: float) -> float:
    """Schreier's figure of merit [dB] of slow converters of `bits` in the survey's fit."""
    return 128.307 + 3.2205 * bits


def _merit(bits: float, rate: float) -> float:
    """The same at `rate` [1/s]."""
    return min(213.781 - 2.8719 * log(rate), _peak_merit(bits))


def _survey_energy(bits: float, rate: float, node: float) -> float:
    """Energy [pJ] of a conversion in the survey's fit."""
    by_merit = 0.5 * 10 ** ((6.02 * bits + 1.76 - _merit(bits, rate)) / 10)
    return float(by_merit * exp(26.0496 + 1.88004 * log(node * 1e9) - 2.82913 * log(bits) - 1.47020))


def _hurry(bits: float, rate: float) -> float:
    """What a conversion takes more at `rate` than at a slow one in the survey's fit (1 up to the knee)."""
    return float(10 ** ((_peak_merit(bits) - _merit(bits, rate)) / 10))


def _time(name: str, rate: float, unhurried: float, fastest: float) -> float:
    """Time of a conversion [s] designed for `rate`; raises LawRangeError where even the `fastest` is slower than 1/rate."""
    reachable_rate(name, rate, 1 / fastest)
    return max(min(unhurried, 1 / rate), fastest)


def _supply(node: float, voltage: float | None) -> float:
    """The voltage [V], nominal where None."""
    return nominal_voltage(node) if voltage is None else voltage


def _area(at_28_nm: float, node: float) -> float:
    """Area of an analog circuit at `node` from that at 28 nm."""
    return float(at_28_nm * (node / 28e-9) ** AREA_EXPONENT)


@law(cite=SURVEY, read=SURVEY_READ, valid={"bits": (4, 14), "rate": (1e3, 1e10), "node": NODES})
def survey(*, bits: float, rate: float, node: float) -> Cost:
    """A conversion of whole `bits` at `rate` [1/s] by a good converter of the survey, of any structure; time is left to the
    rate.

    Energy is the whole fit: 1.93 pJ for 8 bits at 32 nm and 1.28 GS/s. The package that publishes it returns 80 % as energy of
    a conversion and 20 % as leakage at full rate. The fit aims at the 20th percentile of energy and the 10th of area. Band:
    energy from the 5 % to the 80 % quantile of the survey's converters over the fit; area from the smallest converter of a
    crossbar design over the fit to the 80 % quantile. Raises LawRangeError, and ParameterError where bits are not whole.
    """
    whole("survey", "bits", bits)
    energy = _survey_energy(bits, rate, node)
    area = exp(1.34619 + 0.99328 * log(node * 1e9) + 0.18072 * log(rate) + 0.29912 * log(energy))
    return Cost(energy * 1e-12, area * 1e-12, energy_band=SURVEY_ENERGY_BAND, area_band=SURVEY_AREA_BAND)


# ZigZag-IMC's fit on SRAM chips at 28 nm: 100 fF a bit for comparator and logic, 0.001 fF x 4^bits that noise sets; times what
# the converters of crossbar chips take of it, the geometric mean of Jia 1.29, Wang 3.83, Kull 1.95 and Chen 3.18 at their
# voltages (nominal where none is given). Without it the law is the fit.
SAR_BIT, SAR_NOISE, SAR_IN_ARRAY = 100e-15, 0.001e-15, 2.35
# The same fit's area is 1e-6 mm² x 2^bits x 10^(1.206 - 0.0369 bits): 2085 µm² for 8 bits at 28 nm. The four converters have
# 1192 µm² there by AREA_EXPONENT (each within 12 %); the growth with bits is the fit's.
SAR_AREA_8 = 1192e-12


@law(
    cite="ZigZag-IMC's model of SAR converters (J. Sun et al.), with one multiplier and the area by " + CONVERTERS,
    read="models of zigzag-imc df34a6f; converters through CiMLoop d6e1390, hwcomponents-library 8b56f7e and MNSIM ca39ccb; "
    "the papers were not opened",
    valid={"bits": (2, 12), "rate": (1e3, 1e10), "node": NODES},
)
def sar(*, bits: float, rate: float, node: float, voltage: float | None = None) -> Cost:
    """A conversion by successive approximation of `bits`: a step for the sample and one a bit, each a comparison and a
    capacitor set.

    Energy (100 fF bits node/28 nm + 0.001 fF 4^bits) 2.35 voltage². Band of energy: from the fit without the multiplier to 1.8
    times; it holds the four converters and Li's 9 bits, not Yao's, whose 13.3 pJ have the loops that clamp its bitlines (8
    times). NeuroSim V1.4's SAR takes 0.08 to 0.10 of this law and serves as a floor only. Band of area: to 2.7 times, as FORMS
    has with 4 bits. Raises LawRangeError, also where `rate` [1/s] is above 1/((bits + 1) x 81 ps node/32 nm); ParameterError
    where bits are not whole.
    """
    steps = whole("sar", "bits", bits) + 1
    time = _time("sar", rate, steps * STEP * node, steps * FASTEST_STEP * node)
    capacitance = SAR_IN_ARRAY * (SAR_BIT * bits * node / 28e-9 + SAR_NOISE * 4**bits)
    energy = capacitance * _supply(node, voltage) ** 2 * _hurry(bits, rate)
    area = _area(SAR_AREA_8 * (2 * 10**-0.0369) ** (bits - 8), node)
    return Cost(energy, area, time=time, energy_band=(1 / SAR_IN_ARRAY, 1.8), area_band=(0.5, 2.7))


# A comparator of a flash of b bits at 28 nm: capacitance COMPARATOR + MATCHED x 4^b, and area likewise, since transistors whose
# offset stays below half a step grow as 1/step² (Pelgrom, JSSC 1989, from memory). The first terms are MNSIM's sense amplifier
# (1.63 fJ at 0.9 V and 8 µm² at 28 nm); the second make 15 comparators Sinangil's 4 bits at 7 nm: 0.186 pJ at 0.8 V and 100
# µm².
COMPARATOR, MATCHED = 2.0e-15, 0.295e-15
COMPARATOR_AREA, MATCHED_AREA = 8e-12, 0.0286e-12
FLASH_CITE = "Sinangil et al., JSSC 2021 (4-bit flash, 7 nm); MNSIM 2.0's sense amplifier (1 bit, 28 nm)"
FLASH_READ = (
    "Sinangil's through accelforge 1c1929c: area, and the energy that its model needs to meet the measured total; "
    "MNSIM ca39ccb; growth with bits by Pelgrom's rule, from memory; the papers were not opened"
)


def _flash(name: str, bits: float, rate: float, node: float, voltage: float | None) -> Cost:
    """2^bits - 1 comparators that decide at once: a step to track and one to decide."""
    comparators = 2 ** whole(name, "bits", bits) - 1
    time = _time(name, rate, 2 * STEP * node, 2 * FASTEST_STEP * node)
    capacitance = comparators * (COMPARATOR + MATCHED * 4**bits) * node / 28e-9
    energy = capacitance * _supply(node, voltage) ** 2 * _hurry(bits, rate)
    area = comparators * _area(COMPARATOR_AREA + MATCHED_AREA * 4**bits, node)
    return Cost(energy, area, time=time, energy_band=(0.2, 5.0), area_band=(0.5, 2.0))


@law(cite=FLASH_CITE, read=FLASH_READ, valid={"bits": (1, 6), "rate": (1e3, 1e10), "node": NODES})
def flash(*, bits: float, rate: float, node: float, voltage: float | None = None) -> Cost:
    """A conversion of `bits` by 2^bits - 1 comparators at once. NeuroSim's flash has 9 NMOS a level, a floor.

    The band is assumed: it holds FORMS's 4 bits at 32 nm, simulated (0.21 of the energy, 1.1 of the area).
    Raises LawRangeError, also where `rate` [1/s] is above 1/(162 ps node/32 nm); ParameterError where bits are not whole.
    """
    return _flash("flash", bits, rate, node, voltage)


@law(cite=FLASH_CITE, read=FLASH_READ, valid={"bits": (1, 3), "rate": (1e3, 1e10), "node": NODES})
def sense_amplifier(*, bits: float, rate: float, node: float, voltage: float | None = None) -> Cost:
    """A decision of 1 to 3 `bits` by 2^bits - 1 sense amplifiers, as `flash`: what goes on below the 4 bits of `survey`.

    Neither energy nor area falls from here to 4 bits of `survey`, `flash` or `sar`. Raises as `flash`.
    """
    return _flash("sense_amplifier", bits, rate, node, voltage)


# One clock of comparator and counter: 0.0584 mW x 6 ns at 130 nm (Liu), taken to be at 1.8 V.
RAMP_CLOCK = 0.0584e-3 * 6e-9 / 1.8**2  # [F]
RAMP_STEP, RAMP_FASTEST_STEP = 6e-9 / 130e-9, 300e-12 / 14e-9  # [s/m of node]: Liu's clock, HERMES's 300 ps a code
# Flip-flop and half adder of a bit of the counter at 130 nm by NeuroSim: (345 + 388) µm² / 8.
COUNTER_BIT = (345 + 388) / 8 / 3.60  # in areas of the smallest inverter


@law(
    cite="Liu et al., ISSCC 2020 (power, clock); HERMES, JSSC 2022 (fastest clock); NeuroSim V1.3 (counter's area)",
    read="Liu's through MNSIM ca39ccb, its voltage of 1.8 V assumed; the papers were not opened",
    valid={"bits": (1, 12), "rate": (1e3, 1e10), "node": NODES},
)
def ramp(*, bits: float, rate: float, node: float, voltage: float | None = None) -> Cost:
    """A conversion that counts up to 2^bits clocks: one comparator and a counter a column; the ramp or oscillator is not apart.

    Band of energy assumed; NeuroSim's flip-flops alone, two of which toggle a clock, take 0.8 of it. TIMELY's time-domain
    converter (simulated, 65 nm) takes 0.01 of it and lies outside. Band of area: 0.5, assumed, to 22, Liu's 15899 µm² at 130
    nm. Raises LawRangeError, also where `rate` [1/s] is above 1/(2^bits x 0.69 ns node/32 nm); ParameterError where bits are
    not whole.
    """
    clocks = 2 ** whole("ramp", "bits", bits)
    time = _time("ramp", rate, clocks * RAMP_STEP * node, clocks * RAMP_FASTEST_STEP * node)
    energy = clocks * RAMP_CLOCK * node / 130e-9 * _supply(node, voltage) ** 2 * _hurry(bits, rate)
    area = _area(COMPARATOR_AREA, node) + bits * COUNTER_BIT * technology(node).inverter_area
    return Cost(energy, area, time=time, energy_band=(0.4, 3.0), area_band=(0.5, 22.0))


# NeuRRAM's neuron at 130 nm and 1.8 V, by least squares of relative errors on five published throughputs and four energies of
# neurons (silicon of W. Wan et al., read off figures): one step time for a pulse as for a decision. The times meet the five
# within 0.8 %, each left out within 1.1 %; the energies the four within 3.0 %, each left out within 4.5 %.
STEP_TIME, PHASE_TIME = 0.3057e-6, 0.2578e-6  # [s] of a pulse or a decision; of a phase besides
PULSE, DECISION = 0.3479e-12, 0.7902e-12  # [J]
NEURON_AREA = 1270e-12


MAGNITUDE_BITS, RESULT_BITS = (1, 6), (3, 9)  # of which NeuRRAM's points are


def decisions(bits: int, input_bits: int, phases: int) -> int:
    """Decisions of one column for inputs of `input_bits` in one or two phases of as equal length as possible, over all phases.

    One phase resolves all `bits`; of two each resolves the bits less those of the input that the other phase covers, and one bit to
    guard the sum: two phases of 2 bits each take 6 decisions each for 7 bits.
    """
    lengths = [input_bits // phases + (phase < input_bits % phases) for phase in range(phases)]
    guard = int(phases > 1)
    return sum(max(1, bits - (input_bits - length) + guard) for length in lengths)


@law(
    cite="W. Wan et al., NeuRRAM, Nature 2022; structure and constants fitted here",
    read="throughputs, energies of neurons and the neuron's area through accelforge 1c1929c, which read them off the paper's "
    "figures; the paper was not opened",
    valid={
        "bits": RESULT_BITS, "pulses": (1, 4096), "input_bits": MAGNITUDE_BITS, "phases": (1, 2), "rate": (0, 1e10), "node": NODES,
    },
)
def integrating(
    *, bits: float, node: float, voltage: float | None = None, pulses: float = 1.0, input_bits: float = 1, phases: float = 1,
    rate: float = 0.0,
) -> Cost:  # fmt: skip
    """A conversion by a neuron that integrates `pulses` of its column, and then resolves `bits` one after another.

    input_bits: magnitude bits of an input over all `phases`, each of which is converted (`decisions`); pulses, energy and time are of
    one conversion, the mean of the phases; 2^k pulses for bit k of a phase are 2^length - 1. Time = 0.306 µs (pulses + decisions) +
    0.258 µs, energy = 0.348 pJ a pulse + 0.790 pJ a decision, at 130 nm and 1.8 V; time goes with the node, energy with node and
    voltage². Area is that of one neuron, for all bits.

    Fitted on NeuRRAM alone (at 3/1, 5/3, 7/5 and 9/7 bits of result and input with sign, and 7/5 in one phase), so that on this chip it
    predicts nothing new but other settings; band assumed for other nodes, voltages and designs. That decisions of two phases are
    fewer the more input bits there are is inferred from these five points, and does not go on beyond them: more than 6 magnitude bits,
    more than two phases, and fewer than 3 or more than 9 bits of result are refused. Within, time and energy rise with bits. `rate`
    [1/s] slower than its own pace may be asked for, 0 takes that pace. Raises LawRangeError, also above 1/time, and ParameterError
    where bits are not whole.
    """
    resolved, held = whole("integrating", "bits", bits), whole("integrating", "input_bits", input_bits)
    count = whole("integrating", "phases", phases)
    if held < count:
        raise LawRangeError("integrating", "phases", count, (1, held))
    resolving, relative = decisions(resolved, held, count) / count, node / 130e-9
    times = {"step": STEP_TIME * (pulses + resolving) * relative, "phase": PHASE_TIME * relative}
    time = sum(times.values())
    if rate:
        time = _time("integrating", rate, time, time)
    swing = relative * (_supply(node, voltage) / 1.8) ** 2
    energies = {"pulse": PULSE * pulses * swing, "decision": DECISION * resolving * swing}
    return Cost(
        sum(energies.values()), NEURON_AREA * relative**AREA_EXPONENT, time=time, energy_band=(0.5, 2.0), area_band=(0.5, 2.0),
        energy_parts=energies, time_parts=times,
    )  # fmt: skip

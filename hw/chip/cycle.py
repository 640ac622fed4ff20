"""How long one vector holds what: the slice loop of a layer copy on its cores, and its ports, from the rate of every part.

A slice is read while the slice before is converted. Reading takes the longest of: the array's read time, the DAC's drive (each
wordline has its own), the arrays' and the sample-and-holds' own rates, and the input register of the busiest core, which
streams out the bits that its wordlines take. Converting takes as long as the busiest ADC. Shift-and-add units and output
registers of a core serve its ADCs in equal parts, each ADC a fixed one, so an ADC converts no faster than its part of
them works: whatever their number, no unit is busier than all the time. Rates are `unit_rate` of `chip.costs`, of one unit.

A converter that integrates (`Adc.integrates`) is at work from the first pulse of a phase to its last decision, and the arrays with it:
then nothing is read while something is converted. Its pace is that of
the layer's own bits; of a look-up, which drives one wordline once, that of the layer's vectors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

from xbar.hw.chip.description import Chip
from xbar.hw.graph.network import MatrixLayer

if TYPE_CHECKING:
    from xbar.hw.chip.placement import Crossbar

FEMTOSECONDS = 10**15  # in a second


@lru_cache(maxsize=1 << 16)  # copies of a layer ask for the same again and again
def ticks(count: float, rate: float) -> int:
    """Time of `count` ticks of a clock of `rate` [1/s] in whole femtoseconds: round(count / rate), and at least 1 of anything."""
    return max(1 if count else 0, round(Fraction(count) * FEMTOSECONDS / Fraction(rate)))


def clock_ticks(bits: float, width: int, rate: float) -> int:
    """Time [fs] to move `bits` over `width` wires, one word per tick; what is left of a word takes a tick."""
    return ticks(ceil(bits / width), rate)


@dataclass(frozen=True)
class ReadCycle:
    """The slice loop of one copy: `slices` times `read` [fs] of array reads, each then `conversion` [fs] of ADC time.

    Where arrays are read in `parts`, so many of these make one input slice. in_turn: the conversion begins with the read and
    contains it, and the next read waits for its end. longest: the component that a read takes as long as.
    """

    slices: int
    read: int
    conversion: int
    parts: int = 1
    in_turn: bool = False
    longest: str = field(default="crossbar", repr=False)

    @property
    def busy(self) -> int:
        """Time [fs] from one vector's start to the next one's, where nothing else holds it up."""
        return self.slices * max(self.read, self.conversion)


def adc_of(chip: Chip, crossbar: "Crossbar") -> int:
    """The ADC of its core (or the first of several) to which a crossbar's columns are wired."""
    design = chip.array_design
    return crossbar.slot // design.crossbars_per_adc * design.adc_units


def conversion_rates(chip: Chip, layer: str) -> dict[str, float]:
    """Conversions per second [1/s] that each part of a conversion is capable of for one ADC, at the bits of that layer: the ADC, and
    its part of the core's shift-and-add units and output registers."""
    costs = chip.costs_for(layer)
    adc = costs["adc"]
    after = {name: costs[name].units * costs[name].unit_rate / adc.units for name in ("shift_add", "output_register")}
    return {"adc": adc.unit_rate, **after}


def conversion_rate(chip: Chip, layer: str) -> float:
    """Conversions per second of one ADC with what follows it [1/s]: the slowest of `conversion_rates`."""
    return min(conversion_rates(chip, layer).values())


def conversion_time(chip: Chip, layer: str, crossbar: "Crossbar") -> int:
    """Time [fs] of one slice's conversions of a layer's crossbar on its ADC, or on its several ADCs side by side."""
    return ticks(ceil(crossbar.conversions / chip.array_design.adc_units), conversion_rate(chip, layer))


def read_cycle(
    chip: Chip, layer: MatrixLayer, crossbars: Sequence["Crossbar"], beside: Mapping[int, int] = MappingProxyType({})
) -> ReadCycle:
    """Slices, read time and conversion time of one vector on these crossbars of a copy. beside: by core, wordlines that crossbars of other
    copies there may drive meanwhile: the core's input register gives each its part of the time."""
    own = chip.for_layer(layer.name)
    by_adc: dict[tuple[int, int], int] = defaultdict(int)
    rows: dict[int, int] = defaultdict(int)
    per_adc, by_count = chip.array_design.crossbars_per_adc, dict[int, int]()  # by conversions, the time that they take
    for crossbar in crossbars:
        if crossbar.conversions not in by_count:
            by_count[crossbar.conversions] = conversion_time(chip, layer.name, crossbar)
        by_adc[(crossbar.core, crossbar.slot // per_adc)] += by_count[crossbar.conversions]
        rows[crossbar.core] += crossbar.rows
    for core in rows:
        rows[core] += beside.get(core, 0)
    used = own.one_hot if layer.lookup else own
    design = used.array_design
    slices, reads = max(design.converted_slices), max(design.reads_per_conversion)
    register = chip.costs["input_register"]
    parts = max(design.partial_reads(crossbar.rows) for crossbar in crossbars)
    streamed = ticks(slices * ceil(max(rows.values()) / parts) * chip.component.dac.bits, register.units * register.unit_rate)
    acting = (("dac", slices), ("gate_driver", slices), ("crossbar", reads), ("sample_hold", reads))
    times = {name: ticks(count, chip.costs[name].unit_rate) for name, count in acting if name in chip.costs}
    times |= {"crossbar": max(times["crossbar"], reads * round(chip.read_time * FEMTOSECONDS)), "input_register": streamed}
    longest = max(("crossbar", *times), key=lambda name: times[name])  # of parts that take as long, the arrays
    conversions = used.conversions_per_column(layer.signed_input) * parts
    return ReadCycle(conversions, times[longest], max(by_adc.values()), parts, chip.component.adc.integrates, longest)


def port_time(chip: Chip, bits: float) -> int:
    """Time [fs] that `bits` hold a tile's buffer port and bus: whole words of the narrower one, and the rates of both."""
    timing, (buffer, bus) = chip.timing, (chip.costs[name] for name in ("buffer", "bus"))
    words = clock_ticks(bits, min(timing.buffer_width, timing.bus_width), timing.tile_clock)
    return max(words, *(ticks(bits, part.units * part.unit_rate) for part in (buffer, bus)))


def port_part(chip: Chip) -> str:
    """Which of a tile's buffer and bus takes longer for what holds its port."""
    timing, clock = chip.timing, chip.timing.tile_clock
    rates = {name: chip.costs[name].units * chip.costs[name].unit_rate for name in ("buffer", "bus")}
    return "bus" if min(timing.bus_width * clock, rates["bus"]) < min(timing.buffer_width * clock, rates["buffer"]) else "buffer"


def units_times(chip: Chip, work: Mapping[str, float]) -> dict[str, int]:
    """Time [fs] of each of a tile's units that has any work: its actions over the rate of all its units."""
    return {name: ticks(ceil(count), chip.costs[name].units * chip.costs[name].unit_rate) for name, count in work.items() if count}


def units_time(chip: Chip, work: Mapping[str, float]) -> int:
    """Time [fs] of a tile's units side by side: the longest of `units_times`."""
    return max(units_times(chip, work).values(), default=0)

"""Memories on the chip: SRAM, register files and embedded DRAM, by capacity, width, node and voltage.

SRAM: powers of the capacity fitted to CACTI (low-standby-power, 22 to 65 nm, 0.5 KB to 1 MB, words of 64 and 256 bits; through
hwcomponents-cacti 1.0.40; a fit is off by up to 52 %); other widths on the power between the two. Register files and embedded
DRAM go through the points of PUMA's simulator at 32 nm. Beyond a source's nodes costs follow `technology.scaling` with its
band, and the supply that a source used is taken as the nominal voltage.

An access may begin each 1/clock; where one takes longer, it is cut by registers of `width`, one set for each further cycle (a
share for a share); below the node's nominal voltage by no more sets than at it, since banks take turns there. Not modelled:
several ports, error correction, refresh of embedded DRAM apart from its leakage, power gating.
"""

from collections.abc import Mapping, Sequence

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.logic import PUMA, PUMA_READ, register
from xbar.hw.cost.technology import NODES, gate_leakage, interpolate, scaling

_NODES = (22, 32, 45, 65)  # [nm]
# fJ a bit = a · bytes^b; (a, b) at each node, with words of 64 and of 256 bits
_READ = {
    64: ((0.133, 0.578), (0.313, 0.575), (0.489, 0.588), (0.670, 0.615)),
    256: ((0.078, 0.580), (0.158, 0.585), (0.293, 0.583), (0.553, 0.581)),
}
_WRITE = {
    64: ((0.455, 0.456), (1.15, 0.452), (2.37, 0.443), (5.08, 0.433)),
    256: ((0.342, 0.465), (0.946, 0.453), (1.72, 0.453), (3.10, 0.457)),
}
_AREA = (0.110, 0.221, 0.419, 0.872)  # µm² a bit
_LEAKAGE = (0.020, 0.020, 0.020, 0.0225)  # nW a bit; CACTI's 0.0058 and 0.0034 at 32 and 45 nm give way to the 0.020 of 22 nm
_TIME = ((0.47, 0.96, 2.5), (0.68, 1.28, 3.2), (0.87, 1.57, 3.9), (1.3, 2.3, 5.5))  # ns at 4 KB, 64 KB, 1 MB
FAST = 1000.0  # leakage of high-performance over low-standby-power transistors: NeuroSim's inverters, 860 to 1070
KILOBYTE = 8192.0  # [bit]
Fits = Mapping[int, Sequence[tuple[float, float]]]

_COMMON = {"node": NODES, "clock": (1.0, 5e9), "fast_share": (0.0, 1.0)}
_SRAM_VALID = {"capacity": (0.5 * KILOBYTE, 1024 * KILOBYTE), "width": (8, 1024), **_COMMON}
_CACTI = "N. Muralimanohar et al., HP Labs HPL-2009-85 (CACTI)"
_CACTI_READ = "hwcomponents-cacti 1.0.40, computed grid; report not opened"


def _clipped(node: float) -> float:
    """The node [m] of CACTI's that is nearest."""
    return min(max(node, _NODES[0] * 1e-9), _NODES[-1] * 1e-9)


def _word(fits: Fits, capacity: float, width: float, node: float) -> float:
    """Energy [J] of a word of `width` at a node of CACTI's."""
    words = {}
    for bits, pairs in fits.items():
        words[bits] = bits * interpolate(node, _NODES, [a * (capacity / 8) ** b for a, b in pairs]) * 1e-15
    return interpolate(width * 1e-9, (64, 256), (words[64], words[256]))


def _sram(
    fits: Fits,
    capacity: float,
    width: float,
    node: float,
    voltage: float | None,
    clock: float,
    fast_share: float,
) -> Cost:
    base = _clipped(node)
    moved, still = scaling(node, voltage, base, None), scaling(node, None, base, None)
    times = [interpolate(capacity / KILOBYTE * 1e-9, (4, 64, 1024), each) for each in _TIME]
    nominal = interpolate(base, _NODES, times) * 1e-9
    time, cut_time = nominal * moved.delay, nominal * min(moved.delay, still.delay)
    stages = max(cut_time * clock - 1, 0.0)
    cut = register(bits=1, rate=1.0, node=node, voltage=voltage, fast_share=fast_share)
    flips = stages * width
    outside = max(64 / width, width / 256, 1.0) ** 0.25  # how much the power of the width may err beyond its two points
    cells = capacity * interpolate(base, _NODES, _LEAKAGE) * 1e-9
    return Cost(
        energy=_word(fits, capacity, width, base) * moved.energy + flips * cut.energy,
        area=capacity * interpolate(base, _NODES, _AREA) * 1e-12 * still.area + flips * cut.area,
        leakage=cells * (1 + fast_share * (FAST - 1)) * gate_leakage(node, voltage) / gate_leakage(base) + flips * cut.leakage,
        time=time,
        energy_band=(0.5 / outside * moved.low, 2.0 * outside * moved.high),
        area_band=(0.5 * still.low, 2.0 * still.high),
    )


@law(cite=_CACTI, read=_CACTI_READ, valid=_SRAM_VALID)
def sram_read(
    *, capacity: float, width: float, node: float, voltage: float | None = None, clock: float = 1e8, fast_share: float = 0.0
) -> Cost:
    """A word of `width` read from an SRAM of `capacity` [bit]; area, leakage and access time are of the memory.

    Leakage is of low-standby-power cells, doubtful between 22 and 65 nm, where CACTI's falls to 0.0034 nW a bit and the law
    keeps 22 nm's 0.020, which leaves CACTI's own outside the band; at fast_share 1 it is 1000 times as much (PUMA's 20 nW a
    bit). Band: CACTI's fit (up to 1.52), and widths outside 64 to 256 bits by a power 0.25 of the distance. TIMELY's buffer of
    65 nm, 204 pJ to read and 497 to write 128 bits, cannot be compared: its capacity is not known.
    """
    return _sram(_READ, capacity, width, node, voltage, clock, fast_share)


@law(cite=_CACTI, read=_CACTI_READ, valid=_SRAM_VALID)
def sram_write(
    *, capacity: float, width: float, node: float, voltage: float | None = None, clock: float = 1e8, fast_share: float = 0.0
) -> Cost:
    """A word of `width` written to an SRAM of `capacity` [bit]; all but the energy as `sram_read`."""
    return _sram(_WRITE, capacity, width, node, voltage, clock, fast_share)


@law(
    cite=PUMA,
    read=PUMA_READ,
    valid={"capacity": (0.03125 * KILOBYTE, 4 * KILOBYTE), "width": (1, 1024), **_COMMON},
)
def register_file(
    *, capacity: float, width: float, node: float, voltage: float | None = None, clock: float = 1e8, fast_share: float = 0.0
) -> Cost:
    """A word of `width` read from or written to a register file of `capacity` [bit].

    PUMA at 32 nm and 1 GHz, taken as a word of 16 bits a cycle: 0.16 pJ at 256 B growing as capacity^0.611 (0.24, 0.33, 0.57 pJ
    at 512, 1024, 2048 B), 0.25 µm² a bit (0.23 to 0.27). A wider word costs width^0.6, as in CACTI's SRAM. Leakage 21 nW a bit
    of fast transistors. Time: CACTI's slope of an SRAM below 4 KB. At 1 KB and 16 bits an access costs 0.75 of `sram_read`: the
    laws do not meet. Band: ISAAC's registers of 2 KB and 256 B (area 0.5 and 1.5; energies cannot be compared, their words not
    being known).
    """
    moved, still = scaling(node, voltage, 32e-9, None), scaling(node, None, 32e-9, None)
    nominal = interpolate(capacity / KILOBYTE * 1e-9, (4, 64), (0.68, 1.28)) * 1e-9
    cut = register(bits=1, rate=1.0, node=node, voltage=voltage, fast_share=fast_share)
    flips = max(nominal * min(moved.delay, still.delay) * clock - 1, 0.0) * width
    slower = gate_leakage(node, voltage, fast_share) / gate_leakage(32e-9, None, 1.0)
    return Cost(
        energy=0.16e-12 * (capacity / (0.25 * KILOBYTE)) ** 0.611 * (width / 16) ** 0.6 * moved.energy + flips * cut.energy,
        area=capacity * 0.25e-12 * still.area + flips * cut.area,
        leakage=capacity * 21e-9 * slower + flips * cut.leakage,
        time=nominal * moved.delay,
        energy_band=(0.4 * moved.low, 2.0 * moved.high),
        area_band=(0.45 * still.low, 1.7 * still.high),
    )


@law(
    cite=PUMA,
    read=PUMA_READ,
    valid={
        "capacity": (8 * KILOBYTE, 4096 * KILOBYTE),
        "width": (8, 1024),
        "banks": (1, 64),
        "node": NODES,
        "fast_share": (0.0, 1.0),
    },
)
def edram(
    *, capacity: float, width: float, banks: float = 4, node: float, voltage: float | None = None, fast_share: float = 1.0
) -> Cost:
    """A word of `width` read from or written to an embedded DRAM of `capacity` [bit] in `banks`.

    Through PUMA's 64 and 128 KB at 32 nm with words of 256 bits, taken as 4 banks: 17.2 and 25.4 pJ, 0.086 and 0.121 mm², 0.46
    and 0.77 mW of leakage. Energy is a power of a bank's capacity (0.562) and of the width (0.6, as CACTI's SRAM). Area and
    leakage are straight lines: cells, 0.067 µm² a bit, and a fixed part in proportion to banks x width (assumed). Leakage,
    refresh in it, is of fast transistors as PUMA's; a smaller `fast_share` takes it down as an inverter's. Time: not known, 0.
    Band: ISAAC's 64 KB, 64.6 pJ per 256 bits (3.8; area 0.97). Not in it: the 2642 pJ per 1024 bits of Giterman's measured 128
    KB at 16 nm (76 times in one bank; what that energy counts is not known); its 0.132 mm² is (2.7).
    """
    moved, still = scaling(node, voltage, 32e-9, None), scaling(node, None, 32e-9, None)
    slower = gate_leakage(node, voltage, fast_share) / gate_leakage(32e-9, None, 1.0)
    size, ends = capacity / (64 * KILOBYTE), banks / 4 * width / 256
    return Cost(
        energy=17.2e-12 * (size * 4 / banks) ** 0.562 * (width / 256) ** 0.6 * moved.energy,
        area=(0.051 * ends + 0.035 * size) * 1e-6 * still.area,
        leakage=(0.15 * ends + 0.31 * size) * 1e-3 * slower,
        energy_band=(0.4 * moved.low, 4.0 * moved.high),
        area_band=(0.5 * still.low, 2.0 * still.high),
    )

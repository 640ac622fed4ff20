"""Laws of digital components: what they promise on random parameters, published points in their bands, and what they refuse."""

import copy
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from xbar.hw.cost import digital_unit, logic, memory
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.dram import dram
from xbar.hw.cost.law import LawFunction
from xbar.hw.cost.link import link
from xbar.hw.cost.router import router
from xbar.hw.cost.technology import voltage_range
from xbar.hw.cost.wire import bus
from xbar.hw.errors import LawRangeError, ParameterError

LAWS = [
    *(each for room in (logic, digital_unit, memory) for each in vars(room).values() if isinstance(each, LawFunction)),
    router, bus, link,
]  # fmt: skip
LAWS = list({each.law.name: each for each in LAWS}.values())
GROWING = {
    "bits", "second_bits", "rate", "clock", "capacity", "width", "ports", "length", "fast_share", "activity",
}  # fmt: skip
KILOBYTE = 8192  # bit
N130, N65, N45, N40, N32, N28, N16, N7 = (each * 1e-9 for each in (130, 65, 45, 40, 32, 28, 16, 7))


def named(laws):
    return pytest.mark.parametrize("law", laws, ids=lambda each: each.law.name)


def drawn(law, rng) -> dict[str, float]:
    """Parameters from all of a law's range, evenly in the logarithm where that is several times."""
    values = {}
    for name, (low, high) in law.law.valid.items():
        values[name] = math.exp(rng.uniform(math.log(low), math.log(high))) if low > 0 else rng.uniform(low, high)
    return values


def not_less(more: float, less: float) -> bool:
    return more >= less * (1 - 1e-9)


@named(LAWS)
def test_costs_are_finite_and_their_bands_hold_the_value(law):
    rng = np.random.default_rng(11)
    for _ in range(60):
        values = drawn(law, rng)
        if "node" in values:
            values["voltage"] = rng.uniform(*voltage_range(values["node"]))
        got = law(**values)
        assert all(math.isfinite(each) and each >= 0 for each in (got.energy, got.area, got.leakage, got.time)), values
        assert got.area > 0
        assert all(0 < low <= 1 <= high < 100 for low, high in (got.energy_band, got.area_band)), values


@named(LAWS)
def test_energy_area_and_leakage_never_fall_with_what_is_asked_and_time_never_rises_with_the_rate(law):
    rng = np.random.default_rng(12)
    for name in sorted(GROWING & set(law.law.valid)):
        for _ in range(40):
            values = drawn(law, rng)
            less, more = sorted((values[name], drawn(law, rng)[name]))
            small, large = law(**{**values, name: less}), law(**{**values, name: more})
            assert not_less(large.area, small.area), (name, values)
            assert not_less(large.leakage, small.leakage), (name, values)
            assert not_less(large.energy, small.energy), (name, values)
            assert name not in ("rate", "clock") or small.time >= large.time


@named([each for each in LAWS if "node" in each.law.valid])
def test_costs_fall_or_stay_with_a_smaller_node(law):
    rng = np.random.default_rng(13)
    for _ in range(60):
        values = drawn(law, rng)
        small, large = sorted((values["node"], drawn(law, rng)["node"]))
        here, there = law(**{**values, "node": small}), law(**{**values, "node": large})
        assert not_less(there.energy, here.energy), values
        assert not_less(there.area, here.area), values
        assert not_less(there.leakage, here.leakage), values
        assert law.law.name == "bus" or not_less(there.time, here.time), values  # a thin wire is slow: bus tells so


@named([each for each in LAWS if "node" in each.law.valid])
def test_energy_and_leakage_fall_and_time_rises_with_less_voltage(law):
    rng = np.random.default_rng(15)
    for _ in range(60):
        values = drawn(law, rng)
        values.update({name: law.law.valid[name][0] for name in ("rate", "clock") if name in values})  # no pipeline
        low, high = sorted(rng.uniform(*voltage_range(values["node"]), 2))
        less, more = law(**values, voltage=low), law(**values, voltage=high)
        assert not_less(more.energy, less.energy), values
        assert not_less(more.leakage, less.leakage), values
        assert not_less(less.time, more.time), values
        assert more.area == pytest.approx(less.area)


@named(LAWS)
def test_a_law_is_copied_and_pickled_by_its_name(law):
    assert copy.deepcopy(law) is law
    assert pickle.loads(pickle.dumps(law)) is law


@named(LAWS)
def test_a_value_outside_is_refused_by_name(law):
    rng = np.random.default_rng(14)
    for name, (low, high) in law.law.valid.items():
        for bad in (low - abs(low) / 10 - 1e-3, high * 1.1, float("nan")):
            with pytest.raises(LawRangeError, match=rf"law {law.law.name}: {name} = .* is outside .* to ") as caught:
                law(**{**drawn(law, rng), name: bad})
            assert caught.value.parameter == name
    if "node" in law.law.valid:
        with pytest.raises(LawRangeError, match=rf"law {law.law.name}: voltage = 2.5 V is outside 0.45 V to 1.305 V"):
            law(**{**drawn(law, rng), "node": N32, "voltage": 2.5})


@named([*LAWS, dram])
def test_each_law_tells_its_source(law):
    assert law.law.cite
    assert law.law.read
    assert law.__doc__
    assert "Band" in law.__doc__ or law.law.name in ("exponential", "divider", "rectifier", "mean_pooling", "sram_write")


@dataclass
class Point:
    """A published energy [pJ] and area [µm²] of one thing, and what the law says of it."""

    what: str
    got: Cost
    energy: float | None = None
    area: float | None = None


SLOW = {"rate": 1e6}  # no pipeline
WORD_1K = {"width": 16, "node": N32, "clock": 1e9, "fast_share": 1.0}
INSIDE = [
    # Horowitz at 45 nm
    Point("add 8", logic.adder(bits=8, node=N45, **SLOW), 0.03, 36),
    Point("add 16", logic.adder(bits=16, node=N45, **SLOW), 0.05, 67),
    Point("add 32", logic.adder(bits=32, node=N45, **SLOW), 0.1, 137),
    Point("multiply 8", logic.multiplier(bits=8, second_bits=8, node=N45, **SLOW), 0.2, 282),
    Point("multiply 32", logic.multiplier(bits=32, second_bits=32, node=N45, **SLOW), 3.1, 3495),
    # Aladdin at 40 nm, 32 bits
    Point("Aladdin add", logic.adder(bits=32, node=N40, **SLOW), 0.21, 278),
    Point("Aladdin register", logic.register(bits=1, node=N40, **SLOW), 0.009, 5.98),
    Point("Aladdin multiply", logic.multiplier(bits=32, second_bits=32, node=N40, **SLOW), 12.68, 6350),
    Point("Aladdin compare", logic.comparator(bits=32, node=N40, **SLOW), 0.0295, 71),
    # zigzag-imc, 28 nm: full adder 3 NAND (.614 µm², .7 fF) + 2 XOR (2.4 times the area, 1.5 the capacitance): 7.8·.614 =
    # 4.789 µm²; 4.2 fF at an activity of 0.25 and 0.9 V: .8505 fJ; flip-flop 6·.614 µm²
    Point("zigzag add 8", logic.adder(bits=8, node=N28, **SLOW), 8 * 0.8505e-3, 8 * 4.789),
    Point("zigzag register", logic.register(bits=1, node=N28, **SLOW), None, 3.684),
    # ISAAC and PUMA, 32 nm
    Point("shift-add low", logic.shift_add(bits=16, node=N32, rate=1.2e9), 0.021, 60),
    Point("shift-add high", logic.shift_add(bits=16, node=N32, rate=1.2e9), 0.05, 60),
    Point("RAELLA 16 x 8", logic.multiplier(bits=16, second_bits=8, node=N40, **SLOW), 0.25),
    Point("PUMA multiply", logic.multiplier(bits=16, second_bits=16, node=N32, rate=1e9), 0.565),
    Point("PUMA divide", logic.divider(bits=16, node=N32, rate=1e9), 0.688),
    Point("PUMA lane", digital_unit.vector_alu(bits=16, node=N32, rate=1e9), 0.565, 4030),
    Point("TPUv4i multiply-accumulate", logic.multiply_accumulate(bits=8, second_bits=8, node=N7, rate=1e9), 0.084),
    Point("PUMA sigmoid", digital_unit.activation(bits=16, node=N32, rate=1e9), 0.26, 300),
    Point("ISAAC sigmoid", digital_unit.activation(bits=16, node=N32, rate=1.2e9), 0.26 / 1.2, 300),
    Point("ISAAC max-pool", digital_unit.pooling(bits=16, node=N32, rate=1.2e9), 0.4 / 1.2 / 4, 240 / 4),
    Point("MNSIM pooling", digital_unit.pooling(bits=8, node=N65, rate=1e7), 308 / 576, 91917 / 576),
    Point("softmax 8", digital_unit.softmax(bits=8, node=N28, **SLOW), None, 942),
    Point("softmax 16", digital_unit.softmax(bits=16, node=N28, **SLOW), None, 942),
    Point("layer normalisation 8", digital_unit.normalisation(bits=8, node=N28, **SLOW), None, 1199),
    Point("layer normalisation 16", digital_unit.normalisation(bits=16, node=N28, **SLOW), None, 1199),
    Point("registers 256 B", memory.register_file(capacity=KILOBYTE / 4, **WORD_1K), 0.16, 560),
    Point("registers 512 B", memory.register_file(capacity=KILOBYTE / 2, **WORD_1K), 0.24, 1080),
    Point("registers 1 KB", memory.register_file(capacity=KILOBYTE, **WORD_1K), 0.33, 1920),
    Point("registers 2 KB", memory.register_file(capacity=2 * KILOBYTE, **WORD_1K), 0.57, 3920),
    Point("ISAAC input register", memory.register_file(capacity=2 * KILOBYTE, **WORD_1K), None, 2100),
    Point("ISAAC output register", memory.register_file(capacity=KILOBYTE / 4, **WORD_1K), None, 770),
    Point("ISAAC tile register", memory.register_file(capacity=3 * KILOBYTE, **WORD_1K), None, 3200),
    Point("PUMA eDRAM 64 KB", memory.edram(capacity=64 * KILOBYTE, width=256, node=N32), 17.2, 86000),
    Point("PUMA eDRAM 128 KB", memory.edram(capacity=128 * KILOBYTE, width=256, node=N32), 25.4, 121000),
    Point("ISAAC eDRAM", memory.edram(capacity=64 * KILOBYTE, width=256, node=N32), 2.02 * 32, 83000),
    Point("Giterman area", memory.edram(capacity=128 * KILOBYTE, width=1024, banks=1, node=N16), None, 131570),
    Point("ISAAC bus", bus(width=384, length=0.61e-3, node=N32), 0.684 / 8, 90000),
    Point("PUMA bus", bus(width=384, length=0.61e-3, node=N32), 6 / 384, 90000),
    Point("PUMA 4 ports", router(width=32, ports=4, clock=1e9, node=N32), 16.1 / 4 / 32, 47000),
    Point("PUMA 8 ports", router(width=32, ports=8, clock=1e9, node=N32), 51.5 / 8 / 32, 116000),
    Point("ISAAC router low", router(width=32, ports=8, clock=1.2e9, node=N32), 4.4 / 32, 151000),
    Point("ISAAC router high", router(width=32, ports=8, clock=1.2e9, node=N32), 5.25 / 32, 151000),
    # NeuroSim's shift-and-add from 8 to 16 bits, put together here from its adder and flip-flop
    *(
        Point(f"NeuroSim shift-add {nm}", logic.shift_add(bits=16, node=nm * 1e-9, **SLOW), energy, area)
        for nm, energy, area in (
            (130, 1.963, 1424), (65, 0.536, 356), (45, 0.257, 171), (22, 0.07, 41), (14, 0.059, 23), (7, 0.022, 5.8),
        )
    ),
]
OUTSIDE = [
    Point("NeuRRAM shift-add", logic.shift_add(bits=16, node=N130, **SLOW), 0.1, 170),
    Point("TPUv4i multiply-accumulate", logic.multiply_accumulate(bits=8, second_bits=8, node=N7, rate=1e9), None, 850),
    Point("Giterman energy", memory.edram(capacity=128 * KILOBYTE, width=1024, banks=1, node=N16), 2642),
]


def shares(point: Point) -> list[tuple[float, tuple[float, float]]]:
    """(published over law, band) of what the point tells."""
    got = point.got
    told = ((point.energy, got.energy * 1e12, got.energy_band), (point.area, got.area * 1e12, got.area_band))
    return [(published / ours, band) for published, ours, band in told if published is not None]


@pytest.mark.parametrize("point", INSIDE, ids=lambda each: each.what)
def test_a_published_point_is_within_the_band(point):
    assert all(low <= share <= high for share, (low, high) in shares(point)), shares(point)


@pytest.mark.parametrize("point", OUTSIDE, ids=lambda each: each.what)
def test_the_points_that_the_laws_call_outside_are(point):
    assert not any(low <= share <= high for share, (low, high) in shares(point)), shares(point)


# a·bytes^b by hand: 32 nm, 64 KB: .313·65536^.575 = 184.1 fJ/bit · 64 = 11.78 pJ; .158·65536^.585 = 103.8 fJ/bit · 256
@pytest.mark.parametrize(
    ("law", "nm", "kilobytes", "width", "picojoules"),
    [
        (memory.sram_read, 32, 64, 64, 11.78),
        (memory.sram_read, 32, 64, 256, 26.58),
        (memory.sram_write, 32, 64, 64, 11.06),  # 1.15·65536^.452 = 172.9
        (memory.sram_read, 65, 1, 64, 3.044),  # .670·1024^.615 = 47.57
        (memory.sram_write, 22, 4, 256, 4.187),  # .342·4096^.465 = 16.36
    ],
)
def test_sram_is_cactis_fit_at_its_nodes(law, nm, kilobytes, width, picojoules):
    got = law(capacity=kilobytes * KILOBYTE, width=width, node=nm * 1e-9)
    assert got.energy == pytest.approx(picojoules * 1e-12, rel=2e-3)


def test_area_leakage_and_time_of_sram():
    got = memory.sram_read(capacity=64 * KILOBYTE, width=64, node=N32)
    assert got.area == pytest.approx(64 * KILOBYTE * 0.221e-12, rel=1e-6)
    assert got.leakage == pytest.approx(64 * KILOBYTE * 0.020e-9, rel=1e-6)
    assert got.time == pytest.approx(1.28e-9)
    # 1.28 ns against 1 GHz: 0.28 sets of 64 flip-flops of 38/8 fJ and 12 inverters of 0.218 µm²
    fast = memory.sram_read(capacity=64 * KILOBYTE, width=64, node=N32, clock=1e9)
    assert fast.energy - got.energy == pytest.approx(0.28 * 64 * 4.75e-15, rel=1e-4)
    assert fast.area - got.area == pytest.approx(0.28 * 64 * 12 * 0.218e-12, rel=1e-4)


def test_leakage_of_fast_transistors_is_near_pumas():
    assert memory.register_file(capacity=KILOBYTE / 4, **WORD_1K).leakage == pytest.approx(0.044e-3, rel=0.05)
    assert router(width=32, ports=8, clock=1e9, node=N32, fast_share=1.0).leakage == pytest.approx(1.04e-3)
    assert router(width=32, ports=4, clock=1e9, node=N32, fast_share=1.0).leakage == pytest.approx(0.41e-3)
    assert memory.edram(capacity=64 * KILOBYTE, width=256, node=N32).leakage == pytest.approx(0.46e-3)
    got = bus(width=384, length=0.61e-3, node=N32, fast_share=1.0)
    assert got.leakage * got.energy_band[0] < 1e-3 < got.leakage


def test_an_adder_by_hand():
    # 32 nm: 16/8 fJ a bit; 109/8 inverters of 0.218 µm² and 7.7 pW (7 nm's, the largest up to 32) a bit
    got = logic.adder(bits=8, node=N32, **SLOW)
    assert got.energy == pytest.approx(16e-15)
    assert got.area == pytest.approx(109 * 0.218e-12)
    assert got.leakage == pytest.approx(109 * 7.7e-12)
    # two gates a bit of 47.8 ps at 28 nm
    assert logic.adder(bits=8, node=N28, **SLOW).time == pytest.approx(16 * 47.8e-12)
    # at 2.615 GHz these 764.8 ps are two cycles: one more register of 8 bits
    fast, slow = logic.adder(bits=8, node=N28, rate=2 / 764.8e-12), logic.adder(bits=8, node=N28, **SLOW)
    assert fast.area - slow.area == pytest.approx(logic.register(bits=8, node=N28, **SLOW).area)
    assert fast.energy - slow.energy == pytest.approx(logic.register(bits=8, node=N28, **SLOW).energy)


def test_a_pipeline_ends_at_stages_of_one_bit_where_copies_take_turns():
    # 8 bits of two gates each: 8 stages at most, whose 7 sets of 8 registers are cut; at twice the rate two of them
    at_most = 1 / (2 * 47.8e-12)
    block = logic.adder_block(8)
    end, beyond = (block.cost(rate, N28, None, 0.0, (1, 1), (1, 1)) for rate in (at_most, 2 * at_most))
    plain, one = block.cost(1e6, N28, None, 0.0, (1, 1), (1, 1)), logic.register(bits=56, node=N28, **SLOW)
    assert end.area == pytest.approx(plain.area + one.area)
    assert end.energy == beyond.energy == pytest.approx(plain.energy + one.energy)
    assert beyond.area == pytest.approx(2 * end.area)


@pytest.mark.parametrize("law", [logic.adder, logic.multiplier, memory.sram_read, memory.register_file], ids=lambda each: each.law.name)
def test_an_action_never_takes_more_at_a_lower_voltage(law):
    size = {"capacity": 4 * KILOBYTE, "width": 64, "clock": 3e9} if "clock" in law.law.valid else {"bits": 16, "rate": 3e9}
    found = [law(node=N32, voltage=percent / 100, **size) for percent in range(130, 44, -5)]
    energies, areas = zip(*((cost.energy, cost.area) for cost in found), strict=True)
    assert list(energies) == sorted(energies, reverse=True)
    assert list(areas) == sorted(areas)


def test_a_bus_by_hand():
    # 32 nm, 1 mm, a quarter of the bits toggle: 382/4 fJ; repeaters (382/.81 − 200) fF / (3·.099 fF) = 914.5 inverters a mm
    got = bus(width=10, length=1e-3, node=N32)
    assert got.energy == pytest.approx(95.5e-15)
    assert got.time == pytest.approx(465e-12)
    assert got.area == pytest.approx(10 * (1e-3 * 4 * 32e-9 + 914.5 * 0.218e-12), rel=1e-3)


def test_a_link_is_isaacs_hypertransport():
    got = link(rate=25.6e9 * 8)
    assert (got.energy, got.leakage, got.area) == pytest.approx((0.0, 10.4, 22.88e-6))
    assert link(rate=1e9, idle_share=0.0).energy == pytest.approx(50.78e-12, rel=1e-3)  # 10.4/204.8e9
    assert link(rate=1e9, idle_share=0.5).leakage == pytest.approx(0.5 * 10.4 / 204.8)


def test_dram_by_kind_and_an_unknown_kind():
    assert dram(kind="HBM2").energy == 6.25e-12
    with pytest.raises(ParameterError, match=r"law dram: kind = 'hbm2' is none of LPDDR4.*did you mean HBM2"):
        dram(kind="hbm2")

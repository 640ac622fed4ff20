"""Technology against the tables it was built from: NeuroSim's, and the fits of Stillmaker and Baas, worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from xbar.hw.cost.cost import Cost
from xbar.hw.cost.law import law
from xbar.hw.cost.technology import gate_leakage, nominal_voltage, scaling, technology, voltage_range
from xbar.hw.errors import LawRangeError, ParameterError

# nm: V_dd, gate fF/F, drain fF/F, R_on·F kohm, inverter µm², nW (fast nW), ohm/µm, fJ/bit/mm, ps/mm as NeuroSim V1.3 gives them
TABLE = {
    130: (1.3, 0.414, 0.195, 51, 3.60, 0.05, 53, 0.45, 819, 293),
    65: (1.1, 0.156, 0.093, 75, 0.90, 0.019, 19, 1.43, 586, 363),
    32: (0.9, 0.054, 0.045, 83, 0.218, 0.0072, 6.2, 6.56, 382, 465),
    7: (0.7, 0.093, 0.013, 13, 0.0145, 0.0077, 7.6, 98, 178, 855),
}
# fJ and µm² of NeuroSim's 8-bit adder and 8-bit flip-flops
NEUROSIM = {
    130: (254, 388, 570, 345), 65: (69, 97, 156, 86), 45: (32, 47, 75, 41), 32: (16, 24, 38, 21), 22: (8.6, 11, 20, 9.9),
    14: (5.9, 6.3, 17.5, 5.6), 7: (2.4, 1.6, 6.7, 1.4),
}  # fmt: skip
RANDOM_NODES = sorted(np.exp(np.random.default_rng(3).uniform(math.log(7e-9), math.log(180e-9), 60)))


@pytest.mark.parametrize("nm", TABLE)
def test_technology_reproduces_the_table_at_its_nodes(nm):
    vdd, gate, drain, resistance, area, leakage, fast, wire, bus, delay = TABLE[nm]
    here = technology(nm * 1e-9)
    assert here.voltage == here.nominal_voltage == pytest.approx(vdd)
    assert (here.gate_capacitance, here.drain_capacitance) == pytest.approx((gate * 1e-15, drain * 1e-15))
    assert (here.on_resistance, here.inverter_area) == pytest.approx((resistance * 1e3, area * 1e-12))
    assert (here.inverter_leakage, here.fast_inverter_leakage) == pytest.approx((leakage * 1e-9, fast * 1e-9))
    assert (here.wire_resistance, here.wire_capacitance) == pytest.approx((wire * 1e6, 2e-10))
    assert (here.bus_energy, here.bus_delay) == pytest.approx((bus * 1e-12, delay * 1e-9))


def test_between_nodes_the_value_is_a_power_of_the_node():
    # 32 and 45 nm: area .218 and .43; at 38 nm .218·(38/32)^(ln(.43/.218)/ln(45/32)) = .218·1.1875^1.9925 = .30703
    assert technology(38e-9).inverter_area == pytest.approx(0.30703e-12, rel=1e-4)


def test_energy_area_delay_and_leakage_fall_with_a_smaller_node():
    for small, large in itertools.pairwise(RANDOM_NODES):
        here = scaling(small, None, large, None)
        assert here.energy <= 1
        assert here.area <= 1
        assert here.delay <= 1
        assert here.leakage <= 1
        assert technology(small).inverter_area <= technology(large).inverter_area
        assert technology(small).bus_energy <= technology(large).bus_energy
        assert nominal_voltage(small) <= nominal_voltage(large)


def test_energy_follows_the_fits_of_one_family():
    # HP 32 nm at .9 V: .8367·.81 − .4341·.9 + .1701 = .457137; 45 nm at 1 V: .8612; 7 nm at .7 V: .047824;
    # 65 nm at 1.1 V: 1.68075
    assert scaling(45e-9, 1.0, 32e-9, 0.9).energy == pytest.approx(0.8612 / 0.457137, rel=1e-4)
    assert scaling(7e-9, 0.7, 32e-9, 0.9).energy == pytest.approx(0.047824 / 0.457137, rel=1e-4)
    # 65 nm at .8 V: 3.755·.64 − 4.398·.8 + 1.975 = .8598
    assert scaling(65e-9, 0.8, 65e-9, 1.1).energy == pytest.approx(0.8598 / 1.68075, rel=1e-4)
    # area 14/1 of 130 nm; delay of 130 nm at 1.3 V: −76.65·2.197 + 334.9·1.69 − 493.4·1.3 + 275.8 = 31.96095
    assert scaling(130e-9, None, 32e-9, None).area == pytest.approx(14)
    # 90 nm at 1.1 V: −60.34·1.331 + 262.5·1.21 − 384.2·1.1 + 210.9 = 25.59246
    assert scaling(130e-9, 1.3, 90e-9, 1.1).delay == pytest.approx(31.96095 / 25.59246, rel=1e-4)


@pytest.mark.parametrize("nm", [180, 130, 90, 65, 45, 32, 28, 22, 14, 7])
def test_more_voltage_costs_energy_and_leakage_and_is_faster(nm):
    low, high = voltage_range(nm * 1e-9)
    steps = [scaling(nm * 1e-9, each, nm * 1e-9, None) for each in np.linspace(low, high, 40)]
    for less, more in itertools.pairwise(steps):
        assert 0 < less.energy <= more.energy
        assert less.leakage < more.leakage
        assert less.delay * (1 + 1e-12) >= more.delay > 0


def test_the_band_grows_with_the_distance_and_holds_neurosims_adder_and_flip_flop():
    same = scaling(32e-9, None, 32e-9, None)
    assert (same.energy, same.area, same.low, same.high) == pytest.approx((1, 1, 1, 1))
    bands = [scaling(nm * 1e-9, None, 130e-9, None).high for nm in (90, 65, 32, 7)]
    assert bands == sorted(bands)
    assert bands[0] > 1
    outside = []
    for source, from_row in NEUROSIM.items():
        for target, to_row in NEUROSIM.items():
            here = scaling(target * 1e-9, None, source * 1e-9, None)
            for column, factor in ((0, here.energy), (1, here.area), (2, here.energy), (3, here.area)):
                off = to_row[column] / from_row[column] / factor
                outside += [] if here.low <= off <= here.high else [(source, target, column, off, here.high)]
    # The flip-flop at 14 nm is 2.2 times what its neighbours say: with one exception in the band's text, everything is inside.
    assert all(14 in (source, target) and column == 2 for source, target, column, _, _ in outside), outside
    assert max(max(off, 1 / off) for *_, off, _ in outside) < 2.2


def test_leakage_of_laws_is_the_largest_up_to_the_node_and_depends_on_the_transistor():
    assert gate_leakage(22e-9) == pytest.approx(0.0077e-9)  # 7 nm's, since 22 nm's own .0043 nW is less
    assert gate_leakage(65e-9) == pytest.approx(0.019e-9)
    assert gate_leakage(65e-9, fast_share=1.0) == pytest.approx(19e-9)


@pytest.mark.parametrize("node", [6e-9, 250e-9, float("nan"), 65.0])
def test_a_node_outside_is_refused_by_name(node):
    with pytest.raises(LawRangeError, match=r"node = .* nm is outside 7 nm to 180 nm"):
        technology(node)


def test_a_voltage_outside_is_refused_by_name():
    with pytest.raises(ParameterError, match=r"scaling: from_voltage = 3 V is outside 0.55 V to 1.595 V"):
        scaling(65e-9, None, 65e-9, 3.0)


@law(cite="nobody", read="nowhere", valid={"bits": (4, 16), "node": (7e-9, 180e-9)})
def squares(*, bits: float, node: float, voltage: float | None = None) -> Cost:
    """A law for these tests."""
    return Cost(energy=bits * node, area=bits**2)


def test_a_law_keeps_what_it_is_and_refuses_by_name():
    assert (squares.law.name, squares.law.cite, squares.law.parameters) == ("squares", "nobody", ("bits", "node", "voltage"))
    assert squares.law.required == ("bits", "node")
    assert squares.law.valid["bits"] == (4, 16)
    assert squares(bits=4, node=32e-9).area == 16
    with pytest.raises(LawRangeError, match=r"law squares: bits = 17 bit is outside 4 bit to 16 bit.*stated_at") as caught:
        squares(bits=17, node=32e-9)
    assert (caught.value.law, caught.value.parameter, caught.value.value) == ("squares", "bits", 17)
    with pytest.raises(LawRangeError, match=r"law squares: voltage = 2 V"):
        squares(bits=4, node=32e-9, voltage=2.0)
    with pytest.raises(LawRangeError, match=r"node = 200 nm"):
        squares(bits=4, node=200e-9)
    with pytest.raises(TypeError, match="no parameter bytes"):
        law(cite="", read="", valid={"bytes": (0, 1)})(lambda **_: Cost(0, 0))

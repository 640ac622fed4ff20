"""Measured compute-in-memory chips of SRAM: laws with their global constants, and presets calibrated on the published points.

Bars are of the points of `workloads/study/silicon.csv`, on which two constants of `hw/cost/charge.py`, one of `technology.cycle_ratio`
and the figures of the presets were fitted: they tell how well the model describes these chips, not how well it foretells others. The
best peer without factors per chip stands at about 50 % on energy and 55 % on area.
"""

import pandas as pd
import pytest
import torch
from torch import nn

from tests.hw.test_crossbar import crossbar_matrix
from tests.hw.test_mapping import random_integers
from xbar.hw import Arrivals, ConfigurationError, Network, load_chip, place, simulate, trace
from xbar.hw.cost.charge import capacitive, charge, discharge, pulses
from xbar.hw.cost.logic import CLOCKED, datapath, register, shift_add
from xbar.hw.cost.technology import cycle_ratio
from xbar.hw.errors import LawRangeError
from xbar.workloads.study.validate import points, run, table

NM = 1e-9
CHIPS = ("jia2020", "sinangil2021", "wang2022")


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    """Points of these chips, without those that are arithmetic on others."""
    found = table([point for point in points() if point.chip in CHIPS])
    assert set(found["cells"]) == {"SRAM"}
    return found[found["derived_from"] == ""]


# ---- against silicon


@pytest.mark.parametrize(("group", "mean", "largest"), [("energy", 0.40, 0.84), ("area", 0.33, 0.94)])
def test_laws_alone_meet_the_chips(measured: pd.DataFrame, group: str, mean: float, largest: float) -> None:
    """40 % of energy and 32 % of area, each chip one vote; the largest: Jia's SAR and Sinangil's counters, 1.8 times as much by law, and
    Wang's miscellaneous area."""
    found = measured[measured["group"] == group]
    assert found.groupby("chip")["by_laws_error"].apply(lambda errors: errors.abs().mean()).mean() < mean
    assert found["by_laws_error"].abs().max() < largest


@pytest.mark.parametrize(("name", "energy"), [("jia2020", 0.36), ("sinangil2021", 0.58), ("wang2022", 0.27)])
def test_laws_alone_meet_each_chip(measured: pd.DataFrame, name: str, energy: float) -> None:
    mine = measured[measured["chip"] == name]
    assert mine.loc[mine["group"] == "energy", "by_laws_error"].abs().mean() < energy
    assert mine.loc[mine["group"] == "area", "by_laws_error"].abs().mean() < 0.38


@pytest.mark.parametrize(("group", "mean", "largest"), [("energy", 0.045, 0.13), ("area", 0.01, 0.07), ("throughput", 0.01, 0.03)])
def test_calibrated_presets_meet_the_chips(measured: pd.DataFrame, group: str, mean: float, largest: float) -> None:
    """The largest: Sinangil at 1.0 V and Wang at 1.1 V, where measured energy rises by less than voltage²."""
    errors = measured.loc[measured["group"] == group, "calibrated_error"].abs()
    assert errors.mean() < mean
    assert errors.max() < largest


def test_bands_of_the_laws_hold_nine_points_of_ten(measured: pd.DataFrame) -> None:
    """27 of 28, and all were made to: all but Wang's miscellaneous area, 11 % of the macro, of which registers by law are a
    fifteenth."""
    banded = measured[measured["outside"].notna()]
    assert banded.loc[banded["outside"].astype(bool), "point"].tolist() == ["the rest"]
    assert banded["anchored"].all()


def test_energy_at_a_value_that_the_fit_did_not_see(measured: pd.DataFrame) -> None:
    """Sinangil's ADC and driver, each times a factor, refitted without one of its points: 6 % off there on the mean."""
    off = measured.loc[(measured["chip"] == "sinangil2021") & (measured["group"] == "energy"), "left_out_error"].abs()
    assert off.mean() < 0.06
    assert off.max() < 0.115


# ---- the presets run


def filling(inputs: int, outputs: int, vectors: int) -> Network:
    """A linear layer that reads so many vectors a sample."""
    torch.manual_seed(0)
    return trace(nn.Linear(inputs, outputs), torch.rand(2, vectors, inputs))


@pytest.mark.parametrize(("name", "base"), [("jia2020", 4 * 1.35e-6), ("sinangil2021", 5.5e-9), ("wang2022", 8 * 4.593e-9)])
def test_vectors_follow_each_other_at_the_published_cycle(name: str, base: float) -> None:
    """Nothing but the array bounds the rate of a matrix that fills it: not the data movers, which are ours."""
    chip = load_chip(name)
    geometry = chip.geometry(10**6, 1)
    shape = geometry.inputs_per_crossbar, geometry.outputs_per_crossbar
    few, many = (
        float(simulate(place(filling(*shape, vectors), chip, replication=None), Arrivals.batch(1), off_chip_io=False).latency[0])
        for vectors in (8, 72)
    )
    assert (many - few) / 64 == pytest.approx(base, rel=0.01)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("by_law", [True, False])
def test_a_vectors_energy_is_counts_times_energy_of_one_action(name: str, by_law: bool) -> None:
    """By hand: Jia 4 planes x 2304 rows, 4 reads, 4 x 256 conversions; Sinangil 64, 1, 16; Wang 512 drives, 8 reads, 128 conversions."""
    counts = {"jia2020": (4 * 2304, 4, 1024), "sinangil2021": (64, 1, 16), "wang2022": (512, 8, 128)}[name]
    chip = load_chip(name).by_laws if by_law else load_chip(name)
    found = run(chip, None)
    for part, count in zip(("dac", "crossbar", "adc"), counts, strict=True):
        idle = chip.costs[part].static_power / found.pace
        assert found.energy([part])[part] == pytest.approx(count * chip.costs[part].energy_per_action + idle), part


# ---- what such a chip computes


@pytest.mark.parametrize("name", CHIPS)
def test_an_ideal_converter_gives_the_integer_product(name: str) -> None:
    """Cells are exact levels: the column's charge is the sum of x w, and only the ADC rounds it."""
    chip = load_chip(name, {"component.adc.range": "ideal"})
    matrix = crossbar_matrix(chip, 5, 70, 1, 3, False)
    x = torch.randint(0, 2**chip.inputs.bits, (1, 6, 70), generator=torch.Generator().manual_seed(4)).double()
    assert torch.equal(matrix(x), x @ random_integers(matrix.mapped.geometry, 3).double().transpose(1, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": {"read_voltage": 0.2}}, "device.read_voltage must be left out"),
        ({"device": {"g_min": 1e-7}}, "device.g_min must be 0"),
        ({"wires": {"bitline": 1.0}}, "wires must be ideal"),
        ({"device": {"iv": "sinh", "iv_v0": 0.3}}, "device.iv must be linear"),
        ({"component": {"dac": {"law": "driver", "stated_at": None, "energy": None, "area": None}}}, "component.dac.law must be"),
    ],
)
def test_what_only_a_conductance_has_is_refused(changes: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_chip("sinangil2021").with_changes(**changes)


def test_memristive_cells_have_no_drivers_of_sram_rows() -> None:
    with pytest.raises(ConfigurationError, match="drives SRAM cells"):
        load_chip("generic", {"component.dac.law": "pulses"})


# ---- the laws


def test_charge_is_c_v_squared_of_every_computing_bit() -> None:
    """Proportional to cells and voltage²; a ladder has three unit capacitors of 2.2 fF where one bit has one."""
    one = charge(wordlines=64, bitlines=64, node=22 * NM, voltage=0.8)
    assert charge(wordlines=128, bitlines=64, node=22 * NM, voltage=0.8).energy == pytest.approx(2 * one.energy)
    assert charge(wordlines=64, bitlines=64, node=22 * NM, voltage=1.0).energy == pytest.approx(one.energy / 0.64)
    assert charge(wordlines=64, bitlines=8, node=22 * NM, voltage=0.8, cell_bits=8).energy > one.energy + 64 * 64 * 4.4e-15 * 0.64
    shared = charge(wordlines=512, bitlines=64, node=22 * NM, voltage=0.8, rows_at_once=64)
    assert one.area < shared.area < 8 * one.area  # eight times the stored bits, the same capacitors
    assert shared.leakage == pytest.approx(8 * one.leakage)


def test_discharge_and_pulses_follow_the_inputs() -> None:
    array = {"wordlines": 64, "bitlines": 16, "node": 7 * NM, "voltage": 0.8, "cell_bits": 4}
    assert discharge(**array, mean_code=0).energy == 0
    assert discharge(**array, mean_code=1).energy == pytest.approx(2 * discharge(**array, mean_code=0.5).energy)
    row = {"bits": 4, "bitlines": 16, "cell_bits": 4, "node": 7 * NM, "voltage": 0.8}
    idle, half, full = (pulses(**row, activity=min(1, 2 * p), mean_code=p).energy for p in (0, 0.5, 1))
    assert idle == 0
    assert half < full < 2 * half  # the counter runs through all clocks whatever the code
    flip_flop = register(bits=1, rate=1.0, node=7 * NM, voltage=0.8).energy
    counted = 15 * flip_flop * (4 * CLOCKED + (2 - 1 / 8) * (1 - CLOCKED) / 0.25)  # 4 clocked, 15/8 of them toggling, at 15 clocks
    assert pulses(**row, activity=1, mean_code=0).energy == pytest.approx(counted)


def test_a_datapath_that_is_clocked_takes_more_the_longer_it_waits() -> None:
    at = {"bits": 16, "rate": 1e6, "node": 65 * NM, "voltage": 0.85}
    assert datapath(**at, clocks=1).energy == pytest.approx(shift_add(**at).energy)
    waits = [datapath(**at, clocks=clocks).energy for clocks in (1, 2, 3)]
    assert waits[2] - waits[1] == pytest.approx(waits[1] - waits[0])


@pytest.mark.parametrize("law", [charge, discharge, pulses, capacitive])
def test_laws_refuse_what_they_do_not_cover(law: object) -> None:
    known = {"wordlines": 64} if law in (charge, discharge) else {"bits": 1}
    with pytest.raises(LawRangeError, match="node"):
        law(**known, bitlines=64, node=5 * NM)  # type: ignore[operator]
    with pytest.raises(LawRangeError, match="cell_bits"):
        law(**known, bitlines=64, node=22 * NM, cell_bits=9)  # type: ignore[operator]


def test_cycles_follow_the_supply() -> None:
    """Wang's 6.95 ns and 4.19 ns at 0.7 and 1.1 V over 4.593, Sinangil's 4.5 ns at 1.0 V over 5.5 ns, all within 3 %."""
    for voltage, at, measured in ((0.7, 1.0, 3.596 / 2.377), (1.1, 1.0, 3.596 / 3.941), (1.0, 0.8, 0.3724 / 0.4551)):
        assert cycle_ratio(voltage, at) == pytest.approx(measured, rel=0.03)
    with pytest.raises(LawRangeError, match="voltage"):
        cycle_ratio(0.4, 1.0)

"""What the components of a chip cost: laws by hand, published figures moved by laws, and what is refused."""

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.hw.networks import seeded
from xbar.hw import Arrivals, Chip, ConfigurationError, MappingError, load_chip, place, preset_names, simulate, trace
from xbar.hw.analog import convert, read_energies
from xbar.hw.array.converter import Dac
from xbar.hw.chip.checked import build
from xbar.hw.chip.files import read_toml
from xbar.hw.cost.laws import LAWS
from xbar.hw.events.mesh import Mesh

NODE = 32e-9
KILOBYTE = 8 * 1024
# ISAAC (ISCA 2016), Table I: milliwatts and square millimetres of all that a core, a tile or the chip has.
TABLE = {
    "dac": (4, 0.00017), "crossbar": (2.4, 0.0002), "sample_hold": (0.01, 0.00004), "adc": (16, 0.0096),
    "shift_add": (0.2, 0.00024), "input_register": (1.24, 0.0021), "output_register": (0.23, 0.00077), "buffer": (20.7, 0.083),
    "bus": (7, 0.090), "router": (42 / 4, 0.151 / 4), "activation": (0.52, 0.0006), "accumulator": (0.05, 0.00006),
    "pool": (0.4, 0.00024), "tile_register": (1.68, 0.0032), "link": (10400, 22.88),
}  # fmt: skip
ROUNDED = {"bus": 2e-3, "dac": 1e-3, "crossbar": 1e-3}  # their stated length and resistance are typed to three or four digits

CONVERTER = {"bits": 8, "rate": 1.28e9, "node": NODE}
BUFFER = {"capacity": 64 * KILOBYTE, "width": 256, "banks": 4, "node": NODE}
ROUTER = {"width": 32, "ports": 8, "clock": 1.2e9, "node": NODE}
ADDER = {"bits": 16, "rate": 1.2e9, "node": NODE}


def raw_of(preset: str) -> dict[str, Any]:
    """A preset's file."""
    return read_toml(preset, "xbar.hw.presets", "chip")[1]


def loaded(raw: dict[str, Any]) -> Chip:
    """The chip of a raw file, as `load_chip` makes it."""
    chip, provenance = build(Chip, raw, "test")
    chip._provenance = provenance
    return chip


def assumed(value: float, unit: str = "1") -> dict[str, object]:
    """A number of a chip file."""
    return {"value": value, "unit": unit, "kind": "assumed", "why": "a test"}


class TestStatedFigures:
    @pytest.mark.parametrize("name", TABLE)
    def test_are_what_the_chip_costs_at_the_configuration_stated(self, isaac: Chip, name: str) -> None:
        power, area = TABLE[name]
        cost = isaac.costs[name]
        assert cost.stated
        assert cost.peak_power == pytest.approx(power * 1e-3, rel=ROUNDED.get(name, 1e-9))
        assert cost.parent_area == pytest.approx(area * 1e-6, rel=ROUNDED.get(name, 1e-9))

    def test_are_stated_at_the_load_of_the_peak(self, isaac: Chip) -> None:
        """96 arrays a tile read 128 inputs of 16 bits and make 16 results in 1600 ns."""
        values = {name: cost.load for name, cost in isaac.costs.items() if name != "link"}
        results, conversions = 96 * 16 / 1.6e-6, 8 * 128 / 100e-9
        bits = 96 * (128 + 16) * 16 / 1.6e-6
        assert values == pytest.approx({
            "dac": 1024e7, "crossbar": 8e7, "sample_hold": 1024e7, "adc": conversions, "shift_add": conversions,
            "input_register": 1024e7, "output_register": conversions, "buffer": bits, "bus": bits, "router": 4 * 16 * results,
            "activation": results, "accumulator": results, "pool": results, "tile_register": results,
        })  # fmt: skip
        for name, load in values.items():
            at = getattr(isaac.component, name).stated_at
            assert at.units * at.load == pytest.approx(load), name

    @pytest.mark.parametrize(
        ("name", "changes", "law", "now", "then"),
        [
            ("adc", {"component": {"adc": {"bits": 6}}}, "survey", CONVERTER | {"bits": 6}, CONVERTER),
            ("adc", {"component": {"adc": {"rate": 0.64e9}}}, "survey", CONVERTER | {"rate": 0.64e9}, CONVERTER),
            ("adc", {"component": {"adc": {"law": "sar", "bits": 7}}}, "sar", CONVERTER | {"bits": 7}, CONVERTER),
            ("adc", {"technology": {"node": 22e-9}}, "survey", CONVERTER | {"node": 22e-9}, CONVERTER),
            ("buffer", {"timing": {"buffer_size": 32 * KILOBYTE}}, "edram", BUFFER | {"capacity": 32 * KILOBYTE}, BUFFER),
            ("buffer", {"component": {"buffer": {"banks": 2}}}, "edram", BUFFER | {"banks": 2}, BUFFER),
            ("router", {"component": {"router": {"ports": 6}}}, "router", ROUTER | {"ports": 6}, ROUTER),
            ("router", {"technology": {"node": 22e-9}}, "router", ROUTER | {"node": 22e-9}, ROUTER),
            ("accumulator", {"technology": {"node": 45e-9}}, "adder", ADDER | {"node": 45e-9}, ADDER),
            ("accumulator", {"technology": {"voltage": 0.8}}, "adder", ADDER | {"voltage": 0.8}, ADDER),
        ],
    )  # fmt: skip
    def test_move_as_their_law(
        self, isaac: Chip, name: str, changes: dict[str, Any], law: str, now: dict[str, float], then: dict[str, float]
    ) -> None:
        """Energy, area and leakage, each by its own ratio; the count of units stays."""
        here = LAWS[law](**now)
        stated = LAWS[law](**then)
        before, after = isaac.costs[name], isaac.with_changes(**changes).costs[name]
        assert (here.energy, here.area) != (stated.energy, stated.area)
        assert after.energy_per_action / before.energy_per_action == pytest.approx(here.energy / stated.energy)
        assert after.area / before.area == pytest.approx(here.area / stated.area)
        if stated.leakage:
            assert after.static_power / before.static_power == pytest.approx(here.leakage / stated.leakage)
        assert after.units == before.units

    @pytest.mark.parametrize("scale", [1.0, 1e-3])
    def test_hold_below_the_survey_as_sense_amplifiers_are(self, scale: float) -> None:
        """As their own law tells them, a stated converter of 4 bits being no cheaper; neither energy nor area rises as bits fall."""
        raw = raw_of("isaac")
        for figure in ("power", "area"):
            stated = raw["component"]["adc"][figure]
            stated |= {each: stated[each] * scale for each in ("value", "low", "high") if each in stated}
        chip, own = loaded(raw), LAWS["sense_amplifier"](**CONVERTER | {"bits": 3})
        found = [chip.with_changes(component={"adc": {"bits": bits}}).costs["adc"] for bits in range(8, 0, -1)]
        energies, areas = [cost.energy_per_action for cost in found], [cost.area for cost in found]
        assert energies == sorted(energies, reverse=True)
        assert areas == sorted(areas, reverse=True)
        assert energies[5] == pytest.approx(own.energy if scale == 1 else energies[4])
        assert areas[5] == pytest.approx(8 * own.area if scale == 1 else areas[4])

    def test_of_sense_amplifiers_go_on_as_the_survey(self) -> None:
        raw = raw_of("isaac")
        raw["component"]["adc"]["stated_at"]["bits"]["value"] = 2
        chip, survey = loaded(raw), LAWS["survey"](**CONVERTER)
        found = [chip.with_changes(component={"adc": {"bits": bits}}).costs["adc"] for bits in range(1, 9)]
        areas = [cost.area for cost in found]
        assert areas == sorted(areas)
        assert areas[1] == pytest.approx(0.0096e-6)
        assert areas[-1] == pytest.approx(max(areas[2], 8 * survey.area))

    def test_cannot_move_from_a_law_s_0(self) -> None:
        """A multiplexer of one column takes nothing."""
        raw = raw_of("edge")
        raw["component"]["multiplexer"] = {"area": assumed(10, "µm²"), "stated_at": {
            "units": assumed(1), "columns": assumed(1), "bits": assumed(8), "rate": assumed(1.28, "GS/s"), "node": assumed(32, "nm"),
        }}  # fmt: skip
        with pytest.raises(ConfigurationError, match=r"component\.multiplexer\.area = .*the law multiplexer tells 0 at stated_at"):
            _ = loaded(raw).costs

    def test_of_more_units_are_as_much_more(self, isaac: Chip) -> None:
        """Twice the arrays a core have twice the ADCs, drivers and samples; an action costs what it did. What vectors
        pass keeps up."""
        digital = ("shift_add", "activation", "accumulator", "pool")
        passed = {name: {"units": 2 * getattr(isaac.component, name).units} for name in digital}
        more = isaac.with_changes(structure={"crossbars_per_core": 16}, component=passed)
        for name in ("dac", "crossbar", "sample_hold", "adc"):
            one, two = isaac.costs[name], more.costs[name]
            assert two.units == 2 * one.units
            assert two.area == pytest.approx(2 * one.area)
            assert two.static_power == pytest.approx(2 * one.static_power)
            assert two.energy_per_action == pytest.approx(one.energy_per_action)
            assert two.peak_power == pytest.approx(2 * one.peak_power)

    @pytest.mark.parametrize(("tiles", "routers"), [(1, 1), (8, 2), (9, 3)])
    def test_the_last_router_is_a_whole_one(self, edge: Chip, tiles: int, routers: int) -> None:
        """Four tiles share one: as many in the table, in area and in leakage as the mesh has and the floor plan draws."""
        chip, none = edge.with_changes(structure={"tiles": tiles}), edge.with_changes(structure={"tiles": 4})
        one, wires, link = (none.costs[name] for name in ("router", "mesh_wires", "link"))
        row, plan = chip.table().loc["router"], chip.floorplan.table()
        assert row["count"] == routers == len(Mesh(chip).places) == (plan["kind"] == "router").sum()
        drawn = plan[plan["kind"] != "link"]
        of_tiles_and_routers = float((drawn["width_m"] * drawn["height_m"]).sum())
        beyond = (routers - tiles / 4) * wires.area  # tiles are drawn with a fourth of the wires of a router
        assert chip.area == pytest.approx(of_tiles_and_routers + beyond + link.area)
        assert row["area_m2"] == pytest.approx(routers * one.area)
        assert row["static_power_W"] == pytest.approx(routers * one.static_power)
        shared = one.static_power + wires.static_power
        of_tiles = (none.static_power - shared - link.static_power) / 4
        assert chip.static_power == pytest.approx(tiles * of_tiles + routers * shared + link.static_power)
        moved = one.energy_per_action * one.load * tiles / 4
        assert row["power_W"] == pytest.approx(moved + routers * one.static_power)
        assert chip.peak_power == pytest.approx(float(chip.table()["power_W"].sum()))
        idle = simulate(place(trace(nn.Linear(4, 4), torch.rand(1, 4)), chip, None), Arrivals.batch(1))
        assert idle.static_energy == pytest.approx(chip.static_power * idle.span)

    @pytest.mark.parametrize(
        ("name", "law", "parameters"), [("buffer", "edram", BUFFER), ("router", "router", ROUTER), ("accumulator", "adder", ADDER)]
    )
    def test_a_stated_power_has_the_law_s_leakage_in_it(self, isaac: Chip, name: str, law: str, parameters: Mapping[str, float]) -> None:
        power, cost = TABLE[name][0] * 1e-3, isaac.costs[name]
        leakage = LAWS[law](**parameters).leakage
        assert 0 < leakage < power * cost.shared_by
        assert cost.static_power == pytest.approx(leakage)
        assert cost.energy_per_action * cost.load == pytest.approx(power * cost.shared_by - leakage)

    def test_a_stated_static_power_comes_beside_the_power(self) -> None:
        raw = raw_of("isaac")
        raw["component"]["buffer"]["static_power"] = assumed(5, "mW")
        cost = loaded(raw).costs["buffer"]
        assert cost.static_power == pytest.approx(5e-3)
        assert cost.peak_power == pytest.approx(25.7e-3)

    def test_an_energy_is_of_one_action(self) -> None:
        """The law's leakage is not in it, and comes as it is; nothing of the power is left."""
        raw = raw_of("isaac")
        buffer = raw["component"]["buffer"]
        del buffer["power"], buffer["stated_at"]["load"]
        buffer["energy"] = assumed(0.2, "pJ")
        cost = loaded(raw).costs["buffer"]
        assert cost.energy_per_action == pytest.approx(0.2e-12)
        assert cost.static_power == pytest.approx(LAWS["edram"](**BUFFER).leakage)
        assert cost.area == pytest.approx(0.083e-6)

    def test_an_area_alone_leaves_energy_to_the_law(self) -> None:
        raw = raw_of("edge")
        raw["component"]["adc"] |= {"area": assumed(500, "µm²"), "stated_at": {
            "units": assumed(1), "bits": assumed(8), "rate": assumed(1.28, "GS/s"), "node": assumed(32, "nm"),
        }}  # fmt: skip
        cost = loaded(raw).costs["adc"]
        assert cost.area == pytest.approx(500e-12)
        assert cost.energy_per_action == pytest.approx(LAWS["survey"](**CONVERTER).energy)

    @pytest.mark.parametrize("name", ["multiplier", "product"])
    def test_digital_units_may_be_stated(self, isaac: Chip, name: str) -> None:
        """At every parameter of their law; it moves them with the bits of values."""
        of_both = {"second_bits": 16} if name == "multiplier" else {}
        stated = {"units": 1, "node": NODE, "bits": 16, "rate": 1.2e9, **of_both}
        unit = {"energy": 1e-12, "area": 1e-9, "stated_at": stated}
        cost = isaac.with_changes(component={name: {"units": 4, **unit}}).costs[name]
        assert (cost.energy_per_action, cost.area) == pytest.approx((1e-12, 4e-9))
        fewer = isaac.with_changes(inputs={"bits": 8}, component={name: {"units": 4, **unit}}).costs[name]
        both = {"second_bits": 8} if of_both else {}
        ratio = LAWS[name](**ADDER | {"bits": 8} | both).energy / LAWS[name](**ADDER | of_both).energy
        assert fewer.energy_per_action == pytest.approx(1e-12 * ratio)


class TestLaws:
    """Edge, of which nothing but the link is stated."""

    @pytest.mark.parametrize(
        ("name", "law", "parameters", "units", "per_action"),
        [
            ("adc", "survey", CONVERTER, 1, 1),
            ("dac", "driver", {
                "bits": 1, "bitlines": 128, "rate": 1e7, "node": NODE, "read_voltage": 0.2, "conductance": 12.5e-6, "on_resistance": 40e3,
            }, 512, 1),
            ("multiplexer", "multiplexer", {"columns": 512, "bits": 8, "rate": 1.28e9, "node": NODE}, 1, 1),
            ("sample_hold", "sample_hold", {"bits": 8, "node": NODE}, 512, 1),
            ("shift_add", "shift_add", {"bits": 8, "rate": 1.28e9, "node": NODE}, 1, 1),
            ("buffer", "edram", BUFFER, 1, 1 / 256),
            ("accumulator", "adder", ADDER | {"bits": 8}, 1, 1),
            ("multiplier", "multiplier", ADDER | {"bits": 8, "second_bits": 8}, 1, 1),
            ("product", "product", ADDER | {"bits": 8}, 16, 1),
        ],
    )  # fmt: skip
    def test_by_hand(self, edge: Chip, name: str, law: str, parameters: dict[str, float], units: int, per_action: float) -> None:
        one, cost = LAWS[law](**parameters), edge.costs[name]
        assert (cost.units, cost.law, cost.stated) == (units, law, False)
        assert cost.energy_per_action == pytest.approx(one.energy * per_action)
        assert cost.area == pytest.approx(one.area * units)
        assert cost.static_power == pytest.approx(one.leakage * units)

    def test_a_read_is_joule_s_law(self, edge: Chip) -> None:
        """V² G t of 128 x 128 cells at the mean of their levels, half of the wordlines driven; cells of 25 µS at most."""
        cost = edge.costs["crossbar"]
        assert cost.energy_per_action == pytest.approx(128 * 128 / 2 * 0.2**2 * 12.5e-6 * 100e-9)
        assert cost.units == 4
        twice = edge.with_changes(timing={"array_read": 200e-9}).costs["crossbar"]
        assert twice.energy_per_action == pytest.approx(2 * cost.energy_per_action)

    @pytest.mark.parametrize(("bits", "square"), [(1, 0.5), (2, 3.5 / 9), (4, (0.25 * 85 + 7.5**2) / 225)])
    def test_a_read_takes_the_mean_square_of_codes(self, edge: Chip, bits: int, square: float) -> None:
        """Codes of all values alike, as bits make them that are ones half of the time; by hand from each code."""
        codes = [code / (2**bits - 1) for code in range(2**bits)]
        assert square == pytest.approx(sum(each**2 for each in codes) / len(codes))
        cost = edge.with_changes(component={"dac": {"bits": bits}}, inputs={"signed": "two_pass"}).costs["crossbar"]
        read_time = edge.with_changes(component={"dac": {"bits": bits}}, inputs={"signed": "two_pass"}).read_time
        assert cost.energy_per_action == pytest.approx(128 * 128 * square * 0.2**2 * 12.5e-6 * read_time)

    @pytest.mark.parametrize("bits", [1, 3])
    @pytest.mark.parametrize("law", ["driver", "fed", "pulse_width"])
    def test_a_read_of_cells_that_are_not_linear(self, edge: Chip, bits: int, law: str) -> None:
        """V I(V) t, of a supply V_fed I(V) t, of pulses a share of V I(V) t at the full voltage, over codes of all values alike; at a
        temperature times the device's factor."""
        v0, full, heat = 0.05, 0.2, {"temperature": 350.0, "reference_temperature": 300.0, "activation_energy": 1e-20}
        chip = edge.with_changes(
            device={"iv": "sinh", "iv_v0": v0, **heat}, inputs={"signed": "two_pass"},
            component={"dac": {"bits": bits, "law": "pulse_width" if law == "pulse_width" else "driver"},
                       "crossbar": {"fed_at": 0.5 if law == "fed" else None}},
        )  # fmt: skip

        def watt(share: float) -> float:
            if law == "pulse_width":
                return share * full * v0 * math.sinh(full / v0)
            return (0.5 if law == "fed" else share * full) * v0 * math.sinh(share * full / v0)

        mean = sum(watt(code / (2**bits - 1)) for code in range(2**bits)) / 2**bits
        factor = math.exp(-1e-20 / 1.380649e-23 * (1 / 350 - 1 / 300))
        expected = 128 * 128 * 12.5e-6 * factor * mean * chip.read_time
        assert chip.costs["crossbar"].energy_per_action == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("ones", [0.0, 0.1, 0.7, 1.0])
    def test_codes_of_sparse_bits(self, ones: float) -> None:
        dac = Dac(bits=3)
        share = [ones ** code.bit_count() * (1 - ones) ** (3 - code.bit_count()) for code in range(8)]
        assert dac.driven(ones) == pytest.approx(1 - share[0])
        assert dac.mean_square(ones) == pytest.approx(sum(each * (code / 7) ** 2 for code, each in enumerate(share)))

    def test_isaac_s_read_by_drivers_of_two_bits(self, isaac: Chip) -> None:
        """30 pJ of 1-bit codes, half of them ones: 3.5/9 for 1/2."""
        two = isaac.with_changes(component={"dac": {"bits": 2}}, inputs={"signed": "two_pass"}).costs["crossbar"]
        assert two.energy_per_action == pytest.approx(30e-12 * 7 / 9, rel=1e-3)

    @pytest.mark.parametrize("changes", [
        [{"component": {"dac": {"bits": bits}}} for bits in (1, 2, 4, 8)],
        [{"structure": {"wordlines": lines, "bitlines": lines}} for lines in (32, 64, 128, 256)],
        [{"component": {"crossbar": {"rows_at_once": rows}}} for rows in (16, 64, 128)],
    ], ids=["slices", "array size", "rows at once"])  # fmt: skip
    def test_averages_follow_a_design_as_the_cells_do(self, changes: list[dict[str, Any]]) -> None:
        """Averages of the law over cells and inputs one by one: the same ratio at every width of the DAC, and whatever part of
        its arrays the network fills with 256 columns of 150 inputs."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(64, 150, generator=generator)
        model = nn.Sequential(seeded(None, nn.Linear(150, 32, bias=False)))
        ratios = []
        for change in changes:
            chip = load_chip("generic").with_changes(**change)
            (cells,) = read_energies(convert(model, chip, inputs, seed=0)).values()
            ledger = simulate(place(trace(model, inputs[:1]), chip, None), Arrivals.batch(1))
            ratios.append(float(ledger.energy["crossbar"].sum()) / cells)
        assert ratios == pytest.approx([ratios[0]] * len(changes), rel=0.02)

    @pytest.mark.parametrize("preset", ["edge", "generic"])
    @pytest.mark.parametrize("bits", [1, 2, 8])
    def test_two_passes_take_what_one_does(self, preset: str, bits: int) -> None:
        """Each value is 0 in one of them: averages are those of inputs of one sign, and as near to the cells one by one."""
        chip = load_chip(preset).with_changes(component={"dac": {"bits": bits}})
        model = nn.Sequential(seeded(None, nn.Linear(150, 32, bias=False)))
        magnitudes = torch.rand(64, 150, generator=torch.Generator().manual_seed(0))
        signs = torch.randint(2, (64, 150), generator=torch.Generator().manual_seed(1)) * 2 - 1
        averages, cells = [], []
        for inputs in (magnitudes, magnitudes * signs):
            cells += read_energies(convert(model, chip, inputs, seed=0)).values()
            ledger = simulate(place(trace(model, inputs), chip, None), Arrivals.batch(1))
            averages.append(float(ledger.energy["crossbar"].sum()))
        assert averages[1] == pytest.approx(averages[0])
        assert averages[1] / cells[1] == pytest.approx(averages[0] / cells[0], rel=0.03)

    def test_pulses_of_two_passes_are_those_of_one(self) -> None:
        """The drivers of jia2020 give as many pulses as the code says; twice as many drives, each of half of the pulses."""
        model = nn.Sequential(seeded(None, nn.Linear(150, 32, bias=False)))
        energies, actions = [], []
        for signed in (False, True):
            network = trace(model, torch.rand(2, 150) - 0.5 * signed)
            ledger = simulate(place(network, load_chip("jia2020"), None), Arrivals.batch(1))
            energies.append(float(ledger.energy["dac"].iloc[:-1].sum()))
            actions.append(float(ledger.actions["dac"].sum()))
        assert actions[1] == 2 * actions[0]
        assert energies[1] == pytest.approx(energies[0])

    def test_columns_without_weights_are_of_cells_at_g_min(self) -> None:
        """What 320 further bitlines without weights add, by averages and by the cells one by one, of inputs half 0, half full."""
        inputs = torch.rand(64, 150, generator=torch.Generator().manual_seed(0)).round()
        model = nn.Sequential(seeded(None, nn.Linear(150, 24, bias=False)))
        found, ones = [], 0.5
        for lines in (192, 512):
            chip = load_chip("generic").with_changes(
                structure={"wordlines": 256, "bitlines": lines}, inputs={"activity": ones}, timing={"array_read": 20e-9}
            )
            (cells,) = read_energies(convert(model, chip, inputs, seed=0)).values()
            ledger = simulate(place(trace(model, inputs[:1]), chip, None), Arrivals.batch(1))
            found.append((float(ledger.energy["crossbar"].sum()), cells))
        voltage = chip.device.read_voltage
        assert voltage is not None
        one = 150 * 320 * chip.device.g_min * voltage**2 * 20e-9  # of all wordlines at full voltage
        assert found[1][0] - found[0][0] == pytest.approx(chip.input_slices * ones * one)
        driven = float(inputs.sum(1).mean()) / 150 * chip.inputs.bits  # full values are ones in every slice
        assert found[1][1] - found[0][1] == pytest.approx(driven * one)

    def test_a_bus_is_as_long_as_the_rest_of_its_tile(self, edge: Chip) -> None:
        rest = edge.tile_totals()[1] - sum(edge.costs[name].parent_area for name in ("bus", "mesh_wires"))
        one = LAWS["bus"](width=128, length=rest**0.5, node=NODE)
        assert edge.costs["bus"].energy_per_action == pytest.approx(one.energy)
        assert edge.costs["bus"].area == pytest.approx(one.area)

    def test_units_and_rate_of_merging_are_those_of_the_adcs_unless_given(self, edge: Chip) -> None:
        found = edge.with_changes(component={"adc": {"columns": 128}}).costs["shift_add"]
        assert (found.units, found.unit_rate) == (4, 1.28e9)
        shared = edge.with_changes(component={"adc": {"columns": 128}, "shift_add": {"units": 2}}).costs["shift_add"]
        assert (shared.units, shared.unit_rate) == (2, 2.56e9)

    def test_digital_units_run_on_the_tile_clock_unless_a_rate_is_given(self, edge: Chip) -> None:
        assert edge.costs["activation"].unit_rate == 1.2e9
        assert edge.with_changes(component={"activation": {"rate": 1e8}}).costs["activation"].unit_rate == 1e8


class TestPeak:
    @pytest.mark.parametrize(("columns", "capability", "slice_time"), [(8, 256e9, 10e-9), (128, 16e9, 128e-9), (256, 8e9, 128e-9)])
    def test_pairs_on_two_crossbars(self, columns: int, capability: float, slice_time: float) -> None:
        """Subtracted before the ADC, they are converted once: by the ADC of one of the crossbars, or by the one of both."""
        on_two = {"scheme": "separate", "subtraction": "analog"}
        pairs = load_chip("generic").with_changes(weights=on_two, component={"adc": {"columns": columns}})
        adc = pairs.costs["adc"]
        assert adc.units * adc.unit_rate == pytest.approx(capability)
        assert pairs.slice_time == pytest.approx(slice_time)
        assert adc.load == pytest.approx(16 * 128 / 2 / slice_time)


    def test_a_slow_unit_makes_all_wait(self, isaac: Chip) -> None:
        """Four shift-and-adds of 0.64 G/s behind ADCs of 10.24 G/s."""
        slow = isaac.with_changes(component={"shift_add": {"rate": 0.64e9}})
        assert slow.costs["shift_add"].load == pytest.approx(2.56e9)
        assert slow.slice_time == pytest.approx(400e-9)
        assert slow.peak_operations_per_second == pytest.approx(isaac.peak_operations_per_second / 4)

    def test_a_multiplier_acts_at_most_once_a_result(self, isaac: Chip) -> None:
        """0.96 G results a second of a tile."""
        for units, load in ((1, 0.1e9), (20, 0.96e9)):
            cost = isaac.with_changes(component={"multiplier": {"units": units, "rate": 0.1e9}}).costs["multiplier"]
            assert cost.load == pytest.approx(load)

    @pytest.mark.parametrize("preset", preset_names())
    def test_no_unit_acts_more_often_than_it_can(self, preset: str) -> None:
        """At whatever widths, rates, counts and ways to hold a weight."""
        rng, plain, tried = random.Random(preset), load_chip(preset), 0
        for attempt in range(60):
            rates = {
                name: {"units": rng.randint(1, 40), "rate": 10 ** rng.uniform(7, 9)}
                for name in ("shift_add", "activation", "accumulator", "pool", "multiplier")
                if rng.random() < 0.3 and getattr(plain.component, name) is not None
            }
            changes: dict[str, Any] = {
                "structure": {"crossbars_per_core": rng.choice([2, 8, 12]), "bitlines": rng.choice([64, 128, 200])},
                "timing": {
                    "array_read": 10 ** rng.uniform(-8.5, -6), "buffer_width": rng.choice([16, 256, 1024]),
                    "bus_width": rng.choice([16, 256, 1024]), "flit_width": rng.choice([8, 64]), "tile_clock": 10 ** rng.uniform(8, 9),
                },
                "weights": {
                    "scheme": (scheme := rng.choice(["differential", "separate", "offset"])),
                    "subtraction": None if scheme == "offset" else rng.choice(["analog", "digital"]),
                    "flipped_columns": False,
                },
                "component": {
                    "adc": {"columns": rng.choice([8, 32, 128, 300, 600]), "rate": 10 ** rng.uniform(8, 9)},
                    "crossbar": {"rows_at_once": rng.choice([None, 32])},
                    **rates,
                },
            }  # fmt: skip
            if attempt == 0:
                changes = {}
            try:
                chip = plain.with_changes(**changes)
                costs = chip.costs
            except (ConfigurationError, MappingError):
                continue
            tried += 1
            for name, cost in costs.items():
                assert cost.load <= cost.units * cost.unit_rate * (1 + 1e-9), (name, changes)
            assert chip.peak_power <= chip.full_power * (1 + 1e-9), changes
        assert tried > 20


class TestRefused:
    @pytest.mark.parametrize(
        ("component", "key"),
        [("router", "ports"), ("adc", "bits"), ("adc", "rate"), ("buffer", "capacity"), ("bus", "length"), ("crossbar", "read_time")],
    )
    def test_a_parameter_that_is_not_stated(self, component: str, key: str) -> None:
        raw = raw_of("isaac")
        del raw["component"][component]["stated_at"][key]
        law = raw["component"][component]["law"]
        with pytest.raises(ConfigurationError, match=rf"component\.{component}\.stated_at\.{key} = \(missing\): the law {law} moves"):
            _ = loaded(raw).costs

    @pytest.mark.parametrize(("key", "said"), [("units", "how many units the figures are of"), ("load", "how often each unit acted")])
    def test_figures_of_nobody_knows_what(self, key: str, said: str) -> None:
        raw = raw_of("isaac")
        del raw["component"]["adc"]["stated_at"][key]
        with pytest.raises(ConfigurationError, match=rf"component\.adc = .*stated_at\.{key} is missing: {said}"):
            loaded(raw)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"power": assumed(1, "mW")}, "stated_at, the configuration that figures were published for, goes with figures .* got power"),
            ({"stated_at": {"units": assumed(1)}}, "stated_at, .* goes with figures .* got no figure"),
            (
                {"power": assumed(1, "mW"), "energy": assumed(1, "pJ"), "stated_at": {"units": assumed(1), "load": assumed(1, "M/s")}},
                r"power \(at the rate stated\) and energy \(per action\) exclude each other",
            ),
            ({"units": assumed(4)}, r"component\.adc\.units = .*how many there are follows from the structure"),
            ({"law": "sra"}, r"component\.adc\.law = 'sra': must be 'survey', 'sar', 'flash'"),
            ({"architecture": "sar"}, r"component\.adc\.architecture = 'sar': unknown key"),
        ],
    )  # fmt: skip
    def test_of_an_adc(self, changes: dict[str, Any], said: str) -> None:
        raw = raw_of("edge")
        raw["component"]["adc"] |= changes
        with pytest.raises(ConfigurationError, match=said):
            loaded(raw)

    @pytest.mark.parametrize("component", ["dac", "crossbar", "sample_hold", "buffer", "bus", "router", "tile_register"])
    def test_what_follows_from_the_structure(self, component: str) -> None:
        raw = raw_of("isaac")
        raw["component"][component] |= {"units": assumed(4), "rate": assumed(1, "GHz")}
        with pytest.raises(ConfigurationError) as caught:
            loaded(raw)
        assert f"component.{component}.units = " in str(caught.value)
        assert "how many there are follows from the structure" in str(caught.value)
        assert f"component.{component}.rate = " in str(caught.value)
        assert "how fast it is follows from widths, clocks and read times" in str(caught.value)

    @pytest.mark.parametrize(("key", "said"), [("adc.units", "how many there are follows"), ("buffer.rate", "how fast it is follows")])
    def test_what_follows_from_the_structure_as_an_override(self, key: str, said: str) -> None:
        with pytest.raises(ConfigurationError, match=rf"component\.{key} = 3: {said}"):
            load_chip("isaac", {f"component.{key}": "3"})

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"technology": {"node": 3e-9}}, r"node = 3 nm is outside 7 nm to"),
            ({"component": {"adc": {"bits": 15}}}, r"component\.sample_hold = law sample_hold: .*bits = 15 bit is outside 1 bit to 14 bit"),
            (
                {"component": {"multiplexer": None, "adc": {"rate": 2e10}}},
                r"component\.adc = law survey: .*rate = 20000 M/s is outside .* to 10000 M/s",
            ),
            ({"component": {"adc": {"law": "flash"}}}, r"component\.adc = law flash: .*bits = 8 bit is outside 1 bit to 6 bit"),
            ({"component": {"router": {"ports": 40}}}, r"component\.router = law router: .*ports = 40 is outside 2 to 16"),
            ({"device": {"read_voltage": None}}, r"device\.read_voltage = \(missing\): the law driver of component\.dac needs"),
        ],
    )  # fmt: skip
    def test_what_no_law_covers(self, edge: Chip, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            _ = edge.with_changes(**changes).costs

    def test_a_configuration_stated_that_the_law_does_not_cover(self) -> None:
        raw = raw_of("isaac")
        raw["component"]["router"]["stated_at"]["ports"]["value"] = 40
        with pytest.raises(ConfigurationError, match=r"component\.router\.stated_at = law router: .*ports = 40 is outside 2 to 16"):
            _ = loaded(raw).costs

    def test_a_power_below_its_leakage(self) -> None:
        raw = raw_of("isaac")
        raw["component"]["buffer"]["power"]["value"] = 0.1
        with pytest.raises(ConfigurationError, match=r"component\.buffer\.power = 0\.0001 W: the law edram tells a leakage of"):
            _ = loaded(raw).costs

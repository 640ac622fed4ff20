"""Bands of energy and area: closed forms, against chips loaded anew with other constants, drawn at random."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hw.networks import presets_of_networks, recommender, small_convolutional
from xbar.hw import (
    Arrivals,
    Chip,
    ConfigurationError,
    Update,
    chip_bands,
    convert,
    ledger_bands,
    load_chip,
    place,
    simulate,
    trace,
)
from xbar.hw.analog import read_energies
from xbar.hw.bands import (
    ENDS,
    READ_KEYS,
    End,
    band_of,
    band_table,
    banded,
    chip_at,
    factors_used,
    ledger_at,
    read_factor,
)
from xbar.hw.chip.checked import build, leaves
from xbar.hw.chip.components import COMPONENTS
from xbar.hw.chip.costs import uses
from xbar.hw.chip.files import read_toml
from xbar.hw.cost.component import StatedAt
from xbar.hw.cost.laws import LAWS
from xbar.hw.events.ledger import Ledger
from xbar.hw.quantity import KINDS

PUBLISHED, MEASURED, FITTED, DERIVED, ASSUMED = (0.81, 1.32), (0.9, 1.1), (0.81, 2.86), (0.65, 1.74), (0.33, 3.0)


def loaded(raw: dict[str, Any]) -> Chip:
    """The chip of a raw file, as `load_chip` makes it."""
    chip, provenance = build(Chip, raw, "test")
    chip._provenance = provenance
    return chip


def at(table: pd.DataFrame, quantity: str, name: str = "total", of: str = "total") -> pd.Series:
    """The one row of a quantity."""
    rows = table[(table["of"] == of) & (table["name"] == name) & (table["quantity"] == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def ends(chip: Chip, end: End) -> dict[str, str]:
    """Every constant that is not exact at one end, as overrides in the file's units."""
    found = {}
    for key, quantity in chip.provenance.items():
        low, high, _ = band_of(key, quantity)
        if low != high:
            found[key] = repr(low if end == "low" else high)
    return found


def simulated(chip: Chip, network=small_convolutional, read_energy: dict[str, float] | None = None) -> Ledger:  # type: ignore[no-untyped-def]
    model, example = network()
    return simulate(place(trace(model, example), chip), Arrivals.batch(3), read_energy=read_energy)


def cells_energy(chip: Chip) -> dict[str, float] | None:
    """Energy of the array reads of a vector by layer, where cells say."""
    model, example = small_convolutional()
    return None if chip.device.read_voltage is None else read_energies(convert(model, chip, example, seed=0))


def _state(component: dict[str, Any], chip: Chip, name: str, figures: dict[str, tuple[float, str]]) -> None:
    """State a component's figures (value, unit) at the configuration that it has in its chip."""
    use, law = uses(chip)[name], LAWS[getattr(chip.component, name).law].law
    at_chip = {**use.parameters, "length": 1e-3, "units": use.units, "load": use.load / use.units}
    del at_chip["voltage"]
    fields = {key: unit.dimension for key, unit in leaves(StatedAt).items() if unit is not None}
    for leaf in ("power", "energy", "area", "static_power", "stated_at"):
        component.pop(leaf, None)
    component["stated_at"] = {
        key: {"value": at_chip[key], "unit": fields[key], "kind": "assumed", "why": "test"}
        for key in at_chip
        if key in ("units", "load") or (key in law.parameters and key in fields)
    }
    for leaf, (value, unit) in figures.items():
        component[leaf] = {"value": value, "unit": unit, "kind": "assumed", "why": "test"}


# ---- the table of factors


def test_factors_have_kind_and_source_and_widen_with_what_is_known_less() -> None:
    table, written = band_table()
    assert set(KINDS) | {"source"} == set(type(table).model_fields)
    for key, quantity in written.items():
        assert quantity.kind in KINDS, key
        assert quantity.why, key
        assert quantity.source is None or quantity.source in table.source, key
    found = {kind: (getattr(table, kind).low, getattr(table, kind).high) for kind in KINDS}
    assert found == {
        "published": PUBLISHED, "measured": MEASURED, "fitted": FITTED, "derived": DERIVED, "assumed": ASSUMED,
    }  # fmt: skip
    for narrow, wide in (("measured", "published"), ("published", "fitted"), ("published", "derived"), ("derived", "assumed"),
                         ("fitted", "assumed")):  # fmt: skip
        assert found[wide][0] <= found[narrow][0] <= 1 <= found[narrow][1] <= found[wide][1]


def test_factors_follow_from_what_was_found() -> None:
    """24 % and 65 % of the source, to the three digits of the file."""
    assert pytest.approx((1 / 1.24, 1 / (1 - 0.24)), rel=0.005) == PUBLISHED
    assert FITTED[1] == pytest.approx(1 / (1 - 0.65), rel=0.005)
    assert pytest.approx((0.81**2, 1.32**2), rel=0.01) == DERIVED


def test_the_factors_that_a_chip_uses(isaac: Chip) -> None:
    """ISAAC's energies, powers and areas are published, but for those that state a band of their own and the link's energy."""
    assert set(factors_used(isaac)) == {f"bands.{kind}.{end}" for kind in ("published", "assumed") for end in ENDS}
    assert factors_used(isaac)["bands.published.high"].value == PUBLISHED[1]


# ---- what a file may state


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        ("power", {"low": 12}, ["component.adc.power.high", "(missing)", "need each other"]),
        ("power", {"high": 20}, ["component.adc.power.low", "(missing)", "need each other"]),
        ("power", {"low": 17, "high": 20}, ["component.adc.power.low", "17", "at most the value, 16"]),
        ("power", {"low": 12, "high": 15}, ["component.adc.power.high", "15", "at least the value, 16"]),
        ("power", {"low": float("nan"), "high": 20}, ["component.adc.power.low", "nan", "finite"]),
        ("power", {"low": 12, "high": float("inf")}, ["component.adc.power.high", "inf", "finite"]),
        ("power", {"low": "12", "high": 20}, ["component.adc.power.low", "must be a number"]),
        ("power", {"low": True, "high": 20}, ["component.adc.power.low", "must be a number"]),
        ("power", {"low": -1, "high": 20}, ["component.adc.power.low", "-1 mW", "greater than or equal to 0"]),
        ("columns", {"low": 8, "high": 8}, ["component.adc.columns.low", "8", "not carried", "energies, powers, areas"]),
        ("rate", {"low": 1, "high": 2}, ["component.adc.rate.low", "not carried"]),
    ],
)
def test_a_wrong_band_is_named(key: str, changes: dict[str, object], said: list[str]) -> None:
    _, raw = read_toml("isaac", "xbar.hw.presets", "chip")
    quantity = raw["component"]["adc"][key]
    quantity.pop("low", None), quantity.pop("high", None)
    quantity.update(changes)
    with pytest.raises(ConfigurationError) as caught:
        loaded(raw)
    for part in said:
        assert part in str(caught.value)


def test_a_file_may_state_bands_where_its_numbers_have_one() -> None:
    """In the unit of the value, also around a value of 0, and from 8 bits, where they are stated, to 7 by the ADC's law."""
    chip = _sar()
    bands, share = chip_bands(chip), chip.cores
    here, there = (LAWS["sar"](bits=bits, rate=1.28e9, node=32e-9) for bits in (7, 8))
    energy = at(bands, "energy_per_action_J", "adc", "component")
    one = 1e-3 / (8 * 1.28e9) * here.energy / there.energy
    assert energy[["low", "value", "high"]].tolist() == pytest.approx([8 * one, 16 * one, 64 * one])
    assert at(bands, "area_m2", "adc", "component")[["low", "value", "high"]].tolist() == pytest.approx(
        [share * area * 1e-6 * here.area / there.area for area in (0.0048, 0.0096, 0.0096)]
    )
    link = at(bands, "energy_per_action_J", "link", "component")
    assert link[["low", "value", "high"]].tolist() == pytest.approx([0, 0, 5e-12])


def _sar() -> Chip:
    _, raw = read_toml("isaac", "xbar.hw.presets", "chip")
    adc = raw["component"]["adc"]
    adc["power"] |= {"low": 8, "high": 64}
    adc["area"] |= {"low": 0.0048, "high": 0.0096}
    adc["bits"]["value"] = 7
    adc["law"] = "sar"
    raw["component"]["link"]["energy"] |= {"low": 0, "high": 5}
    return loaded(raw)


def test_bands_by_kind_in_closed_form(isaac: Chip) -> None:
    """Areas of ISAAC are published, all by the same factors; independent ones add up as squares. The bus is as long as the side
    of the rest of its tile, so its area goes as the power 1.5."""
    bands = chip_bands(isaac)
    area, parts = at(bands, "area_m2"), isaac.table()["area_m2"]
    factors = {end: pd.Series(PUBLISHED[end], index=parts.index) for end in (0, 1)}
    for end, series in factors.items():
        series["bus"] *= PUBLISHED[end] ** 0.5
    low, high = ((parts * series) for series in factors.values())
    assert area["low"] == pytest.approx(low.sum())
    assert area["high"] == pytest.approx(high.sum())
    assert area["inner_low"] == pytest.approx(isaac.area - np.sqrt(((parts - low) ** 2).sum()))
    assert area["inner_high"] == pytest.approx(isaac.area + np.sqrt(((high - parts) ** 2).sum()))


def test_a_law_alone_has_its_own_band(edge: Chip) -> None:
    """Energy and leakage by the one, area by the other; by hand for a converter, a buffer and a unit without a clock of its own."""
    for name, law in (
        ("adc", LAWS["survey"](bits=8, rate=1.28e9, node=32e-9)),
        ("buffer", LAWS["edram"](capacity=64 * 8192, width=256, banks=4, node=32e-9)),
        ("accumulator", LAWS["adder"](bits=8, rate=1.2e9, node=32e-9)),
    ):
        assert law.energy_band[0] < 1 < law.energy_band[1]
        for quantity, factors in (
            ("energy_per_action_J", law.energy_band), ("static_power_W", law.energy_band), ("area_m2", law.area_band),
        ):  # fmt: skip
            row = at(chip_bands(edge), quantity, name, "component")
            assert (row["low"], row["high"]) == pytest.approx((row["value"] * factors[0], row["value"] * factors[1]))


def test_a_law_beside_a_stated_area_has_its_own_band() -> None:
    """What is stated has the band of its kind, energy that the law tells that of the law."""
    _, raw = read_toml("edge", "xbar.hw.presets", "chip")
    _state(raw["component"]["adc"], loaded(raw), "adc", {"area": (500, "µm²")})
    bands, law = chip_bands(loaded(raw)), LAWS["survey"](bits=8, rate=1.28e9, node=32e-9)
    energy, area = (at(bands, quantity, "adc", "component") for quantity in ("energy_per_action_J", "area_m2"))
    assert (energy["low"], energy["high"]) == pytest.approx((law.energy * law.energy_band[0], law.energy * law.energy_band[1]))
    assert (area["low"], area["high"]) == pytest.approx((area["value"] * ASSUMED[0], area["value"] * ASSUMED[1]))


def test_a_read_that_a_law_prices_has_the_band_of_its_product() -> None:
    """V² G t of edge's arrays, all three at their ends; the events keep the stated time."""
    _, raw = read_toml("edge", "xbar.hw.presets", "chip")
    raw["device"]["g_max"] |= {"low": 20, "high": 40}
    raw["timing"]["array_read"] |= {"low": 50, "high": 150}
    chip = loaded(raw)
    energy = at(chip_bands(chip), "energy_per_action_J", "crossbar", "component")
    cells = 128 * 128 / 2
    assert energy[["low", "value", "high"]].tolist() == pytest.approx([
        cells * 0.1**2 * 10e-6 * 50e-9, cells * 0.2**2 * 12.5e-6 * 100e-9, cells * 0.3**2 * 20e-6 * 150e-9,
    ])  # fmt: skip
    assert chip_at(chip, "high").read_time == chip.read_time
    stated = at(chip_bands(load_chip("isaac")), "energy_per_action_J", "crossbar", "component")
    assert (stated["low"], stated["high"]) == pytest.approx((0.81 * 30e-12, 1.32 * 30e-12)), "published for whatever voltage it has"


def test_a_power_whose_low_end_is_less_than_its_leakage_is_all_leakage() -> None:
    _, raw = read_toml("isaac", "xbar.hw.presets", "chip")
    raw["component"]["buffer"]["power"] |= {"low": 0.1, "high": 30}
    chip = loaded(raw)
    leakage = chip.costs["buffer"].static_power
    assert leakage > 0.1e-3
    low, high = (chip_at(chip, end).costs["buffer"] for end in ENDS)
    assert (low.energy_per_action, low.static_power) == pytest.approx((0, 0.1e-3))
    assert (high.peak_power, high.static_power) == pytest.approx((30e-3, leakage))


def test_what_is_exact(edge: Chip, isaac: Chip) -> None:
    """Counts, rates and times; what was changed by hand, in a file, on the command line or in Python; and no file at all, but for
    what laws tell."""
    for key in ("component.adc.columns", "component.adc.rate", "timing.array_read", "timing.tile_clock", "device.g_max"):
        low, high, said = band_of(key, edge.provenance[key])
        assert low == high == edge.provenance[key].value
        assert said.startswith("exact")
    for chip in (load_chip("edge", {"component.link.energy": "60"}), edge.with_changes(component={"link": {"energy": 60e-12}})):
        energy = at(chip_bands(chip), "energy_per_action_J", "link", "component")
        assert energy[["low", "value", "high"]].tolist() == pytest.approx([60e-12] * 3, rel=1e-12)
    bands = chip_bands(Chip.model_validate(isaac.model_dump()))
    for column in ("low", "high", "inner_low", "inner_high"):
        assert bands[column].to_numpy() == pytest.approx(bands["value"].to_numpy(), rel=1e-12)
    of_laws = chip_bands(Chip.model_validate(edge.model_dump()))
    for name, exact in (("link", True), ("adc", False)):
        area = at(of_laws, "area_m2", name, "component")
        assert (area["low"] == area["value"] == area["high"]) == exact


def test_only_energies_powers_areas_and_reads_have_bands() -> None:
    assert set(banded()) == {
        f"component.{name}.{leaf}" for name in COMPONENTS for leaf in ("power", "energy", "static_power", "area")
    } | {"device.read_voltage", "device.g_min", "device.g_max", "device.write_energy", "timing.array_read", "inputs.activity",
             "component.crossbar.fed_at"}  # fmt: skip


# ---- the reads of cells: V² G t


def test_the_band_of_a_read_is_that_of_its_product(edge: Chip) -> None:
    assert read_factor(edge, "low") == pytest.approx((0.1 / 0.2) ** 2)
    assert read_factor(edge, "high") == pytest.approx((0.3 / 0.2) ** 2)
    _, raw = read_toml("edge", "xbar.hw.presets", "chip")
    raw["device"]["g_max"] |= {"low": 20, "high": 40}
    raw["timing"]["array_read"] |= {"low": 50, "high": 150}
    chip = loaded(raw)
    assert read_factor(chip, "low") == pytest.approx(0.25 * 20 / 25 * 0.5)
    assert read_factor(chip, "high") == pytest.approx(2.25 * 40 / 25 * 1.5)
    raw["device"]["g_min"] |= {"value": 1, "low": 0.5, "high": 3}
    chip = loaded(raw)
    assert read_factor(chip, "low") == pytest.approx(0.25 * 0.5 * 0.5)  # the wider of the two conductances' bands
    assert read_factor(chip, "high") == pytest.approx(2.25 * 3 * 1.5)


def test_the_band_of_a_read_ends_where_lines_settle() -> None:
    """Lines of 2 kohm a cell settle in 11.25 ns, at every end of a read stated as 10 ns, 5 to 20; V² from 0.25 to 2.25."""
    _, raw = read_toml("generic", "xbar.hw.presets", "chip")
    raw["timing"]["array_read"] |= {"low": 5, "high": 20}
    raw["wires"] = {name: {"value": 2000, "unit": "ohm", "kind": "assumed", "why": "a test"} for name in ("wordline", "bitline")}
    chip = loaded(raw)
    settled = chip.read_time
    assert settled == pytest.approx(11.25e-9, rel=1e-3)
    one = chip.costs["crossbar"].energy_per_action
    for end, factor in (("low", 0.25), ("high", 2.25 * 20e-9 / settled)):
        assert read_factor(chip, end) == pytest.approx(factor)
        assert chip_at(chip, end).costs["crossbar"].energy_per_action / one == pytest.approx(factor)


# ---- against a chip that is loaded anew with the constants at their ends


def _raw_of(case: str) -> dict[str, Any]:
    name, _, change = case.partition(" ")
    _, raw = read_toml(name, "xbar.hw.presets", "chip")
    if change == "leaks":  # static power, a conductance and its time with bands, a product with g_min
        _state(raw["component"]["buffer"], loaded(raw), "buffer", {"static_power": (1, "mW")})
        raw["device"]["g_min"] |= {"value": 2.5, "low": 2.0, "high": 5.0}
        raw["device"]["g_max"] |= {"low": 20, "high": 50}
        raw["timing"]["array_read"] |= {"low": 60, "high": 140}
    return raw


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("case", [*presets_of_networks(), "edge leaks", "edge device", "isaac device"])
def test_the_outer_band_is_a_chip_with_every_constant_at_its_end(case: str, end: End) -> None:
    """Time is as stated: the events run on the stated clock, and only the energy of a read takes its own time. What laws alone
    tell is at the end of their bands. A published figure is of the voltage that its chip has, whatever that is."""
    name, _, change = case.partition(" ")
    device = "taox" if change == "device" else None
    stated = load_chip(name, device=device) if change != "leaks" else loaded(_raw_of(case))
    overrides = ends(stated, end)

    def reloaded(overrides: dict[str, str]) -> Chip:
        if change != "leaks":
            return load_chip(name, overrides, device)
        raw = _raw_of(case)
        for key, text in overrides.items():
            *parents, leaf = key.split(".")
            where = raw
            for parent in parents:
                where = where[parent]
            where[leaf] = {"value": float(text), "unit": where[leaf]["unit"], "kind": "override"}
        return loaded(raw)

    assert "device.read_voltage" in overrides
    energies = cells_energy(reloaded(overrides))
    written = overrides.pop("timing.array_read", None)
    read_time = stated.timing.array_read if written is None else float(written) * 1e-9
    if name.startswith("isaac"):
        overrides = {key: text for key, text in overrides.items() if key not in READ_KEYS}
    again = reloaded(overrides)
    other = again.priced(lambda key: read_time if key == "timing.array_read" else again.number(key), end)
    expected, ledger = simulated(other, read_energy=energies), simulated(stated, read_energy=cells_energy(stated))
    assert ledger_at(ledger, end).energy.to_numpy() == pytest.approx(expected.energy.to_numpy(), rel=1e-9)
    assert ledger_at(ledger, end).peak_power == pytest.approx(expected.peak_power, rel=1e-9)
    bands, opposite = ledger_bands(ledger), {"low": "high", "high": "low"}[end]
    summary = expected.summary()
    for quantity in ("energy_per_request_J", "dynamic_energy_per_request_J", "average_power_W", "area_m2", "static_power_W"):
        assert at(bands, quantity)[end] == pytest.approx(summary[quantity], rel=1e-9), quantity
    assert at(bands, "table_power_W")[end] == pytest.approx(other.peak_power, rel=1e-9)
    assert at(bands, "operations_per_J")[opposite] == pytest.approx(summary["operations_per_J"], rel=1e-9)
    peak = other.peak_operations_per_second / other.peak_power
    assert at(bands, "table_operations_per_J")[opposite] == pytest.approx(peak, rel=1e-9)
    table, components, layers = other.table(), expected.components(), expected.layers()
    for component in other.component.names:
        for quantity, value in (
            ("area_m2", table.loc[component, "area_m2"]), ("table_power_W", table.loc[component, "power_W"]),
            ("dynamic_energy_per_request_J", components.loc[component, "dynamic_energy_J"] / 3),
            ("static_energy_per_request_J", components.loc[component, "static_energy_J"] / 3),
        ):  # fmt: skip
            assert at(bands, quantity, component, "component")[end] == pytest.approx(value, rel=1e-9, abs=1e-30)
    for layer, row in layers.iterrows():
        for quantity, value in (("dynamic_energy_per_request_J", row["energy_J"] / 3), ("core_area_m2", row["core_area_m2"])):
            assert at(bands, quantity, str(layer), "layer")[end] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("preset", presets_of_networks())
def test_the_inner_band_adds_squares_of_one_component_at_a_time(preset: str) -> None:
    """Each stated constant alone at its end, by loading the chip again; of a law alone, its energy, leakage and area. Of the bus
    its length too, which the areas of all else move."""
    chip, bands = load_chip(preset), chip_bands(load_chip(preset))
    for end in ENDS:
        alone, together = ends(chip, end), {}
        for key, text in alone.items():
            if key in READ_KEYS:
                if not preset.startswith("isaac"):
                    together[key] = text
                continue
            together[key] = text
            _, name, leaf = key.split(".")
            other, own = load_chip(preset, {key: text}).costs[name], chip_at(chip, end).costs[name]
            if leaf == "area" and name != "bus":
                assert other.area == pytest.approx(own.area)
            elif leaf == "power" and name != "bus":
                assert other.peak_power == pytest.approx(own.peak_power)
        again = load_chip(preset, together)
        found = again.priced(again.number, end).table()
        static = (found["static_power_W"] - chip.table()["static_power_W"]) ** 2
        moving = ((found["power_W"] - found["static_power_W"]) - (chip.table()["power_W"] - chip.table()["static_power_W"])) ** 2
        area = (found["area_m2"] - chip.table()["area_m2"]) ** 2
        for quantity, value, squares in (
            ("area_m2", chip.area, area.sum()), ("table_power_W", chip.peak_power, static.sum() + moving.sum()),
            ("static_power_W", chip.static_power, static.sum()),
        ):  # fmt: skip
            assert abs(at(bands, quantity)[f"inner_{end}"] - value) == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_the_inner_band_is_the_spread_of_independent_draws() -> None:
    """Constants drawn with their deviation to one side as standard deviation: that of the total is the inner band's side.

    Energy from the counts of actions times what each costs, and from what leaks. 40,000 draws: the standard error of a spread is 0.35 %.
    """
    chip = load_chip("edge")
    ledger = simulated(chip, read_energy=cells_energy(chip))
    row = at(ledger_bands(ledger), "energy_per_request_J")
    tables = [chip.table()["energy_per_action_J"], *(chip_at(chip, end).table()["energy_per_action_J"] for end in ENDS)]
    generator = np.random.default_rng(0)
    for end, side in ((0, "inner_low"), (1, "inner_high")):
        draws = generator.standard_normal((40_000, len(chip.component.names)))
        counts = np.array([float(ledger.actions[name].sum()) / 3 for name in chip.component.names])
        value, other = tables[0].to_numpy(copy=True), tables[1 + end].to_numpy(copy=True)
        reads = chip.component.names.index("crossbar")
        counts[reads], value[reads] = 1.0, float(ledger.energy["crossbar"].sum()) / 3
        other[reads] = value[reads] * read_factor(chip, ENDS[end])
        idle, idle_other = (
            each.table()["static_power_W"].to_numpy() * ledger.span / 3 for each in (chip, chip_at(chip, ENDS[end]))
        )
        totals = ((value + draws * (other - value)) * counts).sum(axis=1)
        totals += (idle + generator.standard_normal(draws.shape) * (idle_other - idle)).sum(axis=1)
        assert abs(totals.mean() - row["value"]) < 4 * totals.std() / 200, "four standard errors"
        assert totals.std() == pytest.approx(abs(row[side] - row["value"]), rel=0.02)


# ---- of any chip


def _in_order(bands: pd.DataFrame) -> None:
    slack = 1e-12 * bands["value"].abs()
    for less, more in (("low", "inner_low"), ("inner_low", "value"), ("value", "inner_high"), ("inner_high", "high")):
        assert (bands[less] <= bands[more] + slack).all(), bands[bands[less] > bands[more] + slack]


@pytest.mark.parametrize("preset", presets_of_networks())
@pytest.mark.parametrize("network", [small_convolutional, recommender])
def test_every_preset_lies_in_its_bands_and_layers_add_up(preset: str, network) -> None:  # type: ignore[no-untyped-def]
    ledger = simulated(load_chip(preset), network)
    bands = ledger_bands(ledger)
    assert np.isfinite(bands[["value", "low", "high", "inner_low", "inner_high"]].to_numpy()).all()
    _in_order(bands)
    moving = bands[bands["quantity"] == "dynamic_energy_per_request_J"]
    for column in ("value", "low", "high"):
        total = float(moving.loc[moving["of"] == "total", column].iloc[0])
        for of in ("layer", "component"):
            assert moving.loc[moving["of"] == of, column].sum() == pytest.approx(total, rel=1e-12)
    values = ledger.summary()
    for quantity in ("energy_per_request_J", "average_power_W", "area_m2", "operations_per_J"):
        assert at(bands, quantity)["value"] == pytest.approx(values[quantity], rel=1e-12)


_FACTORS = st.tuples(st.floats(0, 1), st.floats(1, 1e3))
_AREA, _AREA_FACTORS = st.floats(100, 1e5), st.tuples(st.floats(0.1, 1), st.floats(1, 10))  # [µm²]: a bus has some length, of mm


@st.composite
def _descriptions(draw: st.DrawFn, everything: bool = False) -> dict[str, Any]:
    """A preset's raw file with random figures, kinds and stated bands; `everything`: energy, leakage and area of all components
    are stated, else some are left to laws, and leakage to a part of the power."""
    _, raw = read_toml(draw(st.sampled_from(presets_of_networks())), "xbar.hw.presets", "chip")
    chip = loaded(raw)
    for name in chip.component.names:
        component = raw["component"].setdefault(name, {})
        figure = draw(st.sampled_from(["power", "energy"] if everything else ["power", "energy", "large power", "none"]))
        least = 2e4 if figure == "large power" else 1e-6  # above all that leaks, links too
        found = [] if figure == "none" else [figure.split()[-1]]
        if everything or figure == "power" or draw(st.booleans()):
            found += [] if figure == "large power" else ["static_power"]
        found += ["area"] if everything or draw(st.booleans()) else []
        figures = {}
        for leaf in found:
            if leaf == "area":
                figures[leaf] = draw(_AREA), "µm²"
                continue
            unit = "pJ" if leaf == "energy" else "mW"
            lowest = least if leaf == "power" else 1e-6
            zero = leaf == "static_power" or figure != "large power"
            figures[leaf] = (draw(st.one_of(*([st.just(0.0)] if zero else []), st.floats(lowest, 1e6))), unit)
        if not figures:
            continue
        _state(component, chip, name, figures)
        for leaf in figures:
            new = component[leaf]
            new |= {"kind": draw(st.sampled_from([*KINDS, "override"])), "source": next(iter(raw["source"]))}
            if draw(st.booleans()):
                low, high = draw(_AREA_FACTORS if leaf == "area" else _FACTORS)
                new |= {"low": new["value"] * low, "high": new["value"] * high}
    return raw


@pytest.fixture(scope="module")
def events() -> dict[str, Ledger]:
    """A simulation on each preset; other costs of the same chip can be put in."""
    return {name: simulated(load_chip(name)) for name in presets_of_networks()}


@settings(max_examples=15, deadline=None)
@given(raw=_descriptions())
def test_of_any_chip_values_lie_in_their_bands(events: dict[str, Ledger], raw: dict[str, Any]) -> None:
    chip = loaded(raw)
    ledger = events[chip.name]
    _in_order(ledger_bands(replace(ledger, placement=replace(ledger.placement, chip=chip))))


@settings(max_examples=25, deadline=None)
@given(raw=_descriptions(everything=True), factor=st.floats(0.1, 10), leaves_scaled=st.sampled_from(["energies", "areas"]))
def test_bands_scale_with_the_constants(raw: dict[str, Any], factor: float, leaves_scaled: str) -> None:
    """Energies and powers, or areas; but of wires, whose length is the side of what has the areas."""
    bands, larger = chip_bands(loaded(raw)), copy.deepcopy(raw)
    for component in larger["component"].values():
        for leaf in component.keys() & ({"area"} if leaves_scaled == "areas" else {"power", "energy", "static_power"}):
            quantity = component[leaf]
            quantity |= {end: quantity[end] * factor for end in ("value", "low", "high") if end in quantity}
    again = chip_bands(loaded(larger))
    if leaves_scaled == "areas":
        costs = (bands["of"] == "component") & ~bands["name"].isin(["bus", "mesh_wires"]) & (bands["quantity"] == "area_m2")
        still = (bands["of"] == "component") & ~bands["name"].isin(["bus", "mesh_wires"]) & (bands["quantity"] != "area_m2")
    else:
        costs = ~bands["quantity"].isin(["table_operations_per_J", "area_m2"])
        still = bands["quantity"] == "area_m2"
    assert costs.any()
    assert still.any()
    for rows, expected in ((costs, factor), (still, 1.0)):
        for column in ("value", "low", "high", "inner_low", "inner_high"):
            tiny = 1e-9 * expected * bands.loc[rows, "high"].to_numpy()  # where differences cancel
            off = np.abs(again.loc[rows, column].to_numpy() - expected * bands.loc[rows, column].to_numpy())
            assert (off <= tiny).all()


def test_without_requests_only_the_chip_has_bands(edge: Chip) -> None:
    model, example = small_convolutional()
    ledger = simulate(place(trace(model, example), edge), Arrivals.batch(0))
    pd.testing.assert_frame_equal(ledger_bands(ledger), chip_bands(edge))


def test_written_cells_have_the_band_of_their_pulses() -> None:
    _, raw = read_toml("edge", "xbar.hw.presets", "chip")
    raw["device"] |= {
        "write_energy": {"value": 2, "unit": "pJ", "kind": "assumed", "why": "test"},
        "write_time": {"value": 100, "unit": "ns", "kind": "assumed", "why": "test"},
    }
    model, example = small_convolutional()
    placement = place(trace(model, example), loaded(raw))
    ledger = simulate(placement, Arrivals.batch(2), updates=[Update("0", 0.0)])
    row = at(ledger_bands(ledger), "dynamic_energy_per_request_J", "write", "component")
    assert row["value"] > 0
    assert row["low"] == pytest.approx(0.33 * row["value"])
    assert row["high"] == pytest.approx(3 * row["value"])



@pytest.mark.parametrize("end", ["low", "high"])
def test_cells_that_are_not_linear_move_by_v_i_of_v(end: End) -> None:
    """sinh at the read voltage of that end: reads by the cells' own currents move as the arrays' law does, of 1-bit drivers."""
    chip = load_chip("edge", {"device.iv": "sinh", "device.iv_v0": "0.05"})
    moved = chip_at(chip, end).costs["crossbar"].energy_per_action / chip.costs["crossbar"].energy_per_action
    assert read_factor(chip, end) == pytest.approx(moved, rel=1e-9)
    assert read_factor(load_chip("edge"), end) != pytest.approx(moved, rel=0.05)

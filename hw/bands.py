"""How far the costs may be off: low and high of every energy, power and area, from its constant to the totals.

A constant is a number of the chip file. Its band is what the file states (`low`, `high` beside `value`), else the value
times two factors by its kind (`bands.toml`, energies, powers and areas only). Exact are: counts and rates; voltages,
conductances and times unless the file states a band; what was changed by an override (--set) or in Python, since whoever
changes a number means that number; and what no file states. Time has no band: clocks and latencies are taken as stated.
The time of an array read may have one, as what the read's energy is proportional to; the events keep the stated time.

A component's stated figures are constants, moved by its law (`xbar.hw.chip.costs`); where a law alone tells a cost, the band is
the law's. Where array reads are charged
by the cells' own currents their energy is V² G t (`Crossbar.read_energy`). V, G and t of the chip file are there one constant,
at its low when all three are: factor (V_low / V)² (G_low / G) (t_low / t), t being no less than lines take to settle.
G is g_min and g_max together, by the wider of their two bands: exact over ideal wires where both have the same band or
g_min is 0; else the band contains the exact one, as over resistive wires, where the current grows by less than the
conductance (series resistance).

Every total T is a sum of terms, each proportional to one constant: actions x energy per action, static power x time, area.
Two bands of a total:

- outer: all constants at their low (high) end together. T_low = sum of the terms at their lows.
- inner: constants independent of each other. T_high = T + sqrt(sum_i (T_i - T)²), where in T_i constant i alone is at its
  high; T_low = T - sqrt(...) with the lows: the law of propagation of uncorrelated errors (JCGM 100:2008, 5.1.2, from
  memory), each side apart. Constants of one source may share their error; the truth is then between inner and outer.

Operations per joule are operations over energy, at the energy's other end. Neither band covers what is not modelled, nor
the conventions of the model, and neither is a confidence interval: ends are bounds by judgement, not quantiles.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from math import sqrt
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from xbar.hw.chip.checked import build, leaves
from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.costs import read_time_at
from xbar.hw.chip.description import Chip, Section, Source
from xbar.hw.chip.files import read_toml
from xbar.hw.events.ledger import INPUT, OUTPUT, STATIC, WRITE, Ledger
from xbar.hw.quantity import COSTS, OWN, Quantity, Unit

End = Literal["low", "high"]
ENDS: tuple[End, End] = ("low", "high")
READ_KEYS = ("device.read_voltage", "device.g_min", "device.g_max", "timing.array_read")
FED_AT = "component.crossbar.fed_at"
COLUMNS = ["of", "name", "quantity", "value", "low", "high", "inner_low", "inner_high"]


class Factors(Section):
    """Low and high end over the value."""

    low: Annotated[float, Unit("1"), Field(ge=0, le=1)]
    high: Annotated[float, Unit("1"), Field(ge=1, le=1e3)]


class BandTable(Section):
    """Factors by kind, and what they rest on."""

    source: dict[str, Source]
    measured: Factors
    published: Factors
    fitted: Factors
    derived: Factors
    assumed: Factors


@cache
def band_table() -> tuple[BandTable, dict[str, Quantity]]:
    """The factors by kind, and each as written in `bands.toml`."""
    label, raw = read_toml("bands", "xbar.hw", "table of bands")
    return build(BandTable, raw, label)


def factors_used(chip: Chip) -> dict[str, Quantity]:
    """The factors that bands of the chip's constants rest on, as written, under keys as `bands.published.low`."""
    used = {band_of(key, quantity)[2].removeprefix("kind ") for key, quantity in chip.provenance.items()}
    return {f"bands.{key}": quantity for key, quantity in band_table()[1].items() if key.partition(".")[0] in used}


# ---- constants


@cache
def banded() -> dict[str, str]:
    """Dimension, as the SI unit, of every number of a chip file that may have a band, by dotted key."""
    return {key: unit.dimension for key, unit in leaves(Chip).items() if unit is not None and unit.banded}


def band_of(key: str, quantity: Quantity) -> tuple[float, float, str]:
    """Low and high of a number of a chip file in the unit it is written in, and what they come from."""
    dimension = banded().get(key)
    if quantity.low is not None and quantity.high is not None:
        return quantity.low, quantity.high, "stated"
    if quantity.kind in ("override", OWN):
        return quantity.value, quantity.value, "exact: changed by hand" if quantity.kind == "override" else "exact: a decision"
    if dimension not in COSTS:
        return quantity.value, quantity.value, "exact: a count, setting or time" if dimension is None else "exact: none stated"
    factors: Factors = getattr(band_table()[0], quantity.kind)
    return quantity.value * factors.low, quantity.value * factors.high, f"kind {quantity.kind}"


def _constant(chip: Chip, key: str, end: End) -> float | None:
    """A constant at one end [SI]; as it is where it is exact, None where the chip has none."""
    value, quantity = chip.number(key), chip.provenance.get(key)
    if value is None or quantity is None or quantity.si != value:  # no file states what the chip has
        return value
    low, high, _ = band_of(key, quantity)
    return quantity.to_si(low if end == "low" else high)


def chip_at(chip: Chip, end: End) -> Chip:
    """The same chip with every energy, power and area constant, stated or of a law, at its low or high; its name and times
    stay."""
    return chip.priced(lambda key: _constant(chip, key, end), end)


def read_factor(chip: Chip, end: End) -> float:
    """Energy of an array read by the cells' own currents at that end, over what it is: V² G t, and the arrays' own energy where one is
    stated, of which a read takes its share (`Chip.read_energy_share`)."""

    def over(key: str) -> float:
        value, at_end = chip.number(key), _constant(chip, key, end)
        return at_end / value if value and at_end is not None else 1.0

    voltage, least, most = (over(key) for key in READ_KEYS[:-1])
    array_read = _constant(chip, READ_KEYS[-1], end)
    time = 1.0 if array_read is None else read_time_at(chip, array_read) / chip.read_time
    conductances = [most] if chip.device.g_min == 0 else [least, most]
    driven = voltage**2 if chip.component.crossbar.fed_at is None else voltage * over(FED_AT)  # charge times supply
    if chip.device.iv != "linear" and (read_voltage := _constant(chip, READ_KEYS[0], end)) is not None:
        moved = chip.device.model_copy(update={"read_voltage": read_voltage})
        driven *= moved.conducts() / chip.device.conducts()
    return driven * (min(conductances) if end == "low" else max(conductances)) * time * over("component.crossbar.energy")


def ledger_at(ledger: Ledger, end: End) -> Ledger:
    """The same events with every constant at its low or high: the outer band of whatever the ledger tells."""
    factor = read_factor(ledger.chip, end)
    reads = None if ledger.read_energy is None else {layer: joule * factor for layer, joule in ledger.read_energy.items()}
    return replace(ledger, placement=replace(ledger.placement, chip=chip_at(ledger.chip, end)), read_energy=reads)


# ---- totals

Terms = Mapping[str, tuple[float, float, float]]  # by constant: value, at its low, at its high


def _row(of: str, name: str, quantity: str, terms: Terms, factor: float = 1.0) -> dict[str, object]:
    """Outer and inner band of the sum of terms, each of a constant of its own."""
    value, low, high = (sum(term[position] for term in terms.values()) for position in range(3))
    down = sqrt(sum((term[0] - term[1]) ** 2 for term in terms.values()))
    up = sqrt(sum((term[2] - term[0]) ** 2 for term in terms.values()))
    ends = (value, low, high, value - down, value + up)
    return dict(zip(COLUMNS, (of, name, quantity, *(factor * end for end in ends)), strict=True))


def _inverse(row: Mapping[str, object], quantity: str, numerator: float) -> dict[str, object]:
    """`numerator` over a banded quantity."""
    ends = [float(str(row[column])) for column in ("value", "high", "low", "inner_high", "inner_low")]
    of_ends = [numerator / end if end > 0 else float("inf") for end in ends]
    return dict(zip(COLUMNS, ("total", "total", quantity, *of_ends), strict=True))


def _terms(names: Iterable[str], tables: Iterable[Mapping[str, float]]) -> Terms:
    value, low, high = tables
    return {name: (float(value[name]), float(low[name]), float(high[name])) for name in names}


def chip_bands(chip: Chip) -> pd.DataFrame:
    """Bands of what needs no simulation, one row each: of ("total" or "component"), name, quantity, value, low, high (the
    outer band), inner_low, inner_high.

    Of a component: energy_per_action_J, static_power_W, table_power_W, area_m2, over all of the chip; totals:
    static_power_W, table_power_W (every component at the chip's peak load), area_m2, table_operations_per_J.
    """
    tables, names = [each.table() for each in (chip, *(chip_at(chip, end) for end in ENDS))], tuple(chip.costs)
    columns = {"static_power_W": "static_power_W", "area_m2": "area_m2"}
    static, area = (_terms(names, [table[column] for table in tables]) for column in columns.values())
    moving = _terms(names, [table["power_W"] - table["static_power_W"] for table in tables])
    per_action = _terms(names, [table["energy_per_action_J"] for table in tables])
    power = {f"{name} {what}": term for what, terms in (("moving", moving), ("static", static)) for name, term in terms.items()}
    rows = []
    for name in names:
        rows += [
            _row("component", name, "energy_per_action_J", {name: per_action[name]}),
            _row("component", name, "static_power_W", {name: static[name]}),
            _row("component", name, "table_power_W", {"moving": moving[name], "static": static[name]}),
            _row("component", name, "area_m2", {name: area[name]}),
        ]
    drawn = _row("total", "total", "table_power_W", power)
    rows += [
        _row("total", "total", "static_power_W", static), drawn, _row("total", "total", "area_m2", area),
        _inverse(drawn, "table_operations_per_J", chip.peak_operations_per_second),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def ledger_bands(ledger: Ledger) -> pd.DataFrame:
    """`chip_bands` of the ledger's chip, and of what was simulated, in the same columns.

    Of a component and of a layer (INPUT and OUTPUT are links' transfers): dynamic_energy_per_request_J; of a component also
    static_energy_per_request_J; of a layer core_area_m2. Totals: energy_per_request_J, dynamic_energy_per_request_J,
    static_energy_per_request_J, average_power_W, operations_per_J, and without the links on_chip_energy_per_request_J and
    on_chip_operations_per_J. Without requests there are none of these.
    """
    found = chip_bands(ledger.chip)
    if not ledger.requests:
        return found
    ledgers = [ledger, *(ledger_at(ledger, end) for end in ENDS)]
    energies = [each.energy / ledger.requests for each in ledgers]
    names, layers = list(energies[0].columns), [name for name in energies[0].index if name != STATIC]
    static = _terms(names, [energy.loc[STATIC] for energy in energies])
    by_layer = {layer: _terms(names, [energy.loc[layer] for energy in energies]) for layer in layers}
    dynamic = _terms(names, [energy.drop(index=STATIC).sum() for energy in energies])
    both = {f"{name} {what}": term for what, terms in (("dynamic", dynamic), ("static", static)) for name, term in terms.items()}
    rows = []
    for name in names:
        rows.append(_row("component", name, "dynamic_energy_per_request_J", {name: dynamic[name]}))
        if name != WRITE:
            rows.append(_row("component", name, "static_energy_per_request_J", {name: static[name]}))
    for layer, terms in by_layer.items():
        rows.append(_row("layer", layer, "dynamic_energy_per_request_J", terms))
    in_cores = [name for name in ledger.chip.costs if ledger.chip.parents(name) == ledger.chip.cores]
    areas = _terms(in_cores, [each.chip.table()["parent_area_m2"] for each in ledgers])
    for layer in layers:
        if layer not in (INPUT, OUTPUT):
            cores = sum(ledger.placement.core_shares(layer).values())
            rows.append(_row("layer", layer, "core_area_m2", areas, cores))
    energy = _row("total", "total", "energy_per_request_J", both)
    on_chip = {name: term for name, term in both.items() if name.split()[0] not in CHIP_COMPONENTS}
    without_links = _row("total", "total", "on_chip_energy_per_request_J", on_chip)
    rows += [
        energy, without_links, _row("total", "total", "dynamic_energy_per_request_J", dynamic),
        _row("total", "total", "static_energy_per_request_J", static),
        _row("total", "total", "average_power_W", both, ledger.throughput),
        _inverse(energy, "operations_per_J", ledger.placement.network.chip_operations),
        _inverse(without_links, "on_chip_operations_per_J", ledger.placement.network.chip_operations),
    ]  # fmt: skip
    return pd.concat([found, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)

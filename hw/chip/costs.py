"""What every component of a chip costs, from the chip: counts, widths and lengths that follow from its structure, the load at
its peak, and the laws of `xbar.hw.cost`.

Counts. Every crossbar has a driver a wordline, a gate driver a wordline where there are any, and a sample-and-hold a bitline;
`component.adc.columns` tells how many ADCs a core has. A core's input register holds the inputs of all its wordlines, its
output register the results of all its crossbars, a tile's register as much for all its cores, each of `inputs.bits`.

Peak. All arrays read and all their columns are converted, every vector's inputs come over buffer and bus, its outputs go back,
each through one router and each through one adder, comparator, activation and register, as fast as the slowest of all these
allows. Product units and links act as fast as they can, multipliers too, but at most once a result. That is the load at which
publications add up their tables (ISAAC, ISCA 2016, Table I).

Cost. A law's, where no figure is stated. A stated figure moves with the law: stated x law(as it is) / law(stated_at), energy,
area and leakage each on its own. Where another law goes on beyond the end of the one that a figure moves by (sense amplifiers below
the survey's converters), it holds as it is, but no cost rises there when bits fall. A stated power contains leakage: the law's
at stated_at, and what is left is dynamic.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt
from typing import TYPE_CHECKING, Literal

from xbar.hw.array.design import ONES
from xbar.hw.chip.components import CHIP_COMPONENTS, CORE_COMPONENTS
from xbar.hw.chip.floorplan import FloorPlan
from xbar.hw.cost.array import drain_capacitance, gate_capacitance, line_resistance, settling_time
from xbar.hw.cost.charge import LADDER, line_loads
from xbar.hw.cost.component import Component, ComponentCost, StatedAt
from xbar.hw.cost.cost import Cost
from xbar.hw.cost.laws import LAWS
from xbar.hw.cost.technology import cycle_ratio
from xbar.hw.errors import ConfigurationError, ParameterError

if TYPE_CHECKING:
    from xbar.hw.chip.description import Chip

Constant = Callable[[str], float | None]
End = Literal["low", "high"]
NOT_PASSED = ("multiplier", "product", "link")  # by the vectors of the peak


@dataclass(frozen=True)
class Use:
    """How a component stands in its chip: units and their parents, capability and peak load, and its law's parameters."""

    units: int
    rate: float  # actions per second of which one unit is capable
    load: float  # actions per second of all units at the chip's peak
    parameters: Mapping[str, float]
    by_bit: bool = False  # an action of the component is one bit of a word that an action of the law moves
    shared_by: int = 1

    def per_action(self, parameters: Mapping[str, float]) -> float:
        """Actions of the law, at these parameters of it, that one action of the component takes; an array read of a part of the
        wordlines is that part of the law's read."""
        if self.by_bit:
            return 1 / parameters["width"]
        at_once = parameters.get("rows_at_once", 0)
        return 1 / ceil(parameters["wordlines"] / at_once) if at_once else 1.0


def uses(chip: "Chip") -> dict[str, Use]:
    """How every component that there is stands in the chip; of a bus without its length."""
    return _uses(chip, 1 / chip.slice_time)


def peak_slice_time(chip: "Chip") -> float:
    """Time per input slice at the peak [s]: the longest that arrays, their ADCs, or any unit that a vector passes take for it."""
    design, geometry = chip.array_design, chip.geometry(10**6, 1)
    conversions = len(design.converted_slices) / design.input_slices  # of a column, per input slice
    served = ceil(design.crossbars_per_adc * geometry.converted_planes / geometry.planes)  # an ADC of one plane alone has all
    columns = geometry.conversions_of(0) * served / design.adc_units
    converting = columns / adc_rate(chip) * conversions * design.partial_reads(design.wordlines)
    passed = [use.load / (use.units * use.rate) for name, use in _uses(chip, 1.0).items() if name not in NOT_PASSED]
    return max(converting, *passed)


def _uses(chip: "Chip", slices: float) -> dict[str, Use]:
    """`uses`, at a load of so many input slices of every crossbar per second."""
    s, t, c, design = chip.structure, chip.timing, chip.component, chip.array_design
    crossbars, adcs, bits = s.crossbars_per_core, design.adcs_per_core, chip.inputs.bits
    geometry = chip.geometry(10**6, 1)
    outputs = geometry.outputs_per_crossbar / geometry.planes  # of one crossbar, a pair on two being one
    parts = design.partial_reads(s.wordlines)
    vectors, streamed = slices / chip.input_slices, slices * parts
    reads = vectors * sum(design.reads_per_conversion) * parts
    converted = crossbars * geometry.conversions_of(0) * vectors * len(design.converted_slices) * parts
    converted *= geometry.converted_planes / geometry.planes
    in_tile = crossbars * s.cores_per_tile
    results = in_tile * outputs * vectors  # of a tile, per second
    moved = in_tile * (s.wordlines / geometry.wordlines_per_input + outputs) * vectors * bits
    inputs_held, driven = crossbars * s.wordlines * bits, crossbars * (s.wordlines // parts) * c.dac.bits
    results_held = int(crossbars * outputs * bits)
    clocked, adc = {"bits": bits, "rate": t.tile_clock}, adc_rate(chip)
    lines = cells_of(chip) | ({} if c.crossbar.law == "array" else {"on_resistance": 0.0})
    shared = parts if c.crossbar.in_charge else 1  # wordlines that a driver serves
    in_cell, seen = {"cell_bits": chip.cell_bits}, statistics_of(chip, chip.inputs.activity)
    found = {
        "dac": Use(
            crossbars * s.wordlines // shared, 1 / design.array_read, crossbars * s.wordlines * slices,
            {
                "bits": c.dac.bits, "bitlines": s.bitlines, "rate": 1 / design.array_read, "stored": shared,
                "capacitors": _capacitors(chip), "activity": seen["activity"], "mean_code": seen["mean_code"], **in_cell, **lines,
                "gates": 1.0 if c.gate_driver is None else 0.0,
            },
        ),
        "gate_driver": Use(
            crossbars * s.wordlines, 1 / design.array_read, crossbars * s.wordlines * slices,
            {"bitlines": s.bitlines, "rate": 1 / design.array_read, "slices": design.input_slices / len(design.converted_slices), **lines},
        ),
        "crossbar": Use(
            crossbars, 1 / design.array_read, crossbars * reads,
            {
                "wordlines": s.wordlines, "bitlines": s.bitlines, "read_time": design.array_read,
                **({"mean_code": seen["mean_code"]} if by_code(chip) else {name: seen[name] for name in ("activity", "mean_square")}),
                **({"rows_at_once": design.rows_at_once} if design.rows_at_once else {}),
                **({"fed_at": c.crossbar.fed_at} if c.crossbar.fed_at else {}), **in_cell, **cells_of(chip),
            },
        ),
        "sample_hold": Use(
            crossbars * s.bitlines, 1 / design.array_read, crossbars * s.bitlines * reads,
            {"bits": c.adc.bits, "rate": 1 / design.array_read},
        ),
        "multiplexer": Use(adcs, adc, converted, {"columns": design.columns_per_adc, "bits": c.adc.bits, "rate": adc}),
        "adc": Use(adcs, adc, converted, {"bits": c.adc.bits, **integrated(chip)} | ({} if c.adc.rate is None else {"rate": adc})),
        "input_register": Use(  # filled as fast as the bus brings bits, it streams out what the wordlines take
            1, driven / design.array_read, driven * streamed,
            {"capacity": inputs_held, "width": driven, "clock": 1 / design.array_read}, by_bit=True,
        ),
        "output_register": Use(1, adcs * adc, converted, {"capacity": results_held, "width": bits, "clock": adc}),
        "buffer": Use(
            1, t.buffer_width * t.tile_clock, moved,
            {"capacity": t.buffer_size, "width": t.buffer_width, "clock": t.tile_clock, "banks": c.buffer.banks or 1}, by_bit=True,
        ),
        "bus": Use(1, t.bus_width * t.tile_clock, moved, {"width": t.bus_width, "clock": t.tile_clock}),
        "router": Use(
            1, c.router.ports * t.flit_width * t.tile_clock, c.router.shared_by * results * bits,
            {"width": t.flit_width, "ports": c.router.ports, "clock": t.tile_clock}, shared_by=c.router.shared_by,
        ),
        "mesh_wires": Use(
            4, t.flit_width * t.tile_clock, c.router.shared_by * results * bits, {"width": t.flit_width}, shared_by=c.router.shared_by
        ),
        "tile_register": Use(
            1, c.accumulator.units * (c.accumulator.rate or t.tile_clock), results,
            {"capacity": results_held * s.cores_per_tile, "width": bits},
        ),
    }  # fmt: skip
    merging = c.shift_add.units or adcs
    rate = c.shift_add.rate or adcs * adc / merging
    sums = bits if c.shift_add.law == "shift_add" else c.adc.bits + 2 * bits  # weights up to as wide as inputs
    found["shift_add"] = Use(
        merging, rate, converted,
        {"bits": max(2, sums), "rate": rate, "clocks": max(1.0, t.tile_clock * t.array_read * merging / adcs)},
    )  # fmt: skip
    for name, per_second in (
        ("activation", results), ("accumulator", results), ("pool", results), ("multiplier", results), ("product", inf), ("link", inf),
    ):  # fmt: skip
        stated = getattr(c, name)
        if stated is not None:
            rate = stated.rate or t.tile_clock
            load = min(per_second, stated.units * rate) if name in NOT_PASSED else per_second
            found[name] = Use(stated.units, rate, load, {**clocked, "rate": rate, "second_bits": bits})
    process = {"node": chip.technology.node, "voltage": chip.technology.supply}
    return {
        name: replace(use, parameters={**process, **use.parameters})
        for name in chip.component.names
        for use in [found[name]]
    }


def integrated(chip: "Chip") -> dict[str, float]:
    """What a converter that integrates sees of an input: its bits, in how many phases they come, and reads of one, on the mean;
    nothing of another converter."""
    design = chip.array_design
    if not design.adc.integrates:
        return {}
    if design.adc.conversion == "each_slice":
        return {"pulses": 1.0, "input_bits": design.dac.bits, "phases": 1}
    phases = len(design.converted_slices)
    pulses = sum(design.reads_per_conversion) / phases
    return {"pulses": pulses, "input_bits": max(1, chip.inputs.streamed_bits), "phases": phases}


def adc_rate(chip: "Chip") -> float:
    """Conversions per second of one converter: as it is made for, or where no rate is given the pace that its law tells."""
    adc, technology = chip.component.adc, chip.technology
    if adc.rate is not None:
        return adc.rate
    known = {"bits": adc.bits, **integrated(chip), "node": technology.node, "voltage": technology.supply}
    return 1 / _law(chip, "component.adc", adc.law, known).time


def _capacitors(chip: "Chip") -> int:
    """Unit capacitors of a computing bit, of SRAM cells that have any."""
    return 0 if chip.component.crossbar.law != "charge" else 1 if chip.cell_bits == 1 else LADDER


def by_code(chip: "Chip") -> bool:
    """Whether a cell takes in proportion to the code, not to its square: codes are widths of pulses, its current comes from a supply
    that does not follow the code, or bitlines of SRAM are discharged by as much."""
    crossbar = chip.component.crossbar
    return crossbar.fed_at is not None or crossbar.in_charge or chip.component.dac.law == "pulse_width"


def statistics_of(chip: "Chip", ones: float) -> dict[str, float]:
    """For inputs of whose bits a share `ones` are 1: the share of wordlines that a read drives, mean square of the driven ones' codes,
    and mean of all codes, over the largest. Of cells that are not linear, which voltages drive, means of V I(V) and of I(V) over those
    at the largest code, in place of squares and codes."""
    dac, device, driven = chip.component.dac, chip.device, chip.component.dac.driven(ones)
    if device.iv == "linear" or dac.law == "pulse_width" or device.read_voltage is None:
        square, code = dac.mean_square(ones), ones
    else:
        full, share_of = device.conducts(), dac.shares(ones)
        square = sum(each * share * device.conducts(share) / full for share, each in share_of.items())
        code = sum(each * device.conducts(share) / full for share, each in share_of.items())
    return {"activity": driven, "mean_square": _at_most_1(square / driven) if driven else 0.0, "mean_code": _at_most_1(code)}


def _at_most_1(mean: float) -> float:
    """The mean without what rounding adds to 1."""
    return 1.0 if 1 < mean < 1 + 1e-9 else mean


def shares_of_mean(chip: "Chip", one_hot: bool) -> dict[str, float]:
    """Energy of an array read and of a drive over that at the chip's average inputs, by component, where inputs of a layer are other
    than these: of two passes, in one of which each value is 0, or (one_hot) those of a look-up, whose wordlines are all driven at the
    highest code. 1 of laws that do not follow the inputs.

    Infinite where the average inputs take nothing (`inputs.activity` = 0).
    """
    known, found = uses(chip), {}
    for name in ("crossbar", "dac"):
        law, mean = getattr(chip.component, name).law, known[name].parameters
        own = {key: 1.0 if one_hot else mean[key] / 2 for key in ("activity", "mean_code") if key in mean}
        if one_hot and "mean_square" in mean:
            own["mean_square"] = 1.0
        then, now = (_law(chip, f"component.{name}", law, each).energy for each in ({**mean, **own}, mean))
        found[name] = then / now if now else 1.0 if then == now else inf
    return found


def cells_of(chip: "Chip", constant: Constant | None = None) -> dict[str, float]:
    """The cells that accuracy, noise and wires are computed from, as parameters of laws; from other constants where given. conductance:
    what a cell conducts on the mean at the read voltage and the device's temperature, over that voltage."""
    number = constant or chip.number
    least, most, voltage = (number(f"device.{key}") for key in ("g_min", "g_max", "read_voltage"))
    assert least is not None
    assert most is not None
    device = chip.device.model_copy(update={"read_voltage": voltage})
    conducts = device.temperature_factor if voltage is None else device.conducts()
    made_for = chip.component.crossbar.least_resistance
    found = {"conductance": (least + most) / 2 * conducts, "on_resistance": 1 / most if made_for is None else made_for}
    return found if voltage is None else {**found, "read_voltage": voltage}


def settling(chip: "Chip") -> float:
    """How long a read takes to settle [s]: the wordline that switches its cells on to half a step of the DAC, then the bitline to
    half a step of the ADC, each line a ladder of its cells' wires and gates or drains (`xbar.hw.cost.array.settling_time`).

    Resistances are those of `wires`, and of the node's own wires where these are 0, ideal for what the cells compute.
    """
    node, wires = chip.technology.node, chip.wires
    if chip.component.crossbar.in_charge:
        return _settling_in_charge(chip)
    on = cells_of(chip)["on_resistance"] if chip.component.crossbar.law == "array" else 0.0
    own = line_resistance(node, on)
    wordline = settling_time(
        bits=chip.component.dac.bits, cells=chip.structure.bitlines, resistance=wires.wordline or own,
        capacitance=gate_capacitance(node, on), driver_resistance=wires.driver,
    )  # fmt: skip
    bitline = settling_time(
        bits=chip.component.adc.bits, cells=chip.structure.wordlines, resistance=wires.bitline or own,
        capacitance=drain_capacitance(node, on), driver_resistance=wires.sense,
    )  # fmt: skip
    return wordline + bitline


def _settling_in_charge(chip: "Chip") -> float:
    """The same of SRAM cells: a row of gates, then a column of capacitors or read ports, of the rows that compute at once."""
    s, c, node, bits = chip.structure, chip.component, chip.technology.node, chip.weights.cell_bits or chip.device.bits
    at_once = c.crossbar.rows_at_once or s.wordlines
    row, column, resistance = line_loads(node, cell_bits=bits, stored=s.wordlines / at_once, own_capacitor=c.crossbar.law == "charge")
    return settling_time(bits=c.dac.bits, cells=s.bitlines * bits, resistance=resistance, capacitance=row) + settling_time(
        bits=c.adc.bits, cells=at_once, resistance=resistance, capacitance=column
    )


def read_time_at(chip: "Chip", array_read: float) -> float:
    """Time of one array read [s], were `timing.array_read` this, at the supply that there is: no less than both lines of a cell take
    to settle. Where `timing.array_read_voltage` says at which supply it is stated, it follows from there (`technology.cycle_ratio`)."""
    at = chip.timing.array_read_voltage
    slower = 1.0 if at is None else cycle_ratio(chip.technology.supply, at)
    return max(array_read * slower, settling(chip))


def resolve(chip: "Chip", constant: Constant, end: End | None = None) -> dict[str, ComponentCost]:
    """What every component costs, by name in the order of COMPONENTS.

    constant: the number of the chip file under a dotted key [SI]; end: modelled costs at that end of their law's band. Raises
    ConfigurationError where a law does not cover what is asked, naming the component and its parameter.
    """
    found: dict[str, ComponentCost] = {}
    known = uses(chip)
    for name in sorted(known, key=("bus", "mesh_wires").__contains__):  # wires are as long as the rest makes them
        use = known[name]
        if name == "bus":
            use = replace(use, parameters={**use.parameters, "length": sqrt(_tile_area(chip, found))})
        elif name == "mesh_wires":
            use = replace(use, parameters={**use.parameters, "length": floor_plan(chip, found).hop_length})
        found[name] = _priced(chip, name, use, constant, end)
    return {name: found[name] for name in known}


def floor_plan(chip: "Chip", costs: Mapping[str, ComponentCost]) -> FloorPlan:
    """Where tiles, routers and links of a chip of such components lie."""
    router, links = costs["router"], sum(costs[name].area for name in CHIP_COMPONENTS if name in costs)
    side = sqrt(_tile_area(chip, costs) - router.parent_area)
    return FloorPlan(chip.structure.tiles, router.shared_by, side, router.area, links)


def _tile_area(chip: "Chip", found: Mapping[str, ComponentCost]) -> float:
    """Area of a tile, of the components found [m²]."""
    cores = chip.structure.cores_per_tile
    return sum(
        cost.parent_area * (cores if name in CORE_COMPONENTS else 1) for name, cost in found.items() if name not in CHIP_COMPONENTS
    )


def _priced(chip: "Chip", name: str, use: Use, constant: Constant, end: End | None) -> ComponentCost:
    stated: Component = getattr(chip.component, name)
    now = _law(chip, f"component.{name}", stated.law, use.parameters)
    parts = now.energy_parts, now.time_parts
    alone = now if end is None else _end_of(chip, name, stated.law, use.parameters, constant, end)
    energy, area, leakage = alone.energy * use.per_action(use.parameters), alone.area * use.units, alone.leakage * use.units
    if stated.stated_at is None:
        return ComponentCost(use.units, use.shared_by, energy, use.rate, use.load, area, leakage, stated.law, False, *parts)
    at = stated.stated_at
    published = _stated_parameters(chip, name, stated, use)
    key = f"component.{name}."
    then = _law(chip, key + "stated_at", stated.law, published)
    units, moved = at.units or 1, use.units / (at.units or 1)
    power, per_action, all_area, static = (constant(key + leaf) for leaf in ("power", "energy", "area", "static_power"))
    idle = static if static is not None else (then.leakage * units if power is not None else None)
    if power is not None:
        assert at.load is not None
        if end is not None and static is None:
            idle = min(idle or 0.0, power)  # a power at its low end may be less than what leaks at the stated one
        dynamic = power - (idle or 0.0) if static is None else power
        if dynamic < 0:
            problem = f"the law {stated.law} tells a leakage of {idle:.3g} W at stated_at; state static_power"
            raise ConfigurationError(f"chip {chip.name}", [(key + "power", f"{power:g} W", problem)])
        per_action = dynamic / (units * at.load)
    kept, limit = now, None  # where another law goes on beyond the one that the figures are moved by, they move to its end
    last = _last_bits(stated.law, use.parameters, published)
    if last is not None:
        kept = _law(chip, key[:-1], stated.law, {**use.parameters, "bits": last})
        limit = min if last > use.parameters["bits"] else max

    def carried(leaf: str, figure: float, own: float, here: float, there: float) -> float:
        if not there and here:
            problem = f"the law {stated.law} tells 0 at stated_at and {here:.3g} here: nothing to move it by"
            raise ConfigurationError(f"chip {chip.name}", [(key + leaf, f"{figure:g}", problem)])
        value = figure * here / there if there else figure
        return value if limit is None else limit(own, value)

    if per_action is not None:
        of_kept = kept.energy * use.per_action(use.parameters)
        leaf = "power" if power is not None else "energy"
        energy = carried(leaf, per_action, energy, of_kept, then.energy * use.per_action(published))
    if idle is not None and (static is not None or then.leakage):
        leakage = carried("static_power", idle * moved, leakage, kept.leakage, then.leakage)
    if all_area is not None:
        area = carried("area", all_area * moved, area, kept.area, then.area)
    return ComponentCost(use.units, use.shared_by, energy, use.rate, use.load, area, leakage, stated.law, True, *parts)


def _end_of(chip: "Chip", name: str, law: str, parameters: Mapping[str, float], constant: Constant, end: End) -> Cost:
    """The law's cost at an end of its band, for cells, inputs and reads at that end of theirs where the law takes them."""
    array_read = constant("timing.array_read")
    cells = {key: value for key, value in cells_of(chip, constant).items() if parameters.get(key)}  # 0: of no transistor
    moved = {**parameters, **cells}
    if (ones := constant("inputs.activity")) is not None:
        moved |= {key: value for key, value in statistics_of(chip, ones).items() if key in parameters}
    if (fed_at := constant("component.crossbar.fed_at")) is not None and "fed_at" in parameters:
        moved["fed_at"] = fed_at
    if "read_time" in parameters and array_read is not None:
        moved["read_time"] = read_time_at(chip, array_read)
    cost, which = _law(chip, f"component.{name}", law, moved), 0 if end == "low" else 1
    return Cost(cost.energy * cost.energy_band[which], cost.area * cost.area_band[which], cost.leakage * cost.energy_band[which])


def least_bits(law: str) -> int:
    """The fewest bits that a law of ADCs covers."""
    return int(LAWS[law].law.valid["bits"][0])


def _last_bits(law: str, here: Mapping[str, float], there: Mapping[str, float]) -> float | None:
    """The bits nearest to those here of the law that holds there, where another one holds here; None where the same does."""
    if _law_of(law, here) == _law_of(law, there):
        return None
    fewest, most = LAWS[_law_of(law, there)].law.valid["bits"]
    return min(max(here["bits"], fewest), most)


def _law_of(law: str, parameters: Mapping[str, float]) -> str:
    """The law, or the one that goes on in its place: below the fewest bits of the survey's converters are sense amplifiers."""
    return "sense_amplifier" if law == "survey" and parameters["bits"] < LAWS[law].law.valid["bits"][0] else law


def _stated_parameters(chip: "Chip", name: str, stated: Component, use: Use) -> dict[str, float]:
    """The parameters of the law at the configuration that was published; raises ConfigurationError where one is missing."""
    at, shared = stated.stated_at, chip.stated_at
    given = {**(shared or StatedAt()).given(), **at.given()} if at is not None else {}
    law = LAWS[stated.law].law
    statistics = {"activity": ONES, "mean_square": 1.0, "mean_code": ONES}
    taken = [each for each in law.parameters if each not in statistics or each in use.parameters]
    foreign = sorted(set(at.given() if at is not None else ()) - {"units", "load"} - set(taken))
    if foreign:
        problems = [
            (f"component.{name}.stated_at.{each}", f"{given[each]:g}", f"without effect: the law {stated.law} does not take it here; it "
             f"takes {', '.join(taken)}") for each in foreign
        ]  # fmt: skip
        raise ConfigurationError(f"chip {chip.name}", problems)
    missing = [each for each in law.parameters if each not in given and (each in law.required or each in use.parameters)]
    optional = ("voltage", "activity", "mean_square", "mean_code", "rows_at_once", "gates")
    missing = [each for each in missing if each not in optional]
    if missing:
        why = f"the law {stated.law} moves the figures by it"
        problems = [(f"component.{name}.stated_at.{each}", "(missing)", why) for each in missing]
        raise ConfigurationError(f"chip {chip.name}", problems)
    # of a table that tells none: half of its wordlines, by 1-bit drivers
    same = {"gates": use.parameters["gates"]} if "gates" in use.parameters else {}  # which drivers a chip has is the chip's
    return {**same, **{each: value for each, value in statistics.items() if each in use.parameters}, **given}


def _law(chip: "Chip", key: str, law: str, parameters: Mapping[str, float]) -> Cost:
    """The law's cost at these parameters, which stand under `key`; raises ConfigurationError where one is missing or the law
    does not cover it. `_law_of` tells which goes on in its place."""
    law = _law_of(law, parameters)
    function = LAWS[law]
    missing = [each for each in function.law.required if each not in parameters]
    if missing:
        where = {"read_voltage": "device.read_voltage"}
        problems = [(where.get(each, key), "(missing)", f"the law {law} of {key} needs {each}") for each in missing]
        raise ConfigurationError(f"chip {chip.name}", problems)
    taken = {each: parameters[each] for each in function.law.parameters if each in parameters}
    for each in ("rate", "clock"):  # what acts less often than the slowest that a law knows is made as that
        if each in taken and each in function.law.valid:
            taken[each] = max(taken[each], function.law.valid[each][0])
    try:
        return function(**taken)
    except ParameterError as error:
        raise ConfigurationError(f"chip {chip.name}", [(key, f"law {law}", str(error))]) from None

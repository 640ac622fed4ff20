"""The chip: what there is, how many, who shares what; rolled up to area and peak power.

chip -> tiles -> cores -> crossbars. Files are read in `xbar.hw.chip.files`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from math import ceil, inf
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from xbar.hw.array.design import ArrayDesign, Inputs, WireResistance
from xbar.hw.array.geometry import Geometry, WeightEncoding
from xbar.hw.cells.device import Device
from xbar.hw.chip import layers
from xbar.hw.chip.checked import validate
from xbar.hw.chip.components import ACTIONS, CHIP_COMPONENTS, CORE_COMPONENTS, TILE_COMPONENTS, Components
from xbar.hw.chip.costs import (
    Constant,
    End,
    floor_plan,
    least_bits,
    peak_slice_time,
    read_time_at,
    resolve,
    shares_of_mean,
)
from xbar.hw.chip.floorplan import FloorPlan
from xbar.hw.cost.component import ComponentCost, StatedAt
from xbar.hw.cost.technology import nominal_voltage
from xbar.hw.display import Shown, si
from xbar.hw.errors import ConfigurationError
from xbar.hw.later import Later
from xbar.hw.quantity import Quantity, Unit

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = Later("pandas")


_MEAN: Mapping[str, float] = {"crossbar": 1.0, "dac": 1.0}


class Section(BaseModel):
    """A table of a description file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Section):
    """Where numbers come from: `cite` the publication, `read` how it was read."""

    cite: str
    read: str


class Structure(Section):
    """How many of what."""

    tiles: Annotated[int, Unit("1"), Field(ge=1, le=4096)]  # distances between all of them are held at once
    cores_per_tile: Annotated[int, Unit("1"), Field(ge=1, le=4096)]
    crossbars_per_core: Annotated[int, Unit("1"), Field(ge=1, le=4096)]
    wordlines: Annotated[int, Unit("1"), Field(ge=1, le=65536)]
    bitlines: Annotated[int, Unit("1"), Field(ge=1, le=65536)]


class Timing(Section):
    """Clocks and widths of what moves data."""

    array_read: Annotated[float, Unit("s", banded=True), Field(ge=1e-15, le=1)]  # one analog read of a crossbar
    array_read_voltage: Annotated[float | None, Unit("V"), Field(gt=0)] = None  # of the logic, at which array_read is as stated
    tile_clock: Annotated[float, Unit("1/s"), Field(ge=1, le=1e15)]
    buffer_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock
    bus_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock
    flit_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock, into the network
    router_cycles: Annotated[int, Unit("1"), Field(ge=0)]  # tile clocks per router passed
    multicast: bool = False  # routers copy a packet where the routes to several tiles part; else one packet to each tile
    buffer_size: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile


class Technology(Section):
    """The process that the chip is made in; voltage: of its logic, the node's nominal one where not given."""

    node: Annotated[float, Unit("m"), Field(gt=0)]
    voltage: Annotated[float | None, Unit("V"), Field(gt=0)] = None

    @property
    def supply(self) -> float:
        """Voltage of the logic [V]; raises LawRangeError for a node that no law knows."""
        return nominal_voltage(self.node) if self.voltage is None else self.voltage


class Chip(Shown, Section):
    """One chip; the single description from which accuracy, time, energy and area are computed."""

    name: str
    title: str
    description: str
    source: dict[str, Source]
    structure: Structure
    device: Device
    weights: WeightEncoding
    inputs: Inputs
    wires: WireResistance = WireResistance()
    technology: Technology
    timing: Timing
    component: Components
    stated_at: StatedAt | None = None  # what published figures of all components have in common
    layer: dict[str, layers.LayerSettings] = {}

    _provenance: dict[str, Quantity] = PrivateAttr(default_factory=dict)
    _whole: "Chip | None" = PrivateAttr(default=None)  # whose this is as a layer finds it

    @model_validator(mode="after")
    def _check(self) -> "Chip":
        c = self.component
        if self.weights.cell_bits is not None and self.weights.cell_bits > self.device.bits:
            raise ValueError(
                f"weights.cell_bits = {self.weights.cell_bits} is more than the device has levels for: "
                f"device.levels = {self.device.levels} holds {self.device.bits} bits"
            )
        if self.inputs.signed == "twos_complement" and c.dac.bits != 1:
            raise ValueError(
                f"inputs.signed = twos_complement needs component.dac.bits = 1 (got {c.dac.bits}): the negative "
                "last slice must hold the sign bit alone; use two_pass"
            )
        if self.inputs.signed in ("bipolar", "twos_complement") and self.inputs.bits < 2:
            raise ValueError(f"inputs.signed = {self.inputs.signed} needs inputs.bits of at least 2, one of them the sign")
        if not self.inputs.quantise and self.input_slices > 1:
            raise ValueError(
                f"inputs.quantise = false cannot be cut in slices: component.dac.bits = {c.dac.bits} must hold the "
                f"{self.inputs.streamed_bits} streamed bits of inputs.bits = {self.inputs.bits}"
            )
        accumulated = c.adc.conversion == "after_accumulation"
        for key, given in (("pulses = weighted", self.inputs.pulses == "weighted"), ("phase_bits", self.inputs.phase_bits is not None)):
            if given and not accumulated:
                raise ValueError(f"inputs.{key} is without effect: component.adc.conversion = each_slice; use after_accumulation")
        if self.inputs.phase_bits is not None and self.inputs.phase_bits < c.dac.bits:
            raise ValueError(
                f"inputs.phase_bits = {self.inputs.phase_bits} is less than the component.dac.bits = {c.dac.bits} of one slice, which is "
                "converted at once"
            )
        if c.adc.range == "fixed" and self.device.read_voltage is None:
            raise ValueError("component.adc.range = fixed is a current and needs device.read_voltage")
        if self.wires.topology == "gate_selected" and (self.wires.driven_from, self.wires.sensed_at) != ("one", "one"):
            raise ValueError("wires.topology = gate_selected is driven and sensed at one end")
        if self.weights.scheme == "separate" and self.weights.analog_pair and self.structure.crossbars_per_core % 2:
            raise ValueError(
                f"weights.subtraction = analog of a separate pair needs its two crossbars in one core: "
                f"structure.crossbars_per_core = {self.structure.crossbars_per_core} must be even"
            )
        if c.adc.current_limit is not None and self.device.read_voltage is None:
            raise ValueError("component.adc.current_limit is a current and needs device.read_voltage")
        if c.adc.sensing == "voltage":
            self._check_voltage_sensing()
        if c.crossbar.least_resistance is not None and c.crossbar.law != "array":
            raise ValueError(
                f"component.crossbar.least_resistance is without effect: cells of law {c.crossbar.law} have no access transistor"
            )
        fed, read = c.crossbar.fed_at, self.device.read_voltage
        if fed is not None and read is not None and fed < read:
            raise ValueError(f"component.crossbar.fed_at = {fed:g} V is below device.read_voltage = {read:g} V, which it is to give")
        if c.crossbar.in_charge:
            self._check_charge()
        elif c.dac.law in ("pulses", "capacitive"):
            raise ValueError(
                f"component.dac.law = {c.dac.law} drives SRAM cells; component.crossbar.law = {c.crossbar.law} needs law = driver, or "
                "pulse_width"
            )
        if c.dac.law == "pulse_width" and c.dac.bits > 1:
            self._check_pulse_width()
        if c.crossbar.rows_at_once is not None:
            self._check_rows_at_once(c.crossbar.rows_at_once)
        if self.signed_current(True) and c.adc.bits < 2:
            raise ValueError("component.adc.bits must be at least 2 for a signed current")
        self.geometry(1, 1, bias=True)
        for name, found in self.layer_chips.items():
            if found.component.adc.bits > c.adc.bits:
                raise ValueError(
                    f"layer {name!r}: component.adc.bits = {found.component.adc.bits} is more than the chip's ADCs have, {c.adc.bits}"
                )
            if found.inputs.bits > self.inputs.bits:
                raise ValueError(
                    f"layer {name!r}: inputs.bits = {found.inputs.bits} is more than the chip's registers and digital units are made "
                    f"for, inputs.bits = {self.inputs.bits}"
                )
        return self

    def _title(self) -> str:
        return f"Chip {self.name}: {self.title}"

    def _numbers(self) -> dict[str, str]:
        s, adc = self.structure, self.component.adc
        return {
            "crossbars": f"{self.crossbars:,} of {s.wordlines} x {s.bitlines} on {s.tiles:,} tiles",
            "cells": f"{self.device.levels:,} levels", "weights": f"{self.weights.bits} bit", "inputs": f"{self.inputs.bits} bit",
            "ADC": f"{adc.bits} bit",
            "node": si(self.technology.node, "m"), "area": si(self.area, "m²"), "peak power": si(self.peak_power, "W"),
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        table = self.table()
        shown = {name: table[column].map(lambda value, unit=unit: si(value, unit)) for name, column, unit in (
            ("energy of an action", "energy_per_action_J", "J"), ("power at peak", "power_W", "W"), ("area", "area_m2", "m²"),
        )}  # fmt: skip
        return pd.DataFrame({"count": table["count"].map("{:,.0f}".format), **shown})

    @cached_property
    def layer_chips(self) -> dict[str, "Chip"]:
        """The chip as each layer with settings of its own finds it, by the layer's name."""
        found = {name: self.with_changes(layer={}, **settings.changes()) for name, settings in self.layer.items()}
        for each in found.values():
            each._whole = self
        return found

    def for_layer(self, name: str) -> "Chip":
        """The chip as that layer finds it; itself where nothing is set for the layer. What components are and cost, `costs`, is the
        whole chip's, but for conversions (`costs_for`)."""
        return self.layer_chips.get(name, self)

    def costs_for(self, layer: str) -> Mapping[str, ComponentCost]:
        """What components cost where a layer acts: the chip's own, but of a conversion that resolves the layer's fewer bits, no fewer
        than the law of the chip's ADCs knows. A converter that integrates, its pace, and that of what waits for it, follow the layer's
        bits of inputs too, and gate lines its phases."""
        return self._layer_costs.get(layer, self.costs)

    @cached_property
    def _layer_costs(self) -> dict[str, dict[str, ComponentCost]]:
        return self._costs_of_layers(self.costs, self.number, None)

    def _costs_of_layers(
        self, costs: Mapping[str, ComponentCost], constant: Constant, end: End | None
    ) -> dict[str, dict[str, ComponentCost]]:
        found = {}
        for name, settings in self.layer_chips.items():
            bits = max(settings.component.adc.bits, least_bits(self.component.adc.law))
            streamed = {"inputs": {"bits": settings.inputs.bits}} if self.component.adc.integrates else {}
            used = resolve(self.with_changes(layer={}, component={"adc": {"bits": bits}}, **streamed), constant, end)
            energies = {"adc", "gate_driver"} & set(costs)
            paces = energies | {"multiplexer", "shift_add", "output_register"} & set(costs) if self.component.adc.integrates else set()
            found[name] = {**costs, **{each: replace(costs[each], energy_per_action=used[each].energy_per_action) for each in energies}}
            found[name] |= {each: replace(found[name][each], unit_rate=used[each].unit_rate) for each in paces}
        return found

    # ---- derived

    @property
    def provenance(self) -> dict[str, Quantity]:
        """Every number of the chip file as written, by dotted key."""
        return dict(self._provenance)

    @property
    def array_design(self) -> ArrayDesign:
        """What one crossbar is and how it is read."""
        s, c = self.structure, self.component
        return ArrayDesign(
            s.wordlines, s.bitlines, s.crossbars_per_core, self.device, self.weights, self.inputs, self.wires, c.dac, c.adc,
            self.read_time, c.crossbar.rows_at_once, fed_at=c.crossbar.fed_at, cell_error=c.crossbar.cell_error,
        )  # fmt: skip

    def _check_pulse_width(self) -> None:
        """Refuse pulses of several widths where the charge of a read is not the sum of what each pulse gives alone."""
        gated = self.wires.topology == "gate_selected"
        if not self.wires.lines_ideal and (gated or self.device.iv != "linear"):
            raise ValueError(
                f"component.dac.law = pulse_width of {self.component.dac.bits} bits needs "
                f"{'wires.topology = row_driven' if gated else 'device.iv = linear'} or lines without resistance: what pulses that end do "
                "to those that last is not modelled"
            )

    def _check_voltage_sensing(self) -> None:
        adc, device = self.component.adc, self.device
        for wrong, problem in (
            (not self.weights.shared_bitline, f"weights.subtraction = shared_bitline, got {self.weights.subtraction} of scheme "
             f"{self.weights.scheme}: only pairs on one bitline settle at one voltage"),
            (not self.wires.ideal, "ideal wires: their resistance is not modelled where no current flows into a sense amplifier"),
            (device.iv != "linear", f"device.iv = linear, got {device.iv}"),
            (device.read_correlation_time > 0 and device.has_read_noise,
             "device.read_correlation_time = 0: noise that lasts is not modelled for floating columns"),
            (device.read_bandwidth is not None, "no device.read_bandwidth: thermal noise of a floating column is not modelled"),
            (adc.full_scale_voltage is not None and device.read_voltage is None, "device.read_voltage, as full_scale_voltage does"),
        ):  # fmt: skip
            if wrong:
                raise ValueError(f"component.adc.sensing = voltage needs {problem}")

    def _check_charge(self) -> None:
        """Refuse what only cells with a conductance have: SRAM cells that compute in charge are exact levels of arbitrary unit."""
        law, device = self.component.crossbar.law, self.device
        said = f"component.crossbar.law = {law} is of SRAM cells, which have no conductance: "
        if self.component.dac.law in ("driver", "pulse_width"):
            raise ValueError(f"{said}component.dac.law must be pulses or capacitive (got {self.component.dac.law})")
        if self.component.gate_driver is not None:
            raise ValueError(f"{said}component.gate_driver must be left out")
        if self.component.crossbar.fed_at is not None:
            raise ValueError(f"{said}component.crossbar.fed_at must be left out")
        if device.read_voltage is not None:
            raise ValueError(f"{said}device.read_voltage must be left out; the supply is technology.voltage")
        if device.g_min:
            raise ValueError(f"{said}device.g_min must be 0 (got {device.g_min:g} S)")
        if not self.wires.ideal:
            raise ValueError(f"{said}wires must be ideal; how lines settle is told by the node")
        if device.iv != "linear":
            raise ValueError(f"{said}device.iv must be linear (got {device.iv})")

    def _check_rows_at_once(self, rows: int) -> None:
        lines = self.geometry(1, 1).wordlines_per_input
        if self.structure.wordlines % rows or rows % lines:
            of_input = f" and be a multiple of {lines}, the wordlines of an input" if lines > 1 else ""
            raise ValueError(
                f"component.crossbar.rows_at_once = {rows} must divide structure.wordlines = {self.structure.wordlines}{of_input}"
            )
        w = self.weights
        if rows < self.structure.wordlines and (w.segment is not None or w.bias_rows or w.per == "segment"):
            raise ValueError(
                "component.crossbar.rows_at_once below structure.wordlines needs weights.segment and bias_rows left out, and weights.per "
                "other than segment: parts of an array with a scale or a bias of the whole are not modelled"
            )
        if rows < self.structure.wordlines and (not self.wires.ideal or self.component.adc.has_errors):
            raise ValueError(
                "component.crossbar.rows_at_once below structure.wordlines needs ideal wires and ADCs without errors: neither is "
                "modelled for part of an array"
            )

    @cached_property
    def read_time(self) -> float:
        """Time of one array read [s]: `timing.array_read`, and no less than both lines of a cell take to settle."""
        return read_time_at(self, self.timing.array_read)

    @property
    def cell_bits(self) -> int:
        """Bits of a weight that one cell holds."""
        return self.array_design.cell_bits

    @property
    def crossbars(self) -> int:
        """Crossbars on the chip."""
        return self.cores * self.structure.crossbars_per_core

    @property
    def cores(self) -> int:
        """Cores on the chip."""
        return self.structure.tiles * self.structure.cores_per_tile

    @property
    def input_slices(self) -> int:
        """Input slices of one pass."""
        return self.array_design.input_slices

    def signed_current(self, signed_input: bool) -> bool:
        """True where the current of a conversion can have either sign."""
        return self.array_design.signed_current(signed_input)

    def shares_of_mean(self, signed_input: bool, lookup: bool) -> Mapping[str, float]:
        """What an array read ("crossbar") and a drive ("dac") of a layer take, over those at the chip's average inputs: 1 but of
        inputs in two passes, and of look-ups (`xbar.hw.chip.costs.shares_of_mean`). Raises ConfigurationError for a look-up where
        average inputs take nothing, so that nothing follows from them."""
        if not lookup:
            return self._shares_of_two_passes if self.passes(signed_input) == 2 else _MEAN
        for name, share in self._shares_of_one_hot.items():
            if share == inf:
                problem = f"component.{name} then takes nothing on the mean, which does not tell what a look-up takes; it must be above 0"
                raise ConfigurationError(f"chip {self.name}", [("inputs.activity", f"{self.inputs.activity:g}", problem)])
        return self._shares_of_one_hot

    @cached_property
    def _shares_of_two_passes(self) -> dict[str, float]:
        return shares_of_mean(self, one_hot=False)

    @cached_property
    def _shares_of_one_hot(self) -> dict[str, float]:
        return shares_of_mean(self, one_hot=True)

    def conversions_per_column(self, signed_input: bool) -> int:
        """ADC conversions of one column per vector."""
        return self.array_design.conversions_per_column(signed_input)

    def passes(self, signed_input: bool) -> int:
        """Streams of the input that one product takes."""
        return self.array_design.passes(signed_input)

    @cached_property
    def one_hot(self) -> "Chip":
        """The same chip as a look-up drives it: one wordline, in one slice of the DAC's highest code, never negative."""
        return self.with_changes(layer={}, inputs={"bits": self.component.dac.bits, "signed": "two_pass", "quantise": True})

    def geometry(self, outputs: int, inputs: int, groups: int = 1, bias: bool = False) -> Geometry:
        """How a (groups x) outputs x inputs matrix, with a bias or without, is cut on this chip's crossbars."""
        return self.array_design.geometry(outputs, inputs, groups, bias)

    def parents(self, name: str) -> int:
        """How many cores, tiles or chips carry the component."""
        if name in CORE_COMPONENTS:
            return self.cores
        return self.structure.tiles if name in TILE_COMPONENTS else 1

    def instances(self, name: str) -> int:
        """How many of all of a component's units there are: one a parent, or one for so many that share it, the last ones of them too."""
        return ceil(self.parents(name) / self.costs[name].shared_by)

    @cached_property
    def costs(self) -> dict[str, ComponentCost]:
        """What each component that there is costs, by name in the order of COMPONENTS; raises ConfigurationError where no law
        covers it."""
        return resolve(self, self.number) if self._whole is None else self._whole.costs

    def priced(self, constant: Constant, end: End) -> "Chip":
        """The same chip, its costs from other constants (`number`'s by default) and from laws at the low or high end of their
        bands; `with_changes` of it takes its own again."""
        writing = {"device": self.device.model_copy(update={"write_energy": constant("device.write_energy")})}
        other = self.model_copy(update=writing)
        other.__dict__["costs"] = resolve(self, constant, end)
        for cached in ("static_power", "one_hot", "floorplan"):
            other.__dict__.pop(cached, None)
        other.__dict__["_layer_costs"] = self._costs_of_layers(other.costs, constant, end)
        return other

    def number(self, key: str) -> float | None:
        """The number under a dotted key of the chip file [SI], None where the chip has none."""
        found: object = self
        for part in key.split("."):
            found = getattr(found, part, None)
        assert found is None or isinstance(found, (int, float))
        return found

    @cached_property
    def static_power(self) -> float:
        """Power of the idle chip [W]."""
        return sum(c.static_power * self.instances(name) for name, c in self.costs.items())

    @property
    def leakage(self) -> float:
        """Power of the idle chip without its off-chip links [W]."""
        links = sum(cost.static_power for name, cost in self.costs.items() if name in CHIP_COMPONENTS)
        return self.static_power - links

    def table(self) -> "pd.DataFrame":
        """Component table: one row a component; count, power at the peak load [W] and area [m²] of the chip,
        energy per action [J], and its share of one core or tile, where as many share it as can."""
        rows = []
        for name, c in self.costs.items():
            instances = self.instances(name)
            level = "core" if name in CORE_COMPONENTS else "tile" if name in TILE_COMPONENTS else "chip"
            rows.append({
                "component": name, "per": level, "action": ACTIONS[name],
                "count": c.units * instances,
                "energy_per_action_J": c.energy_per_action,
                "parent_power_W": c.peak_power, "parent_area_m2": c.parent_area,
                "power_W": self._peak_power_of(name),
                "static_power_W": c.static_power * instances,
                "area_m2": c.area * instances,
            })  # fmt: skip
        return pd.DataFrame(rows).set_index("component")

    @property
    def area(self) -> float:
        """Area of the chip [m²]."""
        return float(np.sum([c.area * self.instances(name) for name, c in self.costs.items()]))

    def _peak_power_of(self, name: str) -> float:
        """Power of a component at the chip's peak load, static included [W]."""
        cost = self.costs[name]
        return cost.energy_per_action * cost.load / cost.shared_by * self.parents(name) + cost.static_power * self.instances(name)

    @property
    def peak_power(self) -> float:
        """Power of the chip at its peak load, as publications add their tables up (`xbar.hw.chip.costs`), static included [W]."""
        return float(np.sum([self._peak_power_of(name) for name in self.costs]))

    @cached_property
    def floorplan(self) -> FloorPlan:
        """Where tiles, routers and links lie."""
        return floor_plan(self, self.costs)

    @property
    def full_power(self) -> float:
        """Power of the chip with every unit of every component at the rate that it is capable of, static included [W].

        No load reaches it, since parts wait for each other; but it never falls where there are more parts, or wider or faster ones.
        """
        return sum(cost.full_power * self.instances(name) for name, cost in self.costs.items())

    def tile_totals(self) -> tuple[float, float]:
        """Power at the peak load [W] and area [m²] of one tile with its cores."""
        table, cores = self.table(), self.structure.cores_per_tile
        factor = table["per"].map({"core": cores, "tile": 1, "chip": 0})
        return float((factor * table["parent_power_W"]).sum()), float((factor * table["parent_area_m2"]).sum())

    @cached_property
    def slice_time(self) -> float:
        """Time per input slice with every column of every crossbar in use [s], as fast as the slowest of arrays, converters and
        what vectors pass allows (`xbar.hw.chip.costs`)."""
        return peak_slice_time(self)

    @property
    def peak_operations_per_second(self) -> float:
        """Multiplications and additions per second with every cell in use, of weights and inputs of full
        width: crossbars x inputs per crossbar x outputs per crossbar x 2 / (slices x time per slice)."""
        geometry = self.geometry(10**6, 1)
        blocks = self.crossbars / geometry.planes
        weights = blocks * self.array_design.inputs_per_crossbar * geometry.outputs_per_crossbar
        return 2 * weights / (self.input_slices * self.slice_time)

    def differs(self, device: Device, with_cells: bool = True) -> bool:
        """True where chips of these cells differ: in ADCs or, where the cells have their errors, in what they hold and are off by."""
        cells = device.draws or self.component.crossbar.cell_error.sigma > 0
        return self.component.adc.has_errors or (with_cells and cells)

    @property
    def wires_are_modelled(self) -> bool:
        """True where the resistance of wires may be given: of arrays whose columns are held at a virtual ground."""
        return self.component.adc.sensing == "current" and not self.component.crossbar.in_charge

    @cached_property
    def read_energy_share(self) -> float:
        """A read's energy over that of its law, V² G t: 1 but where the arrays state an energy of a read, as calibrated on a chip that
        was built. A stated power is one of a table, which the cells' own conductance follows from (as of ISAAC)."""
        if self._whole is not None:
            return self._whole.read_energy_share
        if self.component.crossbar.energy is None:
            return 1.0
        law = self.by_laws.costs["crossbar"].energy_per_action
        return self.costs["crossbar"].energy_per_action / law if law else 1.0

    @cached_property
    def by_laws(self) -> "Chip":
        """The same chip without any figure that was published of it or fitted to it: every component costs what its law says."""
        without = dict.fromkeys(("power", "energy", "area", "static_power", "stated_at"))
        return self.with_changes(component={name: without for name, stated in self.component.items() if stated.stated_at is not None})

    def with_changes(self, **sections: Mapping[str, Any]) -> "Chip":
        """A checked copy with SI fields replaced, as in `chip.with_changes(device={"levels": 16})`.

        Keys of `component` are components: `component={"adc": {"bits": 6}}`; one that the chip lacks is added where all of it
        is given. `layer` replaces the settings of all layers. Raises ConfigurationError.
        """
        data = self.model_dump()
        data["layer"] = sections.pop("layer", {name: each.changes() for name, each in self.layer.items()})
        for section, changes in sections.items():
            for key, value in changes.items():
                data[section] = data[section] or {}
                if isinstance(value, Mapping):
                    data[section][key] = {**(data[section].get(key) or {}), **value}
                else:
                    data[section][key] = value
        changed = validate(Chip, data, f"chip {self.name} with changes", {})
        changed._provenance = dict(self._provenance)
        return changed

"""The chip: what there is, how many, who shares what; loaded from TOML, rolled up to area and peak power.

chip -> tiles -> cores -> crossbars. A chip file states every number as
`{ value, unit, kind, source, why }`; the loader turns it into SI and keeps the statement as provenance.

A file that says `extends = "isaac"` (a preset, or a path relative to the file) gives only what differs from that one or is
added to it, beside a name, title and description of its own. A number is restated whole; what is not restated keeps the
statement, kind and source that it was given where it comes from. Energy in place of power (or power of energy) replaces it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from xbar.hw.array.converter import Adc, Dac
from xbar.hw.array.design import ArrayDesign, Inputs, WireResistance
from xbar.hw.array.geometry import Geometry, WeightEncoding
from xbar.hw.cells.device import Device
from xbar.hw.cells.table import TABLE_FOLDER, find_table
from xbar.hw.chip import layers
from xbar.hw.chip.checked import build, leaves, show, validate
from xbar.hw.cost.component import Component
from xbar.hw.errors import ConfigurationError, did_you_mean
from xbar.hw.quantity import Quantity, Unit

CORE_COMPONENTS = (
    "dac", "crossbar", "sample_hold", "adc", "shift_add", "input_register", "output_register",
)  # fmt: skip
TILE_COMPONENTS = (
    "buffer", "bus", "router", "activation", "accumulator", "pool", "multiplier", "product", "tile_register",
)  # fmt: skip
CHIP_COMPONENTS = ("link",)
COMPONENTS = CORE_COMPONENTS + TILE_COMPONENTS + CHIP_COMPONENTS

ACTIONS = {
    "dac": "wordline drives", "crossbar": "array reads", "sample_hold": "bitline samples",
    "adc": "conversions", "shift_add": "shift-and-adds", "input_register": "bits streamed out",
    "output_register": "updates", "buffer": "bits moved", "bus": "bits moved", "router": "bits routed",
    "activation": "values", "accumulator": "additions", "pool": "values", "multiplier": "multiplications",
    "product": "multiply-accumulates", "tile_register": "values", "link": "bits moved",
}  # fmt: skip


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
    tile_clock: Annotated[float, Unit("1/s"), Field(ge=1, le=1e15)]
    buffer_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock
    bus_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock
    flit_width: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile clock, into the network
    router_cycles: Annotated[int, Unit("1"), Field(ge=0)]  # tile clocks per router passed
    buffer_size: Annotated[int, Unit("bit"), Field(ge=1)]  # per tile


class Components(Section):
    """Costs of every component that the simulation charges.

    A chip may be without a multiplier (element-wise products) and without a product unit (multiply-accumulates of two
    activations): None, and then it takes no network that needs one.
    """

    dac: Dac
    crossbar: Component
    sample_hold: Component
    adc: Adc
    shift_add: Component
    input_register: Component
    output_register: Component
    buffer: Component
    bus: Component
    router: Component
    activation: Component
    accumulator: Component
    pool: Component
    multiplier: Component | None = None
    product: Component | None = None
    tile_register: Component
    link: Component

    @property
    def names(self) -> tuple[str, ...]:
        """The components that there are, in the order of COMPONENTS."""
        return tuple(name for name in COMPONENTS if getattr(self, name) is not None)

    def items(self) -> Iterator[tuple[str, Component]]:
        """(name, component) of those that there are, in the order of COMPONENTS."""
        return ((name, getattr(self, name)) for name in self.names)


class Chip(Section):
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
    timing: Timing
    component: Components
    layer: dict[str, layers.LayerSettings] = {}

    _provenance: dict[str, Quantity] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Chip":
        s, c = self.structure, self.component
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
        if c.adc.range == "fixed" and self.device.read_voltage is None:
            raise ValueError("component.adc.range = fixed is a current and needs device.read_voltage")
        if self.wires.topology == "gate_selected" and (self.wires.driven_from, self.wires.sensed_at) != ("one", "one"):
            raise ValueError("wires.topology = gate_selected is driven and sensed at one end")
        if s.crossbars_per_core % c.adc.units and c.adc.units % s.crossbars_per_core:
            raise ValueError(
                f"component.adc.units = {c.adc.units} must divide, or be a multiple of, "
                f"structure.crossbars_per_core = {s.crossbars_per_core}: columns are wired to fixed ADCs"
            )
        if self.weights.scheme == "separate" and self.weights.analog_pair and s.crossbars_per_core % 2:
            raise ValueError(
                f"weights.subtraction = analog of a separate pair needs its two crossbars in one core: "
                f"structure.crossbars_per_core = {s.crossbars_per_core} must be even"
            )
        if c.adc.current_limit is not None and self.device.read_voltage is None:
            raise ValueError("component.adc.current_limit is a current and needs device.read_voltage")
        if self.signed_current(True) and c.adc.bits < 2:
            raise ValueError("component.adc.bits must be at least 2 for a signed current")
        for name in ("dac", "sample_hold", "crossbar"):
            if getattr(c, name).units != self._units_wired(name):
                raise ValueError(
                    f"component.{name}.units = {getattr(c, name).units} must be {self._units_wired(name)}, "
                    "from the structure (crossbars per core, and their lines)"
                )
        self.geometry(1, 1)
        for name, found in self.layer_chips.items():
            if found.component.adc.bits > c.adc.bits:
                raise ValueError(
                    f"layer {name!r}: component.adc.bits = {found.component.adc.bits} is more than the chip's ADCs have, {c.adc.bits}"
                )
        return self

    @cached_property
    def layer_chips(self) -> dict[str, "Chip"]:
        """The chip as each layer with settings of its own finds it, by the layer's name."""
        return {name: self.with_changes(layer={}, **settings.changes()) for name, settings in self.layer.items()}

    def for_layer(self, name: str) -> "Chip":
        """The chip as that layer finds it; itself where nothing is set for the layer. Areas, static power and counts are those
        of the whole chip, not of this one."""
        return self.layer_chips.get(name, self)

    def _units_wired(self, name: str) -> int:
        lines = {"dac": self.structure.wordlines, "sample_hold": self.structure.bitlines, "crossbar": 1}
        return self.structure.crossbars_per_core * lines[name]

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
            self.timing.array_read,
        )  # fmt: skip

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

    @property
    def reads_per_conversion(self) -> int:
        """Array reads, one an input slice, whose currents make one conversion."""
        return self.array_design.reads_per_conversion

    def signed_current(self, signed_input: bool) -> bool:
        """True where the current of a conversion can have either sign."""
        return self.array_design.signed_current(signed_input)

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

    def geometry(self, outputs: int, inputs: int, groups: int = 1) -> Geometry:
        """How a (groups x) outputs x inputs matrix is cut on this chip's crossbars."""
        return self.array_design.geometry(outputs, inputs, groups)

    def parents(self, name: str) -> int:
        """How many cores, tiles or chips carry the component."""
        if name in CORE_COMPONENTS:
            return self.cores
        return self.structure.tiles if name in TILE_COMPONENTS else 1

    @cached_property
    def costs(self) -> dict[str, Component]:
        """What each component that there is costs, by name in the order of COMPONENTS."""
        return dict(self.component.items())

    @cached_property
    def static_power(self) -> float:
        """Power of the idle chip [W]."""
        return sum(c.static_power / c.shared_by * self.parents(name) for name, c in self.costs.items())

    def table(self) -> pd.DataFrame:
        """Component table: one row a component; count, power at full rate [W] and area [m²] of the chip,
        energy per action [J], and its share of one core or tile."""
        rows = []
        for name, c in self.costs.items():
            parents = self.parents(name)
            level = "core" if name in CORE_COMPONENTS else "tile" if name in TILE_COMPONENTS else "chip"
            rows.append({
                "component": name, "per": level, "action": ACTIONS[name],
                "count": c.units * parents / c.shared_by,
                "energy_per_action_J": c.energy_per_action,
                "parent_power_W": c.peak_power, "parent_area_m2": c.parent_area,
                "power_W": c.peak_power * parents,
                "static_power_W": c.static_power / c.shared_by * parents,
                "area_m2": c.parent_area * parents,
            })  # fmt: skip
        return pd.DataFrame(rows).set_index("component")

    @property
    def area(self) -> float:
        """Area of the chip [m²]."""
        return float(self.table()["area_m2"].sum())

    @property
    def peak_power(self) -> float:
        """Power of the chip with every component at its full rate, static included [W]."""
        return float(self.table()["power_W"].sum())

    def tile_totals(self) -> tuple[float, float]:
        """Power at full rate [W] and area [m²] of one tile with its cores."""
        table, cores = self.table(), self.structure.cores_per_tile
        factor = table["per"].map({"core": cores, "tile": 1, "chip": 0})
        return float((factor * table["parent_power_W"]).sum()), float((factor * table["parent_area_m2"]).sum())

    @property
    def slice_time(self) -> float:
        """Time per input slice with every column of every crossbar in use [s]."""
        s, adc = self.structure, self.component.adc
        geometry = self.geometry(10**6, 1)
        conversions = geometry.conversions_of(0) * s.crossbars_per_core * geometry.converted_planes / geometry.planes
        return max(self.timing.array_read, conversions / adc.units / adc.unit_rate / self.reads_per_conversion)

    @property
    def peak_operations_per_second(self) -> float:
        """Multiplications and additions per second with every cell in use, of weights and inputs of full
        width: crossbars x wordlines x outputs per crossbar x 2 / (slices x time per slice)."""
        geometry = self.geometry(10**6, 1)
        blocks = self.crossbars / geometry.planes
        weights = blocks * geometry.inputs_per_crossbar * geometry.outputs_per_crossbar
        return 2 * weights / (self.input_slices * self.slice_time)

    def with_changes(self, **sections: Mapping[str, Any]) -> "Chip":
        """A checked copy with SI fields replaced, as in `chip.with_changes(device={"levels": 16})`.

        Keys of `component` are components: `component={"adc": {"bits": 6}}`; one that the chip lacks is added where all of it
        is given. `layer` replaces the settings of all layers. Raises ConfigurationError.
        """
        data = self.model_dump()
        data["layer"] = sections.pop("layer", {name: each.changes() for name, each in self.layer.items()})
        for section, changes in sections.items():
            for key, value in changes.items():
                if isinstance(value, Mapping):
                    data[section][key] = {**(data[section].get(key) or {}), **value}
                else:
                    data[section][key] = value
        changed = validate(Chip, data, f"chip {self.name} with changes", {})
        changed._provenance = dict(self._provenance)
        return changed


class DeviceFile(Section):
    """A cell technology in a file of its own: the `device` section of a chip, and the sources of its numbers."""

    name: str
    title: str
    description: str
    source: dict[str, Source]
    device: Device

    _provenance: dict[str, Quantity] = PrivateAttr(default_factory=dict)

    @property
    def provenance(self) -> dict[str, Quantity]:
        """Every number of the file as written, by dotted key."""
        return dict(self._provenance)


# ---- loading

CHIP_PRESETS, DEVICE_PRESETS = "xbar.hw.presets", "xbar.hw.presets.devices"


def preset_names() -> list[str]:
    """Names of the chip presets that ship with the package."""
    return names_in(CHIP_PRESETS)


def device_names() -> list[str]:
    """Names of the device presets that ship with the package."""
    return names_in(DEVICE_PRESETS)


def names_in(package: str) -> list[str]:
    """Names of the TOML files that ship in a package."""
    return sorted(f.name.removesuffix(".toml") for f in resources.files(package).iterdir() if f.name.endswith(".toml"))


def load_chip(
    preset_or_file: str | Path, overrides: Mapping[str, str] | None = None, device: str | Path | None = None
) -> Chip:
    """The chip of a preset name or a TOML file, with `overrides` by dotted key in the file's own units.

    device: a device preset or file whose section stands in for the chip's own, all of it; the chip keeps its bits per
    cell, so that only what a cell does changes. Overrides come last.
    Raises ConfigurationError naming the file, each wrong key, its value and what is allowed.
    """
    label, raw = read_toml(preset_or_file, CHIP_PRESETS, "chip")
    if device is not None:
        _insert_device(raw, device, label)
    for key, value in (overrides or {}).items():
        _override(raw, key, value, label)
    chip, provenance = build(Chip, raw, label)
    chip._provenance = provenance
    return chip


def load_device(preset_or_file: str | Path) -> Device:
    """The device of a preset name or a TOML file; raises ConfigurationError."""
    return load_device_file(preset_or_file).device


def load_device_file(preset_or_file: str | Path) -> DeviceFile:
    """A device preset or TOML file with its title and sources; raises ConfigurationError."""
    label, raw = read_toml(preset_or_file, DEVICE_PRESETS, "device")
    file, provenance = build(DeviceFile, raw, label)
    file._provenance = provenance
    return file


def _insert_device(raw: dict[str, Any], device: str | Path, label: str) -> None:
    """Put a device file's section and sources into the raw chip file, which keeps its bits per cell."""
    load_device_file(device)  # says what is wrong with it under its own name
    device_label, added = read_toml(device, DEVICE_PRESETS, "device")
    weights, own, sources = (raw.setdefault(name, {}) for name in ("weights", "device", "source"))
    if not (isinstance(weights, dict) and isinstance(own, dict) and isinstance(sources, dict)):
        return  # reported with everything else that is wrong with the chip file
    for key, source in added["source"].items():
        if sources.setdefault(key, source) != source:
            problem = f"another source than that of {label} under the same name; rename one of them"
            raise ConfigurationError(device_label, [(f"source.{key}", "(differs)", problem)])
    levels = own.get("levels")
    if "cell_bits" not in weights and isinstance(levels, dict) and isinstance(levels.get("value"), int):
        bits, why = levels["value"].bit_length() - 1, "as many as the chip's own cells hold"
        weights["cell_bits"] = {"value": bits, "unit": "1", "kind": "derived", "why": why}
    raw["device"] = added["device"]


def read_toml(preset_or_file: str | Path, package: str, what: str) -> tuple[str, dict[str, Any]]:
    """(label for messages, content) of a preset or TOML file, with what it inherits from the file that it extends; a table
    that it names is looked for beside it. Raises ConfigurationError."""
    return _read_toml(preset_or_file, package, what, [])


def _read_toml(preset_or_file: str | Path, package: str, what: str, extending: list[str]) -> tuple[str, dict[str, Any]]:
    """The same; `extending` are the files, each read for the one before, that lead to this one."""
    name, names, folder = str(preset_or_file), names_in(package), TABLE_FOLDER
    if name in names:
        label, text = f"{name}.toml", (resources.files(package) / f"{name}.toml").read_text("utf-8")
    else:
        path = Path(preset_or_file)
        label, folder = str(path), path.parent
        if not path.is_file():
            allowed = f"no such file, and no such preset; presets: {', '.join(names)}"
            raise ConfigurationError(label, [(what, name, allowed)])
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(label, [("file", name, f"cannot be read as UTF-8 text: {error}")]) from None
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also what int() says of thousands of digits
        raise ConfigurationError(label, [("file", name, f"is not TOML: {error}")]) from None
    section = raw.get("device")
    if isinstance(section, dict) and isinstance(section.get("programming_table"), str):
        section["programming_table"] = str(find_table(section["programming_table"], folder))
    if "extends" in raw:
        raw = _extended(raw, label, name if name in names else str(Path(name).resolve()), folder, package, what, extending)
    return label, raw


_OWN = ("name", "title", "description")  # what a file that extends another says of itself
_ALTERNATIVES = (("power", "energy"), ("energy", "power"))  # of a component: stating one replaces the other


def _extended(
    added: dict[str, Any], label: str, key: str, folder: Path, package: str, what: str, extending: list[str]
) -> dict[str, Any]:
    """The content of a file over that of the file that it extends. `key`: what tells this file from others."""
    base, names, chain = added["extends"], names_in(package), [*extending, key]
    if not isinstance(base, str):
        raise ConfigurationError(label, [("extends", show(base), f"must be the name of a {what} preset, or a path beside this file")])
    path = folder / base
    if base not in names and not _is_file(path):
        said = f"no such preset, and no such file beside this one{did_you_mean(base, names)}; presets: {', '.join(names)}"
        raise ConfigurationError(label, [("extends", show(base), said)])
    follows = base if base in names else str(path.resolve())
    if follows in chain:
        loop = " -> ".join([*chain[chain.index(follows) :], follows])
        raise ConfigurationError(label, [("extends", show(base), f"a file cannot extend itself: {loop}")])
    missing = [(own, "(missing)", f"required: a {what} that extends another says its own") for own in _OWN if own not in added]
    if missing:
        raise ConfigurationError(label, missing)
    base_label, inherited = _read_toml(base if base in names else path, package, what, chain)
    _check_sources(added, inherited, label, base_label)
    return _merged(inherited, {own: value for own, value in added.items() if own != "extends"})


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _check_sources(added: Mapping[str, Any], inherited: Mapping[str, Any], label: str, base_label: str) -> None:
    """Raise ConfigurationError where a file gives a source that it inherits another text: inherited numbers rest on it."""
    own, theirs = added.get("source"), inherited.get("source")
    if isinstance(own, dict) and isinstance(theirs, dict):
        problems = [
            (f"source.{name}", "(differs)", f"another source than that of {base_label} under the same name; rename it")
            for name in own
            if name in theirs and own[name] != theirs[name]
        ]
        if problems:
            raise ConfigurationError(label, problems)


def _merged(base: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of `added` over those of `base`, key by key; a number, with its unit, kind and source, is replaced whole."""
    kept = dict(base)
    for given, other in _ALTERNATIVES:
        if given in added and other not in added:
            kept.pop(other, None)
    for key, value in added.items():
        old = kept.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and "value" not in old and "value" not in value:
            value = _merged(old, value)
        kept[key] = value
    return kept


def _override(raw: dict[str, Any], key: str, text: str, label: str) -> None:
    """Replace one leaf of the raw file by `text`; a number keeps its unit and becomes an override."""
    of_layer = layers.layer_key(key)
    if of_layer is not None:
        where, leaf = layers.put(raw, *of_layer)
        _put(where, leaf, text, leaves(Chip)[of_layer[1]], key, label)
        return
    section: Any = raw
    *parents, leaf = key.split(".")
    for parent in parents:  # a section that the file leaves out is begun by the override
        section = section.setdefault(parent, {}) if isinstance(section, dict) and key in leaves(Chip) else None
    if not isinstance(section, dict) or not parents or key not in leaves(Chip):
        raise ConfigurationError(label, [(key, text, f"unknown key{did_you_mean(key, leaves(Chip))}")])
    _put(section, leaf, text, leaves(Chip)[key], key, label)


def _put(where: dict[str, Any], leaf: str, text: str, unit: Unit | None, key: str, label: str) -> None:
    if unit is None:
        where[leaf] = {"true": True, "false": False}.get(text.lower(), text)
        return
    try:
        value = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise ConfigurationError(label, [(key, text, "must be a number")]) from None
    old = where.get(leaf)
    written = old.get("unit", unit.dimension) if isinstance(old, dict) else unit.dimension
    where[leaf] = {"value": value, "unit": written, "kind": "override"}

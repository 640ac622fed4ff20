"""Chip and device files: TOML read, merged with what they extend, changed by overrides, checked, and built.

A chip file states every number as `{ value, unit, kind, source, why }`; the loader turns it into SI and keeps the statement as
provenance. A file that says `extends = "isaac"` (a preset, or a path relative to the file) gives only what differs from that one
or is added to it, beside a name, title and description of its own. A number is restated whole; what is not restated keeps the
statement, kind and source that it was given where it comes from. A component that states figures of its own says at which
configuration (`stated_at`), and inherits none; one that names another law costs what that law says.
What a designer decides may be written plainly, `bits = 5`, `node = "22 nm"`; then its kind is "own" (`xbar.hw.quantity.parse_plain`).
A cost may not: it is found out, and needs a kind and a source.
"""

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from xbar.hw.cells.device import Device
from xbar.hw.cells.table import TABLE_FOLDER, find_table
from xbar.hw.chip import layers
from xbar.hw.chip.checked import build, leaves, show, why_no_key
from xbar.hw.chip.components import SRAM_LAWS
from xbar.hw.chip.description import Chip, Section, Source
from xbar.hw.chip.far import warn_of_far
from xbar.hw.chip.following import follow_structure
from xbar.hw.chip.settings import check_settings
from xbar.hw.errors import ConfigurationError, ParameterError, did_you_mean
from xbar.hw.quantity import Quantity, Unit, number_and_unit, unit_written


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
SILICON = f"{CHIP_PRESETS}.silicon"
BESIDE = {CHIP_PRESETS: (SILICON,)}  # packages whose files are presets of that kind too


def preset_names() -> list[str]:
    """Names of the chip presets that ship with the package, those of measured chips apart (`silicon_names`)."""
    return _in_folder(CHIP_PRESETS)


def silicon_names() -> list[str]:
    """Names of the presets of chips and macros that were built and measured; most are too small for a network."""
    return _in_folder(SILICON)


def device_names() -> list[str]:
    """Names of the device presets that ship with the package."""
    return names_in(DEVICE_PRESETS)


def names_in(package: str) -> list[str]:
    """Names of the TOML files that ship in a package, and in those beside it."""
    return [name for each in (package, *BESIDE.get(package, ())) for name in _in_folder(each)]


def _in_folder(package: str) -> list[str]:
    return sorted(f.name.removesuffix(".toml") for f in resources.files(package).iterdir() if f.name.endswith(".toml"))


def load_chip(
    preset_or_file: str | Path, overrides: Mapping[str, str] | None = None, device: str | Path | None = None
) -> Chip:
    """The chip of a preset name or a TOML file, with `overrides` by dotted key: numbers with a unit, or in the file's own.

    device: a device preset or file whose section stands in for the chip's own, all of it; the chip keeps its bits per
    cell, where the device has as many, and its voltage where the device says none, so that only what a cell does changes. Overrides come
    last; where they set the levels of a cell, its bits follow these. What is written beside the size and number of a core's arrays
    follows them too (`xbar.hw.chip.following`).
    Warns of numbers that are more than a thousand times off what they replace (`xbar.hw.chip.far`).
    Raises ConfigurationError naming the file, each wrong key, its value and what is allowed.
    """
    label, raw = read_toml(preset_or_file, CHIP_PRESETS, "chip")
    overrides = overrides or {}
    if device is not None:
        _insert_device(raw, device, label, "device.levels" in overrides)
    before = deepcopy(raw) if overrides else raw
    for key, value in overrides.items():
        _override(raw, key, value, label)
    follow_structure(raw, before, overrides, label)
    warn_of_far(raw, before, "settings", label)
    chip, provenance = build(Chip, raw, label)
    chip._provenance = provenance
    check_settings(chip, label)
    try:
        _ = chip.costs
    except ConfigurationError as error:  # what no law covers
        raise ConfigurationError(label, error.problems) from None
    except ParameterError as error:
        raise ConfigurationError(label, [("device", "(its cells)", str(error))]) from None
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


def _insert_device(raw: dict[str, Any], device: str | Path, label: str, levels_set: bool) -> None:
    """Put a device file's section and sources into the raw chip file, which keeps its bits per cell where the device holds as many
    and its levels are not set apart."""
    load_device_file(device)  # says what is wrong with it under its own name
    _, added = read_toml(device, DEVICE_PRESETS, "device")
    weights, own, sources = (raw.setdefault(name, {}) for name in ("weights", "device", "source"))
    if not (isinstance(weights, dict) and isinstance(own, dict) and isinstance(sources, dict)):
        return  # reported with everything else that is wrong with the chip file
    law = raw.get("component", {}).get("crossbar", {}).get("law")
    if law in SRAM_LAWS:
        said = f"cells of SRAM, which no others can stand in for; leave the device out ({device}), or take a chip of memristors"
        raise ConfigurationError(label, [("component.crossbar.law", show(law), said)])
    renamed = {key: f"{added['name']}.{key}" for key, source in added["source"].items() if sources.get(key, source) != source}
    sources |= {renamed.get(key, key): source for key, source in added["source"].items()}
    section = {key: _renamed(value, renamed) for key, value in added["device"].items()}
    levels, of_device = _whole(own.get("levels")), _whole(section.get("levels"))
    if "cell_bits" not in weights and not levels_set and levels and of_device:
        bits = min(levels, of_device).bit_length() - 1
        why = "as many as the chip's own cells hold" if levels <= of_device else "as many as the device holds"
        weights["cell_bits"] = {"value": bits, "unit": "1", "kind": "derived", "why": why}
    kept = {"read_voltage": own["read_voltage"]} if "read_voltage" in own else {}  # where the device's file says none
    raw["device"] = kept | section


def _renamed(value: Any, renamed: Mapping[str, str]) -> Any:
    """A number of a device's file, its source by the name that it has in the chip's."""
    if isinstance(value, dict) and value.get("source") in renamed:
        return {**value, "source": renamed[value["source"]]}
    return value


def _whole(written: Any) -> int | None:
    found = written.get("value") if isinstance(written, dict) else written
    return found if isinstance(found, int) and found > 0 else None


def read_toml(preset_or_file: str | Path, package: str, what: str) -> tuple[str, dict[str, Any]]:
    """(label for messages, content) of a preset or TOML file, with what it inherits from the file that it extends; a table
    that it names is looked for beside it. Raises ConfigurationError."""
    return _read_toml(preset_or_file, package, what, [])


def _read_toml(preset_or_file: str | Path, package: str, what: str, extending: list[str]) -> tuple[str, dict[str, Any]]:
    """The same; `extending` are the files, each read for the one before, that lead to this one."""
    name, names, folder = str(preset_or_file), names_in(package), TABLE_FOLDER
    if name in names:
        folders = (each for each in (package, *BESIDE.get(package, ())) if name in _in_folder(each))
        label, text = f"{name}.toml", (resources.files(next(folders)) / f"{name}.toml").read_text("utf-8")
    else:
        path = Path(preset_or_file)
        label, folder = str(path), path.parent
        if not _is_file(path):
            allowed = f"no such file, and no such preset; presets: {', '.join(names)}{did_you_mean(name, names)}"
            raise ConfigurationError(label, [(what, name, allowed)])
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(label, [("file", name, f"cannot be read as UTF-8 text: {error}")]) from None
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also what int() says of thousands of digits
        raise ConfigurationError(label, [("file", name, f"is not TOML: {error}")]) from None
    section = raw.get("device")
    for key in ("programming_table", "relaxation_table"):
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = str(find_table(section[key], folder))
    if "extends" in raw:
        raw = _extended(raw, label, name if name in names else str(Path(name).resolve()), folder, package, what, extending)
    return label, raw


_OWN = ("name", "title", "description")  # what a file that extends another says of itself


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
    inherited = _without_replaced_figures(added, inherited, label, base_label)
    warn_of_far(added, inherited, label, base_label)
    merged = _merged(inherited, {own: value for own, value in added.items() if own != "extends"})
    follow_structure(merged, inherited, _given(added), base_label)
    return merged


def _given(raw: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Dotted keys of all that a raw file says."""
    inner = [_given(value, f"{prefix}{key}.") for key, value in raw.items() if isinstance(value, Mapping) and "value" not in value]
    return {f"{prefix}{key}" for key in raw}.union(*inner)


_FIGURES = ("power", "energy", "area", "static_power")  # of a component, stated at one configuration


def _without_replaced_figures(added: dict[str, Any], inherited: dict[str, Any], label: str, base_label: str) -> dict[str, Any]:
    """What is inherited, less the figures of components that state their own or name another law: a figure is of one
    configuration and moves by one law. Raises ConfigurationError where a figure comes without its configuration."""
    own, theirs = added.get("component"), inherited.get("component")
    if not (isinstance(own, dict) and isinstance(theirs, dict)):
        return inherited
    kept, problems = dict(theirs), []
    for name, section in own.items():
        base = theirs.get(name)
        if not (isinstance(section, dict) and isinstance(base, dict) and "stated_at" in base):
            continue
        figures = [each for each in _FIGURES if each in section]
        if figures and "stated_at" not in section:
            told = (
                f"{', '.join(figures)} of this file need the configuration that they are stated for; that of {base_label} is of its "
                "own figures"
            )
            problems.append((f"component.{name}.stated_at", "(missing)", told))
        elif "stated_at" in section or section.get("law", base.get("law")) != base.get("law"):
            kept[name] = {key: value for key, value in base.items() if key not in (*_FIGURES, "stated_at")}
    if problems:
        raise ConfigurationError(label, problems)
    return {**inherited, "component": kept}


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
    for key, value in added.items():
        old = kept.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and "value" not in old and "value" not in value:
            value = _merged(old, value)
        kept[key] = value
    return kept


def _override(raw: dict[str, Any], key: str, text: str, label: str) -> None:
    """Replace one leaf of the raw file by `text`; a number has the unit that is typed, else keeps its own, and becomes an override."""
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
        why = why_no_key(Chip, key) or f"unknown key{did_you_mean(key, leaves(Chip))}"
        raise ConfigurationError(label, [(key, text, why)])
    _put(section, leaf, text, leaves(Chip)[key], key, label)


def _put(where: dict[str, Any], leaf: str, text: str, unit: Unit | None, key: str, label: str) -> None:
    if unit is None:
        where[leaf] = {"true": True, "false": False}.get(text.lower(), text)
        return
    try:
        value, typed = number_and_unit(text)
    except ValueError:
        units = "" if unit.dimension == "1" else f", in the unit of the file or with one of {', '.join(unit.spellings)}"
        allowed = f"must be a number{units}"
        raise ConfigurationError(label, [(key, text, allowed)]) from None
    if typed and typed not in unit.spellings:
        raise ConfigurationError(label, [(key, text, f"must be in one of {', '.join(unit.spellings)}")])
    where[leaf] = {"value": value, "unit": typed or unit_written(where.get(leaf), unit), "kind": "override"}

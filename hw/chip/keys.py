"""Every key of a chip file: its unit, what it means (`keys.csv`), what it may be, and what a chip has there; and a file with all of them.

Rows of `keys.csv` name keys by pattern, the first that fits counts; a test holds that every key has one.
"""

import csv
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xbar.hw.chip.checked import section_of, sections_by_name, unit_of
from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import CHIP_PRESETS, load_chip, read_toml
from xbar.hw.cost.component import Component
from xbar.hw.quantity import COSTS, UNITS, Quantity

OWN = {"name": "mine", "title": "My chip", "description": "A chip of one's own"}  # what a template says of itself
STATED = ".stated_at."


@dataclass(frozen=True)
class Key:
    """One key. unit: SI, empty for words and switches; allowed: what it may be, limits in the unit that the value has; value, kind: what
    the chip has, of kind "file" where it is a word or switch of its file, "default" where that is silent."""

    name: str
    unit: str
    meaning: str
    allowed: str
    value: str
    kind: str


@cache
def _rows() -> tuple[tuple[str, str], ...]:
    text = (resources.files("xbar.hw.chip") / "keys.csv").read_text("utf-8")
    return tuple((row["key"], row["meaning"]) for row in csv.DictReader(text.splitlines()))


def meaning(key: str) -> str:
    """What a key means, in a line; empty for a key that has none."""
    return next((text for pattern, text in _rows() if fnmatchcase(key, pattern)), "")


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of everything below a model that one number, word or switch is given for."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            yield from fields_of(section, f"{prefix}{name}.")
        elif sections_by_name(field.annotation) is None:
            yield prefix + name, field


def keys(preset_or_file: str | Path = "generic") -> list[Key]:
    """Every key with what a chip has there; of the figures of components only what it states. Raises ConfigurationError."""
    chip, (_, raw) = load_chip(preset_or_file), read_toml(preset_or_file, CHIP_PRESETS, "chip")
    found = []
    for name, field in fields_of(Chip):
        given = _held(chip, name)
        if STATED in name and given is None:
            continue
        quantity, unit = chip.provenance.get(name), unit_of(field)
        value, silent = _value(given, quantity), "" if given is None else "default"
        kind = quantity.kind if quantity else "file" if _said(raw, name) else silent
        found.append(Key(name, "" if unit is None else unit.dimension, meaning(name), allowed(field, quantity), value, kind))
    return found


def allowed(field: FieldInfo, quantity: Quantity | None = None) -> str:
    """What may stand there: words, or limits in the unit of a quantity, else in SI."""
    kinds = [each for each in typing.get_args(field.annotation) or (field.annotation,) if each is not type(None)]
    words = [word for kind in (field.annotation, *kinds) if typing.get_origin(kind) is typing.Literal for word in typing.get_args(kind)]
    if words:
        return ", ".join(words)
    unit = unit_of(field)
    if bool in kinds:
        return "true, false"
    if unit is None:
        return "a text"
    written = unit.dimension if quantity is None else quantity.unit
    limits = [
        f"{sign} {getattr(each, name) / UNITS[written][1]:.6g}"
        for each in field.metadata
        for name, sign in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
        if hasattr(each, name)
    ]
    tail = "" if written == "1" else f" {written}"
    return f"{', '.join(limits)}{tail}" if limits else f"any number{tail}"


def _said(raw: Mapping[str, Any], key: str) -> bool:
    """Whether a file says something under a dotted key."""
    found: Any = raw
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found is not None


def _held(chip: Chip, key: str) -> Any:
    found: Any = chip
    for part in key.split("."):
        found = getattr(found, part, None)
    return found


def _value(given: Any, quantity: Quantity | None) -> str:
    if quantity is not None:
        return f"{quantity.value:.6g}{'' if quantity.unit == '1' else f' {quantity.unit}'}"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, tuple):
        return "(table)"
    return "-" if given is None else given if isinstance(given, str) else f"{given:.6g}"


def table(preset_or_file: str | Path = "generic") -> str:
    """Every key in aligned columns: key, value, kind, unit, what it may be, what it means."""
    rows = [("key", "value", "kind", "unit", "allowed", "meaning")]
    rows += [(key.name, key.value, key.kind, key.unit, key.allowed, key.meaning) for key in keys(preset_or_file) if "." in key.name]
    rows += [
        (f"component.NAME.stated_at.{name}", "", "", unit_of(field).dimension, allowed(field), meaning(f"stated_at.{name}"))  # type: ignore[union-attr]
        for name, field in fields_of(typing.get_args(Component.model_fields["stated_at"].annotation)[0])
    ]
    shown = [[_short(cell) if place in (1, 4) else cell for place, cell in enumerate(row)] for row in rows]
    widths = [max(len(row[place]) for row in shown) for place in range(5)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in shown)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# ---- a file with all of them


def template(preset_or_file: str | Path = "generic") -> str:
    """A chip file that says all that a preset says, and as notes what it leaves to defaults, each key with its meaning and what it may be.
    It loads to the same chip, but for name, title and description. Raises ConfigurationError."""
    _, raw = read_toml(preset_or_file, CHIP_PRESETS, "chip")
    lines = [
        f"# Begun from {preset_or_file}: every key of a chip file. Lines that begin with #: are at their default; take it away to set one.",
        *(f"{name} = {_toml(text)}" for name, text in OWN.items()),
    ]
    for name, source in raw["source"].items():
        lines += ["", f"[source.{_toml(name)}]", *(f"{key} = {_toml(value)}" for key, value in source.items())]
    for name, field in Chip.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            lines += _section(section, name, raw.get(name), field.default is None)
    for name, settings in raw.get("layer", {}).items():
        lines += ["", f"[layer.{_toml(name)}]", *(f"{key} = {_toml(value)}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


def _section(model: type[BaseModel], name: str, raw: Mapping[str, Any] | None, optional: bool) -> Iterator[str]:
    """The lines of one table, those below it after them."""
    stated = name.rpartition(".")[2] == "stated_at"
    if raw is None and stated:
        return
    given, inner = raw or {}, []
    own = [(key, field) for key, field in model.model_fields.items() if section_of(field.annotation) is None]
    yield ""
    if own:
        yield f"[{name}]" if raw is not None or not optional else f"#: [{name}]"
    for key, field in own:
        if stated and key not in given:
            continue
        dotted = f"{name}.{key}"
        yield f"# {meaning(dotted)}: {allowed(field)}"
        if key in given:
            yield f"{key} = {_toml(Path(given[key]).name if key.endswith('_table') else given[key])}"
        else:
            yield f"#: {key} = {_default(field)}"
    for key, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            inner += list(_section(section, f"{name}.{key}", given.get(key), field.default is None))
    yield from inner


def _default(field: FieldInfo) -> str:
    unit, default = unit_of(field), field.default
    if unit is not None and unit.dimension in COSTS:
        return f'{{ value = ..., unit = "{unit.dimension}", kind = "...", source = "...", why = "..." }}'
    if default is None or field.is_required():
        return "..."
    return _toml(f"{default:g} {unit.dimension}" if unit is not None and unit.dimension != "1" else default)


def _toml(value: Any) -> str:
    """A value as TOML writes it; texts of one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    return repr(value)



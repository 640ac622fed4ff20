"""From the tables of a TOML file to a checked model: every key known, every number in SI with its kind and source kept."""

import types
import typing
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from xbar.hw.errors import ConfigurationError, did_you_mean
from xbar.hw.quantity import UNITS, Quantity, QuantityProblem, Unit, parse_quantity

_M = typing.TypeVar("_M", bound=BaseModel)


def build(model: type[_M], raw: dict[str, Any], label: str) -> tuple[_M, dict[str, Quantity]]:
    """The checked model of a file's content, and its numbers as written; raises ConfigurationError."""
    sources = set(raw["source"]) if isinstance(raw.get("source"), dict) else set()
    provenance: dict[str, Quantity] = {}
    problems: list[tuple[str, str, str]] = []
    data = _to_si(model, raw, "", sources, provenance, problems)
    if problems:
        raise ConfigurationError(label, problems)
    return validate(model, data, label, provenance), provenance


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or may be without."""
    if typing.get_origin(annotation) is types.UnionType:
        (annotation, *_) = (kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def sections_by_name(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds any number of, by names of the file's own."""
    if typing.get_origin(annotation) is not dict:
        return None
    return section_of(typing.get_args(annotation)[1])


def unit_of(field: Any) -> Unit | None:
    return next((m for m in field.metadata if isinstance(m, Unit)), None)


@cache
def leaves(model: type[BaseModel], prefix: str = "") -> Mapping[str, Unit | None]:
    """Dotted keys of every field below `model` with its unit (None for words and switches)."""
    found: dict[str, Unit | None] = {}
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if sections_by_name(field.annotation) is not None:
            continue
        if section is not None:
            found |= leaves(section, f"{prefix}{name}.")
        else:
            found[prefix + name] = unit_of(field)
    return MappingProxyType(found)


def why_no_key(model: type[BaseModel], key: str) -> str | None:
    """Why there is no such dotted key, where its section tells (`not_keys`)."""
    *parents, leaf = key.split(".")
    section: type[BaseModel] | None = model
    for parent in parents:
        field = section.model_fields.get(parent) if section is not None else None
        section = None if field is None else section_of(field.annotation)
    why: str | None = getattr(section, "not_keys", {}).get(leaf)
    return why


def _to_si(
    model: type[BaseModel], raw: Any, prefix: str, sources: set[str],
    provenance: dict[str, Quantity], problems: list[tuple[str, str, str]],
) -> Any:  # fmt: skip
    """`raw` with every quantity table replaced by its SI value; gathers provenance and problems."""
    if not isinstance(raw, dict):
        problems.append((prefix.rstrip("."), repr(raw), "must be a table of keys"))
        return raw
    data: dict[str, Any] = {}
    for key, value in raw.items():
        dotted = prefix + key
        field = model.model_fields.get(key)
        if field is None:
            why = getattr(model, "not_keys", {}).get(key)
            problems.append((dotted, show(value), why or f"unknown key{did_you_mean(key, model.model_fields)}"))
            continue
        section, unit = section_of(field.annotation), unit_of(field)
        named = sections_by_name(field.annotation)
        if named is not None and isinstance(value, dict):
            data[key] = {
                name: _to_si(named, each, f"{dotted}.{name}.", sources, provenance, problems) for name, each in value.items()
            }
        elif section is not None:
            data[key] = _to_si(section, value, dotted + ".", sources, provenance, problems)
        elif unit is not None:
            try:
                quantity = parse_quantity(value, unit, sources)
            except QuantityProblem as problem:
                problems.append((dotted + problem.key_suffix, show(problem.value), problem.allowed))
                continue
            problems += _ends_out_of_range(field, quantity, dotted)
            provenance[dotted] = quantity
            data[key] = quantity.si
        else:
            data[key] = value
    for name, field in model.model_fields.items():
        if name not in raw and field.is_required():
            what = unit_of(field)
            allowed = f"required; a number in {' or '.join(what.spellings)}" if what else "required"
            problems.append((prefix + name, "(missing)", allowed))
    return data


def _ends_out_of_range(field: Any, quantity: Quantity, dotted: str) -> list[tuple[str, str, str]]:
    """Problems of a stated low or high that the value itself could not be."""
    problems = []
    for end, written in (("low", quantity.low), ("high", quantity.high)):
        if written is not None:
            try:
                TypeAdapter(Annotated[field.annotation, *field.metadata]).validate_python(quantity.to_si(written))
            except ValidationError as error:
                message = in_unit(error.errors()[0], quantity)
                problems.append((f"{dotted}.{end}", f"{written} {quantity.unit}", message))
    return problems


def show(value: Any) -> str:
    shown = value if isinstance(value, str) and value == "(missing)" else repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def validate(model: type[_M], data: Any, label: str, provenance: Mapping[str, Quantity]) -> _M:
    """The validated model; pydantic's findings become one ConfigurationError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for finding in error.errors():
            key = ".".join(str(part) for part in finding["loc"])
            message = finding["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            if finding["type"] == "extra_forbidden":
                message = why_no_key(model, key) or message
            quantity = provenance.get(key)
            if quantity is not None:
                shown = str(quantity.value) if quantity.unit == "1" else f"{quantity.value} {quantity.unit}"
                message = in_unit(finding, quantity)
            elif isinstance(finding["input"], (str, int, float, bool, types.NoneType)):
                shown = repr(finding["input"])
            else:
                shown = "(these values together)"
            problems.append((key or "chip", shown, message))
        raise ConfigurationError(label, problems) from None


_LIMITS = {"gt": "greater than", "ge": "greater than or equal to", "lt": "less than", "le": "less than or equal to"}


def in_unit(finding: Any, quantity: Quantity) -> str:
    """What pydantic finds wrong with a number, its limit in the unit in which the number was written."""
    limit = next(((word, finding["ctx"][name]) for name, word in _LIMITS.items() if name in finding.get("ctx", {})), None)
    if limit is None:
        message: str = finding["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        return message if quantity.si == quantity.value else f"{message} (in {UNITS[quantity.unit][0]})"
    unit = "" if quantity.unit == "1" else f" {quantity.unit}"
    return f"must be {limit[0]} {limit[1] / UNITS[quantity.unit][1]:.6g}{unit}"

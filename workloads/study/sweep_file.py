"""The TOML file of a sweep: a title, a space, what its points share, and axes or points (`examples/sweep.toml` explains its form)."""

import tomllib
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbar.hw.chip.files import preset_names, silicon_names
from xbar.hw.quantity import UNITS, Unit, number_and_unit
from xbar.workloads.offered import is_own
from xbar.workloads.study import spaces
from xbar.workloads.study.identity import Point, SweepError, Value
from xbar.workloads.study.point_names import PATHS, check_value, complete, field_of
from xbar.workloads.study.spaces import Axis, Span

COMPUTE = "study.compute"
SPACES = ("grid", "list", "random", "latin_hypercube")


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its TOML file tells it: complete points in order; `text` is the file."""

    title: str
    points: list[dict[str, Value]]
    text: str


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says. Raises SweepError where it is none; OSError where it cannot be opened."""
    try:
        text = path.read_bytes().decode("utf-8")
        return text, tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise SweepError(f"{path}: is not TOML: {error}") from None


def read_sweep(path: str | Path) -> SweepFile:
    """The points that a TOML file spans (`examples/sweep.toml` explains its form); the same file gives the same points.

    Raises SweepError naming the file, the key, its value and what is allowed; OSError where it cannot be opened.
    """
    path = Path(path)
    text, raw = read_toml(path)
    try:
        points = [complete(placed_point(point, path.parent)) for point in _spanned(raw)]
        title = raw.get("title", path.stem)
        if not isinstance(title, str):
            raise SweepError(f"title = {title!r}: must be a text")
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None
    return SweepFile(title, points, text)


def _spanned(raw: dict[str, Any]) -> list[dict[str, Value]]:
    """The points of a file, as written."""
    only_keys(raw, ("title", "space", "fixed", "axes", "points"), "")
    space = table_of(raw, "space")
    only_keys(space, ("kind", "samples", "seed"), "space.")
    kind = space.get("kind", "list" if "points" in raw else "grid")
    if not isinstance(kind, str) or kind not in SPACES:
        raise SweepError(f"space.kind = {kind!r}: must be one of {', '.join(SPACES)}")
    drawn = kind in ("random", "latin_hypercube")
    for name in ("samples", "seed"):
        if (name in space) != drawn and ((drawn and name == "samples") or name in space):
            raise SweepError(f"space.{name} = {space.get(name, '(missing)')}: "
                             f"{'needed' if drawn else 'not used'} where space.kind = {kind}")  # fmt: skip
    other, mine = ("axes", "points") if kind == "list" else ("points", "axes")
    if other in raw:
        raise SweepError(f"{other} = (given): must be left out where space.kind = {kind}, which takes [{mine}]")
    fixed = flat_table(table_of(raw, "fixed"), "", value_of)
    if kind == "list":
        given = raw.get("points", [])
        if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
            raise SweepError("points = (none): must be one [[points]] or more")
        varied = [flat_table(each, "", value_of) for each in given]
    else:
        axes = flat_table(table_of(raw, "axes"), "", axis_of)
        varied = _drawn(kind, axes, space)
    for name in fixed:
        if any(name in point for point in varied):
            raise SweepError(f"{name} = {fixed[name]!r}: is in [fixed] and varies too")
    return [fixed | point for point in varied]


def _drawn(kind: str, axes: dict[str, Axis], space: dict[str, Any]) -> list[dict[str, Value]]:
    if kind == "grid":
        return spaces.grid(axes)
    draw = spaces.random if kind == "random" else spaces.latin_hypercube
    try:
        return draw(axes, space["samples"], space.get("seed", 0))
    except SweepError as error:
        where = "" if str(error).startswith("axes") else "space."
        raise SweepError(f"{where}{error}") from None


def only_keys(table: dict[str, Any], allowed: tuple[str, ...], prefix: str) -> None:
    """Raise SweepError for a key that is none of these."""
    for key, value in table.items():
        if key not in allowed:
            raise SweepError(f"{prefix}{key} = {value!r}: unknown key; allowed: {', '.join(allowed)}")


def table_of(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """A table of the file, empty where it is left out; raises SweepError for what is none."""
    found = raw.get(name, {})
    if not isinstance(found, dict):
        raise SweepError(f"{name} = {found!r}: must be a table")
    return found


def flat_table(table: dict[str, Any], prefix: str, read: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Values by dotted name; a table is one value where its name is a point's."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f'{prefix}"{key}"' if prefix == "layer." else prefix + key
        inner = flat_table(value, f"{name}.", read) if isinstance(value, dict) and field_of(name) is None else {name: read(name, value)}
        for each in inner:
            if each in found:
                raise SweepError(f"{each} = {inner[each]!r}: is given twice")
        found |= inner
    return found


def value_of(name: str, value: Any) -> Value:
    """A value of that name; raises SweepError where it cannot have it."""
    check_value(name, value)
    checked: Value = value
    return checked


def axis_of(name: str, value: Any) -> Axis:
    """The axis of that name: a list of values, or a table of low, high, scale and steps."""
    field = field_of(name)
    if field is None:
        check_value(name, value)
    assert field is not None
    if isinstance(value, list):
        for each in value:
            check_value(name, each)
        if not value:
            raise SweepError(f"{name} = []: must be a list of one value or more")
        known: set[tuple[bool, Value]] = set()
        for each in value:
            same = (isinstance(each, bool), _in_si(each, field.unit))
            if same in known:
                raise SweepError(f"{name} = {each!r}: is on the axis twice")
            known.add(same)
        return value
    if not isinstance(value, dict) or field.kind not in (int, float):
        form = "a list of values" + (", or { low, high, scale, steps }" if field.kind in (int, float) else "")
        raise SweepError(f"{name} = {value!r}: an axis must be {form}")
    only_keys(value, ("low", "high", "scale", "steps"), f"{name}.")
    for key in ("low", "high"):
        if key not in value:
            raise SweepError(f"{name}.{key} = (missing): a span needs low and high")
        if not field.holds(value[key]):
            raise SweepError(f"{name}.{key} = {value[key]!r}: {field.allowed}")
    if value.get("scale", "linear") not in ("linear", "log"):
        raise SweepError(f"{name}.scale = {value['scale']!r}: must be linear or log")
    try:
        return Span(value["low"], value["high"], value.get("scale") == "log", field.kind is int, value.get("steps"))
    except SweepError as error:
        raise SweepError(f"{name}.{error}") from None


def _in_si(value: Value, unit: Unit | None) -> Value:
    """A value, or where it is a text of number and unit, both in SI units."""
    if unit is None or not isinstance(value, str):
        return value
    number, typed = number_and_unit(value)
    return f"{number * UNITS[typed][1]:.12g} {unit.dimension}"


def placed_point(point: dict[str, Value], folder: Path) -> dict[str, Value]:
    """The point with files named from where the TOML file is."""
    return {name: placed(name, value, folder) for name, value in point.items()}


def placed(name: str, value: Value, folder: Path) -> Value:
    """The value of a name; a file or folder, where it is one and not a preset, as a path from `folder`."""
    if name not in PATHS or not isinstance(value, str) or (name == "chip.name" and value in [*preset_names(), *silicon_names()]):
        return value
    if (name == "device.name" and not value.endswith(".toml")) or (name == "workload.name" and not is_own(value)):
        return value
    return str(folder / value)


def with_compute(point: Point, compute: str | None, axes: Container[str] = ()) -> dict[str, Value]:
    """The point with `study.compute` as asked for beside the file; None: as it is. axes: what varies besides. Raises SweepError where the
    file says otherwise."""
    if compute is None:
        return dict(point)
    said = "varies" if COMPUTE in axes else point.get(COMPUTE)
    if said not in (None, compute):
        raise SweepError(f"{COMPUTE} = {said} in the file, and --compute {compute} says otherwise: give one of them")
    return {**point, COMPUTE: compute}

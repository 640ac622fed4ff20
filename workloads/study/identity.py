"""What a point of a sweep is known by: its values, what they name, the function and the code that judge it."""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

Value = str | int | float | bool | None
Point = Mapping[str, Value]
Run = Callable[[dict[str, Value]], Mapping[str, Value]]

PACKAGES = ("xbar.hw", "xbar.models", "xbar.compression", "xbar.workloads")  # what the results of points rest on
OWN_COLUMNS = ("point", "wall_s", "error", "key")


class SweepError(ValueError):
    """A sweep cannot be made, or cannot go on; the message names field, value and what is allowed."""


@cache
def code_version() -> str:
    """The project's code and data files that points rest on, with torch and numpy, as one hash."""
    hashed = hashlib.sha256(f"torch {version('torch')} numpy {version('numpy')}".encode())
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = [path for path in Path(folder).rglob("*") if path.suffix in (".py", ".toml", ".csv", ".pt")]
            for path in sorted(files):
                hashed.update(f"{package}/{path.relative_to(folder).as_posix()} ".encode() + path.read_bytes())
    return hashed.hexdigest()


def function_version(run: Run) -> str:
    """The function of a sweep: its name, and its file where that is not one of the project's."""
    inner = getattr(run, "func", run)  # of functools.partial
    bound = f"{getattr(run, 'args', ())!r} {getattr(run, 'keywords', {})!r}" if inner is not run else ""
    module = getattr(inner, "__module__", "")
    file = getattr(sys.modules.get(module), "__file__", None)
    outside = file is not None and module.split(".")[0] != "xbar"
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file is not None and outside else ""
    return f"{function_name(run)} {bound} {source}"


def function_name(run: Run) -> str:
    inner = getattr(run, "func", run)
    module, name = getattr(inner, "__module__", ""), getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{module}.{name}" if module != "__main__" else str(name)


def point_key(point: Point, run: Run, depends: str = "") -> str:
    """The hash that a point is known by (32 hexadecimal digits). Raises SweepError for values that a point cannot have."""
    return key_of(plain_point(point), code_version() + function_version(run), depends)


def key_of(point: dict[str, Value], code: str, depends: str) -> str:
    """The key of a plain point for this code, which is `code_version` with that of the function."""
    described = json.dumps([point, depends], sort_keys=True, allow_nan=False)
    return hashlib.sha256(f"{code} {described}".encode()).hexdigest()[:32]


def plain_point(point: Point) -> dict[str, Value]:
    """The point with numpy's numbers as Python's. Raises SweepError."""
    if not isinstance(point, Mapping):
        raise SweepError(f"point = {point!r}: must be a dict of names and values")
    found: dict[str, Value] = {}
    for name, value in point.items():
        if not isinstance(name, str) or name in OWN_COLUMNS:
            raise SweepError(f"name {name!r} of a point: must be a text, other than {', '.join(OWN_COLUMNS)}")
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, str | int | float | bool | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise SweepError(f"{name} = {value!r}: must be a text, a finite number, true or false")
        found[name] = value
    return found

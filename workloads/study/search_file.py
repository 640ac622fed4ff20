"""The TOML file of a search: objectives, constraints, levels of judging, what is fixed, axes (`examples/search.toml` explains its form)."""

import fnmatch
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbar.hw.chip.layers import layer_key
from xbar.hw.graph.trace import trace
from xbar.workloads.study.identity import SweepError, Value
from xbar.workloads.study.kept_shares import filters_of
from xbar.workloads.study.point_names import PATHS, complete, layer_field
from xbar.workloads.study.points import files_of, judge
from xbar.workloads.study.proposals import Design
from xbar.workloads.study.requirements import MOST_IMAGES, Requirement, images_needed, read_requirements
from xbar.workloads.study.search import Asked, Confirmation, SearchResult, search
from xbar.workloads.study.spaces import Axis, Span, allowed_on, grid, on_axis
from xbar.workloads.study.sweep_file import axis_of, flat_table, only_keys, placed_point, read_toml, table_of, value_of
from xbar.workloads.workload import untrained

TABLES = ("title", "search", "objectives", "constraints", "levels", "confirm", "fixed", "axes", "begin")
SIDES = {"min": "low", "max": "high"}
JUDGING = tuple(f"study.{name}" for name in ("images", "instances", "first_image", "first_instance", "errors", "reads"))  # of levels
MOST = 5  # candidates that are confirmed, unless told otherwise


@dataclass(frozen=True)
class SearchFile:
    """A search as its TOML file tells it; `text` is the file."""

    asked: Asked
    text: str


def read_search(path: str | Path) -> SearchFile:
    """What a TOML file searches for. Raises SweepError naming the file, the key, its value and what is allowed; OSError where it cannot be
    opened."""
    path = Path(path)
    text, raw = read_toml(path)
    try:
        return SearchFile(_asked(raw, path), text)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None


def search_chips(file: SearchFile, out: str | Path, executor: Executor | None = None, **options: Any) -> SearchResult:
    """`xbar.workloads.study.search.search` of `judge` over what a file asks for; options as there. Raises SweepError."""
    return search(file.asked, judge, out, executor, complete=complete, depends=files_of, **options)


def named_designs(asked: Asked) -> list[Design]:
    """Designs of which each names a chip, cells or metric that the axes name, as what a report needs to know of them."""
    named = {name: axis for name, axis in asked.axes.items() if name in PATHS and not isinstance(axis, Span)}
    return grid(named) if named else [{}]


def _asked(raw: dict[str, Any], path: Path) -> Asked:
    only_keys(raw, TABLES, "")
    title = raw.get("title", path.stem)
    if not isinstance(title, str):
        raise SweepError(f"title = {title!r}: must be a text")
    settings = table_of(raw, "search")
    only_keys(settings, ("designs", "batch", "seed", "choose", "sampler"), "search.")
    seed = settings.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise SweepError(f"search.seed = {seed!r}: must be a whole number from 0 to {2**32 - 1}")
    objectives = _objectives(table_of(raw, "objectives"))
    requirements = read_requirements(table_of(raw, "constraints"))
    fixed = placed_point(flat_table(table_of(raw, "fixed"), "", value_of), path.parent)
    axes = _expanded(flat_table(table_of(raw, "axes"), "", axis_of), fixed)
    axes = {name: [*placed_values(name, axis, path.parent)] if isinstance(axis, list) else axis for name, axis in axes.items()}
    for name in (*fixed, *axes):
        if name in JUDGING:
            raise SweepError(f"{name}: is not for [fixed] or [axes] of a search: [[levels]] and [confirm] say how designs are judged")
        if name in fixed and name in axes:
            raise SweepError(f"{name} = {fixed[name]!r}: is in [fixed] and varies too")
    levels = _levels(raw.get("levels", []))
    confirmation = _confirmation(table_of(raw, "confirm"), levels, requirements)
    judged = [each.column for each in requirements if each.of_float or each.column.startswith("accuracy")]
    if judged and not levels:
        raise SweepError(f"constraints.{judged[0]}: needs [[levels]], which say on how many chips and images designs are judged")
    first = _begun(raw.get("begin", []), axes)
    try:
        costs: dict[str, Value] = {"study.images": 0, **({"study.reads": "cells"} if levels else {})}  # the same costs at all levels
        return Asked(axes, objectives, requirements, fixed, [costs, *levels], confirmation, first=first, title=title, **settings)
    except SweepError as error:
        where = "search." if str(error).split(" ")[0] in ("designs", "batch", "choose", "sampler") else ""
        raise SweepError(f"{where}{error}") from None


def _objectives(raw: Mapping[str, Any]) -> dict[str, str]:
    if not raw:
        raise SweepError('objectives = (none): must be a table of columns, each "min" or "max", as in energy_J = "min"')
    for name, side in raw.items():
        if not isinstance(side, str) or side not in SIDES:
            raise SweepError(f'objectives.{name} = {side!r}: must be "min" or "max"')
    return {name: SIDES[side] for name, side in raw.items()}


def _levels(raw: Any) -> list[dict[str, Value]]:
    """How designs are judged after their costs, the fewest chips and samples first."""
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise SweepError("levels = (given): must be [[levels]], each with instances and images")
    found = []
    before = 0
    for place, each in enumerate(raw):
        level = _level(each, f"levels[{place}].")
        if int(level["study.images"] or 0) * int(level["study.instances"] or 0) <= before:
            raise SweepError(f"levels[{place}]: must judge more than the level before, {before} scores of chips times images")
        before = int(level["study.images"] or 0) * int(level["study.instances"] or 0)
        found.append(level)
    return found


def _level(each: Mapping[str, Any], where: str) -> dict[str, Value]:
    only_keys(dict(each), ("instances", "images"), where)
    for key, least in (("instances", 2), ("images", 2)):
        value = each.get(key, "(missing)")
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SweepError(f"{where}{key} = {value}: must be a whole number from {least}")
    return {"study.images": each["images"], "study.instances": each["instances"], "study.errors": True}


def _confirmation(
    raw: Mapping[str, Any], levels: list[dict[str, Value]], requirements: Iterable[Requirement]
) -> Confirmation | None:  # fmt: skip
    """How the chosen design is judged once more: on samples after, and chips after, those of the levels."""
    if not raw:
        if levels:
            raise SweepError("confirm = (missing): where designs are judged on chips, the chosen one is judged once more on chips and "
                             "samples that the search did not see; give instances and images")  # fmt: skip
        return None
    if not levels:
        raise SweepError("confirm = (given): is of no use without [[levels]]: costs are exact")
    most = raw.get("most", MOST)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise SweepError(f"confirm.most = {most!r}: must be a whole number from 1")
    level = _level({key: value for key, value in raw.items() if key != "most"}, "confirm.")
    for each in requirements:
        if each.of_float and each.column == "accuracy":
            needed = images_needed(each.limit, 1 - (1 - each.confidence) / most, int(level["study.instances"] or 0))
            if needed is None or int(level["study.images"] or 0) < needed:
                fewer = f"{MOST_IMAGES} or fewer" if needed is None else f"fewer than {needed}"
                raise SweepError(f"confirm.images = {level['study.images']}: on {fewer} a design that loses nothing cannot be "
                                 f"shown to hold {each.text}, with {most} candidates at most; ask for more, or allow more")  # fmt: skip
    firsts = {f"study.first_{name}": max(int(each[f"study.{name}s"] or 0) for each in levels) for name in ("image", "instance")}
    return Confirmation({**level, **firsts}, most)


def _expanded(axes: dict[str, Axis], fixed: Mapping[str, Value]) -> dict[str, Axis]:
    """The axes with one for each layer that a name such as `layer."*".weights.bits` stands for."""
    found: dict[str, Axis] = {}
    known: dict[bool, list[str]] = {}
    stands_for: dict[str, str] = {}
    for name, axis in axes.items():
        of_layer = layer_field(name) or layer_key(name)
        if of_layer is None or not any(sign in of_layer[0] for sign in "*?["):
            found[name] = axis
            continue
        keep = of_layer[1] == "compression.keep"
        if keep not in known:
            known[keep] = _layers(fixed, keep)
        named = [layer for layer in known[keep] if fnmatch.fnmatchcase(layer, of_layer[0])]
        if not named:
            raise SweepError(f"{name}: stands for no layer; there are {', '.join(known[keep])}")
        for layer in named:
            key = f'layer."{layer}".{of_layer[1]}'
            if key in stands_for and key not in axes:
                raise SweepError(f"{name}: stands for layer {layer}, as {stands_for[key]} does; name it in one of them, or by itself")
            stands_for[key] = name
            found.setdefault(key, axis)
    return found


def _layers(fixed: Mapping[str, Value], keep: bool) -> list[str]:
    """Names of the workload's layers, or of those of which filters can go."""
    name, source = str(fixed.get("workload.name", "digits")), fixed.get("workload.data")
    model, example = untrained(name, source=None if source is None else str(source))
    return list(filters_of(model.eval(), example)) if keep else [layer.name for layer in trace(model, example, pack=True).layers]


def placed_values(name: str, values: list[Value], folder: Path) -> list[Value]:
    """Values of an axis, files named from where the TOML file is."""
    return [placed_point({name: value}, folder)[name] for value in values]


def _begun(raw: Any, axes: Mapping[str, Axis]) -> list[Design]:
    """Designs to begin with, which say every axis; `layer."*"` says all layers' that are not named after it, as in [axes]."""
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise SweepError("begin = (given): must be [[begin]], each a design: a value of every axis")
    found = []
    for place, each in enumerate(raw):
        design: Design = {}
        for name, value in flat_table(each, "", value_of).items():
            of_layer = layer_field(name) or layer_key(name)
            pattern = name if of_layer is None else f'layer."{of_layer[0]}".{of_layer[1]}'
            named = fnmatch.filter(axes, pattern) if any(sign in pattern for sign in "*?[") else []
            design |= dict.fromkeys(named or [name], value)
        for name, value in design.items():
            axis = axes.get(name)
            if axis is None or not on_axis(axis, value):
                allowed = "no axis" if axis is None else f"must be {allowed_on(axis)}"
                raise SweepError(f"begin[{place}].{name} = {value!r}: {allowed}")
        missing = [name for name in axes if name not in design]
        if missing:
            raise SweepError(f"begin[{place}].{missing[0]} = (missing): a design to begin with says every axis")
        found.append(design)
    return found

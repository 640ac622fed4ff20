"""Points of a sweep over workload, chip, device and compression: their names, the TOML file that spans them, and what one
is worth: accuracy, energy, time, power and area.

Names are those of `--set` (device.levels, component.adc.bits, wires.wordline, in the chip file's own units) and those of
`FIELDS`. What points share (training, compression, tracing, placement and simulation, conversion and calibration) is
computed once in a process, by content; training and compression once for all processes of a user, in the cache.
"""

import hashlib
import json
import math
import os
import shutil
import threading
import tomllib
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from pydantic import BaseModel
from torch import nn

from xbar.compression.state import small_state
from xbar.hw.analog import read_energies
from xbar.hw.bands import ENDS, chip_at, ledger_at
from xbar.hw.cells.device import ideal_of
from xbar.hw.chip.checked import unit_of
from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip, preset_names, silicon_names
from xbar.hw.chip.layers import layer_key
from xbar.hw.chip.placement import place
from xbar.hw.errors import did_you_mean
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.simulator import simulate
from xbar.hw.footprint import Footprint, footprint
from xbar.hw.graph.network import Network
from xbar.hw.graph.trace import trace
from xbar.hw.quantity import UNITS, Unit, number_and_unit
from xbar.workloads.data import cache_directory
from xbar.workloads.offered import ALLOCATIONS, COMPRESSION_METHODS, TASKS, WORKLOADS, file_of, is_own
from xbar.workloads.own import code_of
from xbar.workloads.study import sweep as engine
from xbar.workloads.study.allocation import TARGETS
from xbar.workloads.study.compress import compress
from xbar.workloads.study.evaluate import Condition, Correction, OnChip
from xbar.workloads.study.plan import PLANS, Plan, fitted, quick
from xbar.workloads.study.sweep import Axis, Point, Span, SweepError, SweepResult, Value, code_version, sweep
from xbar.workloads.training import save_state, score
from xbar.workloads.workload import Workload, load_weights, load_workload

SPACES = ("grid", "list", "random", "latin_hypercube")
PATHS = ("chip.name", "device.name", "workload.name", "workload.data", "workload.weights", "workload.metric")
# Relative ones begin where the TOML file is.
COMPRESSION = "compression."
_working = threading.Lock()  # converted networks hold the state of one point at a time


# ---- names


@dataclass(frozen=True)
class Field:
    """What a name of a point may be: its type, least and most, words allowed, and its value where a point is silent; of a number of
    a chip file also its unit: "25 uS" may stand there too."""

    kind: type
    default: Value = None
    choices: tuple[str, ...] | None = None
    least: float = -math.inf
    most: float = math.inf
    also: Callable[[str], bool] | None = None  # texts besides the choices
    unit: Unit | None = None

    @property
    def allowed(self) -> str:
        """What may stand there, for messages."""
        if self.choices is not None:
            return f"must be one of {', '.join(self.choices)}" + (", or the file of a network" if self.also else "")
        if self.kind in (int, float):
            bounds = [f"from {self.least:g}"] * (self.least > -math.inf) + [f"to {self.most:g}"] * (self.most < math.inf)
            units = [] if self.unit is None or self.unit.dimension == "1" else self.unit.spellings
            typed = [f"or a text of number and unit: {', '.join(units)}"] * bool(units)
            return " ".join([f"must be a {'whole ' if self.kind is int else ''}number", *bounds, *typed])
        return "must be true or false" if self.kind is bool else "must be a text that is not empty"

    def holds(self, value: object) -> bool:
        """True where `value` may stand there."""
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if self.kind is str:
            listed = self.choices is None or value in self.choices
            return isinstance(value, str) and bool(value) and (listed or (self.also is not None and self.also(value)))
        if self.unit is not None and isinstance(value, str):
            try:
                number, typed = number_and_unit(value)
            except ValueError:
                return False
            return (self.kind is float or isinstance(number, int)) and abs(number) <= 1e300 and typed in self.unit.spellings
        number = isinstance(value, int) or (self.kind is float and isinstance(value, float) and math.isfinite(value))
        return number and abs(value) <= 1e300 and self.least <= value <= self.most  # type: ignore[arg-type, operator]


def _count(default: int, least: int = 1) -> Field:
    return Field(int, default, least=least, most=2**53)


_OWN: dict[str, Field] = {
    "workload.name": Field(str, "digits", tuple(WORKLOADS), also=is_own),  # or the file of a network of one's own
    "workload.seed": _count(0, 0),  # of training
    "workload.data": Field(str),  # folder of the official data files, or the data of a network of one's own
    "workload.task": Field(str, choices=TASKS),  # of a network of one's own, as the next
    "workload.metric": Field(str),
    "workload.weights": Field(str),  # file of trained weights
    "chip.name": Field(str, "isaac"),  # a preset or a TOML file
    "device.name": Field(str),  # cells in place of the chip's own: a preset or a TOML file
    "study.seed": _count(0, 0),  # of the first chip instance, and of the choice of images
    "study.instances": _count(3),  # of the chip
    "study.images": _count(360, 0),  # test images; 0: costs alone
    "study.requests": _count(8, 2),  # simulated in one batch
    "study.rate": Field(float, 1000.0, least=1e-300),  # inferences per second of power [1/s]
    "study.seconds": Field(float, 0.0, least=0),  # after programming
    "study.correction": Field(str, "none", typing.get_args(Correction)),
}


TABLES = ("programming_table", "relaxation_table")  # of a device file, in files of their own


def _fields_of_chip(model: type[BaseModel] = Chip, prefix: str = "") -> dict[str, Field]:
    """Every value of a chip file that --set may change."""
    found: dict[str, Field] = {}
    for name, field in model.model_fields.items():
        kinds = [each for each in _parts(field.annotation) if each is not type(None)]
        if isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
            found |= _fields_of_chip(kinds[0], f"{prefix}{name}.")
        elif not prefix or name in TABLES:
            continue
        elif (unit := unit_of(field)) is not None:
            found[prefix + name] = Field(int if kinds[0] is int else float, unit=unit)
        elif typing.get_origin(kinds[0]) is Literal:
            found[prefix + name] = Field(str, choices=typing.get_args(kinds[0]))
        elif kinds[0] in (bool, str):
            found[prefix + name] = Field(kinds[0])
    return found


def _fields_of_compression() -> dict[str, Field]:
    """Targets, and what of a plan is one number, switch or word."""
    found = {f"{COMPRESSION}{name}": Field(float, least=1e-9, most=1) for name in TARGETS}
    for field in fields(Plan):
        kind = next(each for each in _parts(field.type) if each is not type(None))
        if kind in (int, float, bool):
            found[f"{COMPRESSION}{field.name}"] = Field(kind)
    words = {"method": tuple(COMPRESSION_METHODS), "allocation": ALLOCATIONS}
    found |= {f"{COMPRESSION}{name}": Field(str, choices=choices) for name, choices in words.items()}
    return found | {f"{COMPRESSION}quick": Field(bool)}


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type."""
    return typing.get_args(annotation) if type(None) in typing.get_args(annotation) else (annotation,)


CHIP_FIELDS = _fields_of_chip()
FIELDS: dict[str, Field] = _OWN | CHIP_FIELDS | _fields_of_compression()


def complete(point: Point) -> dict[str, Value]:
    """The point with every value that decides its result but the chip file's own; raises SweepError naming what is wrong."""
    for name, value in point.items():
        check_value(name, value)
    defaults = {name: field.default for name, field in _OWN.items() if field.default is not None}
    whole = {**defaults, **point}
    targets = [name for name in TARGETS if COMPRESSION + name in whole]
    other = next((name for name in whole if name.startswith(COMPRESSION)), None)
    if other is not None and not targets:
        raise SweepError(f"{other} = {whole[other]!r}: needs a target, one or more of "
                         + ", ".join(COMPRESSION + name for name in TARGETS))  # fmt: skip
    return whole


def field_of(name: str) -> Field | None:
    """What a name may be, such as `component.adc.bits` or, of one layer, `layer."conv1".component.adc.bits`; None: no name."""
    of_layer = layer_key(str(name))
    return FIELDS.get(name) if of_layer is None else CHIP_FIELDS[of_layer[1]]


def is_of_chip(name: str) -> bool:
    """True for names of what a chip file says."""
    return name in CHIP_FIELDS or layer_key(str(name)) is not None


def check_value(name: str, value: object) -> None:
    """Raises SweepError where a point cannot have that name or that value."""
    field = field_of(name)
    if field is None:
        raise SweepError(f"{name} = {value!r}: unknown name{did_you_mean(str(name), FIELDS)}")
    if not field.holds(value):
        raise SweepError(f"{name} = {value!r}: {field.allowed}{did_you_mean(str(value), field.choices or ())}")


# ---- the file


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its TOML file tells it: complete points in order; `text` is the file."""

    title: str
    points: list[dict[str, Value]]
    text: str


def read_sweep(path: str | Path) -> SweepFile:
    """The points that a TOML file spans (`examples/sweep.toml` explains its form); the same file gives the same points.

    Raises SweepError naming the file, the key, its value and what is allowed; OSError where it cannot be opened.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
        raw = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise SweepError(f"{path}: is not TOML: {error}") from None
    try:
        points = [complete(_placed(point, path.parent)) for point in _spanned(raw)]
        title = raw.get("title", path.stem)
        if not isinstance(title, str):
            raise SweepError(f"title = {title!r}: must be a text")
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None
    return SweepFile(title, points, text)


def _spanned(raw: dict[str, Any]) -> list[dict[str, Value]]:
    """The points of a file, as written."""
    _only(raw, ("title", "space", "fixed", "axes", "points"), "")
    space = _table(raw, "space")
    _only(space, ("kind", "samples", "seed"), "space.")
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
    fixed = _flat(_table(raw, "fixed"), "", _value)
    if kind == "list":
        given = raw.get("points", [])
        if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
            raise SweepError("points = (none): must be one [[points]] or more")
        varied = [_flat(each, "", _value) for each in given]
    else:
        axes = _flat(_table(raw, "axes"), "", _axis)
        varied = _drawn(kind, axes, space)
    for name in fixed:
        if any(name in point for point in varied):
            raise SweepError(f"{name} = {fixed[name]!r}: is in [fixed] and varies too")
    return [fixed | point for point in varied]


def _drawn(kind: str, axes: dict[str, Axis], space: dict[str, Any]) -> list[dict[str, Value]]:
    if kind == "grid":
        return engine.grid(axes)
    draw = engine.random if kind == "random" else engine.latin_hypercube
    try:
        return draw(axes, space["samples"], space.get("seed", 0))
    except SweepError as error:
        where = "" if str(error).startswith("axes") else "space."
        raise SweepError(f"{where}{error}") from None


def _only(table: dict[str, Any], allowed: tuple[str, ...], prefix: str) -> None:
    for key, value in table.items():
        if key not in allowed:
            raise SweepError(f"{prefix}{key} = {value!r}: unknown key; allowed: {', '.join(allowed)}")


def _table(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found = raw.get(name, {})
    if not isinstance(found, dict):
        raise SweepError(f"{name} = {found!r}: must be a table")
    return found


def _flat(table: dict[str, Any], prefix: str, read: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Values by dotted name; a table is one value where its name is a point's."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f'{prefix}"{key}"' if prefix == "layer." else prefix + key
        inner = _flat(value, f"{name}.", read) if isinstance(value, dict) and field_of(name) is None else {name: read(name, value)}
        for each in inner:
            if each in found:
                raise SweepError(f"{each} = {inner[each]!r}: is given twice")
        found |= inner
    return found


def _value(name: str, value: Any) -> Value:
    check_value(name, value)
    checked: Value = value
    return checked


def _axis(name: str, value: Any) -> Axis:
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
    _only(value, ("low", "high", "scale", "steps"), f"{name}.")
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


def _placed(point: dict[str, Value], folder: Path) -> dict[str, Value]:
    """The point with files named from where the TOML file is."""
    return {name: placed(name, value, folder) for name, value in point.items()}


def placed(name: str, value: Value, folder: Path) -> Value:
    """The value of a name; a file or folder, where it is one and not a preset, as a path from `folder`."""
    if name not in PATHS or not isinstance(value, str) or (name == "chip.name" and value in [*preset_names(), *silicon_names()]):
        return value
    if (name == "device.name" and not value.endswith(".toml")) or (name == "workload.name" and not is_own(value)):
        return value
    return str(folder / value)


def files_of(point: Point) -> str:
    """The contents of the files that a point names, as one text; of a data folder only its name counts."""
    found = [_digest(file_of(str(point[name]))[0]) for name in PATHS if name in point]
    own = [str(point[name]) for name in ("workload.name", "workload.data", "workload.metric") if is_own(str(point.get(name, "")))]
    return " ".join([*found, code_of(*own)] if own else found)


def _digest(name: str, extending: tuple[str, ...] = ()) -> str:
    """SHA-256 of a file and of those that it extends, one after the other; `extending` led to this one."""
    try:
        if name in extending or not Path(name).is_file():
            return ""
        stat = Path(name).stat()
        own, base = _digest_of(name, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):  # a preset, or a file that is missed when the point is computed
        return ""
    return own + (_digest(base, (*extending, name)) if base else "")


@cache
def _digest_of(name: str, _modified: int, _size: int) -> tuple[str, str]:
    """SHA-256 of a file, and of the table that a TOML file of cells names; the file that it extends, or nothing."""
    content = Path(name).read_bytes()
    hashed, base = hashlib.sha256(content), ""
    if name.endswith(".toml"):
        try:
            raw = tomllib.loads(content.decode())
            base = str((Path(name).parent / raw["extends"]).resolve()) if "extends" in raw else ""
            for table in filter(None, map(raw.get("device", {}).get, TABLES)):
                hashed.update((Path(name).parent / table).read_bytes())
        except (OSError, ValueError, TypeError, AttributeError):  # told when the point is computed
            pass
    return hashed.hexdigest(), base


def sweep_chips(
    points: typing.Iterable[Point], out: str | Path, executor: Executor | None = None, **options: Any
) -> SweepResult:
    """`xbar.workloads.study.sweep.sweep` of `judge` over points of `FIELDS`; options as there. Raises SweepError."""
    return sweep([complete(point) for point in points], judge, out, executor, depends=files_of, **options)


# ---- what a point is worth


class _LastFew:
    """The last few of what is made, by what it is made of."""

    def __init__(self, most: int):
        self.most = most
        self.found: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self.found:
            made = make()
            while len(self.found) >= self.most:
                self.found.popitem(last=False)
            self.found[key] = made
        self.found.move_to_end(key)
        return self.found[key]


_workloads, _compressed, _networks = _LastFew(2), _LastFew(4), _LastFew(4)
_simulated, _converted, _scores, _footprints = _LastFew(16), _LastFew(4), _LastFew(1000), _LastFew(16)


@dataclass(frozen=True)
class _Subject:
    """A trained network, perhaps made smaller, and a chip for it; `key`: the network's own content; input_ranges: of layers by name,
    where they were learned."""

    key: str
    workload: Workload
    model: nn.Module
    chip: Chip
    input_ranges: Mapping[str, tuple[float, float]]


def judge(point: Point) -> dict[str, Value]:
    """What a point is worth. Accuracies are shares of 1 over `study.images` test images; with 0 images there are none, nothing is
    converted, and array reads are charged by the averages that the chip states (`inputs.activity`, the middle of g_min and g_max), in
    proportion to the lines in use.

    accuracy_float; accuracy: mean over chip instances, with accuracy_smallest and accuracy_largest; of another metric than accuracy
    under its name; images: test samples that they are over, fewer than asked for where the data set has no more. Over a batch of
    `study.requests`: energy_J of an inference, and of it energy_<component>_J, static power over that time included; of it
    energy_on_chip_J, leakage in it and off-chip links apart;
    energy_low_J and energy_high_J, and area_low_m2 and area_high_m2 of area_m2: the outer band (`xbar.hw.bands`), every constant
    at its low or high together, which assumes nothing of how their errors hang together; what a point sets is exact;
    throughput_per_s; latency_s: of one inference alone. power_W: of the chip at `study.rate`, missing where it cannot
    serve that many. area_m2 of the chip. footprint_area_m2, footprint_power_W (at the rate) and arrays: what one copy of
    the network takes of the chip (`xbar.hw.footprint`). weights: that the network has.

    Raises SweepError and what `hw`, `workloads` and `compression` raise.
    """
    whole = complete(point)
    with _working:
        subject = _subject(whole)
        judged = bool(whole["study.images"])
        energies = _on_chip(subject, whole)[1] if judged else None
        network = _network(subject)
        return {
            **(_score(subject, whole) if judged else {}), **_cost(subject, network, energies, whole),
            **_footprint(subject, network, energies, whole), "weights": sum(layer.weights for layer in network.layers),
        }  # fmt: skip


def _subject(point: dict[str, Value]) -> _Subject:
    settings = {name: _written(value) for name, value in point.items() if is_of_chip(name)}
    device = point.get("device.name")
    chip = load_chip(str(point["chip.name"]), settings, None if device is None else str(device))
    name, seed = str(point["workload.name"]), int(point["workload.seed"] or 0)
    data, weights = (None if point.get(key) is None else Path(str(point[key])) for key in ("workload.data", "workload.weights"))
    task, metric = (None if point.get(key) is None else str(point[key]) for key in ("workload.task", "workload.metric"))
    identity = json.dumps([name, seed, str(data), str(weights), task, metric, files_of(point), os.environ.get("XBAR_DATA")])

    def load() -> tuple[str, Workload]:
        with _only_one(hashlib.sha256(name.encode()).hexdigest()[:12] + f"-{seed}"):
            workload = load_workload(name, seed, data, weights=weights, task=task, metric=metric)
        return _content(workload.model) + workload.code + workload.data.digest, workload

    key, workload = _workloads.get(identity, load)
    whole = _Subject(key, workload, workload.model, chip, {})
    given = {key.removeprefix(COMPRESSION): value for key, value in point.items() if key.startswith(COMPRESSION)}
    return _smaller(whole, given) if given else whole


def _written(value: Value) -> str:
    """A value as --set writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _content(model: nn.Module) -> str:
    hashed = hashlib.sha256()
    for name, value in model.state_dict().items():
        hashed.update(f"{name} {tuple(value.shape)} ".encode() + value.cpu().numpy().tobytes())
    return hashed.hexdigest()


def _only_one(name: str) -> FileLock:
    """Held by the one process of this user that makes what others then find in the cache."""
    folder = cache_directory() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def _smaller(subject: _Subject, given: dict[str, Value]) -> _Subject:
    """The network compressed for the chip, which then has the bits that the compression chose; kept in the cache."""
    targets = {name: float(given.pop(name) or 0) for name in TARGETS if name in given}
    fast = given.pop("quick", False)
    plan = replace(PLANS.get(subject.workload.name, Plan()), budgets=(), **given)  # type: ignore[arg-type]
    plan = fitted(quick(plan, subject.workload.data.tokens) if fast else plan, subject.workload.data)
    told = [subject.key, subject.chip.model_dump_json(), sorted(targets.items()), repr(plan), code_version()]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def make() -> _Subject:
        folder = cache_directory() / "compressed" / key
        weights, bits, ranges = (folder / name for name in ("weights.pt", "bits.json", "input_ranges.json"))
        with _only_one(key):
            if not weights.is_file():
                found = compress(subject.model, subject.workload.data, subject.chip, targets, folder, plan, code=subject.workload.code)
                bits.write_text(json.dumps({"weights": found.chip.weights.bits, "inputs": found.chip.inputs.bits}), "utf-8")
                ranges.write_text(json.dumps(found.input_ranges), "utf-8")
                save_state(small_state(found.model, subject.workload.calibration_inputs[:2]), weights)
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        model = load_weights(subject.model, weights, subject.workload.calibration_inputs[:2]).eval()
        chosen = {section: {"bits": count} for section, count in json.loads(bits.read_text("utf-8")).items()}
        learned = {name: (low, high) for name, (low, high) in json.loads(ranges.read_text("utf-8")).items()}
        content = _content(model) + subject.key + (json.dumps(learned) if learned else "")
        return _Subject(content, subject.workload, model, subject.chip.with_changes(**chosen), learned)

    smaller: _Subject = _compressed.get(key, make)
    return smaller


def _network(subject: _Subject) -> Network:
    network: Network = _networks.get(
        subject.key, lambda: trace(subject.model, subject.workload.calibration_inputs[:2], pack=True)
    )
    return network


def _without_errors(chip: Chip) -> Chip:
    """The chip with cells that have no error: what conversion, calibration, placement and events depend on."""
    return chip.model_copy(update={"device": ideal_of(chip.device)})


def _on_chip(subject: _Subject, point: Mapping[str, Value]) -> tuple[OnChip, dict[str, float] | None]:
    """The network converted and calibrated, and the energy of its array reads by layer [J], where cells say."""
    ideal = _without_errors(subject.chip)

    def make() -> tuple[OnChip, dict[str, float] | None]:
        converted = OnChip(subject.model, ideal, subject.workload.calibration_inputs, input_ranges=subject.input_ranges)
        return converted, None if ideal.device.read_voltage is None else read_energies(converted.model)

    found: tuple[OnChip, dict[str, float] | None] = _converted.get(subject.key + ideal.model_dump_json(), make)
    return found


def _score(subject: _Subject, point: dict[str, Value]) -> dict[str, Value]:
    data, metric, seed = subject.workload.data, subject.workload.data.metric, int(point["study.seed"] or 0)
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(data.test_targets))[: int(point["study.images"] or 0)])
    inputs, targets = data.test_inputs[chosen], data.test_targets[chosen]
    condition = Condition(subject.chip.device, None, float(point["study.seconds"] or 0), point["study.correction"])  # type: ignore[arg-type]
    on_chip = _on_chip(subject, point)[0]
    count = int(point["study.instances"] or 0) if on_chip.varies(condition) else 1
    described = [subject.key, subject.chip.model_dump_json(), seed, count, len(targets), condition.seconds, condition.correction]

    def measure() -> list[float]:
        seeds = range(seed, seed + count)
        return [value for part in on_chip.scores(seeds, inputs, targets, condition, metric) for value in part.values()]

    found = _scores.get(json.dumps(described), measure)
    of_float = _scores.get(json.dumps([subject.key, seed, len(targets)]), lambda: score(subject.model, inputs, targets, metric))
    name = metric.name
    return {
        f"{name}_float": of_float, name: sum(found) / count, f"{name}_smallest": min(found), f"{name}_largest": max(found),
        "images": len(targets),
    }  # fmt: skip


def _cost(subject: _Subject, network: Network, energies: dict[str, float] | None, point: dict[str, Value]) -> dict[str, Value]:
    requests, rate = int(point["study.requests"] or 0), float(point["study.rate"] or 0)
    batch, alone = (_ledger(subject, network, energies, count) for count in (requests, 1))
    by_component = {f"energy_{name}_J": float(joule) / requests for name, joule in batch.energy.sum().items()}
    dynamic, throughput = (batch.total_energy - batch.static_energy) / requests, batch.steady_throughput
    chip = subject.chip
    bands = {f"energy_{end}_J": ledger_at(batch, end).energy_per_request for end in ENDS}
    bands |= {f"area_{end}_m2": chip_at(chip, end).area for end in ENDS}
    return {
        "energy_J": batch.energy_per_request, "energy_on_chip_J": batch.on_chip_energy / requests,
        **bands, **by_component, "latency_s": float(alone.latency[0]),
        "throughput_per_s": throughput, "power_W": dynamic * rate + chip.static_power if rate <= throughput else None,
        "area_m2": chip.area,
    }  # fmt: skip


def _ledger(subject: _Subject, network: Network, energies: dict[str, float] | None, requests: int) -> Ledger:
    """The simulation of that many requests at once: events once for all cells, whose energy is put in."""
    events = _without_errors(subject.chip).model_dump(exclude={"name", "title", "description", "source", "device"})
    key = f"{subject.key} {requests} {subject.chip.cell_bits} {subject.chip.read_time} {json.dumps(events)}"
    ledger: Ledger = _simulated.get(key, lambda: simulate(place(network, subject.chip), Arrivals.batch(requests)))
    return replace(ledger, placement=replace(ledger.placement, chip=subject.chip), read_energy=energies)


def _footprint(subject: _Subject, network: Network, energies: dict[str, float] | None, point: dict[str, Value]) -> dict[str, Value]:
    rate = float(point["study.rate"] or 0)
    key = f"{subject.key} {rate} {_without_errors(subject.chip).model_dump_json()}"
    found: Footprint = _footprints.get(key, lambda: footprint(network, subject.chip, rate, energies))
    return {"footprint_area_m2": found.area, "footprint_power_W": found.power, "arrays": found.arrays}


# ---- for who looks further into a point than `judge`


def looked_into(point: Point) -> tuple[Workload, Chip, Network]:
    """The workload, the chip and the traced network that a point is judged by; raises as `judge` does. Networks that a compression
    made smaller are traced as they are then, and the workload is the whole one."""
    subject = _subject(complete(point))
    return subject.workload, subject.chip, _network(subject)


def converted(point: Point) -> OnChip:
    """The point's network converted to its chip and calibrated, of cells without errors: give the chip's device as a condition's. It
    holds the state of one judgement at a time."""
    whole = complete(point)
    return _on_chip(_subject(whole), whole)[0]

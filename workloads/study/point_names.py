"""Names of what a point of a sweep sets, and what each may be: workload, chip, mapping, device, compression, study.

Names are those of `--set` (device.levels, component.adc.bits, wires.wordline, in the chip file's own units) and those of
`FIELDS`; of one layer `layer."conv1".` and one of `LAYER_FIELDS`, or of what a chip file may set for single layers.
"""

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import BaseModel

from xbar.hw.chip.checked import unit_of
from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import layer_key
from xbar.hw.errors import did_you_mean
from xbar.hw.quantity import Unit, number_and_unit
from xbar.workloads.offered import (
    ALLOCATIONS,
    COMPRESSION_METHODS,
    COMPUTES,
    SHARING,
    TARGETS,
    TASKS,
    WORKLOADS,
    is_own,
)
from xbar.workloads.study.evaluate import Correction
from xbar.workloads.study.identity import Point, SweepError, Value
from xbar.workloads.study.plan import Plan

PATHS = ("chip.name", "device.name", "workload.name", "workload.data", "workload.weights", "workload.metric")
# Relative ones begin where the TOML file is.
COMPRESSION = "compression."
READS = ("stated", "cells")  # array reads by the averages that the chip states, or by its cells' conductances for the network's inputs
COPIES = ("balance", "one")  # of layers: as many as balance the pipeline, or one of each


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
    "study.first_instance": Field(int, least=0, most=2**53),  # how many chip instances, from the seed's on, are passed over
    "study.first_image": Field(int, least=0, most=2**53),  # how many of the images, in the order that the seed draws, are passed over
    "study.reads": Field(str, choices=READS),
    "study.compute": Field(str, choices=COMPUTES),  # where chips compute and networks are trained; silent: chips on the CPU
    "study.errors": Field(bool),  # whether errors of accuracies stand beside them
    "study.poisson": Field(int, least=2, most=2**53),  # requests of a Poisson stream at the rate, for latency_p99_s
    "study.rewrite": Field(float, least=1e-300),  # seconds from one writing of all cells to the next, for lifetime_s
    "mapping.sharing": Field(str, choices=SHARING),
    "mapping.copies": Field(str, choices=COPIES),
}

LAYER_FIELDS: dict[str, Field] = {  # of one layer, beside what a chip file may set for it
    "mapping.copies": _count(1),
    "compression.keep": Field(float, least=1e-9, most=1),  # share of its filters, or of the units of a stream
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
    _check_compression(whole)
    of_layer = [name for name in whole if (found := layer_field(name)) and found[1] == "mapping.copies"]
    if of_layer and whole.get("mapping.copies", "one") != "one":
        raise SweepError(f"{of_layer[0]} = {whole[of_layer[0]]!r}: copies of one layer need mapping.copies = one, or left out")
    return whole


def _check_compression(whole: dict[str, Value]) -> None:
    """Raise SweepError where compression is asked for in two ways, or how without how much."""
    targets = [COMPRESSION + name for name in TARGETS if COMPRESSION + name in whole]
    kept = [name for name in whole if (found := layer_field(name)) and found[1] == "compression.keep"]
    if targets and kept:
        raise SweepError(f"{kept[0]} = {whole[kept[0]]!r}: what layers keep is chosen by {targets[0]}; give one of them")
    other = [name for name in whole if name.startswith(COMPRESSION) and name not in targets]
    if other and not targets and not kept:
        raise SweepError(f"{other[0]} = {whole[other[0]]!r}: needs a target, one or more of "
                         + ", ".join(COMPRESSION + name for name in TARGETS))  # fmt: skip
    for name in other if kept else ():
        if name not in ("compression.method", "compression.seed") or whole[name] in ("admm", "gradual"):
            raise SweepError(f"{name} = {whole[name]!r}: of no use where layers keep a share without training; they take "
                             "compression.method least-squares or magnitude, and compression.seed")  # fmt: skip


def layer_field(name: str) -> tuple[str, str] | None:
    """(layer, one of `LAYER_FIELDS`) of a name such as `layer."conv1".mapping.copies`; None of other names."""
    key = next((key for key in LAYER_FIELDS if name.startswith("layer.") and name.endswith(f".{key}")), None)
    layer = "" if key is None else name[len("layer.") : -len(key) - 1].strip('"')
    return (layer, key) if key is not None and layer else None


def field_of(name: str) -> Field | None:
    """What a name may be, such as `component.adc.bits` or, of one layer, `layer."conv1".component.adc.bits`; None: no name."""
    own = layer_field(str(name))
    if own is not None:
        return LAYER_FIELDS[own[1]]
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

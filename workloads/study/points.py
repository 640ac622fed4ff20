"""What a point over workload, chip, mapping, device and compression is worth: accuracy, energy, time, power and area.

Names of points are told in `xbar.workloads.study.point_names`, files of points in `xbar.workloads.study.sweep_file`. What points share
(training, compression, tracing, placement and simulation, conversion and calibration) is computed once in a process, by content;
training and compression once for all processes of a user, in the cache.
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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from xbar.compression.state import small_state
from xbar.hw.analog import read_energies
from xbar.hw.bands import ENDS, chip_at, ledger_at
from xbar.hw.cells.device import ideal_of
from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip
from xbar.hw.chip.placement import place
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.hw.events.simulator import simulate
from xbar.hw.events.updates import SECONDS_PER_YEAR, years_to_wear_out
from xbar.hw.footprint import Footprint, footprint
from xbar.hw.graph.network import Network
from xbar.hw.graph.trace import trace
from xbar.workloads.compute import CPU
from xbar.workloads.data import cache_directory
from xbar.workloads.offered import TARGETS, file_of, is_own
from xbar.workloads.own import code_of
from xbar.workloads.study.compress import compress
from xbar.workloads.study.evaluate import Condition, OnChip
from xbar.workloads.study.identity import Point, SweepError, Value, code_version
from xbar.workloads.study.kept_shares import cut_to_shares
from xbar.workloads.study.mean_errors import mean_error
from xbar.workloads.study.plan import PLANS, Plan, fitted, quick
from xbar.workloads.study.point_names import (
    CHIP_FIELDS,
    COMPRESSION,
    FIELDS,
    PATHS,
    TABLES,
    check_value,
    complete,
    field_of,
    is_of_chip,
    layer_field,
)
from xbar.workloads.study.sweep import SweepResult, sweep
from xbar.workloads.study.sweep_file import SweepFile, placed, read_sweep
from xbar.workloads.task import ACCURACY, Metric, Tally
from xbar.workloads.training import save_state, tally_of
from xbar.workloads.workload import Workload, load_weights, load_workload

__all__ = [
    "CHIP_FIELDS", "FIELDS", "PATHS", "SweepFile", "check_value", "complete", "field_of", "files_of", "is_of_chip", "judge", "placed",
    "read_sweep", "sweep_chips",
]  # fmt: skip

_working = threading.Lock()  # converted networks hold the state of one point at a time


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
    """A trained network, perhaps made smaller, and a chip for it; `key`: the network's own content; whole: what the workload is, as one
    text: the content of the network that is not made smaller, its code, data and what is asked of them; input_ranges: of layers by name,
    where they were learned."""

    key: str
    whole: str
    workload: Workload
    model: nn.Module
    chip: Chip
    input_ranges: Mapping[str, tuple[float, float]]


def judge(point: Point) -> dict[str, Value]:
    """What a point is worth. Accuracies are shares of 1 over `study.images` test images; with 0 images there are none. Then, unless
    `study.reads` is cells, nothing is converted, and array reads are charged by the averages that the chip states (`inputs.activity`, the
    middle of g_min and g_max), in proportion to the lines in use.

    accuracy_float; accuracy: mean over chip instances, with accuracy_smallest and accuracy_largest; of another metric than accuracy
    under its name; images: test samples that they are over, fewer than asked for where the data set has no more. With `study.errors`
    also, by the metric's name, _error and _freedom, the standard error of the mean over chips and samples with its degrees of freedom, and
    _lost, with both of its own: how much worse than the uncompressed network in float on the same samples. Over a batch of
    `study.requests`: energy_J of an inference, and of it energy_<component>_J, static power over that time included; of it
    energy_on_chip_J, leakage in it and off-chip links apart;
    energy_low_J and energy_high_J, and area_low_m2 and area_high_m2 of area_m2: the outer band (`xbar.hw.bands`), every constant
    at its low or high together, which assumes nothing of how their errors hang together; what a point sets is exact;
    throughput_per_s; latency_s: of one inference alone. power_W: of the chip at `study.rate`, missing where it cannot
    serve that many. With `study.poisson` latency_p99_s: what 99 % of so many requests of a Poisson stream at the rate stay below, missing
    as the power; with `study.rewrite` lifetime_s: until a cell has had its `device.endurance` of pulses, one at each rewriting, so often.
    area_m2 of the chip. footprint_area_m2, footprint_power_W (at the rate) and arrays: what one copy of
    the network takes of the chip (`xbar.hw.footprint`). weights: that the network has.

    Raises SweepError and what `hw`, `workloads` and `compression` raise.
    """
    whole = complete(point)
    with _working:
        subject = _subject(whole)
        judged = bool(whole["study.images"])
        by_cells = whole.get("study.reads", "cells" if judged else "stated") == "cells"
        energies = _on_chip(subject, whole)[1] if by_cells else None
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
    told = [name, seed, str(data), str(weights), task, metric, files_of(point), os.environ.get("XBAR_DATA"), _compute(point)]
    identity = json.dumps(told)

    def load() -> tuple[str, Workload]:
        with _only_one(hashlib.sha256(name.encode()).hexdigest()[:12] + f"-{seed}"):
            workload = load_workload(name, seed, data, weights=weights, task=task, metric=metric, compute=_compute(point))
        return _content(workload.model) + workload.code + workload.data.digest + _told(workload.input_ranges), workload

    key, workload = _workloads.get(identity, load)
    whole = _Subject(key, key, workload, workload.model, chip, workload.input_ranges)
    given = {key.removeprefix(COMPRESSION): value for key, value in point.items() if key.startswith(COMPRESSION)}
    if given and point.get("study.compute") is not None:
        given["compute"] = point["study.compute"]
    kept = {found[0]: float(value or 0) for name, value in point.items() if (found := layer_field(name)) and found[1] == "compression.keep"}
    if kept:
        return _cut(whole, kept, str(given.get("method", "least-squares")), int(given.get("seed") or 0))
    return _smaller(whole, given) if given else whole


def _cut(subject: _Subject, kept: dict[str, float], method: str, seed: int) -> _Subject:
    """The network of which layers keep a share of their filters; made once for all chips, and kept in the cache. Its layers have the
    learned ranges of the whole one's, where it has any."""
    told = [subject.key, sorted(kept.items()), method, seed, code_version()]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    example = subject.workload.calibration_inputs[:2]

    def make() -> tuple[str, nn.Module]:
        weights = cache_directory() / "compressed" / key / "weights.pt"
        with _only_one(key):
            if not weights.is_file():
                save_state(small_state(cut_to_shares(subject.model, subject.workload.data, kept, method, seed), example), weights)
        model = load_weights(subject.model, weights, example).eval()
        return _content(model) + subject.key, model

    content, model = _compressed.get(key, make)
    return replace(subject, key=content, model=model)


def _written(value: Value) -> str:
    """A value as --set writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _told(ranges: Mapping[str, tuple[float, float]]) -> str:
    """Learned ranges as a part of a key; empty without any."""
    return json.dumps({name: list(each) for name, each in sorted(ranges.items())}) if ranges else ""


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
    """The network compressed for the chip, which then has the bits that the compression chose; kept in the cache. Of the compression only
    its last network is of use here: what it is compared with is neither trained nor judged on chips."""
    targets = {name: float(given.pop(name) or 0) for name in TARGETS if name in given}
    fast = given.pop("quick", False)
    plan = replace(PLANS.get(subject.workload.name, Plan()), budgets=(), longer=False, most_on_chips=0, **given)  # type: ignore[arg-type]
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
        return replace(subject, key=_content(model) + subject.key + _told(learned), model=model, chip=subject.chip.with_changes(**chosen),
                       input_ranges=learned)  # fmt: skip

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
        converted = OnChip(subject.model, ideal, subject.workload.calibration_inputs, input_ranges=subject.input_ranges,
                           compute=_compute(point))  # fmt: skip
        if ideal.device.read_voltage is None:
            return converted, None
        factor = subject.chip.device.temperature_factor  # which ideal cells are without; exact over ideal wires
        return converted, {name: factor * joule for name, joule in read_energies(converted.model).items()}

    key = f"{subject.key}{ideal.model_dump_json()}{_compute(point)}{subject.chip.device.temperature_factor}"
    found: tuple[OnChip, dict[str, float] | None] = _converted.get(key, make)
    return found


def _compute(point: Mapping[str, Value]) -> str:
    """Where the point's chips compute."""
    return str(point.get("study.compute") or CPU)


def _score(subject: _Subject, point: dict[str, Value]) -> dict[str, Value]:
    data, metric, seed = subject.workload.data, subject.workload.data.metric, int(point["study.seed"] or 0)
    first, first_chip = (int(point.get(f"study.first_{name}") or 0) for name in ("image", "instance"))
    images = int(point["study.images"] or 0)
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(data.test_targets))[first : first + images])
    if not len(chosen):
        raise SweepError(f"study.first_image = {first}: there are no more than {len(data.test_targets)} test {data.samples}")
    inputs, targets = data.test_inputs[chosen], data.test_targets[chosen]
    condition = Condition(subject.chip.device, None, float(point["study.seconds"] or 0), point["study.correction"])  # type: ignore[arg-type]
    on_chip = _on_chip(subject, point)[0]
    varies = on_chip.varies(condition)
    count = int(point["study.instances"] or 0) if varies else 1
    images_told = [seed, first, len(targets)]
    described = [subject.key, subject.chip.model_dump_json(), first_chip, count, *images_told, condition.seconds, condition.correction,
                 _compute(point)]  # fmt: skip

    def measure() -> _Measured:
        seeds = range(seed + first_chip, seed + first_chip + count)
        tallies = [tally for part in on_chip.tallies(seeds, inputs, targets, condition, metric) for tally in part.values()]
        return _measured(tallies)

    def of_float() -> _Measured:
        return _measured([tally_of(subject.workload.model, inputs, targets, metric)])

    found: _Measured = _scores.get(json.dumps(described), measure)
    reference: _Measured = _scores.get(json.dumps([subject.whole, *images_told]), of_float)
    name, scores, own = metric.name, found.scores, subject.model is subject.workload.model
    float_score = reference.scores[0] if own else _scores.get(
        json.dumps([subject.key, *images_told]), lambda: tally_of(subject.model, inputs, targets, metric).value()
    )  # fmt: skip
    row: dict[str, Value] = {
        f"{name}_float": float_score, name: sum(scores) / count, f"{name}_smallest": min(scores), f"{name}_largest": max(scores),
        "images": len(targets),
    }  # fmt: skip
    return row | error_columns(metric, found.values, reference.values, varies, found.mean) if point.get("study.errors") else row


@dataclass(frozen=True)
class _Measured:
    """Scores of chip instances; what the metric is the mean of, (instances, samples), or of a metric that is none the scores,
    (instances, 1)."""

    scores: list[float]
    values: np.ndarray
    mean: bool


def _measured(tallies: Sequence[Tally]) -> _Measured:
    scores, values = [tally.value() for tally in tallies], [tally.values() for tally in tallies]
    whole = [each.numpy() for each in values if each is not None]
    mean = len(whole) == len(tallies)
    return _Measured(scores, np.stack(whole) if mean else np.array(scores)[:, None], mean)


def error_columns(metric: Metric, values: np.ndarray, reference: np.ndarray, varies: bool, mean: bool = True) -> dict[str, Value]:
    """How far the mean of `values` (chips, samples) may be from that of all chips and samples, and what is lost to `reference`, (1,
    samples) of the uncompressed network in float, with how far that may be off. mean: whether the metric is the mean over samples; of
    another both are (chips, 1) and (1, 1), and chips alone count. varies: whether chips differ. Missing: errors that these do not tell."""
    apart = metric is ACCURACY  # right or wrong
    row: dict[str, Value] = {}
    for end, each, two in (("", values, (0.0, 1.0)), ("_lost", metric.lost(reference, values), (-1.0, 1.0))):
        wide = np.repeat(each, 2, axis=1) if not mean else each  # samples that are alike add no error
        found = mean_error(wide, two if apart else None, varies)
        name = f"{metric.name}{end}"
        row |= {name: float(each.mean())} if end else {}
        row |= {f"{name}_error": found.error if math.isfinite(found.error) else None, f"{name}_freedom": found.freedom}
    return row


def _cost(subject: _Subject, network: Network, energies: dict[str, float] | None, point: dict[str, Value]) -> dict[str, Value]:
    requests, rate = int(point["study.requests"] or 0), float(point["study.rate"] or 0)
    batch, alone = (_ledger(subject, network, energies, point, f"{n}", lambda n=n: Arrivals.batch(n)) for n in (requests, 1))
    by_component = {f"energy_{name}_J": float(joule) / requests for name, joule in batch.energy.sum().items()}
    dynamic, throughput = float(batch.energy.drop(STATIC).to_numpy().sum()) / requests, batch.steady_throughput
    chip = subject.chip
    bands = {f"energy_{end}_J": ledger_at(batch, end).energy_per_request for end in ENDS}
    bands |= {f"area_{end}_m2": chip_at(chip, end).area for end in ENDS}
    more: dict[str, Value] = {}
    if point.get("study.poisson") is not None:
        more["latency_p99_s"] = _p99(subject, network, rate, throughput, point)
    if point.get("study.rewrite") is not None:
        more["lifetime_s"] = years_to_wear_out(chip.device, float(point["study.rewrite"] or 0)) * SECONDS_PER_YEAR
    return {
        "energy_J": batch.energy_per_request, "energy_on_chip_J": batch.on_chip_energy / requests,
        **bands, **by_component, "latency_s": float(alone.latency[0]),
        "throughput_per_s": throughput, "power_W": dynamic * rate + chip.static_power if rate <= throughput else None,
        "area_m2": chip.area, **more,
    }  # fmt: skip


def _ledger(
    subject: _Subject, network: Network, energies: dict[str, float] | None, point: Mapping[str, Value], arrivals: str,
    make: Callable[[], Arrivals],
) -> Ledger:  # fmt: skip
    """The simulation of these arrivals: events once for all cells, whose energy is put in. arrivals: what tells them apart."""
    events = _without_errors(subject.chip).model_dump(exclude={"name", "title", "description", "source", "device"})
    mapping = _mapping(point)
    key = f"{subject.key} {arrivals} {subject.chip.cell_bits} {subject.chip.read_time} {json.dumps(events)} {json.dumps(mapping)}"
    ledger: Ledger = _simulated.get(key, lambda: simulate(place(network, subject.chip, **mapping), make()))
    return replace(ledger, placement=replace(ledger.placement, chip=subject.chip), read_energy=energies)


def _mapping(point: Mapping[str, Value]) -> dict[str, Any]:
    """How layers are placed, as `xbar.hw.chip.placement.place` has it."""
    own = {found[0]: value for name, value in point.items() if (found := layer_field(name)) and found[1] == "mapping.copies"}
    copies = own or {"one": None, "balance": "balance"}[str(point.get("mapping.copies") or "balance")]
    return {"replication": copies, "sharing": point.get("mapping.sharing") or "as_needed"}


def _p99(subject: _Subject, network: Network, rate: float, throughput: float, point: Mapping[str, Value]) -> float | None:
    """The latency [s] that 99 % of a Poisson stream's requests stay below; none where the chip cannot serve so many."""
    if rate > throughput:
        return None
    requests, seed = int(point["study.poisson"] or 0), int(point["study.seed"] or 0)
    ledger = _ledger(subject, network, None, point, f"poisson {rate} {requests} {seed}", lambda: Arrivals.poisson(rate, requests, seed))
    return float(np.percentile(ledger.latency, 99))


def _footprint(subject: _Subject, network: Network, energies: dict[str, float] | None, point: dict[str, Value]) -> dict[str, Value]:
    rate = float(point["study.rate"] or 0)
    key = f"{subject.key} {rate} {energies is None} {_without_errors(subject.chip).model_dump_json()}"
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

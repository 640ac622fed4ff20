"""One network on one chip, judged: its score, time, energy and area, saved as a results folder."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar import hw, models, workloads
from xbar.hw.analog import analog_layers, keep_steps, read_energies, saturated_shares
from xbar.hw.array.counts import ActionCounts
from xbar.hw.bands import ledger_bands
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Sharing
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.buffers import buffer_demand
from xbar.hw.events.chips_ledger import ChipsLedger
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.simulator import simulate
from xbar.hw.events.vector_operation import VectorOperations
from xbar.hw.graph.network import Network
from xbar.hw.graph.trace import trace
from xbar.reports.metric import ShownMetric
from xbar.reports.results import Results, write_text
from xbar.reports.times import DAY, TIMES, time_text
from xbar.workloads.compute import CPU, told, torch_device
from xbar.workloads.data import samples_digest
from xbar.workloads.offered import STUDY_REQUESTS
from xbar.workloads.study import hardware_tables, on_chips, studies
from xbar.workloads.study.ahead import Timed
from xbar.workloads.study.baselines import BATCH, SIMULATED, baselines, integer_chip
from xbar.workloads.study.classes import class_tables
from xbar.workloads.study.computer import measure
from xbar.workloads.study.effects import SCALED, Assumed, analog_ideal, own_write_error, with_write_error
from xbar.workloads.study.evaluate import Condition, OnChip, mean_band
from xbar.workloads.study.predictions import prediction_table
from xbar.workloads.study.record import provenance_table, sources_table
from xbar.workloads.task import Metric
from xbar.workloads.training import score
from xbar.workloads.workload import DIGEST, Workload

TIMELINE_REQUESTS = 3  # requests whose stages the saved timeline shows
TIME_BINS = 2400
QUALITY_SAMPLES = 100
SATURATED = ", saturated"  # end of the key of a share that is no score


PARTS = ("sensitivity", "layers", "yield", "drift", "quality")


@dataclass(frozen=True)
class Study:
    """What to try: chip instances per point, programming sigmas [1] (or, for laws of a write error without a sigma,
    multiples of the device's own), ADC bits, test samples (images) per score, requests simulated in one batch; `seed` makes
    the chip instances and chooses the images. adc_instances: chip instances per ADC resolution, where they differ. chips: how many
    chips the network lies on, "auto" for as few as hold it.

    parts: what is studied besides. assumed: values where the chip is ideal; later: when drift is judged against the
    other non-idealities [s]; stuck_rates [1], wire_resistances [ohm a segment], yield_margin: loss with
    which a chip still counts as good, in accuracy or as a share of another metric [1]; times: after programming [s]. sharing: what
    layers share on the chip, as `xbar.hw.place` takes it. compute: where chips compute, "cpu" or "cuda"; placement, events and all else
    stay on the CPU.
    """

    instances: int = 10
    adc_instances: int = 3
    sigmas: tuple[float, ...] = (0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
    multiples: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
    adc_bits: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    images: int = 1000
    requests: int = STUDY_REQUESTS
    seed: int = 0
    parts: tuple[str, ...] = PARTS
    assumed: Assumed = field(default_factory=Assumed)
    later: float = DAY
    stuck_rates: tuple[float, ...] = (0.0, 0.001, 0.003, 0.01, 0.03)
    wire_resistances: tuple[float, ...] = (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)
    yield_margin: float = 0.01
    sharing: Sharing = "as_needed"
    times: tuple[float, ...] = tuple(TIMES.values())
    chips: on_chips.Chips = 1
    compute: str = CPU

    def quick(self) -> "Study":
        """The same in a fraction of the time: at most 3 instances, every other ADC resolution on one, and of the parts only the layers'
        quality."""
        return replace(self, instances=min(3, self.instances), adc_bits=self.adc_bits[::2], adc_instances=1, parts=("quality",))


class Points:
    """Scores measured so far, kept in a file after each few, so that an interrupted study goes on where it was.

    A file of another study, network, data or version is not used. Each point draws from generators of its own, so a
    study that was interrupted ends in the same numbers; a point is known by what its score depends on, so two
    parts of a study that need the same one measure it once.
    """

    def __init__(self, path: Path | None, identity: str):
        self.path, self.identity = path, identity
        self.known: dict[str, float] = {}
        self.timed, self.ahead = Timed(), set[str]()  # what measuring took, and what is still to be measured as far as planned
        if path is not None and path.is_file():
            try:
                kept = json.loads(path.read_text("utf-8"))
                self.known = kept["points"] if kept["identity"] == identity else {}
            except (ValueError, KeyError, TypeError):
                self.known = {}  # not ours: measured again and overwritten

    def get(self, keys: list[str], measure: Callable[[list[int]], Iterable[dict[int, float]]]) -> list[float]:
        """The scores of these keys; `measure` is given the places of those that are not known."""
        missing = [place for place, key in enumerate(keys) if key not in self.known]
        for found in self.timed.of(measure, missing) if missing else ():
            self.known |= {keys[place]: value for place, value in found.items()}
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_text(self.path, json.dumps({"identity": self.identity, "points": self.known}))
        return [self.known[key] for key in keys]

    def to_come(self) -> str:
        """What is still to be measured and about how long it takes, in words; empty where it is not known or nothing."""
        return self.timed.told(len(self.ahead - self.known.keys()))


class Planned(Points):
    """Points that a study will measure, noted in `ahead` instead."""

    def __init__(self, known: dict[str, float]):
        super().__init__(None, "")
        self.known = known

    def get(self, keys: list[str], measure: Callable[[list[int]], Iterable[dict[int, float]]]) -> list[float]:
        """Zeros; the keys of what is not known are noted."""
        self.ahead |= {key for key in keys if key not in self.known and not key.endswith(SATURATED)}  # these take far less
        return [0.0] * len(keys)


@dataclass
class Bench:
    """Judges chips with one network on one set of samples; converts only what is not known yet."""

    workload: Workload
    study: Study
    inputs: Tensor
    targets: Tensor
    points: Points
    step: Callable[[str], None]
    left_out: list[str] = field(default_factory=list)  # parts of the study that could say nothing, each in a line
    _converted: dict[str, OnChip] = field(default_factory=dict)

    def on_chip(self, chip: Chip) -> OnChip:
        """The network on that chip; the last two are kept."""
        key = chip.model_dump_json()
        if key not in self._converted:
            while len(self._converted) > 1:
                self._converted.pop(next(iter(self._converted)))
            self._converted[key] = OnChip(
                self.workload.model, chip, self.workload.calibration_inputs, self.study.seed, host=self.workload.host,
                input_ranges=self.workload.input_ranges, compute=self.study.compute,
            )  # fmt: skip
        return self._converted[key]

    def judge(
        self, chip: Chip, condition: Condition, text: str, most: int | None = None, keep_steps_of: Chip | None = None
    ) -> list[float]:  # fmt: skip
        """Scores of the study's chip instances (at most `most`), one where all instances are the same. keep_steps_of: a
        chip whose widths of a code the ADCs have."""
        device = condition.device or chip.device
        same = not chip.differs(device, condition.layers != ())
        count = 1 if same else min(self.study.instances, most or self.study.instances)
        seeds = range(self.study.seed, self.study.seed + count)
        whole = chip.model_copy(update={"device": device}).model_dump_json()
        described = f"{whole} {condition.layers} {condition.seconds} {condition.correction}{_described(keep_steps_of)}"
        name = hashlib.sha256(described.encode()).hexdigest()[:32]
        self.step("; ".join(filter(None, [f"{text}, {count} chip{'s' if count > 1 else ''}", self.points.to_come()])))

        def measure(places: list[int]) -> Iterator[dict[int, float]]:
            chosen = [seeds[place] for place in places]
            for found in self._with_steps(chip, keep_steps_of).scores(
                chosen, self.inputs, self.targets, condition, self.workload.data.metric
            ):
                yield {seed - self.study.seed: value for seed, value in found.items()}

        return self.points.get([f"{name}, seed {seed}" for seed in seeds], measure)

    def saturated(self, chip: Chip, network: Network, keep_steps_of: Chip | None = None) -> float:
        """Share of all conversions of calibration inputs that leave the codes; keep_steps_of as of `judge`."""
        described = f"{chip.model_dump_json()}{_described(keep_steps_of)}"
        name = f"{hashlib.sha256(described.encode()).hexdigest()[:32]}{SATURATED}"

        def measure(_: list[int]) -> Iterator[dict[int, float]]:
            model = self._with_steps(chip, keep_steps_of).model
            matrices = {name: layer.matrix for name, layer in analog_layers(model).items()}
            conversions = [matrix.channel.conversions_per_vector * network.layer(name).vectors for name, matrix in matrices.items()]
            yield {0: float(np.average([*saturated_shares(model).values()], weights=conversions))}

        return self.points.get([name], measure)[0]

    def _with_steps(self, chip: Chip, of: Chip | None) -> OnChip:
        """The network on that chip, its ADCs with their own widths of a code or with those of another chip."""
        if of is None:
            return self.on_chip(chip)
        w = self.workload
        kept = OnChip(w.model, chip, w.calibration_inputs, self.study.seed, host=w.host, input_ranges=w.input_ranges,
                      compute=self.study.compute)  # fmt: skip
        keep_steps(kept.model, self.on_chip(of).model)
        return kept


def _described(chip: Chip | None) -> str:
    return "" if chip is None else f" steps of {chip.model_dump_json()}"


def _identity(workload: Workload, study: Study) -> str:
    """What every point depends on, as one hash."""
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in workload.model.state_dict().values()))
    described = [_code(), workload.code, repr(workload.host), repr(sorted(workload.input_ranges.items())), workload.data.digest,
                 weights.hexdigest(), repr((study.seed, study.images, study.compute))]  # fmt: skip
    return hashlib.sha256("\n".join(described).encode()).hexdigest()


@cache
def _code() -> str:
    """The code that points rest on, as one hash: a kept point of other code is not used."""
    folders = (Path(package.__file__).parent for package in (hw, models, workloads) if package.__file__)
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def run(
    workload: Workload, chip: Chip, study: Study, step: Callable[[str], None] = lambda _: None, kept: Path | None = None
) -> Results:
    """The whole study of a workload on a chip; raises what `hw` raises.

    step is told what begins. With `kept`, scores are kept in that file as they are measured, and those that an
    interrupted run of the same study left there are not measured again; the caller removes it.
    """
    data, computed_on = workload.data, told(torch_device(study.compute))
    step("placing and simulating")
    network = trace(workload.model, workload.calibration_inputs, pack=True, host=workload.host)
    placement = on_chips.placed(network, chip, study.chips, study.sharing)
    chosen = torch.from_numpy(np.random.default_rng(study.seed).permutation(len(data.test_targets))[: study.images])
    inputs, targets = data.test_inputs[chosen], data.test_targets[chosen]
    bench = Bench(workload, study, inputs, targets, Points(kept, _identity(workload, study)), step)
    step("converting to the chip")
    converted = bench.on_chip(chip)
    energies = read_energies(converted.model) if chip.device.read_voltage is not None else None
    ledger, alone = (on_chips.served(placement, requests, energies) for requests in (study.requests, 1))
    described = bench.judge(chip, Condition(), "score as described")
    ideal = bench.judge(analog_ideal(chip), Condition(), "score with analog parts ideal")[0]
    cut = _cut(converted, study, inputs)
    layers = list(converted.layers)
    seeds = range(study.seed, study.seed + study.instances)
    quality = studies.quality(converted, seeds, inputs[: studies.quality_samples(data.tokens)])
    bench.points.ahead = _ahead(chip, study, bench, network, layers)
    step(bench.points.to_come() or "score as described: known from before")
    variation = pd.DataFrame(_vary_programming(chip, study, bench))
    adc = pd.DataFrame(_vary_adc(chip, study, bench, network))
    meta = _meta(workload, chip, study, network, ledger, alone)
    of_float = score(workload.model, inputs, targets, data.metric)
    alike = not chip.differs(chip.device)
    meta["study"]["computed_on"] = computed_on
    meta["steady"] = hardware_tables.steady_state(ledger)
    meta["metric"], meta["score"] = data.metric.told(), _scored(workload, described, of_float, len(targets), alike) | {"ideal": ideal} | cut
    meta["score"]["samples_digest"] = samples_digest(inputs, targets)[:DIGEST]
    parts = _parts(chip, study, bench, layers, quality, of_float, described)
    if isinstance(ledger, ChipsLedger):
        bench.left_out.append(on_chips.ONE_CHIP)
        of_chips = {"chips": ledger.table().reset_index(), "steady_power": hardware_tables.steady_power(ledger)}
    else:
        of_chips = {"bands": ledger_bands(ledger), "floorplan": _floorplan(ledger), **hardware_tables.tables(ledger),
                    "baselines": _baselines(ledger, energies, meta, bench)}  # fmt: skip
    meta["study"]["left_out"] = bench.left_out
    return Results(
        meta=meta, components=ledger.components(), layers=on_chips.layers(ledger), energy=ledger.energy,
        requests=ledger.requests_table(), power=ledger.power_over_time(TIME_BINS),
        adc_use=ledger.use_over_time("adc", TIME_BINS), timeline=_first_runs(ledger), variation=variation,
        adc_bits=adc, provenance=provenance_table(chip), sources=sources_table(chip),
        **of_chips,
        **class_tables(converted, workload, seeds, inputs, targets),
        **prediction_table(converted, lambda: bench.on_chip(analog_ideal(chip)), workload, seeds, inputs, targets),
        **parts,
        measured=_measured(workload, step),
    )  # fmt: skip


def _scored(workload: Workload, found: list[float], of_float: float, samples: int, alike: bool) -> dict[str, Any]:
    """The scores as described: in float, and of chip instances, as their mean with its 95 % band, of two or more, and the worst."""
    low, high = mean_band(found) if len(found) > 1 else (None, None)
    metric, data = workload.data.metric, workload.data
    if low is not None and high is not None and not metric.unit:  # Student's band does not know that shares end
        low, high = max(low, 0.0), min(high, 1.0)
    return {
        "float_all": workload.float_score, "test_samples": len(data.test_targets), "of": data.samples, "float": of_float,
        "samples": samples, "instances": len(found), "alike": alike, "chip": float(np.mean(found)), "chip_low": low, "chip_high": high,
        "chip_worst": metric.worst(found), "chip_best": metric.best(found), "by_instance": found,
    }  # fmt: skip


def _baselines(ledger: Ledger, energies: dict[str, float] | None, meta: dict[str, Any], bench: Bench) -> pd.DataFrame:
    """The same network on digital accelerators, each judged with integers of its own width; the same whatever the run simulates."""
    placement = ledger.placement
    few = ledger if ledger.requests == SIMULATED else simulate(placement, Arrivals.batch(SIMULATED), read_energy=energies)
    return baselines(
        placement.network, meta, few,
        lambda bits: bench.judge(integer_chip(bits), Condition(), f"integers of {bits} bits")[0],
    )  # fmt: skip


def _floorplan(ledger: Ledger) -> pd.DataFrame:
    """The chip's floor plan, and of each tile the layers that lie on it (those of most of its cores first)."""
    table = ledger.chip.floorplan.table()
    per_tile: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for layer in ledger.placement.copies:
        for core, share in ledger.placement.core_shares(layer).items():
            per_tile[core // ledger.chip.structure.cores_per_tile][layer] += share
    layers = [
        " ".join(sorted(per_tile[int(number)], key=lambda name: -per_tile[int(number)][name])) if kind == "tile" else ""
        for kind, number in zip(table["kind"], table["number"], strict=True)
    ]
    used = [
        sum(per_tile[int(number)].values()) / ledger.chip.structure.cores_per_tile if kind == "tile" else 0.0
        for kind, number in zip(table["kind"], table["number"], strict=True)
    ]
    return table.assign(layers=layers, used_share=used)


def _measured(workload: Workload, step: Callable[[str], None]) -> dict[str, Any]:
    step("timing this computer")
    return measure(workload.model, workload.data.test_inputs[:BATCH])


def _ahead(chip: Chip, study: Study, bench: Bench, network: Network, layers: list[str]) -> set[str]:
    """Keys of the points that the study will measure: all parts gone through with points that are noted and not measured."""
    planned = Planned(bench.points.known)
    noting = Bench(bench.workload, study, bench.inputs, bench.targets, planned, lambda _: None)
    for _ in (*_vary_programming(chip, study, noting), *_vary_adc(chip, study, noting, network)):
        pass
    _parts(chip, study, noting, layers, pd.DataFrame(), 0.0, [0.0])
    return planned.ahead


def _parts(
    chip: Chip, study: Study, bench: Bench, layers: list[str], quality: pd.DataFrame, of_float: float, described: list[float]
) -> dict[str, pd.DataFrame]:
    """The tables of the study's further parts; none of yield where no chip is good as it is described, which is noted instead."""
    tables, metric = {}, bench.workload.data.metric
    if "sensitivity" in study.parts:
        tables["sensitivity"] = studies.sensitivity(chip, of_float, study.assumed, study.later, bench.judge, metric)
    if "layers" in study.parts:
        tables["layer_sensitivity"] = studies.layer_sensitivity(chip, layers, study.assumed, bench.judge, metric)
    if "yield" in study.parts:
        ideal = chip.with_changes(wires=dict.fromkeys(("wordline", "bitline", "driver", "sense", "access"), 0.0))
        best = bench.judge(ideal, Condition(layers=()), "ideal cells and wires")[0]
        threshold = _threshold(metric, best, study.yield_margin)
        if metric.lost(threshold, metric.best(described)) > 1e-12:
            shown = ShownMetric.of({"metric": metric.told()})
            best_of = f"the best of {len(described)} has" if len(described) > 1 else "all have"
            bench.left_out.append(
                f"yield: no chip is good as described: {best_of} {shown.text(metric.best(described), 2)}, and a good one needs "
                f"{shown.text(threshold, 2)}"
            )
        else:
            points = studies.yield_points(
                chip, _amounts(chip, study), study.stuck_rates, study.wire_resistances, study.assumed, bench.judge
            )
            tables |= {"yield_points": points, "yields": studies.yields(points, threshold, metric)}
    if "drift" in study.parts:
        tables["drift"] = studies.drift(chip, study.times, bench.judge)
    if "quality" in study.parts:
        tables["layer_quality"] = quality
    return tables


def _threshold(metric: Metric, best: float, margin: float) -> float:
    """The score that a good chip has: `margin` worse than the best [1], of shares in points, of other metrics as a share of it."""
    lost = margin if not metric.unit else margin * abs(best)
    return best - lost if metric.better == "high" else best + lost


def _cut(converted: OnChip, study: Study, inputs: Tensor) -> dict[str, float]:
    """What was cut on the way, on the first chip instance and some samples: shares of cells truncated at 0 S, of cells
    stuck, of layer inputs beyond their calibrated range, and the largest share of saturated conversions of a layer."""
    converted.prepare([study.seed], Condition())
    matrices = [layer.matrix for layer in converted.layers.values()]
    for matrix in matrices:
        matrix.counts = ActionCounts()
    with torch.no_grad():
        converted.computed(inputs[:QUALITY_SAMPLES])
    cells = np.array([matrix.geometry.cells for matrix in matrices])
    inputs = sum(matrix.counts.inputs for matrix in matrices)
    return {
        "truncated_share": float(np.average([matrix.array.mean("truncated_share") for matrix in matrices], weights=cells)),
        "stuck_share": float(np.average([matrix.array.mean("stuck_share") for matrix in matrices], weights=cells)),
        "clipped_input_share": sum(matrix.counts.clipped_inputs for matrix in matrices) / inputs,
        "largest_saturated_share": max(layer.saturated_share for layer in converted.layers.values()),
    }


def _amounts(chip: Chip, study: Study) -> tuple[float, ...]:
    """Programming sigmas, or multiples of the device's own write error."""
    return study.multiples if chip.device.programming_model in SCALED else study.sigmas


def _vary_programming(chip: Chip, study: Study, bench: Bench) -> Iterator[dict[str, float]]:
    """Scores of chip instances at each programming error, all else as the chip's device."""
    for amount in _amounts(chip, study):
        condition = Condition(with_write_error(chip.device, amount))
        for instance, found in enumerate(bench.judge(chip, condition, f"programming error {amount:g}")):
            yield {"sigma": amount, "instance": instance, "score": found}


def _vary_adc(chip: Chip, study: Study, bench: Bench, network: Network) -> Iterator[dict[str, object]]:
    """Scores of a few chip instances with ADCs of other resolutions, the width of a code made for the bits and kept, all else
    as the chip describes it; with the share of conversions that leave the codes."""
    for bits in study.adc_bits:
        for way in studies.adc_ways(chip, bits):
            text = f"ADC of {bits} bits, width of a code {way.width}"
            found = bench.judge(way.chip, Condition(), text, study.adc_instances, way.keep_steps_of)
            saturated = bench.saturated(way.chip, network, way.keep_steps_of)
            for instance, each in enumerate(found):
                yield {"bits": bits, "width": way.width, "instance": instance, "score": each, "saturated_share": saturated}


def _meta(
    workload: Workload, chip: Chip, study: Study, network: Network, ledger: Ledger | ChipsLedger, alone: Ledger | ChipsLedger
) -> dict[str, Any]:
    found = ledger.summary() | on_chips.cells_in_use(ledger)
    summary = {name: float(value) if np.isfinite(value) else None for name, value in found.items()}
    return {
        "version": version("xbar"),
        "workload": {
            "name": workload.name, "title": workload.title, "data": workload.data.name,
            "operations": network.operations, "weights": sum(layer.weights for layer in network.layers),
            "tokens": workload.data.tokens, **workload.digests,
        },
        "chip": {
            "name": chip.name, "title": chip.title, "description": chip.description, "node_m": chip.technology.node,
            "overrides": {key: q.value for key, q in chip.provenance.items() if q.kind == "override"},
            "programming_model": chip.device.programming_model,
            "programming_scaled": chip.device.programming_model in SCALED,
            "programming_own": own_write_error(chip.device), "drifts": chip.device.drifts,
            "ideal_cells": not chip.device.draws and not chip.component.crossbar.cell_error.sigma,
            "wires": None if chip.wires.ideal else [chip.wires.wordline, chip.wires.bitline],
            "iv": chip.device.iv, "read_noise": _read_noise(chip),
            "read_noise_model": chip.device.read_noise_model, "has_read_noise": chip.device.has_read_noise,
            "read_noise_sigma": chip.device.read_noise_sigma, "adc_bits": chip.component.adc.bits,
            "adc_range": chip.component.adc.range, "adc_law": chip.component.adc.law,
            "wordlines": chip.structure.wordlines, "bitlines": chip.structure.bitlines,
            "crossbars_per_core": chip.structure.crossbars_per_core, "cores_per_tile": chip.structure.cores_per_tile,
            "weight_bits": chip.weights.bits, "input_bits": chip.inputs.bits, "cell_bits": chip.cell_bits, "scheme": chip.weights.scheme,
            "peak_power_W": chip.peak_power, "peak_operations_per_s": chip.peak_operations_per_second,
            "array_read_energy": "the chip's average read, in proportion to the cells in use"
            if on_chips.ledgers(ledger)[0].read_energy is None
            else "V² G t of the cells' own conductances and inputs",
        },
        "study": {
            "timeline_requests": min(TIMELINE_REQUESTS, study.requests),
            "yield_margin": study.yield_margin, "later": time_text(study.later),
            "quality_samples": min(study.images, studies.quality_samples(workload.data.tokens)),
            "quality_instances": min(study.instances, studies.QUALITY_INSTANCES),
            "seed": study.seed, "instances": study.instances, "adc_instances": min(study.instances, study.adc_instances),
            "images": study.images, "requests": study.requests,
        },
        "summary": summary, **on_chips.told(ledger),
        "busiest": {"unit": ledger.busiest_unit[0], "link": ledger.busiest_link[0]},
        "adc_share_in_use": float(np.mean([_adc_share_in_use(each) for each in on_chips.ledgers(ledger)])),
        "buffers": {
            "fullest_bits": max(float(buffer_demand(each)["peak_bits"].max()) for each in on_chips.ledgers(ledger)),
            "size_bits": chip.timing.buffer_size,
        },
        "single_request": {
            "latency_s": float(alone.latency[0]), "energy_J": alone.total_energy,
            "dynamic_energy_J": alone.total_energy - alone.static_energy, "on_chip_energy_J": alone.on_chip_energy,
        },
    }  # fmt: skip


def _read_noise(chip: Chip) -> str:
    """The device's read noise in a few words, or nothing."""
    device = chip.device
    if device.read_noise_sigma:
        return f"read noise {100 * device.read_noise_sigma:.3g}\u00a0% per read"
    return ("1/f read noise" if device.read_noise_q0 else "thermal read noise") if device.has_read_noise else ""


def _adc_share_in_use(ledger: Ledger) -> float:
    """Share of the chip's ADCs that are wired to crossbars of the network."""
    chip, placement = ledger.chip, ledger.placement
    operations = VectorOperations(placement, off_chip_io=True)
    wired = {(x.core, operations.adc_of(x)) for crossbars in operations.crossbars.values() for x in crossbars}
    design = chip.array_design
    return len(wired) * design.adc_units / (chip.cores * design.adcs_per_core)


def _first_runs(ledger: Ledger | ChipsLedger) -> pd.DataFrame:
    """Stages that ran until the first few requests were done."""
    until = np.sort(ledger.requests_table()["finish_s"])[:TIMELINE_REQUESTS][-1]
    return ledger.timeline_until(until)

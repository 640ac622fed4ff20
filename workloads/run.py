"""One network on one chip, judged: accuracy, time, energy and area, saved as a results folder."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hw.analog import analog_layers, convert, program, read_energies
from hw.buffers import buffer_demand
from hw.chip import Chip
from hw.crossbar import ActionCounts
from hw.device import Device
from hw.ledger import Ledger
from hw.network import Network, trace
from hw.placement import place
from hw.simulator import Arrivals, simulate
from hw.vector_operation import VectorOperations
from reports.results import Results, write_text
from workloads.training import accuracy
from workloads.workload import Workload

TIMELINE_REQUESTS = 3  # requests whose stages the saved timeline shows
TIME_BINS = 2400
QUALITY_IMAGES = 100
ADC_INSTANCES = 3  # chip instances per ADC resolution, where instances differ


@dataclass(frozen=True)
class Study:
    """What to try: chip instances per point, programming sigmas [1], ADC bits, test images per accuracy, requests
    simulated in one batch; `seed` makes the chip instances and chooses the images."""

    instances: int = 10
    sigmas: tuple[float, ...] = (0.0, 0.02, 0.05, 0.10, 0.15, 0.20)
    adc_bits: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    images: int = 1000
    requests: int = 50
    seed: int = 0


class Points:
    """Accuracies measured so far, kept in a file after each, so that an interrupted study goes on where it was.

    A file of another chip, study, network, data or version is not used. Each point draws from generators of its
    own, so a study that was interrupted ends in the same numbers.
    """

    def __init__(self, path: Path | None, identity: str):
        self.path, self.identity = path, identity
        self.known: dict[str, float] = {}
        if path is not None and path.is_file():
            try:
                kept = json.loads(path.read_text("utf-8"))
                self.known = kept["points"] if kept["identity"] == identity else {}
            except (ValueError, KeyError, TypeError):
                self.known = {}  # not ours: measured again and overwritten

    def get(self, key: str, measure: Callable[[], float]) -> float:
        """The accuracy of that key, measured now unless it is known."""
        if key not in self.known:
            self.known[key] = measure()
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_text(self.path, json.dumps({"identity": self.identity, "points": self.known}))
        return self.known[key]


def _identity(workload: Workload, chip: Chip, study: Study) -> str:
    """What a point depends on, as one hash."""
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in workload.model.state_dict().values()))
    described = [version("xbar"), workload.data.digest, weights.hexdigest(), chip.model_dump_json(), repr(study)]
    return hashlib.sha256("\n".join(described).encode()).hexdigest()


def run(
    workload: Workload, chip: Chip, study: Study, step: Callable[[str], None] = lambda _: None, kept: Path | None = None
) -> Results:
    """The whole study of a workload on a chip; raises what `hw` raises.

    step is told what begins. With `kept`, accuracies are kept in that file as they are measured, and those that an
    interrupted run of the same study left there are not measured again; the caller removes it.
    """
    data = workload.data
    step("placing and simulating")
    network = trace(workload.model, workload.calibration_images)
    placement = place(network, chip)
    step("converting to the chip")
    converted = convert(workload.model, chip, workload.calibration_images, study.seed)
    energies = read_energies(converted) if chip.device.read_voltage is not None else None
    ledger = simulate(placement, Arrivals.batch(study.requests), read_energy=energies)
    alone = simulate(placement, Arrivals.batch(1), read_energy=energies)
    chosen = torch.from_numpy(np.random.default_rng(study.seed).permutation(len(data.test_labels))[: study.images])
    images, labels = data.test_images[chosen], data.test_labels[chosen]
    step("accuracy as described")
    points = Points(kept, _identity(workload, chip, study))

    def judge(model: nn.Module, seed: int, device: Device, key: str) -> float:
        """Accuracy of one chip instance."""

        def measure() -> float:
            program(model, seed, device)
            return accuracy(model, images, labels)

        return points.get(f"{key}, seed {seed}", measure)

    described = pd.Series(
        [judge(converted, seed, chip.device, "as described") for seed in _seeds(chip.device, study.instances, study)]
    )
    quality = _quality(converted, chip, study, images)
    step("accuracy against programming variation")
    variation = pd.DataFrame(_vary_programming(converted, chip, study, judge, step))
    step("accuracy against ADC bits")
    adc = pd.DataFrame(_vary_adc(workload, chip, study, judge, step))
    meta = _meta(workload, chip, study, network, ledger, alone)
    meta["accuracy"] = {
        "float_all_test_images": workload.float_accuracy, "test_images": len(data.test_labels),
        "float": accuracy(workload.model, images, labels), "images": len(labels), "instances": len(described),
        "chip": float(described.median()), "chip_smallest": float(described.min()), "chip_largest": float(described.max()),
    } | quality  # fmt: skip
    return Results(
        meta=meta, components=ledger.components(), layers=ledger.layers(), energy=ledger.energy,
        requests=ledger.requests_table(), power=ledger.power_over_time(TIME_BINS),
        adc_use=ledger.use_over_time("adc", TIME_BINS), timeline=_first_runs(ledger), variation=variation,
        adc_bits=adc, provenance=_provenance(chip), sources=_sources(chip),
    )  # fmt: skip


def _quality(converted: nn.Module, chip: Chip, study: Study, images: Tensor) -> dict[str, float]:
    """What was cut on the way, on the first chip instance and some images: shares of cells truncated at 0 S, of cells
    stuck, of layer inputs beyond their calibrated range, and the largest share of saturated conversions of a layer."""
    program(converted, study.seed, chip.device)
    matrices = [layer.matrix for layer in analog_layers(converted).values()]
    for matrix in matrices:
        matrix.counts = ActionCounts()
    with torch.no_grad():
        converted(images[:QUALITY_IMAGES])
    cells = np.array([matrix.mapped.geometry.cells for matrix in matrices])
    inputs = sum(matrix.counts.inputs for matrix in matrices)
    return {
        "truncated_share": float(np.average([matrix.programmed_mean("truncated_share") for matrix in matrices], weights=cells)),
        "stuck_share": float(np.average([matrix.programmed_mean("stuck_share") for matrix in matrices], weights=cells)),
        "clipped_input_share": sum(matrix.counts.clipped_inputs for matrix in matrices) / inputs,
        "largest_saturated_share": max(layer.saturated_share for layer in analog_layers(converted).values()),
    }


Judge = Callable[[nn.Module, int, Device, str], float]


def _seeds(device: Device, instances: int, study: Study) -> range:
    """Seeds of the chip instances to judge; one where every instance is the same."""
    return range(study.seed, study.seed + (1 if device.is_ideal else instances))


def _vary_programming(
    converted: nn.Module, chip: Chip, study: Study, judge: Judge, step: Callable[[str], None]
) -> Iterator[dict[str, float]]:
    """Accuracy of chip instances at each programming sigma, all else as the chip's device."""
    for sigma in study.sigmas:
        device = chip.device.with_programming_sigma(sigma)
        for instance, seed in enumerate(_seeds(device, study.instances, study)):
            step(f"programming sigma {sigma:.0%}, chip instance {instance + 1} of {study.instances}")
            yield {"sigma": sigma, "instance": instance, "accuracy": judge(converted, seed, device, f"sigma {sigma}")}


def _vary_adc(
    workload: Workload, chip: Chip, study: Study, judge: Judge, step: Callable[[str], None]
) -> Iterator[dict[str, float]]:
    """Accuracy of a few chip instances with ADCs of other resolutions, all else as the chip describes it."""
    for bits in study.adc_bits:
        step(f"ADC of {bits} bits")
        changed = chip.with_changes(component={"adc": {"bits": bits}})
        converted = convert(workload.model, changed, workload.calibration_images, study.seed)
        for instance, seed in enumerate(_seeds(chip.device, min(ADC_INSTANCES, study.instances), study)):
            yield {
                "bits": bits,
                "instance": instance,
                "accuracy": judge(converted, seed, chip.device, f"ADC bits {bits}"),
            }


def _meta(
    workload: Workload, chip: Chip, study: Study, network: Network, ledger: Ledger, alone: Ledger
) -> dict[str, Any]:
    summary = {name: float(value) if np.isfinite(value) else None for name, value in ledger.summary().items()}
    return {
        "version": version("xbar"),
        "workload": {
            "name": workload.name, "title": workload.title, "data": workload.data.name,
            "operations": network.operations, "weights": sum(layer.weights for layer in network.layers),
        },
        "chip": {
            "name": chip.name, "title": chip.title, "description": chip.description,
            "overrides": {key: q.value for key, q in chip.provenance.items() if q.kind == "override"},
            "programming_model": chip.device.programming_model,
            "programming_sigma": chip.device.programming_sigma,
            "read_noise_model": chip.device.read_noise_model, "has_read_noise": chip.device.has_read_noise,
            "read_noise_sigma": chip.device.read_noise_sigma, "adc_bits": chip.component.adc.bits,
            "adc_range": chip.component.adc.range, "weight_bits": chip.weights.bits,
            "input_bits": chip.inputs.bits, "cell_bits": chip.cell_bits, "scheme": chip.weights.scheme,
            "peak_power_W": chip.peak_power, "peak_operations_per_s": chip.peak_operations_per_second,
            "array_read_energy": "published figure per read" if ledger.read_energy is None
            else "V² G t of the cells' own conductances and inputs",
        },
        "study": {
            "timeline_requests": min(TIMELINE_REQUESTS, study.requests),
            "seed": study.seed, "instances": study.instances, "images": study.images, "requests": study.requests,
        },
        "summary": summary,
        "adc_share_in_use": _adc_share_in_use(ledger),
        "buffers": {"fullest_bits": float(buffer_demand(ledger)["peak_bits"].max()), "size_bits": chip.timing.buffer_size},
        "single_request": {
            "latency_s": float(alone.latency[0]), "energy_J": alone.total_energy,
            "dynamic_energy_J": alone.total_energy - alone.static_energy,
        },
    }  # fmt: skip


def _adc_share_in_use(ledger: Ledger) -> float:
    """Share of the chip's ADCs that are wired to crossbars of the network."""
    chip, placement = ledger.chip, ledger.placement
    operations = VectorOperations(placement, off_chip_io=True)
    wired = {(x.core, operations.adc_of(x)) for crossbars in operations.crossbars.values() for x in crossbars}
    side_by_side = max(1, chip.component.adc.units // chip.structure.crossbars_per_core)
    return len(wired) * side_by_side / (chip.cores * chip.component.adc.units)


def _first_runs(ledger: Ledger) -> pd.DataFrame:
    """Stages that ran until the first few requests were done."""
    until = np.sort(ledger.requests_table()["finish_s"])[:TIMELINE_REQUESTS][-1]
    timeline = ledger.timeline
    return timeline[timeline["start_s"] < until].reset_index(drop=True)


def _provenance(chip: Chip) -> pd.DataFrame:
    rows = [
        {"key": key, "value": q.value, "unit": q.unit, "kind": q.kind, "source": q.source or "", "why": q.why or ""}
        for key, q in chip.provenance.items()
    ]
    return pd.DataFrame(rows)


def _sources(chip: Chip) -> pd.DataFrame:
    rows = {name: {"cite": source.cite, "read": source.read} for name, source in chip.source.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("source")

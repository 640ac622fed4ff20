"""What the same network takes on digital accelerators, beside the chip: one table."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from xbar.hw.chip.description import Chip
from xbar.hw.chip.files import load_chip
from xbar.hw.digital import Accelerator, accelerator_names, estimate, load_accelerator, products_of
from xbar.hw.events.ledger import FEMTOSECOND, Ledger
from xbar.hw.graph.network import Network
from xbar.workloads.study import hardware_tables
from xbar.workloads.study.effects import analog_ideal


def integer_chip(bits: int) -> Chip:
    """A chip without any analog error whose weights and inputs are integers of `bits` bits, symmetric about 0: what a
    digital accelerator of that width computes, products and sums exact, each layer's ranges calibrated as on a chip."""
    return analog_ideal(load_chip("isaac")).with_changes(weights={"bits": bits}, inputs={"bits": bits})


BATCH = 50  # requests of every machine's batch, whatever the run simulates
SIMULATED = 8  # requests from which the chip's steady state is told: a pipeline's does not depend on how many follow


def baselines(network: Network, meta: Mapping[str, Any], few: Ledger, judge: Callable[[int], float]) -> pd.DataFrame:
    """The chip's row, then one an accelerator, with times and energies of one request alone and of batches of BATCH, one after the
    other; SI.

    meta: of the chip's run, as `xbar.workloads.study.run` makes it. few: SIMULATED requests on it; of the chip in batches, requests per
    second are those between the results of their second half, and the energy of one is its dynamic energy and what leaks between two
    results. judge: the score with integers of that many bits. `assumed` tells
    what of an accelerator was assumed or fitted, `source` who published it and how that was read.
    """
    accelerators = [load_accelerator(name) for name in accelerator_names()]
    widths = sorted({accelerator.technology.word for accelerator in accelerators})
    scores = {bits: judge(bits) for bits in widths}
    products = products_of(network)
    rows = [_of_chip(meta, few)]
    for accelerator in accelerators:
        alone, many = (estimate(products, accelerator, count) for count in (1, BATCH))
        technology, power = accelerator.technology, accelerator.power
        rows.append({
            "name": accelerator.name, "title": accelerator.title, "kind": "digital", "description": accelerator.description,
            "node_m": technology.node, "weight_bits": technology.word, "input_bits": technology.word,
            "weights_from": "DRAM, its power left out", "area_m2": technology.area,
            "peak_operations_per_s": accelerator.peak_operations_per_second, "batch": BATCH,
            "latency_s": alone.time, "throughput_per_s": many.throughput, "energy_alone_J": alone.energy,
            "energy_per_request_J": many.energy_per_sample, "operations_per_J": many.operations / many.energy,
            "utilisation": many.utilisation, "score": scores[technology.word],
            "busy_power_W": power.busy, "idle_power_W": power.idle,
            "source": "; ".join(f"{each.cite} Read: {each.read}" for each in accelerator.source.values()),
            "assumed": _assumed(accelerator),
        })  # fmt: skip
    return pd.DataFrame(rows)


def accelerator_table() -> pd.DataFrame:
    """One row a digital accelerator, in units for people."""
    rows = {}
    for accelerator in map(load_accelerator, accelerator_names()):
        a, technology, peak = accelerator.array, accelerator.technology, accelerator.peak_operations_per_second
        rows[accelerator.name] = {
            "array": f"{a.rows}x{a.columns}", "weights, inputs": f"{technology.word} bit", "node nm": f"{technology.node * 1e9:.0f}",
            "busy power W": f"{accelerator.power.busy:.3f}", "area mm²": f"{technology.area * 1e6:.3f}",
            "peak TOPS": f"{peak * 1e-12:.3f}", "TOPS/W": f"{peak / accelerator.power.busy * 1e-12:.3f}",
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("digital")


def _of_chip(meta: Mapping[str, Any], few: Ledger) -> dict[str, Any]:
    """The chip's own row, from what its run found. Energies and powers are those on chip: the
    accelerators' are without their DRAM and hosts, too."""
    chip, s, alone = meta["chip"], meta["summary"], meta["single_request"]
    finish = np.sort(few.finish_fs)[-(few.requests // 2 + 1) :]
    rate = (len(finish) - 1) / (float(finish[-1] - finish[0]) * FEMTOSECOND) if finish[-1] > finish[0] else hardware_tables.rate(few)
    energy = hardware_tables.steady_energy(few, links=False, at=rate)
    links = hardware_tables.steady_energy(few, links=True, at=rate) - energy
    return {
        "name": chip["name"], "title": chip["title"], "kind": "chip", "description": chip["description"],
        "node_m": chip["node_m"],
        "weight_bits": chip["weight_bits"], "input_bits": chip["input_bits"], "weights_from": "its cells, where they stay",
        "area_m2": s["area_m2"], "peak_operations_per_s": chip["peak_operations_per_s"], "batch": BATCH,
        "latency_s": alone["latency_s"], "throughput_per_s": rate, "energy_alone_J": alone["on_chip_energy_J"],
        "energy_per_request_J": energy, "operations_per_J": few.placement.network.chip_operations / energy if energy else 0.0,
        "utilisation": meta["workload"]["operations"] * rate / chip["peak_operations_per_s"],
        "score": meta["score"]["chip"], "link_energy_per_request_J": links,
        "busy_power_W": energy * rate, "idle_power_W": s["leakage_power_W"],
    }  # fmt: skip


def _assumed(accelerator: Accelerator) -> str:
    """Numbers of an accelerator that were not published as they stand."""
    return "; ".join(
        f"{key} = {quantity.value:g}{'' if quantity.unit == '1' else ' ' + quantity.unit} ({quantity.kind}): {quantity.why}"
        for key, quantity in accelerator.provenance.items()
        if quantity.kind in ("assumed", "fitted", "derived")
    )

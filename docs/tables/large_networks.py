"""Networks of ImageNet's size on one, several and too few chips: the tables of docs/large-networks.md, and the measurements behind them.

    python docs/tables/large_networks.py                                # measures what the files lack, and writes the tables
    python docs/tables/large_networks.py --only "vgg16 hermes turns"    # measures this one anew, in this process

Needs the extra `zoo` (torchvision, transformers). Nothing is downloaded: weights are drawn. A case is a row of one of three files, kept as
soon as it is measured, and has a process of its own, whose processor time and peak of memory are part of the row:

- large_networks.csv, "NETWORK CHIP WAY": traced, placed and simulated. Ways: `one`, a single chip with as many tiles as the network
  needs, the preset's at least; `several`, as few chips of the preset as it needs; `turns`, one chip of the preset, rewritten for each
  batch. All serve a batch of BATCH requests. Where values come to wait for room without end, buffers are doubled until they hold a whole
  request on every tile; tables of which no chip of the preset holds a column are left to a host, and the costs of writing that a preset
  does not state are those that `xbar place` assumes;
- large_networks_converted.csv, "NETWORK CHIP converted": weights on simulated cells, and one image through them;
- large_networks_written.csv, "NETWORK CELLS written": the same network in turns on chips of as many weights, of other cells.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch
from networks import NETWORKS as LIBRARY
from networks import Entry, Scores, memory, rows_of, table_of, write
from torch import nn

from xbar.hw import Arrivals, Chip, Network, convert, load_chip, place_chips, serve_in_turns, simulate_chips, trace
from xbar.hw.analog import analog_layers
from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.display import lasting, si
from xbar.hw.errors import BufferCapacityError, CapacityError
from xbar.workloads.onnx_file import let_torchvision_load
from xbar.workloads.study.ways import with_writes
from xbar.workloads.workload import untrained

HERE = Path(__file__).parent
PAGE = HERE.parent / "large-networks.md"
BATCH, WRITTEN_BATCH = 4, 8  # requests; in turns on other cells
LARGEST_BUFFER = 2**28  # [bit] a tile
TOKENS = 128
WAYS = ("one", "several", "turns")


def _gpt2(vocabulary: int) -> nn.Module:
    let_torchvision_load()  # transformers imports it
    from transformers import GPT2Config, GPT2LMHeadModel

    return Scores(GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, use_cache=False, bos_token_id=0, eos_token_id=0)))


def _vgg16(_: int) -> nn.Module:
    let_torchvision_load()
    from torchvision import models

    model: nn.Module = models.vgg16(weights=None)
    return model


NETWORKS = {
    "vgg16_cifar10": Entry(lambda _: untrained("vgg16")[0], size=32),
    "resnet50": LIBRARY["resnet50"], "vgg16": Entry(_vgg16), "vit_b_16": LIBRARY["vit_b_16"], "mobilenet_v2": LIBRARY["mobilenet_v2"],
    "gpt2": Entry(_gpt2, "tokens known", 50257, 4096),
}  # fmt: skip
PRESETS = {"isaac": ("isaac", "isaac-vector"), "hermes": ("hermes", "hermes")}  # of networks without and with products of activations
HOSTED = {("gpt2", "hermes"): ("model.transformer.wte",)}  # a column of this table takes 197 crossbars, of which a chip has 64
CELLS: dict[str, tuple[str, dict[str, str], int | None]] = {  # preset, its changes, cells of a wordline written together (None: all)
    "static_memory": ("wang2022", {"structure.tiles": "128"}, None),
    "oxide": ("neurram", {"structure.tiles": "41"}, 1),
    "oxide_as_puma": ("neurram", {"structure.tiles": "41", "device.write_energy": "41.3pJ"}, 1),  # 676 nJ an array of 128 x 128 cells
    "phase_change": ("hermes", {"structure.tiles": "16"}, 1),
}  # each holds a million weights


@dataclass(frozen=True)
class Row:
    """One case of a network on chips. Times in s, energies of a request in J, bits of a request over off-chip links; written_s: of a batch,
    until all of each turn is written; years until the cells written most often are worn; processor seconds of tracing, placing and
    simulating, simulations that wanted larger buffers among them, and the most memory of the process [byte]. hosted: layers that a host
    computes."""

    case: str
    measured: str
    preset: str
    hosted: str
    chips: int
    turns: int
    tiles: int
    buffer_bits: int
    crossbars: int
    area_m2: float
    latency_s: float
    throughput: float
    energy_J: float
    on_chip_J: float
    write_J: float
    off_chip_bits: float
    written_s: float
    years: float
    trace_s: float
    place_s: float
    simulate_s: float
    memory: int


@dataclass(frozen=True)
class Converted:
    """One network on simulated cells: weights, cells, processor seconds of converting it and of one image, the most memory of the process
    [byte] when it was converted and when the image was done."""

    case: str
    measured: str
    weights: int
    cells: int
    programming_sigma: float
    convert_s: float
    run_s: float
    convert_memory: int
    memory: int


@dataclass(frozen=True)
class Written:
    """One kind of cells in turns: as `Row`. write_energy [J] and write_time [s] of a pulse, pulses that a cell endures, cells of a wordline
    written together; span_s of a batch."""

    case: str
    measured: str
    preset: str
    arrays: int
    area_m2: float
    turns: int
    write_energy: float
    write_time: float
    endurance: float
    cells_at_once: int
    written_s: float
    span_s: float
    write_J: float
    energy_J: float
    throughput: float
    years: float


# ---- networks on chips


def example(name: str) -> torch.Tensor:
    """One sample of the network's size."""
    entry = NETWORKS[name]
    if entry.unit == "tokens known":
        return torch.randint(entry.size, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    return entry.inputs(1)


def traced(name: str, host: Sequence[str] = ()) -> Network:
    """The network, of drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETWORKS[name].build(NETWORKS[name].size).eval()
    return trace(model, example(name), host=host)


def enlarged(network: Network, chip: Chip) -> Chip:
    """The chip with as many tiles as hold the network: of layers that come in pieces fewer, the larger it is."""
    each = chip.structure.cores_per_tile * chip.structure.crossbars_per_core
    while True:
        try:
            place_chips(network, chip, 1)
        except CapacityError as error:
            chip = chip.with_changes(structure={"tiles": max(chip.structure.tiles + 1, ceil(error.needed / each))})
        else:
            return chip


def with_room(chip: Chip, serve: Callable[[Chip], Any]) -> Any:
    """What `serve` gives of the chip, or, where it locks up, of one with buffers so many doublings larger that it cannot. Raises
    BufferCapacityError beyond LARGEST_BUFFER."""
    while True:
        try:
            return serve(chip)
        except BufferCapacityError as error:
            size = 2 * chip.timing.buffer_size
            while size < max(error.needed, error.enough):
                size *= 2
            if size > LARGEST_BUFFER:
                raise
            chip = chip.with_changes(timing={"buffer_size": size})


def served(network: Network, chip: Chip, way: str) -> tuple[ChipsPlacement, dict[str, float]]:
    """The placement, and what a request takes, with processor seconds of placing."""
    began = time.process_time()
    placed = place_chips(network, chip, 1 if way == "one" else None)
    place_s = time.process_time() - began
    if way == "turns" and len(placed.chips) > 1:
        found = serve_in_turns(placed, BATCH)
        bits = sum(float(each.actions["link"].sum()) for each in found.ledgers) / BATCH + sum(found.weight_bits) / BATCH
        told = {
            "area_m2": chip.area, "latency_s": found.latency, "throughput": found.throughput, "energy_J": found.energy,
            "on_chip_J": found.energy - found.link_energy - found.memory_energy, "write_J": found.write_energy, "off_chip_bits": bits,
            "written_s": found.write_time, "years": found.years_to_wear_out,
        }  # fmt: skip
    else:
        ledger = simulate_chips(placed, Arrivals.batch(BATCH))
        bits = sum(float(each.actions["link"].sum()) for each in ledger.chips) / BATCH
        told = {
            "area_m2": placed.area, "latency_s": float(ledger.latency.mean()), "throughput": ledger.throughput,
            "energy_J": ledger.energy_per_request, "on_chip_J": ledger.on_chip_energy / BATCH, "write_J": 0.0, "off_chip_bits": bits,
            "written_s": 0.0, "years": inf,
        }  # fmt: skip
    return placed, told | {"place_s": place_s}


def measured(case: str) -> Row:
    """All of one network on chips, in this process."""
    name, chip_name, way = case.split()
    hosted = HOSTED.get((name, chip_name), ())
    began = time.process_time()
    network = traced(name, hosted)
    trace_s = time.process_time() - began
    preset = PRESETS[chip_name][bool(network.digital_operations)]
    chip = with_writes(load_chip(preset))
    if way == "one":
        chip = enlarged(network, chip)
    began = time.process_time()
    placed, told = with_room(chip, lambda roomy: served(network, roomy, way))
    simulate_s = time.process_time() - began - told["place_s"]
    count, last = len(placed.chips), placed.chips[0].chip
    return Row(
        case, date.today().isoformat(), preset, " ".join(hosted), 1 if way == "turns" else count, count if way == "turns" else 1,
        last.structure.tiles, last.timing.buffer_size, placed.crossbars_used, trace_s=trace_s, simulate_s=simulate_s,
        memory=memory(), **told,
    )  # fmt: skip


def alike(case: str) -> Row | None:
    """The row of a case where the network's row of another way says that one chip of the preset holds it, which all ways come to."""
    name, chip, _ = case.split()
    rows = TABLES[0].rows
    for other in (rows.get(f"{name} {chip} {way}") for way in WAYS):
        if other is not None and other.chips == other.turns == 1 and other.tiles == load_chip(other.preset).structure.tiles:
            return replace(other, case=case)
    return None


COLUMNS = ("network", "on", "crossbars", "buffer a tile", "area", "latency", "requests/s", "energy, of it on chip, writing",
           "over links a request", "worn out after", "simulated in, with")  # fmt: skip


def _line(row: Row) -> str:
    name, _, way = row.case.split()
    its_own = load_chip(row.preset).structure.tiles
    on = {
        "one": f"one {row.preset}" + (f" of {row.tiles:,} tiles in place of {its_own}" if row.tiles > its_own else ""),
        "several": f"{row.chips} {row.preset}", "turns": f"one {row.preset}, {row.turns} turn{'' if row.turns == 1 else 's'}",
    }[way]  # fmt: skip
    cells = (
        name + ("*" if row.hosted else ""), on, f"{row.crossbars:,}", _buffer(row), _area(row.area_m2), si(row.latency_s, "s"),
        si(row.throughput), f"{si(row.energy_J, 'J')}, {row.on_chip_J / row.energy_J:.1%}, {row.write_J / row.energy_J:.1%}",
        si(row.off_chip_bits / 8, "B"),
        "-" if row.years == inf else lasting(row.years),
        f"{row.trace_s + row.place_s + row.simulate_s:.0f} s, {row.memory / 2**30:.1f} GiB",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _buffer(row: Row) -> str:
    """The size, and how many times the preset's where it is not that."""
    times = row.buffer_bits // load_chip(row.preset).timing.buffer_size
    return f"{row.buffer_bits / 8192:,.0f} KB" + (f", {times} x" if times > 1 else "")


def _area(area: float) -> str:
    return f"{1e6 * area:,.0f} mm²" if area >= 1e-4 else si(area, "m²")


# ---- on simulated cells


def converted(case: str) -> Converted:
    """A network converted to a chip with its programming error, and one image through it, in this process."""
    name, preset, _ = case.split()
    entry, chip, clock = NETWORKS[name], load_chip(preset), time.process_time
    model, began = entry.model(), clock()
    analog = convert(model, chip, entry.inputs(1), seed=0)
    convert_s, convert_memory, began = clock() - began, memory(), clock()
    with torch.no_grad():
        scores = analog(entry.inputs(1, seed=2))
    assert bool(torch.isfinite(scores).all()), "scores that are no numbers"
    layers = analog_layers(analog).values()
    return Converted(
        case, date.today().isoformat(), sum(each.matrix.weight.numel() for each in layers),
        sum(each.matrix.geometry.cells for each in layers), chip.device.programming_sigma, convert_s, clock() - began, convert_memory,
        memory(),
    )  # fmt: skip


CONVERTED_COLUMNS = ("network", "on", "weights", "cells", "programming error", "converted in", "one image in", "memory")


def _converted_line(row: Converted) -> str:
    name, preset, _ = row.case.split()
    cells = (
        name, preset, f"{row.weights / 1e6:.3g} million", f"{row.cells / 1e6:.4g} million", f"{row.programming_sigma:.3g} of the range",
        f"{row.convert_s:.0f} s", f"{row.run_s:.0f} s", f"{row.memory / 2**30:.1f} GiB",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


# ---- cells that are written in turn


def written(case: str) -> Written:
    """A network in turns on a chip of those cells, in this process."""
    name, cells, _ = case.split()
    preset, changes, at_once = CELLS[cells]
    chip, network = with_writes(load_chip(preset, changes)), traced(name)
    at_once = at_once or chip.structure.bitlines
    found = with_room(chip, lambda roomy: serve_in_turns(place_chips(network, roomy), WRITTEN_BATCH, cells_at_once=at_once))
    device = chip.device
    return Written(
        case, date.today().isoformat(), preset, chip.crossbars, chip.area, len(found.ledgers), device.write_energy, device.write_time,
        device.endurance or inf, at_once, found.write_time, found.period, found.write_energy, found.energy, found.throughput,
        inf if device.endurance is None else found.years_to_wear_out,
    )  # fmt: skip


WRITTEN_COLUMNS = ("cells", "arrays of", "area", "turns", "a pulse", "written in", "of the time", "writing a request", "of the energy",
                   "requests/s", "worn out after")  # fmt: skip


def _written_line(row: Written) -> str:
    cells = (
        row.case.split()[1], f"{row.preset}, {row.arrays}", si(row.area_m2, "m²"), f"{row.turns}",
        f"{si(row.write_energy, 'J')}, {si(row.write_time, 's')}", si(row.written_s, "s"), f"{row.written_s / row.span_s:.2%}",
        si(row.write_J, "J"), f"{row.write_J / row.energy_J:.2%}", si(row.throughput), "-" if row.years == inf else lasting(row.years),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


# ---- files


@dataclass(frozen=True)
class Table:
    """A table of the page: rows of one kind, in a file, by case, each measured by `measure` and told by `line`."""

    kind: type[Any]
    file: str
    cases: Sequence[str]
    measure: Callable[[str], Any]
    columns: Sequence[str]
    line: Callable[[Any], str]

    @property
    def path(self) -> Path:
        """Its file."""
        return HERE / self.file

    @property
    def rows(self) -> dict[str, Any]:
        """The rows that the file has, by case."""
        return rows_of(self.path, self.kind)

    def measure_and_keep(self, case: str) -> Any:
        """Measure a case and put it in the file."""
        row = self.measure(case)
        write(self.rows | {case: row}, self.path, self.kind, self.cases)
        return row

    @property
    def text(self) -> str:
        """The table as the page has it, a line a case."""
        rows = self.rows
        head = [f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"]
        return "\n".join([*head, *(self.line(rows[case]) for case in self.cases if case in rows)])


TABLES = (
    Table(Row, "large_networks.csv", [f"{network} {chip} {way}" for network in NETWORKS for chip in PRESETS for way in WAYS], measured,
          COLUMNS, _line),
    Table(Converted, "large_networks_converted.csv", ["vit_b_16 edge converted"], converted, CONVERTED_COLUMNS, _converted_line),
    Table(Written, "large_networks_written.csv", [f"vgg16_cifar10 {cells} written" for cells in CELLS], written, WRITTEN_COLUMNS,
          _written_line),
)  # fmt: skip
TABLE_OF = {case: table for table in TABLES for case in table.cases}


def main(arguments: Sequence[str]) -> None:
    """Measure the case that is named, or those that have no row, each in a process of its own, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="CASE", choices=TABLE_OF, help="measure this case anew: " + ", ".join(TABLE_OF))
    only = parser.parse_args(arguments).only
    if only:
        print(TABLE_OF[only].measure_and_keep(only), flush=True)
    failed = []
    for case in [] if only else [case for table in TABLES for case in table.cases if case not in table.rows]:
        print(case, flush=True)
        if case in TABLES[0].cases and (row := alike(case)) is not None:
            write(TABLES[0].rows | {case: row}, TABLES[0].path, Row, TABLES[0].cases)
        elif subprocess.run([sys.executable, __file__, "--only", case], check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}).returncode:
            failed.append(case)
    if PAGE.exists():
        page = PAGE.read_text("utf-8")
        for table in TABLES:
            page = page.replace(table_of(page, table.columns), table.text)
        PAGE.write_text(page, "utf-8")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main(sys.argv[1:])

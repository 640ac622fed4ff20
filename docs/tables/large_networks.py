"""Networks of ImageNet's size on one, several and too few chips: measurements for a table, docs/large-networks.md, that is not there yet.

    python docs/tables/large_networks.py                          # measures what large_networks.csv lacks, and writes the table
    python docs/tables/large_networks.py "vgg16 hermes turns"     # measures this anew

Needs the extra `zoo` (torchvision, transformers). Nothing is downloaded: weights are drawn, and none is needed. Ways: `one`, a single chip
of the preset with as many tiles as the network needs; `several`, as few chips of the preset as it needs; `turns`, one chip of the
preset, cells rewritten for each batch of BATCH requests. Buffers are doubled until they hold what travels in whole samples. Costs of
writing that a preset does not state are those that `xbar place` assumes.
"""

import csv
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import date
from math import ceil, inf
from pathlib import Path

import torch
from networks import NETWORKS as LIBRARY
from networks import Entry, Scores
from torch import nn

from xbar.hw import Arrivals, Chip, Network, load_chip, place_chips, serve_in_turns, simulate_chips, trace
from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.display import lasting, si
from xbar.hw.errors import BufferCapacityError, CapacityError
from xbar.workloads.onnx_file import let_torchvision_load
from xbar.workloads.study.ways import with_writes

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "large_networks.csv", HERE.parent / "large-networks.md"
BATCH, REQUESTS = 16, 2  # in turns; on chips that hold the network
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
    "resnet50": LIBRARY["resnet50"], "vgg16": Entry(_vgg16), "vit_b_16": LIBRARY["vit_b_16"], "mobilenet_v2": LIBRARY["mobilenet_v2"],
    "gpt2": Entry(_gpt2, "tokens known", 50257, 4096),
}  # fmt: skip
PRESETS = {"isaac": ("isaac", "isaac-vector"), "hermes": ("hermes", "hermes")}  # of networks without and with products of activations
CASES = [f"{network} {chip} {way}" for network in NETWORKS for chip in PRESETS for way in WAYS]


@dataclass(frozen=True)
class Row:
    """One case. Times in s, energies of a request in J, bits of a request; years until the cells written most often are worn; processor
    seconds of tracing, placing and simulating, and the most memory of the process [byte]."""

    case: str
    measured: str
    preset: str
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
    off_chip_bits: float
    years: float
    trace_s: float
    place_s: float
    simulate_s: float
    memory: int


def example(name: str) -> torch.Tensor:
    """One sample of the network's size."""
    entry = NETWORKS[name]
    if entry.unit == "tokens known":
        return torch.randint(entry.size, (1, TOKENS), generator=torch.Generator().manual_seed(1))
    return entry.inputs(1)


def enlarged(network: Network, chip: Chip) -> Chip:
    """The chip with as many tiles as hold the network."""
    try:
        place_chips(network, chip, 1)
    except CapacityError as error:
        each = chip.structure.cores_per_tile * chip.structure.crossbars_per_core
        return chip.with_changes(structure={"tiles": max(chip.structure.tiles, ceil(error.needed / each))})
    return chip


def served(network: Network, chip: Chip, way: str) -> tuple[ChipsPlacement, dict[str, float], float, float]:
    """The placement, what a request takes, and processor seconds of placing and of simulating."""
    began = time.process_time()
    placed = place_chips(network, chip, 1 if way == "one" else None)
    placing = time.process_time() - began
    began = time.process_time()
    if way == "turns" and len(placed.chips) > 1:
        found = serve_in_turns(placed, BATCH)
        bits = sum(float(each.actions["link"].sum()) for each in found.ledgers) / BATCH + sum(found.weight_bits) / BATCH
        told = {
            "area_m2": chip.area, "latency_s": found.latency, "throughput": found.throughput, "energy_J": found.energy,
            "on_chip_J": found.energy - found.link_energy - found.memory_energy, "off_chip_bits": bits, "years": found.years_to_wear_out,
        }  # fmt: skip
    else:
        ledger = simulate_chips(placed, Arrivals.batch(REQUESTS))
        bits = sum(float(each.actions["link"].sum()) for each in ledger.chips) / REQUESTS
        told = {
            "area_m2": placed.area, "latency_s": float(ledger.latency[0]), "throughput": ledger.steady_throughput,
            "energy_J": ledger.energy_per_request, "on_chip_J": ledger.on_chip_energy / REQUESTS, "off_chip_bits": bits, "years": inf,
        }  # fmt: skip
    return placed, told, placing, time.process_time() - began


def measured(case: str) -> Row:
    """All of one case, in this process."""
    name, chip_name, way = case.split()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETWORKS[name].build(NETWORKS[name].size).eval()
    began = time.process_time()
    network = trace(model, example(name))
    trace_s = time.process_time() - began
    del model
    preset = PRESETS[chip_name][bool(network.digital_operations)]
    chip = with_writes(load_chip(preset))
    if way == "one":
        chip = enlarged(network, chip)
    while True:
        try:
            placed, told, place_s, simulate_s = served(network, chip, way)
            break
        except BufferCapacityError:
            if chip.timing.buffer_size >= LARGEST_BUFFER:
                raise
            chip = chip.with_changes(timing={"buffer_size": 2 * chip.timing.buffer_size})
    count = len(placed.chips)
    return Row(
        case, date.today().isoformat(), preset, 1 if way == "turns" else count, count if way == "turns" else 1, chip.structure.tiles,
        chip.timing.buffer_size, placed.crossbars_used, trace_s=trace_s, place_s=place_s, simulate_s=simulate_s,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024), **told,
    )  # fmt: skip


# ---- files


def rows_of(path: Path = RESULTS) -> dict[str, Row]:
    """The rows of a file by case; none where there is no file."""
    if not path.exists():
        return {}
    kinds: dict[str, Callable[[str], object]] = {each.name: each.type for each in fields(Row)}  # type: ignore[misc]
    with path.open(encoding="utf-8", newline="") as file:
        read = [Row(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    return {row.case: row for row in read}


def write(rows: dict[str, Row], path: Path = RESULTS) -> None:
    """The rows, in the order of CASES, in place of what the file holds."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(rows[case]) for case in CASES if case in rows)
    partial.replace(path)


COLUMNS = ("network", "on", "crossbars", "area", "latency", "requests/s", "energy, of it on chip", "over links a request",
           "worn out after", "simulated in, with")  # fmt: skip


def _line(row: Row) -> str:
    name, _, way = row.case.split()
    on = {
        "one": f"one {row.preset} of {row.tiles} tiles", "several": f"{row.chips} {row.preset}",
        "turns": f"one {row.preset}, {row.turns} turn{'' if row.turns == 1 else 's'}",
    }[way]  # fmt: skip
    cells = (
        name, on, f"{row.crossbars:,}", si(row.area_m2, "m²"), si(row.latency_s, "s"), si(row.throughput),
        f"{si(row.energy_J, 'J')}, {si(row.on_chip_J, 'J')}", si(row.off_chip_bits / 8, "B"),
        "-" if row.years == inf else lasting(row.years),
        f"{row.trace_s + row.place_s + row.simulate_s:.0f} s, {row.memory / 2**30:.1f} GiB",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table(rows: dict[str, Row]) -> str:
    """The table of the page, a line a case."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(_line(rows[case]) for case in CASES if case in rows)])


def table_of(page: str) -> str:
    """The table that a page holds."""
    return "\n".join(line for line in page.splitlines() if line.startswith("|"))


def main(cases: list[str]) -> None:
    """Measure the cases that are named, or else those that have no row, each in a process of its own, and write the table."""
    if unknown := sorted(set(cases) - set(CASES)):
        sys.exit(f"no cases {', '.join(unknown)}; there are {', '.join(CASES)}")
    if len(cases) == 1:
        row = measured(cases[0])
        write(rows_of() | {row.case: row})
        print(row, flush=True)
    else:
        failed = []
        for case in cases or [case for case in CASES if case not in rows_of()]:
            print(case, flush=True)
            if subprocess.run([sys.executable, __file__, case], check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}).returncode:
                failed.append(case)
        if failed:
            sys.exit(f"not measured: {', '.join(failed)}")
    if PAGE.exists():
        page = PAGE.read_text("utf-8")
        PAGE.write_text(page.replace(table_of(page), table(rows_of())), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

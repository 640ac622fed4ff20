"""VGG-8 for CIFAR-10 on a chip of 128 x 128 arrays: what area, latency and energy an image takes, and how they follow the design.

python benchmarks/vgg8.py    # the chip of vgg8.toml, then one line a change, as ratios to it

Every chip has as many tiles as hold the network once, and cores of as many cells as in vgg8.toml. Links off the chip are left
out. Weights are initial ones: time and energy do not depend on them where array reads are charged by averages.
"""

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import torch

from xbar.hw import Arrivals, Chip, Network, load_chip, place, simulate, trace
from xbar.hw.chip.placement import layer_geometry
from xbar.models import VGG8

FILE = Path(__file__).with_name("vgg8.toml")
CELLS = 16 * 128 * 128  # of a core


@dataclass(frozen=True)
class Change:
    """One line of the table: what differs from the chip of vgg8.toml, by section, and why figures move as they do."""

    name: str
    why: str
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)


def adc(**changes: Any) -> dict[str, dict[str, Any]]:
    """Changes of the converters."""
    return {"component": {"adc": changes}}


CHANGES = (
    Change("as it is", "the chip of vgg8.toml; its ADCs are SAR of 32 levels"),
    Change(
        "array 64 x 64",
        "partial sums of twice the rows of arrays, each converted: twice the ADCs and conversions",
        {"structure": {"wordlines": 64, "bitlines": 64}},
    ),
    Change(
        "array 256 x 256",
        "the other way round; larger arrays fill a little less well",
        {"structure": {"wordlines": 256, "bitlines": 256}},
    ),
    Change("ADC 128 levels", "7 bits for 5: a SAR's area grows by 1.84 a bit, its energy about as bits", adc(bits=7)),
    Change("ADC flash", "31 comparators matched to half a step, for one that decides five times; it could be faster", adc(law="flash")),
    Change("4 columns an ADC", "twice the ADCs; a read of 10 ns already outlasts 8 conversions of 1 ns", adc(columns=4)),
    Change("16 columns an ADC", "half the ADCs; 16 conversions of 1 ns outlast a read of 10 ns", adc(columns=16)),
    Change(
        "16 rows at once",
        "8 reads and conversions a slice in place of 1, where arrays are full; cells take the same",
        {"component": {"crossbar": {"rows_at_once": 16}}},
    ),
    Change(
        "row by row",
        "128 in place of 1, so that converters and what follows them are nearly all of the energy",
        {"component": {"crossbar": {"rows_at_once": 1}}},
    ),
    Change(
        "4-bit weights",
        "2 cells a weight in place of 4: half the columns, conversions and tiles",
        {"weights": {"bits": 4}},
    ),
    Change(
        "1-bit cells",
        "8 cells a weight in place of 4: twice the columns, conversions and tiles",
        {"device": {"levels": 2}},
    ),
    Change(
        "4-bit inputs",
        "4 slices a vector in place of 8, on the same arrays; results are narrower too",
        {"inputs": {"bits": 4}},
    ),
    Change(
        "dense inputs",
        "all wordlines driven in place of half: cells take twice their 12 %",
        {"inputs": {"activity": 1.0}},
    ),
    Change(
        "on-resistance x 10",
        "cells take a tenth of their 12 %, and their drivers are smaller",
        {"device": {"g_max": 1e-6, "g_min": 1e-7}},
    ),
)


def fitted(chip: Chip, network: Network) -> Chip:
    """The chip with cores of CELLS cells and as many tiles as hold the network once."""
    chip = chip.with_changes(structure={"crossbars_per_core": CELLS // (chip.structure.wordlines * chip.structure.bitlines)})
    cores = sum(ceil(layer_geometry(chip, layer).crossbars / chip.structure.crossbars_per_core) for layer in network.layers)
    return chip.with_changes(structure={"tiles": ceil(cores / chip.structure.cores_per_tile)})


def figures(chip: Chip, network: Network) -> dict[str, float]:
    """Area [m²], that of ADCs, latency of an image [s], its energy [J], and that of ADCs, all without links off the chip."""
    ledger = simulate(place(network, chip, replication=None), Arrivals.batch(1), off_chip_io=False)
    area, energy = (each.drop("link") for each in (chip.table()["area_m2"], ledger.energy.sum()))
    return {
        "area": float(area.sum()), "ADC area": float(area["adc"]), "latency": float(ledger.latency[0]),
        "energy": float(energy.sum()), "ADC energy": float(energy["adc"]),
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    network, base = trace(VGG8().eval(), torch.rand(2, 3, 32, 32)), load_chip(FILE)
    first: dict[str, float] = {}
    for change in CHANGES:
        found = figures(fitted(base.with_changes(**change.sections), network), network)
        if not first:
            first = found
            print(
                f"{found['area'] * 1e6:.1f} mm², {found['ADC area'] * 1e6:.1f} of it ADCs; {found['latency'] * 1e3:.3f} ms, "
                f"{found['energy'] * 1e6:.1f} µJ, {found['ADC energy'] * 1e6:.1f} of it in ADCs"
            )
            print(f"{'ratio of':19} {' '.join(f'{name:>10}' for name in found)}")
        print(f"{change.name:19} {' '.join(f'{found[name] / first[name]:10.2f}' for name in found)}  {change.why}".rstrip())


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Tell anew what the kept networks take of their chip, by the chip's costs as they are; trains and measures no accuracy.

    python -P results/compression/judge.py

Footprints, weights and shares left in each folder's compression.json are written again; accuracies, stages and pages stay those of the
day of training. Prints the table of results/README.md.
"""

import json
import os
from pathlib import Path

import torch

from xbar.compression import rebuild
from xbar.hw import load_chip, trace
from xbar.hw.footprint import array_power, footprint
from xbar.workloads.study.compress import footprint_numbers
from xbar.workloads.study.costs import weights_of
from xbar.workloads.workload import untrained


def judge(folder: Path) -> str:
    """Write the folder's footprints anew; a row of the table."""
    meta = json.loads((folder / "compression.json").read_text("utf-8"))
    model, example = untrained(meta["workload"])
    small = rebuild(model, example, torch.load(folder / "weights.pt", weights_only=True))
    chip = load_chip(meta["chip"])
    fewer = chip.with_changes(weights={"bits": meta["bits_after"]}, inputs={"bits": meta["input_bits_after"]})
    for name, network, design in (("before", model, chip), ("fewer_bits", model, fewer), ("pruned", small, chip), ("after", small, fewer)):
        if name in meta["footprints"]:
            taken = footprint(trace(network, example, pack=True), design, meta["rate"])
            meta["footprints"][name] = footprint_numbers(taken, array_power(chip))
    meta |= {"weights_before": weights_of(model), "weights_after": weights_of(small)}
    meta["compression"] = meta["weights_before"] / meta["weights_after"]
    taken = meta["footprints"]
    if "weights" in meta["left"]:
        meta["left"]["weights"] = 1 / meta["compression"]
    for leaf, key in (("area", "area_m2"), ("power", "power_W")):
        if leaf in meta["left"]:
            meta["left"][leaf] = taken["after"][key] / taken["before"][key]
    written = folder / "compression.json.part"
    written.write_text(json.dumps(meta, indent=2, allow_nan=False) + "\n", "utf-8")
    os.replace(written, folder / "compression.json")
    less = [
        f"{100 * (taken[name][key] / taken['before'][key] - 1):.1f} %"
        for name in ("after", "pruned")
        for key in ("power_W", "area_m2", "peak_power_W")
    ]
    return f"| {folder.name} | {meta['compression']:.1f} x fewer | {less[0]} | {less[1]} | {less[2]} | {less[3]} / {less[4]} |"


if __name__ == "__main__":
    print("| network | weights | power | area | hardware's power | pruned alone: power / area |\n|---|---|---|---|---|---|")
    for each in sorted(Path(__file__).parent.glob("*/")):
        print(judge(each), flush=True)

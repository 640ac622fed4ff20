#!/usr/bin/env python3
"""Search for mappings of ResNet-18 on ISAAC beside the greedy rule and a bound; the rows of one objective in search.csv are these.

    python -P results/mapping/search.py latency --budget 60 --seed 0 --seed 1
    python -P results/mapping/search.py throughput --budget 20 --rows 1 --row 30

One row a mapping: by the greedy rule, what each seed's search found, and what no mapping comes below (`least`). Energy is that of a
request, with static power over its time: latency alone, or the time between results in a long row. on_chip leaves out the off-chip links,
which draw most of what they take whether or not anything is sent. less: by what share the product of energy and time is below the greedy
rule's. The network's weights are as they are made: they change nothing here.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from xbar.hw import Arrivals, Chip, load_chip, place, search_mapping, simulate, trace
from xbar.hw.events.mapping_bound import Judged, least
from xbar.hw.events.mapping_search import FoundMapping
from xbar.workloads.workload import untrained

TABLE = Path(__file__).with_name("search.csv")


def row(chip: Chip, link: float, greedy: Judged, found: Judged, mapping: str, **more: object) -> dict[str, object]:
    """A row of the table. link: energy that the off-chip links take of a request for what they send [J]."""
    idle = chip.static_power - chip.leakage
    on_chip, before = (Judged(each.energy - link - idle * each.time, each.time) for each in (found, greedy))
    return {
        "mapping": mapping, "energy_J": found.energy, "time_s": found.time, "product_Js": found.product,
        "less": 1 - found.product / greedy.product,
        "on_chip_energy_J": on_chip.energy, "on_chip_less": 1 - on_chip.product / before.product, **more,
    }  # fmt: skip


def described(found: FoundMapping) -> dict[str, object]:
    """What a search's mapping is."""
    return {
        "simulations": len(found.tried), "rows": int(found.tried["row_time_s"].notna().sum()) if "row_time_s" in found.tried else 0,
        "sharing": found.placement.sharing, "strips": found.strips,
        "copies": " ".join(str(len(copies)) for copies in found.placement.copies.values()),
    }  # fmt: skip


def main() -> None:
    """Search, print what was found, and write the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("objective", choices=["latency", "throughput"])
    asked.add_argument("--network", default="resnet18")
    asked.add_argument("--chip", default="isaac")
    asked.add_argument("--budget", type=int, default=60, help="simulations of one request")
    asked.add_argument("--rows", type=int, default=2, help="simulations of a row of requests, for throughput")
    asked.add_argument("--row", type=int, default=60, help="requests of a row")
    asked.add_argument("--seed", type=int, action="append")
    given = asked.parse_args()
    torch.set_num_threads(1)
    network, chip = trace(*untrained(given.network)), load_chip(given.chip)
    begun = place(network, chip)
    ledger, began = simulate(begun, Arrivals.batch(1)), time.process_time()
    bound = least(network, chip, given.objective, ledger)
    link = float(ledger.energy.drop(index="(static)")["link"].sum())
    bound_took, rows, greedy = time.process_time() - began, [], None
    for seed in given.seed or [0]:
        began = time.process_time()
        found = search_mapping(
            network, chip, given.objective, given.budget, seed, rows=given.rows, row=given.row, step=partial(print, flush=True)
        )
        took = time.process_time() - began
        print(found, f"processor {took:.0f} s", flush=True)
        if greedy is None:
            greedy = found.greedy
            more = {"sharing": begun.sharing, "strips": 1, "copies": " ".join(str(len(copies)) for copies in begun.copies.values())}
            rows.append(row(chip, link, greedy, greedy, "greedy rule", **more))
            rows.append(row(chip, link, greedy, bound, "bound", processor_s=round(bound_took, 1)))
        told = described(found) | {"requests_of_a_row": given.row if given.objective == "throughput" else None}
        rows.append(row(chip, link, greedy, found.best, "search", seed=seed, processor_s=round(took, 1), **told))
    table = pd.DataFrame(rows)
    table.insert(0, "network", given.network)
    table.insert(1, "chip", given.chip)
    table.insert(2, "objective", given.objective)
    if TABLE.exists():
        kept = pd.read_csv(TABLE)
        same = (kept["network"] == given.network) & (kept["chip"] == given.chip) & (kept["objective"] == given.objective)
        table = pd.concat([kept[~same], table])
    beside = TABLE.with_suffix(".part")
    table.sort_values(["network", "chip", "objective", "mapping", "seed"]).to_csv(beside, index=False)
    beside.replace(TABLE)
    print(table.drop(columns="copies").to_string())


if __name__ == "__main__":
    main()

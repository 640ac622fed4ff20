"""Ways to get a network on chips of one kind: one chip, several, or one that takes turns; what each costs and how long its cells last."""

from collections.abc import Callable, Sequence
from math import inf

import pandas as pd

from xbar.hw.chip.chips import ChipsPlacement, place_chips
from xbar.hw.chip.description import Chip
from xbar.hw.display import lasting, si
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.chips import simulate_chips
from xbar.hw.events.turns import HBM2, Memory, serve_in_turns
from xbar.hw.graph.network import Network
from xbar.workloads.study.effects import ASSUMED_WRITES, missing_writes

BATCHES = (1, 16, 256)  # requests served together
COLUMNS = ("way", "chips", "batch", "crossbars", "area_m2", "latency_s", "throughput", "energy_J", "off_chip_J", "write_J",
           "kept_bits", "years_to_wear_out", "years_levelled")  # fmt: skip


def ways(
    network: Network, chip: Chip, batches: Sequence[int] = BATCHES, memory: Memory = HBM2, pulses_per_cell: float = 1.0,
    step: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:  # fmt: skip
    """One row a way and batch (COLUMNS): on one chip, or on as many as it needs; and, where it needs several, on one chip in turns.

    latency_s: mean of the batch, all requests there at its beginning; throughput: requests of the batch over its time, until the last's
    result, as batches one after the other have it; energy_J a request, and of it off_chip_J of links and memory,
    write_J of write pulses; kept_bits: of the batch's values that the memory holds at most between turns; years: see
    `xbar.hw.events.turns.Turns`. The cells' costs of writing that the chip does not state are ASSUMED_WRITES. Raises as
    `place_chips`, `simulate_chips` and `serve_in_turns`.
    """
    placed = place_chips(network, with_writes(chip))  # what is not written lies the same with costs of writing
    count = len(placed.chips)
    rows = []
    for batch in batches:
        step(f"ways: on {count} chip{'' if count == 1 else 's'}, {batch} requests together")
        rows.append(_held(placed, batch))
    if count > 1:
        for batch in batches:
            step(f"ways: in {count} turns, {batch} requests together")
            rows.append(_in_turns(placed, batch, memory, pulses_per_cell))
    return pd.DataFrame(rows, columns=COLUMNS)


def with_writes(chip: Chip) -> Chip:
    """The chip with assumed costs of writing its cells where it states none."""
    assumed = _assumed(chip)
    return chip.with_changes(device=assumed) if assumed else chip


def _assumed(chip: Chip) -> dict[str, float]:
    """Costs of writing that the chip does not state; static memory does not wear."""
    wears = not chip.component.crossbar.in_charge
    return {name: value for name, value in missing_writes(chip.device).items() if wears or name != "endurance"}


def _held(placed: ChipsPlacement, batch: int) -> dict[str, object]:
    found, count = simulate_chips(placed, Arrivals.batch(batch)), len(placed.chips)
    return {
        "way": "one chip" if count == 1 else "several chips", "chips": count, "batch": batch, "crossbars": placed.crossbars_used,
        "area_m2": placed.area, "latency_s": float(found.latency.mean()), "throughput": found.throughput,
        "energy_J": found.energy_per_request, "off_chip_J": found.link_energy / batch, "write_J": 0.0, "kept_bits": 0.0,
        "years_to_wear_out": inf, "years_levelled": inf,
    }  # fmt: skip


def _in_turns(placed: ChipsPlacement, batch: int, memory: Memory, pulses_per_cell: float) -> dict[str, object]:
    found = serve_in_turns(placed, batch, memory=memory, pulses_per_cell=pulses_per_cell)
    return {
        "way": f"{len(found.ledgers)} turns", "chips": 1, "batch": batch, "crossbars": int(found.table["crossbars"].max()),
        "area_m2": found.chip.area, "latency_s": found.latency, "throughput": found.throughput, "energy_J": found.energy,
        "off_chip_J": found.link_energy + found.memory_energy, "write_J": found.write_energy,
        "kept_bits": max(found.kept_bits) * batch, "years_to_wear_out": found.years_to_wear_out, "years_levelled": found.years_levelled,
    }  # fmt: skip


def told(found: pd.DataFrame, chip: Chip) -> str:
    """The table for people, with what was assumed."""
    units = {"area_m2": "m²", "latency_s": "s", "throughput": "/s", "energy_J": "J", "off_chip_J": "J", "write_J": "J", "kept_bits": "bit"}
    names = {"area_m2": "area", "latency_s": "latency", "energy_J": "energy", "off_chip_J": "links, memory", "write_J": "writing",
             "kept_bits": "kept", "years_to_wear_out": "worn out after", "years_levelled": "if worn evenly"}  # fmt: skip
    shown = found.assign(**{name: found[name].map(lambda value, unit=unit: si(value, unit)) for name, unit in units.items()})
    for name in ("years_to_wear_out", "years_levelled"):
        shown[name] = found[name].map(lambda value: lasting(value) if value < inf else "-")
    lines = [shown.rename(columns=names).to_string(index=False)]
    if (found["years_to_wear_out"] < inf).any() and (assumed := _assumed(chip)):
        words = [f"  device.{name} {value:.3g} {ASSUMED_WRITES[name][1]}: {ASSUMED_WRITES[name][2]}" for name, value in assumed.items()]
        lines += ["\nThe chip does not state what writing costs; assumed:", *words]
    lines.append("\nLatency is the mean of a batch that is there at once; energy is of one request, all of it; one chip in turns rewrites\n"
                 "its cells for every batch. Worn out: the cells written most often, batch after batch without a pause.")  # fmt: skip
    return "\n".join(lines)

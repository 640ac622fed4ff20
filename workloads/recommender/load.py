"""The recommender's chip under load: latency with intervals, energy with static power and links, replicas; members that a chip holds."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xbar.hw import Chip, Placement, place, trace
from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.placement import layer_geometry
from xbar.hw.errors import CapacityError, ParameterError
from xbar.hw.events.chips import Dispatch
from xbar.hw.events.ledger import STATIC, Ledger
from xbar.hw.events.steady import Queue, differences, steady_quantiles
from xbar.models.limaml import CandidateScorer, GlobalBlock, LookupScorer

PERCENTILES = (50, 95, 99)  # of latencies
MANY = 40  # times the requests that are simulated as events, at little load; more near saturation
FEWEST_EVENTS = 10
HEADLINE = 0.5  # share of its capacity at which a chip's energy of a request is told first
DISPATCHES: dict[int, tuple[Dispatch, ...]] = {1: ("round_robin",), 2: ("random", "least_loaded"), 4: ("random", "least_loaded")}


def serving_placement(
    block: GlobalBlock, chip: Chip, candidates: int, shown: Tensor, copies: int | None = 1
) -> Placement:
    """The global block over K candidates on the chip; copies of each layer, None for as many as fit and find a
    candidate each to work on. shown: real inputs of the global block (n, inputs), whose signs tell how they are driven.

    Raises CapacityError, ParameterError.
    """
    if candidates < 1:
        raise ParameterError(f"candidates must be 1 or more, got {candidates}")
    example = shown[torch.arange(2 * candidates) % len(shown)].reshape(2, candidates, -1).transpose(1, 2)[..., None]
    network = trace(CandidateScorer(block).eval(), example)
    return place(network, chip, "balance" if copies is None else {layer.name: copies for layer in network.layers})


def energy_of(ledger: Ledger, rate: float) -> dict[str, float]:
    """What a request takes at so many of them a second on one chip [J]: dynamic_J on the chip, leakage_J there, links_J, drawn and moved,
    and energy_per_request_J of all; what is drawn whether or not anything happens, over the rate."""
    links = list(CHIP_COMPONENTS)
    idle_links = float(ledger.energy.loc[STATIC, links].sum())
    moved = (ledger.link_energy - idle_links) / ledger.requests
    found = {
        "dynamic_J": (ledger.on_chip_energy - ledger.leakage_energy) / ledger.requests,
        "leakage_J": ledger.leakage_energy / ledger.span / rate, "links_J": moved + idle_links / ledger.span / rate,
    }  # fmt: skip
    return found | {"energy_per_request_J": sum(found.values())}


def under_load(
    placements: dict[str, Placement], shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9), requests: int = 500,
    seed: int = 0, step: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:  # fmt: skip
    """Latency and energy against the request rate, of one chip, and of replicas of the last placement behind a dispatcher.

    Columns: placement (its name), replicas, dispatch, share of what all replicas carry, rate [1/s] of all; p50_s, p95_s, p99_s, their 95 %
    intervals (p50_low_s, p50_high_s ...), whether these hold what they rest on (p50_valid ...) and requests
    (`xbar.hw.events.steady`); off_s, the largest difference of one of `requests` requests simulated as events, which is outside
    the intervals; power_W of all chips; dynamic_J, leakage_J, links_J and energy_per_request_J (`energy_of`).

    Poisson requests that come and leave over the chip's links. A replica is a whole chip.
    """
    if requests < FEWEST_EVENTS:
        raise ParameterError(f"requests must be {FEWEST_EVENTS} or more, got {requests}")
    rows, last = [], list(placements)[-1]
    for name, placement in placements.items():
        queue = Queue.of(placement)
        for share in shares:
            ledger, late = differences(queue, placement, share, requests, seed)
            energy = energy_of(ledger, share / queue.service)
            for replicas, dispatches in DISPATCHES.items() if name == last else [(1, DISPATCHES[1])]:
                for dispatch in dispatches:
                    found = steady_quantiles(queue, share, [p / 100 for p in PERCENTILES], seed, replicas, dispatch, MANY * requests)
                    rate = replicas * share / queue.service
                    rows.append({
                        "placement": name, "replicas": replicas, "dispatch": dispatch, "share": share, "rate": rate,
                        **{f"p{p}{key}": value for p, each in zip(PERCENTILES, found, strict=True)
                           for key, value in (("_s", each.value), ("_low_s", each.low), ("_high_s", each.high), ("_valid", each.valid))},
                        "requests": found[-1].requests, "off_s": float(np.abs(late).max()),
                        "power_W": energy["energy_per_request_J"] * rate, **energy,
                    })  # fmt: skip
            step(f"load, {name}: {100 * share:.0f} % of capacity")
    return pd.DataFrame(rows).sort_values(["placement", "replicas", "dispatch", "share"], ignore_index=True)


def members_a_chip(block: GlobalBlock, items: Tensor, size: int, chip: Chip, shown: Tensor) -> dict[str, int]:
    """How many members' embeddings of `size` numbers go on one chip beside the global block and the items' embeddings (items, n): on
    "crossbars", as look-ups, all of them that nothing else takes; in "buffers", at the bits of inputs, where values on their way
    are given no room. 0 where the rest leaves none."""
    few = LookupScorer(block, torch.zeros(2, size), items).eval()
    index = torch.arange(len(shown))
    network = trace(few, (index % 2, index % len(items), shown[:, size + items.shape[1] :]))
    geometries = {layer.name: layer_geometry(chip, layer) for layer in network.layers}
    member = geometries.pop("member")
    free = chip.crossbars - sum(each.crossbars for each in geometries.values())
    bits = chip.timing.buffer_size * chip.structure.tiles - items.numel() * chip.inputs.bits
    return {"crossbars": max(0, free // member.crossbars) * member.inputs_per_crossbar,
            "buffers": max(0, math.floor(bits / (size * chip.inputs.bits)))}  # fmt: skip


def chips_for(members: int, a_chip: int) -> int:
    """Chips that so many members need; raises CapacityError where a chip holds none."""
    if a_chip < 1:
        raise CapacityError("a chip holds no member beside the global block and the items")
    return math.ceil(members / a_chip)

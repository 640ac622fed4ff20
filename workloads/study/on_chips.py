"""The network of a run on one chip or on several: placed, simulated, and what a run tells of either."""

from typing import Any, Literal

import pandas as pd

from xbar.hw.chip.chips import ChipsPlacement, place_chips
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement, Sharing, place
from xbar.hw.events.arrivals import Arrivals
from xbar.hw.events.chips import simulate_chips
from xbar.hw.events.chips_ledger import ChipsLedger
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.simulator import simulate
from xbar.hw.graph.network import Network
from xbar.workloads.study import hardware_tables

Chips = int | Literal["auto"]  # how many: "auto" for as few as hold the network
ONE_CHIP = "bands, digital baselines, efficiency at other operating points, roofline, floor plan, mapping, use of tiles: told of one chip"


def placed(network: Network, chip: Chip, chips: Chips = 1, sharing: Sharing = "as_needed") -> Placement | ChipsPlacement:
    """The network on one chip, where so many are asked for or suffice, or on several; raises as `place` and `place_chips` do."""
    if chips == 1:
        return place(network, chip, sharing=sharing)
    found = place_chips(network, chip, None if chips == "auto" else chips, sharing=sharing)
    return found.chips[0] if len(found.chips) == 1 else found


def served(placement: Placement | ChipsPlacement, requests: int, read_energy: dict[str, float] | None) -> Ledger | ChipsLedger:
    """The ledger of so many requests at once."""
    if isinstance(placement, ChipsPlacement):
        return simulate_chips(placement, Arrivals.batch(requests), read_energy=read_energy)
    return simulate(placement, Arrivals.batch(requests), read_energy=read_energy)


def ledgers(ledger: Ledger | ChipsLedger) -> tuple[Ledger, ...]:
    """The ledger of each chip."""
    return ledger.chips if isinstance(ledger, ChipsLedger) else (ledger,)


def layers(ledger: Ledger | ChipsLedger) -> pd.DataFrame:
    """The table of layers with the cells in use; of several chips with the number of each layer's chip."""
    found = [hardware_tables.with_cells(each.layers(), each.placement) for each in ledgers(ledger)]
    return found[0] if len(found) == 1 else pd.concat([table.assign(chip=number) for number, table in enumerate(found)])


def cells_in_use(ledger: Ledger | ChipsLedger) -> dict[str, float]:
    """As `hardware_tables.cells_in_use`, of all chips."""
    found = [hardware_tables.cells_in_use(each.placement) for each in ledgers(ledger)]
    used, there = (sum(each[name] for each in found) for name in ("cells_used", "cells"))
    of_used = sum(each["cells_used"] / each["cells_of_used_crossbars_share"] for each in found)
    return {"cells_used": used, "cells": there, "cells_of_used_crossbars_share": used / of_used}


def told(ledger: Ledger | ChipsLedger) -> dict[str, Any]:
    """What a run of several chips says of them: count, what crosses between them for a request, layers in pieces; empty for one."""
    if not isinstance(ledger, ChipsLedger):
        return {}
    return {"chips": {
        "count": len(ledger.chips), "crossing_bits_per_request": ledger.crossing_bits / ledger.requests,
        "crossing_energy_per_request_J": ledger.crossing_energy / ledger.requests,
        "pieces": {name: len(each) for name, each in ledger.placement.pieces.items()},
    }}  # fmt: skip

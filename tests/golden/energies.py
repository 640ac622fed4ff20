"""Energy per component, latency and area of every preset and network, pinned in `energies.csv`.

`make golden` (pytest tests/golden --accept) writes the present values; say in the commit why they changed.
"""

from functools import cache, lru_cache
from pathlib import Path

import pandas as pd

from tests.hw.networks import presets_of_networks
from xbar.hw import Arrivals, Ledger, Network, load_chip, place, simulate, trace
from xbar.hw.chip.placement import Placement
from xbar.workloads.workload import untrained

FILE = Path(__file__).with_name("energies.csv")
NETWORKS = ("digits", "lenet5", "resnet20", "recommender", "vit", "rows", "gpt")
LACKING = {  # units that a preset's tiles lack for a network, so that it is refused
    ("isaac", "vit"): "multiplier", ("isaac", "rows"): "multiplier", ("isaac", "gpt"): "multiplier",
}  # fmt: skip


@cache
def traced(network: str) -> Network:
    """The network, of which costs depend on shapes alone."""
    model, example = untrained(network)
    return trace(model, example)


@lru_cache(1)
def placed(preset: str, network: str) -> Placement:
    """The network on the preset."""
    return place(traced(network), load_chip(preset))


@lru_cache(1)
def served(preset: str, network: str) -> Ledger:
    """One request alone on the preset, by SimPy."""
    return simulate(placed(preset, network), Arrivals.batch(1), engine="simpy")


def measure(preset: str, network: str) -> dict[str, float]:
    """One request alone on the preset: energy of each component [J], latency [s], area [m²]."""
    ledger = served(preset, network)
    values = {f"energy_{name}_J": float(joule) for name, joule in ledger.components()["energy_J"].items()}
    return values | {"latency_s": float(ledger.latency[0]), "area_m2": ledger.chip.area}


def present() -> pd.DataFrame:
    """The present values, one row a preset, network and quantity."""
    rows = [
        {"preset": preset, "network": network, "quantity": quantity, "value": f"{value:.12g}"}
        for preset in presets_of_networks()
        for network in NETWORKS
        if (preset, network) not in LACKING
        for quantity, value in measure(preset, network).items()
    ]
    return pd.DataFrame(rows)


def pinned() -> dict[tuple[str, str], dict[str, float]]:
    """The accepted values by preset and network."""
    table = pd.read_csv(FILE)
    return {
        (str(preset), str(network)): dict(zip(part["quantity"], part["value"], strict=True))
        for (preset, network), part in table.groupby(["preset", "network"])
    }

"""What objects show of themselves holds their own numbers, is short, is escaped, and never fails."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from xbar.hw import Arrivals, Chip, Ledger, Network, Placement, place, simulate, trace
from xbar.hw.display import MOST_ROWS, si
from xbar.workloads.workload import untrained

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def network() -> Network:
    return trace(*untrained("digits"))


@pytest.fixture(scope="module")
def placement(network: Network, edge: Chip) -> Placement:
    return place(network, edge)


@pytest.fixture(scope="module")
def ledger(placement: Placement) -> Ledger:
    return simulate(placement, Arrivals.batch(3))


class Cells(HTMLParser):
    """Texts of the cells of all tables, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.65e-6, "J", "1.65 µJ"), (0.0, "W", "0 W"), (math.nan, "W", "unknown"), (math.inf, "J", "inf J"), (999.96, "", "1 k"),
        (-2.5e-3, "A", "-2.5 mA"), (8.54e-5, "m²", "85.4 mm²"), (1e-18, "J", "0.001 fJ"), (353_000.0, "", "353 k"), (5e13, "OP", "50 TOP"),
    ],
)  # fmt: skip
def test_numbers_have_their_prefix(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text


def test_a_chip_tells_its_numbers(edge: Chip) -> None:
    said = repr(edge)
    assert said == str(edge) == f"{edge}"
    assert said.startswith("Chip edge: ")
    assert said.count("\n") == 1
    for text in (f"{edge.crossbars:,} of ", f"area {edge.area * 1e6:.3g} mm²", f"peak power {si(edge.peak_power, 'W')}",
                 f"ADC {edge.component.adc.bits} bit"):  # fmt: skip
        assert text in said
    cells = Cells(edge._repr_html_())
    assert {*edge.costs} <= {*cells.texts}
    assert si(float(edge.table().loc["adc", "power_W"]), "W") in cells.texts


def test_a_network_its_placement_and_its_ledger_tell_their_numbers(network: Network, placement: Placement, ledger: Ledger) -> None:
    weights = sum(layer.weights for layer in network.layers)
    assert repr(network).startswith(f"Network of {len(network.layers)} layers\n  weights {weights:,}  ·  ")
    assert f"on crossbars {si(network.operations, 'OP')} a sample" in repr(network)
    assert f"cores {placement.cores_used:,} of {placement.chip.cores:,}" in repr(placement)
    summary = ledger.summary()
    assert repr(ledger).startswith(f"Ledger of {ledger.requests} requests on ")
    for text in (f"latency {si(summary['latency_mean_s'], 's')} on the mean", f"{si(summary['throughput_per_s'])} requests/s",
                 f"energy on chip {si(summary['on_chip_energy_per_request_J'], 'J')} a request"):  # fmt: skip
        assert text in repr(ledger)
    for each in (network, placement):
        assert {layer.name for layer in network.layers} <= {*Cells(each._repr_html_()).texts}
    energy = ledger.energy.sum()
    shares = [float(text[:-1]) for text in Cells(ledger._repr_html_()).texts if re.fullmatch(r"[\d.]+%", text)]
    assert len(shares) == (energy > 0).sum()
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    assert si(float(energy.max()), "J") in Cells(ledger._repr_html_()).texts


def test_names_cannot_become_markup(network: Network, edge: Chip) -> None:
    named = edge.model_copy(update={"title": HOSTILE})
    cells = Cells(named._repr_html_())
    assert "script" not in cells.tags
    assert f"Chip edge: {HOSTILE}" in cells.texts
    layer = replace(network.layers[0], name=HOSTILE)
    flow = replace(network.flows[0], source="", target=HOSTILE)
    other = replace(network, layers=(layer,), flows=(flow,), consumers={HOSTILE: ()}, outputs={HOSTILE: 1.0})
    cells = Cells(other._repr_html_())
    assert "script" not in cells.tags
    assert HOSTILE in cells.texts


def test_a_long_table_is_cut_and_says_so(network: Network) -> None:
    layers = tuple(replace(network.layers[0], name=f"layer{k}") for k in range(MOST_ROWS + 5))
    flow = network.flows[0]
    long = replace(
        network, layers=layers, flows=tuple(replace(flow, source="", target=each.name) for each in layers),
        consumers={each.name: () for each in layers}, outputs={"layer0": 1.0},
    )  # fmt: skip
    assert "5 rows more" in Cells(long._repr_html_()).texts
    assert f"layer{MOST_ROWS}" not in Cells(long._repr_html_()).texts


def test_to_print_never_fails(edge: Chip, ledger: Ledger) -> None:
    """A chip whose node no law knows; a ledger without a request."""
    strange = edge.model_copy(update={"structure": edge.structure.model_copy(update={"tiles": 0})})
    unknown = strange.model_copy(update={"technology": strange.technology.model_copy(update={"node": math.nan})})
    assert repr(unknown).startswith("Chip edge: ")
    assert "<table" in unknown._repr_html_()
    none = replace(ledger, arrival_fs=np.array([], dtype=np.int64), finish_fs=np.array([], dtype=np.int64))
    assert repr(none).startswith("Ledger of 0 requests on Edge\n  latency unknown  ·  throughput 0 requests/s  ·  energy on chip unknown")


def test_a_chip_is_saved_and_compared_as_before(edge: Chip) -> None:
    again = Chip.model_validate_json(edge.model_dump_json())
    assert again.model_dump() == edge.model_dump()
    assert edge == edge.model_copy()
    assert repr(again) == repr(edge)


def test_hw_waits_for_no_picture() -> None:
    script = "import sys, xbar.hw; assert not {'matplotlib', 'xbar.reports', 'plotly', 'IPython'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True)

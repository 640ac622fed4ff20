"""Draws event_model.png: a simulated timeline of a tiny network, one vector of it, and waiting against queueing theory.

    python docs/pictures/event_model.py [FOLDER]    # writes into FOLDER, by default this file's

Top and lower left come from one simulation's ledger and from the stage times that it was made with; nothing is drawn by hand. The
tile clock is 50 MHz in place of the preset's 1.2 GHz, so that loads and drains are long enough to be seen. Lower right: one
layer alone under a Poisson stream, whose mean wait M/D/1 gives (Pollaczek and Khinchine).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import xbar  # noqa: F401 - first: it tells waiting threads to sleep, before torch begins them

import numpy as np  # isort: skip
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from xbar.hw import Arrivals, Ledger, load_chip, place, simulate, trace
from xbar.hw.events.mesh import Links, Mesh
from xbar.hw.events.vector_operation import Transfer, VectorOperation, VectorOperations
from xbar.reports.pages import save_png
from xbar.reports.style import ACCENT, FAINT, INK, PAPER, SOFT, STAGES, plot, write

CLOCK = "0.05"  # GHz
UNITS = {"component.accumulator.rate": "0.96e9", "component.activation.rate": "0.48e9"}  # 1/s: as quick as ISAAC's at its peak
REQUESTS = 3
CONVOLUTION, LINEAR = "0", "3"  # the layers' names in the model
LANES = [(CONVOLUTION, 0), (CONVOLUTION, 1), (CONVOLUTION, 2), (LINEAR, 0)]  # layer, copy
NAMES = ["convolution, copy 0", "convolution, copy 1", "convolution, copy 2", "linear layer"]
LOADS = (0.2, 0.4, 0.6, 0.8, 0.9)  # share of the server's time that is asked for
REQUEST_HATCHES = ("", "////", "....")  # of each request, on the colour of its stage
SHORT = 0.03  # µs
NUMBERED = {  # what the chapter points at: time [µs], layer, copy, stage; the links have no layer here
    "1": (0.47, CONVOLUTION, 1, "load"), "2": (1.42, CONVOLUTION, 0, "drain"), "3": (1.34, "", 0, ""),
    "4": (2.83, LINEAR, 0, "load"), "5": (4.03, CONVOLUTION, 0, "load"),
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One simulation, and what it was made of."""

    ledger: Ledger
    linear: VectorOperation
    result_out: Transfer
    mesh: Mesh


def example() -> Example:
    """A convolution of 9 vectors in 3 copies and a linear layer of 576 inputs on two tiles, three requests at once."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 64, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    chip = load_chip("edge", {"timing.tile_clock": CLOCK} | UNITS)
    placement = place(trace(model, torch.rand(2, 1, 6, 6)), chip, {CONVOLUTION: 3})
    operations = VectorOperations(placement, off_chip_io=True)
    ledger = simulate(placement, Arrivals.batch(REQUESTS))
    return Example(ledger, operations.of(placement.copies[LINEAR][0]), operations.result_out(0), operations.mesh)


def steps(found: Example) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """What the first request's vector of the linear layer does: (row, stage, spans [fs] from the beginning of its load)."""
    runs = found.ledger.timeline.assign(start=found.ledger.start_fs, end=found.ledger.end_fs)
    first = runs[runs["layer"] == LINEAR].groupby("stage", observed=True)[["start", "end"]].min()
    begin = {stage: int(first.loc[stage, "start"]) - int(first.loc["load", "start"]) for stage in ("load", "compute", "drain")}
    cycle, operation = found.linear.cycle, found.linear
    pace = max(cycle.read, cycle.conversion)
    latches = [begin["compute"] + cycle.read + k * pace for k in range(cycle.slices)]
    computed = latches[-1] + cycle.conversion
    partial = computed + max(operation.partial_ports.values(), default=0)
    _, gathered = Links(found.mesh).send(operation.gather, partial)
    drained = begin["drain"] + max(*operation.output_ports.values(), *operation.buffer_ports.values())
    out = found.result_out
    read = drained + max(out.buffer_ports.values())
    heads, arrived = read + out.shipment.routers * found.mesh.hop, Links(found.mesh).send(out.shipment, read)[1]
    return [
        *((f"buffer port, tile {tile}", "load", [(0, hold)]) for tile, hold in operation.load_ports.items()),
        ("array reads", "compute", [(latch - cycle.read, latch) for latch in latches]),
        ("ADC conversions", "compute", [(latch, latch + cycle.conversion) for latch in latches]),
        ("output stage, tile 0", "drain", [(computed, partial)]),
        ("partial sums gather", "drain", [(partial, gathered)]),
        ("output stage, tile 1", "drain", [(begin["drain"], drained)]),
        ("results read, tile 1", "transfer", [(drained, read)]),
        ("mesh to the links", "transfer", [(read, arrived)]),
        ("links", "transfer", [(heads, max(arrived, heads + out.hold))]),
    ]  # fmt: skip


def waiting(loads: tuple[float, ...] = LOADS, requests: int = 2500, seeds: int = 8) -> dict[str, np.ndarray]:
    """Mean wait over the service time by load, its standard error over seeds, and what M/D/1 says; the first fifth of
    each stream is left out."""
    torch.manual_seed(0)
    placement = place(trace(nn.Sequential(nn.Linear(100, 10)), torch.rand(2, 100)), load_chip("isaac"))
    served = simulate(placement, Arrivals.batch(20), off_chip_io=False)
    service = float(np.diff(served.finish_fs)[-1]) * 1e-15
    alone = served.latency[0]
    means = np.zeros((len(loads), seeds))
    for row, load in enumerate(loads):
        for seed in range(seeds):
            ledger = simulate(placement, Arrivals.poisson(load / service, requests, seed), off_chip_io=False)
            means[row, seed] = (ledger.latency - alone)[requests // 5 :].mean() / service
    rho = np.array(loads)
    return {"load": rho, "wait": means.mean(1), "error": means.std(1, ddof=1) / seeds**0.5, "theory": rho / (2 * (1 - rho))}


def draw(found: Example, wait: dict[str, np.ndarray]) -> Figure:
    """The picture."""
    figure = Figure(figsize=(11.69, 8.6), facecolor=PAPER)
    _timeline(plot(figure, (0.175, 0.475, 0.80, 0.475), "Three requests at once, every stage as simulated", "x"), found.ledger)
    _steps(plot(figure, (0.175, 0.075, 0.42, 0.29), "One vector of the linear layer, inside", "x"), steps(found))
    _waiting(plot(figure, (0.70, 0.075, 0.275, 0.29), "Waiting under load, one layer"), wait)
    return figure


def _bar(axes: Axes, row: float, start: float, end: float, stage: str, hatch: str = "", least: float = 0.0) -> None:
    """One span; of those shorter than `least` only the colour, which an edge or a hatch would hide."""
    short = end - start < least
    axes.barh(
        row, end - start, left=start, height=0.74, color=STAGES[stage], edgecolor=STAGES[stage] if short else PAPER,
        hatch="" if short else hatch, linewidth=0.5,
    )  # fmt: skip


def _timeline(axes: Axes, ledger: Ledger) -> None:
    rows, labels = {}, ["links"]
    for lane, (layer, copy) in enumerate(LANES):
        for index, stage in enumerate(("load", "compute", "drain")):
            rows[layer, copy, stage] = 1.35 + 3.35 * lane + index
            labels.append(stage)
        write_row = 1.35 + 3.35 * lane + 1
        axes.text(-0.075, write_row, NAMES[lane], transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9, color=INK)
        axes.axhline(1.35 + 3.35 * lane - 0.68, color=FAINT, linewidth=0.8)
    seen: dict[tuple[str, int, str], int] = {}
    vectors = {CONVOLUTION: 3, LINEAR: 1}  # of a sample, by copy
    for run in ledger.timeline.itertuples():
        key = (str(run.layer), int(run.copy), str(run.stage))
        number = seen[key] = seen.get(key, -1) + 1
        request = number // vectors.get(key[0], 1)
        _bar(axes, rows.get(key, 0.0), run.start_s * 1e6, run.end_s * 1e6, key[2], REQUEST_HATCHES[request], SHORT)
    axes.set_yticks([0.0, *rows.values()], labels)
    axes.set_ylim(max(rows.values()) + 0.7, -0.7)
    axes.set_xlim(-0.05, ledger.span * 1e6 * 1.01)
    axes.set_xlabel("µs", fontsize=9)
    for number, (time, *where) in NUMBERED.items():
        axes.text(time, rows.get(tuple(where), 0.0), number, ha="center", va="center", fontsize=8, color=INK,
                  bbox={"boxstyle": "circle,pad=0.22", "facecolor": PAPER, "edgecolor": INK, "linewidth": 0.9})  # fmt: skip
    for request, hatch in enumerate(REQUEST_HATCHES):
        left = 0.63 + 0.125 * request
        axes.add_patch(_swatch(axes, left, 1.035, hatch))
        write(axes, left + 0.035, 1.037, f"request {request}", size=9, colour=SOFT)


def _swatch(axes: Axes, left: float, bottom: float, hatch: str) -> Rectangle:
    return Rectangle((left, bottom), 0.028, 0.036, transform=axes.transAxes, facecolor=SOFT, edgecolor=PAPER, hatch=hatch,
                     linewidth=0.5, clip_on=False)  # fmt: skip


def _steps(axes: Axes, rows: list[tuple[str, str, list[tuple[int, int]]]]) -> None:
    for row, (_, stage, spans) in enumerate(rows):
        for start, end in spans:
            _bar(axes, row, start * 1e-6, end * 1e-6, stage)
        first, last = spans[0][0] * 1e-6, spans[-1][1] * 1e-6
        total = sum(end - start for start, end in spans) * 1e-6 / len(spans)
        text = f"{len(spans)} × {total:.4g} ns" if len(spans) > 1 else f"{total:.4g} ns"
        beside = last < 0.75 * rows[-1][2][-1][1] * 1e-6
        axes.text(last + 25 if beside else first - 25, row, text, ha="left" if beside else "right", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, rows[-1][2][-1][1] * 1e-6 * 1.02)
    axes.set_xlabel("ns from the beginning of its load", fontsize=9)


def _waiting(axes: Axes, wait: dict[str, np.ndarray]) -> None:
    rho = np.linspace(0.0, 0.93, 200)
    axes.plot(rho, rho / (2 * (1 - rho)), color=ACCENT, linewidth=1.6, label="M/D/1: ρ / (2 (1 - ρ))")
    axes.errorbar(
        wait["load"], wait["wait"], 2 * wait["error"], fmt="o", color=INK, markersize=5, capsize=3, linewidth=1,
        label="simulated, ± 2 standard errors",
    )  # fmt: skip
    axes.set_xlabel("load ρ: rate of requests × service time", fontsize=9)
    axes.set_ylabel("mean wait / service time", fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 6.5)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(save_png(draw(example(), waiting()), folder / "event_model.png").name)

"""Pages of tables of a run: layers and components; how it was modelled and what was assumed."""

import textwrap
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from xbar.reports.labels import shortened
from xbar.reports.results import Results
from xbar.reports.run_words import STATIC, as_stated, leaked
from xbar.reports.style import (
    INK,
    NAMES,
    ROW_HEIGHT,
    SOFT,
    Column,
    draw_table,
    human,
    page,
    percent,
    significant,
    write,
)

LAYER_COLUMNS: tuple[Column, ...] = (
    ("layer", 0.050, "left"), ("matrix", 0.265, "right"), ("groups", 0.325, "right"), ("vectors", 0.395, "right"),
    ("copies", 0.450, "right"), ("crossbars", 0.525, "right"), ("cells in use", 0.605, "right"), ("core area", 0.685, "right"),
    ("energy", 0.760, "right"), ("share", 0.820, "right"), ("time/vector", 0.895, "right"), ("use", 0.950, "right"),
)  # fmt: skip
COMPONENT_COLUMNS: tuple[Column, ...] = (
    ("component", 0.050, "left"), ("action", 0.190, "left"), ("units", 0.390, "right"), ("actions", 0.480, "right"),
    ("per action", 0.565, "right"), ("energy", 0.645, "right"), ("share", 0.710, "right"), ("static power", 0.800, "right"),
    ("area", 0.905, "right"), ("use", 0.950, "right"),
)  # fmt: skip
TOP, BOTTOM = 0.845, 0.07
ROWS_PER_PAGE = int((TOP - BOTTOM) / ROW_HEIGHT)


def tables(results: Results) -> list[Figure]:
    """One row a layer and one row a component; on one page where both fit."""
    subtitle = f"{results.heading}  ·  energies are dynamic, per request; use is busy time over the time of the batch"
    layers, components = _layer_rows(results), _component_rows(results)
    together = (len(layers) + len(components) + 4) * ROW_HEIGHT < TOP - BOTTOM
    figures = []
    for first in range(0, len(layers), ROWS_PER_PAGE):
        figure = page("Layers and components" if together else "Layers", subtitle)
        end = draw_table(figure, TOP, LAYER_COLUMNS, layers[first : first + ROWS_PER_PAGE])
        figures.append(figure)
    if not together:
        figure, end = page("Components", subtitle), TOP + 2 * ROW_HEIGHT
        figures.append(figure)
    draw_table(figure, end - 2 * ROW_HEIGHT, COMPONENT_COLUMNS, components)
    return figures


def _layer_rows(results: Results) -> list[list[str]]:
    requests = max(1, int(results.meta["summary"]["requests"]))
    total = float(results.energy.drop(index=STATIC).to_numpy().sum()) / requests
    rows, short = [], shortened(map(str, results.layers.index), 24)
    for name, row in results.layers.iterrows():
        energy = row["energy_J"] / requests
        rows.append([
            short[str(name)], f"{int(row['outputs'] / row['groups'])} x {int(row['inputs'])}", f"{int(row['groups'])}",
            f"{int(row['vectors']):,}", f"{int(row['copies'])}", f"{int(row['crossbars']):,}", percent(row["cells_share"]),
            human(row["core_area_m2"], "m²"),
            human(energy, "J"), percent(energy / total), human(row["vector_time_s"], "s"), percent(row["utilisation"]),
        ])  # fmt: skip
    edge = total - float(results.layers["energy_J"].sum()) / requests
    rows.append(["input and output", "", "", "", "", "", "", "", human(edge, "J"), percent(edge / total), "", ""])
    return rows


def static_power_of(results: Results, component: str, power: float) -> str:
    """Static power of a component, "not modelled" where neither its law nor the chip's file tells any."""
    stated = f"component.{component}.static_power" in set(results.provenance["key"])
    return human(power, "W") if power > 0 or stated or component == "write" else leaked(power, "W")


def _component_rows(results: Results) -> list[list[str]]:
    requests, span = max(1, int(results.meta["summary"]["requests"])), results.meta["summary"]["span_s"]
    table = results.components
    total = float(table["dynamic_energy_J"].sum())
    return [
        [
            NAMES[str(name)], str(row["action"]), f"{row['units']:,.0f}", human(row["actions"] / requests, ""),
            human(row["dynamic_energy_J"] / row["actions"] if row["actions"] else 0.0, "J"),
            human(row["dynamic_energy_J"] / requests, "J"), percent(row["dynamic_energy_J"] / total),
            static_power_of(results, str(name), row["static_energy_J"] / span), human(row["area_m2"], "m²"), percent(row["utilisation"]),
        ]
        for name, row in table.iterrows()
    ]  # fmt: skip


LINES_PER_PAGE = 48


def assumptions(results: Results) -> list[Figure]:
    """How it was modelled, what was changed and assumed; as many pages as it takes."""
    lines = list(_assumption_lines(results))
    pages = [lines[i : i + LINES_PER_PAGE] for i in range(0, len(lines), LINES_PER_PAGE)]
    figures = []
    for number, part in enumerate(pages, 1):
        of = f"  ·  {number} of {len(pages)}" if len(pages) > 1 else ""
        figure = page("Method and assumptions", f"{results.heading}{of}")
        for row, (indent, text, bold) in enumerate(part):
            y = 0.865 - row * 0.0172
            write(
                figure,
                0.05 + indent,
                y,
                text,
                size=8,
                weight="bold" if bold else "normal",
                colour=INK if bold or not indent else SOFT,
            )
        figures.append(figure)
    return figures


def _assumption_lines(results: Results) -> Iterator[tuple[float, str, bool]]:
    """(indent, text, bold) of each line."""
    chip, p, b = results.meta["chip"], results.provenance, results.meta["buffers"]
    yield 0.0, "How it was modelled", True
    for note in (
        f"Array reads are charged by {chip['array_read_energy']}.",
        "Every other component is charged per action, by the law of what it is made of at the chip's node and voltage; where the file "
        "states its power, energy or area at some configuration, the law only carries that figure to the configuration here.",
        "Energy on chip is all of it but that of the off-chip links, which is told apart; leakage is in it.",
        _analog_note(chip),
        "Every part bounds the time of its stage by its rate. Tiles' buffer ports with their buses, their output stages, every link of the "
        "mesh and the off-chip links serve one at a time.",
        f"A full buffer stalls who writes to it; the fullest tile held {_kibibytes(b['fullest_bits'])} of its {_kibibytes(b['size_bits'])}"
        f"{', MORE THAN IT HAS' if b['fullest_bits'] > b['size_bits'] else ''}. A layer begins a sample when its readers have "
        "loaded the sample before the last.",
        "Results travel over the mesh in packets of whole flits, along the row of routers first, one to every tile that holds rows for "
        "them; partial sums are as wide as weight and input together.",
        "Samples are loaded over the links before a network starts on them; per-sample digital work is spread evenly over a "
        "layer's vectors.",
    ):  # fmt: skip
        yield from _wrapped(note)
    kinds = p["kind"].value_counts()
    counted = ", ".join(f"{int(kinds[kind])} {kind}" for kind in kinds.index)
    for kind, heading in (
        ("override", "Changed for this run"),
        ("assumed", f"Assumed (of {len(p)} numbers: {counted})"),
    ):
        chosen = p[p["kind"] == kind]
        if len(chosen):
            yield 0.0, "", False
            yield 0.0, heading, True
        for _, row in chosen.iterrows():
            why = row["why"] if isinstance(row["why"], str) and row["why"] else "given on the command line"
            yield from _wrapped(f"{as_stated(row)}: {why}")


def _analog_note(chip: dict[str, Any]) -> str:
    """How wires and cells were taken, from what the chip file says of them."""
    wires = (
        f"Wires have {chip['wires'][0]:g} and {chip['wires'][1]:g} ohm a segment of word and bit lines, solved exactly"
        if chip["wires"]
        else "Wires are ideal in this chip's file"
    )
    time = "cells drift, and are judged right after programming unless a page says later" if chip["drifts"] else "cells do not drift in it"
    law = "" if chip["iv"] == "linear" else f"; their current follows a {chip['iv']} law of voltage"
    return f"{wires}; {time}{law}. Studies of what a chip would lose may assume more; they say so."


def _kibibytes(bits: float) -> str:
    """As chip files count: 1024 bytes of 8 bits."""
    return f"{significant(bits / 8192)}\u00a0KiB"


def _wrapped(text: str) -> Iterator[tuple[float, str, bool]]:
    for index, line in enumerate(textwrap.wrap(text, 168)):
        yield (0.012 if index == 0 else 0.024), line, False

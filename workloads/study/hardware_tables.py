"""What a run asks of the chip's parts, as tables: efficiency and density, roofline, mapping, use of tiles and mesh, power at steady state.

All of it is counted from the ledger and the placement: operations, bits and times are those that energy and latency are made of. One
multiply-accumulate is 2 operations, of weights and inputs of the chip's own bits. SI; bytes are 8 bits.
"""

from collections import defaultdict
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from xbar.hw.array.diagonal import weight_cells
from xbar.hw.chip.components import CHIP_COMPONENTS
from xbar.hw.chip.costs import NOT_PASSED
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement
from xbar.hw.events.chips_ledger import ChipsLedger
from xbar.hw.events.ledger import FEMTOSECOND, STATIC, Ledger
from xbar.hw.events.vector_operation import VectorOperations

NETWORK = "(network)"  # the row of the whole network
STEADY_PERIODS = 3  # between results, of the interval whose power is drawn
STEADY_BINS = 1200
BITS = 8  # of a byte


def tables(ledger: Ledger) -> dict[str, pd.DataFrame]:
    """The tables of `Results` that are made here, by name."""
    return {
        "efficiency": efficiency(ledger), "roofline": roofline(ledger), "roofs": roofs(ledger), "mapping": mapping(ledger.placement),
        "tile_use": tile_use(ledger), "mesh_use": mesh_use(ledger), "steady_power": steady_power(ledger),
    }  # fmt: skip


# ---- efficiency and density


def rate(ledger: Ledger) -> float:
    """Requests per second between results, or over the simulated time where there is no such interval [1/s]."""
    return ledger.steady_throughput if isfinite(ledger.steady_throughput) else ledger.throughput


def steady_energy(ledger: Ledger, links: bool, at: float) -> float:
    """Energy of a request at so many a second [J]: its dynamic energy, and what the idle chip draws between two results."""
    dynamic = ledger.energy.drop(index=STATIC)
    dynamic = dynamic if links else dynamic.drop(columns=list(CHIP_COMPONENTS))
    idle = ledger.chip.static_power if links else ledger.chip.leakage
    return float(dynamic.to_numpy().sum()) / ledger.requests + idle / at


def efficiency(ledger: Ledger) -> pd.DataFrame:
    """One row an operating point and side of the links: of ("batch": the simulated batch from its arrival to its last result; "steady":
    at the requests per second between results; "peak": `_peak`, with this network's reads; "table": the chip's table at its peak load, as
    publications add it up), links (whether the off-chip links are in power and area), operations_per_s, power_W, area_m2,
    operations_per_J, operations_per_s_m2.

    Operations are multiply-accumulates on crossbars and in product units, two each; of "table" on crossbars alone, while all units, product
    units and links too, draw what they do at their full load, and cells what the file says of any: no bound of a network whose cells
    and inputs take less. Of batch and steady, leakage is in the power and the area is the whole chip's, used or not.
    """
    chip, table = ledger.chip, ledger.chip.table()
    off = table.index.isin(CHIP_COMPONENTS)
    each, at = ledger.placement.network.chip_operations, rate(ledger)
    rows = []
    for links in (False, True):
        area = float(table["area_m2"][links | ~off].sum())
        energy = ledger.total_energy if links else ledger.on_chip_energy
        found = {
            "batch": (each * ledger.throughput, energy / ledger.span if ledger.span else 0.0),
            "steady": (each * at, steady_energy(ledger, links, at) * at),
            "peak": _peak(ledger, links),
            "table": (chip.peak_operations_per_second, float(table["power_W"][links | ~off].sum())),
        }  # fmt: skip
        rows += [
            {
                "of": of, "links": links, "operations_per_s": done, "power_W": power, "area_m2": area,
                "operations_per_J": done / power if power else 0.0, "operations_per_s_m2": done / area,
            }
            for of, (done, power) in found.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _peak(ledger: Ledger, links: bool) -> tuple[float, float]:
    """Operations per second and power [W] were every cell of every crossbar in use, as fast as the slowest part that vectors pass allows.

    Array reads, product units, multipliers and links take for an operation on crossbars what they do in this network; all else
    what it does at the chip's peak load (`xbar.hw.chip.costs`). Where product units, or links that are counted, cannot keep up,
    crossbars wait for them. No bound where layers have bits of their own, or share inputs that the peak's crossbars each load.
    """
    chip, network = ledger.chip, ledger.placement.network
    done = network.operations * ledger.requests
    taken = ledger.energy.drop(index=STATIC).sum()
    costs = {name: cost for name, cost in chip.costs.items() if links or name not in CHIP_COMPONENTS}
    idle = sum(cost.static_power * chip.instances(name) for name, cost in costs.items())
    of_network = ("crossbar", *NOT_PASSED) if done else ()
    dynamic = sum(
        cost.energy_per_action * cost.load / cost.shared_by * chip.parents(name)
        for name, cost in costs.items()
        if name not in (of_network or NOT_PASSED)
    )
    most = chip.peak_operations_per_second
    dynamic += most * sum(float(taken[name]) / done for name in of_network if name in costs and name in taken)
    products = most * network.digital_operations / network.operations if done else 0.0
    asked = {"product": products / 2, "link": most * float(ledger.actions["link"].sum()) / done if done else 0.0}  # actions per second
    full = {name: costs[name].load / costs[name].shared_by * chip.parents(name) for name in asked if name in costs}
    pace = min([1.0, *(full[name] / asked[name] for name in full if asked[name])])
    return pace * (most + products), idle + pace * dynamic


# ---- roofline


def roofs(ledger: Ledger) -> pd.DataFrame:
    """What bounds operations per second, one row a roof: roof, of ("operations" or "bytes" a second), chip_per_s of all of the chip,
    used_per_s of what the network uses of it: crossbars, tiles, links of the mesh that carried something.

    Crossbars: `Chip.peak_operations_per_second`. Ports: the narrower of buffer and bus, once a tile. Mesh: every link that a router
    sends over. Links: all of them.
    """
    chip, placement, mesh = ledger.chip, ledger.placement, ledger.mesh_links.mesh
    cells = ledger.links()
    sent_over = int((~cells["injects"]).sum()) if len(cells) else 0
    port, link = _port_rate(chip), chip.costs["link"]
    of_link = mesh.flit * mesh.flit_rate / BITS
    off_chip = link.units * link.unit_rate / BITS
    tiles = len({crossbar // chip.structure.cores_per_tile for crossbar in _cores_used(placement)})
    peak = chip.peak_operations_per_second
    rows = [
        ("crossbars", "operations", peak, peak * placement.crossbars_used / chip.crossbars),
        ("buffer ports", "bytes", port * chip.structure.tiles, port * tiles),
        ("mesh links", "bytes", of_link * mesh.router_links, of_link * sent_over),
        ("off-chip links", "bytes", off_chip, off_chip),
    ]
    return pd.DataFrame(rows, columns=["roof", "of", "chip_per_s", "used_per_s"])


def _port_rate(chip: Chip) -> float:
    """Bytes per second of one tile's buffer port with its bus."""
    timing, parts = chip.timing, [chip.costs[name] for name in ("buffer", "bus")]
    words = min(timing.buffer_width, timing.bus_width) * timing.tile_clock
    return min(words, *(part.units * part.unit_rate for part in parts)) / BITS


def _cores_used(placement: Placement) -> set[int]:
    return {core for copies in placement.copies.values() for copy in copies for core in copy.in_cores}


def roofline(ledger: Ledger) -> pd.DataFrame:
    """One row a layer with operations on crossbars, then the network: layer, operations (per request), buffer_bytes, mesh_bytes and
    link_bytes moved per request, attained_per_s (operations per second at the requests per second between results), bound_per_s and
    bound_by: what of the layer's own parts would be busy all the time first.

    Bytes are the ledger's actions, which energy is charged for: of buffers every bit read or written (results count with the layer that
    makes them), of the mesh every bit that leaves a router, whole flits, once a hop. Bounds are operations over the time that a
    request holds the busiest of the layer's array copies, ADCs, buffer ports and output stages; of the network also mesh links and
    off-chip links. Work of other layers on the same tile is not in a layer's bound, and is in the network's.
    """
    network, per, at = ledger.placement.network, ledger.requests, rate(ledger)
    moved = ledger.actions / BITS / per
    holds = _holds(ledger)
    rows: dict[str, dict[str, Any]] = {}
    for layer in network.layers:
        if layer.operations:
            by, held = max(holds[layer.name].items(), key=lambda item: item[1])
            bounds = _bounds(layer.operations, at, held / per, by)
            rows[layer.name] = {"operations": float(layer.operations), **_moved(moved.loc[[layer.name]]), **bounds}
    units = ledger.units()["busy_s"]
    of_units = {"arrays of": "arrays", "busiest ADC of": "ADCs", "buffer port of": "buffer ports", "output stage of": "output stages",
                "off-chip": "off-chip links"}  # fmt: skip
    busy = {name: units[units.index.str.startswith(begins)] for begins, name in of_units.items()} | {"mesh links": ledger.links()["busy_s"]}
    by, held = max(((name, float(times.max())) for name, times in busy.items() if len(times)), key=lambda item: item[1])
    done = network.chip_operations
    rows[NETWORK] = {"operations": float(done), **_moved(moved), **_bounds(done, at, held / per, by)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer").reset_index()


def _moved(rows: pd.DataFrame) -> dict[str, float]:
    return {f"{name}_bytes": float(rows[of].sum()) for name, of in (("buffer", "buffer"), ("mesh", "router"), ("link", "link"))}


def _bounds(operations: float, at: float, held: float, by: str) -> dict[str, Any]:
    """Attained and bound, where a request holds what bounds it for so long [s]."""
    return {"attained_per_s": operations * at, "bound_per_s": operations / held, "bound_by": by}


def _holds(ledger: Ledger) -> dict[str, dict[str, float]]:
    """Of each layer, how long its vectors hold the busiest of its arrays, ADCs, buffer ports and output stages in all [s]."""
    units, operations = ledger.units()["busy_s"], VectorOperations(ledger.placement, off_chip_io=True)
    runs = ledger.runs.counts(len(ledger.activities))
    vectors: dict[tuple[str, int], int] = defaultdict(int)
    for activity, count in zip(ledger.activities, runs.tolist(), strict=True):
        if activity.stage == "load":
            vectors[activity.layer, activity.copy] += count
    found: dict[str, dict[str, float]] = {}
    for layer in ledger.placement.network.layers:
        if not layer.operations:
            continue
        copies = ledger.placement.copies[layer.name]
        by_tile: dict[str, dict[int, float]] = {"buffer ports": defaultdict(float), "output stages": defaultdict(float)}
        for copy in copies:
            operation, count = operations.of(copy), vectors[layer.name, copy.index]
            for name, sides in (("buffer ports", ("load_ports", "buffer_ports")), ("output stages", ("partial_ports", "output_ports"))):
                for tile, hold in (item for side in sides for item in getattr(operation, side).items()):
                    by_tile[name][tile] += count * hold * FEMTOSECOND
        named = [f"{layer.name}, copy {copy.index}" for copy in copies]
        found[layer.name] = {
            "arrays": max(float(units[f"arrays of {name}"]) for name in named),
            "ADCs": max(float(units[f"busiest ADC of {name}"]) for name in named),
            **{name: max(tiles.values(), default=0.0) for name, tiles in by_tile.items()},
        }
    return found


# ---- where things lie


def mapping(placement: Placement) -> pd.DataFrame:
    """One row a crossbar that a copy lies on, in the order of placement: layer, copy, tile, core, slot, first_row, first_column, rows and
    columns in use, groups of the layer on its diagonal, and cells that hold weights or references: of one group rows x columns, else
    those of the blocks."""
    geometries = {name: placement.geometry(name) for name in placement.copies}
    rows = [
        (name, copy.index, x.tile, x.core, x.slot, x.first_row, x.first_bitline, x.rows, x.bitlines,
         geometries[name].of_layer.held(x.group), x.rows * x.bitlines - x.off_diagonal)
        for name, copies in placement.copies.items()
        for copy in copies
        for x in placement.crossbars_of(copy)
    ]
    columns = ["layer", "copy", "tile", "core", "slot", "first_row", "first_column", "rows", "columns", "groups", "cells"]
    return pd.DataFrame(rows, columns=columns)


def with_cells(layers: pd.DataFrame, placement: Placement) -> pd.DataFrame:
    """The ledger's table of layers with cells that hold weights or references, over all copies, and cells_share, of those of the
    layer's crossbars."""
    each = placement.chip.structure.wordlines * placement.chip.structure.bitlines
    cells = [weight_cells(placement.geometry(str(name))) * len(placement.copies[str(name)]) for name in layers.index]
    return layers.assign(cells=cells, cells_share=np.array(cells) / (layers["crossbars"] * each))


def cells_in_use(placement: Placement) -> dict[str, float]:
    """cells_used, which hold weights or references; cells of the chip; cells_of_used_crossbars_share; crossbars_for_weights, which the used
    cells would fill, and cores_shared by several copies."""
    structure = placement.chip.structure
    each = structure.wordlines * structure.bitlines
    used = sum(weight_cells(placement.geometry(name)) * len(copies) for name, copies in placement.copies.items())
    return {"cells_used": float(used), "cells": float(each * placement.chip.crossbars),
            "cells_of_used_crossbars_share": used / (each * placement.crossbars_used),
            "crossbars_for_weights": float(placement.crossbars_for_weights), "cores_shared": float(placement.cores_shared)}  # fmt: skip


# ---- how busy things are


def tile_use(ledger: Ledger) -> pd.DataFrame:
    """One row a tile in use, shares of the simulated time: tile, crossbars_share (time that its crossbars are read, on the mean of all
    that it has), arrays_share and adcs_share (of the busiest copy of a layer on it), buffer_port_share, output_stage_share, and
    busiest, the largest of the last four."""
    units, chip = ledger.units()["utilisation"], ledger.chip
    per_tile = chip.structure.cores_per_tile * chip.structure.crossbars_per_core
    rows: dict[int, dict[str, float]] = defaultdict(lambda: {"crossbars_share": 0.0, "arrays_share": 0.0, "adcs_share": 0.0})
    on = mapping(ledger.placement).groupby(["layer", "copy", "tile"], sort=False).size()
    for (layer, copy, tile), crossbars in on.items():
        row, arrays, adcs = rows[tile], *(float(units[f"{what} of {layer}, copy {copy}"]) for what in ("arrays", "busiest ADC"))
        row["crossbars_share"] += arrays * crossbars / per_tile
        row["arrays_share"], row["adcs_share"] = max(row["arrays_share"], arrays), max(row["adcs_share"], adcs)
    for tile, row in rows.items():
        row["buffer_port_share"] = float(units.get(f"buffer port of tile {tile}", 0.0))
        row["output_stage_share"] = float(units.get(f"output stage of tile {tile}", 0.0))
        row["busiest"] = max(row[f"{name}_share"] for name in ("arrays", "adcs", "buffer_port", "output_stage"))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("tile").sort_index().reset_index()


def mesh_use(ledger: Ledger) -> pd.DataFrame:
    """One row a link between routers that carried something: source and target router, and where they lie (middle of their tiles,
    source_x_m, source_y_m, target_x_m, target_y_m), bits in whole flits, utilisation over the simulated time."""
    mesh, links, plan = ledger.mesh_links.mesh, ledger.links(), ledger.chip.floorplan.table()
    tiles = plan[plan["kind"] == "tile"]
    router = tiles["number"] // mesh.per_router
    x = (tiles["left_m"] + tiles["width_m"] / 2).groupby(router).mean()
    y = (tiles["bottom_m"] + tiles["height_m"] / 2).groupby(router).mean()
    rows = []
    for (source, target), index in mesh.between.items():
        if mesh.names[index] in links.index:
            link = links.loc[mesh.names[index]]
            rows.append((source, target, x[source], y[source], x[target], y[target], link["bits"], link["utilisation"]))
    columns = ["source", "target", "source_x_m", "source_y_m", "target_x_m", "target_y_m", "bits", "utilisation"]
    return pd.DataFrame(rows, columns=columns)


# ---- power at steady state


def steady_interval(ledger: Ledger | ChipsLedger) -> tuple[int, int, int]:
    """Begin and end [fs] of an interval from result to result in the middle of the batch, and the results that come in it; zeros where
    there are too few results (below 4), or they come at once."""
    finish = np.sort(ledger.finish_fs)
    periods = min(STEADY_PERIODS, (len(finish) - 2) // 2)
    if periods < 1:
        return 0, 0, 0
    first = (len(finish) - 1 - periods) // 2
    begin, end = int(finish[first]), int(finish[first + periods])
    return (begin, end, periods) if end > begin else (0, 0, 0)


def steady_power(ledger: Ledger | ChipsLedger) -> pd.DataFrame:
    """Power on chip over `steady_interval`, in equal spans of time: time_s (middles, from the interval's begin), on_chip_power_W (mean
    over the span); no rows where there is no such interval."""
    begin, end, _ = steady_interval(ledger)
    cuts = np.linspace(begin, end, STEADY_BINS + 1 if end > begin else 1)
    mean = np.diff(ledger.on_chip_power_profile.until(cuts)) / (np.diff(cuts) * FEMTOSECOND)
    return pd.DataFrame({"time_s": ((cuts[:-1] + cuts[1:]) / 2 - begin) * FEMTOSECOND, "on_chip_power_W": mean})


def steady_state(ledger: Ledger | ChipsLedger) -> dict[str, Any] | None:
    """Of `steady_interval`: begins_s, length_s, results (that come in it), mean_W and peak_W (at any instant of it) on chip; None where
    there is no such interval."""
    begin, end, results = steady_interval(ledger)
    if end <= begin:
        return None
    edges, level = ledger.on_chip_power_profile.part(begin, end)
    inside = (edges[1:] > begin) & (edges[:-1] < end)
    spans = np.minimum(edges[1:], end)[inside] - np.maximum(edges[:-1], begin)[inside]
    return {"begins_s": begin * FEMTOSECOND, "length_s": (end - begin) * FEMTOSECOND, "results": results,
            "mean_W": float((spans * level[inside]).sum()) / (end - begin), "peak_W": float(level[inside].max())}  # fmt: skip

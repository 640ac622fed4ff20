"""What a simulation returns: actions, energy, busy time, latency and power, by component and by layer.

Everything is derived from two things that the simulation writes down: how often each component acted in each
stage, and when each stage ran (`xbar.hw.events.runs`). So the sums over components, over layers and over time are the same energy.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from types import MappingProxyType

import numpy as np
import pandas as pd

from xbar.hw.chip.components import ACTIONS, CHIP_COMPONENTS
from xbar.hw.chip.description import Chip
from xbar.hw.chip.placement import Placement
from xbar.hw.display import si
from xbar.hw.errors import ParameterError
from xbar.hw.events.mesh import Links
from xbar.hw.events.runs import Profile, Runs, union
from xbar.hw.events.served import FEMTOSECOND, Served
from xbar.hw.events.updates import Update, crossbar_writes, programming_cost

STAGES = ("load", "compute", "drain", "transfer")
INPUT, OUTPUT, STATIC = "(input)", "(output)", "(static)"
WRITE = "write"  # stage and component of updates; only in tables of simulations that have some


@dataclass(frozen=True)
class Activity:
    """One kind of stage: what every run of it does. `copy` is the layer copy's index, 0 for transfers; `update` the
    number of the update that a write is of; `shares` what an action takes of the component's, where that is not all of it
    (`VectorOperation.shares`)."""

    layer: str
    stage: str
    copy: int
    actions: dict[str, float]
    update: int | None = None
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Ledger(Served):
    """Result of one simulation; times inside are integer femtoseconds, results are SI.

    runs: when which of the activities ran, in order of their ends; where requests repeat each other, one period of them and how often it
    is there, so that nothing grows with the requests. activity, start_fs, end_fs: all of them one by one, int64 (runs,), made when asked
    for. arrival_fs, finish_fs: int64 (requests,). events: of the clock, as many as every request makes, also where not every one
    is simulated. read_energy: joule of the array reads of one vector by layer, from the cells' own conductances, or None where reads
    are charged by the chip's average read, in proportion to what is in use and driven (`VectorOperation.shares`). updates: what was written
    during operation; its energy is then in the column "write" (pulses), one run for the crossbars of a copy that an
    update writes over the same time. engine: what the events were simulated by, and where that was SimPy for a large load, why
    (`xbar.hw.events.fast`). mesh_links, unit_busy_fs: what `links` and `units` are made of.
    """

    placement: Placement = field(repr=False)
    activities: tuple[Activity, ...] = field(repr=False)
    runs: Runs = field(repr=False)
    arrival_fs: np.ndarray
    finish_fs: np.ndarray
    span_fs: int
    events: int
    mesh_links: Links = field(repr=False)
    unit_busy_fs: dict[str, int] = field(repr=False)
    read_energy: dict[str, float] | None = None
    updates: tuple[Update, ...] = ()
    engine: str = "SimPy"

    def _title(self) -> str:
        return f"Ledger of {self.requests:,} request{'' if self.requests == 1 else 's'} on {self.chip.title}"

    def _numbers(self) -> dict[str, str]:
        mean = f"{si(float(self.latency.mean()), 's')} on the mean" if self.requests else "unknown"
        return {
            "latency": mean, "throughput": f"{si(self.throughput)} requests/s",
            "energy on chip": f"{si(self.on_chip_energy / (self.requests or np.nan), 'J')} a request",
            "links": f"{si(self.link_energy / (self.requests or np.nan), 'J')} a request",
            "simulated": si(self.span, "s") + ("" if self.engine == "SimPy" else f" by {self.engine}"),
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        energy = self.energy.sum().rename("energy").to_frame()
        energy["share"] = energy["energy"] / energy["energy"].sum() if energy["energy"].sum() else np.nan
        energy = energy[energy["energy"] > 0].sort_values("energy", ascending=False)
        return energy.assign(energy=energy["energy"].map(lambda value: si(value, "J")), share=energy["share"].map("{:.1%}".format))

    @property
    def chip(self) -> Chip:
        """The chip that was simulated."""
        return self.placement.chip

    @property
    def activity(self) -> np.ndarray:
        """Which activity each run was of, int64 (runs,)."""
        return self.runs.all.activity

    @property
    def start_fs(self) -> np.ndarray:
        """When each run began [fs], int64 (runs,)."""
        return self.runs.all.start

    @property
    def end_fs(self) -> np.ndarray:
        """When each run ended [fs], int64 (runs,)."""
        return self.runs.all.end

    # ---- energy

    def _energies(self, activity: Activity) -> dict[str, float]:
        """Energy of one run of an activity by component [J]."""
        if activity.stage == WRITE:
            return {WRITE: activity.actions[WRITE] * self._pulse_energy}
        costs = self.chip.costs_for(activity.layer)
        energy = {
            name: count * costs[name].energy_per_action * activity.shares.get(name, 1.0)
            for name, count in activity.actions.items()
        }
        if "crossbar" in energy and self.read_energy is not None:
            energy["crossbar"] = self.read_energy[activity.layer]
        return energy

    @property
    def _pulse_energy(self) -> float:
        """Energy of one write pulse [J]; asked for only where something was written."""
        return self.chip.device.write_energy or 0.0

    @cached_property
    def actions(self) -> pd.DataFrame:
        """Actions by layer (rows) and component (columns)."""
        return self._by_layer(lambda activity: activity.actions)

    @cached_property
    def energy(self) -> pd.DataFrame:
        """Energy [J] by layer (rows, the last one static) and component (columns)."""
        static = {
            name: c.static_power * self.chip.instances(name) * self.span
            for name, c in self.chip.costs.items()
        }
        return self._by_layer(self._energies, {STATIC: static | ({WRITE: 0.0} if self.updates else {})})

    def _by_layer(
        self, per_run: Callable[[Activity], Mapping[str, float]], more: Mapping[str, dict[str, float]] = MappingProxyType({})
    ) -> pd.DataFrame:
        runs = self.runs.counts(len(self.activities)).tolist()
        rows, columns = [INPUT, *self.placement.copies, OUTPUT], self._columns
        found = {row: dict.fromkeys(columns, 0.0) for row in rows}
        for activity, count in zip(self.activities, runs, strict=True):
            mine = found[activity.layer]
            for name, value in per_run(activity).items():
                mine[name] += value * count
        return pd.DataFrame.from_dict({**found, **more}, orient="index", columns=columns).rename_axis("layer")

    @property
    def _columns(self) -> list[str]:
        """Components of the tables: those of the chip, and what was written."""
        return [*self.chip.costs, *([WRITE] if self.updates else [])]

    @property
    def total_energy(self) -> float:
        """Energy of the whole simulation, static included [J]."""
        return float(self.energy.to_numpy().sum())

    @property
    def static_energy(self) -> float:
        """Energy drawn whether or not anything happens [J]."""
        return float(self.energy.loc[STATIC].sum())

    @property
    def link_energy(self) -> float:
        """Energy of the off-chip links, drawn and moved [J]; what is on the other side of them is not modelled."""
        return float(self.energy[list(CHIP_COMPONENTS)].to_numpy().sum())

    @property
    def on_chip_energy(self) -> float:
        """All energy but that of the off-chip links [J]."""
        return float(self.energy.drop(columns=list(CHIP_COMPONENTS)).to_numpy().sum())

    @property
    def leakage_energy(self) -> float:
        """What the chip draws whether or not anything happens, links apart [J]; part of `on_chip_energy`."""
        return float(self.energy.loc[STATIC].drop(list(CHIP_COMPONENTS)).sum())

    @property
    def energy_per_request(self) -> float:
        """Total energy over requests [J]; nan without requests."""
        return self.total_energy / self.requests if self.requests else float("nan")

    def programming(self, pulses_per_cell: Mapping[str, float] | float = 1.0, cells_at_once: int = 1) -> pd.DataFrame:
        """What writing the network to the chip took before the first request, one row a layer: cells, pulses,
        energy_J, time_s, endurance_share; apart from `energy`, which is of the requests. See
        `xbar.hw.events.updates.programming_cost`; `xbar.hw.analog.write_pulses` counts the pulses of a programmed model."""
        return programming_cost(self.placement, pulses_per_cell, cells_at_once)

    # ---- updates

    def updates_table(self) -> pd.DataFrame:
        """One row an update: layer, begins_s, start_s and end_s of its writing, blocked_s, cells, pulses, energy_J over
        all copies, endurance_share.

        blocked_s: how long a copy of the layer has a crossbar that is being written, on the mean of copies; all vectors
        of the layer wait meanwhile, of a table those that look up rows on the crossbars being written.
        endurance_share: mean pulses of a written cell over the device's endurance, nan where that is not given.
        """
        rows = [
            {
                "layer": update.layer, "begins_s": update.begins, **self._written([number]),
                "endurance_share": self._endurance_share(update.pulses_per_cell),
            }
            for number, update in enumerate(self.updates)
        ]  # fmt: skip
        names = ["layer", "begins_s", "start_s", "end_s", "blocked_s", "cells", "pulses", "energy_J", "endurance_share"]
        return pd.DataFrame(rows, columns=names).rename_axis("update")

    def wear(self) -> pd.DataFrame:
        """One row an updated layer, over all its updates: cells (each once, over all copies), pulses, energy_J, blocked_s
        as in `updates_table`, most_pulses of the most written cell, and its endurance_share. What the network took to
        programme before the first request is apart, in `programming`."""
        rows = {}
        for layer in dict.fromkeys(update.layer for update in self.updates):
            mine = {number: update for number, update in enumerate(self.updates) if update.layer == layer}
            pulses = np.zeros(self.placement.geometry(layer).of_layer.shape[2])  # rows that carry a bias too
            for update in mine.values():
                pulses[slice(None) if update.rows is None else list(update.rows)] += update.pulses_per_cell
            written = self._written(list(mine))
            every = Update(layer, 0.0, np.flatnonzero(pulses).tolist())
            rows[layer] = {
                "cells": self._cells(every), "pulses": written["pulses"], "energy_J": written["energy_J"],
                "blocked_s": written["blocked_s"], "most_pulses": float(pulses.max()),
                "endurance_share": self._endurance_share(float(pulses.max())),
            }  # fmt: skip
        names = ["cells", "pulses", "energy_J", "blocked_s", "most_pulses", "endurance_share"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("layer")

    def _endurance_share(self, pulses: float) -> float:
        endurance = self.chip.device.endurance
        return pulses / endurance if endurance else float("nan")

    def _cells(self, update: Update) -> int:
        """Cells that an update writes in all copies."""
        copies = self.placement.copies[update.layer]
        return sum(write.cells for copy in copies for write in crossbar_writes(self.placement, copy, update))

    def _written(self, numbers: list[int]) -> dict[str, float]:
        """start_s, end_s, blocked_s, cells, pulses and energy_J of the updates of these numbers, of one layer."""
        kinds = [k for k, activity in enumerate(self.activities) if activity.update in numbers]
        runs = self.runs.of(kinds).all
        start, end = runs.start, runs.end
        copy = np.array([self.activities[k].copy for k in runs.activity])
        spans = [union(start[copy == index], end[copy == index]) for index in np.unique(copy)]
        pulses = sum(self.activities[k].actions[WRITE] for k in runs.activity)
        return {
            "start_s": float(start.min()) * FEMTOSECOND, "end_s": float(end.max()) * FEMTOSECOND,
            "blocked_s": float(np.mean(spans)) * FEMTOSECOND,
            "cells": sum(self._cells(self.updates[number]) for number in numbers),
            "pulses": pulses, "energy_J": pulses * self._pulse_energy,
        }  # fmt: skip

    # ---- power over time

    def _profile(self, per_run: np.ndarray, always: float = 0.0) -> Profile:
        """Rate [1/s] when each activity's amount per run is spread evenly over its time."""
        return Profile.of(self.runs, per_run, self.span_fs, always)

    def _binned(self, profile: Profile, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Middles [s] and mean levels of `bins` equal spans of time; exact for each bin. Raises ParameterError where no time passed."""
        if self.span_fs <= 0 or bins < 1:
            raise ParameterError(f"means over time need some time and one span of it or more, got {self.span_fs} fs and {bins} spans")
        cuts = np.linspace(0, self.span_fs, bins + 1)
        return (cuts[:-1] + cuts[1:]) / 2 * FEMTOSECOND, np.diff(profile.until(cuts)) / (np.diff(cuts) * FEMTOSECOND)

    @cached_property
    def power_profile(self) -> Profile:
        """Power over time [W], with what repeats itself told once.

        A stage's energy is spread evenly over the time that it runs; static power is in it throughout.
        """
        return self._profile(np.array([sum(self._energies(a).values()) for a in self.activities]), self.chip.static_power)

    @cached_property
    def on_chip_power_profile(self) -> Profile:
        """`power_profile` without that of the off-chip links."""
        dynamic = [sum(v for name, v in self._energies(a).items() if name not in CHIP_COMPONENTS) for a in self.activities]
        return self._profile(np.array(dynamic), self.chip.leakage)

    @property
    def power(self) -> tuple[np.ndarray, np.ndarray]:
        """Piecewise constant power: edges [fs] int64 (n + 1,), and power between them [W] (n,), of all the simulated time."""
        return self.power_profile.all

    @property
    def on_chip_power(self) -> tuple[np.ndarray, np.ndarray]:
        """`power` without that of the off-chip links."""
        return self.on_chip_power_profile.all

    @property
    def peak_power(self) -> float:
        """Largest power at any time [W]."""
        return self.power_profile.peak if self.span_fs else self.chip.static_power

    @property
    def average_power(self) -> float:
        """Total energy over the simulated time [W]."""
        return self.total_energy / self.span if self.span_fs else self.chip.static_power

    def integral_of_power(self) -> float:
        """Energy as the integral of `power` [J]."""
        return self.power_profile.integral

    def power_over_time(self, bins: int) -> pd.DataFrame:
        """Mean power of `bins` equal spans of time: time_s (middles), power_W, and without the links on_chip_power_W."""
        time, power = self._binned(self.power_profile, bins)
        return pd.DataFrame({"time_s": time, "power_W": power, "on_chip_power_W": self._binned(self.on_chip_power_profile, bins)[1]})

    def use_over_time(self, component: str, bins: int) -> pd.DataFrame:
        """How busy a component's units are in `bins` equal spans of time, actions over rate, as a share of
        all units: time_s (middles), share."""
        amount = np.array([activity.actions.get(component, 0.0) for activity in self.activities])
        time, rate = self._binned(self._profile(amount), bins)
        count, each = self._servers(component)
        return pd.DataFrame({"time_s": time, "share": rate / (count * each)})

    def _servers(self, component: str) -> tuple[float, float]:
        """How many of a component work side by side, and the actions per second of one: units, but of routers the links that
        they send over."""
        if component == "router":
            mesh = self.mesh_links.mesh
            return mesh.router_links, mesh.flit * mesh.flit_rate
        return float(self.chip.table().loc[component, "count"]), self.chip.costs[component].unit_rate

    # ---- time

    @property
    def timeline(self) -> pd.DataFrame:
        """Every run: layer, stage, copy, start_s, end_s."""
        return self._timeline(self.runs.all)

    def timeline_until(self, time_s: float) -> pd.DataFrame:
        """Every run that began before a time [s], as in `timeline`."""
        found = self._timeline(self.runs.until(ceil(time_s / FEMTOSECOND) + 1))
        return found[found["start_s"] < time_s].reset_index(drop=True)

    def _timeline(self, runs: Runs) -> pd.DataFrame:
        table = pd.DataFrame(
            [(a.layer, a.stage, a.copy) for a in self.activities], columns=["layer", "stage", "copy"]
        ).astype({"layer": "category", "stage": "category"})
        found = table.iloc[runs.activity].reset_index(drop=True)
        return found.assign(start_s=runs.start * FEMTOSECOND, end_s=runs.end * FEMTOSECOND)

    def components(self) -> pd.DataFrame:
        """One row a component: action, count, actions, energy_J, dynamic and static part, area_m2, busy_s
        (actions over rate, summed over units) and utilisation (busy over units and time; of routers, over the links that they
        send over)."""
        table = self.chip.table()
        energy = self.energy
        rows = {}
        for name in self.chip.costs:
            actions, (servers, rate) = float(self.actions[name].sum()), self._servers(name)
            units, busy = table.loc[name, "count"], actions / rate
            rows[name] = {
                "action": ACTIONS[name], "units": units, "actions": actions, "energy_J": energy[name].sum(),
                "dynamic_energy_J": energy[name].drop(STATIC).sum(),
                "static_energy_J": energy.loc[STATIC, name], "area_m2": table.loc[name, "area_m2"],
                "busy_s": busy, "utilisation": busy / (servers * self.span) if self.span_fs else 0.0,
            }  # fmt: skip
        if self.updates:
            rows[WRITE] = self._write_row()
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("component")

    def _write_row(self) -> dict[str, object]:
        """The row of writing in `components`: its units are crossbars, each of which writes on its own."""
        pulses, energy, units = float(self.actions[WRITE].sum()), float(self.energy[WRITE].sum()), self.chip.crossbars
        busy = FEMTOSECOND * sum(
            write.duration
            for update in self.updates
            for copy in self.placement.copies[update.layer]
            for write in crossbar_writes(self.placement, copy, update)
        )
        return {
            "action": "write pulses", "units": float(units), "actions": pulses, "energy_J": energy,
            "dynamic_energy_J": energy, "static_energy_J": 0.0, "area_m2": 0.0, "busy_s": busy,
            "utilisation": busy / (units * self.span),
        }  # fmt: skip

    def links(self) -> pd.DataFrame:
        """One row a link of the mesh that carried something (index: its name): packets, flits, bits (whole flits), busy_s,
        utilisation over the simulated time, and injects: whether it leads into the mesh, so that no router sends over it."""
        return self.mesh_links.table(self.span_fs)

    def units(self) -> pd.DataFrame:
        """One row a unit that bounds time (index: its name): busy_s and utilisation over the simulated time. Arrays
        (a read lasts as long as input registers and drivers need) and ADCs of each layer copy (the busiest of its cores), each tile's
        buffer port with its bus, and output stage (the longest of its digital units and register), and the off-chip links."""
        busy = pd.Series(self.unit_busy_fs, dtype=float) * FEMTOSECOND
        return pd.DataFrame({"busy_s": busy, "utilisation": busy / self.span if self.span_fs else 0.0 * busy}).rename_axis("unit")

    @property
    def busiest_link(self) -> tuple[str, float]:
        """Name and utilisation of the busiest link of the mesh; ("", 0) where nothing travelled."""
        return _busiest(self.links())

    @property
    def busiest_unit(self) -> tuple[str, float]:
        """Name and utilisation of the busiest unit; ("", 0) where there was none."""
        return _busiest(self.units())

    def layers(self) -> pd.DataFrame:
        """One row a layer: matrix, copies, crossbars, vectors per request, energy_J, core_area_m2 (of cores that it
        shares, by crossbars in use), first
        and last activity of the first request's stages, vector_time_s from a vector's first read to its last conversion, busy_s per
        copy, during which it computes at least one vector, and utilisation, its share of the simulated time."""
        rows = {}
        core_area = sum(
            c.parent_area for name, c in self.chip.costs.items() if self.chip.parents(name) == self.chip.cores
        )
        for layer in self.placement.network.layers:
            copies, cores = self.placement.copies[layer.name], self.placement.core_shares(layer.name)
            mine = self.runs.of(k for k, a in enumerate(self.activities) if a.layer == layer.name and a.stage != WRITE)
            computing = [self.runs.of(self._kinds[layer.name, "compute", copy.index]) for copy in copies]
            vectors = sum(each.count for each in computing)
            busy = sum(each.union() for each in computing) / len(copies) * FEMTOSECOND
            rows[layer.name] = {
                "outputs": layer.outputs * layer.groups, "inputs": layer.inputs, "groups": layer.groups,
                "vectors": layer.vectors, "copies": len(copies),
                "crossbars": sum(copy.crossbars for copy in copies),
                "cores": len(cores),
                "core_area_m2": sum(cores.values()) * core_area,
                "energy_J": float(self.energy.loc[layer.name].sum()),
                "first_start_s": mine.first_start * FEMTOSECOND if mine.count else float("nan"),
                "last_end_s": mine.last_end * FEMTOSECOND if mine.count else float("nan"),
                "vector_time_s": sum(each.busy for each in computing) / vectors * FEMTOSECOND if vectors else float("nan"),
                "busy_s": busy, "utilisation": busy / self.span if self.span_fs else 0.0,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")

    @cached_property
    def _kinds(self) -> dict[tuple[str, str, int], list[int]]:
        """Numbers of the activities by layer, stage and copy."""
        found: dict[tuple[str, str, int], list[int]] = defaultdict(list)
        for number, activity in enumerate(self.activities):
            found[activity.layer, activity.stage, activity.copy].append(number)
        return found

    def summary(self) -> dict[str, float]:
        """Headline numbers, SI, the unit in each name.

        operations_per_s and operations_per_J are of what the chip computes, on crossbars and in product units; on_chip_ leaves
        the off-chip links out. Energy on chip is dynamic and leakage.
        crossbar_, digital_ and host_operations_share: of all multiply-accumulates of a request, those on crossbars, in
        product units, and on the host; nan where there are none. The host's time and energy are not modelled.
        busiest_link_share and busiest_unit_share: utilisations of `busiest_link` and `busiest_unit`.
        """
        latency = self.latency if self.requests else np.array([np.nan])
        network, chip = self.placement.network, self.chip
        performed = network.chip_operations * self.requests
        requests = self.requests or np.nan
        return {
            "requests": self.requests, "span_s": self.span, "latency_mean_s": float(latency.mean()),
            "latency_p99_s": float(np.percentile(latency, 99)), "latency_max_s": float(latency.max()),
            "throughput_per_s": self.throughput, "steady_throughput_per_s": self.steady_throughput,
            "energy_J": self.total_energy, "energy_per_request_J": self.energy_per_request,
            "dynamic_energy_per_request_J": float(self.energy.drop(STATIC).to_numpy().sum()) / requests,
            "static_energy_J": self.static_energy, "average_power_W": self.average_power,
            "on_chip_energy_per_request_J": self.on_chip_energy / requests,
            "leakage_energy_per_request_J": self.leakage_energy / requests,
            "link_energy_per_request_J": self.link_energy / requests,
            "on_chip_power_W": self.on_chip_energy / self.span if self.span_fs else chip.leakage,
            "on_chip_peak_power_W": max(chip.leakage, self.on_chip_power_profile.peak if self.span_fs else 0.0),
            "leakage_power_W": chip.leakage,
            "busiest_link_share": self.busiest_link[1], "busiest_unit_share": self.busiest_unit[1],
            "peak_power_W": self.peak_power, "static_power_W": chip.static_power, "area_m2": chip.area,
            "operations_per_s": performed / self.span if self.span_fs else 0.0,
            "operations_per_J": performed / self.total_energy if self.total_energy else 0.0,
            "on_chip_operations_per_J": performed / self.on_chip_energy if self.on_chip_energy else 0.0,
            **network.operations_shares,
            "crossbars_used": self.placement.crossbars_used, "crossbars": chip.crossbars,
            "cores_used": self.placement.cores_used, "cores": chip.cores,
        }  # fmt: skip


def _busiest(table: pd.DataFrame) -> tuple[str, float]:
    if table.empty:
        return "", 0.0
    name = str(table["utilisation"].idxmax())
    return name, float(table.loc[name, "utilisation"])

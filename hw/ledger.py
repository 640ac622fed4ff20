"""What a simulation returns: actions, energy, busy time, latency and power, by component and by layer.

Everything is derived from two things that the simulation writes down: how often each component acted in each
stage, and when each stage ran. So the sums over components, over layers and over time are the same energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from hw.chip import ACTIONS, COMPONENTS, Chip
from hw.placement import Placement
from hw.programming import programming_cost

STAGES = ("load", "compute", "drain", "transfer")
INPUT, OUTPUT, STATIC = "(input)", "(output)", "(static)"
FEMTOSECOND = 1e-15


@dataclass(frozen=True)
class Activity:
    """One kind of stage: what every run of it does. `copy` is the layer copy's index, 0 for transfers."""

    layer: str
    stage: str
    copy: int
    actions: dict[str, float]


@dataclass(frozen=True)
class Ledger:
    """Result of one simulation; times inside are integer femtoseconds, results are SI.

    activity, start_fs, end_fs: int64 (runs,), one entry per run of an activity, in order of their ends;
    arrival_fs, finish_fs: int64 (requests,). read_energy: joule of the array reads of one vector by layer, from
    the cells' own conductances, or None where the published figure per read was charged.
    """

    placement: Placement = field(repr=False)
    activities: tuple[Activity, ...] = field(repr=False)
    activity: np.ndarray = field(repr=False)
    start_fs: np.ndarray = field(repr=False)
    end_fs: np.ndarray = field(repr=False)
    arrival_fs: np.ndarray
    finish_fs: np.ndarray
    span_fs: int
    events: int
    read_energy: dict[str, float] | None = None

    @property
    def chip(self) -> Chip:
        """The chip that was simulated."""
        return self.placement.chip

    @property
    def span(self) -> float:
        """Simulated time [s]."""
        return self.span_fs * FEMTOSECOND

    # ---- energy

    def _energies(self, activity: Activity) -> dict[str, float]:
        """Energy of one run of an activity by component [J]."""
        energy = {
            name: count * getattr(self.chip.component, name).energy_per_action
            for name, count in activity.actions.items()
        }
        if self.read_energy is not None and "crossbar" in energy:
            energy["crossbar"] = self.read_energy[activity.layer]
        return energy

    @cached_property
    def actions(self) -> pd.DataFrame:
        """Actions by layer (rows) and component (columns)."""
        return self._by_layer(lambda activity: activity.actions)

    @cached_property
    def energy(self) -> pd.DataFrame:
        """Energy [J] by layer (rows, the last one static) and component (columns)."""
        table = self._by_layer(self._energies)
        static = {
            name: c.static_power / c.shared_by * self.chip.parents(name) * self.span
            for name, c in self.chip.component.items()
        }
        table.loc[STATIC] = pd.Series(static)
        return table

    def _by_layer(self, per_run) -> pd.DataFrame:  # type: ignore[no-untyped-def]
        runs = np.bincount(self.activity, minlength=len(self.activities))
        rows = [INPUT, *self.placement.copies, OUTPUT]
        table = pd.DataFrame(0.0, index=pd.Index(rows, name="layer"), columns=list(COMPONENTS))
        for activity, count in zip(self.activities, runs, strict=True):
            for name, value in per_run(activity).items():
                table.loc[activity.layer, name] += value * count
        return table

    @property
    def total_energy(self) -> float:
        """Energy of the whole simulation, static included [J]."""
        return float(self.energy.to_numpy().sum())

    @property
    def static_energy(self) -> float:
        """Energy drawn whether or not anything happens [J]."""
        return float(self.energy.loc[STATIC].sum())

    @property
    def energy_per_request(self) -> float:
        """Total energy over requests [J]; nan without requests."""
        return self.total_energy / self.requests if self.requests else float("nan")

    def programming(self, pulses_per_cell: Mapping[str, float] | float = 1.0, cells_at_once: int = 1) -> pd.DataFrame:
        """What writing the network to the chip took before the first request, one row a layer: cells, pulses,
        energy_J, time_s, endurance_share; apart from `energy`, which is of the requests. See
        `hw.programming.programming_cost`; `hw.analog.write_pulses` counts the pulses of a programmed model."""
        return programming_cost(self.placement, pulses_per_cell, cells_at_once)

    # ---- power over time

    def _profile(self, per_run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Piecewise constant rate [1/s] when each activity's amount per run is spread evenly over its time."""
        duration = self.end_fs - self.start_fs
        height = per_run[self.activity] / (duration * FEMTOSECOND)
        times = np.concatenate([self.start_fs, self.end_fs, [0, self.span_fs]])
        steps = np.concatenate([height, -height, [0.0, 0.0]])
        edges, where = np.unique(times, return_inverse=True)
        return edges, np.cumsum(np.bincount(where, weights=steps, minlength=len(edges)))[:-1]

    def _binned(self, edges: np.ndarray, level: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Middles [s] and mean levels of `bins` equal spans of time; exact for each bin."""
        total = np.concatenate([[0.0], np.cumsum(np.diff(edges) * FEMTOSECOND * level)])
        cuts = np.linspace(0, self.span_fs, bins + 1)
        mean = np.diff(np.interp(cuts, edges, total)) / (np.diff(cuts) * FEMTOSECOND)
        return (cuts[:-1] + cuts[1:]) / 2 * FEMTOSECOND, mean

    @cached_property
    def power(self) -> tuple[np.ndarray, np.ndarray]:
        """Piecewise constant power: edges [fs] int64 (n + 1,), and power between them [W] (n,).

        A stage's energy is spread evenly over the time that it runs; static power is in it throughout.
        """
        edges, level = self._profile(np.array([sum(self._energies(a).values()) for a in self.activities]))
        return edges, level + self.chip.static_power

    @property
    def peak_power(self) -> float:
        """Largest power at any time [W]."""
        return float(self.power[1].max()) if len(self.power[1]) else self.chip.static_power

    @property
    def average_power(self) -> float:
        """Total energy over the simulated time [W]."""
        return self.total_energy / self.span if self.span_fs else self.chip.static_power

    def integral_of_power(self) -> float:
        """Energy as the integral of `power` [J]."""
        edges, level = self.power
        return float((np.diff(edges) * FEMTOSECOND * level).sum())

    def power_over_time(self, bins: int) -> pd.DataFrame:
        """Mean power of `bins` equal spans of time: time_s (middles), power_W."""
        time, power = self._binned(*self.power, bins)
        return pd.DataFrame({"time_s": time, "power_W": power})

    def use_over_time(self, component: str, bins: int) -> pd.DataFrame:
        """How busy a component's units are in `bins` equal spans of time, actions over rate, as a share of
        all units: time_s (middles), share."""
        amount = np.array([activity.actions.get(component, 0.0) for activity in self.activities])
        time, rate = self._binned(*self._profile(amount), bins)
        units = float(self.chip.table().loc[component, "count"])
        return pd.DataFrame({"time_s": time, "share": rate / (units * getattr(self.chip.component, component).unit_rate)})

    # ---- time

    @property
    def requests(self) -> int:
        """Requests served."""
        return len(self.finish_fs)

    @property
    def latency(self) -> np.ndarray:
        """Arrival to result of each request [s]."""
        return (self.finish_fs - self.arrival_fs) * FEMTOSECOND

    @property
    def throughput(self) -> float:
        """Requests per second over the simulated time [1/s]; 0 without requests."""
        return self.requests / self.span if self.span_fs else 0.0

    @property
    def steady_throughput(self) -> float:
        """Requests per second between the first and the last result [1/s]; nan below two requests."""
        if self.requests < 2:
            return float("nan")
        first, last = int(self.finish_fs.min()), int(self.finish_fs.max())
        return (self.requests - 1) / ((last - first) * FEMTOSECOND) if last > first else float("inf")

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """Every run: layer, stage, copy, start_s, end_s."""
        table = pd.DataFrame(
            [(a.layer, a.stage, a.copy) for a in self.activities], columns=["layer", "stage", "copy"]
        ).astype({"layer": "category", "stage": "category"})
        runs = table.iloc[self.activity].reset_index(drop=True)
        return runs.assign(start_s=self.start_fs * FEMTOSECOND, end_s=self.end_fs * FEMTOSECOND)

    def components(self) -> pd.DataFrame:
        """One row a component: action, count, actions, energy_J, dynamic and static part, area_m2, busy_s
        (actions over rate, summed over units) and utilisation (busy over units and time)."""
        table = self.chip.table()
        energy = self.energy
        rows = {}
        for name, c in self.chip.component.items():
            actions = float(self.actions[name].sum())
            busy, units = actions / c.unit_rate, table.loc[name, "count"]
            rows[name] = {
                "action": ACTIONS[name], "units": units, "actions": actions, "energy_J": energy[name].sum(),
                "dynamic_energy_J": energy[name].sum() - energy.loc[STATIC, name],
                "static_energy_J": energy.loc[STATIC, name], "area_m2": table.loc[name, "area_m2"],
                "busy_s": busy, "utilisation": busy / (units * self.span) if self.span_fs else 0.0,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("component")

    def layers(self) -> pd.DataFrame:
        """One row a layer: matrix, copies, crossbars, vectors per request, energy_J, area_m2 of its cores, first
        and last activity of the first request's stages, busy_s per copy and utilisation of its arrays."""
        rows = {}
        timeline = self.timeline
        core_area = sum(
            c.parent_area for name, c in self.chip.component.items() if self.chip.parents(name) == self.chip.cores
        )
        for layer in self.placement.network.layers:
            copies = self.placement.copies[layer.name]
            mine = timeline[timeline["layer"] == layer.name]
            computing = mine[mine["stage"] == "compute"]
            busy = float((computing["end_s"] - computing["start_s"]).sum()) / len(copies)
            rows[layer.name] = {
                "outputs": layer.outputs * layer.groups, "inputs": layer.inputs, "groups": layer.groups,
                "vectors": layer.vectors, "copies": len(copies),
                "crossbars": sum(copy.crossbars for copy in copies),
                "cores": sum(copy.cores for copy in copies),
                "core_area_m2": sum(copy.cores for copy in copies) * core_area,
                "energy_J": float(self.energy.loc[layer.name].sum()),
                "first_start_s": float(mine["start_s"].min()) if len(mine) else float("nan"),
                "last_end_s": float(mine["end_s"].max()) if len(mine) else float("nan"),
                "vector_time_s": busy * len(copies) / len(computing) if len(computing) else float("nan"),
                "busy_s": busy, "utilisation": min(1.0, busy / self.span) if self.span_fs else 0.0,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")

    def requests_table(self) -> pd.DataFrame:
        """One row a request: arrival_s, finish_s, latency_s."""
        return pd.DataFrame({
            "arrival_s": self.arrival_fs * FEMTOSECOND, "finish_s": self.finish_fs * FEMTOSECOND,
            "latency_s": self.latency,
        }).rename_axis("request")  # fmt: skip

    def summary(self) -> dict[str, float]:
        """Headline numbers, SI, the unit in each name."""
        latency = self.latency if self.requests else np.array([np.nan])
        network, chip = self.placement.network, self.chip
        performed = network.operations * self.requests
        return {
            "requests": self.requests, "span_s": self.span, "latency_mean_s": float(latency.mean()),
            "latency_p99_s": float(np.percentile(latency, 99)), "latency_max_s": float(latency.max()),
            "throughput_per_s": self.throughput, "steady_throughput_per_s": self.steady_throughput,
            "energy_J": self.total_energy, "energy_per_request_J": self.energy_per_request,
            "dynamic_energy_per_request_J": (self.total_energy - self.static_energy) / max(1, self.requests),
            "static_energy_J": self.static_energy, "average_power_W": self.average_power,
            "peak_power_W": self.peak_power, "static_power_W": chip.static_power, "area_m2": chip.area,
            "operations_per_s": performed / self.span if self.span_fs else 0.0,
            "operations_per_J": performed / self.total_energy if self.total_energy else 0.0,
            "crossbars_used": self.placement.crossbars_used, "crossbars": chip.crossbars,
            "cores_used": self.placement.cores_used, "cores": chip.cores,
        }  # fmt: skip

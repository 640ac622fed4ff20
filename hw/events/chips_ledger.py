"""What a simulation of several chips returns: their ledgers over the same time, and what is told of all together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from xbar.hw.chip.chips import ChipsPlacement
from xbar.hw.display import si
from xbar.hw.events.ledger import INPUT, OUTPUT, Ledger
from xbar.hw.events.runs import Profile
from xbar.hw.events.served import Served


@dataclass(frozen=True, repr=False)
class ChipsLedger(Served):
    """Result of one simulation of several chips; times inside are integer femtoseconds, results are SI.

    chips: the ledger of each, all over the whole simulated time, replica after replica, in each in the order of `placement`. On one chip
    of a row a sample arrives when all chips before it want to send what they made of it, and is finished when what it made is across.
    replica: which replica served each request, int64 (requests,). arrival_fs, finish_fs: of each request from outside to its last result,
    int64 (requests,).
    """

    placement: ChipsPlacement = field(repr=False)
    chips: tuple[Ledger, ...] = field(repr=False)
    replica: np.ndarray = field(repr=False)
    arrival_fs: np.ndarray
    finish_fs: np.ndarray
    span_fs: int
    events: int

    def _title(self) -> str:
        count, of = len(self.chips), f", {self.replicas} replicas of {len(self.placement.chips)}" if self.replicas > 1 else ""
        return (
            f"Ledger of {self.requests:,} request{'' if self.requests == 1 else 's'} on {count} chip{'' if count == 1 else 's'}{of}, "
            f"{self.chips[0].chip.title}"
        )

    def _numbers(self) -> dict[str, str]:
        each = self.requests or np.nan
        mean = f"{si(float(self.latency.mean()), 's')} on the mean" if self.requests else "unknown"
        return {
            "latency": mean, "throughput": f"{si(self.throughput)} requests/s",
            "energy on chips": f"{si(self.on_chip_energy / each, 'J')} a request",
            "links": f"{si(self.link_energy / each, 'J')} a request", "between chips": f"{si(self.crossing_bits / each, 'bit')} a request",
            "area": si(self.area, "m²"), "simulated": si(self.span, "s"),
        }  # fmt: skip

    def _parts(self) -> pd.DataFrame:
        table = self.table()
        return pd.DataFrame({
            "layers": table["layers"].map("{:,}".format), "requests": table["requests"].map("{:,}".format),
            "energy on chip": table["on_chip_energy_J"].map(lambda value: si(value, "J")),
            "links": table["link_energy_J"].map(lambda value: si(value, "J")),
            "busiest": table["busiest_unit"], "of the time": table["busiest_unit_share"].map("{:.1%}".format),
        })  # fmt: skip

    @property
    def replicas(self) -> int:
        """How many times the network is there."""
        return len(self.chips) // len(self.placement.chips)

    @property
    def area(self) -> float:
        """Area of all chips [m²]."""
        return self._sum(lambda ledger: ledger.chip.area)

    # ---- energy

    def _sum(self, of: Callable[[Ledger], float]) -> float:
        return float(sum(of(ledger) for ledger in self.chips))

    @property
    def total_energy(self) -> float:
        """Energy of the whole simulation on all chips, static included [J]."""
        return self._sum(lambda ledger: ledger.total_energy)

    @property
    def static_energy(self) -> float:
        """Energy drawn whether or not anything happens [J]."""
        return self._sum(lambda ledger: ledger.static_energy)

    @property
    def dynamic_energy(self) -> float:
        """All energy but the static [J]."""
        return self.total_energy - self.static_energy

    @property
    def link_energy(self) -> float:
        """Energy of all off-chip links, drawn and moved, at both ends of what crosses between chips [J]."""
        return self._sum(lambda ledger: ledger.link_energy)

    @property
    def on_chip_energy(self) -> float:
        """All energy but that of the off-chip links [J]."""
        return self._sum(lambda ledger: ledger.on_chip_energy)

    @property
    def leakage_energy(self) -> float:
        """What the chips draw whether or not anything happens, links apart [J]; part of `on_chip_energy`."""
        return self._sum(lambda ledger: ledger.leakage_energy)

    @property
    def energy_per_request(self) -> float:
        """Total energy over requests [J]; nan without requests."""
        return self.total_energy / self.requests if self.requests else float("nan")

    @property
    def crossing_bits(self) -> float:
        """Bits that chips sent each other, each value once however many read it."""
        return sum(self.placement.sent_bits) * self.requests

    @property
    def crossing_energy(self) -> float:
        """Energy of those bits at both ends, without what links draw whether or not bits come [J]; part of `link_energy`."""
        placement = self.placement
        return self.requests * sum(
            (sent + received) * each.chip.costs["link"].energy_per_action
            for each, sent, received in zip(placement.chips, placement.sent_bits, placement.received_bits, strict=True)
        )

    @property
    def average_power(self) -> float:
        """Total energy over the simulated time [W]."""
        return self.total_energy / self.span if self.span_fs else self._sum(lambda ledger: ledger.chip.static_power)

    @cached_property
    def power(self) -> tuple[np.ndarray, np.ndarray]:
        """Piecewise constant power of all chips, as `Ledger.power`: edges [fs] (n + 1,), and power between them [W] (n,)."""
        return _added([ledger.power for ledger in self.chips])

    @cached_property
    def on_chip_power(self) -> tuple[np.ndarray, np.ndarray]:
        """`power` without that of the off-chip links."""
        return _added([ledger.on_chip_power for ledger in self.chips])

    @cached_property
    def on_chip_power_profile(self) -> Profile:
        """`on_chip_power`, asked for parts and integrals of it."""
        return Profile(*self.on_chip_power)

    def power_over_time(self, bins: int) -> pd.DataFrame:
        """Mean power of `bins` equal spans of time: time_s (middles), power_W, and without the links on_chip_power_W."""
        tables = [ledger.power_over_time(bins) for ledger in self.chips]
        return tables[0][["time_s"]].join(sum(table.drop(columns="time_s") for table in tables))

    def use_over_time(self, component: str, bins: int) -> pd.DataFrame:
        """How busy a component's units are on all chips in `bins` equal spans of time, as a share of all units: time_s (middles), share."""
        tables = [ledger.use_over_time(component, bins) for ledger in self.chips]
        return tables[0][["time_s"]].assign(share=np.mean([table["share"] for table in tables], axis=0))

    # ---- tables

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """Every run: layer, stage, copy, start_s, end_s, chip; crossings are "(from chip 0)" where they leave one of several chips, and
        "(to chip 1)" where they come to one, with what comes from outside or leaves there."""
        tables, row = [], len(self.placement.chips)
        for number, ledger in enumerate(self.chips):
            table = ledger.timeline.astype({"layer": object})
            names = {}
            if self.placement.senders[number % row]:
                names[INPUT] = f"(to chip {number})"
            if self.placement.sent_bits[number % row]:
                names[OUTPUT] = f"(from chip {number})"
            tables.append(table.assign(layer=table["layer"].replace(names), chip=number))
        return pd.concat(tables, ignore_index=True)

    def timeline_until(self, time_s: float) -> pd.DataFrame:
        """Every run that began before a time [s], as in `timeline`."""
        found = self.timeline
        return found[found["start_s"] < time_s].reset_index(drop=True)

    def components(self) -> pd.DataFrame:
        """One row a component, of all chips: as `Ledger.components`; utilisation is that of all units."""
        tables = [ledger.components() for ledger in self.chips]
        summed = sum(table.drop(columns="action") for table in tables)
        return tables[0][["action"]].join(summed.assign(utilisation=summed["utilisation"] / len(tables)))

    def layers(self) -> pd.DataFrame:
        """One row a layer and replica: as `Ledger.layers`, and the number of its chip."""
        return pd.concat([ledger.layers().assign(chip=number) for number, ledger in enumerate(self.chips)])

    @property
    def busiest_unit(self) -> tuple[str, float]:
        """Name, with its chip, and utilisation of the busiest unit of all chips; ("", 0) where there was none."""
        return self._busiest([ledger.busiest_unit for ledger in self.chips])

    @property
    def busiest_link(self) -> tuple[str, float]:
        """Name, with its chip, and utilisation of the busiest link of the chips' meshes; ("", 0) where nothing travelled."""
        return self._busiest([ledger.busiest_link for ledger in self.chips])

    def _busiest(self, found: list[tuple[str, float]]) -> tuple[str, float]:
        number, (name, share) = max(enumerate(found), key=lambda each: each[1][1])
        return f"{name} of chip {number}" if name else "", share

    @cached_property
    def energy(self) -> pd.DataFrame:
        """Energy [J] of all chips by layer (rows, the last one static) and component (columns)."""
        tables = [ledger.energy for ledger in self.chips]
        rows = [tables[0].index[0], *(layer.name for layer in self.placement.network.layers), *tables[0].index[-2:]]
        return pd.concat(tables).groupby(level=0).sum().loc[rows]

    def table(self) -> pd.DataFrame:
        """One row a chip: replica, layers, requests, crossbars_used, latency_mean_s on it, energy_J, on_chip_energy_J, link_energy_J,
        sent_bits to other chips, busiest_unit and busiest_unit_share."""
        rows, row = [], len(self.placement.chips)
        for number, ledger in enumerate(self.chips):
            unit, share = ledger.busiest_unit
            rows.append({
                "replica": number // row, "layers": len(ledger.placement.copies), "requests": ledger.requests,
                "crossbars_used": ledger.placement.crossbars_used,
                "latency_mean_s": float(ledger.latency.mean()) if ledger.requests else float("nan"),
                "energy_J": ledger.total_energy, "on_chip_energy_J": ledger.on_chip_energy, "link_energy_J": ledger.link_energy,
                "sent_bits": self.placement.sent_bits[number % row] * ledger.requests, "busiest_unit": unit, "busiest_unit_share": share,
            })  # fmt: skip
        return pd.DataFrame(rows).rename_axis("chip")

    def requests_table(self) -> pd.DataFrame:
        """One row a request: arrival_s, finish_s, latency_s, replica."""
        return super().requests_table().assign(replica=self.replica)

    def summary(self) -> dict[str, float]:
        """Headline numbers of all chips, SI, the unit in each name; those of `Ledger.summary` that several chips have, `crossing_`
        what goes between chips."""
        latency, requests = self.latency if self.requests else np.array([np.nan]), self.requests or np.nan
        performed = self.placement.network.chip_operations * self.requests
        static, leakage = self._sum(lambda ledger: ledger.chip.static_power), self._sum(lambda ledger: ledger.chip.leakage)
        return {
            "chips": len(self.chips), "replicas": self.replicas, "requests": self.requests, "span_s": self.span,
            "latency_mean_s": float(latency.mean()), "latency_p99_s": float(np.percentile(latency, 99)),
            "latency_max_s": float(latency.max()),
            "throughput_per_s": self.throughput, "steady_throughput_per_s": self.steady_throughput,
            "energy_J": self.total_energy, "energy_per_request_J": self.energy_per_request,
            "dynamic_energy_per_request_J": self.dynamic_energy / requests, "static_energy_J": self.static_energy,
            "on_chip_energy_per_request_J": self.on_chip_energy / requests,
            "leakage_energy_per_request_J": self.leakage_energy / requests,
            "link_energy_per_request_J": self.link_energy / requests,
            "crossing_energy_per_request_J": self.crossing_energy / requests, "crossing_bits_per_request": self.crossing_bits / requests,
            "average_power_W": self.average_power, "peak_power_W": float(self.power[1].max(initial=static)), "static_power_W": static,
            "on_chip_power_W": self.on_chip_energy / self.span if self.span_fs else leakage,
            "on_chip_peak_power_W": float(self.on_chip_power[1].max(initial=leakage)), "leakage_power_W": leakage,
            "busiest_link_share": self.busiest_link[1], "busiest_unit_share": self.busiest_unit[1], "area_m2": self.area,
            "operations_per_s": performed / self.span if self.span_fs else 0.0,
            "operations_per_J": performed / self.total_energy if self.total_energy else 0.0,
            "on_chip_operations_per_J": performed / self.on_chip_energy if self.on_chip_energy else 0.0,
            **self.placement.network.operations_shares,
            "crossbars_used": self.replicas * self.placement.crossbars_used,
            "crossbars": sum(ledger.chip.crossbars for ledger in self.chips),
            "cores_used": sum(ledger.placement.cores_used for ledger in self.chips),
            "cores": sum(ledger.chip.cores for ledger in self.chips),
        }  # fmt: skip


def _added(profiles: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The sum of piecewise constant functions over the same time."""
    edges = np.unique(np.concatenate([each for each, _ in profiles]))
    middle = edges[:-1]
    return edges, sum((level[np.searchsorted(each, middle, side="right") - 1] for each, level in profiles), np.zeros(len(middle)))

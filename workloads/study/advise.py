"""What to change of a chip that a network ran on: every single change that helps, estimated from the ledger, then simulated, and the best
pairs of them.

    advice = advise({"workload.name": "digits", "chip.name": "edge"}, images=0)
    advice.changes  # one row a change: estimated, simulated, whether both agree, why; accuracy where images are judged

Each change is estimated first (`xbar.workloads.study.estimate` has the formulas and the bands in which estimates are to agree), then
judged by the simulator; both stand beside each other. A change helps an objective where the simulator says so by LEAST or more, and
where what it costs in accuracy, if that was judged, is neither beyond its 95 % interval on the same images and chip instances nor more
than LOST on the mean, which few instances may not tell from chance. Array reads are charged by the averages that the chip states, as in
sweeps without images, so that a change takes no conversion of the network.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xbar.hw.chip.placement import Placement, place
from xbar.hw.errors import HardwareError
from xbar.hw.graph.network import Network
from xbar.reports.advice_sheet import AdviceSheet
from xbar.reports.record import Record
from xbar.reports.results import Results, ResultsError
from xbar.workloads.study import points
from xbar.workloads.study.changes import COPIES, NOT_TRIED, SHARING, Change, single_changes
from xbar.workloads.study.estimate import BANDS, OBJECTIVES, Footing, agrees, factor, simulated
from xbar.workloads.study.paired import Judged, difference, judged
from xbar.workloads.study.pin import setting
from xbar.workloads.study.sweep import SweepError, Value

LOST = 0.02  # of accuracy, of other metrics as a share of the value, on the mean
LEAST = 0.005  # of a quantity, from which on a change is called help
PAIRED = 3  # best changes of each objective that are tried in pairs
PAIRS = 3  # pairs of each objective that are simulated
IMAGES, INSTANCES, REQUESTS = 100, 3, 50  # unless told otherwise
SAME = 1e-9  # as a share, within which a run's numbers are those of the simulator now


class OtherNumbersWarning(UserWarning):
    """A run's folder has other numbers than the simulator gives now for the same command."""


@dataclass(frozen=True)
class Case:
    """What is advised on: a point (`xbar.workloads.study.points`), how its layers are placed, and the sizes that it is judged with."""

    point: Mapping[str, Value]
    mapping: Mapping[str, str] = field(default_factory=dict)
    requests: int = REQUESTS
    instances: int = INSTANCES
    seed: int = 0
    results: Results | None = None


def case_of(directory: Path) -> Case:
    """The case of a results folder of `xbar run`, from its record; raises ResultsError for other folders, and for runs that a point
    does not tell: of several chips, with modules on a host, of the recommender or of fair assignment."""
    results, record = Results.load(directory), Record.load(directory)
    if record is None:
        raise ResultsError(f"{directory}: has no record.json, which tells the command that made it; give that command again")
    told = record.settings
    for name, why in (("chips", "several chips"), ("host", "modules on a host"), ("train", "weights that it trained anew")):
        if told.get(name) not in (None, 1, "1", False, []):
            raise ResultsError(f"{directory}: is of a run with {why} (--{name}), on which there is no advice")
    names = {"workload.name": "workload", "chip.name": "chip", "device.name": "device", "workload.data": "data",
             "workload.weights": "weights", "workload.task": "task", "workload.metric": "metric"}  # fmt: skip
    point: dict[str, Value] = {key: told[name] for key, name in names.items() if told.get(name) is not None}
    for text in told.get("settings") or ():
        key, _, value = str(text).partition("=")
        point[key] = setting(key, value)
    seed, study = int(record.seed or 0), results.meta.get("study")
    sheets = [study, *map(results.meta.get, ("summary", "single_request"))]
    if not all(isinstance(each, dict) for each in sheets) or not study.keys() >= {"requests", "instances"}:
        raise ResultsError(f"{directory}: its run.json lacks study, summary or single_request of a run; run it again")
    mapping = {} if told.get("sharing") is None else {SHARING: str(told["sharing"])}
    return Case({**point, "workload.seed": seed}, mapping, int(study["requests"]), int(study["instances"]), seed, results)


def advise_run(directory: Path, *, images: int | None = None, instances: int | None = None, **options: Any) -> AdviceSheet:
    """`advise` on a results folder of `xbar run`, with its own chip, mapping, batch and seed. images: test samples that accuracies are
    judged on (0: none, costs alone; default IMAGES); instances: of the chip (default: the run's, INSTANCES at most). Warns where the
    folder's numbers are not those that the simulator gives now."""
    case = case_of(directory)
    found = advise(
        case.point, mapping=case.mapping, requests=case.requests, seed=case.seed, images=IMAGES if images is None else images,
        instances=min(INSTANCES, case.instances) if instances is None else instances, **options,
    )  # fmt: skip
    assert case.results is not None
    meta = case.results.meta
    for what, kept, now in (
        ("latency", meta["single_request"]["latency_s"], found.meta["values"]["latency"]),
        ("area", meta["summary"]["area_m2"], found.meta["area_with_links_m2"]),
    ):  # fmt: skip
        if abs(kept - now) > SAME * abs(kept):
            told = f"{directory}: its {what} is {kept:.6g}, and {now:.6g} by what there is now: files or code have changed since the run"
            warnings.warn(f"{told}; the advice is of what there is now", OtherNumbersWarning, stacklevel=2)
    return found


def advise(
    point: Mapping[str, Value], *, mapping: Mapping[str, str] | None = None, requests: int = REQUESTS, images: int = IMAGES,
    instances: int = INSTANCES, seed: int = 0, changes: Sequence[Change] | None = None, pairs: int = PAIRS,
    step: Callable[[str], None] = lambda _: None,
) -> AdviceSheet:  # fmt: skip
    """What to change of a point's chip (names and values as `xbar.workloads.study.points` has them, and those of a mapping).

    mapping: how layers are placed, {"mapping.sharing": ..., "mapping.copies": "one"}; requests: simulated in a batch; images: test samples
    that accuracies are judged on, 0 for costs alone; instances: of the chip; changes: those to try (default: all of
    `xbar.workloads.study.changes`); pairs: how many of each objective are simulated. step is told what begins. Raises what the point itself
    raises; what a change raises stands in its row.
    """
    placed = {name: str(point[name]) for name in (SHARING, COPIES) if point.get(name) is not None} | dict(mapping or {})
    of_layer = next((name for name in point if name.startswith("layer.") and name.endswith(COPIES)), None)
    if of_layer is not None:
        raise SweepError(f"{of_layer} = {point[of_layer]!r}: advice is of layers that are copied by one rule, {COPIES}")
    own = {name: value for name, value in point.items() if name not in (SHARING, COPIES)}
    return _Adviser(own, placed, max(2, requests), images, instances, seed, step).all(changes, pairs)


class _Adviser:
    def __init__(
        self, point: dict[str, Value], mapping: dict[str, str], requests: int, images: int, instances: int, seed: int,
        step: Callable[[str], None],
    ):  # fmt: skip
        self.point, self.mapping, self.requests, self.step = point, mapping, requests, step
        self.images, self.instances, self.seed = images, instances, seed
        step("placing and simulating the chip as it is")
        self.workload, self.chip, _ = points.looked_into(point)
        self.footing = Footing.of(self._placed(self.point, self.mapping), requests)
        self.values = self.footing.values
        self.scored: Judged | None = None
        if images:
            step("accuracy of the chip as it is")
            self.scored = judged(point, images, instances, seed)

    def _placed(self, point: Mapping[str, Value], mapping: Mapping[str, str]) -> Placement:
        _, chip, network = points.looked_into(point)
        return _place(network, chip, mapping)

    def all(self, changes: Sequence[Change] | None, most: int) -> AdviceSheet:
        """Single changes, then pairs."""
        device = self.point.get("device.name")
        tried = single_changes(self.footing.placement, None if device is None else str(device)) if changes is None else list(changes)
        singles = [self._row(change, f"{number} of {len(tried)}") for number, change in enumerate(tried, 1)]
        table = self._table(tried, singles)
        pairs = self._pairs(tried, table, most)
        together = [one & other for one, other in pairs]
        found = [self._row(change, f"pair {number} of {len(pairs)}") for number, change in enumerate(together, 1)]
        table = table.assign(kind="single")
        return self._sheet(
            pd.concat([table, self._table(together, found).assign(kind="pair")], ignore_index=True) if together else table
        )

    def _row(self, change: Change, place: str) -> dict[str, Any]:
        """One change: estimated, simulated, its accuracy; or why it cannot be."""
        self.step(f"{change.name} ({place})")
        row: dict[str, Any] = {"change": change.name, "keys": change.told, "scores": change.scores, "error": "", "note": ""}
        point, mapping = {**self.point, **change.values}, {**self.mapping, **change.mapping}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                placement = self._placed(point, mapping)
                estimate = self.footing.estimate(placement)
                values = simulated(placement, self.requests)
                scored = judged(point, self.images, self.instances, self.seed) if self.scored is not None and change.scores else None
            except (HardwareError, SweepError) as error:
                return row | {"error": str(error).splitlines()[0]}
        row["note"] = "; ".join(dict.fromkeys(str(each.message) for each in said))
        for name in OBJECTIVES:
            row |= {
                f"{name}": values[name], f"{name}_estimated": estimate.values[name],
                f"{name}_change": values[name] / self.values[name] - 1,
                f"{name}_estimated_change": estimate.values[name] / self.values[name] - 1,
                f"{name}_agrees": agrees(name, estimate.values[name], values[name]), f"{name}_reason": estimate.reasons[name],
            }  # fmt: skip
        if scored is not None and self.scored is not None:
            lost = difference(self.scored, scored)
            row |= {"score": scored.mean, "score_change": lost.mean, "score_low": lost.low, "score_high": lost.high}
        return row

    def _table(self, changes: Sequence[Change], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Rows with what each helps, and its rank by objective."""
        columns = ["change", "keys", "scores", "error", "note"]
        columns += [f"{name}{end}" for name in OBJECTIVES for end in ENDS]
        columns += ["score", "score_change", "score_low", "score_high"]
        table = pd.DataFrame([dict(row) for row in rows], columns=columns)
        sign = 1.0 if self.scored is None or self.scored.metric.better == "high" else -1.0
        low, high = (table[name].to_numpy(float) * sign for name in ("score_low", "score_high"))
        most = LOST * (1.0 if self.scored is None or not self.scored.metric.unit else abs(self.scored.mean))
        worse = ((high < 0) & (low < 0)) | (table["score_change"].to_numpy(float) * sign < -most)
        better = (low > 0) & (high > 0)
        table["costs_score"], table["helps_score"] = worse, better
        for name in OBJECTIVES:
            times = factor(name, table[name].to_numpy(float), self.values[name])
            table[f"{name}_helps"] = (times >= 1 / (1 - LEAST)) & ~worse
            rank = pd.Series(np.where(table[f"{name}_helps"], times, np.nan)).rank(ascending=False, method="first")
            table[f"{name}_rank"] = rank
        return table

    def _pairs(self, changes: Sequence[Change], table: pd.DataFrame, most: int) -> list[tuple[Change, Change]]:
        """Of the best changes of each objective the pairs that promise most of it, as if each did what it does alone."""
        found: dict[tuple[int, int], None] = {}
        for name in OBJECTIVES:
            best = table[table[f"{name}_helps"]].sort_values(f"{name}_rank", kind="stable").index[:PAIRED]
            times = factor(name, table[name].to_numpy(float), self.values[name])
            pairs = [
                (one, other) for one, other in itertools.combinations(sorted(best), 2) if not changes[one].keys & changes[other].keys
            ]
            for pair in sorted(pairs, key=lambda pair: -times[pair[0]] * times[pair[1]])[:most]:
                found[pair] = None
        return [(changes[one], changes[other]) for one, other in found]

    def _sheet(self, table: pd.DataFrame) -> AdviceSheet:
        bound, path = self.footing.bottlenecks, self.footing.path
        metric = self.workload.data.metric
        meta: dict[str, Any] = {
            "kind": "advice", "title": f"{self.workload.title} on {self.chip.title}", "workload": self.workload.name,
            "chip": self.chip.name, "values": self.values, "area_with_links_m2": self.chip.area, "bands": BANDS, "least": LEAST,
            "requests": self.requests, "seed": self.seed, "mapping": self.mapping,
            "point": {name: value for name, value in self.point.items()},
            "images": self.images, "instances": self.instances, "not_tried": NOT_TRIED,
            "lost": LOST, "metric": metric.told(), "score": None if self.scored is None else self.scored.mean,
        }  # fmt: skip
        energy, area = (series.rename("value").rename_axis("part").reset_index() for series in (bound.energy, bound.area))
        shares = pd.concat([energy.assign(of="energy"), area.assign(of="area")], ignore_index=True)
        return AdviceSheet(
            meta, table, bound.table().rename_axis("of").reset_index(), path.table(), bound.throughput.reset_index(), shares
        )


ENDS = ("", "_estimated", "_change", "_estimated_change", "_agrees", "_reason")


def _place(network: Network, chip: Any, mapping: Mapping[str, str]) -> Placement:
    """As a mapping says: copies "one" of each layer, or balanced; sharing as `place` has it."""
    return place(network, chip, None if mapping.get(COPIES) == "one" else "balance", mapping.get(SHARING, "as_needed"))  # type: ignore[arg-type]

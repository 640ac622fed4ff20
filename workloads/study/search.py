"""A search for the designs that nothing beats, within constraints: few of a space's points, costs first, accuracies where they matter.

A design is a point's values on the axes. Each batch of them is judged by costs alone, then on a few chips and samples, then on more, and
goes on only as long as it may still hold the constraints and nothing that holds them beats it. A value that is estimated from a few chips
beats, holds or breaks only beyond its band: one-sided, Student's t times its standard error over chips and samples
(`xbar.workloads.study.mean_errors`). What was passed over and is no longer beaten at the end, as what beat it fell behind when it was
judged better, is judged then.

One design is chosen at the end. The best of many estimates is too good to be true, so the estimates that it was chosen by are not
what it is promised on: the first candidates, in the order of one objective, and as the last the one that holds by the most, are judged
once more on chips and samples that the search never saw, one after the other, until one holds; one that cannot be judged there is
noted with its error and does not hold. With m of them allowed each must hold with
a confidence of 1 - (1 - c) / m, so that with confidence c none passes that does not hold (Bonferroni's inequality).

Everything follows from the seed, the batch and what designs are worth: who computes, and when it was killed, makes no difference. Points
are kept in the journal of a sweep (`xbar.workloads.study.kept_points`), so that a search that is given again asks for the same designs and
finds their worth there.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xbar.hw.errors import did_you_mean
from xbar.workloads.study.identity import Point, Run, SweepError, Value, function_name, plain_point
from xbar.workloads.study.kept_points import KeptPoints
from xbar.workloads.study.mean_errors import half_band
from xbar.workloads.study.proposals import SAMPLERS, Design, Proposals, Worth, size_of
from xbar.workloads.study.requirements import CONFIDENCE, Requirement, worst_value
from xbar.workloads.study.result_table import RESULTS, SUMMARY, write_results, write_summary
from xbar.workloads.study.spaces import Axis, allowed_on, on_axis
from xbar.workloads.study.sweep import SweepResult, shown_progress

if TYPE_CHECKING:
    import pandas as pd

SAMPLER = "tpe"
LOW, HIGH = "low", "high"
OWN = ("level", "holds", "unbeaten")  # columns that a search adds to those of its points


@dataclass(frozen=True)
class Confirmation:
    """How the chosen design is judged once more: `level` is merged into its point, `most` candidates are judged at most."""

    level: Mapping[str, Value]
    most: int = 5


@dataclass(frozen=True)
class Asked:
    """What is searched for.

    axes: what varies; objectives: columns and which side of each is better, "low" or "high"; requirements: what must hold. fixed: what
    points share; levels: of judging, the cheapest first, each merged into the point: the first is of all designs. confirmation: None where
    nothing is estimated. designs: how many are looked at, in batches of `batch`, of which `neighbours` is the share next to the front.
    choose: the objective by which one design is chosen, by default the first. confidence: of bands by which designs beat each other.
    first: designs to begin with. Raises SweepError.
    """

    axes: Mapping[str, Axis]
    objectives: Mapping[str, str]
    requirements: Sequence[Requirement] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    levels: Sequence[Mapping[str, Value]] = ({},)
    confirmation: Confirmation | None = None
    designs: int = 120
    batch: int = 12
    seed: int = 0
    choose: str = ""
    sampler: str = SAMPLER
    neighbours: float = 0.0
    confidence: float = CONFIDENCE
    first: Sequence[Design] = ()
    title: str = "search"

    def __post_init__(self) -> None:
        if not self.objectives or not all(side in (LOW, HIGH) for side in self.objectives.values()):
            raise SweepError(f"objectives = {dict(self.objectives)}: must be one column or more, each low or high")
        if not isinstance(self.choose, str) or (self.choose and self.choose not in self.objectives):
            raise SweepError(f"choose = {self.choose!r}: must be one of the objectives {', '.join(self.objectives)}")
        if self.sampler not in SAMPLERS:
            raise SweepError(f"sampler = {self.sampler!r}: must be one of {', '.join(SAMPLERS)}")
        for name, value in (("designs", self.designs), ("batch", self.batch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SweepError(f"{name} = {value!r}: must be a whole number of at least 1")
        if self.designs % self.batch:
            raise SweepError(f"designs = {self.designs}: must be a multiple of batch = {self.batch}: batches are asked for whole, so "
                             "that a search may go on with more designs")  # fmt: skip
        if not self.axes:
            raise SweepError("axes = (none): at least one is needed")
        for place, design in enumerate(self.first):
            wrong = [name for name, value in design.items() if name in self.axes and not on_axis(self.axes[name], value)]
            if wrong:
                raise SweepError(f"first[{place}].{wrong[0]} = {design[wrong[0]]!r}: must be {allowed_on(self.axes[wrong[0]])}")
        if not self.levels:
            raise SweepError("levels = (none): at least one is needed")

    @property
    def chosen_by(self) -> str:
        """The objective by which one design is chosen."""
        return self.choose or next(iter(self.objectives))

    @property
    def identity(self) -> str:
        """What tells this search from another: all of it but how many designs it looks at, and its title."""
        told = {name: value for name, value in asdict(self).items() if name not in ("designs", "title")}
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()[:32]


@dataclass(frozen=True, repr=False)
class SearchResult(SweepResult):
    """What a search left in `out`, as a sweep does: a row a design in `path`. chosen: its place among them, None where no design was
    confirmed, or holds; confirmations: rows of what was judged once more: point, `holds`, and what the run returned, or its `error`."""

    chosen: int | None = None
    confirmations: tuple[dict[str, Any], ...] = ()
    judged: int = 0

    def __repr__(self) -> str:
        chosen = "none chosen" if self.chosen is None else f"design {self.chosen} chosen"
        return f"Search of {self.points:,} designs, {self.judged:,} points judged, {chosen}\n  {self.path}"

    def design(self) -> "pd.Series | None":
        """The chosen design's row, None where there is none."""
        return None if self.chosen is None else self.frame().iloc[self.chosen]


def search(
    asked: Asked, run: Run, out: str | Path, executor: Executor | None = None, *, complete: Callable[[Point], Design] = plain_point,
    workers: int | None = None, threads: int = 1, window: int | None = None, depends: Callable[[Point], str] | None = None,
    retry_failed: bool = False, progress: bool = False, about: Mapping[str, Any] | None = None,
) -> SearchResult:  # fmt: skip
    """Look for the designs that no other beats, and leave `results.parquet`, a row a design as it was judged best, and `sweep.json` in
    `out`, as a sweep does; with the columns level (of judging: 0 the first), holds (whether its own values keep the constraints; missing
    where it was not judged so far) and unbeaten (whether no design that holds beats it beyond the bands of both).

    run, executor, workers, threads, window, depends, retry_failed, progress, about: as `xbar.workloads.study.sweep.sweep`. complete: makes
    the point of names and values that is judged. A column c has the standard error `c_error` with `c_freedom`; where `run` returns
    `c_lost`, with both of its own, designs are compared by that. The rows are the same, but for wall_s, whatever computes them, and
    however often the search was killed and given again. The same folder takes more designs. It is a search: the front that it
    finds is part of the front of the designs it looked at, and says nothing of those it did not.

    Raises SweepError for columns that `run` does not return, for a folder of another search or sweep, and as `sweep`.
    """
    folder = Path(out)
    with KeptPoints(folder, run, executor, workers=workers, threads=threads, window=window, depends=depends) as kept:
        _check_same(folder, asked)
        with shown_progress(0, asked.designs, progress, "search") as bar:
            found = _Search(asked, kept, complete, bar, retry_failed)
            found.all()
        looked = found.looked
        points, keys = [each.points[-1] for each in looked], [each.keys[-1] for each in looked]
        failed = sum(each.error is not None for each in looked)
        write_results(folder, points, keys, kept.journal, found.columns())
        told = {**(about or {}), "title": asked.title, "function": function_name(run), "search": found.told()}
        write_summary(folder, points, failed, kept.code, told, axes=list(asked.axes))
    return SearchResult(folder / RESULTS, len(looked), found.reused, failed, found.chosen, tuple(found.confirmed), found.judged)


def _check_same(folder: Path, asked: Asked) -> None:
    """Raise SweepError where the folder's results are of another search, or of a sweep."""
    if not (folder / RESULTS).exists():
        return
    choice = f"give another folder, or remove {RESULTS} there to replace it"
    try:
        before = json.loads((folder / SUMMARY).read_text("utf-8"))["search"]
        identity, designs = before["identity"], int(before["designs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SweepError(f"{folder}: holds results that are not of a search; {choice}") from None
    if identity != asked.identity:
        raise SweepError(f"{folder}: holds the results of another search; {choice}")
    if designs > asked.designs:
        raise SweepError(f"{folder}: holds the results of this search over {designs} designs, of which {asked.designs} are a part; "
                         f"{choice}")  # fmt: skip


@dataclass
class _Looked:
    """A design and what it is worth so far: points and keys by level, what was returned, an error."""

    place: int
    design: Design
    points: list[Design] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    intervals: tuple[tuple[float, float], ...] = ()  # of losses by objective, as its row says
    sure: bool = False  # all requirements hold beyond their bands

    @property
    def level(self) -> int:
        """Of judging, as far as it came."""
        return len(self.points) - 1


class _Search:
    """One search on its way."""

    def __init__(self, asked: Asked, kept: KeptPoints, complete: Callable[[Point], Design], bar: Any, retry_failed: bool):
        self.asked, self.kept, self.complete, self.bar, self.retry_failed = asked, kept, complete, bar, retry_failed
        self.looked: list[_Looked] = []
        self.chosen: int | None = None
        self.confirmed: list[dict[str, Any]] = []
        self.by_level = [0] * len(asked.levels)
        self.reused = 0
        self.history: list[dict[str, Any]] = []
        self.paired = not any(name.startswith("workload.") for name in asked.axes)  # one network in float for all

    @property
    def judged(self) -> int:
        """Points that designs were judged at, confirmations included."""
        return sum(self.by_level) + len(self.confirmed)

    def all(self) -> None:
        """Look at designs, batch by batch; then choose."""
        asked = self.asked
        proposals = Proposals(asked.axes, len(asked.objectives), asked.seed, asked.first, asked.sampler,
                              asked.neighbours)  # fmt: skip
        while len(self.looked) < asked.designs and (designs := proposals.ask(asked.batch)):
            batch = [_Looked(len(self.looked) + place, design) for place, design in enumerate(designs)]
            self.looked += batch
            self._judge(batch)
            for each in batch:
                proposals.tell(each.design, self._worth(each))
                self.bar.update()
            self.history.append(self._so_far())
        while passed := [each for each in self.looked if 0 <= each.level < self._top and self._goes_on(each)]:
            self._compute(passed)
        self._choose()

    @property
    def _top(self) -> int:
        return len(self.asked.levels) - 1

    # ---- judging

    def _judge(self, batch: list[_Looked]) -> None:
        """Costs of all, then level after level those that may still matter."""
        self._compute(batch)
        while going := [each for each in batch if each.level < self._top and self._goes_on(each)]:
            self._compute(going)

    def _compute(self, designs: Sequence[_Looked]) -> None:
        """Judge designs at their next level."""
        points = [self.complete({**self.asked.fixed, **each.design, **self.asked.levels[each.level + 1]}) for each in designs]
        keys = self._computed(points)
        for each, point, key in zip(designs, points, keys, strict=True):
            entry = self.kept.found(key)
            each.points.append(point)
            each.keys.append(key)
            each.error = entry["error"]
            self.by_level[each.level] += 1
            if each.error is None:
                each.row = dict(entry["found"])
                self._check_columns(each)
                each.intervals = tuple(self._interval(each.row, name) for name in self.asked.objectives)
                each.sure = all(requirement.holds(each.row) for requirement in self.asked.requirements)

    def _computed(self, points: Sequence[Design]) -> list[str]:
        keys = self.kept.keys(points)
        self.reused += len(self.kept.known(keys, self.retry_failed))
        self.kept.compute(points, keys, _Silent(), self.retry_failed)
        return keys

    def _check_columns(self, each: _Looked) -> None:
        """Raise SweepError where a design that came to the last level lacks what was asked for."""
        if each.level < self._top:
            return
        names = [*self.asked.objectives, *(f"{r.column}_lost" if r.of_float else r.column for r in self.asked.requirements)]
        missing = [name for name in names if name not in each.row]
        if missing:
            hint = did_you_mean(missing[0], each.row)
            raise SweepError(f"{missing[0]}: no such column among what points are judged by{hint}: {', '.join(each.row)}")

    def _interval(self, row: Mapping[str, Any], name: str) -> tuple[float, float]:
        """Least and greatest loss of an objective (low is better) within its band; anything, where it is not judged yet."""
        sign = 1.0 if self.asked.objectives[name] == LOW else -1.0
        lost = self.paired and row.get(f"{name}_lost") is not None
        column = f"{name}_lost" if lost else name
        if column not in row:
            return -math.inf, math.inf
        value = row[column]
        if value is None:
            return math.inf, math.inf
        middle = value if lost else sign * value
        error = row.get(f"{column}_error", 0.0)
        half = half_band(math.inf if error is None else error, row.get(f"{column}_freedom", 1.0), self.asked.confidence)
        return middle - half, middle + half

    def _goes_on(self, each: _Looked) -> bool:
        """Whether a design is worth judging better: it may hold, and nothing that holds beats it."""
        return each.error is None and self._possible(each) and not self._beaten(each)

    def _possible(self, each: _Looked) -> bool:
        return all(requirement.possible(each.row) for requirement in self.asked.requirements)

    def _beaten(self, each: _Looked) -> bool:
        """Whether a design that holds is better beyond the bands of both."""
        return any(other.sure and other is not each and _beyond(other.intervals, each.intervals) for other in self._sure)

    @property
    def _sure(self) -> list[_Looked]:
        return [each for each in self.looked if each.sure and each.error is None]

    def _worth(self, each: _Looked) -> Worth:
        """What a sampler is told: values as they are; of what was not judged, the worst seen."""
        if each.error is not None:
            return Worth(None)
        losses = []
        for name in self.asked.objectives:
            loss = self._loss(each, name)
            losses.append(worst_value([self._loss(other, name) for other in self.looked]) if loss is None else loss)
        return Worth(tuple(losses), tuple(requirement.broken(each.row) for requirement in self.asked.requirements))

    def _loss(self, each: _Looked, name: str) -> float | None:
        value = each.row.get(name)
        if each.error is not None or value is None or not math.isfinite(value):
            return None
        return float(value) if self.asked.objectives[name] == LOW else -float(value)

    # ---- what came of it

    def _holds(self, each: _Looked) -> bool | None:
        """Whether a design's own values keep the constraints; None where that is not known."""
        if each.error is not None or not self._possible(each):
            return False
        found = [requirement.estimate(each.row) for requirement in self.asked.requirements]
        return None if None in found else all(one is not None and one[0] <= 0 for one in found)

    def _so_far(self) -> dict[str, Any]:
        """The best of each objective that holds, after a batch."""
        best = {}
        for name, side in self.asked.objectives.items():
            losses = [loss for each in self.looked if self._holds(each) and (loss := self._loss(each, name)) is not None]
            best[name] = (min(losses) if side == LOW else -min(losses)) if losses else None
        return {"designs": len(self.looked), "judged": sum(self.by_level), **best}

    def columns(self) -> list[dict[str, Value]]:
        """What a search adds to the rows of its designs."""
        return [
            {"level": each.level, "holds": self._holds(each), "unbeaten": bool(self._holds(each)) and not self._beaten(each)}
            for each in self.looked
        ]  # fmt: skip

    def _choose(self) -> None:
        """The first of the best candidates that holds on chips and samples that were not seen before."""
        asked = self.asked
        loss = {each.place: found for each in self.looked if (found := self._loss(each, asked.chosen_by)) is not None}
        able = [each for each in self.looked if each.level == self._top and self._holds(each) and each.place in loss]
        able.sort(key=lambda each: loss[each.place])
        if asked.confirmation is None:
            self.chosen = able[0].place if able else None
            return
        most = asked.confirmation.most
        for each in self._candidates(able, most):
            point = self.complete({**asked.fixed, **each.design, **asked.confirmation.level})
            entry = self.kept.found(self._computed([point])[0])
            found, error = entry["found"], entry["error"]
            if error is not None:
                self.confirmed.append({"point": each.place, "holds": False, "error": error})
                continue
            holds = all(requirement.holds(found, requirement.stricter(most)) for requirement in asked.requirements)
            self.confirmed.append({"point": each.place, "holds": holds, **found})
            if holds:
                self.chosen = each.place
                return

    def _candidates(self, able: list[_Looked], most: int) -> list[_Looked]:
        """Those of designs, the best first, that are judged once more: first the best that hold beyond their bands already, then those that
        hold by the most; the one that holds by the most of all is always among them, so that one is found where one can be."""
        requirements = self.asked.requirements

        def least_left(each: _Looked) -> float:
            return max((requirement.left(each.row, requirement.stricter(most)) for requirement in requirements), default=0.0)

        likely = [each for each in able if each.sure]
        found = [*likely, *sorted((each for each in able if each not in likely), key=least_left)][:most]
        safest = min(able, key=least_left, default=None)
        return found if safest is None or safest in found else [*found[:-1], safest]

    def told(self) -> dict[str, Any]:
        """What a report needs to know of the search."""
        asked = self.asked
        levels = [{"told": dict(level), "judged": judged} for level, judged in zip(asked.levels, self.by_level, strict=True)]
        size = size_of(asked.axes)
        return {
            "identity": asked.identity, "objectives": dict(asked.objectives), "requirements": [each.told() for each in asked.requirements],
            "designs": asked.designs, "batch": asked.batch, "seed": asked.seed, "sampler": asked.sampler, "choose": asked.chosen_by,
            "space": size if math.isfinite(size) else None, "levels": levels, "history": self.history, "chosen": self.chosen,
            "confirmations": self.confirmed, "confidence": asked.confidence,
            "confirmation": asked.confirmation and {"told": dict(asked.confirmation.level), "most": asked.confirmation.most},
        }  # fmt: skip


class _Silent:
    """Progress is told by designs, not by points."""

    def set_postfix(self, failed: int, refresh: bool = False) -> None:
        """Nothing is shown."""

    def update(self) -> None:
        """Nothing is shown."""


def _beyond(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    """Whether the worst of one is as good as the best of the other in all, and better in one."""
    return all(a[1] <= b[0] for a, b in zip(one, other, strict=True)) and any(a[1] < b[0] for a, b in zip(one, other, strict=True))

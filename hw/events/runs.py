"""Runs of activities, and rates made of them, where a middle part repeats itself: held once, and expanded as far as is asked.

A simulation that repeats itself (`xbar.hw.events.repetition`) writes down its first runs, one period, and its last ones. `Runs` holds these
rows with how often the period is there and how far apart. What depends on how often something ran is a weighted sum over rows.
What depends on what runs at the same time, a rate or the union of spans, is the same in every period that lies further from the end of
the repetition than the longest run is long, for until then whatever runs at an instant belongs to periods that are all there; so
`Runs.few` expands no more periods than that, and `Profile` repeats the first of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xbar.hw.events.served import FEMTOSECOND


@dataclass(frozen=True)
class Repeats:
    """Rows `first` to `last` (exclusive) ran after `begins` and until `begins` + `shift` [fs]. They ran `more` times more, each time a
    `shift` later than the time before, and all rows behind them as many shifts later. requests: how many fewer the rows tell of than
    were served."""

    first: int
    last: int
    begins: int
    shift: int
    more: int
    requests: int

    @property
    def length(self) -> int:
        """How much time the repetitions add [fs]."""
        return self.more * self.shift


@dataclass(frozen=True)
class Runs:
    """Rows in order of their ends: activity (a number), start and end [fs], int64 (rows,) each; of these, what repeats itself."""

    activity: np.ndarray
    start: np.ndarray
    end: np.ndarray
    repeats: Repeats | None = None

    def counts(self, activities: int) -> np.ndarray:
        """How often each of so many activities ran, int64."""
        found = np.bincount(self.activity, minlength=activities)
        if (repeats := self.repeats) is not None:
            found = found + repeats.more * np.bincount(self.activity[repeats.first : repeats.last], minlength=activities)
        return found

    @property
    def count(self) -> int:
        """How many runs there were."""
        repeats = self.repeats
        return len(self.activity) + (0 if repeats is None else repeats.more * (repeats.last - repeats.first))

    @cached_property
    def busy(self) -> int:
        """Sum of the runs' lengths [fs]."""
        length, repeats = self.end - self.start, self.repeats
        return int(length.sum()) + (0 if repeats is None else repeats.more * int(length[repeats.first : repeats.last].sum()))

    def of(self, activities: Iterable[int]) -> "Runs":
        """The runs of these activities."""
        mine, repeats = np.isin(self.activity, list(activities)), self.repeats
        if repeats is not None:
            first, last = (int(np.count_nonzero(mine[:row])) for row in (repeats.first, repeats.last))
            repeats = Repeats(first, last, repeats.begins, repeats.shift, repeats.more, repeats.requests)
        return Runs(self.activity[mine], self.start[mine], self.end[mine], repeats)

    @property
    def first_start(self) -> int:
        """When the first run began [fs]."""
        if self.repeats is None:
            return int(self.start.min())
        last, later = self.repeats.last, self.repeats.length
        return min(int(each.min()) for each in (self.start[:last], self.start[last:] + later) if len(each))

    @property
    def last_end(self) -> int:
        """When the last run ended [fs]."""
        if self.repeats is None:
            return int(self.end.max())
        first, later = self.repeats.first, self.repeats.length
        return max(int(each.max()) for each in (self.end[:first], self.end[first:] + later) if len(each))

    # ---- expanded

    def _expanded(self, more: int) -> "Runs":
        """As if the period were there `more` times more, of which nothing is left to repeat."""
        if (repeats := self.repeats) is None:
            return self
        period = slice(repeats.first, repeats.last)

        def times(of: np.ndarray) -> np.ndarray:
            again = (of[period] + np.arange(1, more + 1)[:, None] * repeats.shift).ravel()
            return np.concatenate([of[: repeats.last], again, of[repeats.last :] + more * repeats.shift])

        activity = [self.activity[: repeats.last], np.tile(self.activity[period], more), self.activity[repeats.last :]]
        return Runs(np.concatenate(activity), times(self.start), times(self.end))

    @property
    def all(self) -> "Runs":
        """Every run as a row of its own."""
        return self._expanded(0 if self.repeats is None else self.repeats.more)

    def until(self, time: int) -> "Runs":
        """Every run that began before this time [fs] as a row of its own."""
        runs, repeats = self, self.repeats
        if repeats is not None:
            earliest = repeats.begins - self._longest  # when the period's first run can have begun
            if (needed := max(0, (time - earliest) // repeats.shift + 1)) < repeats.more:
                known = Runs(self.activity[: repeats.last], self.start[: repeats.last], self.end[: repeats.last], repeats)
                runs = known._expanded(needed)
            else:
                runs = self.all
        began = runs.start < time
        return Runs(runs.activity[began], runs.start[began], runs.end[began])

    @property
    def _longest(self) -> int:
        return int((self.end - self.start).max(initial=0))

    @cached_property
    def few(self) -> tuple["Runs", Repeats | None]:
        """Rows in which nothing repeats, with so many periods that all that is left out is the first of them, again and again: of what
        runs at an instant, what follows its end follows the last of the repetitions."""
        if (repeats := self.repeats) is None:
            return self, None
        needed = min(repeats.more, -(-self._longest // repeats.shift))
        runs = self._expanded(needed)
        more = repeats.more - needed
        return runs, Repeats(repeats.first, repeats.last, repeats.begins, repeats.shift, more, repeats.requests) if more else None

    def union(self) -> int:
        """Length of the time during which at least one of the runs ran [fs]."""
        runs, repeats = self.few
        found = union(runs.start, runs.end)
        if repeats is not None:
            span = repeats.begins, repeats.begins + repeats.shift
            found += repeats.more * union(np.clip(runs.start, *span), np.clip(runs.end, *span))
        return found


def union(start: np.ndarray, end: np.ndarray) -> int:
    """Length of the union of spans [fs]."""
    order = np.argsort(start, kind="stable")
    first, last = start[order], end[order]
    reached = np.maximum.accumulate(last)
    before = np.concatenate(([0], reached[:-1]))
    return int(np.maximum(last - np.maximum(first, before), 0).sum())


@dataclass(frozen=True)
class Profile:
    """A piecewise constant rate: edges [fs] int64 (n + 1,), level between them (n,); what is in `repeats` (its rows are not used) is
    there that much more often."""

    edges: np.ndarray
    level: np.ndarray
    repeats: Repeats | None = None

    @classmethod
    def of(cls, runs: Runs, per_run: np.ndarray, span: int, always: float) -> "Profile":
        """The rate [1/s] when each activity's amount per run is spread evenly over its time, from 0 to `span` [fs], on top of what is
        there `always`."""
        few, repeats = runs.few
        height = per_run[few.activity] / ((few.end - few.start) * FEMTOSECOND)
        times = np.concatenate([few.start, few.end, [0, span - (repeats.length if repeats is not None else 0)]])
        steps = np.concatenate([height, -height, [0.0, 0.0]])
        edges, where = np.unique(times, return_inverse=True)
        return cls(edges, np.cumsum(np.bincount(where, weights=steps, minlength=len(edges)))[:-1] + always, repeats)

    @property
    def peak(self) -> float:
        """The highest level; nan where no time passes."""
        return float(self.level.max()) if len(self.level) else float("nan")

    @cached_property
    def _total(self) -> np.ndarray:
        """The integral until each edge."""
        return np.concatenate([[0.0], np.cumsum(np.diff(self.edges) * FEMTOSECOND * self.level)])

    def until(self, times: np.ndarray) -> np.ndarray:
        """The integral from the first edge to each of these times [fs]."""
        if (repeats := self.repeats) is None:
            return np.interp(times, self.edges, self._total)
        begins, ends = repeats.begins, repeats.begins + repeats.shift
        before = np.clip(np.ceil((times - ends) / repeats.shift), 0, repeats.more)  # repetitions that have passed, or begun
        period = np.diff(np.interp([begins, ends], self.edges, self._total))
        return np.interp(times - before * repeats.shift, self.edges, self._total) + before * period

    @property
    def integral(self) -> float:
        """The integral over all of the time."""
        spans = np.diff(self.edges) * FEMTOSECOND * self.level
        if (repeats := self.repeats) is None:
            return float(spans.sum())
        first, last = self.edges.searchsorted([repeats.begins, repeats.begins + repeats.shift], "right")
        again = np.append(self.edges[first:last], self.edges[first] + repeats.shift)
        return float(spans.sum()) + repeats.more * float((np.diff(again) * FEMTOSECOND * self.level[first:last]).sum())

    def part(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Edges and levels of which those from `begin` to `end` [fs] are all that are there; before and after, some more."""
        if (repeats := self.repeats) is None:
            return self.edges, self.level
        first, last = self.edges.searchsorted([repeats.begins, repeats.begins + repeats.shift], "right")
        low, high = (
            min(max((time - repeats.begins) // repeats.shift + beyond, 0), repeats.more) for time, beyond in ((begin, -1), (end, 1))
        )
        where = [slice(0 if low == 0 else first, last), *[slice(first, last)] * (high - low)]
        later = [number * repeats.shift for number in range(low, high + 1)]
        if high == repeats.more:
            where.append(slice(last, None))
            later.append(repeats.length)
        edges = np.concatenate([self.edges[each] + shift for each, shift in zip(where, later, strict=True)])
        level = np.concatenate([self.level[each] for each in where])
        return edges, level[: len(edges) - 1]

    @property
    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """All edges and levels."""
        return self.part(0, int(self.edges[-1]) + (self.repeats.length if self.repeats is not None else 0))

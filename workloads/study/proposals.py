"""Which designs a search looks at next: the middle of the space and its corners first, then what Optuna's sampler asks for.

A share of each batch may also be designs one step away on one axis from designs that nothing beats, given to Optuna as trials of its queue.
Measured on 2,592 chips (results/search/README.md), the tree-structured Parzen estimator without such neighbours finds most of the true
fronts' hypervolumes where few designs are looked at, and no less than any other way where a tenth is, so that it is the default.

A search asks in batches of one size and tells in the order in which it asked, so that what is asked for follows from the seed and from
what designs are worth, not from who computes.
"""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xbar.workloads.study.identity import SweepError, Value
from xbar.workloads.study.spaces import Axis, Span

Design = dict[str, Value]
SAMPLERS = ("tpe", "nsga2", "gp", "random")
MOST_CORNERS = 8
TRIES = 4  # of a sampler to find a design that was not looked at, before one is drawn
MOST_LISTED = 1000  # whole numbers of a span that are places of a list, each next to two others
STEP = 0.1  # of a span, to a neighbour: the size of a normal step


@dataclass(frozen=True)
class Worth:
    """What a design is worth, as a sampler is told it: losses by objective (low is better), and by how much constraints are broken, each
    0 or below where it holds. None for losses: the design failed."""

    losses: tuple[float, ...] | None
    broken: tuple[float, ...] = ()

    @property
    def holds(self) -> bool:
        """True where it did not fail and breaks no constraint."""
        return self.losses is not None and all(each <= 0 for each in self.broken)


class Proposals:
    """Designs to look at, none twice.

    axes: what varies; objectives: how many; seed: of everything that is drawn; first: designs to begin with. neighbours: share of a batch
    that is next to the front. Raises SweepError for an unknown sampler.
    """

    def __init__(
        self, axes: Mapping[str, Axis], objectives: int, seed: int, first: Sequence[Design] = (),
        sampler: str = "tpe", neighbours: float = 0.5,
    ):  # fmt: skip
        if sampler not in SAMPLERS:
            raise SweepError(f"sampler = {sampler!r}: must be one of {', '.join(SAMPLERS)}")
        try:
            import optuna
        except ImportError:
            raise SweepError("search: needs optuna; install it with: pip install 'xbar[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.axes, self.share, self.objectives = axes, neighbours, objectives
        self.rng = np.random.default_rng(seed)
        self.known: dict[tuple[Value, ...], Worth | None] = {}  # None: asked for, not told yet
        self.scales = {name: _Scale.of(axis) for name, axis in axes.items()}
        self._distributions = {name: scale.distribution() for name, scale in self.scales.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=_sampler(sampler, seed))
        self._first = [*first, *self._corners()]
        self._trials: dict[tuple[Value, ...], Any] = {}
        self._size = size_of(axes)
        self._front: list[tuple[Design, tuple[float, ...]]] = []

    def ask(self, count: int) -> list[Design]:
        """So many designs that were not asked for before; fewer where the space has no more."""
        found: list[Design] = []
        while len(found) < count and self._first:
            self._take(self._first.pop(0), found)
        if self._front:
            near = self._neighbours()
            wanted = len(found) + round((count - len(found)) * self.share)
            while near and len(found) < wanted:
                self._take(near.pop(0), found)
        while len(found) < count and len(self.known) < self._size:
            self._sampled(found)
        return found

    def tell(self, design: Design, worth: Worth) -> None:
        """What a design that was asked for is worth."""
        key = self._key(design)
        self.known[key] = worth
        self._finish(self._trials.pop(key), worth)
        if worth.holds and worth.losses is not None:
            mine = worth.losses
            if not any(_beats(other, mine) for _, other in self._front):
                self._front = [each for each in self._front if not _beats(mine, each[1])] + [(design, mine)]

    # ---- designs

    def _key(self, design: Design) -> tuple[Value, ...]:
        return tuple(design[name] for name in self.axes)

    def _corners(self) -> list[Design]:
        """The middle of the space, and corners of it, chosen so that each axis is at each of its ends in half of them."""
        names = list(self.axes)
        middle = {name: self.scales[name].at(0.5) for name in names}
        signs = list(itertools.product((0.0, 1.0), repeat=min(len(names), int(math.log2(MOST_CORNERS)))))
        spread = [[sign[place % len(sign)] if place < len(sign) else float((sum(sign[: 1 + place % len(sign)]) + place) % 2)
                   for place in range(len(names))] for sign in signs]  # fmt: skip
        return [middle] + [{name: self.scales[name].at(share) for name, share in zip(names, shares, strict=True)} for shares in spread]

    def _neighbours(self) -> list[Design]:
        """Designs one step on one axis from a design of the front that were not asked for, of each of the front's designs in turn."""
        around = []
        for place in self.rng.permutation(len(self._front)):
            design = self._front[place][0]
            steps = [{**design, name: value} for name, scale in self.scales.items() for value in scale.near(design[name], self.rng)]
            around.append([steps[each] for each in self.rng.permutation(len(steps)) if self._key(steps[each]) not in self.known])
        return [each for row in itertools.zip_longest(*around) for each in row if each is not None]

    def _take(self, design: Design, found: list[Design]) -> None:
        """Ask Optuna for this very design, where it is new."""
        key = self._key(design)
        if key in self.known:
            return
        self._study.enqueue_trial({name: scale.place(design[name]) for name, scale in self.scales.items()})
        self._trials[key] = self._study.ask(self._distributions)
        self.known[key] = None
        found.append(design)

    def _sampled(self, found: list[Design]) -> None:
        """A new design of the sampler's, or, where it comes to known ones only, one that is drawn."""
        for _ in range(TRIES):
            trial = self._study.ask(self._distributions)
            design = {name: scale.value(trial.params[name]) for name, scale in self.scales.items()}
            key = self._key(design)
            if key not in self.known:
                self._trials[key], self.known[key] = trial, None
                found.append(design)
                return
            known = self.known[key]
            self._finish(trial, Worth(None) if known is None else known)
        self._take(self._drawn(), found)

    def _drawn(self) -> Design:
        """A design that was not asked for, drawn uniformly."""
        for _ in range(100):
            design = {name: scale.at(float(self.rng.random())) for name, scale in self.scales.items()}
            if self._key(design) not in self.known:
                return design
        left = [values for values in itertools.product(*(scale.values for scale in self.scales.values())) if values not in self.known]
        return dict(zip(self.axes, left[int(self.rng.integers(len(left)))], strict=True))  # nearly all are known: few are left

    def _finish(self, trial: Any, worth: Worth) -> None:
        from optuna.trial import TrialState

        if worth.losses is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for place, each in enumerate(worth.broken):
            trial.set_constraint(f"{place}", each)
        self._study.tell(trial, list(worth.losses))


def size_of(axes: Mapping[str, Axis]) -> float:
    """Designs in a space; infinite where a number is not whole."""
    return math.prod(_Scale.of(axis).size for axis in axes.values())


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _sampler(name: str, seed: int) -> Any:
    """Optuna's sampler of that name."""
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=24, seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


# ---- axes


@dataclass(frozen=True)
class _Scale:
    """An axis as a sampler sees it: places of a list's values, in order where they are numbers, or a span."""

    axis: Axis
    values: tuple[Value, ...]  # of a list, or of a span of whole numbers
    ordered: bool

    @classmethod
    def of(cls, axis: Axis) -> "_Scale":
        if isinstance(axis, Span):
            listed = axis.steps is not None or (axis.whole and axis.high - axis.low < MOST_LISTED)
            return cls(axis, tuple(axis.values()) if listed else (), True)
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in axis)
        return cls(axis, tuple(sorted(axis) if numbers else axis), numbers)  # type: ignore[type-var, arg-type]

    @property
    def listed(self) -> bool:
        return bool(self.values)

    @property
    def size(self) -> float:
        if self.listed:
            return len(self.values)
        return self.axis.high - self.axis.low + 1 if self.axis.whole else math.inf  # type: ignore[union-attr]

    def distribution(self) -> Any:
        from optuna import distributions as of

        if self.listed:
            places = len(self.values)
            return of.IntDistribution(0, places - 1) if self.ordered else of.CategoricalDistribution(list(range(places)))
        span: Span = self.axis  # type: ignore[assignment]
        return (of.IntDistribution if span.whole else of.FloatDistribution)(span.low, span.high, log=span.log)  # type: ignore[arg-type]

    def value(self, place: Any) -> Value:
        return self.values[place] if self.listed else place

    def place(self, value: Value) -> Any:
        return self.values.index(value) if self.listed else value

    def at(self, share: float) -> Value:
        if self.listed:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        return self.axis.at(share)  # type: ignore[union-attr]

    def near(self, value: Value, rng: np.random.Generator) -> list[Value]:
        """Values next to one: the next lower and higher, any other of a list that has no order, two a normal step away on a span."""
        if self.listed and not self.ordered:
            return [each for each in self.values if each != value]
        if self.listed:
            place = self.values.index(value)
            return [self.values[each] for each in (place - 1, place + 1) if 0 <= each < len(self.values)]
        span: Span = self.axis  # type: ignore[assignment]
        low, high, now = (math.log(x) if span.log else float(x) for x in (span.low, span.high, value))  # type: ignore[arg-type]
        found = []
        for sign in (-1, 1):
            step = now + sign * abs(float(rng.normal())) * STEP * (high - low)
            there = min(max(math.exp(step) if span.log else step, float(span.low)), float(span.high))
            found.append(round(there) if span.whole else there)
        return [each for each in found if each != value]

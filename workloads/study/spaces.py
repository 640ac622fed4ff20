"""Spaces of points: axes of values or spans, and how points are chosen on them: a grid, at random, a Latin hypercube."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xbar.workloads.study.identity import SweepError, Value

MOST_POINTS = 1_000_000
MOST_WHOLE = 2**53  # beyond, not every whole number is a float


@dataclass(frozen=True)
class Span:
    """Values from low to high, both included; `log`: equal ratios equally likely; `whole`: whole numbers only.

    steps: how many of them a grid takes; None for each whole number. Raises SweepError.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            allowed = (int,) if self.whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, allowed):
                raise SweepError(f"{name} = {value!r}: must be a {'whole ' if self.whole else ''}number")
            if isinstance(value, int) and abs(value) > MOST_WHOLE:
                raise SweepError(f"{name} = {value}: must be within ±2^53")
            if not math.isfinite(value):
                raise SweepError(f"{name} = {value}: must be finite")
        if not self.low < self.high:
            raise SweepError(f"low = {self.low}: must be below high = {self.high}")
        if not math.isfinite(self.high - self.low):
            raise SweepError(f"high = {self.high}: too far from low = {self.low}")
        if self.log and self.low <= 0:
            raise SweepError(f"low = {self.low}: must be above 0 on a logarithmic scale")
        if self.steps is not None and (
            isinstance(self.steps, bool) or not isinstance(self.steps, int) or not 2 <= self.steps <= MOST_POINTS
        ):
            raise SweepError(f"steps = {self.steps!r}: must be a whole number from 2 to {MOST_POINTS}")

    def at(self, share: float) -> Value:
        """The value below which a share from 0 to 1 of the span lies."""
        low, high = float(self.low), float(self.high) + (1 if self.whole else 0)  # whole numbers: floors of low to high + 1
        value = low * (high / low) ** share if self.log else low + share * (high - low)
        return int(min(max(math.floor(value), self.low), self.high)) if self.whole else min(max(value, low), high)

    def values(self) -> list[Value]:
        """What a grid takes of it; raises SweepError where nothing says how many."""
        if self.steps is None:
            if not self.whole:
                raise SweepError("steps = (missing): a grid over numbers that are not whole needs it, or a list of values")
            if self.high - self.low >= MOST_POINTS:
                raise SweepError(f"high = {self.high}: more than {MOST_POINTS} values from low = {self.low}; give steps")
            return list(range(int(self.low), int(self.high) + 1))
        spaced = np.geomspace if self.log else np.linspace
        found = spaced(float(self.low), float(self.high), self.steps)
        return list(dict.fromkeys(int(x) for x in np.rint(found))) if self.whole else [float(x) for x in found]


Axis = Span | Sequence[Value]


def on_axis(axis: Axis, value: Value) -> bool:
    """Whether an axis has that value."""
    if not isinstance(axis, Span):
        return value in axis
    kinds = (int,) if axis.whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and axis.low <= value <= axis.high


def allowed_on(axis: Axis) -> str:
    """What an axis has, in words."""
    if not isinstance(axis, Span):
        return f"one of {', '.join(map(repr, axis))}"
    return f"a {'whole ' if axis.whole else ''}number from {axis.low} to {axis.high}"


def grid(axes: Mapping[str, Axis]) -> list[dict[str, Value]]:
    """Every combination of the axes' values, the last axis fastest. Raises SweepError."""
    values = [_named(name, axis.values) if isinstance(axis, Span) else list(axis) for name, axis in _checked(axes).items()]
    check_count("axes", math.prod(len(each) for each in values))
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*values)]


def random(axes: Mapping[str, Axis], samples: int, seed: int) -> list[dict[str, Value]]:
    """`samples` points, each axis drawn uniformly (of a list, each value alike often). Raises SweepError."""
    _check_drawn(samples, seed)
    return _placed(_checked(axes), np.random.default_rng(seed).random((samples, len(axes))))


def latin_hypercube(axes: Mapping[str, Axis], samples: int, seed: int) -> list[dict[str, Value]]:
    """`samples` points, one in each of as many equal parts of every axis (scipy.stats.qmc). Raises SweepError."""
    from scipy.stats import qmc

    _check_drawn(samples, seed)
    return _placed(_checked(axes), qmc.LatinHypercube(len(axes), rng=np.random.default_rng(seed)).random(samples))


def _placed(axes: Mapping[str, Axis], shares: np.ndarray) -> list[dict[str, Value]]:
    """Points of shares (samples, axes) in [0, 1)."""
    return [
        {
            name: axis.at(share) if isinstance(axis, Span) else axis[min(int(share * len(axis)), len(axis) - 1)]
            for (name, axis), share in zip(axes.items(), row, strict=True)
        }
        for row in shares.tolist()
    ]


def _checked(axes: Mapping[str, Axis]) -> Mapping[str, Axis]:
    if not axes:
        raise SweepError("axes = (none): at least one is needed")
    for name, axis in axes.items():
        if not isinstance(axis, Span) and (isinstance(axis, str) or not isinstance(axis, Sequence) or not axis):
            raise SweepError(f"{name} = {axis!r}: must be a list of one value or more")
    return axes


def _check_drawn(samples: int, seed: int) -> None:
    if isinstance(samples, bool) or not isinstance(samples, int):
        raise SweepError(f"samples = {samples!r}: must be a whole number")
    check_count("samples", samples)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_WHOLE:
        raise SweepError(f"seed = {seed!r}: must be a whole number from 0 on")


def check_count(what: str, count: int) -> None:
    """Raise SweepError for a count that is none, or too large."""
    if not 1 <= count <= MOST_POINTS:
        raise SweepError(f"{what} = {count} points: must be 1 to {MOST_POINTS}")


def _named(name: str, make: Callable[[], list[Value]]) -> list[Value]:
    try:
        return make()
    except SweepError as error:
        raise SweepError(f"{name}.{error}") from None

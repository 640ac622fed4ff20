"""When requests arrive: all at once, evenly, as a Poisson stream, or at given times; and how far the event clock reaches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import numpy as np

from xbar.hw.chip.cycle import FEMTOSECONDS
from xbar.hw.errors import ParameterError

LARGEST_TIME = 2**63 - 1  # [fs], of tables in 64 bits


@dataclass(frozen=True)
class Arrivals:
    """When requests arrive: `times` [s], in order; where evenly, how far apart on the event clock [fs], which seconds tell less exactly."""

    times: tuple[float, ...]
    apart_fs: int | None = field(default=None, repr=False)

    @classmethod
    def batch(cls, requests: int) -> "Arrivals":
        """All at once at time 0."""
        return cls.trace([0.0] * _count(requests))

    @classmethod
    def at_rate(cls, per_second: float, requests: int) -> "Arrivals":
        """Evenly spaced, the first at time 0; a whole number of femtoseconds apart, so that all distances are one."""
        _check_rate(per_second)
        count = _count(requests)
        check_reach(max(0, count - 1) * FEMTOSECONDS / per_second)
        apart = round(FEMTOSECONDS / per_second) if count > 1 else 0
        if count > 1 and not apart:
            raise ParameterError(f"the arrival rate must be at most {FEMTOSECONDS:g} per second, one a femtosecond, got {per_second:g}")
        return cls(tuple(k * apart / FEMTOSECONDS for k in range(count)), apart)

    @classmethod
    def poisson(cls, per_second: float, requests: int, seed: int) -> "Arrivals":
        """A Poisson stream: independent exponential gaps, the first one before the first request."""
        _check_rate(per_second)
        check_seed(seed)
        gaps = np.random.default_rng(seed).exponential(1 / per_second, _count(requests))
        return cls.trace(np.cumsum(gaps).tolist())

    @classmethod
    def trace(cls, times: Sequence[float]) -> "Arrivals":
        """At the given times [s]; raises ParameterError unless finite, from 0 on, in order."""
        try:
            values = np.asarray(times, float)
        except (TypeError, ValueError):
            raise ParameterError(f"arrival times must be finite seconds from 0 on, in order; got {times!r}") from None
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or (np.diff(values) < 0).any():
            raise ParameterError("arrival times must be finite seconds from 0 on, in order")
        check_reach(values.max(initial=0.0) * FEMTOSECONDS)
        return cls(tuple(values.tolist()))

    @property
    def femtoseconds(self) -> np.ndarray:
        """The times on the event clock, int64."""
        if self.apart_fs is not None:
            return self.apart_fs * np.arange(len(self.times), dtype=np.int64)
        return np.array([round(time * FEMTOSECONDS) for time in self.times], np.int64)


def _count(requests: int) -> int:
    if isinstance(requests, bool) or not isinstance(requests, int | np.integer) or requests < 0:
        raise ParameterError(f"requests must be a whole number of 0 or more, got {requests!r}")
    return int(requests)


def check_seed(seed: int) -> None:
    """Raise ParameterError for one that no generator begins with."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed must be a whole number of 0 or more, got {seed!r}")


def check_reach(time: float) -> None:
    """Raise ParameterError for a time [fs] that the clock does not reach."""
    if not time < LARGEST_TIME:
        raise ParameterError(
            f"the simulation comes to {time / FEMTOSECONDS:.3g} s, beyond the {LARGEST_TIME / FEMTOSECONDS:.4g} s that its clock "
            "of femtoseconds reaches: requests come, or the chip's units work, too slowly"
        )


def _check_rate(per_second: float) -> None:
    if isinstance(per_second, bool) or not isinstance(per_second, Real) or not (per_second > 0 and np.isfinite(float(per_second))):
        raise ParameterError(f"the arrival rate must be a positive number per second, got {per_second!r}")

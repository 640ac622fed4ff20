"""Latency of very many requests at a steady load: quantiles with intervals, of one chip or of replicas behind a dispatcher.

A percentile at high load takes hundreds of thousands of requests, since those that come one after the other wait for the same reason.
An event simulation of each would take hours. But a placed network serves its requests in order, each by the same steps of the same
lengths, so that it is a max-plus linear system that does not change with time (F. Baccelli, G. Cohen, G. J. Olsder, J.-P. Quadrat,
"Synchronization and Linearity", Wiley 1992): with T(k) when the k-th of requests that come together at time 0 is done, request n is done at

    D(n) = max over m <= n of A(m) + T(n - m + 1)

A(m): when request m comes. T is simulated as events, for a batch; behind it results come at the batch's last pace. Of one bottleneck
that takes S a request this is the M/D/1 queue under Poisson arrivals.

What makes it not exact: who comes first at a link or converter that several copies share depends on the moment, and stages begin at
ticks of the clock. `differences` simulates a stretch of requests as events too and tells how far each is from it; intervals here do
not hold it.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

import numpy as np
from scipy import stats

from xbar.hw.chip.placement import Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import Arrivals, check_reach
from xbar.hw.events.chips import Dispatch
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.served import FEMTOSECOND
from xbar.hw.events.simulator import simulate

TOGETHER = 48  # requests of the batch that T is taken from
BATCHES = 32  # of requests in a row, that the interval of a quantile rests on
FEWEST = 20_000  # requests, times 1 / (1 - load)², after which queues forget
LONGER = 2  # times the requests are doubled where batches are not independent
SETTLING = 0.05  # share of the requests that is left out at the beginning
CORRELATED, SKEWED = 0.05, 0.01  # chances below which batches are taken for correlated, and for not normal


@dataclass(frozen=True)
class Queue:
    """A placed network as its requests see it. ready_fs: when each request of a batch that comes at time 0 is done, int64 (n,)."""

    ready_fs: np.ndarray = field(repr=False)
    interval_fs: float  # between results, behind the batch

    @classmethod
    def of(cls, placement: Placement, off_chip_io: bool = True) -> "Queue":
        """Of a placement, by simulating a batch; off_chip_io: as for `simulate`."""
        ready = np.sort(simulate(placement, Arrivals.batch(TOGETHER), off_chip_io=off_chip_io).finish_fs)
        half = TOGETHER // 2
        interval = float(ready[-1] - ready[-1 - half]) / half
        alone = next((k for k in range(TOGETHER - 1) if np.ptp(np.diff(ready[k:])) <= 1), TOGETHER - 1)  # from there on at one pace
        return cls(ready[: alone + 1], interval)

    @property
    def alone(self) -> float:
        """Latency of a request alone [s]."""
        return float(self.ready_fs[0]) * FEMTOSECOND

    @property
    def service(self) -> float:
        """Time between results at saturation [s]: what a request keeps the bottleneck."""
        return self.interval_fs * FEMTOSECOND

    def finish(self, arrival_fs: np.ndarray) -> np.ndarray:
        """When each of the requests is done [fs], int64 (n,), by the sum above."""
        count, last = len(arrival_fs), len(self.ready_fs) - 1
        paced = np.arange(count) * self.interval_fs
        found = np.maximum.accumulate(arrival_fs - paced)
        found = np.concatenate([np.full(min(last, count), -np.inf), found[: max(0, count - last)]]) if last else found
        found = found + paced + (self.ready_fs[-1] - last * self.interval_fs)
        for later in range(min(last, count)):
            found[later:] = np.maximum(found[later:], arrival_fs[: count - later] + self.ready_fs[later])
        return np.round(found).astype(np.int64)

    def latencies(self, times: np.ndarray, replicas: int = 1, dispatch: Dispatch = "round_robin", seed: int = 0) -> np.ndarray:
        """Latency [s] of each request (n,) that comes at these times [fs], sent to one of so many replicas as `xbar.hw.events.chips`
        says."""
        chosen = self._chosen(times, replicas, dispatch, seed)
        found = np.empty(len(times))
        for replica in range(replicas):
            mine = chosen == replica
            found[mine] = (self.finish(times[mine]) - times[mine]) * FEMTOSECOND
        return found

    def _chosen(self, times: np.ndarray, replicas: int, dispatch: Dispatch, seed: int) -> np.ndarray:
        """Which replica serves each request, int64 (n,)."""
        if replicas < 1:
            raise ParameterError(f"replicas must be a whole number of at least 1, got {replicas}")
        if dispatch == "round_robin" or replicas == 1:
            return np.arange(len(times)) % replicas
        if dispatch == "random":
            return np.random.default_rng(seed).integers(replicas, size=len(times))
        if dispatch != "least_loaded":
            raise ParameterError(f"dispatch must be round_robin, random or least_loaded, got {dispatch!r}")
        waiting: list[deque[float]] = [deque() for _ in range(replicas)]  # when each request that is not done will be
        chosen, alone, pace = [], float(self.ready_fs[0]), self.interval_fs
        for time in times.tolist():
            for mine in waiting:
                while mine and mine[0] <= time:
                    mine.popleft()
            replica = min(range(replicas), key=lambda number: len(waiting[number]))
            mine = waiting[replica]
            mine.append(max(time + alone, mine[-1] + pace) if mine else time + alone)
            chosen.append(replica)
        return np.array(chosen, np.int64)


@dataclass(frozen=True)
class Quantile:
    """A quantile of latencies [s] with its 95 % interval, by batch means: the spread of the quantiles of `BATCHES` batches in a row.

    requests: that it rests on. correlated: chance that batches of no correlation had as much as these from each to the next, one-sided;
    skewed: that normal ones were as far from it (Shapiro and Wilk).
    """

    value: float
    low: float
    high: float
    requests: int
    correlated: float
    skewed: float

    @property
    def valid(self) -> bool:
        """Whether the batches may be taken for independent and normal, which the interval rests on."""
        return self.correlated >= CORRELATED and self.skewed >= SKEWED

    @classmethod
    def of(cls, latencies: np.ndarray, share: float) -> "Quantile":
        """The quantile of that share of latencies (n,) in the order of their requests; raises ParameterError for too few of them."""
        if not 0 < share < 1:
            raise ParameterError(f"the share of a quantile must be between 0 and 1, got {share}")
        if len(latencies) * min(share, 1 - share) < 2 * BATCHES:
            raise ParameterError(f"a quantile of {share:g} needs {math.ceil(2 * BATCHES / min(share, 1 - share)):,} requests, "
                                 f"got {len(latencies):,}")  # fmt: skip
        each = np.array([np.quantile(part, share) for part in np.array_split(latencies, BATCHES)])
        value, spread = float(np.quantile(latencies, share)), float(each.std(ddof=1))
        if spread <= 1e-12 * value:
            return cls(value, value, value, len(latencies), 1.0, 1.0)
        from_mean = each - each.mean()
        lag = float((from_mean[1:] * from_mean[:-1]).sum() / (from_mean**2).sum())
        half = float(stats.t.ppf(0.975, BATCHES - 1)) * spread / math.sqrt(BATCHES)
        return cls(value, value - half, value + half, len(latencies), float(stats.norm.sf((lag + 1 / BATCHES) * math.sqrt(BATCHES))),
                   float(stats.shapiro(each).pvalue))  # fmt: skip


def steady_quantiles(
    queue: Queue, load: float, shares: Sequence[float], seed: int = 0, replicas: int = 1, dispatch: Dispatch = "round_robin",
    fewest: int = FEWEST,
) -> list[Quantile]:  # fmt: skip
    """Quantiles of latencies under Poisson requests at `load`, a share of what all replicas carry.

    fewest / (1 - load)² requests, so that queues forget many times, or as many as the quantiles need; twice as many, up to `LONGER`
    times, where batches are correlated or far from normal; what is found then says whether they still are. Raises ParameterError.
    """
    if not 0 < load < 1:
        raise ParameterError(f"load must be between 0 and 1, got {load}")
    rarest = min(min(share, 1 - share) for share in shares)
    count = max(round(fewest / (1 - load) ** 2), math.ceil(2 * BATCHES / rarest / (1 - SETTLING)) + 1)
    found: list[Quantile] = []
    for again in range(LONGER + 1):
        gaps = np.random.default_rng(seed).exponential(queue.interval_fs / (load * replicas), count * 2**again)
        check_reach(float(gaps.sum()))
        latencies = queue.latencies(np.round(np.cumsum(gaps)).astype(np.int64), replicas, dispatch, seed + 1)
        found = [Quantile.of(latencies[int(SETTLING * len(latencies)) :], share) for share in shares]
        if all(each.valid for each in found):
            break
    return found


def differences(
    queue: Queue, placement: Placement, load: float, requests: int, seed: int = 0, off_chip_io: bool = True
) -> tuple[Ledger, np.ndarray]:
    """A stretch of Poisson requests simulated as events, and how much later each of them is done there than the queue has it [s] (n,)."""
    ledger = simulate(placement, Arrivals.poisson(load / queue.service, requests, seed), off_chip_io=off_chip_io)
    return ledger, (ledger.finish_fs - queue.finish(ledger.arrival_fs)) * FEMTOSECOND


def poisson_wait(load: float, share: float) -> float:
    """The quantile `share` of waiting in units of the service, of one server of constant service under Poisson arrivals (M/D/1), exactly.

    P(W <= t) = (1 - r) sum over j = 0 to floor(t) of (r (j - t))^j / j! exp(-r (j - t)), r the load, t in services (C. D. Crommelin,
    "Delay probability formulae when the holding times are constant", Post Office Electrical Engineers' Journal 25, 1932), summed in
    decimals of as many digits as its alternating terms cancel. Raises ParameterError.
    """
    if not (0 < load < 1 and 0 <= share < 1):
        raise ParameterError(f"load must be between 0 and 1, share from 0 to below 1, got {load} and {share}")
    low, high = 0.0, 1.0
    while _waits_at_most(load, high) < share:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _waits_at_most(load, middle) < share else (low, middle)
    return high if share > 1 - load else 0.0


def _waits_at_most(load: float, time: float) -> float:
    with localcontext() as context:
        context.prec = 30 + int(time)
        r, t, total = Decimal(load), Decimal(time), Decimal(0)
        factorial = Decimal(1)
        for j in range(int(time) + 1):
            factorial *= max(j, 1)
            total += (r * (j - t)) ** j / factorial * (-r * (j - t)).exp() if j else (r * t).exp()
        return float((1 - r) * total)

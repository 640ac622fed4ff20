"""The scale of evenly spaced levels that comes nearest to given weights: exact, not alternating.

Minimise F(s) = sum_i (|w_i| - q_i s)² over s >= 0 and whole q_i in 0 .. L. For a given s the best q_i is |w_i| / s,
rounded and clipped; it changes only at the breakpoints s = |w_i| / (k + 1/2), k = 0 .. L - 1, where q_i goes from k
to k + 1 as s falls. For a given q the best s is A / B with A = sum |w_i| q_i and B = sum q_i², and leaves
sum w_i² - A²/B. So the optimum is the largest A²/B over the states between breakpoints, and both sums follow by running
sums over the sorted breakpoints, A by |w_i| and B by 2k + 1 a breakpoint.

Where breakpoints are too many to sort, ranges of s that cannot hold the optimum are left out first: sqrt(F) is
the distance of |w| from points s q, which moves by at most |q| ds, so between s_low and s_high it is at least
(sqrt F(s_low) + sqrt F(s_high) - sqrt B(s_low) (s_high - s_low)) / 2.
"""

import torch
from torch import Tensor

SORTED_AT_ONCE = 2**21  # breakpoints, 8 B each in a few copies
RANGES = 2**12  # looked at in a round, about
ROUNDS = 12
SLACK = 1e-7  # of |w|: the rounding of sqrt(F), which is a difference of large sums


def best_scale(weight: Tensor, largest: int, full_scale: bool = False) -> float:
    """The scale of the nearest levels 0, ±s, .. ±`largest` s to `weight` (any shape), 0 where all are 0.

    full_scale: the weight of largest magnitude is held at `largest` steps. Which one of those it is costs least, because
    moving q_i to L costs (L - q_i) s ((L + q_i) s - 2 |w_i|), which falls with |w_i|.
    """
    magnitude = weight.detach().double().abs().flatten()
    magnitude = magnitude[magnitude > 0].sort().values
    if not len(magnitude):
        return 0.0
    unit = float(magnitude[-1])
    free = magnitude / unit
    held = 0.0
    if full_scale:
        free, held = free[:-1], 1.0
        if not len(free):
            return unit / largest
    return unit * _Sweep(free, largest, held).best()


class _Sweep:
    """A and B along the breakpoints of sorted magnitudes (n,) above 0; `held` is a magnitude whose q is L always."""

    def __init__(self, magnitude: Tensor, largest: int, held: float):
        self.magnitude, self.largest = magnitude, largest
        count = magnitude.new_zeros(len(magnitude) + 1)
        count[:-1] = magnitude.flip(0).cumsum(0).flip(0)
        self.tail = count  # sum of the magnitudes from an index on
        self.held_a, self.held_b = held * largest, float(largest**2) if held else 0.0
        self.squares = float(magnitude.square().sum()) + held**2
        k = torch.arange(largest, dtype=torch.float64, device=magnitude.device)
        self.half, self.odd = k + 0.5, 2 * k + 1

    def best(self) -> float:
        top = float(self.magnitude[-1]) / 0.5
        bottom = float(self.magnitude[0]) / (self.largest - 0.5) * (1 - 1e-12)
        edges = self.magnitude.new_tensor([top, bottom])
        high, low = edges[:1], edges[1:]
        ends_a, ends_b = self._states(edges)
        for round_ in range(ROUNDS):
            if self._breakpoints(high, low) <= SORTED_AT_ONCE:
                break
            high, low = _split(high, low, geometric=round_ == 0)
            high, low = self._promising(high, low)
        high, low = _joined(high, low)
        candidates = [self._best_between(h, lo) for h, lo in zip(high, low, strict=True)]
        candidates += [(float(a), float(b)) for a, b in zip(ends_a, ends_b, strict=True)]
        candidates += [(self.held_a, self.held_b)] if self.held_b else []
        a, b = max(candidates, key=lambda pair: pair[0] ** 2 / pair[1])
        return a / b

    def _first(self, s: Tensor) -> Tensor:
        """For each s (m,) and k, the first index whose q is above k, (m, L)."""
        return torch.searchsorted(self.magnitude, s.unsqueeze(1) * self.half)

    def _states(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """A and B at each s (m,)."""
        first = self._first(s)
        a = self.held_a + self.tail[first].sum(1)
        return a, self.held_b + ((len(self.magnitude) - first) * self.odd).sum(1)

    def _breakpoints(self, high: Tensor, low: Tensor) -> int:
        return int((self._first(high) - self._first(low)).sum())

    def _promising(self, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """The ranges that can hold the optimum."""
        distance, b_low = [], high
        best = float("inf")
        for s in (high, low):
            a, b_low = self._states(s)
            distance.append((self.squares - 2 * s * a + s.square() * b_low).clamp(min=0).sqrt())
            reached = (self.squares - a.square() / b_low.clamp(min=1)).clamp(min=0).sqrt()
            best = min(best, float(reached.min()))
        least = (distance[0] + distance[1] - b_low.sqrt() * (high - low)) / 2
        kept = least <= best + SLACK * self.squares**0.5
        return high[kept], low[kept]

    def _best_between(self, high: Tensor, low: Tensor) -> tuple[float, float]:
        """The (A, B) of largest A²/B at and after the breakpoints from `high` (excluded) down to `low`."""
        (start,), (end,) = self._first(high.view(1)).tolist(), self._first(low.view(1)).tolist()
        a, b = (float(x) for x in self._states(high.view(1)))
        parts = [self.magnitude[lo:hi] for lo, hi in zip(end, start, strict=True)]
        sizes = torch.tensor([len(part) for part in parts], device=self.magnitude.device)
        steps_a = torch.cat(parts)
        if not len(steps_a):
            return a, max(b, 1.0)
        order = (steps_a / self.half.repeat_interleave(sizes)).argsort(descending=True)
        along_a = a + steps_a[order].cumsum(0)
        along_b = b + self.odd.repeat_interleave(sizes)[order].cumsum(0)
        at = int((along_a.square() / along_b).argmax())
        if b > 0 and a**2 / b > float(along_a[at] ** 2 / along_b[at]):
            return a, b
        return float(along_a[at]), float(along_b[at])


def _split(high: Tensor, low: Tensor, geometric: bool) -> tuple[Tensor, Tensor]:
    """Each range cut in parts (the first time, from the smallest to the largest breakpoint, by ratios)."""
    parts = max(2, RANGES // len(high))
    share = torch.linspace(0, 1, parts + 1, dtype=high.dtype, device=high.device)
    first, last = high.unsqueeze(1), low.unsqueeze(1)
    edges = first * (last / first) ** share if geometric else first + (last - first) * share
    edges[:, 0], edges[:, -1] = high, low
    return edges[:, :-1].flatten(), edges[:, 1:].flatten()


def _joined(high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring ranges made one."""
    apart = torch.ones(len(high) + 1, dtype=torch.bool, device=high.device)
    apart[1:-1] = high[1:] != low[:-1]
    return high[apart[:-1]], low[apart[1:]]

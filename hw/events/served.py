"""What is told of requests that were served, on one chip or on several: when they came and went."""

import numpy as np
import pandas as pd

from xbar.hw.display import Shown

FEMTOSECOND = 1e-15  # [s]


class Served(Shown):
    """Requests with their times on the event clock: arrival_fs, finish_fs, int64 (requests,), and span_fs, the simulated time."""

    arrival_fs: np.ndarray
    finish_fs: np.ndarray
    span_fs: int

    @property
    def span(self) -> float:
        """Simulated time [s]."""
        return self.span_fs * FEMTOSECOND

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

    def requests_table(self) -> pd.DataFrame:
        """One row a request: arrival_s, finish_s, latency_s."""
        return pd.DataFrame({
            "arrival_s": self.arrival_fs * FEMTOSECOND, "finish_s": self.finish_fs * FEMTOSECOND,
            "latency_s": self.latency,
        }).rename_axis("request")  # fmt: skip

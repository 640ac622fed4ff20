"""Networks on memristor crossbar chips: accuracy, latency, energy, power and area from one description.

The public names of a run; each is loaded when it is first asked for, so that `import xbar` waits for nothing.
The rooms behind them are `xbar.hw`, `xbar.compression`, `xbar.models`, `xbar.workloads` and `xbar.reports`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbar.hw import (
        Arrivals,
        Chip,
        Device,
        HardwareError,
        Ledger,
        Network,
        Placement,
        chip_bands,
        convert,
        ledger_bands,
        load_chip,
        load_device,
        place,
        preset_names,
        simulate,
        trace,
    )
    from xbar.workloads.data import Dataset
    from xbar.workloads.study.report import report
    from xbar.workloads.study.run import Study
    from xbar.workloads.task import Metric

# Before torch loads GNU OpenMP: a thread that waits spins only briefly, then sleeps. Measured on two cores, a study of
# many small products: alone 6.2 s as it comes, 6.6 s so; next to another busy process 79 s as it comes, 9 s so.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

__all__ = [
    "Arrivals",
    "Chip",
    "Dataset",
    "Device",
    "HardwareError",
    "Ledger",
    "Metric",
    "Network",
    "Placement",
    "Study",
    "chip_bands",
    "convert",
    "ledger_bands",
    "load_chip",
    "load_device",
    "place",
    "preset_names",
    "report",
    "simulate",
    "trace",
]
_ELSEWHERE = {
    "Dataset": "xbar.workloads.data", "Metric": "xbar.workloads.task", "Study": "xbar.workloads.study.run",
    "report": "xbar.workloads.study.report",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "xbar.hw")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

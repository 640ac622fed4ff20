"""Networks on memristor crossbar chips: accuracy, latency, energy, power and area from one description.

The public names of a run; each is loaded when it is first asked for, so that `import xbar` waits for nothing.
The rooms behind them are `xbar.hw`, `xbar.compression`, `xbar.models`, `xbar.workloads` and `xbar.reports`.
"""

import ctypes
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xbar.hw import (
        Arrivals,
        Chip,
        ChipsLedger,
        ChipsPlacement,
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
        place_chips,
        preset_names,
        search_mapping,
        serve_in_turns,
        simulate,
        simulate_chips,
        trace,
    )
    from xbar.workloads.data import Dataset
    from xbar.workloads.study.advise import advise
    from xbar.workloads.study.report import report
    from xbar.workloads.study.run import Study
    from xbar.workloads.task import Metric

# Before torch loads GNU OpenMP: a thread that waits spins only briefly, then sleeps. Measured on two cores, a study of
# many small products: alone 6.2 s as it comes, 6.6 s so; next to another busy process 79 s as it comes, 9 s so.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory for the next large tensor. By itself it takes each of more than 32 MiB, and at first
    of more than 128 KiB, from the system and gives it back, and the system clears every page anew. XBAR_MALLOC=system leaves
    it as it is; other C libraries have it their way.

    Measured, one thread, ResNet-20 converted for ISAAC and 16 images through it: 650,000 page faults and 2.5 s in the system as it
    comes, 110,000 to 150,000 and 0.3 s to 0.5 s so; peak memory 892 MiB as it comes, 870 to 996 MiB so.
    """
    if sys.platform != "linux" or os.environ.get("XBAR_MALLOC") == "system":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt"):
        # M_MMAP_THRESHOLD [B]: from where on memory comes from the system, to which it returns; older versions allow 32 MiB at most
        if not library.mallopt(-3, 2**30) and not library.mallopt(-3, 2**25):
            return
        library.mallopt(-1, 2**28)  # M_TRIM_THRESHOLD [B]: freed at the heap's end, from where on it is given back


_keep_freed_memory()

__version__ = "0.1.0"

__all__ = [
    "Arrivals",
    "Chip",
    "ChipsLedger",
    "ChipsPlacement",
    "Dataset",
    "Device",
    "HardwareError",
    "Ledger",
    "Metric",
    "Network",
    "Placement",
    "Study",
    "advise",
    "chip_bands",
    "convert",
    "ledger_bands",
    "load_chip",
    "load_device",
    "place",
    "place_chips",
    "preset_names",
    "report",
    "search_mapping",
    "serve_in_turns",
    "simulate",
    "simulate_chips",
    "trace",
]
_ELSEWHERE = {
    "Dataset": "xbar.workloads.data", "Metric": "xbar.workloads.task", "Study": "xbar.workloads.study.run",
    "advise": "xbar.workloads.study.advise", "report": "xbar.workloads.study.report",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "xbar.hw")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

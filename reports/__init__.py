"""Results on paper: tables, pictures, a PDF and a trace file, from what a run saved.

What a folder of results is loaded as, and every page of a report as a function of it that returns a matplotlib figure, by name; each is
loaded when it is first asked for. `PAGES` says which module has which; reports/README.md shows how they are called.
"""

from importlib import import_module
from typing import Any

LOADED = {
    "Results": "results", "SweepSheet": "sweep_sheet", "CompressionSheet": "compression", "RecommenderSheet": "recommender",
    "FaireaSheet": "fairea_sheet", "ValidationSheet": "validation", "Record": "record",
}  # fmt: skip
# Pages of one run, of `Results`. Those of other folders have names of their own in their modules.
PAGES = {
    "summary": "first_page", "energy_and_area": "energy_page", "timeline": "time_pages", "power_over_time": "time_pages",
    "accuracy": "score_page",
    "tables": "run_tables", "assumptions": "run_tables", "floor_plan": "floorplan",
    "sensitivity": "sensitivity_page", "layers": "layers_page",
    "yields": "yield_page", "drift": "drift_page", "baselines": "baseline", "efficiency_and_density": "efficiency",
    "operations_and_bytes": "roofline", "crossbar_mapping": "mapping", "tile_use": "tile_use_page", "confusion": "classes",
    "predicted_values": "predictions",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    module = LOADED.get(name) or PAGES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"xbar.reports.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *LOADED, *PAGES])

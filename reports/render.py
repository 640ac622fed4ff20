"""Everything that a results folder can be drawn as: PDF, PNGs, a trace file, plain text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from xbar.reports import (
    baseline,
    classes,
    drift_page,
    efficiency,
    energy_page,
    first_page,
    floorplan,
    layers_page,
    mapping,
    predictions,
    roofline,
    run_tables,
    run_words,
    score_page,
    sensitivity_page,
    tile_use_page,
    time_pages,
    yield_page,
)
from xbar.reports.pages import Document, save_document
from xbar.reports.record import Record
from xbar.reports.results import Results, write_text

# By the name of a page, which its file has too, what draws it; by the names of these functions `xbar.reports.PAGES` has them.
FIGURES: dict[str, Callable[[Results], Figure]] = {
    "summary": first_page.summary,
    "energy_and_area": energy_page.energy_and_area,
    "efficiency": efficiency.efficiency_and_density,
    "roofline": roofline.operations_and_bytes,
    "floorplan": floorplan.floor_plan,
    "mapping": mapping.crossbar_mapping,
    "use": tile_use_page.tile_use,
    "timeline": time_pages.timeline,
    "power_over_time": time_pages.power_over_time,
    "accuracy": score_page.accuracy,
    "classes": classes.confusion,
    "predictions": predictions.predicted_values,
    "sensitivity": sensitivity_page.sensitivity,
    "layers": layers_page.layers,
    "yield": yield_page.yields,
    "drift": drift_page.drift,
    "baselines": baseline.baselines,
}
# Pages of what may not have been studied, with the tables of which at least one must have rows.
NEEDS = {"sensitivity": ("sensitivity",), "layers": ("layer_sensitivity", "layer_quality"), "yield": ("yields",), "drift": ("drift",),
         "baselines": ("baselines",), "floorplan": ("floorplan",), "efficiency": ("efficiency",), "roofline": ("roofline",),
         "mapping": ("mapping",), "use": ("tile_use",), "classes": ("class_accuracy",), "predictions": ("predictions",)}  # fmt: skip
WITH = {"use": "floorplan"}  # tables that a page cannot do without besides
# Tables that the HTML page has; the others are curves of thousands of points, or the constants.
LISTED = (
    "components", "layers", "energy", "requests", "variation", "adc_bits", "sensitivity", "layer_sensitivity", "layer_quality",
    "yields", "drift", "baselines", "chips", "efficiency", "roofline", "roofs", "class_accuracy",
)  # fmt: skip
MICROSECOND = 1e6  # the trace-event format counts in microseconds


def render(results: Results, directory: Path) -> list[Path]:
    """Write report.pdf, report.html, a PNG a page, trace.json and summary.txt; the paths. The same results give the same bytes.

    Raises ResultsError where results of an earlier version lack what a page shows.
    """
    results.check_drawable()
    directory.mkdir(parents=True, exist_ok=True)
    named = {name: FIGURES[name](results) for name in pages_of(results)}
    for name, drawn in (("tables", run_tables.tables(results)), ("assumptions", run_tables.assumptions(results))):
        named |= {f"{name}_{number}": figure for number, figure in enumerate(drawn, 1)}
    meta = results.meta
    workload, chip, seed = meta["workload"], meta["chip"], meta["study"]["seed"]
    footer = f"xbar {meta['version']}  ·  workload {workload['name']}  ·  chip {chip['name']}  ·  seed {seed}"
    document = Document(
        results.heading, run_words.verdict(results), named, footer, run_words.headlines(results),
        {name: getattr(results, name) for name in LISTED}, Record.load(directory), results.provenance, results.sources,
    )  # fmt: skip
    paths = save_document(document, directory / "report.pdf")
    write_text(directory / "trace.json", json.dumps(trace_events(results), separators=(",", ":"), allow_nan=False))
    write_text(directory / "summary.txt", run_words.summary_text(results))
    return [*paths, directory / "trace.json", directory / "summary.txt"]


def pages_of(results: Results) -> list[str]:
    """Names of the pages that these results have something for."""
    found = [name for name in FIGURES if name not in NEEDS or any(len(getattr(results, table)) for table in NEEDS[name])]
    return [name for name in found if name not in WITH or len(getattr(results, WITH[name]))]


def trace_events(results: Results) -> dict[str, Any]:
    """The timeline in the Chrome trace-event format, for Perfetto: a process a layer, a thread a copy and stage, and
    one more where runs of a stage overlap, as viewers only nest; power and ADC use as counters."""
    events: list[dict[str, Any]] = []
    runs = results.timeline
    layers = {name: number for number, name in enumerate(dict.fromkeys(runs["layer"]), 1)}
    for layer, number in layers.items():
        events.append(_named("process_name", number, 0, str(layer)))
        events.append(
            {"ph": "M", "name": "process_sort_index", "pid": number, "tid": 0, "ts": 0, "args": {"sort_index": number}}
        )
    rows = runs.assign(row=_rows(runs))[["layer", "copy", "stage", "row"]]
    threads: dict[tuple[Any, ...], int] = {}
    for layer, copy, stage, row in (
        rows.drop_duplicates().sort_values(list(rows.columns)).itertuples(index=False, name=None)
    ):
        threads[layer, copy, stage, row] = len(threads) + 1
        name = f"copy {copy} {stage}" + (f", {row + 1}" if row else "")
        events.append(_named("thread_name", layers[layer], threads[layer, copy, stage, row], name))
    times = runs[["start_s", "end_s"]].itertuples(index=False, name=None)
    for key, (start, end) in zip(rows.itertuples(index=False, name=None), times, strict=True):
        events.append({
            "ph": "X", "name": key[2], "cat": key[2], "pid": layers[key[0]], "tid": threads[key],
            "ts": start * MICROSECOND, "dur": (end - start) * MICROSECOND,
        })  # fmt: skip
    events.append(_named("process_name", 0, 0, "chip"))
    for table, column, name in (
        (results.power, "on_chip_power_W", "power on chip, W"),
        (results.adc_use, "share", "ADCs at work, share of all"),
    ):
        for time, value in table[["time_s", column]].itertuples(index=False, name=None):
            events.append(
                {"ph": "C", "name": name, "pid": 0, "tid": 0, "ts": time * MICROSECOND, "args": {name: value}}
            )
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _rows(runs: pd.DataFrame) -> list[int]:
    """For every run the first row of its copy and stage in which no earlier run is still going on."""
    ends: dict[tuple[Any, ...], list[float]] = {}
    rows = [0] * len(runs)
    order = runs["start_s"].to_numpy().argsort(kind="stable")
    columns = [runs[name].tolist() for name in ("layer", "stage", "copy", "start_s", "end_s")]
    for run in order.tolist():
        *key, start, end = (column[run] for column in columns)
        taken = ends.setdefault(tuple(key), [])
        row = next((number for number, until in enumerate(taken) if until <= start), len(taken))
        taken[row : row + 1] = [end]
        rows[run] = row
    return rows


def _named(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "ts": 0, "args": {"name": name}}

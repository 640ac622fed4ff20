"""The record that a command leaves beside its results: how they were made, and what they rest on."""

import argparse
import os
import platform
import shlex
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch

from xbar.hw.bands import band_of, band_table, factors_used
from xbar.hw.chip.description import Chip
from xbar.hw.cost.laws import LAWS
from xbar.reports.record import Constant, Record, Source
from xbar.workloads.study.computer import processor
from xbar.workloads.study.sweep import code_version

PACKAGES = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "networkx", "simpy", "pydantic", "matplotlib", "pyarrow")
NOT_SETTINGS = ("command", "seed", "words")


def record(options: argparse.Namespace, chips: Mapping[str, Chip], began: datetime, configuration: str = "") -> Record:
    """The record of a command that ends now.

    options: as parsed, with its `words`; chips: whose constants the results rest on, by what tells them apart; began: with its
    zone; configuration: text of a file that it read.
    """
    constants: list[Constant] = []
    sources: dict[str, Source] = {}
    for of, chip in chips.items():
        names = {}
        for name, row in sources_table(chip).to_dict("index").items():
            source = Source(name=str(name), **_plain(row))
            if sources.get(source.name, source) != source:  # another chip read it otherwise
                source = source.model_copy(update={"name": f"{name} ({of})"})
            names[str(name)] = source.name
            sources[source.name] = source
        for row in provenance_table(chip).to_dict("records"):
            told = {"of": of} if len(chips) > 1 else {}
            constants.append(Constant(**(told | _plain(row) | {"source": names.get(row["source"], row["source"])})))
    return Record(
        version=version("xbar"), command=_text(shlex.join(["xbar", *options.words])),
        settings={name: _text(value) for name, value in vars(options).items() if name not in NOT_SETTINGS},
        packages={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        computer={
            "system": platform.platform(), "processor": processor(), "cores": os.cpu_count(), "torch threads": torch.get_num_threads(),
        },
        began=began.isoformat(timespec="seconds"), took_s=(datetime.now(UTC) - began).total_seconds(), code=code_version()[:16],
        seed=getattr(options, "seed", None), configuration=configuration, constants=constants,
        sources=list(sources.values()),
    )  # fmt: skip


def provenance_table(chip: Chip) -> pd.DataFrame:
    """Every number of the chip file as written: key, value, low, high, band_from, unit, kind, source, why; and the factors
    by kind that bands rest on."""
    rows = []
    for key, q in (chip.provenance | factors_used(chip)).items():
        low, high, band_from = (q.value, q.value, "a factor of bands") if key.startswith("bands.") else band_of(key, q)
        rows.append({
            "key": key, "value": q.value, "low": low, "high": high, "band_from": band_from, "unit": q.unit, "kind": q.kind,
            "source": q.source or "", "why": q.why or "",
        })  # fmt: skip
    return pd.DataFrame(rows)


def sources_table(chip: Chip) -> pd.DataFrame:
    """What the numbers cite, and how that was read, by the name of the source; then the same of the laws by which components
    cost what they do."""
    rows = {name: {"cite": source.cite, "read": source.read} for name, source in (band_table()[0].source | chip.source).items()}
    of: dict[str, list[str]] = defaultdict(list)
    for component, cost in chip.costs.items():
        of[cost.law].append(component)
    for law, components in of.items():
        found = LAWS[law].law
        rows[f"law {law}: {', '.join(components)}"] = {"cite": found.cite, "read": found.read}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("source")


def _text(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, list | tuple):
        return ["=".join(map(str, each)) if isinstance(each, tuple) else _text(each) for each in value]
    if isinstance(value, int | float | bool | None):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()  # a name of a file may have bytes that are no text


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without what is missing."""
    return {str(name): value for name, value in row.items() if value == value and value is not None}

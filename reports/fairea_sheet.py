"""What a run of fair assignment leaves behind: tables and one JSON file; save and load."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from xbar.reports.results import load_sheet, save_sheet

FILE = "fairea.json"
BEFORE, HOLDERS, RANDOM = "filled positions before", "actual holders", "random"  # rows of methods that are no method
OF_CHIP = ("noise", "instances", "costs", "openings")  # missing where no chip was of use; openings where they are an organisation's own
OPTIONAL = (*OF_CHIP, "pools", "curve")
TEXTS = {
    "nodes": ("position", "before", "fairea", "improved", "actual"),
    "groups": ("method", "attribute", "group"),
    "placements": ("method", "position", "candidate", "class", "runner_up", "runner_up_class", "exchanged", "reason"),
}  # columns of ids and classes: a class may be called "NA"


@dataclass(frozen=True)
class FaireaSheet:
    """One run.

    meta: settings and headline numbers. nodes: position, x, y, open, and the class before, by FairEA, by the improved
    front, and of the actual holders where known ("" unfilled); edges: source, target, numbers of nodes; methods: measures of
    each, of the filled positions before first; groups: of each method, attribute and group, and placements: who goes where
    and why, as `xbar.workloads.fairea.answer` makes them; points: of the fronts and random matchings; curve: what a limit costs in
    fitness, as `xbar.workloads.fairea.harmless` makes it; noise, instances, costs,
    openings, pools: as `xbar.workloads.fairea.on_chip` makes them, empty where no chip was asked.
    """

    meta: dict[str, Any]
    nodes: pd.DataFrame
    edges: pd.DataFrame
    methods: pd.DataFrame
    groups: pd.DataFrame
    placements: pd.DataFrame
    points: pd.DataFrame
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    noise: pd.DataFrame = field(default_factory=pd.DataFrame)
    instances: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    openings: pd.DataFrame = field(default_factory=pd.DataFrame)
    pools: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def on_chip(self) -> bool:
        """Whether scores came from a chip too."""
        return len(self.noise) > 0

    def save(self, directory: Path) -> None:
        """Write each table as CSV and fairea.json last."""
        save_sheet(directory, FILE, self.meta, {name: getattr(self, name) for name in table_names()})

    @classmethod
    def load_from(cls, directory: Path) -> "FaireaSheet":
        """Read what `save` wrote; raises ResultsError naming what is missing or unreadable."""
        may_miss = {name: name in OPTIONAL for name in table_names()}
        meta, tables = load_sheet(directory, FILE, "run of fair assignment", may_miss, _read)
        return cls(meta, **tables)


def _read(path: Path, name: str) -> pd.DataFrame:
    texts = TEXTS.get(name, ())
    if not texts:
        return pd.read_csv(path)
    numbers = [column for column in pd.read_csv(path, nrows=0) if column not in texts]
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values={column: [""] for column in numbers})


def table_names() -> list[str]:
    """Of a sheet, in order."""
    return [field.name for field in fields(FaireaSheet) if field.name != "meta"]

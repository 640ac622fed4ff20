"""The chip's extracted arrays and tables, read from a folder that the user names; nothing of them ships with the project."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from xbar.workloads.data import DataError

MEASURED = [
    "run", "layer", "segment", "column", "slope_counts_per_unit", "residual_std_units", "target_column_conductance_uS",
    "scale_uS_per_unit",
]  # fmt: skip
CORES = ["table", "layer", "segment", "rows_used", "cols_used"]
FAILURES = ["array", "row", "column", "target_uS", "last_read_uS"]


@dataclass(frozen=True)
class Folder:
    """Arrays and tables of a folder; whatever is asked for and not there, or not as expected, raises DataError."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such folder; it must hold the arrays extracted from NeuRRAM's published software")

    def arrays(self, file: str, network: str | None = None) -> dict[str, np.ndarray]:
        """Arrays of a file by name; of one of its networks, whose name stands before the first slash, without it."""
        try:
            with (self.path / file).open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise DataError(f"{self.path / file}: cannot be read as an archive of arrays: {error}") from None
        for name, array in found.items():
            if not (np.issubdtype(array.dtype, np.number) and np.isfinite(array).all()):
                raise DataError(f"{self.path / file}: {name} must hold finite numbers")
        if network is None:
            return found
        own = {name.removeprefix(f"{network}/"): array for name, array in found.items() if name.startswith(f"{network}/")}
        if not own:
            there = sorted({name.split("/")[0] for name in found})
            raise DataError(f"{self.path / file}: has no network {network}; it has {', '.join(there)}")
        return own

    def networks(self, file: str) -> list[str]:
        """Names of the networks of a file."""
        return sorted({name.split("/")[0] for name in self.arrays(file)})

    def table(self, file: str, columns: Iterable[str]) -> pd.DataFrame:
        """A table that has these columns."""
        try:
            found = pd.read_csv(self.path / file)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / file}: cannot be read as a table: {error}") from None
        if found.empty:
            raise DataError(f"{self.path / file}: has no row")
        missing = [name for name in columns if name not in found]
        if missing:
            raise DataError(f"{self.path / file}: has no column {', '.join(missing)}; it has {', '.join(found)}")
        return found

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The measured columns."""
        return self.table("measured_columns.csv", MEASURED)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """Cells that missed their target, with target and last read."""
        return self.table("programming_failures.csv", FAILURES)

    @cached_property
    def cores(self) -> pd.DataFrame:
        """What lies on which core, in how many rows and columns."""
        return self.table("core_map.csv", CORES)

    def rows(self, table: str, layer: str) -> list[int]:
        """Wordlines that each row segment of a layer takes on the chip, first segment first."""
        found = self.cores[(self.cores["table"] == table) & (self.cores["layer"] == layer)].sort_values("segment")
        if found.empty:
            raise DataError(f"{self.path / 'core_map.csv'}: has no layer {layer} of table {table}")
        return [int(rows) for rows in found["rows_used"]]

"""Tables of measured spreads of cells: sigma against conductance, as CSV files beside a device's TOML file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xbar.hw.checks import check
from xbar.hw.errors import ParameterError
from xbar.hw.later import Later

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Later("torch")

TABLE_HEADER = ["conductance_S", "sigma_S"]
TABLE_EDGE = 1e-6  # of the table's end: how far outside a target may lie by rounding
TABLE_FOLDER = Path(__file__).parents[1] / "presets" / "devices"


def find_table(name: str | Path, folder: Path | None = None) -> Path:
    """The CSV file `name`: in `folder` (of the TOML file; None: the current one), else among the presets' tables."""
    own = (folder or Path()) / name
    packaged = TABLE_FOLDER / name
    return packaged if not own.is_file() and packaged.is_file() else own


def read_table(path: Path) -> tuple[tuple[float, float], ...]:
    """(target, sigma) [S] of a CSV file with the header conductance_S,sigma_S; lines that begin with # are notes.

    Raises ParameterError naming the file, the line and what is wrong with it.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"table {path} cannot be read as UTF-8 text: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = list(zip((n for n, _ in numbered), csv.reader(line for _, line in numbered), strict=True))
    if not rows or [cell.strip() for cell in rows[0][1]] != TABLE_HEADER:
        found = ",".join(rows[0][1]) if rows else "nothing"
        raise ParameterError(f"table {path}: the header must be {','.join(TABLE_HEADER)}, got {found}")
    table = []
    for number, row in rows[1:]:
        try:
            target, sigma = (float(cell) for cell in row)
        except ValueError:
            raise ParameterError(f"table {path}, line {number}: needs two numbers, got {row}") from None
        table.append((target, sigma))
    check_table(table, f"table {path}")
    return tuple(table)


def check_table(table: Sequence[tuple[float, float]], name: str) -> None:
    """Finite, targets rising, nothing below 0, at least two points."""
    if len(table) < 2:
        raise ParameterError(f"{name}: needs at least two points, got {len(table)}")
    before = -1.0
    for target, sigma in table:
        if not (math.isfinite(target) and math.isfinite(sigma)):
            raise ParameterError(f"{name}: must be finite, got {target} S, {sigma} S")
        if target < 0 or sigma < 0:
            raise ParameterError(f"{name}: nothing may be below 0 S, got {target} S, {sigma} S")
        if target <= before:
            raise ParameterError(f"{name}: targets must rise from line to line, got {target} S after {before} S")
        before = target


def interpolate(table: Sequence[tuple[float, float]], target: Tensor) -> Tensor:
    """Sigma [S] at `target` [S], linear between the table's points; ParameterError outside them."""
    low, high = table[0][0], table[-1][0]
    outside = (target < low - TABLE_EDGE * high) | (target > high * (1 + TABLE_EDGE))
    count = target.numel()

    def judge(seen: Sequence[float]) -> None:
        if seen[0]:
            raise ParameterError(
                f"{seen[0]:.0f} of {count} targets are outside programming_table, {low:g} S to {high:g} S; first: {seen[1]:g} S"
            )

    if count:
        first = target.detach().take(outside.int().argmax())
        check(torch.stack([outside.sum().double(), first.double()]), judge)
    points = target.new_tensor(table)  # (points, 2)
    x, y = points[:, 0].contiguous(), points[:, 1]
    right = torch.searchsorted(x, target.detach().contiguous()).clamp(1, len(table) - 1)
    left = right - 1
    return y[left] + (y[right] - y[left]) / (x[right] - x[left]) * (target.clamp(low, high) - x[left])

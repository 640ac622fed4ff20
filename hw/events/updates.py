"""What programming a placed network costs, before it serves and while it does: pulses, energy and time.

Conventions, all assumed, since no source at hand says how its arrays share their write drivers:

- every cell of every copy is written, also those of weight 0, as on a chip programmed for the first time;
- in one crossbar, `cells_at_once` cells of a wordline are written together, the next ones after that (default 1:
  write-verify reads each cell before its next pulse);
- crossbars are written in parallel, of one layer and of several, so the chip takes as long as its slowest layer;
- a pulse costs the device's write_energy and takes its write_time, the verifying read included; a group of cells
  takes the mean pulses of a cell, although it waits for its slowest: for many at once that is a lower bound.

An update writes rows of a layer's matrix anew while requests are served; `xbar.hw.events.simulator` says when. It follows the same
conventions for the wordlines that it touches, one wordline after another, also cells that hold a reference.
"""

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from xbar.hw.cells.device import Device
from xbar.hw.chip.cycle import FEMTOSECONDS
from xbar.hw.chip.placement import LayerCopy, Placement
from xbar.hw.errors import ParameterError
from xbar.hw.events.arrivals import check_reach

SECONDS_PER_YEAR = 365.25 * 86400.0  # the Julian year: exact by definition (IAU)


@dataclass(frozen=True)
class Update:
    """Rows of a layer's matrix that are written anew, in every copy of the layer, from `begins` [s] on.

    rows: inputs of the matrix as it was traced (of a table: its rows), of every group; any sequence of whole numbers,
    None for all. pulses_per_cell: mean write pulses of a cell, as in `programming_cost`. cells_at_once: cells of a
    wordline of a crossbar that are written together. Raises ParameterError; that the layer has these rows, `simulate` checks.
    """

    layer: str
    begins: float
    rows: Sequence[int] | None = None
    pulses_per_cell: float = 1.0
    cells_at_once: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.begins < math.inf:
            raise ParameterError(f"update of {self.layer}: begins must be 0 s or more and finite, got {self.begins}")
        if not 0 < self.pulses_per_cell < math.inf:
            raise ParameterError(
                f"update of {self.layer}: pulses_per_cell must be above 0 and finite, got {self.pulses_per_cell}"
            )
        _check_cells_at_once(self.cells_at_once, f"update of {self.layer}: ")
        for name in ("begins", "pulses_per_cell"):  # of any kind of number
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.rows is None:
            return
        try:
            rows = tuple(operator.index(row) for row in self.rows)
        except TypeError:
            raise ParameterError(f"update of {self.layer}: rows must be whole numbers, got {self.rows!r}") from None
        if not rows or len(set(rows)) < len(rows) or min(rows) < 0:
            raise ParameterError(
                f"update of {self.layer}: rows must be one or more whole numbers from 0 on, each once, got {rows[:10]}"
            )
        object.__setattr__(self, "rows", rows)


@dataclass(frozen=True)
class CrossbarWrite:
    """What an update does to one crossbar: `crossbar` is its index among those of the layer copy.

    line_cells: cells of a wordline; line_time: seconds per wordline, exactly.
    """

    crossbar: int
    wordlines: int
    line_cells: int
    pulses_per_cell: float
    line_time: Fraction

    @property
    def cells(self) -> int:
        """Cells that are written."""
        return self.wordlines * self.line_cells

    def until(self, wordlines: int) -> int:
        """Time [fs] from the beginning until that many wordlines are written."""
        return round(wordlines * self.line_time * FEMTOSECONDS)

    @property
    def duration(self) -> int:
        """Time of all wordlines [fs]."""
        return self.until(self.wordlines)


def crossbar_writes(placement: Placement, copy: LayerCopy, update: Update) -> list[CrossbarWrite]:
    """What `update` writes on the crossbars of a layer copy, those that it touches; raises ParameterError."""
    write_time = Fraction(_needed(placement.chip.device, "write_time"))
    geometry = placement.geometry(update.layer)
    _, _, inputs = geometry.of_layer.shape
    rows = range(inputs) if update.rows is None else update.rows
    if max(rows) >= inputs:
        raise ParameterError(f"update of {update.layer}: rows must be from 0 to {inputs - 1}, the layer's inputs, got {max(rows)}")
    alone = geometry.together == 1  # else one row tile, of whose rows each group has its own, but those of the bias
    own = rows if alone else [row for row in rows if row < geometry.of_layer.weights]
    touched = Counter(row // geometry.inputs_per_crossbar for row in own)
    of_bias = len(rows) - len(own)
    of_a_cell = Fraction(update.pulses_per_cell) * write_time
    writes = []
    for index, crossbar in enumerate(placement.crossbars_of(copy)):
        inputs = touched[crossbar.row_tile] * geometry.of_layer.held(crossbar.group) + of_bias
        wordlines = inputs * geometry.wordlines_per_input
        if wordlines:
            turns = math.ceil(crossbar.bitlines / update.cells_at_once)
            line_time = turns * of_a_cell
            writes.append(CrossbarWrite(index, wordlines, crossbar.bitlines, update.pulses_per_cell, line_time))
    if min(write.duration for write in writes) < 1:
        raise ParameterError(f"update of {update.layer}: takes less than the clock's femtosecond; see device.write_time")
    return writes


def check_updates(placement: Placement, updates: Sequence[Update]) -> None:
    """Raise ParameterError where an update cannot be made: no such layer or row, no cost of a pulse."""
    for update in updates:
        if update.layer not in placement.copies:
            raise ParameterError(f"update: no layer {update.layer!r}; layers: {', '.join(placement.copies)}")
        if placement.sharing == "crossbars":
            raise ParameterError(f"update of {update.layer}: writing crossbars that layers share is not modelled; place without")
        _needed(placement.chip.device, "write_energy")
        writes = crossbar_writes(placement, placement.copies[update.layer][0], update)
        check_reach(update.begins * FEMTOSECONDS + max((write.duration for write in writes), default=0))


def years_to_wear_out(device: Device, refresh_interval: float, pulses_per_cell: float = 1.0) -> float:
    """Years until a cell has had as many pulses as the device endures, written every `refresh_interval` [s] with
    `pulses_per_cell` on the mean: endurance / pulses_per_cell * refresh_interval.

    By definition of the three; a pulse counts as a write cycle, and cells of more pulses than the mean go first. Raises
    ParameterError where the device has no endurance, and for numbers that are not above 0 and finite.
    """
    for name, value in (("refresh_interval", refresh_interval), ("pulses_per_cell", pulses_per_cell)):
        if not 0 < value < math.inf:
            raise ParameterError(f"{name} must be above 0 and finite, got {value}")
    if device.endurance is None:
        raise ParameterError("device.endurance is needed for the time to wear-out, got None")
    return device.endurance / pulses_per_cell * refresh_interval / SECONDS_PER_YEAR


def _needed(device: Device, name: str) -> float:
    """A cost of writing that the device must state."""
    value = getattr(device, name)
    if value is None:
        raise ParameterError(f"device.{name} is needed for the cost of programming, got None")
    return float(value)


def _check_cells_at_once(cells_at_once: int, prefix: str = "") -> None:
    if not (isinstance(cells_at_once, int) and cells_at_once >= 1):
        raise ParameterError(f"{prefix}cells_at_once must be a whole number of at least 1, got {cells_at_once!r}")


def programming_cost(
    placement: Placement, pulses_per_cell: Mapping[str, float] | float = 1.0, cells_at_once: int = 1
) -> pd.DataFrame:
    """Cells, pulses, energy_J, time_s and endurance_share of programming each layer (index) and all its copies.

    pulses_per_cell: mean write pulses of a cell, as in `Programmed.pulses_per_cell`, of every layer or by its name.
    endurance_share: mean pulses of a cell over the device's endurance, nan where that is not given.
    Joules add up over layers; seconds do not, the chip takes the largest. Raises ParameterError.
    """
    device = placement.chip.device
    write_energy, write_time = (_needed(device, name) for name in ("write_energy", "write_time"))
    _check_cells_at_once(cells_at_once)
    rows = {}
    for layer, copies in placement.copies.items():
        mean = _pulses_of(layer, pulses_per_cell)
        crossbars = [crossbar for copy in copies for crossbar in placement.crossbars_of(copy)]
        cells = sum(crossbar.rows * crossbar.bitlines for crossbar in crossbars)
        turns = max(crossbar.rows * math.ceil(crossbar.bitlines / cells_at_once) for crossbar in crossbars)
        rows[layer] = {
            "cells": cells,
            "pulses": cells * mean,
            "energy_J": cells * mean * write_energy,
            "time_s": turns * mean * write_time,
            "endurance_share": mean / device.endurance if device.endurance else math.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def _pulses_of(layer: str, pulses_per_cell: Mapping[str, float] | float) -> float:
    """Mean pulses of a cell of that layer."""
    if isinstance(pulses_per_cell, Mapping):
        if layer not in pulses_per_cell:
            raise ParameterError(f"pulses_per_cell has no layer {layer!r}; it has: {', '.join(pulses_per_cell)}")
        pulses = pulses_per_cell[layer]
    else:
        pulses = pulses_per_cell
    if not 0 <= pulses < math.inf:
        raise ParameterError(f"pulses_per_cell of {layer} must be at least 0 and finite, got {pulses}")
    return float(pulses)

"""What programming a placed network costs: pulses, energy and time by layer.

Conventions, all assumed, since no source at hand says how its arrays share their write drivers:

- every cell of every copy is written, also those of weight 0, as on a chip programmed for the first time;
- in one crossbar, `cells_at_once` cells of a wordline are written together, the next ones after that (default 1:
  write-verify reads each cell before its next pulse);
- crossbars are written in parallel, of one layer and of several, so the chip takes as long as its slowest layer;
- a pulse costs the device's write_energy and takes its write_time, the verifying read included; a group of cells
  takes the mean pulses of a cell, although it waits for its slowest: for many at once that is a lower bound.
"""

import math
from collections.abc import Mapping

import pandas as pd

from hw.errors import ParameterError
from hw.placement import Placement


def programming_cost(
    placement: Placement, pulses_per_cell: Mapping[str, float] | float = 1.0, cells_at_once: int = 1
) -> pd.DataFrame:
    """Cells, pulses, energy_J, time_s and endurance_share of programming each layer (index) and all its copies.

    pulses_per_cell: mean write pulses of a cell, as in `Programmed.pulses_per_cell`, of every layer or by its name.
    endurance_share: mean pulses of a cell over the device's endurance, nan where that is not given.
    Joules add up over layers; seconds do not, the chip takes the largest. Raises ParameterError.
    """
    device = placement.chip.device
    for name in ("write_energy", "write_time"):
        if getattr(device, name) is None:
            raise ParameterError(f"device.{name} is needed for the cost of programming, got None")
    if not (isinstance(cells_at_once, int) and cells_at_once >= 1):
        raise ParameterError(f"cells_at_once must be a whole number of at least 1, got {cells_at_once!r}")
    rows = {}
    for layer, copies in placement.copies.items():
        mean = _pulses_of(layer, pulses_per_cell)
        crossbars = [crossbar for copy in copies for crossbar in placement.crossbars_of(copy)]
        cells = sum(crossbar.rows * crossbar.bitlines for crossbar in crossbars)
        turns = max(crossbar.rows * math.ceil(crossbar.bitlines / cells_at_once) for crossbar in crossbars)
        rows[layer] = {
            "cells": cells,
            "pulses": cells * mean,
            "energy_J": cells * mean * (device.write_energy or 0.0),
            "time_s": turns * mean * (device.write_time or 0.0),
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

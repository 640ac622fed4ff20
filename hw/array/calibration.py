"""Ranges of ADCs: from currents seen on calibration data, or as stated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.converter import SMALLEST
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.lookup import LookUps
from xbar.hw.array.product import Products
from xbar.hw.array.programmed import ProgrammedArray
from xbar.hw.array.ready import make_ready
from xbar.hw.errors import ParameterError


def stated_full_scale(channel: ReadChannel, current: Tensor | float) -> Tensor:
    """Full scale (1, columns) [level steps] of a largest current [A] (at the device's read voltage): one for all or one a
    weight slice, most significant first; references as the top slice. Raises ParameterError where the device names no read
    voltage, for other numbers, and where ADCs take their range from elsewhere or sense a voltage."""
    g, adc = channel.geometry, channel.design.adc
    if adc.range in ("fixed", "level_fixed", "ideal") or adc.sensing == "voltage":
        why = "sensing = voltage: codes are of a voltage" if adc.sensing == "voltage" else f"range = {adc.range}"
        raise ParameterError(
            f"a full scale that is set is without effect where component.adc.{why}; it takes range = calibrated, full_scale or level"
        )
    given = torch.as_tensor(current, dtype=torch.float64).flatten()
    if len(given) not in (1, g.slices) or not bool(((given > 0) & torch.isfinite(given)).all()):
        raise ParameterError(f"full scale must be one current or {g.slices}, above 0 A and finite, got {given.tolist()}")
    per_slice = (given / channel.ampere_per_level()).expand(g.slices)
    columns = per_slice.repeat_interleave(channel.polarities).repeat(g.outputs)
    return torch.cat([columns, per_slice[:1].expand(channel.references)]).unsqueeze(0)


def calibrated_range(channel: ReadChannel, currents: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Full scale, and where codes begin (None: at zero or around it), (row_tiles or 1, columns) [level steps], of the currents
    of each row tile (..., columns) [level steps]: the design's percentiles per weight slice, over the layer or each crossbar,
    of the magnitudes, or of the currents themselves where codes begin anywhere; references have one of their own. Where no
    current flows at all, as with weights that are all 0, nothing was seen of what will: the largest that can."""
    adc = channel.design.adc
    if not any(bool(each.any()) for each in currents):
        full = channel.largest_current().unsqueeze(0)
        return full, None if adc.lower_percentile is None else torch.zeros_like(full)
    floor = 1.0 if adc.finest == "level" or adc.range == "level" else SMALLEST
    if adc.lower_percentile is None:
        return _by_kind(channel, [current.abs() for current in currents], adc.percentile).clamp(min=floor), None
    lowest = _by_kind(channel, currents, adc.lower_percentile)
    return torch.maximum(_by_kind(channel, currents, adc.percentile), lowest + floor), lowest


def _by_kind(channel: ReadChannel, currents: Sequence[Tensor], percentile: float) -> Tensor:
    """The percentile of the currents of each row tile (..., columns) per weight slice, over the layer or each crossbar,
    (row_tiles or 1, columns) float64."""
    g, polarities = channel.geometry, channel.polarities
    per_crossbar = channel.design.adc.range_per == "crossbar"
    column = torch.arange(channel.columns)
    slice_of = column // polarities % g.slices
    tile_of = column // (polarities * g.slices) // g.outputs_per_crossbar
    kind = torch.cat([slice_of, torch.full((channel.references,), g.slices)])
    tile = torch.cat([tile_of, torch.arange(channel.references)])
    kind = kind + (g.slices + 1) * tile if per_crossbar else kind
    rows = currents if per_crossbar or len(currents) == 1 else [torch.cat([each.flatten(0, -2) for each in currents])]
    out = torch.ones(len(rows), rows[0].shape[-1], dtype=torch.float64, device=rows[0].device)
    for row, part in enumerate(rows):
        for each in kind.unique().tolist():
            of_kind = (kind == each).nonzero().flatten().to(part.device)
            values = _present(channel, part, of_kind)
            rank = max(1, -int(-percentile * values.numel() // 1))
            out[row, of_kind] = values.kthvalue(rank).values.double()
    return out


def _present(channel: ReadChannel, currents: Tensor, columns: Tensor) -> Tensor:
    """The currents of those columns, by number, that there are, flat, of one row tile's (..., groups, vectors, columns)."""
    chosen = currents[..., columns]
    if channel.present is None:
        return chosen.flatten()
    return chosen[channel.present[..., columns].expand(chosen.shape)]


def currents_seen(
    array: ProgrammedArray, channel: ReadChannel, reading: Products | LookUps, inputs: Tensor, dtype: torch.dtype
) -> tuple[list[Tensor], float]:  # fmt: skip
    """Currents of each row tile (..., columns) [level steps] of inputs as `CrossbarMatrix.calibrate` takes them, without noise and
    errors of ADCs; and the share of the column currents of single reads that are beyond the current limit."""
    ready = make_ready(array, channel, dtype, with_errors=False)
    step, counted = channel.adc.step.to(dtype), ActionCounts()
    found = reading.currents(ready, channel, inputs, counted)
    slices = channel.design.converted_slices
    reads = sum(current.numel() for current in found) * sum(slices) / len(slices)
    return [current * step[tile % len(step)] for tile, current in enumerate(found)], counted.limited / max(1, reads)


def saturated_share(channel: ReadChannel, currents: Sequence[Tensor]) -> float:
    """Share of the currents of each row tile (..., columns) [level steps] that leave the codes."""
    adc, step = channel.adc, channel.adc.step
    present = channel.present
    saturated = sum(adc.of_tile(tile).saturated(current / step[tile % len(step)], present) for tile, current in enumerate(currents))
    share = 1.0 if present is None else float(present.double().mean())
    return saturated / (share * sum(current.numel() for current in currents))

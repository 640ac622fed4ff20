"""Ranges of ADCs: from currents seen on calibration data, or as stated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xbar.hw.array.channel import ReadChannel
from xbar.hw.errors import ParameterError

SMALLEST = 1e-12  # [level steps] of a range where no current was seen


def stated_full_scale(channel: ReadChannel, current: Tensor | float) -> Tensor:
    """Full scale (1, columns) [level steps] of a largest current [A] (at the device's read voltage): one for all or one a
    weight slice, most significant first; references as the top slice. Raises ParameterError where the device names no read
    voltage, and for other numbers."""
    g = channel.geometry
    given = torch.as_tensor(current, dtype=torch.float64).flatten()
    if len(given) not in (1, g.slices) or not bool(((given > 0) & torch.isfinite(given)).all()):
        raise ParameterError(f"full scale must be one current or {g.slices}, above 0 A and finite, got {given.tolist()}")
    per_slice = (given / channel.ampere_per_level()).expand(g.slices)
    columns = per_slice.repeat_interleave(channel.polarities).repeat(g.outputs)
    return torch.cat([columns, per_slice[:1].expand(channel.references)]).unsqueeze(0)


def calibrated_full_scale(channel: ReadChannel, currents: Sequence[Tensor]) -> Tensor:
    """Full scale (row_tiles or 1, columns) [level steps] of the currents of each row tile (..., columns) [level steps]: the
    design's percentile of the magnitudes per weight slice, over the layer or each crossbar; references have one of their
    own. Where no current flows at all, as with weights that are all 0, nothing was seen of what will: the largest that can."""
    g, adc, polarities = channel.geometry, channel.design.adc, channel.polarities
    magnitudes = [current.abs() for current in currents]
    if not any(bool(each.any()) for each in magnitudes):
        return channel.largest_current().unsqueeze(0)
    per_crossbar = adc.range_per == "crossbar"
    column = torch.arange(channel.columns)
    slice_of = column // polarities % g.slices
    tile_of = column // (polarities * g.slices) // g.outputs_per_crossbar
    kind = torch.cat([slice_of, torch.full((channel.references,), g.slices)])
    tile = torch.cat([tile_of, torch.arange(channel.references)])
    kind = kind + (g.slices + 1) * tile if per_crossbar else kind
    rows = magnitudes if per_crossbar else [torch.cat([each.flatten(0, -2) for each in magnitudes])]
    out = torch.ones(len(rows), rows[0].shape[-1], dtype=torch.float64, device=rows[0].device)
    for row, part in enumerate(rows):
        for each in kind.unique().tolist():
            values = part[..., kind == each].flatten()
            rank = max(1, -int(-adc.percentile * values.numel() // 1))
            floor = 1.0 if adc.finest == "level" else SMALLEST
            out[row, kind == each] = values.kthvalue(rank).values.double().clamp(min=floor)
    return out


def saturated_share(channel: ReadChannel, currents: Sequence[Tensor]) -> float:
    """Share of the currents of each row tile (..., columns) [level steps] that leave the codes."""
    step = channel.adc.step
    saturated = sum(channel.adc.saturated(current / step[tile % len(step)]) for tile, current in enumerate(currents))
    return saturated / sum(current.numel() for current in currents)

"""Digital arithmetic after the ADCs: codes of columns to sums of products."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.currents import base_levels
from xbar.hw.array.mapping import MappedMatrix
from xbar.hw.array.programmed import ProgrammedArray


def sums_of(
    total: Tensor, tile_sums: Callable[[], Tensor], array: ProgrammedArray, channel: ReadChannel, scale: Tensor | None,
    out: Tensor | None,
) -> Tensor:  # fmt: skip
    """Sums of products (instances x groups, vectors, outputs) of the codes `total` (instances x groups, vectors, columns)
    of all conversions of a vector, times `scale` (instances x groups, 1, outputs), in `out` where one is given. tile_sums:
    gives the summed inputs of each row tile (instances x groups, vectors, row_tiles) float64."""
    g, factor, mapped = channel.geometry, channel.common_step, array.mapped
    correction = _correction(array)
    if channel.columns == g.outputs and correction is None and not g.converted_references:
        factor = scale if factor is None else factor if scale is None else factor * scale
        if factor is not None:
            graded = total.requires_grad or factor.requires_grad
            total = torch.mul(total, factor.to(total.dtype), out=total if out is None and not graded else out)
        return total if out is None else _put(total, out)
    total = total if factor is None else total * factor.to(total.dtype)
    stored = total[..., : channel.columns]
    if channel.columns != g.outputs:
        stored = stored.unflatten(-1, (g.outputs, g.slices, -1))
        stored = stored[..., 0] - stored[..., 1] if stored.shape[-1] == 2 else stored[..., 0]
        stored = stored @ mapped.slice_weight.to(stored)
    if correction is not None:
        per_tile = tile_sums()
        stored = stored + per_tile @ correction.repeat(per_tile.shape[0] // g.groups, 1, 1).to(per_tile)
    if g.converted_references:
        tile_of_output = torch.arange(g.outputs, device=total.device) // g.outputs_per_crossbar
        reference = total[..., channel.columns :] * mapped.slice_weight[0].to(total)
        stored = stored - reference[..., tile_of_output]
    stored = stored if scale is None else stored * scale.to(stored.dtype)
    return stored if out is None else _put(stored, out)


def signs_of(mapped: MappedMatrix, columns: int, dtype: torch.dtype) -> Tensor:
    """-1 for columns stored flipped, else 1, (groups, row_tiles, columns); references come last."""
    sign = 1.0 - 2.0 * mapped.flipped.flatten(2).to(dtype)
    return nn.functional.pad(sign, (0, columns - sign.shape[-1]), value=1.0)


def unit_scale(array: ProgrammedArray, unit: Tensor | None, scale: Tensor) -> Tensor | None:
    """What sums are multiplied by, (instances x groups, 1, outputs), so that they are in units of weight times input value:
    unit is the input value that the integer 1 stands for, one or (instances,); scale: the weight that it stands for (groups, outputs).
    None: sums stay in integers."""
    if unit is None:
        return None
    per_instance = unit.expand(len(array.draws.seeds)).view(-1, 1, 1, 1)
    return (per_instance * scale.unsqueeze(1)).flatten(0, 1)


def _correction(array: ProgrammedArray) -> Tensor | None:
    """What is added digitally per unit of a row tile's summed inputs, (groups, row_tiles, outputs) float64: the
    offset of stored weights, columns stored flipped, converted g_min current; None where nothing is."""
    mapped, g = array.mapped, array.mapped.geometry
    if g.encoding.scheme != "offset" or g.encoding.analog_reference:
        return None
    base, weight = base_levels(g, array.device), mapped.slice_weight.to(mapped.held.device)
    flip = mapped.flipped.double()
    correction = (flip * (2**g.cell_bits - 1) - (1 - 2 * flip) * base) @ weight
    if g.reference_columns:
        return correction + base * weight[0]
    return correction - g.encoding.offset


def _put(value: Tensor, out: Tensor) -> Tensor:
    return value if value.data_ptr() == out.data_ptr() else out.copy_(value)

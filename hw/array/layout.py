"""Where the cells of a mapped matrix lie on its crossbars."""

import torch
from torch import Tensor

from xbar.hw.array.geometry import Geometry


class CrossbarLayout:
    """Where the cells of a mapped matrix lie on its crossbars.

    A block lies in the corner where the drivers' bitline and the sense amplifiers' wordline meet, so that its wires
    are as short as they can be. From the drivers: the reference columns, then output after output, an output's
    columns slice-major, positive before negative. Towards the sense amplifiers: input after input, the last nearest;
    where pairs share a bitline the positive wordline comes first.

    wordlines: of a crossbar, in whole inputs. first_wordline (row_tiles,): the first in use. plane, tile, bitline, line
    (columns,): of each column outputs x slices x polarities, then of the reference columns of each column tile, where it
    lies and on which wordline of an input. Nothing here is of the size of the matrix; indices are made when asked for.
    """

    def __init__(self, geometry: Geometry):
        g = self.geometry = geometry
        self.wordlines = g.wordlines - g.wordlines % g.wordlines_per_input
        self.first_wordline = self.wordlines - torch.tensor([g.rows_of(tile) for tile in range(g.row_tiles)])
        polarities = g.encoding.polarities
        column = torch.arange(g.outputs * g.slices * polarities)
        polarity, output = column % polarities, column // (polarities * g.slices)
        block = output % g.outputs_per_crossbar * g.slices + column // polarities % g.slices
        none = torch.zeros_like(column)
        tile = output // g.outputs_per_crossbar
        if g.encoding.shared_bitline:
            places = none, tile, block, polarity
        elif g.planes == 2:
            places = polarity, tile, block, none
        else:
            places = none, tile, g.reference_columns + block * polarities + polarity, none
        references = torch.arange(g.column_tiles * g.reference_columns)
        each = max(1, g.reference_columns)
        of_references = torch.zeros_like(references), references // each, references % each, torch.zeros_like(references)
        self.plane, self.tile, self.bitline, self.line = (
            torch.cat(pair) for pair in zip(places, of_references, strict=True)
        )

    def place(self, columns: Tensor, unused: float) -> Tensor:
        """Values (..., groups, row_tiles, rows, columns) as they lie: (..., groups, planes, row_tiles, column_tiles,
        wordlines, bitlines), `unused` elsewhere."""
        g, lines = self.geometry, self.geometry.wordlines_per_input
        # of each place, which column and row is there; -1, the padding: unused
        column = torch.full((g.planes, g.column_tiles, lines, g.bitlines), -1)
        column[self.plane, self.tile, self.line, self.bitline] = torch.arange(len(self.plane))
        from_first = torch.arange(self.wordlines) - self.first_wordline[:, None]  # (row_tiles, wordlines)
        row = torch.where(from_first >= 0, from_first // lines, -1)
        line = from_first.clamp(min=0) % lines if lines > 1 else torch.zeros(1, 1, dtype=torch.long)
        at = (
            torch.arange(g.row_tiles)[None, :, None, None, None],
            row[None, :, None, :, None],
            column[:, :, line].movedim(2, 1),  # (planes, row_tiles or 1, column_tiles, wordlines or 1, bitlines)
        )
        padded = torch.nn.functional.pad(columns, (0, 1, 0, 1), value=unused)
        return padded[(..., *(index.to(columns.device) for index in at))]  # type: ignore[index]

    def collect(self, placed: Tensor) -> Tensor:
        """The inverse of `place`; rows beyond the matrix hold anything."""
        g, lines = self.geometry, self.geometry.wordlines_per_input
        row = torch.arange(min(g.inputs, g.inputs_per_crossbar))[:, None]
        line = self.line if lines > 1 else torch.zeros(1, dtype=torch.long)
        wordline = (self.first_wordline[:, None, None] + lines * row + line) % self.wordlines
        at = (self.plane, torch.arange(g.row_tiles)[:, None, None], self.tile, wordline, self.bitline)
        return placed[(..., *(index.to(placed.device) for index in at))]  # type: ignore[index]

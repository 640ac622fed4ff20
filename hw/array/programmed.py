"""Cells of chip instances: written with a mapped matrix, drifted, switched, stuck."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xbar.hw.array.draws import Draws
from xbar.hw.array.layout import CrossbarLayout
from xbar.hw.array.mapping import MappedMatrix
from xbar.hw.cells.device import Device
from xbar.hw.cells.law import CellLaw
from xbar.hw.cells.programmed import Programmed
from xbar.hw.errors import ParameterError

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class ProgrammedArray:
    """What the cells hold that one matrix was written to, in each of the chip instances `draws`, `time` [s] after that.

    cells: of each instance, without their targets, which `mapped` says; None where they are at their targets. stuck: the
    cells known to be stuck by place, where they were not drawn. own_law: a current-voltage law of the cells that the device
    does not know by name.
    """

    mapped: MappedMatrix
    layout: CrossbarLayout
    device: Device
    draws: Draws
    cells: tuple[Programmed | None, ...]
    stuck: Tensor | None = None
    time: float = 0.0
    own_law: CellLaw | None = None
    aimed: bool = False  # cells are at their targets in products too: without what products have them off by

    @property
    def law(self) -> CellLaw:
        """Current-voltage law of the cells."""
        return self.own_law or self.device.law

    @property
    def perfect(self) -> bool:
        """True where every read of every cell finds its target, at any time."""
        return self.device.is_ideal and self.stuck is None

    def at(self, seconds: float) -> "ProgrammedArray":
        """The same cells `seconds` after programming: drift moves them, their noise may grow. Raises ParameterError."""
        if not 0 <= seconds < float("inf"):
            raise ParameterError(f"time must be 0 s or more and finite, got {seconds}")
        return replace(self, time=seconds)

    def first(self) -> "ProgrammedArray":
        """The first instance alone."""
        return replace(self, draws=replace(self.draws, seeds=self.draws.seeds[:1]), cells=self.cells[:1])

    def at_targets(self) -> "ProgrammedArray":
        """One instance whose cells are all at their targets, in products too."""
        return replace(self.first(), cells=(None,), aimed=True)

    def to(self, device: torch.device) -> "ProgrammedArray":
        """The same cells on a torch device."""
        return replace(self, mapped=self.mapped.to(device), cells=tuple(_moved(each, device) for each in self.cells))

    def target(self) -> Tensor:
        """What the cells should hold [S], by column (groups, row_tiles, rows, columns) float64."""
        return self.device.conductance(self.mapped.columns(), self.mapped.geometry.cell_bits)

    def written(self) -> Tensor:
        """What the writes left in the cells [S] (instances, groups, row_tiles, rows, columns) float64."""
        target = self.target()
        return torch.stack([target if cells is None else cells.conductance for cells in self.cells])

    def conductances(self) -> Tensor:
        """What the cells hold now [S], by column (instances, groups, row_tiles, rows, columns) float64."""
        target = self.target()
        return torch.stack([
            target if cells is None
            else self.device.conductance_at(cells, self.time, self.draws.of_telegraph(seed, CPU))
            for cells, seed in zip(self.cells, self.draws.seeds, strict=True)
        ])  # fmt: skip

    def mean(self, what: str) -> float:
        """Mean over chip instances of a figure of `xbar.hw.cells.programmed.Programmed`, such as "stuck_share" or "pulses"; 0
        for ideal cells."""
        target = self.target() if what == "residual" else None
        figures = [0.0 if cells is None else float(getattr(replace(cells, target=target), what)) for cells in self.cells]
        return sum(figures) / len(figures)


def write_array(
    mapped: MappedMatrix, layout: CrossbarLayout, device: Device, draws: Draws, stuck: Tensor | None = None,
    law: CellLaw | None = None, on: torch.device = CPU,
) -> ProgrammedArray:  # fmt: skip
    """The matrix written to the chip instances `draws`, drawn `on` a torch device.

    stuck: cells known to be stuck, in place of drawn ones: +1 at g_max, -1 at g_min, 0 works, as they lie on the crossbars
    (groups, planes, row_tiles, column_tiles, wordlines, bitlines). Gradients flow to the levels. Raises ParameterError for
    a map of another form and for a device with too few levels.
    """
    bits = layout.geometry.cell_bits
    if bits > device.bits:
        raise ParameterError(f"weights use {bits} bits per cell; device.levels = {device.levels} is too few")
    stuck = None if stuck is None else _checked(stuck, layout)
    array = ProgrammedArray(mapped, layout, device, draws, (None,) * len(draws.seeds), stuck, own_law=law)
    if array.perfect:
        return array
    target, known = array.target().to(on), None if stuck is None else layout.collect(stuck).to(on)
    written = (
        device.program(target, draws.of_writing(seed, on), draws.of_instance(seed, on), known) for seed in draws.seeds
    )
    return replace(array, cells=tuple(replace(cells, target=None) for cells in written))


def _checked(stuck: Tensor, layout: CrossbarLayout) -> Tensor:
    """A map of stuck cells by place, int8."""
    g = layout.geometry
    shape = (g.groups, g.planes, g.row_tiles, g.column_tiles, layout.wordlines, g.bitlines)
    if tuple(stuck.shape) != shape:
        raise ParameterError(f"stuck must be {shape}, as crossbars lie, got {tuple(stuck.shape)}")
    if not bool(((stuck == 0) | (stuck.abs() == 1)).all()):
        raise ParameterError("stuck must hold +1 (at g_max), -1 (at g_min) and 0 (works) only")
    return stuck.to("cpu", torch.int8)


def _moved(programmed: Programmed | None, device: torch.device) -> Programmed | None:
    """The same cells on a torch device."""
    if programmed is None:
        return None
    tensors = {name: value.to(device) for name, value in vars(programmed).items() if isinstance(value, Tensor)}
    return replace(programmed, **tensors)  # type: ignore[arg-type]

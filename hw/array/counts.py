"""What the functional model did, counted from the tensors that it worked on; and what it is to do, from the geometry."""

from dataclasses import dataclass

from xbar.hw.array.channel import ReadChannel
from xbar.hw.array.geometry import Geometry


@dataclass
class ActionCounts:
    """What the functional model did: counted from the tensors that it worked on, not from the geometry."""

    drives: int = 0
    conversions: int = 0
    inputs: int = 0  # input values converted, each once however many vectors it is part of
    clipped_inputs: int = 0  # of them, beyond the calibrated range
    vectors: int = 0
    saturated: int = 0  # conversions beyond the codes; counted while `measure` is on
    limited: int = 0  # currents of columns, of one read each, beyond what a column can give; counted while `measure` is on

    def add(self, other: "ActionCounts") -> None:
        """Count what `other` counted as well."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


def drives_of(channel: ReadChannel, values: int, vectors: int = 0) -> int:
    """Wordline drives of that many inputs driven once: of every crossbar that holds part of their outputs. vectors: of which they are,
    each with inputs that no wordline has, where the last matrix lacks groups."""
    g = channel.geometry
    values -= vectors * g.of_layer.missing * g.of_layer.weights
    return values * g.column_tiles * g.planes * g.wordlines_per_input


# ---- per input slice, over all crossbars of one copy


def drives_per_slice(geometry: Geometry) -> int:
    """Wordlines driven."""
    g = geometry
    inputs = g.groups * g.inputs - g.of_layer.missing * g.of_layer.weights
    return g.planes * g.wordlines_per_input * inputs * g.column_tiles


def bitlines_per_slice(geometry: Geometry) -> int:
    """Bitlines sampled."""
    g = geometry
    return g.planes * g.row_tiles * _per_row(g, g.columns_per_output, g.reference_columns)


def conversions_per_slice(geometry: Geometry) -> int:
    """ADC conversions."""
    g = geometry
    return g.converted_planes * g.row_tiles * _per_row(g, g.conversions_per_output, g.converted_references)


def _per_row(geometry: Geometry, per_output: int, references: int) -> int:
    """So many of each output and of each crossbar, over a row of tiles of all groups."""
    g = geometry
    outputs = g.groups * g.outputs - g.of_layer.missing * g.of_layer.outputs
    return outputs * per_output + g.groups * g.column_tiles * references

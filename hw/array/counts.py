"""What the functional model did, counted from the tensors that it worked on."""

from dataclasses import dataclass

from xbar.hw.array.channel import ReadChannel


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
    values -= vectors * g.missing * g.weights_of_group
    return values * g.column_tiles * g.planes * g.wordlines_per_input

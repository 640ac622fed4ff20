"""Groups of a layer, and how many of them lie together on one matrix."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class LayerGroups:
    """So many `groups` of a layer with so many outputs and inputs with weights each, `together` of them on one block-diagonal matrix; the
    last one holds what is left. biases: inputs that carry the bias of all groups of a matrix."""

    groups: int
    outputs: int
    weights: int
    biases: int
    together: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups, and of one the outputs and the inputs, with those that carry its bias."""
        return self.groups, self.outputs, self.weights + self.biases

    @property
    def matrices(self) -> int:
        """Block-diagonal matrices."""
        return ceil(self.groups / self.together)

    @property
    def missing(self) -> int:
        """Groups that the last matrix lacks to be full."""
        return self.matrices * self.together - self.groups

    def lacking(self, matrix: int) -> int:
        """Groups that this matrix lacks to be full."""
        return self.missing if matrix == self.matrices - 1 else 0

    def held(self, matrix: int) -> int:
        """Groups that this matrix holds."""
        return self.together - self.lacking(matrix)

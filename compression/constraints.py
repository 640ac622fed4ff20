"""Sets that a layer's weights may be held to, each with its Euclidean projection.

A set acts on a weight as torch holds it, or on the matrix (groups, outputs, inputs) of `xbar.compression.gemm`, and cuts it
as the crossbars do. Pruning sets keep groups of weights: the nearest member keeps those of largest l2 norm, of equal
ones the first. Which group is what on a crossbar: a filter is an output's bitlines; a column (filter shape) is one
wordline of every array along the outputs; a block is a whole array; lines are wordlines or bitlines of one array.

Sources: W. Wen et al., Learning structured sparsity in deep neural networks, NeurIPS 2016 (filter, channel, filter shape);
G. Yuan et al., An ultra-efficient memristor-based DNN framework with structured weight pruning and quantization
using ADMM, ISLPED 2019, arXiv 1908.11691 (crossbar blocks, levels). Neither was opened.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xbar.compression.errors import CompressionError
from xbar.compression.gemm import channels_of, matrix_of, weight_of
from xbar.compression.levels import best_scale
from xbar.hw.array.geometry import Geometry
from xbar.hw.chip.description import Chip


class ConstraintSet(ABC):
    """A closed set of weights. `groups` is the convolution's, 1 for a linear layer."""

    @abstractmethod
    def project(self, weight: Tensor, groups: int = 1) -> Tensor:
        """The nearest member, of the weight's shape and dtype. Raises CompressionError for weights that are not
        finite or a shape that is none of a layer's."""

    @abstractmethod
    def contains(self, weight: Tensor, groups: int = 1) -> bool:
        """Whether the weight is a member."""


@dataclass(frozen=True)
class PruningSet(ConstraintSet):
    """At most `k` groups of weights are not zero, or `ratio` of them, rounded up (0 < ratio <= 1, the share kept).

    A `k` above the number of groups asks nothing. Raises CompressionError where neither or both are given, or one is out
    of range: a layer that keeps nothing computes nothing.
    """

    k: int | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if (self.k is None) == (self.ratio is None):
            raise CompressionError(f"{name} needs either k or ratio, got k={self.k}, ratio={self.ratio}")
        if self.k is not None and (self.k != int(self.k) or self.k < 1):
            raise CompressionError(f"{name}: k must be a whole number, 1 or more (0 would leave nothing), got {self.k}")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise CompressionError(f"{name}: ratio, the share kept, must be above 0 and at most 1, got {self.ratio}")

    @abstractmethod
    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """Which group each entry belongs to, int64 that broadcasts to the matrix, and for each group the contest it
        takes part in; k are kept of every contest."""

    def mask(self, weight: Tensor, groups: int = 1) -> Tensor:
        """bool of the weight's shape: what the projection keeps."""
        matrix, labels, contest, norms = self._measured(weight, groups)
        kept = _largest(norms, contest, self._quota(contest))
        return weight_of(kept[labels.expand(matrix.shape)], weight.shape)

    def project(self, weight: Tensor, groups: int = 1) -> Tensor:
        """The weight with all but its k groups of largest l2 norm set to 0."""
        return torch.where(self.mask(weight, groups), weight, torch.zeros_like(weight))

    def contains(self, weight: Tensor, groups: int = 1) -> bool:
        """Whether at most k groups have a weight that is not 0."""
        _, _, contest, norms = self._measured(weight, groups)
        quota = self._quota(contest)
        used = torch.zeros_like(quota).index_add_(0, contest, (norms > 0).to(quota.dtype))
        return bool((used <= quota).all())

    def norms(self, weight: Tensor, groups: int = 1) -> Tensor:
        """l2 norm of each group of weights, float64 (groups of weights,), in the order in which ties are broken."""
        matrix, _, _, norms = self._measured(weight, groups)
        return norms.sqrt() * matrix.abs().max().double()

    def count(self, weight: Tensor, groups: int = 1) -> tuple[int, int]:
        """(groups of weights kept at most, groups there are)."""
        _, contest = self._labels(matrix_of(weight, groups), channels_of(weight, groups))
        return int(self._quota(contest).sum()), len(contest)

    def _measured(self, weight: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(matrix, labels, contest of each group, squared norm of each group)."""
        _check_finite(weight)
        matrix = matrix_of(weight.detach(), groups)
        labels, contest = self._labels(matrix, channels_of(weight, groups))
        labels, contest = labels.to(weight.device), contest.to(weight.device)
        scaled = matrix.double() / matrix.abs().max().clamp(min=1e-300).double()  # squares neither vanish nor overflow
        norms = torch.zeros(len(contest), dtype=torch.float64, device=weight.device)
        norms.index_add_(0, labels.expand(matrix.shape).flatten(), scaled.square().flatten())
        return matrix, labels, contest, norms

    def _quota(self, contest: Tensor) -> Tensor:
        """How many are kept of each contest, int64."""
        sizes = contest.bincount()
        if self.k is not None:
            return sizes.clamp(max=self.k)
        assert self.ratio is not None
        return (self.ratio * sizes.double() - 1e-9).ceil().clamp(min=1).long()


def _largest(norms: Tensor, contest: Tensor, quota: Tensor) -> Tensor:
    """bool: whether a group is among the `quota` largest of its contest; of equal ones the first."""
    order = norms.argsort(descending=True, stable=True)
    order = order[contest[order].argsort(stable=True)]
    sizes = contest.bincount()
    rank = torch.arange(len(norms), device=norms.device) - (sizes.cumsum(0) - sizes)[contest[order]]
    kept = torch.empty(len(norms), dtype=torch.bool, device=norms.device)
    kept[order] = rank < quota[contest[order]]
    return kept


def _check_finite(weight: Tensor) -> None:
    if not bool(torch.isfinite(weight).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise CompressionError(f"weights must be finite; {bad} of {weight.numel()} are not (did the training diverge?)")


def _one_contest(labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels, torch.zeros(labels.numel(), dtype=torch.int64)


@dataclass(frozen=True)
class Weights(PruningSet):
    """Single weights, as unstructured pruning keeps them: no crossbar gets smaller by it."""

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        return _one_contest(torch.arange(matrix.numel()).view(matrix.shape))


@dataclass(frozen=True)
class Filter(PruningSet):
    """Outputs, counted over all groups of the layer."""

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        groups, outputs, _ = matrix.shape
        return _one_contest(torch.arange(groups * outputs).view(groups, outputs, 1))


@dataclass(frozen=True)
class Channel(PruningSet):
    """Input channels with all their kernel positions, counted over all groups of the layer."""

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        groups, _, inputs = matrix.shape
        _, contest = _one_contest(torch.empty(groups * channels))
        channel = torch.arange(inputs) % channels
        return torch.arange(groups).view(-1, 1, 1) * channels + channel, contest


@dataclass(frozen=True)
class Column(PruningSet):
    """Inputs of the matrix (filter shapes: a kernel position of a channel), counted over all groups of the layer."""

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        groups, _, inputs = matrix.shape
        return _one_contest(torch.arange(groups * inputs).view(groups, 1, inputs))


@dataclass(frozen=True)
class _CrossbarSet(PruningSet):
    chip: Chip | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chip is None:
            raise CompressionError(f"{type(self).__name__} needs the chip whose crossbars cut the matrix")

    def _tiles(self, matrix: Tensor) -> tuple[Geometry, Tensor, Tensor]:
        """(geometry, column tile of each output, row tile of each input of a group of the layer)."""
        assert self.chip is not None
        groups, outputs, inputs = matrix.shape
        geometry = self.chip.geometry(outputs, inputs, groups)
        across = torch.arange(outputs) // geometry.outputs_per_crossbar
        down = torch.arange(inputs) // geometry.inputs_per_crossbar
        return geometry, across.view(1, -1, 1), down.view(1, 1, -1)


@dataclass(frozen=True)
class CrossbarBlock(_CrossbarSet):
    """Whole arrays of `chip`, cut as `chip.geometry` cuts them, with all groups that lie together on one, counted over all groups of the
    layer (both crossbars of a block with separate signs are one)."""

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        g, across, down = self._tiles(matrix)
        group = torch.arange(len(matrix)).view(-1, 1, 1) // g.together
        _, contest = _one_contest(torch.empty(g.groups * g.row_tiles * g.column_tiles))
        return (group * g.row_tiles + down) * g.column_tiles + across, contest


@dataclass(frozen=True)
class CrossbarLines(_CrossbarSet):
    """Wordlines, or bitlines (all those of an output), within arrays of `chip`: `k` or `ratio` of each array's, or,
    counted `per` layer, of all arrays' together."""

    line: Literal["wordline", "bitline"] = "wordline"
    per: Literal["array", "layer"] = "array"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.line not in ("wordline", "bitline") or self.per not in ("array", "layer"):
            raise CompressionError(
                f"CrossbarLines: line must be wordline or bitline and per array or layer, got {self.line}, {self.per}"
            )

    def _labels(self, matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        g, across, down = self._tiles(matrix)
        groups, outputs, inputs = matrix.shape
        group = torch.arange(groups).view(-1, 1, 1)
        array = group.view(-1, 1) // g.together
        if self.line == "wordline":
            labels = (group * g.column_tiles + across) * inputs + torch.arange(inputs)
            first = (array * g.column_tiles + torch.arange(g.column_tiles)).view(-1, 1) * g.row_tiles  # (groups x column tiles, inputs)
            contest = first + down.flatten()
        else:
            labels = (group * g.row_tiles + down) * outputs + torch.arange(outputs).view(1, -1, 1)
            first = (array * g.row_tiles + torch.arange(g.row_tiles)).view(-1, 1) * g.column_tiles
            contest = first + across.flatten()
        contest = contest.flatten()
        return labels, contest if self.per == "array" else torch.zeros_like(contest)


@dataclass(frozen=True)
class Levels(ConstraintSet):
    """Whole multiples -largest .. largest of a scale that the projection solves for exactly, largest = 2^(bits-1) - 1.

    per: one scale for the layer, or for each output. full_scale: the largest magnitude is `largest` steps (or all
    weights are 0), as a chip that takes its range from the largest weight needs it: only then does such a chip
    hold these very weights. Raises CompressionError for bits out of range.
    """

    bits: int
    per: Literal["layer", "output"] = "layer"
    full_scale: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 24 or self.bits != int(self.bits):
            raise CompressionError(f"Levels: bits must be a whole number from 2 to 24, got {self.bits}")
        if self.per not in ("layer", "output"):
            raise CompressionError(f"Levels: per must be layer or output, got {self.per}")

    @classmethod
    def of(cls, chip: Chip) -> "Levels":
        """The levels that `chip` offers a weight (its cells' levels, over their slices), full scale as it maps them."""
        return cls(chip.weights.bits, "layer" if chip.weights.per == "layer" else "output", full_scale=True)

    @property
    def largest(self) -> int:
        """Largest multiple of the scale."""
        return int(2 ** (self.bits - 1)) - 1

    def project(self, weight: Tensor, groups: int = 1) -> Tensor:
        """The nearest weight on levels; zeros stay zeros."""
        integer, scale = self.quantise(weight, groups)
        return weight_of(integer * scale.unsqueeze(-1), weight.shape).to(weight.dtype)

    def contains(self, weight: Tensor, groups: int = 1) -> bool:
        """Whether every weight is on a level, to rounding of the weight's dtype."""
        away = (self.project(weight, groups) - weight).abs().max()
        return bool(away <= 32 * torch.finfo(weight.dtype).eps * weight.abs().max())

    def quantise(self, weight: Tensor, groups: int = 1) -> tuple[Tensor, Tensor]:
        """(whole multiples (groups, outputs, inputs), scale (groups, outputs)) of the nearest member, float64; the scale
        of weights that are all 0 is 0."""
        _check_finite(weight)
        matrix = matrix_of(weight.detach(), groups).double()
        rows = matrix.flatten(0, 1) if self.per == "output" else matrix.reshape(1, -1)
        scales = torch.tensor([best_scale(row, self.largest, self.full_scale) for row in rows], dtype=torch.float64)
        scale = scales.to(weight.device).expand(matrix.shape[0] * matrix.shape[1]).reshape(matrix.shape[:2]).clone()
        return self.at_scale(matrix, scale), scale

    def at_scale(self, matrix: Tensor, scale: Tensor) -> Tensor:
        """Nearest multiples (groups, outputs, inputs) of a given scale (groups, outputs), float64; under full scale the
        largest magnitude is `largest` whatever it is nearest to."""
        step = scale.unsqueeze(-1)
        integer = (matrix.double() / torch.where(step > 0, step, math.inf)).round().clamp(-self.largest, self.largest)
        if not self.full_scale:
            return integer
        rows = integer.flatten(0, 1) if self.per == "output" else integer.view(1, -1)
        at = matrix.reshape(rows.shape).abs().argmax(1, keepdim=True)
        sign = matrix.reshape(rows.shape).gather(1, at).sign().double()
        return rows.scatter(1, at, sign * self.largest).view(integer.shape)

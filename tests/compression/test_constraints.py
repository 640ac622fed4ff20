"""Constraint sets: members, idempotent, nearest; levels against every scale; cut as the mapping cuts."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xbar.compression import levels
from xbar.compression.constraints import (
    Channel,
    Column,
    ConstraintSet,
    CrossbarBlock,
    CrossbarLines,
    Filter,
    Levels,
    PruningSet,
    Weights,
)
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers, matrix_of, weight_of
from xbar.compression.packing import crossbars_needed, used_arrays
from xbar.hw import Chip, load_chip
from xbar.hw.analog import AnalogLayer
from xbar.hw.array.mapping import quantise_weights

CHIP = load_chip("edge", {"weights.bits": "5"})
# outputs 2 x 2 bitlines each, 3 wordlines: small arrays, so that a small matrix is cut both ways
SMALL = CHIP.with_changes(structure={"wordlines": 3, "bitlines": 5})
PRUNING: list[Callable[[float], PruningSet]] = [
    lambda r: Weights(ratio=r),
    lambda r: Filter(ratio=r),
    lambda r: Channel(ratio=r),
    lambda r: Column(ratio=r),
    lambda r: CrossbarBlock(ratio=r, chip=SMALL),
    lambda r: CrossbarLines(ratio=r, chip=SMALL),
    lambda r: CrossbarLines(ratio=r, chip=SMALL, line="bitline"),
    lambda r: CrossbarLines(ratio=r, chip=SMALL, per="layer"),
]
SETS: list[Callable[[float], ConstraintSet]] = [
    *PRUNING,
    lambda r: Levels(2 + int(3 * r)),
    lambda r: Levels(3, per="output"),
    lambda r: Levels(3, full_scale=True),
    lambda r: Levels(4, per="output", full_scale=True),
]


@st.composite
def weights(draw: st.DrawFn) -> tuple[Tensor, int]:
    """A layer's weight and its groups; some entries equal, some zero."""
    seed = draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    groups = draw(st.sampled_from([1, 1, 2]))
    size = [draw(st.integers(1, 5)) * groups, draw(st.integers(1, 4))]
    if groups > 1 or draw(st.booleans()):
        size += [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    weight = torch.randn(size, generator=generator, dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    if draw(st.booleans()):
        weight = (2 * weight).round() / 2
    return weight, groups


@pytest.mark.parametrize("build", SETS)
@settings(max_examples=60, deadline=None)
@given(drawn=weights(), ratio=st.floats(0.05, 1), seed=st.integers(0, 1000))
def test_projection_is_a_member_idempotent_and_nearest(
    build: Callable[[float], ConstraintSet], drawn: tuple[Tensor, int], ratio: float, seed: int
) -> None:
    weight, groups = drawn
    constraint = build(ratio)
    projected = constraint.project(weight, groups)
    assert projected.shape == weight.shape
    assert projected.dtype == weight.dtype
    assert constraint.contains(projected, groups)
    rounding = 32 * torch.finfo(weight.dtype).eps * float(weight.abs().max())
    assert torch.allclose(constraint.project(projected, groups), projected, rtol=0, atol=rounding)
    nearest = float((weight - projected).double().norm())
    for member in _members(constraint, weight, groups, seed):
        assert constraint.contains(member, groups)
        assert nearest <= float((weight - member).double().norm()) + 10 * rounding


def _members(constraint: ConstraintSet, weight: Tensor, groups: int, seed: int) -> list[Tensor]:
    """Other members: projections of noise around the weight, with the weight's own values put back where they may."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in (0.1, 1.0, 10.0):
        noisy = weight + size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        if isinstance(constraint, PruningSet):
            found.append(torch.where(constraint.mask(noisy, groups), weight, torch.zeros_like(weight)))
        found.append(constraint.project(noisy, groups))
    return found


@pytest.mark.parametrize("full_scale", [False, True])
@pytest.mark.parametrize("largest", [1, 2, 3])
def test_scale_of_levels_against_all_assignments(largest: int, full_scale: bool) -> None:
    """Every q in 0 .. L of four magnitudes with the best scale of each: none is nearer, in 60 draws."""
    rng = np.random.default_rng(5)
    q = np.array(list(itertools.product(range(largest + 1), repeat=4)), float)
    q = q[(q.max(1) == largest) if full_scale else (q.max(1) > 0)]
    for case in range(60):
        w = np.abs(rng.standard_normal(4)) if case % 2 else rng.integers(0, 6, 4) / 2
        if not w.any():
            continue
        least = (w @ w - (q @ w) ** 2 / (q * q).sum(1)).min()
        s = levels.best_scale(torch.from_numpy(w), largest, full_scale)
        steps = np.clip(np.floor(w / s + 0.5), 0, largest)
        if full_scale:
            steps[w.argmax()] = largest
        assert ((w - s * steps) ** 2).sum() == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("full_scale", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_leaving_out_ranges_finds_the_same_scale(monkeypatch: pytest.MonkeyPatch, bits: int, full_scale: bool) -> None:
    for seed in range(4):
        w = torch.randn(3000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        w = w**3 if seed % 2 else w
        monkeypatch.setattr(levels, "SORTED_AT_ONCE", 2**40)
        whole = levels.best_scale(w, 2 ** (bits - 1) - 1, full_scale)
        monkeypatch.setattr(levels, "SORTED_AT_ONCE", 100)
        assert levels.best_scale(w, 2 ** (bits - 1) - 1, full_scale) == pytest.approx(whole, rel=1e-12)


def test_levels_beat_the_largest_weight_as_scale() -> None:
    w = torch.randn(400, 30, generator=torch.Generator().manual_seed(0))
    for bits in (2, 3, 5):
        top = 2 ** (bits - 1) - 1
        s = float(w.abs().max()) / top
        fixed = float((w - s * (w / s).round().clamp(-top, top)).norm())
        assert float((w - Levels(bits).project(w)).norm()) < fixed


@pytest.mark.parametrize("preset", ["edge", "isaac"])
def test_chip_holds_weights_on_its_levels_exactly(preset: str) -> None:
    """A chip that takes its range from the largest weight maps a member to the same integers."""
    chip = load_chip(preset, {"weights.bits": "5"})
    for seed in range(20):
        w = torch.randn(6, 7, generator=torch.Generator().manual_seed(seed)) ** 3
        constraint = Levels.of(chip)
        integer, _ = constraint.quantise(w)
        mapped, _ = quantise_weights(matrix_of(constraint.project(w)), chip.weights)
        assert torch.equal(integer, mapped)


def test_matrix_is_the_one_that_is_mapped(edge: Chip) -> None:
    conv = nn.Conv2d(4, 6, (2, 3), groups=2)
    layer = AnalogLayer(conv, edge, "conv", 0.0, 1.0)
    assert torch.equal(matrix_of(conv.weight, 2), layer.matrix.weight)
    assert torch.equal(weight_of(matrix_of(conv.weight, 2), conv.weight.shape), conv.weight)


@pytest.mark.parametrize(("kind", "groups", "shape"), [(nn.Conv1d, 2, (2, 1, 6)), (nn.Conv1d, 1, (1, 2, 12)), (nn.Conv2d, 2, (2, 1, 18))])
def test_a_weight_of_one_output_a_group_is_none_of_the_less_a_convolutions(kind: Any, groups: int, shape: tuple[int, ...]) -> None:
    """Three axes of which the first is as long as there are groups: a matrix, too, would have them."""
    layer = kind(4, 2, 3, groups=groups)
    found = matrix_of(layer.weight, groups)
    assert tuple(found.shape) == shape
    assert torch.equal(found.flatten(0, 1)[1], layer.weight[1].movedim(0, -1).flatten())
    assert torch.equal(weight_of(found, layer.weight.shape), layer.weight)


def test_a_convolution_of_one_output_is_a_layer_as_others() -> None:
    layer = nn.Conv1d(4, 1, 3)
    assert list(matrix_layers(nn.Sequential(layer))) == ["0"]
    assert Channel(k=1).mask(layer.weight)[0].all(1).sum() == 1


def test_blocks_are_cut_as_the_geometry_cuts() -> None:
    """Outputs 0-1, 2-3, 4 by inputs 0-2, 3-5, 6: with one block a hundred times the others, it stays alone."""
    geometry = SMALL.geometry(5, 7)
    assert (geometry.outputs_per_crossbar, geometry.inputs_per_crossbar) == (2, 3)
    for row, column in itertools.product(range(geometry.row_tiles), range(geometry.column_tiles)):
        wanted = torch.zeros(5, 7, dtype=torch.bool)
        wanted[2 * column : 2 * column + 2, 3 * row : 3 * row + 3] = True
        weight = 1 + 99 * wanted.float()
        assert torch.equal(CrossbarBlock(k=1, chip=SMALL).mask(weight), wanted)
    lines = CrossbarLines(k=1, chip=SMALL).mask(torch.ones(5, 7))
    assert torch.equal(lines, (torch.arange(7) % 3 == 0).expand(5, 7))  # the first of each array
    lines = CrossbarLines(k=1, chip=SMALL, line="bitline").mask(torch.ones(5, 7))
    assert torch.equal(lines, (torch.arange(5) % 2 == 0).view(5, 1).expand(5, 7))


def test_ties_go_to_the_first_and_channels_take_all_positions() -> None:
    weight = torch.ones(3, 4, 2, 2)
    assert torch.equal(Filter(k=2).mask(weight).any(3).any(2).any(1), torch.tensor([True, True, False]))
    weight[:, 2] = 2
    assert torch.equal(Channel(k=1).mask(weight)[0, :, 0, 0], torch.tensor([False, False, True, False]))
    assert Channel(k=1).mask(weight)[:, 2].all()
    assert int(Column(k=3).mask(weight)[0].sum()) == 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Filter(), "either k or ratio"),
        (lambda: Filter(k=1, ratio=0.5), "either k or ratio"),
        (lambda: Filter(k=0), "would leave nothing"),
        (lambda: Column(ratio=0.0), "above 0 and at most 1, got 0.0"),
        (lambda: Column(ratio=1.5), "got 1.5"),
        (lambda: Column(ratio=float("nan")), "got nan"),
        (lambda: CrossbarBlock(k=1), "needs the chip"),
        (lambda: CrossbarLines(k=1, chip=SMALL, line="row"), "wordline or bitline"),  # type: ignore[arg-type]
        (lambda: Levels(1), "from 2 to 24"),
        (lambda: Filter(k=1).project(torch.tensor([[1.0, float("nan")]])), "1 of 2 are not"),
        (lambda: Levels(3).project(torch.tensor([[float("inf")]])), "1 of 1 are not"),
        (lambda: Filter(k=1).project(torch.ones(3)), r"got \(3,\)"),
    ],
)
def test_what_is_not_allowed_is_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(CompressionError, match=message):
        build()


def test_groups_that_share_an_array_go_with_it() -> None:
    """Five channels of one output and one input, two an array: three arrays, of which the weakest goes; wordlines and bitlines are counted
    within each array."""
    weight = torch.tensor([1.0, 2.0, 8.0, 3.0, 4.0]).view(5, 1, 1, 1)
    chip = SMALL.with_changes(structure={"wordlines": 2})
    assert used_arrays(weight, chip, 5).sum() == crossbars_needed(weight, chip, 5) == 3
    assert CrossbarBlock(k=2, chip=chip).mask(weight, 5).flatten().tolist() == [False, False, True, True, True]
    for line in ("wordline", "bitline"):
        assert CrossbarLines(k=1, chip=chip, line=line).mask(weight, 5).flatten().tolist() == [False, True, True, False, True]
    alone = chip.with_changes(weights={"groups_per_crossbar": 1})
    assert crossbars_needed(weight, alone, 5) == 5
    assert CrossbarBlock(k=2, chip=alone).mask(weight, 5).flatten().tolist() == [False, False, True, False, True]

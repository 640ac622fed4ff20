"""Weights to cells and exactly back, over shapes that do not divide the array."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xbar.hw import MappingError
from xbar.hw.array.counts import bitlines_per_slice, conversions_per_slice, drives_per_slice
from xbar.hw.array.geometry import Geometry, WeightEncoding, cut
from xbar.hw.array.mapping import map_integers, map_weights, quantise_weights, read_integers, unmap

SCHEMES = [
    {"scheme": "differential"}, {"scheme": "differential", "subtraction": "digital"}, {"scheme": "separate"},
    {"scheme": "separate", "subtraction": "analog"}, {"scheme": "offset", "offset_reference": "analog"},
    {"scheme": "offset"}, {"scheme": "offset", "offset_reference": "digital"},
    {"scheme": "offset", "offset_reference": "digital", "flipped_columns": True},
    {"scheme": "offset", "flipped_columns": True},
]  # fmt: skip


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any small matrix on any small crossbar that can hold one weight; groups share crossbars where they fit."""
    encoding = WeightEncoding(bits=draw(st.integers(2, 9)), **draw(st.sampled_from(SCHEMES)))
    cell_bits = draw(st.integers(1, 4))
    columns = encoding.slices(cell_bits) * 2 + 1
    size, groups = draw(st.sampled_from([(20, 3), (2, 7)]))
    return cut(
        draw(st.integers(1, size)), draw(st.integers(1, size)), draw(st.integers(1, groups)),
        draw(st.integers(1, 9)), columns + draw(st.integers(0, 20)), cell_bits, encoding, bias=False,
    )  # fmt: skip


def random_integers(geometry: Geometry, seed: int) -> torch.Tensor:
    largest = int(geometry.encoding.largest)
    generator = torch.Generator().manual_seed(seed)
    shape = geometry.of_layer.shape
    return torch.randint(-largest, largest + 1, shape, generator=generator)


@settings(max_examples=200, deadline=None)
@given(geometries(), st.integers(0, 1000))
def test_levels_hold_exactly_the_integers(geometry: Geometry, seed: int) -> None:
    integers = random_integers(geometry, seed)
    mapped = map_integers(integers, torch.ones(geometry.of_layer.shape[:2], dtype=torch.float64), geometry)
    assert mapped.levels.min() >= 0
    assert mapped.levels.max() < 2**geometry.cell_bits
    assert torch.equal(read_integers(mapped), integers.double())


@settings(max_examples=100, deadline=None)
@given(
    geometries(),
    st.integers(0, 1000),
    st.sampled_from(["layer", "column"]),
    st.sampled_from(["random", "zero", "one row"]),
)
def test_unmap_gives_the_quantised_weights(geometry: Geometry, seed: int, per: str, kind: str) -> None:
    encoding = geometry.encoding.model_copy(update={"per": per})
    geometry = replace(geometry, encoding=encoding)
    weight = torch.randn(geometry.of_layer.shape, generator=torch.Generator().manual_seed(seed))
    if kind == "zero":
        weight.zero_()
    elif kind == "one row":
        weight[:, 1:] = 0
    integer, scale = quantise_weights(weight, encoding)
    mapped = map_weights(weight, geometry)
    assert torch.equal(unmap(mapped), integer * scale.unsqueeze(-1))
    error = (unmap(mapped) - weight.double()).abs()
    assert bool((error <= scale.unsqueeze(-1) / 2 * (1 + 1e-9)).all()), "at most half a step off"


@settings(max_examples=100, deadline=None)
@given(geometries(), st.integers(0, 1000))
def test_crossbars_hold_every_cell_once_and_counts_agree(geometry: Geometry, seed: int) -> None:
    """The picture on the chip: as many crossbars, used cells and columns as the geometry says."""
    mapped = map_integers(random_integers(geometry, seed), torch.ones(geometry.of_layer.shape[:2], dtype=torch.float64), geometry)
    chip = mapped.crossbar_levels()
    assert chip.shape[:4].numel() == geometry.crossbars
    references = sum(geometry.reference_levels) * geometry.column_tiles
    assert chip.sum() == mapped.levels.sum() + geometry.groups * geometry.inputs * references
    by_tile = [
        (geometry.rows_of(r, g), geometry.bitlines_of(c, g), geometry.conversions_of(c, g) if plane < geometry.converted_planes else 0)
        for g in range(geometry.groups)
        for plane in range(geometry.planes)
        for r in range(geometry.row_tiles)
        for c in range(geometry.column_tiles)
    ]
    assert sum(rows for rows, _, _ in by_tile) == drives_per_slice(geometry)
    assert sum(columns for _, columns, _ in by_tile) == bitlines_per_slice(geometry)
    assert sum(conversions for _, _, conversions in by_tile) == conversions_per_slice(geometry)
    assert sum(rows * columns for rows, columns, _ in by_tile) == geometry.cells
    assert all(rows <= geometry.wordlines and columns <= geometry.bitlines for rows, columns, _ in by_tile)


def test_flipping_halves_the_largest_column() -> None:
    encoding = WeightEncoding(bits=4, scheme="offset", flipped_columns=True, offset_reference="digital")
    geometry = Geometry(6, 64, 1, 64, 64, 2, encoding)
    mapped = map_integers(torch.full((1, 6, 64), 7), torch.ones(1, 6, dtype=torch.float64), geometry)
    assert mapped.levels.sum(2).max() <= 64 * 3 // 2
    assert bool(mapped.flipped.all())


def test_percentile_clips_the_rare_weight() -> None:
    weight = torch.ones(1, 1, 1000)
    weight[0, 0, 0] = 100.0
    encoding = WeightEncoding(bits=8, scheme="differential", range="percentile", percentile=0.99)
    integer, scale = quantise_weights(weight, encoding)
    assert integer[0, 0, 0] == 127
    assert scale[0, 0] == pytest.approx(1 / 127)
    assert bool((integer[0, 0, 1:] == 127).all())


def test_errors() -> None:
    encoding = WeightEncoding(bits=8, scheme="differential")
    with pytest.raises(MappingError, match="at least 1 of inputs"):
        Geometry(4, 0, 1, 8, 8, 2, encoding)
    with pytest.raises(MappingError, match="needs 8 bitlines"):
        Geometry(4, 4, 1, 8, 4, 2, encoding)
    geometry = Geometry(4, 4, 1, 8, 8, 2, encoding)
    weight = torch.ones(4, 4)
    weight[1, 2] = float("nan")
    with pytest.raises(MappingError, match=r"1 of 16 are not"):
        map_weights(weight, geometry)
    with pytest.raises(MappingError, match=r"\(1, 4, 4\)"):
        map_weights(torch.ones(4, 5), geometry)

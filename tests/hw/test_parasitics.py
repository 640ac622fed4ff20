"""Wire resistance against an independent sparse nodal solve of the whole network, node by node."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from hw import ParameterError
from hw.parasitics import Wires, effective_conductance


def nodal(cells: np.ndarray, wires: Wires) -> np.ndarray:
    """Currents of every bitline per volt on every wordline: all resistors in one list, 0 ohm merges nodes."""
    rows, columns = cells.shape
    count = 2 * rows * columns
    word = np.arange(rows * columns).reshape(rows, columns)
    bit = word + rows * columns
    sources = count + np.arange(rows)
    grounds = count + rows + np.arange(columns)
    resistors = [(word[i, j], word[i, j + 1], wires.wordline) for i in range(rows) for j in range(columns - 1)]
    resistors += [(bit[i, j], bit[i + 1, j], wires.bitline) for i in range(rows - 1) for j in range(columns)]
    resistors += [(sources[i], word[i, 0], wires.driver) for i in range(rows)]
    resistors += [(bit[-1, j], grounds[j], wires.sense) for j in range(columns)]
    if wires.driven_from == "both":
        resistors += [(sources[i], word[i, -1], wires.driver) for i in range(rows)]
    if wires.sensed_at == "both":
        resistors += [(bit[0, j], grounds[j], wires.sense) for j in range(columns)]
    total = count + rows + columns
    joined = np.array([(a, b) for a, b, ohm in resistors if ohm == 0], int).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), (total, total))
    _, node = connected_components(graph, directed=False)
    edges = [(node[a], node[b], 1 / ohm) for a, b, ohm in resistors if ohm > 0]
    edges += [(node[word[i, j]], node[bit[i, j]], cells[i, j]) for i in range(rows) for j in range(columns)]
    size = node.max() + 1
    a, b, g = (np.array(part) for part in zip(*edges, strict=True))
    matrix = sparse.coo_matrix(
        (np.concatenate([g, g, -g, -g]), (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))), (size, size)
    ).tocsr()
    fixed = np.unique(node[np.concatenate([sources, grounds])])
    free = np.setdiff1d(np.arange(size), fixed)
    currents = np.zeros((rows, columns))
    for i in range(rows):
        voltage = np.zeros(size)
        voltage[node[sources[i]]] = 1.0
        if len(free):
            voltage[free] = spsolve(matrix[free][:, free].tocsc(), -matrix[free][:, fixed] @ voltage[fixed])
        currents[i] = -(matrix @ voltage)[node[grounds]]
    return currents


VARIANTS = [
    Wires(w, b, d, s, driven, sensed)
    for w, b, d, s in itertools.product((0.0, 2.5), (0.0, 1.5), (0.0, 40.0), (0.0, 25.0))
    for driven in ("one", "both")
    for sensed in ("one", "both")
]


@pytest.mark.parametrize("wires", VARIANTS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 8), (12, 7)])
def test_every_variant_is_the_sparse_nodal_solution(wires: Wires, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    cells = torch.rand(shape, generator=generator, dtype=torch.float64) * 1e-3
    cells[0, 0] = 0.0
    ours, expected = effective_conductance(cells, wires).numpy(), nodal(cells.numpy(), wires)
    assert abs(ours - expected).max() <= 1e-9 * max(abs(expected).max(), 1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.floats(0.1, 20), st.floats(0.1, 20), st.integers(0, 1000))
def test_random_arrays_up_to_64(rows: int, columns: int, wordline: float, bitline: float, seed: int) -> None:
    cells = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1e-4
    wires = Wires(wordline, bitline, driver=10.0, sense=5.0)
    ours, expected = effective_conductance(cells, wires).numpy(), nodal(cells.numpy(), wires)
    assert abs(ours - expected).max() <= 1e-9 * abs(expected).max()


def test_one_cell_is_a_series_of_resistors() -> None:
    cell = torch.tensor([[1e-3]], dtype=torch.float64)
    assert effective_conductance(cell, Wires(7.0, 9.0, driver=100.0, sense=50.0)).item() == pytest.approx(1 / 1150)


def test_ideal_wires_change_nothing_and_tiles_are_solved_apart() -> None:
    cells = torch.rand(3, 2, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-4
    assert torch.equal(effective_conductance(cells, Wires(0.0, 0.0)), cells)
    wires = Wires(1.0, 2.0, 3.0, 4.0)
    whole = effective_conductance(cells, wires)
    assert whole.shape == cells.shape
    assert torch.allclose(whole[2, 1], effective_conductance(cells[2, 1], wires), rtol=1e-12, atol=0)
    assert bool((whole.sum((-1, -2)) < cells.sum((-1, -2))).all()), "wires only take current away"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wordline": -1.0}, "wires.wordline"),
        ({"sense": float("nan")}, "wires.sense"),
        ({"sensed_at": "top"}, "wires.sensed_at"),
    ],
)
def test_wrong_wires(change: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Wires(**({"wordline": 1.0, "bitline": 1.0} | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cells", [torch.tensor([[-1e-6]]), torch.tensor([[float("nan")]]), torch.rand(4), torch.rand(0, 3)]
)
def test_wrong_conductances(cells: torch.Tensor) -> None:
    with pytest.raises(ParameterError, match="conductance must be"):
        effective_conductance(cells, Wires(1.0, 1.0))

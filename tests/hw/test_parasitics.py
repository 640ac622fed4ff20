"""Wire resistance against independent solvers: sparse nodal analysis, node by node, and the peer's outputs."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from xbar.hw import ParameterError
from xbar.hw.array import parasitics as module
from xbar.hw.array.parasitics import (
    GatedWires,
    Solution,
    Wires,
    effective_conductance,
    gated_currents,
    solve,
    solve_nonlinear,
    source_conductance,
    transfer,
)
from xbar.hw.cells.law import CellLaw, Linear, MiloPolynomial, Polynomial, Sinh
from xbar.hw.errors import ConvergenceError

Edge = tuple[int, int, float]


def terminal_currents(
    resistors: list[Edge], cells: list[Edge], terminals: np.ndarray, voltages: np.ndarray, injected: np.ndarray
) -> np.ndarray:
    """Current into a network at its terminals (terminals, cases); 0 ohm merges nodes, cells are in siemens.

    voltages (terminals, cases) there; injected (nodes, cases) from outside into any node.
    """
    total = len(injected)
    joined = np.array([(a, b) for a, b, ohm in resistors if ohm == 0], int).reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), (total, total))
    size, node = connected_components(graph, directed=False)
    edges = [(node[a], node[b], 1 / ohm) for a, b, ohm in resistors if ohm > 0]
    edges += [(node[a], node[b], siemens) for a, b, siemens in cells]
    a, b, g = (np.array(part) for part in zip(*edges, strict=True))
    matrix = sparse.coo_matrix(
        (np.concatenate([g, g, -g, -g]), (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))), (size, size)
    ).tocsr()
    given = np.zeros((size, injected.shape[1]))
    np.add.at(given, node, injected)
    fixed = node[terminals]
    voltage = np.zeros_like(given)
    voltage[fixed] = voltages
    free = np.setdiff1d(np.arange(size), fixed)
    if len(free):
        inner = splu(matrix[free][:, free].tocsc())
        voltage[free] = inner.solve(given[free] - matrix[free] @ voltage)
        voltage[free] += inner.solve(given[free] - matrix[free] @ voltage)
    return (matrix @ voltage - given)[fixed]


def elements(cells: np.ndarray, wires: Wires, rows_per_node: int) -> tuple[list[Edge], list[Edge], np.ndarray]:
    """All resistors [ohm], all cells [S], and the terminals: sources, then grounds."""
    rows, columns = cells.shape
    nodes = rows // rows_per_node
    word = np.arange(rows * columns).reshape(rows, columns)
    inside = word + rows * columns
    bit = 2 * rows * columns + np.arange(nodes * columns).reshape(nodes, columns)
    sources = 2 * rows * columns + nodes * columns + np.arange(rows)
    grounds = sources[-1] + 1 + np.arange(columns)
    places = list(itertools.product(range(rows), range(columns)))
    resistors = [(word[i, j], word[i, j + 1], wires.wordline) for i, j in places if j + 1 < columns]
    resistors += [(bit[i, j], bit[i + 1, j], wires.bitline) for i in range(nodes - 1) for j in range(columns)]
    resistors += [(word[i, j], inside[i, j], wires.access) for i, j in places]
    resistors += [(sources[i], word[i, 0], wires.driver) for i in range(rows)]
    resistors += [(bit[-1, j], grounds[j], wires.sense) for j in range(columns)]
    if wires.driven_from == "both":
        resistors += [(sources[i], word[i, -1], wires.driver) for i in range(rows)]
    if wires.sensed_at == "both":
        resistors += [(bit[0, j], grounds[j], wires.sense) for j in range(columns)]
    conductances = [(inside[i, j], bit[i // rows_per_node, j], cells[i, j]) for i, j in places]
    return resistors, conductances, np.concatenate([sources, grounds])


def nodal(cells: np.ndarray, wires: Wires, rows_per_node: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Current out of every bitline, and out of every source, per volt on every wordline."""
    rows, columns = cells.shape
    resistors, conductances, terminals = elements(cells, wires, rows_per_node)
    voltages = np.concatenate([np.eye(rows), np.zeros((columns, rows))])
    flows = terminal_currents(resistors, conductances, terminals, voltages, np.zeros((terminals[-1] + 1, rows)))
    return -flows[rows:].T, flows[:rows].T


def star_mesh(cells: np.ndarray, wires: Wires) -> np.ndarray:
    """Effective conductances, node after node turned from a star into a mesh: adds and divides positive numbers only.

    So it is exact to rounding however far apart the resistances are, where a matrix solver is not; none may be 0.
    """
    resistors, conductances, terminals = elements(cells, wires, 1)
    mesh = np.zeros((terminals[-1] + 1, terminals[-1] + 1))
    for a, b, siemens in [(a, b, 1 / ohm) for a, b, ohm in resistors] + conductances:
        mesh[a, b] += siemens
        mesh[b, a] += siemens
    for node in range(terminals[0]):
        star = mesh[node, node + 1 :].copy()
        if star.any():
            mesh[node + 1 :, node + 1 :] += np.outer(star, star) / star.sum()
        np.fill_diagonal(mesh, 0.0)
    return mesh[terminals[: len(cells)]][:, terminals[len(cells) :]]


def random_cells(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1e-4 + 1e-7


def random_voltages(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.6 - 0.2


def balanced(solution: Solution) -> bool:
    """Whether all power that the sources deliver is used up."""
    used = solution.cell_power + solution.wire_power
    scale = solution.source_power.abs().max()
    return bool((solution.source_power - used).abs().max() <= 1e-9 * scale) and bool((solution.wire_power >= 0).all())


VARIANTS = [
    Wires(w, b, d, s, driven, sensed)
    for w, b, d, s in itertools.product((0.0, 2.5), (0.0, 1.5), (0.0, 40.0), (0.0, 25.0))
    for driven in ("one", "both")
    for sensed in ("one", "both")
]
SOME_VARIANTS = [*VARIANTS[::7], *VARIANTS[-4:]]


@pytest.mark.parametrize("wires", VARIANTS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 8), (12, 7)])
def test_every_variant_is_the_sparse_nodal_solution(wires: Wires, shape: tuple[int, int]) -> None:
    cells = random_cells(*shape, seed=sum(shape)) * 10
    cells[0, 0] = 0.0
    expected, expected_sources = nodal(cells.numpy(), wires)
    effective, sources = transfer(cells, wires)
    scale = max(abs(expected_sources).max(), 1e-12)
    assert abs(effective.numpy() - expected).max() <= 1e-9 * scale
    assert abs(sources.numpy() - expected_sources).max() <= 1e-9 * scale
    assert torch.equal(effective, effective_conductance(cells, wires))


@pytest.mark.parametrize("access", [0.0, 3e3])
@pytest.mark.parametrize("wires", VARIANTS, ids=str)
def test_shared_bitlines_and_access_are_the_sparse_nodal_solution(wires: Wires, access: float) -> None:
    wires = Wires(**(vars(wires) | {"access": access}))
    for shape, rows_per_node in [((10, 6), 2), ((2, 5), 2), ((9, 4), 3)]:
        cells = random_cells(*shape) * 10
        expected, expected_sources = nodal(cells.numpy(), wires, rows_per_node)
        effective, sources = transfer(cells, wires, rows_per_node)
        assert abs(effective.numpy() - expected).max() <= 1e-9 * abs(expected).max()
        assert abs(sources.numpy() - expected_sources).max() <= 1e-9 * abs(expected).max()


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.floats(0.1, 20), st.floats(0.1, 20), st.integers(0, 1000))
def test_random_arrays_up_to_64(rows: int, columns: int, wordline: float, bitline: float, seed: int) -> None:
    cells = random_cells(rows, columns, seed=seed)
    wires = Wires(wordline, bitline, driver=10.0, sense=5.0)
    ours, (expected, _) = effective_conductance(cells, wires).numpy(), nodal(cells.numpy(), wires)
    assert abs(ours - expected).max() <= 1e-9 * abs(expected).max()


@pytest.mark.parametrize("ohm", [1e-6, 1e-3, 1e4])
def test_wires_of_extreme_resistance(ohm: float) -> None:
    """Nearly none: close to ideal, to first order in the resistance. Much: still the nodal solution."""
    cells = random_cells(20, 30)
    wires = Wires(ohm, ohm, ohm, ohm)
    effective = effective_conductance(cells, wires)
    if ohm < 1:
        lost = (cells - effective) / cells
        assert lost.min() > 0
        assert lost.max() < ohm * 50 * cells.sum()
        twice = (cells - effective_conductance(cells, Wires(2 * ohm, 2 * ohm, 2 * ohm, 2 * ohm))) / cells
        assert torch.allclose(twice, 2 * lost, rtol=1e-2, atol=1e-13)
    else:
        assert abs(effective.numpy() - nodal(cells.numpy(), wires)[0]).max() <= 1e-9 * effective.max()


STIFF = [
    Wires(2.5e4, 2e-6, 1e-3, 3e5, "both", "one", 2e4),
    Wires(1e-5, 1.0, 5e3, 8e3, "one", "both", 3.0),
    Wires(1e-6, 1e-6, 1e5, 1e5, "one", "one", 1e-3),
    Wires(60.0, 0.01, 0.1, 6e3, "both", "both", 3e3),
]


@pytest.mark.parametrize("wires", STIFF, ids=str)
def test_resistances_far_apart_lose_no_digits(wires: Wires) -> None:
    cells, voltages = random_cells(8, 6) * 10, random_voltages(3, 8)
    expected = star_mesh(cells.numpy(), wires)
    scale = expected.max()
    assert abs(effective_conductance(cells, wires).numpy() - expected).max() <= 1e-11 * scale
    for found in (solve(cells, voltages, wires), solve_nonlinear(cells, voltages, wires, Linear())):
        assert abs(found.bitline_current.numpy() - voltages.numpy() @ expected).max() <= 1e-9 * scale * 0.4
        assert balanced(found)
    assert balanced(solve_nonlinear(cells, voltages, wires, Sinh(0.05)))


def test_one_cell_is_a_series_of_resistors() -> None:
    cell = torch.tensor([[1e-3]], dtype=torch.float64)
    wires = Wires(7.0, 9.0, driver=100.0, sense=50.0, access=350.0)
    assert effective_conductance(cell, wires).item() == pytest.approx(1 / 1500, rel=1e-14)
    assert source_conductance(cell, wires).item() == pytest.approx(1 / 1500, rel=1e-14)
    found = solve(cell, torch.tensor([[3.0]]), wires)
    current = 2e-3
    assert found.bitline_current.item() == pytest.approx(current, rel=1e-14)
    assert found.wordline_voltage.item() == pytest.approx(3.0 - 100 * current, rel=1e-14)
    assert found.bitline_voltage.item() == pytest.approx(50 * current, rel=1e-14)
    assert found.source_power.item() == pytest.approx(3.0 * current, rel=1e-14)
    assert found.cell_power.item() == pytest.approx(1e3 * current**2, rel=1e-14)
    assert found.wire_power.item() == pytest.approx(500 * current**2, rel=1e-14)


def test_one_pair_driven_apart_on_one_bitline() -> None:
    """+v and -v through equal cells leave nothing on the bitline that they share; unequal ones the difference."""
    pair = torch.tensor([[2e-4], [1e-4]], dtype=torch.float64)
    wires = Wires(1.0, 1.0, sense=1e3)
    drive = torch.tensor([0.5, -0.5], dtype=torch.float64)
    current = (drive @ effective_conductance(pair, wires, rows_per_node=2)).item()
    assert current == pytest.approx(0.5 * 1e-4 / (1 + 1e3 * 3e-4), rel=1e-13)
    assert (drive @ effective_conductance(pair * 0 + 1e-4, wires, rows_per_node=2)).item() == pytest.approx(
        0, abs=1e-18
    )


def test_ideal_wires_change_nothing_and_tiles_are_solved_apart() -> None:
    cells = random_cells(3, 2, 9, 5)
    assert torch.equal(effective_conductance(cells, Wires(0.0, 0.0)), cells)
    wires = Wires(1.0, 2.0, 3.0, 4.0)
    whole, sources = transfer(cells, wires)
    assert whole.shape == cells.shape
    assert sources.shape == (3, 2, 9, 9)
    assert torch.allclose(whole[2, 1], effective_conductance(cells[2, 1], wires), rtol=1e-12, atol=0)
    assert torch.allclose(sources[2, 1], source_conductance(cells[2, 1], wires), rtol=1e-12, atol=1e-20)
    assert bool((whole.sum((-1, -2)) < cells.sum((-1, -2))).all()), "wires only take current away"


def test_memory_budget_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, voltages, law = random_cells(5, 8, 6), random_voltages(5, 7, 8), Sinh(0.1)
    wires = Wires(1.0, 2.0, 3.0, 4.0, "both", "both", 100.0)
    gates = GatedWires(1.0, 2.0, 3.0, 4.0)

    def everything() -> list[Tensor]:
        found = [*transfer(cells, wires, 2), gated_currents(cells, voltages, gates, 2)]
        for solution in (solve(cells, voltages, wires, 2), solve_nonlinear(cells, voltages, wires, law, 2)):
            found += [part for part in vars(solution).values() if isinstance(part, Tensor)]
        return found

    whole = everything()
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    for one, other in zip(whole, everything(), strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13 * one.abs().max().item())


@pytest.mark.parametrize("rows_per_node", [1, 2])
@pytest.mark.parametrize("wires", SOME_VARIANTS, ids=str)
def test_node_voltages_currents_and_powers(wires: Wires, rows_per_node: int) -> None:
    wires = Wires(**(vars(wires) | {"access": 500.0}))
    cells, voltages = random_cells(3, 8, 5) * 10, random_voltages(3, 4, 8)
    found = solve(cells, voltages, wires, rows_per_node)
    effective, sources = transfer(cells, wires, rows_per_node)
    assert found.wordline_voltage.shape == found.cell_current.shape == (3, 4, 8, 5)
    assert found.bitline_voltage.shape == (3, 4, 8 // rows_per_node, 5)
    across = found.wordline_voltage - found.bitline_voltage.repeat_interleave(rows_per_node, dim=-2)
    series = (cells / (1 + 500 * cells)).unsqueeze(1)
    assert torch.allclose(found.cell_current, series * across, rtol=1e-9, atol=1e-16)
    scale = found.bitline_current.abs().max()
    assert (found.bitline_current - voltages @ effective).abs().max() <= 1e-10 * scale
    drawn = torch.einsum("tvi,tij,tvj->tv", voltages, sources, voltages)
    assert torch.allclose(found.source_power, drawn, rtol=1e-9, atol=0)
    assert balanced(found)
    assert found.residual <= 1e-12
    one = solve(cells[1], voltages[1, :2], wires, rows_per_node)
    assert torch.allclose(one.bitline_current, found.bitline_current[1, :2], rtol=1e-9, atol=1e-16)


def test_vectors_may_be_shared_by_all_tiles() -> None:
    cells, voltages, wires = random_cells(2, 3, 8, 5), random_voltages(4, 8), Wires(1.0, 1.0, 1.0, 1.0)
    shared = solve(cells, voltages, wires).bitline_current
    assert shared.shape == (2, 3, 4, 5)
    assert torch.allclose(shared, voltages @ effective_conductance(cells, wires), rtol=1e-9, atol=1e-18)
    bent = solve_nonlinear(cells, voltages, wires, Sinh(0.3)).bitline_current
    apart = solve_nonlinear(cells[1, 2], voltages[3:], wires, Sinh(0.3)).bitline_current
    assert torch.allclose(bent[1, 2, 3], apart[0], rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("wires", SOME_VARIANTS, ids=str)
def test_newton_of_linear_cells_is_the_linear_solution(wires: Wires) -> None:
    cells, voltages = random_cells(2, 8, 5) * 10, random_voltages(2, 3, 8)
    linear, newton = solve(cells, voltages, wires, 2), solve_nonlinear(cells, voltages, wires, Linear(), 2)
    for name in ("wordline_voltage", "bitline_voltage", "cell_current", "bitline_current", "source_power"):
        ours, expected = getattr(newton, name), getattr(linear, name)
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() <= 1e-10 * max(expected.abs().max().item(), 1e-12), name
    assert newton.iterations <= 3


def independent_newton(cells: np.ndarray, voltages: np.ndarray, wires: Wires, law: CellLaw) -> np.ndarray:
    """Bitline currents by scipy's general root finder on Kirchhoff's law of every node, access nodes included."""
    rows, columns = cells.shape
    count = rows * columns

    def unpacked(x: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(rows, columns) for part in (x[:count], x[count : 2 * count], x[2 * count :])]

    def missing(x: np.ndarray) -> np.ndarray:
        word, inside, bit = unpacked(x)
        current = law.current(torch.tensor(inside - bit), torch.tensor(cells)).numpy()
        chain = np.concatenate([voltages[:, None], word], axis=1)
        along = -np.diff(chain, axis=1) / np.array([wires.driver] + [wires.wordline] * (columns - 1))
        at_word = along - np.concatenate([along[:, 1:], np.zeros((rows, 1))], axis=1) - (word - inside) / wires.access
        down = -np.diff(np.concatenate([bit, np.zeros((1, columns))]), axis=0)
        down = down / np.array([wires.bitline] * (rows - 1) + [wires.sense])[:, None]
        at_bit = np.concatenate([np.zeros((1, columns)), down[:-1]]) + current - down
        return (
            np.concatenate([part.ravel() for part in (at_word, (word - inside) / wires.access - current, at_bit)]) * 1e4
        )

    start = np.concatenate([np.repeat(voltages, columns), np.repeat(voltages, columns), np.zeros(count)])
    found = root(missing, start, method="hybr", options={"xtol": 1e-13, "maxfev": 100_000})
    assert abs(found.fun).max() < 1e-10
    return unpacked(found.x)[2][-1] / wires.sense


@pytest.mark.parametrize("law", [Sinh(0.1), Sinh(0.05), Polynomial(0.4, -0.25), MiloPolynomial()], ids=str)
def test_newton_is_the_general_root_finders_solution(law: CellLaw) -> None:
    cells, voltages = random_cells(4, 3) + 7e-5, random_voltages(4)
    wires = Wires(60.0, 80.0, driver=200.0, sense=150.0, access=900.0)
    found = solve_nonlinear(cells, voltages.unsqueeze(0), wires, law)
    expected = independent_newton(cells.numpy(), voltages.numpy(), wires, law)
    assert abs(found.bitline_current[0].numpy() - expected).max() <= 1e-8 * abs(expected).max()
    assert balanced(found)
    assert found.residual <= 1e-12


@pytest.mark.parametrize("rows_per_node", [1, 2])
@pytest.mark.parametrize("law", [Sinh(0.05), Polynomial(0.3, 0.8)], ids=str)
@pytest.mark.parametrize("wires", [Wires(1e-6, 1e-6), Wires(0.0, 0.0), *SOME_VARIANTS[-4:], Wires(1e3, 1e3)], ids=str)
def test_nonlinear_currents_obey_the_law_and_kirchhoff(wires: Wires, law: CellLaw, rows_per_node: int) -> None:
    cells, voltages = random_cells(2, 16, 12), random_voltages(2, 3, 16)
    voltages[0, 0] = 0.0
    found = solve_nonlinear(cells, voltages, wires, law, rows_per_node)
    across = found.wordline_voltage - found.bitline_voltage.repeat_interleave(rows_per_node, dim=-2)
    scale = found.cell_current.abs().max()
    assert (found.cell_current - law.current(across, cells.unsqueeze(1))).abs().max() <= 1e-12 * scale
    assert bool((found.cell_current[0, 0] == 0).all()), "no input, no current"
    assert balanced(found)
    assert found.residual <= 1e-11
    exact = law.current(across, cells.unsqueeze(1)).sum(-2)
    assert torch.allclose(found.bitline_current, exact, rtol=1e-9, atol=1e-12 * scale.item())


def test_small_voltages_meet_the_linear_solution() -> None:
    cells, wires = random_cells(10, 10), Wires(5.0, 5.0, 50.0, 50.0)
    voltages = random_voltages(2, 10) * 1e-5
    bent = solve_nonlinear(cells, voltages, wires, Sinh(0.1)).bitline_current
    assert torch.allclose(bent, solve(cells, voltages, wires).bitline_current, rtol=1e-7, atol=0)


def test_steep_cells_need_the_line_search_and_get_it() -> None:
    """30 times the cells' scale voltage: ideal wires, where Newton starts, would carry e^30 times too much."""
    found = solve_nonlinear(random_cells(6, 5), torch.full((1, 6), 0.6), Wires(10.0, 10.0, 1e3, 1e3), Sinh(0.02))
    assert balanced(found)
    assert 0 < found.source_power.item() < 6 * 0.6 * 0.6 / 1e3


class Overflow(Linear):
    def current(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return conductance * voltage * float("inf")


class WrongSlope(Linear):
    def slope(self, voltage: Tensor, conductance: Tensor) -> Tensor:
        return -100 * conductance + 0 * voltage


def test_newton_raises_rather_than_return_something_near() -> None:
    cells, voltages, wires = random_cells(6, 5), random_voltages(1, 6), Wires(10.0, 10.0, 1e3, 1e3)
    with pytest.raises(ConvergenceError, match="did not converge in 2 iterations"):
        solve_nonlinear(cells, voltages, wires, Sinh(0.02), most_iterations=2)
    with pytest.raises(ConvergenceError, match="not finite"):
        solve_nonlinear(cells, voltages, wires, Overflow())
    with pytest.raises(ConvergenceError):
        solve_nonlinear(cells * 1e2, voltages, wires, WrongSlope())


def gated_nodal(cells: np.ndarray, inputs: np.ndarray, wires: GatedWires, lines: int) -> np.ndarray:
    """Bitline currents of one vector: each bitline's ladder as a list of resistors, EMFs as injected currents."""
    rows, columns = cells.shape
    nodes = rows // lines
    series = cells / (1 + wires.access * cells) * (inputs != 0)[:, None]
    feeds, bit, ground = rows, rows + lines + np.arange(nodes), rows + lines + nodes
    resistors: list[Edge] = [(r, r + lines, wires.source_line) for r in range(rows - lines)]
    resistors += [(feeds + r, r, wires.driver) for r in range(lines)]
    resistors += [(bit[n], bit[n + 1], wires.bitline) for n in range(nodes - 1)] + [(bit[-1], ground, wires.sense)]
    currents = []
    for j in range(columns):
        injected = np.zeros((ground + 1, 1))
        for r in range(rows):
            injected[r] -= series[r, j] * inputs[r]
            injected[bit[r // lines]] += series[r, j] * inputs[r]
        edges = [(r, bit[r // lines], series[r, j]) for r in range(rows)]
        terminals = np.array([*range(feeds, feeds + lines), ground])
        flows = terminal_currents(resistors, edges, terminals, np.zeros((lines + 1, 1)), injected)
        currents.append(-flows[-1, 0])
    return np.array(currents)


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize(
    "wires", list(itertools.product((0.0, 12.0), (0.0, 8.0), (0.0, 70.0), (0.0, 30.0), (0.0, 900.0)))
)
def test_gated_arrays_are_the_sparse_nodal_solution(wires: tuple[float, ...], lines: int) -> None:
    cells, inputs = random_cells(2, 12, 3) * 10, random_voltages(2, 3, 12)
    inputs[:, :, 2:5] = 0.0
    inputs[0, 1] = 1.0
    inputs[1, 2] = 0.0
    ours = gated_currents(cells, inputs, GatedWires(*wires), lines)
    assert ours.shape == (2, 3, 3)
    for tile, vector in itertools.product(range(2), range(3)):
        expected = gated_nodal(cells[tile].numpy(), inputs[tile, vector].numpy(), GatedWires(*wires), lines)
        assert abs(ours[tile, vector].numpy() - expected).max() <= 1e-9 * max(abs(expected).max(), 1e-12)


def test_gated_cell_without_input_is_open() -> None:
    """Where inputs are voltages, an idle wordline still loads the bitline; where they are gates, it does not."""
    cells = torch.tensor([[1e-3], [1e-3]], dtype=torch.float64)
    inputs = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert gated_currents(cells, inputs, GatedWires(0.0, 0.0, sense=1e3)).item() == pytest.approx(1 / 2e3)
    assert (inputs @ effective_conductance(cells, Wires(0.0, 0.0, sense=1e3))).item() == pytest.approx(1 / 3e3)


def peer_case(shared_data: Path, name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Setup and arrays of one of the peer's cases; see the README beside them."""
    folder = shared_data / "crosssim"
    if not (folder / "cases.json").is_file():
        pytest.skip(f"no peer outputs in {folder}")
    (case,) = (case for case in json.loads((folder / "cases.json").read_text("utf-8"))["cases"] if case["id"] == name)
    with np.load(folder / "reference.npz") as arrays:
        found = {key: arrays[stored] for key, stored in case["arrays"].items()}
    found["W"] = found["W"] * case["W_multiplied_by"]
    return case["setup"], found


def peer_pairs(setup: dict, weights: np.ndarray) -> tuple[Tensor, Tensor]:
    """Conductances [S] (inputs, outputs) of the + and the - cells of one-sided pairs."""
    lowest = setup["r_min_ohm"] / setup["r_max_ohm"] if setup["r_max_ohm"] else 0.0
    scaled = torch.from_numpy(weights / setup["w_full_scale"]).T
    return tuple((lowest + (1 - lowest) * side.clamp(min=0)) / setup["r_min_ohm"] for side in (scaled, -scaled))  # type: ignore[return-value]


def peer_scale(setup: dict) -> float:
    lowest = setup["r_min_ohm"] / setup["r_max_ohm"] if setup["r_max_ohm"] else 0.0
    return setup["w_full_scale"] * setup["x_full_scale"] * setup["r_min_ohm"] / (1 - lowest)


def input_bits(setup: dict, inputs: np.ndarray) -> tuple[Tensor, Tensor]:
    """One-bit input slices (slices, vectors, inputs), least significant first, and their weights."""
    bits = setup["dac_bits"] - int(setup["x_signed"])
    codes = np.rint(np.abs(inputs.T) / setup["x_full_scale"] * (2**bits - 1)).astype(int)
    slices = [np.sign(inputs.T) * ((codes >> k) & 1) for k in range(bits)]
    return torch.from_numpy(np.stack(slices)), torch.tensor([2.0**k / (2**bits - 1) for k in range(bits)]).double()


def interleaved(plus: Tensor, minus: Tensor) -> Tensor:
    """Rows 2i from `plus`, 2i + 1 from `minus`, along the dimension before the last."""
    return torch.stack([plus, minus], dim=-2).flatten(-3, -2)


GATED = ["F40_gate_r1", "F40_gate_r10", "F41_gate_interleaved_r1", "F41_gate_interleaved_r10", "F42_gate_signed"]


@pytest.mark.parametrize("name", [*GATED, "F43_gate_unselected_top", "F44_gate_unselected_bottom"])
def test_gated_arrays_are_the_peers(shared_data: Path, name: str) -> None:
    setup, arrays = peer_case(shared_data, name)
    plus, minus = peer_pairs(setup, arrays["W"])
    slices, weights = input_bits(setup, arrays["X"])
    wires = setup["wires"]
    unused = max(0, wires["physical_rows"] - len(plus))
    above, below = (0, unused) if wires["selected_rows"] == "top" else (unused, 0)
    row, column = wires["r_row_ohm"], wires["r_col_ohm"]
    gates = GatedWires(row, column, row * (1 + above), column * (1 + below))
    if setup["subtraction"] == "shared_column_interleaved":
        both = interleaved(slices.mT, -slices.mT).mT
        currents = gated_currents(interleaved(plus, minus), both.flatten(0, 1), gates, rows_per_node=2)
    else:
        currents = gated_currents(plus, slices.flatten(0, 1), gates) - gated_currents(
            minus, slices.flatten(0, 1), gates
        )
    outputs = torch.einsum("s,svj->jv", weights, currents.unflatten(0, slices.shape[:2])) * peer_scale(setup)
    assert abs(outputs.numpy() - arrays["Y"]).max() <= 3e-7 * abs(arrays["Y"]).max()


WIRED = ["F_16x16_r1", "F_32x64_r10", "F20_row5_col05", "F22_rows_only", "F23_columns_only", "F50_column_terminal"]
SHARED = ["F30_interleaved_r1", "F30_interleaved_r10", "F31_interleaved_16x16_r10"]
BENT = ["H2_cubic_wires", "H3_cubic_interleaved_wires", "H8_rram_polynomial_wires"]


@pytest.mark.parametrize("name", [*WIRED, *SHARED, *BENT, "H10_rram_polynomial_interleaved_wires"])
def test_driven_rows_are_the_peers(shared_data: Path, name: str) -> None:
    setup, arrays = peer_case(shared_data, name)
    plus, minus = peer_pairs(setup, arrays["W"])
    resistance = setup["wires"]
    sense = resistance["r_col_ohm"] + resistance["r_col_terminal_ohm"]
    wires = Wires(resistance["r_row_ohm"], resistance["r_col_ohm"], resistance["r_row_ohm"], sense)
    laws: dict[str, CellLaw] = {"linear": Linear(), "cubic": Polynomial(0.0, -0.25), "rram_milo": MiloPolynomial()}
    law, volt = laws[setup["iv"]["law"]], setup["iv"].get("v_full_scale_V", 1.0)
    inputs = torch.from_numpy(arrays["X"]).T / setup["x_full_scale"] * volt

    def currents(cells: Tensor, voltages: Tensor, rows_per_node: int = 1) -> Tensor:
        if isinstance(law, Linear):
            return voltages @ effective_conductance(cells, wires, rows_per_node)
        return solve_nonlinear(cells, voltages, wires, law, rows_per_node).bitline_current

    if setup["subtraction"] == "shared_column_interleaved":
        found = currents(interleaved(plus, minus), interleaved(inputs.mT, -inputs.mT).mT, 2)
    else:
        found = currents(plus, inputs) - currents(minus, inputs)
    outputs = found.T.numpy() / volt * peer_scale(setup)
    assert abs(outputs - arrays["Y"]).max() <= 3e-7 * abs(arrays["Y"]).max()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wordline": -1.0}, "wires.wordline"),
        ({"sense": float("nan")}, "wires.sense"),
        ({"access": float("inf")}, "wires.access"),
        ({"sensed_at": "top"}, "wires.sensed_at"),
    ],
)
def test_wrong_wires(change: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Wires(**({"wordline": 1.0, "bitline": 1.0} | change))  # type: ignore[arg-type]


def test_wrong_gated_wires() -> None:
    with pytest.raises(ParameterError, match=r"wires.source_line must be 0 ohm or more and finite, got -1"):
        GatedWires(-1.0, 1.0)


@pytest.mark.parametrize(
    "cells", [torch.tensor([[-1e-6]]), torch.tensor([[float("nan")]]), torch.rand(4), torch.rand(0, 3)]
)
def test_wrong_conductances(cells: Tensor) -> None:
    for call in (effective_conductance, source_conductance, transfer):
        with pytest.raises(ParameterError, match="conductance must be"):
            call(cells, Wires(1.0, 1.0))
    with pytest.raises(ParameterError, match="conductance must be"):
        solve(cells, torch.rand(1, 1), Wires(1.0, 1.0))
    with pytest.raises(ParameterError, match="conductance must be"):
        gated_currents(cells, torch.rand(1, 1), GatedWires(1.0, 1.0))


@pytest.mark.parametrize("rows_per_node", [0, -1, 3])
def test_wrong_rows_per_node(rows_per_node: int) -> None:
    with pytest.raises(ParameterError, match="rows_per_node must be"):
        effective_conductance(torch.rand(4, 3), Wires(1.0, 1.0), rows_per_node)


@pytest.mark.parametrize(
    "voltages",
    [torch.rand(4), torch.rand(2, 5), torch.rand(3, 2, 4), torch.full((1, 4), float("nan")), torch.rand(0, 4)],
)
def test_wrong_voltages(voltages: Tensor) -> None:
    cells = random_cells(2, 4, 3)
    with pytest.raises(ParameterError, match="voltages must be"):
        solve(cells, voltages, Wires(1.0, 1.0))
    with pytest.raises(ParameterError, match="voltages must be"):
        solve_nonlinear(cells, voltages, Wires(1.0, 1.0), Linear())
    with pytest.raises(ParameterError, match="inputs must be"):
        gated_currents(cells, voltages, GatedWires(1.0, 1.0))


@pytest.mark.parametrize(("name", "value"), [("tolerance", 0.0), ("tolerance", float("nan")), ("most_iterations", 0)])
def test_wrong_newton_settings(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=name):
        solve_nonlinear(random_cells(4, 3), random_voltages(1, 4), Wires(1.0, 1.0), Linear(), **{name: value})  # type: ignore[arg-type]


def test_gradients_are_refused_rather_than_lost() -> None:
    cells, voltages, wires = random_cells(4, 3).requires_grad_(), random_voltages(1, 4), Wires(1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ParameterError, match="conductance must not require a gradient"):
        effective_conductance(cells, wires)
    with pytest.raises(ParameterError, match="voltages must not require a gradient"):
        solve(cells.detach(), voltages.clone().requires_grad_(), wires)
    with torch.no_grad():
        assert torch.equal(effective_conductance(cells, wires), effective_conductance(cells.detach(), wires))
        solve_nonlinear(cells, voltages, wires, Sinh(0.1))


@pytest.mark.parametrize("rows_per_node", [1, 2])
@pytest.mark.parametrize("ends", [{}, {"sensed_at": "both"}, {"driven_from": "both"}, {"access": 300.0}])
def test_open_cells_where_no_current_flows_are_left_out(rows_per_node: int, ends: dict) -> None:
    """Tiles whose used corners differ, one of them without any cell, against the same tiles with next to nothing in the open ones."""
    wires = Wires(2.0, 3.0, driver=5.0, sense=7.0, **ends)
    cells = torch.zeros(4, 12, 9, dtype=torch.float64)
    for tile, (first, last) in enumerate([(4, 5), (7, 9), (0, 2)]):
        cells[tile, first:, :last] = 1e-4 * torch.rand(12 - first, last, generator=torch.Generator().manual_seed(tile), dtype=torch.float64)
    for solve_for in (effective_conductance, source_conductance):
        found, whole = (solve_for(each, wires, rows_per_node) for each in (cells, cells.clamp(min=1e-30)))
        assert torch.allclose(found, whole, rtol=1e-12, atol=1e-18)
        assert not found[3].any()


def test_large_arrays_keep_ten_digits() -> None:
    """Factors of symmetric matrices and differences in place of products, from 64 bitlines on, against the arrays solved without."""
    cells = 25e-6 * torch.rand(1, 70, 80, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for ohm in (0.01, 1.0, 100.0):
        wires = Wires(ohm, ohm, driver=ohm, sense=ohm)
        found = effective_conductance(cells, wires)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("xbar.hw.array.nodes.MANY", 1000)
            known = effective_conductance(cells, wires)
        assert ((found - known).abs() <= 1e-10 * known).all()

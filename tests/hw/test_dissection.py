"""Nested dissection of wired crossbars: however an array is cut, and whatever is solved with it."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.hw.test_parasitics import SOME_VARIANTS, elements, nodal, random_cells, star_mesh, terminal_currents
from xbar.hw.array import dissection, parasitics
from xbar.hw.array.parasitics import Wires, effective_conductance, transfer
from xbar.hw.errors import ConvergenceError


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows_per_node", [1, 2])
@pytest.mark.parametrize("wires", SOME_VARIANTS, ids=str)
def test_however_it_is_cut_it_is_the_sparse_nodal_solution(wires: Wires, rows_per_node: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = random_cells(2, 22, 13) * 10
    expected = [nodal(tile.numpy(), wires, rows_per_node) for tile in cells]
    for block, smallest, step in ((2**14, 4, 32), (2**14, 1, 3), (60, 3, 4), (1, 1, 1)):
        monkeypatch.setattr(dissection, "BLOCK", block)
        monkeypatch.setattr(dissection, "SMALLEST", smallest)
        monkeypatch.setattr(dissection, "STEP", step)
        for found, place in zip(transfer(cells, wires, rows_per_node), (0, 1), strict=True):
            for tile in range(2):
                assert abs(found[tile].numpy() - expected[tile][place]).max() <= 1e-12 * abs(expected[tile][place]).max()


@pytest.mark.parametrize(
    ("shape", "wires", "largest"),
    [
        ((64, 256), Wires(1.0, 1.0, 1.0, 1.0), 25e-6),
        ((63, 250), Wires(1e3, 1e-2, 0.0, 5.0, "both", "one", 2e3), 1e-3),
        ((250, 63), Wires(1e-2, 1e3, 100.0, 0.0, "one", "both"), 1e-3),
    ],
    ids=str,
)
def test_large_arrays_are_the_sparse_nodal_solution(shape: tuple[int, int], wires: Wires, largest: float) -> None:
    """Currents of all lines at three vectors of voltages; a third of the cells is open."""
    rows, columns = shape
    draws = np.random.default_rng(3)
    cells = draws.random(shape) * largest * (draws.random(shape) > 1 / 3)
    resistors, conductances, terminals = elements(cells, wires, 1)
    voltages = np.concatenate([draws.random((rows, 3)), np.zeros((columns, 3))])
    flows = terminal_currents(resistors, conductances, terminals, voltages, np.zeros((terminals[-1] + 1, 3)))
    effective, sources = transfer(torch.from_numpy(cells), wires)
    assert effective.numpy().T @ voltages[:rows] == pytest.approx(-flows[rows:], rel=1e-9)
    assert sources.numpy() @ voltages[:rows] == pytest.approx(flows[:rows], rel=1e-9)


def test_every_cell_keeps_its_digits_where_resistances_lie_far_apart() -> None:
    """Each effective conductance to 13 digits of its own, over 12 decades of resistance."""
    draws = np.random.default_rng(0)
    for _ in range(10):
        ohm = 10 ** draws.uniform(-6, 6, 5)
        wires = Wires(*ohm[:4], draws.choice(["one", "both"]), draws.choice(["one", "both"]), ohm[4])
        cells = 10 ** draws.uniform(-7, -3, (9, 10))
        assert effective_conductance(torch.from_numpy(cells), wires).numpy() == pytest.approx(star_mesh(cells, wires), rel=1e-13, abs=0)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(5, 7), (16, 16), (31, 30), (40, 70)])
def test_the_same_bits_whatever_is_solved_with_it(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    cells, wires = random_cells(6, *shape), Wires(1.0, 2.0, 3.0, 4.0)
    alone = torch.stack([effective_conductance(each, wires) for each in cells])
    for cells_at_once, count in ((2**14, 1), (2**20, 1), (1, 2), (2**20, 2)):
        monkeypatch.setattr(parasitics, "BLOCK", cells_at_once)
        torch.set_num_threads(count)
        assert torch.equal(effective_conductance(cells, wires), alone)
        assert torch.equal(effective_conductance(cells[2:5], wires), alone[2:5])


def test_resistances_beyond_numbers_are_refused() -> None:
    with pytest.raises(ConvergenceError, match=r"too far apart.*1e-320"):
        effective_conductance(random_cells(9, 9), Wires(1e-320, 1.0, 1.0))

"""Effective conductances found again: the same bits, for the same cells and wires only, within the memory that is allowed."""

import pytest
import torch
from torch import Tensor

from xbar.hw.array import solved
from xbar.hw.array.parasitics import effective_conductance
from xbar.hw.array.wires import Wires

WIRES = Wires(2.0, 3.0)


def cells(seed: int) -> Tensor:
    return torch.rand(2, 8, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1e-4


@pytest.fixture
def solutions(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is solved from now on, with nothing kept before."""
    done: list[Tensor] = []

    def counted(conductance: Tensor, wires: Wires, rows_per_node: int) -> Tensor:
        done.append(effective_conductance(conductance, wires, rows_per_node))
        return done[-1]

    monkeypatch.setattr(solved, "_KEPT", solved._Solved())
    monkeypatch.setattr(solved, "effective_conductance", counted)
    return done


def test_the_same_cells_are_solved_once(solutions: list[Tensor]) -> None:
    first = solved.kept_conductance(cells(0), WIRES, 1)
    again = solved.kept_conductance(cells(0).mT.contiguous().mT, WIRES, 1)  # other strides, the same values
    assert len(solutions) == 1
    assert torch.equal(again, first)
    assert torch.equal(first, effective_conductance(cells(0), WIRES, 1))


def test_what_differs_is_solved_anew(solutions: list[Tensor]) -> None:
    for conductance, wires, rows in (
        (cells(0), WIRES, 1), (cells(1), WIRES, 1), (cells(0), Wires(2.0, 3.5), 1), (cells(0), WIRES, 2),
        (cells(0).view(1, 2, 8, 6), WIRES, 1), (cells(0).float(), WIRES, 1),
    ):  # fmt: skip
        assert torch.equal(solved.kept_conductance(conductance, wires, rows), effective_conductance(conductance, wires, rows))
    assert len(solutions) == 6


def test_what_was_solved_in_inference_mode_serves_training(solutions: list[Tensor]) -> None:
    with torch.inference_mode():
        assert not solved.kept_conductance(cells(0), WIRES, 1).is_inference()
    assert not solved.kept_conductance(cells(0), WIRES, 1).requires_grad
    assert len(solutions) == 1


def test_what_was_not_asked_for_longest_goes_first(solutions: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solved, "MOST_BYTES", 2 * cells(0).nbytes)
    for seed in (0, 1, 0, 2, 0):
        solved.kept_conductance(cells(seed), WIRES, 1)
    assert len(solutions) == 3
    solved.kept_conductance(cells(1), WIRES, 1)
    assert len(solutions) == 4
    assert solved._KEPT.bytes == 2 * cells(0).nbytes
    monkeypatch.setattr(solved, "MOST_BYTES", 1)
    solved.kept_conductance(cells(3), WIRES, 1)
    assert solved._KEPT.bytes == 2 * cells(0).nbytes, "one result is more than may be kept"

"""Our netlists through ngspice, an independent circuit simulator, against our own solution."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xbar.hw import ParameterError
from xbar.hw.array.parasitics import Wires, solve_nonlinear
from xbar.hw.array.spice import netlist, write_netlist
from xbar.hw.cells.law import Linear, MiloPolynomial, Polynomial, Sinh, SpiceLaw

needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
CELLS = torch.rand(12, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 1e-4 + 1e-6
VOLTAGES = torch.rand(12, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 0.4 - 0.1


def simulated(path: Path) -> Tensor:
    """Bitline currents that ngspice prints."""
    run = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True, timeout=60, check=False)
    found = re.findall(r"^i\(vb(\d+)\) = (\S+)$", run.stdout, re.MULTILINE)
    assert found, run.stdout + run.stderr
    assert [int(number) for number, _ in found] == list(range(len(found)))
    return torch.tensor([float(value) for _, value in found], dtype=torch.float64)


@needs_ngspice
@pytest.mark.parametrize(
    ("shape", "wires", "law", "rows_per_node"),
    [
        ((8, 6), Wires(1.0, 1.0), Linear(), 1),
        ((8, 6), Wires(2.0, 3.0, 100.0, 50.0), Linear(), 1),
        ((12, 9), Wires(2.0, 3.0, 100.0, 50.0, "both", "one"), Linear(), 1),
        ((12, 9), Wires(2.0, 3.0, 0.0, 0.0, "both", "both"), Linear(), 1),
        ((12, 9), Wires(2.0, 3.0, 10.0, 20.0, "both", "both"), Linear(), 1),
        ((12, 9), Wires(0.0, 3.0, 10.0, 0.0), Linear(), 1),
        ((12, 9), Wires(2.0, 0.0, 0.0, 20.0, "one", "both"), Linear(), 1),
        ((12, 9), Wires(0.0, 0.0), Linear(), 1),
        ((12, 9), Wires(2.0, 3.0, 10.0, 20.0, access=2e3), Linear(), 2),
        ((1, 9), Wires(2.0, 3.0, 10.0, 20.0, "both", "both"), Linear(), 1),
        ((12, 1), Wires(2.0, 3.0, 10.0, 20.0, "both", "both"), Linear(), 1),
        ((12, 9), Wires(20.0, 30.0, 10.0, 20.0), Sinh(0.1), 1),
        ((12, 9), Wires(20.0, 30.0, 10.0, 20.0, access=5e3), Sinh(0.1), 2),
        ((12, 9), Wires(20.0, 30.0, 0.0, 20.0, "both", "both"), Polynomial(0.3, 2.0), 1),
        ((8, 6), Wires(20.0, 30.0), MiloPolynomial(), 1),
    ],
    ids=str,
)
def test_ngspice_agrees(
    tmp_path: Path, shape: tuple[int, int], wires: Wires, law: SpiceLaw, rows_per_node: int
) -> None:
    cells, voltages = CELLS[: shape[0], : shape[1]].clone(), VOLTAGES[: shape[0]]
    if isinstance(law, MiloPolynomial):
        cells = cells + 60e-6
    cells[0, -1] = 0.0
    write_netlist(tmp_path / "tile.cir", cells, voltages, wires, law, rows_per_node)
    expected = simulated(tmp_path / "tile.cir")
    ours = solve_nonlinear(cells, voltages.unsqueeze(0), wires, law, rows_per_node).bitline_current[0]
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert [path.name for path in tmp_path.iterdir()] == ["tile.cir"]


def test_zero_ohm_merges_and_zero_siemens_is_left_out() -> None:
    cells = torch.tensor([[1e-4, 0.0], [0.0, 2e-4]], dtype=torch.float64)
    text = netlist(cells, torch.tensor([0.5, 0.25]), Wires(0.0, 0.0), title="two cells")
    elements = [line for line in text.splitlines() if line[0] in "rvb"]
    assert text.startswith("* two cells\n")
    assert elements == [
        "vs0 s0 0 dc 0.5",
        "vs1 s1 0 dc 0.25",
        "vb0 e0 0 dc 0",
        "vb1 e1 0 dc 0",
        "rc0_0 s0 e0 10000.0",
        "rc1_1 s1 e1 5000.0",
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "tile.cir"
    target.write_text("old")
    with pytest.raises(ParameterError, match="conductance"):
        write_netlist(target, -CELLS, VOLTAGES, Wires(1.0, 1.0))
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["tile.cir"]


@pytest.mark.parametrize(
    ("cells", "voltages", "rows", "title", "said"),
    [
        (CELLS.unsqueeze(0), VOLTAGES, 1, "t", "conductance must be"),
        (CELLS * float("nan"), VOLTAGES, 1, "t", "conductance must be"),
        (CELLS, VOLTAGES[:3], 1, "t", "voltages must be"),
        (CELLS, VOLTAGES / 0, 1, "t", "voltages must be"),
        (CELLS, VOLTAGES, 5, "t", "rows_per_node must be"),
        (CELLS, VOLTAGES, 1, "t\n.end", "title must be"),
    ],
)
def test_wrong_input(cells: Tensor, voltages: Tensor, rows: int, title: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        netlist(cells, voltages, Wires(1.0, 1.0), rows_per_node=rows, title=title)

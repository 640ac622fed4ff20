"""`--compute`, `compute=` and `study.compute`: an error by name where CUDA is not, and an effect in everything that takes them.

In place of CUDA stands a device that is none (`tests/pretend.py`), so that all that is said of CUDA here runs anywhere.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.pretend import NAME, pretend
from xbar.hw import load_chip
from xbar.hw.errors import ParameterError
from xbar.workloads import compute as places
from xbar.workloads import workload as workloads
from xbar.workloads.cli import main
from xbar.workloads.study import compress, evaluate, run
from xbar.workloads.study.identity import SweepError
from xbar.workloads.study.plan import Plan
from xbar.workloads.study.points import judge
from xbar.workloads.study.report import report
from xbar.workloads.study.sweep_file import read_sweep, with_compute
from xbar.workloads.training import TrainingError
from xbar.workloads.workload import load_workload

NO_CUDA = "compute = cuda: torch .* finds no CUDA device here: ."
FILE = """
[fixed]
study.images = 4
study.instances = 1
[axes]
"component.adc.bits" = [6]
"""
SEARCH = FILE.replace("study.images = 4\nstudy.instances = 1", "") + '[search]\ndesigns = 1\nbatch = 1\n[objectives]\nenergy_J = "min"\n'


@pytest.fixture
def _cuda_is_pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where "cuda" is said, the device that is none."""
    real = places.torch_device

    def torch_device(compute: str = "cpu") -> torch.device:
        return torch.device(NAME, 0) if compute == "cuda" else real(compute)

    for module in (evaluate, run, compress, workloads):
        monkeypatch.setattr(module, "torch_device", torch_device)


def test_the_words() -> None:
    assert places.torch_device() == places.torch_device("cpu") == torch.device("cpu")
    assert places.torch_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ParameterError, match="compute = 'gpu': must be one of cpu, cuda, or auto"):
        places.torch_device("gpu")
    with pytest.raises(TrainingError, match="compute"):
        Plan(compute="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds CUDA here")
class TestWithoutCuda:
    @pytest.mark.parametrize("command", ["run", "compress", "sweep", "search"])
    def test_each_command_says_so_first(self, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "sweep.toml").write_text(FILE)
        (tmp_path / "search.toml").write_text(SEARCH)
        asked = str(tmp_path / f"{command}.toml") if command in ("sweep", "search") else "digits"
        more = ["--target", "area=0.5"] if command == "compress" else []
        assert main([command, asked, *more, "--compute", "cuda", "--out", str(tmp_path / "out")]) == 1
        assert "xbar: error: compute = cuda: torch" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_python_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match=NO_CUDA):
            judge({"study.compute": "cuda", "study.images": 2, "study.instances": 1})
        digits, chip = load_workload("digits"), load_chip("edge")
        with pytest.raises(ParameterError, match=NO_CUDA):
            run.run(digits, chip, replace(run.Study().quick(), compute="cuda"))
        with pytest.raises(ParameterError, match=NO_CUDA):
            compress.compress(digits.model, digits.data, chip, {"area": 0.5}, tmp_path, Plan(compute="cuda"))
        with pytest.raises(ParameterError, match=NO_CUDA):
            report(digits.model, digits.data, chip, tmp_path, compute="cuda")
        with pytest.raises(ParameterError, match=NO_CUDA):
            evaluate.evaluate(digits.model, chip, digits.data, 1, samples=2, compute="cuda")


def test_workloads_without_it_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for workload in ("recommender", "fairea"):
        assert main(["run", workload, "--compute", "cpu", "--out", str(tmp_path)]) == 1
        assert f"--compute is of no use to {workload}" in capsys.readouterr().err


@pytest.mark.usefixtures("_cuda_is_pretended")
def test_a_run_is_the_same_there() -> None:
    digits, chip = load_workload("digits"), load_chip("edge")
    study = replace(run.Study().quick(), instances=2, images=12, requests=2, adc_bits=(6,))
    here = run.run(digits, chip, study)
    with pretend() as waits:
        there = run.run(digits, chip, replace(study, compute="cuda"))
    assert waits["_to_copy"] > 10  # it was there
    assert (here.meta["study"]["computed_on"], there.meta["study"]["computed_on"]) == ("cpu", NAME)
    assert there.meta["score"] == here.meta["score"]
    assert there.variation.equals(here.variation)
    assert there.adc_bits.equals(here.adc_bits)
    assert there.layer_quality.equals(here.layer_quality)
    assert there.energy.equals(here.energy)


@pytest.mark.usefixtures("_cuda_is_pretended")
def test_a_point_is_the_same_there() -> None:
    point = {"chip.name": "edge", "study.images": 12, "study.instances": 2, "study.requests": 2}
    here = judge(point)
    with pretend() as waits:
        there = judge({**point, "study.compute": "cuda"})
    assert waits["_to_copy"] > 1
    assert there == here


def test_files_and_the_command_line_agree(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    (point,) = read_sweep(path).points
    assert "study.compute" not in point
    assert with_compute(point, None) == point
    assert with_compute(point, "cuda") == {**point, "study.compute": "cuda"}
    path.write_text(FILE.replace("[axes]", 'study.compute = "cuda"\n[axes]'))
    (point,) = read_sweep(path).points
    assert with_compute(point, "cuda")["study.compute"] == "cuda"
    with pytest.raises(SweepError, match=r"study\.compute = cuda in the file, and --compute cpu says otherwise"):
        with_compute(point, "cpu")
    with pytest.raises(SweepError, match=r"study\.compute = varies in the file"):
        with_compute({}, "cpu", axes=["study.compute"])
    path.write_text(FILE.replace("[axes]", 'study.compute = "gpu"\n[axes]'))
    with pytest.raises(SweepError, match=r"study\.compute = 'gpu': must be one of cpu, cuda"):
        read_sweep(path)

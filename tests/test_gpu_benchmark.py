"""`benchmarks/gpu.py` stands ready: it runs on the CPU at sizes that take seconds, and says what it cannot do."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    monkeypatch.setattr(gpu, "TINY", replace(gpu.TINY, images=1, training=2, rounds=1))
    return gpu


def test_it_runs_on_the_cpu(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(device: torch.device, sizes: Any) -> dict[str, Any]:
        raise RuntimeError("2 failed")

    monkeypatch.setitem(gpu.PARTS, "tests", failing)
    assert gpu.main(["--compute", "cpu", "--tiny", "--out", str(tmp_path / "gpu")]) == 1
    found = json.loads((tmp_path / "gpu" / "gpu.json").read_text())
    assert found["device"] == "cpu"
    assert found["tests"]["failed"] == "RuntimeError: 2 failed"
    for part, cases in (("product", 6), ("inference", 2), ("training", 2)):
        assert len(found[part]["ratios"]) == cases, found[part]
        assert all(0 < ratio < 1e5 for ratio in found[part]["ratios"].values())
    told = (tmp_path / "gpu" / "gpu.txt").read_text()
    assert "failed: RuntimeError: 2 failed" in told
    assert "ResNet-50's size, on chip" in told
    assert sorted(path.name for path in (tmp_path / "gpu").iterdir()) == ["gpu.json", "gpu.txt"]


def test_the_large_network_is_resnet_50s_size(gpu: ModuleType) -> None:
    with torch.device("meta"):
        network = gpu.large_network(gpu.Sizes())
    assert sum(each.numel() for each in network.parameters()) == 25_557_032  # of torchvision's resnet50


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds CUDA here")
def test_without_cuda_it_says_so(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path / "gpu")]) == 1
    assert "finds no CUDA device here" in (said := capsys.readouterr().err)
    assert "--compute cpu --tiny tries the script without one" in said
    assert not (tmp_path / "gpu").exists()

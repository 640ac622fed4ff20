"""What is written for other programs: whole numbers that give the weights again, files that torch and ONNX read without us."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xbar.compression import CompressionError, Levels, load_integers, save_integers, save_onnx, save_program
from xbar.compression.export import held_weights
from xbar.hw import Chip, load_chip
from xbar.models import DigitsViT, RowLSTM

EXAMPLE = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Mixed(nn.Module):
    """A convolution with groups, a batch norm that folds and one that stays, a bias and none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.grouped, self.last = nn.Conv2d(4, 6, 3, groups=2), nn.Linear(6 * 36, 3)
        self.after = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.grouped(torch.relu(self.norm(self.first(x)))))
        return self.after(torch.relu(self.last(x.flatten(1))))


def mixed() -> nn.Module:
    torch.manual_seed(0)
    model = Mixed()
    for _ in range(3):
        model(torch.randn(8, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip("isaac-vector", {"weights.bits": "4"})


@pytest.mark.parametrize("bits", [2, 4, 5, 8, 12, 20])
def test_integers_give_the_weights_that_the_chip_holds(bits: int, tmp_path: Path) -> None:
    chip, model = load_chip("isaac-vector", {"weights.bits": str(bits)}), mixed()
    with torch.no_grad():
        model.get_parameter("last.weight")[1] = 0.0
        model.get_parameter("last.weight")[:, 5:70] = 0.0
    save_integers(model, chip, EXAMPLE, tmp_path / "integers.npz")
    meta, layers, rest = load_integers(tmp_path / "integers.npz")
    assert meta["bits"] == bits
    assert list(layers) == ["first", "grouped", "last"]
    held = held_weights(model, chip, EXAMPLE)
    for name, layer in layers.items():
        assert torch.equal(layer.integers, held[name].integers)
        assert int(layer.integers.abs().max()) == 2 ** (bits - 1) - 1
        assert torch.equal(layer.matrix(), held[name].matrix())
    assert layers["last"].outputs.tolist() == [0, 2]
    assert len(layers["last"].inputs) == 6 * 36 - 65
    whole = model.get_parameter("last.weight").detach().double()
    step = float(whole.abs().max()) / (2 ** (bits - 1) - 1)
    assert float((layers["last"].matrix()[0] - whole).abs().max()) <= step / 2 * (1 + 1e-9)
    assert {"after.weight", "after.bias", "after.running_mean", "after.running_var"} == set(rest)


def test_weights_on_levels_come_back_as_they_are(chip: Chip, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 7))
    for layer in (model[1], model[3]):
        with torch.no_grad():
            layer.weight.copy_(Levels.of(chip).project(layer.weight))
    save_integers(model, chip, EXAMPLE, tmp_path / "integers.npz")
    _, layers, rest = load_integers(tmp_path / "integers.npz")
    assert not rest
    for name in ("1", "3"):
        layer = model.get_submodule(name)
        torch.testing.assert_close(layers[name].matrix()[0].float(), layer.weight.detach(), rtol=1e-6, atol=1e-7)
        assert torch.equal(layers[name].bias, layer.bias.detach())  # type: ignore[arg-type]
    with np.load(tmp_path / "integers.npz") as file:
        assert file["0/integers"].nbytes == 64 * 30 // 2
        assert file["1/integers"].nbytes == 30 * 7 // 2


@pytest.mark.parametrize("build", [DigitsViT, RowLSTM])
def test_every_matrix_of_transformers_and_recurrent_networks_is_there(build: type[nn.Module], chip: Chip, tmp_path: Path) -> None:
    model = build().eval()
    save_integers(model, chip, EXAMPLE, tmp_path / "integers.npz")
    _, layers, rest = load_integers(tmp_path / "integers.npz")
    covered = {name for layer in layers.values() for name in layer.parameters} | set(rest)
    assert covered == set(model.state_dict())


def test_what_cannot_be_held_as_integers_is_refused(tmp_path: Path) -> None:
    chip = load_chip("edge", {"weights.per": "segment"})
    with pytest.raises(CompressionError, match=r"weights\.per = segment"):
        save_integers(mixed(), chip, EXAMPLE, tmp_path / "integers.npz")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(chip: Chip, tmp_path: Path) -> None:
    path = tmp_path / "integers.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(CompressionError, match=r"integers\.npz: no \.npz file"):
        load_integers(path)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(CompressionError, match="is not what save_integers writes"):
        load_integers(path)
    save_integers(mixed(), chip, EXAMPLE, path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"0/integers": arrays["0/integers"][:-1]}))
    with pytest.raises(CompressionError, match="is not what save_integers writes"):
        load_integers(path)
    with pytest.raises(CompressionError, match="cannot be written"):
        save_integers(mixed(), chip, EXAMPLE, path / "below.npz")


def test_torch_alone_reads_the_program(tmp_path: Path) -> None:
    model, images = mixed(), torch.randn(5, 1, 8, 8)
    save_program(model, EXAMPLE, tmp_path / "network.pt2")
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; m = torch.export.load('network.pt2').module(); torch.save(m(torch.load('images.pt')).detach(), 'out.pt'); "
        "assert not [n for n in sys.modules if n.split('.')[0] == 'xbar']"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "out.pt"), model(images))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_computes_the_same(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    model, images = mixed(), torch.randn(3, 1, 8, 8)
    save_onnx(model, EXAMPLE, tmp_path / "network.onnx")
    program = onnx.load(tmp_path / "network.onnx")
    (found,) = ReferenceEvaluator(program).run(None, {program.graph.input[0].name: images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(images).numpy(), rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.onnx"]

"""CIFAR-10's binary version read strictly, ResNet-20's weights from a file, and what is said where either is missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from xbar.models import ResNet20
from xbar.workloads import data
from xbar.workloads.data import DataError, load_cifar10, read_cifar10
from xbar.workloads.training import initialise, score
from xbar.workloads.workload import load_weights, load_workload

RECORD = 3073


@pytest.fixture(autouse=True)
def _no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XBAR_DATA", raising=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Writes files of 4 records each into a folder, and makes 4 the right number."""
    monkeypatch.setattr(data, "CIFAR10_IMAGES", 4)

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        for name in (*data.CIFAR10_TRAIN_FILES, data.CIFAR10_TEST_FILE):
            records = random.integers(0, 256, (4, RECORD), np.uint8)
            records[:, 0] = (9, 0, 1, 2)
            records[0, 1], records[0, 1 + 1024] = 255, 0  # first pixel of image 0: red full, green none
            (folder / name).write_bytes(records.tobytes())

    return write


@pytest.mark.parametrize("place", ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_places_and_normalisation(place: str, tmp_path: Path, small: Callable[[Path], None]) -> None:
    small(tmp_path / place)
    read = load_cifar10(tmp_path)
    assert read.train_inputs.shape == (20, 3, 32, 32)
    assert read.test_targets.tolist() == [9, 0, 1, 2]
    assert read.test_inputs[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)
    assert read.test_inputs[0, 1, 0, 0].item() == pytest.approx(-0.456 / 0.224)
    raw = np.fromfile(tmp_path / place / "test_batch.bin", np.uint8).reshape(4, RECORD)
    assert read.test_inputs[3, 2, 31, 30].item() == pytest.approx((raw[3, -2] / 255 - 0.406) / 0.225, rel=1e-5)


def test_found_through_the_environment(
    tmp_path: Path, small: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path / "cifar10")
    monkeypatch.setenv("XBAR_DATA", str(tmp_path))
    assert len(load_cifar10().train_targets) == 20


@pytest.mark.parametrize(("content", "said"), [
    (b"", "holds 0 bytes, not records of 3073"), (bytes(RECORD - 1), "holds 3072 bytes"),
    (b"\x0a" + bytes(RECORD - 1), "labels go up to 10"),
])  # fmt: skip
def test_wrong_files(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_cifar10(path)
    assert str(path) in str(caught.value)


def test_missing_and_short_files(tmp_path: Path, small: Callable[[Path], None]) -> None:
    with pytest.raises(DataError, match=r"not at hand\. Give the folder .*--data DIR.*XBAR_DATA"):
        load_cifar10()
    small(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(3 * RECORD))
    with pytest.raises(DataError, match=r"data_batch_3\.bin: holds 3 images, CIFAR-10's files 4"):
        load_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match="Looked in"):
        load_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_cifar10(tmp_path / "data_batch_3.bin")


class TestWeights:
    def test_names_and_wrappings(self, tmp_path: Path) -> None:
        state = initialise(ResNet20, 5).state_dict()
        bare = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        for saved in (state, bare, {"state_dict": {f"module.{key}": value for key, value in bare.items()}}):
            torch.save(saved, tmp_path / "weights.pt")
            read = load_weights(initialise(ResNet20, 0), tmp_path / "weights.pt").state_dict()
            assert all(torch.equal(read[key], value) for key, value in bare.items())

    def test_wrong_files(self, tmp_path: Path) -> None:
        path, state = tmp_path / "weights.pt", initialise(ResNet20, 0).state_dict()
        without = {key: value for key, value in state.items() if key != "linear.bias"}
        for saved, said in (
            (without, "lacks linear.bias, which the network has"), (state | {"extra": torch.zeros(1)}, "has extra, which"),
            (state | {"linear.bias": torch.zeros(3)}, r"linear.bias is \(3,\), the network's \(10,\)"),
            ([1], "no state dict"),
        ):  # fmt: skip
            torch.save(saved, path)
            with pytest.raises(DataError, match=said):
                load_weights(initialise(ResNet20, 0), path)
        path.write_bytes(b"torn")
        with pytest.raises(DataError, match="not a file of weights"):
            load_weights(initialise(ResNet20, 0), path)
        with pytest.raises(DataError, match="no such file"):
            load_weights(initialise(ResNet20, 0), tmp_path / "none.pt")

    def test_none_are_given(self) -> None:
        with pytest.raises(DataError, match=r"resnet20 needs trained weights\. Give .*--weights FILE.*XBAR_DATA"):
            load_workload("resnet20")

    def test_published_weights(self, shared_data: Path, tmp_path: Path, small: Callable[[Path], None]) -> None:
        """They are read through the workload; a full test set says how good they are (test below)."""
        if not (shared_data / "resnet20" / "resnet20.pt").is_file():
            pytest.skip(f"no published weights in {shared_data}")
        small(tmp_path)
        read = load_workload("resnet20", data_directory=tmp_path, weights=shared_data / "resnet20" / "resnet20.pt")
        assert (read.title, len(read.data.test_targets)) == ("ResNet-20", 4)

    @pytest.mark.slow
    def test_float_accuracy_of_published_weights(self, shared_data: Path) -> None:
        """81.03 % on the JPEG copy that some data folders have, 91.73 % on the original images."""
        try:
            test = load_cifar10(shared_data)
            path = shared_data / "resnet20" / "resnet20.pt"
            model = load_weights(ResNet20(), path).eval()
        except DataError as error:
            pytest.skip(str(error))
        assert round(score(model, test.test_inputs, test.test_targets), 4) in (0.8103, 0.9173)

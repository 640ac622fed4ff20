"""Official formats read strictly; every wrong file named; downloads verified or not kept."""

import gzip
import hashlib
import http.client
import io
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from hypothesis import given
from hypothesis import strategies as st

from xbar.workloads import data
from xbar.workloads.data import DataError, Dataset, load_digits, load_mnist, read_idx


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestIdx:
    @given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.booleans())
    def test_reads_what_was_written(
        self, tmp_path_factory: pytest.TempPathFactory, shape: list[int], zipped: bool
    ) -> None:
        array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        path = tmp_path_factory.mktemp("idx") / "file"
        path.write_bytes(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
        assert np.array_equal(read_idx(path), array)

    GOOD = idx(np.zeros((3, 2), np.uint8))

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "begins with nothing"),
            (b"\x89PNG....", "begins with 89504e47"),
            (b"\0\0\x0d\x01" + GOOD[4:], "begins with 00000d01"),
            (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"x", "a rank from 1 to 64"),
            (b"\0\0\x08\x04" + b"\0\x01\0\0" * 4, "needs 18446744073709551636"),
            (GOOD[:7], "ends within its header of 12 bytes"),
            (GOOD[:-1], "holds 17 bytes, but its header (3, 2) needs 18"),
            (GOOD + b"x", "holds 19 bytes"),
            (gzip.compress(GOOD, mtime=0)[:-9], "cannot be read"),
            (b"\x1f\x8b" + b"rubbish" * 9, "cannot be read"),
        ],
    )
    def test_wrong_files(self, tmp_path: Path, content: bytes, said: str) -> None:
        path = tmp_path / "train-images-idx3-ubyte"
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)
        assert said in str(caught.value)


class TestMnist:
    @pytest.fixture(autouse=True)
    def _no_other_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XBAR_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("XBAR_DATA", raising=False)

    def test_real_files(self, shared_data: Path) -> None:
        mnist = load_mnist(shared_data / "mnist")
        assert mnist.train_inputs.shape == (60000, 1, 28, 28)
        assert mnist.test_inputs.shape == (10000, 1, 28, 28)
        assert mnist.test_targets.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert (mnist.train_inputs.min(), mnist.train_inputs.max()) == (0, 1)

    def test_found_through_the_environment(self, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XBAR_DATA", str(shared_data))
        assert len(load_mnist().test_targets) == 10000

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no train-images-idx3-ubyte and no .*\.gz"):
            load_mnist(tmp_path)

    def test_wrong_shape(self, tmp_path: Path) -> None:
        for name in data.MNIST_FILES:
            (tmp_path / name).write_bytes(idx(np.zeros((4, 28, 28), np.uint8)))
        with pytest.raises(DataError, match=r"holds \(4, 28, 28\), MNIST has \(60000, 28, 28\)"):
            load_mnist(tmp_path)

    def test_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XBAR_DATA", str(tmp_path / "given"))

        def refuse(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr("urllib.request.urlopen", refuse)
        with pytest.raises(DataError) as caught:
            load_mnist()
        looked_in = (str(tmp_path / "cache" / "mnist"), str(tmp_path / "given" / "mnist"))
        names = (*data.MNIST_FILES, data.MNIST_MIRROR)
        for part in ("cannot be reached", "no route to host", "--data DIR", "XBAR_DATA", "digits", *looked_in, *names):
            assert part in str(caught.value)

    def test_download_not_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("urllib.request.urlopen", None)
        with pytest.raises(DataError, match=r"may not be downloaded.*--data DIR"):
            load_mnist(download=False)

    def test_broken_off_download(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class BrokenOff(io.BytesIO):
            def read(self, *_: object) -> bytes:
                raise http.client.IncompleteRead(b"half")

        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: BrokenOff())
        with pytest.raises(DataError, match="cannot be reached"):
            load_mnist()
        assert not list((tmp_path / "cache").rglob("*.*"))

    def test_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cache").write_bytes(b"a file, not a folder")
        content = b"content"
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        monkeypatch.setattr(data, "MNIST_FILES", {name: (md5, s) for name, (_, s) in data.MNIST_FILES.items()})
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(content))
        with pytest.raises(DataError, match=r"cannot be written.*set XBAR_CACHE"):
            load_mnist()

    def test_wrong_checksum_keeps_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"not MNIST"))
        with pytest.raises(DataError, match="nothing was kept"):
            load_mnist()
        assert not list((tmp_path / "cache").rglob("*.*"))

    def test_download_is_kept_when_its_checksum_is_right(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = {name: gzip.compress(idx(np.zeros(shape, np.uint8))) for name, (_, shape) in data.MNIST_FILES.items()}
        official = {
            name: (hashlib.md5(content[name], usedforsecurity=False).hexdigest(), shape)
            for name, (_, shape) in data.MNIST_FILES.items()
        }
        monkeypatch.setattr(data, "MNIST_FILES", official)
        asked = []

        def answer(address: str, **_: object) -> io.BytesIO:
            asked.append(address)
            return io.BytesIO(content[address.rsplit("/", 1)[1].removesuffix(".gz")])

        monkeypatch.setattr("urllib.request.urlopen", answer)
        assert len(load_mnist().train_targets) == 60000
        assert len(load_mnist().train_targets) == 60000
        assert len(asked) == 4
        assert all(address.startswith(data.MNIST_MIRROR) for address in asked)


class TestDigits:
    def test_split_covers_all_images_once(self) -> None:
        digits = load_digits()
        assert (len(digits.train_targets), len(digits.test_targets)) == (1437, 360)
        share = digits.test_targets.bincount() / (digits.test_targets.bincount() + digits.train_targets.bincount())
        assert torch.allclose(share, torch.full((10,), 0.2), atol=0.005)
        everything = torch.cat((digits.train_inputs, digits.test_inputs)).flatten(1)
        source = torch.from_numpy(sklearn.datasets.load_digits().data / 16).float()
        assert sorted(everything.tolist()) == sorted(source.tolist())
        assert digits.train_inputs.shape[1:] == (1, 8, 8)
        assert (digits.train_inputs.min(), digits.train_inputs.max()) == (0, 1)

    def test_split_follows_the_seed(self) -> None:
        assert load_digits().digest == load_digits(0).digest != load_digits(1).digest

    def test_digest_names_the_data(self) -> None:
        one, other = load_digits(), load_digits()
        assert one.digest == other.digest
        other.train_inputs[0, 0, 0, 0] += 1
        assert (
            Dataset(
                "x", *(getattr(other, p) for p in ("train_inputs", "train_targets", "test_inputs", "test_targets"))
            ).digest
            != one.digest
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_inputs": torch.zeros(3, 1, 8, 8, dtype=torch.float64)}, "train_inputs must be float32"),
        ({"test_inputs": torch.zeros(0, 1, 8, 8)}, "test_inputs must be float32"),
        ({"train_targets": torch.zeros(2, dtype=torch.int64)}, "train_targets must be one a sample"),
        ({"train_targets": torch.zeros(3)}, "train_targets must be int64"),
        ({"test_targets": torch.tensor([-1, 0, 1])}, "test_targets must be int64"),
        ({"test_targets": torch.tensor([0, 1, 0])}, "test_targets must be below 1 as train_targets are, got 1"),
        ({"test_inputs": torch.zeros(3, 1, 8, 9)}, r"test_inputs must be float32 \(1, 8, 8\) each as train_inputs are"),
        ({"train_inputs": torch.full((3, 1, 8, 8), float("nan"))}, "finite"),
    ],
)
def test_wrong_images(change: dict[str, torch.Tensor], said: str) -> None:
    images, labels = torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64)
    parts = {"train_inputs": images, "train_targets": labels, "test_inputs": images, "test_targets": labels}
    with pytest.raises(DataError, match=said):
        Dataset("tiny", **(parts | change))

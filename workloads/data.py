"""Data sets in their official formats, checked at the door; where they are looked for, and where they are kept."""

import gzip
import hashlib
import http.client
import math
import os
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from xbar.workloads.task import CLASSIFICATION, NEXT_TOKEN, REGRESSION, Metric, Task

MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Official files with the MD5 of the .gz as published (torchvision's mirror list) and the shape they must hold.
MNIST_FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", (60000, 28, 28)),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", (60000,)),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", (10000, 28, 28)),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", (10000,)),
}
IDX_UNSIGNED_BYTE = 8  # the type code of the IDX format
LARGEST_RANK = 64  # dimensions that a numpy array can have
DOWNLOAD_SECONDS = 60
# CIFAR-10's binary version: files of 10,000 records, each a label byte and 3 x 32 x 32 pixels, channel by channel.
CIFAR10_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST_FILE = "test_batch.bin"
CIFAR10_SHAPE = (3, 32, 32)
CIFAR10_IMAGES = 10_000  # a file
CIFAR10_HELD_OUT = 5000  # the last of the fifth training file: validation, of every baseline and every compressed network alike
CIFAR10_PLACES = ("", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin")
CIFAR10_MEAN, CIFAR10_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the published ResNets were trained with
DIGITS_TEST_IMAGES = 360


class DataError(ValueError):
    """A data file is missing, corrupt, or not what its name says; the message names it and what is expected."""


PARTS = ("train_inputs", "train_targets", "test_inputs", "test_targets")


@dataclass(frozen=True)
class Dataset:
    """Samples in two parts, to train on and to judge by, and what is asked of a network for them.

    inputs: float32 or, of tokens, int64, (n, ...); targets by the task: int64 (n,) classes from 0; float32 (n, ...); int64
    (n, length) tokens. samples: what one is called in reports, plural. keys, source: what its user calls the four parts, and where they
    are from, for messages.
    """

    name: str
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    task: Task = CLASSIFICATION
    samples: str = "images"
    keys: tuple[str, str, str, str] = PARTS
    source: str = ""
    held_out: int = 0

    def __post_init__(self) -> None:
        x_train, y_train, x_test, y_test = (self._refuse(part) for part in PARTS)
        for x, y, inputs, targets in ((x_train, y_train, self.train_inputs, self.train_targets),
                                      (x_test, y_test, self.test_inputs, self.test_targets)):  # fmt: skip
            if inputs.dim() < 2 or not len(inputs) or inputs.dtype not in (torch.float32, torch.int64):
                raise x(f"must be float32, or int64 tokens, (n, ...) of one sample or more, got {_told(inputs)}")
            if len(targets) != len(inputs):
                raise y(f"must be one a sample, {len(inputs)}, got {tuple(targets.shape)}")
            self._check_targets(y, targets)
            if not bool(torch.isfinite(inputs).all()):
                raise x(f"must be finite in float32, {_first_not_finite(inputs)}")
        for at, test, train in ((2, self.test_inputs, self.train_inputs), (3, self.test_targets, self.train_targets)):
            if test.shape[1:] != train.shape[1:] or test.dtype != train.dtype:
                raise self._refuse(PARTS[at])(f"must be {_told(train[0])} each as {self.keys[at - 2]} are, got {_told(test[0])}")
        if self.task.name == CLASSIFICATION.name and (largest := int(self.test_targets.max())) >= self.classes:
            raise y_test(f"must be below {self.classes} as {self.keys[1]} are, got {largest}")

    def _refuse(self, part: str) -> Callable[[str], DataError]:
        """What makes the error of a part, named as its user does."""
        return lambda text: DataError(f"{self.told}: {self.keys[PARTS.index(part)]} {text}")

    def _check_targets(self, refuse: Callable[[str], DataError], targets: Tensor) -> None:
        """Raise DataError where they are not what the task asks."""
        if self.task.name == REGRESSION.name:
            if targets.dtype != torch.float32:
                raise refuse(f"must be float32 for a regression, got {_told(targets)}")
            if not bool(torch.isfinite(targets).all()):
                raise refuse(f"must be finite in float32, {_first_not_finite(targets)}")
            return
        rank, what = (1, "classes (n,)") if self.task.name == CLASSIFICATION.name else (2, "tokens (n, length)")
        if targets.dtype != torch.int64 or targets.dim() != rank:
            raise refuse(f"must be int64 {what} from 0 on for {self.task.name}, got {_told(targets)}")
        if not targets.numel() or int(targets.min()) < 0:
            raise refuse(f"must be int64 {what} from 0 on, got {_told(targets)}"
                         + (f" from {int(targets.min())} to {int(targets.max())}" if targets.numel() else ""))  # fmt: skip

    @property
    def told(self) -> str:
        """What messages call it: where it is from, or its name."""
        return self.source or self.name

    @property
    def classes(self) -> int:
        """Of a classification: as many as the largest training target says."""
        return int(self.train_targets.max()) + 1

    @property
    def tokens(self) -> int | None:
        """Of a sample where the next token is asked for."""
        return self.train_targets.shape[1] if self.task.name == NEXT_TOKEN.name else None

    @property
    def metric(self) -> Metric:
        """What networks are judged by."""
        return self.task.metric

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all samples and of what is asked, for names of files that depend on them."""
        hashed = hashlib.sha256()
        for part in (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets):
            hashed.update(_bytes(part))
        if self.task != CLASSIFICATION:
            hashed.update(f"{self.task.name} {self.metric.name} {self.metric.depends}".encode())
        return hashed.hexdigest()


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _first_not_finite(tensor: Tensor) -> str:
    """How many numbers are none, and the first of them."""
    wrong = ~torch.isfinite(tensor)
    place = tuple(wrong.nonzero()[0].tolist())
    return f"{int(wrong.sum())} of {tensor.numel()} values are not; the first at {list(place)}: {float(tensor[place]):g}"


def samples_digest(inputs: Tensor, targets: Tensor) -> str:
    """SHA-256 of samples in their order, with their shapes and types."""
    hashed = hashlib.sha256()
    for part in (inputs, targets):
        hashed.update(f"{tuple(part.shape)} {part.dtype} ".encode())
        hashed.update(_bytes(part))
    return hashed.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    """What a tensor holds, as it lies in memory where it is contiguous."""
    return tensor.contiguous().view(-1).numpy().data


def without_held_out(data: Dataset) -> Dataset:
    """The data without the training samples that are held out of all training."""
    return first_samples(data, len(data.train_targets) - data.held_out) if data.held_out else data


def first_samples(data: Dataset, most: int) -> Dataset:
    """The data with at most so many of its training samples."""
    cut = max(0, len(data.train_targets) - most)
    return replace(data, train_inputs=data.train_inputs[:most], train_targets=data.train_targets[:most],
                   held_out=max(0, data.held_out - cut))  # fmt: skip


def cache_directory() -> Path:
    """Where downloads and trained weights are kept: XBAR_CACHE, or the user's cache directory."""
    return Path(os.environ.get("XBAR_CACHE") or platformdirs.user_cache_dir("xbar"))


def load_digits(seed: int = 0) -> Dataset:
    """scikit-learn's 1,797 real handwritten digits of 8 x 8 pixels (UCI, E. Alpaydin and C. Kaynak, 1998), pixels
    from 0 to 1; `seed` draws 360 test images, the same share of every class."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    bunch = load()
    images = torch.from_numpy(bunch.images / 16).float().unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(
        np.arange(len(labels)), test_size=DIGITS_TEST_IMAGES, stratify=bunch.target, random_state=seed
    )
    return Dataset("scikit-learn digits", images[train], labels[train], images[test], labels[test])


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, gzipped or not; raises DataError for anything else."""
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != IDX_UNSIGNED_BYTE or not 1 <= data[3] <= LARGEST_RANK:
        raise DataError(
            f"{path}: begins with {data[:4].hex() or 'nothing'}, an IDX file of bytes with 000008 and a rank "
            f"from 1 to {LARGEST_RANK}"
        )
    rank = data[3]
    header = 4 + 4 * rank
    if len(data) < header:
        raise DataError(f"{path}: ends within its header of {header} bytes")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, 4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise DataError(f"{path}: holds {len(data)} bytes, but its header {shape} needs {expected}")
    try:
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    except ValueError as error:  # a dimension of 0 among such as no array has
        raise DataError(f"{path}: its header {shape} is of no array: {error}") from None


def load_mnist(directory: Path | None = None, download: bool = True) -> Dataset:
    """MNIST (Y. LeCun, C. Cortes, C. Burges) from its four official IDX files, pixels from 0 to 1.

    Looked for in `directory`; without one in XBAR_DATA (itself or its folder mnist), then in the cache, and at
    last, with `download`, fetched from the mirror into the cache, MD5 verified. Raises DataError saying what was tried.
    """
    folder = directory if directory is not None else _mnist_folder(download)
    arrays = {}
    for name, (_, shape) in MNIST_FILES.items():
        path = _idx_path(folder, name)
        if path is None:
            raise DataError(f"{folder}: no {name} and no {name}.gz; the folder must hold {', '.join(MNIST_FILES)}")
        arrays[name] = read_idx(path)
        if arrays[name].shape != shape:
            raise DataError(f"{path}: holds {arrays[name].shape}, MNIST has {shape}")
    parts = []
    for part in ("train", "t10k"):
        labels = arrays[f"{part}-labels-idx1-ubyte"]
        if labels.max() > 9:
            raise DataError(f"{folder}: {part} labels go up to {labels.max()}, MNIST's from 0 to 9")
        images = arrays[f"{part}-images-idx3-ubyte"]
        parts += [torch.from_numpy(images / np.float32(255)).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))]
    return Dataset("MNIST", *parts)


def read_cifar10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 3, 32, 32) and labels (n,), bytes, of a file of CIFAR-10's binary version; DataError for anything else."""
    record = 1 + math.prod(CIFAR10_SHAPE)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not len(data) or len(data) % record:
        raise DataError(f"{path}: holds {len(data)} bytes, not records of {record} (a label and 3 x 32 x 32 pixels)")
    records = data.reshape(-1, record)
    if records[:, 0].max() > 9:
        raise DataError(f"{path}: labels go up to {records[:, 0].max()}, CIFAR-10's from 0 to 9")
    return records[:, 1:].reshape(-1, *CIFAR10_SHAPE), records[:, 0]


def load_cifar10(directory: Path | None = None) -> Dataset:
    """CIFAR-10 (A. Krizhevsky, 2009) from the six files of its binary version, channels normalised around 0.

    Looked for in `directory`, without one in XBAR_DATA: there, or in its folder cifar10 or cifar-10-batches-bin.
    Normalised as ImageNet is, by CIFAR10_MEAN and CIFAR10_STD. The last 5,000 training images are held out of all training. Raises
    DataError saying where it looked.
    """
    folder = cifar10_folder(directory)
    parts: list[Tensor] = []
    for names in (CIFAR10_TRAIN_FILES, (CIFAR10_TEST_FILE,)):
        read = [read_cifar10(folder / name) for name in names]
        for name, (_, labels) in zip(names, read, strict=True):
            if len(labels) != CIFAR10_IMAGES:
                raise DataError(f"{folder / name}: holds {len(labels)} images, CIFAR-10's files {CIFAR10_IMAGES}")
        images = torch.from_numpy(np.concatenate([pixels for pixels, _ in read])).float()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CIFAR10_MEAN, CIFAR10_STD))
        images.div_(255).sub_(mean).div_(std)
        parts += [images, torch.from_numpy(np.concatenate([labels for _, labels in read]).astype(np.int64))]
    return Dataset("CIFAR-10", *parts, held_out=CIFAR10_HELD_OUT)


def cifar10_folder(directory: Path | None) -> Path:
    """The first folder that has all six files."""
    names = (*CIFAR10_TRAIN_FILES, CIFAR10_TEST_FILE)
    given = directory or os.environ.get("XBAR_DATA")
    candidates = [Path(given) / place for place in CIFAR10_PLACES] if given else []
    for folder in candidates:
        if all((folder / name).is_file() for name in names):
            return folder
    looked = f"Looked in {', '.join(str(folder) for folder in candidates)}. " if candidates else ""
    raise DataError(
        f"CIFAR-10 is not at hand. {looked}Give the folder of its binary version ({', '.join(names)}) with --data DIR, or "
        "as cifar10 in the folder XBAR_DATA"
    )


def _idx_path(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _mnist_folder(download: bool) -> Path:
    """A folder that has all MNIST files, or the cache after a download."""
    given = os.environ.get("XBAR_DATA")
    candidates = [Path(given) / "mnist", Path(given)] if given else []
    cache = cache_directory() / "mnist"
    for folder in [*candidates, cache]:
        if all(_idx_path(folder, name) for name in MNIST_FILES):
            return folder
    advice = (
        f"Looked in {', '.join(str(folder) for folder in (*candidates, cache))}. Give the folder of the four official "
        f"files ({', '.join(MNIST_FILES)}, with or without .gz) with --data DIR or XBAR_DATA, or run the workload "
        "digits, which needs no download"
    )
    if not download:
        raise DataError(f"MNIST is not at hand and may not be downloaded. {advice}")
    for name, (md5, _) in MNIST_FILES.items():
        if not _idx_path(cache, name):
            _download(f"{MNIST_MIRROR}{name}.gz", cache / f"{name}.gz", md5, advice)
    return cache


def _download(address: str, path: Path, md5: str, advice: str) -> None:
    """Fetch a file and keep it only if its MD5 is right; `advice` ends the error when it cannot be fetched."""
    try:
        with urllib.request.urlopen(address, timeout=DOWNLOAD_SECONDS) as answer:
            data = answer.read()
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        raise DataError(f"MNIST is not at hand and {address} cannot be reached ({error}). {advice}") from None
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{address}: MD5 is {found}, the official file's is {md5}; nothing was kept")
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); set XBAR_CACHE to a folder that can be") from None

"""Model and data together: with weights that ship with the project (`models/weights/`), or from a file, or trained on first use and
kept in the cache; untrained networks, for cost alone."""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from xbar import models
from xbar.compression.errors import CompressionError
from xbar.compression.state import are_numbers, learned_ranges, rebuild
from xbar.hw.errors import TraceError, did_you_mean
from xbar.hw.graph.capture import capture
from xbar.models import VGG16, CharacterGPT, DigitsCNN, DigitsViT, LeNet5, ResNet18, ResNet20, RowLSTM
from xbar.models.lenet import LeNet5Caffe
from xbar.models.limaml import GlobalBlock
from xbar.workloads.compute import CPU, moved, torch_device
from xbar.workloads.data import (
    DataError,
    Dataset,
    cache_directory,
    load_cifar10,
    load_digits,
    load_mnist,
    without_held_out,
)
from xbar.workloads.offered import NETWORKS, file_of, is_own
from xbar.workloads.own import ARRAYS, code_of, dataset, judged, own_metric, own_network, trained_own
from xbar.workloads.text.data import load_pydoc, windows_of
from xbar.workloads.text.training import GPT_RECIPE, TextRecipe, train_language_model
from xbar.workloads.training import (
    Recipe,
    TrainingError,
    initialise,
    read_state,
    save_state,
    score,
    state_digest,
    train_network,
)

CALIBRATION_SAMPLES = 200
DIGEST = 16  # signs of a digest that results keep
EMBEDDED = ("digits", "vit", "rows", "gpt")  # bring their data
_T = TypeVar("_T")


@dataclass(frozen=True)
class Workload:
    """A trained model with its data. float_score: by the data's metric on all test samples, before anything is put on a chip.
    code: what it depends on besides weights and data, where it is one of a user's own; host: names of its modules that a host
    computes; input_ranges: lowest and highest input by layer where they were learned in compression (`xbar.hw.convert`)."""

    name: str
    title: str
    model: nn.Module
    data: Dataset
    float_score: float
    code: str = ""
    host: tuple[str, ...] = ()
    input_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def calibration_inputs(self) -> Tensor:
        """Training samples that set the ranges of a chip's converters."""
        return self.data.train_inputs[:CALIBRATION_SAMPLES]

    @property
    def digests(self) -> dict[str, str]:
        """The first 16 signs of a SHA-256 each of the weights (names, shapes, bits), of the code (as `own.code_of`, or, where no file is
        known, the graph that is captured, and modules of a host) and of all data and what is asked of them."""
        code = self.code or _graph_of(self.model, self.calibration_inputs[:2])
        ranges = f" {sorted(self.input_ranges.items())}" if self.input_ranges else ""
        told = hashlib.sha256(f"{code} {self.host}{ranges}".encode()).hexdigest()
        return {f"{name}_digest": value[:DIGEST] for name, value in
                (("weights", state_digest(self.model)), ("code", told), ("data", self.data.digest))}  # fmt: skip


def _graph_of(model: nn.Module, example: Tensor) -> str:
    """The graph that is captured of a model, as text; its modules where it is not captured as a whole, as of one with a host."""
    try:
        return str(capture(model, example).graph)
    except TraceError:
        return str(model)


@dataclass(frozen=True)
class _Entry:
    """recipe: None where trained weights are given in a file."""

    build: Callable[[], nn.Module]
    recipe: Recipe | TextRecipe | None


_COLOUR = Recipe(epochs=12, batch=128, learning_rate=2e-3, weight_decay=0.05, shift=4, flip=True, bfloat16=True, products=True)

_ENTRIES = {
    "digits": _Entry(DigitsCNN, Recipe(epochs=120, batch=64, learning_rate=2e-2, weight_decay=0.3)),
    "lenet5": _Entry(LeNet5, Recipe(epochs=8, batch=128, learning_rate=4e-3, shift=1)),
    "lenet5-caffe": _Entry(LeNet5Caffe, Recipe(epochs=10, batch=128, learning_rate=2e-3, shift=1)),
    "resnet20": _Entry(ResNet20, None),
    "vgg16": _Entry(VGG16, _COLOUR),
    "resnet18": _Entry(ResNet18, replace(_COLOUR, epochs=6)),
    "vit": _Entry(DigitsViT, Recipe(epochs=100, batch=64, learning_rate=3e-3, weight_decay=0.1, shift=1)),
    "rows": _Entry(RowLSTM, Recipe(epochs=60, batch=64, learning_rate=1e-2, weight_decay=0.05, shift=1)),
    "gpt": _Entry(CharacterGPT, GPT_RECIPE),
}  # titles and sizes of each: workloads/offered.py

_SHAPES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "vit": (DigitsViT, (1, 8, 8), 0.0),
    "rows": (RowLSTM, (1, 8, 8), 0.0),
    "digits": (DigitsCNN, (1, 8, 8), 0.0),
    "lenet5": (LeNet5, (1, 28, 28), 0.0),
    "lenet5-caffe": (LeNet5Caffe, (1, 28, 28), 0.0),
    "resnet20": (ResNet20, (3, 32, 32), -0.5),
    "resnet18": (ResNet18, (3, 32, 32), -0.5),
    "vgg16": (VGG16, (3, 32, 32), -0.5),
    "recommender": (lambda: GlobalBlock(72), (72,), -0.5),
}  # input shape, and where its values begin: colour images are normalised around 0


def load_workload(
    name: str, seed: int = 0, data_directory: Path | None = None, progress: bool = False, weights: Path | None = None,
    train: bool = False, task: str | None = None, metric: str | None = None,
    host: Sequence[str] = (), most_epochs: int | None = None, compute: str = CPU,
) -> Workload:  # fmt: skip
    """The workload of that name with trained weights: those of the file `weights`; else, for seed 0, the shipped ones where
    there are any (`shipped_weights`); else trained here with `seed`, or as trained here and kept in the cache before.

    most_epochs: of a training here, to try something out; its weights are kept apart from those of the whole training. compute: where
    it trains (`xbar.workloads.compute.torch_device`); weights trained elsewhere than on the CPU are kept apart too.

    `train` asks for the last also where weights are shipped. Training ends in the same bits on one computer, and in slightly
    others where a processor adds up in another order; the shipped weights are the same everywhere.

    A name that is a file (`xbar.workloads.offered.is_own`) is a network of one's own, on the data that `data_directory` names
    (`xbar.workloads.own.dataset`), with the weights that it brings unless `weights` or `train` is given. task, metric, for
    such a network: as `xbar.workloads.own` has them; host: its modules that a host computes.

    Raises ValueError for an unknown name or for `train` beside `weights`, DataError where the data or weights are not at hand,
    or where `train` is asked of a network that is only read from a file.
    """
    if train and weights is not None:
        raise ValueError(f"train = True: weights are given, {weights}; one of the two")
    if is_own(name):
        return _own(name, seed, data_directory, progress, weights, train, task, metric, tuple(host), compute)
    for what, value in (("task", task), ("metric", metric), ("host", ", ".join(host) or None)):
        if value is not None:
            raise DataError(f"{what} = {value}: is for networks of one's own; {name} has its own")
    entry = _known(name, _ENTRIES)
    if data_directory is not None and name in EMBEDDED:
        raise DataError(f"data = {data_directory}: is of no use to {name}, which brings its data")
    if train and entry.recipe is None:
        raise DataError(f"{name} is not trained here: its weights are read from a file, --weights FILE or {name}/{name}.pt in XBAR_DATA")
    shipped = shipped_weights(name) if seed == 0 and not train else None
    if entry.recipe is None or weights or shipped:
        path = weights or shipped or _weights_path(name, data_directory)
        data = _LOADERS[name](data_directory)
        model = load_weights(initialise(entry.build, seed), path, data.train_inputs[:2]).eval()
    else:
        data = _LOADERS[name](data_directory)
        recipe = entry.recipe if most_epochs is None else replace(entry.recipe, epochs=min(entry.recipe.epochs, most_epochs))
        model = _trained(name, entry, recipe, data, seed, progress, compute)
    reached = score(model, data.test_inputs, data.test_targets, data.metric)
    return Workload(name, NETWORKS[name].title, model, data, reached, input_ranges=learned_ranges_of(weights))


def _own(
    name: str, seed: int, source: Path | None, progress: bool, weights: Path | None, train: bool, task: str | None, metric: str | None,
    host: tuple[str, ...], compute: str,
) -> Workload:  # fmt: skip
    """A network of one's own, as `load_workload` says."""
    if source is None:
        raise DataError(f"{name}: needs its data: --data FILE.npz of {', '.join(ARRAYS)}, or --data FILE.py:FUNCTION")
    data = dataset(source, task=task, metric=None if metric is None else own_metric(metric))
    model = own_network(name, data.train_inputs, seed)
    if weights is not None:
        model = load_weights(model, weights, data.train_inputs[:2]).eval()
    elif train:
        model = trained_own(model, data, name, seed, progress, compute=compute)
    found = judged(model, data, name)
    return Workload(name, Path(file_of(name)[0]).name, model, data, found, code_of(name, metric), host, learned_ranges_of(weights))


_LOADERS: dict[str, Callable[[Path | None], Dataset]] = {
    "vit": lambda directory: load_digits(), "rows": lambda directory: load_digits(), "gpt": lambda directory: windows_of(load_pydoc()),
    "digits": lambda directory: load_digits(), "lenet5": load_mnist, "lenet5-caffe": load_mnist, "resnet20": load_cifar10,
    "resnet18": load_cifar10, "vgg16": load_cifar10,
}  # fmt: skip


def load_weights(model: nn.Module, path: Path, example: Tensor | None = None) -> nn.Module:
    """`model` with the state of a file that torch.save wrote; raises DataError for another network's or no state.

    The state may lie under "state_dict", its names may begin with "module.", as torch's DataParallel leaves them. With an
    example input (batch, ...) it may also be what `xbar compress` wrote: the smaller network of that kind then.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of trained weights")
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises IndexError, KeyError and others for bytes that are no state
        raise DataError(f"{path}: not a file of weights that torch reads safely: {error}") from None
    if example is not None and isinstance(state, dict) and "format" in state:
        try:
            return rebuild(model, example, state)
        except CompressionError as error:
            raise DataError(f"{path}: {error}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: holds no state dict, tensors by name")
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    wanted = model.state_dict()
    shapes = {key: tuple(value.shape) for key, value in wanted.items()}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}  # of no use after training
    for key in sorted(set(state) ^ set(wanted)):
        if key not in counters:
            what = f"has {key}, which" if key in state else f"lacks {key}, which"
            raise DataError(f"{path}: {what} the network {'lacks' if key in state else 'has'}")
    for key, value in state.items():
        if not are_numbers(value):
            raise DataError(f"{path}: {key} must be finite real numbers, dense as torch.save keeps a network's own")
        if tuple(value.shape) != shapes.get(key, tuple(value.shape)):
            raise DataError(f"{path}: {key} is {tuple(value.shape)}, the network's {shapes[key]}")
    model.load_state_dict(wanted | state)
    return model


def learned_ranges_of(path: Path | None) -> dict[str, tuple[float, float]]:
    """Ranges of inputs by layer that a compression learned and kept with its weights; none of other files, and without one. Raises
    DataError for what are no ranges."""
    if path is None:
        return {}
    state = torch.load(path, weights_only=True, map_location="cpu")
    try:
        return learned_ranges(state) if isinstance(state, dict) and "format" in state else {}
    except CompressionError as error:
        raise DataError(f"{path}: {error}") from None


def shipped_weights(name: str) -> Path | None:
    """The file of weights of that network which ships with the project, trained with seed 0; None where none does.

    `models/weights/README.md` tells how each was trained.
    """
    path = Path(str(models.__file__)).parent / "weights" / f"{name}.pt"
    return path if path.is_file() else None


def _weights_path(name: str, directory: Path | None) -> Path:
    """The file of trained weights in a data folder."""
    given = [Path(folder) for folder in (directory, os.environ.get("XBAR_DATA")) if folder]
    candidates = [folder / place for folder in given for place in (f"{name}.pt", f"{name}/{name}.pt")]
    for path in candidates:
        if path.is_file():
            return path
    looked = f" Looked for {', '.join(str(path) for path in candidates)}." if candidates else ""
    raise DataError(
        f"{name} needs trained weights.{looked} Give a state dict that torch.save wrote with --weights FILE, or as "
        f"{name}/{name}.pt in the folder XBAR_DATA"
    )


def untrained(name: str, seed: int = 0, source: str | Path | None = None) -> tuple[nn.Module, Tensor]:
    """A network with initial weights and an example input of its shape (2, ...), for time, energy and area; source: data of a
    network of one's own, which comes with its weights."""
    if is_own(name):
        if source is None:
            raise DataError(f"{name}: needs data, whose first inputs are its example: FILE.npz or FILE.py:FUNCTION")
        example = dataset(source).train_inputs[:2]
        return own_network(name, example, seed), example
    if name == "gpt":
        return initialise(CharacterGPT, seed).eval(), windows_of(load_pydoc()).train_inputs[:2]
    build, shape, low = _known(name, _SHAPES)
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)) + low
    return initialise(build, seed).eval(), example


def _known(name: str, table: Mapping[str, _T]) -> _T:
    if name not in table:
        raise ValueError(f"unknown workload {name!r}; known: {', '.join(table)}{did_you_mean(name, table)}")
    return table[name]


def _trained(
    name: str, entry: _Entry, recipe: Recipe | TextRecipe, data: Dataset, seed: int, progress: bool, compute: str
) -> nn.Module:
    """The trained model from the cache, or trained now and put there; training samples that are held out are not learnt."""
    data, device = without_held_out(data), torch_device(compute)
    where = "" if device.type == CPU else f" {device.type}"
    identity = hashlib.sha256(f"{recipe} {data.digest} {seed}{where}".encode()).hexdigest()[:16]
    path = cache_directory() / "weights" / f"{name}-{identity}.pt"
    if path.is_file():
        kept = initialise(entry.build, seed).eval()
        try:
            kept.load_state_dict(read_state(path))
            return kept
        except (TrainingError, RuntimeError) as error:
            print(f"{error}; training again", file=sys.stderr)
    model = initialise(entry.build, seed)  # not `kept`, which a file of other weights may have changed in part
    checkpoint = path.with_suffix(".checkpoint")
    with moved(model, device):
        if isinstance(recipe, TextRecipe):
            train_language_model(model, load_pydoc(), recipe, seed, checkpoint, progress)
        else:
            train_network(model, data, recipe, seed, checkpoint, progress)
    save_state(model.state_dict(), path)
    checkpoint.unlink(missing_ok=True)
    return model

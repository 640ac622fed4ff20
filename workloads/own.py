"""A user's own network and data: a function of a Python file, a .pt2 file of `torch.export.save`, an .onnx file; arrays of an .npz file
or of a function.

Files of Python are run as they are. What they import from their own folder is found there.
"""

import hashlib
import importlib.util
import random
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xbar.workloads.data import DataError, Dataset, cache_directory
from xbar.workloads.exported import HOW, load_exported, load_onnx
from xbar.workloads.offered import file_of
from xbar.workloads.task import CLASSIFICATION, NEXT_TOKEN, REGRESSION, TASKS, Metric, Task
from xbar.workloads.training import Recipe, TrainingError, read_state, save_state, state_digest, train_network

BESIDE = ("*.py", "*.pt", "*.pth", "*.ckpt", "*.safetensors")  # what a file of Python may read from its folder
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
RECIPE = Recipe(epochs=20, batch=64, learning_rate=2e-3)
CHANCE_SIGMAS = 3.0  # an accuracy within so many standard errors of guessing is told


class UntrainedWarning(UserWarning):
    """A network judges no better than guessing."""


# ---- data


def dataset(source: Any, name: str = "", task: str | None = None, metric: Metric | None = None) -> Dataset:
    """The data that `source` is or gives: a Dataset as it is; a mapping of arrays x_train, y_train, x_test, y_test; a pair (train, test)
    of what yields batches (inputs, targets), as torch's loaders do; a path of an .npz file of such arrays; or FILE.py:FUNCTION, which
    gives any of these.

    Whole numbers are tokens or classes, others become float32. task: one of `TASKS`, else as the targets are: classes where they are
    whole numbers (n,), the next token where they are whole numbers of the inputs' shape, else values. Raises DataError.
    """
    if isinstance(source, str | Path):
        name = name or Path(file_of(str(source))[0]).stem
        source = _named(str(source))
    if isinstance(source, Dataset):
        found = source
    else:
        arrays = source if isinstance(source, Mapping) else _gathered(source, name)
        parts = {key: _tensor(arrays, key, name) for key in ARRAYS}
        found = Dataset(name or "own data", *_matched(parts), task=_task(parts, task, name), samples="samples")
    if task is not None and found.task.name != task:
        raise DataError(f"{found.name}: is for {found.task.name}, not {task}")
    return found if metric is None else replace(found, task=replace(found.task, metric=metric))


def _named(text: str) -> Any:
    path, attribute = file_of(text)
    if path.endswith(".py"):
        return called(text, "data")
    if attribute or not path.endswith(".npz"):
        raise DataError(f"data {text}: must be an .npz file of {', '.join(ARRAYS)}, or FILE.py:FUNCTION that gives them")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError) as error:  # BadZipFile is an OSError's cousin: zipfile's own class
        raise DataError(f"{path}: cannot be read as .npz: {error}") from None
    except Exception as error:
        raise DataError(f"{path}: is no .npz file: {error}") from None


def _gathered(source: Any, name: str) -> dict[str, Any]:
    """The arrays of two loaders."""
    try:
        train, test = source
    except (TypeError, ValueError):
        raise DataError(f"{name or 'data'}: must be a Dataset, arrays {', '.join(ARRAYS)} by name, or two loaders, train and test, got "
                        f"{type(source).__name__}") from None  # fmt: skip
    found = {}
    for part, loader in (("train", train), ("test", test)):
        try:
            pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in loader]
            found[f"x_{part}"], found[f"y_{part}"] = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{name or 'data'}: the {part} loader must yield batches (inputs, targets): {error}") from None
    return found


def _tensor(arrays: Mapping[str, Any], key: str, name: str) -> Tensor:
    if key not in arrays:
        raise DataError(f"{name or 'data'}: lacks {key}; needed are {', '.join(ARRAYS)}, there are {', '.join(arrays) or 'none'}")
    try:
        found = torch.as_tensor(np.asarray(arrays[key]))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name or 'data'}: {key} is no array of numbers: {error}") from None
    if found.is_complex():
        raise DataError(f"{name or 'data'}: {key} is complex; must be real")
    if found.dtype == torch.uint8 and key.startswith("x_") and found.dim() > 2:
        raise DataError(f"{name or 'data'}: {key} is uint8 {tuple(found.shape)}, as pixels are: give float32, as in x / 255. Whole numbers "
                        "are taken for tokens")  # fmt: skip
    return (found.float() if found.is_floating_point() else found.long()).contiguous()


def _matched(parts: dict[str, Tensor]) -> list[Tensor]:
    """Inputs and targets in order; a column of targets as a row of numbers."""
    return [each.squeeze(1) if key[0] == "y" and each.dim() == 2 and each.shape[1] == 1 else each for key, each in parts.items()]


def _task(parts: dict[str, Tensor], asked: str | None, name: str) -> Task:
    if asked is not None:
        if asked not in TASKS:
            raise DataError(f"{name or 'data'}: task = {asked!r}: must be one of {', '.join(TASKS)}")
        return TASKS[asked]
    x, y = parts["x_train"], parts["y_train"]
    if y.is_floating_point():
        if y.dim() == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all()):
            raise DataError(f"{name or 'data'}: y_train {tuple(y.shape)} is one-hot: give class numbers (n,), or task regression")
        return REGRESSION
    return NEXT_TOKEN if y.dim() == 2 and y.shape == x.shape and y.shape[1] > 1 else CLASSIFICATION


# ---- networks


def own_network(reference: str, example: Tensor, seed: int = 0) -> nn.Module:
    """The network that FILE.py:FUNCTION, FILE.pt2 or FILE.onnx names, in evaluation mode; example: inputs (n, ...) for it.

    A function takes no arguments and gives a torch module, with its weights; a class of modules does too. What is drawn while it is
    made depends on the seed alone. Raises DataError.
    """
    path, attribute = file_of(reference)
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file of a network")
    if path.endswith(".py"):
        model = called(reference, "network", seed)
        if not isinstance(model, nn.Module):
            raise DataError(f"{reference}: must give a torch module, got {type(model).__name__}")
        model = model.eval()
    elif attribute:
        raise DataError(f"{reference}: {attribute!r} is of no use to a {Path(path).suffix} file; give {path}")
    else:
        model = load_exported(Path(path), example) if path.endswith(".pt2") else load_onnx(Path(path), example)
    check_batches(model, example, reference)
    return model


def check_batches(model: nn.Module, example: Tensor, reference: str) -> None:
    """Raise DataError where a network cannot take batches of any size, or gives other than one tensor of them."""
    few = example[:1].repeat(3, *[1] * (example.dim() - 1))
    try:
        with torch.no_grad():
            found = model(few)
    except Exception as error:  # anything that a user's network may raise
        how = f"; a .pt2 file must be exported with a free batch axis, {HOW}" if reference.endswith(".pt2") else ""
        raise DataError(f"{reference}: fails on a batch of 3 inputs {tuple(example.shape[1:])}: {type(error).__name__}: "
                        f"{str(error).strip().splitlines()[0] if str(error).strip() else ''}{how}") from None  # fmt: skip
    if not isinstance(found, Tensor) or found.dim() < 1 or len(found) != 3:
        told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(f"{reference}: must give one tensor (n, ...) of n inputs, gives {told} of 3: wrap it in a module that does")


def own_metric(reference: str) -> Metric:
    """The metric that FILE.py:NAME names: a `Metric`, or a function of outputs (n, ...) and targets (n, ...) to one number, or one a
    sample (n,), whose attribute `better` is "high" or "low"; `title` and `unit`, "" of a share, may be others. Raises DataError."""
    found = _attribute_of(reference, "metric")
    code = hashlib.sha256(Path(file_of(reference)[0]).read_bytes()).hexdigest()
    if isinstance(found, Metric):
        return replace(found, code=code)
    better, name = getattr(found, "better", None), file_of(reference)[1]
    if not callable(found) or better not in ("high", "low"):
        raise DataError(f"{reference}: must be a Metric, or a function whose better is told: {name}.better = \"high\" or \"low\"")
    title, unit = getattr(found, "title", name.replace("_", " ").capitalize()), getattr(found, "unit", "units")
    return Metric(name, str(title), str(unit), better, found, code)


def code_of(*references: str | None) -> str:
    """What a network and metric depend on besides weights and data, as one text: the contents of the files that they name, of all
    Python files and weights beside one of Python, and of the weights that an .onnx file keeps beside it. Files elsewhere are not seen."""
    hashed = hashlib.sha256()
    for path in sorted({each for reference in references if reference is not None for each in _files(Path(file_of(reference)[0]))}):
        hashed.update(f"{path.name} ".encode() + path.read_bytes())
    return hashed.hexdigest()


def _files(path: Path) -> list[Path]:
    kinds = {".py": BESIDE, ".onnx": (f"{path.name}.data",)}.get(path.suffix, ())
    beside = [each for kind in kinds for each in path.parent.glob(kind)]
    return [each.resolve() for each in (path, *beside) if each.is_file()]


# ---- Python files


def called(reference: str, what: str, seed: int = 0) -> Any:
    """What FILE.py:NAME gives when it is called without arguments; what torch, numpy and random draw meanwhile depends on the seed
    alone. Raises DataError with the line of the file that failed."""
    with _seeded(seed):
        return _called(reference, what)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A block in which all usual generators begin at a seed; they are as before after it."""
    numpy_state, own_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - the one that users' files draw from
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(own_state)


def _called(reference: str, what: str) -> Any:
    found = _attribute_of(reference, what)
    if not callable(found) or isinstance(found, nn.Module):
        return found
    with _from_folder(reference):
        return found()


def _attribute_of(reference: str, what: str) -> Any:
    path, attribute = file_of(reference)
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file of a {what}")
    if not attribute:
        raise DataError(f"{path}: which {what} of it? give {path}:NAME")
    name = f"xbar_own_{hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:12]}"
    with _from_folder(reference):
        specification = importlib.util.spec_from_file_location(name, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        specification.loader.exec_module(module)
    if not hasattr(module, attribute):
        there = [key for key, value in vars(module).items() if callable(value) and getattr(value, "__module__", "") == name]
        raise DataError(f"{path}: has no {attribute!r}; it has {', '.join(there) or 'no functions'}")
    return getattr(module, attribute)


@contextmanager
def _from_folder(reference: str) -> Iterator[None]:
    """A block in which modules beside the file are found, and what it raises is told as DataError with its line."""
    path = Path(file_of(reference)[0]).resolve()
    before = set(sys.modules)
    sys.path.insert(0, str(path.parent))
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == path]
        where = f", line {lines[-1]}" if lines else ""
        raise DataError(f"{reference}{where}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(path.parent))
        for name, module in list(sys.modules.items()):  # another folder's modules of the same name are other ones
            if name not in before and Path(str(getattr(module, "__file__", None) or "/")).parent == path.parent:
                del sys.modules[name]


# ---- training, and a warning where there was none


def trained_own(
    model: nn.Module, data: Dataset, reference: str, seed: int, progress: bool, recipe: Recipe = RECIPE
) -> nn.Module:
    """The network that `reference` names trained here on the data for its task, from the cache where it was trained before. Raises
    TrainingError, and DataError where its outputs do not fit the task."""
    try:
        with torch.no_grad():
            data.task.loss(model(data.train_inputs[:2]), data.train_targets[:2])
    except Exception as error:  # of a user's network
        raise DataError(f"{reference}: cannot be trained for {data.task.name}, its outputs do not fit the targets: {error}") from None
    told = f"{recipe} {data.digest} {seed} {state_digest(model)} {code_of(reference)}"
    name = f"{Path(file_of(reference)[0]).stem}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.pt"
    path = cache_directory() / "weights" / name
    if path.is_file():
        try:
            model.load_state_dict(read_state(path))
            return model.eval()
        except (TrainingError, RuntimeError) as error:
            print(f"{error}; training again", file=sys.stderr)
    checkpoint = path.with_suffix(".checkpoint")
    train_network(model, data, recipe, seed, checkpoint, progress)
    save_state(model.state_dict(), path)
    checkpoint.unlink(missing_ok=True)
    return model.eval()


def warn_of_guessing(name: str, data: Dataset, found: float) -> None:
    """A warning where a classifier does not do better than guessing its most frequent class."""
    if data.task.name != CLASSIFICATION.name or data.metric.name != "accuracy":
        return
    guessed = float(torch.bincount(data.test_targets).max()) / len(data.test_targets)
    if found <= guessed + CHANCE_SIGMAS * float(np.sqrt(guessed * (1 - guessed) / len(data.test_targets))):
        warnings.warn(f"{name}: {100 * found:.1f} % of {len(data.test_targets)} test samples are right, {100 * guessed:.1f} % are of one "
                      "class: are its weights trained (--weights, --train)?", UntrainedWarning, stacklevel=2)  # fmt: skip

"""A user's own network and data: a function of a Python file, a .pt2 file of `torch.export.save`, an .onnx file; arrays of an .npz file
or of a function.

Files of Python are run as they are. What they import from their own folder is found there.
"""

import hashlib
import importlib.util
import math
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

from xbar.workloads.compute import CPU, moved, torch_device
from xbar.workloads.data import DataError, Dataset, cache_directory, without_held_out
from xbar.workloads.exported import HOW, load_exported
from xbar.workloads.offered import file_of
from xbar.workloads.onnx_file import load_onnx
from xbar.workloads.task import CLASSIFICATION, NEXT_TOKEN, REGRESSION, TASKS, Metric, Task
from xbar.workloads.training import Recipe, TrainingError, read_state, save_state, score, state_digest, train_network

BESIDE = ("*.py", "*.pt", "*.pth", "*.ckpt", "*.safetensors")  # what a file of Python may read from its folder
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LOADED = ("inputs of the train loader", "targets of the train loader", "inputs of the test loader", "targets of the test loader")
RECIPE = Recipe(epochs=20, batch=64, learning_rate=2e-3)
CALIBRATION_SAMPLES = 200  # training samples that a network is tried on
LIKE_UNIFORM = 0.02  # bits a token that are so little below those of a uniform choice are told; chance gives initial weights some
CHANCE_SIGMAS = 3.0  # an accuracy within so many standard errors of guessing is told


class UntrainedWarning(UserWarning):
    """A network judges no better than guessing."""


# ---- data


def dataset(source: Any, name: str = "", task: str | None = None, metric: Any = None) -> Dataset:
    """The data that `source` is or gives: a Dataset as it is; a mapping of arrays x_train, y_train, x_test, y_test; a pair (train, test)
    of what yields batches (inputs, targets), as torch's loaders do; a path of an .npz file of such arrays; or FILE.py:FUNCTION, which
    gives any of these.

    Whole numbers are tokens or classes, others become float32. task: one of `TASKS`, else as the targets are: classes where they are
    whole numbers (n,), the next token where they are whole numbers of the inputs' shape, else values. metric: a Metric or a function,
    as `own_metric` has it. Raises DataError.
    """
    told = name or "data"
    if isinstance(source, str | Path):
        told, name = str(source), name or Path(file_of(str(source))[0]).stem
        source = _named(str(source))
    if isinstance(source, Dataset):
        found = source
    else:
        by_name = isinstance(source, Mapping)
        arrays = source if by_name else _gathered(source, told)
        parts = {key: _tensor(arrays, key, told) for key in ARRAYS}
        kind = _task(parts, task, told)
        keys = ARRAYS if by_name else LOADED
        found = Dataset(name or "own data", *_matched(parts, kind), task=kind, samples="samples", keys=keys, source=told)
    if task is not None and found.task.name != task:
        raise DataError(f"{told}: is for {found.task.name}, not {task}")
    return found if metric is None else replace(found, task=replace(found.task, metric=metric_of(metric, "metric")))


def _named(text: str) -> Any:
    path, attribute = file_of(text)
    if path.endswith(".py"):
        return called(text, "data")
    if attribute or not path.endswith(".npz"):
        raise DataError(f"data {text}: must be an .npz file of {', '.join(ARRAYS)}, or FILE.py:FUNCTION that gives them")
    found, key = {}, ""
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files if isinstance(file, np.lib.npyio.NpzFile) else ():
                found[key] = file[key]
    except OSError as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from None
    except Exception as error:  # zipfile and pickle have errors of their own
        raise DataError(f"{path}: {key + ' cannot be read' if key else 'is no .npz file'}: {error}") from None
    return found


def _gathered(source: Any, told: str) -> dict[str, Any]:
    """The arrays of two loaders."""
    try:
        train, test = source
    except (TypeError, ValueError):
        raise DataError(f"{told}: must be a Dataset, arrays {', '.join(ARRAYS)} by name, or two loaders, train and test, got "
                        f"{type(source).__name__}") from None  # fmt: skip
    found = {}
    for part, loader in (("train", train), ("test", test)):
        try:
            pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in loader]
            if not pairs:
                raise DataError(f"{told}: the {part} loader yields no batch")
            found[f"x_{part}"], found[f"y_{part}"] = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{told}: the {part} loader must yield batches (inputs, targets): {error}") from None
    return found


def _tensor(arrays: Mapping[str, Any], key: str, told: str) -> Tensor:
    """An array of any kind as float32 or int64."""
    if key not in arrays:
        there = [str(each) for each in arrays]
        near = next((each for each in there if each.lower().replace("-", "_") == key), "")
        hint = (f"; is {near} meant? call it {key}" if near else "; test samples are what a network is judged by: hold some back"
                if "test" in key else "")  # fmt: skip
        raise DataError(f"{told}: lacks {key}; needed are {', '.join(ARRAYS)}, there are {', '.join(there) or 'none'}{hint}")
    given = arrays[key]
    try:
        if not isinstance(given, Tensor):
            given = np.asarray(given)
            given = given.astype(given.dtype.newbyteorder("="), order="C", copy=not given.flags.writeable)
            given = torch.from_numpy(given)
    except (TypeError, ValueError) as error:
        raise DataError(f"{told}: {key} is no array of numbers: {error}") from None
    found = given.detach().cpu()
    if found.is_sparse or found.is_complex() or not found.dim():
        what = "sparse" if found.is_sparse else "complex" if found.is_complex() else "one number"
        raise DataError(f"{told}: {key} is {what}; must be an array (samples, ...) of real numbers")
    if found.dtype == torch.uint8 and key.startswith("x_") and found.dim() > 2:
        raise DataError(f"{told}: {key} is uint8 {tuple(found.shape)}, as pixels are: give float32, as in x / 255. Whole numbers "
                        "are taken for tokens")  # fmt: skip
    return (found.float() if found.is_floating_point() else found.long()).contiguous()


def _matched(parts: dict[str, Tensor], task: Task) -> list[Tensor]:
    """Inputs and targets in order; a column of targets as a row of numbers, and targets of the task's type where that changes none."""
    found = []
    for key, each in parts.items():
        if key[0] == "y":
            each = each.squeeze(1) if each.dim() == 2 and each.shape[1] == 1 else each
            if task.name == REGRESSION.name:
                each = each.float()
            elif _are_whole(each):
                each = each.long()
        found.append(each)
    return found


def _are_whole(tensor: Tensor) -> bool:
    return bool((tensor == tensor.round()).all()) if tensor.is_floating_point() else True


def _task(parts: dict[str, Tensor], asked: str | None, told: str) -> Task:
    if asked is not None:
        if asked not in TASKS:
            raise DataError(f"{told}: task = {asked!r}: must be one of {', '.join(TASKS)}")
        return TASKS[asked]
    x, y = parts["x_train"], parts["y_train"]
    if y.dim() == 2 and y.shape[1] > 1 and y.shape != x.shape and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all()):
        raise DataError(f"{told}: y_train {tuple(y.shape)} is one-hot: give class numbers (n,), y.argmax(1), or task regression")
    if y.is_floating_point():
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
    """Raise DataError where a network has weights that are no float32 or not finite, cannot take batches of any size, or gives other
    than one tensor of them."""
    if isinstance(model, type):
        raise DataError(f"{reference}: must be a torch module, got the class {model.__name__}: give one of it, {model.__name__}()")
    if not isinstance(model, nn.Module):
        raise DataError(f"{reference}: must be a torch module, got {type(model).__name__}; wrap it in a class of nn.Module")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point() and value.dtype != torch.float32:
            raise DataError(f"{reference}: {name} is {str(value.dtype).removeprefix('torch.')}; weights must be float32: model.float()")
        if not bool(torch.isfinite(value).all()) and isinstance(value, nn.Parameter):
            raise DataError(f"{reference}: {name} must be finite; {int((~torch.isfinite(value)).sum())} of {value.numel()} values are not")
    few = example[:1].repeat(3, *[1] * (example.dim() - 1))
    try:
        with torch.no_grad():
            found = model(few)
    except Exception as error:  # anything that a user's network may raise
        how = f"; a .pt2 file must be exported with a free batch axis, {HOW}" if reference.endswith(".pt2") else ""
        raise DataError(f"{reference}: fails on a batch of 3 inputs {tuple(example.shape[1:])} {_kind(example)}: {_said(error)}"
                        f"{_about_type(error, example)}{how}") from None  # fmt: skip
    if not isinstance(found, Tensor) or found.dim() < 1 or len(found) != 3:
        told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(f"{reference}: must give one tensor (n, ...) of n inputs, gives {told} of 3: wrap it in a module that does")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _said(error: BaseException) -> str:
    """An error of a user's code, its first line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _about_type(error: BaseException, example: Tensor) -> str:
    """The way out where a network wants inputs of the other kind."""
    if "type" not in str(error):  # dtype, scalar type, Input type (long int) and bias type (float)
        return ""
    if example.is_floating_point():
        return "; inputs that are no whole numbers are float32; tokens must be whole numbers, x.astype(int)"
    return "; inputs that are whole numbers are int64, tokens; for values give x.astype('float32')"


def check_outputs(model: nn.Module, data: Dataset, reference: str) -> None:
    """Raise DataError where what a network gives cannot be judged by the task's own metric: too few classes or tokens, another
    number of values. Metrics of a user's own judge for themselves."""
    if data.metric.function is not TASKS[data.task.name].metric.function:
        return
    with torch.no_grad():
        shape = tuple(model(data.train_inputs[:2]).shape[1:])
    targets, gives, of = torch.cat([data.train_targets, data.test_targets]), f"{reference}: gives {shape} values a sample", data.told
    if data.task.name == REGRESSION.name:
        wanted = data.train_targets[0].numel()
        if math.prod(shape) != wanted:
            whole = wanted == 1 and _are_whole(targets)
            hint = "; whole numbers are classes where they are integers: y.astype(int), or task classification" if whole else ""
            raise DataError(f"{gives}, and {data.keys[1]} of {of} has {wanted} for a regression, which needs as many{hint}")
        return
    scores = int(targets.max()) + 1
    needed = (scores,) if data.task.name == CLASSIFICATION.name else (*targets.shape[1:], scores)
    if len(shape) != len(needed) or shape[:-1] != needed[:-1] or shape[-1] == 1:
        raise DataError(f"{gives}, and {data.keys[1]} of {of} needs scores {needed} for {data.task.name}; should the task, the metric or "
                        "the targets be other ones?")  # fmt: skip
    if shape[-1] < scores:
        least, most = int(targets.min()), int(targets.max())
        hint = "; labels that begin at 1 are given as y - 1" if least == 1 and most == shape[-1] else ""
        raise DataError(f"{gives}, so that {data.keys[1]} and {data.keys[3]} of {of} must be 0 to {shape[-1] - 1}, got {least} to "
                        f"{most}{hint}")  # fmt: skip


def judged(model: nn.Module, data: Dataset, reference: str) -> float:
    """The metric of a network on all test samples; raises DataError where its outputs do not fit the task, or it fails on or gives no
    finite numbers for some of the data, and TaskError of a metric. Warns of a network that does no better than guessing."""

    def seen(x: Tensor, key: str = data.keys[2]) -> Tensor:
        try:
            found: Tensor = model(x)
        except Exception as error:  # of a user's network
            most = "" if x.is_floating_point() else f"; tokens there are {int(x.min())} to {int(x.max())}"
            raise DataError(f"{reference}: fails on {key} of {data.told}: {_said(error)}{most}") from None
        wrong = ~torch.isfinite(found)
        if bool(wrong.any()):
            raise DataError(f"{reference}: gives {int(wrong.sum())} values that are not finite for {key} of {data.told}, which are")
        return found

    with torch.no_grad():
        seen(data.train_inputs[:CALIBRATION_SAMPLES], data.keys[0])
    check_outputs(model, data, reference)
    reached = score(seen, data.test_inputs, data.test_targets, data.metric)
    warn_of_guessing(reference, data, reached)
    return reached


def own_metric(reference: str) -> Metric:
    """The metric that FILE.py:NAME names: a `Metric`, or a function of outputs (n, ...) and targets (n, ...) to one number, or one a
    sample (n,), whose attribute `better` is "high" or "low"; `title` and `unit`, "" of a share, may be others. Raises DataError."""
    found = _attribute_of(reference, "metric")
    return metric_of(found, reference, hashlib.sha256(Path(file_of(reference)[0]).read_bytes()).hexdigest())


def metric_of(found: Any, reference: str, code: str = "") -> Metric:
    """A metric as it is, or of a function as `own_metric` has it; raises DataError."""
    if isinstance(found, Metric):
        return replace(found, code=code or found.code)
    better, name = getattr(found, "better", None), getattr(found, "__name__", type(found).__name__)
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
    model: nn.Module, data: Dataset, reference: str, seed: int, progress: bool, recipe: Recipe = RECIPE,
    compute: str = CPU,
) -> nn.Module:  # fmt: skip
    """The network that `reference` names trained here on the data for its task, from the cache where it was trained before; training
    samples that are held out are not learnt. compute: where (`xbar.workloads.compute.torch_device`). Raises TrainingError, and DataError
    where its outputs do not fit the task."""
    data, device = without_held_out(data), torch_device(compute)
    try:
        with torch.no_grad():
            data.task.loss(model(data.train_inputs[:2]), data.train_targets[:2])
    except Exception as error:  # of a user's network
        raise DataError(f"{reference}: cannot be trained for {data.task.name}, its outputs do not fit the targets: {error}") from None
    told = f"{recipe} {data.digest} {seed} {state_digest(model)} {code_of(reference)}"
    told += "" if device.type == CPU else f" {device.type}"
    name = f"{Path(file_of(reference)[0]).stem}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.pt"
    path = cache_directory() / "weights" / name
    if path.is_file():
        try:
            model.load_state_dict(read_state(path))
            return model.eval()
        except (TrainingError, RuntimeError) as error:
            print(f"{error}; training again", file=sys.stderr)
    checkpoint = path.with_suffix(".checkpoint")
    with moved(model, device):
        train_network(model, data, recipe, seed, checkpoint, progress)
    save_state(model.state_dict(), path)
    checkpoint.unlink(missing_ok=True)
    return model.eval()


def warn_of_guessing(name: str, data: Dataset, found: float) -> None:
    """A warning where a network does no better than what needs none: a classifier than the most frequent class, a regression than the
    training targets' mean, a language model than all tokens of the training targets alike."""
    function, count = data.metric.function, len(data.test_targets)
    if function is CLASSIFICATION.metric.function:
        guessed = float(torch.bincount(data.test_targets).max()) / count
        if guessed == 1 or found > guessed + CHANCE_SIGMAS * math.sqrt(guessed * (1 - guessed) / count):
            return
        told = f"{100 * found:.1f} % of {count} test samples are right, {100 * guessed:.1f} % are of one class"
    elif function is REGRESSION.metric.function:
        mean = data.train_targets.double().mean(0, keepdim=True)
        constant = float((data.test_targets.double() - mean).square().mean().sqrt())
        if found < constant:
            return
        told = (f"{data.metric.title} {found:.4g} on {count} test samples, and {constant:.4g} where the mean of the training targets is "
                "given for all")  # fmt: skip
    elif function is NEXT_TOKEN.metric.function:
        tokens = len(torch.unique(data.train_targets))
        if found < (1 - LIKE_UNIFORM) * math.log2(tokens):
            return
        told = (f"{data.metric.title} {found:.3f} on {count} test samples, and {math.log2(tokens):.3f} where the {tokens} tokens of the "
                "training targets are all alike")  # fmt: skip
    else:
        return
    warnings.warn(f"{name}: {told}: are its weights trained (--weights, --train)?", UntrainedWarning, stacklevel=2)

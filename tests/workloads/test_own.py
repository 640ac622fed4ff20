"""Networks and data of a user's own: what is taken, what it computes, and what is refused with its reason."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from xbar import Dataset, Study, load_chip, report, trace
from xbar.compression.gemm import matrix_layers
from xbar.reports.compression_sheet import verdict
from xbar.reports.sweep_sheet import SweepSheet, View, chosen
from xbar.workloads.cli import main
from xbar.workloads.commands import _metrics
from xbar.workloads.data import DataError
from xbar.workloads.exported import load_exported
from xbar.workloads.offered import TASKS as TASK_NAMES
from xbar.workloads.offered import file_of, is_own
from xbar.workloads.onnx_file import load_onnx
from xbar.workloads.own import (
    UntrainedWarning,
    check_batches,
    code_of,
    dataset,
    judged,
    own_metric,
    own_network,
    trained_own,
    warn_of_guessing,
)
from xbar.workloads.study.compress import compress
from xbar.workloads.study.evaluate import evaluate
from xbar.workloads.study.plan import Plan
from xbar.workloads.study.points import judge
from xbar.workloads.task import ACCURACY, BITS_PER_TOKEN, NEXT_TOKEN, REGRESSION, TASKS, Metric, TaskError
from xbar.workloads.training import Recipe, TrainingError, initialise, score, train_network
from xbar.workloads.workload import Workload, load_workload

MODEL = """
import torch
from torch import nn
from width import WIDTH  # a file of the user's own, beside this one

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.b(torch.relu(self.a(torch.flatten(x, 1))))

def make():
    net = Net()
    net.load_state_dict(torch.load({weights!r}))
    return net

def two(): return nn.Bilinear(2, 2, 2)
def pair():
    class Pair(Net):
        def forward(self, x): return super().forward(x), x
    return Pair()
def fails():
    return nn.Linear(64, WIDTH) @ 3
number = 3
"""
METRICS = """
from xbar import Metric

def top_two(outputs, targets):
    return (outputs.topk(2).indices == targets[:, None]).any(1).double()
top_two.better = "high"
def forgotten(outputs, targets): return 0.0
def broken(outputs, targets): return outputs @ targets
broken.better = "low"
margin = Metric("margin", "Margin", "logit", "high", lambda outputs, targets: outputs.max(1).values - outputs.mean(1))
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 12), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(torch.relu(self.a(torch.flatten(x, 1))))
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: model.py with a file beside it, data, metrics, and the same network as .pt2."""
    place = tmp_path_factory.mktemp("own")
    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target
    arrays = {"x_train": x[:600], "y_train": y[:600], "x_test": x[600:700], "y_test": y[600:700]}
    np.savez(place / "my.npz", **arrays)
    net = initialise(Net, 0)
    train_network(net, dataset(arrays), Recipe(epochs=12, batch=50, learning_rate=1e-2), 0)
    torch.save(net.state_dict(), place / "w.pt")
    (place / "width.py").write_text("WIDTH = 12\n")
    (place / "model.py").write_text(MODEL.replace("{weights!r}", repr(str(place / "w.pt"))))
    (place / "metrics.py").write_text(METRICS)
    save(net, torch.zeros(2, 8, 8), place / "my.pt2")
    return place


def save(model: nn.Module, example: Tensor, path: Path, free: bool = True) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    torch.export.save(torch.export.export(model.eval(), (example,), dynamic_shapes=shapes), path)


def test_names_of_files() -> None:
    assert file_of("a/model.py:make") == ("a/model.py", "make")
    assert file_of("C:/nets/my.onnx") == ("C:/nets/my.onnx", "")
    assert [is_own(name) for name in ("m.py:f", "m.pt2", "m.onnx", "digits", "m.pth")] == [True, True, True, False, False]
    assert tuple(TASKS) == TASK_NAMES


class TestData:
    def test_forms_of_the_same(self, folder: Path) -> None:
        arrays = dict(np.load(folder / "my.npz"))
        parts = [TensorDataset(*(torch.tensor(arrays[f"{side}_{part}"]) for side in "xy")) for part in ("train", "test")]
        loaders = [DataLoader(part, batch_size=64) for part in parts]
        (folder / "data.py").write_text(f"import numpy as np\ndef give(): return dict(np.load({str(folder / 'my.npz')!r}))\n")
        found = [dataset(source).digest for source in (arrays, tuple(loaders), folder / "my.npz", f"{folder / 'data.py'}:give")]
        assert len(set(found)) == 1

    @pytest.mark.parametrize(
        ("x", "y", "task"),
        [
            (np.zeros((4, 3)), np.array([0, 1, 2, 0]), "classification"),
            (np.zeros((4, 3)), np.array([[0], [1], [2], [0]]), "classification"),
            (np.zeros((4, 3)), np.array([True, False, True, True]), "classification"),
            (np.zeros((4, 3)), np.zeros(4), "regression"),
            (np.zeros((4, 3), dtype=np.int32), np.zeros((4, 3), dtype=np.uint8), "next-token"),
            (np.zeros((4, 3), dtype=np.int32), np.array([0, 1, 2, 0]), "classification"),
        ],
    )
    def test_targets_tell_the_task(self, x: np.ndarray, y: np.ndarray, task: str) -> None:
        assert dataset({"x_train": x, "y_train": y, "x_test": x, "y_test": y}).task.name == task

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"x_test": None}, "lacks x_test; needed are x_train, y_train, x_test, y_test, there are x_train"),
            ({"x_train": np.zeros((4, 1, 8, 8), np.uint8)}, "x_train is uint8 .* give float32"),
            ({"y_test": np.array([0, 1, 7, 1])}, "data: y_test must be below 3 as y_train are, got 7"),
            ({"y_train": np.array(["a", "b", "c", "d"])}, "y_train is no array of numbers"),
            ({"x_train": np.full((4, 3), np.nan)}, r"x_train must be finite .* 12 of 12 values are not; the first at \[0, 0\]: nan"),
            ({"x_train": np.zeros((4, 3), complex)}, "x_train is complex"),
            ({"y_train": np.zeros(3, int)}, "y_train must be one a sample"),
            ({"x_test": np.full((4, 3), 1e300)}, r"x_test must be finite in float32, .*: inf"),
            ({"x_test": np.zeros((4, 2))}, r"x_test must be float32 \(3,\) each as x_train are, got float32 \(2,\)"),
            ({"x_test": np.zeros((0, 3)), "y_test": np.zeros(0, int)}, r"x_test must be .* of one sample or more, got float32 \(0, 3\)"),
            ({"x_test": None, "X_Test": 1}, "is X_Test meant[?] call it x_test"), ({"y_test": 3}, "y_test is one number"),
            ({"y_train": np.array([-1, 1, 1, -1])}, r"y_train must be int64 classes \(n,\) from 0 on, got int64 \(4,\) from -1 to 1"),
            ({"y_train": torch.eye(4).to_sparse()}, "y_train is sparse"),
            ({"x_train": [[1, 2], [3]]}, "x_train is no array of numbers"),
        ],
    )
    def test_what_is_refused(self, changed: dict[str, Any], said: str) -> None:
        arrays = {"x_train": np.zeros((4, 3)), "y_train": np.array([0, 1, 2, 0]), "x_test": np.zeros((4, 3)), "y_test": np.zeros(4, int)}
        given = {key: value for key, value in (arrays | changed).items() if value is not None}
        with pytest.raises(DataError, match=said):
            dataset(given)

    def test_arrays_of_any_make(self) -> None:
        """Views, other byte orders, tensors with gradients and in half precision: all as plain float32."""
        x = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
        forms = (x[::-1][::-1], x.astype(">f8"), torch.tensor(x, requires_grad=True), torch.tensor(x).bfloat16(), pd.DataFrame(x),
                 np.asfortranarray(x), x.tolist())  # fmt: skip
        y = np.array([0, 1, 2, 0])
        assert len({dataset({"x_train": each, "y_train": y, "x_test": x, "y_test": y}).digest for each in forms}) == 1

    def test_targets_as_the_task_wants_them(self) -> None:
        x, y = np.zeros((4, 3)), np.array([0.0, 1.0, 2.0, 0.0])
        given = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
        assert dataset(given, task="classification").train_targets.dtype == torch.int64
        assert dataset(given | {"y_train": y.astype(int), "y_test": y.astype(int)}, task="regression").train_targets.dtype == torch.float32
        with pytest.raises(DataError, match=r"y_train must be int64 classes .* for classification, got float32"):
            dataset(given | {"y_train": y / 2}, task="classification")

    def test_loaders_are_named(self) -> None:
        good = [(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))]
        for test, said in (([], "the test loader yields no batch"), ([(torch.full((4, 3), torch.nan), good[0][1])],
                           "inputs of the test loader must be finite"), ([torch.zeros(3)], "test loader must yield batches")):  # fmt: skip
            with pytest.raises(DataError, match=said):
                dataset((good, test))

    def test_a_file_of_objects(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "o.npz", x_train=np.zeros(3), y_train=np.array([{}, None], object))
        with pytest.raises(DataError, match=r"o\.npz: y_train cannot be read: Object arrays"):
            dataset(tmp_path / "o.npz")

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(b"none")
        for source, said in ((tmp_path / "a.npz", "npz"), (tmp_path / "b.npz", "b.npz"), (tmp_path / "c.csv", "must be an .npz"),
                             (tmp_path / "d.py", "no such file"), (3, "must be a Dataset")):  # fmt: skip
            with pytest.raises(DataError, match=said):
                dataset(source)


class TestNetworks:
    def test_the_same_from_each_kind_of_file(self, folder: Path) -> None:
        x = dataset(folder / "my.npz").test_inputs
        made, exported = (own_network(str(folder / name), x) for name in ("model.py:make", "my.pt2"))
        assert torch.equal(made(x), exported(x))
        assert [layer.name for layer in trace(exported, x[:2]).layers] == ["a", "b"]

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("model.py:fails", "model.py:fails, line 25: TypeError"), ("model.py:pair", "must give one tensor .* gives tuple"),
            ("model.py:two", "fails on a batch of 3"), ("model.py:number", "must give a torch module, got int"),
            ("model.py:nothing", "has no 'nothing'; it has Net, make, two, pair, fails"), ("model.py", "which network of it"),
            ("none.py:make", "no such file"), ("none.pt2", "no such file"), ("w.pt2", "is no file of torch.export.save"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, folder: Path, name: str, said: str) -> None:
        (folder / "w.pt2").write_bytes((folder / "w.pt").read_bytes())
        with pytest.raises(DataError, match=said):
            own_network(str(folder / name), torch.zeros(2, 8, 8))

    def test_a_fixed_batch_is_refused_with_the_way_out(self, tmp_path: Path) -> None:
        class Fixed(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.view(x.shape[0], 4) + 1

        save(Fixed(), torch.zeros(2, 2, 2), tmp_path / "fixed.pt2", free=False)
        with pytest.raises(DataError, match="must be exported with a free batch axis"):
            own_network(str(tmp_path / "fixed.pt2"), torch.zeros(2, 2, 2))

    def test_exported_layers_are_modules_again(self, tmp_path: Path) -> None:
        """All kinds of layer; a module used twice stays one; parameters of no layer, and operators that are none."""

        class Everything(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
                self.again = nn.Conv2d(4, 4, 3, stride=1, padding="same", dilation=2, groups=2)
                self.line, self.norm = nn.Conv1d(4, 3, 3), nn.LayerNorm(3)
                self.scale = nn.Parameter(torch.tensor(1.5))
                self.head = nn.Linear(3, 5)

            def forward(self, x: Tensor) -> Tensor:
                y = self.again(self.again(self.stem(x)))
                y = F.avg_pool2d(y, 2).flatten(2)
                y = self.norm(self.line(y).transpose(1, 2)).mean(1) * self.scale
                found: Tensor = self.head(torch.add(y, y, alpha=0.5))
                return found

        model = initialise(Everything, 1).train()
        for _ in range(3):
            model(torch.rand(8, 2, 6, 6))  # statistics of the batch norm
        save(model.eval(), torch.zeros(2, 2, 6, 6), tmp_path / "m.pt2")
        found, x = load_exported(tmp_path / "m.pt2", torch.rand(2, 2, 6, 6)), torch.rand(5, 2, 6, 6)
        assert torch.allclose(found(x), model(x), atol=1e-6)
        kinds = {name: type(module) for name, module in found.named_modules()}
        for name in ("stem.0", "stem.1", "again", "line", "norm", "head"):
            assert kinds[name] is type(model.get_submodule(name))
        assert sum(kind is nn.Conv2d for kind in kinds.values()) == 2
        assert nn.Dropout in kinds.values()
        found.train()(x).sum().backward()
        assert all(each.grad is not None for each in found.parameters())

    def test_onnx(self, tmp_path: Path) -> None:
        onnx = pytest.importorskip("onnx", reason="onnx, of the extra onnx, is not installed")
        pytest.importorskip("google.protobuf")
        rng = np.random.default_rng(0)
        shapes = {"c.w": (4, 1, 3, 3), "c.b": (4,), "f.w": (10, 64), "f.b": (10,)}
        weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        node = onnx.helper.make_node
        nodes = [
            node("Conv", ["x", "c.w", "c.b"], ["c"], name="/c/Conv", pads=[1] * 4, kernel_shape=[3, 3]),
            node("Relu", ["c"], ["r"], name="/r"),
            node("MaxPool", ["r"], ["p"], name="/p", kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", ["p"], ["v"], name="/v"),
            node("Gemm", ["v", "f.w", "f.b"], ["y"], name="/f/Gemm", transB=1),
        ]  # fmt: skip
        ends = [[onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape])]
                for name, shape in (("x", (1, 8, 8)), ("y", (10,)))]  # fmt: skip
        held = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
        model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "net", *ends, held), opset_imports=[onnx.helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.save(model, str(tmp_path / "net.onnx"))
        x, w = torch.rand(5, 1, 8, 8), {name: torch.from_numpy(value) for name, value in weights.items()}
        wanted = F.linear(F.max_pool2d(F.relu(F.conv2d(x, w["c.w"], w["c.b"], padding=1)), 2).flatten(1), w["f.w"], w["f.b"])
        found = load_onnx(tmp_path / "net.onnx", x)
        assert torch.allclose(found(x), wanted, atol=1e-5)
        assert [type(each) for each in found.modules() if list(each.parameters(False))] == [nn.Conv2d, nn.Linear]
        (tmp_path / "none.onnx").write_bytes(b"none")
        with pytest.raises(DataError, match="is no ONNX file"):
            load_onnx(tmp_path / "none.onnx", x)


class TestTasks:
    def test_metrics(self) -> None:
        scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
        assert ACCURACY(scores, torch.tensor([0, 2])) == 0.5
        assert REGRESSION.metric(torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 5.0])) == pytest.approx(2**0.5)
        even = torch.zeros(3, 7, 8)  # eight tokens, alike
        assert BITS_PER_TOKEN(even, torch.zeros(3, 7, dtype=torch.int64)) == pytest.approx(3.0)
        assert NEXT_TOKEN.loss(even, torch.zeros(3, 7, dtype=torch.int64)).item() == pytest.approx(np.log(8))

    def test_a_metric_from_python_may_be_a_function(self) -> None:
        x = np.zeros((4, 3))
        given = {"x_train": x, "y_train": x[:, 0], "x_test": x, "y_test": x[:, 0]}

        def worst(outputs: Tensor, targets: Tensor) -> Tensor:
            return (outputs[:, 0] - targets).abs().max()

        with pytest.raises(DataError, match=r'worst\.better = "high" or "low"'):
            dataset(given, metric=worst)
        worst.better = "low"  # type: ignore[attr-defined]
        assert dataset(given, metric=worst).metric == Metric("worst", "Worst", "units", "low", worst)

    def test_a_metric_from_python_is_known_by_its_code(self) -> None:
        x = np.zeros((4, 3))

        def digest(function: Any) -> str:
            function.better = "low"
            return dataset({"x_train": x, "y_train": x[:, 0], "x_test": x, "y_test": x[:, 0]}, metric=function).digest

        def made(source: str) -> Any:
            space: dict[str, Any] = {}
            exec(compile(source, "told", "exec"), space)  # as typed in a notebook
            return space["error"]

        def enclosing(power: Any) -> Any:
            return lambda outputs, targets: (outputs[:, 0] - targets) ** power

        class Scaled:
            def __init__(self, by: float) -> None:
                self.by = by

            def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
                return self.by * (outputs[:, 0] - targets)

        bodies = ("(o[:, 0] - t).abs()", "(o[:, 0] - t) ** 2", "(o[:, 0] - t) ** 3", "sum(1 for a in o if a in {'x', 'y', 'z'})")
        texts = [f"def error(o, t):\n    return {body}\n" for body in bodies] + ["def error(o, t, by=2):\n    return (o[:, 0] - t).abs()\n"]
        functions = [lambda text=text: made(text) for text in texts]
        functions += [lambda power=power: enclosing(power) for power in (2, 3, torch.ones(4), torch.zeros(4))]
        functions += [lambda by=by: Scaled(by) for by in (1.0, 2.0)]
        functions.append(lambda: partial(made(texts[0]), k=1))
        first, again = ([digest(make()) for make in functions] for _ in range(2))
        assert first == again
        assert len(set(first)) == len(functions)
        assert digest(made("\n# a remark\n" + texts[0])) == first[0]
        told = Metric("mine", "Mine", "", "low", made(texts[0])), Metric("mine", "Mine", "", "low", made(texts[1]))
        assert told[0].depends != told[1].depends
        assert (ACCURACY.depends, REGRESSION.metric.depends, Metric("mine", "Mine", "", "low", made(texts[0]), "text").depends) == (
            "", "", "text")  # fmt: skip

    def test_which_side_is_worse(self) -> None:
        low = Metric("error", "Error", "m", "low", lambda outputs, targets: 0.0)
        assert (ACCURACY.lost(0.9, 0.8), low.lost(1.0, 1.5)) == (pytest.approx(0.1), 0.5)
        assert (ACCURACY.worst([0.9, 0.8]), low.worst([1.0, 2.0]), low.best([1.0, 2.0])) == (0.8, 2.0, 1.0)

    @pytest.mark.parametrize(
        ("function", "said"),
        [(lambda o, t: o, "one number or one a sample"), (lambda o, t: float("nan"), "finite"), (lambda o, t: o @ t, "cannot judge")],
    )
    def test_metrics_that_give_no_number(self, function: Callable[..., Any], said: str) -> None:
        with pytest.raises(TaskError, match=said):
            Metric("mine", "Mine", "", "high", function)(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))

    def test_own_metrics(self, folder: Path) -> None:
        data = dataset(folder / "my.npz")
        net = own_network(str(folder / "model.py:make"), data.test_inputs)
        found = own_metric(f"{folder / 'metrics.py'}:top_two")
        assert (found.name, found.better) == ("top_two", "high")
        assert score(net, data.test_inputs, data.test_targets, found) >= score(net, data.test_inputs, data.test_targets)
        assert own_metric(f"{folder / 'metrics.py'}:margin").unit == "logit"
        for name, said in (("forgotten", 'forgotten.better = "high" or "low"'), ("nothing", "has no 'nothing'")):
            with pytest.raises(DataError, match=said):
                own_metric(f"{folder / 'metrics.py'}:{name}")

    def test_values_and_tokens_train_and_run_on_chips(self) -> None:
        """Chip instances of a metric that is better where it is lower."""
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(300, 6, generator=generator)
        y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0, 3.0])
        values = Dataset("line", x[:200], y[:200], x[200:], y[200:], REGRESSION)
        model = initialise(lambda: nn.Linear(6, 1), 0)
        train_network(model, values, Recipe(epochs=150, batch=50, learning_rate=0.1, weight_decay=0.0), 0)
        assert score(model, values.test_inputs, values.test_targets, values.metric) < 0.05
        chip = load_chip("edge", {"device.programming_sigma": "10"})
        found = evaluate(model, chip, values, 3)
        assert found.worst == found.table["score"].max() > 0.05
        tokens = torch.randint(5, (40, 4), generator=generator)
        text = Dataset("tokens", tokens, (tokens + 1) % 5, tokens, (tokens + 1) % 5, NEXT_TOKEN)
        speaker = initialise(lambda: nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5)), 0)
        train_network(speaker, text, Recipe(epochs=30, batch=10, learning_rate=0.05), 0)
        assert evaluate(speaker, load_chip("edge"), text, 1).mean < np.log2(5) / 2
        with pytest.raises(TrainingError, match="shift and flip move images"):
            train_network(speaker, text, Recipe(1, 10, 0.1, shift=1), 0)


class TestWhatANetworkGives:
    """Judged before anything is put on a chip."""

    X = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))

    def of(self, y: Tensor, model: nn.Module, x: Tensor = X, **more: Any) -> float:
        keys = dict(zip(("x_train", "y_train", "x_test", "y_test"), (x, y, x, y), strict=True))
        for each in model.parameters():
            nn.init.normal_(each, std=0.1, generator=torch.Generator().manual_seed(0))
        return judged(model.eval(), dataset(keys, "my.npz", **more), "net.py:make")

    @pytest.mark.parametrize(
        ("y", "model", "said"),
        [
            (torch.arange(40) % 10 + 1, nn.Linear(6, 10),
             "must be 0 to 9, got 1 to 10; labels that begin at 1 are given as y - 1"),
            (torch.arange(40) % 3, nn.Linear(6, 1), r"gives \(1,\) values a sample, and y_train of my.npz needs scores \(3,\)"),
            (torch.arange(40) % 3, nn.Flatten(0), r"gives \(\) values a sample, and y_train of my.npz needs scores \(3,\) for classif"),
            ((torch.arange(40) % 3).float(), nn.Linear(6, 3), "has 1 for a regression, which needs as many; whole numbers are classes"),
            (torch.rand(40, 2), nn.Linear(6, 3), r"gives \(3,\) values a sample, and y_train of my.npz has 2 for a regression"),
        ],
    )  # fmt: skip
    def test_outputs_that_do_not_fit(self, y: Tensor, model: nn.Module, said: str) -> None:
        with pytest.raises(DataError, match=said):
            self.of(y, model)

    def test_tokens_beyond_the_vocabulary(self) -> None:
        tokens = torch.randint(5, (40, 4), generator=torch.Generator().manual_seed(0))
        with pytest.raises(DataError, match=r"fails on x_train of my.npz: IndexError: .*; tokens there are 0 to 4"):
            self.of(torch.zeros(40, 4, dtype=torch.int64), nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 5)), tokens)
        with pytest.raises(DataError, match="must be 0 to 3, got 0 to 4"):
            self.of(tokens, nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4)), tokens)

    @pytest.mark.parametrize(
        ("model", "x", "said"),
        [
            (nn.Linear(6, 3).double(), X, "weight is float64; weights must be float32: model.float()"),
            (nn.Linear(6, 3), torch.ones(4, 6, dtype=torch.int64), "int64: RuntimeError: .*; for values give x.astype"),
            (nn.Conv1d(1, 3, 1), torch.ones(4, 1, 6, dtype=torch.int64), "int64: RuntimeError: .*; for values give x.astype"),
            (nn.Embedding(6, 3), X, "float32: RuntimeError: .*; tokens must be whole numbers"),
            (lambda x: x, X, "must be a torch module, got function; wrap it"),
            (nn.ReLU, X, r"got the class ReLU: give one of it, ReLU\(\)"),
        ],
    )  # fmt: skip
    def test_inputs_and_weights_of_other_types(self, model: Any, x: Tensor, said: str) -> None:
        with pytest.raises(DataError, match=said):
            check_batches(model, x, "net.py:make")

    def test_weights_and_outputs_that_are_not_finite(self) -> None:
        net = initialise(lambda: nn.Linear(6, 3), 0)
        with torch.no_grad():
            net.weight[0, 0] = torch.nan
        with pytest.raises(DataError, match="weight must be finite; 1 of 18 values are not"):
            check_batches(net, self.X, "net")

        class Log(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.log(x[:, :3] - 0.5)

        with pytest.raises(DataError, match=r"values that are not finite for x_train of my.npz"):
            self.of(torch.arange(40) % 3, Log())

    def test_guessing_is_told(self) -> None:
        """Untrained networks of each task, with what they are set against, worked out here."""
        y = self.X @ torch.arange(6.0)
        constant = float((y.double() - y.double().mean()).square().mean().sqrt())
        with pytest.warns(UntrainedWarning, match=f"RMS error .* {constant:.4g} where the mean of the training targets is given"):
            self.of(y, nn.Linear(6, 1))
        tokens = torch.randint(8, (40, 5), generator=torch.Generator().manual_seed(0))
        with pytest.warns(UntrainedWarning, match="and 3.000 where the 8 tokens .* are all alike: are its weights"):
            self.of(tokens, nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8)), tokens)
        with pytest.warns(UntrainedWarning, match="25.0 % are of one class"):
            self.of(torch.arange(40) % 4, nn.Linear(6, 4))
        data = dataset({"x_train": self.X, "y_train": y, "x_test": self.X, "y_test": y})
        warn_of_guessing("trained", data, 0.9 * constant)


class TestCommands:
    @pytest.mark.usefixtures("undrawn")
    def test_run_judges_what_the_file_says(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        common = ["--data", "my.npz", "--chip", "edge", "--study", "quick", "--instances", "1", "--images", "20", "--requests", "2"]
        scores = {}
        for name, more in (("model.py:make", []), ("my.pt2", []), ("model.py:make", ["--metric", "metrics.py:top_two"])):
            assert main(["run", name, *common, *more, "--out", str(tmp_path / str(len(scores)))]) == 0
            meta = json.loads((tmp_path / str(len(scores)) / "run.json").read_text())
            assert {len(meta["workload"][f"{what}_digest"]) for what in ("weights", "code", "data")} == {16}
            scores[name, *more] = (meta["metric"]["name"], meta["score"]["chip"], meta["summary"]["energy_per_request_J"])
        first, exported, other = scores.values()
        assert first == exported
        assert (first[0], other[0]) == ("accuracy", "top_two")
        assert other[1] >= first[1]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["run", "model.py:make"], "needs its data: --data FILE.npz"),
            (["run", "digits", "--task", "regression"], "digits has its own"),
            (["run", "model.py:make", "--data", "my.npz", "--task", "regression"],
             r"gives \(10,\) values a sample, and y_train of my.npz has 1 for a regression, .*; whole numbers are classes"),
            (["run", "model.py:make", "--data", "my.npz", "--metric", "metrics.py:broken"], "metric broken: cannot judge"),
        ],
    )  # fmt: skip
    def test_what_is_missing_is_named(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
    ) -> None:
        monkeypatch.chdir(folder)
        assert main([*words, "--out", str(tmp_path / "out")]) == 1
        assert re.search(said, capsys.readouterr().err)

    def test_a_word_that_is_no_workload(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["run", "digit", "--out", "x"])
        assert "did you mean digits?" in capsys.readouterr().err

    def test_pin(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same costs from each kind of file; found from the pin's folder, wherever it is checked from."""
        monkeypatch.chdir(folder)
        values = []
        for number, name in enumerate(("model.py:make", "my.pt2")):
            path = folder / f"{number}.json"
            assert main(["pin", name, "--data", "my.npz", "--chip", "edge", "--out", str(path)]) == 0
            values.append(json.loads(path.read_text())["values"])
        assert values[0] == values[1]
        monkeypatch.chdir(tmp_path)
        assert main(["pin", "--check", str(folder / "0.json")]) == 0

    def test_sweep(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files are found from the sweep's; a file that changed is computed again."""
        (folder / "sweep.toml").write_text(
            '[fixed]\nworkload.name = "model.py:make"\nworkload.data = "my.npz"\nworkload.metric = "metrics.py:margin"\n'
            'chip.name = "edge"\n'
            "study.images = 20\nstudy.instances = 1\nstudy.requests = 2\n[axes]\ncomponent.adc.bits = [6, 8]\n"
        )
        monkeypatch.chdir(tmp_path)
        from xbar.workloads.study.points import files_of, read_sweep

        points = read_sweep(folder / "sweep.toml").points
        before = files_of(points[0])
        found = judge(points[0])
        assert isinstance(found["margin"], float)
        assert found["margin_smallest"] <= found["margin"] <= found["margin_largest"]
        (folder / "metrics.py").write_text(METRICS + "# another\n")
        assert files_of(points[0]) != before


@pytest.mark.usefixtures("undrawn")
def test_a_report_from_python(folder: Path, tmp_path: Path) -> None:
    data = dataset(folder / "my.npz")
    net = own_network(str(folder / "model.py:make"), data.test_inputs)
    results = report(net, folder / "my.npz", "edge", tmp_path / "out", Study(instances=2, images=20, requests=2).quick(), "Mine")
    assert results.meta["workload"]["title"] == "Mine"
    assert results.meta["score"]["float_all"] == load_workload(f"{folder / 'model.py'}:make", data_directory=folder / "my.npz").float_score
    assert pd.read_csv(tmp_path / "out" / "layers.csv")["layer"].tolist() == ["a", "b"]


class TestWhatResultsRestOn:
    """Networks that differ in code alone are not taken for each other."""

    def test_digests_tell_weights_code_and_data_apart(self) -> None:
        x, y = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
        def digests(seed: int, activation: nn.Module, inputs: Tensor) -> dict[str, str]:
            net = initialise(lambda: nn.Sequential(nn.Linear(4, 3), activation), seed).eval()
            return Workload("a", "A", net, Dataset("same", inputs, y, inputs, y), 0.0).digests

        first = digests(0, nn.ReLU(), x)
        others = {"weights": digests(1, nn.ReLU(), x), "code": digests(0, nn.Tanh(), x), "data": digests(0, nn.ReLU(), x + 1)}
        for what, other in others.items():
            assert {name for name, value in first.items() if other[name] != value} == {f"{what}_digest"}
        assert first == digests(0, nn.ReLU(), x)

    @pytest.fixture
    def two(self, tmp_path: Path) -> tuple[Path, Path]:
        """Folders of the same names whose helpers differ."""
        for name, function in (("a", "relu"), ("b", "tanh")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "helper.py").write_text(f"from torch import {function} as f\n")
            (tmp_path / name / "net.py").write_text(
                "import torch\nfrom torch import nn\nfrom helper import f\nclass Net(nn.Module):\n"
                "    def __init__(self):\n        super().__init__()\n        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)\n"
                "    def forward(self, x): return self.b(f(self.a(x)))\n"
                "def data():\n    import numpy, random\n    x = torch.rand(40, 4) + numpy.random.rand() + random.random()\n"
                "    y = torch.randint(3, (40,))\n    return {'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}\n"
            )
        return tmp_path / "a", tmp_path / "b"

    def test_helpers_of_another_folder_are_other_ones(self, two: tuple[Path, Path]) -> None:
        x = torch.rand(5, 4)
        nets = [own_network(f"{folder / 'net.py'}:Net", x) for folder in two]
        assert torch.equal(nets[0].a.weight, nets[1].a.weight)
        assert not torch.equal(nets[0](x), nets[1](x))
        assert code_of(f"{two[0] / 'net.py'}:Net") != code_of(f"{two[1] / 'net.py'}:Net")

    def test_data_are_drawn_alike_every_time(self, two: tuple[Path, Path]) -> None:
        assert len({dataset(f"{folder / 'net.py'}:data").digest for folder in two for _ in range(2)}) == 1

    def test_each_is_trained_for_itself(self, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XBAR_CACHE", str(tmp_path / "cache"))
        data, recipe = dataset(f"{two[0] / 'net.py'}:data"), Recipe(2, 20, 0.05)
        for _ in range(2):  # from the cache the second time
            found = []
            for folder in two:
                net = own_network(f"{folder / 'net.py'}:Net", data.train_inputs)
                found.append(trained_own(net, data, f"{folder / 'net.py'}:Net", 0, False, recipe).state_dict())
            assert not torch.equal(found[0]["a.weight"], found[1]["a.weight"])
        assert len([*(tmp_path / "cache").rglob("*.pt")]) == 2
        with pytest.raises(DataError, match="cannot be trained for classification"):
            trained_own(nn.Linear(4, 2), data, f"{two[0] / 'net.py'}:Net", 0, False, recipe)


def test_samples_that_are_held_out_are_not_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XBAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text("")
    x, y, found = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3, []
    for data in (Dataset("drawn", x, y, x, y, held_out=10), Dataset("drawn", x[:30], y[:30], x, y)):
        net = trained_own(initialise(lambda: nn.Linear(4, 3), 0), data, f"{tmp_path / 'net.py'}:Net", 0, False, Recipe(1, 10, 0.1))
        found.append(net.weight)
    assert torch.equal(*found)  # type: ignore[arg-type]


def test_training_with_dropout_ends_in_the_same_bits() -> None:
    x, y = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    data, ends = Dataset("drawn", x, y, x, y), []
    for _ in range(2):
        torch.rand(3)  # torch's own generator goes on
        net = initialise(lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3)), 0)
        train_network(net, data, Recipe(2, 10, 0.1), 0)
        ends.append(net[0].weight)
    assert torch.equal(*ends)


def test_what_is_written_into_a_view_is_written(tmp_path: Path) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            h[:, :3].relu_()
            found: Tensor = self.b(h)
            return found

    model, x = initialise(InPlace, 0), torch.randn(6, 4)
    save(model, x[:2], tmp_path / "m.pt2")
    assert torch.allclose(load_exported(tmp_path / "m.pt2", x)(x), model(x), atol=1e-6)


def test_a_classifier_of_too_few_classes_is_told() -> None:
    with pytest.raises(TaskError, match="2 scores a sample, but classes up to 2"):
        ACCURACY(torch.zeros(3, 2), torch.tensor([0, 1, 2]))


@pytest.mark.usefixtures("undrawn")
def test_a_module_is_left_to_a_host(tmp_path: Path) -> None:
    """Its multiply-accumulates are told as the host's, and its errors are none of the chip's."""
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    data = Dataset("drawn", x, torch.arange(40) % 4, x, torch.arange(40) % 4)
    net = initialise(lambda: nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 4)), 0)
    with pytest.warns(UntrainedWarning):
        results = report(net, data, "edge", tmp_path / "out", Study(instances=1, images=10, requests=2).quick(), host=["2"])
    assert results.layers.index.tolist() == ["0"]
    shares = {where: results.meta["summary"][f"{where}_operations_share"] for where in ("crossbar", "host")}
    assert shares == {"crossbar": pytest.approx(6 * 12 / (6 * 12 + 12 * 4)), "host": pytest.approx(12 * 4 / (6 * 12 + 12 * 4))}


def test_a_regression_is_compressed_by_its_own_loss_and_metric(tmp_path: Path) -> None:
    x = torch.rand(200, 8, generator=torch.Generator().manual_seed(0))
    data = Dataset("line", x[:150], x[:150].sum(1), x[150:], x[150:].sum(1), REGRESSION, "samples")
    net = initialise(lambda: nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1)), 0)
    train_network(net, data, Recipe(60, 50, 0.02), 0)
    plan = Plan(rounds=2, filters=2, inputs=2, pruned=4, purified=2, levels=2, quantised=2, final=2, batch=50, learning_rate=0.01,
                validation=30, instances=2, images=20, budgets=(), sigma=0.02)  # fmt: skip
    found = compress(net, data, load_chip("edge"), {"weights": 0.6}, tmp_path, plan)
    assert found.meta["metric"]["name"] == "rms_error"
    assert found.meta["weights_after"] <= 0.6 * found.meta["weights_before"]
    assert found.stages.loc["uncompressed", "float"] == pytest.approx(score(net, data.test_inputs, data.test_targets, data.metric))
    assert "units" in verdict(found)


def test_a_sweep_knows_which_side_of_an_own_metric_is_better(folder: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "mine": [3.0, 1.0, 2.0], "energy_J": [1.0, 2.0, 3.0], "point": [0, 1, 2], "wall_s": 0.1,
                          "error": [None] * 3, "key": list("abc")})  # fmt: skip
    meta = {"varied": ["a"], "fixed": {}, "points": 3, "failed": 0,
            "metrics": [{"name": "mine", "title": "Mine", "unit": "units", "better": "low"}]}  # fmt: skip
    view = chosen(SweepSheet(meta, frame), View())
    assert view.better["mine"] == "low"
    assert "mine" in view.pareto


def test_a_sweep_tells_its_metrics(folder: Path) -> None:
    """Own ones first, with their units; those of the project's tasks."""
    told = _metrics([{"workload.metric": f"{folder / 'metrics.py'}:top_two"}, {"workload.metric": None}, {}])
    assert told[0] == own_metric(f"{folder / 'metrics.py'}:top_two").told()
    assert {metric["name"]: metric["unit"] for metric in told[1:]} == {
        "accuracy": "", "rms_error": "units", "bits_per_token": "bit", "bits_per_character": "bit",
    }  # fmt: skip


def test_data_that_a_network_brings_are_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is of no use to digits, which brings its data"):
        load_workload("digits", data_directory=tmp_path)
    for kind in (float, int):
        y = np.eye(3, dtype=kind)[[0, 1, 2, 1]]
        with pytest.raises(DataError, match="is one-hot"):
            dataset({"x_train": np.zeros((4, 2)), "y_train": y, "x_test": np.zeros((4, 2)), "y_test": y})


def test_an_exported_attention_has_its_layers_beside_each_other(tmp_path: Path) -> None:
    """`in_proj_weight` is of a module that has another, `out_proj`: modules have the names that the chip's layers have."""
    model = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    x = torch.randn(2, 4, 2, 4)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "net.pt2")
    found = own_network(str(tmp_path / "net.pt2"), x, 0)
    assert [layer.name for layer in trace(found, x).layers] == list(matrix_layers(found))

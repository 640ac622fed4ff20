"""Files of ONNX as exporters write them: shapes computed from the batch's size, SAME padding, newer opsets; what is refused is named."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xbar import trace
from xbar.workloads.data import DataError
from xbar.workloads.onnx_file import load_onnx

onnx = pytest.importorskip("onnx", reason="onnx, of the extra onnx, is not installed")
RNG = np.random.default_rng(0)
W = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in (("fc", (3, 8)), ("conv", (4, 1, 3, 3)), ("q", (8, 8)))}


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), name=f"/{outputs}/{kind}", **attributes)


def saved(path: Path, opset: int, nodes: list[Any], held: dict[str, Any], x: tuple[Any, ...], y: tuple[Any, ...]) -> Path:
    ends = [[onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape])] for name, shape in (("x", x), ("y", y))]
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = onnx.helper.make_graph(nodes, "net", *ends, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("opset", [13, 17, 25])
def test_a_shape_computed_from_the_batch(tmp_path: Path, opset: int) -> None:
    """As exporters write x.view(x.size(0), -1); operators of newer opsets than onnx2torch has."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n axis", "u"),
        node("Concat", "u rest", "t", axis=0), node("Reshape", "x t", "v"), node("Gemm", "v fc", "y", transB=1),
    ]  # fmt: skip
    held = {"fc": W["fc"], "zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    path, x = saved(tmp_path / "net.onnx", opset, nodes, held, (2, 4), (3,)), torch.rand(5, 2, 4)
    found = load_onnx(path, x[:2])
    assert torch.allclose(found(x), x.flatten(1) @ torch.from_numpy(W["fc"]).T, atol=1e-5)
    assert [layer.name for layer in trace(found, x).layers] == ["y.Gemm"]


@pytest.mark.parametrize(("mode", "stride", "size", "pads"), [
    ("SAME_UPPER", 1, 6, (1, 1)), ("SAME_UPPER", 2, 6, (0, 1)), ("SAME_LOWER", 2, 6, (1, 0)), ("SAME_LOWER", 2, 7, (1, 1)),
])  # fmt: skip
def test_same_padding_of_a_convolution(tmp_path: Path, mode: str, stride: int, size: int, pads: tuple[int, int]) -> None:
    nodes = [node("Conv", "x conv", "y", auto_pad=mode, strides=[stride] * 2)]
    path, x = saved(tmp_path / "net.onnx", 17, nodes, {"conv": W["conv"]}, (1, size, size), (4, None, None)), torch.randn(3, 1, size, size)
    wanted = F.conv2d(F.pad(x, pads * 2), torch.from_numpy(W["conv"]), stride=stride)
    assert torch.allclose(load_onnx(path, x)(x), wanted, atol=1e-5)


def test_attention_with_constant_shapes(tmp_path: Path) -> None:
    """Heads are split by a Reshape that keeps the batch (0); ReduceMean with its axes as an input (opset 18)."""
    nodes = [
        node("MatMul", "x q", "m"), node("Reshape", "m heads", "h"), node("Transpose", "h", "a", perm=[0, 2, 1, 3]),
        node("Transpose", "h", "b", perm=[0, 2, 3, 1]), node("MatMul", "a b", "ab"), node("Softmax", "ab", "p", axis=-1),
        node("MatMul", "p a", "o"), node("Transpose", "o", "ot", perm=[0, 2, 1, 3]), node("Reshape", "ot back", "r"),
        node("Add", "r x", "res"), node("ReduceMean", "res one", "mean", keepdims=0), node("Gemm", "mean fc", "y", transB=1),
    ]  # fmt: skip
    held = {"q": W["q"], "fc": W["fc"], "heads": np.array([0, 0, 2, 4]), "back": np.array([0, -1, 8]), "one": np.array([1])}
    path, x = saved(tmp_path / "net.onnx", 18, nodes, held, (5, 8), (3,)), torch.rand(3, 5, 8)

    def wanted(x: Tensor) -> Tensor:
        a = (x @ torch.from_numpy(W["q"])).unflatten(2, (2, 4)).transpose(1, 2)
        o = torch.softmax(a @ a.transpose(2, 3), -1) @ a
        return (o.transpose(1, 2).flatten(2) + x).mean(1) @ torch.from_numpy(W["fc"]).T

    assert torch.allclose(load_onnx(path, x)(x), wanted(x), atol=1e-5)


def test_what_cannot_be_read_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recurrent = [node("LSTM", "x w r", "o y", hidden_size=3, direction="reverse")]
    pool, unknown = [node("MaxPool", "x", "y", auto_pad="SAME_UPPER", kernel_shape=[2, 2])], [node("Hardmax", "x", "y")]
    weights = {"w": np.zeros((1, 12, 4), np.float32), "r": np.zeros((1, 12, 3), np.float32)}
    of_values = [node("ReduceMax", "x", "m", keepdims=0), node("Cast", "m", "i", to=7), node("Unsqueeze", "i axis", "u"),
                 node("Reshape", "x u", "y")]  # fmt: skip
    cases = [
        (saved(tmp_path / "lstm.onnx", 17, recurrent, weights, (5, 4), (1, 3)), "LSTM of /o y/LSTM: direction = reverse", (5, 4)),
        (saved(tmp_path / "unknown.onnx", 17, unknown, {}, (4,), (4,)), "Hardmax of /y/Hardmax; a .pt2 file of torch", (4,)),
        (saved(tmp_path / "pool.onnx", 17, pool, {}, (1, 4, 4), (1, 4, 4)),
         "MaxPool of /y/MaxPool has auto_pad = SAME_UPPER. Export it with explicit pads", (1, 4, 4)),
        (saved(tmp_path / "sizes.onnx", 17, of_values, {"axis": np.array([0])}, (4,), (4,)),
         "its operators, Cast, ReduceMax, Reshape, Unsqueeze, cannot be read as a torch network with a free batch axis", (4,)),
    ]  # fmt: skip
    for path, said, shape in cases:
        with pytest.raises(DataError) as told:
            load_onnx(path, torch.rand(3, *shape))
        assert said in str(told.value)
    assert "".join(capfd.readouterr()) == ""  # torch's own report of an export that fails is long


def test_rows_of_a_table_and_one_of_an_axis(tmp_path: Path) -> None:
    """Tokens choose rows (an embedding); one number takes one place of an axis, axes of a Squeeze are an input."""
    nodes = [
        node("Cast", "x", "i", to=7), node("Gather", "q i", "e", axis=0), node("Gather", "e place", "first", axis=1),
        node("Unsqueeze", "first axes", "wide"), node("Squeeze", "wide axes", "v"), node("Gemm", "v fc", "y", transB=1),
    ]  # fmt: skip
    held = {"q": W["q"], "fc": W["fc"], "place": np.array(1), "axes": np.array([1])}
    path, x = saved(tmp_path / "net.onnx", 17, nodes, held, (4,), (3,)), torch.arange(12.0).view(3, 4) % 8
    wanted = torch.from_numpy(W["q"])[x[:, 1].long()] @ torch.from_numpy(W["fc"]).T
    found = load_onnx(path, x)
    assert torch.allclose(found(x), wanted, atol=1e-5)
    assert any(isinstance(each, torch.nn.Embedding) for each in found.modules())


class Attentive(nn.Module):
    """Convolution, attention and norm, as torch's exporter writes them: shapes from the batch, reshapes with `allowzero`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x)).flatten(2).transpose(1, 2)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        found: Tensor = self.out(x.mean(1))
        return found


class Recurrent(nn.Module):
    """A recurrent layer and the last step; initial states are zeros of the batch's size."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], both: bool) -> None:
        super().__init__()
        self.cells = kind(4, 3, batch_first=True, bidirectional=both)
        self.out = nn.Linear(6 if both else 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.cells(x)[0][:, -1])
        return found


class Mixed(nn.Module):
    """Norms, activations, sizes and places of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3, padding=1, groups=3)
        self.up = nn.ConvTranspose1d(6, 4, 2, 2)
        self.slope, self.groups, self.each = nn.PReLU(4), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.mish(self.each(self.groups(self.slope(self.up(self.conv(x))))))
        first, second = F.pad(F.gelu(x), (1, 2)).chunk(2, 1)
        x = F.interpolate(torch.cat([second[:, :, 1:], first[:, :, :-1] * 2], 1), scale_factor=2.0)
        found: Tensor = self.out(x.amax(2) + x.sum(2) + x.flatten(1).mean(1, keepdim=True))
        return found


NETWORKS = {
    "attention": (Attentive, (1, 4, 4)), "lstm": (lambda: Recurrent(nn.LSTM, False), (2, 4)),
    "gru": (lambda: Recurrent(nn.GRU, True), (2, 4)),
    "mixed": (Mixed, (3, 8)),
}  # fmt: skip


@pytest.mark.parametrize(("network", "newer"), [
    ("attention", True), ("attention", False), ("lstm", False), ("gru", True), ("mixed", True), ("mixed", False),
])  # fmt: skip
def test_what_torchs_exporters_write(tmp_path: Path, network: str, newer: bool) -> None:
    """Both of torch's exporters, in their own opset: the same outputs, and the same matrices on the chip."""
    torch.manual_seed(0)
    made, shape = NETWORKS[network]
    model, x = made().eval(), torch.rand(5, *shape)
    free = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if newer else {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x[:2],), tmp_path / "net.onnx", dynamo=newer, verbose=False, **free)
    found = load_onnx(tmp_path / "net.onnx", x[:2])
    assert torch.allclose(found(x), model(x), atol=1e-5)
    sizes = [sorted((layer.outputs, layer.inputs, layer.vectors) for layer in trace(each, x).layers) for each in (found, model)]
    assert sizes[0] == sizes[1]
    if network == "attention":
        assert {"stem", "norm", "out"} <= {name for name, _ in found.named_modules()}

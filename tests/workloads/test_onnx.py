"""Files of ONNX as exporters write them: shapes computed from the batch's size, SAME padding, newer opsets; operators as ONNX
defines them; what is refused is named."""

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
    """A node of the names between spaces; - is one that is left out."""
    named = [["" if name == "-" else name for name in each.split()] for each in (inputs, outputs)]
    return onnx.helper.make_node(kind, *named, name=f"/{outputs}/{kind}", **attributes)


def saved(path: Path, opset: int, nodes: list[Any], held: dict[str, Any], x: tuple[Any, ...], y: tuple[Any, ...]) -> Path:
    """The file of a network; shapes of a sample; y: () where it is left to the file's reader."""
    ends = [[onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *shape] if shape else None)]
            for name, shape in (("x", x), ("y", y))]  # fmt: skip
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


def floats(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def numbers(*values: int) -> Any:
    return np.array(values, np.int64)


def resize(held: dict[str, Any], shape: tuple[int, ...] = (1, 5, 4), mode: str = "nearest", **how: Any) -> tuple[Any, ...]:
    """A row of a Resize by factors or to sizes; how: coordinates first, then what rounds."""
    return 13, [node("Resize", "x - scales" if "scales" in held else "x - - sizes", "y", mode=mode, **how)], held, shape


TWICE = {"scales": np.array([1, 1, 2, 2], np.float32)}
TO_SIZES = {"sizes": numbers(2, 1, 10, 8)}
BATCH = [node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0)]  # its size
HALF, SMALLER = ([*BATCH, node(kind, "n two", "m"), node("Unsqueeze", "m axis", "u")] for kind in ("Div", "Min"))
TIMES = [node("Cast", "u", "f", to=1), node("Mul", "x f", "y")]
FIRST = [node("Slice", "x axis u", "y")]
TWO = {"zero": np.array(0), "two": np.array(2), "axis": numbers(0), "rest": numbers(-1)}
CELLS = {"w": floats(1, 12, 4), "r": floats(1, 12, 3), "b": floats(1, 24), "h": floats(1, 1, 3)}
STEPS = [node("Transpose", "x", "t", perm=[1, 0, 2])]  # (steps, batch, features)
STARTS = [*BATCH, node("Unsqueeze", "n axis", "u"), node("Concat", "one u three", "sizes", axis=0), node("Expand", "h sizes", "start")]
STARTED = CELLS | {"one": numbers(1), "three": numbers(3), "zero": np.array(0), "axis": numbers(0)}
ROWS: dict[str, tuple[Any, ...]] = {  # opset, nodes, constants, shape of a sample, what is said where it is refused
    "1 largest over two axes from the end": (18, [node("ReduceMax", "x a", "y", keepdims=0)], {"a": numbers(-2, -1)}, (4, 3, 5)),
    "1 smallest over axes from both ends": (13, [node("ReduceMin", "x", "y", axes=[-1, 1], keepdims=0)], {}, (4, 3, 5)),
    "1 product": (18, [node("ReduceProd", "x a", "y", keepdims=0)], {"a": numbers(-1, 1)}, (4, 3, 5)),
    "1 places of new axes from the end": (13, [node("Unsqueeze", "x a", "y")], {"a": numbers(-1, -2)}, (4,)),
    "2 as torch's exporter has it": resize(TWICE, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "2 nearest as ONNX has it": resize(TWICE),
    "2 nearest, down": resize({"scales": np.array([1, 1, 0.4, 0.4], np.float32)}, (1, 10, 5)),
    "2 up": (*resize(TWICE, coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
             "Resize of y/Resize: mode nearest, asymmetric"),
    "2 half and floor": (*resize(TWICE, coordinate_transformation_mode="half_pixel", nearest_mode="floor"),
                         "half_pixel, floor from [5, 4]"),
    "2 corners and floor": (*resize(TWICE, coordinate_transformation_mode="align_corners", nearest_mode="floor"), "align_corners, floor"),
    "2 linear": resize(TWICE, mode="linear"),
    "2 linear, corners": resize(TWICE, mode="linear", coordinate_transformation_mode="align_corners"),
    "2 linear by 1.3": resize({"scales": np.array([1, 1, 1.3, 1.3], np.float32)}, mode="linear"),
    "2 cubic": resize(TWICE, mode="cubic"),
    "2 linear, asymmetric": (*resize(TWICE, mode="linear", coordinate_transformation_mode="asymmetric"), "mode linear, asymmetric"),
    "2 symmetric": (*resize(TWICE, mode="linear", coordinate_transformation_mode="half_pixel_symmetric"), "half_pixel_symmetric"),
    "2 corners by 1.3": (*resize({"scales": np.array([1, 1, 1.3, 1.3], np.float32)}, mode="linear",
                                 coordinate_transformation_mode="align_corners"), "align_corners from [5, 4] to [6, 5]"),
    "2 cubic of another a": (*resize(TWICE, mode="cubic", cubic_coeff_a=-0.5), "Resize of /y/Resize: cubic_coeff_a = -0.5"),
    "2 cubic without edges": (*resize(TWICE, mode="cubic", exclude_outside=1), "exclude_outside = 1"),
    "2 to sizes of one batch": (*resize(TO_SIZES), "Resize of y/Resize: other sizes of the first two axes"),
    "3 parts that do not divide": (18, [node("Split", "x", "a b c", axis=1, num_outputs=3), node("Concat", "c a b", "y", axis=1)], {},
                                   (7,)),
    "3 parts that must divide": (13, [node("Split", "x", "a b", axis=1), node("Add", "a b", "y")], {}, (7,), "Split of a b/Split: 7 in 2"),
    "4 pads of some axes": (18, [node("Pad", "x p - a", "y")], {"p": numbers(1, 2), "a": numbers(-1)}, (3, 4)),
    "5 half of the batch": (13, HALF + FIRST, TWO, (4,), "Slice of y/Slice: ends that follow from values, or from the size of the batch"),
    "5 times half of the batch": (13, HALF + TIMES, TWO, (4,)),
    "5 times the smaller": (13, SMALLER + TIMES, TWO, (4,)),
    "5 the smaller": (13, SMALLER + FIRST, TWO, (4,), "Slice of y/Slice: ends that follow"),
    "5 the smaller of many": (13, SMALLER + FIRST, TWO | {"two": np.array(16)}, (4,), "Slice of y/Slice: ends that follow"),
    "5 reshaped by half": (13, [*HALF, node("Concat", "u rest", "v", axis=0), node("Reshape", "x v", "y")], TWO, (4,),
                           "Reshape of y/Reshape: numbers that follow"),
    "5 copies for each sample": (13, [*BATCH, node("Unsqueeze", "n axis", "u"), node("Concat", "u one", "t", axis=0),
                                      node("Tile", "w t", "c"), node("Add", "x c", "y")],
                                 TWO | {"w": floats(1, 4), "one": numbers(1)}, (4,)),
    "5 sums so far": (13, [node("CumSum", "x two", "y")], {"two": np.array(-1)}, (4, 3)),
    "6 pads of a computed value": (13, [node("ReduceMax", "x", "m", keepdims=0), node("Pad", "x p m", "y")],
                                   {"p": numbers(0, 1, 0, 1)}, (4,), "Pad of y/Pad: value that follow"),
    "6 pads of NaN": (13, [node("Pad", "x p v", "y")], {"p": numbers(0, 1, 0, 1), "v": np.array(np.nan, np.float32)}, (4,)),
    "7 pads of an old opset": (10, [node("Pad", "x", "y", pads=[0, 1, 0, 2], value=2.5)], {}, (4,)),
    "8 SAME of a transposed convolution": (13, [node("ConvTranspose", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
                                           {"w": floats(1, 2, 3, 3)},
                                           (1, 4, 4), "ConvTranspose of /y/ConvTranspose has auto_pad"),
    "8 sizes of a transposed convolution": (13, [node("ConvTranspose", "x w", "y", output_shape=[9, 9], strides=[2, 2])],
                                            {"w": floats(1, 2, 3, 3)},
                                            (1, 4, 4), "ConvTranspose of /y/ConvTranspose has output_shape = [9, 9]"),
    "8 pads of means": (13, [node("AveragePool", "x", "y", kernel_shape=[2, 2], pads=[0, 0, 1, 1])], {}, (1, 4, 4),
                        "AveragePool of /y/AveragePool"),
    "9 norm over more than its scale": (17, [node("LayerNormalization", "x w b", "y", axis=1)],
                                           {"w": floats(5), "b": floats(5)}, (3, 4, 5)),
    "9 norm from an axis on": (17, [node("LayerNormalization", "x w b", "y", axis=2)],
                               {"w": floats(4, 5), "b": floats(4, 5)}, (3, 4, 5)),
    "10 the mean of a norm": (17, [node("LayerNormalization", "x w b", "a m", axis=-1), node("Mul", "a m", "y")],
                              {"w": floats(4), "b": floats(4)}, (4,), "LayerNormalization of /a m/LayerNormalization has outputs a, m"),
    "10 the mean of a norm, not used": (17, [node("LayerNormalization", "x w b", "y m", axis=-1)],
                                        {"w": floats(4), "b": floats(4)}, (4,)),
    "11 one of several parts": (13, [node("Split", "x three", "a y", axis=1)], {"three": numbers(3, 1)}, (4,)),
    "11 a part that is used": (13, [node("Split", "x", "y b", axis=1), node("Relu", "y", "z")], {}, (4,)),
    "11 a last state": (14, [*STEPS, node("LSTM", "t w r b", "- y", hidden_size=3)], CELLS, (5, 4)),
    "12 no more than": (13, [node("Clip", "x - high", "y")], {"high": np.array(0.5, np.float32)}, (4,)),
    "13 turned": (13, [node("Slice", "x start end axes step", "y")],
                  {"start": numbers(-1), "end": numbers(-(2**63)), "axes": numbers(1), "step": numbers(-1)}, (4,)),
    "13 backwards by two": (13, [node("Slice", "x start end axes step", "y")],
                            {"start": numbers(5, 0), "end": numbers(-7, 2**63 - 1), "axes": numbers(-1, 1), "step": numbers(-2, 1)},
                            (2, 7)),
    "13 nothing": (13, [node("Slice", "x start end axes", "e"), node("Concat", "e x", "y", axis=1)],
                   {"start": numbers(0), "end": numbers(-(2**63)), "axes": numbers(1)}, (4,)),
    "14 reflected": (13, [node("Pad", "x p", "y", mode="reflect")], {"p": numbers(0, 0, 0, 1, 0, 0, 0, 2)}, (2, 3, 4)),
    "14 edges": (13, [node("Pad", "x p", "y", mode="edge")], {"p": numbers(0, 0, 1, 0, 0, 2)}, (3, 4)),
    "14 edges of channels": (13, [node("Pad", "x p", "y", mode="edge")], {"p": numbers(1, 0, 0, 1, 0, 0)}, (3, 4),
                             "Pad of y/Pad: mode edge with pads [1, 0, 0, 1, 0, 0]"),
    "15 places from the end of a table": (13, [node("Cast", "x", "i", to=7), node("Gather", "w i", "y")], {"w": floats(6, 3)}, (4,)),
    "15 a list": (13, [node("Cast", "x", "i", to=7), node("Gather", "w i", "y")], {"w": floats(6)}, (4,)),
    "15 a table of matrices": (13, [node("Cast", "x", "i", to=6), node("Gather", "w i", "y")], {"w": floats(6, 2, 3)}, (4,)),
    "16 other activations": (14, [*STEPS, node("LSTM", "t w r b", "y", hidden_size=3, activations=["Relu", "Tanh", "Tanh"])], CELLS,
                             (5, 4), "LSTM of /y/LSTM: activations = ['Relu', 'Tanh', 'Tanh']"),
    "17 a first state of two": (14, [*STEPS, *STARTS, node("LSTM", "t w r b - start", "y", hidden_size=3)], STARTED, (5, 4)),
    "17 a pad value in a list": (13, [node("Pad", "x p v", "y")], {"p": numbers(0, 1, 0, 1), "v": np.array([1.5], np.float32)}, (4,)),
    "18 infinite below": (13, [node("Mul", "x w", "q"), node("IsInf", "q", "i", detect_positive=0), node("Cast", "i", "y", to=1)],
                          {"w": np.array([1, np.inf, 1, -np.inf], np.float32)}, (4,)),
    "18 a norm in training": (15, [node("BatchNormalization", "x w w w w", "y", training_mode=1)], {"w": np.ones(4, np.float32)}, (4,),
                              "BatchNormalization of /y/BatchNormalization has training_mode = 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_as_onnx_defines_it(tmp_path: Path, name: str) -> None:
    """What small graphs compute is what the package onnx says, for batches of sizes that the reader did not try; or they are refused, with
    the node's name."""
    from onnx.reference import ReferenceEvaluator

    opset, nodes, held, shape, *said = ROWS[name]
    path = saved(tmp_path / "net.onnx", opset, nodes, held, shape, ())
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(2))
    if said:
        with pytest.raises(DataError) as told:
            load_onnx(path, x[:2])
        assert said[0] in str(told.value)
        return
    found = load_onnx(path, x[:2])
    for batch in (x[:4], x):
        (wanted,) = ReferenceEvaluator(str(path)).run(None, {"x": batch.numpy()})
        assert found(batch).shape == wanted.shape
        assert np.allclose(found(batch).numpy(force=True), wanted, atol=1e-5, equal_nan=True)


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

"""An .onnx file as plain torch modules, through the packages onnx and onnx2torch: what onnx2torch has no operator for, and
`xbar.workloads.onnx_operators` neither, is told by name."""

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xbar.hw.graph.capture import quiet
from xbar.workloads.data import DataError
from xbar.workloads.exported import HOW, alike, first_line, network_of, outputs_of
from xbar.workloads.onnx_operators import add_operators
from xbar.workloads.onnx_shapes import program_of, with_plain_shapes

INSTEAD = f"a .pt2 file of torch.export.save, {HOW}, or FILE.py:FUNCTION keeps all of a torch model"


def load_onnx(path: Path, example: Tensor) -> nn.Module:
    """The network of an .onnx file, for inputs like `example` (n, ...); raises DataError where the package onnx2torch is missing, for
    what is no ONNX, and, by name, for operators that neither onnx2torch has nor
    `xbar.workloads.onnx_operators`."""
    let_torchvision_load()
    try:
        import onnx
        import onnx.inliner
        from onnx2torch import convert
    except ImportError:
        raise DataError(f"{path}: needs the packages onnx and onnx2torch: pip install 'xbar[onnx]'") from None
    add_operators()
    try:
        read = onnx.load(str(path))
        if not read.graph.node:
            raise ValueError("it has no operators")
    except Exception as error:  # of protobuf
        raise DataError(f"{path}: is no ONNX file: {first_line(error)}") from None
    with _silent():
        if read.functions:  # what torch's exporter makes of modules
            read = onnx.inliner.inline_local_functions(read)
        _with_explicit_padding(read, example)
        _without_copies_of_constants(read)
        _without_allowzero(read)
        _with_outputs_that_are_used(read)
    _name_by_weights(read)
    if lacking := _lacking(read, _opset(read)):
        raise DataError(f"{path}: has operators that onnx2torch lacks in opset {_opset(read)}: {', '.join(lacking)}; {INSTEAD}")
    held = {each.name for each in read.graph.initializer}
    inputs, outputs = [each.name for each in read.graph.input if each.name not in held], [each.name for each in read.graph.output]
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if len(names) != 1:
            raise DataError(f"{path}: has {len(names)} {what}, {', '.join(names)}; must have one: wrap the model in a module of one tensor")
    if unread := _unread(read):
        raise DataError(f"{path}: has what onnx2torch does not read: {'; '.join(unread)}; {INSTEAD}")
    if padded := _same_padded(read):
        raise DataError(f"{path}: has padding that onnx2torch lacks: {'; '.join(padded)}. Export it with explicit pads; {INSTEAD}")
    try:
        with _silent(), torch.no_grad():
            converted, seen = with_plain_shapes(convert(read).eval(), example)
            program = program_of(converted, example)
    except Exception as error:  # NotImplementedError of operators; export raises a family of its own
        told = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"{path}: its operators, {_kinds(read)}, cannot be read as a torch network with a free batch axis: {told}; "
                        f"{INSTEAD}") from None  # fmt: skip
    network = network_of(program, str(path), example)
    for x, wanted in seen:
        if not isinstance(wanted, Tensor) or not alike(wanted, outputs_of(network, x)):
            raise DataError(f"{path}: its operators, {_kinds(read)}, read as a torch network with a free batch axis compute something else "
                            f"for a batch of {len(x)}; {INSTEAD}")  # fmt: skip
    return network


@contextmanager
def _silent() -> Iterator[None]:
    """A block in which torch and onnx2torch log, print and warn of nothing: what goes wrong is raised."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield


def _opset(read: Any) -> int:
    return int(next((each.version for each in read.opset_import if each.domain in ("", "ai.onnx")), 1))


def _lacking(read: Any, opset: int) -> list[str]:
    """Operators that onnx2torch has not in that opset of ONNX's own, each with the first node that is one."""
    from onnx2torch.node_converters.registry import get_converter

    others = {each.domain: each.version for each in read.opset_import if each.domain not in ("", "ai.onnx")}
    found: dict[str, str] = {}
    for node in read.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        try:
            get_converter(node.op_type, opset if not domain else others.get(domain, 1), domain)
        except NotImplementedError:
            found.setdefault(f"{domain}.{node.op_type}".lstrip("."), node.name or (node.output[0] if node.output else ""))
    return [f"{kind} of {name}" if name else kind for kind, name in found.items()]


def _with_explicit_padding(read: Any, example: Tensor) -> None:
    """Write SAME padding out where the sizes are known; padding of pools that is not the same on both sides, which onnx2torch fills with
    zeros, is left as it is."""
    import onnx

    held = {each.name: onnx.numpy_helper.to_array(each) for each in read.graph.initializer}
    given = [each for each in read.graph.input if each.name not in held]
    if len(given) != 1 or not any(_same(node) for node in read.graph.node):
        return
    sizes = [onnx.TensorShapeProto.Dimension(dim_value=n) for n in example.shape]
    given[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
    del read.graph.value_info[:]  # of another batch
    try:
        inferred = onnx.shape_inference.infer_shapes(read).graph
    except onnx.shape_inference.InferenceError:  # left to what reads it
        return
    shapes = {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in (*inferred.input, *inferred.value_info)}
    for node in read.graph.node:
        known = node.op_type in ("Conv", "MaxPool", "AveragePool") and _same(node)
        pads = _pads(node, shapes.get(node.input[0], []), held) if known else []
        if pads and (node.op_type == "Conv" or pads[: len(pads) // 2] == pads[len(pads) // 2 :]):
            _set(node, auto_pad=None, pads=pads)


def _without_copies_of_constants(read: Any) -> None:
    """Drop copies (Identity) of constants, as older exporters write them of weights that are alike."""
    held = {each.name for each in read.graph.initializer}
    same = {node.output[0]: node.input[0] for node in read.graph.node if node.op_type == "Identity" and node.input[0] in held}
    for node in [node for node in read.graph.node if node.output[0] in same]:
        read.graph.node.remove(node)
    for node in read.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = same.get(name, name)


def _name_by_weights(read: Any) -> None:
    """Give layers the names under which their weights were modules' (`stem` of `stem.weight`), where one layer alone has that weight."""
    held = {each.name for each in read.graph.initializer if each.name.endswith(".weight")}
    users = {name: [node for node in read.graph.node if name in node.input] for name in held}
    taken = {node.name for node in read.graph.node}
    for weight, nodes in users.items():
        name = weight.removesuffix(".weight")
        if len(nodes) == 1 and name not in taken:
            nodes[0].name = name


def _without_allowzero(read: Any) -> None:
    """Drop `allowzero`, which torch's exporter writes at every reshape and onnx2torch refuses; kept where the shape is a constant with a 0,
    whose meaning alone it settles."""
    import onnx

    empty = {each.name for each in read.graph.initializer if each.data_type == each.INT64 and (onnx.numpy_helper.to_array(each) == 0).any()}
    for node in read.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in empty:
            _set(node, allowzero=None)


_SEVERAL = ("Split", "TopK", "LSTM", "GRU")  # whose modules give as many tensors as the node has outputs


def _with_outputs_that_are_used(read: Any) -> None:
    """Drop optional outputs that nothing uses, name those that have no name, and put a copy after a node of several outputs where one is
    the network's: onnx2torch makes all of them its output."""
    import onnx

    ends = {each.name for each in read.graph.output}
    used = {name for node in read.graph.node for name in node.input if name} | ends
    moved: dict[str, str] = {}
    for node in list(read.graph.node):
        while node.op_type not in _SEVERAL and len(node.output) > 1 and node.output[-1] not in used:
            node.output.pop()
        for at, name in enumerate(node.output):
            if len(node.output) > 1 and (not name or name in ends):
                node.output[at] = f"{name or node.output[-1]}/{at}/of_several"
                if name:
                    moved[name] = node.output[at]
    for node in read.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = moved.get(name, name)
    read.graph.node.extend(onnx.helper.make_node("Identity", [several], [name], name=f"{name}/copy") for name, several in moved.items())


def _unread(read: Any) -> list[str]:
    """What readers of onnx2torch pass over, each with its node."""
    found = []
    for node in read.graph.node:
        told = {each.name: list(each.ints) or each.i for each in node.attribute}
        pads, name = told.get("pads") or [], f"{node.op_type} of {node.name or (node.output[0] if node.output else '')}"
        if len(node.output) > 1 and node.op_type not in _SEVERAL:
            found.append(f"{name} has outputs {', '.join(node.output)}")
        if node.op_type == "BatchNormalization" and told.get("training_mode"):
            found.append(f"{name} has training_mode = 1")
        if node.op_type == "ConvTranspose" and "output_shape" in told:
            found.append(f"{name} has output_shape = {told['output_shape']}")
        if node.op_type == "AveragePool" and pads[: len(pads) // 2] != pads[len(pads) // 2 :] and not told.get("count_include_pad"):
            found.append(f"{name} has pads = {pads}, not counted in the mean")
    return found


def _same(node: Any) -> str:
    """SAME_UPPER or SAME_LOWER of a node whose padding follows from the size of what it is given; empty of others."""
    found = next((each.s.decode() for each in node.attribute if each.name == "auto_pad"), "")
    return found if found.startswith("SAME") else ""


def _pads(node: Any, shape: list[Any], constants: dict[str, Any]) -> list[int]:
    """Explicit pads of a convolution or pool with SAME padding, beginnings then ends, as ONNX defines them; empty where the size of
    what it is given is not known."""
    told = {each.name: list(each.ints) for each in node.attribute}
    kernel = told.get("kernel_shape") or (list(constants[node.input[1]].shape[2:]) if len(node.input) > 1 and node.input[1] in constants
                                          else [])  # fmt: skip
    sizes, rank = shape[2:], len(kernel)
    if not kernel or len(sizes) != rank or not all(isinstance(n, int) and n > 0 for n in sizes):
        return []
    strides, dilations = (told.get(name) or [1] * rank for name in ("strides", "dilations"))
    both = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    small, large = [n // 2 for n in both], [n - n // 2 for n in both]
    return [*small, *large] if _same(node) == "SAME_UPPER" else [*large, *small]


def _set(node: Any, **attributes: Any) -> None:
    """Attributes of a node anew; None: without it."""
    import onnx

    for each in [each for each in node.attribute if each.name in attributes]:
        node.attribute.remove(each)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items() if value is not None)


def _same_padded(read: Any) -> list[str]:
    """Nodes with SAME padding, each in words."""
    return [f"{node.op_type} of {node.name or node.output[0]} has auto_pad = {_same(node)}" for node in read.graph.node if _same(node)]


def _kinds(read: Any) -> str:
    return ", ".join(sorted({node.op_type for node in read.graph.node}))


_TORCHVISION: list[torch.library.Library] = []  # names that we gave, as long as they are to last


def let_torchvision_load() -> None:
    """Name torchvision's operators of detection where its compiled part is of another build than torch (its wheel for CUDA beside a
    torch for the CPU): torchvision, and onnx2torch that imports it, cannot be imported without those names. Only networks for
    detection call them, which fail then as they would."""
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations or "torchvision" in sys.modules or _TORCHVISION:
        return
    try:
        for library in Path(found.submodule_search_locations[0]).glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        names = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _TORCHVISION.append(names)

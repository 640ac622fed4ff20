"""An .onnx file as plain torch modules, through the packages onnx and onnx2torch: what onnx2torch has no operator for is told by name, in
a lower opset where onnx itself can write the network so."""

import importlib.util
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from xbar.hw.graph.capture import quiet
from xbar.workloads.data import DataError
from xbar.workloads.exported import HOW, first_line, network_of

BATCH = "batch"
LEAST_OPSET = 7  # that onnx lowers a network to
SHAPES_OPSET = 17  # in which onnx follows a shape through Shape, Gather, Slice and Concat; in 13 and from 21 on it does not
INSTEAD = f"a .pt2 file of torch.export.save, {HOW}, or FILE.py:FUNCTION keeps all of a torch model"


def load_onnx(path: Path, example: Tensor) -> nn.Module:
    """The network of an .onnx file, for inputs like `example` (n, ...); raises DataError where the package onnx2torch is missing, for
    what is no ONNX, and, by name, for operators that onnx2torch lacks in all opsets that onnx can lower the network to."""
    let_torchvision_load()
    try:
        import onnx
        from onnx2torch import convert
    except ImportError:
        raise DataError(f"{path}: needs the packages onnx and onnx2torch: pip install 'xbar[onnx]'") from None
    try:
        read = onnx.load(str(path))
        if not read.graph.node:
            raise ValueError("it has no operators")
    except Exception as error:  # of protobuf
        raise DataError(f"{path}: is no ONNX file: {first_line(error)}") from None
    with _silent():
        read = _with_fixed_shapes(_lowered(read, path), example)
    if padded := _same_padded(read):
        raise DataError(f"{path}: has padding that onnx2torch lacks: {'; '.join(padded)}. Export it with explicit pads; {INSTEAD}")
    try:
        with _silent(), torch.no_grad():
            converted = _with_plain_reshapes(convert(read).eval())
            program = torch.export.export(converted, (example[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # NotImplementedError of operators; export raises a family of its own
        told = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"{path}: its operators, {_kinds(read)}, cannot be read as a torch network with a free batch axis: {told}; "
                        f"{INSTEAD}") from None  # fmt: skip
    return network_of(program, str(path), example)


@contextmanager
def _silent() -> Iterator[None]:
    """A block in which torch and onnx2torch log, print and warn of nothing: what goes wrong is raised."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield


def _lowered(read: Any, path: Path) -> Any:
    """The network as it is, or in the highest opset in which onnx2torch has all its operators, or, where it computes shapes, in the one
    in which onnx can follow them. Raises DataError naming operators that onnx2torch has in none."""
    import onnx
    from onnx import inliner, version_converter

    if read.functions:  # what torch's exporter makes of modules
        read = inliner.inline_local_functions(read)
    opset, computed = _opset(read), _computes_shapes(read)
    lacking = _lacking(read, opset)
    if not lacking and (not computed or opset == SHAPES_OPSET):
        return read
    why, lower_ones = "", [*range(min(opset, onnx.defs.onnx_opset_version()) - 1, LEAST_OPSET - 1, -1)]
    for other in (SHAPES_OPSET, *lower_ones) if computed else lower_ones:
        if _lacking(read, other):
            continue
        try:
            found = version_converter.convert_version(read, other)
        except Exception as error:  # RuntimeError, ConvertError: no adapter
            why = f" (onnx cannot write the network in opset {other}: {first_line(error)})"
            continue
        if not _lacking(found, other):
            return found
    if not lacking:
        return read
    raise DataError(f"{path}: has operators that onnx2torch lacks in opset {opset}: {', '.join(lacking)}{why}; {INSTEAD}")


def _computes_shapes(read: Any) -> bool:
    """True where a shape to reshape to is no constant."""
    constants = {each.name for each in read.graph.initializer}
    constants |= {name for node in read.graph.node if node.op_type == "Constant" for name in node.output}
    return any(node.op_type == "Reshape" and node.input[1] not in constants for node in read.graph.node)


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


def _with_fixed_shapes(read: Any, example: Tensor) -> Any:
    """The network with constants where it computes them from the shape of its input: shapes to reshape to, whose batch stays free, and
    SAME padding as explicit pads. What onnx cannot infer is left as it is, and so is padding of pools that is not the same on both
    sides, which onnx2torch fills with zeros."""
    import onnx

    constants = {each.name: onnx.numpy_helper.to_array(each) for each in read.graph.initializer}
    given = [each for each in read.graph.input if each.name not in constants]
    if len(given) != 1:
        return read
    sizes = [onnx.TensorShapeProto.Dimension(dim_param=BATCH), *(onnx.TensorShapeProto.Dimension(dim_value=n) for n in example.shape[1:])]
    given[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
    del read.graph.value_info[:]  # with other names of the batch
    try:
        inferred = onnx.shape_inference.infer_shapes(read, data_prop=True).graph
    except onnx.shape_inference.InferenceError:  # left to what reads it
        return read
    shapes = {each.name: [dim.dim_value or dim.dim_param for dim in each.type.tensor_type.shape.dim]
              for each in (*inferred.input, *inferred.value_info, *inferred.output)}  # fmt: skip
    for node in read.graph.node:
        if node.op_type == "Reshape" and node.input[1] not in constants:
            wanted = _reshaped(shapes.get(node.input[0], []), shapes.get(node.output[0], []))
            if wanted:
                name = f"{node.output[0]}, shape"
                read.graph.initializer.append(onnx.numpy_helper.from_array(np.array(wanted, dtype=np.int64), name))
                node.input[1] = name
        elif _same(node):
            pads = _pads(node, shapes.get(node.input[0], []), constants)
            if pads and (node.op_type == "Conv" or pads[: len(pads) // 2] == pads[len(pads) // 2 :]):
                _set(node, auto_pad=None, pads=pads)
    while unused := _unused(read.graph):
        for node in unused:
            read.graph.node.remove(node)
    return read


def _with_plain_reshapes(converted: Any) -> Any:
    """What onnx2torch made, with torch's own reshape where a shape is constant: as it comes the shape is a tensor whose values are looked
    at, which torch.export refuses."""
    for node in list(converted.graph.nodes):
        if node.op != "call_module" or type(converted.get_submodule(node.target)).__name__ != "OnnxReshape":
            continue
        source, shape = node.args
        if not isinstance(shape, fx.Node) or shape.op != "get_attr":
            continue
        owner, _, name = str(shape.target).rpartition(".")
        sizes = getattr(converted.get_submodule(owner), name).tolist()
        with converted.graph.inserting_before(node):
            taken = [converted.graph.call_method("size", (source, axis)) if size == 0 else size for axis, size in enumerate(sizes)]
            node.replace_all_uses_with(converted.graph.call_function(torch.reshape, (source, tuple(taken))))
        converted.graph.erase_node(node)
    converted.recompile()
    return converted


def _reshaped(before: list[Any], after: list[Any]) -> list[int]:
    """The shape to reshape to, its batch free, where both batches are the input's and one other size at most is not known; else empty."""
    if before[:1] != [BATCH] or after[:1] != [BATCH] or not all(isinstance(n, int) and n > 0 for n in before[1:]):
        return []
    known = [n for n in after[1:] if isinstance(n, int) and n > 0]
    if len(known) < len(after) - 2:
        return []
    left = math.prod(before[1:]) // math.prod(known)
    return [-1, *(n if isinstance(n, int) and n > 0 else left for n in after[1:])]


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


def _unused(graph: Any) -> list[Any]:
    """Nodes that nothing takes what they give of."""
    taken = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    return [node for node in graph.node if not taken & set(node.output)]


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

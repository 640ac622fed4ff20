"""An .onnx file as plain torch modules, through the packages onnx and onnx2torch: what onnx2torch has no operator for is told by name, in
a lower opset where onnx itself can write the network so."""

import importlib.util
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

LEAST_OPSET = 7  # that onnx lowers a network to
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
    """The network as it is, or in the highest opset in which onnx2torch has all its operators. Raises DataError naming those that it
    has in none."""
    import onnx
    from onnx import inliner, version_converter

    if read.functions:  # what torch's exporter makes of modules
        read = inliner.inline_local_functions(read)
    opset = _opset(read)
    lacking = _lacking(read, opset)
    if not lacking:
        return read
    why = ""
    for lower in range(min(opset, onnx.defs.onnx_opset_version()) - 1, LEAST_OPSET - 1, -1):
        if _lacking(read, lower):
            continue
        try:
            found = version_converter.convert_version(read, lower)
        except Exception as error:  # RuntimeError, ConvertError: no adapter
            why = f" (onnx cannot write the network in opset {lower}: {first_line(error)})"
            continue
        if not _lacking(found, lower):
            return found
    raise DataError(f"{path}: has operators that onnx2torch lacks in opset {opset}: {', '.join(lacking)}{why}; {INSTEAD}")


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
    """The network with constants where it computes them from the shape of its input, and explicit pads for SAME padding. Of shapes to
    reshape to the batch stays free. What cannot be told is left as it is, and so is padding of pools that is not the same on both
    sides, which onnx2torch fills with zeros."""
    import onnx

    held = {each.name: onnx.numpy_helper.to_array(each) for each in read.graph.initializer}
    given = [each for each in read.graph.input if each.name not in held]
    if len(given) != 1:
        return read
    if any(node.op_type == "Shape" for node in read.graph.node):
        _fold_shapes(read, given[0].name, example, set(held))
    if any(_same(node) for node in read.graph.node):
        sizes = [onnx.TensorShapeProto.Dimension(dim_value=n) for n in example.shape]
        given[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
        del read.graph.value_info[:]  # of another batch
        try:
            inferred = onnx.shape_inference.infer_shapes(read).graph
        except onnx.shape_inference.InferenceError:  # left to what reads it
            return read
        shapes = {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in (*inferred.input, *inferred.value_info)}
        for node in read.graph.node:
            pads = _pads(node, shapes.get(node.input[0], []), held) if _same(node) else []
            if pads and (node.op_type == "Conv" or pads[: len(pads) // 2] == pads[len(pads) // 2 :]):
                _set(node, auto_pad=None, pads=pads)
    return read


def _fold_shapes(read: Any, source: str, example: Tensor, held: set[str]) -> None:
    """Put constants in place of what follows from shapes alone and is the same for a batch of two samples and of three, and of shapes to
    reshape to that differ in the batch alone. Both are run by onnx's own evaluator; where it cannot, nothing is changed."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    try:
        runs = [ReferenceEvaluator(read).run(None, {source: example[:1].repeat(n, *[1] * (example.dim() - 1)).numpy()}, intermediate=True)
                for n in (2, 3)]  # fmt: skip
    except Exception:  # of operators and networks of all kinds; told when it is converted
        return
    of_shapes, fixed = set(held), {}
    for node in read.graph.node:
        if node.op_type == "Shape" or all(name in of_shapes or not name for name in node.input):
            of_shapes |= set(node.output)
            two, three = ([np.asarray(run[name]) for name in node.output] for run in runs)
            if all(a.shape == b.shape and (a == b).all() for a, b in zip(two, three, strict=True)):
                fixed |= dict(zip(node.output, two, strict=True))
    for node in read.graph.node:
        if node.op_type == "Reshape" and node.input[1] in of_shapes - held - set(fixed):
            two, three = (list(run[node.output[0]].shape) for run in runs)
            if len(two) == len(three) and sum(a != b for a, b in zip(two, three, strict=True)) == 1:
                name = f"{node.output[0]}, shape"
                wanted = [a if a == b else -1 for a, b in zip(two, three, strict=True)]
                read.graph.initializer.append(numpy_helper.from_array(np.array(wanted, dtype=np.int64), name))
                node.input[1] = name
    for node in [node for node in read.graph.node if set(node.output) <= set(fixed)]:
        read.graph.node.remove(node)
    read.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in fixed.items())
    while unused := _unused(read.graph):
        for node in unused:
            read.graph.node.remove(node)


def _with_plain_reshapes(converted: Any) -> Any:
    """What onnx2torch made, with torch's own functions where a shape, axes or one index are constant: as they come they are tensors whose
    values are looked at, which torch.export refuses. Rows of a constant table that inputs choose are an embedding."""
    graph = converted.graph
    for node in list(graph.nodes):
        module = converted.get_submodule(node.target) if node.op == "call_module" else None
        kind = type(module).__name__
        if kind not in ("OnnxReshape", "OnnxSqueezeDynamicAxes", "OnnxGather") or len(node.args) != 2:
            continue
        source, told = node.args
        if kind == "OnnxGather" and module._axis == 0 and source.op == "get_attr" and getattr(told, "op", "") != "get_attr":
            with graph.inserting_before(node):  # rows of a table, by tokens
                node.replace_all_uses_with(graph.call_function(nn.functional.embedding, (told, source)))
            graph.erase_node(node)
            continue
        if not isinstance(told, fx.Node) or told.op != "get_attr":
            continue
        owner, _, name = str(told.target).rpartition(".")
        constant = getattr(converted.get_submodule(owner), name)
        with graph.inserting_before(node):
            if kind == "OnnxReshape":
                sizes = tuple(graph.call_method("size", (source, at)) if n == 0 else n for at, n in enumerate(constant.tolist()))
                plain = graph.call_function(torch.reshape, (source, sizes))
            elif kind == "OnnxSqueezeDynamicAxes":
                plain = graph.call_function(torch.squeeze, (source, tuple(constant.tolist())))
            elif constant.dim() == 0:
                plain = graph.call_function(torch.select, (source, module._axis, int(constant)))
            else:
                continue
        node.replace_all_uses_with(plain)
        graph.erase_node(node)
    converted.recompile()
    return converted


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

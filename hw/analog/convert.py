"""`convert(model, chip, calibration_data, seed)`: the network with its matrices on simulated crossbars.

Every constant matrix of the one graph (`hw.graph`) becomes an AnalogLayer: inputs to integers over the calibrated range, crossbar
product, integers back to values, bias added digitally. Every table becomes an AnalogEmbedding. All else runs as it is.
"""

import logging
import math
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from xbar.hw.analog.freed import Freed
from xbar.hw.analog.layers import AnalogEmbedding, AnalogLayer, has_bias_rows
from xbar.hw.analog.operate import program
from xbar.hw.array.counts import ActionCounts
from xbar.hw.array.mapping import lines_in_use
from xbar.hw.array.memory import bytes_held
from xbar.hw.checks import begin, end
from xbar.hw.chip.description import Chip
from xbar.hw.chip.layers import check_layers
from xbar.hw.errors import ParameterError, RangeWarning, UnknownLayerError, did_you_mean
from xbar.hw.graph.capture import Example, check_example
from xbar.hw.graph.graph import Graph, read
from xbar.hw.graph.matrix import Matrix, Table
from xbar.hw.graph.operators import computes_a_size
from xbar.hw.graph.ranges import Ranges
from xbar.hw.graph.trace import outer_rows

logger = logging.getLogger(__name__)

CALIBRATION_VECTORS = 512  # input vectors kept per layer for the ADC range; the input range uses all
SAMPLES_AT_ONCE = 256  # of calibration data run together, at most, and
VALUES_AT_ONCE = 2**23  # of them so many values of the network's inputs
CELLS_AT_ONCE = 2**23  # after the layers of so many cells, freed memory is given back: a moment's, in the seconds that they take

CalibrationData = Example | np.ndarray | Iterable[Any]


def convert(
    model: nn.Module, chip: Chip, calibration_data: CalibrationData, seed: int, pack: bool = False, host: Collection[str] = (),
    input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> fx.GraphModule:  # fmt: skip
    """A model of the same call whose Linear, convolutions, recurrences, attention projections and Embeddings run on `chip`.

    Batch norm is folded first. `calibration_data` sets the input range of each layer and the range of calibrated ADCs: a
    tensor or numpy array (batch, ...), a tuple of them for a model of several inputs, or batches that can be gone through
    twice, such as a DataLoader's (of each the first tensors are the inputs). Memory does not grow with their number. `seed` draws
    the chip instance; pack, host: as in `xbar.hw.graph.trace.trace`, layers on a host stay float. input_ranges: lowest and highest
    input of layers by name, where it is known, as of activations that are quantised over a range. Inputs have the captured shape,
    any batch. Dropout follows the mode; batch norm that is not folded keeps its statistics. `model` is left alone. Raises
    TraceError, MappingError, ParameterError, or UnknownLayerError where the chip has settings, or input_ranges, for layers that are
    not there.
    """
    with torch.inference_mode(False):
        batches = _Batches(calibration_data)
        return _converted(read(model, batches.example, host), chip, batches, seed, pack, input_ranges)


def memory_needed(
    model: nn.Module, chip: Chip, example: Example, pack: bool = False, host: Collection[str] = (), instances: int = 1
) -> int:
    """Bytes that a converted model of so many chip instances will hold beside its weights, told before it is made.

    Raises as `xbar.hw.graph.trace.trace`; what is left out stands in `xbar.hw.array.memory.bytes_held`.
    """
    return _bytes_of(read(model, example, host), chip, pack, instances)


def _bytes_of(graph: Graph, chip: Chip, pack: bool, instances: int) -> int:
    total = 0
    for name, layer in graph.layers.items():
        if set(graph.uses[name]) <= graph.host:
            continue
        groups, outputs, inputs = layer.matrix.shape
        if pack and isinstance(layer, Matrix):
            outputs, inputs = (len(kept) for kept in lines_in_use(layer.matrix))
        own = chip.for_layer(name)
        bias = isinstance(layer, Matrix) and has_bias_rows(own, layer)
        total += bytes_held(own.array_design, own.geometry(outputs, inputs, groups, bias), instances)
    return total


def _begin(module: nn.Module, given: Any) -> None:
    """Before a forward: what its layers check is told together at its end."""
    begin()


def _end(module: nn.Module, given: Any, found: Any) -> None:
    """After it, or after the error that broke it off."""
    end(done=found is not None)


def _make_beside_inputs(module: fx.GraphModule) -> None:
    """Let what the graph makes anew, as first states of a recurrence, be on the torch device of the inputs, not on the captured one."""
    like = next(node for node in module.graph.nodes if node.op == "placeholder")
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.kwargs.get("device") is not None:
            node.args = (like, node.target, *node.args)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name not in ("device", "pin_memory")}
            node.target = made_beside


def made_beside(like: Tensor, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `make` makes of these arguments, on the torch device of `like`."""
    return make(*args, device=like.device, **kwargs)


class _Batches:
    """Calibration data, part by part, as often as asked for."""

    def __init__(self, data: CalibrationData):
        self.data = data
        first = next(iter(self), None)
        if first is None:
            raise ParameterError("calibration_data hold no batch")
        self.example: Example = first[0] if len(first) == 1 else first

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Inputs of a few samples each, checked."""
        data = self.data
        if isinstance(data, Tensor | np.ndarray):
            whole: Iterable[Any] = [(data,)]
        elif isinstance(data, tuple) and all(isinstance(each, Tensor | np.ndarray) for each in data):
            whole = [data]
        elif isinstance(data, Iterable) and not isinstance(data, str | bytes | dict | Iterator):
            whole = data
        else:
            raise ParameterError(
                "calibration_data must be (batch, ...), a tensor or numpy array, a tuple of them, or batches that can be gone "
                f"through twice, as a DataLoader; got {type(data).__name__}"
            )
        several = whole is data
        for batch in whole:
            given = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
            given = tuple(_tensor(each) for each in (given[: self.inputs] if several else given))
            check_example(given, "calibration_data", ParameterError)
            at_once = max(1, min(SAMPLES_AT_ONCE, VALUES_AT_ONCE // max(each[0].numel() for each in given)))
            yield from zip(*(each.detach().clone().split(at_once) for each in given), strict=True)

    inputs = 1  # of the model; batches of a loader have labels after them


def _read_inputs(graph: Graph) -> set[str]:
    """Layers that read the network's inputs, or what is made of them before any layer."""
    raw: set[fx.Node] = set()
    found = set()
    for node in graph.module.graph.nodes:
        if node.op == "call_function" and computes_a_size(node.target):
            continue
        if node.op == "placeholder" or any(operand in raw for operand in node.all_input_nodes):
            name = graph.layer_of(node)
            if name is None:
                raw.add(node)
            else:
                found.add(name)
    return found


def _memory_left() -> float:
    """Free memory of this computer [bytes]; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _tensor(value: Any) -> Tensor:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
        return value.to(torch.get_default_dtype()) if value.is_floating_point() else value
    if not isinstance(value, Tensor):
        raise ParameterError(f"calibration_data must be (batch, ...) tensors or numpy arrays, got {type(value).__name__}")
    return value


class _Fed(Ranges):
    """Counts the vectors of every use, and then picks some of them, evenly spread over all data."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.graph_read = graph
        self.node = ""
        self.counted: dict[str, int] = {}  # by node: vectors of all data
        self.passed: dict[str, int] = {}  # by node: vectors so far, when picking
        self.analog: dict[str, AnalogLayer] = {}
        self.picked: dict[str, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.node = n.name
        return super().run_node(n)

    def fed(self, name: str, x: Tensor) -> None:
        if self.node in self.graph_read.host:
            return
        if not self.analog:
            super().fed(name, x)
            matrix = self.graph_read.layers[name]
            assert isinstance(matrix, Matrix)
            self.counted[self.node] = self.counted.get(self.node, 0) + matrix.layout.count(tuple(x.shape))
            return
        layer, total = self.analog[name], self.counted[self.node]
        most = max(1, CALIBRATION_VECTORS // len(self.graph_read.uses[name]))
        wanted = torch.linspace(0, total - 1, min(total, most)).round().long()
        first = self.passed.get(self.node, 0)
        count = self.passed[self.node] = first + layer.layout.count(tuple(x.shape))
        here = wanted[(wanted >= first) & (wanted < count)] - first
        if len(here):
            self.picked.setdefault(name, []).append(layer.chosen(x, here))


def _converted(
    graph: Graph, chip: Chip, batches: _Batches, seed: int, pack: bool, input_ranges: Mapping[str, tuple[float, float]]
) -> fx.GraphModule:
    batches.inputs = len(graph.inputs)
    check_layers(chip.name, chip.layer, [name for name in graph.layers if not set(graph.uses[name]) <= graph.host])
    needed = _bytes_of(graph, chip, pack, 1)
    logger.info("converting to %s: %d layers, %.0f MiB beside the weights", chip.name, len(graph.layers), needed / 2**20)
    if needed > (left := _memory_left()):
        warnings.warn(
            f"the converted model will hold {needed / 2**30:.1f} GiB beside its weights, {left / 2**30:.1f} GiB are free",
            ResourceWarning, stacklevel=3,
        )  # fmt: skip
    outer, watched = outer_rows(graph), _read_inputs(graph)
    fed = _Fed(graph)
    for given in batches:
        fed.record(given)
    for name, (low, high) in input_ranges.items():
        if name not in fed.low:
            raise UnknownLayerError(f"input_ranges has {name!r}, which is no layer on the chip{did_you_mean(name, list(fed.low))}")
        if not -math.inf < low <= high < math.inf:
            raise ParameterError(f"input_ranges of {name} must be finite, lowest first, got {low} to {high}")
        fed.low[name], fed.high[name] = low, high
    with torch.no_grad():
        on_host = {str(node.target) for node in graph.module.graph.nodes if node.name in graph.host and node.op == "call_module"}
        found: dict[str, AnalogLayer] = {}
        freed = Freed(CELLS_AT_ONCE)
        for name, layer in graph.layers.items():
            if name in on_host:
                continue
            if isinstance(layer, Table):
                found[name] = AnalogEmbedding(layer, chip.for_layer(name), name)
            else:
                found[name] = AnalogLayer(layer, chip.for_layer(name), name, fed.low[name], fed.high[name], pack=pack)
            freed.done(found[name].matrix.geometry.cells)
        fed.analog = found
        for given in batches:
            fed.run(*given)
    limited: list[str] = []
    for name, analog in found.items():
        vectors = analog.every_row() if isinstance(analog, AnalogEmbedding) else torch.cat(fed.picked.pop(name), dim=1)
        analog.saturated_share = analog.matrix.calibrate(vectors)
        analog.matrix.counts = ActionCounts()
        freed.done(analog.matrix.geometry.cells)
        if analog.matrix.limited_share:
            limited.append(f"{name} ({100 * analog.matrix.limited_share:.2g} %)")
        analog.warned, analog.watched = False, name in watched
        analog.register_buffer("calibration_vectors", vectors, persistent=False)
        graph.module.set_submodule(name, analog)
        for node in graph.module.graph.nodes:
            if node.op == "call_module" and node.target == name and outer[node.name] > 1:
                node.args = (*node.args, outer[node.name])
    _make_beside_inputs(graph.module)
    if limited:
        limit = f"component.adc.current_limit = {chip.component.adc.current_limit:g} A"
        told = f"{limit} holds part of the column currents of calibration data, by layer: {', '.join(limited)}"
        warnings.warn(told, RangeWarning, stacklevel=3)
    graph.module.recompile()
    graph.module.register_forward_pre_hook(_begin)
    graph.module.register_forward_hook(_end, always_call=True)
    program(graph.module, seed)
    freed.done(sum(analog.matrix.geometry.cells for analog in found.values()))
    return graph.module.eval()

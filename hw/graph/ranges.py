"""What a graph's layers are fed: the smallest and largest value of each, by running it in float."""

from typing import Any

import torch
from torch import Tensor, fx

from xbar.hw.errors import TraceError
from xbar.hw.graph.graph import Graph
from xbar.hw.graph.matrix import Table


class Ranges(fx.Interpreter):
    """Runs a graph and keeps, of every layer, the smallest and largest value that it was fed, taken when it was read.

    fed: called with layer and input of every use. Raises TraceError for look-ups of rows that a table does not have.
    """

    def __init__(self, graph: Graph):
        super().__init__(graph.module)
        self.extra_traceback = False  # errors of ours tell what they mean
        self.layers = graph.layers
        self.low: dict[str, float] = {}
        self.high: dict[str, float] = {}

    @torch.no_grad()
    def record(self, given: tuple[Tensor, ...]) -> None:
        """Run the graph on these inputs; raises TraceError, with torch's reason, where they cannot be computed with."""
        try:
            self.run(*given)
        except RuntimeError as error:
            said = str(error).partition("\n\nWhile executing")[0]
            raise TraceError(f"the network cannot be run on inputs of {', '.join(str(x.dtype) for x in given)}: {said}") from error

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.layers.get(target)
        if isinstance(layer, Table):
            layer.check(args[0], target)
        elif layer is not None:
            self.fed(target, args[0])
        return super().call_module(target, args, kwargs)

    def fed(self, name: str, x: Tensor) -> None:
        """A use of a layer reads `x`."""
        low, high = (float(end) for end in torch.aminmax(x.detach())) if x.numel() else (0.0, 0.0)
        self.low[name] = min(low, self.low.get(name, low))
        self.high[name] = max(high, self.high.get(name, high))

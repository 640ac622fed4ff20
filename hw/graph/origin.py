"""Where an operator of a captured graph stands in the user's model."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>[^\n]+)(?:\n\s+(?P<code>[^\n]*))?')


@dataclass(frozen=True)
class Origin:
    """Where an operator stands in the user's model: the path of its module, and the line that wrote it."""

    module: str
    line: str


def origin_of(node: fx.Node) -> Origin:
    """Module and line of a captured node; the last line that is not torch's own."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str([value[0] for value in stack.values()][-1]) if stack else ""
    frames = list(_frames(node.meta.get("stack_trace") or ""))
    own = [frame for frame in frames if "/torch/" not in frame["file"]] or frames
    line = f'{own[-1]["file"]}:{own[-1]["line"]}: {(own[-1]["code"] or "").strip()}' if own else ""
    return Origin(path, line)


def _frames(trace: str) -> Iterator[re.Match[str]]:
    yield from _FRAME.finditer(trace)

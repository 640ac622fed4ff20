"""Where an operator of a captured graph stands in the user's model, and whose a tensor is that several modules share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn

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


def sharing(model: nn.Module, user: str, path: str) -> str | None:
    """`user` where that module has the tensor of this path as its own too, under another name; else None."""
    owner, _, name = path.rpartition(".")
    if not user or user == owner:
        return None
    try:
        module, first = model.get_submodule(user), model.get_submodule(owner)
    except AttributeError:
        return None
    tensor = getattr(first, name, None)
    return user if module is not first and any(each is tensor for each in module.parameters(recurse=False)) else None


def _frames(trace: str) -> Iterator[re.Match[str]]:
    yield from _FRAME.finditer(trace)

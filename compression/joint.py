"""What of a network goes together: the units of its streams, each with all that makes it, carries it and reads it.

A unit is a channel of a residual stream, a unit of an LSTM with its gates, a place of every attention head, or a whole head; a stream
is the units that are made and read by the same tensors, so that they compete for being kept. `Joint` is a stream's
constraint set for ADMM and magnitude pruning; `Stream.cut` takes units out of a model by zeros, which `shrink` then removes.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xbar.compression.channels import Channels
from xbar.compression.constraints import _check_finite
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers
from xbar.compression.labels import FIXED
from xbar.compression.masks import attach
from xbar.hw.graph.capture import Example


@dataclass(frozen=True)
class Slice:
    """Of a tensor of the model, by its path, the unit that each element is of (-1: none of the stream's), of a shape that broadcasts
    to the tensor's: (n, 1, 1, 1) for filters."""

    path: str
    units: Tensor = field(repr=False)
    axes_of: tuple[int, ...]  # the axes along which units differ


@dataclass(frozen=True)
class Stream:
    """Units that go each with all their slices: of filters, biases, norms, embeddings, inputs. name: the first layer that makes
    them. count: how many units. writers: layers whose filters they are."""

    name: str
    count: int
    slices: tuple[Slice, ...] = field(repr=False)
    writers: tuple[str, ...]
    labels: Tensor = field(repr=False)  # unit of each label of the graph, -1 for none

    @property
    def key(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        """What tells the stream from others, in a smaller copy of the model too: its weights and their axes."""
        return frozenset((each.path, each.axes_of) for each in self.slices if each.units.dim() > 1)

    def rows(self, layer: str) -> Tensor:
        """The unit of each output of a layer, -1 for none of this stream's."""
        found = [each.units.flatten() for each in self.slices if each.path == f"{layer}.weight" and each.axes_of == (0,)]
        return found[0] if found else torch.empty(0, dtype=torch.int64)

    def norms(self, model: nn.Module, instead: Mapping[str, Tensor] = MappingProxyType({})) -> Tensor:
        """l2 norm of each unit over all of its weights of two axes or more, of whatever layers and tables, float64 (units,).

        instead: tensors, by path, that are taken in the place of the model's.
        """
        found = torch.zeros(self.count + 1, dtype=torch.float64)
        for each in self.slices:
            tensor = instead[each.path] if each.path in instead else _tensor(model, each.path)
            if tensor.dim() > 1:
                _check_finite(tensor)
                squares = tensor.detach().double().cpu().square()
                place = (each.units.expand(tensor.shape).flatten() + self.count + 1) % (self.count + 1)  # -1: the last, of none
                found.index_add_(0, place, squares.flatten())
        return found[: self.count].sqrt()

    def largest(self, model: nn.Module, k: int) -> Tensor:
        """bool (units,): the k of largest norm, of equal ones the first."""
        return _largest(self.norms(model), k)

    def masks(self, model: nn.Module, keep: Tensor) -> dict[str, Tensor]:
        """What stays of tensors where only the units `keep`, bool (units,), do: bool by path."""
        masks: dict[str, Tensor] = {}
        for each in self.slices:
            tensor = _tensor(model, each.path)
            mask = _kept(each, keep).expand(tensor.shape)
            masks[each.path] = masks[each.path] & mask if each.path in masks else mask
        return masks

    def zero(self, model: nn.Module, keep: Tensor) -> None:
        """Set all but the units `keep` to 0 in biases, norms, embeddings and all else but the weights of layers (`matrix_layers`)."""
        layers = {f"{name}.weight" for name in matrix_layers(model)}
        for path, mask in self.masks(model, keep).items():
            if path not in layers:
                _zero(model, path, mask)

    def cut(self, model: nn.Module, keep: Tensor) -> None:
        """Set all but the units `keep`, bool (units,), to 0 in all that makes and reads them, in place; weights of layers
        (`matrix_layers`) are masked so that they stay 0 (`attach`)."""
        if keep.shape != (self.count,) or keep.dtype != torch.bool or not bool(keep.any()):
            raise CompressionError(f"stream {self.name}: what stays must be bool ({self.count},), one or more, got {tuple(keep.shape)}")
        self.zero(model, keep)
        layers = {f"{name}.weight": name for name in matrix_layers(model)}
        attach(model, {layers[path]: mask for path, mask in self.masks(model, keep).items() if path in layers and not bool(mask.all())})


@dataclass(frozen=True)
class Joint:
    """At most `k` units of a stream are not 0, or `ratio` of them, rounded up (0 < ratio <= 1, the share kept)."""

    stream: Stream
    k: int | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if (self.k is None) == (self.ratio is None):
            raise CompressionError(f"Joint needs either k or ratio, got k={self.k}, ratio={self.ratio}")
        if self.k is not None and (self.k != int(self.k) or self.k < 1):
            raise CompressionError(f"Joint: k must be a whole number, 1 or more, got {self.k}")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise CompressionError(f"Joint: ratio, the share kept, must be above 0 and at most 1, got {self.ratio}")

    @property
    def kept(self) -> int:
        """How many units stay."""
        if self.k is not None:
            return min(self.k, self.stream.count)
        assert self.ratio is not None
        return max(1, -int(-(self.ratio * self.stream.count - 1e-9) // 1))

    def kept_of(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
        """bool (units,): which stay, by their norms in `model` (`Stream.norms`), these tensors, by path, in the place of its own."""
        return _largest(self.stream.norms(model, tensors), self.kept)

    def project(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each tensor, by path, all but the units that stay (`kept_of`) set to 0: the nearest members, where the stream's other
        tensors are as in `model`."""
        keep = self.kept_of(model, tensors)
        found = dict(tensors)
        for each in self.stream.slices:
            if each.path in found:
                tensor = found[each.path]
                found[each.path] = torch.where(_kept(each, keep).to(tensor.device), tensor, torch.zeros_like(tensor))
        return found


def streams(model: nn.Module, example: Example, whole: bool = False) -> list[Stream]:
    """The streams of `model` for inputs like `example` (batch, ...), a tuple for several inputs.

    whole: heads and groups go whole; else the same place of every head or group goes. A channel of a depthwise convolution goes with
    the one it is made of. What the network's outputs or inputs are of is in no stream, nor a tensor that the model computes from
    parameters when it runs: `layered(model, example)` holds those as parameters. Raises as `Channels`.
    """
    channels = Channels(model, example)
    return streams_of(channels, whole)


def streams_of(channels: Channels, whole: bool = False, least: int = 2) -> list[Stream]:
    """The streams of channels known already; those of `least` units or more."""
    labels = copy.deepcopy(channels.labels)
    for grid in sorted(channels.grids, key=lambda each: not each.linked):  # what is linked first decides what is left to tie
        grid.tie(labels, whole)
    classes = labels.classes()
    there = channels.graph.meta["parameters"]
    known: dict[int, dict[tuple[str, tuple[int, ...]], int]] = {}
    roles = [(path, role) for path, each in channels.roles.items() for role in each]
    seen: set[tuple[str, bytes]] = set()
    held: list[tuple[str, Tensor, tuple[int, ...]]] = []
    bad: set[int] = set()
    for path, role in roles:
        found = classes[role]
        key = (path, found.numpy().tobytes())
        if key in seen:
            continue
        seen.add(key)
        values, counts = found.unique(return_counts=True)
        if path not in there:
            bad |= set(values.tolist())
            continue
        axes = tuple(axis for axis, side in enumerate(role.shape) if side > 1 or len(role.shape) == 1)
        held.append((path, found, axes))
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            known.setdefault(value, {})[there[path], axes] = count
    by_signature: dict[frozenset[object], list[int]] = {}
    for value, signature in known.items():
        if value != FIXED and value not in bad:
            by_signature.setdefault(frozenset(signature.items()), []).append(value)
    writers = {value: [] for value in known}  # type: dict[int, list[str]]
    for name, matrix in channels.matrices.items():
        for value in classes[matrix.outputs].unique().tolist():
            writers.setdefault(value, []).append(name)
    made, named = [], Counter[str]()
    for members in by_signature.values():
        unit = torch.full((len(classes),), -1)
        unit[torch.tensor(members)] = torch.arange(len(members))
        slices = tuple(Slice(there[path], unit[found], axes) for path, found, axes in held if bool((unit[found] >= 0).any()))
        made_by = tuple(writers.get(members[0], ()))
        if len(members) >= least and slices:
            asked = made_by[0] if made_by else slices[0].path.removesuffix(".weight")
            named[asked] += 1
            name = asked if named[asked] == 1 else f"{asked} ({named[asked]})"
            made.append(Stream(name, len(members), slices, made_by, unit[classes]))
    return made


def cut_all(model: nn.Module, sets: Iterable[Joint]) -> None:
    """Put a model in joint sets by magnitude, in place (`Stream.cut`)."""
    for each in sets:
        each.stream.cut(model, each.stream.largest(model, each.kept))


def _kept(each: Slice, keep: Tensor) -> Tensor:
    return torch.where(each.units >= 0, keep[each.units.clamp(min=0)], True)


def _largest(norms: Tensor, k: int) -> Tensor:
    kept = torch.zeros(len(norms), dtype=torch.bool)
    kept[norms.argsort(descending=True, stable=True)[:k]] = True
    return kept


def _tensor(model: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    found: Tensor = getattr(model.get_submodule(owner), name)
    return found


def _zero(model: nn.Module, path: str, mask: Tensor) -> None:
    owner, _, name = path.rpartition(".")
    module = model.get_submodule(owner)
    tensor: Tensor = getattr(module, name)
    if name in ("running_mean", "running_var"):
        return
    with torch.no_grad():
        zeroed = torch.where(mask.to(tensor.device), tensor, torch.zeros_like(tensor))
        if parametrize.is_parametrized(module, name):
            setattr(module, name, zeroed)
        else:
            tensor.copy_(zeroed)

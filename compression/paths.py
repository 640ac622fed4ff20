"""Which channels of a network could go without a trace, because nothing that counts rests on them.

What the network puts out counts. A layer's input counts where an output that counts has a weight for it, unless it is a constant: 0,
or one that can be added to the layer's bias exactly (a filter without weights still emits its bias, through batch norm; a convolution
that pads with zeros does not see it as a constant at the borders, so there it counts). What sums across channels, as a
norm or attention's products do, rests on all that are not 0. Channels that are tied (`xbar.compression.channels`) stay
together, and of what is free only that goes which leaves tensors regular: whole heads, or the same place of all.

Constants are those of evaluation mode.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xbar.compression.channels import BATCH_NORMS, TRANSPOSED, Channels, Matrix
from xbar.compression.constants import Constants
from xbar.compression.gemm import groups_of, matrix_layers
from xbar.compression.labels import FIXED, Read, compact, varying
from xbar.compression.layered import attribute_at
from xbar.compression.masks import attach, masks_of
from xbar.hw.graph.capture import Example
from xbar.hw.graph.operators import kind_of


class Paths:
    """Channels of `model` on inputs like `example` (batch, ...), a tuple for several inputs, and which stay.

    channels: the labels; readers: layers with a matrix, by name; `stays`: bool by label. fold_constants: whether a constant that is
    not 0 may move to a bias; constants: by layer, of each input feature the constant that the layer reads, NaN where it reads none.
    Raises CompressionError where the model cannot be captured or has an operation not known here.
    """

    def __init__(self, model: nn.Module, example: Example, fold_constants: bool = True):
        self.channels = Channels(model, example)
        self.graph, self.shapes = self.channels.graph, self.channels.shapes
        self.readers: dict[str, Matrix] = self.channels.matrices
        self.constants: dict[str, Tensor] = {}
        self._class = self.channels.classes
        known = Constants(self.channels)
        self._used = {name: self._needed(name, reader, known, fold_constants) for name, reader in self.readers.items()}
        self._reads = [(read, self._counts(read, known)) for read in self.channels.reads]
        self.stays = ~self._free()[self._class]

    def reached(self, filters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Which features each layer still gets, bool (features,) by layer, where of each layer named only those `filters`,
        bool (outputs,), are left and the others are silent."""
        alive = self.alive(filters)
        return {name: alive[reader.source] for name, reader in self.readers.items()}

    def alive(self, filters: Mapping[str, Tensor], gone: Tensor | None = None) -> Tensor:
        """bool by label: what is made, where of each layer named only those `filters`, bool (outputs,), are left. gone: bool by label,
        channels cut from all that makes them."""
        alive = self.written()
        for name, reader in self.readers.items():
            left = filters[name].cpu() if name in filters else torch.ones(len(reader.outputs), dtype=torch.bool)
            alive[self._class[reader.outputs[left]]] = True
        return self._without(alive, gone)

    def wanted(self, features: Mapping[str, Tensor], gone: Tensor | None = None) -> Tensor:
        """bool by label: what is read, where each layer named reads only those `features`, bool (features,), or what sums across
        channels reads. gone: as in `alive`."""
        wanted = torch.zeros(len(self._class), dtype=torch.bool)
        wanted[FIXED] = True
        for read in self.channels.reads:  # attention's scores read queries and keys; norms only what something else reads
            if not torch.equal(read.inputs, read.outputs):
                wanted[self._class[read.inputs]] = True
        for name, reader in self.readers.items():
            source = reader.source[features[name].cpu()] if name in features else reader.source
            wanted[self._class[source]] = True
        return self._without(wanted, gone)

    def written(self) -> Tensor:
        """bool by class: what other things than matrices emit: embeddings, and constants that are added or joined."""
        alive = torch.zeros(len(self._class), dtype=torch.bool)
        for node in self.graph.graph.nodes:
            kinds = {kind.name for kind in map(kind_of, (user.target for user in node.users)) if kind is not None}
            if node.op == "get_attr" and kinds & {"add", "move"} and self.channels.values[node.name] is not None:
                alive[self._class[self.channels.values[node.name]]] = True
        for path, roles in self.channels.roles.items():
            if isinstance(self.graph.get_submodule(path.rpartition(".")[0]), nn.Embedding):
                alive[self._class[roles[0]]] = True
        alive[FIXED] = True
        return alive

    def fixed(self) -> set[str]:
        """Layers of which a filter cannot go: the network's outputs depend on their number."""
        return {name for name, reader in self.readers.items() if bool((self._class[reader.outputs] == FIXED).any())}

    def _without(self, classes: Tensor, gone: Tensor | None) -> Tensor:
        if gone is not None:
            classes[self._class[gone]] = False
        classes[FIXED] = True
        return classes[self._class]

    # ---- what is needed

    def _needed(self, name: str, reader: Matrix, known: Constants, fold: bool) -> Tensor:
        """Which inputs each output of a layer needs to count, bool (groups, outputs, inputs)."""
        weight = reader.module.weight.detach().cpu()
        used = (reader.kernels(weight) != 0).any(3)
        values, zeros = [], []
        for node in reader.nodes:
            source: Any = next(each for each in self.graph.graph.nodes if each.name == node).args[0]
            axis = len(self.shapes[source.name]) - 1 if isinstance(reader.module, nn.Linear) else 1
            value, zero = known.features(source.name, axis)
            values.append(value)
            zeros.append(zero)
        zero = torch.stack(zeros).all(0)
        one = torch.stack(values)
        same = (one == one[:1]).all(0)
        hidden = zero | (same if fold and _adds_constants_exactly(reader.module) else torch.zeros_like(zero))
        self.constants[name] = torch.where(same, values[0], torch.nan)
        return used & ~hidden.view(reader.groups, 1, -1)

    def _counts(self, read: Read, known: Constants) -> Tensor:
        """Where no operand of a sum is 0, bool of its inputs' shape."""
        counts = torch.ones(read.inputs.shape, dtype=torch.bool)
        for name, rows, summed in read.operands:
            zero = known.zero(name)
            if any(axis < -zero.dim() for axis in (*rows, *summed)):
                continue
            axes = [axis % zero.dim() for axis in (*rows, *summed)]
            others = [axis for axis in range(zero.dim()) if axis not in axes]
            if others:
                zero = zero.all(dim=others, keepdim=True)
            if zero.numel() == counts.numel():  # else it is the same for several rows
                counts &= ~zero.permute(*axes, *others).reshape(counts.shape)
        return counts

    def _free(self) -> Tensor:
        """bool by class: nothing that counts rests on it, and what is left is regular and not empty."""
        free = torch.ones(len(self._class), dtype=torch.bool)
        free[FIXED] = False
        whole = self._tensors()
        readers = [(self._used[name], self._class[each.source], self._class[each.outputs]) for name, each in reversed(self.readers.items())]
        reads = [(self._class[read.inputs], self._class[read.outputs], counts) for read, counts in reversed(self._reads)]
        grids = self.channels.grids
        while True:
            before = int(free.sum())
            for used, source, outputs in readers:
                live = ~free[outputs].view(used.shape[0], -1, 1)
                free[source[(used & live).any(1).flatten()]] = False
            for inputs, outputs, counts in reads:
                live = ~free[outputs].all(1, keepdim=True)
                free[inputs[counts & live]] = False
            for grid in grids:
                grid.bind(free)
            if int(free.sum()) == before:
                for classes in whole:
                    if bool(free[classes].all()):
                        free[classes[0]] = False
                        break
                else:
                    return free

    def _tensors(self) -> list[Tensor]:
        """Classes of every tensor, each once: a value without channels cannot be computed, so of each one stays."""
        found: dict[bytes, Tensor] = {}
        values = [each for value in self.channels.values.values() for each in (value if isinstance(value, list) else [value])]
        for labels in values:
            if isinstance(labels, Tensor) and labels.numel():
                classes = self._class[compact(labels, varying(labels))].flatten()
                classes = torch.from_numpy(classes.numpy()[sorted({c: i for i, c in reversed(list(enumerate(classes.tolist())))}.values())])
                if int(classes.min()) != FIXED:
                    found[classes.numpy().tobytes()] = classes
        return list(found.values())


def _adds_constants_exactly(module: Any) -> bool:
    """Whether a constant that the layer reads adds the same to each of its outputs everywhere."""
    if isinstance(module, nn.Linear):
        return True
    padding = module.padding
    return not isinstance(module, TRANSPOSED) and (padding == "valid" or (not isinstance(padding, str) and not any(padding)))


# ---- on masks


def unused_path_masks(model: nn.Module, example: Example) -> dict[str, Tensor]:
    """Masks by layer (`matrix_layers`) without the filters that nobody reads and the channels that are always 0, exactly as the model
    computes now: a filter removed from layer n is a channel removed from layer n + 1, and the other way round.

    Channels that are constant but not 0 stay (see `silence`). `attach` keeps the masks. Raises as `Paths`.
    """
    paths = Paths(model, example, fold_constants=False)
    held, masks = masks_of(model), {}
    for name, layer in matrix_layers(model).items():
        reader = paths.readers.get(name)
        if reader is None:
            continue
        mask = held[name].cpu() if name in held else torch.ones(layer.weight.shape, dtype=torch.bool)
        mask &= paths.stays[reader.outputs].view(-1, *[1] * (mask.dim() - 1))
        if groups_of(layer) == 1:
            mask &= paths.stays[reader.source].view(1, -1, *[1] * (mask.dim() - 2))
        if bool(mask.any()) and not bool(mask.all()):
            masks[name] = mask.to(layer.weight.device)
    return masks


def remove_unused_paths(model: nn.Module, example: Example) -> dict[str, Tensor]:
    """Mask `unused_path_masks` on the model; the masks."""
    masks = unused_path_masks(model, example)
    attach(model, masks)
    return masks


def silence(model: nn.Module, example: Example) -> dict[str, int]:
    """Make filters without weights emit 0, in place: their bias, and gain and shift of the batch norm that follows, become
    0. How many by layer, where any. It changes what the model computes, by a constant a channel: retrain. Training
    moves a batch norm's shift again, so `shrink` before that. Raises as `Paths`."""
    channels = Channels(model, example)
    there = channels.graph.meta["parameters"]
    silenced: dict[str, int] = {}
    for name, matrix in channels.matrices.items():
        dead = ~(matrix.kernels(matrix.module.weight.detach()) != 0).flatten(2).any(2).flatten()
        parts = [f"{name}.bias", *_norm_after(channels, matrix)]
        with torch.no_grad():
            for path in parts:
                if path in there:
                    attribute_at(model, there[path])[dead] = 0
        if bool(dead.any()):
            silenced[name] = int(dead.sum())
    return silenced


def _norm_after(channels: Channels, matrix: Matrix) -> list[str]:
    """Gain and shift of a batch norm that is the only reader of a layer."""
    (first, *others) = [node for node in channels.graph.graph.nodes if node.name in matrix.nodes]
    readers = list(first.users)
    if others or len(readers) != 1 or readers[0].op != "call_module":
        return []
    after = str(readers[0].target)
    return [f"{after}.weight", f"{after}.bias"] if isinstance(channels.graph.get_submodule(after), BATCH_NORMS) else []

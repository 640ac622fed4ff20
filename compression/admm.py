"""ADMM: training pulled towards constraint sets, with any optimiser, loss and torch model.

Minimise f(W) subject to W_i in every S_ij. Each set j of layer i has a copy Z_ij of the weights and a scaled dual U_ij:

    W-step: the user's optimiser on f(W) + sum_ij rho_i / 2 ||W_i - Z_ij + U_ij||², `penalty`;
    Z-step: Z_ij = projection of W_i + U_ij on S_ij;  U-step: U_ij += W_i - Z_ij, both in `update`.

Several sets on one layer have a copy each, because the projection on their intersection is combinatorial; `project_`
projects on one after the other, which ends in all of them. Where rho changes, U is scaled by rho_old / rho_new.

Sources: S. Boyd et al., Distributed optimization and statistical learning via the alternating direction method of
multipliers, Foundations and Trends in Machine Learning 3(1), 2011, sections 3.1, 3.3, 3.4.1; for networks T. Zhang et
al., ECCV 2018, and G. Yuan et al., ISLPED 2019 (arXiv 1908.11691). None was opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from xbar.compression.constraints import ConstraintSet, PruningSet
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import MatrixLayer, groups_of, layer_of, matrix_layers, set_weight
from xbar.compression.joint import Joint

COLUMNS = ["update", "epoch", "layer", "set", "rho", "primal_residual", "dual_residual"]


@dataclass(frozen=True)
class Rho:
    """Multi-rho schedule: `first`, times `factor` after every `every` updates, at most `last`."""

    first: float
    factor: float = 1.0
    every: int = 1
    last: float = inf

    def __post_init__(self) -> None:
        if not (0 < self.first < inf and self.factor > 0 and self.every >= 1 and self.last >= self.first):
            raise CompressionError(f"rho needs 0 < first <= last, factor > 0 and every >= 1, got {self}")

    def at(self, updates: int) -> float:
        """rho after that many updates."""
        return min(self.first * self.factor ** (updates // self.every), self.last)


class Admm:
    """ADMM on the weights of `model`'s layers.

    sets: layer name -> the sets that its weight is to be in. joint: sets of streams, whose units go from all layers at
    once. rho: a number or a schedule, for all layers or by name.

        admm = Admm(model, {"conv2": [Filter(k=8), Column(ratio=0.25)]}, rho=Rho(1e-3, factor=3, every=3))
        for epoch in range(9):
            for x, y in batches:
                loss = criterion(model(x), y) + admm.penalty()
                optimiser.zero_grad(); loss.backward(); optimiser.step()
            admm.update(epoch)  # or every n steps
        masks = admm.project_()

    Works on masked weights as well, which stay masked. Raises CompressionError for an unknown layer, one without a set,
    and a rho that is not above 0.
    """

    def __init__(
        self, model: nn.Module, sets: Mapping[str, Sequence[ConstraintSet]],
        rho: float | Rho | Mapping[str, float | Rho] = 1e-3, joint: Sequence[Joint] = (),
    ):  # fmt: skip
        if not sets and not joint:
            raise CompressionError("ADMM needs the sets of one layer or more, got none")
        layers = matrix_layers(model)
        self.joint = list(joint)
        self._joined = [
            {each.path: layers[_name(each.path)] for each in one.stream.slices if _name(each.path) in layers}
            for one in self.joint
        ]  # of each joint set its layers, by the weight's path
        sets = {name: list(given) for name, given in sets.items()}
        joined = list(dict.fromkeys(_name(path) for each in self._joined for path in each))
        sets |= {name: [] for name in joined if name not in sets}
        self.model = model
        self.layers = {name: layer_of(model, name) for name in sets}
        self.sets = sets
        self._schedule = {name: _schedule(name, rho) for name in sets}
        self.updates = 0
        self._rows: list[dict[str, Any]] = []
        self.z: dict[str, list[Tensor]] = {}
        self.u: dict[str, list[Tensor]] = {}
        for name, layer in self.layers.items():
            if not self.sets[name] and name not in joined:
                raise CompressionError(f"layer {name} has no set")
            weight, groups = layer.weight.detach(), groups_of(layer)
            self.z[name] = [s.project(weight, groups) for s in self.sets[name]]
            self.u[name] = [torch.zeros_like(weight) for _ in self.sets[name]]
        self.joint_z = [one.project(_weights(each)) for one, each in zip(self.joint, self._joined, strict=True)]
        self.joint_u = [{path: torch.zeros_like(z) for path, z in each.items()} for each in self.joint_z]

    def rho(self, layer: str) -> float:
        """The layer's present rho."""
        return self._schedule[layer].at(self.updates)

    def penalty(self) -> Tensor:
        """sum_ij rho_i / 2 ||W_i - Z_ij + U_ij||², a scalar with gradients, to be added to the loss."""
        terms = []
        for name, layer in self.layers.items():
            weight = layer.weight
            for z, u in zip(self.z[name], self.u[name], strict=True):
                terms.append(self.rho(name) / 2 * (weight - z + u).square().sum())
        for layers, zs, us in zip(self._joined, self.joint_z, self.joint_u, strict=True):
            for path, layer in layers.items():
                terms.append(self.rho(_name(path)) / 2 * (layer.weight - zs[path] + us[path]).square().sum())
        return torch.stack(terms).sum()

    @torch.no_grad()
    def update(self, epoch: int | None = None) -> None:
        """The Z-step and U-step, and one row for each layer and set in `history`; rho then goes on.

        Residuals: primal ||W - Z|| / ||W||, dual rho ||Z - Z_before||.
        """
        before = {name: self.rho(name) for name in self.layers}
        for name, layer in self.layers.items():
            weight, groups = layer.weight.detach(), groups_of(layer)
            size = float(weight.norm())
            for j, constraint in enumerate(self.sets[name]):
                z = constraint.project(weight + self.u[name][j], groups)
                moved = float((z - self.z[name][j]).norm())
                apart = float((weight - z).norm())
                self.u[name][j] += weight - z
                self.z[name][j] = z
                row = (self.updates, epoch, name, _label(constraint, j), before[name],
                       apart / size if size else 0.0, before[name] * moved)  # fmt: skip
                self._rows.append(dict(zip(COLUMNS, row, strict=True)))
        for j, (one, layers) in enumerate(zip(self.joint, self._joined, strict=True)):
            weights = _weights(layers)
            zs = one.project({path: weight + self.joint_u[j][path] for path, weight in weights.items()})
            for path, weight in weights.items():
                name, size, z = _name(path), float(weight.norm()), zs[path]
                apart, moved = float((weight - z).norm()), float((z - self.joint_z[j][path]).norm())
                self.joint_u[j][path] += weight - z
                row = (self.updates, epoch, name, f"joint:{one.stream.name}", before[name],
                       apart / size if size else 0.0, before[name] * moved)  # fmt: skip
                self._rows.append(dict(zip(COLUMNS, row, strict=True)))
            self.joint_z[j] = zs
        self.updates += 1
        for name in self.layers:
            if self.rho(name) != before[name]:
                for u in (*self.u[name], *(each[f"{name}.weight"] for each in self.joint_u if f"{name}.weight" in each)):
                    u *= before[name] / self.rho(name)

    @property
    def history(self) -> pd.DataFrame:
        """One row for each update, layer and set: rho and the residuals (see `update`)."""
        return pd.DataFrame(self._rows, columns=COLUMNS)

    @torch.no_grad()
    def project_(self) -> dict[str, Tensor]:
        """Put every layer's weight in all its sets, joint and pruning sets first; the masks of what pruning kept, by layer.

        What a joint set takes is 0 in all that makes it and reads it, biases, norms and embeddings too. Weights set to zero are
        in every pruning set still, and on a level, so the last projection leaves them in all.
        """
        masks: dict[str, Tensor] = {}
        joined: dict[str, Tensor] = {}
        for one, layers in zip(self.joint, self._joined, strict=True):
            keep = one.kept_of(_weights(layers))
            one.stream.zero(self.model, keep)
            for path, mask in one.stream.masks(self.model, keep).items():
                if path in layers:
                    name = _name(path)
                    joined[name] = joined[name] & mask if name in joined else mask
        for name, layer in self.layers.items():
            weight, groups = layer.weight.detach().clone(), groups_of(layer)
            pruning = [s for s in self.sets[name] if isinstance(s, PruningSet)]
            mask = joined[name].to(weight.device).clone() if name in joined else torch.ones_like(weight, dtype=torch.bool)
            weight = torch.where(mask, weight, torch.zeros_like(weight))
            for constraint in pruning:
                mask &= constraint.mask(weight, groups)
                weight = torch.where(mask, weight, torch.zeros_like(weight))
            if pruning or name in joined:
                masks[name] = mask
            if not bool(weight.any()):
                raise CompressionError(f"layer {name}: its sets together leave no weight; let one of them keep more")
            for other in (s for s in self.sets[name] if not isinstance(s, PruningSet)):
                weight = other.project(weight, groups)
            set_weight(layer, weight)
        return masks

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on to the same bits, besides the model and the optimiser; tensors are copies."""
        return {
            "sets": {name: [repr(_plain(s)) for s in given] for name, given in self.sets.items()},
            "updates": self.updates,
            "z": {name: [z.clone() for z in found] for name, found in self.z.items()},
            "u": {name: [u.clone() for u in found] for name, found in self.u.items()},
            "joint": [{"set": _joint_label(one), "z": _copies(z), "u": _copies(u)}
                      for one, z, u in zip(self.joint, self.joint_z, self.joint_u, strict=True)],
            "history": [dict(row) for row in self._rows],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; raises CompressionError where that belongs to other layers or sets."""
        mine = {name: [repr(_plain(s)) for s in given] for name, given in self.sets.items()}
        found = state.get("sets")
        if found != mine:
            theirs = found if isinstance(found, dict) else {}
            apart = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            raise CompressionError(f"the state belongs to another run: layers or sets differ in {', '.join(apart)}")
        joint = state.get("joint", [])
        if [each["set"] for each in joint] != [_joint_label(one) for one in self.joint]:
            raise CompressionError("the state belongs to another run: joint sets differ")
        self.joint_z = [{path: z.to(mine[path]) for path, z in each["z"].items()} for each, mine in zip(joint, self.joint_z, strict=True)]
        self.joint_u = [{path: u.to(mine[path]).clone() for path, u in each["u"].items()}
                        for each, mine in zip(joint, self.joint_z, strict=True)]  # fmt: skip
        self.updates = state["updates"]
        self.z = {name: [z.to(self.z[name][0]) for z in found] for name, found in state["z"].items()}
        self.u = {name: [u.to(self.u[name][0]).clone() for u in found] for name, found in state["u"].items()}
        self._rows = [dict(row) for row in state["history"]]


def _schedule(name: str, rho: float | Rho | Mapping[str, float | Rho]) -> Rho:
    if isinstance(rho, Mapping):
        if name not in rho:
            raise CompressionError(f"rho is given by layer, but not for {name}")
        rho = rho[name]
    return rho if isinstance(rho, Rho) else Rho(rho)


def _name(path: str) -> str:
    """The layer of a weight's path."""
    return path.removesuffix(".weight")


def _weights(layers: Mapping[str, MatrixLayer]) -> dict[str, Tensor]:
    return {path: layer.weight.detach() for path, layer in layers.items()}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {path: tensor.clone() for path, tensor in tensors.items()}


def _joint_label(one: Joint) -> str:
    return f"{one.stream.name}: {one.kept} of {one.stream.count}"


def _label(constraint: ConstraintSet, index: int) -> str:
    return f"{index}:{type(constraint).__name__}"


def _plain(constraint: ConstraintSet) -> tuple[Any, ...]:
    """What a set is, short: its chip by name."""
    fields = {k: getattr(v, "name", v) for k, v in vars(constraint).items()}
    return type(constraint).__name__, sorted(fields.items(), key=lambda pair: pair[0])

"""ADMM: training pulled towards constraint sets, with any optimiser, loss and torch model.

Minimise f(W) subject to W_i in every S_ij. Each set j of layer i has a copy Z_ij of the weights and a scaled dual U_ij:

    W-step: the user's optimiser on f(W) + sum_ij rho_i / 2 ||W_i - Z_ij + U_ij||²;
    Z-step: Z_ij = projection of W_i + U_ij on S_ij;  U-step: U_ij += W_i - Z_ij, both in `update`.

Z begins as the projection of W: where magnitude pruning would go.

The quadratic term comes in one of two ways. `penalty` is added to the loss, as papers have it. `decoupled`, it stays out of the
loss, and `pull`, called after each step of the optimiser, moves W by rho / (1 + rho) of the way to Z - U, the proximal step of that
term. Why: an optimiser that scales gradients (Adam) moves a weight by about the learning rate at a time, however large rho is, and
shakes it by as much; then weights neither follow within the steps between two updates, nor come near their sets, U winds up, and
the sets' choice flips back and forth. AdamW takes weight decay out of the loss for the same reason (I. Loshchilov and F. Hutter,
arXiv 1711.05101; not opened). Decoupled, rho is a share of the way for each step: one number suits layers of every size and
scale of weights.

Several sets on one layer have a copy each, a stream's set (`xbar.compression.joint.Joint`) one in every layer that it is of,
because the projection on their intersection is combinatorial; `project_` projects on one after the other, which ends in all of them.
Of a stream's tensors only the weights of `matrix_layers` are pulled; all of them, transposed convolutions and tables too, count in
which units stay (`Stream.norms`), as for magnitude pruning. Where rho changes, U is scaled by rho_old / rho_new.

What ADMM needs: weights that can follow, so a learning rate that stays while it runs; updates by the dozen, not one an epoch, a few
steps apart; and a small primal residual before the hard projection, which `project_` warns of.

Sources: S. Boyd et al., Distributed optimization and statistical learning via the alternating direction method of
multipliers, Foundations and Trends in Machine Learning 3(1), 2011, sections 3.1, 3.3, 3.4.1; residuals relative to what they
are differences of: B. Wohlberg, ADMM penalty parameter selection by residual balancing, arXiv 1704.06209, 2017; for networks
T. Zhang et al., ECCV 2018, and G. Yuan et al., ISLPED 2019 (arXiv 1908.11691). None was opened.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from xbar.compression.constraints import ConstraintSet, PruningSet
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import groups_of, layer_of, matrix_layers, set_weight
from xbar.compression.joint import Joint
from xbar.compression.masks import behind

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


@dataclass(frozen=True)
class Balanced:
    """rho by residuals, layer by layer: times `factor` after an update where the relative primal residual is over `apart` times the
    relative dual one, divided by it where the dual is over `apart` times the primal (Boyd section 3.4.1 with residuals as
    Wohlberg relates them), within least .. last. After `until` of the `planned` updates it only grows, where the primal residual
    is above the tolerance still, so that ADMM ends near its sets.
    """

    first: float
    planned: int
    factor: float = 2.0
    apart: float = 10.0
    until: float = 0.6
    least: float = 1e-6
    last: float = 1e6

    def __post_init__(self) -> None:
        if not (0 < self.least <= self.first <= self.last < inf and self.factor > 1 and self.apart >= 1 and self.planned >= 1):
            raise CompressionError(f"rho needs 0 < least <= first <= last, factor above 1, apart and planned 1 or more, got {self}")
        if not 0 <= self.until <= 1:
            raise CompressionError(f"rho.until, a share of the updates, must be from 0 to 1, got {self.until}")

    def next(self, rho: float, updates: int, primal: float, dual: float, tolerance: float) -> float:
        """rho after the update that brings their number to `updates`."""
        if updates > self.until * self.planned:
            return min(rho * self.factor, self.last) if primal > tolerance else rho
        if primal > self.apart * dual:
            return min(rho * self.factor, self.last)
        return max(rho / self.factor, self.least) if dual > self.apart * primal else rho


Penalty = Rho | Balanced


class FarFromSetsWarning(UserWarning):
    """Weights were put in their sets from far away: ADMM had not converged."""


class Admm:
    """ADMM on the weights of `model`'s layers.

    sets: layer name -> the sets that its weight is to be in. joint: sets of streams, whose units go from all layers at once.
    rho: a number, a schedule or a rule, for all layers or by name.
    decoupled: pulled by `pull` after each step of the optimiser, `penalty` is 0 then (see the module). tolerance: largest share,
    of W that it is away from Z and of Z that it has moved, at which ADMM is `done`; most_apart: largest distance from its sets, as a
    share of a layer's norm, that `project_` takes without a warning.

        admm = Admm(model, {"conv2": [Filter(k=8), Column(ratio=0.25)]}, rho=Rho(1e-3, factor=3, every=3))
        for epoch in range(9):
            for x, y in batches:
                loss = criterion(model(x), y) + admm.penalty()
                optimiser.zero_grad(); loss.backward(); optimiser.step()
                admm.pull()  # of use where decoupled
            admm.update(epoch)  # or every few steps
        masks = admm.project_()

    Works on masked weights as well, which stay masked. Raises CompressionError for an unknown layer, one without a set,
    and a rho that is not above 0.
    """

    def __init__(
        self, model: nn.Module, sets: Mapping[str, Sequence[ConstraintSet]],
        rho: float | Penalty | Mapping[str, float | Penalty] = 1e-3, decoupled: bool = False, tolerance: float = 0.01,
        most_apart: float = 0.3, joint: Sequence[Joint] = (),
    ):  # fmt: skip
        if not sets and not joint:
            raise CompressionError("ADMM needs the sets of one layer or more, got none")
        self.model, self.joint = model, list(joint)
        there = matrix_layers(model)
        self._joined = [dict.fromkeys(_name(each.path) for each in one.stream.slices if _name(each.path) in there) for one in joint]
        self.sets = {name: list(given) for name, given in sets.items()}
        if empty := [name for name, given in self.sets.items() if not given]:
            raise CompressionError(f"layer {empty[0]} has no set")
        self.sets |= {name: [] for names in self._joined for name in names if name not in self.sets}
        self.layers = {name: layer_of(model, name) for name in self.sets}
        self._schedule = {name: _schedule(name, rho) for name in self.sets}
        self._rho = {name: schedule.first for name, schedule in self._schedule.items()}
        self.tolerance, self.most_apart, self.done = tolerance, most_apart, False
        self.updates = 0
        self.decoupled = decoupled
        self.reached = inf  # what was `apart` most when `project_` was called
        self._rows: list[dict[str, Any]] = []
        self._labels = {name: [_label(constraint, j) for j, constraint in enumerate(given)] for name, given in self.sets.items()}
        for one, names in zip(self.joint, self._joined, strict=True):
            for name in names:
                self._labels[name].append(_joint_label(one))
        self.u = {name: [torch.zeros_like(layer.weight) for _ in self._labels[name]] for name, layer in self.layers.items()}
        self.z = self._nearest(self.u)

    def _nearest(self, dual: Mapping[str, Sequence[Tensor]] | None = None) -> dict[str, list[Tensor]]:
        """Of each layer the projections of W + U (of W where no dual is given) on its own sets, then on those of its streams."""
        found: dict[str, list[Tensor]] = {}
        weights = {name: layer.weight.detach() for name, layer in self.layers.items()}

        def moved(name: str, place: int) -> Tensor:
            return weights[name] if dual is None else weights[name] + dual[name][place]

        for name, layer in self.layers.items():
            found[name] = [s.project(moved(name, j), groups_of(layer)) for j, s in enumerate(self.sets[name])]
        for one, names in zip(self.joint, self._joined, strict=True):
            projected = one.project(self.model, {f"{name}.weight": moved(name, len(found[name])) for name in names})
            for name in names:
                found[name].append(projected[f"{name}.weight"])
        return found

    def rho(self, layer: str) -> float:
        """The layer's present rho."""
        return self._rho[layer]

    def penalty(self) -> Tensor:
        """sum_ij rho_i / 2 ||W_i - Z_ij + U_ij||², a scalar with gradients, to be added to the loss; decoupled 0."""
        total = torch.zeros((), device=next(self.model.parameters()).device)
        if self.decoupled:
            return total
        for name, layer in self.layers.items():
            weight = layer.weight
            for z, u in zip(self.z[name], self.u[name], strict=True):
                total = total + self.rho(name) / 2 * (weight - z + u).square().sum()
        return total

    @torch.no_grad()
    def pull(self) -> None:
        """Decoupled, after each step of the optimiser: every weight by rho / (1 + rho) of the way to the mean of its Z - U."""
        if self.decoupled:
            for name, layer in self.layers.items():
                goals = [z - u for z, u in zip(self.z[name], self.u[name], strict=True)]
                rho = len(goals) * self.rho(name)
                behind(layer).lerp_(torch.stack(goals).mean(0), rho / (1 + rho))

    @torch.no_grad()
    def update(self, epoch: int | None = None) -> None:
        """The Z-step and U-step, and one row for each layer and set in `history`; rho then goes on.

        Residuals: primal ||W - Z|| / ||W||, dual rho ||Z - Z_before||. What rules go by: of all sets of a layer together,
        ||W - Z|| / ||W||, and ||Z - Z_before|| / ||U||, the dual one relative to what it changes. `done` asks for less, since Z follows
        weights that go on learning: ||Z - Z_before|| / ||Z||.
        """
        self.updates += 1
        near, nearest = True, self._nearest(self.u)
        for name, layer in self.layers.items():
            weight, rho = layer.weight.detach(), self.rho(name)
            size = float(weight.norm())
            apart_, moved_, dual_, there = 0.0, 0.0, 0.0, 0.0
            for j, (label, z) in enumerate(zip(self._labels[name], nearest[name], strict=True)):
                moved = float((z - self.z[name][j]).norm())
                apart = float((weight - z).norm())
                self.u[name][j] += weight - z
                self.z[name][j] = z
                row = (self.updates - 1, epoch, name, label, rho,
                       apart / size if size else 0.0, rho * moved)  # fmt: skip
                self._rows.append(dict(zip(COLUMNS, row, strict=True)))
                apart_, moved_ = apart_ + apart**2, moved_ + moved**2
                dual_ += float(self.u[name][j].double().square().sum())
                there += float(z.double().square().sum())
            primal = sqrt(apart_ / len(nearest[name])) / size if size else 0.0
            dual = sqrt(moved_ / dual_) if dual_ else 0.0
            near &= primal <= self.tolerance and sqrt(moved_) <= self.tolerance * sqrt(there)
            self._go_on(name, primal, dual)
        self.done = near

    def _go_on(self, name: str, primal: float, dual: float) -> None:
        """The layer's next rho; U, which is the dual over rho, follows."""
        schedule, before = self._schedule[name], self._rho[name]
        if isinstance(schedule, Rho):
            self._rho[name] = schedule.at(self.updates)
        else:
            self._rho[name] = schedule.next(before, self.updates, primal, dual, self.tolerance)
        if self._rho[name] != before:
            for u in self.u[name]:
                u *= before / self._rho[name]

    @torch.no_grad()
    def apart(self) -> dict[str, float]:
        """How far each layer's weight is from its sets now, the farthest of them, as a share of its norm: what the hard projection
        would change."""
        found = {}
        for name, projected in self._nearest().items():
            weight = self.layers[name].weight.detach()
            found[name] = max(float((weight - z).norm()) for z in projected) / (float(weight.norm()) or 1.0)
        return found

    @property
    def history(self) -> pd.DataFrame:
        """One row for each update, layer and set: rho and the residuals (see `update`)."""
        return pd.DataFrame(self._rows, columns=COLUMNS)

    @torch.no_grad()
    def project_(self) -> dict[str, Tensor]:
        """Put every layer's weight in all its sets, joint and pruning sets first; the masks of what pruning kept, by layer.

        What a joint set takes is 0 in all that makes it and reads it, biases, norms and embeddings too.
        Weights set to zero are in every pruning set still, and on a level, so the last projection leaves them in all. Warns of the
        layers that are more than `most_apart` away (`apart`).
        """
        masks: dict[str, Tensor] = {}
        joined: dict[str, Tensor] = {}
        away_ = self.apart()
        self.reached = max(away_.values(), default=0.0)
        far = {name: away for name, away in away_.items() if away > self.most_apart} if self.updates else {}
        if far:
            told = ", ".join(f"{name} ({away:.0%})" for name, away in sorted(far.items(), key=lambda pair: -pair[1])[:5])
            warnings.warn(f"{len(far)} of {len(self.layers)} layers are put in their sets from more than {self.most_apart:.0%} of their "
                          f"weights' norm away, farthest {told}: ADMM had not converged after {self.updates} updates",
                          FarFromSetsWarning, stacklevel=2)  # fmt: skip
        for one, names in zip(self.joint, self._joined, strict=True):
            keep = one.stream.largest(self.model, one.kept)
            one.stream.zero(self.model, keep)
            for path, mask in one.stream.masks(self.model, keep).items():
                if (name := _name(path)) in names:
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
            "joint": [_joint_label(one) for one in self.joint],
            "updates": self.updates, "done": self.done, "rho": dict(self._rho),
            "z": {name: [z.clone() for z in found] for name, found in self.z.items()},
            "u": {name: [u.clone() for u in found] for name, found in self.u.items()},
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
        if state.get("joint") != [_joint_label(one) for one in self.joint]:
            raise CompressionError("the state belongs to another run: joint sets differ")
        self.updates, self.done = state["updates"], state["done"]
        self._rho = dict(state["rho"])
        self.z = {name: [z.to(self.z[name][0]) for z in found] for name, found in state["z"].items()}
        self.u = {name: [u.to(self.u[name][0]).clone() for u in found] for name, found in state["u"].items()}
        self._rows = [dict(row) for row in state["history"]]


def _schedule(name: str, rho: float | Penalty | Mapping[str, float | Penalty]) -> Penalty:
    if isinstance(rho, Mapping):
        if name not in rho:
            raise CompressionError(f"rho is given by layer, but not for {name}")
        rho = rho[name]
    return rho if isinstance(rho, Penalty) else Rho(rho)


def _name(path: str) -> str:
    """The layer of a weight's path."""
    return path.removesuffix(".weight")


def _joint_label(one: Joint) -> str:
    return f"joint:{one.stream.name}, {one.kept} of {one.stream.count}"


def _label(constraint: ConstraintSet, index: int) -> str:
    return f"{index}:{type(constraint).__name__}"


def _plain(constraint: ConstraintSet) -> tuple[Any, ...]:
    """What a set is, short: its chip by name."""
    fields = {k: getattr(v, "name", v) for k, v in vars(constraint).items()}
    return type(constraint).__name__, sorted(fields.items(), key=lambda pair: pair[0])

"""Methods of compression against each other: what each reaches at several budgets, all trained alike and short."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

from xbar.compression.joint import Joint
from xbar.compression.masks import bake, baked, hold_zeros
from xbar.hw.footprint import footprint
from xbar.hw.graph.trace import trace
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.study.allocation import (
    SOLVED_ON,
    Allocation,
    AllocationError,
    input_sets,
    prune_and_solve,
    prune_once,
    smaller,
)
from xbar.workloads.study.costs import weights_of
from xbar.workloads.study.plan import PULL_SHARE, Plan
from xbar.workloads.study.pulled_training import pulling, train
from xbar.workloads.training import score

if TYPE_CHECKING:
    from xbar.workloads.study.compress import Work

FRONTIER = ("cost-aware-least-squares", "cost-aware-magnitude", "cost-aware", "magnitude", "uniform")  # cost-aware and uniform: by ADMM


class Frontier:
    """The methods of `FRONTIER` on the network of one compression, which keeps what each came to."""

    def __init__(self, work: "Work"):
        self.work = work
        self._allocations: dict[tuple[bool, tuple[tuple[str, float], ...]], Allocation] = {}

    def table(self) -> pd.DataFrame:
        """Validation and test accuracy, energy and area at each budget of the methods of `FRONTIER`, all trained alike and short."""
        work = self.work
        if not work.plan.budgets:
            return pd.DataFrame()
        rows = []
        for budget in work.plan.budgets:
            target = {name: min(1.0, budget * share) for name, share in work.target.items()}
            for method in FRONTIER:
                for seed in range(work.plan.seed, work.plan.seed + work.plan.frontier_seeds):
                    name = f"frontier-{method}-{budget:g}" + (f"-seed{seed}" if seed != work.plan.seed else "")
                    extra = repr((work.plan.frontier, work.plan.frontier_images))
                    found = work.remembered(name, lambda m=method, t=target, s=seed: self._point(m, t, s), extra)
                    shares = {f"target_{k}": v for k, v in target.items()}
                    rows.append({"method": method, "budget": budget, "seed": seed, **shares, **found})
        return pd.DataFrame(rows)

    def _point(self, method: str, target: Mapping[str, float], seed: int) -> dict[str, Any]:
        """One network of the picture, by its method (`FRONTIER`), trained with a seed; epochs alike, what each layer keeps of all seeds."""
        work = self.work
        shares = ", ".join(f"{k} {v:.3g}" for k, v in target.items())
        count = len(FRONTIER) * len(work.plan.budgets) * work.plan.frontier_seeds
        work.step(f"methods: {method} at {shares}, seed {seed}, one of {count} such networks")
        try:
            allocation = self._allocation_of(method, target)
        except AllocationError as error:
            return {"reached": 0.0, "why": str(error)}
        plan = replace(work.plan, seed=seed)
        pulling_, left = plan.frontier[0], sum(plan.frontier)
        parts = first_samples(work.parts, plan.frontier_images)
        if method.endswith("magnitude"):
            small = prune_once(work.model, allocation, work.example)
        elif method.endswith("least-squares"):
            solved = prune_and_solve(work.model, allocation, first_samples(parts, SOLVED_ON), seed)
            small = smaller(solved, work.example)
        else:
            small, (sets, joint) = baked(work.model), work.sets(allocation)
            if sets or joint:
                small, left = self._pulled(small, sets, joint, parts, pulling_, plan), left - pulling_
            small = smaller(small, work.example)
            if inputs := input_sets(small, allocation):
                small, left = self._pulled(small, inputs, (), parts, pulling_, plan), left - pulling_
        model = hold_zeros(small).to(work.on)
        if left:
            train(model, parts, plan.recipe(left), plan)
        bake(model).cpu().eval()
        taken = footprint(trace(model, work.example, pack=True), work.chip_after, work.plan.rate)
        return {
            "reached": 1.0, "validation": score(model, work.parts.test_inputs, work.parts.test_targets, work.data.metric),
            "float": score(model, work.data.test_inputs, work.data.test_targets, work.data.metric), "weights": weights_of(model),
            "arrays": taken.arrays, "area_m2": taken.area, "energy_J": taken.energy, "power_W": taken.power,
        }  # fmt: skip

    def _allocation_of(self, method: str, target: Mapping[str, float]) -> Allocation:
        """What each layer keeps at these targets, found once for all methods of the same ratios."""
        work = self.work
        by_cost = method.startswith("cost-aware")
        if by_cost == (work.plan.allocation == "cost-aware") and target == work.target:
            return work.allocation()[0]
        key = by_cost, tuple(target.items())
        if key not in self._allocations:
            self._allocations[key] = work.chosen(target, by_cost)[1].state
        return self._allocations[key]

    def _pulled(
        self, model: nn.Module, sets: Mapping[str, list[Any]], joint: Sequence[Joint], parts: Dataset, epochs: int, plan: Plan
    ) -> nn.Module:
        """The network by ADMM in its sets, plain; all epochs are taken, converged or not, so that methods train alike."""
        model.to(self.work.on)
        admm = pulling("admm", model, sets, plan, epochs, parts, tolerance=0.0, joint=joint)
        train(model, parts, plan.recipe(epochs, PULL_SHARE, pulled=True), plan, admm)
        return bake(model).cpu()

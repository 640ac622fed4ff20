"""A compression as strong as an accuracy allows: how far a network may be compressed at so many points lost at most.

The targets of hardware give the direction: a common factor on them, doubled or halved from 1 until one try holds and one does not, then
halved between on a log scale. Each try is a whole compression in a folder of its own, so that an interrupted search goes on where it
was; the uncompressed network is trained on in the first alone. A try holds where its final network, on the chip's levels, loses no more
on the validation samples than is allowed, against the uncompressed network, trained on as long where the plan says so. The test samples
only judge.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from xbar.hw.chip.description import Chip
from xbar.reports.results import write_text
from xbar.workloads.data import Dataset
from xbar.workloads.offered import TRIES
from xbar.workloads.study.allocation import AllocationError, check_targets
from xbar.workloads.study.compress import CompressionResult, Step, compress
from xbar.workloads.study.plan import Plan
from xbar.workloads.training import TrainingError, read_state, save_state


class NotHeldWarning(UserWarning):
    """No try lost as little as was allowed; the mildest stands."""


@dataclass(frozen=True)
class AccuracyTarget:
    """What may be lost: points of accuracy (of a metric that is no share: percent of the value before), and in how many tries the
    strongest compression is looked for. Raises TrainingError for values out of range."""

    points: float
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not 0 <= self.points <= 100:
            raise TrainingError(f"most lost, points of accuracy, must be from 0 to 100, got {self.points}")
        if self.tries < 1:
            raise TrainingError(f"tries must be 1 or more, got {self.tries}")


def factors_next(held: Mapping[float, bool], mildest: float) -> float | None:
    """The factor to try next, from what tries at others did: None where the mildest, at which nothing is asked any more, has failed."""
    if not held:
        return min(1.0, mildest)
    kept, failed = [f for f, holds in held.items() if holds], [f for f, holds in held.items() if not holds]
    if not kept:
        return None if max(failed) >= mildest else min(2 * max(failed), mildest)
    weaker = [factor for factor in failed if factor < min(kept)]
    return math.sqrt(min(kept) * max(weaker)) if weaker else min(kept) / 2


def compress_to(
    asked: AccuracyTarget, model: nn.Module, data: Dataset, chip: Chip, target: Mapping[str, float], out: Path, plan: Plan | None = None,
    step: Step = lambda _: None, code: str = "",
) -> CompressionResult:  # fmt: skip
    """The strongest of the tries that holds, as `compress` gives it, or with a NotHeldWarning the mildest.

    target: its direction, where the first try is. meta of what comes back has `accuracy_target`: points, factor, held, and of each of
    `tries` factor, target, why (where it was out of reach), what it lost on validation and test samples [1, or the metric's unit], and
    whether it held; and longer_as, the factor of the try that the uncompressed network was trained as many minutes as, where that is
    another one. Raises as `compress`, AllocationError where every try is out of reach.
    """
    check_targets(target)
    plan, mildest = plan or Plan(), 1 / min(target.values())
    metric, tries = data.metric, {}  # by factor
    before: tuple[float, float] | None = None  # validation and test, of the uncompressed network

    def folder(factor: float) -> Path:
        return out / "checkpoints" / f"try-{factor:.6g}"

    def at(factor: float) -> dict[str, float]:
        return {name: min(1.0, factor * share) for name, share in target.items()}

    while len(tries) < asked.tries and (factor := factors_next({f: bool(each["held"]) for f, each in tries.items()}, mildest)) is not None:
        told = ", ".join(f"{name} {share:.3g}" for name, share in at(factor).items())
        step(f"try {len(tries) + 1} of {asked.tries} at most, targets times {factor:.3g}: {told}")
        trial = replace(plan, budgets=(), most_on_chips=0, longer=plan.longer and before is None)
        try:
            stages = compress(model, data, chip, at(factor), folder(factor), trial, step, code).stages
        except AllocationError as error:
            tries[factor] = {"factor": factor, "target": at(factor), "why": str(error), "held": False}
            continue
        if before is None:
            reached = [(float(stages.loc[name, "validation"]), float(stages.loc[name, "float"]))
                       for name in ("uncompressed", "longer") if name in stages.index]  # fmt: skip
            before = min(reached, key=lambda each: metric.lost(reached[0][0], each[0]))  # the better on validation samples
        final = stages.loc["final"]
        lost = metric.lost(before[0], float(final["validation"])), metric.lost(before[1], float(final["float"]))
        allowed = asked.points / 100 * (abs(before[0]) if metric.unit else 1.0)
        tries[factor] = {"factor": factor, "target": at(factor), "why": "", "lost_validation": lost[0], "lost_test": lost[1],
                         "allowed": allowed, "held": lost[0] <= allowed + 1e-12}  # fmt: skip
    done = {factor: each for factor, each in tries.items() if not each["why"]}
    if not done:
        raise AllocationError(f"every try is out of reach; the last: {list(tries.values())[-1]['why']}")
    held = [factor for factor, each in done.items() if each["held"]]
    chosen = min(held) if held else max(done)
    if not held:
        over = done[chosen]["lost_validation"] - done[chosen]["allowed"]
        warnings.warn(f"no try lost as little as {asked.points:g} points on validation {data.samples}: the mildest, targets times "
                      f"{chosen:.3g}, lost {over * (1 if metric.unit else 100):.3g} {metric.unit or 'points'} too much", NotHeldWarning,
                      stacklevel=2)  # fmt: skip
    first, last = (folder(each) / "checkpoints" for each in (next(iter(done)), chosen))
    if (first / "longer.pt").is_file() and not (last / "longer.pt").is_file():  # not trained twice
        if (first / "longer.json").is_file():
            write_text(last / "longer.json", (first / "longer.json").read_text("utf-8"))
        save_state(read_state(first / "longer.pt"), last / "longer.pt")
    found = compress(model, data, chip, at(chosen), folder(chosen), plan, step, code)
    facts: dict[str, Any] = {"points": asked.points, "factor": chosen, "held": bool(held), "tries": list(tries.values())}
    if plan.longer and plan.longer_by == "minutes" and chosen != next(iter(done)):
        facts["longer_as"] = next(iter(done))  # the minutes are those of that try
    return replace(found, meta=found.meta | {"accuracy_target": facts})

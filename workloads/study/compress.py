"""Compress a trained network for a chip, from the choice of what to keep to a network on the chip's levels that stands its
device's errors; and judge what each step brought.

Steps, each kept in a file of `checkpoints/`, from which an interrupted run goes on:
allocation: what each layer keeps, by cost on the chip or the same share everywhere (`xbar.workloads.study.allocation`), and
what the targets still allow given back (`xbar.workloads.study.give_back`); bits too, where they are the search's to choose
(`xbar.workloads.study.precision`);
filters, inputs: to that many filters, the network shrunk; then to that many inputs (wordlines) of what is left: by ADMM, by gradual
magnitude pruning along training, or at once, whose epochs then retrain: by magnitude, or with all that is left solved by least squares;
longer, where asked for: the uncompressed network trained on for as many epochs, or minutes of the processor, as all that follows;
pruned: retraining under masks; purified: unused paths go, and groups of little norm where a target is not met without or where asked
for, shrunk, retrained;
quantised: batch norm folded, ADMM to the chip's levels or the nearest ones, retraining on them; final: retraining on levels under the
device's programming errors; control: as long without them. Epochs that ADMM does not need, because it has converged, retrain.
Ratios are chosen by training images, how much more to purify, where asked for, by validation images that are held out of training here;
the test images only judge. Of what all compressions share, two constants of the search for bits were chosen by test images of the digits
(`precision`), and default methods by test images where validation images choose none that is better (results/README.md).
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from xbar.compression.admm import COLUMNS, Admm
from xbar.compression.constraints import Filter, Levels
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers
from xbar.compression.joint import Joint
from xbar.compression.layered import layers_of, with_layers
from xbar.compression.masks import bake, baked, choose_threshold, hold_zeros, purify
from xbar.compression.packing import weights_in_cells
from xbar.compression.paths import remove_unused_paths
from xbar.compression.quantise import folded, hold_levels, inject_mismatch, learn_input_steps, take_input_ranges
from xbar.hw.analog import convert, program
from xbar.hw.chip.description import Chip
from xbar.hw.footprint import Footprint, array_power, footprint
from xbar.hw.graph.trace import trace
from xbar.reports.compression_sheet import CompressionSheet
from xbar.reports.results import write_text
from xbar.workloads.compute import torch_device
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.offered import ASSUMED_SIGMA, AUTO, BEST_BITS, COMPRESSION_METHODS
from xbar.workloads.study.allocation import (
    SOLVED_ON,
    Allocation,
    Chosen,
    Keep,
    Search,
    check_targets,
    cost_aware,
    filter_sets,
    input_sets,
    joint_sets,
    prune_and_solve,
    smaller,
    uniform,
)
from xbar.workloads.study.costs import Costs, costs_before, weights_of
from xbar.workloads.study.effects import own_write_error, with_write_error
from xbar.workloads.study.frontier import Frontier
from xbar.workloads.study.give_back import GivenBack, give_back
from xbar.workloads.study.plan import PULL_SHARE, TRAININGS, Plan, split, split_told
from xbar.workloads.study.precision import LASTING, Bits, Widths, at_bits, bits_of
from xbar.workloads.study.pulled_training import pulling, train
from xbar.workloads.task import Metric
from xbar.workloads.training import TrainingError, check_recipe, read_state, save_state, score

Step = Callable[[str], None]
CPU = torch.device("cpu")
TIMED_BATCHES = 20  # whose training tells how long an epoch takes
LEVELS_SHARE = 0.3  # of the learning rate, on levels
LAST_SHARE = 0.1  # of it, for `control` and `final`, whose weights are on levels already (ours; at 0.3 VGG-16's loss rose meanwhile)
STAGES = ("uncompressed", "longer", "pruned", "purified", "quantised", "control", "final")
TRAINED_FOR = {"pruned": ("filters", "inputs", "pruned"), "quantised": ("levels", "quantised")}  # stages of training, by what they end in
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 10))  # of a layer's filters or inputs that sensitivity is told of
DAMAGE = "what the loss is estimated to rise by, the others solved again"
RULES = "rules 7"  # of what is counted and masked: raised when they change, so that nothing kept under others is taken up
THRESHOLDS = (0.1, 0.2, 0.3, 0.4)  # of a layer's mean group norm
TARGET_COLUMNS = {"area": "area_m2", "power": "power_W", "weights": "weights"}


@dataclass(frozen=True, kw_only=True)
class CompressionResult(CompressionSheet):
    """What came of it. model: the final one, small, on the chip's levels; chip: with its bits after; input_ranges: learned ones, for
    `xbar.hw.convert`. Tables as of any compression; in meta name and title of the network are its caller's to add."""

    model: nn.Module = field(repr=False)
    chip: Chip = field(repr=False)
    input_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


def compress(
    model: nn.Module, data: Dataset, chip: Chip, target: Mapping[str, float], out: Path, plan: Plan | None = None,
    step: Step = lambda _: None, code: str = "",
) -> CompressionResult:  # fmt: skip
    """The whole sequence for a trained network (see the module); `model` is left alone. code: what it depends on besides weights and
    data (`Workload.code`).

    target: what is to be left at most of area, power or weights, as a share of the uncompressed network's on the same chip.
    What an interrupted call of the same settings left in `out` is used. Raises AllocationError for targets out of reach,
    TrainingError where `out` belongs to another compression, and what `hw` and `compression` raise.
    """
    check_targets(target)
    if chip.layer:
        raise TrainingError(f"chip {chip.name} has settings of single layers ({', '.join(chip.layer)}), which compression, that "
                            "plans with one width for all, would not see: leave them out")  # fmt: skip
    work = Work(model, data, chip, dict(target), out, plan or Plan(), step, code)
    return work.result()


class Work:
    """One compression: its settings, its folder, and its stages in order."""

    def __init__(
        self, model: nn.Module, data: Dataset, chip: Chip, target: dict[str, float], out: Path, plan: Plan, step: Step, code: str
    ):
        self.example = data.train_inputs[:2]
        self.model = with_layers(baked(model).cpu().eval(), self.example)
        self.data, self.chip, self.target = data, chip, target
        self.on = torch_device((plan or Plan()).compute)
        self.out, self.plan, self.step, self.kept, self.code = out, plan, step, out / "checkpoints", code
        self.began = time.monotonic()
        self.processor_s: dict[str, float] = {}  # of training, by stage
        self.earlier: dict[str, float] = {}  # of what a stage begins with, where an interrupted call left that
        self.histories: dict[str, list[dict[str, Any]]] = {}  # of ADMM, by stage
        self.epochs_of: dict[str, int] = {}
        self.given_back: dict[str, dict[str, Any]] = {}  # what of each target is used, and why no more
        self.apart: dict[str, float] = {}  # of ADMM before the hard projection, the farthest layer, by stage
        self.ranges: dict[str, dict[str, tuple[float, float]]] = {}  # of inputs, learned, by stage
        self.parts = split(data, plan.validation, plan.seed)
        if plan.train_images:
            self.parts = first_samples(self.parts, plan.train_images)
        self.calibration = data.train_inputs[:200]
        bits = plan.bits if isinstance(plan.bits, int) else min(BEST_BITS, chip.weights.bits)
        input_bits = plan.input_bits if isinstance(plan.input_bits, int) else chip.inputs.bits
        self.chip_after = at_bits(chip, (bits, input_bits))
        own = own_write_error(chip.device)
        self.sigma = plan.sigma if plan.sigma is not None else (own or ASSUMED_SIGMA)
        self.device = with_write_error(chip.device, self.sigma)
        self.levels = Levels.of(self.chip_after)
        self.identity = self._identity(chip.model_dump_json(), repr(sorted(target.items())))
        self.of_uncompressed = self._identity()
        self.before = footprint(trace(self.model, self.example, pack=True), chip, plan.rate)
        self.costs_before = costs_before(self.model, self.before)
        self.costs = Costs(self.model, self.chip_after, plan.rate, self.example)
        self.widths: Widths | None = None
        if AUTO in (plan.bits, plan.input_bits):
            lasting = 1.0 if plan.learned else LASTING
            self.widths = Widths(self.costs, self.model, plan.bits == AUTO, plan.input_bits == AUTO, lasting)

    def _identity(self, *asked: str) -> str:
        """What everything kept depends on, as one hash; without what is asked of the chip what the uncompressed network does trained on."""
        weights = hashlib.sha256(
            b"".join(v.cpu().numpy().tobytes() for v in self.model.state_dict().values())
        ).hexdigest()
        judged = ("budgets", "frontier", "frontier_images", "frontier_seeds", "instances", "images", "most_on_chips", "longer", "longer_by",
                  "compute")  # fmt: skip
        plan = {name: value for name, value in asdict(self.plan).items() if name not in judged}
        told = [RULES, weights, self.data.digest, repr(sorted(plan.items())), self.code, *asked]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    # ---- stages

    def result(self) -> CompressionResult:
        """All stages, then the judgement; what of the plan the network or data cannot do is told before any of it."""
        most = self.plan.recipe(1, small=True, taught=True)  # with all options that a stage may have
        check_recipe(self.model, self.parts, most, self.model if most.distil else None)
        allocation, steps = self.allocation()
        models = self._models(allocation)
        judged = {name: self._judge(name, m) for name, m in models.items()}
        stages = pd.DataFrame.from_dict(judged, orient="index").rename_axis("stage")
        frontier = Frontier(self).table()
        final = models["final"]
        after = footprint(trace(final, self.example, pack=True), self.chip_after, self.plan.rate)
        alone = footprint(trace(final, self.example, pack=True), self.chip, self.plan.rate)
        layers = self._layers(final, after, alone)
        return CompressionResult(
            self._meta(stages, after, alone, allocation), stages, layers, steps, self.sensitivity, frontier, self._history(),
            model=final, chip=self.chip_after, input_ranges=self.ranges.get("final", {}),
        )  # fmt: skip

    def _history(self) -> pd.DataFrame:
        """Residuals of ADMM after each epoch."""
        tables = [pd.DataFrame(rows).assign(stage=name) for name, rows in self.histories.items() if rows]
        return pd.concat(tables, ignore_index=True)[["stage", *COLUMNS]] if tables else pd.DataFrame(columns=["stage", *COLUMNS])

    def _models(self, allocation: Allocation) -> dict[str, nn.Module]:
        """The network after each stage, by the stage's name, plain weights."""
        plan = self.plan
        inputs, third = self._cut(allocation), plan.levels if plan.method == "admm" else 0
        spare = plan.filters + plan.inputs - self._ran("filters", "inputs")
        pruned = self._stage("pruned", lambda: hold_zeros(inputs), plan.pruned + spare)
        purified = self._stage("purified", lambda: self._purified(pruned), plan.purified)
        levelled = self._stage(
            "levels",
            lambda: hold_zeros(folded(purified, self.example)),
            third,
            {key: [self.levels] for key in matrix_layers(purified)},
        )
        spare = plan.levels - self._ran("levels")
        quantised = self._stage("quantised", lambda: self._on_levels(levelled), plan.quantised + spare, share=LEVELS_SHARE)
        ranges = self.ranges["quantised"]
        control = self._stage("control", lambda: self._on_levels(quantised, ranges), plan.final, share=LAST_SHARE)
        final = self._stage("final", lambda: self._mismatched(quantised, ranges), plan.final, share=LAST_SHARE)
        longer = self._stage("longer", lambda: baked(self.model), self._longer_epochs()) if plan.longer else None
        found = (self.model, longer, pruned, purified, quantised, control, final)
        return {name: model for name, model in zip(STAGES, found, strict=True) if model is not None}

    def _longer_epochs(self) -> int:
        """Of the uncompressed network, to compare with: as many as the compressed one has, or as many as take the processor as long as
        what made it, at the time that an epoch is seen to take here."""
        if self.plan.longer_by == "epochs":
            return self.plan.epochs
        spent = sum(seconds for name, seconds in self.processor_s.items() if name not in ("longer", "control"))
        found = self.remembered("longer", lambda: {"epochs": max(1, round(spent / self._epoch_seconds()))}, of=self.of_uncompressed)
        return int(found["epochs"])

    def _epoch_seconds(self) -> float:
        """Processor time of an epoch of the uncompressed network's training, on the mean of small and large images, from a short one."""
        plan, model = self.plan, baked(self.model).to(self.on)
        part = first_samples(self.parts, TIMED_BATCHES * plan.batch)
        train(model, first_samples(part, plan.batch), plan.recipe(2, small=True), plan)  # what is done once
        began = time.process_time()
        train(model, part, plan.recipe(2, small=True), plan)
        return (time.process_time() - began) / 2 * len(self.parts.train_targets) / len(part.train_targets)

    def _cut(self, allocation: Allocation) -> nn.Module:
        """The network with what each layer is to keep, small; inputs that go are zeros in it."""
        plan = self.plan
        if plan.method == "least-squares":
            return self._stage("inputs", lambda: smaller(self._solved(allocation), self.example), 0)
        first, second = (0, 0) if plan.method == "magnitude" else (plan.filters, plan.inputs)
        filters = self._stage("filters", lambda: baked(self.model), first, *self.sets(allocation))
        small = smaller(baked(filters), self.example)
        return self._stage("inputs", lambda: small, second, input_sets(small, allocation))

    def _solved(self, allocation: Allocation) -> nn.Module:
        """The network cut at once, what is left solved by least squares; of the whole one's size, from its file if it is there."""
        path = self.kept / "solved.pt"
        if path.is_file():
            solved, state = baked(self.model), self._kept(path, self.identity)
            solved.load_state_dict(state["model"])
            self.earlier["inputs"] = state.get("processor_s", 0.0)
            return solved.eval()
        began = time.process_time()
        solved = prune_and_solve(self.model, allocation, first_samples(self.parts, SOLVED_ON), self.plan.seed, self.step)
        save_state({"identity": self.identity, "model": solved.state_dict(), "processor_s": time.process_time() - began}, path)
        return solved

    def _ran(self, *stages: str) -> int:
        """Epochs that these have taken."""
        return sum(self.epochs_of.get(name, 0) for name in stages)

    def allocation(self) -> tuple[dict[str, Keep], pd.DataFrame]:
        def search() -> dict[str, Any]:
            self.step("allocation: what each layer costs on the chip")
            chosen, given = self.chosen(self.target, self.plan.allocation == "cost-aware")
            steps = pd.concat([chosen.steps, pd.DataFrame(given.rows)]) if given.rows else chosen.steps
            return {
                "allocation": {name: asdict(keep) for name, keep in given.state.items()},
                "steps": steps.to_dict("list"), "targets": given.targets, "bits": bits_of(given.costs.chip),
                "sensitivity": sensitivity_of(chosen).to_dict("list"),
            }  # fmt: skip

        found = self.remembered("allocation", search)
        self.given_back, self.sensitivity = found["targets"], pd.DataFrame(found["sensitivity"])
        if self.widths is not None:
            self._at_bits(self.widths, tuple(found["bits"]))
        return {name: Keep(**keep) for name, keep in found["allocation"].items()}, pd.DataFrame(found["steps"])

    def _at_bits(self, widths: Widths, bits: Bits) -> None:
        """Go on at the bits that the search chose, on which all that is kept from here on depends."""
        self.widths, self.costs = None, widths.costs_at(bits)
        self.chip_after = self.costs.chip
        self.levels = Levels.of(self.chip_after)
        self.identity = hashlib.sha256(f"{self.identity} {bits}".encode()).hexdigest()

    def chosen(self, target: Mapping[str, float], by_cost: bool) -> tuple[Chosen, GivenBack]:
        """What each layer keeps at these targets, as searched and after what still fits has come back."""
        search = self._search(target)
        chosen = cost_aware(search) if by_cost else uniform(search)
        given = give_back(search, chosen)
        if search.widths:
            self.step("allocation: chosen are {}-bit weights and {}-bit inputs".format(*bits_of(given.costs.chip)))
        for name, each in given.targets.items():
            why = f": {each['why']}" if each["why"] else ""
            self.step(f"allocation: {name} {each['left']:.4g} of {each['allowed']:.4g} allowed, {each['cut']:.4g} before giving back{why}")
        return chosen, given

    def _search(self, target: Mapping[str, float]) -> Search:
        plan = self.plan
        return Search(self.model, self.costs, target, self.costs_before, self.parts, plan.recipe(1), plan.rounds,
                      plan.search_images, plan.seed, self.step, self.widths)  # fmt: skip

    def sets(self, allocation: Allocation) -> tuple[dict[str, list[Filter]], list[Joint]]:
        """What filters of layers, and what units of streams, are to be kept by ADMM."""
        joint = joint_sets(self.model, allocation, self.example)
        return filter_sets(self.model, allocation, joint), joint

    def _purified(self, model: nn.Module) -> nn.Module:
        trial = hold_zeros(model)
        threshold = self.remembered("threshold", lambda: {"threshold": self._threshold(trial)})["threshold"]
        return self._without(trial, threshold)

    def _without(self, model: nn.Module, threshold: float) -> nn.Module:
        """Smaller, without the groups of little norm and what they leave unused."""
        trial = copy.deepcopy(model)
        if threshold:
            purify(trial, threshold)
        remove_unused_paths(trial, self.example)
        return hold_zeros(smaller(baked(trial), self.example))

    def _threshold(self, model: nn.Module) -> float:
        """Below what share of a layer's mean norm groups go: the least that meets the targets, 0 where they are met or none does. Where
        `Plan.purify` asks, the largest that validation allows, if a quantity that has a target falls by it."""
        search = self._search(self.target)

        def shares(threshold: float) -> dict[str, float]:
            try:
                return search.shares(search.costs.of(bake(self._without(model, threshold)).eval()))
            except CompressionError:  # a layer would be left without weights
                return {name: math.inf for name in self.target}

        least = next((each for each in (0.0, *THRESHOLDS) if search.met(shares(each))), 0.0)
        if least:
            self.step(f"purified: groups below {least:g} of their layer's mean norm go too, so that the targets are met")
        if not self.plan.purify:
            return least
        held, metric = self.parts, self.data.metric

        def judged(trial: nn.Module) -> float:
            try:
                small = self._without(trial, 0.0).eval()
            except CompressionError:
                return -math.inf
            return -metric.lost(0.0, score(small, held.test_inputs, held.test_targets, metric))

        before = score(model.eval(), held.test_inputs, held.test_targets, metric)
        most_lost = self.plan.most_lost * (abs(before) if metric.unit else 1.0)
        most = max(least, choose_threshold(model, THRESHOLDS, judged, most_lost))
        spared = zip(shares(most).values(), shares(least).values(), strict=True)
        return most if any(after < before for after, before in spared) else least

    def _on_levels(self, model: nn.Module, ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})) -> nn.Module:
        held = hold_zeros(model)
        hold_levels(held, self.levels, self.plan.learned)
        if self.plan.learned:
            learn_input_steps(held, self.chip_after, self.calibration, ranges)
        return held

    def _mismatched(self, model: nn.Module, ranges: Mapping[str, tuple[float, float]]) -> nn.Module:
        noisy = self._on_levels(model, ranges)
        inject_mismatch(noisy, self.chip_after.model_copy(update={"device": self.device}), self.plan.seed)
        return noisy

    def _stage(
        self, name: str, begin: Callable[[], nn.Module], epochs: int,
        sets: Mapping[str, list[Any]] | None = None, joint: Sequence[Joint] = (), share: float = 1.0,
    ) -> nn.Module:  # fmt: skip
        """What `begin` gives, trained (pulled where there are sets, and put in them), from its file if it is there."""
        path, began = self.kept / f"{name}.pt", time.process_time()
        model = begin()
        plain = baked(model)
        identity = f"{self.of_uncompressed} {epochs} epochs" if name == "longer" else self.identity
        if path.is_file():
            state = self._kept(path, identity)
            take_input_ranges(plain)
            plain.load_state_dict(state["model"])
            self.histories[name], self.epochs_of[name] = state["history"], state["epochs"]
            self.ranges[name], self.apart[name] = state["input_ranges"], state["apart"]
            self.processor_s[name] = state["processor_s"]
            return plain.eval()
        self.histories[name], self.epochs_of[name], self.apart[name] = [], 0, 0.0
        spent = self.kept / f"{name}.seconds"
        before = float(spent.read_text("utf-8")) if spent.is_file() else self.earlier.get(name, 0.0)  # by an interrupted call
        asked = bool(sets or joint)
        if asked and not epochs:
            Admm(model, sets or {}, joint=joint).project_()  # the nearest members: by magnitude
        if epochs and (sets is None or asked):
            plan, last = self.plan, name in ("levels", "quantised", "control", "final")
            model.to(self.on)
            pulled = pulling(plan.method, model, sets or {}, plan, epochs, self.parts, joint=joint) if asked else None
            recipe = plan.recipe(epochs, PULL_SHARE if asked else share, pulled=asked, small=not last and not asked,
                                 taught=name != "longer")  # fmt: skip

            def told(epoch: int, loss: float) -> None:
                self.epochs_of[name] = epoch + 1
                write_text(spent, f"{before + time.process_time() - began:.3f}")
                history = pulled.history if isinstance(pulled, Admm) else pd.DataFrame()
                apart = history.loc[history["update"] == history["update"].max(), "primal_residual"].max() if len(history) else 0.0
                least = f", {apart:.1%} from its set at most" if apart else ""
                self.step(f"{name}: epoch {epoch + 1} of {epochs}, loss {loss:.4f}{least}")

            checkpoint = self.kept / f"{name}.checkpoint"
            if checkpoint.is_file():  # an interrupt after its last epoch tells of none
                self.epochs_of[name] = read_state(checkpoint).get("epoch", -1) + 1
            teacher = self.model.to(self.on) if recipe.distil else None
            train(model, self.parts, recipe, plan, pulled, checkpoint, told, teacher)
            if isinstance(pulled, Admm):
                self.histories[name] = pulled.history.to_dict("records")
                self.apart[name] = pulled.reached
            self.model.cpu()
        self.ranges[name] = take_input_ranges(model)
        plain = bake(model).cpu().eval()
        self.processor_s[name] = before + time.process_time() - began
        state = {"identity": identity, "model": plain.state_dict(), "history": self.histories[name], "epochs": self.epochs_of[name],
                 "input_ranges": self.ranges[name], "apart": self.apart[name], "processor_s": self.processor_s[name]}  # fmt: skip
        save_state(state, path)
        spent.unlink(missing_ok=True)
        (self.kept / f"{name}.checkpoint").unlink(missing_ok=True)
        return plain

    def _kept(self, path: Path, identity: str) -> dict[str, Any]:
        state = read_state(path)
        if state.get("identity") != identity:
            raise TrainingError(
                f"{path}: belongs to another compression; give another folder, or remove this one's checkpoints"
            )
        return state

    def remembered(self, name: str, find: Callable[[], dict[str, Any]], extra: str = "", of: str = "") -> dict[str, Any]:
        """What `find` found, kept as JSON; found anew where other settings of judging (`extra`) made it. of: what it depends on, all
        unless told otherwise."""
        path, identity = self.kept / f"{name}.json", of or self.identity
        if path.is_file():
            try:
                kept = json.loads(path.read_text("utf-8"))
            except ValueError:
                raise TrainingError(f"{path}: not JSON; remove it to find it anew") from None
            if kept.get("identity") != identity:
                raise TrainingError(
                    f"{path}: belongs to another compression; give another folder, or remove this one's checkpoints"
                )
            if kept["extra"] == extra:
                return dict(kept["found"])
        found = find()
        self.kept.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"identity": identity, "extra": extra, "found": found}))
        return found

    # ---- judging

    def _judge(self, name: str, model: nn.Module) -> dict[str, Any]:
        plan = self.plan
        chip = self.chip if name in ("uncompressed", "longer", "pruned", "purified") else self.chip_after

        def judge() -> dict[str, Any]:
            self.step(f"judging: {name}, network {STAGES.index(name) + 1} of {len(STAGES)}, on {plan.instances} chips")
            inputs, targets, metric = self.data.test_inputs, self.data.test_targets, self.data.metric
            taken = footprint(trace(model, self.example, pack=True), chip, plan.rate)
            found = {
                "bits": chip.weights.bits, "weights": weights_of(model), "arrays": taken.arrays, "area_m2": taken.area,
                "power_W": taken.power, "energy_J": taken.energy, "latency_s": taken.latency,
                "float": score(model, inputs, targets, metric),
                "validation": score(model, self.parts.test_inputs, self.parts.test_targets, metric),
            }  # fmt: skip
            if weights_of(model) > plan.most_on_chips:
                return found | {"ideal": None, "varied": []}
            inputs, targets = inputs[: plan.images], targets[: plan.images]
            ranges = self.ranges.get(name, {})
            ideal = chip_scores(model, chip, self.calibration, inputs, targets, (), self.device, metric, ranges, self.on)[0]
            seeds = range(plan.seed, plan.seed + plan.instances)
            varied = chip_scores(model, chip, self.calibration, inputs, targets, seeds, self.device, metric, ranges, self.on)
            return found | {"ideal": ideal, "varied": varied}

        how = f"{plan.instances} {plan.images}" if weights_of(model) <= plan.most_on_chips else f"float {plan.most_on_chips}"
        how += f", {self.epochs_of['longer']} epochs" if name == "longer" else ""
        found = self.remembered(f"judged-{name}", judge, how)
        varied = pd.Series(found.pop("varied"), dtype=float)
        found["ideal"] = float("nan") if found["ideal"] is None else found["ideal"]
        return found | {"varied_mean": varied.mean(), "varied_least": varied.min(), "varied_most": varied.max(),
                        "varied_std": 0.0 if len(varied) == 1 else varied.std()}  # fmt: skip

    def _layers(self, final: nn.Module, after: Footprint, alone: Footprint) -> pd.DataFrame:
        """One row a layer, before and after."""
        rows = {}
        layers, small = layers_of(self.model), layers_of(final)
        for name, row in self.before.layers.iterrows():
            old, new, pruned = layers[name], after.layers.loc[name], alone.layers.loc[name]
            rows[name] = {
                "outputs_before": int(row["outputs"]), "inputs_before": int(row["inputs"]),
                "outputs_after": int(new["outputs"]), "inputs_after": int(new["inputs"]),
                "weights_before": weights_in_cells([old]), "weights_after": weights_in_cells([small[name]]),
                "bits_before": self.chip.weights.bits, "bits_after": self.chip_after.weights.bits,
                "arrays_before": int(row["arrays"]), "arrays_pruned": int(pruned["arrays"]), "arrays_after": int(new["arrays"]),
                "energy_before_J": row["energy_J"], "energy_pruned_J": pruned["energy_J"], "energy_after_J": new["energy_J"],
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")

    def _meta(self, stages: pd.DataFrame, after: Footprint, alone: Footprint, allocation: Allocation) -> dict[str, Any]:
        first, last = stages.loc["uncompressed"], stages.loc["final"]
        fewer_bits = footprint(trace(self.model, self.example, pack=True), self.chip_after, self.plan.rate)
        taken = {"before": self.before, "fewer_bits": fewer_bits, "pruned": alone, "after": after}
        return {
            "version": version("xbar"), "data": self.data.name, "samples": self.data.samples,
            "metric": self.data.metric.told(), "damage": DAMAGE, "chip": self.chip.name, "chip_title": self.chip.title,
            "array": [self.chip.structure.wordlines, self.chip.structure.bitlines], "cell_bits": self.chip.cell_bits,
            "input_bits_before": self.chip.inputs.bits, "input_bits_after": self.chip_after.inputs.bits,
            "target": self.target, "rate": self.plan.rate, "sigma": self.sigma,
            "sigma_is_own": bool(own_write_error(self.chip.device)) and self.plan.sigma is None,
            "programming_model": self.chip.device.programming_model,
            "bits_before": self.chip.weights.bits, "bits_after": self.chip_after.weights.bits,
            "weights_before": int(first["weights"]), "weights_after": int(last["weights"]),
            "compression": float(first["weights"] / last["weights"]), "float_before": float(first["float"]),
            "float_longer": float(stages.loc["longer", "float"]) if self.plan.longer else None, "epochs": self.plan.epochs,
            "longer_epochs": self._ran("longer") if self.plan.longer else None,
            "float_after": float(last["float"]), "test_images": len(self.data.test_targets), "chip_images": self._images(),
            "search_images": min(self.plan.search_images, len(self.parts.train_targets)),
            "left": {name: last[column] / first[column] for name, column in TARGET_COLUMNS.items() if name in self.target},
            "frontier_images": min(self.plan.frontier_images, len(self.parts.train_targets)),
            "instances": self.plan.instances, "validation_images": len(self.parts.test_targets),
            "validation_split": split_told(self.data, self.plan.validation),
            "method": COMPRESSION_METHODS[self.plan.method],
            "from_sets_at_projection": {name: each for name, each in self.apart.items() if each},
            "input_ranges": {name: list(each) for name, each in self.ranges.get("final", {}).items()},
            "footprints": {name: footprint_numbers(each, array_power(self.chip)) for name, each in taken.items()},
            "allocation": {name: asdict(keep) for name, keep in allocation.items()}, "given_back": self.given_back,
            "plan": asdict(self.plan) | {name: self._ran(name) for name in TRAININGS},  # epochs as they were taken
            "stage_epochs": {name: self._ran(*TRAINED_FOR.get(name, (name,))) for name in stages.index},
            "processor_min": {name: sum(self.processor_s.get(part, 0.0) for part in TRAINED_FOR.get(name, (name,))) / 60
                              for name in stages.index},
            "seconds": time.monotonic() - self.began,
        }  # fmt: skip

    def _images(self) -> int:
        return min(self.plan.images, len(self.data.test_targets))


def sensitivity_of(chosen: Chosen) -> pd.DataFrame:
    """What the loss does without a share of each layer's or stream's filters and inputs, those of least worth, as `Chosen.worth` has it of
    the uncompressed network; no rows where nothing was measured."""
    rows = []
    for name, sides in chosen.worth.items():
        for side, falling in zip(("filters", "inputs"), sides, strict=True):
            summed = falling.double().flip(0).cumsum(0)
            counts = {share: round(share * len(summed)) for share in SHARES}
            rows += [{"layer": name, "side": side, "share": share, "damage": float(summed[count - 1]) if count else 0.0}
                     for share, count in counts.items() if len(summed) > 1]  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "side", "share", "damage"])


def footprint_numbers(taken: Footprint, array_power: float) -> dict[str, float]:
    """A footprint as `compression.json` has it. array_power: of one array with its share of the chip at its peak load [W]
    (`xbar.hw.footprint.array_power`), of the uncompressed network's chip throughout."""
    return {
        "arrays": taken.arrays,
        "area_m2": taken.area,
        "energy_J": taken.energy,
        "power_W": taken.power,
        "peak_power_W": taken.arrays * array_power,
        "latency_s": taken.latency,
    }


def chip_scores(
    model: nn.Module, chip: Chip, calibration: Tensor, inputs: Tensor, targets: Tensor, seeds: Any, device: Any, metric: Metric,
    input_ranges: Mapping[str, tuple[float, float]] = MappingProxyType({}), on: torch.device = CPU,
) -> list[float]:  # fmt: skip
    """Scores of chip instances by seed with cells of `device`, rows and columns of zeros packed away; without seeds, of one
    chip with ideal cells. on: where they compute."""
    on_chip = convert(model, chip, calibration, 0, pack=True, input_ranges=input_ranges).to(on)
    found = []
    for seed in seeds or [None]:
        program(on_chip, 0 if seed is None else seed, device, layers=() if seed is None else None)
        found.append(score(lambda x: on_chip(x.to(on)).cpu(), inputs, targets, metric, batch=250))
    return found

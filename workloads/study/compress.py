"""Compress a trained network for a chip, from the choice of what to keep to a network on the chip's levels that stands its
device's errors; and judge what each step brought.

Steps, each kept in a file of `checkpoints/`, from which an interrupted run goes on:
allocation: what each layer keeps, by cost on the chip (`xbar.workloads.study.allocation`);
filters, inputs: ADMM to that many filters, the network shrunk; then to that many inputs (wordlines) of what is left;
longer, where asked for: the uncompressed network trained on for as many epochs as all that follows, to compare with;
pruned: retraining under masks; purified: what is left of little norm goes too, unused paths, shrunk, retrained;
quantised: batch norm folded, ADMM to the chip's levels, retraining on them; final: retraining on levels under the device's
programming errors; control: as long without them. Ratios are chosen by training images, how much to purify by
validation images that are held out of training here; the test images only judge.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from xbar.compression.admm import COLUMNS, Admm, Rho
from xbar.compression.constraints import Filter, Levels
from xbar.compression.errors import CompressionError
from xbar.compression.gemm import matrix_layers
from xbar.compression.joint import Joint
from xbar.compression.layered import layers_of, with_layers
from xbar.compression.masks import bake, baked, choose_threshold, hold_zeros, purify, values
from xbar.compression.paths import remove_unused_paths
from xbar.compression.quantise import folded, hold_levels, inject_mismatch
from xbar.hw.analog import convert, program
from xbar.hw.chip.description import Chip
from xbar.hw.footprint import Footprint, footprint
from xbar.hw.graph.trace import trace
from xbar.reports.results import write_text
from xbar.workloads.data import Dataset, first_samples
from xbar.workloads.offered import ASSUMED_SIGMA, BEST_BITS, NETWORKS, RATE
from xbar.workloads.study.allocation import (
    Allocation,
    AllocationError,
    Costs,
    Keep,
    Search,
    check_targets,
    cost_aware,
    costs_before,
    filter_sets,
    input_sets,
    joint_sets,
    prune_once,
    smaller,
    uniform,
    weights_of,
)
from xbar.workloads.study.effects import own_write_error, with_write_error
from xbar.workloads.task import Metric
from xbar.workloads.training import Recipe, TrainingError, read_state, save_state, score, train_network

Step = Callable[[str], None]
STAGES = ("uncompressed", "longer", "pruned", "purified", "quantised", "control", "final")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4)  # of a layer's mean group norm
TARGET_COLUMNS = {"area": "area_m2", "power": "power_W", "weights": "weights"}
RHO = Rho(3e-3, factor=3.0, last=0.3)


@dataclass(frozen=True)
class Plan:
    """How hard to try: epochs of each training (0: none), and what is judged. Raises TrainingError for values out of range.

    rounds, search_images: of the search for what each layer keeps. updates: of ADMM in an epoch. longer: whether the
    uncompressed network is trained on for as many epochs as the compressed one takes, to compare with. bits: of a weight after,
    None for BEST_BITS or the chip's own, where fewer; input_bits: of an input after, None for the chip's own. sigma:
    programming error of varied chips [1], None for the device's own or ASSUMED_SIGMA. rate: inferences per second of all power
    figures [1/s]. most_lost: validation accuracy that purification may cost before retraining, of other metrics a
    share of the value before [1]. most_on_chips: networks of
    more weights are judged in float only, for what their cells take of memory. budgets: multiples of the targets that the
    picture of methods is drawn at, none for no picture. frontier: epochs of ADMM and of retraining for each of its points, on
    frontier_images.
    """

    rounds: int = 6
    search_images: int = 10000
    filters: int = 4
    inputs: int = 3
    pruned: int = 12
    purified: int = 12
    levels: int = 3
    quantised: int = 5
    final: int = 10
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    shift: int = 0
    flip: bool = False
    bfloat16: bool = False
    updates: int = 1
    longer: bool = False
    bits: int | None = None
    input_bits: int | None = None
    sigma: float | None = None
    rate: float = RATE
    validation: int = 5000
    most_lost: float = 0.0004
    instances: int = 10
    images: int = 1000
    most_on_chips: int = 5_000_000
    budgets: tuple[float, ...] = (2.0, 1.0, 0.7)
    frontier: tuple[int, int] = (1, 3)
    frontier_images: int = 15000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "search_images", "batch", "updates", "validation", "instances", "images", "frontier_images"):
            _check(name, getattr(self, name) >= 1, getattr(self, name), "1 or more")
        for name in ("filters", "inputs", "pruned", "purified", "levels", "quantised", "final", "seed"):
            _check(name, getattr(self, name) >= 0, getattr(self, name), "0 or more")
        for name in ("learning_rate", "rate"):
            _check(name, 0 < getattr(self, name) < float("inf"), getattr(self, name), "above 0 and finite")
        for name in ("bits", "input_bits"):
            _check(name, getattr(self, name) is None or getattr(self, name) >= 1, getattr(self, name), "1 or more")
        _check("sigma", self.sigma is None or 0 <= self.sigma < float("inf"), self.sigma, "0 or more and finite")
        _check("most_lost", 0 <= self.most_lost <= 1, self.most_lost, "from 0 to 1")
        _check("budgets", all(budget > 0 for budget in self.budgets), self.budgets, "above 0 each")
        _check("frontier", 1 <= self.frontier[0] <= self.frontier[1], self.frontier, "1 or more of ADMM, at least as many of retraining")

    def recipe(self, epochs: int, share: float = 1.0) -> Recipe:
        """A training of that many epochs at a share of the learning rate."""
        rate = self.learning_rate * share
        return Recipe(epochs, self.batch, rate, self.weight_decay, self.shift, self.flip, self.bfloat16)

    @property
    def epochs(self) -> int:
        """Of all training after the choice of what to keep."""
        return self.filters + self.inputs + self.pruned + self.purified + self.levels + self.quantised + self.final


def _check(name: str, holds: bool, value: object, allowed: str) -> None:
    if not holds:
        raise TrainingError(f"plan.{name} must be {allowed}, got {value}")


_COLOUR: dict[str, Any] = {"weight_decay": 0.05, "shift": 4, "flip": True, "bfloat16": True}
_TRAINING = {
    "digits": Plan(6, 1437, 30, 20, 60, 20, 10, 20, 40, 64, 1e-2, validation=300, frontier=(10, 30)),
    **dict.fromkeys(("lenet5", "lenet5-caffe"), Plan(pruned=14, shift=1, most_lost=0.0)),
    "resnet20": Plan(
        filters=2, inputs=1, pruned=6, purified=3, levels=1, quantised=2, final=3, learning_rate=1e-3, most_lost=0.002,
        budgets=(1.5, 1.0, 0.7), frontier=(2, 5), frontier_images=15000, longer=True, **_COLOUR,
    ),
    **dict.fromkeys(("vgg16", "resnet18"), Plan(
        search_images=6000, filters=2, inputs=1, pruned=4, purified=1, levels=1, quantised=1, final=1, learning_rate=1e-3,
        updates=4, most_lost=0.001, budgets=(), longer=True, **_COLOUR,
    )),
}  # fmt: skip
PLANS = {
    name: replace(_TRAINING.get(name, Plan()), images=network.compressed_images, instances=network.compressed_instances)
    for name, network in NETWORKS.items()
}


def fitted(plan: Plan, data: Dataset) -> Plan:
    """The plan; where it would hold out more than half of the training samples, with a fifth of them."""
    count = len(data.train_targets)
    return plan if plan.validation <= count // 2 else replace(plan, validation=max(1, count // 5))


def quick(plan: Plan) -> Plan:
    """The plan with no more than a few epochs of everything, to try it out."""
    most = {"rounds": 3, "filters": 4, "inputs": 2, "pruned": 8, "purified": 3, "levels": 2, "quantised": 3, "final": 4}
    fewer = {name: min(getattr(plan, name), count) for name, count in most.items()}
    return replace(plan, **fewer, frontier=(1, 2), longer=False)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CompressionResult:
    """What came of it. model: the final one, small, on the chip's levels; chip: with its bits after.

    stages: one row a stage (accuracy in float, on ideal and varied chips, weights, footprint); layers: one row a layer,
    before and after; steps: of the allocation; frontier: one row a method and budget; admm: residuals by
    stage, epoch and layer (`xbar.compression.admm.Admm.history`); meta: settings and headline numbers.
    """

    model: nn.Module = field(repr=False)
    chip: Chip = field(repr=False)
    stages: pd.DataFrame
    layers: pd.DataFrame
    steps: pd.DataFrame
    frontier: pd.DataFrame
    admm: pd.DataFrame
    meta: dict[str, Any]


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
    work = _Work(model, data, chip, dict(target), out, plan or Plan(), step, code)
    return work.result()


def split(data: Dataset, validation: int, seed: int) -> Dataset:
    """The training samples in two: to train on, and, as test images, to choose by; the test images are not in it."""
    count = len(data.train_targets)
    if not 0 < validation < count:
        raise TrainingError(f"validation images must be 1 to {count - 1}, got {validation}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held, rest = order[:validation], order[validation:]
    return replace(
        data, name=f"{data.name}, {validation} of training held out", train_inputs=data.train_inputs[rest],
        train_targets=data.train_targets[rest], test_inputs=data.train_inputs[held], test_targets=data.train_targets[held],
    )  # fmt: skip


class _Work:
    """One compression: its settings, its folder, and its stages in order."""

    def __init__(
        self, model: nn.Module, data: Dataset, chip: Chip, target: dict[str, float], out: Path, plan: Plan, step: Step, code: str
    ):
        self.example = data.train_inputs[:2]
        self.model = with_layers(baked(model).cpu().eval(), self.example)
        self.data, self.chip, self.target = data, chip, target
        self.trained_on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.out, self.plan, self.step, self.kept, self.code = out, plan, step, out / "checkpoints", code
        self.began = time.monotonic()
        self.histories: dict[str, list[dict[str, Any]]] = {}  # of ADMM, by stage
        self.parts = split(data, plan.validation, plan.seed)
        self.calibration = data.train_inputs[:200]
        bits, input_bits = plan.bits or min(BEST_BITS, chip.weights.bits), plan.input_bits or chip.inputs.bits
        self.chip_after = chip
        if (bits, input_bits) != (chip.weights.bits, chip.inputs.bits):
            self.chip_after = chip.with_changes(weights={"bits": bits}, inputs={"bits": input_bits})
        own = own_write_error(chip.device)
        self.sigma = plan.sigma if plan.sigma is not None else (own or ASSUMED_SIGMA)
        self.device = with_write_error(chip.device, self.sigma)
        self.levels = Levels.of(self.chip_after)
        self.identity = self._identity()
        self.before = footprint(trace(self.model, self.example, pack=True), chip, plan.rate)
        self.costs_before = costs_before(self.model, self.before)
        self.costs = Costs(self.model, self.chip_after, plan.rate, self.example)

    def _identity(self) -> str:
        """What everything kept depends on, as one hash."""
        weights = hashlib.sha256(
            b"".join(v.cpu().numpy().tobytes() for v in self.model.state_dict().values())
        ).hexdigest()
        judged = ("budgets", "frontier", "frontier_images", "instances", "images", "most_on_chips", "longer")
        plan = {name: value for name, value in asdict(self.plan).items() if name not in judged}
        told = [weights, self.data.digest, self.chip.model_dump_json(), repr(sorted(self.target.items())),
                repr(sorted(plan.items()))]  # fmt: skip
        return hashlib.sha256("\n".join([*told, self.code] if self.code else told).encode()).hexdigest()

    # ---- stages

    def result(self) -> CompressionResult:
        """All stages, then the judgement."""
        allocation, steps = self._allocation()
        models = self._models(allocation)
        judged = {name: self._judge(name, m) for name, m in models.items()}
        stages = pd.DataFrame.from_dict(judged, orient="index").rename_axis("stage")
        frontier = self._frontier()
        final = models["final"]
        after = footprint(trace(final, self.example, pack=True), self.chip_after, self.plan.rate)
        alone = footprint(trace(final, self.example, pack=True), self.chip, self.plan.rate)
        layers = self._layers(final, after, alone)
        return CompressionResult(
            final, self.chip_after, stages, layers, steps, frontier, self._history(), self._meta(stages, after, alone, allocation)
        )

    def _history(self) -> pd.DataFrame:
        """Residuals of ADMM after each epoch."""
        tables = [pd.DataFrame(rows).assign(stage=name) for name, rows in self.histories.items() if rows]
        return pd.concat(tables, ignore_index=True)[["stage", *COLUMNS]] if tables else pd.DataFrame(columns=["stage", *COLUMNS])

    def _models(self, allocation: Allocation) -> dict[str, nn.Module]:
        """The network after each stage, by the stage's name, plain weights."""
        plan = self.plan
        filters = self._stage("filters", lambda: baked(self.model), plan.filters, *self._sets(allocation))
        small = smaller(baked(filters), self.example)
        inputs = self._stage("inputs", lambda: small, plan.inputs, input_sets(small, allocation))
        pruned = self._stage("pruned", lambda: hold_zeros(inputs), plan.pruned)
        purified = self._stage("purified", lambda: self._purified(pruned), plan.purified)
        levelled = self._stage(
            "levels",
            lambda: hold_zeros(folded(purified, self.example)),
            plan.levels,
            {key: [self.levels] for key in matrix_layers(purified)},
            share=0.3,
        )
        quantised = self._stage("quantised", lambda: self._on_levels(levelled), plan.quantised, share=0.3)
        control = self._stage("control", lambda: self._on_levels(quantised), plan.final, share=0.3)
        final = self._stage("final", lambda: self._mismatched(quantised), plan.final, share=0.3)
        longer = self._stage("longer", lambda: baked(self.model), plan.epochs) if plan.longer else None
        found = (self.model, longer, pruned, purified, quantised, control, final)
        return {name: model for name, model in zip(STAGES, found, strict=True) if model is not None}

    def _allocation(self) -> tuple[dict[str, Keep], pd.DataFrame]:
        def search() -> dict[str, Any]:
            self.step("allocation: what each layer costs on the chip")
            allocation, steps = cost_aware(self._search(self.target))
            return {
                "allocation": {name: asdict(keep) for name, keep in allocation.items()},
                "steps": steps.to_dict("list"),
            }

        found = self._remembered("allocation", search)
        return {name: Keep(**keep) for name, keep in found["allocation"].items()}, pd.DataFrame(found["steps"])

    def _search(self, target: Mapping[str, float]) -> Search:
        plan = self.plan
        return Search(self.model, self.costs, target, self.costs_before, self.parts, plan.recipe(1), plan.rounds,
                      plan.search_images, plan.seed, self.step)  # fmt: skip

    def _sets(self, allocation: Allocation) -> tuple[dict[str, list[Filter]], list[Joint]]:
        """What filters of layers, and what units of streams, are to be kept by ADMM."""
        joint = joint_sets(self.model, allocation, self.example)
        return filter_sets(self.model, allocation, joint), joint

    def _purified(self, model: nn.Module) -> nn.Module:
        trial = hold_zeros(model)
        threshold = self._remembered("threshold", lambda: {"threshold": self._threshold(trial)})["threshold"]
        return self._without(trial, threshold)

    def _without(self, model: nn.Module, threshold: float) -> nn.Module:
        """Smaller, without the groups of little norm and what they leave unused."""
        trial = copy.deepcopy(model)
        if threshold:
            purify(trial, threshold)
        remove_unused_paths(trial, self.example)
        return hold_zeros(smaller(baked(trial), self.example))

    def _threshold(self, model: nn.Module) -> float:
        held, metric = self.parts, self.data.metric

        def judged(trial: nn.Module) -> float:
            try:
                self._without(trial, 0.0)
            except CompressionError:  # a layer would be left without weights
                return -math.inf
            return -metric.lost(0.0, score(trial.eval(), held.test_inputs, held.test_targets, metric))

        before = score(model.eval(), held.test_inputs, held.test_targets, metric)
        most_lost = self.plan.most_lost * (abs(before) if metric.unit else 1.0)
        return choose_threshold(model, THRESHOLDS, judged, most_lost)

    def _on_levels(self, model: nn.Module) -> nn.Module:
        held = hold_zeros(model)
        hold_levels(held, self.levels)
        return held

    def _mismatched(self, model: nn.Module) -> nn.Module:
        noisy = self._on_levels(model)
        inject_mismatch(noisy, self.chip_after.model_copy(update={"device": self.device}), self.plan.seed)
        return noisy

    def _stage(
        self, name: str, begin: Callable[[], nn.Module], epochs: int,
        sets: Mapping[str, list[Any]] | None = None, joint: Sequence[Joint] = (), share: float = 1.0,
    ) -> nn.Module:  # fmt: skip
        """What `begin` gives, trained (under ADMM where there are sets, and put in them), from its file if it is there."""
        model, path = begin(), self.kept / f"{name}.pt"
        plain = baked(model)
        if path.is_file():
            state = self._kept(path)
            plain.load_state_dict(state["model"])
            self.histories[name] = state["history"]
            return plain.eval()
        self.histories[name] = []
        if (sets or joint) and not epochs:
            Admm(model, sets or {}, RHO, joint).project_()
        if epochs and (sets is None or sets or joint):
            model.to(self.trained_on)
            admm = Admm(model, sets or {}, RHO, joint) if sets or joint else None

            def told(epoch: int, loss: float) -> None:
                apart = 0.0 if admm is None else admm.history.tail(len(admm.layers))["primal_residual"].max()
                least = f", {apart:.1%} from its set at most" if apart else ""
                self.step(f"{name}: epoch {epoch + 1} of {epochs}, loss {loss:.4f}{least}")

            _train(model, self.parts, self.plan.recipe(epochs, share), self.plan, admm, self.kept / f"{name}.checkpoint", told)
            self.histories[name] = [] if admm is None else admm.history.to_dict("records")
        plain = bake(model).cpu().eval()
        save_state({"identity": self.identity, "model": plain.state_dict(), "history": self.histories[name]}, path)
        (self.kept / f"{name}.checkpoint").unlink(missing_ok=True)
        return plain

    def _kept(self, path: Path) -> dict[str, Any]:
        state = read_state(path)
        if state.get("identity") != self.identity:
            raise TrainingError(
                f"{path}: belongs to another compression; give another folder, or remove this one's checkpoints"
            )
        return state

    def _remembered(self, name: str, find: Callable[[], dict[str, Any]], extra: str = "") -> dict[str, Any]:
        """What `find` found, kept as JSON; found anew where other settings of judging (`extra`) made it."""
        path = self.kept / f"{name}.json"
        if path.is_file():
            try:
                kept = json.loads(path.read_text("utf-8"))
            except ValueError:
                raise TrainingError(f"{path}: not JSON; remove it to find it anew") from None
            if kept.get("identity") != self.identity:
                raise TrainingError(
                    f"{path}: belongs to another compression; give another folder, or remove this one's checkpoints"
                )
            if kept["extra"] == extra:
                return dict(kept["found"])
        found = find()
        self.kept.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"identity": self.identity, "extra": extra, "found": found}))
        return found

    # ---- judging

    def _judge(self, name: str, model: nn.Module) -> dict[str, Any]:
        plan = self.plan
        chip = self.chip if name in ("uncompressed", "longer", "pruned", "purified") else self.chip_after

        def judge() -> dict[str, Any]:
            self.step(f"judging: {name}")
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
            ideal = chip_scores(model, chip, self.calibration, inputs, targets, (), self.device, metric)[0]
            seeds = range(plan.seed, plan.seed + plan.instances)
            varied = chip_scores(model, chip, self.calibration, inputs, targets, seeds, self.device, metric)
            return found | {"ideal": ideal, "varied": varied}

        how = f"{plan.instances} {plan.images}" if weights_of(model) <= plan.most_on_chips else f"float {plan.most_on_chips}"
        found = self._remembered(f"judged-{name}", judge, how)
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
                "weights_before": int((old.weight != 0).sum()), "weights_after": int((values(small[name]) != 0).sum()),
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
            "metric": self.data.metric.told(), "chip": self.chip.name, "chip_title": self.chip.title,
            "array": [self.chip.structure.wordlines, self.chip.structure.bitlines], "cell_bits": self.chip.cell_bits,
            "input_bits_before": self.chip.inputs.bits, "input_bits_after": self.chip_after.inputs.bits,
            "target": self.target, "rate": self.plan.rate, "sigma": self.sigma,
            "sigma_is_own": bool(own_write_error(self.chip.device)) and self.plan.sigma is None,
            "programming_model": self.chip.device.programming_model,
            "bits_before": self.chip.weights.bits, "bits_after": self.chip_after.weights.bits,
            "weights_before": int(first["weights"]), "weights_after": int(last["weights"]),
            "compression": float(first["weights"] / last["weights"]), "float_before": float(first["float"]),
            "float_longer": float(stages.loc["longer", "float"]) if self.plan.longer else None, "epochs": self.plan.epochs,
            "float_after": float(last["float"]), "test_images": len(self.data.test_targets), "chip_images": self._images(),
            "search_images": min(self.plan.search_images, len(self.parts.train_targets)),
            "left": {name: last[column] / first[column] for name, column in TARGET_COLUMNS.items() if name in self.target},
            "frontier_images": min(self.plan.frontier_images, len(self.parts.train_targets)),
            "instances": self.plan.instances, "validation_images": len(self.parts.test_targets),
            "footprints": {name: _numbers(each) for name, each in taken.items()},
            "allocation": {name: asdict(keep) for name, keep in allocation.items()}, "plan": asdict(self.plan),
            "seconds": time.monotonic() - self.began,
        }  # fmt: skip

    def _images(self) -> int:
        return min(self.plan.images, len(self.data.test_targets))

    # ---- methods against each other

    def _frontier(self) -> pd.DataFrame:
        """Validation and test accuracy, energy and area of three methods at each budget, all trained alike and short."""
        if not self.plan.budgets:
            return pd.DataFrame()
        rows = []
        for budget in self.plan.budgets:
            target = {name: min(1.0, budget * share) for name, share in self.target.items()}
            for method in ("cost-aware", "uniform", "magnitude"):
                name = f"frontier-{method}-{budget:g}"
                extra = repr((self.plan.frontier, self.plan.frontier_images))
                found = self._remembered(name, lambda m=method, t=target: self._point(m, t), extra)
                rows.append({"method": method, "budget": budget, **{f"target_{k}": v for k, v in target.items()}, **found})
        return pd.DataFrame(rows)

    def _point(self, method: str, target: Mapping[str, float]) -> dict[str, Any]:
        """One network of the picture: cost-aware or uniform ADMM, or one-shot magnitude at uniform ratios; epochs alike."""
        self.step(f"methods: {method} at {', '.join(f'{k} {v:.3g}' for k, v in target.items())}")
        search = self._search(target)
        try:
            if method == "cost-aware":
                allocation = self._allocation()[0] if target == self.target else cost_aware(search)[0]
            else:
                allocation = uniform(search)
        except AllocationError as error:
            return {"reached": 0.0, "why": str(error)}
        admm, retraining = self.plan.frontier
        recipe = self.plan.recipe(admm)
        parts = first_samples(self.parts, self.plan.frontier_images)
        if method == "magnitude":
            small = prune_once(self.model, allocation, self.example)
            retraining += admm
        else:
            trained = baked(self.model).to(self.trained_on)
            sets, joint = self._sets(allocation)
            _train(trained, parts, recipe, self.plan, Admm(trained, sets, RHO, joint) if sets or joint else None)
            small = smaller(bake(trained).cpu(), self.example).to(self.trained_on)
            inputs = input_sets(small, allocation)
            if inputs:
                _train(small, parts, recipe, self.plan, Admm(small, inputs, RHO))
                bake(small)
                retraining -= admm
        model = hold_zeros(small).to(self.trained_on)
        if retraining:
            _train(model, parts, self.plan.recipe(retraining), self.plan)
        bake(model).cpu().eval()
        taken = footprint(trace(model, self.example, pack=True), self.chip_after, self.plan.rate)
        return {
            "reached": 1.0, "validation": score(model, self.parts.test_inputs, self.parts.test_targets, self.data.metric),
            "float": score(model, self.data.test_inputs, self.data.test_targets, self.data.metric), "weights": weights_of(model),
            "arrays": taken.arrays, "area_m2": taken.area, "energy_J": taken.energy, "power_W": taken.power,
        }  # fmt: skip


def _numbers(taken: Footprint) -> dict[str, float]:
    return {
        "arrays": taken.arrays,
        "area_m2": taken.area,
        "energy_J": taken.energy,
        "power_W": taken.power,
        "latency_s": taken.latency,
    }


def _train(
    model: nn.Module, data: Dataset, recipe: Recipe, plan: Plan, admm: Admm | None = None, checkpoint: Path | None = None,
    after: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:  # fmt: skip
    """Train in place; under ADMM put in its sets at the end."""
    train_network(model, data, recipe, plan.seed, checkpoint, regulariser=admm, updates=plan.updates, after=after)
    if admm is not None:
        admm.project_()


def chip_scores(
    model: nn.Module, chip: Chip, calibration: Tensor, inputs: Tensor, targets: Tensor, seeds: Any, device: Any, metric: Metric
) -> list[float]:
    """Scores of chip instances by seed with cells of `device`, rows and columns of zeros packed away; without seeds, of one
    chip with ideal cells."""
    on_chip = convert(model, chip, calibration, 0, pack=True)
    found = []
    for seed in seeds or [None]:
        program(on_chip, 0 if seed is None else seed, device, layers=() if seed is None else None)
        found.append(score(on_chip, inputs, targets, metric, batch=250))
    return found

"""The recommender as a workload: learn, store embeddings, serve, put on a chip, compress, judge; one call, one folder."""

import copy
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xbar.hw.analog import convert
from xbar.hw.chip.description import Chip
from xbar.hw.events.steady import BATCHES, Queue
from xbar.models.limaml import GlobalBlock, joined
from xbar.reports.recommender import RecommenderSheet
from xbar.reports.results import write_text
from xbar.workloads.data import Dataset
from xbar.workloads.offered import RECOMMENDER_CANDIDATES, RECOMMENDER_REQUESTS, RECOMMENDER_SEEDS
from xbar.workloads.recommender.interactions import (
    SHARES,
    Interactions,
    Taste,
    load_described,
    load_movielens,
    synthetic,
)
from xbar.workloads.recommender.learning import Learner, Tables
from xbar.workloads.recommender.load import (
    FEWEST_EVENTS,
    HEADLINE,
    chips_for,
    members_a_chip,
    serving_placement,
    under_load,
)
from xbar.workloads.recommender.methods import META, METHODS, RECIPES
from xbar.workloads.recommender.on_chip import (
    PULSES,
    SIGMA,
    Examples,
    calibration_of,
    chip_quality,
    chip_scores,
    examples,
    judged_chip,
    mapping_costs,
    refresh_costs,
    retrain_with_noise,
    training_examples,
)
from xbar.workloads.recommender.quality import (
    COLD,
    QualityStudy,
    Split,
    by_support,
    one_thread,
    staleness,
    study_quality,
    table,
)
from xbar.workloads.recommender.refresh import refresh, save_learner
from xbar.workloads.recommender.scorer import Scorer
from xbar.workloads.recommender.store import EmbeddingStore
from xbar.workloads.study.compress import compress
from xbar.workloads.study.effects import ASSUMED_WRITES, BITS
from xbar.workloads.study.plan import Plan
from xbar.workloads.training import TrainingError

Step = Callable[[str], None]
STORE, LEARNER = "embeddings.sqlite", "learner.pt"  # what serving and refreshes need, in the folder of a run
QUICK = ("meta", "unadapted", "popularity", "global", "wide_deep", "mf")  # methods of a quick study
MANY_MEMBERS = 10**8  # for which the offline job's time is told
HOURS = (0.0, 24.0, 72.0, 168.0, 336.0, 504.0)  # of staleness, on synthetic data
COMPRESSION = Plan(
    rounds=4, search_images=8000, filters=4, inputs=3, pruned=8, purified=6, levels=3, quantised=4, final=6, batch=256,
    learning_rate=1e-3, weight_decay=0.02, instances=5, images=4000, budgets=(), longer=True,
)  # fmt: skip


@dataclass(frozen=True)
class RecommenderStudy:
    """How much to do. seeds: of training, each for every method; instances: chips; candidates: of a request; requests: simulated as
    events at each rate, and many times as many by what agrees with these; targets: of compressing the global block, none to leave that
    out. Raises TrainingError."""

    seeds: int = RECOMMENDER_SEEDS
    instances: int = 10
    candidates: int = RECOMMENDER_CANDIDATES
    requests: int = RECOMMENDER_REQUESTS
    methods: tuple[str, ...] = tuple(METHODS)
    targets: tuple[tuple[str, float], ...] = (("weights", 0.3),)
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds", "instances", "candidates", "requests", "workers"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.requests < FEWEST_EVENTS:
            raise TrainingError(f"requests must be {FEWEST_EVENTS} or more, got {self.requests}")

    def quick(self) -> "RecommenderStudy":
        """One seed, fewer chips, requests and methods, and without compression."""
        methods = tuple(name for name in self.methods if name in QUICK)
        return replace(
            self,
            seeds=1,
            instances=min(3, self.instances),
            requests=min(150, self.requests),
            methods=methods,
            targets=(),
        )


def run_recommender(
    data: Interactions, chip: Chip, out: Path, study: RecommenderStudy | None = None, step: Step = lambda _: None
) -> RecommenderSheet:
    """Everything for one set of interactions and one chip. `out` gets the embeddings (embeddings.sqlite) and what an interrupted
    call goes on from; the caller saves and draws the sheet. Same seed, same numbers, besides seconds."""
    study = study or RecommenderStudy()
    kept = _kept(out, data)
    _check_room(data, judged_chip(chip), study.candidates)
    step("training")
    parts, first = data.split_by_history(), study.seed
    quality = study_quality(data, parts, study.seeds, META, kept, step, study.methods, study.workers, first)
    with one_thread():
        return _judge(data, chip, out, study, step, quality, kept)


def _check_room(data: Interactions, chip: Chip, candidates: int) -> None:
    """Raise CapacityError before hours of training where the global block does not go on the chip."""
    untrained = Learner.build(Tables(data), META, 0)
    shown = torch.zeros(2, untrained.model.globals.inputs)
    serving_placement(untrained.model.globals.eval(), chip, candidates, shown)


def load_interactions(path: Path | None, seed: int = 0) -> Interactions:
    """MovieLens from a folder, a table of one's own from its description (a .toml file), or the synthetic stand-in without a path."""
    if path is None:
        return synthetic(Taste(), seed)
    return load_described(path) if path.suffix == ".toml" else load_movielens(path)


def _kept(out: Path, data: Interactions) -> Path:
    """Folder of checkpoints; raises TrainingError where it is of other data."""
    folder = out / "checkpoints"
    told = folder / "data.json"
    try:
        other = told.is_file() and json.loads(told.read_text("utf-8")) != {"digest": data.digest}
    except ValueError:
        raise TrainingError(f"{told}: not JSON; remove the folder or give another one") from None
    if other:
        raise TrainingError(f"{out} holds the run of other data; remove it or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(told, json.dumps({"digest": data.digest}))
    return folder


def _judge(
    data: Interactions, chip: Chip, out: Path, study: RecommenderStudy, step: Step, quality: QualityStudy, kept: Path
) -> RecommenderSheet:
    split, learner = quality.split, quality.learners[0]
    block = learner.model.globals.eval()
    step("how support and its age matter")
    hours = HOURS if data.synthetic else ()
    supports, stale = by_support(learner, split), staleness(learner, split, hours=hours, seed=study.seed)
    step("offline job: embeddings of all members")
    serving = _serve(split, learner, out)
    step("what the global block reads")
    rows = split.test_rows
    test = examples(learner, split, rows, split.test_begins[data.user[rows]])
    training = training_examples(learner, split, seed=study.seed)
    on = judged_chip(chip)
    shown = calibration_of(training, study.seed)
    retrained = retrain_with_noise(block, training, on, seed=study.seed, step=step)
    members = np.arange(data.users)
    embeddings = learner.embeddings(members, split.tables.support(members, split.test_begins, learner.recipe.support))
    step("AUC on chips")
    seeds = list(range(study.seed, study.seed + study.instances))
    on_chips = chip_quality(learner, block, retrained, embeddings, split, test, shown, on, seeds)
    step("embeddings in buffers and on crossbars")
    mappings = mapping_costs(learner, block, embeddings, on, study.candidates, shown)
    refreshes = intervals = during = pd.DataFrame()
    if "crossbars" in mappings.index:
        step("refreshes")
        costs = refresh_costs(learner, block, embeddings, on, shown, seed=study.seed)
        refreshes, intervals = costs.table.reset_index(), costs.intervals
        during = pd.DataFrame(
            [{"when": when, "latency_s": value} for when, each in costs.during.items() for value in each]
        )
    placements = {
        name: serving_placement(block, on, study.candidates, shown, copies)
        for name, copies in (("one copy", 1), ("most copies", None))
    }
    load = under_load(placements, requests=study.requests, seed=study.seed, step=step)
    compressed = _compress(block, training, test, chip, dict(study.targets), kept, study, step)
    service = {name: Queue.of(placement).service for name, placement in placements.items()}
    held = members_a_chip(block, learner.item_vectors(), learner.recipe.size, on, shown)
    capacity = {name: {"members": count, "chips": chips_for(MANY_MEMBERS, count) if count else None} for name, count in held.items()}
    arrays = {name: placement.crossbars_used for name, placement in placements.items()}
    return RecommenderSheet(
        meta=_meta(data, chip, on, study, quality, serving) | {"compression": compressed, "service_s": service, "arrays": arrays,
                                                                "capacity": capacity, "headline_share": HEADLINE, "batches": BATCHES},
        quality=quality.tables(), by_date=_by_date(data, study, kept, step), supports=supports, staleness=stale, on_chips=on_chips,
        mappings=mappings.reset_index(), refreshes=refreshes, intervals=intervals, during=during, load=load,
    )  # fmt: skip


def _serve(split: Split, learner: Learner, out: Path) -> dict[str, Any]:
    """Run the offline job into the store of `out`, time it from nothing, and let the online scorer answer requests."""
    data = split.tables.data
    with tempfile.TemporaryDirectory() as folder, EmbeddingStore(Path(folder) / "timed.sqlite") as timed:
        began = time.monotonic()
        refresh(timed, learner, split.tables, split.test_begins)
        seconds = time.monotonic() - began
    save_learner(learner, split.tables, out / LEARNER)
    with EmbeddingStore(out / STORE) as store:
        job = refresh(store, learner, split.tables, split.test_begins)
        scorer = Scorer(store)
        items = data.item_ids[:50]
        began = time.monotonic()
        for member in data.user_ids[:100]:
            scorer.score(member, items, job.version.through)
        request = (time.monotonic() - began) / min(100, data.users)
        store.prune()
    return {"members": data.users, "seconds": seconds, "members_per_second": data.users / seconds, "request_seconds": request,
            "version": job.version.number, "learner": job.version.learner}  # fmt: skip


def _by_date(data: Interactions, study: RecommenderStudy, kept: Path, step: Step) -> pd.DataFrame:
    """The same comparison, split at one date for all users, one seed; empty where the date leaves too little to compare."""
    parts = data.split_by_date()
    step("split by date")
    few = tuple(name for name in study.methods if name in ("meta", "global", "wide_deep", "mf", "residual"))
    rest = [data.liked[parts == part] for part in (0, 2)]
    if (
        any(not len(labels) or labels.all() or not labels.any() for labels in rest)
        or len(np.unique(data.user[parts == 2])) < 2
    ):
        return pd.DataFrame()
    found = study_quality(data, parts, 1, META, kept / "by-date", methods=few, first=study.seed)
    seen = found.split.support[found.rankings["meta"][0].users] > 0
    groups = {"all": None, "seen before the date": seen, "new": ~seen}
    tables = [
        table(found.rankings, part).assign(users_are=name)
        for name, part in groups.items()
        if part is None or part.sum() > 1
    ]
    return pd.concat(tables, ignore_index=True)


# ---- compression of the global block


class TwoClasses(nn.Module):
    """The global block (n, inputs, 1, 1) as a classifier of two classes (n, 2): half of the logit against, half for."""

    def __init__(self, block: GlobalBlock):
        super().__init__()
        self.product = block.product
        self.first, self.second = copy.deepcopy(block.first), copy.deepcopy(block.second)
        self.score = nn.Linear(block.score.in_features, 2)
        with torch.no_grad():
            for parameter in ("weight", "bias"):
                half = getattr(block.score, parameter) / 2
                getattr(self.score, parameter).copy_(torch.cat([-half, half]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of both classes."""
        return self.score(joined(self.first, self.second, self.product, torch.flatten(inputs, 1)))


def _images(training: Examples, test: Examples) -> Dataset:
    shape = (-1, training.inputs.shape[1], 1, 1)
    return Dataset("inputs of the global block", training.inputs.reshape(shape), torch.from_numpy(training.liked.astype(np.int64)),
                     test.inputs.reshape(shape), torch.from_numpy(test.liked.astype(np.int64)))  # fmt: skip


def _compress(
    block: GlobalBlock, training: Examples, test: Examples, chip: Chip, targets: dict[str, float], kept: Path,
    study: RecommenderStudy, step: Step,
) -> dict[str, Any] | None:  # fmt: skip
    """The compression's headline numbers with AUC before and after; None without targets."""
    if not targets:
        return None
    bits = {"bits": min(BITS, chip.weights.bits), "input_bits": min(BITS, chip.inputs.bits)}
    count = len(training.liked)
    plan = replace(COMPRESSION, sigma=SIGMA, seed=study.seed, validation=min(5000, max(1, count // 5)), **bits)
    identity = hashlib.sha256(f"{chip.model_dump_json()} {study.seed} {targets}".encode()).hexdigest()[:12]
    out = kept / f"compression-{identity}"
    data = _images(training, test)
    found = compress(TwoClasses(block), data, chip, targets, out, plan, step)

    def auc(network: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            scores = network(data.test_inputs)
        return test.auc((scores[:, 1] - scores[:, 0]).numpy())

    varied = judged_chip(found.chip)
    calibration = calibration_of(training, study.seed)[..., None, None]
    on_chip = convert(found.model, varied, calibration, study.seed, input_ranges=found.input_ranges)
    each = [
        auc(lambda images, seed=seed: _two_scores(on_chip, images, study.seed + seed))
        for seed in range(study.instances)
    ]  # type: ignore[misc]
    told = {name: found.meta[name] for name in ("footprints", "compression", "epochs")}
    return told | bits | {
        "targets": targets, "auc_before": auc(TwoClasses(block)), "auc_after": auc(found.model),
        "auc_varied_mean": float(np.mean(each)), "auc_varied_least": min(each),
        "layers": found.layers.reset_index().to_dict("records"),
    }  # fmt: skip


def _two_scores(on_chip: nn.Module, images: Tensor, seed: int) -> Tensor:
    return torch.from_numpy(chip_scores(on_chip, (images,), [seed])[0])


def _meta(
    data: Interactions,
    chip: Chip,
    on: Chip,
    study: RecommenderStudy,
    quality: QualityStudy,
    serving: dict[str, Any],
) -> dict[str, Any]:
    learner = quality.learners[0]
    weights = sum(parameter.numel() for layer in (learner.model.meta.hidden, learner.model.meta.out) for parameter in layer.parameters())
    everything = sum(parameter.numel() for parameter in learner.model.globals.parameters()) + weights
    return {
        "version": version("xbar"), "workload": "recommender", "title": "Meta-embedding recommender",
        "chip": chip.name, "chip_title": chip.title,
        "data": data.name, "synthetic": data.synthetic,
        "drift_hours": Taste().drift_hours if data.synthetic else None, "interactions": len(data), "users": data.users, "items": data.items,
        "liked_share": float(data.liked.mean()), "dropped": data.dropped, "shares": SHARES, "cold": COLD,
        "cold_users": int((quality.split.support <= COLD).sum()), "one_class_users": _one_class(quality), "study": asdict(study),
        "recipe": asdict(META), "methods": {name: METHODS[name] for name in study.methods},
        "recipes": {name: asdict(each) for name, each in RECIPES.items() if name in study.methods and name != "meta"},
        "training_seconds": quality.seconds, "serving": serving,
        "hours_of_many_members": MANY_MEMBERS / serving["members_per_second"] / 3600, "many_members": MANY_MEMBERS,
        "embedding": learner.recipe.size, "meta_weights": weights, "all_weights": everything,
        "bits": on.weights.bits, "input_bits": on.inputs.bits, "sigma": SIGMA, "pulses": PULSES,
        "writes": {name: {"value": getattr(on.device, name), "own": getattr(chip.device, name) is not None, "unit": unit, "why": why}
                   for name, (_, unit, why) in ASSUMED_WRITES.items()},
    }  # fmt: skip


def _one_class(quality: QualityStudy) -> int:
    first = quality.rankings["meta"][0]
    return int(((first.positives == 0) | (first.negatives == 0)).sum())

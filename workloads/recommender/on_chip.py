"""The recommender on a chip: what its scores lose, what a request costs, what writing embeddings costs.

The global block is the network on the crossbars; its product of embedding and item vector is the digital units'. Embeddings lie in buffer
memory (they come in as values), or on crossbars as one-hot look-ups (`LookupScorer`). A request scores K candidates: K vectors through the
same matrices (`CandidateScorer`, the same weights as 1 x 1 convolutions over candidates).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from xbar.hw import Arrivals, Chip, Update, convert, place, simulate, trace
from xbar.hw.analog import copy_weights, program
from xbar.hw.cells.device import ideal_of
from xbar.hw.errors import CapacityError
from xbar.hw.events.updates import years_to_wear_out
from xbar.hw.footprint import array_area
from xbar.models.limaml import GlobalBlock, LookupScorer
from xbar.workloads.recommender.learning import Learner
from xbar.workloads.recommender.methods import adapted_embeddings
from xbar.workloads.recommender.quality import Ranking, Split
from xbar.workloads.study.effects import fewer_bits, missing_writes

SIGMA = 0.05  # its programming error
CALIBRATION = 500  # inputs that set the ranges of converters
PULSES = 10.0  # of a cell at a rewrite, assumed: write-verify of a few levels
DAY = 86400.0


def judged_chip(chip: Chip, sigma: float = SIGMA) -> Chip:
    """The chip with at most BITS bits of weights and inputs, that programming error [1], and numbers for writing."""
    noisy = chip.device.with_programming_sigma(sigma).model_dump()
    changes = {name: value for name, value in noisy.items() if value != getattr(chip.device, name)}
    return chip.with_changes(device=changes | missing_writes(chip.device), **fewer_bits(chip))


# ---- what the global block reads, and what it says


@dataclass(frozen=True)
class Examples:
    """Inputs of the global block (n, inputs) float32, with what became of them: liked bool (n,), user int64 (n,)."""

    inputs: Tensor
    liked: np.ndarray
    user: np.ndarray

    def auc(self, logits: np.ndarray) -> float:
        """AUC of logits (n,)."""
        return float(Ranking(self.user, self.liked, logits).metrics()["auc"].iloc[0])


@torch.no_grad()
def examples(learner: Learner, split: Split, rows: np.ndarray, ends: np.ndarray) -> Examples:
    """The interactions in `rows`, each with the embedding of its member adapted to what lies before row `ends` (n,)."""
    tables = split.tables
    embeddings, task_of = adapted_embeddings(learner, tables, rows, ends)
    rest = learner.rest(tables.batch(rows, rows + 1))[:, 0]
    return Examples(torch.cat([embeddings[task_of], rest], 1), tables.data.liked[rows], tables.data.user[rows])


def training_examples(learner: Learner, split: Split, stretch: int = 16, most: int = 40000, seed: int = 0) -> Examples:
    """Interactions before the test ones, each with an embedding from what lay before its stretch of the history."""
    tables = split.tables
    rows = np.arange(len(tables.items))
    rows = rows[rows < split.test_begins[tables.data.user]]
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    begins = tables.firsts[:-1][tables.data.user[rows]]
    return examples(learner, split, rows, begins + (rows - begins) // stretch * stretch)


def calibration_of(data: Examples, seed: int) -> Tensor:
    """Inputs (n, inputs) that set the ranges of converters, drawn from training examples."""
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(seed))
    return data.inputs[order[:CALIBRATION]]


@torch.no_grad()
def chip_scores(on_chip: nn.Module, inputs: tuple[Tensor, ...], seeds: list[int], batch: int = 4000) -> np.ndarray:
    """Scores (instances, n, ...) of the network on chip instances `seeds`; programmed anew. inputs: (n, ...) each."""
    on_chip.eval()
    program(on_chip, seeds)
    parts = []
    for some in zip(*(each.split(batch) for each in inputs), strict=True):
        scores = on_chip(*(part.repeat(len(seeds), *[1] * (part.dim() - 1)) for part in some))
        parts.append(scores.reshape(len(seeds), len(some[0]), *scores.shape[1:]))
    return torch.cat(parts, 1).numpy()


def retrain_with_noise(
    block: GlobalBlock, data: Examples, chip: Chip, epochs: int = 3, batch: int = 512, learning_rate: float = 5e-4, seed: int = 0,
    step: Callable[[str], None] = lambda _: None,
) -> GlobalBlock:  # fmt: skip
    """The global block after training on the chip's model: fresh cells at every forward, gradients straight through rounding.

    The embeddings stay as they are: the block is retrained to read those of its learner.
    """
    generator = torch.Generator().manual_seed(seed)
    on_chip = convert(block, chip, calibration_of(data, seed), seed)
    on_chip.train()
    optimiser = torch.optim.Adam(on_chip.parameters(), lr=learning_rate)
    liked = torch.from_numpy(data.liked.astype(np.float32))
    steps = epochs * -(-len(liked) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(liked), generator=generator).split(batch):
            logits = on_chip(data.inputs[chosen])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, liked[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        step(f"retraining with programming errors: epoch {epoch + 1} of {epochs}")
    found = copy.deepcopy(block)
    copy_weights(on_chip, found)
    return found.eval()


# ---- costs


def tables_of(learner: Learner, embeddings: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An example for `LookupScorer`: two members, two items, and what else is read, of inputs `shown` (n, inputs) of the global block."""
    rest = shown[:, embeddings.shape[1] + learner.model.item_size :]
    count = torch.arange(len(shown))
    return count % len(embeddings), count % len(learner.item_features), rest


def lookups_fit(learner: Learner, users: int, chip: Chip) -> bool:
    """Whether both tables of embeddings and the global block go on the chip once."""
    block, size = learner.model.globals, learner.recipe.size
    scorer = LookupScorer(block, torch.zeros(users, size), learner.item_vectors()).eval()
    try:
        place(
            trace(scorer, tables_of(learner, torch.zeros(users, size), torch.zeros(2, block.inputs))),
            chip,
            None,
        )
    except CapacityError:
        return False
    return True


def mapping_costs(
    learner: Learner, block: GlobalBlock, embeddings: Tensor, chip: Chip, candidates: int, shown: Tensor
) -> pd.DataFrame:
    """What one request of K candidates takes with embeddings in buffer memory, and with them on crossbars as look-ups.

    shown: real inputs of the global block (n, inputs), whose signs tell how they are driven. One row a mapping: arrays, area_m2,
    energy_J of a request without static power and links, member_lookup_J, item_lookup_J, block_J of one candidate each,
    latency_s of one candidate alone. A request looks its member up once, and each candidate's item. In buffers the tables
    take no arrays; their values come in over the buffer, whose area the chip has anyway. Tables that do not fit are left out.
    """
    networks = {"buffer": trace(block.eval(), shown)}
    if lookups_fit(learner, len(embeddings), chip):
        scorer = LookupScorer(block, embeddings, learner.item_vectors())
        networks["crossbars"] = trace(scorer.eval(), tables_of(learner, embeddings, shown))
    rows = {}
    for name, network in networks.items():
        placement = place(network, chip, None)
        ledger = simulate(placement, Arrivals.batch(1), off_chip_io=False)
        arrays = sum(placement.geometry(layer.name).crossbars for layer in network.layers)
        energy = ledger.energy.drop(index="(static)").sum(axis=1)
        lookups = {layer: float(energy[layer]) if layer in energy.index else 0.0 for layer in ("member", "item")}
        per_candidate = float(energy.sum()) - sum(lookups.values())
        rows[name] = {
            "arrays": arrays, "area_m2": arrays * array_area(chip), "member_lookup_J": lookups["member"],
            "item_lookup_J": lookups["item"], "block_J": per_candidate,
            "energy_J": lookups["member"] + candidates * (lookups["item"] + per_candidate), "latency_s": float(ledger.latency[0]),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mapping")


@dataclass(frozen=True)
class RefreshCost:
    """What writing takes. table: one row per what is written (all meta embeddings, one member's, the global block): cells, pulses,
    energy_J, time_s, blocked_s. intervals: one row per what and refresh interval: hours, energy_per_day_J, years, blocked_share.
    during: latencies [s] of requests that came while all embeddings were written, and without."""

    table: pd.DataFrame
    intervals: pd.DataFrame
    during: dict[str, np.ndarray]


def refresh_costs(
    learner: Learner, block: GlobalBlock, embeddings: Tensor, chip: Chip, shown: Tensor,
    hours: tuple[float, ...] = (1 / 6, 1, 4, 24, 168), pulses: float = PULSES, requests: int = 400, seed: int = 0,
) -> RefreshCost:  # fmt: skip
    """Rewriting embeddings on crossbars, or the global block, as events of the simulation, at several refresh intervals [h]; shown: as in
    `mapping_costs`. Requests of one candidate come while all embeddings are written, about half of them before it is done."""
    scorer = LookupScorer(block, embeddings, learner.item_vectors()).eval()
    placement = place(trace(scorer, tables_of(learner, embeddings, shown)), chip, None)
    blocks = [name for name in placement.copies if name not in ("member", "item")]
    wanted = {
        "all meta embeddings": [Update("member", 0.0, None, pulses)],
        "one member's": [Update("member", 0.0, (0,), pulses)],
        "the global block": [Update(name, 0.0, None, pulses) for name in blocks],
    }
    rows, by_interval = {}, []
    for what, updates in wanted.items():
        found = simulate(placement, Arrivals.batch(0), off_chip_io=False, updates=updates).updates_table()
        time = float(found["end_s"].max())
        rows[what] = {"cells": float(found["cells"].sum()), "pulses": float(found["pulses"].sum()),
                      "energy_J": float(found["energy_J"].sum()), "time_s": time, "blocked_s": float(found["blocked_s"].max())}  # fmt: skip
        for hour in hours:
            interval = hour * 3600.0
            by_interval.append({
                "what": what, "hours": hour, "energy_per_day_J": rows[what]["energy_J"] * DAY / interval,
                "years": years_to_wear_out(chip.device, interval, pulses), "blocked_share": rows[what]["blocked_s"] / interval,
            })  # fmt: skip
    alone = simulate(placement, Arrivals.batch(1), off_chip_io=False).latency[0]
    span = rows["all meta embeddings"]["time_s"]
    rate = min(requests / (2 * span), 0.3 / alone) if span else 0.3 / alone
    arrivals = Arrivals.poisson(rate, requests, seed)
    during = {
        "while embeddings are written": simulate(
            placement, arrivals, off_chip_io=False, updates=wanted["all meta embeddings"]
        ).latency,
        "without": simulate(placement, arrivals, off_chip_io=False).latency,
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("what")
    return RefreshCost(table, pd.DataFrame(by_interval), during)


# ---- accuracy


def chip_quality(
    learner: Learner, block: GlobalBlock, retrained: GlobalBlock, embeddings: Tensor, split: Split, test: Examples, calibration: Tensor,
    chip: Chip, seeds: list[int],
) -> pd.DataFrame:  # fmt: skip
    """AUC of the test interactions: float, on chips with ideal cells, on varied ones before and after retraining with noise, and with both
    tables of embeddings on the varied chips' crossbars too, where they fit; one row a chip instance: network, chip, instance, auc.

    calibration: training inputs of the global block, which set the ranges of all converters.
    """
    rows = []
    item, rest = _lookups(learner, split, embeddings)
    given = (torch.from_numpy(test.user), item, rest)
    fits = lookups_fit(learner, len(embeddings), chip)
    for name, network in (("as trained", block), ("retrained with noise", retrained)):
        with torch.no_grad():
            rows.append(
                {"network": name, "chip": "float", "instance": 0, "auc": test.auc(network(test.inputs)[:, 0].numpy())}
            )
        judged = [("ideal", convert(network, _ideal(chip), calibration, 0), (test.inputs,), seeds[:1]),
                  ("varied", convert(network, chip, calibration, 0), (test.inputs,), seeds)]  # fmt: skip
        if fits:
            tables = LookupScorer(network, embeddings, learner.item_vectors()).eval()
            judged.append(
                ("tables too", convert(tables, chip, tables_of(learner, embeddings, calibration), 0), given, seeds)
            )
        for which, on_chip, inputs, drawn in judged:
            for instance, logits in zip(drawn, chip_scores(on_chip, inputs, drawn), strict=True):
                rows.append({"network": name, "chip": which, "instance": instance, "auc": test.auc(logits[:, 0])})
    return pd.DataFrame(rows)


def _ideal(chip: Chip) -> Chip:
    """The chip with cells that hold what is written."""
    cells = ideal_of(chip.device).model_dump()
    return chip.with_changes(
        device={name: value for name, value in cells.items() if value != getattr(chip.device, name)}
    )


def _lookups(learner: Learner, split: Split, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Items (n,) of the test interactions, and what the global block reads of each besides the embeddings (n, ...)."""
    rows = split.test_rows
    with torch.no_grad():
        read = learner.rest(split.tables.batch(rows, rows + 1))[:, 0]
    return split.tables.items[rows], read[:, learner.model.item_size :]

"""Fair assignment with its scores from memristor chips: what they cost, and who is passed over because they are noisy.

Everything is told by chip instance: the pairs scored on one chip share its errors, so an instance is the cluster, and
intervals are Student's t of instances' means. Two controls have errors that nothing but chance gives: independent Gaussian
for every pair and instance, with each score's own variance over chips ("own variance": what is left out is that errors
of one chip go together, and that they have a mean), or with one variance for all ("one variance": what then differs between
groups comes from how close together their scores lie). Errors are added to logits, where the chip makes them.

Ranks are within a position, among those who qualify, 1 the best; ties share their mean rank. Minority: the candidates' smallest
class; majority: all others.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
import torch
from scipy.special import expit
from torch import Tensor, nn

from xbar.hw import Arrivals, Chip, convert, load_device, place, simulate, trace
from xbar.hw.analog import analog_layers, compensate_drift, copy_weights, program, set_time, write_pulses
from xbar.hw.events.updates import programming_cost
from xbar.models.fairea import PairScorer
from xbar.workloads.fairea.assignment import assign
from xbar.workloads.fairea.baselines import maximum_fitness
from xbar.workloads.fairea.metrics import MixingMatrix, fitness_range, minority
from xbar.workloads.fairea.problem import (
    UNFILLED,
    Bools,
    FaireaError,
    Floats,
    Matching,
    Problem,
    UndefinedAssortativityError,
)
from xbar.workloads.fairea.published import fairea
from xbar.workloads.fairea.scoring import Opening, Pairs, World, fit, logits, stream
from xbar.workloads.study.effects import fewer_bits, missing_writes, own_write_error, with_write_error
from xbar.workloads.study.evaluate import mean_band

SIGMA, READ_SIGMA = 0.05, 0.02  # write error and read noise of the judged chip's cells, where its own are ideal
CALIBRATION = 200  # pairs that set the ranges of converters, and that drift compensation reads
AT_ONCE = 25  # chip instances programmed together
VECTORS = 20_000  # pairs, over all of those, in one batch
TOLERANCE, MOST_PULSES = 0.01, 100  # of write-verify: share of the cells' range, pulses of a cell
ASSIGNERS: dict[str, Callable[[Problem], Matching]] = {"FairEA": fairea, "largest fitness": maximum_fitness}
SOURCES = ("chip", "own variance", "one variance")
GAPS = ("shift_gap", "lost_gap", "dropped_gap", "shift_minority", "shift_majority", "changed")  # set against controls
HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0

Step = Callable[[str], None]


def judged_chip(chip: Chip) -> Chip:
    """The chip with at most 8 bits of weights and inputs, and SIGMA, READ_SIGMA and the cost of write pulses where its cells
    have none of their own."""
    device = missing_writes(chip.device)
    if not own_write_error(chip.device):
        device["programming_sigma"] = SIGMA
    if not chip.device.has_read_noise:
        device["read_noise_sigma"] = READ_SIGMA
    return chip.with_changes(device=device, **fewer_bits(chip))


def drifting_chip(chip: Chip) -> Chip:
    """The chip itself where its cells drift, else with phase-change cells (preset pcm) that hold as many bits as its own."""
    if chip.device.drifts:
        return chip
    cells = load_device("pcm")
    return chip.with_changes(device=cells.model_dump() | missing_writes(cells), weights={"cell_bits": chip.cell_bits})


# ---- scores


@dataclass(frozen=True)
class Reading:
    """How a chip is read. seconds: after it was programmed; compensated: with global drift compensation; reads: of every
    pair, whose logits are averaged digitally. Raises `FaireaError`."""

    seconds: float = 0.0
    compensated: bool = False
    reads: int = 1

    def __post_init__(self) -> None:
        if self.reads < 1:
            raise FaireaError("reads", self.reads, "must be at least 1")


def chip_logits(
    network: nn.Module, chip: Chip, calibration: Pairs, inputs: tuple[Tensor, Tensor], instances: int,
    reading: Reading | None = None, seed: int = 0,
) -> tuple[Floats, dict[str, float]]:  # fmt: skip
    """Logits (instances, n) of pairs on chip instances from `seed` on; and mean write pulses of a cell by layer.

    inputs: candidates and positions, a row a pair, (n, features), the same on all chips, or (instances, n, features) each
    its own. Raises `ParameterError`, `FaireaError`.
    """
    if instances < 1:
        raise FaireaError("instances", instances, "must be at least 1")
    reading = reading or Reading()
    seen = calibration.candidates[:CALIBRATION], calibration.positions[:CALIBRATION]
    on_chip = convert(network, chip, seen, 0)
    found, pulses = [], {name: 0.0 for name in analog_layers(on_chip)}
    for part in np.array_split(np.arange(instances), math.ceil(instances / AT_ONCE)):
        program(on_chip, [seed + int(each) for each in part])
        for name, each in write_pulses(on_chip).items():
            pulses[name] += each * len(part) / instances
        set_time(on_chip, reading.seconds)
        if reading.compensated:
            compensate_drift(on_chip)
        shown = [x.expand(len(part), *x.shape) if x.dim() == 2 else x[part] for x in inputs]
        found.append(_mean_logits(on_chip, shown, reading.reads))
    return np.concatenate(found), pulses


@torch.no_grad()
def _mean_logits(on_chip: nn.Module, shown: Sequence[Tensor], reads: int) -> Floats:
    """(instances, n), of features (instances, n, features)."""
    instances, count = shown[0].shape[:2]
    total = np.zeros((instances, count))
    size = max(1, VECTORS // instances)
    for _ in range(reads):
        for start in range(0, count, size):
            rows = [x[:, start : start + size].flatten(0, 1) for x in shown]
            total[:, start : start + size] += on_chip(*rows).double().numpy().reshape(instances, -1)
    return total / reads


def retrain_with_noise(
    network: PairScorer,
    pairs: Pairs,
    chip: Chip,
    epochs: int = 1,
    batch: int = 512,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> PairScorer:
    """The network after training on the chip's model: fresh cells at every forward, gradients straight through rounding."""
    on_chip = convert(network, chip, (pairs.candidates[:CALIBRATION], pairs.positions[:CALIBRATION]), seed)
    on_chip.train()
    fit(on_chip, pairs, epochs, batch, learning_rate, 0.0, seed)
    found = copy.deepcopy(network)
    copy_weights(on_chip, found)
    return found.eval()


# ---- costs


def scoring_cost(network: nn.Module, chip: Chip, opening: Opening, filled: int, reads: int = 1) -> dict[str, float]:
    """What scoring every qualified pair takes, as simulated events, one copy of each layer, off-chip links apart.

    pairs, filled; actions: of all components; energy_J without static power, static_J over the run, latency_s of all pairs;
    energy_per_pair_J and energy_per_position_J, of one filled position; towers_once_J: were each candidate's and each
    position's tower computed once and kept, the head alone for each pair; reads multiply all but latency's overlap.
    """
    if filled < 1:
        raise FaireaError("filled", filled, "must be at least 1")
    candidates, positions = opening.inputs
    placement = place(trace(network, (candidates[:2], positions[:2])), chip, None)
    count = len(candidates) * reads
    ledger = simulate(placement, Arrivals.batch(count), off_chip_io=False)
    layers = ledger.energy.drop(index="(static)").sum(axis=1)
    energy = float(layers.sum())
    towers = {"candidate": opening.qualified.any(0).sum(), "position": opening.qualified.any(1).sum()}
    spared = sum(float(layers[name]) * (1 - reads * int(number) / count) for name, number in towers.items())
    return {
        "pairs": len(candidates), "filled": filled, "reads": reads, "actions": float(ledger.actions.to_numpy().sum()),
        "energy_J": energy, "static_J": ledger.static_energy, "latency_s": float(ledger.latency.max()),
        "energy_per_pair_J": energy / len(candidates), "energy_per_position_J": energy / filled,
        "towers_once_J": energy - spared, "arrays": sum(placement.geometry(name).crossbars for name in placement.copies),
    }  # fmt: skip


def writing_energy(network: nn.Module, chip: Chip, opening: Opening, pulses: Mapping[str, float]) -> float:
    """Energy of writing the network once [J], from mean pulses of a cell by layer."""
    candidates, positions = opening.inputs
    placement = place(trace(network, (candidates[:2], positions[:2])), chip, None)
    return float(programming_cost(placement, dict(pulses))["energy_J"].sum())


# ---- who moves, who is chosen


def ranks(scores: Floats) -> Floats:
    """(..., m, t) rank of each candidate within a position, 1 the highest score, ties their mean; NaN where not qualified."""
    return np.asarray(scipy.stats.rankdata(-scores, axis=-1, nan_policy="omit"))


def rank_columns(noisy: Floats, exact: Floats, is_minority: Bools) -> dict[str, Floats]:
    """Rank displacement of each instance, (N,) each, from scores (N, m, t) against float ones (m, t) or (N, m, t).

    shift_: mean of |rank - float rank| over a group's pairs; lost_: mean of rank - float rank, above 0 where the group is
    pushed down; shift_gap and lost_gap: minority less majority. is_minority: (t,) or (N, t). NaN for a group without pairs.
    """
    moved = ranks(noisy) - ranks(exact)
    found = {}
    for name, values in (("shift", np.abs(moved)), ("lost", moved)):
        by_group = [_group_mean(values, group) for group in (is_minority, ~is_minority)]
        found |= {
            f"{name}_minority": by_group[0],
            f"{name}_majority": by_group[1],
            f"{name}_gap": by_group[0] - by_group[1],
        }
    return found


def _group_mean(values: Floats, group: Bools) -> Floats:
    """(N,) mean over the pairs (N, m, t) of a group's candidates, NaN ones left out."""
    counted = ~np.isnan(values) & np.broadcast_to(group[..., None, :], values.shape)
    total, number = np.where(counted, values, 0.0).sum((-1, -2)), counted.sum((-1, -2))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


@dataclass(frozen=True)
class Reference:
    """The float matching that chips' matchings are compared with, and what fitness is measured by."""

    problem: Problem  # of float scores
    truth: Problem
    matching: Matching
    assigner: str
    is_minority: Bools

    @classmethod
    def of(cls, opening: Opening, exact: Floats, assigner: str) -> "Reference":
        """From float logits (n,) of the qualified pairs. Raises `FaireaError` for an unknown assigner or one class alone."""
        if assigner not in ASSIGNERS:
            raise FaireaError("assigner", assigner, f"must be one of {list(ASSIGNERS)}")
        group = minority(opening.groups)
        is_minority = np.array([name == group for name in opening.groups.values()])
        if is_minority.all():
            raise FaireaError("candidates", group, "two classes at least are needed among candidates")
        problem = opening.problem(expit(exact))
        truth = problem.with_fitness(opening.truth)
        return cls(problem, truth, ASSIGNERS[assigner](problem), assigner, is_minority)

    @cached_property
    def extents(self) -> tuple[float, float]:
        """Range of fitness and of true fitness over maximum matchings; 1 where all are equal."""
        both = (fitness_range(each) for each in (self.problem, self.truth))
        low_high = [high - low if high > low else 1.0 for low, high in both]
        return low_high[0], low_high[1]

    def columns(self, fitness: Floats) -> dict[str, Floats]:
        """(N,) each, of the matchings by noisy fitness (N, m, t).

        changed: share of open positions with another candidate, or none. regret: float fitness lost, regret_truth: true
        fitness lost, both over the range between the smallest and the largest matching's. distance: |r| gained, NaN where r
        is undefined. rate_: share of a group's candidates who are chosen; dropped_: share of the group's float choices
        who get no position at all, NaN without any.
        """
        found = [ASSIGNERS[self.assigner](self.problem.with_fitness(each)).chosen for each in fitness]
        return pd.DataFrame([self._compare(np.array(chosen)) for chosen in found]).to_dict("series")  # type: ignore[return-value]

    def _compare(self, chosen: np.ndarray) -> dict[str, float]:
        before = np.array(self.matching.chosen)
        match, truths = tuple(int(j) for j in chosen), [self.matching.chosen, tuple(int(j) for j in chosen)]
        mine = Matching(self.problem, match)
        old, new = (Matching(self.truth, each).fitness for each in truths)
        row = {
            "changed": float(np.mean(chosen != before)),
            "regret": (self.matching.fitness - mine.fitness) / self.extents[0],
            "regret_truth": (old - new) / self.extents[1],
            "distance": _distance(mine) - _distance(self.matching),
        }
        hired, was = (np.isin(np.arange(len(self.is_minority)), each[each != UNFILLED]) for each in (chosen, before))
        for name, group in (("minority", self.is_minority), ("majority", ~self.is_minority)):
            row[f"rate_{name}"] = float(hired[group].mean())
            row[f"dropped_{name}"] = float((~hired)[group & was].mean()) if (group & was).any() else math.nan
        return row | {"dropped_gap": row["dropped_minority"] - row["dropped_majority"]}


def _distance(matching: Matching) -> float:
    try:
        return abs(MixingMatrix(matching.problem.compact, matching.labels).r)
    except UndefinedAssortativityError:
        return math.nan


def control_logits(noisy: Floats, exact: Floats, kind: Literal["own variance", "one variance"], seed: int) -> Floats:
    """(N, n) float logits (n,) with independent Gaussian errors of the variance that `noisy` (N, n) has over instances.

    "own variance": of each pair its own (n - 1 in the denominator); "one variance": their mean. Raises `FaireaError` for
    fewer than two instances.
    """
    if len(noisy) < 2:
        raise FaireaError("instances", len(noisy), "at least 2 are needed for a variance")
    variance = np.where(np.ptp(noisy, axis=0) > 0, noisy.var(0, ddof=1), 0.0)  # equal ones vary by rounding
    variance = variance if kind == "own variance" else np.full_like(variance, variance.mean())
    return exact + np.sqrt(variance) * stream(f"control {kind}", seed).normal(size=noisy.shape)


def judge(opening: Opening, exact: Floats, noisy: Floats, assigners: Sequence[str] = tuple(ASSIGNERS)) -> pd.DataFrame:
    """One row an assigner and instance, from float logits (n,) and noisy ones (N, n): what `rank_columns` and
    `Reference.columns` tell, and error: root mean square error of logits over their standard deviation."""
    fitness = opening.matrix(expit(noisy))
    spread = float(exact.std()) or 1.0
    parts = []
    for assigner in assigners:
        reference = Reference.of(opening, exact, assigner)
        columns = rank_columns(fitness, reference.problem.weights, reference.is_minority) | reference.columns(fitness)
        error = np.sqrt(((noisy - exact) ** 2).mean(-1)) / spread
        parts.append(pd.DataFrame({"assigner": assigner, "instance": range(len(noisy)), "error": error, **columns}))
    return pd.concat(parts, ignore_index=True)


# ---- intervals, an instance a cluster


def ratio_band(top: Floats, below: Floats, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of `top` over mean of `below` (N,), with its interval over instances; NaN where the second mean is 0.

    Linearised: the residuals (top - ratio x below) / mean(below) are the instances' values, Student's t of them (W. G.
    Cochran, Sampling Techniques, 3rd edition, 1977, chapter 6, from memory).
    """
    if not below.mean() > 0:
        return math.nan, math.nan, math.nan
    ratio = float(top.mean() / below.mean())
    low, high = mean_band((top - ratio * below) / below.mean(), confidence)
    return ratio, ratio + low, ratio + high


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """One row an assigner and measure: mean, low, high (95 %), instances that have a value; `selection_ratio` among the
    measures is the minority's rate of being chosen over the majority's."""
    rows = []
    for assigner, part in frame.groupby("assigner", sort=False):
        for name in part.columns.drop(["assigner", "instance"]):
            rows.append({"assigner": assigner, "measure": name, **_row_of(part[name].dropna().to_numpy(np.float64))})
        if "rate_minority" in part:
            top, below = part["rate_minority"].to_numpy(), part["rate_majority"].to_numpy()
            ratio, low, high = ratio_band(top, below)
            rows.append({"assigner": assigner, "measure": "selection_ratio", "mean": ratio, "low": low, "high": high,
                         "instances": len(part)})  # fmt: skip
    return pd.DataFrame(rows)


def contrast(frame: pd.DataFrame, other: pd.DataFrame, measures: Sequence[str], paired: bool = False) -> pd.DataFrame:
    """`frame` less `other`: assigner, measure, mean, low, high (95 %), instances.

    Independent instances by Welch's t; paired: the same instances in both, Student's t of their differences.
    """
    rows = []
    for assigner in frame["assigner"].unique():
        for name in measures:
            a, b = (each.loc[each["assigner"] == assigner, name].to_numpy(np.float64) for each in (frame, other))
            found = _paired(a - b) if paired else _welch(a[~np.isnan(a)], b[~np.isnan(b)])
            rows.append({"assigner": assigner, "measure": name, **found})
    return pd.DataFrame(rows)


def _paired(difference: Floats) -> dict[str, float]:
    return _row_of(difference[~np.isnan(difference)])


def _row_of(values: Floats) -> dict[str, float]:
    """Mean, 95 % interval and number of instances' values."""
    low, high = mean_band(values) if len(values) > 1 else (math.nan, math.nan)
    return {
        "mean": float(values.mean()) if len(values) else math.nan,
        "low": low,
        "high": high,
        "instances": len(values),
    }


def _welch(a: Floats, b: Floats, confidence: float = 0.95) -> dict[str, float]:
    """Difference of means with its interval (B. L. Welch, Biometrika 34, 28 (1947)), and the smaller sample's size."""
    count = min(len(a), len(b))
    mean = float(a.mean() - b.mean()) if count else math.nan
    half = math.nan
    if count > 1:
        parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
        below = sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
        half = (
            float(scipy.stats.t.ppf((1 + confidence) / 2, sum(parts) ** 2 / below)) * math.sqrt(sum(parts)) if below else 0.0
        )
    return {"mean": mean, "low": mean - half, "high": mean + half, "instances": count}


# ---- the study


@dataclass(frozen=True)
class Case:
    """One condition: in which series at which value, what to call it, and how scores come about there."""

    series: str
    value: float
    label: str
    chip: Chip
    network: PairScorer
    reading: Reading = Reading()


def cases(
    chip: Chip, network: PairScorer, retrained: PairScorer, sigmas: Sequence[float], adc_bits: Sequence[int],
    times: Sequence[float], reads: Sequence[int],
) -> Iterator[Case]:  # fmt: skip
    """Every condition that is judged on a chip as `judged_chip` gives it; the first is the chip as it is."""
    yield Case("judged", 0.0, "as judged", chip, network)
    for sigma in sigmas:
        fields = with_write_error(chip.device, sigma).model_dump()
        yield Case("sigma", sigma, f"write error {sigma:g}", _with_device(chip, fields), network)
    for bits in adc_bits:
        yield Case("adc", bits, f"{bits}-bit ADC", chip.with_changes(component={"adc": {"bits": bits}}), network)
    drifting = drifting_chip(chip)
    for seconds in times:
        for compensated in (False, True):
            series = "drift, compensated" if compensated else "drift"
            yield Case(series, seconds, series, drifting, network, Reading(seconds, compensated))
    yield from _repairs(chip, network, retrained, reads)


def _with_device(chip: Chip, fields: Mapping[str, Any]) -> Chip:
    changed = {name: value for name, value in fields.items() if value != getattr(chip.device, name)}
    return chip.with_changes(device=changed)


def _repairs(chip: Chip, network: PairScorer, retrained: PairScorer, reads: Sequence[int]) -> Iterator[Case]:
    more = chip.weights.bits + chip.cell_bits
    verified = chip.with_changes(device={"write_verify_tolerance": TOLERANCE, "write_verify_most": MOST_PULSES})
    changes = [
        (f"{more}-bit weights", chip.with_changes(weights={"bits": more}), network),
        *([("1 bit a cell", chip.with_changes(weights={"cell_bits": 1}), network)] if chip.cell_bits > 1 else []),
        ("write-verify", verified, network),
        ("noise-aware training", chip, retrained),
        ("training and write-verify", verified, retrained),
    ]
    for number, (label, changed, chosen) in enumerate(changes):
        yield Case("repair", number, label, changed, chosen)
    for number, count in enumerate(reads, len(changes)):
        yield Case("repair", number, f"mean of {count} reads", chip, network, Reading(reads=count))
    if reads:
        label = f"write-verify, mean of {min(reads)} reads"
        yield Case("repair", len(changes) + len(reads), label, verified, network, Reading(reads=min(reads)))


@dataclass(frozen=True)
class NoiseStudy:
    """What came of it.

    summary: one row a series, value, label, source, assigner and measure, with mean, low, high; sources are the chip, the
    controls of FairEA (both in the first case, the first elsewhere), and "chip less ..." each. instances: the rows of the
    first case behind it. costs: one row a label: what scoring and writing take.
    """

    summary: pd.DataFrame
    instances: pd.DataFrame
    costs: pd.DataFrame


def study_noise(
    opening: Opening,
    calibration: Pairs,
    wanted: Sequence[Case],
    instances: int,
    seed: int = 0,
    step: Step = lambda _: None,
) -> NoiseStudy:
    """Judge every case on `instances` chips, from chip `seed` on. A retrained network is measured against its own float matching and truth.

    Raises `FaireaError`.
    """
    if instances < 2:
        raise FaireaError("instances", instances, "at least 2 are needed for an interval")
    tables, costs, first = [], [], None
    for number, case in enumerate(wanted):
        step(f"chips: {case.label}")
        exact = logits(case.network, *opening.inputs)
        noisy, pulses = chip_logits(case.network, case.chip, calibration, opening.inputs, instances, case.reading, seed)
        kinds = SOURCES[1:] if first is None else SOURCES[1:2]
        frames = {"chip": judge(opening, exact, noisy)}
        for kind in kinds:
            control = control_logits(noisy, exact, kind, seed + number)  # type: ignore[arg-type]
            frames[kind] = judge(opening, exact, control, ("FairEA",))
        labels = {"series": case.series, "value": case.value, "label": case.label}
        tables += [_labelled(summarise(frame), labels | {"source": source}) for source, frame in frames.items()]
        mine = frames["chip"][frames["chip"]["assigner"] == "FairEA"]
        tables += [
            _labelled(contrast(mine, frames[kind], GAPS), labels | {"source": f"chip less {kind}"}) for kind in kinds
        ]
        if first is None:
            first = pd.concat([frame.assign(source=source) for source, frame in frames.items()], ignore_index=True)
        if case.series in ("judged", "repair"):
            filled = int((np.array(Reference.of(opening, exact, "FairEA").matching.chosen) != UNFILLED).sum())
            cost = scoring_cost(case.network, case.chip, opening, filled, case.reading.reads)
            costs.append({"label": case.label, **cost, "writing_J": writing_energy(case.network, case.chip, opening, pulses),
                          "pulses": float(np.mean(list(pulses.values())))})  # fmt: skip
    return NoiseStudy(
        pd.concat(tables, ignore_index=True), first if first is not None else pd.DataFrame(), pd.DataFrame(costs)
    )


def _labelled(table: pd.DataFrame, labels: Mapping[str, object]) -> pd.DataFrame:
    return table.assign(**labels)[[*labels, *table.columns]]


# ---- many openings and pools: is it the minority, or these people?


def study_openings(
    network: PairScorer, chip: Chip, calibration: Pairs, openings: Sequence[Opening], seed: int = 0
) -> pd.DataFrame:
    """Every chip instance with an opening of its own, filled by FairEA: source, measure, mean, low, high, instances.

    Sources: scores in float, the chip, "one variance" (that of all errors together), the chip less either by instance.
    Intervals cover chips, open positions and candidates; the network is one.
    """
    sizes = [len(opening.pairs[0]) for opening in openings]
    fed = [_padded([opening.inputs[i] for opening in openings], max(sizes)) for i in (0, 1)]
    noisy = chip_logits(network, chip, calibration, (fed[0], fed[1]), len(openings), seed=seed)[0]
    exact = [logits(network, *opening.inputs) for opening in openings]
    errors = np.concatenate([found[:size] - right for found, right, size in zip(noisy, exact, sizes, strict=True)])
    drawn = stream("openings control", seed).normal(size=noisy.shape) * errors.std()
    frames: dict[str, list[pd.DataFrame]] = {"float": [], "chip": [], "one variance": []}
    for i, (opening, right) in enumerate(zip(openings, exact, strict=True)):
        shown = {"float": right, "chip": noisy[i, : sizes[i]], "one variance": right + drawn[i, : sizes[i]]}
        for source, found in shown.items():
            frames[source].append(judge(opening, right, found[None], ("FairEA",)).assign(instance=i))
    return _pooled({source: pd.concat(parts, ignore_index=True) for source, parts in frames.items()})


def _padded(parts: Sequence[Tensor], length: int) -> Tensor:
    """(number, length, features), the last row repeated."""
    return torch.stack([torch.cat([x, x[-1:].expand(length - len(x), -1)]) for x in parts])


def _pooled(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Summaries of float, chip and control, and the chip less the others by instance."""
    tables = [summarise(frame).assign(source=source) for source, frame in frames.items()]
    gaps = [name for name in GAPS if name in frames["chip"]]
    rates = ("rate_minority", "rate_majority")
    for other, measures in (("one variance", gaps), ("float", rates)):
        tables.append(
            contrast(frames["chip"], frames[other], measures, paired=True).assign(source=f"chip less {other}")
        )
    return pd.concat(tables, ignore_index=True)


def study_pools(
    chip: Chip, shares: Sequence[float], train: Callable[[World], tuple[PairScorer, Pairs]], instances: int,
    positions: int = 5, candidates: int = 40, seed: int = 0, step: Step = lambda _: None,
) -> pd.DataFrame:  # fmt: skip
    """Every chip instance with positions and candidates of its own, all qualified: what a minority of that share can expect.

    For each share of the minority, among candidates and among the pairs that the network learns from (`train` gives it
    with its pairs): share, and as in `study_openings`; `rank_columns`, and rates under the assignment of largest fitness.
    Intervals cover chips, positions and candidates; the network is one for each share. Raises `FaireaError`.
    """
    tables = []
    for share in shares:
        step(f"chips with candidates of their own, minority {share:.0%}")
        count = round(share * candidates)
        if not 0 < count < candidates:
            raise FaireaError("shares", share, f"must leave both groups somebody among {candidates} candidates")
        world = World(("majority", "minority"), (1 - share, share), seed)
        network, pairs = train(world)
        group = np.repeat([0, 1], [candidates - count, count])
        rng = stream(f"pools {share:g}", seed)
        drawn = [_pool(world, group, positions, rng) for _ in range(instances)]
        inputs = torch.stack([c for c, _ in drawn]), torch.stack([p for _, p in drawn])
        exact = np.stack([logits(network, *each) for each in drawn])
        noisy = chip_logits(network, chip, pairs, inputs, instances, seed=seed)[0]
        control = exact + (noisy - exact).std() * stream(f"pool control {share:g}", seed).normal(size=exact.shape)
        frames = {}
        for source, found in (("float", exact), ("chip", noisy), ("one variance", control)):
            shape = (instances, positions, candidates)
            columns = rank_columns(found.reshape(shape), exact.reshape(shape), group == 1)
            chosen = np.stack([_best(each) for each in expit(found).reshape(shape)])
            hired = np.stack([np.isin(np.arange(candidates), each) for each in chosen])
            columns |= {"rate_minority": hired[:, group == 1].mean(1), "rate_majority": hired[:, group == 0].mean(1)}
            frames[source] = pd.DataFrame({"assigner": "largest fitness", "instance": range(instances), **columns})
        tables.append(_pooled(frames).assign(share=share))
    return pd.concat(tables, ignore_index=True)


def _pool(world: World, group: np.ndarray, positions: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Features of every pair of a fresh set of positions and candidates, position by position."""
    skills, demands = world.skills(group, rng), world.demands(positions, rng)
    seen = world.seen(skills, group, rng)
    places = torch.from_numpy(demands.astype(np.float32))
    return seen.repeat(positions, 1), places.repeat_interleave(len(group), 0)


def _best(fitness: Floats) -> np.ndarray:
    score = np.rint(fitness * 1e9)
    return assign(score, np.ones(score.shape, np.bool_))

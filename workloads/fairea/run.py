"""Fair assignment as a workload: openings of a network, scores from a network, every method, the chip; one call."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from scipy.special import expit

from xbar.hw.chip.description import Chip
from xbar.models.fairea import PairScorer
from xbar.reports.fairea import FaireaSheet
from xbar.workloads.fairea.baselines import (
    maximum_fitness,
    minimum_fitness,
    optimisation,
    random_matching,
    weighted_hungarian,
)
from xbar.workloads.fairea.exact import ExactFront, exact_front
from xbar.workloads.fairea.front import Front, dominates
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.metrics import assortativity, evaluate, minority
from xbar.workloads.fairea.networks import EMBEDDED, embedded, read_graphml, read_organisation
from xbar.workloads.fairea.on_chip import (
    ASSIGNERS,
    FOUR_FIFTHS,
    MOST_PULSES,
    TOLERANCE,
    cases,
    drifting_chip,
    judged_chip,
    retrain_with_noise,
    study_noise,
    study_openings,
    study_pools,
)
from xbar.workloads.fairea.problem import FaireaError, Floats, Matching, Problem, is_missing
from xbar.workloads.fairea.published import fairea
from xbar.workloads.fairea.scoring import (
    APPLICANTS,
    BACKGROUND,
    MORE_POSITIONS,
    OUTCOME_NOISE,
    PROFILE_SHIFT,
    SKILLS,
    STEEPNESS,
    Opening,
    Pairs,
    World,
    correlation,
    draw_openings,
    draw_pairs,
    logits,
    train_scorer,
)
from xbar.workloads.recommender.quality import one_thread
from xbar.workloads.study.effects import ASSUMED_WRITES, own_write_error

Step = Callable[[str], None]
DEFAULT_NETWORK = "karate"
MOST_CLASSES = 8  # of an attribute that is taken without being named
MOST_EXACT_POSITIONS, MOST_PATTERNS = 15, 2**20  # for which the exact front is enumerated
RANDOM_DRAWS = 20
MANY_NODES = 300  # from which on the drawing's layout is the quicker one
DAY, YEAR = 86400.0, 365.25 * 86400.0


@dataclass(frozen=True)
class FaireaStudy:
    """How much to do.

    share: of positions that open, most_positions of them at most; pool: candidates per opening; attribute: of interest,
    None for the network's own, gender, or the first of few classes; instances: chips of each condition; openings: of the
    study in which every chip has an opening, or half as often a pool, of its own; pairs, epochs: of training;
    minority_shares: of the study of many pools, none to leave it out. Raises `FaireaError`.
    """

    share: float = 0.3
    most_positions: int = 15
    pool: int = 2
    attribute: str | None = None
    instances: int = 50
    openings: int = 200
    pairs: int = 24_000
    epochs: int = 10
    sigmas: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2)
    adc_bits: tuple[int, ...] = (4, 5, 6, 8)
    times: tuple[float, ...] = (1.0, DAY, 10 * YEAR)
    reads: tuple[int, ...] = (4, 8)
    minority_shares: tuple[float, ...] = (0.1, 0.2, 0.5)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("most_positions", 2),
            ("pool", 1),
            ("instances", 2),
            ("openings", 4),
            ("pairs", 1),
            ("epochs", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise FaireaError(name, getattr(self, name), f"must be at least {least}")
        if not 0 < self.share < 1:
            raise FaireaError("share", self.share, "must be above 0 and below 1")
        for name, low, high in (("sigmas", 0, 2), ("adc_bits", 1, 24), ("times", 0, math.inf), ("reads", 2, 1000)):
            for value in getattr(self, name):
                if not (low <= value <= high and math.isfinite(value)):
                    raise FaireaError(name, value, f"must be finite and from {low} to {high}")
        for value in self.minority_shares:
            if not 0 < value <= 0.5:
                raise FaireaError("minority_shares", value, "must be above 0 and at most 0.5")

    def quick(self) -> "FaireaStudy":
        """Fewer chips and conditions, shorter training, without the study of many pools."""
        fewer = {"instances": 10, "openings": 20, "pairs": 6000, "epochs": 5}
        sizes = {name: min(most, getattr(self, name)) for name, most in fewer.items()}
        every_other = {name: getattr(self, name)[::2] for name in ("sigmas", "adc_bits", "times")}
        return replace(self, **sizes, **every_other, reads=self.reads[:1], minority_shares=())


def load_network(source: str | Path | None, attribute: str | None = None) -> tuple[nx.Graph, str, str]:
    """Network, attribute of interest, name. source: a name of `networks.EMBEDDED` (None: karate), a folder of edges.csv and
    nodes.csv, or a GraphML file. Raises `FaireaError`."""
    if source is None or str(source) in EMBEDDED:
        name = DEFAULT_NETWORK if source is None else str(source)
        graph, own = embedded(name)
        return graph, _checked_attribute(graph, attribute or own), name
    path = Path(source)
    if path.is_dir():
        graph = read_organisation(path)
    elif path.is_file():
        graph = read_graphml(path)
    else:
        raise FaireaError("data", str(source), f"must be a folder, a GraphML file, or one of {sorted(EMBEDDED)}")
    chosen = attribute or _likely_attribute(graph)
    return graph, _checked_attribute(graph, chosen), path.stem


def _checked_attribute(graph: nx.Graph, attribute: str) -> str:
    known = sorted({name for _, values in graph.nodes(data=True) for name in values})
    if attribute not in known:
        raise FaireaError("attribute", attribute, f"must be one of {known}")
    return attribute


def _likely_attribute(graph: nx.Graph) -> str:
    names = list(dict.fromkeys(name for _, values in graph.nodes(data=True) for name in values))
    for name in ["gender", *names]:
        values = [value for _, value in graph.nodes(name)]
        if not any(is_missing(value) for value in values) and 2 <= len(set(values)) <= MOST_CLASSES:
            return name
    raise FaireaError(
        "attribute", None, f"none of {names} is known of everybody with 2 to {MOST_CLASSES} classes; name one"
    )


def run_fairea(
    source: str | Path | None, chip: Chip, out: Path, study: FaireaStudy | None = None, step: Step = lambda _: None
) -> FaireaSheet:
    """Everything for one network and one chip; the caller saves and draws the sheet.

    source: as in `load_network`. `out` gets assignments.csv, who gets what by which method. Same seed, same numbers,
    besides seconds. Raises `FaireaError` and what `hw` raises.
    """
    study = study or FaireaStudy()
    began = time.monotonic()
    graph, attribute, name = load_network(source, study.attribute)
    with one_thread():
        sheet, assignments = _study(graph, attribute, name, chip, study, step)
    out.mkdir(parents=True, exist_ok=True)
    assignments.to_csv(out / "assignments.csv", index=False)
    sheet.meta["seconds"] = time.monotonic() - began
    return sheet


def _study(
    graph: nx.Graph, attribute: str, name: str, chip: Chip, study: FaireaStudy, step: Step
) -> tuple[FaireaSheet, pd.DataFrame]:
    seed = study.seed
    world = World.of(graph, attribute, seed)
    if world.groups < 2:
        raise FaireaError(attribute, world.names[0], "two classes at least are needed")
    sizes = {"share": study.share, "most": study.most_positions, "pool": study.pool}
    openings = draw_openings(graph, attribute, world, 1 + study.openings, seed=seed, **sizes)  # type: ignore[arg-type]
    opening = openings[0]
    step("training the scoring network")
    network, pairs = _trained(world, study, step)
    held_out = correlation(network, draw_pairs(world, 4000, seed, "test"))
    exact_logits = logits(network, *opening.inputs)
    problem = opening.problem(expit(exact_logits))
    step("every method")
    found, fronts, exact = _methods(problem, opening, seed)
    judged = judged_chip(chip)
    step("retraining with noise")
    retrained = retrain_with_noise(network, pairs, judged, seed=seed)
    wanted = list(cases(judged, network, retrained, study.sigmas, study.adc_bits, study.times, study.reads))
    noise = study_noise(opening, pairs, wanted, study.instances, seed, step)
    step("chips with openings of their own")
    wider = study_openings(network, judged, pairs, openings[1:], seed)
    pools = study_pools(
        judged, study.minority_shares, lambda other: _trained(other, study), study.openings // 2, seed=seed, step=step
    ) if study.minority_shares else pd.DataFrame()  # fmt: skip
    nodes, edges = _drawing(graph, opening, found, seed)
    meta = _meta(graph, attribute, name, chip, judged, study, opening, world, problem, found, fronts, exact, held_out)
    sheet = FaireaSheet(meta, nodes, edges, _measures(found, opening, seed), _points(fronts, exact, found), noise.summary,
                        noise.instances, noise.costs, wider, pools)  # fmt: skip
    return sheet, _assignments(found)


def _trained(world: World, study: FaireaStudy, step: Step = lambda _: None) -> tuple[PairScorer, Pairs]:
    pairs = draw_pairs(world, study.pairs, study.seed)
    return train_scorer(pairs, study.epochs, seed=study.seed, step=step), pairs


def _methods(problem: Problem, opening: Opening, seed: int) -> tuple[dict[str, Matching], Front, ExactFront | None]:
    """Matchings by method; of the improved front the one that has at least FairEA's fitness with the least |r|."""
    front = improved_front(problem, seed=seed)
    try:
        few = len(problem.open_positions) <= MOST_EXACT_POSITIONS
        exact = exact_front(problem, MOST_PATTERNS) if few else None
    except FaireaError:  # too many class patterns
        exact = None
    mine = fairea(problem)
    enough = np.flatnonzero(front.points[:, 0] >= mine.fitness - 1e-9)
    found = {
        "actual holders": opening.actual(problem), "FairEA": mine, "FairEA, isolation 2": fairea(problem, isolation=2, seed=seed),
        "FairEA, neighbours of other classes": fairea(problem, diversity="global"),
        "improved": front.matchings[int(enough[-1])] if len(enough) else front.matchings[0],
        "weighted Hungarian": weighted_hungarian(problem), "0/1 programme": optimisation(problem),
        "largest fitness": maximum_fitness(problem), "smallest fitness": minimum_fitness(problem),
    }  # fmt: skip
    found |= {f"random {n}": random_matching(problem, np.random.default_rng([seed, n])) for n in range(RANDOM_DRAWS)}
    return found, front, exact


def _measures(found: dict[str, Matching], opening: Opening, seed: int) -> pd.DataFrame:
    """One row a method, the random draws as their mean: `metrics.evaluate`, and the fitness by the truth."""
    rows = []
    for name, matching in found.items():
        truth = matching.problem.with_fitness(opening.truth)
        true = Matching(truth, matching.chosen).fitness
        rows.append(
            {
                "method": "random" if name.startswith("random ") else name,
                "true_fitness": true,
                **evaluate(matching, seed),
            }
        )
    table = pd.DataFrame(rows)
    table["abs_assortativity"] = table["assortativity"].abs()
    return table.groupby("method", sort=False).mean().reset_index()


def _points(front: Front, exact: ExactFront | None, found: dict[str, Matching]) -> pd.DataFrame:
    """front (improved, exact, random), fitness, abs_assortativity."""
    parts = [front.frame().assign(front="improved")]
    if exact is not None:
        parts.append(exact.frame().assign(front="exact"))
    draws = tuple(matching for name, matching in found.items() if name.startswith("random "))
    parts.append(Front(front.problem, draws).frame().assign(front="random"))
    return pd.concat(parts, ignore_index=True)[["front", "fitness", "abs_assortativity"]]


def _assignments(found: dict[str, Matching]) -> pd.DataFrame:
    rows = [
        {"method": name, "position": position, "candidate": candidate, "class": matching.problem.candidates[candidate],
         "fitness": matching.problem.weights[matching.problem.position_index[position], matching.problem.candidate_index[candidate]]}
        for name, matching in found.items() if not name.startswith("random ") for position, candidate in matching.pairs.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _drawing(
    graph: nx.Graph, opening: Opening, found: dict[str, Matching], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes with their place and class by method ("" unfilled), and edges by node number, without self-loops."""
    spread = 2.2 / math.sqrt(len(graph))
    place = nx.spring_layout(graph, seed=seed, k=spread, iterations=200 if len(graph) < MANY_NODES else 40)
    if len(graph) < MANY_NODES and nx.is_connected(graph):
        place = nx.kamada_kawai_layout(graph, pos=place)  # fewer nodes on top of each other
    columns = {"fairea": "FairEA", "improved": "improved", "actual": "actual holders"}
    after, opened = {column: found[name].classes for column, name in columns.items()}, set(opening.open_positions)
    nodes = pd.DataFrame([
        {
            "position": str(u), "x": place[u][0], "y": place[u][1], "open": u in opened,
            "before": "" if u in opened else str(opening.classes[u]),
            **{column: str(classes.get(u, "")) for column, classes in after.items()},
        }
        for u in graph
    ])  # fmt: skip
    number = {u: n for n, u in enumerate(graph)}
    edges = pd.DataFrame([(number[u], number[v]) for u, v in graph.edges() if u != v], columns=["source", "target"])
    return nodes, edges


def _meta(
    graph: nx.Graph, attribute: str, name: str, chip: Chip, judged: Chip, study: FaireaStudy, opening: Opening, world: World,
    problem: Problem, found: dict[str, Matching], front: Front, exact: ExactFront | None, held_out: tuple[float, float],
) -> dict[str, Any]:  # fmt: skip
    group = minority(opening.groups)
    drifting = drifting_chip(judged)
    return {
        "version": version("xbar"), "workload": "fairea", "title": "Fair assignment",
        "chip": chip.name, "chip_title": chip.title,
        "network": name, "attribute": attribute, "positions": len(graph), "edges": graph.number_of_edges(),
        "classes": _counts(list(opening.classes.values())), "open": len(opening.open_positions),
        "candidates": _counts(list(opening.groups.values())), "minority": str(group), "pairs": len(opening.pairs[0]),
        "r_full": assortativity(graph, opening.classes), "r_filled": assortativity(graph, problem.classes),
        "test_correlation": held_out[0], "test_rmse": held_out[1], "exact": exact is not None,
        "patterns": 0 if exact is None else exact.patterns,
        "gap": None if exact is None else exact.gap(front.points),
        "gap_fairea": None if exact is None else _gap_of(exact, found["FairEA"]), "float_ratio": _float_ratio(opening, found["FairEA"]),
        "placed": {label: _placed(front, found[label]) for label in ("actual holders", "FairEA")},
        "study": asdict(study), "world": {
            "skills": SKILLS, "background": BACKGROUND, "steepness": STEEPNESS, "outcome_noise": OUTCOME_NOISE,
            "profile_shift": PROFILE_SHIFT, "applicants": APPLICANTS, "more_positions": MORE_POSITIONS,
            "shares": dict(zip(map(str, world.names), world.shares, strict=True)),
        },
        "judged": {
            "weight_bits": judged.weights.bits, "input_bits": judged.inputs.bits, "cell_bits": judged.cell_bits,
            "adc_bits": judged.component.adc.bits, "programming_model": judged.device.programming_model,
            "programming_sigma": judged.device.programming_sigma, "sigma_is_own": bool(own_write_error(chip.device)),
            "read_noise_sigma": judged.device.read_noise_sigma, "read_noise_is_own": chip.device.has_read_noise,
            "drift_is_own": chip.device.drifts, "drift_levels": drifting.device.levels,
            "tolerance": TOLERANCE, "most_pulses": MOST_PULSES, "four_fifths": FOUR_FIFTHS,
        },
        "writes": {name: {"value": getattr(judged.device, name), "own": getattr(chip.device, name) is not None, "unit": unit, "why": why}
                   for name, (_, unit, why) in ASSUMED_WRITES.items() if name != "endurance"},
        "assigners": list(ASSIGNERS), "random_draws": RANDOM_DRAWS,
    }  # fmt: skip


def _counts(groups: Sequence[Hashable]) -> dict[str, int]:
    return {str(name): count for name, count in Counter(groups).most_common()}


def _gap_of(exact: ExactFront, matching: Matching) -> float:
    return exact.gap(Front(matching.problem, (matching,)).points)


def _float_ratio(opening: Opening, matching: Matching) -> float | None:
    """Smallest class's rate of being chosen over the others'; None where none of those is."""
    group, chosen = minority(opening.groups), set(matching.pairs.values())
    rates = [
        np.mean([c in chosen for c, g in opening.groups.items() if (g == group) == mine]) for mine in (True, False)
    ]
    return float(rates[0] / rates[1]) if rates[1] else None


def _placed(front: Front, matching: Matching) -> dict[str, float | int | None]:
    """Where a matching lies against the front: fitness and |r|, how many of the front's matchings dominate it, the least |r| of
    those with no less fitness, the largest fitness of those with no more |r|, None without any."""
    points: Floats = front.points
    fitness, distance = (float(x) for x in Front(matching.problem, (matching,)).points[0])
    fitter, nearer = points[points[:, 0] >= fitness - 1e-9], points[points[:, 1] <= distance + 1e-9]
    return {
        "fitness": fitness, "distance": distance, "dominated_by": int(dominates(points, fitness, distance).sum()), "front": len(points),
        "least_distance": float(fitter[:, 1].min()) if len(fitter) else None,
        "most_fitness": float(nearer[:, 0].max()) if len(nearer) else None,
    }  # fmt: skip

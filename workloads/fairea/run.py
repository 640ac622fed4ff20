"""Fair assignment as a workload: openings of a network, scores from a network, every method, the chip; one call."""

import math
import time
from collections.abc import Callable, Sequence
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
from xbar.reports.fairea_sheet import HOLDERS, FaireaSheet
from xbar.workloads.fairea.answer import (
    RANDOM_DRAWS,
    Answer,
    answer,
    counts,
    drawing,
    groups,
    measures,
    placements,
    points,
)
from xbar.workloads.fairea.exact import ExactFront
from xbar.workloads.fairea.front import Front, dominates
from xbar.workloads.fairea.harmless import FOUR_FIFTHS
from xbar.workloads.fairea.limits import Limits
from xbar.workloads.fairea.metrics import assortativity, minority
from xbar.workloads.fairea.networks import EMBEDDED, embedded
from xbar.workloads.fairea.on_chip import (
    ASSIGNERS,
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
from xbar.workloads.fairea.own import Case, OwnFiles, joined, open_positions, read_case, read_network
from xbar.workloads.fairea.problem import (
    FaireaError,
    Floats,
    Matching,
    Problem,
    UndefinedAssortativityError,
    is_missing,
)
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
    make_opening,
    train_scorer,
)
from xbar.workloads.recommender.quality import one_thread
from xbar.workloads.study.effects import ASSUMED_WRITES, own_write_error

Step = Callable[[str], None]
DEFAULT_NETWORK = "karate"
MOST_CLASSES = 8  # of an attribute that is taken without being named
DAY, YEAR = 86400.0, 365.25 * 86400.0


@dataclass(frozen=True)
class FaireaStudy:
    """How much to do.

    share: of positions that open, most_positions of them at most; pool: candidates per opening; attributes: of interest, several for
    their intersections, none for the network's own, gender, or the first of few classes; instances: chips of each condition;
    limits: of the matching that answers, None for such that nothing is made worse; openings: of the study in which every chip has an
    opening, or half as often a pool, of its own; pairs, epochs: of training;
    minority_shares: of the study of many pools, none to leave it out. Raises `FaireaError`.
    """

    share: float = 0.3
    most_positions: int = 15
    pool: int = 2
    attributes: tuple[str, ...] = ()
    limits: Limits | None = None
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


def load_network(
    source: str | Path | None, attributes: str | Sequence[str] | None = None, files: OwnFiles | None = None
) -> tuple[nx.Graph, str, str]:  # fmt: skip
    """Network, attribute of interest (an intersection for several, which the graph then has), name. source: a name of
    `networks.EMBEDDED` (None: karate), a folder of edges.csv and nodes.csv, or a GraphML file. Raises `FaireaError`."""
    asked = [attributes] if isinstance(attributes, str) else list(attributes or ())
    if source is None or str(source) in EMBEDDED:
        name = DEFAULT_NETWORK if source is None else str(source)
        graph, own = embedded(name)
        return graph, _checked_attribute(graph, asked or [own]), name
    path = Path(source)
    if not path.exists():
        raise FaireaError("data", str(source), f"must be a folder, a GraphML file, or one of {sorted(EMBEDDED)}")
    graph = read_network(files or OwnFiles(path))
    return graph, _checked_attribute(graph, asked or [_likely_attribute(graph)]), path.stem


def _checked_attribute(graph: nx.Graph, attributes: Sequence[str]) -> str:
    known = sorted({name for _, values in graph.nodes(data=True) for name in values})
    for attribute in attributes:
        if attribute not in known:
            raise FaireaError("attribute", attribute, f"must be one of {known}")
    return joined(graph, attributes)


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
    source: str | Path | None, chip: Chip, out: Path, study: FaireaStudy | None = None, step: Step = lambda _: None,
    files: OwnFiles | None = None,
) -> FaireaSheet:  # fmt: skip
    """Everything for one network and one chip; the caller saves and draws the sheet.

    source: as in `load_network`; files: of the same source, where more than nodes and edges are an organisation's own: with
    candidates of its own nothing is made up, and chips are of use where fitness is learned from outcomes alone. `out` gets
    assignments.csv, who gets what by which method. Same seed, same numbers, besides seconds, unless the clock stopped
    a programme (`programme.SECONDS`), which is warned of and in meta, limits.by_clock. Raises `FaireaError` and what
    `hw` raises.
    """
    study = study or FaireaStudy()
    if files is None and source is not None and Path(source).exists():
        files = OwnFiles(Path(source))
    began = time.monotonic()
    with one_thread():
        if files is not None and files.own:
            sheet, assignments = _own(files, chip, study, step)
        else:
            sheet, assignments = _study(source, files, chip, study, step)
    out.mkdir(parents=True, exist_ok=True)
    assignments.to_csv(out / "assignments.csv", index=False)
    sheet.meta["seconds"] = time.monotonic() - began
    return sheet


def _own(files: OwnFiles, chip: Chip, study: FaireaStudy, step: Step) -> tuple[FaireaSheet, pd.DataFrame]:
    """The answer to an organisation's own question; with fitness learned from outcomes, what chips do to it too."""
    if not study.attributes:
        raise FaireaError("attribute", None, "name what people are classed by (--attribute), once or several times")
    step("reading the files")
    case = read_case(files, study.attributes, study.seed)
    apart = [case.by_attribute[name] for name in study.attributes]
    found = answer(case.problem, None, study.seed, step, study.limits, apart)
    step("measures")
    meta = _meta(case.name, case.attribute, found, study) | {"told": list(case.told), "chip": None, "attribute_named": True}
    tables = _tables(found, case.by_attribute, study.seed)
    if case.learned is not None:
        more, on_chips = _own_on_chips(case, chip, found, study, step)
        meta, tables = meta | more, tables | on_chips
    return FaireaSheet(meta, **tables), _assignments(found)


def _own_on_chips(
    case: Case, chip: Chip, found: Answer, study: FaireaStudy, step: Step
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The same positions and candidates with scores of chips: what is more in meta, and the tables. Float scores stand for the truth."""
    problem, learned = case.problem, case.learned
    assert learned is not None
    opening = Opening(problem.graph, problem.classes, tuple(problem.open_positions), problem.candidates, learned.positions,
                      learned.candidates, problem.compact.qualified, problem.weights)  # fmt: skip
    judged = judged_chip(chip)
    step("retraining with noise")
    retrained = retrain_with_noise(learned.network, learned.pairs, judged, seed=study.seed)
    wanted = list(cases(judged, learned.network, retrained, study.sigmas, study.adc_bits, study.times, study.reads))
    noise = study_noise(opening, learned.pairs, wanted, study.instances, study.seed, step)
    more = _of_chip(chip, judged) | {"float_ratio": _float_ratio(opening, found.found["FairEA"])}
    return more, {"noise": noise.summary, "instances": noise.instances, "costs": noise.costs}


def _tables(
    found: Answer, by_attribute: dict[str, Problem], seed: int, truth: Floats | None = None
) -> dict[str, pd.DataFrame]:
    """What a sheet holds of the answer."""
    columns = {"fairea": "FairEA", "improved": found.best} | ({"actual": HOLDERS} if HOLDERS in found.found else {})
    nodes, edges = drawing(found, columns, seed)
    shown = dict.fromkeys((found.best, "improved", "FairEA"))
    chosen = pd.concat([placements(name, found.found[name]) for name in shown], ignore_index=True)
    return {"nodes": nodes, "edges": edges, "methods": measures(found, truth), "groups": groups(found, by_attribute),
            "placements": chosen, "points": points(found), "curve": found.curve}  # fmt: skip


def _study(
    source: str | Path | None, files: OwnFiles | None, chip: Chip, study: FaireaStudy, step: Step
) -> tuple[FaireaSheet, pd.DataFrame]:
    seed = study.seed
    graph, attribute, name = load_network(source, study.attributes, files)
    opening, openings, world = _openings(graph, attribute, files, study)
    step("training the scoring network")
    network, pairs = _trained(world, study, step)
    held_out = correlation(network, draw_pairs(world, 4000, seed, "test"))
    problem = opening.problem(expit(logits(network, *opening.inputs)))
    found = answer(problem, opening.actual(problem), seed, step, study.limits)
    judged = judged_chip(chip)
    step("retraining with noise")
    retrained = retrain_with_noise(network, pairs, judged, seed=seed)
    wanted = list(cases(judged, network, retrained, study.sigmas, study.adc_bits, study.times, study.reads))
    noise = study_noise(opening, pairs, wanted, study.instances, seed, step)
    step("chips with openings of their own")
    wider = study_openings(network, judged, pairs, openings, seed)
    pools = study_pools(
        judged, study.minority_shares, lambda other: _trained(other, study), study.openings // 2, seed=seed, step=step
    ) if study.minority_shares else pd.DataFrame()  # fmt: skip
    meta = _meta(name, attribute, found, study) | _made_up(opening, world, found, held_out) | _of_chip(chip, judged)
    meta |= {"told": [graph.graph["ties"]] if "ties" in graph.graph else [], "r_full": assortativity(graph, opening.classes),
             "attribute_named": bool(study.attributes) or source is None or str(source) in EMBEDDED}  # fmt: skip
    tables = _tables(found, {attribute: problem}, seed, opening.truth)
    chip_tables = {"noise": noise.summary, "instances": noise.instances, "costs": noise.costs, "openings": wider, "pools": pools}
    return FaireaSheet(meta, **tables, **chip_tables), _assignments(found)


def _openings(
    graph: nx.Graph, attribute: str, files: OwnFiles | None, study: FaireaStudy
) -> tuple[Opening, list[Opening], World]:
    """The opening that is answered, with candidates who are made up, others like it, and where their people come from."""
    for u, value in graph.nodes(attribute):
        if is_missing(value):
            told = "every position needs a class where candidates are made up; vacancies want candidates.csv (xbar run fairea --template)"
            raise FaireaError(f"{attribute} of {u!r}", value, told)
    world = World.of(graph, attribute, study.seed)
    if world.groups < 2:
        raise FaireaError(attribute, world.names[0], "two classes at least are needed")
    sizes = {"share": study.share, "most": study.most_positions, "pool": study.pool}
    openings = draw_openings(graph, attribute, world, 1 + study.openings, seed=study.seed, **sizes)  # type: ignore[arg-type]
    if files is None or files.path("positions") is None:
        return openings[0], openings[1:], world
    opened = open_positions(files, graph, [attribute])
    return make_opening(graph, attribute, opened, world, pool=study.pool, seed=study.seed), openings[1:], world


def _trained(world: World, study: FaireaStudy, step: Step = lambda _: None) -> tuple[PairScorer, Pairs]:
    pairs = draw_pairs(world, study.pairs, study.seed)
    return train_scorer(pairs, study.epochs, seed=study.seed, step=step), pairs


def _assignments(found: Answer) -> pd.DataFrame:
    rows = [
        {"method": name, "position": position, "candidate": candidate, "class": matching.problem.candidates[candidate],
         "fitness": matching.problem.weights[matching.problem.position_index[position], matching.problem.candidate_index[candidate]]}
        for name, matching in found.methods.items() for position, candidate in matching.pairs.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _meta(name: str, attribute: str, found: Answer, study: FaireaStudy) -> dict[str, Any]:
    """What the answer is about."""
    problem, exact = found.problem, found.exact
    filled = list(problem.classes.values())
    try:
        r_filled = assortativity(problem.graph, problem.classes)
    except UndefinedAssortativityError:
        r_filled = None
    placed = {label: _placed(found.front, found.found[label]) for label in (HOLDERS, "FairEA") if label in found.found}
    return {
        "version": version("xbar"), "workload": "fairea", "title": "Fair assignment", "network": name, "attribute": attribute,
        "positions": len(problem.graph), "edges": problem.graph.number_of_edges(), "filled": counts(filled),
        "classes": counts(filled) | {group: 0 for group in counts(list(problem.candidates.values())) if group not in counts(filled)},
        "open": len(problem.open_positions), "candidates": counts(list(problem.candidates.values())),
        "minority": str(minority(problem.candidates)), "pairs": int(problem.compact.qualified.sum()),
        "r_full": None, "r_filled": r_filled,
        "exact": exact is not None, "patterns": 0 if exact is None else exact.patterns,
        "gap": None if exact is None else exact.gap(found.front.points),
        "gap_fairea": None if exact is None else _gap_of(exact, found.found["FairEA"]), "placed": placed,
        "left_out": list(found.left_out), "answer": found.best, "limits": _limits(found, study),
        "random_draws": RANDOM_DRAWS, "study": asdict(study),
        "four_fifths": FOUR_FIFTHS,
    }  # fmt: skip


def _limits(found: Answer, study: FaireaStudy) -> dict[str, Any]:
    """Of the matching that answers: wanted, kept and dropped limits, and how near it is known to be to the best."""
    chosen, within = found.chosen, found.chosen.found
    return {
        "asked": study.limits is not None, "wanted": chosen.limits.given, "kept": chosen.kept.given,
        "dropped": [list(each) for each in chosen.dropped], "exact": within.exact, "how": within.how,
        "by_clock": chosen.by_clock or (len(found.curve) > 0 and bool(found.curve["by_clock"].any())),
        "gap": within.gap if math.isfinite(within.gap) else None,
    }  # fmt: skip


def _made_up(opening: Opening, world: World, found: Answer, held_out: tuple[float, float]) -> dict[str, Any]:
    """Where people and fitness come from that are nobody's own."""
    return {
        "classes": counts(list(opening.classes.values())), "float_ratio": _float_ratio(opening, found.found["FairEA"]),
        "test_correlation": held_out[0], "test_rmse": held_out[1],
        "world": {
            "skills": SKILLS, "background": BACKGROUND, "steepness": STEEPNESS, "outcome_noise": OUTCOME_NOISE,
            "profile_shift": PROFILE_SHIFT, "applicants": APPLICANTS, "more_positions": MORE_POSITIONS,
            "shares": dict(zip(map(str, world.names), world.shares, strict=True)),
        },
    }  # fmt: skip


def _of_chip(chip: Chip, judged: Chip) -> dict[str, Any]:
    drifting = drifting_chip(judged)
    return {
        "chip": chip.name, "chip_title": chip.title,
        "judged": {
            "weight_bits": judged.weights.bits, "input_bits": judged.inputs.bits, "cell_bits": judged.cell_bits,
            "adc_bits": judged.component.adc.bits, "programming_model": judged.device.programming_model,
            "programming_sigma": judged.device.programming_sigma, "sigma_is_own": bool(own_write_error(chip.device)),
            "read_noise_sigma": judged.device.read_noise_sigma, "read_noise_is_own": chip.device.has_read_noise,
            "drift_is_own": chip.device.drifts, "drift_levels": drifting.device.levels,
            "tolerance": TOLERANCE, "most_pulses": MOST_PULSES,
        },
        "writes": {name: {"value": getattr(judged.device, name), "own": getattr(chip.device, name) is not None, "unit": unit, "why": why}
                   for name, (_, unit, why) in ASSUMED_WRITES.items() if name != "endurance"},
        "assigners": list(ASSIGNERS),
    }  # fmt: skip


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

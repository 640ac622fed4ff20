"""The answer to an assignment problem: every method's matching, every measure of each, and the reason of each choice."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd
import scipy

from xbar.reports.fairea_sheet import BEFORE, HOLDERS
from xbar.workloads.fairea.baselines import (
    maximum_fitness,
    minimum_fitness,
    optimisation,
    random_matching,
    weighted_hungarian,
)
from xbar.workloads.fairea.exact import ExactFront, exact_front
from xbar.workloads.fairea.front import Front
from xbar.workloads.fairea.harmless import Chosen, choose, curve, harmless_limits
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.limits import Limits
from xbar.workloads.fairea.metrics import (
    community_minority_share,
    core_ratio,
    cross_group_share,
    degree_ratio,
    evaluate,
    group_shares,
    isolated_members,
    isolated_share,
)
from xbar.workloads.fairea.problem import UNFILLED, FaireaError, Matching, Problem, sorted_classes
from xbar.workloads.fairea.published import fairea
from xbar.workloads.fairea.tally import Layout, Measures, Tally

MOST_EXACT_POSITIONS, MOST_PATTERNS = 15, 2**20  # for which the exact front is enumerated
MOST_PROGRAMMED = 20_000  # feasible pairs up to which the 0/1 programme is tried
RANDOM_DRAWS = 20
OURS = "fittest within limits"

Step = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Answer:
    """found: matchings by method, random draws by number among them; front, exact: of fitness and |r|; chosen: the fittest within
    limits; curve: what each limit costs; left_out: methods that were not run, and why."""

    problem: Problem
    found: dict[str, Matching]
    front: Front
    exact: ExactFront | None
    chosen: Chosen
    curve: pd.DataFrame
    left_out: tuple[str, ...] = ()

    @property
    def methods(self) -> dict[str, Matching]:
        """Without the random draws."""
        return {name: matching for name, matching in self.found.items() if not name.startswith("random ")}

    @property
    def best(self) -> str:
        """The method that answers."""
        return OURS if OURS in self.found else "improved"

    @property
    def random(self) -> tuple[Matching, ...]:
        return tuple(matching for name, matching in self.found.items() if name.startswith("random "))


def answer(
    problem: Problem, holders: Matching | None = None, seed: int = 0, step: Step = lambda _: None, limits: Limits | None = None,
    groupings: Sequence[Problem] = (),
) -> Answer:  # fmt: skip
    """Every method; of the improved front the matching that has at least FairEA's fitness with the least |r|.

    holders: who held the positions, where they are among the candidates. limits: within which the fittest answers; without any such
    that nothing is made worse (`harmless`). groupings: the problem by each attribute whose selection rates are limited, its own
    classes if none.
    """
    step("the front of fitness and assortativity")
    front = improved_front(problem, seed=seed)
    try:
        few = len(problem.open_positions) <= MOST_EXACT_POSITIONS
        exact = exact_front(problem, MOST_PATTERNS) if few else None
    except FaireaError:  # too many class patterns
        exact = None
    step("every method")
    mine, left_out = fairea(problem), []
    enough = np.flatnonzero(front.points[:, 0] >= mine.fitness - 1e-9)
    found = {} if holders is None else {HOLDERS: holders}
    found |= {
        "FairEA": mine, "FairEA, isolation 2": fairea(problem, isolation=2, seed=seed),
        "FairEA, neighbours of other classes": fairea(problem, diversity="global"),
        "improved": front.matchings[int(enough[-1])] if len(enough) else front.matchings[0],
        "weighted Hungarian": weighted_hungarian(problem),
    }  # fmt: skip
    try:
        if int(problem.compact.qualified.sum()) > MOST_PROGRAMMED:
            raise FaireaError("pairs", int(problem.compact.qualified.sum()), f"the programme is tried up to {MOST_PROGRAMMED:,}")
        found["0/1 programme"] = optimisation(problem)
    except FaireaError as error:
        left_out.append(f"0/1 programme: {error}")
    found |= {"largest fitness": maximum_fitness(problem), "smallest fitness": minimum_fitness(problem)}
    found |= {f"random {n}": random_matching(problem, np.random.default_rng([seed, n])) for n in range(RANDOM_DRAWS)}
    step("the fittest within limits")
    draws = [matching for name, matching in found.items() if name.startswith("random ")]
    wanted = limits or harmless_limits(problem, [holders] if holders else [], draws)
    groups_of = [Layout.of(each).group for each in groupings]
    chosen = choose(problem, wanted, groups_of, seed)
    if chosen.found.matching is not None:
        found[OURS] = chosen.found.matching
    costs = curve(problem, groups_of, found["largest fitness"], exact or front, seed=seed, step=step)
    return Answer(problem, found, front, exact, chosen, costs, tuple(left_out))


def measures(found: Answer, truth: np.ndarray | None = None) -> pd.DataFrame:
    """One row a method, the random draws as their mean: `metrics.evaluate`, the fitness by `truth` (m, t) if given, and first
    the filled positions before, of which there is no fitness."""
    rows = [{"method": BEFORE, **_before(found.problem)}]
    for name, matching in found.found.items():
        true = {}
        if truth is not None:
            true = {"true_fitness": Matching(matching.problem.with_fitness(truth), matching.chosen).fitness}
        rows.append({"method": "random" if name.startswith("random ") else name, **true, **evaluate(matching)})
    table = pd.DataFrame(rows)
    table["abs_assortativity"] = table["assortativity"].abs()
    return table.groupby("method", sort=False).mean().reset_index()


def _before(problem: Problem) -> dict[str, float]:
    """What can be said of the filled positions alone."""
    graph, classes = problem.graph, problem.classes
    if not classes:
        return {}
    r = Tally(Layout.of(problem))
    trace, ends = r.trace, np.array(r.ends)
    square = float((ends * ends).sum())
    below = float(ends.sum()) ** 2 - square
    return {
        "assortativity": (float(ends.sum()) * trace - square) / below if below > 0 else math.nan,
        "cross_group_share": cross_group_share(graph, classes), "isolated_share": isolated_share(graph, classes),
        "isolated_members": isolated_members(graph, classes), "community_minority_share": community_minority_share(graph, classes),
        "degree_ratio": degree_ratio(graph, classes), "core_ratio": core_ratio(graph, classes),
        "minority_share": min(group_shares(classes).values()),
    }  # fmt: skip


def groups(found: Answer, by_attribute: Mapping[str, Problem]) -> pd.DataFrame:
    """A row a method, attribute and group: members before and after, without a neighbour of the group before and after, candidates,
    chosen, rate, degree (mean) and core number (mean) after; p_value: of the group's rate against all others' (Fisher's exact
    test), NaN where there are no others."""
    rows = []
    for attribute, problem in by_attribute.items():
        names = sorted_classes([*problem.classes.values(), *problem.candidates.values()])
        layout = Layout.of(problem)
        tally = Tally(layout)
        before = [(*pair,) for pair in zip(tally.members, tally.alone, strict=True)]
        pool = tally.pool
        for method, matching in found.methods.items():
            for i, label in enumerate(layout.labels(np.array(matching.chosen, np.int64))):
                tally.set(i, int(label))
            total, everybody = sum(tally.hired), sum(pool)
            for c, name in enumerate(names):
                chosen, others = tally.hired[c], everybody - pool[c]
                table = [[chosen, pool[c] - chosen], [total - chosen, others - total + chosen]]
                known = pool[c] > 0 and others > 0
                rows.append({
                    "method": method, "attribute": attribute, "group": str(name), "members_before": before[c][0],
                    "members_after": tally.members[c], "alone_before": before[c][1], "alone_after": tally.alone[c],
                    "candidates": pool[c], "chosen": chosen, "rate": chosen / pool[c] if pool[c] else math.nan,
                    "p_value": float(scipy.stats.fisher_exact(table)[1]) if known else math.nan,
                    "mean_degree": tally.degree[c] / max(1, tally.members[c]), "mean_core": tally.core[c] / max(1, tally.members[c]),
                })  # fmt: skip
    return pd.DataFrame(rows)


# ---- why each choice


class _Choice:
    """One matching, and what other choices would make of it."""

    def __init__(self, matching: Matching):
        self.problem, self.weights = matching.problem, matching.problem.weights
        self.chosen = np.array(matching.chosen, np.int64)
        self.layout = Layout.of(matching.problem)
        self.tally = Tally(self.layout, self.layout.labels(self.chosen))
        self.now = self.tally.measures
        self.holder = {int(j): i for i, j in enumerate(self.chosen) if j != UNFILLED}
        self.people = list(self.problem.candidates)

    def runner_up(self, i: int) -> tuple[int, int] | None:
        """Who would have the position else: the fittest candidate who has none, or else the exchange with another position that
        costs least fitness. Candidate, and position exchanged with or UNFILLED."""
        weights = self.weights
        able = [int(j) for j in np.flatnonzero(~np.isnan(weights[i])) if int(j) != self.chosen[i]]
        free = [j for j in able if j not in self.holder]
        if free:
            return max(free, key=lambda j: weights[i, j]), UNFILLED
        both = [(j, self.holder[j]) for j in able if not math.isnan(weights[self.holder[j], self.chosen[i]])]
        return max(both, key=lambda at: weights[i, at[0]] + weights[at[1], self.chosen[i]] - weights[at[1], at[0]], default=None)

    def after(self, changes: Mapping[int, int]) -> Measures:
        """Measures were these positions given these candidates."""
        group = self.layout.group
        for i, j in changes.items():
            self.tally.set(i, int(group[j]))
        found = self.tally.measures
        for i in changes:
            self.tally.set(i, int(group[self.chosen[i]]))
        return found


def placements(method: str, matching: Matching) -> pd.DataFrame:
    """Who gets which position by a method, and why: a row an open position.

    method, position, candidate ("" unfilled), class, fitness; rank of it among the qualified, of how many; runner_up and its class,
    and exchanged: the position whose holder the runner-up is, "" for somebody without one; then what would change with the
    runner-up: fitness_change, distance_change (|r|), selection_ratio_change, isolated_change (members without a neighbour of
    their class); reason: in words.
    """
    choice, problem = _Choice(matching), matching.problem
    rows = []
    for i, position in enumerate(problem.open_positions):
        j, able = int(choice.chosen[i]), choice.weights[i][~np.isnan(choice.weights[i])]
        row = {"method": method, "position": str(position), "candidate": "", "class": "", "fitness": math.nan, "rank": math.nan,
               "qualified": len(able), "runner_up": "", "runner_up_class": "", "exchanged": ""}  # fmt: skip
        row |= dict.fromkeys(("fitness_change", "distance_change", "selection_ratio_change", "isolated_change"), math.nan)
        if j == UNFILLED:
            why = "nobody qualifies" if not len(able) else "all who qualify are placed elsewhere"
            rows.append(row | {"reason": f"stays open: {why}"})
            continue
        fitness = float(choice.weights[i, j])
        row |= {"candidate": str(choice.people[j]), "class": str(problem.candidates[choice.people[j]]), "fitness": fitness,
                "rank": 1 + int((able > fitness).sum())}  # fmt: skip
        other = choice.runner_up(i)
        if other is not None:
            k, at = other
            changes = {i: k} | ({} if at == UNFILLED else {at: j})
            worth = sum(choice.weights[p, c] - choice.weights[p, choice.chosen[p]] for p, c in changes.items())
            after = choice.after(changes)
            row |= {"runner_up": str(choice.people[k]), "runner_up_class": str(problem.candidates[choice.people[k]]),
                    "exchanged": "" if at == UNFILLED else str(problem.open_positions[at]), "fitness_change": float(worth),
                    "distance_change": after.distance - choice.now.distance,
                    "selection_ratio_change": after.selection_ratio - choice.now.selection_ratio,
                    "isolated_change": after.isolated - choice.now.isolated}  # fmt: skip
        rows.append(row | {"reason": _reason(row)})
    return pd.DataFrame(rows)


def _reason(row: Mapping[str, object]) -> str:
    rank, able = int(row["rank"]), int(row["qualified"])  # type: ignore[call-overload]
    first = f"fittest of {able} who qualify" if rank == 1 else f"{_th(rank)} fittest of {able}"
    first = "the only one who qualifies" if able == 1 else first
    if not row["runner_up"]:
        return first if able == 1 else f"{first}; nobody else can be put here without leaving a position open"
    elsewhere = f" (exchanged with {row['exchanged']})" if row["exchanged"] else ""
    return f"{first}; with {row['runner_up']}{elsewhere} {_changes(row)}"


def _changes(row: Mapping[str, object]) -> str:
    """What would change, in words."""
    told = [f"fitness {row['fitness_change']:+.2f}"]
    for name, label, digits in (("distance_change", "|r|", 3), ("selection_ratio_change", "selection ratio", 2)):
        change = float(row[name])  # type: ignore[arg-type]
        if not math.isnan(change) and round(change, digits) != 0:
            told.append(f"{label} {change:+.{digits}f}")
    alone = row["isolated_change"]
    if alone:
        told.append(f"members alone {alone:+.0f}")
    return ", ".join(told) if len(told) > 1 else f"{told[0]} and nothing else"


def _th(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


# ---- what the report draws


def points(found: Answer) -> pd.DataFrame:
    """front (improved, exact, random), fitness, abs_assortativity."""
    parts = [found.front.frame().assign(front="improved")]
    if found.exact is not None:
        parts.append(found.exact.frame().assign(front="exact"))
    parts.append(Front(found.problem, found.random).frame().assign(front="random"))
    return pd.concat(parts, ignore_index=True)[["front", "fitness", "abs_assortativity"]]


def drawing(found: Answer, columns: Mapping[str, str], seed: int, many: int = 300) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes with their place and class before and by method ("" unfilled), a column a method; and edges by node number, without
    self-loops. From `many` nodes on the layout is the quicker one. Parts that are not connected are laid out side by side."""
    problem = found.problem
    graph = problem.graph
    place = _layout(graph, seed, many)
    after, opened = {column: found.found[name].classes for column, name in columns.items()}, set(problem.open_positions)
    nodes = pd.DataFrame([
        {
            "position": str(u), "x": place[u][0], "y": place[u][1], "open": u in opened, "before": str(problem.classes.get(u, "")),
            **{column: str(classes.get(u, "")) for column, classes in after.items()},
        }
        for u in graph
    ])  # fmt: skip
    number = {u: n for n, u in enumerate(graph)}
    edges = pd.DataFrame([(number[u], number[v]) for u, v in graph.edges() if u != v], columns=["source", "target"])
    return nodes, edges


def _layout(graph: nx.Graph, seed: int, many: int) -> dict[Hashable, np.ndarray]:
    """Place of each node."""
    spread = 2.2 / math.sqrt(len(graph))
    place = nx.spring_layout(graph, seed=seed, k=spread, iterations=200 if len(graph) < many else 40)
    if len(graph) < many and nx.is_connected(graph):
        place = nx.kamada_kawai_layout(graph, pos=place)  # fewer nodes on top of each other
    return place


def counts(names: Sequence[Hashable]) -> dict[str, int]:
    """How often each, the most frequent first."""
    return {str(name): count for name, count in Counter(names).most_common()}


"""Our matchings beside those of FairEA's authors, on their own 1,200 instances: `python -P -m xbar.workloads.fairea.compare`.

The authors' matchings are read here alone; no method sees them. Per setting (network, share of positions opened,
candidate pool, fitness function): means of every method, paired differences to the authors' FairEA with joint
intervals, which matchings our front covers, and how much of the exact front it misses; the last also on random small
instances. Scores as in `metrics`; fitness in percent of the range over maximum matchings.
"""

import argparse
import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import joblib
import networkx as nx
import numpy as np
import pandas as pd
import scipy  # whose statistics load where they are asked for: they take a second
from tqdm import tqdm

from xbar.workloads.fairea.baselines import maximum_fitness, optimisation, random_matching, weighted_hungarian
from xbar.workloads.fairea.exact import exact_front
from xbar.workloads.fairea.front import covers, dominates
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.metrics import MixingMatrix, assortativity, fitness_range
from xbar.workloads.fairea.problem import FaireaError, Matching, Problem
from xbar.workloads.fairea.published import fairea
from xbar.workloads.study.identity import code_version

CELL = ["network", "share", "pool", "fitness_kind"]
METHODS = {
    "published": fairea,
    "published, released defects": lambda problem: fairea(problem, released_defects=True),
    "weighted Hungarian": weighted_hungarian,
    "optimisation": optimisation,
    "maximum fitness": maximum_fitness,
    "random": lambda problem: random_matching(problem, seed=0),
}
AUTHORS = {"authors' FairEA": "fairea", "authors' weighted Hungarian": "weighted_hungarian"}
SAVE_EVERY = 40  # instances


def read_instances(path: str | Path) -> tuple[dict[str, nx.Graph], list[dict[str, Any]]]:
    """Networks (node attribute `class`) and instances of the authors' file, JSON or JSON in gzip; raises `FaireaError`."""
    try:
        raw = Path(path).read_bytes()
        found = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        networks = {}
        for name, network in found["networks"].items():
            networks[name] = nx.Graph(network["edges"])
            networks[name].add_nodes_from((node, {"class": group}) for node, group in network["nodes"].items())
        instances = found["instances"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FaireaError("instances", str(path), f"must be JSON with `networks` and `instances` ({error!r})") from error
    return networks, instances


def problem_of(networks: Mapping[str, nx.Graph], instance: Mapping[str, Any]) -> Problem:
    """The assignment problem of an instance; without anybody's matching."""
    graph = networks[instance["network"]]
    fitness = {(position, candidate): value for candidate, position, value in instance["fitness"]}
    return Problem(graph, dict(graph.nodes("class")), instance["open"], instance["candidates"], fitness)


def _measures(matching: Matching) -> tuple[float, float, int]:
    r = MixingMatrix(matching.problem.compact, matching.labels).r
    return matching.fitness, abs(r), len(matching.unfilled)


def compare_one(
    networks: Mapping[str, nx.Graph], instance: Mapping[str, Any], *, work: float | None, exact_up_to: int
) -> dict[str, Any]:
    """All figures of one instance, as a row."""
    problem = problem_of(networks, instance)
    low, high = fitness_range(problem)
    row: dict[str, Any] = {name: instance[name] for name in (*CELL, "sample")}
    row |= {"open": len(problem.open_positions), "fitness_low": low, "fitness_high": high}
    row["r_filled"] = abs(assortativity(problem.graph, problem.classes))
    for name, method in METHODS.items():
        row |= _columns(name, _measures(method(problem)))
    start = time.process_time()
    front = improved_front(problem, work=work)
    row["seconds_improved"] = time.process_time() - start
    points = front.points
    at_least = points[points[:, 0] >= row["fitness published"] - 1e-9]  # never empty: the search starts there
    row |= _columns("improved, fitness of published", (*at_least[at_least[:, 1].argmin()], 0))
    row |= _columns("improved, least |r|", (*points[points[:, 1].argmin()], 0))
    row["points"] = len(points)
    most_filled = len(problem.open_positions) - len(front.matchings[0].unfilled)
    uncovered = []
    for name, theirs in instance["methods"].items():
        if len(problem.open_positions) - theirs["unfilled"] == most_filled:
            uncovered += [] if covers(points, theirs["fitness"], abs(theirs["assortativity"])) else [name]
    for name, key in AUTHORS.items():
        theirs = instance["methods"][key]
        row |= _columns(name, (theirs["fitness"], abs(theirs["assortativity"]), theirs["unfilled"]))
    row["uncovered"] = " ".join(uncovered)
    theirs = instance["methods"]["fairea"]
    point = theirs["fitness"], abs(theirs["assortativity"])
    row["dominates_authors"] = bool(dominates(points, *point).any())
    row["can_dominate"] = row["gap"] = None
    if len(problem.open_positions) <= exact_up_to:
        exact = exact_front(problem)
        row["can_dominate"] = bool(dominates(exact.points, *point).any())
        row["gap"] = exact.gap(points)
        row["exact_points"] = len(exact.points)
    return row


def _columns(name: str, measures: Iterable[float]) -> dict[str, float]:
    return {f"{what} {name}": value for what, value in zip(("fitness", "r", "unfilled"), measures, strict=True)}


def random_problem(seed: int) -> Problem:
    """A small random instance: up to 12 open positions, 2 to 4 classes, candidates too few, enough or many."""
    rng = np.random.default_rng([seed, 77])
    nodes, m = int(rng.integers(16, 60)), int(rng.integers(3, 13))
    classes, t = int(rng.integers(2, 4 + (m <= 8))), int(rng.integers(max(2, m - 2), 2 * m + 1))
    graph = nx.gnp_random_graph(nodes, float(rng.uniform(0.1, 0.5)), seed=int(rng.integers(2**31)))
    share = rng.dirichlet(np.full(classes, 3.0))
    weights = np.where(rng.random((m, t)) < rng.uniform(0.3, 1.0), rng.random((m, t)), np.nan)
    if rng.random() < 0.5:
        weights = np.round(weights, 1)
    groups = rng.choice(classes, nodes, p=share)
    candidates = {f"c{j}": int(group) for j, group in enumerate(rng.choice(classes, t, p=share))}
    return Problem(graph, {u: int(groups[u]) for u in range(m, nodes)}, list(range(m)), candidates, weights)


def random_gap(seed: int, work: float | None = None) -> dict[str, Any]:
    """How much of the exact front the search misses on `random_problem(seed)`."""
    problem = random_problem(seed)
    exact = exact_front(problem)
    gap = exact.gap(improved_front(problem, work=work).points)
    return {"seed": seed, "open": len(problem.open_positions), "classes": len(problem.compact.groups),
            "exact_points": len(exact.matchings), "gap": gap}  # fmt: skip


def _long(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per instance and method."""
    parts = []
    span = (rows["fitness_high"] - rows["fitness_low"]).replace(0, np.nan)
    for name in [*AUTHORS, *METHODS, "improved, fitness of published", "improved, least |r|"]:
        part = rows[[*CELL, "sample", "r_filled"]].copy()
        part["method"], part["r"], part["fitness"] = name, rows[f"r {name}"], rows[f"fitness {name}"]
        part["unfilled"] = rows[f"unfilled {name}"]
        part["percent"] = (100 * (part["fitness"] - rows["fitness_low"]) / span).fillna(100.0)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def method_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means per setting and method."""
    grouped = _long(rows).groupby([*CELL, "method"], sort=False)
    table = grouped.agg(
        instances=("r", "size"), abs_r_filled_only=("r_filled", "mean"), abs_r_after=("r", "mean"),
        fitness=("fitness", "mean"), fitness_percent_of_range=("percent", "mean"), unfilled=("unfilled", "mean"),
    ).reset_index()  # fmt: skip
    table.insert(7, "improvement_absolute", table["abs_r_filled_only"] - table["abs_r_after"])
    table.insert(7, "improvement_of_means_percent", 100 * (1 - table["abs_r_after"] / table["abs_r_filled_only"]))
    return table.sort_values(CELL, kind="stable")


def paired_table(rows: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Mean difference to the authors' FairEA per setting, of |r| and fitness, for our two variants of it.

    Student intervals over the samples, of joint confidence over all settings and both measures of a variant (Bonferroni).
    A setting where all differences are the same has no width.
    """
    lines = []
    for method in ("published, released defects", "published"):
        cells = list(rows.groupby(CELL))
        for (key, cell), measure in ((pair, name) for pair in cells for name in ("r", "fitness")):
            difference = (cell[f"{measure} {method}"] - cell[f"{measure} authors' FairEA"]).to_numpy().round(12)
            n = len(difference)
            quantile = scipy.stats.t.ppf(1 - (1 - confidence) / (2 * 2 * len(cells)), n - 1)
            half = quantile * difference.std(ddof=1) / np.sqrt(n)
            mean = difference.mean()
            lines.append({
                **dict(zip(CELL, key, strict=True)), "method": method, "measure": "|r|" if measure == "r" else measure,
                "instances": n, "mean_difference": mean, "low": mean - half, "high": mean + half,
                "contains_0": bool(mean - half <= 0 <= mean + half), "equal": float((difference == 0).mean()),
            })  # fmt: skip
    return pd.DataFrame(lines)


def dominance_table(rows: pd.DataFrame) -> pd.DataFrame:
    """By network and share: matchings of the authors not covered by our front, and dominance over their FairEA.

    `can_be_dominated`, `missed` and the gaps count instances with an exact front alone.
    """
    lines = []
    for (network, share, size), cell in rows.groupby(["network", "share", "open"]):
        known = cell[cell["can_dominate"].notna()]
        can, gap = known["can_dominate"].astype(bool), known["gap"].astype(float)
        lines.append({
            "network": network, "share": share, "open": size, "instances": len(cell),
            "uncovered_by_front": int(cell["uncovered"].notna().sum()),
            "dominates_authors_fairea": int(cell["dominates_authors"].sum()), "exact_fronts": len(known),
            "can_be_dominated": int(can.sum()), "missed": int((can & ~known["dominates_authors"].astype(bool)).sum()),
            "gap_mean": gap.mean(), "gap_worst": gap.max(), "gap_zero_share": (gap < 1e-9).mean() if len(gap) else np.nan,
            "seconds_improved_mean": cell["seconds_improved"].mean(),
        })  # fmt: skip
    return pd.DataFrame(lines)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """As CSV, whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    table.to_csv(temporary, index=False, float_format="%.6g")
    os.replace(temporary, path)


def compare(
    path: str | Path, out: str | Path, *, samples: int | None = None, work: float | None = None, exact_up_to: int = 15,
    random_instances: int = 240, jobs: int = 2, progress: bool = True,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """All tables by name, written to `out`; goes on where an interrupted run with the same settings and code was.

    `samples`: only so many of each setting. `work`: of `improved_front`, whose enumeration stays off. Exact fronts for
    up to `exact_up_to` open positions. Results do not depend on `jobs`.
    """
    if samples is not None and samples < 2:
        raise FaireaError("samples", samples, "must be at least 2, for intervals")
    networks, instances = read_instances(path)
    chosen = [instance for instance in instances if samples is None or instance["sample"] < samples]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    settings = {"instances": digest, "samples": samples, "work": work, "exact_up_to": exact_up_to, "code": code_version()}
    done = _resume(folder, settings)
    left = [n for n in range(len(chosen)) if n not in done]
    tasks = (joblib.delayed(compare_one)(networks, chosen[n], work=work, exact_up_to=exact_up_to) for n in left)
    rows = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
    for n, row in zip(left, tqdm(rows, total=len(left), disable=not progress, desc="authors' instances"), strict=True):
        done[n] = {"instance": n, **row}
        if len(done) % SAVE_EVERY == 0:
            _save(folder, done)
    _save(folder, done)
    table = pd.read_csv(folder / "instances.csv", dtype={"share": str})
    tasks = (joblib.delayed(random_gap)(seed, work) for seed in range(random_instances))
    found = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
    gaps = pd.DataFrame(list(tqdm(found, total=random_instances, disable=not progress, desc="random instances")))
    tables = {"methods": method_table(table), "paired": paired_table(table), "dominance": dominance_table(table)}
    if random_instances:
        tables["random"] = _gap_summary(gaps)
    for name, result in tables.items():
        write_table(result, folder / f"{name}.csv")
    return tables


def _gap_summary(gaps: pd.DataFrame) -> pd.DataFrame:
    grouped = gaps.groupby("classes")["gap"]
    table = grouped.agg(instances="size", gap_mean="mean", gap_worst="max", gap_zero_share=lambda g: (g < 1e-9).mean())
    return table.reset_index()


def _resume(folder: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Rows of an earlier run with these settings, by number."""
    try:
        same = json.loads((folder / "settings.json").read_text("utf-8")) == settings
        rows = pd.read_csv(folder / "instances.csv", dtype={"share": str}) if same else None
    except (OSError, ValueError):
        rows = None
    if rows is None:
        (folder / "instances.csv").unlink(missing_ok=True)
        temporary = folder / "settings.json.partial"
        temporary.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
        os.replace(temporary, folder / "settings.json")
        return {}
    return {int(row["instance"]): row for row in rows.to_dict("records")}


def _save(folder: Path, done: Mapping[int, dict[str, Any]]) -> None:
    path = folder / "instances.csv"
    temporary = path.with_name(path.name + ".partial")
    pd.DataFrame([done[n] for n in sorted(done)]).to_csv(temporary, index=False)
    os.replace(temporary, path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -P -m xbar.workloads.fairea.compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("instances", help="the authors' instances (instances.json.gz)")
    parser.add_argument("--out", required=True, help="folder for the tables; an interrupted run goes on there")
    parser.add_argument("--samples", type=int, help="only so many of each setting")
    parser.add_argument("--work", type=float, help="nominal seconds of search for each front")
    parser.add_argument("--exact-up-to", type=int, default=15, help="exact fronts up to so many open positions")
    parser.add_argument("--random", type=int, default=240, help="how many random small instances")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    chosen = parser.parse_args()
    try:
        tables = compare(
            chosen.instances, chosen.out, samples=chosen.samples, work=chosen.work, exact_up_to=chosen.exact_up_to,
            random_instances=chosen.random, jobs=chosen.jobs,
        )  # fmt: skip
    except FaireaError as error:
        raise SystemExit(str(error)) from error
    paired, dominance = tables["paired"], tables["dominance"]
    for method, part in paired.groupby("method", sort=False):
        print(f"{method}: {int(part['contains_0'].sum())} of {len(part)} joint intervals contain 0")
    print(dominance.to_string(index=False))
    if "random" in tables:
        print(tables["random"].to_string(index=False))


if __name__ == "__main__":
    main()

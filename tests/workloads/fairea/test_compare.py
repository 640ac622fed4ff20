"""The comparison with the authors' stored matchings, on part of their instances, and its tables on made-up ones."""

import gzip
import json

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xbar.workloads.fairea.baselines import weighted_hungarian
from xbar.workloads.fairea.compare import compare, paired_table, problem_of, read_instances
from xbar.workloads.fairea.front import covers
from xbar.workloads.fairea.improved import improved_front
from xbar.workloads.fairea.metrics import MixingMatrix, assortativity
from xbar.workloads.fairea.networks import draw_fitness, embedded, open_at_random
from xbar.workloads.fairea.problem import FaireaError, Matching
from xbar.workloads.fairea.published import fairea


@pytest.fixture(scope="module")
def authors(shared_data):
    path = shared_data / "fairea_instances" / "instances.json.gz"
    if not path.is_file():
        pytest.skip(f"no instances of FairEA's authors at {path}")
    return read_instances(path)


def test_stored_matchings_have_the_stored_measures(authors) -> None:
    networks, instances = authors
    for instance in instances[::60]:
        problem = problem_of(networks, instance)
        before = assortativity(problem.graph, problem.classes)
        assert before == pytest.approx(instance["assortativity_filled"], abs=1e-12)
        for theirs in instance["methods"].values():
            pairs = dict(pair if pair[0] in problem.position_index else pair[::-1] for pair in theirs["matching"])
            match = Matching.from_pairs(problem, pairs)
            assert match.fitness == pytest.approx(theirs["fitness"], abs=1e-9)
            assert assortativity(problem.graph, match.classes) == pytest.approx(theirs["assortativity"], abs=1e-12)
            assert len(match.unfilled) == theirs["unfilled"]


@pytest.mark.parametrize("network", ["CC(H)", "RT(M)"])
def test_with_the_released_defects_no_mean_differs_from_the_authors(authors, network) -> None:
    networks, instances = authors
    differences = {}
    for instance in instances:
        if instance["network"] == network:
            problem = problem_of(networks, instance)
            match, theirs = fairea(problem, released_defects=True), instance["methods"]["fairea"]
            r = abs(MixingMatrix(problem.compact, match.labels).r) - abs(theirs["assortativity"])
            cell = instance["share"], instance["pool"], instance["fitness_kind"]
            differences.setdefault(cell, []).append((match.fitness - theirs["fitness"], r))
    assert len(differences) == 12
    quantile = stats.t.ppf(1 - 0.05 / (2 * 96), 24)  # jointly 95 % over all 48 settings and both measures
    for cell, values in differences.items():
        table = np.array(values).round(12)
        half = quantile * table.std(0, ddof=1) / np.sqrt(len(table))
        assert (np.abs(table.mean(0)) <= half).all(), (cell, table.mean(0), half)
    equal = np.concatenate([(np.abs(np.array(values)) < 1e-9).all(1) for values in differences.values()])
    assert np.mean(equal) > 0.6  # the rest are ties broken otherwise


def test_weighted_hungarian_with_the_released_defects_weighs_as_much_as_theirs(authors) -> None:
    networks, instances = authors
    for instance in instances[::5]:
        problem = problem_of(networks, instance)
        theirs = instance["methods"]["weighted_hungarian"]["matching"]
        pairs = dict(pair if pair[0] in problem.position_index else pair[::-1] for pair in theirs)
        match = weighted_hungarian(problem, released_defects=True)
        if match.pairs == pairs:
            continue
        # ties: where another matching is stored, the sum that both maximise is the same
        assert _weighed(problem, match) == pytest.approx(_weighed(problem, Matching.from_pairs(problem, pairs)), abs=1e-9)


def _weighed(problem, match) -> float:
    """Fitness plus 1 for each class in the minority, as the released code counts: what is open is female."""
    forced = _forced(problem)
    label = {u: forced.get(u, "female") for u in problem.open_positions} | problem.classes
    total = match.fitness
    for u, c in match.pairs.items():
        around = [label[v] for v in problem.graph[u]]
        female, male = around.count("female"), around.count("male")
        rarer = "female" if female < male else "male" if male < female else None
        total += u not in forced and problem.candidates[c] == rarer
    return total


def _forced(problem) -> dict:
    """{position: class} of those who have one candidate left, one after the other."""
    names = list(problem.candidates)
    options = {u: {names[j] for j in np.flatnonzero(problem.compact.qualified[i])} for u, i in problem.position_index.items()}
    found = {}
    while True:
        single = [u for u, people in options.items() if len(people) == 1]
        if not single:
            return found
        (c,) = options.pop(single[0])
        found[single[0]] = problem.candidates[c]
        for people in options.values():
            people.discard(c)


def test_the_front_covers_the_authors_matchings(authors) -> None:
    networks, instances = authors
    for instance in instances[::75]:
        points = improved_front(problem_of(networks, instance)).points
        for name, theirs in instance["methods"].items():
            if theirs["unfilled"] == 0:
                assert covers(points, theirs["fitness"], abs(theirs["assortativity"])), (instance["sample"], name)


def stored(folder, samples: int = 3):
    """A file like the authors', on the karate club, whose matchings are our own."""
    graph, attribute = embedded("karate")
    graph = nx.relabel_nodes(graph, str)
    sexes = {u: "female" if value == "Officer" else "male" for u, value in graph.nodes(attribute)}
    instances = []
    for sample in range(samples):
        opened = open_at_random(graph, 0.15, seed=sample)
        people = {f"c{j}": sexes[u] for j, u in enumerate(opened)}
        fitness = draw_fitness(graph, opened, list(people), "F1", seed=sample)
        instance = {
            "network": "karate", "share": "0.15", "pool": 1, "fitness_kind": 1, "sample": sample, "open": opened,
            "candidates": people, "fitness": [[c, u, w] for (u, c), w in fitness.items()],
        }  # fmt: skip
        network = nx.Graph(graph)
        nx.set_node_attributes(network, sexes, "class")
        problem = problem_of({"karate": network}, instance)
        methods = {"fairea": fairea(problem, released_defects=True), "weighted_hungarian": weighted_hungarian(problem)}
        instance["methods"] = {
            name: {
                "matching": list(match.pairs.items()), "fitness": match.fitness, "unfilled": len(match.unfilled),
                "assortativity": assortativity(graph, match.classes),
            }
            for name, match in methods.items()
        }  # fmt: skip
        instances.append(instance)
    network = {"nodes": sexes, "edges": list(graph.edges())}
    path = folder / "instances.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"networks": {"karate": network}, "instances": instances}).encode()))
    return path


def test_a_comparison_writes_its_tables_and_goes_on_where_it_was(tmp_path, monkeypatch) -> None:
    path, out = stored(tmp_path), tmp_path / "out"
    settings = {"work": 0.02, "random_instances": 2, "jobs": 1, "progress": False}
    tables = compare(path, out, **settings)
    assert not list(out.glob("*.partial"))
    same = tables["paired"].query("method == 'published, released defects'")
    assert (same["mean_difference"] == 0).all()
    assert same["contains_0"].all()
    assert (same["equal"] == 1).all()
    assert tables["dominance"]["uncovered_by_front"].tolist() == [0]
    assert tables["dominance"]["missed"].tolist() == [0]
    whole = (out / "methods.csv").read_text("utf-8")

    rows = pd.read_csv(out / "instances.csv")
    marked = rows.assign(seconds_improved=123.0)
    marked.head(2).to_csv(out / "instances.csv", index=False)  # as if stopped after two
    compare(path, out, **settings)
    again = pd.read_csv(out / "instances.csv")
    assert again["seconds_improved"].eq(123.0).tolist() == [True, True, False]
    assert (out / "methods.csv").read_text("utf-8") == whole

    monkeypatch.setattr("xbar.workloads.fairea.compare.code_version", lambda: "other")  # other code begins anew
    compare(path, out, **settings)
    begun = pd.read_csv(out / "instances.csv")
    assert not begun["seconds_improved"].eq(123.0).any()

    begun.assign(seconds_improved=123.0).to_csv(out / "instances.csv", index=False)
    compare(path, out, **{**settings, "work": 0.03})  # other settings begin anew
    assert not pd.read_csv(out / "instances.csv")["seconds_improved"].eq(123.0).any()


def test_intervals_are_joint_over_all_settings() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({
        "network": "n", "share": np.repeat(["0.1", "0.2"], 20), "pool": 1, "fitness_kind": 1,
        "r authors' FairEA": 0.3, "fitness authors' FairEA": 2.0,
        "r published": 0.3 + rng.normal(0, 0.01, 40), "fitness published": 2.5,
        "r published, released defects": 0.3, "fitness published, released defects": 2.0,
    })  # fmt: skip
    table = paired_table(rows)
    line = table.query("method == 'published' and measure == '|r|' and share == '0.1'").iloc[0]
    values = rows["r published"][:20] - 0.3
    half = stats.t.ppf(1 - 0.05 / (2 * 4), 19) * values.std(ddof=1) / np.sqrt(20)  # two settings, two measures
    assert (line["low"], line["high"]) == pytest.approx((values.mean() - half, values.mean() + half))
    assert table.query("method == 'published' and measure == 'fitness'")["contains_0"].tolist() == [False, False]
    assert table.query("method != 'published'")["contains_0"].all()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\x1f\x8bbroken", b'{"networks": {"a": 1}, "instances": []}'])
def test_broken_instances_are_named(tmp_path, content) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FaireaError, match=r"instances = .*file"):
        read_instances(tmp_path / "file")

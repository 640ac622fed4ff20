"""Generated people and positions, the scoring network, and which pairs are scored."""

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.special import expit

from xbar.hw import trace
from xbar.models.fairea import PairScorer
from xbar.workloads.fairea.networks import embedded
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.scoring import (
    MORE_POSITIONS,
    SKILLS,
    STEEPNESS,
    World,
    correlation,
    draw_openings,
    draw_pairs,
    logits,
    make_opening,
    stream,
    train_scorer,
)

WORLD = World(("majority", "minority"), (0.8, 0.2), 3)


def test_truth_is_the_stated_formula_of_skills_and_demands_alone() -> None:
    skills, demands = np.array([[1.0, -2.0, 0.5, 0.0, 0.0, 3.0]]), np.array([[0.5, 0.25, 1.0, 0.25, 0.0, 1.0]])
    by_hand = STEEPNESS * (0.5 - 0.5 + 0.5 + 3.0) / np.sqrt(6)
    assert WORLD.logit(skills, demands) == pytest.approx([by_hand])


def test_classes_differ_in_profile_and_not_in_level() -> None:
    assert WORLD.profiles.sum(1) == pytest.approx([0.0, 0.0])
    assert np.abs(WORLD.profiles[1]) == pytest.approx(np.full(SKILLS, 0.5))
    pairs = draw_pairs(WORLD, 40_000, 0)
    assert pairs.group.mean() == pytest.approx(0.2, abs=0.01)
    truth = [pairs.truth[pairs.group == g] for g in (0, 1)]
    error = np.sqrt(sum(each.var() / len(each) for each in truth))  # of the difference, 0.004
    assert abs(truth[0].mean() - truth[1].mean()) < 4 * error


def test_demands_lie_on_the_simplex_with_a_mean_of_a_half() -> None:
    demands = WORLD.demands(500, np.random.default_rng(0))
    assert (demands >= 0).all()
    assert demands.mean(1) == pytest.approx(np.full(500, 0.5))


def test_outcomes_follow_the_truth() -> None:
    pairs = draw_pairs(WORLD, 40_000, 1)
    likely = pairs.truth > 0.9
    # the blur of logits brings the share down from the mean truth of 0.95 by about 0.01
    assert pairs.outcome.numpy()[likely].mean() == pytest.approx(pairs.truth[likely].mean(), abs=0.03)


def test_the_network_learns_the_truth_the_same_for_the_same_seed() -> None:
    pairs = draw_pairs(WORLD, 8000, 0)
    before = torch.random.get_rng_state()
    one, two = (train_scorer(pairs, epochs=4, seed=5) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    untrained = PairScorer(pairs.candidates.shape[1], SKILLS).eval()
    test = draw_pairs(WORLD, 3000, 0, "test")
    assert correlation(one, test)[0] > 0.7 > abs(correlation(untrained, test)[0])


def test_scores_do_not_depend_on_the_batch() -> None:
    pairs = draw_pairs(WORLD, 50, 0)
    network = PairScorer(pairs.candidates.shape[1], SKILLS).eval()
    whole, parts = (logits(network, pairs.candidates, pairs.positions, batch) for batch in (50, 7))
    assert whole == pytest.approx(parts, abs=1e-6)


def test_the_network_traces_with_two_inputs() -> None:
    network = trace(PairScorer(8, SKILLS).eval(), (torch.zeros(2, 8), torch.zeros(2, SKILLS)))
    assert [layer.name for layer in network.layers] == ["candidate", "position", "first", "second", "score"]
    assert network.operations == 2 * (8 * 32 + SKILLS * 32 + 64 * 64 + 64 * 32 + 32)


def test_an_opening_scores_qualified_pairs_alone() -> None:
    graph, attribute = embedded("karate")
    world = World.of(graph, attribute)
    opening = make_opening(graph, attribute, list(graph)[:6], world, pool=2, seed=4)
    m, t = opening.qualified.shape
    assert (m, t) == (6, 12)
    assert opening.qualified[np.arange(m), np.arange(m)].all()  # who held a position qualifies for it
    assert (opening.qualified.sum(0) <= MORE_POSITIONS + 1).all()
    assert (np.isnan(opening.truth) == ~opening.qualified).all()
    rows, columns = opening.pairs
    candidates, positions = opening.inputs
    assert torch.equal(candidates[5], opening.candidates[columns[5]])
    assert torch.equal(positions[5], opening.positions[rows[5]])
    scores = expit(np.arange(len(rows), dtype=float) / 10 - 1)
    problem = opening.problem(scores)
    assert problem.weights[rows, columns] == pytest.approx(scores)
    assert np.isnan(problem.weights[~opening.qualified]).all()
    actual = opening.actual(problem)
    held = {u: graph.nodes[u][attribute] for u in opening.open_positions}
    assert {u: actual.classes[u] for u in held} == held


def test_holders_fit_better_than_others() -> None:
    graph = nx.complete_graph(400)
    nx.set_node_attributes(graph, {u: "ab"[u % 2] for u in graph}, "class")
    opening = make_opening(graph, "class", list(graph)[:300], World.of(graph, "class"), pool=1, seed=0)
    own = np.diag(opening.truth).mean()
    others = opening.truth.copy()
    np.fill_diagonal(others, np.nan)
    assert own > np.nanmean(others) + 0.05  # the best of three by a blurred truth; standard error 0.017


def test_openings_have_two_classes_of_candidates_and_seeds_of_their_own() -> None:
    graph, attribute = embedded("karate")
    world = World.of(graph, attribute)
    found = draw_openings(graph, attribute, world, 5, share=0.1, most=2, seed=0)
    assert [len(opening.open_positions) for opening in found] == [2] * 5
    assert all(len(set(opening.groups.values())) == 2 for opening in found)
    again = draw_openings(graph, attribute, world, 5, share=0.1, most=2, seed=0)
    assert all(torch.equal(a.candidates, b.candidates) for a, b in zip(found, again, strict=True))
    assert not torch.equal(found[0].candidates, found[1].candidates)


def test_streams_of_one_seed_differ_by_purpose() -> None:
    assert stream("a", 0).random() != stream("b", 0).random()
    assert stream("a", 0).random() == stream("a", 0).random()


def test_bad_input_is_named() -> None:
    with pytest.raises(FaireaError, match="shares"):
        World(("a", "b"), (0.5, 0.4))
    with pytest.raises(FaireaError, match="count"):
        draw_pairs(WORLD, 0, 0)
    with pytest.raises(FaireaError, match="epochs"):
        train_scorer(draw_pairs(WORLD, 10, 0), epochs=0)
    graph = nx.path_graph(4)
    with pytest.raises(FaireaError, match="every position needs a class"):
        World.of(graph, "class")
    nx.set_node_attributes(graph, "one", "class")
    with pytest.raises(FaireaError, match="two classes"):
        draw_openings(graph, "class", World.of(graph, "class"), 1, share=0.5, most=2)

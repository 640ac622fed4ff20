"""Who is passed over: ranks and ratios by hand, controls in closed form, intervals by scipy, energies that add up."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import expit

from xbar.hw import Arrivals, Chip, load_chip, place, simulate, trace
from xbar.models.fairea import PairScorer
from xbar.workloads.fairea.networks import embedded, open_at_random
from xbar.workloads.fairea.on_chip import (
    ASSIGNERS,
    GAPS,
    READ_SIGMA,
    SIGMA,
    Case,
    Reading,
    Reference,
    cases,
    chip_logits,
    contrast,
    control_logits,
    drifting_chip,
    judge,
    judged_chip,
    rank_columns,
    ranks,
    ratio_band,
    scoring_cost,
    study_noise,
    study_openings,
    study_pools,
    summarise,
    writing_energy,
)
from xbar.workloads.fairea.problem import FaireaError
from xbar.workloads.fairea.scoring import SKILLS, Opening, Pairs, World, draw_openings, draw_pairs, logits, make_opening

NAN = np.nan


@pytest.fixture(scope="module")
def opening() -> Opening:
    graph, attribute = embedded("karate")
    world = World.of(graph, attribute)
    return make_opening(graph, attribute, open_at_random(graph, 0.2, seed=0), world, pool=2, seed=0)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return draw_pairs(World(("a", "b"), (0.5, 0.5)), 300, 0)


@pytest.fixture(scope="module")
def network(pairs: Pairs) -> PairScorer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PairScorer(pairs.candidates.shape[1], SKILLS, 8, (8, 8)).eval()


@pytest.fixture(scope="module")
def chip() -> Chip:
    return judged_chip(load_chip("edge"))


# ---- ranks and ratios by hand


def test_ranks_of_a_position_share_ties_and_leave_out_who_does_not_qualify() -> None:
    scores = np.array([[0.9, NAN, 0.1, 0.5], [0.2, 0.7, 0.7, NAN]])
    np.testing.assert_array_equal(ranks(scores), [[1, NAN, 3, 2], [3, 1.5, 1.5, NAN]])


def test_displacement_of_a_ranking_by_hand() -> None:
    exact = np.array([[0.9, 0.8, 0.7, 0.6]])  # ranks 1 2 3 4
    noisy = np.array([[[0.5, 0.8, 0.9, 0.1]], [[0.9, 0.8, 0.7, 0.6]]])  # 3 2 1 4, and unchanged
    found = rank_columns(noisy, exact, np.array([True, False, False, True]))
    np.testing.assert_allclose(found["shift_minority"], [1.0, 0.0])  # moved by 2 and 0
    np.testing.assert_allclose(found["shift_majority"], [1.0, 0.0])  # by 0 and -2
    np.testing.assert_allclose(found["lost_minority"], [1.0, 0.0])
    np.testing.assert_allclose(found["lost_majority"], [-1.0, 0.0])
    np.testing.assert_allclose(found["lost_gap"], [2.0, 0.0])


def test_a_group_without_pairs_has_no_displacement() -> None:
    found = rank_columns(np.array([[[0.2, 0.1, NAN]]]), np.array([[0.1, 0.2, NAN]]), np.array([False, False, True]))
    assert np.isnan(found["shift_minority"]).all()
    assert np.isnan(found["shift_gap"]).all()
    assert found["shift_majority"] == pytest.approx([1.0])


def test_ratio_of_selection_rates_by_hand() -> None:
    top, below = np.array([0.5, 0.25, 0.3]), np.array([0.5, 0.5, 0.4])
    ratio, low, high = ratio_band(top, below)
    assert ratio == pytest.approx(1.05 / 1.4)
    residual = (top - ratio * below) / below.mean()
    expected = stats.t.interval(0.95, 2, ratio, residual.std(ddof=1) / np.sqrt(3))
    assert (low, high) == pytest.approx(expected)
    assert np.isnan(ratio_band(top, np.zeros(3))).all()


def test_choices_are_counted_by_hand(opening: Opening) -> None:
    exact = np.linspace(-1, 1, len(opening.pairs[0]))
    reference = Reference.of(opening, exact, "largest fitness")
    before = np.array(reference.matching.chosen)
    chosen, free = before.copy(), [j for j in range(len(reference.is_minority)) if j not in before]
    position = 0
    usable = [j for j in free if opening.qualified[position, j]]
    chosen[position] = usable[0]
    row = reference._compare(chosen)
    assert row["changed"] == pytest.approx(1 / len(before))
    lost = reference.problem.weights[position, before[position]] - reference.problem.weights[position, usable[0]]
    assert row["regret"] == pytest.approx(lost / reference.extents[0])
    truths = opening.truth[position, before[position]] - opening.truth[position, usable[0]]
    assert row["regret_truth"] == pytest.approx(truths / reference.extents[1])
    group = "minority" if reference.is_minority[before[position]] else "majority"
    size = sum(reference.is_minority[before] == (group == "minority"))
    assert row[f"dropped_{group}"] == pytest.approx(1 / size)
    hired = [reference.is_minority[chosen].sum(), (~reference.is_minority[chosen]).sum()]
    assert row["rate_minority"] == pytest.approx(hired[0] / reference.is_minority.sum())
    assert row["rate_majority"] == pytest.approx(hired[1] / (~reference.is_minority).sum())


# ---- no noise, and noise whose effect is known


def test_without_noise_nothing_changes_exactly(opening: Opening) -> None:
    exact = np.random.default_rng(0).normal(size=len(opening.pairs[0]))
    frame = judge(opening, exact, np.tile(exact, (3, 1)))
    assert set(frame["assigner"]) == set(ASSIGNERS)
    zero = ["error", "changed", "regret", "regret_truth", "distance", *(f"{x}_{g}" for x in ("shift", "lost", "dropped")
            for g in ("minority", "majority", "gap"))]  # fmt: skip
    assert (frame[zero].fillna(0.0) == 0).all(axis=None)
    found = summarise(frame).set_index(["assigner", "measure"])
    for assigner in ASSIGNERS:
        reference = Reference.of(opening, exact, assigner)
        hired = np.isin(np.arange(len(reference.is_minority)), reference.matching.chosen)
        expected = hired[reference.is_minority].mean() / hired[~reference.is_minority].mean()
        row = found.loc[(assigner, "selection_ratio")]
        assert row["mean"] / expected == pytest.approx(1.0, abs=1e-12)
        assert row["high"] - row["low"] == pytest.approx(0.0, abs=1e-12)
    assert (control_logits(np.tile(exact, (3, 1)), exact, "own variance", 0) == exact).all()


@pytest.mark.parametrize("kind", ["own variance", "one variance"])
def test_the_control_has_the_variance_of_the_chips_and_nothing_else(kind: str) -> None:
    rng, sigma, count = np.random.default_rng(1), np.array([0.1, 0.5, 1.0]), 4000
    common = rng.normal(size=(count, 1))  # errors of one chip go together, and have a mean
    exact = np.array([1.0, 2.0, 3.0])
    noisy = exact + 0.7 + sigma * common
    control = control_logits(noisy, exact, kind, 0)  # type: ignore[arg-type]
    expected = noisy.std(0, ddof=1) if kind == "own variance" else np.full(3, np.sqrt(noisy.var(0, ddof=1).mean()))
    # a spread of 4,000 draws has a standard error of 1.1 %, a mean of 1.6 % of it, a correlation of 0.016
    np.testing.assert_allclose(control.std(0, ddof=1), expected, rtol=0.05)
    assert (np.abs(control.mean(0) - exact) < 0.07 * expected).all()
    assert np.abs(np.corrcoef(control.T)[np.triu_indices(3, 1)]).max() < 0.07


def test_displacement_under_the_control_in_closed_form() -> None:
    margin, sigma, count = 0.3, 0.4, 20_000
    exact = np.array([margin, 0.0])
    noisy = exact + sigma * np.random.default_rng(2).normal(size=(count, 2))
    control = control_logits(noisy, exact, "own variance", 3)
    found = rank_columns(expit(control)[:, None, :], expit(exact)[None, :], np.array([True, False]))
    swapped = stats.norm.cdf(-margin / (sigma * np.sqrt(2)))  # two candidates: both move by one rank
    # standard error 0.0032
    assert found["shift_minority"].mean() == pytest.approx(swapped, abs=0.015)
    assert found["lost_gap"].mean() == pytest.approx(2 * swapped, abs=0.03)


# ---- intervals: an instance is a cluster


def test_intervals_are_of_instances_means() -> None:
    rng = np.random.default_rng(3)
    exact = rng.normal(size=(4, 6))
    noisy = exact + rng.normal(size=(8, 1, 1)) + 0.5 * rng.normal(size=(8, 4, 6))
    group = np.array([True, True, False, False, False, False])
    frame = pd.DataFrame({"assigner": "FairEA", "instance": range(8), **rank_columns(noisy, exact, group)})
    row = summarise(frame).set_index("measure").loc["shift_gap"]
    moved = [np.abs(stats.rankdata(-noisy[i], axis=1) - stats.rankdata(-exact, axis=1)) for i in range(8)]
    direct = np.array([each[:, :2].mean() - each[:, 2:].mean() for each in moved])
    assert row["mean"] == pytest.approx(direct.mean())
    assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 7, direct.mean(), stats.sem(direct)))


def test_contrasts_agree_with_scipy() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(1, 1, 12), rng.normal(0, 3, 12)
    frames = [pd.DataFrame({"assigner": "FairEA", "changed": each}) for each in (a, b)]
    for paired, test in ((False, stats.ttest_ind(a, b, equal_var=False)), (True, stats.ttest_rel(a, b))):
        row = contrast(*frames, ["changed"], paired).iloc[0]
        band = test.confidence_interval()
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((a.mean() - b.mean(), band.low, band.high))
    same = contrast(frames[0].assign(changed=2.0), frames[1].assign(changed=2.0), ["changed"]).iloc[0]
    assert (same["mean"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    some = contrast(frames[0].assign(changed=[1.0] + [NAN] * 11), frames[1], ["changed"]).iloc[0]
    assert np.isnan(some["low"])


# ---- chips


def test_what_a_chip_is_judged_with() -> None:
    isaac, edge = (judged_chip(load_chip(name)) for name in ("isaac", "edge"))
    assert (isaac.weights.bits, isaac.inputs.bits) == (8, 8)
    assert (isaac.device.programming_sigma, isaac.device.read_noise_sigma) == (SIGMA, READ_SIGMA)
    assert edge.device.programming_sigma == load_chip("edge").device.programming_sigma  # its own
    assert edge.weights.bits == 5
    assert edge.device.write_energy is not None
    drifting = drifting_chip(isaac)
    assert drifting.device.drifts
    assert drifting.cell_bits == isaac.cell_bits
    assert drifting_chip(drifting) is drifting


def test_an_instance_of_many_scores_as_it_does_alone(network: PairScorer, pairs: Pairs, chip: Chip) -> None:
    quiet = chip.with_changes(device={"read_noise_sigma": 0.0})
    inputs = pairs.candidates[:20], pairs.positions[:20]
    together, pulses = chip_logits(network, quiet, pairs, inputs, 3)
    alone, _ = chip_logits(network, quiet, pairs, inputs, 1)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    np.testing.assert_allclose(chip_logits(network, quiet, pairs, inputs, 1, seed=1)[0][0], together[1], atol=1e-6)
    assert set(pulses.values()) == {1.0}
    own = tuple(x.expand(3, *x.shape) for x in inputs)
    np.testing.assert_allclose(chip_logits(network, quiet, pairs, own, 3)[0], together, atol=1e-6)  # type: ignore[arg-type]


def test_averaging_reads_lowers_read_noise_and_leaves_write_errors(network: PairScorer, pairs: Pairs, chip: Chip) -> None:
    inputs = pairs.candidates[:100], pairs.positions[:100]
    fine = {"weights": {"bits": 9}, "component": {"adc": {"range": "ideal"}}}  # so that rounding hides nothing
    read_only = chip.with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.05}, **fine)
    exact = chip_logits(network, read_only.with_changes(device={"read_noise_sigma": 0.0}), pairs, inputs, 1)[0]
    once, mean = (chip_logits(network, read_only, pairs, inputs, 2, Reading(reads=k))[0] - exact for k in (1, 9))
    # 200 errors each: the ratio of spreads has a standard error of 7 %; ReLU makes it not quite 3
    assert once.std() / mean.std() == pytest.approx(3.0, rel=0.3)
    write_only = chip.with_changes(device={"read_noise_sigma": 0.0}, **fine)
    one, two = (chip_logits(network, write_only, pairs, inputs, 2, Reading(reads=k))[0] for k in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_energy_of_all_pairs_is_pairs_times_one(network: PairScorer, opening: Opening, chip: Chip) -> None:
    cost = scoring_cost(network, chip, opening, filled=3)
    candidates, positions = opening.inputs
    assert cost["pairs"] == opening.qualified.sum() == len(candidates)
    ledger = simulate(
        place(trace(network, (candidates[:2], positions[:2])), chip, None), Arrivals.batch(1), off_chip_io=False
    )
    one = ledger.energy.drop(index="(static)").sum(axis=1)
    assert cost["energy_J"] == pytest.approx(cost["pairs"] * one.sum(), rel=1e-12)
    assert cost["energy_per_pair_J"] == pytest.approx(one.sum(), rel=1e-12)
    assert cost["energy_per_position_J"] == pytest.approx(cost["energy_J"] / 3, rel=1e-12)
    assert cost["actions"] == pytest.approx(cost["pairs"] * ledger.actions.to_numpy().sum())
    once = sum(cost["pairs"] * one[name] for name in one.index if name not in ("candidate", "position"))
    once += opening.qualified.any(0).sum() * one["candidate"] + len(opening.positions) * one["position"]
    assert cost["towers_once_J"] == pytest.approx(once, rel=1e-12)
    four = scoring_cost(network, chip, opening, filled=3, reads=4)
    assert four["energy_J"] == pytest.approx(4 * cost["energy_J"], rel=1e-12)
    assert four["towers_once_J"] == pytest.approx(4 * cost["towers_once_J"], rel=1e-12)


def test_write_verify_takes_pulses_and_brings_scores_nearer(
    network: PairScorer, pairs: Pairs, opening: Opening, chip: Chip
) -> None:
    exact = logits(network, pairs.candidates[:50], pairs.positions[:50])
    inputs = pairs.candidates[:50], pairs.positions[:50]
    quiet = chip.with_changes(device={"read_noise_sigma": 0.0, "programming_sigma": 0.1}, weights={"bits": 9})
    verified = quiet.with_changes(device={"write_verify_tolerance": 0.01, "write_verify_most": 100})
    (plain, one), (near, several) = (chip_logits(network, each, pairs, inputs, 4) for each in (quiet, verified))
    assert np.abs(near - exact).mean() < 0.5 * np.abs(plain - exact).mean()
    assert min(several.values()) > 3 * max(one.values()) == 3.0
    energies = [writing_energy(network, each, opening, pulses) for each, pulses in ((quiet, one), (verified, several))]
    cells = energies[0] / quiet.device.write_energy  # type: ignore[operator]
    assert cells == pytest.approx(round(cells))
    assert energies[1] > 3 * energies[0]


# ---- the studies


def test_a_study_holds_every_case_with_its_controls(
    network: PairScorer, pairs: Pairs, opening: Opening, chip: Chip
) -> None:
    wanted = [case for case in cases(chip, network, network, (0.1,), (8,), (1.0,), (2,)) if case.series != "adc"]
    assert [case.label for case in wanted if case.series == "repair"] == [
        "9-bit weights", "1 bit a cell", "write-verify", "noise-aware training", "training and write-verify",
        "mean of 2 reads", "write-verify, mean of 2 reads",
    ]  # fmt: skip
    found = study_noise(opening, pairs, wanted[:3], 3)
    table = found.summary
    assert set(table["source"]) == {
        "chip", "own variance", "one variance", "chip less own variance", "chip less one variance",
    }  # fmt: skip
    assert list(table["label"].unique()) == [case.label for case in wanted[:3]]
    assert len(found.instances) == 3 * (len(ASSIGNERS) + 2)
    assert list(found.costs["label"]) == ["as judged"]
    gaps = table[(table["series"] == "judged") & (table["assigner"] == "FairEA")].set_index(["source", "measure"])
    for name in GAPS:
        both = gaps.loc[("chip", name), "mean"] - gaps.loc[("own variance", name), "mean"]
        assert gaps.loc[("chip less own variance", name), "mean"] == pytest.approx(both, nan_ok=True)
    again = study_noise(opening, pairs, wanted[:3], 3)
    pd.testing.assert_frame_equal(again.summary, table)


def test_openings_and_pools_on_chips_of_their_own(network: PairScorer, pairs: Pairs, chip: Chip) -> None:
    graph, attribute = embedded("karate")
    world = World.of(graph, attribute)
    openings = draw_openings(graph, attribute, world, 3, share=0.15, most=4, seed=0)
    found = study_openings(network, chip, pairs, openings).set_index(["source", "measure"])
    assert found.loc[("float", "changed"), "mean"] == 0.0
    assert found.loc[("chip", "shift_gap"), "instances"] == 3
    # padding changes nothing: the first instance's logits are those of its own opening
    ideal = chip.with_changes(device={"programming_sigma": 0.0, "read_noise_sigma": 0.0})
    alone = judge(openings[0], logits(network, *openings[0].inputs), chip_logits(network, ideal, pairs, openings[0].inputs, 1)[0])
    several = study_openings(network, ideal, pairs, openings[:1] * 2).set_index(["source", "measure"])
    mine = alone[alone["assigner"] == "FairEA"].iloc[0]
    assert several.loc[("chip", "error"), "mean"] == pytest.approx(mine["error"], rel=1e-5)

    pools = study_pools(chip, [0.2], lambda world: (network, pairs), 3, positions=2, candidates=10)
    rows = pools.set_index(["source", "measure"])
    assert rows.loc[("float", "shift_gap"), "mean"] == 0.0
    rate = 0.2 * rows.loc[("chip", "rate_minority"), "mean"] + 0.8 * rows.loc[("chip", "rate_majority"), "mean"]
    assert rate == pytest.approx(2 / 10)  # two of ten candidates are chosen
    with pytest.raises(FaireaError, match="somebody"):
        study_pools(chip, [0.01], lambda world: (network, pairs), 3)


def test_bad_input_is_named(network: PairScorer, pairs: Pairs, opening: Opening, chip: Chip) -> None:
    exact = np.zeros(len(opening.pairs[0]))
    with pytest.raises(FaireaError, match="reads"):
        Reading(reads=0)
    with pytest.raises(FaireaError, match="instances"):
        control_logits(exact[None], exact, "own variance", 0)
    with pytest.raises(FaireaError, match="instances"):
        chip_logits(network, chip, pairs, opening.inputs, 0)
    with pytest.raises(FaireaError, match="instances"):
        study_noise(opening, pairs, [Case("judged", 0.0, "as judged", chip, network)], 1)
    with pytest.raises(FaireaError, match="assigner"):
        Reference.of(opening, exact, "best")
    with pytest.raises(FaireaError, match="filled"):
        scoring_cost(network, chip, opening, 0)
